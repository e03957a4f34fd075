//! The membership machine of one interface: a multicast router's side of IGMP or MLD (RFC 9776 §6, §7.3).

mod queries;
mod reports;

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::cover;
use super::cover::{CompatibilityEvent, GroupEvent, QuerierEvent, Source, SourceEvent};
use super::group::{Group, compatibility};
use super::message::{Family, Message, Query, Version};
use super::settings::{Settings, Variables};
use crate::counters::{Counters, DropReason, MessageKind};
use crate::coverage::{Coverage, Machine};
use crate::router::SourceFilter;
use crate::time::Time;
use crate::timers::Timers;

/// The machine's timers. At equal deadlines they fire in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// The next general query, of startup or periodic (§8.2, §8.6).
    GeneralQuery,
    /// Until this router takes over as querier (§8.5).
    OtherQuerierPresent,
    /// Until a querier of an older version counts as gone (§8.12).
    OlderQuerier(Version),
    /// Source timer of a group's source (§6.2.3).
    Source(IpAddr, IpAddr),
    /// Group timer (§6.2.2).
    Group(IpAddr),
    /// The next transmission of a group's specific queries (§6.6.3).
    Retransmit(IpAddr),
    /// Older Host Present timer of a group, version 1 or 2 (§7.3.2).
    OlderHost(Version, IpAddr),
}

/// This router's part in the election (§6.6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// The interface is down or has no address.
    Down,
    /// It asks.
    Querier {
        /// Startup queries still to be sent (§8.7).
        startup_left: u8,
    },
    /// Another asks.
    NonQuerier {
        /// Who.
        querier: IpAddr,
        /// When it was last heard.
        heard: Time,
        /// The variables in force: the querier's where it announces them.
        variables: Variables,
    },
}

/// What the machine wants done, beside the membership changes of [`Querier::take_changes`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send a query.
    Send {
        /// Its destination.
        destination: IpAddr,
        /// The query.
        query: Query,
    },
    /// The election's outcome changed.
    Elected {
        /// Whether this router is the querier now.
        elected: bool,
        /// Who is.
        querier: Option<IpAddr>,
    },
    /// A querier of an older version was heard: queries are of that version until it is gone (§6.6.2, §7.3.1).
    /// Said once per change.
    OlderQuerier {
        /// Its version.
        version: Version,
        /// Its address.
        querier: IpAddr,
    },
    /// The limit of groups was hit.
    GroupLimit,
    /// The limit of sources was hit.
    SourceLimit,
}

/// Header fields of a received message that decide whether it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Whether Router Alert is there.
    pub router_alert: bool,
}

/// The machine.
#[derive(Clone, Debug)]
pub struct Querier {
    family: Family,
    settings: Settings,
    static_filters: BTreeMap<IpAddr, SourceFilter>,
    subnets: Vec<IpNet>,
    address: Option<IpAddr>,
    sources_per_query: usize,
    role: Role,
    timers: Timers<Timer>,
    groups: BTreeMap<IpAddr, Group>,
    /// Groups whose filter may have changed, in no order, some of them twice.
    dirty: Vec<IpAddr>,
    published: BTreeMap<IpAddr, SourceFilter>,
    actions: Vec<Action>,
    counters: Counters,
    coverage: Coverage,
}

impl Querier {
    /// A machine for an interface that is not up yet.
    pub fn new(family: Family, settings: Settings) -> Querier {
        let mut static_filters: BTreeMap<IpAddr, SourceFilter> = BTreeMap::new();
        for join in settings.static_joins.iter().filter(|join| family.is_group(join.group)) {
            let filter = match join.source {
                Some(source) => SourceFilter::Include([source].into()),
                None => SourceFilter::everything(),
            };
            let merged = static_filters.get(&join.group).map_or(filter.clone(), |old| old.merge(&filter));
            static_filters.insert(join.group, merged);
        }
        Querier {
            family,
            settings,
            static_filters,
            subnets: Vec::new(),
            address: None,
            sources_per_query: 1,
            role: Role::Down,
            timers: Timers::default(),
            groups: BTreeMap::new(),
            dirty: Vec::new(),
            published: BTreeMap::new(),
            actions: Vec::new(),
            counters: Counters::default(),
            coverage: Coverage::default(),
        }
    }

