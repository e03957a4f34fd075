//! What a scenario needs of a network, whether the kernel's or a simulated one: the only clock and the only senses
//! that `scenario/` has.

mod answers;
mod faults;
pub mod kernel;
pub mod notifier;
pub mod simulated;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use router_core::show::Held;
pub use router_core::time::Time;
use router_core::wire::pim;

use crate::topology::plan::{Attachment, NodeId, WireId};
use crate::topology::steps::{Cut, Message, MessageLoss, Mistreatment, Place, SourceFilter, Stream};

/// A packet of a stream as a host's socket received it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    /// Sequence number in its stream, from 0.
    pub sequence: u64,
    /// When it was sent (the sender's stamp).
    pub sent: Time,
    /// When the kernel received it.
    pub received: Time,
    /// TTL on arrival.
    pub ttl: u8,
}

/// A data frame of a stream as a tap on a wire saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// The attachment whose tap it is. On a LAN every attachment has one, on the bridge's side (so behind snooping);
    /// on a link both ends have one.
    pub at: Attachment,
    /// Whether the node at that attachment sent it into the wire (else the wire brought it to the node).
    pub outbound: bool,
    /// Sequence number in its stream.
    pub sequence: u64,
    /// When the tap saw it.
    pub time: Time,
    /// TTL in the frame.
    pub ttl: u8,
}

/// Data frames of one group from one source that a tap saw, stamped or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupCount {
    /// The attachment whose tap it is.
    pub at: Attachment,
    /// Whether the node at that attachment sent them into the wire.
    pub outbound: bool,
    /// Source address.
    pub source: IpAddr,
    /// Group.
    pub group: IpAddr,
    /// Frames that carried the stamp of a stream.
    pub stamped: u64,
    /// Frames that carried none.
    pub unstamped: u64,
    /// When the first was seen.
    pub first: Time,
    /// When the last was seen.
    pub last: Time,
}

/// A control message that a tap saw, at the attachment of the node that sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlSighting {
    /// The sender's attachment.
    pub at: Attachment,
    /// What kind of message, as precisely as one word can say it: see [`ControlSighting::is`].
    pub message: Message,
    /// IP source address.
    pub source: IpAddr,
    /// IP destination address.
    pub destination: IpAddr,
    /// The groups that it is about; empty for a general query or a hello.
    pub groups: Vec<IpAddr>,
    /// When.
    pub time: Time,
    /// Octets of the message, IP headers not among them.
    pub length: usize,
    /// A PIM message itself.
    pub pim: Option<Arc<pim::Message>>,
}

impl ControlSighting {
    /// Whether it is of a kind. A message may be of several: a join/prune that joins and prunes is a join and a prune.
    pub fn is(&self, kind: Message) -> bool {
        match kind {
            Message::IgmpQuery => self.message.is_igmp_query(),
            Message::PimJoinPrune => self.join_prune().is_some(),
            _ => match Listed::of(kind) {
                Some(listed) => self.join_prune().is_some_and(|sets| sets.iter().any(|set| listed.is_in(set))),
                None => self.message == kind,
            },
        }
    }

    /// Whether it is of a kind and, as such, about a group: a join/prune may prune one group and join another.
    pub fn is_about(&self, kind: Message, group: IpAddr) -> bool {
        match Listed::of(kind) {
            Some(listed) => {
                self.join_prune().is_some_and(|sets| sets.iter().any(|set| set.group == group && listed.is_in(set)))
            }
            None => self.is(kind) && self.groups.contains(&group),
        }
    }

    fn join_prune(&self) -> Option<&[pim::GroupSet]> {
        match self.pim.as_deref() {
            Some(pim::Message::JoinPrune(message)) => Some(&message.groups),
            _ => None,
        }
    }
}

/// What a kind of join/prune has in one of its lists.
#[derive(Clone, Copy)]
struct Listed {
    /// Whether among the joined sources; else among the pruned.
    joined: bool,
    /// The W and R bits (RFC 7761 §4.9.1); any if absent.
    flags: Option<(bool, bool)>,
}

impl Listed {
    fn of(kind: Message) -> Option<Listed> {
        let listed = |joined, flags| Some(Listed { joined, flags });
        match kind {
            Message::PimJoin => listed(true, None),
            Message::PimPrune => listed(false, None),
            Message::PimJoinWc => listed(true, Some((true, true))),
            Message::PimJoinSg => listed(true, Some((false, false))),
            Message::PimPruneWc => listed(false, Some((true, true))),
            Message::PimPruneSg => listed(false, Some((false, false))),
            Message::PimPruneRpt => listed(false, Some((false, true))),
            _ => None,
        }
    }

    fn is_in(self, set: &pim::GroupSet) -> bool {
        let sources = if self.joined { &set.joined } else { &set.pruned };
        sources.iter().any(|source| self.flags.is_none_or(|flags| flags == (source.wildcard, source.rpt)))
    }
}

