//! Streams: senders, receivers, packet stamps, metrics.
//!
//! [`Traffic`] is a runner's hold on all of them. It works on real UDP sockets in hosts' network namespaces. Every time that it takes or gives is
//! [`Time`] on `CLOCK_MONOTONIC`.
#![forbid(unsafe_code)]

pub mod bulk;
pub mod clock;
mod ear;
mod log;
mod membership;
pub mod metrics;
mod pace;
mod sender;
pub mod sequence;
mod spec;
pub mod stamp;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use ear::{ARRIVALS_MAX, STREAMS_MAX};
pub use sender::{Progress, SENT_MAX};
pub use spec::{BURST_MAX, RATE_MAX, RATE_MIN, SpecError, StreamSpec};

use self::clock::{Offset, STEP_MAX};
use self::ear::{Ear, Heard, Listener};
use self::sender::Sender;
use self::stamp::StreamId;
use crate::network::notifier::Notifier;
use crate::network::{Arrival, Time};
use crate::sys::netns;
use crate::sys::udp::Udp;
use crate::topology::plan::NodeId;
use crate::topology::steps::{SourceFilter, nth_group};

/// A sender that was ever later than this makes timing doubtful.
const LATENESS_MAX: Duration = Duration::from_millis(100);

/// A host, as far as traffic needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which.
    pub host: NodeId,
    /// Its name, for messages.
    pub name: String,
    /// Its network namespace (`/run/netns/NAME`); none: the one that the program runs in.
    pub netns: Option<PathBuf>,
}

/// Why traffic could not be had.
#[derive(Debug, thiserror::Error)]
pub enum TrafficError {
    /// The stream or group is impossible.
    #[error("{name}: {fault}")]
    Spec {
        /// The stream or the host.
        name: String,
        /// What is wrong.
        fault: SpecError,
    },
    /// A source of a filter is of another family than the group.
    #[error("{host}: source {source_address} and group {group} are not of one address family")]
    FilterFamily {
        /// The host.
        host: String,
        /// The group.
        group: IpAddr,
        /// The source.
        source_address: IpAddr,
    },
    /// A host's namespace could not be entered.
    #[error("{host}: cannot enter its network namespace {}: {error}", path.display())]
    Namespace {
        /// The host.
        host: String,
        /// The namespace.
        path: PathBuf,
        /// The kernel's answer.
        error: io::Error,
    },
    /// A socket operation failed.
    #[error("{host}: cannot {what}: {error}")]
    Socket {
        /// The host.
        host: String,
        /// What was tried.
        what: String,
        /// The kernel's answer.
        error: io::Error,
    },
    /// A host leaves a group that it is no member of.
    #[error("{host} is no member of {group} on interface {interface}")]
    NoMember {
        /// The host.
        host: String,
        /// The group.
        group: IpAddr,
        /// Kernel index of the interface.
        interface: u32,
    },
    /// No such stream.
    #[error("there is no stream {0}")]
    NoStream(StreamId),
    /// The receiving thread, or what it needs, could not be made.
    #[error("cannot receive: {0}")]
    Listener(io::Error),
}

/// All streams and memberships of a runner.
///
/// Dropping it stops every sender and leaves every group.
#[derive(Debug)]
pub struct Traffic {
    notifier: Arc<Notifier>,
    offset: Offset,
    run: u32,
    streams: BTreeMap<StreamId, Stream>,
    memberships: BTreeMap<(NodeId, IpAddr), Membership>,
    ears: BTreeMap<(NodeId, IpAddr, u16), Arc<Ear>>,
    heard: BTreeMap<NodeId, Arc<Heard>>,
    ports: BTreeMap<IpAddr, BTreeSet<u16>>,
    listener: Listener,
}

#[derive(Debug)]
struct Stream {
    name: String,
    rate: f64,
    sender: Sender,
}

/// A host's membership of one group, on each of its interfaces.
#[derive(Debug)]
struct Membership {
    place: Place,
    holder: Udp,
    filters: BTreeMap<u32, SourceFilter>,
}

