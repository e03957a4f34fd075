//! Which rendezvous point each router uses for a group (RFC 7761 §4.7): by its configuration, or by what bootstrap messages bring it (RFC 5059).
//!
//! A bootstrap message is taken from the neighbour that the route to its sender leads to, and from no other (RFC 5059 §3.4); a candidate
//! RP's advertisement takes the unicast way. So both may fail where a network is connected all the same: by a cut that nobody notices, or
//! a daemon that is dead.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::membership::{Certainty, runs_pim};
use super::rendezvous::{Mode, mode};
use super::ways::{Ways, whichever};
use super::world::World;
use crate::topology::plan::{Attachment, Multicast, NodeId, Plan};

/// The address of the rendezvous point that a router uses for a group once bootstrap messages and advertisements have spread; of several
/// that it may use, one. None if it knows of none.
pub fn rendezvous_point(plan: &Plan, world: &World, node: NodeId, group: IpAddr) -> Option<IpAddr> {
    RendezvousPoints::of(plan, world, group, false, &mut BTreeMap::new()).at(node).into_iter().flatten().next()
}

/// A candidate bootstrap router.
struct Candidate {
    node: NodeId,
    hash_mask_length: u8,
    /// By node: whether its bootstrap messages come there, if it is elected.
    heard: Vec<Certainty>,
    /// By node that is a candidate RP: whether its advertisements come here.
    hears: Vec<Certainty>,
}

/// The rendezvous points of a group in a world.
pub(super) struct RendezvousPoints<'a> {
    plan: &'a Plan,
    world: &'a World,
    group: IpAddr,
    /// The most preferred first.
    candidates: Vec<Candidate>,
}

impl<'a> RendezvousPoints<'a> {
    /// Who there is, and who hears whom; `in_transition`: while the world is turning into this one. `ways` keeps the ways to addresses.
    pub fn of(
        plan: &'a Plan,
        world: &'a World,
        group: IpAddr,
        in_transition: bool,
        ways: &mut BTreeMap<IpAddr, Ways>,
    ) -> Self {
        let mut ranked: Vec<_> = plan
            .node_ids()
            .filter(|node| !world.is_dead(*node))
            .filter_map(|node| {
                let bsr = plan.node(node).router()?.pim.candidate_bsr.as_ref()?;
                let zone = bsr.zones.iter().filter(|zone| zone.contains(&group)).map(IpNet::prefix_len).max();
                // One with zones serves these alone; the narrowest that holds the group counts.
                let length = if bsr.zones.is_empty() { Some(0) } else { zone };
                length.map(|length| ((length, bsr.priority, bsr.address), node, bsr))
            })
            .collect();
        ranked.sort_by_key(|(rank, ..)| Reverse(*rank));
        let mut candidates: Vec<Candidate> = Vec::new();
        for (_, node, bsr) in ranked {
            let ways = ways.entry(bsr.address).or_insert_with(|| Ways::to(plan, world, bsr.address));
            // One that hears a better one is silent.
            let better = candidates.iter().map(|better| better.heard[node.0]).max().unwrap_or(Certainty::No);
            let speaks = match better {
                Certainty::Yes => continue,
                Certainty::Maybe => Certainty::Maybe,
                Certainty::No => Certainty::Yes,
            };
            let mut heard = spread(plan, world, node, ways);
            if in_transition {
                tell_restarted(plan, world, &mut heard);
            }
            let heard = heard.into_iter().map(|heard| heard.min(speaks)).collect();
            candidates.push(Candidate {
                node,
                hash_mask_length: bsr.hash_mask_length,
                heard,
                hears: ways.arrives.clone(),
            });
        }
        RendezvousPoints { plan, world, group, candidates }
    }

    /// The addresses of the rendezvous points that a router may use once bootstrap messages and advertisements have spread: one, if that is
    /// sure; among them none, if it may know of none.
    pub fn at(&self, node: NodeId) -> BTreeSet<Option<IpAddr>> {
        let router = self.plan.node(node).router().filter(|_| mode(self.plan, node, self.group) == Some(Mode::Sparse));
        let Some(router) = router else { return BTreeSet::from([None]) };
        let configured = router.pim.rp.iter().flatten().filter(|rp| rp.groups.contains(&self.group));
        let configured = configured.max_by_key(|rp| (rp.overrides, rp.groups.prefix_len(), rp.address));
        let of = |learned: Option<(u8, IpAddr)>| match (configured, learned) {
            (Some(rp), Some((length, _))) if rp.overrides || rp.groups.prefix_len() > length => Some(rp.address),
            (_, Some((_, address))) => Some(address),
            (rp, None) => rp.map(|rp| rp.address),
        };
        self.learned(node).into_iter().map(of).collect()
    }

