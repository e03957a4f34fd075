//! A graph as its file has it: what GML and GraphML have in common, nothing decided yet.

/// Nodes and edges that are read: a hundred times what a topology can have.
const NODE_LIMIT: usize = 100_000;
const EDGE_LIMIT: usize = 500_000;

/// A graph.
#[derive(Clone, Debug, Default)]
pub(super) struct Graph {
    /// What the file calls it.
    pub label: Option<String>,
    /// The network that it shows (Internet Topology Zoo).
    pub network: Option<String>,
    /// Whether its edges have a direction.
    pub directed: bool,
    pub nodes: Vec<Node>,
    pub edges: Vec<Edge>,
}

/// A node of the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    /// Where it begins.
    pub line: usize,
    pub id: Option<String>,
    pub label: Option<String>,
    pub country: Option<String>,
    pub latitude: Option<f64>,
    pub longitude: Option<f64>,
    /// Whether it is marked as another network's (`Internal 0`).
    pub external: bool,
    /// Whether it stands for a meeting of several links (`hyperedge 1`).
    pub hyperedge: bool,
}

/// An edge of the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Edge {
    /// Where it begins.
    pub line: usize,
    pub source: Option<String>,
    pub target: Option<String>,
    /// Whether it has a direction, if it says so itself.
    pub directed: Option<bool>,
    /// What it says of its rate.
    pub label: Option<String>,
    /// Bits a second.
    pub speed: Option<f64>,
}

/// Something is there too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany {
    pub what: &'static str,
    pub limit: usize,
}

/// The first value of a key stands.
fn set<T>(slot: &mut Option<T>, value: Option<T>) {
    if slot.is_none() {
        *slot = value;
    }
}

fn text(value: &str) -> Option<String> {
    let value = value.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

fn number(value: &str) -> Option<f64> {
    value.trim().parse().ok()
}

fn truth(value: &str) -> Option<bool> {
    match value.trim() {
        "1" | "1.0" | "true" | "True" => Some(true),
        "0" | "0.0" | "false" | "False" => Some(false),
        _ => None,
    }
}

impl Graph {
    /// Adds a node.
    pub fn add_node(&mut self, node: Node) -> Result<(), TooMany> {
        if self.nodes.len() >= NODE_LIMIT {
            return Err(TooMany { what: "nodes", limit: NODE_LIMIT });
        }
        self.nodes.push(node);
        Ok(())
    }

    /// Adds an edge.
    pub fn add_edge(&mut self, edge: Edge) -> Result<(), TooMany> {
        if self.edges.len() >= EDGE_LIMIT {
            return Err(TooMany { what: "edges", limit: EDGE_LIMIT });
        }
        self.edges.push(edge);
        Ok(())
    }

    /// Takes an attribute of the graph itself.
    pub fn attribute(&mut self, key: &str, value: &str) {
        match key.to_ascii_lowercase().as_str() {
            "label" | "name" => set(&mut self.label, text(value)),
            "network" => set(&mut self.network, text(value)),
            "directed" => self.directed |= truth(value) == Some(true),
            _ => {}
        }
    }
}

impl Node {
    /// Takes an attribute; others than these mean nothing here.
    pub fn attribute(&mut self, key: &str, value: &str) {
        match key.to_ascii_lowercase().as_str() {
            "id" => set(&mut self.id, text(value)),
            "label" | "name" => set(&mut self.label, text(value)),
            "country" => set(&mut self.country, text(value)),
            "latitude" | "lat" => set(&mut self.latitude, number(value)),
            "longitude" | "lon" | "long" | "lng" => set(&mut self.longitude, number(value)),
            "internal" => self.external |= truth(value) == Some(false),
            "hyperedge" => self.hyperedge |= truth(value) == Some(true),
            _ => {}
        }
    }
}

impl Edge {
    /// Takes an attribute; others than these mean nothing here.
    pub fn attribute(&mut self, key: &str, value: &str) {
        match key.to_ascii_lowercase().as_str() {
            "source" => set(&mut self.source, text(value)),
            "target" => set(&mut self.target, text(value)),
            "linklabel" | "label" => set(&mut self.label, text(value)),
            "linkspeedraw" => set(&mut self.speed, number(value)),
            _ => {}
        }
    }
}
