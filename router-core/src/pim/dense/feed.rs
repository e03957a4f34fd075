//! Feeds the machines of §4.4 and §4.6 with what happens, and does what they want done.

use std::net::IpAddr;
use std::time::Duration;

use super::entry::{Entry, Timer};
use super::send::join_prune;
use super::{Action, Context, Dense, assert, downstream, macros, upstream};
use crate::config::PimSabotage;
use crate::coverage::Machine;
use crate::forwarding::EntryKey;
use crate::pim::settings::seconds_up;
use crate::router::InterfaceId;
use crate::time::Time;
use crate::wire::pim::Message;

impl Dense {
    /// Feeds the Upstream(S,G) machine.
    pub(super) fn upstream(&mut self, context: &mut Context<'_>, key: EntryKey, event: upstream::Event) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let guards = upstream::Guards {
            prune_limit_running: self.timers.is_running(Timer::PruneLimit(key)),
            override_running: self.timers.is_running(Timer::Override(key)),
            directly_connected: entry.directly_connected,
            olist_is_null: entry.olist_is_null,
        };
        self.coverage.note(Machine::DenseUpstream, &entry.upstream, &event);
        let (state, actions) = upstream::transition(entry.upstream, event, guards);
        if std::mem::replace(&mut entry.upstream, state) != state {
            self.actions.push(Action::Upstream(key, state));
        }
        for action in actions {
            self.act_upstream(context, key, *action);
        }
        self.forward(context, key, false);
    }

    pub(super) fn act_upstream(&mut self, context: &mut Context<'_>, key: EntryKey, action: upstream::Action) {
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
            Action::SetPruneLimitBriefly => {
                let rpf = self.entries.get(&key).and_then(Entry::rpf_interface);
                let link = rpf.and_then(|interface| context.ports.get(&interface)?.pim.as_ref());
                let limit = link.map_or(Duration::ZERO, |link| link.jp_override_interval());
                self.timers.set(Timer::PruneLimit(key), context.now + limit.min(self.settings.prune_limit));
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
    pub(super) fn downstream(
        &mut self,
        context: &mut Context<'_>,
        key: EntryKey,
        interface: InterfaceId,
        event: downstream::Event,
        hold_time: u16,
    ) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let before = entry.downstream(interface);
        self.coverage.note(Machine::DenseDownstream, &before, &event);
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

    pub(super) fn act_downstream(
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
    pub(super) fn assert(
        &mut self,
        context: &mut Context<'_>,
        key: EntryKey,
        interface: InterfaceId,
        event: assert::Event,
    ) {
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
        self.coverage.note(Machine::DenseAssert, &before, &assert::EventKind::of(before, event, guards));
        let (state, action) = assert::transition(before, event, guards);
        if before != state {
            entry.interfaces.entry(interface).or_default().assert = state;
            Self::tidy(entry, interface);
        }
        if before.winner() != state.winner() || before.name() != state.name() {
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
                // The prune takes effect after that at the latest (§4.4.2.1).
                let due = context.now + link.jp_override_interval();
                self.prune_winner(key, interface, winner, holds, due);
            }
            // The winner, sending a state refresh, prolongs a prune by what that said (§4.4.2.3), which may be less than is left of the assert.
            Some(assert::Action::Prolong(winner, holds)) => {
                self.timers.set(timer, context.now + holds);
                let said = entry.interfaces.get(&interface).map_or(0, |own| own.said);
                if said < seconds_up(holds) {
                    let due = context.now + link.jp_override_interval();
                    self.prune_winner(key, interface, winner, holds, due);
                }
            }
            Some(assert::Action::Remind(winner)) => {
                let ends = self.timers.deadline(timer).unwrap_or(context.now);
                let reminder = entry.interfaces.get(&interface).and_then(|own| own.reminder);
                if reminder.is_some_and(|until| context.now < until) || ends <= context.now {
                    return;
                }
                let holds = ends.since(context.now);
                // As often as a pruned router may say so (§4.4.1), for others may override it each time; and once what this one says is over.
                let said = Duration::from_secs(seconds_up(holds).into()).max(link.jp_override_interval());
                let due = context.now + self.settings.prune_limit.min(said);
                self.prune_winner(key, interface, winner, holds, due);
            }
            None => {}
        }
    }

    /// A loser tells the winner that it wants nothing as long as the assert holds; `due`: when it may say so again because of what comes.
    fn prune_winner(&mut self, key: EntryKey, interface: InterfaceId, winner: IpAddr, holds: Duration, due: Time) {
        let holds = seconds_up(holds);
        if let Some(own) = self.entries.get_mut(&key).and_then(|entry| entry.interfaces.get_mut(&interface)) {
            (own.said, own.reminder) = (holds, Some(due));
        }
        let message = join_prune(winner, holds, key, |source, set| set.pruned.push(source));
        self.send_to_all(interface, Message::JoinPrune(message));
    }
}
