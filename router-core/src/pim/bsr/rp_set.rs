//! The group-to-RP mappings of a zone, as its BSR's messages tell (RFC 5059 §3.1.5 Store RP-Set, §4.1.1).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::pim::rp::Learned;
use crate::wire::pim::{BootstrapRange, BootstrapRp};

/// What storing a message has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// GET(M,Z) to this many seconds.
    pub held: Vec<(IpNet, IpAddr, u16)>,
    /// Mappings that are gone, with their timers.
    pub gone: Vec<(IpNet, IpAddr)>,
    /// Ranges that were looked at.
    pub ranges: BTreeSet<IpNet>,
    /// Mappings for which there was no room.
    pub refused: usize,
}

/// The mappings of a zone, and those of ranges that have come in part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RpSet {
    /// The mask length of the hash function.
    pub hash_mask_length: u8,
    ranges: BTreeMap<IpNet, Learned>,
    count: usize,
    /// Ranges whose rendezvous points are spread over several fragments with this tag, as far as they have come.
    partial: BTreeMap<IpNet, BTreeMap<IpAddr, BootstrapRp>>,
    tag: Option<u16>,
}

impl RpSet {
    /// Takes the ranges of a fragment with a tag; `room` more mappings may be kept. Ranges that are cut short wait for the fragments with
    /// the rest; one of another tag ends the waiting.
    pub fn store(&mut self, tag: u16, ranges: &[(IpNet, &BootstrapRange)], room: usize) -> Changes {
        if self.tag != Some(tag) {
            self.tag = Some(tag);
            self.partial.clear();
        }
        let mut changes = Changes::default();
        let most = self.count.saturating_add(room);
        for (range, told) in ranges {
            let whole: BTreeMap<IpAddr, BootstrapRp> = told.rps.iter().map(|rp| (rp.address, *rp)).collect();
            if told.rps.len() >= usize::from(told.rp_count) {
                self.partial.remove(range);
                self.replace(*range, told.bidir, &whole, most, &mut changes);
                continue;
            }
            let waiting: usize = self.partial.values().map(BTreeMap::len).sum();
            if waiting + whole.len() > most {
                changes.refused += whole.len();
                continue;
            }
            let parts = self.partial.entry(*range).or_default();
            parts.extend(whole);
            if parts.len() >= usize::from(told.rp_count) {
                let whole = self.partial.remove(range).unwrap_or_default();
                self.replace(*range, told.bidir, &whole, most, &mut changes);
            }
        }
        // A message may tell of a range twice: the last counts.
        changes.held.retain(|(range, rp, _)| self.has(range, rp));
        changes.gone.retain(|(range, rp)| !self.has(range, rp));
        changes
    }

    fn has(&self, range: &IpNet, rp: &IpAddr) -> bool {
        self.ranges.get(range).is_some_and(|learned| learned.rps.contains_key(rp))
    }

    /// The whole of a range: mappings that are not told of go, those with a hold time of zero too.
    fn replace(
        &mut self,
        range: IpNet,
        bidir: bool,
        told: &BTreeMap<IpAddr, BootstrapRp>,
        most: usize,
        changes: &mut Changes,
    ) {
        let old = self.ranges.remove(&range).unwrap_or_default();
        self.count -= old.rps.len();
        let mut new = Learned { bidir, rps: BTreeMap::new() };
        for (address, rp) in told.iter().filter(|(_, rp)| rp.hold_time > 0) {
            if self.count + new.rps.len() >= most {
                changes.refused += 1;
                continue;
            }
            new.rps.insert(*address, rp.priority);
            changes.held.push((range, *address, rp.hold_time));
        }
        let is_gone = |rp: &&IpAddr| !new.rps.contains_key(*rp);
        changes.gone.extend(old.rps.keys().filter(is_gone).map(|rp| (range, *rp)));
        changes.ranges.insert(range);
        self.count += new.rps.len();
        if !new.rps.is_empty() {
            self.ranges.insert(range, new);
        }
    }

    /// GET(M,Z) has run out.
    pub fn expire(&mut self, range: IpNet, rp: IpAddr) {
        let Some(learned) = self.ranges.get_mut(&range) else { return };
        if learned.rps.remove(&rp).is_some() {
            self.count -= 1;
        }
        if learned.rps.is_empty() {
            self.ranges.remove(&range);
        }
    }

    /// What is known of a range; nothing if it is unknown.
    pub fn get(&self, range: &IpNet) -> Learned {
        self.ranges.get(range).cloned().unwrap_or_default()
    }

