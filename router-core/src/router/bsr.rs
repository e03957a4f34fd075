//! The bootstrap mechanism's place in the router: its messages in and out, and who is told of what it learns.

use std::net::IpAddr;

use super::{Datagram, EventKind, InterfaceId, Output, Router};
use crate::counters::DropReason;
use crate::pim::bsr::{self, Action, Bsr, Timer};
use crate::pim::mode::Mode;
use crate::pim::rp::Origin;
use crate::router::answers::millis_left;
use crate::show::{BsrZone, CandidateMapping, RpMapping};
use crate::time::Time;
use crate::wire::pim::{self as wire, Message};

/// TOS of control packets: precedence 'internetwork control'.
const CONTROL_TOS: u8 = 0xc0;
/// TTL of messages that go by the unicast routes.
const ROUTED_TTL: u8 = 64;
/// Where a mapping of the configuration is said to come from.
const CONFIGURED: &str = "configured";

impl Router {
    /// Lets the bootstrap mechanism act, does what it wants done, and tells sparse mode if groups may have other rendezvous points.
    pub(super) fn with_bsr(&mut self, now: Time, act: impl FnOnce(&mut Bsr, &mut bsr::Context<'_>)) {
        let Router { bsr: Some(bsr), ports, others, rib, rps, random, .. } = self else { return };
        act(bsr, &mut bsr::Context { now, ports, others, rib, rps, random });
        for action in bsr.take_actions() {
            self.act_bsr(now, action);
        }
        let ranges = self.rps.take_changes();
        if ranges.is_empty() {
            return;
        }
        for range in &ranges {
            let of_range = self.rps.learned().filter(|(_, learned, _)| learned == range);
            let mut rps: Vec<IpAddr> = of_range.flat_map(|(_, _, learned)| learned.rps.keys().copied()).collect();
            rps.sort_unstable();
            rps.dedup();
            self.event(now, EventKind::RpSet { range: *range, rps });
        }
        self.with_sparse(now, |sparse, context| sparse.rp_changed(context, &ranges));
    }

    /// A bootstrap message or a candidate RP's advertisement was heard.
    pub(super) fn hear_bsr(
        &mut self,
        now: Time,
        interface: InterfaceId,
        source: IpAddr,
        destination: IpAddr,
        message: &Message,
    ) {
        match message {
            Message::Bootstrap(message) => {
                self.with_bsr(now, |bsr, context| bsr.hear(context, interface, source, destination, message));
            }
            Message::CandidateRpAdvertisement(message) => {
                self.with_bsr(now, |bsr, context| bsr.hear_candidate_rp(context, interface, message));
            }
            _ => {}
        }
    }

    fn act_bsr(&mut self, now: Time, action: Action) {
        match action {
            Action::Send(sent) => self.send_pim(now, &sent),
            Action::SendRouted { source, destination, message } => {
                self.counters.send(message.kind());
                let datagram = Datagram {
                    source,
                    destination,
                    protocol: wire::PROTOCOL,
                    ttl: ROUTED_TTL,
                    router_alert: false,
                    traffic_class: CONTROL_TOS,
                    payload: message.emit(source, destination),
                };
                self.output(Output::SendRouted { datagram });
            }
            Action::Elected(scope, state, bsr) => {
                self.event(now, EventKind::Bsr { zone: scope.groups(), state: state.to_owned(), bsr });
            }
            Action::Drop(interface, reason) => {
                match interface.and_then(|id| self.ports.get_mut(&id)) {
                    Some(port) => port.counters.drop(reason),
                    None => self.counters.drop(reason),
                }
                if reason == DropReason::MappingLimit {
                    self.limit_reached(now, "rp-mappings", None);
                }
            }
        }
    }

    pub(super) fn show_bsr(&self, now: Time) -> Vec<BsrZone> {
        let Some(bsr) = &self.bsr else { return Vec::new() };
        let left = |timer: Timer| bsr.deadline(timer).map(|deadline| millis_left(now, deadline));
        let zones = bsr.zones().iter().map(|(scope, zone)| {
            let current = zone.bsr();
            let stored = zone.stored.as_ref().filter(|_| current.is_some());
            let candidates = zone.office.iter().flat_map(|office| office.candidates());
            BsrZone {
                zone: scope.groups(),
                state: zone.state_name().to_owned(),
                bsr: current.map(|weight| weight.address),
                priority: current.map(|weight| weight.priority),
                hash_mask_length: stored.map(|stored| stored.hash_mask_length),
                up_ms: stored.map(|stored| millis_left(stored.since, now)),
                bootstrap_ms: left(Timer::Bootstrap(*scope)),
                scope_zone_ms: left(Timer::ScopeZone(*scope)),
                advertisement_ms: left(Timer::Advertisement(*scope)),
                candidate_rps: candidates
                    .map(|((range, rp), candidate)| CandidateMapping {
                        range: *range,
                        rp: *rp,
                        priority: candidate.priority,
                        bidir: candidate.bidir,
                        expires_ms: left(Timer::CandidateMapping(*scope, *range, *rp)),
                    })
                    .collect(),
            }
        });
        zones.collect()
    }

    /// The mapping that serves a group in sparse mode.
    pub(super) fn show_rp_of(&self, now: Time, group: IpAddr) -> Vec<RpMapping> {
        if self.sparse.is_none() || self.modes.of(group) != Mode::Sparse {
            return Vec::new();
        }
        let Some(found) = self.rps.find(group) else { return Vec::new() };
        let zone = match found.origin {
            Origin::Configured => None,
            Origin::Learned(scope) => scope.groups(),
        };
        let is_configured = found.origin == Origin::Configured;
        let mut shown = self.show_rps(now);
        shown.retain(|mapping| {
            (mapping.range, Some(mapping.rp), mapping.zone) == (found.range, found.rp, zone)
                && (mapping.origin == CONFIGURED) == is_configured
        });
        shown
    }

    pub(super) fn show_rps(&self, now: Time) -> Vec<RpMapping> {
        let configured = self.rps.configured().iter().map(|rp| RpMapping {
            range: rp.groups.trunc(),
            rp: rp.address,
            origin: CONFIGURED.to_owned(),
            zone: None,
            overrides: rp.overrides,
            priority: None,
            bidir: false,
            expires_ms: None,
        });
        let left = |timer: Timer| Some(millis_left(now, self.bsr.as_ref()?.deadline(timer)?));
        let learned = self.rps.learned().flat_map(|(scope, range, learned)| {
            learned.rps.iter().map(move |(rp, priority)| RpMapping {
                range,
                rp: *rp,
                origin: "bsr".to_owned(),
                zone: scope.groups(),
                overrides: false,
                priority: Some(*priority),
                bidir: learned.bidir,
                expires_ms: left(Timer::Mapping(scope, range, *rp)),
            })
        });
        let mut shown: Vec<RpMapping> = configured.chain(learned).collect();
        shown.sort_by_key(|mapping| (mapping.range, mapping.zone, mapping.rp));
        shown
    }
}
