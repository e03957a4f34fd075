//! A table of named timers: each runs to one deadline, and the earliest comes out first.

use std::collections::{BTreeMap, BTreeSet};

use crate::time::Time;

/// Timers by name. A name has at most one deadline; setting it anew replaces the old one.
#[derive(Clone, Debug)]
pub struct Timers<K> {
    deadlines: BTreeMap<K, Time>,
    queue: BTreeSet<(Time, K)>,
}

impl<K: Ord + Copy> Default for Timers<K> {
    fn default() -> Timers<K> {
        Timers { deadlines: BTreeMap::new(), queue: BTreeSet::new() }
    }
}

impl<K: Ord + Copy> Timers<K> {
    /// Starts a timer, or moves it.
    pub fn set(&mut self, timer: K, deadline: Time) {
        if let Some(old) = self.deadlines.insert(timer, deadline) {
            self.queue.remove(&(old, timer));
        }
        self.queue.insert((deadline, timer));
    }

    /// Brings a running timer forward to `deadline`; one that ends sooner, or does not run, stays as it is.
    pub fn lower(&mut self, timer: K, deadline: Time) {
        if self.deadline(timer).is_some_and(|old| old > deadline) {
            self.set(timer, deadline);
        }
    }

    /// Stops a timer; gives whether it was running.
    pub fn cancel(&mut self, timer: K) -> bool {
        match self.deadlines.remove(&timer) {
            Some(old) => self.queue.remove(&(old, timer)),
            None => false,
        }
    }

    /// Stops all timers.
    pub fn clear(&mut self) {
        self.deadlines.clear();
        self.queue.clear();
    }

    /// When a timer runs out, if it runs.
    pub fn deadline(&self, timer: K) -> Option<Time> {
        self.deadlines.get(&timer).copied()
    }

    /// Whether a timer runs.
    pub fn is_running(&self, timer: K) -> bool {
        self.deadlines.contains_key(&timer)
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Time> {
        self.queue.first().map(|(deadline, _)| *deadline)
    }

    /// Takes out the earliest timer that has run out by `now`; equal deadlines come in the order of the names.
    pub fn pop_due(&mut self, now: Time) -> Option<K> {
        let (deadline, timer) = *self.queue.first()?;
        if deadline > now {
            return None;
        }
        self.cancel(timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_deadline_comes_first_and_names_break_ties() {
        let mut timers = Timers::default();
        timers.set('b', Time(5));
        timers.set('a', Time(5));
        timers.set('c', Time(1));
        timers.set('c', Time(9));
        assert_eq!(timers.next(), Some(Time(5)));
        assert_eq!(timers.pop_due(Time(4)), None);
        assert_eq!(timers.pop_due(Time(5)), Some('a'));
        assert_eq!(timers.pop_due(Time(5)), Some('b'));
        assert_eq!(timers.pop_due(Time(8)), None);
        assert!(timers.cancel('c'));
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn lowering_never_postpones_nor_starts() {
        let mut timers = Timers::default();
        timers.lower('a', Time(3));
        assert!(!timers.is_running('a'));
        timers.set('a', Time(5));
        timers.lower('a', Time(7));
        assert_eq!(timers.deadline('a'), Some(Time(5)));
        timers.lower('a', Time(2));
        assert_eq!(timers.deadline('a'), Some(Time(2)));
    }
}
