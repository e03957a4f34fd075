//! Joins and prunes that are to be sent, gathered until an event is dealt with, so that few messages carry them (RFC 7761 §4.9.5).

use std::net::IpAddr;

use crate::pim::Sent;
use crate::pim::bundle;
use crate::router::InterfaceId;
use crate::wire::pim::{ALL_PIM_ROUTERS, EncodedSource, GroupSet, JoinPrune, Message};

/// To join or to prune.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// A join.
    Join,
    /// A prune.
    Prune,
}

/// What an entry of a source list is about (§4.9.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// (*,G), with the rendezvous point.
    All(IpAddr),
    /// (S,G,rpt).
    Rpt(IpAddr),
    /// (S,G).
    Source(IpAddr),
}

/// A join or a prune to an upstream neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// The interface that the neighbour is on.
    pub interface: InterfaceId,
    /// The neighbour.
    pub upstream: IpAddr,
    /// The group.
    pub group: IpAddr,
    /// The entry.
    pub about: About,
    /// What is said of it.
    pub word: Word,
}

impl Said {
    /// Its place among all: by neighbour, then group, (*,G) before (S,G,rpt) before (S,G).
    fn place(&self) -> (InterfaceId, IpAddr, IpAddr, u8, Option<IpAddr>) {
        let (kind, source) = match self.about {
            About::All(_) => (0, None),
            About::Rpt(source) => (1, Some(source)),
            About::Source(source) => (2, Some(source)),
        };
        (self.interface, self.upstream, self.group, kind, source)
    }

    fn is_of_set(&self, other: &Said) -> bool {
        (self.interface, self.upstream, self.group) == (other.interface, other.upstream, other.group)
    }
}

/// Puts what is said in order. Of each entry what was said last counts (§4.9.5.1: never both). With a Join(*,G) go the Prune(S,G,rpt) that
/// `prunes` gives for its group, and nothing else of (S,G,rpt) (§4.5.6).
pub fn in_order(mut all: Vec<Said>, prunes: impl Fn(IpAddr) -> Vec<IpAddr>) -> Vec<Said> {
    all.sort_by_key(Said::place);
    all.dedup_by(|later, earlier| {
        let is_same = later.place() == earlier.place();
        if is_same {
            *earlier = *later;
        }
        is_same
    });
    let mut ordered: Vec<Said> = Vec::with_capacity(all.len());
    let mut joined: Option<Said> = None;
    for said in all {
        match said.about {
            About::Rpt(_) if joined.is_some_and(|joined| joined.is_of_set(&said)) => continue,
            _ => ordered.push(said),
        }
        if matches!((said.about, said.word), (About::All(_), Word::Join)) {
            let prune = |source| Said { about: About::Rpt(source), word: Word::Prune, ..said };
            ordered.extend(prunes(said.group).into_iter().map(prune));
            joined = Some(said);
        }
    }
    ordered
}

fn encoded(address: IpAddr, wildcard: bool, rpt: bool) -> EncodedSource {
    let mask_length = if address.is_ipv4() { 32 } else { 128 };
    EncodedSource { address, mask_length, sparse: true, wildcard, rpt }
}

/// Octets that are left for group sets in a packet of `mtu` octets to an upstream neighbour.
pub struct Room {
    /// Of an empty message.
    left: usize,
}

impl Room {
    /// In a packet.
    pub fn new(upstream: IpAddr, mtu: u32) -> Room {
        let empty = bundle::size(&JoinPrune { upstream, hold_time: 0, groups: Vec::new() });
        Room { left: (mtu as usize).saturating_sub(empty) }
    }

    /// How many sources a group set may name.
    fn sources(&self, group: IpAddr) -> usize {
        let set = GroupSet { group, mask_length: 0, joined: Vec::new(), pruned: Vec::new() };
        (self.left.saturating_sub(bundle::size_of_set(&set)) / bundle::encoded(group)).max(2)
    }
}

/// The group sets that say what is said of a group to one neighbour, in order. What does not fit one is in the next; only a Join(*,G) keeps its
/// prunes, of which the lowest addresses count (§4.9.5.2).
fn sets(of_group: &[Said], room: &Room, rpt_bit: bool) -> Vec<GroupSet> {
    let Some(Said { group, about, word: first, .. }) = of_group.first().copied() else { return Vec::new() };
    let most = room.sources(group);
    let mask_length = if group.is_ipv4() { 32 } else { 128 };
    let empty = || GroupSet { group, mask_length, joined: Vec::new(), pruned: Vec::new() };
    let all = matches!(about, About::All(_)).then_some(first);
    let (mut sets, mut set) = (Vec::new(), empty());
    for said in of_group {
        let source = match (said.about, all) {
            (About::All(rp), _) => encoded(rp, true, rpt_bit),
            // Its prunes are in the same set, or nowhere; and a Prune(*,G) says it all.
            (About::Rpt(_), Some(Word::Join)) if set.joined.len() + set.pruned.len() >= most => continue,
            (About::Rpt(_), Some(Word::Prune)) => continue,
            (About::Rpt(source), _) => encoded(source, false, true),
            (About::Source(source), _) => encoded(source, false, false),
        };
        if set.joined.len() + set.pruned.len() >= most {
            sets.push(std::mem::replace(&mut set, empty()));
        }
        match said.word {
            Word::Join => set.joined.push(source),
            Word::Prune => set.pruned.push(source),
        }
    }
    sets.push(set);
    sets
}

