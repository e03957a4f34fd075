//! Names the first wrong hop of a failed check: where packets were last seen on their way, what should have happened there, what
//! the kernel holds, what the daemon believes, and where the capture of the wire lies.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::Range;
use std::path::PathBuf;

use super::outcome::{Finding, Place};
use super::runner::Run;
use crate::network::{Entry, Network, Sighting};
use crate::oracle::{Certainty, Flow, Paths};
use crate::topology::plan::{Attachment, NodeId, WireId};
use crate::topology::steps::{CutKind, SourceFilter, Stream};

/// Packets of a range that are followed, at most.
const FOLLOWED: usize = 10_000;
/// Lines of a daemon's beliefs that are quoted, at most.
const BELIEFS: usize = 2;
/// Routers further down whose beliefs are quoted, at most.
const BELOW: usize = 4;

/// The interface that a stream leaves its sender by.
pub fn origin(stream: &Stream) -> Attachment {
    Attachment { node: stream.from, interface: stream.interface }
}

/// A filter as people say it.
pub fn filter(filter: &SourceFilter) -> String {
    let list = |sources: &BTreeSet<IpAddr>| sources.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ");
    match filter {
        SourceFilter::Exclude(sources) if sources.is_empty() => "all sources".to_owned(),
        SourceFilter::Exclude(sources) => format!("all but {}", list(sources)),
        SourceFilter::Include(sources) if sources.is_empty() => "no source".to_owned(),
        SourceFilter::Include(sources) => format!("only {}", list(sources)),
    }
}

/// Appends where the capture lies.
pub fn with_capture(text: String, capture: Option<&PathBuf>) -> String {
    match capture {
        Some(path) => format!("{text}; capture: {}", path.display()),
        None => text,
    }
}

/// The frames of some packets at every interface and direction.
struct Seen {
    frames: BTreeMap<(Attachment, bool), BTreeMap<u64, u64>>,
}

impl Seen {
    fn of<N: Network>(run: &mut Run<'_, N>, stream: &str, range: &Range<u64>) -> Seen {
        let mut frames: BTreeMap<(Attachment, bool), BTreeMap<u64, u64>> = BTreeMap::new();
        for wire in run.plan.wire_ids() {
            for s in run.records.sightings(run.network, stream, wire).iter().filter(|s| range.contains(&s.sequence)) {
                *frames.entry((s.at, s.outbound)).or_default().entry(s.sequence).or_default() += 1;
            }
        }
        Seen { frames }
    }

    fn has(&self, at: Attachment, outbound: bool, sequence: u64) -> bool {
        self.frames.get(&(at, outbound)).is_some_and(|f| f.contains_key(&sequence))
    }

    fn twice(&self, at: Attachment, outbound: bool) -> Option<u64> {
        self.frames.get(&(at, outbound))?.iter().find(|(_, n)| **n > 1).map(|(sequence, _)| *sequence)
    }
}

/// The place that is there most often; of equals, the first on the way. A packet that was lost while a router made its entry does not hide
/// where all the others end.
fn where_most(places: impl Iterator<Item = usize>) -> Option<usize> {
    let mut counts: BTreeMap<usize, u64> = BTreeMap::new();
    for place in places {
        *counts.entry(place).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(place, count)| (*count, Reverse(*place))).map(|(place, _)| place)
}

