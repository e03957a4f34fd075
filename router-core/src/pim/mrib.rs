//! The multicast routing information base: where a source lies, by the unicast routes (RFC 3973 §2.1).

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::rib::Rib;
use crate::router::InterfaceId;
use crate::router::port::Port;

/// The way to a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rpf {
    /// `RPF_interface(S)`.
    pub interface: InterfaceId,
    /// `MRIB.next_hop(S)`; none if the source is directly connected.
    pub next_hop: Option<IpAddr>,
    /// `MRIB.pref(S)`: the top 8 bits of the kernel's route priority.
    pub preference: u32,
    /// `MRIB.metric(S)`: the low 24 bits of it.
    pub metric: u32,
    /// Prefix length of the route.
    pub mask_length: u8,
}

/// Looks up the way to a source: none without a route, or if the route leads by an interface that takes no part or is down.
pub fn lookup(rib: &Rib, ports: &BTreeMap<InterfaceId, Port>, source: IpAddr) -> Option<Rpf> {
    let route = rib.lookup(source)?;
    let port = ports.get(&route.interface).filter(|port| port.state.up)?;
    // A next hop that is the source itself would be a host route to a neighbour on the link.
    let next_hop = route.next_hop.filter(|next_hop| *next_hop != source || !port.is_on_link(source));
    let (preference, metric) = match next_hop {
        None => (0, 0),
        Some(_) => (route.metric >> 24, route.metric & 0x00ff_ffff),
    };
    Some(Rpf { interface: route.interface, next_hop, preference, metric, mask_length: route.prefix.prefix_len() })
}
