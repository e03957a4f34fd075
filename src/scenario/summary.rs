//! What became of each stream, for the report.

use super::explain;
use super::outcome::{ReceiverReport, StreamReport};
use super::runner::Run;
use crate::network::Network;
use crate::topology::plan::NodeId;

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
        let sent = run.records.sent(run.network, &stream.name).to_vec();
        let mut receivers = Vec::new();
        for host in members {
            let arrivals = run.records.arrivals(run.network, &stream.name, host);
            let mut sequences: Vec<u64> = arrivals.iter().map(|a| a.sequence).collect();
            sequences.sort_unstable();
            sequences.dedup();
            let ttls = arrivals.iter().map(|a| a.ttl).collect();
            let copies = arrivals.len() - sequences.len();
            let spanned = sequences.first().zip(sequences.last()).map_or(0, |(first, last)| last - first + 1);
            receivers.push(ReceiverReport {
                host: run.plan.node(host).name.clone(),
                received: sequences.len() as u64,
                lost: spanned - sequences.len() as u64,
                duplicated: copies as u64,
                ttls,
                ..ReceiverReport::default()
            });
        }
        let source = run.plan.interface(explain::origin(&stream)).address_like(stream.group);
        reports.push(StreamReport {
            name: stream.name.clone(),
            from: run.plan.node(stream.from).name.clone(),
            source: source.map(|s| s.to_string()).unwrap_or_default(),
            group: stream.group.to_string(),
            ttl: stream.ttl,
            sent: sent.len() as u64,
            receivers,
        });
    }
    reports
}
