//! Drives a router with what a string of octets says: messages of the bootstrap mechanism, well-formed and not, neighbours, routes and
//! interfaces that come and go, and time. After each step it looks whether everything is within its bound.

#[path = "../support/tape.rs"]
mod tape;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use router_core::config::Config;
use router_core::router::{Datagram, Input, InterfaceId, InterfaceState, Output, Router, UnicastRoute};
use router_core::show::{Show, Shown};
use router_core::time::Time;
use router_core::wire::checksum;
use router_core::wire::pim::{
    ALL_PIM_ROUTERS, Bootstrap, BootstrapRange, BootstrapRp, CandidateRange, CandidateRpAdvertisement, Hello, Message,
    PROTOCOL, parse,
};

use tape::Tape;

const MAPPINGS: usize = 12;
const ZONES: usize = 3;
const CONFIG: &str = "
multicast: pim-sm
igmp: {enabled: false}
pim:
  hello-period: 4h
  triggered-hello-delay: 0s
  unicast-bootstrap: true
  candidate-bsr: {address: 10.7.0.1, priority: 64, interval: 20s}
  candidate-rp: {address: 10.7.0.1, groups: [224.0.0.0/4, 239.1.0.0/16], interval: 20s}
  rp: [{address: 10.7.0.9, groups: 238.0.0.0/8}]
interfaces:
  - {name: eth0}
  - {name: eth1, boundary: [239.255.0.0/16]}
  - {name: eth2, pim: {bsr-border: true}}
limits: {rp-mappings: 12, scope-zones: 3, neighbours-per-interface: 3}
";
const PORTS: u8 = 3;
const LOOPBACK: u32 = 9;
/// Longer than the mechanism keeps anything: the longest hold time and SZ_Timeout after it.
const LONG: Duration = Duration::from_secs(2 * 65_535);

impl Tape<'_> {
    fn address(&mut self) -> IpAddr {
        match self.byte() {
            0..200 => [10, 7, 0, self.below(6)].into(),
            200..245 => [10, 0, self.below(3), self.below(4)].into(),
            245.. => self.one_of(&[[0, 0, 0, 0], [224, 0, 0, 1], [255, 255, 255, 255], [127, 0, 0, 1]]).into(),
        }
    }

    fn range(&mut self) -> (IpAddr, u8) {
        let ranges = [
            ([224, 0, 0, 0], 4),
            ([239, 0, 0, 0], 8),
            ([239, 1, 0, 0], 16),
            ([239, 255, 0, 0], 16),
            ([239, 255, 3, 0], 24),
            ([239, 1, 2, 3], 32),
            ([10, 0, 0, 0], 8),
            ([0, 0, 0, 0], 0),
        ];
        match self.byte() {
            0..220 => self.one_of(&ranges),
            220.. => ([239, self.byte(), 0, 0], self.below(33)),
        }
        .into_pair()
    }

    fn bootstrap(&mut self) -> Bootstrap {
        let mut ranges = Vec::new();
        for at in 0..self.below(5) {
            let (group, mask_length) = self.range();
            let mut rps = Vec::new();
            for _ in 0..self.below(4) {
                let hold_time = self.one_of(&[0, 1, 20, 150, 150, 65_535]);
                rps.push(BootstrapRp { address: self.address(), hold_time, priority: self.below(3) });
            }
            let rp_count = rps.len() as u8 + if self.byte() > 200 { self.below(3) } else { 0 };
            let scoped = at == 0 && self.flag();
            ranges.push(BootstrapRange { group, mask_length, bidir: self.byte() > 230, scoped, rp_count, rps });
        }
        Bootstrap {
            no_forward: self.byte() > 200,
            fragment_tag: self.below(4).into(),
            hash_mask_length: self.one_of(&[30, 0, 32, 255]),
            priority: self.one_of(&[64, 63, 65, 0, 255]),
            address: self.address(),
            ranges,
        }
    }

    fn advertisement(&mut self) -> CandidateRpAdvertisement {
        let mut groups = Vec::new();
        for _ in 0..self.below(5) {
            let (group, mask_length) = self.range();
            groups.push(CandidateRange { group, mask_length, bidir: self.byte() > 230, scoped: self.flag() });
        }
        let hold_time = self.one_of(&[150, 0, 1, 60, 65_535]);
        CandidateRpAdvertisement { priority: self.below(3), hold_time, address: self.address(), groups }
    }
}

