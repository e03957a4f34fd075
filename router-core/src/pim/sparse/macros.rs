//! The macros of RFC 7761 §4.1.5, §4.2, §4.4 to §4.6, each a function of its name. Where the RFC has one name for several trees, the one
//! for (*,G) ends in `_all`, the one for (S,G,rpt) in `_rpt`. A set of interfaces is a predicate of one of them, which keeps a thousand
//! evaluations a second from building sets; (+) and (-) are `||` and `&& !`, in the RFC's order. Where a set is wanted, see [`Interfaces`].
//!
//! Of source-specific groups, all that speaks of (*,G) and (S,G,rpt) is NULL, KAT(S,G) always runs and SPTbit(S,G) is always set (§4.8).
//! An interface that is down, or a boundary of the group's scope, is in no set; the RFC has no scopes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::entry::{Source, Star};
use super::{assert, downstream, downstream_rpt, register, upstream};
use crate::pim::link::Link;
use crate::pim::metric::{AssertMetric, infinite_assert_metric};
use crate::pim::mrib::Rpf;
use crate::router::port::Port;
use crate::router::{InterfaceId, SourceFilter};

/// Interfaces by id.
pub type Ports = BTreeMap<InterfaceId, Port>;
/// A set of interfaces, in their order.
pub type Interfaces = Vec<InterfaceId>;

/// The state of a source and a group that the macros look at; those of (*,G) look at no source.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The router's interfaces with their neighbours and members.
    pub ports: &'a Ports,
    /// Whether the group is source-specific.
    pub ssm: bool,
    /// G.
    pub group: IpAddr,
    /// S.
    pub source: Option<IpAddr>,
    /// State of (*,G).
    pub star: &'a Star,
    /// State of (S,G) and (S,G,rpt).
    pub entry: &'a Source,
}

impl<'a> View<'a> {
    fn port(&self, i: InterfaceId) -> Option<&'a Port> {
        self.ports.get(&i)
    }

    fn filter(&self, i: InterfaceId) -> Option<&'a SourceFilter> {
        self.port(i)?.filter(self.group)
    }

    /// Interfaces that may be in an olist: those that are up and inside the group's scope, and the register tunnel.
    fn candidates(&self) -> impl Iterator<Item = InterfaceId> + 'a {
        let group = self.group;
        let ports = self.ports.iter().filter(move |(_, port)| port.state.up && !port.is_boundary_for(group));
        let tunnel = (self.entry.register == register::State::Join).then_some(InterfaceId::REGISTER);
        tunnel.into_iter().chain(ports.map(|(id, _)| *id))
    }
}

/// `boundary(I,G)`: whether the group's scope ends at an interface.
pub fn is_boundary(ports: &Ports, i: InterfaceId, group: IpAddr) -> bool {
    ports.get(&i).is_some_and(|port| port.is_boundary_for(group))
}

/// PIM on an interface.
pub fn link(ports: &Ports, i: InterfaceId) -> Option<&Link> {
    ports.get(&i)?.pim.as_ref()
}

/// `my_ip_address(I)`.
pub fn my_ip_address(ports: &Ports, i: InterfaceId) -> Option<IpAddr> {
    link(ports, i)?.address()
}

/// `I_am_DR(I)` (§4.3.2). Where PIM does not run, nobody else is.
pub fn i_am_dr(ports: &Ports, i: InterfaceId) -> bool {
    ports.get(&i).is_some_and(|port| port.pim.as_ref().is_none_or(Link::is_dr))
}

/// `NBR(I,A)`: the neighbour that has an address on the link of an interface, by its primary one (§4.1.5, §4.3.4).
pub fn nbr(ports: &Ports, i: InterfaceId, address: IpAddr) -> Option<IpAddr> {
    link(ports, i)?.neighbour_of(address)
}

/// `SPTbit(S,G)`.
pub fn spt_bit(v: &View<'_>) -> bool {
    v.ssm || v.entry.spt_bit
}

/// Whether `KeepaliveTimer(S,G)` is running.
pub fn keepalive_running(v: &View<'_>) -> bool {
    v.ssm || v.entry.keepalive
}

/// `DirectlyConnected(S)` (§4.2).
pub fn directly_connected(v: &View<'_>) -> bool {
    v.entry.rpf.is_some_and(|rpf| rpf.next_hop.is_none())
}

