//! Shortest unicast paths by Floyd and Warshall's algorithm, with every equal-cost alternative.
//!
//! The route agent computes its tables by another algorithm; a property test beside it compares the two.

use std::collections::{BTreeMap, BTreeSet};

use super::world::World;
use crate::topology::plan::{Attachment, NodeId, Plan, Unicast, WireId};

const NEVER: u64 = u64::MAX;

/// A step of a path: out of one interface, into the next node's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hop {
    /// The interface that packets leave by.
    pub out: Attachment,
    /// The one that they reach.
    pub into: Attachment,
}

/// All shortest paths of a plan in a world. Only routers with unicast routes are passed through.
#[derive(Clone, Debug)]
pub struct Paths {
    size: usize,
    distances: Vec<u64>,
    /// By node: its usable steps with their costs.
    steps: Vec<Vec<(Hop, u64)>>,
    passes: Vec<bool>,
    broken: BTreeSet<Attachment>,
}

impl Paths {
    /// Computes them: time grows with the third power of the number of nodes.
    pub fn of(plan: &Plan, world: &World) -> Paths {
        let size = plan.nodes.len();
        let passes: Vec<bool> =
            plan.nodes.iter().map(|node| node.router().is_some_and(|r| r.unicast != Unicast::None)).collect();
        let mut steps = vec![Vec::new(); size];
        let mut distances = vec![NEVER; size * size];
        for node in 0..size {
            distances[node * size + node] = 0;
        }
        for wire in &plan.wires {
            let cost = u64::from(wire.cost);
            for &out in &wire.ends {
                for &into in &wire.ends {
                    if out.node != into.node && world.carries(plan, out, into) {
                        steps[out.node.0].push((Hop { out, into }, cost));
                        let distance = &mut distances[out.node.0 * size + into.node.0];
                        *distance = cost.min(*distance);
                    }
                }
            }
        }
        for through in (0..size).filter(|&n| passes[n]) {
            for from in 0..size {
                let first = distances[from * size + through];
                if first == NEVER {
                    continue;
                }
                for to in 0..size {
                    let whole = first.saturating_add(distances[through * size + to]);
                    let distance = &mut distances[from * size + to];
                    *distance = whole.min(*distance);
                }
            }
        }
        let broken =
            plan.wires.iter().flat_map(|w| &w.ends).copied().filter(|end| world.is_broken(plan, *end)).collect();
        Paths { size, distances, steps, passes, broken }
    }

    /// The cost from node to node; none if there is no path.
    pub fn cost(&self, from: NodeId, to: NodeId) -> Option<u64> {
        Some(self.distances[from.0 * self.size + to.0]).filter(|cost| *cost != NEVER)
    }

    /// The cost from a router to the prefix of a wire, the wire itself included; none if it cannot be reached, 0 if it is its own.
    pub fn cost_to_wire(&self, plan: &Plan, from: NodeId, wire: WireId) -> Option<u64> {
        let usable = plan.wire(wire).ends.iter().filter(|end| !self.broken.contains(end));
        if usable.clone().any(|end| end.node == from) {
            return Some(0);
        }
        let last = usable.filter(|end| self.passes[end.node.0]).filter_map(|end| self.cost(from, end.node)).min()?;
        Some(last + u64::from(plan.wire(wire).cost))
    }

    /// Every first step of a shortest path from node to node.
    pub fn next_hops(&self, from: NodeId, to: NodeId) -> BTreeSet<Hop> {
        let Some(whole) = self.cost(from, to) else { return BTreeSet::new() };
        let leads = |&(hop, cost): &(Hop, u64)| {
            let next = hop.into.node;
            let fits = next == to || self.passes[next.0];
            (fits && self.cost(next, to).is_some_and(|rest| rest + cost == whole)).then_some(hop)
        };
        self.steps[from.0].iter().filter_map(leads).collect()
    }

    /// How many nodes lie between two nodes on their shortest paths: one number for each length that occurs.
    pub fn hop_counts(&self, from: NodeId, to: NodeId) -> BTreeSet<usize> {
        let mut known = BTreeMap::new();
        self.count_hops(from, to, &mut known)
    }

    // Costs are at least 1, so each step is nearer to the end: the recursion is bounded by the number of nodes.
    fn count_hops(&self, from: NodeId, to: NodeId, known: &mut BTreeMap<NodeId, BTreeSet<usize>>) -> BTreeSet<usize> {
        if let Some(counts) = known.get(&from) {
            return counts.clone();
        }
        let mut counts = BTreeSet::new();
        for hop in self.next_hops(from, to) {
            if hop.into.node == to {
                counts.insert(0);
            } else {
                counts.extend(self.count_hops(hop.into.node, to, known).into_iter().map(|n| n + 1));
            }
        }
        known.insert(from, counts.clone());
        counts
    }

    /// One shortest path, step by step: of equals, the first in the order of nodes and interfaces.
    pub fn way(&self, from: NodeId, to: NodeId) -> Vec<Hop> {
        let mut way = Vec::new();
        let mut at = from;
        while at != to {
            let Some(&hop) = self.next_hops(at, to).first() else { break };
            way.push(hop);
            at = hop.into.node;
        }
        way
    }
}

/// What every node has to pay to a wire's prefix, by Bellman and Ford's algorithm: for one destination, cheaper than [`Paths`].
#[derive(Clone, Debug)]
pub struct Distances {
    /// None if it is a node that they lead to.
    to: Option<WireId>,
    costs: Vec<u64>,
    passes: Vec<bool>,
}

