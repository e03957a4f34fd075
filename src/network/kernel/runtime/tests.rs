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

#[test]
fn beliefs_say_what_is_known_of_one_group() {
    let group = "239.1.1.1".parse().unwrap();
    let shown: Shown = serde_json::from_str(
        r#"{"groups": [
            {"interface": "eth1", "group": "239.1.1.1", "filter": {"mode": "include", "sources": ["10.0.0.9"]}, "version": 3,
             "expires-ms": null, "sources": {}, "last-reporter": null, "configured": false},
            {"interface": "eth2", "group": "239.1.1.2", "filter": {"mode": "exclude", "sources": []}, "version": 2,
             "expires-ms": 5, "sources": {}, "last-reporter": null, "configured": false}]}"#,
    )
    .unwrap();
    assert_eq!(believe(&shown, group), ["knows a member of 239.1.1.1 on eth1 (IGMPv3), only from 10.0.0.9"]);
    assert_eq!(believe(&Shown::Groups(vec![]), group), ["knows no member of 239.1.1.1"]);
    assert_eq!(believe(&Shown::Entries(vec![]), group), ["wants no entry for 239.1.1.1"]);
}
