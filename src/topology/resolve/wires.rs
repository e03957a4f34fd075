//! Wires: who is attached to what, by which interface, and what a wire is like.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{END_LIMIT, Resolver, part};
use crate::topology::fault::{Fault, FaultKind};
use crate::topology::file::{End, Family, Lan, Link};
use crate::topology::plan::{Attachment, Impairment, Interface, NodeId, Wire, WireId, WireKind};
use crate::topology::read::{At, Names};
use crate::topology::scalars::{Int, out_of_range};

/// Ports of a Linux bridge.
const LAN_LIMIT: usize = 1000;
/// Interfaces that a node may have.
pub(in crate::topology) const INTERFACE_LIMIT: usize = 1000;
/// The first interface index: far from 1 (`lo`), and from what a kernel would give by itself.
const FIRST_INDEX: u32 = 10;
/// The longest delay of a link.
const DELAY_LIMIT: Duration = Duration::from_secs(10);

impl<'a> Resolver<'a> {
    pub(super) fn lay_wires(&mut self) {
        let file = self.file;
        self.wires_unread |= file.links.as_ref().is_some_and(|links| links.0.is_none());
        for link in file.links.iter().filter_map(|links| links.0.as_ref()).flatten() {
            match &link.0 {
                Some(link) => self.lay_link(link),
                None => self.wires_unread = true,
            }
        }
        for (name, lan) in file.lans.iter().flat_map(|lans| &lans.0) {
            self.lay_lan(name, lan.as_ref());
        }
        self.name_interfaces();
    }

    fn lay_link(&mut self, link: &'a Link) {
        let defaults = self.file.defaults.as_ref().and_then(|d| d.link.as_ref());
        let words = &link.between.value;
        if words.len() != 2 {
            let kind = FaultKind::WrongCount { what: "a link", needed: "exactly two ends", count: words.len() };
            self.fault(&link.between.span, kind);
        }
        let name = match &link.name {
            Some(name) => name.clone(),
            None => {
                let names: Vec<&str> = words.iter().map(|word| word.split(':').next().unwrap_or_default()).collect();
                let base = names.join("-");
                let mut name = base.clone();
                let number = self.link_numbers.entry(base.clone()).or_insert(1);
                while self.wires.contains_key(&name) {
                    *number += 1;
                    name = format!("{base}-{number}");
                }
                At { value: name, span: link.between.span.clone() }
            }
        };
        if link.name.is_some() {
            self.wire_name(&name);
        }
        let mtu = link.mtu.as_ref().or(defaults.and_then(|d| d.mtu.as_ref()));
        let impairment = self.impairment(link);
        let wire = self.add_wire(&name, WireKind::Link, mtu);
        let built = &mut self.plan.wires[wire.0];
        built.cost = link.cost.or(defaults.and_then(|d| d.cost)).map_or(1, Int::get);
        built.impairment = impairment;
        for word in words.iter().take(2) {
            let Some((node, interface)) = self.split_end(word) else { continue };
            if self.plan.wire(wire).ends.iter().any(|end| end.node == node) {
                let node = self.plan.node(node).name.clone();
                self.fault(&word.span, FaultKind::LinkedToItself { node });
                continue;
            }
            self.attach(wire, node, interface, word);
        }
        self.settle_ends(wire, link.ends.as_ref());
    }

    fn lay_lan(&mut self, name: &At<String>, lan: Option<&'a Lan>) {
        self.wire_name(name);
        let Some(lan) = lan else {
            // Its name is known, so that nothing is said of those that refer to it.
            self.wires_unread = true;
            self.add_wire(name, WireKind::Lan { snooping: false }, None);
            return;
        };
        let defaults = self.file.defaults.as_ref().and_then(|d| d.lan.as_ref());
        let snooping = lan.snooping.or(defaults.and_then(|d| d.snooping)).unwrap_or(false);
        let mtu = lan.mtu.as_ref().or(defaults.and_then(|d| d.mtu.as_ref()));
        let wire = self.add_wire(name, WireKind::Lan { snooping }, mtu);
        self.plan.wires[wire.0].cost = lan.cost.or(defaults.and_then(|d| d.cost)).map_or(1, Int::get);
        if lan.nodes.is_empty() {
            let kind = FaultKind::WrongCount { what: "a LAN", needed: "at least one node", count: 0 };
            self.fault(&lan.nodes.span, kind);
        }
        if lan.nodes.len() > LAN_LIMIT {
            let kind = FaultKind::TooMany { what: "nodes on a LAN", count: lan.nodes.len(), limit: LAN_LIMIT };
            self.fault(&lan.nodes.span, kind);
        }
        for word in lan.nodes.iter().take(LAN_LIMIT) {
            let Some((node, interface)) = self.split_end(word) else { continue };
            if self.plan.wire(wire).ends.iter().any(|end| end.node == node) {
                let node = self.plan.node(node).name.clone();
                self.fault(&word.span, FaultKind::TwiceOnLan { node, lan: name.value.clone() });
                continue;
            }
            self.attach(wire, node, interface, word);
        }
        self.settle_ends(wire, lan.ends.as_ref());
    }

