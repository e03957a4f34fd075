//! The (S,G) Assert Message state machine of an interface: which of several routers forwards there (RFC 3973 §4.6.4).

use std::net::IpAddr;
use std::time::Duration;

use crate::named;
use crate::pim::metric::AssertMetric;

/// Its states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// NI: no assert is in force.
    #[default]
    NoInfo,
    /// W: this router forwards.
    Winner,
    /// L: another router does.
    Loser {
        /// `AssertWinner(S,G,I)`.
        winner: IpAddr,
        /// `AssertWinnerMetric(S,G,I)`.
        metric: AssertMetric,
    },
}

impl State {
    /// Its name in events and answers.
    pub fn name(self) -> &'static str {
        match self {
            State::NoInfo => "no-info",
            State::Winner => "winner",
            State::Loser { .. } => "loser",
        }
    }

    /// Who else forwards, if another router does.
    pub fn winner(self) -> Option<IpAddr> {
        match self {
            State::NoInfo | State::Winner => None,
            State::Loser { winner, .. } => Some(winner),
        }
    }
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An (S,G) data packet arrives on the interface, which is downstream.
    Data,
    /// An assert or state refresh is heard.
    Heard {
        /// Who sent it.
        from: IpAddr,
        /// Its metric.
        metric: AssertMetric,
        /// For how long what it says holds: Assert Time, or three times the state refresh interval.
        holds: Duration,
    },
    /// A state refresh is sent out of the interface.
    SendStateRefresh {
        /// Three times its interval.
        holds: Duration,
    },
    /// AT(S,G,I) expires.
    AssertTimerExpires,
    /// `CouldAssert(S,G,I)` becomes FALSE: the interface is the RPF interface now.
    CouldAssertFalse,
    /// `CouldAssert(S,G,I)` becomes TRUE: it no longer is.
    CouldAssertTrue,
    /// The winner's neighbour liveness timer expires; or its generation id changes, which RFC 7761 §4.6.1 has beside it.
    WinnerGone,
    /// This router's metric became better than the winner's. The RFC has no such event here; RFC 7761 §4.6.1 does.
    MetricImproves,
    /// A state refresh of the winner, whose Prune Indicator says that it forwards here. The RFC has no such event, nor does it have a loser
    /// do anything about data that goes on arriving: its prune (§4.6.4.1) may be lost, or may have come before the winner's own route had
    /// moved, and with state refresh nothing would ever end the assert and what the winner goes on sending.
    WinnerForwards,
    /// A prune, join or graft to this router.
    JoinPruneGraft,
    /// A join or graft to this router from the winner: its own way to the source leads here now. The RFC has no such event. A winner whose
    /// RPF interface this becomes says so by an AssertCancel (§4.6.4.2), but a router that others took for the winner by its state refresh
    /// alone is in NoInfo state and says nothing; and the Assert that a loser answers with (§4.6.4.3) does not make it one. Without this, it
    /// would ask in vain until AT(S,G,I) expires.
    WinnerAsks,
}

/// What else the transition depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guards {
    /// `my_assert_metric(S,G,I)`.
    pub mine: AssertMetric,
    /// `CouldAssert(S,G,I)`.
    pub could_assert: bool,
}

/// The columns of §4.6.4's table, as they are noted (see [`crate::coverage`]): what is heard is told apart by who says it and how good it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// [`Event::Data`] where this router could assert.
    Data,
    /// [`Event::Data`] where it could not.
    DataNoAssert,
    /// A worse metric than this router's own, or a loser hears a worse one than the winner's from another router.
    Inferior,
    /// A better metric than this router's own and the winner's.
    Preferred,
    /// The winner says that it still is.
    WinnerStays,
    /// The winner's metric is worse than this router's own now, or infinite.
    WinnerYields,
    /// [`Event::SendStateRefresh`].
    SendStateRefresh,
    /// [`Event::AssertTimerExpires`].
    AssertTimerExpires,
    /// [`Event::CouldAssertFalse`].
    CouldAssertFalse,
    /// [`Event::CouldAssertTrue`].
    CouldAssertTrue,
    /// [`Event::WinnerGone`].
    WinnerGone,
    /// [`Event::MetricImproves`].
    MetricImproves,
    /// [`Event::WinnerForwards`].
    WinnerForwards,
    /// [`Event::JoinPruneGraft`].
    JoinPruneGraft,
    /// [`Event::WinnerAsks`].
    WinnerAsks,
}

impl EventKind {
    /// The column of an event in a state.
    pub fn of(state: State, event: Event, guards: Guards) -> EventKind {
        match (event, state) {
            (Event::Data, _) if guards.could_assert => EventKind::Data,
            (Event::Data, _) => EventKind::DataNoAssert,
            (Event::Heard { from, metric, .. }, State::Loser { winner, metric: best }) => {
                if from != winner {
                    if metric.is_better_than(&best) { EventKind::Preferred } else { EventKind::Inferior }
                } else if metric.is_infinite() || guards.mine.is_better_than(&metric) {
                    EventKind::WinnerYields
                } else {
                    EventKind::WinnerStays
                }
            }
            (Event::Heard { metric, .. }, State::NoInfo | State::Winner) => {
                let is_better = metric.is_better_than(&guards.mine) && !metric.is_infinite();
                if is_better { EventKind::Preferred } else { EventKind::Inferior }
            }
            (Event::SendStateRefresh { .. }, _) => EventKind::SendStateRefresh,
            (Event::AssertTimerExpires, _) => EventKind::AssertTimerExpires,
            (Event::CouldAssertFalse, _) => EventKind::CouldAssertFalse,
            (Event::CouldAssertTrue, _) => EventKind::CouldAssertTrue,
            (Event::WinnerGone, _) => EventKind::WinnerGone,
            (Event::MetricImproves, _) => EventKind::MetricImproves,
            (Event::WinnerForwards, _) => EventKind::WinnerForwards,
            (Event::JoinPruneGraft, _) => EventKind::JoinPruneGraft,
            (Event::WinnerAsks, _) => EventKind::WinnerAsks,
        }
    }
}

