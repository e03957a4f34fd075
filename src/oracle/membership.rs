//! Who wants which packets on a wire: hosts that joined, and proxies on behalf of what lies below them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::world::World;
use crate::topology::plan::{Attachment, Daemon, Multicast, NodeId, Plan, WireId};
use crate::topology::steps::SourceFilter;

/// How sure the oracle is that something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Certainty {
    /// It must not happen.
    No,
    /// It may happen or not; both are right.
    Maybe,
    /// It must happen.
    Yes,
}

/// Whether a filter takes packets of a source.
pub fn accepts(filter: &SourceFilter, source: IpAddr) -> bool {
    match filter {
        SourceFilter::Include(sources) => sources.contains(&source),
        SourceFilter::Exclude(sources) => !sources.contains(&source),
    }
}

/// Whether a filter takes no source at all, which is not to be a member (RFC 3376 §3.1).
pub fn is_nothing(filter: &SourceFilter) -> bool {
    matches!(filter, SourceFilter::Include(sources) if sources.is_empty())
}

/// The filter that takes what either takes (RFC 3376 §3.2).
pub fn union(a: &SourceFilter, b: &SourceFilter) -> SourceFilter {
    use SourceFilter::{Exclude, Include};
    match (a, b) {
        (Include(a), Include(b)) => Include(a | b),
        (Exclude(a), Exclude(b)) => Exclude(a & b),
        (Exclude(out), Include(into)) | (Include(into), Exclude(out)) => Exclude(out - into),
    }
}

/// Whether a router's daemon listens to IGMP at an interface.
pub(super) fn runs_igmp(plan: &Plan, world: &World, at: Attachment) -> Certainty {
    let Some(router) = plan.node(at.node).router() else { return Certainty::No };
    if world.is_dead(at.node) || plan.igmp_key(at, |igmp| &igmp.enabled) == Some(&false) {
        return Certainty::No;
    }
    if router.multicast == Multicast::Proxy && router.upstream == Some(at.interface) {
        // A proxy is a host there (RFC 4605 §4).
        return Certainty::No;
    }
    match router.daemon {
        Daemon::RouterCore | Daemon::Frr | Daemon::Pimd => Certainty::Yes,
        Daemon::Smcroute => Certainty::No,
        // Any program may or may not.
        Daemon::Exec(_) => Certainty::Maybe,
    }
}

/// Whether a router speaks PIM at an interface.
pub(super) fn runs_pim(plan: &Plan, world: &World, at: Attachment) -> Certainty {
    let Some(router) = plan.node(at.node).router() else { return Certainty::No };
    if world.is_dead(at.node) || !plan.has_pim(at) || plan.interface(at).ipv4().is_none() {
        return Certainty::No;
    }
    match router.daemon {
        // Until its neighbours have waited for its hold time, a stopped one still counts.
        Daemon::RouterCore | Daemon::Frr | Daemon::Pimd if world.is_stopped(at.node) => Certainty::Maybe,
        Daemon::RouterCore | Daemon::Frr | Daemon::Pimd => Certainty::Yes,
        Daemon::Smcroute => Certainty::No,
        Daemon::Exec(_) => Certainty::Maybe,
    }
}

/// The routers that should be PIM neighbours of the one at an interface, by their interfaces there, with how sure that is (RFC 3973
/// §4.3): all that speak PIM on the wire and can be heard. Nobody, where it does not speak PIM itself.
pub fn pim_neighbours(plan: &Plan, world: &World, at: Attachment) -> BTreeMap<Attachment, Certainty> {
    let speaks = runs_pim(plan, world, at);
    plan.wire(plan.interface(at).wire)
        .ends
        .iter()
        .filter(|end| end.node != at.node && world.carries(plan, at, **end))
        .map(|end| (*end, runs_pim(plan, world, *end).min(speaks)))
        .filter(|(_, sure)| *sure > Certainty::No)
        .collect()
}

/// The IGMP version that a router speaks at an interface.
pub(super) fn version_at(plan: &Plan, at: Attachment) -> u8 {
    plan.igmp_key(at, |igmp| &igmp.version).copied().unwrap_or(3)
}

