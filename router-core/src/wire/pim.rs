//! PIM version 2 messages that dense mode uses (RFC 3973 §4.7; where they differ, RFC 7761 §4.9 counts).

mod bootstrap;

use std::net::{IpAddr, Ipv4Addr};

use super::checksum;
pub use bootstrap::{Bootstrap, BootstrapRange, BootstrapRp, CandidateRange, CandidateRpAdvertisement};
use bootstrap::{emit_bootstrap, emit_candidate_rp_advertisement};

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
    /// Type 1 (RFC 7761 §4.9.3).
    Register(Register),
    /// Type 2 (RFC 7761 §4.9.4).
    RegisterStop(RegisterStop),
    /// Type 3 (RFC 3973 §4.7.6).
    JoinPrune(JoinPrune),
    /// Type 4 (RFC 5059 §4.1).
    Bootstrap(Bootstrap),
    /// Type 5 (RFC 3973 §4.7.7).
    Assert(Assert),
    /// Type 6: a join/prune by another name (RFC 3973 §4.7.8).
    Graft(JoinPrune),
    /// Type 7: the graft, sent back (RFC 3973 §4.7.9).
    GraftAck(JoinPrune),
    /// Type 8 (RFC 5059 §4.2).
    CandidateRpAdvertisement(CandidateRpAdvertisement),
    /// Type 9 (RFC 3973 §4.7.10).
    StateRefresh(StateRefresh),
}

/// A register (RFC 7761 §4.9.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Register {
    /// The B bit.
    pub border: bool,
    /// The N bit: a null register.
    pub null: bool,
    /// The packet.
    pub packet: Vec<u8>,
}

/// A register-stop (RFC 7761 §4.9.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisterStop {
    /// The group.
    pub group: IpAddr,
    /// Bits of it that count.
    pub mask_length: u8,
    /// The source; unspecified for all.
    pub source: IpAddr,
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

const TYPE_HELLO: u8 = 0;
const TYPE_REGISTER: u8 = 1;
const TYPE_REGISTER_STOP: u8 = 2;
const TYPE_JOIN_PRUNE: u8 = 3;
const TYPE_BOOTSTRAP: u8 = 4;
const TYPE_ASSERT: u8 = 5;
const TYPE_GRAFT: u8 = 6;
const TYPE_GRAFT_ACK: u8 = 7;
const TYPE_CANDIDATE_RP_ADVERTISEMENT: u8 = 8;
const TYPE_STATE_REFRESH: u8 = 9;

const OPTION_HOLD_TIME: u16 = 1;
const OPTION_LAN_PRUNE_DELAY: u16 = 2;
const OPTION_DR_PRIORITY: u16 = 19;
const OPTION_GENERATION_ID: u16 = 20;
const OPTION_STATE_REFRESH: u16 = 21;
const OPTION_ADDRESS_LIST: u16 = 24;

/// The protocol's version.
const VERSION: u8 = 2;
/// The version of the State Refresh Capable option (RFC 3973 §4.7.5.4).
const STATE_REFRESH_VERSION: u8 = 1;
/// Octets of the header.
const HEADER: usize = 4;
/// Octets of a hello option before its value.
const OPTION_HEADER: usize = 4;
/// The most that a propagation delay of 15 bits can say.
const PROPAGATION_DELAY_MAX: u16 = 0x7fff;
/// The bit before a metric preference, and the T bit of a LAN Prune Delay.
const TOP_BIT: u8 = 0x80;
/// The N bit of a bootstrap message, in the second octet of the header (RFC 5059 §4.1).
const NO_FORWARD: u8 = 0x80;
/// The family of encoded addresses: IANA's numbers for address families (RFC 3973 §4.7.2).
const FAMILY_IPV4: u8 = 1;
const FAMILY_IPV6: u8 = 2;

