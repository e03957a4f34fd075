//! Where the packets of a stream go in a world: every interface that they leave and reach, with the TTLs that they may have
//! there, the forwarding entries that carry them, and what stops them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use super::dense::{Dense, Rpf};
use super::membership::Certainty;
use super::sparse::Sparse;
use super::world::World;
use crate::topology::plan::{Attachment, NodeId, Plan, WireId};
use crate::topology::steps::Stream;

mod dense;
mod fixed;
mod sparse;
mod walk;

/// Packets at an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passage {
    /// The TTLs that they may have there.
    pub ttls: BTreeSet<u8>,
    /// Whether they must be there, or only may.
    pub certainty: Certainty,
    /// The same once dense mode's asserts and prunes are over, and no prune has run out: where it only flooded, they must not be there.
    pub settled: Certainty,
    /// The interfaces that they come from: for packets that leave a router, where they reached it; for packets that reach a node, who
    /// sent them into the wire.
    pub via: BTreeSet<Attachment>,
}

/// A forwarding entry that a router's kernel should have, interfaces by their index in the node's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedEntry {
    /// Where packets must arrive: at one of these (several where costs tie).
    pub incoming: BTreeSet<usize>,
    /// Where copies leave: the threshold that the entry holds (1 where the file sets none) and whether it must be there, once asserts and
    /// prunes are over.
    pub outgoing: BTreeMap<usize, (u8, Certainty)>,
    /// Whether packets must reach the router; else the entry may be absent.
    pub certainty: Certainty,
    /// Whether packets may come in by registers: the entry's incoming interface is then the kernel's own for these.
    pub registered: bool,
}

/// Why packets do not go on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// The router's daemon is dead.
    Dead,
    /// The file sets `multicast: none` there.
    MulticastNone,
    /// No static multicast route there matches.
    NoRoute,
    /// They come in by another interface than the route says (by its index).
    WrongIncoming(usize),
    /// The interface is a boundary of the group's scope.
    Boundary,
    /// Their TTL is not above the interface's threshold.
    Threshold {
        /// TTL on arrival.
        ttl: u8,
        /// The threshold.
        threshold: u8,
    },
    /// Their TTL would become 0.
    TtlSpent,
    /// Nobody there wants them, and no route sends them there.
    NotWanted,
    /// The wire is cut.
    Cut,
    /// The router's route to the source leads to another interface (one of these).
    NotRpf(BTreeSet<usize>),
    /// The router has no route to the source.
    NoSourceRoute,
    /// Neither a member nor another PIM router is there.
    Leaf,
    /// Another router forwards there: it wins the assert.
    LosesAssert(Attachment),
    /// Dense mode floods there, but nobody there asks for them: they are pruned.
    Pruned,
    /// PIM routes IPv4 alone here.
    Family,
    /// The router knows of no rendezvous point for the group.
    NoRendezvousPoint,
    /// In sparse mode, neither a member that it serves nor a router there has joined.
    NotJoined,
    /// It has not joined the tree that brings them there.
    NotOnTree,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Dead => f.write_str("its daemon is dead"),
            Why::MulticastNone => f.write_str("the file sets `multicast: none` there"),
            Why::NoRoute => f.write_str("no static multicast route there matches"),
            Why::WrongIncoming(_) => f.write_str("its route takes them from another interface"),
            Why::Boundary => f.write_str("the group's scope ends at that interface"),
            Why::Threshold { ttl, threshold } => {
                write!(f, "packets arrive with TTL {ttl}, and its threshold is {threshold}")
            }
            Why::TtlSpent => f.write_str("their TTL is spent"),
            Why::NotWanted => f.write_str("nobody there has joined, and no static route leads there"),
            Why::Cut => f.write_str("the wire is cut"),
            Why::NotRpf(_) => f.write_str("its route to the source leads to another interface"),
            Why::NoSourceRoute => f.write_str("it has no route to the source"),
            Why::Leaf => f.write_str("neither a member nor another PIM router is there"),
            Why::LosesAssert(_) => f.write_str("another router has the better route to the source and wins the assert"),
            Why::Pruned => f.write_str("nobody there asks for it, so that it is pruned"),
            Why::Family => f.write_str("PIM routes IPv4 alone"),
            Why::NoRendezvousPoint => f.write_str("it knows of no rendezvous point for the group"),
            Why::NotJoined => f.write_str("no router there joins them, and no member that it serves wants them"),
            Why::NotOnTree => f.write_str("nobody behind it wants them, so that it joins no tree"),
        }
    }
}

