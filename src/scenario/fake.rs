//! A network in memory, for tests of the runner: it forwards packets along static routes to members by rules of its own, which share
//! nothing with the oracle, and has defects that can be switched on.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::network::{
    Arrival, CommandOutput, ControlSighting, DesignatedRouter, Entry, GroupCount, Happening, HappeningKind, Held,
    LossId, Malformed, Membership, Neighbour, Network, NetworkError, Sighting, Time,
};
use crate::topology::plan::{Attachment, Multicast, NodeId, Plan, WireId, WireKind};
use crate::topology::steps::{Cut, MessageLoss, Mistreatment, Place, SourceFilter, Stream};

/// Time that a packet takes over a wire.
const HOP: Duration = Duration::from_micros(20);

const START: Time = Time(1_000_000_000);

/// What is wrong with a network.
#[derive(Clone, Debug, Default)]
pub struct Defects {
    /// Routers that forward nothing.
    pub mute: BTreeSet<NodeId>,
    /// Thresholds that differ from the file's.
    pub thresholds: BTreeMap<Attachment, u8>,
    /// Interfaces that get copies of everything.
    pub extra: BTreeSet<Attachment>,
    /// Routers' interfaces that hear no members.
    pub deaf: BTreeSet<Attachment>,
    /// Snooping bridges that flood.
    pub floods: BTreeSet<WireId>,
    /// Wires that lose every n-th packet.
    pub drops: BTreeMap<WireId, u64>,
    /// Interfaces that send everything twice.
    pub doubles: BTreeSet<Attachment>,
    /// Routers that do not take one off the TTL.
    pub keeps_ttl: BTreeSet<NodeId>,
    /// Hosts that hear everything on their wire.
    pub nosy: BTreeSet<NodeId>,
    /// How long routers need to learn of a join.
    pub slow_join: Duration,
    /// How long routers keep a group after a leave; none: two seconds.
    pub leave_after: Option<Duration>,
    /// How long a cut lasts, if it mends itself.
    pub heals: Option<Duration>,
    /// Sends nothing at all.
    pub silent_sender: bool,
    /// How much too late waits return.
    pub late: Duration,
    /// Others hold the network up from the first time to the second (since its start).
    pub held_up: Option<(Duration, Duration)>,
    /// What the measuring side says of itself.
    pub doubts: Vec<String>,
}

struct Sending {
    stream: Stream,
    next: Time,
    sent: Vec<Time>,
    stopped: bool,
}

/// The network.
pub struct Fake {
    plan: Plan,
    pub defects: Defects,
    now: Time,
    streams: Vec<Sending>,
    joined: BTreeMap<(NodeId, IpAddr), (Time, SourceFilter)>,
    lingering: Vec<(Time, WireId, IpAddr)>,
    cuts: Vec<(Time, Cut)>,
    dead: BTreeSet<NodeId>,
    arrivals: BTreeMap<(String, NodeId), Vec<Arrival>>,
    sightings: BTreeMap<(String, WireId), Vec<Sighting>>,
    pub control: Vec<(WireId, ControlSighting)>,
    pub malformed: Vec<(WireId, Malformed)>,
    /// Losses that were asked for, and how many messages each is to say that it took.
    pub losses: Vec<(MessageLoss, u64)>,
    pub takes: u64,
    pub happenings: Vec<Happening>,
    pub outputs: Vec<CommandOutput>,
    pub neighbours: BTreeMap<NodeId, Vec<Neighbour>>,
    pub designated: BTreeMap<NodeId, Vec<DesignatedRouter>>,
    pub rps: BTreeMap<NodeId, IpAddr>,
    pub held: BTreeMap<NodeId, Held>,
    pub unstamped: Vec<(WireId, GroupCount)>,
    pub captures: bool,
}

impl Fake {
    pub fn new(plan: &Plan) -> Fake {
        Fake {
            plan: plan.clone(),
            defects: Defects::default(),
            now: START,
            streams: Vec::new(),
            joined: BTreeMap::new(),
            lingering: Vec::new(),
            cuts: Vec::new(),
            dead: BTreeSet::new(),
            arrivals: BTreeMap::new(),
            sightings: BTreeMap::new(),
            control: Vec::new(),
            malformed: Vec::new(),
            losses: Vec::new(),
            takes: 0,
            happenings: Vec::new(),
            outputs: Vec::new(),
            neighbours: BTreeMap::new(),
            designated: BTreeMap::new(),
            rps: BTreeMap::new(),
            held: BTreeMap::new(),
            unstamped: Vec::new(),
            captures: false,
        }
    }

    fn is_cut(&self, at: Attachment, time: Time) -> bool {
        let wire = self.plan.interface(at).wire;
        let link = self.plan.wire(wire).kind == WireKind::Link;
        self.cuts.iter().any(|(since, cut)| {
            let healed = self.defects.heals.is_some_and(|span| time >= *since + span);
            !healed && cut.wire == wire && (link || cut.end.is_none_or(|end| end == at))
        })
    }

