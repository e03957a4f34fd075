//! Checks as the file has them: `expect`.

use std::time::Duration;

use schemars::JsonSchema;

use super::CommandLine;
use crate::topology::fault::{Fault, FaultKind};
use crate::topology::read::{At, Cx, OneOrMany, Read, keys, told_by_key, words};
use crate::topology::scalars::{Address, Int, PacketRate, Time, out_of_range};
use crate::topology::steps::{Formula, Message};
use crate::topology::tree;

/// By when: a span of time, or a protocol's formula.
#[derive(Clone, Copy, Debug)]
pub(in crate::topology) enum Deadline {
    After(Duration),
    Formula(Formula),
}

const FORMULAS: [(&str, Formula); 7] = [
    ("leave-latency", Formula::LeaveLatency),
    ("join-latency", Formula::JoinLatency),
    ("group-membership-interval", Formula::GroupMembershipInterval),
    ("other-querier-present-interval", Formula::OtherQuerierPresentInterval),
    ("neighbour-latency", Formula::NeighbourLatency),
    ("neighbour-liveness", Formula::NeighbourLiveness),
    ("convergence", Formula::Convergence),
];

impl Read for Deadline {
    fn read(node: &tree::Node, cx: &mut Cx) -> Option<Self> {
        const OF: &str = "a span of time or a protocol's formula";
        let tree::Value::Scalar { text, .. } = &node.value else {
            cx.wrong_type(node, OF);
            return None;
        };
        if let Some((_, formula)) = FORMULAS.iter().find(|(word, _)| word == text) {
            return Some(Deadline::Formula(*formula));
        }
        let word = text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.parse::<f64>().is_err();
        if word && !node.is_null() {
            let kind = FaultKind::UnknownWord {
                word: text.clone(),
                of: OF,
                known: FORMULAS.iter().map(|(word, _)| (*word).to_owned()).collect(),
            };
            let near = cx.nearest(text, FORMULAS.iter().map(|(word, _)| *word));
            cx.add(Fault::new(node.head.clone(), kind).nearest(near));
            return None;
        }
        Time::read(node, cx).map(|time| Deadline::After(time.0))
    }
}

impl JsonSchema for Deadline {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Deadline".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let time = generator.subschema_for::<Time>();
        let words = FORMULAS.map(|(word, _)| word);
        schemars::json_schema!({
            "description": "By when: a span of time, or the formula of the protocol for the place.",
            "anyOf": [{"type": "string", "enum": words}, time]
        })
    }
}

told_by_key! {
    /// What is expected.
    pub enum Expect as "`expect`" {
        /// Every host gets every packet.
        Delivered(Delivered),
        /// No host gets any packet.
        NotDelivered(NotDelivered),
        /// The longest gap since the last fault.
        Outage(Outage),
        /// Join call to first packet.
        JoinLatency(JoinLatency),
        /// Leave call to last packet on the wire.
        LeaveLatency(LeaveLatency),
        /// A wire carries no data.
        Quiet(Quiet),
        /// A protocol message on a wire.
        Seen(Seen),
        /// A router knows a member.
        Member(Member),
        /// Who is the IGMP querier.
        Querier(Querier),
        /// Which PIM neighbours routers know.
        Neighbours(Neighbours),
        /// Who is the designated router.
        DesignatedRouter(DesignatedRouter),
        /// Which rendezvous point serves a group.
        Rp(Rp),
        /// The kernels' entries make the tree of the oracle.
        Tree(Tree),
        /// A kernel forwarding entry.
        Entry(Entry),
        /// Who is reached at each TTL.
        Scope(Scope),
        /// A command's exit status and output.
        Command(Command),
    }
}

keys! {
    /// Every host gets every packet of the sequence range that starts once all receive and lasts `for`.
    pub struct Delivered as "`expect: {delivered}`" {
        /// The stream.
        pub delivered: At<String>,
        /// The hosts (default all that have joined its group).
        pub to: Option<OneOrMany<At<String>>>,
        /// By when all receive (default 3s).
        pub within: Option<Deadline>,
        /// How long it is judged (default 1s).
        pub r#for: Option<At<Time>>,
        /// Packets that each host may lack (default 0).
        pub loss: Option<Int<0, 1_000_000_000>>,
        /// Packets that each host may get twice (default 0).
        pub duplicates: Option<Int<0, 1_000_000_000>>,
    }
}

