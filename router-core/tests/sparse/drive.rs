//! Drives a sparse mode router with what a string of octets says: messages of neighbours, well-formed and not, data, counters, members,
//! routes and interfaces that come and go, and time. After each step it looks whether everything is still in bounds and the timers fit
//! the states. The property test beside it runs it.

#[path = "../support/driver.rs"]
mod driver;
#[path = "../support/tape.rs"]
mod tape;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use router_core::config::Config;
use router_core::forwarding::EntryKey;
use router_core::router::{Datagram, Input, InterfaceId, Router, UnicastRoute};
use router_core::show::{Show, Shown, Tree, TreeInterface};
use router_core::time::Time;
use router_core::wire::checksum::internet;
use router_core::wire::pim::{
    ALL_PIM_ROUTERS, Assert, EncodedSource, GroupSet, Hello, JoinPrune, LanPruneDelay, Message, PROTOCOL, Register,
    RegisterStop, parse,
};

use driver::*;
use tape::Tape;

const CONFIG: &str = "
multicast: pim-sm
igmp: {query-interval: 100s, query-response-interval: 2s}
pim:
  hello-period: 4h
  triggered-hello-delay: 1s
  keepalive-period: 90s
  register-suppression-time: 30s
  rp: [{address: 10.7.7.7}, {address: 10.0.3.1, groups: 239.1.2.0/24}]
interfaces:
  - {name: eth0, pim: {explicit-tracking: true}}
  - {name: eth1, ttl-threshold: 4}
  - {name: eth2, boundary: [239.9.9.0/24], pim: {lan-prune-delay: false, ssm-mapping: [{groups: 232.1.1.0/24, sources: [10.9.0.1]}]}}
  - {name: eth3, igmp: {fast-leave: true}, pim: {explicit-tracking: true}}
limits: {groups-per-interface: 4, sources-per-group: 3, neighbours-per-interface: 3, forwarding-entries: 6}
";
const ENTRIES: usize = 6;

impl Tape<'_> {
    fn group(&mut self) -> IpAddr {
        match self.byte() {
            0..180 => [239, 1, 1, 1],
            180..250 => self.one_of(&[[239, 1, 2, 1], [239, 1, 2, 1], [239, 9, 9, 1], [232, 1, 1, 1], [232, 1, 1, 1]]),
            250.. => self.one_of(&[[224, 0, 0, 5], [10, 1, 1, 1], [255, 255, 255, 255]]),
        }
        .into()
    }

    fn key(&mut self) -> EntryKey {
        EntryKey { source: self.source(), group: self.group() }
    }

    fn hello(&mut self) -> Hello {
        Hello {
            hold_time: if self.byte() > 240 { None } else { Some(self.hold_time()) },
            lan_prune_delay: self.flag().then(|| LanPruneDelay {
                tracking: self.flag(),
                propagation_delay: u16::from(self.byte()) * 4,
                override_interval: u16::from(self.byte()) * 10,
            }),
            dr_priority: self.flag().then(|| self.below(3).into()),
            generation_id: self.flag().then(|| self.below(3).into()),
            state_refresh_interval: self.flag().then(|| self.below(70)),
            addresses: Vec::new(),
        }
    }

    fn join_prune(&mut self, port: u8) -> JoinPrune {
        let (upstream, hold_time, count) = (self.upstream(port), self.hold_time(), self.one_of(&[1, 1, 1, 2, 3, 0]));
        let groups = (0..count).map(|_| {
            let flags = self.byte();
            let mask_length = if flags > 250 { 24 } else { 32 };
            let mut set = GroupSet { group: self.group(), mask_length, joined: Vec::new(), pruned: Vec::new() };
            for _ in 0..self.one_of(&[1, 1, 2, 0]) {
                let bits = self.byte();
                let all = bits.is_multiple_of(3);
                let rp = if set.group == IpAddr::from([239, 1, 2, 1]) { [10, 0, 3, 1] } else { [10, 7, 7, 7] };
                let source = EncodedSource {
                    address: if all && bits & 0xf0 != 0xf0 { rp.into() } else { self.source() },
                    mask_length: if bits & 0xf8 == 0xf8 { 24 } else { 32 },
                    sparse: bits & 4 == 0,
                    wildcard: all,
                    rpt: all || bits % 3 == 1,
                };
                if self.below(3) > 0 { &mut set.joined } else { &mut set.pruned }.push(source);
            }
            set
        });
        JoinPrune { upstream, hold_time, groups: groups.collect() }
    }

    fn message(&mut self, port: u8) -> Message {
        match self.below(12) {
            0 | 1 => Message::Hello(self.hello()),
            2..=6 => Message::JoinPrune(self.join_prune(port)),
            7 | 8 => {
                let (mut key, (preference, metric)) = (self.key(), self.metric());
                if self.below(8) == 0 {
                    key.source = Ipv4Addr::UNSPECIFIED.into();
                }
                let EntryKey { source, group } = key;
                Message::Assert(Assert { group, source, rpt: self.flag(), preference, metric })
            }
            9 | 10 => {
                let key = self.key();
                let null = self.flag();
                Message::Register(Register { border: self.flag(), null, packet: inner(key) })
            }
            _ => {
                let EntryKey { source, group } = self.key();
                let source = if self.below(6) == 0 { Ipv4Addr::UNSPECIFIED.into() } else { source };
                Message::RegisterStop(RegisterStop { group, mask_length: 32, source })
            }
        }
    }
}

