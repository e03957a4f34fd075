//! Flows over networks drawn by hand.

use super::*;
use crate::oracle::testing::{Net, all, all_but, chain, chain_net, group, only, stream};
use crate::topology::plan::{Daemon, StaticRoute};
use crate::topology::steps::{Cut, CutKind};

fn flow(plan: &Plan, world: &World, stream: &Stream) -> Flow {
    Flow::of(plan, world, stream).expect("an address of the family")
}

#[test]
fn a_chain_delivers_to_the_member_alone() {
    let (plan, ids) = chain();
    let mut world = World::new();
    let news = stream("news", ids["src"], 16);
    let before = flow(&plan, &world, &news);
    assert!(before.receivers.is_empty());
    assert_eq!(before.wires(&plan).len(), 2, "the static route carries it to r2, where nobody wants it");

    world.join(ids["h1"], group(), &all());
    let after = flow(&plan, &world, &news);
    assert_eq!(after.receivers[&ids["h1"]].ttls, BTreeSet::from([14]));
    assert_eq!(after.hops(ids["h1"]), BTreeSet::from([2]));
    assert_eq!(after.reaches(ids["h2"]), Certainty::No);
    let entry = &after.entries[&ids["r2"]];
    assert_eq!(
        (entry.incoming.clone(), entry.outgoing.clone()),
        (BTreeSet::from([0]), BTreeMap::from([(1, (1, Certainty::Yes))]))
    );
    let way: Vec<String> = after.way_to(ids["h1"]).into_iter().map(|at| plan.name_of(at)).collect();
    assert_eq!(way, ["src.eth0", "r1.eth0", "r1.eth1", "r2.eth0", "r2.eth1", "h1.eth0"]);
}

#[test]
fn each_ttl_reaches_as_far_as_the_kernel_forwards() {
    let (mut net, ids) = chain_net();
    net.interface_mut(ids["r2"], 1).ttl_threshold = 8;
    let plan = net.plan();
    let mut world = World::new();
    world.join(ids["h1"], group(), &all());
    let reaches = |ttl| flow(&plan, &world, &stream("s", ids["src"], ttl)).reaches(ids["h1"]);
    // A copy leaves if the TTL on arrival is greater than the threshold: r1 takes one off, r2 needs more than 8.
    assert_eq!(reaches(9), Certainty::No);
    assert_eq!(reaches(10), Certainty::Yes);
    let wires = |ttl| flow(&plan, &world, &stream("s", ids["src"], ttl)).wires(&plan).len();
    assert_eq!([wires(1), wires(2), wires(3), wires(10)], [1, 2, 2, 3]);
    let blocked = flow(&plan, &world, &stream("s", ids["src"], 9)).blocked;
    assert!(blocked.iter().any(|b| b.why == Why::Threshold { ttl: 8, threshold: 8 } && b.outgoing == Some(1)));
}

#[test]
fn a_boundary_stops_its_groups_in_both_directions() {
    for (router, interface) in [("r1", 1), ("r2", 0)] {
        let (mut net, ids) = chain_net();
        net.interface_mut(ids[router], interface).boundary = vec!["239.1.0.0/16".parse().unwrap()];
        let plan = net.plan();
        let mut world = World::new();
        world.join(ids["h1"], group(), &all());
        let mut news = stream("news", ids["src"], 16);
        assert_eq!(flow(&plan, &world, &news).reaches(ids["h1"]), Certainty::No);
        news.group = "239.2.1.1".parse().unwrap();
        world.join(ids["h1"], news.group, &all());
        assert_eq!(flow(&plan, &world, &news).reaches(ids["h1"]), Certainty::Yes);
    }
}

#[test]
fn source_lists_choose_senders() {
    let (plan, ids) = chain();
    let news = stream("news", ids["src"], 16);
    let reached = |filter| {
        let mut world = World::new();
        world.join(ids["h1"], group(), &filter);
        let flow = flow(&plan, &world, &news);
        (flow.reaches(ids["h1"]), flow.wires(&plan).len())
    };
    assert_eq!(reached(only(&["10.0.0.1"])), (Certainty::Yes, 3));
    assert_eq!(reached(only(&["10.0.0.9"])), (Certainty::No, 2));
    assert_eq!(reached(all_but(&["10.0.0.1"])), (Certainty::No, 2));
}

#[test]
fn two_routers_on_a_lan_both_forward_if_both_are_told_to() {
    let mut net = Net::new();
    let (src, r1, r2, h) = (net.host("src"), net.router("r1"), net.router("r2"), net.host("h"));
    net.lan("top", &[src, r1, r2]);
    net.lan("bottom", &[r1, r2, h]);
    net.route(r1, 0, &[]);
    net.route(r2, 0, &[]);
    let plan = net.plan();
    let mut world = World::new();
    world.join(h, group(), &all());
    let both = flow(&plan, &world, &stream("news", src, 16));
    assert_eq!(both.receivers[&h].via.len(), 2);
}

#[test]
fn a_proxy_sends_down_to_members_and_up_always() {
    let mut net = Net::new();
    let (top, p, up, a, b) = (net.router("top"), net.router("p"), net.host("up"), net.host("a"), net.host("b"));
    net.link("u", up, top);
    net.link("m", top, p);
    net.link("x", p, a);
    net.link("y", p, b);
    net.route(top, 0, &[]);
    net.proxy(p, 0);
    let plan = net.plan();
    let mut world = World::new();
    let down = stream("down", up, 16);
    assert_eq!(flow(&plan, &world, &down).wires(&plan).len(), 1, "nobody below asked");
    world.join(b, group(), &all());
    let asked = flow(&plan, &world, &down);
    assert_eq!(asked.receivers[&b].ttls, BTreeSet::from([14]));
    assert_eq!(asked.reaches(a), Certainty::No);
    // From below: up to the router, and across to the other branch.
    let from_a = flow(&plan, &world, &stream("a", a, 16));
    assert_eq!(from_a.entries[&p].outgoing.keys().copied().collect::<Vec<_>>(), [0, 2]);
    assert_eq!(from_a.reaches(b), Certainty::Yes);
}

