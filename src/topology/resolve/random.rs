//! Rounds of what is drawn at random, written out: the same file gives the same steps, on every machine.
//!
//! What is drawn always makes sense where it stands: who is a member, what has failed and who is dead is known step by step. At the end
//! all of it is undone, so that whether the steps after it are right does not depend on the seed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use router_core::random::Random;

use super::Resolver;
use super::reach::cut_wires;
use super::repeat::Flat;
use super::scenarios::{Played, Repetition};
use super::state::State;
use crate::topology::fault::FaultKind;
use crate::topology::file::{self, Selection};
use crate::topology::plan::{NodeId, Plan, WireId};
use crate::topology::read::At;
use crate::topology::scalars::Int;
use crate::topology::steps::{Action, Cut, CutKind, SourceFilter};
use crate::topology::tree::Span;

type Members = BTreeMap<NodeId, SourceFilter>;

fn everything() -> SourceFilter {
    SourceFilter::Exclude(BTreeSet::new())
}

/// Hosts that join and leave.
struct Comers {
    group: IpAddr,
    groups: u32,
    hosts: Vec<NodeId>,
    /// The members before the first round.
    before: Members,
    line: usize,
}

impl Comers {
    /// Whether without a host, what anybody heard before the first round is still heard by somebody.
    fn can_spare(&self, members: &Members, host: NodeId) -> bool {
        let others = || members.iter().filter(|(other, _)| **other != host).map(|(_, filter)| filter);
        self.before.values().all(|heard| others().any(|f| f == heard || *f == everything()))
    }

    /// What a host joins with: what it had before.
    fn filter(&self, host: NodeId) -> SourceFilter {
        self.before.get(&host).cloned().unwrap_or_else(everything)
    }
}

/// Wires that fail and are restored.
struct Breakers {
    wires: Vec<WireId>,
    how: CutKind,
    detected_after: Option<Duration>,
    at_once: usize,
    /// Those that a round has taken down.
    down: BTreeSet<WireId>,
    line: usize,
}

impl Breakers {
    /// The wires that may fail now.
    fn candidates(&self, plan: &Plan, state: &State) -> Vec<WireId> {
        if self.down.len() >= self.at_once {
            return Vec::new();
        }
        let needed = cut_wires(plan, state);
        self.wires.iter().copied().filter(|wire| !state.cuts.contains_key(wire) && !needed.contains(wire)).collect()
    }
}

/// What can be drawn.
struct Urn {
    comers: Option<Comers>,
    breakers: Option<Breakers>,
    routers: Vec<NodeId>,
    restart_line: usize,
}

/// One of several, all alike; nothing of nothing.
fn one<'a, T>(random: &mut Random, of: &'a [T]) -> Option<&'a T> {
    of.get(((u128::from(random.bits()) * of.len() as u128) >> 64) as usize)
}

/// One of two lists, and one of it; an empty list is not chosen.
fn of_either(random: &mut Random, first: &[NodeId], second: &[NodeId]) -> Option<(bool, NodeId)> {
    let is_first = match (first.is_empty(), second.is_empty()) {
        (false, false) => random.bits() >> 63 == 0,
        (first_is_empty, _) => !first_is_empty,
    };
    one(random, if is_first { first } else { second }).map(|node| (is_first, *node))
}

