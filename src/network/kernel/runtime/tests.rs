use super::*;
use crate::topology::plan::{Attachment, Host, Impairment, Interface, Node, NodeKind, Wire, WireKind};

/// Two hosts, `h` and `g`, on a link.
pub(in crate::network) fn plan() -> Plan {
    let host = |name: &str, index: u32, address: &str| Node {
        name: name.into(),
        kind: NodeKind::Host(Host::default()),
        interfaces: vec![Interface {
            name: "eth0".into(),
            index,
            mac: [2, 0, 0, 0, 0, index as u8],
            wire: WireId(0),
            addresses: vec![address.parse().unwrap()],
            ttl_threshold: 0,
            boundary: Vec::new(),
            igmp: Default::default(),
            pim: Default::default(),
        }],
        loopback: Vec::new(),
    };
    let end = |node| Attachment { node: NodeId(node), interface: 0 };
    Plan {
        name: "two".into(),
        description: String::new(),
        file: String::new(),
        timers: 1.0,
        seed: 1,
        nodes: vec![host("h", 10, "10.0.0.1/24"), host("g", 11, "10.0.0.2/24")],
        wires: vec![Wire {
            name: "link".into(),
            kind: WireKind::Link,
            ends: vec![end(0), end(1)],
            cost: 10,
            mtu: 1500,
            impairment: Impairment::default(),
            subnets: Vec::new(),
        }],
        scenarios: Vec::new(),
    }
}
