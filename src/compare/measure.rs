//! What happens inside a lab: one round of all events, or an hour's share of control messages.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::figure::{Figure, Looks};
use super::roles::Roles;
use crate::lab::Lab;
use crate::lab::protocol::DaemonAction;
use crate::network::kernel::runtime::{KernelNetwork, Places};
use crate::network::{Arrival, ControlSighting, Network, NetworkError, Time};
use crate::topology::plan::{NodeId, Plan};
use crate::topology::steps::{Cut, Message, SourceFilter, Stream};

/// Nothing that is waited for takes longer. The slowest is pimd, which serves a member that had reported before its start only when that reports
/// again: up to a query interval (125 s) and a response interval later, and its joins wait for ticks of 5 s.
const LIMIT: Duration = Duration::from_secs(300);
/// Everything is in order for so long before it is disturbed.
const CALM: Duration = Duration::from_millis(500);
/// Packets sent within so long before now may be on their way.
const ON_THE_WAY: Duration = Duration::from_millis(100);
/// A stream that comes again does so for so long.
const AFTER: Duration = Duration::from_millis(300);
/// Who left, or stopped, is believed after so long without a packet.
const SILENCE: Duration = Duration::from_millis(1500);
/// Packets a second while the member joins: the wait for the next packet is nobody's latency.
const FAST_RATE: f64 = 10_000.0;
/// Packets a second while control messages are counted: enough to keep every state.
const QUIET_RATE: f64 = 10.0;

/// What a round gave.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Round {
    /// A figure each.
    pub looks: Looks,
    /// What may have disturbed them.
    pub doubts: Vec<String>,
}

/// Control messages on all wires in a while.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// How many.
    pub messages: u64,
    /// Octets of them, IP headers not among them.
    pub octets: u64,
    /// The while, in seconds.
    pub seconds: f64,
}

impl Traffic {
    /// Both in an hour.
    pub fn in_an_hour(self) -> Looks {
        let scale = 3600.0 / self.seconds;
        [(Figure::Messages, self.messages), (Figure::Octets, self.octets)]
            .map(|(figure, count)| (figure, Ok(count as f64 * scale)))
            .into()
    }
}

fn text(error: impl ToString) -> String {
    error.to_string()
}

/// Measures these figures once, in the lab that this process runs in; each that cannot be had says why.
///
/// # Errors
/// If nothing at all can be measured.
pub fn round(plan: &Plan, figures: &BTreeSet<Figure>) -> Result<Round, String> {
    let roles = Roles::of(plan).map_err(text)?;
    let lab = Lab::inside().map_err(text)?;
    let mut looks = Looks::new();
    let network = KernelNetwork::open(plan, Places::default(), None).map_err(text)?;
    let mut events = Events { plan, roles: &roles, network };
    // Whatever else is measured, the stream has to flow first.
    match events.cold_start(&lab) {
        Ok(took) => {
            looks.insert(Figure::ColdStart, Ok(took));
        }
        Err(why) => {
            let looks = figures.iter().map(|figure| (*figure, Err(why.clone()))).collect();
            return Ok(Round { looks, doubts: events.network.doubts() });
        }
    }
    for (wanted, measure) in EVENTS {
        if !wanted.iter().any(|figure| figures.contains(figure)) {
            continue;
        }
        match measure(&mut events) {
            Ok(numbers) => looks.extend(wanted.iter().copied().zip(numbers.into_iter().map(Ok))),
            Err(why) => looks.extend(wanted.iter().map(|figure| (*figure, Err(why.clone())))),
        }
    }
    let doubts = events.network.doubts();
    Ok(Round { looks, doubts })
}

/// An event gives the numbers of its figures.
type Event = fn(&mut Events<'_>) -> Result<Vec<f64>, String>;

/// The events after the cold start, in order.
const EVENTS: [(&[Figure], Event); 5] = [
    (&[Figure::CarrierLost, Figure::CarrierOutage], |events| events.carrier()),
    (&[Figure::SilenceLost, Figure::SilenceOutage], |events| events.silence()),
    (&[Figure::Leave], |events| events.leave()),
    (&[Figure::Join], |events| events.join()),
    (&[Figure::SwitchLost, Figure::SwitchDuplicates], |events| events.switchover()),
];

/// The lab under its events.
struct Events<'p> {
    plan: &'p Plan,
    roles: &'p Roles,
    network: KernelNetwork<'p>,
}

