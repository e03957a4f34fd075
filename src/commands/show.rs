//! `testbed show`: show what a router believes.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use clap::ValueEnum;
use router_core::control::client::{Client, ClientError};
use router_core::router::SourceFilter;
use router_core::show::{BsrZone, Entry, Group, Held, Interface, Neighbour, Route, RpMapping, Show, Shown, Tree};
use tabled::builder::Builder;
use tabled::settings::object::{Columns, Rows};
use tabled::settings::{Alignment, Modify, Padding, Style};

use super::labs::Which;
use super::{Failure, Outcome, Result};
use crate::lab::Lab;
use crate::topology::plan::{Daemon, Node, Plan};

/// How long a daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Arguments of `testbed show`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The router
    node: String,
    /// What to show; interfaces, groups and entries if not given
    what: Option<What>,
    /// With `rp`: the group whose rendezvous point it is, as the router has it
    group: Option<IpAddr>,
    /// Print JSON instead of tables
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    which: Which,
}

/// What a router can be asked.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    /// Its interfaces, with the IGMP querier and the PIM designated router of each
    Interfaces,
    /// Memberships by interface and group
    Groups,
    /// Forwarding entries with the kernel's counters
    Entries,
    /// Counters of packets and of what was refused
    Counters,
    /// Unicast routes
    Routes,
    /// PIM neighbours
    Neighbours,
    /// PIM's state of each source and group, with its timers
    Trees,
    /// The bootstrap routers of scope zones
    Bsr,
    /// Rendezvous points by group range
    Rp,
    /// How much it remembers of hosts, neighbours and sources
    State,
}

impl From<What> for Show {
    fn from(what: What) -> Show {
        match what {
            What::Interfaces => Show::Interfaces,
            What::Groups => Show::Groups,
            What::Entries => Show::Entries,
            What::Counters => Show::Counters,
            What::Routes => Show::Routes,
            What::Neighbours => Show::Neighbours,
            What::Trees => Show::Trees,
            What::Bsr => Show::Bsr,
            What::Rp => Show::Rp,
            What::State => Show::State,
        }
    }
}

/// Runs the verb.
pub fn run(args: Args) -> Result {
    let lab = args.which.choose()?;
    let plan = lab.plan()?;
    let node = router_core_node(&plan, &args.node)?;
    let asked = match (args.what, args.group) {
        (Some(What::Rp), Some(group)) if group.is_multicast() => vec![Show::RpOf(group)],
        (Some(What::Rp), Some(address)) => return Err(Failure::bad_input(format!("{address} is no group"))),
        (_, Some(group)) => return Err(Failure::bad_input(format!("{group}: a group goes with `rp` only"))),
        (Some(what), None) => vec![what.into()],
        (None, None) => vec![Show::Interfaces, Show::Groups, Show::Entries],
    };
    let shown = ask(&lab, &node.name, &asked)?;
    let text = if args.json { json(&shown)? } else { tables(&shown) };
    write!(std::io::stdout(), "{text}")
        .map_err(|error| Failure::machine(format!("cannot write to standard output: {error}")))?;
    Ok(Outcome::Held.into())
}

/// The node, if it runs router-core.
fn router_core_node<'a>(plan: &'a Plan, name: &str) -> std::result::Result<&'a Node, Failure> {
    let Some(id) = plan.find_node(name) else {
        let routers: Vec<&str> =
            plan.nodes.iter().filter(|node| node.is_router()).map(|node| node.name.as_str()).collect();
        return Err(Failure::bad_input(format!(
            "{} has no node {name:?}; its routers are {}",
            plan.name,
            routers.join(", ")
        )));
    };
    let node = plan.node(id);
    match node.router().map(|router| &router.daemon) {
        Some(Daemon::RouterCore) => Ok(node),
        Some(Daemon::Smcroute) => Err(Failure::bad_input(format!(
            "{name} runs smcroute, which answers to its own tool: \
             testbed exec {name} -- smcroutectl -u /run/testbed/lab/nodes/{name}/smcroute.sock show"
        ))),
        Some(Daemon::Frr) => Err(Failure::bad_input(format!(
            "{name} runs FRR, which answers to its own tool: \
             testbed exec {name} -- vtysh --vty_socket /run/testbed/lab/nodes/{name}/frr -c 'show ip mroute'"
        ))),
        Some(Daemon::Pimd) => Err(Failure::bad_input(format!(
            "{name} runs pimd, which answers to its own tool: testbed exec {name} -- pimd -r (its path: testbed doctor)"
        ))),
        Some(Daemon::Exec(_)) => Err(Failure::bad_input(format!(
            "{name} runs a program of the file's, which only its own tools can ask: testbed exec {name} -- COMMAND"
        ))),
        None => Err(Failure::bad_input(format!("{name} is a host: only routers have something to show"))),
    }
}

