//! Nodes and wires as the file has them.

use ipnet::IpNet;
use schemars::JsonSchema;

use super::{EndPim, Pim};
use crate::topology::plan::{Multicast, Unicast};
use crate::topology::read::{At, Cx, Named, Names, OneOrMany, Read, keys, one_of, words};
use crate::topology::scalars::{Address, BitRate, Int, InterfaceAddress, Prefix, Share, Time};
use crate::topology::tree;

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(in crate::topology) enum Family {
    /// IPv4.
    IPv4,
    /// IPv6.
    IPv6,
}

words!(Family as "an address family" {
    "ipv4" => Family::IPv4,
    "ipv6" => Family::IPv6,
});

impl Family {
    pub fn of(net: &IpNet) -> Family {
        match net {
            IpNet::V4(_) => Family::IPv4,
            IpNet::V6(_) => Family::IPv6,
        }
    }
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub(in crate::topology) enum Kind {
    /// Sends and receives.
    Host,
    /// Forwards.
    Router,
}

words!(Kind as "a kind of node" {
    "host" => Kind::Host,
    "router" => Kind::Router,
});

words!(Multicast as "a way to forward multicast" {
    "none" => Multicast::None,
    "static" => Multicast::Static,
    "proxy" => Multicast::Proxy,
    "pim-dm" => Multicast::PimDm,
    "pim-sm" => Multicast::PimSm,
});

words!(Unicast as "a way to route unicast" {
    "none" => Unicast::None,
    "static" => Unicast::Static,
    "ospf" => Unicast::Ospf,
});

keys! {
    /// Settings of all nodes and wires that have none of their own.
    pub struct Defaults as "`defaults`" {
        /// Of routers.
        pub router: Option<RouterDefaults>,
        /// Of hosts.
        pub host: Option<HostDefaults>,
        /// Of links.
        pub link: Option<LinkDefaults>,
        /// Of LANs.
        pub lan: Option<LanDefaults>,
    }
}

keys! {
    /// Defaults of routers.
    pub struct RouterDefaults as "`defaults` of routers" {
        /// The program that forwards multicast (default router-core).
        pub daemon: Option<At<Daemon>>,
        /// How multicast is forwarded (default static).
        pub multicast: Option<At<Multicast>>,
        /// How unicast is routed (default static).
        pub unicast: Option<At<Unicast>>,
        /// IGMP settings.
        pub igmp: Option<At<Igmp>>,
        /// PIM settings, of the routers that run PIM.
        pub pim: Option<At<Pim>>,
        /// Bounds on state that peers can cause.
        pub limits: Option<Limits>,
    }
}

keys! {
    /// Defaults of hosts.
    pub struct HostDefaults as "`defaults` of hosts" {
        /// IGMP settings: `version` alone.
        pub igmp: Option<At<Igmp>>,
    }
}

keys! {
    /// Defaults of links.
    pub struct LinkDefaults as "`defaults` of links" {
        /// Cost of crossing it, for unicast (default 1).
        pub cost: Option<Int<1, 65535>>,
        /// MTU (default 1500).
        pub mtu: Option<At<Int<576, 65535>>>,
        /// Added delay.
        pub delay: Option<At<Time>>,
        /// Variation of the delay, uniform on both sides.
        pub jitter: Option<At<Time>>,
        /// Share of packets that are lost.
        pub loss: Option<At<Share>>,
        /// Bits a second.
        pub rate: Option<At<BitRate>>,
    }
}

keys! {
    /// Defaults of LANs.
    pub struct LanDefaults as "`defaults` of LANs" {
        /// Whether switches forward groups only to members' and routers' ports (default no).
        pub snooping: Option<bool>,
        /// Cost of crossing it, for unicast (default 1).
        pub cost: Option<Int<1, 65535>>,
        /// MTU (default 1500).
        pub mtu: Option<At<Int<576, 65535>>>,
    }
}

keys! {
    /// A host or a router.
    pub struct Node as "a node" {
        /// What it is.
        pub kind: At<Kind>,
        /// The program that forwards multicast (routers; default router-core).
        pub daemon: Option<At<Daemon>>,
        /// How multicast is forwarded (routers; default static).
        pub multicast: Option<At<Multicast>>,
        /// How unicast is routed (routers; default static).
        pub unicast: Option<At<Unicast>>,
        /// IGMP settings; of a host: `version` alone.
        pub igmp: Option<At<Igmp>>,
        /// PIM settings (routers with `multicast: pim-dm` or `pim-sm`).
        pub pim: Option<At<Pim>>,
        /// Static multicast routes (routers with `multicast: static`).
        pub routes: Option<At<Vec<Route>>>,
        /// The upstream side of an IGMP proxy: a neighbour, a wire or an interface (routers with `multicast: proxy`).
        pub upstream: Option<At<String>>,
        /// Bounds on state that peers can cause (routers).
        pub limits: Option<At<Limits>>,
        /// Addresses on `lo` (routers; derived if absent).
        pub loopback: Option<At<OneOrMany<At<InterfaceAddress>>>>,
        /// Next hops of the default routes: a router on a wire of the host, addresses, or `none` (hosts; if absent,
        /// the only router on the host's wires).
        pub gateway: Option<At<OneOrMany<At<String>>>>,
    }
}

impl Named for Node {
    const WHAT: &'static str = "node";
}

keys! {
    /// Bounds on state that peers can cause.
    pub struct Limits as "`limits`" {
        /// Groups an interface (default 4096).
        pub groups_per_interface: Option<Int<1, 1_000_000>>,
        /// Sources a group (default 256).
        pub sources_per_group: Option<Int<1, 1_000_000>>,
        /// PIM neighbours an interface (default 256).
        pub neighbours_per_interface: Option<Int<1, 1_000_000>>,
        /// Forwarding entries (default 65536).
        pub forwarding_entries: Option<Int<1, 10_000_000>>,
        /// Group-to-RP mappings from bootstrap messages, and as many from advertisements (default 4096).
        pub rp_mappings: Option<Int<1, 1_000_000>>,
        /// Scope zones from bootstrap messages (default 64).
        pub scope_zones: Option<Int<1, 1_000_000>>,
    }
}

/// The program that forwards multicast in a router.
#[derive(Clone, Debug)]
pub(in crate::topology) enum Daemon {
    RouterCore,
    Smcroute,
    Frr,
    Pimd,
    Exec(Exec),
}

impl Read for Daemon {
    fn read(node: &tree::Node, cx: &mut Cx) -> Option<Self> {
        if let tree::Value::Map(_) = &node.value {
            let ExecDaemon::Exec(exec) = ExecDaemon::read(node, cx)?;
            return Some(Daemon::Exec(exec));
        }
        let words = [
            ("router-core", Some(Daemon::RouterCore)),
            ("frr", Some(Daemon::Frr)),
            ("pimd", Some(Daemon::Pimd)),
            ("smcroute", Some(Daemon::Smcroute)),
            ("exec", None),
        ];
        match crate::topology::read::word(node, "a daemon", &words, cx)? {
            Some(daemon) => Some(daemon),
            None => {
                cx.wrong_type(node, "`exec: {command: [...]}`");
                None
            }
        }
    }
}

impl JsonSchema for Daemon {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Daemon".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let exec = generator.subschema_for::<ExecDaemon>();
        schemars::json_schema!({
            "description": "The program that forwards multicast in a router.",
            "anyOf": [{"type": "string", "enum": ["router-core", "frr", "pimd", "smcroute"]}, exec]
        })
    }
}

