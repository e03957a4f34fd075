//! How much a router may have to remember at the most: what hosts on its wires join, what its neighbours are, and what is sent.

use std::collections::BTreeSet;
use std::net::IpAddr;

use router_core::show::Held;

use super::outcome::{Finding, InvariantReport, Place};
use super::runner::Run;
use crate::network::Network;
use crate::topology::plan::{Attachment, NodeId, Plan};
use crate::topology::steps::{SourceFilter, nth_group};

/// What a scenario gave routers to remember, so far.
struct Given<'a> {
    plan: &'a Plan,
    /// Who has ever joined what; routers by configuration.
    joined: BTreeSet<(NodeId, IpAddr)>,
    groups: BTreeSet<IpAddr>,
    /// Sources with their groups: senders, and sources that somebody named.
    trees: BTreeSet<(IpAddr, IpAddr)>,
}

impl<'a> Given<'a> {
    fn of<N: Network>(run: &Run<'a, N>) -> Given<'a> {
        let plan = run.plan;
        let mut given = Given { plan, joined: BTreeSet::new(), groups: BTreeSet::new(), trees: BTreeSet::new() };
        for (host, group, filter) in run.history.wanted() {
            let (SourceFilter::Include(sources) | SourceFilter::Exclude(sources)) = filter;
            let calls = run.joins.iter().filter(|call| call.host == host && call.group == group);
            for n in 0..calls.map(|call| call.groups).max().unwrap_or(1) {
                given.join(host, nth_group(group, n), sources.iter().copied());
            }
        }
        for router in plan.node_ids() {
            let node = plan.node(router);
            let Some(of) = node.router() else { continue };
            let igmp = node.interfaces.iter().map(|interface| &interface.igmp).chain([&of.igmp]);
            for join in igmp.filter_map(|igmp| igmp.static_joins.as_ref()).flatten() {
                given.join(router, join.group, join.source);
            }
        }
        for started in &run.streams {
            let stream = &started.stream;
            let interface = plan.interface(Attachment { node: stream.from, interface: stream.interface });
            let groups = (0..stream.groups).map(|n| nth_group(stream.group, n));
            given.trees.extend(groups.filter_map(|group| Some((interface.address_like(group)?, group))));
        }
        // Of commands, too, which no stream is.
        let counts = plan.wire_ids().flat_map(|wire| run.network.group_counts(wire));
        given.trees.extend(counts.map(|count| (count.source, count.group)));
        given.groups.extend(given.trees.iter().map(|(_, group)| *group));
        given.map();
        given
    }

    fn join(&mut self, who: NodeId, group: IpAddr, sources: impl IntoIterator<Item = IpAddr>) {
        self.joined.insert((who, group));
        self.groups.insert(group);
        self.trees.extend(sources.into_iter().map(|source| (source, group)));
    }

    /// Adds the sources that routers take for those of members who name none.
    fn map(&mut self) {
        let plan = self.plan;
        let routers = plan.nodes.iter().filter_map(|node| Some((node, node.router()?)));
        let pim = routers.flat_map(|(node, of)| node.interfaces.iter().map(|i| &i.pim).chain([&of.pim]));
        for mapping in pim.filter_map(|pim| pim.ssm_mapping.as_ref()).flatten() {
            for group in self.groups.iter().filter(|group| mapping.groups.contains(*group)) {
                self.trees.extend(mapping.sources.iter().map(|source| (*source, *group)));
            }
        }
    }

    fn bound(&self, router: NodeId) -> Held {
        let node = self.plan.node(router);
        let wires = node.interfaces.iter().map(|interface| self.plan.wire(interface.wire));
        let is_proxy = |node: NodeId| self.plan.node(node).router().is_some_and(|router| router.upstream.is_some());
        let memberships = wires.clone().map(|wire| {
            let has = |node: NodeId| wire.ends.iter().any(|end| end.node == node);
            // A proxy asks in its own name for what others ask it for.
            if wire.ends.iter().any(|end| is_proxy(end.node)) {
                return self.groups.len();
            }
            let joined = self.joined.iter().filter(|(who, _)| has(*who)).map(|(_, group)| group);
            joined.collect::<BTreeSet<_>>().len()
        });
        let trees = self.trees.len() + self.groups.len();
        Held {
            memberships: memberships.sum(),
            neighbours: wires.map(|wire| wire.ends.iter().filter(|end| end.node != router).count()).sum(),
            trees,
            entries: trees,
        }
    }
}

/// Judges what routers say that they held at the most; those that do not say are left out.
pub fn judge<N: Network>(run: &mut Run<'_, N>, report: &mut InvariantReport) {
    let given = Given::of(run);
    for router in run.plan.node_ids().filter(|id| run.plan.node(*id).is_router()) {
        // One that is stopped answers nobody.
        if run.history.now().is_stopped(router) {
            continue;
        }
        let Some(held) = run.network.most_held(router) else { continue };
        report.examined += 1;
        let bound = given.bound(router);
        let too_much = [
            ("memberships", held.memberships, bound.memberships),
            ("PIM neighbours", held.neighbours, bound.neighbours),
            ("trees", held.trees, bound.trees),
            ("forwarding entries", held.entries, bound.entries),
        ];
        for (what, held, bound) in too_much.into_iter().filter(|(_, held, bound)| held > bound) {
            let name = run.name(router).to_owned();
            let text =
                format!("{name} held {held} {what} at one time, where the scenario accounts for {bound} at the most");
            let place = Some(Place { node: Some(name), ..Place::default() });
            report.findings.push(Finding { place, ..Finding::text(text) });
        }
    }
}
