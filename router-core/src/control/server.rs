//! The daemon's end of the control socket, for an epoll loop: nothing here blocks, and everything is bounded.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::stat::{Mode, umask};

use super::client::{Client as Probe, ClientError};
use super::{EventLine, REQUEST_MAX, Refusal, Request};
use crate::router::Event;
use crate::show::Show;

/// Connections at a time.
const CLIENTS_MAX: usize = 32;
/// Octets of events that are kept for subscribers to come.
const KEPT_MAX: usize = 64 * 1024;
/// Octets that wait for a subscriber before it counts as too slow.
const BACKLOG_MAX: usize = 256 * 1024;
/// How long a daemon at the same path may take to show that it is there.
const PROBE: Duration = Duration::from_secs(1);
/// Connections taken in one turn of the loop.
const TURN: usize = 16;

/// Why the control socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A daemon listens there.
    #[error("a daemon already answers at {}", .0.display())]
    InUse(PathBuf),
    /// Something else is there.
    #[error("{} is there and is no socket", .0.display())]
    NotASocket(PathBuf),
    /// Anything else.
    #[error("the control socket {} cannot be made: {why}", path.display())]
    Io {
        /// Its path.
        path: PathBuf,
        /// The cause.
        why: io::Error,
    },
}

/// The listening socket and its clients.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    clients: BTreeMap<u64, Client>,
    /// The listener's token; clients get the ones after it, never one twice.
    first_token: u64,
    next_token: u64,
    kept: VecDeque<String>,
    kept_octets: usize,
    /// Events that are no longer kept.
    forgotten: u64,
    counts: Counts,
}

/// What the server has refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Subscribers that were disconnected because they did not read.
    pub subscribers_dropped: u64,
    /// Connections refused because there were too many.
    pub clients_refused: u64,
    /// Requests that were malformed or too long.
    pub requests_refused: u64,
}

#[derive(Debug)]
struct Client {
    stream: UnixStream,
    input: Vec<u8>,
    output: Vec<u8>,
    /// Octets of the output that were written.
    written: usize,
    is_subscriber: bool,
    /// Waiting for room to write.
    is_blocked: bool,
    /// No request comes any more: close once the output is written.
    is_ending: bool,
}

