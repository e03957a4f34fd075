//! The state machine of a router that is no candidate BSR in a scope zone (RFC 5059 §3.1.2).

use crate::named;

/// Its states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// NoInfo: the zone is not known. Nothing is kept of it.
    NoInfo,
    /// AA: no BSR is known, and the first one heard is taken.
    #[default]
    AcceptAny,
    /// AP: the BSR is known; only it and heavier ones are heard.
    AcceptPreferred,
}

impl State {
    /// Its name in events and answers.
    pub fn name(self) -> &'static str {
        match self {
            State::NoInfo => "no-info",
            State::AcceptAny => "accept-any",
            State::AcceptPreferred => "accept-preferred",
        }
    }
}

/// What happens to it (§3.1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Receive Preferred BSM; without a BSR, any is.
    ReceivePreferred,
    /// Receive Non-preferred BSM.
    ReceiveNonPreferred,
    /// BST(Z) expires.
    BootstrapTimerExpires,
    /// SZT(Z) expires: of a zone that was learned.
    ScopeZoneTimerExpires,
}

named!(State {
    "no-info" => State::NoInfo,
    "accept-any" => State::AcceptAny,
    "accept-preferred" => State::AcceptPreferred,
});

named!(Event {
    "receive-preferred" => Event::ReceivePreferred,
    "receive-non-preferred" => Event::ReceiveNonPreferred,
    "bootstrap-timer" => Event::BootstrapTimerExpires,
    "scope-zone-timer" => Event::ScopeZoneTimerExpires,
});

/// What it wants done, in order (§3.1.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Forward BSM.
    Forward,
    /// Store RP-Set.
    Store,
    /// BST(Z) to BS_Timeout, and no SZT(Z).
    SetTimeout,
    /// Refresh RP-Set.
    Refresh,
    /// Remove BSR state.
    RemoveBsr,
    /// SZT(Z) to SZ_Timeout, of a zone that was learned.
    SetScopeZoneTimer,
    /// Remove scope zone state.
    RemoveZone,
}

/// The transition of a state by an event.
pub fn transition(state: State, event: Event) -> (State, &'static [Action]) {
    use Action::*;
    use Event::*;
    use State::*;
    match (state, event) {
        (NoInfo | AcceptAny, ReceivePreferred | ReceiveNonPreferred) | (AcceptPreferred, ReceivePreferred) => {
            (AcceptPreferred, &[Forward, Store, SetTimeout])
        }
        (AcceptPreferred, ReceiveNonPreferred) => (AcceptPreferred, &[]),
        (AcceptPreferred, BootstrapTimerExpires) => (AcceptAny, &[Refresh, RemoveBsr, SetScopeZoneTimer]),
        (AcceptAny, ScopeZoneTimerExpires) => (NoInfo, &[RemoveZone]),

        // Timers that do not run there.
        (NoInfo | AcceptAny, BootstrapTimerExpires) => (state, &[]),
        (NoInfo | AcceptPreferred, ScopeZoneTimerExpires) => (state, &[]),
    }
}
