//! Flows through routers in PIM sparse mode, on networks drawn by hand.

use std::collections::BTreeSet;

use router_core::config::{SptSwitchover, SsmMapping};

use super::*;
use crate::oracle::testing::{Net, all, all_but, only, stream};
use crate::topology::plan::Daemon;
use crate::topology::steps::{Cut, CutKind};

/// src - r1, r1 - r2 - h1, r1 - rp - r2: the source's own tree leaves the rendezvous point aside.
struct Triangle {
    net: Net,
    src: NodeId,
    r1: NodeId,
    r2: NodeId,
    rp: NodeId,
    h1: NodeId,
}

impl Triangle {
    fn new() -> Triangle {
        let mut net = Net::new();
        let (src, r1, r2, rp, h1) =
            (net.host("src"), net.sparse("r1"), net.sparse("r2"), net.sparse("rp"), net.host("h1"));
        net.link("src-r1", src, r1);
        net.link("direct", r1, r2);
        net.link("up", r1, rp);
        net.link("down", rp, r2);
        net.link("r2-h1", r2, h1);
        net.rendezvous_point(rp);
        Triangle { net, src, r1, r2, rp, h1 }
    }

    fn joined(&self) -> World {
        let mut world = World::new();
        world.join(self.h1, group(), &all());
        world
    }

    fn flow(&self, world: &World, ttl: u8) -> Flow {
        Flow::of(&self.net.plan(), world, &stream("news", self.src, ttl)).unwrap()
    }
}

fn group() -> IpAddr {
    crate::oracle::testing::group()
}

fn end(node: NodeId, interface: usize) -> Attachment {
    Attachment { node, interface }
}

#[test]
fn members_get_packets_by_the_rendezvous_point_and_then_by_the_sources_own_tree() {
    let lab = Triangle::new();
    let flow = lab.flow(&lab.joined(), 16);
    assert_eq!(flow.reaches(lab.h1), Certainty::Yes);
    // Two routers on the direct way; by register the designated router, the rendezvous point and r2.
    assert_eq!(flow.receivers[&lab.h1].ttls, BTreeSet::from([13, 14]));
    let settled = |at: Attachment| flow.outbound.get(&at).map_or(Certainty::No, |passage| passage.settled);
    assert_eq!(settled(end(lab.r1, 1)), Certainty::Yes);
    assert_eq!(settled(end(lab.r2, 2)), Certainty::Yes);
    assert_eq!(settled(end(lab.rp, 1)), Certainty::No, "r2 has pruned the source there");
    assert_eq!(flow.outbound[&end(lab.rp, 1)].certainty, Certainty::Maybe);
    assert_eq!(flow.outbound[&end(lab.r1, 2)].certainty, Certainty::Maybe, "the rendezvous point may join");
    assert_eq!(flow.entries[&lab.r2].incoming, BTreeSet::from([0]));
    assert_eq!(
        flow.way_to(lab.h1),
        [end(lab.src, 0), end(lab.r1, 0), end(lab.r1, 1), end(lab.r2, 0), end(lab.r2, 2), end(lab.h1, 0)]
    );
}

#[test]
fn without_a_member_nothing_leaves_the_sources_link() {
    let lab = Triangle::new();
    let flow = lab.flow(&World::new(), 16);
    assert_eq!(flow.outbound.keys().collect::<Vec<_>>(), [&end(lab.src, 0)]);
}

#[test]
fn a_router_that_never_switches_keeps_to_the_rendezvous_points_tree() {
    let mut lab = Triangle::new();
    lab.net.router_mut(lab.r2).pim.spt_switchover = Some(SptSwitchover::Never);
    let flow = lab.flow(&lab.joined(), 16);
    assert_eq!(flow.reaches(lab.h1), Certainty::Yes);
    assert!(!flow.outbound.contains_key(&end(lab.r1, 1)), "{:?}", flow.outbound.keys());
    let settled = |at: Attachment| flow.outbound[&at].settled;
    assert_eq!((settled(end(lab.r1, 2)), settled(end(lab.rp, 1))), (Certainty::Yes, Certainty::Yes));
    assert_eq!(flow.entries[&lab.r2].incoming, BTreeSet::from([1]));
    // By rate: 100 packets of 228 octets a second are 182 kbit/s.
    lab.net.router_mut(lab.r2).pim.spt_switchover = Some(SptSwitchover::Kbit(100));
    assert!(lab.flow(&lab.joined(), 16).outbound.contains_key(&end(lab.r1, 1)));
    lab.net.router_mut(lab.r2).pim.spt_switchover = Some(SptSwitchover::Kbit(1000));
    assert!(!lab.flow(&lab.joined(), 16).outbound.contains_key(&end(lab.r1, 1)));
}

