//! The kernel's floor: what a chain of N network namespaces costs when nothing but the kernel's own work is done.
//!
//! `testbed-floor N [--stay SECONDS]` makes N namespaces (held by file descriptors), N − 1 veth pairs with both ends made
//! in place, one IPv4 address an end, everything up, `ip_forward` on; then lets go of all. Requests go out in batches, each batch
//! with one acknowledgement. One JSON line on standard output: phases in milliseconds.
//!
//! An ordinary user gets a user namespace first.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{getegid, geteuid};

/// veth pairs a request.
const BATCH: usize = 64;
const NODES_MAX: usize = 3000;

const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const NEW_ADDRESS: u16 = 20;
const REQUEST: u16 = 0x1;
const ACKNOWLEDGE: u16 = 0x4;
const CREATE: u16 = 0x600;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let nodes = arguments.first().and_then(|n| n.parse().ok()).filter(|n| (2..=NODES_MAX).contains(n));
    let Some(nodes) = nodes else {
        eprintln!("usage: testbed-floor N [--stay SECONDS], N from 2 to {NODES_MAX}");
        return ExitCode::from(2);
    };
    let stay = match arguments.get(1..) {
        Some([flag, seconds]) if flag == "--stay" => seconds.parse().ok(),
        Some([]) => Some(0),
        _ => None,
    };
    let Some(stay) = stay else {
        eprintln!("testbed-floor: the only option is --stay SECONDS");
        return ExitCode::from(2);
    };
    match run(nodes, Duration::from_secs(stay)) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("testbed-floor: {error}");
            ExitCode::from(3)
        }
    }
}

fn run(nodes: usize, stay: Duration) -> io::Result<String> {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    if !geteuid().is_root() {
        become_root_of_a_user_namespace()?;
    }
    let home = File::open("/proc/self/ns/net")?;
    let (mut namespaces, mut sockets) = (Vec::with_capacity(nodes), Vec::with_capacity(nodes));
    let mut request = Request::default();

    let start = Instant::now();
    for _ in 0..nodes {
        unshare(CloneFlags::CLONE_NEWNET)?;
        namespaces.push(File::open("/proc/thread-self/ns/net")?);
        sockets.push(netlink()?);
        // Where /proc/sys is read-only (containers), forwarding stays off: a difference of some microseconds a node.
        let _ = fs::write("/proc/sys/net/ipv4/ip_forward", "1");
    }
    let made = Instant::now();

    // Indexes 2 and 3 of each namespace: e0 toward the node before, e1 toward the one after.
    for (near, pair) in namespaces.windows(2).enumerate() {
        let last = (near + 1) % BATCH == 0 || near + 2 == nodes;
        request.message(NEW_LINK, CREATE | if last { ACKNOWLEDGE } else { 0 }, |r| {
            r.put(&link_header(3, 0));
            r.attribute(3, b"e1\0");
            r.attribute(28, &pair[0].as_raw_fd().to_ne_bytes());
            r.nest(18, |r| {
                r.attribute(1, b"veth\0");
                r.nest(2, |r| {
                    r.nest(1, |r| {
                        r.put(&link_header(2, 0));
                        r.attribute(3, b"e0\0");
                        r.attribute(28, &pair[1].as_raw_fd().to_ne_bytes());
                    });
                });
            });
        });
        if last {
            request.send(&sockets[nodes - 1])?;
        }
    }
    let linked = Instant::now();

    for (node, socket) in sockets.iter().enumerate() {
        let before = (node > 0).then(|| (2, (node - 1) as u32 * 4 + 2));
        let after = (node + 1 < nodes).then(|| (3, node as u32 * 4 + 1));
        for (index, host) in before.into_iter().chain(after) {
            let address = ((10 << 24) + host).to_be_bytes();
            request.message(NEW_ADDRESS, CREATE, |r| {
                r.put(&[libc::AF_INET as u8, 30, 0, 0]);
                r.put(&u32::to_ne_bytes(index));
                r.attribute(2, &address);
                r.attribute(1, &address);
            });
            request.message(NEW_LINK, 0, |r| r.put(&link_header(index, 1)));
        }
        request.message(NEW_LINK, ACKNOWLEDGE, |r| r.put(&link_header(1, 1)));
        request.send(socket)?;
    }
    let up = Instant::now();

    setns(home.as_fd(), CloneFlags::CLONE_NEWNET)?;
    std::thread::sleep(stay);
    let leave = Instant::now();
    drop(sockets);
    drop(namespaces);
    let left = Instant::now();
    wait_until_freed(&home)?;
    let ms = |from: Instant, to: Instant| to.duration_since(from).as_secs_f64() * 1e3;
    Ok(format!(
        "{{\"nodes\":{nodes},\"namespaces_ms\":{:.1},\"links_ms\":{:.1},\"addresses_ms\":{:.1},\"up_ms\":{:.1},\
         \"down_call_ms\":{:.1},\"down_ms\":{:.1}}}",
        ms(start, made),
        ms(made, linked),
        ms(linked, up),
        ms(start, up),
        ms(leave, left),
        ms(leave, Instant::now()),
    ))
}

