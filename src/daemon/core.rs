//! The bundled router-core: the plan's router as its configuration.

use std::time::Duration;

use router_core::config::{CandidateBsr, CandidateRp, Config, Igmp, Interface, Multicast, Pim, StaticRoute};
use router_core::time::Span;

use super::find::{Kind, program_of};
use super::{At, DaemonError, Launch, Paths, Program, Readiness};
use crate::topology::plan::{Attachment, Plan};

const CONFIG: &str = "router-core.json";
const SOCKET: &str = "control.sock";

/// What an IGMP message can say of a response time at the finest (RFC 9776 §4.1.1).
const RESPONSE_UNIT: Duration = Duration::from_millis(100);
/// What hold times are said in.
const SECOND: Duration = Duration::from_secs(1);

pub(super) fn prepare(at: &At<'_>, paths: &Paths) -> Result<Launch, DaemonError> {
    let path = program_of(&at.node.name, Kind::RouterCore, Kind::RouterCore.program(), paths)?;
    let config = paths.node.join(CONFIG);
    let socket = paths.node.join(SOCKET);
    let text = serde_json::to_string_pretty(&configuration(at))
        .map_err(|error| DaemonError::Configuration { node: at.node.name.clone(), why: error.to_string() })?;
    Ok(Launch {
        directories: Vec::new(),
        programs: vec![Program {
            name: Kind::RouterCore.program().to_owned(),
            argv: vec![
                path,
                "--config".to_owned(),
                config.to_string_lossy().into_owned(),
                "--control".to_owned(),
                socket.to_string_lossy().into_owned(),
            ],
            ready: Readiness::ControlEvent { socket },
        }],
        files: vec![(config, text + "\n")],
        env: Vec::new(),
    })
}

pub(super) fn check(at: &At<'_>) -> Vec<DaemonError> {
    let errors = configuration(at).check().err().map(|errors| errors.0).unwrap_or_default();
    errors.into_iter().map(|why| DaemonError::Refused { node: at.node.name.clone(), why }).collect()
}

/// The plan's router as a configuration, its timers scaled.
pub(super) fn configuration(at: &At<'_>) -> Config {
    let name = |index: usize| at.interface_name(index).to_owned();
    Config {
        name: at.node.name.clone(),
        // Routers of one lab must not draw the same numbers, and a node added at the end must not change the others'. The factor is not
        // the step of the routers' generators, else each would draw its neighbour's numbers one draw later.
        seed: at.plan.seed ^ (at.id.0 as u64 + 1).wrapping_mul(0xd6e8_feb8_6659_fd93),
        multicast: at.router.multicast,
        igmp: Igmp::default(),
        pim: if at.router.multicast.is_pim() {
            scaled(at.plan, at.router.multicast, at.router.pim.clone())
        } else {
            Pim::default()
        },
        interfaces: (0..at.node.interfaces.len()).map(|index| interface(at, index)).collect(),
        routes: at
            .router
            .routes
            .iter()
            .map(|route| StaticRoute {
                group: route.group,
                source: route.source,
                incoming: name(route.incoming),
                outgoing: route.outgoing.iter().copied().map(name).collect(),
            })
            .collect(),
        upstream: at.router.upstream.map(name),
        limits: at.router.limits,
    }
}

fn interface(at: &At<'_>, index: usize) -> Interface {
    let place = Attachment { node: at.id, interface: index };
    let own = &at.node.interfaces[index];
    let is_upstream = at.router.multicast == Multicast::Proxy && at.router.upstream == Some(index);
    let igmp = if own.ipv4().is_none() || is_upstream {
        // IGMP is IPv4's, and toward its upstream a proxy is a host (RFC 4605 §4.1).
        Igmp { enabled: Some(false), ..Igmp::default() }
    } else {
        igmp_in_force(at.plan, place).unwrap_or_default()
    };
    let pim = match pim_in_force(at.plan, place) {
        Some(pim) => interface_keys(pim),
        // PIM is IPv4's here.
        None if at.router.multicast.is_pim() => Pim { enabled: Some(false), ..Pim::default() },
        None => Pim::default(),
    };
    Interface { name: own.name.clone(), igmp, pim, ttl_threshold: own.ttl_threshold, boundary: own.boundary.clone() }
}

