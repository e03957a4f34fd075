//! Sparse mode routers on links and LANs, in virtual time: unicast routes, kernels with a register vif, hosts that send and hosts that
//! listen, wires that fail, messages that are lost.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::IpNet;
use router_core::config::Config;
use router_core::forwarding::{EntryKey, ForwardingEntry};
use router_core::random::Random;
use router_core::router::{Datagram, Input, InterfaceId, InterfaceState, Output, Router, UnicastRoute};
use router_core::show::{Show, Shown};
use router_core::time::Time;
use router_core::wire::igmp;
use router_core::wire::pim::{Message, parse};

/// Everything at a tenth of the RFC's times, the kernel's upcalls included.
const PIM: &str = "hello-period: 3s, triggered-hello-delay: 500ms, assert-time: 18s, join-prune-period: 6s, keepalive-period: 21s, \
    register-suppression-time: 6s, register-probe-time: 500ms, override-interval: 250ms, propagation-delay: 50ms";
const WRONG_INTERFACE: Duration = Duration::from_millis(300);
const UNRESOLVED: Duration = Duration::from_secs(1);
const LATENCY: Duration = Duration::from_millis(1);
/// How often each source sends.
pub const PACKETS_EVERY: Duration = Duration::from_millis(100);
/// Hosts say what they want so often: often enough whatever becomes of the querier.
const REPORTS_EVERY: Duration = Duration::from_secs(4);
const TTL: u8 = 32;

/// Routers by the wires that each is on: interface `n` of a router is on its `n`th wire.
#[derive(Clone, Debug)]
pub struct Plan {
    pub wires: usize,
    pub routers: Vec<BTreeSet<usize>>,
    /// The router that is the rendezvous point, by a loopback address.
    pub rp: usize,
    /// The group of the streams: any-source or source-specific.
    pub group: Ipv4Addr,
    /// The wires of the sources.
    pub sources: BTreeSet<usize>,
    /// What else the configuration of PIM says.
    pub more: &'static str,
}

#[derive(Clone, Debug)]
pub enum Change {
    Join(usize),
    Leave(usize),
    Start(usize),
    Stop(usize),
    Fail(usize),
    Restore(usize),
    Restart(usize),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Packet,
    Report(usize),
    /// The host on a wire answers a query.
    Answer(usize),
    /// A control packet reaches a router by a port.
    Control(usize, usize),
    /// A register's packet comes out of the register vif.
    Decapsulated(usize),
}

struct Node {
    router: Router,
    wires: Vec<usize>,
    kernel: BTreeMap<EntryKey, Cached>,
    unresolved: BTreeMap<EntryKey, Time>,
}

struct Cached {
    entry: ForwardingEntry,
    packets: u64,
    told_wrong: Option<Time>,
}

/// A data packet.
#[derive(Clone, Copy, Debug)]
struct Packet {
    key: EntryKey,
    number: u32,
    ttl: u8,
}

impl Packet {
    fn bytes(self) -> Vec<u8> {
        let (IpAddr::V4(source), IpAddr::V4(group)) = (self.key.source, self.key.group) else { panic!() };
        let mut bytes = vec![0x45, 0, 0, 24, 0, 0, 0, 0, self.ttl, 17, 0, 0];
        bytes.extend(source.octets());
        bytes.extend(group.octets());
        bytes.extend(self.number.to_be_bytes());
        bytes
    }

    fn read(bytes: &[u8]) -> Packet {
        let word = |at: usize| *bytes[at..].first_chunk::<4>().unwrap();
        let key = EntryKey { source: word(12).into(), group: word(16).into() };
        Packet { key, number: u32::from_be_bytes(word(20)), ttl: bytes[8] }
    }
}

