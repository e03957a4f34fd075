//! PIM's place in the router: messages in and out, and what dense mode decides.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Datagram, EventKind, InterfaceId, Output, Router};
use crate::counters::DropReason;
use crate::pim::dense::{self, Context, Dense};
use crate::pim::link::{self, Change};
use crate::pim::{Sent, bundle};
use crate::time::Time;
use crate::wire::pim::{self as wire, ALL_PIM_ROUTERS, Message};

/// TOS of control packets: precedence 'internetwork control'.
const CONTROL_TOS: u8 = 0xc0;

impl Router {
    /// A PIM packet was heard.
    pub(super) fn receive_pim(&mut self, now: Time, interface: InterfaceId, datagram: &Datagram) {
        let Some(port) = self.ports.get_mut(&interface) else { return };
        let (source, destination) = (datagram.source, datagram.destination);
        let is_on_link = port.is_on_link(source);
        let Some(own) = port.pim.as_ref().and_then(link::Link::address) else {
            port.counters.drop(DropReason::NotRunning);
            return;
        };
        let Some(link) = &mut port.pim else { return };
        let parsed = wire::parse(source, destination, &datagram.payload);
        let refusal = match &parsed {
            Err(wire::Error::Checksum) => Some(DropReason::Checksum),
            Err(wire::Error::Type(_)) => Some(DropReason::UnknownType),
            Err(_) => Some(DropReason::Malformed),
            Ok(_) if source == own => Some(DropReason::Own),
            Ok(_) if datagram.ttl != 1 => Some(DropReason::Ttl),
            Ok(_) if !is_on_link => Some(DropReason::SourceNotOnLink),
            Ok(message) if !is_destination(message, destination, own) => Some(DropReason::Destination),
            Ok(Message::Hello(_)) => None,
            Ok(_) if !link.is_neighbour(source) => Some(DropReason::NotANeighbour),
            Ok(_) => None,
        };
        if let Some(reason) = refusal {
            link.counters_mut().drop(reason);
            return;
        }
        match parsed {
            Ok(Message::Hello(hello)) => {
                link.receive(now, source, hello, &mut self.random);
                self.settle_links(now);
            }
            Ok(message) => {
                link.counters_mut().receive(message.kind());
                self.with_dense(now, |dense, context| dense.hear(context, interface, source, destination, &message));
            }
            Err(_) => {}
        }
    }

    /// Runs PIM's timers.
    pub(super) fn run_pim_timers(&mut self, now: Time) {
        for port in self.ports.values_mut() {
            if let Some(link) = &mut port.pim {
                link.timeout(now);
            }
        }
        self.settle_links(now);
        self.with_dense(now, |dense, context| dense.timeout(context));
    }

    /// When PIM's next timer runs out.
    pub(super) fn next_pim_timeout(&self) -> Option<Time> {
        let links = self.ports.values().filter_map(|port| port.pim.as_ref()?.next_timeout());
        links.chain(self.dense.as_ref().and_then(Dense::next_timeout)).min()
    }

    /// Takes leave of all neighbours.
    pub(super) fn shut_pim_down(&mut self, now: Time) {
        self.with_dense(now, |dense, _| dense.shutdown());
        for port in self.ports.values_mut() {
            if let Some(link) = &mut port.pim {
                link.goodbye();
            }
        }
        self.settle_links(now);
    }

    /// Sends the hellos of all links, and tells dense mode of the neighbours that changed.
    pub(super) fn settle_links(&mut self, now: Time) {
        let ids: Vec<InterfaceId> = self.ports.keys().copied().collect();
        let mut changes = Vec::new();
        for id in ids {
            changes.extend(self.say_hellos(now, id).into_iter().map(|change| (id, change)));
        }
        for (id, change) in changes {
            let interface = self.name(id);
            self.event(
                now,
                match change {
                    Change::Up(neighbour) => EventKind::NeighbourUp { interface, neighbour },
                    Change::Restarted(neighbour) => EventKind::NeighbourRestarted { interface, neighbour },
                    Change::Down(neighbour) => EventKind::NeighbourDown { interface, neighbour },
                },
            );
            self.with_dense(now, |dense, context| dense.neighbour_changed(context, id, change));
        }
    }

