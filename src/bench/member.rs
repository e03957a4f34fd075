//! A member behind three routers with static trees: from its join, and from the routers' start, to its first packet.
//!
//! What happens inside the lab is done by a process there (`testbed bench member-...`), which prints its samples.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};

use super::lab::inside;
use super::{NoFigure, Series, Setting, Target, Unit, networks};
use crate::lab::Lab;
use crate::lab::protocol::DaemonAction;
use crate::network::Time;
use crate::network::kernel::namespace;
use crate::network::notifier::Notifier;
use crate::observe::filter;
use crate::sys::netns;
use crate::sys::packet::{Ring, Shape};
use crate::topology::plan::{NodeId, Plan};
use crate::topology::steps::SourceFilter;
use crate::traffic::clock::Offset;
use crate::traffic::stamp::StreamId;
use crate::traffic::{Place, StreamSpec, Traffic};

/// Joins, and packets a second, of the join experiment.
const JOINS: usize = 30;
const JOIN_RATE: f64 = 10_000.0;
/// What the first packet may come later than the host's report.
const AFTER_REPORT_MS_MAX: f64 = 1.0;
/// Starts of the cold start experiment, and packets a second.
const STARTS: usize = 30;
const START_RATE: f64 = 1000.0;
/// Nothing that is measured here takes longer.
const LIMIT: Duration = Duration::from_secs(60);
/// For so long nothing arrives when a group is left, or the routers are dead.
const SILENCE: Duration = Duration::from_millis(50);

/// Samples of a join: milliseconds from the call.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Joins {
    /// To the host's IGMP report on its wire.
    report_ms: Vec<f64>,
    /// To the first packet.
    packet_ms: Vec<f64>,
    /// What may have disturbed them.
    doubts: Vec<String>,
}

/// Samples of a start: milliseconds to the first packet.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Starts {
    packet_ms: Vec<f64>,
    /// What may have disturbed them.
    doubts: Vec<String>,
}

/// Join latency at 10,000 packets a second, beside the kernel's own report delay in the same run.
pub fn joins(setting: &Setting, tell: &mut dyn FnMut(&str)) -> Vec<Series> {
    tell("join latency");
    let name = "join across three routers, 10,000 packets a second";
    let mut series = [
        Series::new(name, "join to the host's report", Unit::Milliseconds),
        Series::new(name, "join to the first packet", Unit::Milliseconds),
        Series::new(name, "report to the first packet", Unit::Milliseconds).target(Target::AtMost(AFTER_REPORT_MS_MAX)),
    ];
    match networks::tree("fast-leave: true").and_then(|plan| inside::<Joins>(setting, &plan, &["member-joins"])) {
        Ok(joins) => {
            series[2].samples = joins.packet_ms.iter().zip(&joins.report_ms).map(|(p, r)| p - r).collect();
            series[1].samples = joins.packet_ms;
            series[1].doubts = joins.doubts;
            series[0].samples = joins.report_ms;
        }
        Err(why) => series.iter_mut().for_each(|series| series.why_not = Some(why.clone())),
    }
    series.into()
}

/// Cold start of all three daemons, with this project's Max Resp Code in startup queries and with the RFC's.
pub fn starts(setting: &Setting, tell: &mut dyn FnMut(&str)) -> Vec<Series> {
    let name = "cold start of three routers to the member's first packet, default timers";
    let variants = [("startup queries answered within 0.1 s", ""), ("within 10 s, as the RFC has it", RFC_STARTUP)];
    let measure = |(what, igmp): (&str, &str)| {
        tell(&format!("cold start: {what}"));
        let mut series = Series::new(name, what, Unit::Milliseconds);
        match networks::tree(igmp).and_then(|plan| inside::<Starts>(setting, &plan, &["member-starts"])) {
            Ok(starts) => (series.samples, series.doubts) = (starts.packet_ms, starts.doubts),
            Err(why) => series.why_not = Some(why),
        }
        series
    };
    variants.map(measure).into()
}

