//! What was heard, said and refused, by kind and reason.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::wire::pim;

/// Kinds of protocol messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MessageKind {
    /// A query about all groups.
    GeneralQuery,
    /// A query about one group.
    GroupQuery,
    /// A query about sources of a group.
    SourceQuery,
    /// A version 1 report.
    ReportV1,
    /// A version 2 report (MLD: version 1).
    ReportV2,
    /// A version 3 report (MLD: version 2).
    ReportV3,
    /// A leave (MLD: done).
    Leave,
    /// A PIM hello.
    PimHello,
    /// A PIM register.
    PimRegister,
    /// A PIM register-stop.
    PimRegisterStop,
    /// A PIM join/prune.
    PimJoinPrune,
    /// A PIM bootstrap message.
    PimBootstrap,
    /// A PIM assert.
    PimAssert,
    /// A PIM graft.
    PimGraft,
    /// A PIM graft-ack.
    PimGraftAck,
    /// A candidate RP's advertisement.
    PimCandidateRpAdvertisement,
    /// A PIM state refresh.
    PimStateRefresh,
}

impl pim::Message {
    /// What it is counted as.
    pub fn kind(&self) -> MessageKind {
        match self {
            pim::Message::Hello(_) => MessageKind::PimHello,
            pim::Message::Register(_) => MessageKind::PimRegister,
            pim::Message::RegisterStop(_) => MessageKind::PimRegisterStop,
            pim::Message::JoinPrune(_) => MessageKind::PimJoinPrune,
            pim::Message::Bootstrap(_) => MessageKind::PimBootstrap,
            pim::Message::CandidateRpAdvertisement(_) => MessageKind::PimCandidateRpAdvertisement,
            pim::Message::Assert(_) => MessageKind::PimAssert,
            pim::Message::Graft(_) => MessageKind::PimGraft,
            pim::Message::GraftAck(_) => MessageKind::PimGraftAck,
            pim::Message::StateRefresh(_) => MessageKind::PimStateRefresh,
        }
    }
}

/// Why a packet, or a part of one, came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DropReason {
    /// The payload is cut off, or its lengths contradict each other.
    Malformed,
    /// Wrong checksum.
    Checksum,
    /// A message type that this router does not know.
    UnknownType,
    /// The protocol does not run on this interface.
    NotRunning,
    /// A TTL other than 1.
    Ttl,
    /// No Router Alert option where it is required.
    NoRouterAlert,
    /// A source address that is not on the interface's subnet.
    SourceNotOnLink,
    /// A query without a source address: of a snooping switch, which takes no part in the election.
    QueryWithoutSource,
    /// A packet of this router's own.
    Own,
    /// A destination that the message cannot have.
    Destination,
    /// A query of another version than the one spoken here; it still counts for the election.
    QueryVersion,
    /// A group that is no multicast address.
    NotAGroup,
    /// A group of link-local scope, which nobody forwards.
    LinkLocalGroup,
    /// A group that the configuration does not allow.
    GroupNotAllowed,
    /// A source that no packet can come from.
    NotASource,
    /// A group record of an unknown type.
    UnknownRecord,
    /// A leave, TO_IN or BLOCK while an older host may still listen (RFC 9776 §7.3.2).
    OlderHost,
    /// Over the limit of groups on an interface.
    GroupLimit,
    /// Over the limit of sources in a group.
    SourceLimit,
    /// A report that a deaf querier did not hear.
    Deaf,
    /// A PIM message other than a hello of a router that has sent none (RFC 3973 §4.3, RFC 7761 §4.3.1).
    NotANeighbour,
    /// Over the limit of neighbours on an interface.
    NeighbourLimit,
    /// A packet of a protocol that is not spoken here.
    UnknownProtocol,
    /// A packet on an interface that takes no part.
    UnknownInterface,
    /// Data that came in by another interface than its entry's.
    WrongInterface,
    /// Data of a source that no unicast route leads to, or that no static multicast route accepts.
    NoRoute,
    /// Data of a group whose scope ends at the interface that it came by.
    Boundary,
    /// A join, register or register-stop of another rendezvous point than the group's.
    OtherRp,
    /// A join or prune on a shared tree of a source-specific group (RFC 7761 §4.8.1).
    SsmSharedTree,
    /// Members that name no source of a source-specific group, and for which there is no mapping (RFC 4604 §2.2).
    SsmAnySource,
    /// A bootstrap message of this router's own address as BSR.
    OwnBootstrap,
    /// A bootstrap message that did not come from the RPF neighbour toward the BSR (RFC 5059 §3.1.3).
    NotFromRpfNeighbour,
    /// A no-forward or unicast bootstrap message to a router that has not just started (RFC 5059 §3.1.3).
    NotAtStartup,
    /// A bootstrap message or an advertisement at the edge of the bootstrap domain (`bsr-border`), or a scoped one at the scope's border.
    BsrBorder,
    /// A bootstrap message of a lighter BSR than the one that there is.
    NotPreferred,
    /// A group range of a candidate RP for which this router is not the elected BSR (RFC 5059 §3.3).
    NotElected,
    /// A candidate RP that the configuration does not allow.
    RpNotAllowed,
    /// Over the limit of group-to-RP mappings or of scope zones.
    MappingLimit,
    /// Over the limit of forwarding entries.
    EntryLimit,
    /// Over the limit of unicast routes.
    RouteLimit,
}

/// Counters of an interface or of the router.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Messages received and accepted.
    pub received: BTreeMap<MessageKind, u64>,
    /// Messages sent.
    pub sent: BTreeMap<MessageKind, u64>,
    /// Packets and parts of packets that came to nothing.
    pub dropped: BTreeMap<DropReason, u64>,
}

impl Counters {
    /// Counts an accepted message.
    pub fn receive(&mut self, kind: MessageKind) {
        *self.received.entry(kind).or_default() += 1;
    }

    /// Counts a sent message.
    pub fn send(&mut self, kind: MessageKind) {
        *self.sent.entry(kind).or_default() += 1;
    }

    /// Counts something refused.
    pub fn drop(&mut self, reason: DropReason) {
        *self.dropped.entry(reason).or_default() += 1;
    }

    /// Adds another's counts.
    pub fn add(&mut self, other: &Counters) {
        fn sum<K: Ord + Copy>(into: &mut BTreeMap<K, u64>, from: &BTreeMap<K, u64>) {
            for (key, count) in from {
                *into.entry(*key).or_default() += count;
            }
        }
        sum(&mut self.received, &other.received);
        sum(&mut self.sent, &other.sent);
        sum(&mut self.dropped, &other.dropped);
    }
}