    /// The interface's state: up or down, its addresses, its MTU. The machine runs while the interface is up and has an address
    /// to send from; it starts as querier (§6.6.2) and forgets its hosts when it stops.
    pub fn set_interface(&mut self, now: Time, up: bool, addresses: &[IpNet], mtu: u32) {
        self.subnets = addresses.iter().filter(|net| Family::of(net.addr()) == self.family).copied().collect();
        self.address = match self.family {
            Family::V4 => self.subnets.first().map(IpNet::addr),
            // MLD speaks from link-local addresses only (RFC 9777 §5).
            Family::V6 => self.subnets.iter().map(IpNet::addr).find(|address| is_link_local_v6(*address)),
        };
        self.sources_per_query = match self.family {
            Family::V4 => (mtu as usize).saturating_sub(24 + 12) / 4,
            Family::V6 => (mtu as usize).saturating_sub(40 + 8 + 28) / 16,
        }
        .max(1);
        match (up && self.address.is_some(), self.role) {
            (true, Role::Down) => {
                self.note(QuerierEvent::InterfaceUp);
                self.start(now);
            }
            (false, Role::Querier { .. } | Role::NonQuerier { .. }) => {
                self.note(QuerierEvent::InterfaceDown);
                self.stop();
            }
            (true, Role::Querier { .. } | Role::NonQuerier { .. }) | (false, Role::Down) => {}
        }
    }

    fn start(&mut self, now: Time) {
        let count = self.settings.startup_query_count.unwrap_or(self.settings.robustness).max(1);
        self.role = Role::Querier { startup_left: count };
        self.actions.push(Action::Elected { elected: true, querier: self.address });
        self.dirty.extend(self.static_filters.keys());
        self.send_general_query(now);
    }

    fn stop(&mut self) {
        self.role = Role::Down;
        self.timers.clear();
        self.groups.clear();
        self.dirty.extend(self.published.keys());
        self.actions.push(Action::Elected { elected: false, querier: None });
    }

    /// When to call [`Querier::timeout`].
    pub fn next_timeout(&self) -> Option<Time> {
        self.timers.next()
    }

