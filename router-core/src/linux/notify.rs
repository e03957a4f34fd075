//! Tells a supervisor that the daemon is ready: a datagram `READY=1` to the socket that `NOTIFY_SOCKET` names
//! (sd_notify(3)), as service managers expect of `Type=notify`.

use std::env;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;

use nix::sys::socket::{self, AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr};

/// Sends it, if a supervisor asked for it.
///
/// # Errors
/// What the kernel says to the socket.
pub fn ready() -> io::Result<()> {
    let Some(place) = env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let address = match place.as_bytes() {
        [b'@', name @ ..] => UnixAddr::new_abstract(name)?,
        path => UnixAddr::new(path)?,
    };
    let socket = socket::socket(
        AddressFamily::Unix,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        None,
    )?;
    socket::sendto(socket.as_raw_fd(), b"READY=1\n", &address, MsgFlags::MSG_NOSIGNAL)?;
    Ok(())
}