/// IGMP settings as router-core runs them at an interface: the file's, with every interval scaled by `timers`, the RFC's
/// defaults included (RFC 9776 §8), response times rounded up to the tenths of a second that messages carry.
pub fn igmp_in_force(plan: &Plan, at: Attachment) -> Option<Igmp> {
    let set = plan.igmp_at(at)?;
    if plan.timers == 1.0 {
        return Some(set);
    }
    let span = |value: Option<Span>, default: Duration| plan.scaled(value.map_or(default, Span::get));
    let response = |value: Option<Span>, default: Duration| Some(Span(up_to(span(value, default), RESPONSE_UNIT)));
    Some(Igmp {
        query_interval: Some(Span(span(set.query_interval, Duration::from_secs(125)))),
        query_response_interval: response(set.query_response_interval, Duration::from_secs(10)),
        // Unset, it follows the query interval.
        startup_query_interval: set.startup_query_interval.map(|value| Span(plan.scaled(value.get()))),
        startup_query_response_interval: response(set.startup_query_response_interval, Duration::from_millis(100)),
        last_member_query_interval: response(set.last_member_query_interval, Duration::from_secs(1)),
        ..set
    })
}

/// PIM settings as router-core runs them at an interface: the file's, the router's own keys included, with every interval scaled by
/// `timers`, the RFC's defaults included (RFC 3973 §4.8), and what messages carry rounded up to what they can say. None where PIM does
/// not run.
pub fn pim_in_force(plan: &Plan, at: Attachment) -> Option<Pim> {
    plan.interface(at).ipv4()?;
    let multicast = plan.node(at.node).router()?.multicast;
    Some(scaled(plan, multicast, plan.pim_at(at)?))
}

fn scaled(plan: &Plan, multicast: Multicast, set: Pim) -> Pim {
    if plan.timers == 1.0 {
        return set;
    }
    let secs = |value: Option<Span>, default: u64| plan.scaled(value.map_or(Duration::from_secs(default), Span::get));
    let millis = |value: Option<Span>, default: u64| {
        up_to(plan.scaled(value.map_or(Duration::from_millis(default), Span::get)), Duration::from_millis(1))
    };
    let hello = secs(set.hello_period, 30);
    // Unset, the hold time follows the hello period (RFC 3973 §4.8: 3.5 of them).
    let hold = set.hello_hold_time.map_or(hello.mul_f64(3.5), |value| plan.scaled(value.get()));
    let is_sparse = multicast == Multicast::PimSm;
    let has_dense = set.dense_groups.as_ref().is_some_and(|groups| !groups.is_empty());
    let set = if is_sparse { scaled_sparse(plan, set) } else { set };
    let set = if !is_sparse || has_dense { scaled_dense(plan, set) } else { set };
    Pim {
        hello_period: Some(Span(hello)),
        hello_hold_time: Some(Span(up_to(hold, SECOND))),
        triggered_hello_delay: Some(Span(secs(set.triggered_hello_delay, 5))),
        propagation_delay: Some(Span(millis(set.propagation_delay, 500))),
        override_interval: Some(Span(millis(set.override_interval, 2500))),
        assert_time: Some(Span(secs(set.assert_time, 180))),
        ..set
    }
}

/// Dense mode's own (RFC 3973 §4.8).
fn scaled_dense(plan: &Plan, set: Pim) -> Pim {
    let secs = |value: Option<Span>, default: u64| plan.scaled(value.map_or(Duration::from_secs(default), Span::get));
    let refresh = up_to(secs(set.state_refresh_interval, 60), SECOND);
    // Unset, the limit follows the refresh interval.
    let limit = set.refresh_limit_interval.map_or(refresh / 2, |value| plan.scaled(value.get()));
    Pim {
        graft_retry_period: Some(Span(secs(set.graft_retry_period, 3))),
        prune_hold_time: Some(Span(up_to(secs(set.prune_hold_time, 210), SECOND))),
        prune_limit: Some(Span(secs(set.prune_limit, 210))),
        source_lifetime: Some(Span(secs(set.source_lifetime, 210))),
        state_refresh_interval: Some(Span(refresh)),
        refresh_limit_interval: Some(Span(limit)),
        ..set
    }
}

