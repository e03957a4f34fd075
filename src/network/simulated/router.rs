//! What stands between a router's kernel and its `Router`, as `router-core/src/linux/` does: interfaces, routes, upcalls, memberships, counters;
//! and the life of the process.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use router_core::coverage::Coverage;
use router_core::forwarding::{EntryKey, ForwardingEntry};
use router_core::router::{
    Datagram, EventKind, Input, InterfaceId, InterfaceState, Output, Router, SourceFilter, UnicastRoute,
};
use router_core::show::Held;
use router_core::wire::{igmp, pim};

use super::cache::{Cache, REGISTER};
use super::engine::{Engine, Event, Frame, Role, before_long, between, octets_of};
use super::observe::Control;
use super::streams::Data;
use crate::daemon;
use crate::network::Time;
use crate::topology::plan::{Attachment, NodeId};

/// From a packet in a socket to the daemon at work on it.
const WAKE: (Duration, Duration) = (Duration::from_micros(30), Duration::from_micros(130));
/// From the start of a process to its first step.
const START: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(12));
/// The index of every namespace's loopback interface.
const LOOPBACK: InterfaceId = InterfaceId(1);
/// Messages that wait for a daemon that does not read: a receive buffer of the usual size holds about as many.
const INBOX_MAX: usize = 256;
/// The groups that router-core joins on each multicast interface (`router-core/src/linux/mod.rs`).
const ROUTER_GROUPS: [Ipv4Addr; 2] = [igmp::ALL_ROUTERS, igmp::ALL_V3_ROUTERS];

/// A router's kernel and daemon.
#[derive(Debug, Default)]
pub(super) struct Shell {
    /// The daemon's machine, while it runs; taken out of here by everything that happens to it.
    machine: Option<Box<Router>>,
    /// It is at work, and what it does may come back to it.
    is_at_work: bool,
    /// It is to run: it has been started.
    is_started: bool,
    /// It has said so.
    pub is_ready: bool,
    is_paused: bool,
    inbox: VecDeque<Input>,
    /// Messages that found no room.
    pub lost: u64,
    /// The most that daemons held that are dead.
    past_held: Held,
    wake: Option<Time>,
    timer: Option<Time>,
    pub cache: Cache<Data>,
    /// Room for the interfaces that a packet leaves by.
    pub outgoing: Vec<usize>,
}

impl Shell {
    /// The daemon's machine, while it runs and is not stopped.
    pub fn machine(&self) -> Option<&Router> {
        self.machine.as_deref().filter(|_| !self.is_paused)
    }

    /// The most that it ever held, dead daemons among it.
    pub fn most_held(&self) -> Held {
        self.machine.as_deref().map_or(self.past_held, |machine| self.past_held.max(machine.most_held()))
    }

    fn hears_pim(&self) -> bool {
        self.machine.as_ref().is_some_and(|machine| machine.config().multicast.is_pim())
    }
}

