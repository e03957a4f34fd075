//! What goes by the unicast routes, hop by hop: PIM's registers, register-stops and candidates' advertisements; and the register interface, by
//! which packets leave to be registered, and by which those come that a register brought (Linux's `net/ipv4/ipmr.c`).

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::IpNet;
use router_core::router::{Datagram, Input};
use router_core::wire::pim;

use super::cache::REGISTER;
use super::engine::{Engine, Frame, Role};
use super::observe::Control;
use super::octets;
use super::streams::Data;
use crate::topology::plan::{Attachment, NodeId, Plan};

/// The addresses that routers will look for a way to, before any source has sent: rendezvous points, candidates, and sources that
/// members are mapped to.
pub(super) fn awaited(plan: &Plan) -> Vec<IpAddr> {
    let routers = plan.nodes.iter().filter_map(|node| node.router());
    let mut addresses: Vec<IpAddr> = routers
        .flat_map(|router| {
            let pim = &router.pim;
            let configured = pim.rp.iter().flatten().map(|rp| rp.address);
            let candidates = pim.candidate_rp.iter().map(|own| own.address);
            configured.chain(candidates).chain(pim.candidate_bsr.iter().map(|own| own.address))
        })
        .collect();
    let interfaces = plan.nodes.iter().flat_map(|node| &node.interfaces).map(|interface| &interface.pim);
    let settings = plan.nodes.iter().filter_map(|node| Some(&node.router()?.pim)).chain(interfaces);
    let mapped =
        settings.flat_map(|pim| pim.ssm_mapping.iter().flatten()).flat_map(|mapping| mapping.sources.iter().copied());
    addresses.extend(mapped);
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

impl Engine<'_> {
    /// Somebody will look for a route to an address: daemons are told of those that are there.
    pub fn ask_for_route(&mut self, address: IpAddr) {
        for (node, route) in self.unicast.ask(self.plan, address) {
            self.tell(node, Input::RouteAdded(route));
        }
    }

    /// Whether an address is a node's own.
    pub(super) fn is_own(&self, id: NodeId, address: IpAddr) -> bool {
        let node = self.plan.node(id);
        let of_interfaces = node.interfaces.iter().flat_map(|interface| &interface.addresses);
        of_interfaces.chain(&node.loopback).any(|own| own.addr() == address)
    }

    /// A daemon sends a message to a unicast address.
    pub(super) fn send_routed(&mut self, id: NodeId, datagram: Datagram) {
        // What a machine sends itself comes back to it as its own, which its shell passes over.
        if !self.is_own(id, datagram.destination) {
            self.ask_for_route(datagram.destination);
            self.forward_routed(id, datagram);
        }
    }

    /// A node sends a packet on its way. What is longer than the link takes is cut there; here it goes whole.
    fn forward_routed(&mut self, id: NodeId, datagram: Datagram) {
        let Some((at, next_hop)) = self.way_to(id, datagram.destination) else { return };
        // Nobody answers for an address that is not there.
        let wire = self.plan.wire(self.plan.interface(at).wire);
        let is_there = |end: &Attachment| {
            let port = &self.nodes[end.node.0].ports[end.interface];
            *end != at && port.address == Some(next_hop) && port.is_up
        };
        if wire.ends.iter().any(is_there) {
            self.transmit(at, Frame::Control(Arc::new(Control::routed(datagram, next_hop))), self.now);
        }
    }

    /// The interface and the neighbour that a node's kernel sends packets for an address to.
    fn way_to(&self, id: NodeId, destination: IpAddr) -> Option<(Attachment, Ipv4Addr)> {
        let IpAddr::V4(address) = destination else { return None };
        let node = self.plan.node(id);
        let is_on_link = |net: &IpNet| net.contains(&destination);
        let connected =
            node.interfaces.iter().enumerate().find(|(interface, of)| {
                self.nodes[id.0].ports[*interface].is_up && of.addresses.iter().any(is_on_link)
            });
        if let Some((interface, _)) = connected {
            return Some((Attachment { node: id, interface }, address));
        }
        let hop = self.unicast.hop(id, destination)?;
        let IpAddr::V4(next_hop) = hop.address else { return None };
        Some((Attachment { node: id, interface: hop.interface }, next_hop))
    }

    /// A packet that goes by the unicast routes reaches a node.
    pub(super) fn arrive_routed(&mut self, at: Attachment, control: &Arc<Control>, next_hop: Ipv4Addr) {
        if self.port(at).address != Some(next_hop) {
            return;
        }
        let datagram = &control.datagram;
        if !self.is_own(at.node, datagram.destination) {
            let is_router = self.plan.node(at.node).is_router();
            if is_router && datagram.ttl > 1 {
                self.forward_routed(at.node, Datagram { ttl: datagram.ttl - 1, ..datagram.clone() });
            }
            return;
        }
        self.daemon_hears(at, control, true);
        if let Some(data) = self.decapsulated(at.node, datagram) {
            self.forward(Attachment { node: at.node, interface: REGISTER }, data);
        }
    }

    /// The packet of a stream that a register brings to a router whose kernel takes registers.
    fn decapsulated(&self, id: NodeId, datagram: &Datagram) -> Option<Data> {
        let Role::Router(shell) = &self.nodes[id.0].role else { return None };
        if !shell.cache.is_vif(REGISTER) || datagram.protocol != pim::PROTOCOL {
            return None;
        }
        let message = pim::parse(datagram.source, datagram.destination, &datagram.payload).ok()?;
        let pim::Message::Register(pim::Register { null: false, packet, .. }) = message else { return None };
        let data = octets::read(&packet)?;
        self.streams.get(data.stream as usize)?.sent.get(data.sequence as usize)?;
        Some(data)
    }

    /// A packet leaves by the register interface: the daemon gets it, as it arrived.
    pub(super) fn register(&mut self, id: NodeId, data: Data) {
        if let Some(packet) = octets::whole(&self.streams[data.stream as usize], data) {
            self.tell(id, Input::WholePacket { packet });
        }
    }
}

#[cfg(test)]
#[path = "routed_tests.rs"]
mod tests;