/// Why packets of a range did not reach a host: walks the way that they should have taken, and stops where most of them were lost.
pub fn missing<N: Network>(run: &mut Run<'_, N>, stream: &Stream, host: NodeId, range: Range<u64>) -> Finding {
    if run.flow(stream).is_none() {
        return Finding::text(format!("{} has no address of the family of {}", run.name(stream.from), stream.group));
    }
    let way = way(run, stream, host);
    if way.is_empty() {
        return Finding::text(format!("the file gives {} no way to {}", stream.name, run.name(host)));
    }
    let arrived: BTreeSet<u64> =
        run.records.arrivals(run.network, &stream.name, host).iter().map(|a| a.sequence).collect();
    let seen = Seen::of(run, &stream.name, &range);
    // For each lost packet, how far it came; a tap that missed it is corrected by the next one that did not.
    let came = |sequence: u64| {
        way.iter().enumerate().rev().find(|(n, at)| seen.has(**at, n % 2 == 0, sequence)).map_or(0, |(n, _)| n + 1)
    };
    let lost = range.filter(|sequence| !arrived.contains(sequence)).take(FOLLOWED);
    let reached = where_most(lost.map(came)).unwrap_or(way.len());
    let name = |at: Attachment| run.plan.name_of(at);
    match reached {
        0 if !run.history.now().is_broken(run.plan, way[0]) => Finding {
            place: Some(place_out(run, way[0], None)),
            ..Finding::text(format!(
                "{} sent no packet of {} out of {}",
                run.name(stream.from),
                stream.name,
                name(way[0])
            ))
        },
        n if n == way.len() => {
            let at = way[n - 1];
            let joined = match run.history.now().filter(host, stream.group) {
                None => format!("it has not joined {}", stream.group),
                Some(own) => format!("it has joined {} for {}", stream.group, filter(own)),
            };
            let text = format!("packets reached {}, but no socket of {}: {joined}", name(at), run.name(host));
            finding_at_wire(run, at, text)
        }
        // Lost between two ends of a wire; a tap does not see what a cut takes before it.
        n if n % 2 == 1 || run.history.now().is_broken(run.plan, way[n]) => {
            let n = n | 1;
            let (from, to) = (way[n - 1], way[n]);
            let wire = run.plan.interface(from).wire;
            let what = run.plan.wire(wire);
            let cut = run.history.now().cut_at(run.plan, from).or_else(|| run.history.now().cut_at(run.plan, to));
            let why = match cut {
                Some(CutKind::Carrier) => ": it has no carrier".to_owned(),
                Some(CutKind::Silent) => ": it is cut silently".to_owned(),
                Some(CutKind::Admin) => ": it is down".to_owned(),
                None if what.impairment.loss > 0.0 => format!(": the file gives it a loss of {}", what.impairment.loss),
                None => String::new(),
            };
            let text = format!("{} did not bring packets from {} to {}{why}", what.name, name(from), name(to));
            finding_at_wire(run, to, text)
        }
        n => {
            let mut finding = {
                // A register brings them from one router to another.
                let incoming = (way[n - 1].node == way[n].node).then_some(way[n - 1].interface);
                router(run, stream, way[n].node, incoming, Some(way[n].interface), true)
            };
            // A router forwards by what those below it prune or join: what they believe of it belongs to the reason.
            let below: Vec<NodeId> = way[n + 1..].iter().step_by(2).map(|at| at.node).collect();
            let said = below.into_iter().filter_map(|node| upstream_of(run, node, stream.group)).take(BELOW);
            let said = said.collect::<Vec<_>>().join(", ");
            if !said.is_empty() {
                finding.text = match finding.text.rsplit_once("; capture: ") {
                    Some((text, capture)) => format!("{text}; further down: {said}; capture: {capture}"),
                    None => format!("{}; further down: {said}", finding.text),
                };
            }
            finding
        }
    }
}

/// What a router with PIM believes of the way to a group's sources, if it runs.
fn upstream_of<N: Network>(run: &mut Run<'_, N>, node: NodeId, group: IpAddr) -> Option<String> {
    if !run.plan.node(node).router().is_some_and(|r| r.multicast.is_pim()) || run.history.now().is_dead(node) {
        return None;
    }
    let line = run.network.beliefs(node, group).into_iter().find(|line| line.contains(" upstream for "))?;
    Some(format!("{} {line}", run.name(node)))
}

/// The way that packets should take to a host: the oracle's; without the faults, if these cut it; where the file's own settings stop
/// packets, the shortest path.
fn way<N: Network>(run: &Run<'_, N>, stream: &Stream, host: NodeId) -> Vec<Attachment> {
    let world = run.history.now();
    let mended = world.mended();
    for world in [world, &mended] {
        let way = Flow::of(run.plan, world, stream).map(|flow| flow.way_to(host)).unwrap_or_default();
        if !way.is_empty() {
            return way;
        }
    }
    let hops = [world, &mended].into_iter().map(|world| Paths::of(run.plan, world).way(stream.from, host));
    let hops = hops.into_iter().find(|hops| !hops.is_empty()).unwrap_or_default();
    hops.into_iter().flat_map(|hop| [hop.out, hop.into]).collect()
}

