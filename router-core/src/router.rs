//! The sans-IO router: owns interfaces and protocols, routes inputs to them, merges their outputs.
//!
//! The shell around it (the Linux daemon or the simulator) calls [`Router::handle`] with the time and an input, then
//! drains [`Router::poll_output`], then sleeps until [`Router::poll_timeout`] or the next input.

mod answers;
mod bsr;
mod forward;
mod machine;
mod pim;
pub mod port;
mod proxy;

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use machine::Router;

use crate::forwarding::{EntryKey, ForwardingEntry};
use crate::time::Time;

/// An interface, by its kernel index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InterfaceId(pub u32);

impl InterfaceId {
    /// The register interface (RFC 7761 §4.4): the kernel gives it no index, and 0 is nobody's. Data that leaves by it comes back as
    /// [`Input::WholePacket`]; data that a register brought arrives by it.
    pub const REGISTER: InterfaceId = InterfaceId(0);
}

/// What an interface is and has, as the shell sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceState {
    /// Its name.
    pub name: String,
    /// Administratively up and with a carrier.
    pub up: bool,
    /// Largest packet in octets.
    pub mtu: u32,
    /// Its addresses with their prefixes, IPv4 and IPv6 (link-local ones too).
    pub addresses: Vec<IpNet>,
}

/// An IP packet of a control protocol, header fields apart from the payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Datagram {
    /// Source address of the header.
    pub source: IpAddr,
    /// Destination address of the header.
    pub destination: IpAddr,
    /// IP protocol number (2: IGMP, 103: PIM).
    pub protocol: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Whether the header carries the Router Alert option (RFC 2113, RFC 2711).
    pub router_alert: bool,
    /// IPv4 TOS or IPv6 traffic class.
    pub traffic_class: u8,
    /// What follows the header and its options.
    pub payload: Vec<u8>,
}

/// A unicast route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnicastRoute {
    /// The destination.
    pub prefix: IpNet,
    /// The next hop's address; absent for a connected prefix.
    pub next_hop: Option<IpAddr>,
    /// The interface toward it.
    pub interface: InterfaceId,
    /// The metric, lower preferred.
    pub metric: u32,
}

/// What reaches the router.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A timer may have run out. A spurious one is harmless.
    Timeout,
    /// A control packet arrived.
    Packet { interface: InterfaceId, datagram: Datagram },
    /// An interface appeared, or its state changed.
    Interface { interface: InterfaceId, state: InterfaceState },
    /// An interface is gone.
    InterfaceGone { interface: InterfaceId },
    /// A unicast route was added. Routes that differ in any field are different ones; of one that moves, the shell adds the new one before
    /// it removes the old.
    RouteAdded(UnicastRoute),
    /// A unicast route was withdrawn.
    RouteRemoved(UnicastRoute),
    /// The kernel has a packet without an entry (`IGMPMSG_NOCACHE`).
    NoCache { interface: InterfaceId, key: EntryKey },
    /// A packet of an entry came in by another interface (`IGMPMSG_WRONGVIF`).
    WrongInterface { interface: InterfaceId, key: EntryKey },
    /// An entry sent a packet out of [`InterfaceId::REGISTER`] (`IGMPMSG_WHOLEPKT`).
    WholePacket {
        /// The packet from its IP header on, as it arrived: Linux takes no hop off its TTL here.
        packet: Vec<u8>,
    },
    /// The answer to [`Output::AskCounters`].
    Counters { key: EntryKey, packets: u64, octets: u64, wrong_interface: u64 },
    /// The daemon is about to end: say goodbye on the wire.
    Shutdown,
}

/// What the router wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send a control packet out of an interface.
    Send { interface: InterfaceId, datagram: Datagram },
    /// Send a control packet to a unicast address, by the unicast routes: a register, a register-stop or a candidate RP's advertisement.
    SendRouted { datagram: Datagram },
    /// Make this interface a multicast interface; [`InterfaceId::REGISTER`] is the register vif.
    AddVif { interface: InterfaceId },
    /// Undo [`Output::AddVif`].
    RemoveVif { interface: InterfaceId },
    /// Join a group as a host on an interface (a proxy's upstream side), with its whole filter (RFC 3376 §3.2):
    /// `include` of no sources leaves.
    HostMembership { interface: InterfaceId, group: IpAddr, filter: SourceFilter },
    /// Install or replace a forwarding entry.
    SetEntry(ForwardingEntry),
    /// Remove a forwarding entry.
    DeleteEntry(EntryKey),
    /// Read an entry's packet counters and answer with [`Input::Counters`].
    AskCounters(EntryKey),
    /// Something an observer may wait for.
    Event(Event),
}