impl Events<'_> {
    /// The member has joined, the stream runs; all daemons are killed and started at once. Milliseconds to the first packet.
    fn cold_start(&mut self, lab: &Lab) -> Result<f64, String> {
        let (stream, member) = (&self.roles.stream, self.roles.member);
        self.network.join(member, stream.group, &anyone()).map_err(text)?;
        self.network.start(stream).map_err(text)?;
        let routers: Vec<NodeId> = self.plan.node_ids().filter(|id| self.plan.node(*id).is_router()).collect();
        for &router in &routers {
            self.network.kill(router).map_err(text)?;
        }
        // What was on its way has come.
        self.pass(CALM)?;
        let seen = self.network.arrivals(&stream.name, member).len();
        let start = self.network.now();
        let names = routers.iter().map(|&router| self.plan.node(router).name.as_str());
        std::thread::scope(|scope| {
            let start_one = |name| move || lab.daemon(name, DaemonAction::Start).map_err(text);
            let threads: Vec<_> = names.map(|name| scope.spawn(start_one(name))).collect();
            let mut joined = threads.into_iter().map(|thread| thread.join());
            joined.try_for_each(|ended| ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })?;
        let first = self.first_arrival(&stream.name, seen, "after all daemons had started")?;
        Ok(milliseconds(start, first))
    }

    fn carrier(&mut self) -> Result<Vec<f64>, String> {
        self.failure(&self.roles.carrier.clone(), Duration::ZERO)
    }

    fn silence(&mut self) -> Result<Vec<f64>, String> {
        self.failure(&self.roles.silent.clone(), self.roles.detected_after)
    }

    /// The wire fails and is mended; packets lost, and the longest gap in milliseconds.
    fn failure(&mut self, cut: &Cut, noticed: Duration) -> Result<Vec<f64>, String> {
        let (name, member) = (&self.roles.stream.name, self.roles.member);
        until_settled(&mut self.network, self.roles, &self.roles.stream)?;
        let seen = self.network.arrivals(name, member).len().saturating_sub(1);
        let fault = self.network.fail(cut).map_err(text)?;
        let again = fault + noticed + AFTER;
        let came = self.network.run_until(fault + LIMIT, &mut |network| {
            let last = network.arrivals_from(name, member, seen).last().copied();
            Ok(last.is_some_and(|last| last.sent >= again))
        });
        let after = self.pass(AFTER);
        let arrivals = self.network.arrivals_from(name, member, seen);
        self.network.restore(cut.wire, cut.end).map_err(text)?;
        after?;
        match came.map_err(text)? {
            true => Ok(vec![missing(&arrivals) as f64, longest_gap(&arrivals).as_secs_f64() * 1e3]),
            false => Err(format!("the stream did not come again within {} s", LIMIT.as_secs())),
        }
    }

    /// The member leaves; milliseconds to the last packet on its wire.
    fn leave(&mut self) -> Result<Vec<f64>, String> {
        let (name, campus) = (&self.roles.stream.name, self.roles.campus);
        until_settled(&mut self.network, self.roles, &self.roles.stream)?;
        let seen = self.network.sightings(name, campus).len();
        let call = self.network.leave(self.roles.member, self.roles.stream.group).map_err(text)?;
        let mut last = call;
        let silent = self.network.run_until(call + LIMIT, &mut |network| {
            last = network.sightings_from(name, campus, seen).last().map_or(call, |sighting| sighting.time.max(call));
            Ok(network.now().since(last) >= SILENCE)
        });
        match silent.map_err(text)? {
            true => Ok(vec![milliseconds(call, last)]),
            false => Err(format!("packets still came {} s after the leave", LIMIT.as_secs())),
        }
    }

    /// The member joins a group of which a source sends already, and that nobody has joined before: every router on the way has to act, for what
    /// is left of a tree that was there before differs by daemon. Milliseconds from its report to the first packet.
    fn join(&mut self) -> Result<Vec<f64>, String> {
        let (stream, member, campus) = (self.roles.unjoined_stream(), self.roles.member, self.roles.campus);
        let stream = Stream { rate: FAST_RATE, ..stream };
        self.network.start(&stream).map_err(text)?;
        // It is registered, and the rendezvous point has said that nobody wants it.
        self.pass(CALM * 2)?;
        let call = self.network.join(member, stream.group, &anyone()).map_err(text)?;
        let first = self.first_arrival(&stream.name, 0, "after the join");
        self.network.stop(&stream.name).map_err(text)?;
        self.network.leave(member, stream.group).map_err(text)?;
        let first = first?;
        // The kernel lets some milliseconds pass before it reports: they are nobody's here.
        let control = self.network.control(campus);
        let is_report = |seen: &ControlSighting| seen.is(Message::Igmpv2Report) || seen.is(Message::Igmpv3Report);
        let its = |seen: &&ControlSighting| {
            let is_then = (call..=first).contains(&seen.time);
            is_then && seen.at.node == member && is_report(seen) && seen.groups.contains(&stream.group)
        };
        let report = control.iter().find(its);
        let report = report.ok_or("the member's report was not seen")?;
        Ok(vec![milliseconds(report.time, first)])
    }

    /// Another stream starts with a member that is there already; packets lost and duplicated until it flows by the source's own tree.
    fn switchover(&mut self) -> Result<Vec<f64>, String> {
        let (stream, member) = (self.roles.next_stream(), self.roles.member);
        self.network.join(member, stream.group, &anyone()).map_err(text)?;
        // The shared tree stands.
        self.pass(CALM * 2)?;
        self.network.start(&stream).map_err(text)?;
        let settled = until_settled(&mut self.network, self.roles, &stream);
        self.network.stop(&stream.name).map_err(text)?;
        self.pass(ON_THE_WAY)?;
        self.network.leave(member, stream.group).map_err(text)?;
        settled?;
        let arrivals = self.network.arrivals(&stream.name, member);
        let distinct: BTreeSet<u64> = arrivals.iter().map(|arrival| arrival.sequence).collect();
        Ok(vec![missing(&arrivals) as f64, (arrivals.len() - distinct.len()) as f64])
    }

    fn first_arrival(&mut self, stream: &str, seen: usize, when: &str) -> Result<Time, String> {
        let member = self.roles.member;
        let mut first = None;
        let deadline = self.network.now() + LIMIT;
        let look = &mut |network: &mut KernelNetwork<'_>| {
            first = network.arrivals_from(stream, member, seen).first().map(|arrival| arrival.received);
            Ok(first.is_some())
        };
        self.network.run_until(deadline, look).map_err(text)?;
        first.ok_or_else(|| format!("no packet came within {} s {when}", LIMIT.as_secs()))
    }

    fn pass(&mut self, time: Duration) -> Result<(), String> {
        pass(&mut self.network, time).map_err(text)
    }
}

