//! UDP sockets for multicast: what the standard library's cannot do. Memberships with source filters (RFC 3678), batches with the
//! kernel's time stamps, segmentation offload.
//!
//! A socket belongs to the network namespace of the thread that opened it, whichever thread uses it later.

use std::io;
use std::mem::{offset_of, size_of};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{self, AddressFamily, MsgFlags, SockFlag, SockType, SockaddrStorage};

/// The most packets that one [`Batch`] takes.
pub const BATCH_MAX: usize = 64;

/// `SK_MEMINFO_DROPS` and the number of `SO_MEMINFO`'s values (linux/sock_diag.h).
const MEMINFO_DROPS: usize = 8;
const MEMINFO_VALUES: usize = 9;

/// Octets for the control messages of one packet: time stamp, TTL, overflow counter, segment size, with room to spare.
const CONTROL: usize = 256;

/// A non-blocking UDP socket.
#[derive(Debug)]
pub struct Udp {
    fd: OwnedFd,
    v6: bool,
}

/// Whether the sources of a filter are those that are wanted or those that are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterMode {
    /// Only from the sources.
    Include,
    /// From all but the sources.
    Exclude,
}

impl Udp {
    /// Opens a socket of the family of `like`.
    ///
    /// # Errors
    /// The kernel's, as everywhere in this module.
    pub fn open(like: IpAddr) -> io::Result<Udp> {
        let family = if like.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket::socket(family, SockType::Datagram, flags, None)?;
        Ok(Udp { fd, v6: like.is_ipv6() })
    }

    /// Binds it.
    pub fn bind(&self, address: SocketAddr) -> io::Result<()> {
        Ok(socket::bind(self.fd.as_raw_fd(), &SockaddrStorage::from(address))?)
    }

    /// Sets where [`Udp::send`] sends to.
    pub fn connect(&self, address: SocketAddr) -> io::Result<()> {
        Ok(socket::connect(self.fd.as_raw_fd(), &SockaddrStorage::from(address))?)
    }

    /// Sends one datagram. Never blocks: a full send buffer is [`io::ErrorKind::WouldBlock`].
    pub fn send_to(&self, payload: &[u8], to: &SockaddrStorage) -> io::Result<usize> {
        Ok(socket::sendto(self.fd.as_raw_fd(), payload, to, MsgFlags::empty())?)
    }

    /// Sends to the address that the socket is connected to; cut into segments if [`Udp::set_segment_size`] was called.
    pub fn send(&self, payload: &[u8]) -> io::Result<usize> {
        Ok(socket::send(self.fd.as_raw_fd(), payload, MsgFlags::empty())?)
    }

    /// The address that it is bound to.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        let name: SockaddrStorage = socket::getsockname(self.fd.as_raw_fd())?;
        let v4 = name.as_sockaddr_in().map(|a| SocketAddr::from(std::net::SocketAddrV4::from(*a)));
        let v6 = || name.as_sockaddr_in6().map(|a| SocketAddr::from(std::net::SocketAddrV6::from(*a)));
        v4.or_else(v6).ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    /// Lets several sockets bind to one address.
    pub fn set_reuse_address(&self) -> io::Result<()> {
        self.set_int(libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)
    }

    /// TTL or hop limit of multicast packets.
    pub fn set_multicast_ttl(&self, ttl: u8) -> io::Result<()> {
        let (level, name) = self.either(libc::IP_MULTICAST_TTL, libc::IPV6_MULTICAST_HOPS);
        self.set_int(level, name, ttl.into())
    }

    /// Whether members on this host hear what the socket sends.
    pub fn set_multicast_loopback(&self, on: bool) -> io::Result<()> {
        let (level, name) = self.either(libc::IP_MULTICAST_LOOP, libc::IPV6_MULTICAST_LOOP);
        self.set_int(level, name, on.into())
    }

