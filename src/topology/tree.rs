//! YAML text to a tree whose every node knows where it stands in the text.
//!
//! Bounded in every direction: nesting, and the number of nodes that aliases unfold to. Duplicate keys stay in the
//! tree, so that the reader of a mapping can say what it is that is there twice.

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use granit_parser::{Event, Parser, ScalarStyle};

use super::fault::{Fault, FaultKind};

/// A range of octets in the file's text.
pub type Span = Range<usize>;

/// Collections within collections; the language needs 8.
const DEPTH_LIMIT: usize = 32;
/// Nodes that a file may unfold to, aliases followed; and once more, what `for-each` and `random` unfold to.
pub(super) const NODE_LIMIT: usize = 500_000;

/// A node of the tree.
#[derive(Clone, Debug)]
pub struct Node {
    /// What to point at when the node as a whole is meant: a scalar itself, or the key (the first word) of a collection.
    pub head: Span,
    /// What it is.
    pub value: Value,
    /// Nodes in it, itself included, aliases followed.
    weight: usize,
}

/// What a node is.
#[derive(Clone, Debug)]
pub enum Value {
    /// A text, and whether it stood there without quotes.
    Scalar { text: String, plain: bool },
    /// A list.
    List(Vec<Rc<Node>>),
    /// A mapping in the file's order, duplicates included.
    Map(Vec<(Key, Rc<Node>)>),
}

/// A key of a mapping.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its text.
    pub text: String,
    /// Where it stands.
    pub span: Span,
}

impl Node {
    /// Whether nothing stands there (`key:`, `~` or `null`).
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// Nodes in it, itself included, aliases followed.
    pub fn weight(&self) -> usize {
        self.weight
    }

    /// Whether a scalar stands there with `$word` in its text.
    pub fn mentions(&self, word: &str) -> bool {
        matches!(&self.value, Value::Scalar { text, .. } if places(text, word).next().is_some())
    }

    /// The same with another text for every `$word` in it, keys excepted; nothing if there is none. Everything keeps its
    /// place, so that messages point at what the file has there.
    pub fn with_word(&self, word: &str, replacement: &str) -> Option<Node> {
        let replaced = |node: &Rc<Node>| node.with_word(word, replacement).map(Rc::new);
        let value = match &self.value {
            Value::Scalar { text, .. } => {
                let mut out = String::new();
                let mut end = 0;
                for at in places(text, word) {
                    out += &text[end..at];
                    out += replacement;
                    end = at + 1 + word.len();
                }
                if end == 0 {
                    return None;
                }
                out += &text[end..];
                // A name such as `null` is a name here.
                Value::Scalar { text: out, plain: false }
            }
            Value::List(items) => {
                let new: Vec<Option<Rc<Node>>> = items.iter().map(replaced).collect();
                if new.iter().all(Option::is_none) {
                    return None;
                }
                Value::List(new.into_iter().zip(items).map(|(new, old)| new.unwrap_or_else(|| old.clone())).collect())
            }
            Value::Map(entries) => {
                let new: Vec<Option<Rc<Node>>> = entries.iter().map(|(_, value)| replaced(value)).collect();
                if new.iter().all(Option::is_none) {
                    return None;
                }
                let pairs = new.into_iter().zip(entries);
                Value::Map(pairs.map(|(new, (key, old))| (key.clone(), new.unwrap_or_else(|| old.clone()))).collect())
            }
        };
        Some(Node { head: self.head.clone(), value, weight: self.weight })
    }

    /// What it is, as messages say it.
    pub fn found(&self) -> String {
        match &self.value {
            _ if self.is_null() => "nothing".into(),
            Value::Scalar { text, plain } => {
                let shown: String = text.chars().take(40).collect();
                let dots = if shown.len() < text.len() { "..." } else { "" };
                if *plain { format!("`{shown}{dots}`") } else { format!("the text \"{shown}{dots}\"") }
            }
            Value::List(_) => "a list".into(),
            Value::Map(_) => "a mapping".into(),
        }
    }
}

/// Where `$word` stands in a text, as a shell would see it: not as the beginning of a longer word.
fn places<'t>(text: &'t str, word: &'t str) -> impl Iterator<Item = usize> + 't {
    text.match_indices('$').map(|(at, _)| at).filter(move |at| {
        let rest = text[at + 1..].strip_prefix(word);
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    })
}

/// A collection that is being built.
struct Open {
    start: Span,
    anchor: usize,
    kind: OpenKind,
}

enum OpenKind {
    List(Vec<Rc<Node>>),
    Map { entries: Vec<(Key, Rc<Node>)>, key: Option<Key> },
}

