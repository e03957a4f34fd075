//! Taps: packet sockets on every wire of a lab, read by one thread.
//!
//! A link is tapped at both ends, in the namespaces of its nodes; a LAN at every port of its bridge, so behind snooping.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::capture::{Capture, CaptureError, DATA_OCTETS};
use super::filter;
use super::store::{Limits, Place, Store};
use crate::network::notifier::Notifier;
use crate::sys::netns;
use crate::sys::packet::{Instruction, Ring, Shape};
use crate::topology::plan::{Plan, WireId, WireKind};
use crate::traffic::clock::{self, Offset};

/// Octets a slot: [`DATA_OCTETS`] and the kernel's overhead fit.
const SLOT: usize = 256;
/// Memory of all rings together, in octets.
const RINGS: usize = 128 << 20;
/// Frames taken from one ring before the next one has its turn.
const TURN: usize = 1024;
/// Frames are gathered for this long before the thread looks again: at high rates one wake-up serves many.
const GATHER_MILLIS: u8 = 1;
/// Nanoseconds that may pass between a frame's stamp and its place in the ring.
pub(super) const MARGIN: u64 = 200_000;
/// Threads that open and close rings.
const THREADS: usize = 64;
const STOP: u64 = u64::MAX;

/// Why taps could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// A namespace could not be entered.
    #[error("cannot enter the network namespace {path}: {source}")]
    Namespace {
        /// Its file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// No packet socket on an interface.
    #[error("cannot tap {interface} in {namespace}: {source}")]
    Interface {
        /// The interface.
        interface: String,
        /// Its namespace.
        namespace: String,
        /// The cause.
        source: io::Error,
    },
    /// No capture file.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// Not enough descriptors, threads or memory.
    #[error("cannot start the taps: {0}")]
    System(#[from] io::Error),
}

/// Where taps keep captures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureTo {
    /// An existing directory; one file a wire is made there.
    pub directory: PathBuf,
    /// The most octets a file.
    pub limit: u64,
}

/// Running taps. Dropping them ends the thread and completes the captures.
#[derive(Debug)]
pub struct Taps {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    stop: EventFd,
    notifier: Arc<Notifier>,
}

#[derive(Debug)]
struct State {
    taps: Vec<Tap>,
    store: Store,
    captures: Vec<Option<Capture>>,
    /// Frames lost in the kernel, by wire.
    lost: Vec<u64>,
    failures: Vec<String>,
}

/// A tap: where it is, and its ring.
#[derive(Debug)]
pub(super) struct Tap {
    pub place: Place,
    pub ring: Ring,
}

