//! Small plans for tests: numbered addresses, both families, no file.

use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use router_core::config::{Igmp, Limits, Multicast};

use crate::topology::plan::{
    Attachment, Daemon, Host, Impairment, Interface, Node, NodeId, NodeKind, Plan, Router, Unicast, Wire, WireId,
    WireKind,
};

pub fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// A plan in the making. Wire w has 10.0.w.0/24 and fd00:0:w::/64, node n of it the addresses .n+1 and ::n+1; router n has
/// the loopback 10.255.0.n.
pub struct Lab {
    plan: Plan,
}

impl Lab {
    pub fn new() -> Lab {
        Lab {
            plan: Plan {
                name: "lab".into(),
                description: String::new(),
                file: "lab.yaml".into(),
                timers: 1.0,
                seed: 1,
                nodes: Vec::new(),
                wires: Vec::new(),
                scenarios: Vec::new(),
            },
        }
    }

    fn node(&mut self, name: &str, kind: NodeKind) {
        let n = self.plan.nodes.len();
        let loopback = match kind {
            NodeKind::Router(_) => vec![net(&format!("10.255.{}.{}/32", n / 256, n % 256))],
            NodeKind::Host(_) => Vec::new(),
        };
        self.plan.nodes.push(Node { name: name.into(), kind, interfaces: Vec::new(), loopback });
    }

    pub fn hosts(mut self, names: &[&str]) -> Lab {
        for name in names {
            self.node(name, NodeKind::Host(Host::default()));
        }
        self
    }

    pub fn routers(mut self, names: &[&str]) -> Lab {
        for name in names {
            let router = Router {
                daemon: Daemon::RouterCore,
                multicast: Multicast::Static,
                unicast: Unicast::Static,
                igmp: Igmp::default(),
                pim: Default::default(),
                upstream: None,
                routes: Vec::new(),
                limits: Limits::default(),
            };
            self.node(name, NodeKind::Router(Box::new(router)));
        }
        self
    }

    pub fn without_unicast(mut self, name: &str) -> Lab {
        let id = self.plan.find_node(name).unwrap();
        if let NodeKind::Router(router) = &mut self.plan.nodes[id.0].kind {
            router.unicast = Unicast::None;
        }
        self
    }

    pub fn wire(mut self, cost: u32, nodes: &[&str]) -> Lab {
        let w = self.plan.wires.len();
        let v4 = Ipv4Net::new(std::net::Ipv4Addr::new(10, (w / 256) as u8, (w % 256) as u8, 0), 24).unwrap();
        let v6: Ipv6Net = format!("fd00:0:{w:x}::/64").parse().unwrap();
        let mut ends = Vec::new();
        for name in nodes {
            let id = self.plan.find_node(name).unwrap();
            let interface = self.plan.nodes[id.0].interfaces.len();
            let index = 2 + self.plan.nodes.iter().map(|n| n.interfaces.len()).sum::<usize>() as u32;
            let host = id.0 as u32 + 1;
            let addresses =
                vec![net(&format!("10.{}.{}.{host}/24", w / 256, w % 256)), net(&format!("fd00:0:{w:x}::{host:x}/64"))];
            self.plan.nodes[id.0].interfaces.push(Interface {
                name: format!("eth{interface}"),
                index,
                mac: [2, 0, 0, 0, (index >> 8) as u8, index as u8],
                wire: WireId(w),
                addresses,
                ttl_threshold: 0,
                boundary: Vec::new(),
                igmp: Igmp::default(),
                pim: Default::default(),
            });
            ends.push(Attachment { node: NodeId(id.0), interface });
        }
        let kind = if nodes.len() == 2 { WireKind::Link } else { WireKind::Lan { snooping: false } };
        self.plan.wires.push(Wire {
            name: format!("w{w}"),
            kind,
            ends,
            cost,
            mtu: 1500,
            impairment: Impairment { delay: Duration::ZERO, ..Impairment::default() },
            subnets: vec![v4.into(), v6.into()],
        });
        self
    }

    /// The last wire made has no IPv6.
    pub fn without_ipv6(mut self) -> Lab {
        if let Some(wire) = self.plan.wires.last_mut() {
            wire.subnets.retain(|subnet| subnet.addr().is_ipv4());
            for end in &wire.ends {
                self.plan.nodes[end.node.0].interfaces[end.interface].addresses.retain(|a| a.addr().is_ipv4());
            }
        }
        self
    }

    /// The plan; hosts use the first router on their first wire as gateway.
    pub fn plan(mut self) -> Plan {
        for n in 0..self.plan.nodes.len() {
            let Some(first) = self.plan.nodes[n].interfaces.first() else { continue };
            let router = self.plan.wire(first.wire).ends.iter().find(|end| self.plan.node(end.node).is_router());
            let gateways: Vec<_> =
                router.map(|r| self.plan.interface(*r).addresses.iter().map(IpNet::addr).collect()).unwrap_or_default();
            if let NodeKind::Host(host) = &mut self.plan.nodes[n].kind {
                host.gateways = gateways;
            }
        }
        self.plan
    }
}
