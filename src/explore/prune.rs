//! Takes nodes and wires out of a schedule: what is left keeps its names and addresses.

use std::collections::BTreeMap;

use super::render::Item;
use super::schedule::Schedule;
use crate::topology::plan::{Attachment, Multicast, NodeId, NodeKind, Plan, StaticRoute, WireId};
use crate::topology::steps::{Action, Cut, MessageLoss, Mistreatment, Stream};

/// What is taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A node with all that it is attached by.
    Node(NodeId),
    /// A wire.
    Wire(WireId),
    /// A node's attachment to a LAN.
    End(Attachment),
}

/// Where nodes, wires and interfaces are afterwards.
struct Moved {
    nodes: BTreeMap<NodeId, NodeId>,
    wires: BTreeMap<WireId, WireId>,
    ends: BTreeMap<Attachment, Attachment>,
}

/// The parts of a schedule's topology that might be spared, routers first: with them go most others.
pub fn parts(plan: &Plan) -> Vec<Part> {
    let (routers, hosts): (Vec<NodeId>, Vec<NodeId>) = plan.node_ids().partition(|id| plan.node(*id).is_router());
    let nodes = routers.into_iter().chain(hosts).map(Part::Node);
    let lans = plan.wires.iter().filter(|wire| !wire.kind.is_link() && wire.ends.len() > 2);
    let ends = lans.flat_map(|wire| &wire.ends).map(|at| Part::End(*at));
    nodes.chain(plan.wire_ids().map(Part::Wire)).chain(ends).collect()
}

/// The schedule without a part of its topology, and without what happens to that part; none if the rest makes no topology.
pub fn without(schedule: &Schedule, part: Part) -> Option<Schedule> {
    let old = &schedule.plan;
    let is_kept_end = |at: &Attachment| match part {
        Part::Node(node) => at.node != node,
        Part::Wire(wire) => old.interface(*at).wire != wire,
        Part::End(end) => *at != end,
    };
    // A link needs both of its ends, a LAN two.
    let is_kept_wire = |id: &WireId| {
        let wire = old.wire(*id);
        part != Part::Wire(*id) && wire.ends.iter().filter(|at| is_kept_end(at)).count() >= 2
    };
    let is_left = |at: &Attachment| is_kept_end(at) && is_kept_wire(&old.interface(*at).wire);
    let mut moved = Moved { nodes: BTreeMap::new(), wires: BTreeMap::new(), ends: BTreeMap::new() };
    for id in old.wire_ids().filter(is_kept_wire) {
        let to = WireId(moved.wires.len());
        moved.wires.insert(id, to);
    }
    for id in old.node_ids() {
        let all = (0..old.node(id).interfaces.len()).map(|interface| Attachment { node: id, interface });
        let left: Vec<Attachment> = all.filter(is_left).collect();
        if left.is_empty() {
            continue;
        }
        let node = NodeId(moved.nodes.len());
        moved.nodes.insert(id, node);
        moved.ends.extend(left.into_iter().enumerate().map(|(interface, at)| (at, Attachment { node, interface })));
    }
    let mut plan = Plan { nodes: Vec::new(), wires: Vec::new(), scenarios: Vec::new(), ..old.clone() };
    for (id, _) in moved.wires.iter() {
        let mut wire = old.wire(*id).clone();
        wire.ends = wire.ends.iter().filter_map(|at| moved.ends.get(at).copied()).collect();
        plan.wires.push(wire);
    }
    for (id, _) in moved.nodes.iter() {
        plan.nodes.push(moved.node(old, *id)?);
    }
    let has = |router: bool| plan.nodes.iter().any(|node| node.is_router() == router);
    if !has(true) || !has(false) {
        return None;
    }
    let items = schedule.items.iter().filter_map(|item| moved.item(item)).collect();
    Some(Schedule { plan, items })
}

impl Moved {
    fn interface(&self, node: NodeId, interface: usize) -> Option<usize> {
        self.ends.get(&Attachment { node, interface }).map(|at| at.interface)
    }

