//! The assert machines of (S,G) and of (*,G) on an interface: which of several routers forwards there (RFC 7761 §4.6.1, §4.6.2). Figures 8
//! and 9 differ in what they take for an assert of theirs; see [`transition`].

use std::net::IpAddr;

use crate::named;
use crate::pim::metric::AssertMetric;

/// Which of the two machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// That of (S,G).
    Source,
    /// That of (*,G).
    All,
}

/// Their states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// NI: no assert is in force.
    #[default]
    NoInfo,
    /// W: this router forwards.
    Winner,
    /// L: another router does.
    Loser {
        /// `AssertWinner`.
        winner: IpAddr,
        /// `AssertWinnerMetric`.
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

/// What happens to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Data arrives on the interface.
    Data,
    /// An assert is heard.
    Heard {
        /// Who sent it.
        from: IpAddr,
        /// Its metric.
        metric: AssertMetric,
    },
    /// AT expires.
    AssertTimerExpires,
    /// `CouldAssert` becomes FALSE.
    CouldAssertFalse,
    /// `AssertTrackingDesired` becomes FALSE.
    TrackingDesiredFalse,
    /// The winner's generation id changes, or its neighbour liveness timer expires.
    WinnerGone,
    /// `my_assert_metric` becomes better than the winner's metric.
    MetricImproves,
    /// The RPF interface stops being this interface.
    StopsBeingRpfInterface,
    /// A join of the tree to this router.
    ReceiveJoin,
}

/// What else the transition depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guards {
    /// `my_assert_metric`.
    pub mine: AssertMetric,
    /// `CouldAssert`.
    pub could_assert: bool,
    /// `AssertTrackingDesired`.
    pub tracking_desired: bool,
}

/// The columns of the tables, as they are noted (see [`crate::coverage`]): what is heard is told apart by who says it and how good it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// [`Event::Data`] where this router could assert.
    Data,
    /// [`Event::Data`] where it could not.
    DataNoAssert,
    /// A worse metric than this router's own; of a loser, from another router than the winner.
    Inferior,
    /// An assert with the RPT bit where this router could assert by (S,G).
    RptAssert,
    /// A better metric than this router's own, and than the winner's.
    Preferred,
    /// The winner says that it still is.
    WinnerStays,
    /// The winner's metric is worse than this router's own now, or infinite.
    WinnerYields,
    /// An assert that means nothing here.
    NotForIt,
    /// [`Event::AssertTimerExpires`].
    AssertTimerExpires,
    /// [`Event::CouldAssertFalse`].
    CouldAssertFalse,
    /// [`Event::TrackingDesiredFalse`].
    TrackingDesiredFalse,
    /// [`Event::WinnerGone`].
    WinnerGone,
    /// [`Event::MetricImproves`].
    MetricImproves,
    /// [`Event::StopsBeingRpfInterface`].
    StopsBeingRpfInterface,
    /// [`Event::ReceiveJoin`].
    ReceiveJoin,
}

impl EventKind {
    /// The column of an event in a state.
    pub fn of(kind: Kind, state: State, event: Event, guards: Guards) -> EventKind {
        let (metric, from) = match event {
            Event::Data if guards.could_assert => return EventKind::Data,
            Event::Data => return EventKind::DataNoAssert,
            Event::AssertTimerExpires => return EventKind::AssertTimerExpires,
            Event::CouldAssertFalse => return EventKind::CouldAssertFalse,
            Event::TrackingDesiredFalse => return EventKind::TrackingDesiredFalse,
            Event::WinnerGone => return EventKind::WinnerGone,
            Event::MetricImproves => return EventKind::MetricImproves,
            Event::StopsBeingRpfInterface => return EventKind::StopsBeingRpfInterface,
            Event::ReceiveJoin => return EventKind::ReceiveJoin,
            Event::Heard { metric, from } => (metric, from),
        };
        let inferior = guards.mine.is_better_than(&metric) && !guards.mine.is_infinite();
        match state {
            _ if kind == Kind::All && !metric.rpt => EventKind::NotForIt,
            State::NoInfo if kind == Kind::Source && metric.rpt && guards.could_assert => EventKind::RptAssert,
            State::NoInfo | State::Winner if inferior => EventKind::Inferior,
            State::NoInfo | State::Winner if !metric.is_infinite() && metric.is_better_than(&guards.mine) => {
                EventKind::Preferred
            }
            State::NoInfo | State::Winner => EventKind::NotForIt,
            State::Loser { metric: best, .. } if metric.is_better_than(&best) => EventKind::Preferred,
            State::Loser { winner, .. } if from != winner => EventKind::Inferior,
            State::Loser { .. } if inferior || metric.is_infinite() => EventKind::WinnerYields,
            State::Loser { .. } => EventKind::WinnerStays,
        }
    }
}

