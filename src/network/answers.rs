//! What router-core says of itself, put into the words and indexes of a plan.

use std::net::IpAddr;

use router_core::router::{EventKind, SourceFilter};
use router_core::show::{self, Show, Shown};

use super::{DesignatedRouter, Membership, Neighbour, NetworkError};
use crate::topology::plan::Node;

/// A router's memberships; those on interfaces that the plan does not have are left out.
pub fn memberships(node: &Node, groups: Vec<show::Group>) -> Vec<Membership> {
    let membership = |group: show::Group| {
        let interface = interface(node, &group.interface)?;
        Some(Membership { interface, group: group.group, filter: group.filter, version: group.version })
    };
    groups.into_iter().filter_map(membership).collect()
}

/// A router's PIM neighbours, likewise.
pub fn neighbours(node: &Node, neighbours: Vec<show::Neighbour>) -> Vec<Neighbour> {
    let neighbour = |known: show::Neighbour| {
        Some(Neighbour { interface: interface(node, &known.interface)?, address: known.address })
    };
    neighbours.into_iter().filter_map(neighbour).collect()
}

/// Whom a router takes for the designated router of its interfaces, likewise.
pub fn designated_routers(node: &Node, interfaces: Vec<show::Interface>) -> Vec<DesignatedRouter> {
    let designated = |of: show::Interface| {
        Some(DesignatedRouter { interface: interface(node, &of.name)?, address: of.pim?.designated_router? })
    };
    interfaces.into_iter().filter_map(designated).collect()
}

fn interface(node: &Node, name: &str) -> Option<usize> {
    node.interfaces.iter().position(|interface| interface.name == name)
}

/// What a router believes about a group, a line each; why it does not say is the last.
pub fn beliefs(group: IpAddr, mut ask: impl FnMut(Show) -> Result<Shown, NetworkError>) -> Vec<String> {
    let mut lines = Vec::new();
    for what in [Show::Groups, Show::Entries, Show::Trees] {
        match ask(what) {
            Ok(shown) => lines.extend(believe(&shown, group)),
            Err(error) => {
                lines.push(error.to_string());
                break;
            }
        }
    }
    lines
}

/// What an answer says about a group, a line each.
fn believe(shown: &Shown, group: IpAddr) -> Vec<String> {
    match shown {
        Shown::Groups(groups) => {
            let lines: Vec<String> = groups
                .iter()
                .filter(|member| member.group == group)
                .map(|member| {
                    let wanted = describe_filter(&member.filter);
                    format!("knows a member of {group} on {} (IGMPv{}){wanted}", member.interface, member.version)
                })
                .collect();
            if lines.is_empty() { vec![format!("knows no member of {group}")] } else { lines }
        }
        Shown::Entries(entries) => {
            let lines: Vec<String> = entries
                .iter()
                .filter(|entry| entry.group == group)
                .map(|entry| {
                    let outgoing: Vec<String> =
                        entry.outgoing.iter().map(|(name, ttl)| format!("{name} above TTL {ttl}")).collect();
                    let outgoing = if outgoing.is_empty() { "nowhere".into() } else { outgoing.join(", ") };
                    format!("wants ({}, {group}) from {} to {outgoing}", entry.source, entry.incoming)
                })
                .collect();
            if lines.is_empty() { vec![format!("wants no entry for {group}")] } else { lines }
        }
        Shown::Trees(trees) => trees.iter().filter(|tree| tree.group == group).map(believe_tree).collect(),
        _ => Vec::new(),
    }
}

/// A dense mode router's state in words.
fn believe_tree(tree: &show::Tree) -> String {
    let way = match (&tree.rpf_interface, tree.rpf_neighbour) {
        (Some(interface), Some(neighbour)) => format!(" by {interface} from {neighbour}"),
        (Some(interface), None) => format!(" on its link {interface}"),
        (None, _) => " without a route".to_owned(),
    };
    let mut text = format!("is {} upstream for ({}, {}){way}", tree.upstream, tree.source, tree.group);
    for (name, state) in &tree.interfaces {
        if state.downstream != "no-info" {
            text += &format!(", has {name} {}", state.downstream);
        }
        if state.assert != "no-info" {
            let winner = state.assert_winner.filter(|_| state.assert == "loser");
            let winner = winner.map(|winner| format!(" to {winner}")).unwrap_or_default();
            text += &format!(", is assert {}{winner} on {name}", state.assert);
        }
    }
    text
}

