//! What became of each stream, for the report.

use super::explain;
use super::outcome::{ReceiverReport, StreamReport};
use super::runner::Run;
use crate::network::Network;
use crate::topology::plan::NodeId;
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
