//! State refresh messages: heard, relayed and originated (RFC 3973 §4.5).

use std::net::IpAddr;
use std::time::Duration;

use super::{Context, Dense, assert, downstream, macros, origination, upstream};
use crate::config::PimSabotage;
use crate::coverage::Machine;
use crate::forwarding::EntryKey;
use crate::pim::metric::AssertMetric;
use crate::router::InterfaceId;
use crate::wire::pim::{Message, StateRefresh};

/// Every so manyth originated message carries the Prune Now flag (§4.7.10).
const PRUNE_NOW: u32 = 3;

impl Dense {
    /// A state refresh was heard from a neighbour.
    pub(super) fn hear_refresh(
        &mut self,
        context: &mut Context<'_>,
        interface: InterfaceId,
        from: IpAddr,
        message: &StateRefresh,
    ) {
        let key = EntryKey { source: message.source, group: message.group };
        if !self.settings.state_refresh
            || macros::is_boundary(context.ports, interface, key.group)
            || self.ensure(context, key).is_err()
        {
            return;
        }
        // It speaks for its sender's forwarding as an assert does (§4.6.4).
        let metric = AssertMetric::heard(message.preference, message.metric, from);
        let holds = three_times(message.interval);
        self.assert(context, key, interface, assert::Event::Heard { from, metric, holds });
        let is_winner = self.entries.get(&key).is_some_and(|entry| entry.assert(interface).winner() == Some(from));
        if is_winner && !message.prune_indicator {
            self.assert(context, key, interface, assert::Event::WinnerForwards);
        }
        self.evaluate(context, key);
        let Some(entry) = self.entries.get(&key) else { return };
        // §4.5.1, the checks in its order.
        if entry.rpf_interface() != Some(interface) || entry.rpf_neighbour != Some(from) {
            return;
        }
        self.use_again(context, key);
        // What it says of the link holds however soon it comes; only what is relayed is limited.
        self.upstream(context, key, upstream::Event::StateRefresh { prune_indicator: message.prune_indicator });
        let Some(entry) = self.entries.get_mut(&key) else { return };
        if macros::state_refresh_rate_limit(entry, context.now, self.settings.refresh_limit_interval) {
            return;
        }
        entry.refreshed = Some(context.now);
        if self.settings.sabotage != Some(PimSabotage::RefreshNotRelayed) {
            self.send_refresh(context, key, interface, message);
        }
    }

    /// SRT(S,G) ran out: the directly connected router makes a message (§4.5.2.2).
    pub(super) fn originate_refresh(&mut self, context: &mut Context<'_>, key: EntryKey) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let Some(rpf) = entry.rpf else { return };
        let Some(originator) = macros::my_addr(context.ports, rpf.interface) else { return };
        entry.originated = entry.originated.wrapping_add(1);
        let message = StateRefresh {
            group: key.group,
            source: key.source,
            originator,
            rpt: false,
            preference: rpf.preference,
            metric: rpf.metric,
            mask_length: rpf.mask_length,
            ttl: self.settings.state_refresh_ttl,
            prune_indicator: false,
            prune_now: entry.originated.is_multiple_of(PRUNE_NOW),
            assert_override: false,
            interval: self.settings.state_refresh_interval,
        };
        self.send_refresh_with_ttl(context, key, rpf.interface, &message, message.ttl);
    }

    fn send_refresh(&mut self, context: &mut Context<'_>, key: EntryKey, iif: InterfaceId, message: &StateRefresh) {
        if let Some(ttl) = message.ttl.checked_sub(1) {
            self.send_refresh_with_ttl(context, key, iif, message, ttl);
        }
    }

    /// The loop of §4.5.1: a copy out of each interface in `pim_nbrs` that the message may leave by.
    fn send_refresh_with_ttl(
        &mut self,
        context: &mut Context<'_>,
        key: EntryKey,
        iif: InterfaceId,
        message: &StateRefresh,
        ttl: u8,
    ) {
        for interface in macros::pim_nbrs(context.ports) {
            let Some((entry, port)) = self.entries.get(&key).zip(context.ports.get(&interface)) else { return };
            let Some(rpf) = entry.rpf else { return };
            if ttl < macros::threshold(port)
                || port.is_boundary_for(key.group)
                || interface == iif
                || macros::lost_assert(context.ports, entry, interface)
            {
                continue;
            }
            let metric = macros::spt_assert_metric(context.ports, Some(rpf), interface);
            let copy = StateRefresh {
                ttl,
                preference: metric.preference,
                metric: metric.metric,
                mask_length: rpf.mask_length,
                rpt: false,
                prune_indicator: entry.downstream(interface) == downstream::State::Pruned,
                assert_override: entry.assert(interface) == assert::State::NoInfo,
                ..*message
            };
            self.send_to_all(interface, Message::StateRefresh(copy));
            let holds = three_times(message.interval);
            self.downstream(context, key, interface, downstream::Event::SendStateRefresh, 0);
            self.assert(context, key, interface, assert::Event::SendStateRefresh { holds });
        }
    }

    /// Feeds the Origination(S,G) machine.
    pub(super) fn origination(&mut self, context: &mut Context<'_>, key: EntryKey, event: origination::Event) {
        use super::entry::Timer;
        let Some(entry) = self.entries.get_mut(&key) else { return };
        self.coverage.note(Machine::DenseOrigination, &entry.origination, &event);
        let (state, actions) = origination::transition(entry.origination, event);
        entry.origination = state;
        let interval = Duration::from_secs(self.settings.state_refresh_interval.into());
        for action in actions {
            match action {
                origination::Action::SetStateRefresh => {
                    self.timers.set(Timer::StateRefresh(key), context.now + interval)
                }
                origination::Action::CancelStateRefresh => {
                    self.timers.cancel(Timer::StateRefresh(key));
                }
                origination::Action::SetSourceActive => {
                    self.timers.set(Timer::SourceActive(key), context.now + self.settings.source_lifetime);
                }
                origination::Action::CancelSourceActive => {
                    self.timers.cancel(Timer::SourceActive(key));
                }
                origination::Action::SendStateRefresh => self.originate_refresh(context, key),
            }
        }
    }
}

/// For how long what a state refresh says of forwarding holds (§4.6.4.1).
fn three_times(interval: u8) -> Duration {
    3 * Duration::from_secs(interval.into())
}
