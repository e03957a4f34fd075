//! What must hold all the time: judged when a scenario has ended, by everything that was seen, against what the scenario's own
//! history permitted at each moment.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::check::latency::pace;
use super::check::wire::is_link_local;
use super::outcome::{Finding, InvariantReport, Place, Verdict};
use super::runner::{Run, Started, millis};
use super::{bounds, explain};
use crate::network::{Network, Sighting, Time};
use crate::oracle::{Certainty, Convergence, Flow, World};
use crate::topology::plan::{Attachment, NodeId, Plan, WireId, WireKind};
use crate::topology::steps::{Invariant, Message, Stream};

/// Findings of one invariant, at most.
const FINDINGS: usize = 8;
/// How long after a leave call a socket may still give a packet.
const SOCKET_GRACE: Duration = Duration::from_millis(100);
/// A snooping bridge floods until it has heard a querier and given members their time to answer.
const SNOOPING_GRACE: Duration = Duration::from_millis(1500);
/// So long after its last query a bridge takes the querier for gone (`multicast_querier_interval`).
const QUERIER_PRESENT: Duration = Duration::from_secs(255);

const ALL: [Invariant; 6] = [
    Invariant::NoDuplicates,
    Invariant::NoStrayData,
    Invariant::TtlFalls,
    Invariant::OnlyMembers,
    Invariant::WellFormed,
    Invariant::BoundedState,
];

/// Where a stream was permitted to go, moment by moment.
struct Permitted {
    spans: Vec<(Time, Flow)>,
    /// When dense mode had not come to rest: packets may flood, and cross a wire more than once.
    unsettled: Vec<(Time, Time)>,
    convergence: Convergence,
    /// By then after a change it is decided who forwards.
    asserts: Duration,
    /// When state refresh may not have come to all routers: prunes and asserts run out.
    hindered: Vec<(Time, Time)>,
    /// When a wire brought frames twice.
    doubled: Vec<(Time, Time)>,
}

impl Permitted {
    fn of<N: Network>(run: &Run<'_, N>, started: &Started) -> Option<Permitted> {
        let (stream, held_up) = (&started.stream, run.network.held_up());
        let convergence = run.convergence;
        let worlds = Permitted::worlds(run, stream, held_up);
        let spans =
            worlds.iter().map(|(from, worlds)| Flow::between(run.plan, worlds, stream).map(|flow| (*from, flow)));
        let spans = spans.collect::<Option<Vec<_>>>()?;
        let pace = pace(stream);
        let settle = convergence.settle(pace) + run.options.slack;
        let mut unsettled = run.history.unsettled(stream.group, settle, held_up);
        unsettled.push((started.at, started.at + settle + held_up));
        // A message that is lost may be missed as long as it is not sent again.
        let again = convergence.prune_limit + settle + held_up;
        // One whose hellos were lost is to be heard again first. It appears then, and the prune that it has sent in the meantime does not
        // hold any more (docs/conformance/pim-dm.md).
        let recovery = convergence.liveness + again;
        unsettled.extend(run.losses.iter().map(|losing| {
            let is_hello = losing.loss.message == Message::PimHello;
            (losing.from, losing.to.map_or(Time(u64::MAX), |to| to + if is_hello { recovery } else { again }))
        }));
        unsettled.extend(run.mistreated.iter().map(|m| (m.from, m.to.map_or(Time(u64::MAX), |to| to + recovery))));
        let drain = run.drain_time();
        let doubled = run.mistreated.iter().filter(|m| m.how.duplicate > 0.0);
        let doubled = doubled.map(|m| (m.from, m.to.map_or(Time(u64::MAX), |to| to + m.how.delay + drain))).collect();
        let asserts = convergence.asserts(pace) + run.options.slack;
        // Prunes ran out on one side, while the other may not repeat them yet (t_limit).
        let hindered = run.history.hindered(settle + convergence.prune_limit + held_up);
        Some(Permitted { spans, unsettled, convergence, asserts, hindered, doubled })
    }

