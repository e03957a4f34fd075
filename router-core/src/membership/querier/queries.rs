//! Sending and hearing queries: the general ones, the election, the specific ones and their retransmission
//! (RFC 9776 §6.1, §6.6).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::{Action, Querier, Role, Timer, kind_of};
use crate::counters::DropReason;
use crate::membership::cover::{GroupEvent, QuerierEvent, SourceEvent};
use crate::membership::message::{Query, Version};
use crate::membership::settings::Variables;
use crate::time::Time;

impl Querier {
    /// Sends a general query and sets the time of the next: startup queries first, [Startup Query Interval] apart and asking for
    /// quick answers, then one each [Query Interval].
    pub(super) fn send_general_query(&mut self, now: Time) {
        let Role::Querier { startup_left } = &mut self.role else { return };
        let (max_response, next) = match *startup_left {
            0 => (self.settings.query_response_interval, self.settings.query_interval),
            1 => (self.settings.startup_query_response_interval, self.settings.query_interval),
            _ => (self.settings.startup_query_response_interval, self.settings.startup_query_interval),
        };
        *startup_left = startup_left.saturating_sub(1);
        self.timers.set(Timer::GeneralQuery, now + next);
        self.send(None, BTreeSet::new(), max_response, false);
    }

    fn send(&mut self, group: Option<IpAddr>, sources: BTreeSet<IpAddr>, max_response: Duration, suppress: bool) {
        let query = Query {
            version: self.version(),
            group,
            sources,
            max_response,
            suppress,
            robustness: self.settings.robustness,
            interval: self.settings.query_interval,
        };
        self.counters.send(kind_of(&query));
        let destination = group.unwrap_or(self.family.all_systems());
        self.actions.push(Action::Send { destination, query });
    }

    pub(super) fn receive_query(&mut self, now: Time, source: IpAddr, query: &Query) {
        if query.version != self.settings.version {
            self.counters.drop(DropReason::QueryVersion);
        }
        if query.version < self.settings.version {
            self.note(QuerierEvent::OlderQuery);
            self.hear_older_querier(now, source, query.version);
        }
        if self.address.is_some_and(|own| source < own) {
            self.note(QuerierEvent::QueryFromLower);
            self.hear_querier(now, source, query);
        } else {
            self.note(QuerierEvent::QueryFromHigher);
        }
        if !query.suppress
            && let Some(group) = query.group
        {
            self.lower_timers(now, group, query);
        }
    }

    fn hear_older_querier(&mut self, now: Time, source: IpAddr, version: Version) {
        let before = self.version();
        let interval = self.variables().older_version_present_interval();
        self.timers.set(Timer::OlderQuerier(version), now + interval);
        if self.version() != before {
            self.actions.push(Action::OlderQuerier { version, querier: source });
        }
    }

    /// A query of a router with a lower address: it is the querier, or becomes it (§6.6.2), and its variables hold (§4.1.6, §4.1.7).
    fn hear_querier(&mut self, now: Time, source: IpAddr, query: &Query) {
        let own = self.settings.variables();
        // While a lower one is present, a second router that is still finding out changes nothing but the timer.
        let (known, kept) = match self.role {
            Role::NonQuerier { querier, heard, variables } => {
                let current = now.since(heard) < variables.other_querier_present_interval();
                (Some(querier), (source > querier && current).then_some((querier, heard, variables)))
            }
            Role::Querier { .. } | Role::Down => (None, None),
        };
        let (querier, heard, variables) = kept.unwrap_or_else(|| {
            let previous = match self.role {
                Role::NonQuerier { querier, variables, .. } if querier == source => variables,
                _ => own,
            };
            (source, now, adopted(own, previous, query))
        });
        self.role = Role::NonQuerier { querier, heard, variables };
        self.timers.set(Timer::OtherQuerierPresent, now + variables.other_querier_present_interval());
        if known.is_none() {
            self.timers.cancel(Timer::GeneralQuery);
            for (group, record) in &mut self.groups {
                record.group_queries = 0;
                record.source_queries.clear();
                self.timers.cancel(Timer::Retransmit(*group));
            }
        }
        if known != Some(querier) {
            self.actions.push(Action::Elected { elected: false, querier: Some(querier) });
        }
    }