    /// A wire's name stands in paths and before a `.`: the characters of a host name, and `_`.
    fn wire_name(&mut self, name: &At<String>) {
        let good = (1..=63).contains(&name.len())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
            && name.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !good {
            self.fault(&name.span, FaultKind::NotAWireName { name: name.value.clone() });
        }
    }

    fn add_wire(&mut self, name: &At<String>, kind: WireKind, mtu: Option<&At<Int<576, 65535>>>) -> WireId {
        let id = WireId(self.plan.wires.len());
        if let Some(first) = self.wires.get(&name.value) {
            let kind = FaultKind::DuplicateName { what: "wire", name: name.value.clone() };
            let first = self.wire_spans[first.0].clone();
            self.cx.add(Fault::new(name.span.clone(), kind).related(first, "first here"));
        } else {
            self.wires.insert(name.value.clone(), id);
        }
        if let Some(mtu) = mtu
            && self.families.contains(&Family::IPv6)
            && mtu.get::<u32>() < 1280
        {
            let value = mtu.get::<u32>().to_string();
            self.fault(&mtu.span, out_of_range("an MTU where IPv6 is in use", &value, "1280 to 65535"));
        }
        self.wire_spans.push(name.span.clone());
        self.plan.wires.push(Wire {
            name: name.value.clone(),
            kind,
            ends: Vec::new(),
            cost: 1,
            mtu: mtu.map_or(1500, |mtu| mtu.get()),
            impairment: Impairment::default(),
            subnets: Vec::new(),
        });
        id
    }

    fn impairment(&mut self, link: &Link) -> Impairment {
        let defaults = self.file.defaults.as_ref().and_then(|d| d.link.as_ref());
        let delay = link.delay.as_ref().or(defaults.and_then(|d| d.delay.as_ref()));
        let jitter = link.jitter.as_ref().or(defaults.and_then(|d| d.jitter.as_ref()));
        let loss = link.loss.as_ref().or(defaults.and_then(|d| d.loss.as_ref()));
        let rate = link.rate.as_ref().or(defaults.and_then(|d| d.rate.as_ref()));
        let span = |time: Option<&At<crate::topology::scalars::Time>>| time.map(|t| t.0).unwrap_or_default();
        if let Some(delay) = delay
            && delay.0 > DELAY_LIMIT
        {
            let value = humantime::format_duration(delay.0).to_string();
            self.fault(&delay.span, out_of_range("a link's delay", &value, "0 to 10s"));
        }
        if let Some(jitter) = jitter
            && jitter.0 > span(delay)
        {
            let value = humantime::format_duration(jitter.0).to_string();
            self.fault(&jitter.span, out_of_range("a link's jitter", &value, "0 to its delay"));
        }
        Impairment {
            delay: span(delay),
            jitter: span(jitter),
            loss: loss.map_or(0.0, |loss| loss.0),
            rate: rate.map(|rate| rate.0),
        }
    }

    /// `NODE` or `NODE:INTERFACE`.
    fn split_end(&mut self, word: &At<String>) -> Option<(NodeId, Option<String>)> {
        match word.split_once(':') {
            None => Some((self.node(word)?, None)),
            Some((node, interface)) => {
                self.interface_name(interface, word);
                Some((self.node(&part(word, node))?, Some(interface.to_owned())))
            }
        }
    }

