//! Sends one stream: a thread with absolute-time pacing, one packet a call.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::prctl::set_timerslack;
use nix::sys::socket::SockaddrStorage;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_nanosleep};

use super::clock;
use super::log::Log;
use super::pace::Pace;
use super::socket_address;
use super::spec::StreamSpec;
use super::stamp::{Stamp, StreamId};
use crate::network::Time;
use crate::network::notifier::Notifier;
use crate::sys::udp::Udp;
use crate::topology::steps::nth_group;

/// The most packets of a stream whose times are recorded; it ends there.
pub const SENT_MAX: usize = 1 << 25;

/// How long before a tick the thread stops listening for [`Sender::stop`] and sleeps to the nanosecond.
const DEAF: Duration = Duration::from_millis(20);

/// Octets of the socket's send buffer.
const SEND_BUFFER: i32 = 4 << 20;

/// What a sender did so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Packets that the kernel took.
    pub sent: u64,
    /// Packets that it refused, by its error number.
    pub refused: BTreeMap<i32, u64>,
    /// The latest that a packet went after it was due.
    pub lateness_max: Duration,
    /// By how much the schedule moved because the sender could not keep up.
    pub slipped: Duration,
    /// Whether the stream is over: its count is reached, it was stopped, or [`SENT_MAX`] is reached.
    pub ended: bool,
    /// Whether it ended at [`SENT_MAX`].
    pub overflowed: bool,
}

impl Progress {
    /// Packets that the kernel refused.
    pub fn not_sent(&self) -> u64 {
        self.refused.values().sum()
    }
}

/// A stream that is being sent.
#[derive(Debug)]
pub struct Sender {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    sent: Log<Time>,
    stop: Mutex<bool>,
    stopped: Condvar,
    refused: Mutex<BTreeMap<i32, u64>>,
    lateness_max: AtomicU64,
    slipped: AtomicU64,
    ended: AtomicBool,
    overflowed: AtomicBool,
}

/// Opens a stream's socket in the calling thread's namespace: bound to the source, out of the interface, heard by nobody on its own host.
///
/// # Errors
/// The kernel's.
pub fn open(spec: &StreamSpec) -> io::Result<Udp> {
    let socket = Udp::open(spec.group)?;
    socket.set_multicast_interface(spec.interface)?;
    socket.set_multicast_ttl(spec.ttl)?;
    socket.set_multicast_loopback(false)?;
    socket.set_send_buffer(SEND_BUFFER)?;
    if let Some(source) = spec.source {
        socket.bind(socket_address(source, 0, spec.interface))?;
    }
    Ok(socket)
}

impl Sender {
    /// Starts the stream on its socket; `length` is what [`StreamSpec::check`] gave.
    ///
    /// # Errors
    /// If there can be no thread.
    pub fn start(
        socket: Udp,
        spec: &StreamSpec,
        length: u16,
        stream: StreamId,
        notifier: Arc<Notifier>,
    ) -> io::Result<Sender> {
        let shared = Arc::new(Shared {
            sent: Log::new(SENT_MAX),
            stop: Mutex::new(false),
            stopped: Condvar::new(),
            refused: Mutex::default(),
            lateness_max: AtomicU64::new(0),
            slipped: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            overflowed: AtomicBool::new(false),
        });
        let stamp = Stamp { stream, sequence: 0, sent_realtime: 0, length };
        let worker = Worker {
            socket,
            to: (0..spec.groups)
                .map(|n| SockaddrStorage::from(socket_address(nth_group(spec.group, n), spec.port, spec.interface)))
                .collect(),
            stamp,
            payload: vec![0; spec.size],
            left: spec.count.unwrap_or(u64::MAX),
            burst: spec.burst,
            shared: Arc::clone(&shared),
        };
        let ticks_per_second = spec.rate / f64::from(spec.burst);
        let thread = std::thread::Builder::new().name("sender".into()).spawn(move || {
            worker.run(ticks_per_second);
            notifier.notify();
        })?;
        Ok(Sender { shared, thread: Some(thread) })
    }

    /// Tells the thread to end, without waiting for it.
    pub fn ask_to_stop(&self) {
        *self.shared.lock_stop() = true;
        self.shared.stopped.notify_all();
    }

