//! PIM dense mode (RFC 3973): flood, prune what nobody wants, graft it back.
//!
//! [`Dense`] holds the state of every source and group and feeds four machines for each, every one a pure transition function in a
//! file of its own: [`upstream`], [`downstream`], [`mod@assert`] and [`origination`]. [`macros`] are the RFC's. After whatever happens,
//! `Dense::evaluate` looks at the route to the source and at `olist(S,G)` anew and tells the machines what changed.

pub mod assert;
pub mod downstream;
pub mod entry;
mod hear;
pub mod macros;
pub mod origination;
mod refresh;
pub mod upstream;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::Sent;
use super::link::Change;
use super::metric::infinite_assert_metric;
use super::mrib;
use super::settings::{Settings, seconds_up};
use crate::config::PimSabotage;
use crate::counters::DropReason;
use crate::forwarding::{EntryKey, ForwardingEntry};
use crate::membership::Family;
use crate::random::Random;
use crate::rib::Rib;
use crate::router::InterfaceId;
use crate::time::Time;
use crate::timers::Timers;
use crate::wire::pim::{ALL_PIM_ROUTERS, Assert, EncodedSource, GroupSet, JoinPrune, Message};
use entry::{Entry, InterfaceEntry, Timer};
use macros::Ports;

/// How long the kernel keeps an entry that forwards nowhere after data by another interface than the RPF interface asked for one, and
/// the next packet on the RPF interface is an event. Without it, the kernel would hold that packet back for 10 s behind the one that
/// asked; for ever, and it would go unnoticed.
const SWALLOW: Duration = Duration::from_secs(1);

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
        }
    }

    /// Settings in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
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
                Timer::PruneLimit(key) | Timer::Swallow(key) => self.forward(context, key, false),
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

    /// A data packet arrived for which the kernel has no entry (§4.2).
    pub fn data(&mut self, context: &mut Context<'_>, arrival: InterfaceId, key: EntryKey) {
        if !self.ensure(context, key) {
            self.actions.push(Action::Drop(Some(arrival), DropReason::NoRoute));
            return;
        }
        self.use_again(context, key);
        let Some(entry) = self.entries.get_mut(&key) else { return };
        entry.data_seen = true;
        if entry.rpf_interface() != Some(arrival) {
            self.actions.push(Action::Drop(Some(arrival), DropReason::WrongInterface));
            self.timers.set(Timer::Swallow(key), context.now + SWALLOW);
            self.data_downstream(context, arrival, key);
            self.forward(context, key, true);
            return;
        }
        let (direct, olist_is_null) = (entry.directly_connected, entry.olist_is_null);
        // §5.4: of a group whose scope ends here nothing is said here, and nothing that arrives here goes on.
        if !macros::is_boundary(context.ports, arrival, key.group) {
            if direct && self.settings.state_refresh {
                self.origination(context, key, origination::Event::DataOfDirectSource);
            }
            if olist_is_null {
                self.upstream(context, key, upstream::Event::DataWithoutOlist);
            }
        }
        self.forward(context, key, true);
    }

    /// A data packet of an entry arrived on another interface than the RPF interface (§4.2): an assert is due (§4.6.4).
    pub fn data_downstream(&mut self, context: &mut Context<'_>, arrival: InterfaceId, key: EntryKey) {
        if self.entries.get(&key).is_some_and(|entry| entry.rpf_interface() == Some(arrival)) {
            // The kernel's entry is behind.
            self.forward(context, key, true);
            return;
        }
        if macros::is_boundary(context.ports, arrival, key.group) {
            return;
        }
        self.assert(context, key, arrival, assert::Event::Data);
        self.evaluate(context, key);
    }

    /// The counters of an entry moved: data goes on arriving.
    pub fn data_goes_on(&mut self, context: &mut Context<'_>, key: EntryKey) {
        let Some(entry) = self.entries.get(&key) else { return };
        let inside = entry.rpf.is_some_and(|rpf| !macros::is_boundary(context.ports, rpf.interface, key.group));
        let direct = entry.directly_connected && inside;
        self.use_again(context, key);
        if direct && self.settings.state_refresh {
            self.origination(context, key, origination::Event::DataOfDirectSource);
        }
    }

    /// A neighbour changed.
    pub fn neighbour_changed(&mut self, context: &mut Context<'_>, interface: InterfaceId, change: Change) {
        let keys: Vec<EntryKey> = self.entries.keys().copied().collect();
        for key in keys {
            match change {
                Change::Up(neighbour) | Change::Restarted(neighbour) => {
                    self.downstream(context, key, interface, downstream::Event::NeighbourAppears, 0);
                    self.upstream_is_new(context, key, interface, neighbour);
                }
                Change::Down(neighbour) => {
                    let winner = self.entries.get(&key).map(|entry| entry.assert(interface));
                    if matches!(winner, Some(assert::State::Loser { winner, .. }) if winner == neighbour) {
                        self.assert(context, key, interface, assert::Event::WinnerGone);
                    }
                }
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

    /// Makes sure that there is state for a source and group. False without a route to the source, for what is no source or no group that
    /// is forwarded, and over the limit.
    fn ensure(&mut self, context: &mut Context<'_>, key: EntryKey) -> bool {
        if self.entries.contains_key(&key) {
            return true;
        }
        let family = Family::of(key.group);
        if !family.is_group(key.group) || family.is_link_local(key.group) || !family.is_source(key.source) {
            return false;
        }
        let Some(rpf) = mrib::lookup(context.rib, context.ports, key.source) else { return false };
        if self.entries.len() >= self.limit {
            self.actions.push(Action::Drop(None, DropReason::EntryLimit));
            return false;
        }
        let mut entry = Entry { rpf: Some(rpf), ..Entry::default() };
        entry.rpf_neighbour = rpf.next_hop;
        entry.directly_connected = rpf.next_hop.is_none();
        entry.olist_is_null = macros::olist(context.ports, &entry, key).is_empty();
        self.entries.insert(key, entry);
        self.by_group.entry(key.group).or_default().insert(key.source);
        self.use_again(context, key);
        true
    }

    /// Nothing has used an entry for its lifetime. It goes, unless a timer of it still runs or a prune holds for ever (§4.1: state is kept as
    /// long as any of its timers is active).
    fn idle(&mut self, context: &Context<'_>, key: EntryKey) {
        let Some(entry) = self.entries.get(&key) else { return };
        let interfaces = entry.interfaces.keys().flat_map(|interface| Timer::of_interface(key, *interface));
        let timers = Timer::of_entry(key).into_iter().chain(interfaces);
        let last = timers.filter_map(|(_, timer)| self.timers.deadline(timer)).max();
        if let Some(last) = last {
            self.timers.set(Timer::Idle(key), last);
        } else if entry.interfaces.values().any(InterfaceEntry::is_pruned_for_ever) {
            self.use_again(context, key);
        } else {
            self.forget(key);
        }
    }

    fn forget(&mut self, key: EntryKey) {
        let Some(entry) = self.entries.remove(&key) else { return };
        if let Some(sources) = self.by_group.get_mut(&key.group) {
            sources.remove(&key.source);
            if sources.is_empty() {
                self.by_group.remove(&key.group);
            }
        }
        for (_, timer) in Timer::of_entry(key) {
            self.timers.cancel(timer);
        }
        for interface in entry.interfaces.keys() {
            for (_, timer) in Timer::of_interface(key, *interface) {
                self.timers.cancel(timer);
            }
        }
        self.timers.cancel(Timer::Idle(key));
        self.timers.cancel(Timer::Swallow(key));
        if entry.installed.is_some() {
            self.actions.push(Action::Remove(key));
        }
    }

    fn use_again(&mut self, context: &Context<'_>, key: EntryKey) {
        self.timers.set(Timer::Idle(key), context.now + self.settings.entry_lifetime());
    }

    /// Gives the kernel the entry that §4.2 asks for. Where the next packet on the RPF interface is an event of the upstream machine, the
    /// kernel is given none, so that it tells.
    fn forward(&mut self, context: &Context<'_>, key: EntryKey, asked: bool) {
        let limited = self.timers.is_running(Timer::PruneLimit(key)) || self.timers.is_running(Timer::Swallow(key));
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let wanted = entry.rpf_interface().filter(|_| entry.data_seen).and_then(|incoming| {
            let tells = !entry.directly_connected && !macros::is_boundary(context.ports, incoming, key.group);
            if entry.olist_is_null && tells && !limited {
                return None;
            }
            let olist = match entry.upstream {
                upstream::State::Pruned => macros::Interfaces::new(),
                upstream::State::Forwarding | upstream::State::AckPending => macros::olist(context.ports, entry, key),
            };
            // The kernel takes 0 and 255 for 'never'; with 1, a packet that arrives with a TTL of 1 stays, as it must.
            let threshold = |id: &InterfaceId| context.ports[id].config.ttl_threshold.clamp(1, 254);
            let outgoing = olist.into_iter().map(|id| (id, threshold(&id))).collect();
            Some(ForwardingEntry { key, incoming, outgoing })
        });
        let given = |action: &Action| matches!(action, Action::Install { entry, .. } if Some(entry) == wanted.as_ref());
        if wanted == entry.installed && (!asked || wanted.is_none() || self.actions.iter().any(given)) {
            return;
        }
        entry.installed.clone_from(&wanted);
        self.actions.push(match wanted {
            Some(entry) => Action::Install { entry, asked },
            None => Action::Remove(key),
        });
    }

    /// Feeds the Upstream(S,G) machine.
    fn upstream(&mut self, context: &mut Context<'_>, key: EntryKey, event: upstream::Event) {
        let guards = upstream::Guards {
            prune_limit_running: self.timers.is_running(Timer::PruneLimit(key)),
            override_running: self.timers.is_running(Timer::Override(key)),
            directly_connected: self.entries.get(&key).is_some_and(|entry| entry.directly_connected),
        };
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let (state, actions) = upstream::transition(entry.upstream, event, guards);
        if std::mem::replace(&mut entry.upstream, state) != state {
            self.actions.push(Action::Upstream(key, state));
        }
        for action in actions {
            self.act_upstream(context, key, *action);
        }
        self.forward(context, key, false);
    }

    fn act_upstream(&mut self, context: &mut Context<'_>, key: EntryKey, action: upstream::Action) {
        use upstream::Action;
        match action {
            Action::SendPrune => {
                self.use_again(context, key);
                self.send_upstream(key, |source, set| set.pruned.push(source));
            }
            Action::SendJoin if self.settings.sabotage == Some(PimSabotage::NeverOverride) => {}
            Action::SendJoin => self.send_upstream(key, |source, set| set.joined.push(source)),
            Action::SendGraft => {
                if let Some(entry) = self.entries.get_mut(&key) {
                    entry.grafts_left = self.settings.graft_retries;
                }
                self.send_graft(context, key);
            }
            Action::RetryGraft => {
                let Some(entry) = self.entries.get_mut(&key) else { return };
                if self.settings.sabotage == Some(PimSabotage::GraftOnce) || entry.grafts_left == 0 {
                    return;
                }
                entry.grafts_left -= 1;
                self.send_graft(context, key);
            }
            Action::SetPruneLimit => {
                self.timers.set(Timer::PruneLimit(key), context.now + self.settings.prune_limit);
            }
            Action::CancelPruneLimit => {
                self.timers.cancel(Timer::PruneLimit(key));
            }
            Action::SetOverride => {
                let rpf = self.entries.get(&key).and_then(Entry::rpf_interface);
                let link = rpf.and_then(|interface| context.ports.get(&interface)?.pim.as_ref());
                let Some(interval) = link.map(|link| link.override_interval()) else { return };
                self.timers.set(Timer::Override(key), context.now + context.random.up_to(interval));
            }
            Action::CancelOverride => {
                self.timers.cancel(Timer::Override(key));
            }
            // Set where the graft is sent.
            Action::SetGraftRetry => {}
            Action::CancelGraftRetry => {
                self.timers.cancel(Timer::GraftRetry(key));
            }
        }
    }

    /// Feeds the Downstream(S,G,I) machine; `hold_time` is that of a prune. What follows for the upstream machine, [`Dense::evaluate`] says.
    fn downstream(
        &mut self,
        context: &mut Context<'_>,
        key: EntryKey,
        interface: InterfaceId,
        event: downstream::Event,
        hold_time: u16,
    ) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let before = entry.downstream(interface);
        let (state, actions) = downstream::transition(before, event);
        if before != state || event == downstream::Event::Prune {
            let own = entry.interfaces.entry(interface).or_default();
            own.downstream = state;
            match state {
                downstream::State::NoInfo => own.prune_hold_time = 0,
                downstream::State::PrunePending | downstream::State::Pruned => own.hold(hold_time),
            }
            Self::tidy(entry, interface);
        }
        if before != state {
            self.actions.push(Action::Downstream(key, interface, state));
        }
        for action in actions {
            self.act_downstream(context, key, interface, *action, hold_time);
        }
    }

    fn act_downstream(
        &mut self,
        context: &mut Context<'_>,
        key: EntryKey,
        interface: InterfaceId,
        action: downstream::Action,
        hold_time: u16,
    ) {
        use downstream::Action;
        let Some(link) = context.ports.get(&interface).and_then(|port| port.pim.as_ref()) else { return };
        let Some(state) = self.entries.get(&key).and_then(|entry| entry.interfaces.get(&interface)).copied() else {
            self.timers.cancel(Timer::PrunePending(key, interface));
            self.timers.cancel(Timer::Prune(key, interface));
            return;
        };
        let (pending, prune) = (Timer::PrunePending(key, interface), Timer::Prune(key, interface));
        let many = link.neighbours().len() > 1;
        let largest = Duration::from_secs(state.prune_hold_time.into());
        match action {
            Action::SetPrunePending if many => self.timers.set(pending, context.now + link.jp_override_interval()),
            // With nobody else there who could object, the time is up at once (§4.4.2.1).
            Action::SetPrunePending => {
                self.downstream(context, key, interface, downstream::Event::PrunePendingTimerExpires, hold_time);
            }
            Action::CancelPrunePending => {
                self.timers.cancel(pending);
            }
            Action::SetPrune if state.holds_for_ever() => {}
            Action::SetPrune => {
                let left = largest.saturating_sub(link.jp_override_interval());
                self.timers.set(prune, context.now + left);
            }
            Action::ExtendPrune if state.holds_for_ever() => {
                self.timers.cancel(prune);
            }
            Action::ExtendPrune => {
                let deadline = context.now + Duration::from_secs(hold_time.into());
                if self.timers.deadline(prune).is_some_and(|old| old < deadline) {
                    self.timers.set(prune, deadline);
                }
            }
            Action::RefreshPrune => {
                if !state.holds_for_ever() && macros::state_refresh_capable(context.ports, interface) {
                    self.timers.set(prune, context.now + largest);
                }
            }
            Action::CancelPrune => {
                self.timers.cancel(prune);
            }
            Action::SendPruneEcho if many => {
                let Some(own) = link.address() else { return };
                let message = join_prune(own, state.prune_hold_time, key, |source, set| set.pruned.push(source));
                self.send_to_all(interface, Message::JoinPrune(message));
            }
            Action::SendPruneEcho => {}
            // One acknowledges the whole message; see `hear`.
            Action::SendGraftAck => {}
        }
    }

    /// Feeds the Assert(S,G,I) machine. What follows for the upstream machine, [`Dense::evaluate`] says.
    fn assert(&mut self, context: &mut Context<'_>, key: EntryKey, interface: InterfaceId, event: assert::Event) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let Some(link) = context.ports.get(&interface).and_then(|port| port.pim.as_ref()) else { return };
        let guards = assert::Guards {
            mine: macros::my_assert_metric(context.ports, entry, interface),
            could_assert: macros::could_assert(entry, interface),
        };
        if let assert::Event::Heard { metric, .. } = event
            && self.settings.sabotage == Some(PimSabotage::AssertDeaf)
            && guards.could_assert
            && metric.is_better_than(&guards.mine)
        {
            return;
        }
        let before = entry.assert(interface);
        let (state, action) = assert::transition(before, event, guards);
        if before != state {
            entry.interfaces.entry(interface).or_default().assert = state;
            Self::tidy(entry, interface);
            self.actions.push(Action::Assert(key, interface, state));
        }
        let timer = Timer::Assert(key, interface);
        match action {
            Some(assert::Action::Assert) => {
                self.timers.set(timer, context.now + link.settings().assert_time);
                self.send_assert(key, interface, guards.mine);
            }
            Some(assert::Action::SendAssert) => self.send_assert(key, interface, guards.mine),
            Some(assert::Action::Cancel) => {
                self.timers.cancel(timer);
                self.send_assert_cancel(key, interface);
            }
            Some(assert::Action::SetTimer(holds)) => self.timers.set(timer, context.now + holds),
            Some(assert::Action::CancelTimer) => {
                self.timers.cancel(timer);
            }
            Some(assert::Action::Yield(winner, holds)) => {
                self.timers.set(timer, context.now + holds);
                let message = join_prune(winner, seconds_up(holds), key, |source, set| set.pruned.push(source));
                self.send_to_all(interface, Message::JoinPrune(message));
            }
            None => {}
        }
    }

    /// Forgets an interface's state that says nothing.
    fn tidy(entry: &mut Entry, interface: InterfaceId) {
        if entry.interfaces.get(&interface).is_some_and(InterfaceEntry::is_idle) {
            entry.interfaces.remove(&interface);
        }
    }

    /// A join/prune of one source to `RPF'(S)`.
    fn send_upstream(&mut self, key: EntryKey, put: impl Fn(EncodedSource, &mut GroupSet)) {
        let Some(entry) = self.entries.get(&key) else { return };
        let (Some(interface), Some(upstream)) = (entry.rpf_interface(), entry.rpf_neighbour) else { return };
        let message = join_prune(upstream, self.settings.prune_hold_time, key, put);
        self.send_to_all(interface, Message::JoinPrune(message));
    }

    /// A graft to `RPF'(S)`, and GRT(S,G).
    fn send_graft(&mut self, context: &Context<'_>, key: EntryKey) {
        let Some(entry) = self.entries.get(&key) else { return };
        let (Some(interface), Some(upstream)) = (entry.rpf_interface(), entry.rpf_neighbour) else { return };
        let message = Message::Graft(join_prune(upstream, 0, key, |source, set| set.joined.push(source)));
        self.actions.push(Action::Send(Sent { interface, destination: upstream, message }));
        self.timers.set(Timer::GraftRetry(key), context.now + self.settings.graft_retry_period);
    }

    fn send_assert(&mut self, key: EntryKey, interface: InterfaceId, metric: super::metric::AssertMetric) {
        let super::metric::AssertMetric { rpt, preference, metric, .. } = metric;
        let message = Assert { group: key.group, source: key.source, rpt, preference, metric };
        self.send_to_all(interface, Message::Assert(message));
    }

    fn send_assert_cancel(&mut self, key: EntryKey, interface: InterfaceId) {
        self.send_assert(key, interface, infinite_assert_metric());
    }

    fn send_to_all(&mut self, interface: InterfaceId, message: Message) {
        self.actions.push(Action::Send(Sent { interface, destination: ALL_PIM_ROUTERS.into(), message }));
    }
}

/// A join/prune about one source and group.
fn join_prune(
    upstream: IpAddr,
    hold_time: u16,
    key: EntryKey,
    put: impl Fn(EncodedSource, &mut GroupSet),
) -> JoinPrune {
    let mask_length = if key.group.is_ipv4() { 32 } else { 128 };
    let source = EncodedSource { address: key.source, mask_length, sparse: false, wildcard: false, rpt: false };
    let mut set = GroupSet { group: key.group, mask_length, joined: Vec::new(), pruned: Vec::new() };
    put(source, &mut set);
    JoinPrune { upstream, hold_time, groups: vec![set] }
}
