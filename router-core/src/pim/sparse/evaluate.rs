//! Looks at routes and macros anew, and tells the machines what changed.

use std::net::IpAddr;

use super::entry::{Tree, Upstream};
use super::{Context, Sparse, assert, macros, register, upstream, upstream_rpt};
use crate::forwarding::EntryKey;
use crate::pim::mrib::{self, Rpf};
use crate::router::InterfaceId;

impl Sparse {
    /// The next hop of a way, for the index.
    pub(super) fn hop(rpf: Option<Rpf>) -> Option<(InterfaceId, IpAddr)> {
        let rpf = rpf?;
        Some((rpf.interface, rpf.next_hop?))
    }

    /// Looks at a tree: of (*,G), with all sources of the group.
    pub(super) fn evaluate(&mut self, context: &mut Context<'_>, tree: Tree) {
        match tree.key() {
            Some(key) => self.evaluate_source(context, key),
            None => self.evaluate_group(context, tree.group),
        }
    }

    /// Looks at (*,G) and at all sources of the group.
    pub(super) fn evaluate_group(&mut self, context: &mut Context<'_>, group: IpAddr) {
        self.evaluate_star(context, group);
        for key in self.sources_of(group) {
            self.evaluate_source(context, key);
        }
        self.tidy_star(context, group);
    }

    fn evaluate_star(&mut self, context: &mut Context<'_>, group: IpAddr) {
        let tree = Tree::all(group);
        let rp = context.rp(group);
        let rpf = rp.and_then(|rp| context.toward_rp(rp));
        let Some(star) = self.star(group) else { return };
        let (rp_before, rpf_before) = (star.rp, star.rpf);
        (star.rp, star.rpf) = (rp, rpf);
        self.index.change_root(tree, rp_before, rp);
        self.index.change_hop(tree, Self::hop(rpf_before), Self::hop(rpf));
        self.check_asserts(context, tree, rpf_before.map(|rpf| rpf.interface));
        self.check_upstream(context, tree);
        self.check_asserts(context, tree, None);
    }

    /// Looks at (S,G) and (S,G,rpt).
    pub(super) fn evaluate_source(&mut self, context: &mut Context<'_>, key: EntryKey) {
        let rpf = mrib::lookup(context.rib, context.ports, key.source);
        let Some(entry) = self.source(key) else { return };
        let before = std::mem::replace(&mut entry.rpf, rpf);
        self.index.change_hop(key.into(), Self::hop(before), Self::hop(rpf));
        self.check_register(context, key);
        self.check_asserts(context, key.into(), before.map(|rpf| rpf.interface));
        self.check_upstream(context, key.into());
        self.check_spt_bit(context, key);
        self.check_asserts(context, key.into(), None);
        self.check_rpt(context, key);
        self.forward(context, key, false);
        self.tidy_source(context, key);
    }

    fn check_register(&mut self, context: &mut Context<'_>, key: EntryKey) {
        let v = self.view(context, key.into());
        let known = v.entry.register_rp;
        let registers = v.entry.register != register::State::NoInfo;
        let here = macros::keepalive_running(&v) && macros::directly_connected(&v) && !v.ssm;
        if !registers && !here && known.is_none() {
            return;
        }
        let rp = context.rp(key.group).filter(|_| here);
        let could = macros::could_register(&v, rp.and_then(|rp| context.toward_rp(rp)));
        if let Some(entry) = self.source(key) {
            entry.register_rp = rp;
        }
        self.index.change_registered(key.into(), known, rp);
        match (registers, could) {
            (false, true) => self.register(context, key, register::Event::CouldRegisterTrue),
            (true, false) => self.register(context, key, register::Event::CouldRegisterFalse),
            (true, true) if known != rp => self.register(context, key, register::Event::RpChanged),
            (true, true) | (false, false) => {}
        }
    }

