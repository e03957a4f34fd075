//! The plan: a topology file with everything resolved, and the only form that the rest of the program reads.
//!
//! Names have become indexes, defaults are filled in, every address, interface name, index and MAC address is fixed.
//! A plan serialises, so that a lab's supervisor and its helpers work from the same one.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

pub use router_core::config::{Igmp, Multicast, Pim};

use super::steps::Scenario;

/// How a router handles a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// By dense mode.
    Dense,
    /// By sparse mode with a rendezvous point.
    Sparse,
    /// By sparse mode, source by source.
    Ssm,
}

/// A lab as it will be built.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The lab's name: a host name, unique among a user's labs.
    pub name: String,
    /// What the file says that it shows.
    pub description: String,
    /// The file that it came from, for messages.
    pub file: String,
    /// Scale of protocol timers (0.1: ten times faster); router settings below are *not* scaled yet, see [`Plan::scaled`].
    pub timers: f64,
    /// Seed of everything random.
    pub seed: u64,
    /// Nodes in the file's order; [`NodeId`] is the index.
    pub nodes: Vec<Node>,
    /// Links, then LANs, in the file's order; [`WireId`] is the index.
    pub wires: Vec<Wire>,
    /// The scenarios in the file's order.
    pub scenarios: Vec<Scenario>,
}

/// Index of a node in [`Plan::nodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub usize);

/// Index of a wire in [`Plan::wires`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WireId(pub usize);

/// One interface of one node: where a node is attached to a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Attachment {
    /// The node.
    pub node: NodeId,
    /// Index in [`Node::interfaces`].
    pub interface: usize,
}

/// A host or a router; each has a network namespace of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// A host name, unique in the lab.
    pub name: String,
    /// What it is.
    pub kind: NodeKind,
    /// Its interfaces in the file's order, loopback not among them.
    pub interfaces: Vec<Interface>,
    /// Addresses on `lo` beside 127.0.0.1 and ::1 (routers only).
    pub loopback: Vec<IpNet>,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeKind {
    /// Sends and receives.
    Host(Host),
    /// Forwards.
    Router(Box<Router>),
}

/// A host's settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// IGMP version it is forced to (`force_igmp_version`); none: the kernel's default, 3, with its fallback to older queriers.
    pub igmp_version: Option<u8>,
    /// The next hops of its default routes, at most one an address family.
    pub gateways: Vec<IpAddr>,
}

/// A router's settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Router {
    /// The program that forwards multicast here.
    pub daemon: Daemon,
    /// How multicast is forwarded.
    pub multicast: Multicast,
    /// How unicast is routed.
    pub unicast: Unicast,
    /// IGMP settings for all interfaces (an interface's own come first), before [`Plan::scaled`].
    pub igmp: Igmp,
    /// PIM settings of the router and of all its interfaces (an interface's own come first), before [`Plan::scaled`].
    pub pim: Pim,
    /// Upstream interface of a proxy: index in [`Node::interfaces`].
    pub upstream: Option<usize>,
    /// Static multicast routes.
    pub routes: Vec<StaticRoute>,
    /// Bounds on state that peers can cause.
    pub limits: router_core::config::Limits,
}

/// A static multicast route; see [`router_core::config::StaticRoute`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StaticRoute {
    /// Groups.
    pub group: IpNet,
    /// Sources; all if absent.
    pub source: Option<IpNet>,
    /// Index in [`Node::interfaces`] of the interface that packets must arrive on.
    pub incoming: usize,
    /// Interfaces that packets leave by, members or not.
    pub outgoing: Vec<usize>,
}

/// The program that forwards multicast in a router.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Daemon {
    /// The bundled router-core.
    #[default]
    RouterCore,
    /// Debian's smcroute, fed with the same static routes.
    Smcroute,
    /// FRRouting: zebra and its pimd.
    Frr,
    /// troglobit's pimd.
    Pimd,
    /// Any program.
    Exec(ExecDaemon),
}

impl Daemon {
    /// As the file names it.
    pub fn name(&self) -> &'static str {
        match self {
            Daemon::RouterCore => "router-core",
            Daemon::Smcroute => "smcroute",
            Daemon::Frr => "frr",
            Daemon::Pimd => "pimd",
            Daemon::Exec(_) => "exec",
        }
    }
}

