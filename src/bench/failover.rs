//! PIM dense mode in a diamond: the wire that carries the stream loses its carrier, and the other path is grafted back.
//!
//! What happens inside the lab is done by a process there (`testbed bench failover RATE`), which prints its samples.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use router_core::control::client::{Client, Events};
use router_core::router::EventKind;
use serde::{Deserialize, Serialize};

use super::lab::inside;
use super::{NoFigure, Series, Setting, Target, Unit, networks};
use crate::lab::{self, Lab};
use crate::network::kernel::runtime::{KernelNetwork, Places};
use crate::network::{Arrival, HappeningKind, Network, Time};
use crate::topology::plan::{NodeId, Plan, WireId};
use crate::topology::steps::{Cut, CutKind, Message, SourceFilter, Stream};

/// Failures of each rate.
const FAILURES: usize = 15;
/// Packets a second of the experiments.
const RATES: [u32; 2] = [1000, 10_000];
/// At 1,000 packets a second, fewer than 5 of them may be lost.
const OUTAGE_MS_MAX: f64 = 5.0;
/// Nothing that is waited for here takes longer.
const LIMIT: Duration = Duration::from_secs(30);
/// So long the tree is as it should be before it is disturbed.
const CALM: Duration = Duration::from_millis(300);
/// What is sent so long after a fault arrives, or the fault still lasts.
const AFTER: Duration = Duration::from_millis(200);

/// One failure: when things happened, in milliseconds since the fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// Packets that never reached the member.
    lost: f64,
    /// From the packet before the first by the other path to that one.
    outage: f64,
    /// The route agent read of the carrier.
    news: f64,
    /// The member's router has its route to the source by the other path.
    routes: f64,
    /// It sent its graft there.
    graft: f64,
    /// The source's router gave its kernel the entry that forwards there.
    entry: f64,
    /// The first packet by the other path reached the member.
    packet: f64,
}

/// Samples of a rate.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Failures {
    failures: Vec<Failure>,
    /// What may have disturbed them.
    doubts: Vec<String>,
}

/// At each rate.
pub fn experiment(setting: &Setting, tell: &mut dyn FnMut(&str)) -> Vec<Series> {
    let of_rate = |rate: u32| {
        tell(&format!("dense mode, carrier failure at {rate} packets a second"));
        let samples =
            networks::diamond().and_then(|plan| inside::<Failures>(setting, &plan, &["failover", &rate.to_string()]));
        table(rate, samples)
    };
    RATES.into_iter().flat_map(of_rate).collect()
}

fn table(rate: u32, samples: Result<Failures, NoFigure>) -> Vec<Series> {
    let name = format!("dense mode, the stream's wire loses its carrier, {rate} packets a second");
    let (samples, why_not) = match samples {
        Ok(samples) => (samples, None),
        Err(why) => (Failures::default(), Some(why)),
    };
    let unicast = "fault to the unicast route";
    let series = |what: &str, unit, pick: fn(&Failure) -> f64| Series {
        samples: samples.failures.iter().map(pick).collect(),
        why_not: why_not.clone(),
        ..Series::new(&name, what, unit)
    };
    let time = |what: &str, pick| series(what, Unit::Milliseconds, pick);
    let lost_max = OUTAGE_MS_MAX * f64::from(rate) / 1000.0;
    let mut all = vec![
        series("packets lost", Unit::Packets, |f| f.lost).target(Target::Below(lost_max)),
        time("outage at the member", |f| f.outage).beside(unicast),
        time("fault to the news of the carrier", |f| f.news).beside(unicast),
        time(unicast, |f| f.routes),
        time("fault to the graft", |f| f.graft).beside(unicast),
        time("fault to the forwarding entry", |f| f.entry).beside(unicast),
        time("fault to the first packet", |f| f.packet).beside(unicast),
    ];
    all[0].doubts = samples.doubts;
    all
}

/// The part inside the lab.
///
/// # Errors
/// [`NoFigure`].
pub fn measure(rate: u32) -> Result<Failures, NoFigure> {
    let plan = Lab::inside().and_then(|lab| lab.plan()).map_err(NoFigure::failed)?;
    let mut diamond = Diamond::new(&plan, f64::from(rate))?;
    let mut failures = Failures::default();
    for _ in 0..FAILURES {
        diamond.until_calm()?;
        failures.failures.push(diamond.fail()?);
    }
    failures.doubts = diamond.network.doubts();
    Ok(failures)
}

const STREAM: &str = "bench";