/// Packets that do not go on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Blocked {
    /// Where they are: the interface that they reached (for [`Why::Cut`], the one that they left).
    pub at: Attachment,
    /// The interface that they do not leave by; none if they leave by none.
    pub outgoing: Option<usize>,
    /// Why.
    pub why: Why,
}

/// Where the packets of a stream go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Source address.
    pub source: IpAddr,
    /// Group.
    pub group: IpAddr,
    /// The sender's interface.
    pub origin: Attachment,
    /// Interfaces that send them into a wire.
    pub outbound: BTreeMap<Attachment, Passage>,
    /// Interfaces that a wire brings them to (behind a snooping bridge: whose port they leave by).
    pub inbound: BTreeMap<Attachment, Passage>,
    /// Hosts whose sockets receive them.
    pub receivers: BTreeMap<NodeId, Passage>,
    /// The entries of routers that they reach.
    pub entries: BTreeMap<NodeId, ExpectedEntry>,
    /// Where they end.
    pub blocked: BTreeSet<Blocked>,
    /// Where the routers that they may reach in dense mode take them from.
    pub rpf: BTreeMap<NodeId, Rpf>,
}

impl Flow {
    /// The flow of a stream in a world, by its TTL. None if the sender's interface has no address of the group's family.
    pub fn of(plan: &Plan, world: &World, stream: &Stream) -> Option<Flow> {
        let (origin, source) = origin(plan, stream)?;
        let dense = has_dense(plan, stream).then(|| Dense::new(plan, world, origin, source, stream.group));
        let sparse = has_sparse(plan, stream).then(|| Sparse::new(plan, world, origin, source, stream));
        Some(walk::walk(plan, world, (dense.as_ref(), sparse.as_ref()), stream, source))
    }

    /// Where a stream may go while one of several worlds turns into another: wherever it goes in any of them, and where routers lead it
    /// that already act by one while others still act by another. Only upper bounds: nothing need be there.
    pub fn between(plan: &Plan, worlds: &[World], stream: &Stream) -> Option<Flow> {
        let (first, others) = worlds.split_first()?;
        if others.is_empty() {
            return Flow::of(plan, first, stream);
        }
        let (origin, source) = origin(plan, stream)?;
        let merged = others.iter().fold(first.clone(), |merged, other| merged.merged(other));
        let dense =
            has_dense(plan, stream).then(|| Dense::between(plan, &merged, worlds, origin, source, stream.group));
        let sparse = has_sparse(plan, stream).then(|| Sparse::between(plan, &merged, worlds, origin, source, stream));
        let mut flow = walk::walk(plan, &merged, (dense.as_ref(), sparse.as_ref()), stream, source);
        for world in worlds {
            flow.permit(&Flow::of(plan, world, stream)?);
        }
        Some(flow)
    }

    /// Adds where another flow of the same stream may go; what must be stays what both must.
    pub fn permit(&mut self, other: &Flow) {
        let merge = |mine: &mut BTreeMap<Attachment, Passage>, theirs: &BTreeMap<Attachment, Passage>| {
            for (at, passage) in theirs {
                let known = mine.entry(*at).or_insert_with(Passage::none);
                known.ttls.extend(&passage.ttls);
                known.via.extend(&passage.via);
                known.certainty = known.certainty.max(passage.certainty.min(Certainty::Maybe));
                known.settled = known.settled.max(passage.settled.min(Certainty::Maybe));
            }
        };
        merge(&mut self.outbound, &other.outbound);
        merge(&mut self.inbound, &other.inbound);
        for (host, passage) in &other.receivers {
            let known = self.receivers.entry(*host).or_insert_with(Passage::none);
            known.ttls.extend(&passage.ttls);
            known.via.extend(&passage.via);
            known.certainty = known.certainty.max(passage.certainty.min(Certainty::Maybe));
        }
    }

