//! What the elected BSR of a zone does beside: it collects candidate RPs and makes the RP-Set of them (RFC 5059 §3.3).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::time::Time;
use crate::wire::pim::{BootstrapRange, BootstrapRp};

/// Rendezvous points that a range of a message can count.
const RPS_MAX: usize = 255;

/// A group-to-C-RP mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Lower is preferred.
    pub priority: u8,
    /// What it announced, in seconds.
    pub hold_time: u16,
    /// Whether it is for BIDIR-PIM.
    pub bidir: bool,
}

/// The C-RP-Set, and what has become of the messages made of it.
#[derive(Debug, Default)]
pub struct Office {
    candidates: BTreeMap<(IpNet, IpAddr), Candidate>,
    /// Mappings that the next message withdraws.
    withdrawn: BTreeSet<(IpNet, IpAddr)>,
    /// Ranges without mappings, told of until then so that everybody drops them (§4.1.1).
    emptied: BTreeMap<IpNet, Time>,
    /// When a message was last originated.
    pub sent: Option<Time>,
}

impl Office {
    /// A candidate advertised itself for a range; gives whether the RP-Set changes.
    pub fn advertise(&mut self, range: IpNet, rp: IpAddr, candidate: Candidate) -> bool {
        let old = self.candidates.insert((range, rp), candidate);
        let is_back = self.withdrawn.remove(&(range, rp));
        is_back || old.is_none_or(|old| (old.priority, old.bidir) != (candidate.priority, candidate.bidir))
    }

    /// A candidate is gone for a range; gives whether it was there.
    pub fn withdraw(&mut self, range: IpNet, rp: IpAddr) -> bool {
        let was_there = self.candidates.remove(&(range, rp)).is_some();
        if was_there {
            self.withdrawn.insert((range, rp));
        }
        was_there
    }

    /// Whether there is a mapping.
    pub fn has(&self, range: IpNet, rp: IpAddr) -> bool {
        self.candidates.contains_key(&(range, rp))
    }

    /// The group-to-C-RP mappings.
    pub fn candidates(&self) -> &BTreeMap<(IpNet, IpAddr), Candidate> {
        &self.candidates
    }

    /// How much is kept.
    pub fn len(&self) -> usize {
        self.candidates.len() + self.withdrawn.len() + self.emptied.len()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The RP-Set as the next message has it, by range: a hold time below `hold_min` is replaced by that (§3.3). What was withdrawn is in
    /// it with a hold time of zero, and is forgotten; ranges that are empty then, are told of until `until`.
    pub fn compose(&mut self, now: Time, until: Time, hold_min: u16) -> Vec<BootstrapRange> {
        let mut ranges: BTreeMap<IpNet, Vec<(BootstrapRp, bool)>> = BTreeMap::new();
        for ((range, address), candidate) in &self.candidates {
            let hold_time = candidate.hold_time.max(hold_min);
            let rp = BootstrapRp { address: *address, hold_time, priority: candidate.priority };
            ranges.entry(*range).or_default().push((rp, candidate.bidir));
        }
        self.emptied.retain(|range, until| *until > now && !ranges.contains_key(range));
        for (range, address) in std::mem::take(&mut self.withdrawn) {
            if !ranges.contains_key(&range) {
                self.emptied.insert(range, until);
            }
            let rp = BootstrapRp { address, hold_time: 0, priority: u8::MAX };
            ranges.entry(range).or_default().push((rp, false));
        }
        for range in self.emptied.keys() {
            ranges.entry(*range).or_default();
        }
        ranges.into_iter().map(|(range, rps)| told(range, rps)).collect()
    }
}

/// A range as a message has it. Of a range that both protocols' candidates ask for, BIDIR-PIM's are told of (§3.3).
fn told(range: IpNet, mut rps: Vec<(BootstrapRp, bool)>) -> BootstrapRange {
    let bidir = rps.iter().any(|(rp, bidir)| *bidir && rp.hold_time > 0);
    rps.retain(|(rp, is_bidir)| rp.hold_time == 0 || *is_bidir == bidir);
    // Those that count at all, before those that go.
    rps.sort_by_key(|(rp, _)| (rp.hold_time == 0, rp.priority, rp.address));
    rps.truncate(RPS_MAX);
    let rps: Vec<BootstrapRp> = rps.into_iter().map(|(rp, _)| rp).collect();
    BootstrapRange {
        group: range.addr(),
        mask_length: range.prefix_len(),
        bidir,
        scoped: false,
        rp_count: u8::try_from(rps.len()).unwrap_or(u8::MAX),
        rps,
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

    fn candidate(priority: u8) -> Candidate {
        Candidate { priority, hold_time: 150, bidir: false }
    }

    type Told = (String, u8, Vec<(IpAddr, u16)>);

    fn compose(office: &mut Office, at: u64) -> Vec<Told> {
        let ranges = office.compose(Time(at), Time(at + 10), 150);
        let words = |range: BootstrapRange| {
            let rps = range.rps.iter().map(|rp| (rp.address, rp.hold_time)).collect();
            (format!("{}/{}", range.group, range.mask_length), range.rp_count, rps)
        };
        ranges.into_iter().map(words).collect()
    }

    #[test]
    fn only_what_changes_the_rp_set_is_news() {
        let mut office = Office::default();
        let range = net("239.0.0.0/8");
        assert!(office.advertise(range, rp(1), candidate(0)));
        assert!(!office.advertise(range, rp(1), Candidate { hold_time: 200, ..candidate(0) }));
        assert!(office.advertise(range, rp(1), candidate(1)));
        assert!(office.withdraw(range, rp(1)) && !office.withdraw(range, rp(1)));
        assert!(office.advertise(range, rp(1), candidate(1)), "back again");
    }

    #[test]
    fn a_withdrawn_mapping_is_told_of_once_and_its_empty_range_for_a_time() {
        let mut office = Office::default();
        let range = net("239.0.0.0/8");
        office.advertise(range, rp(1), Candidate { hold_time: 10, ..candidate(0) });
        assert_eq!(
            compose(&mut office, 0),
            [("239.0.0.0/8".to_owned(), 1, vec![(rp(1), 150)])],
            "a hold time that is too short"
        );
        office.withdraw(range, rp(1));
        assert_eq!(compose(&mut office, 1), [("239.0.0.0/8".to_owned(), 1, vec![(rp(1), 0)])]);
        assert_eq!(compose(&mut office, 5), [("239.0.0.0/8".to_owned(), 0, vec![])]);
        assert!(compose(&mut office, 11).is_empty() && office.is_empty());
    }

    #[test]
    fn of_both_protocols_bidir_is_told_of() {
        let mut office = Office::default();
        let range = net("239.0.0.0/8");
        office.advertise(range, rp(1), candidate(0));
        office.advertise(range, rp(2), Candidate { bidir: true, ..candidate(9) });
        let ranges = office.compose(Time(0), Time(1), 150);
        assert!(ranges[0].bidir);
        assert_eq!(ranges[0].rps.iter().map(|rp| rp.address).collect::<Vec<_>>(), [rp(2)]);
    }

    #[test]
    fn a_range_tells_of_the_best_it_can_count() {
        let mut office = Office::default();
        for at in 0..300u16 {
            let [high, low] = at.to_be_bytes();
            office.advertise(net("239.0.0.0/8"), [10, 0, high, low].into(), candidate(low));
        }
        let ranges = office.compose(Time(0), Time(1), 150);
        assert_eq!((ranges[0].rp_count, ranges[0].rps.len()), (255, 255));
        assert!(ranges[0].rps.iter().all(|rp| rp.priority < 255));
    }
}
