//! The shell alone, around a double of the router: what it hears, how it sends, and in which order it tells of routes.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::socket::{self, AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use router_core::forwarding::{EntryKey, ForwardingEntry};
use router_core::linux::{Machine, Options, Shell, now};
use router_core::router::{Datagram, Input, InterfaceId, Output, UnicastRoute};
use router_core::show::{Show, Shown};
use router_core::time::Time;
use router_core::wire::igmp;
use router_core::wire::ipv4::{self, Header};
use router_core::wire::pim::{ALL_PIM_ROUTERS, Hello, Message, PROTOCOL};

use crate::support::{Host, PATIENCE, SILENCE, in_namespace, ip};
use crate::{GROUP, PORT};

/// How often the double looks for orders.
const LOOK: Duration = Duration::from_millis(5);

/// A router that tells a test everything and does what the test orders.
struct Double {
    heard: mpsc::Sender<Input>,
    orders: mpsc::Receiver<Output>,
}

impl Machine for Double {
    fn handle(&mut self, _: Time, input: Input) {
        if input != Input::Timeout {
            let _ = self.heard.send(input);
        }
    }
    fn poll_output(&mut self) -> Option<Output> {
        self.orders.try_recv().ok()
    }
    fn poll_timeout(&self) -> Option<Time> {
        Some(now() + LOOK)
    }
    fn show(&self, _: Time, what: Show) -> Shown {
        match what {
            Show::Counters => Shown::Counters(BTreeMap::new()),
            _ => Shown::Groups(vec![]),
        }
    }
}

/// The test's side of a shell that runs until the process ends.
struct Bench {
    heard: mpsc::Receiver<Input>,
    orders: mpsc::Sender<Output>,
    control: std::path::PathBuf,
    _directory: tempfile::TempDir,
}

impl Bench {
    /// A shell for PIM (or not), with these interfaces as multicast interfaces.
    fn start(pim: bool, interfaces: &[&str]) -> (Bench, Vec<InterfaceId>) {
        let directory = tempfile::tempdir().unwrap();
        let control = directory.path().join("control");
        let ((tell, heard), (order, orders)) = (mpsc::channel(), mpsc::channel());
        let options = Options { name: "double".into(), control: Some(control.clone()), verbose: false, pim };
        std::thread::spawn(move || {
            let shell = Shell::new(Double { heard: tell, orders }, &options).expect("the shell");
            let _ = shell.run();
        });
        let bench = Bench { heard, orders: order, control, _directory: directory };
        let mut found = BTreeMap::new();
        while found.len() < interfaces.len() {
            if let Input::Interface { interface, state } = bench.next()
                && interfaces.contains(&state.name.as_str())
                && state.addresses.iter().any(|address| address.addr().is_ipv4())
            {
                found.insert(state.name, interface);
            }
        }
        let ids: Vec<InterfaceId> = interfaces.iter().map(|name| found[*name]).collect();
        for interface in &ids {
            bench.order(Output::AddVif { interface: *interface });
        }
        let vifs = || crate::support::proc_net("ip_mr_vif").len() == ids.len();
        crate::support::eventually("all are multicast interfaces", vifs);
        (bench, ids)
    }

    fn order(&self, output: Output) {
        self.orders.send(output).unwrap();
    }

    fn next(&self) -> Input {
        self.heard.recv_timeout(PATIENCE).expect("an input")
    }

    /// The next input that is meant, past others.
    fn wait<R>(&self, what: &str, pick: impl Fn(Input) -> Option<R>) -> R {
        let deadline = Instant::now() + PATIENCE;
        while let Ok(input) = self.heard.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            if let Some(picked) = pick(input) {
                return picked;
            }
        }
        panic!("not within {PATIENCE:?}: {what}")
    }

    fn counter(&self, name: &str) -> u64 {
        let mut client = router_core::control::client::Client::connect(&self.control, PATIENCE).unwrap();
        let Shown::Counters(counters) = client.show(Show::Counters).unwrap() else { panic!() };
        counters.get(name).copied().unwrap_or(0)
    }
}

fn hello(source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
    let payload =
        Message::Hello(Hello { hold_time: Some(105), ..Hello::default() }).emit(source.into(), destination.into());
    header(source, destination).emit(&payload).unwrap()
}

fn header(source: Ipv4Addr, destination: Ipv4Addr) -> Header {
    Header {
        tos: 0xc0,
        identification: 0,
        dont_fragment: false,
        ttl: 1,
        protocol: PROTOCOL,
        source,
        destination,
        router_alert: false,
    }
}

fn datagram(source: [u8; 4], destination: Ipv4Addr, octets: usize) -> Datagram {
    Datagram {
        source: source.into(),
        destination: destination.into(),
        protocol: PROTOCOL,
        ttl: 1,
        router_alert: false,
        traffic_class: 0xc0,
        payload: vec![0x20; octets],
    }
}

fn pim(input: Input) -> Option<(InterfaceId, Datagram)> {
    match input {
        Input::Packet { interface, datagram } if datagram.protocol == PROTOCOL => Some((interface, datagram)),
        _ => None,
    }
}

