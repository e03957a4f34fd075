//! One group's record on an interface (RFC 9776 §6.2): filter state, pending specific queries, and what its timers do.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::message::Version;
use super::querier::Timer;
use super::transition::{FilterState, SourceTimer, Sources, Transition};
use crate::router::SourceFilter;
use crate::time::Time;
use crate::timers::Timers;

/// A group record. Its timers (§6.2.2, §6.2.3, §7.3.2) stand in the interface's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Filter mode and sources.
    pub state: FilterState,
    /// Transmissions of `Q(G)` that are still to come.
    pub group_queries: u8,
    /// Transmissions of `Q(G,S)` that are still to come, by source.
    pub source_queries: BTreeMap<IpAddr, u8>,
    /// Who reported it last.
    pub last_reporter: Option<IpAddr>,
}

impl Group {
    /// The record of a group that nobody listens to: `INCLUDE ()`.
    pub fn new() -> Group {
        Group {
            state: FilterState::Include(Sources::new()),
            group_queries: 0,
            source_queries: BTreeMap::new(),
            last_reporter: None,
        }
    }

    /// Whether the record is to be deleted: `INCLUDE ()`.
    pub fn is_empty(&self) -> bool {
        matches!(&self.state, FilterState::Include(sources) if sources.is_empty())
    }

    /// What is suggested to the routing protocol (§6.3).
    pub fn filter(&self) -> SourceFilter {
        match &self.state {
            FilterState::Include(sources) => SourceFilter::Include(sources.clone()),
            FilterState::Exclude { blocked, .. } => SourceFilter::Exclude(blocked.clone()),
        }
    }

    /// Sources with a running timer.
    pub fn running(&self) -> &Sources {
        match &self.state {
            FilterState::Include(sources) => sources,
            FilterState::Exclude { requested, .. } => requested,
        }
    }

    /// How many sources the record holds.
    pub fn source_count(&self) -> usize {
        match &self.state {
            FilterState::Include(sources) => sources.len(),
            FilterState::Exclude { requested, blocked } => requested.len() + blocked.len(),
        }
    }

    /// Whether the record holds a source, wanted or blocked.
    pub fn knows(&self, source: IpAddr) -> bool {
        match &self.state {
            FilterState::Include(sources) => sources.contains(&source),
            FilterState::Exclude { requested, blocked } => requested.contains(&source) || blocked.contains(&source),
        }
    }

    /// Puts a row of §6.4 into force: the new state and the timers that it names.
    pub fn apply(
        &mut self,
        group: IpAddr,
        transition: &Transition,
        now: Time,
        membership_interval: Duration,
        timers: &mut Timers<Timer>,
    ) {
        let group_timer = timers.deadline(Timer::Group(group)).unwrap_or(now);
        let before = std::mem::replace(&mut self.state, transition.state.clone());
        let was_running = match &before {
            FilterState::Include(sources) => sources,
            FilterState::Exclude { requested, .. } => requested,
        };
        for source in was_running.difference(self.running()) {
            timers.cancel(Timer::Source(group, *source));
        }
        if let Some((sources, value)) = &transition.set {
            let deadline = match value {
                SourceTimer::MembershipInterval => now + membership_interval,
                SourceTimer::GroupTimer => group_timer,
            };
            for source in sources {
                timers.set(Timer::Source(group, *source), deadline);
            }
        }
        if transition.group_timer {
            timers.set(Timer::Group(group), now + membership_interval);
        } else if matches!(self.state, FilterState::Include(_)) {
            timers.cancel(Timer::Group(group));
        }
    }

    /// The group timer ran out: nobody listens in EXCLUDE mode any more (§6.5).
    pub fn group_timer_expired(&mut self) {
        if let FilterState::Exclude { requested, .. } = &mut self.state {
            self.state = FilterState::Include(std::mem::take(requested));
        }
    }

    /// A source timer ran out (§6.3).
    pub fn source_timer_expired(&mut self, source: IpAddr) {
        match &mut self.state {
            FilterState::Include(sources) => {
                sources.remove(&source);
            }
            FilterState::Exclude { requested, blocked } => {
                if requested.remove(&source) {
                    blocked.insert(source);
                }
            }
        }
    }

    /// Stops every timer of the record.
    pub fn cancel_timers(&self, group: IpAddr, timers: &mut Timers<Timer>) {
        for source in self.running() {
            timers.cancel(Timer::Source(group, *source));
        }
        timers.cancel(Timer::Group(group));
        timers.cancel(Timer::Retransmit(group));
        timers.cancel(Timer::OlderHost(Version::V1, group));
        timers.cancel(Timer::OlderHost(Version::V2, group));
    }
}

impl Default for Group {
    fn default() -> Group {
        Group::new()
    }
}

/// Group Compatibility Mode (§7.3.2).
pub fn compatibility(group: IpAddr, timers: &Timers<Timer>) -> Version {
    if timers.is_running(Timer::OlderHost(Version::V1, group)) {
        Version::V1
    } else if timers.is_running(Timer::OlderHost(Version::V2, group)) {
        Version::V2
    } else {
        Version::V3
    }
}