/// The sources that members on an interface want of a source-specific group. Members that name none get those of its SSM mapping, if there
/// are any; else they are ignored (RFC 4604 §2.2.3, §2.2.4).
pub fn ssm_sources(port: &Port, group: IpAddr) -> BTreeSet<IpAddr> {
    match port.filter(group) {
        Some(SourceFilter::Include(sources)) => sources.clone(),
        Some(SourceFilter::Exclude(excluded)) => {
            let of = |mapping: &&crate::config::SsmMapping| mapping.groups.contains(&group);
            let mapped = port.ssm_mapping.iter().filter(of).flat_map(|mapping| &mapping.sources).copied();
            mapped.filter(|source| !excluded.contains(source)).collect()
        }
        None => BTreeSet::new(),
    }
}

/// `local_receiver_include(*,G,I)`: members on the interface want packets of all sources, or of all but some (§4.1.5).
pub fn local_receiver_include_all(v: &View<'_>, i: InterfaceId) -> bool {
    !v.ssm && matches!(v.filter(i), Some(SourceFilter::Exclude(_)))
}

/// `local_receiver_include(S,G,I)`: members on the interface want packets of S in particular (§4.1.5).
pub fn local_receiver_include(v: &View<'_>, i: InterfaceId) -> bool {
    let Some(source) = v.source else { return false };
    if v.ssm {
        return v.port(i).is_some_and(|port| {
            matches!(port.filter(v.group), Some(SourceFilter::Include(sources)) if sources.contains(&source))
                || matches!(port.filter(v.group), Some(SourceFilter::Exclude(_)))
                    && ssm_sources(port, v.group).contains(&source)
        });
    }
    matches!(v.filter(i), Some(SourceFilter::Include(sources)) if sources.contains(&source))
}

/// `local_receiver_exclude(S,G,I)`: they want packets of others, but none of them wants S (§4.1.5).
pub fn local_receiver_exclude(v: &View<'_>, i: InterfaceId) -> bool {
    let Some(source) = v.source else { return false };
    !v.ssm && matches!(v.filter(i), Some(SourceFilter::Exclude(sources)) if sources.contains(&source))
}

/// `AssertWinner(*,G,I)`: NULL in NoInfo state (§4.6.5).
pub fn assert_winner_all(v: &View<'_>, i: InterfaceId) -> Option<IpAddr> {
    winner(v.ports, v.star.assert(i), i)
}

/// `AssertWinner(S,G,I)`: NULL in NoInfo state (§4.6.5).
pub fn assert_winner(v: &View<'_>, i: InterfaceId) -> Option<IpAddr> {
    winner(v.ports, v.entry.assert(i), i)
}

fn winner(ports: &Ports, state: assert::State, i: InterfaceId) -> Option<IpAddr> {
    match state {
        assert::State::NoInfo => None,
        assert::State::Winner => my_ip_address(ports, i),
        assert::State::Loser { winner, .. } => Some(winner),
    }
}

/// `I_Am_Assert_Loser(*,G,I)` (§4.1.5).
pub fn i_am_assert_loser_all(v: &View<'_>, i: InterfaceId) -> bool {
    matches!(v.star.assert(i), assert::State::Loser { .. })
}

/// `I_Am_Assert_Loser(S,G,I)` (§4.1.5).
pub fn i_am_assert_loser(v: &View<'_>, i: InterfaceId) -> bool {
    matches!(v.entry.assert(i), assert::State::Loser { .. })
}

/// `lost_assert(*,G,I)` (§4.6.5).
pub fn lost_assert_all(v: &View<'_>, i: InterfaceId) -> bool {
    v.star.rpf_interface() != Some(i) && i_am_assert_loser_all(v, i)
}

/// `lost_assert(S,G,I)` (§4.6.5).
pub fn lost_assert(v: &View<'_>, i: InterfaceId) -> bool {
    let assert::State::Loser { metric, .. } = v.entry.assert(i) else { return false };
    v.entry.rpf_interface() != Some(i) && metric.is_better_than(&spt_assert_metric(v, i))
}

/// `lost_assert(S,G,rpt,I)` (§4.6.5).
pub fn lost_assert_rpt(v: &View<'_>, i: InterfaceId) -> bool {
    let by_spt = v.entry.rpf_interface() == Some(i) && spt_bit(v);
    v.star.rpf_interface() != Some(i) && !by_spt && i_am_assert_loser(v, i)
}

/// Whether I is in `pim_include(*,G)` (§4.1.5).
pub fn pim_include_all(v: &View<'_>, i: InterfaceId) -> bool {
    local_receiver_include_all(v, i) && serves_all(v, i)
}