impl Urn {
    /// What happens in a round, and the line that says so; nothing if nothing can.
    fn draw(&mut self, plan: &Plan, state: &State, random: &mut Random) -> Option<(Action, usize)> {
        let nobody = Members::new();
        let mut kinds: Vec<Kind> = Vec::new();
        if let Some(comers) = &self.comers {
            let members = state.joined.get(&comers.group).unwrap_or(&nobody);
            let (inside, outside): (Vec<_>, Vec<_>) = comers.hosts.iter().partition(|host| members.contains_key(host));
            let leaving: Vec<NodeId> = inside.into_iter().filter(|host| comers.can_spare(members, *host)).collect();
            if !outside.is_empty() || !leaving.is_empty() {
                kinds.push(Kind::Membership { joining: outside, leaving });
            }
        }
        if let Some(breakers) = &mut self.breakers {
            // A step between the rounds may have restored one.
            breakers.down.retain(|wire| state.cuts.contains_key(wire));
            let failing = breakers.candidates(plan, state);
            if !failing.is_empty() || !breakers.down.is_empty() {
                kinds.push(Kind::Wires { failing });
            }
        }
        let running: Vec<NodeId> = self.routers.iter().copied().filter(|r| !state.is_still(*r)).collect();
        if !running.is_empty() {
            kinds.push(Kind::Restart { running });
        }
        match one(random, &kinds)? {
            Kind::Membership { joining, leaving } => {
                let comers = self.comers.as_ref()?;
                let (joins, host) = of_either(random, joining, leaving)?;
                let (hosts, group, groups) = (vec![host], comers.group, comers.groups);
                let action = if joins {
                    Action::Join { hosts, group, groups, filter: comers.filter(host) }
                } else {
                    Action::Leave { hosts, group, groups }
                };
                Some((action, comers.line))
            }
            Kind::Wires { failing } => {
                let breakers = self.breakers.as_mut()?;
                let down: Vec<WireId> = breakers.down.iter().copied().collect();
                let fails = down.is_empty() || (!failing.is_empty() && random.bits() >> 63 == 0);
                let wire = *one(random, if fails { failing } else { &down })?;
                let action = if fails {
                    breakers.down.insert(wire);
                    let (how, detected_after) = (breakers.how, breakers.detected_after);
                    Action::Fail(Cut { wire, end: None, how, detected_after })
                } else {
                    breakers.down.remove(&wire);
                    Action::Restore { wire, end: None }
                };
                Some((action, breakers.line))
            }
            Kind::Restart { running } => Some((Action::Restart { node: *one(random, running)? }, self.restart_line)),
        }
    }

    /// What undoes all rounds, and the lines that say so.
    fn undo(&self, state: &State) -> Vec<(Action, usize)> {
        let mut actions = Vec::new();
        if let Some(breakers) = &self.breakers {
            let down = breakers.down.iter().filter(|wire| state.cuts.contains_key(wire));
            actions.extend(down.map(|wire| (Action::Restore { wire: *wire, end: None }, breakers.line)));
        }
        if let Some(comers) = &self.comers {
            let (group, groups, line) = (comers.group, comers.groups, comers.line);
            let nobody = Members::new();
            let members = state.joined.get(&group).unwrap_or(&nobody);
            let mut back: BTreeMap<&SourceFilter, Vec<NodeId>> = BTreeMap::new();
            for host in comers.hosts.iter().filter(|host| !members.contains_key(host)) {
                if let Some(filter) = comers.before.get(host) {
                    back.entry(filter).or_default().push(*host);
                }
            }
            for (filter, hosts) in back {
                actions.push((Action::Join { hosts, group, groups, filter: filter.clone() }, line));
            }
            let strangers = |host: &&NodeId| members.contains_key(host) && !comers.before.contains_key(host);
            let hosts: Vec<NodeId> = comers.hosts.iter().filter(strangers).copied().collect();
            if !hosts.is_empty() {
                actions.push((Action::Leave { hosts, group, groups }, line));
            }
        }
        actions
    }
}

/// What may be drawn in a round.
enum Kind {
    Membership { joining: Vec<NodeId>, leaving: Vec<NodeId> },
    Wires { failing: Vec<WireId> },
    Restart { running: Vec<NodeId> },
}

/// The seed of the n-th `random` of a scenario: another one for each, and the same when others are added around it.
fn seed(of_file: u64, scenario: &str, number: u64) -> u64 {
    // FNV-1a, then one step of the generator to spread the bits.
    let hash = |hash: u64, octet: &u8| (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3);
    let name = scenario.as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, hash);
    Random::new(of_file ^ name ^ number.rotate_left(32)).bits()
}

