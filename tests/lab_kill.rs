//! Whoever is killed, and whenever: nothing of the lab remains, and the same lab comes up again.

mod support;

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{Scratch, finish};

const LIMIT: Duration = Duration::from_secs(60);
/// Moments that are tried; `TESTBED_KILLS` sets another number, `TESTBED_SEED` another course.
const KILLS: u64 = 50;

const CHAIN: &str = "
name: chain
nodes:
  h: {kind: host}
  r1: {kind: router, daemon: {exec: {command: [sleep, '1000']}}, multicast: none}
  r2: {kind: router, daemon: {exec: {command: [sleep, '1000']}}, multicast: none}
  g: {kind: host}
links:
  - {between: [h, r1]}
  - {between: [r1, r2]}
lans:
  end: {nodes: [r2, g]}
scenarios:
  - name: idle
    steps: [{wait: 20s}]
";

#[derive(Clone, Copy, Debug)]
enum Victim {
    UpClient,
    Monitor,
    Supervisor,
    Daemon,
    ExecClient,
    ExecCommand,
    DownClient,
    TestClient,
    TestSupervisor,
    TestRunner,
}

const VICTIMS: [Victim; 10] = [
    Victim::UpClient,
    Victim::Monitor,
    Victim::Supervisor,
    Victim::Daemon,
    Victim::ExecClient,
    Victim::ExecCommand,
    Victim::DownClient,
    Victim::TestClient,
    Victim::TestSupervisor,
    Victim::TestRunner,
];

/// A process of the lab, as /proc shows it.
#[derive(Debug)]
struct Process {
    pid: i32,
    parent: i32,
    command: String,
}

struct Lab {
    scratch: Scratch,
}

impl Lab {
    fn testbed(&self, arguments: &[&str]) -> Command {
        let mut command = self.scratch.testbed(arguments);
        // Turns of its own: no other lab on the machine makes these wait.
        command.env("XDG_RUNTIME_DIR", self.scratch.path());
        command
    }

    fn spawn(&self, arguments: &[&str]) -> Child {
        let said = fs::File::create(self.scratch.path().join("said")).expect("a file");
        self.testbed(arguments).stdout(Stdio::null()).stderr(said).spawn().expect("start testbed")
    }

    /// What the last spawned command said.
    fn said(&self) -> String {
        fs::read_to_string(self.scratch.path().join("said")).unwrap_or_default()
    }

    fn run(&self, arguments: &[&str]) -> support::Finished {
        finish(self.testbed(arguments), LIMIT)
    }

    /// All processes that have this lab's state directory in their environment.
    fn processes(&self) -> Vec<Process> {
        let mark = self.scratch.path().to_str().expect("a path").as_bytes().to_vec();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").expect("/proc").flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let Ok(environment) = fs::read(entry.path().join("environ")) else { continue };
            if !environment.windows(mark.len()).any(|window| window == mark) {
                continue;
            }
            let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
            let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok()).unwrap_or(0);
            let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).replace('\0', " ").trim().to_owned();
            found.push(Process { pid, parent, command });
        }
        found
    }

    fn find(&self, victim: Victim) -> Option<i32> {
        let processes = self.processes();
        let monitors: Vec<&Process> = processes.iter().filter(|p| p.command == "testbed inside monitor").collect();
        let supervisor = monitors.iter().find(|p| monitors.iter().any(|other| other.pid == p.parent));
        match victim {
            Victim::Monitor => supervisor.map(|p| p.parent),
            Victim::Supervisor | Victim::TestSupervisor => supervisor.map(|p| p.pid),
            Victim::TestRunner => processes.iter().find(|p| p.command.contains("inside run")).map(|p| p.pid),
            Victim::Daemon => processes.iter().find(|p| p.command == "sleep 1000").map(|p| p.pid),
            Victim::ExecCommand => processes.iter().find(|p| p.command == "sleep 900").map(|p| p.pid),
            Victim::UpClient | Victim::ExecClient | Victim::DownClient | Victim::TestClient => None,
        }
    }

    /// Waits until no process of the lab is left.
    fn await_nothing(&self, context: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let left = self.processes();
            if left.is_empty() {
                break;
            }
            assert!(Instant::now() < deadline, "{context}: left over: {left:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        let mark = self.scratch.path().to_str().expect("a path");
        assert!(!mounts.contains(mark), "{context}: a mount is left over:\n{mounts}");
    }

    /// After a kill: takes down what is still whole, and sees that nothing is left.
    fn settle(&self, context: &str) {
        if self.run(&["ps", "--json"]).expect_code(0).stdout.contains("\"name\"") {
            let down = self.run(&["down", "--all"]);
            assert!(matches!(down.code(), 0 | 2), "{context}: {down:?}");
        }
        self.await_nothing(context);
        // The next verb sweeps.
        self.run(&["ps"]).expect_code(0);
        assert!(self.state().is_empty(), "{context}: {:?}", self.state());
    }

    fn state(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.scratch.path().join("state")) else { return Vec::new() };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| name != ".testbed-lock").collect()
    }
}

