//! The worlds that a scenario went through, and what each moment permits: after a leave, a router may forward until its last
//! member queries have gone unanswered, and so on.

use std::net::IpAddr;
use std::time::Duration;

use crate::network::Time;
use crate::oracle::{World, accepts};
use crate::topology::plan::NodeId;
use crate::topology::steps::SourceFilter;

/// How far the stamps of two places may be apart.
const SKEW: Duration = Duration::from_millis(2);

/// A world and how long it was, or may have seemed to be, in force.
#[derive(Clone, Debug)]
struct Era {
    world: World,
    start: Time,
    /// None: it is in force.
    end: Option<Time>,
    /// How long after its end it still excuses what it permitted.
    grace: Duration,
    /// How long the call took that ended it.
    call: Duration,
    /// Until then what it permitted may go on, whatever ends it: a router that joined in it has lost its memory since.
    kept: Time,
}

impl Era {
    fn new(world: World, start: Time) -> Era {
        Era { world, start, end: None, grace: Duration::ZERO, call: Duration::ZERO, kept: Time::ZERO }
    }
}

/// The worlds of a scenario in order.
#[derive(Clone, Debug)]
pub struct History {
    eras: Vec<Era>,
    stops: Vec<(NodeId, Time, Option<Time>)>,
    /// When something was upset that is as it was before.
    upsets: Vec<(Time, Time)>,
}

impl History {
    /// Begins with nobody a member and everything whole.
    pub fn new(start: Time) -> History {
        let first = Era::new(World::new(), start);
        History { eras: vec![first], stops: Vec::new(), upsets: Vec::new() }
    }

    /// The world as it is.
    pub fn now(&self) -> &World {
        // There is always one era in force.
        &self.eras[self.eras.len() - 1].world
    }

    /// Changes the world by a call that was made at a time and took so long; what the old one permitted is excused for `grace` after it.
    pub fn change(&mut self, at: Time, call: Duration, grace: Duration, change: impl FnOnce(&mut World)) {
        let mut world = self.now().clone();
        change(&mut world);
        if let Some(last) = self.eras.last_mut() {
            last.end = Some(at);
            last.grace = (call + grace).max(last.kept.since(at));
            last.call = call;
        }
        self.eras.push(Era::new(world, at));
    }

    /// A router has forgotten what it joined in the world as it is, and has nobody to prune it with: others hold it for so long.
    pub fn keep(&mut self, now: Time, grace: Duration) {
        if let Some(last) = self.eras.last_mut() {
            last.kept = last.kept.max(now + grace);
        }
    }

    /// Messages begin to be lost: what they were to say of changes that are still excused may be among them.
    pub fn prolong(&mut self, now: Time, grace: Duration) {
        if let Some(last) = self.eras.last_mut() {
            last.world.upset();
        }
        for era in &mut self.eras {
            let Some(end) = era.end else { continue };
            if now <= end + era.grace {
                era.grace = era.grace.max(now.since(end) + grace);
            }
        }
    }

    /// Something was upset and is as it was before, as by a daemon that was killed and started again: its neighbours have to find that out.
    pub fn upset(&mut self, from: Time, to: Time) {
        self.upsets.push((from, to));
    }

    /// A router's daemon stops deciding: what it would have ended goes on until it runs again.
    pub fn stopped(&mut self, router: NodeId, at: Time) {
        self.stops.push((router, at, None));
    }

    /// It decides again, or is no more.
    pub fn went_on(&mut self, router: NodeId, at: Time) {
        for stop in self.stops.iter_mut().filter(|(of, _, end)| *of == router && end.is_none()) {
            stop.2 = Some(at);
        }
    }

    /// The spans of time in which a host was a member of a group for a source; an open end is now. Starts allow for the skew of stamps.
    pub fn memberships(&self, host: NodeId, group: IpAddr, source: IpAddr) -> Vec<(Time, Option<Time>)> {
        let is_member = |era: &&Era| era.world.filter(host, group).is_some_and(|f| accepts(f, source));
        let end = |era: &Era| era.end.map(|end| end + era.call);
        self.eras.iter().filter(is_member).map(|era| (starts_early(era.start), end(era))).collect()
    }

