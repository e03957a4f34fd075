//! Assert metrics (RFC 3973 §4.6.1).

use std::cmp::Ordering;
use std::net::IpAddr;

use crate::wire::pim::{INFINITE_METRIC, INFINITE_PREFERENCE};

/// `assert_metric`: who forwards best. Greater is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AssertMetric {
    /// The R bit, which sparse mode has a use for; in dense mode only an infinite metric has it set.
    pub rpt: bool,
    /// `metric_preference`.
    pub preference: u32,
    /// `route_metric`.
    pub metric: u32,
    /// `ip_address`; none in an infinite metric of nobody.
    pub address: Option<IpAddr>,
}

/// `infinite_assert_metric()`.
pub fn infinite_assert_metric() -> AssertMetric {
    AssertMetric { rpt: true, preference: INFINITE_PREFERENCE, metric: INFINITE_METRIC, address: None }
}

impl AssertMetric {
    /// The metric that an assert or a state refresh of a dense mode router carries: its R bit is ignored (§4.7.7, §4.7.10), but an
    /// infinite metric is worse than any other.
    pub fn heard(preference: u32, metric: u32, from: IpAddr) -> AssertMetric {
        let rpt = preference == INFINITE_PREFERENCE && metric == INFINITE_METRIC;
        AssertMetric { rpt, preference, metric, address: Some(from) }
    }

    /// Whether it is an infinite one, whoever sent it: an AssertCancel (§4.6.2).
    pub fn is_infinite(&self) -> bool {
        self.preference == INFINITE_PREFERENCE && self.metric == INFINITE_METRIC
    }

    /// Whether it is better than another.
    pub fn is_better_than(&self, other: &AssertMetric) -> bool {
        self.cmp_to(other) == Ordering::Greater
    }

    /// Lower R bit, preference, metric win in this order, then the higher address.
    fn cmp_to(&self, other: &AssertMetric) -> Ordering {
        let cost = |metric: &AssertMetric| (metric.rpt, metric.preference, metric.metric);
        cost(other).cmp(&cost(self)).then_with(|| self.address.cmp(&other.address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(preference: u32, metric: u32, last: u8) -> AssertMetric {
        AssertMetric { rpt: false, preference, metric, address: Some([10, 0, 0, last].into()) }
    }

    #[test]
    fn lower_costs_win_in_order_then_the_higher_address() {
        assert!(metric(0, 9, 1).is_better_than(&metric(1, 0, 2)));
        assert!(metric(1, 1, 1).is_better_than(&metric(1, 2, 2)));
        assert!(metric(1, 1, 2).is_better_than(&metric(1, 1, 1)));
        assert!(!metric(1, 1, 1).is_better_than(&metric(1, 1, 1)));
        assert!(metric(9, 9, 1).is_better_than(&infinite_assert_metric()));
        assert!(infinite_assert_metric().is_infinite());
        assert_eq!(AssertMetric::heard(1, 2, [10, 0, 0, 3].into()), metric(1, 2, 3));
        let cancel = AssertMetric::heard(INFINITE_PREFERENCE, INFINITE_METRIC, [10, 0, 0, 3].into());
        assert!(cancel.is_infinite() && metric(INFINITE_PREFERENCE, 9, 1).is_better_than(&cancel));
    }
}