impl Traffic {
    /// No streams yet. `notifier` is told of every batch of packets received, and of streams that end.
    ///
    /// # Errors
    /// [`TrafficError::Listener`].
    pub fn new(notifier: Arc<Notifier>) -> Result<Traffic, TrafficError> {
        let offset = Offset::measure();
        let listener = Listener::start(offset, Arc::clone(&notifier)).map_err(TrafficError::Listener)?;
        // Two processes that start in the same nanosecond still differ in their ids.
        let run = (clock::realtime() >> 10) as u32 ^ std::process::id().rotate_left(16);
        Ok(Traffic {
            notifier,
            offset,
            run,
            streams: BTreeMap::new(),
            memberships: BTreeMap::new(),
            ears: BTreeMap::new(),
            heard: BTreeMap::new(),
            ports: BTreeMap::new(),
            listener,
        })
    }

    /// The clock of every time that is given out: `CLOCK_MONOTONIC`.
    pub fn now(&self) -> Time {
        clock::monotonic()
    }

    /// A `CLOCK_REALTIME` stamp (of a packet, of a tap) as the [`Time`] that everything else has.
    pub fn to_time(&self, realtime: u64) -> Time {
        self.offset.to_monotonic(realtime)
    }

    /// Starts a stream; every member of its group receives on its port from now on. The first packet goes at once.
    ///
    /// # Errors
    /// If the stream is impossible, or a socket cannot be had.
    pub fn start(&mut self, from: &Place, spec: &StreamSpec) -> Result<StreamId, TrafficError> {
        let length = spec.check().map_err(|fault| TrafficError::Spec { name: spec.name.clone(), fault })?;
        (0..spec.groups).try_for_each(|n| self.listen(nth_group(spec.group, n), spec.port))?;
        let what = || format!("open a socket for stream {} to {}:{}", spec.name, spec.group, spec.port);
        let socket = from.within(what, || sender::open(spec))?;
        let index = u32::try_from(self.streams.len() + 1).unwrap_or(u32::MAX);
        let id = StreamId::new(self.run, index);
        let sender = Sender::start(socket, spec, length, id, Arc::clone(&self.notifier))
            .map_err(|error| from.failed(format!("start a thread for stream {}", spec.name), error))?;
        self.streams.insert(id, Stream { name: spec.name.clone(), rate: spec.rate, sender });
        Ok(id)
    }

    /// Ends a stream, and returns when its last packet has gone. One that has ended may be stopped again.
    ///
    /// # Errors
    /// [`TrafficError::NoStream`].
    pub fn stop(&mut self, stream: StreamId) -> Result<(), TrafficError> {
        self.streams.get_mut(&stream).ok_or(TrafficError::NoStream(stream))?.sender.stop();
        Ok(())
    }

    /// Has every member of a group, present and future, receive on a port: for streams that others send. [`Traffic::start`] does it by itself.
    ///
    /// # Errors
    /// If a socket cannot be had.
    pub fn listen(&mut self, group: IpAddr, port: u16) -> Result<(), TrafficError> {
        self.ports.entry(group).or_default().insert(port);
        let places: Vec<Place> =
            self.memberships.iter().filter(|((_, of), _)| *of == group).map(|(_, m)| m.place.clone()).collect();
        places.iter().try_for_each(|place| self.open_ear(place, group, port))
    }

    /// A host joins a group on an interface, or changes its filter there in one step (so that it sends one report). Gives the time of the
    /// call. A filter that includes no source leaves.
    ///
    /// # Errors
    /// If the filter is impossible, or the kernel refuses it; then the membership is what it was.
    pub fn join(
        &mut self,
        place: &Place,
        interface: u32,
        group: IpAddr,
        filter: &SourceFilter,
    ) -> Result<Time, TrafficError> {
        spec::check_group(group).map_err(|fault| TrafficError::Spec { name: place.name.clone(), fault })?;
        let (SourceFilter::Include(sources) | SourceFilter::Exclude(sources)) = filter;
        if let Some(source) = sources.iter().find(|source| source.is_ipv6() != group.is_ipv6()) {
            let host = place.name.clone();
            return Err(TrafficError::FilterFamily { host, group, source_address: *source });
        }
        if let Entry::Vacant(entry) = self.memberships.entry((place.host, group)) {
            let holder = place.within(|| format!("open a socket for group {group}"), || Udp::open(group))?;
            entry.insert(Membership { place: place.clone(), holder, filters: BTreeMap::new() });
        }
        // Receiving sockets first: they stay deaf until the membership stands.
        let ports = self.ports.get(&group).cloned().unwrap_or_default();
        ports.into_iter().try_for_each(|port| self.open_ear(place, group, port))?;
        self.change(place, interface, group, Some(filter))
    }

