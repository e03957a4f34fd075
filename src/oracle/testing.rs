//! Networks drawn by hand, for tests.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use router_core::config::StaticRp;

use crate::topology::plan::{
    Daemon, Host, Igmp, Impairment, Interface, Multicast, Node, NodeId, NodeKind, Pim, Plan, Router, StaticRoute,
    Unicast, Wire, WireId, WireKind,
};
use crate::topology::steps::{SourceFilter, Stream};

/// A plan that is being drawn. Interfaces are numbered in the order of the calls; wire n has the prefix 10.0.n.0/24.
pub struct Net {
    plan: Plan,
}

impl Net {
    pub fn new() -> Net {
        Net {
            plan: Plan {
                name: "drawn".into(),
                description: String::new(),
                file: "drawn.yaml".into(),
                timers: 1.0,
                seed: 1,
                nodes: Vec::new(),
                wires: Vec::new(),
                scenarios: Vec::new(),
            },
        }
    }

    fn node(&mut self, name: &str, kind: NodeKind) -> NodeId {
        self.plan.nodes.push(Node { name: name.into(), kind, interfaces: Vec::new(), loopback: Vec::new() });
        NodeId(self.plan.nodes.len() - 1)
    }

    pub fn host(&mut self, name: &str) -> NodeId {
        self.node(name, NodeKind::Host(Host::default()))
    }

    pub fn router(&mut self, name: &str) -> NodeId {
        let router = Router {
            daemon: Daemon::RouterCore,
            multicast: Multicast::Static,
            unicast: Unicast::Static,
            igmp: Igmp::default(),
            pim: Pim::default(),
            upstream: None,
            routes: Vec::new(),
            limits: Default::default(),
        };
        self.node(name, NodeKind::Router(Box::new(router)))
    }

    pub fn link(&mut self, name: &str, a: NodeId, b: NodeId) -> WireId {
        self.wire(name, WireKind::Link, &[a, b])
    }

    pub fn lan(&mut self, name: &str, nodes: &[NodeId]) -> WireId {
        self.wire(name, WireKind::Lan { snooping: false }, nodes)
    }

    pub fn snooping_lan(&mut self, name: &str, nodes: &[NodeId]) -> WireId {
        self.wire(name, WireKind::Lan { snooping: true }, nodes)
    }

    fn wire(&mut self, name: &str, kind: WireKind, nodes: &[NodeId]) -> WireId {
        let wire = WireId(self.plan.wires.len());
        let net = u8::try_from(wire.0).expect("few wires");
        let mut ends = Vec::new();
        for (n, &node) in nodes.iter().enumerate() {
            let host = u8::try_from(n + 1).expect("few nodes");
            let interfaces = &mut self.plan.nodes[node.0].interfaces;
            interfaces.push(Interface {
                name: format!("eth{}", interfaces.len()),
                index: u32::from(net) * 256 + u32::from(host) + 1,
                mac: [2, 0, 0, 0, net, host],
                wire,
                addresses: vec![IpNet::V4(
                    Ipv4Net::new(Ipv4Addr::new(10, 0, net, host), 24).expect("24 is a prefix length"),
                )],
                ttl_threshold: 0,
                boundary: Vec::new(),
                igmp: Igmp::default(),
                pim: Pim::default(),
            });
            ends.push(crate::topology::plan::Attachment { node, interface: interfaces.len() - 1 });
        }
        self.plan.wires.push(Wire {
            name: name.into(),
            kind,
            ends,
            cost: 1,
            mtu: 1500,
            impairment: Impairment::default(),
            subnets: vec![IpNet::V4(Ipv4Net::new(Ipv4Addr::new(10, 0, net, 0), 24).expect("24 is a prefix length"))],
        });
        wire
    }

    pub fn cost(&mut self, wire: WireId, cost: u32) {
        self.plan.wires[wire.0].cost = cost;
    }

    pub fn host_mut(&mut self, host: NodeId) -> &mut Host {
        match &mut self.plan.nodes[host.0].kind {
            NodeKind::Host(host) => host,
            NodeKind::Router(_) => panic!("a router"),
        }
    }

    pub fn router_mut(&mut self, router: NodeId) -> &mut Router {
        match &mut self.plan.nodes[router.0].kind {
            NodeKind::Router(router) => router,
            NodeKind::Host(_) => panic!("a host"),
        }
    }

