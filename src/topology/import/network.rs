//! From a graph to a network: which nodes become routers, which edges links, where hosts are, and what links cost.

use std::collections::{BTreeMap, HashMap};

use super::fault::{ImportError, ImportErrorKind, RemarkKind, Remarks};
use super::graph::{Graph, Node};
use super::names::{Names, legal};
use super::text::shown;
use super::{Hosts, Options};
use crate::topology::resolve::{END_LIMIT, INTERFACE_LIMIT, NODE_LIMIT, VIF_LIMIT};

/// Mean radius of the earth in kilometres.
const EARTH_RADIUS_KM: f64 = 6371.0;
/// What a link's rate may be, in bits a second.
const RATES: std::ops::RangeInclusive<f64> = 1e3..=1e12;

/// A network of routers, each with its host if it has one.
#[derive(Clone, Debug, Default)]
pub(super) struct Network {
    pub routers: Vec<Router>,
    pub links: Vec<Link>,
    /// Nodes and edges that the file has.
    pub nodes_read: usize,
    pub edges_read: usize,
    /// Whether some links have a length, so that all have.
    pub measured: bool,
}

/// A node that was kept.
#[derive(Clone, Debug)]
pub(super) struct Router {
    pub name: String,
    /// What the file says of it, on one line; empty if that is its name.
    pub comment: String,
    /// Its host's name.
    pub host: Option<String>,
}

/// An edge that was kept.
#[derive(Clone, Debug)]
pub(super) struct Link {
    /// Its ends, indexes of routers.
    pub ends: [usize; 2],
    /// Its length in kilometres; a median where it is not known.
    pub length_km: Option<f64>,
    /// Bits a second, if a link can have that rate.
    pub rate: Option<u64>,
    /// What the file says of it, on one line.
    pub comment: String,
}

/// An edge between two nodes that are there, by their indexes.
struct Joined {
    ends: [usize; 2],
    edge: usize,
}

/// Makes a network of a graph.
pub(super) fn network(graph: &Graph, options: &Options, remarks: &mut Remarks) -> Result<Network, ImportError> {
    let error = |kind| ImportError { line: None, kind };
    let ids = identify(graph, options, remarks);
    let joined = join(graph, &ids, options, remarks);
    let own = ids.into_values().filter(|node| !is_foreign(&graph.nodes[*node], options)).collect();
    let kept = largest_part(graph, own, &joined, remarks);
    if kept.is_empty() {
        return Err(error(ImportErrorKind::NoNode));
    }
    if kept.len() > NODE_LIMIT {
        return Err(error(ImportErrorKind::TooMany { what: "nodes", limit: NODE_LIMIT }));
    }
    // Indexes of routers by those of nodes.
    let numbers: HashMap<usize, usize> = kept.iter().enumerate().map(|(router, node)| (*node, router)).collect();
    let mut links: Vec<Link> = Vec::new();
    for Joined { ends: [a, b], edge } in &joined {
        // Both ends are in the same part.
        let (Some(a), Some(b)) = (numbers.get(a), numbers.get(b)) else { continue };
        let edge = &graph.edges[*edge];
        let rate = edge.speed.filter(|_| options.rates).and_then(|speed| {
            let fits = RATES.contains(&speed);
            if !fits {
                remarks.at(edge.line, RemarkKind::Speed { speed: speed.to_string() });
            }
            // In range, so the cast keeps the number.
            fits.then_some(speed.round() as u64)
        });
        let comment = edge.label.as_deref().map(shown).unwrap_or_default();
        links.push(Link { ends: [*a.min(b), *a.max(b)], length_km: None, rate, comment });
    }
    if links.len() > END_LIMIT / 2 {
        return Err(error(ImportErrorKind::TooMany { what: "edges", limit: END_LIMIT / 2 }));
    }
    let mut names = Names::default();
    let mut routers: Vec<Router> = kept.iter().map(|node| router(&graph.nodes[*node], &mut names)).collect();
    give_hosts(&mut routers, &links, options, &mut names, remarks)?;
    say_parallels(&routers, &links, remarks);
    let measured = measure(graph, &kept, &mut links, remarks);
    Ok(Network { routers, links, nodes_read: graph.nodes.len(), edges_read: graph.edges.len(), measured })
}

/// What the file calls a node, for people.
fn called(node: &Node) -> String {
    let label = node.label.as_deref().or(node.id.as_deref()).unwrap_or("?");
    shown(label)
}

/// Whether a node is left out because it is another network's.
fn is_foreign(node: &Node, options: &Options) -> bool {
    options.internal && node.external
}