/// A program of the user's as a router's daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExecDaemon {
    /// Program and arguments; `{config}` stands for the configuration file's path, `{run}` for a private directory.
    pub command: Vec<String>,
    /// Text of its configuration file, with the same places.
    pub config: Option<String>,
    /// A command that ends 0 once the daemon is ready (tried every 50 ms); without it, the daemon counts as ready when started.
    pub ready: Option<Vec<String>>,
}

/// How unicast is routed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Unicast {
    /// Connected prefixes only.
    None,
    /// Shortest paths by link cost, kept by the route agent.
    #[default]
    Static,
    /// Shortest paths by link cost, as OSPF finds them: FRR's ospfd.
    Ospf,
}

/// One interface of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name in the node's namespace, at most 15 octets.
    pub name: String,
    /// Its kernel index: unique in the whole lab, never 1.
    pub index: u32,
    /// Its MAC address: unique in the lab, locally administered.
    pub mac: [u8; 6],
    /// The wire that it is attached to.
    pub wire: WireId,
    /// Its addresses with their prefix lengths (IPv4 first).
    pub addresses: Vec<IpNet>,
    /// Packets leave here only if their TTL on arrival is greater (0: no limit).
    pub ttl_threshold: u8,
    /// Groups that neither enter nor leave here (RFC 2365).
    pub boundary: Vec<IpNet>,
    /// IGMP settings of this interface alone (routers).
    pub igmp: Igmp,
    /// PIM settings of this interface alone (routers).
    pub pim: Pim,
}

/// A link or a LAN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Wire {
    /// Unique among wires.
    pub name: String,
    /// What it is.
    pub kind: WireKind,
    /// Who is attached, in the file's order. A link has two.
    pub ends: Vec<Attachment>,
    /// Cost of crossing it, for unicast (both directions), at least 1.
    pub cost: u32,
    /// Its MTU.
    pub mtu: u32,
    /// What it does to packets.
    pub impairment: Impairment,
    /// Its prefixes.
    pub subnets: Vec<IpNet>,
}

/// What a wire is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WireKind {
    /// A veth pair.
    Link,
    /// A bridge in a namespace of its own.
    Lan {
        /// Whether the bridge forwards groups only to members' and routers' ports.
        snooping: bool,
    },
}

impl WireKind {
    /// Whether it is a link.
    pub fn is_link(self) -> bool {
        self == WireKind::Link
    }
}

/// What a wire does to packets, each direction on its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Impairment {
    /// Added delay.
    pub delay: Duration,
    /// Its variation, uniform on both sides.
    pub jitter: Duration,
    /// Share of packets that are lost, 0 to 1.
    pub loss: f64,
    /// Bits a second; none: as fast as the machine.
    pub rate: Option<u64>,
}

impl Impairment {
    /// Whether the wire does anything to packets.
    pub fn is_none(&self) -> bool {
        *self == Impairment::default()
    }
}

impl Plan {
    /// The node with an id.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// The wire with an id.
    pub fn wire(&self, id: WireId) -> &Wire {
        &self.wires[id.0]
    }

    /// The interface at an attachment.
    pub fn interface(&self, at: Attachment) -> &Interface {
        &self.nodes[at.node.0].interfaces[at.interface]
    }

    /// Puts one daemon into every router, whichever the file has there. Routes that only FRR learns by itself come from the route agent then.
    pub fn substitute(&mut self, daemon: &Daemon) {
        for node in &mut self.nodes {
            if let NodeKind::Router(router) = &mut node.kind {
                router.daemon = daemon.clone();
                if router.unicast == Unicast::Ospf && *daemon != Daemon::Frr {
                    router.unicast = Unicast::Static;
                }
            }
        }
    }

    /// Finds a node by name.
    pub fn find_node(&self, name: &str) -> Option<NodeId> {
        self.nodes.iter().position(|n| n.name == name).map(NodeId)
    }

    /// Finds a wire by name.
    pub fn find_wire(&self, name: &str) -> Option<WireId> {
        self.wires.iter().position(|w| w.name == name).map(WireId)
    }

