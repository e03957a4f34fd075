//! The walk through routers in dense mode.

use super::super::membership::Certainty;
use super::Why;
use super::walk::{Step, Sure, Walk, threshold_of};
use crate::topology::plan::{Attachment, Daemon};

impl Walk<'_> {
    /// Packets reach a router in dense mode.
    pub(super) fn forward_dense(&mut self, step: &Step) {
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
}
