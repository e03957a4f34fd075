//! The daemon's configuration: one type for the kernel shell and the simulator.
//!
//! Every key is optional in the file; [`Igmp::or`] lays a specific setting over a general one; [`Config::check`] says
//! what cannot work.

mod check;

use std::net::IpAddr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use check::{ConfigError, ConfigErrors, LoadError};

use crate::time::Span;

/// A router's whole configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// The router's name in events and logs.
    pub name: String,
    /// Seed of the router's one random generator.
    pub seed: u64,
    /// How multicast is forwarded.
    pub multicast: Multicast,
    /// IGMP settings of every interface that has none of its own.
    pub igmp: Igmp,
    /// The interfaces that take part; one not listed is left alone.
    pub interfaces: Vec<Interface>,
    /// PIM settings: the router's own, and those of every interface that has none of its own.
    pub pim: Pim,
    /// Static multicast routes.
    pub routes: Vec<StaticRoute>,
    /// The upstream interface of an IGMP proxy (RFC 4605); only with `multicast: proxy`.
    pub upstream: Option<String>,
    /// Bounds on what peers can make grow.
    pub limits: Limits,
}

/// How a router forwards multicast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Multicast {
    /// Nothing is forwarded; memberships are still tracked where IGMP is on.
    None,
    /// By [`StaticRoute`]s and by IGMP membership.
    #[default]
    Static,
    /// As an IGMP proxy toward one upstream interface (RFC 4605).
    Proxy,
    /// By PIM dense mode (RFC 3973).
    PimDm,
    /// By PIM sparse mode (RFC 7761): any-source groups by a rendezvous point, source-specific ones without, and those of
    /// [`Pim::dense_groups`] by dense mode.
    PimSm,
}

impl Multicast {
    /// Whether PIM runs.
    pub fn is_pim(self) -> bool {
        matches!(self, Multicast::PimDm | Multicast::PimSm)
    }
}

/// One interface.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Interface {
    /// The interface's name in the kernel.
    pub name: String,
    /// Its IGMP settings; what is not set comes from the router's.
    #[serde(default)]
    pub igmp: Igmp,
    /// Its PIM settings; what is not set comes from the router's. Keys that belong to the whole router are refused here.
    #[serde(default)]
    pub pim: Pim,
    /// Packets leave by this interface only if their TTL on arrival is greater than this (0: no limit, at most 254).
    #[serde(default)]
    pub ttl_threshold: u8,
    /// Administrative scope boundary (RFC 2365): groups of these prefixes neither enter nor leave here.
    #[serde(default)]
    pub boundary: Vec<IpNet>,
}

/// A router's part in IGMP on an interface. Unset keys take the RFC's defaults (RFC 9776 §8).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Igmp {
    /// Whether IGMP runs here at all (default: yes).
    pub enabled: Option<bool>,
    /// Version that is spoken: 1, 2 or 3 (default 3).
    #[schemars(range(min = 1, max = 3))]
    pub version: Option<u8>,
    /// Robustness Variable, 1 to 7 (default 2).
    #[schemars(range(min = 1, max = 7))]
    pub robustness: Option<u8>,
    /// Query Interval (default 125s).
    pub query_interval: Option<Span>,
    /// Query Response Interval: Max Resp Code of general queries (default 10s). Rounded up to what the wire can say: tenths of a
    /// second, above 12.8s with four binary digits. Version 1 has no such field, and its hosts take up to 10s: there it counts for this
    /// router's own timers only.
    pub query_response_interval: Option<Span>,
    /// Startup Query Interval (default a quarter of the query interval).
    pub startup_query_interval: Option<Span>,
    /// Number of startup queries (default the robustness variable).
    pub startup_query_count: Option<u8>,
    /// Max Resp Code of startup queries. Shorter than the RFC's (the query response interval) by default,
    /// so that a freshly started router learns its members at once: 100ms.
    pub startup_query_response_interval: Option<Span>,
    /// Last Member Query Interval (default 1s), rounded up likewise. Version 1 has no such queries.
    pub last_member_query_interval: Option<Span>,
    /// Last Member Query Count (default the robustness variable).
    pub last_member_query_count: Option<u8>,
    /// Take a group off the interface at its first leave, without a query; right only with one host there (default no).
    pub fast_leave: Option<bool>,
    /// Groups that count as joined on this interface for ever.
    pub static_joins: Option<Vec<StaticJoin>>,
    /// Only groups of these prefixes may be joined (default: all).
    pub allowed_groups: Option<Vec<IpNet>>,
    /// Require the Router Alert option in reports (RFC 9776 §9; default yes for version 3 reports, no for older ones).
    pub require_router_alert: Option<bool>,
    /// A querier that hears no report at all: for sabotage tests of the testbed, refused unless the
    /// daemon is built with its `sabotage` feature.
    pub deaf: Option<bool>,
}

