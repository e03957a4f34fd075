//! Protocol messages: what is seen of them, and what cannot be read.

use std::sync::Arc;

use router_core::wire::pim;

use super::*;
use crate::network::Malformed;

fn join_prune(node: NodeId, at_ms: u64, joined: &str, pruned: &str) -> ControlSighting {
    let source = pim::EncodedSource {
        address: "10.0.0.1".parse().unwrap(),
        mask_length: 32,
        sparse: false,
        wildcard: false,
        rpt: false,
    };
    let set = |group: &str| pim::GroupSet {
        group: group.parse().unwrap(),
        mask_length: 32,
        joined: Vec::new(),
        pruned: Vec::new(),
    };
    let groups = vec![
        pim::GroupSet { joined: vec![source], ..set(joined) },
        pim::GroupSet { pruned: vec![source], ..set(pruned) },
    ];
    ControlSighting {
        message: Message::PimJoinPrune,
        groups: groups.iter().map(|set| set.group).collect(),
        pim: Some(Arc::new(pim::Message::JoinPrune(pim::JoinPrune {
            upstream: "10.0.0.2".parse().unwrap(),
            hold_time: 210,
            groups,
        }))),
        ..query(node, at_ms)
    }
}

#[test]
fn a_message_of_several_kinds_counts_as_each_of_them() {
    let (plan, ids) = chain();
    let wire = plan.find_wire("middle").unwrap();
    let network = || {
        let mut network = Fake::new(&plan);
        network.control = vec![(wire, join_prune(ids["r2"], 10, "239.1.1.1", "239.1.1.2"))];
        network
    };
    let check = |message, group: Option<&str>, count| {
        let group = group.map(|group| group.parse().unwrap());
        Action::Expect(Expectation::Seen {
            wire,
            message,
            from: None,
            group,
            count,
            within: after(100),
            since_start: true,
        })
    };
    let good = vec![
        check(Message::PimJoin, Some("239.1.1.1"), 1),
        check(Message::PimPrune, Some("239.1.1.2"), 1),
        check(Message::PimJoin, None, 1),
        check(Message::PimJoinPrune, Some("239.1.1.2"), 1),
    ];
    holds(&go(&plan, &mut network(), good));
    fails(
        &go(&plan, &mut network(), vec![check(Message::PimPrune, Some("239.1.1.1"), 1)]),
        &["middle carried 0 of 1 wanted pim-prune; seen there: 1 pim-join-prune from r2"],
    );
    fails(&go(&plan, &mut network(), vec![check(Message::PimJoinPrune, None, 2)]), &["carried 1 of 2"]);
}

#[test]
fn a_message_that_cannot_be_read_is_its_senders_defect() {
    let (plan, ids) = chain();
    let wire = plan.find_wire("middle").unwrap();
    let mut network = Fake::new(&plan);
    let malformed = Malformed {
        at: at(ids["r2"], 0),
        source: "10.0.1.2".parse().unwrap(),
        why: "wrong PIM checksum".into(),
        count: 3,
        first: Time(1_250_000_000),
    };
    network.malformed = vec![(wire, malformed)];
    let steps = || vec![Action::Wait { time: ms(500) }];
    fails(
        &go(&plan, &mut network, steps()),
        &[
            "r2.eth0 sent 3 messages into middle that cannot be read: wrong PIM checksum (from 10.0.1.2, first 250ms after",
        ],
    );
    let report = go_without(&plan, &mut network, steps(), vec![Invariant::WellFormed]);
    assert_eq!(report.verdict, Verdict::Passed);
}

#[test]
fn a_router_that_remembers_more_than_it_was_given_is_named() {
    let (plan, ids) = chain();
    let held = |trees, entries| Held { memberships: 0, neighbours: 2, trees, entries };
    let steps = || vec![Action::Stream(news(&ids)), join(ids["h1"]), Action::Wait { time: ms(300) }];
    let mut network = Fake::new(&plan);
    // (*,G) and (S,G).
    network.held = [(ids["r2"], held(2, 1))].into();
    holds(&go(&plan, &mut network, steps()));
    let mut network = Fake::new(&plan);
    network.held = [(ids["r2"], held(3, 1))].into();
    fails(
        &go(&plan, &mut network, steps()),
        &["r2 held 3 trees at one time, where the scenario accounts for 2 at the most"],
    );
}

#[test]
fn a_drop_says_what_it_took_and_one_that_took_nothing_proves_nothing() {
    let (plan, ids) = chain();
    let wire = plan.find_wire("middle").unwrap();
    let loss = steps::MessageLoss { wire, from: Some(at(ids["r2"], 0)), message: Message::PimGraft, count: 2 };
    let steps = || vec![Action::Drop(loss.clone()), Action::Wait { time: ms(100) }];
    let mut network = Fake::new(&plan);
    network.takes = 2;
    let report = go(&plan, &mut network, steps());
    holds(&report);
    assert_eq!(network.losses, [(loss.clone(), 2)]);
    assert_eq!(report.steps[0].figures, [Figure::new("dropped", Value::Count(2))]);
    let report = go(&plan, &mut Fake::new(&plan), steps());
    fails(&report, &["no pim-graft from r2 came that could have been dropped on its way into middle"]);
    assert_eq!((report.steps[0].verdict, report.steps[1].verdict), (Verdict::Failed, Verdict::Passed));
}
