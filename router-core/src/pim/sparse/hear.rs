//! Messages of neighbours, taken apart for the machines (RFC 7761 §4.5, §4.6).

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::entry::Tree;
use super::outbox::{About, Word};
use super::{Action, Context, Sparse, assert, downstream, downstream_rpt, macros, upstream, upstream_rpt};
use crate::counters::DropReason;
use crate::forwarding::EntryKey;
use crate::pim::metric::AssertMetric;
use crate::router::InterfaceId;
use crate::wire::pim::{Assert, EncodedSource, GroupSet, JoinPrune, Message};

/// A join/prune that is read.
#[derive(Clone, Copy)]
struct Heard {
    interface: InterfaceId,
    from: IpAddr,
    upstream: IpAddr,
    hold_time: u16,
}

impl Sparse {
    /// A message of a neighbour, on an interface where PIM runs. Hellos are none of its business, and those of dense mode neither.
    pub fn hear(&mut self, context: &mut Context<'_>, interface: InterfaceId, from: IpAddr, message: &Message) {
        self.roll(context);
        match message {
            Message::JoinPrune(message) => self.hear_join_prune(context, interface, from, message),
            Message::Assert(message) => self.hear_assert(context, interface, from, message),
            _ => {}
        }
    }

    fn hear_join_prune(
        &mut self,
        context: &mut Context<'_>,
        interface: InterfaceId,
        from: IpAddr,
        message: &JoinPrune,
    ) {
        let Some(own) = macros::my_ip_address(context.ports, interface) else { return };
        let (upstream, hold_time) = (message.upstream, message.hold_time);
        let to_me = upstream == own;
        let heard = Heard { interface, from, upstream, hold_time };
        let mut joined = BTreeSet::new();
        for set in &message.groups {
            let group = set.group;
            let whole = if group.is_ipv4() { 32 } else { 128 };
            if set.mask_length != whole || group.is_ipv4() != upstream.is_ipv4() || Self::is_group(group).is_err() {
                continue;
            }
            if macros::is_boundary(context.ports, interface, group) {
                self.actions.push(Action::Drop(Some(interface), DropReason::Boundary));
                continue;
            }
            if to_me {
                self.hear_set(context, heard, set, &mut joined);
            } else {
                self.see_set(context, heard, set);
            }
        }
        // The end of the message: what it did not prune again is no longer pruned (§4.5.3).
        for group in joined {
            for key in self.sources_of(group) {
                let ends = downstream_rpt::Event::EndOfMessage;
                if self.downstream_rpt(context, key, interface, ends, hold_time) {
                    // §4.6.5, rule 7: whoever joins (*,G) here without pruning the source takes it from here.
                    self.assert(context, key.into(), interface, assert::Event::ReceiveJoin, None);
                }
            }
            self.evaluate_group(context, group);
        }
    }