keys! {
    /// No host gets any packet that is sent during `for`.
    pub struct NotDelivered as "`expect: {not-delivered}`" {
        /// The stream.
        pub not_delivered: At<String>,
        /// The hosts (default all that have not joined its group, but the sender).
        pub to: Option<OneOrMany<At<String>>>,
        /// How long it is judged (default 1s).
        pub r#for: Option<At<Time>>,
    }
}

keys! {
    /// The longest gap at each host since the last fault lies below a bound.
    pub struct Outage as "`expect: {outage}`" {
        /// The stream.
        pub outage: At<String>,
        /// The hosts (default all that have joined its group).
        pub at: Option<OneOrMany<At<String>>>,
        /// The bound.
        pub below: Deadline,
        /// By when packets must flow again (default 10s).
        pub within: Option<Deadline>,
    }
}

keys! {
    /// Join call to first packet at each host lies below a bound.
    pub struct JoinLatency as "`expect: {join-latency}`" {
        /// The stream.
        pub join_latency: At<String>,
        /// The hosts (default all that have joined its group).
        pub at: Option<OneOrMany<At<String>>>,
        /// The bound (default the protocol's formula).
        pub below: Option<Deadline>,
    }
}

keys! {
    /// Leave call to the last packet on the wire lies below a bound.
    pub struct LeaveLatency as "`expect: {leave-latency}`" {
        /// The wire.
        pub leave_latency: At<String>,
        /// The group.
        pub group: At<Address>,
        /// The bound (default the protocol's formula).
        pub below: Option<Deadline>,
    }
}

keys! {
    /// A wire carries no data of a group.
    pub struct Quiet as "`expect: {quiet}`" {
        /// The wire.
        pub quiet: At<String>,
        /// The group (default any).
        pub group: Option<At<Address>>,
        /// By when (default 3s).
        pub within: Option<Deadline>,
        /// How long from then on (default 1s).
        pub r#for: Option<At<Time>>,
    }
}

words!(Message as "a message" {
    "igmp-query" => Message::IgmpQuery,
    "igmp-general-query" => Message::IgmpGeneralQuery,
    "igmp-group-query" => Message::IgmpGroupQuery,
    "igmp-source-query" => Message::IgmpSourceQuery,
    "igmpv1-report" => Message::Igmpv1Report,
    "igmpv2-report" => Message::Igmpv2Report,
    "igmpv3-report" => Message::Igmpv3Report,
    "igmp-leave" => Message::IgmpLeave,
    "pim-hello" => Message::PimHello,
    "pim-join-prune" => Message::PimJoinPrune,
    "pim-join" => Message::PimJoin,
    "pim-prune" => Message::PimPrune,
    "pim-graft" => Message::PimGraft,
    "pim-graft-ack" => Message::PimGraftAck,
    "pim-assert" => Message::PimAssert,
    "pim-state-refresh" => Message::PimStateRefresh,
    "pim-join-wc" => Message::PimJoinWc,
    "pim-join-sg" => Message::PimJoinSg,
    "pim-prune-wc" => Message::PimPruneWc,
    "pim-prune-sg" => Message::PimPruneSg,
    "pim-prune-rpt" => Message::PimPruneRpt,
    "pim-register" => Message::PimRegister,
    "pim-null-register" => Message::PimNullRegister,
    "pim-register-stop" => Message::PimRegisterStop,
    "pim-bootstrap" => Message::PimBootstrap,
    "pim-candidate-rp-advertisement" => Message::PimCandidateRpAdvertisement,
});

/// Since when messages count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub(in crate::topology) enum Since {
    /// From this step on.
    Now,
    /// From the scenario's start.
    Start,
}

words!(Since as "a beginning" {
    "now" => Since::Now,
    "start" => Since::Start,
});