fn ask(lab: &Lab, node: &str, asked: &[Show]) -> std::result::Result<Vec<Shown>, Failure> {
    let path = lab.directory().join("nodes").join(node).join("control.sock");
    let answer = || -> std::result::Result<Vec<Shown>, ClientError> {
        let mut client = Client::connect(&path, PATIENCE)?;
        asked.iter().map(|what| client.show(*what)).collect()
    };
    answer().map_err(|error| match error {
        ClientError::TimedOut(_) => Failure::machine(format!("{node}: {error}; is its daemon paused?")),
        ClientError::Connect { .. } => {
            Failure::machine(format!("{node}: {error}; see `testbed ps` whether its daemon runs"))
        }
        error => Failure::machine(format!("{node}: {error}")),
    })
}

/// One object with a key for each answer.
fn json(shown: &[Shown]) -> std::result::Result<String, Failure> {
    let mut all = serde_json::Map::new();
    for answer in shown {
        match serde_json::to_value(answer) {
            Ok(serde_json::Value::Object(object)) => all.extend(object),
            other => return Err(Failure::machine(format!("an answer that is no JSON object: {other:?}"))),
        }
    }
    let text = serde_json::to_string_pretty(&all).map_err(|error| Failure::machine(error.to_string()))?;
    Ok(text + "\n")
}

fn tables(shown: &[Shown]) -> String {
    shown.iter().map(table).collect::<Vec<_>>().join("\n")
}

fn table(shown: &Shown) -> String {
    match shown {
        Shown::Interfaces(list) => rows(
            &[
                "interface",
                "state",
                "addresses",
                "IGMP",
                "querier",
                "groups",
                "designated router",
                "threshold",
                "boundary",
            ],
            "no interfaces",
            list.iter().map(interface),
        ),
        Shown::Groups(list) => rows(
            &["interface", "group", "sources", "IGMP", "expires", "last reporter"],
            "no groups",
            list.iter().map(group),
        ),
        Shown::Entries(list) => rows(
            &["source", "group", "in", "out", "packets", "octets", "wrong interface"],
            "no entries",
            list.iter().map(entry),
        ),
        Shown::Counters(counters) => counts(counters),
        Shown::Routes(list) => {
            rows(&["prefix", "next hop", "interface", "metric"], "no routes", list.iter().map(route))
        }
        Shown::Neighbours(list) => rows(
            &[
                "interface",
                "neighbour",
                "up for",
                "expires",
                "generation id",
                "override",
                "propagation",
                "state refresh",
            ],
            "no PIM neighbours",
            list.iter().map(neighbour),
        ),
        Shown::Bsr(list) => rows(
            &["zone", "state", "bootstrap router", "priority", "hash mask", "up for", "times out", "candidates"],
            "no bootstrap router",
            list.iter().map(bsr),
        ),
        Shown::Rp(list) => rows(
            &["groups", "rendezvous point", "origin", "zone", "priority", "expires"],
            "no rendezvous points",
            list.iter().map(rendezvous_point),
        ),
        Shown::State(state) => rows(
            &["", "memberships", "neighbours", "trees", "entries"],
            "",
            [("now", state.now), ("the most", state.most)].into_iter().map(held),
        ),
        Shown::Trees(list) => {
            rows(&["source", "group", "RPF", "upstream", "timers", "interfaces"], "no trees", list.iter().map(tree))
        }
    }
}

