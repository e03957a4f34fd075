//! Forwarding: which entry a source and a group get, and when it changes or goes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{EventKind, InterfaceId, Output, Router};
use crate::config::Multicast;
use crate::counters::DropReason;
use crate::forwarding::table::Use;
use crate::forwarding::{EntryKey, ForwardingEntry};
use crate::static_routes;
use crate::time::Time;

/// What becomes of packets of a key.
struct Decision {
    entry: ForwardingEntry,
    /// Why nothing is accepted, if so.
    refusal: Option<DropReason>,
}

impl Router {
    /// The kernel has a packet without an entry: it gets one, be it one that swallows.
    pub(super) fn no_cache(&mut self, now: Time, arrival: InterfaceId, key: EntryKey) {
        let by_register = arrival == InterfaceId::REGISTER && self.sparse.is_some();
        if !self.ports.contains_key(&arrival) && !by_register {
            self.counters.drop(DropReason::UnknownInterface);
            return;
        }
        if self.is_dense(key.group) {
            self.with_dense(now, |dense, context| dense.data(context, arrival, key));
            return;
        }
        if self.sparse.is_some() {
            self.with_sparse(now, |sparse, context| sparse.data(context, arrival, key));
            return;
        }
        let Some(decision) = self.decide(arrival, key) else { return };
        if self.table.get(key).is_none() && self.table.len() >= self.config.limits.forwarding_entries {
            self.counters.drop(DropReason::EntryLimit);
            self.limit_reached(now, "forwarding-entries", None);
            return;
        }
        if let (Some(reason), Some(port)) = (decision.refusal, self.ports.get_mut(&arrival)) {
            port.counters.drop(reason);
        }
        self.table.touch(now, key);
        if !self.install(now, arrival, decision.entry.clone()) {
            // The kernel lost it.
            self.output(Output::SetEntry(decision.entry));
        }
    }

    /// A packet came by another interface than its entry's. Static routes say once and for all where packets come from; below a proxy
    /// a source may have moved.
    pub(super) fn wrong_interface(&mut self, now: Time, arrival: InterfaceId, key: EntryKey) {
        if self.sparse.is_some() && !self.is_dense(key.group) {
            // It counts what is wrong: data by the source's own tree is not.
            self.with_sparse(now, |sparse, context| sparse.data_elsewhere(context, arrival, key));
            return;
        }
        let Some(port) = self.ports.get_mut(&arrival) else {
            self.counters.drop(DropReason::UnknownInterface);
            return;
        };
        port.counters.drop(DropReason::WrongInterface);
        self.with_dense(now, |dense, context| dense.data_downstream(context, arrival, key));
        if self.config.multicast == Multicast::Proxy
            && self.table.get(key).is_some()
            && let Some(decision) = self.decide(arrival, key)
            && decision.entry.incoming == arrival
        {
            self.install(now, arrival, decision.entry);
        }
    }

    /// An entry's counters were read: it goes if nothing has used it for long.
    pub(super) fn counters_read(&mut self, now: Time, key: EntryKey, packets: u64, octets: u64, wrong: u64) {
        let rate = self.table.rate(now, key, octets);
        match self.table.count(now, key, packets, octets, wrong) {
            Use::Moved if self.is_dense(key.group) => {
                self.with_dense(now, |dense, context| dense.data_goes_on(context, key));
            }
            Use::Moved => self.with_sparse(now, |sparse, context| sparse.data_goes_on(context, key, rate)),
            Use::None => {}
            Use::Idle => self.delete(now, key),
        }
    }

    /// Brings all entries up to date.
    pub(super) fn refresh_all(&mut self, now: Time) {
        self.refresh(now, self.table.keys());
    }

    /// Brings a group's entries up to date.
    pub(super) fn refresh_group(&mut self, now: Time, group: IpAddr) {
        self.refresh(now, self.table.keys_of(group));
    }

    fn refresh(&mut self, now: Time, keys: Vec<EntryKey>) {
        // PIM says itself what becomes of its entries.
        if self.dense.is_some() || self.sparse.is_some() {
            return;
        }
        for key in keys {
            let Some(arrival) = self.table.get(key).map(|installed| installed.arrival) else { continue };
            match self.ports.contains_key(&arrival).then(|| self.decide(arrival, key)).flatten() {
                Some(decision) => {
                    self.install(now, arrival, decision.entry);
                }
                None => self.delete(now, key),
            }
        }
    }

