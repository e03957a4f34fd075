//! PIM dense mode (RFC 3973) as the topology alone decides it: where each router takes a source's packets from, who forwards into
//! each wire once asserts are over, and who asks for them there once prunes are.
//!
//! Where costs tie, a router takes packets from one of several interfaces, and which is left open: the wires before it *may* carry, what
//! lies behind it *must* get packets if each of the alternatives would bring them. Hence two certainties: what a wire does, and what it
//! would do if it were asked.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::membership::{Certainty, runs_pim, wanted};
use super::paths::Distances;
use super::rendezvous::{Mode, mode};
use super::world::World;
use crate::topology::plan::{Attachment, NodeId, Plan, Unicast, WireId};
use crate::topology::steps::CutKind;

/// Where a router takes a source's packets from (RFC 3973 §4.1.3, RPF_interface(S) and what lies behind it).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rpf {
    /// The interfaces that it may be: more than one where costs tie.
    pub interfaces: BTreeSet<usize>,
    /// The next routers that its routes may lead to; none if the source is on a link of its own.
    pub neighbours: BTreeSet<Attachment>,
    /// What its route costs: 0 on a link of its own. Decides asserts (§4.6.1).
    pub cost: u64,
}

/// A certainty for what is, and one for what would be if it were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Demand {
    /// Somebody asks.
    pub is: Certainty,
    /// Somebody asks, or would if his route led here.
    pub may_be: Certainty,
}

impl Demand {
    pub(super) const NONE: Demand = Demand { is: Certainty::No, may_be: Certainty::No };

    pub(super) fn both(certainty: Certainty) -> Demand {
        Demand { is: certainty, may_be: certainty }
    }

    pub(super) fn or(self, other: Demand) -> Demand {
        Demand { is: self.is.max(other.is), may_be: self.may_be.max(other.may_be) }
    }

    pub(super) fn at_most(self, is: Certainty, may_be: Certainty) -> Demand {
        Demand { is: self.is.min(is), may_be: self.may_be.min(may_be) }
    }
}

/// What a router does with packets at one of its outgoing interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outgoing {
    /// Whether it may flood them there at all.
    pub may_flood: bool,
    /// Whether it forwards them there once asserts and prunes are over: no, if it has lost the assert or nobody asks.
    pub settled: Demand,
    /// Whether it is one of several of which one forwards.
    pub is_one_of: bool,
}

/// Dense mode for a source and a group.
pub(super) struct Dense<'a> {
    plan: &'a Plan,
    world: &'a World,
    /// Whether the world is turning into another one: then a router may still act, or act already, by either, and nothing is decided.
    in_transition: bool,
    source: IpAddr,
    group: IpAddr,
    rpf: Vec<Option<Rpf>>,
    forwarders: RefCell<BTreeMap<WireId, Vec<Attachment>>>,
    demands: RefCell<BTreeMap<NodeId, Demand>>,
}

/// Whether a plan has routers that handle a group in dense mode at all.
pub(super) fn is_in(plan: &Plan, group: IpAddr) -> bool {
    plan.node_ids().any(|node| mode(plan, node, group) == Some(Mode::Dense))
}

