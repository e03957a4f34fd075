//! Where the packets of a stream go in a world: every interface that they leave and reach, with the TTLs that they may have
//! there, the forwarding entries that carry them, and what stops them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::net::IpAddr;

use super::deadlines::querier;
use super::dense::{self, Dense, Rpf};
use super::membership::{Certainty, accepts, runs_igmp, runs_pim, wanted, was_version_1};
use super::rendezvous::{Mode, mode};
use super::sparse::Sparse;
use super::world::World;
use crate::topology::plan::{Attachment, Daemon, Interface, Multicast, NodeId, Plan, StaticRoute, WireId, WireKind};
use crate::topology::steps::{CutKind, Stream};

mod sparse;

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
        Some(walk(plan, world, (dense.as_ref(), sparse.as_ref()), stream, source))
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
        let mut flow = walk(plan, &merged, (dense.as_ref(), sparse.as_ref()), stream, source);
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
    stream.group.is_ipv4() && dense::is_in(plan, stream.group)
}

fn has_sparse(plan: &Plan, stream: &Stream) -> bool {
    stream.group.is_ipv4() && super::sparse::is_in(plan, stream.group)
}

/// Follows packets from their sender to wherever they go.
fn walk(
    plan: &Plan,
    world: &World,
    (dense, sparse): (Option<&Dense<'_>>, Option<&Sparse<'_>>),
    stream: &Stream,
    source: IpAddr,
) -> Flow {
    let origin = Attachment { node: stream.from, interface: stream.interface };
    let start =
        Step { at: origin, ttl: stream.ttl, via: origin, sure: Sure::all(Certainty::Yes), settled: Certainty::Yes };
    // What a router must get by one of several ways is known once all of them are: the first walk believes that each brings what
    // it should, the others take back what did not come true.
    let mut believed: Option<Came> = None;
    let mut walks = 0;
    loop {
        let flow = Flow {
            source,
            group: stream.group,
            origin,
            outbound: BTreeMap::new(),
            inbound: BTreeMap::new(),
            receivers: BTreeMap::new(),
            entries: BTreeMap::new(),
            blocked: BTreeSet::new(),
            rpf: BTreeMap::new(),
        };
        let mut walk = Walk {
            plan,
            world,
            dense,
            sparse,
            flow,
            leaving: VecDeque::from([start]),
            followed: BTreeMap::new(),
            believed: believed.as_ref(),
            came: Came::default(),
        };
        while let Some(step) = walk.leaving.pop_front() {
            walk.leave(step);
        }
        let Walk { flow, came, .. } = walk;
        walks += 1;
        if (dense.is_none() && sparse.is_none()) || believed.as_ref() == Some(&came) || walks > plan.nodes.len() + 1 {
            return flow;
        }
        believed = Some(came);
    }
}

impl Passage {
    fn none() -> Passage {
        Passage { ttls: BTreeSet::new(), certainty: Certainty::No, settled: Certainty::No, via: BTreeSet::new() }
    }
}

/// How sure it is that packets pass, and that they would if whoever is behind were to ask for them there.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Sure {
    is: Certainty,
    would_be: Certainty,
}

impl Sure {
    fn all(certainty: Certainty) -> Sure {
        Sure { is: certainty, would_be: certainty }
    }

    fn or(self, other: Sure) -> Sure {
        Sure { is: self.is.max(other.is), would_be: self.would_be.max(other.would_be) }
    }

    fn at_most(self, certainty: Certainty) -> Sure {
        Sure { is: self.is.min(certainty), would_be: self.would_be.min(certainty) }
    }
}

#[derive(Clone, Copy)]
struct Step {
    at: Attachment,
    ttl: u8,
    via: Attachment,
    sure: Sure,
    settled: Certainty,
}

/// What surely came where alternatives meet, as far as it is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Came {
    /// By router and interface: the TTLs.
    routers: BTreeMap<Attachment, BTreeSet<u8>>,
    /// By wire: which of its possible forwarders have them.
    forwarders: BTreeMap<WireId, BTreeSet<Attachment>>,
}