    /// The interface that multicast packets leave by.
    pub fn set_multicast_interface(&self, index: u32) -> io::Result<()> {
        let index = libc::c_int::try_from(index).map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))?;
        if self.v6 {
            return self.set_int(libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_IF, index);
        }
        // struct ip_mreqn: multicast address, local address, index.
        let mut request = [0; size_of::<libc::ip_mreqn>()];
        let at = offset_of!(libc::ip_mreqn, imr_ifindex);
        request[at..at + 4].copy_from_slice(&index.to_ne_bytes());
        self.set(libc::IPPROTO_IP, libc::IP_MULTICAST_IF, &request)
    }

    /// Whether the socket hears groups that others on its host joined and it did not.
    pub fn set_multicast_all(&self, on: bool) -> io::Result<()> {
        let (level, name) = self.either(libc::IP_MULTICAST_ALL, libc::IPV6_MULTICAST_ALL);
        self.set_int(level, name, on.into())
    }

    /// Asks for a receive buffer of `octets`, beyond the machine's limit where that is allowed, else up to it.
    pub fn set_receive_buffer(&self, octets: i32) -> io::Result<()> {
        self.set_int(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, octets)
            .or_else(|_| self.set_int(libc::SOL_SOCKET, libc::SO_RCVBUF, octets))
    }

    /// Asks for a send buffer of `octets`, as [`Udp::set_receive_buffer`] does.
    pub fn set_send_buffer(&self, octets: i32) -> io::Result<()> {
        self.set_int(libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, octets)
            .or_else(|_| self.set_int(libc::SOL_SOCKET, libc::SO_SNDBUF, octets))
    }

    /// Has every packet come with the time when the kernel received it, its TTL and the number of packets dropped before it.
    pub fn want_details(&self) -> io::Result<()> {
        self.set_int(libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)?;
        self.set_int(libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1)?;
        let (level, name) = self.either(libc::IP_RECVTTL, libc::IPV6_RECVHOPLIMIT);
        self.set_int(level, name, 1)
    }

    /// Has [`Udp::send`] cut what it is given into packets of `octets` (`UDP_SEGMENT`), at most 64 of them.
    pub fn set_segment_size(&self, octets: u16) -> io::Result<()> {
        self.set_int(libc::SOL_UDP, libc::UDP_SEGMENT, octets.into())
    }

    /// Lets the kernel deliver several packets of a flow as one buffer (`UDP_GRO`).
    pub fn want_coalesced(&self) -> io::Result<()> {
        self.set_int(libc::SOL_UDP, libc::UDP_GRO, 1)
    }

    /// Joins a group, all sources.
    pub fn join(&self, interface: u32, group: IpAddr) -> io::Result<()> {
        let mut request = vec![0; size_of::<libc::group_req>()];
        put_interface(&mut request, interface);
        put_address(&mut request[offset_of!(libc::group_req, gr_group)..], group);
        self.set(self.level(), libc::MCAST_JOIN_GROUP, &request)
    }

    /// Joins one source of a group: the first one makes the socket a member in include mode.
    pub fn join_source(&self, interface: u32, group: IpAddr, source: IpAddr) -> io::Result<()> {
        let mut request = vec![0; size_of::<libc::group_source_req>()];
        put_interface(&mut request, interface);
        put_address(&mut request[offset_of!(libc::group_source_req, gsr_group)..], group);
        put_address(&mut request[offset_of!(libc::group_source_req, gsr_source)..], source);
        self.set(self.level(), libc::MCAST_JOIN_SOURCE_GROUP, &request)
    }

    /// Leaves a group, whatever its filter.
    pub fn leave(&self, interface: u32, group: IpAddr) -> io::Result<()> {
        let mut request = vec![0; size_of::<libc::group_req>()];
        put_interface(&mut request, interface);
        put_address(&mut request[offset_of!(libc::group_req, gr_group)..], group);
        self.set(self.level(), libc::MCAST_LEAVE_GROUP, &request)
    }

    /// Replaces the whole filter of a group that the socket is a member of (RFC 3678 §5.2.2, `MCAST_MSFILTER`).
    pub fn set_filter(
        &self,
        interface: u32,
        group: IpAddr,
        mode: FilterMode,
        sources: impl ExactSizeIterator<Item = IpAddr>,
    ) -> io::Result<()> {
        // struct group_filter: interface, group, mode, number of sources, sources; aligned as group_req is.
        const STORAGE: usize = size_of::<libc::sockaddr_storage>();
        let group_at = offset_of!(libc::group_req, gr_group);
        let count = u32::try_from(sources.len()).map_err(|_| io::Error::from_raw_os_error(libc::ENOBUFS))?;
        let mode = match mode {
            FilterMode::Include => libc::MCAST_INCLUDE,
            FilterMode::Exclude => libc::MCAST_EXCLUDE,
        };
        let mut request = vec![0; group_at + STORAGE + 8 + STORAGE * sources.len()];
        put_interface(&mut request, interface);
        let (_, rest) = request.split_at_mut(group_at);
        let (group_field, rest) = rest.split_at_mut(STORAGE);
        put_address(group_field, group);
        rest[..4].copy_from_slice(&mode.to_ne_bytes());
        rest[4..8].copy_from_slice(&count.to_ne_bytes());
        for (field, source) in rest[8..].chunks_exact_mut(STORAGE).zip(sources) {
            put_address(field, source);
        }
        self.set(self.level(), libc::MCAST_MSFILTER, &request)
    }

    /// Packets that the kernel dropped at this socket so far, for want of room in its receive buffer.
    pub fn drops(&self) -> io::Result<u32> {
        let mut values = [0u32; MEMINFO_VALUES];
        let mut length = size_of_val(&values) as libc::socklen_t;
        // SAFETY: the pointer and the length describe `values`, which outlives the call; the kernel writes at most `length` octets.
        let result = unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_MEMINFO,
                values.as_mut_ptr().cast(),
                &mut length,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(values[MEMINFO_DROPS])
    }

    fn level(&self) -> libc::c_int {
        if self.v6 { libc::IPPROTO_IPV6 } else { libc::IPPROTO_IP }
    }

    fn either(&self, v4: libc::c_int, v6: libc::c_int) -> (libc::c_int, libc::c_int) {
        (self.level(), if self.v6 { v6 } else { v4 })
    }

    fn set_int(&self, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
        self.set(level, name, &value.to_ne_bytes())
    }

    /// Sets an option whose value is plain octets: no option with pointers in its value may be set by this.
    fn set(&self, level: libc::c_int, name: libc::c_int, value: &[u8]) -> io::Result<()> {
        // SAFETY: the pointer and the length describe `value`, which outlives the call; the kernel only reads it.
        let result = unsafe {
            libc::setsockopt(self.fd.as_raw_fd(), level, name, value.as_ptr().cast(), value.len() as libc::socklen_t)
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl AsFd for Udp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Writes the interface index that group requests start with.
fn put_interface(request: &mut [u8], interface: u32) {
    request[..4].copy_from_slice(&interface.to_ne_bytes());
}

/// Writes an address as a `sockaddr_storage`, port 0, into zeroed octets.
fn put_address(storage: &mut [u8], address: IpAddr) {
    let (family, at) = match address {
        IpAddr::V4(_) => (libc::AF_INET, offset_of!(libc::sockaddr_in, sin_addr)),
        IpAddr::V6(_) => (libc::AF_INET6, offset_of!(libc::sockaddr_in6, sin6_addr)),
    };
    storage[..2].copy_from_slice(&(family as libc::sa_family_t).to_ne_bytes());
    match address {
        IpAddr::V4(address) => storage[at..at + 4].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => storage[at..at + 16].copy_from_slice(&address.octets()),
    }
}

/// Room for a batch of packets, and the last one received.
pub struct Batch {
    capacity: usize,
    payloads: Vec<u8>,
    controls: Vec<[u64; CONTROL / 8]>,
    /// One a packet, each pointing to its share of `payloads`.
    _parts: Vec<libc::iovec>,
    /// One a packet, each pointing to its part and its control room.
    messages: Vec<libc::mmsghdr>,
    received: Vec<Received>,
}

// SAFETY: the pointers in `_parts` and `messages` point into the heap blocks of vectors that move with the batch, belong to nobody else and never
// grow; they are used only through `&mut self`.
unsafe impl Send for Batch {}

/// What the kernel said of a packet beside its payload.
#[derive(Clone, Copy, Debug, Default)]
struct Received {
    length: usize,
    control: usize,
}

/// One packet of a batch (or several that the kernel coalesced).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The payload, as far as the batch had room for it.
    pub payload: &'a [u8],
    /// Octets of the whole payload.
    pub length: usize,
    /// When the kernel received it, `CLOCK_REALTIME` nanoseconds.
    pub received_realtime: Option<u64>,
    /// Its TTL or hop limit.
    pub ttl: Option<u8>,
    /// Packets dropped at the socket before it; absent while there were none.
    pub dropped: Option<u32>,
    /// Octets of each packet if several were coalesced; the last may be shorter.
    pub segment: Option<usize>,
}

impl Batch {
    /// Room for [`BATCH_MAX`] packets, with the first `capacity` octets of the payload of each.
    pub fn new(capacity: usize) -> Batch {
        let mut payloads = vec![0; capacity * BATCH_MAX];
        let mut controls = vec![[0; CONTROL / 8]; BATCH_MAX];
        let (payload, control) = (payloads.as_mut_ptr(), controls.as_mut_ptr());
        let part = |i| libc::iovec {
            // SAFETY: `payloads` has BATCH_MAX times `capacity` octets, and i is less than BATCH_MAX.
            iov_base: unsafe { payload.add(i * capacity) }.cast(),
            iov_len: capacity,
        };
        let mut parts: Vec<_> = (0..BATCH_MAX).map(part).collect();
        let first = parts.as_mut_ptr();
        let message = |i| {
            // SAFETY: an all-zero msghdr is a valid one: null pointers and lengths of 0.
            let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
            // SAFETY: `parts` and `controls` have BATCH_MAX elements each, and i is less than BATCH_MAX.
            (header.msg_iov, header.msg_control) = unsafe { (first.add(i), control.add(i).cast()) };
            header.msg_iovlen = 1;
            header.msg_controllen = CONTROL as _;
            libc::mmsghdr { msg_hdr: header, msg_len: 0 }
        };
        let messages = (0..BATCH_MAX).map(message).collect();
        Batch { capacity, payloads, controls, _parts: parts, messages, received: Vec::with_capacity(BATCH_MAX) }
    }

    /// Takes what waits at a socket, without blocking. Gives the number of packets, 0 if none waits.
    pub fn receive(&mut self, socket: &Udp) -> io::Result<usize> {
        // The kernel wrote how much control room it used; all of it is there again.
        for message in &mut self.messages[..self.received.len()] {
            message.msg_hdr.msg_controllen = CONTROL as _;
        }
        self.received.clear();
        let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
        // SAFETY: every header points to a payload of `capacity` octets and CONTROL octets of control room of its own, in vectors of this batch, which
        // is borrowed mutably; no name is asked for and no time-out given.
        let count = unsafe {
            libc::recvmmsg(
                socket.fd.as_raw_fd(),
                self.messages.as_mut_ptr(),
                BATCH_MAX as _,
                flags as _,
                std::ptr::null_mut(),
            )
        };
        let Ok(count) = usize::try_from(count) else {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock { Ok(0) } else { Err(error) };
        };
        self.received.extend(self.messages[..count].iter().map(|message| Received {
            length: message.msg_len as usize,
            control: message.msg_hdr.msg_controllen.min(CONTROL),
        }));
        Ok(count)
    }

    /// The packets of the last [`Batch::receive`].
    pub fn packets(&self) -> impl Iterator<Item = Packet<'_>> {
        let payloads = self.payloads.chunks_exact(self.capacity.max(1));
        self.received.iter().zip(payloads).zip(&self.controls).map(|((received, payload), control)| {
            let mut packet = Packet {
                payload: &payload[..received.length.min(self.capacity)],
                length: received.length,
                received_realtime: None,
                ttl: None,
                dropped: None,
                segment: None,
            };
            read_control(control, received.control, &mut packet);
            packet
        })
    }
}

