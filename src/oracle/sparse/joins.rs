//! What routers ask their upstream neighbours for (RFC 7761 §4.5).

use std::collections::{BTreeMap, BTreeSet};

use router_core::config::SptSwitchover;

use super::super::dense::{Demand, Rpf};
use super::super::membership::{Certainty, runs_pim};
use super::super::rendezvous::Mode;
use super::{Asked, Joined, NOTHING, Sparse};
use crate::topology::plan::{Attachment, NodeId};

impl Sparse<'_> {
    /// What neighbours at an interface have joined there.
    pub(super) fn joins_at(&self, at: Attachment) -> Asked {
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

    /// What a router asks its upstream neighbours for.
    pub(super) fn wishes(&self, node: NodeId, asked: &BTreeMap<Attachment, Asked>) -> Joined {
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