impl Taps {
    /// Opens taps on every wire of a running lab whose namespaces lie in `namespaces`, and starts to read.
    ///
    /// # Errors
    /// [`TapError`] names the interface that could not be tapped.
    pub fn open(
        plan: &Plan,
        namespaces: &Path,
        clock: Offset,
        limits: Limits,
        captures: Option<&CaptureTo>,
        notifier: Arc<Notifier>,
    ) -> Result<Taps, TapError> {
        let count = plan.wires.iter().map(|wire| wire.ends.len()).sum::<usize>();
        let shape = Shape { slots: (RINGS / SLOT / count.max(1)).clamp(512, 8192), slot_size: SLOT };
        let filter = filter::multicast(DATA_OCTETS, None);
        let taps = open(plan, namespaces, &filter, shape, |_| true)?;
        let captures = plan
            .wire_ids()
            .map(|id| captures.map(|to| Capture::of_wire(plan, id, &to.directory, to.limit, DATA_OCTETS)).transpose())
            .collect::<Result<Vec<_>, _>>()?;
        let store = Store::new(plan.wires.iter().map(|wire| wire.ends.clone()), clock, limits);

        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(io::Error::from)?;
        for (index, tap) in taps.iter().enumerate() {
            epoll.add(&tap.ring, EpollEvent::new(EpollFlags::EPOLLIN, index as u64)).map_err(io::Error::from)?;
        }
        let stop = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).map_err(io::Error::from)?;
        epoll.add(&stop, EpollEvent::new(EpollFlags::EPOLLIN, STOP)).map_err(io::Error::from)?;
        let state = State { taps, store, captures, lost: vec![0; plan.wires.len()], failures: Vec::new() };
        let shared = Arc::new(Shared { state: Mutex::new(state), stop, notifier });
        let reader = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("taps".into()).spawn(move || read(&reader, &epoll))?;
        Ok(Taps { shared, thread: Some(thread) })
    }

    /// Takes in every frame that the kernel has already put into a ring.
    pub fn refresh(&self) {
        let mut state = self.shared.state();
        for index in 0..state.taps.len() {
            while state.drain(index).0 == TURN {}
        }
    }

    /// Looks at what has been taken in so far.
    pub fn with<R>(&self, look: impl FnOnce(&Store) -> R) -> R {
        look(&self.shared.state().store)
    }

    /// The capture file of a wire.
    pub fn capture(&self, wire: WireId) -> Option<PathBuf> {
        Some(self.shared.state().captures.get(wire.0)?.as_ref()?.path().to_owned())
    }

    /// Hands buffered captures to their files.
    pub fn flush(&self) {
        self.shared.state().each_capture(Capture::flush);
    }

    /// What the taps lost: frames that found a ring full, limits that were reached, capture files that could not be written.
    pub fn doubts(&self, plan: &Plan) -> Vec<String> {
        let mut state = self.shared.state();
        let State { taps, lost, failures, .. } = &mut *state;
        for tap in taps {
            match tap.ring.take_drops() {
                Ok(drops) => lost[tap.place.wire.0] += drops,
                Err(error) if failures.len() < 16 => failures.push(format!("a tap's losses cannot be read: {error}")),
                Err(_) => {}
            }
        }
        let lost = lost.iter().zip(&plan.wires).filter(|(lost, _)| **lost > 0);
        let mut doubts: Vec<String> =
            lost.map(|(lost, wire)| format!("the taps of {} missed {lost} frames", wire.name)).collect();
        doubts.extend(state.failures.iter().cloned());
        doubts.extend(state.store.doubts());
        doubts
    }

    /// Which captures reached their limit, one line each.
    pub fn cut_captures(&self) -> Vec<String> {
        self.shared.state().captures.iter().flatten().filter_map(Capture::cut).collect()
    }
}

impl Drop for Taps {
    fn drop(&mut self) {
        // An eventfd refuses a write only when its counter is full, and then it is readable anyway.
        let _ = self.shared.stop.write(1);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.refresh();
        let mut state = self.shared.state();
        for capture in std::mem::take(&mut state.captures).into_iter().flatten() {
            // Nobody is left to tell.
            let _ = capture.finish();
        }
        close(std::mem::take(&mut state.taps));
    }
}

impl Shared {
    // A panic while the lock was held leaves counts that are at worst short, which the doubts of a lost thread tell.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes a turn's frames from a tap: how many, and whether one was worth noting.
    fn drain(&mut self, index: usize) -> (usize, bool) {
        let State { taps, store, captures, .. } = self;
        let Some(Tap { place, ring }) = taps.get_mut(index) else { return (0, false) };
        let capture = captures.get_mut(place.wire.0).and_then(Option::as_mut);
        let mut noted = false;
        let taken = match capture {
            None => ring.drain(TURN, |frame| noted |= store.take(place, &frame)),
            Some(capture) => ring.drain(TURN, |frame| {
                noted |= store.take(place, &frame);
                capture.take(place.end, place.is_outbound(&frame), &frame);
            }),
        };
        (taken, noted)
    }

    /// Does something with every capture. One that cannot be written is given up; what is measured does not depend on it.
    fn each_capture(&mut self, mut work: impl FnMut(&mut Capture) -> Result<(), CaptureError>) {
        for slot in &mut self.captures {
            if let Some(Err(error)) = slot.as_mut().map(&mut work) {
                self.failures.push(error.to_string());
                *slot = None;
            }
        }
    }
}

fn read(shared: &Shared, epoll: &Epoll) {
    // Room for all, so that no ring is passed over in a round.
    let mut events = vec![EpollEvent::empty(); shared.state().taps.len() + 1];
    loop {
        // Whatever was stamped before this moment is in a ring that the wait finds ready.
        let until = clock::realtime().saturating_sub(MARGIN);
        let ready = match epoll.wait(&mut events, EpollTimeout::NONE) {
            Ok(count) => &events[..count],
            Err(nix::errno::Errno::EINTR) => continue,
            // The set is gone: nothing more will be read, and the store stays as it is.
            Err(_) => return,
        };
        let mut noted = false;
        for event in ready {
            if event.data() == STOP {
                return;
            }
            noted |= shared.state().drain(event.data() as usize).1;
        }
        if noted {
            shared.notifier.notify();
        }
        shared.state().each_capture(|capture| capture.write_until(until));
        let mut stop = [PollFd::new(shared.stop.as_fd(), PollFlags::POLLIN)];
        if matches!(poll(&mut stop, PollTimeout::from(GATHER_MILLIS)), Ok(count) if count > 0) {
            return;
        }
    }
}

