//! What the settings of the bootstrap mechanism must hold to (RFC 5059 §5).

use std::net::IpAddr;
use std::time::Duration;

use super::{ConfigError, INTERVAL_MIN, check_groups};
use crate::config::{Config, Multicast, Pim};
use crate::membership::message::Family;
use crate::pim::bsr::settings::Times;
use crate::time::Span;

/// Longest period: 2.5 of them are a hold time.
const PERIOD_MAX: Duration = Duration::from_secs(26_213);
/// Longest of the other times.
const TIME_MAX: Duration = Duration::from_secs(10_000_000);
/// Ranges that a message of a candidate RP can count.
const RANGES_MAX: usize = 255;
/// Bits of an IPv4 address.
const BITS: u8 = 32;

impl Config {
    pub(super) fn check_bootstrap(&self, errors: &mut Vec<ConfigError>) {
        for interface in &self.interfaces {
            for (key, _) in keys(&interface.pim).into_iter().filter(|(_, is_set)| *is_set) {
                errors.push(ConfigError::RouterWide { place: interface.name.clone(), key });
            }
        }
        let pim = &self.pim;
        if self.multicast == Multicast::PimDm {
            let own = self.interfaces.iter().any(|interface| interface.pim.bsr_border.is_some());
            let border = ("bsr-border", pim.bsr_border.is_some() || own);
            for (key, _) in keys(pim).into_iter().chain([border]).filter(|(_, is_set)| *is_set) {
                errors.push(ConfigError::OtherMode { place: "the router".to_owned(), key, needs: "multicast: pim-sm" });
            }
        }
        check_ranges(pim, errors);
        if let Some(candidate) = &pim.candidate_rp {
            check_address("candidate-rp", candidate.address, errors);
            check_groups("candidate-rp", &candidate.groups, errors);
            let count = candidate.groups.len();
            if !(1..=RANGES_MAX).contains(&count) {
                range("groups of candidate-rp", count.to_string(), format!("1 to {RANGES_MAX} prefixes"), errors);
            }
        }
        if let Some(candidate) = &pim.candidate_bsr {
            check_address("candidate-bsr", candidate.address, errors);
            check_groups("candidate-bsr", &candidate.zones, errors);
            let length = candidate.hash_mask_length;
            if length > BITS {
                range("hash-mask-length of candidate-bsr", length.to_string(), format!("0 to {BITS}"), errors);
            }
        }
    }
}

/// The keys that the mechanism has for the whole router, and whether they are set.
fn keys(pim: &Pim) -> [(&'static str, bool); 9] {
    [
        ("candidate-rp", pim.candidate_rp.is_some()),
        ("candidate-bsr", pim.candidate_bsr.is_some()),
        ("bs-period", pim.bs_period.is_some()),
        ("bs-timeout", pim.bs_timeout.is_some()),
        ("bs-min-interval", pim.bs_min_interval.is_some()),
        ("bs-rand-override-unit", pim.bs_rand_override_unit.is_some()),
        ("sz-timeout", pim.sz_timeout.is_some()),
        ("c-rp-adv-backoff", pim.c_rp_adv_backoff.is_some()),
        ("unicast-bootstrap", pim.unicast_bootstrap.is_some()),
    ]
}

fn range(key: &'static str, value: String, range: String, errors: &mut Vec<ConfigError>) {
    errors.push(ConfigError::Range { place: "the router".to_owned(), key, value, range });
}

fn check_ranges(pim: &Pim, errors: &mut Vec<ConfigError>) {
    let rp_interval = pim.candidate_rp.as_ref().and_then(|candidate| candidate.interval);
    let bsr_interval = pim.candidate_bsr.as_ref().and_then(|candidate| candidate.interval);
    for (key, span, least, most) in [
        ("interval of candidate-rp", rp_interval, INTERVAL_MIN, PERIOD_MAX),
        ("interval of candidate-bsr", bsr_interval, INTERVAL_MIN, PERIOD_MAX),
        ("bs-period", pim.bs_period, INTERVAL_MIN, PERIOD_MAX),
        ("bs-timeout", pim.bs_timeout, INTERVAL_MIN, TIME_MAX),
        ("bs-min-interval", pim.bs_min_interval, Duration::ZERO, PERIOD_MAX),
        ("bs-rand-override-unit", pim.bs_rand_override_unit, Duration::ZERO, PERIOD_MAX),
        ("sz-timeout", pim.sz_timeout, INTERVAL_MIN, TIME_MAX),
        ("c-rp-adv-backoff", pim.c_rp_adv_backoff, Duration::ZERO, PERIOD_MAX),
    ] {
        if let Some(span) = span.filter(|span| !(least..=most).contains(&span.get())) {
            range(key, span.to_string(), format!("{} to {}", Span(least), Span(most)), errors);
        }
    }
    // MUSTs of RFC 5059 §5, and what a BSR could not keep to.
    let times = Times::new(pim);
    if times.timeout <= times.period {
        range(
            "bs-timeout",
            Span(times.timeout).to_string(),
            format!("more than {}, BS_Period", Span(times.period)),
            errors,
        );
    }
    if times.sz_timeout <= times.timeout {
        let text = format!("more than {}, BS_Timeout", Span(times.timeout));
        range("sz-timeout", Span(times.sz_timeout).to_string(), text, errors);
    }
    if times.min_interval > times.period && (pim.candidate_bsr.is_some() || pim.bs_min_interval.is_some()) {
        let text = format!("at most {}, BS_Period", Span(times.period));
        range("bs-min-interval", Span(times.min_interval).to_string(), text, errors);
    }
}

fn check_address(key: &'static str, address: IpAddr, errors: &mut Vec<ConfigError>) {
    if !Family::V4.is_source(address) {
        errors.push(ConfigError::CandidateAddress { key, address });
    }
}
