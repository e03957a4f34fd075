//! Packets with descriptors between processes: `SOCK_SEQPACKET` sockets and `SCM_RIGHTS`.
//!
//! A packet too long for a socket buffer (an `exec` with a large environment) travels in a sealed-off memory file whose descriptor rides along.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg, socketpair,
};

/// Longest packet that travels in the socket itself, in octets.
const INLINE_MAX: usize = 60 * 1024;
/// Longest packet at all, in octets: more than the kernel lets a program have as arguments and environment.
const PACKET_MAX: u64 = 16 << 20;
/// Most descriptors with one packet.
const DESCRIPTORS_MAX: usize = 8;

const INLINE: u8 = b'=';
const IN_FILE: u8 = b'@';

/// A packet as it was received.
#[derive(Debug)]
pub struct Packet {
    /// Its octets.
    pub octets: Vec<u8>,
    /// The descriptors that came with it, close-on-exec.
    pub descriptors: Vec<OwnedFd>,
}

/// A connected pair of packet sockets.
///
/// # Errors
/// Those of `socketpair(2)`.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?)
}

/// Sends one packet with descriptors (at most 8).
///
/// # Errors
/// Those of `sendmsg(2)`; `BrokenPipe` if the other end is closed, `WouldBlock` on a non-blocking socket whose buffer is full.
pub fn send(socket: impl AsFd, octets: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut raw: Vec<RawFd> = descriptors.iter().map(|fd| fd.as_raw_fd()).collect();
    let memory;
    let (kind, body): (u8, &[u8]) = if octets.len() <= INLINE_MAX {
        (INLINE, octets)
    } else {
        let mut file = File::from(memfd_create(c"packet", MFdFlags::MFD_CLOEXEC)?);
        file.write_all(octets)?;
        memory = OwnedFd::from(file);
        raw.push(memory.as_raw_fd());
        (IN_FILE, &[])
    };
    if raw.len() > DESCRIPTORS_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors for one packet"));
    }
    let slices = [IoSlice::new(std::slice::from_ref(&kind)), IoSlice::new(body)];
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    loop {
        match sendmsg::<()>(socket.as_fd().as_raw_fd(), &slices, control, MsgFlags::MSG_NOSIGNAL, None) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Receives one packet; none if the other end was closed.
///
/// # Errors
/// Those of `recvmsg(2)`, and `InvalidData` for a packet that [`send`] did not make.
pub fn receive(socket: impl AsFd) -> io::Result<Option<Packet>> {
    let mut buffer = vec![0; INLINE_MAX + 1];
    let mut control = cmsg_space!([RawFd; DESCRIPTORS_MAX]);
    let mut descriptors = Vec::new();
    let (length, whole) = loop {
        let mut slices = [IoSliceMut::new(&mut buffer)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        match recvmsg::<()>(socket.as_fd().as_raw_fd(), &mut slices, Some(&mut control), flags) {
            Ok(message) => {
                for part in message.cmsgs()? {
                    if let ControlMessageOwned::ScmRights(fds) = part {
                        // SAFETY: the kernel has just made these descriptors for this process; nothing else owns them.
                        descriptors.extend(fds.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
                    }
                }
                break (message.bytes, !message.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC));
            }
            Err(Errno::EINTR) => {}
            Err(Errno::ECONNRESET) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    };
    if length == 0 {
        return Ok(None);
    }
    let invalid = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidData, what.to_owned()));
    if !whole {
        return invalid("a packet is too long");
    }
    let kind = buffer[0];
    buffer.truncate(length);
    buffer.remove(0);
    match kind {
        INLINE => Ok(Some(Packet { octets: buffer, descriptors })),
        IN_FILE => {
            let Some(memory) = descriptors.pop() else { return invalid("a packet's memory file is missing") };
            let mut file = File::from(memory);
            file.rewind()?;
            let mut octets = Vec::new();
            file.take(PACKET_MAX + 1).read_to_end(&mut octets)?;
            if octets.len() as u64 > PACKET_MAX {
                return invalid("a packet is too long");
            }
            Ok(Some(Packet { octets, descriptors }))
        }
        _ => invalid("a packet of an unknown kind"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_keep_their_bounds_and_carry_descriptors() {
        let (a, b) = pair().unwrap();
        let (read, write) = nix::unistd::pipe().unwrap();
        send(&a, b"one", &[write.as_fd()]).unwrap();
        send(&a, b"", &[]).unwrap();
        drop(write);
        let one = receive(&b).unwrap().unwrap();
        assert_eq!(one.octets, b"one");
        File::from(one.descriptors.into_iter().next().unwrap()).write_all(b"x").unwrap();
        let mut text = String::new();
        File::from(read).read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
        assert_eq!(receive(&b).unwrap().unwrap().octets, b"");
        drop(a);
        assert!(receive(&b).unwrap().is_none());
    }

    #[test]
    fn a_long_packet_arrives_whole() {
        let (a, b) = pair().unwrap();
        let long: Vec<u8> = (0..1_000_000u32).map(|n| n as u8).collect();
        send(&a, &long, &[a.as_fd()]).unwrap();
        let packet = receive(&b).unwrap().unwrap();
        assert_eq!(packet.octets, long);
        assert_eq!(packet.descriptors.len(), 1);
    }

    #[test]
    fn a_packet_of_another_kind_is_refused() {
        let (a, b) = pair().unwrap();
        nix::unistd::write(&a, b"?what").unwrap();
        assert_eq!(receive(&b).unwrap_err().kind(), io::ErrorKind::InvalidData);
        nix::unistd::write(&a, b"@").unwrap();
        assert_eq!(receive(&b).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