    /// The worlds that permit something from a time on, in order. While messages are lost, so may be those by which rendezvous points are
    /// known, until another bootstrap message has come; and in the beginning bootstrap routers announce whom they have heard so far.
    fn worlds<N: Network>(run: &Run<'_, N>, stream: &Stream, held_up: Duration) -> Vec<(Time, Vec<World>)> {
        let worlds = run.history.permitted(stream.group, held_up);
        let convergence = run.convergence;
        if convergence.rendezvous.is_zero() {
            return worlds;
        }
        let losses = run.losses.iter().map(|losing| (losing.from, losing.to));
        let spans = losses.chain(run.mistreated.iter().map(|mistreated| (mistreated.from, mistreated.to)));
        let recovery = convergence.rendezvous + convergence.liveness.max(convergence.prune_limit) + held_up;
        let mut spans: Vec<(Time, Option<Time>)> = spans.map(|(from, to)| (from, to.map(|to| to + recovery))).collect();
        spans.push((run.began, Some(run.began + convergence.rendezvous + held_up)));
        let mut times: Vec<Time> = worlds.iter().map(|(from, _)| *from).collect();
        times.extend(spans.iter().flat_map(|(from, to)| [Some(*from), *to].into_iter().flatten()));
        times.sort_unstable();
        times.dedup();
        let is_lossy = |at: Time| spans.iter().any(|(from, to)| *from <= at && to.is_none_or(|to| at < to));
        let of = |at: Time| {
            let n = worlds.partition_point(|(from, _)| *from <= at);
            let known = n.checked_sub(1).map(|n| worlds[n].1.clone()).unwrap_or_default();
            if is_lossy(at) { known.iter().map(World::with_announcing_hindered).collect() } else { known }
        };
        times.into_iter().map(|at| (at, of(at))).filter(|(_, worlds)| !worlds.is_empty()).collect()
    }

    fn at(&self, time: Time) -> Option<&Flow> {
        let n = self.spans.partition_point(|(from, _)| *from <= time);
        self.spans.get(n.checked_sub(1)?).map(|(_, flow)| flow)
    }

    /// Whether whatever had to be pruned was pruned by then, and nothing brings it back.
    fn is_pruned_at(&self, time: Time) -> bool {
        self.is_refreshed_at(time) && !self.is_unsettled_at(time)
    }

    fn is_refreshed_at(&self, time: Time) -> bool {
        self.convergence.is_refreshed && !self.hindered.iter().any(|(from, to)| (*from..=*to).contains(&time))
    }

    /// Whether packets that leave an interface may do so as long as nothing is at rest, and no longer.
    fn is_flooded(&self, time: Time, at: Attachment) -> bool {
        self.at(time).and_then(|flow| flow.outbound.get(&at)).is_some_and(|passage| passage.certainty > Certainty::No)
    }

    fn is_unsettled_at(&self, time: Time) -> bool {
        self.unsettled.iter().any(|(from, to)| (*from..=*to).contains(&time))
    }

    fn is_doubled_at(&self, time: Time) -> bool {
        self.doubled.iter().any(|(from, to)| (*from..=*to).contains(&time))
    }

    /// Of the times at which a packet crossed a wire once more, in order, the first for which there is no excuse.
    fn first_without_excuse(&self, times: impl Iterator<Item = Time>) -> Option<Time> {
        // Without state refresh, each assert runs out after its time, and is decided anew.
        let mut decided_again: Option<Time> = None;
        for time in times {
            if self.is_doubled_at(time) {
                continue;
            }
            if self.convergence.is_pim && self.is_unsettled_at(time) {
                decided_again = Some(time);
                continue;
            }
            if !self.convergence.is_pim || self.is_refreshed_at(time) {
                return Some(time);
            }
            match decided_again {
                Some(from) if time <= from + self.asserts => {}
                Some(from) if time < from + self.convergence.assert_time.saturating_sub(self.asserts) => {
                    return Some(time);
                }
                _ => decided_again = Some(time),
            }
        }
        None
    }
}

