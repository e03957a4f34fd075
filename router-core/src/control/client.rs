//! A small client of the control socket: blocking with time-outs, or non-blocking with a descriptor to poll.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, UnixAddr, setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

use super::{EventLine, Refusal, Request};
use crate::router::Event;
use crate::show::{Show, Shown};

/// Octets of a line at most: a full table of entries fits.
const LINE_MAX: usize = 64 * 1024 * 1024;
const READ: usize = 16 * 1024;

/// Why the daemon did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there (yet).
    #[error("no router-core answers at {path}: {why}")]
    Connect {
        /// The socket's path.
        path: PathBuf,
        /// The cause.
        why: io::Error,
    },
    /// It took too long.
    #[error("router-core did not answer within {0:?}")]
    TimedOut(Duration),
    /// It hung up: the daemon ended, or this client was too slow.
    #[error("router-core closed the connection")]
    Closed,
    /// The connection failed.
    #[error("the connection to router-core failed: {0}")]
    Io(#[from] io::Error),
    /// The daemon refused the request.
    #[error("router-core refused: {0}")]
    Refused(String),
    /// The answer is not what the protocol says.
    #[error("router-core answered {line:?}: {why}")]
    Malformed {
        /// The beginning of the answer.
        line: String,
        /// What is wrong with it.
        why: String,
    },
}

/// A connection.
#[derive(Debug)]
pub struct Client {
    lines: Lines,
    limit: Duration,
}

/// A connection that gives events.
#[derive(Debug)]
pub struct Events {
    lines: Lines,
    dropped: u64,
}

impl Client {
    /// Connects; `limit` is for connecting and for each answer.
    ///
    /// # Errors
    /// [`ClientError::Connect`].
    pub fn connect(path: &Path, limit: Duration) -> Result<Client, ClientError> {
        let stream = connect(path, limit).map_err(|why| ClientError::Connect { path: path.to_owned(), why })?;
        Ok(Client { lines: Lines { stream, buffer: Vec::new(), scanned: 0 }, limit })
    }

    /// Asks what the router believes.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn show(&mut self, what: Show) -> Result<Shown, ClientError> {
        self.ask(Request::Show(what))?;
        let line = self.lines.next(Instant::now() + self.limit)?.ok_or(ClientError::TimedOut(self.limit))?;
        serde_json::from_slice(&line).map_err(|error| not_expected(&line, &error))
    }

    /// Subscribes to events: first those that the daemon still keeps, then each as it comes.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn events(mut self) -> Result<Events, ClientError> {
        self.ask(Request::Events(true))?;
        Ok(Events { lines: self.lines, dropped: 0 })
    }

    fn ask(&mut self, request: Request) -> Result<(), ClientError> {
        let mut line = serde_json::to_vec(&request).map_err(io::Error::from)?;
        line.push(b'\n');
        match self.lines.stream.write_all(&line) {
            Err(error) if is_late(&error) => Err(ClientError::TimedOut(self.limit)),
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                // The daemon may have said why before it hung up.
                match self.lines.next(Instant::now())? {
                    Some(line) => Err(refusal(&line).map_or(ClientError::Closed, ClientError::Refused)),
                    None => Err(ClientError::Closed),
                }
            }
            result => Ok(result?),
        }
    }
}

impl Events {
    /// The next event, waiting for it at most `limit`; `None` if none came.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Closed`] once the daemon is gone.
    pub fn next(&mut self, limit: Duration) -> Result<Option<Event>, ClientError> {
        let deadline = Instant::now() + limit;
        while let Some(line) = self.lines.next(deadline)? {
            match serde_json::from_slice(&line).map_err(|error| not_expected(&line, &error))? {
                EventLine::Event(event) => return Ok(Some(event)),
                EventLine::Dropped { dropped } => self.dropped += dropped,
            }
        }
        Ok(None)
    }

    /// The next event if it has come already; poll [`Events::as_fd`] for more.
    ///
    /// # Errors
    /// As [`Events::next`].
    pub fn try_next(&mut self) -> Result<Option<Event>, ClientError> {
        self.next(Duration::ZERO)
    }

    /// Events that were missed because the daemon no longer kept them.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.lines.stream.as_fd()
    }
}

#[derive(Debug)]
struct Lines {
    stream: UnixStream,
    buffer: Vec<u8>,
    /// Octets of the buffer that hold no end of line.
    scanned: usize,
}

impl Lines {
    /// The next line without its end; `None` once the deadline has passed.
    fn next(&mut self, deadline: Instant) -> Result<Option<Vec<u8>>, ClientError> {
        loop {
            if let Some(end) = self.buffer[self.scanned..].iter().position(|&b| b == b'\n') {
                let mut line: Vec<u8> = self.buffer.drain(..=self.scanned + end).collect();
                line.pop();
                self.scanned = 0;
                return Ok(Some(line));
            }
            self.scanned = self.buffer.len();
            if self.buffer.len() > LINE_MAX {
                let why = format!("a line of more than {LINE_MAX} octets");
                return Err(ClientError::Malformed { line: beginning(&self.buffer), why });
            }
            let left = deadline.saturating_duration_since(Instant::now());
            // A time-out of zero means none to the kernel.
            self.stream.set_nonblocking(left.is_zero())?;
            if !left.is_zero() {
                self.stream.set_read_timeout(Some(left))?;
            }
            let start = self.buffer.len();
            self.buffer.resize(start + READ, 0);
            let result = self.stream.read(&mut self.buffer[start..]);
            self.buffer.truncate(start + result.as_ref().map_or(0, |&length| length));
            match result {
                Ok(0) => return Err(ClientError::Closed),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_late(&error) => return Ok(None),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Err(ClientError::Closed),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn connect(path: &Path, limit: Duration) -> io::Result<UnixStream> {
    let socket = socket::socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let limit = TimeVal::microseconds(i64::try_from(limit.as_micros()).unwrap_or(i64::MAX).max(1));
    // It bounds connecting as well: a daemon that hangs takes no connections once its queue is full.
    setsockopt(&socket, sockopt::SendTimeout, &limit)?;
    match UnixAddr::new(path) {
        Ok(address) => socket::connect(socket.as_raw_fd(), &address)?,
        // A socket's address has room for 107 octets. A path may be longer, by way of its directory's descriptor.
        Err(Errno::ENAMETOOLONG) => {
            let (directory, name) = split(path)?;
            let short = format!("/proc/self/fd/{}/{name}", directory.as_raw_fd());
            socket::connect(socket.as_raw_fd(), &UnixAddr::new(short.as_str())?)?;
        }
        Err(error) => return Err(error.into()),
    }
    Ok(UnixStream::from(socket))
}

fn split(path: &Path) -> io::Result<(OwnedFd, String)> {
    let too_long = || io::Error::from(Errno::ENAMETOOLONG);
    let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(too_long)?;
    let directory = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC)
        .open(path.parent().ok_or_else(too_long)?)?;
    Ok((directory.into(), name.to_owned()))
}

fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn refusal(line: &[u8]) -> Option<String> {
    serde_json::from_slice(line).ok().map(|Refusal { error }| error)
}

fn not_expected(line: &[u8], error: &serde_json::Error) -> ClientError {
    match refusal(line) {
        Some(why) => ClientError::Refused(why),
        None => ClientError::Malformed { line: beginning(line), why: error.to_string() },
    }
}

fn beginning(line: &[u8]) -> String {
    String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned()
}
