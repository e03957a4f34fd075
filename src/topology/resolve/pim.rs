//! PIM settings of routers and their interfaces.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use router_core::config::{self, Pim};
use router_core::time::Span;

use super::Resolver;
use crate::topology::fault::FaultKind;
use crate::topology::file;
use crate::topology::plan::{Multicast, NodeId};
use crate::topology::read::{At, OneOrMany};
use crate::topology::scalars::{Address, Int, Prefix, Time};

/// Where settings of PIM belong.
const PIM_ONLY: &str = "for routers with `multicast: pim-dm` or `pim-sm` only";
/// Where those of sparse mode belong.
const SPARSE_ONLY: &str = "for routers with `multicast: pim-sm` only";
/// Where those of dense mode belong.
const DENSE_ONLY: &str = "for dense mode only: `multicast: pim-dm`, or `pim-sm` with `dense-groups`";
/// Stands in a candidate's settings for the loopback of the router that they are for.
const OWN_LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

const LEAST: Duration = Duration::from_millis(1);
/// A hold time that is no 'for ever' (RFC 3973 §4.3.3, RFC 7761 §4.9.5).
const HOLD: Duration = Duration::from_secs(65534);
/// Hold times of 3.5 such periods are within [`HOLD`].
const PERIOD: Duration = Duration::from_secs(18724);

