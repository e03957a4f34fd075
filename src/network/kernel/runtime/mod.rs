//! [`KernelNetwork`]: a running lab as a scenario sees it. It lives in the runner, a process inside the lab.

mod congestion;
mod events;
mod frr;
mod losses;
mod route_log;
mod supervisor;
#[cfg(test)]
pub(in crate::network) mod tests;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use router_core::control::client::{Client, ClientError};
use router_core::show::{Show, Shown};

use self::congestion::Congestion;
use self::events::Events;
use self::losses::Losses;
use self::route_log::RouteLog;
use super::operate::{Direction, OperateError, Operator};
use crate::daemon;
use crate::lab::{self, Lab};
use crate::network::answers;
use crate::network::faults::{self, Change, Cuts};
use crate::network::notifier::Notifier;
use crate::network::{
    Arrival, CommandOutput, ControlSighting, DesignatedRouter, Entry, GroupCount, Happening, HappeningKind, Held,
    LossId, Malformed, Membership, Neighbour, Network, NetworkError, Sighting, Time,
};
use crate::observe::capture;
use crate::observe::entries;
use crate::observe::store::Limits;
use crate::observe::tap::{CaptureTo, Taps};
use crate::routes::agent;
use crate::sys::files;
use crate::topology::plan::{Daemon, NodeId, Plan, Router, WireId};
use crate::topology::steps::{Cut, CutKind, MessageLoss, Mistreatment, Place, SourceFilter, Stream};
use crate::traffic::stamp::StreamId;
use crate::traffic::{self, StreamSpec, Traffic, clock};

/// Least time between two evaluations of what is waited for.
const PACE: Duration = Duration::from_millis(1);
/// Most time between them: kernel entries and daemons' beliefs change without a word.
const HEARTBEAT: Duration = Duration::from_millis(10);

/// Where a lab's things are. The default is right for every process inside a lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Directory of the network namespaces.
    pub namespaces: PathBuf,
    /// The state directory.
    pub state: PathBuf,
}

impl Default for Places {
    fn default() -> Places {
        Places { namespaces: super::namespace::PLACES.into(), state: lab::INSIDE.into() }
    }
}

/// A running lab as a scenario sees it.
#[derive(Debug)]
pub struct KernelNetwork<'p> {
    plan: &'p Plan,
    places: Places,
    notifier: Arc<Notifier>,
    taps: Taps,
    /// When the taps' rings were last emptied.
    refreshed: Cell<Time>,
    traffic: Traffic,
    streams: BTreeMap<String, StreamId>,
    operator: Operator<'p>,
    cuts: Cuts,
    losses: Losses,
    lab: Lab,
    readers: BTreeMap<NodeId, entries::Reader>,
    events: Events,
    route_log: Mutex<RouteLog>,
    /// Faults that the scenario made.
    faults: Vec<Happening>,
    doubts: Vec<String>,
    congestion: Congestion,
}

fn failed(what: impl Into<String>, why: impl std::fmt::Display) -> NetworkError {
    NetworkError::Failed { what: what.into(), why: why.to_string() }
}

