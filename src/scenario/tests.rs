//! The runner on a network in memory: every expectation is seen to hold, and to fail for the right reason at the right place.

use std::collections::BTreeMap;
use std::time::Duration;

use super::fake::Fake;
use super::*;
use crate::network::{CommandOutput, ControlSighting, GroupCount, Held, Time};
use crate::oracle::testing::{Net, all, chain, chain_net, group, only, stream};
use crate::topology::plan::{Attachment, NodeId, Plan};
use crate::topology::steps::{
    self, Action, Cut, CutKind, Deadline, Expectation, Formula, Invariant, Message, Scenario, Step, Stream,
};

mod control;
mod dense;
mod roles;
mod state;
mod timing;

type Ids = BTreeMap<&'static str, NodeId>;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn after(n: u64) -> Deadline {
    Deadline::After(ms(n))
}

fn at(node: NodeId, interface: usize) -> Attachment {
    Attachment { node, interface }
}

fn go(plan: &Plan, network: &mut Fake, actions: Vec<Action>) -> ScenarioReport {
    go_without(plan, network, actions, Vec::new())
}

fn go_without(plan: &Plan, network: &mut Fake, actions: Vec<Action>, without: Vec<Invariant>) -> ScenarioReport {
    let steps = actions
        .into_iter()
        .enumerate()
        .map(|(n, action)| Step { line: n + 1, text: format!("step {}", n + 1), action })
        .collect();
    let scenario = Scenario { name: "drawn".into(), steps, without };
    let report = run(plan, &scenario, network, &Options::default());
    let whole = serde_json::to_string(&report).expect("a report serialises");
    assert_eq!(serde_json::from_str::<ScenarioReport>(&whole).expect("and comes back"), report);
    report
}

fn join(host: NodeId) -> Action {
    Action::Join { hosts: vec![host], group: group(), groups: 1, filter: all() }
}

fn leave(host: NodeId) -> Action {
    Action::Leave { hosts: vec![host], group: group(), groups: 1 }
}

fn news(ids: &Ids) -> Stream {
    stream("news", ids["src"], 16)
}

fn delivered(to: &[NodeId]) -> Action {
    Action::Expect(Expectation::Delivered {
        stream: "news".into(),
        to: to.to_vec(),
        within: after(1000),
        lasting: ms(500),
        loss: 0,
        duplicates: 0,
    })
}

fn not_delivered(to: &[NodeId]) -> Action {
    Action::Expect(Expectation::NotDelivered { stream: "news".into(), to: to.to_vec(), lasting: ms(500) })
}

fn quiet(plan: &Plan, wire: &str) -> Action {
    let wire = plan.find_wire(wire).expect("a wire of the plan");
    Action::Expect(Expectation::Quiet { wire, group: Some(group()), within: after(100), lasting: ms(400) })
}

