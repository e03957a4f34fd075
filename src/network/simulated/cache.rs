//! The kernel's multicast forwarding cache, as Linux has it (`net/ipv4/ipmr.c`).
//!
//! Packets without an entry wait, 4 at most for a source and group and 10 s long, and the daemon is told once. A packet by a wrong interface is
//! dropped, and the daemon told at most once in 3 s an entry. A copy leaves if the packet's TTL is greater than the interface's number in the
//! entry. An unspecified source makes a (*,G) entry, an unspecified group as well a (*,*) entry (`MRT_ADD_MFC_PROXY`).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use router_core::forwarding::EntryKey;

use crate::network::Time;

/// Interfaces of a multicast routing table.
pub const VIFS_MAX: usize = 32;
/// The register interface's index, which is no interface of the node's list.
pub const REGISTER: usize = usize::MAX;
/// Packets that wait for an entry.
const UNRESOLVED_PACKETS: usize = 4;
/// How long they wait.
const UNRESOLVED_TIME: Duration = Duration::from_secs(10);
/// `MFC_ASSERT_THRESH`.
const WRONG_INTERFACE_PAUSE: Duration = Duration::from_secs(3);
/// A threshold that lets nothing through.
const NEVER: u8 = 255;

/// A packet as the cache sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<P> {
    /// Source and group.
    pub key: EntryKey,
    /// TTL on arrival.
    pub ttl: u8,
    /// Octets of the whole IP packet.
    pub octets: u64,
    /// What else is known of it.
    pub content: P,
}

/// What the daemon is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upcall {
    /// `IGMPMSG_NOCACHE`, with the interface that the packet came by.
    NoCache { interface: usize, key: EntryKey },
    /// `IGMPMSG_WRONGVIF`.
    WrongInterface { interface: usize, key: EntryKey },
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The interface that packets must arrive by; none if it is no multicast interface any more.
    pub incoming: Option<usize>,
    /// Outgoing interfaces with their thresholds.
    pub outgoing: BTreeMap<usize, u8>,
    /// Packets that found it, those by a wrong interface included.
    pub packets: u64,
    /// Their octets.
    pub octets: u64,
    /// Those by a wrong interface.
    pub wrong_interface: u64,
    told: Option<Time>,
}

#[derive(Debug)]
struct Unresolved<P> {
    until: Time,
    packets: Vec<(usize, Packet<P>)>,
}

/// The cache of a router. Interfaces are known by their index in the node's list.
#[derive(Debug)]
pub struct Cache<P> {
    /// A daemon holds the routing socket.
    is_open: bool,
    /// The daemon is told of packets by any wrong interface (`MRT_PIM`), not only by outgoing ones (`MRT_ASSERT`).
    tells_all: bool,
    vifs: Vec<usize>,
    /// (S,G) entries.
    entries: BTreeMap<EntryKey, Entry>,
    /// (*,G) and (*,*) entries, several of a group in the order in which they were made.
    proxies: Vec<(EntryKey, Entry)>,
    unresolved: BTreeMap<EntryKey, Unresolved<P>>,
    /// Packets that found the queue of their source and group full.
    pub refused: u64,
}

impl<P> Default for Cache<P> {
    /// A kernel without a multicast routing daemon.
    fn default() -> Cache<P> {
        Cache {
            is_open: false,
            tells_all: false,
            vifs: Vec::new(),
            entries: BTreeMap::new(),
            proxies: Vec::new(),
            unresolved: BTreeMap::new(),
            refused: 0,
        }
    }
}

impl<P: Copy> Cache<P> {
    /// A daemon takes the routing socket.
    pub fn open(&mut self, tells_all: bool) {
        *self = Cache { is_open: true, tells_all, ..Cache::default() };
    }

    /// The routing socket closes, and takes interfaces, entries and waiting packets with it.
    pub fn close(&mut self) {
        *self = Cache::default();
    }

    /// Makes an interface a multicast interface; false if there are too many.
    pub fn add_vif(&mut self, interface: usize) -> bool {
        if self.vifs.contains(&interface) {
            return true;
        }
        if self.vifs.len() >= VIFS_MAX {
            return false;
        }
        self.vifs.push(interface);
        true
    }

    /// Undoes that. Entries keep what else they have.
    pub fn remove_vif(&mut self, interface: usize) {
        self.vifs.retain(|vif| *vif != interface);
        let all = self.entries.values_mut().chain(self.proxies.iter_mut().map(|(_, entry)| entry));
        for entry in all {
            entry.outgoing.remove(&interface);
            entry.incoming = entry.incoming.filter(|incoming| *incoming != interface);
        }
    }

