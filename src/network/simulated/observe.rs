//! What taps see of control messages, and what happened beside packets: kept as it was, read when somebody asks.

use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::sync::{Arc, OnceLock};

use router_core::router::{Datagram, EventKind};
use router_core::wire::igmp;

use crate::network::{ControlSighting, Happening, HappeningKind, Malformed, Time};
use crate::observe::frame::Content;
use crate::observe::store;
use crate::topology::plan::{NodeId, Plan, WireId};

/// Control messages that are kept, of all wires together.
const CONTROL_MAX: usize = 1_000_000;
/// Events of routers that are kept.
const EVENTS_MAX: usize = 500_000;

/// A control message on its way: as octets, read at most once for all that hear it.
#[derive(Debug)]
pub struct Control {
    /// The packet.
    pub datagram: Datagram,
    /// The neighbour that it is sent to on the link, if it goes by the unicast routes.
    pub next_hop: Option<Ipv4Addr>,
    igmp: OnceLock<Option<igmp::Message>>,
}

impl Control {
    /// A message on its way.
    pub fn new(datagram: Datagram) -> Control {
        Control { datagram, next_hop: None, igmp: OnceLock::new() }
    }

    /// One that goes by the unicast routes, to a neighbour.
    pub fn routed(datagram: Datagram, next_hop: Ipv4Addr) -> Control {
        Control { datagram, next_hop: Some(next_hop), igmp: OnceLock::new() }
    }

    /// The IGMP message that it is, if it can be read as one.
    pub fn igmp(&self) -> Option<&igmp::Message> {
        let read = || {
            let is_igmp = self.datagram.protocol == igmp::PROTOCOL && self.datagram.source.is_ipv4();
            is_igmp.then(|| igmp::parse(&self.datagram.payload).ok()).flatten()
        };
        self.igmp.get_or_init(read).as_ref()
    }
}

#[derive(Clone, Debug)]
struct Kept {
    time: Time,
    end: u16,
    message: Arc<Control>,
}

#[derive(Debug, Default)]
struct OfWire {
    kept: Vec<Kept>,
    read: RefCell<Read>,
}

/// What has been read of the messages kept.
#[derive(Clone, Debug, Default)]
struct Read {
    upto: usize,
    control: Vec<ControlSighting>,
    malformed: Vec<Malformed>,
}

#[derive(Debug)]
enum Kind {
    Said(HappeningKind, String),
    Event(EventKind),
}

/// What has been seen.
#[derive(Debug)]
pub struct Observed {
    wires: Vec<OfWire>,
    kept: usize,
    happened: Vec<(Time, Option<NodeId>, Kind)>,
    events: usize,
    refused_control: u64,
    refused_events: u64,
}

impl Observed {
    /// Nothing yet, of so many wires.
    pub fn new(wires: usize) -> Observed {
        let wires = (0..wires).map(|_| OfWire::default()).collect();
        Observed { wires, kept: 0, happened: Vec::new(), events: 0, refused_control: 0, refused_events: 0 }
    }

    /// The sender's tap sees a control message.
    pub fn see(&mut self, wire: WireId, end: u16, time: Time, message: &Arc<Control>) {
        if self.kept >= CONTROL_MAX {
            self.refused_control += 1;
        } else if let Some(of) = self.wires.get_mut(wire.0) {
            self.kept += 1;
            of.kept.push(Kept { time, end, message: Arc::clone(message) });
        }
    }

    /// Something happened.
    pub fn say(&mut self, time: Time, node: Option<NodeId>, kind: HappeningKind, what: String) {
        self.happened.push((time, node, Kind::Said(kind, what)));
    }

    /// A router said so.
    pub fn event(&mut self, time: Time, node: NodeId, event: EventKind) {
        if self.events >= EVENTS_MAX {
            self.refused_events += 1;
        } else {
            self.events += 1;
            self.happened.push((time, Some(node), Kind::Event(event)));
        }
    }

    /// Control messages on a wire.
    pub fn control(&self, plan: &Plan, wire: WireId) -> Vec<ControlSighting> {
        self.read(plan, wire, |read| read.control.clone())
    }

    /// How many they are.
    pub fn control_count(&self, plan: &Plan, wire: WireId) -> usize {
        self.read(plan, wire, |read| read.control.len())
    }

    /// Messages on a wire that cannot be read.
    pub fn malformed(&self, plan: &Plan, wire: WireId) -> Vec<Malformed> {
        self.read(plan, wire, |read| read.malformed.clone())
    }

    /// What happened, in order of time.
    pub fn happenings(&self, describe: impl Fn(&EventKind) -> String) -> Vec<Happening> {
        let happening = |(time, node, kind): &(Time, Option<NodeId>, Kind)| {
            let (kind, group, what) = match kind {
                Kind::Said(kind, what) => (*kind, None, what.clone()),
                Kind::Event(event) => (kind_of(event), event.group(), describe(event)),
            };
            Happening { time: *time, node: *node, group, what, kind }
        };
        let mut all: Vec<Happening> = self.happened.iter().map(happening).collect();
        all.sort_by_key(|happening| happening.time);
        all
    }

    /// What was not kept, a line each.
    pub fn doubts(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        if self.refused_control > 0 {
            let count = self.refused_control;
            doubts.push(format!("{count} control messages on wires were not kept: the limit is {CONTROL_MAX}"));
        }
        if self.refused_events > 0 {
            doubts.push(format!("{} events of routers were not kept", self.refused_events));
        }
        doubts
    }

    fn read<R>(&self, plan: &Plan, wire: WireId, look: impl FnOnce(&Read) -> R) -> R
    where
        R: Default,
    {
        let Some(of) = self.wires.get(wire.0) else { return R::default() };
        let mut read = of.read.borrow_mut();
        for kept in &of.kept[read.upto..] {
            take(plan, wire, kept, &mut read);
        }
        read.upto = of.kept.len();
        look(&read)
    }
}

fn kind_of(event: &EventKind) -> HappeningKind {
    match event {
        EventKind::EntryInstalled { .. } | EventKind::EntryRemoved { .. } => HappeningKind::Entry,
        _ => HappeningKind::Daemon,
    }
}

fn take(plan: &Plan, wire: WireId, kept: &Kept, read: &mut Read) {
    let Some(&at) = plan.wire(wire).ends.get(usize::from(kept.end)) else { return };
    let Datagram { source, destination, protocol, payload, .. } = &kept.message.datagram;
    let content = match *protocol {
        igmp::PROTOCOL => Content::Igmp(payload),
        router_core::wire::pim::PROTOCOL => Content::Pim(payload),
        other => Content::Other(other),
    };
    match store::read(*source, *destination, content) {
        Ok(Some((message, groups, pim))) => read.control.push(ControlSighting {
            at,
            message,
            source: *source,
            destination: *destination,
            groups,
            time: kept.time,
            length: payload.len(),
            pim,
        }),
        Ok(None) => {}
        Err(why) => {
            let same = |known: &&mut Malformed| known.at == at && known.source == *source && known.why == why;
            match read.malformed.iter_mut().find(same) {
                Some(known) => known.count += 1,
                None => read.malformed.push(Malformed { at, source: *source, why, count: 1, first: kept.time }),
            }
        }
    }
}