    /// All that bootstrap messages may name while one of several worlds turns into another: what a bootstrap router knew in one of them, it
    /// tells all that hear it in another; and one that is newly elected, or was started again, announces those candidates alone that it has
    /// heard so far, any of them.
    pub fn told_between(plan: &Plan, worlds: &[World], group: IpAddr) -> BTreeSet<IpAddr> {
        let points = worlds.iter().map(|world| RendezvousPoints::of(plan, world, group, true, &mut BTreeMap::new()));
        let points: Vec<RendezvousPoints<'_>> = points.collect();
        let mut told: BTreeSet<IpAddr> = points.iter().flat_map(RendezvousPoints::all_learned).collect();
        let routers = |points: &RendezvousPoints<'_>| {
            let speak = points.candidates.iter().map(|candidate| candidate.node);
            speak.map(|node| (node, points.world.restarts(node))).collect::<Vec<_>>()
        };
        if points.windows(2).any(|two| routers(&two[0]) != routers(&two[1])) {
            told.extend(points[0].candidate_rps(&|_| true).into_iter().map(|(_, _, address)| address));
        }
        told
    }

    fn all_learned(&self) -> BTreeSet<IpAddr> {
        let told = self.plan.node_ids().filter(|node| self.is_told(*node));
        told.flat_map(|node| self.at(node)).flatten().collect()
    }

    /// Whether a router may hear bootstrap messages.
    pub fn is_told(&self, node: NodeId) -> bool {
        self.candidates.iter().any(|candidate| candidate.heard[node.0] > Certainty::No)
    }

    /// The rendezvous points that the elected bootstrap router may announce to a router, and the length of their ranges (RFC 5059 §3,
    /// RFC 7761 §4.7.1).
    fn learned(&self, node: NodeId) -> BTreeSet<Option<(u8, IpAddr)>> {
        let mut all = BTreeSet::new();
        if self.world.is_announcing_hindered() {
            // Any of them may have been missed for a while, or be announced still.
            let candidates = self.candidate_rps(&|_| true);
            all.extend(candidates.into_iter().map(|(_, length, address)| Some((length, address))));
        }
        for candidate in &self.candidates {
            if candidate.heard[node.0] == Certainty::No {
                continue;
            }
            all.extend(self.announced(candidate));
            if candidate.heard[node.0] == Certainty::Yes {
                return all;
            }
        }
        all.insert(None);
        all
    }

    /// Candidate RPs for the group among some, with the lengths of their ranges.
    fn candidate_rps(&self, among: &dyn Fn(NodeId) -> bool) -> Vec<(NodeId, u8, IpAddr)> {
        let nodes = self.plan.node_ids().filter(|id| among(*id));
        let of = |id: NodeId| {
            let rp = self.plan.node(id).router()?.pim.candidate_rp.as_ref()?;
            let length = rp.groups.iter().filter(|prefix| prefix.contains(&self.group)).map(IpNet::prefix_len).max()?;
            Some((id, length, rp.address))
        };
        nodes.filter_map(of).collect()
    }

    /// What a bootstrap router announces.
    fn announced(&self, bsr: &Candidate) -> BTreeSet<Option<(u8, IpAddr)>> {
        // A candidate advertises itself to the bootstrap router that it knows.
        let sure = |id: NodeId| match self.world.is_dead(id) {
            true => Certainty::No,
            false => bsr.hears[id.0].min(bsr.heard[id.0]),
        };
        let mut ranked: Vec<_> = self
            .candidate_rps(&|id| sure(id) > Certainty::No)
            .into_iter()
            .map(|(id, length, address)| {
                let priority =
                    self.plan.node(id).router().and_then(|r| r.pim.candidate_rp.as_ref()).map(|rp| rp.priority);
                let rank = (length, Reverse(priority), hash(self.group, bsr.hash_mask_length, address), address);
                (rank, id, length, address)
            })
            .collect();
        ranked.sort_by_key(|(rank, ..)| Reverse(*rank));
        let surely = ranked.iter().position(|(_, id, ..)| sure(*id) == Certainty::Yes);
        let count = surely.map_or(ranked.len(), |n| n + 1);
        let none = surely.is_none().then_some(None);
        ranked.into_iter().take(count).map(|(_, _, length, address)| Some((length, address))).chain(none).collect()
    }
}

