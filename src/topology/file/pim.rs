//! PIM's keys, as the file has them.

use router_core::config::{self, PimSabotage};
use schemars::JsonSchema;

use crate::topology::fault::FaultKind;
use crate::topology::read::{At, Cx, OneOrMany, Read, keys, words};
use crate::topology::scalars::{Address, BitRate, Int, Prefix, Time};
use crate::topology::tree;

words!(PimSabotage as "a way to break PIM" {
    "never-override" => PimSabotage::NeverOverride,
    "graft-once" => PimSabotage::GraftOnce,
    "assert-deaf" => PimSabotage::AssertDeaf,
    "refresh-not-relayed" => PimSabotage::RefreshNotRelayed,
    "register-null-bit" => PimSabotage::RegisterNullBit,
    "join-hold-short" => PimSabotage::JoinHoldShort,
    "rpt-bit-missing" => PimSabotage::RptBitMissing,
});

keys! {
    /// A router's part in PIM.
    pub struct Pim as "`pim`" {
        /// Whether PIM runs here (default yes).
        pub enabled: Option<bool>,
        /// Hello_Period (default 30s).
        pub hello_period: Option<At<Time>>,
        /// Hold time that hellos announce, in whole seconds; others are rounded up (default 3.5 hello periods).
        pub hello_hold_time: Option<At<Time>>,
        /// Triggered_Hello_Delay: the first hello, and the answer to a new or restarted neighbour, come after a random part of as many fiftieths of it as there are routers known on the link, at most 50 (default 5s).
        pub triggered_hello_delay: Option<At<Time>>,
        /// Propagation_Delay of the LAN Prune Delay option, in whole milliseconds (default 500ms).
        pub propagation_delay: Option<At<Time>>,
        /// Override_Interval of the LAN Prune Delay option, in whole milliseconds (default 2.5s).
        pub override_interval: Option<At<Time>>,
        /// Whether hellos carry the LAN Prune Delay option (default yes).
        pub lan_prune_delay: Option<bool>,
        /// Assert Time (default 180s); all routers of a wire must have the same.
        pub assert_time: Option<At<Time>>,
        /// Graft_Retry_Period (default 3s; of the whole router).
        pub graft_retry_period: Option<At<Time>>,
        /// How often a graft is sent again before the router gives up (default 100; of the whole router).
        pub graft_retries: Option<Int<0, { u32::MAX as i64 }>>,
        /// Hold time that prunes announce, in whole seconds; others are rounded up (default 210s; of the whole router).
        pub prune_hold_time: Option<At<Time>>,
        /// How long no further prune is sent to the same upstream neighbour (default 210s; of the whole router).
        pub prune_limit: Option<At<Time>>,
        /// How long after its last packet a source counts as active (default 210s; of the whole router).
        pub source_lifetime: Option<At<Time>>,
        /// Whether state refresh messages are originated and relayed (default yes; of the whole router).
        pub state_refresh: Option<bool>,
        /// StateRefreshInterval, in whole seconds; others are rounded up (default 60s; of the whole router).
        pub state_refresh_interval: Option<At<Time>>,
        /// State refresh messages for an entry that come sooner after the one before are not relayed (default half the state refresh
        /// interval; of the whole router).
        pub refresh_limit_interval: Option<At<Time>>,
        /// TTL of state refresh messages that this router originates (default 255; of the whole router).
        pub state_refresh_ttl: Option<Int<1, 255>>,
        /// A router that breaks PIM in one way: for tests of the testbed itself (of the whole router).
        pub sabotage: Option<PimSabotage>,
        /// DR Priority that hellos announce: the highest is the designated router (default 1; sparse mode).
        pub dr_priority: Option<Int<0, { u32::MAX as i64 }>>,
        /// Whether hellos set the T bit, and it is tracked which neighbours have joined where all of them do, too: prunes then wait for nobody
        /// (default no; sparse mode).
        pub explicit_tracking: Option<bool>,
        /// Whether bootstrap messages neither enter nor leave here (default no; sparse mode).
        pub bsr_border: Option<bool>,
        /// Sources of source-specific groups for members that cannot name any (sparse mode).
        pub ssm_mapping: Option<Vec<SsmMapping>>,
        /// t_periodic: joins and prunes are sent anew after it (default 60s; of the whole router, sparse mode).
        pub join_prune_period: Option<At<Time>>,
        /// Hold time that joins and prunes announce, in whole seconds; others are rounded up (default 3.5 join/prune periods; of the whole
        /// router, sparse mode).
        pub join_prune_hold_time: Option<At<Time>>,
        /// Keepalive_Period: how long after its last packet state of a source is kept (default 210s; of the whole router, sparse mode).
        pub keepalive_period: Option<At<Time>>,
        /// RP_Keepalive_Period: the same at a rendezvous point (default 3 register suppression times and a register probe time; of the
        /// whole router, sparse mode).
        pub rp_keepalive_period: Option<At<Time>>,
        /// Register_Suppression_Time (default 60s; of the whole router, sparse mode).
        pub register_suppression_time: Option<At<Time>>,
        /// Register_Probe_Time (default 5s; of the whole router, sparse mode).
        pub register_probe_time: Option<At<Time>>,
        /// When a router with members leaves the rendezvous point's tree for a source's own: `immediate` (default), `never`, or a rate such
        /// as `500kbit` (of the whole router, sparse mode).
        pub spt_switchover: Option<At<SptSwitchover>>,
        /// Groups that are source-specific (default 232.0.0.0/8; of the whole router, sparse mode).
        pub ssm_range: Option<OneOrMany<At<Prefix>>>,
        /// Groups that dense mode handles (default none; of the whole router, sparse mode).
        pub dense_groups: Option<OneOrMany<At<Prefix>>>,
        /// Rendezvous points by configuration (of the whole router, sparse mode).
        pub rp: Option<Vec<StaticRp>>,
        /// Offers this router as rendezvous point to the bootstrap router (of the whole router, sparse mode).
        pub candidate_rp: Option<At<CandidateRp>>,
        /// Offers this router as bootstrap router (of the whole router, sparse mode).
        pub candidate_bsr: Option<At<CandidateBsr>>,
        /// BS_Period: that of the domain's bootstrap routers (default the candidate BSR's interval, else 60s; of the whole router, sparse mode).
        pub bs_period: Option<At<Time>>,
        /// BS_Timeout: without a bootstrap message for so long, the bootstrap router is gone (default 2 BS_Periods and 10s; of the whole router, sparse mode).
        pub bs_timeout: Option<At<Time>>,
        /// BS_Min_Interval: an elected bootstrap router sends no two messages within it (default 10s; of the whole router, sparse mode).
        pub bs_min_interval: Option<At<Time>>,
        /// The unit of BS_Rand_Override, which is 5 to 23 of them (default 1s; of the whole router, sparse mode).
        pub bs_rand_override_unit: Option<At<Time>>,
        /// SZ_Timeout: without a bootstrap message for so long, a learned scope zone is forgotten (default 10 BS_Timeouts; of the whole router, sparse mode).
        pub sz_timeout: Option<At<Time>>,
        /// C_RP_Adv_Backoff: a candidate RP advertises itself to a new bootstrap router three times, each after a random part of it (default 3s; of the whole router, sparse mode).
        pub c_rp_adv_backoff: Option<At<Time>>,
        /// Whether bootstrap messages are unicast to new neighbours beside the no-forward ones, and taken from others (default no; of the
        /// whole router, sparse mode).
        pub unicast_bootstrap: Option<bool>,
    }
}