/// Why bytes are no PIM message that is understood here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Fewer octets than the message, or a part of it, needs.
    #[error("{have} octets of {what} where {need} are needed")]
    Truncated {
        /// The part that is cut off.
        what: &'static str,
        /// Octets that are there.
        have: usize,
        /// Octets that are needed.
        need: usize,
    },
    /// Another version than 2.
    #[error("PIM version {0} where 2 is spoken")]
    Version(u8),
    /// A type that dense mode does not use (register, bootstrap and the like), or nobody.
    #[error("unknown PIM type {0}")]
    Type(u8),
    /// The checksum over the whole message (IPv6: and its pseudo header) is wrong.
    #[error("wrong PIM checksum")]
    Checksum,
    /// An address of another family than the IP header's.
    #[error("{what} is of address family {family} where {expected} is needed")]
    Family {
        /// The address.
        what: &'static str,
        /// Its family: 1 for IPv4, 2 for IPv6.
        family: u8,
        /// That of the IP header.
        expected: u8,
    },
    /// An address in another encoding than the native one, 0 (RFC 3973 §4.7.2).
    #[error("{what} is in encoding {encoding} where only 0 is known")]
    Encoding {
        /// The address.
        what: &'static str,
        /// Its encoding.
        encoding: u8,
    },
    /// More bits of mask than the address has (RFC 3973 §4.7.3).
    #[error("{what} has a mask of {length} bits where {most} is the most")]
    MaskLength {
        /// The address.
        what: &'static str,
        /// The mask's length.
        length: u8,
        /// Bits of the address.
        most: u8,
    },
    /// A hello option of a length that its type cannot have.
    #[error("hello option {option} of {length} octets where {expected} are needed")]
    OptionLength {
        /// The option's type.
        option: u16,
        /// Its length.
        length: usize,
        /// What it has to be.
        expected: usize,
    },
}

/// What is left of a message, and the family that its addresses must have.
#[derive(Clone, Copy)]
struct Reader<'a> {
    rest: &'a [u8],
    is_ipv6: bool,
}

impl<'a> Reader<'a> {
    fn take(&mut self, what: &'static str, need: usize) -> Result<&'a [u8], Error> {
        let have = self.rest.len();
        let (taken, rest) = self.rest.split_at_checked(need).ok_or(Error::Truncated { what, have, need })?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<&'a [u8; N], Error> {
        let have = self.rest.len();
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Error::Truncated { what, have, need: N })?;
        self.rest = rest;
        Ok(taken)
    }

    fn address_length(&self) -> usize {
        if self.is_ipv6 { 16 } else { 4 }
    }

    /// Octets of an encoded unicast address.
    fn unicast_length(&self) -> usize {
        2 + self.address_length()
    }

    /// Octets of an encoded group or source address.
    fn masked_length(&self) -> usize {
        4 + self.address_length()
    }

    /// The family and encoding that an encoded address begins with.
    fn prelude(&mut self, what: &'static str) -> Result<(), Error> {
        let &[family, encoding] = self.array(what)?;
        let expected = if self.is_ipv6 { FAMILY_IPV6 } else { FAMILY_IPV4 };
        if family != expected {
            return Err(Error::Family { what, family, expected });
        }
        if encoding != 0 {
            return Err(Error::Encoding { what, encoding });
        }
        Ok(())
    }

    fn address(&mut self, what: &'static str) -> Result<IpAddr, Error> {
        Ok(if self.is_ipv6 { IpAddr::from(*self.array::<16>(what)?) } else { IpAddr::from(*self.array::<4>(what)?) })
    }

    /// RFC 3973 §4.7.2.
    fn unicast(&mut self, what: &'static str) -> Result<IpAddr, Error> {
        self.prelude(what)?;
        self.address(what)
    }

    /// The flags, mask length and address that encoded group and source addresses have alike.
    fn masked(&mut self, what: &'static str) -> Result<(u8, u8, IpAddr), Error> {
        self.prelude(what)?;
        let &[flags, length] = self.array(what)?;
        let most = (self.address_length() * 8) as u8;
        if length > most {
            return Err(Error::MaskLength { what, length, most });
        }
        Ok((flags, length, self.address(what)?))
    }

    /// RFC 3973 §4.7.3. The B and Z bits are of other protocols, and ignored.
    fn group(&mut self) -> Result<(IpAddr, u8), Error> {
        let (_, mask_length, group) = self.masked("a group address")?;
        Ok((group, mask_length))
    }

