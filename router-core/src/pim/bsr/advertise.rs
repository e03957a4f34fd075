//! The candidate RP's part: its machine toward each zone's BSR, and its messages (RFC 5059 §3.2).

use std::collections::BTreeSet;

use super::zone::Scope;
use super::{Action, Bsr, Context, Timer, candidate_rp};
use crate::coverage::Machine;
use crate::router::port::Port;
use crate::wire::pim::{CandidateRange, CandidateRpAdvertisement, Message};

/// Ranges that a message can count.
const RANGES_MAX: usize = 255;

impl Bsr {
    /// Something happens to the candidate RP, if this router is one.
    pub(super) fn candidate_rp(&mut self, context: &mut Context<'_>, scope: Scope, event: candidate_rp::Event) {
        let is_end = event == candidate_rp::Event::BsrLost;
        let Some(period) = self.settings.candidate_rp.as_ref().map(|candidate| candidate.period) else { return };
        if !self.is_candidate_rp && !is_end {
            return;
        }
        let Some(zone) = self.zones.get_mut(&scope) else { return };
        let state = zone.candidate_rp;
        self.coverage.note(Machine::CandidateRp, &state, &event);
        let (next, actions) = candidate_rp::transition(state, event);
        zone.candidate_rp = next;
        let timer = Timer::Advertisement(scope);
        for action in actions {
            match action {
                candidate_rp::Action::Advertise => self.advertise(context, scope, false),
                candidate_rp::Action::SetBackoff => {
                    let backoff = context.random.up_to(self.settings.c_rp_adv_backoff);
                    self.timers.set(timer, context.now + backoff);
                }
                candidate_rp::Action::SetPeriod => self.timers.set(timer, context.now + period),
                candidate_rp::Action::Cancel => {
                    self.timers.cancel(timer);
                }
            }
        }
    }

    /// Sends the BSR of a zone what concerns it: nothing, if that is nothing. With `ends`, that the candidate is one no longer.
    pub(super) fn advertise(&mut self, context: &mut Context<'_>, scope: Scope, ends: bool) {
        let Some(candidate) = self.settings.candidate_rp.clone().filter(|_| self.is_candidate_rp) else { return };
        let Some(bsr) = self.zones.get(&scope).and_then(|zone| zone.bsr()) else { return };
        let known: BTreeSet<Scope> = self.zones.keys().copied().collect();
        let ranges = candidate_rp::ranges(&candidate.groups, &known, scope);
        // The Z bit says that this router is at the zone's border.
        let is_border = |port: &Port| scope.groups().is_some_and(|groups| port.config.boundary.contains(&groups));
        let scoped = context.ports.values().any(is_border);
        for ranges in ranges.chunks(RANGES_MAX) {
            let groups = ranges.iter().map(|range| CandidateRange {
                group: range.addr(),
                mask_length: range.prefix_len(),
                bidir: false,
                scoped,
            });
            let message = CandidateRpAdvertisement {
                priority: candidate.priority,
                hold_time: if ends { 0 } else { candidate.hold_time },
                address: candidate.address,
                groups: groups.collect(),
            };
            if context.is_own(bsr.address) {
                self.collect(context, &message);
            } else {
                let (source, destination) = (candidate.address, bsr.address);
                let message = Message::CandidateRpAdvertisement(message);
                self.actions.push(Action::SendRouted { source, destination, message });
            }
        }
    }
}
