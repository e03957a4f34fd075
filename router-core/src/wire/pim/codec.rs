//! What messages are made of: encoded addresses and metrics (RFC 7761 §4.9.1), read with checks and written.

use std::net::IpAddr;

use super::{Error, INFINITE_PREFERENCE};

/// The bit before a metric preference, and the T bit of a LAN Prune Delay.
pub(super) const TOP_BIT: u8 = 0x80;
/// The family of encoded addresses: IANA's numbers for address families (RFC 3973 §4.7.2).
const FAMILY_IPV4: u8 = 1;
const FAMILY_IPV6: u8 = 2;

/// What is left of a message, and the family that its addresses must have.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) rest: &'a [u8],
    pub(super) is_ipv6: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, what: &'static str, need: usize) -> Result<&'a [u8], Error> {
        let have = self.rest.len();
        let (taken, rest) = self.rest.split_at_checked(need).ok_or(Error::Truncated { what, have, need })?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self, what: &'static str) -> Result<&'a [u8; N], Error> {
        let have = self.rest.len();
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Error::Truncated { what, have, need: N })?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn address_length(&self) -> usize {
        if self.is_ipv6 { 16 } else { 4 }
    }

    /// Octets of an encoded unicast address.
    pub(super) fn unicast_length(&self) -> usize {
        2 + self.address_length()
    }

    /// Octets of an encoded group or source address.
    pub(super) fn masked_length(&self) -> usize {
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
    pub(super) fn unicast(&mut self, what: &'static str) -> Result<IpAddr, Error> {
        self.prelude(what)?;
        self.address(what)
    }

    /// Passes over an address of the other IP family; gives whether there was one. FRR lists its link's IPv6 addresses in IPv4's hellos
    /// too, against RFC 7761 §4.9.2; a neighbour that does is one all the same.
    pub(super) fn skip_other_family(&mut self, what: &'static str) -> Result<bool, Error> {
        let (other, octets) = if self.is_ipv6 { (FAMILY_IPV4, 4) } else { (FAMILY_IPV6, 16) };
        if self.rest.first() != Some(&other) {
            return Ok(false);
        }
        let octets = self.take(what, 2 + octets)?;
        match octets[1] {
            0 => Ok(true),
            encoding => Err(Error::Encoding { what, encoding }),
        }
    }

    /// The flags, mask length and address that encoded group and source addresses have alike.
    pub(super) fn masked(&mut self, what: &'static str) -> Result<(u8, u8, IpAddr), Error> {
        self.prelude(what)?;
        let &[flags, length] = self.array(what)?;
        let most = (self.address_length() * 8) as u8;
        if length > most {
            return Err(Error::MaskLength { what, length, most });
        }
        Ok((flags, length, self.address(what)?))
    }

    /// RFC 7761 §4.9.1. The B and Z bits mean something in messages of the bootstrap mechanism alone, and are ignored here.
    pub(super) fn group(&mut self) -> Result<(IpAddr, u8), Error> {
        let (_, mask_length, group) = self.masked("a group address")?;
        Ok((group, mask_length))
    }

    /// The R bit, the metric preference and the metric.
    pub(super) fn metric(&mut self) -> Result<(bool, u32, u32), Error> {
        let &[a, b, c, d, ref metric @ ..] = self.array::<8>("a metric")?;
        let preference = u32::from_be_bytes([a & !TOP_BIT, b, c, d]);
        Ok((a & TOP_BIT != 0, preference, u32::from_be_bytes(*metric)))
    }
}

/// Bits of an address.
pub(super) fn bits(address: IpAddr) -> u8 {
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

pub(super) fn extend_unicast(bytes: &mut Vec<u8>, address: IpAddr) {
    extend_prelude(bytes, address);
    extend_address(bytes, address);
}

pub(super) fn extend_masked(bytes: &mut Vec<u8>, flags: u8, mask_length: u8, address: IpAddr) {
    extend_prelude(bytes, address);
    bytes.extend([flags, mask_length.min(bits(address))]);
    extend_address(bytes, address);
}

pub(super) fn extend_metric(bytes: &mut Vec<u8>, rpt: bool, preference: u32, metric: u32) {
    let [a, rest @ ..] = preference.min(INFINITE_PREFERENCE).to_be_bytes();
    bytes.push(if rpt { a | TOP_BIT } else { a });
    bytes.extend(rest);
    bytes.extend(metric.to_be_bytes());
}