keys! {
    /// Protocol messages are seen on a wire.
    pub struct Seen as "`expect: {seen}`" {
        /// The message.
        pub seen: At<Message>,
        /// The wire.
        pub on: At<String>,
        /// Who sent it (default anybody).
        pub from: Option<At<String>>,
        /// The group that it is about (default any).
        pub group: Option<At<Address>>,
        /// How many at least (default 1).
        pub count: Option<Int<1, 1_000_000>>,
        /// By when (default 3s).
        pub within: Option<Deadline>,
        /// Since when they count: `now` (default), or the scenario's `start`.
        pub since: Option<Since>,
    }
}

keys! {
    /// A router knows, or does not know, a member.
    pub struct Member as "`expect: {member}`" {
        /// The router's attachment: `WIRE.ROUTER` or `ROUTER:INTERFACE`.
        pub member: At<String>,
        /// The group.
        pub group: At<Address>,
        /// Whether it is there (default yes).
        pub present: Option<bool>,
        /// With exactly these sources: nodes or addresses.
        pub sources: Option<At<OneOrMany<At<String>>>>,
        /// With all sources but exactly these.
        pub exclude: Option<At<OneOrMany<At<String>>>>,
        /// By when (default 3s).
        pub within: Option<Deadline>,
    }
}

keys! {
    /// Who is the IGMP querier of a wire.
    pub struct Querier as "`expect: {querier}`" {
        /// The wire.
        pub querier: At<String>,
        /// The router.
        pub is: At<String>,
        /// By when (default 3s).
        pub within: Option<Deadline>,
    }
}

keys! {
    /// Routers know exactly their PIM neighbours.
    pub struct Neighbours as "`expect: {neighbours}`" {
        /// Where: a router, a wire (all its PIM routers), `WIRE.ROUTER`, `ROUTER:INTERFACE`, or `all`.
        pub neighbours: At<String>,
        /// Exactly these routers (default: those that follow from the topology and from what has failed).
        pub are: Option<At<OneOrMany<At<String>>>>,
        /// By when (default the formula `neighbour-latency`).
        pub within: Option<Deadline>,
    }
}

keys! {
    /// Routers agree on the designated router of a wire (RFC 7761 §4.3.2).
    pub struct DesignatedRouter as "`expect: {designated-router}`" {
        /// Where: a wire (all its sparse mode routers), a router, `WIRE.ROUTER`, `ROUTER:INTERFACE`, or `all`.
        pub designated_router: At<String>,
        /// This router (default: the one that follows from the topology and from what has failed).
        pub is: Option<At<String>>,
        /// By when (default the formula `neighbour-latency`).
        pub within: Option<Deadline>,
    }
}

keys! {
    /// Routers use the right rendezvous point for a group (RFC 7761 §4.7).
    pub struct Rp as "`expect: {rp}`" {
        /// The group.
        pub rp: At<Address>,
        /// At these routers (default: all that handle the group in sparse mode).
        pub at: Option<At<OneOrMany<At<String>>>>,
        /// A router, an address, or `none` (default: the one that follows from the topology and from what has failed).
        pub is: Option<At<String>>,
        /// By when (default the formula `convergence`).
        pub within: Option<Deadline>,
    }
}

keys! {
    /// The kernels' entries for a stream make the tree of the oracle.
    pub struct Tree as "`expect: {tree}`" {
        /// The stream.
        pub tree: At<String>,
        /// By when (default 3s).
        pub within: Option<Deadline>,
    }
}

keys! {
    /// A router's kernel has, or has not, a forwarding entry.
    pub struct Entry as "`expect: {entry}`" {
        /// The router.
        pub entry: At<String>,
        /// The source: a node or an address.
        pub source: At<String>,
        /// The group.
        pub group: At<Address>,
        /// Whether it is there (default yes).
        pub present: Option<bool>,
        /// Its incoming interface: a neighbour, a wire or an interface.
        pub incoming: Option<At<String>>,
        /// Exactly its outgoing interfaces.
        pub outgoing: Option<OneOrMany<At<String>>>,
        /// By when (default 3s).
        pub within: Option<Deadline>,
    }
}