impl Server {
    /// Listens at a path, with mode 0600. A socket that nobody listens at any more is replaced.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn bind(path: &Path, epoll: &Epoll, token: u64) -> Result<Server, BindError> {
        let failed = |why: io::Error| BindError::Io { path: path.to_owned(), why };
        if let Ok(there) = path.symlink_metadata() {
            if !there.file_type().is_socket() {
                return Err(BindError::NotASocket(path.to_owned()));
            }
            match Probe::connect(path, PROBE) {
                Err(ClientError::Connect { why, .. }) if why.kind() == ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(path).map_err(failed)?;
                }
                Err(ClientError::Connect { why, .. }) if why.kind() == ErrorKind::PermissionDenied => {
                    return Err(failed(why));
                }
                // A daemon that hangs is one, too.
                _ => return Err(BindError::InUse(path.to_owned())),
            }
        }
        let before = umask(Mode::from_bits_truncate(0o177));
        let bound = UnixListener::bind(path);
        umask(before);
        let listener = bound.map_err(failed)?;
        let ready = || -> io::Result<()> {
            listener.set_nonblocking(true)?;
            Ok(epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, token))?)
        };
        ready().map_err(failed)?;
        Ok(Server {
            listener,
            path: path.to_owned(),
            clients: BTreeMap::new(),
            first_token: token,
            next_token: token + 1,
            kept: VecDeque::new(),
            kept_octets: 0,
            forgotten: 0,
            counts: Counts::default(),
        })
    }

    /// What was refused so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Serves a token that is ready: `answer` gives the line for a `show`.
    pub fn serve(&mut self, token: u64, epoll: &Epoll, answer: &mut dyn FnMut(Show) -> Vec<u8>) {
        if token == self.first_token {
            self.accept(epoll);
        } else if let Some(mut client) = self.clients.remove(&token) {
            // A client that fails is gone; its descriptor leaves the epoll set as it closes.
            if self.serve_client(&mut client, answer).is_ok() && client.settle(epoll, token).is_ok() {
                self.clients.insert(token, client);
            }
        }
    }

    /// Keeps an event and passes it to every subscriber.
    pub fn publish(&mut self, event: &Event, epoll: &Epoll) {
        let Ok(mut line) = serde_json::to_string(event) else { return };
        line.push('\n');
        for (token, mut client) in std::mem::take(&mut self.clients) {
            if client.is_subscriber {
                if client.output.len() - client.written + line.len() > BACKLOG_MAX {
                    self.counts.subscribers_dropped += 1;
                    continue;
                }
                client.output.extend_from_slice(line.as_bytes());
                if client.flush().is_err() || client.settle(epoll, token).is_err() {
                    continue;
                }
            }
            self.clients.insert(token, client);
        }
        self.kept_octets += line.len();
        self.kept.push_back(line);
        while self.kept_octets > KEPT_MAX
            && let Some(oldest) = self.kept.pop_front()
        {
            self.kept_octets -= oldest.len();
            self.forgotten += 1;
        }
    }

    fn accept(&mut self, epoll: &Epoll) {
        for _ in 0..TURN {
            let Ok((stream, _)) = self.listener.accept() else { return };
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            if self.clients.len() >= CLIENTS_MAX {
                self.counts.clients_refused += 1;
                let _ = (&stream).write(&refusal_line(&format!("there are {CLIENTS_MAX} clients already")));
                continue;
            }
            let token = self.next_token;
            self.next_token += 1;
            if epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, token)).is_ok() {
                self.clients.insert(token, Client::new(stream));
            }
        }
    }

    fn serve_client(&mut self, client: &mut Client, answer: &mut dyn FnMut(Show) -> Vec<u8>) -> io::Result<()> {
        client.flush()?;
        if !client.is_ending {
            client.read()?;
        }
        loop {
            // Requests wait until the answers before them are written.
            if client.written < client.output.len() {
                return Ok(());
            }
            let Some(end) = client.input.iter().position(|&b| b == b'\n') else { break };
            let line: Vec<u8> = client.input.drain(..=end).collect();
            match serde_json::from_slice(&line) {
                Ok(Request::Show(what)) => client.output = answer(what),
                Ok(Request::Events(true)) if !client.is_subscriber => {
                    client.is_subscriber = true;
                    client.output = self.history();
                }
                Ok(Request::Events(_)) => {}
                Err(error) => {
                    self.counts.requests_refused += 1;
                    client.output = refusal_line(&error.to_string());
                }
            }
            client.flush()?;
        }
        if client.input.len() >= REQUEST_MAX && !client.input.contains(&b'\n') {
            self.counts.requests_refused += 1;
            client.output = refusal_line(&format!("a request is at most {REQUEST_MAX} octets long"));
            client.input = Vec::new();
            client.is_ending = true;
            client.flush()?;
        }
        Ok(())
    }

    fn history(&self) -> Vec<u8> {
        let mut lines = Vec::new();
        if self.forgotten > 0
            && let Ok(line) = serde_json::to_vec(&EventLine::Dropped { dropped: self.forgotten })
        {
            lines.extend(line);
            lines.push(b'\n');
        }
        self.kept.iter().for_each(|line| lines.extend_from_slice(line.as_bytes()));
        lines
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Client {
    fn new(stream: UnixStream) -> Client {
        Client {
            stream,
            input: Vec::new(),
            output: Vec::new(),
            written: 0,
            is_subscriber: false,
            is_blocked: false,
            is_ending: false,
        }
    }

    /// Reads up to the longest request's length.
    fn read(&mut self) -> io::Result<()> {
        let mut buffer = [0; REQUEST_MAX];
        let room = REQUEST_MAX - self.input.len().min(REQUEST_MAX);
        if room == 0 {
            return Ok(());
        }
        match self.stream.read(&mut buffer[..room]) {
            Ok(0) => {
                self.is_ending = true;
                Ok(())
            }
            Ok(length) => {
                self.input.extend_from_slice(&buffer[..length]);
                Ok(())
            }
            Err(error) if is_for_later(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.written < self.output.len() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(length) => self.written += length,
                Err(error) if is_for_later(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        (self.output, self.written) = (Vec::new(), 0);
        Ok(())
    }

    /// Asks epoll for what the client waits for next.
    ///
    /// # Errors
    /// Any, if the client is done with.
    fn settle(&mut self, epoll: &Epoll, token: u64) -> io::Result<()> {
        let is_blocked = self.written < self.output.len();
        if self.is_ending && !is_blocked && !self.input.contains(&b'\n') {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if is_blocked != self.is_blocked {
            self.is_blocked = is_blocked;
            let flags = if is_blocked { EpollFlags::EPOLLOUT } else { EpollFlags::EPOLLIN };
            epoll.modify(&self.stream, &mut EpollEvent::new(flags, token))?;
        }
        Ok(())
    }
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

fn refusal_line(error: &str) -> Vec<u8> {
    let mut line = serde_json::to_vec(&Refusal { error: error.to_owned() }).unwrap_or_default();
    line.push(b'\n');
    line
}
