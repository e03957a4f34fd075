//! How a router handles a group, and who is the designated router of a wire (RFC 7761 §4.3.2).

use std::cmp::Reverse;
use std::net::IpAddr;

use super::membership::{Certainty, pim_neighbours, runs_pim};
use super::world::World;
pub use crate::topology::plan::Mode;
use crate::topology::plan::{Attachment, Daemon, Multicast, NodeId, Plan, WireId};

/// How a router handles a group; none if it does not run PIM.
pub fn mode(plan: &Plan, node: NodeId, group: IpAddr) -> Option<Mode> {
    plan.mode(node, group)
}

/// The ends that may be the designated router of a wire: one, if it is sure who speaks PIM there. The highest priority wins, of equals the
/// highest address (RFC 7761 §4.3.2).
pub fn designated(plan: &Plan, world: &World, wire: WireId) -> Vec<Attachment> {
    let ends = plan.wire(wire).ends.iter().filter(|end| !world.is_broken(plan, **end));
    elect(plan, ends.map(|end| (*end, runs_pim(plan, world, *end))).collect())
}

/// The same as a router at the wire sees it: of itself and its neighbours. None where it does not speak PIM.
pub fn designated_at(plan: &Plan, world: &World, at: Attachment) -> Vec<Attachment> {
    let own = runs_pim(plan, world, at);
    if own == Certainty::No {
        return Vec::new();
    }
    elect(plan, pim_neighbours(plan, world, at).into_iter().chain([(at, own)]).collect())
}

/// Whether a router announces a DR priority: dense mode has none.
fn announces(plan: &Plan, at: Attachment) -> Certainty {
    match plan.node(at.node).router().map(|router| (&router.daemon, router.multicast)) {
        Some((Daemon::Exec(_), _)) => Certainty::Maybe,
        Some((_, Multicast::PimSm)) => Certainty::Yes,
        _ => Certainty::No,
    }
}

/// Who may be elected of those that (may) speak PIM on a wire. Priorities count if all announce one, else addresses alone.
fn elect(plan: &Plan, mut ends: Vec<(Attachment, Certainty)>) -> Vec<Attachment> {
    ends.retain(|(_, speaks)| *speaks > Certainty::No);
    let priority = |end: &Attachment| plan.pim_at(*end).and_then(|pim| pim.dr_priority).unwrap_or(1);
    let address = |end: &Attachment| plan.interface(*end).ipv4().map(|address| address.addr());
    let is_silent = |end: &Attachment| announces(plan, *end) == Certainty::No;
    // The first who is there for certain, and whoever may be there before it.
    let first = |ends: &mut Vec<(Attachment, Certainty)>| {
        let surely = ends.iter().position(|(_, speaks)| *speaks == Certainty::Yes);
        ends.truncate(surely.map_or(ends.len(), |n| n + 1));
        ends.iter().map(|(end, _)| *end).collect::<Vec<_>>()
    };
    let mut elected = Vec::new();
    if !ends.iter().any(|(end, speaks)| is_silent(end) && *speaks == Certainty::Yes) {
        let mut all = ends.clone();
        all.retain(|(end, _)| !is_silent(end));
        all.sort_by_key(|(end, _)| Reverse((priority(end), address(end))));
        elected.extend(first(&mut all));
    }
    if ends.iter().any(|(end, _)| announces(plan, *end) < Certainty::Yes) {
        ends.sort_by_key(|(end, _)| Reverse(address(end)));
        let by_address = first(&mut ends);
        elected.extend(by_address.into_iter().filter(|end| !elected.contains(end)).collect::<Vec<_>>());
    }
    elected
}

/// The router that has an address.
pub fn owner(plan: &Plan, address: IpAddr) -> Option<NodeId> {
    plan.node_ids().filter(|id| plan.node(*id).is_router()).find(|id| {
        let node = plan.node(*id);
        let own = node.loopback.iter().chain(node.interfaces.iter().flat_map(|i| &i.addresses));
        own.into_iter().any(|own| own.addr() == address)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::testing::Net;
    use crate::topology::steps::{Cut, CutKind};

    #[test]
    fn the_highest_priority_is_designated_then_the_highest_address() {
        let mut net = Net::new();
        let (a, b, c) = (net.sparse("a"), net.sparse("b"), net.sparse("c"));
        let lan = net.lan("lan", &[a, b, c]);
        let mut world = World::new();
        let dr = |net: &Net, world: &World| designated(&net.plan(), world, lan).first().map(|end| end.node);
        assert_eq!(dr(&net, &world), Some(c));
        net.router_mut(a).pim.dr_priority = Some(10);
        assert_eq!(dr(&net, &world), Some(a));
        world.kill(a);
        assert_eq!(dr(&net, &world), Some(c));
    }

    #[test]
    fn addresses_alone_decide_beside_a_router_that_announces_no_priority() {
        let mut net = Net::new();
        let (a, b, dense) = (net.sparse("a"), net.sparse("b"), net.pim("dense"));
        let lan = net.lan("lan", &[a, b, dense]);
        net.router_mut(a).pim.dr_priority = Some(10);
        let mut world = World::new();
        let nodes = |ends: Vec<Attachment>| ends.into_iter().map(|end| end.node).collect::<Vec<_>>();
        let dr = |net: &Net, world: &World| nodes(designated(&net.plan(), world, lan));
        let seen = |net: &Net, world: &World, node| {
            nodes(designated_at(&net.plan(), world, Attachment { node, interface: 0 }))
        };
        assert_eq!(dr(&net, &world), [dense]);
        // Whether the stopped one still counts is not sure.
        world.pause(dense);
        assert_eq!(dr(&net, &world), [a, dense, b]);
        world.kill(dense);
        assert_eq!(dr(&net, &world), [a]);
        assert_eq!(seen(&net, &world, b), [a]);
        assert_eq!(seen(&net, &world, dense), []);
        // Who is cut off a LAN is alone there.
        let end = Some(Attachment { node: a, interface: 0 });
        world.fail(&Cut { wire: lan, end, how: CutKind::Silent, detected_after: None });
        assert_eq!((seen(&net, &world, a), seen(&net, &world, b)), (vec![a], vec![b]));
    }
}
