//! Requests to the kernel over netlink, many in one system call, with errors that name what failed.
//!
//! The kernel works on a batch while it is being sent, so that every answer is there once the call has returned: nothing here ever waits.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::Emitable;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::errno::Errno;

const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// The error's attributes follow the header of the request.
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;
/// Octets of requests in one system call: well below the default send buffer.
const BATCH_MAX: usize = 48 * 1024;

/// Ask for what follows; on every request.
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
/// Create it if it does not exist.
pub const CREATE: u16 = 0x400;
/// Fail if it exists.
pub const EXCLUSIVE: u16 = 0x200;
/// Replace it if it exists.
pub const REPLACE: u16 = 0x100;
/// All there are.
pub const DUMP: u16 = 0x300;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The kernel refused it.
    #[error("cannot {what}: {error}{}", said(.message.as_deref()))]
    Refused {
        /// What was asked for, as a person would say it.
        what: String,
        /// The kernel's error number.
        error: Errno,
        /// What the kernel says beside it.
        message: Option<String>,
    },
    /// The socket failed.
    #[error("cannot {what}: netlink: {error}")]
    Socket {
        /// What was asked for.
        what: String,
        /// The socket's error.
        error: io::Error,
    },
}

fn said(message: Option<&str>) -> String {
    message.map(|m| format!(" ({m})")).unwrap_or_default()
}

impl NetlinkError {
    /// The kernel's error number, if it was the kernel that refused.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            NetlinkError::Refused { error, .. } => Some(*error),
            NetlinkError::Socket { .. } => None,
        }
    }
}

/// A netlink socket with requests that wait to be sent. It speaks to the namespace in which it was opened, from wherever it is used.
pub struct Netlink {
    socket: Socket,
    sequence: u32,
    requests: Vec<u8>,
    /// Start of the last request.
    last: usize,
    /// What each waiting request is for; the first has the sequence number `first`.
    what: Vec<String>,
    first: u32,
    /// The request whose answer is the last one, if it is not the last request.
    answered: Option<u32>,
}

impl std::fmt::Debug for Netlink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Netlink").field("waiting", &self.what).finish_non_exhaustive()
    }
}

impl Netlink {
    /// Opens a socket for links, addresses and queueing in the namespace of the calling thread.
    ///
    /// # Errors
    /// Those of `socket(2)`.
    pub fn route() -> io::Result<Netlink> {
        Netlink::open(NETLINK_ROUTE)
    }

    /// Opens a socket of a protocol in the namespace of the calling thread.
    ///
    /// # Errors
    /// Those of `socket(2)`.
    pub fn open(protocol: isize) -> io::Result<Netlink> {
        let socket = Socket::new(protocol)?;
        socket.set_cap_ack(true)?;
        socket.set_ext_ack(true)?;
        socket.set_non_blocking(true)?;
        Ok(Netlink { socket, sequence: 0, requests: Vec::new(), last: 0, what: Vec::new(), first: 1, answered: None })
    }

    /// Puts a request behind those that wait, and sends them if they have become many. `what` completes "cannot ...".
    ///
    /// # Errors
    /// [`NetlinkError`] of any request that was sent.
    pub fn request(
        &mut self,
        message: &RouteNetlinkMessage,
        flags: u16,
        what: impl Into<String>,
    ) -> Result<(), NetlinkError> {
        self.request_raw(message.message_type(), flags, what, |octets| {
            let start = octets.len();
            octets.resize(start + message.buffer_len(), 0);
            message.emit(&mut octets[start..]);
        })
    }

    /// Like [`Netlink::request`], for a message that the caller writes (all that follows the netlink header).
    ///
    /// # Errors
    /// [`NetlinkError`] of any request that was sent.
    pub fn request_raw(
        &mut self,
        kind: u16,
        flags: u16,
        what: impl Into<String>,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), NetlinkError> {
        self.sequence = self.sequence.wrapping_add(1);
        if self.what.is_empty() {
            self.first = self.sequence;
        }
        self.what.push(what.into());
        let start = self.requests.len();
        self.last = start;
        self.requests.extend([0; 4]);
        self.requests.extend(kind.to_ne_bytes());
        self.requests.extend((NLM_F_REQUEST | flags).to_ne_bytes());
        self.requests.extend(self.sequence.to_ne_bytes());
        self.requests.extend([0; 4]);
        write(&mut self.requests);
        let length = (self.requests.len() - start) as u32;
        self.requests[start..start + 4].copy_from_slice(&length.to_ne_bytes());
        self.requests.resize(self.requests.len().next_multiple_of(4), 0);
        if self.requests.len() > BATCH_MAX { self.flush() } else { Ok(()) }
    }