    /// RFC 3973 §4.7.4.
    fn source(&mut self) -> Result<EncodedSource, Error> {
        let (flags, mask_length, address) = self.masked("a source address")?;
        Ok(EncodedSource {
            address,
            mask_length,
            sparse: flags & 0x04 != 0,
            wildcard: flags & 0x02 != 0,
            rpt: flags & 0x01 != 0,
        })
    }

    fn sources(&mut self, what: &'static str, count: u16) -> Result<Vec<EncodedSource>, Error> {
        let need = usize::from(count) * self.masked_length();
        let mut list = Reader { rest: self.take(what, need)?, is_ipv6: self.is_ipv6 };
        (0..count).map(|_| list.source()).collect()
    }

    /// The R bit, the metric preference and the metric.
    fn metric(&mut self) -> Result<(bool, u32, u32), Error> {
        let &[a, b, c, d, ref metric @ ..] = self.array::<8>("a metric")?;
        let preference = u32::from_be_bytes([a & !TOP_BIT, b, c, d]);
        Ok((a & TOP_BIT != 0, preference, u32::from_be_bytes(*metric)))
    }

    fn hello(mut self) -> Result<Hello, Error> {
        let mut hello = Hello::default();
        while !self.rest.is_empty() {
            let &[a, b, c, d] = self.array::<OPTION_HEADER>("a hello option")?;
            let option = u16::from_be_bytes([a, b]);
            let value = self.take("a hello option's value", usize::from(u16::from_be_bytes([c, d])))?;
            match option {
                OPTION_HOLD_TIME => hello.hold_time = Some(u16::from_be_bytes(*exactly(option, value)?)),
                OPTION_LAN_PRUNE_DELAY => {
                    let &[a, b, c, d] = exactly(option, value)?;
                    hello.lan_prune_delay = Some(LanPruneDelay {
                        tracking: a & TOP_BIT != 0,
                        propagation_delay: u16::from_be_bytes([a & !TOP_BIT, b]),
                        override_interval: u16::from_be_bytes([c, d]),
                    });
                }
                OPTION_DR_PRIORITY => hello.dr_priority = Some(u32::from_be_bytes(*exactly(option, value)?)),
                OPTION_GENERATION_ID => hello.generation_id = Some(u32::from_be_bytes(*exactly(option, value)?)),
                OPTION_STATE_REFRESH => {
                    let &[version, interval, _, _] = exactly(option, value)?;
                    // Of another version it is an option that is not known.
                    if version == STATE_REFRESH_VERSION {
                        hello.state_refresh_interval = Some(interval);
                    }
                }
                OPTION_ADDRESS_LIST => {
                    let mut list = Reader { rest: value, is_ipv6: self.is_ipv6 };
                    hello.addresses.clear();
                    hello.addresses.reserve_exact(value.len() / list.unicast_length());
                    while !list.rest.is_empty() {
                        hello.addresses.push(list.unicast("a secondary address")?);
                    }
                }
                _ => {}
            }
        }
        Ok(hello)
    }