named!(State {
    "no-info" => State::NoInfo,
    "winner" => State::Winner,
    "loser" => State::Loser { .. },
});

named!(EventKind {
    "data" => EventKind::Data,
    "data-no-assert" => EventKind::DataNoAssert,
    "inferior" => EventKind::Inferior,
    "rpt-assert" => EventKind::RptAssert,
    "preferred" => EventKind::Preferred,
    "winner-stays" => EventKind::WinnerStays,
    "winner-yields" => EventKind::WinnerYields,
    "not-for-it" => EventKind::NotForIt,
    "assert-timer" => EventKind::AssertTimerExpires,
    "could-assert-false" => EventKind::CouldAssertFalse,
    "tracking-desired-false" => EventKind::TrackingDesiredFalse,
    "winner-gone" => EventKind::WinnerGone,
    "metric-improves" => EventKind::MetricImproves,
    "stops-being-rpf-interface" => EventKind::StopsBeingRpfInterface,
    "join" => EventKind::ReceiveJoin,
});

/// What they want done: the numbered actions of the RFC. What A2, A5 and A6 store or delete is in the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A1: send an assert, AT to Assert_Time less Assert_Override_Interval.
    A1,
    /// A2: AT to Assert_Time.
    A2,
    /// A3: as A1, of a winner.
    A3,
    /// A4: send an AssertCancel, stop AT.
    A4,
    /// A5: stop AT.
    A5,
    /// A6: as A2; SPTbit(S,G) to TRUE, if this is the RPF interface of a joined source.
    A6,
}

/// The transition of a state by an event.
///
/// The machine of (S,G) takes every assert that names its source, the one of (*,G) only those with the RPT bit that (S,G) has no use for.
/// Beyond the tables, a winner answers data on its interface by another assert, as §4.2 has it: whoever sent it has not heard the first.
pub fn transition(kind: Kind, state: State, event: Event, guards: Guards) -> (State, Option<Action>) {
    use Action::*;
    use Event::*;
    use State::*;
    let Guards { mine, could_assert, tracking_desired } = guards;
    let acceptable = |metric: &AssertMetric| metric.is_better_than(&mine) && !metric.is_infinite();
    let inferior = |metric: &AssertMetric| mine.is_better_than(metric) && !mine.is_infinite();
    match (kind, state, event) {
        (_, NoInfo, Data) if could_assert => (Winner, Some(A1)),
        (_, Winner, Data) => (Winner, Some(A3)),
        (_, NoInfo | Loser { .. }, Data) => (state, None),

        (Kind::All, _, Heard { metric, .. }) if !metric.rpt => (state, None),
        (Kind::Source, NoInfo, Heard { from, metric }) => match metric.rpt {
            false if inferior(&metric) => (Winner, Some(A1)),
            false if acceptable(&metric) && tracking_desired => (Loser { winner: from, metric }, Some(A6)),
            true if could_assert => (Winner, Some(A1)),
            _ => (NoInfo, None),
        },
        (Kind::All, NoInfo, Heard { from, metric }) => match () {
            () if inferior(&metric) && could_assert => (Winner, Some(A1)),
            () if acceptable(&metric) && tracking_desired => (Loser { winner: from, metric }, Some(A2)),
            () => (NoInfo, None),
        },
        (_, Winner, Heard { from, metric }) => match () {
            () if inferior(&metric) => (Winner, Some(A3)),
            () if acceptable(&metric) => (Loser { winner: from, metric }, Some(A2)),
            () => (Winner, None),
        },
        (_, Loser { winner, metric: best }, Heard { from, metric }) => match () {
            () if metric.is_better_than(&best) => (Loser { winner: from, metric }, Some(A2)),
            () if from != winner => (state, None),
            () if inferior(&metric) || metric.is_infinite() => (NoInfo, Some(A5)),
            () if acceptable(&metric) && metric.rpt == (kind == Kind::All) => (Loser { winner, metric }, Some(A2)),
            () => (state, None),
        },

        (_, Winner, AssertTimerExpires) => (Winner, Some(A3)),
        (_, Loser { .. }, AssertTimerExpires) => (NoInfo, Some(A5)),
        (_, NoInfo, AssertTimerExpires) => (NoInfo, None),

        (_, Winner, CouldAssertFalse) => (NoInfo, Some(A4)),
        (_, NoInfo | Loser { .. }, CouldAssertFalse) => (state, None),

        (
            _,
            Loser { .. },
            TrackingDesiredFalse | WinnerGone | MetricImproves | StopsBeingRpfInterface | ReceiveJoin,
        ) => (NoInfo, Some(A5)),
        (
            _,
            NoInfo | Winner,
            TrackingDesiredFalse | WinnerGone | MetricImproves | StopsBeingRpfInterface | ReceiveJoin,
        ) => (state, None),
    }
}
