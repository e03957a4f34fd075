//! Dense mode flows over networks drawn by hand.

use super::*;
use crate::oracle::testing::{Net, all, group, stream};
use crate::topology::plan::{Daemon, Multicast};
use crate::topology::steps::{Cut, CutKind};

fn flow(plan: &Plan, world: &World, from: NodeId) -> Flow {
    Flow::of(plan, world, &stream("news", from, 16)).expect("an address of the family")
}

/// How sure it is that an interface sends packets into its wire, now and once all is settled.
fn out(flow: &Flow, node: NodeId, interface: usize) -> (Certainty, Certainty) {
    flow.outbound
        .get(&Attachment { node, interface })
        .map_or((Certainty::No, Certainty::No), |p| (p.certainty, p.settled))
}

const SURE: (Certainty, Certainty) = (Certainty::Yes, Certainty::Yes);
const OPEN: (Certainty, Certainty) = (Certainty::Maybe, Certainty::Maybe);
const FLOOD: (Certainty, Certainty) = (Certainty::Maybe, Certainty::No);
const NEVER: (Certainty, Certainty) = (Certainty::No, Certainty::No);

fn joined(hosts: &[NodeId]) -> World {
    let mut world = World::new();
    for &host in hosts {
        world.join(host, group(), &all());
    }
    world
}

fn cut(wire: WireId, how: CutKind, detected_after: Option<std::time::Duration>) -> Cut {
    Cut { wire, end: None, how, detected_after }
}

/// src - r1 - r2 - r3; h2 on a LAN of r2, h3 on a LAN of r3.
fn chain() -> (Net, [NodeId; 6]) {
    let mut net = Net::new();
    let (src, r1, r2, r3) = (net.host("src"), net.pim("r1"), net.pim("r2"), net.pim("r3"));
    let (h2, h3) = (net.host("h2"), net.host("h3"));
    net.link("a", src, r1);
    net.link("b", r1, r2);
    net.link("c", r2, r3);
    net.lan("l2", &[r2, h2]);
    net.lan("l3", &[r3, h3]);
    (net, [src, r1, r2, r3, h2, h3])
}

#[test]
fn a_chain_floods_to_routers_and_never_to_a_leaf_without_members() {
    let (net, [src, r1, r2, r3, h2, h3]) = chain();
    let plan = net.plan();
    let idle = flow(&plan, &World::new(), src);
    assert_eq!(
        [out(&idle, r1, 1), out(&idle, r2, 1), out(&idle, r2, 2), out(&idle, r3, 1)],
        [FLOOD, FLOOD, NEVER, NEVER]
    );
    assert!(idle.blocked.contains(&Blocked {
        at: Attachment { node: r3, interface: 0 },
        outgoing: Some(1),
        why: Why::Leaf
    }));
    assert_eq!(idle.entries[&r2].outgoing, BTreeMap::new(), "pruned: an entry that sends nowhere, or none");
    assert_eq!(idle.entries[&r2].certainty, Certainty::No);

    let one = flow(&plan, &joined(&[h2]), src);
    assert_eq!([out(&one, r1, 1), out(&one, r2, 1), out(&one, r2, 2), out(&one, r3, 1)], [SURE, FLOOD, SURE, NEVER]);
    assert_eq!(one.receivers[&h2].ttls, BTreeSet::from([14]));
    assert_eq!(one.reaches(h3), Certainty::No);

    let both = flow(&plan, &joined(&[h2, h3]), src);
    assert_eq!(both.entries[&r2].outgoing, BTreeMap::from([(1, (1, Certainty::Yes)), (2, (1, Certainty::Yes))]));
    assert_eq!(both.hops(h3), BTreeSet::from([3]));
}

/// src - r1 - {r2, r3} - r4 - h: wires sa, ab, ac, bd, cd, l.
fn diamond(cost: u32) -> (Net, [NodeId; 6]) {
    let mut net = Net::new();
    let (src, r1, r2, r3, r4, h) =
        (net.host("src"), net.pim("r1"), net.pim("r2"), net.pim("r3"), net.pim("r4"), net.host("h"));
    net.link("sa", src, r1);
    net.link("ab", r1, r2);
    let slow = net.link("ac", r1, r3);
    net.link("bd", r2, r4);
    let long = net.link("cd", r3, r4);
    net.lan("l", &[r4, h]);
    net.cost(slow, cost);
    net.cost(long, cost);
    (net, [src, r1, r2, r3, r4, h])
}