/// Judges all invariants that the scenario does not switch off.
pub fn judge<N: Network>(run: &mut Run<'_, N>, without: &[Invariant]) -> Vec<InvariantReport> {
    let streams: Vec<(Stream, Option<Permitted>)> =
        run.streams.iter().map(|started| (started.stream.clone(), Permitted::of(run, started))).collect();
    let mut reports = Vec::new();
    for invariant in ALL {
        let mut report = InvariantReport { invariant, verdict: Verdict::Passed, examined: 0, findings: Vec::new() };
        if without.contains(&invariant) {
            report.verdict = Verdict::Skipped;
            reports.push(report);
            continue;
        }
        for (stream, permitted) in &streams {
            match (invariant, permitted) {
                (Invariant::NoDuplicates, Some(permitted)) => no_duplicates(run, stream, permitted, &mut report),
                (Invariant::NoStrayData, Some(permitted)) => no_stray_data(run, stream, permitted, &mut report),
                (Invariant::TtlFalls, Some(permitted)) => ttl_falls(run, stream, permitted, &mut report),
                (Invariant::OnlyMembers, _) => only_members(run, stream, &mut report),
                // Of no stream's, or of one whose sender has no address of its group's family.
                _ => {}
            }
        }
        if invariant == Invariant::NoStrayData {
            no_stray_groups(run, &mut report);
        }
        if invariant == Invariant::WellFormed {
            well_formed(run, &mut report);
        }
        if invariant == Invariant::BoundedState {
            bounds::judge(run, &mut report);
            if report.examined == 0 {
                // No daemon here says what it held.
                continue;
            }
        }
        if !report.findings.is_empty() {
            // Something was there that should not have been: what the measuring side lost cannot excuse it.
            report.verdict = Verdict::Failed;
        }
        report.findings.truncate(FINDINGS);
        reports.push(report);
    }
    reports
}

fn no_duplicates<N: Network>(
    run: &mut Run<'_, N>,
    stream: &Stream,
    permitted: &Permitted,
    report: &mut InvariantReport,
) {
    for wire in run.plan.wire_ids() {
        let mut seen: BTreeMap<(bool, Attachment), Vec<(u64, Time)>> = BTreeMap::new();
        for s in run.records.sightings(run.network, &stream.name, wire) {
            seen.entry((!s.outbound, s.at)).or_default().push((s.sequence, s.time));
            report.examined += 1;
        }
        // Senders come first: who sent twice is to blame before who got it twice.
        for ((inbound, at), mut sequences) in seen {
            sequences.sort_unstable();
            let mut twice: Vec<(Time, u64)> =
                sequences.windows(2).filter(|w| w[0].0 == w[1].0).map(|w| (w[1].1, w[1].0)).collect();
            twice.sort_unstable();
            let Some(from) = permitted.first_without_excuse(twice.iter().map(|(time, _)| *time)) else { continue };
            let inexcusable: BTreeSet<u64> = twice
                .iter()
                .filter(|(time, _)| {
                    *time >= from && !(permitted.convergence.is_pim && permitted.is_unsettled_at(*time))
                })
                .map(|(_, n)| *n)
                .collect();
            let Some(&first) = twice.iter().find(|(time, _)| *time == from).map(|(_, n)| n) else { continue };
            let finding = explain::duplicated(run, stream, at.node, first..first + 1);
            let direction = if inbound { "into" } else { "out of" };
            let text = format!(
                "{} packets of {} went more than once {direction} {}: {}",
                inexcusable.len(),
                stream.name,
                run.plan.name_of(at),
                finding.text
            );
            report.findings.push(Finding { text, ..finding });
            break;
        }
    }
}

