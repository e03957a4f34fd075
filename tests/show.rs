//! `testbed show`: what routers of a lab answer, and what is said of nodes that cannot.

mod support;

use std::time::Duration;

use support::Scratch;

const LIMIT: Duration = Duration::from_secs(60);

const LAB: &str = "
name: shown
nodes:
  src: {kind: host}
  r1: {kind: router, routes: [{group: 239.1.1.0/24, from: src, to: [r2]}]}
  r2: {kind: router, daemon: {exec: {command: [sleep, infinity]}}}
links: [{name: first, between: [src, r1]}, {name: second, between: [r1, r2]}]
";

#[test]
fn a_router_answers_in_tables_and_json_and_others_are_refused_by_name() {
    let scratch = Scratch::new();
    let file = scratch.write("lab.yaml", LAB);
    let up = scratch.run(["up", file.to_str().unwrap()], LIMIT);
    assert!(up.status.success(), "{up:?}");

    let tables = scratch.run(["show", "r1"], LIMIT);
    assert!(tables.status.success(), "{tables:?}");
    assert!(tables.stdout.starts_with("interface  state"), "{}", tables.stdout);
    assert!(tables.stdout.contains("no groups\n") && tables.stdout.contains("no entries\n"), "{}", tables.stdout);

    let json = scratch.run(["show", "r1", "interfaces", "--json"], LIMIT);
    let shown: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
    let states: Vec<_> = shown["interfaces"].as_array().unwrap().iter().map(|one| one["up"].clone()).collect();
    assert_eq!(states, [true, true]);

    for (node, part) in
        [("src", "src is a host"), ("r2", "r2 runs a program of the file's"), ("r3", "its routers are r1, r2")]
    {
        let refused = scratch.run(["show", node], LIMIT);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(refused.stderr.contains(part), "{}", refused.stderr);
    }
    let down = scratch.run(["down"], LIMIT);
    assert!(down.status.success(), "{down:?}");
}
