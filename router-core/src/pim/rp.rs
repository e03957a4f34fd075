//! Which rendezvous point serves a group (RFC 7761 §4.7.1): by configuration, and as learned from bootstrap routers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::bsr::zone::Scope;
use crate::config::StaticRp;

/// A group range learned from a bootstrap router.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// Whether it is for BIDIR-PIM: sparse mode leaves its groups alone (RFC 5059 §3.6).
    pub bidir: bool,
    /// Its rendezvous points with their priorities, of which the lowest is preferred.
    pub rps: BTreeMap<IpAddr, u8>,
}

/// Where a mapping comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The configuration.
    Configured,
    /// The bootstrap router of a scope zone.
    Learned(Scope),
}

/// The mapping that serves a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The group range that matched.
    pub range: IpNet,
    /// The rendezvous point; none where the range is BIDIR-PIM's.
    pub rp: Option<IpAddr>,
    /// Where it comes from.
    pub origin: Origin,
}

/// What was learned of a scope zone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ZoneTable {
    hash_mask_length: u8,
    ranges: Prefixes<Learned>,
}

/// Values by prefix, found by the longest one that matches: a look-up tries only lengths that there are.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Prefixes<T> {
    values: BTreeMap<IpNet, T>,
    lengths: BTreeMap<u8, usize>,
}

impl<T> Default for Prefixes<T> {
    fn default() -> Prefixes<T> {
        Prefixes { values: BTreeMap::new(), lengths: BTreeMap::new() }
    }
}

impl<T> Prefixes<T> {
    fn insert(&mut self, prefix: IpNet, value: T) -> Option<T> {
        let old = self.values.insert(prefix, value);
        if old.is_none() {
            *self.lengths.entry(prefix.prefix_len()).or_default() += 1;
        }
        old
    }

    fn remove(&mut self, prefix: &IpNet) -> Option<T> {
        let old = self.values.remove(prefix)?;
        if let Some(count) = self.lengths.get_mut(&prefix.prefix_len()) {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&prefix.prefix_len());
            }
        }
        Some(old)
    }

    fn longest(&self, address: IpAddr) -> Option<(IpNet, &T)> {
        self.lengths.keys().rev().find_map(|length| {
            let prefix = IpNet::new(address, *length).ok()?.trunc();
            Some((prefix, self.values.get(&prefix)?))
        })
    }
}

/// The group-to-RP mappings in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RpTable {
    configured: Vec<StaticRp>,
    /// By range: of several configured for one, the highest address counts.
    fixed: Prefixes<IpAddr>,
    /// Those that win over what is learned.
    overriding: Prefixes<IpAddr>,
    zones: BTreeMap<Scope, ZoneTable>,
    changes: BTreeSet<IpNet>,
}

impl RpTable {
    /// With the configured ones.
    pub fn new(configured: Vec<StaticRp>) -> RpTable {
        let mut table = RpTable::default();
        for rp in &configured {
            let prefixes = if rp.overrides { &mut table.overriding } else { &mut table.fixed };
            let range = rp.groups.trunc();
            let highest = prefixes.values.get(&range).map_or(rp.address, |other| rp.address.max(*other));
            prefixes.insert(range, highest);
        }
        RpTable { configured, ..table }
    }

    /// `RP(G)`.
    pub fn rp(&self, group: IpAddr) -> Option<IpAddr> {
        self.find(group)?.rp
    }

    /// The mapping that serves a group: the longest match, a learned one before a configured one of the same length unless that
    /// overrides. Among learned ones, those of the narrowest scope zone that has any for the group count alone: nobody in a zone may use
    /// a rendezvous point outside of it (RFC 5059 §1.3).
    pub fn find(&self, group: IpAddr) -> Option<Found> {
        let configured = |(range, rp): (IpNet, &IpAddr)| Found { range, rp: Some(*rp), origin: Origin::Configured };
        if let Some(found) = self.overriding.longest(group) {
            return Some(configured(found));
        }
        let fixed = self.fixed.longest(group).map(configured);
        let learned = self.find_learned(group);
        match (learned, fixed) {
            (Some(learned), Some(fixed)) if fixed.range.prefix_len() > learned.range.prefix_len() => Some(fixed),
            (Some(learned), _) => Some(learned),
            (None, fixed) => fixed,
        }
    }