/// Messages on a wire that should be IGMP or PIM, and cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The sender's attachment.
    pub at: Attachment,
    /// IP source address.
    pub source: IpAddr,
    /// What is wrong with them (`wrong PIM checksum`).
    pub why: String,
    /// How many there were.
    pub count: u64,
    /// When the first was seen.
    pub first: Time,
}

/// A kernel forwarding entry of a router, interfaces by their index in the node's list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Source; unspecified for (*,G).
    pub source: IpAddr,
    /// Group.
    pub group: IpAddr,
    /// Incoming interface; none if it is not one of the plan's.
    pub incoming: Option<usize>,
    /// Outgoing interfaces with their TTL thresholds.
    pub outgoing: Vec<(usize, u8)>,
    /// Packets forwarded by it.
    pub packets: u64,
    /// Packets that came by a wrong interface.
    pub wrong_interface: u64,
}

/// A membership that a router's daemon says it knows. Explains a verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// Index of the interface.
    pub interface: usize,
    /// Group.
    pub group: IpAddr,
    /// Its filter.
    pub filter: SourceFilter,
    /// IGMP version that the group is kept in there (1 to 3; older if an older host is present).
    pub version: u8,
}

/// A PIM neighbour that a router's daemon says it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Neighbour {
    /// Index of the interface.
    pub interface: usize,
    /// The neighbour's address there.
    pub address: IpAddr,
}

/// A designated router that a router's daemon knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DesignatedRouter {
    /// Index of the interface.
    pub interface: usize,
    /// The designated router's address there.
    pub address: IpAddr,
}

/// What happened beside packets: a time line for verdicts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Happening {
    /// When.
    pub time: Time,
    /// Where.
    pub node: Option<NodeId>,
    /// The group that it is about, if it is about one.
    pub group: Option<IpAddr>,
    /// What, as a person would say it.
    pub what: String,
    /// Its kind.
    pub kind: HappeningKind,
}

/// Kinds of happenings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HappeningKind {
    /// A step of the scenario made a fault or mended one.
    Fault,
    /// A carrier event at a router.
    Carrier,
    /// Unicast routes were moved at a router.
    Routes,
    /// A router's daemon changed a forwarding entry.
    Entry,
    /// A router's daemon reported another event.
    Daemon,
}

/// What a command in a node gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandOutput {
    /// Exit status; 128 + n for a signal n.
    pub status: i32,
    /// Standard output, lossy UTF-8, at most 64 KiB.
    pub stdout: String,
    /// Standard error, likewise.
    pub stderr: String,
}

/// A loss of messages that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LossId(pub usize);

/// Why a network could not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NetworkError {
    /// This network cannot do it at all.
    #[error("{what} is not supported by {by}")]
    Unsupported {
        /// What was asked.
        what: String,
        /// Which network, daemon or kernel.
        by: String,
    },
    /// It failed.
    #[error("{what}: {why}")]
    Failed {
        /// What was asked.
        what: String,
        /// The cause.
        why: String,
    },
    /// The lab is gone.
    #[error("the lab ended: {0}")]
    Gone(String),
}

/// A running network under a scenario. Synchronous; time passes only in [`Network::run_until`] (and in calls that must wait for the network).
pub trait Network {
    /// The time now.
    fn now(&self) -> Time;

    /// Lets the network run until `done` gives true or the deadline passes, calling `done` whenever something that it can observe
    /// may have changed (at most every millisecond). Gives whether `done` held.
    ///
    /// # Errors
    /// [`NetworkError::Gone`] if the network ended.
    fn run_until(
        &mut self,
        deadline: Time,
        done: &mut dyn FnMut(&mut Self) -> Result<bool, NetworkError>,
    ) -> Result<bool, NetworkError>
    where
        Self: Sized;

    /// Lets time pass until the deadline, whatever happens.
    ///
    /// # Errors
    /// As of [`Network::run_until`].
    fn pass_until(&mut self, deadline: Time) -> Result<(), NetworkError>
    where
        Self: Sized,
    {
        self.run_until(deadline, &mut |_| Ok(false)).map(drop)
    }

