//! The kernel's part in IGMP on an interface, as Linux plays it (`net/ipv4/igmp.c`; RFC 1112, RFC 2236 §3, RFC 9776 §5 and §7.2): reports
//! what sockets have joined, in the version that it is told to or that the queriers there speak.
//!
//! Like every protocol machine it has no clock: times come from its caller, messages are taken from it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use router_core::random::Random;
use router_core::wire::igmp::{ALL_ROUTERS, ALL_SYSTEMS, ALL_V3_ROUTERS, Message, QueryV3, Record, RecordKind, decode};

use crate::network::Time;
use crate::topology::steps::SourceFilter;

/// The kernel's timers run on ticks (HZ=250).
const TICK: Duration = Duration::from_millis(4);
const TENTH: Duration = Duration::from_millis(100);
/// `IGMP_QUERY_INTERVAL` and `IGMP_QUERY_RESPONSE_INTERVAL`.
const QUERY_INTERVAL: Duration = Duration::from_secs(125);
const QUERY_RESPONSE_INTERVAL: Duration = Duration::from_secs(10);
/// `igmp_qrv`: the robustness that counts until a querier says another.
const ROBUSTNESS: u8 = 2;
/// Octets of the IPv4 header with Router Alert, and of a version 3 report before its records.
const HEADERS: usize = 24 + 8;
const RECORD_HEADER: usize = 8;

/// What an interface's IGMP is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `force_igmp_version`.
    pub forced: Option<u8>,
    /// Unsolicited report interval of versions 1 and 2.
    pub unsolicited_old: Duration,
    /// That of version 3.
    pub unsolicited_new: Duration,
    /// The interface's MTU.
    pub mtu: u32,
}

/// A message and where it goes.
pub type Sent = (Ipv4Addr, Message);

/// IGMP on an interface.
#[derive(Debug)]
pub struct IgmpHost {
    settings: Settings,
    random: Random,
    is_up: bool,
    groups: BTreeMap<Ipv4Addr, Group>,
    /// Groups that were left, with what is still to be said of it (version 3).
    left: BTreeMap<Ipv4Addr, Left>,
    version_1_until: Time,
    version_2_until: Time,
    robustness: u8,
    query_interval: Duration,
    /// When a general query of version 3 is answered.
    general: Option<Time>,
    /// When changes are reported (version 3), and how often they still are.
    change: Option<Time>,
    changes: u8,
    outbox: Vec<Sent>,
}

#[derive(Clone, Debug)]
struct Group {
    filter: SourceFilter,
    /// When it is reported: because it was asked about, or unasked (versions 1 and 2).
    timer: Option<Time>,
    /// Of what sources it was asked; none: of all.
    asked: Option<BTreeSet<Ipv4Addr>>,
    /// Unsolicited reports still to come (versions 1 and 2).
    unsolicited: u8,
    /// Whether this host was the last to report it.
    is_reporter: bool,
    /// Retransmissions of a change of mode, and of changes of single sources (version 3).
    mode_changes: u8,
    allow: BTreeMap<Ipv4Addr, u8>,
    block: BTreeMap<Ipv4Addr, u8>,
}

#[derive(Clone, Debug)]
struct Left {
    /// It was left from exclude mode: a change to include mode says so; else sources are blocked.
    mode_changes: u8,
    block: BTreeMap<Ipv4Addr, u8>,
}

impl IgmpHost {
    /// On an interface that is up, without members.
    pub fn new(settings: Settings, random: Random) -> IgmpHost {
        IgmpHost {
            settings,
            random,
            is_up: true,
            groups: BTreeMap::new(),
            left: BTreeMap::new(),
            version_1_until: Time::ZERO,
            version_2_until: Time::ZERO,
            robustness: ROBUSTNESS,
            query_interval: QUERY_INTERVAL,
            general: None,
            change: None,
            changes: 0,
            outbox: Vec::new(),
        }
    }

    /// The groups that are joined.
    pub fn groups(&self) -> Vec<Ipv4Addr> {
        self.groups.keys().copied().collect()
    }