struct Walk<'a> {
    plan: &'a Plan,
    world: &'a World,
    dense: Option<&'a Dense<'a>>,
    sparse: Option<&'a Sparse<'a>>,
    flow: Flow,
    leaving: VecDeque<Step>,
    /// By interface, direction (true: leaving), TTL and where they come from: what has been followed.
    followed: BTreeMap<(Attachment, bool, u8, Attachment), (Sure, Certainty)>,
    believed: Option<&'a Came>,
    came: Came,
}

impl Walk<'_> {
    /// Adds packets that leave (true) or reach an interface; whether that changed what follows from it.
    fn add(&mut self, leaving: bool, step: &Step) -> bool {
        let passages = if leaving { &mut self.flow.outbound } else { &mut self.flow.inbound };
        let passage = passages.entry(step.at).or_insert_with(Passage::none);
        passage.ttls.insert(step.ttl);
        passage.via.insert(step.via);
        passage.certainty = passage.certainty.max(step.sure.is);
        passage.settled = passage.settled.max(step.settled);
        let none = (Sure::all(Certainty::No), Certainty::No);
        let known = self.followed.entry((step.at, leaving, step.ttl, step.via)).or_insert(none);
        let most = (known.0.or(step.sure), known.1.max(step.settled));
        let is_news = most != *known;
        *known = most;
        is_news
    }

    /// Packets leave a node into a wire.
    fn leave(&mut self, step: Step) {
        let at = step.at;
        let cut = self.world.is_broken(self.plan, at);
        // Whether a tap still sees a frame that the cut then takes depends on the kind of cut.
        let seen = if cut { Step { sure: step.sure.at_most(Certainty::Maybe), ..step } } else { step };
        if !self.add(true, &seen) {
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
            let port = self.port(wire, end);
            let mut there =
                Step { at: end, via: at, sure: step.sure.at_most(port), settled: step.settled.min(port), ..step };
            // Whichever of several forwards, a member gets it.
            let contenders = self.sparse.and_then(|sparse| sparse.contenders(wire));
            if contenders.is_some_and(|all| all.contains(&at)) && !self.plan.node(end.node).is_router() {
                there.sure.is = there.sure.would_be;
            }
            if there.sure.is > Certainty::No && self.add(false, &there) {
                self.arrive(&there);
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
            // A bridge knows a router by its hellos and by its queries, and only the elected one sends these.
            let speaks_pim = runs_pim(self.plan, self.world, end) == Certainty::Yes;
            let queries = querier(self.plan, self.world, self.plan.interface(end).wire) == Some(end.node);
            return if speaks_pim || queries { Certainty::Yes } else { Certainty::Maybe };
        }
        // Without a querier a snooping bridge floods (RFC 4541 §2.1.1 leaves it open).
        if !queried {
            return Certainty::Maybe;
        }
        // Nobody asks after a leave where IGMPv1 rules, nor with what tells a bridge without source lists: it goes on believing.
        let asked = !was_version_1(self.plan, self.world, self.plan.interface(end).wire, self.flow.group);
        if asked && !self.world.left_by_blocking(end.node, self.flow.group) { Certainty::No } else { Certainty::Maybe }
    }

    /// Packets reach a node.
    fn arrive(&mut self, step: &Step) {
        let node = step.at.node;
        if self.plan.node(node).is_router() {
            self.forward(step);
        } else if self.world.filter(node, self.flow.group).is_some_and(|f| accepts(f, self.flow.source)) {
            let passage = self.flow.receivers.entry(node).or_insert_with(Passage::none);
            passage.ttls.insert(step.ttl);
            passage.certainty = passage.certainty.max(step.sure.is);
            passage.settled = passage.settled.max(step.settled);
            passage.via.insert(step.via);
        }
    }

    fn block(&mut self, at: Attachment, outgoing: Option<usize>, why: Why) {
        self.flow.blocked.insert(Blocked { at, outgoing, why });
    }

    /// Packets reach a router.
    fn forward(&mut self, step: &Step) {
        let at = step.at;
        if self.world.is_dead(at.node) {
            return self.block(at, None, Why::Dead);
        }
        match mode(self.plan, at.node, self.flow.group) {
            Some(Mode::Dense) => return self.forward_dense(step),
            Some(Mode::Sparse | Mode::Ssm) => return self.forward_sparse(step),
            None => {}
        }
        let wishes = match self.wishes(at) {
            Ok(wishes) => wishes,
            Err(why) => return self.block(at, None, why),
        };
        // What a stopped daemon would have to change stays as it is.
        let certainty = self.unless_stopped(at.node, step.sure.is);
        let mut outgoing = BTreeMap::new();
        for (interface, wish) in wishes {
            let out = Attachment { node: at.node, interface };
            let settings = self.plan.interface(out);
            if interface == at.interface {
                continue;
            }
            if wish == Certainty::No {
                self.block(at, Some(interface), Why::NotWanted);
            } else if settings.is_boundary_for(self.flow.group) {
                self.block(at, Some(interface), Why::Boundary);
            } else {
                let wish = wish.min(certainty);
                // What is known to be down may be left out.
                let is_down = self.world.cut_at(self.plan, out).is_some_and(|how| how != CutKind::Silent);
                let entered = if is_down { wish.min(Certainty::Maybe) } else { wish };
                outgoing.insert(interface, (threshold_of(settings), entered));
                self.pass(step, out, Sure::all(wish), wish.min(step.settled));
            }
        }
        let incoming = BTreeSet::from([at.interface]);
        let known = self.flow.entries.get(&at.node).map_or(Certainty::No, |entry| entry.certainty);
        let certainty = certainty.max(known);
        self.flow.entries.insert(at.node, ExpectedEntry { incoming, outgoing, certainty, registered: false });
    }

    /// A copy leaves by an interface, if its TTL lets it.
    fn pass(&mut self, step: &Step, out: Attachment, sure: Sure, settled: Certainty) {
        self.pass_from(step, Some(step.at), out, sure, settled);
    }

    /// The same, of packets that reached the router at an interface, or that a register brought from where they are.
    fn pass_from(&mut self, step: &Step, at: Option<Attachment>, out: Attachment, sure: Sure, settled: Certainty) {
        let threshold = threshold_of(self.plan.interface(out));
        if step.ttl > threshold {
            let via = at.unwrap_or(step.via);
            self.leaving.push_back(Step { at: out, ttl: step.ttl - 1, via, sure, settled });
            return;
        }
        let why = if step.ttl <= 1 { Why::TtlSpent } else { Why::Threshold { ttl: step.ttl, threshold } };
        self.stop(at, out.interface, why);
    }

    /// Packets do not leave by an interface of the router that they reached; of those that a register brought, nothing is noted.
    fn stop(&mut self, at: Option<Attachment>, outgoing: usize, why: Why) {
        if let Some(at) = at {
            self.block(at, Some(outgoing), why);
        }
    }

    fn unless_stopped(&self, node: NodeId, certainty: Certainty) -> Certainty {
        if self.world.is_stopped(node) { certainty.min(Certainty::Maybe) } else { certainty }
    }

    /// Packets reach a router in dense mode.
    fn forward_dense(&mut self, step: &Step) {
        let at = step.at;
        let Some(dense) = self.dense else { return self.block(at, None, Why::Family) };
        let Some(rpf) = dense.rpf(at.node) else { return self.block(at, None, Why::NoSourceRoute) };
        self.flow.rpf.entry(at.node).or_insert_with(|| rpf.clone());
        if !rpf.interfaces.contains(&at.interface) {
            return self.block(at, None, Why::NotRpf(rpf.interfaces.clone()));
        }
        if self.plan.interface(at).is_boundary_for(self.flow.group) {
            return self.block(at, None, Why::Boundary);
        }
        let surely_here = step.sure.would_be == Certainty::Yes;
        if surely_here {
            self.came.routers.entry(at).or_default().insert(step.ttl);
        }
        let is_sound = self.unless_stopped(at.node, Certainty::Yes) == Certainty::Yes
            && self.plan.node(at.node).router().is_some_and(|router| router.daemon == Daemon::RouterCore);
        let ways: Vec<Attachment> =
            rpf.interfaces.iter().map(|interface| Attachment { node: at.node, interface: *interface }).collect();
        let mut asked_for = Certainty::No;
        for interface in (0..self.plan.node(at.node).interfaces.len()).filter(|n| *n != at.interface) {
            let out = Attachment { node: at.node, interface };
            let settings = self.plan.interface(out);
            if settings.is_boundary_for(self.flow.group) {
                self.block(at, Some(interface), Why::Boundary);
                continue;
            }
            let what = dense.outgoing(out);
            if !what.may_flood {
                self.block(at, Some(interface), Why::Leaf);
                continue;
            }
            if what.settled.may_be == Certainty::No {
                let winner = dense.forwarders(settings.wire).first().copied();
                let why = winner.filter(|winner| *winner != out).map_or(Why::Pruned, Why::LosesAssert);
                self.block(at, Some(interface), why);
            }
            // By whichever way they come, they pass.
            let threshold = threshold_of(settings);
            let by = |way: &Attachment| match self.believed {
                Some(came) => came.routers.get(way).is_some_and(|ttls| ttls.iter().all(|ttl| *ttl > threshold)),
                None => *way != at || step.ttl > threshold,
            };
            let surely = is_sound && surely_here && ways.iter().all(by);
            let would = surely && what.settled.may_be == Certainty::Yes;
            if would && what.is_one_of {
                self.came.forwarders.entry(settings.wire).or_default().insert(out);
            }
            let all_of_them = !what.is_one_of
                || self.believed.is_none_or(|came| {
                    let have = came.forwarders.get(&settings.wire);
                    dense.forwarders(settings.wire).iter().all(|end| have.is_some_and(|have| have.contains(end)))
                });
            let yes_if = |yes: bool| if yes { Certainty::Yes } else { Certainty::Maybe };
            let sure = Sure {
                is: yes_if(surely && what.settled.is == Certainty::Yes),
                would_be: yes_if(would && all_of_them),
            };
            let settled = if sure.is == Certainty::Yes {
                Certainty::Yes
            } else {
                what.settled.may_be.min(step.settled).min(Certainty::Maybe)
            };
            let entry = self.entry(at.node, &rpf.interfaces);
            let held = what.settled.is.min(if is_sound { Certainty::Yes } else { Certainty::Maybe });
            let held = if what.settled.may_be > Certainty::No { held.max(Certainty::Maybe) } else { Certainty::No };
            if held > Certainty::No {
                let known = entry.outgoing.entry(interface).or_insert((threshold, held));
                known.1 = known.1.max(held);
            }
            asked_for = asked_for.max(sure.is.min(settled));
            self.pass(step, out, sure, settled);
        }
        let entry = self.entry(at.node, &rpf.interfaces);
        entry.certainty = entry.certainty.max(asked_for);
    }

    fn entry(&mut self, router: NodeId, incoming: &BTreeSet<usize>) -> &mut ExpectedEntry {
        self.flow.entries.entry(router).or_insert_with(|| ExpectedEntry {
            incoming: incoming.clone(),
            outgoing: BTreeMap::new(),
            certainty: Certainty::No,
            registered: false,
        })
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

/// The threshold in a kernel's entry: it takes 0 for 'never', so that an entry holds at least 1, which also keeps a TTL from becoming 0.
fn threshold_of(interface: &Interface) -> u8 {
    interface.ttl_threshold.max(1)
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

#[cfg(test)]
mod dense_tests;
#[cfg(test)]
mod sparse_tests;
#[cfg(test)]
mod tests;
