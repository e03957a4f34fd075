//! The register machine of (S,G) at the designated router of the source's link (RFC 7761 §4.4.1, figure 1).

use crate::named;

/// Its states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// NI: this router registers nothing.
    #[default]
    NoInfo,
    /// J: data goes to the rendezvous point in registers.
    Join,
    /// JP: the rendezvous point wanted no more, and was asked whether that still holds.
    JoinPending,
    /// P: the rendezvous point wants no registers.
    Prune,
}

impl State {
    /// Its name in events and answers.
    pub fn name(self) -> &'static str {
        match self {
            State::NoInfo => "no-info",
            State::Join => "join",
            State::JoinPending => "join-pending",
            State::Prune => "prune",
        }
    }
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// RST expires.
    RegisterStopTimerExpires,
    /// `CouldRegister(S,G)` becomes TRUE.
    CouldRegisterTrue,
    /// `CouldRegister(S,G)` becomes FALSE.
    CouldRegisterFalse,
    /// A register-stop came.
    ReceiveRegisterStop,
    /// RP(G) is another router.
    RpChanged,
}

named!(State {
    "no-info" => State::NoInfo,
    "join" => State::Join,
    "join-pending" => State::JoinPending,
    "prune" => State::Prune,
});

named!(Event {
    "register-stop-timer" => Event::RegisterStopTimerExpires,
    "could-register-true" => Event::CouldRegisterTrue,
    "could-register-false" => Event::CouldRegisterFalse,
    "register-stop" => Event::ReceiveRegisterStop,
    "rp-changed" => Event::RpChanged,
});

/// What it wants done, in order. That the register tunnel is added or removed is what Join state means: see [`super::macros::joins`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// RST to a random time around Register_Suppression_Time, less Register_Probe_Time.
    SetSuppression,
    /// RST to Register_Probe_Time.
    SetProbe,
    /// Stop RST.
    CancelTimer,
    /// Send a null register.
    SendNullRegister,
}

/// The transition of a state by an event.
pub fn transition(state: State, event: Event) -> (State, &'static [Action]) {
    use Action::*;
    use Event::*;
    use State::*;
    match (state, event) {
        (Prune, RegisterStopTimerExpires) => (JoinPending, &[SetProbe, SendNullRegister]),
        (JoinPending, RegisterStopTimerExpires) => (Join, &[]),
        (NoInfo | Join, RegisterStopTimerExpires) => (state, &[]),

        (NoInfo, CouldRegisterTrue) => (Join, &[]),
        (Join | JoinPending | Prune, CouldRegisterTrue) => (state, &[]),

        (NoInfo | Join, CouldRegisterFalse) => (NoInfo, &[]),
        (JoinPending | Prune, CouldRegisterFalse) => (NoInfo, &[CancelTimer]),

        (Join | JoinPending, ReceiveRegisterStop) => (Prune, &[SetSuppression]),
        (NoInfo | Prune, ReceiveRegisterStop) => (state, &[]),

        (NoInfo, RpChanged) => (NoInfo, &[]),
        (Join, RpChanged) => (Join, &[]),
        (JoinPending | Prune, RpChanged) => (Join, &[CancelTimer]),
    }
}
