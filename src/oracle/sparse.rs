//! PIM sparse mode (RFC 7761) as the topology alone decides it: which routers are on the rendezvous point's tree of a group, which on a
//! source's own, and who forwards into each wire once asserts are over.
//!
//! What a router asks for depends on what is asked of it: joins grow from the members upward, round by round, until nothing changes. A router
//! that is on the source's tree takes its packets from there alone (SPTbit), and prunes the source off the rendezvous point's tree where that
//! comes another way (§4.5.7). As in dense mode, where costs tie which way is taken is left open: what *is* asked for, and what *would be*
//! if routes led there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::bootstrap::RendezvousPoints;
use super::dense::{Demand, Rpf, rpf_of_all};
use super::habits::{self, Habits};
use super::membership::{Certainty, runs_pim};
use super::rendezvous::{Mode, designated, mode};
use super::ways::{Ways, whichever};
use super::world::World;
use crate::topology::plan::{Attachment, NodeId, Plan, WireId};
use crate::topology::steps::Stream;

mod asserts;
mod joins;
mod members;
mod reach;

/// What a router does with packets of the source at one of its interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outgoing {
    /// Whether it may forward them there while trees change: by the state of either tree.
    pub may: Certainty,
    /// Whether it forwards them there once asserts and prunes are over.
    pub settled: Demand,
    /// Whether another router forwards there instead.
    pub loses_to: Option<Attachment>,
}

/// What a router has asked its upstream neighbours for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Joined {
    /// JoinDesired(*,G).
    star: Demand,
    /// That it needs this source's packets by the rendezvous point's tree.
    by_star: Demand,
    /// JoinDesired(S,G).
    own: Demand,
}

const NOTHING: Joined = Joined { star: Demand::NONE, by_star: Demand::NONE, own: Demand::NONE };

/// What is asked of a router at an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked {
    /// By the (*,G) state there, pruned sources included.
    star: Demand,
    /// By the (*,G) state there, for this source.
    by_star: Demand,
    /// By (S,G) state.
    own: Demand,
}

impl Asked {
    const NONE: Asked = Asked { star: Demand::NONE, by_star: Demand::NONE, own: Demand::NONE };

    fn or(self, other: Asked) -> Asked {
        Asked { star: self.star.or(other.star), by_star: self.by_star.or(other.by_star), own: self.own.or(other.own) }
    }

    fn at_most(self, is: Certainty, may_be: Certainty) -> Asked {
        Asked {
            star: self.star.at_most(is, may_be),
            by_star: self.by_star.at_most(is, may_be),
            own: self.own.at_most(is, may_be),
        }
    }

    fn data(self) -> Demand {
        self.by_star.or(self.own)
    }
}

/// What it takes for packets to come some way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Reach {
    /// The least TTL at the sender.
    least: u16,
    /// How many routers take one off it.
    hops: u16,
}

/// Sparse mode for the packets of a stream.
pub(super) struct Sparse<'a> {
    plan: &'a Plan,
    world: &'a World,
    /// Whether the world is turning into another one: then nothing is decided.
    in_transition: bool,
    source: IpAddr,
    group: IpAddr,
    modes: Vec<Option<Mode>>,
    /// The way to the source.
    rpf: Vec<Option<Rpf>>,
    /// The way to the rendezvous point that a router uses.
    toward_rp: Vec<Option<Rpf>>,
    /// The rendezvous points that a router may use.
    rps: Vec<BTreeSet<NodeId>>,
    /// Whether a router knows of one of them.
    knows: Vec<Certainty>,
    /// Whether what a router sends to its rendezvous point by unicast arrives there.
    arrives: Vec<Certainty>,
    /// By router: what it takes for packets to reach it by register and the rendezvous point; none if they do not.
    by_rp: Vec<Option<Reach>>,
    /// By router: whether packets come by the source's own tree once it has joined that.
    by_own: Vec<Certainty>,
    /// Designated routers of the source's wire.
    registrars: Vec<Attachment>,
    stream: (u8, f64),
    joined: Vec<Joined>,
    asked: BTreeMap<Attachment, Asked>,
    losers: BTreeMap<Attachment, Attachment>,
    /// By wire: those of which one forwards, whichever it is.
    contenders: BTreeMap<WireId, BTreeSet<Attachment>>,
    /// What is joined and asked for as long as no assert has been decided; none where none is needed.
    undecided: Option<(Vec<Joined>, BTreeMap<Attachment, Asked>)>,
}

/// Whether a plan has sparse mode routers for a group at all.
pub(super) fn is_in(plan: &Plan, group: IpAddr) -> bool {
    plan.node_ids().any(|node| matches!(mode(plan, node, group), Some(Mode::Sparse | Mode::Ssm)))
}

