//! PIM version 2 messages of dense mode (RFC 3973 §4.7), sparse mode (RFC 7761 §4.9, which counts where the two differ) and the bootstrap
//! mechanism (RFC 5059 §4).
//!
//! [`parse`] neither panics nor reserves anything for a count that the octets cannot hold, and what [`Message::emit`] writes reads back.

mod assert;
mod bootstrap;
mod codec;
mod hello;
mod join_prune;
mod register;
mod state_refresh;

use std::net::{IpAddr, Ipv4Addr};

use super::checksum;
pub use assert::Assert;
use assert::emit_assert;
pub use bootstrap::{Bootstrap, BootstrapRange, BootstrapRp, CandidateRange, CandidateRpAdvertisement};
use bootstrap::{emit_bootstrap, emit_candidate_rp_advertisement};
use codec::{Reader, extend_masked, extend_unicast};
use hello::emit_hello;
pub use hello::{Hello, LanPruneDelay};
use join_prune::emit_join_prune;
pub use join_prune::{EncodedSource, GroupSet, JoinPrune};
pub use register::{Register, RegisterStop};
use register::{emit_register, emit_register_stop};
pub use state_refresh::StateRefresh;
use state_refresh::emit_state_refresh;

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

/// The protocol's version.
const VERSION: u8 = 2;
/// Octets of the header.
const HEADER: usize = 4;
/// Octets of a register that its checksum covers: the header and the flags (RFC 7761 §4.9.3).
const REGISTER_HEADER: usize = 8;
/// The N bit of a bootstrap message, in the second octet of the header (RFC 5059 §4.1).
const NO_FORWARD: u8 = 0x80;

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
    /// A type that neither dense nor sparse mode nor the bootstrap mechanism uses.
    #[error("unknown PIM type {0}")]
    Type(u8),
    /// The checksum over the whole message (IPv6: and its pseudo header), of a register also that over its first 8 octets, is wrong.
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

/// The checksum of a message: over IPv6, with the pseudo header (RFC 7761 §4.9, RFC 8200 §8.1).
fn sum(source: IpAddr, destination: IpAddr, bytes: &[u8]) -> u16 {
    let (IpAddr::V6(source), IpAddr::V6(destination)) = (source, destination) else {
        return checksum::internet(bytes);
    };
    let addresses = checksum::sum(&source.octets()) + checksum::sum(&destination.octets());
    !checksum::fold(addresses + bytes.len() as u64 + u64::from(PROTOCOL) + checksum::sum(bytes))
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
    // Before the checksum: what a type's covers is known only of those that are known.
    let read: fn(Reader<'_>) -> Result<Message, Error> = match kind {
        TYPE_HELLO => |reader| reader.hello().map(Message::Hello),
        TYPE_REGISTER => |reader| reader.register().map(Message::Register),
        TYPE_REGISTER_STOP => |reader| reader.register_stop().map(Message::RegisterStop),
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
    let is_right = |part: &[u8]| sum(source, destination, part) == 0;
    // Of a register, a sum over the whole is taken too (RFC 7761 §4.9.3).
    let is_right_in_part = kind == TYPE_REGISTER && bytes.get(..REGISTER_HEADER).is_some_and(is_right);
    if !is_right_in_part && !is_right(bytes) {
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
            Message::Register(register) => (TYPE_REGISTER, emit_register(register)),
            Message::RegisterStop(stop) => (TYPE_REGISTER_STOP, emit_register_stop(stop)),
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
        let mut bytes = Vec::with_capacity(4 + body.len());
        bytes.extend([VERSION << 4 | kind, 0, 0, 0]);
        bytes.extend(body);
        if matches!(self, Message::Bootstrap(message) if message.no_forward) {
            bytes[1] |= NO_FORWARD;
        }
        let covered = if kind == TYPE_REGISTER { REGISTER_HEADER } else { bytes.len() };
        let sum = sum(source, destination, &bytes[..covered]);
        bytes[2..4].copy_from_slice(&sum.to_be_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests;
