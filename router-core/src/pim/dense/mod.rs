//! PIM dense mode (RFC 3973): flood, prune what nobody wants, graft it back.
//!
//! [`Dense`] holds the state of every source and group and feeds four machines for each, every one a pure transition function in a
//! file of its own: [`upstream`], [`downstream`], [`mod@assert`] and [`origination`]. [`macros`] are the RFC's. After whatever happens,
//! `Dense::evaluate` looks at the route to the source and at `olist(S,G)` anew and tells the machines what changed.
//!
//! `state` says which entries there are, `forward` takes data and gives the kernel its entries, `hear` and `refresh` take messages apart,
//! `feed` feeds the machines and does what they want, `send` makes their messages.

pub mod assert;
pub mod downstream;
pub mod entry;
mod feed;
mod forward;
mod hear;
pub mod macros;
pub mod origination;
mod refresh;
mod send;
mod state;
pub mod upstream;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::Sent;
use super::link::Change;
use super::mrib;
use super::settings::Settings;
use crate::counters::DropReason;
use crate::coverage::Coverage;
use crate::forwarding::{EntryKey, ForwardingEntry};
use crate::random::Random;
use crate::rib::Rib;
use crate::router::InterfaceId;
use crate::time::Time;
use crate::timers::Timers;
use entry::{Entry, Timer};
use macros::Ports;

/// What the machines may look at while something happens.
pub struct Context<'a> {
    /// The time.
    pub now: Time,
    /// The router's interfaces with their neighbours and members.
    pub ports: &'a Ports,
    /// Unicast routes.
    pub rib: &'a Rib,
    /// The router's random numbers.
    pub random: &'a mut Random,
}

/// What dense mode wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Send a message.
    Send(Sent),
    /// Give the kernel this entry.
    Install {
        /// The entry.
        entry: ForwardingEntry,
        /// Whether the kernel has just asked for it: it is given even if it was given before.
        asked: bool,
    },
    /// Take the kernel's entry away.
    Remove(EntryKey),
    /// The upstream machine changed its state.
    Upstream(EntryKey, upstream::State),
    /// A downstream machine changed its state.
    Downstream(EntryKey, InterfaceId, downstream::State),
    /// An assert machine changed its state.
    Assert(EntryKey, InterfaceId, assert::State),
    /// Something was refused.
    Drop(Option<InterfaceId>, DropReason),
}

/// Dense mode of a router.
#[derive(Debug)]
pub struct Dense {
    settings: Settings,
    /// Most entries.
    limit: usize,
    entries: BTreeMap<EntryKey, Entry>,
    by_group: BTreeMap<IpAddr, BTreeSet<IpAddr>>,
    timers: Timers<Timer>,
    actions: Vec<Action>,
    coverage: Coverage,
}

impl Dense {
    /// Without any state.
    pub fn new(settings: Settings, limit: usize) -> Dense {
        Dense {
            settings,
            limit,
            entries: BTreeMap::new(),
            by_group: BTreeMap::new(),
            timers: Timers::default(),
            actions: Vec::new(),
            coverage: Coverage::default(),
        }
    }

    /// Settings in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What the machines have been through.
    pub fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// All state.
    pub fn entries(&self) -> &BTreeMap<EntryKey, Entry> {
        &self.entries
    }

    /// When a timer runs out, if it runs.
    pub fn deadline(&self, timer: Timer) -> Option<Time> {
        self.timers.deadline(timer)
    }

    /// What is to be done since the last call.
    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// When to call [`Dense::timeout`].
    pub fn next_timeout(&self) -> Option<Time> {
        self.timers.next()
    }

    /// Runs the timers that have run out.
    pub fn timeout(&mut self, context: &mut Context<'_>) {
        while let Some(timer) = self.timers.pop_due(context.now) {
            match timer {
                Timer::GraftRetry(key) => self.upstream(context, key, upstream::Event::GraftRetryTimerExpires),
                Timer::Override(key) => self.upstream(context, key, upstream::Event::OverrideTimerExpires),
                // The next data packet is to be heard of: it makes the next prune.
                Timer::PruneLimit(key) => self.forward(context, key, false),
                Timer::Swallow(key) => self.unswallow(context, key),
                Timer::SourceActive(key) => {
                    self.origination(context, key, origination::Event::SourceActiveTimerExpires);
                }
                Timer::StateRefresh(key) => {
                    self.origination(context, key, origination::Event::StateRefreshTimerExpires);
                }
                Timer::PrunePending(key, interface) => {
                    self.downstream(context, key, interface, downstream::Event::PrunePendingTimerExpires, 0);
                    self.evaluate(context, key);
                }
                Timer::Prune(key, interface) => {
                    self.downstream(context, key, interface, downstream::Event::PruneTimerExpires, 0);
                    self.evaluate(context, key);
                }
                Timer::Assert(key, interface) => {
                    self.assert(context, key, interface, assert::Event::AssertTimerExpires);
                    self.evaluate(context, key);
                }
                Timer::Idle(key) => self.idle(context, key),
            }
        }
    }

