//! What PIM's settings must hold to.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::{ConfigError, INTERFACES_MAX, INTERVAL_MIN, check_groups};
use crate::config::{Config, Multicast, Pim, SptSwitchover};
use crate::membership::message::Family;
use crate::pim::mode::Modes;
use crate::pim::sparse::settings::SparseSettings;
use crate::time::Span;

/// Longest state refresh interval: one octet of seconds carries it (RFC 3973 §4.7.10).
const REFRESH_INTERVAL_MAX: Duration = Duration::from_secs(255);
/// Longest hold time that is no 'for ever' (RFC 3973 §4.3.3, RFC 7761 §4.9.5).
const HOLD_TIME_MAX: Duration = Duration::from_secs(65534);
/// Longest period whose hold time is 3.5 of them.
const PERIOD_MAX: Duration = Duration::from_secs(18724);

impl Config {
    pub(super) fn check_pim(&self, errors: &mut Vec<ConfigError>) {
        let places = [("the router", &self.pim)].into_iter();
        let places = places.chain(self.interfaces.iter().map(|interface| (interface.name.as_str(), &interface.pim)));
        for (place, pim) in places {
            if !self.multicast.is_pim() && *pim != Pim::default() {
                errors.push(ConfigError::NotPim { place: place.to_owned() });
            }
            check_pim(place, pim, errors);
            let in_force = pim.or(&self.pim);
            if in_force.explicit_tracking == Some(true) && in_force.lan_prune_delay == Some(false) {
                errors.push(ConfigError::TrackingUnsaid { place: place.to_owned() });
            }
            self.check_modes(place, pim, errors);
        }
        for interface in &self.interfaces {
            let pim = &interface.pim;
            let of_the_router = [("sabotage", pim.sabotage.is_some())];
            for (key, is_set) in dense_keys(pim).into_iter().chain(sparse_router_keys(pim)).chain(of_the_router) {
                if is_set {
                    errors.push(ConfigError::RouterWide { place: interface.name.clone(), key });
                }
            }
        }
        if self.multicast.is_pim() && !self.routes.is_empty() {
            errors.push(ConfigError::RoutesInPim);
        }
        let count = self.interfaces.len();
        if self.multicast == Multicast::PimSm && count == INTERFACES_MAX {
            errors.push(ConfigError::NoRoomForRegisters { count });
        }
        if self.multicast == Multicast::PimSm {
            let sparse = SparseSettings::new(&self.pim);
            let (suppression, probe) = (sparse.register_suppression_time, sparse.register_probe_time);
            if probe * 2 >= suppression {
                let (suppression, probe) = (Span(suppression), Span(probe));
                errors.push(ConfigError::RegisterProbe { suppression, probe });
            }
        }
    }

    /// Keys of a mode that this router does not run.
    fn check_modes(&self, place: &str, pim: &Pim, errors: &mut Vec<ConfigError>) {
        let has_dense_groups = self.pim.dense_groups.as_ref().is_some_and(|groups| !groups.is_empty());
        let (refused, needs): (Vec<_>, &'static str) = match self.multicast {
            Multicast::PimDm => {
                let keys = sparse_interface_keys(pim).into_iter().chain(sparse_router_keys(pim));
                (keys.collect(), "multicast: pim-sm")
            }
            Multicast::PimSm if !has_dense_groups => (dense_keys(pim).into(), "dense-groups, or multicast: pim-dm"),
            // Of a router without PIM, no key is right, and that is said.
            Multicast::PimSm | Multicast::None | Multicast::Static | Multicast::Proxy => return,
        };
        for (key, _) in refused.into_iter().filter(|(_, is_set)| *is_set) {
            errors.push(ConfigError::OtherMode { place: place.to_owned(), key, needs });
        }
        if self.multicast == Multicast::PimSm {
            self.check_mappings(place, pim, errors);
        }
    }

