//! How long PIM takes to come to rest after something has changed, by the timers of RFC 3973 (§4.8), RFC 7761 (§4.11) and
//! RFC 5059 (§5), scaled by the plan's
//! `timers`, and by what the kernel adds to them: it tells of a packet by a wrong interface at most once in three seconds an entry, so
//! that a router that hears a flood on several of them settles one after another.

use std::time::Duration;

use router_core::time::Span;

use super::deadlines::{relearn, round_up};
use super::habits;
use crate::topology::plan::{Attachment, Multicast, NodeId, Pim, Plan, WireId};

/// Between two upcalls for packets of one entry by a wrong interface. A constant of the kernel: it never scales.
const WRONG_INTERFACE: Duration = Duration::from_secs(3);
/// How long the kernel keeps an entry that only swallows, given for a packet by a wrong interface so that it does not hold back the next one
/// on the right interface: until then it asks nothing. router-core's own, and never scaled.
const SWALLOW: Duration = Duration::from_secs(1);
const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// What a plan's PIM routers need to come to rest. Nothing at all where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Convergence {
    /// Whether there are routers with PIM.
    pub is_pim: bool,
    /// By then routers that have come up know each other: the longest Triggered_Hello_Delay twice, for the first hello of the last that
    /// came up (§4.3.1) and for the answer of one whose own first hello it missed (§4.3.2).
    pub hello: Duration,
    /// By then a router that fell silent is forgotten, and another one does its work: the longest hold time that hellos announce (§4.3.3),
    /// and where a daemon waits for that, until members have reported again.
    pub liveness: Duration,
    /// By then a prune has taken effect however far from its sender: J/P_Override_Interval (§4.4.2.1) for each LAN of several
    /// downstream routers.
    pub prunes: Duration,
    /// How many interfaces of one router, at the most, may carry packets of which it is not to be the forwarder.
    pub contested: u32,
    /// Whether state refresh keeps prunes and asserts from running out (§4.5): every router originates and relays it, well before any
    /// of them does.
    /// Sparse mode joins anew by itself, and its winners assert themselves in time (RFC 7761 §4.6).
    pub is_refreshed: bool,
    /// By then a router that has been started again originates its first state refresh, where two intervals without one are more than an
    /// assert lasts: its outcome may be forgotten in between. Nothing elsewhere.
    pub first_refresh: Duration,
    /// After this time without state refresh the outcome of an assert is forgotten: the shortest Assert Time.
    pub assert_time: Duration,
    /// How long what a router has joined is kept upstream once it is silent: the longest hold time of joins in sparse mode (RFC 7761 §4.11).
    pub joins: Duration,
    /// How long trees may stand that nobody wants any more: the hold time of joins of a daemon that joins as it leaves, and of those on a wire
    /// of sparse mode with a third router. Where an assert has taken that to another upstream router, the first one is sent no prune (RFC 7761
    /// §4.5.5), and serves it again once the winner has left.
    pub lingering: Duration,
    /// By then another rendezvous point serves the groups of one that died, or the first one does, where they are found by bootstrap
    /// messages: its advertisements run out at the bootstrap router, or that one is missed and the next one elected, which has to hear
    /// the candidates; and the next bootstrap message tells all. Nothing where none are sent.
    pub rendezvous: Duration,
    /// How long a prune or join that was lost is not made up for: the longest t_limit, or the hold time of joins.
    pub prune_limit: Duration,
    /// By then a rendezvous point that has forgotten a source hears of it again: its designated router is silent for a register
    /// suppression time, at the most half as long again (RFC 7761 §4.4.1). Nothing in dense mode.
    pub registered: Duration,
}

/// The PIM variables of an interface, scaled, and rounded up to what messages can say.
struct Variables {
    triggered_hello_delay: Duration,
    hold_time: Duration,
    override_interval: Duration,
    propagation_delay: Duration,
    assert_time: Duration,
    prune_hold_time: Duration,
    prune_limit: Duration,
    /// Of joins; nothing in dense mode.
    join_hold: Duration,
    registered: Duration,
    /// None where state refresh is off.
    state_refresh_interval: Option<Duration>,
}

