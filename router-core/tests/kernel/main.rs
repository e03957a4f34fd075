//! The daemon on the real kernel: veth pairs, hosts that join through sockets, packets that are forwarded.

mod control;
mod links;
mod malformed;
mod proxy;
mod register;
mod shell;
mod support;

use std::net::Ipv4Addr;
use std::time::Duration;

use router_core::router::EventKind;
use router_core::show::{Show, Shown};
use support::{Daemon, Host, PATIENCE, SILENCE, daemon_fails, empty, eventually, in_namespace, ip, proc_net, receives};

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 1, 1);
const PORT: u16 = 5000;

/// Everything that arrives on `src` goes where members are.
const ROUTER: &str = "
name: r1
interfaces: [{name: src}, {name: dst}]
routes: [{group: 239.0.0.0/8, incoming: src}]
igmp: {last-member-query-interval: 100ms}
";

#[test]
fn packets_reach_a_member_and_stop_when_it_leaves() {
    in_namespace("packets_reach_a_member_and_stop_when_it_leaves", || {
        let (source, member) = (Host::attach("src", 1), Host::attach("dst", 2));
        let mut daemon = Daemon::start(ROUTER);
        let receiver = member.join(GROUP, PORT);
        daemon.wait_for_member("dst", GROUP);
        let sender = source.sender();
        sender.send_to(b"one", (GROUP, PORT)).unwrap();
        assert!(receives(&receiver, PATIENCE), "the packet that made the entry");
        sender.send_to(b"two", (GROUP, PORT)).unwrap();
        assert!(receives(&receiver, PATIENCE), "a packet of the entry");

        let kernel = proc_net("ip_mr_cache");
        assert_eq!(kernel.len(), 1, "{kernel:?}");
        assert!(kernel[0].starts_with("010101EF 0901000A"), "{kernel:?}");
        let Shown::Entries(entries) = daemon.show(Show::Entries) else { panic!() };
        assert_eq!(entries[0].packets, Some(2));
        assert_eq!(entries[0].outgoing, [("dst".to_owned(), 1)].into());
        assert_eq!(daemon.counter("shell-upcalls"), 1);

        // The member leaves, but its socket stays and would still hear what reaches the host.
        let address = member.address;
        let receiver = member.run(move || {
            receiver.leave_multicast_v4(&GROUP, &address).unwrap();
            receiver
        });
        daemon.wait_for("member removed", |event| matches!(event, EventKind::MemberRemoved { .. }));
        eventually("the entry has no outgoing interface", || !proc_net("ip_mr_cache")[0].contains(':'));
        empty(&receiver);
        sender.send_to(b"three", (GROUP, PORT)).unwrap();
        assert!(!receives(&receiver, SILENCE));

        assert_eq!(daemon.terminate().code(), Some(0));
        assert!(proc_net("ip_mr_cache").is_empty() && proc_net("ip_mr_vif").is_empty());
    });
}

#[test]
fn a_member_that_joined_before_the_daemon_started_is_found_at_once() {
    in_namespace("a_member_that_joined_before_the_daemon_started_is_found_at_once", || {
        let (_source, member) = (Host::attach("src", 1), Host::attach("dst", 2));
        let _receiver = member.join(GROUP, PORT);
        let mut daemon = Daemon::start(ROUTER);
        daemon.wait_for_member("dst", GROUP);
        // The kernel answers a startup query of 0.1 s within it, not within the RFC's 10 s.
        let of = |kind: fn(&EventKind) -> bool| daemon.seen.iter().find(|event| kind(&event.kind)).unwrap().time;
        let took =
            of(|kind| matches!(kind, EventKind::MemberAdded { .. })).since(of(|kind| matches!(kind, EventKind::Ready)));
        assert!(took < Duration::from_secs(2), "{took:?}");
    });
}

#[test]
fn thresholds_and_boundaries_stand_in_the_kernels_entries() {
    in_namespace("thresholds_and_boundaries_stand_in_the_kernels_entries", || {
        let (source, _low) = (Host::attach("src", 1), Host::attach("low", 2));
        let (_high, _fenced) = (Host::attach("high", 3), Host::attach("fenced", 4));
        let daemon = Daemon::start(
            "interfaces:
             - {name: src}
             - {name: low}
             - {name: high, ttl-threshold: 15}
             - {name: fenced, boundary: [239.1.0.0/16]}
            \nroutes: [{group: 239.0.0.0/8, incoming: src, outgoing: [low, high, fenced]}]",
        );
        source.sender().send_to(b"x", (GROUP, PORT)).unwrap();
        eventually("the entry is there", || !proc_net("ip_mr_cache").is_empty());
        let Shown::Entries(entries) = daemon.show(Show::Entries) else { panic!() };
        assert_eq!(entries[0].outgoing, [("low".to_owned(), 1), ("high".to_owned(), 15)].into());
        let kernel = proc_net("ip_mr_cache");
        let outgoing: Vec<&str> = kernel[0].split_whitespace().skip(6).collect();
        assert_eq!(outgoing, ["1:1", "2:15"], "{kernel:?}");
    });
}