    /// SSM mappings must be of source-specific groups, or nobody would ever look at them.
    fn check_mappings(&self, place: &str, pim: &Pim, errors: &mut Vec<ConfigError>) {
        let ranges = Modes::new(self.multicast, &self.pim);
        for mapping in pim.ssm_mapping.iter().flatten() {
            if !ranges.is_ssm(&mapping.groups) {
                errors.push(ConfigError::MappingNotSsm { place: place.to_owned(), groups: mapping.groups });
            }
        }
    }
}

/// Keys of dense mode, all of them of the whole router, and whether they are set.
fn dense_keys(pim: &Pim) -> [(&'static str, bool); 9] {
    [
        ("graft-retry-period", pim.graft_retry_period.is_some()),
        ("graft-retries", pim.graft_retries.is_some()),
        ("prune-hold-time", pim.prune_hold_time.is_some()),
        ("prune-limit", pim.prune_limit.is_some()),
        ("source-lifetime", pim.source_lifetime.is_some()),
        ("state-refresh", pim.state_refresh.is_some()),
        ("state-refresh-interval", pim.state_refresh_interval.is_some()),
        ("refresh-limit-interval", pim.refresh_limit_interval.is_some()),
        ("state-refresh-ttl", pim.state_refresh_ttl.is_some()),
    ]
}

/// Keys of sparse mode that an interface may have, and whether they are set.
fn sparse_interface_keys(pim: &Pim) -> [(&'static str, bool); 3] {
    [
        ("dr-priority", pim.dr_priority.is_some()),
        ("explicit-tracking", pim.explicit_tracking.is_some()),
        ("ssm-mapping", pim.ssm_mapping.is_some()),
    ]
}

/// Keys of sparse mode that hold for the whole router, and whether they are set.
fn sparse_router_keys(pim: &Pim) -> [(&'static str, bool); 10] {
    [
        ("join-prune-period", pim.join_prune_period.is_some()),
        ("join-prune-hold-time", pim.join_prune_hold_time.is_some()),
        ("keepalive-period", pim.keepalive_period.is_some()),
        ("rp-keepalive-period", pim.rp_keepalive_period.is_some()),
        ("register-suppression-time", pim.register_suppression_time.is_some()),
        ("register-probe-time", pim.register_probe_time.is_some()),
        ("spt-switchover", pim.spt_switchover.is_some()),
        ("ssm-range", pim.ssm_range.is_some()),
        ("dense-groups", pim.dense_groups.is_some()),
        ("rp", pim.rp.is_some()),
    ]
}

/// Checks what is set at one place, whatever mode it is of.
fn check_pim(place: &str, pim: &Pim, errors: &mut Vec<ConfigError>) {
    let millis = Duration::from_millis;
    for (key, span, least, most) in [
        ("hello-period", pim.hello_period, INTERVAL_MIN, PERIOD_MAX),
        ("hello-hold-time", pim.hello_hold_time, INTERVAL_MIN, HOLD_TIME_MAX),
        ("triggered-hello-delay", pim.triggered_hello_delay, Duration::ZERO, HOLD_TIME_MAX),
        ("propagation-delay", pim.propagation_delay, INTERVAL_MIN, millis(0x7fff)),
        ("override-interval", pim.override_interval, INTERVAL_MIN, millis(0xffff)),
        ("assert-time", pim.assert_time, INTERVAL_MIN, HOLD_TIME_MAX),
        ("graft-retry-period", pim.graft_retry_period, INTERVAL_MIN, HOLD_TIME_MAX),
        ("prune-hold-time", pim.prune_hold_time, INTERVAL_MIN, HOLD_TIME_MAX),
        ("prune-limit", pim.prune_limit, INTERVAL_MIN, HOLD_TIME_MAX),
        ("source-lifetime", pim.source_lifetime, INTERVAL_MIN, HOLD_TIME_MAX),
        ("state-refresh-interval", pim.state_refresh_interval, INTERVAL_MIN, REFRESH_INTERVAL_MAX),
        ("refresh-limit-interval", pim.refresh_limit_interval, Duration::ZERO, REFRESH_INTERVAL_MAX),
        ("join-prune-period", pim.join_prune_period, INTERVAL_MIN, PERIOD_MAX),
        ("join-prune-hold-time", pim.join_prune_hold_time, INTERVAL_MIN, HOLD_TIME_MAX),
        ("keepalive-period", pim.keepalive_period, INTERVAL_MIN, HOLD_TIME_MAX),
        ("rp-keepalive-period", pim.rp_keepalive_period, INTERVAL_MIN, HOLD_TIME_MAX),
        ("register-suppression-time", pim.register_suppression_time, INTERVAL_MIN, HOLD_TIME_MAX),
        ("register-probe-time", pim.register_probe_time, INTERVAL_MIN, HOLD_TIME_MAX),
    ] {
        if let Some(span) = span.filter(|span| !(least..=most).contains(&span.get())) {
            let range = format!("{} to {}", Span(least), Span(most));
            errors.push(ConfigError::Range { place: place.to_owned(), key, value: span.to_string(), range });
        }
    }
    let mut range = |key: &'static str, value: String, range: &str| {
        errors.push(ConfigError::Range { place: place.to_owned(), key, value, range: range.to_owned() });
    };
    if pim.state_refresh_ttl == Some(0) {
        range("state-refresh-ttl", "0".into(), "1 to 255");
    }
    if pim.spt_switchover == Some(SptSwitchover::Kbit(0)) {
        range("spt-switchover", "kbit: 0".into(), "at least kbit: 1; with the first packet is called immediate");
    }
    if pim.sabotage.is_some() && !cfg!(feature = "sabotage") {
        errors.push(ConfigError::Sabotage { place: place.to_owned() });
    }
    check_addresses(place, pim, errors);
}

/// Checks prefixes and addresses: sparse mode is IPv4's alone as yet.
fn check_addresses(place: &str, pim: &Pim, errors: &mut Vec<ConfigError>) {
    let mut groups = |key: &str, prefixes: &[IpNet]| {
        let of_place = format!("{key} of {place}");
        for prefix in prefixes.iter().filter(|prefix| prefix.addr().is_ipv6()) {
            errors.push(ConfigError::NotIpv4 { place: of_place.clone(), what: prefix.to_string() });
        }
        let v4: Vec<IpNet> = prefixes.iter().filter(|prefix| prefix.addr().is_ipv4()).copied().collect();
        check_groups(&of_place, &v4, errors);
    };
    groups("ssm-range", pim.ssm_range.as_deref().unwrap_or_default());
    groups("dense-groups", pim.dense_groups.as_deref().unwrap_or_default());
    for mapping in pim.ssm_mapping.iter().flatten() {
        groups("ssm-mapping", &[mapping.groups]);
    }
    for rp in pim.rp.iter().flatten() {
        groups("rp", &[rp.groups]);
    }

    // What else there is to say of candidates is said where the bootstrap mechanism is checked.
    let rps = pim.candidate_rp.iter().flat_map(|rp| &rp.groups).map(|prefix| ("candidate-rp", prefix));
    let zones = pim.candidate_bsr.iter().flat_map(|bsr| bsr.zones.iter().chain(bsr.allowed_rps.iter().flatten()));
    for (key, prefix) in rps.chain(zones.map(|prefix| ("candidate-bsr", prefix))) {
        if prefix.addr().is_ipv6() {
            errors.push(ConfigError::NotIpv4 { place: format!("{key} of {place}"), what: prefix.to_string() });
        }
    }

    let mut address = |key: &'static str, address: IpAddr| {
        if !Family::V4.is_source(address) {
            errors.push(ConfigError::NotUnicast { place: place.to_owned(), key, address });
        }
    };
    for mapping in pim.ssm_mapping.iter().flatten() {
        mapping.sources.iter().for_each(|source| address("ssm-mapping", *source));
    }
    pim.rp.iter().flatten().for_each(|rp| address("rp", rp.address));

    for _ in pim.ssm_mapping.iter().flatten().filter(|mapping| mapping.sources.is_empty()) {
        errors.push(ConfigError::Empty { place: place.to_owned(), key: "sources of ssm-mapping" });
    }
}
