//! GML (M. Himsolt, "GML: A portable Graph File Format", 1997): `key value` pairs, where a value is a number, a text in
//! quotes, or a list of such pairs in brackets.
//!
//! Read in one pass without recursion: lists that mean nothing here are only followed to their end. Beyond the letter of
//! GML, texts may be UTF-8, and lines may end in any way.

use std::borrow::Cow;

use super::fault::{ImportError, ImportErrorKind, RemarkKind, Remarks};
use super::graph::{Edge, Graph, Node, TooMany};
use super::text::with_entities;

/// Lists within lists.
const DEPTH_LIMIT: usize = 64;
/// Characters of a wrong word that are shown.
const SHOWN: usize = 40;

type Result<T> = std::result::Result<T, ImportError>;

fn wrong<T>(line: usize, kind: ImportErrorKind) -> Result<T> {
    Err(ImportError { line: Some(line), kind })
}

fn too_many(line: usize) -> impl Fn(TooMany) -> ImportError {
    move |TooMany { what, limit }| ImportError { line: Some(line), kind: ImportErrorKind::TooMany { what, limit } }
}

#[derive(Clone, Debug, PartialEq)]
enum Token<'a> {
    Word(&'a str),
    Number(&'a str),
    Text(&'a str),
    Open,
    Close,
}

impl Token<'_> {
    fn found(&self) -> String {
        let short = |text: &str| text.chars().take(SHOWN).collect::<String>();
        match self {
            Token::Word(word) | Token::Number(word) => format!("`{}`", short(word).escape_debug()),
            Token::Text(text) => format!("the text \"{}\"", short(text).escape_debug()),
            Token::Open => "`[`".into(),
            Token::Close => "`]`".into(),
        }
    }
}

/// A key and its value, which is a list's beginning or stands there whole.
enum Value<'a> {
    Scalar(Cow<'a, str>),
    List,
}

struct Entry<'a> {
    key: &'a str,
    value: Value<'a>,
    line: usize,
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
    /// Where the lists begin that are open.
    open: Vec<usize>,
}

/// Reads the first graph of a text.
pub(super) fn parse(text: &str, remarks: &mut Remarks) -> Result<Graph> {
    let mut reader = Reader { rest: text, line: 1, open: Vec::new() };
    let mut graph = None;
    while let Some(entry) = reader.entry()? {
        match entry.value {
            Value::List if entry.key.eq_ignore_ascii_case("graph") && graph.is_none() => {
                graph = Some(reader.graph(remarks)?);
            }
            Value::List => {
                if entry.key.eq_ignore_ascii_case("graph") {
                    remarks.at(entry.line, RemarkKind::SecondGraph);
                }
                reader.skip()?;
            }
            Value::Scalar(_) => {}
        }
    }
    graph.ok_or(ImportError { line: None, kind: ImportErrorKind::NoGraph })
}

impl<'a> Reader<'a> {
    fn graph(&mut self, remarks: &mut Remarks) -> Result<Graph> {
        let mut graph = Graph::default();
        while let Some(Entry { key, value, line }) = self.entry()? {
            match value {
                Value::Scalar(text) => graph.attribute(key, &text),
                Value::List if key.eq_ignore_ascii_case("node") => {
                    let node = self.node(line, remarks)?;
                    graph.add_node(node).map_err(too_many(line))?;
                }
                Value::List if key.eq_ignore_ascii_case("edge") => {
                    let edge = self.edge(line)?;
                    graph.add_edge(edge).map_err(too_many(line))?;
                }
                Value::List => self.skip()?,
            }
        }
        Ok(graph)
    }

    fn node(&mut self, line: usize, remarks: &mut Remarks) -> Result<Node> {
        let mut node = Node { line, ..Node::default() };
        while let Some(entry) = self.entry()? {
            match entry.value {
                Value::Scalar(text) => node.attribute(entry.key, &text),
                Value::List => {
                    if entry.key.eq_ignore_ascii_case("graph") {
                        remarks.at(entry.line, RemarkKind::InnerGraph);
                    }
                    self.skip()?;
                }
            }
        }
        Ok(node)
    }

