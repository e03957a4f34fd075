//! `delivered` and `not-delivered`.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use super::Judgement;
use crate::network::{Network, NetworkError, Time};
use crate::scenario::explain;
use crate::scenario::outcome::{Figure, Finding, Value};
use crate::scenario::runner::Run;
use crate::topology::plan::NodeId;
use crate::traffic::metrics::Figures;

/// The packets that were sent within a span of time, both ends included.
pub fn sent_within(sent: &[Time], from: Time, to: Time) -> Range<u64> {
    let first = sent.partition_point(|t| *t < from);
    let end = sent.partition_point(|t| *t <= to);
    first as u64..end.max(first) as u64
}

/// Every host gets every packet that is sent from the moment when all of them receive, for `lasting`.
///
/// 'All receive' holds once a packet that was sent since the step began has reached each of them: by then every entry on the way is
/// in place, and the kernel's queue of unresolved packets is behind us.
pub fn delivered<N: Network>(
    run: &mut Run<'_, N>,
    stream: &str,
    to: &[NodeId],
    within: Duration,
    lasting: Duration,
    loss: u64,
    duplicates: u64,
) -> Result<Judgement, NetworkError> {
    let began = run.network.now();
    let Some(started) = run.started(stream).cloned() else { return Ok(not_started(stream)) };
    // A stream of a few packets may be over before its check begins: then all of it counts.
    let is_over =
        |sent: usize| started.stopped.is_some() || started.stream.count.is_some_and(|count| sent as u64 >= count);
    let over_before = is_over(run.records.sent(run.network, stream).len());
    let since = if over_before { started.at } else { began };

    // All receive.
    let mut firsts: Vec<Option<(Time, u64)>> = vec![None; to.len()];
    let mut read = vec![0; to.len()];
    let all_receive = run.wait(began + within, |network, records| {
        for (n, host) in to.iter().enumerate() {
            let arrivals = records.arrivals(network, stream, *host);
            if firsts[n].is_none() {
                firsts[n] = arrivals[read[n]..].iter().find(|a| a.sent >= since).map(|a| (a.received, a.sequence));
                read[n] = arrivals.len();
            }
        }
        Ok(firsts.iter().all(Option::is_some))
    })?;
    if !all_receive {
        let now = run.network.now();
        let sent = run.records.sent(run.network, stream);
        let range = sent_within(sent, since, now);
        let mut judgement = Judgement::default();
        if range.is_empty() {
            judgement.fail(Finding::text(format!("no packet of {stream} was sent within {}", text(within))));
            return Ok(judgement);
        }
        let mut blamed: Vec<(Vec<String>, Finding)> = Vec::new();
        for (host, _) in to.iter().zip(&firsts).filter(|(_, first)| first.is_none()) {
            judgement.figures.push(Figure::at("received", run.name(*host), Value::Packets(0)));
            let finding = explain::missing(run, &started.stream, *host, range.clone());
            let name = run.name(*host).to_owned();
            // Hosts that lack their packets for one and the same reason share a finding.
            match blamed.iter_mut().find(|(_, first)| first.place.is_some() && first.place == finding.place) {
                Some((hosts, _)) => hosts.push(name),
                None => blamed.push((vec![name], finding)),
            }
        }
        for (hosts, mut finding) in blamed {
            finding.text = format!("{} received nothing: {}", hosts.join(", "), finding.text);
            judgement.fail(finding);
        }
        return Ok(judgement);
    }
    let held_at = firsts.iter().flatten().map(|(time, _)| *time).max().unwrap_or(began);

    // The range that is judged.
    let range = if over_before {
        let first = firsts.iter().flatten().map(|(_, sequence)| *sequence).max().unwrap_or(0);
        first..run.records.sent(run.network, stream).len() as u64
    } else {
        let until = held_at + lasting;
        run.wait(until, |network, records| Ok(is_over(records.sent(network, stream).len())))?;
        sent_within(run.records.sent(run.network, stream), held_at, until)
    };
    if range.is_empty() {
        let why = format!("no packet of {stream} was sent in the {} after all had begun to receive", text(lasting));
        return Ok(Judgement::failed(why));
    }

    // What is under way arrives.
    let whole = range.end - range.start;
    let deadline = run.network.now() + run.drain_time();
    run.wait(deadline, |network, records| {
        Ok(to.iter().all(|host| {
            let arrivals = records.arrivals(network, stream, *host);
            // Cheap first: most evaluations end here.
            let in_range = || arrivals.iter().filter(|a| range.contains(&a.sequence));
            in_range().count() as u64 >= whole
                && in_range().map(|a| a.sequence).collect::<BTreeSet<_>>().len() as u64 == whole
        }))
    })?;

    let mut judgement = Judgement::default();
    judgement.figures.push(Figure::new("judged", Value::Packets(whole)));
    judgement.figures.push(Figure::new("all receive after", Value::Span(held_at.since(began))));
    for host in to {
        let figures = Figures::of_range(range.clone(), run.records.arrivals(run.network, stream, *host));
        let (lost, copies) = (figures.lost, figures.duplicated);
        let name = run.name(*host).to_owned();
        judgement.figures.push(Figure::at("lost", &name, Value::Packets(lost)));
        if copies > 0 {
            judgement.figures.push(Figure::at("duplicated", &name, Value::Packets(copies)));
        }
        if let Some(latency) = figures.latency {
            judgement.figures.push(Figure::at("latency p99", &name, Value::Span(latency.p99)));
        }
        if lost > loss {
            let mut finding = explain::missing(run, &started.stream, *host, range.clone());
            let which = match figures.gaps.as_slice() {
                [] => String::new(),
                [one] if one.packets == 1 => format!(" (number {})", one.first),
                [one] => format!(" (numbers {} to {})", one.first, one.first + one.packets - 1),
                [first, ..] => format!(" (in {} gaps, from number {} on)", figures.gap_count, first.first),
            };
            finding.text = format!("{name} lost {lost} of {whole} packets{which}, allowed {loss}: {}", finding.text);
            judgement.fail(finding);
        }
        if copies > duplicates {
            let mut finding = explain::duplicated(run, &started.stream, *host, range.clone());
            finding.text = format!("{name} got {copies} copies too many, allowed {duplicates}: {}", finding.text);
            judgement.fail_for_certain(finding);
        }
    }
    Ok(judgement)
}

