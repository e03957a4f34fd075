//! The networks that are measured, as topology files would have them.

use std::fmt::Write as _;

use super::NoFigure;
use crate::topology::plan::Plan;

/// A chain of routers; with `hosts`, one at each end.
///
/// # Errors
/// [`NoFigure::Failed`] if the language refuses it.
pub fn chain(routers: usize, hosts: bool) -> Result<Plan, NoFigure> {
    let mut nodes = String::new();
    let mut row: Vec<String> = (0..routers).map(|n| format!("r{n}")).collect();
    for router in &row {
        let _ = writeln!(nodes, "  {router}: {{kind: router}}");
    }
    if hosts {
        nodes += "  left: {kind: host}\n  right: {kind: host}\n";
        row.insert(0, "left".into());
        row.push("right".into());
    }
    let links: String = row.windows(2).map(|pair| format!("  - {{between: [{}, {}]}}\n", pair[0], pair[1])).collect();
    plan(&format!("name: bench-chain\nnodes:\n{nodes}links:\n{links}"))
}

/// Two hosts and a link.
///
/// # Errors
/// As [`chain`].
pub fn pair() -> Result<Plan, NoFigure> {
    plan("name: bench-pair\nnodes:\n  src: {kind: host}\n  dst: {kind: host}\nlinks:\n  - {between: [src, dst]}\n")
}

/// A source, three routers with static trees for 239.1.0.0/16, a member: r3 passes on what IGMP says that the member wants. `igmp` are r3's
/// settings.
///
/// # Errors
/// As [`chain`].
pub fn tree(igmp: &str) -> Result<Plan, NoFigure> {
    plan(&format!(
        "name: bench-tree
nodes:
  src: {{kind: host}}
  r1: {{kind: router, routes: [{{group: 239.1.0.0/16, from: src, to: [r2]}}]}}
  r2: {{kind: router, routes: [{{group: 239.1.0.0/16, from: r1, to: [r3]}}]}}
  r3: {{kind: router, igmp: {{{igmp}}}, routes: [{{group: 239.1.0.0/16, from: r2}}]}}
  dst: {{kind: host}}
links:
  - {{between: [src, r1]}}
  - {{between: [r1, r2]}}
  - {{between: [r2, r3]}}
  - {{between: [r3, dst]}}
"
    ))
}

/// Two paths of routers that speak PIM dense mode, from a source to a member: `fast` carries the stream, `slow` is pruned in two steps, for
/// its router too has its way to the source there: a graft has two wires to cross. Timers at a tenth
/// of the RFC's, so that the tree soon stands again after a failure; none of them has a part in the failover itself.
///
/// # Errors
/// As [`chain`].
pub fn diamond() -> Result<Plan, NoFigure> {
    plan(
        "name: bench-diamond
timers: 0.1
defaults: {router: {multicast: pim-dm}}
nodes:
  src: {kind: host}
  r1: {kind: router}
  r2: {kind: router}
  r3: {kind: router}
  r4: {kind: router}
  dst: {kind: host}
links:
  - {between: [src, r1]}
  - {name: fast, between: [r1, r2], cost: 10}
  - {name: slow, between: [r1, r3], cost: 20}
  - {name: fast-2, between: [r2, r4], cost: 10}
  - {name: slow-2, between: [r3, r4]}
  - {between: [r4, dst]}
",
    )
}

/// A source, three routers that speak PIM dense mode in a chain, a member: the tree of [`tree`] without a word on where it is. r3 forgets a
/// group at its first leave.
///
/// # Errors
/// As [`chain`].
pub fn dense_chain() -> Result<Plan, NoFigure> {
    plan(
        "name: bench-dense
defaults: {router: {multicast: pim-dm}}
nodes:
  src: {kind: host}
  r1: {kind: router}
  r2: {kind: router}
  r3: {kind: router, igmp: {fast-leave: true}}
  dst: {kind: host}
links:
  - {between: [src, r1]}
  - {name: first, between: [r1, r2]}
  - {between: [r2, r3]}
  - {between: [r3, dst]}
",
    )
}

/// A grid of routers with so many on a side, a host at each, and a source at the first. `settings` are those of all routers.
///
/// # Errors
/// As [`chain`].
pub fn grid(side: usize, settings: &str) -> Result<Plan, NoFigure> {
    let (mut nodes, mut links) = (String::from("  src: {kind: host}\n"), String::from("  - {between: [src, r0-0]}\n"));
    for row in 0..side {
        for column in 0..side {
            let _ = writeln!(
                nodes,
                "  r{row}-{column}: {{kind: router}}\n  h{row}-{column}: {{kind: host, gateway: none}}"
            );
            let _ = writeln!(links, "  - {{between: [r{row}-{column}, h{row}-{column}]}}");
            if column + 1 < side {
                let _ = writeln!(links, "  - {{between: [r{row}-{column}, r{row}-{}]}}", column + 1);
            }
            if row + 1 < side {
                let _ = writeln!(links, "  - {{between: [r{row}-{column}, r{}-{column}]}}", row + 1);
            }
        }
    }
    plan(&format!("name: bench-grid\ndefaults: {{router: {{{settings}}}}}\nnodes:\n{nodes}links:\n{links}"))
}