    /// Whether a packet of a group is taken in: to all systems always.
    pub fn is_member(&self, group: Ipv4Addr) -> bool {
        group == ALL_SYSTEMS || self.groups.contains_key(&group)
    }

    /// Whether sockets want packets of a source to a group.
    pub fn admits(&self, source: IpAddr, group: Ipv4Addr) -> bool {
        self.groups.get(&group).is_some_and(|known| known.filter.admits(source))
    }

    /// The whole filter that sockets have for a group from now on: to include nothing is to leave.
    pub fn set_filter(&mut self, now: Time, group: Ipv4Addr, filter: SourceFilter) {
        if filter.is_nothing() {
            if let Some(known) = self.groups.remove(&group) {
                self.leave(now, group, &known);
            }
            return;
        }
        let robustness = self.robustness;
        match self.groups.get_mut(&group) {
            None => {
                self.left.remove(&group);
                self.groups.insert(group, Group::new(filter));
                self.added(now, group);
            }
            Some(known) if known.filter == filter => {}
            Some(known) => {
                known.change(filter, robustness);
                self.report_changes(now);
            }
        }
    }

    /// The interface was taken up or down by its administrator. What is joined stays, and is reported anew.
    pub fn set_up(&mut self, now: Time, up: bool) {
        if self.is_up == up {
            return;
        }
        self.is_up = up;
        (self.general, self.change, self.changes) = (None, None, 0);
        self.left.clear();
        for group in self.groups.values_mut() {
            *group = Group::new(group.filter.clone());
        }
        if up {
            (self.robustness, self.query_interval) = (ROBUSTNESS, QUERY_INTERVAL);
            for group in self.groups() {
                self.added(now, group);
            }
        }
    }

    /// A message of another's was heard.
    pub fn hear(&mut self, now: Time, message: &Message) {
        if !self.is_up {
            return;
        }
        match message {
            Message::QueryV1 => {
                self.version_1_until = now + self.older_querier_present();
                self.stop_version_3();
                self.ask(now, Ipv4Addr::UNSPECIFIED, &[], QUERY_RESPONSE_INTERVAL);
            }
            Message::QueryV2 { max_resp_time, group } => {
                self.version_2_until = now + self.older_querier_present();
                self.stop_version_3();
                self.ask(now, *group, &[], TENTH * u32::from(*max_resp_time));
            }
            Message::QueryV3(query) => self.hear_version_3(now, query),
            Message::ReportV1 { group } | Message::ReportV2 { group } => {
                // Somebody else has said it.
                if let Some(known) = self.groups.get_mut(group) {
                    known.fall_silent();
                }
            }
            Message::LeaveV2 { .. } | Message::ReportV3 { .. } => {}
        }
    }

    /// When [`IgmpHost::timeout`] has something to do.
    pub fn next(&self) -> Option<Time> {
        self.groups.values().filter_map(|group| group.timer).chain(self.general).chain(self.change).min()
    }

    /// Does what is due.
    pub fn timeout(&mut self, now: Time) {
        for group in self.groups() {
            if self.groups.get(&group).and_then(|known| known.timer).is_some_and(|due| due <= now) {
                self.group_due(now, group);
            }
        }
        if self.general.is_some_and(|due| due <= now) {
            self.general = None;
            let records = self.groups.iter().map(|(group, known)| known.state(*group)).collect();
            self.send_records(records);
        }
        if self.change.is_some_and(|due| due <= now) {
            self.change = None;
            let records = self.change_records();
            self.send_records(records);
            if self.changes > 0 {
                self.changes -= 1;
                self.change = Some(self.after(now, self.unsolicited_interval(now)));
            }
        }
    }

