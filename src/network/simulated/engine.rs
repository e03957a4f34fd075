//! What happens: takes events off the queue and hands frames, news and timers to nodes.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use router_core::coverage::Coverage;
use router_core::forwarding::EntryKey;
use router_core::random::Random;
use router_core::router::Datagram;
use router_core::wire::{igmp, pim};

use super::cache::{Packet, REGISTER, Upcall};
use super::host::{IgmpHost, Settings};
use super::lan::{Snooping, Toward};
use super::observe::{Control, Observed};
use super::queue::Queue;
use super::router::Shell;
use super::streams::{Data, Stream};
use super::tape::{Seen, Tape};
use super::unicast::{Moved, Unicast};
use super::wire::Egress;
use crate::network::Time;
use crate::network::faults::Cuts;
use crate::topology::plan::{Attachment, Node as PlanNode, NodeId, Plan, WireId, WireKind};
use crate::topology::steps::{MessageLoss, SourceFilter};

/// A moment after the clock's origin, so that subtracting some seconds is still a time.
const ORIGIN: Time = Time(1_000_000_000_000);
/// Time from a wire's one end to the other, least and most.
const HOP: (Duration, Duration) = (Duration::from_micros(4), Duration::from_micros(12));
/// What a kernel takes to forward a packet.
const FORWARD: Duration = Duration::from_micros(2);
/// Intervals of the kernel's IGMP at scale 1.
const UNSOLICITED_OLD: Duration = Duration::from_secs(10);
const UNSOLICITED_NEW: Duration = Duration::from_secs(1);
/// Octets of an IPv4 header, without and with Router Alert.
const IPV4_HEADER: usize = 20;
const ALERT_HEADER: usize = 24;

/// What is to happen.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// The timers of the kernel's IGMP at a node.
    Igmp(NodeId),
    /// A router's daemon begins to run.
    Start(NodeId),
    /// A router's daemon finds something to read.
    Wake(NodeId),
    /// A router's own timers.
    Timer(NodeId),
    /// A frame that was held back enters a wire.
    Enter(Attachment, Frame),
    /// A frame reaches the far end of a link.
    Arrive(Attachment, Frame),
    /// A frame reaches a bridge, by the port of an attachment.
    Bridge(Attachment, Frame),
    /// The kernel of a node tells of a change of an interface.
    News(Attachment),
    /// The route agent brings routes in line.
    Agent,
    /// A node's routes are in line.
    Moved(NodeId, Arc<Moved>),
    /// Silent cuts may have become known.
    Cuts,
    /// A stream's next packets are due.
    Tick(usize),
}

/// What goes over wires.
#[derive(Clone, Debug)]
pub(super) enum Frame {
    /// Of a stream.
    Data(Data),
    /// Of a protocol.
    Control(Arc<Control>),
}

/// A node's interface.
#[derive(Debug)]
pub(super) struct Port {
    pub wire: WireId,
    /// Index among the wire's ends.
    pub end: u16,
    pub address: Option<Ipv4Addr>,
    /// As the administrator wants it.
    pub is_up: bool,
    /// Of a LAN: whether the bridge's port is up.
    pub is_bridged: bool,
    /// What the node's processes were told: up, and with a carrier.
    pub known: (bool, bool),
    pub egress: Egress,
    pub igmp: IgmpHost,
}

/// A node.
#[derive(Debug)]
pub(super) struct Node {
    pub ports: Vec<Port>,
    /// When the kernel's IGMP is called next.
    igmp_due: Option<Time>,
    pub random: Random,
    pub role: Role,
}

#[derive(Debug)]
pub(super) enum Role {
    /// With what its sockets have joined of IPv6: no MLD is spoken.
    Host(BTreeMap<(usize, IpAddr), SourceFilter>),
    Router(Box<Shell>),
}

/// A loss of messages that was asked for.
#[derive(Debug)]
pub(super) struct Losing {
    pub loss: MessageLoss,
    /// Where it is in force, and how many it still takes there.
    pub ends: Vec<(Attachment, u32)>,
    pub taken: u64,
}