    /// A host leaves a group on an interface. Gives the time of the call. Packets that its sockets hold already are still recorded.
    ///
    /// # Errors
    /// [`TrafficError::NoMember`], or the kernel's.
    pub fn leave(&mut self, place: &Place, interface: u32, group: IpAddr) -> Result<Time, TrafficError> {
        let membership = self.memberships.get(&(place.host, group));
        if membership.is_none_or(|membership| !membership.filters.contains_key(&interface)) {
            return Err(TrafficError::NoMember { host: place.name.clone(), group, interface });
        }
        self.change(place, interface, group, None)
    }

    /// When each packet of a stream went, but for the first `skip`: the index in the whole list is the sequence number. Empty for a stream that
    /// is not there. A packet may have arrived a moment before it stands here.
    pub fn sent(&self, stream: StreamId, skip: usize) -> Vec<Time> {
        self.streams.get(&stream).map_or_else(Vec::new, |stream| stream.sender.sent(skip))
    }

    /// What a stream's sender did so far.
    pub fn progress(&self, stream: StreamId) -> Option<Progress> {
        self.streams.get(&stream).map(|stream| stream.sender.progress())
    }

    /// What a host received of a stream, in order of arrival, but for the first `skip`; what was given once keeps its place.
    pub fn arrivals(&self, stream: StreamId, host: NodeId, skip: usize) -> Vec<Arrival> {
        self.heard.get(&host).map_or_else(Vec::new, |heard| heard.arrivals(stream, skip))
    }

    /// How many packets of a stream a host received, copies counted.
    pub fn arrived(&self, stream: StreamId, host: NodeId) -> usize {
        self.heard.get(&host).map_or(0, |heard| heard.arrived(stream))
    }

    /// The streams that a host heard, those of other processes too.
    pub fn heard(&self, host: NodeId) -> Vec<StreamId> {
        self.heard.get(&host).map_or_else(Vec::new, |heard| heard.streams())
    }

    /// Packets without a stamp that a host's sockets received.
    pub fn strangers(&self, host: NodeId) -> u64 {
        self.ears_of(host).map(|ear| ear.strangers()).sum()
    }

    /// Whether [`ARRIVALS_MAX`] packets have been recorded, and later ones are not.
    pub fn is_full(&self) -> bool {
        self.listener.is_full()
    }

    /// Why what was measured may not be what happened: packets lost by the measuring side itself, clocks set, senders held up.
    pub fn doubts(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        let step = self.offset.step_to(Offset::measure());
        if step > STEP_MAX {
            doubts.push(format!("the clock was set by {step:?} since the start: latencies are wrong"));
        }
        if let Some(failure) = self.listener.failure() {
            doubts.push(format!("receiving ended: {failure}"));
        }
        if self.is_full() {
            doubts.push(format!("more than {ARRIVALS_MAX} packets arrived: the later ones were not recorded"));
        }
        for ((host, group, port), ear) in &self.ears {
            let name = self.memberships.get(&(*host, *group)).map_or("?", |membership| &membership.place.name);
            let counts = [
                (u64::from(ear.dropped()), "were dropped, its receive buffer was full"),
                (ear.damaged(), "came with another length than they were sent with"),
                (ear.without_time(), "came without a time stamp"),
            ];
            let counted = counts.iter().filter(|(count, _)| *count > 0);
            doubts
                .extend(counted.map(|(count, what)| format!("{name}: {count} packets to {group} port {port} {what}")));
        }
        for stream in self.streams.values() {
            let progress = stream.sender.progress();
            let name = &stream.name;
            if progress.overflowed {
                doubts.push(format!("stream {name} ended after {SENT_MAX} packets: no more can be recorded"));
            }
            if !progress.slipped.is_zero() {
                let (rate, slipped) = (stream.rate, progress.slipped);
                doubts.push(format!("stream {name} could not keep {rate} packets a second: it lost {slipped:?}"));
            } else if progress.lateness_max > LATENESS_MAX {
                doubts.push(format!("stream {name} was held up by {:?}", progress.lateness_max));
            }
        }
        doubts
    }

