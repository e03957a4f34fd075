//! Messages that are heard: the checks of RFC 5059 §3.1.3, and what they are to the machines.

use std::net::IpAddr;

use ipnet::IpNet;

use super::office::Candidate;
use super::weight::Weight;
use super::zone::{self, Received, Role, Scope, Zone};
use super::{Action, Bsr, Context, Timer, candidate, non_candidate};
use crate::counters::DropReason;
use crate::membership::Family;
use crate::pim::mrib;
use crate::router::InterfaceId;
use crate::router::port::Port;
use crate::wire::pim::{ALL_PIM_ROUTERS, Bootstrap, BootstrapRange, CandidateRpAdvertisement};

/// A message and how it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard<'a> {
    /// By which interface.
    pub interface: InterfaceId,
    /// From which neighbour.
    pub source: IpAddr,
    /// Whether it may be forwarded: multicast without the N bit (§3.4).
    pub forward: bool,
    /// What.
    pub message: &'a Bootstrap,
}

/// All groups, of an IPv4 domain.
fn all_groups() -> IpNet {
    ipnet::Ipv4Net::new_assert([224, 0, 0, 0].into(), 4).into()
}

/// A range of groups, as encoded addresses have it.
fn range(group: IpAddr, mask_length: u8) -> Option<IpNet> {
    let range = IpNet::new(group, mask_length).ok()?.trunc();
    all_groups().contains(&range).then_some(range)
}

/// The scope of a message: that of its first range, if that is a scoped one (§3.1).
fn scope_of(message: &Bootstrap) -> Option<Scope> {
    match message.ranges.first() {
        Some(first) if first.scoped => range(first.group, first.mask_length).map(Scope::Admin),
        Some(_) | None => Some(Scope::Global),
    }
}

impl Bsr {
    /// Whether bootstrap messages neither enter nor leave by an interface.
    pub(super) fn is_border(&self, port: &Port) -> bool {
        port.config.pim.bsr_border.unwrap_or(self.settings.border)
    }

    /// A bootstrap message of a neighbour on a link of this router was heard.
    pub fn hear(
        &mut self,
        context: &mut Context<'_>,
        interface: InterfaceId,
        source: IpAddr,
        destination: IpAddr,
        message: &Bootstrap,
    ) {
        let is_multicast = destination == IpAddr::from(ALL_PIM_ROUTERS);
        let forward = is_multicast && !message.no_forward;
        let heard = Heard { interface, source, forward, message };
        let scope = match self.check(context, heard, is_multicast) {
            Ok(scope) => scope,
            Err(reason) => {
                self.actions.push(Action::Drop(Some(interface), reason));
                return;
            }
        };
        if context.is_own(message.address) {
            // What this router itself told before it restarted: everybody still goes by it, and so may it.
            self.store_rp_set(context, scope, message);
            return;
        }
        let from = Weight { priority: message.priority, address: message.address };
        let Some(zone) = self.zones.get(&scope) else { return };
        let current = zone.stored.as_ref().map(|stored| stored.weight);
        let received = zone::classify(zone.role, current, self.own_weight(scope), from);
        match zone.role {
            Role::Candidate(_) => {
                let event = match received {
                    Received::Preferred => candidate::Event::ReceivePreferred,
                    Received::NonPreferred => candidate::Event::ReceiveNonPreferred,
                    Received::NonPreferredFromElected => candidate::Event::ReceiveNonPreferredFromElected,
                };
                self.candidate(context, scope, event, Some(heard));
            }
            Role::Other(_) => {
                let event = match received {
                    Received::Preferred => non_candidate::Event::ReceivePreferred,
                    // Only a candidate can be heavier than the BSR.
                    Received::NonPreferred | Received::NonPreferredFromElected => {
                        non_candidate::Event::ReceiveNonPreferred
                    }
                };
                self.other(context, scope, event, Some(heard));
            }
        }
    }

    /// §3.1.3: whether a message is accepted, and in which zone. That the sender is a neighbour on the link is known already.
    fn check(&mut self, context: &Context<'_>, heard: Heard<'_>, is_multicast: bool) -> Result<Scope, DropReason> {
        let Heard { interface, source, message, .. } = heard;
        let port = context.ports.get(&interface).ok_or(DropReason::UnknownInterface)?;
        if self.is_border(port) {
            return Err(DropReason::BsrBorder);
        }
        if !Family::V4.is_source(message.address) {
            return Err(DropReason::NotASource);
        }
        let scope = scope_of(message).ok_or(DropReason::NotAGroup)?;
        if !is_multicast && !self.settings.unicast {
            return Err(DropReason::Destination);
        }
        let is_own = context.is_own(message.address);
        if heard.forward {
            if is_own {
                return Err(DropReason::OwnBootstrap);
            }
            if !is_rpf_neighbour(context, interface, source, message.address) {
                return Err(DropReason::NotFromRpfNeighbour);
            }
        } else if !self.is_starting(context, scope) {
            return Err(DropReason::NotAtStartup);
        }
        if scope.ends_at(&port.config.boundary) {
            return Err(DropReason::BsrBorder);
        }
        if !self.zones.contains_key(&scope) {
            let learned = self.zones.values().filter(|zone| !zone.configured).count();
            if is_own || learned >= self.settings.zones {
                return Err(if is_own { DropReason::OwnBootstrap } else { DropReason::MappingLimit });
            }
            self.zones.insert(scope, Zone::new(Role::Other(non_candidate::State::NoInfo), false));
        }
        Ok(scope)
    }