impl<'p> KernelNetwork<'p> {
    /// Opens the senses of a running lab: taps and captures on every wire, the event streams of its routers.
    /// With `captures`, every wire's frames are kept in that directory, which is made if it is not there: `WIRE.pcapng`.
    ///
    /// # Errors
    /// [`NetworkError::Failed`] says which of them could not be had.
    pub fn open(plan: &'p Plan, places: Places, captures: Option<PathBuf>) -> Result<KernelNetwork<'p>, NetworkError> {
        // A tap, a socket and a stream for every end of every wire and every router: more than the customary 1024.
        files::raise_open_files().map_err(|error| failed("raise the limit of open files", error))?;
        let notifier = Arc::new(Notifier::new());
        let offset = clock::Offset::measure();
        let limit = capture::limit(plan.wires.len());
        let to = captures.map(|directory| CaptureTo { directory, limit });
        if let Some(to) = &to {
            std::fs::create_dir_all(&to.directory)
                .map_err(|error| failed(format!("make {}", to.directory.display()), error))?;
        }
        let taps = Taps::open(plan, &places.namespaces, offset, Limits::default(), to.as_ref(), Arc::clone(&notifier))
            .map_err(|error| failed("tap the wires", error))?;
        let traffic = Traffic::new(Arc::clone(&notifier)).map_err(|error| failed("prepare streams", error))?;
        let events = Events::start(Arc::clone(&notifier)).map_err(|error| failed("follow events", error))?;
        let lab = Lab::inside().map_err(|error| failed("reach the lab's supervisor", error))?;
        let route_log = Mutex::new(RouteLog::new(places.state.join("agent.log")));
        let mut network = KernelNetwork {
            plan,
            places,
            notifier,
            taps,
            refreshed: Cell::new(Time::ZERO),
            traffic,
            streams: BTreeMap::new(),
            operator: Operator::new(plan),
            cuts: Cuts::default(),
            losses: Losses::default(),
            lab,
            readers: BTreeMap::new(),
            events,
            route_log,
            faults: Vec::new(),
            doubts: Vec::new(),
            congestion: Congestion::start(),
        };
        for id in plan.node_ids() {
            network.follow(id);
        }
        Ok(network)
    }

    /// Which captures are incomplete because they reached their limit, a sentence each.
    pub fn cut_captures(&self) -> Vec<String> {
        self.taps.cut_captures()
    }

    /// Hands what was captured so far to the files.
    pub fn flush_captures(&self) {
        self.taps.flush();
    }

    /// Follows a router-core's events, if the node has one.
    fn follow(&mut self, id: NodeId) {
        let Ok(socket) = self.control_socket(id) else { return };
        if let Err(error) = self.events.follow(id, &socket) {
            // Its events only explain; that they are missing is part of the explanation.
            let what = format!("its events cannot be followed: {error}");
            let time = clock::monotonic();
            self.faults.push(Happening { time, node: Some(id), group: None, what, kind: HappeningKind::Daemon });
        }
    }

    fn router(&self, id: NodeId) -> Result<&'p Router, NetworkError> {
        let node = self.plan.node(id);
        node.router().ok_or_else(|| NetworkError::Unsupported {
            what: "what only a router has".into(),
            by: format!("the host {}", node.name),
        })
    }

    /// The control socket of a router-core.
    fn control_socket(&self, id: NodeId) -> Result<PathBuf, NetworkError> {
        let by = match self.router(id)?.daemon {
            Daemon::RouterCore => {
                return Ok(self
                    .places
                    .state
                    .join(lab::file::NODES)
                    .join(&self.plan.node(id).name)
                    .join("control.sock"));
            }
            Daemon::Smcroute => "smcroute",
            Daemon::Frr => "FRR",
            Daemon::Pimd => "pimd",
            Daemon::Exec(_) => "a program of the user's own",
        };
        Err(NetworkError::Unsupported { what: "asking a daemon what it knows".into(), by: by.into() })
    }

    fn ask(&self, id: NodeId, what: Show) -> Result<Shown, NetworkError> {
        let socket = self.control_socket(id)?;
        let ask = || -> Result<Shown, ClientError> { Client::connect(&socket, events::ANSWER)?.show(what) };
        ask().map_err(|error| failed(format!("ask {} for its {}", self.plan.node(id).name, what.word()), error))
    }

    /// The socket on which FRR's pimd answers.
    fn frr_socket(&self, id: NodeId) -> PathBuf {
        let node = self.places.state.join(lab::file::NODES).join(&self.plan.node(id).name);
        node.join(daemon::frr::DIRECTORY).join(daemon::frr::PIM_VTY)
    }

    fn ask_frr(&self, id: NodeId, command: &str) -> Result<serde_json::Value, NetworkError> {
        frr::ask_json(&self.frr_socket(id), command, events::ANSWER)
            .map_err(|error| failed(format!("ask {} for its {command:?}", self.plan.node(id).name), error))
    }

    fn traffic_place(&self, host: NodeId) -> traffic::Place {
        let name = self.plan.node(host).name.clone();
        let netns = Some(self.places.namespaces.join(&name));
        traffic::Place { host, name, netns }
    }

