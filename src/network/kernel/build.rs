//! Builds the fabric of a lab: one namespace a node, one with a bridge a LAN, a veth pair for every attachment.
//!
//! The order keeps the kernel's work small: namespaces first, each with a socket of its own; then all veth pairs, many in one system call, both
//! ends at their place with name, index and MAC address from the start; then addresses and 'up', one system call a namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{
    InfoBridge, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::impairment;
use super::namespace::{Namespace, place};
use super::netlink::{CREATE, DUMP, EXCLUSIVE, Netlink, NetlinkError, attributes};
use super::settings::{SettingError, Settings};
use super::{BRIDGE, lan_namespace, port};
use crate::topology::plan::{Attachment, Interface, NodeId, Plan, Wire, WireId, WireKind};

const LOOPBACK: u32 = 1;
/// How long a link may take to have its carrier. By itself a moment; but the kernel tells of carriers, for all namespaces of the machine
/// together, by one queue of which it works off some hundred devices a second (`net/core/link_watch.c`), and labs that are built or taken
/// down beside this one may have filled it.
const CARRIER_WAIT: Duration = Duration::from_secs(60);
/// How long news are waited for before the kernel is asked again.
const CARRIER_LOOK: Duration = Duration::from_secs(1);
const RTNLGRP_LINK: u32 = 1;
const RTM_NEWLINK: u16 = 16;
const IFLA_OPERSTATE: u16 = 16;
/// States of RFC 2863.
const IF_OPER_UNKNOWN: u8 = 0;
const IF_OPER_UP: u8 = 6;

/// The namespaces of a lab.
#[derive(Debug)]
pub struct Fabric {
    /// The lab's own, with nothing in it but a loopback: for what runs in no node.
    pub lab: Namespace,
    /// Those of the nodes, by [`NodeId`].
    pub nodes: Vec<Namespace>,
}

/// What is being built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Namespaces.
    Namespaces,
    /// Links and LANs.
    Links,
    /// Addresses.
    Addresses,
    /// Waiting for carriers.
    Carriers,
}

/// Why a fabric could not be built.
#[derive(Debug, thiserror::Error)]
pub enum FabricError {
    /// A namespace could not be made.
    #[error("cannot make the network namespace of {name}: {error}{}", hint(.error))]
    Namespace {
        /// Whose.
        name: String,
        /// The system's word.
        error: io::Error,
    },
    /// A setting could not be made.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The kernel refused a request.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// An impairment could not be set up.
    #[error(transparent)]
    Impairment(#[from] impairment::ImpairmentError),
    /// A link did not come up.
    #[error("{interface} of {node} has no carrier {} s after both ends were brought up: the kernel calls it {}", CARRIER_WAIT.as_secs(), operational_word(*.state))]
    Carrier {
        /// The node.
        node: String,
        /// Its interface.
        interface: String,
        /// Its operational state.
        state: u8,
    },
    /// The caller lost interest.
    #[error("given up")]
    GivenUp,
}

fn hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ENOSPC) => " (the limit of network namespaces is reached: see /proc/sys/user/max_net_namespaces)",
        Some(libc::EMFILE) => " (the limit of open files is reached: see `ulimit -n`)",
        _ => "",
    }
}

/// A namespace under construction.
struct Site {
    name: String,
    namespace: Namespace,
    netlink: Netlink,
}

