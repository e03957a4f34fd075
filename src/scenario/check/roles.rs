//! `designated-router` and `rp`: whom PIM's routers let speak for a wire, and where they let a group meet.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::Judgement;
use super::ask::until_right;
use crate::network::{DesignatedRouter, Network, NetworkError};
use crate::oracle;
use crate::scenario::explain;
use crate::scenario::outcome::{Figure, Finding, Place, Value};
use crate::scenario::runner::Run;
use crate::topology::plan::{Attachment, NodeId};
use crate::topology::steps::RpIs;

/// Who may be the designated router as one end of a wire sees it.
struct Designated {
    at: Attachment,
    right: BTreeMap<IpAddr, Attachment>,
    /// Whether it may know of none: its end is cut, and it may have lost its carrier.
    may_lack: bool,
}

impl Designated {
    fn allows(&self, seen: Option<IpAddr>) -> bool {
        seen.map_or(self.may_lack, |seen| self.right.contains_key(&seen))
    }
}

/// At each attachment, the router's daemon takes `is`, or who follows from the topology, for the designated router. A router that does not
/// run is not asked.
pub fn designated_router<N: Network>(
    run: &mut Run<'_, N>,
    at: &[Attachment],
    is: Option<NodeId>,
    within: Duration,
) -> Result<Judgement, NetworkError> {
    let answering = at.iter().filter(|at| answers(run, at.node));
    let wanted: Vec<Designated> = answering.map(|at| designated(run, *at, is)).collect();
    if wanted.is_empty() {
        return Ok(Judgement::failed("no router runs there that could say who is designated".to_owned()));
    }
    let (mut judgement, wrong) = until_right(run, within, |network| {
        let mut of_router: BTreeMap<NodeId, Vec<DesignatedRouter>> = BTreeMap::new();
        for wanted in &wanted {
            let node = wanted.at.node;
            if let std::collections::btree_map::Entry::Vacant(place) = of_router.entry(node) {
                place.insert(network.designated_routers(node)?);
            }
            let known = of_router.get(&node).into_iter().flatten();
            let seen = known.filter(|of| of.interface == wanted.at.interface).map(|of| of.address).next();
            if !wanted.allows(seen) {
                return Ok(Some((wanted, seen)));
            }
        }
        Ok(None)
    })?;
    judgement.figures.push(Figure::new("interfaces", Value::Count(wanted.len() as u64)));
    if let Some((wanted, seen)) = wrong {
        judgement.fail(explain_designated(run, wanted, is, seen));
    }
    Ok(judgement)
}

/// Whether a router's daemon can be asked.
fn answers<N: Network>(run: &Run<'_, N>, node: NodeId) -> bool {
    let world = run.history.now();
    !world.is_dead(node) && !world.is_stopped(node)
}

fn designated<N: Network>(run: &Run<'_, N>, at: Attachment, is: Option<NodeId>) -> Designated {
    let (plan, world) = (run.plan, run.history.now());
    let ends: Vec<Attachment> = match is {
        None => oracle::designated_at(plan, world, at),
        Some(node) => {
            let ends = plan.wire(plan.interface(at).wire).ends.iter();
            ends.copied().filter(|end| end.node == node).collect()
        }
    };
    let with_address = |end: Attachment| Some((IpAddr::V4(plan.interface(end).ipv4()?.addr()), end));
    let right = ends.into_iter().filter_map(with_address).collect();
    Designated { at, right, may_lack: is.is_none() && world.is_broken(plan, at) }
}