fn become_root_of_a_user_namespace() -> io::Result<()> {
    let (user, group) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {group} 1"))
}

/// Waits until the kernel has freed what was let go of. It frees namespaces batch by batch: one end of a veth pair in a namespace that is let go
/// of now is deleted when that one's batch is done; the second such sentinel comes after all that were there before.
fn wait_until_freed(home: &File) -> io::Result<()> {
    for _ in 0..2 {
        unshare(CloneFlags::CLONE_NEWNET)?;
        let watch = netlink()?;
        unshare(CloneFlags::CLONE_NEWNET)?;
        let sentinel = File::open("/proc/thread-self/ns/net")?;
        let mut request = Request::default();
        request.message(NEW_LINK, CREATE | ACKNOWLEDGE, |r| {
            r.put(&link_header(2, 0));
            r.attribute(3, b"c0\0");
            r.nest(18, |r| {
                r.attribute(1, b"veth\0");
                r.nest(2, |r| {
                    r.nest(1, |r| {
                        r.put(&link_header(3, 0));
                        r.attribute(3, b"s0\0");
                        r.attribute(28, &sentinel.as_raw_fd().to_ne_bytes());
                    });
                });
            });
        });
        request.send(&watch)?;
        watch.add_membership(1)?;
        setns(home.as_fd(), CloneFlags::CLONE_NEWNET)?;
        drop(sentinel);
        let mut buffer = Vec::new();
        loop {
            let mut fds = [PollFd::new(watch.as_fd(), PollFlags::POLLIN)];
            if poll(&mut fds, PollTimeout::from(60_000u16))? == 0 {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the kernel has not freed the namespaces in 60 s"));
            }
            buffer.clear();
            buffer.reserve(32 * 1024);
            watch.recv(&mut buffer, 0)?;
            if buffer.get(4..6) == Some(&DELETE_LINK.to_ne_bytes()) {
                break;
            }
        }
    }
    Ok(())
}

fn netlink() -> io::Result<Socket> {
    let socket = Socket::new(NETLINK_ROUTE)?;
    socket.set_cap_ack(true)?;
    Ok(socket)
}

/// `struct ifinfomsg`; `up` is the flag and its mask.
fn link_header(index: u32, up: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&up.to_ne_bytes());
    header[12..16].copy_from_slice(&up.to_ne_bytes());
    header
}

/// Netlink messages that go out together.
#[derive(Default)]
struct Request {
    bytes: Vec<u8>,
}

impl Request {
    fn message(&mut self, kind: u16, flags: u16, fill: impl FnOnce(&mut Request)) {
        let start = self.bytes.len();
        self.put(&[0; 4]);
        self.put(&kind.to_ne_bytes());
        self.put(&(REQUEST | flags).to_ne_bytes());
        self.put(&[0; 8]);
        fill(self);
        let length = (self.bytes.len() - start) as u32;
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.nest(kind, |r| r.put(value));
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Request)) {
        let start = self.bytes.len();
        self.put(&[0; 2]);
        self.put(&kind.to_ne_bytes());
        fill(self);
        let length = (self.bytes.len() - start) as u16;
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }

    /// Sends what was put together and waits for its acknowledgement, which the last message asked for; an error comes first.
    fn send(&mut self, socket: &Socket) -> io::Result<()> {
        socket.send(&self.bytes, 0)?;
        self.bytes.clear();
        let mut answer = Vec::with_capacity(4096);
        socket.recv(&mut answer, 0)?;
        match answer.get(16..20).and_then(|code| code.try_into().ok()).map(i32::from_ne_bytes) {
            Some(0) => Ok(()),
            Some(code) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
            None => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
        }
    }
}
