//! Where the packets of a stream go in a world: every interface that they leave and reach, with the TTLs that they may have
//! there, the forwarding entries that carry them, and what stops them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::net::IpAddr;

use super::deadlines::querier;
use super::membership::{Certainty, accepts, runs_igmp, wanted};
use super::world::World;
use crate::topology::plan::{Attachment, Daemon, Interface, Multicast, NodeId, Plan, StaticRoute, WireId, WireKind};
use crate::topology::steps::Stream;

/// Packets at an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passage {
    /// The TTLs that they may have there.
    pub ttls: BTreeSet<u8>,
    /// Whether they must be there, or only may.
    pub certainty: Certainty,
    /// The interfaces that they come from: for packets that leave a router, where they reached it; for packets that reach a node, who
    /// sent them into the wire.
    pub via: BTreeSet<Attachment>,
}

/// A forwarding entry that a router's kernel should have, interfaces by their index in the node's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedEntry {
    /// Where packets must arrive.
    pub incoming: usize,
    /// Where copies leave: the threshold that the entry holds (1 where the file sets none) and whether it must be there.
    pub outgoing: BTreeMap<usize, (u8, Certainty)>,
    /// Whether packets must reach the router; else the entry may be absent.
    pub certainty: Certainty,
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
}

impl Flow {
    /// The flow of a stream in a world, by its TTL. None if the sender's interface has no address of the group's family.
    pub fn of(plan: &Plan, world: &World, stream: &Stream) -> Option<Flow> {
        let origin = Attachment { node: stream.from, interface: stream.interface };
        let source = plan.interface(origin).address_like(stream.group)?;
        let mut flow = Flow {
            source,
            group: stream.group,
            origin,
            outbound: BTreeMap::new(),
            inbound: BTreeMap::new(),
            receivers: BTreeMap::new(),
            entries: BTreeMap::new(),
            blocked: BTreeSet::new(),
        };
        let mut walk = Walk { plan, world, flow: &mut flow, leaving: VecDeque::new() };
        walk.leaving.push_back(Step { at: origin, ttl: stream.ttl, certainty: Certainty::Yes, via: origin });
        while let Some(step) = walk.leaving.pop_front() {
            walk.leave(step);
        }
        Some(flow)
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
    /// there, the first by the file's order.
    pub fn way_to(&self, host: NodeId) -> Vec<Attachment> {
        let Some(mut at) = self.inbound.keys().find(|at| at.node == host).copied() else { return Vec::new() };
        let mut way = vec![at];
        // Each interface at most once in each direction: a loop ends the walk.
        while way.len() <= 2 * (self.inbound.len() + self.outbound.len()) {
            let arriving = way.len() % 2 == 1;
            let passage = if arriving { self.inbound.get(&at) } else { self.outbound.get(&at) };
            let Some(&before) = passage.and_then(|p| p.via.first()) else { break };
            if !arriving && at == self.origin {
                break;
            }
            way.push(before);
            at = before;
        }
        way.reverse();
        way
    }
}

struct Step {
    at: Attachment,
    ttl: u8,
    certainty: Certainty,
    via: Attachment,
}

struct Walk<'a> {
    plan: &'a Plan,
    world: &'a World,
    flow: &'a mut Flow,
    leaving: VecDeque<Step>,
}

/// Adds a passage; whether that changed what follows from it.
fn add(
    passages: &mut BTreeMap<Attachment, Passage>,
    at: Attachment,
    ttl: u8,
    certainty: Certainty,
    via: Attachment,
) -> bool {
    let passage = passages.entry(at).or_insert_with(|| Passage {
        ttls: BTreeSet::new(),
        certainty: Certainty::No,
        via: BTreeSet::new(),
    });
    let new_ttl = passage.ttls.insert(ttl);
    let surer = certainty > passage.certainty;
    passage.certainty = passage.certainty.max(certainty);
    let new_way = passage.via.insert(via);
    new_ttl || surer || new_way
}

