//! What happens around: routes, neighbours, members, interfaces and rendezvous points change.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::entry::{Timer, Tree};
use super::{Action, Context, Designated, Sparse, assert, downstream, downstream_rpt, macros, upstream};
use crate::counters::DropReason;
use crate::forwarding::EntryKey;
use crate::pim::link::{Change, Link};
use crate::router::{InterfaceId, SourceFilter};

impl Sparse {
    /// Members of a group came or went.
    pub fn members_changed(&mut self, context: &mut Context<'_>, group: IpAddr) {
        self.roll(context);
        if Self::is_group(group).is_err() {
            return;
        }
        self.ensure_members(context, group);
        self.evaluate_group(context, group);
    }

    /// Makes the state that members of a group need.
    fn ensure_members(&mut self, context: &Context<'_>, group: IpAddr) {
        let ssm = context.is_ssm(group);
        for (i, port) in context.ports {
            let Some(filter) = port.filter(group) else { continue };
            let named = match filter {
                SourceFilter::Exclude(_) if ssm => {
                    let named = macros::ssm_sources(port, group);
                    if named.is_empty() {
                        self.actions.push(Action::Drop(Some(*i), DropReason::SsmAnySource));
                    }
                    named
                }
                SourceFilter::Exclude(sources) | SourceFilter::Include(sources) => sources.clone(),
            };
            if !ssm && matches!(filter, SourceFilter::Exclude(_)) && self.ensure_star(context, group).is_err() {
                return;
            }
            for source in named {
                // Over the limit, or a source that nothing can come from: counted where it is refused.
                let _ = self.ensure(context, EntryKey { source, group });
            }
        }
    }

    /// The route to some addresses changed.
    pub fn route_changed(&mut self, context: &mut Context<'_>, prefix: IpNet) {
        self.roll(context);
        for tree in self.index.rooted_in(prefix) {
            self.evaluate(context, tree);
        }
    }

    /// The rendezvous points of these ranges are others: groups elsewhere keep theirs.
    pub fn rp_changed(&mut self, context: &mut Context<'_>, ranges: &BTreeSet<IpNet>) {
        self.roll(context);
        let mut groups = BTreeSet::new();
        for range in ranges {
            let (first, last) = (range.network(), range.broadcast());
            groups.extend(self.stars.range(first..=last).map(|(group, _)| *group));
            // The lowest of all addresses: every source of the first group counts.
            let lowest = IpAddr::from([0, 0, 0, 0]);
            let from = self.sources.range((first, lowest)..);
            let within = from.take_while(|((group, _), _)| *group <= last);
            groups.extend(within.filter(|(_, entry)| entry.keepalive).map(|((group, _), _)| *group));
        }
        for group in groups {
            self.evaluate_group(context, group);
        }
    }

    /// A neighbour changed.
    pub fn neighbour_changed(&mut self, context: &mut Context<'_>, i: InterfaceId, change: Change) {
        self.roll(context);
        let (Change::Up(neighbour) | Change::Restarted(neighbour) | Change::Down(neighbour)) = change;
        let mut trees = self.index.by_hop(i, neighbour);
        let secondary = macros::link(context.ports, i).and_then(|link| link.neighbours().get(&neighbour));
        for address in secondary.map(|neighbour| neighbour.hello.addresses.as_slice()).unwrap_or_default() {
            trees.extend(self.index.by_hop(i, *address));
        }
        let won = self.index.by_winner(i, neighbour);
        trees.extend(self.index.by_upstream(i, neighbour));
        if matches!(change, Change::Restarted(_)) {
            for tree in trees.clone() {
                if self.known_upstream(tree).and_then(|known| known.router()) == Some((i, neighbour)) {
                    self.upstream(context, tree, upstream::Event::GenIdChanges, None);
                }
            }
        }
        if !matches!(change, Change::Up(_)) {
            for tree in &won {
                self.assert(context, *tree, i, assert::Event::WinnerGone, None);
            }
        }
        trees.extend(won);
        trees.sort_unstable();
        trees.dedup();
        for tree in trees {
            self.evaluate(context, tree);
        }
        if !matches!(change, Change::Up(_)) {
            self.tracked.lose(i, neighbour);
        }
        if macros::link(context.ports, i).is_some_and(|link| link.neighbours().is_empty()) {
            self.end_for_ever(context, i);
        }
        self.run_out(context);
    }