/// xorshift64*: reproducible moments.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

#[test]
fn nothing_of_a_lab_survives_a_kill_at_any_moment() {
    let seed = number("TESTBED_SEED").unwrap_or(0x5eed_1ab5).max(1);
    let mut random = Random(seed);
    let lab = Lab { scratch: Scratch::new() };
    let file = lab.scratch.write("chain.yaml", CHAIN);
    let file = file.to_str().expect("a path");
    for round in 0..number("TESTBED_KILLS").unwrap_or(KILLS) {
        let victim = VICTIMS[random.below(VICTIMS.len() as u64) as usize];
        let moment = Duration::from_millis(random.below(200));
        let context = format!("seed {seed}, round {round}: {victim:?} after {moment:?}");
        if matches!(victim, Victim::TestClient | Victim::TestSupervisor | Victim::TestRunner) {
            let mut test = lab.spawn(&["test", file]);
            std::thread::sleep(moment + moment);
            match lab.find(victim) {
                Some(pid) => {
                    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
                    assert_ne!(test.wait().expect("wait").code(), Some(0), "{context}");
                }
                None => end(&mut test),
            }
            lab.settle(&context);
            continue;
        }
        let mut up = lab.spawn(&["up", file]);
        match victim {
            Victim::TestClient | Victim::TestSupervisor | Victim::TestRunner => {}
            Victim::UpClient => {
                std::thread::sleep(moment);
                end(&mut up);
            }
            Victim::Monitor | Victim::Supervisor => {
                std::thread::sleep(moment);
                if let Some(pid) = lab.find(victim) {
                    // It may have ended by itself meanwhile.
                    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
                }
                let _ = up.wait();
            }
            Victim::Daemon | Victim::ExecClient | Victim::ExecCommand | Victim::DownClient => {
                assert!(up.wait().expect("wait").success(), "{context}: {}", lab.said());
                let more =
                    if let Victim::DownClient = victim { &["down"][..] } else { &["exec", "r1", "--", "sleep", "900"] };
                let mut client = lab.spawn(more);
                std::thread::sleep(moment);
                match lab.find(victim) {
                    Some(pid) => {
                        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
                        if let Victim::ExecCommand = victim {
                            assert_eq!(client.wait().expect("wait").code(), Some(137), "{context}");
                        }
                        end(&mut client);
                    }
                    None => end(&mut client),
                }
            }
        }
        lab.settle(&context);
    }
    lab.run(&["up", file]).expect_code(0);
    lab.run(&["exec", "h", "--", "true"]).expect_code(0);
    lab.run(&["down"]).expect_code(0);
    lab.await_nothing("at the end");
    assert!(lab.state().is_empty());
}

#[test]
fn an_interrupted_start_leaves_nothing() {
    let mut random = Random(7);
    let lab = Lab { scratch: Scratch::new() };
    let file = lab.scratch.write("chain.yaml", CHAIN);
    for _ in 0..8 {
        let mut up = lab.spawn(&["up", "--foreground", file.to_str().expect("a path")]);
        std::thread::sleep(Duration::from_millis(random.below(150)));
        let _ = kill(Pid::from_raw(up.id().try_into().expect("a pid")), Signal::SIGINT);
        let status = up.wait().expect("wait");
        // Not a moment later: the client has waited for the end of its lab.
        let left = lab.processes();
        assert!(left.is_empty(), "{status:?}: {left:?}");
        assert!(lab.state().is_empty(), "{status:?}: {:?}", lab.state());
    }
}
