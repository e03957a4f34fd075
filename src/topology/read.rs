//! From the tree to the file's model: a reader that notes a fault and reads on.
//!
//! serde ends at the first error; a file's author wants them all. The model's types are declared once, by [`keys!`],
//! [`one_of!`] and [`words!`], which give each of them its reader and its place in the JSON schema.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;

use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::fault::{Fault, FaultKind, nearest};
use super::tree::{Key, Node, Span, Value};

/// Faults that are kept; a file with more has one cause.
const FAULT_LIMIT: usize = 1000;
/// Faults that are given the nearest right word: the search costs time.
const NEAREST_LIMIT: usize = 200;

/// Faults that were found so far.
#[derive(Debug, Default)]
pub(super) struct Cx {
    faults: Vec<Fault>,
    searches: usize,
    /// The key whose value is read.
    key: String,
}

impl Cx {
    /// Notes a fault.
    pub fn push(&mut self, span: &Span, kind: FaultKind) {
        self.add(Fault::new(span.clone(), kind));
    }

    /// Notes a fault.
    pub fn add(&mut self, fault: Fault) {
        if self.faults.len() < FAULT_LIMIT {
            self.faults.push(fault);
        }
    }

    /// The candidate nearest to a word.
    pub fn nearest<'a>(&mut self, word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
        if self.searches >= NEAREST_LIMIT {
            return None;
        }
        self.searches += 1;
        nearest(word, candidates)
    }

    /// The key whose value is read, as messages say it.
    pub fn key(&self) -> String {
        if self.key.is_empty() { "it".into() } else { format!("`{}`", self.key) }
    }

    /// Whether there is none.
    pub fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }

    /// Whether an unknown key of such a mapping was probably meant to be one of these.
    pub fn misread(&self, of: &str, keys: &[&str]) -> bool {
        self.faults.iter().any(|fault| {
            matches!(&fault.kind, FaultKind::UnknownKey { of: known, .. } if *known == of)
                && fault.nearest.as_deref().is_some_and(|key| keys.contains(&key))
        })
    }

    /// How many there are so far, for [`Cx::amend`].
    pub fn mark(&self) -> usize {
        self.faults.len()
    }

    /// Changes what was noted since a mark, and forgets it where told so: of what is wrong in a repeated step, one is enough.
    pub fn amend(&mut self, mark: usize, keep: impl FnMut(&mut Fault) -> bool) {
        let mut since = self.faults.split_off(mark.min(self.faults.len()));
        since.retain_mut(keep);
        self.faults.append(&mut since);
    }

    /// Gives them up.
    pub fn into_faults(self) -> Vec<Fault> {
        self.faults
    }

    /// Notes that a value has another shape than expected.
    pub fn wrong_type(&mut self, node: &Node, expected: &str) {
        self.push(&node.head, FaultKind::WrongType { expected: expected.into(), found: node.found() });
    }
}

/// What can be read from a node of the tree.
pub(super) trait Read: Sized {
    /// Reads it, or notes what is wrong.
    fn read(node: &Node, cx: &mut Cx) -> Option<Self>;

