//! What is noted of the membership machines' way (see [`crate::coverage`]): their states and events by name. The machines themselves are
//! sets and timers; these are the cases that RFC 9776 tells apart.

use std::net::IpAddr;

use super::group;
use super::message::{RecordKind, Version};
use super::transition::FilterState;
use crate::named;

/// An interface's part in the election (§6.6.2); `Starting` is a querier with startup queries to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The interface is down.
    Down,
    /// Querier, at start.
    Starting,
    /// Querier.
    Querier,
    /// Another is.
    NonQuerier,
}

named!(Role {
    "down" => Role::Down,
    "starting" => Role::Starting,
    "querier" => Role::Querier,
    "non-querier" => Role::NonQuerier,
});

/// What happens to a querier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuerierEvent {
    /// The interface comes up.
    InterfaceUp,
    /// The interface goes down.
    InterfaceDown,
    /// The time of the next general query has come.
    GeneralQueryTimer,
    /// The other querier present timer runs out.
    OtherQuerierPresentTimer,
    /// The older querier present timer runs out.
    OlderQuerierTimer,
    /// A query from a lower address.
    QueryFromLower,
    /// A query from a higher address.
    QueryFromHigher,
    /// A query of an older version than this router's.
    OlderQuery,
}

named!(QuerierEvent {
    "interface-up" => QuerierEvent::InterfaceUp,
    "interface-down" => QuerierEvent::InterfaceDown,
    "general-query-timer" => QuerierEvent::GeneralQueryTimer,
    "other-querier-present-timer" => QuerierEvent::OtherQuerierPresentTimer,
    "older-querier-timer" => QuerierEvent::OlderQuerierTimer,
    "query-from-lower" => QuerierEvent::QueryFromLower,
    "query-from-higher" => QuerierEvent::QueryFromHigher,
    "older-query" => QuerierEvent::OlderQuery,
});

/// A group's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// There is none: `INCLUDE ()`.
    None,
    /// `INCLUDE (A)`.
    Include,
    /// `EXCLUDE (X,Y)`.
    Exclude,
}

named!(Group { "none" => Group::None, "include" => Group::Include, "exclude" => Group::Exclude });

impl Group {
    /// The case of a record.
    pub fn of(record: Option<&group::Group>) -> Group {
        match record {
            None => Group::None,
            Some(record) if record.is_empty() => Group::None,
            Some(record) => match record.state {
                FilterState::Include(_) => Group::Include,
                FilterState::Exclude { .. } => Group::Exclude,
            },
        }
    }
}

/// What happens to a group's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupEvent {
    /// A group record of a report.
    Record(RecordKind),
    /// The group timer runs out.
    GroupTimer,
    /// A source timer runs out.
    SourceTimer,
    /// Specific queries are sent again.
    Retransmit,
    /// Another router's query about the group.
    GroupQuery,
    /// Another router's query about sources of it.
    SourceQuery,
}

named!(GroupEvent {
    "is-in" => GroupEvent::Record(RecordKind::IsInclude),
    "is-ex" => GroupEvent::Record(RecordKind::IsExclude),
    "to-in" => GroupEvent::Record(RecordKind::ToInclude),
    "to-ex" => GroupEvent::Record(RecordKind::ToExclude),
    "allow" => GroupEvent::Record(RecordKind::Allow),
    "block" => GroupEvent::Record(RecordKind::Block),
    "unknown-record" => GroupEvent::Record(RecordKind::Unknown(_)),
    "group-timer" => GroupEvent::GroupTimer,
    "source-timer" => GroupEvent::SourceTimer,
    "retransmit" => GroupEvent::Retransmit,
    "group-query" => GroupEvent::GroupQuery,
    "source-query" => GroupEvent::SourceQuery,
});

/// A source of a group's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// It is in no list.
    Unlisted,
    /// In A of `INCLUDE (A)`.
    Included,
    /// In X of `EXCLUDE (X,Y)`.
    Requested,
    /// In Y of `EXCLUDE (X,Y)`.
    Blocked,
}

named!(Source {
    "unlisted" => Source::Unlisted,
    "included" => Source::Included,
    "requested" => Source::Requested,
    "blocked" => Source::Blocked,
});

impl Source {
    /// The case of a source in a record.
    pub fn of(record: Option<&group::Group>, source: IpAddr) -> Source {
        match record.map(|record| &record.state) {
            Some(FilterState::Include(sources)) if sources.contains(&source) => Source::Included,
            Some(FilterState::Exclude { requested, .. }) if requested.contains(&source) => Source::Requested,
            Some(FilterState::Exclude { blocked, .. }) if blocked.contains(&source) => Source::Blocked,
            _ => Source::Unlisted,
        }
    }
}

/// What happens to a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceEvent {
    /// A group record names it.
    Named(RecordKind),
    /// Its timer runs out.
    Timer,
    /// Another router's query about it.
    Query,
}

named!(SourceEvent {
    "in-is-in" => SourceEvent::Named(RecordKind::IsInclude),
    "in-is-ex" => SourceEvent::Named(RecordKind::IsExclude),
    "in-to-in" => SourceEvent::Named(RecordKind::ToInclude),
    "in-to-ex" => SourceEvent::Named(RecordKind::ToExclude),
    "in-allow" => SourceEvent::Named(RecordKind::Allow),
    "in-block" => SourceEvent::Named(RecordKind::Block),
    "in-unknown-record" => SourceEvent::Named(RecordKind::Unknown(_)),
    "source-timer" => SourceEvent::Timer,
    "source-query" => SourceEvent::Query,
});

named!(Version { "v1" => Version::V1, "v2" => Version::V2, "v3" => Version::V3 });

/// What happens to a group's compatibility mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompatibilityEvent {
    /// A report of a version.
    Report(Version),
    /// The older host present timer of a version runs out.
    OlderHostTimer(Version),
}

named!(CompatibilityEvent {
    "v1-report" => CompatibilityEvent::Report(Version::V1),
    "v2-report" => CompatibilityEvent::Report(Version::V2),
    "v3-report-or-leave" => CompatibilityEvent::Report(Version::V3),
    "v1-host-timer" => CompatibilityEvent::OlderHostTimer(Version::V1),
    // Only versions 1 and 2 have one.
    "v2-host-timer" => CompatibilityEvent::OlderHostTimer(Version::V2 | Version::V3),
});
