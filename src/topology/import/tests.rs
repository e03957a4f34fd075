//! Graphs, good and messy, to topologies that load.

use proptest::prelude::*;

use super::{Hosts, ImportErrorKind, Imported, Multicast, Options, import_octets};
use crate::topology::parse;
use crate::topology::plan::Plan;
use crate::topology::steps::Action;

fn imported(text: &str, options: &Options) -> Imported {
    import_octets("net.gml", text.as_bytes(), options)
        .unwrap_or_else(|error| panic!("{:?}: {}", error.line, error.kind))
}

fn plan_of(imported: &Imported) -> Plan {
    parse("net.yaml", &imported.text).unwrap_or_else(|faults| panic!("{}\n{}", faults.plain(), imported.text))
}

fn plan(text: &str) -> Plan {
    plan_of(&imported(text, &Options::default()))
}

fn said(imported: &Imported) -> Vec<String> {
    let line = |line: Option<usize>| line.map(|line| format!("{line}: ")).unwrap_or_default();
    imported.remarks.iter().map(|remark| format!("{}{}", line(remark.line), remark.kind)).collect()
}

/// A graph of so many nodes, and edges between them.
fn gml(nodes: usize, edges: &[(usize, usize)]) -> String {
    let nodes: String = (0..nodes).map(|id| format!("node [ id {id} label \"r{id}\" ]\n")).collect();
    let edges: String = edges.iter().map(|(a, b)| format!("edge [ source {a} target {b} ]\n")).collect();
    format!("graph [\n{nodes}{edges}]\n")
}

fn wires(plan: &Plan) -> Vec<&str> {
    plan.wires.iter().map(|wire| wire.name.as_str()).collect()
}

#[test]
fn labels_become_names_and_stay_as_comments() {
    let text = "graph [ label \"Net of \\\"n\u{fc}ll\\\"\"
        node [ id 7 label \"Z&uuml;rich\" Country \"Schweiz\" ] node [ id 8 label \"NO\" ] node [ id 9 label \"?\" ]
        node [ id 10 ] node [ id 11 label \"no\nroute: [x]\" ]
        edge [ source 7 target 8 ] edge [ source 8 target 9 ] edge [ source 9 target 10 ] edge [ source 10 target 11 ] ]";
    let text = text.replace("\\\"", "&quot;");
    let imported = imported(&text, &Options::default());
    let plan = plan_of(&imported);
    let names: Vec<&str> = plan.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["zurich", "no", "n9", "n10", "no-route-x", "h-zurich", "h-no", "h-n9", "h-n10", "h-no-route-x"]);
    assert_eq!(plan.name, "net-of-null");
    assert!(plan.description.starts_with("Net of \"n\u{fc}ll\": imported"), "{}", plan.description);
    for comment in ["# Zürich, Schweiz\n", "# NO\n", "# no route: [x]\n"] {
        assert!(imported.text.contains(comment), "{}", imported.text);
    }
    assert!(imported.text.contains("  \"no\": {kind: router}"), "{}", imported.text);
}

