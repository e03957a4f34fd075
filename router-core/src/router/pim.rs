//! PIM's place in the router: messages in and out, and what its modes decide.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::port::Port;
use super::{Datagram, EventKind, InterfaceId, Output, Router};
use crate::counters::DropReason;
use crate::pim::bsr::Bsr;
use crate::pim::dense::{self, Context, Dense};
use crate::pim::link::{self, Change, Link};
use crate::pim::mode::Mode;
use crate::pim::sparse::entry::Tree;
use crate::pim::sparse::{self, Sparse};
use crate::pim::{Sent, bundle};
use crate::time::Time;
use crate::wire::pim::{self as wire, ALL_PIM_ROUTERS, GroupSet, JoinPrune, Message};

/// TOS of control packets: precedence 'internetwork control'.
const CONTROL_TOS: u8 = 0xc0;
/// TTL of messages that go by the unicast routes: that of any packet of this router (RFC 7761 §4.4.1).
const ROUTED_TTL: u8 = 64;

impl Router {
    /// A PIM packet was heard.
    pub(super) fn receive_pim(&mut self, now: Time, interface: InterfaceId, datagram: &Datagram) {
        let (source, destination) = (datagram.source, datagram.destination);
        let parsed = match wire::parse(source, destination, &datagram.payload) {
            // Dense mode does not know it.
            Ok(message) if is_bootstrap(&message) && self.bsr.is_none() => {
                Err(wire::Error::Type(datagram.payload.first().map_or(0, |first| first & 0x0f)))
            }
            parsed => parsed,
        };
        if let Ok(message) = &parsed
            && is_routed(message)
        {
            self.receive_routed(now, interface, datagram, message);
            return;
        }
        let Some(port) = self.ports.get_mut(&interface) else { return };
        let is_on_link = port.is_on_link(source);
        let Some(own) = port.pim.as_ref().and_then(Link::address) else {
            port.counters.drop(DropReason::NotRunning);
            return;
        };
        let Some(link) = &mut port.pim else { return };
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
                self.hear_bsr(now, interface, source, destination, &message);
                let (for_dense, for_sparse) = self.by_mode(message);
                if let Some(message) = for_dense {
                    self.with_dense(now, |dense, context| {
                        dense.hear(context, interface, source, destination, &message);
                    });
                }
                if let Some(message) = for_sparse {
                    self.with_sparse(now, |sparse, context| sparse.hear(context, interface, source, &message));
                }
            }
            Err(_) => {}
        }
    }

    /// A packet came by an interface that takes no part in multicast: whether it is one that comes by the unicast routes.
    pub(super) fn receive_routed_elsewhere(&mut self, now: Time, interface: InterfaceId, datagram: &Datagram) -> bool {
        match wire::parse(datagram.source, datagram.destination, &datagram.payload) {
            Ok(message) if is_routed(&message) => {
                self.receive_routed(now, interface, datagram, &message);
                true
            }
            Ok(_) | Err(_) => false,
        }
    }

    /// A message that came by the unicast routes, to one of this router's addresses.
    fn receive_routed(&mut self, now: Time, interface: InterfaceId, datagram: &Datagram, message: &Message) {
        let (from, to) = (datagram.source, datagram.destination);
        let Router { sparse, ports, others, .. } = self;
        let has = |addresses: &[ipnet::IpNet]| addresses.iter().any(|net| net.addr() == to);
        let own = ports.values().any(|port| has(&port.state.addresses)) || others.values().any(|all| has(all));
        let refusal = match () {
            () if sparse.is_none() => Some(DropReason::NotRunning),
            // Dropped silently (§4.4.2).
            () if !own => Some(DropReason::Destination),
            () => None,
        };
        let counters = ports.get_mut(&interface).map_or(&mut self.counters, |port| &mut port.counters);
        if let Some(reason) = refusal {
            counters.drop(reason);
            return;
        }
        counters.receive(message.kind());
        match message {
            Message::Register(register) => {
                self.with_sparse(now, |sparse, context| sparse.hear_register(context, interface, from, to, register));
            }
            Message::RegisterStop(stop) => {
                self.with_sparse(now, |sparse, context| sparse.hear_register_stop(context, interface, from, stop));
            }
            message => self.hear_bsr(now, interface, from, to, message),
        }
    }

    /// Whether dense mode handles a group.
    pub(super) fn is_dense(&self, group: IpAddr) -> bool {
        self.dense.is_some() && self.modes.of(group) == Mode::Dense
    }

    /// A message for dense mode, and one for sparse mode: each with its groups.
    fn by_mode(&self, message: Message) -> (Option<Message>, Option<Message>) {
        if self.sparse.is_none() {
            return (Some(message), None);
        }
        match message {
            Message::JoinPrune(mut message) => {
                let is_dense = |set: &GroupSet| self.is_dense(set.group);
                let (dense, sparse): (Vec<_>, Vec<_>) = message.groups.drain(..).partition(is_dense);
                let with = |groups: Vec<GroupSet>| {
                    (!groups.is_empty()).then(|| Message::JoinPrune(JoinPrune { groups, ..message.clone() }))
                };
                (with(dense), with(sparse))
            }
            Message::Assert(assert) if self.is_dense(assert.group) => (Some(Message::Assert(assert)), None),
            Message::StateRefresh(refresh) if !self.is_dense(refresh.group) => (None, None),
            Message::Graft(mut graft) => {
                graft.groups.retain(|set| self.is_dense(set.group));
                ((!graft.groups.is_empty()).then_some(Message::Graft(graft)), None)
            }
            Message::GraftAck(_) | Message::StateRefresh(_) => (Some(message), None),
            Message::Assert(_) => (None, Some(message)),
            Message::Hello(_)
            | Message::Register(_)
            | Message::RegisterStop(_)
            | Message::Bootstrap(_)
            | Message::CandidateRpAdvertisement(_) => (None, None),
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
        self.with_bsr(now, Bsr::timeout);
        self.with_sparse(now, |sparse, context| sparse.timeout(context));
    }

    /// When PIM's next timer runs out.
    pub(super) fn next_pim_timeout(&self) -> Option<Time> {
        let links = self.ports.values().filter_map(|port| port.pim.as_ref()?.next_timeout());
        let dense = self.dense.as_ref().and_then(Dense::next_timeout);
        let bsr = self.bsr.as_ref().and_then(Bsr::next_timeout);
        links.chain(dense).chain(bsr).chain(self.sparse.as_ref().and_then(Sparse::next_timeout)).min()
    }

    /// Takes leave of all neighbours.
    pub(super) fn shut_pim_down(&mut self, now: Time) {
        self.with_bsr(now, Bsr::shutdown);
        self.with_dense(now, |dense, _| dense.shutdown());
        self.with_sparse(now, |sparse, _| sparse.shutdown());
        for port in self.ports.values_mut() {
            if let Some(link) = &mut port.pim {
                link.goodbye();
            }
        }
        self.settle_links(now);
    }

    /// Sends the hellos of all links, and tells dense mode of the neighbours that changed.
    pub(super) fn settle_links(&mut self, now: Time) {
        let has_news = |port: &Port| port.pim.as_ref().is_some_and(Link::has_news);
        let ids: Vec<InterfaceId> = self.ports.iter().filter(|(_, port)| has_news(port)).map(|(id, _)| *id).collect();
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
            self.with_sparse(now, |sparse, context| sparse.neighbour_changed(context, id, change));
            self.with_bsr(now, |bsr, context| bsr.neighbour_changed(context, id, change));
        }
        self.with_sparse(now, Sparse::check_drs);
    }

    /// The route to some addresses changed.
    pub(super) fn route_changed(&mut self, now: Time, prefix: ipnet::IpNet) {
        self.with_dense(now, |dense, context| dense.route_changed(context, prefix));
        self.with_sparse(now, |sparse, context| sparse.route_changed(context, prefix));
    }

    /// Members of some groups came or went: together, so that what a thousand groups have to say goes in few messages.
    pub(super) fn members_changed(&mut self, now: Time, groups: &[IpAddr]) {
        let (dense, sparse): (Vec<IpAddr>, Vec<IpAddr>) = groups.iter().partition(|group| self.is_dense(**group));
        self.with_dense(now, |mode, context| dense.iter().for_each(|group| mode.members_changed(context, *group)));
        self.with_sparse(now, |mode, context| sparse.iter().for_each(|group| mode.members_changed(context, *group)));
    }

    /// Lets sparse mode act, and does what it wants done.
    pub(super) fn with_sparse(&mut self, now: Time, act: impl FnOnce(&mut Sparse, &mut sparse::Context<'_>)) {
        let Router { sparse: Some(sparse), ports, rib, random, modes, rps, others, .. } = self else { return };
        let mut context = sparse::Context { now, ports, others, rib, rps, modes, random };
        act(sparse, &mut context);
        for action in sparse.take_actions(&context) {
            self.act_sparse(now, action);
        }
    }

    fn act_sparse(&mut self, now: Time, action: sparse::Action) {
        // Of (*,G), the source is all zeros, as in messages.
        let source = |tree: Tree| tree.source.unwrap_or(IpAddr::from([0, 0, 0, 0]));
        match action {
            sparse::Action::Send(sent) => self.send_pim(now, &sent),
            sparse::Action::SendRouted { source, destination, traffic_class, message } => {
                self.counters.send(message.kind());
                let datagram = Datagram {
                    source,
                    destination,
                    protocol: wire::PROTOCOL,
                    ttl: ROUTED_TTL,
                    router_alert: false,
                    traffic_class: traffic_class.unwrap_or(CONTROL_TOS),
                    payload: message.emit(source, destination),
                };
                self.output(Output::SendRouted { datagram });
            }
            sparse::Action::Install { entry, asked } => {
                // The kernel asks again for what it has lost.
                if !self.install(now, entry.incoming, entry.clone()) && asked {
                    self.output(Output::SetEntry(entry));
                }
            }
            sparse::Action::Remove(key) => self.delete(now, key),
            sparse::Action::Upstream(tree, state) => {
                let state = state.name().to_owned();
                self.event(now, EventKind::Upstream { source: source(tree), group: tree.group, state });
            }
            sparse::Action::Register(key, state) => {
                let state = state.name().to_owned();
                self.event(now, EventKind::Register { source: key.source, group: key.group, state });
            }
            sparse::Action::Assert(tree, id, state) => {
                let winner = match state {
                    sparse::assert::State::NoInfo => None,
                    sparse::assert::State::Winner => sparse::macros::my_ip_address(&self.ports, id),
                    sparse::assert::State::Loser { winner, .. } => Some(winner),
                };
                let (interface, state) = (self.name(id), state.name().to_owned());
                let (source, group) = (source(tree), tree.group);
                self.event(now, EventKind::Assert { source, group, interface, state, winner });
            }
            sparse::Action::DesignatedRouter(id, designated_router) => {
                let own = sparse::macros::my_ip_address(&self.ports, id);
                let elected = designated_router.is_some() && designated_router == own;
                let interface = self.name(id);
                self.event(now, EventKind::DesignatedRouter { interface, elected, designated_router });
            }
            sparse::Action::Drop(interface, reason) => self.refused(now, interface, reason),
        }
    }

    /// Counts something that a mode refused.
    fn refused(&mut self, now: Time, interface: Option<InterfaceId>, reason: DropReason) {
        match interface.and_then(|id| self.ports.get_mut(&id)) {
            Some(port) => port.counters.drop(reason),
            None => self.counters.drop(reason),
        }
        if reason == DropReason::EntryLimit {
            self.limit_reached(now, "forwarding-entries", None);
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
            dense::Action::Drop(interface, reason) => self.refused(now, interface, reason),
        }
    }

    pub(super) fn send_pim(&mut self, now: Time, sent: &Sent) {
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

/// Whether a message comes by the unicast routes, from wherever (RFC 7761 §4.9).
fn is_routed(message: &Message) -> bool {
    matches!(message, Message::Register(_) | Message::RegisterStop(_) | Message::CandidateRpAdvertisement(_))
}

/// Whether a message is one of the bootstrap mechanism.
fn is_bootstrap(message: &Message) -> bool {
    matches!(message, Message::Bootstrap(_) | Message::CandidateRpAdvertisement(_))
}

/// Whether a message may come to this destination (RFC 3973 §4.7): grafts may also be multicast.
fn is_destination(message: &Message, destination: IpAddr, own: IpAddr) -> bool {
    let all = destination == IpAddr::from(ALL_PIM_ROUTERS);
    match message {
        Message::Graft(_) => all || destination == own,
        // To a neighbour that is new, where that is configured (RFC 5059 §3.5.2).
        Message::Bootstrap(_) => all || destination == own,
        Message::GraftAck(_) => destination == own,
        Message::Hello(_) | Message::JoinPrune(_) | Message::Assert(_) | Message::StateRefresh(_) => all,
        Message::Register(_) | Message::RegisterStop(_) | Message::CandidateRpAdvertisement(_) => false,
    }
}