impl Engine<'_> {
    pub fn shell(&mut self, id: NodeId) -> Option<&mut Shell> {
        match &mut self.nodes.get_mut(id.0)?.role {
            Role::Router(shell) => Some(shell),
            Role::Host(_) => None,
        }
    }

    /// Which pairs of a state and an event the machines of all routers have been through.
    pub fn coverage(&self) -> Coverage {
        let mut coverage = self.past.clone();
        for node in &self.nodes {
            if let Role::Router(shell) = &node.role
                && let Some(machine) = &shell.machine
            {
                coverage.merge(&machine.coverage());
            }
        }
        coverage
    }

    /// Starts a router's daemon, which is to be dead.
    pub fn schedule_start(&mut self, id: NodeId) {
        let at = self.now + between(&mut self.nodes[id.0].random, START);
        if let Some(shell) = self.shell(id) {
            shell.is_started = true;
            self.queue.push(at, Event::Start(id));
        }
    }

    /// Ends a router's daemon as SIGKILL does.
    pub fn kill_daemon(&mut self, id: NodeId) {
        let now = self.now;
        let Some(shell) = self.shell(id) else { return };
        let covered = shell.machine.as_deref().map(Router::coverage).unwrap_or_default();
        let (lost, past_held, outgoing) = (shell.lost, shell.most_held(), std::mem::take(&mut shell.outgoing));
        // What was scheduled for it finds nobody.
        *shell = Shell { lost, past_held, outgoing, ..Shell::default() };
        self.past.merge(&covered);
        // Its sockets close, and their memberships end.
        for interface in 0..self.nodes[id.0].ports.len() {
            let at = Attachment { node: id, interface };
            let igmp = &mut self.port(at).igmp;
            for group in igmp.groups() {
                igmp.set_filter(now, group, SourceFilter::nothing());
            }
            self.speak_igmp(at);
        }
        self.has_changed = true;
    }

    /// Stops a router's daemon as SIGSTOP does, or lets it run on.
    pub fn pause_daemon(&mut self, id: NodeId, paused: bool) {
        let Some(shell) = self.shell(id) else { return };
        if std::mem::replace(&mut shell.is_paused, paused) && !paused && shell.machine.is_some() {
            self.wake_soon(id);
        }
    }

    pub(super) fn start_daemon(&mut self, id: NodeId) {
        let Some(shell) = self.shell(id) else { return };
        if !shell.is_started || shell.machine.is_some() {
            return;
        }
        let Ok(config) = daemon::router_core_configuration(self.plan, id) else { return };
        let is_pim = config.multicast.is_pim();
        let Some(shell) = self.shell(id) else { return };
        shell.cache.open(is_pim);
        shell.machine = Some(Box::new(Router::new(config)));
        // The first reading of netlink gives all interfaces and routes.
        let loopback = InterfaceState {
            name: "lo".to_owned(),
            up: true,
            mtu: 65536,
            addresses: self.plan.node(id).loopback.clone(),
        };
        self.handle(id, Input::Interface { interface: LOOPBACK, state: loopback });
        for interface in 0..self.plan.node(id).interfaces.len() {
            let at = Attachment { node: id, interface };
            let (up, carrier) = self.port(at).known;
            let input = self.interface_input(at, up && carrier);
            self.handle(id, input);
        }
        let mut routes = self.unicast.routes_of(self.plan, id);
        for interface in 0..self.plan.node(id).interfaces.len() {
            let at = Attachment { node: id, interface };
            if self.port(at).known == (true, true) {
                routes.extend(self.connected(at));
            }
        }
        for route in routes {
            self.handle(id, Input::RouteAdded(route));
        }
        self.settle(id);
    }

    /// An interface as netlink tells of it.
    pub(super) fn interface_input(&self, at: Attachment, up: bool) -> Input {
        let of = self.plan.interface(at);
        let state = InterfaceState {
            name: of.name.clone(),
            up,
            mtu: self.plan.wire(of.wire).mtu,
            addresses: of.addresses.clone(),
        };
        Input::Interface { interface: InterfaceId(of.index), state }
    }

    /// The routes that the kernel makes of an interface's addresses. IPv6 is nobody's business here.
    pub(super) fn connected(&self, at: Attachment) -> Vec<UnicastRoute> {
        let of = self.plan.interface(at);
        let route = |address: &ipnet::IpNet| UnicastRoute {
            prefix: address.trunc(),
            next_hop: None,
            interface: InterfaceId(of.index),
            metric: 0,
        };
        of.addresses.iter().filter(|address| address.addr().is_ipv4()).map(route).collect()
    }

    /// Puts something where a daemon reads it.
    pub(super) fn tell(&mut self, id: NodeId, input: Input) {
        let Some(shell) = self.shell(id) else { return };
        if shell.machine.is_none() && !shell.is_at_work {
            return;
        }
        if shell.inbox.len() >= INBOX_MAX && !is_state(&input) {
            shell.lost += 1;
            return;
        }
        shell.inbox.push_back(input);
        if !shell.is_paused {
            self.wake_soon(id);
        }
    }

    /// A control message reaches a router; `is_local`: its kernel takes it in.
    pub(super) fn daemon_hears(&mut self, at: Attachment, control: &Arc<Control>, is_local: bool) {
        let source = control.datagram.source;
        let Role::Router(shell) = &self.nodes[at.node.0].role else { return };
        let hears = match control.datagram.protocol {
            // The routing socket gets what has Router Alert, member or not.
            igmp::PROTOCOL => is_local || shell.cache.is_vif(at.interface),
            pim::PROTOCOL => is_local && shell.hears_pim(),
            _ => false,
        };
        if hears && !self.is_own(at.node, source) {
            let interface = InterfaceId(self.plan.interface(at).index);
            self.tell(at.node, Input::Packet { interface, datagram: control.datagram.clone() });
        }
    }

    fn wake_soon(&mut self, id: NodeId) {
        let at = self.now + before_long(&mut self.nodes[id.0].random, WAKE, self.slowness);
        let Some(shell) = self.shell(id) else { return };
        if shell.wake.is_none() {
            shell.wake = Some(at);
            self.queue.push(at, Event::Wake(id));
        }
    }

    /// The daemon reads what is there.
    pub(super) fn wake(&mut self, id: NodeId) {
        let now = self.now;
        let Some(shell) = self.shell(id) else { return };
        if shell.wake != Some(now) {
            return;
        }
        shell.wake = None;
        if shell.is_paused {
            return;
        }
        let mut inbox = std::mem::take(&mut shell.inbox);
        for input in inbox.drain(..) {
            self.handle(id, input);
        }
        // Its room is used again, unless something has come meanwhile.
        if let Some(shell) = self.shell(id).filter(|shell| shell.inbox.is_empty()) {
            shell.inbox = inbox;
        }
        self.settle(id);
    }

    pub(super) fn router_timer(&mut self, id: NodeId) {
        let now = self.now;
        let Some(shell) = self.shell(id) else { return };
        if shell.timer != Some(now) {
            return;
        }
        shell.timer = None;
        if !shell.is_paused {
            self.settle(id);
        }
    }

    /// Runs a daemon's timers that are due, and sees to it that it is called when it wants to be.
    fn settle(&mut self, id: NodeId) {
        let now = self.now;
        let due = |engine: &mut Self| engine.shell(id).and_then(|shell| shell.machine.as_ref()?.poll_timeout());
        let mut next = due(self);
        if next.is_some_and(|next| next <= now) {
            self.handle(id, Input::Timeout);
            next = due(self);
        }
        let Some(shell) = self.shell(id) else { return };
        // A machine that is called too early does nothing.
        if let Some(next) = next.map(|next| next.max(now + Duration::from_nanos(1)))
            && shell.timer.is_none_or(|timer| next < timer)
        {
            shell.timer = Some(next);
            self.queue.push(next, Event::Timer(id));
        }
    }

    /// Hands an input to a daemon's machine and does what it wants done.
    fn handle(&mut self, id: NodeId, input: Input) {
        let now = self.now;
        let Some(shell) = self.shell(id) else { return };
        let Some(mut machine) = shell.machine.take() else { return };
        shell.is_at_work = true;
        let mut answers = VecDeque::new();
        let mut next = Some(input);
        while let Some(input) = next {
            machine.handle(now, input);
            while let Some(output) = machine.poll_output() {
                answers.extend(self.act(id, output));
            }
            next = answers.pop_front();
        }
        if let Some(shell) = self.shell(id) {
            shell.machine = Some(machine);
            shell.is_at_work = false;
        }
    }

    /// Does what a daemon wants done; gives the kernel's answer, if it is a question.
    fn act(&mut self, id: NodeId, output: Output) -> Option<Input> {
        match output {
            Output::Send { interface, datagram } => self.send(self.attachment(id, interface)?, datagram),
            Output::SendRouted { datagram } => self.send_routed(id, datagram),
            Output::AddVif { interface: InterfaceId::REGISTER } => {
                self.shell(id)?.cache.add_vif(REGISTER);
            }
            Output::RemoveVif { interface: InterfaceId::REGISTER } => self.shell(id)?.cache.remove_vif(REGISTER),
            Output::AddVif { interface } => {
                let at = self.attachment(id, interface)?;
                if self.shell(id)?.cache.add_vif(at.interface) {
                    self.join_router_groups(at, &SourceFilter::everything());
                }
            }
            Output::RemoveVif { interface } => {
                let at = self.attachment(id, interface)?;
                self.shell(id)?.cache.remove_vif(at.interface);
                self.join_router_groups(at, &SourceFilter::nothing());
            }
            Output::HostMembership { interface, group: IpAddr::V4(group), filter } => {
                let at = self.attachment(id, interface)?;
                let now = self.now;
                self.port(at).igmp.set_filter(now, group, filter);
                self.speak_igmp(at);
            }
            Output::HostMembership { .. } => {}
            Output::SetEntry(entry) => self.set_entry(id, &entry),
            Output::DeleteEntry(key) => {
                self.shell(id)?.cache.delete(key);
                self.has_changed = true;
            }
            Output::AskCounters(key) => {
                let (packets, octets, wrong_interface) = self.shell(id)?.cache.counters(key)?;
                return Some(Input::Counters { key, packets, octets, wrong_interface });
            }
            Output::Event(event) => {
                if event.kind == EventKind::Ready {
                    self.shell(id)?.is_ready = true;
                }
                self.observed.event(event.time, id, event.kind);
                self.has_changed = true;
            }
        }
        None
    }

    fn attachment(&self, id: NodeId, interface: InterfaceId) -> Option<Attachment> {
        let interfaces = &self.plan.node(id).interfaces;
        let interface = interfaces.iter().position(|of| of.index == interface.0)?;
        Some(Attachment { node: id, interface })
    }

    /// Sends a control message: to a group, or to a neighbour on the link itself.
    fn send(&mut self, at: Attachment, datagram: Datagram) {
        let IpAddr::V4(destination) = datagram.destination else { return };
        let wire = self.plan.wire(self.plan.interface(at).wire);
        // The kernel does not fragment packets that bring their header.
        if octets_of(&datagram) > wire.mtu as usize {
            return;
        }
        // Nobody answers for an address that is not there.
        let is_there = |end: &Attachment| {
            let port = &self.nodes[end.node.0].ports[end.interface];
            *end != at && port.address == Some(destination) && port.is_up
        };
        if !destination.is_multicast() && !wire.ends.iter().any(is_there) {
            return;
        }
        self.transmit(at, Frame::Control(Arc::new(Control::new(datagram))), self.now);
    }

    fn join_router_groups(&mut self, at: Attachment, filter: &SourceFilter) {
        let now = self.now;
        let is_pim = self.plan.node(at.node).router().is_some_and(|router| router.multicast.is_pim());
        for group in ROUTER_GROUPS.into_iter().chain(is_pim.then_some(pim::ALL_PIM_ROUTERS)) {
            self.port(at).igmp.set_filter(now, group, filter.clone());
        }
        self.speak_igmp(at);
    }

    fn set_entry(&mut self, id: NodeId, entry: &ForwardingEntry) {
        let vif = |interface: InterfaceId| match interface {
            InterfaceId::REGISTER => Some(REGISTER),
            interface => Some(self.attachment(id, interface)?.interface),
        };
        let Some(incoming) = vif(entry.incoming) else { return };
        // The kernel takes 0 and 255 for 'never'; the daemon's shell keeps clear of them.
        let place = |(interface, ttl): (&InterfaceId, &u8)| Some((vif(*interface)?, (*ttl).clamp(1, 254)));
        let outgoing: BTreeMap<usize, u8> = entry.outgoing.iter().filter_map(place).collect();
        let now = self.now;
        let Some(shell) = self.shell(id) else { return };
        let waiting = shell.cache.set(now, entry.key, incoming, &outgoing);
        self.has_changed = true;
        for (interface, packet) in waiting {
            self.forward(Attachment { node: id, interface }, packet.content);
        }
    }

    /// A router's kernel entries.
    pub fn entries(&self, id: NodeId) -> Vec<crate::network::Entry> {
        let Some(Role::Router(shell)) = self.nodes.get(id.0).map(|node| &node.role) else { return Vec::new() };
        let entry = |(key, entry): (EntryKey, &super::cache::Entry)| crate::network::Entry {
            source: key.source,
            group: key.group,
            // As the kernel's are read: the register interface is none of the plan's.
            incoming: entry.incoming.filter(|interface| *interface != REGISTER),
            outgoing: entry.outgoing.iter().filter(|(to, _)| **to != REGISTER).map(|(to, ttl)| (*to, *ttl)).collect(),
            packets: entry.packets,
            wrong_interface: entry.wrong_interface,
        };
        let mut entries: Vec<crate::network::Entry> = shell.cache.entries().map(entry).collect();
        entries.sort_by_key(|entry| (entry.group, entry.source));
        entries
    }
}

/// What netlink tells, which reads everything anew rather than lose any of it.
fn is_state(input: &Input) -> bool {
    matches!(
        input,
        Input::Interface { .. } | Input::InterfaceGone { .. } | Input::RouteAdded(_) | Input::RouteRemoved(_)
    )
}
