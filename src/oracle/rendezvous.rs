//! Which rendezvous point serves a group at a router (RFC 7761 §4.7), and who is the designated router of a wire (§4.3.2).

use std::cmp::Reverse;
use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::membership::{Certainty, pim_neighbours, runs_pim};
use super::world::World;
pub use crate::topology::plan::Mode;
use crate::topology::plan::{Attachment, Daemon, Multicast, NodeId, Plan, WireId};

/// How a router handles a group; none if it does not run PIM.
pub fn mode(plan: &Plan, node: NodeId, group: IpAddr) -> Option<Mode> {
    plan.mode(node, group)
}

/// The ends that may be the designated router of a wire: one, if it is sure who speaks PIM there. The highest priority wins, of equals the
/// highest address (RFC 7761 §4.3.2).
pub fn designated(plan: &Plan, world: &World, wire: WireId) -> Vec<Attachment> {
    let ends = plan.wire(wire).ends.iter().filter(|end| !world.is_broken(plan, **end));
    elect(plan, ends.map(|end| (*end, runs_pim(plan, world, *end))).collect())
}

/// The same as a router at the wire sees it: of itself and its neighbours. None where it does not speak PIM.
pub fn designated_at(plan: &Plan, world: &World, at: Attachment) -> Vec<Attachment> {
    let own = runs_pim(plan, world, at);
    if own == Certainty::No {
        return Vec::new();
    }
    elect(plan, pim_neighbours(plan, world, at).into_iter().chain([(at, own)]).collect())
}

/// Whether a router announces a DR priority: dense mode has none.
fn announces(plan: &Plan, at: Attachment) -> Certainty {
    match plan.node(at.node).router().map(|router| (&router.daemon, router.multicast)) {
        Some((Daemon::Exec(_), _)) => Certainty::Maybe,
        Some((_, Multicast::PimSm)) => Certainty::Yes,
        _ => Certainty::No,
    }
}

/// Who may be elected of those that (may) speak PIM on a wire. Priorities count if all announce one, else addresses alone.
fn elect(plan: &Plan, mut ends: Vec<(Attachment, Certainty)>) -> Vec<Attachment> {
    ends.retain(|(_, speaks)| *speaks > Certainty::No);
    let priority = |end: &Attachment| plan.pim_at(*end).and_then(|pim| pim.dr_priority).unwrap_or(1);
    let address = |end: &Attachment| plan.interface(*end).ipv4().map(|address| address.addr());
    let is_silent = |end: &Attachment| announces(plan, *end) == Certainty::No;
    // The first who is there for certain, and whoever may be there before it.
    let first = |ends: &mut Vec<(Attachment, Certainty)>| {
        let surely = ends.iter().position(|(_, speaks)| *speaks == Certainty::Yes);
        ends.truncate(surely.map_or(ends.len(), |n| n + 1));
        ends.iter().map(|(end, _)| *end).collect::<Vec<_>>()
    };
    let mut elected = Vec::new();
    if !ends.iter().any(|(end, speaks)| is_silent(end) && *speaks == Certainty::Yes) {
        let mut all = ends.clone();
        all.retain(|(end, _)| !is_silent(end));
        all.sort_by_key(|(end, _)| Reverse((priority(end), address(end))));
        elected.extend(first(&mut all));
    }
    if ends.iter().any(|(end, _)| announces(plan, *end) < Certainty::Yes) {
        ends.sort_by_key(|(end, _)| Reverse(address(end)));
        let by_address = first(&mut ends);
        elected.extend(by_address.into_iter().filter(|end| !elected.contains(end)).collect::<Vec<_>>());
    }
    elected
}

/// The address of the rendezvous point that a router uses for a group once bootstrap messages and advertisements have spread; none if it
/// knows of none.
pub fn rendezvous_point(plan: &Plan, world: &World, node: NodeId, group: IpAddr) -> Option<IpAddr> {
    let router = plan.node(node).router().filter(|_| mode(plan, node, group) == Some(Mode::Sparse))?;
    let configured = router.pim.rp.iter().flatten().filter(|rp| rp.groups.contains(&group));
    let configured = configured.max_by_key(|rp| (rp.overrides, rp.groups.prefix_len(), rp.address));
    let learned = learned(plan, world, node, group);
    match (configured, learned) {
        (Some(rp), Some((length, address))) => {
            let wins = rp.overrides || rp.groups.prefix_len() > length;
            Some(if wins { rp.address } else { address })
        }
        (Some(rp), None) => Some(rp.address),
        (None, learned) => learned.map(|(_, address)| address),
    }
}

