//! Timers and versions of a run, drawn within the ranges that the RFCs give or that networks use.

use std::collections::BTreeSet;
use std::time::Duration;

use router_core::config::SptSwitchover;
use router_core::pim::settings::{OVERRIDE_INTERVAL, PROPAGATION_DELAY};
use router_core::time::Span;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::draw::Draw;
use crate::topology::plan::{Multicast, Node, NodeKind, Pim, Plan};

/// Scales of timers: the kernel's own constants do not scale, so that each scale mixes the two in another way.
const SCALES: [f64; 3] = [0.02, 0.05, 0.1];

/// J/P_Override_Interval of a link whose routers announce no delays (RFC 3973 §4.8), which is not scaled.
const JP_OVERRIDE_DEFAULT: Duration = PROPAGATION_DELAY.saturating_add(OVERRIDE_INTERVAL);

/// Draws what all routers of a plan are set to: timers that are announced nowhere must be the same on a wire.
pub fn draw(plan: &mut Plan, draw: &mut Draw) {
    plan.timers = draw.pick(&SCALES).copied().unwrap_or(0.05);
    let defaults = draw.percent(25);
    let mut span = |least: u64, most: u64| Some(Span(draw.millis(least / 100, most / 100) * 100));
    let hello_period = span(10_000, 60_000);
    let triggered_hello_delay = span(0, 5_000);
    let propagation_delay = span(100, 1_000);
    let override_interval = span(500, 5_000);
    let assert_time = span(60_000, 240_000);
    let graft_retry_period = span(1_000, 5_000);
    let prune_hold_time = span(60_000, 300_000);
    let source_lifetime = span(60_000, 300_000);
    let state_refresh_interval = span(20_000, 90_000);
    let query_interval = span(30_000, 180_000);
    let query_response_interval = span(1_000, 20_000);
    let last_member_query_interval = span(500, 5_000);
    let startup_query_response_interval = span(100, 2_000);
    let robustness = Some(draw.between(2, 3) as u8);
    let state_refresh = Some(draw.percent(75));
    // Without the option the RFC's 3 s hold, whatever the scale: prunes that hold hardly longer say nothing.
    let held = [prune_hold_time, assert_time, state_refresh_interval.map(|interval| Span(interval.get() * 3))];
    let are_long = held.into_iter().flatten().all(|span| plan.scaled(span.get()) > JP_OVERRIDE_DEFAULT * 2);
    let lan_prune_delay = Some(draw.percent(85) || !are_long);
    let is_sparse = |node: &Node| node.router().is_some_and(|router| router.multicast == Multicast::PimSm);
    let sparse = plan.nodes.iter().any(is_sparse).then(|| Sparse::draw(draw));
    for node in &mut plan.nodes {
        let NodeKind::Router(router) = &mut node.kind else { continue };
        if defaults {
            continue;
        }
        let igmp = &mut router.igmp;
        igmp.robustness = robustness;
        igmp.query_interval = query_interval;
        igmp.query_response_interval = query_response_interval;
        igmp.last_member_query_interval = last_member_query_interval;
        igmp.startup_query_response_interval = startup_query_response_interval;
        igmp.startup_query_interval = None;
        if !router.multicast.is_pim() {
            continue;
        }
        let pim = &mut router.pim;
        pim.hello_period = hello_period;
        pim.hello_hold_time = None;
        pim.triggered_hello_delay = triggered_hello_delay;
        pim.propagation_delay = propagation_delay;
        pim.override_interval = override_interval;
        pim.assert_time = assert_time;
        pim.lan_prune_delay = lan_prune_delay;
        if let Some(sparse) = sparse.as_ref().filter(|_| router.multicast == Multicast::PimSm) {
            sparse.set(pim);
        }
        if router.multicast == Multicast::PimSm && pim.dense_groups.as_ref().is_none_or(Vec::is_empty) {
            continue;
        }
        pim.graft_retry_period = graft_retry_period;
        pim.prune_hold_time = prune_hold_time;
        pim.prune_limit = prune_hold_time;
        pim.source_lifetime = source_lifetime;
        pim.state_refresh_interval = state_refresh_interval;
        pim.refresh_limit_interval = None;
        pim.state_refresh = state_refresh;
    }
    if draw.percent(30) {
        for node in &mut plan.nodes {
            if let NodeKind::Host(host) = &mut node.kind {
                host.igmp_version = draw.pick(&[None, None, Some(3), Some(2), Some(1)]).copied().flatten();
            }
        }
    }
    if has_version_1(plan) {
        // Version 1 says no response time: its hosts answer within 10 s, whatever the scale, and are to be heard before they are forgotten.
        plan.timers = 0.1;
        let query_interval = Some(Span(draw.millis(1_000, 1_800) * 100));
        for node in &mut plan.nodes {
            if let NodeKind::Router(router) = &mut node.kind {
                router.igmp.query_interval = query_interval;
            }
        }
    }
}