fn interface(it: &Interface) -> Vec<String> {
    let state = match (it.index, it.up, it.multicast) {
        (None, ..) => "absent",
        (_, false, _) => "down",
        (_, true, true) => "up",
        (_, true, false) => "up, no multicast",
    };
    let (version, querier, groups) = match &it.igmp {
        None => ("off".to_owned(), String::new(), String::new()),
        Some(igmp) => {
            let who = match (igmp.elected, igmp.querier) {
                (true, Some(own)) => format!("this router ({own})"),
                (true, None) => "this router".to_owned(),
                (false, Some(other)) => match igmp.other_querier_expires_ms {
                    Some(left) => format!("{other} for {}", seconds(left)),
                    None => other.to_string(),
                },
                (false, None) => "nobody".to_owned(),
            };
            (format!("v{}", igmp.version), who, igmp.groups.to_string())
        }
    };
    let designated = match it.pim.as_ref().and_then(|pim| Some((pim.designated_router?, pim.elected))) {
        None => String::new(),
        Some((own, true)) => format!("this router ({own})"),
        Some((other, false)) => other.to_string(),
    };
    let threshold = if it.ttl_threshold == 0 { String::new() } else { it.ttl_threshold.to_string() };
    vec![
        it.name.clone(),
        state.to_owned(),
        lines(&it.addresses),
        version,
        querier,
        groups,
        designated,
        threshold,
        lines(&it.boundary),
    ]
}

fn neighbour(it: &Neighbour) -> Vec<String> {
    let ms = |value: Option<u16>| value.map(|ms| format!("{ms}ms")).unwrap_or_default();
    vec![
        it.interface.clone(),
        it.address.to_string(),
        seconds(it.up_ms),
        it.expires_ms.map_or_else(|| "never".to_owned(), seconds),
        it.generation_id.map(|id| format!("{id:08x}")).unwrap_or_default(),
        ms(it.override_interval_ms),
        ms(it.propagation_delay_ms),
        if it.state_refresh { "yes" } else { "no" }.to_owned(),
    ]
}

fn held((when, it): (&str, Held)) -> Vec<String> {
    let numbers = [it.memberships, it.neighbours, it.trees, it.entries];
    std::iter::once(when.to_owned()).chain(numbers.iter().map(ToString::to_string)).collect()
}

fn bsr(it: &BsrZone) -> Vec<String> {
    vec![
        it.zone.map_or_else(|| "all".to_owned(), |zone| zone.to_string()),
        it.state.clone(),
        it.bsr.map_or_else(|| "none".to_owned(), |bsr| bsr.to_string()),
        it.priority.map(|priority| priority.to_string()).unwrap_or_default(),
        it.hash_mask_length.map(|length| length.to_string()).unwrap_or_default(),
        it.up_ms.map(seconds).unwrap_or_default(),
        it.bootstrap_ms.map(seconds).unwrap_or_default(),
        it.candidate_rps.len().to_string(),
    ]
}

fn rendezvous_point(it: &RpMapping) -> Vec<String> {
    let wins = if it.overrides { ", overrides" } else { "" };
    vec![
        it.range.to_string(),
        it.rp.to_string(),
        format!("{}{wins}", it.origin),
        it.zone.map_or_else(|| "all".to_owned(), |zone| zone.to_string()),
        it.priority.map(|priority| priority.to_string()).unwrap_or_default(),
        it.expires_ms.map(seconds).unwrap_or_default(),
    ]
}

fn tree(it: &Tree) -> Vec<String> {
    let timers = |timers: &std::collections::BTreeMap<String, u64>| {
        timers.iter().map(|(name, left)| format!("{name} {}", seconds(*left))).collect::<Vec<_>>()
    };
    let rpf = match (&it.rpf_interface, it.rpf_neighbour) {
        (None, _) => "no route".to_owned(),
        (Some(interface), None) => format!("{interface} (direct)"),
        (Some(interface), Some(neighbour)) => format!("{interface} {neighbour}"),
    };
    let interfaces = it.interfaces.iter().map(|(name, state)| {
        let mut words = vec![name.clone(), state.downstream.clone()];
        if state.assert != "no-info" {
            words.push(format!("assert {}", state.assert));
        }
        words.extend(state.assert_winner.map(|winner| winner.to_string()));
        words.extend(timers(&state.timers));
        words.join(" ")
    });
    let upstream = if it.originator { format!("{}, originator", it.upstream) } else { it.upstream.clone() };
    vec![
        it.source.to_string(),
        it.group.to_string(),
        rpf,
        upstream,
        timers(&it.timers).join("\n"),
        interfaces.collect::<Vec<_>>().join("\n"),
    ]
}

