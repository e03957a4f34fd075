//! Draws what happens in a run: a scenario in the file's own language, so that what a run finds is a file.
//!
//! Phases follow one another: some disturbances at random moments, a rest as long as the protocols need (see [`super::rest`]), then checks
//! of what the oracle says must be delivered, in the world as the disturbances left it. In the end all is repaired, everybody leaves, all
//! sources stop, and nothing may be left of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::draw::Draw;
use super::rest::Rest;
use super::settings;
use super::subject::Subject;
use crate::oracle::{Flow, World};
use crate::topology::plan::{Attachment, Multicast, NodeId, Plan, WireId};
use crate::topology::steps::{
    Action, Cut, CutKind, Deadline, Expectation, Formula, Message, MessageLoss, Mistreatment, Scenario, SourceFilter,
    Step, Stream,
};

/// Name of a run's scenario.
pub const SCENARIO: &str = "explored";
/// Between two packets of a stream, in milliseconds.
const PACES: [u64; 3] = [250, 500, 1000];
/// Packets that a check of a delivery judges.
const JUDGED: u32 = 3;

/// Messages whose loss is tried.
const LOST: [Message; 9] = [
    Message::Igmpv3Report,
    Message::IgmpGroupQuery,
    Message::IgmpGeneralQuery,
    Message::PimHello,
    Message::PimJoin,
    Message::PimPrune,
    Message::PimGraft,
    Message::PimGraftAck,
    Message::PimAssert,
];

/// What is drawn in a disturbance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Join,
    Leave,
    Start,
    Stop,
    Fail,
    Restore,
    Partition,
    Kill,
    Restart,
    Pause,
    Drop,
    Impair,
}

/// A run that is being drawn.
struct Drawing<'a> {
    subject: &'a Subject,
    plan: &'a Plan,
    draw: Draw,
    world: World,
    rest: Rest,
    pace: Duration,
    steps: Vec<Action>,
    /// Streams that run.
    running: Vec<Stream>,
    /// Sources and groups that ever were.
    seen: BTreeSet<(NodeId, usize, IpAddr)>,
    names: usize,
    joined: BTreeMap<(NodeId, IpAddr), SourceFilter>,
    cut: BTreeSet<WireId>,
    dead: BTreeSet<NodeId>,
    paused: BTreeSet<NodeId>,
    /// Wires whose frames are lost or mistreated.
    lossy: BTreeSet<WireId>,
    /// Something happened that somebody may only miss.
    is_missed: bool,
}

/// Draws a run: a plan with the run's settings, seed and one scenario.
pub fn draw(subject: &Subject, mut draw: Draw) -> Plan {
    let mut plan = subject.plan.clone();
    // A file holds no greater ones.
    plan.seed = draw.bits() >> 12;
    settings::draw(&mut plan, &mut draw);
    let pace = Duration::from_millis(draw.pick(&PACES).copied().unwrap_or(500));
    let mut drawing = Drawing {
        subject,
        plan: &plan,
        rest: Rest::of(&plan, pace),
        draw,
        world: World::new(),
        pace,
        steps: Vec::new(),
        running: Vec::new(),
        seen: BTreeSet::new(),
        names: 0,
        joined: BTreeMap::new(),
        cut: BTreeSet::new(),
        dead: BTreeSet::new(),
        paused: BTreeSet::new(),
        lossy: BTreeSet::new(),
        is_missed: false,
    };
    drawing.all();
    let steps = drawing.steps.into_iter().enumerate();
    let steps = steps.map(|(n, action)| Step { line: n + 1, text: String::new(), action }).collect();
    plan.scenarios = vec![Scenario { name: SCENARIO.into(), steps, without: Vec::new() }];
    plan
}

