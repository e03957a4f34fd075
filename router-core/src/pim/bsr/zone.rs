//! A scope zone: what a router keeps of it (RFC 5059 §2), and which event a bootstrap message is to its machine (§3.1.4).

use std::net::IpAddr;

use ipnet::IpNet;

use super::rp_set::RpSet;
use super::weight::Weight;
use super::{candidate, candidate_rp, non_candidate, office::Office, stored::Stored};

/// Which zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// The whole domain: the 'non-scoped' BSR (§1.3).
    Global,
    /// An administratively scoped zone, by its groups.
    Admin(IpNet),
}

impl Scope {
    /// Whether all groups of a range are of this scope.
    pub fn contains(&self, range: &IpNet) -> bool {
        match self {
            Scope::Global => true,
            Scope::Admin(groups) => groups.contains(range),
        }
    }

    /// Whether a group is of this scope.
    pub fn has(&self, group: IpAddr) -> bool {
        match self {
            Scope::Global => true,
            Scope::Admin(groups) => groups.contains(&group),
        }
    }

    /// How narrow it is: the length of its groups' prefix.
    pub fn prefix_len(&self) -> u8 {
        match self {
            Scope::Global => 0,
            Scope::Admin(groups) => groups.prefix_len(),
        }
    }

    /// Its groups, unless it is the whole domain.
    pub fn groups(&self) -> Option<IpNet> {
        match self {
            Scope::Global => None,
            Scope::Admin(groups) => Some(*groups),
        }
    }

    /// Whether its messages stop at an interface with these boundaries: those of equal or smaller scope do (§3.4).
    pub fn ends_at(&self, boundaries: &[IpNet]) -> bool {
        self.groups().is_some_and(|groups| boundaries.iter().any(|boundary| boundary.contains(&groups)))
    }
}

/// The router's part in a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It is a candidate BSR (§3.1.1).
    Candidate(candidate::State),
    /// It is none (§3.1.2).
    Other(non_candidate::State),
}

/// What a bootstrap message is to the machine of a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// Receive Preferred BSM.
    Preferred,
    /// Receive Non-preferred BSM.
    NonPreferred,
    /// Receive Non-preferred BSM from Elected BSR.
    NonPreferredFromElected,
}

/// What a message of a BSR of weight `from` is (§3.1.4), to a router that knows `current` as the BSR and, if it is a candidate, is of
/// weight `own`. In P-BSR and E-BSR states its own weight is that of the current BSR.
pub fn classify(role: Role, current: Option<Weight>, own: Option<Weight>, from: Weight) -> Received {
    let current = match role {
        Role::Candidate(candidate::State::Pending | candidate::State::Elected) => own,
        Role::Candidate(candidate::State::Candidate) | Role::Other(_) => current,
    };
    match (current, own) {
        (None, _) => Received::Preferred,
        (Some(current), _) if from >= current => Received::Preferred,
        // The BSR itself has become lighter: it is to be preferred as long as it is no lighter than this router.
        (Some(current), Some(own)) if from.address == current.address && from < own => {
            Received::NonPreferredFromElected
        }
        (Some(current), _) if from.address == current.address => Received::Preferred,
        (Some(_), _) => Received::NonPreferred,
    }
}

/// What is kept of a zone.
#[derive(Debug)]
pub struct Zone {
    /// The state of its machine.
    pub role: Role,
    /// Whether the configuration names it, by a candidate BSR or a boundary, so that it stays without bootstrap messages (§3.1.2). The
    /// whole domain always does.
    pub configured: bool,
    /// Whether a bootstrap message has been accepted (§3.1.3).
    pub accepted: bool,
    /// The current BSR and its last message.
    pub stored: Option<Stored>,
    /// The group-to-RP mappings.
    pub rp_set: RpSet,
    /// What the elected BSR keeps beside.
    pub office: Option<Office>,
    /// The state of the candidate RP toward this zone.
    pub candidate_rp: candidate_rp::State,
    /// The state and the BSR that were told of last.
    pub told: Option<(&'static str, Option<IpAddr>)>,
}

impl Zone {
    /// A zone of which nothing is known.
    pub fn new(role: Role, configured: bool) -> Zone {
        Zone {
            role,
            configured,
            accepted: false,
            stored: None,
            rp_set: RpSet::default(),
            office: None,
            candidate_rp: candidate_rp::State::default(),
            told: None,
        }
    }

    /// The current BSR, as far as there is one.
    pub fn bsr(&self) -> Option<Weight> {
        match self.role {
            Role::Candidate(candidate::State::Pending) | Role::Other(non_candidate::State::NoInfo) => None,
            Role::Candidate(_) | Role::Other(_) => self.stored.as_ref().map(|stored| stored.weight),
        }
    }

    /// The name of its state.
    pub fn state_name(&self) -> &'static str {
        match self.role {
            Role::Candidate(state) => state.name(),
            Role::Other(state) => state.name(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weight(priority: u8, last: u8) -> Weight {
        Weight { priority, address: [10, 0, 0, last].into() }
    }

    const CANDIDATE: Role = Role::Candidate(candidate::State::Candidate);
    const ELECTED: Role = Role::Candidate(candidate::State::Elected);
    const OTHER: Role = Role::Other(non_candidate::State::AcceptPreferred);

    #[test]
    fn an_equal_or_heavier_bsr_is_preferred() {
        let current = Some(weight(64, 5));
        for (from, expected) in [
            (weight(64, 5), Received::Preferred),
            (weight(65, 1), Received::Preferred),
            (weight(64, 6), Received::Preferred),
            (weight(64, 4), Received::NonPreferred),
            (weight(63, 9), Received::NonPreferred),
        ] {
            assert_eq!(classify(OTHER, current, None, from), expected, "{from:?}");
            assert_eq!(classify(CANDIDATE, current, Some(weight(1, 1)), from), expected, "{from:?}");
        }
        assert_eq!(classify(OTHER, None, None, weight(0, 1)), Received::Preferred);
    }

    #[test]
    fn the_current_bsr_with_less_weight_is_preferred_until_it_falls_below_a_candidate() {
        let current = Some(weight(64, 5));
        assert_eq!(classify(OTHER, current, None, weight(0, 5)), Received::Preferred);
        assert_eq!(classify(CANDIDATE, current, Some(weight(10, 1)), weight(20, 5)), Received::Preferred);
        assert_eq!(classify(CANDIDATE, current, Some(weight(30, 1)), weight(20, 5)), Received::NonPreferredFromElected);
    }

    #[test]
    fn pending_and_elected_candidates_compare_with_themselves() {
        for role in [ELECTED, Role::Candidate(candidate::State::Pending)] {
            let own = Some(weight(64, 5));
            assert_eq!(classify(role, Some(weight(200, 9)), own, weight(64, 6)), Received::Preferred);
            assert_eq!(classify(role, Some(weight(200, 9)), own, weight(64, 4)), Received::NonPreferred);
            assert_eq!(classify(role, Some(weight(200, 9)), own, weight(0, 9)), Received::NonPreferred);
        }
    }

    #[test]
    fn scoped_messages_stop_at_boundaries_of_their_scope_or_a_larger_one() {
        let scope = |text: &str| Scope::Admin(text.parse().unwrap());
        let boundary = ["239.255.0.0/16".parse().unwrap()];
        assert!(scope("239.255.0.0/16").ends_at(&boundary));
        assert!(scope("239.255.7.0/24").ends_at(&boundary));
        assert!(!scope("239.0.0.0/8").ends_at(&boundary));
        assert!(!Scope::Global.ends_at(&boundary));
    }
}
