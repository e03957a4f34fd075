//! Scenarios as resolved from the file: what is done to a lab, and what is expected of it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::plan::{Attachment, NodeId, WireId};
pub use router_core::router::SourceFilter;

/// A named sequence of steps, run in a lab of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scenario {
    /// Unique in the file.
    pub name: String,
    /// In order.
    pub steps: Vec<Step>,
    /// Invariants that the file switches off for this scenario, by name.
    pub without: Vec<Invariant>,
}

/// What is checked all the time, unless switched off by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Invariant {
    /// A stamp crosses a wire at most once a direction.
    NoDuplicates,
    /// No data on a wire that has neither a member nor a router which should have it (behind snooping: on a port).
    NoStrayData,
    /// The TTL never rises along the path, and a member sees the TTL sent less the hops of an allowed path.
    TtlFalls,
    /// A host receives only what it joined.
    OnlyMembers,
    /// Every IGMP and PIM message on a wire can be read, its checksum included.
    WellFormed,
    /// No router ever remembers more than hosts, neighbours and sources give it to remember.
    BoundedState,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Line in the file, 1-based.
    pub line: usize,
    /// The step as a person would say it, for verdict tables (`expect delivered news to h1, h2 within 3s`).
    pub text: String,
    /// What to do.
    pub action: Action,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Hosts join a group, or so many from it on, with a source filter; a second join of the same group replaces the filter.
    Join { hosts: Vec<NodeId>, group: IpAddr, groups: u32, filter: SourceFilter },
    /// Hosts leave a group, or so many from it on.
    Leave { hosts: Vec<NodeId>, group: IpAddr, groups: u32 },
    /// A stream starts; the step does not wait for it.
    Stream(Stream),
    /// A stream ends.
    Stop { stream: String },
    /// A wire, or one node's attachment to it, fails.
    Fail(Cut),
    /// The next messages of a kind into a wire are lost.
    Drop(MessageLoss),
    /// A wire mistreats frames from now on.
    Impair(Mistreatment),
    /// It works again: undoes every cut, every loss of messages and every mistreatment of the same wire (and end, if given).
    Restore { wire: WireId, end: Option<Attachment> },
    /// SIGKILL to a router's daemon.
    Kill { node: NodeId },
    /// The daemon starts again (killed first if it runs); the step ends when it is ready.
    Restart { node: NodeId },
    /// SIGSTOP to a router's daemon.
    Pause { node: NodeId },
    /// SIGCONT.
    Resume { node: NodeId },
    /// Time passes.
    Wait { time: Duration },
    /// A command runs in a node, or beside a LAN's bridge; an exit status other than 0 fails the step.
    Run { at: Place, command: Vec<String> },
    /// A check.
    Expect(Expectation),
}

/// Where a command of a scenario runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// In a node (`run: {node: r1, command: [...]}`).
    Node(NodeId),
    /// In the namespace of a LAN's bridge (`run: {lan: campus, command: [...]}`), `@campus` to `testbed exec`.
    Lan(WireId),
}

/// A stream of stamped packets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stream {
    /// Unique in the scenario.
    pub name: String,
    /// Sender.
    pub from: NodeId,
    /// Interface that it leaves by: index in the node's interfaces.
    pub interface: usize,
    /// Group; the first, if it goes to several.
    pub group: IpAddr,
    /// How many groups it goes to, at least 1: packet n to the (n mod `groups`)-th from [`Stream::group`] on. What is said of the first
    /// holds for all of them.
    pub groups: u32,
    /// UDP port (default 5001).
    pub port: u16,
    /// Packets a second (default 100).
    pub rate: f64,
    /// UDP payload in octets, at least the stamp's (default 200).
    pub size: usize,
    /// TTL of the packets (default 16).
    pub ttl: u8,
    /// Ends by itself after so many packets.
    pub count: Option<u64>,
    /// Packets sent back to back at each tick (default 1); the rate stays what it is.
    pub burst: u32,
}

/// The n-th group from one on.
pub fn nth_group(first: IpAddr, n: u32) -> IpAddr {
    match first {
        IpAddr::V4(first) => IpAddr::V4(first.to_bits().wrapping_add(n).into()),
        IpAddr::V6(first) => IpAddr::V6(first.to_bits().wrapping_add(n.into()).into()),
    }
}

/// A fault of a wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cut {
    /// The wire.
    pub wire: WireId,
    /// The end that suffers it: that loses its carrier (its far side is taken down), is taken down, or neither sends nor hears anything.
    /// Without it, a link's second end is taken down (so the first is the one that loses its carrier), or all its frames are dropped; a LAN
    /// suffers it at every end.
    pub end: Option<Attachment>,
    /// How.
    pub how: CutKind,
    /// A silent cut is noticed by static unicast after this time (never, if absent).
    pub detected_after: Option<Duration>,
}

