//! `testbed explore` through the binary: defects that were planted are found, made small, and fail from their files; equal seeds find the
//! same, however many threads look.

mod support;

use std::time::Duration;

use support::{Scratch, repository};

const LIMIT: Duration = Duration::from_secs(240);

#[test]
fn equal_seeds_find_the_same_however_many_run_at_once() {
    let scratch = Scratch::new();
    let files = ["dense-lan-assert", "igmp-v2"].map(|name| repository(&format!("topologies/{name}.yaml")));
    let run = |seed: &str, jobs: &str| {
        let mut arguments: Vec<String> =
            ["explore", "--json", "--runs", "40", "--seed", seed, "--jobs", jobs].map(String::from).into();
        arguments.extend(files.iter().map(|file| file.display().to_string()));
        scratch.run(arguments, LIMIT).expect_code(0).stdout
    };
    let first = run("7", "1");
    assert!(first.len() > 3_000, "a whole report");
    assert!(first == run("7", "1"), "the same again");
    assert!(first == run("7", "2"), "side by side");
    assert!(first != run("8", "1"), "another seed");
}

#[test]
fn a_network_without_members_is_refused_by_name() {
    let scratch = Scratch::new();
    let file = scratch.write(
        "lonely.yaml",
        "name: lonely\nnodes: {r1: {kind: router}, h1: {kind: host}}\nlinks: [{between: [r1, h1]}]\n",
    );
    scratch
        .run(["explore", file.to_str().expect("a text")], LIMIT)
        .expect_code(2)
        .expect_said("a search needs a host that sends and another that joins");
}

/// What of a file's scenario breaks something.
#[cfg(feature = "sabotage")]
const FAULTS: [&str; 6] = ["- fail:", "- drop:", "- impair:", "- kill:", "- restart:", "- pause:"];

/// Plants a defect in a copy of a shipped topology, has it found, and replays it from its file; gives the file's text.
#[cfg(feature = "sabotage")]
#[track_caller]
fn expect_found(topology: &str, changes: &[(&str, &str)]) -> String {
    let scratch = Scratch::new();
    let mut text = std::fs::read_to_string(repository(topology)).expect("the shipped topology");
    for (from, to) in changes {
        assert!(text.contains(from), "{topology} does not contain {from:?} any more");
        text = text.replacen(from, to, 1);
    }
    let file = scratch.write("planted.yaml", &text);
    let found = scratch.path().join("found");
    let arguments = ["explore", file.to_str().expect("a text"), "--runs", "2000", "--failures", "1", "--output"];
    scratch
        .run(arguments.into_iter().chain([found.to_str().expect("a text")]), LIMIT)
        .expect_code(1)
        .expect_said("shrunk");
    let mut files: Vec<_> =
        std::fs::read_dir(&found).expect("files").map(|entry| entry.expect("entry").path()).collect();
    files.sort();
    let first = files.first().expect("a file of what was found");
    scratch.run(["simulate", first.to_str().expect("a text")], LIMIT).expect_code(1).expect_said("failed");
    let text = std::fs::read_to_string(first).expect("its text");
    let faults = text.lines().filter(|line| FAULTS.iter().any(|fault| line.contains(fault))).count();
    assert!(faults <= 4, "{faults} faults in\n{text}");
    text
}

#[cfg(feature = "sabotage")]
#[test]
fn a_prune_that_is_never_overridden_is_found() {
    let planted = [
        ("  r2: {kind: router}", "  r2: {kind: router, pim: {sabotage: never-override}}"),
        ("  r3: {kind: router}", "  r3: {kind: router, pim: {sabotage: never-override}}"),
    ];
    let text = expect_found("topologies/dense-prune-override.yaml", &planted);
    assert!(text.contains("sabotage: never-override"), "{text}");
}

#[cfg(feature = "sabotage")]
#[test]
fn a_graft_that_is_sent_but_once_is_found() {
    let planted = [("  r3: {kind: router}", "  r3: {kind: router, pim: {sabotage: graft-once}}")];
    let text = expect_found("topologies/dense-prune-graft.yaml", &planted);
    assert!(text.contains("drop: {wire: second, message: pim-graft"), "{text}");
}

#[cfg(feature = "sabotage")]
#[test]
fn an_assert_that_both_win_is_found() {
    let planted = [("  r3: {kind: router}", "  r3: {kind: router, pim: {sabotage: assert-deaf}}")];
    let text = expect_found("topologies/dense-lan-assert.yaml", &planted);
    assert!(text.contains("sabotage: assert-deaf"), "{text}");
}

#[cfg(feature = "sabotage")]
#[test]
fn an_assert_of_sparse_mode_that_both_win_is_found() {
    let planted = [("  a1:  {kind: router}", "  a1:  {kind: router, pim: {sabotage: assert-deaf}}")];
    let text = expect_found("topologies/sparse-lan-assert.yaml", &planted);
    assert!(text.contains("sabotage: assert-deaf"), "{text}");
}

#[cfg(feature = "sabotage")]
#[test]
fn a_prune_of_sparse_mode_that_is_never_overridden_is_found() {
    let planted = [
        ("  ra:  {kind: router}", "  ra:  {kind: router, pim: {sabotage: never-override}}"),
        ("  rb:  {kind: router}", "  rb:  {kind: router, pim: {sabotage: never-override}}"),
    ];
    let text = expect_found("topologies/sparse-prune-override.yaml", &planted);
    assert!(text.contains("sabotage: never-override"), "{text}");
}

#[cfg(feature = "sabotage")]
#[test]
fn joins_that_hold_too_short_are_found() {
    let planted = [("  r2:  {kind: router}", "  r2:  {kind: router, pim: {sabotage: join-hold-short}}")];
    let text = expect_found("topologies/sparse-asm.yaml", &planted);
    assert!(text.contains("sabotage: join-hold-short"), "{text}");
}