/// Whether some router or member of the group on a wire speaks a version without source lists, so that the wire takes the group
/// from all sources (RFC 3376 §7.3.2).
pub(super) fn is_without_sources(plan: &Plan, world: &World, wire: WireId, group: IpAddr) -> bool {
    plan.wire(wire).ends.iter().any(|&end| match plan.node(end.node).host() {
        Some(host) => host.igmp_version.is_some_and(|v| v < 3) && world.filter(end.node, group).is_some(),
        None => runs_igmp(plan, world, end) == Certainty::Yes && version_at(plan, end) < 3,
    })
}

/// Whether the IGMPv1 rules hold for a group on a wire: a version 1 host has no leave message, a version 1 querier hears none.
pub(super) fn is_version_1(plan: &Plan, world: &World, wire: WireId, group: IpAddr) -> bool {
    plan.wire(wire).ends.iter().any(|&end| match plan.node(end.node).host() {
        Some(host) => host.igmp_version == Some(1) && world.filter(end.node, group).is_some(),
        None => runs_igmp(plan, world, end) == Certainty::Yes && version_at(plan, end) == 1,
    })
}

/// Whether they may have held: a member that left is no member of this world any more, so any host of version 1 on the wire counts.
pub(super) fn was_version_1(plan: &Plan, world: &World, wire: WireId, group: IpAddr) -> bool {
    let ends = &plan.wire(wire).ends;
    ends.iter().any(|end| plan.node(end.node).host().is_some_and(|h| h.igmp_version == Some(1)))
        || is_version_1(plan, world, wire, group)
}

/// Whether a router knows (once all has settled) somebody on one of its interfaces who wants (source, group).
///
/// A `deaf` querier is not excused: the oracle says what should be.
pub fn wanted(plan: &Plan, world: &World, at: Attachment, source: IpAddr, group: IpAddr) -> Certainty {
    wanted_below(plan, world, at, source, group, None)
}

/// Routers that have been asked on the way down, the last one first: proxies may ask one another in a circle.
#[derive(Clone, Copy)]
struct Asked<'a> {
    node: NodeId,
    before: Option<&'a Asked<'a>>,
}

impl Asked<'_> {
    fn is_among(node: NodeId, asked: Option<&Asked<'_>>) -> bool {
        std::iter::successors(asked, |asked| asked.before).any(|asked| asked.node == node)
    }
}

fn wanted_below(
    plan: &Plan,
    world: &World,
    at: Attachment,
    source: IpAddr,
    group: IpAddr,
    before: Option<&Asked<'_>>,
) -> Certainty {
    let listening = runs_igmp(plan, world, at);
    // IGMP is IPv4's; IPv6 members are not tracked by the querier of this version.
    if listening == Certainty::No || group.is_ipv6() || Asked::is_among(at.node, before) {
        return Certainty::No;
    }
    let asked = Asked { node: at.node, before };
    let allowed = plan.igmp_key(at, |igmp| &igmp.allowed_groups);
    if allowed.is_some_and(|allowed| !allowed.iter().any(|prefix| prefix.contains(&group))) {
        return Certainty::No;
    }
    let static_joins = plan.igmp_key(at, |igmp| &igmp.static_joins);
    let joined_for_ever = static_joins
        .into_iter()
        .flatten()
        .any(|join| join.group == group && join.source.is_none_or(|wanted| wanted == source));
    let mut most = if joined_for_ever { listening } else { Certainty::No };
    let wire = plan.interface(at).wire;
    let all_sources = is_without_sources(plan, world, wire, group);
    for &end in &plan.wire(wire).ends {
        if end == at || !world.carries(plan, end, at) {
            continue;
        }
        let here = if plan.node(end.node).is_router() {
            proxied(plan, world, end, source, group, &asked)
        } else if world.filter(end.node, group).is_some_and(|f| all_sources || accepts(f, source)) {
            Certainty::Yes
        } else {
            Certainty::No
        };
        most = most.max(here.min(listening));
    }
    most
}

