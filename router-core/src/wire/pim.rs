//! PIM version 2 messages that dense mode uses (RFC 3973 §4.7; where they differ, RFC 7761 §4.9 counts).

use std::net::{IpAddr, Ipv4Addr};

/// The IP protocol number.
pub const PROTOCOL: u8 = 103;
/// All PIM routers: all but grafts and graft-acks go there (RFC 3973 §4.7).
pub const ALL_PIM_ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 13);
/// A hold time that never runs out (RFC 3973 §4.3.3, §4.7.6).
pub const HOLD_FOR_EVER: u16 = 0xffff;
/// The metric preference of an infinite assert metric, its R bit left out (RFC 3973 §4.6.1).
pub const INFINITE_PREFERENCE: u32 = 0x7fff_ffff;
/// The metric of an infinite assert metric (RFC 3973 §4.6.1).
pub const INFINITE_METRIC: u32 = 0xffff_ffff;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Type 0 (RFC 3973 §4.7.5).
    Hello(Hello),
    /// Type 3 (RFC 3973 §4.7.6).
    JoinPrune(JoinPrune),
    /// Type 5 (RFC 3973 §4.7.7).
    Assert(Assert),
    /// Type 6: a join/prune by another name (RFC 3973 §4.7.8).
    Graft(JoinPrune),
    /// Type 7: the graft, sent back (RFC 3973 §4.7.9).
    GraftAck(JoinPrune),
    /// Type 9 (RFC 3973 §4.7.10).
    StateRefresh(StateRefresh),
}

/// A hello: its options, each at most once (of a repeated one the last counts); options that are not known are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// Option 1, Hello Hold Time in seconds: 0 is goodbye, [`HOLD_FOR_EVER`] never runs out.
    pub hold_time: Option<u16>,
    /// Option 2.
    pub lan_prune_delay: Option<LanPruneDelay>,
    /// Option 19, DR Priority (sparse mode; heard and shown).
    pub dr_priority: Option<u32>,
    /// Option 20, Generation ID.
    pub generation_id: Option<u32>,
    /// Option 21: the sender's State Refresh Interval in seconds.
    pub state_refresh_interval: Option<u8>,
    /// Option 24: the sender's other addresses on the interface (RFC 7761 §4.9.2).
    pub addresses: Vec<IpAddr>,
}

/// Option 2, LAN Prune Delay (RFC 3973 §4.7.5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LanPruneDelay {
    /// The T bit: the sender can leave join suppression out (sparse mode).
    pub tracking: bool,
    /// Propagation delay in milliseconds, 0 to 32767.
    pub propagation_delay: u16,
    /// Override interval in milliseconds.
    pub override_interval: u16,
}

/// A join/prune, graft or graft-ack (RFC 3973 §4.7.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinPrune {
    /// The upstream neighbour that it is meant for.
    pub upstream: IpAddr,
    /// How long a prune holds, in seconds; [`HOLD_FOR_EVER`] until a join or graft.
    pub hold_time: u16,
    /// Groups with their sources, at most 255.
    pub groups: Vec<GroupSet>,
}

/// A group (or range of groups) of a join/prune.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSet {
    /// The group's address.
    pub group: IpAddr,
    /// Bits of it that count: 32 (IPv6: 128) for one group.
    pub mask_length: u8,
    /// Joined sources.
    pub joined: Vec<EncodedSource>,
    /// Pruned sources.
    pub pruned: Vec<EncodedSource>,
}

/// A source of a join/prune (RFC 3973 §4.7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodedSource {
    /// The address.
    pub address: IpAddr,
    /// Bits of it that count: 32 (IPv6: 128) for one source.
    pub mask_length: u8,
    /// The S bit (sparse mode).
    pub sparse: bool,
    /// The W bit (sparse mode): all sources, by the rendezvous point.
    pub wildcard: bool,
    /// The R bit (sparse mode): on the rendezvous point's tree.
    pub rpt: bool,
}

/// An assert (RFC 3973 §4.7.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assert {
    /// The group.
    pub group: IpAddr,
    /// The source.
    pub source: IpAddr,
    /// The R bit (sparse mode; set in an infinite metric).
    pub rpt: bool,
    /// Metric preference, 31 bits.
    pub preference: u32,
    /// Metric of the route to the source.
    pub metric: u32,
}

/// A state refresh (RFC 3973 §4.7.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateRefresh {
    /// The group.
    pub group: IpAddr,
    /// The source.
    pub source: IpAddr,
    /// The first-hop router that originated it.
    pub originator: IpAddr,
    /// The R bit (sparse mode; set in an infinite metric).
    pub rpt: bool,
    /// Metric preference of the sender's route to the source, 31 bits.
    pub preference: u32,
    /// Metric of that route.
    pub metric: u32,
    /// Mask length of that route.
    pub mask_length: u8,
    /// Its own TTL, one less a router; the IP header's is always 1.
    pub ttl: u8,
    /// The P bit: the sender has pruned this interface.
    pub prune_indicator: bool,
    /// The N bit: set in every third message, ignored when heard.
    pub prune_now: bool,
    /// The O bit: the sender's assert timer does not run; ignored when heard.
    pub assert_override: bool,
    /// The originator's interval between messages, in seconds.
    pub interval: u8,
}