#[test]
fn a_diamond_carries_on_its_shorter_side_and_prunes_the_other() {
    let (net, [src, r1, r2, r3, r4, h]) = diamond(5);
    let plan = net.plan();
    let flow = flow(&plan, &joined(&[h]), src);
    assert_eq!([out(&flow, r1, 1), out(&flow, r2, 1), out(&flow, r4, 2)], [SURE; 3]);
    assert_eq!([out(&flow, r1, 2), out(&flow, r3, 1), out(&flow, r4, 1)], [FLOOD; 3]);
    assert_eq!(out(&flow, r4, 0), NEVER, "nothing goes back where it came from");
    assert_eq!(flow.rpf[&r4].interfaces, BTreeSet::from([0]));
    assert_eq!(flow.receivers[&h].ttls, BTreeSet::from([13]));
    let way: Vec<NodeId> = flow.way_to(h).iter().map(|at| at.node).collect();
    assert_eq!(way, [src, r1, r1, r2, r2, r4, r4, h]);
}

#[test]
fn equal_costs_leave_the_way_open_but_not_the_delivery() {
    let (net, [src, r1, r2, r3, r4, h]) = diamond(1);
    let plan = net.plan();
    let flow = flow(&plan, &joined(&[h]), src);
    assert_eq!([out(&flow, r1, 1), out(&flow, r1, 2), out(&flow, r2, 1), out(&flow, r3, 1)], [OPEN; 4]);
    assert_eq!(out(&flow, r4, 2), SURE);
    assert_eq!(flow.reaches(h), Certainty::Yes);
    assert_eq!(flow.entries[&r4].incoming, BTreeSet::from([0, 1]));
    assert_eq!(flow.entries[&r4].outgoing[&2], (1, Certainty::Yes));
}

#[test]
fn delivery_is_open_if_one_of_equal_ways_stops_the_packets() {
    let (mut net, [src, _, _, r3, _, h]) = diamond(1);
    net.interface_mut(r3, 1).ttl_threshold = 64;
    let plan = net.plan();
    assert_eq!(flow(&plan, &joined(&[h]), src).reaches(h), Certainty::Maybe);
    let (mut net, [src, r1, .., h]) = diamond(1);
    let any = crate::topology::plan::ExecDaemon { command: vec!["any".into()], config: None, ready: None };
    net.router_mut(r1).daemon = Daemon::Exec(any);
    assert_eq!(flow(&net.plan(), &joined(&[h]), src).reaches(h), Certainty::Maybe, "nobody knows what it does");
}

#[test]
fn faults_that_routing_notices_move_the_way_and_others_cut_it() {
    let (net, [src, _, r2, r3, r4, h]) = diamond(5);
    let plan = net.plan();
    let wire = plan.find_wire("bd").unwrap();
    let fault = |how, detected| {
        let mut world = joined(&[h]);
        world.fail(&cut(wire, how, detected));
        flow(&plan, &world, src)
    };
    let moved = fault(CutKind::Carrier, None);
    assert_eq!((moved.reaches(h), out(&moved, r3, 1), out(&moved, r4, 2)), (Certainty::Yes, SURE, SURE));
    assert_eq!(fault(CutKind::Silent, Some(std::time::Duration::from_secs(1))).reaches(h), Certainty::Yes);
    assert_eq!(fault(CutKind::Silent, None).reaches(h), Certainty::No);
    // A dead daemon moves no route either: unicast still passes the router.
    let mut world = joined(&[h]);
    world.kill(r2);
    let dead = flow(&plan, &world, src);
    assert_eq!(dead.reaches(h), Certainty::No);
    assert_eq!(out(&dead, r3, 1), FLOOD);
    world.restart(r2);
    world.pause(r2);
    assert_eq!(flow(&plan, &world, src).reaches(h), Certainty::Maybe);
}

/// src on a LAN with r1 and r2, both on a LAN with h and r3; h3 behind r3.
fn two_on_a_lan(first: u32) -> (Net, [NodeId; 6]) {
    let mut net = Net::new();
    let (src, r0, r1, r2, r3, h) =
        (net.host("src"), net.pim("r0"), net.pim("r1"), net.pim("r2"), net.pim("r3"), net.host("h"));
    net.link("s", src, r0);
    let a = net.link("a", r0, r1);
    net.link("b", r0, r2);
    net.cost(a, first);
    let lan = net.lan("lan", &[r1, r2, r3, h]);
    net.cost(lan, 20);
    let h3 = net.host("h3");
    net.link("d", r3, h3);
    (net, [src, r1, r2, r3, h, h3])
}

