//! Raw sockets: one that sends control packets with a header of our own making (`IP_HDRINCL`: source, TTL and Router Alert as the
//! protocol says), and those that receive, with the interface that a packet came by.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    self, AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn,
    setsockopt, sockopt,
};

use super::sys;
use crate::router::{Datagram, InterfaceId};
use crate::wire::ipv4::Header;

/// Wanted receive buffer: the kernel gives as much of it as `net.core.rmem_max` allows.
const RECEIVE_BUFFER: usize = 16 * 1024 * 1024;
/// An IP packet at most.
const PACKET: usize = 65_536;

/// Why a packet was not sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Not an IPv4 packet.
    #[error("{0} is no IPv4 address")]
    Family(IpAddr),
    /// Longer than an IP packet can be.
    #[error("a payload of {0} octets does not fit an IPv4 packet")]
    TooLong(usize),
    /// Longer than the interface's MTU. The kernel does not fragment packets that bring their header.
    #[error("a packet of {0} octets is longer than the interface's MTU")]
    Mtu(usize),
    /// The kernel refused.
    #[error("the kernel refused: {0}")]
    Kernel(#[from] io::Error),
}

/// A raw socket that sends.
#[derive(Debug)]
pub struct Sender {
    socket: OwnedFd,
}

impl Sender {
    /// Opens it. It hears nothing: no packet has the protocol number `IPPROTO_RAW`.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open() -> io::Result<Sender> {
        let socket = socket::socket(
            AddressFamily::Inet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            SockProtocol::Raw,
        )?;
        setsockopt(&socket, sockopt::IpMulticastLoop, &false)?;
        // A neighbour is on the link, wherever routes to it may lead.
        setsockopt(&socket, sockopt::DontRoute, &true)?;
        Ok(Sender { socket })
    }

    /// Sends a packet out of an interface, to a group or to a neighbour there. The routing table has no say in it: a unicast packet goes
    /// to its destination itself, on this link, even where a route to it leads elsewhere or there is none.
    ///
    /// # Errors
    /// [`SendError`]; a full queue is `EAGAIN` or `ENOBUFS` of the kernel.
    pub fn send(&self, interface: InterfaceId, datagram: &Datagram) -> Result<(), SendError> {
        let v4 = |address: IpAddr| match address {
            IpAddr::V4(address) => Ok(address),
            IpAddr::V6(_) => Err(SendError::Family(address)),
        };
        let header = Header {
            tos: datagram.traffic_class,
            identification: 0,
            dont_fragment: false,
            ttl: datagram.ttl,
            protocol: datagram.protocol,
            source: v4(datagram.source)?,
            destination: v4(datagram.destination)?,
            router_alert: datagram.router_alert,
        };
        let packet = header.emit(&datagram.payload).ok_or(SendError::TooLong(datagram.payload.len()))?;
        let destination = header.destination.octets();
        let target = SockaddrIn::new(destination[0], destination[1], destination[2], destination[3], 0);
        let by = libc::in_pktinfo {
            ipi_ifindex: interface.0 as i32,
            ipi_spec_dst: libc::in_addr { s_addr: 0 },
            ipi_addr: libc::in_addr { s_addr: 0 },
        };
        socket::sendmsg(
            self.socket.as_raw_fd(),
            &[IoSlice::new(&packet)],
            &[ControlMessage::Ipv4PacketInfo(&by)],
            MsgFlags::empty(),
            Some(&target),
        )
        .map(drop)
        .map_err(|errno| match errno {
            Errno::EMSGSIZE => SendError::Mtu(packet.len()),
            errno => SendError::Kernel(errno.into()),
        })
    }
}

/// A packet with its header, as a [`Receiver`] gives it.
#[derive(Debug)]
pub struct Packet<'a> {
    /// Where it came in, if the kernel says so.
    pub interface: Option<InterfaceId>,
    /// It is longer than any packet can be, and cut.
    pub is_cut: bool,
    /// The packet.
    pub bytes: &'a [u8],
}