/// Sparse mode's own (RFC 7761 §4.11, RFC 5059 §5).
fn scaled_sparse(plan: &Plan, set: Pim) -> Pim {
    let secs = |value: Option<Span>, default: u64| plan.scaled(value.map_or(Duration::from_secs(default), Span::get));
    let period = secs(set.join_prune_period, 60);
    // Unset, the hold time follows the period, and a rendezvous point keeps its sources as long as their registers may pause.
    let hold = set.join_prune_hold_time.map_or(period.mul_f64(3.5), |value| plan.scaled(value.get()));
    let suppression = secs(set.register_suppression_time, 60);
    let probe = secs(set.register_probe_time, 5);
    let rp_keepalive = set.rp_keepalive_period.map_or(suppression * 3 + probe, |value| plan.scaled(value.get()));
    let candidate_rp =
        set.candidate_rp.as_ref().map(|rp| CandidateRp { interval: Some(Span(secs(rp.interval, 60))), ..rp.clone() });
    let candidate_bsr = set
        .candidate_bsr
        .as_ref()
        .map(|bsr| CandidateBsr { interval: Some(Span(secs(bsr.interval.or(set.bs_period), 60))), ..bsr.clone() });
    // The domain's period follows its own candidate's, and the time-out the period: BS_Timeout is no announced time, so that all of it scales.
    let own_period = set.candidate_bsr.as_ref().and_then(|bsr| bsr.interval);
    let bs_period = secs(own_period.or(set.bs_period), 60);
    let bs_timeout =
        set.bs_timeout.map_or(bs_period * 2 + plan.scaled(Duration::from_secs(10)), |value| plan.scaled(value.get()));
    Pim {
        bs_period: Some(Span(bs_period)),
        bs_timeout: Some(Span(bs_timeout)),
        // Unset, no longer than the period.
        bs_min_interval: Some(Span(
            set.bs_min_interval
                .map_or_else(|| plan.scaled(Duration::from_secs(10)).min(bs_period), |value| plan.scaled(value.get())),
        )),
        bs_rand_override_unit: Some(Span(secs(set.bs_rand_override_unit, 1))),
        sz_timeout: Some(Span(set.sz_timeout.map_or(bs_timeout * 10, |value| plan.scaled(value.get())))),
        c_rp_adv_backoff: Some(Span(secs(set.c_rp_adv_backoff, 3))),
        join_prune_period: Some(Span(period)),
        join_prune_hold_time: Some(Span(up_to(hold, SECOND))),
        keepalive_period: Some(Span(secs(set.keepalive_period, 210))),
        rp_keepalive_period: Some(Span(rp_keepalive)),
        register_suppression_time: Some(Span(suppression)),
        register_probe_time: Some(Span(probe)),
        candidate_rp,
        candidate_bsr,
        ..set
    }
}

/// Settings without the keys that hold for the whole router.
fn interface_keys(set: Pim) -> Pim {
    Pim {
        enabled: set.enabled,
        hello_period: set.hello_period,
        hello_hold_time: set.hello_hold_time,
        triggered_hello_delay: set.triggered_hello_delay,
        propagation_delay: set.propagation_delay,
        override_interval: set.override_interval,
        lan_prune_delay: set.lan_prune_delay,
        assert_time: set.assert_time,
        dr_priority: set.dr_priority,
        explicit_tracking: set.explicit_tracking,
        bsr_border: set.bsr_border,
        ssm_mapping: set.ssm_mapping,
        ..Pim::default()
    }
}

/// The least multiple of a unit that is no less than a span, and no less than the unit.
fn up_to(span: Duration, unit: Duration) -> Duration {
    let units = span.as_nanos().div_ceil(unit.as_nanos()).max(1);
    unit.saturating_mul(u32::try_from(units).unwrap_or(u32::MAX))
}
