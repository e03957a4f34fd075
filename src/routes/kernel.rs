//! What the route agent says to one node's kernel, and hears from it: rtnetlink on one socket of that namespace.
//!
//! Written by hand because little of rtnetlink is needed, and because news must be read whatever attributes a newer kernel
//! puts into them.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns};

/// Changes in one request: if each were refused, the answers would still fit in a socket's default buffer.
const BATCH: usize = 128;
/// The kernel answers while it takes the request; longer than this means that the answer was lost.
const ANSWER_MS_MAX: u16 = 2000;
/// A dump comes in pieces of at most 32 KiB.
const BUFFER: usize = 64 * 1024;

const GROUP_LINK: u32 = 1;
const GROUP_IPV4_ADDRESS: u32 = 5;
const GROUP_IPV6_ADDRESS: u32 = 9;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const NEW_ROUTE: u16 = 24;
const DELETE_ROUTE: u16 = 25;
const GET_ROUTE: u16 = 26;

const REQUEST: u16 = 0x1;
const ACKNOWLEDGE: u16 = 0x4;
const DUMP: u16 = 0x300;
const REPLACE: u16 = 0x100;
const CREATE: u16 = 0x400;

const TABLE_MAIN: u8 = 254;
const PROTOCOL_STATIC: u8 = 4;
const TYPE_UNICAST: u8 = 1;
const ATTRIBUTE_DESTINATION: u16 = 1;
const ATTRIBUTE_INTERFACE: u16 = 4;
const ATTRIBUTE_GATEWAY: u16 = 5;
const ATTRIBUTE_PRIORITY: u16 = 6;
/// `IFLA_EXT_MASK` with `RTEXT_FILTER_SKIP_STATS`.
const ATTRIBUTE_EXT_MASK: u16 = 29;
const SKIP_STATISTICS: u32 = 1 << 3;

const FLAG_UP: u32 = 1;
const FLAG_LOWER_UP: u32 = 1 << 16;

/// A route as the kernel holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelRoute {
    /// Destination.
    pub prefix: IpNet,
    /// Next hop.
    pub gateway: IpAddr,
    /// Index of the interface.
    pub index: u32,
    /// `RTA_PRIORITY`.
    pub metric: u32,
}

/// A change of a routing table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Add a route, in the place of one with the same prefix and metric.
    Set(KernelRoute),
    /// Withdraw a route.
    Remove(KernelRoute),
}

/// State of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkState {
    /// Kernel index.
    pub index: u32,
    /// Administratively up.
    pub up: bool,
    /// The other end is there and up.
    pub carrier: bool,
}

/// What a kernel tells unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// An interface is in this state now.
    Link(LinkState),
    /// Addresses of an interface changed: a next hop may have become reachable.
    Address(u32),
    /// Some news were lost.
    Lost,
}

/// Netlink with one namespace.
#[derive(Debug)]
pub struct NodeKernel {
    socket: Socket,
    /// The socket's own address: answers carry it. News carry that of whoever made them happen, or 0.
    port: u32,
    sequence: u32,
    news: VecDeque<News>,
    buffer: Vec<u8>,
}