    /// The kernel indexes of a host's interfaces that have an address of a group's family.
    fn interfaces_for(&self, host: NodeId, group: IpAddr) -> Result<Vec<u32>, NetworkError> {
        let node = self.plan.node(host);
        let usable = node.interfaces.iter().filter(|interface| interface.address_like(group).is_some());
        let indexes: Vec<u32> = usable.map(|interface| interface.index).collect();
        if indexes.is_empty() {
            let family = if group.is_ipv6() { "IPv6" } else { "IPv4" };
            return Err(failed(format!("use group {group} on {}", node.name), format!("it has no {family} address")));
        }
        Ok(indexes)
    }

    fn stream(&self, name: &str) -> Option<StreamId> {
        self.streams.get(name).copied()
    }

    /// Takes in what the kernel has put into the taps' rings, unless that was done just now.
    fn refresh(&self) {
        let now = clock::monotonic();
        if now.since(self.refreshed.get()) >= PACE {
            self.refreshed.set(now);
            self.taps.refresh();
        }
    }

    fn apply(&mut self, change: Change, broken: bool) -> Result<(), OperateError> {
        match change {
            Change::Carrier(at) => self.operator.set_carrier(at, !broken),
            Change::Admin(at) => self.operator.set_up(at, !broken),
            Change::Out(at) => self.operator.cut(at, Direction::Out, broken),
            Change::In(at) => self.operator.cut(at, Direction::In, broken),
        }
    }

    fn note(&mut self, time: Time, node: Option<NodeId>, what: String) {
        self.faults.push(Happening { time, node, group: None, what, kind: HappeningKind::Fault });
    }

    fn tell_agent(&mut self, message: &agent::Message) {
        let socket = self.places.state.join("agent.sock");
        if let Err(error) = agent::tell(&socket, message) {
            self.doubts.push(format!("the route agent could not be told of a silent cut: {error}"));
        }
    }

    /// Tells the route agent of silent cuts whose time has come.
    fn tell_due(&mut self) {
        for message in self.cuts.take_due(clock::monotonic()) {
            self.tell_agent(&message);
        }
    }

    fn daemon(&mut self, router: NodeId, verb: supervisor::Verb) -> Result<Time, NetworkError> {
        self.router(router)?;
        let name = &self.plan.node(router).name;
        let time = clock::monotonic();
        supervisor::daemon(&self.lab, name, verb).map_err(|error| failed(format!("{} {name}", verb.word()), error))?;
        self.note(time, Some(router), format!("its daemon was {}", verb.done()));
        Ok(time)
    }
}

