//! By when, and not before when, something may happen, by the protocols' own formulas.
//!
//! Intervals are the interface's own, scaled by the plan's `timers`, and for 'by then' rounded up to what the wire can say (IGMP
//! response codes are tenths of a second, RFC 9776 §4.1.1; query intervals whole seconds, §4.1.7). What a formula gives is for a
//! machine without a load, so 'by then' has [`SLACK`] on top, and 'never before' has nothing.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::convergence::Convergence;
use super::membership::{Certainty, runs_igmp, was_version_1};
use super::world::World;
use crate::topology::plan::{Attachment, Igmp, Multicast, NodeId, Plan, WireId};
use crate::topology::steps::{Deadline, Formula};

/// What a busy machine may add to a protocol's own deadline.
pub const SLACK: Duration = Duration::from_secs(1);

const TENTH: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);

/// The router that queries a wire once its election is over: the lowest address among the routers that run IGMP there and can be
/// heard (RFC 9776 §6.6.2).
pub fn querier(plan: &Plan, world: &World, wire: WireId) -> Option<NodeId> {
    let ends = plan.wire(wire).ends.iter();
    ends.filter(|&&end| runs_igmp(plan, world, end) == Certainty::Yes)
        .filter(|&&end| !world.is_broken(plan, end) && !world.is_stopped(end.node))
        .filter_map(|&end| plan.interface(end).ipv4().map(|address| (address.addr(), end.node)))
        .min()
        .map(|(_, node)| node)
}

/// The IGMP variables of an interface (RFC 9776 §8), scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Variables {
    robustness: u32,
    query_interval: Duration,
    query_response_interval: Duration,
    startup_response: Duration,
    last_member_query_interval: Duration,
    last_member_query_count: u32,
    fast_leave: bool,
}

impl Variables {
    fn of(plan: &Plan, igmp: &Igmp, rounded: bool) -> Variables {
        let scaled = |span: Option<router_core::time::Span>, default: Duration, unit: Duration| {
            let span = plan.scaled(span.map_or(default, router_core::time::Span::get));
            if rounded { round_up(span, unit) } else { span }
        };
        let robustness = u32::from(igmp.robustness.unwrap_or(2));
        Variables {
            robustness,
            query_interval: scaled(igmp.query_interval, Duration::from_secs(125), SECOND),
            query_response_interval: scaled(igmp.query_response_interval, Duration::from_secs(10), TENTH),
            startup_response: scaled(igmp.startup_query_response_interval, TENTH, TENTH),
            last_member_query_interval: scaled(igmp.last_member_query_interval, SECOND, TENTH),
            last_member_query_count: igmp.last_member_query_count.map_or(robustness, u32::from),
            fast_leave: igmp.fast_leave == Some(true),
        }
    }

    fn group_membership_interval(&self) -> Duration {
        self.query_interval * self.robustness + self.query_response_interval
    }

    fn other_querier_present_interval(&self) -> Duration {
        self.query_interval * self.robustness + self.query_response_interval / 2
    }

    fn last_member_query_time(&self) -> Duration {
        self.last_member_query_interval * self.last_member_query_count
    }
}

/// By then the members on a router's wire have been asked and have answered: a query interval and a response interval.
pub(super) fn relearn(plan: &Plan, at: Attachment) -> Duration {
    let variables = Variables::of(plan, &plan.igmp_at(at).unwrap_or_default(), true);
    variables.query_interval + variables.query_response_interval
}

pub(super) fn round_up(span: Duration, unit: Duration) -> Duration {
    let units = span.as_nanos().div_ceil(unit.as_nanos());
    unit * u32::try_from(units).unwrap_or(u32::MAX)
}

/// Deadlines in a world.
#[derive(Clone, Debug)]
pub struct Deadlines<'a> {
    plan: &'a Plan,
    world: &'a World,
    slack: Duration,
    pace: Duration,
    /// Computed when first asked for: networks may be large.
    convergence: OnceCell<Convergence>,
    /// By group: the longest that any wire may go on carrying it.
    anywhere: RefCell<BTreeMap<Option<IpAddr>, Duration>>,
}

