//! Scenarios as the file has them, and the steps that do something.

use schemars::JsonSchema;

use super::{CommandLine, EACH, Expect, ForEach, Random};
use crate::topology::fault::{FaultKind, nearest};
use crate::topology::read::{At, Cx, OneOrMany, Read, keys, one_of, words};
use crate::topology::scalars::{Address, Int, PacketRate, Share, Time};
use crate::topology::steps::{CutKind, Invariant, Message};
use crate::topology::tree;

keys! {
    /// A named sequence of steps, played in a lab of its own.
    pub struct Scenario as "a scenario" {
        /// Its name.
        pub name: At<String>,
        /// Steps in order.
        pub steps: At<Vec<Slot>>,
        /// Invariants that are not checked here.
        pub without: Option<Vec<At<Invariant>>>,
    }
}

words!(Invariant as "an invariant" {
    "no-duplicates" => Invariant::NoDuplicates,
    "no-stray-data" => Invariant::NoStrayData,
    "ttl-falls" => Invariant::TtlFalls,
    "only-members" => Invariant::OnlyMembers,
    "well-formed" => Invariant::WellFormed,
    "bounded-state" => Invariant::BoundedState,
});

/// A step's place in a scenario, and the key that stands there, so that a step that can't be read is known for what it
/// was probably meant to be.
#[derive(Clone, Debug)]
pub(in crate::topology) struct Slot {
    pub step: Option<At<Step>>,
    pub key: Option<String>,
}

impl Read for Slot {
    fn read(node: &tree::Node, cx: &mut Cx) -> Option<Self> {
        let key = match &node.value {
            tree::Value::Map(entries) => entries.first().map(|(key, _)| key.text.clone()),
            _ => None,
        };
        let key = key.and_then(|key| nearest(&key, Step::known().iter().map(String::as_str)));
        if let Some(span) = loose_each(node) {
            cx.push(&span, FaultKind::EachOutside);
            return Some(Slot { step: None, key });
        }
        Some(Slot { step: Read::read(node, cx), key })
    }
}

/// Where a step speaks of `$each` with no `for-each` around it. In a command it may be a variable of the shell.
fn loose_each(node: &tree::Node) -> Option<tree::Span> {
    match &node.value {
        tree::Value::Scalar { .. } => node.mentions(EACH).then(|| node.head.clone()),
        tree::Value::List(items) => items.iter().find_map(|item| loose_each(item)),
        tree::Value::Map(entries) => {
            // Steps within steps answer for themselves.
            let own = entries.iter().filter(|(key, _)| !matches!(key.text.as_str(), "command" | "for-each" | "then"));
            own.map(|(_, value)| value).find_map(|value| loose_each(value))
        }
    }
}

impl JsonSchema for Slot {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        Step::schema_name()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Step::json_schema(generator)
    }
}

impl Slot {
    /// Whether it was meant to be, or may have been, one of these and can't be read.
    pub fn may_lack(&self, keys: &[&str]) -> bool {
        self.step.is_none() && self.key.as_ref().is_none_or(|key| keys.contains(&key.as_str()))
    }
}

one_of! {
    /// A step: what is done, or what is expected.
    pub enum Step as "a step" {
        /// Hosts join a group.
        Join(Join),
        /// Hosts leave a group.
        Leave(Leave),
        /// A stream starts.
        Stream(Stream),
        /// A stream ends.
        Stop(At<String>),
        /// A wire fails.
        Fail(Fail),
        /// The next messages of a kind are lost.
        Drop(Drop),
        /// A wire mistreats frames.
        Impair(Impair),
        /// It works again.
        Restore(Restore),
        /// A router's daemon is killed.
        Kill(At<String>),
        /// It starts again.
        Restart(At<String>),
        /// A router's daemon is stopped, as by SIGSTOP.
        Pause(At<String>),
        /// It goes on.
        Resume(At<String>),
        /// Time passes.
        Wait(Time),
        /// A command runs in a node, or beside a LAN's bridge; it must end 0.
        Run(Run),
        /// A check.
        Expect(Box<Expect>),
        /// Steps are repeated for each of several things.
        ForEach(Box<ForEach>),
        /// Rounds of what is drawn at random.
        Random(Box<Random>),
    }
}

