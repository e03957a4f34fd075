//! The shapes: routers by name, and which are linked.

use super::waxman::{self, Chances};
use crate::topology::file::generate::{Generate, Sides};
use crate::topology::resolve::END_LIMIT;

/// A random graph is made no further than this: links that no file can have.
pub(super) const LINK_LIMIT: usize = END_LIMIT / 2;

/// Waxman's parameters where the file has none.
const ALPHA: f64 = 0.4;
const BETA: f64 = 0.1;

/// A graph of routers.
#[derive(Debug, Default)]
pub(super) struct Shape {
    /// Their names, each once.
    pub routers: Vec<String>,
    /// Links, by the routers' numbers.
    pub links: Vec<(usize, usize)>,
    /// The routers at its edge, if it has any.
    pub edge: Option<Vec<usize>>,
}

/// How many routers a shape has; large numbers are not counted to their end.
pub(super) fn count(generate: &Generate) -> usize {
    match generate {
        Generate::Grid(graph) => graph.grid.rows.saturating_mul(graph.grid.columns),
        Generate::Chain(graph) => graph.chain.get(),
        Generate::Ring(graph) => graph.ring.get(),
        Generate::Star(graph) => graph.star.get::<usize>() + 1,
        Generate::Tree(graph) => {
            let fan_out: usize = graph.tree.fan_out.get();
            let levels = 0..graph.tree.depth.get::<u32>();
            let next = |level: usize| level.saturating_mul(fan_out);
            levels.fold((1, 1), |(all, level): (usize, usize), _| (all.saturating_add(next(level)), next(level))).0
        }
        Generate::FatTree(graph) => {
            let k: usize = graph.fat_tree.get();
            k * k / 4 + k * k
        }
        Generate::Random(graph) => graph.random.nodes.get(),
    }
}

/// Makes a shape; a random one ends soon after [`LINK_LIMIT`].
pub(super) fn make(generate: &Generate, seed: u64) -> Shape {
    match generate {
        Generate::Grid(graph) => grid(graph.grid.value, graph.torus == Some(true)),
        Generate::Chain(graph) => chain(graph.chain.get()),
        Generate::Ring(graph) => ring(graph.ring.get()),
        Generate::Star(graph) => star(graph.star.get()),
        Generate::Tree(graph) => tree(graph.tree.depth.get(), graph.tree.fan_out.get()),
        Generate::FatTree(graph) => fat_tree(graph.fat_tree.get()),
        Generate::Random(graph) => {
            let random = &graph.random;
            let chances = Chances {
                alpha: random.alpha.map_or(ALPHA, |alpha| alpha.0),
                beta: random.beta.map_or(BETA, |beta| beta.0),
            };
            let seed = random.seed.map_or(seed, |seed| seed.get());
            let count = random.nodes.get();
            let links = waxman::links(count, chances, seed, LINK_LIMIT);
            Shape { routers: numbered(count), links, edge: None }
        }
    }
}

/// `r1`, `r2`, ...
fn numbered(count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("r{number}")).collect()
}

