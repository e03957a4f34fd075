//! Routers on wires in virtual time. Every router is a candidate RP, some are candidate BSRs; unicast routes are shortest paths, and
//! follow what happens at once.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use proptest::test_runner::TestCaseError;
use router_core::config::Config;
use router_core::router::{Datagram, Input, InterfaceId, InterfaceState, Output, Router, UnicastRoute};
use router_core::show::{BsrZone, RpMapping, Show, Shown};
use router_core::time::Time;

const LATENCY: Duration = Duration::from_millis(1);
const LOOPBACK: InterfaceId = InterfaceId(100);

/// Routers by the wires that each is on: interface `n` of a router is on its `n`th wire, counted from 1.
#[derive(Clone, Debug)]
pub struct Plan {
    pub wires: usize,
    pub routers: Vec<BTreeSet<usize>>,
    pub seed: u64,
}

impl Plan {
    pub fn is_connected(&self) -> bool {
        let all = (0..self.routers.len()).collect();
        piece(self, &all, &BTreeSet::new(), 0) == all
    }
}

/// The routers that a router reaches, among those that live and over wires that are up.
fn piece(plan: &Plan, alive: &BTreeSet<usize>, down: &BTreeSet<usize>, from: usize) -> BTreeSet<usize> {
    let mut reached: BTreeSet<usize> = [from].into();
    let mut queue = VecDeque::from([from]);
    while let Some(router) = queue.pop_front() {
        for wire in plan.routers[router].difference(down) {
            for other in alive.iter().filter(|other| plan.routers[**other].contains(wire)) {
                if reached.insert(*other) {
                    queue.push_back(*other);
                }
            }
        }
    }
    reached
}

fn address(wire: usize, router: usize) -> IpAddr {
    Ipv4Addr::new(10, 0, wire as u8, router as u8 + 1).into()
}

fn loopback(router: usize) -> IpAddr {
    Ipv4Addr::new(10, 7, 0, router as u8 + 1).into()
}

/// Two of three routers are candidate BSRs, of few priorities so that addresses count too.
fn priority(plan: &Plan, router: usize) -> Option<u8> {
    let roll = plan.seed.rotate_left(router as u32 * 5) % 9;
    (router < 2 || roll < 6).then_some(60 + (roll % 3) as u8)
}

struct Node {
    router: Router,
    routes: BTreeSet<(usize, IpAddr, usize)>,
}

pub struct Net {
    plan: Plan,
    now: Time,
    nodes: BTreeMap<usize, Node>,
    down: BTreeSet<usize>,
    queue: BinaryHeap<Reverse<(Time, u64)>>,
    packets: BTreeMap<u64, (usize, InterfaceId, Datagram)>,
    order: u64,
}

impl Net {
    pub fn new(plan: Plan) -> Net {
        let mut net = Net {
            now: Time::ZERO,
            nodes: BTreeMap::new(),
            down: BTreeSet::new(),
            queue: BinaryHeap::new(),
            packets: BTreeMap::new(),
            order: 0,
            plan,
        };
        for router in 0..net.plan.routers.len() {
            net.start(router);
        }
        net
    }

    pub fn start(&mut self, router: usize) {
        let names: Vec<String> = self.plan.routers[router].iter().map(|wire| format!("{{name: eth{wire}}}")).collect();
        let own = loopback(router);
        let bsr = priority(&self.plan, router)
            .map(|priority| format!("candidate-bsr: {{address: {own}, priority: {priority}}}, "));
        let text = format!(
            "multicast: pim-sm\nigmp: {{enabled: false}}\nseed: {}\ninterfaces: [{}]\n\
             pim: {{{}candidate-rp: {{address: {own}, groups: [224.0.0.0/4, 239.{router}.0.0/16]}}, triggered-hello-delay: 1s}}",
            (self.plan.seed >> 1).wrapping_add(router as u64),
            names.join(", "),
            bsr.unwrap_or_default()
        );
        let node = Node { router: Router::new(Config::from_yaml(&text).unwrap()), routes: BTreeSet::new() };
        self.nodes.insert(router, node);
        let state = InterfaceState {
            name: "lo".into(),
            up: true,
            mtu: 65_536,
            addresses: vec![ipnet::IpNet::new(own, 32).unwrap()],
        };
        self.handle(router, Input::Interface { interface: LOOPBACK, state });
        for wire in self.plan.routers[router].clone() {
            self.tell_interface(router, wire);
        }
        self.route();
    }

    fn interface(&self, router: usize, wire: usize) -> InterfaceId {
        InterfaceId(self.plan.routers[router].iter().position(|on| *on == wire).unwrap() as u32 + 1)
    }