impl<'a> Sparse<'a> {
    /// For the packets of a stream that an interface sends from its address.
    pub fn new(plan: &'a Plan, world: &'a World, origin: Attachment, source: IpAddr, stream: &Stream) -> Sparse<'a> {
        Sparse::prepare(plan, world, origin, source, stream, None).grown()
    }

    /// While one of several worlds turns into another: `world` permits what any of them does, and each router takes packets from wherever it
    /// takes them in any of them, and asks any rendezvous point that it uses in one of them.
    pub fn between(
        plan: &'a Plan,
        world: &'a World,
        worlds: &[World],
        origin: Attachment,
        source: IpAddr,
        stream: &Stream,
    ) -> Sparse<'a> {
        let told = RendezvousPoints::told_between(plan, worlds, stream.group);
        let mut sparse = Sparse::prepare(plan, world, origin, source, stream, Some(&told));
        sparse.in_transition = true;
        for other in worlds {
            let other = Sparse::prepare(plan, other, origin, source, stream, Some(&told));
            merge(&mut sparse.rpf, other.rpf);
            merge(&mut sparse.toward_rp, other.toward_rp);
            for (own, other) in sparse.rps.iter_mut().zip(other.rps) {
                own.extend(other);
            }
            for (own, other) in sparse.knows.iter_mut().zip(other.knows) {
                *own = whichever(&[*own, other]);
            }
            for (own, other) in sparse.arrives.iter_mut().zip(other.arrives) {
                *own = whichever(&[*own, other]);
            }
            for (own, other) in sparse.by_own.iter_mut().zip(other.by_own) {
                *own = whichever(&[*own, other]);
            }
            for end in other.registrars {
                if !sparse.registrars.contains(&end) {
                    sparse.registrars.push(end);
                }
            }
        }
        sparse.grown()
    }

    /// `told`: while the world is turning into another one, rendezvous points that bootstrap messages may name besides those of this one.
    fn prepare(
        plan: &'a Plan,
        world: &'a World,
        origin: Attachment,
        source: IpAddr,
        stream: &Stream,
        told: Option<&BTreeSet<IpAddr>>,
    ) -> Sparse<'a> {
        let group = stream.group;
        let size = plan.nodes.len();
        let modes: Vec<Option<Mode>> = plan.node_ids().map(|node| mode(plan, node, group)).collect();
        let mut toward_rp: Vec<Option<Rpf>> = vec![None; size];
        let mut rps: Vec<BTreeSet<NodeId>> = vec![BTreeSet::new(); size];
        let mut arrives = vec![Certainty::No; size];
        let mut knows = vec![Certainty::No; size];
        let mut ways: BTreeMap<IpAddr, Ways> = BTreeMap::new();
        let points = RendezvousPoints::of(plan, world, group, told.is_some(), &mut ways);
        for node in plan.node_ids().filter(|node| modes[node.0] == Some(Mode::Sparse)) {
            let mut all = points.at(node);
            if points.is_told(node) {
                all.extend(told.into_iter().flatten().copied().map(Some));
            }
            knows[node.0] = if all.contains(&None) { Certainty::Maybe } else { Certainty::Yes };
            let mut sure = Vec::new();
            for address in all.into_iter().flatten() {
                let ways = ways.entry(address).or_insert_with(|| Ways::to(plan, world, address));
                merge(std::slice::from_mut(&mut toward_rp[node.0]), vec![ways.rpf[node.0].clone()]);
                rps[node.0].extend(ways.owner);
                sure.push(ways.arrives[node.0]);
            }
            arrives[node.0] = whichever(&sure);
        }
        let wire = plan.interface(origin).wire;
        let registrars = designated(plan, world, wire)
            .into_iter()
            .filter(|end| modes[end.node.0] == Some(Mode::Sparse) && !plan.interface(*end).is_boundary_for(group))
            .collect();
        let kbit = stream.rate * (stream.size as f64 + 28.0) * 8.0 / 1000.0 / f64::from(stream.groups.max(1));
        let mut sparse = Sparse {
            plan,
            world,
            in_transition: world.is_announcing_hindered(),
            source,
            group,
            modes,
            rpf: rpf_of_all(plan, world, origin, source),
            toward_rp,
            rps,
            knows,
            arrives,
            by_rp: vec![None; size],
            by_own: vec![Certainty::No; size],
            registrars,
            stream: (stream.ttl, kbit),
            joined: vec![NOTHING; size],
            asked: BTreeMap::new(),
            losers: BTreeMap::new(),
            contenders: BTreeMap::new(),
            undecided: None,
        };
        sparse.by_own = sparse.own_reach();
        sparse.by_rp = sparse.reach();
        sparse
    }

    /// Where a router takes packets from: by the source's own tree, and by the rendezvous point's, each with how sure it is that it is on that
    /// tree.
    pub fn ways(&self, node: NodeId) -> [(Option<&Rpf>, Certainty, Certainty); 2] {
        let joined = self.joined[node.0];
        let before = self.undecided.as_ref().map_or(NOTHING, |(joined, _)| joined[node.0]);
        let comes = self.by_own[node.0];
        let own = if self.is_first(node) { Demand::both(Certainty::Yes) } else { joined.own.at_most(comes, comes) };
        // What has the SPTbit takes nothing from the other tree.
        let star = if own.is == Certainty::Yes { Certainty::No } else { joined.by_star.is };
        [
            (self.rpf[node.0].as_ref(), own.is, own.may_be.max(before.own.may_be.min(comes))),
            (self.toward_rp[node.0].as_ref(), star, joined.star.may_be.max(before.star.may_be)),
        ]
    }

    /// Whether the source is on a link of the router's own.
    pub fn is_first(&self, node: NodeId) -> bool {
        self.rpf[node.0].as_ref().is_some_and(|rpf| rpf.neighbours.is_empty() && !rpf.interfaces.is_empty())
    }

    /// Whether the router handles the group in sparse mode.
    pub fn handles(&self, node: NodeId) -> bool {
        matches!(self.modes[node.0], Some(Mode::Sparse | Mode::Ssm))
    }

    /// Whether a router knows of a rendezvous point, or needs none.
    pub fn has_rp(&self, node: NodeId) -> bool {
        self.modes[node.0] == Some(Mode::Ssm) || !self.rps[node.0].is_empty()
    }

    /// The rendezvous points that a router registers the source with, when its packets reach it at an interface: none if it is not the
    /// designated router there, is the rendezvous point itself, or the way there leaves the group's scope (§4.4.1).
    pub fn registers_with(&self, at: Attachment) -> BTreeSet<NodeId> {
        let is_rp = self.rps[at.node.0].len() == 1 && self.rps[at.node.0].contains(&at.node);
        if !self.registrars.contains(&at) || is_rp || self.arrives[at.node.0] == Certainty::No {
            return BTreeSet::new();
        }
        let Some(rpf) = &self.toward_rp[at.node.0] else { return BTreeSet::new() };
        let inside = |interface: usize| {
            !self.plan.interface(Attachment { node: at.node, interface }).is_boundary_for(self.group)
        };
        if !rpf.interfaces.iter().any(|interface| inside(*interface)) {
            return BTreeSet::new();
        }
        let others = self.rps[at.node.0].iter().copied().filter(|rp| *rp != at.node);
        others.filter(|rp| !self.world.is_dead(*rp)).collect()
    }

    /// What a designated router takes off the TTL of a packet that it registers.
    pub fn hop_at_register(&self, node: NodeId) -> u8 {
        u8::from(!self.habits(node).registers_without_a_hop)
    }

    fn habits(&self, node: NodeId) -> Habits {
        self.plan.node(node).router().map(|router| habits::of(&router.daemon)).unwrap_or_default()
    }

    /// Whether a rendezvous point takes packets out of registers for certain. One that was on the source's own tree when its way there broke
    /// without another route is not freed by the RFC: SPTbit(S,G) stays as long as JoinDesired(S,G) is TRUE (§4.5.5), with it registers are
    /// answered by register-stops, and each null register that is sets the keepalive timer anew (§4.4.2).
    pub fn takes_registers(&self, rp: NodeId) -> Certainty {
        if self.world.is_upset() && self.by_own[rp.0] != Certainty::Yes { Certainty::Maybe } else { Certainty::Yes }
    }

    /// Where a router may go on taking packets from although none come by the source's own tree any more: SPTbit(S,G) stays as long as
    /// JoinDesired(S,G) is TRUE (§4.5.5).
    pub fn stays_with(&self, node: NodeId) -> Option<&Rpf> {
        let was_joined = self.world.is_upset() && self.joined[node.0].own.may_be > Certainty::No;
        self.rpf[node.0].as_ref().filter(|_| was_joined && self.by_own[node.0] != Certainty::Yes)
    }

    /// Whether registers may go on once all is settled: where the rendezvous point has members below it and cannot join the source's tree.
    pub fn keeps_registering(&self, rp: NodeId) -> bool {
        let joined = self.joined[rp.0];
        joined.by_star.may_be > Certainty::No && joined.own.is.min(self.by_own[rp.0]) != Certainty::Yes
    }

    /// Of several routers on a wire, all those of which one forwards into it, whichever; none where it is known which, or nobody does.
    pub fn contenders(&self, wire: WireId) -> Option<&BTreeSet<Attachment>> {
        self.contenders.get(&wire)
    }

    /// What a router does with packets at an interface, that came to it by the source's own tree (else by the rendezvous point's).
    pub fn outgoing(&self, at: Attachment, by_own: bool) -> Outgoing {
        let asked = self.asked.get(&at).copied().unwrap_or(Asked::NONE);
        let loses_to = self.losers.get(&at).copied();
        // Until asserts are decided, all forward that are asked to.
        let before = self.undecided.as_ref().and_then(|(_, asked)| asked.get(&at).copied()).unwrap_or(Asked::NONE);
        let possible = asked.or(before);
        let may = if by_own { possible.star.may_be.max(possible.own.may_be) } else { possible.star.may_be };
        // A LAN without members of the source and without routers that ask gets none of it.
        let may = if possible.star.or(possible.own) == self.members(at).star && possible.data() == Demand::NONE {
            Certainty::No
        } else {
            may
        };
        let settled = if by_own { asked.data() } else { asked.by_star };
        let settled = match loses_to {
            Some(_) => Demand::NONE,
            None if self.in_transition => settled.at_most(Certainty::Maybe, Certainty::Maybe),
            None => settled,
        };
        Outgoing { may: may.min(Certainty::Maybe), settled, loses_to }
    }

    /// Lets joins grow from the members upward until nothing changes.
    fn grown(mut self) -> Self {
        self.grow(true);
        if !self.losers.is_empty() {
            let decided = (self.joined.clone(), self.asked.clone());
            let (losers, contenders) = (self.losers.clone(), self.contenders.clone());
            self.grow(false);
            self.undecided = Some((self.joined, self.asked));
            (self.joined, self.asked) = decided;
            (self.losers, self.contenders) = (losers, contenders);
        }
        self
    }

    fn grow(&mut self, decides: bool) {
        for _ in 0..2 * self.plan.nodes.len() + 4 {
            let asked = self.look(decides);
            let joined: Vec<Joined> = self.plan.node_ids().map(|node| self.wishes(node, &asked)).collect();
            let is_done = joined == self.joined && asked == self.asked;
            self.asked = asked;
            self.joined = joined;
            if is_done {
                break;
            }
        }
    }

    fn ends(&self, node: NodeId) -> impl Iterator<Item = Attachment> + use<> {
        (0..self.plan.node(node).interfaces.len()).map(move |interface| Attachment { node, interface })
    }

    /// What is asked of every router at every interface, asserts over if they are to be decided.
    fn look(&mut self, decides: bool) -> BTreeMap<Attachment, Asked> {
        let mut all = BTreeMap::new();
        self.losers.clear();
        self.contenders.clear();
        for wire in self.plan.wire_ids() {
            let ends: Vec<Attachment> =
                self.plan.wire(wire).ends.iter().copied().filter(|end| self.takes_part(*end)).collect();
            let mut asked: Vec<(Attachment, Asked)> =
                ends.iter().map(|end| (*end, self.members(*end).or(self.joins_at(*end)))).collect();
            if decides {
                self.assert(&mut asked);
            }
            all.extend(asked.into_iter().filter(|(_, asked)| *asked != Asked::NONE));
        }
        all
    }

    fn takes_part(&self, end: Attachment) -> bool {
        self.handles(end.node)
            && runs_pim(self.plan, self.world, end) > Certainty::No
            && !self.world.is_broken(self.plan, end)
            && !self.plan.interface(end).is_boundary_for(self.group)
    }

    /// Whether who has won an assert on a wire may go on although the member for whom it forwarded has left: where a third router joins
    /// what two others forward, it follows the winner.
    fn outlasts_members(&self, wire: WireId) -> bool {
        let is_shared = || self.plan.wire(wire).ends.iter().filter(|end| self.takes_part(**end)).count() > 2;
        self.world.has_lost_members(self.group) && is_shared()
    }

    /// Whether somebody is asked for packets that a router needs, by the one tree or by the other.
    pub fn asks(&self, node: NodeId) -> Certainty {
        let joined = self.joined[node.0];
        match self.modes[node.0] {
            _ if self.is_first(node) => Certainty::Yes,
            Some(Mode::Ssm) => joined.own.may_be,
            _ => joined.own.is.max(joined.by_star.may_be),
        }
    }
}

/// Lets one router take packets from wherever it takes them by either.
fn merge(own: &mut [Option<Rpf>], other: Vec<Option<Rpf>>) {
    for (own, other) in own.iter_mut().zip(other) {
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