/// The network and its clock.
#[derive(Debug)]
pub(super) struct Engine<'p> {
    pub plan: &'p Plan,
    pub now: Time,
    pub queue: Queue<Event>,
    pub nodes: Vec<Node>,
    /// By wire: what its bridge knows, if it snoops.
    bridges: Vec<Option<Snooping>>,
    pub streams: Vec<Stream>,
    pub observed: Observed,
    /// How many times as long as on an idle machine it may take until a process gets a processor.
    pub slowness: u32,
    /// Captures, if they are asked for.
    pub tape: Option<Box<Tape>>,
    pub unicast: Unicast,
    pub cuts: Cuts,
    pub losses: Vec<Losing>,
    /// Whether the agent is to have its turn.
    pub agent_awaits: bool,
    /// Draws what belongs to no node: the agent's times.
    pub random: Random,
    /// Of the machines of daemons that are no more.
    pub past: Coverage,
    /// Something observable has changed.
    pub has_changed: bool,
    trace: u64,
}

/// A generator of a thing's own, by the kind of the thing and its number.
fn random(seed: u64, kind: u64, number: u64) -> Random {
    let mut mixed = Random::new(seed ^ kind.wrapping_mul(0xa076_1d64_78bd_642f));
    Random::new(mixed.bits() ^ (number + 1).wrapping_mul(0xe703_7ed1_a0b4_28db))
}

pub(super) fn between(random: &mut Random, (least, most): (Duration, Duration)) -> Duration {
    least + random.up_to(most - least)
}

/// As [`between`], but that a busy machine takes longer: seldom near the most.
pub(super) fn before_long(random: &mut Random, (least, most): (Duration, Duration), slowness: u32) -> Duration {
    let most = if slowness > 1 { most + random.up_to(most * (slowness - 1)) } else { most };
    between(random, (least, most))
}