    /// Ids of all nodes.
    pub fn node_ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.nodes.len()).map(NodeId)
    }

    /// Ids of all wires.
    pub fn wire_ids(&self) -> impl Iterator<Item = WireId> + use<> {
        (0..self.wires.len()).map(WireId)
    }

    /// `node.interface`, as messages name it.
    pub fn name_of(&self, at: Attachment) -> String {
        format!("{}.{}", self.node(at.node).name, self.interface(at).name)
    }

    /// A protocol interval as the lab runs it: `timers` times the file's.
    pub fn scaled(&self, span: Duration) -> Duration {
        span.mul_f64(self.timers)
    }

    /// IGMP settings in force at a router's interface, not scaled.
    pub fn igmp_at(&self, at: Attachment) -> Option<Igmp> {
        let router = self.node(at.node).router()?;
        Some(self.interface(at).igmp.or(&router.igmp))
    }

    /// One key of the IGMP settings in force at a router's interface; none if it is not set.
    pub fn igmp_key<'p, T>(&'p self, at: Attachment, key: impl Fn(&'p Igmp) -> &'p Option<T>) -> Option<&'p T> {
        let router = self.node(at.node).router()?;
        key(&self.interface(at).igmp).as_ref().or_else(|| key(&router.igmp).as_ref())
    }

    /// How a router handles a group; none if it does not run PIM.
    pub fn mode(&self, node: NodeId, group: IpAddr) -> Option<Mode> {
        let router = self.node(node).router()?;
        let among = |prefixes: Option<&Vec<IpNet>>| prefixes.is_some_and(|all| all.iter().any(|p| p.contains(&group)));
        match router.multicast {
            Multicast::PimDm => Some(Mode::Dense),
            Multicast::PimSm if among(router.pim.dense_groups.as_ref()) => Some(Mode::Dense),
            Multicast::PimSm => {
                let is_ssm = match &router.pim.ssm_range {
                    Some(range) => among(Some(range)),
                    None => matches!(group, IpAddr::V4(group) if group.octets()[0] == 232),
                };
                Some(if is_ssm { Mode::Ssm } else { Mode::Sparse })
            }
            Multicast::None | Multicast::Static | Multicast::Proxy => None,
        }
    }

    /// PIM settings in force at a router's interface, not scaled; none where PIM does not run.
    pub fn pim_at(&self, at: Attachment) -> Option<Pim> {
        let router = self.node(at.node).router()?;
        self.has_pim(at).then(|| self.interface(at).pim.or(&router.pim))
    }

    /// Whether PIM runs at an interface.
    pub fn has_pim(&self, at: Attachment) -> bool {
        let router = self.node(at.node).router().filter(|router| router.multicast.is_pim());
        router.is_some_and(|router| self.interface(at).pim.enabled.or(router.pim.enabled) != Some(false))
    }
}

impl Node {
    /// Its router settings, if it is a router.
    pub fn router(&self) -> Option<&Router> {
        match &self.kind {
            NodeKind::Router(router) => Some(router),
            NodeKind::Host(_) => None,
        }
    }

    /// Its host settings, if it is a host.
    pub fn host(&self) -> Option<&Host> {
        match &self.kind {
            NodeKind::Host(host) => Some(host),
            NodeKind::Router(_) => None,
        }
    }

    /// Whether it forwards.
    pub fn is_router(&self) -> bool {
        self.router().is_some()
    }
}

impl Interface {
    /// Its first IPv4 address.
    pub fn ipv4(&self) -> Option<Ipv4Net> {
        self.addresses.iter().find_map(|a| if let IpNet::V4(a) = a { Some(*a) } else { None })
    }

    /// Its first IPv6 address.
    pub fn ipv6(&self) -> Option<Ipv6Net> {
        self.addresses.iter().find_map(|a| if let IpNet::V6(a) = a { Some(*a) } else { None })
    }

    /// Its address in the family of `like`.
    pub fn address_like(&self, like: IpAddr) -> Option<IpAddr> {
        match like {
            IpAddr::V4(_) => self.ipv4().map(|a| IpAddr::V4(a.addr())),
            IpAddr::V6(_) => self.ipv6().map(|a| IpAddr::V6(a.addr())),
        }
    }

    /// Whether a group's packets stop at this interface (RFC 2365).
    pub fn is_boundary_for(&self, group: IpAddr) -> bool {
        self.boundary.iter().any(|prefix| prefix.contains(&group))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node#{}", self.0)
    }
}

/// The unspecified address of a family, for callers that need a wildcard.
pub fn unspecified_like(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}
