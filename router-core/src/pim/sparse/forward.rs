//! Data, and the entries that the kernel gets for it (RFC 7761 §4.2).
//!
//! The kernel tells of a packet where it has no entry, and of one that arrives by another interface than its entry's, at most once in 3 s.
//! So an entry is given when it asks, and kept right from then on: as long as the source is on the shared tree it has that tree's incoming
//! interface, and the first packet by the source's own tree is the one that arrives by a wrong one, which the kernel drops. Where both trees
//! have the same one, the kernel is given no entry until that packet has come. Where a rendezvous point has stopped the source's registers,
//! nothing comes by the shared tree: the entry is that of the source's own tree, and leads to the register interface, too, which tells of the
//! packet and sends it nowhere.

use std::collections::BTreeMap;

use super::entry::{Timer, Tree};
use super::macros::View;
use super::{Action, Context, Sparse, assert, macros, register};
use crate::config::SptSwitchover;
use crate::counters::DropReason;
use crate::forwarding::{EntryKey, ForwardingEntry};
use crate::router::InterfaceId;

impl Sparse {
    /// A data packet arrived for which the kernel has no entry.
    pub fn data(&mut self, context: &mut Context<'_>, iif: InterfaceId, key: EntryKey) {
        self.roll(context);
        if let Err(reason) = self.ensure(context, key) {
            if reason != DropReason::EntryLimit {
                self.actions.push(Action::Drop(Some(iif), reason));
            }
            return;
        }
        self.arrived(context, iif, key);
        self.packet(context, iif, key, None);
        self.forward(context, key, true);
        self.tidy_source(context, key);
    }

    /// A data packet of an entry arrived by another interface than the entry's.
    pub fn data_elsewhere(&mut self, context: &mut Context<'_>, iif: InterfaceId, key: EntryKey) {
        self.roll(context);
        let v = self.view(context, key.into());
        if v.entry.installed.is_none() {
            return;
        }
        if v.entry.rpf_interface() == Some(iif) || v.star.rpf_interface() == Some(iif) {
            self.arrived(context, iif, key);
        }
        self.packet(context, iif, key, None);
        self.forward(context, key, false);
    }

    /// The counters of an entry moved: data goes on arriving, at a rate of so many bits a second.
    pub fn data_goes_on(&mut self, context: &mut Context<'_>, key: EntryKey, rate: u64) {
        self.roll(context);
        let v = self.view(context, key.into());
        let Some(iif) = v.entry.installed.as_ref().map(|entry| entry.incoming) else { return };
        self.arrived(context, iif, key);
        self.packet(context, iif, key, Some(rate));
    }

    fn arrived(&mut self, context: &Context<'_>, iif: InterfaceId, key: EntryKey) {
        if let Some(entry) = self.source(key) {
            entry.arrival = Some(iif);
        }
        self.timers.set(Timer::Cache(key), context.now + self.settings.keepalive_period);
    }

    /// "On receipt of data from S to G on interface iif" (§4.2), but for the forwarding itself. The rate is known where counters were read.
    fn packet(&mut self, context: &mut Context<'_>, iif: InterfaceId, key: EntryKey, rate: Option<u64>) {
        if macros::is_boundary(context.ports, iif, key.group) {
            self.actions.push(Action::Drop(Some(iif), DropReason::Boundary));
            return;
        }
        let v = self.view(context, key.into());
        let by_rpf = v.entry.rpf_interface() == Some(iif);
        let direct = by_rpf && macros::directly_connected(&v);
        let joined = macros::is_upstream_joined(v.entry.upstream.state) && !macros::inherited_olist_is_null(&v);
        if direct || by_rpf && joined {
            self.set_keepalive(context, key, self.settings.keepalive_period);
            self.evaluate_source(context, key);
        }
        // Update_SPTbit(S,G,iif)
        let v = self.view(context, key.into());
        if !macros::spt_bit(&v) && macros::update_spt_bit(&v, iif) {
            if let Some(entry) = self.source(key) {
                entry.spt_bit = true;
            }
            self.evaluate_source(context, key);
        }
        let v = self.view(context, key.into());
        let spt_bit = macros::spt_bit(&v);
        if by_rpf && spt_bit {
            return;
        }
        let by_shared_tree = v.star.rpf_interface() == Some(iif);
        let reason = if v.entry.rpf.is_some() { DropReason::WrongInterface } else { DropReason::NoRoute };
        if !spt_bit {
            // Whichever interface the packet came by: of those on the shared tree the kernel would not tell, once it has the entry.
            match rate {
                Some(_) => self.check_switch_to_spt(context, key, rate),
                // Once the kernel has the entry that the packet waits for.
                None => self.timers.set(Timer::Switch(key), context.now),
            }
            if by_shared_tree {
                return;
            }
        }
        if !context.ports.contains_key(&iif) {
            return;
        }
        // By the way to a source that nobody joined there is nothing wrong with the packet, but where this router forwards, another does.
        if !by_rpf {
            self.actions.push(Action::Drop(Some(iif), reason));
        }
        self.assert_data(context, iif, key);
    }

    /// RPF check failed: an assert is due where the packet's interface is downstream.
    fn assert_data(&mut self, context: &mut Context<'_>, iif: InterfaceId, key: EntryKey) {
        let v = self.view(context, key.into());
        let all = !macros::spt_bit(&v) && macros::inherited_olist_rpt(&v).contains(&iif);
        let named = Some(key.source);
        if macros::spt_bit(&v) {
            self.assert(context, key.into(), iif, assert::Event::Data, named);
            self.evaluate_source(context, key);
        } else if all {
            self.assert(context, Tree::all(key.group), iif, assert::Event::Data, named);
            self.evaluate_group(context, key.group);
        }
    }