impl Igmp {
    /// Lays `self` over `general`: each key of `self` that is set wins.
    #[must_use]
    pub fn or(&self, general: &Igmp) -> Igmp {
        macro_rules! pick {
            ($($field:ident),*) => { Igmp { $($field: self.$field.clone().or_else(|| general.$field.clone())),* } };
        }
        pick!(
            enabled,
            version,
            robustness,
            query_interval,
            query_response_interval,
            startup_query_interval,
            startup_query_count,
            startup_query_response_interval,
            last_member_query_interval,
            last_member_query_count,
            fast_leave,
            static_joins,
            allowed_groups,
            require_router_alert,
            deaf
        )
    }
}

/// A router's part in PIM. Unset keys take the RFC's defaults (RFC 3973 §4.8).
///
/// The first keys, down to `ssm-mapping`, may be set for an interface alone; the others hold for the whole router.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Pim {
    /// Whether PIM runs here at all (default: yes where `multicast` is a PIM mode).
    pub enabled: Option<bool>,
    /// Hello_Period (default 30s).
    pub hello_period: Option<Span>,
    /// Hold time that hellos announce, in whole seconds; others are rounded up (default 3.5 hello periods, at most 65534s).
    pub hello_hold_time: Option<Span>,
    /// Triggered_Hello_Delay: the first hello, and the answer to a new or restarted neighbour, come after a random part of
    /// as many fiftieths of it as there are routers known on the link, this one included, at most 50 (default 5s; 0 sends them at once).
    pub triggered_hello_delay: Option<Span>,
    /// Propagation_Delay of the LAN Prune Delay option, in milliseconds (default 500ms, at most 32767ms).
    pub propagation_delay: Option<Span>,
    /// Override_Interval of the LAN Prune Delay option, in milliseconds (default 2.5s, at most 65535ms).
    pub override_interval: Option<Span>,
    /// Whether hellos carry the LAN Prune Delay option (default yes).
    pub lan_prune_delay: Option<bool>,
    /// Assert Time (default 180s). It is announced nowhere: all routers of a LAN must have the same.
    pub assert_time: Option<Span>,
    /// DR Priority that hellos announce (RFC 7761 §4.3.1, default 1): the highest is the designated router of the link.
    pub dr_priority: Option<u32>,
    /// Whether hellos set the T bit, and this router keeps track of which neighbours have joined wherever all of them set it, too
    /// (RFC 7761 §4.3.3, default no).
    pub explicit_tracking: Option<bool>,
    /// Whether bootstrap messages neither enter nor leave here (default no): the edge of a bootstrap domain (RFC 5059 §3.1).
    pub bsr_border: Option<bool>,
    /// Sources of source-specific groups for members that cannot name any: IGMPv1 and v2 hosts, and any-source joins.
    pub ssm_mapping: Option<Vec<SsmMapping>>,
    /// Graft_Retry_Period (default 3s).
    pub graft_retry_period: Option<Span>,
    /// How often a graft is sent again before the router gives up until something changes (default 100).
    pub graft_retries: Option<u32>,
    /// Hold time that prunes announce, in whole seconds; others are rounded up (default 210s, at most 65534s).
    pub prune_hold_time: Option<Span>,
    /// t_limit: how long no further prune is sent to the same upstream neighbour (default 210s).
    pub prune_limit: Option<Span>,
    /// SourceLifetime: how long after its last packet a source counts as active, and an entry as of use (default 210s).
    pub source_lifetime: Option<Span>,
    /// Whether state refresh messages are originated and relayed, and hellos announce it (default yes).
    pub state_refresh: Option<bool>,
    /// StateRefreshInterval, in whole seconds; others are rounded up (default 60s, at most 255s).
    pub state_refresh_interval: Option<Span>,
    /// RefreshLimitInterval: state refresh messages for an entry that come sooner after the one before are not relayed (default half
    /// the state refresh interval).
    pub refresh_limit_interval: Option<Span>,
    /// TTL of state refresh messages that this router originates (default 255).
    pub state_refresh_ttl: Option<u8>,
    /// t_periodic: joins and prunes are sent anew after it (RFC 7761 §4.11, default 60s).
    pub join_prune_period: Option<Span>,
    /// Hold time that joins and prunes of sparse mode announce, in whole seconds; others are rounded up (default 3.5 periods, at most
    /// 65534s).
    pub join_prune_hold_time: Option<Span>,
    /// Keepalive_Period: how long after its last packet state of a source is kept (RFC 7761 §4.11, default 210s).
    pub keepalive_period: Option<Span>,
    /// RP_Keepalive_Period: the same at a rendezvous point of a registered source (default 3 register suppression times and a
    /// register probe time: 185s).
    pub rp_keepalive_period: Option<Span>,
    /// Register_Suppression_Time (default 60s).
    pub register_suppression_time: Option<Span>,
    /// Register_Probe_Time (default 5s).
    pub register_probe_time: Option<Span>,
    /// When a router with members leaves the rendezvous point's tree for a source's own (`SwitchToSptDesired`, default immediate).
    pub spt_switchover: Option<SptSwitchover>,
    /// Groups that are source-specific (default 232.0.0.0/8).
    pub ssm_range: Option<Vec<IpNet>>,
    /// Groups that dense mode handles (default none); only with `multicast: pim-sm`.
    pub dense_groups: Option<Vec<IpNet>>,
    /// Rendezvous points by configuration.
    pub rp: Option<Vec<StaticRp>>,
    /// Offers this router as rendezvous point to the bootstrap router (RFC 5059 §3.2).
    pub candidate_rp: Option<CandidateRp>,
    /// Offers this router as bootstrap router (RFC 5059 §3.1).
    pub candidate_bsr: Option<CandidateBsr>,
    /// BS_Period (RFC 5059 §5): that of the domain's bootstrap routers. A router that has just started takes no-forward bootstrap messages
    /// so long (default the candidate BSR's interval, else 60s).
    pub bs_period: Option<Span>,
    /// BS_Timeout (RFC 5059 §5): without a bootstrap message for so long, the bootstrap router is gone (default 2 BS_Periods and 10s; beside
    /// a BS_Period below 60s less than 10s, in proportion).
    pub bs_timeout: Option<Span>,
    /// BS_Min_Interval (RFC 5059 §5): an elected bootstrap router sends no two messages within it (default 10s, less in proportion
    /// beside a shorter BS_Period than 60s).
    pub bs_min_interval: Option<Span>,
    /// The unit of BS_Rand_Override, which is 5 to 23 of them (RFC 5059 §5, default 1s, less in proportion beside a shorter BS_Period
    /// than 60s).
    pub bs_rand_override_unit: Option<Span>,
    /// SZ_Timeout (RFC 5059 §5): without a bootstrap message for so long, a scope zone that was learned is forgotten (default 10
    /// BS_Timeouts).
    pub sz_timeout: Option<Span>,
    /// C_RP_Adv_Backoff (RFC 5059 §5): a candidate RP advertises itself to a new bootstrap router three times, each after a random part of
    /// it (default 3s, less in proportion beside a shorter interval of the candidate than 60s).
    pub c_rp_adv_backoff: Option<Span>,
    /// Whether bootstrap messages are unicast to new neighbours beside the no-forward ones, and taken from others (RFC 5059 §3.5.2, default
    /// no).
    pub unicast_bootstrap: Option<bool>,
    /// A router that breaks the protocol in one way: for sabotage tests of the testbed, refused unless the daemon is built with its
    /// `sabotage` feature.
    pub sabotage: Option<PimSabotage>,
}

