//! Feeds the machines, and does what they want (RFC 5059 §3.1.5).

use std::time::Duration;

use ipnet::IpNet;

use super::hear::Heard;
use super::office::Office;
use super::stored::Stored;
use super::weight::{Weight, rand_override};
use super::zone::{Role, Scope};
use super::{Action, Bsr, Context, Timer, candidate, candidate_rp, non_candidate};
use crate::counters::DropReason;
use crate::coverage::Machine;
use crate::wire::pim::{Bootstrap, BootstrapRange};

impl Bsr {
    /// The router becomes a candidate BSR of a zone: pending, until nobody objects for BS_Rand_Override (§3.1.1).
    pub(super) fn stand(&mut self, context: &mut Context<'_>, scope: Scope) {
        let Some(zone) = self.zones.get_mut(&scope) else { return };
        zone.role = Role::Candidate(candidate::State::Pending);
        self.set_rand_override(context, scope);
        self.tell(context, scope);
    }

    /// The router has lost the address that it offered.
    pub(super) fn stand_down(&mut self, context: &mut Context<'_>, scope: Scope) {
        self.leave_office(scope);
        let Some(zone) = self.zones.get_mut(&scope) else { return };
        let is_other = zone.role == Role::Candidate(candidate::State::Candidate);
        zone.role = Role::Other(if is_other {
            non_candidate::State::AcceptPreferred
        } else {
            zone.stored = None;
            self.timers.cancel(Timer::Bootstrap(scope));
            non_candidate::State::AcceptAny
        });
        self.tell(context, scope);
    }

    /// BST(Z) has run out.
    pub(super) fn bootstrap_timer(&mut self, context: &mut Context<'_>, scope: Scope) {
        match self.zones.get(&scope).map(|zone| zone.role) {
            Some(Role::Candidate(_)) => {
                self.candidate(context, scope, candidate::Event::BootstrapTimerExpires, None);
            }
            Some(Role::Other(_)) => self.other(context, scope, non_candidate::Event::BootstrapTimerExpires, None),
            None => {}
        }
    }

    /// Something happens to a candidate BSR.
    pub(super) fn candidate(
        &mut self,
        context: &mut Context<'_>,
        scope: Scope,
        event: candidate::Event,
        heard: Option<Heard<'_>>,
    ) {
        let Some(zone) = self.zones.get_mut(&scope) else { return };
        let Role::Candidate(state) = zone.role else { return };
        self.coverage.note(Machine::BsrCandidate, &state, &event);
        let (next, actions) = candidate::transition(state, event);
        zone.role = Role::Candidate(next);
        if state == candidate::State::Elected && next != state {
            self.leave_office(scope);
        }
        if next == candidate::State::Elected && next != state {
            self.take_office(context, scope);
        }
        if let (candidate::Event::ReceiveNonPreferredFromElected, Some(heard)) = (event, heard) {
            // What BS_Rand_Override goes by.
            self.meet(context, scope, heard.message);
        }
        for action in actions {
            match action {
                candidate::Action::Forward => self.forward(context, scope, heard),
                candidate::Action::Store => self.store(context, scope, heard),
                candidate::Action::Originate => self.originate_in_time(context, scope),
                candidate::Action::SetTimeout => self.set_timeout(context, scope),
                candidate::Action::SetRandOverride => self.set_rand_override(context, scope),
                candidate::Action::SetPeriod => self.set_period(context, scope),
            }
        }
        if actions.is_empty() {
            self.not_preferred(heard);
        }
        self.tell(context, scope);
    }

