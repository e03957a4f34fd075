//! What is to happen: events by time, those of one time in the order in which they were put there.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use crate::network::Time;

/// Events to come.
#[derive(Debug)]
pub struct Queue<E> {
    heap: BinaryHeap<Reverse<Waiting<E>>>,
    next: u64,
}

#[derive(Debug)]
struct Waiting<E> {
    time: Time,
    number: u64,
    event: E,
}

impl<E> Waiting<E> {
    fn key(&self) -> (Time, u64) {
        (self.time, self.number)
    }
}

impl<E> PartialEq for Waiting<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<E> Eq for Waiting<E> {}

impl<E> PartialOrd for Waiting<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Waiting<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl<E> Default for Queue<E> {
    fn default() -> Queue<E> {
        Queue { heap: BinaryHeap::new(), next: 0 }
    }
}

impl<E> Queue<E> {
    /// Puts an event there.
    pub fn push(&mut self, time: Time, event: E) {
        let number = self.next;
        self.next += 1;
        self.heap.push(Reverse(Waiting { time, number, event }));
    }

    /// Takes the next event if it is due by a time.
    pub fn pop_by(&mut self, limit: Time) -> Option<(Time, E)> {
        if self.heap.peek()?.0.time > limit {
            return None;
        }
        self.heap.pop().map(|Reverse(waiting)| (waiting.time, waiting.event))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn events_come_by_time_and_then_in_their_order(times in proptest::collection::vec(0u64..8, 0..60)) {
            let mut queue = Queue::default();
            for (number, time) in times.iter().enumerate() {
                queue.push(Time(*time), number);
            }
            let mut expected: Vec<(u64, usize)> = times.iter().copied().zip(0..).collect();
            expected.sort_unstable();
            let mut came = Vec::new();
            while let Some((time, number)) = queue.pop_by(Time(8)) {
                came.push((time.0, number));
            }
            prop_assert_eq!(came, expected);
        }
    }

    #[test]
    fn what_is_not_due_stays() {
        let mut queue = Queue::default();
        queue.push(Time(5), 'a');
        assert_eq!(queue.pop_by(Time(4)), None);
        queue.push(Time(4), 'b');
        assert_eq!(queue.pop_by(Time(5)), Some((Time(4), 'b')));
        assert_eq!(queue.pop_by(Time(5)), Some((Time(5), 'a')));
        assert_eq!(queue.pop_by(Time(u64::MAX)), None);
    }
}