/// Counts control messages in steady state: the member has joined, a stream of few packets flows.
///
/// # Errors
/// If the stream never flows as it should.
pub fn traffic<N: Network>(network: &mut N, plan: &Plan, window: Duration) -> Result<Traffic, String> {
    let roles = Roles::of(plan).map_err(text)?;
    let stream = Stream { rate: QUIET_RATE, ..roles.stream.clone() };
    network.join(roles.member, stream.group, &anyone()).map_err(text)?;
    network.start(&stream).map_err(text)?;
    until_settled(network, &roles, &stream)?;
    let from = network.now();
    pass(network, window).map_err(text)?;
    let until = network.now();
    let (mut messages, mut octets) = (0, 0);
    for wire in plan.wire_ids() {
        for seen in network.control(wire).iter().filter(|seen| seen.time >= from && seen.time < until) {
            messages += 1;
            octets += seen.length as u64;
        }
    }
    Ok(Traffic { messages, octets, seconds: until.since(from).as_secs_f64() })
}

/// The same in the lab that this process runs in.
///
/// # Errors
/// As [`traffic`].
pub fn traffic_inside(plan: &Plan, window: Duration) -> Result<Traffic, String> {
    let mut network = KernelNetwork::open(plan, Places::default(), None).map_err(text)?;
    traffic(&mut network, plan, window)
}