/// A packet socket that sees every IPv4 packet on a host's link.
pub fn ear(host: &Host) -> OwnedFd {
    host.run(|| {
        let kind = (AddressFamily::Packet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, SockProtocol::EthIp);
        let socket = socket::socket(kind.0, kind.1, kind.2, kind.3).unwrap();
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(SILENCE.as_millis() as i64)).unwrap();
        socket
    })
}

/// The next PIM packet at an ear; none if there is silence.
fn overhears(ear: &OwnedFd) -> Option<(Header, usize)> {
    let mut packet = [0; 4096];
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let length = socket::recv(ear.as_raw_fd(), &mut packet, MsgFlags::empty()).ok()?;
        if let Ok((header, payload)) = ipv4::parse(&packet[..length])
            && header.protocol == PROTOCOL
        {
            return Some((header, payload.len()));
        }
    }
    None
}

#[test]
fn pim_is_heard_with_its_interface_and_never_its_own() {
    in_namespace("shell::pim_is_heard_with_its_interface_and_never_its_own", || {
        let (near, far) = (Host::attach("near", 1), Host::attach("far", 2));
        let (bench, ids) = Bench::start(true, &["near", "far"]);
        for (host, id, net) in [(&near, ids[0], 1), (&far, ids[1], 2)] {
            for destination in [ALL_PIM_ROUTERS, Ipv4Addr::new(10, 0, net, 1)] {
                assert!(host.raw().send(&hello(host.address, destination)));
                let (interface, datagram) = bench.wait("a hello", pim);
                assert_eq!((interface, datagram.source), (id, IpAddr::from(host.address)));
                assert_eq!((datagram.destination, datagram.ttl), (IpAddr::from(destination), 1));
            }
        }
        // What it sends itself does not reach the router.
        let at_near = ear(&near);
        bench.order(Output::Send { interface: ids[0], datagram: datagram([10, 0, 1, 1], ALL_PIM_ROUTERS, 8) });
        assert!(overhears(&at_near).is_some());
        assert!(far.raw().send(&hello(far.address, ALL_PIM_ROUTERS)));
        let (_, datagram) = bench.wait("a hello", pim);
        assert_eq!(datagram.source, IpAddr::from(far.address));
    });
}

#[test]
fn without_pim_nobody_listens_to_it() {
    in_namespace("shell::without_pim_nobody_listens_to_it", || {
        let host = Host::attach("near", 1);
        let (bench, ids) = Bench::start(false, &["near"]);
        assert!(host.raw().send(&hello(host.address, ALL_PIM_ROUTERS)));
        let member = igmp::Message::ReportV2 { group: GROUP };
        assert!(host.raw().igmp(host.address, GROUP, &member.emit()));
        let first = bench.wait("a packet", |input| match input {
            Input::Packet { interface, datagram } => Some((interface, datagram.protocol)),
            _ => None,
        });
        assert_eq!(first, (ids[0], igmp::PROTOCOL));
        let groups = std::fs::read_to_string("/proc/thread-self/net/igmp").unwrap();
        assert!(groups.contains("160000E0") && !groups.contains("0D0000E0"), "{groups}");
    });
}

/// Grafts and graft-acks go to a neighbour on the link, wherever the routing table would send them.
#[test]
fn unicast_leaves_by_the_interface_that_is_named() {
    in_namespace("shell::unicast_leaves_by_the_interface_that_is_named", || {
        let (near, far) = (Host::attach("near", 1), Host::attach("far", 2));
        let (at_near, at_far) = (ear(&near), ear(&far));
        let (bench, ids) = Bench::start(true, &["near", "far"]);
        let graft =
            |octets| Output::Send { interface: ids[0], datagram: datagram([10, 0, 1, 1], near.address, octets) };
        let arrives = || {
            let (header, octets) = overhears(&at_near).expect("it leaves by the interface that was named");
            assert_eq!((header.destination, header.ttl, octets), (near.address, 1, 30));
            assert!(overhears(&at_far).is_none());
        };
        bench.order(graft(30));
        arrives();
        // The route to the neighbour moved to another interface, or by another router of the same one, or there is none.
        ip("route add 10.0.1.9/32 via 10.0.2.9");
        bench.order(graft(30));
        arrives();
        ip("route replace 10.0.1.9/32 via 10.0.1.77");
        bench.order(graft(30));
        arrives();
        ip("route replace unreachable 10.0.1.9/32");
        ip("route del 10.0.1.0/24");
        bench.order(graft(30));
        arrives();
        assert_eq!(bench.counter("shell-packets-unsent"), 0);
    });
}