    /// What a missing key gives: nothing if it must be there.
    fn absent() -> Option<Self> {
        None
    }
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct At<T> {
    pub value: T,
    pub span: Span,
}

impl<T> std::ops::Deref for At<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Read> Read for At<T> {
    fn read(node: &Node, cx: &mut Cx) -> Option<Self> {
        Some(At { value: T::read(node, cx)?, span: node.head.clone() })
    }
}

impl<T: Read> Read for Option<T> {
    fn read(node: &Node, cx: &mut Cx) -> Option<Self> {
        Some(T::read(node, cx))
    }
    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<T: Read> Read for Box<T> {
    fn read(node: &Node, cx: &mut Cx) -> Option<Self> {
        T::read(node, cx).map(Box::new)
    }
}

/// A list; items that can't be read are left out (their faults are noted).
impl<T: Read> Read for Vec<T> {
    fn read(node: &Node, cx: &mut Cx) -> Option<Self> {
        match &node.value {
            Value::List(items) => Some(items.iter().filter_map(|item| T::read(item, cx)).collect()),
            _ if node.is_null() => Some(Vec::new()),
            _ => {
                cx.wrong_type(node, "a list");
                None
            }
        }
    }
}

/// A value that leaves a trace even if it can't be read, so that nothing is said of references to it.
#[derive(Clone, Debug)]
pub(super) struct Try<T>(pub Option<T>);

impl<T: Read> Read for Try<T> {
    fn read(node: &Node, cx: &mut Cx) -> Option<Self> {
        Some(Try(T::read(node, cx)))
    }
}

impl<T: JsonSchema> JsonSchema for Try<T> {
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

impl Read for String {
    fn read(node: &Node, cx: &mut Cx) -> Option<Self> {
        match &node.value {
            Value::Scalar { text, .. } if !node.is_null() => Some(text.clone()),
            _ => {
                cx.wrong_type(node, "a text");
                None
            }
        }
    }
}

impl Read for bool {
    fn read(node: &Node, cx: &mut Cx) -> Option<Self> {
        match &node.value {
            Value::Scalar { text, plain: true } if text == "true" => Some(true),
            Value::Scalar { text, plain: true } if text == "false" => Some(false),
            _ => {
                cx.wrong_type(node, "`true` or `false`");
                None
            }
        }
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
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

/// One value, or a list of them.
#[derive(Clone, Debug)]
pub(super) struct OneOrMany<T>(pub Vec<T>);

impl<T: Read> Read for OneOrMany<T> {
    fn read(node: &Node, cx: &mut Cx) -> Option<Self> {
        match &node.value {
            Value::List(_) => Vec::read(node, cx).map(OneOrMany),
            _ => T::read(node, cx).map(|one| OneOrMany(vec![one])),
        }
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        schemars::json_schema!({"anyOf": [one, {"type": "array", "items": one}]})
    }
}

/// Something that a mapping names.
pub(super) trait Named {
    /// What messages call it.
    const WHAT: &'static str;
}

/// A mapping from names to things, in the file's order.
#[derive(Clone, Debug)]
pub(super) struct Names<T>(pub Vec<(At<String>, Option<T>)>);

impl<T: Read + Named> Read for Names<T> {
    fn read(node: &Node, cx: &mut Cx) -> Option<Self> {
        let entries = entries(node, "names", cx)?;
        let mut seen: BTreeMap<&str, &Span> = BTreeMap::new();
        let mut names = Vec::new();
        for (key, value) in entries {
            if let Some(first) = seen.get(key.text.as_str()) {
                let kind = FaultKind::DuplicateName { what: T::WHAT, name: key.text.clone() };
                cx.add(Fault::new(key.span.clone(), kind).related((*first).clone(), "first here"));
                // Its inside is read all the same, for the faults in it.
                let _ = T::read(value, cx);
                continue;
            }
            seen.insert(&key.text, &key.span);
            let name = At { value: key.text.clone(), span: key.span.clone() };
            names.push((name, T::read(value, cx)));
        }
        Some(Names(names))
    }
}

impl<T: JsonSchema> JsonSchema for Names<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("NamesOf{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let inner = generator.subschema_for::<T>();
        schemars::json_schema!({"type": "object", "additionalProperties": inner})
    }
}

/// The entries of a mapping; nothing at all counts as an empty one.
pub(super) fn entries<'a>(node: &'a Node, what: &str, cx: &mut Cx) -> Option<&'a [(Key, Rc<Node>)]> {
    match &node.value {
        Value::Map(entries) => Some(entries),
        _ if node.is_null() => Some(&[]),
        _ => {
            cx.wrong_type(node, &format!("a mapping for {what}"));
            None
        }
    }
}

/// The keys of a mapping, each to be taken once.
pub(super) struct Keys<'a> {
    of: &'static str,
    head: &'a Span,
    entries: BTreeMap<&'a str, (&'a Key, &'a Node)>,
    order: Vec<&'a Key>,
    missing: Vec<String>,
}

impl<'a> Keys<'a> {
    pub fn of(node: &'a Node, of: &'static str, cx: &mut Cx) -> Option<Keys<'a>> {
        let mut keys = Keys { of, head: &node.head, entries: BTreeMap::new(), order: Vec::new(), missing: Vec::new() };
        for (key, value) in entries(node, of, cx)? {
            if let Some((first, _)) = keys.entries.get(key.text.as_str()) {
                let kind = FaultKind::DuplicateKey { key: key.text.clone(), of };
                cx.add(Fault::new(key.span.clone(), kind).related(first.span.clone(), "first here"));
                continue;
            }
            keys.entries.insert(&key.text, (key, value));
            keys.order.push(key);
        }
        Some(keys)
    }

