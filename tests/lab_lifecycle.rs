//! Labs come up, are used and go, for root and for ordinary users, and leave nothing.

mod support;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use support::{Finished, Scratch, finish};

const LIMIT: Duration = Duration::from_secs(60);

const PAIR: &str = "
name: pair
nodes:
  a: {kind: host}
  b: {kind: host}
  r: {kind: router, multicast: none}
links:
  - {between: [a, r]}
lans:
  office: {nodes: [r, b]}
";

/// Who runs the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Self_,
    /// An ordinary user, if the tests run as root.
    Ordinary,
}

struct Bench {
    scratch: Scratch,
    who: Who,
    file: PathBuf,
}

impl Bench {
    fn new(who: Who) -> Bench {
        let scratch = Scratch::new();
        let file = scratch.write("pair.yaml", PAIR);
        // Where the ordinary user can read it, wherever the tests were built.
        std::fs::copy(env!("CARGO_BIN_EXE_testbed"), scratch.path().join("testbed")).expect("copy the program");
        Bench { scratch, who, file }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let testbed = self.scratch.path().join("testbed");
        let mut command = match self.who {
            Who::Self_ => Command::new(testbed),
            Who::Ordinary => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(testbed);
                command
            }
        };
        command
            .args(arguments)
            .env("TESTBED_STATE_DIR", self.scratch.path().join("state"))
            .env("HOME", "/tmp")
            .env_remove("XDG_RUNTIME_DIR")
            .current_dir(self.scratch.path())
            .stdin(std::process::Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Finished {
        finish(self.command(arguments), LIMIT)
    }

    fn up(&self, more: &[&str]) -> Finished {
        let file = self.file.to_str().expect("a path");
        self.run(&[&["up", "--bare", file], more].concat())
    }

    fn labs(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.scratch.path().join("state")).expect("the state directory");
        let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"));
        names.filter(|name| !name.starts_with('.')).collect()
    }
}

impl Drop for Bench {
    /// However the test ends, its labs go.
    fn drop(&mut self) {
        let quiet = std::process::Stdio::null;
        let _ = self.command(&["down", "--all"]).stdout(quiet()).stderr(quiet()).status();
    }
}

fn everybody(test: impl Fn(&Bench)) {
    test(&Bench::new(Who::Self_));
    if nix::unistd::geteuid().is_root() {
        test(&Bench::new(Who::Ordinary));
    }
}

#[test]
fn a_lab_comes_up_runs_commands_in_its_nodes_and_goes() {
    everybody(|bench| {
        bench.up(&[]).expect_code(0).expect_said("pair is up: 1 router, 2 hosts, 1 link, 1 LAN");
        bench.run(&["exec", "a", "--", "hostname"]).expect_code(0).expect_said("a\n");
        // Nothing routes yet, but neighbours reach each other: ARP and IPv6 neighbour discovery work at once.
        bench
            .run(&["exec", "r", "--", "sh", "-c", "cat /proc/sys/net/ipv4/ip_forward"])
            .expect_code(0)
            .expect_said("1");
        bench
            .run(&["exec", "b", "--", "sh", "-c", "cat /proc/sys/net/ipv4/ip_forward"])
            .expect_code(0)
            .expect_said("0");
        bench.run(&["exec", "a", "--", "grep", "-w", "b", "/etc/hosts"]).expect_code(0);
        bench.run(&["exec", "@office", "--", "ls", "/run/netns"]).expect_code(0).expect_said("@office");
        let ps = bench.run(&["ps"]).expect_code(0);
        assert!(ps.stdout.contains("pair") && ps.stdout.contains("ready"), "{}", ps.stdout);
        let json = bench.run(&["ps", "--json"]).expect_code(0).stdout;
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(json[0]["nodes"][1]["name"], "b");
        bench.run(&["down"]).expect_code(0).expect_said("pair is down");
        assert!(bench.labs().is_empty());
        bench.run(&["down"]).expect_code(2).expect_said("no lab is up");
        bench.run(&["exec", "a", "--", "true"]).expect_code(2).expect_said("no lab is up");
    });
}

#[test]
fn exit_statuses_are_passed_on() {
    everybody(|bench| {
        bench.up(&[]).expect_code(0);
        let exec = |command: &[&str]| bench.run(&[&["exec", "a", "--"], command].concat());
        exec(&["sh", "-c", "exit 7"]).expect_code(7);
        exec(&["sh", "-c", "kill -9 $$"]).expect_code(137);
        exec(&["sh", "-c", "echo out; echo err >&2"]).expect_code(0).expect_said("out\n").expect_said("err\n");
        exec(&["no-such-program"]).expect_code(127).expect_said("no-such-program: not found");
        exec(&["/etc/passwd"]).expect_code(126);
        bench.run(&["exec", "zz", "--", "true"]).expect_code(2).expect_said("no node named zz (nodes: a, b, r)");
        bench.run(&["exec", "--lab", "other", "a", "--", "true"]).expect_code(2).expect_said("up: pair");
        // A large environment still arrives.
        let mut command = bench.command(&["exec", "a", "--", "sh", "-c", "echo ${#LARGE}"]);
        command.env("LARGE", "x".repeat(100_000));
        finish(command, LIMIT).expect_code(0).expect_said("100000");
        bench.run(&["down", "pair"]).expect_code(0);
    });
}