    /// When an era excuses nothing any more; none: it is in force or will be excused for ever.
    fn excused_until(&self, era: &Era, held_up: Duration) -> Option<Time> {
        let end = era.end?;
        let grace = era.grace + held_up;
        let mut until = end + grace;
        for (_, from, to) in &self.stops {
            if *from <= until && to.is_none_or(|to| to >= end) {
                until = *to.as_ref()? + grace;
            }
        }
        Some(until)
    }

    /// The eras as the streams of one group see them: what happened to other groups' members does not part them.
    fn eras_of(&self, group: IpAddr) -> Vec<Era> {
        let mut eras: Vec<Era> = Vec::new();
        for era in &self.eras {
            match eras.last_mut() {
                Some(last) if last.world.is_alike(&era.world, group) => {
                    // What is held on to by others does not end with another group's change.
                    last.kept = last.kept.max(era.kept);
                    let kept = era.end.map_or(Duration::ZERO, |end| last.kept.since(end));
                    (last.end, last.grace, last.call) = (era.end, era.grace.max(kept), era.call);
                }
                _ => eras.push(Era { world: era.world.only(group), ..era.clone() }),
            }
        }
        eras
    }

    /// Times at which what is permitted to the streams of a group changes, with the worlds that each permit what flows in them from then
    /// on: the one in force, and those that are still excused. Every excuse is longer by the time that the network was held up.
    pub fn permitted(&self, group: IpAddr, held_up: Duration) -> Vec<(Time, Vec<World>)> {
        let eras = self.eras_of(group);
        let mut times: Vec<Time> = Vec::new();
        for (n, era) in eras.iter().enumerate() {
            times.push(if n == 0 { Time::ZERO } else { starts_early(era.start) });
            times.extend(self.excused_until(era, held_up).map(|until| until + SKEW + Duration::from_nanos(1)));
        }
        times.sort_unstable();
        times.dedup();
        let permits = |at: Time| {
            let alive: Vec<&World> = eras
                .iter()
                .enumerate()
                .filter(|(n, era)| {
                    (*n == 0 || starts_early(era.start) <= at)
                        && self.excused_until(era, held_up).is_none_or(|until| at <= until + SKEW)
                })
                .map(|(_, era)| &era.world)
                .collect();
            whatever_holds(&alive)
        };
        times.into_iter().map(|at| (at, permits(at))).collect()
    }

    /// The spans of time in which state refresh may not have come through, until `settle` after each.
    pub fn hindered(&self, settle: Duration) -> Vec<(Time, Time)> {
        let hindered = self.eras.iter().filter(|era| era.world.is_hindered());
        let end = |era: &Era| era.end.map_or(Time(u64::MAX), |end| end + era.call + settle + SKEW);
        hindered.map(|era| (starts_early(era.start), end(era))).collect()
    }

    /// All memberships that there ever were.
    pub fn wanted(&self) -> impl Iterator<Item = (NodeId, IpAddr, &SourceFilter)> + '_ {
        self.eras.iter().flat_map(|era| era.world.memberships())
    }

    /// Every world that there was.
    pub fn ever(&self) -> Vec<World> {
        whatever_holds(&self.eras.iter().map(|era| &era.world).collect::<Vec<_>>())
    }

    /// The spans of time in which a change that matters to a group's streams was not yet over, or may not have been followed by all that
    /// has to follow: from each change until `settle` after the last excuse.
    pub fn unsettled(&self, group: IpAddr, settle: Duration, held_up: Duration) -> Vec<(Time, Time)> {
        let changes = self.eras_of(group);
        let changes = changes.iter().filter_map(|era| {
            let until = self.excused_until(era, held_up).map_or(Time(u64::MAX), |until| until + settle + SKEW);
            Some((starts_early(era.end?), until))
        });
        let upsets = self.upsets.iter().map(|(from, to)| (starts_early(*from), *to + settle + held_up + SKEW));
        changes.chain(upsets).collect()
    }
}

/// All the faults that some worlds have, each with whatever members any of them has.
fn whatever_holds(worlds: &[&World]) -> Vec<World> {
    let members = worlds.iter().map(|world| (*world).clone()).reduce(|a, b| a.merged(&b)).unwrap_or_default();
    let mut all: Vec<World> = Vec::new();
    for world in worlds {
        let world = world.with_members_of(&members);
        if !all.contains(&world) {
            all.push(world);
        }
    }
    all
}

