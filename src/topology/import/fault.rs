//! What is wrong with a graph's file, and what of it cannot be kept.

use crate::topology::fault::list;

/// Why a graph gives no topology.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportError {
    /// Line of the file, from 1; none if it is about the file as a whole.
    pub line: Option<usize>,
    /// What is wrong.
    pub kind: ImportErrorKind,
}

/// Kinds of errors.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportErrorKind {
    /// The file can't be read.
    #[error("can't read the file: {why}")]
    Unreadable {
        /// The operating system's reason.
        why: String,
    },
    /// The file is larger than any graph.
    #[error("the file is larger than {} MiB, the most that is read", limit / (1024 * 1024))]
    TooLarge {
        /// The limit in octets.
        limit: u64,
    },
    /// Something else than GML has there.
    #[error("this is not GML: expected {expected}, found {found}")]
    NotGml {
        /// What may stand there.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// The file ends within something.
    #[error("the file ends within {what} that begins on line {from}")]
    Unclosed {
        /// Within what (`a list`).
        what: &'static str,
        /// Where that begins.
        from: usize,
    },
    /// Nested too deeply.
    #[error("nested more than {limit} levels deep")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// The text is no XML.
    #[error("this is not XML: {message}")]
    Xml {
        /// What the parser says.
        message: String,
    },
    /// There is no graph in the file.
    #[error("there is no graph in the file")]
    NoGraph,
    /// There is no node in the graph.
    #[error("there is no node in the graph that could be kept")]
    NoNode,
    /// There is too much in the graph.
    #[error("there are more than {limit} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
    /// Nodes with more links than a router can have.
    #[error(
        "{} more than {limit} links, the most that a router can have{multicast}: {}",
        have(routers),
        a_few(routers)
    )]
    TooManyLinks {
        /// The nodes.
        routers: Vec<String>,
        /// The limit.
        limit: usize,
        /// ` if it forwards multicast`, where that is why.
        multicast: &'static str,
    },
}

/// Phrases one after the other, not too many.
fn a_few(phrases: &[String]) -> String {
    const SHOWN: usize = 24;
    let mut out = phrases.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if phrases.len() > SHOWN {
        out += &format!(", and {} more", phrases.len() - SHOWN);
    }
    out
}

fn have(routers: &[String]) -> &'static str {
    if routers.len() == 1 { "a node has" } else { "nodes have" }
}

/// Something that could not be kept as it was, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// Line of the file, from 1; none if it is about the graph as a whole.
    pub line: Option<usize>,
    /// What it is.
    pub kind: RemarkKind,
}