keys! {
    /// Hosts join a group; a second join of the same group replaces the first one's sources.
    pub struct Join as "`join`" {
        /// The hosts.
        pub hosts: OneOrMany<At<String>>,
        /// The group.
        pub group: At<Address>,
        /// How many groups, from `group` on (default 1).
        pub groups: Option<Int<1, 10_000>>,
        /// Only from these sources: nodes or addresses.
        pub sources: Option<At<OneOrMany<At<String>>>>,
        /// From all but these sources.
        pub exclude: Option<At<OneOrMany<At<String>>>>,
    }
}

keys! {
    /// Hosts leave a group.
    pub struct Leave as "`leave`" {
        /// The hosts (default all that have joined).
        pub hosts: Option<OneOrMany<At<String>>>,
        /// The group.
        pub group: At<Address>,
        /// How many groups, from `group` on (default 1).
        pub groups: Option<Int<1, 10_000>>,
    }
}

keys! {
    /// A stream of stamped packets.
    pub struct Stream as "`stream`" {
        /// Its name.
        pub name: At<String>,
        /// The sending host; `HOST:INTERFACE` if it has several interfaces.
        pub from: At<String>,
        /// Its group.
        pub group: At<Address>,
        /// How many groups it goes to, from `group` on, packet by packet in turn (default 1).
        pub groups: Option<Int<1, 10_000>>,
        /// UDP port (default 5001).
        pub port: Option<Int<1, 65535>>,
        /// Packets a second (default 100).
        pub rate: Option<PacketRate>,
        /// UDP payload in octets, at least the 32 of a stamp (default 200).
        pub size: Option<At<Int<32, 65507>>>,
        /// TTL of the packets (default 16).
        pub ttl: Option<Int<1, 255>>,
        /// Ends by itself after so many packets.
        pub count: Option<Int<1, 1_000_000_000>>,
        /// Packets sent back to back at each tick (default 1).
        pub burst: Option<Int<1, 1000>>,
    }
}

words!(CutKind as "a way to fail" {
    "carrier" => CutKind::Carrier,
    "silent" => CutKind::Silent,
    "admin" => CutKind::Admin,
});

keys! {
    /// A wire, or one node's attachment to it, fails.
    pub struct Fail as "`fail`" {
        /// The wire, or `WIRE.NODE`.
        pub link: At<String>,
        /// How (default carrier).
        pub how: Option<At<CutKind>>,
        /// The end that loses its carrier, is taken down or is cut: a node.
        pub end: Option<At<String>>,
        /// A silent cut is noticed by static unicast after this time (default never).
        pub detected_after: Option<At<Time>>,
    }
}

keys! {
    /// The next messages of a kind that leave into a wire are lost, before anybody on the wire can see them.
    pub struct Drop as "`drop`" {
        /// The wire.
        pub wire: At<String>,
        /// The kind of messages; a join/prune of several groups is told by its first.
        pub message: At<Message>,
        /// How many of each sender's (default 1).
        pub count: Option<Int<1, 1_000_000>>,
        /// Only those that this node sends (default any).
        pub from: Option<At<String>>,
    }
}

keys! {
    /// A wire mistreats frames until it is restored, in place of what the file says of it. Only the simulator can do it.
    pub struct Impair as "`impair`" {
        /// The wire.
        pub wire: At<String>,
        /// Only frames that this node sends (default all).
        pub from: Option<At<String>>,
        /// Added delay (default none).
        pub delay: Option<At<Time>>,
        /// Share of frames that are lost.
        pub loss: Option<At<Share>>,
        /// Share of frames that come twice.
        pub duplicate: Option<At<Share>>,
        /// Share of frames that the delay does not hold, so that they overtake others.
        pub reorder: Option<At<Share>>,
        /// Share of frames that come with one wrong bit.
        pub corrupt: Option<At<Share>>,
    }
}

keys! {
    /// A wire works again: undoes all its failures, drops and impairments.
    pub struct Restore as "`restore`" {
        /// The wire, or `WIRE.NODE`.
        pub link: At<String>,
        /// Only at this end: a node.
        pub end: Option<At<String>>,
    }
}

keys! {
    /// A command runs in a node, or beside a LAN's bridge (whose interfaces are `br0`, and `p0`, `p1`, ... in the order
    /// of the LAN's nodes).
    pub struct Run as "`run`" {
        /// The node.
        pub node: Option<At<String>>,
        /// The LAN.
        pub lan: Option<At<String>>,
        /// The command.
        pub command: At<CommandLine>,
    }
}