#[test]
fn of_two_forwarders_on_a_lan_the_assert_winner_stays() {
    // The better route wins; of equals, the higher address, which is r2's.
    for (cost, winner) in [(1, 2), (5, 2), (0, 1)] {
        let (mut net, [src, r1, r2, _, h, _]) = two_on_a_lan(cost.max(1));
        if cost == 0 {
            let b = net.plan().find_wire("b").unwrap();
            net.cost(b, 9);
        }
        let flow = flow(&net.plan(), &joined(&[h]), src);
        let (won, lost) = if winner == 1 { (r1, r2) } else { (r2, r1) };
        assert_eq!((out(&flow, won, 1), out(&flow, lost, 1)), (SURE, FLOOD), "cost {cost}");
        assert_eq!(flow.reaches(h), Certainty::Yes);
        let lost = Attachment { node: lost, interface: 1 };
        let why = Why::LosesAssert(Attachment { node: won, interface: 1 });
        assert!(flow.blocked.iter().any(|b| b.at.node == lost.node && b.outgoing == Some(1) && b.why == why));
    }
}

#[test]
fn without_a_member_there_either_of_two_equals_may_serve_the_router_below() {
    let (net, [src, r1, r2, r3, _, h3]) = two_on_a_lan(1);
    let tied = flow(&net.plan(), &joined(&[h3]), src);
    assert_eq!((out(&tied, r1, 1), out(&tied, r2, 1), out(&tied, r3, 1)), (OPEN, OPEN, SURE));
    assert_eq!(tied.reaches(h3), Certainty::Yes);
    let (net, [src, r1, r2, r3, _, h3]) = two_on_a_lan(5);
    let one = flow(&net.plan(), &joined(&[h3]), src);
    assert_eq!((out(&one, r1, 1), out(&one, r2, 1), out(&one, r3, 1)), (FLOOD, SURE, SURE));
    let nobody = flow(&net.plan(), &World::new(), src);
    assert_eq!((out(&nobody, r1, 1), out(&nobody, r2, 1)), (FLOOD, FLOOD));
}

#[test]
fn the_survivor_takes_over_when_the_winner_dies_or_loses_its_lan() {
    let (net, [src, r1, r2, _, h, _]) = two_on_a_lan(5);
    let plan = net.plan();
    let mut world = joined(&[h]);
    world.kill(r2);
    let after = flow(&plan, &world, src);
    assert_eq!((out(&after, r1, 1), out(&after, r2, 1)), (SURE, NEVER));
    let mut world = joined(&[h]);
    let end = Attachment { node: r2, interface: 1 };
    let lan = plan.find_wire("lan").unwrap();
    world.fail(&Cut { wire: lan, end: Some(end), how: CutKind::Carrier, detected_after: None });
    assert_eq!(out(&flow(&plan, &world, src), r1, 1), SURE);
}

#[test]
fn scopes_and_ttls_bound_the_flood() {
    let (mut net, [src, r1, r2, r3, h2, h3]) = chain();
    net.interface_mut(r2, 1).boundary = vec!["239.1.0.0/16".parse().unwrap()];
    let inside = flow(&net.plan(), &joined(&[h2, h3]), src);
    assert_eq!((out(&inside, r2, 1), inside.reaches(h3), inside.reaches(h2)), (NEVER, Certainty::No, Certainty::Yes));
    net.interface_mut(r2, 1).boundary.clear();
    // At the far end of the link it stops what enters there.
    net.interface_mut(r3, 0).boundary = vec!["239.1.0.0/16".parse().unwrap()];
    let entered = flow(&net.plan(), &joined(&[h3]), src);
    assert_eq!((out(&entered, r2, 1), entered.reaches(h3)), (OPEN, Certainty::No));
    net.interface_mut(r3, 0).boundary.clear();
    net.interface_mut(r2, 1).ttl_threshold = 15;
    let held = flow(&net.plan(), &joined(&[h3]), src);
    assert_eq!((out(&held, r1, 1), out(&held, r2, 1), held.reaches(h3)), (SURE, NEVER, Certainty::No));
    assert_eq!(
        held.entries[&r2].outgoing,
        BTreeMap::from([(1, (15, Certainty::Yes))]),
        "the entry has it all the same"
    );
}

