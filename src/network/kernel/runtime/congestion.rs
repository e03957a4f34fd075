//! How long others keep the network from being reconfigured.
//!
//! The kernel has one lock for all network configuration of the machine, all namespaces included: joins, forwarding entries and routes wait while
//! somebody builds or takes down another network. A thread takes that lock again and again, for a moment, and adds up how long it had to wait.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::network::Time;
use crate::sys::udp::Udp;
use crate::traffic::clock;

/// Time between two attempts.
const PACE: Duration = Duration::from_millis(20);
/// Below this, a wait is an ordinary one.
const ORDINARY: Duration = Duration::from_millis(20);
/// The loopback's index in every namespace.
const LOOPBACK: u32 = 1;
/// Every host is a member of this group, so that nothing is sent for it.
const GROUP: IpAddr = IpAddr::V4(Ipv4Addr::new(224, 0, 0, 1));

/// Measures until it is dropped.
#[derive(Debug)]
pub struct Congestion {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Nanoseconds of waits that are over.
    waited: AtomicU64,
    /// When the attempt that is under way began; 0: none is.
    since: AtomicU64,
    stop: Mutex<bool>,
    stopped: Condvar,
}

impl Congestion {
    /// Starts measuring. Where that cannot be done, nothing is ever held up.
    pub fn start() -> Congestion {
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        let measure = move || {
            if let Ok(socket) = Udp::open(GROUP) {
                own.measure(&|| {
                    socket.join(LOOPBACK, GROUP)?;
                    socket.leave(LOOPBACK, GROUP)
                });
            }
        };
        let thread = std::thread::Builder::new().name("congestion".into()).spawn(measure).ok();
        Congestion { shared, thread }
    }

    /// All that others have kept this network waiting so far.
    pub fn total(&self) -> Duration {
        self.shared.total(clock::monotonic())
    }
}

impl Shared {
    fn measure(&self, attempt: &dyn Fn() -> std::io::Result<()>) {
        loop {
            let began = clock::monotonic();
            self.since.store(began.as_nanos(), Ordering::SeqCst);
            let done = attempt();
            let took = clock::monotonic().since(began);
            if took >= ORDINARY {
                self.waited.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::SeqCst);
            }
            self.since.store(0, Ordering::SeqCst);
            let stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
            let (stop, _) =
                self.stopped.wait_timeout_while(stop, PACE, |stop| !*stop).unwrap_or_else(PoisonError::into_inner);
            if *stop || done.is_err() {
                return;
            }
        }
    }

    fn total(&self, now: Time) -> Duration {
        let waited = Duration::from_nanos(self.waited.load(Ordering::SeqCst));
        let current = match self.since.load(Ordering::SeqCst) {
            0 => Duration::ZERO,
            since => now.since(Time(since)),
        };
        if current >= ORDINARY { waited + current } else { waited }
    }
}

impl Drop for Congestion {
    fn drop(&mut self) {
        *self.shared.stop.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.stopped.notify_all();
        if let Some(thread) = self.thread.take() {
            // It can only have panicked, and then there is nothing to end.
            let _ended = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_waits_add_up() {
        let shared = Shared::default();
        let stop_after = |span: Duration| {
            *shared.stop.lock().unwrap() = true;
            shared.measure(&|| {
                std::thread::park_timeout(span);
                Ok(())
            });
        };
        stop_after(Duration::ZERO);
        let before = shared.total(clock::monotonic());
        stop_after(Duration::from_millis(60));
        let waited = shared.total(clock::monotonic()) - before;
        assert!(waited >= Duration::from_millis(50), "{waited:?}");
    }

    #[test]
    fn a_wait_that_is_under_way_counts() {
        let shared = Shared::default();
        shared.since.store(1_000_000_000, Ordering::SeqCst);
        assert_eq!(shared.total(Time(1_005_000_000)), Duration::ZERO);
        assert_eq!(shared.total(Time(3_000_000_000)), Duration::from_secs(2));
    }
}