/// When a wire hands packets to ports that have no members: a snooping bridge does while it knows no querier, and until members have answered
/// the first query after that.
fn floods<N: Network>(run: &Run<'_, N>, wire: WireId) -> Vec<(Time, Time)> {
    if run.plan.wire(wire).kind != (WireKind::Lan { snooping: true }) {
        return Vec::new();
    }
    let control = run.network.control(wire);
    let queries = control.iter().filter(|s| matches!(s.message, Message::IgmpGeneralQuery | Message::IgmpQuery));
    let mut spans = Vec::new();
    // The first query may have passed before the taps were there.
    let mut known_until = Time::ZERO;
    for query in queries.map(|query| query.time) {
        if query >= known_until {
            spans.push((known_until, query + SNOOPING_GRACE));
        }
        known_until = query + QUERIER_PRESENT;
    }
    if spans.is_empty() {
        spans.push((Time::ZERO, run.began + SNOOPING_GRACE));
    } else {
        spans.push((known_until, Time(u64::MAX)));
    }
    spans
}

fn no_stray_data<N: Network>(
    run: &mut Run<'_, N>,
    stream: &Stream,
    permitted: &Permitted,
    report: &mut InvariantReport,
) {
    let mut strays: BTreeMap<(bool, Attachment), (Sighting, u64)> = BTreeMap::new();
    for wire in run.plan.wire_ids() {
        let floods = floods(run, wire);
        for s in run.records.sightings(run.network, &stream.name, wire) {
            report.examined += 1;
            let Some(flow) = permitted.at(s.time) else { continue };
            let passages = if s.outbound { &flow.outbound } else { &flow.inbound };
            let flooding = !s.outbound && floods.iter().any(|(from, to)| (*from..*to).contains(&s.time));
            let is_permitted = passages.get(&s.at).is_some_and(|p| {
                // What floods for a moment may not go on.
                p.certainty > Certainty::No && (p.settled > Certainty::No || !permitted.is_pruned_at(s.time))
            });
            if !flooding && !is_permitted {
                let stray = strays.entry((!s.outbound, s.at)).or_insert((*s, 0));
                stray.1 += 1;
                if s.time < stray.0.time {
                    stray.0 = *s;
                }
            }
        }
    }
    // Who sent what he should not have sent explains all that got it: ports are to blame only where no sender on the wire is.
    let senders: BTreeSet<WireId> =
        strays.keys().filter(|(inbound, _)| !inbound).map(|(_, at)| run.plan.interface(*at).wire).collect();
    // What was only to be flooded is kept alive by whoever still takes it and passes it on: the last one on the way is to blame.
    let mut kept_alive: BTreeSet<WireId> = BTreeSet::new();
    let routers: Vec<(Attachment, Sighting)> =
        strays.iter().filter(|((inbound, _), _)| !inbound).map(|((_, at), (s, _))| (*at, *s)).collect();
    for (at, first) in routers {
        if permitted.is_flooded(first.time, at) {
            kept_alive.extend(came_by(run, stream, at.node, first.sequence).map(|at| run.plan.interface(at).wire));
        }
    }
    let mut by_time: Vec<(bool, Attachment, Sighting, u64)> =
        strays.into_iter().map(|((i, at), (s, n))| (i, at, s, n)).collect();
    by_time.sort_by_key(|(_, at, s, _)| (s.time, *at));
    for (inbound, at, first, number) in by_time {
        if inbound && senders.contains(&run.plan.interface(at).wire) {
            continue;
        }
        let flow = permitted.at(first.time);
        let finding = if inbound {
            explain::port_of(run, stream, at)
        } else if run.plan.node(at.node).is_router() {
            let incoming = came_by(run, stream, at.node, first.sequence);
            if permitted.is_flooded(first.time, at) {
                if kept_alive.contains(&run.plan.interface(at).wire) {
                    continue;
                }
            } else if incoming.is_some_and(|a| flow.is_some_and(|f| !f.inbound.contains_key(&a))) {
                // Passed on from where it should not have been either: its sender is named already.
                continue;
            }
            explain::router(run, stream, at.node, incoming.map(|a| a.interface), Some(at.interface), false)
        } else {
            explain::finding_at_wire(run, at, format!("{} should not send {}", run.plan.name_of(at), stream.name))
        };
        let after = humantime::format_duration(millis(first.time.since(run.began)));
        let text = format!("{number} packets of {} astray: {}; the first after {after}", stream.name, finding.text);
        report.findings.push(Finding { text, ..finding });
    }
}