/// Whether I is in `pim_exclude(S,G)` (§4.1.5).
pub fn pim_exclude(v: &View<'_>, i: InterfaceId) -> bool {
    local_receiver_exclude(v, i) && serves_all(v, i)
}

/// `( I_am_DR(I) AND lost_assert(*,G,I) == FALSE ) OR AssertWinner(*,G,I) == me`.
fn serves_all(v: &View<'_>, i: InterfaceId) -> bool {
    i_am_dr(v.ports, i) && !lost_assert_all(v, i) || v.star.assert(i) == assert::State::Winner
}

/// Whether I is in `pim_include(S,G)` (§4.1.5).
pub fn pim_include(v: &View<'_>, i: InterfaceId) -> bool {
    let serves = || i_am_dr(v.ports, i) && !lost_assert(v, i) || v.entry.assert(i) == assert::State::Winner;
    local_receiver_include(v, i) && serves()
}

fn is_joined(state: downstream::State) -> bool {
    matches!(state, downstream::State::Join | downstream::State::PrunePending)
}

/// Whether I is in `joins(*,G)` (§4.1.5).
pub fn joins_all(v: &View<'_>, i: InterfaceId) -> bool {
    is_joined(v.star.downstream(i))
}

/// Whether I is in `joins(S,G)` (§4.1.5); the register tunnel is, while the register machine is in Join state (§4.4.1).
pub fn joins(v: &View<'_>, i: InterfaceId) -> bool {
    if i == InterfaceId::REGISTER {
        return v.entry.register == register::State::Join;
    }
    is_joined(v.entry.downstream(i))
}

/// Whether I is in `prunes(S,G,rpt)` (§4.1.5).
pub fn prunes_rpt(v: &View<'_>, i: InterfaceId) -> bool {
    matches!(v.entry.downstream_rpt(i), downstream_rpt::State::Prune | downstream_rpt::State::PruneTmp)
}

fn in_immediate_olist_all(v: &View<'_>, i: InterfaceId) -> bool {
    (joins_all(v, i) || pim_include_all(v, i)) && !lost_assert_all(v, i)
}

/// `immediate_olist(*,G)` (§4.1.5):
///
/// ```text
/// joins(*,G) (+) pim_include(*,G) (-) lost_assert(*,G)
/// ```
pub fn immediate_olist_all(v: &View<'_>) -> Interfaces {
    v.candidates().filter(|i| in_immediate_olist_all(v, *i)).collect()
}

fn in_immediate_olist(v: &View<'_>, i: InterfaceId) -> bool {
    (joins(v, i) || pim_include(v, i)) && !lost_assert(v, i)
}

/// `immediate_olist(S,G)` (§4.1.5):
///
/// ```text
/// joins(S,G) (+) pim_include(S,G) (-) lost_assert(S,G)
/// ```
pub fn immediate_olist(v: &View<'_>) -> Interfaces {
    v.candidates().filter(|i| in_immediate_olist(v, *i)).collect()
}

fn in_inherited_olist_rpt(v: &View<'_>, i: InterfaceId) -> bool {
    (joins_all(v, i) && !prunes_rpt(v, i) || pim_include_all(v, i) && !pim_exclude(v, i))
        && !(lost_assert_all(v, i) || lost_assert_rpt(v, i))
}

/// `inherited_olist(S,G,rpt)` (§4.1.5):
///
/// ```text
/// ( joins(*,G) (-) prunes(S,G,rpt) ) (+) ( pim_include(*,G) (-) pim_exclude(S,G) ) (-) ( lost_assert(*,G) (+) lost_assert(S,G,rpt) )
/// ```
pub fn inherited_olist_rpt(v: &View<'_>) -> Interfaces {
    v.candidates().filter(|i| in_inherited_olist_rpt(v, *i)).collect()
}

/// `inherited_olist(S,G,rpt) == NULL`.
pub fn inherited_olist_rpt_is_null(v: &View<'_>) -> bool {
    !v.candidates().any(|i| in_inherited_olist_rpt(v, i))
}

fn in_inherited_olist(v: &View<'_>, i: InterfaceId) -> bool {
    (in_inherited_olist_rpt(v, i) || joins(v, i) || pim_include(v, i)) && !lost_assert(v, i)
}