#[test]
fn the_designated_router_and_the_rendezvous_point_each_take_a_hop() {
    let lab = Triangle::new();
    let reaches = |ttl| lab.flow(&lab.joined(), ttl).reaches(lab.h1);
    // By the rendezvous point a packet reaches r2 with its last hop, which is enough to be known; by the direct way it has one more.
    assert_eq!((reaches(3), reaches(2)), (Certainty::Yes, Certainty::No));
    let mut lab = lab;
    lab.net.interface_mut(lab.rp, 1).ttl_threshold = 5;
    let reaches = |ttl| lab.flow(&lab.joined(), ttl).reaches(lab.h1);
    assert_eq!(
        (reaches(7), reaches(6)),
        (Certainty::Yes, Certainty::Maybe),
        "once another stream of the source has switched"
    );
}

#[test]
fn a_router_on_the_rendezvous_points_way_to_the_source_takes_packets_itself() {
    let mut net = Net::new();
    let (src, r1, mid, rp, h1) =
        (net.host("src"), net.sparse("r1"), net.sparse("mid"), net.sparse("rp"), net.host("h1"));
    net.link("a", src, r1);
    net.link("b", r1, mid);
    net.link("c", mid, rp);
    net.link("d", mid, h1);
    net.rendezvous_point(rp);
    net.router_mut(mid).pim.spt_switchover = Some(SptSwitchover::Never);
    let mut world = World::new();
    world.join(h1, group(), &all());
    let flow = Flow::of(&net.plan(), &world, &stream("news", src, 16)).unwrap();
    assert_eq!(flow.reaches(h1), Certainty::Yes);
    assert_eq!(flow.entries[&mid].incoming, BTreeSet::from([0]));
    assert_eq!(flow.outbound[&end(rp, 0)].settled, Certainty::No);
}

#[test]
fn source_specific_groups_need_no_rendezvous_point_and_a_source() {
    let mut lab = Triangle::new();
    let ssm: IpAddr = "232.1.1.1".parse().unwrap();
    let flow = |lab: &Triangle, world: &World| {
        Flow::of(&lab.net.plan(), world, &Stream { group: ssm, ..stream("news", lab.src, 16) }).unwrap()
    };
    let mut world = World::new();
    world.join(lab.h1, ssm, &only(&["10.0.0.1"]));
    let this = flow(&lab, &world);
    assert_eq!(this.receivers[&lab.h1].ttls, BTreeSet::from([14]));
    assert!(!this.outbound.contains_key(&end(lab.r1, 2)), "nothing goes by the rendezvous point");
    world.join(lab.h1, ssm, &only(&["10.0.0.9"]));
    assert_eq!(flow(&lab, &world).outbound.len(), 1);
    world.join(lab.h1, ssm, &all());
    assert_eq!(flow(&lab, &world).reaches(lab.h1), Certainty::No, "no source is named");
    let mapping = SsmMapping { groups: "232.0.0.0/8".parse().unwrap(), sources: vec!["10.0.0.1".parse().unwrap()] };
    lab.net.router_mut(lab.r2).pim.ssm_mapping = Some(vec![mapping]);
    assert_eq!(flow(&lab, &world).reaches(lab.h1), Certainty::Yes);
}

#[test]
fn no_register_crosses_a_boundary_of_the_group() {
    let mut lab = Triangle::new();
    lab.net.interface_mut(lab.r1, 2).boundary = vec!["239.0.0.0/8".parse().unwrap()];
    let flow = lab.flow(&lab.joined(), 16);
    assert_eq!(flow.reaches(lab.h1), Certainty::Maybe, "nobody tells r2 of the source");
    assert!(!flow.outbound.contains_key(&end(lab.rp, 1)));
}

#[test]
fn a_dead_rendezvous_point_brings_no_new_source() {
    let lab = Triangle::new();
    let mut world = lab.joined();
    world.kill(lab.rp);
    let flow = lab.flow(&world, 16);
    assert_eq!(flow.reaches(lab.h1), Certainty::Maybe);
    assert!(flow.outbound.keys().all(|at| at.node != lab.rp));
}