/// When routers leave the shared tree: mostly as their file says.
const SWITCHOVERS: [Option<SptSwitchover>; 4] =
    [None, None, Some(SptSwitchover::Immediate), Some(SptSwitchover::Never)];

/// Timers of sparse mode and of the bootstrap mechanism.
struct Sparse {
    join_prune_period: Option<Span>,
    keepalive_period: Option<Span>,
    register_suppression_time: Option<Span>,
    register_probe_time: Option<Span>,
    /// In place of the file's.
    switchover: Option<SptSwitchover>,
    /// BS_Period, and the interval of candidate RPs.
    bootstrap: (Option<Span>, Option<Span>),
}

impl Sparse {
    fn draw(draw: &mut Draw) -> Sparse {
        let mut span = |least: u64, most: u64| Some(Span(draw.millis(least / 100, most / 100) * 100));
        Sparse {
            join_prune_period: span(30_000, 90_000),
            keepalive_period: span(120_000, 300_000),
            register_suppression_time: span(30_000, 90_000),
            register_probe_time: span(2_000, 10_000),
            bootstrap: (span(30_000, 90_000), span(30_000, 90_000)),
            switchover: draw.pick(&SWITCHOVERS).copied().flatten(),
        }
    }

    fn set(&self, pim: &mut Pim) {
        pim.join_prune_period = self.join_prune_period;
        pim.join_prune_hold_time = None;
        pim.keepalive_period = self.keepalive_period;
        pim.rp_keepalive_period = None;
        pim.register_suppression_time = self.register_suppression_time;
        pim.register_probe_time = self.register_probe_time;
        pim.spt_switchover = self.switchover.or(pim.spt_switchover);
        pim.bs_period = self.bootstrap.0;
        (pim.bs_timeout, pim.bs_min_interval, pim.bs_rand_override_unit) = (None, None, None);
        (pim.sz_timeout, pim.c_rp_adv_backoff) = (None, None);
        if let Some(bsr) = &mut pim.candidate_bsr {
            bsr.interval = self.bootstrap.0;
        }
        if let Some(rp) = &mut pim.candidate_rp {
            rp.interval = self.bootstrap.1;
        }
    }
}

fn has_version_1(plan: &Plan) -> bool {
    plan.nodes.iter().any(|node| match &node.kind {
        NodeKind::Host(host) => host.igmp_version == Some(1),
        NodeKind::Router(router) => {
            router.igmp.version == Some(1) || node.interfaces.iter().any(|interface| interface.igmp.version == Some(1))
        }
    })
}

/// A span of the file as the lab runs it.
pub fn scaled(plan: &Plan, span: Option<Span>, otherwise: u64) -> Duration {
    plan.scaled(span.map_or(Duration::from_secs(otherwise), Span::get))
}

/// The name of hosts' versions among [`keys`].
const VERSIONS: &str = "host versions";

/// Whether a plan's settings can be put back all at once, or only those of [`keys`].
pub fn are_free(plan: &Plan) -> bool {
    !has_version_1(plan)
}

/// What of a plan's settings can be put back on its own: with IGMPv1, not how often routers ask, for its hosts take their 10 s.
pub fn keys(plan: &Plan) -> BTreeSet<String> {
    let mut keys = BTreeSet::from([VERSIONS.to_owned()]);
    for router in plan.nodes.iter().filter_map(|node| node.router()) {
        for settings in [serde_json::to_value(&router.igmp), serde_json::to_value(&router.pim)] {
            let Ok(serde_json::Value::Object(map)) = settings else { continue };
            let given = map.into_iter().filter(|(_, value)| !value.is_null()).map(|(key, _)| key);
            keys.extend(given.filter(|key| are_free(plan) || key != "query-interval"));
        }
    }
    keys
}

/// A plan with a setting (or all) as another plan has it.
pub fn restored(plan: &Plan, base: &Plan, only: Option<&str>) -> Plan {
    let mut plan = plan.clone();
    for node in &mut plan.nodes {
        let Some(before) = base.nodes.iter().find(|before| before.name == node.name) else { continue };
        match (&mut node.kind, &before.kind) {
            (NodeKind::Router(now), NodeKind::Router(before)) => {
                now.igmp = with(&now.igmp, &before.igmp, only);
                now.pim = with(&now.pim, &before.pim, only);
            }
            (NodeKind::Host(now), NodeKind::Host(before)) if only.is_none_or(|only| only == VERSIONS) => {
                now.igmp_version = before.igmp_version;
            }
            _ => {}
        }
    }
    plan
}

/// Settings with a key (or all) of others.
fn with<T: Clone + Serialize + DeserializeOwned>(now: &T, before: &T, only: Option<&str>) -> T {
    let Some(only) = only else { return before.clone() };
    let (Ok(mut map), Ok(others)) = (serde_json::to_value(now), serde_json::to_value(before)) else {
        return now.clone();
    };
    if let (Some(value), Some(other)) = (map.get_mut(only), others.get(only)) {
        *value = other.clone();
    }
    serde_json::from_value(map).unwrap_or_else(|_| now.clone())
}