trait IntoPair {
    fn into_pair(self) -> (IpAddr, u8);
}

impl IntoPair for ([u8; 4], u8) {
    fn into_pair(self) -> (IpAddr, u8) {
        (self.0.into(), self.1)
    }
}

fn state(port: u8, up: bool) -> InterfaceState {
    let address = format!("10.0.{port}.1/24").parse().unwrap();
    InterfaceState { name: format!("eth{port}"), up, mtu: 200, addresses: vec![address] }
}

fn loopback(address: &str) -> Input {
    let state = InterfaceState { name: "lo".into(), up: true, mtu: 65_536, addresses: vec![address.parse().unwrap()] };
    Input::Interface { interface: InterfaceId(LOOPBACK), state }
}

fn packet(tape: &mut Tape<'_>, port: u8, message: &Message, source: IpAddr, destination: IpAddr) -> Input {
    let mut payload = message.emit(source, destination);
    if tape.byte() > 225 {
        // Something else than it was, whole again by its checksum.
        for _ in 0..=tape.below(3) {
            let at = usize::from(tape.byte()) % payload.len();
            payload[at] = tape.byte();
        }
        let length = payload.len() - usize::from(tape.below(4)).min(payload.len() - 4);
        payload.truncate(length);
        payload[0] = payload[0] & 0x0f | 0x20;
        payload[2..4].fill(0);
        let sum = checksum::internet(&payload);
        payload[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    let datagram =
        Datagram { source, destination, protocol: PROTOCOL, ttl: 1, router_alert: false, traffic_class: 0xc0, payload };
    Input::Packet { interface: InterfaceId(u32::from(port) + 1), datagram }
}

fn input(tape: &mut Tape<'_>) -> Input {
    let port = tape.below(PORTS);
    let neighbour: IpAddr = Ipv4Addr::new(10, 0, port, tape.one_of(&[2, 2, 2, 3])).into();
    let all: IpAddr = ALL_PIM_ROUTERS.into();
    match tape.below(24) {
        0..12 => {
            let message = Message::Bootstrap(tape.bootstrap());
            let destination = if tape.byte() > 240 { Ipv4Addr::new(10, 0, port, 1).into() } else { all };
            packet(tape, port, &message, neighbour, destination)
        }
        12..17 => {
            let message = Message::CandidateRpAdvertisement(tape.advertisement());
            let source = tape.address();
            packet(tape, port, &message, source, [10, 7, 0, 1].into())
        }
        17 => {
            let hold_time = Some(tape.one_of(&[65_535, 65_535, 0, 105]));
            let generation_id = Some(tape.below(3).into());
            let hello = Hello { hold_time, generation_id, dr_priority: Some(tape.below(3).into()), ..Hello::default() };
            packet(tape, port, &Message::Hello(hello), neighbour, all)
        }
        18 => {
            let up = tape.flag();
            Input::Interface { interface: InterfaceId(u32::from(port) + 1), state: state(port, up) }
        }
        19 => loopback(if tape.byte() > 100 { "10.7.0.1/32" } else { "10.7.0.7/32" }),
        20 => {
            let interface = InterfaceId(u32::from(port) + 1);
            let prefix = "10.7.0.0/24".parse().unwrap();
            let route = UnicastRoute { prefix, next_hop: Some(neighbour), interface, metric: 20 };
            if tape.flag() { Input::RouteAdded(route) } else { Input::RouteRemoved(route) }
        }
        _ => Input::Timeout,
    }
}

/// Everything within its bound, and everything that the table has in what the mechanism shows.
fn check(router: &Router, now: Time) {
    let Shown::Bsr(zones) = router.show(now, Show::Bsr) else { panic!() };
    assert!(zones.len() <= 2 + ZONES, "{zones:#?}");
    let candidates: usize = zones.iter().map(|zone| zone.candidate_rps.len()).sum();
    assert!(candidates <= MAPPINGS, "{zones:#?}");
    for zone in &zones {
        let runs = zone.bootstrap_ms.is_some();
        assert_eq!(runs, zone.state != "accept-any", "{zone:?}");
        assert_eq!(
            zone.bsr.is_some(),
            matches!(zone.state.as_str(), "candidate" | "elected" | "accept-preferred"),
            "{zone:?}"
        );
        assert!(zone.candidate_rps.iter().all(|candidate| candidate.expires_ms.is_some()), "{zone:?}");
        assert!(zone.candidate_rps.is_empty() || zone.state == "elected", "{zone:?}");
        assert!(zone.scope_zone_ms.is_none() || zone.state == "accept-any" && zone.zone.is_some(), "{zone:?}");
    }
    let Shown::Rp(mappings) = router.show(now, Show::Rp) else { panic!() };
    let learned: Vec<_> = mappings.iter().filter(|mapping| mapping.origin == "bsr").collect();
    assert!(learned.len() <= MAPPINGS && learned.len() + 1 == mappings.len(), "{mappings:#?}");
    for mapping in learned {
        assert!(
            mapping.expires_ms.is_some() && !mapping.rp.is_multicast() && !mapping.rp.is_unspecified(),
            "{mapping:?}"
        );
        assert!(zones.iter().any(|zone| zone.zone == mapping.zone), "{mapping:?} of no zone");
    }
}

/// Takes what is to be done; gives a digest of it. Whatever is sent reads back, and is within the MTU.
fn drain(router: &mut Router) -> u64 {
    let mut digest: u64 = 0;
    while let Some(output) = router.poll_output() {
        if let Output::Send { datagram, .. } | Output::SendRouted { datagram } = &output {
            let message = parse(datagram.source, datagram.destination, &datagram.payload).unwrap();
            if let Message::Bootstrap(message) = &message
                && message.address == IpAddr::from([10, 7, 0, 1])
            {
                assert!(datagram.payload.len() + 20 <= 200, "{message:?}");
            }
        }
        digest = format!("{output:?}")
            .bytes()
            .fold(digest, |digest, byte| digest.wrapping_mul(31).wrapping_add(byte.into()));
    }
    digest
}

/// Drives a router; the same octets give the same digest.
pub fn drive(tape: &[u8]) -> u64 {
    let mut tape = Tape(tape);
    let mut router = Router::new(Config::from_yaml(CONFIG).unwrap());
    let mut now = Time::ZERO;
    let mut digest = 0;
    let mut step = |router: &mut Router, now: Time, input: Input| {
        router.handle(now, input);
        digest ^= drain(router).rotate_left(now.as_nanos() as u32 % 64);
        check(router, now);
    };
    for port in 0..PORTS {
        let up = Input::Interface { interface: InterfaceId(u32::from(port) + 1), state: state(port, true) };
        step(&mut router, now, up);
        let hello = Hello { hold_time: Some(65_535), generation_id: Some(0), ..Hello::default() };
        let message = Message::Hello(hello);
        let input =
            packet(&mut Tape(&[]), port, &message, Ipv4Addr::new(10, 0, port, 2).into(), ALL_PIM_ROUTERS.into());
        step(&mut router, now, input);
    }
    step(&mut router, now, loopback("10.7.0.1/32"));
    let route = UnicastRoute {
        prefix: "10.7.0.0/24".parse().unwrap(),
        next_hop: Some([10, 0, 0, 2].into()),
        interface: InterfaceId(1),
        metric: 20,
    };
    step(&mut router, now, Input::RouteAdded(route));
    while !tape.0.is_empty() {
        let wait = tape.one_of(&[0, 0, 0, 10, 1000, 5000, 20_000, 60_000, 600_000]);
        let until = now + Duration::from_millis(wait);
        while let Some(due) = router.poll_timeout().filter(|due| *due <= until) {
            now = due.max(now);
            step(&mut router, now, Input::Timeout);
        }
        now = until;
        let input = input(&mut tape);
        step(&mut router, now, input);
    }
    // The router is a candidate no longer, and nobody says anything: what was told is forgotten.
    step(&mut router, now, loopback("10.7.0.7/32"));
    let until = now + LONG;
    while let Some(due) = router.poll_timeout().filter(|due| *due <= until) {
        now = due.max(now);
        step(&mut router, now, Input::Timeout);
    }
    let Shown::Bsr(zones) = router.show(until, Show::Bsr) else { panic!() };
    assert!(zones.len() == 2 && zones.iter().all(|zone| zone.state == "accept-any"), "{zones:#?}");
    let Shown::Rp(mappings) = router.show(until, Show::Rp) else { panic!() };
    assert_eq!(mappings.len(), 1, "{mappings:#?}");
    router.handle(until, Input::Shutdown);
    digest.wrapping_add(drain(&mut router))
}
