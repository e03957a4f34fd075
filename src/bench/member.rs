//! A member behind three routers: from its join, and from the routers' start, to its first packet.
//!
//! What happens inside the lab is done by a process there (`testbed bench member-...`), which prints its samples.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};

use super::lab::inside;
use super::{NoFigure, Series, Setting, Target, Unit, networks};
use crate::lab::Lab;
use crate::lab::protocol::DaemonAction;
use crate::network::Time;
use crate::network::kernel::namespace;
use crate::network::notifier::Notifier;
use crate::observe::entries::Reader;
use crate::observe::filter;
use crate::sys::netns;
use crate::sys::packet::{Frame, Ring, Shape};
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
    /// To the graft that the source's router hears, where there is one.
    graft_ms: Vec<f64>,
    /// To the first packet.
    packet_ms: Vec<f64>,
    /// What may have disturbed them.
    doubts: Vec<String>,
}

impl Joins {
    /// From the reports to what came of them.
    fn after_reports(&self, other: &[f64]) -> Vec<f64> {
        other.iter().zip(&self.report_ms).map(|(other, report)| other - report).collect()
    }
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
            series[2].samples = joins.after_reports(&joins.packet_ms);
            series[1].samples = joins.packet_ms;
            series[1].doubts = joins.doubts;
            series[0].samples = joins.report_ms;
        }
        Err(why) => series.iter_mut().for_each(|series| series.why_not = Some(why.clone())),
    }
    series.into()
}