/// Frames that are no stream's: what routers forward of them must go where it would go by the file.
fn no_stray_groups<N: Network>(run: &mut Run<'_, N>, report: &mut InvariantReport) {
    let worlds = run.history.ever();
    for wire in run.plan.wire_ids() {
        for count in run.network.group_counts(wire) {
            let sent_by_router = count.outbound && run.plan.node(count.at.node).is_router();
            if count.unstamped == 0
                || is_link_local(count.group)
                || !sent_by_router
                || report.findings.len() >= FINDINGS
            {
                continue;
            }
            report.examined += count.unstamped;
            let Some(origin) = owner_of(run.plan, count.source) else { continue };
            let stream = Stream {
                name: format!("frames without a stamp to {}", count.group),
                from: origin.node,
                interface: origin.interface,
                group: count.group,
                groups: 1,
                port: 0,
                rate: 1.0,
                size: 0,
                ttl: u8::MAX,
                count: None,
                burst: 1,
            };
            let Some(flow) = Flow::between(run.plan, &worlds, &stream) else { continue };
            if !flow.outbound.contains_key(&count.at) {
                let text = format!(
                    "{} forwarded {} frames of no stream from {} to {}, which nobody there should have",
                    run.plan.name_of(count.at),
                    count.unstamped,
                    count.source,
                    count.group
                );
                report.findings.push(explain::finding_at_wire(run, count.at, text));
            }
        }
    }
}

fn owner_of(plan: &Plan, address: std::net::IpAddr) -> Option<Attachment> {
    plan.node_ids().find_map(|node| {
        let interfaces = &plan.node(node).interfaces;
        let interface = interfaces.iter().position(|i| i.addresses.iter().any(|a| a.addr() == address))?;
        Some(Attachment { node, interface })
    })
}

fn came_by<N: Network>(run: &mut Run<'_, N>, stream: &Stream, node: NodeId, sequence: u64) -> Option<Attachment> {
    let wires: Vec<WireId> = run.plan.node(node).interfaces.iter().map(|i| i.wire).collect();
    let mut first: Option<Sighting> = None;
    for wire in wires {
        let here = run.records.sightings(run.network, &stream.name, wire).iter();
        let here =
            here.filter(|s| s.at.node == node && !s.outbound && s.sequence == sequence).min_by_key(|s| s.time).copied();
        first = first.into_iter().chain(here).min_by_key(|s| s.time);
    }
    first.map(|s| s.at)
}