    /// Whether the router has started less than BS_Period ago and has accepted no message of the scope yet.
    fn is_starting(&self, context: &Context<'_>, scope: Scope) -> bool {
        let accepted = self.zones.get(&scope).is_some_and(|zone| zone.accepted);
        !accepted && self.started.is_none_or(|started| context.now.since(started) <= self.settings.period)
    }

    /// The ranges of a message with their mappings, without what makes no sense: each by its prefix.
    pub(super) fn ranges_of(&mut self, scope: Scope, message: &Bootstrap) -> Vec<(IpNet, BootstrapRange)> {
        let mut ranges = Vec::new();
        for told in &message.ranges {
            let Some(groups) = range(told.group, told.mask_length).filter(|groups| scope.contains(groups)) else {
                self.actions.push(Action::Drop(None, DropReason::NotAGroup));
                continue;
            };
            let mut told = told.clone();
            let count = told.rps.len();
            told.rps.retain(|rp| Family::V4.is_source(rp.address));
            if told.rps.len() < count {
                self.actions.push(Action::Drop(None, DropReason::NotASource));
                told.rp_count = told.rp_count.saturating_sub(u8::try_from(count - told.rps.len()).unwrap_or(u8::MAX));
            }
            ranges.push((groups, told));
        }
        ranges
    }

    /// A candidate RP's advertisement came, to one of this router's addresses.
    pub fn hear_candidate_rp(
        &mut self,
        context: &mut Context<'_>,
        interface: InterfaceId,
        message: &CandidateRpAdvertisement,
    ) {
        let is_border = context.ports.get(&interface).is_some_and(|port| self.is_border(port));
        let candidate = self.settings.candidate_bsr.as_ref();
        let allowed = candidate.and_then(|candidate| candidate.allowed_rps.as_ref());
        let refusal = match () {
            () if is_border => Some(DropReason::BsrBorder),
            () if !Family::V4.is_source(message.address) => Some(DropReason::NotASource),
            () if allowed.is_some_and(|allowed| !allowed.iter().any(|net| net.contains(&message.address))) => {
                Some(DropReason::RpNotAllowed)
            }
            () => None,
        };
        match refusal {
            Some(reason) => self.actions.push(Action::Drop(Some(interface), reason)),
            None => self.collect(context, message),
        }
    }

    /// Takes an advertisement into the C-RP-Sets of the zones that this router is the BSR of (§3.3).
    pub(super) fn collect(&mut self, context: &mut Context<'_>, message: &CandidateRpAdvertisement) {
        if message.groups.is_empty() {
            // As candidate RPs of RFC 2362 say it.
            self.collect_range(context, message, all_groups(), false);
        }
        for told in &message.groups {
            match range(told.group, told.mask_length) {
                Some(groups) => self.collect_range(context, message, groups, told.bidir),
                None => self.actions.push(Action::Drop(None, DropReason::NotAGroup)),
            }
        }
    }

    fn collect_range(
        &mut self,
        context: &mut Context<'_>,
        message: &CandidateRpAdvertisement,
        groups: IpNet,
        bidir: bool,
    ) {
        let narrowest = |(scope, zone): &(&Scope, &Zone)| zone.office.is_some() && scope.contains(&groups);
        let elected = self.zones.iter().filter(narrowest).max_by_key(|(scope, _)| scope.prefix_len());
        let Some(scope) = elected.map(|(scope, _)| *scope) else {
            self.actions.push(Action::Drop(None, DropReason::NotElected));
            return;
        };
        if message.hold_time == 0 {
            self.withdraw(context, scope, groups, message.address);
            return;
        }
        let kept: usize = self.zones.values().filter_map(|zone| Some(zone.office.as_ref()?.len())).sum();
        let Some(office) = self.zones.get_mut(&scope).and_then(|zone| zone.office.as_mut()) else { return };
        if kept >= self.settings.mappings && !office.has(groups, message.address) {
            self.actions.push(Action::Drop(None, DropReason::MappingLimit));
            return;
        }
        let (priority, hold_time) = (message.priority, message.hold_time);
        let changed = office.advertise(groups, message.address, Candidate { priority, hold_time, bidir });
        let timer = Timer::CandidateMapping(scope, groups, message.address);
        self.timers.set(timer, context.now + std::time::Duration::from_secs(hold_time.into()));
        if changed {
            self.hasten(context, scope);
        }
    }

    /// A group-to-C-RP mapping is gone: CGET(M,Z) has run out, or the candidate RP has ended.
    pub(super) fn withdraw(&mut self, context: &mut Context<'_>, scope: Scope, groups: IpNet, rp: IpAddr) {
        self.timers.cancel(Timer::CandidateMapping(scope, groups, rp));
        let Some(office) = self.zones.get_mut(&scope).and_then(|zone| zone.office.as_mut()) else { return };
        if office.withdraw(groups, rp) {
            self.hasten(context, scope);
        }
    }
}

/// Whether a message came from `RPF_neighbor(BSR)`.
fn is_rpf_neighbour(context: &Context<'_>, interface: InterfaceId, source: IpAddr, bsr: IpAddr) -> bool {
    let Some(rpf) = mrib::lookup(context.rib, context.ports, bsr) else { return false };
    // On a link of this router, the BSR itself.
    let next_hop = rpf.next_hop.unwrap_or(bsr);
    let link = context.ports.get(&interface).and_then(|port| port.pim.as_ref());
    rpf.interface == interface && link.and_then(|link| link.neighbour_of(next_hop)) == Some(source)
}
