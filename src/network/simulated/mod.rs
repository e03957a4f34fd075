//! [`SimulatedNetwork`]: a network in virtual time, with the same `Router` machines that run on the kernel.
//!
//! It is made of a plan alone, in one thread, without files, sockets, the machine's clock or anything global: equal plans (their seeds
//! included) give equal runs, and making one is cheap enough for a search that makes thousands.
#![forbid(unsafe_code)]

pub mod cache;
mod engine;
mod faults;
pub mod host;
pub mod lan;
mod observe;
mod octets;
pub mod queue;
mod routed;
mod router;
mod streams;
mod tape;
mod unicast;
pub mod wire;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use router_core::coverage::Coverage;
use router_core::show::{Show, Shown};

use self::engine::{Engine, Event, Role};
use self::streams::Stream as Running;
use crate::network::answers;
use crate::network::{
    Arrival, CommandOutput, ControlSighting, DesignatedRouter, Entry, GroupCount, Happening, HappeningKind, Held,
    LossId, Malformed, Membership, Neighbour, Network, NetworkError, Sighting, Time,
};
use crate::observe::capture::CaptureError;
use crate::topology::plan::{Attachment, Daemon, NodeId, Plan, WireId};
use crate::topology::steps::{
    Action, Cut, Expectation, MessageLoss, Mistreatment, Place, Scenario, SourceFilter, Stream,
};

/// What this network calls itself in messages.
const NAME: &str = "the simulator";
/// From the start of the routers' daemons to the moment when a scenario may begin.
const LEAD: Duration = Duration::from_millis(150);
/// The longest that a daemon may take to be ready.
const READY_MAX: Duration = Duration::from_secs(30);
/// From the call that starts a stream to its first packet. On the kernel joins take milliseconds, so that members may or may not be known
/// by then; here a join takes no time, and the stream waits. Streams that start together wait together.
const START_CALL: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(14));
/// What a call takes that sends a packet: by its end, the kernel has brought the packet as far as it comes without anybody's help.
const SEND_CALL: Duration = Duration::from_micros(250);
/// How much longer a busy machine takes until a process has its turn: up to some milliseconds.
const BUSY: u32 = 30;
/// Least time between two looks at what is waited for.
const PACE: Duration = Duration::from_millis(1);
/// Most time between them just after something has changed, and at all.
const LOOK_LEAST: Duration = Duration::from_millis(10);
const LOOK_MOST: Duration = Duration::from_secs(1);

/// A network in virtual time.
#[derive(Debug)]
pub struct SimulatedNetwork<'p> {
    engine: Engine<'p>,
    /// When streams were started last, and when their first packets are due.
    started: Option<(Time, Time)>,
}

/// What of a plan the simulator cannot run, a line each: routers whose daemon is not router-core.
pub fn refusals(plan: &Plan) -> Vec<String> {
    let foreign = |daemon: &Daemon| match daemon {
        Daemon::RouterCore => None,
        Daemon::Smcroute => Some("smcroute"),
        Daemon::Frr => Some("FRR"),
        Daemon::Pimd => Some("pimd"),
        Daemon::Exec(_) => Some("a program of the file's own"),
    };
    let refusal = |node: &crate::topology::plan::Node| {
        let what = foreign(&node.router()?.daemon)?;
        Some(format!(
            "{}: {what} does not run in {NAME}; --substitute router-core puts router-core in its place",
            node.name
        ))
    };
    plan.nodes.iter().filter_map(refusal).collect()
}

/// Why the simulator leaves a scenario out: it has a step that runs a command.
pub fn leaves_out(scenario: &Scenario) -> Option<String> {
    let runs = |action: &Action| matches!(action, Action::Run { .. } | Action::Expect(Expectation::Command { .. }));
    let step = scenario.steps.iter().find(|step| runs(&step.action))?;
    Some(format!("left out: {NAME} runs no commands (line {}: {})", step.line, step.text))
}

