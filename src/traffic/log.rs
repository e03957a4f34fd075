//! An append-only record that one thread writes and others read without holding it up.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Entries of a full chunk.
const CHUNK: usize = 4096;

/// A bounded, append-only list. Readers copy outside the lock: all that they hold it for is at most one open chunk.
#[derive(Debug)]
pub struct Log<T> {
    limit: usize,
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    full: Vec<Arc<[T]>>,
    open: Vec<T>,
}

impl<T: Copy> Log<T> {
    /// An empty log of at most `limit` entries.
    pub fn new(limit: usize) -> Log<T> {
        Log { limit, state: Mutex::new(State { full: Vec::new(), open: Vec::new() }) }
    }

    /// Adds an entry, unless the log is full. Gives whether it was added.
    pub fn push(&self, entry: T) -> bool {
        let mut state = self.lock();
        if state.full.len() * CHUNK + state.open.len() >= self.limit {
            return false;
        }
        state.open.push(entry);
        if state.open.len() == CHUNK {
            let chunk = state.open.as_slice().into();
            state.full.push(chunk);
            state.open.clear();
        }
        true
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        let state = self.lock();
        state.full.len() * CHUNK + state.open.len()
    }

    /// A copy of all entries but the first `skip`.
    pub fn copy_from(&self, skip: usize) -> Vec<T> {
        let (chunks, open) = {
            let state = self.lock();
            let chunks = state.full.get(skip / CHUNK..).unwrap_or_default().to_vec();
            let open_starts = state.full.len() * CHUNK;
            let open = state.open.get(skip.saturating_sub(open_starts)..).unwrap_or_default().to_vec();
            (chunks, open)
        };
        let mut entries = Vec::with_capacity(chunks.len() * CHUNK + open.len());
        for (index, chunk) in chunks.iter().enumerate() {
            let from = if index == 0 { skip % CHUNK } else { 0 };
            entries.extend_from_slice(&chunk[from..]);
        }
        entries.extend(open);
        entries
    }

    // A panic elsewhere cannot leave the lists half changed in a way that matters.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_full_log_takes_no_more() {
        let log = Log::new(2);
        assert_eq!(log.len(), 0);
        assert!(log.push(1) && log.push(2));
        assert!(!log.push(3));
        assert_eq!((log.len(), log.copy_from(0)), (2, vec![1, 2]));
    }

    proptest! {
        #[test]
        fn copies_are_what_was_pushed(count in 0..3 * CHUNK + 10, skip in 0..4 * CHUNK) {
            let log = Log::new(usize::MAX);
            for entry in 0..count {
                prop_assert!(log.push(entry));
            }
            prop_assert_eq!(log.len(), count);
            prop_assert_eq!(log.copy_from(skip), (skip.min(count)..count).collect::<Vec<_>>());
        }

        #[test]
        fn copies_at_the_edges_of_chunks_are_whole(chunks in 0usize..4, more in 0usize..2, skipped in 0usize..4, further in 0usize..2) {
            let (count, skip) = (chunks * CHUNK + more, skipped * CHUNK + further);
            let log = Log::new(usize::MAX);
            (0..count).for_each(|entry| { log.push(entry); });
            prop_assert_eq!(log.copy_from(skip), (skip.min(count)..count).collect::<Vec<_>>());
        }
    }
}
