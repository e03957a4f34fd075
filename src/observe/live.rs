//! `testbed capture` inside its lab: whole frames of some wires, streamed as pcapng until told to stop.

use std::io::{self, Write};
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::capture::interfaces;
use super::checksum;
use super::filter::{self, WHOLE};
use super::order::Queue;
use super::pcapng::{Frame, Writer};
use super::tap::{self, MARGIN, Tap, TapError};
use crate::sys::packet::{SLOT_OVERHEAD, Shape};
use crate::topology::plan::{Plan, WireId};
use crate::traffic::clock;

/// Memory of all rings together, in octets.
const RINGS: usize = 64 << 20;
const TURN: usize = 256;
const STOP: u64 = u64::MAX;
/// Ethernet header and a VLAN tag.
const LINK_HEADERS: usize = 18;

/// Why a live capture ended early.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// A wire could not be tapped.
    #[error(transparent)]
    Tap(#[from] TapError),
    /// Waiting failed.
    #[error("waiting for frames: {0}")]
    Wait(Errno),
    /// The output cannot be written.
    #[error("writing the capture: {0}")]
    Output(io::Error),
}

/// What to capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The wires.
    pub wires: Vec<WireId>,
    /// Only frames to this group, and control messages; everything if absent.
    pub group: Option<IpAddr>,
    /// Ends by itself after this time.
    pub duration: Option<Duration>,
}

/// What was captured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Captured {
    /// Frames written.
    pub frames: u64,
    /// Frames that were lost because they came faster than they could be written.
    pub lost: u64,
}

/// Captures until `stop` is readable (or its other end closed), the duration has passed, or nobody reads any more.
///
/// # Errors
/// [`LiveError`].
pub fn capture(
    plan: &Plan,
    namespaces: &Path,
    wanted: &Wanted,
    out: impl Write,
    stop: BorrowedFd<'_>,
) -> Result<Captured, LiveError> {
    let mtu = wanted.wires.iter().map(|id| plan.wire(*id).mtu as usize).max().unwrap_or(1500);
    let slot_size = (mtu + LINK_HEADERS + SLOT_OVERHEAD).next_power_of_two().min(1 << 16);
    let ends = wanted.wires.iter().map(|id| plan.wire(*id).ends.len()).sum::<usize>();
    let shape = Shape { slots: (RINGS / slot_size / ends.max(1)).clamp(64, 4096), slot_size };
    let filter = wanted.group.map_or_else(Vec::new, |group| filter::multicast(WHOLE, Some(group)));
    let mut taps = tap::open(plan, namespaces, &filter, shape, |id| wanted.wires.contains(&id))?;

    // Interfaces of the capture: wires as they were named, each with its ends.
    let mut first = vec![0; plan.wires.len()];
    let mut names = Vec::new();
    for id in &wanted.wires {
        first[id.0] = names.len() as u32;
        names.extend(interfaces(plan, *id, ""));
    }
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(LiveError::Wait)?;
    epoll.add(stop, EpollEvent::new(EpollFlags::EPOLLIN, STOP)).map_err(LiveError::Wait)?;
    for (index, tap) in taps.iter().enumerate() {
        epoll.add(&tap.ring, EpollEvent::new(EpollFlags::EPOLLIN, index as u64)).map_err(LiveError::Wait)?;
    }
    let mut session = Session {
        writer: Writer::new(out, &names).map_err(LiveError::Output)?,
        queue: Queue::default(),
        captured: vec![Captured::default(); names.len()],
        first,
    };
    let ended = session.run(&mut taps, &epoll, wanted.duration).and_then(|()| session.finish(&mut taps));
    tap::close(taps);
    match ended {
        Ok(()) => Ok(session.total()),
        // Whoever read has what he wanted.
        Err(LiveError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(session.total()),
        Err(error) => Err(error),
    }
}

struct Session<W: Write> {
    writer: Writer<W>,
    queue: Queue,
    captured: Vec<Captured>,
    /// The capture's index of each wire's first end.
    first: Vec<u32>,
}

impl<W: Write> Session<W> {
    fn run(&mut self, taps: &mut [Tap], epoll: &Epoll, duration: Option<Duration>) -> Result<(), LiveError> {
        // The header at once: a reader of a pipe knows then that the capture runs.
        self.writer.flush().map_err(LiveError::Output)?;
        let end = duration.and_then(|duration| Instant::now().checked_add(duration));
        let mut events = [EpollEvent::empty(); 64];
        loop {
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(());
            }
            // Frames that wait for earlier ones of other rings are written a millisecond later at the latest.
            let limit = match (self.queue.is_empty(), left) {
                (false, _) => Some(Duration::from_millis(1)),
                (true, left) => left,
            };
            let timeout = limit.map_or(EpollTimeout::NONE, |limit| {
                EpollTimeout::try_from(limit.as_micros().div_ceil(1000).min(60_000) as i32)
                    .unwrap_or(EpollTimeout::ZERO)
            });
            let ready = match epoll.wait(&mut events, timeout) {
                Ok(count) => &events[..count],
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(LiveError::Wait(error)),
            };
            if ready.iter().any(|event| event.data() == STOP) {
                return Ok(());
            }
            let until = clock::realtime().saturating_sub(MARGIN);
            for tap in taps.iter_mut() {
                self.drain(tap);
            }
            self.write_until(until)?;
        }
    }

    fn drain(&mut self, tap: &mut Tap) -> usize {
        let Tap { place, ring } = tap;
        let interface = self.first[place.wire.0] + u32::from(place.end);
        let mut whole = Vec::new();
        ring.drain(TURN, |frame| {
            let octets = if frame.checksum_pending && frame.octets.len() == frame.length {
                whole.clear();
                whole.extend_from_slice(frame.octets);
                checksum::complete(&mut whole);
                &whole
            } else {
                frame.octets
            };
            self.captured[interface as usize].frames += 1;
            self.queue.push(&Frame {
                interface,
                realtime: frame.realtime,
                octets,
                length: frame.length,
                outbound: place.is_outbound(&frame),
            });
        })
    }

    fn write_until(&mut self, realtime: u64) -> Result<(), LiveError> {
        self.queue.write_until(realtime, &mut self.writer).map_err(LiveError::Output)?;
        self.writer.flush().map_err(LiveError::Output)
    }

    fn finish(&mut self, taps: &mut [Tap]) -> Result<(), LiveError> {
        for tap in taps {
            // What the ring holds now, not what comes while it is emptied.
            let mut left = tap.ring.slots();
            loop {
                let taken = self.drain(tap);
                left = left.saturating_sub(taken);
                if taken < TURN || left == 0 {
                    break;
                }
            }
            let interface = self.first[tap.place.wire.0] + u32::from(tap.place.end);
            self.captured[interface as usize].lost += tap.ring.take_drops().unwrap_or(0);
        }
        self.write_until(u64::MAX)?;
        let now = clock::realtime();
        for (interface, count) in (0u32..).zip(&self.captured) {
            let seen = count.frames + count.lost;
            self.writer.statistics(interface, now, seen, count.lost, None).map_err(LiveError::Output)?;
        }
        self.writer.flush().map_err(LiveError::Output)
    }

    fn total(&self) -> Captured {
        self.captured.iter().fold(Captured::default(), |sum, one| Captured {
            frames: sum.frames + one.frames,
            lost: sum.lost + one.lost,
        })
    }
}
