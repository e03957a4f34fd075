//! What a file resolves to.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use ipnet::IpNet;
use proptest::prelude::*;

use super::plan::{Attachment, Daemon, NodeId, Plan, WireKind};
use super::steps::{Action, CutKind, Deadline, Expectation, Formula, SourceFilter};
use super::{SIZE_LIMIT, parse, parse_octets};

fn plan(text: &str) -> Plan {
    parse("test.yaml", text).unwrap_or_else(|faults| panic!("{faults}"))
}

fn addresses(plan: &Plan, node: &str) -> Vec<String> {
    let node = plan.node(plan.find_node(node).unwrap());
    node.interfaces.iter().flat_map(|i| &i.addresses).chain(&node.loopback).map(IpNet::to_string).collect()
}

const SMALL: &str = "
name: small
nodes:
  src: {kind: host}
  r1: {kind: router}
  r2: {kind: router}
  h1: {kind: host}
links:
  - {between: [src, r1]}
  - {name: fast, between: ['r1:wan0', r2], cost: 10, mtu: 1400, delay: 5ms, jitter: 1ms, loss: 0.5%, rate: 100mbit}
lans:
  campus: {nodes: [r2, h1]}
";

#[test]
fn names_indexes_and_addresses_follow_the_file() {
    let plan = plan(SMALL);
    let r1 = plan.node(plan.find_node("r1").unwrap());
    let names: Vec<&str> = r1.interfaces.iter().map(|i| i.name.as_str()).collect();
    assert_eq!(names, ["eth0", "wan0"]);
    assert_eq!(
        addresses(&plan, "r1"),
        ["10.64.0.1/31", "fd00:0:1::1/127", "10.64.0.2/31", "fd00:0:1::2/127", "10.255.0.2/32", "fd00:0:2::2/128"]
    );
    assert_eq!(addresses(&plan, "h1"), ["10.0.1.2/24", "fd00:0:0:1::2/64"]);
    let wires: Vec<&str> = plan.wires.iter().map(|wire| wire.name.as_str()).collect();
    assert_eq!(wires, ["src-r1", "fast", "campus"]);
    let fast = &plan.wires[1];
    assert_eq!((fast.cost, fast.mtu), (10, 1400));
    assert_eq!(fast.impairment.delay, Duration::from_millis(5));
    assert_eq!(fast.impairment.rate, Some(100_000_000));
    assert!((fast.impairment.loss - 0.005).abs() < 1e-12);
}

#[test]
fn no_two_interfaces_share_an_index_or_a_mac_address() {
    let plan = plan(SMALL);
    let interfaces: Vec<_> = plan.nodes.iter().flat_map(|node| &node.interfaces).collect();
    let indexes: BTreeSet<u32> = interfaces.iter().map(|i| i.index).collect();
    let macs: BTreeSet<[u8; 6]> = interfaces.iter().map(|i| i.mac).collect();
    assert_eq!(indexes.len(), interfaces.len());
    assert_eq!(macs.len(), interfaces.len());
    assert!(indexes.iter().all(|index| *index >= 10));
    assert!(macs.iter().all(|mac| mac[0] & 3 == 2), "locally administered, and no group");
}

#[test]
fn a_host_takes_the_only_router_on_its_wire_as_its_gateway() {
    let plan = plan(SMALL);
    let host = plan.node(plan.find_node("h1").unwrap()).host().unwrap();
    let gateways: Vec<String> = host.gateways.iter().map(ToString::to_string).collect();
    assert_eq!(gateways, ["10.0.1.1", "fd00:0:0:1::1"]);
}