/// What could not be kept. Labels are the file's, shortened to a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemarkKind {
    /// Octets that are no UTF-8.
    #[error("the file is not UTF-8: it is read as ISO 8859-1")]
    Latin1,
    /// A graph after the first.
    #[error("a second graph is left out")]
    SecondGraph,
    /// A graph within a node.
    #[error("a graph within a node is left out")]
    InnerGraph,
    /// GraphML's `hyperedge`.
    #[error("an edge of several ends is left out")]
    Hyperedge,
    /// A node without an id.
    #[error("a node without an id is left out: no edge can lead to it")]
    NoId,
    /// Two nodes with one id.
    #[error("a second node with the id `{id}` is left out; the first is on line {first}")]
    DuplicateId {
        /// The id.
        id: String,
        /// Line of the first one.
        first: usize,
    },
    /// An edge with one end at most.
    #[error("an edge without a {end} is left out")]
    NoEnd {
        /// `source` or `target`.
        end: &'static str,
    },
    /// An edge with an end that is not there.
    #[error("an edge from or to `{id}` is left out: there is no node with that id")]
    UnknownEnd {
        /// The id.
        id: String,
    },
    /// An edge with both ends at one node.
    #[error("an edge from `{label}` to itself is left out")]
    SelfEdge {
        /// The node.
        label: String,
    },
    /// Coordinates beyond the poles or the date line.
    #[error("`{label}` has no place on earth ({latitude}, {longitude}): it counts as one without coordinates")]
    Misplaced {
        /// The node.
        label: String,
        /// In degrees.
        latitude: String,
        /// In degrees.
        longitude: String,
    },
    /// A rate that no link can have.
    #[error("a rate of {speed} bit/s is left out: a link's is 1kbit to 1000gbit")]
    Speed {
        /// The rate.
        speed: String,
    },
    /// Edges with a direction.
    #[error("links have no direction: an edge and its reverse are one link")]
    Directed,
    /// Nodes that are marked as another network's.
    #[error("{} marked as other networks': {}: {}", nodes(labels.len()), kept(*left_out), list(labels))]
    External {
        /// The nodes.
        labels: Vec<String>,
        /// Whether they were left out.
        left_out: bool,
    },
    /// Nodes that stand for edges of several ends.
    #[error("{} for a meeting of several links; here each is a router: {}", stand(labels.len()), list(labels))]
    Meetings {
        /// The nodes.
        labels: Vec<String>,
    },
    /// A graph in several parts.
    #[error("the graph has {parts} parts: the largest is kept, and {} of the others left out: {}", nodes(labels.len()), list(labels))]
    Parts {
        /// How many there are.
        parts: usize,
        /// The nodes of those that were left out.
        labels: Vec<String>,
    },
    /// Several edges between two nodes.
    #[error("parallel edges are kept as links of their own: {}", a_few(links))]
    Parallel {
        /// How many, between which routers.
        links: Vec<String>,
    },
    /// No coordinates at all.
    #[error("no two nodes with a link have coordinates: all links cost the same")]
    NoPlaces,
    /// Nodes without coordinates.
    #[error("{} without coordinates: links there have the median of the others' lengths, {median} km: {}", nodes(labels.len()), list(labels))]
    Unplaced {
        /// The nodes.
        labels: Vec<String>,
        /// The median.
        median: u32,
    },
    /// A router that has no interface left.
    #[error("`{router}` has as many links as a router can have: it has no host")]
    NoRoom {
        /// The router.
        router: String,
    },
    /// A stream to fewer than ten hosts.
    #[error("there are hosts for {count} receivers only, not for ten")]
    FewReceivers {
        /// How many.
        count: usize,
    },
    /// No scenario.
    #[error("there is no scenario: it needs two hosts and a multicast protocol")]
    NoScenario,
}

fn nodes(count: usize) -> String {
    if count == 1 { "1 node".into() } else { format!("{count} nodes") }
}

fn kept(left_out: bool) -> &'static str {
    if left_out { "left out" } else { "kept" }
}

fn stand(count: usize) -> String {
    if count == 1 { "1 node stands".into() } else { format!("{count} nodes stand") }
}

/// Remarks that are kept of each kind.
const KEPT: usize = 10;

/// Remarks, the first few of each kind; the others are counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Remarks {
    list: Vec<Remark>,
    counts: std::collections::HashMap<std::mem::Discriminant<RemarkKind>, usize>,
}

impl Remarks {
    /// Notes something about a line.
    pub fn at(&mut self, line: usize, kind: RemarkKind) {
        self.add(Remark { line: Some(line), kind });
    }

    /// Notes something about the whole.
    pub fn whole(&mut self, kind: RemarkKind) {
        self.add(Remark { line: None, kind });
    }

    fn add(&mut self, remark: Remark) {
        let count = self.counts.entry(std::mem::discriminant(&remark.kind)).or_default();
        *count += 1;
        if *count <= KEPT {
            self.list.push(remark);
        }
    }

    /// Remarks in the order of their lines, those about the whole last; and how many more there were.
    pub fn finish(mut self) -> (Vec<Remark>, usize) {
        let more = self.counts.values().map(|count| count.saturating_sub(KEPT)).sum();
        self.list.sort_by_key(|remark| remark.line.unwrap_or(usize::MAX));
        (self.list, more)
    }
}
