//! The forwarding entries that a protocol wants: what the kernel's multicast forwarding cache should hold.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::router::InterfaceId;

pub mod table;

/// Names an entry: packets from `source` to `group`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EntryKey {
    /// Source address of the packets.
    pub source: IpAddr,
    /// Their group.
    pub group: IpAddr,
}

/// A forwarding entry: where packets must arrive and where copies leave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardingEntry {
    /// Source and group.
    pub key: EntryKey,
    /// The interface that packets must arrive on.
    pub incoming: InterfaceId,
    /// Outgoing interfaces, each with its threshold: a copy leaves if the arriving TTL is greater than it
    /// (1 to 254; 1 where the file sets none, since the kernel takes 0 and 255 for 'never').
    pub outgoing: BTreeMap<InterfaceId, u8>,
}