    /// Reads a key's value; if the key is missing and must not be, that is noted.
    pub fn take<T: Read>(&mut self, key: &str, cx: &mut Cx) -> Option<T> {
        match self.entries.remove(key) {
            Some((_, node)) => {
                key.clone_into(&mut cx.key);
                T::read(node, cx)
            }
            None => T::absent().or_else(|| {
                self.missing.push(key.to_owned());
                None
            }),
        }
    }

    /// Notes that a key is missing if neither it nor the one that can stand in for it is there.
    pub fn need(&mut self, key: &str, or: &str) {
        if !self.order.iter().any(|there| there.text == key || there.text == or) {
            self.missing.push(key.to_owned());
        }
    }

    /// Notes the keys that nobody took, and those that are missing: not both of one slip of the pen.
    pub fn finish(mut self, known: &[String], cx: &mut Cx) {
        for key in self.order {
            if self.entries.contains_key(key.text.as_str()) {
                let meant = unknown_key(key, self.of, known, cx);
                self.missing.retain(|missing| Some(missing) != meant.as_ref());
            }
        }
        for key in self.missing {
            cx.push(self.head, FaultKind::MissingKey { key, of: self.of });
        }
    }
}

/// Notes an unknown key, and gives the one that was probably meant.
pub(super) fn unknown_key(key: &Key, of: &'static str, known: &[String], cx: &mut Cx) -> Option<String> {
    if let Some(instead) = later(&key.text) {
        cx.push(&key.span, FaultKind::Unsupported { word: key.text.clone(), instead });
        return None;
    }
    let near = cx.nearest(&key.text, known.iter().map(String::as_str));
    let kind = FaultKind::UnknownKey { key: key.text.clone(), of, known: known.to_vec() };
    cx.add(Fault::new(key.span.clone(), kind).nearest(near.clone()));
    near
}

/// Words of the language that later versions will know, and what is there instead.
pub(super) fn later(word: &str) -> Option<&'static str> {
    Some(match word {
        "pim-ssm" | "pim-bidir" | "bidir-pim" | "bidir" | "dvmrp" | "cbt" | "mospf" => {
            "routers forward by PIM sparse mode (`pim-sm`, source-specific groups included), by PIM dense mode (`pim-dm`), by `static` routes and IGMP membership, as an IGMP `proxy`, or not at all (`none`)"
        }
        "mrouted" => "`router-core`, `frr`, `pimd`, `smcroute` and `exec` are supported",
        "ospf" | "ospfv2" | "rip" | "isis" | "bgp" => "unicast is `static` or `none`",
        "dvmrp-metric" => "DVMRP is not supported yet; `cost` is for unicast",
        "partition" => "`fail` each link of the cut",
        "neighbours" | "neighbors" => "`seen` finds a protocol's messages on a wire",
        "mld" => "IGMP is supported",
        "import" | "imports" | "include" => {
            "`generate` makes graphs of a few shapes, and `testbed import` makes a file of a graph"
        }
        "file" | "media" => "streams have a constant rate, or a `burst`",
        "reorder" | "reordering" | "duplicate" | "duplication" | "corrupt" | "corruption" => {
            "a link can have `delay`, `jitter`, `loss` and `rate`"
        }
        _ => return None,
    })
}