    /// A group set to this router.
    fn hear_set(&mut self, context: &mut Context<'_>, heard: Heard, set: &GroupSet, joined: &mut BTreeSet<IpAddr>) {
        let (group, i, hold_time) = (set.group, heard.interface, heard.hold_time);
        let ssm = context.is_ssm(group);
        for (about, word) in entries(set) {
            match (about, word) {
                // §4.8.1: neither (*,G) nor (S,G,rpt) is kept of source-specific groups.
                (About::All(_) | About::Rpt(_), _) if ssm => {
                    self.actions.push(Action::Drop(Some(i), DropReason::SsmSharedTree));
                }
                (About::All(rp), Word::Join) => {
                    if context.rp(group) != Some(rp) {
                        self.actions.push(Action::Drop(Some(i), DropReason::OtherRp));
                        continue;
                    }
                    if self.ensure_star(context, group).is_err() {
                        continue;
                    }
                    let tree = Tree::all(group);
                    let changed = self.hear_join(context, tree, heard);
                    let noinfo = self.assert(context, tree, i, assert::Event::ReceiveJoin, None);
                    let mut pruned = false;
                    for key in self.sources_of(group) {
                        pruned |=
                            self.downstream_rpt(context, key, i, downstream_rpt::Event::ReceiveJoinAll, hold_time);
                        self.tidy_source(context, key);
                    }
                    if changed || !noinfo || pruned {
                        joined.insert(group);
                    }
                }
                (About::All(_), Word::Prune) => {
                    let tree = Tree::all(group);
                    if self.stars.contains_key(&group) {
                        self.hear_prune(context, tree, heard);
                        self.evaluate_group(context, group);
                    }
                }
                (About::Rpt(source), word) => {
                    let (key, join) = (EntryKey { source, group }, word == Word::Join);
                    if join && !self.sources.contains_key(&(group, source)) || self.ensure(context, key).is_err() {
                        continue;
                    }
                    let event =
                        if join { downstream_rpt::Event::ReceiveJoin } else { downstream_rpt::Event::ReceivePrune };
                    if self.downstream_rpt(context, key, i, event, hold_time) {
                        self.evaluate_source(context, key);
                    }
                    self.run_out(context);
                }
                (About::Source(source), Word::Join) => {
                    let key = EntryKey { source, group };
                    if self.ensure(context, key).is_err() {
                        continue;
                    }
                    let changed = self.hear_join(context, key.into(), heard);
                    let noinfo = self.assert(context, key.into(), i, assert::Event::ReceiveJoin, None);
                    if changed || !noinfo {
                        self.evaluate_source(context, key);
                    }
                }
                (About::Source(source), Word::Prune) => {
                    let key = EntryKey { source, group };
                    if self.sources.contains_key(&(group, source)) {
                        self.hear_prune(context, key.into(), heard);
                        self.evaluate_source(context, key);
                    }
                }
            }
        }
        self.run_out(context);
    }

    /// A join to this router. Gives whether the state of the interface changed.
    fn hear_join(&mut self, context: &mut Context<'_>, tree: Tree, heard: Heard) -> bool {
        let Heard { interface: i, from, hold_time, .. } = heard;
        let v = self.view(context, tree);
        let before = if tree.source.is_some() { v.entry.downstream(i) } else { v.star.downstream(i) };
        let changed = self.downstream(context, tree, i, downstream::Event::ReceiveJoin, hold_time);
        self.track_join(context, tree, i, from, hold_time, before == downstream::State::NoInfo);
        changed
    }

    /// A prune to this router. Where others are known to have joined, it is the word of one alone.
    fn hear_prune(&mut self, context: &mut Context<'_>, tree: Tree, heard: Heard) {
        let Heard { interface: i, from, hold_time, .. } = heard;
        if !self.track_prune(context, tree, i, from) {
            self.downstream(context, tree, i, downstream::Event::ReceivePrune, hold_time);
        }
    }

    /// Runs what was to expire at once: prunes where nobody else could object.
    pub(super) fn run_out(&mut self, context: &mut Context<'_>) {
        if self.timers.next().is_some_and(|next| next <= context.now) {
            let roll = self.roll;
            self.timeout(context);
            self.roll = roll;
        }
    }

    /// A group set to another router.
    fn see_set(&mut self, context: &mut Context<'_>, heard: Heard, set: &GroupSet) {
        let group = set.group;
        let at = |interface: Option<InterfaceId>, neighbour: Option<IpAddr>| {
            interface == Some(heard.interface) && neighbour == Some(heard.upstream)
        };
        for (about, word) in entries(set) {
            match about {
                About::All(_) => {
                    let v = self.view(context, Tree::all(group));
                    if at(v.star.upstream.interface, v.star.upstream.neighbour) {
                        let event = match word {
                            Word::Join => upstream::Event::SeeJoin,
                            Word::Prune => upstream::Event::SeePrune,
                        };
                        self.upstream_held(context, Tree::all(group), event, None, heard.hold_time);
                    }
                    if word == Word::Prune {
                        for key in self.sources_of(group) {
                            let v = self.view(context, key.into());
                            if at(v.entry.upstream.interface, v.entry.upstream.neighbour) {
                                self.upstream(context, key.into(), upstream::Event::SeePruneAll, None);
                            }
                        }
                    }
                }
                About::Rpt(source) => {
                    let key = EntryKey { source, group };
                    let v = self.view(context, key.into());
                    let of_source = at(v.entry.upstream.interface, v.entry.upstream.neighbour);
                    if at(v.star.rpf_interface(), macros::rpf_neighbour_rpt(&v)) {
                        self.see_rpt(context, key, word);
                    }
                    if of_source && word == Word::Prune {
                        self.upstream(context, key.into(), upstream::Event::SeePruneRpt, None);
                    }
                }
                About::Source(source) => {
                    let key = EntryKey { source, group };
                    let v = self.view(context, key.into());
                    let of_rpt = at(v.star.rpf_interface(), macros::rpf_neighbour_rpt(&v));
                    if at(v.entry.upstream.interface, v.entry.upstream.neighbour) {
                        let event = match word {
                            Word::Join => upstream::Event::SeeJoin,
                            Word::Prune => upstream::Event::SeePrune,
                        };
                        self.upstream_held(context, key.into(), event, None, heard.hold_time);
                    }
                    if of_rpt && word == Word::Prune {
                        self.see_rpt_event(context, key, upstream_rpt::Event::SeePruneSource);
                    }
                }
            }
        }
    }