    /// Whether somebody on a wire wants packets, as a router there knows it.
    fn has_member(&self, at: Attachment, source: IpAddr, group: IpAddr, time: Time) -> bool {
        if self.defects.deaf.contains(&at) {
            return false;
        }
        let wire = self.plan.interface(at).wire;
        if self.lingering.iter().any(|(until, w, g)| *w == wire && *g == group && time < *until) {
            return true;
        }
        self.plan.wire(wire).ends.iter().any(|end| {
            self.joined
                .get(&(end.node, group))
                .is_some_and(|(since, filter)| time >= *since + self.defects.slow_join && takes(filter, source))
        })
    }

    fn outgoing(&self, at: Attachment, source: IpAddr, group: IpAddr, time: Time) -> Vec<(usize, u8)> {
        let node = self.plan.node(at.node);
        let Some(router) = node.router() else { return Vec::new() };
        if self.defects.mute.contains(&at.node) || self.dead.contains(&at.node) || router.multicast == Multicast::None {
            return Vec::new();
        }
        let Some(route) = router.routes.iter().find(|r| r.group.contains(&group) && r.incoming == at.interface) else {
            return Vec::new();
        };
        (0..node.interfaces.len())
            .map(|interface| Attachment { node: at.node, interface })
            .filter(|out| out.interface != at.interface)
            .filter(|out| {
                route.outgoing.contains(&out.interface)
                    || self.defects.extra.contains(out)
                    || self.has_member(*out, source, group, time)
            })
            .map(|out| {
                let own = self.plan.interface(out).ttl_threshold;
                (out.interface, self.defects.thresholds.get(&out).copied().unwrap_or(own).max(1))
            })
            .collect()
    }

    fn send(&mut self, stream: &Stream, at: Attachment, sequence: u64, sent: Time, time: Time, ttl: u8) {
        if self.is_cut(at, time) {
            return;
        }
        let wire = self.plan.interface(at).wire;
        let sighting = |at, outbound, time| Sighting { at, outbound, sequence, time, ttl };
        let copies = if self.defects.doubles.contains(&at) { 2 } else { 1 };
        for _ in 0..copies {
            self.sightings.entry((stream.name.clone(), wire)).or_default().push(sighting(at, true, time));
            if self.defects.drops.get(&wire).is_some_and(|n| sequence % n == n - 1) {
                continue;
            }
            let time = time + HOP;
            for end in self.plan.wire(wire).ends.clone() {
                if end == at || self.is_cut(end, time) {
                    continue;
                }
                let is_router = self.plan.node(end.node).is_router();
                let joined = self.joined.contains_key(&(end.node, stream.group));
                let snooping = self.plan.wire(wire).kind == (WireKind::Lan { snooping: true });
                if snooping && !is_router && !joined && !self.defects.floods.contains(&wire) {
                    continue;
                }
                self.sightings.entry((stream.name.clone(), wire)).or_default().push(sighting(end, false, time));
                if is_router {
                    self.forward(stream, end, sequence, sent, time, ttl);
                } else {
                    self.receive(stream, end.node, sequence, sent, time, ttl);
                }
            }
        }
    }

    fn forward(&mut self, stream: &Stream, at: Attachment, sequence: u64, sent: Time, time: Time, ttl: u8) {
        let origin = Attachment { node: stream.from, interface: stream.interface };
        let Some(source) = self.plan.interface(origin).address_like(stream.group) else { return };
        for (interface, threshold) in self.outgoing(at, source, stream.group, time) {
            if ttl > threshold {
                let left = if self.defects.keeps_ttl.contains(&at.node) { ttl } else { ttl - 1 };
                self.send(stream, Attachment { node: at.node, interface }, sequence, sent, time, left);
            }
        }
    }

    fn receive(&mut self, stream: &Stream, host: NodeId, sequence: u64, sent: Time, received: Time, ttl: u8) {
        let origin = Attachment { node: stream.from, interface: stream.interface };
        let source = self.plan.interface(origin).address_like(stream.group);
        let wants =
            self.joined.get(&(host, stream.group)).is_some_and(|(_, filter)| source.is_some_and(|s| takes(filter, s)));
        if wants || self.defects.nosy.contains(&host) {
            let arrival = Arrival { sequence, sent, received, ttl };
            self.arrivals.entry((stream.name.clone(), host)).or_default().push(arrival);
        }
    }

