//! What a configuration must hold to, beyond what its types say.

mod bootstrap;
mod pim;

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::{Config, Igmp, Interface, Multicast, StaticRoute};
use crate::membership::igmp::{QUERY_INTERVAL_LIMIT, max_response_limit};
use crate::membership::message::{Family, Version};
use crate::time::Span;

/// Interfaces that one kernel multicast table can hold.
pub const INTERFACES_MAX: usize = 32;

/// Shortest interval of a timer: shorter ones would keep the router busy with itself.
const INTERVAL_MIN: Duration = Duration::from_millis(1);

/// Something in a configuration that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A name that the kernel has no interface for.
    #[error("{name:?} is no interface name: 1 to 15 octets without '/', ':' and spaces")]
    InterfaceName {
        /// The name.
        name: String,
    },
    /// Two entries for one interface.
    #[error("interface {name} is listed twice")]
    DuplicateInterface {
        /// Its name.
        name: String,
    },
    /// More interfaces than a table holds.
    #[error("{count} interfaces: the kernel's multicast table holds at most {INTERFACES_MAX}")]
    TooManyInterfaces {
        /// How many.
        count: usize,
    },
    /// A threshold that would stop everything.
    #[error("ttl-threshold 255 on {interface} would let nothing through: it is 0 to 254")]
    Threshold {
        /// The interface.
        interface: String,
    },
    /// A prefix of something other than groups where groups belong.
    #[error("{prefix} in {place} is no prefix of multicast groups")]
    NotGroups {
        /// Where it stands.
        place: String,
        /// The prefix.
        prefix: IpNet,
    },
    /// A value out of its range.
    #[error("{key} {value} in {place} is out of range: {range}")]
    Range {
        /// Where it stands.
        place: String,
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        range: String,
    },
    /// A static join of an address that cannot be joined.
    #[error("{group} in static-joins of {place} is no IPv4 group that is forwarded (224.0.1.0 to 239.255.255.255)")]
    StaticJoinGroup {
        /// Where it stands.
        place: String,
        /// The address.
        group: IpAddr,
    },
    /// A static join of a source that no packet can come from.
    #[error("{source_address} in static-joins of {place} is no IPv4 source address")]
    StaticJoinSource {
        /// Where it stands.
        place: String,
        /// The address.
        source_address: IpAddr,
    },
    /// `deaf` in a daemon that was not built for sabotage.
    #[error("deaf in {place}: this daemon was built without its sabotage feature")]
    Deaf {
        /// Where it stands.
        place: String,
    },
    /// PIM sabotage in a daemon that was not built for it.
    #[error("sabotage in {place}: this daemon was built without its sabotage feature")]
    Sabotage {
        /// Where it stands.
        place: String,
    },
    /// A PIM key of the whole router at an interface.
    #[error("{key} in pim of {place} holds for the whole router: set it there")]
    RouterWide {
        /// The interface.
        place: String,
        /// The key.
        key: &'static str,
    },
    /// A candidate's address that no router has.
    #[error("address {address} of {key} is no IPv4 address that a router can have")]
    CandidateAddress {
        /// The key.
        key: &'static str,
        /// The address.
        address: IpAddr,
    },
    /// PIM settings of a router that does not run PIM.
    #[error("pim of {place} is for multicast: pim-dm and pim-sm only")]
    NotPim {
        /// Where it stands.
        place: String,
    },
    /// Static routes in a router that runs PIM.
    #[error("static routes are for multicast: static; with PIM the protocol makes the trees")]
    RoutesInPim,
    /// A PIM key of a mode that the router does not run.
    #[error("{key} in pim of {place} has no effect without {needs}")]
    OtherMode {
        /// Where it stands.
        place: String,
        /// The key.
        key: &'static str,
        /// What it needs.
        needs: &'static str,
    },
    /// As many interfaces as a table holds, and the register interface beside.
    #[error(
        "{count} interfaces: the kernel's multicast table holds {INTERFACES_MAX}, and multicast: pim-sm takes one for registers"
    )]
    NoRoomForRegisters {
        /// How many.
        count: usize,
    },
    /// Probes that come before the suppression is half over (RFC 7761 §4.11).
    #[error("register-probe-time {probe} must be less than half of register-suppression-time {suppression}")]
    RegisterProbe {
        /// Register_Suppression_Time.
        suppression: Span,
        /// Register_Probe_Time.
        probe: Span,
    },
    /// The T bit is part of an option that is switched off.
    #[error("{place}: `explicit-tracking` is said by the LAN Prune Delay option, and `lan-prune-delay` is false")]
    TrackingUnsaid {
        /// The router or an interface.
        place: String,
    },
    /// A mapping for groups that are not source-specific.
    #[error("ssm-mapping of {place}: {groups} is not within ssm-range, so that no member of it would be mapped")]
    MappingNotSsm {
        /// Where it stands.
        place: String,
        /// The mapping's groups.
        groups: IpNet,
    },
    /// Something of IPv6 where only IPv4 is spoken.
    #[error("{what} in {place}: PIM is spoken over IPv4 only")]
    NotIpv4 {
        /// Where it stands.
        place: String,
        /// It.
        what: String,
    },
    /// An address that no router or source can have.
    #[error("{address} in {key} of {place} is no IPv4 unicast address")]
    NotUnicast {
        /// Where it stands.
        place: String,
        /// The key.
        key: &'static str,
        /// The address.
        address: IpAddr,
    },
    /// A list that must not be empty.
    #[error("{key} in pim of {place} is empty")]
    Empty {
        /// Where it stands.
        place: String,
        /// The list.
        key: &'static str,
    },
    /// A name of an interface that the configuration does not list.
    #[error("{place} names interface {name:?}, which is not among the interfaces ({known})")]
    UnknownInterface {
        /// Where it stands.
        place: String,
        /// The name.
        name: String,
        /// The names that there are.
        known: String,
    },
    /// A route whose source and group are of two families.
    #[error("route for {group}: its source {source_prefix} is of another address family")]
    RouteFamily {
        /// The route's groups.
        group: IpNet,
        /// The route's sources.
        source_prefix: IpNet,
    },
    /// A route that sends packets back where they came from.
    #[error("route for {group}: {interface} is both incoming and outgoing")]
    RouteLoop {
        /// The route's groups.
        group: IpNet,
        /// The interface.
        interface: String,
    },
    /// A route that names an outgoing interface twice.
    #[error("route for {group}: {interface} is outgoing twice")]
    RouteRepeats {
        /// The route's groups.
        group: IpNet,
        /// The interface.
        interface: String,
    },
    /// A proxy without an upstream interface.
    #[error("multicast: proxy needs upstream: the interface that leads to the sources")]
    NoUpstream,
    /// An upstream interface without a proxy.
    #[error("upstream {name} is for multicast: proxy only")]
    NotAProxy {
        /// The interface.
        name: String,
    },
    /// Static routes in a proxy.
    #[error("static routes are for multicast: static; a proxy forwards by membership alone")]
    RoutesInProxy,
    /// A key that means nothing for a proxy's upstream interface.
    #[error(
        "igmp of {name}: a proxy is a host on its upstream interface, where static-joins and querier settings have no effect"
    )]
    UpstreamQuerier {
        /// The interface.
        name: String,
    },
}

