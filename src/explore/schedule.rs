//! Draws what happens in a run.
//!
//! Phases follow one another: some disturbances at random moments, a rest as long as the protocols need, then checks in the world as the
//! disturbances left it. In the end all is repaired, everybody leaves, all sources stop, and nothing may be left of them. What is drawn
//! becomes a scenario by [`super::render`].

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::certainty::Judgements;
use super::draw::Draw;
use super::render::{self, Item};
use super::rest::Rest;
use super::settings;
use super::subject::Subject;
use crate::topology::plan::{Attachment, Multicast, NodeId, Plan, WireId};
use crate::topology::steps::{Action, Cut, CutKind, Message, MessageLoss, Mistreatment, SourceFilter, Stream};

/// Between two packets of a stream, in milliseconds.
const PACES: [u64; 3] = [250, 500, 1000];
/// Messages whose loss is tried.
const LOST: [Message; 10] = [
    Message::Igmpv3Report,
    Message::IgmpGroupQuery,
    Message::IgmpGeneralQuery,
    Message::PimHello,
    Message::PimJoin,
    Message::PimPrune,
    // Twice as often: there are few grafts.
    Message::PimGraft,
    Message::PimGraft,
    Message::PimGraftAck,
    Message::PimAssert,
];

/// The same of sparse mode and the bootstrap mechanism.
const LOST_SPARSE: [Message; 15] = [
    Message::Igmpv3Report,
    Message::IgmpGroupQuery,
    Message::IgmpGeneralQuery,
    Message::PimHello,
    Message::PimJoinWc,
    Message::PimJoinSg,
    Message::PimPruneWc,
    Message::PimPruneSg,
    Message::PimPruneRpt,
    Message::PimAssert,
    Message::PimRegister,
    Message::PimNullRegister,
    Message::PimRegisterStop,
    Message::PimBootstrap,
    Message::PimCandidateRpAdvertisement,
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

/// What is to happen in a run, and on what.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// The topology with the run's settings and seed; no scenario.
    pub plan: Plan,
    /// What happens, in order.
    pub items: Vec<Item>,
}

impl Schedule {
    /// The plan with the one scenario that the schedule makes.
    pub fn plan(&self) -> Plan {
        self.rendered().0
    }

    /// The same, with what the oracle says of its checks.
    pub fn rendered(&self) -> (Plan, Judgements) {
        let mut plan = self.plan.clone();
        let (scenario, judgements) = render::scenario(&self.plan, &self.items);
        plan.scenarios = vec![scenario];
        (plan, judgements)
    }
}

/// A run that is being drawn.
struct Drawing<'a> {
    subject: &'a Subject,
    plan: &'a Plan,
    draw: Draw,
    rest: Rest,
    pace: Duration,
    items: Vec<Item>,
    /// Streams that run.
    running: Vec<Stream>,
    names: usize,
    joined: BTreeSet<(NodeId, IpAddr)>,
    cut: BTreeSet<WireId>,
    dead: BTreeSet<NodeId>,
    paused: BTreeSet<NodeId>,
    /// Wires whose frames are lost or mistreated.
    lossy: BTreeSet<WireId>,
}

/// Draws a run.
pub fn draw(subject: &Subject, mut draw: Draw) -> Schedule {
    let mut plan = subject.plan.clone();
    // A file holds no greater ones.
    plan.seed = draw.bits() >> 12;
    settings::draw(&mut plan, &mut draw);
    let pace = Duration::from_millis(draw.pick(&PACES).copied().unwrap_or(500));
    let mut drawing = Drawing {
        subject,
        plan: &plan,
        rest: Rest::of(&plan, pace, false),
        draw,
        pace,
        items: Vec::new(),
        running: Vec::new(),
        names: 0,
        joined: BTreeSet::new(),
        cut: BTreeSet::new(),
        dead: BTreeSet::new(),
        paused: BTreeSet::new(),
        lossy: BTreeSet::new(),
    };
    drawing.all();
    let items = drawing.items;
    Schedule { plan, items }
}

