//! A candidate RP in a scope zone: when it advertises itself (RFC 5059 §3.2), and with which groups to which BSR.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::zone::Scope;
use crate::named;

/// Messages that a newly elected BSR is sent after one another; the RFC recommends three.
const REPEATS: u8 = 2;

/// Its states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Nobody to advertise to.
    #[default]
    Silent,
    /// A BSR was elected: so many messages follow the next one, each after a random part of C_RP_Adv_Backoff.
    Hasty {
        /// The RFC's counter.
        left: u8,
    },
    /// A message every C_RP_Adv_Period.
    Steady,
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Another BSR was elected in the zone, or the one that there is has forgotten everything.
    BsrElected,
    /// The zone has no BSR.
    BsrLost,
    /// CRPT expires.
    AdvertisementTimerExpires,
}

named!(State { "silent" => State::Silent, "hasty" => State::Hasty { .. }, "steady" => State::Steady });

named!(Event {
    "bsr-elected" => Event::BsrElected,
    "bsr-lost" => Event::BsrLost,
    "advertisement-timer" => Event::AdvertisementTimerExpires,
});

/// What it wants done, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send a C-RP-Adv.
    Advertise,
    /// CRPT to C_RP_Adv_Backoff.
    SetBackoff,
    /// CRPT to C_RP_Adv_Period.
    SetPeriod,
    /// Stop CRPT.
    Cancel,
}

/// The transition of a state by an event.
pub fn transition(state: State, event: Event) -> (State, &'static [Action]) {
    use Action::*;
    use Event::*;
    use State::*;
    match (state, event) {
        (Silent | Hasty { .. } | Steady, BsrElected) => (Hasty { left: REPEATS }, &[SetBackoff]),
        (Silent | Hasty { .. } | Steady, BsrLost) => (Silent, &[Cancel]),
        (Hasty { left: 0 } | Steady, AdvertisementTimerExpires) => (Steady, &[Advertise, SetPeriod]),
        (Hasty { left }, AdvertisementTimerExpires) => (Hasty { left: left - 1 }, &[Advertise, SetBackoff]),
        (Silent, AdvertisementTimerExpires) => (Silent, &[]),
    }
}

/// The group ranges that a candidate RP advertises to the BSR of a scope, of those that it offers to serve and the scopes that it knows of
/// (§3.2): each to the smallest scope that contains it; to a scope inside of it, that scope.
pub fn ranges(offered: &[IpNet], known: &BTreeSet<Scope>, scope: Scope) -> Vec<IpNet> {
    let smallest =
        |range: &IpNet| known.iter().filter(|scope| scope.contains(range)).max_by_key(|scope| scope.prefix_len());
    let mut ranges = BTreeSet::new();
    for range in offered {
        if smallest(range).copied().unwrap_or(Scope::Global) == scope {
            ranges.insert(*range);
        }
        if let Scope::Admin(inner) = scope
            && range.contains(&inner)
            && *range != inner
        {
            ranges.insert(inner);
        }
    }
    ranges.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn scope(text: &str) -> Scope {
        Scope::Admin(net(text))
    }

    #[test]
    fn a_range_goes_to_the_smallest_scope_that_contains_it() {
        let known = [Scope::Global, scope("239.0.0.0/8"), scope("239.255.0.0/16")].into();
        let offered = [net("224.0.0.0/4"), net("239.255.7.0/24"), net("239.1.0.0/16")];
        assert_eq!(ranges(&offered, &known, Scope::Global), [net("224.0.0.0/4")]);
        assert_eq!(ranges(&offered, &known, scope("239.0.0.0/8")), [net("239.0.0.0/8"), net("239.1.0.0/16")]);
        assert_eq!(ranges(&offered, &known, scope("239.255.0.0/16")), [net("239.255.0.0/16"), net("239.255.7.0/24")]);
    }

    #[test]
    fn a_scope_without_anything_to_say_gets_nothing() {
        let known = [Scope::Global, scope("239.255.0.0/16")].into();
        assert!(ranges(&[net("239.255.1.0/24")], &known, Scope::Global).is_empty());
        assert!(ranges(&[net("238.0.0.0/8")], &known, scope("239.255.0.0/16")).is_empty());
        assert_eq!(ranges(&[net("239.255.0.0/16")], &known, scope("239.255.0.0/16")), [net("239.255.0.0/16")]);
    }
}