    fn see_rpt(&mut self, context: &mut Context<'_>, key: EntryKey, word: Word) {
        let event = match word {
            Word::Join => upstream_rpt::Event::SeeJoin,
            Word::Prune => upstream_rpt::Event::SeePrune,
        };
        self.see_rpt_event(context, key, event);
    }

    /// Of a source without state the machine is what (*,G) makes it; state is made where the event is one of it.
    fn see_rpt_event(&mut self, context: &mut Context<'_>, key: EntryKey, event: upstream_rpt::Event) {
        if !self.sources.contains_key(&(key.group, key.source)) {
            let v = self.view(context, Tree::all(key.group));
            if event == upstream_rpt::Event::SeeJoin || !macros::rpt_join_desired(&v) {
                return;
            }
            if self.ensure(context, key).is_err() {
                return;
            }
        }
        self.upstream_rpt(context, key, event);
        self.evaluate_source(context, key);
    }

    fn hear_assert(&mut self, context: &mut Context<'_>, i: InterfaceId, from: IpAddr, message: &Assert) {
        let group = message.group;
        if Self::is_group(group).is_err() || macros::is_boundary(context.ports, i, group) {
            return;
        }
        let Assert { source, rpt, preference, metric, .. } = *message;
        let metric = AssertMetric { rpt, preference, metric, address: Some(from) };
        let event = assert::Event::Heard { from, metric };
        if !source.is_unspecified() {
            let key = EntryKey { source, group };
            let noinfo = self.assert(context, key.into(), i, event, Some(source));
            self.evaluate_source(context, key);
            // §4.6.2: what the machine of (S,G) has a use for is not for that of (*,G).
            if !noinfo {
                return;
            }
        }
        if rpt && !context.is_ssm(group) {
            let named = Some(source).filter(|source| !source.is_unspecified());
            if !self.assert(context, Tree::all(group), i, event, named) {
                self.evaluate_group(context, group);
            }
        }
    }
}

/// The entries of a group set: joins, then prunes, (*,G) before all others of its kind; ranges and what no rule of §4.9.5.1 has are left
/// out.
fn entries(set: &GroupSet) -> Vec<(About, Word)> {
    let about = |source: &EncodedSource| {
        let whole = if set.group.is_ipv4() { 32 } else { 128 };
        if source.mask_length != whole || source.address.is_ipv4() != set.group.is_ipv4() {
            return None;
        }
        match (source.wildcard, source.rpt) {
            (true, true) => Some(About::All(source.address)),
            (false, true) => Some(About::Rpt(source.address)),
            (false, false) => Some(About::Source(source.address)),
            (true, false) => None,
        }
    };
    let joined = set.joined.iter().filter_map(|source| Some((about(source)?, Word::Join)));
    let pruned = set.pruned.iter().filter_map(|source| Some((about(source)?, Word::Prune)));
    let mut entries: Vec<(About, Word)> = joined.chain(pruned).collect();
    entries.sort_by_key(|(about, word)| (*word == Word::Prune, !matches!(about, About::All(_))));
    entries
}