/// One way to break PIM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PimSabotage {
    /// Never sends a join that overrides another router's prune.
    NeverOverride,
    /// Never sends a graft again.
    GraftOnce,
    /// Wins every assert: what others say does not make it a loser.
    AssertDeaf,
    /// Relays no state refresh.
    RefreshNotRelayed,
    /// Leaves the Null-Register bit out of the probes that it sends.
    RegisterNullBit,
    /// Announces a hold time of joins and prunes that is shorter than the period in which they are sent again.
    JoinHoldShort,
    /// Leaves the RPT bit out of the (*,G) joins and prunes that it sends.
    RptBitMissing,
}

impl Pim {
    /// Lays `self` over `general`: each key of `self` that is set wins.
    #[must_use]
    pub fn or(&self, general: &Pim) -> Pim {
        macro_rules! pick {
            ($($field:ident),*) => { Pim { $($field: self.$field.clone().or_else(|| general.$field.clone())),* } };
        }
        pick!(
            enabled,
            hello_period,
            hello_hold_time,
            triggered_hello_delay,
            propagation_delay,
            override_interval,
            lan_prune_delay,
            assert_time,
            dr_priority,
            explicit_tracking,
            bsr_border,
            ssm_mapping,
            graft_retry_period,
            graft_retries,
            prune_hold_time,
            prune_limit,
            source_lifetime,
            state_refresh,
            state_refresh_interval,
            refresh_limit_interval,
            state_refresh_ttl,
            join_prune_period,
            join_prune_hold_time,
            keepalive_period,
            rp_keepalive_period,
            register_suppression_time,
            register_probe_time,
            spt_switchover,
            ssm_range,
            dense_groups,
            rp,
            candidate_rp,
            candidate_bsr,
            bs_period,
            bs_timeout,
            bs_min_interval,
            bs_rand_override_unit,
            sz_timeout,
            c_rp_adv_backoff,
            unicast_bootstrap,
            sabotage
        )
    }
}