    /// Takes the messages to send.
    pub fn take(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.outbox)
    }

    fn version(&self, now: Time) -> u8 {
        match self.settings.forced {
            Some(version) if version < 3 => version,
            _ if now < self.version_1_until => 1,
            _ if now < self.version_2_until => 2,
            _ => 3,
        }
    }

    fn older_querier_present(&self) -> Duration {
        self.query_interval * u32::from(self.robustness) + QUERY_RESPONSE_INTERVAL.min(self.query_interval)
    }

    fn unsolicited_interval(&self, now: Time) -> Duration {
        if self.version(now) < 3 { self.settings.unsolicited_old } else { self.settings.unsolicited_new }
    }

    /// A random moment within a time from now, on a tick of the kernel's clock that is at least one whole tick away.
    fn after(&mut self, now: Time, within: Duration) -> Time {
        let at = now + self.random.up_to(within.saturating_sub(TICK)) + TICK;
        let tick = TICK.as_nanos() as u64;
        Time(at.as_nanos().div_ceil(tick) * tick)
    }

    /// A group is new on the interface.
    fn added(&mut self, now: Time, group: Ipv4Addr) {
        if !self.is_up {
            return;
        }
        let version = self.version(now);
        let robustness = self.robustness;
        let at = self.after(now, Duration::ZERO);
        let Some(known) = self.groups.get_mut(&group) else { return };
        if version < 3 {
            known.unsolicited = ROBUSTNESS;
            known.timer = Some(at);
            return;
        }
        match &known.filter {
            SourceFilter::Exclude(_) => known.mode_changes = robustness,
            SourceFilter::Include(sources) => known.allow = counted(&v4(sources), robustness),
        }
        self.report_changes(now);
    }

    fn leave(&mut self, now: Time, group: Ipv4Addr, known: &Group) {
        if !self.is_up {
            return;
        }
        match self.version(now) {
            1 => {}
            2 => {
                if known.is_reporter {
                    self.outbox.push((ALL_ROUTERS, Message::LeaveV2 { group }));
                }
            }
            _ => {
                let robustness = self.robustness;
                let left = match &known.filter {
                    SourceFilter::Exclude(_) => Left { mode_changes: robustness, block: BTreeMap::new() },
                    SourceFilter::Include(sources) => {
                        let mut block = known.block.clone();
                        block.extend(counted(&v4(sources), robustness));
                        Left { mode_changes: 0, block }
                    }
                };
                self.left.insert(group, left);
                self.report_changes(now);
            }
        }
    }

    /// Has changes reported soon (version 3), and as often again as the robustness says.
    fn report_changes(&mut self, now: Time) {
        if self.is_up && self.version(now) == 3 {
            self.changes = self.robustness;
            self.change = Some(self.after(now, Duration::ZERO));
        }
    }

    fn stop_version_3(&mut self) {
        (self.change, self.changes) = (None, 0);
        self.left.clear();
    }

    fn hear_version_3(&mut self, now: Time, query: &QueryV3) {
        match self.version(now) {
            // RFC 9776 §7.2.1: it answers as the older version would.
            1 => self.ask(now, Ipv4Addr::UNSPECIFIED, &[], QUERY_RESPONSE_INTERVAL),
            2 => self.ask(now, query.group, &[], TENTH * u32::from(decode(query.max_resp_code))),
            _ => {
                let response = TENTH * u32::from(decode(query.max_resp_code));
                self.robustness = if query.qrv == 0 { ROBUSTNESS } else { query.qrv };
                self.query_interval = match decode(query.qqic) {
                    0 => QUERY_INTERVAL,
                    seconds => Duration::from_secs(seconds.into()),
                };
                if !query.group.is_unspecified() {
                    self.ask(now, query.group, &query.sources, response);
                } else if query.sources.is_empty() {
                    let at = self.after(now, response);
                    if self.general.is_none_or(|pending| at < pending) {
                        self.general = Some(at);
                    }
                }
            }
        }
    }

    /// Schedules the answers of groups that a query asks about, each by a timer of its own.
    fn ask(&mut self, now: Time, group: Ipv4Addr, sources: &[Ipv4Addr], response: Duration) {
        let response = response.max(TICK);
        for asked in self.groups() {
            if !group.is_unspecified() && asked != group {
                continue;
            }
            let Some(known) = self.groups.get_mut(&asked) else { continue };
            // What is to be answered about all sources already stays so.
            let whole = sources.is_empty() || (known.timer.is_some() && known.asked.is_none());
            if whole {
                known.asked = None;
            } else if !known.mark(sources) {
                continue;
            }
            // A timer that runs out in time stays, a longer one starts anew (RFC 2236 §3).
            if known.timer.is_some_and(|due| due.since(now) < response) {
                continue;
            }
            let at = self.after(now, response);
            if let Some(known) = self.groups.get_mut(&asked) {
                known.timer = Some(at);
            }
        }
    }

    fn group_due(&mut self, now: Time, group: Ipv4Addr) {
        let version = self.version(now);
        let again = self.after(now, self.unsolicited_interval(now));
        let Some(known) = self.groups.get_mut(&group) else { return };
        known.unsolicited = known.unsolicited.saturating_sub(1);
        known.timer = (known.unsolicited > 0).then_some(again);
        known.is_reporter = true;
        match version {
            1 => self.outbox.push((group, Message::ReportV1 { group })),
            2 => self.outbox.push((group, Message::ReportV2 { group })),
            _ => {
                let record = known.answer(group);
                self.send_records(record.into_iter().collect());
            }
        }
    }

    /// The records of a report of changes (RFC 9776 §5.1); each takes one of its retransmissions.
    fn change_records(&mut self) -> Vec<Record> {
        let mut records = Vec::new();
        for (group, left) in &mut self.left {
            push_sources(&mut records, RecordKind::Block, *group, &mut left.block);
            if left.mode_changes > 0 {
                left.mode_changes -= 1;
                records.push(Record { kind: RecordKind::ToInclude, group: *group, sources: Vec::new() });
            }
        }
        self.left.retain(|_, left| left.mode_changes > 0 || !left.block.is_empty());
        for (group, known) in &mut self.groups {
            push_sources(&mut records, RecordKind::Allow, *group, &mut known.allow);
            push_sources(&mut records, RecordKind::Block, *group, &mut known.block);
            if known.mode_changes > 0 {
                known.mode_changes -= 1;
                let (kind, sources) = match &known.filter {
                    SourceFilter::Include(sources) => (RecordKind::ToInclude, v4(sources)),
                    SourceFilter::Exclude(sources) => (RecordKind::ToExclude, v4(sources)),
                };
                records.push(Record { kind, group: *group, sources: sources.into_iter().collect() });
            }
        }
        records
    }

    /// Sends records in as many reports as the MTU asks for (RFC 9776 §4.2.17).
    fn send_records(&mut self, records: Vec<Record>) {
        let room = (self.settings.mtu as usize).saturating_sub(HEADERS).max(RECORD_HEADER + 4);
        let sources_max = (room - RECORD_HEADER) / 4;
        let (mut batch, mut used) = (Vec::new(), 0);
        for record in records.into_iter().flat_map(|record| split(record, sources_max)) {
            let octets = RECORD_HEADER + 4 * record.sources.len();
            if used + octets > room && !batch.is_empty() {
                let records = std::mem::take(&mut batch);
                self.outbox.push((ALL_V3_ROUTERS, Message::ReportV3 { records }));
                used = 0;
            }
            used += octets;
            batch.push(record);
        }
        if !batch.is_empty() {
            self.outbox.push((ALL_V3_ROUTERS, Message::ReportV3 { records: batch }));
        }
    }
}

