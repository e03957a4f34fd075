//! Messages of the bootstrap mechanism: Bootstrap and Candidate-RP-Advertisement (RFC 5059 §4).

use std::net::IpAddr;

use super::{Error, Reader, extend_masked, extend_unicast};

/// The B bit of an encoded group address.
const BIDIR: u8 = 0x80;
/// The Z bit of it.
const SCOPED: u8 = 0x01;

/// A bootstrap message, or a fragment of one (RFC 5059 §4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    /// The N bit: not to be forwarded.
    pub no_forward: bool,
    /// The same in all fragments of a message.
    pub fragment_tag: u16,
    /// Mask length of the hash function.
    pub hash_mask_length: u8,
    /// BSR Priority: higher is preferred.
    pub priority: u8,
    /// The bootstrap router's address.
    pub address: IpAddr,
    /// Group ranges with their rendezvous points.
    pub ranges: Vec<BootstrapRange>,
}

/// A group range of a bootstrap message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootstrapRange {
    /// The range's address.
    pub group: IpAddr,
    /// Bits of it that count.
    pub mask_length: u8,
    /// The B bit: for BIDIR-PIM.
    pub bidir: bool,
    /// The Z bit: an administratively scoped range.
    pub scoped: bool,
    /// RP Count: how many the whole message has for the range.
    pub rp_count: u8,
    /// Those that are here, at most 255.
    pub rps: Vec<BootstrapRp>,
}

/// A rendezvous point of a group range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootstrapRp {
    /// Its address.
    pub address: IpAddr,
    /// How long the mapping holds, in seconds; 0 ends it.
    pub hold_time: u16,
    /// Lower is preferred.
    pub priority: u8,
}

/// A candidate RP's advertisement (RFC 5059 §4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CandidateRpAdvertisement {
    /// Lower is preferred.
    pub priority: u8,
    /// How long it holds, in seconds; 0 ends it.
    pub hold_time: u16,
    /// The candidate's address.
    pub address: IpAddr,
    /// The group ranges that it offers to serve, at most 255.
    pub groups: Vec<CandidateRange>,
}

/// A group range of an advertisement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CandidateRange {
    /// The range's address.
    pub group: IpAddr,
    /// Bits of it that count.
    pub mask_length: u8,
    /// The B bit: for BIDIR-PIM.
    pub bidir: bool,
    /// The Z bit: the candidate is a border router of the zone.
    pub scoped: bool,
}

impl Reader<'_> {
    /// RFC 5059 §4.1; the N bit stands in the header.
    pub(super) fn bootstrap(mut self) -> Result<Bootstrap, Error> {
        let &[tag_high, tag_low, hash_mask_length, priority] = self.array("a bootstrap message")?;
        let mut message = Bootstrap {
            no_forward: false,
            fragment_tag: u16::from_be_bytes([tag_high, tag_low]),
            hash_mask_length,
            priority,
            address: self.unicast("a bootstrap router")?,
            ranges: Vec::new(),
        };
        while !self.rest.is_empty() {
            let (flags, mask_length, group) = self.masked("a group range")?;
            let &[rp_count, count, _, _] = self.array("the counts of a group range")?;
            let need = usize::from(count) * (self.unicast_length() + 4);
            let mut list = Reader { rest: self.take("rendezvous points", need)?, is_ipv6: self.is_ipv6 };
            let rps = (0..count).map(|_| list.bootstrap_rp()).collect::<Result<_, _>>()?;
            let (bidir, scoped) = (flags & BIDIR != 0, flags & SCOPED != 0);
            message.ranges.push(BootstrapRange { group, mask_length, bidir, scoped, rp_count, rps });
        }
        Ok(message)
    }

    fn bootstrap_rp(&mut self) -> Result<BootstrapRp, Error> {
        let address = self.unicast("a rendezvous point")?;
        let &[hold_high, hold_low, priority, _] = self.array("a rendezvous point")?;
        Ok(BootstrapRp { address, hold_time: u16::from_be_bytes([hold_high, hold_low]), priority })
    }

    /// RFC 5059 §4.2.
    pub(super) fn candidate_rp_advertisement(mut self) -> Result<CandidateRpAdvertisement, Error> {
        let &[count, priority, hold_high, hold_low] = self.array("an advertisement")?;
        let address = self.unicast("a candidate RP")?;
        let need = usize::from(count) * self.masked_length();
        let mut list = Reader { rest: self.take("group ranges", need)?, is_ipv6: self.is_ipv6 };
        let range = |list: &mut Reader<'_>| {
            let (flags, mask_length, group) = list.masked("a group range")?;
            Ok(CandidateRange { group, mask_length, bidir: flags & BIDIR != 0, scoped: flags & SCOPED != 0 })
        };
        let groups = (0..count).map(|_| range(&mut list)).collect::<Result<_, _>>()?;
        let hold_time = u16::from_be_bytes([hold_high, hold_low]);
        Ok(CandidateRpAdvertisement { priority, hold_time, address, groups })
    }
}

fn flags(bidir: bool, scoped: bool) -> u8 {
    (if bidir { BIDIR } else { 0 }) | (if scoped { SCOPED } else { 0 })
}

fn octet(count: usize) -> u8 {
    u8::try_from(count).unwrap_or(u8::MAX)
}

pub(super) fn emit_bootstrap(message: &Bootstrap) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(message.fragment_tag.to_be_bytes());
    bytes.extend([message.hash_mask_length, message.priority]);
    extend_unicast(&mut bytes, message.address);
    for range in &message.ranges {
        extend_masked(&mut bytes, flags(range.bidir, range.scoped), range.mask_length, range.group);
        let count = octet(range.rps.len());
        bytes.extend([range.rp_count, count, 0, 0]);
        for rp in &range.rps[..usize::from(count)] {
            extend_unicast(&mut bytes, rp.address);
            bytes.extend(rp.hold_time.to_be_bytes());
            bytes.extend([rp.priority, 0]);
        }
    }
    bytes
}

pub(super) fn emit_candidate_rp_advertisement(message: &CandidateRpAdvertisement) -> Vec<u8> {
    let count = octet(message.groups.len());
    let mut bytes = vec![count, message.priority];
    bytes.extend(message.hold_time.to_be_bytes());
    extend_unicast(&mut bytes, message.address);
    for range in &message.groups[..usize::from(count)] {
        extend_masked(&mut bytes, flags(range.bidir, range.scoped), range.mask_length, range.group);
    }
    bytes
}