/// Everything that is wrong with a configuration, at least one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Why a text gives no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It is no YAML of the right shape.
    #[error(transparent)]
    Yaml(#[from] serde_yaml::Error),
    /// It is, but cannot work.
    #[error(transparent)]
    Invalid(#[from] ConfigErrors),
}

impl Config {
    /// Reads and checks a configuration file's text.
    ///
    /// # Errors
    /// [`LoadError`] says what is wrong with it, all faults of a well-formed file at once.
    pub fn from_yaml(text: &str) -> Result<Config, LoadError> {
        let config: Config = serde_yaml::from_str(text)?;
        config.check()?;
        Ok(config)
    }

    /// Says whether the configuration can work.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn check(&self) -> Result<(), ConfigErrors> {
        let mut errors = Vec::new();
        self.check_interfaces(&mut errors);
        check_igmp("the router", &self.igmp, &self.igmp, &mut errors);
        for interface in &self.interfaces {
            check_igmp(&interface.name, &interface.igmp, &interface.igmp.or(&self.igmp), &mut errors);
        }
        self.check_upstream(&mut errors);
        self.check_pim(&mut errors);
        self.check_bootstrap(&mut errors);
        for route in &self.routes {
            self.check_route(route, &mut errors);
        }
        if errors.is_empty() { Ok(()) } else { Err(ConfigErrors(errors)) }
    }

    fn check_interfaces(&self, errors: &mut Vec<ConfigError>) {
        if self.interfaces.len() > INTERFACES_MAX {
            errors.push(ConfigError::TooManyInterfaces { count: self.interfaces.len() });
        }
        let mut seen = BTreeSet::new();
        for Interface { name, ttl_threshold, boundary, .. } in &self.interfaces {
            let bad = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
            if name.is_empty() || name.len() > 15 || name == "." || name == ".." || name.contains(bad) {
                errors.push(ConfigError::InterfaceName { name: name.clone() });
            }
            if !seen.insert(name) {
                errors.push(ConfigError::DuplicateInterface { name: name.clone() });
            }
            if *ttl_threshold == 255 {
                errors.push(ConfigError::Threshold { interface: name.clone() });
            }
            check_groups(&format!("boundary of {name}"), boundary, errors);
        }
    }

    fn check_upstream(&self, errors: &mut Vec<ConfigError>) {
        match (self.multicast, &self.upstream) {
            (Multicast::Proxy, None) => errors.push(ConfigError::NoUpstream),
            (Multicast::Proxy, Some(name)) => {
                self.check_name("upstream", name, errors);
                // What is set for all interfaces is meant for the others.
                let own = self.interfaces.iter().find(|interface| interface.name == *name);
                let passive = |igmp: &Igmp| Igmp { enabled: None, version: None, ..igmp.clone() } == Igmp::default();
                if own.is_some_and(|interface| !passive(&interface.igmp)) {
                    errors.push(ConfigError::UpstreamQuerier { name: name.clone() });
                }
                if !self.routes.is_empty() {
                    errors.push(ConfigError::RoutesInProxy);
                }
            }
            (Multicast::None | Multicast::Static | Multicast::PimDm | Multicast::PimSm, Some(name)) => {
                errors.push(ConfigError::NotAProxy { name: name.clone() });
            }
            (Multicast::None | Multicast::Static | Multicast::PimDm | Multicast::PimSm, None) => {}
        }
    }

    fn check_route(&self, route: &StaticRoute, errors: &mut Vec<ConfigError>) {
        let group = route.group;
        check_groups("a route", &[group], errors);
        if let Some(source) = route.source.filter(|source| source.addr().is_ipv4() != group.addr().is_ipv4()) {
            errors.push(ConfigError::RouteFamily { group, source_prefix: source });
        }
        self.check_name(&format!("route for {group}"), &route.incoming, errors);
        let mut seen = BTreeSet::new();
        for name in &route.outgoing {
            self.check_name(&format!("route for {group}"), name, errors);
            if *name == route.incoming {
                errors.push(ConfigError::RouteLoop { group, interface: name.clone() });
            }
            if !seen.insert(name) {
                errors.push(ConfigError::RouteRepeats { group, interface: name.clone() });
            }
        }
    }

    fn check_name(&self, place: &str, name: &str, errors: &mut Vec<ConfigError>) {
        if !self.interfaces.iter().any(|interface| interface.name == name) {
            let names: Vec<&str> = self.interfaces.iter().map(|interface| interface.name.as_str()).collect();
            let known = if names.is_empty() { "there are none".to_owned() } else { names.join(", ") };
            errors.push(ConfigError::UnknownInterface { place: place.to_owned(), name: name.to_owned(), known });
        }
    }
}

