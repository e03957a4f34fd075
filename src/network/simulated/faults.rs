//! Cuts and losses, and how nodes come to know of what has happened to their interfaces.

use std::sync::Arc;
use std::time::Duration;

use router_core::router::Input;

use super::engine::{Engine, Event, Losing, between};
use super::unicast::Moved;
use super::wire::Impairment;
use crate::network::faults::{self, Change};
use crate::network::{HappeningKind, Time};
use crate::routes::agent;
use crate::topology::plan::{Attachment, NodeId, WireId, WireKind};
use crate::topology::steps::{Cut, CutKind, MessageLoss, Mistreatment};

/// From a change by a node's own administrator to those who follow its interfaces.
const OWN_NEWS: (Duration, Duration) = (Duration::from_micros(20), Duration::from_micros(80));
/// From a change beyond the wire: the kernel looks after carriers apart from what changes them.
const CARRIER_NEWS: (Duration, Duration) = (Duration::from_micros(250), Duration::from_micros(500));
/// What the route agent takes to change a node's routes.
const AGENT_NODE: (Duration, Duration) = (Duration::from_micros(30), Duration::from_micros(250));
/// From its news to the route agent's changes.
const AGENT: (Duration, Duration) = (Duration::from_micros(200), Duration::from_micros(600));