    /// Whether an interface is a multicast interface.
    pub fn is_vif(&self, interface: usize) -> bool {
        self.vifs.contains(&interface)
    }

    /// A packet came by an interface. Puts the interfaces that copies leave by into `out`, and gives what the daemon is told.
    pub fn take(&mut self, now: Time, interface: usize, packet: &Packet<P>, out: &mut Vec<usize>) -> Option<Upcall> {
        if !self.is_open || !self.is_vif(interface) {
            return None;
        }
        if let Some(entry) = self.entries.get_mut(&packet.key) {
            entry.count(packet);
            if entry.incoming != Some(interface) {
                return entry.refuse(now, interface, packet.key, self.tells_all);
            }
            out.extend(entry.outgoing.iter().filter(|(_, ttl)| packet.ttl > **ttl).map(|(to, _)| *to));
            return None;
        }
        if let Some(place) = self.proxy_of(interface, packet.key.group) {
            return self.take_by_proxy(now, place, interface, packet, out);
        }
        self.expire(now);
        if let Some(waiting) = self.unresolved.get_mut(&packet.key) {
            if waiting.packets.len() < UNRESOLVED_PACKETS {
                waiting.packets.push((interface, *packet));
            } else {
                self.refused += 1;
            }
            return None;
        }
        let waiting = Unresolved { until: now + UNRESOLVED_TIME, packets: vec![(interface, *packet)] };
        self.unresolved.insert(packet.key, waiting);
        Some(Upcall::NoCache { interface, key: packet.key })
    }

    /// Installs or replaces an entry, which keeps its counters. Gives the packets that waited for it, with where they came in: they are
    /// to be taken again.
    pub fn set(
        &mut self,
        now: Time,
        key: EntryKey,
        incoming: usize,
        outgoing: &BTreeMap<usize, u8>,
    ) -> Vec<(usize, Packet<P>)> {
        if !self.is_open || !self.is_vif(incoming) {
            return Vec::new();
        }
        let outgoing: BTreeMap<usize, u8> = outgoing
            .iter()
            .filter(|(interface, ttl)| self.is_vif(**interface) && (1..NEVER).contains(*ttl))
            .map(|(interface, ttl)| (*interface, *ttl))
            .collect();
        let fresh = |outgoing| Entry {
            incoming: Some(incoming),
            outgoing,
            packets: 0,
            octets: 0,
            wrong_interface: 0,
            told: None,
        };
        if key.source.is_unspecified() {
            // One of another parent is another entry.
            match self.proxies.iter_mut().find(|(known, entry)| *known == key && entry.incoming == Some(incoming)) {
                Some((_, entry)) => entry.outgoing = outgoing,
                None => self.proxies.push((key, fresh(outgoing))),
            }
            return Vec::new();
        }
        match self.entries.get_mut(&key) {
            Some(entry) => (entry.incoming, entry.outgoing) = (Some(incoming), outgoing),
            None => drop(self.entries.insert(key, fresh(outgoing))),
        }
        self.expire(now);
        self.unresolved.remove(&key).map(|waiting| waiting.packets).unwrap_or_default()
    }

    /// Removes an entry, or all of a (*,G).
    pub fn delete(&mut self, key: EntryKey) {
        self.entries.remove(&key);
        self.proxies.retain(|(known, _)| *known != key);
    }

    /// An entry's counters: packets, octets, packets by a wrong interface.
    pub fn counters(&self, key: EntryKey) -> Option<(u64, u64, u64)> {
        let proxy = || self.proxies.iter().find(|(known, _)| *known == key).map(|(_, entry)| entry);
        let entry = self.entries.get(&key).or_else(proxy)?;
        Some((entry.packets, entry.octets, entry.wrong_interface))
    }

    /// All entries, those of all sources too.
    pub fn entries(&self) -> impl Iterator<Item = (EntryKey, &Entry)> {
        let proxies = self.proxies.iter().map(|(key, entry)| (*key, entry));
        self.entries.iter().map(|(key, entry)| (*key, entry)).chain(proxies)
    }

    /// The (*,*) entry that an interface is of.
    fn tree_of(&self, interface: usize) -> Option<usize> {
        let is_of =
            |(key, entry): &(EntryKey, Entry)| key.group.is_unspecified() && entry.outgoing.contains_key(&interface);
        self.proxies.iter().position(is_of)
    }

    /// Whether an interface is of the (*,*) entry that an entry's incoming interface is of.
    fn shares_tree(&self, entry: &Entry, interface: usize) -> bool {
        let tree = entry.incoming.and_then(|incoming| self.tree_of(incoming)).and_then(|place| self.proxies.get(place));
        tree.is_some_and(|(_, tree)| tree.outgoing.contains_key(&interface))
    }