impl Drawing<'_> {
    fn all(&mut self) {
        self.items.push(Item::Meet);
        let phases = self.draw.between(1, 3);
        for phase in 0..phases {
            let first = phase == 0;
            if first {
                self.start();
                // What breaks later is mostly to find a tree that is in use.
                if self.draw.percent(60) {
                    self.gather();
                }
            }
            if !first && self.draw.percent(25) {
                self.grafts();
                continue;
            }
            let actions = self.draw.between(1, 4);
            for _ in 0..actions {
                self.pause_a_moment();
                self.disturb();
            }
            self.mend(false);
            self.items.extend([Item::Rest, Item::Check]);
        }
        self.mend(true);
        self.end();
    }

    /// Some members of the first stream's group, mostly.
    fn gather(&mut self) {
        let Some(group) = self.running.first().map(|stream| stream.group) else { return };
        for _ in 0..self.draw.between(1, 3) {
            if self.draw.percent(80) { self.join_group(group) } else { self.join() }
        }
    }

    /// A phase of joins alone, some of whose grafts are lost: all that is due is due at once.
    fn grafts(&mut self) {
        for _ in 0..self.draw.between(1, 2) {
            if !self.is_sparse()
                && self.draw.percent(60)
                && let Some(wire) = self.wire()
            {
                let message = if self.draw.percent(75) { Message::PimGraft } else { Message::PimGraftAck };
                self.lossy.insert(wire);
                let count = self.draw.between(1, 2) as u32;
                self.act(Action::Drop(MessageLoss { wire, from: None, message, count }));
            }
            self.join();
            self.pause_a_moment();
        }
        for wire in self.lossy.clone() {
            self.restore_if_whole(wire);
        }
        self.items.extend([Item::Rest, Item::Check]);
    }

    /// Ends losses, but no cut.
    fn restore_if_whole(&mut self, wire: WireId) {
        if !self.cut.contains(&wire) {
            self.restore_wire(wire);
        }
    }

    fn act(&mut self, action: Action) {
        self.items.push(Item::Act(action));
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
        self.items.push(Item::Moment(time));
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

    /// Whether a router runs sparse mode: there are no grafts, but joins.
    fn is_sparse(&self) -> bool {
        self.subject.routers.iter().any(|id| self.multicast(*id) == Some(Multicast::PimSm))
    }

    fn multicast(&self, node: NodeId) -> Option<Multicast> {
        self.plan.node(node).router().map(|router| router.multicast)
    }

    fn join(&mut self) {
        if let Some(&group) = self.draw.pick(&self.subject.groups) {
            self.join_group(group);
        }
    }

    fn join_group(&mut self, group: IpAddr) {
        let Some(&host) = self.draw.pick(&self.subject.members) else { return };
        let filter = self.filter(host);
        self.joined.insert((host, group));
        self.act(Action::Join { hosts: vec![host], group, groups: 1, filter });
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
        let members: Vec<(NodeId, IpAddr)> = self.joined.iter().copied().collect();
        let Some(&(host, group)) = self.draw.pick(&members) else { return };
        self.leave_of(host, group);
    }

    fn leave_of(&mut self, host: NodeId, group: IpAddr) {
        self.joined.remove(&(host, group));
        self.act(Action::Leave { hosts: vec![host], group, groups: 1 });
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
        self.running.push(stream.clone());
        self.act(Action::Stream(stream));
    }

    fn stop(&mut self) {
        if self.running.is_empty() {
            return;
        }
        let at = self.draw.below(self.running.len());
        let stream = self.running.remove(at);
        self.act(Action::Stop { stream: stream.name });
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
        self.act(Action::Fail(cut));
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
        self.act(Action::Restore { wire, end: None });
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
            self.act(Action::Kill { node });
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
        self.act(Action::Restart { node });
    }

    fn pause(&mut self) {
        let Some(&node) = self.draw.pick(&self.subject.routers) else { return };
        if !self.dead.contains(&node) && self.paused.insert(node) {
            self.act(Action::Pause { node });
        }
    }

    fn drop(&mut self) {
        let lost: &[Message] = if self.is_sparse() { &LOST_SPARSE } else { &LOST };
        let (Some(wire), Some(&message)) = (self.wire(), self.draw.pick(lost)) else { return };
        let ends = &self.plan.wire(wire).ends;
        let from = if self.draw.percent(50) { self.draw.pick(ends).copied() } else { None };
        let count = self.draw.between(1, 3) as u32;
        self.lossy.insert(wire);
        self.act(Action::Drop(MessageLoss { wire, from, message, count }));
        // Where nobody joins, nobody grafts.
        if matches!(message, Message::PimGraft | Message::PimGraftAck) && self.draw.percent(70) {
            self.join();
        }
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
        self.act(Action::Impair(Mistreatment { wire, from, delay, loss, duplicate, reorder, corrupt }));
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
                self.act(Action::Resume { node });
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

    /// Everybody leaves, all sources stop: nothing may be left of them.
    fn end(&mut self) {
        if self.draw.percent(50) {
            self.items.extend([Item::Rest, Item::Check]);
        }
        let mut members: Vec<(NodeId, IpAddr)> = self.joined.iter().copied().collect();
        while !self.running.is_empty() || !members.is_empty() {
            if self.draw.below(self.running.len() + members.len()) < self.running.len() {
                self.stop();
            } else {
                let (host, group) = members.remove(self.draw.below(members.len()));
                self.leave_of(host, group);
            }
        }
        self.items.push(Item::Gone);
    }
}

fn address(plan: &Plan, node: NodeId) -> Option<IpAddr> {
    plan.node(node).interfaces.iter().find_map(|interface| interface.ipv4()).map(|net| IpAddr::V4(net.addr()))
}