impl NodeKernel {
    /// A socket in the calling thread's namespace that hears news of interfaces.
    ///
    /// # Errors
    /// Those of the socket calls.
    pub fn open() -> io::Result<NodeKernel> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        let port = socket.bind_auto()?.port_number();
        socket.set_cap_ack(true)?;
        socket.set_non_blocking(true)?;
        for group in [GROUP_LINK, GROUP_IPV4_ADDRESS, GROUP_IPV6_ADDRESS] {
            socket.add_membership(group)?;
        }
        Ok(NodeKernel { socket, port, sequence: 0, news: VecDeque::new(), buffer: Vec::new() })
    }

    /// Sockets in the namespaces at these paths. They are opened by a thread of its own: the caller's namespace stays.
    ///
    /// # Errors
    /// The first path that cannot be entered, with the cause.
    pub fn open_in(paths: &[PathBuf]) -> Result<Vec<NodeKernel>, (PathBuf, io::Error)> {
        let enter = |path: &Path| -> io::Result<NodeKernel> {
            setns(File::open(path)?.as_fd(), CloneFlags::CLONE_NEWNET)?;
            NodeKernel::open()
        };
        std::thread::scope(|scope| {
            let opener =
                scope.spawn(|| paths.iter().map(|path| enter(path).map_err(|error| (path.clone(), error))).collect());
            opener.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Makes changes, many in a request. Gives those that the kernel refused, with the cause. Withdrawing what is not there is no error.
    ///
    /// # Errors
    /// Those of the socket; then it is unknown what was done.
    pub fn apply(&mut self, changes: &[Change]) -> io::Result<Vec<(Change, Errno)>> {
        let mut refused = Vec::new();
        for batch in changes.chunks(BATCH) {
            let first = self.sequence.wrapping_add(1);
            let mut request = Vec::with_capacity(batch.len() * 96);
            for (place, change) in batch.iter().enumerate() {
                let acknowledge = if place + 1 == batch.len() { ACKNOWLEDGE } else { 0 };
                self.sequence = self.sequence.wrapping_add(1);
                emit_change(&mut request, change, acknowledge, self.sequence);
            }
            self.socket.send(&request, 0)?;
            let last = self.sequence;
            self.receive_until(|message| {
                if message.kind != NLMSG_ERROR || message.sequence.wrapping_sub(first) as usize >= batch.len() {
                    return Ok(false);
                }
                if let Some(error) = message.errno() {
                    let change = batch[message.sequence.wrapping_sub(first) as usize];
                    let gone = matches!(change, Change::Remove(_)) && matches!(error, Errno::ESRCH | Errno::ENODEV);
                    if !gone {
                        refused.push((change, error));
                    }
                }
                Ok(message.sequence == last)
            })?;
        }
        Ok(refused)
    }

    /// States of all interfaces.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn links(&mut self) -> io::Result<Vec<LinkState>> {
        let mut payload = vec![0; 16];
        emit_attribute(&mut payload, ATTRIBUTE_EXT_MASK, &SKIP_STATISTICS.to_ne_bytes());
        let mut links = Vec::new();
        self.dump(GET_LINK, &payload, |message| links.extend(link_state(message)))?;
        Ok(links)
    }

    /// Routes of protocol `static` in the main table, both families.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn static_routes(&mut self) -> io::Result<Vec<KernelRoute>> {
        let mut routes = Vec::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            let mut payload = [0; 12];
            payload[0] = family as u8;
            self.dump(GET_ROUTE, &payload, |message| {
                if message.kind == NEW_ROUTE {
                    routes.extend(parse_route(message.payload));
                }
            })?;
        }
        Ok(routes)
    }

    /// Whether news were read already, beside the answer to a request: the socket need not be readable any more for them.
    pub fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// News since the last call; never waits. With [`News::Lost`] among them, the others may be older than what was lost.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn news(&mut self) -> io::Result<VecDeque<News>> {
        self.receive(|_| Ok(false))?;
        Ok(std::mem::take(&mut self.news))
    }

    fn dump(&mut self, kind: u16, payload: &[u8], mut take: impl FnMut(&Message)) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        let mut request = Vec::with_capacity(16 + payload.len());
        emit_message(&mut request, kind, REQUEST | DUMP, sequence, |out| out.extend_from_slice(payload));
        self.socket.send(&request, 0)?;
        self.receive_until(|message| {
            if message.sequence != sequence {
                return Ok(false);
            }
            match message.kind {
                NLMSG_DONE => Ok(true),
                NLMSG_ERROR => match message.errno() {
                    Some(error) => Err(error.into()),
                    None => Ok(true),
                },
                _ => {
                    take(message);
                    Ok(false)
                }
            }
        })
    }

    /// Reads until `done`, or until no answer is there any more for too long.
    fn receive_until(&mut self, mut done: impl FnMut(&Message) -> io::Result<bool>) -> io::Result<()> {
        loop {
            if self.receive(&mut done)? {
                return Ok(());
            }
            let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::from(ANSWER_MS_MAX)) {
                Ok(0) => return Err(io::Error::new(io::ErrorKind::TimedOut, "the kernel's answer was lost")),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads what is there: unasked news go to the queue, answers to `answer` until it says that it was the last.
    fn receive(&mut self, mut answer: impl FnMut(&Message) -> io::Result<bool>) -> io::Result<bool> {
        loop {
            self.buffer.clear();
            self.buffer.reserve(BUFFER);
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    self.news.push_back(News::Lost);
                    continue;
                }
                Err(error) => return Err(error),
            }
            let mut last = false;
            for message in messages(&self.buffer) {
                if message.port == self.port {
                    last |= answer(&message)?;
                } else {
                    self.news.extend(parse_news(&message));
                }
            }
            if last {
                return Ok(true);
            }
        }
    }
}

