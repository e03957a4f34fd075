//! The runner on a network in memory: every expectation is seen to hold, and to fail for the right reason at the right place.

use std::collections::BTreeMap;
use std::time::Duration;

use super::fake::Fake;
use super::*;
use crate::network::{CommandOutput, ControlSighting, GroupCount, Time};
use crate::oracle::testing::{Net, all, chain, chain_net, group, only, stream};
use crate::topology::plan::{Attachment, NodeId, Plan};
use crate::topology::steps::{
    self, Action, Cut, CutKind, Deadline, Expectation, Formula, Invariant, Message, Scenario, Step, Stream,
};

mod control;
mod dense;
mod roles;

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
fn leaves_are_excused_for_their_time_and_measured() {
    let (plan, ids) = chain();
    let wire = plan.find_wire("last").unwrap();
    let check = |below| Action::Expect(Expectation::LeaveLatency { wire, group: group(), below });
    let steps = |below| {
        vec![join(ids["h1"]), Action::Stream(news(&ids)), delivered(&[ids["h1"]]), leave(ids["h1"]), check(below)]
    };
    let report = go(&plan, &mut Fake::new(&plan), steps(Deadline::Formula(Formula::LeaveLatency)));
    holds(&report);
    let Some(Figure { value: Value::Span(latency), .. }) = report.steps[4].figures.first() else { panic!("no figure") };
    assert!(*latency > ms(1900) && *latency <= ms(2000), "{latency:?}");

    let mut late = Fake::new(&plan);
    late.defects.leave_after = Some(ms(4500));
    fails(
        &go(&plan, &mut late, steps(Deadline::Formula(Formula::LeaveLatency))),
        &["r2 should not forward", "eth1", "allowed below 3s"],
    );

    let mut early = Fake::new(&plan);
    early.defects.leave_after = Some(ms(300));
    fails(
        &go(&plan, &mut early, steps(Deadline::Formula(Formula::LeaveLatency))),
        &["before the last member query time of 2s had passed"],
    );
}

#[test]
fn deadlines_move_while_others_hold_the_network_up() {
    let (plan, ids) = chain();
    let wire = plan.find_wire("last").unwrap();
    let within = Deadline::Formula(Formula::LeaveLatency);
    let quiet = Action::Expect(Expectation::Quiet { wire, group: Some(group()), within, lasting: ms(400) });
    let latency = Action::Expect(Expectation::LeaveLatency { wire, group: group(), below: within });
    let steps = || {
        vec![
            join(ids["h1"]),
            Action::Stream(news(&ids)),
            delivered(&[ids["h1"]]),
            leave(ids["h1"]),
            quiet.clone(),
            latency.clone(),
        ]
    };
    let network = |held_up| {
        let mut network = Fake::new(&plan);
        network.defects.leave_after = Some(ms(4500));
        network.defects.held_up = held_up;
        network
    };
    assert_eq!(go(&plan, &mut network(None), steps()).verdict, Verdict::Failed);
    holds(&go(&plan, &mut network(Some((ms(1000), ms(2800)))), steps()));
    let mut slow = Fake::new(&plan);
    slow.defects.slow_join = ms(1200);
    slow.defects.held_up = Some((ms(0), ms(900)));
    holds(&go(&plan, &mut slow, vec![Action::Stream(news(&ids)), join(ids["h1"]), delivered(&[ids["h1"]])]));
}

#[test]
fn a_leave_of_nothing_measures_nothing() {
    let (plan, ids) = chain();
    let wire = plan.find_wire("last").unwrap();
    let check = Action::Expect(Expectation::LeaveLatency { wire, group: group(), below: after(3000) });
    fails(
        &go(&plan, &mut Fake::new(&plan), vec![Action::Stream(news(&ids)), check.clone()]),
        &["nobody on last has left"],
    );
    let mut mute = Fake::new(&plan);
    mute.defects.mute.insert(ids["r2"]);
    let steps =
        vec![join(ids["h1"]), Action::Stream(news(&ids)), Action::Wait { time: ms(100) }, leave(ids["h1"]), check];
    fails(&go(&plan, &mut mute, steps), &["carried nothing to 239.1.1.1 before the leave"]);
}

