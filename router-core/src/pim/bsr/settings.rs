//! Settings of the bootstrap mechanism with the RFC's defaults filled in (RFC 5059 §5).

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::weight::Weight;
use super::zone::Scope;
use crate::config::{Config, Pim};
use crate::pim::settings::seconds_up;
use crate::time::Span;

/// BS_Period.
const BS_PERIOD: Duration = Duration::from_secs(60);
/// What BS_Timeout is longer than two BS_Periods; also BS_Min_Interval.
const BS_MIN_INTERVAL: Duration = Duration::from_secs(10);
/// The unit of BS_Rand_Override.
const BS_RAND_OVERRIDE_UNIT: Duration = Duration::from_secs(1);
/// SZ_Timeout in BS_Timeouts.
const SZ_TIMEOUTS: u32 = 10;
/// C_RP_Adv_Period.
const C_RP_ADV_PERIOD: Duration = Duration::from_secs(60);
/// C_RP_Adv_Backoff.
const C_RP_ADV_BACKOFF: Duration = Duration::from_secs(3);
/// Hold times in periods: of candidate RPs (§4.2), and at least of mappings (§3.3).
const HOLD_PERIODS: f64 = 2.5;

/// This router as a candidate BSR.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CandidateBsr {
    /// Its weight.
    pub weight: Weight,
    /// What its messages say of the hash function.
    pub hash_mask_length: u8,
    /// The zones that it is a candidate for.
    pub scopes: Vec<Scope>,
    /// Whom it accepts as candidate RPs; all if none.
    pub allowed_rps: Option<Vec<IpNet>>,
}

/// This router as a candidate RP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CandidateRp {
    /// The address that it offers.
    pub address: IpAddr,
    /// The groups that it offers to serve.
    pub groups: Vec<IpNet>,
    /// Lower is preferred.
    pub priority: u8,
    /// C_RP_Adv_Period.
    pub period: Duration,
    /// What it announces, in seconds.
    pub hold_time: u16,
}

/// What holds for the router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// BS_Period.
    pub period: Duration,
    /// BS_Timeout.
    pub timeout: Duration,
    /// BS_Min_Interval.
    pub min_interval: Duration,
    /// The unit of BS_Rand_Override.
    pub rand_override_unit: Duration,
    /// SZ_Timeout.
    pub sz_timeout: Duration,
    /// C_RP_Adv_Backoff.
    pub c_rp_adv_backoff: Duration,
    /// The least hold time of a mapping in this router's messages, in seconds (§3.3).
    pub hold_min: u16,
    /// Whether bootstrap messages neither enter nor leave by an interface that says nothing of its own.
    pub border: bool,
    /// Whether unicast bootstrap messages are sent and taken (§3.5.2).
    pub unicast: bool,
    /// This router as a candidate BSR, if it is one.
    pub candidate_bsr: Option<CandidateBsr>,
    /// This router as a candidate RP, if it is one.
    pub candidate_rp: Option<CandidateRp>,
    /// Scopes whose border runs through this router, so that it knows of them.
    pub boundaries: Vec<IpNet>,
    /// Most group-to-RP mappings, and most group-to-C-RP mappings.
    pub mappings: usize,
    /// Most zones that are learned.
    pub zones: usize,
}

/// The times of the mechanism, as they follow from one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// BS_Period.
    pub period: Duration,
    /// BS_Timeout.
    pub timeout: Duration,
    /// SZ_Timeout.
    pub sz_timeout: Duration,
    /// BS_Min_Interval.
    pub min_interval: Duration,
    /// The unit of BS_Rand_Override.
    pub rand_override_unit: Duration,
}

/// A default as the RFC has it beside a period; beside a shorter one, shorter in proportion, so that times stay in their order.
fn beside(period: Duration, default_period: Duration, default: Duration) -> Duration {
    default.mul_f64((period.as_secs_f64() / default_period.as_secs_f64()).min(1.0))
}

impl Times {
    /// What the router's settings come to.
    pub fn new(pim: &Pim) -> Times {
        let interval = pim.candidate_bsr.as_ref().and_then(|candidate| candidate.interval);
        let period = interval.or(pim.bs_period).map_or(BS_PERIOD, Span::get);
        let default = |time: Duration| beside(period, BS_PERIOD, time);
        let timeout = pim.bs_timeout.map_or_else(|| 2 * period + default(BS_MIN_INTERVAL), Span::get);
        Times {
            period,
            timeout,
            sz_timeout: pim.sz_timeout.map_or(SZ_TIMEOUTS * timeout, Span::get),
            min_interval: pim.bs_min_interval.map_or_else(|| default(BS_MIN_INTERVAL), Span::get),
            rand_override_unit: pim.bs_rand_override_unit.map_or_else(|| default(BS_RAND_OVERRIDE_UNIT), Span::get),
        }
    }
}