    /// A host joins a group, or changes its filter. Gives the time of the call.
    fn join(&mut self, host: NodeId, group: IpAddr, filter: &SourceFilter) -> Result<Time, NetworkError>;
    /// A host leaves a group. Gives the time of the call.
    fn leave(&mut self, host: NodeId, group: IpAddr) -> Result<Time, NetworkError>;
    /// Starts a stream. Every host that has joined, joins or will join its group receives on its port.
    fn start(&mut self, stream: &Stream) -> Result<(), NetworkError>;
    /// Ends a stream. A stream that ended by itself may be stopped too.
    fn stop(&mut self, stream: &str) -> Result<(), NetworkError>;
    /// Makes a fault.
    fn fail(&mut self, cut: &Cut) -> Result<Time, NetworkError>;
    /// Has the next messages of a kind lost that leave into a wire. Gives what [`Network::dropped`] asks by.
    fn lose(&mut self, loss: &MessageLoss) -> Result<LossId, NetworkError>;
    /// How many messages such a loss has taken so far, or until it was undone.
    fn dropped(&mut self, loss: LossId) -> Result<u64, NetworkError>;
    /// Has a wire mistreat frames until it is restored.
    fn mistreat(&mut self, how: &Mistreatment) -> Result<Time, NetworkError>;
    /// Undoes faults, losses of messages and mistreatments of a wire (of one end).
    fn restore(&mut self, wire: WireId, end: Option<Attachment>) -> Result<Time, NetworkError>;
    /// Kills a router's daemon.
    fn kill(&mut self, router: NodeId) -> Result<Time, NetworkError>;
    /// Starts it again and waits until it is ready.
    fn restart(&mut self, router: NodeId) -> Result<Time, NetworkError>;
    /// Stops it as SIGSTOP does.
    fn pause(&mut self, router: NodeId) -> Result<Time, NetworkError>;
    /// Lets it run on.
    fn resume(&mut self, router: NodeId) -> Result<Time, NetworkError>;
    /// Runs a command in a node, or beside a LAN's bridge, to its end, at most `limit`.
    fn run(&mut self, at: Place, command: &[String], limit: Duration) -> Result<CommandOutput, NetworkError>;

    /// Sequence numbers sent so far in a stream, with the time of each (index is the sequence number).
    fn sent(&self, stream: &str) -> Vec<Time>;
    /// What a host's sockets received of a stream, in order of arrival.
    fn arrivals(&self, stream: &str, host: NodeId) -> Vec<Arrival>;
    /// What the taps of a wire saw of a stream, in order of time.
    fn sightings(&self, stream: &str, wire: WireId) -> Vec<Sighting>;
    /// Like [`Network::sent`], without the first `skip`: for checks that are evaluated again and again.
    fn sent_from(&self, stream: &str, skip: usize) -> Vec<Time> {
        let mut sent = self.sent(stream);
        sent.drain(..skip.min(sent.len()));
        sent
    }
    /// Like [`Network::arrivals`], without the first `skip`; what was given once keeps its place.
    fn arrivals_from(&self, stream: &str, host: NodeId, skip: usize) -> Vec<Arrival> {
        let mut arrivals = self.arrivals(stream, host);
        arrivals.drain(..skip.min(arrivals.len()));
        arrivals
    }
    /// The sightings of a stream on a wire in the order in which they became known (which between two taps may differ from the order of
    /// time by some milliseconds), without the first `skip`; what was given once keeps its place.
    fn sightings_from(&self, stream: &str, wire: WireId, skip: usize) -> Vec<Sighting> {
        let mut sightings = self.sightings(stream, wire);
        sightings.drain(..skip.min(sightings.len()));
        sightings
    }
    /// Frames of groups on a wire by their tap, stamped or not: what crosses a wire without being any stream's.
    fn group_counts(&self, wire: WireId) -> Vec<GroupCount>;
    /// Control messages on a wire since the start, in order of time.
    fn control(&self, wire: WireId) -> Vec<ControlSighting>;
    /// How many [`Network::control`] gives.
    fn control_count(&self, wire: WireId) -> usize {
        self.control(wire).len()
    }
    /// What was sent into a wire as IGMP or PIM and cannot be read.
    fn malformed(&self, wire: WireId) -> Vec<Malformed>;
    /// A router's kernel forwarding entries.
    fn entries(&mut self, router: NodeId) -> Result<Vec<Entry>, NetworkError>;
    /// What a router's daemon says of its members.
    fn memberships(&mut self, router: NodeId) -> Result<Vec<Membership>, NetworkError>;
    /// What a router's daemon says of its PIM neighbours.
    fn neighbours(&mut self, router: NodeId) -> Result<Vec<Neighbour>, NetworkError>;
    /// Whom a router's daemon takes for the designated router of its interfaces.
    fn designated_routers(&mut self, router: NodeId) -> Result<Vec<DesignatedRouter>, NetworkError>;
    /// The rendezvous point that a router's daemon uses for a group.
    fn rendezvous_point(&mut self, router: NodeId, group: IpAddr) -> Result<Option<IpAddr>, NetworkError>;
    /// The most that a router's daemon ever held since it was started, and in a simulator before that; none if it does not say.
    fn most_held(&mut self, router: NodeId) -> Option<Held>;
    /// What a router's daemon believes about a group, in a few lines for a verdict.
    fn beliefs(&mut self, router: NodeId, group: IpAddr) -> Vec<String>;
    /// Carrier, route, fault and daemon events so far.
    fn happenings(&self) -> Vec<Happening>;
    /// The capture of a wire, if one is kept.
    fn capture(&self, wire: WireId) -> Option<PathBuf>;
    /// How long so far the network could not react to anything, for reasons that are not its own (others on the machine held what
    /// every change of its configuration needs): deadlines move by what is added to this while they run.
    fn held_up(&self) -> Duration {
        Duration::ZERO
    }
    /// Packets that the measuring side itself lost (full receive buffers of sockets or taps) and other reasons why timing cannot be
    /// judged: not empty makes a failed check inconclusive.
    fn doubts(&self) -> Vec<String>;
}