/// A router did not send packets where it should (or sent them where it should not).
pub fn router<N: Network>(
    run: &mut Run<'_, N>,
    stream: &Stream,
    router: NodeId,
    incoming: Option<usize>,
    outgoing: Option<usize>,
    should: bool,
) -> Finding {
    let node = run.plan.node(router);
    let interface = |n: usize| node.interfaces.get(n).map_or_else(|| format!("#{n}"), |i| i.name.clone());
    let flow = run.flow(stream);
    let source = flow.as_ref().map(|f| f.source.to_string()).unwrap_or_default();
    let from = incoming.map(|n| format!(" from {}", interface(n))).unwrap_or_default();
    let to = outgoing.map(|n| format!(" to {}", interface(n))).unwrap_or_default();
    let entries = run.network.entries(router).unwrap_or_default();
    let entry = flow.as_ref().and_then(|flow| entry_of(&entries, flow.source, stream.group));
    let holds = entry.is_some_and(|e| {
        let own = |n: usize| node.interfaces.get(n).map(|interface| interface.ttl_threshold.max(1));
        let leaves = outgoing.is_none_or(|n| e.outgoing.iter().any(|(at, ttl)| *at == n && own(n) == Some(*ttl)));
        leaves && (incoming.is_none() || e.incoming == incoming)
    });
    // What the file itself has against it.
    let of_router = |b: &&crate::oracle::Blocked| {
        b.at.node == router
            && incoming.is_none_or(|n| n == b.at.interface)
            && (b.outgoing.is_none() || b.outgoing == outgoing)
    };
    let blocked = flow.as_ref().and_then(|flow| flow.blocked.iter().find(of_router));
    let should_word = match should {
        // What went wrong is over.
        true if holds && blocked.is_none() => "did not always",
        true => "should",
        false => "should not",
    };
    let mut text = format!("{} {should_word} forward ({source}, {}){from}{to}", node.name, stream.group);
    if let Some(blocked) = blocked {
        text = format!("{text}: {}", blocked.why);
    }
    let kernel = flow.as_ref().map(|f| kernel(run, router, f.source, stream.group));
    let daemon = daemon(run, router, outgoing, stream.group);
    for part in kernel.into_iter().chain(daemon) {
        text = format!("{text}; {part}");
    }
    let wire = outgoing.or(incoming).and_then(|n| node.interfaces.get(n)).map(|i| i.wire);
    let capture = wire.and_then(|wire| run.network.capture(wire));
    Finding {
        text: with_capture(text, capture.as_ref()),
        place: Some(Place {
            node: Some(node.name.clone()),
            incoming: incoming.map(interface),
            outgoing: outgoing.map(interface),
            wire: wire.map(|wire| run.plan.wire(wire).name.clone()),
        }),
        capture,
    }
}

/// The entry that packets of a source take: its own before the group's.
fn entry_of(entries: &[Entry], source: IpAddr, group: IpAddr) -> Option<&Entry> {
    let takes = |e: &&Entry| e.group == group && (e.source == source || e.source.is_unspecified());
    entries.iter().filter(takes).min_by_key(|e| e.source.is_unspecified())
}

/// What a router's kernel holds for a source and a group.
pub fn kernel<N: Network>(run: &mut Run<'_, N>, router: NodeId, source: IpAddr, group: IpAddr) -> String {
    let entries = match run.network.entries(router) {
        Ok(entries) => entries,
        Err(error) => return format!("kernel: {error}"),
    };
    let Some(entry) = entry_of(&entries, source, group) else { return "kernel: no entry".to_owned() };
    let node = run.plan.node(router);
    let interface = |n: usize| node.interfaces.get(n).map_or_else(|| format!("#{n}"), |i| i.name.clone());
    let outgoing: Vec<String> = entry
        .outgoing
        .iter()
        .map(
            |(n, threshold)| {
                if *threshold > 1 { format!("{} (ttl > {threshold})", interface(*n)) } else { interface(*n) }
            },
        )
        .collect();
    let outgoing = if outgoing.is_empty() { "nowhere".to_owned() } else { outgoing.join(", ") };
    let incoming = entry.incoming.map_or_else(|| "another interface".to_owned(), interface);
    let wrong = if entry.wrong_interface > 0 {
        format!(", {} by a wrong interface", entry.wrong_interface)
    } else {
        String::new()
    };
    format!("kernel: from {incoming} to {outgoing}, {} packets{wrong}", entry.packets)
}

