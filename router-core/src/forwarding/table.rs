//! The entries that the kernel holds by this router's word, and when they were last of use.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::{EntryKey, ForwardingEntry};
use crate::router::InterfaceId;
use crate::time::Time;
use crate::timers::Timers;

/// An entry without a packet for so long is deleted (as PIM's keepalive, RFC 7761 §4.11; counters are read each third of it).
pub const IDLE: Duration = Duration::from_secs(210);

/// How often an entry's counters are read.
pub const COUNTER_INTERVAL: Duration = Duration::from_secs(70);

/// An entry with its history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// What the kernel holds.
    pub entry: ForwardingEntry,
    /// The interface that the packet came by which asked for the entry.
    pub arrival: InterfaceId,
    /// When it was installed first.
    pub since: Time,
    /// When its counters were last seen to move, or the entry was asked for.
    pub active: Time,
    /// Packets that it forwarded (or swallowed, with no outgoing interface).
    pub packets: u64,
    /// Octets of those.
    pub octets: u64,
    /// Packets that came by another interface than the incoming one.
    pub wrong_interface: u64,
    /// When the counters were last read.
    pub read: Time,
}

/// What an entry's counters say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Packets arrived by the incoming interface since the last reading.
    Moved,
    /// None did.
    None,
    /// Nothing at all arrived for so long that the entry is to go.
    Idle,
}

/// All entries.
#[derive(Clone, Debug)]
pub struct Table {
    /// How often counters are read.
    interval: Duration,
    /// How long an entry may be idle; for ever if none.
    idle: Option<Duration>,
    entries: BTreeMap<EntryKey, Installed>,
    by_group: BTreeMap<IpAddr, BTreeSet<IpAddr>>,
    readings: Timers<EntryKey>,
}

impl Table {
    /// An empty one, whose counters are read every `interval`, and whose entries may be idle for `idle` (none: for ever).
    pub fn new(interval: Duration, idle: Option<Duration>) -> Table {
        let (entries, by_group, readings) = (BTreeMap::new(), BTreeMap::new(), Timers::default());
        Table { interval, idle, entries, by_group, readings }
    }

    /// How often counters are read.
    pub fn reading_interval(&self) -> Duration {
        self.interval
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// An entry.
    pub fn get(&self, key: EntryKey) -> Option<&Installed> {
        self.entries.get(&key)
    }

    /// All entries, by source, then group.
    pub fn iter(&self) -> impl Iterator<Item = (&EntryKey, &Installed)> {
        self.entries.iter()
    }

    /// Keys of all entries.
    pub fn keys(&self) -> Vec<EntryKey> {
        self.entries.keys().copied().collect()
    }

    /// Keys of a group's entries.
    pub fn keys_of(&self, group: IpAddr) -> Vec<EntryKey> {
        self.by_group
            .get(&group)
            .map(|sources| sources.iter().map(|source| EntryKey { source: *source, group }).collect())
            .unwrap_or_default()
    }

    /// Adds an entry or replaces it, keeping its counters. Gives whether something changed. Its counters are first read at `reading`.
    pub fn set(&mut self, now: Time, arrival: InterfaceId, entry: ForwardingEntry, reading: Time) -> bool {
        let key = entry.key;
        match self.entries.get_mut(&key) {
            Some(installed) => {
                installed.arrival = arrival;
                let changed = installed.entry != entry;
                installed.entry = entry;
                changed
            }
            None => {
                let installed = Installed {
                    entry,
                    arrival,
                    since: now,
                    active: now,
                    packets: 0,
                    octets: 0,
                    wrong_interface: 0,
                    read: now,
                };
                self.entries.insert(key, installed);
                self.by_group.entry(key.group).or_default().insert(key.source);
                self.readings.set(key, reading);
                true
            }
        }
    }

    /// Notes that an entry was asked for just now.
    pub fn touch(&mut self, now: Time, key: EntryKey) {
        if let Some(installed) = self.entries.get_mut(&key) {
            installed.active = now;
        }
    }

    /// Takes an entry out; gives whether it was there.
    pub fn remove(&mut self, key: EntryKey) -> bool {
        self.readings.cancel(key);
        if let Some(sources) = self.by_group.get_mut(&key.group) {
            sources.remove(&key.source);
            if sources.is_empty() {
                self.by_group.remove(&key.group);
            }
        }
        self.entries.remove(&key).is_some()
    }

    /// Bits a second since an entry's counters were last read, if they say now that there were so many octets in all.
    pub fn rate(&self, now: Time, key: EntryKey, octets: u64) -> u64 {
        let Some(installed) = self.entries.get(&key) else { return 0 };
        let bits = u128::from(octets.saturating_sub(installed.octets)) * 8;
        let nanos = now.since(installed.read).as_nanos().max(1);
        u64::try_from(bits * 1_000_000_000 / nanos).unwrap_or(u64::MAX)
    }

    /// Notes an entry's counters; gives what they say of its use.
    pub fn count(&mut self, now: Time, key: EntryKey, packets: u64, octets: u64, wrong_interface: u64) -> Use {
        let Some(installed) = self.entries.get_mut(&key) else { return Use::None };
        // The kernel counts packets by another interface among all packets.
        let arrived = |packets: u64, wrong: u64| packets.saturating_sub(wrong);
        let moved = arrived(packets, wrong_interface) > arrived(installed.packets, installed.wrong_interface);
        if (installed.packets, installed.wrong_interface) != (packets, wrong_interface) {
            installed.active = now;
        }
        (installed.packets, installed.octets, installed.wrong_interface) = (packets, octets, wrong_interface);
        installed.read = now;
        match self.idle {
            _ if moved => Use::Moved,
            Some(idle) if now.since(installed.active) >= idle => Use::Idle,
            Some(_) | None => Use::None,
        }
    }

    /// When the next counters are to be read.
    pub fn next_reading(&self) -> Option<Time> {
        self.readings.next()
    }

    /// An entry whose counters are to be read by now; the next reading is set.
    pub fn pop_reading(&mut self, now: Time) -> Option<EntryKey> {
        let key = self.readings.pop_due(now)?;
        self.readings.set(key, now + self.interval);
        Some(key)
    }
}