/// Reads the control messages (`cmsghdr`: length, level, type, data; each aligned to a word).
fn read_control(control: &[u64; CONTROL / 8], length: usize, packet: &mut Packet<'_>) {
    const HEADER: usize = size_of::<libc::cmsghdr>();
    let mut octets = [0; CONTROL];
    for (to, word) in octets.chunks_exact_mut(8).zip(control) {
        to.copy_from_slice(&word.to_ne_bytes());
    }
    let mut rest = &octets[..length];
    while let Some(size) = rest.first_chunk().map(|octets| usize::from_ne_bytes(*octets)) {
        if size < HEADER || size > rest.len() {
            return;
        }
        let level = int(&rest[offset_of!(libc::cmsghdr, cmsg_level)..]);
        let kind = int(&rest[offset_of!(libc::cmsghdr, cmsg_type)..]);
        let data = &rest[HEADER..size];
        match (level, kind) {
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => packet.received_realtime = timespec(data),
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                packet.dropped = data.first_chunk().map(|o| u32::from_ne_bytes(*o))
            }
            (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                packet.ttl = u8::try_from(int(data)).ok();
            }
            (libc::SOL_UDP, libc::UDP_GRO) => packet.segment = usize::try_from(int(data)).ok().filter(|size| *size > 0),
            _ => {}
        }
        rest = rest.get(size.next_multiple_of(size_of::<usize>())..).unwrap_or_default();
    }
}