/// Waits until every packet of a stream reaches the member once, by the wire that is to fail.
fn until_settled<N: Network>(network: &mut N, roles: &Roles, stream: &Stream) -> Result<(), String> {
    let (name, member, direct) = (&stream.name, roles.member, roles.direct());
    let deadline = network.now() + LIMIT;
    loop {
        let begin = network.now();
        let skip = network.sent(name).len();
        let (arrived, seen) = (network.arrivals(name, member).len(), network.sightings(name, direct).len());
        pass(network, CALM).map_err(text)?;
        let until = begin + (CALM - ON_THE_WAY);
        let sent = network.sent_from(name, skip).iter().take_while(|sent| **sent < until).count();
        let sent = skip as u64..(skip + sent) as u64;
        let mut copies: BTreeMap<u64, usize> = BTreeMap::new();
        for arrival in network.arrivals_from(name, member, arrived) {
            *copies.entry(arrival.sequence).or_default() += 1;
        }
        let direct: BTreeSet<u64> =
            network.sightings_from(name, direct, seen).iter().map(|sighting| sighting.sequence).collect();
        let once = sent.clone().filter(|sequence| copies.get(sequence) == Some(&1)).count() as u64;
        let took = sent.clone().filter(|sequence| direct.contains(sequence)).count() as u64;
        let all = sent.end - sent.start;
        if all > 0 && once == all && took == all {
            return Ok(());
        }
        if network.now() >= deadline {
            return Err(format!(
                "the stream did not settle on the shortest way within {} s: of {all} packets {once} came exactly once, {took} took it",
                LIMIT.as_secs()
            ));
        }
    }
}

fn pass<N: Network>(network: &mut N, time: Duration) -> Result<(), NetworkError> {
    let until = network.now() + time;
    network.pass_until(until)
}

fn anyone() -> SourceFilter {
    SourceFilter::Exclude([].into())
}

fn milliseconds(from: Time, to: Time) -> f64 {
    to.since(from).as_secs_f64() * 1e3
}

/// Packets between the first and the last that never came.
fn missing(arrivals: &[Arrival]) -> u64 {
    let sequences: BTreeSet<u64> = arrivals.iter().map(|arrival| arrival.sequence).collect();
    match (sequences.first(), sequences.last()) {
        (Some(first), Some(last)) => last - first + 1 - sequences.len() as u64,
        _ => 0,
    }
}

fn longest_gap(arrivals: &[Arrival]) -> Duration {
    arrivals.windows(2).map(|pair| pair[1].received.since(pair[0].received)).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::simulated::SimulatedNetwork;

    fn arrival(sequence: u64, received: u64) -> Arrival {
        Arrival { sequence, sent: Time(received), received: Time(received), ttl: 12 }
    }

    #[test]
    fn what_is_missing_lies_between_the_first_and_the_last() {
        let arrivals: Vec<Arrival> = [3, 4, 4, 7, 6, 9].map(|n| arrival(n, n * 10)).into();
        assert_eq!(missing(&arrivals), 2, "5 and 8");
        assert_eq!(longest_gap(&arrivals), Duration::from_nanos(30));
        assert_eq!((missing(&[]), longest_gap(&[])), (0, Duration::ZERO));
    }

    #[test]
    fn control_messages_of_an_hour_are_those_of_the_timers() {
        let plan = crate::topology::parse("test.yaml", super::super::roles::tests::FILE).unwrap();
        let mut network = SimulatedNetwork::new(&plan);
        let traffic = traffic(&mut network, &plan, Duration::from_secs(3600)).unwrap();
        assert!((traffic.seconds - 3600.0).abs() < 0.01);
        // Nine interfaces of routers say hello each 30 s, their queriers ask each 125 s, joins go each 60 s on two trees.
        let hellos = 9 * 120;
        assert!(traffic.messages > hellos && traffic.messages < hellos * 3, "{traffic:?}");
        assert!(traffic.octets > traffic.messages * 8, "{traffic:?}");
        let hour = Traffic { seconds: 1800.0, ..traffic }.in_an_hour();
        assert_eq!(hour[&Figure::Messages], Ok(traffic.messages as f64 * 2.0));
    }
}
