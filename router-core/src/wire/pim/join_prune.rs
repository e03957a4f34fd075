//! Joins and prunes; grafts and graft-acks are made alike (RFC 7761 §4.9.5, RFC 3973 §4.7.6).

use std::net::IpAddr;

use super::Error;
use super::codec::{Reader, extend_masked, extend_unicast};

/// A join/prune, graft or graft-ack (RFC 3973 §4.7.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinPrune {
    /// The upstream neighbour that it is meant for.
    pub upstream: IpAddr,
    /// How long a prune holds, in seconds; [`HOLD_FOR_EVER`](super::HOLD_FOR_EVER) until a join or graft.
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

impl Reader<'_> {
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

    /// RFC 7761 §4.9.5.
    pub(super) fn join_prune(mut self) -> Result<JoinPrune, Error> {
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
}

pub(super) fn emit_join_prune(message: &JoinPrune) -> Vec<u8> {
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