/// A C int at the start of some octets, 0 if they are too few.
fn int(octets: &[u8]) -> libc::c_int {
    octets.first_chunk().map_or(0, |octets| libc::c_int::from_ne_bytes(*octets))
}

/// Nanoseconds of a `struct timespec`.
fn timespec(octets: &[u8]) -> Option<u64> {
    const WORD: usize = size_of::<libc::c_long>();
    let seconds = libc::c_long::from_ne_bytes(*octets.first_chunk::<WORD>()?);
    let nanoseconds = libc::c_long::from_ne_bytes(*octets.get(WORD..)?.first_chunk::<WORD>()?);
    u64::try_from(seconds).ok()?.checked_mul(1_000_000_000)?.checked_add(u64::try_from(nanoseconds).ok()?)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn pair() -> (Udp, Udp, SocketAddr) {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let receiver = Udp::open(loopback).unwrap();
        receiver.bind(SocketAddr::new(loopback, 0)).unwrap();
        let address = receiver.local_address().unwrap();
        (Udp::open(loopback).unwrap(), receiver, address)
    }

    #[test]
    fn a_batch_carries_times_ttls_and_whole_lengths() {
        let (sender, receiver, address) = pair();
        receiver.want_details().unwrap();
        let mut batch = Batch::new(8);
        assert_eq!(batch.receive(&receiver).unwrap(), 0, "nothing was sent");
        let to = SockaddrStorage::from(address);
        assert_eq!(sender.send_to(b"four", &to).unwrap(), 4);
        assert_eq!(sender.send_to(b"twelve octet", &to).unwrap(), 12);
        assert_eq!(batch.receive(&receiver).unwrap(), 2);
        let packets: Vec<_> = batch.packets().collect();
        assert_eq!((packets[0].payload, packets[0].length), (&b"four"[..], 4));
        assert_eq!((packets[1].payload, packets[1].length), (&b"twelve o"[..], 12), "cut, but its length is known");
        for packet in packets {
            assert_eq!(packet.ttl, Some(64));
            assert!(packet.received_realtime.is_some_and(|time| time > 1_500_000_000_000_000_000));
            assert_eq!((packet.dropped, packet.segment), (None, None));
        }
    }

    #[test]
    fn packets_beyond_the_receive_buffer_are_counted() {
        let (sender, receiver, address) = pair();
        receiver.want_details().unwrap();
        receiver.set_int(libc::SOL_SOCKET, libc::SO_RCVBUF, 4096).unwrap();
        let to = SockaddrStorage::from(address);
        for _ in 0..100 {
            sender.send_to(&[0; 512], &to).unwrap();
        }
        let dropped = receiver.drops().unwrap();
        assert!((1..100).contains(&dropped), "{dropped} dropped");
        let mut batch = Batch::new(8);
        assert_eq!(batch.receive(&receiver).unwrap(), 100 - dropped as usize);
        sender.send_to(&[0; 512], &to).unwrap();
        assert_eq!(batch.receive(&receiver).unwrap(), 1);
        assert_eq!(batch.packets().next().unwrap().dropped, Some(dropped));
    }

    #[test]
    fn segments_are_cut_by_the_kernel_and_coalesced_again() {
        let (sender, receiver, address) = pair();
        receiver.want_coalesced().unwrap();
        sender.connect(address).unwrap();
        sender.set_segment_size(100).unwrap();
        assert_eq!(sender.send(&[7; 950]).unwrap(), 950);
        let mut batch = Batch::new(65_536);
        let mut octets = 0;
        let mut packets = 0;
        while octets < 950 && batch.receive(&receiver).unwrap() > 0 {
            for packet in batch.packets() {
                octets += packet.length;
                packets += packet.length.div_ceil(packet.segment.unwrap_or(packet.length));
                assert!(packet.segment.is_none_or(|size| size == 100));
            }
        }
        assert_eq!((octets, packets), (950, 10));
    }

    #[test]
    fn an_unknown_interface_is_an_error() {
        let socket = Udp::open(Ipv4Addr::UNSPECIFIED.into()).unwrap();
        let group = "239.1.1.1".parse().unwrap();
        assert_eq!(socket.join(999_999, group).unwrap_err().raw_os_error(), Some(libc::ENODEV));
        assert!(socket.set_multicast_interface(999_999).is_err());
        assert!(socket.set_multicast_interface(u32::MAX).is_err());
    }

    #[test]
    fn malformed_control_messages_are_skipped() {
        let mut packet =
            Packet { payload: &[], length: 0, received_realtime: None, ttl: None, dropped: None, segment: None };
        for size in [0, 3, 15, 16, 17, 255, 257, u64::MAX] {
            let mut control = [size; CONTROL / 8];
            control[1] = 0;
            for length in 0..=CONTROL {
                read_control(&control, length, &mut packet);
            }
        }
        assert_eq!((packet.ttl, packet.received_realtime), (None, None));
    }
}
