//! Many sources learned from joins: few messages, little memory, and no work that grows with what is there.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use router_core::config::Config;
use router_core::router::{Datagram, Input, InterfaceId, InterfaceState, Output, Router, UnicastRoute};
use router_core::show::{Show, Shown};
use router_core::time::Time;
use router_core::wire::pim::{ALL_PIM_ROUTERS, EncodedSource, GroupSet, Hello, JoinPrune, Message, PROTOCOL};

const SOURCES: u32 = 10_000;
/// Sources that one message joins.
const BUNDLE: u32 = 100;

fn packet(port: u32, from: [u8; 4], message: &Message) -> Input {
    let (source, destination): (IpAddr, IpAddr) = (from.into(), ALL_PIM_ROUTERS.into());
    let payload = message.emit(source, destination);
    let datagram =
        Datagram { source, destination, protocol: PROTOCOL, ttl: 1, router_alert: false, traffic_class: 0xc0, payload };
    Input::Packet { interface: InterfaceId(port), datagram }
}

fn key(number: u32) -> (Ipv4Addr, Ipv4Addr) {
    (Ipv4Addr::from(0x0a09_0000 + number), Ipv4Addr::from(0xe801_0000 + number / 4))
}

fn join(first: u32) -> Message {
    let groups = (first..first + BUNDLE).map(|number| {
        let (source, group) = key(number);
        let source =
            EncodedSource { address: source.into(), mask_length: 32, sparse: true, wildcard: false, rpt: false };
        GroupSet { group: group.into(), mask_length: 32, joined: vec![source], pruned: vec![] }
    });
    Message::JoinPrune(JoinPrune { upstream: [10, 0, 1, 1].into(), hold_time: 210, groups: groups.collect() })
}

/// The messages that are sent, and how many sources they join or prune.
fn sent(router: &mut Router) -> (usize, usize) {
    let (mut messages, mut sources) = (0, 0);
    while let Some(output) = router.poll_output() {
        let Output::Send { datagram, .. } = output else { continue };
        if let Ok(Message::JoinPrune(message)) =
            router_core::wire::pim::parse(datagram.source, datagram.destination, &datagram.payload)
        {
            messages += 1;
            sources += message.groups.iter().map(|set| set.joined.len() + set.pruned.len()).sum::<usize>();
        }
    }
    (messages, sources)
}

fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
fn ten_thousand_sources_are_learned_from_joins_and_joined_again_in_few_messages() {
    let config = Config::from_yaml(
        "multicast: pim-sm\npim: {triggered-hello-delay: 0s}\ninterfaces: [{name: eth1}, {name: eth2}]\nigmp: {enabled: false}",
    );
    let mut router = Router::new(config.unwrap());
    let mut now = Time::ZERO;
    for port in 1..3 {
        let addresses = vec![format!("10.0.{port}.1/24").parse().unwrap()];
        let state = InterfaceState { name: format!("eth{port}"), up: true, mtu: 1500, addresses };
        router.handle(now, Input::Interface { interface: InterfaceId(port), state });
        let hello = Message::Hello(Hello { hold_time: Some(65535), ..Hello::default() });
        router.handle(now, packet(port, [10, 0, port as u8, 2], &hello));
    }
    router.handle(
        now,
        Input::RouteAdded(UnicastRoute {
            prefix: "10.9.0.0/16".parse().unwrap(),
            next_hop: Some([10, 0, 2, 2].into()),
            interface: InterfaceId(2),
            metric: 20,
        }),
    );
    sent(&mut router);
    let (memory, start) = (resident(), std::time::Instant::now());
    let mut joined = 0;
    for first in (0..SOURCES).step_by(BUNDLE as usize) {
        router.handle(now, packet(1, [10, 0, 1, 2], &join(first)));
        joined += sent(&mut router).1;
        now += Duration::from_millis(10);
    }
    let rate = f64::from(SOURCES) / start.elapsed().as_secs_f64();
    let each = resident().saturating_sub(memory) / u64::from(SOURCES);
    println!("{rate:.0} a second, {each} octets each");
    assert_eq!(joined, SOURCES as usize);
    assert!(each <= 1024, "{each} octets a source");
    // A period later all are joined again: what was learned within a 60th of it goes together.
    let (mut messages, mut sources) = (0, 0);
    while let Some(due) = router.poll_timeout().filter(|due| *due < Time::ZERO + Duration::from_secs(65)) {
        router.handle(due, Input::Timeout);
        let more = sent(&mut router);
        (messages, sources) = (messages + more.0, sources + more.1);
    }
    assert_eq!(sources, SOURCES as usize);
    assert!(messages < SOURCES as usize / 50, "{messages} messages");
    // Routes move: so do all joins, in as few.
    router.handle(
        now,
        Input::RouteAdded(UnicastRoute {
            prefix: "10.9.0.0/17".parse().unwrap(),
            next_hop: Some([10, 0, 2, 9].into()),
            interface: InterfaceId(2),
            metric: 20,
        }),
    );
    let (messages, pruned) = sent(&mut router);
    assert_eq!(pruned, SOURCES as usize, "nobody there to join yet");
    assert!(messages < SOURCES as usize / 50, "{messages} messages");
    // Nobody joins any more: all ends.
    let end = Time::ZERO + Duration::from_secs(400);
    while let Some(due) = router.poll_timeout().filter(|due| *due < end) {
        router.handle(due, Input::Timeout);
        sent(&mut router);
    }
    assert!(matches!(router.show(end, Show::Trees), Shown::Trees(trees) if trees.is_empty()));
}