#[test]
fn one_router_serves_a_lan_with_members() {
    let mut net = Net::new();
    let (src, r1, a, b, h1) = (net.host("src"), net.sparse("r1"), net.sparse("a"), net.sparse("b"), net.host("h1"));
    net.link("s", src, r1);
    net.link("ra", r1, a);
    net.link("rb", r1, b);
    let lan = net.lan("lan", &[a, b, h1]);
    net.rendezvous_point(r1);
    let mut world = World::new();
    world.join(h1, group(), &all());
    let flow = Flow::of(&net.plan(), &world, &stream("news", src, 16)).unwrap();
    assert_eq!(crate::oracle::designated(&net.plan(), &world, lan), [end(b, 1)]);
    assert_eq!(flow.outbound[&end(b, 1)].settled, Certainty::Yes);
    assert!(!flow.outbound.contains_key(&end(a, 1)), "{:?}", flow.outbound.keys());
    world.kill(b);
    let flow = Flow::of(&net.plan(), &world, &stream("news", src, 16)).unwrap();
    assert_eq!(flow.outbound[&end(a, 1)].settled, Certainty::Yes);
    net.router_mut(a).pim.dr_priority = Some(5);
    let flow = Flow::of(
        &net.plan(),
        &World::new().merged(&{
            let mut world = World::new();
            world.join(h1, group(), &all());
            world
        }),
        &stream("news", src, 16),
    )
    .unwrap();
    assert_eq!(flow.outbound[&end(a, 1)].settled, Certainty::Yes);
    assert!(!flow.outbound.contains_key(&end(b, 1)));
}

/// Two routers between the source and a LAN, of which a has the better route and b the higher address; far, on the LAN, has a member of its
/// own, and its way leads by a.
struct Contest {
    net: Net,
    src: NodeId,
    r1: NodeId,
    a: NodeId,
    b: NodeId,
    h1: NodeId,
    h2: NodeId,
}

impl Contest {
    fn new(designated: &str) -> Contest {
        let mut net = Net::new();
        let (src, r1, a, b) = (net.host("src"), net.sparse("r1"), net.sparse("a"), net.sparse("b"));
        let (far, h1, h2) = (net.sparse("far"), net.host("h1"), net.host("h2"));
        net.link("s", src, r1);
        net.link("ra", r1, a);
        let slow = net.link("rb", r1, b);
        let lan = net.lan("lan", &[a, b, far, h1]);
        net.link("fh", far, h2);
        net.cost(slow, 5);
        net.cost(lan, 10);
        net.rendezvous_point(r1);
        net.router_mut(if designated == "a" { a } else { b }).pim.dr_priority = Some(9);
        Contest { net, src, r1, a, b, h1, h2 }
    }

    fn flow(&self, members: &[NodeId]) -> Flow {
        let mut world = World::new();
        for host in members {
            world.join(*host, group(), &all());
        }
        Flow::of(&self.net.plan(), &world, &stream("news", self.src, 16)).unwrap()
    }
}

#[test]
fn the_better_route_wins_the_assert_and_serves_all_of_the_wire() {
    let lab = Contest::new("a");
    let flow = lab.flow(&[lab.h1, lab.h2]);
    assert_eq!((flow.reaches(lab.h1), flow.reaches(lab.h2)), (Certainty::Yes, Certainty::Yes));
    assert_eq!(flow.outbound[&end(lab.a, 1)].settled, Certainty::Yes);
    assert!(flow.outbound.get(&end(lab.b, 1)).is_none_or(|passage| passage.settled == Certainty::No));
}

#[test]
fn routers_follow_whoever_won_before_so_that_delivery_is_sure_and_the_way_is_not() {
    let lab = Contest::new("b");
    let only_h1 = lab.flow(&[lab.h1]);
    assert_eq!(only_h1.reaches(lab.h1), Certainty::Yes);
    assert_eq!(only_h1.outbound[&end(lab.b, 1)].settled, Certainty::Yes, "nobody asks another router");
    let both = lab.flow(&[lab.h1, lab.h2]);
    assert_eq!((both.reaches(lab.h1), both.reaches(lab.h2)), (Certainty::Yes, Certainty::Yes));
    for forwarder in [lab.a, lab.b] {
        assert_eq!(both.outbound[&end(forwarder, 1)].certainty, Certainty::Maybe);
    }
    // Both may ask as long as no assert is over.
    for interface in [1, 2] {
        assert!(both.outbound[&end(lab.r1, interface)].certainty > Certainty::No);
    }
}

