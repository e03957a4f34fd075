//! What a plan needs of the kernel, found out by doing it in a namespace that is thrown away.

use std::fs;
use std::io;
use std::time::Duration;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoBridge, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkInfo, LinkMessage};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::namespace::Namespace;
use super::netlink::{CREATE, EXCLUSIVE, Netlink, NetlinkError};
use super::{impairment, nft};
use crate::sys::mroute;
use crate::topology::plan::{Impairment, Multicast, Plan, WireKind};
use crate::topology::steps::{Action, CutKind, Message};

/// Something that a kernel has or lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Feature {
    /// Network namespaces.
    Namespaces,
    /// Pairs of virtual Ethernet interfaces.
    Veth,
    /// Bridges.
    Bridge,
    /// IGMP snooping in bridges.
    Snooping,
    /// nftables' egress hook, for silent cuts.
    Cuts,
    /// nftables' random numbers, for random loss.
    Loss,
    /// nftables' looks into packets, for the loss of single messages.
    Drops,
    /// The `tbf` queue, for rates.
    Rate,
    /// The `netem` queue, for delay and jitter.
    Delay,
    /// IPv6.
    Ipv6,
    /// Settings in /proc/sys/net can be written.
    Settings,
    /// IPv4 multicast forwarding.
    Multicast,
    /// IPv6 multicast forwarding.
    Multicast6,
    /// Packet sockets, for taps and captures.
    Captures,
}

impl Feature {
    /// All of them.
    pub const ALL: [Feature; 14] = [
        Feature::Namespaces,
        Feature::Veth,
        Feature::Bridge,
        Feature::Snooping,
        Feature::Cuts,
        Feature::Loss,
        Feature::Drops,
        Feature::Rate,
        Feature::Delay,
        Feature::Ipv6,
        Feature::Settings,
        Feature::Multicast,
        Feature::Multicast6,
        Feature::Captures,
    ];
}

/// What the kernel lacks for a plan.
#[derive(Debug, thiserror::Error)]
#[error("{wanted} needs {feature}, which this kernel does not give: {why}")]
pub struct Lack {
    /// What of the plan needs it.
    pub wanted: String,
    /// What is needed.
    pub feature: &'static str,
    /// What the kernel said.
    pub why: String,
}

/// What a plan asks for beyond namespaces, links and bridges: each feature, what to call it, and what of the plan needs it.
pub fn wanted(plan: &Plan) -> Vec<(Feature, &'static str, String)> {
    let wire = |holds: &dyn Fn(&Impairment) -> bool, what: &str| {
        plan.wires.iter().find(|wire| holds(&wire.impairment)).map(|wire| format!("the {what} of {}", wire.name))
    };
    let snooping = plan.wires.iter().find(|wire| wire.kind == WireKind::Lan { snooping: true });
    let cut = plan.scenarios.iter().find(|scenario| {
        scenario.steps.iter().any(|s| matches!(&s.action, Action::Fail(cut) if cut.how == CutKind::Silent))
    });
    let drop = plan.scenarios.iter().find(|s| s.steps.iter().any(|s| matches!(s.action, Action::Drop(_))));
    let router = plan.nodes.iter().find(|node| node.router().is_some_and(|r| r.multicast != Multicast::None));
    let wanted = [
        (Feature::Delay, "the `netem` queue", wire(&|i| !i.delay.is_zero() || !i.jitter.is_zero(), "delay")),
        (Feature::Rate, "the `tbf` queue", wire(&|i| i.rate.is_some(), "rate")),
        (Feature::Loss, "nftables with `numgen`", wire(&|i| i.loss > 0.0, "loss")),
        (Feature::Cuts, "nftables' egress hook", cut.map(|s| format!("the silent cut in scenario {}", s.name))),
        (Feature::Drops, "nftables with `payload`", drop.map(|s| format!("the `drop` in scenario {}", s.name))),
        (Feature::Snooping, "IGMP snooping in bridges", snooping.map(|w| format!("snooping on {}", w.name))),
        (Feature::Multicast, "multicast forwarding", router.map(|node| format!("the router {}", node.name))),
    ];
    wanted.into_iter().filter_map(|(feature, name, by)| Some((feature, name, by?))).collect()
}