const RFC_STARTUP: &str = "startup-query-response-interval: 10s";

/// The member's side, inside the lab.
struct Member {
    traffic: Traffic,
    notifier: Arc<Notifier>,
    place: Place,
    interface: u32,
    stream: StreamId,
    seen: usize,
}

const GROUP: IpAddr = IpAddr::V4(Ipv4Addr::new(239, 1, 1, 1));

impl Member {
    fn new(plan: &Plan, rate: f64) -> Result<Member, NoFigure> {
        let host = |name: &str| -> Result<(Place, u32), NoFigure> {
            let id = plan.find_node(name).ok_or_else(|| NoFigure::failed(format!("no {name}")))?;
            let index = plan.node(id).interfaces.first().map_or(0, |interface| interface.index);
            Ok((Place { host: id, name: name.to_owned(), netns: Some(namespace::place(name)) }, index))
        };
        let notifier = Arc::new(Notifier::new());
        let mut traffic = Traffic::new(Arc::clone(&notifier)).map_err(NoFigure::failed)?;
        let (source, out) = host("src")?;
        let spec = StreamSpec {
            name: "bench".into(),
            interface: out,
            source: None,
            group: GROUP,
            groups: 1,
            port: 5001,
            rate,
            size: 200,
            ttl: 16,
            count: None,
            burst: 1,
        };
        let stream = traffic.start(&source, &spec).map_err(NoFigure::failed)?;
        let (place, interface) = host("dst")?;
        Ok(Member { traffic, notifier, place, interface, stream, seen: 0 })
    }

    fn join(&mut self) -> Result<Time, NoFigure> {
        let anyone = SourceFilter::Exclude(BTreeSet::new());
        self.traffic.join(&self.place, self.interface, GROUP, &anyone).map_err(NoFigure::failed)
    }

    fn host(&self) -> NodeId {
        self.place.host
    }

    /// When the first packet came that was not seen yet.
    fn first_packet(&mut self) -> Result<Time, NoFigure> {
        let deadline = self.traffic.now() + LIMIT;
        loop {
            let generation = self.notifier.generation();
            if let Some(first) = self.traffic.arrivals(self.stream, self.host(), self.seen).first() {
                return Ok(first.received);
            }
            let left = deadline.since(self.traffic.now());
            if left.is_zero() {
                return Err(NoFigure::failed(format!("no packet in {} s", LIMIT.as_secs())));
            }
            self.notifier.wait(generation, left);
        }
    }

    /// Waits until nothing has come for a while, and takes all that came as seen.
    fn until_silence(&mut self) -> Result<(), NoFigure> {
        let deadline = self.traffic.now() + LIMIT;
        loop {
            let before = self.traffic.arrived(self.stream, self.host());
            let quiet_at = self.traffic.now() + SILENCE;
            loop {
                let generation = self.notifier.generation();
                let left = quiet_at.since(self.traffic.now());
                if left.is_zero() || self.traffic.arrived(self.stream, self.host()) > before {
                    break;
                }
                self.notifier.wait(generation, left);
            }
            if self.traffic.arrived(self.stream, self.host()) == before {
                self.seen = before;
                return Ok(());
            }
            if deadline.since(self.traffic.now()).is_zero() {
                return Err(NoFigure::failed("packets keep coming though nobody should pass them on"));
            }
        }
    }
}

