//! Expectations: each goes to its check, with its deadline for the place.

use std::net::IpAddr;
use std::time::Duration;

use super::Run;
use crate::network::{Network, NetworkError};
use crate::oracle::Deadlines;
use crate::scenario::check::{self, Judgement};
use crate::topology::plan::{NodeId, WireId};
use crate::topology::steps::{Deadline, Expectation};

impl<N: Network> Run<'_, N> {
    pub(super) fn expect(&mut self, expectation: &Expectation) -> Result<Judgement, NetworkError> {
        match expectation {
            Expectation::Delivered { stream, to, within, lasting, loss, duplicates } => {
                let within = self.deadline(*within, &self.wires_of(to), self.group_of(stream));
                check::delivery::delivered(self, stream, to, within, *lasting, *loss, *duplicates)
            }
            Expectation::NotDelivered { stream, to, lasting } => {
                check::delivery::not_delivered(self, stream, to, *lasting)
            }
            Expectation::Outage { stream, at, below, within } => {
                let (wires, group) = (self.wires_of(at), self.group_of(stream));
                let (below, within) = (self.deadline(*below, &wires, group), self.deadline(*within, &wires, group));
                check::latency::outage(self, stream, at, below, within)
            }
            Expectation::JoinLatency { stream, at, below } => {
                let below = self.deadline(*below, &self.wires_of(at), self.group_of(stream));
                check::latency::join_latency(self, stream, at, below)
            }
            Expectation::LeaveLatency { wire, group, below } => {
                let below = self.deadline(*below, &[*wire], Some(*group));
                check::latency::leave_latency(self, *wire, *group, below)
            }
            Expectation::Quiet { wire, group, within, lasting } => {
                let within = self.deadline(*within, &[*wire], *group);
                check::wire::quiet(self, *wire, *group, within, *lasting)
            }
            Expectation::Seen { wire, message, from, group, count, within, since_start } => {
                let within = self.deadline(*within, &[*wire], *group);
                let wanted = check::wire::Wanted { message: *message, from: *from, group: *group, count: *count };
                check::wire::seen(self, *wire, &wanted, within, *since_start)
            }
            Expectation::Member { at, group, present, filter, within } => {
                let within = self.deadline(*within, &[self.plan.interface(*at).wire], Some(*group));
                check::state::member(self, *at, *group, *present, filter.as_ref(), within)
            }
            Expectation::Querier { wire, is, within } => {
                let within = self.deadline(*within, &[*wire], None);
                check::wire::querier(self, *wire, *is, within)
            }
            Expectation::Neighbours { at, are, within } => {
                let wires: Vec<WireId> = at.iter().map(|at| self.plan.interface(*at).wire).collect();
                let within = self.deadline(*within, &wires, None);
                check::neighbours::neighbours(self, at, are.as_deref(), within)
            }
            Expectation::DesignatedRouter { at, is, within } => {
                let wires: Vec<WireId> = at.iter().map(|at| self.plan.interface(*at).wire).collect();
                let within = self.deadline(*within, &wires, None);
                check::roles::designated_router(self, at, *is, within)
            }
            Expectation::Rp { group, at, is, within } => {
                let within = self.deadline(*within, &[], Some(*group));
                check::roles::rp(self, *group, at, *is, within)
            }
            Expectation::Tree { stream, within } => {
                let within = self.deadline(*within, &[], self.group_of(stream));
                check::state::tree(self, stream, within)
            }
            Expectation::Entry { router, source, group, present, incoming, outgoing, within } => {
                let wires: Vec<WireId> = self.plan.node(*router).interfaces.iter().map(|i| i.wire).collect();
                let within = self.deadline(*within, &wires, Some(*group));
                let wanted = check::state::WantedEntry {
                    router: *router,
                    source: *source,
                    group: *group,
                    incoming: *incoming,
                    outgoing: outgoing.as_deref(),
                };
                check::state::entry(self, &wanted, *present, within)
            }
            Expectation::Scope { stream, ttls, reached, within } => {
                let within = self.deadline(*within, &[], Some(stream.group));
                check::scope::scope(self, stream, ttls, reached, within)
            }
            Expectation::Command { node, command, status, contains, within } => {
                let within = self.deadline(*within, &[], None);
                check::command::command(self, *node, command, *status, contains.as_deref(), within)
            }
        }
    }

    fn deadline(&self, deadline: Deadline, wires: &[WireId], group: Option<IpAddr>) -> Duration {
        let world = self.history.now();
        let streams = self.streams.iter().filter(|s| group.is_none_or(|group| group == s.stream.group));
        let pace = streams.map(|s| check::latency::pace(&s.stream)).max().unwrap_or_default();
        Deadlines::new(self.plan, world).with_slack(self.options.slack).with_pace(pace).resolve(deadline, wires, group)
    }

    fn wires_of(&self, nodes: &[NodeId]) -> Vec<WireId> {
        nodes.iter().flat_map(|node| &self.plan.node(*node).interfaces).map(|interface| interface.wire).collect()
    }

    fn group_of(&self, stream: &str) -> Option<IpAddr> {
        self.started(stream).map(|s| s.stream.group)
    }
}