/// Nodes by their ids; those without one, or with another's, are not among them.
fn identify(graph: &Graph, options: &Options, remarks: &mut Remarks) -> BTreeMap<String, usize> {
    let mut ids: BTreeMap<String, usize> = BTreeMap::new();
    let mut external = Vec::new();
    let mut meetings = Vec::new();
    for (index, node) in graph.nodes.iter().enumerate() {
        let Some(id) = &node.id else {
            remarks.at(node.line, RemarkKind::NoId);
            continue;
        };
        if let Some(first) = ids.get(id) {
            let first = graph.nodes[*first].line;
            remarks.at(node.line, RemarkKind::DuplicateId { id: shown(id), first });
            continue;
        }
        if node.external {
            external.push(called(node));
        } else if node.hyperedge {
            meetings.push(called(node));
        }
        ids.insert(id.clone(), index);
    }
    if !external.is_empty() {
        remarks.whole(RemarkKind::External { labels: external, left_out: options.internal });
    }
    if !meetings.is_empty() {
        remarks.whole(RemarkKind::Meetings { labels: meetings });
    }
    ids
}

/// Edges between two nodes, each link once.
fn join(graph: &Graph, ids: &BTreeMap<String, usize>, options: &Options, remarks: &mut Remarks) -> Vec<Joined> {
    let mut joined = Vec::new();
    // How many edges each way, of those with a direction.
    let mut ways: HashMap<[usize; 2], [usize; 2]> = HashMap::new();
    let mut directed = false;
    for (index, edge) in graph.edges.iter().enumerate() {
        let mut end = |id: &Option<String>, which| match id {
            None => {
                remarks.at(edge.line, RemarkKind::NoEnd { end: which });
                None
            }
            Some(id) => {
                let found = ids.get(id).copied();
                if found.is_none() {
                    remarks.at(edge.line, RemarkKind::UnknownEnd { id: shown(id) });
                }
                found
            }
        };
        let (source, target) = (end(&edge.source, "source"), end(&edge.target, "target"));
        let (Some(source), Some(target)) = (source, target) else { continue };
        if [source, target].iter().any(|node| is_foreign(&graph.nodes[*node], options)) {
            continue;
        }
        if source == target {
            remarks.at(edge.line, RemarkKind::SelfEdge { label: called(&graph.nodes[source]) });
            continue;
        }
        if edge.directed.unwrap_or(graph.directed) {
            directed = true;
            let ways = ways.entry([source.min(target), source.max(target)]).or_default();
            let (own, other) = if source < target { (0, 1) } else { (1, 0) };
            ways[own] += 1;
            // The n-th one back is the n-th one forth.
            if ways[own] <= ways[other] {
                continue;
            }
        }
        joined.push(Joined { ends: [source, target], edge: index });
    }
    if directed {
        remarks.whole(RemarkKind::Directed);
    }
    joined
}

/// The nodes of the largest part (the first one of several), in the file's order.
fn largest_part(graph: &Graph, mut nodes: Vec<usize>, joined: &[Joined], remarks: &mut Remarks) -> Vec<usize> {
    let mut neighbours: HashMap<usize, Vec<usize>> = HashMap::new();
    for Joined { ends: [a, b], .. } in joined {
        neighbours.entry(*a).or_default().push(*b);
        neighbours.entry(*b).or_default().push(*a);
    }
    nodes.sort_unstable();
    let mut part_of: BTreeMap<usize, usize> = BTreeMap::new();
    let mut sizes: Vec<usize> = Vec::new();
    for start in &nodes {
        if part_of.contains_key(start) {
            continue;
        }
        let part = sizes.len();
        let mut reached = vec![*start];
        part_of.insert(*start, part);
        let mut seen = 0;
        while let Some(node) = reached.get(seen).copied() {
            seen += 1;
            for next in neighbours.get(&node).into_iter().flatten() {
                if !part_of.contains_key(next) {
                    part_of.insert(*next, part);
                    reached.push(*next);
                }
            }
        }
        sizes.push(reached.len());
    }
    let largest = (0..sizes.len()).max_by_key(|part| (sizes[*part], std::cmp::Reverse(*part)));
    let (kept, left): (Vec<usize>, Vec<usize>) =
        nodes.into_iter().partition(|node| part_of.get(node).copied() == largest);
    if !left.is_empty() {
        let labels = left.iter().map(|node| called(&graph.nodes[*node])).collect();
        remarks.whole(RemarkKind::Parts { parts: sizes.len(), labels });
    }
    kept
}

fn router(node: &Node, names: &mut Names) -> Router {
    let label = called(node);
    let mut name = node.label.as_deref().map(legal).unwrap_or_default();
    if name.is_empty() {
        let id = legal(node.id.as_deref().unwrap_or_default());
        name = if id.is_empty() { "n".into() } else { id };
    }
    let name = names.take(&name);
    let country = node.country.as_deref().map(shown);
    let comment = match country {
        Some(country) if country != label => format!("{label}, {country}"),
        _ if label == name => String::new(),
        _ => label,
    };
    Router { name, comment, host: None }
}

