//! What ends a measurement before its time: Ctrl-C, SIGTERM, a terminal that goes away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};

use crate::commands::Failure;
use crate::network::Time;
use crate::network::notifier::Notifier;
use crate::traffic::clock;

/// Waits for signals on a thread of its own.
pub struct Ends {
    interrupted: Arc<AtomicBool>,
    notifier: Arc<Notifier>,
}

impl Ends {
    /// Takes the signals from now on. Call it before any other thread starts: threads inherit that they do not get them.
    pub fn catch(notifier: Arc<Notifier>) -> Result<Ends, Failure> {
        let mut signals = SigSet::empty();
        [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().for_each(|signal| signals.add(signal));
        let failed = |error: std::io::Error| Failure::machine(format!("cannot wait for signals: {error}"));
        signals.thread_block().map_err(|error| failed(error.into()))?;
        let interrupted = Arc::new(AtomicBool::new(false));
        let (flag, wake) = (Arc::clone(&interrupted), Arc::clone(&notifier));
        let wait = move || {
            // It fails only for a set that is not valid; then nothing interrupts, and the time limit ends the measurement.
            if signals.wait().is_ok() {
                flag.store(true, Ordering::Release);
                wake.notify();
            }
        };
        std::thread::Builder::new().name("signals".into()).spawn(wait).map_err(failed)?;
        Ok(Ends { interrupted, notifier })
    }

    /// The flag that a signal sets.
    pub fn flag(&self) -> &AtomicBool {
        &self.interrupted
    }

    /// Waits until `done` holds, a signal came or the time is over.
    pub fn wait(&self, limit: Option<Duration>, mut done: impl FnMut() -> bool) {
        const LOOK: Duration = Duration::from_secs(60);
        let deadline = limit.map(|limit| clock::monotonic() + limit);
        loop {
            let seen = self.notifier.generation();
            if self.interrupted.load(Ordering::Acquire) || done() {
                return;
            }
            let left = deadline.map_or(LOOK, |deadline: Time| deadline.since(clock::monotonic()));
            if left.is_zero() {
                return;
            }
            self.notifier.wait(seen, left.min(LOOK));
        }
    }
}