impl Group {
    fn new(filter: SourceFilter) -> Group {
        Group {
            filter,
            timer: None,
            asked: None,
            unsolicited: 0,
            is_reporter: false,
            mode_changes: 0,
            allow: BTreeMap::new(),
            block: BTreeMap::new(),
        }
    }

    /// Takes another filter, and notes what is to be said of it.
    fn change(&mut self, to: SourceFilter, robustness: u8) {
        use SourceFilter::{Exclude, Include};
        let (allowed, blocked) = match (&self.filter, &to) {
            (Include(before), Include(after)) => (after - before, before - after),
            (Exclude(before), Exclude(after)) => (before - after, after - before),
            (Include(_), Exclude(_)) | (Exclude(_), Include(_)) => {
                self.mode_changes = robustness;
                self.allow.clear();
                self.block.clear();
                self.filter = to;
                return;
            }
        };
        for source in v4(&allowed) {
            self.block.remove(&source);
            self.allow.insert(source, robustness);
        }
        for source in v4(&blocked) {
            self.allow.remove(&source);
            self.block.insert(source, robustness);
        }
        self.filter = to;
    }

    /// Notes a question about sources; false if there is nothing to say about them.
    fn mark(&mut self, sources: &[Ipv4Addr]) -> bool {
        match &self.filter {
            // Linux answers with its whole state unless it wants none of them.
            SourceFilter::Exclude(excluded) => {
                self.asked = None;
                !sources.iter().all(|source| excluded.contains(&IpAddr::V4(*source)))
            }
            SourceFilter::Include(included) => {
                let wanted = sources.iter().filter(|source| included.contains(&IpAddr::V4(**source)));
                let before = self.asked.get_or_insert_default();
                let known = before.len();
                before.extend(wanted);
                if before.is_empty() {
                    self.asked = None;
                    return false;
                }
                before.len() > known || self.timer.is_some()
            }
        }
    }