impl Pim {
    /// The keys that are there and mean something in sparse mode alone.
    pub fn sparse_keys(&self) -> Vec<&'static str> {
        [
            ("dr-priority", self.dr_priority.is_some()),
            ("explicit-tracking", self.explicit_tracking.is_some()),
            ("bsr-border", self.bsr_border.is_some()),
            ("ssm-mapping", self.ssm_mapping.is_some()),
            ("join-prune-period", self.join_prune_period.is_some()),
            ("join-prune-hold-time", self.join_prune_hold_time.is_some()),
            ("keepalive-period", self.keepalive_period.is_some()),
            ("rp-keepalive-period", self.rp_keepalive_period.is_some()),
            ("register-suppression-time", self.register_suppression_time.is_some()),
            ("register-probe-time", self.register_probe_time.is_some()),
            ("spt-switchover", self.spt_switchover.is_some()),
            ("ssm-range", self.ssm_range.is_some()),
            ("dense-groups", self.dense_groups.is_some()),
            ("rp", self.rp.is_some()),
            ("candidate-rp", self.candidate_rp.is_some()),
            ("candidate-bsr", self.candidate_bsr.is_some()),
            ("bs-period", self.bs_period.is_some()),
            ("bs-timeout", self.bs_timeout.is_some()),
            ("bs-min-interval", self.bs_min_interval.is_some()),
            ("bs-rand-override-unit", self.bs_rand_override_unit.is_some()),
            ("sz-timeout", self.sz_timeout.is_some()),
            ("c-rp-adv-backoff", self.c_rp_adv_backoff.is_some()),
            ("unicast-bootstrap", self.unicast_bootstrap.is_some()),
        ]
        .into_iter()
        .filter_map(|(key, is_there)| is_there.then_some(key))
        .collect()
    }

    /// The keys that are there and mean something in dense mode alone.
    pub fn dense_keys(&self) -> Vec<&'static str> {
        [
            ("graft-retry-period", self.graft_retry_period.is_some()),
            ("graft-retries", self.graft_retries.is_some()),
            ("prune-hold-time", self.prune_hold_time.is_some()),
            ("prune-limit", self.prune_limit.is_some()),
            ("source-lifetime", self.source_lifetime.is_some()),
            ("state-refresh", self.state_refresh.is_some()),
            ("state-refresh-interval", self.state_refresh_interval.is_some()),
            ("refresh-limit-interval", self.refresh_limit_interval.is_some()),
            ("state-refresh-ttl", self.state_refresh_ttl.is_some()),
        ]
        .into_iter()
        .filter_map(|(key, is_there)| is_there.then_some(key))
        .collect()
    }
}

