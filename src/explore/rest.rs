//! How long a network is left alone after a disturbance, by its protocols' own timers.

use std::time::Duration;

use super::settings::scaled;
use crate::oracle::{Convergence, Deadlines, World};
use crate::topology::plan::{Multicast, Pim, Plan, WireId};

/// What the kernel keeps of an entry that no packet uses where no protocol says so (`router_core::forwarding::table`), never scaled.
const KEPT: Duration = Duration::from_secs(210 + 70);
/// Routes, carriers, daemons that start: milliseconds each.
const KERNEL: Duration = Duration::from_millis(300);

/// Times of rest.
#[derive(Clone, Copy, Debug)]
pub struct Rest {
    /// After joins alone: hosts report at once, and routers graft.
    pub joined: Duration,
    /// From a graft to the next.
    pub graft_retry: Duration,
    /// After what routers learn of at once: joins, leaves, carriers, restarts.
    pub told: Duration,
    /// After what they only miss: messages that were lost, routers that fell silent.
    pub missed: Duration,
    /// From a source's last packet and a group's last member until nothing is kept of them.
    pub gone: Duration,
}

impl Rest {
    /// The times of a plan, with streams of a packet every `pace`; `excludes`: somebody wants all but some sources of a group.
    pub fn of(plan: &Plan, pace: Duration, excludes: bool) -> Rest {
        let world = World::new();
        let deadlines = Deadlines::new(plan, &world).with_pace(pace);
        let convergence = Convergence::of(plan);
        let longest = |of: &dyn Fn(WireId) -> Duration| plan.wire_ids().map(of).max().unwrap_or_default();
        let again = if excludes { longest(&|wire| deadlines.relearn(wire)) } else { Duration::ZERO };
        let believed = longest(&|wire| deadlines.group_membership_interval(wire)) + again;
        // Older hosts, whose groups know no leaves, and sources that a leave cannot name.
        let older = plan.nodes.iter().any(|node| node.host().is_some_and(|h| h.igmp_version.is_some_and(|v| v < 3)))
            || plan
                .wires
                .iter()
                .flat_map(|wire| &wire.ends)
                .any(|end| plan.igmp_at(*end).is_some_and(|igmp| igmp.version.is_some_and(|version| version < 3)));
        let leave = if older || excludes { believed } else { longest(&|wire| deadlines.leave(wire, None)) };
        let sparse = |of: &dyn Fn(&Pim) -> Duration| {
            let routers = plan.nodes.iter().filter_map(|node| node.router());
            let sparse = routers.filter(|router| router.multicast == Multicast::PimSm);
            sparse.map(|router| of(&router.pim)).max().unwrap_or_default()
        };
        let told = KERNEL + leave + convergence.lingering + convergence.settle(pace) + convergence.registered;
        // An AssertCancel that is lost is missed by whoever lost for the time of the assert.
        let asserted = sparse(&|pim| scaled(plan, pim.assert_time, 180));
        let missed =
            told + believed.max(convergence.liveness).max(convergence.prune_limit).max(asserted) + convergence.prunes;
        let lifetimes = plan.nodes.iter().filter_map(|node| node.router()).map(|router| match router.multicast {
            Multicast::PimDm => {
                let source = scaled(plan, router.pim.source_lifetime, 210);
                let prune = scaled(plan, router.pim.prune_hold_time, 210) + Duration::from_secs(1);
                let assert = scaled(plan, router.pim.assert_time, 180);
                // Counters are read three times a lifetime; what is heard last starts a lifetime of its own.
                source * 2 + source.max(prune) + prune.max(assert)
            }
            Multicast::PimSm => {
                let pim = &router.pim;
                let keepalive = scaled(plan, pim.keepalive_period, 210);
                // Probes go on as long as the source is believed in, and each is believed by the rendezvous point.
                let suppression = scaled(plan, pim.register_suppression_time, 60);
                let rp_keepalive = suppression * 3 + scaled(plan, pim.register_probe_time, 5);
                let assert = scaled(plan, pim.assert_time, 180);
                keepalive * 2 + rp_keepalive.max(keepalive) + convergence.joins.max(assert)
            }
            _ => KEPT,
        });
        let gone = leave + lifetimes.max().unwrap_or_default() + KERNEL;
        let retries =
            plan.nodes.iter().filter_map(|node| node.router()).map(|r| scaled(plan, r.pim.graft_retry_period, 3));
        // The first packet of a shared tree makes a router join the source's own, the next one comes by that, and only then the other is left.
        let is_sparse = convergence.joins > Duration::ZERO;
        let first = if is_sparse { pace * 4 } else { pace };
        Rest { joined: KERNEL + first, graft_retry: retries.max().unwrap_or_default(), told, missed, gone }
    }
}
