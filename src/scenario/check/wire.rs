//! `quiet`, `seen` and `querier`: what crosses a wire.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::Judgement;
use crate::network::{ControlSighting, Network, NetworkError, Time};
use crate::oracle::{self, Deadlines};
use crate::scenario::explain;
use crate::scenario::outcome::{Figure, Finding, Place, Value};
use crate::scenario::runner::{Run, millis};
use crate::topology::plan::{NodeId, WireId};
use crate::topology::steps::{Message, Stream};

/// How long a querier must have been alone before it counts as elected.
const SETTLED: Duration = Duration::from_millis(500);

/// A silence counts before its time only if so many packets were sent into it: else it may be a pause of the stream.
const SENT_INTO_SILENCE: u64 = 10;

/// From some moment within `within` on, no packet of the group crosses the wire for `lasting`.
pub fn quiet<N: Network>(
    run: &mut Run<'_, N>,
    wire: WireId,
    group: Option<IpAddr>,
    within: Duration,
    lasting: Duration,
) -> Result<Judgement, NetworkError> {
    let (began, held_up) = (run.network.now(), run.network.held_up());
    let streams: Vec<Stream> =
        run.streams.iter().map(|s| &s.stream).filter(|s| group.is_none_or(|g| g == s.group)).cloned().collect();
    let mut silent_since = began;
    let mut read: Vec<usize> = vec![0; streams.len()];
    let early = run.wait(began + within, |network, records| {
        for (stream, read) in streams.iter().zip(&mut read) {
            let seen = records.sightings(network, &stream.name, wire);
            silent_since = seen[*read..].iter().map(|s| s.time).fold(silent_since, Time::max);
            *read = seen.len();
        }
        let now = network.now();
        let into_it = |stream: &Stream| {
            let sent = records.sent(network, &stream.name);
            let range = super::delivery::sent_within(sent, silent_since, now);
            range.end - range.start
        };
        Ok(now.since(silent_since) > lasting && streams.iter().map(into_it).sum::<u64>() >= SENT_INTO_SILENCE)
    })?;
    let from = if early { silent_since + Duration::from_nanos(1) } else { began + within + run.held_up_since(held_up) };
    let to = if early { run.network.now() } else { from + lasting };
    run.pass_until(to)?;
    let mut judgement = Judgement::default();
    judgement.figures.push(Figure::new("silent after", Value::Span(from.since(began))));
    let mut sent = 0;
    let mut ever = 0;
    for stream in &streams {
        let times = run.records.sent(run.network, &stream.name);
        ever += times.len();
        let range = super::delivery::sent_within(times, from, to);
        sent += range.end - range.start;
    }
    judgement.figures.push(Figure::new("sent meanwhile", Value::Packets(sent)));
    if ever == 0 {
        let what = group.map_or_else(|| "nothing".to_owned(), |g| format!("nothing to {g}"));
        judgement.fail(Finding::text(format!("{what} has been sent: that the wire is quiet proves nothing")));
        return Ok(judgement);
    }
    for stream in &streams {
        let seen = run.records.sightings(run.network, &stream.name, wire);
        let first = seen.iter().filter(|s| s.time >= from && s.time <= to).min_by_key(|s| s.time).copied();
        if let Some(first) = first {
            let number = seen
                .iter()
                .filter(|s| s.time >= from && s.time <= to && s.outbound == first.outbound && s.at == first.at)
                .count();
            let name = run.plan.wire(wire).name.clone();
            judgement.figures.push(Figure::at("frames", &name, Value::Packets(number as u64)));
            let mut finding = explain::stray(run, stream, wire, first.sequence);
            finding.text = format!(
                "{name} carries {} ({number} packets from {} after the step began on): {}",
                stream.name,
                humantime::format_duration(millis(first.time.since(began))),
                finding.text
            );
            judgement.fail_for_certain(finding);
        }
    }
    // Frames without a stamp count too, wherever they come from.
    for count in run.network.group_counts(wire) {
        if count.unstamped > 0
            && !is_link_local(count.group)
            && count.last >= from
            && count.last <= to
            && group.is_none_or(|g| g == count.group)
        {
            let at = run.plan.name_of(count.at);
            judgement.fail_for_certain(Finding::text(format!(
                "{} carries frames of no stream, from {} to {}, at {at}",
                run.plan.wire(wire).name,
                count.source,
                count.group
            )));
        }
    }
    Ok(judgement)
}

/// Whether a group is for the link alone: protocols' messages, not data (RFC 5771 §4, RFC 4291 §2.7).
pub fn is_link_local(group: IpAddr) -> bool {
    match group {
        IpAddr::V4(group) => group.octets()[..3] == [224, 0, 0],
        IpAddr::V6(group) => matches!(group.segments()[0] & 0xff0f, 0xff01 | 0xff02),
    }
}

/// Which messages `seen` counts.
#[derive(Debug)]
pub struct Wanted {
    /// What kind.
    pub message: Message,
    /// Who sent it.
    pub from: Option<NodeId>,
    /// What group it is about.
    pub group: Option<IpAddr>,
    /// How many of them.
    pub count: u64,
}

impl Wanted {
    fn fits(&self, seen: &ControlSighting) -> bool {
        self.from.is_none_or(|node| node == seen.at.node)
            && self.group.map_or_else(|| seen.is(self.message), |group| seen.is_about(self.message, group))
    }
}

