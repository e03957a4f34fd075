//! What the daemons of others have in common: keys that they do not know, whole seconds.

use std::time::Duration;

use router_core::config::{Igmp, Limits, Multicast, Pim};
use router_core::time::Span;
use serde::Serialize;

use super::{At, DaemonError};
use crate::topology::plan::Plan;

/// What a daemon of others is asked that it cannot do.
pub(super) struct Refusals<'a> {
    at: &'a At<'a>,
    daemon: &'static str,
    errors: Vec<DaemonError>,
}

impl<'a> Refusals<'a> {
    pub(super) fn new(at: &'a At<'a>, daemon: &'static str) -> Refusals<'a> {
        Refusals { at, daemon, errors: Vec::new() }
    }

    pub(super) fn add(&mut self, what: impl Into<String>, remedy: impl Into<String>) {
        self.errors.push(self.at.unsupported(self.daemon, what, remedy));
    }

    /// Everything so far.
    pub(super) fn all(self) -> Vec<DaemonError> {
        self.errors
    }

    /// What neither FRR nor pimd does: other ways to forward than sparse mode, and bounds on state.
    pub(super) fn sparse_mode_alone(&mut self) {
        let word = match self.at.router.multicast {
            Multicast::PimSm => None,
            Multicast::None => Some("none"),
            Multicast::Static => Some("static"),
            Multicast::Proxy => Some("proxy"),
            Multicast::PimDm => Some("pim-dm"),
        };
        if let Some(word) = word {
            self.add(format!("`multicast: {word}`"), "use `multicast: pim-sm`, or `daemon: router-core`");
        }
        if self.at.router.limits != Limits::default() {
            self.add("`limits`", "take them out, or use `daemon: router-core`");
        }
    }

    /// Keys of the router's and its interfaces' `igmp` and `pim` that are set and are none of those that the daemon knows.
    pub(super) fn keys(&mut self, igmp: &[&str], pim: &[&str]) {
        let router = self.at.router;
        for key in set(&router.igmp).into_iter().filter(|key| !igmp.contains(&key.as_str())) {
            self.add(format!("`igmp: {key}`"), TAKE_OUT);
        }
        for key in set(&router.pim).into_iter().filter(|key| !pim.contains(&key.as_str())) {
            self.add(format!("`pim: {key}`"), TAKE_OUT);
        }
        for interface in &self.at.node.interfaces {
            for key in set(&interface.igmp).into_iter().filter(|key| !igmp.contains(&key.as_str())) {
                self.add(format!("`igmp: {key}` at {}", interface.name), TAKE_OUT);
            }
            for key in set(&interface.pim).into_iter().filter(|key| !pim.contains(&key.as_str())) {
                self.add(format!("`pim: {key}` at {}", interface.name), TAKE_OUT);
            }
        }
    }
}

/// What helps against a key that a daemon does not know.
pub(super) const TAKE_OUT: &str = "take it out, or use `daemon: router-core`";

/// The keys of settings that are set, by their names in the file.
fn set(settings: &impl Serialize) -> Vec<String> {
    match serde_json::to_value(settings) {
        Ok(serde_json::Value::Object(keys)) => {
            keys.into_iter().filter(|(_, value)| !value.is_null()).map(|(key, _)| key).collect()
        }
        _ => Vec::new(),
    }
}

/// Whether PIM runs at an interface of the router.
pub(super) fn runs_pim(at: &At<'_>, index: usize) -> bool {
    let interface = &at.node.interfaces[index];
    interface.ipv4().is_some() && pim_at(at, index).enabled != Some(false)
}

/// Whether IGMP runs at an interface of the router.
pub(super) fn runs_igmp(at: &At<'_>, index: usize) -> bool {
    let interface = &at.node.interfaces[index];
    interface.ipv4().is_some() && igmp_at(at, index).enabled != Some(false)
}

/// PIM settings of an interface, as the file has them.
pub(super) fn pim_at(at: &At<'_>, index: usize) -> Pim {
    at.node.interfaces[index].pim.or(&at.router.pim)
}

/// IGMP settings of an interface, as the file has them.
pub(super) fn igmp_at(at: &At<'_>, index: usize) -> Igmp {
    at.node.interfaces[index].igmp.or(&at.router.igmp)
}

/// A span as the lab runs it, in units that are rounded up; at least one.
pub(super) fn units(plan: &Plan, span: Duration, unit: Duration) -> u64 {
    let span = plan.scaled(span).as_nanos();
    u64::try_from(span.div_ceil(unit.as_nanos())).unwrap_or(u64::MAX).max(1)
}

/// A span as the lab runs it, in whole seconds; nothing where the daemon's own default holds.
pub(super) fn seconds(plan: &Plan, value: Option<Span>, default: u64) -> Option<u64> {
    if value.is_none() && plan.timers == 1.0 {
        return None;
    }
    Some(units(plan, value.map_or(Duration::from_secs(default), Span::get), Duration::from_secs(1)))
}