impl Variables {
    fn of(plan: &Plan, pim: &Pim, is_sparse: bool) -> Variables {
        let scaled = |span: Option<Span>, millis: u64| {
            plan.scaled(span.map_or(Duration::from_millis(millis), router_core::time::Span::get))
        };
        let hello_period = scaled(pim.hello_period, 30_000);
        let hold_time = pim.hello_hold_time.map_or(hello_period.mul_f64(3.5), |span| plan.scaled(span.get()));
        // Where the option is off on one side, the defaults hold (§4.3.5).
        let (own_override, own_delay) = (scaled(pim.override_interval, 2500), scaled(pim.propagation_delay, 500));
        let (override_interval, propagation_delay) = if pim.lan_prune_delay == Some(false) {
            (own_override.max(Duration::from_millis(2500)), own_delay.max(Duration::from_millis(500)))
        } else {
            (own_override, own_delay)
        };
        let period = scaled(pim.join_prune_period, 60_000);
        let join_hold = pim.join_prune_hold_time.map_or(period.mul_f64(3.5), |span| plan.scaled(span.get()));
        let suppression = scaled(pim.register_suppression_time, 60_000);
        let refresh = round_up(scaled(pim.state_refresh_interval, 60_000), SECOND);
        Variables {
            triggered_hello_delay: scaled(pim.triggered_hello_delay, 5_000),
            hold_time: round_up(hold_time, SECOND),
            override_interval: round_up(override_interval, MILLISECOND),
            propagation_delay: round_up(propagation_delay, MILLISECOND),
            assert_time: scaled(pim.assert_time, 180_000),
            prune_hold_time: round_up(scaled(pim.prune_hold_time, 210_000), SECOND),
            prune_limit: if is_sparse { round_up(join_hold, SECOND) } else { scaled(pim.prune_limit, 210_000) },
            join_hold: if is_sparse { round_up(join_hold, SECOND) } else { Duration::ZERO },
            registered: if is_sparse { suppression * 3 / 2 } else { Duration::ZERO },
            state_refresh_interval: (pim.state_refresh != Some(false)).then_some(refresh),
        }
    }
}

impl Convergence {
    /// What a plan's routers need.
    pub fn of(plan: &Plan) -> Convergence {
        let routers: Vec<NodeId> = plan.node_ids().filter(|id| runs_pim(plan, *id)).collect();
        let ends: Vec<(Attachment, Variables)> = routers
            .iter()
            .flat_map(|node| (0..plan.node(*node).interfaces.len()).map(|n| Attachment { node: *node, interface: n }))
            .filter_map(|at| plan.pim_at(at).map(|pim| (at, Variables::of(plan, &pim, is_sparse(plan, at.node)))))
            .collect();
        if ends.is_empty() {
            return Convergence::default();
        }
        let longest = |of: &dyn Fn(&Variables) -> Duration| ends.iter().map(|(_, v)| of(v)).max().unwrap_or_default();
        let shortest = |of: &dyn Fn(&Variables) -> Duration| ends.iter().map(|(_, v)| of(v)).min().unwrap_or_default();
        let mut by_wire: Vec<Vec<&Variables>> = vec![Vec::new(); plan.wires.len()];
        for (at, variables) in &ends {
            by_wire[plan.interface(*at).wire.0].push(variables);
        }
        let on_wire = |wire: WireId| by_wire[wire.0].iter();
        let prunes = plan
            .wire_ids()
            .filter(|wire| on_wire(*wire).count() > 2)
            .map(|wire| {
                let of = |of: &dyn Fn(&Variables) -> Duration| on_wire(wire).map(|v| of(v)).max().unwrap_or_default();
                of(&|v| v.override_interval) + of(&|v| v.propagation_delay)
            })
            .sum();
        let shared = |(at, _): &&(Attachment, Variables)| by_wire[plan.interface(*at).wire.0].len() > 1;
        // The ends of a router follow one another.
        let of_router = ends.chunk_by(|(one, _), (next, _)| one.node == next.node);
        let contested = of_router.map(|ends| ends.iter().filter(shared).count()).max().unwrap_or_default();
        // One of them is the way to the source.
        let contested = u32::try_from(contested).unwrap_or(u32::MAX).saturating_sub(1);
        let hold = shortest(&|v| v.prune_hold_time);
        // A prune holds for its hold time less J/P_Override_Interval (§4.4.2.1), that of an assert's loser as long as the assert (§4.6.4.1),
        // which the first state refresh then prolongs.
        let delay = longest(&|v| v.override_interval + v.propagation_delay);
        let holds = hold.saturating_sub(delay);
        let asserted = shortest(&|v| v.assert_time).saturating_sub(delay);
        let is_in_time = |interval: Duration| interval * 2 < holds && interval * 3 / 2 < asserted;
        let intervals =
            ends.iter().filter(|(at, _)| !is_sparse(plan, at.node)).filter_map(|(_, v)| v.state_refresh_interval);
        let first_refresh = intervals.max().filter(|interval| *interval * 2 >= asserted).unwrap_or_default();
        let is_refreshed =
            ends.iter().all(|(at, v)| is_sparse(plan, at.node) || v.state_refresh_interval.is_some_and(is_in_time));
        Convergence {
            is_pim: true,
            hello: longest(&|v| v.triggered_hello_delay) * 2,
            liveness: longest(&|v| v.hold_time) + reports(plan, ends.iter().map(|(at, _)| *at)),
            joins: longest(&|v| v.join_hold),
            lingering: ends
                .iter()
                .filter(|(at, _)| lingers(plan, *at) || on_wire(plan.interface(*at).wire).count() > 2)
                .map(|(_, v)| v.join_hold)
                .max()
                .unwrap_or_default(),
            prunes,
            contested,
            is_refreshed,
            first_refresh,
            assert_time: shortest(&|v| v.assert_time),
            rendezvous: rendezvous(plan),
            prune_limit: longest(&|v| v.prune_limit),
            registered: longest(&|v| v.registered),
        }
    }