    /// All ranges.
    pub fn ranges(&self) -> &BTreeMap<IpNet, Learned> {
        &self.ranges
    }

    /// How many mappings there are, those that wait for their range's rest among them.
    pub fn len(&self) -> usize {
        self.count + self.partial.values().map(BTreeMap::len).sum::<usize>()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn rp(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    fn range(groups: IpNet, count: u8, rps: &[(u8, u16)]) -> BootstrapRange {
        BootstrapRange {
            group: groups.addr(),
            mask_length: groups.prefix_len(),
            bidir: false,
            scoped: false,
            rp_count: count,
            rps: rps
                .iter()
                .map(|(last, hold_time)| BootstrapRp { address: rp(*last), hold_time: *hold_time, priority: 0 })
                .collect(),
        }
    }

    fn store(set: &mut RpSet, tag: u16, groups: &str, count: u8, rps: &[(u8, u16)]) -> Changes {
        let told = range(net(groups), count, rps);
        set.store(tag, &[(net(groups), &told)], 100)
    }

    #[test]
    fn a_range_is_replaced_as_a_whole() {
        let mut set = RpSet::default();
        let changes = store(&mut set, 1, "239.0.0.0/8", 2, &[(1, 150), (2, 150)]);
        assert_eq!(changes.held.len(), 2);
        let changes = store(&mut set, 2, "239.0.0.0/8", 2, &[(2, 100), (3, 150)]);
        assert_eq!(changes.gone, [(net("239.0.0.0/8"), rp(1))]);
        let changes = store(&mut set, 3, "239.0.0.0/8", 2, &[(2, 0), (3, 150)]);
        assert_eq!(changes.gone, [(net("239.0.0.0/8"), rp(2))], "a hold time of zero");
        let changes = store(&mut set, 4, "239.0.0.0/8", 0, &[]);
        assert_eq!((changes.gone, set.is_empty()), (vec![(net("239.0.0.0/8"), rp(3))], true));
    }

    #[test]
    fn a_range_in_parts_changes_nothing_until_all_have_come() {
        let mut set = RpSet::default();
        store(&mut set, 1, "239.0.0.0/8", 1, &[(9, 150)]);
        assert!(store(&mut set, 2, "239.0.0.0/8", 3, &[(1, 150), (2, 150)]).ranges.is_empty());
        assert!(
            store(&mut set, 2, "239.0.0.0/8", 3, &[(1, 150), (2, 150)]).ranges.is_empty(),
            "the same fragment again"
        );
        assert_eq!(set.get(&net("239.0.0.0/8")).rps.len(), 1);
        assert!(store(&mut set, 3, "239.0.0.0/8", 3, &[(3, 150)]).ranges.is_empty(), "of another message");
        let changes = store(&mut set, 3, "239.0.0.0/8", 3, &[(1, 150), (2, 150)]);
        assert_eq!((changes.held.len(), changes.gone.len(), set.len()), (3, 1, 3));
    }

    #[test]
    fn of_a_range_that_is_told_of_twice_the_last_counts() {
        let (first, last) = (range(net("239.0.0.0/8"), 1, &[(1, 150)]), range(net("239.0.0.0/8"), 1, &[(2, 150)]));
        let groups = net("239.0.0.0/8");
        let mut set = RpSet::default();
        for _ in 0..2 {
            let changes = set.store(1, &[(groups, &first), (groups, &last)], 100);
            assert_eq!((changes.held, changes.gone), (vec![(groups, rp(2), 150)], vec![(groups, rp(1))]));
        }
        let changes = set.store(1, &[(groups, &first), (groups, &last), (groups, &first)], 100);
        assert_eq!(set.len(), 1);
        assert!(changes.held.iter().all(|(_, held, _)| *held == rp(1)) && changes.gone.contains(&(groups, rp(2))));
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let mut set = RpSet::default();
        let all: Vec<(u8, u16)> = (1..=9).map(|last| (last, 150)).collect();
        let told = range(net("239.0.0.0/8"), 9, &all);
        let changes = set.store(1, &[(net("239.0.0.0/8"), &told)], 4);
        assert_eq!((changes.refused, set.len()), (5, 4));
        let told = range(net("238.0.0.0/8"), 20, &all);
        let changes = set.store(1, &[(net("238.0.0.0/8"), &told)], 0);
        assert_eq!((changes.refused, set.len()), (9, 4));
    }
}