/// Sources that stand for 'any source' in a range of source-specific groups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SsmMapping {
    /// The groups.
    pub groups: IpNet,
    /// The sources that members of them get, at least one.
    pub sources: Vec<IpAddr>,
}

/// A rendezvous point by configuration. The longest match wins; a group range that is learned from a bootstrap router is preferred to it
/// at equal length unless `override` is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StaticRp {
    /// Its address.
    pub address: IpAddr,
    /// Its groups (default 224.0.0.0/4).
    #[serde(default = "all_groups")]
    pub groups: IpNet,
    /// Whether it wins over what is learned from a bootstrap router, whatever the length of the prefix.
    #[serde(default, rename = "override")]
    pub overrides: bool,
}

fn all_groups() -> IpNet {
    ipnet::Ipv4Net::new_assert([224, 0, 0, 0].into(), 4).into()
}

/// When a router with members leaves the rendezvous point's tree for a source's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SptSwitchover {
    /// With the first packet.
    #[default]
    Immediate,
    /// Never.
    Never,
    /// Once a source sends more than this many kilobits (1000 bits of IP packets) a second, measured over a counter reading.
    Kbit(u32),
}

/// A candidate RP (RFC 5059 §3.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CandidateRp {
    /// The address that it offers: one of the router's own.
    pub address: IpAddr,
    /// The groups that it offers to serve (default 224.0.0.0/4).
    #[serde(default = "all_groups_list")]
    pub groups: Vec<IpNet>,
    /// Lower is preferred (default 192).
    #[serde(default = "rp_priority")]
    pub priority: u8,
    /// C_RP_Adv_Period (default 60s); the hold time that is announced is 2.5 of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Span>,
}

fn all_groups_list() -> Vec<IpNet> {
    vec![all_groups()]
}

fn rp_priority() -> u8 {
    192
}

/// A candidate bootstrap router (RFC 5059 §3.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CandidateBsr {
    /// The address that it offers: one of the router's own.
    pub address: IpAddr,
    /// Higher is preferred (default 64).
    #[serde(default = "bsr_priority")]
    pub priority: u8,
    /// Length of the mask in the hash function (§4.7.2 of RFC 7761; default 30).
    #[serde(default = "hash_mask_length")]
    pub hash_mask_length: u8,
    /// BS_Period (RFC 5059 §5, default [`Pim::bs_period`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Span>,
    /// Administrative scope zones that it is a candidate for, instead of the whole domain.
    #[serde(default)]
    pub zones: Vec<IpNet>,
    /// Candidate RPs whose addresses are in these prefixes are accepted (RFC 5059 §3.3, default all).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_rps: Option<Vec<IpNet>>,
}

fn bsr_priority() -> u8 {
    64
}

fn hash_mask_length() -> u8 {
    30
}

/// A group, and optionally a source, that is joined by configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StaticJoin {
    /// The group.
    pub group: IpAddr,
    /// Only this source (source-specific); all sources if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
}

/// Where packets of a group range are accepted and where they always go.
///
/// Beside `outgoing`, packets go to every interface with IGMP on which a member asked for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StaticRoute {
    /// The groups that it holds for.
    pub group: IpNet,
    /// The sources that it holds for; all if absent. The longest match (source, then group) wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpNet>,
    /// The interface packets must arrive on.
    pub incoming: String,
    /// Interfaces that they leave by, members or not.
    #[serde(default)]
    pub outgoing: Vec<String>,
}

/// Bounds on state that peers can cause. Over a bound: refuse, count, log once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Limits {
    /// Groups an interface (default 4096).
    pub groups_per_interface: usize,
    /// Sources a group (default 256).
    pub sources_per_group: usize,
    /// PIM neighbours an interface (default 256).
    pub neighbours_per_interface: usize,
    /// Forwarding entries (default 65536).
    pub forwarding_entries: usize,
    /// Group-to-RP mappings that bootstrap messages bring, and as many that candidate RPs advertise (default 4096).
    pub rp_mappings: usize,
    /// Scope zones that bootstrap messages bring (default 64).
    pub scope_zones: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            groups_per_interface: 4096,
            sources_per_group: 256,
            neighbours_per_interface: 256,
            forwarding_entries: 65536,
            rp_mappings: 4096,
            scope_zones: 64,
        }
    }
}