keys! {
    /// At each TTL, exactly the hosts that the oracle says get the packets.
    pub struct Scope as "`expect: {scope}`" {
        /// The group.
        pub scope: At<Address>,
        /// The sending host.
        pub from: At<String>,
        /// TTLs that are tried: numbers, or a range such as `1-8`.
        pub ttls: At<Ttls>,
        /// The hosts that are reached, by TTL (default: what the oracle says).
        pub reached: Option<ReachedByTtl>,
        /// By when each TTL is judged (default 3s).
        pub within: Option<Deadline>,
        /// Packets a second (default 100).
        pub rate: Option<PacketRate>,
        /// UDP payload in octets, at least the 32 of a stamp (default 200).
        pub size: Option<At<Int<32, 65507>>>,
        /// UDP port (default 5002).
        pub port: Option<Int<1, 65535>>,
    }
}

keys! {
    /// A command in a node ends with a status, and its output contains a text.
    pub struct Command as "`expect: {command}`" {
        /// The command.
        pub command: CommandLine,
        /// The node.
        pub node: At<String>,
        /// Its exit status (default 0).
        pub status: Option<Int<0, 255>>,
        /// A text that its output contains.
        pub contains: Option<String>,
        /// By when (default 3s): it is tried again until then.
        pub within: Option<Deadline>,
    }
}

/// TTLs: numbers and ranges.
#[derive(Clone, Debug)]
pub(in crate::topology) struct Ttls(pub Vec<u8>);

impl Read for Ttls {
    fn read(node: &tree::Node, cx: &mut Cx) -> Option<Self> {
        let parts = OneOrMany::<At<String>>::read(node, cx)?.0;
        let mut ttls = std::collections::BTreeSet::new();
        let mut good = true;
        for part in parts {
            let (low, high) = part.split_once('-').unwrap_or((&part, &part));
            match (low.trim().parse::<i64>(), high.trim().parse::<i64>()) {
                (Ok(low), Ok(high)) if (1..=255).contains(&low) && (low..=255).contains(&high) => {
                    ttls.extend((low..=high).filter_map(|ttl| u8::try_from(ttl).ok()));
                }
                _ => {
                    cx.push(&part.span, out_of_range("a TTL", &part, "1 to 255, or a range such as 1-8"));
                    good = false;
                }
            }
        }
        if good && ttls.is_empty() {
            cx.wrong_type(node, "a list of TTLs");
            good = false;
        }
        good.then(|| Ttls(ttls.into_iter().collect()))
    }
}

impl JsonSchema for Ttls {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Ttls".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let one = serde_json::json!({"anyOf": [
            {"type": "integer", "minimum": 1, "maximum": 255},
            {"type": "string", "pattern": "^[0-9]+(-[0-9]+)?$"}
        ]});
        schemars::json_schema!({
            "description": "TTLs, 1 to 255: numbers and ranges such as 1-8.",
            "anyOf": [one, {"type": "array", "items": one, "minItems": 1}]
        })
    }
}

/// Hosts by TTL.
#[derive(Clone, Debug)]
pub(in crate::topology) struct ReachedByTtl(pub Vec<(At<u8>, Vec<At<String>>)>);

impl Read for ReachedByTtl {
    fn read(node: &tree::Node, cx: &mut Cx) -> Option<Self> {
        let mut reached: Vec<(At<u8>, Vec<At<String>>)> = Vec::new();
        for (key, value) in crate::topology::read::entries(node, "`reached`", cx)? {
            let hosts = OneOrMany::<At<String>>::read(value, cx);
            let Some(ttl) = key.text.parse::<u8>().ok().filter(|ttl| *ttl > 0) else {
                cx.push(&key.span, out_of_range("a TTL", &key.text, "1 to 255"));
                continue;
            };
            if reached.iter().any(|(seen, _)| seen.value == ttl) {
                cx.push(&key.span, FaultKind::DuplicateKey { key: key.text.clone(), of: "`reached`" });
                continue;
            }
            reached.push((At { value: ttl, span: key.span.clone() }, hosts?.0));
        }
        Some(ReachedByTtl(reached))
    }
}

impl JsonSchema for ReachedByTtl {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ReachedByTtl".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "The hosts that are reached, by TTL.",
            "type": "object",
            "propertyNames": {"pattern": "^[0-9]+$"},
            "additionalProperties": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
        })
    }
}
