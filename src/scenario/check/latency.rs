//! `outage`, `join-latency` and `leave-latency`: how long something takes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::Judgement;
use super::delivery::{not_started, sent_within};
use super::timeline::Timeline;
use crate::network::{Arrival, Network, NetworkError, Time};
use crate::oracle::Deadlines;
use crate::scenario::explain;
use crate::scenario::outcome::{Figure, Finding, Place, Value, Verdict};
use crate::scenario::runner::{Run, millis};
use crate::topology::plan::{NodeId, WireId};
use crate::topology::steps::Stream;

/// The time between two packets (bursts) of a stream.
pub fn interval(stream: &Stream) -> Duration {
    Duration::try_from_secs_f64(f64::from(stream.burst.max(1)) / stream.rate).unwrap_or(Duration::from_secs(1))
}

/// The time between two packets of a stream to the same group.
pub fn pace(stream: &Stream) -> Duration {
    interval(stream) * stream.groups.max(1)
}

/// The longest gap at each host since the last fault lies below a bound.
///
/// Packets that were under way, or passed before the fault took hold, do not end an outage that is still to come: the check looks at
/// least until `below` after the fault, and then until each host receives, at most `within`.
pub fn outage<N: Network>(
    run: &mut Run<'_, N>,
    stream: &str,
    at: &[NodeId],
    below: Duration,
    within: Duration,
) -> Result<Judgement, NetworkError> {
    let (began, held_up) = (run.network.now(), run.network.held_up());
    let Some(started) = run.started(stream).cloned() else { return Ok(not_started(stream)) };
    let Some(fault) = run.last_fault else {
        return Ok(Judgement::failed("nothing has failed yet: there is no outage to measure"));
    };
    let interval = interval(&started.stream);
    let settled = fault + below + 4 * interval;
    let deadline = (began + within).max(settled);
    let flows = run.wait(deadline, |network, records| {
        let now = network.now();
        Ok(now >= settled
            && at.iter().all(|host| {
                let last = records.arrivals(network, stream, *host).last();
                last.is_some_and(|a| {
                    a.received > fault && now.since(a.received) <= 4 * interval.max(Duration::from_millis(5))
                })
            }))
    })?;
    let now = run.network.now();
    let mut judgement = Judgement::default();
    let mut firsts = Vec::new();
    for host in at {
        let name = run.name(*host).to_owned();
        let arrivals = run.records.arrivals(run.network, stream, *host);
        let Some(last_before) = arrivals.iter().rev().find(|a| a.received <= fault).copied() else {
            judgement.fail(Finding::text(format!("{name} had received nothing of {stream} before the fault")));
            continue;
        };
        let silent = !flows
            && !arrivals
                .iter()
                .any(|a| a.received > fault && now.since(a.received) <= 4 * interval.max(Duration::from_millis(5)));
        let gap = if silent {
            let start = arrivals.last().map_or(last_before.received, |last| last.received);
            let sent = sent_within(run.records.sent(run.network, stream), start, now);
            Gap { start, end: now, lost: sent.end - sent.start }
        } else {
            let gap = longest_gap(arrivals, last_before, fault);
            firsts.extend((gap.lost > 0).then_some((gap.end, *host)));
            gap
        };
        judgement.figures.push(Figure::at("outage", &name, Value::Span(gap.length())));
        judgement.figures.push(Figure::at("lost", &name, Value::Packets(gap.lost)));
        if silent {
            let sent = run.records.sent(run.network, stream);
            let range = sent_within(sent, gap.start, now);
            let mut finding = explain::missing(run, &started.stream, *host, range);
            finding.text = format!(
                "{name} receives nothing since {} after the fault: {}",
                spell(gap.start.since(fault)),
                finding.text
            );
            judgement.fail(finding);
        } else if gap.length() >= below {
            judgement.fail(Finding {
                place: Some(Place { node: Some(name.clone()), ..Place::default() }),
                ..Finding::text(format!(
                    "{name} was without {stream} for {}, allowed below {}",
                    spell(gap.length()),
                    spell(below)
                ))
            });
        }
    }
    let held_up = run.held_up_since(held_up);
    if judgement.verdict == Verdict::Failed && held_up > Duration::from_millis(50) {
        // Whoever repairs a path needs what others held.
        judgement.verdict = Verdict::Inconclusive;
        judgement
            .findings
            .push(Finding::text(format!("cannot be judged: the network was held up for {}", spell(held_up))));
    }
    let timeline = Timeline::of(run, fault, started.stream.group, firsts);
    if let Some(reaction) = timeline.agent_reaction() {
        judgement.figures.push(Figure::new("unicast routes moved in", Value::Span(reaction)));
    }
    judgement.figures.extend(timeline.parts(run));
    judgement.timeline = timeline.moments(run);
    Ok(judgement)
}