    /// Sends what waits.
    ///
    /// # Errors
    /// [`NetlinkError`] of the first request that the kernel refused; those before it were carried out, and most of those after it.
    pub fn flush(&mut self) -> Result<(), NetlinkError> {
        self.exchange(NLM_F_ACK, |_, _| {})
    }

    /// Has the last waiting request answered also if it succeeds, so that [`Netlink::flush_acknowledged`] can tell.
    pub fn acknowledge(&mut self) {
        if !self.what.is_empty() {
            let flags = self.last + 6;
            let with = u16::from_ne_bytes([self.requests[flags], self.requests[flags + 1]]) | NLM_F_ACK;
            self.requests[flags..flags + 2].copy_from_slice(&with.to_ne_bytes());
            self.answered = Some(self.sequence);
        }
    }

    /// Sends what waits, where the last answer is that to an earlier request: see [`Netlink::acknowledge`].
    ///
    /// # Errors
    /// [`NetlinkError`] of the first request that the kernel refused.
    pub fn flush_acknowledged(&mut self) -> Result<(), NetlinkError> {
        self.exchange(0, |_, _| {})
    }

    /// Sends what waits, the last of it a question whose answer has one or many parts, and gives each part: message type and what
    /// follows the netlink header.
    ///
    /// # Errors
    /// [`NetlinkError`] of the first request that the kernel refused.
    pub fn ask(&mut self, part: impl FnMut(u16, &[u8])) -> Result<(), NetlinkError> {
        self.exchange(0, part)
    }

    fn exchange(&mut self, flags: u16, mut part: impl FnMut(u16, &[u8])) -> Result<(), NetlinkError> {
        if self.what.is_empty() {
            return Ok(());
        }
        let last = self.last + 6;
        let with = u16::from_ne_bytes([self.requests[last], self.requests[last + 1]]) | flags;
        self.requests[last..last + 2].copy_from_slice(&with.to_ne_bytes());
        let what = std::mem::take(&mut self.what);
        let requests = std::mem::take(&mut self.requests);
        let (first, last_sequence) = (self.first, self.sequence);
        let end = self.answered.take().unwrap_or(last_sequence);
        let name = |sequence: u32| {
            let index = sequence.wrapping_sub(first) as usize;
            what.get(index).or(what.last()).cloned().unwrap_or_default()
        };
        let broken = |error| NetlinkError::Socket { what: name(end), error };
        self.socket.send(&requests, 0).map_err(broken)?;

        let mut refused = None;
        let mut ended = false;
        // A question's answer without NLM_F_MULTI ends with its only part.
        let mut buffer = Vec::with_capacity(64 * 1024);
        while !ended {
            buffer.clear();
            match self.socket.recv(&mut buffer, 0) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && refused.is_some() => break,
                Err(error) => return Err(broken(error)),
            }
            for message in messages(&buffer) {
                if message.sequence.wrapping_sub(first) > last_sequence.wrapping_sub(first) {
                    continue;
                }
                match message.kind {
                    NLMSG_ERROR => {
                        let (code, said) = message.error();
                        if code != 0 && refused.is_none() {
                            let error = Errno::from_raw(-code);
                            refused =
                                Some(NetlinkError::Refused { what: name(message.sequence), error, message: said });
                        }
                        ended |= message.sequence == end;
                    }
                    NLMSG_DONE => ended |= message.sequence == end,
                    kind => {
                        part(kind, message.body);
                        ended |= message.sequence == end && !message.multi;
                    }
                }
            }
        }
        refused.map_or(Ok(()), Err)
    }

    /// The socket, to wait for news that it was subscribed to.
    pub fn socket(&mut self) -> &mut Socket {
        &mut self.socket
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

struct Message<'a> {
    kind: u16,
    multi: bool,
    acknowledgement_attributes: bool,
    sequence: u32,
    body: &'a [u8],
}

impl Message<'_> {
    /// Error number (0 or negative) and the kernel's text.
    fn error(&self) -> (i32, Option<String>) {
        let Some(code) = self.body.first_chunk() else { return (-libc::EIO, None) };
        let code = i32::from_ne_bytes(*code);
        if !self.acknowledgement_attributes || self.body.len() < 4 + HEADER {
            return (code, None);
        }
        let text = attributes(&self.body[4 + HEADER..])
            .find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG)
            .map(|(_, text)| String::from_utf8_lossy(text).trim_end_matches('\0').to_owned());
        (code, text)
    }
}

