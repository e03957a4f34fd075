//! Addresses: given by the file, else derived from the file's order, so that a node added at the end moves nobody.
//!
//! | what | IPv4 | IPv6 |
//! |---|---|---|
//! | the n-th LAN | a /24 of 10.0.0.0/10, from 10.0.1.0/24 on | a /64 of fd00:0:0::/48, from fd00:0:0:1::/64 on |
//! | the n-th link | a /31 of 10.64.0.0/10 | a /127 of fd00:0:1::/48 |
//! | the n-th node, if a router | 10.255.0.0/16 plus n | fd00:0:2:: plus n |
//!
//! A derived prefix that would overlap one that the file gives is passed over for the same place in a later part of
//! the range, so that the others stay where they are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::Resolver;
use crate::topology::fault::{Fault, FaultKind};
use crate::topology::file::Family;
use crate::topology::plan::{Attachment, NodeId, WireId, WireKind};
use crate::topology::read::At;
use crate::topology::tree::Span;

/// A prefix that is in use, for the search for overlaps.
struct Used {
    prefix: IpNet,
    holder: String,
    span: Span,
    wire: Option<WireId>,
}

/// Ranges of addresses that must not be derived, disjoint, by their start; one map a family.
#[derive(Default)]
struct Taken {
    v4: BTreeMap<u128, u128>,
    v6: BTreeMap<u128, u128>,
}

impl Taken {
    fn of(mut prefixes: Vec<IpNet>) -> Taken {
        prefixes.sort_by_key(bounds);
        let mut taken = Taken::default();
        for prefix in prefixes {
            let (start, end) = bounds(&prefix);
            let ranges = if matches!(prefix, IpNet::V4(_)) { &mut taken.v4 } else { &mut taken.v6 };
            match ranges.last_entry() {
                Some(mut last) if *last.get() >= start => {
                    let longest = end.max(*last.get());
                    last.insert(longest);
                }
                _ => {
                    ranges.insert(start, end);
                }
            }
        }
        taken
    }

    fn holds(&self, prefix: &IpNet) -> bool {
        let (start, end) = bounds(prefix);
        let ranges = if matches!(prefix, IpNet::V4(_)) { &self.v4 } else { &self.v6 };
        ranges.range(..=end).next_back().is_some_and(|(_, last)| *last >= start)
    }
}