#[test]
fn pim_settings_come_from_the_end_then_the_router_then_the_defaults() {
    let plan = plan(
        "
name: dense
defaults:
  router: {multicast: pim-dm, pim: {hello-period: 20s, assert-time: 60s, state-refresh: false}}
nodes:
  r1: {kind: router, pim: {hello-period: 10s, graft-retries: 5}}
  r2: {kind: router}
  r3: {kind: router, multicast: static}
links:
  - {between: [r1, r2], ends: {r1: {pim: {hello-period: 5s}}, r2: {pim: {enabled: false}, ttl-threshold: 3, boundary: 239.255.0.0/16}}}
  - {between: [r2, r3]}
families: [ipv4]
",
    );
    let at = |node: usize, interface: usize| plan.pim_at(Attachment { node: NodeId(node), interface });
    let span = |secs: u64| Some(router_core::time::Span(Duration::from_secs(secs)));
    let r1 = at(0, 0).unwrap();
    assert_eq!((r1.hello_period, r1.assert_time, r1.graft_retries), (span(5), span(60), Some(5)));
    assert_eq!(r1.state_refresh, Some(false));
    assert_eq!(plan.nodes[0].router().unwrap().pim.hello_period, span(10));
    assert_eq!(at(1, 0), None, "PIM is off there");
    assert_eq!(at(1, 1).unwrap().hello_period, span(20));
    assert_eq!(at(2, 0), None, "a router without PIM");
    assert_eq!(plan.nodes[2].router().unwrap().pim, Default::default());
}

#[test]
fn nobody_moves_when_a_node_is_added_at_the_end() {
    let text = "
name: grows
nodes:
  r1: {kind: router}
  r2: {kind: router}
  h1: {kind: host, gateway: r1}
NODE
links:
  - {between: [r1, r2]}
LINK
lans:
  campus: {nodes: [r1, r2, h1 MEMBER]}
";
    let before = plan(&text.replace("NODE", "").replace("LINK", "").replace("MEMBER", ""));
    let after = text.replace("NODE", "  r3: {kind: router}").replace("LINK", "  - {between: [r2, r3]}");
    let after = plan(&after.replace("MEMBER", ", r3"));
    for (id, node) in before.nodes.iter().enumerate() {
        let now = &after.nodes[id];
        assert_eq!(node.loopback, now.loopback);
        for interface in &node.interfaces {
            let wire = &before.wire(interface.wire).name;
            let same = now.interfaces.iter().find(|i| &after.wire(i.wire).name == wire).unwrap();
            assert_eq!(interface.addresses, same.addresses, "{} on {wire}", node.name);
        }
    }
}

#[test]
fn given_addresses_stand_and_the_others_go_around_them() {
    let plan = plan(
        "
name: given
nodes:
  r1: {kind: router, loopback: 192.0.2.1/32}
  h1: {kind: host}
  h2: {kind: host}
  r2: {kind: router}
links:
  - {between: [r1, r2], ends: {r2: {address: 10.0.1.9/30}}}
lans:
  campus: {nodes: [r1, h1, h2], ends: {h2: {address: 198.51.100.1/24}}}
",
    );
    // The LAN takes h2's prefix; r1's place there is taken by h2, so it goes past everybody's.
    assert_eq!(addresses(&plan, "h2"), ["198.51.100.1/24", "fd00:0:0:1::3/64"]);
    assert_eq!(addresses(&plan, "h1"), ["198.51.100.2/24", "fd00:0:0:1::2/64"]);
    assert_eq!(addresses(&plan, "r1")[..2], ["10.0.1.10/30", "fd00:0:1::/127"]);
    assert_eq!(addresses(&plan, "r1")[2], "198.51.100.4/24");
    assert_eq!(addresses(&plan, "r1")[4..], ["192.0.2.1/32", "fd00:0:2::1/128"]);
}

#[test]
fn a_derived_prefix_keeps_clear_of_a_given_one() {
    let plan = plan(
        "
name: clear
nodes:
  a: {kind: host}
  b: {kind: host}
  c: {kind: host}
lans:
  first: {nodes: [a, b]}
  second: {nodes: [b, c]}
  third: {nodes: [a, c], ends: {a: {address: 10.0.1.1/24}}}
",
    );
    let prefix = |n: usize| plan.wires[n].subnets[0].to_string();
    assert_eq!([prefix(0), prefix(1), prefix(2)], ["10.16.1.0/24", "10.0.2.0/24", "10.0.1.0/24"]);
}

