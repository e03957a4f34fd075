//! Drives a dense mode router with what a string of octets says: messages of neighbours, well-formed and not, data, counters, members,
//! routes and interfaces that come and go, and time. After each step it looks whether everything is still in bounds and the timers fit
//! the states. The property test beside it and the fuzz target `router` share it.

#[path = "../support/driver.rs"]
mod driver;
#[path = "../support/tape.rs"]
mod tape;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use router_core::config::Config;
use router_core::forwarding::EntryKey;
use router_core::router::{Input, Router, UnicastRoute};
use router_core::show::{Show, Shown, Tree, TreeInterface};
use router_core::time::Time;
use router_core::wire::pim::{
    ALL_PIM_ROUTERS, Assert, EncodedSource, GroupSet, Hello, JoinPrune, LanPruneDelay, Message, PROTOCOL, StateRefresh,
};

use driver::*;
use tape::Tape;

const CONFIG: &str = "
multicast: pim-dm
igmp: {query-interval: 100s, query-response-interval: 2s}
pim: {hello-period: 4h, triggered-hello-delay: 1s, source-lifetime: 90s, prune-limit: 70s, prune-hold-time: 60s, state-refresh-interval: 20s}
interfaces:
  - {name: eth0}
  - {name: eth1, ttl-threshold: 4}
  - {name: eth2, boundary: [239.9.9.0/24], pim: {lan-prune-delay: false}}
  - {name: eth3, igmp: {fast-leave: true}}
limits: {groups-per-interface: 4, sources-per-group: 3, neighbours-per-interface: 3, forwarding-entries: 5}
";
const ENTRIES: usize = 5;

impl Tape<'_> {
    fn group(&mut self) -> IpAddr {
        match self.byte() {
            0..180 => [239, 1, 1, 1],
            180..250 => self.one_of(&[[239, 1, 1, 2], [239, 1, 1, 3], [239, 9, 9, 1], [232, 1, 1, 1]]),
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
            dr_priority: None,
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
                let source = EncodedSource {
                    address: self.source(),
                    mask_length: if bits & 0xf0 == 0xf0 { 24 } else { 32 },
                    sparse: bits & 4 != 0,
                    wildcard: bits & 0x1f == 0x1f,
                    rpt: bits & 0x1f == 0x1e,
                };
                if flags & 1 != 0 { &mut set.joined } else { &mut set.pruned }.push(source);
            }
            set
        });
        JoinPrune { upstream, hold_time, groups: groups.collect() }
    }

    fn message(&mut self, port: u8) -> Message {
        match self.below(10) {
            0 | 1 => Message::Hello(self.hello()),
            2..=4 => Message::JoinPrune(self.join_prune(port)),
            5 => Message::Graft(self.join_prune(port)),
            6 => Message::GraftAck(self.join_prune(port)),
            7 | 8 => {
                let (EntryKey { source, group }, (preference, metric)) = (self.key(), self.metric());
                Message::Assert(Assert { group, source, rpt: self.flag(), preference, metric })
            }
            _ => {
                let (EntryKey { source, group }, (preference, metric)) = (self.key(), self.metric());
                let flags = self.byte();
                Message::StateRefresh(StateRefresh {
                    group,
                    source,
                    originator: self.neighbour(port),
                    rpt: flags & 8 != 0,
                    preference,
                    metric,
                    mask_length: self.below(33),
                    ttl: self.one_of(&[0, 1, 2, 4, 5, 64, 255]),
                    prune_indicator: flags & 1 != 0,
                    prune_now: flags & 2 != 0,
                    assert_override: flags & 4 != 0,
                    interval: self.one_of(&[0, 1, 20, 60, 255]),
                })
            }
        }
    }
}

fn pim(port: u8, source: IpAddr, message: &Message) -> Input {
    let destination = match message {
        Message::Graft(graft) => graft.upstream,
        Message::GraftAck(_) => own(port),
        _ => ALL_PIM_ROUTERS.into(),
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
        13 | 14 => Input::NoCache { interface: id(tape.below(PORTS + 1)), key: tape.key() },
        15 => Input::WrongInterface { interface: id(tape.below(PORTS + 1)), key: tape.key() },
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
    let prefix = tape.one_of(&["10.9.0.0/24", "10.9.0.0/24", "10.9.0.1/32", "10.9.0.0/16", "10.0.3.0/24", "0.0.0.0/0"]);
    let next_hop = if tape.byte() > 200 { None } else { Some(tape.neighbour(port)) };
    let (preference, metric) = tape.one_of(&[(110, 10), (110, 20), (110, 30), (0, 0)]);
    UnicastRoute { prefix: prefix.parse().unwrap(), next_hop, interface: id(port), metric: preference << 24 | metric }
}

/// The timers that run are those of the states (RFC 3973 §4.4 to §4.6).
fn check_tree(tree: &Tree) {
    let runs = |timer: &str| tree.timers.contains_key(timer);
    match tree.upstream.as_str() {
        "forwarding" => assert!(!runs("GRT") && !runs("PLT"), "{tree:?}"),
        "pruned" => assert!(!runs("GRT") && !runs("OT"), "{tree:?}"),
        "ack-pending" => assert!(!runs("PLT"), "{tree:?}"),
        other => panic!("{other}"),
    }
    assert_eq!((tree.originator, tree.originator), (runs("SRT"), runs("SAT")), "{tree:?}");
    assert!(!tree.originator || tree.rpf_neighbour.is_none(), "only who is directly connected originates: {tree:?}");
    for (name, state) in &tree.interfaces {
        let TreeInterface { downstream, assert, timers, assert_winner, .. } = state;
        let is_rpf = tree.rpf_interface.as_ref() == Some(name);
        assert_eq!(timers.contains_key("PPT"), downstream == "prune-pending", "{tree:?}");
        // Without a timer, a prune holds for ever.
        assert!(!timers.contains_key("PT") || downstream == "pruned", "{tree:?}");
        assert_eq!(timers.contains_key("AT"), assert != "no-info", "{tree:?}");
        assert!(assert_winner.is_some() || assert != "loser", "{tree:?}");
        assert!(!is_rpf || downstream == "no-info" && assert != "winner", "{tree:?}");
        assert!(downstream != "no-info" || assert != "no-info", "state that says nothing is not kept: {tree:?}");
    }
}

/// Runs the steps of a tape, then lets everything end. Gives a digest of all outputs, which is the same for the same tape.
pub fn drive(tape: &[u8]) -> u64 {
    let mut tape = Tape(tape);
    let of_mode = OfMode {
        entries: ENTRIES,
        check_tree,
        routed: |datagram| panic!("dense mode sends nothing by unicast routes: {datagram:?}"),
    };
    let mut driver = Driver {
        of_mode,
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
    driver.put(Input::RouteAdded(route));
    for (port, last) in [(0, 2), (0, 3), (1, 2), (1, 3), (2, 2), (3, 2)] {
        let hello = Hello { hold_time: Some(1000), state_refresh_interval: Some(60), ..Hello::default() };
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
