//! The state machine of a candidate BSR in a scope zone (RFC 5059 §3.1.1).

use crate::named;

/// Its states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// C-BSR: another router is the preferred BSR.
    Candidate,
    /// P-BSR: nobody is preferred, and this router is about to be elected.
    #[default]
    Pending,
    /// E-BSR: this router is the BSR.
    Elected,
}

impl State {
    /// Its name in events and answers.
    pub fn name(self) -> &'static str {
        match self {
            State::Candidate => "candidate",
            State::Pending => "pending",
            State::Elected => "elected",
        }
    }
}

/// What happens to it (§3.1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Receive Preferred BSM.
    ReceivePreferred,
    /// BST(Z) expires.
    BootstrapTimerExpires,
    /// Receive Non-preferred BSM.
    ReceiveNonPreferred,
    /// Receive Non-preferred BSM from Elected BSR: its priority fell below this router's.
    ReceiveNonPreferredFromElected,
}

named!(State { "candidate" => State::Candidate, "pending" => State::Pending, "elected" => State::Elected });

named!(Event {
    "receive-preferred" => Event::ReceivePreferred,
    "bootstrap-timer" => Event::BootstrapTimerExpires,
    "receive-non-preferred" => Event::ReceiveNonPreferred,
    "receive-non-preferred-from-elected" => Event::ReceiveNonPreferredFromElected,
});

/// What it wants done, in order (§3.1.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Forward BSM.
    Forward,
    /// Store RP-Set.
    Store,
    /// Originate BSM.
    Originate,
    /// BST(Z) to BS_Timeout.
    SetTimeout,
    /// BST(Z) to BS_Rand_Override.
    SetRandOverride,
    /// BST(Z) to BS_Period.
    SetPeriod,
}

/// The transition of a state by an event.
pub fn transition(state: State, event: Event) -> (State, &'static [Action]) {
    use Action::*;
    use Event::*;
    use State::*;
    match (state, event) {
        (Candidate | Pending | Elected, ReceivePreferred) => (Candidate, &[Forward, Store, SetTimeout]),

        (Candidate, BootstrapTimerExpires) => (Pending, &[SetRandOverride]),
        (Pending | Elected, BootstrapTimerExpires) => (Elected, &[Originate, SetPeriod]),

        // Of somebody who is neither the BSR nor heavier: the table has no column for it.
        (Candidate, ReceiveNonPreferred) => (Candidate, &[]),
        (Candidate, ReceiveNonPreferredFromElected) => (Pending, &[Forward, SetRandOverride]),

        // Only in C-BSR state is another router the elected BSR.
        (Pending, ReceiveNonPreferred | ReceiveNonPreferredFromElected) => (Pending, &[Forward]),
        (Elected, ReceiveNonPreferred | ReceiveNonPreferredFromElected) => (Elected, &[Originate, SetPeriod]),
    }
}