/// The rendezvous point that the elected bootstrap router announces to a router, and the length of its range (RFC 5059 §3, RFC 7761 §4.7.1).
fn learned(plan: &Plan, world: &World, node: NodeId, group: IpAddr) -> Option<(u8, IpAddr)> {
    if !plan.nodes.iter().filter_map(|n| n.router()).any(|r| r.pim.candidate_bsr.is_some()) {
        return None;
    }
    let domain = domain(plan, world, node);
    let speaks = |id: &NodeId| domain.contains(id) && !world.is_dead(*id);
    let bsrs = plan.node_ids().filter(speaks).filter_map(|id| {
        let bsr = plan.node(id).router()?.pim.candidate_bsr.as_ref()?;
        let zone = bsr.zones.iter().filter(|zone| zone.contains(&group)).map(IpNet::prefix_len).max();
        // One with zones serves these alone; the narrowest that holds the group counts.
        let length = if bsr.zones.is_empty() { Some(0) } else { zone };
        length.map(|length| ((length, bsr.priority, bsr.address), bsr))
    });
    let (_, bsr) = bsrs.max_by_key(|(rank, _)| *rank)?;
    let candidates = plan.node_ids().filter(speaks).filter_map(|id| {
        let rp = plan.node(id).router()?.pim.candidate_rp.as_ref()?;
        let length = rp.groups.iter().filter(|prefix| prefix.contains(&group)).map(IpNet::prefix_len).max()?;
        let rank = (length, Reverse(rp.priority), hash(group, bsr.hash_mask_length, rp.address), rp.address);
        Some((rank, (length, rp.address)))
    });
    candidates.max_by_key(|(rank, _)| *rank).map(|(_, found)| found)
}

/// The routers that bootstrap messages go to and fro between: neighbours by PIM, as far as no interface is a border.
fn domain(plan: &Plan, world: &World, from: NodeId) -> BTreeSet<NodeId> {
    let open = |at: Attachment| {
        plan.pim_at(at).is_some_and(|pim| pim.bsr_border != Some(true))
            && runs_pim(plan, world, at) > Certainty::No
            && plan.node(at.node).router().is_some_and(|router| router.multicast == Multicast::PimSm)
    };
    let mut reached = BTreeSet::from([from]);
    let mut next = VecDeque::from([from]);
    while let Some(node) = next.pop_front() {
        for interface in 0..plan.node(node).interfaces.len() {
            let here = Attachment { node, interface };
            if !open(here) {
                continue;
            }
            for &end in &plan.wire(plan.interface(here).wire).ends {
                if world.carries(plan, here, end) && open(end) && reached.insert(end.node) {
                    next.push_back(end.node);
                }
            }
        }
    }
    reached
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

/// The router that has an address.
pub fn owner(plan: &Plan, address: IpAddr) -> Option<NodeId> {
    plan.node_ids().filter(|id| plan.node(*id).is_router()).find(|id| {
        let node = plan.node(*id);
        let own = node.loopback.iter().chain(node.interfaces.iter().flat_map(|i| &i.addresses));
        own.into_iter().any(|own| own.addr() == address)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::testing::Net;
    use crate::topology::steps::{Cut, CutKind};
    use router_core::config::{CandidateBsr, CandidateRp, StaticRp};

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
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
    fn the_highest_priority_is_designated_then_the_highest_address() {
        let mut net = Net::new();
        let (a, b, c) = (net.sparse("a"), net.sparse("b"), net.sparse("c"));
        let lan = net.lan("lan", &[a, b, c]);
        let mut world = World::new();
        let dr = |net: &Net, world: &World| designated(&net.plan(), world, lan).first().map(|end| end.node);
        assert_eq!(dr(&net, &world), Some(c));
        net.router_mut(a).pim.dr_priority = Some(10);
        assert_eq!(dr(&net, &world), Some(a));
        world.kill(a);
        assert_eq!(dr(&net, &world), Some(c));
    }

    #[test]
    fn addresses_alone_decide_beside_a_router_that_announces_no_priority() {
        let mut net = Net::new();
        let (a, b, dense) = (net.sparse("a"), net.sparse("b"), net.pim("dense"));
        let lan = net.lan("lan", &[a, b, dense]);
        net.router_mut(a).pim.dr_priority = Some(10);
        let mut world = World::new();
        let nodes = |ends: Vec<Attachment>| ends.into_iter().map(|end| end.node).collect::<Vec<_>>();
        let dr = |net: &Net, world: &World| nodes(designated(&net.plan(), world, lan));
        let seen = |net: &Net, world: &World, node| {
            nodes(designated_at(&net.plan(), world, Attachment { node, interface: 0 }))
        };
        assert_eq!(dr(&net, &world), [dense]);
        // Whether the stopped one still counts is not sure.
        world.pause(dense);
        assert_eq!(dr(&net, &world), [a, dense, b]);
        world.kill(dense);
        assert_eq!(dr(&net, &world), [a]);
        assert_eq!(seen(&net, &world, b), [a]);
        assert_eq!(seen(&net, &world, dense), []);
        // Who is cut off a LAN is alone there.
        let end = Some(Attachment { node: a, interface: 0 });
        world.fail(&Cut { wire: lan, end, how: CutKind::Silent, detected_after: None });
        assert_eq!((seen(&net, &world, a), seen(&net, &world, b)), (vec![a], vec![b]));
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
        let of = |group: &str| rendezvous_point(&net.plan(), &World::new(), a, ip(group));
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
        let of = |net: &Net, world: &World, node| rendezvous_point(&net.plan(), world, node, ip("239.1.1.1"));
        assert_eq!(of(&net, &world, b), Some(ip("10.0.1.2")), "the lower priority");
        world.kill(c);
        assert_eq!(of(&net, &world, b), Some(ip("10.0.0.1")));
        let world = World::new();
        net.interface_mut(b, 1).pim.bsr_border = Some(true);
        assert_eq!(of(&net, &world, c), None);
        assert_eq!(of(&net, &world, b), Some(ip("10.0.0.1")));
    }
}