    /// By then it is settled who forwards, with a packet every `pace`: until then packets may cross a wire more than once (§4.6).
    pub fn asserts(&self, pace: Duration) -> Duration {
        let swallow = if self.contested > 0 { SWALLOW } else { Duration::ZERO };
        (WRONG_INTERFACE + pace) * self.contested + swallow + pace
    }

    /// By then all has come to rest: neighbours and rendezvous points are known, asserts decided, and what nobody asked for is pruned.
    pub fn settle(&self, pace: Duration) -> Duration {
        if !self.is_pim {
            return Duration::ZERO;
        }
        self.hello + self.asserts(pace) + self.prunes + self.rendezvous + pace
    }
}

fn lingers(plan: &Plan, at: Attachment) -> bool {
    plan.node(at.node).router().is_some_and(|router| habits::of(&router.daemon).joins_when_left)
}

/// How long members take to report again where a daemon waits for that: a query interval and a response interval.
fn reports(plan: &Plan, ends: impl Iterator<Item = Attachment>) -> Duration {
    let waits = |at: &Attachment| {
        plan.node(at.node).router().is_some_and(|router| habits::of(&router.daemon).serves_at_next_report)
    };
    ends.filter(waits).map(|at| relearn(plan, at)).max().unwrap_or_default()
}

fn runs_pim(plan: &Plan, node: NodeId) -> bool {
    plan.node(node).router().is_some_and(|router| router.multicast.is_pim())
}

/// Whether a router handles no group in dense mode.
fn is_sparse(plan: &Plan, node: NodeId) -> bool {
    plan.node(node).router().is_some_and(|router| {
        router.multicast == Multicast::PimSm && router.pim.dense_groups.as_ref().is_none_or(Vec::is_empty)
    })
}

