//! Which wires hold the routers together.

use std::collections::BTreeSet;

use super::state::State;
use crate::topology::plan::{Multicast, Plan, WireId};

/// A router or a wire, in one numbering: nodes, then wires.
struct Graph {
    neighbours: Vec<Vec<usize>>,
    nodes: usize,
}

impl Graph {
    /// Routers that forward, the wires between them, and what has failed left out.
    fn of(plan: &Plan, state: &State) -> Graph {
        let nodes = plan.nodes.len();
        let mut neighbours = vec![Vec::new(); nodes + plan.wires.len()];
        for (index, wire) in plan.wires.iter().enumerate() {
            let id = WireId(index);
            let cut = state.cuts.get(&id);
            let is_cut =
                |end| cut.is_some_and(|ends| wire.kind.is_link() || ends.contains(&None) || ends.contains(&Some(end)));
            for end in &wire.ends {
                let forwards = plan.node(end.node).router().is_some_and(|r| r.multicast != Multicast::None);
                if forwards && !state.is_still(end.node) && !is_cut(*end) {
                    neighbours[end.node.0].push(nodes + index);
                    neighbours[nodes + index].push(end.node.0);
                }
            }
        }
        Graph { neighbours, nodes }
    }
}

/// The wires without which routers that can reach each other now no longer could: the cut vertices among the wires, in one search
/// (Hopcroft and Tarjan). What a scenario has made fail so far has failed, and dead or stopped routers lead nowhere.
pub(super) fn cut_wires(plan: &Plan, state: &State) -> BTreeSet<WireId> {
    let graph = Graph::of(plan, state);
    let count = graph.neighbours.len();
    let mut order = vec![usize::MAX; count];
    let mut lowest = vec![usize::MAX; count];
    let mut found = BTreeSet::new();
    let mut next = 0;
    // Every search starts at a router, so a wire is never its root.
    for root in 0..graph.nodes {
        if order[root] != usize::MAX {
            continue;
        }
        let mut path = vec![(root, usize::MAX, 0)];
        order[root] = next;
        lowest[root] = next;
        next += 1;
        while let Some((at, from, tried)) = path.last_mut() {
            let (at, from) = (*at, *from);
            if let Some(&to) = graph.neighbours[at].get(*tried) {
                *tried += 1;
                if order[to] == usize::MAX {
                    order[to] = next;
                    lowest[to] = next;
                    next += 1;
                    path.push((to, at, 0));
                } else if to != from {
                    lowest[at] = lowest[at].min(order[to]);
                }
                continue;
            }
            path.pop();
            if from != usize::MAX {
                lowest[from] = lowest[from].min(lowest[at]);
                if from >= graph.nodes && lowest[at] >= order[from] {
                    found.insert(WireId(from - graph.nodes));
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::topology::plan::{Attachment, NodeId};

    const NET: &str = "
name: net
nodes:
  r1: {kind: router}
  r2: {kind: router}
  r3: {kind: router}
  r4: {kind: router, multicast: none}
  h1: {kind: host, gateway: r2}
links:
  - {between: [r2, r3]}
  - {between: [r3, r4]}
  - {between: [r4, r1]}
  - {between: [r2, h1]}
  - {between: [r3, h1]}
lans:
  core: {nodes: [r1, r2, r3]}
";

    fn plan() -> Plan {
        crate::topology::parse("net.yaml", NET).unwrap_or_else(|faults| panic!("{faults}"))
    }

    fn needed(plan: &Plan, state: &State) -> Vec<String> {
        cut_wires(plan, state).into_iter().map(|wire| plan.wire(wire).name.clone()).collect()
    }

    #[test]
    fn a_lan_that_holds_a_router_is_needed_whatever_else_the_others_have() {
        // Neither r4, which forwards nothing, nor h1 is a way from r1 to the others.
        assert_eq!(needed(&plan(), &State::default()), ["core"]);
    }

    #[test]
    fn what_has_failed_is_no_way() {
        let plan = plan();
        let (r2, r3) = (NodeId(1), NodeId(2));
        let core = plan.find_wire("core").unwrap();
        let end = |node: NodeId| *plan.wire(core).ends.iter().find(|end| end.node == node).unwrap();
        let failed = |wire: WireId, end: Option<Attachment>| State {
            cuts: [(wire, BTreeSet::from([end]))].into(),
            ..State::default()
        };
        assert_eq!(needed(&plan, &failed(core, Some(end(r3)))), ["r2-r3", "core"]);
        assert_eq!(needed(&plan, &failed(core, None)), ["r2-r3"]);
        let link = plan.find_wire("r2-r3").unwrap();
        let one_end = plan.wire(link).ends.iter().copied().find(|end| end.node == r2);
        assert_eq!(needed(&plan, &failed(link, one_end)), ["core"]);
    }
}
