//! What a topology offers to a search: who may send and join, what may break.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::topology::plan::{NodeId, Plan, WireId};
use crate::topology::steps::Action;

/// Most groups and sources of a run.
const GROUPS: usize = 2;
const SOURCES: usize = 2;

/// A topology that is searched.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its plan, without scenarios.
    pub plan: Plan,
    /// Hosts that send.
    pub sources: Vec<NodeId>,
    /// Hosts that join.
    pub members: Vec<NodeId>,
    /// Groups.
    pub groups: Vec<IpAddr>,
    /// Wires that connect routers, and those that connect hosts.
    pub backbone: Vec<WireId>,
    /// All other wires that have a router.
    pub edges: Vec<WireId>,
    /// Routers.
    pub routers: Vec<NodeId>,
}

impl Subject {
    /// Takes a plan's hosts and groups from its own scenarios, where they say any.
    ///
    /// # Errors
    /// What is missing for a search: routers, or two hosts with IPv4 addresses.
    pub fn of(plan: &Plan) -> Result<Subject, String> {
        let mut plan = plan.clone();
        let scenarios = std::mem::take(&mut plan.scenarios);
        let routers: Vec<NodeId> = plan.node_ids().filter(|id| plan.node(*id).is_router()).collect();
        if routers.is_empty() {
            return Err(format!("{}: without a router there is nothing to explore", plan.file));
        }
        let mut groups: BTreeSet<IpAddr> = BTreeSet::new();
        let mut senders: BTreeSet<NodeId> = BTreeSet::new();
        for action in scenarios.iter().flat_map(|s| &s.steps).map(|step| &step.action) {
            match action {
                Action::Join { group, .. } => {
                    groups.insert(*group);
                }
                Action::Stream(stream) => {
                    groups.insert(stream.group);
                    senders.insert(stream.from);
                }
                _ => {}
            }
        }
        groups.retain(|group| group.is_ipv4());
        if groups.is_empty() {
            groups.insert(IpAddr::from([239, 1, 1, 1]));
        }
        let hosts: Vec<NodeId> = plan
            .node_ids()
            .filter(|id| !plan.node(*id).is_router() && plan.node(*id).interfaces.iter().any(|i| i.ipv4().is_some()))
            .collect();
        let mut sources: Vec<NodeId> = senders.into_iter().filter(|id| hosts.contains(id)).take(SOURCES).collect();
        if sources.is_empty() {
            sources.extend(hosts.first());
        }
        let members: Vec<NodeId> = hosts.into_iter().filter(|host| !sources.contains(host)).collect();
        if sources.is_empty() || members.is_empty() {
            return Err(format!("{}: a search needs a host that sends and another that joins", plan.file));
        }
        let routers_on =
            |wire: &WireId| plan.wire(*wire).ends.iter().filter(|end| plan.node(end.node).is_router()).count();
        let (backbone, others): (Vec<WireId>, Vec<WireId>) = plan.wire_ids().partition(|wire| routers_on(wire) > 1);
        let edges = others.into_iter().filter(|wire| routers_on(wire) > 0).collect();
        let groups = groups.into_iter().take(GROUPS).collect();
        Ok(Subject { sources, members, groups, backbone, edges, routers, plan })
    }
}
