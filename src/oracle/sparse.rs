//! PIM sparse mode (RFC 7761) as the topology alone decides it: which routers are on the rendezvous point's tree of a group, which on a
//! source's own, and who forwards into each wire once asserts are over.
//!
//! What a router asks for depends on what is asked of it: joins grow from the members upward, round by round, until nothing changes. A router
//! that is on the source's tree takes its packets from there alone (SPTbit), and prunes the source off the rendezvous point's tree where that
//! comes another way (§4.5.7). As in dense mode, where costs tie which way is taken is left open: what *is* asked for, and what *would be*
//! if routes led there.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use router_core::config::SptSwitchover;

use super::bootstrap::RendezvousPoints;
use super::dense::{Demand, Rpf, rpf_of_all};
use super::habits::{self, Habits};
use super::membership::{Certainty, accepts, runs_igmp, runs_pim, version_at, wanted};
use super::rendezvous::{Mode, designated, mode};
use super::ways::{Ways, whichever};
use super::world::World;
use crate::topology::plan::{Attachment, NodeId, Plan, WireId};
use crate::topology::steps::Stream;

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

    /// Whether a third router on a wire may join what two others forward.
    fn is_shared(&self, wire: WireId) -> bool {
        self.plan.wire(wire).ends.iter().filter(|end| self.takes_part(**end)).count() > 2
    }

    /// What members at an interface ask of the router, if it is the one that serves them (§4.1.6, pim_include).
    fn members(&self, at: Attachment) -> Asked {
        let wire = self.plan.interface(at).wire;
        let designated = designated(self.plan, self.world, wire);
        // Others may have believed to be it while something was upset, and go on if they won the assert (pim_include).
        // So may one that served a router there as somebody left, and others joined.
        let outlasts = || self.world.has_lost_members(self.group) && self.is_shared(wire);
        let others = self.world.is_upset() || self.in_transition || outlasts();
        let serves = match designated.as_slice() {
            [one] if *one == at => Certainty::Yes,
            several if several.contains(&at) => Certainty::Maybe,
            _ if others && self.takes_part(at) => Certainty::Maybe,
            _ => return Asked::NONE,
        };
        let demand = |certainty: Certainty| Demand::both(certainty.min(serves));
        if self.modes[at.node.0] == Some(Mode::Ssm) {
            return Asked { own: demand(self.wanted_by_source(at)), ..Asked::NONE };
        }
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let all = wanted(self.plan, self.world, at, any, self.group);
        let this = wanted(self.plan, self.world, at, self.source, self.group);
        // One that wants all may have named this source before, or name it next.
        let ends = &self.plan.wire(wire).ends;
        let names = |end: &Attachment| self.world.may_name(end.node, self.group, self.source);
        let named = if ends.iter().any(names) { this.min(Certainty::Maybe) } else { Certainty::No };
        Asked {
            star: demand(all),
            by_star: demand(all.min(this)),
            own: demand(if all == Certainty::No { this } else { named }),
        }
    }

    /// Whether members of a source-specific group want the source: those that name it, and those that cannot where a mapping gives it to them.
    fn wanted_by_source(&self, at: Attachment) -> Certainty {
        let listens = runs_igmp(self.plan, self.world, at);
        let Some(pim) = self.plan.pim_at(at) else { return Certainty::No };
        let mapping = pim.ssm_mapping.iter().flatten();
        let longest = mapping.filter(|m| m.groups.contains(&self.group)).max_by_key(|m| m.groups.prefix_len());
        let is_mapped = longest.is_some_and(|mapping| mapping.sources.contains(&self.source));
        let if_mapped = if is_mapped { Certainty::Yes } else { Certainty::No };
        let static_joins = self.plan.igmp_key(at, |igmp| &igmp.static_joins);
        let mut most = Certainty::No;
        for join in static_joins.into_iter().flatten().filter(|join| join.group == self.group) {
            most = most.max(match join.source {
                Some(source) if source == self.source => Certainty::Yes,
                Some(_) => Certainty::No,
                None => if_mapped,
            });
        }
        for &end in &self.plan.wire(self.plan.interface(at).wire).ends {
            let Some(host) = self.plan.node(end.node).host() else { continue };
            let Some(filter) = self.world.filter(end.node, self.group) else { continue };
            if !self.world.carries(self.plan, end, at) {
                continue;
            }
            use crate::topology::steps::SourceFilter::{Exclude, Include};
            let names = host.igmp_version.is_none_or(|version| version == 3) && version_at(self.plan, at) == 3;
            most = most.max(match filter {
                Include(_) if names && accepts(filter, self.source) => Certainty::Yes,
                Exclude(_) if names && self.world.may_name(end.node, self.group, self.source) => Certainty::Maybe,
                Include(_) if names => Certainty::No,
                Exclude(others) if names && others.contains(&self.source) => Certainty::No,
                Include(_) | Exclude(_) => if_mapped,
            });
        }
        most.min(listens)
    }

    /// What neighbours at an interface have joined there.
    fn joins_at(&self, at: Attachment) -> Asked {
        let mut most = Asked::NONE;
        for &end in &self.plan.wire(self.plan.interface(at).wire).ends {
            if end.node == at.node || !self.world.carries(self.plan, at, end) || !self.takes_part(end) {
                continue;
            }
            let joined = self.joined[end.node.0];
            // Of several ways one is taken, though it may be one that brings nothing.
            let by_star = self.by_rp[end.node.0].is_some();
            let by_own = self.by_own[end.node.0] == Certainty::Yes;
            let share = |rpf: Option<&Rpf>, comes: bool, demand: Demand| {
                let Some(rpf) = rpf.filter(|rpf| rpf.interfaces.contains(&end.interface)) else { return Demand::NONE };
                if !rpf.neighbours.contains(&at) {
                    return Demand::NONE;
                }
                let is_one = rpf.interfaces.len() == 1 && rpf.neighbours.len() == 1;
                let sure = |yes: bool| if yes { Certainty::Yes } else { Certainty::Maybe };
                demand.at_most(sure(is_one), sure(is_one || comes))
            };
            let (rpf, rp) = (self.rpf[end.node.0].as_ref(), self.toward_rp[end.node.0].as_ref());
            let sure = runs_pim(self.plan, self.world, end).min(runs_pim(self.plan, self.world, at));
            let asked = Asked {
                star: share(rp, by_star, joined.star),
                by_star: share(rp, by_star, joined.by_star),
                own: share(rpf, by_own, joined.own),
            };
            most = most.or(asked.at_most(sure, sure));
        }
        most
    }

    /// Of several routers that forward into a wire, the winner of the assert serves all (§4.6): one with the source's own state before one with
    /// (*,G) state, then the cheaper route, then the higher address.
    fn assert(&mut self, asked: &mut [(Attachment, Asked)]) {
        // CouldAssert: not where it takes packets from itself.
        let takes = |end: &Attachment| {
            let own = self.joined[end.node.0].own.may_be > Certainty::No || self.is_first(end.node);
            let rpf = if own { &self.rpf[end.node.0] } else { &self.toward_rp[end.node.0] };
            rpf.as_ref().is_some_and(|rpf| rpf.interfaces.contains(&end.interface))
        };
        let forwards = |(end, asked): &&(Attachment, Asked)| asked.data().is == Certainty::Yes && !takes(end);
        let sure: Vec<Attachment> = asked.iter().filter(forwards).map(|(end, _)| *end).collect();
        if sure.is_empty() {
            return;
        }
        // One that has the source's own tree, or its rendezvous point's: either, as long as it is on its way from this to that.
        let rank = |end: Attachment, by_own: bool| {
            let rpf = if by_own { &self.rpf[end.node.0] } else { &self.toward_rp[end.node.0] };
            let cost = rpf.as_ref().map_or(u64::MAX, |rpf| rpf.cost);
            (!by_own, cost, Reverse(self.plan.interface(end).ipv4().map(|address| address.addr())))
        };
        let own = |(end, asked): &(Attachment, Asked)| match self.is_first(end.node) {
            true => Demand::both(Certainty::Yes),
            false => self.joined[end.node.0].own.or(asked.own),
        };
        let best_rank = |one: &(Attachment, Asked)| rank(one.0, own(one).may_be > Certainty::No);
        let worst_rank = |one: &(Attachment, Asked)| {
            let is_never_else = one.1.star.may_be == Certainty::No || self.is_first(one.0.node);
            rank(one.0, own(one).is == Certainty::Yes && is_never_else)
        };
        let of = |end: &Attachment| asked.iter().find(|(at, _)| at == end).copied();
        let Some(best) = sure.iter().filter_map(of).min_by_key(worst_rank) else { return };
        // One that all who asked it have pruned the source from forwarded its packets until the prunes took effect, and has won by then if it
        // is better.
        let may_have = |one: &(Attachment, Asked)| {
            one.1.star.may_be > Certainty::No && best_rank(one) <= worst_rank(&best) && one.0 != best.0
        };
        let may = asked.iter().filter(|one| one.1.data().may_be > Certainty::No || may_have(one));
        let may: Vec<Attachment> = may.map(|(end, _)| *end).filter(|end| !takes(end)).collect();
        if may.len() < 2 {
            return;
        }
        // One that only may forward wins if it does: then nothing is sure. Nor is it where the best one forwards for other routers alone:
        // these follow whoever has won before, and ask the best one for nothing as long as that one goes on.
        let is_sure = self.members(best.0) != Asked::NONE
            && may.iter().filter_map(of).all(|one| one.0 == best.0 || worst_rank(&best) < best_rank(&one));
        let best = best.0;
        let whole = asked.iter().fold(Asked::NONE, |whole, (_, asked)| whole.or(*asked));
        for (end, asked) in asked.iter_mut().filter(|(end, _)| may.contains(end)) {
            if !is_sure {
                self.contenders.entry(self.plan.interface(*end).wire).or_default().insert(*end);
                *asked = whole.at_most(Certainty::Maybe, Certainty::Yes);
            } else if *end == best {
                *asked = whole;
            } else {
                // What it forwards until the assert is over stays possible.
                self.losers.insert(*end, best);
                *asked = asked.at_most(Certainty::No, Certainty::Maybe);
            }
        }
    }

    /// What a router asks its upstream neighbours for.
    fn wishes(&self, node: NodeId, asked: &BTreeMap<Attachment, Asked>) -> Joined {
        if !self.handles(node) {
            return NOTHING;
        }
        let at = |end: Attachment| {
            let lost = self.losers.contains_key(&end);
            asked.get(&end).copied().filter(|_| !lost).unwrap_or(Asked::NONE)
        };
        let all = |skip: Option<&Rpf>, of: &dyn Fn(Asked) -> Demand| {
            let other = |end: &Attachment| skip.is_none_or(|rpf| !rpf.interfaces.contains(&end.interface));
            self.ends(node).filter(other).map(|end| of(at(end))).fold(Demand::NONE, Demand::or)
        };
        let (rpf, rp) = (self.rpf[node.0].as_ref(), self.toward_rp[node.0].as_ref());
        // Members on the way itself are served by whoever sends into it; the join goes there all the same. Those of a wire where another
        // router wins the assert are that one's: the loser's (*,G) state may stay, where it lost but the source's packets.
        let own_members = self.ends(node).map(|end| {
            let members = self.members(end);
            if self.losers.contains_key(&end) {
                Asked { star: members.star.at_most(Certainty::No, Certainty::Maybe), ..Asked::NONE }
            } else if self.contenders(self.plan.interface(end).wire).is_some_and(|all| all.contains(&end)) {
                members.at_most(Certainty::Maybe, Certainty::Yes)
            } else {
                members
            }
        });
        let own_members = own_members.fold(Asked::NONE, Asked::or);
        // While one world turns into another, the way in the one may be asked for packets in the other.
        let is_way_in_all = |rpf: &&Rpf| !self.in_transition || rpf.interfaces.len() == 1;
        let on_way = rpf.filter(is_way_in_all);
        // With several rendezvous points, what leads to one may come from another.
        let skipped = rp.filter(|_| self.rps[node.0].len() == 1).filter(is_way_in_all);
        let star = all(skipped, &|asked| asked.star).or(own_members.star);
        let needs = all(skipped, &|asked| asked.by_star).or(own_members.by_star);
        let mut own = all(on_way, &|asked| asked.own).or(own_members.own);
        if self.modes[node.0] == Some(Mode::Sparse) {
            own = own.or(self.switches(node, own_members.by_star)).or(self.follows(node, needs, star));
        }
        let served = if self.is_first(node) { Certainty::Yes } else { own.is.min(self.by_own[node.0]) };
        let by_star = match served {
            Certainty::Yes => Demand::NONE,
            Certainty::Maybe => needs.at_most(Certainty::Maybe, Certainty::Yes),
            Certainty::No => needs,
        };
        let has_way = rp.is_some() && !self.rps[node.0].is_empty();
        let knows = if has_way { self.knows[node.0] } else { Certainty::No };
        let (star, by_star) = (star.at_most(knows, knows), by_star.at_most(knows, knows));
        Joined { star, by_star, own }
    }

    /// SwitchToSptDesired(S,G) of a router with members (§4.2.1), once it has seen a packet.
    fn switches(&self, node: NodeId, members: Demand) -> Demand {
        let Some(router) = self.plan.node(node).router() else { return Demand::NONE };
        let (ttl, kbit) = self.stream;
        let seen = match self.by_rp[node.0] {
            Some(reach) if u16::from(ttl) >= reach.least => Certainty::Yes,
            _ => Certainty::Maybe,
        };
        let desired = match router.pim.spt_switchover.unwrap_or_default() {
            SptSwitchover::Immediate => Certainty::Yes,
            SptSwitchover::Never => Certainty::No,
            SptSwitchover::Kbit(bound) if kbit > f64::from(bound) * 1.2 => Certainty::Yes,
            SptSwitchover::Kbit(bound) if kbit < f64::from(bound) * 0.8 => Certainty::No,
            SptSwitchover::Kbit(_) => Certainty::Maybe,
        };
        members.at_most(desired.min(seen), desired.min(seen))
    }

    /// A rendezvous point joins a source that registers and that somebody below it wants; a router on the way there, that is on the
    /// rendezvous point's tree as well, then takes the packets for those below itself, and goes on doing so.
    fn follows(&self, node: NodeId, needs: Demand, star: Demand) -> Demand {
        let registered = self.registrars.iter().any(|end| !self.registers_with(*end).is_empty());
        let sure = if self.by_rp[node.0].is_some() { Certainty::Yes } else { Certainty::Maybe };
        let is_rp = self.rps[node.0].contains(&node);
        if is_rp && registered {
            // Those below that have the packets by themselves have pruned them here.
            // It may have joined before they did.
            let stays = self.habits(node).stays_on_trees;
            let before = if stays { Demand::both(Certainty::Yes) } else { star };
            return needs.at_most(sure, sure).or(before.at_most(Certainty::No, Certainty::Maybe));
        }
        let is_between = registered && self.rps[node.0].iter().any(|rp| self.is_on_way(*rp, node));
        if is_between {
            return needs.at_most(sure, sure);
        }
        // It may have been on the source's tree before something changed, or for somebody who named the source; then it goes on as long as
        // it gets packets (JoinDesired(S,G), §4.5.5).
        let stays = self.world.is_upset() || self.was_asked(node);
        if stays { needs.at_most(Certainty::Maybe, Certainty::Yes) } else { Demand::NONE }
    }

    /// Whether a host that lies behind a router has ever named the source.
    fn was_asked(&self, node: NodeId) -> bool {
        let wires = |host: NodeId| self.ends(host).map(|end| self.plan.interface(end).wire);
        let ends = self.world.have_named(self.group, self.source).flat_map(wires);
        let ends = ends.flat_map(|wire| &self.plan.wire(wire).ends).filter(|end| self.takes_part(**end));
        ends.map(|end| end.node).collect::<BTreeSet<_>>().into_iter().any(|router| self.is_on_way(router, node))
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

    /// Whether a router lies on the way from another one to the source.
    fn is_on_way(&self, from: NodeId, node: NodeId) -> bool {
        let mut seen = BTreeSet::from([from]);
        let mut next = vec![from];
        while let Some(router) = next.pop() {
            for end in self.rpf[router.0].iter().flat_map(|rpf| &rpf.neighbours) {
                if seen.insert(end.node) {
                    next.push(end.node);
                }
            }
        }
        seen.contains(&node)
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