    /// With nobody left on a link, what holds for ever there speaks for nobody (§4.9.5: it may time out by local policy).
    fn end_for_ever(&mut self, context: &mut Context<'_>, i: InterfaceId) {
        use downstream::State;
        use downstream_rpt::State as Rpt;
        let stars = self.stars.iter().filter(|(_, star)| star.downstream(i) != State::NoInfo);
        let mut joined: Vec<Tree> = stars.map(|(group, _)| Tree::all(*group)).collect();
        let mut pruned = Vec::new();
        for (key, entry) in self.sources() {
            if entry.downstream(i) != State::NoInfo {
                joined.push(key.into());
            }
            if entry.downstream_rpt(i) != Rpt::NoInfo {
                pruned.push(key);
            }
        }
        joined.retain(|tree| !self.timers.is_running(Timer::Expiry(*tree, i)));
        pruned.retain(|key| !self.timers.is_running(Timer::RptExpiry(*key, i)));
        for tree in joined {
            self.downstream(context, tree, i, downstream::Event::ExpiryTimerExpires, 0);
            self.evaluate(context, tree);
        }
        for key in pruned {
            self.downstream_rpt(context, key, i, downstream_rpt::Event::ExpiryTimerExpires, 0);
            self.evaluate_source(context, key);
        }
    }

    /// Looks at who is the designated router of each interface: where that changed, so did what this router does for members and sources.
    pub fn check_drs(&mut self, context: &mut Context<'_>) {
        self.roll(context);
        for (i, port) in context.ports {
            let link = port.pim.as_ref();
            if !link.is_some_and(Link::is_tracking) {
                self.tracked.forget(*i);
            }
            let address = link.and_then(Link::dr);
            // Where PIM does not run, nobody else is.
            let is_own = port.state.up && link.is_none_or(|link| address.is_some() && address == link.address());
            let known = self.drs.insert(*i, Designated { is_own, address });
            if known.unwrap_or_default().address != address {
                self.actions.push(Action::DesignatedRouter(*i, address));
            }
            if known.is_some_and(|known| known.is_own == is_own) {
                continue;
            }
            let members = port.igmp.as_ref().map(|igmp| igmp.memberships().keys().copied().collect::<Vec<_>>());
            for group in members.unwrap_or_default() {
                self.members_changed(context, group);
            }
            let on_link = port.state.addresses.iter().flat_map(|prefix| self.index.rooted_in(prefix.trunc()));
            for tree in on_link.collect::<Vec<_>>() {
                self.evaluate(context, tree);
            }
        }
    }

    /// An interface went down or is gone: nothing holds there any more.
    pub fn interface_lost(&mut self, context: &mut Context<'_>, i: InterfaceId) {
        self.roll(context);
        if self.drs.remove(&i).is_some_and(|known| known.address.is_some()) {
            self.actions.push(Action::DesignatedRouter(i, None));
        }
        self.tracked.forget(i);
        let mut lost = Vec::new();
        for (group, star) in &mut self.stars {
            if let Some(state) = star.interfaces.get(i) {
                lost.push((Tree::all(*group), state.assert.winner()));
                star.interfaces.remove(i);
            }
        }
        for ((group, source), entry) in &mut self.sources {
            if let Some(state) = entry.interfaces.get(i) {
                lost.push((Tree { group: *group, source: Some(*source) }, state.assert.winner()));
                entry.interfaces.remove(i);
            }
        }
        for (tree, winner) in lost {
            self.index.change_winner(tree, i, winner, None);
            for (_, timer) in Timer::of_interface(tree, i) {
                self.timers.cancel(timer);
            }
        }
        self.evaluate_all(context);
    }

    /// Looks at all state anew: an interface came up, or went.
    pub fn evaluate_all(&mut self, context: &mut Context<'_>) {
        self.roll(context);
        let members = context.ports.values().filter_map(|port| Some(port.igmp.as_ref()?.memberships().keys().copied()));
        let mut groups: Vec<IpAddr> = members.flatten().collect();
        groups.extend(self.stars.keys());
        groups.extend(self.sources.keys().map(|(group, _)| group));
        groups.sort_unstable();
        groups.dedup();
        for group in groups {
            self.members_changed(context, group);
        }
    }

    /// The router ends: neighbours are to look for another way at once. Where it forwards by an assert, others take over (§4.6.4); the
    /// goodbye of its hellos does the rest.
    pub fn shutdown(&mut self) {
        let won = |state: assert::State| state == assert::State::Winner;
        let mut cancelled: Vec<(Tree, InterfaceId)> = Vec::new();
        for (group, star) in &self.stars {
            let interfaces = star.interfaces.iter().filter(|(_, state)| won(state.assert));
            cancelled.extend(interfaces.map(|(i, _)| (Tree::all(*group), i)));
        }
        for ((group, source), entry) in &self.sources {
            let interfaces = entry.interfaces.iter().filter(|(_, state)| won(state.assert));
            cancelled.extend(interfaces.map(|(i, _)| (Tree { group: *group, source: Some(*source) }, i)));
        }
        for (tree, i) in cancelled {
            self.send_assert_cancel(tree, i);
        }
    }
}