fn ttl_falls<N: Network>(run: &mut Run<'_, N>, stream: &Stream, permitted: &Permitted, report: &mut InvariantReport) {
    let mut wrong: BTreeMap<(bool, Attachment), (Sighting, BTreeSet<u8>)> = BTreeMap::new();
    for wire in run.plan.wire_ids() {
        for s in run.records.sightings(run.network, &stream.name, wire) {
            report.examined += 1;
            let flow = permitted.at(s.time);
            let passage = flow.and_then(|f| if s.outbound { f.outbound.get(&s.at) } else { f.inbound.get(&s.at) });
            // Where it should not be at all, the TTL sent still bounds it.
            let right = passage.map_or(s.ttl <= stream.ttl, |p| p.ttls.contains(&s.ttl));
            if !right {
                let allowed = passage.map_or_else(|| (1..=stream.ttl).collect(), |p| p.ttls.clone());
                wrong.entry((!s.outbound, s.at)).or_insert((*s, allowed));
            }
        }
    }
    // The first place on the way is to blame: senders before receivers, earlier before later.
    let first = wrong.into_iter().min_by_key(|((inbound, _), (s, _))| (s.sequence, *inbound, s.time));
    if let Some(((_, at), (s, allowed))) = first {
        let allowed: Vec<String> = allowed.iter().rev().take(4).map(u8::to_string).collect();
        let direction = if s.outbound { "leaves" } else { "reaches" };
        let text = format!(
            "packet {} of {} {direction} {} with TTL {} instead of {}",
            s.sequence,
            stream.name,
            run.plan.name_of(at),
            s.ttl,
            allowed.join(" or ")
        );
        report.findings.push(explain::finding_at_wire(run, at, text));
        return;
    }
    for host in run.plan.node_ids().filter(|id| !run.plan.node(*id).is_router()) {
        for arrival in run.records.arrivals(run.network, &stream.name, host) {
            report.examined += 1;
            let ttls = permitted.at(arrival.received).and_then(|f| f.receivers.get(&host)).map(|p| &p.ttls);
            if ttls.is_some_and(|ttls| !ttls.contains(&arrival.ttl)) {
                let name = run.plan.node(host).name.clone();
                let text =
                    format!("{name} received packet {} of {} with TTL {}", arrival.sequence, stream.name, arrival.ttl);
                report.findings.push(Finding {
                    place: Some(Place { node: Some(name), ..Place::default() }),
                    ..Finding::text(text)
                });
                break;
            }
        }
    }
}

fn only_members<N: Network>(run: &mut Run<'_, N>, stream: &Stream, report: &mut InvariantReport) {
    let Some(source) = run.plan.interface(explain::origin(stream)).address_like(stream.group) else { return };
    for host in run.plan.node_ids().filter(|id| !run.plan.node(*id).is_router()) {
        let memberships = run.history.memberships(host, stream.group, source);
        let was_member =
            |at: Time| memberships.iter().any(|(from, to)| *from <= at && to.is_none_or(|to| at <= to + SOCKET_GRACE));
        let mut number = 0;
        let mut first = None;
        for arrival in run.records.arrivals(run.network, &stream.name, host) {
            report.examined += 1;
            if !was_member(arrival.received) {
                number += 1;
                first.get_or_insert(*arrival);
            }
        }
        if let Some(first) = first {
            let name = run.plan.node(host).name.clone();
            let text = format!(
                "{name} received {number} packets of {} that it had not joined for, first number {}",
                stream.name, first.sequence
            );
            report
                .findings
                .push(Finding { place: Some(Place { node: Some(name), ..Place::default() }), ..Finding::text(text) });
        }
    }
}

/// Messages of protocols that cannot be read are their sender's defect: receivers drop them without a word.
fn well_formed<N: Network>(run: &mut Run<'_, N>, report: &mut InvariantReport) {
    for wire in run.plan.wire_ids() {
        report.examined += run.network.control_count(wire) as u64;
        for malformed in run.network.malformed(wire) {
            report.examined += malformed.count;
            // What is forwarded may have been broken by a wire that it came by.
            let sender = run.plan.node(malformed.at.node);
            let mut own = sender.loopback.iter().chain(sender.interfaces.iter().flat_map(|i| &i.addresses));
            let forwarded = !own.any(|own| own.addr() == malformed.source);
            if forwarded && run.mistreated.iter().any(|mistreated| mistreated.how.corrupt > 0.0) {
                continue;
            }
            let count = malformed.count;
            let messages = if count == 1 { "a message".to_owned() } else { format!("{count} messages") };
            let text = format!(
                "{} sent {messages} into {} that cannot be read: {} (from {}, first {} after the scenario began)",
                run.plan.name_of(malformed.at),
                run.plan.wire(wire).name,
                malformed.why,
                malformed.source,
                humantime::format_duration(millis(malformed.first.since(run.began)))
            );
            report.findings.push(explain::finding_at_wire(run, malformed.at, text));
        }
    }
}
