//! The macros of RFC 3973 §4.1.3, §4.2, §4.5.1 and §4.6, each a function of its name. Where the RFC has one name for (S,G) and for (*,G), the
//! one for (*,G) ends in `_all`. `RPF_interface(S)`, `UpstreamPState(S,G)` and `DownstreamPState(S,G,I)` are what an [`Entry`] holds;
//! `infinite_assert_metric()` is with the metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::entry::Entry;
use super::{assert, downstream};
use crate::forwarding::EntryKey;
use crate::pim::metric::{AssertMetric, infinite_assert_metric};
use crate::pim::mrib::Rpf;
use crate::router::port::Port;
use crate::router::{InterfaceId, SourceFilter};
use crate::time::Time;

/// Interfaces by id.
pub type Ports = BTreeMap<InterfaceId, Port>;
/// A set of interfaces.
pub type Interfaces = BTreeSet<InterfaceId>;

fn interfaces(ports: &Ports, chosen: impl Fn(InterfaceId, &Port) -> bool) -> Interfaces {
    ports.iter().filter(|(id, port)| port.state.up && chosen(**id, port)).map(|(id, _)| *id).collect()
}

/// `pim_nbrs`: interfaces with at least one PIM neighbour (§4.1.3).
pub fn pim_nbrs(ports: &Ports) -> Interfaces {
    interfaces(ports, |_, port| port.pim.as_ref().is_some_and(|link| !link.neighbours().is_empty()))
}

/// `local_receiver_include(S,G,I)`: members on the interface want packets of S in particular (§4.1.3).
pub fn local_receiver_include(port: &Port, key: EntryKey) -> bool {
    matches!(port.filter(key.group), Some(SourceFilter::Include(sources)) if sources.contains(&key.source))
}

/// `local_receiver_include(*,G,I)`: members on the interface want packets of all sources, or all but some (§4.1.3).
pub fn local_receiver_include_all(port: &Port, group: IpAddr) -> bool {
    matches!(port.filter(group), Some(SourceFilter::Exclude(_)))
}

/// `local_receiver_exclude(S,G,I)`: they do, but none of them wants S (§4.1.3).
pub fn local_receiver_exclude(port: &Port, key: EntryKey) -> bool {
    matches!(port.filter(key.group), Some(SourceFilter::Exclude(sources)) if sources.contains(&key.source))
}

/// `pim_include(S,G)` (§4.1.3).
pub fn pim_include(ports: &Ports, key: EntryKey) -> Interfaces {
    interfaces(ports, |_, port| local_receiver_include(port, key))
}

/// `pim_include(*,G)` (§4.1.3).
pub fn pim_include_all(ports: &Ports, group: IpAddr) -> Interfaces {
    interfaces(ports, |_, port| local_receiver_include_all(port, group))
}

/// `pim_exclude(S,G)` (§4.1.3).
pub fn pim_exclude(ports: &Ports, key: EntryKey) -> Interfaces {
    interfaces(ports, |_, port| local_receiver_exclude(port, key))
}

/// `prunes(S,G)` (§4.1.3).
pub fn prunes(ports: &Ports, entry: &Entry) -> Interfaces {
    interfaces(ports, |id, _| entry.downstream(id) == downstream::State::Pruned)
}

/// `boundary(G)` (§4.1.3).
pub fn boundary(ports: &Ports, group: IpAddr) -> Interfaces {
    interfaces(ports, |_, port| port.is_boundary_for(group))
}

/// `boundary(I,G)` (§4.5.1).
pub fn is_boundary(ports: &Ports, interface: InterfaceId, group: IpAddr) -> bool {
    ports.get(&interface).is_some_and(|port| port.is_boundary_for(group))
}

/// `my_addr(I)` (§4.5.1).
pub fn my_addr(ports: &Ports, interface: InterfaceId) -> Option<IpAddr> {
    ports.get(&interface)?.pim.as_ref()?.address()
}

/// `CouldAssert(S,G,I)` (§4.6.4).
pub fn could_assert(entry: &Entry, interface: InterfaceId) -> bool {
    entry.rpf.is_some() && entry.rpf_interface() != Some(interface)
}

/// `spt_assert_metric(S,I)` (§4.6.1); infinite without a route to the source.
pub fn spt_assert_metric(ports: &Ports, rpf: Option<Rpf>, interface: InterfaceId) -> AssertMetric {
    match rpf {
        Some(Rpf { preference, metric, .. }) => {
            AssertMetric { rpt: false, preference, metric, address: my_addr(ports, interface) }
        }
        None => infinite_assert_metric(),
    }
}

/// `my_assert_metric(S,G,I)` (§4.6.1).
pub fn my_assert_metric(ports: &Ports, entry: &Entry, interface: InterfaceId) -> AssertMetric {
    if could_assert(entry, interface) {
        spt_assert_metric(ports, entry.rpf, interface)
    } else {
        infinite_assert_metric()
    }
}