impl AsFd for NodeKernel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// One netlink message in a buffer.
#[derive(Clone, Copy, Debug)]
struct Message<'a> {
    kind: u16,
    sequence: u32,
    /// Port of the socket that asked, or that made the news.
    port: u32,
    payload: &'a [u8],
}

impl Message<'_> {
    /// The error that an `NLMSG_ERROR` carries; none in an acknowledgement.
    fn errno(&self) -> Option<Errno> {
        match i32_at(self.payload, 0)? {
            0 => None,
            error => Some(Errno::from_raw(error.saturating_neg())),
        }
    }
}

/// The messages in a buffer, up to the first that is cut short.
fn messages(mut rest: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = u32_at(rest, 0)? as usize;
        let payload = rest.get(16..length)?;
        let message = Message { kind: u16_at(rest, 4)?, sequence: u32_at(rest, 8)?, port: u32_at(rest, 12)?, payload };
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some(message)
    })
}

/// The attributes after a message's fixed part, up to the first that is cut short.
fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(rest, 0)?);
        let kind = u16_at(rest, 2)? & 0x3fff;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, value))
    })
}

fn parse_news(message: &Message) -> Option<News> {
    match message.kind {
        NEW_LINK | DELETE_LINK => link_state(message).map(News::Link),
        NEW_ADDRESS | DELETE_ADDRESS => u32_at(message.payload, 4).map(News::Address),
        _ => None,
    }
}

fn link_state(message: &Message) -> Option<LinkState> {
    // A bridge tells of its ports under its own family.
    if *message.payload.first()? != libc::AF_UNSPEC as u8 {
        return None;
    }
    let index = u32_at(message.payload, 4)?;
    let flags = if message.kind == NEW_LINK { u32_at(message.payload, 8)? } else { 0 };
    Some(LinkState { index, up: flags & FLAG_UP != 0, carrier: flags & FLAG_LOWER_UP != 0 })
}

fn parse_route(payload: &[u8]) -> Option<KernelRoute> {
    let [family, length, _, _, table, protocol, _, kind, ..] = *payload else { return None };
    if (table, protocol, kind) != (TABLE_MAIN, PROTOCOL_STATIC, TYPE_UNICAST) {
        return None;
    }
    let (mut destination, mut gateway, mut index, mut metric) = (None, None, None, 0);
    for (kind, value) in attributes(payload.get(12..)?) {
        match kind {
            ATTRIBUTE_DESTINATION => destination = address(value),
            ATTRIBUTE_GATEWAY => gateway = address(value),
            ATTRIBUTE_INTERFACE => index = u32_at(value, 0),
            ATTRIBUTE_PRIORITY => metric = u32_at(value, 0)?,
            _ => {}
        }
    }
    let unspecified = match i32::from(family) {
        libc::AF_INET => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        libc::AF_INET6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let prefix = IpNet::new(destination.unwrap_or(unspecified), length).ok()?;
    Some(KernelRoute { prefix, gateway: gateway?, index: index?, metric })
}

fn address(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(value).ok()?)),
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(value).ok()?)),
        _ => None,
    }
}

fn emit_change(out: &mut Vec<u8>, change: &Change, flags: u16, sequence: u32) {
    let (kind, route, flags) = match change {
        Change::Set(route) => (NEW_ROUTE, route, flags | REQUEST | CREATE | REPLACE),
        Change::Remove(route) => (DELETE_ROUTE, route, flags | REQUEST),
    };
    emit_message(out, kind, flags, sequence, |out| {
        let family = if route.prefix.addr().is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        out.extend_from_slice(&[family as u8, route.prefix.prefix_len(), 0, 0]);
        out.extend_from_slice(&[TABLE_MAIN, PROTOCOL_STATIC, 0, TYPE_UNICAST, 0, 0, 0, 0]);
        if route.prefix.prefix_len() > 0 {
            emit_address(out, ATTRIBUTE_DESTINATION, route.prefix.network());
        }
        emit_address(out, ATTRIBUTE_GATEWAY, route.gateway);
        emit_attribute(out, ATTRIBUTE_INTERFACE, &route.index.to_ne_bytes());
        emit_attribute(out, ATTRIBUTE_PRIORITY, &route.metric.to_ne_bytes());
    });
}

