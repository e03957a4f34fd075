//! Debian's smcroute: forwards by static routes, and by nothing else.

use std::fmt::Write;

use ipnet::IpNet;
use router_core::config::{Igmp, Limits, Multicast};

use super::find::{Kind, program_of};
use super::{At, DaemonError, Launch, Paths, Program, READY_EVERY, Readiness};
use crate::topology::plan::{StaticRoute, WireKind};

const NAME: &str = "smcroute";
const CONFIG: &str = "smcroute.conf";
const SOCKET: &str = "smcroute.sock";
const PID: &str = "smcroute.pid";

/// Groups that smcroute joins behind a snooping bridge at most: it holds each of a range in a socket.
const JOINS_MAX: u64 = 256;

pub(super) fn check(at: &At<'_>) -> Vec<DaemonError> {
    let mut errors = Vec::new();
    let mut refuse = |what: String, remedy: &str| errors.push(at.unsupported(NAME, what, remedy));
    if at.router.multicast == Multicast::Proxy {
        refuse("`multicast: proxy`".to_owned(), "use `daemon: router-core`, or `multicast: static` with `routes`");
    }
    if at.router.multicast.is_pim() {
        refuse("`multicast: pim-dm`".to_owned(), "use `daemon: router-core`, or `multicast: static` with `routes`");
    }
    if has_igmp(&at.router.igmp) {
        refuse("`igmp` settings".to_owned(), NO_IGMP);
    }
    if at.router.limits != Limits::default() {
        refuse("`limits`".to_owned(), "take them out: it keeps no state that members can make grow");
    }
    for interface in &at.node.interfaces {
        if has_igmp(&interface.igmp) {
            refuse(format!("`igmp` settings at {}", interface.name), NO_IGMP);
        }
        if !interface.boundary.is_empty() {
            refuse(
                format!("the boundary {} at {}", list(&interface.boundary), interface.name),
                "use `daemon: router-core`, or leave the groups out of `routes`",
            );
        }
    }
    for route in &at.router.routes {
        if route.outgoing.is_empty() {
            refuse(
                format!("the route for {} without `to`: it does not follow memberships", route.group),
                "name the interfaces in `to`, or use `daemon: router-core`",
            );
        }
        if let Some(joins) = joins(at, route).filter(|count| *count > JOINS_MAX) {
            refuse(
                format!(
                    "the route for {}: behind the snooping bridge it would have to join {joins} groups",
                    route.group
                ),
                "give a range of at most 256 groups",
            );
        }
    }
    errors
}

const NO_IGMP: &str = "take them out (it is no IGMP querier), or use `daemon: router-core`";

/// Whether any key asks something of an IGMP querier.
fn has_igmp(igmp: &Igmp) -> bool {
    igmp.enabled != Some(false) && *igmp != Igmp::default()
}

/// How many groups must be joined on a route's incoming interface: none unless a snooping bridge would hide them.
fn joins(at: &At<'_>, route: &StaticRoute) -> Option<u64> {
    let wire = at.plan.wire(at.node.interfaces[route.incoming].wire);
    let host_bits = u32::from(route.group.max_prefix_len() - route.group.prefix_len());
    (wire.kind == WireKind::Lan { snooping: true }).then(|| 1u64.checked_shl(host_bits).unwrap_or(u64::MAX))
}

pub(super) fn prepare(at: &At<'_>, paths: &Paths) -> Result<Launch, DaemonError> {
    let daemon = program_of(&at.node.name, Kind::Smcroute, Kind::Smcroute.program(), paths)?;
    let control = program_of(&at.node.name, Kind::Smcroute, "smcroutectl", paths)?;
    let file = |name: &str| paths.node.join(name).to_string_lossy().into_owned();
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<String>>();
    let socket = file(SOCKET);
    Ok(Launch {
        directories: Vec::new(),
        files: vec![(paths.node.join(CONFIG), configuration(at))],
        env: Vec::new(),
        programs: vec![Program {
            name: Kind::Smcroute.program().to_owned(),
            // In the foreground, and no interface but those that the file enables.
            argv: words(&[
                &daemon,
                "-n",
                "-N",
                "-l",
                "info",
                "-i",
                NAME,
                "-f",
                &file(CONFIG),
                "-P",
                &file(PID),
                "-u",
                &socket,
            ]),
            // It answers only once it has read its file and installed the routes.
            ready: Readiness::Command { argv: words(&[&control, "-u", &socket, "-p", "show"]), every: READY_EVERY },
        }],
    })
}

fn configuration(at: &At<'_>) -> String {
    let mut text = format!("# {} of lab {}\n", at.node.name, at.plan.name);
    for interface in &at.node.interfaces {
        let threshold = interface.ttl_threshold.max(1);
        let _ = writeln!(text, "phyint {} enable ttl-threshold {threshold}", interface.name);
    }
    if at.router.multicast == Multicast::None {
        return text;
    }
    // smcroute takes the first rule that matches; the file's meaning is the longest (source, then group).
    let mut routes: Vec<&StaticRoute> = at.router.routes.iter().collect();
    let specific = |route: &StaticRoute| (route.source.map_or(0, |s| s.prefix_len()), route.group.prefix_len());
    routes.sort_by_key(|route| std::cmp::Reverse(specific(route)));
    for route in routes {
        let incoming = at.interface_name(route.incoming);
        let source = route.source.map(|source| format!(" source {}", short(source))).unwrap_or_default();
        let group = short(route.group);
        if joins(at, route).is_some() {
            let _ = writeln!(text, "mgroup from {incoming} group {group}");
        }
        let outgoing: Vec<&str> = route.outgoing.iter().map(|&index| at.interface_name(index)).collect();
        let _ = writeln!(text, "mroute from {incoming}{source} group {group} to {}", outgoing.join(" "));
    }
    text
}

/// A prefix; a single address without its length, which smcroute treats as an exact route.
fn short(prefix: IpNet) -> String {
    if prefix.prefix_len() == prefix.max_prefix_len() { prefix.addr().to_string() } else { prefix.trunc().to_string() }
}

fn list(prefixes: &[IpNet]) -> String {
    prefixes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