impl Walk<'_> {
    /// Packets leave a node into a wire.
    fn leave(&mut self, step: Step) {
        let Step { at, ttl, certainty, via } = step;
        let cut = self.world.is_broken(self.plan, at);
        // Whether a tap still sees a frame that the cut then takes depends on the kind of cut.
        let seen = if cut { Certainty::Maybe } else { certainty };
        if !add(&mut self.flow.outbound, at, ttl, seen, via) {
            return;
        }
        if cut {
            self.block(at, None, Why::Cut);
            return;
        }
        let wire = self.plan.interface(at).wire;
        for &end in &self.plan.wire(wire).ends {
            if end == at || !self.world.carries(self.plan, at, end) {
                continue;
            }
            let port = self.port(wire, end).min(certainty);
            if port > Certainty::No && add(&mut self.flow.inbound, end, ttl, port, at) {
                self.arrive(end, ttl, port, at);
            }
        }
    }

    /// Whether a wire brings packets to one of its ends: all of them, unless a bridge snoops.
    fn port(&self, wire: WireId, end: Attachment) -> Certainty {
        let wire = self.plan.wire(wire);
        if wire.kind != (WireKind::Lan { snooping: true }) {
            return Certainty::Yes;
        }
        let queried = wire.ends.iter().any(|&e| runs_igmp(self.plan, self.world, e) > Certainty::No);
        if let Some(filter) = self.world.filter(end.node, self.flow.group) {
            // A bridge may or may not tell sources apart.
            return if accepts(filter, self.flow.source) { Certainty::Yes } else { Certainty::Maybe };
        }
        if self.plan.node(end.node).is_router() {
            // A bridge knows a router by its queries, and only the elected one sends them.
            return if querier(self.plan, self.world, self.plan.interface(end).wire) == Some(end.node) {
                Certainty::Yes
            } else {
                Certainty::Maybe
            };
        }
        // Without a querier a snooping bridge floods (RFC 4541 §2.1.1 leaves it open).
        if queried { Certainty::No } else { Certainty::Maybe }
    }

    /// Packets reach a node.
    fn arrive(&mut self, at: Attachment, ttl: u8, certainty: Certainty, from: Attachment) {
        if self.plan.node(at.node).is_router() {
            self.forward(at, ttl, certainty);
        } else if self.world.filter(at.node, self.flow.group).is_some_and(|f| accepts(f, self.flow.source)) {
            let passage = self.flow.receivers.entry(at.node).or_insert_with(|| Passage {
                ttls: BTreeSet::new(),
                certainty: Certainty::No,
                via: BTreeSet::new(),
            });
            passage.ttls.insert(ttl);
            passage.certainty = passage.certainty.max(certainty);
            passage.via.insert(from);
        }
    }

    fn block(&mut self, at: Attachment, outgoing: Option<usize>, why: Why) {
        self.flow.blocked.insert(Blocked { at, outgoing, why });
    }

    /// Packets reach a router.
    fn forward(&mut self, at: Attachment, ttl: u8, certainty: Certainty) {
        if self.world.is_dead(at.node) {
            return self.block(at, None, Why::Dead);
        }
        let wishes = match self.wishes(at) {
            Ok(wishes) => wishes,
            Err(why) => return self.block(at, None, why),
        };
        // What a stopped daemon would have to change stays as it is.
        let certainty = if self.world.is_stopped(at.node) { certainty.min(Certainty::Maybe) } else { certainty };
        let mut outgoing = BTreeMap::new();
        for (interface, wish) in wishes {
            let out = Attachment { node: at.node, interface };
            let settings = self.plan.interface(out);
            // The kernel takes 0 for 'never': an entry holds at least 1, which also keeps a TTL from becoming 0.
            let threshold = settings.ttl_threshold.max(1);
            if interface == at.interface {
                continue;
            }
            if wish == Certainty::No {
                self.block(at, Some(interface), Why::NotWanted);
            } else if settings.is_boundary_for(self.flow.group) {
                self.block(at, Some(interface), Why::Boundary);
            } else {
                let wish = wish.min(certainty);
                outgoing.insert(interface, (threshold, wish));
                if ttl > threshold {
                    self.leaving.push_back(Step { at: out, ttl: ttl - 1, certainty: wish, via: at });
                } else if ttl <= 1 {
                    self.block(at, Some(interface), Why::TtlSpent);
                } else {
                    self.block(at, Some(interface), Why::Threshold { ttl, threshold });
                }
            }
        }
        let entry = self.flow.entries.entry(at.node).or_insert(ExpectedEntry {
            incoming: at.interface,
            outgoing: BTreeMap::new(),
            certainty: Certainty::No,
        });
        entry.incoming = at.interface;
        entry.outgoing = outgoing;
        entry.certainty = entry.certainty.max(certainty);
    }

    /// By which interfaces a router wants to send what reaches it at one.
    fn wishes(&self, at: Attachment) -> Result<Vec<(usize, Certainty)>, Why> {
        let node = self.plan.node(at.node);
        let Some(router) = node.router() else { return Ok(Vec::new()) };
        if router.multicast == Multicast::None {
            return Err(Why::MulticastNone);
        }
        if self.plan.interface(at).is_boundary_for(self.flow.group) {
            return Err(Why::Boundary);
        }
        let proxy = router.multicast == Multicast::Proxy;
        let always: &[usize] = if proxy {
            // A source on one of its links is believed there alone; what comes from below always goes up (RFC 4605 §4.2).
            let on_link = |i: &Interface| i.addresses.iter().any(|a| a.contains(&self.flow.source));
            match node.interfaces.iter().position(on_link) {
                Some(link) if link != at.interface => return Err(Why::WrongIncoming(link)),
                _ => router.upstream.as_slice(),
            }
        } else {
            match longest_match(&router.routes, self.flow.source, self.flow.group) {
                Some(route) if route.incoming != at.interface => return Err(Why::WrongIncoming(route.incoming)),
                Some(route) => &route.outgoing,
                None => return Err(Why::NoRoute),
            }
        };
        let wish = |interface| {
            if always.contains(&interface) {
                return Certainty::Yes;
            }
            let here = Attachment { node: at.node, interface };
            if router.daemon == Daemon::Smcroute || (proxy && router.upstream == Some(interface)) {
                return Certainty::No;
            }
            // Of several proxies on a link, only its querier forwards (RFC 4605 §4.2).
            let wire = self.plan.interface(here).wire;
            if proxy && querier(self.plan, self.world, wire).is_some_and(|elected| elected != at.node) {
                return Certainty::No;
            }
            wanted(self.plan, self.world, here, self.flow.source, self.flow.group)
        };
        Ok((0..node.interfaces.len()).map(|interface| (interface, wish(interface))).collect())
    }
}

/// The route that holds for packets: the longest source prefix, then the longest group prefix, then the first in the file.
fn longest_match(routes: &[StaticRoute], source: IpAddr, group: IpAddr) -> Option<&StaticRoute> {
    let length =
        |route: &StaticRoute| (route.source.map_or(0, |s| u16::from(s.prefix_len()) + 1), route.group.prefix_len());
    let mut best: Option<&StaticRoute> = None;
    for route in routes {
        let matches = route.group.contains(&group) && route.source.is_none_or(|prefix| prefix.contains(&source));
        if matches && best.is_none_or(|b| length(route) > length(b)) {
            best = Some(route);
        }
    }
    best
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
        }
    }
}

#[cfg(test)]
mod tests;