/// What a router's daemon says about a group.
fn daemon<N: Network>(run: &mut Run<'_, N>, router: NodeId, outgoing: Option<usize>, group: IpAddr) -> Option<String> {
    let mut says = Vec::new();
    if run.history.now().is_dead(router) {
        return Some("daemon: dead".to_owned());
    }
    if run.history.now().is_stopped(router) {
        return Some("daemon: stopped".to_owned());
    }
    if let (Ok(memberships), Some(n)) = (run.network.memberships(router), outgoing) {
        let interface = run.plan.interface(Attachment { node: router, interface: n }).name.clone();
        says.push(match memberships.iter().find(|m| m.interface == n && m.group == group) {
            Some(known) => format!("member on {interface} ({})", filter(&known.filter)),
            None => format!("no member on {interface}"),
        });
    }
    let told = !says.is_empty();
    let new = |line: &String| !(told && line.contains("member"));
    says.extend(run.network.beliefs(router, group).into_iter().filter(new).take(BELIEFS));
    (!says.is_empty()).then(|| format!("daemon: {}", says.join(", ")))
}

/// Who put a packet onto a wire, or through to a port, where it should not be.
pub fn stray<N: Network>(run: &mut Run<'_, N>, stream: &Stream, wire: WireId, sequence: u64) -> Finding {
    let sightings: Vec<Sighting> = run
        .records
        .sightings(run.network, &stream.name, wire)
        .iter()
        .filter(|s| s.sequence == sequence)
        .copied()
        .collect();
    let flow = run.flow(stream);
    let allowed = |s: &Sighting| {
        let passages = flow.as_ref().map(|f| if s.outbound { &f.outbound } else { &f.inbound });
        passages.and_then(|p| p.get(&s.at)).is_some_and(|p| p.settled > Certainty::No)
    };
    // A sender that should not have sent is to blame before whoever passed it on.
    if let Some(sender) = sightings.iter().find(|s| s.outbound && !allowed(s)) {
        return wrong_sender(run, stream, sender.at, sequence);
    }
    if let Some(port) = sightings.iter().find(|s| !s.outbound && !allowed(s)) {
        return port_of(run, stream, port.at);
    }
    match sightings.iter().find(|s| s.outbound).or(sightings.first()) {
        Some(seen) => {
            let text = format!(
                "by the file, {} should carry it (from {})",
                run.plan.wire(wire).name,
                run.plan.name_of(seen.at)
            );
            finding_at_wire(run, seen.at, text)
        }
        None => Finding::default(),
    }
}

/// A node sent a packet that it should not have sent. If it got it from a router that should not have sent it either, that one.
fn wrong_sender<N: Network>(run: &mut Run<'_, N>, stream: &Stream, at: Attachment, sequence: u64) -> Finding {
    let flow = run.flow(stream);
    let mut at = at;
    // Each router at most once: a loop has no first.
    for _ in 0..run.plan.nodes.len() {
        let came_by = incoming_of(run, stream, at.node, sequence);
        let is_allowed = |at: Attachment| {
            flow.as_ref().is_some_and(|f| f.inbound.get(&at).is_some_and(|p| p.certainty > Certainty::No))
        };
        let Some(came_by) = came_by.filter(|c| !is_allowed(*c)) else {
            break;
        };
        let wire = run.plan.interface(came_by).wire;
        let before = run.records.sightings(run.network, &stream.name, wire).iter();
        match before.filter(|s| s.sequence == sequence && s.outbound && s.at != came_by).map(|s| s.at).next() {
            Some(sender) if sender.node != stream.from => at = sender,
            _ => break,
        }
    }
    if !run.plan.node(at.node).is_router() {
        let text = format!("{} sent it", run.plan.name_of(at));
        return finding_at_wire(run, at, text);
    }
    let incoming = incoming_of(run, stream, at.node, sequence).map(|a| a.interface);
    router(run, stream, at.node, incoming, Some(at.interface), false)
}

/// The interface that a packet reached a node by.
fn incoming_of<N: Network>(run: &mut Run<'_, N>, stream: &Stream, node: NodeId, sequence: u64) -> Option<Attachment> {
    let wires: Vec<WireId> = run.plan.node(node).interfaces.iter().map(|i| i.wire).collect();
    let mut first: Option<Sighting> = None;
    for wire in wires {
        let sightings = run.records.sightings(run.network, &stream.name, wire).iter();
        let here =
            sightings.filter(|s| s.at.node == node && !s.outbound && s.sequence == sequence).min_by_key(|s| s.time);
        first = first.into_iter().chain(here.copied()).min_by_key(|s| s.time);
    }
    first.map(|s| s.at)
}