fn emit_message(out: &mut Vec<u8>, kind: u16, flags: u16, sequence: u32, payload: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(&flags.to_ne_bytes());
    out.extend_from_slice(&sequence.to_ne_bytes());
    out.extend_from_slice(&[0; 4]);
    payload(out);
    // Every part is a multiple of four octets long, so the message is too.
    let length = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&length.to_ne_bytes());
}

fn emit_address(out: &mut Vec<u8>, kind: u16, address: IpAddr) {
    match address {
        IpAddr::V4(address) => emit_attribute(out, kind, &address.octets()),
        IpAddr::V6(address) => emit_attribute(out, kind, &address.octets()),
    }
}

/// `value` is 4 or 16 octets long here, so that nothing needs padding.
fn emit_attribute(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    out.extend_from_slice(&(4 + value.len() as u16).to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(value);
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn i32_at(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(all(test, target_endian = "little"))]
mod tests {
    use super::*;
    use crate::routes::fixture::net;

    fn route(prefix: &str, gateway: &str, index: u32, metric: u32) -> KernelRoute {
        KernelRoute { prefix: net(prefix), gateway: gateway.parse().unwrap(), index, metric }
    }

    #[test]
    fn a_route_is_said_as_iproute2_says_it() {
        // `ip route replace 10.9.0.0/24 via 10.0.0.2 dev #7 metric 21 proto static`, with an acknowledgement.
        let mut out = Vec::new();
        emit_change(&mut out, &Change::Set(route("10.9.0.0/24", "10.0.0.2", 7, 21)), ACKNOWLEDGE, 3);
        #[rustfmt::skip]
        let expected = [
            60, 0, 0, 0, 24, 0, 5, 5, 3, 0, 0, 0, 0, 0, 0, 0,
            2, 24, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0,
            8, 0, 1, 0, 10, 9, 0, 0,
            8, 0, 5, 0, 10, 0, 0, 2,
            8, 0, 4, 0, 7, 0, 0, 0,
            8, 0, 6, 0, 21, 0, 0, 0,
        ];
        assert_eq!(out, expected);
        assert_eq!(parse_route(&out[16..]), Some(route("10.9.0.0/24", "10.0.0.2", 7, 21)));
    }

    #[test]
    fn routes_of_both_families_read_back() {
        for expected in [route("fd00:0:5::/64", "fd00:0:1::2", 9, 3), route("0.0.0.0/0", "10.0.0.1", 2, 1)] {
            let mut out = Vec::new();
            emit_change(&mut out, &Change::Remove(expected), 0, 1);
            let message = messages(&out).next().unwrap();
            assert_eq!((message.kind, message.sequence), (DELETE_ROUTE, 1));
            assert_eq!(parse_route(message.payload), Some(expected));
        }
    }

    #[test]
    fn the_loss_of_a_carrier_is_read_from_the_flags() {
        // RTM_NEWLINK of interface 5: UP without LOWER_UP, then an attribute of an unknown kind.
        let mut bytes = vec![40, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend([0, 0, 1, 0, 5, 0, 0, 0, 0x03, 0x10, 0, 0, 0, 0, 0, 0]);
        bytes.extend([8, 0, 0xff, 0, 1, 2, 3, 4]);
        let message = messages(&bytes).next().unwrap();
        assert_eq!(parse_news(&message), Some(News::Link(LinkState { index: 5, up: true, carrier: false })));
        bytes[26] = 1;
        bytes[24] = 1;
        assert!(matches!(parse_news(&messages(&bytes).next().unwrap()), Some(News::Link(l)) if l.up && l.carrier));
        bytes[16] = 7;
        assert_eq!(parse_news(&messages(&bytes).next().unwrap()), None, "a bridge's own view of its port");
    }

    #[test]
    fn what_is_cut_short_is_left_alone() {
        let mut out = Vec::new();
        emit_change(&mut out, &Change::Set(route("10.9.0.0/24", "10.0.0.2", 7, 21)), 0, 1);
        for length in 0..out.len() {
            assert_eq!(messages(&out[..length]).count(), 0);
            if let Some(payload) = out.get(16..length) {
                let _ = parse_route(payload);
            }
        }
        assert_eq!(messages(&[3, 0, 0, 0, 0, 0]).count(), 0, "a length below the header's");
        assert_eq!(attributes(&[0, 0, 0, 0]).count(), 0);
    }
}