pub struct Net {
    pub now: Time,
    pub plan: Plan,
    nodes: Vec<Node>,
    pub down: BTreeSet<usize>,
    pub members: BTreeSet<usize>,
    pub sending: BTreeSet<usize>,
    queue: BinaryHeap<Reverse<(Time, u64, Event)>>,
    order: u64,
    control: BTreeMap<u64, Datagram>,
    /// One control message in so many is lost; none if 0.
    pub loss: u64,
    random: Random,
    number: u32,
    /// Copies of each packet on each wire, by source.
    pub copies: BTreeMap<(usize, usize), BTreeMap<u32, u32>>,
    /// Prints what happens.
    pub verbose: bool,
}

fn address(wire: usize, router: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, wire as u8, router as u8 + 1)
}

fn loopback(router: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 255, 0, router as u8 + 1)
}

fn source(wire: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, wire as u8, 200)
}

fn wire_of(source: IpAddr) -> usize {
    let IpAddr::V4(source) = source else { panic!() };
    source.octets()[2].into()
}

fn id(port: usize) -> InterfaceId {
    InterfaceId(port as u32 + 1)
}

impl Net {
    pub fn new(plan: Plan, seed: u64) -> Net {
        let mut net = Net {
            now: Time::ZERO,
            nodes: Vec::new(),
            down: BTreeSet::new(),
            members: BTreeSet::new(),
            sending: plan.sources.clone(),
            queue: BinaryHeap::new(),
            order: 0,
            control: BTreeMap::new(),
            loss: 0,
            random: Random::new(seed),
            number: 0,
            copies: BTreeMap::new(),
            verbose: std::env::var("NET_VERBOSE").is_ok(),
            plan,
        };
        for router in 0..net.plan.routers.len() {
            let node = net.node(router);
            net.nodes.push(node);
        }
        for router in 0..net.nodes.len() {
            net.start(router);
        }
        net.later(PACKETS_EVERY, Event::Packet);
        for wire in 0..net.plan.wires {
            net.later(REPORTS_EVERY, Event::Report(wire));
        }
        net
    }

    fn node(&mut self, router: usize) -> Node {
        let wires: Vec<usize> = self.plan.routers[router].iter().copied().collect();
        let names = wires.iter().enumerate().map(|(at, _)| format!("{{name: eth{at}}}")).collect::<Vec<_>>().join(", ");
        let (seed, rp, more) = (self.random.bits() >> 1, loopback(self.plan.rp), self.plan.more);
        // In every other network all routers track who has joined.
        let tracking = self.plan.rp.is_multiple_of(2);
        let config = format!(
            "multicast: pim-sm\nseed: {seed}\npim: {{{PIM}, explicit-tracking: {tracking}, rp: [{{address: {rp}}}]{more}}}\ninterfaces: [{names}]\nigmp: {{query-interval: 10s}}"
        );
        let router = Router::new(Config::from_yaml(&config).unwrap());
        Node { router, wires, kernel: BTreeMap::new(), unresolved: BTreeMap::new() }
    }

    fn start(&mut self, router: usize) {
        let addresses = vec![format!("{}/32", loopback(router)).parse().unwrap()];
        let state = InterfaceState { name: "lo".into(), up: true, mtu: 65_536, addresses };
        self.put(router, Input::Interface { interface: InterfaceId(99), state });
        for port in 0..self.nodes[router].wires.len() {
            self.interface(router, port);
        }
        for route in self.routes(router) {
            self.put(router, Input::RouteAdded(route));
        }
    }

    fn interface(&mut self, router: usize, port: usize) {
        let wire = self.nodes[router].wires[port];
        let addresses = vec![format!("{}/24", address(wire, router)).parse().unwrap()];
        let state = InterfaceState { name: format!("eth{port}"), up: !self.down.contains(&wire), mtu: 1500, addresses };
        self.put(router, Input::Interface { interface: id(port), state });
    }

