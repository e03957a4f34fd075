//! Feeds the machines with what happens, and does what they want done.

use std::net::IpAddr;
use std::time::Duration;

use super::entry::{Timer, Tree, Upstream};
use super::macros::View;
use super::outbox::Word;
use super::{Action, Context, Sparse, assert, downstream, downstream_rpt, macros, register, upstream, upstream_rpt};
use crate::config::PimSabotage;
use crate::coverage::Machine;
use crate::forwarding::EntryKey;
use crate::pim::link::Link;
use crate::router::InterfaceId;
use crate::time::Time;
use crate::wire::pim::HOLD_FOR_EVER;

/// Periodic joins go out at whole 60ths of t_periodic, up to one early, so that those of many trees go together.
const BEATS: u128 = 60;

impl Sparse {
    /// A part of a time by the random number of what happens now.
    fn part(&self, limit: Duration) -> Duration {
        let range = u128::from(u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX));
        Duration::from_nanos(((u128::from(self.roll) * (range + 1)) >> 64) as u64)
    }

    /// t_override: a random time of the override interval (§4.11). With a single neighbour on the link, nobody could say the same.
    fn t_override(&self, link: &Link) -> Duration {
        if link.neighbours().len() > 1 { self.part(link.override_interval()) } else { Duration::ZERO }
    }

    /// t_suppressed: between 1.1 and 1.4 of t_periodic; 0 where suppression is not enabled (§4.11).
    fn t_suppressed(&self, link: &Link) -> Duration {
        if !link.is_suppression_enabled() {
            return Duration::ZERO;
        }
        let period = self.settings.join_prune_period;
        period.mul_f64(1.1) + self.part(period.mul_f64(0.3))
    }

    /// The end of a state that is held for some seconds; none for ever.
    pub(super) fn held(now: Time, seconds: u16) -> Option<Time> {
        (seconds != HOLD_FOR_EVER).then(|| now + Duration::from_secs(seconds.into()))
    }

    fn start_expiry(&mut self, timer: Timer, now: Time, hold_time: u16) {
        match Self::held(now, hold_time) {
            Some(deadline) => self.timers.set(timer, deadline),
            None => {
                self.timers.cancel(timer);
            }
        }
    }

    /// To the maximum of what is left and the hold time. A timer that does not run here holds for ever.
    fn restart_expiry(&mut self, timer: Timer, now: Time, hold_time: u16) {
        match (Self::held(now, hold_time), self.timers.deadline(timer)) {
            (Some(deadline), Some(old)) if old < deadline => self.timers.set(timer, deadline),
            (None, Some(_)) => {
                self.timers.cancel(timer);
            }
            (Some(_) | None, _) => {}
        }
    }

    fn start_prune_pending(&mut self, context: &Context<'_>, timer: Timer, i: InterfaceId) {
        let Some(link) = macros::link(context.ports, i) else { return };
        let known = match timer {
            Timer::PrunePending(tree, i) => self.is_tracked_empty(context.now, tree, i),
            _ => false,
        };
        let many = link.neighbours().len() > 1 && !known;
        let pending = if many { link.jp_override_interval() } else { Duration::ZERO };
        self.timers.set(timer, context.now + pending);
    }

    /// Feeds a downstream machine of (*,G) or (S,G); `hold_time` is that of a join. Gives whether its state changed.
    pub(super) fn downstream(
        &mut self,
        context: &mut Context<'_>,
        tree: Tree,
        i: InterfaceId,
        event: downstream::Event,
        hold_time: u16,
    ) -> bool {
        use downstream::Action;
        let v = self.view(context, tree);
        let before = if tree.source.is_some() { v.entry.downstream(i) } else { v.star.downstream(i) };
        let (after, actions) = downstream::transition(before, event);
        if before != after {
            let state = match tree.key() {
                Some(key) => self.source(key).map(|entry| &mut entry.interfaces.entry(i).downstream),
                None => self.star(tree.group).map(|star| &mut star.interfaces.entry(i).downstream),
            };
            let Some(state) = state else { return false };
            *state = after;
        }
        if after == downstream::State::NoInfo {
            self.tracked.end(tree, i);
        }
        let machine = if tree.source.is_some() { Machine::SparseDownstream } else { Machine::SparseDownstreamAll };
        self.coverage.note(machine, &before, &event);
        let (expiry, pending) = (Timer::Expiry(tree, i), Timer::PrunePending(tree, i));
        for action in actions {
            match action {
                Action::StartExpiry => self.start_expiry(expiry, context.now, hold_time),
                Action::RestartExpiry => self.restart_expiry(expiry, context.now, hold_time),
                Action::CancelExpiry => {
                    self.timers.cancel(expiry);
                }
                Action::StartPrunePending => self.start_prune_pending(context, pending, i),
                Action::CancelPrunePending => {
                    self.timers.cancel(pending);
                }
                Action::SendPruneEcho => self.send_prune_echo(context, tree, i),
            }
        }
        before != after
    }

    /// Feeds the downstream machine of (S,G,rpt); `hold_time` is that of a prune. Gives whether its state changed.
    pub(super) fn downstream_rpt(
        &mut self,
        context: &mut Context<'_>,
        key: EntryKey,
        i: InterfaceId,
        event: downstream_rpt::Event,
        hold_time: u16,
    ) -> bool {
        use downstream_rpt::Action;
        let Some(entry) = self.source(key) else { return false };
        let before = entry.downstream_rpt(i);
        let (after, actions) = downstream_rpt::transition(before, event);
        if before != after {
            entry.interfaces.entry(i).rpt = after;
        }
        self.coverage.note(Machine::SparseDownstreamRpt, &before, &event);
        let (expiry, pending) = (Timer::RptExpiry(key, i), Timer::RptPrunePending(key, i));
        for action in actions {
            match action {
                Action::StartExpiry => self.start_expiry(expiry, context.now, hold_time),
                Action::RestartExpiry => self.restart_expiry(expiry, context.now, hold_time),
                Action::CancelExpiry => {
                    self.timers.cancel(expiry);
                }
                Action::StartPrunePending => self.start_prune_pending(context, pending, i),
                Action::CancelPrunePending => {
                    self.timers.cancel(pending);
                }
            }
        }
        before != after
    }

    /// Feeds an upstream machine of (*,G) or (S,G). `old` is what it knew of the way before RPF' changed.
    pub(super) fn upstream(
        &mut self,
        context: &mut Context<'_>,
        tree: Tree,
        event: upstream::Event,
        old: Option<Upstream>,
    ) {
        self.upstream_held(context, tree, event, old, HOLD_FOR_EVER);
    }

    /// The same, by a join or prune that was seen and has a hold time.
    pub(super) fn upstream_held(
        &mut self,
        context: &mut Context<'_>,
        tree: Tree,
        event: upstream::Event,
        old: Option<Upstream>,
        hold_time: u16,
    ) {
        use upstream::Action as Wanted;
        let Some(known) = self.known_upstream(tree) else { return };
        let (state, actions) = upstream::transition(known.state, event);
        let before = std::mem::replace(&mut known.state, state);
        let known = *known;
        let changed = before != state;
        let machine = if tree.source.is_some() { Machine::SparseUpstream } else { Machine::SparseUpstreamAll };
        self.coverage.note(machine, &before, &event);
        if changed {
            self.actions.push(Action::Upstream(tree, state));
        }
        let timer = Timer::Join(tree);
        let link = known.interface.and_then(|i| macros::link(context.ports, i));
        for action in actions {
            match action {
                Wanted::SendJoin => self.say_tree(tree, known, Word::Join),
                Wanted::SendPrune => self.say_tree(tree, known, Word::Prune),
                Wanted::SendPruneToOld => {
                    if let Some(old) = old {
                        self.say_tree(tree, old, Word::Prune);
                    }
                }
                Wanted::SetJoin => self.timers.set(timer, self.next_beat(context.now)),
                Wanted::CancelJoin => {
                    self.timers.cancel(timer);
                }
                Wanted::IncreaseJoin => {
                    let Some(link) = link else { continue };
                    let held = Duration::from_secs(hold_time.into());
                    let deadline = context.now + self.t_suppressed(link).min(held);
                    if self.timers.deadline(timer).is_some_and(|old| old < deadline) {
                        self.timers.set(timer, deadline);
                    }
                }
                Wanted::DecreaseJoin if self.settings.sabotage == Some(PimSabotage::NeverOverride) => {}
                Wanted::DecreaseJoin => {
                    let Some(link) = link else { continue };
                    let deadline = context.now + self.t_override(link);
                    self.timers.lower(timer, deadline);
                }
                Wanted::ClearSptBit => {
                    if let Some(entry) = tree.key().and_then(|key| self.source(key)) {
                        entry.spt_bit = false;
                    }
                }
            }
        }
    }

    /// When a join is sent again that is sent now.
    fn next_beat(&self, now: Time) -> Time {
        let period = self.settings.join_prune_period;
        let beat = (period.as_nanos() / BEATS).max(1);
        let due = u128::from((now + period).as_nanos());
        let aligned = u64::try_from(due - due % beat).unwrap_or(u64::MAX);
        Time(aligned).max(now + period / 2)
    }

    /// Feeds the upstream machine of (S,G,rpt).
    pub(super) fn upstream_rpt(&mut self, context: &mut Context<'_>, key: EntryKey, event: upstream_rpt::Event) {
        use upstream_rpt::Action;
        let Some(entry) = self.source(key) else { return };
        let before = entry.rpt;
        let (state, actions) = upstream_rpt::transition(before, event);
        entry.rpt = state;
        self.coverage.note(Machine::SparseUpstreamRpt, &before, &event);
        let timer = Timer::Override(key);
        for action in actions {
            match action {
                Action::SendJoin => self.say_rpt(context, key, Word::Join),
                Action::SendPrune => self.say_rpt(context, key, Word::Prune),
                Action::LowerOverride if self.settings.sabotage == Some(PimSabotage::NeverOverride) => {}
                Action::LowerOverride => {
                    let rpf = self.view(context, key.into()).star.rpf_interface();
                    let Some(link) = rpf.and_then(|i| macros::link(context.ports, i)) else { continue };
                    let deadline = context.now + self.t_override(link);
                    if self.timers.deadline(timer).is_none_or(|old| old > deadline) {
                        self.timers.set(timer, deadline);
                    }
                }
                Action::CancelOverride => {
                    self.timers.cancel(timer);
                }
            }
        }
    }

    /// Feeds the register machine.
    pub(super) fn register(&mut self, context: &mut Context<'_>, key: EntryKey, event: register::Event) {
        use register::Action as Wanted;
        let Some(entry) = self.source(key) else { return };
        let before = entry.register;
        let (state, actions) = register::transition(before, event);
        entry.register = state;
        self.coverage.note(Machine::SparseRegister, &before, &event);
        if before != state {
            self.actions.push(Action::Register(key, state));
        }
        let timer = Timer::RegisterStop(key);
        for action in actions {
            match action {
                Wanted::SetSuppression => {
                    // ( 0.5 * Register_Suppression_Time, 1.5 * Register_Suppression_Time ) minus Register_Probe_Time.
                    let time = self.settings.register_suppression_time;
                    let after = time / 2 + context.random.up_to(time);
                    let after = after.saturating_sub(self.settings.register_probe_time);
                    self.timers.set(timer, context.now + after);
                }
                Wanted::SetProbe => self.timers.set(timer, context.now + self.settings.register_probe_time),
                Wanted::CancelTimer => {
                    self.timers.cancel(timer);
                }
                Wanted::SendNullRegister => self.send_null_register(context, key),
            }
        }
    }

    pub(super) fn assert_guards(v: &View<'_>, i: InterfaceId) -> assert::Guards {
        match v.source {
            Some(_) => assert::Guards {
                mine: macros::my_assert_metric(v, i),
                could_assert: macros::could_assert(v, i),
                tracking_desired: macros::assert_tracking_desired(v, i),
            },
            None => assert::Guards {
                mine: macros::my_assert_metric_all(v, i),
                could_assert: macros::could_assert_all(v, i),
                tracking_desired: macros::assert_tracking_desired_all(v, i),
            },
        }
    }

    /// Feeds an assert machine of (*,G) or (S,G); `named` is the source that an Assert(*,G) speaks of, if it does of one. Gives whether the
    /// machine is in NoInfo state, and was.
    pub(super) fn assert(
        &mut self,
        context: &mut Context<'_>,
        tree: Tree,
        i: InterfaceId,
        event: assert::Event,
        named: Option<IpAddr>,
    ) -> bool {
        use assert::{Action as Wanted, State};
        let Some(link) = macros::link(context.ports, i) else { return true };
        let v = self.view(context, tree);
        let (kind, before) = match tree.source {
            Some(_) => (assert::Kind::Source, v.entry.assert(i)),
            None => (assert::Kind::All, v.star.assert(i)),
        };
        let guards = Self::assert_guards(&v, i);
        if let assert::Event::Heard { metric, .. } = event
            && self.settings.sabotage == Some(PimSabotage::AssertDeaf)
            && guards.could_assert
            && metric.is_better_than(&guards.mine)
        {
            return before == State::NoInfo;
        }
        let machine = if tree.source.is_some() { Machine::SparseAssert } else { Machine::SparseAssertAll };
        self.coverage.note(machine, &before, &assert::EventKind::of(kind, before, event, guards));
        let (after, action) = assert::transition(kind, before, event, guards);
        if before == State::NoInfo && after == State::NoInfo {
            return true;
        }
        // Heard of before there was any other state.
        let ensured = match tree.key() {
            Some(key) => self.ensure(context, key),
            None => self.ensure_star(context, tree.group),
        };
        if ensured.is_err() {
            return true;
        }
        let joined = match tree.key() {
            Some(key) => self.source(key).map(|entry| {
                entry.interfaces.entry(i).assert = after;
                entry.rpf_interface() == Some(i) && macros::is_upstream_joined(entry.upstream.state)
            }),
            None => self.star(tree.group).map(|star| {
                star.interfaces.entry(i).assert = after;
                false
            }),
        };
        self.index.change_winner(tree, i, before.winner(), after.winner());
        if before.winner() != after.winner() || before.name() != after.name() {
            self.actions.push(Action::Assert(tree, i, after));
        }
        let timer = Timer::Assert(tree, i);
        let assert_time = link.settings().assert_time;
        match action {
            Some(Wanted::A1 | Wanted::A3) => {
                // Assert_Override_Interval: 3 s of 180.
                self.timers.set(timer, context.now + (assert_time - assert_time / 60));
                self.send_assert(tree, i, guards.mine, named);
            }
            Some(Wanted::A2) => self.timers.set(timer, context.now + assert_time),
            Some(Wanted::A6) => {
                self.timers.set(timer, context.now + assert_time);
                if joined == Some(true)
                    && let Some(entry) = tree.key().and_then(|key| self.source(key))
                {
                    entry.spt_bit = true;
                }
            }
            Some(Wanted::A4) => {
                self.timers.cancel(timer);
                self.send_assert_cancel(tree, i);
            }
            Some(Wanted::A5) => {
                self.timers.cancel(timer);
            }
            None => {}
        }
        false
    }
}