#[test]
fn labs_lie_side_by_side() {
    everybody(|bench| {
        bench.up(&["--name", "one"]).expect_code(0);
        bench.up(&["--name", "two"]).expect_code(0);
        bench.run(&["exec", "a", "--", "true"]).expect_code(2).expect_said("several labs are up");
        let inside = |lab: &str| {
            let show = "readlink /proc/self/ns/net";
            bench.run(&["exec", "--lab", lab, "a", "--", "sh", "-c", show]).expect_code(0).stdout
        };
        assert_ne!(inside("one"), inside("two"));
        bench.run(&["down", "one"]).expect_code(0);
        bench.run(&["exec", "a", "--", "true"]).expect_code(0);
        bench.run(&["down", "--all"]).expect_code(0);
        assert!(bench.labs().is_empty());
    });
}

#[test]
fn a_lab_that_is_up_says_so() {
    let bench = Bench::new(Who::Self_);
    bench.up(&[]).expect_code(0);
    bench.up(&[]).expect_code(0).expect_said("pair is up already");
    let other = bench.scratch.write(
        "other.yaml",
        &PAIR
            .replace("a: {kind: host}", "a: {kind: host}\n  c: {kind: host}")
            .replace("between: [a, r]}", "between: [a, r]}\n  - {between: [c, r]}"),
    );
    bench.run(&["up", other.to_str().expect("a path")]).expect_code(2).expect_said("another file or another version");
    // A file stands for the lab that it names.
    bench.run(&["down", "pair.yaml"]).expect_code(0).expect_said("pair is down");
}

#[test]
fn a_lab_that_fails_half_way_leaves_nothing_and_says_why() {
    everybody(|bench| {
        // An index that is the loopback's already cannot be given to a link.
        let mut plan: serde_json::Value = {
            bench.up(&[]).expect_code(0);
            let text = std::fs::read(bench.scratch.path().join("state/pair/plan.json")).expect("the plan");
            bench.run(&["down"]).expect_code(0);
            serde_json::from_slice(&text).expect("JSON")
        };
        plan["nodes"][1]["interfaces"][0]["index"] = 1.into();
        let file = bench.scratch.write("broken.json", &plan.to_string());
        let file = file.to_str().expect("a path");
        let failed = bench.run(&["up", "--bare", "--plan", file]).expect_code(3);
        assert!(failed.stderr.contains("cannot attach b.eth0 to the LAN office"), "{}", failed.stderr);
        assert!(bench.labs().is_empty());
        bench.up(&[]).expect_code(0);
        bench.run(&["down"]).expect_code(0);
    });
}

#[test]
fn a_state_directory_may_have_a_long_path() {
    let bench = Bench::new(Who::Self_);
    let deep = bench.scratch.path().join("d".repeat(100)).join("e".repeat(100));
    let run = |arguments: &[&str]| {
        let mut command = bench.command(arguments);
        command.env("TESTBED_STATE_DIR", &deep);
        finish(command, LIMIT)
    };
    run(&["up", "--bare", bench.file.to_str().expect("a path")]).expect_code(0);
    run(&["exec", "a", "--", "true"]).expect_code(0);
    run(&["down"]).expect_code(0);
}

#[test]
fn a_command_gets_the_signals_that_its_client_gets() {
    use std::io::{BufRead, BufReader};
    let bench = Bench::new(Who::Self_);
    bench.up(&[]).expect_code(0);
    let script = "trap 'echo got it; exit 9' TERM; echo waiting; while :; do sleep 0.05; done";
    let mut command = bench.command(&["exec", "a", "--", "sh", "-c", script]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().expect("start");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
    assert_eq!(lines.next().expect("a line").expect("text"), "waiting");
    let pid = nix::unistd::Pid::from_raw(child.id().try_into().expect("a pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("kill");
    assert_eq!(lines.next().expect("a line").expect("text"), "got it");
    assert_eq!(child.wait().expect("wait").code(), Some(9));
    bench.run(&["down"]).expect_code(0);
}

#[test]
fn a_foreground_lab_ends_with_its_client() {
    use std::io::{BufRead, BufReader};
    let bench = Bench::new(Who::Self_);
    let file = bench.file.to_str().expect("a path");
    let mut command = bench.command(&["up", "--bare", "--foreground", file]);
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().expect("start");
    let mut lines = BufReader::new(child.stderr.take().expect("stderr")).lines();
    let up = lines.by_ref().map(|line| line.expect("text")).find(|line| line.starts_with("pair is up"));
    assert!(up.is_some());
    bench.run(&["exec", "a", "--", "true"]).expect_code(0);
    let pid = nix::unistd::Pid::from_raw(child.id().try_into().expect("a pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("kill");
    assert_eq!(child.wait().expect("wait").code(), Some(0));
    assert!(bench.labs().is_empty());
}