#[test]
fn one_family_alone() {
    let plan = plan(&format!("families: [ipv4]\n{}", SMALL.trim_start()));
    assert!(
        plan.nodes
            .iter()
            .flat_map(|n| n.interfaces.iter().flat_map(|i| &i.addresses).chain(&n.loopback))
            .all(|net| matches!(net, IpNet::V4(_)))
    );
}

#[test]
fn defaults_give_way_to_what_a_node_says() {
    let plan = plan(
        "
name: defaults
defaults:
  router: {daemon: smcroute, multicast: static, igmp: {version: 2, robustness: 3}}
  host: {igmp: {version: 1}}
  link: {cost: 7, mtu: 9000}
  lan: {snooping: true}
nodes:
  r1: {kind: router, daemon: router-core, igmp: {version: 3}}
  r2: {kind: router, daemon: {exec: {command: [mrd, -c, '{config}'], config: 'x', ready: 'test -e {run}/up'}}}
  h1: {kind: host}
  h2: {kind: host, igmp: {version: 3}}
  r3: {kind: router}
links:
  - {between: [r1, r2]}
  - {between: [r1, r2], cost: 2}
lans:
  campus: {nodes: [r1, h1, h2], ends: {r1: {igmp: {query-interval: 20s}}}}
",
    );
    let r1 = plan.node(NodeId(0)).router().unwrap();
    assert_eq!((r1.igmp.version, r1.igmp.robustness), (Some(3), Some(3)));
    let campus = plan.find_wire("campus").unwrap();
    let igmp = plan.igmp_at(plan.wire(campus).ends[0]).unwrap();
    assert_eq!(igmp.query_interval.unwrap().0, Duration::from_secs(20));
    assert_eq!(igmp.version, Some(3));
    let Daemon::Exec(exec) = &plan.node(NodeId(1)).router().unwrap().daemon else { panic!() };
    assert_eq!(exec.command, ["mrd", "-c", "{config}"]);
    assert_eq!(exec.ready.as_ref().unwrap(), &["/bin/sh", "-c", "test -e {run}/up"]);
    assert_eq!(plan.node(NodeId(2)).host().unwrap().igmp_version, Some(1));
    assert_eq!(plan.node(NodeId(3)).host().unwrap().igmp_version, Some(3));
    // smcroute has no IGMP to set, so defaults for the others leave it alone.
    let r3 = plan.node(NodeId(4)).router().unwrap();
    assert_eq!((&r3.daemon, &r3.igmp), (&Daemon::Smcroute, &Default::default()));
    assert_eq!((plan.wires[0].cost, plan.wires[1].cost, plan.wires[0].mtu), (7, 2, 9000));
    assert_eq!(plan.wires[1].name, "r1-r2-2");
    assert_eq!(plan.wires[2].kind, WireKind::Lan { snooping: true });
}

#[test]
fn routes_name_neighbours_wires_or_interfaces() {
    let plan = plan(
        "
name: routes
nodes:
  src: {kind: host}
  r1:
    kind: router
    routes:
      - {group: 239.1.0.0/16, source: src, from: src, to: [campus, eth2]}
      - {group: 239.2.2.2, source: 10.0.0.0/8, from: campus}
  h1: {kind: host}
  h2: {kind: host}
links:
  - {between: [src, r1]}
  - {between: [h2, 'r1:eth2']}
lans:
  campus: {nodes: [r1, h1]}
",
    );
    let routes = &plan.node(NodeId(1)).router().unwrap().routes;
    assert_eq!(routes[0].incoming, 0);
    assert_eq!(routes[0].outgoing, [2, 1]);
    assert_eq!(routes[0].source.unwrap().to_string(), "10.64.0.0/32");
    assert_eq!((routes[1].group.to_string().as_str(), routes[1].incoming), ("239.2.2.2/32", 2));
}

fn steps(text: &str) -> Vec<Action> {
    let text = format!("{}scenarios:\n  - name: s\n    steps:\n{text}", SMALL.trim_start());
    plan(&text).scenarios.remove(0).steps.into_iter().map(|step| step.action).collect()
}

