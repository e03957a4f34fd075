//! `generate` as the file has it.

use schemars::JsonSchema;

use crate::topology::fault::FaultKind;
use crate::topology::read::{At, Cx, OneOrMany, Read, keys, told_by_key};
use crate::topology::scalars::{Int, Share, out_of_range};
use crate::topology::tree;

told_by_key! {
    /// A graph of some shape: routers and links, and hosts if they are asked for.
    pub enum Generate as "`generate`" {
        /// Rows and columns of routers.
        Grid(GridGraph),
        /// Routers one after the other.
        Chain(ChainGraph),
        /// A chain whose ends meet.
        Ring(RingGraph),
        /// A hub and its leaves.
        Star(StarGraph),
        /// A root, and so many routers below each.
        Tree(TreeGraph),
        /// A fat tree: core, and pods of aggregation and edge.
        FatTree(FatTreeGraph),
        /// A random graph by Waxman's model, always connected.
        Random(RandomGraph),
    }
}

keys! {
    /// `rRcC` is in row R and column C, from `r1c1` on.
    pub struct GridGraph as "`generate: {grid}`" {
        /// `[ROWS, COLUMNS]`.
        pub grid: At<Sides>,
        /// Whether each row and each column is a ring (default no).
        pub torus: Option<bool>,
        /// Where hosts are (default nowhere).
        pub hosts: Option<At<Hosts>>,
        /// Cost of the links between its routers.
        pub cost: Option<Int<1, 65535>>,
    }
}

keys! {
    /// `r1`, `r2`, ... one after the other.
    pub struct ChainGraph as "`generate: {chain}`" {
        /// How many routers.
        pub chain: At<Int<1, 10_000>>,
        /// Where hosts are (default nowhere).
        pub hosts: Option<At<Hosts>>,
        /// Cost of the links between its routers.
        pub cost: Option<Int<1, 65535>>,
    }
}

keys! {
    /// `r1`, `r2`, ... around.
    pub struct RingGraph as "`generate: {ring}`" {
        /// How many routers.
        pub ring: At<Int<3, 10_000>>,
        /// Where hosts are (default nowhere).
        pub hosts: Option<At<Hosts>>,
        /// Cost of the links between its routers.
        pub cost: Option<Int<1, 65535>>,
    }
}

keys! {
    /// `hub`, and `r1`, `r2`, ... around it.
    pub struct StarGraph as "`generate: {star}`" {
        /// How many routers are around the hub.
        pub star: At<Int<1, 9_999>>,
        /// Where hosts are (default nowhere).
        pub hosts: Option<At<Hosts>>,
        /// Cost of the links between its routers.
        pub cost: Option<Int<1, 65535>>,
    }
}

keys! {
    /// `r1` is the root; below `r1` are `r1-1`, `r1-2`, ..., below `r1-2` are `r1-2-1`, ...
    pub struct TreeGraph as "`generate: {tree}`" {
        /// Its size.
        pub tree: At<TreeSize>,
        /// Where hosts are (default nowhere).
        pub hosts: Option<At<Hosts>>,
        /// Cost of the links between its routers.
        pub cost: Option<Int<1, 65535>>,
    }
}

keys! {
    /// The size of a tree.
    pub struct TreeSize as "`generate: {tree: {...}}`" {
        /// Levels below the root.
        pub depth: Int<1, 12>,
        /// Routers below each router that has any.
        pub fan_out: Int<2, 9_998>,
    }
}

keys! {
    /// `core1`, ..., and in pod P `aggP-1`, ... and `edgeP-1`, ...
    pub struct FatTreeGraph as "`generate: {fat-tree}`" {
        /// Links of a router, k: an even number. There are k pods of k/2 aggregation and k/2 edge routers, and k²/4 core
        /// routers.
        pub fat_tree: At<Int<2, 88>>,
        /// Where hosts are (default nowhere).
        pub hosts: Option<At<Hosts>>,
        /// Cost of the links between its routers.
        pub cost: Option<Int<1, 65535>>,
    }
}

keys! {
    /// `r1`, `r2`, ... at random places.
    pub struct RandomGraph as "`generate: {random}`" {
        /// Its size and chances.
        pub random: At<Waxman>,
        /// Where hosts are (default nowhere).
        pub hosts: Option<At<Hosts>>,
        /// Cost of the links between its routers.
        pub cost: Option<Int<1, 65535>>,
    }
}

keys! {
    /// Routers at random places of a square; two at a distance d are linked with a chance of alpha·exp(−d / (beta·L)), L
    /// being the square's diagonal. Parts that this leaves apart are joined by the shortest links that do.
    pub struct Waxman as "`generate: {random: {...}}`" {
        /// How many routers.
        pub nodes: Int<1, 10_000>,
        /// Chance of a link between routers at one place (default 0.4).
        pub alpha: Option<Share>,
        /// How far links reach (default 0.1).
        pub beta: Option<Share>,
        /// Seed of its places and links (default the file's).
        pub seed: Option<Int<0, { i64::MAX }>>,
    }
}