impl<'a> Deadlines<'a> {
    /// Deadlines with [`SLACK`].
    pub fn new(plan: &'a Plan, world: &'a World) -> Deadlines<'a> {
        Deadlines {
            plan,
            world,
            slack: SLACK,
            pace: Duration::ZERO,
            convergence: OnceCell::new(),
            anywhere: RefCell::default(),
        }
    }

    /// The same for a stream with a packet every `pace`: what only packets tell a router takes their time.
    #[must_use]
    pub fn with_pace(self, pace: Duration) -> Deadlines<'a> {
        Deadlines { pace, ..self }
    }

    /// The same with another slack.
    #[must_use]
    pub fn with_slack(self, slack: Duration) -> Deadlines<'a> {
        Deadlines { slack, ..self }
    }

    /// A deadline for what happens on some wires (all of the plan's if none is given) to a group (any if none is given).
    pub fn resolve(&self, deadline: Deadline, wires: &[WireId], group: Option<IpAddr>) -> Duration {
        let formula = match deadline {
            Deadline::After(time) => return time,
            Deadline::Formula(formula) => formula,
        };
        let all: Vec<WireId>;
        let wires = if wires.is_empty() {
            all = self.plan.wire_ids().collect();
            &all
        } else {
            wires
        };
        let longest = |of: &dyn Fn(WireId) -> Duration| wires.iter().map(|wire| of(*wire)).max().unwrap_or_default();
        let convergence = || self.convergence();
        let span = match formula {
            Formula::LeaveLatency => longest(&|wire| self.leave(wire, group)),
            Formula::NeighbourLatency => convergence().hello,
            Formula::NeighbourLiveness => convergence().liveness,
            Formula::Convergence => convergence().settle(self.pace),
            Formula::JoinLatency => longest(&|wire| self.join(wire)),
            Formula::GroupMembershipInterval => {
                longest(&|wire| self.longest(wire, true, &Variables::group_membership_interval))
            }
            Formula::OtherQuerierPresentInterval => {
                longest(&|wire| self.longest(wire, true, &Variables::other_querier_present_interval))
            }
        };
        span + self.slack
    }

    /// How long a wire may go on carrying a group after its last member left: the last member query time, with IGMPv1 the group
    /// membership interval; behind proxies, theirs on top; on a wire with routers in dense mode, those of any wire that may lie behind
    /// it, and the time of the prunes. Without the slack.
    pub fn leave(&self, wire: WireId, group: Option<IpAddr>) -> Duration {
        let own = self.leave_guarded(wire, group, &mut BTreeSet::new());
        if !self.plan.wire(wire).ends.iter().any(|end| self.plan.has_pim(*end)) {
            return own;
        }
        let known = self.anywhere.borrow().get(&group).copied();
        let anywhere = known.unwrap_or_else(|| {
            let wires = self.plan.wire_ids();
            let longest = wires.map(|wire| self.leave_guarded(wire, group, &mut BTreeSet::new())).max();
            *self.anywhere.borrow_mut().entry(group).or_insert(longest.unwrap_or_default())
        });
        own.max(anywhere) + self.convergence().prunes
    }

    fn convergence(&self) -> &Convergence {
        self.convergence.get_or_init(|| Convergence::of(self.plan))
    }

    fn leave_guarded(&self, wire: WireId, group: Option<IpAddr>, asked: &mut BTreeSet<WireId>) -> Duration {
        if !asked.insert(wire) {
            return Duration::ZERO;
        }
        let own = if group.is_some_and(|group| was_version_1(self.plan, self.world, wire, group)) {
            self.longest(wire, true, &Variables::group_membership_interval)
        } else {
            self.longest(wire, true, &|v| if v.fast_leave { Duration::ZERO } else { v.last_member_query_time() })
        };
        own + self.below(wire).into_iter().map(|w| self.leave_guarded(w, group, asked)).max().unwrap_or_default()
    }

    /// The time before which a wire must not lose a group whose last member has just left: others get their chance to answer.
    /// None where nothing is promised (fast leave, no IGMP).
    pub fn leave_at_least(&self, wire: WireId) -> Option<Duration> {
        let variables = self.variables(wire, false);
        if variables.is_empty() || variables.iter().any(|v| v.fast_leave) {
            return None;
        }
        variables.iter().map(Variables::last_member_query_time).min()
    }

    /// How long after a router's death its successor must not query a wire, at the least (counted from the dead one's last query).
    pub fn other_querier_present_at_least(&self, wire: WireId) -> Option<Duration> {
        self.variables(wire, false).iter().map(Variables::other_querier_present_interval).min()
    }

    /// How long a router may believe in members that fell silent.
    pub fn group_membership_interval(&self, wire: WireId) -> Duration {
        self.longest(wire, true, &Variables::group_membership_interval)
    }

    /// How long until a member is known: its unsolicited report comes at once, a fresh router's startup query is answered within its
    /// Max Resp Code; behind proxies, at each of them.
    fn join(&self, wire: WireId) -> Duration {
        self.longest(wire, true, &|v| v.startup_response.max(TENTH))
    }

    /// A membership interval plus a response interval: by then a querier has heard of all members again, whatever was lost.
    pub fn relearn(&self, wire: WireId) -> Duration {
        self.longest(wire, true, &|v| v.query_interval + v.query_response_interval)
    }

    /// Wires below the proxies that ask on a wire.
    fn below(&self, wire: WireId) -> Vec<WireId> {
        let mut below = Vec::new();
        for end in &self.plan.wire(wire).ends {
            let node = self.plan.node(end.node);
            if node.router().is_some_and(|r| r.multicast == Multicast::Proxy && r.upstream == Some(end.interface)) {
                let others = node.interfaces.iter().enumerate().filter(|(n, _)| *n != end.interface);
                below.extend(others.map(|(_, interface)| interface.wire));
            }
        }
        below
    }

    fn longest(&self, wire: WireId, rounded: bool, of: &dyn Fn(&Variables) -> Duration) -> Duration {
        self.variables(wire, rounded).iter().map(of).max().unwrap_or_default()
    }

    fn variables(&self, wire: WireId, rounded: bool) -> Vec<Variables> {
        let ends = self.plan.wire(wire).ends.iter();
        ends.filter(|&&end| runs_igmp(self.plan, &World::new(), end) > Certainty::No)
            .filter_map(|&end: &Attachment| self.plan.igmp_at(end))
            .map(|igmp| Variables::of(self.plan, &igmp, rounded))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::testing::{Net, chain_net};
    use std::time::Duration;

    fn secs(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn formulas_give_the_rfcs_figures() {
        let (net, _) = chain_net();
        let plan = net.plan();
        let world = World::new();
        let deadlines = Deadlines::new(&plan, &world).with_slack(Duration::ZERO);
        let last = [plan.find_wire("last").unwrap()];
        let of = |formula| deadlines.resolve(Deadline::Formula(formula), &last, None);
        assert_eq!(of(Formula::GroupMembershipInterval), secs(260.0));
        assert_eq!(of(Formula::OtherQuerierPresentInterval), secs(255.0));
        assert_eq!(of(Formula::LeaveLatency), secs(2.0));
        assert_eq!(of(Formula::JoinLatency), secs(0.1));
        assert_eq!(deadlines.resolve(Deadline::After(secs(7.0)), &last, None), secs(7.0));
        assert_eq!(
            Deadlines::new(&plan, &world).resolve(Deadline::Formula(Formula::LeaveLatency), &last, None),
            secs(3.0)
        );
    }

    #[test]
    fn scaled_timers_are_rounded_up_to_what_the_wire_can_say() {
        let (mut net, _) = chain_net();
        net.timers(0.15);
        let plan = net.plan();
        let world = World::new();
        let deadlines = Deadlines::new(&plan, &world).with_slack(Duration::ZERO);
        let last = [plan.find_wire("last").unwrap()];
        // 0.15 s is said as 0.2 s, 18.75 s as 19 s.
        assert_eq!(deadlines.resolve(Deadline::Formula(Formula::LeaveLatency), &last, None), secs(0.4));
        assert_eq!(deadlines.resolve(Deadline::Formula(Formula::GroupMembershipInterval), &last, None), secs(39.5));
        assert_eq!(deadlines.leave_at_least(last[0]), Some(secs(0.3)));
    }

    #[test]
    fn an_igmpv1_member_has_no_leave() {
        let (mut net, ids) = chain_net();
        net.host_mut(ids["h1"]).igmp_version = Some(1);
        let plan = net.plan();
        let world = World::new();
        let deadlines = Deadlines::new(&plan, &world).with_slack(Duration::ZERO);
        let group = Some(crate::oracle::testing::group());
        assert_eq!(deadlines.leave(plan.find_wire("last").unwrap(), group), secs(260.0));
        assert_eq!(deadlines.leave(plan.find_wire("side").unwrap(), group), secs(2.0));
    }

    #[test]
    fn leaves_behind_proxies_add_up() {
        let mut net = Net::new();
        let (top, p, h) = (net.router("top"), net.router("p"), net.host("h"));
        let up = net.link("up", top, p);
        net.link("down", p, h);
        net.proxy(p, 0);
        let plan = net.plan();
        let world = World::new();
        assert_eq!(Deadlines::new(&plan, &world).leave(up, None), secs(4.0));
    }

    #[test]
    fn the_lowest_address_alive_is_querier() {
        let mut net = Net::new();
        let (r1, r2, h) = (net.router("r1"), net.router("r2"), net.host("h"));
        let lan = net.lan("lan", &[r1, r2, h]);
        let plan = net.plan();
        let mut world = World::new();
        assert_eq!(querier(&plan, &world, lan), Some(r1));
        world.kill(r1);
        assert_eq!(querier(&plan, &world, lan), Some(r2));
        world.kill(r2);
        assert_eq!(querier(&plan, &world, lan), None);
    }
}