/// A raw socket that hears packets of one protocol, those to groups that anybody here has joined among them.
#[derive(Debug)]
pub struct Receiver {
    socket: OwnedFd,
    buffer: Vec<u8>,
    control: Vec<u8>,
    lost: u32,
    /// The traffic class of what [`Receiver::send_routed`] sends.
    traffic_class: u8,
}

impl Receiver {
    /// Opens it for a protocol number.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(protocol: u8) -> io::Result<Receiver> {
        let socket = sys::raw_socket(i32::from(protocol))?;
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
        setsockopt(&socket, sockopt::RxqOvfl, &1)?;
        sys::set_option(&socket, libc::IP_MTU_DISCOVER, &libc::IP_PMTUDISC_DONT)?;
        Ok(Receiver {
            socket,
            buffer: vec![0; PACKET],
            control: cmsg_space!(libc::in_pktinfo, u32),
            lost: 0,
            traffic_class: 0,
        })
    }

    /// Packets that were lost because the receive buffer was full, as far as the kernel has said.
    pub fn lost(&self) -> u32 {
        self.lost
    }

    /// Sends a packet of this socket's protocol to a unicast address, by the routing table. The kernel makes its header, and cuts what is
    /// longer than a link on the way takes: a register is longer than the packet in it.
    ///
    /// # Errors
    /// [`SendError`]; a full queue is `EAGAIN` or `ENOBUFS` of the kernel.
    pub fn send_routed(&mut self, datagram: &Datagram) -> Result<(), SendError> {
        let v4 = |address: IpAddr| match address {
            IpAddr::V4(address) => Ok(address),
            IpAddr::V6(_) => Err(SendError::Family(address)),
        };
        let [a, b, c, d] = v4(datagram.destination)?.octets();
        if self.traffic_class != datagram.traffic_class {
            sys::set_option(&self.socket, libc::IP_TOS, &i32::from(datagram.traffic_class))?;
            self.traffic_class = datagram.traffic_class;
        }
        let by = libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(v4(datagram.source)?.octets()) },
            ipi_addr: libc::in_addr { s_addr: 0 },
        };
        let ttl = i32::from(datagram.ttl);
        socket::sendmsg(
            self.socket.as_raw_fd(),
            &[IoSlice::new(&datagram.payload)],
            &[ControlMessage::Ipv4PacketInfo(&by), ControlMessage::Ipv4Ttl(&ttl)],
            MsgFlags::empty(),
            Some(&SockaddrIn::new(a, b, c, d, 0)),
        )
        .map(drop)
        .map_err(|errno| match errno {
            Errno::EMSGSIZE => SendError::TooLong(datagram.payload.len()),
            errno => SendError::Kernel(errno.into()),
        })
    }

    /// Takes the next packet; `None` if there is none now.
    ///
    /// # Errors
    /// What the kernel says to the socket.
    pub fn receive(&mut self) -> io::Result<Option<Packet<'_>>> {
        let mut parts = [IoSliceMut::new(&mut self.buffer)];
        let fd = self.socket.as_raw_fd();
        let message = match socket::recvmsg::<SockaddrIn>(fd, &mut parts, Some(&mut self.control), MsgFlags::empty()) {
            Ok(message) => message,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut interface = None;
        for control in message.cmsgs()? {
            match control {
                ControlMessageOwned::Ipv4PacketInfo(info) => interface = u32::try_from(info.ipi_ifindex).ok(),
                ControlMessageOwned::RxqOvfl(lost) => self.lost = lost,
                _ => {}
            }
        }
        let (length, is_cut) = (message.bytes, message.flags.contains(MsgFlags::MSG_TRUNC));
        Ok(Some(Packet { interface: interface.map(InterfaceId), is_cut, bytes: &self.buffer[..length] }))
    }
}

impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
