//! `testbed simulate` through the binary: no lab is built, no right is needed, and equal runs are equal to the octet.

mod support;

use std::time::Duration;

use support::{Scratch, repository};

const LIMIT: Duration = Duration::from_secs(120);

fn shipped() -> Vec<String> {
    files("topologies")
}

fn files(folder: &str) -> Vec<String> {
    let mut files: Vec<_> = std::fs::read_dir(repository(folder))
        .expect("a folder of the project")
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| path.to_str().expect("a text").to_owned())
        .collect();
    files.sort();
    files
}

#[test]
fn shipped_scenarios_hold_in_virtual_time() {
    let scratch = Scratch::new();
    let mut arguments = vec!["simulate".to_owned(), "--substitute".into(), "router-core".into()];
    arguments.extend(shipped());
    scratch.run(arguments, LIMIT).expect_code(0).expect_said("passed");
}

/// Files that `testbed explore` wrote: what was wrong is mended, and stays so.
#[test]
fn what_searches_found_holds_now() {
    let scratch = Scratch::new();
    let mut arguments = vec!["simulate".to_owned()];
    arguments.extend(files("tests/found"));
    scratch.run(arguments, LIMIT).expect_code(0).expect_said("passed");
}

#[test]
fn equal_seeds_give_equal_reports_however_many_run_at_once() {
    let scratch = Scratch::new();
    // The large ones take a debug build seconds, and show nothing further.
    let mut files = shipped();
    files.retain(|file| !file.contains("grid") && !file.contains("many"));
    let run = |seed: &str, jobs: &str| {
        let mut arguments: Vec<String> =
            ["simulate", "--json", "--substitute", "router-core", "--seed", seed, "--jobs", jobs]
                .map(String::from)
                .into();
        arguments.extend(files.clone());
        scratch.run(arguments, LIMIT).expect_code(0).stdout
    };
    let first = run("7", "1");
    assert!(first.len() > 10_000, "a whole report");
    assert!(first == run("7", "1"), "the same again");
    assert!(first == run("7", "8"), "side by side");
    assert!(first != run("8", "1"), "another seed");
}

#[test]
fn a_foreign_daemon_is_refused_by_name() {
    let scratch = Scratch::new();
    let file = repository("topologies/static-smcroute.yaml");
    let refused = scratch.run(["simulate".as_ref(), file.as_os_str()], LIMIT).expect_code(2);
    assert!(refused.stdout.is_empty(), "{}", refused.stdout);
    refused.expect_said("r1: smcroute does not run in the simulator").expect_said("--substitute router-core");
}

#[test]
fn a_scenario_that_runs_commands_is_left_out_and_the_others_are_judged() {
    let scratch = Scratch::new();
    let scenario = |name: &str, step: &str| format!("  - {{name: {name}, steps: [{step}]}}\n");
    let text = |scenarios: &str| {
        format!(
            "name: t\nnodes: {{a: {{kind: host}}, b: {{kind: host}}}}\nlinks: [{{between: [a, b]}}]\nscenarios:\n{scenarios}"
        )
    };
    let commands = scenario("commands", "{run: {node: a, command: [true]}}");
    let both = text(&(commands.clone() + &scenario("time", "{wait: 1h}")));
    let file = scratch.write("both.yaml", &both);
    scratch
        .run(["simulate".as_ref(), file.as_os_str()], LIMIT)
        .expect_code(0)
        .expect_said("left out: the simulator runs no commands");
    let file = scratch.write("one.yaml", &text(&commands));
    scratch.run(["simulate".as_ref(), file.as_os_str()], LIMIT).expect_code(3);
}

#[test]
fn timers_and_filter_come_from_the_command_line() {
    let scratch = Scratch::new();
    let file = repository("topologies/igmp-v3-sources.yaml");
    let run = |scale: &str| {
        let arguments = ["simulate", "--json", "--timers", scale, file.to_str().expect("a text")];
        scratch.run(arguments, LIMIT).expect_code(0).stdout
    };
    let took = |report: &str| {
        let after = report.split("\"took_ns\": ").nth(1).expect("a time");
        after.split(',').next().expect("a number").parse::<u64>().expect("a number")
    };
    assert!(took(&run("1")) > took(&run("0.1")) + 1_000_000_000);
    scratch
        .run(["simulate", "--timers", "0", file.to_str().expect("a text")], LIMIT)
        .expect_code(2)
        .expect_said("0.01 to 10");
    let nothing = ["simulate", "--filter", "nothing-of-that-name", file.to_str().expect("a text")];
    scratch.run(nothing, LIMIT).expect_code(2).expect_said("there are: igmp-v3-sources/");
}

#[test]
fn captures_lie_where_those_of_the_kernel_would() {
    let scratch = Scratch::new();
    let file = repository("topologies/first-light.yaml");
    let directory = scratch.path().join("kept");
    let arguments = ["simulate", "--json", "--filter", "delivery", "--capture"].map(std::ffi::OsStr::new);
    let arguments = arguments.into_iter().chain([directory.as_os_str(), file.as_os_str()]);
    let run = scratch.run(arguments, LIMIT).expect_code(0);
    let captures = directory.join("first-light/delivery/captures");
    run.expect_said(captures.to_str().expect("a text"));
    let files: Vec<_> =
        std::fs::read_dir(captures).expect("captures").map(|entry| entry.expect("entry").path()).collect();
    assert!(files.len() > 2 && files.iter().all(|path| path.metadata().expect("a file").len() > 1000), "{files:?}");
    let inside = file.join("captures");
    let refused = ["simulate".as_ref(), "--capture".as_ref(), inside.as_os_str(), file.as_os_str()];
    scratch.run(refused, LIMIT).expect_code(2).expect_said("cannot make");
}

/// A check that nothing could fail would prove nothing.
#[test]
fn what_does_not_hold_fails_and_names_the_first_wrong_hop() {
    let scratch = Scratch::new();
    let text = std::fs::read_to_string(repository("topologies/first-light.yaml")).expect("a file");
    let broken = text.replace("{kind: router, routes: [{group: 239.1.1.0/24, from: r1}]}", "{kind: router}");
    assert_ne!(text, broken);
    let file = scratch.write("broken.yaml", &broken);
    let run = scratch.run(["simulate".as_ref(), file.as_os_str(), "--filter".as_ref(), "delivery".as_ref()], LIMIT);
    run.expect_code(1).expect_said("r2 should forward");
}

#[test]
fn an_hour_of_dense_mode_takes_no_time() {
    let scratch = Scratch::new();
    let file = scratch.write(
        "idle.yaml",
        "name: idle
defaults: {router: {multicast: pim-dm}}
nodes: {src: {kind: host}, r1: {kind: router}, r2: {kind: router}, r3: {kind: router}, h1: {kind: host}}
links: [{between: [src, r1]}, {between: [r1, r2]}, {between: [r1, r3]}, {between: [r2, r3]}, {between: [r3, h1]}]
scenarios: [{name: idle, steps: [{wait: 1h}]}]
",
    );
    let began = std::time::Instant::now();
    scratch.run(["simulate".as_ref(), file.as_os_str()], LIMIT).expect_code(0).expect_said("passed in 60m");
    // A debug build on a busy machine; `testbed bench` has the figure.
    assert!(began.elapsed() < Duration::from_secs(20));
}