/// `inherited_olist(S,G)` (§4.1.5):
///
/// ```text
/// inherited_olist(S,G,rpt) (+) joins(S,G) (+) pim_include(S,G) (-) lost_assert(S,G)
/// ```
pub fn inherited_olist(v: &View<'_>) -> Interfaces {
    v.candidates().filter(|i| in_inherited_olist(v, *i)).collect()
}

/// `inherited_olist(S,G) == NULL`.
pub fn inherited_olist_is_null(v: &View<'_>) -> bool {
    !v.candidates().any(|i| in_inherited_olist(v, i))
}

/// `JoinDesired(*,G)` (§4.5.4).
pub fn join_desired_all(v: &View<'_>) -> bool {
    v.candidates().any(|i| in_immediate_olist_all(v, i))
}

/// `RPTJoinDesired(G)` (§4.5.7).
pub fn rpt_join_desired(v: &View<'_>) -> bool {
    join_desired_all(v)
}

/// `JoinDesired(S,G)` (§4.5.5).
pub fn join_desired(v: &View<'_>) -> bool {
    v.candidates().any(|i| in_immediate_olist(v, i)) || keepalive_running(v) && !inherited_olist_is_null(v)
}

/// `PruneDesired(S,G,rpt)` (§4.5.7).
pub fn prune_desired_rpt(v: &View<'_>) -> bool {
    rpt_join_desired(v) && (inherited_olist_rpt_is_null(v) || spt_bit(v) && rpf_neighbour_all(v) != rpf_neighbour(v))
}

/// Whether a Prune(S,G,rpt) goes with a Join(*,G) (§4.5.6).
pub fn prune_with_join_all(v: &View<'_>) -> bool {
    if spt_bit(v) {
        return rpf_neighbour_all(v) != rpf_neighbour(v);
    }
    inherited_olist_rpt_is_null(v) || rpf_neighbour_all(v) != rpf_neighbour_rpt(v)
}

/// The neighbour that a route leads to: `NBR(RPF_interface, MRIB.next_hop)`. None beyond a boundary of the group's scope.
pub fn nbr_by_route(v: &View<'_>, rpf: Option<Rpf>) -> Option<IpAddr> {
    let rpf = rpf.filter(|rpf| !is_boundary(v.ports, rpf.interface, v.group))?;
    nbr(v.ports, rpf.interface, rpf.next_hop?)
}

/// `RPF'(*,G)` (§4.1.5).
pub fn rpf_neighbour_all(v: &View<'_>) -> Option<IpAddr> {
    let rpf = v.star.rpf?;
    // At the rendezvous point nobody is upstream.
    rpf.next_hop?;
    match v.star.assert(rpf.interface) {
        assert::State::Loser { winner, .. } => Some(winner),
        assert::State::NoInfo | assert::State::Winner => nbr_by_route(v, v.star.rpf),
    }
}

/// `RPF'(S,G,rpt)` (§4.1.5).
pub fn rpf_neighbour_rpt(v: &View<'_>) -> Option<IpAddr> {
    match v.star.rpf_interface().map(|i| v.entry.assert(i)) {
        Some(assert::State::Loser { winner, .. }) => Some(winner),
        _ => rpf_neighbour_all(v),
    }
}

/// `RPF'(S,G)` (§4.1.5); none if the source is directly connected or there is no route to it.
pub fn rpf_neighbour(v: &View<'_>) -> Option<IpAddr> {
    let rpf = v.entry.rpf?;
    // Of a directly connected source nobody is upstream, whoever won an assert on its link.
    rpf.next_hop?;
    match v.entry.assert(rpf.interface) {
        assert::State::Loser { winner, .. } => Some(winner),
        assert::State::NoInfo | assert::State::Winner => nbr_by_route(v, v.entry.rpf),
    }
}

/// Whether a packet that arrives by an interface makes `Update_SPTbit(S,G,iif)` set SPTbit(S,G) (§4.2.2).
pub fn update_spt_bit(v: &View<'_>, iif: InterfaceId) -> bool {
    v.entry.rpf_interface() == Some(iif)
        && join_desired(v)
        && (directly_connected(v)
            || v.entry.rpf_interface() != v.star.rpf_interface()
            || inherited_olist_rpt_is_null(v)
            || rpf_neighbour(v) == rpf_neighbour_all(v) && rpf_neighbour(v).is_some()
            || i_am_assert_loser(v, iif))
}

/// Whether members of this router would have the source: what `CheckSwitchToSpt(S,G)` asks before `SwitchToSptDesired(S,G)` (§4.2.1).
pub fn has_members(v: &View<'_>) -> bool {
    v.candidates().any(|i| pim_include_all(v, i) && !pim_exclude(v, i) || pim_include(v, i))
}