struct Gap {
    start: Time,
    end: Time,
    /// Packets that were lost in it.
    lost: u64,
}

impl Gap {
    fn length(&self) -> Duration {
        self.end.since(self.start)
    }
}

/// The longest time in which packets were lost, of those that reach past a fault; of no length if none was. A time without packets in which
/// none was lost is only its sender's pause.
fn longest_gap(arrivals: &[Arrival], last_before: Arrival, fault: Time) -> Gap {
    let mut longest = Gap { start: fault, end: fault, lost: 0 };
    let mut last = (last_before.received, last_before.sequence);
    for arrival in arrivals.iter().filter(|a| a.received > fault) {
        let lost = arrival.sequence.saturating_sub(last.1 + 1);
        let gap = Gap { start: last.0, end: arrival.received, lost };
        if lost > 0 && gap.length() > longest.length() {
            longest = gap;
        }
        last = (arrival.received, arrival.sequence.max(last.1));
    }
    longest
}

/// From each host's last join of the stream's group to its first packet.
pub fn join_latency<N: Network>(
    run: &mut Run<'_, N>,
    stream: &str,
    at: &[NodeId],
    below: Duration,
) -> Result<Judgement, NetworkError> {
    let Some(started) = run.started(stream).cloned() else { return Ok(not_started(stream)) };
    let mut joins = BTreeMap::new();
    for call in run.joins.iter().filter(|c| c.group == started.stream.group && at.contains(&c.host)) {
        joins.insert(call.host, (call.time, call.held_up));
    }
    let mut judgement = Judgement::default();
    for host in at.iter().filter(|host| !joins.contains_key(host)) {
        judgement.fail(Finding::text(format!("{} has not joined {}", run.name(*host), started.stream.group)));
    }
    // A packet that arrives too late tells more than none.
    let latest = joins.values().map(|(time, _)| *time).max().unwrap_or_default() + below;
    let deadline = latest.max(run.network.now()) + run.drain_time();
    let mut firsts: BTreeMap<NodeId, Time> = BTreeMap::new();
    run.wait(deadline, |network, records| {
        for (host, (join, _)) in &joins {
            if !firsts.contains_key(host)
                && let Some(first) = records.arrivals(network, stream, *host).iter().find(|a| a.received >= *join)
            {
                firsts.insert(*host, first.received);
            }
        }
        Ok(firsts.len() == joins.len())
    })?;
    for (host, (join, held_up)) in joins {
        let below = below + run.held_up_since(held_up);
        let name = run.name(host).to_owned();
        match firsts.get(&host) {
            Some(first) => {
                let latency = first.since(join);
                judgement.figures.push(Figure::at("join latency", &name, Value::Span(latency)));
                if latency >= below {
                    judgement.fail(Finding {
                        place: Some(Place { node: Some(name.clone()), ..Place::default() }),
                        ..Finding::text(format!(
                            "{name} got its first packet {} after its join, allowed below {}",
                            spell(latency),
                            spell(below)
                        ))
                    });
                }
            }
            None => {
                let now = run.network.now();
                let range = sent_within(run.records.sent(run.network, stream), join, now);
                if range.is_empty() {
                    judgement.fail(Finding::text(format!("no packet of {stream} was sent after {name} had joined")));
                } else {
                    let mut finding = explain::missing(run, &started.stream, host, range);
                    finding.text = format!("{name} got no packet after its join: {}", finding.text);
                    judgement.fail(finding);
                }
            }
        }
    }
    Ok(judgement)
}

