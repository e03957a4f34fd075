//! Joins and prunes that are to be sent, gathered until an event is dealt with, so that few messages carry them (RFC 7761 §4.9.5).

use std::collections::BTreeMap;
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

/// What is said of a group to one neighbour: of each source what was said last (§4.9.5.1: never both).
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// Of (*,G), with the rendezvous point.
    pub all: Option<(Word, IpAddr)>,
    /// Of (S,G,rpt).
    pub rpt: BTreeMap<IpAddr, Word>,
    /// Of (S,G).
    pub sources: BTreeMap<IpAddr, Word>,
}

/// What is to be sent, by interface, upstream neighbour and group.
pub type Outbox = BTreeMap<(InterfaceId, IpAddr), BTreeMap<IpAddr, Said>>;

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

impl Said {
    /// The group sets that say it. What does not fit one is in the next; only a Join(*,G) keeps its prunes, of which the lowest addresses
    /// count (§4.9.5.2).
    fn into_sets(mut self, group: IpAddr, room: &Room, rpt_bit: bool) -> Vec<GroupSet> {
        let most = room.sources(group);
        let mask_length = if group.is_ipv4() { 32 } else { 128 };
        let empty = || GroupSet { group, mask_length, joined: Vec::new(), pruned: Vec::new() };
        let mut set = empty();
        match self.all {
            Some((Word::Join, rp)) => {
                set.joined.push(encoded(rp, true, rpt_bit));
                self.rpt.retain(|_, word| *word == Word::Prune);
                while self.rpt.len() + 1 > most {
                    self.rpt.pop_last();
                }
            }
            Some((Word::Prune, rp)) => {
                set.pruned.push(encoded(rp, true, rpt_bit));
                self.rpt.clear();
            }
            None => {}
        }
        let rpt = self.rpt.iter().map(|(source, word)| (encoded(*source, false, true), *word));
        let sources = self.sources.iter().map(|(source, word)| (encoded(*source, false, false), *word));
        let mut sets = Vec::new();
        for (source, word) in rpt.chain(sources) {
            if set.joined.len() + set.pruned.len() >= most {
                sets.push(std::mem::replace(&mut set, empty()));
            }
            match word {
                Word::Join => set.joined.push(source),
                Word::Prune => set.pruned.push(source),
            }
        }
        sets.push(set);
        sets
    }

    fn joins(&self) -> bool {
        let join = |word: &Word| *word == Word::Join;
        matches!(self.all, Some((Word::Join, _))) || self.sources.values().any(join) || self.rpt.values().any(join)
    }
}

/// The messages: to neighbours of whom something is asked first, so that a new way is there before an old one goes.
pub fn messages(outbox: Outbox, hold_time: u16, rpt_bit: bool, mtu: impl Fn(InterfaceId) -> u32) -> Vec<Sent> {
    let (first, then): (Vec<_>, Vec<_>) = outbox.into_iter().partition(|(_, groups)| groups.values().any(Said::joins));
    let mut messages: Vec<Sent> = Vec::new();
    for ((interface, upstream), groups) in first.into_iter().chain(then) {
        let (mtu, mut filling) = (mtu(interface), None::<(JoinPrune, usize)>);
        let room = Room::new(upstream, mtu);
        let mut sent = |message: JoinPrune| {
            let message = Message::JoinPrune(message);
            messages.push(Sent { interface, destination: ALL_PIM_ROUTERS.into(), message });
        };
        for (group, said) in groups {
            for set in said.into_sets(group, &room, rpt_bit) {
                let size = bundle::size_of_set(&set);
                match &mut filling {
                    Some((message, used))
                        if *used + size <= room.left
                            && message.groups.len() < bundle::GROUPS_MAX
                            // One set a group and message (§4.9.5.1).
                            && message.groups.last().is_none_or(|last| last.group != group) =>
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
