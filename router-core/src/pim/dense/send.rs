//! The messages that the machines send (RFC 3973 §4.7).

use std::net::IpAddr;

use super::entry::Timer;
use super::{Action, Context, Dense};
use crate::forwarding::EntryKey;
use crate::pim::Sent;
use crate::pim::metric::{AssertMetric, infinite_assert_metric};
use crate::router::InterfaceId;
use crate::wire::pim::{ALL_PIM_ROUTERS, Assert, EncodedSource, GroupSet, JoinPrune, Message};

impl Dense {
    /// A join/prune of one source to `RPF'(S)`.
    pub(super) fn send_upstream(&mut self, key: EntryKey, put: impl Fn(EncodedSource, &mut GroupSet)) {
        let Some(entry) = self.entries.get(&key) else { return };
        let (Some(interface), Some(upstream)) = (entry.rpf_interface(), entry.rpf_neighbour) else { return };
        let message = join_prune(upstream, self.settings.prune_hold_time, key, put);
        self.send_to_all(interface, Message::JoinPrune(message));
    }

    /// A graft to `RPF'(S)`, and GRT(S,G).
    pub(super) fn send_graft(&mut self, context: &Context<'_>, key: EntryKey) {
        let Some(entry) = self.entries.get(&key) else { return };
        let (Some(interface), Some(upstream)) = (entry.rpf_interface(), entry.rpf_neighbour) else { return };
        let message = Message::Graft(join_prune(upstream, 0, key, |source, set| set.joined.push(source)));
        self.actions.push(Action::Send(Sent { interface, destination: upstream, message }));
        self.timers.set(Timer::GraftRetry(key), context.now + self.settings.graft_retry_period);
    }

    pub(super) fn send_assert(&mut self, key: EntryKey, interface: InterfaceId, metric: AssertMetric) {
        let AssertMetric { rpt, preference, metric, .. } = metric;
        let message = Assert { group: key.group, source: key.source, rpt, preference, metric };
        self.send_to_all(interface, Message::Assert(message));
    }

    pub(super) fn send_assert_cancel(&mut self, key: EntryKey, interface: InterfaceId) {
        self.send_assert(key, interface, infinite_assert_metric());
    }

    pub(super) fn send_to_all(&mut self, interface: InterfaceId, message: Message) {
        self.actions.push(Action::Send(Sent { interface, destination: ALL_PIM_ROUTERS.into(), message }));
    }
}

/// A join/prune about one source and group.
pub(super) fn join_prune(
    upstream: IpAddr,
    hold_time: u16,
    key: EntryKey,
    put: impl Fn(EncodedSource, &mut GroupSet),
) -> JoinPrune {
    let mask_length = if key.group.is_ipv4() { 32 } else { 128 };
    let source = EncodedSource { address: key.source, mask_length, sparse: false, wildcard: false, rpt: false };
    let mut set = GroupSet { group: key.group, mask_length, joined: Vec::new(), pruned: Vec::new() };
    put(source, &mut set);
    JoinPrune { upstream, hold_time, groups: vec![set] }
}