/// A source filter as hosts and routers keep it (RFC 3376 §2).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "mode", content = "sources")]
pub enum SourceFilter {
    /// Only from these sources.
    Include(std::collections::BTreeSet<IpAddr>),
    /// From all but these sources.
    Exclude(std::collections::BTreeSet<IpAddr>),
}

/// A change that observers may wait for, with the time when it happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When, on the shell's clock (`CLOCK_MONOTONIC` nanoseconds in the daemon).
    pub time: Time,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What can happen to a router.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum EventKind {
    /// All configured interfaces were taken up and the first queries are sent: the router is at work.
    Ready,
    /// An interface came up or went down.
    Interface { interface: String, up: bool },
    /// This router became, or ceased to be, the querier of an interface.
    Querier { interface: String, elected: bool, querier: Option<IpAddr> },
    /// A querier of an older version than the configured one was heard: queries are sent in that version while it is there.
    OlderQuerier { interface: String, version: u8, querier: IpAddr },
    /// An interface has a member of a group (or its filter changed).
    MemberAdded { interface: String, group: IpAddr, filter: SourceFilter },
    /// An interface has no member of a group any more.
    MemberRemoved { interface: String, group: IpAddr },
    /// A PIM neighbour was heard for the first time, or after it was lost.
    NeighbourUp { interface: String, neighbour: IpAddr },
    /// A PIM neighbour restarted: its generation id changed.
    NeighbourRestarted { interface: String, neighbour: IpAddr },
    /// A PIM neighbour is gone: its hold time ran out, it said goodbye, or the interface went down.
    NeighbourDown { interface: String, neighbour: IpAddr },
    /// An interface has another designated router (RFC 7761 §4.3.2), or none while it is down: whether this router is it, and its address.
    DesignatedRouter { interface: String, elected: bool, designated_router: Option<IpAddr> },
    /// The Upstream(S,G) machine changed its state: `forwarding`, `pruned` or `ack-pending` in dense mode (RFC 3973 §4.4.1), `joined` or
    /// `not-joined` in sparse mode (RFC 7761 §4.5.4, §4.5.5), where a source of all zeros stands for (*,G).
    Upstream { source: IpAddr, group: IpAddr, state: String },
    /// A Downstream(S,G,I) machine changed its state (RFC 3973 §4.4.2): `no-info`, `prune-pending` or `pruned`.
    Downstream { source: IpAddr, group: IpAddr, interface: String, state: String },
    /// The register machine of a source on a link of this router changed its state (RFC 7761 §4.4.1): `no-info`, `join`, `join-pending` or
    /// `prune`.
    Register { source: IpAddr, group: IpAddr, state: String },
    /// An Assert(S,G,I) machine changed its state (RFC 3973 §4.6.4, RFC 7761 §4.6): `no-info`, `winner` or `loser`. A source of all zeros
    /// stands for (*,G).
    Assert { source: IpAddr, group: IpAddr, interface: String, state: String, winner: Option<IpAddr> },
    /// The bootstrap router of a scope zone (of the whole domain, if that is absent) is another one or unknown, or this router's machine
    /// changed its state (RFC 5059 §3.1): `candidate`, `pending` or `elected`, or else `no-info`, `accept-any` or `accept-preferred`.
    Bsr { zone: Option<IpNet>, state: String, bsr: Option<IpAddr> },
    /// The rendezvous points of a group range, as learned from bootstrap routers, are others.
    RpSet { range: IpNet, rps: Vec<IpAddr> },
    /// A forwarding entry was installed or changed.
    EntryInstalled { source: IpAddr, group: IpAddr, incoming: String, outgoing: Vec<String> },
    /// A forwarding entry was removed.
    EntryRemoved { source: IpAddr, group: IpAddr },
    /// A bound of [`crate::config::Limits`] was hit; said once per bound and interface.
    LimitReached { limit: String, interface: Option<String> },
}

impl EventKind {
    /// The group that it is about, if it is about one.
    pub fn group(&self) -> Option<IpAddr> {
        match self {
            EventKind::MemberAdded { group, .. }
            | EventKind::MemberRemoved { group, .. }
            | EventKind::Upstream { group, .. }
            | EventKind::Downstream { group, .. }
            | EventKind::Assert { group, .. }
            | EventKind::Register { group, .. }
            | EventKind::EntryInstalled { group, .. }
            | EventKind::EntryRemoved { group, .. } => Some(*group),
            EventKind::Ready
            | EventKind::Interface { .. }
            | EventKind::Querier { .. }
            | EventKind::OlderQuerier { .. }
            | EventKind::NeighbourUp { .. }
            | EventKind::NeighbourRestarted { .. }
            | EventKind::NeighbourDown { .. }
            | EventKind::DesignatedRouter { .. }
            | EventKind::Bsr { .. }
            | EventKind::RpSet { .. }
            | EventKind::LimitReached { .. } => None,
        }
    }
}