/// The messages that say it, in order: to neighbours of whom something is asked first, so that a new way is there before an old one goes.
pub fn messages(ordered: &[Said], hold_time: u16, rpt_bit: bool, mtu: impl Fn(InterfaceId) -> u32) -> Vec<Sent> {
    let mut messages: Vec<Sent> = Vec::new();
    let to_neighbours = || ordered.chunk_by(|a, b| (a.interface, a.upstream) == (b.interface, b.upstream));
    let asks = |chunk: &&[Said]| chunk.iter().any(|said| said.word == Word::Join);
    for chunk in to_neighbours().filter(asks).chain(to_neighbours().filter(|chunk| !asks(chunk))) {
        let (interface, upstream) = (chunk[0].interface, chunk[0].upstream);
        let room = Room::new(upstream, mtu(interface));
        let mut filling = None::<(JoinPrune, usize)>;
        let mut sent = |message: JoinPrune| {
            let message = Message::JoinPrune(message);
            messages.push(Sent { interface, destination: ALL_PIM_ROUTERS.into(), message });
        };
        for of_group in chunk.chunk_by(|a, b| a.group == b.group) {
            for set in sets(of_group, &room, rpt_bit) {
                let size = bundle::size_of_set(&set);
                match &mut filling {
                    Some((message, used))
                        if *used + size <= room.left
                            && message.groups.len() < bundle::GROUPS_MAX
                            // One set a group and message (§4.9.5.1).
                            && message.groups.last().is_none_or(|last| last.group != set.group) =>
                    {
                        message.groups.push(set);
                        *used += size;
                    }
                    _ => {
                        let new = JoinPrune { upstream, hold_time, groups: vec![set] };
                        if let Some((full, _)) = filling.replace((new, size)) {
                            sent(full);
                        }
                    }
                }
            }
        }
        if let Some((message, _)) = filling {
            sent(message);
        }
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(upstream: u8, about: About, word: Word) -> Said {
        let group = [239, 1, 1, 1].into();
        Said { interface: InterfaceId(1), upstream: [10, 0, 0, upstream].into(), group, about, word }
    }

    fn source(number: u8) -> IpAddr {
        [10, 9, 0, number].into()
    }

    #[test]
    fn the_last_word_counts_and_a_join_of_all_has_its_own_prunes() {
        use Word::{Join, Prune};
        let rp = source(77);
        let all = vec![
            said(2, About::Source(source(5)), Join),
            said(2, About::Rpt(source(3)), Join),
            said(2, About::All(source(76)), Prune),
            said(2, About::Source(source(5)), Prune),
            said(2, About::All(rp), Join),
            said(1, About::Rpt(source(3)), Prune),
        ];
        let ordered = in_order(all, |_| vec![source(8), source(9)]);
        let expected = [
            said(1, About::Rpt(source(3)), Prune),
            said(2, About::All(rp), Join),
            said(2, About::Rpt(source(8)), Prune),
            said(2, About::Rpt(source(9)), Prune),
            said(2, About::Source(source(5)), Prune),
        ];
        assert_eq!(ordered, expected);
        let messages = messages(&ordered, 210, true, |_| 1500);
        let [first, second] = &messages[..] else { panic!("{messages:?}") };
        let Message::JoinPrune(asking) = &first.message else { panic!() };
        assert_eq!((asking.upstream, asking.groups.len()), ([10, 0, 0, 2].into(), 1), "who is asked comes first");
        let [set] = &asking.groups[..] else { panic!() };
        assert_eq!((set.joined.len(), set.pruned.len()), (1, 3));
        assert!(set.joined[0].wildcard && set.pruned[0].rpt && !set.pruned[2].rpt);
        assert!(matches!(&second.message, Message::JoinPrune(only) if only.groups[0].pruned.len() == 1));
    }

    #[test]
    fn what_does_not_fit_is_in_the_next_message_but_prunes_stay_with_their_join() {
        let sources = |about: fn(IpAddr) -> About| (1..=250).map(move |n| said(2, about(source(n)), Word::Prune));
        let sizes = |ordered: &[Said]| -> Vec<usize> {
            let count = |sent: &Sent| match &sent.message {
                Message::JoinPrune(message) => {
                    message.groups.iter().map(|set| set.joined.len() + set.pruned.len()).sum()
                }
                _ => 0,
            };
            messages(ordered, 210, true, |_| 1500).iter().map(count).collect()
        };
        let most = Room::new([10, 0, 0, 2].into(), 1500).sources([239, 1, 1, 1].into());
        let prunes = sources(About::Source).collect();
        assert_eq!(sizes(&in_order(prunes, |_| Vec::new())), [most, 250 - most]);
        let join = vec![said(2, About::All(source(77)), Word::Join)];
        assert_eq!(sizes(&in_order(join, |_| (1..=250).map(source).collect())), [most]);
        let mut prune: Vec<Said> = sources(About::Rpt).collect();
        prune.push(said(2, About::All(source(77)), Word::Prune));
        assert_eq!(sizes(&in_order(prune, |_| Vec::new())), [1]);
    }
}