    fn emit(&mut self, n: usize) {
        let sending = &mut self.streams[n];
        let stream = sending.stream.clone();
        for _ in 0..stream.burst {
            let sending = &mut self.streams[n];
            let sequence = sending.sent.len() as u64;
            if stream.count.is_some_and(|count| sequence >= count) {
                sending.stopped = true;
                return;
            }
            let time = sending.next;
            sending.sent.push(time);
            let at = Attachment { node: stream.from, interface: stream.interface };
            self.send(&stream, at, sequence, time, time, stream.ttl);
        }
        let sending = &mut self.streams[n];
        sending.next += Duration::from_secs_f64(f64::from(stream.burst) / stream.rate);
    }

    fn happened(&mut self, node: Option<NodeId>, what: &str, kind: HappeningKind) {
        self.happenings.push(Happening { time: self.now, node, group: None, what: what.into(), kind });
    }
}

fn takes(filter: &SourceFilter, source: IpAddr) -> bool {
    match filter {
        SourceFilter::Include(list) => list.contains(&source),
        SourceFilter::Exclude(list) => !list.contains(&source),
    }
}

impl Network for Fake {
    fn now(&self) -> Time {
        self.now
    }

    fn run_until(
        &mut self,
        deadline: Time,
        done: &mut dyn FnMut(&mut Self) -> Result<bool, NetworkError>,
    ) -> Result<bool, NetworkError> {
        loop {
            if done(self)? {
                return Ok(true);
            }
            let silent = self.defects.silent_sender;
            let next = self
                .streams
                .iter()
                .enumerate()
                .filter(|(_, s)| !s.stopped && !silent)
                .min_by_key(|(_, s)| s.next)
                .map(|(n, s)| (n, s.next));
            // A tick at least every ten milliseconds, as the contract lets a network have it.
            let tick = self.now + Duration::from_millis(10);
            match next {
                Some((n, at)) if at <= deadline && at <= tick => {
                    self.now = self.now.max(at);
                    self.emit(n);
                    // The tail of the way is as good as over.
                    self.now = self.now.max(at + HOP);
                }
                _ if tick < deadline => self.now = tick,
                _ => {
                    self.now = self.now.max(deadline) + self.defects.late;
                    return done(self);
                }
            }
        }
    }

    fn join(&mut self, host: NodeId, group: IpAddr, filter: &SourceFilter) -> Result<Time, NetworkError> {
        self.joined.insert((host, group), (self.now, filter.clone()));
        Ok(self.now)
    }

    fn leave(&mut self, host: NodeId, group: IpAddr) -> Result<Time, NetworkError> {
        self.joined.remove(&(host, group));
        let until = self.now + self.defects.leave_after.unwrap_or(Duration::from_secs(2));
        for interface in &self.plan.node(host).interfaces {
            let others = &self.plan.wire(interface.wire).ends;
            if !others.iter().any(|end| self.joined.contains_key(&(end.node, group))) {
                self.lingering.push((until, interface.wire, group));
            }
        }
        Ok(self.now)
    }

    fn start(&mut self, stream: &Stream) -> Result<(), NetworkError> {
        self.streams.push(Sending { stream: stream.clone(), next: self.now, sent: Vec::new(), stopped: false });
        Ok(())
    }

    fn stop(&mut self, stream: &str) -> Result<(), NetworkError> {
        self.streams.iter_mut().filter(|s| s.stream.name == stream).for_each(|s| s.stopped = true);
        Ok(())
    }

    fn fail(&mut self, cut: &Cut) -> Result<Time, NetworkError> {
        self.cuts.push((self.now, cut.clone()));
        self.happened(None, "cut", HappeningKind::Fault);
        Ok(self.now)
    }

    fn lose(&mut self, loss: &MessageLoss) -> Result<LossId, NetworkError> {
        self.losses.push((loss.clone(), self.takes));
        Ok(LossId(self.losses.len() - 1))
    }

    fn mistreat(&mut self, _how: &Mistreatment) -> Result<Time, NetworkError> {
        Ok(self.now)
    }

    fn dropped(&mut self, loss: LossId) -> Result<u64, NetworkError> {
        Ok(self.losses[loss.0].1)
    }

    fn restore(&mut self, wire: WireId, end: Option<Attachment>) -> Result<Time, NetworkError> {
        self.cuts.retain(|(_, cut)| cut.wire != wire || (end.is_some() && cut.end != end));
        Ok(self.now)
    }

    fn kill(&mut self, router: NodeId) -> Result<Time, NetworkError> {
        self.dead.insert(router);
        Ok(self.now)
    }

    fn restart(&mut self, router: NodeId) -> Result<Time, NetworkError> {
        self.dead.remove(&router);
        Ok(self.now)
    }

    fn pause(&mut self, _router: NodeId) -> Result<Time, NetworkError> {
        Ok(self.now)
    }

    fn resume(&mut self, _router: NodeId) -> Result<Time, NetworkError> {
        Ok(self.now)
    }