impl<'p> Engine<'p> {
    /// A network in which nothing runs yet.
    pub fn new(plan: &'p Plan) -> Engine<'p> {
        let ends: Vec<BTreeMap<Attachment, u16>> =
            plan.wires.iter().map(|wire| wire.ends.iter().copied().zip(0..).collect()).collect();
        let nodes = plan.node_ids().map(|id| node(plan, id, &ends)).collect();
        let bridge = |kind| matches!(kind, WireKind::Lan { snooping: true }).then(Snooping::default);
        Engine {
            plan,
            now: ORIGIN,
            queue: Queue::default(),
            nodes,
            bridges: plan.wires.iter().map(|wire| bridge(wire.kind)).collect(),
            streams: Vec::new(),
            observed: Observed::new(plan.wires.len()),
            slowness: 1,
            tape: None,
            unicast: Unicast::new(plan),
            cuts: Cuts::default(),
            losses: Vec::new(),
            agent_awaits: false,
            random: random(plan.seed, 3, 0),
            past: Coverage::default(),
            has_changed: true,
            trace: 0,
        }
    }

    /// Lets the next event happen if it is due by a time; false if none is.
    pub fn step(&mut self, limit: Time) -> bool {
        let Some((time, event)) = self.queue.pop_by(limit) else { return false };
        self.now = self.now.max(time);
        self.note(&event);
        match event {
            Event::Igmp(node) => self.igmp_timers(node),
            Event::Start(node) => self.start_daemon(node),
            Event::Wake(node) => self.wake(node),
            Event::Timer(node) => self.router_timer(node),
            Event::Enter(at, frame) => self.enter(at, frame, self.now),
            Event::Arrive(at, frame) => self.arrive(at, self.far_end(at), &frame),
            Event::Bridge(at, frame) => self.bridge(at, &frame),
            Event::News(at) => self.news(at),
            Event::Agent => self.agent_turn(),
            Event::Moved(node, moved) => self.routes_moved(node, &moved),
            Event::Cuts => self.tell_cuts(),
            Event::Tick(stream) => self.tick(stream),
        }
        true
    }

    /// A number that all events so far have made: equal runs have equal ones.
    pub fn trace(&self) -> u64 {
        self.trace
    }

    fn note(&mut self, event: &Event) {
        let at = |at: &Attachment| (at.node.0 << 8 | at.interface) as u64;
        let of = |frame: &Frame| match frame {
            Frame::Data(data) => u64::from(data.sequence) << 8 | u64::from(data.ttl),
            Frame::Control(control) => {
                let (words, rest) = control.datagram.payload.as_chunks::<8>();
                let sum = words.iter().fold(0, |sum: u64, word| sum.rotate_left(7) ^ u64::from_be_bytes(*word));
                rest.iter().fold(sum, |sum, octet| sum.rotate_left(7) ^ u64::from(*octet))
            }
        };
        let (kind, place, what) = match event {
            Event::Igmp(node) => (1, node.0 as u64, 0),
            Event::Start(node) => (2, node.0 as u64, 0),
            Event::Wake(node) => (3, node.0 as u64, 0),
            Event::Timer(node) => (4, node.0 as u64, 0),
            Event::Enter(end, frame) => (5, at(end), of(frame)),
            Event::Arrive(end, frame) => (6, at(end), of(frame)),
            Event::Bridge(end, frame) => (7, at(end), of(frame)),
            Event::News(end) => (8, at(end), 0),
            Event::Agent => (9, 0, 0),
            Event::Moved(node, _) => (12, node.0 as u64, 0),
            Event::Cuts => (10, 0, 0),
            Event::Tick(stream) => (11, *stream as u64, 0),
        };
        for number in [self.now.as_nanos(), kind << 56 ^ place, what] {
            self.trace = (self.trace.rotate_left(5) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }

    pub fn port(&mut self, at: Attachment) -> &mut Port {
        &mut self.nodes[at.node.0].ports[at.interface]
    }

    /// Whether an interface is up and has a carrier.
    pub fn has_carrier(&self, at: Attachment) -> bool {
        let port = &self.nodes[at.node.0].ports[at.interface];
        if !port.is_up {
            return false;
        }
        let wire = self.plan.wire(port.wire);
        match wire.kind {
            WireKind::Lan { .. } => port.is_bridged,
            WireKind::Link => {
                let other = wire.ends.get(1 - usize::from(port.end.min(1)));
                other.is_some_and(|far| self.nodes[far.node.0].ports[far.interface].is_up)
            }
        }
    }

    /// Whether what a node sends out of an interface is put on its wire. The kernel looks after a carrier that is lost some time later, and until
    /// then sends to nobody: on a link the tap at this end sees it, on a LAN that of the bridge does not.
    fn sends(&self, at: Attachment) -> bool {
        let port = &self.nodes[at.node.0].ports[at.interface];
        let is_link = self.plan.wire(port.wire).kind == WireKind::Link;
        self.has_carrier(at) || is_link && port.is_up && port.known.1
    }

    /// A node sends a frame into the wire of an interface, at this moment or in one.
    pub fn transmit(&mut self, at: Attachment, frame: Frame, time: Time) {
        if !self.sends(at) || self.is_cut_beyond(at) || self.is_taken(at, &frame) {
            return;
        }
        let octets = match &frame {
            Frame::Data(data) => self.streams[data.stream as usize].octets,
            Frame::Control(control) => octets_of(&control.datagram),
        };
        match self.port(at).egress.admit(time, octets) {
            None => {}
            Some(entry) if entry == time => self.enter(at, frame, time),
            Some(entry) => self.queue.push(entry, Event::Enter(at, frame)),
        }
    }

    /// On a link, what must not come in at the far end is dropped here.
    fn is_cut_beyond(&self, at: Attachment) -> bool {
        let wire = self.plan.wire(self.nodes[at.node.0].ports[at.interface].wire);
        wire.kind == WireKind::Link
            && wire.ends.iter().any(|end| *end != at && self.nodes[end.node.0].ports[end.interface].egress.cut_in)
    }

    /// Whether a loss of messages takes a frame.
    fn is_taken(&mut self, at: Attachment, frame: &Frame) -> bool {
        let Frame::Control(control) = frame else { return false };
        let Datagram { protocol, payload, .. } = &control.datagram;
        for losing in &mut self.losses {
            let here = losing.ends.iter_mut().find(|(end, left)| *end == at && *left > 0);
            if let Some((_, left)) = here
                && crate::network::kernel::nft::is_kind(losing.loss.message, *protocol, payload)
            {
                *left -= 1;
                losing.taken += 1;
                return true;
            }
        }
        false
    }

    /// A frame enters a wire: its sender's tap sees it.
    fn enter(&mut self, at: Attachment, frame: Frame, time: Time) {
        if !self.sends(at) {
            return;
        }
        let port = self.port(at);
        let (wire, end) = (port.wire, port.end);
        let arrival = time + port.egress.latency;
        let mishap = port.egress.mishap();
        match &frame {
            Frame::Data(data) => self.streams[data.stream as usize].see(wire, end, true, *data, time),
            Frame::Control(control) => self.observed.see(wire, end, time, control),
        }
        self.record(Seen { wire, end, sender: at, outbound: true, time }, &frame);
        self.has_changed = true;
        let frame = match mishap.wrong_bit {
            None => Some(frame),
            Some(bit) => self.damage(frame, bit),
        };
        let Some(frame) = frame else { return };
        let wire = self.plan.wire(wire);
        let event = match wire.kind {
            WireKind::Lan { .. } => Event::Bridge(at, frame),
            WireKind::Link => match wire.ends.get(1 - usize::from(end.min(1))) {
                Some(far) => Event::Arrive(*far, frame),
                None => return,
            },
        };
        if mishap.twice {
            self.queue.push(arrival, event.clone());
        }
        self.queue.push(arrival, event);
    }

    fn record(&mut self, seen: Seen, frame: &Frame) {
        let Some(tape) = &mut self.tape else { return };
        match frame {
            Frame::Data(data) => tape.data(self.plan, seen, &self.streams[data.stream as usize], *data),
            Frame::Control(control) => tape.control(self.plan, seen, control),
        }
    }

    /// Turns a bit of a packet over; none is left if it is one of the IP header.
    fn damage(&self, frame: Frame, bit: u64) -> Option<Frame> {
        match frame {
            Frame::Data(data) => {
                let octet = (bit / 8) as usize % self.streams[data.stream as usize].octets;
                (octet >= IPV4_HEADER).then_some(Frame::Data(Data { is_damaged: true, ..data }))
            }
            Frame::Control(control) => {
                let header = octets_of(&control.datagram) - control.datagram.payload.len();
                let octet = (bit / 8) as usize % octets_of(&control.datagram);
                let mut datagram = control.datagram.clone();
                *datagram.payload.get_mut(octet.checked_sub(header)?)? ^= 1 << (bit % 8);
                Some(Frame::Control(Arc::new(match control.next_hop {
                    Some(next_hop) => Control::routed(datagram, next_hop),
                    None => Control::new(datagram),
                })))
            }
        }
    }

    /// A bridge hands a frame on to its other ports.
    fn bridge(&mut self, at: Attachment, frame: &Frame) {
        let port = self.port(at);
        let (id, from, is_bridged) = (port.wire, port.end, port.is_bridged);
        if !is_bridged {
            return;
        }
        let now = self.now;
        let toward = match (&mut self.bridges[id.0], frame) {
            (None, _) => Toward::All,
            (Some(bridge), Frame::Data(data)) => {
                bridge.data(self.streams[data.stream as usize].group_of(data.sequence))
            }
            (Some(bridge), Frame::Control(control)) => match control.igmp() {
                Some(message) => bridge.hear(now, from, message),
                None => {
                    let all_routers = IpAddr::V4(pim::ALL_PIM_ROUTERS);
                    let Datagram { protocol, destination, payload, .. } = &control.datagram;
                    let is_hello = payload.first().is_some_and(|first| first & 0xf == 0);
                    if *protocol == pim::PROTOCOL && *destination == all_routers && is_hello {
                        bridge.hear_router(now, from);
                    }
                    Toward::All
                }
            },
        };
        for (end, &to) in (0u16..).zip(&self.plan.wire(id).ends) {
            let port = &self.nodes[to.node.0].ports[to.interface];
            let reached = self.bridges[id.0].as_ref().is_none_or(|bridge| bridge.reaches(now, toward, end));
            if end != from && port.is_bridged && !port.egress.cut_in && reached {
                self.arrive(to, at, frame);
            }
        }
    }

    /// The other end of the link at an attachment.
    fn far_end(&self, at: Attachment) -> Attachment {
        let port = &self.nodes[at.node.0].ports[at.interface];
        self.plan.wire(port.wire).ends.get(1 - usize::from(port.end.min(1))).copied().unwrap_or(at)
    }

    /// A frame reaches a node.
    fn arrive(&mut self, at: Attachment, sender: Attachment, frame: &Frame) {
        if !self.has_carrier(at) {
            return;
        }
        if self.tape.is_some() {
            let Port { wire, end, .. } = *self.port(at);
            self.record(Seen { wire, end, sender, outbound: false, time: self.now }, frame);
        }
        match frame {
            Frame::Data(data) => {
                let port = self.port(at);
                let (wire, end) = (port.wire, port.end);
                let now = self.now;
                let stream = &mut self.streams[data.stream as usize];
                stream.see(wire, end, false, *data, now);
                let (source, group) = (stream.source, stream.group_of(data.sequence));
                self.has_changed = true;
                let node = &self.nodes[at.node.0];
                match &node.role {
                    Role::Host(joined) => {
                        let wanted = match group {
                            IpAddr::V4(group) => node.ports[at.interface].igmp.admits(source, group),
                            group => joined.get(&(at.interface, group)).is_some_and(|filter| filter.admits(source)),
                        };
                        if wanted && !data.is_damaged {
                            self.streams[data.stream as usize].receive(at.node, *data, now);
                        }
                    }
                    Role::Router(_) => self.forward(at, *data),
                }
            }
            Frame::Control(control) => match control.next_hop {
                Some(next_hop) => self.arrive_routed(at, control, next_hop),
                None => self.hear(at, control),
            },
        }
    }

    /// A router's kernel gets a packet of a stream.
    pub fn forward(&mut self, at: Attachment, data: Data) {
        let stream = &self.streams[data.stream as usize];
        if stream.source.is_ipv6() {
            // Routers here forward IPv4 alone.
            return;
        }
        let key = EntryKey { source: stream.source, group: stream.group_of(data.sequence) };
        let (octets, is_fragmented) = (stream.octets, stream.fragments > 1);
        let packet = Packet { key, ttl: data.ttl, octets: octets as u64, content: data };
        let now = self.now;
        let Role::Router(shell) = &mut self.nodes[at.node.0].role else { return };
        let mut out = std::mem::take(&mut shell.outgoing);
        let upcall = shell.cache.take(now, at.interface, &packet, &mut out);
        let arrived = data;
        let data = Data { ttl: data.ttl.saturating_sub(1), ..data };
        for interface in out.drain(..) {
            if interface == REGISTER {
                self.register(at.node, arrived);
                continue;
            }
            let to = Attachment { node: at.node, interface };
            let mtu = self.plan.wire(self.nodes[to.node.0].ports[interface].wire).mtu as usize;
            // What its sender did not fragment must not be (RFC 791 §2.3); nobody is told (RFC 1112 §7.2).
            if octets <= mtu || is_fragmented {
                self.transmit(to, Frame::Data(data), now + FORWARD);
            }
        }
        if let Role::Router(shell) = &mut self.nodes[at.node.0].role {
            shell.outgoing = out;
        }
        if let Some(upcall) = upcall {
            let id = |interface: usize| {
                if interface == REGISTER {
                    return router_core::router::InterfaceId::REGISTER;
                }
                let at = Attachment { node: at.node, interface };
                router_core::router::InterfaceId(self.plan.interface(at).index)
            };
            let input = match upcall {
                Upcall::NoCache { interface, key } => {
                    router_core::router::Input::NoCache { interface: id(interface), key }
                }
                Upcall::WrongInterface { interface, key } => {
                    router_core::router::Input::WrongInterface { interface: id(interface), key }
                }
            };
            self.tell(at.node, input);
        }
    }

    /// A node hears a control message: its kernel's IGMP, and its daemon.
    fn hear(&mut self, at: Attachment, control: &Arc<Control>) {
        let Datagram { destination, protocol, .. } = control.datagram;
        let IpAddr::V4(destination) = destination else { return };
        let now = self.now;
        let port = self.port(at);
        let is_local = port.address == Some(destination) || port.igmp.is_member(destination);
        if !destination.is_multicast() && !is_local {
            return;
        }
        if protocol == igmp::PROTOCOL
            && is_local
            && let Some(message) = control.igmp()
        {
            port.igmp.hear(now, message);
            self.arm_igmp(at.node);
        }
        if matches!(self.nodes[at.node.0].role, Role::Router(_)) {
            self.daemon_hears(at, control, is_local);
        }
    }

    /// Sends what the kernel's IGMP at an interface has to say.
    pub fn speak_igmp(&mut self, at: Attachment) {
        let now = self.now;
        let port = self.port(at);
        let source = port.address.unwrap_or(Ipv4Addr::UNSPECIFIED);
        for (destination, message) in port.igmp.take() {
            let datagram = Datagram {
                source: source.into(),
                destination: destination.into(),
                protocol: igmp::PROTOCOL,
                ttl: 1,
                router_alert: true,
                traffic_class: 0xc0,
                payload: message.emit(),
            };
            self.transmit(at, Frame::Control(Arc::new(Control::new(datagram))), now);
        }
        self.arm_igmp(at.node);
    }

    /// Sees to it that the kernel's IGMP at a node is called when it wants to be.
    fn arm_igmp(&mut self, id: NodeId) {
        let node = &mut self.nodes[id.0];
        let next = node.ports.iter().filter_map(|port| port.igmp.next()).min();
        if let Some(next) = next.filter(|next| node.igmp_due.is_none_or(|due| *next < due)) {
            node.igmp_due = Some(next);
            self.queue.push(next, Event::Igmp(id));
        }
    }

    fn igmp_timers(&mut self, id: NodeId) {
        let now = self.now;
        let node = &mut self.nodes[id.0];
        if node.igmp_due.is_none_or(|due| due > now) {
            return;
        }
        node.igmp_due = None;
        for interface in 0..node.ports.len() {
            let at = Attachment { node: id, interface };
            let igmp = &mut self.port(at).igmp;
            if igmp.next().is_some_and(|due| due <= now) {
                igmp.timeout(now);
                self.speak_igmp(at);
            }
        }
        self.arm_igmp(id);
    }

    fn tick(&mut self, number: usize) {
        let now = self.now;
        let stream = &mut self.streams[number];
        if stream.is_over {
            return;
        }
        let at = Attachment { node: stream.spec.from, interface: stream.spec.interface };
        let ttl = stream.spec.ttl;
        let refused = !self.nodes[at.node.0].ports[at.interface].is_up;
        let stream = &mut self.streams[number];
        let packets = stream.tick(now, refused);
        let times: Vec<Time> = stream.sent[packets.start as usize..packets.end as usize].to_vec();
        if !stream.is_over {
            let due = stream.due();
            self.queue.push(due, Event::Tick(number));
        }
        self.has_changed = true;
        for (sequence, time) in packets.zip(times) {
            let data = Data { stream: number as u32, sequence, ttl, is_damaged: false };
            self.transmit(at, Frame::Data(data), time);
        }
    }
}

fn node(plan: &Plan, id: NodeId, ends: &[BTreeMap<Attachment, u16>]) -> Node {
    let own: &PlanNode = plan.node(id);
    let settings = |mtu| Settings {
        forced: own.host().and_then(|host| host.igmp_version),
        unsolicited_old: scaled(plan, own, UNSOLICITED_OLD),
        unsolicited_new: scaled(plan, own, UNSOLICITED_NEW),
        mtu,
    };
    let port = |(interface, of): (usize, &crate::topology::plan::Interface)| {
        let at = Attachment { node: id, interface };
        let wire = plan.wire(of.wire);
        // By the interface's index in the kernel: one that is added leaves the others' numbers alone.
        let mut random = random(plan.seed, 1, of.index.into());
        let latency = between(&mut random, HOP);
        let igmp = IgmpHost::new(settings(wire.mtu), Random::new(random.bits()));
        Port {
            wire: of.wire,
            end: ends[of.wire.0].get(&at).copied().unwrap_or_default(),
            address: of.ipv4().map(|net| net.addr()),
            is_up: true,
            is_bridged: true,
            known: (true, true),
            egress: Egress::new(wire.impairment.into(), wire.mtu, latency, random),
            igmp,
        }
    };
    Node {
        ports: own.interfaces.iter().enumerate().map(port).collect(),
        igmp_due: None,
        random: random(plan.seed, 2, id.0 as u64),
        role: if own.is_router() { Role::Router(Box::default()) } else { Role::Host(BTreeMap::new()) },
    }
}

/// Hosts follow the file's `timers`; what a router's kernel says for its daemon does not.
fn scaled(plan: &Plan, node: &PlanNode, span: Duration) -> Duration {
    if node.is_router() { span } else { plan.scaled(span).max(Duration::from_millis(1)) }
}

/// Octets of a packet with its IP header.
pub(super) fn octets_of(datagram: &Datagram) -> usize {
    (if datagram.router_alert { ALERT_HEADER } else { IPV4_HEADER }) + datagram.payload.len()
}