/// Builds a plan's fabric, and leaves the calling thread in the lab's own namespace. The names are put below [`super::namespace::PLACES`], which must
/// be a directory of the lab's own mount namespace.
///
/// `progress` is told the stage, how many are done and how many there are; its answer may stop the building.
///
/// # Errors
/// [`FabricError`]; what was built lives as long as the calling process.
pub fn build(
    plan: &Plan,
    progress: &mut dyn FnMut(Stage, usize, usize) -> ControlFlow<()>,
) -> Result<Fabric, FabricError> {
    let mut tell = |stage, done, of| match progress(stage, done, of) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(FabricError::GivenUp),
    };
    let lans: Vec<WireId> = plan.wire_ids().filter(|&id| matches!(plan.wire(id).kind, WireKind::Lan { .. })).collect();
    let total = plan.nodes.len() + lans.len();

    let mut lab = site("the lab".to_owned(), None)?;
    let mut settings = Settings::of_new_namespace(plan);
    let mut nodes = Vec::with_capacity(plan.nodes.len());
    for node in &plan.nodes {
        nodes.push(site(node.name.clone(), Some(place(&node.name)))?);
        settings.apply_node(plan, node)?;
        tell(Stage::Namespaces, nodes.len(), total)?;
    }
    let mut numbers = Numbers::new(plan);
    let mut bridges = Vec::with_capacity(lans.len());
    for &lan in &lans {
        let name = lan_namespace(plan, lan);
        let mut bridge = site(name.clone(), Some(place(&name)))?;
        settings.apply_lan(&name)?;
        let index = numbers.index();
        add_bridge(&mut bridge.netlink, plan, lan, index, numbers.mac())?;
        bridges.push((lan, index, bridge));
        tell(Stage::Namespaces, nodes.len() + bridges.len(), total)?;
    }

    add_links(plan, &nodes, &bridges, &mut lab.netlink, &mut numbers, &mut tell)?;

    for (done, id) in plan.node_ids().enumerate() {
        bring_up_node(plan, id, &settings, &mut nodes[id.0].netlink)?;
        tell(Stage::Addresses, done + 1, total)?;
    }
    for (done, (lan, index, bridge)) in bridges.iter_mut().enumerate() {
        let name = &plan.wire(*lan).name;
        bridge.netlink.request(&up(*index), 0, format!("bring up the bridge of {name}"))?;
        for (_, index) in &numbers.ports[lan] {
            bridge.netlink.request(&up(*index), 0, format!("bring up a port of {name}"))?;
        }
        bridge.netlink.flush()?;
        tell(Stage::Addresses, plan.nodes.len() + done + 1, total)?;
    }
    lab.netlink.request(&up(LOOPBACK), 0, "bring up the lab's loopback")?;
    lab.netlink.flush()?;

    for (done, id) in plan.node_ids().enumerate() {
        await_carriers(plan, id, &mut nodes[id.0])?;
        tell(Stage::Carriers, done + 1, plan.nodes.len())?;
    }
    for id in plan.wire_ids().filter(|&id| !plan.wire(id).impairment.is_none()) {
        for &at in &plan.wire(id).ends {
            let Site { namespace, netlink, .. } = &mut nodes[at.node.0];
            impairment::set_up(plan, at, namespace, netlink)?;
        }
    }
    lab.namespace.enter().map_err(|error| FabricError::Namespace { name: lab.name, error })?;
    Ok(Fabric { lab: lab.namespace, nodes: nodes.into_iter().map(|site| site.namespace).collect() })
}

/// Makes a namespace, enters it, opens a socket in it and gives it a name.
fn site(name: String, place: Option<PathBuf>) -> Result<Site, FabricError> {
    let make = || {
        let namespace = Namespace::create_and_enter()?;
        if let Some(place) = place {
            std::fs::File::create(&place)?;
            let own = Path::new("/proc/thread-self/ns/net");
            mount(Some(own), &place, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
        }
        Ok((namespace, Netlink::route()?))
    };
    match make() {
        Ok((namespace, netlink)) => Ok(Site { name, namespace, netlink }),
        Err(error) => Err(FabricError::Namespace { name, error }),
    }
}

/// Interface indexes and MAC addresses of what is not in the plan: bridges and their ports. Unique in the lab, as equal indexes at the two ends
/// of a veth pair would delay the news of a lost carrier by up to a second.
struct Numbers {
    next_index: u32,
    next_mac: u32,
    taken: BTreeSet<[u8; 6]>,
    /// Index of each port, by LAN: the end's place in `Wire::ends`, and the index.
    ports: std::collections::BTreeMap<WireId, Vec<(usize, u32)>>,
}

impl Numbers {
    fn new(plan: &Plan) -> Numbers {
        let interfaces = || plan.nodes.iter().flat_map(|node| &node.interfaces);
        Numbers {
            next_index: interfaces().map(|i| i.index).max().unwrap_or(LOOPBACK) + 1,
            next_mac: 0,
            taken: interfaces().map(|i| i.mac).collect(),
            ports: std::collections::BTreeMap::new(),
        }
    }

    fn index(&mut self) -> u32 {
        self.next_index += 1;
        self.next_index - 1
    }

    fn mac(&mut self) -> [u8; 6] {
        loop {
            self.next_mac += 1;
            let [_, a, b, c] = self.next_mac.to_be_bytes();
            // Locally administered, unicast.
            let mac = [0x06, 0x74, 0x62, a, b, c];
            if !self.taken.contains(&mac) {
                return mac;
            }
        }
    }
}

fn add_bridge(netlink: &mut Netlink, plan: &Plan, lan: WireId, index: u32, mac: [u8; 6]) -> Result<(), NetlinkError> {
    let wire = plan.wire(lan);
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes = vec![
        LinkAttribute::IfName(BRIDGE.to_owned()),
        LinkAttribute::Address(mac.to_vec()),
        LinkAttribute::Mtu(wire.mtu),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Bridge),
            LinkInfo::Data(InfoData::Bridge(bridge_settings(plan, wire))),
        ]),
    ];
    let what = format!("make the bridge of {}", wire.name);
    netlink.request(&RouteNetlinkMessage::NewLink(message), CREATE | EXCLUSIVE, what)?;
    netlink.flush()
}

