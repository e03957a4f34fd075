//! The Upstream(S,G) state machine: sending prunes, joins and grafts toward the source (RFC 3973 §4.4.1).

use crate::named;

/// Its states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// F: `olist(S,G)` is not empty, or the machine has just started.
    #[default]
    Forwarding,
    /// P: `olist(S,G)` is empty; nothing is forwarded.
    Pruned,
    /// AP: a graft was sent and is not acknowledged yet.
    AckPending,
}

impl State {
    /// Its name in events and answers.
    pub fn name(self) -> &'static str {
        match self {
            State::Forwarding => "forwarding",
            State::Pruned => "pruned",
            State::AckPending => "ack-pending",
        }
    }
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A data packet arrives on `RPF_Interface(S)` and `olist(S,G)` is NULL.
    DataWithoutOlist,
    /// A state refresh from `RPF'(S)`, with its Prune Indicator.
    StateRefresh {
        /// The Prune Indicator bit.
        prune_indicator: bool,
    },
    /// Another router's join to `RPF'(S)` is seen.
    SeeJoin,
    /// Another router's prune is seen.
    SeePrune,
    /// OT(S,G) expires.
    OverrideTimerExpires,
    /// `olist(S,G)` becomes NULL.
    OlistNull,
    /// `olist(S,G)` becomes non-NULL.
    OlistNonNull,
    /// `RPF'(S)` changes to another neighbour.
    RpfNeighbourChanges {
        /// Whether `olist(S,G)` is NULL after it.
        olist_is_null: bool,
    },
    /// S becomes directly connected.
    DirectlyConnected {
        /// Whether `olist(S,G)` is NULL after it.
        olist_is_null: bool,
    },
    /// GRT(S,G) expires.
    GraftRetryTimerExpires,
    /// A graft-ack from `RPF'(S)` to this router.
    GraftAck,
}

named!(State { "forwarding" => State::Forwarding, "pruned" => State::Pruned, "ack-pending" => State::AckPending });

named!(Event {
    "data-without-olist" => Event::DataWithoutOlist,
    "state-refresh-pruned" => Event::StateRefresh { prune_indicator: true },
    "state-refresh" => Event::StateRefresh { prune_indicator: false },
    "see-join" => Event::SeeJoin,
    "see-prune" => Event::SeePrune,
    "override-timer" => Event::OverrideTimerExpires,
    "olist-null" => Event::OlistNull,
    "olist-non-null" => Event::OlistNonNull,
    "rpf-neighbour-changes" => Event::RpfNeighbourChanges { olist_is_null: false },
    "rpf-neighbour-changes-olist-null" => Event::RpfNeighbourChanges { olist_is_null: true },
    "directly-connected" => Event::DirectlyConnected { olist_is_null: false },
    "directly-connected-olist-null" => Event::DirectlyConnected { olist_is_null: true },
    "graft-retry-timer" => Event::GraftRetryTimerExpires,
    "graft-ack" => Event::GraftAck,
});

/// What else the transition depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guards {
    /// PLT(S,G) runs.
    pub prune_limit_running: bool,
    /// OT(S,G) runs.
    pub override_running: bool,
    /// S is directly connected.
    pub directly_connected: bool,
    /// `olist(S,G)` is NULL: in F, the machine has just started, and has neither seen data nor pruned.
    pub olist_is_null: bool,
}

/// What it wants done, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send Prune(S,G) to `RPF'(S)`.
    SendPrune,
    /// Send Join(S,G) to `RPF'(S)`.
    SendJoin,
    /// Send Graft(S,G) to `RPF'(S)`, the first of its kind.
    SendGraft,
    /// Send Graft(S,G) again.
    RetryGraft,
    /// PLT(S,G) to t_limit.
    SetPruneLimit,
    /// Set PLT(S,G) to J/P_Override_Interval: by then a prune has taken effect, if it does.
    SetPruneLimitBriefly,
    /// Stop PLT(S,G).
    CancelPruneLimit,
    /// OT(S,G) to t_override.
    SetOverride,
    /// Stop OT(S,G).
    CancelOverride,
    /// GRT(S,G) to Graft_Retry_Period.
    SetGraftRetry,
    /// Stop GRT(S,G).
    CancelGraftRetry,
}