    /// Lets dense mode act, and does what it wants done.
    pub(super) fn with_dense(&mut self, now: Time, act: impl FnOnce(&mut Dense, &mut Context<'_>)) {
        let Router { dense: Some(dense), ports, rib, random, .. } = self else { return };
        act(dense, &mut Context { now, ports, rib, random });
        for action in self.bundled() {
            self.act_dense(now, action);
        }
    }

    /// What dense mode wants done, its messages bundled where one can stand for several.
    fn bundled(&mut self) -> Vec<dense::Action> {
        let mut bundled: Vec<dense::Action> = Vec::new();
        // By neighbour: what may follow is added to the last message alone, so that their order stays.
        let mut last: BTreeMap<(InterfaceId, IpAddr), usize> = BTreeMap::new();
        for action in self.dense.as_mut().map(Dense::take_actions).unwrap_or_default() {
            if let dense::Action::Send(sent) = &action {
                let place = (sent.interface, sent.destination);
                let mtu = self.ports.get(&sent.interface).map_or(0, |port| port.state.mtu);
                if let Some(dense::Action::Send(to)) = last.get(&place).and_then(|at| bundled.get_mut(*at))
                    && bundle::add(to, sent, mtu)
                {
                    continue;
                }
                last.insert(place, bundled.len());
            }
            bundled.push(action);
        }
        bundled
    }

    fn act_dense(&mut self, now: Time, action: dense::Action) {
        match action {
            dense::Action::Send(sent) => self.send_pim(now, &sent),
            dense::Action::Install { entry, asked } => {
                // The kernel asks again for what it has lost.
                if !self.install(now, entry.incoming, entry.clone()) && asked {
                    self.output(Output::SetEntry(entry));
                }
            }
            dense::Action::Remove(key) => self.delete(now, key),
            dense::Action::Upstream(key, state) => {
                let state = state.name().to_owned();
                self.event(now, EventKind::Upstream { source: key.source, group: key.group, state });
            }
            dense::Action::Downstream(key, id, state) => {
                let (interface, state) = (self.name(id), state.name().to_owned());
                self.event(now, EventKind::Downstream { source: key.source, group: key.group, interface, state });
            }
            dense::Action::Assert(key, id, state) => {
                let winner = match state {
                    dense::assert::State::NoInfo => None,
                    dense::assert::State::Winner => dense::macros::my_addr(&self.ports, id),
                    dense::assert::State::Loser { winner, .. } => Some(winner),
                };
                let (interface, state) = (self.name(id), state.name().to_owned());
                self.event(now, EventKind::Assert { source: key.source, group: key.group, interface, state, winner });
            }
            dense::Action::Drop(interface, reason) => {
                match interface.and_then(|id| self.ports.get_mut(&id)) {
                    Some(port) => port.counters.drop(reason),
                    None => self.counters.drop(reason),
                }
                if reason == DropReason::EntryLimit {
                    self.limit_reached(now, "forwarding-entries", None);
                }
            }
        }
    }

    fn send_pim(&mut self, now: Time, sent: &Sent) {
        let Some(link) = self.ports.get_mut(&sent.interface).and_then(|port| port.pim.as_mut()) else { return };
        let Some(source) = link.address() else { return };
        link.introduce();
        link.counters_mut().send(sent.message.kind());
        // Only a hello can have been added here: neighbours change by what is heard.
        self.say_hellos(now, sent.interface);
        self.output_pim(sent.interface, source, sent.destination, &sent.message);
    }

    /// Sends the hellos that a link wants sent; gives what became of its neighbours.
    fn say_hellos(&mut self, now: Time, id: InterfaceId) -> Vec<Change> {
        let Some(link) = self.ports.get_mut(&id).and_then(|port| port.pim.as_mut()) else { return Vec::new() };
        let mut changes = Vec::new();
        for action in link.take_actions() {
            match action {
                link::Action::Hello { source, hello } => {
                    self.output_pim(id, source, ALL_PIM_ROUTERS.into(), &Message::Hello(hello));
                }
                link::Action::Neighbour(change) => changes.push(change),
                link::Action::NeighbourLimit => self.limit_reached(now, "neighbours-per-interface", Some(id)),
            }
        }
        changes
    }

    fn output_pim(&mut self, interface: InterfaceId, source: IpAddr, destination: IpAddr, message: &Message) {
        let datagram = Datagram {
            source,
            destination,
            protocol: wire::PROTOCOL,
            // §4.7: always 1.
            ttl: 1,
            router_alert: false,
            traffic_class: CONTROL_TOS,
            payload: message.emit(source, destination),
        };
        self.output(Output::Send { interface, datagram });
    }
}

/// Whether a message may come to this destination (RFC 3973 §4.7): grafts may also be multicast.
fn is_destination(message: &Message, destination: IpAddr, own: IpAddr) -> bool {
    let all = destination == IpAddr::from(ALL_PIM_ROUTERS);
    match message {
        Message::Graft(_) => all || destination == own,
        Message::GraftAck(_) => destination == own,
        Message::Hello(_) | Message::JoinPrune(_) | Message::Assert(_) | Message::StateRefresh(_) => all,
    }
}
