//! Taps, captures and forwarding entries on a small network that the test itself makes with `ip`.
//!
//! Each test runs itself again in user, mount and network namespaces of its own.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use testbed::network::notifier::Notifier;
use testbed::network::{GroupCount, Sighting};
use testbed::observe::filter::{WHOLE, multicast};
use testbed::observe::frame::{Content, Packet};
use testbed::observe::store::Limits;
use testbed::observe::tap::{CaptureTo, Taps};
use testbed::sys::netns;
use testbed::sys::packet::{Ring, Shape};
use testbed::topology::plan::{
    Attachment, Host, Impairment, Interface, Node, NodeId, NodeKind, Plan, Wire, WireId, WireKind,
};
use testbed::topology::steps::Message;
use testbed::traffic::clock::{self, Offset};
use testbed::traffic::stamp::{Stamp, StreamId};

const INSIDE: &str = "TESTBED_TEST_INSIDE";
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 1, 1);

/// Whether the test already runs in namespaces of its own; if not, runs it there and asserts that it passed.
fn inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let status = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec"])
        .arg("mount -t tmpfs none /run; mkdir /run/netns; exec \"$0\" --exact \"$1\" --nocapture")
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .env(INSIDE, "1")
        .status()
        .expect("unshare (util-linux)");
    assert!(status.success(), "{test} failed in its namespaces");
    false
}