    fn ears_of(&self, host: NodeId) -> impl Iterator<Item = &Arc<Ear>> {
        self.ears.range((host, IpAddr::V4(0.into()), 0)..).take_while(move |((of, ..), _)| *of == host).map(|(_, e)| e)
    }

    /// Opens a receiving socket for a member's port, if there is none, with the filters that the member has.
    fn open_ear(&mut self, place: &Place, group: IpAddr, port: u16) -> Result<(), TrafficError> {
        if self.ears.contains_key(&(place.host, group, port)) {
            return Ok(());
        }
        let filters = self.memberships.get(&(place.host, group)).map(|m| m.filters.clone()).unwrap_or_default();
        let interface = filters.keys().next().copied().unwrap_or(0);
        let what = || format!("open a socket for {group} port {port}");
        let heard = Arc::clone(self.heard.entry(place.host).or_default());
        let ear = Arc::new(place.within(what, || Ear::open(group, port, interface, heard))?);
        let failed = |error| place.failed(format!("receive {group} port {port}"), error);
        for (interface, filter) in &filters {
            membership::change(&ear.socket, *interface, group, None, Some(filter)).map_err(failed)?;
        }
        self.listener.add(&ear).map_err(failed)?;
        self.ears.insert((place.host, group, port), ear);
        Ok(())
    }

    /// Changes a membership and, around it, that of the sockets that receive.
    fn change(
        &mut self,
        place: &Place,
        interface: u32,
        group: IpAddr,
        new: Option<&SourceFilter>,
    ) -> Result<Time, TrafficError> {
        let new = new.filter(|filter| membership::wants(filter));
        let verb = if new.is_some() { "join" } else { "leave" };
        let failed = |error| place.failed(format!("{verb} {group} on interface {interface}"), error);
        let Some(membership) = self.memberships.get_mut(&(place.host, group)) else {
            return Err(TrafficError::NoMember { host: place.name.clone(), group, interface });
        };
        let old = membership.filters.get(&interface).cloned();
        let range = (place.host, group, 0)..=(place.host, group, u16::MAX);
        let ears: Vec<&Udp> = self.ears.range(range).map(|(_, ear)| &ear.socket).collect();
        for ear in &ears {
            if new.is_some() {
                ear.set_multicast_all(true).map_err(failed)?;
            }
            membership::change(ear, interface, group, old.as_ref(), None).map_err(failed)?;
        }
        let time = clock::monotonic();
        let changed = membership::change(&membership.holder, interface, group, old.as_ref(), new);
        let now = if changed.is_ok() { new } else { old.as_ref() };
        for ear in &ears {
            membership::change(ear, interface, group, None, now).map_err(failed)?;
            ear.set_multicast_all(false).map_err(failed)?;
        }
        changed.map_err(failed)?;
        match new {
            Some(filter) => membership.filters.insert(interface, filter.clone()),
            None => membership.filters.remove(&interface),
        };
        Ok(time)
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        // All at once, then each waits only for its own last packet.
        self.streams.values().for_each(|stream| stream.sender.ask_to_stop());
    }
}

impl Place {
    /// Runs something in the host's network namespace.
    fn within<T: Send>(
        &self,
        what: impl FnOnce() -> String,
        run: impl FnOnce() -> io::Result<T> + Send,
    ) -> Result<T, TrafficError> {
        let result = match &self.netns {
            None => run(),
            Some(path) => netns::within(path, run).map_err(|error| TrafficError::Namespace {
                host: self.name.clone(),
                path: path.clone(),
                error,
            })?,
        };
        result.map_err(|error| self.failed(what(), error))
    }

    fn failed(&self, what: String, error: io::Error) -> TrafficError {
        TrafficError::Socket { host: self.name.clone(), what, error }
    }
}

/// A socket address; with the interface as scope for groups and addresses that need one (RFC 4007).
fn socket_address(address: IpAddr, port: u16, interface: u32) -> SocketAddr {
    match address {
        IpAddr::V4(_) => SocketAddr::new(address, port),
        IpAddr::V6(v6) => {
            let local = v6.is_unicast_link_local() || v6.is_multicast() && matches!(v6.octets()[1] & 0x0f, 1 | 2);
            SocketAddrV6::new(v6, port, 0, if local { interface } else { 0 }).into()
        }
    }
}