/// `I_Am_Assert_loser(S,G,I)` (§4.1.3).
pub fn i_am_assert_loser(entry: &Entry, interface: InterfaceId) -> bool {
    matches!(entry.assert(interface), assert::State::Loser { .. })
}

/// `AssertWinner(S,G,I)`; NULL in NoInfo state (§4.6.3).
pub fn assert_winner(ports: &Ports, entry: &Entry, interface: InterfaceId) -> Option<IpAddr> {
    match entry.assert(interface) {
        assert::State::NoInfo => None,
        assert::State::Winner => my_addr(ports, interface),
        assert::State::Loser { winner, .. } => Some(winner),
    }
}

/// `AssertWinnerMetric(S,G,I)`; infinite in NoInfo state (§4.6.3).
pub fn assert_winner_metric(ports: &Ports, entry: &Entry, interface: InterfaceId) -> AssertMetric {
    match entry.assert(interface) {
        assert::State::NoInfo => infinite_assert_metric(),
        assert::State::Winner => spt_assert_metric(ports, entry.rpf, interface),
        assert::State::Loser { metric, .. } => metric,
    }
}

/// `lost_assert(S,G,I)` (§4.6.3).
pub fn lost_assert(ports: &Ports, entry: &Entry, interface: InterfaceId) -> bool {
    if entry.rpf_interface() == Some(interface) {
        return false;
    }
    assert_winner_metric(ports, entry, interface).is_better_than(&spt_assert_metric(ports, entry.rpf, interface))
}

/// `lost_assert(S,G)` (§4.1.3).
pub fn lost_asserts(ports: &Ports, entry: &Entry) -> Interfaces {
    interfaces(ports, |id, _| lost_assert(ports, entry, id))
}

/// Interfaces on which this router has won an assert.
pub fn won(entry: &Entry) -> Interfaces {
    entry.interfaces.iter().filter(|(_, state)| state.assert == assert::State::Winner).map(|(id, _)| *id).collect()
}

/// Interfaces whose assert winner is worse than this router by now.
pub fn beaten_winners(ports: &Ports, entry: &Entry) -> Interfaces {
    let beaten =
        |id: InterfaceId| i_am_assert_loser(entry, id) && could_assert(entry, id) && !lost_assert(ports, entry, id);
    entry.interfaces.keys().copied().filter(|id| beaten(*id)).collect()
}

/// `immediate_olist(S,G)`, its operations in the order of the RFC (§4.1.3):
///
/// ```text
/// pim_nbrs (-) prunes(S,G) (+) ( pim_include(*,G) (-) pim_exclude(S,G) ) (+) pim_include(S,G) (-) lost_assert(S,G) (-) boundary(G)
/// ```
pub fn immediate_olist(ports: &Ports, entry: &Entry, key: EntryKey) -> Interfaces {
    let mut olist = &pim_nbrs(ports) - &prunes(ports, entry);
    olist.extend(&pim_include_all(ports, key.group) - &pim_exclude(ports, key));
    olist.extend(pim_include(ports, key));
    &(&olist - &lost_asserts(ports, entry)) - &boundary(ports, key.group)
}

/// `olist(S,G)` (§4.1.3): without the RPF interface; NULL if packets do not even get in by it, because the group's scope ends there
/// (§5.4).
pub fn olist(ports: &Ports, entry: &Entry, key: EntryKey) -> Interfaces {
    let Some(rpf) = entry.rpf_interface() else { return Interfaces::new() };
    if boundary(ports, key.group).contains(&rpf) {
        return Interfaces::new();
    }
    let mut olist = immediate_olist(ports, entry, key);
    olist.remove(&rpf);
    olist
}

/// `RPF'(S,G)` (§4.1.3); none if the source is directly connected or there is no route to it.
pub fn rpf_neighbour(entry: &Entry) -> Option<IpAddr> {
    let rpf = entry.rpf?;
    // Of a directly connected source nobody is upstream, whoever won an assert on its link.
    let next_hop = rpf.next_hop?;
    match entry.assert(rpf.interface) {
        assert::State::Loser { winner, .. } => Some(winner),
        assert::State::NoInfo | assert::State::Winner => Some(next_hop),
    }
}

/// `Threshold(I)`: the least TTL that a packet must be left with to leave by an interface (§4.5.1).
pub fn threshold(port: &Port) -> u8 {
    port.config.ttl_threshold
}

/// `StateRefreshRateLimit(S,G)`: whether the last state refresh is not yet `RefreshLimitInterval` ago (§4.5.1). The last one is the last
/// that was relayed: counted from the last one received, whoever sends them fast enough would stop all of them.
pub fn state_refresh_rate_limit(entry: &Entry, now: Time, limit: Duration) -> bool {
    entry.refreshed.is_some_and(|last| now.since(last) < limit)
}

/// `StateRefreshCapable(I)` (§4.5.1).
pub fn state_refresh_capable(ports: &Ports, interface: InterfaceId) -> bool {
    ports.get(&interface).and_then(|port| port.pim.as_ref()).is_some_and(|link| link.is_state_refresh_capable())
}