fn bridge_settings(plan: &Plan, wire: &Wire) -> Vec<InfoBridge> {
    let WireKind::Lan { snooping } = wire.kind else { return Vec::new() };
    let mut settings = vec![InfoBridge::ForwardDelay(0), InfoBridge::MulticastSnooping(snooping)];
    if snooping {
        let timing = SnoopingTiming::of(plan, wire);
        settings.extend([
            // The LAN's routers ask; the bridge learns from them where routers are, and listens.
            InfoBridge::MulticastQuerier(false),
            InfoBridge::MulticastIgmpVersion(3),
            InfoBridge::MulticastMldVersion(2),
            InfoBridge::MulticastLastMemberCount(timing.last_member_count),
            InfoBridge::MulticastLastMemberInterval(ticks(timing.last_member)),
            InfoBridge::MulticastMembershipInterval(ticks(timing.membership)),
            InfoBridge::MulticastQuerierInterval(ticks(timing.other_querier)),
            InfoBridge::MulticastQueryInterval(ticks(timing.query)),
            InfoBridge::MulticastQueryResponseInterval(ticks(timing.response)),
        ]);
    }
    settings
}

/// The intervals of a snooping bridge follow those of the LAN's routers: the longest of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SnoopingTiming {
    last_member: Duration,
    last_member_count: u32,
    membership: Duration,
    other_querier: Duration,
    query: Duration,
    response: Duration,
}

impl SnoopingTiming {
    fn of(plan: &Plan, wire: &Wire) -> SnoopingTiming {
        let mut routers: Vec<_> = wire.ends.iter().filter_map(|&at| plan.igmp_at(at)).collect();
        if routers.is_empty() {
            routers.push(Default::default());
        }
        let longest = |pick: &dyn Fn(&crate::topology::plan::Igmp) -> Option<router_core::time::Span>, default| {
            let longest = routers.iter().map(|igmp| pick(igmp).map_or(default, |span| span.get())).max();
            plan.scaled(longest.unwrap_or(default))
        };
        let robustness = routers.iter().map(|igmp| igmp.robustness.unwrap_or(2)).max().unwrap_or(2);
        let query = longest(&|igmp| igmp.query_interval, Duration::from_secs(125));
        let response = longest(&|igmp| igmp.query_response_interval, Duration::from_secs(10));
        SnoopingTiming {
            last_member: longest(&|igmp| igmp.last_member_query_interval, Duration::from_secs(1)),
            last_member_count: routers
                .iter()
                .map(|igmp| igmp.last_member_query_count.or(igmp.robustness).unwrap_or(2).into())
                .max()
                .unwrap_or(2),
            // RFC 9776 §8.4 and §8.5.
            membership: query * u32::from(robustness) + response,
            other_querier: query * u32::from(robustness) + response / 2,
            query,
            response,
        }
    }
}

/// Bridge intervals are in hundredths of a second (USER_HZ); rounded up.
fn ticks(span: Duration) -> u64 {
    u64::try_from(span.as_millis().div_ceil(10).max(1)).unwrap_or(u64::MAX)
}