/// The lab of [`networks::diamond`].
struct Diamond<'p> {
    network: KernelNetwork<'p>,
    member: NodeId,
    routers: [NodeId; 4],
    fast: WireId,
    slow_2: WireId,
    /// Events of the source's router.
    events: Events,
    /// Packets of the member that were looked at.
    seen: usize,
}

impl<'p> Diamond<'p> {
    fn new(plan: &'p Plan, rate: f64) -> Result<Diamond<'p>, NoFigure> {
        let node = |name: &str| plan.find_node(name).ok_or_else(|| NoFigure::failed(format!("no {name}")));
        let wire = |name: &str| plan.find_wire(name).ok_or_else(|| NoFigure::failed(format!("no {name}")));
        let socket = Path::new(lab::INSIDE).join(lab::file::NODES).join("r1/control.sock");
        let mut network = KernelNetwork::open(plan, Places::default(), None).map_err(NoFigure::failed)?;
        let member = node("dst")?;
        let group = std::net::Ipv4Addr::new(239, 1, 1, 1).into();
        network.join(member, group, &SourceFilter::Exclude([].into())).map_err(NoFigure::failed)?;
        let stream = Stream {
            name: STREAM.into(),
            from: node("src")?,
            interface: 0,
            group,
            port: 5001,
            rate,
            size: 200,
            ttl: 16,
            count: None,
            burst: 1,
            groups: 1,
        };
        network.start(&stream).map_err(NoFigure::failed)?;
        let events = Client::connect(&socket, LIMIT).and_then(Client::events).map_err(NoFigure::failed)?;
        Ok(Diamond {
            network,
            member,
            routers: [node("r1")?, node("r2")?, node("r3")?, node("r4")?],
            fast: wire("fast")?,
            slow_2: wire("slow-2")?,
            events,
            seen: 0,
        })
    }

    /// Waits until the stream flows by the fast path alone, and has done so for a while.
    fn until_calm(&mut self) -> Result<(), NoFigure> {
        // Interfaces by their index in the list of the node: as the links stand in the file.
        let wanted: [(usize, &[usize]); 4] = [(0, &[1]), (0, &[1]), (0, &[]), (0, &[2])];
        let routers = self.routers;
        let mut since: Option<Time> = None;
        let deadline = self.network.now() + LIMIT;
        let calm = self.network.run_until(deadline, &mut |network| {
            let mut is_so = true;
            for (router, (incoming, outgoing)) in routers.into_iter().zip(wanted) {
                let entries = network.entries(router)?;
                // Where nothing is to be forwarded there may be no entry at all: the next packet is an event.
                is_so &= match entries.first() {
                    Some(entry) if outgoing.is_empty() => entry.outgoing.is_empty(),
                    None => outgoing.is_empty(),
                    Some(entry) => {
                        entry.incoming == Some(incoming)
                            && entry.outgoing.iter().map(|(interface, _)| *interface).eq(outgoing.iter().copied())
                    }
                };
            }
            since = if is_so { since.or(Some(network.now())) } else { None };
            Ok(since.is_some_and(|since| network.now().since(since) >= CALM))
        });
        match calm.map_err(NoFigure::failed)? {
            true => Ok(()),
            false => Err(NoFigure::failed("the tree did not settle on the fast path")),
        }
    }

    /// Fails the wire, waits for the stream, mends the wire.
    fn fail(&mut self) -> Result<Failure, NoFigure> {
        while self.events.try_next().map_err(NoFigure::failed)?.is_some() {}
        // All that was sent so far has arrived, but for what is on its way.
        self.seen += self.network.arrivals_from(STREAM, self.member, self.seen).len().saturating_sub(1);
        let cut = Cut { wire: self.fast, end: None, how: CutKind::Carrier, detected_after: None };
        let fault = self.network.fail(&cut).map_err(NoFigure::failed)?;
        let (member, seen) = (self.member, self.seen);
        let deadline = fault + LIMIT;
        self.network
            .run_until(deadline, &mut |network| {
                let arrivals = network.arrivals_from(STREAM, member, seen);
                Ok(arrivals.last().is_some_and(|last| last.sent >= fault + AFTER))
            })
            .map_err(NoFigure::failed)?
            .then_some(())
            .ok_or_else(|| NoFigure::failed("the stream never came again"))?;
        let arrivals = self.network.arrivals_from(STREAM, member, seen);
        let sightings = self.network.sightings(STREAM, self.slow_2);
        let [_, _, next_to_last, last] = self.routers;
        let by_slow = sightings.iter().find(|seen| seen.time >= fault && seen.outbound && seen.at.node == next_to_last);
        let by_slow = by_slow.ok_or_else(|| NoFigure::failed("no packet took the slow path"))?;
        let Gap { lost, start, end } = gap_before(&arrivals, by_slow.sequence)
            .ok_or_else(|| NoFigure::failed("the first packet by the slow path never arrived"))?;
        let since = |time: Time| time.since(fault).as_secs_f64() * 1e3;
        let happened = |kind, node: Option<NodeId>| {
            let of = |happening: &crate::network::Happening| {
                happening.kind == kind
                    && happening.time >= fault
                    && node.is_none_or(|node| happening.node == Some(node))
            };
            let happenings = self.network.happenings();
            let first = happenings.iter().find(|happening| of(happening)).map(|happening| since(happening.time));
            first.ok_or_else(|| NoFigure::failed(format!("no {kind:?} after the fault")))
        };
        let news = happened(HappeningKind::Carrier, None)?;
        let routes = happened(HappeningKind::Routes, Some(last))?;
        let grafts = self.network.control(self.slow_2);
        let graft = grafts.iter().find(|seen| seen.time >= fault && seen.at.node == last && seen.is(Message::PimGraft));
        let graft = graft.ok_or_else(|| NoFigure::failed("no graft after the fault"))?;
        let entry = self.entry_for_slow(fault)?;
        let failure = Failure {
            lost: lost as f64,
            outage: end.since(start).as_secs_f64() * 1e3,
            news,
            routes,
            graft: since(graft.time),
            entry: since(entry),
            packet: since(end),
        };
        self.network.restore(self.fast, None).map_err(NoFigure::failed)?;
        Ok(failure)
    }

    /// When the source's router first forwarded to the slow path after the fault.
    fn entry_for_slow(&mut self, fault: Time) -> Result<Time, NoFigure> {
        while let Some(event) = self.events.next(LIMIT).map_err(NoFigure::failed)? {
            if event.time >= fault
                && let EventKind::EntryInstalled { outgoing, .. } = &event.kind
                && outgoing.iter().any(|interface| interface == "eth2")
            {
                return Ok(event.time);
            }
        }
        Err(NoFigure::failed("the source's router never forwarded to the slow path"))
    }
}

/// What a failure did to what arrived.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Gap {
    lost: u64,
    start: Time,
    end: Time,
}