keys! {
    /// Sources that stand for 'any source' in a range of source-specific groups.
    pub struct SsmMapping as "an SSM mapping" {
        /// The groups: a prefix or one group.
        pub groups: At<Prefix>,
        /// The sources that members of them get: nodes or addresses.
        pub sources: OneOrMany<At<String>>,
    }
}

keys! {
    /// A rendezvous point by configuration.
    pub struct StaticRp as "a rendezvous point" {
        /// Its address: a router, which means its loopback, or an address.
        pub address: At<String>,
        /// Its groups (default 224.0.0.0/4).
        pub groups: Option<At<Prefix>>,
        /// Whether it wins over what is learned from a bootstrap router (default no).
        pub r#override: Option<bool>,
    }
}

keys! {
    /// A candidate rendezvous point.
    pub struct CandidateRp as "`candidate-rp`" {
        /// The address that it offers, one of the router's own (default its loopback).
        pub address: Option<At<Address>>,
        /// The groups that it offers to serve (default 224.0.0.0/4).
        pub groups: Option<OneOrMany<At<Prefix>>>,
        /// Lower is preferred (default 192).
        pub priority: Option<Int<0, 255>>,
        /// C_RP_Adv_Period (default 60s).
        pub interval: Option<At<Time>>,
    }
}