/// Makes all veth pairs.
fn add_links(
    plan: &Plan,
    nodes: &[Site],
    bridges: &[(WireId, u32, Site)],
    netlink: &mut Netlink,
    numbers: &mut Numbers,
    tell: &mut dyn FnMut(Stage, usize, usize) -> Result<(), FabricError>,
) -> Result<(), FabricError> {
    let of = plan.wires.len();
    for (done, id) in plan.wire_ids().enumerate() {
        let wire = plan.wire(id);
        match wire.kind {
            WireKind::Link => {
                let [near, far] = [0, 1].map(|end| {
                    let at = wire.ends[end];
                    node_end(plan.interface(at), wire.mtu, &nodes[at.node.0])
                });
                let ends = wire.ends.iter().map(|&at| plan.name_of(at)).collect::<Vec<_>>().join(" and ");
                let what = format!("make the link {} between {ends}", wire.name);
                netlink.request(&veth(near, far), CREATE | EXCLUSIVE, what)?;
            }
            WireKind::Lan { .. } => {
                let Some((_, bridge, site)) = bridges.iter().find(|(lan, ..)| *lan == id) else { continue };
                for (end, &at) in wire.ends.iter().enumerate() {
                    let index = numbers.index();
                    numbers.ports.entry(id).or_default().push((end, index));
                    let mut near = LinkMessage::default();
                    near.header.index = index;
                    near.attributes = vec![
                        LinkAttribute::IfName(port(end)),
                        LinkAttribute::Address(numbers.mac().to_vec()),
                        LinkAttribute::Mtu(wire.mtu),
                        LinkAttribute::NetNsFd(site.namespace.as_fd().as_raw_fd()),
                        LinkAttribute::Controller(*bridge),
                    ];
                    let far = node_end(plan.interface(at), wire.mtu, &nodes[at.node.0]);
                    let what = format!("attach {} to the LAN {}", plan.name_of(at), wire.name);
                    netlink.request(&veth(near, far), CREATE | EXCLUSIVE, what)?;
                }
            }
        }
        if done % 16 == 15 {
            tell(Stage::Links, done + 1, of)?;
        }
    }
    netlink.flush()?;
    tell(Stage::Links, of, of)
}

fn node_end(interface: &Interface, mtu: u32, site: &Site) -> LinkMessage {
    let mut end = LinkMessage::default();
    end.header.index = interface.index;
    end.attributes = vec![
        LinkAttribute::IfName(interface.name.clone()),
        LinkAttribute::Address(interface.mac.to_vec()),
        LinkAttribute::Mtu(mtu),
        LinkAttribute::NetNsFd(site.namespace.as_fd().as_raw_fd()),
    ];
    end
}

fn veth(mut near: LinkMessage, mut far: LinkMessage) -> RouteNetlinkMessage {
    // One queue an end, however many processors there are: the same everywhere, and less to allocate.
    for end in [&mut near, &mut far] {
        end.attributes.extend([LinkAttribute::NumTxQueues(1), LinkAttribute::NumRxQueues(1)]);
    }
    near.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(far))),
    ]));
    RouteNetlinkMessage::NewLink(near)
}

/// The request that brings a link up.
pub(super) fn up(index: u32) -> RouteNetlinkMessage {
    set_up(index, true)
}

/// The request that brings a link up or down.
pub(super) fn set_up(index: u32, up: bool) -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
    message.header.change_mask = LinkFlags::Up;
    RouteNetlinkMessage::SetLink(message)
}

/// The request that gives an interface an address.
pub(super) fn add_address(index: u32, address: IpNet) -> RouteNetlinkMessage {
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.header.prefix_len = address.prefix_len();
    message.header.family = match address {
        IpNet::V4(_) => netlink_packet_route::AddressFamily::Inet,
        IpNet::V6(_) => netlink_packet_route::AddressFamily::Inet6,
    };
    message.attributes = vec![AddressAttribute::Local(address.addr()), AddressAttribute::Address(address.addr())];
    match address {
        // RFC 3021: no broadcast address on a /31, nor on a host route.
        IpNet::V4(net) if net.prefix_len() < 31 => {
            message.attributes.push(AddressAttribute::Broadcast(net.broadcast()));
        }
        IpNet::V4(_) => {}
        IpNet::V6(_) => message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad)),
    }
    RouteNetlinkMessage::NewAddress(message)
}

fn bring_up_node(plan: &Plan, id: NodeId, settings: &Settings, netlink: &mut Netlink) -> Result<(), NetlinkError> {
    let node = plan.node(id);
    netlink.request(&up(LOOPBACK), 0, format!("bring up the loopback of {}", node.name))?;
    for &address in &node.loopback {
        let what = format!("give {address} to the loopback of {}", node.name);
        netlink.request(&add_address(LOOPBACK, address), CREATE | EXCLUSIVE, what)?;
    }
    for (number, interface) in node.interfaces.iter().enumerate() {
        let name = plan.name_of(Attachment { node: id, interface: number });
        for &address in &interface.addresses {
            let what = format!("give {address} to {name}");
            netlink.request(&add_address(interface.index, address), CREATE | EXCLUSIVE, what)?;
        }
        let mut message = up(interface.index);
        if let RouteNetlinkMessage::SetLink(message) = &mut message {
            settings.complete(plan, node, message);
        }
        netlink.request(&message, 0, format!("bring up {name}"))?;
    }
    netlink.flush()
}