/// The time without a packet before the first one by the other path, and the packets that are missing of all from the first to the last.
/// `sequence` is the first that took it; the member's router may have lost that one still, and some after it, by the entry that it had.
///
/// A gap need not cost a packet: kernels keep some for an entry that is on its way.
fn gap_before(arrivals: &[Arrival], sequence: u64) -> Option<Gap> {
    let at = arrivals.iter().position(|arrival| arrival.sequence >= sequence)?;
    let before = arrivals.get(at.checked_sub(1)?)?;
    let sequences: BTreeSet<u64> = arrivals.iter().map(|arrival| arrival.sequence).collect();
    let lost = sequences.last()? - sequences.first()? + 1 - sequences.len() as u64;
    Some(Gap { lost, start: before.received, end: arrivals[at].received })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(sequence: u64, received: u64) -> Arrival {
        Arrival { sequence, sent: Time(received), received: Time(received), ttl: 12 }
    }

    #[test]
    fn a_gap_ends_with_the_first_packet_by_the_other_path_whatever_it_cost() {
        let mut arrivals: Vec<Arrival> = (0..10).map(|n| arrival(n, n * 10)).collect();
        arrivals.extend((14..20).map(|n| arrival(n, n * 10)));
        assert_eq!(gap_before(&arrivals, 14), Some(Gap { lost: 4, start: Time(90), end: Time(140) }));
        assert_eq!(gap_before(&arrivals, 12), gap_before(&arrivals, 14), "the first ones were lost");
        assert_eq!(gap_before(&arrivals, 20), None, "none has come yet");
        assert_eq!(gap_before(&arrivals, 0), None, "nothing came before it");
        let kept: Vec<Arrival> = (0..10).map(|n| arrival(n, if n < 5 { n } else { 50 + n })).collect();
        assert_eq!(gap_before(&kept, 5), Some(Gap { lost: 0, start: Time(4), end: Time(55) }));
    }

    #[test]
    fn fewer_than_five_of_a_thousand_is_said_at_each_rate() {
        let failures = Failures { failures: vec![Failure { lost: 40.0, ..Failure::default() }], doubts: Vec::new() };
        let all = table(10_000, Ok(failures));
        assert_eq!(all[0].target, Some(Target::Below(50.0)));
        assert!(all.iter().all(|series| series.samples.len() == 1 && series.why_not.is_none()));
    }
}