/// An event as a person would say it.
pub fn describe(event: &EventKind) -> String {
    match event {
        EventKind::Ready => "is ready".into(),
        EventKind::Interface { interface, up: true } => format!("{interface} came up"),
        EventKind::Interface { interface, up: false } => format!("{interface} went down"),
        EventKind::Querier { interface, elected: true, .. } => format!("became the querier of {interface}"),
        EventKind::Querier { interface, elected: false, querier: Some(other) } => {
            format!("{interface} has another querier, {other}")
        }
        EventKind::Querier { interface, elected: false, querier: None } => format!("is not the querier of {interface}"),
        EventKind::OlderQuerier { interface, version, querier } => {
            format!("{interface} has a querier of version {version}, {querier}")
        }
        EventKind::MemberAdded { interface, group, filter } => {
            format!("{interface} has a member of {group}{}", describe_filter(filter))
        }
        EventKind::MemberRemoved { interface, group } => format!("{interface} has no member of {group} any more"),
        EventKind::NeighbourUp { interface, neighbour } => format!("has the PIM neighbour {neighbour} on {interface}"),
        EventKind::NeighbourRestarted { interface, neighbour } => {
            format!("saw its PIM neighbour {neighbour} on {interface} restart")
        }
        EventKind::NeighbourDown { interface, neighbour } => {
            format!("lost its PIM neighbour {neighbour} on {interface}")
        }
        EventKind::DesignatedRouter { interface, elected: true, .. } => {
            format!("became the designated router of {interface}")
        }
        EventKind::DesignatedRouter { interface, designated_router: Some(other), .. } => {
            format!("{interface} has the designated router {other}")
        }
        EventKind::DesignatedRouter { interface, designated_router: None, .. } => {
            format!("{interface} has no designated router")
        }
        EventKind::Upstream { source, group, state } => format!("is {state} upstream for ({source}, {group})"),
        EventKind::Downstream { source, group, interface, state } => {
            format!("has {interface} {state} for ({source}, {group})")
        }
        EventKind::Bsr { zone, state, bsr } => {
            let of = zone.map(|zone| format!(" of {zone}")).unwrap_or_default();
            let who = bsr.map_or_else(|| "no bootstrap router".to_owned(), |bsr| format!("the bootstrap router {bsr}"));
            format!("has {who}{of}, in state {state}")
        }
        EventKind::RpSet { range, rps } => {
            let rps: Vec<String> = rps.iter().map(ToString::to_string).collect();
            format!("knows for {range} the rendezvous points {}", rps.join(", "))
        }
        EventKind::Register { source, group, state } => {
            format!("has the register of ({source}, {group}) in state {state}")
        }
        EventKind::Assert { source, group, interface, state, winner } => {
            let winner = winner.map(|winner| format!(" to {winner}")).filter(|_| state == "loser").unwrap_or_default();
            format!("is assert {state}{winner} on {interface} for ({source}, {group})")
        }
        EventKind::EntryInstalled { source, group, incoming, outgoing } => {
            let outgoing = if outgoing.is_empty() { "nowhere".into() } else { outgoing.join(", ") };
            format!("forwards ({source}, {group}) from {incoming} to {outgoing}")
        }
        EventKind::EntryRemoved { source, group } => format!("forgot the entry ({source}, {group})"),
        EventKind::LimitReached { limit, interface: Some(interface) } => {
            format!("reached its limit {limit} on {interface}")
        }
        EventKind::LimitReached { limit, interface: None } => format!("reached its limit {limit}"),
    }
}

fn describe_filter(filter: &SourceFilter) -> String {
    let list = |sources: &std::collections::BTreeSet<std::net::IpAddr>| {
        sources.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    match filter {
        SourceFilter::Exclude(sources) if sources.is_empty() => String::new(),
        SourceFilter::Exclude(sources) => format!(", not from {}", list(sources)),
        SourceFilter::Include(sources) => format!(", only from {}", list(sources)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beliefs_say_what_is_known_of_one_group() {
        let group = "239.1.1.1".parse().unwrap();
        let shown: Shown = serde_json::from_str(
            r#"{"groups": [
                {"interface": "eth1", "group": "239.1.1.1", "filter": {"mode": "include", "sources": ["10.0.0.9"]}, "version": 3,
                 "expires-ms": null, "sources": {}, "last-reporter": null, "configured": false},
                {"interface": "eth2", "group": "239.1.1.2", "filter": {"mode": "exclude", "sources": []}, "version": 2,
                 "expires-ms": 5, "sources": {}, "last-reporter": null, "configured": false}]}"#,
        )
        .unwrap();
        assert_eq!(believe(&shown, group), ["knows a member of 239.1.1.1 on eth1 (IGMPv3), only from 10.0.0.9"]);
        assert_eq!(believe(&Shown::Groups(vec![]), group), ["knows no member of 239.1.1.1"]);
        assert_eq!(believe(&Shown::Entries(vec![]), group), ["wants no entry for 239.1.1.1"]);
    }
}