    fn node(&self, old: &Plan, id: NodeId) -> Option<crate::topology::plan::Node> {
        let mut node = old.node(id).clone();
        let kept = std::mem::take(&mut node.interfaces).into_iter().enumerate();
        let kept = kept.filter(|(n, _)| self.interface(id, *n).is_some()).map(|(_, interface)| interface);
        node.interfaces = kept.collect();
        for interface in &mut node.interfaces {
            interface.wire = *self.wires.get(&interface.wire)?;
        }
        // Indexes are counted, as when the file is read.
        match &mut node.kind {
            NodeKind::Host(host) => {
                let interfaces = &node.interfaces;
                let is_near = |gateway: &std::net::IpAddr| {
                    interfaces.iter().flat_map(|interface| &interface.addresses).any(|net| net.contains(gateway))
                };
                let others = old.node_ids().filter(|other| self.nodes.contains_key(other));
                let addresses: Vec<_> = others
                    .flat_map(|other| old.node(other).interfaces.iter().enumerate().map(move |(n, i)| (other, n, i)))
                    .filter(|(other, n, _)| self.interface(*other, *n).is_some())
                    .flat_map(|(_, _, interface)| interface.addresses.iter().map(ipnet::IpNet::addr))
                    .collect();
                host.gateways.retain(|gateway| is_near(gateway) && addresses.contains(gateway));
            }
            NodeKind::Router(router) => {
                router.upstream = match router.upstream {
                    Some(upstream) => Some(self.interface(id, upstream)?),
                    None => None,
                };
                if router.multicast == Multicast::Proxy && router.upstream.is_none() {
                    return None;
                }
                let routes = std::mem::take(&mut router.routes).into_iter();
                router.routes = routes
                    .filter_map(|route| {
                        let incoming = self.interface(id, route.incoming)?;
                        let outgoing = route.outgoing.iter().filter_map(|to| self.interface(id, *to)).collect();
                        Some(StaticRoute { incoming, outgoing, ..route })
                    })
                    .collect();
            }
        }
        Some(node)
    }

    fn item(&self, item: &Item) -> Option<Item> {
        match item {
            Item::Act(action) => self.action(action).map(Item::Act),
            other => Some(other.clone()),
        }
    }

    /// An action on what is left; none if what it is about is gone.
    fn action(&self, action: &Action) -> Option<Action> {
        let node = |id: &NodeId| self.nodes.get(id).copied();
        let wire = |id: &WireId| self.wires.get(id).copied();
        // An end that is gone takes what is done to it along.
        let end = |end: &Option<Attachment>| match end {
            Some(at) => self.ends.get(at).copied().map(Some),
            None => Some(None),
        };
        let hosts = |hosts: &[NodeId]| -> Option<Vec<NodeId>> {
            let left: Vec<NodeId> = hosts.iter().filter_map(node).collect();
            (!left.is_empty()).then_some(left)
        };
        Some(match action {
            Action::Join { hosts: of, group, groups, filter } => {
                Action::Join { hosts: hosts(of)?, group: *group, groups: *groups, filter: filter.clone() }
            }
            Action::Leave { hosts: of, group, groups } => {
                Action::Leave { hosts: hosts(of)?, group: *group, groups: *groups }
            }
            Action::Stream(stream) => {
                let at = Attachment { node: stream.from, interface: stream.interface };
                let at = self.ends.get(&at)?;
                Action::Stream(Stream { from: at.node, interface: at.interface, ..stream.clone() })
            }
            Action::Stop { stream } => Action::Stop { stream: stream.clone() },
            Action::Fail(cut) => Action::Fail(Cut { wire: wire(&cut.wire)?, end: end(&cut.end)?, ..cut.clone() }),
            Action::Drop(loss) => {
                Action::Drop(MessageLoss { wire: wire(&loss.wire)?, from: end(&loss.from)?, ..loss.clone() })
            }
            Action::Impair(how) => {
                Action::Impair(Mistreatment { wire: wire(&how.wire)?, from: end(&how.from)?, ..how.clone() })
            }
            Action::Restore { wire: of, end: at } => Action::Restore { wire: wire(of)?, end: end(at)? },
            Action::Kill { node: id } => Action::Kill { node: node(id)? },
            Action::Restart { node: id } => Action::Restart { node: node(id)? },
            Action::Pause { node: id } => Action::Pause { node: node(id)? },
            Action::Resume { node: id } => Action::Resume { node: node(id)? },
            Action::Wait { time } => Action::Wait { time: *time },
            // None of these is drawn.
            Action::Run { .. } | Action::Expect(_) => return None,
        })
    }
}
