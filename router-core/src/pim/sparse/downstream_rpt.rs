//! The downstream per-interface machine of (S,G,rpt): prunes of one source on the shared tree (RFC 7761 §4.5.3, figure 4).

use crate::named;

/// Its states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// NI: no prune holds.
    #[default]
    NoInfo,
    /// P: the source is pruned off the shared tree here.
    Prune,
    /// PP: a prune was heard; other routers may still override it. Data is forwarded as in NoInfo state.
    PrunePending,
    /// P': Prune, while a message is read that joined (*,G) and may yet prune the source again.
    PruneTmp,
    /// PP': Prune-Pending, while such a message is read.
    PrunePendingTmp,
}

impl State {
    /// Its name in events and answers.
    pub fn name(self) -> &'static str {
        match self {
            State::NoInfo => "no-info",
            State::Prune => "prune",
            State::PrunePending => "prune-pending",
            State::PruneTmp => "prune-tmp",
            State::PrunePendingTmp => "prune-pending-tmp",
        }
    }
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A join of (*,G) to this router.
    ReceiveJoinAll,
    /// A join of (S,G,rpt) to this router.
    ReceiveJoin,
    /// A prune of (S,G,rpt) to this router.
    ReceivePrune,
    /// The end of the message that joined (*,G).
    EndOfMessage,
    /// PPT expires.
    PrunePendingTimerExpires,
    /// ET expires.
    ExpiryTimerExpires,
}

named!(State {
    "no-info" => State::NoInfo,
    "prune" => State::Prune,
    "prune-pending" => State::PrunePending,
    "prune-tmp" => State::PruneTmp,
    "prune-pending-tmp" => State::PrunePendingTmp,
});

named!(Event {
    "join-all" => Event::ReceiveJoinAll,
    "join" => Event::ReceiveJoin,
    "prune" => Event::ReceivePrune,
    "end-of-message" => Event::EndOfMessage,
    "prune-pending-timer" => Event::PrunePendingTimerExpires,
    "expiry-timer" => Event::ExpiryTimerExpires,
});

/// What it wants done, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// PPT to J/P_Override_Interval, or to 0 with a single neighbour.
    StartPrunePending,
    /// Stop PPT.
    CancelPrunePending,
    /// ET to the hold time of the prune.
    StartExpiry,
    /// ET to the hold time of the prune, if that is longer than what is left.
    RestartExpiry,
    /// Stop ET.
    CancelExpiry,
}

/// The transition of a state by an event.
///
/// Where a prune ends by a time-out while it is pending, the table has nothing, since ET is the longer of the two; should it not be (a hold
/// time shorter than the override interval), the prune is over.
pub fn transition(state: State, event: Event) -> (State, &'static [Action]) {
    use Action::*;
    use Event::*;
    use State::*;
    match (state, event) {
        (Prune, ReceiveJoinAll) => (PruneTmp, &[]),
        (PrunePending, ReceiveJoinAll) => (PrunePendingTmp, &[]),
        (NoInfo | PruneTmp | PrunePendingTmp, ReceiveJoinAll) => (state, &[]),

        (Prune | PrunePending, ReceiveJoin) => (NoInfo, &[CancelExpiry, CancelPrunePending]),
        (NoInfo | PruneTmp | PrunePendingTmp, ReceiveJoin) => (state, &[]),

        (NoInfo, ReceivePrune) => (PrunePending, &[StartExpiry, StartPrunePending]),
        (Prune, ReceivePrune) => (Prune, &[RestartExpiry]),
        (PrunePending, ReceivePrune) => (PrunePending, &[]),
        (PruneTmp, ReceivePrune) => (Prune, &[RestartExpiry]),
        (PrunePendingTmp, ReceivePrune) => (PrunePending, &[RestartExpiry]),

        (PruneTmp, EndOfMessage) => (NoInfo, &[CancelExpiry]),
        (PrunePendingTmp, EndOfMessage) => (NoInfo, &[CancelExpiry, CancelPrunePending]),
        (NoInfo | Prune | PrunePending, EndOfMessage) => (state, &[]),

        (PrunePending, PrunePendingTimerExpires) => (Prune, &[]),
        (NoInfo | Prune | PruneTmp | PrunePendingTmp, PrunePendingTimerExpires) => (state, &[]),

        (Prune, ExpiryTimerExpires) => (NoInfo, &[]),
        (PrunePending, ExpiryTimerExpires) => (NoInfo, &[CancelPrunePending]),
        (NoInfo | PruneTmp | PrunePendingTmp, ExpiryTimerExpires) => (state, &[]),
    }
}