impl Resolver<'_> {
    /// A router's PIM settings, and faults for those that have no meaning there; defaults for the others are none of its business.
    pub(super) fn router_pim(&mut self, id: NodeId, node: &file::Node, multicast: Multicast, default: &Pim) -> Pim {
        let own = node.pim.as_ref().map(|pim| self.pim(pim)).unwrap_or_default();
        let ends: Vec<_> = self.end_pims.iter().filter(|(at, _)| at.node == id).map(|(_, pim)| *pim).collect();
        if !multicast.is_pim() {
            for span in node.pim.iter().map(|pim| &pim.span).chain(ends.iter().map(|pim| &pim.span)) {
                self.fault(span, FaultKind::KeyNotHere { key: "pim".into(), only: PIM_ONLY });
            }
            return Pim::default();
        }
        let is_sparse = multicast == Multicast::PimSm;
        let mut pim = own.or(default);
        let given =
            node.pim.iter().map(|pim| (&pim.span, &pim.value)).chain(ends.iter().map(|at| (&at.span, &at.value.0)));
        for (span, pim) in given {
            if pim.explicit_tracking == Some(true) && pim.lan_prune_delay == Some(false) {
                let only = "for hellos with `lan-prune-delay`, which carries its bit";
                self.fault(span, FaultKind::KeyNotHere { key: "explicit-tracking".into(), only });
            }
            if is_sparse {
                continue;
            }
            for key in pim.sparse_keys() {
                self.fault(span, FaultKind::KeyNotHere { key: key.into(), only: SPARSE_ONLY });
            }
        }
        if is_sparse && pim.dense_groups.as_ref().is_none_or(Vec::is_empty) {
            if let Some(own) = &node.pim {
                for key in own.dense_keys() {
                    self.fault(&own.span, FaultKind::KeyNotHere { key: key.into(), only: DENSE_ONLY });
                }
            }
            pim = without_dense(pim);
        }
        if !is_sparse {
            return without_sparse(pim);
        }
        // Where a candidate's address came from, for what is wrong with it: the defaults' have none of their own.
        let at = node.pim.as_ref();
        let rp_at = at.and_then(|pim| pim.candidate_rp.as_ref()).map(|at| (at.value.address.as_ref(), &at.span));
        let bsr_at = at.and_then(|pim| pim.candidate_bsr.as_ref()).map(|at| (at.value.address.as_ref(), &at.span));
        let fallback = self.file.nodes()[id.0].0.span.clone();
        if let Some(rp) = &mut pim.candidate_rp {
            let span = rp_at.map_or(&fallback, |(address, whole)| address.map_or(whole, |address| &address.span));
            rp.address = self.own_address(id, rp.address, span);
        }
        if let Some(bsr) = &mut pim.candidate_bsr {
            let span = bsr_at.map_or(&fallback, |(address, whole)| address.map_or(whole, |address| &address.span));
            bsr.address = self.own_address(id, bsr.address, span);
        }
        pim
    }

    /// An address of a router that it offers to others: one of its own, or its loopback.
    fn own_address(&mut self, id: NodeId, address: IpAddr, span: &crate::topology::tree::Span) -> IpAddr {
        let node = self.plan.node(id);
        if address == OWN_LOOPBACK {
            let loopback = node.loopback.iter().map(IpNet::addr).find(IpAddr::is_ipv4);
            if loopback.is_none() {
                let found = format!("`{}`, which has no IPv4 loopback", node.name);
                self.fault(span, FaultKind::WrongType { expected: "a router with an address to offer".into(), found });
            }
            return loopback.unwrap_or(address);
        }
        let own = node.loopback.iter().chain(node.interfaces.iter().flat_map(|i| &i.addresses));
        if !own.into_iter().any(|own| own.addr() == address) {
            let expected = format!("an address of `{}` itself", node.name);
            self.fault(span, FaultKind::WrongType { expected, found: format!("`{address}`") });
        }
        address
    }

    /// PIM settings, checked against what a message can say and a router can keep. A candidate's address may still be open.
    pub(super) fn pim(&mut self, pim: &file::Pim) -> Pim {
        /// One octet of seconds (RFC 3973 §4.7.10).
        const REFRESH: Duration = Duration::from_secs(255);
        // 15 and 16 bits of milliseconds (RFC 3973 §4.7.5.2).
        const PROPAGATION: Duration = Duration::from_millis(0x7fff);
        const OVERRIDE: Duration = Duration::from_millis(0xffff);
        let mut span = |at: &Option<At<Time>>, key: &str, least: Duration, most: Duration| {
            self.interval(at, &format!("`{key}`"), (least, most)).map(Span)
        };
        let settings = Pim {
            enabled: pim.enabled,
            hello_period: span(&pim.hello_period, "hello-period", LEAST, PERIOD),
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
            dr_priority: pim.dr_priority.map(Int::get),
            explicit_tracking: pim.explicit_tracking,
            bsr_border: pim.bsr_border,
            join_prune_period: span(&pim.join_prune_period, "join-prune-period", LEAST, PERIOD),
            join_prune_hold_time: span(&pim.join_prune_hold_time, "join-prune-hold-time", LEAST, HOLD),
            keepalive_period: span(&pim.keepalive_period, "keepalive-period", LEAST, HOLD),
            rp_keepalive_period: span(&pim.rp_keepalive_period, "rp-keepalive-period", LEAST, HOLD),
            register_suppression_time: span(&pim.register_suppression_time, "register-suppression-time", LEAST, HOLD),
            register_probe_time: span(&pim.register_probe_time, "register-probe-time", LEAST, HOLD),
            bs_period: span(&pim.bs_period, "bs-period", LEAST, HOLD),
            bs_timeout: span(&pim.bs_timeout, "bs-timeout", LEAST, HOLD),
            bs_min_interval: span(&pim.bs_min_interval, "bs-min-interval", LEAST, HOLD),
            bs_rand_override_unit: span(&pim.bs_rand_override_unit, "bs-rand-override-unit", LEAST, HOLD),
            sz_timeout: span(&pim.sz_timeout, "sz-timeout", LEAST, HOLD),
            c_rp_adv_backoff: span(&pim.c_rp_adv_backoff, "c-rp-adv-backoff", LEAST, HOLD),
            unicast_bootstrap: pim.unicast_bootstrap,
            spt_switchover: pim.spt_switchover.as_ref().map(|at| at.value.0),
            ..Pim::default()
        };
        Pim {
            ssm_mapping: pim
                .ssm_mapping
                .as_ref()
                .map(|mappings| mappings.iter().filter_map(|mapping| self.ssm_mapping(mapping)).collect()),
            ssm_range: self.prefixes(pim.ssm_range.as_ref()),
            dense_groups: self.prefixes(pim.dense_groups.as_ref()),
            rp: pim.rp.as_ref().map(|rps| rps.iter().filter_map(|rp| self.static_rp(rp)).collect()),
            candidate_rp: pim.candidate_rp.as_ref().map(|at| self.candidate_rp(&at.value)),
            candidate_bsr: pim.candidate_bsr.as_ref().map(|at| self.candidate_bsr(&at.value)),
            ..settings
        }
    }

    fn prefixes(&mut self, prefixes: Option<&OneOrMany<At<Prefix>>>) -> Option<Vec<IpNet>> {
        let prefixes = prefixes?.0.iter().filter_map(|prefix| self.group_prefix(&prefix.value.0, &prefix.span));
        Some(prefixes.collect())
    }

    fn ssm_mapping(&mut self, mapping: &file::SsmMapping) -> Option<config::SsmMapping> {
        let groups = self.group_prefix(&mapping.groups.value.0, &mapping.groups.span);
        let sources = mapping.sources.0.iter().flat_map(|source| self.source_addresses(source).unwrap_or_default());
        let sources: Vec<IpAddr> = sources.collect();
        if mapping.sources.0.is_empty() {
            let kind = FaultKind::WrongCount { what: "an SSM mapping", needed: "at least one source", count: 0 };
            self.fault(&mapping.groups.span, kind);
        }
        Some(config::SsmMapping { groups: groups?, sources })
    }

    fn static_rp(&mut self, rp: &file::StaticRp) -> Option<config::StaticRp> {
        let groups = rp.groups.as_ref().map_or(Some(all_groups()), |at| self.group_prefix(&at.value.0, &at.span));
        let address = match rp.address.parse::<IpAddr>() {
            Ok(address) => self.unicast(address, &rp.address.span),
            Err(_) => {
                let router = self.router(&rp.address)?;
                Some(self.own_address(router, OWN_LOOPBACK, &rp.address.span))
            }
        };
        Some(config::StaticRp { address: address?, groups: groups?, overrides: rp.r#override.unwrap_or_default() })
    }

    fn candidate_rp(&mut self, rp: &file::CandidateRp) -> config::CandidateRp {
        config::CandidateRp {
            address: self.candidate_address(rp.address.as_ref()),
            groups: self.prefixes(rp.groups.as_ref()).unwrap_or_else(|| vec![all_groups()]),
            priority: rp.priority.map_or(192, Int::get),
            interval: self.interval(&rp.interval, "the interval of advertisements", (LEAST, ADVERTISEMENTS)).map(Span),
        }
    }

    fn candidate_bsr(&mut self, bsr: &file::CandidateBsr) -> config::CandidateBsr {
        config::CandidateBsr {
            address: self.candidate_address(bsr.address.as_ref()),
            priority: bsr.priority.map_or(64, Int::get),
            hash_mask_length: bsr.hash_mask_length.map_or(30, Int::get),
            interval: self.interval(&bsr.interval, "the bootstrap interval", (LEAST, PERIOD)).map(Span),
            zones: self.prefixes(bsr.zones.as_ref()).unwrap_or_default(),
            allowed_rps: bsr.allowed_rps.as_ref().map(|all| all.0.iter().map(|prefix| prefix.value.0).collect()),
        }
    }

    fn candidate_address(&mut self, address: Option<&At<Address>>) -> IpAddr {
        let Some(at) = address else { return OWN_LOOPBACK };
        self.unicast(at.value.0, &at.span).unwrap_or(OWN_LOOPBACK)
    }

    /// An IPv4 address that packets can be sent to.
    fn unicast(&mut self, address: IpAddr, span: &crate::topology::tree::Span) -> Option<IpAddr> {
        if address.is_ipv4() && !address.is_multicast() && !address.is_unspecified() && !address.is_loopback() {
            return Some(address);
        }
        let expected = "a router, or an IPv4 address of one".to_owned();
        self.fault(span, FaultKind::WrongType { expected, found: format!("`{address}`") });
        None
    }
}

/// Hold times of 2.5 such intervals are within [`HOLD`] (RFC 5059 §5).
const ADVERTISEMENTS: Duration = Duration::from_secs(26213);

fn all_groups() -> IpNet {
    Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 4).into()
}

/// Settings of a router in dense mode alone, that defaults for all routers with PIM may say more of.
fn without_sparse(pim: Pim) -> Pim {
    Pim {
        dr_priority: None,
        explicit_tracking: None,
        bsr_border: None,
        ssm_mapping: None,
        join_prune_period: None,
        join_prune_hold_time: None,
        keepalive_period: None,
        rp_keepalive_period: None,
        register_suppression_time: None,
        register_probe_time: None,
        spt_switchover: None,
        ssm_range: None,
        dense_groups: None,
        rp: None,
        candidate_rp: None,
        candidate_bsr: None,
        bs_period: None,
        bs_timeout: None,
        bs_min_interval: None,
        bs_rand_override_unit: None,
        sz_timeout: None,
        c_rp_adv_backoff: None,
        unicast_bootstrap: None,
        ..pim
    }
}

/// The same of one in sparse mode alone.
fn without_dense(pim: Pim) -> Pim {
    Pim {
        graft_retry_period: None,
        graft_retries: None,
        prune_hold_time: None,
        prune_limit: None,
        source_lifetime: None,
        state_refresh: None,
        state_refresh_interval: None,
        refresh_limit_interval: None,
        state_refresh_ttl: None,
        ..pim
    }
}