    /// What the kernel takes for an interface's name (`dev_valid_name`), less what its sysctl directories claim.
    fn interface_name(&mut self, name: &str, word: &At<String>) {
        let why = match name {
            "" => "it is empty",
            "lo" => "every node has a loopback of that name",
            "." | ".." | "all" | "default" => "the kernel keeps it for itself",
            _ if name.len() > 15 => "it is longer than 15 octets",
            _ if name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/' || c == ':' || c == '%') => {
                "it holds a space, `/`, `:` or `%`"
            }
            _ => return,
        };
        self.fault(&word.span, FaultKind::NotAnInterfaceName { name: name.to_owned(), why });
    }

    fn attach(&mut self, wire: WireId, node: NodeId, name: Option<String>, word: &At<String>) {
        if self.plan.node(node).interfaces.len() >= INTERFACE_LIMIT {
            let count = self.plan.node(node).interfaces.len() + 1;
            self.fault(&word.span, FaultKind::TooMany { what: "interfaces of a node", count, limit: INTERFACE_LIMIT });
            return;
        }
        let count = self.end_count + 1;
        if count > END_LIMIT {
            let kind = FaultKind::TooMany { what: "ends of wires", count, limit: END_LIMIT };
            self.fault(&word.span, kind);
            return;
        }
        if let Some(name) = &name
            && self.plan.node(node).interfaces.iter().any(|i| i.name == *name)
        {
            self.fault(&word.span, FaultKind::DuplicateName { what: "interface", name: name.clone() });
        }
        // END_LIMIT keeps this far from overflow, and within three octets of the MAC address.
        let index = FIRST_INDEX + self.end_count as u32;
        self.end_count = count;
        let [_, a, b, c] = index.to_be_bytes();
        let interface = self.plan.node(node).interfaces.len();
        self.plan.nodes[node.0].interfaces.push(Interface {
            name: name.unwrap_or_default(),
            index,
            mac: [0x02, 0x74, 0x62, a, b, c],
            wire,
            addresses: Vec::new(),
            ttl_threshold: 0,
            boundary: Vec::new(),
            igmp: Default::default(),
            pim: Default::default(),
        });
        self.plan.wires[wire.0].ends.push(Attachment { node, interface });
    }

    /// `eth0`, `eth1`, ... for those that the file does not name.
    fn name_interfaces(&mut self) {
        for node in &mut self.plan.nodes {
            let given: BTreeSet<String> = node.interfaces.iter().map(|i| i.name.clone()).collect();
            let mut free = (0..).map(|n| format!("eth{n}")).filter(|name| !given.contains(name));
            for interface in node.interfaces.iter_mut().filter(|i| i.name.is_empty()) {
                interface.name = free.next().unwrap_or_default();
            }
        }
    }

    /// Notes ends that are named, but not there; their settings are taken over where they belong.
    fn settle_ends(&mut self, wire: WireId, ends: Option<&'a Names<End>>) {
        for (name, end) in ends.into_iter().flat_map(|ends| &ends.0) {
            let Some(node) = self.nodes.get(&name.value).copied() else {
                let attached: Vec<String> =
                    self.plan.wire(wire).ends.iter().map(|end| self.plan.node(end.node).name.clone()).collect();
                let near = self.cx.nearest(name, attached.iter().map(String::as_str));
                let kind = FaultKind::Unknown { what: "node", name: name.value.clone() };
                self.cx.add(Fault::new(name.span.clone(), kind).nearest(near));
                continue;
            };
            let Some(at) = self.end_of(wire, node, &name.span) else { continue };
            if let Some(end) = end {
                self.settle_end(at, end);
            }
        }
    }

    fn settle_end(&mut self, at: Attachment, end: &'a End) {
        for address in end.address.iter().flat_map(|a| &a.0) {
            self.given.push((at, At { value: address.value.0, span: address.span.clone() }));
        }
        if self.unread.contains(&at.node) {
            return;
        }
        let is_router = self.plan.node(at.node).is_router();
        const ONLY: &str = "for routers only";
        let mut boundary = Vec::new();
        for prefix in end.boundary.iter().flat_map(|b| &b.value.0) {
            boundary.extend(self.group_prefix(&prefix.value.0, &prefix.span));
        }
        if !is_router {
            let keys = [
                ("ttl-threshold", end.ttl_threshold.as_ref().map(|k| &k.span)),
                ("boundary", end.boundary.as_ref().map(|k| &k.span)),
                ("igmp", end.igmp.as_ref().map(|k| &k.span)),
                ("pim", end.pim.as_ref().map(|k| &k.span)),
            ];
            for (key, span) in keys.into_iter().filter_map(|(key, span)| Some((key, span?))) {
                self.fault(span, FaultKind::KeyNotHere { key: key.into(), only: ONLY });
            }
            return;
        }
        if let Some(threshold) = &end.ttl_threshold
            && threshold.get::<u8>() > 0
        {
            self.thresholds.push((at, threshold.span.clone()));
        }
        let interface = &mut self.plan.nodes[at.node.0].interfaces[at.interface];
        interface.ttl_threshold = end.ttl_threshold.as_ref().map_or(0, |t| t.get());
        interface.boundary = boundary;
        self.boundaries.extend(end.boundary.as_ref().map(|boundary| (at, boundary.span.clone())));
        self.end_igmps.extend(end.igmp.as_ref().map(|igmp| (at, igmp)));
        self.end_pims.extend(end.pim.as_ref().map(|pim| (at, pim)));
    }
}