#[test]
fn join_latency_is_measured_from_the_call() {
    let (plan, ids) = chain();
    let check = |below| Action::Expect(Expectation::JoinLatency { stream: "news".into(), at: vec![ids["h1"]], below });
    let steps = |below| vec![Action::Stream(news(&ids)), Action::Wait { time: ms(100) }, join(ids["h1"]), check(below)];
    holds(&go(&plan, &mut Fake::new(&plan), steps(after(50))));
    let mut slow = Fake::new(&plan);
    slow.defects.slow_join = ms(200);
    fails(&go(&plan, &mut slow, steps(after(50))), &["h1 got its first packet", "allowed below 50ms"]);
    let mut mute = Fake::new(&plan);
    mute.defects.mute.insert(ids["r1"]);
    fails(&go(&plan, &mut mute, steps(after(50))), &["h1 got no packet after its join: r1 should forward"]);
}

#[test]
fn an_outage_is_measured_with_its_time_line() {
    let (plan, ids) = chain();
    let cut = Cut { wire: plan.find_wire("middle").unwrap(), end: None, how: CutKind::Silent, detected_after: None };
    let check = |below| {
        Action::Expect(Expectation::Outage {
            stream: "news".into(),
            at: vec![ids["h1"]],
            below: after(below),
            within: after(2000),
        })
    };
    let steps = |below| {
        vec![
            join(ids["h1"]),
            Action::Stream(news(&ids)),
            delivered(&[ids["h1"]]),
            Action::Fail(cut.clone()),
            check(below),
        ]
    };
    let mut healing = Fake::new(&plan);
    healing.defects.heals = Some(ms(150));
    let report = go(&plan, &mut healing, steps(200));
    holds(&report);
    let timeline: Vec<&str> = report.steps[4].timeline.iter().map(|m| m.what.as_str()).collect();
    assert_eq!(timeline, ["fault: cut", "first packet again at h1"]);
    let mut healing = Fake::new(&plan);
    healing.defects.heals = Some(ms(150));
    fails(&go(&plan, &mut healing, steps(100)), &["h1 was without news for", "allowed below 100ms"]);
    let report = go(&plan, &mut Fake::new(&plan), steps(200));
    fails(&report, &["h1 receives nothing since", "middle"]);
    assert_eq!(report.steps[4].timeline.len(), 1, "nothing came again");
    let never = vec![join(ids["h1"]), Action::Stream(news(&ids)), check(100)];
    fails(&go(&plan, &mut Fake::new(&plan), never), &["nothing has failed yet"]);
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

#[test]
fn queriers_are_judged_by_their_queries() {
    let mut net = Net::new();
    let (r1, r2, h) = (net.router("r1"), net.router("r2"), net.host("h"));
    let lan = net.lan("lan", &[r1, r2, h]);
    let plan = net.plan();
    let check = |is| Action::Expect(Expectation::Querier { wire: lan, is, within: after(1000) });
    let with = |queries: &[(NodeId, u64)]| {
        let mut network = Fake::new(&plan);
        network.control = queries.iter().map(|(node, ms)| (lan, query(*node, *ms))).collect();
        network
    };
    holds(&go(&plan, &mut with(&[(r1, 0), (r2, 5), (r1, 400)]), vec![check(r1)]));
    fails(
        &go(&plan, &mut with(&[(r1, 0), (r2, 5)]), vec![check(r1)]),
        &["r1 is not the querier of lan: the last query came from r2"],
    );
    fails(&go(&plan, &mut with(&[]), vec![check(r1)]), &["no query was seen there"]);
    fails(&go(&plan, &mut with(&[(r2, 5), (r1, 400)]), vec![check(r2)]), &["r1 has the lowest address"]);
    // A successor that does not wait is wrong though it is the right one.
    let takeover = |at_ms| {
        let within = Deadline::Formula(Formula::OtherQuerierPresentInterval);
        let steps = vec![
            Action::Wait { time: ms(100) },
            Action::Kill { node: r1 },
            Action::Expect(Expectation::Querier { wire: lan, is: r2, within }),
        ];
        go(&plan, &mut with(&[(r1, 0), (r2, at_ms)]), steps)
    };
    holds(&takeover(255_100));
    fails(
        &takeover(5000),
        &["r2 took over 5s after the last query of r1; the other querier present interval is 4m 15s"],
    );
}

#[test]
fn messages_on_wires_are_counted() {
    let (plan, ids) = chain();
    let wire = plan.find_wire("last").unwrap();
    let check = |count, from, message| {
        Action::Expect(Expectation::Seen {
            wire,
            message,
            from,
            group: None,
            count,
            within: after(1000),
            since_start: true,
        })
    };
    let network = || {
        let mut network = Fake::new(&plan);
        network.control = vec![(wire, query(ids["r2"], 10)), (wire, query(ids["r2"], 500))];
        network
    };
    holds(&go(&plan, &mut network(), vec![check(2, Some(ids["r2"]), Message::IgmpQuery)]));
    let late = vec![Action::Wait { time: ms(5000) }, check(2, None, Message::IgmpQuery)];
    holds(&go(&plan, &mut network(), late));
    fails(
        &go(&plan, &mut network(), vec![check(3, None, Message::IgmpQuery)]),
        &["carried 2 of 3 wanted igmp-query; seen there: 2 igmp-general-query from r2"],
    );
    fails(&go(&plan, &mut network(), vec![check(1, Some(ids["h1"]), Message::IgmpQuery)]), &["h1 sent 0 of 1"]);
    fails(&go(&plan, &mut network(), vec![check(1, None, Message::IgmpLeave)]), &["carried 0 of 1"]);
}

#[test]
fn members_entries_and_trees_are_looked_up() {
    let (plan, ids) = chain();
    let member = |present, filter| {
        Action::Expect(Expectation::Member {
            at: at(ids["r2"], 1),
            group: group(),
            present,
            filter,
            within: after(200),
        })
    };
    let entry = |present, outgoing: &[usize]| {
        Action::Expect(Expectation::Entry {
            router: ids["r2"],
            source: "10.0.0.1".parse().unwrap(),
            group: group(),
            present,
            incoming: Some(0),
            outgoing: Some(outgoing.to_vec()),
            within: after(200),
        })
    };
    let tree = || Action::Expect(Expectation::Tree { stream: "news".into(), within: after(200) });
    let begin = || vec![join(ids["h1"]), Action::Stream(news(&ids)), Action::Wait { time: ms(50) }];
    let with = |checks: &[Action]| begin().into_iter().chain(checks.iter().cloned()).collect::<Vec<_>>();

    holds(&go(
        &plan,
        &mut Fake::new(&plan),
        with(&[member(true, Some(all())), entry(true, &[1]), entry(false, &[2]), tree()]),
    ));
    fails(
        &go(&plan, &mut Fake::new(&plan), with(&[member(false, None)])),
        &["r2 should know no member of 239.1.1.1 on eth1; it knows: all sources"],
    );
    fails(
        &go(&plan, &mut Fake::new(&plan), with(&[member(true, Some(only(&["10.0.0.1"])))])),
        &["(only 10.0.0.1) on eth1; it knows: all sources"],
    );
    fails(
        &go(&plan, &mut Fake::new(&plan), with(&[entry(true, &[2])])),
        &["r2 should have an entry (10.0.0.1, 239.1.1.1) from eth0 to eth2; kernel: from eth0 to eth1"],
    );
    fails(&go(&plan, &mut Fake::new(&plan), with(&[entry(false, &[1])])), &["r2 should not have an entry"]);

    let mut mute = Fake::new(&plan);
    mute.defects.mute.insert(ids["r1"]);
    fails(
        &go(&plan, &mut mute, with(&[tree()])),
        &["r1 should forward (10.0.0.1, 239.1.1.1) from eth0 to eth1; kernel: no entry"],
    );
    let mut extra = Fake::new(&plan);
    extra.defects.extra.insert(at(ids["r2"], 2));
    fails(&go(&plan, &mut extra, with(&[tree()])), &["r2 should not forward (10.0.0.1, 239.1.1.1) from eth0 to eth2"]);
    let mut threshold = Fake::new(&plan);
    threshold.defects.thresholds.insert(at(ids["r2"], 1), 8);
    fails(&go(&plan, &mut threshold, with(&[tree()])), &["r2 should forward", "eth1 (ttl > 8)"]);
}

#[test]
fn scope_is_judged_at_each_ttl() {
    let (mut net, ids) = chain_net();
    net.interface_mut(ids["r2"], 1).ttl_threshold = 8;
    let plan = net.plan();
    let sweep = |reached: &[(u8, NodeId)]| {
        let reached = reached.iter().map(|(ttl, host)| (*ttl, vec![*host])).collect();
        Action::Expect(Expectation::Scope {
            stream: news(&ids),
            ttls: vec![1, 2, 9, 10, 32],
            reached,
            within: after(500),
        })
    };
    let report = go(&plan, &mut Fake::new(&plan), vec![join(ids["h1"]), sweep(&[])]);
    holds(&report);
    assert_eq!(report.steps[1].figures[3], Figure::new("TTL 10", Value::Text("h1".into())));
    assert_eq!(report.steps[1].figures[2], Figure::new("TTL 9", Value::Text("nobody".into())));
    fails(
        &go(&plan, &mut Fake::new(&plan), vec![join(ids["h1"]), sweep(&[(9, ids["h1"])])]),
        &[
            "TTL 9 should reach h1: r2 should forward (10.0.0.1, 239.1.1.1) from eth0 to eth1: packets arrive with TTL 8, and its threshold is 8",
        ],
    );
    let mut lax = Fake::new(&plan);
    lax.defects.thresholds.insert(at(ids["r2"], 1), 2);
    fails(
        &go(&plan, &mut lax, vec![join(ids["h1"]), sweep(&[])]),
        &["TTL 9 should not reach h1, but does: r2 should not forward"],
    );
}

#[test]
fn commands_are_tried_until_they_give_what_they_should() {
    let (plan, ids) = chain();
    let output = |status, stdout: &str| CommandOutput { status, stdout: stdout.into(), stderr: String::new() };
    let check = || {
        Action::Expect(Expectation::Command {
            node: ids["r1"],
            command: vec!["show".into()],
            status: 0,
            contains: Some("up".into()),
            within: after(250),
        })
    };
    let mut network = Fake::new(&plan);
    network.outputs = vec![output(1, "down"), output(0, "it is up")];
    holds(&go(&plan, &mut network, vec![check()]));
    let mut network = Fake::new(&plan);
    network.outputs = vec![output(0, "down"); 5];
    fails(&go(&plan, &mut network, vec![check()]), &["on r1: expected \"up\" in its output; status 0: down"]);
    // What the network cannot do is no failure of what is tested.
    let report = go(&plan, &mut Fake::new(&plan), vec![check(), Action::Wait { time: ms(1) }]);
    assert_eq!((report.verdict, report.steps[1].verdict), (Verdict::Unsupported, Verdict::Passed));
    let run = Action::Run { at: steps::Place::Node(ids["r1"]), command: vec!["x".into()] };
    let report = go(&plan, &mut Fake::new(&plan), vec![run, Action::Wait { time: ms(1) }]);
    assert_eq!((report.verdict, report.steps[1].verdict), (Verdict::Unsupported, Verdict::Skipped));
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

#[test]
fn time_limits_cover_the_steps() {
    let (plan, ids) = chain();
    let steps = vec![delivered(&[ids["h1"]]), Action::Wait { time: Duration::from_secs(100) }];
    let steps = steps.into_iter().map(|action| Step { line: 1, text: String::new(), action }).collect();
    let scenario = Scenario { name: "s".into(), steps, without: Vec::new() };
    let limit = time_limit(&plan, &scenario, &Options::default());
    assert!(limit > Duration::from_secs(101) && limit < Duration::from_secs(180), "{limit:?}");
}
