//! ospfd: one area, every interface in it, the file's costs, and timers that are short enough for a lab.

use std::fmt::Write;

use ipnet::{IpNet, Ipv4Net};

use crate::daemon::At;
use crate::topology::plan::{Interface, Unicast, WireKind};

/// Its configuration. Hellos come four times a second, and a second of silence ends a neighbour.
pub(super) fn configuration(at: &At<'_>) -> String {
    let plan = at.plan;
    let mut text = format!("! {} of lab {}\nhostname {}\n", at.node.name, plan.name, at.node.name);
    for interface in at.node.interfaces.iter().filter(|interface| interface.ipv4().is_some()) {
        let wire = plan.wire(interface.wire);
        let _ = writeln!(text, "interface {}\n ip ospf area 0\n ip ospf cost {}", interface.name, wire.cost);
        if !has_neighbour(at, interface) {
            text.push_str(" ip ospf passive\n");
        }
        if wire.kind == WireKind::Link {
            text.push_str(" ip ospf network point-to-point\n");
        }
        text.push_str(" ip ospf dead-interval minimal hello-multiplier 4\nexit\n");
    }
    text.push_str("interface lo\n ip ospf area 0\nexit\nrouter ospf\n");
    let own = at.node.loopback.iter().map(IpNet::addr).find(|address| address.is_ipv4());
    let own =
        own.or_else(|| at.node.interfaces.iter().find_map(|interface| interface.ipv4()).map(|net| net.addr().into()));
    if let Some(id) = own {
        let _ = writeln!(text, " ospf router-id {id}");
    }
    // One way of several that are equal, as by `unicast: static`; news at once.
    text.push_str(" maximum-paths 1\n timers throttle lsa all 0\n timers lsa min-arrival 0\nexit\n");
    text
}

/// Whether another router speaks OSPF on an interface's wire.
fn has_neighbour(at: &At<'_>, interface: &Interface) -> bool {
    let mut ends = at.plan.wire(interface.wire).ends.iter();
    ends.any(|end| end.node != at.id && at.plan.node(end.node).router().is_some_and(|r| r.unicast == Unicast::Ospf))
}

/// What it learns routes to while nothing is cut: the prefixes of other OSPF routers that are not its own.
pub(super) fn prefixes(at: &At<'_>) -> Vec<Ipv4Net> {
    let plan = at.plan;
    let of = |node| {
        let node = plan.node(node);
        let interfaces = node.interfaces.iter().flat_map(|interface| &interface.addresses);
        let nets = interfaces.chain(&node.loopback);
        nets.filter_map(|net| if let IpNet::V4(net) = net { Some(net.trunc()) } else { None }).collect::<Vec<_>>()
    };
    let own = of(at.id);
    let others = plan.node_ids().filter(|&id| plan.node(id).router().is_some_and(|r| r.unicast == Unicast::Ospf));
    let mut prefixes: Vec<Ipv4Net> = others.flat_map(of).filter(|prefix| !own.contains(prefix)).collect();
    prefixes.sort();
    prefixes.dedup();
    prefixes
}
