//! Hearing reports and leaves (RFC 9776 §6.4, §7.3.2).

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Action, Querier, Timer};
use crate::counters::DropReason;
use crate::coverage::Machine;
use crate::membership::cover::{CompatibilityEvent, GroupEvent, SourceEvent};
use crate::membership::group::Group;
use crate::membership::message::{Record, RecordKind, Version};
use crate::membership::transition::{fast_transition, transition};
use crate::time::Time;

impl Querier {
    /// One group record of a report, whose version is `version`.
    pub(super) fn receive_record(&mut self, now: Time, from: IpAddr, version: Version, record: &Record) {
        let group = record.group;
        if let Err(reason) = self.check_group(group) {
            self.counters.drop(reason);
            return;
        }
        let (kind, sources) = match self.settings.version {
            Version::V3 => (record.kind, record.sources.clone()),
            // A router of an older version knows no sources: whoever wants some is a member, whoever wants none leaves.
            Version::V1 | Version::V2 => match (record.kind, record.sources.is_empty()) {
                (RecordKind::IsExclude | RecordKind::ToExclude, _)
                | (RecordKind::IsInclude | RecordKind::ToInclude | RecordKind::Allow, false) => {
                    (RecordKind::IsExclude, BTreeSet::new())
                }
                (RecordKind::ToInclude, true) => (RecordKind::ToInclude, BTreeSet::new()),
                (RecordKind::IsInclude | RecordKind::Allow, true) => return,
                (RecordKind::Block, _) => {
                    self.counters.drop(DropReason::OlderHost);
                    return;
                }
                (RecordKind::Unknown(_), _) => (record.kind, BTreeSet::new()),
            },
        };
        self.apply_record(now, from, group, kind, sources, version);
    }

    /// A version 2 leave: `TO_IN ({})` (§7.3.2).
    pub(super) fn receive_leave(&mut self, now: Time, from: IpAddr, group: IpAddr) {
        match self.check_group(group) {
            Ok(()) => self.apply_record(now, from, group, RecordKind::ToInclude, BTreeSet::new(), Version::V3),
            Err(reason) => self.counters.drop(reason),
        }
    }

    fn check_group(&self, group: IpAddr) -> Result<(), DropReason> {
        if !self.family.is_group(group) {
            Err(DropReason::NotAGroup)
        } else if self.family.is_link_local(group) {
            Err(DropReason::LinkLocalGroup)
        } else if !self.settings.allows(group) {
            Err(DropReason::GroupNotAllowed)
        } else {
            Ok(())
        }
    }

    fn apply_record(
        &mut self,
        now: Time,
        from: IpAddr,
        group: IpAddr,
        kind: RecordKind,
        sources: BTreeSet<IpAddr>,
        version: Version,
    ) {
        // §7.3.2: the report itself switches the compatibility mode, before it is acted upon.
        let before = self.compatibility(group);
        self.coverage.note(Machine::IgmpCompatibility, &before, &CompatibilityEvent::Report(version));
        let mode = before.min(version);
        let (kind, mut sources) = match (mode, kind) {
            (Version::V1, RecordKind::ToInclude) | (Version::V1 | Version::V2, RecordKind::Block) => {
                self.counters.drop(DropReason::OlderHost);
                return;
            }
            (Version::V1 | Version::V2, RecordKind::ToExclude) => (kind, BTreeSet::new()),
            _ => (kind, sources),
        };
        // Version 1 has no leaves (§7.3.1).
        if self.version() == Version::V1 && kind == RecordKind::ToInclude && sources.is_empty() {
            self.counters.drop(DropReason::OlderHost);
            return;
        }
        self.note_group(group, GroupEvent::Record(kind));
        for source in &sources {
            self.note_source(group, *source, SourceEvent::Named(kind));
        }
        let known = self.groups.get(&group);
        let is_new = known.is_none();
        let mut record = known.cloned().unwrap_or_default();
        self.keep_valid_sources(&record, kind, &mut sources);

        let row = if self.settings.fast_leave {
            fast_transition(&record.state, kind, &sources)
        } else {
            transition(&record.state, kind, &sources)
        };
        let Some(row) = row else {
            self.counters.drop(DropReason::UnknownRecord);
            return;
        };
        if is_new {
            let mut after = Group::new();
            after.state = row.state.clone();
            if after.is_empty() {
                return;
            }
            if self.groups.len() >= self.settings.groups_max {
                self.counters.drop(DropReason::GroupLimit);
                self.actions.push(Action::GroupLimit);
                return;
            }
        }
        let variables = self.variables();
        record.apply(group, &row, now, variables.group_membership_interval(), &mut self.timers);
        record.last_reporter = Some(from);
        self.groups.insert(group, record);
        if version < Version::V3 {
            let present = now + variables.older_version_present_interval();
            self.timers.set(Timer::OlderHost(version, group), present);
        }
        self.dirty.push(group);
        self.start_specific_queries(now, group, &row.query_sources, row.query_group);
        self.delete_if_empty(group);
    }

    /// Takes out of a record's sources what no packet can come from, and what would exceed the limit: the sources that the
    /// group knows stay, new ones are added in the order of their addresses while there is room.
    fn keep_valid_sources(&mut self, record: &Group, kind: RecordKind, sources: &mut BTreeSet<IpAddr>) {
        if sources.is_empty() {
            return;
        }
        let all = sources.len();
        sources.retain(|source| self.family.is_source(*source));
        for _ in sources.len()..all {
            self.counters.drop(DropReason::NotASource);
        }
        let (known, new): (BTreeSet<IpAddr>, BTreeSet<IpAddr>) =
            sources.iter().partition(|source| record.knows(**source));
        let held = match kind {
            // What is not in the new list is deleted.
            RecordKind::IsExclude | RecordKind::ToExclude => known.len(),
            _ => record.source_count(),
        };
        let room = self.settings.sources_max.saturating_sub(held);
        if new.len() > room {
            for source in new.iter().skip(room) {
                sources.remove(source);
                self.counters.drop(DropReason::SourceLimit);
            }
            self.actions.push(Action::SourceLimit);
        }
    }
}