/// Row by row; each router's link to the right, then the one down.
fn grid(Sides { rows, columns }: Sides, torus: bool) -> Shape {
    let at = |row: usize, column: usize| row * columns + column;
    let places = || (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
    let routers = places().map(|(row, column)| format!("r{}c{}", row + 1, column + 1)).collect();
    let mut links = Vec::new();
    for (row, column) in places() {
        if torus || column + 1 < columns {
            links.push((at(row, column), at(row, (column + 1) % columns)));
        }
        if torus || row + 1 < rows {
            links.push((at(row, column), at((row + 1) % rows, column)));
        }
    }
    let rim = |(row, column): &(usize, usize)| [0, rows - 1].contains(row) || [0, columns - 1].contains(column);
    let edge = (!torus).then(|| places().filter(rim).map(|(row, column)| at(row, column)).collect());
    Shape { routers, links, edge }
}

fn chain(count: usize) -> Shape {
    let mut edge = vec![0, count.saturating_sub(1)];
    edge.dedup();
    Shape { routers: numbered(count), links: (1..count).map(|n| (n - 1, n)).collect(), edge: Some(edge) }
}

fn ring(count: usize) -> Shape {
    Shape { routers: numbered(count), links: (0..count).map(|n| (n, (n + 1) % count)).collect(), edge: None }
}

fn star(leaves: usize) -> Shape {
    let routers = [vec!["hub".to_owned()], numbered(leaves)].concat();
    Shape { routers, links: (1..=leaves).map(|n| (0, n)).collect(), edge: Some((1..=leaves).collect()) }
}

/// Level by level.
fn tree(depth: u32, fan_out: usize) -> Shape {
    let mut shape = Shape { routers: numbered(1), ..Shape::default() };
    let mut level = 0..1;
    for _ in 0..depth {
        let start = shape.routers.len();
        for parent in level {
            for child in 1..=fan_out {
                shape.links.push((parent, shape.routers.len()));
                shape.routers.push(format!("{}-{child}", shape.routers[parent]));
            }
        }
        level = start..shape.routers.len();
    }
    shape.edge = Some(level.collect());
    shape
}

/// The core, then pod by pod the aggregation and the edge (Al-Fares, Loukissas, Vahdat 2008, without its addresses). The
/// n-th aggregation router of each pod is linked to the n-th k/2 core routers.
fn fat_tree(k: usize) -> Shape {
    let half = k / 2;
    let mut shape = Shape { routers: (1..=half * half).map(|n| format!("core{n}")).collect(), ..Shape::default() };
    let mut edges = Vec::new();
    for pod in 1..=k {
        let aggregation = shape.routers.len();
        let edge = aggregation + half;
        shape.routers.extend((1..=half).map(|n| format!("agg{pod}-{n}")));
        shape.routers.extend((1..=half).map(|n| format!("edge{pod}-{n}")));
        for n in 0..half {
            shape.links.extend((0..half).map(|core| (n * half + core, aggregation + n)));
        }
        for n in 0..half {
            shape.links.extend((0..half).map(|to| (aggregation + n, edge + to)));
        }
        edges.extend(edge..edge + half);
    }
    shape.edge = Some(edges);
    shape
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(shape: &Shape) -> Vec<String> {
        shape.links.iter().map(|(a, b)| format!("{}-{}", shape.routers[*a], shape.routers[*b])).collect()
    }

    fn edge(shape: &Shape) -> Vec<&str> {
        shape.edge.iter().flatten().map(|n| shape.routers[*n].as_str()).collect()
    }

    #[test]
    fn a_grid_goes_row_by_row() {
        let shape = grid(Sides { rows: 2, columns: 3 }, false);
        assert_eq!(shape.routers, ["r1c1", "r1c2", "r1c3", "r2c1", "r2c2", "r2c3"]);
        assert_eq!(
            links(&shape),
            ["r1c1-r1c2", "r1c1-r2c1", "r1c2-r1c3", "r1c2-r2c2", "r1c3-r2c3", "r2c1-r2c2", "r2c2-r2c3"]
        );
        assert_eq!(edge(&shape).len(), 6);
        let shape = grid(Sides { rows: 3, columns: 3 }, false);
        assert!(!edge(&shape).contains(&"r2c2") && edge(&shape).len() == 8);
    }

    #[test]
    fn every_router_of_a_torus_has_four_links() {
        let shape = grid(Sides { rows: 3, columns: 4 }, true);
        let mut degree = [0; 12];
        shape.links.iter().for_each(|(a, b)| {
            degree[*a] += 1;
            degree[*b] += 1;
        });
        assert_eq!(degree, [4; 12]);
        assert!(shape.edge.is_none());
    }

    #[test]
    fn a_chain_has_two_ends_and_a_ring_none() {
        assert_eq!(links(&chain(3)), ["r1-r2", "r2-r3"]);
        assert_eq!(edge(&chain(3)), ["r1", "r3"]);
        assert_eq!(edge(&chain(1)), ["r1"]);
        assert_eq!(links(&ring(3)), ["r1-r2", "r2-r3", "r3-r1"]);
    }

    #[test]
    fn a_star_is_a_hub_and_its_leaves() {
        assert_eq!(links(&star(2)), ["hub-r1", "hub-r2"]);
        assert_eq!(edge(&star(2)), ["r1", "r2"]);
    }

    #[test]
    fn a_tree_is_named_by_its_branches() {
        let shape = tree(2, 2);
        assert_eq!(shape.routers, ["r1", "r1-1", "r1-2", "r1-1-1", "r1-1-2", "r1-2-1", "r1-2-2"]);
        assert_eq!(links(&shape)[..3], ["r1-r1-1", "r1-r1-2", "r1-1-r1-1-1"]);
        assert_eq!(edge(&shape), ["r1-1-1", "r1-1-2", "r1-2-1", "r1-2-2"]);
    }

    #[test]
    fn every_router_of_a_fat_tree_has_k_links_but_those_of_the_edge() {
        let shape = fat_tree(4);
        assert_eq!(shape.routers.len(), 20);
        assert_eq!(shape.links.len(), 32);
        let mut degree = [0; 20];
        shape.links.iter().for_each(|(a, b)| {
            degree[*a] += 1;
            degree[*b] += 1;
        });
        for (number, name) in shape.routers.iter().enumerate() {
            assert_eq!(degree[number], if name.starts_with("edge") { 2 } else { 4 }, "{name}");
        }
        // Each core router reaches each pod once.
        let pods = |core: usize| {
            let pods: std::collections::BTreeSet<char> = shape
                .links
                .iter()
                .filter(|(a, _)| *a == core)
                .map(|(_, b)| shape.routers[*b].as_bytes()[3].into())
                .collect();
            pods.len()
        };
        assert!((0..4).all(|core| pods(core) == 4));
        assert_eq!(edge(&shape).len(), 8);
    }

    #[test]
    fn no_name_is_longer_than_a_wire_may_be_named() {
        let shape = tree(12, 2);
        assert_eq!(shape.routers.len(), 8191);
        assert!(links(&shape).iter().all(|name| name.len() <= 63));
    }
}