    fn edge(&mut self, line: usize) -> Result<Edge> {
        let mut edge = Edge { line, ..Edge::default() };
        while let Some(entry) = self.entry()? {
            match entry.value {
                Value::Scalar(text) => edge.attribute(entry.key, &text),
                Value::List => self.skip()?,
            }
        }
        Ok(edge)
    }

    /// Reads to the end of the list that has just begun.
    fn skip(&mut self) -> Result<()> {
        let depth = self.open.len();
        while self.open.len() >= depth {
            // An entry that is a list goes one deeper, the end of one comes back.
            self.entry()?;
        }
        Ok(())
    }

    /// The next key and value; none at the end of the list, or of the file where no list is open.
    fn entry(&mut self) -> Result<Option<Entry<'a>>> {
        let Some(token) = self.token()? else {
            return match self.open.last() {
                Some(from) => wrong(self.line, ImportErrorKind::Unclosed { what: "a list", from: *from }),
                None => Ok(None),
            };
        };
        let line = self.line;
        let key = match token {
            Token::Word(key) => key,
            Token::Close if self.open.pop().is_some() => return Ok(None),
            other => {
                let expected = if self.open.is_empty() { "a key" } else { "a key or `]`" };
                return wrong(line, ImportErrorKind::NotGml { expected, found: other.found() });
            }
        };
        const EXPECTED: &str = "a number, a text in quotes or `[`";
        let value = match self.token()? {
            Some(Token::Number(number)) => Value::Scalar(Cow::Borrowed(number)),
            Some(Token::Text(text)) => Value::Scalar(with_entities(text)),
            Some(Token::Open) => {
                if self.open.len() >= DEPTH_LIMIT {
                    return wrong(self.line, ImportErrorKind::TooDeep { limit: DEPTH_LIMIT });
                }
                self.open.push(line);
                Value::List
            }
            Some(other) => {
                return wrong(self.line, ImportErrorKind::NotGml { expected: EXPECTED, found: other.found() });
            }
            None => {
                let found = "the end of the file".to_owned();
                return wrong(self.line, ImportErrorKind::NotGml { expected: EXPECTED, found });
            }
        };
        Ok(Some(Entry { key, value, line }))
    }

    /// The next token; none at the end.
    fn token(&mut self) -> Result<Option<Token<'a>>> {
        loop {
            let blank = self.rest.len() - self.rest.trim_start().len();
            self.advance(blank);
            if !self.rest.starts_with('#') {
                break;
            }
            let end = self.rest.find(['\n', '\r']).unwrap_or(self.rest.len());
            self.advance(end);
        }
        let Some(first) = self.rest.chars().next() else { return Ok(None) };
        let token = match first {
            '[' => {
                self.advance(1);
                Token::Open
            }
            ']' => {
                self.advance(1);
                Token::Close
            }
            '"' => {
                let Some(length) = self.rest[1..].find('"') else {
                    return wrong(self.line, ImportErrorKind::Unclosed { what: "a text", from: self.line });
                };
                self.advance(1);
                let text = self.advance(length);
                self.advance(1);
                Token::Text(text)
            }
            _ => {
                let end = self.rest.find(|c: char| c.is_whitespace() || matches!(c, '[' | ']' | '"'));
                let word = self.advance(end.unwrap_or(self.rest.len()));
                if word.parse::<f64>().is_ok() { Token::Number(word) } else { self.word(word)? }
            }
        };
        Ok(Some(token))
    }

    /// A key: letters, digits and underscores, a letter first.
    fn word(&self, word: &'a str) -> Result<Token<'a>> {
        let good = word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && word.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'_' | b'-' | b'.'));
        if good {
            return Ok(Token::Word(word));
        }
        let expected = "a key of letters, digits and underscores";
        wrong(self.line, ImportErrorKind::NotGml { expected, found: Token::Word(word).found() })
    }

    /// Goes on by so many octets, which end at a character's end, and gives them.
    fn advance(&mut self, length: usize) -> &'a str {
        let (passed, rest) = self.rest.split_at(length);
        let bare = passed.bytes().filter(|octet| *octet == b'\r').count();
        let pairs = passed.matches("\r\n").count();
        // A lone carriage return ends a line, too.
        self.line += passed.bytes().filter(|octet| *octet == b'\n').count() + bare - pairs;
        if passed.ends_with('\r') && rest.starts_with('\n') {
            // The pair is counted with its second half.
            self.line -= 1;
        }
        self.rest = rest;
        passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(text: &str) -> Graph {
        parse(text, &mut Remarks::default()).unwrap_or_else(|error| panic!("{:?}: {}", error.line, error.kind))
    }

    fn error(text: &str) -> (Option<usize>, String) {
        let error = parse(text, &mut Remarks::default()).unwrap_err();
        (error.line, error.kind.to_string())
    }

    #[test]
    fn nodes_and_edges_are_read_with_their_lines() {
        let graph = graph(
            "Creator \"me\"\n# a comment [ \"\ngraph [\n  directed 0\n  label \"net\"\n  node [\n    id 0\n    label \"K&ouml;ln\"\n    Latitude 50.9\n    Longitude 6.9E0 Internal 0\n  ]\n  node [ id 1 graphics [ x 1 fill \"]\" ] label \"two\nlines\" ]\n  edge [ source 0 target 1 LinkSpeedRaw 1e9 ] ]\n",
        );
        assert_eq!((graph.label.as_deref(), graph.directed), (Some("net"), false));
        assert_eq!((graph.nodes[0].line, graph.nodes[1].line, graph.edges[0].line), (6, 12, 14));
        let node = &graph.nodes[0];
        assert_eq!((node.label.as_deref(), node.latitude, node.longitude), (Some("Köln"), Some(50.9), Some(6.9)));
        assert!(node.external && !graph.nodes[1].external);
        assert_eq!(graph.edges[0].speed, Some(1e9));
    }

    #[test]
    fn lines_end_in_any_way() {
        for end in ["\n", "\r\n", "\r"] {
            let text = ["# one", "graph [", "node [", "id 1", "]", "oops oops", "]"].join(end);
            assert_eq!(error(&text).0, Some(6), "{end:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let is = "a number, a text in quotes or `[`";
        for (text, line, said) in [
            ("graph [\n node [\n id 1\n", 4, "the file ends within a list that begins on line 2".to_owned()),
            ("graph [ label \"x\n\n", 1, "the file ends within a text that begins on line 1".into()),
            ("graph [\n ] ]", 2, "this is not GML: expected a key, found `]`".into()),
            ("graph [\n node \n ]", 3, format!("this is not GML: expected {is}, found `]`")),
            ("graph [ node", 1, format!("this is not GML: expected {is}, found the end of the file")),
            ("graph [ id yes ]", 1, format!("this is not GML: expected {is}, found `yes`")),
            ("graph [\n 5 5 ]", 2, "this is not GML: expected a key or `]`, found `5`".into()),
            (
                "\nPK\u{3}\u{4}",
                2,
                "this is not GML: expected a key of letters, digits and underscores, found `PK\\u{3}\\u{4}`".into(),
            ),
        ] {
            assert_eq!(error(text), (Some(line), said));
        }
        assert_eq!(error("Creator \"x\"\n"), (None, "there is no graph in the file".into()));
        assert_eq!(error(""), (None, "there is no graph in the file".into()));
    }

    #[test]
    fn nesting_is_bounded_and_costs_no_stack() {
        let text = format!("graph [\n{}", "x [\n".repeat(1_000_000));
        assert_eq!(error(&text), (Some(65), "nested more than 64 levels deep".into()));
    }

    #[test]
    fn the_number_of_nodes_is_bounded() {
        let text = format!("graph [{}]", "node[]".repeat(100_001));
        assert_eq!(error(&text), (Some(1), "there are more than 100000 nodes".into()));
    }

    #[test]
    fn a_second_graph_is_said() {
        let mut remarks = Remarks::default();
        let text = "graph [ node [ id 1 ] ]\ngraph [ node [ id 2 ] ]\n";
        assert_eq!(parse(text, &mut remarks).unwrap().nodes.len(), 1);
        assert_eq!(remarks.finish().0[0].line, Some(2));
    }
}
