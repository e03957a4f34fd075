//! The answers to `show`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::Serialize;

use super::Router;
use crate::counters::Counters;
use crate::forwarding::EntryKey;
use crate::membership::querier::Timer;
use crate::pim::mode::Mode;
use crate::pim::{dense, sparse};
use crate::router::port::Port;
use crate::show::{
    Entry, Group, Interface, Neighbour, Pim, Querier, Route, Show, Shown, SparseTree, State, Tree, TreeInterface,
};
use crate::time::Time;

impl Router {
    /// Answers `show`. The shell adds its own counters, and the kernel's to the entries.
    pub fn show(&self, now: Time, show: Show) -> Shown {
        match show {
            Show::Interfaces => Shown::Interfaces(self.show_interfaces(now)),
            Show::Groups => Shown::Groups(self.show_groups(now)),
            Show::Entries => Shown::Entries(self.show_entries()),
            Show::Counters => Shown::Counters(self.show_counters()),
            Show::Routes => Shown::Routes(self.show_routes()),
            Show::Neighbours => Shown::Neighbours(self.show_neighbours(now)),
            Show::Trees => Shown::Trees(self.show_trees(now)),
            Show::Bsr => Shown::Bsr(self.show_bsr(now)),
            Show::Rp => Shown::Rp(self.show_rps(now)),
            Show::State => Shown::State(State { now: self.held(), most: self.most_held() }),
            Show::RpOf(group) => Shown::Rp(self.show_rp_of(now, group)),
        }
    }

    fn show_interfaces(&self, now: Time) -> Vec<Interface> {
        let interface = |config: &crate::config::Interface| {
            let id = self.find(&config.name);
            let port = id.and_then(|id| self.ports.get(&id));
            Interface {
                name: config.name.clone(),
                index: id,
                up: port.is_some_and(|port| port.state.up),
                addresses: port.map(|port| port.state.addresses.clone()).unwrap_or_default(),
                multicast: port.is_some(),
                ttl_threshold: config.ttl_threshold,
                boundary: config.boundary.clone(),
                igmp: port.and_then(|port| querier(now, port)),
                pim: port.and_then(|port| self.show_pim(port)),
            }
        };
        self.config.interfaces.iter().map(interface).collect()
    }

    fn show_pim(&self, port: &Port) -> Option<Pim> {
        let link = port.pim.as_ref()?;
        let designated_router = link.dr().filter(|_| self.sparse.is_some());
        Some(Pim {
            designated_router,
            elected: designated_router.is_some() && link.is_dr(),
            dr_priority: link.settings().dr_priority,
            neighbours: link.neighbours().len(),
            tracking: link.is_tracking(),
        })
    }

    fn show_groups(&self, now: Time) -> Vec<Group> {
        let mut shown = Vec::new();
        for config in &self.config.interfaces {
            let Some(port) = self.find(&config.name).and_then(|id| self.ports.get(&id)) else { continue };
            let Some(igmp) = &port.igmp else { continue };
            for (group, filter) in igmp.memberships() {
                let record = igmp.groups().get(group);
                let left = |timer: Timer| igmp.deadline(timer).map(|deadline| millis_left(now, deadline));
                let running: BTreeSet<IpAddr> = record.map(|record| record.running().clone()).unwrap_or_default();
                shown.push(Group {
                    interface: config.name.clone(),
                    group: *group,
                    filter: filter.clone(),
                    version: igmp.compatibility(*group).min(igmp.settings().version).into(),
                    expires_ms: left(Timer::Group(*group)),
                    sources: running
                        .into_iter()
                        .filter_map(|source| Some((source, left(Timer::Source(*group, source))?)))
                        .collect(),
                    last_reporter: record.and_then(|record| record.last_reporter),
                    configured: igmp.static_filter(*group).is_some(),
                });
            }
        }
        shown
    }

    fn show_entries(&self) -> Vec<Entry> {
        let mut shown: Vec<Entry> = self
            .table
            .iter()
            .map(|(key, installed)| Entry {
                source: key.source,
                group: key.group,
                incoming: self.name(installed.entry.incoming),
                outgoing: installed.entry.outgoing.iter().map(|(id, ttl)| (self.name(*id), *ttl)).collect(),
                packets: Some(installed.packets),
                octets: Some(installed.octets),
                wrong_interface: Some(installed.wrong_interface),
            })
            .collect();
        shown.sort_by_key(|entry| (entry.group, entry.source));
        shown
    }