fn check_groups(place: &str, prefixes: &[IpNet], errors: &mut Vec<ConfigError>) {
    for prefix in prefixes {
        let all: IpNet = match prefix {
            IpNet::V4(_) => ipnet::Ipv4Net::new_assert([224, 0, 0, 0].into(), 4).into(),
            IpNet::V6(_) => ipnet::Ipv6Net::new_assert([0xff00, 0, 0, 0, 0, 0, 0, 0].into(), 8).into(),
        };
        if !all.contains(prefix) {
            errors.push(ConfigError::NotGroups { place: place.to_owned(), prefix: *prefix });
        }
    }
}

/// Checks what `own` sets; `merged` has what it inherits as well.
fn check_igmp(place: &str, own: &Igmp, merged: &Igmp, errors: &mut Vec<ConfigError>) {
    let mut range = |key: &'static str, value: String, range: String| {
        errors.push(ConfigError::Range { place: place.to_owned(), key, value, range });
    };
    if let Some(version) = own.version.filter(|version| !(1..=3).contains(version)) {
        range("version", version.to_string(), "1 to 3".into());
    }
    if let Some(robustness) = own.robustness.filter(|robustness| !(1..=7).contains(robustness)) {
        range("robustness", robustness.to_string(), "1 to 7".into());
    }
    for (key, count) in
        [("startup-query-count", own.startup_query_count), ("last-member-query-count", own.last_member_query_count)]
    {
        if count == Some(0) {
            range(key, "0".into(), "1 to 255".into());
        }
    }
    let version = merged.version.and_then(|version| Version::try_from(version).ok()).unwrap_or(Version::V3);
    // Version 1 announces no response times, so that none is out of its range.
    let response_limit = if version == Version::V1 { Duration::MAX } else { max_response_limit(version) };
    for (key, span, limit) in [
        ("query-interval", own.query_interval, QUERY_INTERVAL_LIMIT),
        ("query-response-interval", own.query_response_interval, response_limit),
        ("startup-query-interval", own.startup_query_interval, QUERY_INTERVAL_LIMIT),
        ("startup-query-response-interval", own.startup_query_response_interval, response_limit),
        ("last-member-query-interval", own.last_member_query_interval, response_limit),
    ] {
        if let Some(span) = span.filter(|span| !(INTERVAL_MIN..=limit).contains(&span.get())) {
            let range_text = format!("{} to {} in version {}", Span(INTERVAL_MIN), Span(limit), version as u8);
            range(key, span.to_string(), range_text);
        }
    }
    for join in own.static_joins.iter().flatten() {
        if !Family::V4.is_group(join.group) || Family::V4.is_link_local(join.group) {
            errors.push(ConfigError::StaticJoinGroup { place: place.to_owned(), group: join.group });
        }
        if let Some(source) = join.source.filter(|source| !Family::V4.is_source(*source)) {
            errors.push(ConfigError::StaticJoinSource { place: place.to_owned(), source_address: source });
        }
    }
    check_groups(&format!("allowed-groups of {place}"), own.allowed_groups.as_deref().unwrap_or_default(), errors);
    if own.deaf == Some(true) && !cfg!(feature = "sabotage") {
        errors.push(ConfigError::Deaf { place: place.to_owned() });
    }
}

#[cfg(test)]
mod tests;
