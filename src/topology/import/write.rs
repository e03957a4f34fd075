//! A network as a topology file, with comments for its readers and a stream to begin with.

use std::fmt::Write as _;

use super::fault::{Remark, RemarkKind, Remarks};
use super::graph::Graph;
use super::names::legal;
use super::network::{Link, Network, whole_km};
use super::text::shown;
use super::{Multicast, Options};

/// Hosts that the stream goes to.
const RECEIVERS: usize = 10;
/// Light in fibre, in kilometres a second.
const FIBRE_KM_PER_SEC: f64 = 200_000.0;

/// Where a network comes from.
pub(super) struct Source<'a> {
    pub file: &'a str,
    pub graph: &'a Graph,
    pub remarks: &'a [Remark],
    pub more_remarks: usize,
}

/// The stream of the scenario.
pub(super) struct Stream<'a> {
    from: &'a str,
    to: Vec<&'a str>,
    ttl: usize,
}

/// From the first host to ten others, spread over the file's order.
pub(super) fn plan_stream<'a>(network: &'a Network, options: &Options, remarks: &mut Remarks) -> Option<Stream<'a>> {
    let hosts: Vec<&str> = network.routers.iter().filter_map(|router| router.host.as_deref()).collect();
    let Some((from, others)) = hosts.split_first().filter(|(_, others)| !others.is_empty()) else {
        remarks.whole(RemarkKind::NoScenario);
        return None;
    };
    if options.multicast != Multicast::PimDm {
        remarks.whole(RemarkKind::NoScenario);
        return None;
    }
    let count = others.len().min(RECEIVERS);
    if count < RECEIVERS {
        remarks.whole(RemarkKind::FewReceivers { count });
    }
    let to = (0..count).map(|n| others[n * others.len() / count]).collect();
    // No path without a loop is longer.
    let ttl = (network.routers.len() + 1).clamp(16, 255);
    Some(Stream { from, to, ttl })
}

/// Writes the file.
pub(super) fn topology(source: &Source, network: &Network, stream: Option<&Stream>, options: &Options) -> String {
    let mut out = String::new();
    head(&mut out, source, network, options);
    let _ = writeln!(out, "name: {}", quoted(&name(source, options)));
    let shows = [&source.graph.network, &source.graph.label].into_iter().flatten().map(|text| shown(text));
    let shows = shows.reduce(|network, label| if network == label { network } else { format!("{network}, {label}") });
    let file = shown(source.file);
    let description =
        shows.map_or_else(|| format!("Imported from {file}."), |shows| format!("{shows}: imported from {file}."));
    let _ = writeln!(out, "description: {}", text(&description));
    if options.multicast == Multicast::PimDm {
        out += "timers: 0.1                     # ten times as fast as the protocol's own\n";
    }
    let _ = writeln!(out, "defaults:\n  router: {{multicast: {}}}", options.multicast.word());
    out += "\nnodes:\n";
    for router in &network.routers {
        line(&mut out, &format!("  {}: {{kind: router}}", quoted(&router.name)), 40, &router.comment);
    }
    for host in network.routers.iter().filter_map(|router| router.host.as_ref()) {
        let _ = writeln!(out, "  {host}: {{kind: host}}");
    }
    if !network.links.is_empty() || network.routers.iter().any(|router| router.host.is_some()) {
        out += "\nlinks:\n";
    }
    for link in &network.links {
        line(&mut out, &link_text(link, network, options), 56, &link.comment);
    }
    for router in &network.routers {
        if let Some(host) = &router.host {
            let _ = writeln!(out, "  - {{between: [{}, {host}]}}", quoted(&router.name));
        }
    }
    if let Some(stream) = stream {
        scenario(&mut out, stream);
    }
    out
}

/// What it is, and what could not be kept.
fn head(out: &mut String, source: &Source, network: &Network, options: &Options) {
    let (routers, links) = (network.routers.len(), network.links.len());
    let _ = writeln!(
        out,
        "# Imported from {}: {routers} of {} nodes as routers, {links} of {} edges as links.",
        shown(source.file),
        network.nodes_read,
        network.edges_read
    );
    if network.measured {
        out.push_str("# Costs are lengths of links along great circles, in kilometres");
        out.push_str(if options.delays { "; delays follow from them at 200,000 km/s.\n" } else { ".\n" });
    }
    if source.remarks.is_empty() {
        return;
    }
    out.push_str("# What was not kept as it was:\n");
    for Remark { line, kind } in source.remarks {
        let line = line.map(|line| format!("line {line}: ")).unwrap_or_default();
        let _ = writeln!(out, "# - {line}{kind}");
    }
    if source.more_remarks > 0 {
        let _ = writeln!(out, "# - and {} more of the same kinds", source.more_remarks);
    }
}

/// The lab's name: what the user says, else what the graph is called, else what the file is called.
fn name(source: &Source, options: &Options) -> String {
    if let Some(name) = &options.name {
        return name.clone();
    }
    let stem = source.file.rsplit_once('.').map_or(source.file, |(stem, _)| stem);
    let called = [source.graph.label.as_deref(), source.graph.network.as_deref(), Some(stem)];
    called.into_iter().flatten().map(legal).find(|name| !name.is_empty()).unwrap_or_else(|| "graph".into())
}

fn link_text(link: &Link, network: &Network, options: &Options) -> String {
    let [a, b] = link.ends.map(|end| quoted(&network.routers[end].name));
    let mut out = format!("  - {{between: [{a}, {b}]");
    if let Some(length) = link.length_km {
        let _ = write!(out, ", cost: {}", whole_km(length));
        if options.delays {
            let micros = (length / FIBRE_KM_PER_SEC * 1e6).round();
            let _ = write!(out, ", delay: {micros}us");
        }
    }
    if let Some(rate) = link.rate {
        let _ = write!(out, ", rate: {}", rate_text(rate));
    }
    out + "}"
}

/// Bits a second in the largest unit that leaves something before the point.
fn rate_text(rate: u64) -> String {
    let units = [(1_000_000_000, "gbit"), (1_000_000, "mbit"), (1_000, "kbit")];
    let (scale, unit) = units.into_iter().find(|(scale, _)| rate >= *scale).unwrap_or((1, "bit"));
    // At most 10^12, which a float holds to the bit; its shortest form reads back as the same.
    format!("{}{unit}", rate as f64 / scale as f64)
}

fn scenario(out: &mut String, stream: &Stream) {
    let to = stream.to.join(", ");
    let (from, ttl) = (stream.from, stream.ttl);
    let _ = write!(
        out,
        "
scenarios:
  - name: stream
    steps:
      - join: {{hosts: [{to}], group: 239.1.1.1}}
      - stream: {{name: news, from: {from}, group: 239.1.1.1, rate: 200pps, ttl: {ttl}}}
      - expect: {{delivered: news, within: convergence, for: 2s}}
      - expect: {{tree: news, within: convergence}}
"
    );
}

/// A line with its comment, if there is one, from a column on.
fn line(out: &mut String, text: &str, column: usize, comment: &str) {
    let _ = match comment {
        "" => writeln!(out, "{text}"),
        _ => writeln!(out, "{text:<column$}  # {comment}"),
    };
}

/// A name, in quotes where YAML, or an older version of it, would take it for something else.
fn quoted(name: &str) -> String {
    const WORDS: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    if WORDS.contains(&name.to_ascii_lowercase().as_str()) { format!("\"{name}\"") } else { name.to_owned() }
}

/// A text in quotes.
fn text(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