    /// Routes to every wire and to the rendezvous point.
    fn routes(&self, router: usize) -> Vec<UnicastRoute> {
        let wires = (0..self.plan.wires).filter(|wire| !self.down.contains(wire)).map(|wire| {
            let prefix: IpNet = format!("10.0.{wire}.0/24").parse().unwrap();
            (prefix, BTreeSet::from([wire]), None)
        });
        let rp = self.plan.rp;
        let at_rp = self.plan.routers[rp].iter().copied().filter(|wire| !self.down.contains(wire)).collect();
        let prefix: IpNet = format!("{}/32", loopback(rp)).parse().unwrap();
        let mut routes: Vec<UnicastRoute> = wires
            .chain([(prefix, at_rp, Some(rp))])
            .filter_map(|(prefix, near, of)| self.route(router, prefix, &near, of))
            .collect();
        if router == rp {
            routes.retain(|route| route.prefix != prefix);
        }
        routes
    }

    /// The way to what is on some wires, or behind a router on them: by the fewest hops; of equal ones by the lowest next hop.
    fn route(&self, router: usize, prefix: IpNet, near: &BTreeSet<usize>, of: Option<usize>) -> Option<UnicastRoute> {
        let distances = self.distances(near);
        let wires = self.nodes[router].wires.iter().enumerate().filter(|(_, wire)| !self.down.contains(wire));
        let ways = wires.flat_map(|(port, wire)| {
            if near.contains(wire) {
                return vec![(0, of.map(|of| IpAddr::V4(address(*wire, of))), port)];
            }
            let next = |next: usize| next != router && self.plan.routers[next].contains(wire);
            let hops = (0..self.plan.routers.len()).filter(|other| next(*other));
            hops.filter_map(|other| Some((*distances.get(&other)? + 1, Some(IpAddr::V4(address(*wire, other))), port)))
                .collect()
        });
        let (metric, next_hop, port) = ways.min()?;
        Some(UnicastRoute { prefix, next_hop, interface: id(port), metric: 110 << 24 | metric })
    }

    /// Hops from each router to some wires.
    fn distances(&self, near: &BTreeSet<usize>) -> BTreeMap<usize, u32> {
        let mut distances = BTreeMap::new();
        let mut at: VecDeque<(usize, u32)> = near.iter().map(|wire| (*wire, 0)).collect();
        let mut seen = self.down.clone();
        while let Some((wire, distance)) = at.pop_front() {
            if !seen.insert(wire) {
                continue;
            }
            for (router, wires) in self.plan.routers.iter().enumerate().filter(|(_, wires)| wires.contains(&wire)) {
                distances.entry(router).or_insert(distance);
                at.extend(wires.iter().map(|wire| (*wire, distance + 1)));
            }
        }
        distances
    }

    fn later(&mut self, after: Duration, event: Event) {
        self.order += 1;
        self.queue.push(Reverse((self.now + after, self.order, event)));
    }

    fn put(&mut self, router: usize, input: Input) {
        self.nodes[router].router.handle(self.now, input);
        while let Some(output) = self.nodes[router].router.poll_output() {
            if self.verbose {
                self.say(router, &output);
            }
            match output {
                Output::SetEntry(entry) => {
                    assert!(!entry.outgoing.contains_key(&entry.incoming), "an entry never sends back: {entry:?}");
                    let node = &mut self.nodes[router];
                    let new = || Cached { entry: entry.clone(), packets: 0, told_wrong: None };
                    node.kernel.entry(entry.key).or_insert_with(new).entry.clone_from(&entry);
                }
                Output::DeleteEntry(key) => {
                    assert!(self.nodes[router].kernel.remove(&key).is_some());
                }
                Output::AskCounters(key) => {
                    let packets = self.nodes[router].kernel[&key].packets;
                    let input = Input::Counters { key, packets, octets: packets * 24, wrong_interface: 0 };
                    self.nodes[router].router.handle(self.now, input);
                }
                Output::Send { interface, datagram } => self.send(router, interface.0 as usize - 1, datagram),
                Output::SendRouted { datagram } => self.send_routed(router, datagram),
                Output::AddVif { .. } | Output::RemoveVif { .. } | Output::HostMembership { .. } | Output::Event(_) => {
                }
            }
        }
    }

