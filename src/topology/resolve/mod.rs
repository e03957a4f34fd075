//! From the file's model to the plan: names become indexes, defaults are filled in, and everything that can't be is noted.

mod addresses;
mod expectations;
mod pim;
mod random;
mod reach;
mod repeat;
mod routers;
mod scenarios;
mod state;
mod text;
mod wires;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::fault::{Fault, FaultKind};
use super::file::{EndPim, Family, File, Igmp, Kind};
use super::plan::{Attachment, Host, Node, NodeId, NodeKind, Plan, Router, WireId, WireKind};
use super::read::{At, Cx};
use super::scalars::Address;
use super::tree::Span;
pub(super) use routers::VIF_LIMIT;
pub(super) use wires::INTERFACE_LIMIT;

/// Nodes that a lab may have: each router is to have a loopback in a place of its own, and there are 16,383 (`addresses.rs`).
pub(super) const NODE_LIMIT: usize = 16_000;
/// Ends of wires that a lab may have: interface indexes and MAC addresses are counted from these.
pub(super) const END_LIMIT: usize = 100_000;

/// A plan that is being made.
struct Resolver<'a> {
    file: &'a File,
    cx: &'a mut Cx,
    plan: Plan,
    /// Nodes by name.
    nodes: BTreeMap<String, NodeId>,
    /// Wires by name.
    wires: BTreeMap<String, WireId>,
    /// Where each wire stands in the file.
    wire_spans: Vec<Span>,
    /// Nodes whose settings could not be read: nothing is said of what they seem to lack.
    unread: BTreeSet<NodeId>,
    /// Whether a wire could not be read, so that its name may be missing.
    wires_unread: bool,
    families: BTreeSet<Family>,
    /// How many links between two nodes have been named by themselves.
    link_numbers: BTreeMap<String, usize>,
    /// Ends of wires so far.
    end_count: usize,
    /// Addresses that the file gives.
    given: Vec<(Attachment, At<IpNet>)>,
    /// Ends with a TTL threshold, and where it stands.
    thresholds: Vec<(Attachment, Span)>,
    /// Routers' ends with a boundary, and where it stands.
    boundaries: Vec<(Attachment, Span)>,
    /// Routers' ends with IGMP settings of their own.
    end_igmps: Vec<(Attachment, &'a At<Igmp>)>,
    /// Routers' ends with PIM settings of their own.
    end_pims: Vec<(Attachment, &'a At<EndPim>)>,
    /// Values that `for-each` and `random` have unfolded to so far.
    unfolded: usize,
    /// Where each line of the file begins.
    lines: Vec<usize>,
}

/// Resolves a file. What it gives is whole only if no fault was noted.
pub(super) fn resolve(name: &str, source: &str, file: &File, cx: &mut Cx) -> Plan {
    let plan = Plan {
        name: file.name.value.clone(),
        description: file.description.as_ref().map(|d| d.value.trim().to_owned()).unwrap_or_default(),
        file: name.to_owned(),
        timers: file.timers.as_ref().map_or(1.0, |timers| timers.0),
        seed: file.seed.as_ref().map_or(1, |seed| seed.get()),
        nodes: Vec::new(),
        wires: Vec::new(),
        scenarios: Vec::new(),
    };
    let mut resolver = Resolver {
        file,
        cx,
        plan,
        nodes: BTreeMap::new(),
        wires: BTreeMap::new(),
        wire_spans: Vec::new(),
        unread: BTreeSet::new(),
        wires_unread: false,
        families: BTreeSet::new(),
        link_numbers: BTreeMap::new(),
        end_count: 0,
        given: Vec::new(),
        thresholds: Vec::new(),
        boundaries: Vec::new(),
        end_igmps: Vec::new(),
        end_pims: Vec::new(),
        unfolded: 0,
        lines: std::iter::once(0).chain(source.match_indices('\n').map(|(at, _)| at + 1)).collect(),
    };
    resolver.run();
    resolver.plan
}

impl Resolver<'_> {
    fn run(&mut self) {
        let file = self.file;
        self.host_name(&file.name);
        self.choose_families();
        self.place_nodes();
        self.lay_wires();
        self.give_addresses();
        self.set_up_routers();
        self.set_up_hosts();
        self.play_scenarios();
    }

    fn fault(&mut self, span: &Span, kind: FaultKind) {
        self.cx.push(span, kind);
    }

    /// The line that a place is on, from 1.
    fn line(&self, span: &Span) -> usize {
        self.lines.partition_point(|start| *start <= span.start)
    }

    fn choose_families(&mut self) {
        let file = self.file;
        match &file.families {
            None => self.families.extend([Family::IPv4, Family::IPv6]),
            Some(families) => {
                self.families.extend(families.iter().map(|family| family.value));
                if self.families.is_empty() {
                    let kind = FaultKind::WrongCount { what: "`families`", needed: "at least one family", count: 0 };
                    self.fault(&families.span, kind);
                }
            }
        }
    }

    /// Whether a name can be a host name (RFC 1123 §2.1, one label).
    fn host_name(&mut self, name: &At<String>) {
        let good = (1..=63).contains(&name.len())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !name.starts_with('-')
            && !name.ends_with('-');
        if !good {
            self.fault(&name.span, FaultKind::NotAHostName { name: name.value.clone() });
        }
    }

    fn place_nodes(&mut self) {
        let file = self.file;
        if file.nodes().len() > NODE_LIMIT {
            let kind = FaultKind::TooMany { what: "nodes", count: file.nodes().len(), limit: NODE_LIMIT };
            self.fault(&file.nodes()[NODE_LIMIT].0.span, kind);
        }
        for (name, node) in file.nodes().iter().take(NODE_LIMIT) {
            self.host_name(name);
            let id = NodeId(self.plan.nodes.len());
            let kind = match node {
                Some(node) if node.kind.value == Kind::Router => NodeKind::Router(Box::new(blank_router())),
                Some(_) => NodeKind::Host(Host::default()),
                None => {
                    self.unread.insert(id);
                    NodeKind::Host(Host::default())
                }
            };
            self.nodes.insert(name.value.clone(), id);
            self.plan.nodes.push(Node { name: name.value.clone(), kind, interfaces: Vec::new(), loopback: Vec::new() });
        }
    }

    /// The node that a word names.
    fn node(&mut self, name: &At<String>) -> Option<NodeId> {
        let found = self.nodes.get(&name.value).copied();
        if found.is_none() {
            let near = self.cx.nearest(name, self.nodes.keys().map(String::as_str));
            let kind = FaultKind::Unknown { what: "node", name: name.value.clone() };
            self.cx.add(Fault::new(name.span.clone(), kind).nearest(near));
        }
        found
    }

    /// The host that a word names.
    fn host(&mut self, name: &At<String>) -> Option<NodeId> {
        let id = self.node(name)?;
        self.of_kind(name, id, Kind::Host)
    }

    /// The router that a word names.
    fn router(&mut self, name: &At<String>) -> Option<NodeId> {
        let id = self.node(name)?;
        self.of_kind(name, id, Kind::Router)
    }

    fn of_kind(&mut self, name: &At<String>, id: NodeId, wanted: Kind) -> Option<NodeId> {
        let is_router = self.plan.node(id).is_router();
        if self.unread.contains(&id) {
            return None;
        }
        if is_router == (wanted == Kind::Router) {
            return Some(id);
        }
        let (is, wanted) = if is_router { ("router", "a host") } else { ("host", "a router") };
        self.fault(&name.span, FaultKind::WrongKind { name: name.value.clone(), is, wanted });
        None
    }

    /// The wire that a word names.
    fn wire(&mut self, name: &At<String>) -> Option<WireId> {
        let found = self.wires.get(&name.value).copied();
        if found.is_none() && !self.wires_unread {
            let near = self.cx.nearest(name, self.wires.keys().map(String::as_str));
            let kind = FaultKind::Unknown { what: "wire", name: name.value.clone() };
            self.cx.add(Fault::new(name.span.clone(), kind).nearest(near));
        }
        found
    }

    /// The wire of a kind that a word names.
    fn wire_of(&mut self, name: &At<String>, is: impl Fn(WireKind) -> bool, what: &'static str) -> Option<WireId> {
        let wire = self.wire(name)?;
        if is(self.plan.wire(wire).kind) {
            return Some(wire);
        }
        self.fault(&name.span, FaultKind::Unknown { what, name: name.value.clone() });
        None
    }

    /// The attachment of a node to a wire.
    fn end_of(&mut self, wire: WireId, node: NodeId, span: &Span) -> Option<Attachment> {
        let found = self.plan.wire(wire).ends.iter().copied().find(|end| end.node == node);
        if found.is_none() && !self.wires_unread {
            let node = self.plan.node(node).name.clone();
            let wire = self.plan.wire(wire).name.clone();
            self.fault(span, FaultKind::NotAttached { node, wire });
        }
        found
    }

    /// The interface of a node.
    fn interface(&mut self, node: NodeId, name: &str, span: &Span) -> Option<usize> {
        let names = || self.plan.node(node).interfaces.iter().map(|i| i.name.as_str());
        let found = names().position(|known| known == name);
        if found.is_none() {
            let near = self.cx.nearest(name, names());
            let kind = FaultKind::Unknown { what: "interface", name: name.to_owned() };
            self.cx.add(Fault::new(span.clone(), kind).nearest(near));
        }
        found
    }

    /// The attachment that `WIRE.NODE` or `NODE:INTERFACE` names.
    fn attachment(&mut self, name: &At<String>) -> Option<Attachment> {
        if let Some((node, interface)) = name.split_once(':') {
            let node = self.node(&part(name, node))?;
            return Some(Attachment { node, interface: self.interface(node, interface, &name.span)? });
        }
        let Some((wire, node)) = name.split_once('.') else {
            let expected = "an attachment, `WIRE.NODE` or `NODE:INTERFACE`".to_owned();
            self.fault(&name.span, FaultKind::WrongType { expected, found: format!("`{}`", name.value) });
            return None;
        };
        let wire = self.wire(&part(name, wire))?;
        let node = self.node(&part(name, node))?;
        self.end_of(wire, node, &name.span)
    }

    /// The interface of a router that a neighbour, a wire or an interface's name means.
    fn side(&mut self, router: NodeId, name: &At<String>) -> Option<usize> {
        let node = self.plan.node(router);
        let mut meant: BTreeMap<usize, String> = BTreeMap::new();
        for (index, interface) in node.interfaces.iter().enumerate() {
            let wire = self.plan.wire(interface.wire);
            let neighbour =
                wire.ends.iter().any(|end| end.node != router && self.plan.node(end.node).name == name.value);
            if interface.name == name.value || wire.name == name.value || neighbour {
                meant.insert(index, format!("{} (on {})", interface.name, wire.name));
            }
        }
        match meant.len() {
            1 => return meant.into_keys().next(),
            0 if self.wires_unread => return None,
            0 => {}
            _ => {
                let candidates = meant.into_values().collect();
                self.fault(&name.span, FaultKind::Ambiguous { name: name.value.clone(), candidates });
                return None;
            }
        }
        if self.nodes.contains_key(&name.value) || self.wires.contains_key(&name.value) {
            let (node, other) = (node.name.clone(), name.value.clone());
            let kind = if self.nodes.contains_key(&other) {
                FaultKind::NotNeighbours { node, other }
            } else {
                FaultKind::NotAttached { node, wire: other }
            };
            self.fault(&name.span, kind);
            return None;
        }
        let mut known: BTreeSet<&str> = BTreeSet::new();
        for interface in &node.interfaces {
            let wire = self.plan.wire(interface.wire);
            known.extend([interface.name.as_str(), wire.name.as_str()]);
            known.extend(wire.ends.iter().filter(|e| e.node != router).map(|e| self.plan.node(e.node).name.as_str()));
        }
        let near = self.cx.nearest(name, known);
        let kind = FaultKind::Unknown { what: "neighbour, wire or interface", name: name.value.clone() };
        self.cx.add(Fault::new(name.span.clone(), kind).nearest(near));
        None
    }

    /// The IPv4 addresses that a source's name means: a node's, or the address itself.
    fn source_addresses(&mut self, name: &At<String>) -> Option<Vec<IpAddr>> {
        if let Ok(address) = name.parse::<IpAddr>() {
            if address.is_multicast() || address.is_unspecified() {
                let expected = "a source's address".to_owned();
                self.fault(&name.span, FaultKind::WrongType { expected, found: format!("`{}`", name.value) });
                return None;
            }
            return Some(vec![address]);
        }
        let node = self.node(name)?;
        let node = self.plan.node(node);
        let addresses: Vec<IpAddr> =
            node.interfaces.iter().filter_map(|i| i.ipv4().map(|a| IpAddr::V4(a.addr()))).collect();
        if addresses.is_empty() && self.cx.is_clean() {
            let kind = FaultKind::Unattached { node: name.value.clone() };
            self.fault(&name.span, kind);
        }
        (!addresses.is_empty()).then_some(addresses)
    }

    /// The one address that a source's name means.
    fn source_address(&mut self, name: &At<String>) -> Option<IpAddr> {
        let addresses = self.source_addresses(name)?;
        match addresses.as_slice() {
            [one] => Some(*one),
            several => {
                let candidates = several.iter().map(IpAddr::to_string).collect();
                self.fault(&name.span, FaultKind::Ambiguous { name: name.value.clone(), candidates });
                None
            }
        }
    }

    /// A group that routers may forward.
    fn group(&mut self, group: &At<Address>) -> Option<IpAddr> {
        let address = group.value.0;
        let kind = match address {
            IpAddr::V4(v4) if !v4.is_multicast() => FaultKind::NotAGroup { address: address.to_string() },
            IpAddr::V4(v4) if v4.octets()[..3] == [224, 0, 0] => FaultKind::LinkLocalGroup { address },
            IpAddr::V4(_) => return Some(address),
            IpAddr::V6(v6) if v6.is_multicast() => FaultKind::Ipv6Group { address: address.to_string() },
            IpAddr::V6(_) => FaultKind::NotAGroup { address: address.to_string() },
        };
        self.fault(&group.span, kind);
        None
    }

    /// A prefix of groups.
    fn group_prefix(&mut self, prefix: &IpNet, span: &Span) -> Option<IpNet> {
        let kind = match prefix {
            IpNet::V4(v4) if v4.prefix_len() >= 4 && v4.addr().is_multicast() => {
                if v4.prefix_len() >= 24 && v4.addr().octets()[..3] == [224, 0, 0] {
                    FaultKind::LinkLocalGroup { address: IpAddr::V4(v4.addr()) }
                } else {
                    return Some(*prefix);
                }
            }
            IpNet::V6(v6) if v6.prefix_len() >= 8 && v6.addr().is_multicast() => {
                FaultKind::Ipv6Group { address: prefix.to_string() }
            }
            _ => FaultKind::NotAGroup { address: prefix.to_string() },
        };
        self.fault(span, kind);
        None
    }
}

/// A word inside another one, with its own place.
fn part(whole: &At<String>, part: &str) -> At<String> {
    At { value: part.to_owned(), span: whole.span.clone() }
}

fn blank_router() -> Router {
    Router {
        daemon: Default::default(),
        multicast: Default::default(),
        unicast: Default::default(),
        igmp: Default::default(),
        pim: Default::default(),
        upstream: None,
        routes: Vec::new(),
        limits: Default::default(),
    }
}
