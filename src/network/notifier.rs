//! Wakes whoever waits for the network to change: receivers, taps and event streams notify, `run_until` waits.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Counts changes and wakes a waiter. Share it in an [`std::sync::Arc`].
///
/// [`Notifier::notify`] is cheap while nobody waits (an uncontended lock, no system call), so that it may be called for every batch of packets.
#[derive(Debug, Default)]
pub struct Notifier {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    generation: u64,
    waiting: usize,
}

impl Notifier {
    /// A notifier at generation 0.
    pub fn new() -> Notifier {
        Notifier::default()
    }

    /// Says that something changed.
    pub fn notify(&self) {
        let mut state = self.lock();
        state.generation = state.generation.wrapping_add(1);
        if state.waiting > 0 {
            self.changed.notify_all();
        }
    }

    /// The number of changes so far: read it *before* looking at the state that may change, then hand it to [`Notifier::wait`].
    pub fn generation(&self) -> u64 {
        self.lock().generation
    }

    /// Waits until something changed since `seen`, at most `limit`. Gives the generation then, which is `seen` if nothing changed.
    pub fn wait(&self, seen: u64, limit: Duration) -> u64 {
        let deadline = Instant::now().checked_add(limit);
        let mut state = self.lock();
        state.waiting += 1;
        while state.generation == seen {
            let left = deadline.map_or(limit, |at| at.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                break;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.waiting -= 1;
        state.generation
    }

    // A panic elsewhere cannot leave the two counters in a state that matters.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::thread;

    #[test]
    fn a_change_before_the_wait_is_not_missed() {
        let notifier = Notifier::new();
        let seen = notifier.generation();
        notifier.notify();
        assert_ne!(notifier.wait(seen, Duration::from_secs(60)), seen);
    }

    #[test]
    fn a_waiter_is_woken_by_another_thread() {
        let notifier = Arc::new(Notifier::new());
        let seen = notifier.generation();
        let other = Arc::clone(&notifier);
        let thread = thread::spawn(move || other.notify());
        assert_ne!(notifier.wait(seen, Duration::from_secs(60)), seen);
        thread.join().unwrap();
    }

    #[test]
    fn a_wait_ends_at_its_limit() {
        let notifier = Notifier::new();
        assert_eq!(notifier.wait(0, Duration::from_millis(5)), 0);
    }
}
