//! Generated graphs in a file: what the plan makes of them.

use std::fmt::Write as _;

use crate::topology::parse;
use crate::topology::plan::{Multicast, NodeId, Plan};

fn plan(text: &str) -> Plan {
    parse("test.yaml", text).unwrap_or_else(|faults| panic!("{}", faults.plain()))
}

fn names(plan: &Plan) -> Vec<&str> {
    plan.nodes.iter().map(|node| node.name.as_str()).collect()
}

fn wires(plan: &Plan) -> Vec<&str> {
    plan.wires.iter().map(|wire| wire.name.as_str()).collect()
}

#[test]
fn what_is_generated_comes_first_and_the_files_own_is_joined_to_it() {
    let plan = plan(
        "
name: ring
generate: {ring: 3, hosts: [r2], cost: 7}
defaults: {router: {multicast: pim-dm}, link: {mtu: 9000, cost: 3}}
nodes:
  extra: {kind: router}
  h9: {kind: host}
links:
  - {between: [r3, extra]}
  - {between: [r1, r2], name: second}
lans:
  campus: {nodes: [extra, h9]}
scenarios:
  - name: all
    steps:
      - join: {hosts: [h9], group: 239.1.1.1}
      - stream: {name: news, from: h-r2, group: 239.1.1.1}
      - fail: {link: r1-r2}
",
    );
    assert_eq!(names(&plan), ["r1", "r2", "r3", "h-r2", "extra", "h9"]);
    assert_eq!(wires(&plan), ["r1-r2", "r2-r3", "r3-r1", "r2-h-r2", "r3-extra", "second", "campus"]);
    let costs: Vec<u32> = plan.wires.iter().map(|wire| wire.cost).collect();
    assert_eq!(costs, [7, 7, 7, 3, 3, 3, 1]);
    assert!(plan.wires[..6].iter().all(|wire| wire.mtu == 9000));
    assert!(plan.nodes.iter().filter_map(|node| node.router()).all(|router| router.multicast == Multicast::PimDm));
    assert_eq!(plan.wires[3].subnets[0].to_string(), "10.64.0.6/31");
    assert_eq!(plan.node(NodeId(3)).host().unwrap().gateways[0].to_string(), "10.64.0.6");
}

#[test]
fn a_generated_node_keeps_its_place_with_settings_of_its_own() {
    let text = |own: &str| format!("name: x\ngenerate: {{chain: 3, hosts: edge}}\n{own}");
    let bare = plan(&text(""));
    assert_eq!(names(&bare), ["r1", "r2", "r3", "h-r1", "h-r3"]);
    let own = plan(&text("nodes:\n  r2: {kind: router, multicast: none}\n  h-r1: {kind: host, igmp: {version: 2}}\n"));
    assert_eq!(names(&own), names(&bare));
    assert_eq!(own.node(NodeId(1)).router().unwrap().multicast, Multicast::None);
    assert_eq!(own.node(NodeId(3)).host().unwrap().igmp_version, Some(2));
    let addresses =
        |plan: &Plan| plan.nodes.iter().map(|node| node.interfaces[0].addresses.clone()).collect::<Vec<_>>();
    assert_eq!(addresses(&own), addresses(&bare));
}

#[test]
fn the_seed_is_the_files_unless_the_graph_has_its_own() {
    let links = |seed: &str, random: &str| {
        let plan = plan(&format!("name: x\n{seed}\ngenerate: {{random: {{nodes: 30{random}}}}}\n"));
        wires(&plan).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(links("", ""), links("seed: 1", ""));
    assert_ne!(links("seed: 2", ""), links("", ""));
    assert_eq!(links("seed: 2", ", seed: 1"), links("", ""));
}

#[test]
fn nothing_is_said_of_what_a_wrong_shape_would_have_made() {
    for wrong in ["{grid: [0, 2]}", "{grid: 3}", "{ring: 2}", "{}", "5", "{fat-tree: 3}", "{chain: 20000}"] {
        let faults =
            parse("x.yaml", &format!("name: x\ngenerate: {wrong}\nlinks: [{{between: [r1, r2]}}]\n")).unwrap_err();
        assert_eq!(faults.list.len(), 1, "{wrong}: {}", faults.plain());
    }
}

#[test]
fn the_largest_grid_loads_quickly() {
    let start = std::time::Instant::now();
    let plan = plan("name: grid\ngenerate: {grid: [100, 100]}\ndefaults: {router: {multicast: pim-dm}}\n");
    assert_eq!((plan.nodes.len(), plan.wires.len()), (10_000, 19_800));
    assert!(start.elapsed() < std::time::Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn links_that_cannot_be_read_are_not_missed() {
    let mut text =
        String::from("name: x\ngenerate: {chain: 2, hosts: all}\nlinks: 5\nscenarios:\n  - name: s\n    steps:\n");
    let _ = writeln!(text, "      - fail: {{link: somewhere}}");
    let faults = parse("x.yaml", &text).unwrap_err();
    assert_eq!(faults.list.len(), 1, "{}", faults.plain());
}