named!(State { "no-info" => State::NoInfo, "winner" => State::Winner, "loser" => State::Loser { .. } });

named!(EventKind {
    "data" => EventKind::Data,
    "data-no-assert" => EventKind::DataNoAssert,
    "inferior" => EventKind::Inferior,
    "preferred" => EventKind::Preferred,
    "winner-stays" => EventKind::WinnerStays,
    "winner-yields" => EventKind::WinnerYields,
    "send-state-refresh" => EventKind::SendStateRefresh,
    "assert-timer" => EventKind::AssertTimerExpires,
    "could-assert-false" => EventKind::CouldAssertFalse,
    "could-assert-true" => EventKind::CouldAssertTrue,
    "winner-gone" => EventKind::WinnerGone,
    "metric-improves" => EventKind::MetricImproves,
    "winner-forwards" => EventKind::WinnerForwards,
    "join-prune-graft" => EventKind::JoinPruneGraft,
    "winner-asks" => EventKind::WinnerAsks,
});

/// What it wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send Assert(S,G) and set AT(S,G,I) to Assert Time.
    Assert,
    /// Send Assert(S,G), the timer is left alone.
    SendAssert,
    /// Send AssertCancel(S,G) and stop AT(S,G,I).
    Cancel,
    /// Set AT(S,G,I).
    SetTimer(Duration),
    /// Stop AT(S,G,I).
    CancelTimer,
    /// Set AT(S,G,I), and send the winner a prune that holds as long.
    Yield(IpAddr, Duration),
    /// Set AT(S,G,I), and send the winner the prune once more if what was said last does not hold as long.
    Prolong(IpAddr, Duration),
    /// Send the winner the prune once more, if that was not done of late.
    Remind(IpAddr),
}

/// The transition of a state by an event.
pub fn transition(state: State, event: Event, guards: Guards) -> (State, Option<Action>) {
    use Event::*;
    use State::*;
    let Guards { mine, could_assert } = guards;
    match (state, event) {
        (NoInfo | Winner, Data) if could_assert => (Winner, Some(Action::Assert)),
        (Loser { winner, .. }, Data | WinnerForwards) if could_assert => (state, Some(Action::Remind(winner))),
        (state, Data | WinnerForwards) => (state, None),

        (NoInfo | Winner, Heard { from, metric, holds }) => {
            if metric.is_better_than(&mine) && !metric.is_infinite() {
                let action = if could_assert { Action::Yield(from, holds) } else { Action::SetTimer(holds) };
                (Loser { winner: from, metric }, Some(action))
            } else if could_assert {
                (Winner, Some(Action::Assert))
            } else {
                (state, None)
            }
        }
        (Loser { winner, metric: best }, Heard { from, metric, holds }) => {
            if from == winner {
                if metric.is_infinite() || mine.is_better_than(&metric) {
                    return (NoInfo, Some(Action::CancelTimer));
                }
                let action = if could_assert { Action::Prolong(winner, holds) } else { Action::SetTimer(holds) };
                (Loser { winner, metric }, Some(action))
            } else if metric.is_better_than(&best) {
                let action = if could_assert { Action::Yield(from, holds) } else { Action::SetTimer(holds) };
                (Loser { winner: from, metric }, Some(action))
            } else {
                (state, None)
            }
        }

        (Winner, SendStateRefresh { holds }) => (Winner, Some(Action::SetTimer(holds))),
        (state, SendStateRefresh { .. }) => (state, None),

        (_, AssertTimerExpires) => (NoInfo, None),

        (NoInfo, CouldAssertFalse | CouldAssertTrue) => (NoInfo, None),
        (Winner, CouldAssertFalse) => (NoInfo, Some(Action::Cancel)),
        (Winner, CouldAssertTrue) => (Winner, None),
        (Loser { .. }, CouldAssertFalse | CouldAssertTrue) => (NoInfo, Some(Action::CancelTimer)),

        (Loser { .. }, WinnerGone) => (NoInfo, Some(Action::CancelTimer)),
        (state, WinnerGone) => (state, None),

        (Loser { .. }, MetricImproves) => (NoInfo, Some(Action::CancelTimer)),
        (state, MetricImproves) => (state, None),

        (Loser { .. }, WinnerAsks) => (NoInfo, Some(Action::CancelTimer)),
        (state, WinnerAsks) => (state, None),

        (Loser { .. }, JoinPruneGraft) => (state, Some(Action::SendAssert)),
        (state, JoinPruneGraft) => (state, None),
    }
}
