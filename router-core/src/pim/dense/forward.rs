//! Data, and the entries that the kernel gets for it (RFC 3973 §4.2).

use std::collections::BTreeMap;
use std::time::Duration;

use super::entry::Timer;
use super::{Action, Context, Dense, assert, macros, origination, upstream};
use crate::counters::DropReason;
use crate::forwarding::{EntryKey, ForwardingEntry};
use crate::router::InterfaceId;

/// How long the kernel keeps an entry that forwards nowhere after data by another interface than the RPF interface asked for one, or data
/// whose source has no route, and the next packet on the RPF interface is an event. Without it, the kernel would hold that packet back for
/// 10 s behind the one that asked; for ever, and it would go unnoticed.
const SWALLOW: Duration = Duration::from_secs(1);

impl Dense {
    /// A data packet arrived for which the kernel has no entry (§4.2).
    pub fn data(&mut self, context: &mut Context<'_>, arrival: InterfaceId, key: EntryKey) {
        let ensured = match self.ensure(context, key) {
            // A route may come before the kernel has forgotten that it has asked.
            Err(DropReason::NoRoute) => self.create(context, key, None),
            ensured => ensured,
        };
        if let Err(reason) = ensured {
            if reason != DropReason::EntryLimit {
                self.actions.push(Action::Drop(Some(arrival), reason));
            }
            return;
        }
        self.use_again(context, key);
        let Some(entry) = self.entries.get_mut(&key) else { return };
        entry.data_seen = true;
        entry.unrouted = entry.rpf.is_none().then_some(arrival);
        if entry.rpf_interface() != Some(arrival) {
            let reason = entry.rpf.map_or(DropReason::NoRoute, |_| DropReason::WrongInterface);
            self.actions.push(Action::Drop(Some(arrival), reason));
            self.timers.set(Timer::Swallow(key), context.now + SWALLOW);
            self.data_downstream(context, arrival, key);
            self.forward(context, key, true);
            return;
        }
        let (direct, olist_is_null) = (entry.directly_connected, entry.olist_is_null);
        // §5.4: of a group whose scope ends here nothing is said here, and nothing that arrives here goes on.
        if macros::is_boundary(context.ports, arrival, key.group) {
            self.actions.push(Action::Drop(Some(arrival), DropReason::Boundary));
        } else {
            if direct && self.settings.state_refresh {
                self.origination(context, key, origination::Event::DataOfDirectSource);
            }
            if olist_is_null {
                self.upstream(context, key, upstream::Event::DataWithoutOlist);
            }
        }
        self.forward(context, key, true);
    }

    /// A data packet of an entry arrived on another interface than the RPF interface (§4.2): an assert is due (§4.6.4).
    pub fn data_downstream(&mut self, context: &mut Context<'_>, arrival: InterfaceId, key: EntryKey) {
        if self.entries.get(&key).is_some_and(|entry| entry.rpf_interface() == Some(arrival)) {
            // The kernel's entry is behind.
            self.forward(context, key, true);
            return;
        }
        if macros::is_boundary(context.ports, arrival, key.group) {
            return;
        }
        self.assert(context, key, arrival, assert::Event::Data);
        self.evaluate(context, key);
    }

    /// The counters of an entry moved: data goes on arriving.
    pub fn data_goes_on(&mut self, context: &mut Context<'_>, key: EntryKey) {
        let Some(entry) = self.entries.get(&key) else { return };
        let inside = entry.rpf.is_some_and(|rpf| !macros::is_boundary(context.ports, rpf.interface, key.group));
        let direct = entry.directly_connected && inside;
        self.use_again(context, key);
        if direct && self.settings.state_refresh {
            self.origination(context, key, origination::Event::DataOfDirectSource);
        }
    }

    /// The kernel is to ask again. Of a source that never had a route nothing is kept.
    pub(super) fn unswallow(&mut self, context: &Context<'_>, key: EntryKey) {
        if self.entries.get(&key).is_some_and(|entry| !entry.was_routed) {
            self.forget(key);
        } else {
            self.forward(context, key, false);
        }
    }

    /// Gives the kernel the entry that §4.2 asks for. Where the next packet on the RPF interface is an event of the upstream machine, the
    /// kernel is given none, so that it tells.
    pub(super) fn forward(&mut self, context: &Context<'_>, key: EntryKey, asked: bool) {
        let limited = self.timers.is_running(Timer::PruneLimit(key)) || self.timers.is_running(Timer::Swallow(key));
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let nowhere = |incoming| ForwardingEntry { key, incoming, outgoing: BTreeMap::new() };
        let unrouted = entry.unrouted.filter(|_| entry.rpf.is_none() && self.timers.is_running(Timer::Swallow(key)));
        let wanted = entry.rpf_interface().filter(|_| entry.data_seen).and_then(|incoming| {
            let tells = !entry.directly_connected && !macros::is_boundary(context.ports, incoming, key.group);
            if entry.olist_is_null && tells && !limited {
                return None;
            }
            let olist = match entry.upstream {
                upstream::State::Pruned => macros::Interfaces::new(),
                upstream::State::Forwarding | upstream::State::AckPending => macros::olist(context.ports, entry, key),
            };
            // The kernel takes 0 and 255 for 'never'; with 1, a packet that arrives with a TTL of 1 stays, as it must.
            let threshold = |id: &InterfaceId| context.ports.get(id).map_or(1, macros::threshold).clamp(1, 254);
            let outgoing = olist.into_iter().map(|id| (id, threshold(&id))).collect();
            Some(ForwardingEntry { key, incoming, outgoing })
        });
        let wanted = wanted.or(unrouted.map(nowhere));
        let given = |action: &Action| matches!(action, Action::Install { entry, .. } if Some(entry) == wanted.as_ref());
        if wanted == entry.installed && (!asked || wanted.is_none() || self.actions.iter().any(given)) {
            return;
        }
        entry.installed.clone_from(&wanted);
        self.actions.push(match wanted {
            Some(entry) => Action::Install { entry, asked },
            None => Action::Remove(key),
        });
    }
}
