//! What the settings of the bootstrap mechanism must hold to together (RFC 5059 §5); each alone is checked with the rest of PIM's.

use super::ConfigError;
use crate::config::Config;
use crate::pim::bsr::settings::Times;
use crate::time::Span;

/// Ranges that a message of a candidate RP can count.
const RANGES_MAX: usize = 255;

impl Config {
    pub(super) fn check_bootstrap(&self, errors: &mut Vec<ConfigError>) {
        let mut range = |key: &'static str, value: String, range: String| {
            errors.push(ConfigError::Range { place: "the router".to_owned(), key, value, range });
        };
        let pim = &self.pim;
        if let Some(count) = pim.candidate_rp.as_ref().map(|candidate| candidate.groups.len())
            && count > RANGES_MAX
        {
            range("groups of candidate-rp", count.to_string(), format!("1 to {RANGES_MAX} prefixes"));
        }
        // MUSTs of RFC 5059 §5, and what a BSR could not keep to.
        let times = Times::new(pim);
        if times.timeout <= times.period {
            let text = format!("more than {}, BS_Period", Span(times.period));
            range("bs-timeout", Span(times.timeout).to_string(), text);
        }
        if times.sz_timeout <= times.timeout {
            let text = format!("more than {}, BS_Timeout", Span(times.timeout));
            range("sz-timeout", Span(times.sz_timeout).to_string(), text);
        }
        if times.min_interval > times.period && (pim.candidate_bsr.is_some() || pim.bs_min_interval.is_some()) {
            let text = format!("at most {}, BS_Period", Span(times.period));
            range("bs-min-interval", Span(times.min_interval).to_string(), text);
        }
    }
}
