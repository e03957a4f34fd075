//! Steps that stand for many: repeated for each of several things, or drawn at random.

use std::borrow::Cow;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::Slot;
use crate::topology::read::{At, Cx, OneOrMany, Read, keys};
use crate::topology::scalars::{Address, Int, Time};
use crate::topology::steps::CutKind;
use crate::topology::tree;

/// The word that stands for the item: `$each`.
pub(in crate::topology) const EACH: &str = "each";

keys! {
    /// Steps that are repeated for each of several routers, hosts, links or LANs: `$each` in them stands for its name.
    pub struct ForEach as "`for-each`" {
        /// The routers, or `all`.
        pub router: Option<At<Selection>>,
        /// The hosts, or `all`.
        pub host: Option<At<Selection>>,
        /// The links, or `all`.
        pub link: Option<At<Selection>>,
        /// The LANs, or `all`.
        pub lan: Option<At<Selection>>,
        /// What is done for each of them.
        pub steps: At<Vec<Raw<Slot>>>,
    }
}

keys! {
    /// Rounds, in each of which one thing drawn by the file's seed happens; at the end all of it is undone.
    pub struct Random as "`random`" {
        /// How many.
        pub rounds: At<Int<1, 1000>>,
        /// A host joins, or a member leaves; at least one member always remains.
        pub join: Option<At<RandomJoin>>,
        /// A link fails, or one that failed is restored; routers are never cut off from each other.
        pub fail: Option<At<RandomFail>>,
        /// A router's daemon is killed and started again: the routers, or `all`.
        pub restart: Option<At<Selection>>,
        /// Steps after each round, and after the end.
        pub then: Option<At<Vec<Slot>>>,
    }
}

keys! {
    /// Hosts that join and leave at random.
    pub struct RandomJoin as "`join` of `random`" {
        /// The hosts (default `all`: but those that send).
        pub hosts: Option<At<Selection>>,
        /// The group.
        pub group: At<Address>,
        /// How many groups, from `group` on (default 1).
        pub groups: Option<Int<1, 10_000>>,
    }
}

keys! {
    /// Links that fail and are restored at random.
    pub struct RandomFail as "`fail` of `random`" {
        /// Wires between routers (default `all`: links between two routers).
        pub links: Option<At<Selection>>,
        /// How: carrier (default) or silent.
        pub how: Option<At<CutKind>>,
        /// A silent cut is noticed by static unicast after this time (default never).
        pub detected_after: Option<At<Time>>,
        /// How many may be down at the same time (default 1).
        pub at_once: Option<Int<1, 1000>>,
    }
}

/// All, or those that are named.
#[derive(Clone, Debug)]
pub(in crate::topology) enum Selection {
    All,
    Named(Vec<At<String>>),
}

impl Read for Selection {
    fn read(node: &tree::Node, cx: &mut Cx) -> Option<Self> {
        match &node.value {
            tree::Value::Scalar { text, .. } if text == "all" => Some(Selection::All),
            _ => OneOrMany::read(node, cx).map(|OneOrMany(names)| Selection::Named(names)),
        }
    }
}

impl JsonSchema for Selection {
    fn schema_name() -> Cow<'static, str> {
        "Selection".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({
            "description": "`all`, a name, or a list of names.",
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]
        })
    }
}

/// What is read later, once the words in it are known.
#[derive(Clone, Debug)]
pub(in crate::topology) struct Raw<T> {
    pub node: tree::Node,
    of: PhantomData<T>,
}

impl<T> Read for Raw<T> {
    fn read(node: &tree::Node, _: &mut Cx) -> Option<Self> {
        // What is below it is shared, not copied.
        Some(Raw { node: node.clone(), of: PhantomData })
    }
}

impl<T: JsonSchema> JsonSchema for Raw<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}