    fn join_prune(mut self) -> Result<JoinPrune, Error> {
        let upstream = self.unicast("an upstream neighbour")?;
        let &[_, count, high, low] = self.array("the number of groups and the hold time")?;
        // Each has at least an encoded group and two counts: what the message cannot hold is not reserved for.
        let need = usize::from(count) * (self.masked_length() + 4);
        if self.rest.len() < need {
            return Err(Error::Truncated { what: "groups", have: self.rest.len(), need });
        }
        let mut groups = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            let (group, mask_length) = self.group()?;
            let &[a, b, c, d] = self.array("the numbers of sources")?;
            let joined = self.sources("joined sources", u16::from_be_bytes([a, b]))?;
            let pruned = self.sources("pruned sources", u16::from_be_bytes([c, d]))?;
            groups.push(GroupSet { group, mask_length, joined, pruned });
        }
        Ok(JoinPrune { upstream, hold_time: u16::from_be_bytes([high, low]), groups })
    }

    fn assert(mut self) -> Result<Assert, Error> {
        let (group, _) = self.group()?;
        let source = self.unicast("a source address")?;
        let (rpt, preference, metric) = self.metric()?;
        Ok(Assert { group, source, rpt, preference, metric })
    }

    fn state_refresh(mut self) -> Result<StateRefresh, Error> {
        let (group, _) = self.group()?;
        let source = self.unicast("a source address")?;
        let originator = self.unicast("an originator")?;
        let (rpt, preference, metric) = self.metric()?;
        let &[mask_length, ttl, flags, interval] = self.array("a state refresh's last word")?;
        let most = (self.address_length() * 8) as u8;
        if mask_length > most {
            return Err(Error::MaskLength { what: "the route to the source", length: mask_length, most });
        }
        Ok(StateRefresh {
            group,
            source,
            originator,
            rpt,
            preference,
            metric,
            mask_length,
            ttl,
            prune_indicator: flags & 0x80 != 0,
            prune_now: flags & 0x40 != 0,
            assert_override: flags & 0x20 != 0,
            interval,
        })
    }
}

/// An option's value, which must have the length of its type.
fn exactly<const N: usize>(option: u16, value: &[u8]) -> Result<&[u8; N], Error> {
    value.try_into().map_err(|_| Error::OptionLength { option, length: value.len(), expected: N })
}

/// The checksum of a message: over IPv6, with the pseudo header (RFC 3973 §4.7.1, RFC 8200 §8.1).
fn sum(source: IpAddr, destination: IpAddr, bytes: &[u8]) -> u16 {
    let (IpAddr::V6(source), IpAddr::V6(destination)) = (source, destination) else {
        return checksum::internet(bytes);
    };
    let mut all = Vec::with_capacity(40 + bytes.len());
    all.extend(source.octets());
    all.extend(destination.octets());
    all.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    all.extend([0, 0, 0, PROTOCOL]);
    all.extend(bytes);
    checksum::internet(&all)
}

/// Reads a message: the whole payload of an IP packet with these addresses. They decide the family that all addresses in the message must
/// have; over IPv6 the checksum covers them.
///
/// Hello options that are not known are skipped. Octets after a message's own fields are covered by the checksum and otherwise ignored.
///
/// # Errors
/// [`Error`] says what is wrong.
pub fn parse(source: IpAddr, destination: IpAddr, bytes: &[u8]) -> Result<Message, Error> {
    let mut reader = Reader { rest: bytes, is_ipv6: source.is_ipv6() };
    let &[first, second, ..] = reader.array::<HEADER>("a message")?;
    let (version, kind) = (first >> 4, first & 0x0f);
    if version != VERSION {
        return Err(Error::Version(version));
    }
    // Before the checksum: that of a register covers but a part of it (RFC 7761 §4.9).
    let read: fn(Reader<'_>) -> Result<Message, Error> = match kind {
        TYPE_HELLO => |reader| reader.hello().map(Message::Hello),
        TYPE_REGISTER => |mut reader| {
            let &[flags, ..] = reader.array::<4>("a register")?;
            let packet = reader.rest.to_vec();
            Ok(Message::Register(Register { border: flags & 0x80 != 0, null: flags & 0x40 != 0, packet }))
        },
        TYPE_REGISTER_STOP => |mut reader| {
            let (group, mask_length) = reader.group()?;
            Ok(Message::RegisterStop(RegisterStop { group, mask_length, source: reader.unicast("a source")? }))
        },
        TYPE_JOIN_PRUNE => |reader| reader.join_prune().map(Message::JoinPrune),
        TYPE_BOOTSTRAP if second & NO_FORWARD != 0 => {
            |reader| reader.bootstrap().map(|message| Message::Bootstrap(Bootstrap { no_forward: true, ..message }))
        }
        TYPE_BOOTSTRAP => |reader| reader.bootstrap().map(Message::Bootstrap),
        TYPE_CANDIDATE_RP_ADVERTISEMENT => {
            |reader| reader.candidate_rp_advertisement().map(Message::CandidateRpAdvertisement)
        }
        TYPE_ASSERT => |reader| reader.assert().map(Message::Assert),
        TYPE_GRAFT => |reader| reader.join_prune().map(Message::Graft),
        TYPE_GRAFT_ACK => |reader| reader.join_prune().map(Message::GraftAck),
        TYPE_STATE_REFRESH => |reader| reader.state_refresh().map(Message::StateRefresh),
        other => return Err(Error::Type(other)),
    };
    let partly = kind == TYPE_REGISTER && bytes.get(..8).is_some_and(|part| sum(source, destination, part) == 0);
    if !partly && sum(source, destination, bytes) != 0 {
        return Err(Error::Checksum);
    }
    read(reader)
}

