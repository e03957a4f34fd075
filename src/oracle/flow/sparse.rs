//! The walk through routers in sparse mode.

use std::collections::BTreeSet;

use super::super::dense::Rpf;
use super::super::membership::Certainty;
use super::super::sparse::Sparse;
use super::Why;
use super::walk::{Step, Sure, Walk, threshold_of};
use crate::topology::plan::{Attachment, Daemon};

impl Walk<'_> {
    /// Packets reach a router in sparse mode.
    pub(super) fn forward_sparse(&mut self, step: &Step) {
        let at = step.at;
        let Some(sparse) = self.sparse else { return self.block(at, None, Why::Family) };
        if self.plan.interface(at).is_boundary_for(self.flow.group) {
            return self.block(at, None, Why::Boundary);
        }
        let [own, star] = sparse.ways(at.node);
        let is_by = |(rpf, _, may): (Option<&Rpf>, Certainty, Certainty)| {
            may > Certainty::No && rpf.is_some_and(|rpf| rpf.interfaces.contains(&at.interface))
        };
        if let Some(rpf) = own.0 {
            self.flow.rpf.entry(at.node).or_insert_with(|| rpf.clone());
        }
        if step.sure.would_be == Certainty::Yes {
            self.came.routers.entry(at).or_default().insert(step.ttl);
        }
        self.register(sparse, step);
        if is_by(own) || is_by(star) {
            return self.forward_on_trees(sparse, step, Some(at), is_by(own));
        }
        let why = match (own, star) {
            ((None, ..), (None, ..)) => Why::NoSourceRoute,
            _ if !sparse.has_rp(at.node) => Why::NoRendezvousPoint,
            ((_, _, Certainty::No), (_, _, Certainty::No)) => Why::NotOnTree,
            ((Some(rpf), _, may), _) if may > Certainty::No => Why::NotRpf(rpf.interfaces.clone()),
            (_, (Some(rpf), ..)) | ((Some(rpf), ..), _) => Why::NotRpf(rpf.interfaces.clone()),
        };
        self.block(at, None, why);
    }

    /// The designated router of the source's wire sends packets to the rendezvous point, which forwards them as if they had come to it: the
    /// hop is taken off by the designated router, which forwards them into the register (RFC 7761 §4.4.1).
    fn register(&mut self, sparse: &Sparse<'_>, step: &Step) {
        let hop = sparse.hop_at_register(step.at.node);
        for rp in sparse.registers_with(step.at) {
            if step.ttl <= hop {
                self.block(step.at, None, Why::TtlSpent);
                continue;
            }
            let goes_on = sparse.keeps_registering(rp);
            let settled = if goes_on { step.settled.min(Certainty::Maybe) } else { Certainty::No };
            let sure = if goes_on { step.sure } else { step.sure.at_most(Certainty::Maybe) };
            let sure = sure.at_most(sparse.takes_registers(rp));
            let there = Step { at: Attachment { node: rp, interface: usize::MAX }, ttl: step.ttl - hop, ..*step };
            let there = Step { via: step.at, sure, settled, ..there };
            if there.sure.would_be == Certainty::Yes {
                self.came.routers.entry(there.at).or_default().insert(there.ttl);
            }
            let none = (Sure::all(Certainty::No), Certainty::No);
            let known = self.followed.entry((there.at, false, there.ttl, there.via)).or_insert(none);
            let most = (known.0.or(there.sure), known.1.max(there.settled));
            if most != *known {
                *known = most;
                self.forward_on_trees(sparse, &there, None, false);
            }
        }
    }

    /// Packets that a router takes, at an interface or out of a register, by the source's own tree or by the rendezvous point's.
    fn forward_on_trees(&mut self, sparse: &Sparse<'_>, step: &Step, from: Option<Attachment>, by_own: bool) {
        let node = step.at.node;
        let [(own, own_is, own_may), (star, star_is, _)] = sparse.ways(node);
        let (own_surely, star_may) = (own_is == Certainty::Yes, star_is > Certainty::No);
        let mut ways: Vec<Attachment> = Vec::new();
        let mut add = |rpf: Option<&Rpf>| {
            let interfaces = rpf.into_iter().flat_map(|rpf| &rpf.interfaces);
            ways.extend(interfaces.map(|interface| Attachment { node, interface: *interface }));
        };
        if own_surely || own_may > Certainty::No {
            add(own);
        }
        if !own_surely {
            add(star);
        }
        if !own_surely && star_may && star.is_some_and(|rpf| rpf.interfaces.is_empty()) {
            ways.push(Attachment { node, interface: usize::MAX });
        }
        let surely_here = step.sure.would_be == Certainty::Yes;
        let is_sound = self.unless_stopped(node, Certainty::Yes) == Certainty::Yes
            && self.plan.node(node).router().is_some_and(|router| router.daemon == Daemon::RouterCore);
        // What comes by a tree that the router has left for another is not taken once that has happened.
        let is_left = own_surely && !by_own;
        let mut incoming: BTreeSet<usize> = ways.iter().map(|way| way.interface).filter(|n| *n != usize::MAX).collect();
        incoming.extend(sparse.stays_with(node).into_iter().flat_map(|rpf| &rpf.interfaces));
        let mut asked_for = Certainty::No;
        for interface in (0..self.plan.node(node).interfaces.len()).filter(|n| from.is_none_or(|at| at.interface != *n))
        {
            let out = Attachment { node, interface };
            let settings = self.plan.interface(out);
            if settings.is_boundary_for(self.flow.group) {
                self.stop(from, interface, Why::Boundary);
                continue;
            }
            let what = sparse.outgoing(out, by_own);
            if what.settled.may_be == Certainty::No {
                let why = what.loses_to.map_or(Why::NotJoined, Why::LosesAssert);
                self.stop(from, interface, why);
            }
            if what.may == Certainty::No && what.settled.may_be == Certainty::No {
                continue;
            }
            let threshold = threshold_of(settings);
            let by = |way: &Attachment| match self.believed {
                Some(came) => came.routers.get(way).is_some_and(|ttls| ttls.iter().all(|ttl| *ttl > threshold)),
                None => *way != step.at || step.ttl > threshold,
            };
            let surely = is_sound && surely_here && ways.iter().all(by) && ways.contains(&step.at);
            let yes_if = |yes: bool| if yes { Certainty::Yes } else { Certainty::Maybe };
            let would = surely && what.settled.may_be == Certainty::Yes;
            let contenders = sparse.contenders(settings.wire).filter(|all| all.contains(&out));
            let asks = sparse.asks(node) == Certainty::Yes;
            if would && asks && contenders.is_some() {
                self.came.forwarders.entry(settings.wire).or_default().insert(out);
            }
            let all_of_them = contenders.is_none_or(|all| {
                self.believed.is_none_or(|came| came.forwarders.get(&settings.wire).is_some_and(|have| all == have))
            });
            let sure = Sure {
                is: yes_if(surely && what.settled.is == Certainty::Yes && asks),
                would_be: yes_if(would && all_of_them),
            };
            let settled = if sure.is == Certainty::Yes {
                Certainty::Yes
            } else if is_left {
                Certainty::No
            } else {
                what.settled.may_be.min(step.settled).min(Certainty::Maybe)
            };
            // Nor is an entry made of packets that may not come, by whichever way is taken.
            let held = what.settled.is.min(yes_if(surely && (own_surely || own_may == Certainty::No)));
            let held = if what.settled.may_be > Certainty::No { held.max(Certainty::Maybe) } else { Certainty::No };
            let entry = self.entry(node, &incoming);
            entry.incoming.extend(&incoming);
            if held > Certainty::No && !is_left {
                let known = entry.outgoing.entry(interface).or_insert((threshold, held));
                known.1 = known.1.max(held);
            }
            asked_for = asked_for.max(sure.is.min(settled));
            self.pass_from(step, from, out, sure, settled);
        }
        let entry = self.entry(node, &incoming);
        entry.registered |= from.is_none();
        entry.certainty = entry.certainty.max(asked_for);
    }
}