#[test]
fn a_better_router_may_have_won_before_the_source_was_pruned_from_it() {
    for (designated, certainty) in [("b", Certainty::Maybe), ("a", Certainty::Yes)] {
        let lab = Contest::new(designated);
        let plan = lab.net.plan();
        let source = plan.interface(end(lab.src, 0)).address_like(group()).unwrap().to_string();
        let mut world = World::new();
        world.join(lab.h1, group(), &all());
        // far asks a for the group, and for none of this source's packets.
        world.join(lab.h2, group(), &all_but(&[&source]));
        let flow = Flow::of(&plan, &world, &stream("news", lab.src, 16)).unwrap();
        assert_eq!((flow.reaches(lab.h1), flow.reaches(lab.h2)), (Certainty::Yes, Certainty::No));
        let forwarder = if designated == "a" { lab.a } else { lab.b };
        assert_eq!(flow.outbound[&end(forwarder, 1)].settled, certainty, "{designated}");
        assert!(flow.outbound[&end(lab.a, 1)].settled > Certainty::No);
    }
}

#[test]
fn where_costs_tie_delivery_is_sure_and_the_way_is_not() {
    let mut net = Net::new();
    let (src, r1, a, b) = (net.host("src"), net.sparse("r1"), net.sparse("a"), net.sparse("b"));
    let (last, h1) = (net.sparse("last"), net.host("h1"));
    net.link("s", src, r1);
    net.link("ra", r1, a);
    net.link("rb", r1, b);
    net.link("al", a, last);
    net.link("bl", b, last);
    net.link("lh", last, h1);
    net.rendezvous_point(r1);
    let mut world = World::new();
    world.join(h1, group(), &all());
    let flow = Flow::of(&net.plan(), &world, &stream("news", src, 16)).unwrap();
    assert_eq!(flow.reaches(h1), Certainty::Yes);
    assert_eq!(flow.outbound[&end(a, 1)].certainty, Certainty::Maybe);
    assert_eq!(flow.entries[&last].incoming, BTreeSet::from([0, 1]));
}

#[test]
fn while_worlds_change_a_router_may_be_asked_on_what_is_its_way_to_the_source_in_one_of_them() {
    let mut net = Net::new();
    let (src, a, b, rp, h1) = (net.host("src"), net.sparse("a"), net.sparse("b"), net.sparse("rp"), net.host("h1"));
    net.lan("stage", &[src, a, b]);
    net.link("a-rp", a, rp);
    net.link("b-rp", b, rp);
    net.link("rp-h1", rp, h1);
    net.rendezvous_point(rp);
    let plan = net.plan();
    let failed = |wire: &str, end: Option<Attachment>, how: CutKind| {
        let mut world = World::new();
        world.join(h1, group(), &all());
        world.fail(&Cut { wire: plan.find_wire(wire).unwrap(), end, how, detected_after: None });
        world
    };
    // In the one, a has its way by rp; in the other, nobody wants anything: while the one turns into the other, rp may ask it.
    let worlds = [failed("stage", Some(end(a, 0)), CutKind::Admin), failed("rp-h1", None, CutKind::Silent)];
    for world in &worlds {
        assert!(!Flow::of(&plan, world, &stream("news", src, 16)).unwrap().outbound.contains_key(&end(a, 1)));
    }
    let between = Flow::between(&plan, &worlds, &stream("news", src, 16)).unwrap();
    assert!(between.outbound.contains_key(&end(a, 1)), "{:?}", between.outbound.keys());
}

#[test]
fn while_a_link_fails_both_ways_are_permitted_and_no_other() {
    let lab = Triangle::new();
    let plan = lab.net.plan();
    let mut cut = lab.joined();
    let wire = plan.find_wire("direct").unwrap();
    cut.fail(&Cut { wire, end: None, how: CutKind::Carrier, detected_after: None });
    let after = Flow::of(&plan, &cut, &stream("news", lab.src, 16)).unwrap();
    assert_eq!(after.reaches(lab.h1), Certainty::Yes, "by the rendezvous point");
    assert_eq!(after.outbound[&end(lab.rp, 1)].settled, Certainty::Yes);
    let between = Flow::between(&plan, &[lab.joined(), cut], &stream("news", lab.src, 16)).unwrap();
    for at in [end(lab.r1, 1), end(lab.rp, 1), end(lab.r2, 2)] {
        assert!(between.outbound.contains_key(&at), "{at:?}");
    }
}