/// Messages that are lost on their way into a wire: neither the wire nor whoever looks at it sees them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageLoss {
    /// The wire.
    pub wire: WireId,
    /// Whose messages: those of an end, or of each of them.
    pub from: Option<Attachment>,
    /// Their kind. A join/prune of several groups is told by its first.
    pub message: Message,
    /// How many of each end's are lost from now on, at least 1.
    pub count: u32,
}

/// What a wire does to frames from a step on, in place of what the file says of the wire. Shares run from 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mistreatment {
    /// The wire.
    pub wire: WireId,
    /// Whose frames: those of an end, or of each of them.
    pub from: Option<Attachment>,
    /// Added delay.
    pub delay: Duration,
    /// Share of frames that are lost.
    pub loss: f64,
    /// Share of frames that come twice.
    pub duplicate: f64,
    /// Share of frames that the delay does not hold, so that they overtake others.
    pub reorder: f64,
    /// Share of frames that come with one wrong bit.
    pub corrupt: f64,
}

/// How a wire fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CutKind {
    /// The far end is taken down, so that the other loses its carrier.
    Carrier,
    /// Every frame is dropped, and nobody is told.
    Silent,
    /// Taken down by the administrator of the named end.
    Admin,
}

/// By when something must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deadline {
    /// A fixed time.
    After(Duration),
    /// What the protocol's own formula gives for the place (the oracle computes it).
    Formula(Formula),
}

/// Deadlines by the protocols' own formulas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Formula {
    /// Last member query interval × count, or the group membership interval with IGMPv1 members; plus slack for the runner.
    LeaveLatency,
    /// A host's report (at once, or within the query response interval after a router's start).
    JoinLatency,
    /// Group Membership Interval: robustness × query interval + query response interval.
    GroupMembershipInterval,
    /// Other Querier Present Interval: robustness × query interval + half the query response interval.
    OtherQuerierPresentInterval,
    /// By when PIM routers that came up know each other: twice Triggered_Hello_Delay.
    NeighbourLatency,
    /// By when a PIM router that fell silent is forgotten: the hold time that its hellos announce.
    NeighbourLiveness,
    /// By when PIM has come to rest after a change: neighbours and rendezvous points known, asserts decided, prunes in force.
    Convergence,
}

/// A check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expectation {
    /// Every host gets every packet of the sequence range that starts once all receive (within `within`) and lasts `lasting`.
    Delivered { stream: String, to: Vec<NodeId>, within: Deadline, lasting: Duration, loss: u64, duplicates: u64 },
    /// No host gets any packet that is sent during `lasting`.
    NotDelivered { stream: String, to: Vec<NodeId>, lasting: Duration },
    /// The longest gap at each host since the last fault lies below a bound; waits until packets flow again, at most `within`.
    Outage { stream: String, at: Vec<NodeId>, below: Deadline, within: Deadline },
    /// Join call to first packet at each host, for its last join of the group.
    JoinLatency { stream: String, at: Vec<NodeId>, below: Deadline },
    /// Leave call to the last packet on the wire, for the last leave of the group there.
    LeaveLatency { wire: WireId, group: IpAddr, below: Deadline },
    /// From `within` on, no packet of the group (any if absent) crosses the wire for `lasting`.
    Quiet { wire: WireId, group: Option<IpAddr>, within: Deadline, lasting: Duration },
    /// At least `count` protocol messages of a kind are seen on the wire by `within` after this step's start; those that were seen
    /// since the scenario's start count if `since_start`, else those since this step's.
    Seen {
        wire: WireId,
        message: Message,
        from: Option<NodeId>,
        group: Option<IpAddr>,
        count: u64,
        within: Deadline,
        since_start: bool,
    },
    /// A router knows (or, with `present: false`, does not know) a member of a group on an interface.
    Member { at: Attachment, group: IpAddr, present: bool, filter: Option<SourceFilter>, within: Deadline },
    /// Who is the IGMP querier of a wire: judged by the queries on it, explained by what routers say.
    Querier { wire: WireId, is: NodeId, within: Deadline },
    /// Routers know each other by PIM at these attachments: exactly `are`, or who follows from the topology.
    Neighbours { at: Vec<Attachment>, are: Option<Vec<NodeId>>, within: Deadline },
    /// Routers take `is`, or who follows from the topology, for the designated router at these attachments.
    DesignatedRouter { at: Vec<Attachment>, is: Option<NodeId>, within: Deadline },
    /// Routers use this rendezvous point for a group.
    Rp { group: IpAddr, at: Vec<NodeId>, is: RpIs, within: Deadline },
    /// Kernel entries of all routers for the stream make the tree that the oracle gives.
    Tree { stream: String, within: Deadline },
    /// A router's kernel has (or has not) an entry.
    Entry {
        router: NodeId,
        source: IpAddr,
        group: IpAddr,
        present: bool,
        incoming: Option<usize>,
        outgoing: Option<Vec<usize>>,
        within: Deadline,
    },
    /// At each TTL, exactly the hosts that the oracle says (or that the file lists) get the packets.
    Scope { stream: Stream, ttls: Vec<u8>, reached: BTreeMap<u8, Vec<NodeId>>, within: Deadline },
    /// A command in a node ends with a status, and its output contains a text.
    Command { node: NodeId, command: Vec<String>, status: i32, contains: Option<String>, within: Deadline },
}