/// Gives routers their hosts, and refuses those with more links than a router can have.
fn give_hosts(
    routers: &mut [Router],
    links: &[Link],
    options: &Options,
    names: &mut Names,
    remarks: &mut Remarks,
) -> Result<(), ImportError> {
    let mut degrees = vec![0; routers.len()];
    links.iter().flat_map(|link| link.ends).for_each(|end| degrees[end] += 1);
    let (limit, multicast) = match options.multicast.forwards() {
        true => (VIF_LIMIT, " if it forwards multicast"),
        false => (INTERFACE_LIMIT, ""),
    };
    let crowded: Vec<String> = std::iter::zip(routers.iter(), &degrees)
        .filter(|(_, degree)| **degree > limit)
        .map(|(router, degree)| format!("{} ({degree})", router.name))
        .collect();
    if !crowded.is_empty() {
        let kind = ImportErrorKind::TooManyLinks { routers: crowded, limit, multicast };
        return Err(ImportError { line: None, kind });
    }
    for (router, degree) in std::iter::zip(routers.iter_mut(), degrees) {
        let wanted = match options.hosts {
            Hosts::All => true,
            // A router without any link is a leaf, too.
            Hosts::Leaves => degree <= 1,
            Hosts::None => false,
        };
        if wanted && degree < limit {
            router.host = Some(names.take(&format!("h-{}", router.name)));
        } else if wanted {
            remarks.whole(RemarkKind::NoRoom { router: router.name.clone() });
        }
    }
    let count = routers.len() + routers.iter().filter(|router| router.host.is_some()).count();
    if count > NODE_LIMIT {
        let kind = ImportErrorKind::TooMany { what: "routers and hosts", limit: NODE_LIMIT };
        return Err(ImportError { line: None, kind });
    }
    Ok(())
}

fn say_parallels(routers: &[Router], links: &[Link], remarks: &mut Remarks) {
    let mut counts: BTreeMap<[usize; 2], usize> = BTreeMap::new();
    links.iter().for_each(|link| *counts.entry(link.ends).or_default() += 1);
    let several = counts.iter().filter(|(_, count)| **count > 1);
    let links: Vec<String> = several
        .map(|([a, b], count)| format!("{count} between {} and {}", routers[*a].name, routers[*b].name))
        .collect();
    if !links.is_empty() {
        remarks.whole(RemarkKind::Parallel { links });
    }
}

/// Gives links their lengths; where an end's place is not known, the median of the others. Whether any is known.
fn measure(graph: &Graph, kept: &[usize], links: &mut [Link], remarks: &mut Remarks) -> bool {
    let places: Vec<Option<(f64, f64)>> = kept.iter().map(|node| place(&graph.nodes[*node], remarks)).collect();
    for link in links.iter_mut() {
        let [a, b] = link.ends.map(|end| places[end]);
        link.length_km = a.zip(b).map(|(a, b)| distance_km(a, b));
    }
    let mut known: Vec<f64> = links.iter().filter_map(|link| link.length_km).collect();
    if known.is_empty() {
        if !links.is_empty() {
            remarks.whole(RemarkKind::NoPlaces);
        }
        return false;
    }
    known.sort_by(f64::total_cmp);
    let median = known[known.len() / 2];
    links.iter_mut().for_each(|link| {
        link.length_km.get_or_insert(median);
    });
    let missing = std::iter::zip(kept, places).filter(|(_, place)| place.is_none());
    let labels: Vec<String> = missing.map(|(node, _)| called(&graph.nodes[*node])).collect();
    if !labels.is_empty() {
        remarks.whole(RemarkKind::Unplaced { labels, median: whole_km(median) });
    }
    true
}

/// A length as a cost: whole kilometres, at least 1.
pub(super) fn whole_km(length: f64) -> u32 {
    // At most half the way around the earth.
    (length.round() as u32).max(1)
}

/// Latitude and longitude in degrees.
fn place(node: &Node, remarks: &mut Remarks) -> Option<(f64, f64)> {
    let (latitude, longitude) = node.latitude.zip(node.longitude)?;
    if latitude.abs() <= 90.0 && longitude.abs() <= 180.0 {
        return Some((latitude, longitude));
    }
    let label = called(node);
    let (latitude, longitude) = (latitude.to_string(), longitude.to_string());
    remarks.at(node.line, RemarkKind::Misplaced { label, latitude, longitude });
    None
}

/// Along a great circle, by the haversine formula.
fn distance_km(a: (f64, f64), b: (f64, f64)) -> f64 {
    let (latitude_a, latitude_b) = (a.0.to_radians(), b.0.to_radians());
    let half_chord = |degrees: f64| (degrees.to_radians() / 2.0).sin().powi(2);
    let h = half_chord(b.0 - a.0) + latitude_a.cos() * latitude_b.cos() * half_chord(b.1 - a.1);
    2.0 * EARTH_RADIUS_KM * h.clamp(0.0, 1.0).sqrt().asin()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_an_atlas() {
        let (berlin, paris) = ((52.52, 13.405), (48.8566, 2.3522));
        assert_eq!(whole_km(distance_km(berlin, paris)), 877);
        assert_eq!(whole_km(distance_km(berlin, berlin)), 1);
        assert_eq!(whole_km(distance_km((90.0, 0.0), (-90.0, 77.0))), 20015);
        assert_eq!(whole_km(distance_km((0.0, -179.5), (0.0, 179.5))), 111);
    }
}
