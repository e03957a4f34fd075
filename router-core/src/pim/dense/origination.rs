//! The Origination(S,G) state machine: which router makes state refresh messages (RFC 3973 §4.5.2).

use crate::named;

/// Its states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// NO: this router makes none.
    #[default]
    NotOriginator,
    /// O: the source is directly connected and active.
    Originator,
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Data of a directly connected source was received.
    DataOfDirectSource,
    /// SRT(S,G) expires.
    StateRefreshTimerExpires,
    /// SAT(S,G) expires.
    SourceActiveTimerExpires,
    /// S is no longer directly connected.
    NoLongerDirect,
}

named!(State { "not-originator" => State::NotOriginator, "originator" => State::Originator });

named!(Event {
    "data-of-direct-source" => Event::DataOfDirectSource,
    "state-refresh-timer" => Event::StateRefreshTimerExpires,
    "source-active-timer" => Event::SourceActiveTimerExpires,
    "no-longer-direct" => Event::NoLongerDirect,
});

/// What it wants done, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// SRT(S,G) to StateRefreshInterval.
    SetStateRefresh,
    /// Stop SRT(S,G).
    CancelStateRefresh,
    /// SAT(S,G) to SourceLifetime.
    SetSourceActive,
    /// Stop SAT(S,G).
    CancelSourceActive,
    /// Send StateRefresh(S,G) as §4.5.1 says.
    SendStateRefresh,
}

/// The transition of a state by an event.
pub fn transition(state: State, event: Event) -> (State, &'static [Action]) {
    use Action::*;
    use Event::*;
    use State::*;
    match (state, event) {
        (NotOriginator, DataOfDirectSource) => (Originator, &[SetStateRefresh, SetSourceActive]),
        (Originator, DataOfDirectSource) => (Originator, &[SetSourceActive]),
        (Originator, StateRefreshTimerExpires) => (Originator, &[SendStateRefresh, SetStateRefresh]),
        (Originator, SourceActiveTimerExpires) => (NotOriginator, &[CancelStateRefresh]),
        (Originator, NoLongerDirect) => (NotOriginator, &[CancelStateRefresh, CancelSourceActive]),
        (NotOriginator, StateRefreshTimerExpires | SourceActiveTimerExpires | NoLongerDirect) => (NotOriginator, &[]),
    }
}
