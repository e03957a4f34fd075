//! The router itself: takes inputs to interfaces and protocols and merges what they want done.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ipnet::IpNet;

use super::port::Port;
use super::proxy::Upstream;
use super::{Datagram, Event, EventKind, Input, InterfaceId, InterfaceState, Output};
use crate::config::{Config, Interface, Multicast};
use crate::counters::{Counters, DropReason};
use crate::coverage::Coverage;
use crate::forwarding::table::{COUNTER_INTERVAL, IDLE, Table};
use crate::membership::querier::{Action, Header};
use crate::membership::{Family, Querier, Settings, igmp};
use crate::pim::bsr::Bsr;
use crate::pim::bsr::settings::Settings as BsrSettings;
use crate::pim::dense::Dense;
use crate::pim::link::Link;
use crate::pim::mode::Modes;
use crate::pim::rp::RpTable;
use crate::pim::settings::{LinkSettings, Settings as PimSettings};
use crate::pim::sparse::Sparse;
use crate::pim::sparse::settings::SparseSettings;
use crate::random::Random;
use crate::rib::Rib;
use crate::show::Held;
use crate::time::Time;
use crate::wire;

/// TOS of control packets: precedence 'internetwork control' (RFC 9776 §4).
const CONTROL_TOS: u8 = 0xc0;

/// The router.
#[derive(Debug)]
pub struct Router {
    pub(super) config: Config,
    pub(super) ports: BTreeMap<InterfaceId, Port>,
    pub(super) table: Table,
    pub(super) rib: Rib,
    pub(super) upstream: Upstream,
    /// Dense mode, where it is configured.
    pub(super) dense: Option<Dense>,
    /// Sparse mode, where it is configured.
    pub(super) sparse: Option<Sparse>,
    /// The bootstrap mechanism, which sparse mode has.
    pub(super) bsr: Option<Bsr>,
    /// Which mode a group is handled in.
    pub(super) modes: Modes,
    /// Rendezvous points.
    pub(super) rps: RpTable,
    /// Addresses of interfaces that take no part.
    pub(super) others: BTreeMap<InterfaceId, Vec<IpNet>>,
    pub(super) counters: Counters,
    pub(super) random: Random,
    /// Names of configured interfaces that the shell has not shown yet.
    awaited: BTreeSet<String>,
    ready: bool,
    limits_said: BTreeSet<(&'static str, Option<InterfaceId>)>,
    /// Of the machines of interfaces that are gone.
    past: Coverage,
    most_held: Held,
    outputs: VecDeque<Output>,
    /// When the next timer runs out, once all is done that the last input asked for; none until that is looked at.
    due: Option<Option<Time>>,
}

impl Router {
    /// A router with no interfaces yet: the shell announces them by [`Input::Interface`].
    ///
    /// The configuration should have passed [`Config::check`]; what is out of range is brought into it.
    pub fn new(config: Config) -> Router {
        let pim = PimSettings::new(&config.pim);
        let limit = config.limits.forwarding_entries;
        let has_dense_groups = config.pim.dense_groups.as_ref().is_some_and(|groups| !groups.is_empty());
        let dense = match config.multicast {
            Multicast::PimDm => Some(Dense::new(pim, limit)),
            Multicast::PimSm if has_dense_groups => Some(Dense::new(pim, limit)),
            Multicast::None | Multicast::Static | Multicast::Proxy | Multicast::PimSm => None,
        };
        let sparse_settings = SparseSettings::new(&config.pim);
        let bsr = (config.multicast == Multicast::PimSm).then(|| Bsr::new(BsrSettings::new(&config)));
        let sparse = (config.multicast == Multicast::PimSm).then(|| Sparse::new(sparse_settings, limit));
        // Often enough to know a source's end within a third of its lifetime; PIM says itself when an entry goes.
        let dense_interval = dense.is_some().then_some(pim.source_lifetime / 3);
        let sparse_interval = sparse.is_some().then_some(sparse_settings.counter_interval());
        let table = match dense_interval.into_iter().chain(sparse_interval).min() {
            Some(interval) => Table::new(interval, None),
            None => Table::new(COUNTER_INTERVAL, Some(IDLE)),
        };
        let mut outputs = VecDeque::new();
        if sparse.is_some() {
            outputs.push_back(Output::AddVif { interface: InterfaceId::REGISTER });
        }
        Router {
            modes: Modes::new(config.multicast, &config.pim),
            rps: RpTable::new(config.pim.rp.clone().unwrap_or_default()),
            others: BTreeMap::new(),
            awaited: config.interfaces.iter().map(|interface| interface.name.clone()).collect(),
            random: Random::new(config.seed),
            config,
            ports: BTreeMap::new(),
            table,
            rib: Rib::default(),
            upstream: Upstream::default(),
            dense,
            sparse,
            bsr,
            counters: Counters::default(),
            ready: false,
            limits_said: BTreeSet::new(),
            past: Coverage::default(),
            most_held: Held::default(),
            outputs,
            due: None,
        }
    }