/// `CouldRegister(S,G)` (§4.4.1), and what must be so for a register to be of use: there is a rendezvous point, it is not this router, and
/// neither the way there nor the source's link is beyond the group's scope.
pub fn could_register(v: &View<'_>, toward_rp: Option<Rpf>) -> bool {
    let Some(rpf) = v.entry.rpf else { return false };
    let inside = |i: InterfaceId| !is_boundary(v.ports, i, v.group);
    i_am_dr(v.ports, rpf.interface)
        && keepalive_running(v)
        && directly_connected(v)
        && !v.ssm
        && inside(rpf.interface)
        && toward_rp.is_some_and(|rpf| rpf.interface != InterfaceId::REGISTER && inside(rpf.interface))
}

/// `CouldAssert(S,G,I)` (§4.6.1).
pub fn could_assert(v: &View<'_>, i: InterfaceId) -> bool {
    spt_bit(v)
        && v.entry.rpf.is_some()
        && v.entry.rpf_interface() != Some(i)
        && ((joins_all(v, i) && !prunes_rpt(v, i) || pim_include_all(v, i) && !pim_exclude(v, i))
            && !lost_assert_all(v, i)
            || joins(v, i)
            || pim_include(v, i))
}

/// `AssertTrackingDesired(S,G,I)` (§4.6.1).
pub fn assert_tracking_desired(v: &View<'_>, i: InterfaceId) -> bool {
    (joins_all(v, i) && !prunes_rpt(v, i) || pim_include_all(v, i) && !pim_exclude(v, i)) && !lost_assert_all(v, i)
        || joins(v, i)
        || local_receiver_include(v, i) && (i_am_dr(v.ports, i) || v.entry.assert(i) == assert::State::Winner)
        || v.entry.rpf_interface() == Some(i) && join_desired(v)
        || v.star.rpf_interface() == Some(i) && join_desired_all(v) && !spt_bit(v)
}

/// `CouldAssert(*,G,I)` (§4.6.2).
pub fn could_assert_all(v: &View<'_>, i: InterfaceId) -> bool {
    (joins_all(v, i) || pim_include_all(v, i)) && v.star.rpf.is_some() && v.star.rpf_interface() != Some(i)
}

/// `AssertTrackingDesired(*,G,I)` (§4.6.2).
pub fn assert_tracking_desired_all(v: &View<'_>, i: InterfaceId) -> bool {
    could_assert_all(v, i)
        || local_receiver_include_all(v, i) && (i_am_dr(v.ports, i) || v.star.assert(i) == assert::State::Winner)
        || v.star.rpf_interface() == Some(i) && rpt_join_desired(v)
}

/// `spt_assert_metric(S,I)` (§4.6.3); infinite without a route to the source.
pub fn spt_assert_metric(v: &View<'_>, i: InterfaceId) -> AssertMetric {
    metric_of(v, v.entry.rpf, false, i)
}

/// `rpt_assert_metric(G,I)` (§4.6.3); infinite without a route to the rendezvous point.
pub fn rpt_assert_metric(v: &View<'_>, i: InterfaceId) -> AssertMetric {
    metric_of(v, v.star.rpf, true, i)
}

fn metric_of(v: &View<'_>, rpf: Option<Rpf>, rpt: bool, i: InterfaceId) -> AssertMetric {
    match rpf {
        Some(Rpf { preference, metric, .. }) => {
            AssertMetric { rpt, preference, metric, address: my_ip_address(v.ports, i) }
        }
        None => infinite_assert_metric(),
    }
}

/// `my_assert_metric(S,G,I)` (§4.6.3).
pub fn my_assert_metric(v: &View<'_>, i: InterfaceId) -> AssertMetric {
    match () {
        () if could_assert(v, i) => spt_assert_metric(v, i),
        () if could_assert_all(v, i) => rpt_assert_metric(v, i),
        () => infinite_assert_metric(),
    }
}

/// `my_assert_metric(*,G,I)` (§4.6.3): as if there were no source.
pub fn my_assert_metric_all(v: &View<'_>, i: InterfaceId) -> AssertMetric {
    if could_assert_all(v, i) { rpt_assert_metric(v, i) } else { infinite_assert_metric() }
}

/// Whether the upstream machine of a tree is in Joined state.
pub fn is_upstream_joined(state: upstream::State) -> bool {
    state == upstream::State::Joined
}