    fn run(&mut self, at: Place, command: &[String], _limit: Duration) -> Result<CommandOutput, NetworkError> {
        match command.first().map(String::as_str) {
            // `plant INTERFACE`: a wrong route, by hand.
            Some("plant") => {
                let interface = command[1].parse().expect("a number");
                let Place::Node(node) = at else { panic!("a bridge has no routes") };
                self.defects.extra.insert(Attachment { node, interface });
                Ok(CommandOutput { status: 0, stdout: String::new(), stderr: String::new() })
            }
            _ if self.outputs.is_empty() => Err(NetworkError::Unsupported {
                what: format!("running {command:?}"),
                by: "the network in memory".into(),
            }),
            _ => Ok(self.outputs.remove(0)),
        }
    }

    fn sent(&self, stream: &str) -> Vec<Time> {
        self.streams.iter().rev().find(|s| s.stream.name == stream).map(|s| s.sent.clone()).unwrap_or_default()
    }

    fn arrivals(&self, stream: &str, host: NodeId) -> Vec<Arrival> {
        self.arrivals.get(&(stream.to_owned(), host)).cloned().unwrap_or_default()
    }

    fn sightings(&self, stream: &str, wire: WireId) -> Vec<Sighting> {
        self.sightings.get(&(stream.to_owned(), wire)).cloned().unwrap_or_default()
    }

    fn group_counts(&self, wire: WireId) -> Vec<GroupCount> {
        self.unstamped.iter().filter(|(w, _)| *w == wire).map(|(_, count)| *count).collect()
    }

    fn control(&self, wire: WireId) -> Vec<ControlSighting> {
        self.control.iter().filter(|(w, s)| *w == wire && s.time <= self.now).map(|(_, s)| s.clone()).collect()
    }

    fn malformed(&self, wire: WireId) -> Vec<Malformed> {
        self.malformed.iter().filter(|(on, _)| *on == wire).map(|(_, malformed)| malformed.clone()).collect()
    }

    fn entries(&mut self, router: NodeId) -> Result<Vec<Entry>, NetworkError> {
        let mut entries = Vec::new();
        for sending in &self.streams {
            let stream = &sending.stream;
            let origin = Attachment { node: stream.from, interface: stream.interface };
            let Some(source) = self.plan.interface(origin).address_like(stream.group) else { continue };
            for interface in 0..self.plan.node(router).interfaces.len() {
                let outgoing = self.outgoing(Attachment { node: router, interface }, source, stream.group, self.now);
                if !outgoing.is_empty() {
                    let packets = sending.sent.len() as u64;
                    let group = stream.group;
                    entries.push(Entry {
                        source,
                        group,
                        incoming: Some(interface),
                        outgoing,
                        packets,
                        wrong_interface: 0,
                    });
                }
            }
        }
        entries.dedup_by_key(|e| (e.source, e.group));
        Ok(entries)
    }

    fn memberships(&mut self, router: NodeId) -> Result<Vec<Membership>, NetworkError> {
        let mut all = Vec::new();
        for interface in 0..self.plan.node(router).interfaces.len() {
            let at = Attachment { node: router, interface };
            for ((host, group), (_, filter)) in &self.joined {
                let wire = self.plan.interface(at).wire;
                let here = self.plan.wire(wire).ends.iter().any(|end| end.node == *host);
                if here && !self.defects.deaf.contains(&at) {
                    all.push(Membership { interface, group: *group, filter: filter.clone(), version: 3 });
                }
            }
        }
        Ok(all)
    }

    fn neighbours(&mut self, router: NodeId) -> Result<Vec<Neighbour>, NetworkError> {
        Ok(self.neighbours.get(&router).cloned().unwrap_or_default())
    }

    fn designated_routers(&mut self, router: NodeId) -> Result<Vec<DesignatedRouter>, NetworkError> {
        Ok(self.designated.get(&router).cloned().unwrap_or_default())
    }

    fn rendezvous_point(&mut self, router: NodeId, _group: IpAddr) -> Result<Option<IpAddr>, NetworkError> {
        Ok(self.rps.get(&router).copied())
    }

    fn most_held(&mut self, router: NodeId) -> Option<Held> {
        self.held.get(&router).copied()
    }

    fn beliefs(&mut self, _router: NodeId, _group: IpAddr) -> Vec<String> {
        Vec::new()
    }

    fn happenings(&self) -> Vec<Happening> {
        self.happenings.clone()
    }

    fn capture(&self, wire: WireId) -> Option<PathBuf> {
        self.captures.then(|| PathBuf::from(format!("captures/{}.pcapng", self.plan.wire(wire).name)))
    }

    fn held_up(&self) -> Duration {
        let now = self.now.since(START);
        self.defects.held_up.map_or(Duration::ZERO, |(from, to)| now.min(to).saturating_sub(from))
    }

    fn doubts(&self) -> Vec<String> {
        self.defects.doubts.clone()
    }
}