    /// Takes an input at a time. Never blocks, never panics on what a peer sent.
    pub fn handle(&mut self, now: Time, input: Input) {
        // What ran out before the input happened, happens first.
        if self.poll_timeout().is_some_and(|due| due <= now) {
            self.run_timers(now);
        }
        self.due = None;
        match input {
            Input::Timeout => {}
            Input::Packet { interface, datagram } => self.receive(now, interface, &datagram),
            Input::Interface { interface, state } => self.interface_changed(now, interface, state),
            Input::InterfaceGone { interface } => self.interface_gone(now, interface),
            Input::RouteAdded(route) => {
                if self.rib.add(&route) {
                    self.route_changed(now, route.prefix);
                } else {
                    self.counters.drop(DropReason::RouteLimit);
                    self.limit_reached(now, "unicast-routes", None);
                }
            }
            Input::RouteRemoved(route) => {
                self.rib.remove(&route);
                self.route_changed(now, route.prefix);
            }
            Input::NoCache { interface, key } => self.no_cache(now, interface, key),
            Input::WrongInterface { interface, key } => self.wrong_interface(now, interface, key),
            Input::WholePacket { packet } => {
                self.with_sparse(now, |sparse, context| sparse.whole_packet(context, packet));
            }
            Input::Counters { key, packets, octets, wrong_interface } => {
                self.counters_read(now, key, packets, octets, wrong_interface);
            }
            Input::Shutdown => {
                self.leave_upstream();
                self.shut_pim_down(now);
            }
        }
        self.settle(now);
        if !self.ready && self.awaited.is_empty() {
            self.ready = true;
            self.event(now, EventKind::Ready);
        }
    }

    /// The next thing to do; call until it gives none.
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        // What can wait until everybody has been told.
        if output.is_none() && self.due.is_none() {
            self.due = Some(self.next_timeout());
            self.most_held = self.most_held.max(self.held());
        }
        output
    }

