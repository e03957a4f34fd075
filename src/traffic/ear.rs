//! Receiving: sockets on a group and port of a host, and the one thread that empties them all.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::clock::Offset;
use super::log::Log;
use super::socket_address;
use super::stamp::{self, Stamp, StreamId};
use crate::network::Arrival;
use crate::network::notifier::Notifier;
use crate::sys::udp::{BATCH_MAX, Batch, Udp};

/// The most packets whose arrivals are recorded, over all hosts and streams.
pub const ARRIVALS_MAX: usize = 1 << 24;

/// The most streams that a host tells apart.
pub const STREAMS_MAX: usize = 4096;

/// Octets of a socket's receive buffer, where the machine allows it.
const RECEIVE_BUFFER: i32 = 16 << 20;

/// Batches that one socket may give before the others have their turn.
const TURN: usize = 16;

/// The event that ends the thread.
const END: u64 = u64::MAX;

/// What all sockets of a host heard, by stream.
#[derive(Debug, Default)]
pub struct Heard {
    streams: Mutex<BTreeMap<StreamId, Arc<Log<Arrival>>>>,
}

impl Heard {
    /// Packets of a stream in order of arrival, without the first `skip`.
    pub fn arrivals(&self, stream: StreamId, skip: usize) -> Vec<Arrival> {
        let log = self.lock().get(&stream).cloned();
        log.map_or_else(Vec::new, |log| log.copy_from(skip))
    }

    /// The number of packets of a stream.
    pub fn arrived(&self, stream: StreamId) -> usize {
        self.lock().get(&stream).map_or(0, |log| log.len())
    }

    /// The streams.
    pub fn streams(&self) -> Vec<StreamId> {
        self.lock().keys().copied().collect()
    }

    fn log_of(&self, stream: StreamId) -> Option<Arc<Log<Arrival>>> {
        let mut streams = self.lock();
        if streams.len() >= STREAMS_MAX && !streams.contains_key(&stream) {
            return None;
        }
        Some(Arc::clone(streams.entry(stream).or_insert_with(|| Arc::new(Log::new(ARRIVALS_MAX)))))
    }

    // A panic elsewhere cannot leave the map half changed.
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<StreamId, Arc<Log<Arrival>>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A socket that hears one group and port on one host.
#[derive(Debug)]
pub struct Ear {
    /// The socket. Its memberships are `membership`'s affair.
    pub socket: Udp,
    heard: Arc<Heard>,
    dropped: AtomicU32,
    strangers: AtomicU64,
    damaged: AtomicU64,
    without_time: AtomicU64,
}

impl Ear {
    /// Opens the socket in the calling thread's namespace: deaf until it joins. What it hears goes with what the host's others hear.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open(group: IpAddr, port: u16, interface: u32, heard: Arc<Heard>) -> io::Result<Ear> {
        let socket = Udp::open(group)?;
        socket.set_reuse_address()?;
        socket.set_multicast_all(false)?;
        socket.set_receive_buffer(RECEIVE_BUFFER)?;
        socket.want_details()?;
        socket.bind(socket_address(group, port, interface))?;
        Ok(Ear {
            socket,
            heard,
            dropped: AtomicU32::new(0),
            strangers: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
            without_time: AtomicU64::new(0),
        })
    }

    /// Packets that the kernel dropped here for want of room.
    pub fn dropped(&self) -> u32 {
        let seen = self.dropped.load(Ordering::Relaxed);
        // The kernel's own count is the latest; the one that came with packets stands in should it refuse.
        self.socket.drops().unwrap_or(seen).max(seen)
    }

    /// Packets that bore no stamp, or of streams beyond [`STREAMS_MAX`].
    pub fn strangers(&self) -> u64 {
        self.strangers.load(Ordering::Relaxed)
    }