    /// The (*,G) or (*,*) entry for a packet that has none of its own.
    fn proxy_of(&self, interface: usize, group: IpAddr) -> Option<usize> {
        let is_for = |(key, entry): &(EntryKey, Entry)| {
            key.group == group && (entry.outgoing.contains_key(&interface) || self.shares_tree(entry, interface))
        };
        self.proxies.iter().position(is_for).or_else(|| self.tree_of(interface))
    }

    fn take_by_proxy(
        &mut self,
        now: Time,
        place: usize,
        interface: usize,
        packet: &Packet<P>,
        out: &mut Vec<usize>,
    ) -> Option<Upcall> {
        let is_of_tree = self.proxies.get(place).is_some_and(|(_, entry)| self.shares_tree(entry, interface));
        let tells_all = self.tells_all;
        let (key, entry) = self.proxies.get_mut(place)?;
        entry.count(packet);
        if !is_of_tree && entry.incoming != Some(interface) {
            return entry.refuse(now, interface, packet.key, tells_all);
        }
        let passes = |to: usize| entry.outgoing.get(&to).is_some_and(|ttl| packet.ttl > *ttl);
        if key.group.is_unspecified() {
            // Upstream, and nowhere else: what comes from there needs an entry of its group.
            out.extend(entry.incoming.filter(|upstream| *upstream != interface && passes(*upstream)));
        } else {
            out.extend(entry.outgoing.keys().copied().filter(|to| *to != interface && passes(*to)));
        }
        None
    }

    /// Forgets packets that have waited too long; the daemon will be told anew.
    fn expire(&mut self, now: Time) {
        if self.unresolved.values().any(|waiting| waiting.until <= now) {
            self.unresolved.retain(|_, waiting| waiting.until > now);
        }
    }
}

impl Entry {
    fn count<P>(&mut self, packet: &Packet<P>) {
        self.packets += 1;
        self.octets += packet.octets;
    }

