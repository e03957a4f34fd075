//! What is in a lab is what the file says: settings, addresses, impairments, daemons, terminals.

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::Stdio;
use std::time::{Duration, Instant};

use support::{Finished, Scratch, finish};
use testbed::lab::protocol::{DaemonAction, DaemonStatus};
use testbed::lab::{Base, Lab};
use testbed::sys::terminal::pseudo_terminal;

const LIMIT: Duration = Duration::from_secs(60);

/// A lab that goes with the test, however that ends.
struct Up {
    scratch: Scratch,
}

impl Up {
    fn try_new(file: &str, more: &[&str]) -> (Up, Finished) {
        let scratch = Scratch::new();
        let path = scratch.write("lab.yaml", file);
        let up = Up { scratch };
        let finished = up.run(&[&["up", path.to_str().expect("a path")], more].concat());
        (up, finished)
    }

    fn new(file: &str, more: &[&str]) -> Up {
        let (up, finished) = Up::try_new(file, more);
        finished.expect_code(0);
        up
    }

    fn run(&self, arguments: &[&str]) -> Finished {
        let mut command = self.scratch.testbed(arguments);
        // Turns of its own: no other lab on the machine makes these wait.
        command.env("XDG_RUNTIME_DIR", self.scratch.path());
        finish(command, LIMIT)
    }

    #[track_caller]
    fn exec(&self, node: &str, script: &str) -> String {
        self.run(&["exec", node, "--", "sh", "-c", script]).expect_code(0).stdout
    }