    /// Ends the stream; returns when the last packet has gone.
    pub fn stop(&mut self) {
        self.ask_to_stop();
        if let Some(thread) = self.thread.take() {
            // The thread has no way to panic that would leave anything to do here.
            let _ = thread.join();
        }
    }

    /// When each packet went, but for the first `skip`; the index in the whole list is the sequence number.
    pub fn sent(&self, skip: usize) -> Vec<Time> {
        self.shared.sent.copy_from(skip)
    }

    /// What it did so far.
    pub fn progress(&self) -> Progress {
        let shared = &self.shared;
        let ended = shared.ended.load(Ordering::Acquire);
        Progress {
            sent: shared.sent.len() as u64,
            refused: shared.refused.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            lateness_max: Duration::from_nanos(shared.lateness_max.load(Ordering::Relaxed)),
            slipped: Duration::from_nanos(shared.slipped.load(Ordering::Relaxed)),
            ended,
            overflowed: shared.overflowed.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn lock_stop(&self) -> MutexGuard<'_, bool> {
        self.stop.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps until `at`. Gives whether to go on.
    fn sleep_until(&self, at: Time) -> bool {
        let mut stop = self.lock_stop();
        loop {
            if *stop {
                return false;
            }
            let left = at.since(clock::monotonic());
            if left <= DEAF {
                break;
            }
            stop = self.stopped.wait_timeout(stop, left - DEAF).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(stop);
        let at = TimeSpec::from(Duration::from_nanos(at.0));
        // An interrupted sleep ends early by at most DEAF; the pace of later packets is absolute and not touched by it.
        let _ = clock_nanosleep(ClockId::CLOCK_MONOTONIC, ClockNanosleepFlags::TIMER_ABSTIME, &at);
        true
    }
}

struct Worker {
    socket: Udp,
    /// A group each, in the order of their turns.
    to: Vec<SockaddrStorage>,
    stamp: Stamp,
    payload: Vec<u8>,
    left: u64,
    burst: u32,
    shared: Arc<Shared>,
}

impl Worker {
    fn run(mut self, ticks_per_second: f64) {
        // Without this the kernel may wake the thread 50 µs late; should it refuse, packets are that much later.
        let _ = set_timerslack(1);
        let mut pace = Pace::new(clock::monotonic(), ticks_per_second);
        'stream: while self.left > 0 {
            let at = pace.next();
            let now = clock::monotonic();
            let go = if at > now { self.shared.sleep_until(at) } else { !*self.shared.lock_stop() };
            if !go {
                break;
            }
            pace.went(clock::monotonic());
            for _ in 0..self.left.min(self.burst.into()) {
                if !self.send() {
                    self.shared.overflowed.store(true, Ordering::Relaxed);
                    break 'stream;
                }
            }
            self.shared.lateness_max.store(nanoseconds(pace.lateness_max()), Ordering::Relaxed);
            self.shared.slipped.store(nanoseconds(pace.slipped()), Ordering::Relaxed);
        }
        self.shared.ended.store(true, Ordering::Release);
    }

    /// Sends one packet. A sequence number is used up only by a packet that the kernel took. Gives false once no more can be recorded.
    fn send(&mut self) -> bool {
        if self.stamp.sequence >= SENT_MAX as u64 {
            return false;
        }
        self.left -= 1;
        let time = clock::monotonic();
        self.stamp.sent_realtime = clock::realtime();
        // The payload is at least a stamp long: StreamSpec::check saw to it.
        let _ = self.stamp.encode(&mut self.payload);
        // There is at least one: StreamSpec::check saw to it. A packet that is refused keeps its turn.
        let turn = usize::try_from(self.stamp.sequence).unwrap_or_default() % self.to.len();
        match self.socket.send_to(&self.payload, &self.to[turn]) {
            Ok(_) => {
                self.stamp.sequence += 1;
                self.shared.sent.push(time);
            }
            Err(error) => {
                let mut refused = self.shared.refused.lock().unwrap_or_else(PoisonError::into_inner);
                *refused.entry(error.raw_os_error().unwrap_or(0)).or_default() += 1;
            }
        }
        true
    }
}

fn nanoseconds(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