/// The header of a packet.
fn inner(key: EntryKey) -> Vec<u8> {
    let (IpAddr::V4(source), IpAddr::V4(group)) = (key.source, key.group) else { panic!() };
    let mut packet = vec![0u8; 24];
    (packet[0], packet[8]) = (0x45, 9);
    packet[12..16].copy_from_slice(&source.octets());
    packet[16..20].copy_from_slice(&group.octets());
    let sum = internet(&packet[..20]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet
}

fn pim(port: u8, source: IpAddr, message: &Message) -> Input {
    let (source, destination) = match message {
        Message::Register(_) => ([10, 3, 3, 3].into(), own(3)),
        Message::RegisterStop(stop) if stop.group == IpAddr::from([239, 1, 1, 1]) => ([10, 7, 7, 7].into(), own(0)),
        Message::RegisterStop(_) => (source, own(0)),
        _ => (source, ALL_PIM_ROUTERS.into()),
    };
    packet(port, source, destination, PROTOCOL, message.emit(source, destination))
}

/// What a step puts in, and how long after the one before.
fn step(tape: &mut Tape<'_>) -> (Duration, Input) {
    let port = tape.below(PORTS);
    let input = match tape.below(20) {
        0 => return (Duration::from_millis(u64::from(tape.byte()) * 40), Input::Timeout),
        1 => return (Duration::from_secs(tape.byte().into()), Input::Timeout),
        2..=10 => {
            let from = tape.neighbour(port);
            pim(port, from, &tape.message(port))
        }
        11 => {
            // A message with an octet of it changed, or cut off; with a right checksum, so that it is read.
            let from = tape.neighbour(port);
            let mut octets = tape.message(port).emit(from, ALL_PIM_ROUTERS.into());
            let at = usize::from(tape.byte()) % octets.len();
            octets[at] = tape.byte();
            if tape.flag() {
                octets.truncate(usize::from(tape.byte()) % (octets.len() + 1));
            }
            summed(port, from, octets)
        }
        12 => {
            let from = tape.neighbour(port);
            let octets = tape.bytes(60);
            summed(port, from, octets)
        }
        13 | 14 => Input::NoCache { interface: InterfaceId(tape.below(PORTS + 2).into()), key: tape.key() },
        15 if tape.below(4) == 0 => {
            let mut packet = inner(tape.key());
            packet.truncate(tape.one_of(&[24, 24, 24, 19, 0]));
            Input::WholePacket { packet }
        }
        15 => Input::WrongInterface { interface: InterfaceId(tape.below(PORTS + 2).into()), key: tape.key() },
        16 => {
            let packets = tape.byte().into();
            Input::Counters { key: tape.key(), packets, octets: packets, wrong_interface: u64::from(tape.below(4)) }
        }
        17 => {
            let route = route(tape);
            if tape.flag() { Input::RouteRemoved(route) } else { Input::RouteAdded(route) }
        }
        18 => match tape.below(6) {
            0 => Input::InterfaceGone { interface: id(port) },
            1 => interface(port, true, 0),
            2 => interface(port, true, 7),
            3 => interface(port, false, 1),
            _ => interface(port, true, 1),
        },
        _ => {
            let group = tape.group();
            member(tape, port, group)
        }
    };
    (Duration::ZERO, input)
}

fn route(tape: &mut Tape<'_>) -> UnicastRoute {
    let port = tape.below(PORTS);
    let prefix = tape.one_of(&["10.9.0.0/24", "10.7.7.0/24", "10.9.0.1/32", "10.9.0.0/16", "10.0.3.0/24", "0.0.0.0/0"]);
    let next_hop = if tape.byte() > 200 { None } else { Some(tape.neighbour(port)) };
    let (preference, metric) = tape.one_of(&[(110, 10), (110, 20), (110, 30), (0, 0)]);
    UnicastRoute { prefix: prefix.parse().unwrap(), next_hop, interface: id(port), metric: preference << 24 | metric }
}

fn check_routed(datagram: &Datagram) {
    assert!(datagram.ttl > 1 && !datagram.destination.is_multicast(), "{datagram:?}");
    let read = parse(datagram.source, datagram.destination, &datagram.payload);
    assert!(read.is_ok(), "{read:?} of {datagram:?}");
}

/// The timers that run are those of the states (RFC 7761 §4.4 to §4.6).
fn check_tree(tree: &Tree) {
    let runs = |timer: &str| tree.timers.contains_key(timer);
    assert_eq!(runs("JT"), tree.upstream == "joined", "{tree:?}");
    let ssm = tree.group == IpAddr::from([232, 1, 1, 1]);
    match &tree.sparse {
        Some(sparse) => {
            assert_eq!(runs("RST"), ["prune", "join-pending"].contains(&sparse.register.as_str()), "{tree:?}");
            assert!(sparse.register == "no-info" || runs("KAT") && tree.rpf_neighbour.is_none(), "{tree:?}");
            assert!(!runs("OT") || sparse.rpt == "not-pruned", "{tree:?}");
            assert!(!ssm || sparse.rpt == "not-joined" && sparse.register == "no-info", "{tree:?}");
            assert!(ssm || !sparse.spt_bit || tree.upstream == "joined", "{tree:?}");
        }
        None => assert!(!ssm, "a source-specific group has no shared tree: {tree:?}"),
    }
    for (name, state) in &tree.interfaces {
        let TreeInterface { downstream, downstream_rpt, assert, timers, assert_winner, joined } = state;
        let is_rpf = tree.rpf_interface.as_ref() == Some(name);
        assert_eq!(timers.contains_key("PPT"), downstream == "prune-pending", "{tree:?}");
        assert!(joined.as_ref().is_none_or(|joined| joined.len() <= NEIGHBOURS && downstream != "no-info"), "{tree:?}");
        // Without a timer, a join holds for ever.
        assert!(!timers.contains_key("ET") || downstream != "no-info", "{tree:?}");
        let rpt = downstream_rpt.as_deref();
        assert_eq!(timers.contains_key("rpt-PPT"), rpt == Some("prune-pending"), "{tree:?}");
        assert!(!timers.contains_key("rpt-ET") || rpt.is_some(), "{tree:?}");
        assert!(rpt.is_none_or(|rpt| !rpt.ends_with("tmp")), "no time is spent in P' and PP': {tree:?}");
        assert_eq!(timers.contains_key("AT"), assert != "no-info", "{tree:?}");
        assert!(assert_winner.is_some() || assert != "loser", "{tree:?}");
        assert!(!is_rpf || assert != "winner", "{tree:?}");
        assert!(
            downstream != "no-info" || rpt.is_some() || assert != "no-info",
            "state that says nothing is not kept: {tree:?}"
        );
    }
}

/// Runs the steps of a tape, then lets everything end. Gives a digest of all outputs, which is the same for the same tape.
pub fn drive(tape: &[u8]) -> u64 {
    let mut tape = Tape(tape);
    let mut driver = Driver {
        of_mode: OfMode { entries: ENTRIES, check_tree, routed: check_routed },
        router: Router::new(Config::from_yaml(CONFIG).unwrap()),
        now: Time::ZERO,
        kernel: BTreeMap::new(),
        packets: 0,
        sources_send: true,
        outputs: 0,
        digest: 0xcbf2_9ce4_8422_2325,
    };
    for port in 0..PORTS {
        driver.put(interface(port, true, 1));
        let route = UnicastRoute {
            prefix: format!("10.0.{port}.0/24").parse().unwrap(),
            next_hop: None,
            interface: id(port),
            metric: 0,
        };
        driver.put(Input::RouteAdded(route));
    }
    let route = UnicastRoute {
        prefix: "10.9.0.0/16".parse().unwrap(),
        next_hop: Some([10, 0, 0, 2].into()),
        interface: id(0),
        metric: 110 << 24 | 20,
    };
    driver.put(Input::RouteAdded(route.clone()));
    driver.put(Input::RouteAdded(UnicastRoute {
        prefix: "10.7.7.0/24".parse().unwrap(),
        interface: id(1),
        next_hop: Some([10, 0, 1, 2].into()),
        ..route
    }));
    for (port, last) in [(0, 2), (0, 3), (1, 2), (1, 3), (2, 2), (3, 2)] {
        let hello = Hello { hold_time: Some(1000), dr_priority: Some(1), ..Hello::default() };
        driver.put(pim(port, Ipv4Addr::new(10, 0, port, last).into(), &Message::Hello(hello)));
    }
    while !tape.0.is_empty() {
        let (wait, input) = step(&mut tape);
        driver.run_until(driver.now + wait);
        driver.put(input);
        driver.check();
    }
    end(&mut driver);
    driver.digest
}

/// Sources and neighbours go, members are silent: after the longest hold time, nothing is left.
fn end(driver: &mut Driver) {
    driver.sources_send = false;
    let Shown::Neighbours(neighbours) = driver.router.show(driver.now, Show::Neighbours) else { panic!() };
    for neighbour in neighbours {
        let port: u8 = neighbour.interface.trim_start_matches("eth").parse().unwrap();
        let goodbye = Message::Hello(Hello { hold_time: Some(0), ..Hello::default() });
        driver.put(pim(port, neighbour.address, &goodbye));
    }
    let end = driver.now + LONG;
    let is_over = |driver: &Driver| matches!(driver.router.show(driver.now, Show::Trees), Shown::Trees(trees) if trees.is_empty());
    driver.run_until(driver.now + SOME);
    while driver.now < end && !is_over(driver) {
        driver.run_until(driver.now + SOME);
    }
    for show in [Show::Trees, Show::Entries, Show::Neighbours, Show::Groups] {
        let left = serde_json::to_string(&driver.router.show(driver.now, show)).unwrap();
        assert!(left.ends_with("[]}"), "{left}");
    }
    assert!(driver.kernel.is_empty(), "{:?}", driver.kernel);
    driver.put(Input::Shutdown);
}