    fn say(&self, router: usize, output: &Output) {
        match output {
            Output::Send { datagram, .. } | Output::SendRouted { datagram } if datagram.protocol == 103 => {
                let message = parse(datagram.source, datagram.destination, &datagram.payload);
                if !matches!(message, Ok(Message::Hello(_))) {
                    println!("{} r{router}: {} > {} {message:?}", self.now, datagram.source, datagram.destination);
                }
            }
            Output::Send { .. } | Output::AskCounters(_) => {}
            other => println!("{} r{router}: {other:?}", self.now),
        }
    }

    fn lost(&mut self) -> bool {
        self.loss > 0 && self.random.bits().is_multiple_of(self.loss)
    }

    fn deliver(&mut self, after: Duration, router: usize, port: usize, datagram: Datagram) {
        self.order += 1;
        self.control.insert(self.order, datagram);
        self.queue.push(Reverse((self.now + after, self.order, Event::Control(router, port))));
    }

    fn send(&mut self, from: usize, port: usize, datagram: Datagram) {
        let wire = self.nodes[from].wires[port];
        if self.down.contains(&wire) {
            return;
        }
        if datagram.protocol == 2 {
            self.later(LATENCY, Event::Answer(wire));
        }
        for router in 0..self.nodes.len() {
            let Some(port) = self.nodes[router].wires.iter().position(|of| *of == wire) else { continue };
            if router != from && datagram.destination.is_multicast() && !self.lost() {
                self.deliver(LATENCY, router, port, datagram.clone());
            }
        }
    }

    /// By unicast routes, to whichever router has the address, if there is a way.
    fn send_routed(&mut self, from: usize, datagram: Datagram) {
        let to = datagram.destination;
        let owns = |router: usize| {
            to == IpAddr::V4(loopback(router))
                || self.plan.routers[router]
                    .iter()
                    .any(|wire| to == IpAddr::V4(address(*wire, router)) && !self.down.contains(wire))
        };
        let Some(router) = (0..self.nodes.len()).find(|router| owns(*router)) else { return };
        let near = self.plan.routers[router].iter().copied().filter(|wire| !self.down.contains(wire)).collect();
        let Some(hops) = self.distances(&near).get(&from).copied() else { return };
        let port = self.nodes[router].wires.iter().position(|wire| near.contains(wire)).unwrap();
        if !self.lost() {
            self.deliver(LATENCY * (hops + 1), router, port, datagram);
        }
    }

    fn report(&mut self, wire: usize) {
        let reports = self.members.contains(&wire);
        let ssm = self.plan.group.octets()[0] == 232;
        let kind = if reports { igmp::RecordKind::IsInclude } else { igmp::RecordKind::ToInclude };
        let kind = if reports && !ssm { igmp::RecordKind::IsExclude } else { kind };
        let kind = if !reports && ssm { igmp::RecordKind::Block } else { kind };
        let sources = if ssm { self.plan.sources.iter().map(|wire| source(*wire)).collect() } else { vec![] };
        let records = vec![igmp::Record { kind, group: self.plan.group, sources }];
        for router in 0..self.nodes.len() {
            let Some(port) = self.nodes[router].wires.iter().position(|of| *of == wire) else { continue };
            let datagram = Datagram {
                source: Ipv4Addr::new(10, 0, wire as u8, 100).into(),
                destination: Ipv4Addr::new(224, 0, 0, 22).into(),
                protocol: 2,
                ttl: 1,
                router_alert: true,
                traffic_class: 0,
                payload: igmp::Message::ReportV3 { records: records.clone() }.emit(),
            };
            if !self.down.contains(&wire) {
                self.put(router, Input::Packet { interface: id(port), datagram });
            }
        }
    }

    /// A data packet on a wire, as the kernels of its routers take it.
    fn data(&mut self, wire: usize, packet: Packet, from: Option<usize>) {
        if self.down.contains(&wire) {
            return;
        }
        let copies = self.copies.entry((wire, wire_of(packet.key.source))).or_default();
        *copies.entry(packet.number).or_default() += 1;
        for router in (0..self.nodes.len()).filter(|router| Some(*router) != from) {
            let Some(port) = self.nodes[router].wires.iter().position(|of| *of == wire) else { continue };
            self.arrive(router, id(port), packet);
        }
    }