/// Opens taps on the wires that are picked. Frames come from the moment when each is open.
///
/// The kernel takes some milliseconds to open or close a ring (it waits until no processor uses what was there before), but waits for many at once
/// no longer than for one: hence the threads, here and in [`close`].
pub(super) fn open(
    plan: &Plan,
    namespaces: &Path,
    filter: &[Instruction],
    shape: Shape,
    pick: impl Fn(WireId) -> bool,
) -> Result<Vec<Tap>, TapError> {
    let mut watched: Vec<(String, String, Place)> = Vec::new();
    for (namespace, places) in places(plan) {
        let picked = places.into_iter().filter(|(_, place)| pick(place.wire));
        watched.extend(picked.map(|(interface, place)| (namespace.clone(), interface, place)));
    }
    let share = watched.len().div_ceil(THREADS).max(1);
    let opened: Vec<Result<Vec<Tap>, TapError>> = std::thread::scope(|scope| {
        let begin = |share| {
            let work = move || open_share(share, namespaces, filter, shape);
            std::thread::Builder::new().name("open taps".into()).spawn_scoped(scope, work)
        };
        let threads: Vec<_> = watched.chunks(share).map(begin).collect();
        let join = |thread: io::Result<std::thread::ScopedJoinHandle<'_, _>>| match thread?.join() {
            Ok(taps) => taps,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        threads.into_iter().map(join).collect()
    });
    let mut taps = Vec::with_capacity(watched.len());
    for share in opened {
        taps.extend(share?);
    }
    Ok(taps)
}

fn open_share(
    share: &[(String, String, Place)],
    namespaces: &Path,
    filter: &[Instruction],
    shape: Shape,
) -> Result<Vec<Tap>, TapError> {
    let mut taps = Vec::with_capacity(share.len());
    for watched in share.chunk_by(|one, next| one.0 == next.0) {
        let Some((namespace, ..)) = watched.first() else { continue };
        let path = namespaces.join(namespace);
        let opened = netns::within(&path, || {
            let tap = |(namespace, interface, place): &(String, String, Place)| {
                let open = || Ring::open(nix::net::if_::if_nametoindex(interface.as_str())?, filter, shape);
                let failed =
                    |source| TapError::Interface { interface: interface.clone(), namespace: namespace.clone(), source };
                Ok(Tap { place: *place, ring: open().map_err(failed)? })
            };
            watched.iter().map(tap).collect::<Result<Vec<_>, TapError>>()
        });
        taps.extend(opened.map_err(|source| TapError::Namespace { path, source })??);
    }
    Ok(taps)
}

/// Closes taps, many at once; see [`open`].
pub(super) fn close(mut taps: Vec<Tap>) {
    let share = taps.len().div_ceil(THREADS).max(1);
    std::thread::scope(|scope| {
        while !taps.is_empty() {
            let share = taps.split_off(taps.len().saturating_sub(share));
            // Without a thread, the closure that owns them is dropped here, and they are closed one by one.
            let _ = std::thread::Builder::new().name("close taps".into()).spawn_scoped(scope, move || drop(share));
        }
    });
}

/// The taps of a lab by namespace: interface names and places.
fn places(plan: &Plan) -> Vec<(String, Vec<(String, Place)>)> {
    let mut by_node: Vec<Vec<(String, Place)>> = vec![Vec::new(); plan.nodes.len()];
    let mut lans = Vec::new();
    for id in plan.wire_ids() {
        let wire = plan.wire(id);
        let ends = (0u16..).zip(&wire.ends).map(|(end, at)| (end, *at));
        match wire.kind {
            WireKind::Link => {
                for (end, at) in ends {
                    let place = Place { at, wire: id, end, far: false };
                    by_node[at.node.0].push((plan.interface(at).name.clone(), place));
                }
            }
            WireKind::Lan { .. } => {
                let port = |(end, at)| (format!("p{end}"), Place { at, wire: id, end, far: true });
                lans.push((format!("@{}", wire.name), ends.map(port).collect()));
            }
        }
    }
    let nodes = plan.nodes.iter().zip(by_node).filter(|(_, places)| !places.is_empty());
    nodes.map(|(node, places)| (node.name.clone(), places)).chain(lans).collect()
}