/// No host gets any packet that is sent during `lasting`.
pub fn not_delivered<N: Network>(
    run: &mut Run<'_, N>,
    stream: &str,
    to: &[NodeId],
    lasting: Duration,
) -> Result<Judgement, NetworkError> {
    let began = run.network.now();
    let Some(started) = run.started(stream).cloned() else { return Ok(not_started(stream)) };
    let until = began + lasting;
    run.pass_until(until)?;
    let drained = run.network.now() + run.drain_time();
    // Nothing is to come, so there is nothing to wait for but its time.
    run.pass_until(drained)?;
    let range = sent_within(run.records.sent(run.network, stream), began, until);
    let mut judgement = Judgement::default();
    judgement.figures.push(Figure::new("judged", Value::Packets(range.end - range.start)));
    if range.is_empty() {
        judgement.fail(Finding::text(format!(
            "no packet of {stream} was sent in {}: that none arrived proves nothing",
            text(lasting)
        )));
        return Ok(judgement);
    }
    let origin = explain::origin(&started.stream);
    let wire = run.plan.interface(origin).wire;
    let sightings = run.records.sightings(run.network, stream, wire);
    let left = sightings.iter().any(|s| s.at == origin && s.outbound && range.contains(&s.sequence));
    if !left && !run.history.now().is_broken(run.plan, origin) {
        let text = format!(
            "{} was sent, but no tap saw it leave {}: that none arrived proves nothing",
            stream,
            run.plan.name_of(origin)
        );
        judgement.fail(Finding::text(text));
        return Ok(judgement);
    }
    for host in to {
        let arrivals = run.records.arrivals(run.network, stream, *host);
        let received = Figures::of_range(range.clone(), arrivals).received;
        let first = arrivals.iter().map(|a| a.sequence).find(|sequence| range.contains(sequence));
        if let Some(first) = first {
            let name = run.name(*host).to_owned();
            judgement.figures.push(Figure::at("received", &name, Value::Packets(received)));
            let mut finding = explain::unwanted(run, &started.stream, *host, first);
            finding.text =
                format!("{name} received {received} of {} packets: {}", range.end - range.start, finding.text);
            judgement.fail_for_certain(finding);
        }
    }
    Ok(judgement)
}

/// What a check of a stream says that no step has started.
pub fn not_started(stream: &str) -> Judgement {
    Judgement::failed(format!("the stream {stream} has not been started"))
}

fn text(span: Duration) -> String {
    humantime::format_duration(span).to_string()
}
