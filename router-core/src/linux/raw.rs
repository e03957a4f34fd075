//! Sends control packets with a header of our own making (`IP_HDRINCL`): source, TTL and Router Alert as the protocol says.

use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    self, AddressFamily, ControlMessage, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, setsockopt, sockopt,
};

use crate::router::{Datagram, InterfaceId};
use crate::wire::ipv4::Header;

/// Why a packet was not sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Not an IPv4 packet.
    #[error("{0} is no IPv4 address")]
    Family(IpAddr),
    /// Longer than an IP packet can be.
    #[error("a payload of {0} octets does not fit an IPv4 packet")]
    TooLong(usize),
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
        Ok(Sender { socket })
    }

    /// Sends a packet out of an interface.
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
        .map_err(io::Error::from)?;
        Ok(())
    }
}
