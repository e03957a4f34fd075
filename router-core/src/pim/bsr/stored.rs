//! The last message of the current BSR, kept whole: to refresh the RP-Set and to prime new neighbours (RFC 5059 §3.1.5).

use super::weight::Weight;
use crate::time::Time;
use crate::wire::pim::Bootstrap;

/// The current BSR and the fragments of its last message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its weight.
    pub weight: Weight,
    /// The hash mask length that it announces.
    pub hash_mask_length: u8,
    /// When it became the BSR.
    pub since: Time,
    fragments: Vec<Bootstrap>,
    size: usize,
}

/// What a fragment counts as where fragments are bounded: itself, its ranges and their rendezvous points.
fn size(message: &Bootstrap) -> usize {
    1 + message.ranges.iter().map(|range| 1 + range.rps.len()).sum::<usize>()
}

impl Stored {
    /// A BSR of which no message is kept yet.
    pub fn new(weight: Weight, since: Time) -> Stored {
        Stored { weight, hash_mask_length: 0, since, fragments: Vec::new(), size: 0 }
    }

    /// Takes a fragment in: one with another tag begins another message. Of fragments over `most` in size nothing is kept.
    pub fn keep(&mut self, message: &Bootstrap, most: usize) {
        // Whether it was to be forwarded makes no difference to what is kept.
        let message = Bootstrap { no_forward: false, ..message.clone() };
        self.hash_mask_length = message.hash_mask_length;
        if self.fragments.first().is_some_and(|first| first.fragment_tag != message.fragment_tag) {
            self.fragments.clear();
            self.size = 0;
        }
        if self.size + size(&message) <= most && !self.fragments.contains(&message) {
            self.size += size(&message);
            self.fragments.push(message);
        }
    }

    /// The fragments of the last message.
    pub fn fragments(&self) -> &[Bootstrap] {
        &self.fragments
    }

    /// How much is kept.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Whether its last message tells of no rendezvous point.
    pub fn is_empty(&self) -> bool {
        self.fragments.iter().all(|message| message.ranges.iter().all(|range| range.rps.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::pim::BootstrapRange;

    fn message(fragment_tag: u16, second: u8) -> Bootstrap {
        let range = BootstrapRange {
            group: [239, second, 0, 0].into(),
            mask_length: 16,
            bidir: false,
            scoped: false,
            rp_count: 0,
            rps: vec![],
        };
        let address = [10, 0, 0, 1].into();
        Bootstrap { no_forward: true, fragment_tag, hash_mask_length: 30, priority: 64, address, ranges: vec![range] }
    }

    #[test]
    fn fragments_of_one_tag_are_kept_once_each_and_no_more_than_there_is_room_for() {
        let mut stored = Stored::new(Weight { priority: 64, address: [10, 0, 0, 1].into() }, Time::ZERO);
        for second in [1, 2, 1, 3] {
            stored.keep(&message(7, second), 4);
        }
        let kept = |second| Bootstrap { no_forward: false, ..message(7, second) };
        assert_eq!(stored.fragments(), [kept(1), kept(2)]);
        stored.keep(&message(8, 9), 4);
        assert_eq!((stored.fragments().len(), stored.size()), (1, 2));
    }
}