#[test]
fn of_two_proxies_on_a_lan_the_querier_forwards() {
    let mut net = Net::new();
    let (src, p1, p2, h) = (net.host("src"), net.router("p1"), net.router("p2"), net.host("h"));
    net.lan("top", &[src, p1, p2]);
    net.lan("bottom", &[p1, p2, h]);
    net.proxy(p1, 0);
    net.proxy(p2, 0);
    let plan = net.plan();
    let mut world = World::new();
    world.join(h, group(), &all());
    let news = stream("news", src, 16);
    let senders = |world: &World| {
        let flow = flow(&plan, world, &news);
        flow.receivers.get(&h).map(|p| p.via.iter().map(|at| at.node).collect::<Vec<_>>()).unwrap_or_default()
    };
    assert_eq!(senders(&world), [p1]);
    world.kill(p1);
    assert_eq!(senders(&world), [p2]);
}

#[test]
fn a_snooping_bridge_serves_members_ports_and_routers() {
    let mut net = Net::new();
    let (src, r, other, h1, h2) =
        (net.host("src"), net.router("r"), net.router("other"), net.host("h1"), net.host("h2"));
    net.link("first", src, r);
    net.snooping_lan("lan", &[r, other, h1, h2]);
    net.route(r, 0, &[]);
    let mut plan = net.plan();
    let mut world = World::new();
    world.join(h1, group(), &all());
    let news = stream("news", src, 16);
    let port = |plan: &Plan, world: &World, node| {
        flow(plan, world, &news)
            .inbound
            .iter()
            .find(|(at, _)| at.node == node)
            .map_or(Certainty::No, |(_, p)| p.certainty)
    };
    assert_eq!(port(&plan, &world, h1), Certainty::Yes);
    assert_eq!(port(&plan, &world, h2), Certainty::No);
    assert_eq!(port(&plan, &world, other), Certainty::Maybe, "r has the lower address and queries");
    // A bridge without source lists learns of a leave by TO_IN, not of one by BLOCK.
    world.join(h2, group(), &only(&["10.9.9.9"]));
    world.leave(h2, group());
    assert_eq!(port(&plan, &world, h2), Certainty::Maybe);
    world.join(h2, group(), &all());
    world.leave(h2, group());
    assert_eq!(port(&plan, &world, h2), Certainty::No);
    // Without a querier the bridge may flood.
    for router in ["r", "other"] {
        let id = plan.find_node(router).unwrap();
        for interface in &mut plan.nodes[id.0].interfaces {
            interface.igmp.enabled = Some(false);
        }
    }
    let lan = plan.wires[1].ends[0];
    if let crate::topology::plan::NodeKind::Router(router) = &mut plan.nodes[lan.node.0].kind {
        router.routes[0].outgoing = vec![lan.interface];
    }
    assert_eq!(port(&plan, &world, h2), Certainty::Maybe);
}

#[test]
fn faults_stop_the_flow_and_a_stopped_router_leaves_it_open() {
    let (plan, ids) = chain();
    let news = stream("news", ids["src"], 16);
    let mut world = World::new();
    world.join(ids["h1"], group(), &all());
    world.pause(ids["r2"]);
    assert_eq!(flow(&plan, &world, &news).reaches(ids["h1"]), Certainty::Maybe);
    world.kill(ids["r2"]);
    let dead = flow(&plan, &world, &news);
    assert_eq!(dead.reaches(ids["h1"]), Certainty::No);
    assert!(dead.blocked.iter().any(|b| b.at.node == ids["r2"] && b.why == Why::Dead));
    world.restart(ids["r2"]);
    assert_eq!(flow(&plan, &world, &news).reaches(ids["h1"]), Certainty::Yes);
    world.fail(&Cut {
        wire: plan.find_wire("middle").unwrap(),
        end: None,
        how: CutKind::Carrier,
        detected_after: None,
    });
    assert_eq!(flow(&plan, &world, &news).reaches(ids["h1"]), Certainty::No);
}

#[test]
fn the_longest_match_wins() {
    let (mut net, ids) = chain_net();
    let routes = &mut net.router_mut(ids["r2"]).routes;
    routes.push(StaticRoute { group: "239.1.1.0/24".parse().unwrap(), source: None, incoming: 0, outgoing: vec![2] });
    routes.push(StaticRoute {
        group: "239.0.0.0/8".parse().unwrap(),
        source: Some("10.0.0.1/32".parse().unwrap()),
        incoming: 1,
        outgoing: vec![],
    });
    let plan = net.plan();
    let flow = flow(&plan, &World::new(), &stream("news", ids["src"], 16));
    assert!(flow.blocked.iter().any(|b| b.at.node == ids["r2"] && b.why == Why::WrongIncoming(1)));
}

#[test]
fn smcroute_forwards_by_routes_alone() {
    let (mut net, ids) = chain_net();
    net.router_mut(ids["r2"]).daemon = Daemon::Smcroute;
    let mut world = World::new();
    world.join(ids["h1"], group(), &all());
    let news = stream("news", ids["src"], 16);
    assert_eq!(flow(&net.plan(), &world, &news).reaches(ids["h1"]), Certainty::No);
    net.router_mut(ids["r2"]).routes[0].outgoing = vec![1];
    assert_eq!(flow(&net.plan(), &world, &news).reaches(ids["h1"]), Certainty::Yes);
}