impl Message {
    /// Writes the message with its checksum, for a packet with these addresses.
    ///
    /// What the fields cannot say is cut to what they can, so that counts and lists agree: 255 groups, 65,535 sources a list, a metric
    /// preference of 31 bits, a propagation delay of 15, a mask as long as its address. To split what is longer, or what does not fit an
    /// interface's MTU, into several messages is up to the caller.
    pub fn emit(&self, source: IpAddr, destination: IpAddr) -> Vec<u8> {
        let (kind, body): (u8, Vec<u8>) = match self {
            Message::Hello(hello) => (TYPE_HELLO, emit_hello(hello)),
            Message::Register(register) => (TYPE_REGISTER, {
                let flags = u8::from(register.border) << 7 | u8::from(register.null) << 6;
                let mut body = vec![flags, 0, 0, 0];
                body.extend(&register.packet);
                body
            }),
            Message::RegisterStop(stop) => (TYPE_REGISTER_STOP, {
                let mut body = Vec::new();
                extend_masked(&mut body, 0, stop.mask_length, stop.group);
                extend_unicast(&mut body, stop.source);
                body
            }),
            Message::JoinPrune(message) => (TYPE_JOIN_PRUNE, emit_join_prune(message)),
            Message::Bootstrap(message) => (TYPE_BOOTSTRAP, emit_bootstrap(message)),
            Message::Assert(assert) => (TYPE_ASSERT, emit_assert(assert)),
            Message::Graft(message) => (TYPE_GRAFT, emit_join_prune(message)),
            Message::GraftAck(message) => (TYPE_GRAFT_ACK, emit_join_prune(message)),
            Message::CandidateRpAdvertisement(message) => {
                (TYPE_CANDIDATE_RP_ADVERTISEMENT, emit_candidate_rp_advertisement(message))
            }
            Message::StateRefresh(refresh) => (TYPE_STATE_REFRESH, emit_state_refresh(refresh)),
        };
        let mut bytes = vec![VERSION << 4 | kind, 0, 0, 0];
        bytes.extend(body);
        if matches!(self, Message::Bootstrap(message) if message.no_forward) {
            bytes[1] |= NO_FORWARD;
        }
        let whole = if kind == TYPE_REGISTER { 8 } else { bytes.len() };
        let sum = sum(source, destination, &bytes[..whole]);
        bytes[2..4].copy_from_slice(&sum.to_be_bytes());
        bytes
    }
}

fn emit_hello(hello: &Hello) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut option = |option: u16, value: &[u8]| {
        bytes.extend(option.to_be_bytes());
        bytes.extend((value.len() as u16).to_be_bytes());
        bytes.extend(value);
    };
    if let Some(seconds) = hello.hold_time {
        option(OPTION_HOLD_TIME, &seconds.to_be_bytes());
    }
    if let Some(delay) = hello.lan_prune_delay {
        let propagation = delay.propagation_delay.min(PROPAGATION_DELAY_MAX).to_be_bytes();
        let [high, low] = delay.override_interval.to_be_bytes();
        let tracking = if delay.tracking { TOP_BIT } else { 0 };
        option(OPTION_LAN_PRUNE_DELAY, &[propagation[0] | tracking, propagation[1], high, low]);
    }
    if let Some(priority) = hello.dr_priority {
        option(OPTION_DR_PRIORITY, &priority.to_be_bytes());
    }
    if let Some(id) = hello.generation_id {
        option(OPTION_GENERATION_ID, &id.to_be_bytes());
    }
    if let Some(interval) = hello.state_refresh_interval {
        option(OPTION_STATE_REFRESH, &[STATE_REFRESH_VERSION, interval, 0, 0]);
    }
    if !hello.addresses.is_empty() {
        let mut list = Vec::new();
        for address in &hello.addresses {
            let before = list.len();
            extend_unicast(&mut list, *address);
            if list.len() > usize::from(u16::MAX) {
                list.truncate(before);
                break;
            }
        }
        option(OPTION_ADDRESS_LIST, &list);
    }
    bytes
}

