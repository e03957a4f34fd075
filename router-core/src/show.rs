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
    /// PIM neighbours.
    Neighbours,
    /// PIM's state of each source and group.
    Trees,
    /// The bootstrap mechanism, a scope zone each.
    Bsr,
    /// Group-to-RP mappings.
    Rp,
    /// How much is remembered.
    State,
    /// The mapping that serves a group, answered as [`Show::Rp`] is: none, if the group has no rendezvous point.
    RpOf(IpAddr),
}

impl Show {
    /// All that need no more words.
    pub const ALL: [Show; 10] = [
        Show::Interfaces,
        Show::Groups,
        Show::Entries,
        Show::Counters,
        Show::Routes,
        Show::Neighbours,
        Show::Trees,
        Show::Bsr,
        Show::Rp,
        Show::State,
    ];

    /// The word that asks for it.
    pub fn word(self) -> &'static str {
        match self {
            Show::Interfaces => "interfaces",
            Show::Groups => "groups",
            Show::Entries => "entries",
            Show::Counters => "counters",
            Show::Routes => "routes",
            Show::Neighbours => "neighbours",
            Show::Trees => "trees",
            Show::Bsr => "bsr",
            Show::Rp => "rp",
            Show::State => "state",
            Show::RpOf(_) => "rp-of",
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
    /// By interface (the configuration's order), then address.
    Neighbours(Vec<Neighbour>),
    /// By group, then source.
    Trees(Vec<Tree>),
    /// The whole domain, then scope zones by their groups.
    Bsr(Vec<BsrZone>),
    /// By group range, then zone, then rendezvous point.
    Rp(Vec<RpMapping>),
    /// How much is remembered.
    State(State),
}

/// How much a router remembers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct State {
    /// Now.
    pub now: Held,
    /// The most of each, not necessarily at one time, since the router started: looked at after everything that happened to it.
    pub most: Held,
}

/// Numbers of what a router holds because of others: hosts, neighbours, and sources of data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Held {
    /// Groups with members, an interface and group each.
    pub memberships: usize,
    /// PIM neighbours, an interface and address each.
    pub neighbours: usize,
    /// PIM's trees: (S,G), with (S,G,rpt) in one, and (*,G).
    pub trees: usize,
    /// Forwarding entries.
    pub entries: usize,
}

impl Held {
    /// The greater of each number.
    #[must_use]
    pub fn max(self, other: Held) -> Held {
        Held {
            memberships: self.memberships.max(other.memberships),
            neighbours: self.neighbours.max(other.neighbours),
            trees: self.trees.max(other.trees),
            entries: self.entries.max(other.entries),
        }
    }
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
    /// Its PIM side; none where PIM does not run.
    pub pim: Option<Pim>,
}

/// The PIM side of an interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Pim {
    /// The designated router (RFC 7761 §4.3.2); none while the interface is down, and in dense mode, which has none.
    pub designated_router: Option<IpAddr>,
    /// Whether it is this router.
    pub elected: bool,
    /// The priority that this router announces, if it does.
    pub dr_priority: Option<u32>,
    /// Neighbours here.
    pub neighbours: usize,
    /// Whether it is tracked which neighbours have joined: everybody on the link sets the T bit (RFC 7761 §4.3.3).
    pub tracking: bool,
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

/// A PIM neighbour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Neighbour {
    /// The interface.
    pub interface: String,
    /// Its address.
    pub address: IpAddr,
    /// Milliseconds since it came up.
    pub up_ms: u64,
    /// Milliseconds until it counts as gone; none if never.
    pub expires_ms: Option<u64>,
    /// Its generation id, if it has one.
    pub generation_id: Option<u32>,
    /// The override interval that it announced, in milliseconds.
    pub override_interval_ms: Option<u16>,
    /// The propagation delay that it announced, in milliseconds.
    pub propagation_delay_ms: Option<u16>,
    /// Whether it takes part in state refresh.
    pub state_refresh: bool,
}

