//! YAML in its flow style, as far as topology files need it.

use std::fmt;
use std::time::Duration;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flow {
    /// A word or number, quoted where it must be.
    Word(String),
    /// A list.
    List(Vec<Flow>),
    /// Keys and values, in this order.
    Map(Vec<(String, Flow)>),
}

impl Flow {
    /// A word.
    pub fn word(text: impl fmt::Display) -> Flow {
        Flow::Word(text.to_string())
    }

    /// One of a list, or the list.
    pub fn words<T: fmt::Display>(texts: impl IntoIterator<Item = T>) -> Flow {
        let mut words: Vec<Flow> = texts.into_iter().map(Flow::word).collect();
        match (words.len(), words.pop()) {
            (1, Some(one)) => one,
            (_, last) => {
                words.extend(last);
                Flow::List(words)
            }
        }
    }

    /// A span of time.
    pub fn span(span: Duration) -> Flow {
        Flow::Word(time(span))
    }

    /// A value as serde writes it, without what is null.
    pub fn of_json(value: &serde_json::Value) -> Option<Flow> {
        use serde_json::Value;
        Some(match value {
            Value::Null => return None,
            Value::String(text) => Flow::word(text),
            Value::Bool(_) | Value::Number(_) => Flow::word(value),
            Value::Array(items) => Flow::List(items.iter().filter_map(Flow::of_json).collect()),
            Value::Object(map) => {
                Flow::Map(map.iter().filter_map(|(k, v)| Some((k.clone(), Flow::of_json(v)?))).collect())
            }
        })
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        match self {
            Flow::Word(_) => false,
            Flow::List(items) => items.is_empty(),
            Flow::Map(entries) => entries.is_empty(),
        }
    }
}

/// A map that grows.
#[derive(Clone, Debug, Default)]
pub struct Keys(Vec<(String, Flow)>);

impl Keys {
    /// Begins with a key.
    pub fn of(key: &str, value: Flow) -> Keys {
        Keys::default().with(key, value)
    }

    /// Adds a key.
    #[must_use]
    pub fn with(mut self, key: &str, value: Flow) -> Keys {
        self.0.push((key.to_owned(), value));
        self
    }

    /// Adds a key if it has a value that is not empty.
    #[must_use]
    pub fn some(self, key: &str, value: Option<Flow>) -> Keys {
        match value {
            Some(value) if !value.is_empty() => self.with(key, value),
            _ => self,
        }
    }

    /// The map.
    pub fn end(self) -> Flow {
        Flow::Map(self.0)
    }
}

/// A span in the largest unit that says it whole.
pub fn time(span: Duration) -> String {
    let nanos = span.as_nanos();
    let units = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us"), (1, "ns")];
    let (size, unit) = units.into_iter().find(|(size, _)| nanos.is_multiple_of(*size)).unwrap_or((1, "ns"));
    format!("{}{unit}", nanos / size)
}

/// Whether a word can stand without quotes: nothing that YAML would read otherwise.
fn is_plain(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && chars.all(|c| c.is_ascii_alphanumeric() || "._-/%".contains(c))
        && !matches!(text, "null" | "yes" | "no" | "on" | "off" | "y" | "n")
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flow::Word(text) if is_plain(text) => f.write_str(text),
            Flow::Word(text) => write!(f, "{}", serde_json::Value::String(text.clone())),
            Flow::List(items) => {
                f.write_str("[")?;
                for (n, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if n == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            Flow::Map(entries) => {
                f.write_str("{")?;
                for (n, (key, value)) in entries.iter().enumerate() {
                    write!(f, "{}{}: {value}", if n == 0 { "" } else { ", " }, Flow::word(key))?;
                }
                f.write_str("}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_they_must_be() {
        let map = Keys::of("a", Flow::word("r1:eth0")).with("b", Flow::words([1, 2])).some("c", None);
        assert_eq!(
            map.with("d", Flow::words(["10.0.0.1/31"])).end().to_string(),
            r#"{a: "r1:eth0", b: [1, 2], d: 10.0.0.1/31}"#
        );
    }

    #[test]
    fn spans_are_whole() {
        let texts = [1_500_000_000, 2_000_000_000, 1_000, 7, 0].map(|nanos| time(Duration::from_nanos(nanos)));
        assert_eq!(texts, ["1500ms", "2s", "1us", "7ns", "0s"]);
    }
}
