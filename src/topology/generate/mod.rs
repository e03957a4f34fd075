//! `generate`: graphs of a few shapes, put before what the file writes out itself.
//!
//! Names and order follow from the shape alone: routers row by row (or level by level), then their hosts; links between
//! routers, then those to hosts. So addresses stay when nodes are added by hand.

mod shapes;
#[cfg(test)]
mod tests;
mod waxman;

use std::collections::BTreeMap;

use super::fault::{Fault, FaultKind};
use super::file::generate::{Generate, Hosts};
use super::file::{File, Kind, Link, Node};
use super::read::{At, Cx, Names, Try};
use super::resolve::{END_LIMIT, NODE_LIMIT};
use super::tree::Span;
use shapes::Shape;

/// Adds to a file what it asks to have generated; nothing if it can't be known, its faults being noted.
pub(super) fn expand(mut file: File, cx: &mut Cx) -> Option<File> {
    let own = match file.nodes.take() {
        Some(nodes) => nodes.0?.0,
        None => Vec::new(),
    };
    let Some(generate) = file.generate.take() else {
        file.nodes = Some(Try(Some(Names(own))));
        return Some(file);
    };
    let generate = generate.0?;
    let seed = file.seed.as_ref().map_or(1, |seed| seed.get());
    let shape = make(&generate, seed, cx)?;
    let hosts = match generate.hosts() {
        Some(hosts) => choose(&shape, hosts, cx)?,
        None => Vec::new(),
    };
    let count = shape.routers.len() + hosts.len();
    if count > NODE_LIMIT {
        let kind = FaultKind::TooMany { what: "generated routers and hosts", count, limit: NODE_LIMIT };
        cx.push(generate.span(), kind);
        return None;
    }
    file.links = Some(Try(Some(links(&shape, &hosts, &generate, file.links.take()))));
    file.nodes = Some(Try(Some(Names(nodes(&shape, &hosts, generate.span(), own, cx)))));
    Some(file)
}

/// The shape; nothing if it would be too large.
fn make(generate: &Generate, seed: u64, cx: &mut Cx) -> Option<Shape> {
    if let Some(kind) = generate.misfit() {
        cx.push(generate.span(), kind);
        return None;
    }
    // Counted before anything is made.
    let count = shapes::count(generate);
    if count > NODE_LIMIT {
        let kind = FaultKind::TooMany { what: "generated routers", count, limit: NODE_LIMIT };
        cx.push(generate.span(), kind);
        return None;
    }
    let shape = shapes::make(generate, seed);
    if shape.links.len() > shapes::LINK_LIMIT {
        // Making them ended there.
        let kind =
            FaultKind::TooMany { what: "generated ends of links", count: 2 * shape.links.len(), limit: END_LIMIT };
        cx.push(generate.span(), kind);
        return None;
    }
    Some(shape)
}

/// The routers that have a host, by number, in the shape's order.
fn choose(shape: &Shape, hosts: &At<Hosts>, cx: &mut Cx) -> Option<Vec<usize>> {
    let names = match &hosts.value {
        Hosts::All => return Some((0..shape.routers.len()).collect()),
        Hosts::Edge => {
            if shape.edge.is_none() {
                let only = "for shapes that have an edge: a chain, star, tree, fat tree, or a grid that is no torus";
                cx.push(&hosts.span, FaultKind::KeyNotHere { key: "hosts: edge".into(), only });
            }
            return shape.edge.clone();
        }
        Hosts::At(names) => names,
    };
    let numbers: BTreeMap<&str, usize> =
        shape.routers.iter().enumerate().map(|(number, name)| (name.as_str(), number)).collect();
    let mut chosen: BTreeMap<usize, &Span> = BTreeMap::new();
    let mut good = true;
    for name in names {
        let fault = match numbers.get(name.as_str()) {
            Some(number) => match chosen.insert(*number, &name.span) {
                None => continue,
                Some(first) => {
                    let kind = FaultKind::DuplicateName { what: "host", name: host_name(&name.value) };
                    Fault::new(name.span.clone(), kind).related(first.clone(), "first here")
                }
            },
            None => {
                let near = cx.nearest(name, numbers.keys().copied());
                let kind = FaultKind::Unknown { what: "generated router", name: name.value.clone() };
                Fault::new(name.span.clone(), kind).nearest(near)
            }
        };
        cx.add(fault);
        good = false;
    }
    good.then(|| chosen.into_keys().collect())
}

fn host_name(router: &str) -> String {
    format!("h-{router}")
}

/// Links between routers, links to hosts, and the file's own.
fn links(shape: &Shape, hosts: &[usize], generate: &Generate, own: Option<Try<Vec<Try<Link>>>>) -> Vec<Try<Link>> {
    let span = generate.span();
    let word = |value: String| At { value, span: span.clone() };
    let link = |a: String, b: String, cost| {
        Try(Some(Link {
            between: At { value: vec![word(a), word(b)], span: span.clone() },
            name: None,
            cost,
            mtu: None,
            delay: None,
            jitter: None,
            loss: None,
            rate: None,
            ends: None,
        }))
    };
    let name = |router: usize| shape.routers[router].clone();
    let between = shape.links.iter().map(|(a, b)| link(name(*a), name(*b), generate.cost()));
    let to_hosts = hosts.iter().map(|router| link(name(*router), host_name(&name(*router)), None));
    let own = match own {
        None => Vec::new(),
        // A list that can't be read is one link that can't.
        Some(own) => own.0.unwrap_or_else(|| vec![Try(None)]),
    };
    between.chain(to_hosts).chain(own).collect()
}

/// Routers, hosts, and the file's own nodes; a generated one that the file names has the file's settings.
fn nodes(
    shape: &Shape,
    hosts: &[usize],
    span: &Span,
    own: Vec<(At<String>, Option<Node>)>,
    cx: &mut Cx,
) -> Vec<(At<String>, Option<Node>)> {
    let routers = shape.routers.iter().map(|name| (name.clone(), Kind::Router));
    let hosts = hosts.iter().map(|router| (host_name(&shape.routers[*router]), Kind::Host));
    let mut nodes = Vec::with_capacity(shape.routers.len() + hosts.len() + own.len());
    let mut numbers: BTreeMap<String, (usize, Kind)> = BTreeMap::new();
    for (name, kind) in routers.chain(hosts) {
        numbers.insert(name.clone(), (nodes.len(), kind));
        nodes.push((At { value: name, span: span.clone() }, Some(blank(kind, span))));
    }
    for (name, node) in own {
        let Some((number, kind)) = numbers.get(&name.value).copied() else {
            nodes.push((name, node));
            continue;
        };
        if let Some(node) = &node
            && node.kind.value != kind
        {
            let is = if kind == Kind::Router { "router" } else { "host" };
            cx.push(&node.kind.span, FaultKind::GeneratedAs { name: name.value.clone(), is });
            continue;
        }
        nodes[number] = (name, node);
    }
    nodes
}

fn blank(kind: Kind, span: &Span) -> Node {
    Node {
        kind: At { value: kind, span: span.clone() },
        daemon: None,
        multicast: None,
        unicast: None,
        igmp: None,
        pim: None,
        routes: None,
        upstream: None,
        limits: None,
        loopback: None,
        gateway: None,
    }
}