    /// Puts an entry into force; false if it is in force already.
    pub(super) fn install(&mut self, now: Time, arrival: InterfaceId, entry: ForwardingEntry) -> bool {
        // Spread, so that a thousand flows that start together are not all read together for ever.
        let interval = self.table.reading_interval();
        let reading = now + (interval - self.random.up_to(interval / 4));
        if !self.table.set(now, arrival, entry.clone(), reading) {
            return false;
        }
        let event = EventKind::EntryInstalled {
            source: entry.key.source,
            group: entry.key.group,
            incoming: self.name(entry.incoming),
            outgoing: entry.outgoing.keys().map(|id| self.name(*id)).collect(),
        };
        self.output(Output::SetEntry(entry));
        self.event(now, event);
        true
    }

    pub(super) fn delete(&mut self, now: Time, key: EntryKey) {
        if self.table.remove(key) {
            self.output(Output::DeleteEntry(key));
            self.event(now, EventKind::EntryRemoved { source: key.source, group: key.group });
        }
    }

    /// The entry for packets of a key that arrived by an interface; none if this router forwards nothing.
    fn decide(&self, arrival: InterfaceId, key: EntryKey) -> Option<Decision> {
        match self.config.multicast {
            // PIM decides for itself.
            Multicast::None | Multicast::PimDm | Multicast::PimSm => None,
            Multicast::Static => Some(self.decide_static(arrival, key)),
            Multicast::Proxy => Some(self.decide_proxy(arrival, key)),
        }
    }

    fn decide_static(&self, arrival: InterfaceId, key: EntryKey) -> Decision {
        let route = static_routes::best(&self.config.routes, key);
        let Some((route, incoming)) = route.and_then(|route| Some((route, self.find(&route.incoming)?))) else {
            return swallow(key, arrival, DropReason::NoRoute);
        };
        if self.is_boundary(incoming, key.group) {
            return swallow(key, incoming, DropReason::Boundary);
        }
        let outgoing = self.outgoing(incoming, key, |id| {
            let port = &self.ports[&id];
            route.outgoing.contains(&port.state.name) || port.wants(key.source, key.group)
        });
        let refusal = (incoming != arrival).then_some(DropReason::WrongInterface);
        Decision { entry: ForwardingEntry { key, incoming, outgoing }, refusal }
    }

    /// RFC 4605 §4.2: what comes by the upstream interface goes to members downstream; what comes by a downstream interface goes upstream and
    /// to members on the others; to a downstream interface only while this router is its querier, so that of several proxies one forwards.
    fn decide_proxy(&self, arrival: InterfaceId, key: EntryKey) -> Decision {
        let upstream = self.upstream_id();
        // A source on one of the links is only believed there; another one comes by where it comes by.
        let on_link = self.ports.iter().find(|(_, port)| port.is_on_link(key.source)).map(|(id, _)| *id);
        let incoming = on_link.unwrap_or(arrival);
        if self.is_boundary(incoming, key.group) {
            return swallow(key, incoming, DropReason::Boundary);
        }
        let outgoing = self.outgoing(incoming, key, |id| {
            let port = &self.ports[&id];
            if Some(id) == upstream {
                return true;
            }
            port.igmp.as_ref().is_some_and(|igmp| igmp.is_querier()) && port.wants(key.source, key.group)
        });
        let refusal = (incoming != arrival).then_some(DropReason::WrongInterface);
        Decision { entry: ForwardingEntry { key, incoming, outgoing }, refusal }
    }

    /// Interfaces that are up, chosen, not the incoming one, and inside the group's scope, with their thresholds.
    fn outgoing(
        &self,
        incoming: InterfaceId,
        key: EntryKey,
        chosen: impl Fn(InterfaceId) -> bool,
    ) -> BTreeMap<InterfaceId, u8> {
        self.ports
            .iter()
            .filter(|(id, port)| **id != incoming && port.state.up && !port.is_boundary_for(key.group) && chosen(**id))
            // The kernel takes 0 and 255 for 'never'; with 1, a packet that arrives with a TTL of 1 stays, as it must.
            .map(|(id, port)| (*id, port.config.ttl_threshold.clamp(1, 254)))
            .collect()
    }

    fn is_boundary(&self, id: InterfaceId, group: IpAddr) -> bool {
        self.ports.get(&id).is_some_and(|port| port.is_boundary_for(group))
    }
}

/// An entry that swallows, so that the kernel asks no more.
fn swallow(key: EntryKey, incoming: InterfaceId, reason: DropReason) -> Decision {
    Decision { entry: ForwardingEntry { key, incoming, outgoing: BTreeMap::new() }, refusal: Some(reason) }
}