impl<'f> Resolver<'f> {
    /// Plays the rounds; nothing if they can't be.
    pub(super) fn rounds(
        &mut self,
        played: &mut Played,
        random: &file::Random,
        span: &Span,
        then: &[Flat<'f>],
    ) -> Option<()> {
        let mut urn = self.urn(&mut played.state, random, span)?;
        played.randoms += 1;
        let mut generator = Random::new(seed(self.plan.seed, &played.name, played.randoms));
        let rounds: usize = random.rounds.value.get();
        for round in 1..=rounds {
            let Some((action, line)) = urn.draw(&self.plan, &played.state, &mut generator) else {
                let why = "the steps in `then` have left nothing to choose from";
                self.fault(span, FaultKind::NothingToDraw { why });
                return None;
            };
            let label = format!("{round}/{rounds}");
            let repetition = Repetition { label, at: span.clone(), when: format!("in round {round} of {rounds}") };
            self.record(played, action, line, Some(&repetition.label));
            for flat in then {
                self.play_one(played, flat, Some(&repetition));
            }
        }
        let undone = urn.undo(&played.state);
        if !undone.is_empty() {
            let repetition =
                Repetition { label: "end".into(), at: span.clone(), when: "after the last round, all undone".into() };
            for (action, line) in undone {
                self.record(played, action, line, Some(&repetition.label));
            }
            for flat in then {
                self.play_one(played, flat, Some(&repetition));
            }
        }
        Some(())
    }

    fn urn(&mut self, state: &mut State, random: &file::Random, span: &Span) -> Option<Urn> {
        if random.join.is_none() && random.fail.is_none() && random.restart.is_none() {
            let known = ["join", "fail", "restart"].map(str::to_owned).to_vec();
            self.fault(span, FaultKind::NoneOfKeys { of: "`random`", known });
            return None;
        }
        let comers = random.join.as_ref().map(|join| self.comers(state, join));
        let breakers = random.fail.as_ref().map(|fail| self.breakers(state, fail));
        let routers = random.restart.as_ref().map(|restart| self.restarted(state, restart));
        let restart_line = random.restart.as_ref().map_or(0, |restart| self.line(&restart.span));
        Some(Urn {
            comers: some_if_given(comers)?,
            breakers: some_if_given(breakers)?,
            routers: some_if_given(routers)?.unwrap_or_default(),
            restart_line,
        })
    }

    fn comers(&mut self, state: &mut State, join: &At<file::RandomJoin>) -> Option<Comers> {
        let group = self.groups(state, &join.group, join.groups);
        let hosts = match &join.hosts {
            Some(At { value: Selection::Named(names), .. }) => self.hosts(names)?,
            _ => {
                let sends = |host: &NodeId| state.streams.values().any(|(stream, _)| stream.from == *host);
                let hosts = self.plan.node_ids().filter(|id| !self.plan.node(*id).is_router());
                hosts.filter(|id| !self.unread.contains(id) && !sends(id)).collect()
            }
        };
        let (group, groups) = group?;
        let before = state.joined.get(&group).cloned().unwrap_or_default();
        if before.is_empty() {
            if !state.members_unsure {
                self.fault(&join.group.span, FaultKind::NoMemberToRemain { group });
            }
            return None;
        }
        let at = join.hosts.as_ref().map_or(&join.span, |hosts| &hosts.span);
        let comers = Comers { group, groups, hosts, before, line: self.line(&join.span) };
        let can_come = |host: &NodeId| !comers.before.contains_key(host) || comers.can_spare(&comers.before, *host);
        if !comers.hosts.iter().any(can_come) {
            if !state.members_unsure && self.unread.is_empty() {
                let why = "no host here can join, or leave so that a member remains";
                self.fault(at, FaultKind::NothingToDraw { why });
            }
            return None;
        }
        Some(comers)
    }

    fn breakers(&mut self, state: &State, fail: &At<file::RandomFail>) -> Option<Breakers> {
        let how = fail.how.as_ref().map_or(CutKind::Carrier, |how| how.value);
        let mut good = self.only_silent(how, fail.detected_after.as_ref());
        if let (CutKind::Admin, Some(at)) = (how, &fail.how) {
            let (word, of) = ("admin".to_owned(), "a way in which links fail at random");
            let known = ["carrier", "silent"].map(str::to_owned).to_vec();
            self.fault(&at.span, FaultKind::UnknownWord { word, of, known });
            good = false;
        }
        let needed = cut_wires(&self.plan, state);
        let wires = match &fail.links {
            Some(At { value: Selection::Named(names), .. }) => {
                let mut wires = Vec::new();
                for name in names {
                    match self.breaker(name, &needed) {
                        Some(wire) if wires.contains(&wire) => {
                            self.fault(&name.span, FaultKind::DuplicateName { what: "link", name: name.value.clone() });
                            good = false;
                        }
                        Some(wire) => wires.push(wire),
                        None => good = false,
                    }
                }
                wires
            }
            _ => {
                let between_routers = |id: &WireId| {
                    let wire = self.plan.wire(*id);
                    wire.kind.is_link() && wire.ends.iter().all(|end| self.plan.node(end.node).is_router())
                };
                self.plan.wire_ids().filter(between_routers).collect()
            }
        };
        let breakers = Breakers {
            wires,
            how,
            detected_after: fail.detected_after.as_ref().map(|time| time.0),
            at_once: fail.at_once.map_or(1, Int::get),
            down: BTreeSet::new(),
            line: self.line(&fail.span),
        };
        if good && breakers.candidates(&self.plan, state).is_empty() {
            good = false;
            if !self.wires_unread && self.unread.is_empty() {
                let at = fail.links.as_ref().map_or(&fail.span, |links| &links.span);
                let why = "no link here can fail without cutting routers off from each other";
                self.fault(at, FaultKind::NothingToDraw { why });
            }
        }
        good.then_some(breakers)
    }

    /// A wire that may fail at random.
    fn breaker(&mut self, name: &At<String>, needed: &BTreeSet<WireId>) -> Option<WireId> {
        let wire = self.wire(name)?;
        let has_host = self.plan.wire(wire).ends.iter().any(|end| !self.plan.node(end.node).is_router());
        let why = if has_host {
            "a host is on it"
        } else if needed.contains(&wire) {
            "without it, routers are cut off from each other"
        } else {
            return Some(wire);
        };
        if self.unread.is_empty() && !self.wires_unread {
            self.fault(&name.span, FaultKind::NeverFails { wire: name.value.clone(), why });
        }
        None
    }

    fn restarted(&mut self, state: &State, restart: &At<Selection>) -> Option<Vec<NodeId>> {
        let routers: Vec<NodeId> = match &restart.value {
            Selection::All => self.plan.node_ids().filter(|id| self.plan.node(*id).is_router()).collect(),
            Selection::Named(names) => {
                let mut routers = Vec::new();
                let mut good = true;
                for name in names {
                    match self.router(name) {
                        Some(router) if routers.contains(&router) => {
                            let kind = FaultKind::DuplicateName { what: "router", name: name.value.clone() };
                            self.fault(&name.span, kind);
                            good = false;
                        }
                        Some(router) => routers.push(router),
                        None => good = false,
                    }
                }
                good.then_some(routers)?
            }
        };
        if routers.iter().all(|router| state.is_still(*router)) {
            if self.unread.is_empty() {
                let why = "no router here runs";
                self.fault(&restart.span, FaultKind::NothingToDraw { why });
            }
            return None;
        }
        Some(routers)
    }
}

/// What a key gives: nothing at all if it is wrong.
fn some_if_given<T>(key: Option<Option<T>>) -> Option<Option<T>> {
    match key {
        None => Some(None),
        Some(value) => value.map(Some),
    }
}

#[cfg(test)]
#[path = "random_tests.rs"]
mod tests;