    /// §6.6.1, for a query that was heard. The time is the query's own response time as often as it will be sent, as RFC 2236 §3 has it;
    /// the two RFCs agree where all routers are configured alike.
    fn lower_timers(&mut self, now: Time, group: IpAddr, query: &Query) {
        let variables = self.variables();
        let response =
            if query.max_response.is_zero() { variables.last_member_query_interval } else { query.max_response };
        let deadline = now + response * u32::from(variables.last_member_query_count);
        let is_of_group = query.sources.is_empty();
        self.note_group(group, if is_of_group { GroupEvent::GroupQuery } else { GroupEvent::SourceQuery });
        if is_of_group {
            self.timers.lower(Timer::Group(group), deadline);
        }
        for source in &query.sources {
            self.note_source(group, *source, SourceEvent::Query);
            self.timers.lower(Timer::Source(group, *source), deadline);
        }
    }

    /// The actions `Send Q(G,..)` and `Send Q(G)` of §6.4.2, in one (§6.6.3.1, §6.6.3.2).
    pub(super) fn start_specific_queries(
        &mut self,
        now: Time,
        group: IpAddr,
        sources: &BTreeSet<IpAddr>,
        whole_group: bool,
    ) {
        if !self.is_querier() {
            return;
        }
        let version = self.version();
        let variables = self.variables();
        let deadline = now + variables.last_member_query_time();
        let Some(record) = self.groups.get_mut(&group) else { return };
        let mut fresh = false;
        // Versions 1 and 2 have no query about sources: those time out by themselves.
        if version == Version::V3 {
            for source in sources {
                let timer = Timer::Source(group, *source);
                if self.timers.deadline(timer).is_some_and(|expires| expires > deadline) {
                    self.timers.set(timer, deadline);
                    record.source_queries.insert(*source, variables.last_member_query_count);
                    fresh = true;
                }
            }
        }
        if whole_group && version >= Version::V2 {
            let timer = Timer::Group(group);
            let asking = record.group_queries > 0 && self.timers.deadline(timer).is_some_and(|t| t <= deadline);
            if !asking {
                self.timers.lower(timer, deadline);
                record.group_queries = variables.last_member_query_count;
                fresh = true;
            }
        }
        if fresh {
            self.transmit_specific_queries(now, group);
        }
    }

    /// Sends what specific queries of a group are pending, and sets the time of the next transmission.
    pub(super) fn transmit_specific_queries(&mut self, now: Time, group: IpAddr) {
        let version = self.version();
        let variables = self.variables();
        let limit = now + variables.last_member_query_time();
        let Some(record) = self.groups.get_mut(&group) else { return };
        let is_late = |timer: Timer| self.timers.deadline(timer).is_some_and(|expires| expires > limit);

        let mut whole_group = None;
        if record.group_queries > 0 {
            let suppress = is_late(Timer::Group(group));
            if suppress && version < Version::V3 {
                // Without an S flag the query would lower other routers' timers again. RFC 2236 §3: a report ends it.
                record.group_queries = 0;
            } else {
                record.group_queries -= 1;
                whole_group = Some(suppress);
            }
        }
        let (mut late, mut soon) = (BTreeSet::new(), BTreeSet::new());
        let running = record.running().clone();
        record.source_queries.retain(|source, left| {
            if !running.contains(source) || version < Version::V3 {
                return false;
            }
            if is_late(Timer::Source(group, *source)) {
                late.insert(*source)
            } else {
                soon.insert(*source)
            };
            *left -= 1;
            *left > 0
        });
        if record.group_queries > 0 || !record.source_queries.is_empty() {
            self.timers.set(Timer::Retransmit(group), now + variables.last_member_query_interval);
        } else {
            self.timers.cancel(Timer::Retransmit(group));
        }

        let max_response = variables.last_member_query_interval;
        if let Some(suppress) = whole_group {
            self.send(Some(group), BTreeSet::new(), max_response, suppress);
            // §6.6.3.2, note: beside Q(G), the message with the S flag may be left out.
            late.clear();
        }
        for (sources, suppress) in [(late, true), (soon, false)] {
            let sources: Vec<IpAddr> = sources.into_iter().collect();
            for part in sources.chunks(self.sources_per_query) {
                self.send(Some(group), part.iter().copied().collect(), max_response, suppress);
            }
        }
    }
}

/// The variables of a non-querier: the querier's where the query announces them, else its own.
fn adopted(own: Variables, previous: Variables, query: &Query) -> Variables {
    let robustness = if query.robustness > 0 { query.robustness } else { own.robustness };
    let query_interval = if query.interval.is_zero() { own.query_interval } else { query.interval };
    Variables {
        robustness,
        query_interval,
        // A startup query with a short response time must not shorten memberships.
        query_response_interval: match query.group {
            None => own.query_response_interval.max(query.max_response),
            Some(_) => previous.query_response_interval,
        },
        last_member_query_interval: own.last_member_query_interval,
        last_member_query_count: if own.last_member_query_count == own.robustness {
            robustness
        } else {
            own.last_member_query_count
        },
    }
}
