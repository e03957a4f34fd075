//! Namespaces, hosts and the daemon for tests on the real kernel.
//!
//! A test body runs in a network namespace of its own (and a user namespace, for an ordinary user): the test executable runs
//! itself again under unshare(1). The router lives in that namespace, each host in another one, joined by veth pairs.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{self, AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn};
use nix::unistd::{Pid, geteuid, gettid};
use router_core::control::client::{Client, Events};
use router_core::router::{Event, EventKind};
use router_core::show::{Show, Shown};
use router_core::wire::igmp;
use router_core::wire::ipv4::Header;

/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Long enough for what should not happen to happen.
pub const SILENCE: Duration = Duration::from_millis(400);

const INSIDE: &str = "ROUTER_CORE_TEST_INSIDE";

/// Runs `body` in namespaces of the test's own; `test` is the test function's path.
pub fn in_namespace(test: &str, body: impl FnOnce()) {
    if std::env::var(INSIDE).is_ok_and(|inside| inside == test) {
        for file in ["all/rp_filter", "default/rp_filter"] {
            // Where it cannot be written, it is as the machine has it.
            let _ = std::fs::write(format!("/proc/sys/net/ipv4/conf/{file}"), "0");
        }
        ip("link set dev lo up");
        return body();
    }
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", "120", "unshare", "--net"]);
    if !geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.arg(std::env::current_exe().expect("this executable"));
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(INSIDE, test);
    let status = command.status().expect("timeout and unshare start");
    assert!(status.success(), "{test} failed in its namespace: {status}");
}

/// Runs `ip` with arguments in the calling thread's namespace.
pub fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().expect("ip starts");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A network namespace with one interface, `eth0`, and a thread that lives there.
pub struct Host {
    jobs: mpsc::Sender<Box<dyn FnOnce() + Send>>,
    /// Its end's address.
    pub address: Ipv4Addr,
}

impl Host {
    /// A host at the far end of a new veth pair whose near end is the router's interface `name`. The router is .1 and the host .9 of
    /// 10.0.`net`.0/24.
    pub fn attach(name: &str, net: u8) -> Host {
        let (jobs, todo) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        let (started, start) = mpsc::channel();
        std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace for a host");
            started.send(gettid()).expect("the test waits");
            for job in todo {
                job();
            }
        });
        let thread = start.recv().expect("the host's thread");
        let place = format!("/proc/{}/task/{thread}/ns/net", std::process::id());
        ip(&format!("link add name {name} type veth peer name eth0 netns {place}"));
        ip(&format!("addr add 10.0.{net}.1/24 dev {name}"));
        ip(&format!("link set dev {name} up"));
        let host = Host { jobs, address: Ipv4Addr::new(10, 0, net, 9) };
        host.run(move || {
            ip("link set dev lo up");
            ip(&format!("addr add 10.0.{net}.9/24 dev eth0"));
            ip("link set dev eth0 up");
            ip("route add 224.0.0.0/4 dev eth0");
        });
        host
    }

    /// Runs something in the host's namespace, to its end.
    pub fn run<R: Send + 'static>(&self, job: impl FnOnce() -> R + Send + 'static) -> R {
        let (done, result) = mpsc::channel();
        let job = Box::new(move || {
            let _ = done.send(job());
        });
        self.jobs.send(job).expect("the host's thread runs");
        result.recv().expect("the host's thread did not panic")
    }

    /// A socket that has joined a group here, from any source.
    pub fn join(&self, group: Ipv4Addr, port: u16) -> UdpSocket {
        let address = self.address;
        self.run(move || {
            let socket = UdpSocket::bind(SocketAddr::from((group, port))).expect("bind");
            socket.join_multicast_v4(&group, &address).expect("join");
            socket.set_read_timeout(Some(PATIENCE)).expect("time-out");
            socket
        })
    }

    /// A socket that sends from here with TTL 16.
    pub fn sender(&self) -> UdpSocket {
        let address = self.address;
        self.run(move || {
            let socket = UdpSocket::bind(SocketAddr::from((address, 0))).expect("bind");
            socket.set_multicast_ttl_v4(16).expect("TTL");
            socket
        })
    }
}

/// A socket that sends IP packets with headers as they are given; the kernel fills in total length and checksum.
pub struct Raw(OwnedFd);

impl Host {
    /// Such a socket here.
    pub fn raw(&self) -> Raw {
        self.run(|| {
            let kind = (AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw);
            Raw(socket::socket(kind.0, kind.1, kind.2, kind.3).expect("a raw socket"))
        })
    }
}

impl Raw {
    /// Sends a packet to where its header says; gives whether the kernel took it.
    pub fn send(&self, packet: &[u8]) -> bool {
        let &[a, b, c, d] = packet.get(16..20).and_then(|d| d.first_chunk()).expect("a header");
        let target = SockaddrIn::new(a, b, c, d, 0);
        socket::sendto(self.0.as_raw_fd(), packet, &target, MsgFlags::empty()).is_ok()
    }

    /// Sends an IGMP message with Router Alert and TTL 1.
    pub fn igmp(&self, source: Ipv4Addr, destination: Ipv4Addr, payload: &[u8]) -> bool {
        self.send(&igmp_header(source, destination).emit(payload).expect("short"))
    }
}