/// At least so many messages are seen in time: counted from the scenario's start or from the step's, in time from the step's.
pub fn seen<N: Network>(
    run: &mut Run<'_, N>,
    wire: WireId,
    wanted: &Wanted,
    within: Duration,
    since_start: bool,
) -> Result<Judgement, NetworkError> {
    let began = run.network.now();
    let since = if since_start { run.began } else { began };
    let deadline = began + within;
    let fitting = move |sightings: &[ControlSighting]| {
        sightings.iter().filter(|s| s.time >= since && s.time <= deadline && wanted.fits(s)).count() as u64
    };
    // What was in time counts though it became known a little later.
    let patience = deadline + run.options.drain;
    let held = run.wait(patience, |network, _| Ok(fitting(&network.control(wire)) >= wanted.count))?;
    let sightings = run.network.control(wire);
    let number = fitting(&sightings);
    let mut judgement = Judgement::default();
    judgement.figures.push(Figure::new("seen", Value::Count(number)));
    if !held {
        let mut kinds: BTreeMap<(Message, &str), u64> = BTreeMap::new();
        for sighting in sightings.iter().filter(|s| s.time >= since) {
            *kinds.entry((sighting.message, run.name(sighting.at.node))).or_default() += 1;
        }
        let others: Vec<String> = kinds.iter().map(|((m, node), n)| format!("{n} {} from {node}", m.name())).collect();
        let others = if others.is_empty() { "no message at all".to_owned() } else { others.join(", ") };
        let name = &run.plan.wire(wire).name;
        let message = wanted.message.name();
        let text = match wanted.from {
            Some(from) => format!("{} sent {number} of {} wanted {message} into {name}", run.name(from), wanted.count),
            None => format!("{name} carried {number} of {} wanted {message}", wanted.count),
        };
        let text = format!("{text}; seen there: {others}");
        judgement.fail(Finding {
            text: explain::with_capture(text, run.network.capture(wire).as_ref()),
            place: Some(Place {
                node: wanted.from.map(|n| run.name(n).to_owned()),
                wire: Some(name.clone()),
                ..Place::default()
            }),
            capture: run.network.capture(wire),
        });
    }
    Ok(judgement)
}

/// Who queries a wire, by the queries on it: the last one is from `is`, and nobody else has queried for a moment.
pub fn querier<N: Network>(
    run: &mut Run<'_, N>,
    wire: WireId,
    is: NodeId,
    within: Duration,
) -> Result<Judgement, NetworkError> {
    let began = run.network.now();
    let expected = oracle::querier(run.plan, run.history.now(), wire);
    // A node that the oracle does not expect must stay querier to the end: what an election leaves for a moment is no result.
    let settle = if expected == Some(is) { SETTLED } else { within };
    let dead_since = run.last_fault;
    let mut last: Option<(NodeId, Time)> = None;
    let held = run.wait(began + within + SETTLED, |network, _| {
        let now = network.now();
        let queries = network.control(wire);
        let mut queries = queries.iter().filter(|s| s.message.is_igmp_query()).rev();
        let Some(newest) = queries.next() else { return Ok(false) };
        last = Some((newest.at.node, newest.time));
        // Since its first query after the last of anybody else.
        let alone_since = queries.take_while(|s| s.at.node == is).last().map_or(newest.time, |s| s.time);
        let alone = now.since(if expected == Some(is) { alone_since } else { alone_since.max(began) });
        Ok(newest.at.node == is && alone >= settle)
    })?;
    let mut judgement = Judgement::default();
    let name = run.plan.wire(wire).name.clone();
    if let Some((node, time)) = last {
        judgement.figures.push(Figure::at("last query from", run.name(node), Value::Span(time.since(run.began))));
    }
    if held {
        // Never before: a successor waits until the dead querier has been silent for the other querier present interval.
        let deadlines = Deadlines::new(run.plan, run.history.now());
        if let (Some(fault), Some(least)) = (dead_since, deadlines.other_querier_present_at_least(wire)) {
            let queries = run.network.control(wire);
            let before = queries
                .iter()
                .rfind(|s| s.message.is_igmp_query() && s.at.node != is && run.history.now().is_dead(s.at.node));
            let first = before
                .and_then(|b| queries.iter().find(|s| s.message.is_igmp_query() && s.at.node == is && s.time > b.time));
            if let (Some(before), Some(first)) = (before, first)
                && first.time > fault
                && first.time.since(before.time) + run.options.drain < least
                // One that has been started since owes it nothing.
                && run.last_restart.is_none_or(|restart| restart < before.time)
            {
                judgement.fail_for_certain(Finding::text(format!(
                    "{} took over {} after the last query of {}; the other querier present interval is {}",
                    run.name(is),
                    humantime::format_duration(millis(first.time.since(before.time))),
                    run.name(before.at.node),
                    humantime::format_duration(least)
                )));
            }
        }
        return Ok(judgement);
    }
    let seen = match last {
        None => "no query was seen there".to_owned(),
        Some((node, _)) => format!("the last query came from {}", run.name(node)),
    };
    let by_address = match expected {
        Some(node) if node != is => format!("; {} has the lowest address", run.name(node)),
        Some(_) => String::new(),
        None => "; no router there should query".to_owned(),
    };
    let text = format!("{} is not the querier of {name}: {seen}{by_address}", run.name(is));
    let interface = run.plan.wire(wire).ends.iter().find(|e| e.node == is).map(|e| run.plan.interface(*e).name.clone());
    judgement.fail(Finding {
        text: explain::with_capture(text, run.network.capture(wire).as_ref()),
        place: Some(Place {
            node: Some(run.name(is).to_owned()),
            outgoing: interface,
            wire: Some(name),
            ..Place::default()
        }),
        capture: run.network.capture(wire),
    });
    Ok(judgement)
}