    /// Stamped packets of another length than they were sent with.
    pub fn damaged(&self) -> u64 {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Packets that came without a time or a TTL, and so were not recorded.
    pub fn without_time(&self) -> u64 {
        self.without_time.load(Ordering::Relaxed)
    }

    /// Takes the packets of a batch, for their logs.
    fn take(&self, batch: &Batch, offset: Offset, taken: &mut Vec<(Arc<Log<Arrival>>, Arrival)>) {
        let mut last: Option<(StreamId, Arc<Log<Arrival>>)> = None;
        for packet in batch.packets() {
            if let Some(dropped) = packet.dropped {
                self.dropped.store(dropped, Ordering::Relaxed);
            }
            let Ok(stamp) = Stamp::decode(packet.payload) else {
                self.strangers.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            if usize::from(stamp.length) != packet.length {
                self.damaged.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let (Some(received), Some(ttl)) = (packet.received_realtime, packet.ttl) else {
                self.without_time.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            let known = last.take().filter(|(stream, _)| *stream == stamp.stream);
            let Some((_, log)) = known.or_else(|| Some((stamp.stream, self.heard.log_of(stamp.stream)?))) else {
                self.strangers.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            let arrival = Arrival {
                sequence: stamp.sequence,
                sent: offset.to_monotonic(stamp.sent_realtime),
                received: offset.to_monotonic(received),
                ttl,
            };
            taken.push((Arc::clone(&log), arrival));
            last = Some((stamp.stream, log));
        }
    }
}

/// The thread that empties every [`Ear`].
#[derive(Debug)]
pub struct Listener {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    epoll: Epoll,
    end: EventFd,
    ending: AtomicBool,
    ears: Mutex<Vec<Arc<Ear>>>,
    budget: AtomicUsize,
    failed: Mutex<Option<io::Error>>,
}

impl Listener {
    /// Starts the thread. It notifies once for each round of packets.
    ///
    /// # Errors
    /// The kernel's.
    pub fn start(offset: Offset, notifier: Arc<Notifier>) -> io::Result<Listener> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let end = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        epoll.add(&end, EpollEvent::new(EpollFlags::EPOLLIN, END))?;
        let shared = Arc::new(Shared {
            epoll,
            end,
            ending: AtomicBool::new(false),
            ears: Mutex::default(),
            budget: AtomicUsize::new(ARRIVALS_MAX),
            failed: Mutex::default(),
        });
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("listener".into()).spawn(move || {
            if let Err(error) = of_thread.listen(offset, &notifier) {
                *of_thread.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
            notifier.notify();
        })?;
        Ok(Listener { shared, thread: Some(thread) })
    }

    /// Listens to one more ear.
    ///
    /// # Errors
    /// The kernel's.
    pub fn add(&self, ear: &Arc<Ear>) -> io::Result<()> {
        let mut ears = self.shared.lock_ears();
        let event = EpollEvent::new(EpollFlags::EPOLLIN, ears.len() as u64);
        self.shared.epoll.add(&ear.socket, event)?;
        ears.push(Arc::clone(ear));
        Ok(())
    }

    /// Whether more than [`ARRIVALS_MAX`] packets came, and the later ones are not recorded.
    pub fn is_full(&self) -> bool {
        self.shared.budget.load(Ordering::Relaxed) == 0
    }

    /// Why the thread ended before its time, if it did.
    pub fn failure(&self) -> Option<String> {
        let failed = self.shared.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.as_ref().map(ToString::to_string)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::Release);
        // An eventfd at its limit is readable all the same.
        let _ = self.shared.end.write(1);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn listen(&self, offset: Offset, notifier: &Notifier) -> io::Result<()> {
        let mut batch = Batch::new(stamp::LENGTH);
        let mut events = [EpollEvent::empty(); 64];
        let mut round = Vec::new();
        while !self.ending.load(Ordering::Acquire) {
            let count = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                Ok(count) => count,
                Err(nix::errno::Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            for event in &events[..count] {
                let index = usize::try_from(event.data()).unwrap_or(usize::MAX);
                let Some(ear) = self.lock_ears().get(index).cloned() else { continue };
                for _ in 0..TURN {
                    // An error of the socket (its interface went down, say) is taken off it by reading; packets come again after it.
                    let Ok(taken) = batch.receive(&ear.socket) else { break };
                    ear.take(&batch, offset, &mut round);
                    if taken < BATCH_MAX {
                        break;
                    }
                }
            }
            // A stream to several groups comes by several sockets: the kernel's stamps tell the order.
            round.sort_by_key(|(_, arrival)| arrival.received);
            for (log, arrival) in round.drain(..) {
                // Reaching 0 means that the record is full; it stays there.
                if self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                    log.push(arrival);
                }
            }
            notifier.notify();
        }
        Ok(())
    }

    fn lock_ears(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Ear>>> {
        self.ears.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