    fn lab(&self) -> Lab {
        let base = Base::find(Some(&self.scratch.path().join("state"))).expect("the state directory");
        Lab::choose(&base, None).expect("a lab")
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let mut command = self.scratch.testbed(["down", "--all"]);
        command.env("XDG_RUNTIME_DIR", self.scratch.path());
        let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

const SETTINGS: &str = "
name: settings
timers: 0.1
nodes:
  old: {kind: host, igmp: {version: 2}}
  new: {kind: host}
  r: {kind: router, igmp: {query-interval: 20s}}
links:
  - {between: ['old:up', 'r:down'], mtu: 1400}
lans:
  quiet: {nodes: [r, new], snooping: true}
";

#[test]
fn nodes_have_the_settings_that_multicast_needs() {
    let up = Up::new(SETTINGS, &["--bare"]);
    let setting = |node: &str, file: &str| up.exec(node, &format!("cat /proc/sys/net/{file}")).trim().to_owned();
    for (node, file, value) in [
        ("r", "ipv4/ip_forward", "1"),
        ("r", "ipv6/conf/all/forwarding", "1"),
        ("r", "ipv4/conf/all/rp_filter", "0"),
        ("r", "ipv4/conf/down/rp_filter", "0"),
        ("r", "ipv4/conf/down/ignore_routes_with_linkdown", "1"),
        ("r", "ipv4/conf/all/send_redirects", "0"),
        ("old", "ipv4/ip_forward", "0"),
        ("old", "ipv4/conf/all/force_igmp_version", "2"),
        ("new", "ipv4/conf/all/force_igmp_version", "0"),
        ("new", "ipv4/igmp_max_memberships", "65535"),
        ("new", "ipv4/igmp_max_msf", "4096"),
        // A tenth of 10 s and of 1 s.
        ("new", "ipv4/conf/eth0/igmpv2_unsolicited_report_interval", "1000"),
        ("new", "ipv4/conf/eth0/igmpv3_unsolicited_report_interval", "100"),
        ("old", "ipv6/conf/up/accept_dad", "0"),
    ] {
        assert_eq!(setting(node, file), value, "{node}: {file}");
    }
    assert_eq!(up.exec("old", "cat /sys/class/net/up/mtu").trim(), "1400");
    assert_eq!(up.exec("r", "cat /sys/class/net/down/mtu").trim(), "1400");
    assert!(!up.exec("new", "ip -6 address").contains("tentative"));
    // The bridge follows the router's intervals: 2 * 20 s + 10 s, at a tenth, in hundredths of a second.
    let bridge = up.exec("@quiet", "ip -d link show br0");
    for word in [
        "mcast_snooping 1",
        "mcast_querier 0",
        "mcast_igmp_version 3",
        "mcast_membership_interval 500",
        "mcast_last_member_interval 10 ",
    ] {
        assert!(bridge.contains(word), "{word}: {bridge}");
    }
    assert!(up.exec("@quiet", "ip -6 address").is_empty());
}

#[test]
fn indexes_and_mac_addresses_are_unique_in_the_lab() {
    let up = Up::new(SETTINGS, &["--bare"]);
    let mut seen = std::collections::BTreeSet::new();
    for node in ["old", "new", "r", "@quiet"] {
        for line in up.exec(node, "ip -o link show | grep -v LOOPBACK").lines() {
            let index = line.split(':').next().expect("an index").to_owned();
            let mac =
                line.split("link/ether ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a MAC").to_owned();
            assert!(seen.insert(index), "{line}");
            assert!(seen.insert(mac), "{line}");
        }
    }
    // Four ends of veth pairs in nodes, two ports, a bridge.
    assert_eq!(seen.len(), 2 * 7);
}

#[test]
fn a_rate_and_a_loss_are_in_place() {
    let file = "
name: poor
nodes: {a: {kind: host}, b: {kind: host}}
links:
  - {between: [a, b], rate: 8mbit, loss: 25%}
";
    let up = Up::new(file, &["--bare"]);
    for node in ["a", "b"] {
        let queue = up.exec(node, "tc qdisc show dev eth0");
        assert!(queue.contains("tbf") && queue.contains("rate 8Mbit"), "{queue}");
    }
}

#[test]
fn what_the_kernel_lacks_is_refused_by_name_before_anything_is_built() {
    let file = "
name: slow
nodes: {a: {kind: host}, b: {kind: host}}
links:
  - {name: long, between: [a, b], delay: 5ms}
";
    let (up, finished) = Up::try_new(file, &["--bare"]);
    let doctor = up.run(&["doctor", "--json"]);
    let checks: serde_json::Value = serde_json::from_str(&doctor.stdout).expect("JSON");
    let state = |name: &str| {
        let checks = checks.as_array().expect("a list");
        checks.iter().find(|check| check["name"] == name).expect("the check")["state"]
            .as_str()
            .expect("text")
            .to_owned()
    };
    assert_eq!(state("rights"), "good");
    assert_eq!(state("veth"), "good");
    let file = up.scratch.path().join("lab.yaml");
    let doctor_of_file = up.run(&["doctor", file.to_str().expect("a path")]);
    if state("delay") == "good" {
        finished.expect_code(0);
        doctor_of_file.expect_code(0);
        assert!(up.exec("a", "tc qdisc show dev eth0").contains("delay 5ms"));
    } else {
        finished.expect_code(3).expect_said("the delay of long needs the `netem` queue");
        doctor_of_file.expect_code(3).expect_said("needed by the delay of long");
    }
}

#[test]
fn a_daemon_that_ends_before_it_is_ready_fails_the_start_with_its_last_words() {
    let file = "
name: dying
nodes:
  r:
    kind: router
    multicast: none
    daemon: {exec: {command: [sh, -c, 'echo the vif is haunted; exit 4'], ready: ['false']}}
  h: {kind: host}
links: [{between: [r, h]}]
";
    let (_up, finished) = Up::try_new(file, &[]);
    finished.expect_code(3).expect_said("r: the daemon ended with status 4").expect_said("the vif is haunted");
}

const DAEMON: &str = "
name: daemons
nodes:
  r:
    kind: router
    multicast: none
    daemon:
      exec:
        command: [sh, -c, 'echo started; sleep 0.2; touch {run}/ready; exec sleep 1000']
        ready: [sh, -c, 'test -e {run}/ready']
  h: {kind: host}
links: [{between: [r, h]}]
";

#[test]
fn daemons_are_killed_paused_and_started_again() {
    let up = Up::new(DAEMON, &[]);
    let lab = up.lab();
    let status = || lab.status().expect("the status").nodes[0].daemon.clone();
    let DaemonStatus::Running(first) = status() else { panic!("{:?}", status()) };
    let state_of = |pid: i32| up.exec("r", &format!("cut -d ' ' -f 3 /proc/{pid}/stat")).trim().to_owned();

    lab.daemon("r", DaemonAction::Pause).expect("pause");
    assert_eq!(state_of(first), "T");
    assert_eq!(status(), DaemonStatus::Paused(first));
    lab.daemon("r", DaemonAction::Resume).expect("resume");
    assert_eq!(status(), DaemonStatus::Running(first));

    lab.daemon("r", DaemonAction::Kill).expect("kill");
    assert_eq!(status(), DaemonStatus::Killed);
    assert_eq!(up.exec("r", &format!("test -e /proc/{first} || echo gone")).trim(), "gone");

    lab.daemon("r", DaemonAction::Start).expect("start");
    let DaemonStatus::Running(second) = status() else { panic!("{:?}", status()) };
    // Started while it runs: another one.
    lab.daemon("r", DaemonAction::Start).expect("start again");
    let DaemonStatus::Running(third) = status() else { panic!("{:?}", status()) };
    assert!(first != second && second != third);
    assert_eq!(up.run(&["logs", "r"]).expect_code(0).stdout, "started\n".repeat(3));

    assert!(lab.daemon("h", DaemonAction::Kill).expect_err("a host").to_string().contains("h is a host"));
    assert!(lab.daemon("x", DaemonAction::Kill).expect_err("nobody").to_string().contains("no node named x"));
}

#[test]
fn a_daemon_that_dies_is_told_by_ps() {
    let up = Up::new(DAEMON, &[]);
    let DaemonStatus::Running(pid) = up.lab().status().expect("the status").nodes[0].daemon else { panic!() };
    up.exec("r", &format!("kill -9 {pid}"));
    let deadline = Instant::now() + Duration::from_secs(10);
    while !up.run(&["ps"]).expect_code(0).stdout.contains("ended: SIGKILL") {
        assert!(Instant::now() < deadline);
    }
}

#[test]
fn a_shell_has_a_terminal_of_its_own() {
    let up = Up::new(DAEMON, &["--bare"]);
    let (master, slave) = pseudo_terminal(std::io::stdin()).expect("a terminal");
    let slaves = [0, 1, 2].map(|_| slave.as_fd().try_clone_to_owned().expect("a copy"));
    drop(slave);
    let [stdin, stdout, stderr] = slaves;
    let mut command = up.scratch.testbed(["shell", "h"]);
    command.env("SHELL", "/bin/sh").env("PS1", "ready> ").stdin(stdin).stdout(stdout).stderr(stderr);
    let mut child = command.spawn().expect("start");
    // The parent's copies of the terminal.
    drop(command);
    let mut master = File::from(master);
    let mut shown = String::new();
    let mut until = |master: &mut File, text: &str| {
        let deadline = Instant::now() + LIMIT;
        // What follows the text stays for the next call.
        let end = loop {
            if let Some(at) = shown.find(text) {
                break at + text.len();
            }
            assert!(Instant::now() < deadline, "{text:?} is missing in {shown:?}");
            let mut polled = [nix::poll::PollFd::new(master.as_fd(), nix::poll::PollFlags::POLLIN)];
            nix::poll::poll(&mut polled, 1000u16).expect("poll");
            let mut buffer = [0; 4096];
            if let Ok(count) = master.read(&mut buffer) {
                shown.push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        };
        shown.drain(..end);
    };
    until(&mut master, "ready> ");
    master.write_all(b"hostname; tty | cut -c 1-8\n").expect("type");
    until(&mut master, "h\r\n/dev/pts");
    until(&mut master, "ready> ");
    // Ctrl-C reaches what runs in the foreground, and the shell goes on. The program itself says that it has the terminal.
    master.write_all(b"sh -c 'echo now; exec sleep 1000'\n").expect("type");
    until(&mut master, "\nnow\r\n");
    master.write_all(b"\x03").expect("type");
    until(&mut master, "ready> ");
    master.write_all(b"exit 5\n").expect("type");
    until(&mut master, "exit 5");
    assert_eq!(child.wait().expect("wait").code(), Some(5));
}