    fn tell_interface(&mut self, router: usize, wire: usize) {
        let prefix = ipnet::IpNet::new(address(wire, router), 24).unwrap();
        let (up, interface) = (!self.down.contains(&wire), self.interface(router, wire));
        let state = InterfaceState { name: format!("eth{wire}"), up, mtu: 500, addresses: vec![prefix] };
        self.handle(router, Input::Interface { interface, state });
        let route = UnicastRoute { prefix: prefix.trunc(), next_hop: None, interface, metric: 0 };
        self.handle(router, if up { Input::RouteAdded(route) } else { Input::RouteRemoved(route) });
    }

    pub fn kill(&mut self, router: usize) {
        self.nodes.remove(&router);
        self.route();
    }

    /// The daemon ends; the machine still routes.
    pub fn shutdown(&mut self, router: usize) {
        self.handle(router, Input::Shutdown);
        self.nodes.remove(&router);
        self.run(Duration::from_millis(20));
        self.route();
    }

    pub fn cut(&mut self, wire: usize) {
        self.down.insert(wire);
        self.wire_changed(wire);
    }

    pub fn restore(&mut self, wire: usize) {
        self.down.remove(&wire);
        self.wire_changed(wire);
    }

    fn wire_changed(&mut self, wire: usize) {
        for router in
            self.alive().into_iter().filter(|router| self.plan.routers[*router].contains(&wire)).collect::<Vec<_>>()
        {
            self.tell_interface(router, wire);
        }
        self.route();
    }

    fn alive(&self) -> BTreeSet<usize> {
        self.nodes.keys().copied().collect()
    }

    fn pieces(&self) -> Vec<BTreeSet<usize>> {
        let alive = self.alive();
        let mut pieces: Vec<BTreeSet<usize>> = Vec::new();
        for router in &alive {
            if !pieces.iter().any(|piece| piece.contains(router)) {
                pieces.push(piece(&self.plan, &alive, &self.down, *router));
            }
        }
        pieces
    }

    pub fn is_connected(&self) -> bool {
        self.pieces().len() == 1
    }

    /// Shortest paths to all loopbacks, by the lowest next hop.
    fn route(&mut self) {
        let alive = self.alive();
        for router in alive.clone() {
            let mut wanted = BTreeSet::new();
            for to in alive.iter().filter(|to| **to != router) {
                let Some(distances) =
                    self.distances(&alive, *to).get(&router).map(|own| (*own, self.distances(&alive, *to)))
                else {
                    continue;
                };
                let (own, distances) = distances;
                let hops = self.plan.routers[router].difference(&self.down).flat_map(|wire| {
                    let on = distances
                        .iter()
                        .filter(|(other, far)| **far < own && self.plan.routers[**other].contains(wire));
                    on.map(|(other, _)| (address(*wire, *other), *wire))
                });
                wanted.extend(hops.min().map(|(hop, wire)| (*to, hop, wire)));
            }
            let old = self.nodes[&router].routes.clone();
            for (routes, added) in [(&wanted - &old, true), (&old - &wanted, false)] {
                for (to, hop, wire) in routes {
                    let route = UnicastRoute {
                        prefix: ipnet::IpNet::new(loopback(to), 32).unwrap(),
                        next_hop: Some(hop),
                        interface: self.interface(router, wire),
                        metric: 20,
                    };
                    self.handle(router, if added { Input::RouteAdded(route) } else { Input::RouteRemoved(route) });
                }
            }
            self.nodes.get_mut(&router).unwrap().routes = wanted;
        }
    }

    fn distances(&self, alive: &BTreeSet<usize>, to: usize) -> BTreeMap<usize, usize> {
        let mut distances = BTreeMap::from([(to, 0)]);
        let mut queue = VecDeque::from([to]);
        while let Some(router) = queue.pop_front() {
            for wire in self.plan.routers[router].difference(&self.down) {
                for other in alive.iter().filter(|other| self.plan.routers[**other].contains(wire)) {
                    if !distances.contains_key(other) {
                        distances.insert(*other, distances[&router] + 1);
                        queue.push_back(*other);
                    }
                }
            }
        }
        distances
    }

