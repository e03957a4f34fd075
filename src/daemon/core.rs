//! The bundled router-core: the plan's router as its configuration.

use std::time::Duration;

use router_core::config::{Config, Igmp, Interface, Multicast, StaticRoute};
use router_core::time::Span;

use super::find::{Kind, program};
use super::{At, DaemonError, Launch, Paths, Readiness};
use crate::topology::plan::{Attachment, Plan};

const CONFIG: &str = "router-core.json";
const SOCKET: &str = "control.sock";

/// What an IGMP message can say of a response time at the finest (RFC 9776 §4.1.1).
const RESPONSE_UNIT: Duration = Duration::from_millis(100);

pub(super) fn prepare(at: &At<'_>, paths: &Paths) -> Result<Launch, DaemonError> {
    let path = program(&at.node.name, Kind::RouterCore.program(), Kind::RouterCore.remedy(), paths)?;
    let config = paths.node.join(CONFIG);
    let socket = paths.node.join(SOCKET);
    let text = serde_json::to_string_pretty(&configuration(at))
        .map_err(|error| DaemonError::Configuration { node: at.node.name.clone(), why: error.to_string() })?;
    Ok(Launch {
        directories: Vec::new(),
        argv: vec![
            path,
            "--config".to_owned(),
            config.to_string_lossy().into_owned(),
            "--control".to_owned(),
            socket.to_string_lossy().into_owned(),
        ],
        files: vec![(config, text + "\n")],
        env: Vec::new(),
        ready: Readiness::ControlEvent { socket },
    })
}

pub(super) fn check(at: &At<'_>) -> Vec<DaemonError> {
    let errors = configuration(at).check().err().map(|errors| errors.0).unwrap_or_default();
    errors.into_iter().map(|why| DaemonError::Refused { node: at.node.name.clone(), why }).collect()
}

fn configuration(at: &At<'_>) -> Config {
    let name = |index: usize| at.interface_name(index).to_owned();
    Config {
        name: at.node.name.clone(),
        // Routers of one lab must not draw the same numbers, and a node added at the end must not change the others'.
        seed: at.plan.seed ^ (at.id.0 as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        multicast: at.router.multicast,
        igmp: Igmp::default(),
        pim: at.router.pim.clone(),
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
    let pim = own.pim.clone();
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
    let response = |value: Option<Span>, default: Duration| Some(Span(round_up(span(value, default))));
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

fn round_up(span: Duration) -> Duration {
    let units = span.as_nanos().div_ceil(RESPONSE_UNIT.as_nanos()).max(1);
    RESPONSE_UNIT.saturating_mul(u32::try_from(units).unwrap_or(u32::MAX))
}
