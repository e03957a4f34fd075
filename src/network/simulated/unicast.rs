//! Unicast routes as the route agent keeps them (`src/routes/agent.rs`): shortest paths among what its nodes' interfaces say, moved some time after
//! the news.
//!
//! Routes to a destination come from one tree for all routers, computed when somebody first asks for an address there: a large network has
//! many routers, and few addresses that anybody ever asks for.

use router_core::router::{InterfaceId, UnicastRoute};

use crate::routes::spf::{Destination, Hop, Paths, Usable};
use crate::topology::plan::{Attachment, NodeId, Plan, WireId};

/// The agent and what it has installed.
#[derive(Debug)]
pub struct Unicast {
    paths: Paths,
    /// What is known of the interfaces, cuts included.
    usable: Usable,
    /// Ends with a known silent cut.
    cuts: Vec<Attachment>,
    asked: Vec<Asked>,
}

/// A destination that somebody asked for.
#[derive(Debug)]
struct Asked {
    destination: Destination,
    /// By node: what its kernel holds.
    installed: Vec<Option<Hop>>,
}

/// What changed at a node.
#[derive(Debug, Default, PartialEq)]
pub struct Moved {
    /// Routes that are new.
    pub added: Vec<UnicastRoute>,
    /// Routes that are gone.
    pub removed: Vec<UnicastRoute>,
}

impl Unicast {
    /// An agent that has installed nothing that nobody asked for.
    pub fn new(plan: &Plan) -> Unicast {
        Unicast { paths: Paths::new(plan), usable: Usable::all(plan), cuts: Vec::new(), asked: Vec::new() }
    }

    /// Somebody will look for a route to an address. Gives the routes that are there now and were not told before, by node.
    pub fn ask(&mut self, plan: &Plan, address: std::net::IpAddr) -> Vec<(NodeId, UnicastRoute)> {
        let Some(destination) = self.paths.destination_of(address) else { return Vec::new() };
        if self.asked.iter().any(|asked| asked.destination == destination) {
            return Vec::new();
        }
        let asked = Asked { destination, installed: self.wanted(plan, destination) };
        let mut new = Vec::new();
        for (node, hop) in asked.installed.iter().enumerate() {
            let routes = hop.iter().flat_map(|hop| self.routes(plan, NodeId(node), destination, hop));
            new.extend(routes.map(|route| (NodeId(node), route)));
        }
        self.asked.push(asked);
        new
    }

    /// The routes of a node that somebody has asked for.
    pub fn routes_of(&self, plan: &Plan, node: NodeId) -> Vec<UnicastRoute> {
        let hops = self.asked.iter().filter_map(|asked| Some((asked.destination, asked.installed[node.0].as_ref()?)));
        hops.flat_map(|(destination, hop)| self.routes(plan, node, destination, hop)).collect()
    }

    /// Where a node's kernel sends packets for an address that somebody has asked for.
    pub fn hop(&self, node: NodeId, address: std::net::IpAddr) -> Option<Hop> {
        let destination = self.paths.destination_of(address)?;
        self.asked.iter().find(|asked| asked.destination == destination)?.installed[node.0]
    }

    /// A node's kernel drops the routes through an interface that is lost. Gives them.
    pub fn drop_through(&mut self, plan: &Plan, at: Attachment) -> Vec<UnicastRoute> {
        let mut gone = Vec::new();
        for number in 0..self.asked.len() {
            let asked = &mut self.asked[number];
            let destination = asked.destination;
            let Some(hop) = asked.installed[at.node.0].take_if(|hop| hop.interface == at.interface) else { continue };
            gone.extend(self.routes(plan, at.node, destination, &hop));
        }
        gone
    }

    /// News of an interface. Gives whether the agent has a reason to look at its routes.
    pub fn hear(&mut self, at: Attachment, is_up: bool) -> bool {
        let usable = is_up && !self.cuts.contains(&at);
        self.usable.set(at, usable)
    }

    /// A silent cut of a wire, or of one end of it, became known, or its end. Gives the attachments that turned, and `is_up` says of each whether
    /// its interface is.
    pub fn notice(
        &mut self,
        plan: &Plan,
        wire: WireId,
        end: Option<Attachment>,
        cut: bool,
        is_up: impl Fn(Attachment) -> bool,
    ) -> Vec<Attachment> {
        let mut turned = Vec::new();
        for &at in plan.wire(wire).ends.iter().filter(|at| end.is_none_or(|end| end == **at)) {
            self.cuts.retain(|known| *known != at);
            if cut {
                self.cuts.push(at);
            }
            if self.usable.set(at, is_up(at) && !cut) {
                turned.push(at);
            }
        }
        turned
    }