/// `some_field` or `SomeVariant` as the file writes it: `some-field`, `some-variant`.
pub(super) fn kebab(name: &str) -> String {
    let name = name.strip_prefix("r#").unwrap_or(name);
    let mut out = String::with_capacity(name.len() + 4);
    for (at, letter) in name.chars().enumerate() {
        if letter == '_' {
            out.push('-');
        } else if letter.is_ascii_uppercase() {
            if at > 0 {
                out.push('-');
            }
            out.push(letter.to_ascii_lowercase());
        } else {
            out.push(letter);
        }
    }
    out
}

/// Declares a mapping with fixed keys: a struct with its reader and schema. Fields are the keys, `_` for `-`;
/// an `Option` may be left out. With `needs A or B`, one of two such keys must be there: A, as messages say it.
macro_rules! keys {
    (
        $(#[$meta:meta])*
        pub struct $name:ident as $what:literal $(needs $needed:literal or $other:literal)? {
            $( $(#[$field_meta:meta])* pub $field:ident: $type:ty, )*
        }
    ) => {
        #[derive(Clone, Debug, schemars::JsonSchema)]
        #[schemars(rename_all = "kebab-case", deny_unknown_fields)]
        $(#[$meta])*
        pub(in crate::topology) struct $name {
            $( $(#[$field_meta])* pub $field: $type, )*
        }

        impl $name {
            /// What messages call it.
            #[allow(dead_code, reason = "not every such mapping is asked")]
            pub const WHAT: &'static str = $what;

            /// The keys that may stand there.
            pub fn known() -> Vec<String> {
                vec![$( $crate::topology::read::kebab(stringify!($field)) ),*]
            }
        }

        impl $crate::topology::read::Read for $name {
            fn read(
                node: &$crate::topology::tree::Node,
                cx: &mut $crate::topology::read::Cx,
            ) -> Option<Self> {
                let mut keys = $crate::topology::read::Keys::of(node, $what, cx)?;
                $( let $field = keys.take::<$type>(&$crate::topology::read::kebab(stringify!($field)), cx); )*
                $( keys.need($needed, $other); )?
                keys.finish(&Self::known(), cx);
                Some($name { $( $field: $field?, )* })
            }
        }
    };
}

/// Declares a mapping with exactly one key, which says what the value is: an enum with its reader and schema.
macro_rules! one_of {
    (
        $(#[$meta:meta])*
        pub enum $name:ident as $what:literal {
            $( $(#[$variant_meta:meta])* $variant:ident($type:ty), )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, schemars::JsonSchema)]
        #[schemars(rename_all = "kebab-case")]
        pub(in crate::topology) enum $name {
            $( $(#[$variant_meta])* $variant($type), )*
        }

        impl $name {
            /// The keys that may stand there.
            #[allow(dead_code, reason = "not every such mapping is asked")]
            pub fn known() -> Vec<String> {
                vec![$( $crate::topology::read::kebab(stringify!($variant)) ),*]
            }
        }

        impl $crate::topology::read::Read for $name {
            fn read(
                node: &$crate::topology::tree::Node,
                cx: &mut $crate::topology::read::Cx,
            ) -> Option<Self> {
                use $crate::topology::{fault::FaultKind, read};
                let entries = read::entries(node, $what, cx)?;
                let Some((first, value)) = entries.first() else {
                    cx.push(&node.head, FaultKind::NoneOfKeys { of: $what, known: Self::known() });
                    return None;
                };
                for (second, _) in &entries[1..] {
                    if Self::known().contains(&second.text) {
                        let (first, second_word) = (first.text.clone(), second.text.clone());
                        cx.push(&second.span, FaultKind::KeysExclude { of: $what, first, second: second_word });
                    } else {
                        let _ = read::unknown_key(second, $what, &Self::known(), cx);
                    }
                }
                $(
                    if first.text == read::kebab(stringify!($variant)) {
                        return <$type as read::Read>::read(value, cx).map($name::$variant);
                    }
                )*
                let _ = read::unknown_key(first, $what, &Self::known(), cx);
                None
            }
        }
    };
}

/// Declares a mapping whose shape is told by which of several keys stands in it (each is a key of the variant's own
/// mapping): an enum with its reader and schema.
macro_rules! told_by_key {
    (
        $(#[$meta:meta])*
        pub enum $name:ident as $what:literal {
            $( $(#[$variant_meta:meta])* $variant:ident($type:ty), )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, schemars::JsonSchema)]
        #[schemars(untagged)]
        pub(in crate::topology) enum $name {
            $( $(#[$variant_meta])* $variant($type), )*
        }

        impl $crate::topology::read::Read for $name {
            fn read(
                node: &$crate::topology::tree::Node,
                cx: &mut $crate::topology::read::Cx,
            ) -> Option<Self> {
                use $crate::topology::{fault::FaultKind, read};
                let entries = read::entries(node, $what, cx)?;
                let known = vec![$( read::kebab(stringify!($variant)) ),*];
                let mut told = entries.iter().filter(|(key, _)| known.contains(&key.text));
                let Some((key, _)) = told.next() else {
                    // The slip is most likely in the first key that belongs nowhere.
                    let common = [$( <$type>::known() ),*].concat();
                    match entries.iter().find(|(key, _)| !common.contains(&key.text)) {
                        Some((key, _)) => {
                            let _ = read::unknown_key(key, $what, &known, cx);
                        }
                        None => cx.push(&node.head, FaultKind::NoneOfKeys { of: $what, known }),
                    }
                    return None;
                };
                if let Some((second, _)) = told.find(|(second, _)| second.text != key.text) {
                    let (first, second_word) = (key.text.clone(), second.text.clone());
                    cx.push(&second.span, FaultKind::KeysExclude { of: $what, first, second: second_word });
                    return None;
                }
                $(
                    if key.text == read::kebab(stringify!($variant)) {
                        return <$type as read::Read>::read(node, cx).map($name::$variant);
                    }
                )*
                None
            }
        }
    };
}

/// Gives a reader to an enum whose values are words.
macro_rules! words {
    ($name:ty as $what:literal { $( $word:literal => $value:expr, )* }) => {
        impl $crate::topology::read::Read for $name {
            fn read(
                node: &$crate::topology::tree::Node,
                cx: &mut $crate::topology::read::Cx,
            ) -> Option<Self> {
                $crate::topology::read::word(node, $what, &[$( ($word, $value) ),*], cx)
            }
        }
    };
}

/// Reads one of several words.
pub(super) fn word<T: Clone>(node: &Node, of: &'static str, words: &[(&str, T)], cx: &mut Cx) -> Option<T> {
    let Value::Scalar { text, .. } = &node.value else {
        cx.wrong_type(node, of);
        return None;
    };
    if node.is_null() {
        cx.wrong_type(node, of);
        return None;
    }
    if let Some((_, value)) = words.iter().find(|(word, _)| word == text) {
        return Some(value.clone());
    }
    if let Some(instead) = later(text) {
        cx.push(&node.head, FaultKind::Unsupported { word: text.clone(), instead });
        return None;
    }
    let known = words.iter().map(|(word, _)| (*word).to_owned()).collect();
    let kind = FaultKind::UnknownWord { word: text.clone(), of, known };
    let near = cx.nearest(text, words.iter().map(|(word, _)| *word));
    cx.add(Fault::new(node.head.clone(), kind).nearest(near));
    None
}

pub(super) use {keys, one_of, told_by_key, words};