    /// A data packet reaches a router's kernel.
    fn arrive(&mut self, router: usize, arrival: InterfaceId, packet: Packet) {
        let key = packet.key;
        if packet.ttl <= 1 {
            return;
        }
        if !self.nodes[router].kernel.contains_key(&key) {
            let waits =
                self.nodes[router].unresolved.get(&key).is_some_and(|since| self.now.since(*since) < UNRESOLVED);
            if !waits {
                self.nodes[router].unresolved.insert(key, self.now);
                self.put(router, Input::NoCache { interface: arrival, key });
            }
        }
        let (now, node) = (self.now, &mut self.nodes[router]);
        let Some(cached) = node.kernel.get_mut(&key) else { return };
        node.unresolved.remove(&key);
        if cached.entry.incoming != arrival {
            if cached.told_wrong.is_none_or(|told| now.since(told) >= WRONG_INTERFACE) {
                cached.told_wrong = Some(now);
                self.put(router, Input::WrongInterface { interface: arrival, key });
            }
            return;
        }
        cached.packets += 1;
        let outgoing: Vec<InterfaceId> = cached.entry.outgoing.keys().copied().collect();
        let packet = Packet { ttl: packet.ttl - 1, ..packet };
        for out in outgoing {
            if out == InterfaceId::REGISTER {
                self.put(router, Input::WholePacket { packet: packet.bytes() });
            } else {
                let wire = self.nodes[router].wires[out.0 as usize - 1];
                self.data(wire, packet, Some(router));
            }
        }
    }