impl Drawing<'_> {
    fn all(&mut self) {
        if self.plan.node_ids().any(|id| self.plan.node(id).router().is_some_and(|r| r.multicast.is_pim())) {
            let at = self.pim_ends();
            let within = Deadline::Formula(Formula::NeighbourLatency);
            self.steps.push(Action::Expect(Expectation::Neighbours { at, are: None, within }));
        }
        let phases = self.draw.between(1, 3);
        for phase in 0..phases {
            let first = phase == 0;
            if first {
                self.start();
            }
            let actions = self.draw.between(1, if first { 4 } else { 5 });
            for _ in 0..actions {
                self.pause_a_moment();
                self.disturb();
            }
            self.mend(false);
            self.rest();
            self.check();
        }
        self.mend(true);
        self.end();
    }

    fn pim_ends(&self) -> Vec<Attachment> {
        let ends = self.plan.node_ids().flat_map(|node| {
            (0..self.plan.node(node).interfaces.len()).map(move |interface| Attachment { node, interface })
        });
        let others = |at: &Attachment| {
            self.plan.wire(self.plan.interface(*at).wire).ends.iter().any(|o| o != at && self.plan.pim_at(*o).is_some())
        };
        ends.filter(|at| self.plan.pim_at(*at).is_some() && others(at)).collect()
    }

    fn pause_a_moment(&mut self) {
        let most = match self.draw.below(4) {
            0 => return,
            1 => 50,
            2 => 1_000,
            // As long as the shorter timers of protocols.
            _ => u64::try_from(self.rest.told.as_millis()).unwrap_or(10_000),
        };
        let time = self.draw.millis(1, most);
        self.steps.push(Action::Wait { time });
    }

    fn disturb(&mut self) {
        let dense = self.subject.routers.iter().any(|id| self.multicast(*id).is_some_and(Multicast::is_pim));
        let kinds = [
            (6, Kind::Join),
            (if self.joined.is_empty() { 0 } else { 4 }, Kind::Leave),
            (if self.running.len() < 3 { 2 } else { 0 }, Kind::Start),
            (if self.running.len() > 1 { 1 } else { 0 }, Kind::Stop),
            (4, Kind::Fail),
            (if self.cut.is_empty() { 0 } else { 4 }, Kind::Restore),
            (if self.subject.backbone.len() > 1 { 1 } else { 0 }, Kind::Partition),
            (2, Kind::Kill),
            (3, Kind::Restart),
            (1, Kind::Pause),
            (if dense { 4 } else { 2 }, Kind::Drop),
            (3, Kind::Impair),
        ];
        match self.draw.weighted(&kinds) {
            Some(Kind::Join) => self.join(),
            Some(Kind::Leave) => self.leave(),
            Some(Kind::Start) => self.start(),
            Some(Kind::Stop) => self.stop(),
            Some(Kind::Fail) => self.fail(),
            Some(Kind::Restore) => self.restore(),
            Some(Kind::Partition) => self.part(),
            Some(Kind::Kill) => self.kill(),
            Some(Kind::Restart) => self.restart(),
            Some(Kind::Pause) => self.pause(),
            Some(Kind::Drop) => self.drop(),
            Some(Kind::Impair) => self.impair(),
            None => {}
        }
    }

    fn multicast(&self, node: NodeId) -> Option<Multicast> {
        self.plan.node(node).router().map(|router| router.multicast)
    }

    fn join(&mut self) {
        let (Some(&host), Some(&group)) = (self.draw.pick(&self.subject.members), self.draw.pick(&self.subject.groups))
        else {
            return;
        };
        let filter = self.filter(host);
        self.world.join(host, group, &filter);
        self.joined.insert((host, group), filter.clone());
        self.steps.push(Action::Join { hosts: vec![host], group, groups: 1, filter });
    }

    /// All sources, or some of them where the host can name them.
    fn filter(&mut self, host: NodeId) -> SourceFilter {
        let speaks_v3 = self.plan.node(host).host().is_some_and(|h| h.igmp_version.is_none_or(|v| v == 3));
        if !speaks_v3 || !self.draw.percent(30) {
            return SourceFilter::Exclude(BTreeSet::new());
        }
        let addresses: Vec<IpAddr> = self.subject.sources.iter().filter_map(|id| address(self.plan, *id)).collect();
        let some: BTreeSet<IpAddr> = addresses.iter().copied().filter(|_| self.draw.percent(60)).collect();
        if self.draw.percent(50) && !some.is_empty() {
            SourceFilter::Include(some)
        } else {
            SourceFilter::Exclude(some)
        }
    }

    fn leave(&mut self) {
        let members: Vec<(NodeId, IpAddr)> = self.joined.keys().copied().collect();
        let Some(&(host, group)) = self.draw.pick(&members) else { return };
        self.leave_of(host, group);
    }

    fn leave_of(&mut self, host: NodeId, group: IpAddr) {
        self.world.leave(host, group);
        self.joined.remove(&(host, group));
        self.steps.push(Action::Leave { hosts: vec![host], group, groups: 1 });
    }

    fn start(&mut self) {
        let (Some(&from), Some(&group)) = (self.draw.pick(&self.subject.sources), self.draw.pick(&self.subject.groups))
        else {
            return;
        };
        let Some(interface) = self.plan.node(from).interfaces.iter().position(|i| i.ipv4().is_some()) else { return };
        if self.running.iter().any(|s| (s.from, s.group) == (from, group)) {
            return;
        }
        self.names += 1;
        let stream = Stream {
            name: format!("s{}", self.names),
            from,
            interface,
            group,
            groups: 1,
            port: 5001,
            rate: 1.0 / self.pace.as_secs_f64(),
            size: 200,
            ttl: 32,
            count: None,
            burst: 1,
        };
        self.seen.insert((from, interface, group));
        self.running.push(stream.clone());
        self.steps.push(Action::Stream(stream));
    }

    fn stop(&mut self) {
        if self.running.is_empty() {
            return;
        }
        let at = self.draw.below(self.running.len());
        let stream = self.running.remove(at);
        self.steps.push(Action::Stop { stream: stream.name });
    }

    /// A wire that may fail: mostly one between routers.
    fn wire(&mut self) -> Option<WireId> {
        let backbone = !self.subject.backbone.is_empty() && (self.subject.edges.is_empty() || self.draw.percent(80));
        let wires = if backbone { &self.subject.backbone } else { &self.subject.edges };
        self.draw.pick(wires).copied()
    }

    fn fail(&mut self) {
        let Some(wire) = self.wire() else { return };
        let ends: Vec<Attachment> = self.plan.wire(wire).ends.clone();
        let routers: Vec<Attachment> = ends.into_iter().filter(|end| self.plan.node(end.node).is_router()).collect();
        let some_end = |drawing: &mut Self| drawing.draw.pick(&routers).copied();
        let (how, end, detected_after) = match self.draw.below(6) {
            0 => (CutKind::Silent, None, Some(self.draw.millis(100, 2_000))),
            1 => (CutKind::Silent, None, None),
            2 => (CutKind::Admin, some_end(self), None),
            3 => (CutKind::Carrier, some_end(self), None),
            _ => (CutKind::Carrier, None, None),
        };
        self.cut(Cut { wire, end, how, detected_after });
    }

    fn cut(&mut self, cut: Cut) {
        if !self.cut.insert(cut.wire) {
            return;
        }
        self.is_missed |= cut.how == CutKind::Silent;
        self.world.fail(&cut);
        self.steps.push(Action::Fail(cut));
    }

    fn restore(&mut self) {
        let cut: Vec<WireId> = self.cut.iter().copied().collect();
        if let Some(&wire) = self.draw.pick(&cut) {
            self.restore_wire(wire);
        }
    }

    fn restore_wire(&mut self, wire: WireId) {
        self.cut.remove(&wire);
        self.lossy.remove(&wire);
        self.world.restore(wire, None);
        self.steps.push(Action::Restore { wire, end: None });
    }

    /// Routers on two sides lose sight of each other.
    fn part(&mut self) {
        let side: BTreeSet<NodeId> = self.subject.routers.iter().copied().filter(|_| self.draw.percent(50)).collect();
        for &wire in &self.subject.backbone {
            let ends = &self.plan.wire(wire).ends;
            let routers = || ends.iter().filter(|end| self.plan.node(end.node).is_router());
            let crosses =
                routers().any(|end| side.contains(&end.node)) && routers().any(|end| !side.contains(&end.node));
            if crosses && !self.cut.contains(&wire) {
                self.cut(Cut { wire, end: None, how: CutKind::Carrier, detected_after: None });
            }
        }
    }

    fn kill(&mut self) {
        let Some(&node) = self.draw.pick(&self.subject.routers) else { return };
        if self.dead.len() < 2 && self.dead.insert(node) {
            self.paused.remove(&node);
            self.is_missed = true;
            self.world.kill(node);
            self.steps.push(Action::Kill { node });
        }
    }

    fn restart(&mut self) {
        if let Some(&node) = self.draw.pick(&self.subject.routers) {
            self.restart_of(node);
        }
    }

    fn restart_of(&mut self, node: NodeId) {
        self.dead.remove(&node);
        self.paused.remove(&node);
        self.world.restart(node);
        self.steps.push(Action::Restart { node });
    }

    fn pause(&mut self) {
        let Some(&node) = self.draw.pick(&self.subject.routers) else { return };
        if !self.dead.contains(&node) && self.paused.insert(node) {
            self.is_missed = true;
            self.world.pause(node);
            self.steps.push(Action::Pause { node });
        }
    }

    fn drop(&mut self) {
        let (Some(wire), Some(&message)) = (self.wire(), self.draw.pick(&LOST)) else { return };
        let ends = &self.plan.wire(wire).ends;
        let from = if self.draw.percent(50) { self.draw.pick(ends).copied() } else { None };
        let count = self.draw.between(1, 3) as u32;
        self.lossy.insert(wire);
        self.is_missed = true;
        self.steps.push(Action::Drop(MessageLoss { wire, from, message, count }));
    }

    fn impair(&mut self) {
        let Some(wire) = self.wire() else { return };
        let ends = &self.plan.wire(wire).ends;
        let from = if self.draw.percent(30) { self.draw.pick(ends).copied() } else { None };
        let mut share = |often: u64, most: u64| {
            if self.draw.percent(often) { self.draw.between(1, most) as f64 / 100.0 } else { 0.0 }
        };
        let (loss, duplicate, corrupt, reorder) = (share(70, 60), share(30, 40), share(30, 40), share(30, 50));
        let delay = if reorder > 0.0 { self.draw.millis(1, 20) } else { Duration::ZERO };
        if loss + duplicate + corrupt + reorder == 0.0 {
            return;
        }
        self.lossy.insert(wire);
        self.is_missed = true;
        self.steps.push(Action::Impair(Mistreatment { wire, from, delay, loss, duplicate, reorder, corrupt }));
    }

    /// Ends what has an end with its phase: losses and pauses; and of cuts and deaths about a half, in the end all.
    fn mend(&mut self, all: bool) {
        self.pause_a_moment();
        for wire in self.lossy.clone() {
            self.restore_wire(wire);
        }
        for node in self.paused.clone() {
            if all || self.draw.percent(90) {
                self.paused.remove(&node);
                self.world.resume(node);
                self.steps.push(Action::Resume { node });
            } else {
                self.restart_of(node);
            }
        }
        for wire in self.cut.clone() {
            if all || self.draw.percent(50) {
                self.restore_wire(wire);
            }
        }
        for node in self.dead.clone() {
            if all || self.draw.percent(50) {
                self.restart_of(node);
            }
        }
    }

    fn rest(&mut self) {
        let time = if self.is_missed { self.rest.missed } else { self.rest.told };
        // Silent cuts and deaths stay: they are known of once they have been missed.
        self.is_missed = false;
        self.steps.push(Action::Wait { time: whole_millis(time) });
    }

    /// What must hold at rest.
    fn check(&mut self) {
        let within = Deadline::After(self.pace * 4);
        for stream in self.running.clone() {
            let Some(flow) = Flow::of(self.plan, &self.world, &stream) else { continue };
            let to: Vec<NodeId> = flow.must_receive().map(|(host, _)| host).collect();
            if to.is_empty() {
                continue;
            }
            let lasting = self.pace * JUDGED;
            let stream = stream.name;
            self.steps.push(Action::Expect(Expectation::Delivered {
                stream,
                to,
                within,
                lasting,
                loss: 0,
                duplicates: 0,
            }));
        }
        for stream in self.running.clone() {
            self.steps.push(Action::Expect(Expectation::Tree { stream: stream.name, within }));
        }
    }

    /// Everybody leaves, all sources stop: nothing may be left of them.
    fn end(&mut self) {
        if self.draw.percent(50) {
            self.rest();
            self.check();
        }
        let mut members: Vec<(NodeId, IpAddr)> = self.joined.keys().copied().collect();
        while !self.running.is_empty() || !members.is_empty() {
            if self.draw.below(self.running.len() + members.len()) < self.running.len() {
                self.stop();
            } else {
                let (host, group) = members.remove(self.draw.below(members.len()));
                self.leave_of(host, group);
            }
        }
        let within = Deadline::After(Duration::from_secs(1));
        self.steps.push(Action::Wait { time: whole_millis(self.rest.missed + self.rest.gone) });
        for (node, interface, group) in std::mem::take(&mut self.seen) {
            let Some(source) = self.plan.interface(Attachment { node, interface }).address_like(group) else {
                continue;
            };
            for &router in &self.subject.routers {
                self.steps.push(Action::Expect(Expectation::Entry {
                    router,
                    source,
                    group,
                    present: false,
                    incoming: None,
                    outgoing: None,
                    within,
                }));
            }
        }
    }
}

fn address(plan: &Plan, node: NodeId) -> Option<IpAddr> {
    plan.node(node).interfaces.iter().find_map(|interface| interface.ipv4()).map(|net| IpAddr::V4(net.addr()))
}

/// As a file can say it.
fn whole_millis(span: Duration) -> Duration {
    Duration::from_millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX) + 1)
}
