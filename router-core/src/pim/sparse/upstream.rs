//! The upstream machines of (*,G) and of (S,G): joining toward the rendezvous point and the source (RFC 7761 §4.5.4, §4.5.5). Figure 6 is
//! figure 5 with the SPTbit and two more prunes to override.

use crate::named;

/// Their states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// NJ: nobody downstream needs the tree.
    #[default]
    NotJoined,
    /// J: this router is on the tree.
    Joined,
}

impl State {
    /// Its name in events and answers.
    pub fn name(self) -> &'static str {
        match self {
            State::NotJoined => "not-joined",
            State::Joined => "joined",
        }
    }
}

/// What happens to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// `JoinDesired` becomes TRUE.
    JoinDesiredTrue,
    /// `JoinDesired` becomes FALSE.
    JoinDesiredFalse,
    /// JT expires.
    JoinTimerExpires,
    /// Another router joins the same tree at RPF'.
    SeeJoin,
    /// Another router prunes the same tree at RPF'.
    SeePrune,
    /// Another router prunes (S,G,rpt) at RPF'(S,G); of (S,G) only.
    SeePruneRpt,
    /// Another router prunes (*,G) at RPF'(S,G); of (S,G) only.
    SeePruneAll,
    /// RPF' is another router because of an assert.
    NeighbourChangesByAssert,
    /// RPF' is another router for another reason: another route, another rendezvous point, a neighbour that came or went.
    NeighbourChanges,
    /// RPF' has restarted.
    GenIdChanges,
}

named!(State {
    "not-joined" => State::NotJoined,
    "joined" => State::Joined,
});

named!(Event {
    "join-desired-true" => Event::JoinDesiredTrue,
    "join-desired-false" => Event::JoinDesiredFalse,
    "join-timer" => Event::JoinTimerExpires,
    "see-join" => Event::SeeJoin,
    "see-prune" => Event::SeePrune,
    "see-prune-rpt" => Event::SeePruneRpt,
    "see-prune-all" => Event::SeePruneAll,
    "neighbour-changes-by-assert" => Event::NeighbourChangesByAssert,
    "neighbour-changes" => Event::NeighbourChanges,
    "gen-id-changes" => Event::GenIdChanges,
});

/// What they want done, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send a join to RPF'.
    SendJoin,
    /// Send a prune to RPF'.
    SendPrune,
    /// Send a prune to what was RPF'.
    SendPruneToOld,
    /// JT to t_periodic.
    SetJoin,
    /// Stop JT.
    CancelJoin,
    /// JT to t_joinsuppress, if it would expire sooner.
    IncreaseJoin,
    /// JT to t_override, if it would expire later.
    DecreaseJoin,
    /// SPTbit(S,G) to FALSE; of (S,G) only.
    ClearSptBit,
}

/// The transition of a state by an event.
pub fn transition(state: State, event: Event) -> (State, &'static [Action]) {
    use Action::*;
    use Event::*;
    use State::*;
    match (state, event) {
        (NotJoined, JoinDesiredTrue) => (Joined, &[SendJoin, SetJoin]),
        (NotJoined, _) => (NotJoined, &[]),

        (Joined, JoinDesiredTrue) => (Joined, &[]),
        (Joined, JoinDesiredFalse) => (NotJoined, &[SendPrune, ClearSptBit, CancelJoin]),
        (Joined, JoinTimerExpires) => (Joined, &[SendJoin, SetJoin]),
        (Joined, SeeJoin) => (Joined, &[IncreaseJoin]),
        (Joined, SeePrune | SeePruneRpt | SeePruneAll | NeighbourChangesByAssert | GenIdChanges) => {
            (Joined, &[DecreaseJoin])
        }
        (Joined, NeighbourChanges) => (Joined, &[SendJoin, SendPruneToOld, SetJoin]),
    }
}