    /// Names are `WHERE.WHAT.KIND`: `eth0.received.report-v3`, `eth0.sent.general-query`, `eth0.dropped.ttl`, and `router` where no
    /// interface is to blame.
    fn show_counters(&self) -> BTreeMap<String, u64> {
        let mut shown = BTreeMap::new();
        add_counters(&mut shown, "router", &self.counters);
        for port in self.ports.values() {
            let mut counters = port.counters.clone();
            if let Some(igmp) = &port.igmp {
                counters.add(igmp.counters());
            }
            if let Some(link) = &port.pim {
                counters.add(link.counters());
            }
            add_counters(&mut shown, &port.state.name, &counters);
        }
        shown
    }

    fn show_routes(&self) -> Vec<Route> {
        self.rib
            .iter()
            .map(|route| Route {
                prefix: route.prefix,
                next_hop: route.next_hop,
                interface: self.name(route.interface),
                metric: route.metric,
            })
            .collect()
    }
}

impl Router {
    fn show_neighbours(&self, now: Time) -> Vec<Neighbour> {
        let mut shown = Vec::new();
        for config in &self.config.interfaces {
            let Some(port) = self.find(&config.name).and_then(|id| self.ports.get(&id)) else { continue };
            let Some(link) = &port.pim else { continue };
            shown.extend(link.neighbours().iter().map(|(address, neighbour)| Neighbour {
                interface: config.name.clone(),
                address: *address,
                up_ms: millis_left(neighbour.since, now),
                expires_ms: link.expires(*address).map(|deadline| millis_left(now, deadline)),
                generation_id: neighbour.hello.generation_id,
                override_interval_ms: neighbour.hello.lan_prune_delay.map(|delay| delay.override_interval),
                propagation_delay_ms: neighbour.hello.lan_prune_delay.map(|delay| delay.propagation_delay),
                state_refresh: neighbour.hello.state_refresh_interval.is_some(),
            }));
        }
        shown
    }

    fn show_trees(&self, now: Time) -> Vec<Tree> {
        let mut shown = self.show_dense_trees(now);
        shown.extend(self.show_sparse_trees(now));
        shown.sort_by_key(|tree| (tree.group, tree.source));
        shown
    }

    fn show_dense_trees(&self, now: Time) -> Vec<Tree> {
        let Some(dense) = &self.dense else { return Vec::new() };
        let left = |timers: &[(&str, dense::entry::Timer)]| {
            left(now, timers.iter().map(|(name, timer)| (*name, dense.deadline(*timer))))
        };
        let tree = |(key, entry): (&EntryKey, &dense::entry::Entry)| Tree {
            source: key.source,
            group: key.group,
            rpf_interface: entry.rpf_interface().map(|id| self.name(id)),
            rpf_neighbour: entry.rpf_neighbour,
            upstream: entry.upstream.name().to_owned(),
            originator: entry.origination == dense::origination::State::Originator,
            rp: None,
            sparse: None,
            timers: left(&dense::entry::Timer::of_entry(*key)),
            interfaces: entry
                .interfaces
                .iter()
                .map(|(id, state)| {
                    let shown = TreeInterface {
                        downstream: state.downstream.name().to_owned(),
                        downstream_rpt: None,
                        assert: state.assert.name().to_owned(),
                        assert_winner: dense::macros::assert_winner(&self.ports, entry, *id),
                        joined: None,
                        timers: left(&dense::entry::Timer::of_interface(*key, *id)),
                    };
                    (self.name(*id), shown)
                })
                .collect(),
        };
        dense.entries().iter().map(tree).collect()
    }