/// A bridge passed packets to a port that they should not leave by.
pub fn port_of<N: Network>(run: &mut Run<'_, N>, stream: &Stream, at: Attachment) -> Finding {
    let wire = run.plan.interface(at).wire;
    let node = run.plan.node(at.node);
    let nobody = if node.is_router() { "it needs no port there" } else { "no member is there" };
    let source = run.flow(stream).map(|f| f.source.to_string()).unwrap_or_default();
    let text = format!(
        "the bridge of {} should not pass ({source}, {}) to the port of {}: {nobody}",
        run.plan.wire(wire).name,
        stream.group,
        run.plan.name_of(at)
    );
    finding_at_wire(run, at, text)
}

/// Why a host received a packet that it should not have received.
pub fn unwanted<N: Network>(run: &mut Run<'_, N>, stream: &Stream, host: NodeId, sequence: u64) -> Finding {
    let Some(at) = incoming_of(run, stream, host, sequence) else {
        return Finding::text(format!("no tap saw how packet {sequence} reached {}", run.name(host)));
    };
    let allowed = run.flow(stream).is_some_and(|f| f.reaches(host) > Certainty::No);
    if allowed {
        let text = format!("by the file, {} should receive {}", run.name(host), stream.name);
        return finding_at_wire(run, at, text);
    }
    stray(run, stream, run.plan.interface(at).wire, sequence)
}

/// Who multiplied the packets of a range on their way to a host.
pub fn duplicated<N: Network>(run: &mut Run<'_, N>, stream: &Stream, host: NodeId, range: Range<u64>) -> Finding {
    let seen = Seen::of(run, &stream.name, &range);
    // A router that got them twice only passes them on.
    let got_twice = |node: NodeId| {
        let mut ends = (0..run.plan.node(node).interfaces.len()).map(|interface| Attachment { node, interface });
        ends.any(|end| seen.twice(end, false).is_some())
    };
    for wire in run.plan.wire_ids() {
        let ends = run.plan.wire(wire).ends.clone();
        let passed_on = |end: &&Attachment| run.plan.node(end.node).is_router() && got_twice(end.node);
        if ends.iter().any(|end| seen.twice(*end, true).is_some() && passed_on(&end)) {
            continue;
        }
        for end in &ends {
            if let Some(sequence) = seen.twice(*end, true) {
                let text = format!("{} sent packet {sequence} twice", run.plan.name_of(*end));
                return finding_at_wire(run, *end, text);
            }
        }
        let senders_of =
            |sequence: u64| ends.iter().filter(|end| seen.has(**end, true, sequence)).copied().collect::<Vec<_>>();
        let doubled = ends.iter().find_map(|end| seen.twice(*end, false));
        if let Some(sequence) = doubled {
            let senders = senders_of(sequence);
            let names: Vec<String> = senders.iter().map(|at| run.plan.name_of(*at)).collect();
            let name = &run.plan.wire(wire).name;
            let text = if names.len() > 1 {
                format!("{} both send packet {sequence} into {name}", names.join(" and "))
            } else {
                format!("{name} multiplied packet {sequence}")
            };
            return finding_at_wire(run, senders.first().copied().unwrap_or(ends[0]), text);
        }
    }
    Finding::text(format!("no wire carried them twice to {}", run.name(host)))
}

fn place_out<N: Network>(run: &Run<'_, N>, at: Attachment, incoming: Option<String>) -> Place {
    let interface = run.plan.interface(at);
    Place {
        node: Some(run.name(at.node).to_owned()),
        incoming,
        outgoing: Some(interface.name.clone()),
        wire: Some(run.plan.wire(interface.wire).name.clone()),
    }
}

/// A finding about an interface and its wire.
pub fn finding_at_wire<N: Network>(run: &Run<'_, N>, at: Attachment, text: String) -> Finding {
    let capture = run.network.capture(run.plan.interface(at).wire);
    Finding { text: with_capture(text, capture.as_ref()), place: Some(place_out(run, at, None)), capture }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_decide_where_packets_were_lost_and_of_equals_the_first() {
        assert_eq!(where_most([2, 4, 4, 2, 4].into_iter()), Some(4));
        assert_eq!(where_most([4, 2, 4, 2, 6].into_iter()), Some(2));
        assert_eq!(where_most(std::iter::empty()), None);
    }
}