/// The transition of a state by an event.
pub fn transition(state: State, event: Event, guards: Guards) -> (State, &'static [Action]) {
    use Action::*;
    use Event::*;
    use State::*;
    let direct = guards.directly_connected;
    match (state, event) {
        (Forwarding, DataWithoutOlist) if !direct => (Pruned, &[CancelOverride, SendPrune, SetPruneLimit]),
        (Pruned, DataWithoutOlist) if !direct && !guards.prune_limit_running => (Pruned, &[SendPrune, SetPruneLimit]),
        (state, DataWithoutOlist) => (state, &[]),

        // §4.3.4: a router that has just started takes its state from the message. The RFC's table has it override the prune, but OT is
        // for routers whose olist is not NULL (§4.4.1).
        (Forwarding, StateRefresh { prune_indicator: true }) if guards.olist_is_null => {
            // No prune was sent, so none is limited: where the upstream router learns only now that this one is new, it forwards again.
            (Pruned, &[CancelOverride])
        }
        (Forwarding, StateRefresh { prune_indicator: false }) if guards.olist_is_null => {
            (Pruned, &[CancelOverride, SendPrune, SetPruneLimit])
        }

        (Forwarding | AckPending, StateRefresh { prune_indicator: true }) => (state, set_override(guards)),
        (Pruned, StateRefresh { prune_indicator: true }) => (Pruned, &[SetPruneLimit]),
        (Forwarding, StateRefresh { prune_indicator: false }) => (Forwarding, &[]),
        (Pruned, StateRefresh { prune_indicator: false }) if guards.prune_limit_running => (Pruned, &[]),
        (Pruned, StateRefresh { prune_indicator: false }) => (Pruned, &[SendPrune, SetPruneLimit]),
        (AckPending, StateRefresh { prune_indicator: false }) => (Forwarding, &[CancelGraftRetry]),

        (Forwarding | AckPending, SeeJoin) => (state, &[CancelOverride]),
        (Pruned, SeeJoin) => (Pruned, &[]),

        // The same: without an olist there is nothing to override, and once there is one, the other's prune is to be grafted back.
        (Forwarding, SeePrune) if !direct && guards.olist_is_null => (Pruned, &[CancelOverride]),
        (Forwarding | AckPending, SeePrune) if !direct => (state, set_override(guards)),
        (state, SeePrune) => (state, &[]),

        (Forwarding | AckPending, OverrideTimerExpires) if !direct => (state, &[SendJoin]),
        (state, OverrideTimerExpires) => (state, &[]),

        (Forwarding, OlistNull) if !direct => (Pruned, &[CancelOverride, SendPrune, SetPruneLimit]),
        // No data has come yet by which the upstream router would have shown that its own way does not lead here.
        (AckPending, OlistNull) => (Pruned, &[CancelOverride, CancelGraftRetry, SendPrune, SetPruneLimitBriefly]),
        (state, OlistNull) => (state, &[]),

        (Pruned, OlistNonNull) if direct => (Forwarding, &[CancelPruneLimit]),
        (Pruned, OlistNonNull) => (AckPending, &[CancelPruneLimit, SendGraft, SetGraftRetry]),
        (state, OlistNonNull) => (state, &[]),

        (_, RpfNeighbourChanges { olist_is_null: false }) => {
            (AckPending, &[CancelPruneLimit, CancelOverride, SendGraft, SetGraftRetry])
        }
        (_, RpfNeighbourChanges { olist_is_null: true }) => {
            (Pruned, &[CancelPruneLimit, CancelOverride, CancelGraftRetry])
        }

        (Forwarding | AckPending, DirectlyConnected { .. }) => (Forwarding, &[CancelGraftRetry, CancelOverride]),
        (Pruned, DirectlyConnected { olist_is_null: true }) => (Pruned, &[CancelPruneLimit]),
        // The RFC leaves the machine in P, where nothing would ever take it out again (§4.4.1.2).
        (Pruned, DirectlyConnected { olist_is_null: false }) => (Forwarding, &[CancelPruneLimit]),

        (AckPending, GraftRetryTimerExpires) => (AckPending, &[RetryGraft]),
        (state, GraftRetryTimerExpires) => (state, &[]),

        (AckPending, GraftAck) => (Forwarding, &[CancelGraftRetry]),
        (state, GraftAck) => (state, &[]),
    }
}

/// OT(S,G) is set only if it does not run: a later prune does not put the override off.
fn set_override(guards: Guards) -> &'static [Action] {
    if guards.override_running { &[] } else { &[Action::SetOverride] }
}

#[cfg(test)]
mod tests {
    use super::Action::*;
    use super::Event::*;
    use super::State::*;
    use super::*;

    const EVENTS: [Event; 14] = [
        DataWithoutOlist,
        StateRefresh { prune_indicator: true },
        StateRefresh { prune_indicator: false },
        SeeJoin,
        SeePrune,
        OverrideTimerExpires,
        OlistNull,
        OlistNonNull,
        RpfNeighbourChanges { olist_is_null: false },
        RpfNeighbourChanges { olist_is_null: true },
        DirectlyConnected { olist_is_null: true },
        DirectlyConnected { olist_is_null: false },
        GraftRetryTimerExpires,
        GraftAck,
    ];

    #[test]
    fn a_directly_connected_source_is_neither_pruned_nor_grafted() {
        let guards = Guards { directly_connected: true, ..Guards::default() };
        for event in EVENTS {
            if matches!(event, RpfNeighbourChanges { .. } | StateRefresh { .. } | OlistNull) {
                continue;
            }
            for state in [Forwarding, Pruned] {
                let (_, actions) = transition(state, event, guards);
                let sends = |action: &&Action| matches!(action, SendPrune | SendJoin | SendGraft | RetryGraft);
                assert!(!actions.iter().any(|action| sends(&action)), "{state:?} {event:?}");
            }
        }
    }

    #[test]
    fn without_an_olist_nothing_is_overridden() {
        for event in EVENTS {
            let (_, actions) = transition(Forwarding, event, Guards { olist_is_null: true, ..Guards::default() });
            assert!(!actions.contains(&SetOverride), "{event:?}");
        }
    }

    #[test]
    fn leaving_ack_pending_stops_the_graft_retry_timer() {
        for event in EVENTS {
            let (state, actions) = transition(AckPending, event, Guards::default());
            assert_eq!(state != AckPending, actions.contains(&CancelGraftRetry), "{event:?}");
        }
    }

    #[test]
    fn whoever_is_pruned_has_no_override_pending() {
        for from in [Forwarding, AckPending] {
            for (event, olist_is_null) in EVENTS.into_iter().flat_map(|event| [(event, false), (event, true)]) {
                let guards = Guards { override_running: true, olist_is_null, ..Guards::default() };
                let (state, actions) = transition(from, event, guards);
                assert!(state != Pruned || actions.contains(&CancelOverride), "{from:?} {event:?}");
            }
        }
    }
}