impl Engine<'_> {
    /// Makes a cut.
    pub fn cut(&mut self, cut: &Cut) {
        let changes = faults::changes(self.plan, cut);
        for change in &changes {
            self.apply(*change, true);
        }
        let now = self.now;
        self.cuts.add(cut, changes, now);
        self.await_cuts();
        let wire = &self.plan.wire(cut.wire).name;
        let at = cut.end.map_or_else(|| wire.clone(), |end| format!("{wire} at {}", self.plan.name_of(end)));
        let said = match cut.how {
            CutKind::Carrier => format!("{at} lost its carrier"),
            CutKind::Silent => format!("{at} was cut silently"),
            CutKind::Admin => format!("{at} was taken down"),
        };
        self.say(cut.end.map(|end| end.node), HappeningKind::Fault, said);
    }

    /// Undoes the cuts and losses of a wire, or of one of its ends.
    pub fn mend(&mut self, wire: WireId, end: Option<Attachment>) {
        for losing in &mut self.losses {
            if losing.loss.wire == wire && (end.is_none() || losing.loss.from == end) {
                losing.ends.clear();
            }
        }
        let impairment = self.plan.wire(wire).impairment;
        for at in self.plan.wire(wire).ends.iter().filter(|at| end.is_none_or(|end| end == **at)) {
            self.port(*at).egress.impairment = impairment.into();
        }
        let (undo, messages) = self.cuts.remove(wire, end);
        for change in undo {
            self.apply(change, false);
        }
        for message in messages {
            self.tell_agent(message);
        }
        let said = format!("{} was restored", self.plan.wire(wire).name);
        self.say(end.map(|end| end.node), HappeningKind::Fault, said);
    }

    /// Has messages lost; gives the number of the loss.
    pub fn lose(&mut self, loss: &MessageLoss) -> usize {
        let wire = self.plan.wire(loss.wire);
        let ends = loss.from.map_or_else(|| wire.ends.clone(), |from| vec![from]);
        let ends = ends.into_iter().map(|end| (end, loss.count)).collect();
        self.losses.push(Losing { loss: loss.clone(), ends, taken: 0 });
        let from = loss.from.map(|from| format!(" from {}", self.plan.name_of(from))).unwrap_or_default();
        let next = if loss.count == 1 { "the next".to_owned() } else { format!("the next {}", loss.count) };
        let said = format!("{next} {}{from} into {} will be lost", loss.message.name(), wire.name);
        self.say(loss.from.map(|from| from.node), HappeningKind::Fault, said);
        self.losses.len() - 1
    }

    /// Has a wire mistreat frames.
    pub fn mistreat(&mut self, how: &Mistreatment) {
        let wire = self.plan.wire(how.wire);
        let impairment = Impairment {
            delay: how.delay,
            jitter: Duration::ZERO,
            loss: how.loss,
            rate: wire.impairment.rate,
            duplication: how.duplicate,
            reordering: how.reorder,
            corruption: how.corrupt,
        };
        for at in wire.ends.iter().filter(|at| how.from.is_none_or(|from| from == **at)) {
            self.port(*at).egress.impairment = impairment;
        }
        let from = how.from.map(|from| format!(" what {} sends", self.plan.name_of(from))).unwrap_or_default();
        self.say(how.from.map(|from| from.node), HappeningKind::Fault, format!("{} mistreats{from}", wire.name));
    }

    /// Notes that something happened now.
    pub fn say(&mut self, node: Option<NodeId>, kind: HappeningKind, what: String) {
        self.observed.say(self.now, node, kind, what);
        self.has_changed = true;
    }

    fn apply(&mut self, change: Change, broken: bool) {
        match change {
            Change::Out(at) => self.port(at).egress.cut_out = broken,
            Change::In(at) => self.port(at).egress.cut_in = broken,
            Change::Admin(at) => self.set_up(at, !broken),
            Change::Carrier(at) => {
                let wire = self.plan.wire(self.plan.interface(at).wire);
                match wire.kind {
                    WireKind::Lan { .. } => {
                        self.port(at).is_bridged = !broken;
                        self.send_news(at, CARRIER_NEWS);
                    }
                    WireKind::Link => {
                        for &other in wire.ends.iter().filter(|other| **other != at) {
                            self.set_up(other, !broken);
                        }
                    }
                }
            }
        }
    }

    /// An administrator takes an interface up or down.
    fn set_up(&mut self, at: Attachment, up: bool) {
        let now = self.now;
        let port = self.port(at);
        if port.is_up == up {
            return;
        }
        port.is_up = up;
        port.igmp.set_up(now, up);
        self.speak_igmp(at);
        self.send_news(at, OWN_NEWS);
        let wire = self.plan.wire(self.plan.interface(at).wire);
        if wire.kind == WireKind::Link {
            for &other in wire.ends.iter().filter(|other| **other != at) {
                self.send_news(other, CARRIER_NEWS);
            }
        }
    }

    fn send_news(&mut self, at: Attachment, within: (Duration, Duration)) {
        let time = self.now + between(&mut self.nodes[at.node.0].random, within);
        self.queue.push(time, Event::News(at));
    }

    /// Those who follow a node's interfaces hear how one of them is.
    pub(super) fn news(&mut self, at: Attachment) {
        let carrier = self.has_carrier(at);
        let port = self.port(at);
        let state = (port.is_up, carrier);
        let before = std::mem::replace(&mut port.known, state);
        if before == state {
            return;
        }
        let name = &self.plan.interface(at).name;
        let said = match (before, state) {
            ((true, _), (false, _)) => format!("{name} was taken down"),
            ((false, _), (true, _)) => format!("{name} was taken up"),
            (_, (_, false)) => format!("{name} lost its carrier"),
            _ => format!("{name} has its carrier back"),
        };
        self.say(Some(at.node), HappeningKind::Carrier, said);
        let (was_usable, is_usable) = (before == (true, true), state == (true, true));
        if was_usable != is_usable {
            let input = self.interface_input(at, is_usable);
            self.tell(at.node, input);
            let connected = self.connected(at);
            if is_usable {
                connected.into_iter().for_each(|route| self.tell(at.node, Input::RouteAdded(route)));
            } else {
                let gone = self.unicast.drop_through(self.plan, at);
                let gone = connected.into_iter().chain(gone);
                gone.for_each(|route| self.tell(at.node, Input::RouteRemoved(route)));
            }
        }
        if self.unicast.hear(at, is_usable) || was_usable != is_usable {
            self.await_agent();
        }
    }

    fn await_agent(&mut self) {
        if !std::mem::replace(&mut self.agent_awaits, true) {
            let time = self.now + between(&mut self.random, AGENT);
            self.queue.push(time, Event::Agent);
        }
    }

    pub(super) fn agent_turn(&mut self) {
        self.agent_awaits = false;
        let known: Vec<Vec<bool>> =
            self.nodes.iter().map(|node| node.ports.iter().map(|port| port.known.0).collect()).collect();
        // One node after the other.
        let mut time = self.now;
        for (node, moved) in self.unicast.turn(self.plan, |at| known[at.node.0][at.interface]) {
            time += between(&mut self.random, AGENT_NODE);
            self.queue.push(time, Event::Moved(node, Arc::new(moved)));
        }
    }

    /// A node's kernel has taken the agent's changes.
    pub(super) fn routes_moved(&mut self, node: NodeId, moved: &Moved) {
        let count = moved.added.len().max(moved.removed.len());
        self.say(Some(node), HappeningKind::Routes, format!("{count} unicast routes moved"));
        // Of a route that moves, the new one first.
        moved.added.iter().for_each(|route| self.tell(node, Input::RouteAdded(route.clone())));
        moved.removed.iter().for_each(|route| self.tell(node, Input::RouteRemoved(route.clone())));
    }

    /// The moment when the next silent cut becomes known.
    fn await_cuts(&mut self) {
        if let Some(due) = self.cuts.next_due() {
            self.queue.push(due, Event::Cuts);
        }
    }

    pub(super) fn tell_cuts(&mut self) {
        let now: Time = self.now;
        for message in self.cuts.take_due(now) {
            self.tell_agent(message);
        }
        self.await_cuts();
    }

    fn tell_agent(&mut self, message: agent::Message) {
        let (agent::Message::Cut { wire, end } | agent::Message::Restored { wire, end }) = message;
        let cut = matches!(message, agent::Message::Cut { .. });
        let nodes = &self.nodes;
        let is_up = |at: Attachment| nodes[at.node.0].ports[at.interface].known == (true, true);
        let turned = self.unicast.notice(self.plan, wire, end, cut, is_up);
        for at in &turned {
            let name = &self.plan.interface(*at).name;
            let what = if cut { "carries nothing" } else { "works again" };
            self.say(Some(at.node), HappeningKind::Routes, format!("noticed that {name} {what}"));
        }
        if !turned.is_empty() {
            self.await_agent();
        }
    }
}
