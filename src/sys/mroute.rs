//! Whether the kernel forwards multicast: the option that makes a socket the multicast router of its namespace.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

/// MRT_INIT and MRT6_INIT (linux/mroute.h, linux/mroute6.h).
const INIT: libc::c_int = 200;

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Makes this namespace's multicast router for a moment.
///
/// # Errors
/// `ENOPROTOOPT` if the kernel was built without multicast routing, `EADDRINUSE` if the namespace has a router, `EPERM` without CAP_NET_ADMIN or CAP_NET_RAW.
pub fn try_out(family: Family) -> io::Result<()> {
    let (domain, protocol, level) = match family {
        Family::V4 => (libc::AF_INET, libc::IPPROTO_IGMP, libc::IPPROTO_IP),
        Family::V6 => (libc::AF_INET6, libc::IPPROTO_ICMPV6, libc::IPPROTO_IPV6),
    };
    // SAFETY: no pointer is passed.
    let socket = Errno::result(unsafe { libc::socket(domain, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) })?;
    // SAFETY: the kernel has just made this descriptor, and nothing else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    let on: libc::c_int = 1;
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the pointer is to an int that lives through the call, and the length is its own.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, INIT, (&raw const on).cast(), length) };
    Ok(Errno::result(result).map(drop)?)
}
