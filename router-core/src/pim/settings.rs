//! PIM settings with the RFC's defaults filled in (RFC 3973 §4.8).

use std::time::Duration;

use crate::config::{Pim, PimSabotage};
use crate::time::Span;

/// Hello_Period.
const HELLO_PERIOD: Duration = Duration::from_secs(30);
/// Triggered_Hello_Delay.
const TRIGGERED_HELLO_DELAY: Duration = Duration::from_secs(5);
/// Propagation_Delay of a link on which not everybody announces one.
pub const PROPAGATION_DELAY: Duration = Duration::from_millis(500);
/// Override_Interval of a link on which not everybody announces one.
pub const OVERRIDE_INTERVAL: Duration = Duration::from_millis(2500);
/// Assert Time.
const ASSERT_TIME: Duration = Duration::from_secs(180);
/// Graft_Retry_Period.
const GRAFT_RETRY_PERIOD: Duration = Duration::from_secs(3);
/// How often a graft is sent again; the RFC leaves the number open (§4.4.1.3).
const GRAFT_RETRIES: u32 = 100;
/// Prune hold time, t_limit and SourceLifetime.
const PRUNE_TIME: Duration = Duration::from_secs(210);
/// StateRefreshInterval.
const STATE_REFRESH_INTERVAL: Duration = Duration::from_secs(60);
/// The DR priority that is announced unless another is set (RFC 7761 §4.3.1).
const DR_PRIORITY: u32 = 1;
/// The longest hold time in seconds that runs out.
const HOLD_MAX: u16 = 0xfffe;

/// What holds for one interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkSettings {
    /// Hello_Period.
    pub hello_period: Duration,
    /// Hold time of hellos in seconds, 1 to 65534.
    pub hello_hold_time: u16,
    /// Triggered_Hello_Delay.
    pub triggered_hello_delay: Duration,
    /// Propagation delay that hellos announce, in milliseconds, at most 32767.
    pub propagation_delay: u16,
    /// Override interval that hellos announce, in milliseconds.
    pub override_interval: u16,
    /// Whether hellos announce the two.
    pub lan_prune_delay: bool,
    /// Assert Time.
    pub assert_time: Duration,
    /// State refresh interval that hellos announce, in seconds; none if this router takes no part in state refresh.
    pub state_refresh_interval: Option<u8>,
    /// DR priority that hellos announce (RFC 7761 §4.3.1); none without sparse mode.
    pub dr_priority: Option<u32>,
    /// The T bit that hellos announce (RFC 7761 §4.3.3): this router can do without join suppression, and tracks who has joined.
    pub explicit_tracking: bool,
    /// Most neighbours.
    pub neighbours: usize,
}

/// What holds for the whole router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Graft_Retry_Period.
    pub graft_retry_period: Duration,
    /// How often a graft is sent again.
    pub graft_retries: u32,
    /// Hold time of prunes in seconds, 1 to 65534.
    pub prune_hold_time: u16,
    /// t_limit.
    pub prune_limit: Duration,
    /// SourceLifetime.
    pub source_lifetime: Duration,
    /// Whether state refresh messages are originated and relayed.
    pub state_refresh: bool,
    /// StateRefreshInterval in seconds, 1 to 255.
    pub state_refresh_interval: u8,
    /// RefreshLimitInterval.
    pub refresh_limit_interval: Duration,
    /// TTL of originated state refresh messages.
    pub state_refresh_ttl: u8,
    /// A fault on purpose.
    pub sabotage: Option<PimSabotage>,
}

/// Whole seconds, rounded up, at least 1.
pub fn seconds_up(span: Duration) -> u16 {
    let seconds = span.as_nanos().div_ceil(1_000_000_000).max(1);
    u16::try_from(seconds).unwrap_or(HOLD_MAX).min(HOLD_MAX)
}

fn millis_up(span: Duration, most: u16) -> u16 {
    u16::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(most).min(most)
}

fn or(span: Option<Span>, default: Duration) -> Duration {
    span.map_or(default, Span::get)
}