struct Builder<'a> {
    text: &'a str,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Rc<Node>>,
    root: Option<Rc<Node>>,
    nodes: usize,
}

fn wrong(span: Span, kind: FaultKind) -> Box<Fault> {
    Box::new(Fault::new(span, kind))
}

/// Parses a text into its tree; none if there is nothing in it but comments.
///
/// # Errors
/// The first place where the text is no YAML, has more than one document, tags, or keys that are no words, nests too
/// deeply, or unfolds to too much. What comes after such a place can't be told apart, so there is only one.
pub fn parse(text: &str) -> Result<Option<Rc<Node>>, Box<Fault>> {
    let options = granit_parser::options! {
        emit_comments: false,
        flow_nesting_limit: DEPTH_LIMIT,
        block_nesting_limit: DEPTH_LIMIT,
    };
    let mut builder = Builder { text, open: Vec::new(), anchors: BTreeMap::new(), root: None, nodes: 0 };
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = match event {
            Ok(parsed) => parsed,
            Err(error) => {
                let at = offset(text, error.marker());
                return Err(wrong(at..at, FaultKind::Syntax { message: error.kind().to_string() }));
            }
        };
        let start = offset(text, &span.start);
        let end = offset(text, &span.end).max(start);
        builder.take(event, start..end)?;
    }
    Ok(builder.root)
}

