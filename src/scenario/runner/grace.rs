//! How long what was right before a change stays excusable after it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Run;
use crate::network::Network;
use crate::oracle::{Deadlines, querier};
use crate::scenario::check;
use crate::topology::plan::{Attachment, WireId, WireKind};

/// How long a bridge that snoops believes in a member that it has not heard of (Linux's `multicast_membership_interval`), never scaled.
const BRIDGE_MEMBERSHIP: Duration = Duration::from_secs(260);

impl<N: Network> Run<'_, N> {
    /// How long routers may act by the world before a repair: asserts that were decided in it still hold.
    pub(super) fn transition_grace(&self) -> Duration {
        if self.lossy_wires() > 0 {
            // The prune of the way that is left may be among what is lost.
            return self.silence_grace();
        }
        let pace = self.streams.iter().map(|s| check::latency::pace(&s.stream)).max().unwrap_or_default();
        self.convergence.settle(pace) + self.options.slack
    }

    /// How long routers may go on forwarding to somebody who left.
    pub(super) fn leave_grace(&self) -> Duration {
        self.leave_grace_with(false)
    }

    /// The same; `excludes`: to somebody who now wants all but some sources, or where somebody does.
    pub(super) fn leave_grace_with(&self, excludes: bool) -> Duration {
        let excludes = excludes || self.history.now().excludes();
        if self.lossy_wires() > 0 {
            // The leave, or what asks for other members, may be among what is lost.
            return self.silence_grace_with(excludes);
        }
        let world = self.history.now();
        let deadlines = Deadlines::new(self.plan, world);
        let wires = self.plan.wire_ids();
        // Since one of these, the querier may be gone, or may not know the group yet: who else knows it, waits for the querier to ask.
        let believed = self.plan.wire_ids().map(|wire| deadlines.group_membership_interval(wire)).max();
        let upset = self.last_fault.max(self.last_restart).map(|at| self.network.now().since(at));
        // Nor does a bridge that snoops take anybody for gone without one who asks.
        let snoops = |wire: &WireId| self.plan.wire(*wire).kind == (WireKind::Lan { snooping: true });
        let is_unasked = self.plan.wire_ids().filter(snoops).any(|wire| querier(self.plan, world, wire).is_none());
        if is_unasked || world.is_hindered() || upset.is_some_and(|since| since <= believed.unwrap_or_default()) {
            return self.silence_grace_with(excludes);
        }
        let of = |wire| {
            // Where hosts of an older version are, a group is kept without source lists until they are forgotten (RFC 9776 §7.3.2).
            let older = |end: &Attachment| {
                let of_host = self.plan.node(end.node).host().and_then(|host| host.igmp_version);
                of_host.or(self.plan.igmp_at(*end).and_then(|igmp| igmp.version)).is_some_and(|version| version < 3)
            };
            if excludes || self.plan.wire(wire).ends.iter().any(older) {
                deadlines.group_membership_interval(wire) + deadlines.relearn(wire)
            } else {
                deadlines.leave(wire, None)
            }
        };
        let lingering = self.convergence.prunes + self.convergence.lingering;
        wires.map(of).max().unwrap_or_default() + lingering + self.options.slack
    }

    /// On how many wires messages are lost.
    fn lossy_wires(&self) -> u32 {
        let mistreated = self.mistreated.iter().filter(|mistreated| mistreated.to.is_none()).map(|m| m.how.wire);
        let losing = self.losses.iter().filter(|losing| losing.to.is_none()).map(|losing| losing.loss.wire);
        u32::try_from(mistreated.chain(losing).collect::<BTreeSet<_>>().len()).unwrap_or(u32::MAX)
    }

    /// How long routers may believe in members, or in routers that joined, when they cannot hear them any more.
    pub(super) fn silence_grace(&self) -> Duration {
        self.silence_grace_with(self.history.now().excludes())
    }

    pub(super) fn silence_grace_with(&self, excludes: bool) -> Duration {
        let world = self.history.now();
        let deadlines = Deadlines::new(self.plan, world);
        // A source that a list leaves out comes back with the next answer, for an interval of its own.
        let again = |wire| if excludes { deadlines.relearn(wire) } else { Duration::ZERO };
        let members = self.plan.wire_ids().map(|wire| deadlines.group_membership_interval(wire) + again(wire)).max();
        let snooping = self.plan.wires.iter().any(|wire| wire.kind == (WireKind::Lan { snooping: true }));
        let bridges = if snooping { BRIDGE_MEMBERSHIP } else { Duration::ZERO };
        members.unwrap_or_default().max(self.convergence.liveness).max(self.convergence.joins).max(bridges)
            // A prune that is lost comes after that, and the next one only when the join that it was to end has run out.
            + self.convergence.joins * self.lossy_wires()
            + self.convergence.prunes
            + self.convergence.rendezvous
            + self.options.slack
    }
}