fn emit_join_prune(message: &JoinPrune) -> Vec<u8> {
    let mut bytes = Vec::new();
    extend_unicast(&mut bytes, message.upstream);
    let count = u8::try_from(message.groups.len()).unwrap_or(u8::MAX);
    bytes.extend([0, count]);
    bytes.extend(message.hold_time.to_be_bytes());
    for set in &message.groups[..usize::from(count)] {
        extend_masked(&mut bytes, 0, set.mask_length, set.group);
        let counts = [&set.joined, &set.pruned].map(|list| u16::try_from(list.len()).unwrap_or(u16::MAX));
        bytes.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
        for (list, count) in [&set.joined, &set.pruned].into_iter().zip(counts) {
            for source in &list[..usize::from(count)] {
                let flags = u8::from(source.sparse) << 2 | u8::from(source.wildcard) << 1 | u8::from(source.rpt);
                extend_masked(&mut bytes, flags, source.mask_length, source.address);
            }
        }
    }
    bytes
}

fn emit_assert(assert: &Assert) -> Vec<u8> {
    let mut bytes = Vec::new();
    extend_masked(&mut bytes, 0, bits(assert.group), assert.group);
    extend_unicast(&mut bytes, assert.source);
    extend_metric(&mut bytes, assert.rpt, assert.preference, assert.metric);
    bytes
}

fn emit_state_refresh(refresh: &StateRefresh) -> Vec<u8> {
    let mut bytes = Vec::new();
    extend_masked(&mut bytes, 0, bits(refresh.group), refresh.group);
    extend_unicast(&mut bytes, refresh.source);
    extend_unicast(&mut bytes, refresh.originator);
    extend_metric(&mut bytes, refresh.rpt, refresh.preference, refresh.metric);
    let flags = [(refresh.prune_indicator, 0x80), (refresh.prune_now, 0x40), (refresh.assert_override, 0x20)];
    let flags = flags.iter().filter(|(set, _)| *set).fold(0, |all, (_, bit)| all | bit);
    bytes.extend([refresh.mask_length.min(bits(refresh.source)), refresh.ttl, flags, refresh.interval]);
    bytes
}

/// Bits of an address.
fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn extend_prelude(bytes: &mut Vec<u8>, address: IpAddr) {
    bytes.extend([if address.is_ipv4() { FAMILY_IPV4 } else { FAMILY_IPV6 }, 0]);
}

fn extend_address(bytes: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => bytes.extend(address.octets()),
        IpAddr::V6(address) => bytes.extend(address.octets()),
    }
}

fn extend_unicast(bytes: &mut Vec<u8>, address: IpAddr) {
    extend_prelude(bytes, address);
    extend_address(bytes, address);
}

fn extend_masked(bytes: &mut Vec<u8>, flags: u8, mask_length: u8, address: IpAddr) {
    extend_prelude(bytes, address);
    bytes.extend([flags, mask_length.min(bits(address))]);
    extend_address(bytes, address);
}

fn extend_metric(bytes: &mut Vec<u8>, rpt: bool, preference: u32, metric: u32) {
    let [a, rest @ ..] = preference.min(INFINITE_PREFERENCE).to_be_bytes();
    bytes.push(if rpt { a | TOP_BIT } else { a });
    bytes.extend(rest);
    bytes.extend(metric.to_be_bytes());
}

#[cfg(test)]
mod tests;
