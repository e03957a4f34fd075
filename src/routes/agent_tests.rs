//! The agent against real kernels: namespaces of the test's own, in a user namespace where the user is an ordinary one.

use std::fs::File;
use std::net::UdpSocket;
use std::process::Command;
use std::time::Instant;

use nix::sched::{CloneFlags, setns};

use super::*;
use crate::routes::fixture::Lab;

/// Runs a test of this name again in namespaces of its own, and says whether this is that second run.
fn inside(test: &str) -> bool {
    if std::env::var_os("TESTBED_TEST_INSIDE").is_some() {
        return true;
    }
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "--net", "--kill-child", "--fork"]);
    command.arg(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]);
    let output = command.env("TESTBED_TEST_INSIDE", "1").output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    false
}

fn shell(script: &str) {
    let output = Command::new("sh").args(["-ec", script]).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Builds a plan's nodes and links with iproute2.
fn build(plan: &Plan) {
    let mut script = String::from("mount -t tmpfs none /run; mkdir /run/netns\n");
    for node in &plan.nodes {
        script += &format!("ip netns add {0}; ip -n {0} link set lo up\n", node.name);
        for key in ["ipv4.ip_forward", "ipv6.conf.all.forwarding", "ipv4.conf.all.ignore_routes_with_linkdown"] {
            let value = u8::from(node.is_router());
            script += &format!("ip netns exec {} sysctl -qw net.{key}={value}\n", node.name);
        }
        script += &format!("ip netns exec {} sysctl -qw net.ipv6.conf.default.accept_dad=0\n", node.name);
        script += &format!("ip netns exec {} sysctl -qw net.ipv6.conf.all.keep_addr_on_down=1\n", node.name);
    }
    for wire in &plan.wires {
        let end = |n: usize| (&plan.node(wire.ends[n].node).name, plan.interface(wire.ends[n]));
        let ((a, near), (b, far)) = (end(0), end(1));
        script += &format!(
            "ip -n {a} link add {} index {} type veth peer name {} index {} netns {b}\n",
            near.name, near.index, far.name, far.index
        );
        for (node, interface) in [(a, near), (b, far)] {
            for address in &interface.addresses {
                script += &format!("ip -n {node} address add {address} dev {}\n", interface.name);
            }
            script += &format!("ip -n {node} link set {} up\n", interface.name);
        }
    }
    shell(&script);
}

/// The dearer way by r3; the cheaper by r2. Wires: 0 src-r1, 1 r1-r2, 2 r1-r3, 3 r2-r4, 4 r3-r4, 5 r4-dst.
fn diamond() -> Plan {
    Lab::new()
        .hosts(&["src", "dst"])
        .routers(&["r1", "r2", "r3", "r4"])
        .wire(1, &["src", "r1"])
        .wire(10, &["r1", "r2"])
        .wire(10, &["r1", "r3"])
        .wire(10, &["r2", "r4"])
        .wire(20, &["r3", "r4"])
        .wire(1, &["r4", "dst"])
        .plan()
}

fn places() -> Places {
    Places { namespaces: "/run/netns".into(), socket: "/run/agent.sock".into(), log: "/run/agent.log".into() }
}

fn records() -> Vec<Record> {
    let text = std::fs::read_to_string("/run/agent.log").unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Lets the agent work until something holds and everything is in place.
fn work(agent: &mut Agent, what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !agent.is_settled() || !done() {
        assert!(start.elapsed() < Duration::from_secs(30), "{what}: {:#?}", records());
        agent.turn(Some(Duration::from_millis(50))).unwrap();
    }
}

/// Lets the agent work until something of a kind has happened at a node after `from` lines of the log.
fn until(agent: &mut Agent, from: usize, node: &str, what: What) -> Record {
    let find = || records()[from..].iter().find(|r| r.node == node && r.what == what).cloned();
    work(agent, &format!("{what:?} at {node}"), || find().is_some());
    find().unwrap()
}

fn way(node: &str, to: &str) -> String {
    let output = Command::new("ip").args(["-n", node, "route", "get", to]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_once(" via ").and_then(|(_, rest)| rest.split(' ').next()).unwrap_or(&text).to_owned()
}

fn socket_in(node: &str, address: &str) -> UdpSocket {
    let file = File::open(format!("/run/netns/{node}")).unwrap();
    std::thread::scope(|scope| {
        let bind = || {
            setns(&file, CloneFlags::CLONE_NEWNET).unwrap();
            UdpSocket::bind((address, 0)).unwrap()
        };
        scope.spawn(bind).join().unwrap()
    })
}

/// Sends a datagram from one host to an address of the other, and an answer back, while the agent works: news of a carrier may still be on
/// their way.
fn carry(agent: &mut Agent, to: &str) {
    let far = socket_in("dst", to);
    let near = socket_in("src", if to.contains(':') { "::" } else { "0.0.0.0" });
    for socket in [&far, &near] {
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    }
    let mut buffer = [0; 16];
    // Datagrams may be lost while neighbours are resolved.
    let mut carried = || {
        near.send_to(b"there", far.local_addr().unwrap()).unwrap();
        let Ok((_, source)) = far.recv_from(&mut buffer) else { return false };
        far.send_to(b"back", source).unwrap();
        near.recv(&mut buffer).is_ok()
    };
    let start = Instant::now();
    while !carried() {
        assert!(start.elapsed() < Duration::from_secs(30), "nothing reaches {to}: {:#?}", records());
        agent.turn(Some(Duration::from_millis(1))).unwrap();
    }
}

const DST4: &str = "10.0.5.2";
const DST6: &str = "fd00:0:5::2";
const R1_BY_R2: [&str; 2] = ["10.0.1.4", "fd00:0:1::4"];
const R1_BY_R3: [&str; 2] = ["10.0.2.5", "fd00:0:2::5"];

fn ways_of_r1() -> [String; 2] {
    [way("r1", DST4), way("r1", DST6)]
}

#[test]
fn routes_follow_carriers_and_cuts_and_carry_packets() {
    if !inside("routes::agent::tests::routes_follow_carriers_and_cuts_and_carry_packets") {
        return;
    }
    let plan = diamond();
    build(&plan);
    let mut agent = Agent::start(&plan, &places()).unwrap();
    work(&mut agent, "the ways of r1", || ways_of_r1() == R1_BY_R2);
    carry(&mut agent, DST4);
    carry(&mut agent, DST6);

    // r2's end of r2-r4 goes down: r4 loses the carrier, r1 only learns it from the agent.
    let from = records().len();
    shell("ip -n r2 link set eth1 down");
    until(&mut agent, from, "r4", What::CarrierLost);
    let moved = until(&mut agent, from, "r1", What::RoutesMoved);
    let lost = until(&mut agent, from, "r2", What::Down);
    println!("carrier lost to routes moved: {:?}", moved.time.since(lost.time));
    work(&mut agent, "the ways of r1", || ways_of_r1() == R1_BY_R3);
    carry(&mut agent, DST4);
    carry(&mut agent, DST6);

    // Up again: what the kernel of r2 dropped is there again.
    let from = records().len();
    shell("ip -n r2 link set eth1 up");
    until(&mut agent, from, "r1", What::RoutesMoved);
    until(&mut agent, from, "r2", What::RoutesMoved);
    work(&mut agent, "the ways of r1", || ways_of_r1() == R1_BY_R2);
    carry(&mut agent, DST4);
    carry(&mut agent, DST6);

    // A silent cut is known once it is told, both ends or one, and only its own mending undoes it.
    let from = records().len();
    let end = plan.wires[3].ends[1];
    tell(&places().socket, &Message::Cut { wire: WireId(3), end: Some(end) }).unwrap();
    until(&mut agent, from, "r4", What::CutNoticed);
    until(&mut agent, from, "r1", What::RoutesMoved);
    work(&mut agent, "the ways of r1", || ways_of_r1() == R1_BY_R3);
    tell(&places().socket, &Message::Restored { wire: WireId(3), end: None }).unwrap();
    until(&mut agent, from, "r4", What::CutMended);
    work(&mut agent, "the ways of r1", || ways_of_r1() == R1_BY_R2);
    // Nonsense is left alone.
    tell(&places().socket, &Message::Cut { wire: WireId(99), end: None }).unwrap();
    UnixDatagram::unbound().unwrap().send_to(b"{\"cut\":", places().socket).unwrap();
    agent.turn(Some(Duration::from_millis(1))).unwrap();
    work(&mut agent, "the ways of r1", || ways_of_r1() == R1_BY_R2);

    // A host's default route comes back after its interface was down.
    let from = records().len();
    shell("ip -n src link set eth0 down; ip -n src link set eth0 up");
    until(&mut agent, from, "src", What::RoutesMoved);
    work(&mut agent, "src's way", || way("src", DST6) == "fd00::3");
    carry(&mut agent, DST4);
    carry(&mut agent, DST6);
}

#[test]
fn lost_news_are_made_up_for() {
    if !inside("routes::agent::tests::lost_news_are_made_up_for") {
        return;
    }
    let plan = diamond();
    build(&plan);
    let mut agent = Agent::start(&plan, &places()).unwrap();
    let flips = "for i in $(seq 400); do echo link set eth1 down; echo link set eth1 up; done | ip -n r2 -batch -";
    shell(flips);
    shell("ip -n r2 link set eth1 down; ip -n r2 route add 10.0.5.0/24 via 10.0.1.3 metric 9999 proto static");
    until(&mut agent, 0, "r2", What::Resynchronised);
    until(&mut agent, 0, "r1", What::RoutesMoved);
    work(&mut agent, "the ways of r1", || ways_of_r1() == R1_BY_R3);
    shell("test $(ip -n r2 route show 10.0.5.0/24 | wc -l) = 1");
    carry(&mut agent, DST4);
}