impl Settings {
    /// What the router's settings come to.
    pub fn new(config: &Config) -> Settings {
        let pim = &config.pim;
        let Times { period, timeout, sz_timeout, min_interval, rand_override_unit } = Times::new(pim);
        let candidate_bsr = pim.candidate_bsr.as_ref().map(|candidate| CandidateBsr {
            weight: Weight { priority: candidate.priority, address: candidate.address },
            hash_mask_length: candidate.hash_mask_length,
            scopes: match &candidate.zones[..] {
                [] => vec![Scope::Global],
                zones => zones.iter().map(|zone| Scope::Admin(zone.trunc())).collect(),
            },
            allowed_rps: candidate.allowed_rps.clone(),
        });
        let candidate_rp = pim.candidate_rp.as_ref().map(|candidate| {
            let period = candidate.interval.map_or(C_RP_ADV_PERIOD, Span::get);
            CandidateRp {
                address: candidate.address,
                groups: candidate.groups.iter().map(IpNet::trunc).collect(),
                priority: candidate.priority,
                period,
                hold_time: seconds_up(period.mul_f64(HOLD_PERIODS)),
            }
        });
        let mut boundaries: Vec<IpNet> =
            config.interfaces.iter().flat_map(|interface| &interface.boundary).map(IpNet::trunc).collect();
        boundaries.sort_unstable();
        boundaries.dedup();
        Settings {
            period,
            timeout,
            min_interval,
            rand_override_unit,
            sz_timeout,
            c_rp_adv_backoff: pim.c_rp_adv_backoff.map_or_else(
                || {
                    let period = candidate_rp.as_ref().map_or(C_RP_ADV_PERIOD, |candidate| candidate.period);
                    beside(period, C_RP_ADV_PERIOD, C_RP_ADV_BACKOFF)
                },
                Span::get,
            ),
            hold_min: seconds_up(period.mul_f64(HOLD_PERIODS)),
            border: pim.bsr_border.unwrap_or(false),
            unicast: pim.unicast_bootstrap.unwrap_or(false),
            candidate_bsr,
            candidate_rp,
            boundaries,
            mappings: config.limits.rp_mappings,
            zones: config.limits.scope_zones,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(yaml: &str) -> Settings {
        Settings::new(&serde_yaml::from_str(&format!("multicast: pim-sm\n{yaml}")).unwrap())
    }

    #[test]
    fn defaults_are_the_rfcs() {
        let settings = settings("pim: {candidate-bsr: {address: 10.0.0.1}, candidate-rp: {address: 10.0.0.1}}");
        let seconds = |span: Duration| span.as_secs();
        assert_eq!(
            (seconds(settings.period), seconds(settings.timeout), seconds(settings.min_interval)),
            (60, 130, 10)
        );
        assert_eq!((seconds(settings.sz_timeout), seconds(settings.c_rp_adv_backoff)), (1300, 3));
        assert_eq!(settings.hold_min, 150);
        let bsr = settings.candidate_bsr.unwrap();
        assert_eq!((bsr.weight.priority, bsr.hash_mask_length, bsr.scopes), (64, 30, vec![Scope::Global]));
        let rp = settings.candidate_rp.unwrap();
        assert_eq!((rp.priority, rp.hold_time, seconds(rp.period)), (192, 150, 60));
    }

    #[test]
    fn times_follow_from_the_period() {
        let of = settings("pim: {candidate-bsr: {address: 10.0.0.1, interval: 30s, zones: [239.1.2.3/16]}}");
        assert_eq!(
            (of.period.as_secs(), of.timeout.as_secs(), of.sz_timeout.as_secs(), of.hold_min),
            (30, 65, 650, 75)
        );
        assert_eq!((of.min_interval.as_secs(), of.rand_override_unit.as_millis()), (5, 500));
        assert_eq!(of.candidate_bsr.unwrap().scopes, [Scope::Admin("239.1.0.0/16".parse().unwrap())]);
        let of = settings("pim: {candidate-bsr: {address: 10.0.0.1, interval: 120s}, bs-period: 7s}");
        assert_eq!((of.timeout.as_secs(), of.min_interval.as_secs(), of.rand_override_unit.as_secs()), (250, 10, 1));
        let of = settings("pim: {candidate-rp: {address: 10.0.0.1, interval: 6s}}");
        assert_eq!((of.c_rp_adv_backoff.as_millis(), of.candidate_rp.unwrap().hold_time), (300, 15));
        let of = settings("pim: {bs-period: 6s, bs-timeout: 13s}");
        assert_eq!((of.period.as_secs(), of.timeout.as_secs(), of.sz_timeout.as_secs()), (6, 13, 130));
    }
}
