//! What a router says of itself: the answers to `show`. They explain; what a network does is judged elsewhere.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::router::{InterfaceId, SourceFilter};

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Show {
    /// The configured interfaces.
    Interfaces,
    /// Memberships, an interface and group each.
    Groups,
    /// Forwarding entries.
    Entries,
    /// Counters by name.
    Counters,
    /// Unicast routes.
    Routes,
}

impl Show {
    /// All of them.
    pub const ALL: [Show; 5] = [Show::Interfaces, Show::Groups, Show::Entries, Show::Counters, Show::Routes];

    /// The word that asks for it.
    pub fn word(self) -> &'static str {
        match self {
            Show::Interfaces => "interfaces",
            Show::Groups => "groups",
            Show::Entries => "entries",
            Show::Counters => "counters",
            Show::Routes => "routes",
        }
    }
}

/// An answer. As JSON: an object with one key, the word that asked (`{"groups": [...]}`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shown {
    /// In the configuration's order.
    Interfaces(Vec<Interface>),
    /// By interface (the configuration's order), then group.
    Groups(Vec<Group>),
    /// By group, then source.
    Entries(Vec<Entry>),
    /// By name: what was received, sent, refused and lost.
    Counters(BTreeMap<String, u64>),
    /// By prefix.
    Routes(Vec<Route>),
}

/// A configured interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its kernel index; none while it does not exist.
    pub index: Option<InterfaceId>,
    /// Administratively up and with a carrier.
    pub up: bool,
    /// Its addresses.
    pub addresses: Vec<IpNet>,
    /// Whether it is a multicast interface of the kernel's table now.
    pub multicast: bool,
    /// TTL threshold (0: none).
    pub ttl_threshold: u8,
    /// Administrative scope boundary.
    pub boundary: Vec<IpNet>,
    /// Its IGMP side; none where IGMP is off.
    pub igmp: Option<Querier>,
}

/// The IGMP side of an interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Querier {
    /// Version that is spoken.
    pub version: u8,
    /// Whether this router is the querier.
    pub elected: bool,
    /// Who is, if known.
    pub querier: Option<IpAddr>,
    /// Milliseconds until another querier counts as gone.
    pub other_querier_expires_ms: Option<u64>,
    /// Query interval in force, in milliseconds.
    pub query_interval_ms: u64,
    /// Robustness variable in force.
    pub robustness: u8,
    /// Groups with members here.
    pub groups: usize,
}

/// A group's membership on an interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Group {
    /// The interface.
    pub interface: String,
    /// The group.
    pub group: IpAddr,
    /// What is wanted.
    pub filter: SourceFilter,
    /// Compatibility mode of the group: the oldest IGMP version among its members.
    pub version: u8,
    /// Milliseconds until the group timer runs out (exclude mode only).
    pub expires_ms: Option<u64>,
    /// Sources with a running timer, and the milliseconds that are left.
    pub sources: BTreeMap<IpAddr, u64>,
    /// Who reported it last.
    pub last_reporter: Option<IpAddr>,
    /// Whether the configuration joined it.
    pub configured: bool,
}

/// A forwarding entry as the router wants it, with the kernel's counters where the shell knows them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Entry {
    /// Source.
    pub source: IpAddr,
    /// Group.
    pub group: IpAddr,
    /// Incoming interface.
    pub incoming: String,
    /// Outgoing interfaces with their TTL thresholds.
    pub outgoing: BTreeMap<String, u8>,
    /// Packets that matched it.
    pub packets: Option<u64>,
    /// Their octets.
    pub octets: Option<u64>,
    /// Packets that came by another interface.
    pub wrong_interface: Option<u64>,
}

/// A unicast route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Route {
    /// The destination.
    pub prefix: IpNet,
    /// The next hop; none for a connected prefix.
    pub next_hop: Option<IpAddr>,
    /// The interface toward it.
    pub interface: String,
    /// The metric.
    pub metric: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_carries_the_word_that_asked() {
        for show in Show::ALL {
            assert_eq!(serde_json::to_value(show).unwrap(), show.word());
        }
        assert_eq!(serde_json::to_string(&Shown::Groups(vec![])).unwrap(), r#"{"groups":[]}"#);
        let counters = Shown::Counters([("igmp-received".to_owned(), 3)].into());
        assert_eq!(serde_json::to_string(&counters).unwrap(), r#"{"counters":{"igmp-received":3}}"#);
    }
}