/// Sides of a grid: `[ROWS, COLUMNS]`.
#[derive(Clone, Copy, Debug)]
pub(in crate::topology) struct Sides {
    pub rows: usize,
    pub columns: usize,
}

impl Sides {
    const LONGEST: usize = 10_000;
}

impl Read for Sides {
    fn read(node: &tree::Node, cx: &mut Cx) -> Option<Self> {
        const EXPECTED: &str = "rows and columns, such as `[10, 10]`";
        let tree::Value::List(items) = &node.value else {
            cx.wrong_type(node, EXPECTED);
            return None;
        };
        if items.len() != 2 {
            let kind = FaultKind::WrongCount { what: "a grid", needed: "exactly two sides", count: items.len() };
            cx.push(&node.head, kind);
            return None;
        }
        let sides: Vec<usize> =
            items.iter().filter_map(|item| Int::<1, { Sides::LONGEST as i64 }>::read(item, cx).map(Int::get)).collect();
        match sides.as_slice() {
            [rows, columns] => Some(Sides { rows: *rows, columns: *columns }),
            _ => None,
        }
    }
}

impl JsonSchema for Sides {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Sides".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "Rows and columns: [10, 10].",
            "type": "array",
            "items": {"type": "integer", "minimum": 1, "maximum": Sides::LONGEST},
            "minItems": 2,
            "maxItems": 2
        })
    }
}

/// Which generated routers have a host.
#[derive(Clone, Debug)]
pub(in crate::topology) enum Hosts {
    /// Each.
    All,
    /// Those at the shape's edge.
    Edge,
    /// Those that are named.
    At(Vec<At<String>>),
}

impl Read for Hosts {
    fn read(node: &tree::Node, cx: &mut Cx) -> Option<Self> {
        if node.is_null() || matches!(node.value, tree::Value::Map(_)) {
            cx.wrong_type(node, "`all`, `edge`, or names of routers");
            return None;
        }
        let names = OneOrMany::<At<String>>::read(node, cx)?.0;
        Some(match (&node.value, names.as_slice()) {
            (tree::Value::Scalar { .. }, [word]) if word.value == "all" => Hosts::All,
            (tree::Value::Scalar { .. }, [word]) if word.value == "edge" => Hosts::Edge,
            _ => Hosts::At(names),
        })
    }
}

impl JsonSchema for Hosts {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "GeneratedHosts".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "Which routers have a host, `h-ROUTER`: all, those at the edge, or those that are named.",
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]
        })
    }
}

impl Generate {
    /// Which routers have a host.
    pub fn hosts(&self) -> Option<&At<Hosts>> {
        match self {
            Generate::Grid(GridGraph { hosts, .. })
            | Generate::Chain(ChainGraph { hosts, .. })
            | Generate::Ring(RingGraph { hosts, .. })
            | Generate::Star(StarGraph { hosts, .. })
            | Generate::Tree(TreeGraph { hosts, .. })
            | Generate::FatTree(FatTreeGraph { hosts, .. })
            | Generate::Random(RandomGraph { hosts, .. }) => hosts.as_ref(),
        }
    }

    /// Cost of the links between routers.
    pub fn cost(&self) -> Option<Int<1, 65535>> {
        match self {
            Generate::Grid(GridGraph { cost, .. })
            | Generate::Chain(ChainGraph { cost, .. })
            | Generate::Ring(RingGraph { cost, .. })
            | Generate::Star(StarGraph { cost, .. })
            | Generate::Tree(TreeGraph { cost, .. })
            | Generate::FatTree(FatTreeGraph { cost, .. })
            | Generate::Random(RandomGraph { cost, .. }) => *cost,
        }
    }

    /// Where its size stands: what is said of a generated node or link points there.
    pub fn span(&self) -> &tree::Span {
        match self {
            Generate::Grid(graph) => &graph.grid.span,
            Generate::Chain(graph) => &graph.chain.span,
            Generate::Ring(graph) => &graph.ring.span,
            Generate::Star(graph) => &graph.star.span,
            Generate::Tree(graph) => &graph.tree.span,
            Generate::FatTree(graph) => &graph.fat_tree.span,
            Generate::Random(graph) => &graph.random.span,
        }
    }

    /// Whether a side or a number is none that the shape can have.
    pub fn misfit(&self) -> Option<FaultKind> {
        match self {
            Generate::Grid(GridGraph { grid, torus: Some(true), .. }) => {
                let short = grid.rows.min(grid.columns);
                let range = format!("3 to {}", Sides::LONGEST);
                (short < 3).then(|| out_of_range("a side of a torus", &short.to_string(), &range))
            }
            Generate::FatTree(FatTreeGraph { fat_tree, .. }) => {
                let k: u16 = fat_tree.get();
                (!k.is_multiple_of(2)).then(|| out_of_range("`fat-tree`", &k.to_string(), "an even number, 2 to 88"))
            }
            _ => None,
        }
    }
}