    /// When to call with [`Input::Timeout`] at the latest.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.due.unwrap_or_else(|| self.next_timeout())
    }

    fn next_timeout(&self) -> Option<Time> {
        let machines = self.ports.values().filter_map(|port| port.igmp.as_ref()?.next_timeout());
        machines.chain(self.table.next_reading()).chain(self.next_pim_timeout()).min()
    }

    /// Which pairs of a state and an event the machines of this router have been through.
    pub fn coverage(&self) -> Coverage {
        let mut coverage = self.past.clone();
        for port in self.ports.values() {
            port.cover(&mut coverage);
        }
        if let Some(dense) = &self.dense {
            coverage.merge(dense.coverage());
        }
        if let Some(sparse) = &self.sparse {
            coverage.merge(sparse.coverage());
        }
        if let Some(bsr) = &self.bsr {
            coverage.merge(bsr.coverage());
        }
        coverage
    }

    /// How much is remembered of others.
    pub fn held(&self) -> Held {
        let ports = self.ports.values();
        let dense = self.dense.as_ref().map_or(0, |dense| dense.entries().len());
        Held {
            memberships: ports.clone().filter_map(|port| port.igmp.as_ref()).map(|igmp| igmp.groups().len()).sum(),
            neighbours: ports.filter_map(|port| port.pim.as_ref()).map(|link| link.neighbours().len()).sum(),
            trees: dense + self.sparse.as_ref().map_or(0, Sparse::len),
            entries: self.table.len(),
        }
    }

    /// The most that was remembered whenever all was done.
    pub fn most_held(&self) -> Held {
        self.most_held.max(self.held())
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn output(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(super) fn event(&mut self, time: Time, kind: EventKind) {
        self.outputs.push_back(Output::Event(Event { time, kind }));
    }

    /// Says that a bound was hit, once per bound and interface.
    pub(super) fn limit_reached(&mut self, now: Time, limit: &'static str, interface: Option<InterfaceId>) {
        if self.limits_said.insert((limit, interface)) {
            let interface = interface.map(|id| self.name(id));
            self.event(now, EventKind::LimitReached { limit: limit.into(), interface });
        }
    }

    /// The name of an interface that takes part; its index if it does not.
    pub(super) fn name(&self, interface: InterfaceId) -> String {
        match self.ports.get(&interface) {
            Some(port) => port.state.name.clone(),
            None if interface == InterfaceId::REGISTER => "register".to_owned(),
            None => format!("#{}", interface.0),
        }
    }

    /// The interface of a name, if it exists and takes part.
    pub(super) fn find(&self, name: &str) -> Option<InterfaceId> {
        self.ports.iter().find(|(_, port)| port.state.name == name).map(|(id, _)| *id)
    }

    fn run_timers(&mut self, now: Time) {
        for port in self.ports.values_mut() {
            if let Some(igmp) = &mut port.igmp {
                igmp.timeout(now);
            }
        }
        self.run_pim_timers(now);
        while let Some(key) = self.table.pop_reading(now) {
            self.output(Output::AskCounters(key));
        }
        self.settle(now);
    }

    fn receive(&mut self, now: Time, interface: InterfaceId, datagram: &Datagram) {
        let Some(port) = self.ports.get_mut(&interface) else {
            // What comes by the unicast routes may come by any interface.
            if datagram.protocol != wire::pim::PROTOCOL || !self.receive_routed_elsewhere(now, interface, datagram) {
                self.counters.drop(DropReason::UnknownInterface);
            }
            return;
        };
        match (datagram.protocol, Family::of(datagram.source)) {
            (wire::igmp::PROTOCOL, Family::V4) => {
                let Some(igmp) = &mut port.igmp else {
                    port.counters.drop(DropReason::NotRunning);
                    return;
                };
                let message = match wire::igmp::parse(&datagram.payload) {
                    Ok(message) => igmp::from_wire(message),
                    Err(error) => {
                        igmp.counters_mut().drop(match error {
                            wire::igmp::Error::Checksum => DropReason::Checksum,
                            wire::igmp::Error::Type(_) => DropReason::UnknownType,
                            wire::igmp::Error::Truncated { .. } | wire::igmp::Error::QueryLength(_) => {
                                DropReason::Malformed
                            }
                        });
                        return;
                    }
                };
                let header = Header {
                    source: datagram.source,
                    destination: datagram.destination,
                    ttl: datagram.ttl,
                    router_alert: datagram.router_alert,
                };
                // A refusal is counted by the machine; nobody else needs to know.
                let _ = igmp.receive(now, &header, &message);
            }
            (wire::pim::PROTOCOL, Family::V4) => self.receive_pim(now, interface, datagram),
            _ => port.counters.drop(DropReason::UnknownProtocol),
        }
    }

    fn interface_changed(&mut self, now: Time, id: InterfaceId, state: InterfaceState) {
        let Some(config) = self.config.interfaces.iter().find(|interface| interface.name == state.name).cloned() else {
            self.others.insert(id, state.addresses);
            self.with_bsr(now, Bsr::addresses_changed);
            // Not of this router, or renamed away from a name that was.
            if self.ports.contains_key(&id) {
                self.interface_gone(now, id);
            }
            return;
        };
        self.awaited.remove(&state.name);
        self.others.remove(&id);
        // The same name under another index, or another name under the same index, is another interface.
        if let Some(old) = self.find(&state.name).filter(|old| *old != id) {
            self.interface_gone(now, old);
        }
        if self.ports.get(&id).is_some_and(|port| port.state.name != state.name) {
            self.interface_gone(now, id);
        }
        let is_new = !self.ports.contains_key(&id);
        if is_new {
            let igmp = self.new_querier(&config);
            let pim = self.new_link(&config);
            let ssm_mapping = config.pim.or(&self.config.pim).ssm_mapping.unwrap_or_default();
            let port = Port { config, state: state.clone(), igmp, pim, ssm_mapping, counters: Counters::default() };
            self.ports.insert(id, port);
            self.output(Output::AddVif { interface: id });
        }
        let Some(port) = self.ports.get_mut(&id) else { return };
        let was_up = port.state.up;
        let (name, up) = (state.name.clone(), state.up);
        if let Some(igmp) = &mut port.igmp {
            igmp.set_interface(now, state.up, &state.addresses, state.mtu);
        }
        if let Some(link) = &mut port.pim {
            link.set_interface(now, state.up, &state.addresses, &mut self.random);
        }
        port.state = state;
        if is_new || was_up != up {
            self.event(now, EventKind::Interface { interface: name, up });
        }
        self.upstream_changed();
        self.settle(now);
        self.settle_links(now);
        self.with_dense(
            now,
            |dense, context| if up { dense.evaluate_all(context) } else { dense.interface_lost(context, id) },
        );
        self.with_sparse(
            now,
            |sparse, context| if up { sparse.evaluate_all(context) } else { sparse.interface_lost(context, id) },
        );
        self.with_sparse(now, Sparse::check_drs);
        self.with_bsr(now, Bsr::addresses_changed);
        self.refresh_all(now);
    }

    fn new_link(&self, config: &Interface) -> Option<Link> {
        let settings = config.pim.or(&self.config.pim);
        let runs = self.config.multicast.is_pim() && settings.enabled.unwrap_or(true);
        runs.then(|| {
            let link = LinkSettings::new(&settings, self.config.limits.neighbours_per_interface);
            Link::new(if self.sparse.is_some() { link.sparse(&settings, self.dense.is_some()) } else { link })
        })
    }

    fn new_querier(&self, config: &Interface) -> Option<Querier> {
        let settings = config.igmp.or(&self.config.igmp);
        let limits = self.config.limits;
        // RFC 4605 §4: a proxy is a host on its upstream interface.
        let is_upstream = self.upstream_name() == Some(config.name.as_str());
        (settings.enabled.unwrap_or(true) && !is_upstream).then(|| {
            let settings = Settings::new(&settings, limits.groups_per_interface, limits.sources_per_group);
            Querier::new(Family::V4, settings)
        })
    }

    fn interface_gone(&mut self, now: Time, id: InterfaceId) {
        self.others.remove(&id);
        let Some(port) = self.ports.get_mut(&id) else {
            self.with_bsr(now, Bsr::addresses_changed);
            return;
        };
        if let Some(igmp) = &mut port.igmp {
            igmp.set_interface(now, false, &[], 0);
        }
        if let Some(link) = &mut port.pim {
            link.set_interface(now, false, &[], &mut self.random);
        }
        self.settle(now);
        self.settle_links(now);
        let name = self.name(id);
        self.output(Output::RemoveVif { interface: id });
        if let Some(port) = self.ports.remove(&id) {
            port.cover(&mut self.past);
        }
        self.rib.remove_interface(id);
        self.with_dense(now, |dense, context| dense.interface_lost(context, id));
        self.with_sparse(now, |sparse, context| sparse.interface_lost(context, id));
        self.with_bsr(now, Bsr::addresses_changed);
        self.event(now, EventKind::Interface { interface: name, up: false });
        self.upstream_changed();
        self.refresh_all(now);
    }

    /// Turns what the membership machines want into outputs, and their changes into entries.
    fn settle(&mut self, now: Time) {
        let has_news = |port: &Port| port.igmp.as_ref().is_some_and(Querier::has_news);
        let ids: Vec<InterfaceId> = self.ports.iter().filter(|(_, port)| has_news(port)).map(|(id, _)| *id).collect();
        if ids.is_empty() {
            return;
        }
        let mut touched = Vec::new();
        let mut elections = false;
        for id in ids {
            let Some(port) = self.ports.get_mut(&id) else { continue };
            let Some(igmp) = &mut port.igmp else { continue };
            let (actions, changes) = (igmp.take_actions(), igmp.take_changes());
            let interface = port.state.name.clone();
            for action in actions {
                elections |= matches!(action, Action::Elected { .. });
                self.act(now, id, action);
            }
            for (group, filter) in changes {
                touched.push(group);
                let interface = interface.clone();
                self.event(
                    now,
                    match filter {
                        Some(filter) => EventKind::MemberAdded { interface, group, filter },
                        None => EventKind::MemberRemoved { interface, group },
                    },
                );
            }
        }
        touched.sort_unstable();
        touched.dedup();
        for group in &touched {
            self.update_upstream(*group);
        }
        if elections && self.config.multicast == Multicast::Proxy {
            self.refresh_all(now);
        } else {
            // Together, so that what a thousand groups have to say goes in few messages.
            if !touched.is_empty() {
                self.members_changed(now, &touched);
            }
            for group in touched {
                self.refresh_group(now, group);
            }
        }
    }

    fn act(&mut self, now: Time, id: InterfaceId, action: Action) {
        let interface = self.name(id);
        match action {
            Action::Send { destination, query } => {
                let source = self.ports.get(&id).and_then(|port| port.igmp.as_ref()?.address());
                // The machine runs only while there is an address.
                let Some(source) = source else { return };
                let datagram = Datagram {
                    source,
                    destination,
                    protocol: wire::igmp::PROTOCOL,
                    ttl: 1,
                    router_alert: true,
                    traffic_class: CONTROL_TOS,
                    payload: igmp::query_to_wire(&query).emit(),
                };
                self.output(Output::Send { interface: id, datagram });
            }
            Action::Elected { elected, querier } => {
                self.event(now, EventKind::Querier { interface, elected, querier });
            }
            Action::OlderQuerier { version, querier } => {
                self.event(now, EventKind::OlderQuerier { interface, version: version.into(), querier });
            }
            Action::GroupLimit => self.limit_reached(now, "groups-per-interface", Some(id)),
            Action::SourceLimit => self.limit_reached(now, "sources-per-group", Some(id)),
        }
    }

    /// The upstream interface's name, of a proxy.
    pub(super) fn upstream_name(&self) -> Option<&str> {
        match self.config.multicast {
            Multicast::Proxy => self.config.upstream.as_deref(),
            Multicast::None | Multicast::Static | Multicast::PimDm | Multicast::PimSm => None,
        }
    }
}