fn explain_designated<N: Network>(
    run: &Run<'_, N>,
    wanted: &Designated,
    is: Option<NodeId>,
    seen: Option<IpAddr>,
) -> Finding {
    let plan = run.plan;
    let interface = plan.interface(wanted.at);
    let wire = plan.wire(interface.wire);
    let router = run.name(wanted.at.node);
    let owner = |address: IpAddr| {
        let has = |end: &&Attachment| plan.interface(**end).addresses.iter().any(|own| own.addr() == address);
        wire.ends.iter().find(has).map_or_else(String::new, |end| format!("{} ", run.name(end.node)))
    };
    let seen = match seen {
        Some(address) => format!("takes {}({address}) for", owner(address)),
        None => "knows nobody as".to_owned(),
    };
    let named = |right: &BTreeMap<IpAddr, Attachment>| {
        let named = right.iter().map(|(address, end)| format!("{} ({address})", run.name(end.node)));
        named.collect::<Vec<_>>().join(" or ")
    };
    let should = match named(&wanted.right) {
        nobody if nobody.is_empty() => "nobody should be it".to_owned(),
        named => format!("it should be {named}"),
    };
    // Where the file names another one than the election gives, that is the first thing to know.
    let elected = designated(run, wanted.at, None).right;
    let but = if is.is_some() && elected != wanted.right && !elected.is_empty() {
        format!("; by priority, then address, it is {}", named(&elected))
    } else {
        String::new()
    };
    let text = format!("{router} {seen} the designated router of {} on {}; {should}{but}", wire.name, interface.name);
    explain::finding_at_wire(run, wanted.at, text)
}

/// Each router's daemon uses the rendezvous point for a group that is named, or that follows from the topology. A router that does not run
/// is not asked.
pub fn rp<N: Network>(
    run: &mut Run<'_, N>,
    group: IpAddr,
    at: &[NodeId],
    is: RpIs,
    within: Duration,
) -> Result<Judgement, NetworkError> {
    // By router, the addresses of which one is right; none where it should know of nobody.
    let answering = at.iter().filter(|node| answers(run, **node));
    let wanted: Vec<(NodeId, Vec<IpAddr>)> = answering.map(|node| (*node, right_rps(run, *node, group, is))).collect();
    if wanted.is_empty() {
        return Ok(Judgement::failed("none of the routers runs: none says which rendezvous point it uses".to_owned()));
    }
    let (mut judgement, wrong) = until_right(run, within, |network| {
        for (node, right) in &wanted {
            let seen = network.rendezvous_point(*node, group)?;
            if !seen.map_or(right.is_empty(), |seen| right.contains(&seen)) {
                return Ok(Some((node, right, seen)));
            }
        }
        Ok(None)
    })?;
    judgement.figures.push(Figure::new("routers", Value::Count(wanted.len() as u64)));
    if let Some((node, right, seen)) = wrong {
        let router = run.name(*node).to_owned();
        let called = |address: IpAddr| match oracle::owner(run.plan, address) {
            Some(owner) => format!("{} ({address})", run.name(owner)),
            None => address.to_string(),
        };
        let uses = match seen {
            Some(address) => format!("uses the rendezvous point {} for {group}", called(address)),
            None => format!("knows no rendezvous point for {group}"),
        };
        let should = match right.first() {
            Some(address) => format!("it should use {}", called(*address)),
            None => "it should know none".to_owned(),
        };
        let elected = oracle::rendezvous_point(run.plan, run.history.now(), *node, group);
        let but = match elected {
            Some(elected) if is != RpIs::Right && !right.contains(&elected) => {
                format!("; by the configuration, and who can be heard, it is {}", called(elected))
            }
            _ => String::new(),
        };
        judgement.fail(Finding {
            text: format!("{router} {uses}; {should}{but}"),
            place: Some(Place { node: Some(router), ..Place::default() }),
            capture: None,
        });
    }
    Ok(judgement)
}

/// The addresses of which a router should use one; none if it should use none.
fn right_rps<N: Network>(run: &Run<'_, N>, node: NodeId, group: IpAddr, is: RpIs) -> Vec<IpAddr> {
    match is {
        RpIs::Right => oracle::rendezvous_point(run.plan, run.history.now(), node, group).into_iter().collect(),
        RpIs::Nobody => Vec::new(),
        RpIs::Address(address) => vec![address],
        RpIs::Router(rp) => {
            let rp = run.plan.node(rp);
            let own = rp.loopback.iter().chain(rp.interfaces.iter().flat_map(|interface| &interface.addresses));
            own.map(|own| own.addr()).collect()
        }
    }
}