fn group(it: &Group) -> Vec<String> {
    let sources = match &it.filter {
        SourceFilter::Include(sources) if sources.is_empty() => "none".to_owned(),
        SourceFilter::Include(sources) => lines(sources),
        SourceFilter::Exclude(sources) if sources.is_empty() => "all".to_owned(),
        SourceFilter::Exclude(sources) => format!("all but {}", lines(sources)),
    };
    let expires = match (it.expires_ms, it.sources.values().max()) {
        _ if it.configured => "never".to_owned(),
        (Some(left), _) | (None, Some(&left)) => seconds(left),
        (None, None) => String::new(),
    };
    let reporter = it.last_reporter.map(|who| who.to_string()).unwrap_or_default();
    vec![it.interface.clone(), it.group.to_string(), sources, format!("v{}", it.version), expires, reporter]
}

fn entry(it: &Entry) -> Vec<String> {
    let count = |value: Option<u64>| value.map(|value| value.to_string()).unwrap_or_default();
    let outgoing: Vec<String> = it
        .outgoing
        .iter()
        .map(|(name, threshold)| if *threshold > 1 { format!("{name} (TTL > {threshold})") } else { name.clone() })
        .collect();
    let outgoing = if outgoing.is_empty() { "nowhere".to_owned() } else { outgoing.join("\n") };
    vec![
        it.source.to_string(),
        it.group.to_string(),
        it.incoming.clone(),
        outgoing,
        count(it.packets),
        count(it.octets),
        count(it.wrong_interface),
    ]
}

fn route(it: &Route) -> Vec<String> {
    let next_hop = it.next_hop.map_or_else(|| "connected".to_owned(), |hop| hop.to_string());
    vec![it.prefix.to_string(), next_hop, it.interface.clone(), it.metric.to_string()]
}

fn counts(counters: &BTreeMap<String, u64>) -> String {
    rows(
        &["counter", "value"],
        "no counters",
        counters.iter().map(|(name, value)| vec![name.clone(), value.to_string()]),
    )
}

fn rows(heading: &[&str], nothing: &str, rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut builder = Builder::default();
    builder.push_record(heading.iter().copied());
    let mut is_empty = true;
    for row in rows {
        builder.push_record(row);
        is_empty = false;
    }
    if is_empty {
        return format!("{nothing}\n");
    }
    let mut table = builder.build();
    table.with(Style::blank()).with(Padding::new(0, 1, 0, 0)).modify(Columns::new(0..), Alignment::left());
    for (index, name) in heading.iter().enumerate() {
        if ["packets", "octets", "wrong interface", "metric", "value", "groups", "threshold"].contains(name) {
            table.modify(Columns::one(index), Alignment::right());
        }
    }
    table.with(Modify::new(Rows::first()).with(Alignment::left()));
    table.to_string().lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

fn lines<T: ToString>(list: impl IntoIterator<Item = T>) -> String {
    list.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join("\n")
}

fn seconds(millis: u64) -> String {
    format!("{}.{} s", millis / 1000, millis % 1000 / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_shows_its_thresholds_and_counters() {
        let entry = Entry {
            source: [10, 0, 0, 9].into(),
            group: [239, 1, 1, 1].into(),
            incoming: "eth0".into(),
            outgoing: [("eth1".to_owned(), 1), ("eth2".to_owned(), 15)].into(),
            packets: Some(1200),
            octets: None,
            wrong_interface: Some(0),
        };
        assert_eq!(
            table(&Shown::Entries(vec![entry])),
            "source    group      in    out              packets  octets  wrong interface\n\
             10.0.0.9  239.1.1.1  eth0  eth1                1200                        0\n\
             \x20                          eth2 (TTL > 15)\n"
        );
        assert_eq!(table(&Shown::Entries(vec![])), "no entries\n");
    }

    #[test]
    fn a_membership_says_whom_it_wants_to_hear() {
        let shown = |filter| {
            group(&Group {
                interface: "eth1".into(),
                group: [239, 1, 1, 1].into(),
                filter,
                version: 3,
                expires_ms: Some(259_940),
                sources: BTreeMap::new(),
                last_reporter: None,
                configured: false,
            })
        };
        let one = || [std::net::IpAddr::from([10, 0, 0, 9])].into();
        assert_eq!(shown(SourceFilter::Include(one()))[2], "10.0.0.9");
        assert_eq!(shown(SourceFilter::Exclude(one()))[2], "all but 10.0.0.9");
        assert_eq!(shown(SourceFilter::Exclude([].into()))[2..5], ["all", "v3", "259.9 s"]);
    }

    #[test]
    fn several_answers_make_one_object() {
        let text = json(&[Shown::Groups(vec![]), Shown::Entries(vec![])]).unwrap();
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            serde_json::json!({"groups": [], "entries": []})
        );
    }
}