/// PIM's state of a source and group (RFC 3973 §4.1.2, RFC 7761 §4.1.3, §4.1.4), or of a group's shared tree (RFC 7761 §4.1.2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Tree {
    /// Source; all zeros of a shared tree, (*,G).
    pub source: IpAddr,
    /// Group.
    pub group: IpAddr,
    /// RPF_interface(S) or RPF_interface(RP(G)), which is `register` at the rendezvous point; none without a route.
    pub rpf_interface: Option<String>,
    /// RPF'(S,G) or RPF'(*,G): the upstream neighbour; none if the source is on a link of this router, or this is the rendezvous point.
    pub rpf_neighbour: Option<IpAddr>,
    /// Upstream state: `forwarding`, `pruned` or `ack-pending` in dense mode, `joined` or `not-joined` in sparse mode.
    pub upstream: String,
    /// Whether this router originates state refresh messages (dense mode).
    pub originator: bool,
    /// RP(G), of a shared tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rp: Option<IpAddr>,
    /// What is said of a source in sparse mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sparse: Option<SparseTree>,
    /// Running timers of the entry by their RFC names (`GRT`, `OT`, `PLT`, `SAT`, `SRT`; `JT`, `KAT`, `OT`, `RST`), in milliseconds left.
    pub timers: BTreeMap<String, u64>,
    /// Interfaces with prune or assert state.
    pub interfaces: BTreeMap<String, TreeInterface>,
}

/// PIM sparse mode's state of a source and group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SparseTree {
    /// SPTbit(S,G): whether data is taken from the source's own tree.
    pub spt_bit: bool,
    /// Upstream state of (S,G,rpt): `not-joined`, `pruned` or `not-pruned`.
    pub rpt: String,
    /// Register state: `no-info`, `join`, `join-pending` or `prune`.
    pub register: String,
}

/// PIM's state of a source and group at an interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TreeInterface {
    /// Downstream state: `no-info`, `prune-pending` or `pruned` in dense mode, `no-info`, `join` or `prune-pending` in sparse mode.
    pub downstream: String,
    /// Downstream state of (S,G,rpt): `prune` or `prune-pending`; none in NoInfo state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub downstream_rpt: Option<String>,
    /// Assert state: `no-info`, `winner` or `loser`.
    pub assert: String,
    /// The assert winner, if there is one.
    pub assert_winner: Option<IpAddr>,
    /// The neighbours that have joined here, where they are tracked (RFC 7761 §4.3.3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joined: Option<Vec<IpAddr>>,
    /// Running timers by their RFC names (`PPT`, `PT`, `AT`; `ET`, and those of (S,G,rpt) as `rpt-ET`, `rpt-PPT`), in milliseconds left.
    pub timers: BTreeMap<String, u64>,
}

/// A scope zone of the bootstrap mechanism (RFC 5059 §2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BsrZone {
    /// Its groups; none of the whole domain.
    pub zone: Option<IpNet>,
    /// The state of its machine: `candidate`, `pending` or `elected` of a candidate BSR, else `accept-any` or `accept-preferred`.
    pub state: String,
    /// The bootstrap router, if there is one.
    pub bsr: Option<IpAddr>,
    /// Its priority.
    pub priority: Option<u8>,
    /// The hash mask length that it announces.
    pub hash_mask_length: Option<u8>,
    /// Milliseconds since it became the bootstrap router.
    pub up_ms: Option<u64>,
    /// Milliseconds until BST runs out.
    pub bootstrap_ms: Option<u64>,
    /// Milliseconds until the zone is forgotten (SZT).
    pub scope_zone_ms: Option<u64>,
    /// Milliseconds until this router, a candidate RP, advertises itself again (CRPT).
    pub advertisement_ms: Option<u64>,
    /// At the elected bootstrap router: who offers to serve which groups.
    pub candidate_rps: Vec<CandidateMapping>,
}

/// A group-to-C-RP mapping.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CandidateMapping {
    /// The groups.
    pub range: IpNet,
    /// The candidate's address.
    pub rp: IpAddr,
    /// Lower is preferred.
    pub priority: u8,
    /// Whether it is for BIDIR-PIM.
    pub bidir: bool,
    /// Milliseconds that are left.
    pub expires_ms: Option<u64>,
}

/// A group-to-RP mapping.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RpMapping {
    /// The groups.
    pub range: IpNet,
    /// The rendezvous point.
    pub rp: IpAddr,
    /// `configured` or `bsr`.
    pub origin: String,
    /// The scope zone that it was learned in; none of the whole domain.
    pub zone: Option<IpNet>,
    /// Whether it is configured to win over what is learned.
    pub overrides: bool,
    /// Lower is preferred; none of a configured one.
    pub priority: Option<u8>,
    /// Whether it is for BIDIR-PIM.
    pub bidir: bool,
    /// Milliseconds that are left; none of a configured one.
    pub expires_ms: Option<u64>,
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