    /// Something happens to a router that is no candidate BSR.
    pub(super) fn other(
        &mut self,
        context: &mut Context<'_>,
        scope: Scope,
        event: non_candidate::Event,
        heard: Option<Heard<'_>>,
    ) {
        let Some(zone) = self.zones.get_mut(&scope) else { return };
        let Role::Other(state) = zone.role else { return };
        let configured = zone.configured;
        self.coverage.note(Machine::BsrNonCandidate, &state, &event);
        let (next, actions) = non_candidate::transition(state, event);
        zone.role = Role::Other(next);
        for action in actions {
            match action {
                non_candidate::Action::Forward => self.forward(context, scope, heard),
                non_candidate::Action::Store => self.store(context, scope, heard),
                non_candidate::Action::SetTimeout => self.set_timeout(context, scope),
                non_candidate::Action::Refresh => self.refresh(context, scope),
                non_candidate::Action::RemoveBsr => {
                    if let Some(zone) = self.zones.get_mut(&scope) {
                        zone.stored = None;
                    }
                }
                non_candidate::Action::SetScopeZoneTimer if configured => {}
                non_candidate::Action::SetScopeZoneTimer => {
                    self.timers.set(Timer::ScopeZone(scope), context.now + self.settings.sz_timeout);
                }
                non_candidate::Action::RemoveZone => {
                    self.cancel(scope);
                    self.zones.remove(&scope);
                    context.rps.forget(scope);
                    self.actions.push(Action::Elected(scope, next.name(), None));
                }
            }
        }
        if actions.is_empty() {
            self.not_preferred(heard);
        }
        self.tell(context, scope);
    }

    /// Says who the BSR is, if that or the machine's state is news, and lets the candidate RP know.
    fn tell(&mut self, context: &mut Context<'_>, scope: Scope) {
        let Some(zone) = self.zones.get_mut(&scope) else { return };
        let bsr = zone.bsr().map(|weight| weight.address);
        let news = (zone.state_name(), bsr);
        let old = zone.told.replace(news);
        if old == Some(news) {
            return;
        }
        self.actions.push(Action::Elected(scope, news.0, news.1));
        if old.and_then(|(_, bsr)| bsr) != bsr {
            let event = if bsr.is_some() { candidate_rp::Event::BsrElected } else { candidate_rp::Event::BsrLost };
            self.candidate_rp(context, scope, event);
        }
    }

    fn not_preferred(&mut self, heard: Option<Heard<'_>>) {
        if let Some(heard) = heard {
            self.actions.push(Action::Drop(Some(heard.interface), DropReason::NotPreferred));
        }
    }

    fn set_timeout(&mut self, context: &Context<'_>, scope: Scope) {
        self.timers.set(Timer::Bootstrap(scope), context.now + self.settings.timeout);
        self.timers.cancel(Timer::ScopeZone(scope));
    }

    fn set_period(&mut self, context: &Context<'_>, scope: Scope) {
        // Unless a message waits for BS_Min_Interval to end.
        if !self.timers.is_running(Timer::Bootstrap(scope)) {
            self.timers.set(Timer::Bootstrap(scope), context.now + self.settings.period);
        }
    }

    fn set_rand_override(&mut self, context: &Context<'_>, scope: Scope) {
        let Some(own) = self.own_weight(scope) else { return };
        let stored = self.zones.get(&scope).and_then(|zone| zone.stored.as_ref()).map(|stored| stored.weight);
        let interval = rand_override(own, stored, self.settings.rand_override_unit);
        self.timers.set(Timer::Bootstrap(scope), context.now + interval);
    }

    /// What the elected BSR keeps beside begins anew.
    fn take_office(&mut self, context: &Context<'_>, scope: Scope) {
        let Some(own) = self.own_weight(scope) else { return };
        let Some(zone) = self.zones.get_mut(&scope) else { return };
        zone.office = Some(Office::default());
        zone.stored = Some(Stored::new(own, context.now));
    }

    fn leave_office(&mut self, scope: Scope) {
        let Some(office) = self.zones.get_mut(&scope).and_then(|zone| zone.office.take()) else { return };
        for (range, rp) in office.candidates().keys() {
            self.timers.cancel(Timer::CandidateMapping(scope, *range, *rp));
        }
    }

    /// A message comes soon, because what it says has changed: at once, or as soon as BS_Min_Interval lets it (§3.3).
    pub(super) fn hasten(&mut self, context: &Context<'_>, scope: Scope) {
        let Some(office) = self.zones.get(&scope).and_then(|zone| zone.office.as_ref()) else { return };
        let soonest = office.sent.map_or(context.now, |sent| sent + self.settings.min_interval);
        self.timers.lower(Timer::Bootstrap(scope), soonest.max(context.now));
    }