/// The diamond of `topologies/dense-diamond.yaml` with the RFC's timers, idle for an hour.
///
/// # Errors
/// As [`chain`].
pub fn idle_diamond() -> Result<Plan, NoFigure> {
    let (head, _) = DIAMOND.split_once("\nscenarios:").ok_or_else(|| NoFigure::failed("it has no scenarios"))?;
    let mut plan =
        plan(&format!("{head}\nscenarios: [{{name: hour, steps: [expect: {{neighbours: all}}, wait: 1h]}}]\n"))?;
    plan.timers = 1.0;
    Ok(plan)
}

const DIAMOND: &str = include_str!("../../topologies/dense-diamond.yaml");

/// A 10x10 grid of dense mode with default timers: twenty groups with four members each, and a packet to each of them every ten seconds, for an
/// hour.
///
/// # Errors
/// As [`chain`].
pub fn busy_grid() -> Result<Plan, NoFigure> {
    plan(
        "name: bench-busy-grid
families: [ipv4]
generate: {grid: [10, 10], hosts: [r2c9, r5c5, r9c2, r10c10]}
defaults: {router: {multicast: pim-dm}}
nodes: {src: {kind: host}}
links: [{between: [src, r1c1]}]
scenarios:
  - name: hour
    steps:
      - expect: {neighbours: all}
      - join: {hosts: [h-r2c9, h-r5c5, h-r9c2, h-r10c10], group: 239.1.1.1, groups: 20}
      - stream: {name: news, from: src, group: 239.1.1.1, groups: 20, rate: 2pps, ttl: 64}
      - wait: 1h
      - expect: {delivered: news}
",
    )
}

/// A grid of dense mode with so many routers on a side, a multiple of ten, a source at a corner, a hundred members spread over it: until
/// the stream has its tree.
///
/// # Errors
/// As [`chain`].
pub fn vast_grid(side: usize) -> Result<Plan, NoFigure> {
    let places = || (1..=10).flat_map(|row| (1..=10).map(move |column| (row * side / 10, column * side / 10)));
    let routers: Vec<String> = places().map(|(row, column)| format!("r{row}c{column}")).collect();
    let hosts: Vec<String> = routers.iter().map(|router| format!("h-{router}")).collect();
    let (routers, hosts) = (routers.join(", "), hosts.join(", "));
    plan(&format!(
        "name: bench-vast-grid
families: [ipv4]
generate: {{grid: [{side}, {side}], hosts: [{routers}]}}
defaults: {{router: {{multicast: pim-dm}}}}
nodes: {{src: {{kind: host}}}}
links: [{{between: [src, r1c1]}}]
scenarios:
  - name: tree
    steps:
      - expect: {{neighbours: all}}
      - join: {{hosts: [{hosts}], group: 239.1.1.1}}
      - stream: {{name: news, from: src, group: 239.1.1.1, rate: 10pps, ttl: 255}}
      - expect: {{delivered: news, within: 30s}}
      - expect: {{tree: news, within: convergence}}
"
    ))
}

fn plan(text: &str) -> Result<Plan, NoFigure> {
    crate::topology::parse("bench", text).map_err(|faults| NoFigure::failed(faults.plain()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_what_the_language_allows() {
        let plan = chain(100, true).unwrap();
        assert_eq!((plan.nodes.len(), plan.wires.len()), (102, 101));
        assert_eq!(chain(300, false).unwrap().wires.len(), 299);
        assert_eq!(pair().unwrap().wires.len(), 1);
        let plan = tree("fast-leave: true").unwrap();
        assert_eq!(plan.nodes[3].router().unwrap().igmp.fast_leave, Some(true));
        tree("startup-query-response-interval: 10s").unwrap();
        assert_eq!((diamond().unwrap().wires.len(), dense_chain().unwrap().wires.len()), (6, 4));
        let plan = grid(10, "multicast: pim-dm").unwrap();
        assert_eq!((plan.nodes.len(), plan.wires.len()), (201, 281));
        assert_eq!((idle_diamond().unwrap().timers, busy_grid().unwrap().nodes.len()), (1.0, 105));
        assert_eq!(vast_grid(10).unwrap().nodes.len(), 201);
    }
}
