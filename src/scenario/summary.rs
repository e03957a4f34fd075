//! What became of each stream, for the report.

use std::time::Duration;

use super::explain;
use super::outcome::{ReceiverReport, StreamReport};
use super::runner::{Call, Run};
use crate::network::{Network, Time};
use crate::topology::plan::{NodeId, WireId};
use crate::topology::steps::Stream;
use crate::traffic::metrics::{self, Figures};

/// A report of every stream and of every host that was a member of its group at some time.
pub fn streams<N: Network>(run: &mut Run<'_, N>) -> Vec<StreamReport> {
    let streams: Vec<_> = run.streams.iter().map(|s| s.stream.clone()).collect();
    let mut reports = Vec::new();
    for stream in streams {
        let members: Vec<NodeId> = run
            .plan
            .node_ids()
            .filter(|id| run.joins.iter().any(|c| c.host == *id && c.group == stream.group))
            .collect();
        let sent = run.records.sent(run.network, &stream.name).len() as u64;
        let mut receivers = Vec::new();
        for host in members {
            let joined = run.joins.iter().rfind(|c| c.host == host && c.group == stream.group).map(|c| c.time);
            let arrivals = run.records.arrivals(run.network, &stream.name, host);
            receivers.push(ReceiverReport {
                host: run.plan.node(host).name.clone(),
                figures: Figures::of_seen(arrivals),
                join_latency: joined.and_then(|joined| metrics::join_latency(joined, arrivals)),
                leave_latency: leave_latency(run, &stream, host),
            });
        }
        let source = run.plan.interface(explain::origin(&stream)).address_like(stream.group);
        reports.push(StreamReport {
            name: stream.name.clone(),
            from: run.plan.node(stream.from).name.clone(),
            source: source.map(|s| s.to_string()).unwrap_or_default(),
            group: stream.group.to_string(),
            ttl: stream.ttl,
            sent,
            receivers,
        });
    }
    reports
}

/// Leave call to the last packet on the host's wire; none while it is a member, or if another host was one there after its leave.
fn leave_latency<N: Network>(run: &mut Run<'_, N>, stream: &Stream, host: NodeId) -> Option<Duration> {
    let last =
        |calls: &[Call], of: NodeId| calls.iter().rfind(|c| c.host == of && c.group == stream.group).map(|c| c.time);
    let left = last(&run.leaves, host)?;
    let wires: Vec<WireId> = run.plan.node(host).interfaces.iter().map(|interface| interface.wire).collect();
    let members = wires.iter().flat_map(|&wire| &run.plan.wire(wire).ends).map(|end| end.node);
    let others_gone = members.into_iter().all(|member| match (last(&run.joins, member), last(&run.leaves, member)) {
        (None, _) => true,
        (Some(joined), Some(gone)) => joined < gone && gone <= left,
        (Some(_), None) => false,
    });
    if !others_gone {
        return None;
    }
    let seen: Vec<Time> = wires
        .iter()
        .flat_map(|&wire| {
            run.records.sightings(run.network, &stream.name, wire).iter().map(|s| s.time).collect::<Vec<_>>()
        })
        .collect();
    metrics::leave_latency(left, seen)
}
