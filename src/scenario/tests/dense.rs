//! Dense mode: what may flood and be doubled until all has come to rest, and not after it; who knows whom.

use super::*;
use crate::network::{Happening, HappeningKind, Neighbour};

/// src - r1 - r2 - h, both routers in dense mode, which the network in memory plays by static routes.
fn dense_chain() -> (Net, Ids) {
    let mut net = Net::new();
    let (src, r1, r2, h) = (net.host("src"), net.pim("r1"), net.pim("r2"), net.host("h"));
    net.link("first", src, r1);
    net.link("middle", r1, r2);
    net.lan("last", &[r2, h]);
    net.route(r1, 0, &[1]);
    net.route(r2, 0, &[]);
    net.timers(0.01);
    (net, BTreeMap::from([("src", src), ("r1", r1), ("r2", r2), ("h", h)]))
}

fn play(millis: u64, ids: &Ids) -> Vec<Action> {
    vec![Action::Stream(news(ids)), Action::Wait { time: ms(millis) }]
}

#[test]
fn a_flood_that_is_never_pruned_is_astray_once_all_should_be_at_rest() {
    let (net, ids) = dense_chain();
    let plan = net.plan();
    holds(&go(&plan, &mut Fake::new(&plan), play(800, &ids)));
    let report = go(&plan, &mut Fake::new(&plan), play(3000, &ids));
    fails(
        &report,
        &["astray: r1 should not forward (10.0.0.1, 239.1.1.1) from eth0 to eth1: nobody there asks for it"],
    );
    assert_eq!(first_place(&report).node.as_deref(), Some("r1"));
}

#[test]
fn without_state_refresh_a_flood_may_come_back() {
    let (mut net, ids) = dense_chain();
    net.router_mut(ids["r2"]).pim.state_refresh = Some(false);
    let plan = net.plan();
    holds(&go(&plan, &mut Fake::new(&plan), play(3000, &ids)));
}

/// src - r1, r1 - r2 and r1 - r3, r2 and r3 on one LAN with h: two forwarders.
fn two_forwarders() -> (Net, Ids) {
    let mut net = Net::new();
    let (src, r1, r2, r3, h) = (net.host("src"), net.pim("r1"), net.pim("r2"), net.pim("r3"), net.host("h"));
    net.link("first", src, r1);
    net.link("near", r1, r2);
    net.link("far", r1, r3);
    net.lan("shared", &[r2, r3, h]);
    net.route(r1, 0, &[1, 2]);
    net.route(r2, 0, &[1]);
    net.route(r3, 0, &[1]);
    net.timers(0.01);
    (net, BTreeMap::from([("src", src), ("r1", r1), ("r2", r2), ("r3", r3), ("h", h)]))
}

#[test]
fn two_forwarders_may_double_packets_only_until_their_asserts_are_decided() {
    let (net, ids) = two_forwarders();
    let plan = net.plan();
    let steps = |millis| [vec![join(ids["h"])], play(millis, &ids)].concat();
    let without = vec![Invariant::NoStrayData];
    holds(&go_without(&plan, &mut Fake::new(&plan), steps(2000), without.clone()));
    let report = go_without(&plan, &mut Fake::new(&plan), steps(9000), without);
    fails(&report, &["of news went more than once", "r2.eth1 and r3.eth1 both send packet"]);
}

#[test]
fn a_fault_excuses_doubles_for_as_long_again() {
    let (net, ids) = two_forwarders();
    let plan = net.plan();
    let mut network = Fake::new(&plan);
    // The second forwarder comes late, as after a fault; at rest it may not come at all.
    network.defects.mute.insert(ids["r3"]);
    let quiet = [vec![join(ids["h"])], play(9000, &ids)].concat();
    holds(&go_without(&plan, &mut network, quiet, vec![Invariant::NoStrayData]));
}

fn know(at: Attachment, are: Option<Vec<NodeId>>) -> Action {
    Action::Expect(Expectation::Neighbours { at: vec![at], are, within: after(100) })
}