    /// A packet came by a wrong interface.
    fn refuse(&mut self, now: Time, interface: usize, key: EntryKey, tells_all: bool) -> Option<Upcall> {
        self.wrong_interface += 1;
        let may_tell = tells_all || self.outgoing.contains_key(&interface);
        let paused = self.told.is_some_and(|told| now.since(told) <= WRONG_INTERFACE_PAUSE);
        if !may_tell || paused {
            return None;
        }
        self.told = Some(now);
        Some(Upcall::WrongInterface { interface, key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: [u8; 4] = [239, 1, 1, 1];
    const KEY: EntryKey = key([10, 0, 0, 9], GROUP);

    const fn key(source: [u8; 4], group: [u8; 4]) -> EntryKey {
        EntryKey { source: v4(source), group: v4(group) }
    }

    const fn v4([a, b, c, d]: [u8; 4]) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::new(a, b, c, d))
    }

    fn at(ms: u64) -> Time {
        Time(ms * 1_000_000)
    }

    fn packet(number: u32, ttl: u8) -> Packet<u32> {
        Packet { key: KEY, ttl, octets: 228, content: number }
    }

    fn cache(tells_all: bool) -> Cache<u32> {
        let mut cache = Cache::default();
        cache.open(tells_all);
        assert!((0..3).all(|interface| cache.add_vif(interface)));
        cache
    }

    fn out(list: &[(usize, u8)]) -> BTreeMap<usize, u8> {
        list.iter().copied().collect()
    }

    fn take(cache: &mut Cache<u32>, ms: u64, interface: usize, ttl: u8) -> (Vec<usize>, Option<Upcall>) {
        let mut out = Vec::new();
        let told = cache.take(at(ms), interface, &packet(0, ttl), &mut out);
        (out, told)
    }

    const ASKED: Option<Upcall> = Some(Upcall::NoCache { interface: 0, key: KEY });
    const NOTHING: (Vec<usize>, Option<Upcall>) = (Vec::new(), None);

    #[test]
    fn four_packets_wait_and_the_daemon_is_told_once() {
        let mut cache = cache(false);
        let mut forwarded = Vec::new();
        let told: Vec<_> = (0..6).map(|n| cache.take(at(0), 0, &packet(n, 9), &mut forwarded)).collect();
        assert_eq!((told[0], &told[1..], cache.refused), (ASKED, &[None; 5][..], 2));
        let waited = cache.set(at(9_999), KEY, 0, &out(&[(1, 1)]));
        let numbers: Vec<u32> = waited.iter().map(|(_, packet)| packet.content).collect();
        assert_eq!((numbers, forwarded.len()), (vec![0, 1, 2, 3], 0));
        assert_eq!(take(&mut cache, 9_999, 0, 9), (vec![1], None));
    }

    #[test]
    fn after_ten_seconds_waiting_packets_are_gone_and_the_daemon_is_told_anew() {
        let mut cache = cache(false);
        assert_eq!(take(&mut cache, 0, 0, 9).1, ASKED);
        assert_eq!(take(&mut cache, 9_999, 0, 9).1, None);
        assert_eq!(take(&mut cache, 10_000, 0, 9).1, ASKED);
        assert_eq!(cache.set(at(20_000), KEY, 0, &out(&[(1, 1)])), []);
    }

    #[test]
    fn a_ttl_must_be_greater_than_the_threshold() {
        let mut cache = cache(false);
        cache.set(at(0), KEY, 0, &out(&[(1, 1), (2, 16), (7, 1)]));
        assert_eq!(take(&mut cache, 0, 0, 1), NOTHING);
        assert_eq!(take(&mut cache, 0, 0, 16), (vec![1], None));
        assert_eq!(take(&mut cache, 0, 0, 17), (vec![1, 2], None));
        assert_eq!(cache.counters(KEY), Some((3, 3 * 228, 0)));
    }

    #[test]
    fn a_wrong_interface_is_told_at_most_once_in_three_seconds() {
        let told = |interface| Some(Upcall::WrongInterface { interface, key: KEY });
        let mut cache = cache(true);
        cache.set(at(0), KEY, 0, &out(&[(1, 1)]));
        assert_eq!(take(&mut cache, 0, 2, 9), (vec![], told(2)));
        assert_eq!(take(&mut cache, 3_000, 1, 9), NOTHING);
        assert_eq!(take(&mut cache, 3_001, 1, 9), (vec![], told(1)));
        assert_eq!(cache.counters(KEY), Some((3, 3 * 228, 3)));
        // Counters outlive a change, and so does the pause.
        cache.set(at(3_001), KEY, 0, &out(&[(2, 1)]));
        assert_eq!(take(&mut cache, 3_002, 2, 9), NOTHING);
        assert_eq!(cache.counters(KEY), Some((4, 4 * 228, 4)));
    }

    #[test]
    fn without_pim_only_an_outgoing_interface_is_told() {
        let mut cache = cache(false);
        cache.set(at(0), KEY, 0, &out(&[(1, 1)]));
        assert_eq!(take(&mut cache, 0, 2, 9), NOTHING);
        assert_eq!(take(&mut cache, 0, 1, 9).1, Some(Upcall::WrongInterface { interface: 1, key: KEY }));
    }

    #[test]
    fn a_closed_socket_takes_everything_with_it() {
        let mut cache = cache(false);
        cache.set(at(0), KEY, 0, &out(&[(1, 1)]));
        cache.close();
        assert_eq!((take(&mut cache, 0, 0, 9), cache.entries().count()), (NOTHING, 0));
        cache.open(false);
        assert_eq!(take(&mut cache, 0, 0, 9), NOTHING, "no interface is a multicast interface yet");
    }

    #[test]
    fn entries_of_all_sources_join_the_interfaces_of_their_tree() {
        const ANY: [u8; 4] = [0; 4];
        let mut cache = cache(false);
        cache.set(at(0), key(ANY, ANY), 0, &out(&[(0, 1), (1, 1), (2, 1)]));
        assert_eq!(take(&mut cache, 0, 1, 9), (vec![0], None), "upstream, without an entry of the group");
        assert_eq!(take(&mut cache, 0, 0, 9), NOTHING);
        cache.set(at(0), key(ANY, GROUP), 0, &out(&[(0, 1), (1, 1)]));
        assert_eq!(take(&mut cache, 0, 0, 9), (vec![1], None));
        assert_eq!(take(&mut cache, 0, 1, 9), (vec![0], None));
        assert_eq!(take(&mut cache, 0, 2, 9), (vec![0, 1], None), "of the tree, though not of the group's entry");
        cache.set(at(0), KEY, 0, &out(&[(2, 1)]));
        assert_eq!(take(&mut cache, 0, 0, 9), (vec![2], None), "its own entry comes first");
    }

    #[test]
    fn there_are_32_interfaces_at_most() {
        let mut cache = cache(false);
        assert!((3..VIFS_MAX).all(|interface| cache.add_vif(interface)));
        assert!(!cache.add_vif(99) && cache.add_vif(5));
        cache.remove_vif(5);
        assert!(cache.add_vif(99));
    }
}