#[test]
fn static_and_dense_routers_meet_in_one_file() {
    let (mut net, [src, r1, r2, r3, _, h3]) = chain();
    net.router_mut(r1).multicast = Multicast::Static;
    net.route(r1, 0, &[1]);
    let below = flow(&net.plan(), &joined(&[h3]), src);
    assert_eq!((out(&below, r1, 1), out(&below, r2, 1), below.reaches(h3)), (SURE, SURE, Certainty::Yes));
    // The other way round: nobody tells a dense router that a static one below wants the packets.
    let (mut net, [src, r1, r2, .., h3]) = chain();
    net.router_mut(r3).multicast = Multicast::Static;
    net.route(r3, 0, &[]);
    let above = flow(&net.plan(), &joined(&[h3]), src);
    assert_eq!((out(&above, r1, 1), out(&above, r2, 1), above.reaches(h3)), (FLOOD, NEVER, Certainty::No));
}

#[test]
fn a_router_without_pim_on_a_wire_serves_its_members_there() {
    let (mut net, [src, _, r2, r3, h2, h3]) = chain();
    net.interface_mut(r2, 2).pim.enabled = Some(false);
    net.interface_mut(r2, 1).pim.enabled = Some(false);
    let flow = flow(&net.plan(), &joined(&[h2, h3]), src);
    assert_eq!((flow.reaches(h2), flow.reaches(h3), out(&flow, r2, 1)), (Certainty::Yes, Certainty::No, NEVER));
    assert_eq!(out(&flow, r3, 1), NEVER);
}

#[test]
fn hosts_behind_snooping_bridges_are_served_and_routers_ports_open() {
    let mut net = Net::new();
    let (src, r1, r2, h, other) = (net.host("src"), net.pim("r1"), net.pim("r2"), net.host("h"), net.host("other"));
    net.link("a", src, r1);
    net.snooping_lan("lan", &[r1, r2, other]);
    net.lan("b", &[r2, h]);
    let flow = flow(&net.plan(), &joined(&[h]), src);
    assert_eq!(flow.reaches(h), Certainty::Yes);
    assert!(!flow.inbound.contains_key(&Attachment { node: other, interface: 0 }));
}

#[test]
fn costs_to_a_wire_are_those_of_all_paths() {
    let (net, _) = diamond(3);
    let plan = net.plan();
    let mut world = World::new();
    for broken in [None, Some("bd"), Some("sa")] {
        world.restore(plan.find_wire("bd").unwrap(), None);
        if let Some(name) = broken {
            world.fail(&cut(plan.find_wire(name).unwrap(), CutKind::Carrier, None));
        }
        let paths = crate::oracle::Paths::of(&plan, &world);
        for wire in plan.wire_ids() {
            let distances = crate::oracle::Distances::to_wire(&plan, &world, wire);
            for node in plan.node_ids().filter(|n| plan.node(*n).is_router()) {
                assert_eq!(distances.of(node), paths.cost_to_wire(&plan, node, wire), "{} {}", wire.0, node.0);
            }
        }
    }
}

#[test]
fn while_a_path_changes_over_either_may_carry_and_so_may_routers_that_lag_behind() {
    let mut net = Net::new();
    let (src, r1, r2, r3, r4) = (net.host("src"), net.pim("r1"), net.pim("r2"), net.pim("r3"), net.pim("r4"));
    let h = net.host("h");
    net.link("a", src, r1);
    let fast = net.link("fast", r1, r2);
    let slow = net.link("slow", r1, r3);
    net.link("fast-end", r2, r4);
    let slow_end = net.link("slow-end", r3, r4);
    net.lan("l", &[r4, h]);
    net.cost(slow, 20);
    net.cost(slow_end, 10);
    let plan = net.plan();
    let before = joined(&[h]);
    let mut after = before.clone();
    after.fail(&cut(fast, CutKind::Carrier, None));
    let worlds = [before.clone(), after.clone()];
    let between = Flow::between(&plan, &worlds, &stream("news", src, 16)).unwrap();
    // r3's own route leads by r4 before, and by r1 after: r4 gets the packets by either way, and r3 takes them by either.
    let may = |node, interface| out(&between, node, interface).0 > Certainty::No;
    assert!(may(r2, 1) && may(r3, 1) && may(r3, 0) && may(r4, 2));
    assert_eq!(out(&flow(&plan, &before, src), r3, 1).0, Certainty::No);
    assert_eq!(between.reaches(h), Certainty::Maybe);
    let alone = Flow::between(&plan, std::slice::from_ref(&before), &stream("news", src, 16)).unwrap();
    assert_eq!(alone, flow(&plan, &before, src));
}