fn offset(text: &str, marker: &granit_parser::Marker) -> usize {
    let mut at = marker.byte_offset().unwrap_or(text.len()).min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Box<Fault>> {
        match event {
            Event::DocumentStart(..) if self.root.is_some() => Err(wrong(span, FaultKind::SecondDocument)),
            Event::Scalar(_, _, _, Some(tag))
            | Event::SequenceStart(_, _, Some(tag))
            | Event::MappingStart(_, _, Some(tag))
                if !tag.is_yaml_core_schema() =>
            {
                Err(wrong(span, FaultKind::Tag { tag: tag.to_string() }))
            }
            Event::Scalar(text, style, anchor, _) => {
                let plain = style == ScalarStyle::Plain;
                if self.wants_key() {
                    self.set_key(Key { text: text.into_owned(), span });
                    return Ok(());
                }
                let head = if span.is_empty() { self.key_span().unwrap_or(span) } else { self.trimmed(span) };
                self.place(Node { head, value: Value::Scalar { text: text.into_owned(), plain }, weight: 1 }, anchor)
            }
            Event::SequenceStart(_, anchor, _) => self.open(span, anchor, OpenKind::List(Vec::new())),
            Event::MappingStart(_, anchor, _) => {
                self.open(span, anchor, OpenKind::Map { entries: Vec::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(id) => {
                let Some(node) = self.anchors.get(&id).cloned() else {
                    // The parser refuses aliases without an anchor, so this one is inside what it names.
                    return Err(wrong(span, FaultKind::AliasOfItself));
                };
                if self.wants_key() {
                    return match &node.value {
                        Value::Scalar { text, .. } => {
                            self.set_key(Key { text: text.clone(), span });
                            Ok(())
                        }
                        _ => Err(wrong(span, FaultKind::KeyIsNoWord)),
                    };
                }
                self.count(node.weight, &span)?;
                self.attach(node);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A block scalar's span runs to the next token: points at its first line only.
    fn trimmed(&self, span: Span) -> Span {
        let shown = self.text.get(span.clone()).unwrap_or("");
        let first = shown.lines().next().unwrap_or("").trim_end();
        span.start..span.start + first.len()
    }

    fn wants_key(&self) -> bool {
        matches!(self.open.last(), Some(Open { kind: OpenKind::Map { key: None, .. }, .. }))
    }

    fn key_span(&self) -> Option<Span> {
        match self.open.last() {
            Some(Open { kind: OpenKind::Map { key: Some(key), .. }, .. }) => Some(key.span.clone()),
            _ => None,
        }
    }

    fn set_key(&mut self, new: Key) {
        if let Some(Open { kind: OpenKind::Map { key, .. }, .. }) = self.open.last_mut() {
            *key = Some(new);
        }
    }

    fn open(&mut self, span: Span, anchor: usize, kind: OpenKind) -> Result<(), Box<Fault>> {
        if self.wants_key() {
            return Err(wrong(span, FaultKind::KeyIsNoWord));
        }
        if self.open.len() >= DEPTH_LIMIT {
            return Err(wrong(span, FaultKind::TooDeep { limit: DEPTH_LIMIT }));
        }
        let start = self.key_span().unwrap_or(span);
        self.open.push(Open { start, anchor, kind });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Box<Fault>> {
        let Some(done) = self.open.pop() else { return Ok(()) };
        let (value, inside, first) = match done.kind {
            OpenKind::List(items) => {
                let inside = items.iter().map(|n| n.weight).sum::<usize>();
                let first = items.first().map(|n| n.head.clone());
                (Value::List(items), inside, first)
            }
            OpenKind::Map { entries, .. } => {
                let inside = entries.iter().map(|(_, n)| n.weight).sum::<usize>();
                let first = entries.first().map(|(k, _)| k.span.clone());
                (Value::Map(entries), inside, first)
            }
        };
        let head = if done.start.is_empty() { first.unwrap_or(done.start) } else { done.start };
        self.place(Node { head, value, weight: inside.saturating_add(1) }, done.anchor)
    }

    fn place(&mut self, node: Node, anchor: usize) -> Result<(), Box<Fault>> {
        self.count(1, &node.head)?;
        let node = Rc::new(node);
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        self.attach(node);
        Ok(())
    }

    fn count(&mut self, more: usize, span: &Span) -> Result<(), Box<Fault>> {
        self.nodes = self.nodes.saturating_add(more);
        if self.nodes > NODE_LIMIT {
            return Err(wrong(span.clone(), FaultKind::TooManyNodes { limit: NODE_LIMIT }));
        }
        Ok(())
    }

    fn attach(&mut self, node: Rc<Node>) {
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open { kind: OpenKind::List(items), .. }) => items.push(node),
            Some(Open { kind: OpenKind::Map { entries, key }, .. }) => {
                if let Some(key) = key.take() {
                    entries.push((key, node));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> Rc<Node> {
        parse(text).unwrap().unwrap()
    }

    #[test]
    fn nodes_know_where_they_stand() {
        let text = "a: 1\nb: {c: [x, \"y\"]}\n";
        let root = tree(text);
        let Value::Map(entries) = &root.value else { panic!() };
        assert_eq!(&text[entries[1].0.span.clone()], "b");
        assert_eq!(&text[entries[0].1.head.clone()], "1");
        let Value::Map(inner) = &entries[1].1.value else { panic!() };
        let Value::List(items) = &inner[0].1.value else { panic!() };
        assert_eq!(&text[items[1].head.clone()], "\"y\"");
        assert_eq!(&text[items[0].head.clone()], "x");
    }

    #[test]
    fn only_comments_are_nothing() {
        assert!(parse("").unwrap().is_none());
        assert!(parse("# hello\n").unwrap().is_none());
    }

    #[test]
    fn duplicates_stay_in_the_tree() {
        let Value::Map(entries) = &tree("a: 1\na: 2\n").value else { panic!() };
        assert_eq!(entries.len(), 2);
    }

    #[test]
    fn a_word_is_replaced_where_it_stands_alone() {
        let root = tree("a: [x, campus.$each, {$each: $each-r2}]\nb: $eachother $each_ $\n");
        let new = root.with_word("each", "r1").unwrap();
        let Value::Map(entries) = &new.value else { panic!() };
        let Value::List(items) = &entries[0].1.value else { panic!() };
        let text = |node: &Node| if let Value::Scalar { text, .. } = &node.value { text.clone() } else { panic!() };
        assert_eq!((text(&items[0]), text(&items[1])), ("x".into(), "campus.r1".into()));
        let Value::Map(inner) = &items[2].value else { panic!() };
        assert_eq!((inner[0].0.text.as_str(), text(&inner[0].1)), ("$each", "r1-r2".into()));
        assert_eq!(text(&entries[1].1), "$eachother $each_ $");
        assert_eq!(items[1].head, 7..19, "it stands where it stood");
        assert_eq!(new.weight(), root.weight());
        assert!(tree("a: [x, $each1]").with_word("each", "r1").is_none());
    }

    #[test]
    fn an_alias_bomb_is_bounded() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let items = vec![format!("*a{}", level - 1); 10].join(", ");
            text += &format!("a{level}: &a{level} [{items}]\n");
        }
        assert!(matches!(parse(&text).unwrap_err().kind, FaultKind::TooManyNodes { .. }));
    }

    #[test]
    fn deep_nesting_is_bounded() {
        let text = format!("a: {}{}", "[".repeat(100), "]".repeat(100));
        assert!(parse(&text).is_err());
        let text: String = (0..100).map(|n| format!("{}a:\n", " ".repeat(n))).collect();
        assert!(parse(&text).is_err());
    }

    #[test]
    fn an_alias_inside_its_own_anchor_is_refused() {
        assert!(parse("a: &a [*a]\n").is_err());
    }

    #[test]
    fn broken_yaml_points_at_the_place() {
        let fault = parse("a: [1, 2\nb: 3\n").unwrap_err();
        assert!(matches!(fault.kind, FaultKind::Syntax { .. }));
    }
}