fn failed(what: impl Into<String>, why: impl std::fmt::Display) -> NetworkError {
    NetworkError::Failed { what: what.into(), why: why.to_string() }
}

impl<'p> SimulatedNetwork<'p> {
    /// The network of a plan, a moment after all of its routers have started. Every router runs router-core, whatever the plan names.
    pub fn new(plan: &'p Plan) -> SimulatedNetwork<'p> {
        SimulatedNetwork::with(plan, 1)
    }

    /// The same on a machine whose processors others use as well: daemons, news and the route agent come late.
    pub fn on_a_busy_machine(plan: &'p Plan) -> SimulatedNetwork<'p> {
        SimulatedNetwork::with(plan, BUSY)
    }

    fn with(plan: &'p Plan, slowness: u32) -> SimulatedNetwork<'p> {
        let mut engine = Engine::new(plan);
        engine.slowness = slowness;
        for address in routed::awaited(plan) {
            engine.ask_for_route(address);
        }
        for id in plan.node_ids().filter(|id| plan.node(*id).is_router()) {
            engine.schedule_start(id);
        }
        let mut network = SimulatedNetwork { engine, started: None };
        let begin = network.now() + LEAD;
        network.pass(begin);
        network
    }

    /// A number that everything that has happened so far has made: equal runs have equal ones.
    pub fn trace(&self) -> u64 {
        self.engine.trace()
    }

    /// Which pairs of a state and an event the machines of all routers have been through.
    pub fn coverage(&self) -> Coverage {
        self.engine.coverage()
    }

    /// Keeps captures of all wires in an existing directory from now on, as the kernel's network does: `WIRE.pcapng`. Their stamps are virtual time.
    ///
    /// # Errors
    /// [`CaptureError`] if a file cannot be made.
    pub fn keep_captures(&mut self, directory: &Path) -> Result<(), CaptureError> {
        self.engine.tape = Some(Box::new(tape::Tape::new(self.plan(), directory)?));
        Ok(())
    }

    /// Completes the captures. Gives what is missing of them, a sentence each.
    pub fn end_captures(&mut self) -> Vec<String> {
        self.engine.tape.take().map(|tape| tape.finish()).unwrap_or_default()
    }

    /// What a node does to the frames that it sends into a wire from now on.
    pub fn impair(&mut self, at: Attachment, impairment: wire::Impairment) {
        self.engine.port(at).egress.impairment = impairment;
    }

    /// Lets time pass.
    fn pass(&mut self, until: Time) {
        while self.engine.step(until) {}
        self.engine.now = self.engine.now.max(until);
    }

    fn plan(&self) -> &'p Plan {
        self.engine.plan
    }

    fn router(&self, id: NodeId) -> Result<(), NetworkError> {
        let node = self.plan().node(id);
        if node.is_router() {
            return Ok(());
        }
        Err(NetworkError::Unsupported { what: "what only a router has".into(), by: format!("the host {}", node.name) })
    }

    /// The interfaces of a host that have an address of a group's family.
    fn interfaces_for(&self, host: NodeId, group: IpAddr) -> Result<Vec<Attachment>, NetworkError> {
        let node = self.plan().node(host);
        let usable =
            node.interfaces.iter().enumerate().filter(|(_, interface)| interface.address_like(group).is_some());
        let found: Vec<Attachment> = usable.map(|(interface, _)| Attachment { node: host, interface }).collect();
        if found.is_empty() {
            let family = if group.is_ipv6() { "IPv6" } else { "IPv4" };
            return Err(failed(format!("use group {group} on {}", node.name), format!("it has no {family} address")));
        }
        Ok(found)
    }

    fn is_member(&self, host: NodeId, group: IpAddr) -> bool {
        let node = &self.engine.nodes[host.0];
        match (group, &node.role) {
            (IpAddr::V4(group), _) => node.ports.iter().any(|port| port.igmp.groups().contains(&group)),
            (group, Role::Host(joined)) => joined.keys().any(|(_, of)| *of == group),
            (_, Role::Router(_)) => false,
        }
    }

    fn set_filter(&mut self, host: NodeId, group: IpAddr, filter: &SourceFilter) -> Result<Time, NetworkError> {
        let now = self.now();
        for at in self.interfaces_for(host, group)? {
            match group {
                IpAddr::V4(group) => {
                    self.engine.port(at).igmp.set_filter(now, group, filter.clone());
                    self.engine.speak_igmp(at);
                }
                group => {
                    let Role::Host(joined) = &mut self.engine.nodes[host.0].role else { continue };
                    joined.insert((at.interface, group), filter.clone());
                    joined.retain(|_, filter| !filter.is_nothing());
                }
            }
        }
        self.engine.has_changed = true;
        Ok(now)
    }

    fn stream(&self, name: &str) -> Option<&Running> {
        self.engine.streams.iter().find(|stream| stream.spec.name == name)
    }

    fn ask(&self, id: NodeId, what: Show) -> Result<Shown, NetworkError> {
        self.router(id)?;
        let name = &self.plan().node(id).name;
        let machine = match &self.engine.nodes[id.0].role {
            Role::Router(shell) => shell.machine(),
            Role::Host(_) => None,
        };
        let machine = machine
            .ok_or_else(|| failed(format!("ask {name} for its {}", what.word()), "its daemon does not answer"))?;
        Ok(machine.show(self.now(), what))
    }

    fn done_to(&mut self, router: NodeId, what: &str) {
        self.engine.say(Some(router), HappeningKind::Fault, format!("its daemon was {what}"));
    }
}

impl Network for SimulatedNetwork<'_> {
    fn now(&self) -> Time {
        self.engine.now
    }

    fn run_until(
        &mut self,
        deadline: Time,
        done: &mut dyn FnMut(&mut Self) -> Result<bool, NetworkError>,
    ) -> Result<bool, NetworkError> {
        let mut changed_at = self.now();
        loop {
            if done(self)? {
                return Ok(true);
            }
            let looked = self.now();
            if looked >= deadline {
                return Ok(false);
            }
            self.engine.has_changed = false;
            // The longer nothing has changed, the less often what depends on time alone is looked at.
            let quiet = looked.since(changed_at) / 8;
            let look = (looked + quiet.clamp(LOOK_LEAST, LOOK_MOST)).min(deadline);
            let pace = (looked + PACE).min(deadline);
            loop {
                if self.engine.has_changed {
                    changed_at = self.now();
                    // All that comes within the pace is looked at together.
                    let until = pace.max(changed_at);
                    self.pass(until);
                    break;
                }
                if !self.engine.step(look) {
                    self.engine.now = self.engine.now.max(look);
                    break;
                }
            }
        }
    }

    fn pass_until(&mut self, deadline: Time) -> Result<(), NetworkError> {
        self.pass(deadline);
        Ok(())
    }

    fn join(&mut self, host: NodeId, group: IpAddr, filter: &SourceFilter) -> Result<Time, NetworkError> {
        let what = || format!("join {group} at {}", self.plan().node(host).name);
        if !group.is_multicast() {
            return Err(failed(what(), "it is no multicast address"));
        }
        let (SourceFilter::Include(sources) | SourceFilter::Exclude(sources)) = filter;
        if sources.iter().any(|source| source.is_ipv6() != group.is_ipv6()) {
            return Err(failed(what(), "its sources are of another address family"));
        }
        if let SourceFilter::Include(sources) = filter {
            // Routers will look for the way to them, whether they send or not.
            for source in sources {
                self.engine.ask_for_route(*source);
            }
        }
        self.set_filter(host, group, filter)
    }

    fn leave(&mut self, host: NodeId, group: IpAddr) -> Result<Time, NetworkError> {
        if !self.is_member(host, group) {
            let what = format!("leave {group} at {}", self.plan().node(host).name);
            return Err(failed(what, "it is no member"));
        }
        self.set_filter(host, group, &SourceFilter::nothing())
    }

    fn start(&mut self, stream: &Stream) -> Result<(), NetworkError> {
        let what = || format!("start stream {}", stream.name);
        if self.stream(&stream.name).is_some() {
            return Err(failed(what(), "there was one of this name already"));
        }
        let node = self.plan().node(stream.from);
        let interface = node.interfaces.get(stream.interface);
        let interface = interface.ok_or_else(|| failed(what(), format!("{} has no such interface", node.name)))?;
        let source = interface.address_like(stream.group);
        let source = source.ok_or_else(|| failed(what(), format!("{} has no address of its family", node.name)))?;
        let now = self.now();
        // Routers will look for the way to it.
        self.engine.ask_for_route(source);
        let number = self.engine.streams.len();
        let first = match self.started {
            Some((called, first)) if called == now => first,
            _ => now + engine::between(&mut self.engine.random, START_CALL),
        };
        self.started = Some((now, first));
        self.engine.streams.push(Running::new(self.engine.plan, first, stream, source));
        self.engine.queue.push(first, Event::Tick(number));
        Ok(())
    }

    fn stop(&mut self, stream: &str) -> Result<(), NetworkError> {
        let running = self.engine.streams.iter_mut().find(|running| running.spec.name == stream);
        let running = running.ok_or_else(|| failed(format!("stop stream {stream}"), "it was never started"))?;
        running.is_over = true;
        Ok(())
    }

    fn fail(&mut self, cut: &Cut) -> Result<Time, NetworkError> {
        self.engine.cut(cut);
        Ok(self.now())
    }

    fn lose(&mut self, loss: &MessageLoss) -> Result<LossId, NetworkError> {
        Ok(LossId(self.engine.lose(loss)))
    }

    fn dropped(&mut self, loss: LossId) -> Result<u64, NetworkError> {
        Ok(self.engine.losses.get(loss.0).map_or(0, |losing| losing.taken))
    }

    fn mistreat(&mut self, how: &Mistreatment) -> Result<Time, NetworkError> {
        self.engine.mistreat(how);
        Ok(self.now())
    }

    fn restore(&mut self, wire: WireId, end: Option<Attachment>) -> Result<Time, NetworkError> {
        self.engine.mend(wire, end);
        Ok(self.now())
    }

    fn kill(&mut self, router: NodeId) -> Result<Time, NetworkError> {
        self.router(router)?;
        self.engine.kill_daemon(router);
        self.done_to(router, "killed");
        Ok(self.now())
    }

    fn restart(&mut self, router: NodeId) -> Result<Time, NetworkError> {
        self.router(router)?;
        let time = self.now();
        self.engine.kill_daemon(router);
        self.engine.schedule_start(router);
        self.done_to(router, "restarted");
        let limit = time + READY_MAX;
        while !self.engine.shell(router).is_some_and(|shell| shell.is_ready) {
            if !self.engine.step(limit) {
                let what = format!("restart the daemon of {}", self.plan().node(router).name);
                return Err(failed(what, "it did not get ready"));
            }
        }
        Ok(time)
    }

    fn pause(&mut self, router: NodeId) -> Result<Time, NetworkError> {
        self.router(router)?;
        self.engine.pause_daemon(router, true);
        self.done_to(router, "paused");
        Ok(self.now())
    }

    fn resume(&mut self, router: NodeId) -> Result<Time, NetworkError> {
        self.router(router)?;
        self.engine.pause_daemon(router, false);
        self.done_to(router, "resumed");
        Ok(self.now())
    }

    fn run(&mut self, _at: Place, command: &[String], _limit: Duration) -> Result<CommandOutput, NetworkError> {
        Err(NetworkError::Unsupported { what: format!("running {}", command.join(" ")), by: NAME.into() })
    }

    fn sent(&self, stream: &str) -> Vec<Time> {
        self.sent_from(stream, 0)
    }

    fn sent_from(&self, stream: &str, skip: usize) -> Vec<Time> {
        let Some(running) = self.stream(stream) else { return Vec::new() };
        let told = running.sent.partition_point(|sent| *sent + SEND_CALL <= self.now());
        running.sent.get(skip..told).map(<[Time]>::to_vec).unwrap_or_default()
    }

    fn arrivals(&self, stream: &str, host: NodeId) -> Vec<Arrival> {
        self.arrivals_from(stream, host, 0)
    }

    fn arrivals_from(&self, stream: &str, host: NodeId, skip: usize) -> Vec<Arrival> {
        self.stream(stream).map(|stream| stream.arrivals(host, skip)).unwrap_or_default()
    }

    fn sightings(&self, stream: &str, wire: WireId) -> Vec<Sighting> {
        let mut sightings = self.sightings_from(stream, wire, 0);
        sightings.sort_by_key(|sighting| sighting.time);
        sightings
    }

    fn sightings_from(&self, stream: &str, wire: WireId, skip: usize) -> Vec<Sighting> {
        self.stream(stream).map(|stream| stream.sightings(self.plan(), wire, skip)).unwrap_or_default()
    }

    fn group_counts(&self, wire: WireId) -> Vec<GroupCount> {
        self.engine.streams.iter().flat_map(|stream| stream.counts(self.plan(), wire)).collect()
    }

    fn control(&self, wire: WireId) -> Vec<ControlSighting> {
        self.engine.observed.control(self.plan(), wire)
    }

    fn control_count(&self, wire: WireId) -> usize {
        self.engine.observed.control_count(self.plan(), wire)
    }

    fn malformed(&self, wire: WireId) -> Vec<Malformed> {
        self.engine.observed.malformed(self.plan(), wire)
    }

    fn entries(&mut self, router: NodeId) -> Result<Vec<Entry>, NetworkError> {
        self.router(router)?;
        Ok(self.engine.entries(router))
    }

    fn memberships(&mut self, router: NodeId) -> Result<Vec<Membership>, NetworkError> {
        let Shown::Groups(groups) = self.ask(router, Show::Groups)? else { return Ok(Vec::new()) };
        Ok(answers::memberships(self.plan().node(router), groups))
    }

    fn neighbours(&mut self, router: NodeId) -> Result<Vec<Neighbour>, NetworkError> {
        let Shown::Neighbours(neighbours) = self.ask(router, Show::Neighbours)? else { return Ok(Vec::new()) };
        Ok(answers::neighbours(self.plan().node(router), neighbours))
    }

    fn designated_routers(&mut self, router: NodeId) -> Result<Vec<DesignatedRouter>, NetworkError> {
        let Shown::Interfaces(interfaces) = self.ask(router, Show::Interfaces)? else { return Ok(Vec::new()) };
        Ok(answers::designated_routers(self.plan().node(router), interfaces))
    }

    fn rendezvous_point(&mut self, router: NodeId, group: IpAddr) -> Result<Option<IpAddr>, NetworkError> {
        let Shown::Rp(mappings) = self.ask(router, Show::RpOf(group))? else { return Ok(None) };
        Ok(mappings.first().map(|mapping| mapping.rp))
    }

    fn most_held(&mut self, router: NodeId) -> Option<Held> {
        self.engine.shell(router).map(|shell| shell.most_held())
    }

    fn beliefs(&mut self, router: NodeId, group: IpAddr) -> Vec<String> {
        answers::beliefs(group, |what| self.ask(router, what))
    }

    fn happenings(&self) -> Vec<Happening> {
        self.engine.observed.happenings(answers::describe)
    }

    fn capture(&self, wire: WireId) -> Option<PathBuf> {
        self.engine.tape.as_ref()?.path(wire)
    }

    fn doubts(&self) -> Vec<String> {
        let mut doubts = self.engine.observed.doubts();
        let overflowed = self.engine.streams.iter().filter(|stream| stream.overflowed);
        doubts.extend(overflowed.map(|stream| {
            let (name, most) = (&stream.spec.name, streams::SENT_MAX);
            format!("stream {name} ended after {most} packets: no more can be recorded")
        }));
        doubts
    }
}

#[cfg(test)]
mod tests;