    /// A neighbour changed.
    pub fn neighbour_changed(&mut self, context: &mut Context<'_>, interface: InterfaceId, change: Change) {
        let keys: Vec<EntryKey> = self.entries.keys().copied().collect();
        for key in keys {
            let (Change::Up(neighbour) | Change::Restarted(neighbour) | Change::Down(neighbour)) = change;
            // One that has restarted knows nothing of the assert, nor of the prune that it was sent with it.
            let winner = self.entries.get(&key).and_then(|entry| entry.assert(interface).winner());
            if winner == Some(neighbour) && !matches!(change, Change::Up(_)) {
                self.assert(context, key, interface, assert::Event::WinnerGone);
            }
            if !matches!(change, Change::Down(_)) {
                self.downstream(context, key, interface, downstream::Event::NeighbourAppears, 0);
                self.upstream_is_new(context, key, interface, neighbour);
            }
            self.evaluate(context, key);
        }
    }

    /// A router that has just come up has neither a prune nor a graft of this one (§4.3.4).
    fn upstream_is_new(&mut self, context: &mut Context<'_>, key: EntryKey, interface: InterfaceId, neighbour: IpAddr) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        if entry.rpf_interface() != Some(interface) || entry.rpf_neighbour != Some(neighbour) {
            return;
        }
        match entry.upstream {
            upstream::State::Forwarding => {}
            upstream::State::Pruned => {
                self.timers.cancel(Timer::PruneLimit(key));
                self.forward(context, key, false);
            }
            upstream::State::AckPending => {
                entry.grafts_left = self.settings.graft_retries;
                self.send_graft(context, key);
            }
        }
    }

    /// An interface went down or is gone: nothing holds there any more.
    pub fn interface_lost(&mut self, context: &mut Context<'_>, interface: InterfaceId) {
        let keys: Vec<EntryKey> = self.entries.keys().copied().collect();
        for key in keys {
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.interfaces.remove(&interface);
            }
            for (_, timer) in Timer::of_interface(key, interface) {
                self.timers.cancel(timer);
            }
            self.evaluate(context, key);
        }
    }

    /// Looks at all state anew: an interface came up, or routes changed in bulk.
    pub fn evaluate_all(&mut self, context: &mut Context<'_>) {
        let keys: Vec<EntryKey> = self.entries.keys().copied().collect();
        for key in keys {
            self.evaluate(context, key);
        }
    }

    /// The route to some sources changed.
    pub fn route_changed(&mut self, context: &mut Context<'_>, prefix: ipnet::IpNet) {
        let keys: Vec<EntryKey> = self.entries.keys().filter(|key| prefix.contains(&key.source)).copied().collect();
        for key in keys {
            self.evaluate(context, key);
        }
    }

    /// Members of a group came or went.
    pub fn members_changed(&mut self, context: &mut Context<'_>, group: IpAddr) {
        let sources: Vec<IpAddr> = self.by_group.get(&group).into_iter().flatten().copied().collect();
        for source in sources {
            self.evaluate(context, EntryKey { source, group });
        }
    }

    /// The router ends: where it forwards by an assert, others are to take over at once (§4.6.5, rule 4).
    pub fn shutdown(&mut self) {
        let won: Vec<(EntryKey, InterfaceId)> = self
            .entries
            .iter()
            .flat_map(|(key, entry)| macros::won(entry).into_iter().map(|interface| (*key, interface)))
            .collect();
        for (key, interface) in won {
            self.send_assert_cancel(key, interface);
        }
    }

    /// Looks at the way to the source and at `olist(S,G)`, and tells the machines what changed.
    fn evaluate(&mut self, context: &mut Context<'_>, key: EntryKey) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let before = entry.rpf_interface();
        let rpf = mrib::lookup(context.rib, context.ports, key.source);
        let moved = std::mem::replace(&mut entry.rpf, rpf) != rpf;
        entry.was_routed |= rpf.is_some();
        let after = entry.rpf_interface();
        if moved {
            for interface in macros::beaten_winners(context.ports, entry) {
                self.assert(context, key, interface, assert::Event::MetricImproves);
            }
        }
        if before != after {
            if let Some(interface) = after {
                self.downstream(context, key, interface, downstream::Event::BecomesRpfInterface, 0);
                self.assert(context, key, interface, assert::Event::CouldAssertFalse);
            }
            if let Some(interface) = before {
                self.assert(context, key, interface, assert::Event::CouldAssertTrue);
            }
            if after.is_none() {
                // Nothing is forwarded any more: the others are to know (§4.6.5, rule 4).
                for interface in self.entries.get(&key).map(macros::won).unwrap_or_default() {
                    self.assert(context, key, interface, assert::Event::CouldAssertFalse);
                }
            }
        }
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let olist_is_null = macros::olist(context.ports, entry, key).is_empty();
        let olist_was_null = std::mem::replace(&mut entry.olist_is_null, olist_is_null);
        let neighbour = macros::rpf_neighbour(entry);
        let neighbour_before = std::mem::replace(&mut entry.rpf_neighbour, neighbour);
        let direct = entry.rpf.is_some_and(|rpf| rpf.next_hop.is_none());
        let direct_before = std::mem::replace(&mut entry.directly_connected, direct);
        if direct_before && !direct {
            self.origination(context, key, origination::Event::NoLongerDirect);
        }
        if direct && !direct_before {
            self.upstream(context, key, upstream::Event::DirectlyConnected { olist_is_null });
        } else if neighbour.is_some() && (neighbour != neighbour_before || before != after) {
            self.upstream(context, key, upstream::Event::RpfNeighbourChanges { olist_is_null });
        } else if after.is_some() && olist_is_null != olist_was_null {
            let event = if olist_is_null { upstream::Event::OlistNull } else { upstream::Event::OlistNonNull };
            self.upstream(context, key, event);
        }
        self.forward(context, key, false);
    }
}
