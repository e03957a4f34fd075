//! PIM settings of routers and their interfaces.

use std::time::Duration;

use router_core::config::Pim;
use router_core::time::Span;

use super::Resolver;
use crate::topology::fault::FaultKind;
use crate::topology::file;
use crate::topology::plan::{Multicast, NodeId};
use crate::topology::read::At;
use crate::topology::scalars::{Int, Time};

/// Where settings of PIM belong.
const PIM_ONLY: &str = "for routers with `multicast: pim-dm` only";

impl Resolver<'_> {
    /// A router's PIM settings, and faults for those that have no meaning there; defaults for the others are none of its business.
    pub(super) fn router_pim(&mut self, id: NodeId, node: &file::Node, multicast: Multicast, default: &Pim) -> Pim {
        let own = node.pim.as_ref().map(|pim| self.pim(pim)).unwrap_or_default();
        if multicast.is_pim() {
            return own.or(default);
        }
        let at_node = node.pim.iter().map(|pim| pim.span.clone());
        let at_ends = self.end_pims.iter().filter(|(at, _)| at.node == id).map(|(_, pim)| pim.span.clone());
        for span in at_node.chain(at_ends).collect::<Vec<_>>() {
            self.fault(&span, FaultKind::KeyNotHere { key: "pim".into(), only: PIM_ONLY });
        }
        Pim::default()
    }

    /// PIM settings, checked against what a message can say and a router can keep.
    pub(super) fn pim(&mut self, pim: &file::Pim) -> Pim {
        const LEAST: Duration = Duration::from_millis(1);
        /// A hold time that is no 'for ever' (RFC 3973 §4.3.3).
        const HOLD: Duration = Duration::from_secs(65534);
        /// Hold times of 3.5 hello periods are within [`HOLD`].
        const HELLO: Duration = Duration::from_secs(18724);
        /// One octet of seconds (RFC 3973 §4.7.10).
        const REFRESH: Duration = Duration::from_secs(255);
        // 15 and 16 bits of milliseconds (RFC 3973 §4.7.5.2).
        const PROPAGATION: Duration = Duration::from_millis(0x7fff);
        const OVERRIDE: Duration = Duration::from_millis(0xffff);
        let mut span = |at: &Option<At<Time>>, key: &str, least: Duration, most: Duration| {
            self.interval(at, &format!("`{key}`"), (least, most)).map(Span)
        };
        Pim {
            enabled: pim.enabled,
            hello_period: span(&pim.hello_period, "hello-period", LEAST, HELLO),
            hello_hold_time: span(&pim.hello_hold_time, "hello-hold-time", LEAST, HOLD),
            triggered_hello_delay: span(&pim.triggered_hello_delay, "triggered-hello-delay", Duration::ZERO, HOLD),
            propagation_delay: span(&pim.propagation_delay, "propagation-delay", LEAST, PROPAGATION),
            override_interval: span(&pim.override_interval, "override-interval", LEAST, OVERRIDE),
            lan_prune_delay: pim.lan_prune_delay,
            assert_time: span(&pim.assert_time, "assert-time", LEAST, HOLD),
            graft_retry_period: span(&pim.graft_retry_period, "graft-retry-period", LEAST, HOLD),
            graft_retries: pim.graft_retries.map(Int::get),
            prune_hold_time: span(&pim.prune_hold_time, "prune-hold-time", LEAST, HOLD),
            prune_limit: span(&pim.prune_limit, "prune-limit", LEAST, HOLD),
            source_lifetime: span(&pim.source_lifetime, "source-lifetime", LEAST, HOLD),
            state_refresh: pim.state_refresh,
            state_refresh_interval: span(&pim.state_refresh_interval, "state-refresh-interval", LEAST, REFRESH),
            refresh_limit_interval: span(
                &pim.refresh_limit_interval,
                "refresh-limit-interval",
                Duration::ZERO,
                REFRESH,
            ),
            state_refresh_ttl: pim.state_refresh_ttl.map(Int::get),
            sabotage: pim.sabotage,
            ..Pim::default()
        }
    }
}
