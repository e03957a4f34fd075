//! Messages that are sent: forwarded, originated, and for new neighbours (RFC 5059 §3.3 to §3.5).

use std::net::IpAddr;

use super::hear::Heard;
use super::weight::Weight;
use super::zone::Scope;
use super::{Action, Bsr, Context, fragments};
use crate::pim::Sent;
use crate::pim::link::Change;
use crate::router::InterfaceId;
use crate::router::port::Port;
use crate::wire::pim::{ALL_PIM_ROUTERS, Bootstrap, BootstrapRange, Message};

/// Fragments that are remembered as forwarded.
const PASSED_MAX: usize = 64;
/// The MTU that messages are made for where there is nobody to send them to.
const MTU: u32 = 1500;

impl Bsr {
    /// Whether messages of a scope leave by an interface at all.
    fn is_open(&self, port: &Port, scope: Scope) -> bool {
        let runs = port.state.up && port.pim.as_ref().is_some_and(|link| link.address().is_some());
        runs && !self.is_border(port) && !scope.ends_at(&port.config.boundary)
    }

    /// The interfaces that messages of a scope leave by: those with PIM neighbours (§3.4).
    fn outgoing(&self, context: &Context<'_>, scope: Scope) -> Vec<InterfaceId> {
        let has_neighbours = |port: &Port| port.pim.as_ref().is_some_and(|link| !link.neighbours().is_empty());
        let open = context.ports.iter().filter(|(_, port)| has_neighbours(port) && self.is_open(port, scope));
        open.map(|(id, _)| *id).collect()
    }

    fn send(&mut self, interface: InterfaceId, destination: IpAddr, message: Bootstrap) {
        self.actions.push(Action::Send(Sent { interface, destination, message: Message::Bootstrap(message) }));
    }

    /// Forward BSM (§3.4): out of every interface with neighbours, the one that it came by too, unless nobody but its sender is there.
    pub(super) fn forward(&mut self, context: &Context<'_>, scope: Scope, heard: Option<Heard<'_>>) {
        let Some(Heard { interface, source, forward: true, message }) = heard else { return };
        // The same again so soon can only have come round: routes that loop for a moment would keep it going for ever.
        let min_interval = self.settings.min_interval;
        self.passed.retain(|(at, _)| context.now.since(*at) < min_interval);
        if self.passed.iter().any(|(_, passed)| passed == message) {
            return;
        }
        if self.passed.len() >= PASSED_MAX {
            self.passed.pop_front();
        }
        self.passed.push_back((context.now, message.clone()));
        for id in self.outgoing(context, scope) {
            let link = context.ports.get(&id).and_then(|port| port.pim.as_ref());
            let others = link.is_some_and(|link| link.neighbours().keys().any(|neighbour| *neighbour != source));
            if id != interface || others {
                self.send(id, ALL_PIM_ROUTERS.into(), message.clone());
            }
        }
    }

    /// Originate BSM (§3.3), with another priority than this router's if one is given.
    pub(super) fn originate(&mut self, context: &mut Context<'_>, scope: Scope, priority: Option<u8>) {
        let Some(candidate) = &self.settings.candidate_bsr else { return };
        let Weight { priority: own, address } = candidate.weight;
        let hash_mask_length = candidate.hash_mask_length;
        let (until, hold_min) = (context.now + self.settings.timeout, self.settings.hold_min);
        let Some(office) = self.zones.get_mut(&scope).and_then(|zone| zone.office.as_mut()) else { return };
        office.sent = Some(context.now);
        let ranges = office.compose(context.now, until, hold_min);
        let message = Bootstrap {
            no_forward: false,
            fragment_tag: context.random.bits() as u16,
            hash_mask_length,
            priority: priority.unwrap_or(own),
            address,
            ranges: in_scope(scope, ranges),
        };
        let outgoing = self.outgoing(context, scope);
        let mtu = outgoing.iter().filter_map(|id| Some(context.ports.get(id)?.state.mtu)).min().unwrap_or(MTU);
        let most = self.settings.mappings;
        for fragment in fragments::split(message, mtu as usize) {
            if let Some(stored) = self.zones.get_mut(&scope).and_then(|zone| zone.stored.as_mut()) {
                stored.keep(&fragment, most);
            }
            // This router goes by what it tells everybody.
            self.store_rp_set(context, scope, &fragment);
            for id in &outgoing {
                self.send(*id, ALL_PIM_ROUTERS.into(), fragment.clone());
            }
        }
    }

    /// A neighbour is new or has restarted: the designated router of the link, whoever that is without it, tells it the last messages of
    /// all zones (§3.5).
    pub fn neighbour_changed(&mut self, context: &mut Context<'_>, interface: InterfaceId, change: Change) {
        let (Change::Up(neighbour) | Change::Restarted(neighbour)) = change else { return };
        let Some(port) = context.ports.get(&interface) else { return };
        let Some(link) = &port.pim else { return };
        if link.address().is_none() || link.dr_without(neighbour) != link.address() {
            return;
        }
        let mut messages: Vec<Bootstrap> = Vec::new();
        for (scope, zone) in &self.zones {
            if zone.bsr().is_some() && self.is_open(port, *scope) {
                messages.extend(zone.stored.iter().flat_map(|stored| stored.fragments().to_vec()));
            }
        }
        for message in messages {
            if self.settings.unicast {
                self.send(interface, neighbour, message.clone());
            }
            self.send(interface, ALL_PIM_ROUTERS.into(), Bootstrap { no_forward: true, ..message });
        }
    }

    /// The router is about to end: its candidate RP withdraws (§3.2), and where it is the BSR it says so with the lowest priority, so that
    /// another one is elected soon (§3.3).
    pub fn shutdown(&mut self, context: &mut Context<'_>) {
        let scopes: Vec<Scope> = self.zones.keys().copied().collect();
        for scope in &scopes {
            self.advertise(context, *scope, true);
        }
        for scope in scopes {
            self.originate(context, scope, Some(0));
        }
        self.timers.clear();
    }
}

/// The ranges of a scope's message: the scope itself comes first, with its Z bit (§3.3).
fn in_scope(scope: Scope, mut ranges: Vec<BootstrapRange>) -> Vec<BootstrapRange> {
    let Some(groups) = scope.groups() else { return ranges };
    let is_scope = |range: &BootstrapRange| (range.group, range.mask_length) == (groups.addr(), groups.prefix_len());
    let first = match ranges.iter().position(is_scope) {
        Some(at) => ranges.remove(at),
        None => BootstrapRange {
            group: groups.addr(),
            mask_length: groups.prefix_len(),
            bidir: false,
            scoped: true,
            rp_count: 0,
            rps: Vec::new(),
        },
    };
    ranges.insert(0, BootstrapRange { scoped: true, ..first });
    ranges
}
