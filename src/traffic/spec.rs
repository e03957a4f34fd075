//! What a stream is, and what is wrong with one that cannot be.

use std::net::IpAddr;

use super::stamp::{Stamp, StampError};
use crate::topology::steps::nth_group;

/// The highest rate that a stream may ask for, in packets a second.
pub const RATE_MAX: f64 = 10_000_000.0;

/// The lowest rate that a stream may ask for: one packet in 1,000 seconds.
pub const RATE_MIN: f64 = 0.001;

/// The most packets that a tick may send back to back.
pub const BURST_MAX: u32 = 4096;

/// A stream to send.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamSpec {
    /// Its name, for messages.
    pub name: String,
    /// Kernel index of the interface that it leaves by.
    pub interface: u32,
    /// The address that it comes from; none: the kernel's choice for the interface.
    pub source: Option<IpAddr>,
    /// Group; the first, if it goes to several.
    pub group: IpAddr,
    /// How many groups it goes to, at least 1: packet n to the (n mod `groups`)-th from `group` on.
    pub groups: u32,
    /// UDP port, 1 to 65535.
    pub port: u16,
    /// Packets a second, [`RATE_MIN`] to [`RATE_MAX`]. Beyond what the machine can do, the stream is slower, and says so.
    pub rate: f64,
    /// Octets of UDP payload, [`super::stamp::LENGTH`] to [`super::stamp::PAYLOAD_MAX`].
    pub size: usize,
    /// TTL or hop limit, 1 to 255.
    pub ttl: u8,
    /// Ends by itself after so many packets, those included that could not be sent.
    pub count: Option<u64>,
    /// Packets sent back to back at each tick, 1 to [`BURST_MAX`]; the rate stays what it is.
    pub burst: u32,
}

/// Why a stream cannot be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SpecError {
    /// The group is none.
    #[error("{0} is no multicast address")]
    Group(IpAddr),
    /// Source and group are of different families.
    #[error("source {source_address} and group {group} are not of one address family")]
    Family {
        /// The source.
        source_address: IpAddr,
        /// The group.
        group: IpAddr,
    },
    /// Port 0.
    #[error("a stream needs a port from 1 to 65535")]
    Port,
    /// The rate.
    #[error("a rate of {0} packets a second: it must lie between {RATE_MIN} and {RATE_MAX}")]
    Rate(f64),
    /// The size.
    #[error(transparent)]
    Size(#[from] StampError),
    /// TTL 0.
    #[error("a TTL of 0 never leaves the host: 1 to 255")]
    Ttl,
    /// No group at all, or more than there are.
    #[error("{count} groups from {first} on: there must be at least one, and all must be multicast addresses")]
    Groups {
        /// The first.
        first: IpAddr,
        /// How many.
        count: u32,
    },
    /// The burst.
    #[error("a burst of {0} packets: it must lie between 1 and {BURST_MAX}")]
    Burst(u32),
}

impl StreamSpec {
    /// Checks every field. Gives the stamp's length field.
    ///
    /// # Errors
    /// The first fault.
    pub fn check(&self) -> Result<u16, SpecError> {
        check_group(self.group)?;
        let last = self.groups.checked_sub(1).map(|last| nth_group(self.group, last));
        if last.is_none_or(|last| last < self.group || !last.is_multicast()) {
            return Err(SpecError::Groups { first: self.group, count: self.groups });
        }
        if let Some(source_address) = self.source.filter(|source| source.is_ipv6() != self.group.is_ipv6()) {
            return Err(SpecError::Family { source_address, group: self.group });
        }
        if self.port == 0 {
            return Err(SpecError::Port);
        }
        if !(RATE_MIN..=RATE_MAX).contains(&self.rate) {
            return Err(SpecError::Rate(self.rate));
        }
        if self.ttl == 0 {
            return Err(SpecError::Ttl);
        }
        if !(1..=BURST_MAX).contains(&self.burst) {
            return Err(SpecError::Burst(self.burst));
        }
        Ok(Stamp::length_of(self.size)?)
    }
}

/// Checks that an address is a group's.
pub(super) fn check_group(group: IpAddr) -> Result<(), SpecError> {
    if group.is_multicast() { Ok(()) } else { Err(SpecError::Group(group)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> StreamSpec {
        StreamSpec {
            name: "news".into(),
            interface: 2,
            source: None,
            group: "239.1.1.1".parse().unwrap(),
            groups: 1,
            port: 5001,
            rate: 100.0,
            size: 200,
            ttl: 16,
            count: None,
            burst: 1,
        }
    }

    #[test]
    fn impossible_streams_are_refused() {
        assert_eq!(spec().check(), Ok(200));
        let group = "10.0.0.1".parse().unwrap();
        assert_eq!(StreamSpec { group, ..spec() }.check(), Err(SpecError::Group(group)));
        let source = "2001:db8::1".parse().unwrap();
        let family = SpecError::Family { source_address: source, group: spec().group };
        assert_eq!(StreamSpec { source: Some(source), ..spec() }.check(), Err(family));
        assert_eq!(StreamSpec { port: 0, ..spec() }.check(), Err(SpecError::Port));
        for count in [0, u32::MAX] {
            let error = SpecError::Groups { first: spec().group, count };
            assert_eq!(StreamSpec { groups: count, ..spec() }.check(), Err(error));
        }
        for rate in [0.0, -1.0, 0.0001, 1e9, f64::INFINITY] {
            assert_eq!(StreamSpec { rate, ..spec() }.check(), Err(SpecError::Rate(rate)));
        }
        assert!(StreamSpec { rate: f64::NAN, ..spec() }.check().is_err());
        assert_eq!(StreamSpec { size: 31, ..spec() }.check(), Err(SpecError::Size(StampError::Size(31))));
        assert_eq!(StreamSpec { ttl: 0, ..spec() }.check(), Err(SpecError::Ttl));
        assert_eq!(StreamSpec { burst: 0, ..spec() }.check(), Err(SpecError::Burst(0)));
        assert_eq!(StreamSpec { burst: 5000, ..spec() }.check(), Err(SpecError::Burst(5000)));
    }
}