    pub fn interface_mut(&mut self, node: NodeId, interface: usize) -> &mut Interface {
        &mut self.plan.nodes[node.0].interfaces[interface]
    }

    /// A static multicast route for 239.0.0.0/8.
    pub fn route(&mut self, router: NodeId, incoming: usize, outgoing: &[usize]) {
        let group = "239.0.0.0/8".parse().expect("a prefix");
        self.router_mut(router).routes.push(StaticRoute { group, source: None, incoming, outgoing: outgoing.to_vec() });
    }

    pub fn proxy(&mut self, router: NodeId, upstream: usize) {
        let router = self.router_mut(router);
        router.multicast = Multicast::Proxy;
        router.upstream = Some(upstream);
    }

    /// A router in PIM dense mode.
    pub fn pim(&mut self, name: &str) -> NodeId {
        let router = self.router(name);
        self.router_mut(router).multicast = Multicast::PimDm;
        router
    }

    /// A router in PIM sparse mode. Its loopback is 10.255.0.n, n its number from 1.
    pub fn sparse(&mut self, name: &str) -> NodeId {
        let router = self.router(name);
        self.router_mut(router).multicast = Multicast::PimSm;
        let loopback = Ipv4Addr::new(10, 255, 0, u8::try_from(router.0 + 1).expect("few nodes"));
        self.plan.nodes[router.0].loopback.push(IpNet::V4(Ipv4Net::from(loopback)));
        router
    }

    /// All routers in sparse mode use this one as rendezvous point.
    pub fn rendezvous_point(&mut self, router: NodeId) {
        let address = self.plan.node(router).loopback[0].addr();
        let groups = "224.0.0.0/4".parse().expect("a prefix");
        for node in &mut self.plan.nodes {
            if let NodeKind::Router(router) = &mut node.kind
                && router.multicast == Multicast::PimSm
            {
                router.pim.rp = Some(vec![StaticRp { address, groups, overrides: false }]);
            }
        }
    }

    pub fn timers(&mut self, scale: f64) {
        self.plan.timers = scale;
    }

    pub fn plan(&self) -> Plan {
        self.plan.clone()
    }
}

/// src - r1 - r2 - h1, static routes all the way to r2; h1 has to join. r2's second LAN has the bystander h2.
pub fn chain() -> (Plan, BTreeMap<&'static str, NodeId>) {
    let (net, ids) = chain_net();
    (net.plan(), ids)
}

/// The same before it is a plan. src.eth0 - r1.eth0, r1.eth1 - r2.eth0, r2.eth1 - h1.eth0, r2.eth2 - h2.eth0.
pub fn chain_net() -> (Net, BTreeMap<&'static str, NodeId>) {
    let mut net = Net::new();
    let (src, r1, r2, h1, h2) = (net.host("src"), net.router("r1"), net.router("r2"), net.host("h1"), net.host("h2"));
    net.link("first", src, r1);
    net.link("middle", r1, r2);
    net.lan("last", &[r2, h1]);
    net.lan("side", &[r2, h2]);
    net.route(r1, 0, &[1]);
    net.route(r2, 0, &[]);
    (net, BTreeMap::from([("src", src), ("r1", r1), ("r2", r2), ("h1", h1), ("h2", h2)]))
}

/// A filter that takes all sources.
pub fn all() -> SourceFilter {
    SourceFilter::Exclude(Default::default())
}

/// A filter that takes only these.
pub fn only(sources: &[&str]) -> SourceFilter {
    SourceFilter::Include(sources.iter().map(|s| s.parse().expect("an address")).collect())
}

/// A filter that takes all but these.
pub fn all_but(sources: &[&str]) -> SourceFilter {
    SourceFilter::Exclude(sources.iter().map(|s| s.parse().expect("an address")).collect())
}

/// The group that tests use.
pub fn group() -> IpAddr {
    "239.1.1.1".parse().expect("an address")
}

/// A stream of 100 packets a second to [`group`].
pub fn stream(name: &str, from: NodeId, ttl: u8) -> Stream {
    Stream {
        name: name.into(),
        from,
        interface: 0,
        group: group(),
        groups: 1,
        port: 5001,
        rate: 100.0,
        size: 200,
        ttl,
        count: None,
        burst: 1,
    }
}
