//! `member`, `entry` and `tree`: what routers know and what their kernels hold.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::Judgement;
use super::ask::until_right;
use super::delivery::not_started;
use crate::network::{Entry, Network, NetworkError};
use crate::oracle::{Certainty, Flow};
use crate::scenario::explain;
use crate::scenario::outcome::{Figure, Finding, Place, Value};
use crate::scenario::runner::Run;
use crate::topology::plan::{Attachment, NodeId, Plan};
use crate::topology::steps::{SourceFilter, Stream, nth_group};

/// A router knows, or does not know, a member.
pub fn member<N: Network>(
    run: &mut Run<'_, N>,
    at: Attachment,
    group: IpAddr,
    present: bool,
    filter: Option<&SourceFilter>,
    within: Duration,
) -> Result<Judgement, NetworkError> {
    let (mut judgement, wrong) = until_right(run, within, |network| {
        let memberships = network.memberships(at.node)?;
        let known = memberships.into_iter().find(|m| m.interface == at.interface && m.group == group).map(|m| m.filter);
        let is_right = match &known {
            Some(own) => present && filter.is_none_or(|wanted| wanted == own),
            None => !present,
        };
        Ok((!is_right).then_some(known))
    })?;
    if let Some(known) = wrong {
        let wanted = match (present, filter) {
            (false, _) => format!("no member of {group}"),
            (true, None) => format!("a member of {group}"),
            (true, Some(filter)) => format!("a member of {group} ({})", explain::filter(filter)),
        };
        let knows = known.map_or_else(|| "none".to_owned(), |own| explain::filter(&own));
        let (node, name) = (run.name(at.node), &run.plan.interface(at).name);
        let text = format!("{node} should know {wanted} on {name}; it knows: {knows}");
        judgement.fail(explain::finding_at_wire(run, at, text));
    }
    Ok(judgement)
}

/// The entry that `entry` looks for.
#[derive(Debug)]
pub struct WantedEntry<'a> {
    /// Whose kernel.
    pub router: NodeId,
    /// Source.
    pub source: IpAddr,
    /// Group.
    pub group: IpAddr,
    /// Its incoming interface.
    pub incoming: Option<usize>,
    /// All of its outgoing interfaces, in any order.
    pub outgoing: Option<&'a [usize]>,
}

impl WantedEntry<'_> {
    fn is(&self, entry: &Entry) -> bool {
        let outgoing = |wanted: &[usize]| {
            let mut wanted = wanted.to_vec();
            wanted.sort_unstable();
            let mut own: Vec<usize> = entry.outgoing.iter().map(|(interface, _)| *interface).collect();
            own.sort_unstable();
            own == wanted
        };
        entry.source == self.source
            && entry.group == self.group
            && self.incoming.is_none_or(|wanted| entry.incoming == Some(wanted))
            && self.outgoing.is_none_or(outgoing)
    }
}

/// A router's kernel has, or has not, an entry.
pub fn entry<N: Network>(
    run: &mut Run<'_, N>,
    wanted: &WantedEntry<'_>,
    present: bool,
    within: Duration,
) -> Result<Judgement, NetworkError> {
    let (mut judgement, wrong) = until_right(run, within, |network| {
        let has = network.entries(wanted.router)?.iter().any(|entry| wanted.is(entry));
        Ok((has != present).then_some(()))
    })?;
    if wrong.is_some() {
        let node = run.plan.node(wanted.router);
        let interface = |n: usize| node.interfaces.get(n).map_or_else(|| format!("#{n}"), |i| i.name.clone());
        let incoming = wanted.incoming.map(|n| format!(" from {}", interface(n))).unwrap_or_default();
        let outgoing = wanted
            .outgoing
            .map(|all| match all.iter().map(|n| interface(*n)).collect::<Vec<_>>().as_slice() {
                [] => " to nowhere".to_owned(),
                names => format!(" to {}", names.join(", ")),
            })
            .unwrap_or_default();
        let should = if present { "should have" } else { "should not have" };
        let kernel = explain::kernel(run, wanted.router, wanted.source, wanted.group);
        let text = format!(
            "{} {should} an entry ({}, {}){incoming}{outgoing}; {kernel}",
            node.name, wanted.source, wanted.group
        );
        let place = Place {
            node: Some(node.name.clone()),
            incoming: wanted.incoming.map(interface),
            outgoing: wanted.outgoing.and_then(|all| all.first()).map(|n| interface(*n)),
            wire: None,
        };
        judgement.fail(Finding { text, place: Some(place), capture: None });
    }
    Ok(judgement)
}

/// A router whose entry is not what the oracle says.
#[derive(Debug)]
struct Wrong {
    router: NodeId,
    incoming: Option<usize>,
    /// An interface that is missing (true) or too much.
    outgoing: Option<(usize, bool)>,
}