#[test]
fn what_cannot_be_kept_is_said() {
    let text = "graph [
node [ id 1 label \"a\" ]
node [ id 2 label \"b\" Internal 0 ]
node [ id 2 label \"c\" ]
node [ label \"d\" ]
node [ id 4 label \"e\" hyperedge 1 ]
node [ id 5 label \"f\" Latitude 95 Longitude 5 ]
node [ id 6 label \"lone\" ]
edge [ source 1 target 2 ]
edge [ source 1 target 99 ]
edge [ source 1 ]
edge [ source 5 target 5 ]
edge [ source 2 target 4 ]
edge [ source 4 target 2 LinkLabel \"spare\" ]
edge [ source 4 target 5 LinkSpeedRaw 10 ]
]";
    let options = Options { rates: true, ..Options::default() };
    let imported = imported(text, &options);
    insta::assert_snapshot!(said(&imported).join("\n"), @"
    4: a second node with the id `2` is left out; the first is on line 3
    5: a node without an id is left out: no edge can lead to it
    7: `f` has no place on earth (95, 5): it counts as one without coordinates
    10: an edge from or to `99` is left out: there is no node with that id
    11: an edge without a target is left out
    12: an edge from `f` to itself is left out
    15: a rate of 10 bit/s is left out: a link's is 1kbit to 1000gbit
    1 node marked as other networks': kept: `b`
    1 node stands for a meeting of several links; here each is a router: `e`
    the graph has 2 parts: the largest is kept, and 1 node of the others left out: `lone`
    parallel edges are kept as links of their own: 2 between b and e
    no two nodes with a link have coordinates: all links cost the same
    there are hosts for 3 receivers only, not for ten
    ");
    assert_eq!(wires(&plan_of(&imported))[..4], ["a-b", "b-e", "b-e-2", "e-f"]);
    for line in said(&imported) {
        let line = line.split_once(": ").map_or(line.as_str(), |(_, said)| said);
        assert!(imported.text.contains(line), "the file lacks: {line}");
    }
}

#[test]
fn other_networks_can_be_left_out() {
    let text = gml(4, &[(0, 1), (1, 2), (2, 3)]).replace("id 3 ", "id 3 Internal 0 ");
    let options = Options { internal: true, ..Options::default() };
    let imported = imported(&text, &options);
    assert_eq!(wires(&plan_of(&imported))[..2], ["r0-r1", "r1-r2"]);
    assert_eq!(said(&imported)[0], "1 node marked as other networks': left out: `r3`");
}

#[test]
fn an_edge_and_its_reverse_are_one_link_where_edges_have_directions() {
    let edges = gml(3, &[(0, 1), (1, 0), (1, 2), (2, 1), (1, 2)]);
    assert_eq!(wires(&plan(&edges))[..5], ["r0-r1", "r0-r1-2", "r1-r2", "r1-r2-2", "r1-r2-3"]);
    let directed = edges.replace("graph [", "graph [ directed 1");
    assert_eq!(wires(&plan(&directed))[..3], ["r0-r1", "r1-r2", "r1-r2-2"]);
}

#[test]
fn the_largest_part_is_kept() {
    let imported = imported(&gml(7, &[(0, 1), (2, 3), (3, 4), (5, 6)]), &Options::default());
    assert_eq!(wires(&plan_of(&imported))[..2], ["r2-r3", "r3-r4"]);
    let parts =
        "the graph has 3 parts: the largest is kept, and 4 nodes of the others left out: `r0`, `r1`, `r5` and `r6`";
    assert!(said(&imported).contains(&parts.to_owned()), "{:?}", said(&imported));
}

#[test]
fn places_become_costs_and_delays() {
    let text = "graph [ node [ id 0 label \"Berlin\" Latitude 52.52 Longitude 13.405 ]
        node [ id 1 label \"Paris\" Latitude 48.8566 Longitude 2.3522 ] node [ id 2 label \"Somewhere\" ]
        edge [ source 0 target 1 LinkSpeedRaw 10000000000.0 ] edge [ source 1 target 2 ] ]";
    let costs = |plan: &Plan| plan.wires.iter().map(|wire| wire.cost).collect::<Vec<_>>();
    let bare = plan(text);
    assert_eq!(costs(&bare), [877, 877, 1, 1, 1]);
    assert!(bare.wires.iter().all(|wire| wire.impairment.is_none()));
    let options = Options { delays: true, rates: true, ..Options::default() };
    let full = imported(text, &options);
    let wire = &plan_of(&full).wires[0];
    assert_eq!(wire.impairment.rate, Some(10_000_000_000));
    assert_eq!(wire.impairment.delay.as_micros(), 4387);
    assert!(said(&full)[0].contains("`Somewhere`"), "{:?}", said(&full));
}

#[test]
fn rates_read_back_as_they_were() {
    for rate in [1_000u64, 1_001, 155_520_000, 999_999_999_999, 2_500_000_000, 1_000_000_000_000] {
        let text = gml(2, &[(0, 1)]).replace("target 1 ", &format!("target 1 LinkSpeedRaw {rate} "));
        let plan = plan_of(&imported(&text, &Options { rates: true, ..Options::default() }));
        assert_eq!(plan.wires[0].impairment.rate, Some(rate));
    }
}

#[test]
fn the_stream_goes_from_one_host_to_ten_others() {
    let edges: Vec<(usize, usize)> = (1..25).map(|n| (n - 1, n)).collect();
    let plan = plan(&gml(25, &edges));
    let Action::Join { hosts, .. } = &plan.scenarios[0].steps[0].action else { panic!() };
    assert_eq!(hosts.len(), 10);
    let Action::Stream(stream) = &plan.scenarios[0].steps[1].action else { panic!() };
    assert!(!hosts.contains(&stream.from) && stream.ttl == 26);
}

#[test]
fn hosts_are_where_they_are_asked_for() {
    let star: Vec<(usize, usize)> = (1..32).map(|n| (0, n)).collect();
    let text = gml(32, &star);
    let hosts = |hosts, multicast| {
        let imported = imported(&text, &Options { hosts, multicast, ..Options::default() });
        let plan = plan_of(&imported);
        (plan.nodes.iter().filter(|node| !node.is_router()).count(), plan.scenarios.len())
    };
    assert_eq!(hosts(Hosts::All, Multicast::PimDm), (32, 1));
    assert_eq!(hosts(Hosts::Leaves, Multicast::PimDm), (31, 1));
    assert_eq!(hosts(Hosts::None, Multicast::PimDm), (0, 0));
    assert_eq!(hosts(Hosts::All, Multicast::Static), (32, 0));
}

#[test]
fn a_node_with_too_many_links_is_refused_by_name() {
    let star = |count: usize| gml(count + 1, &(1..=count).map(|n| (0, n)).collect::<Vec<_>>());
    let full = imported(&star(32), &Options::default());
    assert_eq!(said(&full)[0], "`r0` has as many links as a router can have: it has no host");
    assert_eq!(plan_of(&full).nodes.len(), 33 + 32);
    let error = import_octets("x", star(33).as_bytes(), &Options::default()).unwrap_err();
    let text = "a node has more than 32 links, the most that a router can have if it forwards multicast: r0 (33)";
    assert_eq!(error.kind.to_string(), text);
    let none = Options { multicast: Multicast::None, ..Options::default() };
    assert_eq!(plan_of(&imported(&star(33), &none)).nodes.len(), 68);
}

#[test]
fn graphs_that_are_too_large_or_too_small_are_refused() {
    let kind = |text: &str| import_octets("x", text.as_bytes(), &Options::default()).unwrap_err().kind;
    assert_eq!(kind("graph [ ]"), ImportErrorKind::NoNode);
    assert_eq!(kind("graph [ node [ label \"x\" ] ]"), ImportErrorKind::NoNode);
    let chain = |count: usize| gml(count, &(1..count).map(|n| (n - 1, n)).collect::<Vec<_>>());
    assert!(matches!(kind(&chain(8001)), ImportErrorKind::TooMany { what: "routers and hosts", .. }));
    assert!(matches!(kind(&chain(16_001)), ImportErrorKind::TooMany { what: "nodes", .. }));
    let one = plan("graph [ node [ id 1 ] ]");
    assert_eq!(wires(&one), ["n1-h-n1"]);
}

#[test]
fn a_large_graph_is_imported_quickly() {
    let start = std::time::Instant::now();
    let edges: Vec<(usize, usize)> = (1..5000).map(|n| (n - 1, n)).collect();
    assert_eq!(plan(&gml(5000, &edges)).nodes.len(), 10_000);
    assert!(start.elapsed() < std::time::Duration::from_secs(20), "{:?}", start.elapsed());
}

const SEEDS: [&str; 2] = [
    "graph [ directed 0 label \"net\"\n node [ id 0 label \"K&ouml;ln\" Latitude 50.9 Longitude 6.9 Internal 0 ]\n node [ id 1 label \"K\u{f6}ln\" hyperedge 1 ]\n # c\n edge [ source 0 target 1 LinkSpeedRaw 1e9 LinkLabel \"x\" ]\n edge [ source 1 target 0 ]\n edge [ source 1 target 2 ] ]\n",
    "<graphml><key id='a' attr.name='label'/><key id='b' attr.name='Latitude'/><graph edgedefault='directed'><node id='0'><data key='a'>K&#246;ln</data><data key='b'>5</data></node>\n<node id='n1'/><edge source='0' target='n1'/></graph></graphml>",
];

const WORDS: [&str; 16] = [
    "[", "]", "\"", "graph", "node [", " id 0 ", "-1e999 ", "nan ", "&#0;", "&", "<graph>", "</", "'", "\r",
    "\u{2028}", "# ",
];

proptest! {
    /// Whatever a slip makes of a graph: a topology that loads, or an error, and no panic.
    #[test]
    fn a_mutated_graph_gives_a_topology_that_loads_or_an_error(
        seed in 0..SEEDS.len(),
        slips in prop::collection::vec((any::<prop::sample::Index>(), 0usize..8, 0..WORDS.len()), 0..6),
        delays: bool,
    ) {
        let mut text: Vec<char> = SEEDS[seed].chars().collect();
        for (at, cut, word) in slips {
            let at = at.index(text.len());
            let end = (at + cut).min(text.len());
            text.splice(at..end, WORDS[word].chars());
        }
        let text: String = text.into_iter().collect();
        let options = Options { delays, rates: delays, ..Options::default() };
        if let Ok(imported) = import_octets("fuzz.gml", text.as_bytes(), &options) {
            let loaded = parse("fuzz.yaml", &imported.text);
            prop_assert!(loaded.is_ok(), "{}\n{}", loaded.unwrap_err().plain(), imported.text);
        }
    }
}
