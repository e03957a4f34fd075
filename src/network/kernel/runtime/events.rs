//! Follows the event streams of all router-cores of a lab, on one thread.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use router_core::control::client::{self, Client, ClientError};
use router_core::router::{Event, EventKind};

use crate::network::answers;
use crate::network::notifier::Notifier;
use crate::network::{Happening, HappeningKind};
use crate::topology::plan::NodeId;

/// Events that are kept, of all routers together.
const EVENTS_MAX: usize = 200_000;
/// How long a router may take to answer.
pub(super) const ANSWER: Duration = Duration::from_secs(2);
const STOP: u64 = u64::MAX;

/// Event streams and what came by them. Dropping it ends the thread.
#[derive(Debug)]
pub struct Events {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    epoll: Epoll,
    stop: EventFd,
    notifier: Arc<Notifier>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    streams: BTreeMap<u64, Stream>,
    next: u64,
    happenings: Vec<Happening>,
    refused: u64,
}

#[derive(Debug)]
struct Stream {
    node: NodeId,
    events: client::Events,
}

impl Events {
    /// No streams yet.
    ///
    /// # Errors
    /// Those of making descriptors and the thread.
    pub fn start(notifier: Arc<Notifier>) -> io::Result<Events> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let stop = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        epoll.add(&stop, EpollEvent::new(EpollFlags::EPOLLIN, STOP))?;
        let shared = Arc::new(Shared { epoll, stop, notifier, state: Mutex::default() });
        let reader = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("events".into()).spawn(move || reader.read())?;
        Ok(Events { shared, thread: Some(thread) })
    }

    /// Subscribes to a router's events: those that it still remembers, and all to come, until it ends.
    ///
    /// # Errors
    /// If its control socket does not answer.
    pub fn follow(&self, node: NodeId, socket: &Path) -> Result<(), ClientError> {
        let events = Client::connect(socket, ANSWER)?.events()?;
        let mut state = self.shared.state();
        let id = state.next;
        state.next += 1;
        self.shared.epoll.add(&events, EpollEvent::new(EpollFlags::EPOLLIN, id)).map_err(io::Error::from)?;
        state.streams.insert(id, Stream { node, events });
        Ok(())
    }

    /// What came so far, in the order in which it came.
    pub fn happenings(&self) -> Vec<Happening> {
        self.shared.state().happenings.clone()
    }

    /// Events that were not kept.
    pub fn refused(&self) -> u64 {
        self.shared.state().refused
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // An eventfd refuses a write only when it is readable anyway.
        let _ = self.shared.stop.write(1);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) {
        let mut ready = [EpollEvent::empty(); 64];
        loop {
            let count = match self.epoll.wait(&mut ready, EpollTimeout::NONE) {
                Ok(count) => count,
                Err(Errno::EINTR) => continue,
                Err(_) => return,
            };
            for event in &ready[..count] {
                if event.data() == STOP {
                    return;
                }
                self.state().take(event.data());
            }
            self.notifier.notify();
        }
    }
}

impl State {
    /// Reads what a stream has now. A closed descriptor leaves the epoll set by itself.
    fn take(&mut self, id: u64) {
        let Some(mut stream) = self.streams.remove(&id) else { return };
        loop {
            match stream.events.try_next() {
                Ok(Some(event)) => self.note(stream.node, &event),
                Ok(None) => break,
                // The daemon ended; whoever starts it again follows it again.
                Err(_) => return,
            }
        }
        self.streams.insert(id, stream);
    }

    fn note(&mut self, node: NodeId, event: &Event) {
        if self.happenings.len() >= EVENTS_MAX {
            self.refused += 1;
            return;
        }
        let what = answers::describe(&event.kind);
        let kind = match event.kind {
            EventKind::EntryInstalled { .. } | EventKind::EntryRemoved { .. } => HappeningKind::Entry,
            _ => HappeningKind::Daemon,
        };
        self.happenings.push(Happening { time: event.time, node: Some(node), group: event.kind.group(), what, kind });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, Write};
    use std::os::unix::net::UnixListener;

    use router_core::time::Time;

    #[test]
    fn events_come_as_happenings_even_in_pieces() {
        let directory = std::env::temp_dir().join(format!("testbed-events-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("control.sock");
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let notifier = Arc::new(Notifier::new());
        let events = Events::start(Arc::clone(&notifier)).unwrap();
        events.follow(NodeId(3), &path).unwrap();

        let (socket, _) = listener.accept().unwrap();
        let mut asked = String::new();
        io::BufReader::new(&socket).read_line(&mut asked).unwrap();
        assert_eq!(asked, "{\"events\":true}\n");
        let event = Event { time: Time(5), kind: EventKind::Ready };
        let mut text = serde_json::to_vec(&event).unwrap();
        text.push(b'\n');
        let kind = EventKind::MemberRemoved { interface: "eth1".into(), group: "239.1.1.1".parse().unwrap() };
        text.extend(serde_json::to_vec(&Event { time: Time(9), kind }).unwrap());
        text.push(b'\n');
        for piece in text.chunks(7) {
            (&socket).write_all(piece).unwrap();
        }
        for _ in 0..1000 {
            let seen = notifier.generation();
            if events.happenings().len() == 2 {
                break;
            }
            notifier.wait(seen, Duration::from_millis(10));
        }
        let seen = events.happenings();
        let said: Vec<_> = seen.iter().map(|h| (h.time, h.node, h.what.as_str())).collect();
        let node = Some(NodeId(3));
        assert_eq!(said, [(Time(5), node, "is ready"), (Time(9), node, "eth1 has no member of 239.1.1.1 any more")]);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