/// First and last address of a prefix, as numbers.
fn bounds(prefix: &IpNet) -> (u128, u128) {
    (number(prefix.network()), number(prefix.broadcast()))
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The n-th address of a prefix, with its length; none past its end.
fn nth(prefix: &IpNet, n: u128) -> Option<IpNet> {
    let (start, end) = bounds(prefix);
    let at = start.checked_add(n).filter(|at| *at <= end)?;
    match prefix {
        IpNet::V4(net) => {
            let address = Ipv4Addr::from_bits(u32::try_from(at).ok()?);
            Ipv4Net::new(address, net.prefix_len()).ok().map(IpNet::V4)
        }
        IpNet::V6(net) => Ipv6Net::new(Ipv6Addr::from_bits(at), net.prefix_len()).ok().map(IpNet::V6),
    }
}

/// The numbers of a prefix's addresses that interfaces can have, first and last.
fn usable(prefix: &IpNet) -> (u128, u128) {
    let (start, end) = bounds(prefix);
    let last = end - start;
    match prefix {
        _ if last <= 1 => (0, last),
        IpNet::V4(_) => (1, last - 1),
        IpNet::V6(_) => (1, last),
    }
}

fn v4(a: u32, n: u128, step: u32, len: u8) -> Option<IpNet> {
    let address = a.checked_add(u32::try_from(n).ok()?.checked_mul(step)?)?;
    Ipv4Net::new(Ipv4Addr::from_bits(address), len).ok().map(IpNet::V4)
}

fn v6(base: u128, n: u128, step: u128, len: u8) -> Option<IpNet> {
    Ipv6Net::new(Ipv6Addr::from_bits(base.checked_add(n.checked_mul(step)?)?), len).ok().map(IpNet::V6)
}

/// Places of the n-th thing in each range; the range has four parts of so many.
const LANS: u128 = 4096;
const LINKS: u128 = 1 << 19;
const ROUTERS: u128 = 1 << 14;

fn derived(family: Family, what: What, n: u128) -> Option<IpNet> {
    const ULA: u128 = 0xfd00 << 112;
    match (family, what) {
        (Family::IPv4, What::Lan) => v4(0x0a00_0000, n, 256, 24),
        (Family::IPv4, What::Link) => v4(0x0a40_0000, n, 2, 31),
        (Family::IPv4, What::Loopback) => v4(0x0aff_0000, n, 1, 32),
        (Family::IPv6, What::Lan) => v6(ULA, n, 1 << 64, 64),
        (Family::IPv6, What::Link) => v6(ULA | 1 << 80, n, 2, 127),
        (Family::IPv6, What::Loopback) => v6(ULA | 2 << 80, n, 1, 128),
    }
}

#[derive(Clone, Copy)]
enum What {
    Lan,
    Link,
    Loopback,
}

impl What {
    /// The n-th place in each of the range's four parts.
    fn places(self, n: usize) -> impl Iterator<Item = u128> {
        let (part, first) = match self {
            What::Lan => (LANS, 1),
            What::Link => (LINKS, 0),
            What::Loopback => (ROUTERS, 1),
        };
        let n = n as u128 + first;
        (0..4).filter(move |_| n < part).map(move |k| n + k * part)
    }
}

impl Resolver<'_> {
    pub(super) fn give_addresses(&mut self) {
        self.check_given();
        let loopbacks = self.given_loopbacks();
        let mut taken: Vec<IpNet> = self.given.iter().map(|(_, at)| at.value.trunc()).collect();
        taken.extend(loopbacks.iter().map(|(_, at)| at.value));
        let taken = Taken::of(taken);
        self.place_wires(&taken);
        self.place_loopbacks(&loopbacks, &taken);
        self.find_collisions(&loopbacks);
        for (at, span) in std::mem::take(&mut self.thresholds) {
            let subnets = &self.plan.wire(self.plan.interface(at).wire).subnets;
            if !subnets.iter().any(|net| matches!(net, IpNet::V4(_))) {
                self.fault(&span, FaultKind::ThresholdOnIpv6);
            }
        }
    }

    /// Drops the given addresses that no interface can have.
    fn check_given(&mut self) {
        let given = std::mem::take(&mut self.given);
        for (at, address) in given {
            match not_an_interface_address(&address.value) {
                Some(why) => {
                    let kind = FaultKind::NotAnInterfaceAddress { address: address.value, why };
                    self.fault(&address.span, kind);
                }
                None => self.given.push((at, address)),
            }
        }
    }

    fn given_loopbacks(&mut self) -> Vec<(NodeId, At<IpNet>)> {
        let mut loopbacks = Vec::new();
        for (index, (_, node)) in self.file.nodes().iter().enumerate().take(self.plan.nodes.len()) {
            let Some(given) = node.as_ref().and_then(|n| n.loopback.as_ref()) else { continue };
            if !self.plan.nodes[index].is_router() {
                self.fault(&given.span, FaultKind::KeyNotHere { key: "loopback".into(), only: "for routers only" });
                continue;
            }
            for address in &given.value.0 {
                let net = address.value.0;
                let why = match net.addr() {
                    addr if addr.is_multicast() => "a multicast address",
                    addr if addr.is_loopback() || addr.is_unspecified() => "not the lab's to give",
                    _ if net.prefix_len() != net.max_prefix_len() => {
                        "not alone in its prefix (a loopback's is /32 or /128)"
                    }
                    _ => {
                        loopbacks.push((NodeId(index), At { value: net, span: address.span.clone() }));
                        continue;
                    }
                };
                self.fault(&address.span, FaultKind::NotAnInterfaceAddress { address: net, why });
            }
        }
        loopbacks
    }

    fn place_wires(&mut self, taken: &Taken) {
        let mut by_wire: BTreeMap<WireId, Vec<(Attachment, At<IpNet>)>> = BTreeMap::new();
        for (at, address) in &self.given {
            by_wire.entry(self.plan.interface(*at).wire).or_default().push((*at, address.clone()));
        }
        let (mut lans, mut links) = (0, 0);
        for wire in self.plan.wire_ids() {
            let (what, n) = match self.plan.wire(wire).kind {
                WireKind::Lan { .. } => (What::Lan, &mut lans),
                WireKind::Link => (What::Link, &mut links),
            };
            let place = *n;
            *n += 1;
            let given = by_wire.remove(&wire).unwrap_or_default();
            for family in [Family::IPv4, Family::IPv6] {
                self.place_wire(wire, family, &given, what, place, taken);
            }
        }
    }

    fn place_wire(
        &mut self,
        wire: WireId,
        family: Family,
        given: &[(Attachment, At<IpNet>)],
        what: What,
        place: usize,
        taken: &Taken,
    ) {
        let mut of_family = given.iter().filter(|(_, at)| Family::of(&at.value) == family).peekable();
        let subnet = match of_family.peek() {
            Some((_, first)) => first.value.trunc(),
            None if !self.families.contains(&family) => return,
            None => {
                let ends = self.plan.wire(wire).ends.len() as u128;
                let free = what.places(place).filter_map(|n| derived(family, what, n)).find(|net| !taken.holds(net));
                let fits = |net: &IpNet| usable(net).1 - usable(net).0 + 1 >= ends;
                match free {
                    Some(net) if fits(&net) => net,
                    Some(net) => {
                        let span = self.wire_spans[wire.0].clone();
                        let limit = usize::try_from(usable(&net).1).unwrap_or(usize::MAX);
                        let what = "nodes on a LAN without given addresses";
                        let count = self.plan.wire(wire).ends.len();
                        self.fault(&span, FaultKind::TooMany { what, count, limit });
                        return;
                    }
                    None => {
                        let span = self.wire_spans[wire.0].clone();
                        let (what, limit) = match what {
                            What::Lan => ("LANs without given addresses", LANS as usize),
                            _ => ("links without given addresses", LINKS as usize),
                        };
                        self.fault(&span, FaultKind::TooMany { what, count: place + 1, limit });
                        return;
                    }
                }
            }
        };
        let mut numbers: BTreeSet<u128> = BTreeSet::new();
        let mut placed: BTreeSet<Attachment> = BTreeSet::new();
        for (at, address) in of_family {
            if address.value.trunc() != subnet {
                let wire = self.plan.wire(wire).name.clone();
                self.fault(&address.span, FaultKind::OutsideSubnet { address: address.value, subnet, wire });
                continue;
            }
            placed.insert(*at);
            numbers.insert(number(address.value.addr()) - number(subnet.network()));
            self.plan.nodes[at.node.0].interfaces[at.interface].addresses.push(address.value);
        }
        let (first, last) = usable(&subnet);
        let ends = self.plan.wire(wire).ends.clone();
        for (position, at) in ends.iter().enumerate() {
            if placed.contains(at) {
                continue;
            }
            // Its own place; if a given address has that, one past everybody's, else any. So many tries find a free one.
            let tries = numbers.len() + 1;
            let free = |n: &u128| *n <= last && !numbers.contains(n);
            let beyond = first + ends.len() as u128;
            let chosen = Some(first + position as u128)
                .filter(free)
                .or_else(|| (beyond..=last).take(tries).chain((first..=last).take(tries)).find(free));
            let address = chosen.and_then(|n| Some((n, nth(&subnet, n)?)));
            match address {
                Some((number, address)) => {
                    numbers.insert(number);
                    self.plan.nodes[at.node.0].interfaces[at.interface].addresses.push(address);
                }
                None => {
                    let span = self.wire_spans[wire.0].clone();
                    let node = self.plan.node(at.node).name.clone();
                    let wire = self.plan.wire(wire).name.clone();
                    self.fault(&span, FaultKind::SubnetFull { subnet, wire, node });
                    break;
                }
            }
        }
        self.plan.wires[wire.0].subnets.push(subnet);
    }

    fn place_loopbacks(&mut self, given: &[(NodeId, At<IpNet>)], taken: &Taken) {
        for (node, address) in given {
            self.plan.nodes[node.0].loopback.push(address.value);
        }
        for index in 0..self.plan.nodes.len() {
            if !self.plan.nodes[index].is_router() {
                continue;
            }
            for family in self.families.clone() {
                if self.plan.nodes[index].loopback.iter().any(|net| Family::of(net) == family) {
                    continue;
                }
                let mut places = What::Loopback.places(index).filter_map(|n| derived(family, What::Loopback, n));
                // None is there only if the file's own addresses have taken all of its places.
                let free = places.find(|net| !taken.holds(net));
                self.plan.nodes[index].loopback.extend(free);
            }
            self.plan.nodes[index].loopback.sort_by_key(Family::of);
        }
    }

    /// Two interfaces with one address; prefixes that overlap.
    fn find_collisions(&mut self, loopbacks: &[(NodeId, At<IpNet>)]) {
        let mut holders: BTreeMap<IpAddr, (String, Span)> = BTreeMap::new();
        let mut blamed: BTreeSet<WireId> = BTreeSet::new();
        for (at, address) in self.given.clone() {
            let holder = self.plan.name_of(at);
            let wire = self.plan.interface(at).wire;
            match holders.get(&address.value.addr()) {
                Some((first, place)) => {
                    let kind = FaultKind::DuplicateAddress { address: address.value.addr(), holder: first.clone() };
                    self.cx.add(Fault::new(address.span.clone(), kind).related(place.clone(), "first here"));
                    blamed.insert(wire);
                }
                None => {
                    holders.insert(address.value.addr(), (holder, address.span.clone()));
                }
            }
        }
        let mut used: Vec<Used> = Vec::new();
        let mut seen: BTreeSet<(WireId, IpNet)> = BTreeSet::new();
        for (at, address) in &self.given {
            let wire = self.plan.interface(*at).wire;
            let prefix = address.value.trunc();
            if !blamed.contains(&wire) && seen.insert((wire, prefix)) && self.plan.wire(wire).subnets.contains(&prefix)
            {
                let holder = self.plan.wire(wire).name.clone();
                used.push(Used { prefix, holder, span: address.span.clone(), wire: Some(wire) });
            }
        }
        for (node, address) in loopbacks {
            let holder = format!("{}.lo", self.plan.node(*node).name);
            used.push(Used { prefix: address.value, holder, span: address.span.clone(), wire: None });
        }
        used.sort_by_key(|u| (Family::of(&u.prefix), bounds(&u.prefix)));
        let mut widest: Option<&Used> = None;
        let mut found = Vec::new();
        for one in &used {
            if let Some(before) = widest
                && Family::of(&before.prefix) == Family::of(&one.prefix)
                && bounds(&before.prefix).1 >= bounds(&one.prefix).0
                && (before.wire.is_none() || before.wire != one.wire)
            {
                // The later one in the file is the one to blame.
                let (first, second) = if before.span.start <= one.span.start { (before, one) } else { (one, before) };
                let kind = FaultKind::Overlap {
                    prefix: second.prefix,
                    wire: second.holder.clone(),
                    other_prefix: first.prefix,
                    other: first.holder.clone(),
                };
                found.push(Fault::new(second.span.clone(), kind).related(first.span.clone(), "the other one"));
            }
            let wider = widest.is_none_or(|before| {
                Family::of(&before.prefix) != Family::of(&one.prefix)
                    || bounds(&before.prefix).1 < bounds(&one.prefix).1
            });
            if wider {
                widest = Some(one);
            }
        }
        for fault in found {
            self.cx.add(fault);
        }
    }
}