#[test]
fn steps_take_their_defaults() {
    let steps = steps(
        "      - join: {hosts: h1, group: 239.1.1.1}
      - stream: {name: news, from: src, group: 239.1.1.1}
      - expect: {delivered: news}
      - expect: {leave-latency: campus, group: 239.1.1.1}
      - expect: {quiet: src-r1}
      - expect: {not-delivered: news, to: h1}
      - fail: {link: fast}
      - fail: {link: campus.r2, how: silent, detected-after: 1s}
      - restore: {link: fast, end: r1}
",
    );
    let (src, h1) = (NodeId(0), NodeId(3));
    assert!(matches!(&steps[0], Action::Join { filter: SourceFilter::Exclude(none), .. } if none.is_empty()));
    let Action::Stream(stream) = &steps[1] else { panic!() };
    assert_eq!((stream.from, stream.port, stream.rate, stream.size, stream.ttl), (src, 5001, 100.0, 200, 16));
    let second = Duration::from_secs(1);
    assert_eq!(
        steps[2],
        Action::Expect(Expectation::Delivered {
            stream: "news".into(),
            to: vec![h1],
            within: Deadline::After(3 * second),
            lasting: second,
            loss: 0,
            duplicates: 0
        })
    );
    assert!(matches!(
        &steps[3],
        Action::Expect(Expectation::LeaveLatency { below: Deadline::Formula(Formula::LeaveLatency), .. })
    ));
    assert!(matches!(&steps[4], Action::Expect(Expectation::Quiet { group: None, lasting, .. }) if *lasting == second));
    let Action::Fail(cut) = &steps[6] else { panic!() };
    assert_eq!((cut.how, cut.end, cut.detected_after), (CutKind::Carrier, None, None));
    let Action::Fail(cut) = &steps[7] else { panic!() };
    let end = Some(Attachment { node: NodeId(2), interface: 1 });
    assert_eq!((cut.how, cut.end, cut.detected_after), (CutKind::Silent, end, Some(second)));
    assert!(matches!(&steps[8], Action::Restore { end: Some(Attachment { node: NodeId(1), .. }), .. }));
}

#[test]
fn who_is_meant_follows_from_who_has_joined() {
    let steps = steps(
        "      - stream: {name: news, from: src, group: 239.1.1.1}
      - expect: {not-delivered: news}
      - join: {hosts: [h1, src], group: 239.1.1.1, exclude: src}
      - expect: {not-delivered: news}
      - join: {hosts: h1, group: 239.1.1.1, sources: [src, 192.0.2.1]}
      - expect: {delivered: news}
      - leave: {group: 239.1.1.1}
      - expect: {join-latency: news, at: h1}
",
    );
    let h1 = vec![NodeId(3)];
    for at in [1, 3] {
        assert!(matches!(&steps[at], Action::Expect(Expectation::NotDelivered { to, .. }) if *to == h1), "step {at}");
    }
    assert!(matches!(&steps[5], Action::Expect(Expectation::Delivered { to, .. }) if *to == h1));
    assert!(matches!(&steps[6], Action::Leave { hosts, .. } if hosts.len() == 2));
}

#[test]
fn steps_say_what_they_do_and_where_they_stand() {
    let text = format!(
        "{}scenarios:\n  - name: s\n    steps:\n      - join: {{hosts: h1, group: 239.1.1.1, sources: src}}\n      - wait: 90s\n",
        SMALL.trim_start()
    );
    let steps = &plan(&text).scenarios[0].steps;
    assert_eq!((steps[0].line, steps[0].text.as_str()), (15, "h1 join 239.1.1.1 from 10.64.0.0"));
    assert_eq!((steps[1].line, steps[1].text.as_str()), (16, "wait 1m 30s"));
}

/// A chain of routers with a host at each end.
fn chain(routers: usize) -> String {
    let mut text = String::from("name: chain\nnodes:\n  src: {kind: host}\n  h1: {kind: host}\n");
    for n in 1..=routers {
        let _ = writeln!(text, "  r{n}: {{kind: router}}");
    }
    text += "links:\n  - {between: [src, r1]}\n";
    for n in 1..routers {
        let _ = writeln!(text, "  - {{between: [r{n}, r{}]}}", n + 1);
    }
    let _ = writeln!(text, "  - {{between: [r{routers}, h1]}}");
    text
}