    /// `was` is what the RPF interface was before.
    fn check_asserts(&mut self, context: &mut Context<'_>, tree: Tree, was: Option<InterfaceId>) {
        use assert::{Event, State};
        let v = self.view(context, tree);
        let rpf = if tree.source.is_some() { v.entry.rpf_interface() } else { v.star.rpf_interface() };
        let mut states: Vec<(InterfaceId, State)> = match tree.source {
            Some(_) => v.entry.interfaces.iter().map(|(i, state)| (i, state.assert)).collect(),
            None => v.star.interfaces.iter().map(|(i, state)| (i, state.assert)).collect(),
        };
        states.retain(|(_, state)| *state != State::NoInfo);
        let mut events = Vec::new();
        for (i, state) in states {
            let guards = Self::assert_guards(&v, i);
            match state {
                State::NoInfo => {}
                State::Winner if !guards.could_assert => events.push((i, Event::CouldAssertFalse)),
                State::Winner => {}
                State::Loser { .. } if was == Some(i) && rpf != Some(i) => {
                    events.push((i, Event::StopsBeingRpfInterface));
                }
                State::Loser { .. } if !guards.tracking_desired => events.push((i, Event::TrackingDesiredFalse)),
                State::Loser { metric, .. } if guards.mine.is_better_than(&metric) => {
                    events.push((i, Event::MetricImproves));
                }
                State::Loser { .. } => {}
            }
        }
        for (i, event) in events {
            self.assert(context, tree, i, event, tree.source);
        }
    }

    fn check_upstream(&mut self, context: &mut Context<'_>, tree: Tree) {
        let v = self.view(context, tree);
        let (known, desired, rpf, neighbour) = match tree.source {
            Some(_) => (v.entry.upstream, macros::join_desired(&v), v.entry.rpf, macros::rpf_neighbour(&v)),
            None => (v.star.upstream, macros::join_desired_all(&v), v.star.rpf, macros::rpf_neighbour_all(&v)),
        };
        let joined = macros::is_upstream_joined(known.state);
        let interface = rpf.map(|rpf| rpf.interface);
        let by_route = macros::nbr_by_route(&v, rpf);
        if joined && !desired {
            self.upstream(context, tree, upstream::Event::JoinDesiredFalse, None);
        }
        if let Some(known) = self.known_upstream(tree) {
            let before = known.router();
            *known = Upstream { interface, by_route, neighbour, ..*known };
            let after = known.router();
            self.index.change_upstream(tree, before, after, Self::hop(rpf));
        }
        if joined && desired && (known.interface, known.neighbour) != (interface, neighbour) {
            let by_assert = (known.interface, known.by_route) == (interface, by_route);
            let event =
                if by_assert { upstream::Event::NeighbourChangesByAssert } else { upstream::Event::NeighbourChanges };
            self.upstream(context, tree, event, Some(known));
        }
        if desired && !joined {
            self.upstream(context, tree, upstream::Event::JoinDesiredTrue, None);
        }
    }

    pub(super) fn known_upstream(&mut self, tree: Tree) -> Option<&mut Upstream> {
        match tree.key() {
            Some(key) => self.source(key).map(|entry| &mut entry.upstream),
            None => self.star(tree.group).map(|star| &mut star.upstream),
        }
    }

    /// Where data comes by the RPF interface of the source already, the next packet would set SPTbit(S,G), and nobody would tell of it
    /// (§4.2.2).
    fn check_spt_bit(&mut self, context: &Context<'_>, key: EntryKey) {
        let v = self.view(context, key.into());
        let Some(arrival) = v.entry.arrival.filter(|_| !macros::spt_bit(&v)) else { return };
        if macros::update_spt_bit(&v, arrival)
            && let Some(entry) = self.source(key)
        {
            entry.spt_bit = true;
        }
    }

    fn check_rpt(&mut self, context: &mut Context<'_>, key: EntryKey) {
        use upstream_rpt::{Event, State};
        let v = self.view(context, key.into());
        if v.ssm {
            return;
        }
        let joined = macros::rpt_join_desired(&v);
        let pruned = joined && macros::prune_desired_rpt(&v);
        let by_all = !joined || macros::rpf_neighbour_rpt(&v) == macros::rpf_neighbour_all(&v);
        let was_by_all = v.entry.rpt_by_all;
        let event = match (v.entry.rpt, joined, pruned) {
            (State::Pruned | State::NotPruned, false, _) => Some(Event::RptJoinDesiredFalse),
            (State::NotJoined | State::NotPruned, true, true) => Some(Event::PruneDesiredTrue),
            (State::Pruned, true, false) => Some(Event::PruneDesiredFalse),
            (State::NotJoined, true, false) => Some(Event::OlistNonNull),
            (State::NotJoined, false, _) | (State::Pruned, true, true) | (State::NotPruned, true, false) => None,
        };
        if let Some(entry) = self.source(key) {
            entry.rpt_by_all = by_all;
        }
        if let Some(event) = event {
            self.upstream_rpt(context, key, event);
        }
        if by_all && !was_by_all {
            self.upstream_rpt(context, key, Event::NeighbourBecomesAll);
        }
    }
}