/// The rendezvous point that `rp` expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RpIs {
    /// The one that follows from the topology and from what has failed.
    Right,
    /// None.
    Nobody,
    /// This router, by any of its addresses.
    Router(NodeId),
    /// The router with this address.
    Address(IpAddr),
}

/// Protocol messages that `seen` can wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Message {
    /// Any IGMP query.
    IgmpQuery,
    /// A general query.
    IgmpGeneralQuery,
    /// A group-specific query.
    IgmpGroupQuery,
    /// A group-and-source-specific query.
    IgmpSourceQuery,
    /// A version 1 report.
    #[serde(rename = "igmpv1-report")]
    Igmpv1Report,
    /// A version 2 report.
    #[serde(rename = "igmpv2-report")]
    Igmpv2Report,
    /// A version 3 report.
    #[serde(rename = "igmpv3-report")]
    Igmpv3Report,
    /// A version 2 leave.
    IgmpLeave,
    /// A PIM hello.
    PimHello,
    /// Any PIM join/prune.
    PimJoinPrune,
    /// A PIM join/prune that joins a source.
    PimJoin,
    /// A PIM join/prune that prunes a source.
    PimPrune,
    /// A PIM graft.
    PimGraft,
    /// A PIM graft-ack.
    PimGraftAck,
    /// A PIM assert.
    PimAssert,
    /// A PIM state refresh.
    PimStateRefresh,
    /// A PIM join/prune that joins (*,G).
    PimJoinWc,
    /// A PIM join/prune that joins (S,G) on the source's own tree.
    PimJoinSg,
    /// A PIM join/prune that prunes (*,G).
    PimPruneWc,
    /// A PIM join/prune that prunes (S,G) on the source's own tree.
    PimPruneSg,
    /// A PIM join/prune that prunes (S,G,rpt): a source off the rendezvous point's tree.
    PimPruneRpt,
    /// A PIM register that carries a packet.
    PimRegister,
    /// A PIM null register: a probe without a packet.
    PimNullRegister,
    /// A PIM register-stop.
    PimRegisterStop,
    /// A PIM bootstrap message.
    PimBootstrap,
    /// A PIM candidate RP advertisement.
    PimCandidateRpAdvertisement,
}

impl Message {
    /// Its name in the file.
    pub fn name(self) -> &'static str {
        match self {
            Message::IgmpQuery => "igmp-query",
            Message::IgmpGeneralQuery => "igmp-general-query",
            Message::IgmpGroupQuery => "igmp-group-query",
            Message::IgmpSourceQuery => "igmp-source-query",
            Message::Igmpv1Report => "igmpv1-report",
            Message::Igmpv2Report => "igmpv2-report",
            Message::Igmpv3Report => "igmpv3-report",
            Message::IgmpLeave => "igmp-leave",
            Message::PimHello => "pim-hello",
            Message::PimJoinPrune => "pim-join-prune",
            Message::PimJoin => "pim-join",
            Message::PimPrune => "pim-prune",
            Message::PimGraft => "pim-graft",
            Message::PimGraftAck => "pim-graft-ack",
            Message::PimAssert => "pim-assert",
            Message::PimStateRefresh => "pim-state-refresh",
            Message::PimJoinWc => "pim-join-wc",
            Message::PimJoinSg => "pim-join-sg",
            Message::PimPruneWc => "pim-prune-wc",
            Message::PimPruneSg => "pim-prune-sg",
            Message::PimPruneRpt => "pim-prune-rpt",
            Message::PimRegister => "pim-register",
            Message::PimNullRegister => "pim-null-register",
            Message::PimRegisterStop => "pim-register-stop",
            Message::PimBootstrap => "pim-bootstrap",
            Message::PimCandidateRpAdvertisement => "pim-candidate-rp-advertisement",
        }
    }

    /// Whether it is an IGMP query of any kind.
    pub fn is_igmp_query(self) -> bool {
        matches!(
            self,
            Message::IgmpQuery | Message::IgmpGeneralQuery | Message::IgmpGroupQuery | Message::IgmpSourceQuery
        )
    }
}