impl<'a> Dense<'a> {
    /// For packets that an interface sends from its address.
    pub fn new(plan: &'a Plan, world: &'a World, origin: Attachment, source: IpAddr, group: IpAddr) -> Dense<'a> {
        let rpf = rpf_of_all(plan, world, origin, source);
        Dense {
            plan,
            world,
            in_transition: false,
            source,
            group,
            rpf,
            forwarders: RefCell::default(),
            demands: RefCell::default(),
        }
    }

    /// While one of several worlds turns into another: `world` permits what any of them does, and each router takes packets from
    /// wherever it takes them in any of them.
    pub fn between(
        plan: &'a Plan,
        world: &'a World,
        worlds: &[World],
        origin: Attachment,
        source: IpAddr,
        group: IpAddr,
    ) -> Dense<'a> {
        let mut dense = Dense { in_transition: true, ..Dense::new(plan, world, origin, source, group) };
        for other in worlds {
            for (own, other) in dense.rpf.iter_mut().zip(rpf_of_all(plan, other, origin, source)) {
                match (own.as_mut(), other) {
                    (Some(own), Some(other)) => {
                        own.interfaces.extend(other.interfaces);
                        own.neighbours.extend(other.neighbours);
                    }
                    (None, other) => *own = other,
                    (Some(_), None) => {}
                }
            }
        }
        dense
    }

    /// Where a router takes the packets from; none without a route to the source.
    pub fn rpf(&self, node: NodeId) -> Option<&Rpf> {
        self.rpf[node.0].as_ref()
    }

    /// What a router does with the packets at an interface that it does not take them from.
    pub fn outgoing(&self, at: Attachment) -> Outgoing {
        let wire = self.plan.interface(at).wire;
        let members = wanted(self.plan, self.world, at, self.source, self.group);
        let may_flood = members > Certainty::No || self.neighbours(at).next().is_some();
        if self.in_transition {
            let settled = if may_flood { Demand::both(Certainty::Maybe) } else { Demand::NONE };
            return Outgoing { may_flood, settled, is_one_of: false };
        }
        if !self.plan.has_pim(at) {
            // Without PIM there, members alone count, and nobody settles who serves them.
            let settled = Demand::both(members);
            return Outgoing { may_flood, settled, is_one_of: false };
        }
        let forwarders = self.forwarders(wire);
        let settled = if forwarders.contains(&at) {
            let asked = self.asked(at);
            if forwarders.len() > 1 { asked.at_most(Certainty::Maybe, Certainty::Yes) } else { asked }
        } else if forwarders.iter().all(|end| self.beats_for_sure(*end, at)) && !forwarders.is_empty() {
            Demand::NONE
        } else {
            Demand::both(Certainty::Maybe)
        };
        let settled = if may_flood { settled } else { Demand::NONE };
        Outgoing { may_flood, settled, is_one_of: forwarders.len() > 1 && forwarders.contains(&at) }
    }

    /// The routers' ends that may forward into a wire once asserts are over: the one with the best route, of equals the highest address
    /// (RFC 3973 §4.6.1). Where only routers ask, of equals any may have been grafted to while another was pruned.
    pub fn forwarders(&self, wire: WireId) -> Vec<Attachment> {
        if let Some(known) = self.forwarders.borrow().get(&wire) {
            return known.clone();
        }
        let rank = |end: &Attachment| {
            let cost = self.rpf(end.node).map_or(u64::MAX, |rpf| rpf.cost);
            (cost, Reverse(self.plan.interface(*end).address_like(self.group)))
        };
        let mut candidates: Vec<Attachment> =
            self.plan.wire(wire).ends.iter().copied().filter(|end| self.could_assert(*end)).collect();
        candidates.sort_by_key(rank);
        let surely = |end: &Attachment| runs_pim(self.plan, self.world, *end) == Certainty::Yes;
        let first = candidates.iter().position(surely);
        let cost = first.map(|n| rank(&candidates[n]).0);
        let tied = candidates.iter().filter(|end| surely(end) && cost == Some(rank(end).0)).count();
        let members = |end: &Attachment| wanted(self.plan, self.world, *end, self.source, self.group);
        let asserted = tied < 2
            || candidates
                .iter()
                .filter(|end| surely(end) && cost == Some(rank(end).0))
                .all(|end| members(end) == Certainty::Yes);
        let forwarders: Vec<Attachment> = candidates
            .iter()
            .enumerate()
            .filter(|(n, end)| {
                let before = first.is_none_or(|first| *n <= first);
                before || (!asserted && surely(end) && cost == Some(rank(end).0))
            })
            .map(|(_, end)| *end)
            .collect();
        self.forwarders.borrow_mut().insert(wire, forwarders.clone());
        forwarders
    }

    /// CouldAssert(S,G,I), prunes left aside (RFC 3973 §4.6.4): it forwards into the wire as far as its own routes go.
    fn could_assert(&self, end: Attachment) -> bool {
        runs_pim(self.plan, self.world, end) > Certainty::No
            && !self.world.is_broken(self.plan, end)
            && !self.plan.interface(end).is_boundary_for(self.group)
            && self.rpf(end.node).is_some_and(|rpf| !rpf.interfaces.contains(&end.interface))
    }

    fn beats_for_sure(&self, winner: Attachment, loser: Attachment) -> bool {
        let surely = |end| runs_pim(self.plan, self.world, end) == Certainty::Yes;
        // A winner that holds packets back by its threshold asserts itself all the same, whenever it hears another's.
        let threshold = |end| self.plan.interface(end).ttl_threshold;
        surely(winner) && surely(loser) && threshold(winner) <= threshold(loser)
    }

    /// Other PIM routers on an interface's wire, with how sure it is that they are there.
    fn neighbours(&self, at: Attachment) -> impl Iterator<Item = (Attachment, Certainty)> + '_ {
        let ends = self.plan.wire(self.plan.interface(at).wire).ends.iter();
        let speaks = runs_pim(self.plan, self.world, at);
        ends.filter(move |end| end.node != at.node && self.world.carries(self.plan, at, **end))
            .map(move |end| (*end, runs_pim(self.plan, self.world, *end).min(speaks.max(Certainty::Maybe))))
            .filter(move |(_, sure)| *sure > Certainty::No && speaks > Certainty::No)
    }

    /// Whether all that keeps an interface in the outgoing list without asking prunes it in the end.
    fn is_pruned_for_sure(&self, at: Attachment) -> bool {
        let members = wanted(self.plan, self.world, at, self.source, self.group);
        members != Certainty::Maybe
            && self.neighbours(at).all(|(end, sure)| {
                let Some(rpf) = self.rpf(end.node) else { return false };
                let takes = rpf.interfaces.contains(&end.interface);
                let asks_upstream = !takes || self.has_upstream(end, rpf);
                sure == Certainty::Yes && asks_upstream && !self.plan.interface(end).is_boundary_for(self.group)
            })
    }

    /// Whether a router has somebody to send its prunes and grafts to on an interface that it takes packets from.
    fn has_upstream(&self, end: Attachment, rpf: &Rpf) -> bool {
        let wire = self.plan.interface(end).wire;
        let here = rpf.neighbours.iter().filter(|neighbour| self.plan.interface(**neighbour).wire == wire);
        here.clone().count() > 0
            && here.into_iter().all(|neighbour| runs_pim(self.plan, self.world, *neighbour) == Certainty::Yes)
    }

    /// Whether somebody on a wire asks a router there for the packets.
    fn asked(&self, at: Attachment) -> Demand {
        if self.plan.interface(at).is_boundary_for(self.group) {
            return Demand::NONE;
        }
        let members = wanted(self.plan, self.world, at, self.source, self.group);
        // A neighbour that sends no prunes keeps the interface in the outgoing list.
        let least = if self.is_pruned_for_sure(at) { Certainty::No } else { Certainty::Maybe };
        let mut demand = Demand::both(members.max(least));
        for (end, sure) in self.neighbours(at) {
            let Some(rpf) = self.rpf(end.node).filter(|rpf| rpf.interfaces.contains(&end.interface)) else { continue };
            if rpf.neighbours.is_empty() || self.plan.interface(end).is_boundary_for(self.group) {
                continue;
            }
            let mut most = Demand::both(sure);
            if !self.has_upstream(end, rpf) {
                most = Demand::both(Certainty::Maybe);
            }
            if rpf.interfaces.len() > 1 {
                most.is = most.is.min(Certainty::Maybe);
            }
            demand = demand.or(self.demand(end.node).at_most(most.is, most.may_be));
        }
        demand
    }

    /// Whether a router needs the packets for anybody below it.
    fn demand(&self, node: NodeId) -> Demand {
        if let Some(known) = self.demands.borrow().get(&node) {
            return *known;
        }
        // Each step leads away from the source, so that it ends; what is asked for again meanwhile asks for nothing.
        self.demands.borrow_mut().insert(node, Demand::NONE);
        let mut demand = Demand::NONE;
        let own = self.rpf(node).map(|rpf| rpf.interfaces.clone()).unwrap_or_default();
        for interface in (0..self.plan.node(node).interfaces.len()).filter(|n| !own.contains(n)) {
            let at = Attachment { node, interface };
            let forwarders = self.forwarders(self.plan.interface(at).wire);
            if !forwarders.contains(&at) && self.plan.has_pim(at) {
                continue;
            }
            let asked = self.asked(at);
            demand =
                demand.or(if forwarders.len() > 1 { asked.at_most(Certainty::Maybe, Certainty::Yes) } else { asked });
        }
        self.demands.borrow_mut().insert(node, demand);
        demand
    }
}