/// What it takes for another candidate to take over, or for the first one to be known.
fn rendezvous(plan: &Plan) -> Duration {
    let pims = || plan.nodes.iter().filter_map(|node| node.router()).map(|router| &router.pim);
    if !pims().any(|pim| pim.candidate_bsr.is_some()) {
        return Duration::ZERO;
    }
    let scaled = |span: Option<Span>, secs: u64| plan.scaled(span.map_or(Duration::from_secs(secs), Span::get));
    let longest = |of: &dyn Fn(&Pim) -> Option<Duration>| pims().filter_map(of).max().unwrap_or_default();
    let period_of = |pim: &Pim| {
        let own = pim.candidate_bsr.as_ref().and_then(|bsr| bsr.interval);
        scaled(own.or(pim.bs_period), 60)
    };
    let period = longest(&|pim| pim.candidate_bsr.as_ref().map(|_| period_of(pim)));
    let apart = longest(&|pim| Some(scaled(pim.bs_min_interval, 10)));
    // What is announced is 2.5 intervals, in whole seconds.
    let hold = longest(&|pim| {
        let rp = pim.candidate_rp.as_ref()?;
        Some(round_up(scaled(rp.interval, 60).mul_f64(2.5), SECOND))
    });
    let timeout = longest(&|pim| {
        pim.candidate_bsr.as_ref()?;
        let timeout = pim.bs_timeout.map(|timeout| plan.scaled(timeout.get()));
        Some(timeout.unwrap_or_else(|| period_of(pim) * 2 + scaled(None, 10)))
    });
    // BS_Rand_Override is at most 23 of its units.
    let elected = longest(&|pim| Some(scaled(pim.bs_rand_override_unit, 1) * 23));
    let advertised = longest(&|pim| Some(scaled(pim.c_rp_adv_backoff, 3)));
    hold.max(timeout + elected + advertised) + period + apart
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::testing::Net;

    fn secs(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn static_routers_need_no_time() {
        let mut net = Net::new();
        let (a, b) = (net.router("a"), net.router("b"));
        net.link("l", a, b);
        let convergence = Convergence::of(&net.plan());
        assert_eq!(convergence, Convergence::default());
        assert_eq!(convergence.settle(secs(1.0)), Duration::ZERO);
    }

    #[test]
    fn a_link_needs_no_override_and_a_lan_of_three_does() {
        let mut net = Net::new();
        let (a, b, c) = (net.pim("a"), net.pim("b"), net.pim("c"));
        net.link("l", a, b);
        assert_eq!(Convergence::of(&net.plan()).prunes, Duration::ZERO);
        net.lan("lan", &[a, b, c]);
        let convergence = Convergence::of(&net.plan());
        assert_eq!((convergence.prunes, convergence.contested), (secs(3.0), 1));
        assert_eq!((convergence.hello, convergence.liveness), (secs(10.0), secs(105.0)));
        assert!(convergence.is_refreshed);
        assert_eq!(convergence.asserts(secs(0.1)), secs(4.2));
    }

    #[test]
    fn a_third_router_on_a_wire_of_sparse_mode_may_leave_a_join_behind() {
        let mut net = Net::new();
        let (a, b, c) = (net.sparse("a"), net.sparse("b"), net.sparse("c"));
        net.lan("lan", &[a, b]);
        assert_eq!(Convergence::of(&net.plan()).lingering, Duration::ZERO);
        net.lan("other", &[a, b, c]);
        assert_eq!(Convergence::of(&net.plan()).lingering, secs(210.0));
    }

    #[test]
    fn the_kernels_part_does_not_scale_and_hold_times_are_whole_seconds() {
        let mut net = Net::new();
        let (a, b) = (net.pim("a"), net.pim("b"));
        net.link("l", a, b);
        net.link("m", a, b);
        net.timers(0.1);
        let convergence = Convergence::of(&net.plan());
        assert_eq!((convergence.hello, convergence.liveness), (secs(1.0), secs(11.0)));
        assert_eq!(convergence.asserts(Duration::ZERO), secs(4.0));
    }

    #[test]
    fn a_rendezvous_point_that_died_is_missed_by_whoever_takes_longest() {
        let mut net = Net::new();
        let (a, b) = (net.sparse("a"), net.sparse("b"));
        net.link("l", a, b);
        net.rendezvous_point(a);
        let configured = Convergence::of(&net.plan());
        assert_eq!((configured.rendezvous, configured.is_refreshed), (Duration::ZERO, true));
        assert_eq!(configured.prune_limit, secs(210.0));
        net.router_mut(a).pim.candidate_bsr = Some(router_core::config::CandidateBsr {
            address: "10.255.0.1".parse().unwrap(),
            priority: 64,
            hash_mask_length: 30,
            interval: None,
            zones: Vec::new(),
            allowed_rps: None,
        });
        // BS_Timeout 130 s, 23 s, 3 s; then a period and BS_Min_Interval.
        assert_eq!(Convergence::of(&net.plan()).rendezvous, secs(226.0));
    }

    #[test]
    fn one_router_without_state_refresh_lets_prunes_run_out() {
        let mut net = Net::new();
        let (a, b) = (net.pim("a"), net.pim("b"));
        net.link("l", a, b);
        net.router_mut(b).pim.state_refresh = Some(false);
        assert!(!Convergence::of(&net.plan()).is_refreshed);
    }

    #[test]
    fn frr_serves_members_when_they_report_and_joins_as_it_leaves() {
        let mut net = Net::new();
        let (a, b) = (net.sparse("a"), net.sparse("b"));
        net.link("l", a, b);
        let ours = Convergence::of(&net.plan());
        assert_eq!((ours.liveness, ours.joins, ours.lingering), (secs(105.0), secs(210.0), secs(0.0)));
        net.router_mut(b).daemon = crate::topology::plan::Daemon::Frr;
        // Until the members have been asked, each 125 s, and have answered, within 10 s.
        let mixed = Convergence::of(&net.plan());
        assert_eq!((mixed.liveness, mixed.joins, mixed.lingering), (secs(240.0), secs(210.0), secs(210.0)));
    }
}