impl Network for KernelNetwork<'_> {
    fn now(&self) -> Time {
        clock::monotonic()
    }

    fn run_until(
        &mut self,
        deadline: Time,
        done: &mut dyn FnMut(&mut Self) -> Result<bool, NetworkError>,
    ) -> Result<bool, NetworkError> {
        loop {
            let seen = self.notifier.generation();
            self.tell_due();
            self.refreshed.set(Time::ZERO);
            self.refresh();
            let began = clock::monotonic();
            if done(self)? {
                return Ok(true);
            }
            if began >= deadline {
                return Ok(false);
            }
            let next = self.cuts.next_due().map_or(deadline, |due| due.min(deadline));
            let wait = |until: Time| until.since(clock::monotonic());
            self.notifier.wait(seen, wait(next).min(HEARTBEAT));
            // Under a fast stream something changes all the time: look once a millisecond.
            let rest = wait(deadline.min(began + PACE));
            if !rest.is_zero() {
                std::thread::sleep(rest);
            }
        }
    }

    fn join(&mut self, host: NodeId, group: IpAddr, filter: &SourceFilter) -> Result<Time, NetworkError> {
        let place = self.traffic_place(host);
        let mut first = None;
        for interface in self.interfaces_for(host, group)? {
            let joined = self.traffic.join(&place, interface, group, filter);
            let time = joined.map_err(|error| failed(format!("join {group} at {}", place.name), error))?;
            first.get_or_insert(time);
        }
        Ok(first.unwrap_or_else(clock::monotonic))
    }

    fn leave(&mut self, host: NodeId, group: IpAddr) -> Result<Time, NetworkError> {
        let place = self.traffic_place(host);
        let mut first = None;
        for interface in self.interfaces_for(host, group)? {
            let left = self.traffic.leave(&place, interface, group);
            let time = left.map_err(|error| failed(format!("leave {group} at {}", place.name), error))?;
            first.get_or_insert(time);
        }
        Ok(first.unwrap_or_else(clock::monotonic))
    }

    fn start(&mut self, stream: &Stream) -> Result<(), NetworkError> {
        let what = || format!("start stream {}", stream.name);
        if self.streams.contains_key(&stream.name) {
            return Err(failed(what(), "there was one of this name already"));
        }
        let node = self.plan.node(stream.from);
        let interface = node.interfaces.get(stream.interface);
        let interface = interface.ok_or_else(|| failed(what(), format!("{} has no such interface", node.name)))?;
        let spec = StreamSpec {
            name: stream.name.clone(),
            interface: interface.index,
            source: interface.address_like(stream.group),
            group: stream.group,
            groups: stream.groups,
            port: stream.port,
            rate: stream.rate,
            size: stream.size,
            ttl: stream.ttl,
            count: stream.count,
            burst: stream.burst,
        };
        let place = self.traffic_place(stream.from);
        let id = self.traffic.start(&place, &spec).map_err(|error| failed(what(), error))?;
        self.streams.insert(stream.name.clone(), id);
        Ok(())
    }

    fn stop(&mut self, stream: &str) -> Result<(), NetworkError> {
        let what = || format!("stop stream {stream}");
        let id = self.stream(stream).ok_or_else(|| failed(what(), "it was never started"))?;
        self.traffic.stop(id).map_err(|error| failed(what(), error))
    }

    fn fail(&mut self, cut: &Cut) -> Result<Time, NetworkError> {
        let wire = &self.plan.wire(cut.wire).name;
        let at = cut.end.map_or_else(|| wire.clone(), |end| format!("{wire} at {}", self.plan.name_of(end)));
        let (what, said) = match cut.how {
            CutKind::Carrier => (format!("take the carrier of {at}"), format!("{at} lost its carrier")),
            CutKind::Silent => (format!("cut {at}"), format!("{at} was cut silently")),
            CutKind::Admin => (format!("take down {at}"), format!("{at} was taken down")),
        };
        let changes = faults::changes(self.plan, cut);
        for Change::Carrier(at) | Change::Admin(at) | Change::Out(at) | Change::In(at) in &changes {
            self.operator.prepare(*at).map_err(|error| failed(&what, error))?;
        }
        let time = clock::monotonic();
        for change in &changes {
            self.apply(*change, true).map_err(|error| failed(&what, error))?;
        }
        self.cuts.add(cut, changes, time);
        self.note(time, cut.end.map(|end| end.node), said);
        Ok(time)
    }

    fn mistreat(&mut self, how: &Mistreatment) -> Result<Time, NetworkError> {
        let wire = &self.plan.wire(how.wire).name;
        Err(NetworkError::Unsupported {
            what: format!("`impair` of {wire}"),
            by: "a lab, where wires are as the file has them".into(),
        })
    }

    fn lose(&mut self, loss: &MessageLoss) -> Result<LossId, NetworkError> {
        let wire = self.plan.wire(loss.wire);
        let ends = loss.from.map_or_else(|| wire.ends.clone(), |from| vec![from]);
        let what = || format!("drop {} into {}", loss.message.name(), wire.name);
        let id = self.losses.add(loss, ends.clone());
        let time = clock::monotonic();
        for end in ends {
            self.operator.drop_next(end, losses::drops(id, loss)).map_err(|error| failed(what(), error))?;
        }
        let from = loss.from.map(|from| format!(" from {}", self.plan.name_of(from))).unwrap_or_default();
        let next = if loss.count == 1 { "the next".to_owned() } else { format!("the next {}", loss.count) };
        let said = format!("{next} {}{from} into {} will be lost", loss.message.name(), wire.name);
        self.note(time, loss.from.map(|from| from.node), said);
        Ok(id)
    }

    fn dropped(&mut self, loss: LossId) -> Result<u64, NetworkError> {
        self.losses
            .dropped(loss, &mut self.operator)
            .map_err(|error| failed("count the messages that were lost", error))
    }

    fn restore(&mut self, wire: WireId, end: Option<crate::topology::plan::Attachment>) -> Result<Time, NetworkError> {
        let name = &self.plan.wire(wire).name;
        self.losses.end(wire, end, &mut self.operator).map_err(|error| failed(format!("restore {name}"), error))?;
        let (undo, messages) = self.cuts.remove(wire, end);
        let time = clock::monotonic();
        for change in undo {
            self.apply(change, false).map_err(|error| failed(format!("restore {name}"), error))?;
        }
        for message in messages {
            self.tell_agent(&message);
        }
        self.note(time, end.map(|end| end.node), format!("{name} was restored"));
        Ok(time)
    }

    fn kill(&mut self, router: NodeId) -> Result<Time, NetworkError> {
        self.daemon(router, supervisor::Verb::Kill)
    }

    fn restart(&mut self, router: NodeId) -> Result<Time, NetworkError> {
        let time = self.daemon(router, supervisor::Verb::Restart)?;
        self.follow(router);
        Ok(time)
    }

    fn pause(&mut self, router: NodeId) -> Result<Time, NetworkError> {
        self.daemon(router, supervisor::Verb::Pause)
    }

    fn resume(&mut self, router: NodeId) -> Result<Time, NetworkError> {
        self.daemon(router, supervisor::Verb::Resume)
    }

    fn run(&mut self, at: Place, command: &[String], limit: Duration) -> Result<CommandOutput, NetworkError> {
        let namespace = match at {
            Place::Node(node) => self.plan.node(node).name.clone(),
            Place::Lan(lan) => super::lan_namespace(self.plan, lan),
        };
        let what = || format!("run {} in {namespace}", command.join(" "));
        supervisor::run(&self.lab, &namespace, command, limit).map_err(|error| failed(what(), error))
    }

    fn sent(&self, stream: &str) -> Vec<Time> {
        self.sent_from(stream, 0)
    }

    fn sent_from(&self, stream: &str, skip: usize) -> Vec<Time> {
        self.stream(stream).map_or_else(Vec::new, |id| self.traffic.sent(id, skip))
    }

    fn arrivals(&self, stream: &str, host: NodeId) -> Vec<Arrival> {
        self.arrivals_from(stream, host, 0)
    }

    fn arrivals_from(&self, stream: &str, host: NodeId, skip: usize) -> Vec<Arrival> {
        self.stream(stream).map_or_else(Vec::new, |id| self.traffic.arrivals(id, host, skip))
    }

    fn sightings(&self, stream: &str, wire: WireId) -> Vec<Sighting> {
        let mut sightings = self.sightings_from(stream, wire, 0);
        sightings.sort_by_key(|sighting| sighting.time);
        sightings
    }

    fn sightings_from(&self, stream: &str, wire: WireId, skip: usize) -> Vec<Sighting> {
        self.refresh();
        self.stream(stream).map_or_else(Vec::new, |id| self.taps.with(|store| store.sightings(id, wire, skip)))
    }

    fn group_counts(&self, wire: WireId) -> Vec<GroupCount> {
        self.refresh();
        self.taps.with(|store| store.flows(wire))
    }

    fn control(&self, wire: WireId) -> Vec<ControlSighting> {
        self.refresh();
        self.taps.with(|store| store.control(wire))
    }

    fn malformed(&self, wire: WireId) -> Vec<Malformed> {
        self.refresh();
        self.taps.with(|store| store.malformed(wire))
    }

    fn entries(&mut self, router: NodeId) -> Result<Vec<Entry>, NetworkError> {
        self.router(router)?;
        let node = self.plan.node(router);
        let what = || format!("read the forwarding entries of {}", node.name);
        if !self.readers.contains_key(&router) {
            let reader = entries::Reader::open(&self.places.namespaces.join(&node.name));
            self.readers.insert(router, reader.map_err(|error| failed(what(), error))?);
        }
        let Some(reader) = self.readers.get_mut(&router) else { return Ok(Vec::new()) };
        Ok(entries::of_node(reader.read().map_err(|error| failed(what(), error))?, node))
    }

    fn memberships(&mut self, router: NodeId) -> Result<Vec<Membership>, NetworkError> {
        if self.router(router)?.daemon == Daemon::Frr {
            let groups = self.ask_frr(router, "show ip igmp groups json")?;
            let sources = self.ask_frr(router, "show ip igmp sources json")?;
            return Ok(frr::memberships(self.plan.node(router), &groups, &sources));
        }
        let Shown::Groups(groups) = self.ask(router, Show::Groups)? else {
            return Err(failed("ask a router for its groups", "it answered something else"));
        };
        Ok(answers::memberships(self.plan.node(router), groups))
    }

    fn neighbours(&mut self, router: NodeId) -> Result<Vec<Neighbour>, NetworkError> {
        if self.router(router)?.daemon == Daemon::Frr {
            let answer = self.ask_frr(router, "show ip pim neighbor json")?;
            return Ok(frr::neighbours(self.plan.node(router), &answer));
        }
        let Shown::Neighbours(neighbours) = self.ask(router, Show::Neighbours)? else {
            return Err(failed("ask a router for its neighbours", "it answered something else"));
        };
        Ok(answers::neighbours(self.plan.node(router), neighbours))
    }

    fn designated_routers(&mut self, router: NodeId) -> Result<Vec<DesignatedRouter>, NetworkError> {
        if self.router(router)?.daemon == Daemon::Frr {
            let answer = self.ask_frr(router, "show ip pim interface json")?;
            return Ok(frr::designated_routers(self.plan.node(router), &answer));
        }
        let Shown::Interfaces(interfaces) = self.ask(router, Show::Interfaces)? else {
            return Err(failed("ask a router for its interfaces", "it answered something else"));
        };
        Ok(answers::designated_routers(self.plan.node(router), interfaces))
    }

    fn rendezvous_point(&mut self, router: NodeId, group: IpAddr) -> Result<Option<IpAddr>, NetworkError> {
        if self.router(router)?.daemon == Daemon::Frr {
            return Ok(frr::rendezvous_point(&self.ask_frr(router, "show ip pim rp-info json")?, group));
        }
        let Shown::Rp(mappings) = self.ask(router, Show::RpOf(group))? else {
            return Err(failed("ask a router for a rendezvous point", "it answered something else"));
        };
        Ok(mappings.first().map(|mapping| mapping.rp))
    }

    fn most_held(&mut self, router: NodeId) -> Option<Held> {
        if self.router(router).ok()?.daemon != Daemon::RouterCore {
            return None;
        }
        match self.ask(router, Show::State) {
            Ok(Shown::State(state)) => Some(state.most),
            _ => None,
        }
    }

    fn beliefs(&mut self, router: NodeId, group: IpAddr) -> Vec<String> {
        if self.router(router).is_ok_and(|of| of.daemon == Daemon::Frr) {
            return frr::beliefs(group, |command| frr::ask_json(&self.frr_socket(router), command, events::ANSWER));
        }
        answers::beliefs(group, |what| self.ask(router, what))
    }

    fn happenings(&self) -> Vec<Happening> {
        let mut all = self.events.happenings();
        all.extend(self.faults.iter().cloned());
        let mut log = self.route_log.lock().unwrap_or_else(PoisonError::into_inner);
        match log.read(self.plan) {
            Ok(records) => all.extend_from_slice(records),
            Err(error) => all.push(Happening {
                time: clock::monotonic(),
                node: None,
                group: None,
                what: format!("the route agent's log cannot be read: {error}"),
                kind: HappeningKind::Routes,
            }),
        }
        all.sort_by_key(|happening| happening.time);
        all
    }

    fn capture(&self, wire: WireId) -> Option<PathBuf> {
        self.taps.capture(wire)
    }

    fn held_up(&self) -> Duration {
        self.congestion.total()
    }

    fn doubts(&self) -> Vec<String> {
        let mut doubts = self.traffic.doubts();
        doubts.extend(self.taps.doubts(self.plan));
        doubts.extend(self.doubts.iter().cloned());
        if self.events.refused() > 0 {
            doubts.push(format!("{} events of routers were not kept", self.events.refused()));
        }
        doubts
    }
}