    /// Handles every timer that has run out.
    pub fn timeout(&mut self, now: Time) {
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::GeneralQuery => {
                    self.note(QuerierEvent::GeneralQueryTimer);
                    self.send_general_query(now);
                }
                Timer::OtherQuerierPresent => {
                    self.note(QuerierEvent::OtherQuerierPresentTimer);
                    self.role = Role::Querier { startup_left: 0 };
                    self.actions.push(Action::Elected { elected: true, querier: self.address });
                    self.send_general_query(now);
                }
                // Only the running timer counts (`Querier::version`).
                Timer::OlderQuerier(_) => self.note(QuerierEvent::OlderQuerierTimer),
                Timer::Group(group) => {
                    self.note_group(group, GroupEvent::GroupTimer);
                    self.expire(group, Group::group_timer_expired);
                }
                Timer::Source(group, source) => {
                    self.note_group(group, GroupEvent::SourceTimer);
                    self.note_source(group, source, SourceEvent::Timer);
                    self.expire(group, |record| record.source_timer_expired(source));
                }
                Timer::Retransmit(group) => {
                    self.note_group(group, GroupEvent::Retransmit);
                    self.transmit_specific_queries(now, group);
                }
                // The compatibility mode follows from the timers that run (`compatibility`).
                Timer::OlderHost(version, group) => {
                    // It has just been taken out of the table: the mode before is its own, or an older one's.
                    let mode = self.compatibility(group).min(version);
                    let event = CompatibilityEvent::OlderHostTimer(version);
                    self.coverage.note(Machine::IgmpCompatibility, &mode, &event);
                }
            }
        }
    }

    fn expire(&mut self, group: IpAddr, change: impl FnOnce(&mut Group)) {
        if let Some(record) = self.groups.get_mut(&group) {
            change(record);
            self.dirty.push(group);
            self.delete_if_empty(group);
        }
    }

    fn delete_if_empty(&mut self, group: IpAddr) {
        if self.groups.get(&group).is_some_and(Group::is_empty)
            && let Some(record) = self.groups.remove(&group)
        {
            record.cancel_timers(group, &mut self.timers);
        }
    }

    /// Takes a message in, or says why not.
    ///
    /// # Errors
    /// The reason why the message as a whole came to nothing; it is also counted.
    pub fn receive(&mut self, now: Time, header: &Header, message: &Message) -> Result<(), DropReason> {
        let accepted = self.check(header, message).and_then(|()| match message {
            Message::Query(query) => {
                self.counters.receive(kind_of(query));
                self.receive_query(now, header.source, query);
                Ok(())
            }
            Message::Report { .. } | Message::Leave { .. } if self.settings.deaf => Err(DropReason::Deaf),
            Message::Report { version, records } => {
                self.counters.receive(match version {
                    Version::V1 => MessageKind::ReportV1,
                    Version::V2 => MessageKind::ReportV2,
                    Version::V3 => MessageKind::ReportV3,
                });
                for record in records {
                    self.receive_record(now, header.source, *version, record);
                }
                Ok(())
            }
            Message::Leave { group } => {
                self.counters.receive(MessageKind::Leave);
                self.receive_leave(now, header.source, *group);
                Ok(())
            }
        });
        if let Err(reason) = accepted {
            self.counters.drop(reason);
        }
        accepted
    }

    /// Whether a message may count at all (§4, §9).
    fn check(&self, header: &Header, message: &Message) -> Result<(), DropReason> {
        let family = self.family;
        if self.role == Role::Down {
            return Err(DropReason::NotRunning);
        }
        if self.subnets.iter().any(|net| net.addr() == header.source) {
            return Err(DropReason::Own);
        }
        if header.ttl != 1 {
            return Err(DropReason::Ttl);
        }
        let on_link = match family {
            Family::V4 => self.subnets.iter().any(|net| net.contains(&header.source)),
            Family::V6 => is_link_local_v6(header.source),
        };
        let to_self = self.subnets.iter().any(|net| net.addr() == header.destination);
        let destination_fits = match message {
            Message::Query(query) => {
                header.destination == family.all_systems() || query.group == Some(header.destination)
            }
            Message::Report { version: Version::V3, .. } => header.destination == family.all_reports(),
            Message::Report { records, .. } => records.iter().any(|record| record.group == header.destination),
            // RFC 2236 §3: leaves may also come to the group itself.
            Message::Leave { group } => header.destination == family.all_routers() || *group == header.destination,
        };
        if !destination_fits && !to_self {
            return Err(DropReason::Destination);
        }
        match message {
            Message::Query(_) if header.source.is_unspecified() => Err(DropReason::QueryWithoutSource),
            // §4.2.13: reports may come from a host that has no address yet.
            Message::Report { .. } | Message::Leave { .. } if header.source.is_unspecified() => Ok(()),
            _ if !on_link => Err(DropReason::SourceNotOnLink),
            _ => Ok(()),
        }?;
        let required = match message {
            Message::Query(_) => false,
            Message::Report { version: Version::V3, .. } => self.settings.require_router_alert,
            Message::Report { .. } | Message::Leave { .. } => self.settings.require_router_alert_old,
        };
        if required && !header.router_alert { Err(DropReason::NoRouterAlert) } else { Ok(()) }
    }

    /// Whether [`Querier::take_actions`] or [`Querier::take_changes`] may have something to give.
    pub fn has_news(&self) -> bool {
        !self.actions.is_empty() || !self.dirty.is_empty()
    }

    /// What the machine wants done, since the last call.
    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// Groups whose filter differs from what the last call gave, with the new one; none: no member any more.
    pub fn take_changes(&mut self) -> Vec<(IpAddr, Option<SourceFilter>)> {
        let mut changes = Vec::new();
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.sort_unstable();
        dirty.dedup();
        for group in dirty {
            let filter = self.filter(group);
            if self.published.get(&group) == filter.as_ref() {
                continue;
            }
            match &filter {
                Some(filter) => self.published.insert(group, filter.clone()),
                None => self.published.remove(&group),
            };
            changes.push((group, filter));
        }
        changes
    }

    /// The filter of a group on this interface, of hosts and static joins together; none if nobody listens.
    pub fn filter(&self, group: IpAddr) -> Option<SourceFilter> {
        if self.role == Role::Down {
            return None;
        }
        let dynamic = self.groups.get(&group).map(Group::filter);
        let merged = match (dynamic, self.static_filters.get(&group)) {
            (Some(dynamic), Some(fixed)) => dynamic.merge(fixed),
            (Some(dynamic), None) => dynamic,
            (None, Some(fixed)) => fixed.clone(),
            (None, None) => return None,
        };
        (!merged.is_nothing()).then_some(merged)
    }

    /// Groups with members, with their filters.
    pub fn memberships(&self) -> &BTreeMap<IpAddr, SourceFilter> {
        &self.published
    }

    /// The group records of hosts.
    pub fn groups(&self) -> &BTreeMap<IpAddr, Group> {
        &self.groups
    }

    /// The filter that static joins give a group.
    pub fn static_filter(&self, group: IpAddr) -> Option<&SourceFilter> {
        self.static_filters.get(&group)
    }

    /// When a timer runs out, if it runs.
    pub fn deadline(&self, timer: Timer) -> Option<Time> {
        self.timers.deadline(timer)
    }

    /// A group's compatibility mode (§7.3.2).
    pub fn compatibility(&self, group: IpAddr) -> Version {
        compatibility(group, &self.timers)
    }

    /// The version that queries are sent in: the configured one, or an older querier's (§6.6.2, §7.3.1).
    pub fn version(&self) -> Version {
        [Version::V1, Version::V2]
            .into_iter()
            .find(|version| self.timers.is_running(Timer::OlderQuerier(*version)))
            .map_or(self.settings.version, |heard| heard.min(self.settings.version))
    }

    /// Whether this router is the interface's querier.
    pub fn is_querier(&self) -> bool {
        matches!(self.role, Role::Querier { .. })
    }

    /// The querier, this router or another; none while the interface is down.
    pub fn querier(&self) -> Option<IpAddr> {
        match self.role {
            Role::Down => None,
            Role::Querier { .. } => self.address,
            Role::NonQuerier { querier, .. } => Some(querier),
        }
    }

    /// The address that queries come from, while the interface has one.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// The variables in force.
    pub fn variables(&self) -> Variables {
        match self.role {
            Role::NonQuerier { variables, .. } => variables,
            Role::Down | Role::Querier { .. } => self.settings.variables(),
        }
    }

    /// What the machine has been through.
    pub fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    fn note(&mut self, event: QuerierEvent) {
        let role = match self.role {
            Role::Down => cover::Role::Down,
            Role::Querier { startup_left: 0 } => cover::Role::Querier,
            Role::Querier { .. } => cover::Role::Starting,
            Role::NonQuerier { .. } => cover::Role::NonQuerier,
        };
        self.coverage.note(Machine::IgmpQuerier, &role, &event);
    }

    fn note_group(&mut self, group: IpAddr, event: GroupEvent) {
        self.coverage.note(Machine::IgmpGroup, &cover::Group::of(self.groups.get(&group)), &event);
    }

    fn note_source(&mut self, group: IpAddr, source: IpAddr, event: SourceEvent) {
        self.coverage.note(Machine::IgmpSource, &Source::of(self.groups.get(&group), source), &event);
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The counters.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The counters, for what is refused before it gets here.
    pub fn counters_mut(&mut self) -> &mut Counters {
        &mut self.counters
    }
}

fn is_link_local_v6(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.segments()[0] & 0xffc0 == 0xfe80)
}

/// The kind of a query.
pub fn kind_of(query: &Query) -> MessageKind {
    match (query.group, query.sources.is_empty()) {
        (None, _) => MessageKind::GeneralQuery,
        (Some(_), true) => MessageKind::GroupQuery,
        (Some(_), false) => MessageKind::SourceQuery,
    }
}
