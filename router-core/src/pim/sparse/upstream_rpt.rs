//! The upstream machine of (S,G,rpt) for triggered messages: pruning one source off the shared tree (RFC 7761 §4.5.7, figure 7).

use crate::named;

/// Its states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// RPTNotJoined(G): (*,G) is not joined.
    #[default]
    NotJoined,
    /// Pruned(S,G,rpt): (*,G) is joined, the source is pruned.
    Pruned,
    /// NotPruned(S,G,rpt): (*,G) is joined, the source is not pruned.
    NotPruned,
}

impl State {
    /// Its name in events and answers.
    pub fn name(self) -> &'static str {
        match self {
            State::NotJoined => "not-joined",
            State::Pruned => "pruned",
            State::NotPruned => "not-pruned",
        }
    }
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// `PruneDesired(S,G,rpt)` becomes TRUE.
    PruneDesiredTrue,
    /// `PruneDesired(S,G,rpt)` becomes FALSE while `RPTJoinDesired(G)` is TRUE.
    PruneDesiredFalse,
    /// `RPTJoinDesired(G)` becomes FALSE.
    RptJoinDesiredFalse,
    /// `inherited_olist(S,G,rpt)` is no longer NULL, of a joined (*,G).
    OlistNonNull,
    /// OT expires.
    OverrideTimerExpires,
    /// Another router prunes (S,G,rpt) at RPF'(S,G,rpt).
    SeePrune,
    /// Another router joins (S,G,rpt) at RPF'(S,G,rpt).
    SeeJoin,
    /// Another router prunes (S,G) at RPF'(S,G,rpt).
    SeePruneSource,
    /// RPF'(S,G,rpt) is RPF'(*,G) again.
    NeighbourBecomesAll,
}

named!(State {
    "not-joined" => State::NotJoined,
    "pruned" => State::Pruned,
    "not-pruned" => State::NotPruned,
});

named!(Event {
    "prune-desired-true" => Event::PruneDesiredTrue,
    "prune-desired-false" => Event::PruneDesiredFalse,
    "rpt-join-desired-false" => Event::RptJoinDesiredFalse,
    "olist-non-null" => Event::OlistNonNull,
    "override-timer" => Event::OverrideTimerExpires,
    "see-prune" => Event::SeePrune,
    "see-join" => Event::SeeJoin,
    "see-prune-source" => Event::SeePruneSource,
    "neighbour-becomes-all" => Event::NeighbourBecomesAll,
});

/// What it wants done, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send Join(S,G,rpt) to RPF'(S,G,rpt).
    SendJoin,
    /// Send Prune(S,G,rpt) to RPF'(S,G,rpt).
    SendPrune,
    /// OT to t_override, if it would expire later or does not run.
    LowerOverride,
    /// Stop OT.
    CancelOverride,
}

/// The transition of a state by an event.
pub fn transition(state: State, event: Event) -> (State, &'static [Action]) {
    use Action::*;
    use Event::*;
    use State::*;
    match (state, event) {
        (NotJoined, PruneDesiredTrue) => (Pruned, &[]),
        (Pruned, PruneDesiredTrue) => (Pruned, &[]),
        (NotPruned, PruneDesiredTrue) => (Pruned, &[SendPrune, CancelOverride]),

        (Pruned, PruneDesiredFalse) => (NotPruned, &[SendJoin]),
        (NotJoined | NotPruned, PruneDesiredFalse) => (state, &[]),

        (Pruned, RptJoinDesiredFalse) => (NotJoined, &[]),
        (NotPruned, RptJoinDesiredFalse) => (NotJoined, &[CancelOverride]),
        (NotJoined, RptJoinDesiredFalse) => (NotJoined, &[]),

        (NotJoined, OlistNonNull) => (NotPruned, &[]),
        (Pruned | NotPruned, OlistNonNull) => (state, &[]),

        (NotPruned, OverrideTimerExpires) => (NotPruned, &[SendJoin]),
        (NotPruned, SeePrune | SeePruneSource | NeighbourBecomesAll) => (NotPruned, &[LowerOverride]),
        (NotPruned, SeeJoin) => (NotPruned, &[CancelOverride]),
        (NotJoined | Pruned, OverrideTimerExpires | SeePrune | SeePruneSource | NeighbourBecomesAll | SeeJoin) => {
            (state, &[])
        }
    }
}