/// The same where nothing reaches the last router before its graft is with the first, beside static trees.
pub fn grafts(setting: &Setting, tell: &mut dyn FnMut(&str)) -> Vec<Series> {
    tell("graft latency");
    let name = "graft across three routers of dense mode, 10,000 packets a second";
    let peer = "with static trees, report to the first packet";
    let mut series = [
        Series::new(name, "report to the graft at the first router", Unit::Milliseconds).beside(peer),
        Series::new(name, "report to the first packet", Unit::Milliseconds)
            .beside(peer)
            .target(Target::AtMost(AFTER_REPORT_MS_MAX)),
        Series::new(name, peer, Unit::Milliseconds),
    ];
    match networks::dense_chain().and_then(|plan| inside::<Joins>(setting, &plan, &["member-grafts"])) {
        Ok(joins) => {
            series[0].samples = joins.after_reports(&joins.graft_ms);
            series[1].samples = joins.after_reports(&joins.packet_ms);
            series[1].doubts = joins.doubts;
        }
        Err(why) => series[..2].iter_mut().for_each(|series| series.why_not = Some(why.clone())),
    }
    match networks::tree("fast-leave: true").and_then(|plan| inside::<Joins>(setting, &plan, &["member-joins"])) {
        Ok(joins) => {
            series[2].samples = joins.after_reports(&joins.packet_ms);
            series[2].doubts = joins.doubts;
        }
        Err(why) => series[2].why_not = Some(why),
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

    fn leave(&mut self) -> Result<(), NoFigure> {
        self.traffic.leave(&self.place, self.interface, GROUP).map(drop).map_err(NoFigure::failed)
    }

    /// A ring that sees the host's reports.
    fn reports(&self) -> Result<Ring, NoFigure> {
        control_ring(&self.place.name, self.interface)
    }

    /// Joins, and notes when the report went and the first packet came. Gives the time of the call.
    fn measure_join(&mut self, joins: &mut Joins, reports: &mut Ring, clock: Offset) -> Result<Time, NoFigure> {
        reports.drain(usize::MAX, |_| {});
        let call = self.join()?;
        let packet = self.first_packet()?;
        let report = first_frame(reports, clock, |frame| frame.outgoing && is_report(frame.octets))?;
        joins.packet_ms.push(packet.since(call).as_secs_f64() * 1e3);
        joins.report_ms.push(report.since(call).as_secs_f64() * 1e3);
        Ok(call)
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
    let mut reports = member.reports()?;
    let mut joins = Joins::default();
    for _ in 0..JOINS {
        member.until_silence()?;
        member.measure_join(&mut joins, &mut reports, clock)?;
        member.leave()?;
    }
    joins.doubts = member.traffic.doubts();
    Ok(joins)
}

/// The part inside the lab of [`grafts`].
///
/// # Errors
/// [`NoFigure`].
pub fn measure_grafts() -> Result<Joins, NoFigure> {
    let plan = Lab::inside().and_then(|lab| lab.plan()).map_err(NoFigure::failed)?;
    let mut member = Member::new(&plan, JOIN_RATE)?;
    let clock = Offset::measure();
    let mut reports = member.reports()?;
    let (first, at) = first_graft_end(&plan)?;
    let mut grafts = control_ring(&first, at)?;
    let mut entries = Reader::open(&namespace::place(&first)).map_err(NoFigure::failed)?;
    let mut joins = Joins::default();
    // Once through: the routers know each other from now on.
    member.join()?;
    member.first_packet()?;
    member.leave()?;
    for _ in 0..JOINS {
        member.until_silence()?;
        until_pruned(&mut entries)?;
        grafts.drain(usize::MAX, |_| {});
        let call = member.measure_join(&mut joins, &mut reports, clock)?;
        let graft = first_frame(&mut grafts, clock, |frame| !frame.outgoing && is_graft(frame.octets))?;
        joins.graft_ms.push(graft.since(call).as_secs_f64() * 1e3);
        member.leave()?;
    }
    joins.doubts = member.traffic.doubts();
    Ok(joins)
}

/// The first router, and the kernel index of its interface that grafts come in by.
fn first_graft_end(plan: &Plan) -> Result<(String, u32), NoFigure> {
    let wire = plan.find_wire("first").ok_or_else(|| NoFigure::failed("no first wire"))?;
    let end = plan.wire(wire).ends.first().ok_or_else(|| NoFigure::failed("a wire without ends"))?;
    Ok((plan.node(end.node).name.clone(), plan.interface(*end).index))
}

/// Waits until a router forwards nothing.
fn until_pruned(entries: &mut Reader) -> Result<(), NoFigure> {
    let deadline = Instant::now() + LIMIT;
    while !entries.read().map_err(NoFigure::failed)?.iter().all(|entry| entry.outgoing.is_empty()) {
        if Instant::now() > deadline {
            return Err(NoFigure::failed("the tree was never pruned"));
        }
        // Kernels do not tell of changed entries.
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// What IGMP and PIM say on an interface; no data frame.
fn control_ring(node: &str, interface: u32) -> Result<Ring, NoFigure> {
    let nobody = IpAddr::V4(Ipv4Addr::new(239, 255, 255, 255));
    let shape = Shape { slots: 512, slot_size: 256 };
    let open = || Ring::open(interface, &filter::multicast(128, Some(nobody)), shape);
    netns::within(&namespace::place(node), open).and_then(|ring| ring).map_err(NoFigure::failed)
}

/// When the first frame of a kind came since the last call.
fn first_frame(ring: &mut Ring, clock: Offset, is_wanted: impl Fn(&Frame) -> bool) -> Result<Time, NoFigure> {
    loop {
        let mut first = None;
        ring.drain(usize::MAX, |frame| {
            if is_wanted(&frame) {
                first.get_or_insert(clock.to_monotonic(frame.realtime));
            }
        });
        if let Some(first) = first {
            return Ok(first);
        }
        let mut fds = [PollFd::new(ring.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::from(5000u16)) {
            Ok(0) => return Err(NoFigure::failed("a packet came, but no message that asked for it was seen")),
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(NoFigure::failed(error)),
        }
    }
}

/// Whether an Ethernet frame is a PIM graft.
fn is_graft(octets: &[u8]) -> bool {
    octets.get(23) == Some(&103) && octets.get(34) == Some(&0x26)
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

    #[test]
    fn grafts_are_told_from_other_pim() {
        let frame = |protocol: u8, kind: u8| {
            let mut octets = vec![0; 14];
            octets.extend([0x45, 0, 0, 24, 0, 0, 0, 0, 1, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, kind, 0, 0, 0]);
            octets
        };
        assert!(is_graft(&frame(103, 0x26)));
        assert!(!is_graft(&frame(103, 0x27)), "its acknowledgement");
        assert!(!is_graft(&frame(2, 0x26)), "not PIM");
        assert!(!is_graft(&frame(103, 0x26)[..34]), "cut short");
    }
}