impl Distances {
    /// Computes them. Time grows with the wires' ends, squared on each wire, times the longest path.
    pub fn to_wire(plan: &Plan, world: &World, to: WireId) -> Distances {
        let passes: Vec<bool> =
            plan.nodes.iter().map(|node| node.router().is_some_and(|r| r.unicast != Unicast::None)).collect();
        let mut costs = vec![NEVER; plan.nodes.len()];
        for end in plan.wire(to).ends.iter().filter(|end| !world.is_broken(plan, **end)) {
            costs[end.node.0] = 0;
        }
        Distances { to: Some(to), costs, passes }.grown(plan, world)
    }

    /// The same to a node's own address.
    pub fn to_node(plan: &Plan, world: &World, to: NodeId) -> Distances {
        let passes: Vec<bool> =
            plan.nodes.iter().map(|node| node.router().is_some_and(|r| r.unicast != Unicast::None)).collect();
        let mut costs = vec![NEVER; plan.nodes.len()];
        costs[to.0] = 0;
        Distances { to: None, costs, passes }.grown(plan, world)
    }

    fn grown(self, plan: &Plan, world: &World) -> Distances {
        let mut distances = self;
        loop {
            let mut moved = false;
            for wire in &plan.wires {
                let whole = |end: &&Attachment| !world.is_broken(plan, **end);
                for near in wire.ends.iter().filter(whole) {
                    let Some(cost) = distances.onward(plan, *near) else { continue };
                    for far in wire.ends.iter().filter(whole).filter(|far| far.node != near.node) {
                        let known = &mut distances.costs[far.node.0];
                        moved |= cost < *known;
                        *known = cost.min(*known);
                    }
                }
            }
            if !moved {
                return distances;
            }
        }
    }

    /// What a neighbour on `near`'s wire pays by way of `near`; none if it leads nowhere.
    fn onward(&self, plan: &Plan, near: Attachment) -> Option<u64> {
        let own = self.of(near.node).filter(|_| self.passes[near.node.0])?;
        let last = self.to.filter(|_| own == 0).map_or(0, |wire| u64::from(plan.wire(wire).cost));
        Some(own + last + u64::from(plan.wire(plan.interface(near).wire).cost))
    }

    /// A node's cost, the wire itself included; 0 if it is its own, none if it cannot be reached.
    pub fn of(&self, node: NodeId) -> Option<u64> {
        Some(self.costs[node.0]).filter(|cost| *cost != NEVER)
    }

    /// The far ends of a node's first steps on its shortest paths to the wire: all alternatives, each with the node's own end.
    pub fn next_hops(&self, plan: &Plan, world: &World, node: NodeId) -> BTreeSet<Hop> {
        let mut hops = BTreeSet::new();
        let Some(cost) = self.of(node).filter(|cost| *cost > 0) else { return hops };
        for interface in 0..plan.node(node).interfaces.len() {
            let out = Attachment { node, interface };
            for &into in &plan.wire(plan.interface(out).wire).ends {
                let there = into.node != node && world.carries(plan, out, into);
                if there && self.onward(plan, into) == Some(cost) {
                    hops.insert(Hop { out, into });
                }
            }
        }
        hops
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::testing::{Net, chain};
    use crate::topology::steps::{Cut, CutKind};

    #[test]
    fn a_chain_has_one_path() {
        let (plan, ids) = chain();
        let paths = Paths::of(&plan, &World::new());
        assert_eq!(paths.cost(ids["src"], ids["h1"]), Some(3));
        assert_eq!(paths.hop_counts(ids["src"], ids["h1"]), BTreeSet::from([2]));
        let way: Vec<String> = paths.way(ids["src"], ids["h1"]).iter().map(|h| plan.name_of(h.out)).collect();
        assert_eq!(way, ["src.eth0", "r1.eth1", "r2.eth1"]);
    }

    #[test]
    fn a_diamond_has_sets_where_costs_are_equal() {
        let mut net = Net::new();
        let (s, a, b, c, d) = (net.host("s"), net.router("a"), net.router("b"), net.router("c"), net.router("d"));
        net.link("sa", s, a);
        let fast = net.link("ab", a, b);
        net.link("bd", b, d);
        net.link("ac", a, c);
        net.link("cd", c, d);
        let long = net.link("ad", a, d);
        net.cost(long, 2);
        let paths = Paths::of(&net.plan(), &World::new());
        assert_eq!(paths.cost(a, d), Some(2));
        assert_eq!(paths.next_hops(a, d).len(), 3);
        assert_eq!(paths.hop_counts(a, d), BTreeSet::from([0, 1]));
        assert_eq!(paths.hop_counts(s, d), BTreeSet::from([1, 2]));

        net.cost(fast, 5);
        let paths = Paths::of(&net.plan(), &World::new());
        assert_eq!(paths.next_hops(a, d).len(), 2);
        assert_eq!(paths.cost(a, b), Some(3), "around the slow link");
    }

    #[test]
    fn a_cut_moves_paths_and_hosts_are_not_passed_through() {
        let mut net = Net::new();
        let (a, b, h) = (net.router("a"), net.router("b"), net.host("h"));
        let direct = net.link("ab", a, b);
        net.link("ah", a, h);
        net.link("hb", h, b);
        let plan = net.plan();
        assert_eq!(Paths::of(&plan, &World::new()).cost(a, b), Some(1));
        let mut world = World::new();
        world.fail(&Cut { wire: direct, end: None, how: CutKind::Carrier, detected_after: None });
        assert_eq!(Paths::of(&plan, &world).cost(a, b), None);
    }
}
