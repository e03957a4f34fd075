//! Unicast ways to an address, as PIM and unicast messages use them: where a router's route leads, and whether what it sends arrives.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::dense::Rpf;
use super::membership::Certainty;
use super::paths::Distances;
use super::rendezvous::owner;
use super::world::World;
use crate::topology::plan::{Attachment, NodeId, Plan, Unicast};
use crate::topology::steps::CutKind;

/// Where a route leads, and its first steps: out of which interface, into which.
type Route = (Rpf, Vec<(Attachment, Attachment)>);

/// All ways to a router's address.
#[derive(Clone, Debug)]
pub(super) struct Ways {
    /// The router that has it.
    pub owner: Option<NodeId>,
    /// By node: where the route of a PIM router leads. The owner's own leads nowhere.
    pub rpf: Vec<Option<Rpf>>,
    /// By node: whether what a router sends there arrives. A silent cut takes packets without moving routes.
    pub arrives: Vec<Certainty>,
}

impl Ways {
    /// The ways to an address in a world.
    pub fn to(plan: &Plan, world: &World, address: IpAddr) -> Ways {
        let size = plan.nodes.len();
        let Some(owner) = owner(plan, address) else {
            return Ways { owner: None, rpf: vec![None; size], arrives: vec![Certainty::No; size] };
        };
        // A daemon that is dead or cuts that nobody notices move no unicast route.
        let unicast = world.unicast();
        let mut interfaces = plan.node(owner).interfaces.iter();
        let holder = interfaces.position(|i| i.addresses.iter().any(|own| own.addr() == address));
        let holder = holder.map(|interface| Attachment { node: owner, interface });
        let distances = match holder {
            Some(at) => Distances::to_wire(plan, &unicast, plan.interface(at).wire),
            None => Distances::to_node(plan, &unicast, owner),
        };
        let near = |node: NodeId| {
            let wire = plan.interface(holder?).wire;
            (0..plan.node(node).interfaces.len()).map(|interface| Attachment { node, interface }).find(|at| {
                plan.interface(*at).wire == wire && matches!(world.cut_at(plan, *at), None | Some(CutKind::Silent))
            })
        };
        let routes = plan.node_ids().map(|node| {
            let router = plan.node(node).router()?;
            if node == owner {
                return Some((Rpf { interfaces: BTreeSet::new(), neighbours: BTreeSet::new(), cost: 0 }, Vec::new()));
            }
            if let (Some(holder), Some(near)) = (holder, near(node)) {
                let (interfaces, neighbours) = (BTreeSet::from([near.interface]), BTreeSet::from([holder]));
                return Some((Rpf { interfaces, neighbours, cost: 0 }, vec![(near, holder)]));
            }
            let hops = distances.next_hops(plan, &unicast, node);
            if router.unicast == Unicast::None || hops.is_empty() {
                return None;
            }
            let rpf = Rpf {
                interfaces: hops.iter().map(|hop| hop.out.interface).collect(),
                neighbours: hops.iter().map(|hop| hop.into).collect(),
                cost: distances.of(node)?,
            };
            Some((rpf, hops.into_iter().map(|hop| (hop.out, hop.into)).collect()))
        });
        let routes: Vec<Option<Route>> = routes.collect();
        let mut known = BTreeMap::from([(owner, Certainty::Yes)]);
        let arrives = plan.node_ids().map(|node| arrives(plan, world, &routes, node, &mut known)).collect();
        let is_pim = |node: NodeId| plan.node(node).router().is_some_and(|router| router.multicast.is_pim());
        let rpf = routes.into_iter().enumerate().map(|(n, route)| Some(route?.0).filter(|_| is_pim(NodeId(n))));
        Ways { owner: Some(owner), rpf: rpf.collect(), arrives }
    }
}

/// Whether packets arrive that a router sends: each step is nearer to the end, so that the recursion ends.
fn arrives(
    plan: &Plan,
    world: &World,
    routes: &[Option<Route>],
    node: NodeId,
    known: &mut BTreeMap<NodeId, Certainty>,
) -> Certainty {
    if let Some(certainty) = known.get(&node) {
        return *certainty;
    }
    known.insert(node, Certainty::No);
    let hops = routes[node.0].as_ref().map(|(_, hops)| hops.as_slice()).unwrap_or_default();
    let by = hops.iter().map(|(out, into)| match world.carries(plan, *out, *into) {
        true => arrives(plan, world, routes, into.node, known),
        false => Certainty::No,
    });
    let by: Vec<Certainty> = by.collect();
    let certainty = whichever(&by);
    known.insert(node, certainty);
    certainty
}

/// What is sure whichever of several ways is taken.
pub(super) fn whichever(ways: &[Certainty]) -> Certainty {
    match (ways.iter().min(), ways.iter().max()) {
        (Some(least), Some(most)) if least == most => *least,
        (Some(_), Some(_)) => Certainty::Maybe,
        _ => Certainty::No,
    }
}