    /// Originates a message, unless BS_Min_Interval has not passed: then BST(Z) makes up for it.
    fn originate_in_time(&mut self, context: &mut Context<'_>, scope: Scope) {
        let Some(office) = self.zones.get(&scope).and_then(|zone| zone.office.as_ref()) else { return };
        let soonest =
            office.sent.map(|sent| sent + self.settings.min_interval).filter(|soonest| *soonest > context.now);
        match soonest {
            Some(soonest) => {
                let timer = Timer::Bootstrap(scope);
                let deadline = self.timers.deadline(timer).map_or(soonest, |deadline| deadline.min(soonest));
                self.timers.set(timer, deadline);
            }
            None => {
                self.timers.cancel(Timer::Bootstrap(scope));
                self.originate(context, scope, None);
            }
        }
    }

    /// Takes the sender of a message for the BSR, and remembers its weight.
    fn meet(&mut self, context: &Context<'_>, scope: Scope, message: &Bootstrap) {
        let weight = Weight { priority: message.priority, address: message.address };
        let Some(zone) = self.zones.get_mut(&scope) else { return };
        match &mut zone.stored {
            Some(stored) if stored.weight.address == weight.address => stored.weight = weight,
            stored => *stored = Some(Stored::new(weight, context.now)),
        }
    }

    /// Store RP-Set, and the message with its BSR.
    fn store(&mut self, context: &mut Context<'_>, scope: Scope, heard: Option<Heard<'_>>) {
        let Some(Heard { message, .. }) = heard else { return };
        self.meet(context, scope, message);
        let most = self.settings.mappings;
        let Some(zone) = self.zones.get_mut(&scope) else { return };
        zone.accepted = true;
        let Some(stored) = &mut zone.stored else { return };
        let had_mappings = !stored.is_empty();
        stored.keep(message, most);
        // A BSR that has restarted knows of nobody: to its candidates it is a new one.
        let has_forgotten = had_mappings && stored.is_empty();
        if has_forgotten && zone.candidate_rp == candidate_rp::State::Steady {
            self.candidate_rp(context, scope, candidate_rp::Event::BsrElected);
        }
        self.store_rp_set(context, scope, message);
    }

    /// Store RP-Set alone (§3.1.5).
    pub(super) fn store_rp_set(&mut self, context: &mut Context<'_>, scope: Scope, message: &Bootstrap) {
        let is_empty = match (&message.ranges[..], scope) {
            ([], _) => true,
            ([only], Scope::Admin(_)) => only.rp_count == 0 && only.rps.is_empty(),
            _ => false,
        };
        if is_empty {
            return;
        }
        let ranges = self.ranges_of(scope, message);
        let ranges: Vec<(IpNet, &BootstrapRange)> = ranges.iter().map(|(range, told)| (*range, told)).collect();
        let kept: usize = self.zones.values().map(|zone| zone.rp_set.len()).sum();
        let room = self.settings.mappings.saturating_sub(kept);
        let Some(zone) = self.zones.get_mut(&scope) else { return };
        let changes = zone.rp_set.store(message.fragment_tag, &ranges, room);
        zone.rp_set.hash_mask_length = message.hash_mask_length;
        for (range, rp, hold_time) in changes.held {
            let deadline = context.now + Duration::from_secs(hold_time.into());
            self.timers.set(Timer::Mapping(scope, range, rp), deadline);
        }
        for (range, rp) in changes.gone {
            self.timers.cancel(Timer::Mapping(scope, range, rp));
        }
        for range in changes.ranges {
            context.rps.learn(scope, range, zone.rp_set.get(&range));
        }
        context.rps.set_hash_mask_length(scope, message.hash_mask_length);
        for _ in 0..changes.refused {
            self.actions.push(Action::Drop(None, DropReason::MappingLimit));
        }
    }

    /// Refresh RP-Set: as if the last message had just been received (§3.1.5).
    fn refresh(&mut self, context: &mut Context<'_>, scope: Scope) {
        let stored = self.zones.get(&scope).and_then(|zone| zone.stored.as_ref());
        for message in stored.map(|stored| stored.fragments().to_vec()).unwrap_or_default() {
            self.store_rp_set(context, scope, &message);
        }
    }
}