#[test]
fn a_large_network_resolves_quickly() {
    let start = std::time::Instant::now();
    let plan = plan(&chain(3000));
    assert_eq!(plan.wires.len(), 3001);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn faults_of_a_hopeless_file_are_bounded() {
    let mut text = String::from("name: x\nnodes: {a: {kind: host}}\nlinks:\n");
    for n in 0..20_000 {
        let _ = writeln!(text, "  - {{between: [a, b{n}]}}");
    }
    let faults = parse("x.yaml", &text).unwrap_err();
    assert!(faults.list.len() <= 1000);
    let shown = faults.plain();
    assert!(shown.len() < 100_000 && shown.ends_with("more\n"), "{}", shown.len());
}

#[test]
fn the_smallest_payload_has_room_for_a_stamp() {
    let text = |size: usize| format!("      - stream: {{name: a, from: src, group: 239.1.1.1, size: {size}}}\n");
    assert_eq!(crate::traffic::stamp::LENGTH, 32);
    assert!(matches!(&steps(&text(32))[0], Action::Stream(stream) if stream.size == 32));
    let text = format!("{}scenarios:\n  - name: s\n    steps:\n{}", SMALL.trim_start(), text(31));
    assert!(parse("test.yaml", &text).is_err());
}

#[test]
fn a_text_over_the_limit_is_refused() {
    let text = vec![b'#'; usize::try_from(SIZE_LIMIT).unwrap() + 1];
    assert!(parse_octets("big.yaml", text).is_err());
}

const SHIPPED: [&str; 4] = [
    include_str!("../../topologies/first-light.yaml"),
    include_str!("../../topologies/igmp-proxy.yaml"),
    include_str!("../../topologies/ttl-scope.yaml"),
    include_str!("../../topologies/igmp-v3-sources.yaml"),
];

/// Words that a slip could put anywhere.
const WORDS: [&str; 24] = [
    "{",
    "}",
    "[",
    "]",
    ":",
    "-",
    ",",
    "\n",
    "  ",
    "&a ",
    "*a",
    "!x ",
    "~",
    "src",
    "r1",
    "0",
    "-1",
    "99999999999999999999",
    "1e400",
    "239.1.1.1",
    "ff3e::1",
    "\u{e9}",
    "\"",
    "# ",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever a slip makes of a file: a plan or faults, each at a place in the text, and no panic.
    #[test]
    fn a_mutated_file_gives_a_plan_or_faults(
        file in 0..SHIPPED.len(),
        slips in prop::collection::vec((any::<prop::sample::Index>(), 0usize..12, 0..WORDS.len()), 1..6),
    ) {
        let mut text: Vec<char> = SHIPPED[file].chars().collect();
        for (at, cut, word) in slips {
            let at = at.index(text.len());
            let end = (at + cut).min(text.len());
            text.splice(at..end, WORDS[word].chars());
        }
        let text: String = text.into_iter().collect();
        if let Err(faults) = parse("mutated.yaml", &text) {
            prop_assert!(!faults.list.is_empty());
            for fault in &faults.list {
                prop_assert!(text.get(fault.span.clone()).is_some());
            }
            prop_assert!(!faults.render(false).is_empty());
            prop_assert!(!faults.render(true).is_empty());
        }
    }

    /// Lines in another order, twice, or missing.
    #[test]
    fn shuffled_lines_give_a_plan_or_faults(
        file in 0..SHIPPED.len(),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 1..80),
    ) {
        let lines: Vec<&str> = SHIPPED[file].lines().collect();
        let text: String = picks.iter().map(|at| format!("{}\n", lines[at.index(lines.len())])).collect();
        if let Err(faults) = parse("shuffled.yaml", &text) {
            prop_assert!(!faults.render(false).is_empty());
        }
    }
}