fn starts_early(at: Time) -> Time {
    Time(at.as_nanos().saturating_sub(u64::try_from(SKEW.as_nanos()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::testing::{all, group};

    fn at(ms: u64) -> Time {
        Time(ms * 1_000_000)
    }

    fn members(history: &History, ms: u64) -> usize {
        let permitted = history.permitted(group(), Duration::ZERO);
        let worlds = permitted.iter().rev().find(|(from, _)| *from <= at(ms)).map(|(_, worlds)| worlds);
        worlds.and_then(|worlds| worlds.first()).expect("time begins at zero").members(group()).count()
    }

    #[test]
    fn a_leave_is_excused_for_its_grace_and_no_longer() {
        let mut history = History::new(at(0));
        history.change(at(100), Duration::ZERO, Duration::ZERO, |w| w.join(NodeId(0), group(), &all()));
        history.change(at(200), Duration::ZERO, Duration::from_millis(50), |w| w.leave(NodeId(0), group()));
        assert_eq!([50, 150, 240, 251, 260].map(|ms| members(&history, ms)), [0, 1, 1, 1, 0]);
    }

    #[test]
    fn a_stopped_daemon_is_excused_until_it_has_had_its_time() {
        let mut history = History::new(at(0));
        history.change(at(0), Duration::ZERO, Duration::ZERO, |w| w.join(NodeId(0), group(), &all()));
        history.change(at(200), Duration::ZERO, Duration::from_millis(50), |w| w.leave(NodeId(0), group()));
        history.stopped(NodeId(3), at(210));
        assert_eq!(members(&history, 100_000), 1);
        history.went_on(NodeId(4), at(300));
        history.went_on(NodeId(3), at(500));
        assert_eq!([540, 560].map(|ms| members(&history, ms)), [1, 0]);
    }

    #[test]
    fn a_fault_leaves_two_worlds_to_choose_from_until_it_is_over() {
        let mut history = History::new(at(0));
        history.change(at(100), Duration::ZERO, Duration::from_millis(50), |w| w.kill(NodeId(7)));
        let worlds = |ms| {
            let permitted = history.permitted(group(), Duration::ZERO);
            permitted.iter().rev().find(|(from, _)| *from <= at(ms)).map(|(_, worlds)| worlds.len()).unwrap()
        };
        assert_eq!([50, 120, 200].map(worlds), [1, 2, 1]);
        let settle = Duration::from_millis(30);
        assert_eq!(history.unsettled(group(), settle, Duration::ZERO), [(at(98), at(182))]);
    }

    #[test]
    fn what_was_joined_before_a_restart_is_held_whatever_ends_that_world() {
        let mut history = History::new(at(0));
        let (grace, other) = (Duration::from_millis(10), "239.9.9.9".parse().unwrap());
        history.change(at(100), Duration::ZERO, grace, |w| w.join(NodeId(0), group(), &all()));
        history.change(at(200), Duration::ZERO, grace, |w| w.restart(NodeId(3)));
        history.keep(at(200), Duration::from_millis(100));
        history.change(at(210), Duration::ZERO, grace, |w| w.join(NodeId(0), other, &all()));
        history.change(at(220), Duration::ZERO, grace, |w| w.leave(NodeId(0), group()));
        assert_eq!([240, 295, 310].map(|ms| members(&history, ms)), [1, 1, 0]);
        history.change(at(400), Duration::ZERO, grace, |w| w.join(NodeId(0), group(), &all()));
        history.change(at(420), Duration::ZERO, grace, |w| w.leave(NodeId(0), group()));
        assert_eq!([425, 440].map(|ms| members(&history, ms)), [1, 0], "only what was joined then");
    }

    #[test]
    fn what_is_as_it_was_before_takes_its_time_all_the_same() {
        let mut history = History::new(at(0));
        history.upset(at(100), at(120));
        assert_eq!(history.permitted(group(), Duration::ZERO).len(), 1);
        assert_eq!(history.unsettled(group(), Duration::from_millis(30), Duration::ZERO), [(at(98), at(152))]);
    }

    #[test]
    fn what_other_groups_members_do_changes_nothing() {
        let mut history = History::new(at(0));
        let other = "239.9.9.9".parse().unwrap();
        history.change(at(100), Duration::ZERO, Duration::from_millis(50), |w| w.join(NodeId(0), other, &all()));
        assert_eq!(history.permitted(group(), Duration::ZERO).len(), 1);
        assert_eq!(history.unsettled(group(), Duration::ZERO, Duration::ZERO), []);
    }
}