/// Waits until every interface of a node is operational: its carrier seen and its queue at work.
fn await_carriers(plan: &Plan, id: NodeId, site: &mut Site) -> Result<(), FabricError> {
    let waiting = |error| NetlinkError::Socket { what: format!("wait for the carriers of {}", site.name), error };
    let node = plan.node(id);
    // The last that was said of each that is not operational yet.
    let mut missing: BTreeMap<u32, u8> = node.interfaces.iter().map(|i| (i.index, IF_OPER_UNKNOWN)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut look = |kind: u16, body: &[u8]| {
        match (kind, operational_state(body)) {
            (RTM_NEWLINK, Some((index, IF_OPER_UP))) => {
                missing.remove(&index);
            }
            (RTM_NEWLINK, Some((index, other))) => {
                missing.entry(index).and_modify(|state| *state = other);
            }
            _ => {}
        }
        missing.first_key_value().map(|(index, state)| (*index, *state))
    };
    let question = LinkMessage::default();
    let ask = |netlink: &mut Netlink| {
        netlink.request(&RouteNetlinkMessage::GetLink(question.clone()), DUMP, "list the links")
    };
    ask(&mut site.netlink)?;
    let mut left = Some((0, IF_OPER_UNKNOWN));
    site.netlink.ask(|kind, body| left = look(kind, body))?;
    if left.is_none() {
        return Ok(());
    }
    // Subscribed first and asked again after, so that no news is missed.
    site.netlink.socket().add_membership(RTNLGRP_LINK).map_err(waiting)?;
    ask(&mut site.netlink)?;
    site.netlink.ask(|kind, body| left = look(kind, body))?;
    let deadline = Instant::now() + CARRIER_WAIT;
    let mut buffer = Vec::with_capacity(64 * 1024);
    while let Some((index, state)) = left {
        let rest = deadline.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            let interface = node.interfaces.iter().find(|i| i.index == index);
            let interface = interface.map(|i| i.name.clone()).unwrap_or_default();
            return Err(FabricError::Carrier { node: node.name.clone(), interface, state });
        }
        let mut polled = [PollFd::new(site.netlink.as_fd(), PollFlags::POLLIN)];
        match poll(&mut polled, PollTimeout::try_from(rest.min(CARRIER_LOOK)).unwrap_or(PollTimeout::MAX)) {
            Err(nix::errno::Errno::EINTR) => continue,
            // Whatever the news may have been that did not come.
            Ok(0) => {
                ask(&mut site.netlink)?;
                site.netlink.ask(|kind, body| left = look(kind, body))?;
                continue;
            }
            Ok(_) => {}
            Err(error) => return Err(waiting(error.into()).into()),
        }
        buffer.clear();
        match site.netlink.socket().recv(&mut buffer, 0) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            // Too much news at once: what was missed is asked for.
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                ask(&mut site.netlink)?;
                site.netlink.ask(|kind, body| left = look(kind, body))?;
                continue;
            }
            Err(error) => return Err(waiting(error).into()),
        }
        super::netlink::for_each_message(&buffer, |kind, body| left = look(kind, body));
    }
    site.netlink.socket().drop_membership(RTNLGRP_LINK).map_err(waiting)?;
    Ok(())
}

/// The name of an operational state (RFC 2863, ifOperStatus).
fn operational_word(state: u8) -> &'static str {
    const WORDS: [&str; 7] = ["unknown", "not present", "down", "down below", "in test", "dormant", "up"];
    WORDS.get(usize::from(state)).copied().unwrap_or("something else")
}

/// Index and operational state in a link message.
fn operational_state(body: &[u8]) -> Option<(u32, u8)> {
    let index = u32::from_ne_bytes(*body.get(4..8)?.first_chunk()?);
    let (_, state) = attributes(body.get(16..)?).find(|(kind, _)| *kind == IFLA_OPERSTATE)?;
    Some((index, *state.first()?))
}