    fn handle(&mut self, router: usize, input: Input) {
        let Some(node) = self.nodes.get_mut(&router) else { return };
        node.router.handle(self.now, input);
        let outputs: Vec<Output> = std::iter::from_fn(|| node.router.poll_output()).collect();
        for output in outputs {
            match output {
                Output::Send { interface, datagram } => {
                    let wire = *self.plan.routers[router].iter().nth(interface.0 as usize - 1).unwrap();
                    let on = |other: &usize| *other != router && self.plan.routers[*other].contains(&wire);
                    for other in
                        self.alive().into_iter().filter(on).filter(|_| !self.down.contains(&wire)).collect::<Vec<_>>()
                    {
                        self.later(LATENCY, other, self.interface(other, wire), datagram.clone());
                    }
                }
                Output::SendRouted { datagram } => {
                    let alive = self.alive();
                    let to = alive.iter().find(|to| loopback(**to) == datagram.destination).copied();
                    let Some(to) = to.filter(|to| self.distances(&alive, *to).contains_key(&router)) else { continue };
                    self.later(3 * LATENCY, to, InterfaceId(1), datagram);
                }
                _ => {}
            }
        }
    }

    fn later(&mut self, delay: Duration, router: usize, interface: InterfaceId, datagram: Datagram) {
        self.order += 1;
        self.packets.insert(self.order, (router, interface, datagram));
        self.queue.push(Reverse((self.now + delay, self.order)));
    }

    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        let mut steps = 0;
        loop {
            let timer =
                self.nodes.iter().filter_map(|(router, node)| Some((node.router.poll_timeout()?, *router))).min();
            let packet = self.queue.peek().map(|Reverse((at, _))| *at);
            let Some(next) = timer.map(|(at, _)| at).into_iter().chain(packet).min().filter(|next| *next <= end) else {
                break;
            };
            steps += 1;
            assert!(steps < 300_000, "messages go round");
            self.now = self.now.max(next);
            if packet == Some(next) {
                let Reverse((_, order)) = self.queue.pop().unwrap();
                let (router, interface, datagram) = self.packets.remove(&order).unwrap();
                self.handle(router, Input::Packet { interface, datagram });
            } else if let Some((_, router)) = timer {
                self.handle(router, Input::Timeout);
            }
        }
        self.now = end;
    }

    fn heaviest_of(&self, routers: &BTreeSet<usize>) -> Option<usize> {
        let weight = |router: &usize| Some((priority(&self.plan, *router)?, *router));
        routers.iter().filter_map(weight).max().map(|(_, router)| router)
    }

    pub fn heaviest(&self) -> usize {
        self.heaviest_of(&self.alive()).unwrap()
    }

    fn domain(&self, router: usize) -> BsrZone {
        let Shown::Bsr(zones) = self.nodes[&router].router.show(self.now, Show::Bsr) else { panic!() };
        zones.into_iter().find(|zone| zone.zone.is_none()).unwrap()
    }

    /// What a router maps groups to, hold times left out.
    fn rp_set(&self, router: usize) -> Vec<RpMapping> {
        let Shown::Rp(mappings) = self.nodes[&router].router.show(self.now, Show::Rp) else { panic!() };
        mappings.into_iter().map(|mapping| RpMapping { expires_ms: None, ..mapping }).collect()
    }

    /// Every piece of the network has the heaviest candidate in it as its BSR.
    pub fn same_bsr(&self) -> Result<(), TestCaseError> {
        for piece in self.pieces() {
            let expected = self.heaviest_of(&piece);
            for router in &piece {
                let zone = self.domain(*router);
                let states: Vec<String> = piece.iter().map(|router| format!("{:?}", self.domain(*router))).collect();
                if zone.bsr != expected.map(loopback) {
                    return Err(TestCaseError::fail(format!("r{router}: {expected:?} is to be the BSR: {states:#?}")));
                }
                if (zone.state == "elected") != (expected == Some(*router)) {
                    return Err(TestCaseError::fail(format!("r{router} is {}: {states:#?}", zone.state)));
                }
            }
        }
        Ok(())
    }

    /// The same, and all of a piece have equal RP-Sets, which tell of all that live there and of nobody else.
    pub fn agree(&self) -> Result<(), TestCaseError> {
        self.same_bsr()?;
        for piece in self.pieces() {
            let Some(bsr) = self.heaviest_of(&piece) else { continue };
            let expected = self.rp_set(bsr);
            for router in &piece {
                if self.rp_set(*router) != expected {
                    let sets = (self.rp_set(*router), &expected);
                    return Err(TestCaseError::fail(format!("r{router} and r{bsr}: {sets:#?}")));
                }
            }
            let told: BTreeSet<IpAddr> = expected.iter().map(|mapping| mapping.rp).collect();
            let living: BTreeSet<IpAddr> = piece.iter().map(|router| loopback(*router)).collect();
            if told != living || expected.len() != 2 * piece.len() {
                return Err(TestCaseError::fail(format!("{told:?} where {living:?} live")));
            }
        }
        Ok(())
    }
}
