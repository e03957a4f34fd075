//! `scope`: who is reached at each TTL.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Judgement;
use super::delivery::sent_within;
use crate::network::{Network, NetworkError};
use crate::oracle::Certainty;
use crate::scenario::explain;
use crate::scenario::outcome::{Figure, Finding, Value};
use crate::scenario::runner::Run;
use crate::topology::plan::NodeId;
use crate::topology::steps::Stream;

/// After all have received, the streams go on for at least so long: whoever should not receive gets his chance to.
const AFTERWARDS: Duration = Duration::from_millis(300);

struct Probe {
    stream: Stream,
    must: BTreeSet<NodeId>,
    may: BTreeSet<NodeId>,
}

/// At each TTL, exactly the hosts that the oracle says, or that the file lists, receive. All TTLs are sent side by side.
pub fn scope<N: Network>(
    run: &mut Run<'_, N>,
    stream: &Stream,
    ttls: &[u8],
    reached: &BTreeMap<u8, Vec<NodeId>>,
    within: Duration,
) -> Result<Judgement, NetworkError> {
    let began = run.network.now();
    let mut probes = Vec::new();
    for &ttl in ttls {
        let stream = Stream { name: format!("{}-ttl{ttl}", stream.name), ttl, count: None, ..stream.clone() };
        let Some(flow) = run.flow(&stream) else {
            return Ok(Judgement::failed(format!("{} has no address of the group's family", run.name(stream.from))));
        };
        let (must, may) = match reached.get(&ttl) {
            Some(hosts) => (hosts.iter().copied().collect::<BTreeSet<_>>(), hosts.iter().copied().collect()),
            None => (
                flow.must_receive().map(|(host, _)| host).collect(),
                flow.receivers.iter().filter(|(_, p)| p.certainty >= Certainty::Maybe).map(|(host, _)| *host).collect(),
            ),
        };
        run.start(&stream)?;
        probes.push(Probe { stream, must, may });
    }
    let all_reached = run.wait(began + within, |network, records| {
        Ok(probes.iter().all(|probe| {
            !records.sent(network, &probe.stream.name).is_empty()
                && probe.must.iter().all(|host| !records.arrivals(network, &probe.stream.name, *host).is_empty())
        }))
    })?;
    // At least ten packets of each TTL while all entries are in place.
    let packets =
        Duration::try_from_secs_f64(10.0 * f64::from(stream.burst.max(1)) / stream.rate).unwrap_or(AFTERWARDS);
    let afterwards = run.network.now() + packets.max(AFTERWARDS);
    run.pass_until(afterwards)?;
    for probe in &probes {
        run.stop(&probe.stream.name)?;
    }
    let drained = run.network.now() + run.drain_time();
    run.pass_until(drained)?;

    let mut judgement = Judgement::default();
    let hosts: Vec<NodeId> =
        run.plan.node_ids().filter(|id| !run.plan.node(*id).is_router() && *id != stream.from).collect();
    for probe in &probes {
        let ttl = probe.stream.ttl;
        let name = &probe.stream.name;
        let mut got = Vec::new();
        for &host in &hosts {
            let first = run.records.arrivals(run.network, name, host).first().copied();
            let host_name = run.name(host).to_owned();
            match first {
                Some(arrival) if !probe.may.contains(&host) => {
                    let mut finding = explain::unwanted(run, &probe.stream, host, arrival.sequence);
                    finding.text = format!("TTL {ttl} should not reach {host_name}, but does: {}", finding.text);
                    judgement.fail_for_certain(finding);
                }
                None if probe.must.contains(&host) => {
                    let now = run.network.now();
                    let range = sent_within(run.records.sent(run.network, name), began, now);
                    let mut finding = if range.is_empty() {
                        Finding::text("no packet was sent")
                    } else {
                        explain::missing(run, &probe.stream, host, range)
                    };
                    finding.text = format!("TTL {ttl} should reach {host_name}: {}", finding.text);
                    judgement.fail(finding);
                }
                _ => {}
            }
            if first.is_some() {
                got.push(host_name);
            }
        }
        let got = if got.is_empty() { "nobody".to_owned() } else { got.join(", ") };
        judgement.figures.push(Figure::new(&format!("TTL {ttl}"), Value::Text(got)));
    }
    if all_reached {
        judgement.figures.push(Figure::new(
            "all receive after",
            Value::Span(afterwards.since(began).saturating_sub(packets.max(AFTERWARDS))),
        ));
    }
    Ok(judgement)
}
