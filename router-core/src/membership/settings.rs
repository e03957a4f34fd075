//! The variables of RFC 9776 §8 as an interface runs them.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::igmp::announced_response;
use super::message::Version;
use crate::config::{Igmp, StaticJoin};

/// Default Max Resp Code of startup queries. The RFC has them say the query response interval (10 s); a router that has just started then learns
/// its members seconds late. Hosts answer a later query anew, so nothing is lost: a normal query follows within the query interval.
pub const STARTUP_RESPONSE: Duration = Duration::from_millis(100);

/// An interface's settings, complete. Response times are what queries of [`Settings::version`] can say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Version spoken.
    pub version: Version,
    /// Robustness Variable (§8.1).
    pub robustness: u8,
    /// Query Interval (§8.2).
    pub query_interval: Duration,
    /// Query Response Interval (§8.3).
    pub query_response_interval: Duration,
    /// Startup Query Interval (§8.6).
    pub startup_query_interval: Duration,
    /// Startup Query Count (§8.7); none: the robustness variable.
    pub startup_query_count: Option<u8>,
    /// Max Resp Time of startup queries, see [`STARTUP_RESPONSE`].
    pub startup_query_response_interval: Duration,
    /// Last Member Query Interval (§8.8).
    pub last_member_query_interval: Duration,
    /// Last Member Query Count (§8.9); none: the robustness variable.
    pub last_member_query_count: Option<u8>,
    /// Leaves are believed without a query.
    pub fast_leave: bool,
    /// Groups that count as joined for ever.
    pub static_joins: Vec<StaticJoin>,
    /// Groups that may be joined; none: all.
    pub allowed_groups: Option<Vec<IpNet>>,
    /// Version 3 reports must carry Router Alert.
    pub require_router_alert: bool,
    /// Versions 1 and 2 reports and leaves must carry it.
    pub require_router_alert_old: bool,
    /// Most groups of hosts.
    pub groups_max: usize,
    /// Most sources of a group.
    pub sources_max: usize,
    /// Hears no report (sabotage builds only).
    pub deaf: bool,
}

impl Settings {
    /// The settings that a configuration means, with the RFC's defaults and within the wire's range.
    pub fn new(igmp: &Igmp, groups_max: usize, sources_max: usize) -> Settings {
        let version = igmp.version.and_then(|v| Version::try_from(v).ok()).unwrap_or(Version::V3);
        let span = |value: Option<crate::time::Span>, default: Duration| value.map_or(default, |span| span.get());
        let query_interval = span(igmp.query_interval, Duration::from_secs(125));
        Settings {
            version,
            robustness: igmp.robustness.unwrap_or(2).clamp(1, 7),
            query_interval,
            query_response_interval: announced_response(
                version,
                span(igmp.query_response_interval, Duration::from_secs(10)),
            ),
            startup_query_interval: span(igmp.startup_query_interval, query_interval / 4),
            startup_query_count: igmp.startup_query_count,
            startup_query_response_interval: announced_response(
                version,
                span(igmp.startup_query_response_interval, STARTUP_RESPONSE),
            ),
            last_member_query_interval: announced_response(
                version,
                span(igmp.last_member_query_interval, Duration::from_secs(1)),
            ),
            last_member_query_count: igmp.last_member_query_count,
            fast_leave: igmp.fast_leave.unwrap_or(false),
            static_joins: igmp.static_joins.clone().unwrap_or_default(),
            allowed_groups: igmp.allowed_groups.clone(),
            require_router_alert: igmp.require_router_alert.unwrap_or(true),
            require_router_alert_old: igmp.require_router_alert.unwrap_or(false),
            groups_max,
            sources_max,
            deaf: cfg!(feature = "sabotage") && igmp.deaf.unwrap_or(false),
        }
    }

    /// Whether a group may be joined.
    pub fn allows(&self, group: IpAddr) -> bool {
        self.allowed_groups.as_ref().is_none_or(|prefixes| prefixes.iter().any(|prefix| prefix.contains(&group)))
    }

    /// The variables while this router is the querier.
    pub fn variables(&self) -> Variables {
        Variables {
            robustness: self.robustness,
            query_interval: self.query_interval,
            query_response_interval: self.query_response_interval,
            last_member_query_interval: self.last_member_query_interval,
            last_member_query_count: self.last_member_query_count.unwrap_or(self.robustness).max(1),
        }
    }
}

/// The variables in force: this router's own, or the querier's where it announces them (§4.1.6, §4.1.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variables {
    /// Robustness Variable.
    pub robustness: u8,
    /// Query Interval.
    pub query_interval: Duration,
    /// Query Response Interval.
    pub query_response_interval: Duration,
    /// Last Member Query Interval.
    pub last_member_query_interval: Duration,
    /// Last Member Query Count.
    pub last_member_query_count: u8,
}

impl Variables {
    /// GMI, Group Membership Interval (§8.4): `RV × QI + QRI`.
    pub fn group_membership_interval(&self) -> Duration {
        self.query_interval * u32::from(self.robustness) + self.query_response_interval
    }

    /// Other Querier Present Interval (§8.5): `RV × QI + QRI / 2`.
    pub fn other_querier_present_interval(&self) -> Duration {
        self.query_interval * u32::from(self.robustness) + self.query_response_interval / 2
    }

    /// LMQT, Last Member Query Time (§8.10): `LMQI × LMQC`.
    pub fn last_member_query_time(&self) -> Duration {
        self.last_member_query_interval * u32::from(self.last_member_query_count)
    }

    /// Older Host Present Interval (§8.13), and the time that an older querier counts as present, as hosts count it
    /// (§8.12): `RV × QI + QRI`.
    pub fn older_version_present_interval(&self) -> Duration {
        self.group_membership_interval()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_give_the_intervals_of_the_rfc() {
        let settings = Settings::new(&Igmp::default(), 1, 1);
        let variables = settings.variables();
        assert_eq!(variables.group_membership_interval(), Duration::from_secs(260));
        assert_eq!(variables.other_querier_present_interval(), Duration::from_secs(255));
        assert_eq!(variables.last_member_query_time(), Duration::from_secs(2));
        assert_eq!(variables.older_version_present_interval(), Duration::from_secs(260));
        assert_eq!(settings.startup_query_interval, Duration::from_millis(31_250));
        assert_eq!(settings.startup_query_response_interval, Duration::from_millis(100));
    }

    #[test]
    fn scaled_times_are_rounded_up_where_hosts_must_know_them() {
        let igmp = Igmp {
            query_interval: Some(Duration::from_millis(1250).into()),
            query_response_interval: Some(Duration::from_millis(110).into()),
            last_member_query_interval: Some(Duration::from_millis(10).into()),
            ..Igmp::default()
        };
        let settings = Settings::new(&igmp, 1, 1);
        assert_eq!(settings.query_response_interval, Duration::from_millis(200));
        assert_eq!(settings.last_member_query_interval, Duration::from_millis(100));
        assert_eq!(settings.query_interval, Duration::from_millis(1250));
        let version_1 = Settings::new(&Igmp { version: Some(1), ..igmp }, 1, 1);
        assert_eq!(version_1.query_response_interval, Duration::from_millis(110));
    }
}