/// Finds out whether this kernel can build what a plan asks for. The calling thread comes back to its namespace.
///
/// # Errors
/// The first [`Lack`].
pub fn check(plan: &Plan) -> Result<(), Lack> {
    for (feature, name, wanted) in wanted(plan) {
        try_out(feature).map_err(|why| Lack { wanted, feature: name, why })?;
    }
    Ok(())
}

/// Tries one feature in a new namespace, and comes back to the one of before (which must be the lab's own: a user namespace cannot return to the
/// host's); the text is the kernel's word if it is not there.
///
/// # Errors
/// What the system said.
pub fn try_out(feature: Feature) -> Result<(), String> {
    let home = Namespace::current().map_err(|error| error.to_string())?;
    let tried = Namespace::create_and_enter().map_err(|error| error.to_string()).and_then(|_| try_here(feature));
    home.enter().map_err(|error| error.to_string())?;
    tried
}

const INDEX: u32 = 2;

fn try_here(feature: Feature) -> Result<(), String> {
    let io = |error: io::Error| error.to_string();
    let refused = |error: NetlinkError| match error {
        NetlinkError::Refused { error, message: Some(message), .. } => format!("{error} ({message})"),
        NetlinkError::Refused { error, message: None, .. } => error.to_string(),
        other => other.to_string(),
    };
    let mut netlink = Netlink::route().map_err(io)?;
    let pair = |netlink: &mut Netlink| {
        let mut far = LinkMessage::default();
        far.header.index = INDEX + 1;
        far.attributes = vec![LinkAttribute::IfName("far".to_owned())];
        add(netlink, InfoKind::Veth, InfoData::Veth(InfoVeth::Peer(far)))
    };
    let shape = |netlink: &mut Netlink, impairment: Impairment| {
        pair(netlink)?;
        impairment::shape(netlink, INDEX, "near", &impairment, 1500, 1)
    };
    let drops = |netlink: &mut Netlink, drops| {
        pair(netlink).map_err(refused)?;
        nft::start(&mut nft::open().map_err(io)?, "near", drops).map_err(refused)
    };
    let bridge = |netlink: &mut Netlink, snooping| {
        add(netlink, InfoKind::Bridge, InfoData::Bridge(vec![InfoBridge::MulticastSnooping(snooping)]))
    };
    match feature {
        Feature::Namespaces => Ok(()),
        Feature::Veth => pair(&mut netlink).map_err(refused),
        Feature::Bridge => bridge(&mut netlink, false).map_err(refused),
        Feature::Snooping => bridge(&mut netlink, true).map_err(refused),
        Feature::Cuts => drops(&mut netlink, nft::Drops::All),
        Feature::Loss => drops(&mut netlink, nft::Drops::Random(0.5)),
        Feature::Drops => drops(&mut netlink, nft::Drops::Messages { id: 0, message: Message::PimHello, count: 1 }),
        Feature::Rate => {
            shape(&mut netlink, Impairment { rate: Some(1_000_000), ..Impairment::default() }).map_err(refused)
        }
        Feature::Delay => {
            let delay = Duration::from_millis(1);
            shape(&mut netlink, Impairment { delay, ..Impairment::default() }).map_err(refused)
        }
        Feature::Ipv6 => fs::metadata("/proc/sys/net/ipv6").map(drop).map_err(io),
        Feature::Settings => fs::write("/proc/sys/net/ipv4/ip_forward", "1").map_err(io),
        Feature::Multicast => mroute::try_out(mroute::Family::V4).map_err(io),
        Feature::Multicast6 => mroute::try_out(mroute::Family::V6).map_err(io),
        Feature::Captures => {
            let flags = SockFlag::SOCK_CLOEXEC;
            let opened = socket(AddressFamily::Packet, SockType::Raw, flags, None);
            opened.map(drop).map_err(|error| error.to_string())
        }
    }
}

fn add(netlink: &mut Netlink, kind: InfoKind, data: InfoData) -> Result<(), NetlinkError> {
    let mut message = LinkMessage::default();
    message.header.index = INDEX;
    message.attributes = vec![
        LinkAttribute::IfName("near".to_owned()),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind), LinkInfo::Data(data)]),
    ];
    netlink.request(&RouteNetlinkMessage::NewLink(message), CREATE | EXCLUSIVE, "make a link")?;
    netlink.flush()
}