/// Why an address can't be an interface's, if it can't.
fn not_an_interface_address(net: &IpNet) -> Option<&'static str> {
    let address = net.addr();
    if address.is_multicast() {
        return Some("a multicast address");
    }
    if address.is_loopback() {
        return Some("a loopback address");
    }
    if address.is_unspecified() {
        return Some("the unspecified address");
    }
    if net.prefix_len() == net.max_prefix_len() {
        return Some("alone in its prefix");
    }
    if net.prefix_len() < 8 {
        return Some("in a prefix shorter than /8");
    }
    match net {
        IpNet::V4(v4) if v4.addr().is_broadcast() || v4.addr().octets()[0] >= 240 => Some("reserved"),
        IpNet::V4(v4) if v4.prefix_len() < 31 && v4.addr() == v4.network() => Some("the prefix itself"),
        IpNet::V4(v4) if v4.prefix_len() < 31 && v4.addr() == v4.broadcast() => Some("the prefix's broadcast address"),
        IpNet::V6(v6) if v6.addr().is_unicast_link_local() => {
            Some("a link-local address, which the kernel makes itself")
        }
        IpNet::V6(v6) if v6.prefix_len() < 127 && v6.addr() == v6.network() => Some("the prefix's anycast address"),
        _ => None,
    }
}
