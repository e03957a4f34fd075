//! Checks a stream's sequence numbers one by one, in constant space: for rates at which no record of every packet can be kept.

/// How far behind the highest number so far a packet may arrive and still be told from a copy.
pub const WINDOW: u64 = 1 << 16;

/// Counts what is missing, late or double in a run of sequence numbers.
#[derive(Clone, Debug)]
pub struct SequenceCheck {
    first: Option<u64>,
    next: u64,
    seen: Box<[u64]>,
    received: u64,
    duplicated: u64,
    reordered: u64,
    too_late: u64,
}

impl Default for SequenceCheck {
    fn default() -> SequenceCheck {
        SequenceCheck {
            first: None,
            next: 0,
            seen: vec![0; (WINDOW / 64) as usize].into(),
            received: 0,
            duplicated: 0,
            reordered: 0,
            too_late: 0,
        }
    }
}

impl SequenceCheck {
    /// The next packet in order of arrival.
    #[inline]
    pub fn take(&mut self, sequence: u64) {
        if sequence == self.next && self.first.is_some() && sequence < u64::MAX {
            self.set(sequence);
            self.next = sequence + 1;
            self.received += 1;
        } else {
            self.take_other(sequence);
        }
    }

    fn take_other(&mut self, sequence: u64) {
        if sequence == u64::MAX {
            // No sender gets there, and `next` could not go beyond it.
            self.too_late += 1;
            return;
        }
        if self.first.is_none() {
            // What was sent before the first packet that arrives is not counted, unless it arrives.
            self.first = Some(sequence);
            self.next = sequence;
        }
        if sequence >= self.next {
            let skipped = (sequence - self.next).min(WINDOW);
            (sequence - skipped..sequence).for_each(|missing| self.clear(missing));
            self.set(sequence);
            self.next = sequence + 1;
            self.received += 1;
        } else if self.next - sequence > WINDOW {
            self.too_late += 1;
        } else if self.first.is_some_and(|first| sequence < first) {
            // Before the first one: the run starts here, and what lies between is missing as yet.
            let first = self.first.replace(sequence).unwrap_or(sequence);
            (sequence..first).for_each(|missing| self.clear(missing));
            self.set(sequence);
            self.received += 1;
            self.reordered += 1;
        } else if self.is_set(sequence) {
            self.duplicated += 1;
        } else {
            self.set(sequence);
            self.received += 1;
            self.reordered += 1;
        }
    }

    /// Packets that arrived, copies not counted.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Packets between the least and the highest number that did not arrive.
    pub fn lost(&self) -> u64 {
        self.first.map_or(0, |first| (self.next - first).saturating_sub(self.received))
    }

    /// Copies beyond the first of each packet.
    pub fn duplicated(&self) -> u64 {
        self.duplicated
    }

    /// Packets that arrived after one with a higher number (RFC 4737 §3.3).
    pub fn reordered(&self) -> u64 {
        self.reordered
    }

    /// Packets more than [`WINDOW`] behind (late ones, which then count as lost too, or copies), or with the number that no sender gets to.
    pub fn too_late(&self) -> u64 {
        self.too_late
    }

    fn set(&mut self, sequence: u64) {
        let (word, bit) = place(sequence);
        self.seen[word] |= bit;
    }

    fn clear(&mut self, sequence: u64) {
        let (word, bit) = place(sequence);
        self.seen[word] &= !bit;
    }

    fn is_set(&self, sequence: u64) -> bool {
        let (word, bit) = place(sequence);
        self.seen[word] & bit != 0
    }
}

#[inline]
fn place(sequence: u64) -> (usize, u64) {
    ((sequence % WINDOW / 64) as usize, 1 << (sequence % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn check(sequences: impl IntoIterator<Item = u64>) -> (u64, u64, u64, u64, u64) {
        let mut check = SequenceCheck::default();
        sequences.into_iter().for_each(|sequence| check.take(sequence));
        (check.received(), check.lost(), check.duplicated(), check.reordered(), check.too_late())
    }

    #[test]
    fn a_run_in_order_is_clean_wherever_it_starts() {
        assert_eq!(check([]), (0, 0, 0, 0, 0));
        assert_eq!(check(0..200_000), (200_000, 0, 0, 0, 0));
        assert_eq!(check(77..200_000), (199_923, 0, 0, 0, 0));
        assert_eq!(check([u64::MAX - 1, u64::MAX - 1, u64::MAX, u64::MAX]), (1, 0, 1, 0, 2));
    }

    #[test]
    fn faults_are_counted_apart() {
        assert_eq!(check([0, 1, 4, 5]), (4, 2, 0, 0, 0));
        assert_eq!(check([0, 1, 1, 2, 0]), (3, 0, 2, 0, 0));
        assert_eq!(check([0, 2, 1, 3]), (4, 0, 0, 1, 0));
        assert_eq!(check([5, 4, 6]), (3, 0, 0, 1, 0), "the first to arrive is not the first of the run");
        assert_eq!(check([5, 2, 2, 6]), (3, 2, 1, 1, 0));
    }

    #[test]
    fn numbers_beyond_the_window_are_said_to_be_so() {
        assert_eq!(check([0, WINDOW + 5, 1, 0]), (2, WINDOW + 4, 0, 0, 2));
        assert_eq!(check([0, 10 * WINDOW + 1, 10 * WINDOW]), (3, 10 * WINDOW - 1, 0, 1, 0), "old marks are gone");
    }

    proptest! {
        #[test]
        fn counts_agree_with_a_set(sequences in proptest::collection::vec(0u64..300, 1..400), base in prop::sample::select(vec![0, WINDOW - 100, 1 << 40])) {
            let (received, lost, duplicated, reordered, too_late) = check(sequences.iter().map(|s| s + base));
            let distinct: BTreeSet<_> = sequences.iter().collect();
            let span = **distinct.last().unwrap() - **distinct.first().unwrap() + 1;
            prop_assert_eq!(received, distinct.len() as u64);
            prop_assert_eq!(lost, span - received);
            prop_assert_eq!(duplicated, sequences.len() as u64 - received);
            prop_assert_eq!(too_late, 0);
            let mut seen = BTreeSet::new();
            let late = sequences.iter().filter(|s| seen.insert(**s) && seen.last() != Some(s)).count();
            prop_assert_eq!(reordered, late as u64);
        }
    }
}