#[test]
fn a_packet_longer_than_the_link_takes_is_counted_and_said() {
    in_namespace("shell::a_packet_longer_than_the_link_takes_is_counted_and_said", || {
        let near = Host::attach("near", 1);
        let at_near = ear(&near);
        let (bench, ids) = Bench::start(true, &["near"]);
        let send =
            |octets| Output::Send { interface: ids[0], datagram: datagram([10, 0, 1, 1], ALL_PIM_ROUTERS, octets) };
        bench.order(send(1481));
        bench.order(send(1480));
        let (_, octets) = overhears(&at_near).expect("the one that fits");
        assert_eq!(octets, 1480);
        assert_eq!((bench.counter("shell-packets-unsent"), bench.counter("shell-packets-sent")), (1, 1));
    });
}

/// Without PIM, the kernel tells of wrong interfaces only among the outgoing ones; dense mode has to know of all.
#[test]
fn with_pim_a_packet_by_any_wrong_interface_is_told() {
    in_namespace("shell::with_pim_a_packet_by_any_wrong_interface_is_told", || {
        let (near, far) = (Host::attach("near", 1), Host::attach("far", 2));
        let (bench, ids) = Bench::start(true, &["near", "far"]);
        near.sender().send_to(b"x", (GROUP, PORT)).unwrap();
        let key = EntryKey { source: near.address.into(), group: GROUP.into() };
        let at = bench.wait("an upcall", |input| match input {
            Input::NoCache { interface, key: of } if of == key => Some(interface),
            _ => None,
        });
        assert_eq!(at, ids[0]);
        bench.order(Output::SetEntry(ForwardingEntry { key, incoming: ids[0], outgoing: BTreeMap::new() }));
        crate::support::eventually("the entry is resolved", || {
            crate::support::proc_net("ip_mr_cache").iter().any(|line| line.contains("0901000A") && !line.contains("-1"))
        });
        let data = Header { ttl: 9, protocol: 17, ..header(near.address, GROUP) };
        assert!(far.raw().send(&data.emit(&[0; 20]).unwrap()));
        let wrong = bench.wait("an upcall for an interface that is no outgoing one", |input| match input {
            Input::WrongInterface { interface, key } => Some((interface, key)),
            _ => None,
        });
        assert_eq!(wrong, (ids[1], key));
    });
}

/// What of the routes to a prefix the machine knows after each input.
fn follow(bench: &Bench, prefix: &str, until: impl Fn(&[UnicastRoute]) -> bool) -> Vec<Vec<UnicastRoute>> {
    let prefix: ipnet::IpNet = prefix.parse().unwrap();
    let mut now: Vec<UnicastRoute> = Vec::new();
    let mut all = Vec::new();
    while !until(&now) {
        match bench.next() {
            Input::RouteAdded(route) if route.prefix == prefix => now.push(route),
            Input::RouteRemoved(route) if route.prefix == prefix => now.retain(|known| *known != route),
            _ => continue,
        }
        all.push(now.clone());
    }
    all
}

#[test]
fn a_route_that_moves_is_never_missing() {
    in_namespace("shell::a_route_that_moves_is_never_missing", || {
        let (_near, _far) = (Host::attach("near", 1), Host::attach("far", 2));
        let (bench, ids) = Bench::start(true, &["near", "far"]);
        ip("route add 10.9.0.0/16 via 10.0.1.9 metric 5");
        // In one step, and as one who adds before taking away does it.
        ip("route replace 10.9.0.0/16 via 10.0.2.9 metric 5");
        ip("route add 10.9.0.0/16 via 10.0.1.9 metric 7");
        ip("route del 10.9.0.0/16 via 10.0.2.9 metric 5");
        let seen = follow(&bench, "10.9.0.0/16", |now| matches!(now, [only] if only.metric == 7));
        assert!(seen.iter().all(|now| !now.is_empty()), "{seen:?}");
        assert_eq!(seen.last().unwrap()[0].interface, ids[0]);
    });
}

/// A lost carrier: first the interface, then the routes that the kernel no longer uses (with `ignore_routes_with_linkdown`, which it tells
/// nobody about), whether or not another route has come by then.
#[test]
fn a_lost_carrier_is_told_before_the_routes_that_go_with_it() {
    in_namespace("shell::a_lost_carrier_is_told_before_the_routes_that_go_with_it", || {
        let _ = std::fs::write("/proc/sys/net/ipv4/conf/all/ignore_routes_with_linkdown", "1");
        let (near, _far) = (Host::attach("near", 1), Host::attach("far", 2));
        let (bench, ids) = Bench::start(true, &["near", "far"]);
        ip("route add 10.9.0.0/16 via 10.0.1.9 metric 5");
        bench.wait("the route", |input| match input {
            Input::RouteAdded(route) if route.metric == 5 => Some(()),
            _ => None,
        });
        near.run(|| ip("link set dev eth0 down"));
        bench.wait("the interface goes down", |input| match input {
            Input::Interface { interface, state } if interface == ids[0] && !state.up => Some(()),
            Input::RouteRemoved(route) => panic!("{route:?} went before its interface"),
            _ => None,
        });
        let gone = bench.wait("its routes go", |input| match input {
            Input::RouteRemoved(route) if route.metric == 5 => Some(route.interface),
            _ => None,
        });
        assert_eq!(gone, ids[0]);
    });
}
