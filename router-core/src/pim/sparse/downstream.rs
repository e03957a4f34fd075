//! The downstream per-interface machines of (*,G) and of (S,G): joins and prunes heard (RFC 7761 §4.5.1, §4.5.2). Figures 2 and 3 of the
//! RFC are the same table.

use crate::named;

/// Their states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// NI: no join holds.
    #[default]
    NoInfo,
    /// J: a join holds.
    Join,
    /// PP: a prune was heard; other routers may still override it. Data is forwarded as in Join state.
    PrunePending,
}

impl State {
    /// Its name in events and answers.
    pub fn name(self) -> &'static str {
        match self {
            State::NoInfo => "no-info",
            State::Join => "join",
            State::PrunePending => "prune-pending",
        }
    }
}

/// What happens to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A join to this router.
    ReceiveJoin,
    /// A prune to this router.
    ReceivePrune,
    /// PPT expires.
    PrunePendingTimerExpires,
    /// ET expires.
    ExpiryTimerExpires,
}

named!(State {
    "no-info" => State::NoInfo,
    "join" => State::Join,
    "prune-pending" => State::PrunePending,
});

named!(Event {
    "join" => Event::ReceiveJoin,
    "prune" => Event::ReceivePrune,
    "prune-pending-timer" => Event::PrunePendingTimerExpires,
    "expiry-timer" => Event::ExpiryTimerExpires,
});

/// What they want done, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// ET to the hold time of the join.
    StartExpiry,
    /// ET to the hold time of the join, if that is longer than what is left.
    RestartExpiry,
    /// Stop ET.
    CancelExpiry,
    /// PPT to J/P_Override_Interval, or to 0 with a single neighbour.
    StartPrunePending,
    /// Stop PPT.
    CancelPrunePending,
    /// Send a PruneEcho, unless there is a single neighbour.
    SendPruneEcho,
}

/// The transition of a state by an event.
pub fn transition(state: State, event: Event) -> (State, &'static [Action]) {
    use Action::*;
    use Event::*;
    use State::*;
    match (state, event) {
        (NoInfo, ReceiveJoin) => (Join, &[StartExpiry]),
        (Join, ReceiveJoin) => (Join, &[RestartExpiry]),
        (PrunePending, ReceiveJoin) => (Join, &[CancelPrunePending, RestartExpiry]),

        (NoInfo, ReceivePrune) => (NoInfo, &[]),
        (Join, ReceivePrune) => (PrunePending, &[StartPrunePending]),
        (PrunePending, ReceivePrune) => (PrunePending, &[]),

        (PrunePending, PrunePendingTimerExpires) => (NoInfo, &[CancelExpiry, SendPruneEcho]),
        (NoInfo | Join, PrunePendingTimerExpires) => (state, &[]),

        (Join, ExpiryTimerExpires) => (NoInfo, &[]),
        (PrunePending, ExpiryTimerExpires) => (NoInfo, &[CancelPrunePending]),
        (NoInfo, ExpiryTimerExpires) => (NoInfo, &[]),
    }
}