    /// Hosts that must receive, with the TTLs that they may see.
    pub fn must_receive(&self) -> impl Iterator<Item = (NodeId, &Passage)> + '_ {
        self.receivers.iter().filter(|(_, p)| p.certainty == Certainty::Yes).map(|(host, p)| (*host, p))
    }

    /// Whether a host must, may or must not receive.
    pub fn reaches(&self, host: NodeId) -> Certainty {
        self.receivers.get(&host).map_or(Certainty::No, |p| p.certainty)
    }

    /// Wires that carry the stream, with whether they must.
    pub fn wires(&self, plan: &Plan) -> BTreeMap<WireId, Certainty> {
        let mut wires = BTreeMap::new();
        for (at, passage) in &self.outbound {
            let certainty = wires.entry(plan.interface(*at).wire).or_insert(Certainty::No);
            *certainty = passage.certainty.max(*certainty);
        }
        wires
    }

    /// How many routers the packets may have passed on their way to a host.
    pub fn hops(&self, host: NodeId) -> BTreeSet<u8> {
        let sent = self.outbound.get(&self.origin).and_then(|p| p.ttls.last().copied()).unwrap_or(0);
        self.receivers.get(&host).into_iter().flat_map(|p| &p.ttls).map(|ttl| sent.saturating_sub(*ttl)).collect()
    }

    /// The interfaces on the way to a host in order: out of the sender, into a router, out of it, ..., into the host. Where several lead
    /// there, the surest, of equals the first by the file's order.
    pub fn way_to(&self, host: NodeId) -> Vec<Attachment> {
        self.way_by(host, |_, _| 0)
    }

    /// The same; among equally sure ways the one with the highest rank at each interface, packets leaving by it (true) or reaching it.
    pub fn way_by(&self, host: NodeId, rank: impl Fn(Attachment, bool) -> u64) -> Vec<Attachment> {
        let Some(mut at) = self.inbound.keys().find(|at| at.node == host).copied() else { return Vec::new() };
        let mut way = vec![at];
        // Each interface at most once in each direction: a loop ends the walk.
        while way.len() <= 2 * (self.inbound.len() + self.outbound.len()) {
            let arriving = way.len() % 2 == 1;
            let passage = if arriving { self.inbound.get(&at) } else { self.outbound.get(&at) };
            if !arriving && at == self.origin {
                break;
            }
            let sources = if arriving { &self.outbound } else { &self.inbound };
            let key = |before: &&Attachment| {
                let known = sources.get(before);
                let settled = known.map_or(Certainty::No, |p| p.settled);
                (settled > Certainty::No, rank(**before, arriving), settled, Reverse(**before))
            };
            let Some(&before) = passage.and_then(|p| p.via.iter().max_by_key(key)) else { break };
            way.push(before);
            at = before;
        }
        way.reverse();
        way
    }
}

fn origin(plan: &Plan, stream: &Stream) -> Option<(Attachment, IpAddr)> {
    let origin = Attachment { node: stream.from, interface: stream.interface };
    Some((origin, plan.interface(origin).address_like(stream.group)?))
}

fn has_dense(plan: &Plan, stream: &Stream) -> bool {
    stream.group.is_ipv4() && super::dense::is_in(plan, stream.group)
}

fn has_sparse(plan: &Plan, stream: &Stream) -> bool {
    stream.group.is_ipv4() && super::sparse::is_in(plan, stream.group)
}

impl Passage {
    fn none() -> Passage {
        Passage { ttls: BTreeSet::new(), certainty: Certainty::No, settled: Certainty::No, via: BTreeSet::new() }
    }
}

#[cfg(test)]
mod dense_tests;
#[cfg(test)]
mod sparse_tests;
#[cfg(test)]
mod tests;