/// By node: whether bootstrap messages of a router come there, each from the neighbour that the route leads to.
fn spread(plan: &Plan, world: &World, from: NodeId, ways: &Ways) -> Vec<Certainty> {
    let mut heard = vec![Certainty::No; plan.nodes.len()];
    heard[from.0] = Certainty::Yes;
    for _ in 0..plan.nodes.len() {
        let mut moved = false;
        for node in plan.node_ids().filter(|node| *node != from) {
            let Some(rpf) = &ways.rpf[node.0] else { continue };
            let by = rpf.neighbours.iter().map(|end| {
                let wire = plan.interface(*end).wire;
                let mut own = (0..plan.node(node).interfaces.len()).map(|interface| Attachment { node, interface });
                match own.find(|own| plan.interface(*own).wire == wire && world.carries(plan, *own, *end)) {
                    Some(own) => heard[end.node.0].min(open(plan, world, own)).min(open(plan, world, *end)),
                    None => Certainty::No,
                }
            });
            let now = whichever(&by.collect::<Vec<_>>());
            moved |= now != heard[node.0];
            heard[node.0] = now;
        }
        if !moved {
            break;
        }
    }
    heard
}

/// Whether bootstrap messages come to an interface, and leave by it.
fn open(plan: &Plan, world: &World, at: Attachment) -> Certainty {
    let is_sparse = plan.node(at.node).router().is_some_and(|router| router.multicast == Multicast::PimSm);
    match plan.pim_at(at) {
        Some(pim) if pim.bsr_border != Some(true) && is_sparse => runs_pim(plan, world, at),
        _ => Certainty::No,
    }
}

/// One that was started again is told by any neighbour, with the No-Forward bit, and keeps that for a BS_Timeout (RFC 5059 §3.1.3, §3.5):
/// until the world has come to rest.
fn tell_restarted(plan: &Plan, world: &World, heard: &mut [Certainty]) {
    let ends =
        |node: NodeId| (0..plan.node(node).interfaces.len()).map(move |interface| Attachment { node, interface });
    let told = |node: NodeId| {
        let near =
            ends(node).flat_map(|own| plan.wire(plan.interface(own).wire).ends.iter().map(move |end| (own, *end)));
        near.filter(|(own, end)| end.node != node && world.carries(plan, *own, *end))
            .map(|(own, end)| heard[end.node.0].min(open(plan, world, own)).min(open(plan, world, end)))
            .max()
            .unwrap_or(Certainty::No)
    };
    let restarted = plan.node_ids().filter(|node| world.restarts(*node) > 0 && !world.is_dead(*node));
    let told: Vec<_> = restarted.map(|node| (node, told(node).min(Certainty::Maybe))).collect();
    for (node, told) in told {
        heard[node.0] = heard[node.0].max(told);
    }
}