/// From the last leave of a group on a wire to the last packet there.
pub fn leave_latency<N: Network>(
    run: &mut Run<'_, N>,
    wire: WireId,
    group: IpAddr,
    below: Duration,
) -> Result<Judgement, NetworkError> {
    let name = run.plan.wire(wire).name.clone();
    let here = |host: NodeId| run.plan.wire(wire).ends.iter().any(|end| end.node == host);
    let calls: Vec<_> = run.leaves.iter().filter(|c| c.group == group && here(c.host)).copied().collect();
    let leaves: Vec<Time> = calls.iter().map(|c| c.time).collect();
    let (Some(&left), Some(held_up)) = (leaves.last(), calls.last().map(|c| c.held_up)) else {
        return Ok(Judgement::failed(format!("nobody on {name} has left {group}")));
    };
    let streams: Vec<Stream> = run.streams.iter().map(|s| &s.stream).filter(|s| s.group == group).cloned().collect();
    let Some(pace) = streams.iter().map(interval).min() else {
        return Ok(Judgement::failed(format!("nothing has been sent to {group}: there is no last packet to measure")));
    };
    let remaining: Vec<NodeId> = run.history.now().members(group).filter(|host| here(*host)).collect();
    if let Some(host) = remaining.first() {
        return Ok(Judgement::failed(format!("{} on {name} is still a member of {group}", run.name(*host))));
    }
    // The wire has to be silent for some packets' time after the deadline, so that the last packet is known to be the last.
    let silence = (10 * pace).clamp(Duration::from_millis(200), Duration::from_secs(5));
    let deadline = (left + below).max(run.network.now()) + silence;
    run.pass_until(deadline)?;
    let below = below + run.held_up_since(held_up);
    run.pass_until(deadline.max(left + below + silence))?;
    let mut last: Option<(Time, String, u64)> = None;
    let mut before = 0;
    let mut sent_after = 0;
    for stream in &streams {
        // On the sender's own wire its frames never end: only what routers send there counts.
        let own = run.plan.node(stream.from).interfaces.iter().any(|i| i.wire == wire);
        for s in run.records.sightings(run.network, &stream.name, wire) {
            if own && (!s.outbound || s.at.node == stream.from) {
                continue;
            }
            if s.time <= left {
                before += 1;
            }
            if last.as_ref().is_none_or(|(time, _, _)| s.time > *time) {
                last = Some((s.time, stream.name.clone(), s.sequence));
            }
        }
        let end = last.as_ref().map_or(left, |(time, _, _)| *time).max(left);
        let sent = run.records.sent(run.network, &stream.name);
        sent_after += sent.len() - sent.partition_point(|t| *t <= end);
    }
    let mut judgement = Judgement::default();
    let Some((time, stream, sequence)) = last.filter(|_| before > 0) else {
        return Ok(Judgement::failed(format!(
            "{name} carried nothing to {group} before the leave: there is no last packet to measure"
        )));
    };
    let latency = time.since(left);
    judgement.figures.push(Figure::at("leave latency", &name, Value::Span(latency)));
    if latency >= below {
        let stream = streams.iter().find(|s| s.name == stream);
        let mut finding = stream.map_or_else(Finding::default, |stream| explain::stray(run, stream, wire, sequence));
        finding.text = format!(
            "{name} carried {group} until {} after the leave, allowed below {}: {}",
            spell(latency),
            spell(below),
            finding.text
        );
        judgement.fail_for_certain(finding);
        return Ok(judgement);
    }
    if sent_after == 0 {
        judgement.fail(Finding::text(format!(
            "nothing was sent to {group} after the last packet on {name}: the streams ended, not the membership"
        )));
    }
    // Never before: whoever else may want the group has its time to say so.
    let world = run.history.now();
    if let Some(least) = Deadlines::new(run.plan, world).leave_at_least(wire)
        && run.last_fault.is_none_or(|fault| fault < left)
    {
        // Leaves that follow one another share the queries of the first.
        let first =
            leaves.iter().rev().fold(left, |first, leave| if first.since(*leave) <= least { *leave } else { first });
        let kept = time.since(first);
        if kept + 2 * pace + Duration::from_millis(10) < least {
            judgement.fail(Finding {
                place: Some(Place { wire: Some(name.clone()), ..Place::default() }),
                ..Finding::text(format!(
                    "{name} lost {group} {} after the leave, before the last member query time of {} had passed",
                    spell(kept),
                    spell(least)
                ))
            });
        }
    }
    Ok(judgement)
}

fn spell(span: Duration) -> String {
    humantime::format_duration(millis(span)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time(millis * 1_000_000)
    }

    fn arrivals(of: &[(u64, u64)]) -> Vec<Arrival> {
        of.iter().map(|&(sequence, ms)| Arrival { sequence, sent: at(ms), received: at(ms), ttl: 9 }).collect()
    }

    #[test]
    fn an_outage_is_the_longest_time_in_which_packets_were_lost() {
        // The fault comes at 25 ms; 3 and 4 are lost, then one more; the sender's pause of 500 ms is none.
        let seen = arrivals(&[(1, 10), (2, 20), (5, 50), (7, 70), (8, 570), (9, 580)]);
        let gap = longest_gap(&seen, seen[1], at(25));
        assert_eq!((gap.start, gap.end, gap.lost), (at(20), at(50), 2));
    }

    #[test]
    fn where_nothing_was_lost_there_was_no_outage() {
        let seen = arrivals(&[(1, 10), (2, 20), (3, 530), (5, 540), (4, 541)]);
        assert_eq!(longest_gap(&seen[..3], seen[1], at(25)).length(), Duration::ZERO);
        assert_eq!(longest_gap(&seen, seen[1], at(25)).lost, 1, "what comes late was missed for a moment");
    }
}