    fn find_learned(&self, group: IpAddr) -> Option<Found> {
        let holds = |scope: &&Scope| scope.has(group);
        let mut scopes: Vec<&Scope> = self.zones.keys().filter(holds).collect();
        scopes.sort_by_key(|scope| std::cmp::Reverse(scope.prefix_len()));
        scopes.into_iter().find_map(|scope| {
            let zone = self.zones.get(scope)?;
            let (range, learned) = zone.ranges.longest(group)?;
            let rp = if learned.bidir { None } else { choose(group, zone.hash_mask_length, &learned.rps) };
            Some(Found { range, rp, origin: Origin::Learned(*scope) })
        })
    }

    /// The configured mappings.
    pub fn configured(&self) -> &[StaticRp] {
        &self.configured
    }

    /// The learned mappings of each zone, by range.
    pub fn learned(&self) -> impl Iterator<Item = (Scope, IpNet, &Learned)> {
        self.zones
            .iter()
            .flat_map(|(scope, zone)| zone.ranges.values.iter().map(|(range, learned)| (*scope, *range, learned)))
    }

    /// Takes what a zone's RP-Set says of a range; without rendezvous points, the range goes.
    pub fn learn(&mut self, scope: Scope, range: IpNet, learned: Learned) {
        let zone = self.zones.entry(scope).or_default();
        let is_gone = learned.rps.is_empty();
        let old = if is_gone { zone.ranges.remove(&range) } else { zone.ranges.insert(range, learned) };
        let new = zone.ranges.values.get(&range);
        if old.as_ref() != new {
            self.changes.insert(range);
        }
        if zone.ranges.values.is_empty() {
            self.zones.remove(&scope);
        }
    }

    /// The hash mask length of a zone's BSR.
    pub fn set_hash_mask_length(&mut self, scope: Scope, length: u8) {
        let Some(zone) = self.zones.get_mut(&scope).filter(|zone| zone.hash_mask_length != length) else { return };
        zone.hash_mask_length = length;
        // It matters only where there is a choice.
        let several = zone.ranges.values.iter().filter(|(_, learned)| learned.rps.len() > 1);
        self.changes.extend(several.map(|(range, _)| *range));
    }

    /// Forgets what was learned of a zone.
    pub fn forget(&mut self, scope: Scope) {
        if let Some(zone) = self.zones.remove(&scope) {
            self.changes.extend(zone.ranges.values.into_keys());
        }
    }

    /// The ranges whose mappings have changed since the last call: groups of them may have another rendezvous point.
    pub fn take_changes(&mut self) -> BTreeSet<IpNet> {
        std::mem::take(&mut self.changes)
    }
}

/// The rendezvous point of a group among those of its range: the best priority, then the highest hash value, then the highest address
/// (RFC 7761 §4.7.1).
fn choose(group: IpAddr, hash_mask_length: u8, rps: &BTreeMap<IpAddr, u8>) -> Option<IpAddr> {
    let best = rps.values().min()?;
    let equal = rps.iter().filter(|(_, priority)| *priority == best).map(|(rp, _)| *rp);
    equal.max_by_key(|rp| (hash(group, hash_mask_length, *rp), *rp))
}

/// `Value(G,M,C)`, the hash function of RFC 7761 §4.7.2.
pub fn hash(group: IpAddr, hash_mask_length: u8, rp: IpAddr) -> u32 {
    let most = if group.is_ipv4() { 32 } else { 128 };
    let masked = IpNet::new(group, hash_mask_length.min(most)).map_or(group, |net| net.trunc().addr());
    let next = |value: u32| value.wrapping_mul(1_103_515_245).wrapping_add(12_345);
    next(next(digest(masked)) ^ digest(rp)) & 0x7fff_ffff
}

/// An address in 32 bits: of an IPv6 address, the exclusive-or of its four words.
fn digest(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let value = u128::from(address);
            [96, 64, 32, 0].iter().fold(0, |digest, shift| digest ^ (value >> shift) as u32)
        }
    }
}

#[cfg(test)]
mod tests;
