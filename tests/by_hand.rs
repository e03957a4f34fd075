//! `testbed send` and `testbed receive` on a running lab.

mod support;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Finished, Scratch, finish};

const LIMIT: Duration = Duration::from_secs(60);

/// A lab of two hosts on a wire, taken down at the end of the test.
struct Lab(Scratch);

impl Lab {
    fn up() -> Lab {
        let scratch = Scratch::new();
        let file = scratch.write(
            "pair.yaml",
            "name: pair\nnodes:\n  a: {kind: host}\n  b: {kind: host}\nlinks:\n  - {between: [a, b]}\n",
        );
        scratch.run(["up".as_ref(), file.as_os_str()], LIMIT).expect_code(0);
        Lab(scratch)
    }

    fn run(&self, line: &str) -> Finished {
        self.0.run(line.split(' '), LIMIT)
    }

    /// Starts a receiver, and waits until its host has joined.
    fn receive(&self, line: &str) -> Child {
        let mut command: Command = self.0.testbed(line.split(' '));
        let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + LIMIT;
        // 239.1.1.1 as the kernel writes it.
        while !self.run("exec b -- cat /proc/net/igmp").stdout.contains("010101EF") {
            assert!(Instant::now() < deadline, "b does not join");
        }
        child
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.0.testbed(["down", "pair"]).status();
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn a_receiver_counts_what_a_sender_sent() {
    let lab = Lab::up();
    let receiver = lab.receive("receive b --group 239.1.1.1 --count 300 --duration 30s --json");
    let sent = lab.run("send a --group 239.1.1.1 --rate 2kpps --count 300 --size 1000 --ttl 7 --json").expect_code(0);
    let output = receiver.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "all 300 came");
    let (sent, received) = (json(&sent.stdout), json(&String::from_utf8_lossy(&output.stdout)));
    assert_eq!((&sent["sent"], &sent["not_sent"], &sent["octets"]), (&300.into(), &0.into(), &300_000.into()));
    let stream = &received["streams"][sent["stream"].as_str().unwrap()];
    assert_eq!((&stream["received"], &stream["lost"], &stream["duplicated"]), (&300.into(), &0.into(), &0.into()));
    assert_eq!(stream["ttls"], serde_json::json!({"7": 300}));
    assert!(stream["join_latency_ns"].as_u64().unwrap() > 0 && stream["latency"]["p99_ns"].as_u64().unwrap() > 0);
}

#[test]
fn an_interrupted_receiver_gives_its_figures() {
    let lab = Lab::up();
    let receiver = lab.receive("receive b --group 239.1.1.1");
    lab.run("send a --group 239.1.1.1 --count 10 --rate 1000").expect_code(0).expect_said("sent");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(receiver.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let output = receiver.wait_with_output().unwrap();
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{table}");
    let received = table.lines().find(|line| line.contains("received")).unwrap_or_else(|| panic!("{table}"));
    assert!(received.contains("10"), "{table}");
}

#[test]
fn fewer_packets_than_asked_for_are_a_failed_check() {
    let lab = Lab::up();
    lab.run("receive b --group 239.1.1.1 --count 1 --duration 100ms").expect_code(1).expect_said("no stamped packet");
    lab.run("receive b --group 239.1.1.1 --duration 100ms").expect_code(0);
}

#[test]
fn what_cannot_be_is_said() {
    let lab = Lab::up();
    lab.run("send c --group 239.1.1.1 --count 1").expect_code(2).expect_said("no node named c");
    lab.run("send a --group 10.0.0.1 --count 1").expect_code(2).expect_said("it is no multicast address");
    lab.run("send a --group 239.1.1.1 --size 31").expect_code(2).expect_said("32 (the stamp) to 65507");
    lab.run("send a --group 239.1.1.1 --rate 0").expect_code(2).expect_said("packets a second");
    lab.run("send a --group 239.1.1.1 --interface eth9").expect_code(2).expect_said("no interface eth9; it has eth0");
    lab.run("receive b --group 239.1.1.1 --exclude").expect_code(2).expect_said("--source");
    lab.run("receive b --group 239.1.1.1 --source ::1").expect_code(2).expect_said("not of one address family");
    let gone = finish(lab.0.testbed(["send", "a", "--lab", "other", "--group", "239.1.1.1"]), LIMIT);
    gone.expect_code(2).expect_said("other");
}