#[test]
fn a_designated_router_that_registers_packets_as_they_came_takes_no_hop_off() {
    let mut lab = Triangle::new();
    lab.net.router_mut(lab.r2).pim.spt_switchover = Some(SptSwitchover::Never);
    let ttls = |lab: &Triangle| lab.flow(&lab.joined(), 16).receivers[&lab.h1].ttls.clone();
    // By r1, the rendezvous point and r2, in a register and natively.
    assert_eq!(ttls(&lab), BTreeSet::from([13]));
    lab.net.router_mut(lab.r1).daemon = Daemon::Frr;
    assert_eq!(ttls(&lab), BTreeSet::from([13, 14]));
}

#[test]
fn a_rendezvous_point_may_stay_on_a_sources_tree_if_that_is_its_daemons_habit() {
    let mut lab = Triangle::new();
    assert!(!lab.flow(&World::new(), 16).outbound.contains_key(&end(lab.r1, 2)));
    lab.net.router_mut(lab.rp).daemon = Daemon::Pimd;
    assert_eq!(lab.flow(&World::new(), 16).outbound[&end(lab.r1, 2)].certainty, Certainty::Maybe);
}

#[test]
fn a_rendezvous_point_whose_way_died_may_stay_on_the_sources_tree() {
    let mut net = Net::new();
    let (src, r1, mid, rp, h1) =
        (net.host("src"), net.sparse("r1"), net.sparse("mid"), net.sparse("rp"), net.host("h1"));
    net.link("a", src, r1);
    net.link("b", r1, mid);
    net.link("c", mid, rp);
    net.link("d", rp, h1);
    net.rendezvous_point(rp);
    let mut world = World::new();
    world.join(h1, group(), &all());
    let reaches = |world: &World| Flow::of(&net.plan(), world, &stream("news", src, 16)).unwrap().reaches(h1);
    assert_eq!(reaches(&world), Certainty::Yes);
    world.upset();
    assert_eq!(reaches(&world), Certainty::Yes, "its way is whole");
    // Unicast goes on through the dead daemon's kernel, and so do registers.
    world.kill(mid);
    assert_eq!(reaches(&world), Certainty::Maybe);
    let flow = Flow::of(&net.plan(), &world, &stream("news", src, 16)).unwrap();
    assert_eq!(flow.entries[&rp].incoming, BTreeSet::from([0]), "as it was, or the register interface");
    assert!(flow.entries[&rp].registered);
}

#[test]
fn of_two_ways_on_a_lan_one_may_be_dead() {
    let mut net = Net::new();
    let (src, rp, b1, b2, b3, h1) =
        (net.host("src"), net.sparse("rp"), net.sparse("b1"), net.sparse("b2"), net.sparse("b3"), net.host("h1"));
    net.link("a", src, rp);
    net.link("one", rp, b1);
    net.link("two", rp, b2);
    net.lan("lan", &[b1, b2, b3]);
    net.link("b", b3, h1);
    net.rendezvous_point(rp);
    let mut world = World::new();
    world.join(h1, group(), &all());
    let reaches = |world: &World| Flow::of(&net.plan(), world, &stream("news", src, 16)).unwrap().reaches(h1);
    assert_eq!(reaches(&world), Certainty::Yes);
    world.kill(b1);
    assert_eq!(reaches(&world), Certainty::Maybe, "its kernel keeps the route");
}

#[test]
fn what_a_bootstrap_router_knew_it_tells_whoever_hears_it_next() {
    use router_core::config::{CandidateBsr, CandidateRp};
    let mut net = Net::new();
    let (src, r1, rp1, rp2, h1) =
        (net.host("src"), net.sparse("r1"), net.sparse("rp1"), net.sparse("rp2"), net.host("h1"));
    net.link("a", src, r1);
    net.link("b", r1, rp1);
    let cut = net.link("c", rp1, rp2);
    net.link("d", rp2, h1);
    let addresses: Vec<IpAddr> = {
        let plan = net.plan();
        [end(rp1, 0), end(rp2, 0)].map(|at| plan.interface(at).ipv4().unwrap().addr().into()).to_vec()
    };
    for (node, address, priority) in [(rp1, addresses[0], 5), (rp2, addresses[1], 10)] {
        let groups = vec!["224.0.0.0/4".parse().unwrap()];
        net.router_mut(node).pim.candidate_rp = Some(CandidateRp { address, groups, priority, interval: None });
    }
    net.router_mut(rp2).pim.candidate_bsr = Some(CandidateBsr {
        address: addresses[1],
        priority: 64,
        hash_mask_length: 30,
        interval: None,
        zones: Vec::new(),
        allowed_rps: None,
    });
    let mut whole = World::new();
    whole.join(h1, group(), &all());
    let mut parted = whole.clone();
    parted.fail(&Cut { wire: cut, end: None, how: CutKind::Carrier, detected_after: None });
    let ttls = |worlds: &[World]| {
        let flow = Flow::between(&net.plan(), worlds, &stream("news", src, 16)).unwrap();
        flow.outbound[&end(rp2, 1)].ttls.clone()
    };
    // By rp1 and by the source's own tree it is three routers, by rp2 two: alone with itself, the bootstrap router knew no other.
    assert_eq!(ttls(std::slice::from_ref(&whole)), BTreeSet::from([13]));
    assert_eq!(ttls(&[parted, whole.clone()]), BTreeSet::from([13, 14]));
    // Started again it knows itself alone, too, until the other one has said that it is there; each time.
    let mut again = whole.clone();
    again.restart(rp2);
    assert_eq!(ttls(std::slice::from_ref(&again)), BTreeSet::from([13]));
    assert_eq!(ttls(&[whole, again.clone()]), BTreeSet::from([13, 14]));
    let mut once_more = again.clone();
    once_more.restart(rp2);
    assert_eq!(ttls(&[again, once_more]), BTreeSet::from([13, 14]));
}