/// The part inside the lab of [`joins`].
///
/// # Errors
/// [`NoFigure`].
pub fn measure_joins() -> Result<Joins, NoFigure> {
    let plan = Lab::inside().and_then(|lab| lab.plan()).map_err(NoFigure::failed)?;
    let mut member = Member::new(&plan, JOIN_RATE)?;
    let clock = Offset::measure();
    // No data frame: only what IGMP says.
    let nobody = IpAddr::V4(Ipv4Addr::new(239, 255, 255, 255));
    let path = namespace::place("dst");
    let shape = Shape { slots: 512, slot_size: 256 };
    let open = || Ring::open(member.interface, &filter::multicast(128, Some(nobody)), shape);
    let mut ring = netns::within(&path, open).and_then(|ring| ring).map_err(NoFigure::failed)?;
    let mut joins = Joins::default();
    for _ in 0..JOINS {
        member.until_silence()?;
        ring.drain(usize::MAX, |_| {});
        let call = member.join()?;
        let packet = member.first_packet()?;
        let report = first_report(&mut ring, clock)?;
        joins.packet_ms.push(packet.since(call).as_secs_f64() * 1e3);
        joins.report_ms.push(report.since(call).as_secs_f64() * 1e3);
        member.traffic.leave(&member.place, member.interface, GROUP).map_err(NoFigure::failed)?;
    }
    joins.doubts = member.traffic.doubts();
    Ok(joins)
}

/// When the host's first report since the last call went.
fn first_report(ring: &mut Ring, clock: Offset) -> Result<Time, NoFigure> {
    loop {
        let mut first = None;
        ring.drain(usize::MAX, |frame| {
            if frame.outgoing && is_report(frame.octets) {
                first.get_or_insert(clock.to_monotonic(frame.realtime));
            }
        });
        if let Some(first) = first {
            return Ok(first);
        }
        let mut fds = [PollFd::new(ring.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::from(5000u16)) {
            Ok(0) => return Err(NoFigure::failed("a packet came, but no report was seen")),
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(NoFigure::failed(error)),
        }
    }
}

/// Whether an Ethernet frame is an IGMP version 1, 2 or 3 report.
fn is_report(octets: &[u8]) -> bool {
    let Some(packet) = octets.get(14..) else { return false };
    let header = packet.first().map_or(0, |first| usize::from(first & 0xf) * 4);
    packet.get(9) == Some(&2) && matches!(packet.get(header), Some(0x12 | 0x16 | 0x22))
}

/// The part inside the lab of [`starts`].
///
/// # Errors
/// [`NoFigure`].
pub fn measure_starts() -> Result<Starts, NoFigure> {
    let lab = Lab::inside().map_err(NoFigure::failed)?;
    let plan = lab.plan().map_err(NoFigure::failed)?;
    let routers: Vec<&str> = plan.nodes.iter().filter(|n| n.is_router()).map(|n| n.name.as_str()).collect();
    let mut member = Member::new(&plan, START_RATE)?;
    member.join()?;
    member.first_packet()?;
    let mut starts = Starts::default();
    for _ in 0..STARTS {
        for router in &routers {
            lab.daemon(router, DaemonAction::Kill).map_err(NoFigure::failed)?;
        }
        member.until_silence()?;
        let start = member.traffic.now();
        let started: Result<(), NoFigure> = std::thread::scope(|scope| {
            let start_one = |router: &&str| lab.daemon(router, DaemonAction::Start).map_err(NoFigure::failed);
            let threads: Vec<_> = routers.iter().map(|router| scope.spawn(move || start_one(router))).collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        started?;
        let packet = member.first_packet()?;
        starts.packet_ms.push(packet.since(start).as_secs_f64() * 1e3);
    }
    starts.doubts = member.traffic.doubts();
    Ok(starts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_told_from_queries_and_data() {
        let frame = |protocol: u8, kind: u8| {
            let mut octets = vec![0; 14];
            octets.extend([0x46, 0, 0, 36, 0, 0, 0, 0, 1, protocol, 0, 0, 10, 0, 0, 1, 224, 0, 0, 22, 148, 4, 0, 0]);
            octets.extend([kind, 0, 0, 0]);
            octets
        };
        assert!(is_report(&frame(2, 0x22)) && is_report(&frame(2, 0x16)));
        assert!(!is_report(&frame(2, 0x11)), "a query");
        assert!(!is_report(&frame(17, 0x22)), "data");
        assert!(!is_report(&frame(2, 0x22)[..30]), "cut short");
    }
}
