//! `testbed compare` through the binary: a whole round of router-core, and what is refused. No figure is judged here.

mod support;

use std::time::Duration;

use support::{Scratch, finish, repository};

const LIMIT: Duration = Duration::from_secs(240);
const FILE: &str = "topologies/compare-sparse.yaml";

/// The rows of the table.
const FIGURES: [&str; 12] = [
    "cold-start",
    "join",
    "leave",
    "carrier-lost",
    "carrier-outage",
    "silence-lost",
    "silence-outage",
    "switch-lost",
    "switch-duplicates",
    "memory",
    "messages",
    "octets",
];

fn changed(scratch: &Scratch, from: &str, to: &str) -> String {
    let text = std::fs::read_to_string(repository(FILE)).expect("the shipped topology");
    assert!(text.contains(from), "{FILE} does not contain {from:?} any more");
    scratch.write("changed.yaml", &text.replacen(from, to, 1)).display().to_string()
}

#[test]
fn a_round_of_router_core_fills_every_row() {
    let scratch = Scratch::new();
    let (file, page) = (repository(FILE).display().to_string(), scratch.path().join("page.md").display().to_string());
    let arguments = ["compare", &file, "--daemon", "router-core", "--rounds", "1", "--json", "--markdown", &page];
    let finished = scratch.run(arguments, LIMIT).expect_code(0);
    let report: serde_json::Value = serde_json::from_str(&finished.stdout).expect("JSON");
    let column = &report["columns"][0];
    assert_eq!((&column["daemon"], &column["failed"]), (&"router-core".into(), &serde_json::json!({})), "{report:#}");
    for figure in FIGURES {
        let samples = column["samples"][figure].as_array().unwrap_or_else(|| panic!("no {figure}: {report:#}"));
        assert_eq!(samples.len(), 1, "{figure}");
        assert!(samples[0].as_f64().is_some_and(|number| number >= 0.0), "{figure}: {samples:?}");
    }
    let page = std::fs::read_to_string(page).expect("the page");
    assert!(page.contains("| cold start to the first packet |") && page.contains("--daemon router-core`"), "{page}");
}

#[test]
fn files_that_nothing_can_be_compared_by_are_refused_by_what_they_lack() {
    let scratch = Scratch::new();
    let file = repository("topologies/first-light.yaml").display().to_string();
    let run = scratch.run(["compare", &file], LIMIT);
    run.expect_code(2).expect_said("no router speaks sparse mode: give them `multicast: pim-sm`");
    let file = changed(&scratch, ", how: silent, detected-after: 1s", ", how: silent");
    let run = scratch.run(["compare", &file], LIMIT);
    run.expect_code(2).expect_said("has no silent failure that unicast notices after a time");
}

#[test]
fn what_a_daemon_cannot_do_is_named_when_it_is_asked_for() {
    let scratch = Scratch::new();
    let file = changed(&scratch, "pim: {rp:", "pim: {spt-switchover: 100kbit, rp:");
    let run = scratch.run(["compare", &file, "--daemon", "frr"], LIMIT);
    run.expect_code(2).expect_said("FRR cannot do `spt-switchover` by rate");
    let run = scratch.run(["compare", &file, "--daemon", "smcroute"], LIMIT);
    run.expect_code(2).expect_said("expected one of router-core, frr, pimd");
}

#[test]
fn a_daemon_that_is_missing_is_named_with_what_to_install() {
    if ["/usr/sbin/pimd", "/usr/local/sbin/pimd"].iter().any(|path| std::path::Path::new(path).exists()) {
        eprintln!("pimd is installed here");
        return;
    }
    let scratch = Scratch::new();
    let file = repository(FILE).display().to_string();
    let mut command = scratch.testbed(["compare", &file, "--daemon", "pimd"]);
    command.env("TESTBED_DAEMONS", scratch.path());
    finish(command, LIMIT).expect_code(3).expect_said("pimd is not installed").expect_said("apt-get download pimd");
}