    /// The agent brings all routes in line; `may_use` says whether a node's kernel takes routes through an interface. Gives what changed, by node.
    pub fn turn(&mut self, plan: &Plan, may_use: impl Fn(Attachment) -> bool) -> Vec<(NodeId, Moved)> {
        let mut moved: Vec<(NodeId, Moved)> = Vec::new();
        let mut by_node: Vec<Option<usize>> = vec![None; plan.nodes.len()];
        for number in 0..self.asked.len() {
            let destination = self.asked[number].destination;
            let wanted = self.wanted(plan, destination);
            for (node, wanted) in wanted.into_iter().enumerate() {
                let id = NodeId(node);
                let known = self.asked[number].installed[node];
                let refused = wanted.is_some_and(|hop| !may_use(Attachment { node: id, interface: hop.interface }));
                if known == wanted || refused {
                    continue;
                }
                let place = *by_node[node].get_or_insert_with(|| {
                    moved.push((id, Moved::default()));
                    moved.len() - 1
                });
                let added = wanted.iter().flat_map(|hop| self.routes(plan, id, destination, hop));
                moved[place].1.added.extend(added);
                let removed = known.iter().flat_map(|hop| self.routes(plan, id, destination, hop));
                moved[place].1.removed.extend(removed);
                self.asked[number].installed[node] = wanted;
            }
        }
        moved.sort_by_key(|(node, _)| *node);
        moved
    }

    fn wanted(&self, plan: &Plan, destination: Destination) -> Vec<Option<Hop>> {
        let tree = self.paths.tree(destination, &self.usable);
        plan.node_ids().map(|node| self.paths.hop(node, &tree, &self.usable)).collect()
    }

    fn routes(
        &self,
        plan: &Plan,
        node: NodeId,
        destination: Destination,
        hop: &Hop,
    ) -> impl Iterator<Item = UnicastRoute> {
        let Hop { address, interface, metric } = *hop;
        let index = plan.interface(Attachment { node, interface }).index;
        let route = move |prefix: &ipnet::IpNet| UnicastRoute {
            prefix: *prefix,
            next_hop: Some(address),
            interface: InterfaceId(index),
            metric,
        };
        self.paths.prefixes_of(destination).iter().map(route)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::fixture::Lab;

    /// Two ways from r1 to r4: by r2 for 20, by r3 for 30.
    fn diamond() -> Plan {
        Lab::new()
            .hosts(&["src", "dst"])
            .routers(&["r1", "r2", "r3", "r4"])
            .wire(1, &["src", "r1"])
            .wire(10, &["r1", "r2"])
            .wire(10, &["r1", "r3"])
            .wire(10, &["r2", "r4"])
            .wire(20, &["r3", "r4"])
            .wire(1, &["r4", "dst"])
            .plan()
    }

    #[test]
    fn routes_are_made_when_they_are_asked_for_and_move_when_an_interface_is_lost() {
        let plan = diamond();
        let r1 = plan.find_node("r1").unwrap();
        let mut unicast = Unicast::new(&plan);
        assert_eq!(unicast.routes_of(&plan, r1), []);
        assert_eq!(unicast.ask(&plan, "192.0.2.1".parse().unwrap()), []);
        let new = unicast.ask(&plan, "10.0.5.2".parse().unwrap());
        assert_eq!(new.len(), 3, "r4 is there");
        assert_eq!(unicast.ask(&plan, "10.0.5.9".parse().unwrap()), []);
        let before = unicast.routes_of(&plan, r1);
        assert_eq!((before.len(), before[0].metric), (1, 21));

        let lost = Attachment { node: r1, interface: 1 };
        assert_eq!(unicast.drop_through(&plan, lost), before);
        assert!(unicast.hear(lost, false) && !unicast.hear(lost, false));
        let moved = unicast.turn(&plan, |_| true);
        // r2 has another way to nowhere.
        let [(node, Moved { added, removed })] = &moved[..] else { panic!("{moved:?}") };
        assert_eq!((*node, added[0].metric, removed.len()), (r1, 31, 0));
        assert_eq!(unicast.turn(&plan, |_| true), []);

        assert!(unicast.hear(lost, true));
        let moved = unicast.turn(&plan, |_| true);
        let [(_, Moved { added, removed })] = &moved[..] else { panic!("{moved:?}") };
        assert_eq!((added[0].metric, removed[0].metric), (21, 31));
    }

    #[test]
    fn a_silent_cut_counts_once_it_is_known_whatever_the_carrier_says() {
        let plan = diamond();
        let mut unicast = Unicast::new(&plan);
        unicast.ask(&plan, "10.0.5.2".parse().unwrap());
        let wire = WireId(1);
        assert_eq!(unicast.notice(&plan, wire, None, true, |_| true), plan.wire(wire).ends);
        assert_eq!(unicast.turn(&plan, |_| true).len(), 1);
        assert!(!unicast.hear(plan.wire(wire).ends[0], true), "it is cut all the same");
        assert_eq!(unicast.notice(&plan, wire, None, false, |_| true), plan.wire(wire).ends);
        assert_eq!(unicast.turn(&plan, |_| true).len(), 1);
    }
}