#[test]
fn routers_must_know_exactly_their_neighbours() {
    let (net, ids) = dense_chain();
    let plan = net.plan();
    let (r1, r2) = (ids["r1"], ids["r2"]);
    let address = |node, interface| plan.interface(at(node, interface)).ipv4().unwrap().addr().into();
    let neighbour = |interface, address| Neighbour { interface, address };
    let network = |known: Vec<Neighbour>| {
        let mut network = Fake::new(&plan);
        network.neighbours.insert(r1, known);
        network
    };
    let good = || network(vec![neighbour(1, address(r2, 0))]);
    holds(&go(&plan, &mut good(), vec![know(at(r1, 1), None), know(at(r1, 1), Some(vec![r2])), know(at(r1, 0), None)]));
    let report = go(&plan, &mut network(Vec::new()), vec![know(at(r1, 1), None)]);
    fails(&report, &["r1 should know its PIM neighbour r2 on eth1: no hello of it was seen on middle"]);
    assert_eq!(first_place(&report).wire.as_deref(), Some("middle"));
    fails(
        &go(&plan, &mut good(), vec![know(at(r1, 1), Some(Vec::new()))]),
        &["r1 should not know the PIM neighbour r2"],
    );
    // Whoever is dead is no neighbour.
    let died = vec![Action::Kill { node: r2 }, know(at(r1, 1), None)];
    fails(&go(&plan, &mut good(), died), &["r1 should not know the PIM neighbour r2 on eth1"]);
    let stranger = network(vec![neighbour(1, address(r2, 0)), neighbour(1, "10.9.9.9".parse().unwrap())]);
    fails(&go(&plan, &mut { stranger }, vec![know(at(r1, 1), None)]), &["should not know the PIM neighbour 10.9.9.9"]);
}

#[test]
fn each_part_of_an_outage_has_its_owner() {
    let (plan, ids) = chain();
    let wire = plan.find_wire("middle").unwrap();
    let cut = Cut { wire, end: None, how: CutKind::Silent, detected_after: None };
    let mut network = Fake::new(&plan);
    network.defects.heals = Some(ms(150));
    let happening = |millis: u64, node: &str, group: Option<&str>, kind| Happening {
        time: Time(1_000_000_000) + ms(millis),
        node: Some(ids[node]),
        group: group.map(|group| group.parse().unwrap()),
        what: "changed".into(),
        kind,
    };
    // The fault comes after the second that `delivered` takes; what happens to another group is no part of it.
    network.happenings = vec![
        happening(1600, "r1", None, HappeningKind::Carrier),
        happening(1610, "r2", None, HappeningKind::Routes),
        happening(1640, "r2", Some("239.1.1.1"), HappeningKind::Entry),
        happening(1645, "r2", Some("239.9.9.9"), HappeningKind::Entry),
    ];
    let graft = ControlSighting { message: Message::PimGraft, groups: vec![group()], ..query(ids["r2"], 1615) };
    network.control = vec![(wire, graft)];
    let steps = vec![
        join(ids["h1"]),
        Action::Stream(news(&ids)),
        delivered(&[ids["h1"]]),
        Action::Wait { time: ms(1000) },
        Action::Fail(cut),
        Action::Expect(Expectation::Outage {
            stream: "news".into(),
            at: vec![ids["h1"]],
            below: after(200),
            within: after(2000),
        }),
    ];
    let report = go(&plan, &mut network, steps);
    let figures = &report.steps[5].figures;
    let parts: Vec<(&str, Option<&str>)> = figures.iter().map(|f| (f.name.as_str(), f.at.as_deref())).collect();
    let owners = [("carrier news", "r1"), ("routes", "r2"), ("pim-graft", "r2"), ("entry", "r2"), ("packet", "h1")];
    for (name, place) in owners {
        assert!(parts.contains(&(name, Some(place))), "{name} at {place} is missing in {parts:?}");
    }
    assert_eq!(figures.iter().find(|f| f.name == "entry").map(|f| &f.value), Some(&Value::Span(ms(25))));
    let said: Vec<&str> = report.steps[5].timeline.iter().map(|m| m.what.as_str()).collect();
    assert!(said.iter().any(|line| line.starts_with("message: r2: pim-graft to ")), "{said:?}");
    assert_eq!(said.iter().filter(|line| line.starts_with("entry: ")).count(), 1, "{said:?}");
}