/// Whether the router at `upstream` asks there as a proxy (RFC 4605 §4.1) for what is wanted below it.
fn proxied(
    plan: &Plan,
    world: &World,
    upstream: Attachment,
    source: IpAddr,
    group: IpAddr,
    asked: &Asked<'_>,
) -> Certainty {
    let node = plan.node(upstream.node);
    let Some(router) = node.router() else { return Certainty::No };
    if router.multicast != Multicast::Proxy
        || router.upstream != Some(upstream.interface)
        || world.is_dead(upstream.node)
    {
        return Certainty::No;
    }
    if node.interfaces[upstream.interface].is_boundary_for(group) {
        return Certainty::No;
    }
    (0..node.interfaces.len())
        .filter(|&interface| interface != upstream.interface && !node.interfaces[interface].is_boundary_for(group))
        .map(|interface| {
            wanted_below(plan, world, Attachment { node: upstream.node, interface }, source, group, Some(asked))
        })
        .max()
        .unwrap_or(Certainty::No)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::testing::{Net, all, only};

    const GROUP: &str = "239.1.1.1";

    fn group() -> IpAddr {
        GROUP.parse().unwrap()
    }

    fn source() -> IpAddr {
        "10.9.9.9".parse().unwrap()
    }

    #[test]
    fn union_follows_rfc_3376_section_3_2() {
        let (a, b): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let include = |s: &[IpAddr]| SourceFilter::Include(s.iter().copied().collect());
        let exclude = |s: &[IpAddr]| SourceFilter::Exclude(s.iter().copied().collect());
        assert_eq!(union(&include(&[a]), &include(&[b])), include(&[a, b]));
        assert_eq!(union(&exclude(&[a, b]), &exclude(&[b])), exclude(&[b]));
        assert_eq!(union(&exclude(&[a, b]), &include(&[a])), exclude(&[b]));
    }

    #[test]
    fn one_igmpv2_member_makes_its_lan_take_all_sources() {
        let mut net = Net::new();
        let (r, h1, h2) = (net.router("r"), net.host("h1"), net.host("h2"));
        net.lan("lan", &[r, h1, h2]);
        net.host_mut(h2).igmp_version = Some(2);
        let plan = net.plan();
        let at = Attachment { node: r, interface: 0 };
        let mut world = World::new();
        world.join(h1, group(), &only(&["10.0.0.7"]));
        assert_eq!(wanted(&plan, &world, at, source(), group()), Certainty::No);
        world.join(h2, group(), &only(&["10.0.0.7"]));
        assert_eq!(wanted(&plan, &world, at, source(), group()), Certainty::Yes);
    }

    #[test]
    fn a_proxy_asks_upstream_for_what_is_wanted_below_it() {
        let mut net = Net::new();
        let (top, p1, p2, h) = (net.router("top"), net.router("p1"), net.router("p2"), net.host("h"));
        net.link("a", top, p1);
        net.link("b", p1, p2);
        net.link("c", p2, h);
        net.proxy(p1, 0);
        net.proxy(p2, 0);
        let plan = net.plan();
        let at = Attachment { node: top, interface: 0 };
        let mut world = World::new();
        assert_eq!(wanted(&plan, &world, at, source(), group()), Certainty::No);
        world.join(h, group(), &all());
        assert_eq!(wanted(&plan, &world, at, source(), group()), Certainty::Yes);
        assert_eq!(crate::oracle::querier(&plan, &world, plan.find_wire("a").unwrap()), Some(top));
        world.kill(p1);
        assert_eq!(wanted(&plan, &world, at, source(), group()), Certainty::No);
    }

    #[test]
    fn a_group_that_is_not_allowed_is_not_wanted() {
        let mut net = Net::new();
        let (r, h) = (net.router("r"), net.host("h"));
        net.link("l", r, h);
        net.router_mut(r).igmp.allowed_groups = Some(vec!["239.2.0.0/16".parse().unwrap()]);
        let plan = net.plan();
        let mut world = World::new();
        world.join(h, group(), &all());
        assert_eq!(wanted(&plan, &world, Attachment { node: r, interface: 0 }, source(), group()), Certainty::No);
    }
}