fn messages(mut octets: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let header: &[u8; HEADER] = octets.first_chunk()?;
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let flags = u16::from_ne_bytes([header[6], header[7]]);
        let body = octets.get(HEADER..length)?;
        let message = Message {
            kind: u16::from_ne_bytes([header[4], header[5]]),
            multi: flags & 2 != 0,
            acknowledgement_attributes: flags & NLM_F_ACK_TLVS != 0,
            sequence: u32::from_ne_bytes([header[8], header[9], header[10], header[11]]),
            body,
        };
        octets = octets.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// Goes through messages that nobody asked for: message type and what follows the netlink header.
pub fn for_each_message(octets: &[u8], mut each: impl FnMut(u16, &[u8])) {
    messages(octets).for_each(|message| each(message.kind, message.body));
}

/// The attributes in a message, nested ones by their contents: kind (without flags) and value.
pub fn attributes(mut octets: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let header: &[u8; 4] = octets.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & 0x3fff;
        let value = octets.get(4..length)?;
        octets = octets.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// Writes one attribute.
pub fn attribute(octets: &mut Vec<u8>, kind: u16, value: &[u8]) {
    octets.extend(((value.len() + 4) as u16).to_ne_bytes());
    octets.extend(kind.to_ne_bytes());
    octets.extend(value);
    octets.resize(octets.len().next_multiple_of(4), 0);
}

/// Writes one attribute that holds others.
pub fn nest(octets: &mut Vec<u8>, kind: u16, write: impl FnOnce(&mut Vec<u8>)) {
    const NESTED: u16 = 0x8000;
    let start = octets.len();
    octets.extend([0; 2]);
    octets.extend((kind | NESTED).to_ne_bytes());
    write(octets);
    let length = (octets.len() - start) as u16;
    octets[start..start + 2].copy_from_slice(&length.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_they_were_written() {
        let mut octets = Vec::new();
        attribute(&mut octets, 1, b"abc");
        nest(&mut octets, 2, |inner| attribute(inner, 7, &[9]));
        let read: Vec<_> = attributes(&octets).collect();
        assert_eq!(read[0], (1, b"abc".as_slice()));
        assert_eq!(attributes(read[1].1).collect::<Vec<_>>(), [(7, [9].as_slice())]);
        assert_eq!(octets.len(), 8 + 12);
    }

    #[test]
    fn damaged_lengths_end_the_reading() {
        assert_eq!(attributes(&[3, 0, 1, 0]).count(), 0);
        assert_eq!(attributes(&[200, 0, 1, 0, 5]).count(), 0);
        assert_eq!(messages(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).count(), 0);
        assert_eq!(messages(&[255; 16]).count(), 0);
    }

    #[test]
    fn an_errors_text_is_found() {
        // NLMSG_ERROR with EEXIST, the request's header, and NLMSGERR_ATTR_MSG "no".
        let mut octets = Vec::new();
        octets.extend(44u32.to_ne_bytes());
        octets.extend(NLMSG_ERROR.to_ne_bytes());
        octets.extend((NLM_F_ACK_TLVS | 0x100).to_ne_bytes());
        octets.extend([7, 0, 0, 0, 0, 0, 0, 0]);
        octets.extend((-17i32).to_ne_bytes());
        octets.extend([0; HEADER]);
        attribute(&mut octets, NLMSGERR_ATTR_MSG, b"no\0");
        let message = messages(&octets).next().unwrap();
        assert_eq!(message.sequence, 7);
        assert_eq!(message.error(), (-17, Some("no".to_owned())));
    }

    #[test]
    fn the_kernel_answers_and_refuses_by_name() {
        use netlink_packet_route::link::LinkMessage;
        let mut netlink = Netlink::route().unwrap();
        let mut loopback = LinkMessage::default();
        loopback.header.index = 1;
        netlink.request(&RouteNetlinkMessage::GetLink(loopback.clone()), 0, "ask for the loopback").unwrap();
        let mut parts = 0;
        netlink.ask(|_, _| parts += 1).unwrap();
        assert_eq!(parts, 1);
        loopback.header.index = 0x7fff_0000;
        netlink.request(&RouteNetlinkMessage::GetLink(loopback), 0, "find a link that is not there").unwrap();
        let error = netlink.ask(|_, _| ()).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::ENODEV));
        assert!(error.to_string().starts_with("cannot find a link that is not there: "), "{error}");
    }
}
