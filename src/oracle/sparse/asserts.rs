//! Who of several routers that forward into a wire goes on (RFC 7761 §4.6).

use std::cmp::Reverse;

use super::super::dense::Demand;
use super::super::membership::Certainty;
use super::{Asked, Sparse};
use crate::topology::plan::Attachment;

impl Sparse<'_> {
    /// Of several routers that forward into a wire, the winner of the assert serves all (§4.6): one with the source's own state before one with
    /// (*,G) state, then the cheaper route, then the higher address.
    pub(super) fn assert(&mut self, asked: &mut [(Attachment, Asked)]) {
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
        // One that served somebody who has left goes on for routers that have followed it, whatever it has then.
        let outlasts = asked.first().is_some_and(|(end, _)| self.outlasts_members(self.plan.interface(*end).wire));
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
        let best_rank = |one: &(Attachment, Asked)| rank(one.0, own(one).may_be > Certainty::No || outlasts);
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
        let may = asked.iter().filter(|one| one.1.data().may_be > Certainty::No || may_have(one) || outlasts);
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
}