    fn show_sparse_trees(&self, now: Time) -> Vec<Tree> {
        use sparse::downstream_rpt::State as Rpt;
        use sparse::entry::{Timer, Tree as Id};
        let Some(sparse) = &self.sparse else { return Vec::new() };
        let left = |timers: Vec<(&'static str, Timer)>| {
            left(now, timers.into_iter().map(|(name, timer)| (name, sparse.deadline(timer))))
        };
        let winner = |id, state: sparse::assert::State| match state {
            sparse::assert::State::Winner => sparse::macros::my_ip_address(&self.ports, id),
            state => state.winner(),
        };
        let star = |(group, star): (IpAddr, &sparse::entry::Star)| Tree {
            source: IpAddr::from([0, 0, 0, 0]),
            group,
            rpf_interface: star.rpf_interface().map(|id| self.name(id)),
            rpf_neighbour: star.upstream.neighbour,
            upstream: star.upstream.state.name().to_owned(),
            originator: false,
            rp: star.rp,
            sparse: None,
            timers: left(Timer::of_tree(Id::all(group))),
            interfaces: star
                .interfaces
                .iter()
                .map(|(id, state)| {
                    let shown = TreeInterface {
                        downstream: state.downstream.name().to_owned(),
                        downstream_rpt: None,
                        assert: state.assert.name().to_owned(),
                        assert_winner: winner(id, state.assert),
                        joined: sparse.tracked(now, Id::all(group), id),
                        timers: left(Timer::of_interface(Id::all(group), id)),
                    };
                    (self.name(id), shown)
                })
                .collect(),
        };
        let source = |(key, entry): (EntryKey, &sparse::entry::Source)| Tree {
            source: key.source,
            group: key.group,
            rpf_interface: entry.rpf_interface().map(|id| self.name(id)),
            rpf_neighbour: entry.upstream.neighbour,
            upstream: entry.upstream.state.name().to_owned(),
            originator: false,
            rp: None,
            sparse: Some(SparseTree {
                spt_bit: entry.spt_bit || self.modes.of(key.group) == Mode::Ssm,
                rpt: entry.rpt.name().to_owned(),
                register: entry.register.name().to_owned(),
            }),
            timers: left(Timer::of_tree(key.into())),
            interfaces: entry
                .interfaces
                .iter()
                .map(|(id, state)| {
                    let shown = TreeInterface {
                        downstream: state.downstream.name().to_owned(),
                        downstream_rpt: (state.rpt != Rpt::NoInfo).then(|| state.rpt.name().to_owned()),
                        assert: state.assert.name().to_owned(),
                        assert_winner: winner(id, state.assert),
                        joined: sparse.tracked(now, key.into(), id),
                        timers: left(Timer::of_interface(key.into(), id)),
                    };
                    (self.name(id), shown)
                })
                .collect(),
        };
        sparse.stars().map(star).chain(sparse.sources().map(source)).collect()
    }
}

/// Running timers by name, with the milliseconds that are left.
fn left<'a>(now: Time, timers: impl Iterator<Item = (&'a str, Option<Time>)>) -> BTreeMap<String, u64> {
    timers.filter_map(|(name, deadline)| Some((name.to_owned(), millis_left(now, deadline?)))).collect()
}

fn querier(now: Time, port: &Port) -> Option<Querier> {
    let igmp = port.igmp.as_ref()?;
    let variables = igmp.variables();
    Some(Querier {
        version: igmp.version().into(),
        elected: igmp.is_querier(),
        querier: igmp.querier(),
        other_querier_expires_ms: igmp.deadline(Timer::OtherQuerierPresent).map(|deadline| millis_left(now, deadline)),
        query_interval_ms: u64::try_from(variables.query_interval.as_millis()).unwrap_or(u64::MAX),
        robustness: variables.robustness,
        groups: igmp.memberships().len(),
    })
}

pub(super) fn millis_left(now: Time, deadline: Time) -> u64 {
    u64::try_from(deadline.since(now).as_millis()).unwrap_or(u64::MAX)
}

fn add_counters(shown: &mut BTreeMap<String, u64>, place: &str, counters: &Counters) {
    fn add<K: Serialize>(shown: &mut BTreeMap<String, u64>, place: &str, what: &str, counts: &BTreeMap<K, u64>) {
        for (kind, count) in counts {
            // Kinds are unit variants: they serialise as their names.
            if let Ok(serde_json::Value::String(kind)) = serde_json::to_value(kind) {
                shown.insert(format!("{place}.{what}.{kind}"), *count);
            }
        }
    }
    add(shown, place, "received", &counters.received);
    add(shown, place, "sent", &counters.sent);
    add(shown, place, "dropped", &counters.dropped);
}