/// Kernel entries of all routers for the stream make the tree that the oracle gives.
pub fn tree<N: Network>(run: &mut Run<'_, N>, stream: &str, within: Duration) -> Result<Judgement, NetworkError> {
    let began = run.network.now();
    let Some(started) = run.started(stream).cloned() else { return Ok(not_started(stream)) };
    let Some(flow) = run.flow(&started.stream) else {
        return Ok(Judgement::failed(format!("the sender of {stream} has no address of its group's family")));
    };
    if run.records.sent(run.network, stream).is_empty() {
        let sending = run.wait(began + within, |network, records| Ok(!records.sent(network, stream).is_empty()))?;
        if !sending {
            return Ok(Judgement::failed(format!(
                "no packet of {stream} was sent: that no entry is wrong proves nothing"
            )));
        }
    }
    let plan = run.plan;
    let world = run.history.now().clone();
    let routers: Vec<NodeId> = plan.node_ids().filter(|id| plan.node(*id).is_router() && !world.is_dead(*id)).collect();
    let groups: Vec<IpAddr> = (0..started.stream.groups).map(|n| nth_group(flow.group, n)).collect();
    // To wait for the first packet was part of it.
    let left = within.saturating_sub(run.network.now().since(began));
    let mut entries_seen = 0;
    let (mut judgement, wrong) = until_right(run, left, |network| {
        entries_seen = 0;
        let mut wrong: BTreeMap<IpAddr, Vec<Wrong>> = BTreeMap::new();
        for &router in &routers {
            let entries = of_source(network.entries(router)?, flow.source);
            for group in &groups {
                let own = entries.get(group);
                entries_seen += u64::from(own.is_some());
                if let Some(found) = judge(router, own, &flow) {
                    wrong.entry(*group).or_default().push(found);
                }
            }
        }
        Ok(wrong.pop_first())
    })?;
    judgement.figures.push(Figure::new("entries", Value::Count(entries_seen)));
    if let Some((group, wrong)) = wrong.and_then(|(group, all)| Some((group, first_to_blame(plan, all)?))) {
        let stream = Stream { group, ..started.stream.clone() };
        let (outgoing, missing) = wrong.outgoing.map_or((None, true), |(n, missing)| (Some(n), missing));
        let incoming =
            wrong.incoming.or_else(|| flow.entries.get(&wrong.router).and_then(|e| e.incoming.first().copied()));
        judgement.fail(explain::router(run, &stream, wrong.router, incoming, outgoing, missing));
    }
    Ok(judgement)
}

/// Of several routers whose entries are wrong, the one that the others follow: where packets are missing, the first on their way; where
/// they should not be, the last, since whoever passes them on keeps them coming.
fn first_to_blame(plan: &Plan, wrong: Vec<Wrong>) -> Option<Wrong> {
    let wire = |router: NodeId, interface: usize| plan.interface(Attachment { node: router, interface }).wire;
    let leads_to = |from: &Wrong, to: &Wrong| {
        let out = from.outgoing.map(|(n, _)| wire(from.router, n));
        out.is_some() && from.router != to.router && out == to.incoming.map(|n| wire(to.router, n))
    };
    let is_missing = |wrong: &Wrong| wrong.outgoing.is_none_or(|(_, missing)| missing);
    let follows = |one: &Wrong| {
        wrong.iter().any(|other| {
            is_missing(one) == is_missing(other)
                && if is_missing(one) { leads_to(other, one) } else { leads_to(one, other) }
        })
    };
    let leader = wrong.iter().position(|one| !follows(one)).unwrap_or(0);
    wrong.into_iter().nth(leader)
}

/// The entries that packets of a source take, by group: its own before the group's.
fn of_source(entries: Vec<Entry>, source: IpAddr) -> BTreeMap<IpAddr, Entry> {
    let mut own: BTreeMap<IpAddr, Entry> = BTreeMap::new();
    for entry in entries {
        if entry.source == source || (entry.source.is_unspecified() && !own.contains_key(&entry.group)) {
            own.insert(entry.group, entry);
        }
    }
    own
}

/// What is wrong with a router's entry, if anything.
fn judge(router: NodeId, own: Option<&Entry>, flow: &Flow) -> Option<Wrong> {
    let none = Vec::new();
    let outgoing = own.map_or(&none, |entry| &entry.outgoing);
    let Some(expected) = flow.entries.get(&router) else {
        // An entry that sends nowhere is as good as none: it keeps the kernel from asking again. So is one for packets that come in
        // where none do.
        let interface = own?.incoming?;
        let takes = flow.inbound.contains_key(&Attachment { node: router, interface });
        let first = outgoing.first().filter(|_| takes);
        return first.map(|(out, _)| Wrong { router, incoming: Some(interface), outgoing: Some((*out, false)) });
    };
    let expected_in = expected.incoming.first().copied();
    for (interface, (threshold, certainty)) in &expected.outgoing {
        let has = outgoing.iter().any(|(own, ttl)| own == interface && ttl.max(&1) == threshold);
        if *certainty == Certainty::Yes && !has {
            return Some(Wrong { router, incoming: expected_in, outgoing: Some((*interface, true)) });
        }
    }
    if let Some((interface, _)) = outgoing.iter().find(|(interface, _)| !expected.outgoing.contains_key(interface)) {
        return Some(Wrong { router, incoming: own.and_then(|e| e.incoming), outgoing: Some((*interface, false)) });
    }
    let wrong_incoming = own.is_some_and(|e| {
        let is_right = e.incoming.map_or(expected.registered, |own| expected.incoming.contains(&own));
        !e.outgoing.is_empty() && !is_right
    });
    wrong_incoming.then_some(Wrong { router, incoming: expected_in, outgoing: None })
}
