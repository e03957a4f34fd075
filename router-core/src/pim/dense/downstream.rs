//! The Prune(S,G) Downstream state machine of an interface: hearing prunes, joins and grafts (RFC 3973 §4.4.2).

use crate::named;

/// Its states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// NI: no prune holds.
    #[default]
    NoInfo,
    /// PP: a prune was heard; other routers may still override it.
    PrunePending,
    /// P: a prune holds; nothing is forwarded here but to members.
    Pruned,
}

impl State {
    /// Its name in events and answers.
    pub fn name(self) -> &'static str {
        match self {
            State::NoInfo => "no-info",
            State::PrunePending => "prune-pending",
            State::Pruned => "pruned",
        }
    }
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A prune to this router.
    Prune,
    /// A join to this router.
    Join,
    /// A graft to this router.
    Graft,
    /// PPT(S,G,I) expires.
    PrunePendingTimerExpires,
    /// PT(S,G,I) expires.
    PruneTimerExpires,
    /// `RPF_Interface(S)` becomes this interface.
    BecomesRpfInterface,
    /// A state refresh is sent out of the interface.
    SendStateRefresh,
    /// A router came up on the link, or came back: it has not pruned. The RFC has no such event; see docs/conformance/pim-dm.md.
    NeighbourAppears,
}

named!(State { "no-info" => State::NoInfo, "prune-pending" => State::PrunePending, "pruned" => State::Pruned });

named!(Event {
    "prune" => Event::Prune,
    "join" => Event::Join,
    "graft" => Event::Graft,
    "prune-pending-timer" => Event::PrunePendingTimerExpires,
    "prune-timer" => Event::PruneTimerExpires,
    "becomes-rpf-interface" => Event::BecomesRpfInterface,
    "send-state-refresh" => Event::SendStateRefresh,
    "neighbour-appears" => Event::NeighbourAppears,
});

/// What it wants done, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// PPT(S,G,I) to J/P_Override_Interval, or to 0 with a single neighbour.
    SetPrunePending,
    /// Stop PPT(S,G,I).
    CancelPrunePending,
    /// PT(S,G,I) to the prune's hold time less J/P_Override_Interval.
    SetPrune,
    /// PT(S,G,I) to the hold time of the prune just heard, if that is longer.
    ExtendPrune,
    /// PT(S,G,I) to the largest hold time that is active.
    RefreshPrune,
    /// Stop PT(S,G,I).
    CancelPrune,
    /// Send PruneEcho(S,G), if there is more than one neighbour.
    SendPruneEcho,
    /// Send a graft-ack to whoever grafted.
    SendGraftAck,
}

/// The transition of a state by an event.
pub fn transition(state: State, event: Event) -> (State, &'static [Action]) {
    use Action::*;
    use Event::*;
    use State::*;
    match (state, event) {
        (NoInfo, Prune) => (PrunePending, &[SetPrunePending]),
        (PrunePending, Prune) => (PrunePending, &[]),
        (Pruned, Prune) => (Pruned, &[ExtendPrune]),

        (NoInfo, Join) => (NoInfo, &[]),
        (PrunePending, Join) => (NoInfo, &[CancelPrunePending]),
        (Pruned, Join) => (NoInfo, &[CancelPrune]),

        (NoInfo, Graft) => (NoInfo, &[SendGraftAck]),
        (PrunePending, Graft) => (NoInfo, &[SendGraftAck, CancelPrunePending]),
        (Pruned, Graft) => (NoInfo, &[SendGraftAck, CancelPrune]),

        (PrunePending, PrunePendingTimerExpires) => (Pruned, &[SetPrune, SendPruneEcho]),
        (state, PrunePendingTimerExpires) => (state, &[]),

        (Pruned, PruneTimerExpires) => (NoInfo, &[]),
        (state, PruneTimerExpires) => (state, &[]),

        (NoInfo, BecomesRpfInterface) => (NoInfo, &[]),
        (PrunePending, BecomesRpfInterface) => (NoInfo, &[CancelPrunePending]),
        (Pruned, BecomesRpfInterface) => (NoInfo, &[CancelPrune]),

        (Pruned, SendStateRefresh) => (Pruned, &[RefreshPrune]),
        (state, SendStateRefresh) => (state, &[]),

        (NoInfo, NeighbourAppears) => (NoInfo, &[]),
        (PrunePending, NeighbourAppears) => (NoInfo, &[CancelPrunePending]),
        (Pruned, NeighbourAppears) => (NoInfo, &[CancelPrune]),
    }
}