#[test]
fn a_router_stays_on_a_sources_tree_that_a_member_named_before() {
    let mut lab = Triangle::new();
    lab.net.router_mut(lab.r2).pim.spt_switchover = Some(SptSwitchover::Never);
    let settled = |world: &World| {
        let flow = lab.flow(world, 16);
        let at = |at: Attachment| flow.outbound.get(&at).map_or(Certainty::No, |passage| passage.settled);
        assert_eq!(flow.reaches(lab.h1), Certainty::Yes);
        (at(end(lab.r1, 1)), at(end(lab.r1, 2)))
    };
    let mut world = World::new();
    world.join(lab.h1, group(), &only(&["10.9.9.9"]));
    world.join(lab.h1, group(), &all());
    assert_eq!(settled(&world), (Certainty::No, Certainty::Yes), "another source was named");
    let source = lab.flow(&world, 16).source.to_string();
    world.join(lab.h1, group(), &only(&[&source]));
    assert_eq!(settled(&world), (Certainty::Yes, Certainty::No));
    world.join(lab.h1, group(), &all());
    assert_eq!(settled(&world), (Certainty::Maybe, Certainty::Maybe));
}

#[test]
fn who_won_an_assert_for_a_member_that_left_may_go_on_for_others() {
    // Two forwarders and a router of members on one LAN, with a member of its own.
    let mut net = Net::new();
    let (src, r1, a1, a2, a3) =
        (net.host("src"), net.sparse("r1"), net.sparse("a1"), net.sparse("a2"), net.sparse("a3"));
    let (h1, h2) = (net.host("h1"), net.host("h2"));
    net.link("a", src, r1);
    net.link("far", r1, a1);
    net.link("near", r1, a2);
    net.lan("lan", &[a1, a2, a3, h1]);
    net.link("b", a3, h2);
    net.rendezvous_point(r1);
    net.router_mut(a1).pim.dr_priority = Some(10);
    let mut world = World::new();
    world.join(h1, group(), &all());
    let of = |world: &World| {
        let flow = Flow::of(&net.plan(), world, &stream("news", src, 16)).unwrap();
        let at = |node| flow.outbound.get(&end(node, 1)).map_or(Certainty::No, |passage| passage.settled);
        (at(a1), at(a2), flow.reaches(h1))
    };
    assert_eq!(of(&world), (Certainty::Yes, Certainty::No, Certainty::Yes));
    world.join(h2, group(), &all());
    world.leave(h2, group());
    assert_eq!(of(&world), (Certainty::Maybe, Certainty::Maybe, Certainty::Yes));
    // One that named the source: its router has won by the source's own tree, and the other one's follows it there.
    let mut world = World::new();
    let source = Flow::of(&net.plan(), &world, &stream("news", src, 16)).unwrap().source.to_string();
    world.join(h1, group(), &only(&[&source]));
    world.join(h2, group(), &all());
    world.leave(h1, group());
    let (at_a1, at_a2, _) = of(&world);
    assert_eq!((at_a1, at_a2), (Certainty::Maybe, Certainty::Maybe));
    assert_eq!(Flow::of(&net.plan(), &world, &stream("news", src, 16)).unwrap().reaches(h2), Certainty::Yes);
}