/// Everything that a report says is wrong, in one text.
fn said(report: &ScenarioReport) -> String {
    let steps = report.steps.iter().flat_map(|s| &s.findings);
    let invariants = report.invariants.iter().flat_map(|i| &i.findings);
    steps.chain(invariants).map(|f| f.text.as_str()).collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn holds(report: &ScenarioReport) {
    assert_eq!(report.verdict, Verdict::Passed, "{}", said(report));
    assert_eq!(said(report), "");
}

#[track_caller]
fn fails(report: &ScenarioReport, texts: &[&str]) {
    assert_eq!(report.verdict, Verdict::Failed, "{report:#?}");
    for text in texts {
        assert!(said(report).contains(text), "{text:?} is missing in:\n{}", said(report));
    }
}

fn first_place(report: &ScenarioReport) -> Place {
    let findings =
        report.steps.iter().flat_map(|s| &s.findings).chain(report.invariants.iter().flat_map(|i| &i.findings));
    findings.filter_map(|f| f.place.clone()).next().expect("a place to blame")
}

fn query(node: NodeId, at_ms: u64) -> ControlSighting {
    ControlSighting {
        at: at(node, 0),
        message: Message::IgmpGeneralQuery,
        source: "10.0.0.1".parse().unwrap(),
        destination: "224.0.0.1".parse().unwrap(),
        groups: Vec::new(),
        time: Time(1_000_000_000 + at_ms * 1_000_000),
        length: 12,
        pim: None,
    }
}

fn basic(plan: &Plan, ids: &Ids) -> Vec<Action> {
    vec![
        join(ids["h1"]),
        Action::Stream(news(ids)),
        delivered(&[ids["h1"]]),
        not_delivered(&[ids["h2"]]),
        quiet(plan, "side"),
    ]
}

#[test]
fn a_sound_network_passes() {
    let (plan, ids) = chain();
    let mut network = Fake::new(&plan);
    network.control = vec![(plan.find_wire("last").unwrap(), query(ids["r2"], 10))];
    network.held = [(ids["r2"], Held { memberships: 1, ..Held::default() })].into();
    let report = go(&plan, &mut network, basic(&plan, &ids));
    holds(&report);
    assert!(report.steps[2].figures.contains(&Figure::at("lost", "h1", Value::Packets(0))));
    assert!(report.invariants.iter().all(|i| i.examined > 0), "{:?}", report.invariants);
    assert_eq!(report.streams[0].receivers[0].host, "h1");
}

#[test]
fn the_same_network_gives_the_same_report() {
    let (plan, ids) = chain();
    let one = go(&plan, &mut Fake::new(&plan), basic(&plan, &ids));
    assert_eq!(one, go(&plan, &mut Fake::new(&plan), basic(&plan, &ids)));
}

#[test]
fn a_router_that_forwards_nothing_is_named_with_its_interface() {
    let (plan, ids) = chain();
    let mut network = Fake::new(&plan);
    network.captures = true;
    network.defects.mute.insert(ids["r2"]);
    let report = go(&plan, &mut network, basic(&plan, &ids));
    fails(
        &report,
        &[
            "r2 should forward (10.0.0.1, 239.1.1.1) from eth0 to eth1; kernel: no entry; daemon: member on eth1 (all sources); capture: captures/last.pcapng",
        ],
    );
    let place = first_place(&report);
    assert_eq!(
        (place.node.as_deref(), place.incoming.as_deref(), place.outgoing.as_deref()),
        (Some("r2"), Some("eth0"), Some("eth1"))
    );
}

#[test]
fn multicast_none_in_the_file_is_named() {
    let (mut net, ids) = chain_net();
    net.router_mut(ids["r2"]).multicast = crate::topology::plan::Multicast::None;
    let plan = net.plan();
    let report = go(&plan, &mut Fake::new(&plan), basic(&plan, &ids));
    fails(
        &report,
        &["r2 should forward (10.0.0.1, 239.1.1.1) from eth0 to eth1: the file sets `multicast: none` there"],
    );
}

#[test]
fn a_threshold_that_is_too_high_is_named() {
    // In the file...
    let (mut net, ids) = chain_net();
    net.interface_mut(ids["r1"], 1).ttl_threshold = 64;
    let plan = net.plan();
    let report = go(&plan, &mut Fake::new(&plan), basic(&plan, &ids));
    fails(
        &report,
        &[
            "r1 should forward (10.0.0.1, 239.1.1.1) from eth0 to eth1: packets arrive with TTL 16, and its threshold is 64",
        ],
    );
    // ...and in the kernel alone.
    let (plan, ids) = chain();
    let mut network = Fake::new(&plan);
    network.defects.thresholds.insert(at(ids["r1"], 1), 64);
    let report = go(&plan, &mut network, basic(&plan, &ids));
    fails(
        &report,
        &["r1 should forward (10.0.0.1, 239.1.1.1) from eth0 to eth1; kernel: from eth0 to eth1 (ttl > 64)"],
    );
}

#[test]
fn a_deaf_querier_is_named() {
    let (plan, ids) = chain();
    let mut network = Fake::new(&plan);
    network.defects.deaf.insert(at(ids["r2"], 1));
    let report = go(&plan, &mut network, basic(&plan, &ids));
    fails(
        &report,
        &["r2 should forward (10.0.0.1, 239.1.1.1) from eth0 to eth1; kernel: no entry; daemon: no member on eth1"],
    );
}

#[test]
fn a_route_planted_by_hand_is_named() {
    let (plan, ids) = chain();
    let mut actions = basic(&plan, &ids);
    actions.insert(2, Action::Run { at: steps::Place::Node(ids["r2"]), command: vec!["plant".into(), "2".into()] });
    let report = go(&plan, &mut Fake::new(&plan), actions);
    fails(
        &report,
        &[
            "side carries news",
            "r2 should not forward (10.0.0.1, 239.1.1.1) from eth0 to eth2: nobody there has joined",
        ],
    );
    let place = first_place(&report);
    assert_eq!((place.node.as_deref(), place.outgoing.as_deref()), (Some("r2"), Some("eth2")));
    let stray = report.invariants.iter().find(|i| i.invariant == Invariant::NoStrayData).unwrap();
    assert_eq!(stray.findings.len(), 1, "{:?}", stray.findings);
}

#[test]
fn a_snooping_bridge_that_floods_is_named_with_its_port() {
    let (mut net, ids) = chain_net();
    let (r2, member, other) = (ids["r2"], net.host("member"), net.host("other"));
    let lan = net.snooping_lan("campus", &[r2, member, other]);
    let plan = net.plan();
    let actions =
        || vec![Action::Wait { time: ms(2000) }, join(member), Action::Stream(news(&ids)), delivered(&[member])];
    holds(&go(&plan, &mut Fake::new(&plan), actions()));
    let mut network = Fake::new(&plan);
    network.defects.floods.insert(lan);
    let report = go(&plan, &mut network, actions());
    fails(
        &report,
        &["the bridge of campus should not pass (10.0.0.1, 239.1.1.1) to the port of other.eth0: no member is there"],
    );
}

#[test]
fn nothing_sent_never_passes() {
    let (plan, ids) = chain();
    for check in [delivered(&[ids["h1"]]), not_delivered(&[ids["h2"]]), quiet(&plan, "side")] {
        let mut network = Fake::new(&plan);
        network.defects.silent_sender = true;
        let report = go(&plan, &mut network, vec![join(ids["h1"]), Action::Stream(news(&ids)), check]);
        assert_eq!(report.verdict, Verdict::Failed);
    }
    let report = go(&plan, &mut Fake::new(&plan), vec![delivered(&[ids["h1"]])]);
    fails(&report, &["news has not been started"]);
}

#[test]
fn loss_is_counted_and_its_wire_named() {
    let (plan, ids) = chain();
    let mut network = Fake::new(&plan);
    network.defects.drops.insert(plan.find_wire("middle").unwrap(), 10);
    let report = go(&plan, &mut network, vec![join(ids["h1"]), Action::Stream(news(&ids)), delivered(&[ids["h1"]])]);
    fails(
        &report,
        &[
            "h1 lost 5 of 50 packets (in 5 gaps, from number 9 on), allowed 0: middle did not bring packets from r1.eth1 to r2.eth0",
        ],
    );
}

#[test]
fn lost_measurements_and_late_runners_are_inconclusive() {
    let (plan, ids) = chain();
    let steps = || vec![join(ids["h1"]), Action::Stream(news(&ids)), delivered(&[ids["h1"]])];
    let mut network = Fake::new(&plan);
    network.defects.drops.insert(plan.find_wire("middle").unwrap(), 10);
    network.defects.doubts.push("3 frames were lost by the tap of middle".into());
    assert_eq!(go(&plan, &mut network, steps()).verdict, Verdict::Inconclusive);
    let mut network = Fake::new(&plan);
    network.defects.mute.insert(ids["r2"]);
    network.defects.late = ms(800);
    let report = go(&plan, &mut network, steps());
    assert_eq!(report.verdict, Verdict::Inconclusive);
    assert!(said(&report).contains("the runner woke 800ms too late"), "{}", said(&report));
    // What is there and should not be is wrong, whatever was lost beside it.
    let mut network = Fake::new(&plan);
    network.defects.extra.insert(at(ids["r2"], 2));
    network.defects.doubts.push("3 frames were lost by the tap of middle".into());
    assert_eq!(go(&plan, &mut network, steps()).verdict, Verdict::Failed);
}

#[test]
fn a_stream_that_is_over_is_judged_whole() {
    let (plan, ids) = chain();
    let few = Stream { count: Some(5), ..news(&ids) };
    let steps =
        || vec![join(ids["h1"]), Action::Stream(few.clone()), Action::Wait { time: ms(500) }, delivered(&[ids["h1"]])];
    let report = go(&plan, &mut Fake::new(&plan), steps());
    holds(&report);
    assert!(report.steps[3].figures.contains(&Figure::new("judged", Value::Packets(5))));
    let mut network = Fake::new(&plan);
    network.defects.drops.insert(plan.find_wire("last").unwrap(), 5);
    fails(&go(&plan, &mut network, steps()), &["h1 lost 1 of 5 packets"]);
}

#[test]
fn duplicates_are_counted_and_their_sender_named() {
    let (plan, ids) = chain();
    let mut network = Fake::new(&plan);
    network.defects.doubles.insert(at(ids["r1"], 1));
    let report = go(&plan, &mut network, basic(&plan, &ids));
    fails(
        &report,
        &["h1 got 50 copies too many, allowed 0: r1.eth1 sent packet", "went more than once out of r1.eth1"],
    );
    let mut net = Net::new();
    let (src, r1, r2, h) = (net.host("src"), net.router("r1"), net.router("r2"), net.host("h"));
    net.lan("top", &[src, r1, r2]);
    net.lan("bottom", &[r1, r2, h]);
    net.route(r1, 0, &[]);
    net.route(r2, 0, &[]);
    let plan = net.plan();
    let steps = vec![join(h), Action::Stream(stream("news", src, 16)), delivered(&[h])];
    fails(&go(&plan, &mut Fake::new(&plan), steps), &["r1.eth1 and r2.eth1 both send packet"]);
}

#[test]
fn a_ttl_that_does_not_fall_is_named_where_it_does_not() {
    let (plan, ids) = chain();
    let mut network = Fake::new(&plan);
    network.defects.keeps_ttl.insert(ids["r1"]);
    let report = go(&plan, &mut network, basic(&plan, &ids));
    fails(&report, &["leaves r1.eth1 with TTL 16 instead of 15"]);
    let report = go_without(
        &plan,
        &mut {
            let mut n = Fake::new(&plan);
            n.defects.keeps_ttl.insert(ids["r1"]);
            n
        },
        basic(&plan, &ids),
        vec![Invariant::TtlFalls],
    );
    holds(&report);
    assert!(report.invariants.iter().any(|i| i.verdict == Verdict::Skipped));
}

#[test]
fn a_host_that_hears_what_it_has_not_joined_is_named() {
    let (plan, ids) = chain();
    let mut network = Fake::new(&plan);
    network.defects.nosy.insert(ids["h2"]);
    network.defects.extra.insert(at(ids["r2"], 2));
    let report = go(&plan, &mut network, basic(&plan, &ids));
    fails(&report, &["h2 received", "r2 should not forward", "that it had not joined for"]);
}

#[test]
fn frames_without_a_stamp_may_not_stray_either() {
    let (plan, ids) = chain();
    let count = |node: &str, interface| GroupCount {
        at: at(ids[node], interface),
        outbound: true,
        source: "10.0.0.1".parse().unwrap(),
        group: group(),
        stamped: 0,
        unstamped: 7,
        first: Time(1_100_000_000),
        last: Time(1_200_000_000),
    };
    let with = |node: &str, interface: usize| {
        let mut network = Fake::new(&plan);
        let wire = plan.interface(at(ids[node], interface)).wire;
        network.unstamped.push((wire, count(node, interface)));
        go(&plan, &mut network, vec![Action::Wait { time: ms(500) }])
    };
    holds(&with("r1", 1));
    fails(&with("r2", 2), &["r2.eth2 forwarded 7 frames of no stream from 10.0.0.1 to 239.1.1.1"]);
}

#[test]
fn a_killed_router_is_named() {
    let (plan, ids) = chain();
    let steps = vec![
        join(ids["h1"]),
        Action::Stream(news(&ids)),
        delivered(&[ids["h1"]]),
        Action::Kill { node: ids["r2"] },
        delivered(&[ids["h1"]]),
        Action::Restart { node: ids["r2"] },
        delivered(&[ids["h1"]]),
    ];
    let report = go(&plan, &mut Fake::new(&plan), steps);
    fails(
        &report,
        &[
            "r2 should forward (10.0.0.1, 239.1.1.1) from eth0 to eth1: its daemon is dead; kernel: no entry; daemon: dead",
        ],
    );
    assert_eq!(report.steps[6].verdict, Verdict::Passed);
}
