//! What is kept for a source and a group (RFC 3973 §4.1.2).

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{assert, downstream, origination, upstream};
use crate::forwarding::{EntryKey, ForwardingEntry};
use crate::pim::mrib::Rpf;
use crate::router::InterfaceId;
use crate::time::Time;
use crate::wire::pim::HOLD_FOR_EVER;

/// State of (S,G).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    /// The way to the source; none without a route.
    pub rpf: Option<Rpf>,
    /// `RPF'(S,G)` as the upstream machine knows it; none while the source is directly connected or unreachable.
    pub rpf_neighbour: Option<IpAddr>,
    /// Whether the upstream machine knows the source as directly connected.
    pub directly_connected: bool,
    /// Whether `olist(S,G)` was NULL when it was last looked at.
    pub olist_is_null: bool,
    /// UpstreamPState(S,G).
    pub upstream: upstream::State,
    /// How often the graft under way is still sent again.
    pub grafts_left: u32,
    /// Of the Origination(S,G) machine.
    pub origination: origination::State,
    /// State refresh messages originated so far, for the Prune Now flag.
    pub originated: u32,
    /// When the last state refresh was accepted.
    pub refreshed: Option<Time>,
    /// Interfaces with state of their own; one without is in NoInfo state everywhere.
    pub interfaces: BTreeMap<InterfaceId, InterfaceEntry>,
    /// Whether data was seen: until then the kernel is given no entry, so that it tells of the first packet.
    pub data_seen: bool,
    /// Whether there has been a route to the source.
    pub was_routed: bool,
    /// Where data last came by while there was none.
    pub unrouted: Option<InterfaceId>,
    /// What the kernel was given.
    pub installed: Option<ForwardingEntry>,
}

/// State of (S,G,I).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct InterfaceEntry {
    /// DownstreamPState(S,G,I).
    pub downstream: downstream::State,
    /// Largest hold time of a prune that is active, in seconds.
    pub prune_hold_time: u16,
    /// The Assert(S,G,I) machine.
    pub assert: assert::State,
    /// Hold time of the last prune that a loser has sent the winner, in seconds.
    pub said: u16,
    /// Until then it sends no further one because of what the winner forwards.
    pub reminder: Option<Time>,
}

impl InterfaceEntry {
    /// Whether there is nothing to remember.
    pub fn is_idle(&self) -> bool {
        self.downstream == downstream::State::NoInfo && self.assert == assert::State::NoInfo
    }

    /// Notes the hold time of a prune that is active with others.
    pub fn hold(&mut self, hold_time: u16) {
        self.prune_hold_time = self.prune_hold_time.max(hold_time);
    }

    /// Whether it is pruned until a join or graft.
    pub fn is_pruned_for_ever(&self) -> bool {
        self.downstream == downstream::State::Pruned && self.holds_for_ever()
    }

    /// Whether the active prune never runs out.
    pub fn holds_for_ever(&self) -> bool {
        self.prune_hold_time == HOLD_FOR_EVER
    }
}

impl Entry {
    /// DownstreamPState(S,G,I).
    pub fn downstream(&self, interface: InterfaceId) -> downstream::State {
        self.interfaces.get(&interface).map(|state| state.downstream).unwrap_or_default()
    }

    /// State of the Assert(S,G,I) machine.
    pub fn assert(&self, interface: InterfaceId) -> assert::State {
        self.interfaces.get(&interface).map(|state| state.assert).unwrap_or_default()
    }

    /// `RPF_interface(S)`.
    pub fn rpf_interface(&self) -> Option<InterfaceId> {
        self.rpf.map(|rpf| rpf.interface)
    }
}

/// Timers by their RFC names (§4.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// GRT(S,G).
    GraftRetry(EntryKey),
    /// OT(S,G).
    Override(EntryKey),
    /// PLT(S,G).
    PruneLimit(EntryKey),
    /// SAT(S,G).
    SourceActive(EntryKey),
    /// SRT(S,G).
    StateRefresh(EntryKey),
    /// PPT(S,G,I).
    PrunePending(EntryKey, InterfaceId),
    /// PT(S,G,I).
    Prune(EntryKey, InterfaceId),
    /// AT(S,G,I).
    Assert(EntryKey, InterfaceId),
    /// The end of an entry that nothing uses; the RFC leaves it open.
    Idle(EntryKey),
    /// How long the kernel keeps an entry that forwards nowhere, given for data by another interface than the RPF interface.
    Swallow(EntryKey),
}

impl Timer {
    /// Timers of an entry, with their RFC names.
    pub fn of_entry(key: EntryKey) -> [(&'static str, Timer); 5] {
        [
            ("GRT", Timer::GraftRetry(key)),
            ("OT", Timer::Override(key)),
            ("PLT", Timer::PruneLimit(key)),
            ("SAT", Timer::SourceActive(key)),
            ("SRT", Timer::StateRefresh(key)),
        ]
    }

    /// Timers of an entry's interface, with their RFC names.
    pub fn of_interface(key: EntryKey, interface: InterfaceId) -> [(&'static str, Timer); 3] {
        [
            ("PPT", Timer::PrunePending(key, interface)),
            ("PT", Timer::Prune(key, interface)),
            ("AT", Timer::Assert(key, interface)),
        ]
    }
}