    fn fall_silent(&mut self) {
        (self.timer, self.asked, self.unsolicited, self.is_reporter) = (None, None, 0, false);
    }

    /// Its current-state record.
    fn state(&self, group: Ipv4Addr) -> Record {
        let (kind, sources) = match &self.filter {
            SourceFilter::Include(sources) => (RecordKind::IsInclude, v4(sources)),
            SourceFilter::Exclude(sources) => (RecordKind::IsExclude, v4(sources)),
        };
        Record { kind, group, sources: sources.into_iter().collect() }
    }

    /// Its answer to a question about it.
    fn answer(&mut self, group: Ipv4Addr) -> Option<Record> {
        match (self.asked.take(), &self.filter) {
            (Some(asked), SourceFilter::Include(included)) => {
                let sources: Vec<Ipv4Addr> =
                    asked.into_iter().filter(|source| included.contains(&IpAddr::V4(*source))).collect();
                (!sources.is_empty()).then_some(Record { kind: RecordKind::IsInclude, group, sources })
            }
            _ => Some(self.state(group)),
        }
    }
}

fn v4(sources: &BTreeSet<IpAddr>) -> BTreeSet<Ipv4Addr> {
    let only = |source: &IpAddr| if let IpAddr::V4(source) = source { Some(*source) } else { None };
    sources.iter().filter_map(only).collect()
}

fn counted(sources: &BTreeSet<Ipv4Addr>, times: u8) -> BTreeMap<Ipv4Addr, u8> {
    sources.iter().map(|source| (*source, times)).collect()
}

/// Adds a record of the sources that still have retransmissions, and takes one of each.
fn push_sources(records: &mut Vec<Record>, kind: RecordKind, group: Ipv4Addr, left: &mut BTreeMap<Ipv4Addr, u8>) {
    let sources: Vec<Ipv4Addr> = left.keys().copied().collect();
    left.retain(|_, times| {
        *times = times.saturating_sub(1);
        *times > 0
    });
    if !sources.is_empty() {
        records.push(Record { kind, group, sources });
    }
}

/// A record that fits a report: lists that may be split are, those of an exclude mode are cut (RFC 9776 §4.2.17).
fn split(record: Record, sources_max: usize) -> Vec<Record> {
    if record.sources.len() <= sources_max {
        return vec![record];
    }
    let part = |sources: &[Ipv4Addr]| Record { sources: sources.to_vec(), ..record.clone() };
    let parts = record.sources.chunks(sources_max).map(part);
    if matches!(record.kind, RecordKind::IsExclude | RecordKind::ToExclude) {
        parts.take(1).collect()
    } else {
        parts.collect()
    }
}

#[cfg(test)]
#[path = "host_tests.rs"]
mod tests;