keys! {
    /// A candidate bootstrap router.
    pub struct CandidateBsr as "`candidate-bsr`" {
        /// The address that it offers, one of the router's own (default its loopback).
        pub address: Option<At<Address>>,
        /// Higher is preferred (default 64).
        pub priority: Option<Int<0, 255>>,
        /// Length of the mask in the hash function (default 30).
        pub hash_mask_length: Option<Int<0, 32>>,
        /// Bootstrap_Period (default 60s).
        pub interval: Option<At<Time>>,
        /// Administrative scope zones that it is a candidate for, instead of the whole domain.
        pub zones: Option<OneOrMany<At<Prefix>>>,
        /// Only candidate RPs with addresses in these prefixes are accepted (default all).
        pub allowed_rps: Option<OneOrMany<At<Prefix>>>,
    }
}

/// When a router with members leaves the rendezvous point's tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::topology) struct SptSwitchover(pub config::SptSwitchover);

impl Read for SptSwitchover {
    fn read(node: &tree::Node, cx: &mut Cx) -> Option<Self> {
        let is_rate = match &node.value {
            tree::Value::Scalar { text, .. } => text.trim().starts_with(|c: char| c.is_ascii_digit()),
            _ => false,
        };
        if is_rate {
            let bits = BitRate::read(node, cx)?.0;
            // At most 10^9 kilobits: in range.
            return Some(SptSwitchover(config::SptSwitchover::Kbit(u32::try_from(bits / 1000).unwrap_or(u32::MAX))));
        }
        let words = [("immediate", config::SptSwitchover::Immediate), ("never", config::SptSwitchover::Never)];
        crate::topology::read::word(node, "`immediate`, `never` or a rate such as `500kbit`", &words, cx)
            .map(SptSwitchover)
    }
}

impl JsonSchema for SptSwitchover {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SptSwitchover".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let rate = generator.subschema_for::<BitRate>();
        schemars::json_schema!({
            "description": "When a router with members leaves the rendezvous point's tree for a source's own: with the first packet, never, or above a rate.",
            "anyOf": [{"type": "string", "enum": ["immediate", "never"]}, rate]
        })
    }
}

/// An interface's own part in PIM: [`Pim`] without the keys that hold for the whole router.
#[derive(Clone, Debug)]
pub(in crate::topology) struct EndPim(pub Pim);

impl EndPim {
    /// Keys of [`Pim`] that hold for the whole router.
    const ROUTER_WIDE: [&'static str; 29] = [
        "graft-retry-period",
        "graft-retries",
        "prune-hold-time",
        "prune-limit",
        "source-lifetime",
        "state-refresh",
        "state-refresh-interval",
        "refresh-limit-interval",
        "state-refresh-ttl",
        "sabotage",
        "join-prune-period",
        "join-prune-hold-time",
        "keepalive-period",
        "rp-keepalive-period",
        "register-suppression-time",
        "register-probe-time",
        "spt-switchover",
        "ssm-range",
        "dense-groups",
        "rp",
        "candidate-rp",
        "candidate-bsr",
        "bs-period",
        "bs-timeout",
        "bs-min-interval",
        "bs-rand-override-unit",
        "sz-timeout",
        "c-rp-adv-backoff",
        "unicast-bootstrap",
    ];
}

impl Read for EndPim {
    fn read(node: &tree::Node, cx: &mut Cx) -> Option<Self> {
        if let tree::Value::Map(entries) = &node.value {
            for (key, _) in entries.iter().filter(|(key, _)| EndPim::ROUTER_WIDE.contains(&key.text.as_str())) {
                let only = "for a whole router: it belongs in the `pim` of the node";
                cx.push(&key.span, FaultKind::KeyNotHere { key: key.text.clone(), only });
            }
        }
        Pim::read(node, cx).map(EndPim)
    }
}

impl JsonSchema for EndPim {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "EndPim".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let mut schema = Pim::json_schema(generator);
        schema.insert("description".to_owned(), "An interface's own part in PIM.".into());
        if let Some(properties) = schema.get_mut("properties").and_then(serde_json::Value::as_object_mut) {
            for key in EndPim::ROUTER_WIDE {
                properties.remove(key);
            }
        }
        schema
    }
}
