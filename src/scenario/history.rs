//! The worlds that a scenario went through, and what each moment permits: after a leave, a router may forward until its last
//! member queries have gone unanswered, and so on.

use std::net::IpAddr;
use std::time::Duration;

use crate::network::Time;
use crate::oracle::{World, accepts};
use crate::topology::plan::NodeId;

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
}

/// The worlds of a scenario in order.
#[derive(Clone, Debug)]
pub struct History {
    eras: Vec<Era>,
    stops: Vec<(Time, Option<Time>)>,
}

impl History {
    /// Begins with nobody a member and everything whole.
    pub fn new(start: Time) -> History {
        let first = Era { world: World::new(), start, end: None, grace: Duration::ZERO, call: Duration::ZERO };
        History { eras: vec![first], stops: Vec::new() }
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
            last.grace = call + grace;
            last.call = call;
        }
        self.eras.push(Era { world, start: at, end: None, grace: Duration::ZERO, call: Duration::ZERO });
    }

    /// A router's daemon stops deciding: what it would have ended goes on until it runs again.
    pub fn stopped(&mut self, at: Time) {
        self.stops.push((at, None));
    }

    /// It decides again.
    pub fn went_on(&mut self, at: Time) {
        for stop in self.stops.iter_mut().filter(|stop| stop.1.is_none()) {
            stop.1 = Some(at);
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
        for (from, to) in &self.stops {
            if *from <= until && to.is_none_or(|to| to >= end) {
                until = *to.as_ref()? + grace;
            }
        }
        Some(until)
    }

    /// Times at which what is permitted changes, with the world that permits all that is permitted from then on. Every excuse is
    /// longer by the time that the network was held up.
    pub fn permitted(&self, held_up: Duration) -> Vec<(Time, World)> {
        let mut times: Vec<Time> = Vec::new();
        for (n, era) in self.eras.iter().enumerate() {
            times.push(if n == 0 { Time::ZERO } else { starts_early(era.start) });
            times.extend(self.excused_until(era, held_up).map(|until| until + SKEW + Duration::from_nanos(1)));
        }
        times.sort_unstable();
        times.dedup();
        let permits = |at: Time| {
            let alive = self.eras.iter().enumerate().filter(|(n, era)| {
                (*n == 0 || starts_early(era.start) <= at)
                    && self.excused_until(era, held_up).is_none_or(|until| at <= until + SKEW)
            });
            alive.map(|(_, era)| era.world.clone()).reduce(|a, b| a.merged(&b)).unwrap_or_default()
        };
        times.into_iter().map(|at| (at, permits(at))).collect()
    }
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
        let permitted = history.permitted(Duration::ZERO);
        let world =
            permitted.iter().rev().find(|(from, _)| *from <= at(ms)).map(|(_, world)| world.members(group()).count());
        world.expect("time begins at zero")
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
        history.stopped(at(210));
        assert_eq!(members(&history, 100_000), 1);
        history.went_on(at(500));
        assert_eq!([540, 560].map(|ms| members(&history, ms)), [1, 0]);
    }
}