    /// `CheckSwitchToSpt(S,G)` (§4.2.1).
    pub(super) fn check_switch_to_spt(&mut self, context: &mut Context<'_>, key: EntryKey, rate: Option<u64>) {
        let v = self.view(context, key.into());
        if macros::has_members(&v) && self.switch_to_spt_desired(v.entry.keepalive, rate) {
            self.set_keepalive(context, key, self.settings.keepalive_period);
            self.evaluate_source(context, key);
        }
    }

    /// `SwitchToSptDesired(S,G)` of a router with members: from the first packet on, never, or once the rate is above a threshold. Below it,
    /// a source that has switched stays as long as its own tree brings data.
    fn switch_to_spt_desired(&self, switched: bool, rate: Option<u64>) -> bool {
        match self.settings.spt_switchover {
            SptSwitchover::Immediate => true,
            SptSwitchover::Never => false,
            SptSwitchover::Kbit(kbit) => switched || rate.is_some_and(|rate| rate > u64::from(kbit) * 1000),
        }
    }

    /// Gives the kernel the entry that §4.2 asks for. One that forwards nowhere has the interface that data came by, so that the kernel tells
    /// of data by any other.
    pub(super) fn forward(&mut self, context: &Context<'_>, key: EntryKey, asked: bool) {
        let wanted = self.wanted(context, key, asked);
        let Some(entry) = self.source(key) else { return };
        let installed = entry.installed.as_deref();
        if wanted.as_ref() == installed && (!asked || wanted.is_none()) {
            return;
        }
        entry.installed = wanted.clone().map(Box::new);
        if asked {
            // What has been given in answer to the same packet need not be given again.
            let given = |action: &Action| matches!(action, Action::Install { entry, .. } if entry.key == key);
            self.actions.retain(|action| !given(action));
        }
        self.actions.push(match wanted {
            Some(entry) => Action::Install { entry, asked },
            None => Action::Remove(key),
        });
    }

    /// The way to the source, if the first packet by it is still to come and to set SPTbit(S,G) (§4.2.2).
    fn sets_spt_bit(v: &View<'_>) -> Option<InterfaceId> {
        let rpf = v.entry.rpf_interface().filter(|rpf| !macros::spt_bit(v) && v.entry.arrival != Some(*rpf))?;
        (!macros::is_boundary(v.ports, rpf, v.group) && macros::update_spt_bit(v, rpf)).then_some(rpf)
    }

    /// A packet that an entry sent to the register interface in order to tell of it: the first by the source's own tree.
    pub(super) fn told(&mut self, context: &mut Context<'_>, key: EntryKey) {
        let v = self.view(context, key.into());
        let Some(iif) = v.entry.rpf_interface() else { return };
        let tells =
            |entry: &ForwardingEntry| entry.incoming == iif && entry.outgoing.contains_key(&InterfaceId::REGISTER);
        if v.entry.register == register::State::NoInfo && v.entry.installed.as_deref().is_some_and(tells) {
            self.roll(context);
            self.arrived(context, iif, key);
            self.packet(context, iif, key, None);
            self.forward(context, key, false);
        }
    }

    fn wanted(&self, context: &Context<'_>, key: EntryKey, asked: bool) -> Option<ForwardingEntry> {
        let v = self.view(context, key.into());
        let arrival = v.entry.arrival?;
        let (all, to_come) = (v.star.rpf_interface(), Self::sets_spt_bit(&v));
        // By an entry of the shared tree it would pass without a word, and the router assert itself, until its counters are read, by a tree that
        // it has left.
        if to_come.is_some() && to_come == all {
            // Data by another interface has asked: it is not for this router to forward, and what comes by the right one is told of.
            return asked.then(|| ForwardingEntry { key, incoming: arrival, outgoing: BTreeMap::new() });
        }
        // The kernel keeps a packet that a register has brought: it goes on.
        let by_register = asked && arrival == InterfaceId::REGISTER;
        let is_awaited =
            to_come.is_some() && v.entry.stopped.is_some() && all == Some(InterfaceId::REGISTER) && !by_register;
        let inside = |i: InterfaceId| !macros::is_boundary(context.ports, i, key.group);
        let by_source = macros::spt_bit(&v) || is_awaited;
        let incoming = if by_source { v.entry.rpf_interface() } else { all };
        let (incoming, mut olist) = match incoming.filter(|incoming| inside(*incoming)) {
            Some(incoming) if by_source => (incoming, macros::inherited_olist(&v)),
            Some(incoming) => (incoming, macros::inherited_olist_rpt(&v)),
            None => (arrival, macros::Interfaces::new()),
        };
        olist.retain(|i| *i != incoming);
        let incoming = if olist.is_empty() && !by_source { arrival } else { incoming };
        if is_awaited {
            olist.push(InterfaceId::REGISTER);
        }
        // The kernel takes 0 and 255 for 'never'; with 1, a packet that arrives with a TTL of 1 stays, as it must. Registers pass thresholds.
        let threshold =
            |i: &InterfaceId| context.ports.get(i).map_or(1, |port| port.config.ttl_threshold).clamp(1, 254);
        let outgoing = olist.into_iter().map(|i| (i, threshold(&i))).collect();
        Some(ForwardingEntry { key, incoming, outgoing })
    }
}