one_of! {
    /// A program of the user's.
    pub enum ExecDaemon as "a daemon" {
        /// Any program.
        Exec(Exec),
    }
}

keys! {
    /// Any program as a router's daemon.
    pub struct Exec as "`exec`" {
        /// Program and arguments, or a shell's command line; `{config}` stands for the configuration file's path,
        /// `{run}` for a private directory.
        pub command: CommandLine,
        /// Text of its configuration file, with the same places.
        pub config: Option<String>,
        /// A command that ends 0 once the daemon is ready; without it, it is ready when started.
        pub ready: Option<CommandLine>,
    }
}

/// A command: a list of words, or one text for the shell.
#[derive(Clone, Debug)]
pub(in crate::topology) struct CommandLine(pub Vec<String>);

impl Read for CommandLine {
    fn read(node: &tree::Node, cx: &mut Cx) -> Option<Self> {
        let words = match &node.value {
            tree::Value::List(_) => Vec::<String>::read(node, cx)?,
            tree::Value::Scalar { text, .. } if !node.is_null() => vec!["/bin/sh".into(), "-c".into(), text.clone()],
            _ => Vec::new(),
        };
        if words.first().is_none_or(String::is_empty) {
            cx.wrong_type(node, "a command such as `[ip, route]`");
            return None;
        }
        Some(CommandLine(words))
    }
}

impl JsonSchema for CommandLine {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "CommandLine".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A command: a list of words, or one text for the shell.",
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]
        })
    }
}

keys! {
    /// A static multicast route.
    pub struct Route as "a route" {
        /// Its groups: a prefix or one group.
        pub group: At<Prefix>,
        /// Its sources: a node, an address or a prefix (default all).
        pub source: Option<At<String>>,
        /// Where packets must arrive: a neighbour, a wire or an interface.
        pub from: At<String>,
        /// Where they always leave: neighbours, wires or interfaces (default nowhere: members only).
        pub to: Option<OneOrMany<At<String>>>,
    }
}

