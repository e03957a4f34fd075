//! What the membership machine says and hears, whatever the address family's wire form.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use crate::wire::igmp::RecordKind;

/// An address family, and with it a protocol: IGMP or MLD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IGMP.
    V4,
    /// MLD.
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Family {
        match address {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }

    /// All systems (all nodes): where general queries go.
    pub fn all_systems(self) -> IpAddr {
        match self {
            Family::V4 => Ipv4Addr::new(224, 0, 0, 1).into(),
            Family::V6 => Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).into(),
        }
    }

    /// All routers: where leaves (MLDv1: done) go.
    pub fn all_routers(self) -> IpAddr {
        match self {
            Family::V4 => Ipv4Addr::new(224, 0, 0, 2).into(),
            Family::V6 => Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2).into(),
        }
    }

    /// All routers that take reports with source lists: where IGMPv3 and MLDv2 reports go.
    pub fn all_reports(self) -> IpAddr {
        match self {
            Family::V4 => Ipv4Addr::new(224, 0, 0, 22).into(),
            Family::V6 => Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16).into(),
        }
    }

    /// Whether a group never leaves its link, so that nobody forwards it and no state is kept
    /// (224.0.0.0/24; multicast scopes 0 to 2).
    pub fn is_link_local(self, group: IpAddr) -> bool {
        match (self, group) {
            (Family::V4, IpAddr::V4(group)) => matches!(group.octets(), [224, 0, 0, _]),
            (Family::V6, IpAddr::V6(group)) => group.segments()[0] & 0x000f <= 2,
            _ => false,
        }
    }

    /// Whether an address is a group of this family.
    pub fn is_group(self, address: IpAddr) -> bool {
        Family::of(address) == self && address.is_multicast()
    }

    /// Whether an address can be the source of a packet to a group.
    pub fn is_source(self, address: IpAddr) -> bool {
        Family::of(address) == self
            && !address.is_multicast()
            && !address.is_unspecified()
            && !address.is_loopback()
            && address != IpAddr::V4(Ipv4Addr::BROADCAST)
    }
}

/// Protocol versions, named after IGMP's: MLDv1 counts as version 2 and MLDv2 as version 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum Version {
    /// RFC 1112: no leaves, no specific queries, no response time in queries.
    V1 = 1,
    /// RFC 2236: leaves and group-specific queries.
    V2 = 2,
    /// RFC 9776: source filters.
    V3 = 3,
}

impl From<Version> for u8 {
    fn from(version: Version) -> u8 {
        version as u8
    }
}

impl TryFrom<u8> for Version {
    type Error = String;
    fn try_from(version: u8) -> Result<Version, String> {
        match version {
            1 => Ok(Version::V1),
            2 => Ok(Version::V2),
            3 => Ok(Version::V3),
            other => Err(format!("version {other}: IGMP has versions 1, 2 and 3")),
        }
    }
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A querier asks.
    Query(Query),
    /// A host answers or announces.
    Report {
        /// The version of the message.
        version: Version,
        /// What it says of each group. Versions 1 and 2: one `IsExclude` of no sources.
        records: Vec<Record>,
    },
    /// A version 2 host leaves a group.
    Leave {
        /// The group.
        group: IpAddr,
    },
}

/// A query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The version that it is of.
    pub version: Version,
    /// The group asked about; none in a general query.
    pub group: Option<IpAddr>,
    /// The sources asked about; none but in a group-and-source-specific query.
    pub sources: BTreeSet<IpAddr>,
    /// Longest time until hosts answer. Version 1 cannot say it and means 10 s.
    pub max_response: Duration,
    /// The S flag (version 3): routers leave their timers alone.
    pub suppress: bool,
    /// Querier's robustness variable (version 3), 0 if it is not announced.
    pub robustness: u8,
    /// Querier's query interval (version 3), zero if it is not announced.
    pub interval: Duration,
}

/// A group record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its type.
    pub kind: RecordKind,
    /// Its group.
    pub group: IpAddr,
    /// Its sources.
    pub sources: BTreeSet<IpAddr>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_local_groups_are_told_apart() {
        let group = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(Family::V4.is_link_local(group("224.0.0.251")));
        assert!(!Family::V4.is_link_local(group("224.0.1.1")));
        assert!(Family::V6.is_link_local(group("ff02::fb")));
        assert!(Family::V6.is_link_local(group("ff11::1")));
        assert!(!Family::V6.is_link_local(group("ff0e::1")));
        assert!(!Family::V4.is_group(group("ff0e::1")));
        assert!(!Family::V4.is_source(group("0.0.0.0")));
        assert!(!Family::V4.is_source(group("224.1.1.1")));
        assert!(Family::V4.is_source(group("10.0.0.1")));
    }
}