fn refresh_seconds(pim: &Pim) -> u8 {
    u8::try_from(seconds_up(or(pim.state_refresh_interval, STATE_REFRESH_INTERVAL))).unwrap_or(u8::MAX)
}

impl LinkSettings {
    /// What an interface's settings, laid over the router's, come to.
    pub fn new(pim: &Pim, neighbours: usize) -> LinkSettings {
        let hello_period = or(pim.hello_period, HELLO_PERIOD);
        LinkSettings {
            hello_period,
            hello_hold_time: seconds_up(or(pim.hello_hold_time, hello_period.mul_f64(3.5))),
            triggered_hello_delay: or(pim.triggered_hello_delay, TRIGGERED_HELLO_DELAY),
            propagation_delay: millis_up(or(pim.propagation_delay, PROPAGATION_DELAY), 0x7fff),
            override_interval: millis_up(or(pim.override_interval, OVERRIDE_INTERVAL), u16::MAX),
            lan_prune_delay: pim.lan_prune_delay.unwrap_or(true),
            assert_time: or(pim.assert_time, ASSERT_TIME),
            state_refresh_interval: pim.state_refresh.unwrap_or(true).then(|| refresh_seconds(pim)),
            dr_priority: None,
            explicit_tracking: false,
            neighbours,
        }
    }
}

impl LinkSettings {
    /// The same in a router of sparse mode, which may have groups of dense mode beside.
    #[must_use]
    pub fn sparse(self, pim: &Pim, has_dense_groups: bool) -> LinkSettings {
        LinkSettings {
            dr_priority: Some(pim.dr_priority.unwrap_or(DR_PRIORITY)),
            explicit_tracking: pim.explicit_tracking.unwrap_or(false),
            state_refresh_interval: self.state_refresh_interval.filter(|_| has_dense_groups),
            ..self
        }
    }
}

impl Settings {
    /// What the router's settings come to.
    pub fn new(pim: &Pim) -> Settings {
        let state_refresh_interval = refresh_seconds(pim);
        let half = Duration::from_secs(state_refresh_interval.into()) / 2;
        Settings {
            graft_retry_period: or(pim.graft_retry_period, GRAFT_RETRY_PERIOD),
            graft_retries: pim.graft_retries.unwrap_or(GRAFT_RETRIES),
            prune_hold_time: seconds_up(or(pim.prune_hold_time, PRUNE_TIME)),
            prune_limit: or(pim.prune_limit, PRUNE_TIME),
            source_lifetime: or(pim.source_lifetime, PRUNE_TIME),
            state_refresh: pim.state_refresh.unwrap_or(true),
            state_refresh_interval,
            refresh_limit_interval: or(pim.refresh_limit_interval, half),
            state_refresh_ttl: pim.state_refresh_ttl.unwrap_or(u8::MAX),
            sabotage: pim.sabotage,
        }
    }

    /// How long an entry without any sign of use is kept: no shorter than a prune that it sent may hold upstream, or a member that comes
    /// later could not be grafted.
    pub fn entry_lifetime(&self) -> Duration {
        self.source_lifetime.max(Duration::from_secs(self.prune_hold_time.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_the_rfcs() {
        let link = LinkSettings::new(&Pim::default(), 256);
        assert_eq!((link.hello_hold_time, link.propagation_delay, link.override_interval), (105, 500, 2500));
        assert_eq!(link.state_refresh_interval, Some(60));
        let settings = Settings::new(&Pim::default());
        assert_eq!((settings.prune_hold_time, settings.state_refresh_ttl), (210, 255));
        assert_eq!(settings.refresh_limit_interval, Duration::from_secs(30));
    }

    #[test]
    fn hold_times_are_rounded_up_to_seconds() {
        let span = |millis| Some(Span(Duration::from_millis(millis)));
        let pim = Pim {
            hello_period: span(3000),
            prune_hold_time: span(20_100),
            state_refresh_interval: span(200),
            ..Pim::default()
        };
        assert_eq!(LinkSettings::new(&pim, 1).hello_hold_time, 11);
        assert_eq!(Settings::new(&pim).prune_hold_time, 21);
        assert_eq!(Settings::new(&pim).state_refresh_interval, 1);
    }
}