keys! {
    /// A router's part in IGMP.
    pub struct Igmp as "`igmp`" {
        /// Whether IGMP runs here (default yes).
        pub enabled: Option<bool>,
        /// Version that is spoken (default 3).
        pub version: Option<At<Int<1, 3>>>,
        /// Robustness Variable (default 2).
        pub robustness: Option<Int<1, 7>>,
        /// Query Interval (default 125s).
        pub query_interval: Option<At<Time>>,
        /// Query Response Interval (default 10s).
        pub query_response_interval: Option<At<Time>>,
        /// Startup Query Interval (default a quarter of the query interval).
        pub startup_query_interval: Option<At<Time>>,
        /// Number of startup queries (default the robustness variable).
        pub startup_query_count: Option<Int<1, 255>>,
        /// Max Resp Code of startup queries (default 100ms).
        pub startup_query_response_interval: Option<At<Time>>,
        /// Last Member Query Interval (default 1s).
        pub last_member_query_interval: Option<At<Time>>,
        /// Last Member Query Count (default the robustness variable).
        pub last_member_query_count: Option<Int<1, 255>>,
        /// Take a group off at its first leave, without a query (default no).
        pub fast_leave: Option<bool>,
        /// Groups that count as joined for ever.
        pub static_joins: Option<Vec<StaticJoin>>,
        /// Only groups of these prefixes may be joined (default all).
        pub allowed_groups: Option<Vec<At<Prefix>>>,
        /// Require the Router Alert option in reports (default: of version 3 reports).
        pub require_router_alert: Option<bool>,
        /// A querier that hears no report: for tests of the testbed itself.
        pub deaf: Option<bool>,
    }
}

keys! {
    /// A group that counts as joined for ever.
    pub struct StaticJoin as "a static join" {
        /// The group.
        pub group: At<Address>,
        /// Only this source: a node or an address (default all).
        pub source: Option<At<String>>,
    }
}

keys! {
    /// A link between two nodes.
    pub struct Link as "a link" {
        /// Its two ends: `NODE`, or `NODE:INTERFACE` to name the interface.
        pub between: At<Vec<At<String>>>,
        /// Its name (default `A-B`; `A-B-2` for a second one between the same nodes).
        pub name: Option<At<String>>,
        /// Cost of crossing it, for unicast (default 1).
        pub cost: Option<Int<1, 65535>>,
        /// MTU (default 1500).
        pub mtu: Option<At<Int<576, 65535>>>,
        /// Added delay, each direction.
        pub delay: Option<At<Time>>,
        /// Variation of the delay, uniform on both sides.
        pub jitter: Option<At<Time>>,
        /// Share of packets that are lost, each direction.
        pub loss: Option<At<Share>>,
        /// Bits a second, each direction.
        pub rate: Option<At<BitRate>>,
        /// Settings of an end, by its node.
        pub ends: Option<Names<End>>,
    }
}

keys! {
    /// A LAN: a switch with any number of nodes.
    pub struct Lan as "a LAN" {
        /// Its nodes: `NODE`, or `NODE:INTERFACE` to name the interface.
        pub nodes: At<Vec<At<String>>>,
        /// Whether the switch forwards groups only to members' and routers' ports (default no).
        pub snooping: Option<bool>,
        /// Cost of crossing it, for unicast (default 1).
        pub cost: Option<Int<1, 65535>>,
        /// MTU (default 1500).
        pub mtu: Option<At<Int<576, 65535>>>,
        /// Settings of an end, by its node.
        pub ends: Option<Names<End>>,
    }
}

impl Named for Lan {
    const WHAT: &'static str = "wire";
}

keys! {
    /// Where a node is attached to a wire.
    pub struct End as "an end" {
        /// Its address, or one a family (derived if absent).
        pub address: Option<OneOrMany<At<InterfaceAddress>>>,
        /// Packets leave here only if their TTL on arrival is greater (routers).
        pub ttl_threshold: Option<At<Int<0, 254>>>,
        /// Groups that neither enter nor leave here (routers; RFC 2365).
        pub boundary: Option<At<OneOrMany<At<Prefix>>>>,
        /// IGMP settings of this interface alone (routers).
        pub igmp: Option<At<Igmp>>,
        /// PIM settings of this interface alone (routers with `multicast: pim-dm` or `pim-sm`).
        pub pim: Option<At<EndPim>>,
    }
}

impl Named for End {
    const WHAT: &'static str = "end";
}