/// The header of an IGMP message as RFC 9776 §4 wants it.
pub fn igmp_header(source: Ipv4Addr, destination: Ipv4Addr) -> Header {
    Header {
        tos: 0xc0,
        identification: 0,
        dont_fragment: false,
        ttl: 1,
        protocol: igmp::PROTOCOL,
        source,
        destination,
        router_alert: true,
    }
}

/// Whether a packet is there now, or comes within a time.
pub fn receives(socket: &UdpSocket, within: Duration) -> bool {
    socket.set_read_timeout(Some(within)).expect("time-out");
    socket.recv(&mut [0; 2048]).is_ok()
}

/// Takes what has come already.
pub fn empty(socket: &UdpSocket) {
    socket.set_nonblocking(true).expect("non-blocking");
    while socket.recv(&mut [0; 2048]).is_ok() {}
    socket.set_nonblocking(false).expect("blocking");
}

/// A running router-core.
pub struct Daemon {
    child: Child,
    directory: tempfile::TempDir,
    events: Events,
    /// Every event so far.
    pub seen: Vec<Event>,
}

impl Daemon {
    /// Starts the daemon and waits until it is ready.
    pub fn start(config: &str) -> Daemon {
        Daemon::start_with(config, &[])
    }

    /// The same with more in its environment.
    pub fn start_with(config: &str, environment: &[(&str, &str)]) -> Daemon {
        let directory = tempfile::tempdir().expect("a directory");
        let child = spawn(&directory, config, environment);
        let socket = directory.path().join("control");
        let deadline = Instant::now() + PATIENCE;
        let events = loop {
            match Client::connect(&socket, PATIENCE).and_then(Client::events) {
                Ok(events) => break events,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let mut daemon = Daemon { child, directory, events, seen: Vec::new() };
        daemon.wait_for("ready", |event| *event == EventKind::Ready);
        daemon
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("control")
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for an event that comes, or has come already.
    pub fn wait_for(&mut self, what: &str, is_it: impl Fn(&EventKind) -> bool) {
        if self.seen.iter().any(|event| is_it(&event.kind)) {
            return;
        }
        self.wait_for_next(what, is_it);
    }

    /// Waits for an event that has not been seen yet.
    pub fn wait_for_next(&mut self, what: &str, is_it: impl Fn(&EventKind) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while let Some(event) =
            self.events.next(deadline.saturating_duration_since(Instant::now())).expect("the event stream")
        {
            let found = is_it(&event.kind);
            self.seen.push(event);
            if found {
                return;
            }
        }
        panic!("no event '{what}' within {PATIENCE:?}: {:#?}", self.seen);
    }

    /// Takes the events that have come already.
    pub fn take_events(&mut self) {
        while let Some(event) = self.events.try_next().expect("the event stream") {
            self.seen.push(event);
        }
    }

    /// Its resident memory in KiB: anonymous pages, and all.
    pub fn memory(&self) -> (u64, u64) {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("procfs");
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("the field");
            line.trim().trim_end_matches(" kB").parse().expect("a number")
        };
        (field("RssAnon:"), field("VmRSS:"))
    }

    /// Waits until a host's membership is known.
    pub fn wait_for_member(&mut self, on: &str, of: Ipv4Addr) {
        self.wait_for(
            "member added",
            |event| matches!(event, EventKind::MemberAdded { interface, group, .. } if interface == on && *group == of),
        );
    }

    /// Asks it.
    pub fn show(&self, what: Show) -> Shown {
        Client::connect(&self.socket(), PATIENCE).and_then(|mut client| client.show(what)).expect("an answer")
    }

    /// A counter's value, 0 if it is not there.
    pub fn counter(&self, name: &str) -> u64 {
        let Shown::Counters(counters) = self.show(Show::Counters) else { panic!("no counters") };
        counters.get(name).copied().unwrap_or(0)
    }

    /// Sends it SIGTERM and waits for its end.
    pub fn terminate(mut self) -> ExitStatus {
        kill(Pid::from_raw(self.pid() as i32), Signal::SIGTERM).expect("SIGTERM");
        let status = self.child.wait().expect("its end");
        assert!(!self.socket().exists(), "the control socket is left behind");
        status
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts the daemon with a configuration; it dies with the test's thread.
fn spawn(directory: &tempfile::TempDir, config: &str, environment: &[(&str, &str)]) -> Child {
    let path = directory.path().join("config.yaml");
    std::fs::write(&path, config).expect("write");
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", env!("CARGO_BIN_EXE_router-core"), "--config"])
        .arg(&path)
        .arg("--control")
        .arg(directory.path().join("control"))
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .spawn()
        .expect("setpriv and router-core start")
}

/// Runs the daemon with arguments to its end; gives its exit status and what it said on standard error.
pub fn daemon_fails(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new("timeout")
        .args(["20", env!("CARGO_BIN_EXE_router-core")])
        .args(arguments)
        .output()
        .expect("router-core starts");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Lines of a file below /proc/net of this thread's namespace, without its heading.
pub fn proc_net(name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(format!("/proc/thread-self/net/{name}")).expect("procfs");
    text.lines().skip(1).map(str::to_owned).collect()
}

/// Waits until a condition holds, with a look at it every few milliseconds (for what the kernel tells nobody).
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