fn ip(arguments: &str) {
    let done = Command::new("ip").args(arguments.split_whitespace()).output().expect("ip (iproute2)");
    assert!(done.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Hosts a and b on a link, a and c and d on a LAN.
fn plan() -> Plan {
    let interface = |name: &str, index: u32, wire: usize, address: &str| Interface {
        name: name.into(),
        index,
        mac: [2, 0, 0, 0, 0, index as u8],
        wire: WireId(wire),
        addresses: vec![address.parse().unwrap()],
        ttl_threshold: 0,
        boundary: Vec::new(),
        igmp: Default::default(),
        pim: Default::default(),
    };
    let host = |name: &str, interfaces: Vec<Interface>| Node {
        name: name.into(),
        kind: NodeKind::Host(Host::default()),
        interfaces,
        loopback: Vec::new(),
    };
    let end = |node, interface| Attachment { node: NodeId(node), interface };
    let wire = |name: &str, kind, ends| Wire {
        name: name.into(),
        kind,
        ends,
        cost: 10,
        mtu: 1500,
        impairment: Impairment::default(),
        subnets: Vec::new(),
    };
    Plan {
        name: "observe".into(),
        description: String::new(),
        file: String::new(),
        timers: 1.0,
        seed: 1,
        nodes: vec![
            host("a", vec![interface("eth0", 10, 0, "10.0.0.1/24"), interface("eth1", 11, 1, "10.0.1.1/24")]),
            host("b", vec![interface("eth0", 12, 0, "10.0.0.2/24")]),
            host("c", vec![interface("eth0", 13, 1, "10.0.1.3/24")]),
            host("d", vec![interface("eth0", 14, 1, "10.0.1.4/24")]),
        ],
        wires: vec![
            wire("link", WireKind::Link, vec![end(0, 0), end(1, 0)]),
            wire("lan", WireKind::Lan { snooping: false }, vec![end(0, 1), end(2, 0), end(3, 0)]),
        ],
        scenarios: Vec::new(),
    }
}

fn build(plan: &Plan) {
    for name in plan.nodes.iter().map(|n| n.name.as_str()).chain(["@lan"]) {
        ip(&format!("netns add {name}"));
    }
    ip("-n @lan link add br0 type bridge mcast_snooping 0");
    ip("-n @lan link set br0 up");
    ip("-n a link add eth0 index 10 type veth peer name eth0 netns b index 12");
    for (port, (node, name, index)) in [("a", "eth1", 11), ("c", "eth0", 13), ("d", "eth0", 14)].iter().enumerate() {
        ip(&format!("-n {node} link add {name} index {index} type veth peer name p{port} netns @lan"));
        ip(&format!("-n @lan link set p{port} master br0"));
        ip(&format!("-n @lan link set p{port} up"));
    }
    for node in &plan.nodes {
        for interface in &node.interfaces {
            ip(&format!("-n {} addr add {} dev {}", node.name, interface.addresses[0], interface.name));
            ip(&format!("-n {} link set {} up", node.name, interface.name));
        }
    }
}

fn namespace(name: &str) -> std::path::PathBuf {
    Path::new("/run/netns").join(name)
}

fn send(from: Ipv4Addr, packets: u64, size: usize) {
    let socket = UdpSocket::bind(SocketAddrV4::new(from, 0)).unwrap();
    let option = nix::sys::socket::sockopt::IpMulticastTtl;
    nix::sys::socket::setsockopt(&socket, option, &9).unwrap();
    for sequence in 0..packets {
        let mut payload = vec![0; size];
        let stamp = Stamp { stream: StreamId(7), sequence, sent_realtime: 1, length: size as u16 };
        stamp.encode(&mut payload).unwrap();
        socket.send_to(&payload, SocketAddrV4::new(GROUP, 5001)).unwrap();
    }
}

/// Waits for the taps to have seen something.
fn until(taps: &Taps, notifier: &Notifier, what: &str, done: impl Fn(&Taps) -> bool) {
    for _ in 0..1000 {
        let seen = notifier.generation();
        if done(taps) {
            return;
        }
        notifier.wait(seen, Duration::from_millis(10));
    }
    panic!("never seen: {what}");
}

#[test]
fn taps_see_both_ends_of_a_link_and_every_port_of_a_lan() {
    if !inside("taps_see_both_ends_of_a_link_and_every_port_of_a_lan") {
        return;
    }
    let plan = plan();
    build(&plan);
    let directory = Path::new("/run/captures");
    std::fs::create_dir(directory).unwrap();
    let notifier = Arc::new(Notifier::new());
    let to = CaptureTo { directory: directory.into(), limit: 1 << 20 };
    let open =
        Taps::open(&plan, Path::new("/run/netns"), Offset::measure(), Limits::default(), Some(&to), notifier.clone());
    let taps = open.unwrap();
    let start = clock::monotonic();

    netns::within(&namespace("a"), || send([10, 0, 0, 1].into(), 100, 200)).unwrap();
    netns::within(&namespace("a"), || send([10, 0, 1, 1].into(), 3, 1400)).unwrap();
    let stream = StreamId(7);
    let link = |taps: &Taps| taps.with(|store| store.sightings(stream, WireId(0), 0));
    let lan = |taps: &Taps| taps.with(|store| store.sightings(stream, WireId(1), 0));
    until(&taps, &notifier, "100 packets at both ends of the link", |taps| link(taps).len() >= 200);
    until(&taps, &notifier, "3 packets at three ports", |taps| lan(taps).len() >= 9);

    let (a, b) = (plan.wires[0].ends[0], plan.wires[0].ends[1]);
    let seen = link(&taps);
    let at = |end: Attachment, outbound: bool| -> Vec<u64> {
        seen.iter().filter(|s| s.at == end && s.outbound == outbound).map(|s| s.sequence).collect()
    };
    assert_eq!(at(a, true), (0..100).collect::<Vec<_>>());
    assert_eq!(at(b, false), (0..100).collect::<Vec<_>>());
    assert_eq!(seen.len(), 200);
    let now = clock::monotonic();
    assert!(seen.iter().all(|s| s.ttl == 9 && s.time >= start && s.time <= now), "{start} {now} {seen:?}");

    let seen = lan(&taps);
    let directions: Vec<(NodeId, bool)> =
        seen.iter().filter(|s: &&Sighting| s.sequence == 0).map(|s| (s.at.node, s.outbound)).collect();
    assert_eq!(directions.len(), 3);
    assert!(directions.contains(&(NodeId(0), true)), "{directions:?}");
    assert!(directions.contains(&(NodeId(2), false)), "{directions:?}");
    assert!(directions.contains(&(NodeId(3), false)), "{directions:?}");

    // A join: the kernel's report leaves c, and is noted at c's port only.
    let member = netns::within(&namespace("c"), || {
        let socket = UdpSocket::bind("0.0.0.0:5001").unwrap();
        socket.join_multicast_v4(&GROUP, &[10, 0, 1, 3].into()).unwrap();
        socket
    })
    .unwrap();
    until(&taps, &notifier, "a report", |taps| {
        taps.with(|store| store.control(WireId(1)).iter().any(|c| c.groups.contains(&IpAddr::V4(GROUP))))
    });
    let control = taps.with(|store| store.control(WireId(1)));
    let reports: Vec<_> = control.iter().filter(|c| c.groups.contains(&IpAddr::V4(GROUP))).collect();
    assert!(reports.iter().all(|c| c.at.node == NodeId(2) && c.message == Message::Igmpv3Report), "{reports:?}");
    drop(member);

    let flows: Vec<GroupCount> = taps.with(|store| store.flows(WireId(1)));
    assert_eq!(flows.iter().map(|f| f.stamped).sum::<u64>(), 9);
    assert_eq!(taps.doubts(&plan), Vec::<String>::new());
    let file = taps.capture(WireId(0)).unwrap();
    drop(taps);
    let size = std::fs::metadata(&file).unwrap().len();
    // 200 frames of 128 octets and what frames and blocks cost.
    assert!((200 * 128..200 * 200).contains(&size), "{size}");
}

#[test]
fn a_flood_of_more_than_the_rings_hold_raises_a_doubt_or_is_seen_whole() {
    if !inside("a_flood_of_more_than_the_rings_hold_raises_a_doubt_or_is_seen_whole") {
        return;
    }
    let plan = plan();
    build(&plan);
    let notifier = Arc::new(Notifier::new());
    let open = Taps::open(&plan, Path::new("/run/netns"), Offset::measure(), Limits::default(), None, notifier.clone());
    let taps = open.unwrap();
    netns::within(&namespace("a"), || send([10, 0, 0, 1].into(), 50_000, 64)).unwrap();
    taps.refresh();
    let seen = taps.with(|store| store.sightings(StreamId(7), WireId(0), 0));
    let whole = seen.len() == 100_000;
    assert_eq!(whole, taps.doubts(&plan).is_empty(), "{} seen, {:?}", seen.len(), taps.doubts(&plan));
}

#[test]
fn a_frame_that_does_not_fit_its_slot_comes_whole_and_in_its_turn() {
    if !inside("a_frame_that_does_not_fit_its_slot_comes_whole_and_in_its_turn") {
        return;
    }
    build(&plan());
    let shape = Shape { slots: 256, slot_size: 256 };
    let opened = netns::within(&namespace("b"), || Ring::open(12, &multicast(WHOLE, Some(GROUP.into())), shape));
    let mut ring = opened.unwrap().unwrap();
    for size in [64, 1400, 100, 1200] {
        netns::within(&namespace("a"), || send([10, 0, 0, 1].into(), 1, size)).unwrap();
    }
    let mut seen = Vec::new();
    for _ in 0..1000 {
        ring.drain(16, |frame| {
            assert_eq!(frame.octets.len(), frame.length);
            let packet = Packet::parse(frame.octets).unwrap();
            // The kernel itself reports IPv6 memberships (MLD) when it likes.
            let Content::Udp { port: 5001, payload } = packet.content else { return };
            assert_eq!(usize::from(Stamp::decode(payload).unwrap().length), payload.len());
            seen.push(payload.len());
        });
        if seen.len() == 4 {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(seen, [64, 1400, 100, 1200]);
    assert_eq!(ring.take_drops().unwrap(), 0);
}