/// Where every router that speaks PIM would take a source's packets from.
pub(super) fn rpf_of_all(plan: &Plan, world: &World, origin: Attachment, source: IpAddr) -> Vec<Option<Rpf>> {
    // A daemon that is dead or cuts that nobody notices move no unicast route.
    let unicast = world.unicast();
    let distances = Distances::to_wire(plan, &unicast, plan.interface(origin).wire);
    plan.node_ids()
        .map(|node| {
            let router = plan.node(node).router().filter(|router| router.multicast.is_pim())?;
            let connected = |n: &usize| {
                let at = Attachment { node, interface: *n };
                let is_up = matches!(world.cut_at(plan, at), None | Some(CutKind::Silent));
                is_up && plan.interface(at).addresses.iter().any(|own| own.contains(&source))
            };
            let own: BTreeSet<usize> = (0..plan.node(node).interfaces.len()).filter(connected).collect();
            if !own.is_empty() {
                return Some(Rpf { interfaces: own, neighbours: BTreeSet::new(), cost: 0 });
            }
            let hops = distances.next_hops(plan, &unicast, node);
            if router.unicast == Unicast::None || hops.is_empty() {
                return None;
            }
            Some(Rpf {
                interfaces: hops.iter().map(|hop| hop.out.interface).collect(),
                neighbours: hops.iter().map(|hop| hop.into).collect(),
                cost: distances.of(node)?,
            })
        })
        .collect()
}