#[test]
fn packets_of_its_own_are_ignored() {
    in_namespace("packets_of_its_own_are_ignored", || {
        let (_source, _member) = (Host::attach("src", 1), Host::attach("dst", 2));
        let daemon = Daemon::start(ROUTER);
        // A program on the router itself joins: the kernel's report comes back to the daemon, from the router's own address.
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        let before = daemon.counter("shell-packets-own");
        socket.join_multicast_v4(&GROUP, &Ipv4Addr::new(10, 0, 2, 1)).unwrap();
        eventually("the kernel's report came back", || daemon.counter("shell-packets-own") > before);
        assert_eq!(daemon.show(Show::Groups), Shown::Groups(vec![]));
    });
}

#[test]
fn thirty_two_interfaces_are_taken_and_one_more_is_refused() {
    in_namespace("thirty_two_interfaces_are_taken_and_one_more_is_refused", || {
        let mut names = Vec::new();
        for index in 0..33 {
            ip(&format!("link add name m{index} type veth peer name p{index}"));
            ip(&format!("addr add 10.9.{index}.1/24 dev m{index}"));
            ip(&format!("link set dev m{index} up"));
            ip(&format!("link set dev p{index} up"));
            names.push(format!("{{name: m{index}}}"));
        }
        let daemon = Daemon::start(&format!("interfaces: [{}]", names[..32].join(", ")));
        eventually("all are multicast interfaces", || proc_net("ip_mr_vif").len() == 32);
        assert_eq!(daemon.counter("shell-table-refusals"), 0);
        assert_eq!(daemon.counter("shell-membership-refusals"), 0, "more groups than a socket takes by default");
        drop(daemon);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config");
        std::fs::write(&path, format!("interfaces: [{}]", names.join(", "))).unwrap();
        let (code, said) = daemon_fails(&["--config", path.to_str().unwrap()]);
        assert_eq!(code, Some(2));
        assert!(said.contains("33 interfaces: the kernel's multicast table holds at most 32"), "{said}");
    });
}

#[test]
fn a_second_daemon_says_that_there_is_one_already() {
    in_namespace("a_second_daemon_says_that_there_is_one_already", || {
        let first = Daemon::start("{}");
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config");
        std::fs::write(&path, "{}").unwrap();
        let config = path.to_str().unwrap();
        let (code, said) = daemon_fails(&["--config", config]);
        assert_eq!(code, Some(3));
        assert!(said.contains("another multicast routing daemon runs in this network namespace"), "{said}");
        assert!(first.socket().exists());
    });
}

#[test]
fn a_supervisor_that_asks_is_told_when_the_daemon_is_ready() {
    in_namespace("a_supervisor_that_asks_is_told_when_the_daemon_is_ready", || {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let supervisor = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        supervisor.set_read_timeout(Some(PATIENCE)).unwrap();
        let _daemon = Daemon::start_with("{}", &[("NOTIFY_SOCKET", path.to_str().unwrap())]);
        let mut told = [0; 64];
        let length = supervisor.recv(&mut told).unwrap();
        assert_eq!(&told[..length], b"READY=1\n");
    });
}

#[test]
#[cfg(feature = "sabotage")]
fn a_deaf_querier_asks_and_hears_nothing() {
    in_namespace("a_deaf_querier_asks_and_hears_nothing", || {
        let (_source, member) = (Host::attach("src", 1), Host::attach("dst", 2));
        let daemon = Daemon::start(
            "{interfaces: [{name: src}, {name: dst, igmp: {deaf: true}}], routes: [{group: 239.0.0.0/8, incoming: src}]}",
        );
        let _receiver = member.join(GROUP, PORT);
        eventually("it asks, and its host reports", || {
            daemon.counter("dst.sent.general-query") > 0 && daemon.counter("shell-packets-received") > 0
        });
        std::thread::sleep(SILENCE);
        assert_eq!(daemon.show(Show::Groups), Shown::Groups(vec![]));
    });
}

#[test]
#[cfg(not(feature = "sabotage"))]
fn deafness_is_refused_by_a_daemon_that_was_not_built_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config");
    std::fs::write(&path, "{interfaces: [{name: a, igmp: {deaf: true}}]}").unwrap();
    let (code, said) = daemon_fails(&["--check", "--config", path.to_str().unwrap()]);
    assert_eq!(code, Some(2));
    assert!(said.contains("deaf in a: this daemon was built without its sabotage feature"), "{said}");
}

#[test]
fn without_the_right_to_it_the_daemon_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config");
    std::fs::write(&path, "{}").unwrap();
    // A user namespace alone gives no right to the network namespace around it.
    let output = std::process::Command::new("timeout")
        .args(["20", "unshare", "--user", env!("CARGO_BIN_EXE_router-core"), "--config"])
        .arg(&path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("no right to open the multicast routing socket"), "{said}");
}

#[test]
fn a_wrong_configuration_is_named_with_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config");
    for (text, part) in [("interfaces: [{name: a, colour: red}]", "colour"), ("upstream: a", "upstream"), ("[", "")] {
        std::fs::write(&path, text).unwrap();
        let (code, said) = daemon_fails(&["--check", "--config", path.to_str().unwrap()]);
        assert_eq!(code, Some(2), "{text}: {said}");
        assert!(said.contains(path.to_str().unwrap()) && said.contains(part), "{text}: {said}");
    }
    std::fs::write(&path, ROUTER).unwrap();
    assert_eq!(daemon_fails(&["--check", "--config", path.to_str().unwrap()]), (Some(0), String::new()));
}