/// `Value(G,M,C(i))` (RFC 7761 §4.7.2).
fn hash(group: IpAddr, mask_length: u8, candidate: IpAddr) -> u32 {
    let (IpAddr::V4(group), IpAddr::V4(candidate)) = (group, candidate) else { return 0 };
    let mask = u32::MAX.checked_shl(32 - u32::from(mask_length.min(32))).unwrap_or(0);
    let step = |value: u64| (1_103_515_245 * value + 12345) & 0x7fff_ffff;
    // Only the last 31 bits count, whatever is above them.
    let first = step(u64::from(group.to_bits() & mask));
    let second = step(first ^ u64::from(Ipv4Addr::to_bits(candidate)));
    u32::try_from(second).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::testing::Net;
    use router_core::config::{CandidateBsr, CandidateRp, StaticRp};

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// The one rendezvous point that a router surely uses; none if it surely knows none.
    fn only(plan: &Plan, world: &World, node: NodeId, group: &str) -> Option<IpAddr> {
        let all = RendezvousPoints::of(plan, world, ip(group), false, &mut BTreeMap::new()).at(node);
        assert_eq!(all.len(), 1, "{all:?}");
        all.into_iter().next().flatten()
    }

    #[test]
    fn the_hash_is_that_of_rfc_7761() {
        // 1103515245 * ((1103515245 * (G & M) + 12345) xor C) + 12345 mod 2^31, by hand in wider numbers.
        let by_hand = |group: u128, candidate: u128| {
            let a = 1_103_515_245u128;
            (a * ((a * group + 12345) ^ candidate) + 12345) % (1 << 31)
        };
        let (group, candidate) = (ip("239.1.1.7"), ip("10.255.0.3"));
        let expected = by_hand(u128::from(0xef01_0104u32), u128::from(0x0aff_0003u32));
        assert_eq!(u128::from(hash(group, 30, candidate)), expected);
        assert_eq!(hash(ip("239.1.1.4"), 30, candidate), hash(group, 30, candidate), "one mask, one value");
        assert_ne!(hash(ip("239.1.1.8"), 30, candidate), hash(group, 30, candidate));
    }

    #[test]
    fn the_longest_configured_match_serves_a_group() {
        let mut net = Net::new();
        let a = net.sparse("a");
        let rp = |address: &str, groups: &str| StaticRp {
            address: ip(address),
            groups: groups.parse().unwrap(),
            overrides: false,
        };
        net.router_mut(a).pim.rp = Some(vec![rp("10.255.0.1", "224.0.0.0/4"), rp("10.255.0.2", "239.1.0.0/16")]);
        let of = |group: &str| only(&net.plan(), &World::new(), a, group);
        assert_eq!(of("239.1.1.1"), Some(ip("10.255.0.2")));
        assert_eq!(of("239.2.1.1"), Some(ip("10.255.0.1")));
        assert_eq!(of("232.1.1.1"), None, "source-specific groups have none");
    }

    #[test]
    fn the_bootstrap_router_announces_who_is_alive_and_no_further_than_its_domain() {
        let mut net = Net::new();
        let (a, b, c) = (net.sparse("a"), net.sparse("b"), net.sparse("c"));
        net.link("ab", a, b);
        net.link("bc", b, c);
        let candidate = |address: &str, priority: u8| CandidateRp {
            address: ip(address),
            groups: vec!["224.0.0.0/4".parse().unwrap()],
            priority,
            interval: None,
        };
        net.router_mut(a).pim.candidate_bsr = Some(CandidateBsr {
            address: ip("10.0.0.1"),
            priority: 64,
            hash_mask_length: 30,
            interval: None,
            zones: Vec::new(),
            allowed_rps: None,
        });
        net.router_mut(a).pim.candidate_rp = Some(candidate("10.0.0.1", 10));
        net.router_mut(c).pim.candidate_rp = Some(candidate("10.0.1.2", 5));
        let mut world = World::new();
        let of = |net: &Net, world: &World, node| only(&net.plan(), world, node, "239.1.1.1");
        assert_eq!(of(&net, &world, b), Some(ip("10.0.1.2")), "the lower priority");
        world.kill(c);
        assert_eq!(of(&net, &world, b), Some(ip("10.0.0.1")));
        let world = World::new();
        net.interface_mut(b, 1).pim.bsr_border = Some(true);
        assert_eq!(of(&net, &world, c), None);
        assert_eq!(of(&net, &world, b), Some(ip("10.0.0.1")));
    }

    #[test]
    fn one_that_was_started_again_may_be_told_by_any_neighbour() {
        let mut net = Net::new();
        let (a, b, c) = (net.sparse("a"), net.sparse("b"), net.sparse("c"));
        net.link("ab", a, b);
        net.link("bc", b, c);
        let slow = net.link("ac", a, c);
        net.cost(slow, 10);
        net.router_mut(a).pim.candidate_bsr = Some(CandidateBsr {
            address: ip("10.255.0.1"),
            priority: 64,
            hash_mask_length: 30,
            interval: None,
            zones: Vec::new(),
            allowed_rps: None,
        });
        let plan = net.plan();
        let hears = |world: &World, in_transition: bool| {
            let points = RendezvousPoints::of(&plan, world, ip("239.1.1.1"), in_transition, &mut BTreeMap::new());
            points.candidates[0].heard[c.0]
        };
        let mut world = World::new();
        world.kill(b);
        assert_eq!(hears(&world, true), Certainty::No, "the route leads by a dead router");
        world.restart(c);
        assert_eq!(hears(&world, true), Certainty::Maybe);
        assert_eq!(hears(&world, false), Certainty::No, "what it was told has run out");
    }
}