    pub fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        let mut at_once = 0;
        loop {
            let timeouts =
                self.nodes.iter().enumerate().filter_map(|(at, node)| Some((node.router.poll_timeout()?, at)));
            let timeout = timeouts.min().filter(|(due, _)| *due <= end);
            let event = self.queue.peek().map(|Reverse((due, ..))| *due).filter(|due| *due <= end);
            match (timeout, event) {
                (Some((due, router)), event) if event.is_none_or(|event| due <= event) => {
                    at_once = if due > self.now { 0 } else { at_once + 1 };
                    assert!(at_once < 1000, "timers go on at {}", self.now);
                    self.now = due.max(self.now);
                    self.put(router, Input::Timeout);
                }
                (_, Some(_)) => self.event(),
                _ => break,
            }
        }
        self.now = end;
    }

    fn event(&mut self) {
        let Some(Reverse((due, order, event))) = self.queue.pop() else { return };
        self.now = due;
        match event {
            Event::Packet => {
                self.later(PACKETS_EVERY, Event::Packet);
                self.number += 1;
                for wire in self.sending.clone() {
                    let key = EntryKey { source: source(wire).into(), group: self.plan.group.into() };
                    self.data(wire, Packet { key, number: self.number, ttl: TTL }, None);
                }
            }
            Event::Report(wire) => {
                self.later(REPORTS_EVERY, Event::Report(wire));
                if self.members.contains(&wire) {
                    self.report(wire);
                }
            }
            Event::Answer(wire) => {
                if self.members.contains(&wire) {
                    self.report(wire);
                }
            }
            Event::Control(router, port) => {
                let Some(datagram) = self.control.remove(&order) else { return };
                if self.down.contains(&self.nodes[router].wires[port]) {
                    return;
                }
                // The kernel takes a register apart, whoever it is for among its addresses.
                let message = parse(datagram.source, datagram.destination, &datagram.payload);
                self.put(router, Input::Packet { interface: id(port), datagram });
                if let Ok(Message::Register(register)) = message
                    && !register.null
                {
                    self.order += 1;
                    let packet = register.packet;
                    self.control.insert(self.order, inner(packet));
                    self.queue.push(Reverse((self.now, self.order, Event::Decapsulated(router))));
                }
            }
            Event::Decapsulated(router) => {
                let Some(datagram) = self.control.remove(&order) else { return };
                self.arrive(router, InterfaceId::REGISTER, Packet::read(&datagram.payload));
            }
        }
    }

    pub fn change(&mut self, change: &Change) {
        if self.verbose {
            println!("{} {change:?}", self.now);
        }
        match *change {
            Change::Join(wire) => {
                self.members.insert(wire % self.plan.wires);
                self.report(wire % self.plan.wires);
            }
            Change::Leave(wire) => {
                self.members.remove(&(wire % self.plan.wires));
                self.report(wire % self.plan.wires);
            }
            Change::Start(wire) => {
                let sources: Vec<usize> = self.plan.sources.iter().copied().collect();
                self.sending.insert(sources[wire % sources.len()]);
            }
            Change::Stop(wire) => {
                let sources: Vec<usize> = self.plan.sources.iter().copied().collect();
                self.sending.remove(&sources[wire % sources.len()]);
            }
            Change::Fail(wire) => self.cut(wire % self.plan.wires, true),
            Change::Restore(wire) => self.cut(wire % self.plan.wires, false),
            Change::Restart(router) => {
                let router = router % self.nodes.len();
                self.nodes[router] = self.node(router);
                self.start(router);
            }
        }
    }

    fn cut(&mut self, wire: usize, down: bool) {
        let before: Vec<_> = (0..self.nodes.len()).map(|router| self.routes(router)).collect();
        if down {
            self.down.insert(wire)
        } else {
            self.down.remove(&wire)
        };
        for router in 0..self.nodes.len() {
            if let Some(port) = self.nodes[router].wires.iter().position(|of| *of == wire) {
                self.interface(router, port);
            }
        }
        for (router, before) in before.into_iter().enumerate() {
            let after = self.routes(router);
            for route in after.iter().filter(|route| !before.contains(route)) {
                self.put(router, Input::RouteAdded(route.clone()));
            }
            for route in before.iter().filter(|route| !after.contains(route)) {
                self.put(router, Input::RouteRemoved(route.clone()));
            }
        }
    }

    /// Wires that a source reaches, by the rendezvous point if the group has one.
    pub fn reached(&self, source: usize) -> BTreeSet<usize> {
        if self.down.contains(&source) {
            return BTreeSet::new();
        }
        let distances = self.distances(&BTreeSet::from([source]));
        let wires = distances.keys().flat_map(|router| self.plan.routers[*router].iter().copied());
        let reached: BTreeSet<usize> = wires.chain([source]).filter(|wire| !self.down.contains(wire)).collect();
        let at_rp = &self.plan.routers[self.plan.rp];
        let is_ssm = self.plan.group.octets()[0] == 232;
        if is_ssm || at_rp.iter().any(|wire| reached.contains(wire)) { reached } else { BTreeSet::from([source]) }
    }

    /// What routers still keep.
    pub fn left(&self) -> Vec<String> {
        let trees = self.nodes.iter().map(|node| node.router.show(self.now, Show::Trees));
        trees
            .enumerate()
            .filter(|(_, trees)| !matches!(trees, Shown::Trees(trees) if trees.is_empty()))
            .map(|(router, trees)| format!("r{router}: {}", serde_json::to_string(&trees).unwrap()))
            .collect()
    }

    /// What routers know, for a complaint.
    pub fn told(&self) -> String {
        let trees = self.left().join("\n");
        let kernels = self.nodes.iter().enumerate().flat_map(|(router, node)| {
            node.kernel.values().map(move |cached| {
                let out: Vec<u32> = cached.entry.outgoing.keys().map(|id| id.0).collect();
                format!("r{router}: {} from {} to {out:?}", cached.entry.key.source, cached.entry.incoming.0)
            })
        });
        format!(
            "{:?}\ndown {:?} members {:?} sending {:?}\n{trees}\n{}",
            self.plan,
            self.down,
            self.members,
            self.sending,
            kernels.collect::<Vec<_>>().join("\n")
        )
    }
}

fn inner(payload: Vec<u8>) -> Datagram {
    let nobody = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    Datagram {
        source: nobody,
        destination: nobody,
        protocol: 17,
        ttl: 1,
        router_alert: false,
        traffic_class: 0,
        payload,
    }
}
