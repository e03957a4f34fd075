//! GraphML (<http://graphml.graphdrawing.org/specification.html>): nodes and edges as XML elements, their attributes in
//! `data` elements whose keys are declared by `key` elements.
//!
//! Read in one pass without recursion. Entities that a document declares itself are not followed.

use std::collections::HashMap;

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

use super::fault::{ImportError, ImportErrorKind, RemarkKind, Remarks};
use super::graph::{Edge, Graph, Node, TooMany};
use super::text;

/// Elements within elements.
const DEPTH_LIMIT: usize = 64;
/// Octets of an attribute's name; a longer one means nothing here.
const NAME_LIMIT: usize = 64;

type Result<T> = std::result::Result<T, ImportError>;

/// An element that is open.
enum Open {
    /// The graph that is read.
    Graph,
    Node(Node),
    Edge(Edge),
    /// `data`: the attribute's name, and its text so far.
    Data(String, String),
    /// A node's label as yEd has it, and its text so far.
    Label(String),
    /// One that means nothing here.
    Other,
    /// One in which nothing is read.
    Skipped,
}

struct Document<'a> {
    graph: Option<Graph>,
    /// Names of attributes by their keys.
    keys: HashMap<String, String>,
    open: Vec<(Open, usize)>,
    remarks: &'a mut Remarks,
}

/// Reads the first graph of a text.
pub(super) fn parse(text: &str, remarks: &mut Remarks) -> Result<Graph> {
    let mut reader = Reader::from_str(text);
    let mut document = Document { graph: None, keys: HashMap::new(), open: Vec::new(), remarks };
    let (mut line, mut counted) = (1, 0);
    loop {
        // Where the event begins.
        let start = usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX).min(text.len());
        line += text.as_bytes()[counted..start].iter().filter(|octet| **octet == b'\n').count();
        counted = start;
        let event = reader.read_event().map_err(|error| {
            let at = usize::try_from(reader.error_position()).unwrap_or(usize::MAX).min(text.len());
            let line =
                line + text.as_bytes().get(start..at).unwrap_or_default().iter().filter(|o| **o == b'\n').count();
            ImportError { line: Some(line), kind: ImportErrorKind::Xml { message: error.to_string() } }
        })?;
        match event {
            Event::Start(element) => document.start(&element, line)?,
            Event::Empty(element) => {
                document.start(&element, line)?;
                document.end()?;
            }
            Event::End(_) => document.end()?,
            Event::Text(text) => document.text(&String::from_utf8_lossy(&text)),
            Event::CData(text) => document.text(&String::from_utf8_lossy(&text)),
            Event::GeneralRef(name) => {
                let name = String::from_utf8_lossy(&name);
                let meant = text::entity(&name).map_or_else(|| format!("&{name};"), String::from);
                document.text(&meant);
            }
            Event::Eof => break,
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
    }
    if let Some((_, from)) = document.open.last() {
        let kind = ImportErrorKind::Unclosed { what: "an element", from: *from };
        return Err(ImportError { line: Some(line), kind });
    }
    document.graph.ok_or(ImportError { line: None, kind: ImportErrorKind::NoGraph })
}

/// An attribute of an element.
fn attribute(element: &BytesStart<'_>, name: &str) -> Option<String> {
    // Attributes that stand there twice are compared with each other unless that is switched off: the first one counts.
    let mut attributes = element.attributes();
    let found = attributes.with_checks(false).flatten().find(|attribute| attribute.key.as_ref() == name.as_bytes())?;
    match found.normalized_value(XmlVersion::Implicit1_0) {
        Ok(value) => Some(value.into_owned()),
        // An entity that nobody knows: as it stands there.
        Err(_) => Some(String::from_utf8_lossy(&found.value).into_owned()),
    }
}

impl Document<'_> {
    fn start(&mut self, element: &BytesStart<'_>, line: usize) -> Result<()> {
        if self.open.len() >= DEPTH_LIMIT {
            return Err(ImportError { line: Some(line), kind: ImportErrorKind::TooDeep { limit: DEPTH_LIMIT } });
        }
        let open = self.opened(element, line);
        self.open.push((open, line));
        Ok(())
    }

    fn opened(&mut self, element: &BytesStart<'_>, line: usize) -> Open {
        let inside = self.open.last().map(|(open, _)| open);
        if matches!(inside, Some(Open::Skipped)) {
            return Open::Skipped;
        }
        let in_node = || self.open.iter().any(|(open, _)| matches!(open, Open::Node(_)));
        let given = |name| attribute(element, name);
        match (element.local_name().as_ref(), inside) {
            (b"key", _) => {
                if let (Some(id), Some(name)) =
                    (given("id"), given("attr.name").filter(|name| name.len() <= NAME_LIMIT))
                {
                    self.keys.entry(id).or_insert(name);
                }
                Open::Skipped
            }
            (b"graph", _) if self.graph.is_some() => {
                let kind = if in_node() { RemarkKind::InnerGraph } else { RemarkKind::SecondGraph };
                self.remarks.at(line, kind);
                Open::Skipped
            }
            (b"graph", _) => {
                let directed = given("edgedefault").is_some_and(|edges| edges == "directed");
                self.graph = Some(Graph { directed, ..Graph::default() });
                Open::Graph
            }
            (b"node", Some(Open::Graph)) => Open::Node(Node { line, id: given("id"), ..Node::default() }),
            (b"edge", Some(Open::Graph)) => Open::Edge(Edge {
                line,
                source: given("source"),
                target: given("target"),
                directed: given("directed").and_then(|directed| directed.parse().ok()),
                ..Edge::default()
            }),
            (b"hyperedge", Some(Open::Graph)) => {
                self.remarks.at(line, RemarkKind::Hyperedge);
                Open::Skipped
            }
            (b"data", Some(Open::Graph | Open::Node(_) | Open::Edge(_))) => {
                let key = given("key").unwrap_or_default();
                Open::Data(self.keys.get(&key).cloned().unwrap_or(key), String::new())
            }
            (b"NodeLabel", _) if in_node() => Open::Label(String::new()),
            _ => Open::Other,
        }
    }

    fn text(&mut self, more: &str) {
        if let Some((Open::Data(_, text) | Open::Label(text), _)) = self.open.last_mut() {
            *text += more;
        }
    }

    fn end(&mut self) -> Result<()> {
        let Some((done, line)) = self.open.pop() else { return Ok(()) };
        let too_many =
            |TooMany { what, limit }| ImportError { line: Some(line), kind: ImportErrorKind::TooMany { what, limit } };
        // Nodes and edges are read in a graph only.
        let Some(graph) = &mut self.graph else { return Ok(()) };
        match done {
            Open::Node(node) => graph.add_node(node).map_err(too_many),
            Open::Edge(edge) => graph.add_edge(edge).map_err(too_many),
            Open::Data(name, value) => {
                match self.open.last_mut() {
                    Some((Open::Node(node), _)) => node.attribute(&name, &value),
                    Some((Open::Edge(edge), _)) => edge.attribute(&name, &value),
                    _ => graph.attribute(&name, &value),
                }
                Ok(())
            }
            Open::Label(label) => {
                let node = self.open.iter_mut().rev().find_map(|(open, _)| match open {
                    Open::Node(node) => Some(node),
                    _ => None,
                });
                if let Some(node) = node {
                    node.attribute("label", &label);
                }
                Ok(())
            }
            Open::Graph | Open::Other | Open::Skipped => Ok(()),
        }
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
    fn attributes_go_by_the_names_of_their_keys() {
        let graph = graph(
            r#"<?xml version="1.0" encoding="utf-8"?>
<!-- a comment -->
<graphml xmlns="http://graphml.graphdrawing.org/xmlns">
  <key attr.name="label" attr.type="string" for="node" id="d1" />
  <key attr.name="Latitude" for="node" id="d2"><default>1</default></key>
  <key attr.name="LinkSpeedRaw" for="edge" id="d3"/>
  <key attr.name="Network" for="graph" id="d4"/>
  <graph edgedefault="undirected">
    <data key="d4">A &amp; B</data>
    <node id="0"><data key="d1">Z&#252;rich <![CDATA[<1>]]></data><data key="d2">47.4</data></node>
    <node id="a&quot;b"/>
    <edge source="0" target="a&quot;b" directed="true"><data key="d3">1e9</data></edge>
  </graph>
</graphml>"#,
        );
        assert_eq!((graph.network.as_deref(), graph.directed), (Some("A & B"), false));
        assert_eq!(graph.nodes[0].label.as_deref(), Some("Zürich <1>"));
        assert_eq!((graph.nodes[0].latitude, graph.nodes[0].line), (Some(47.4), 10));
        assert_eq!(graph.nodes[1].id.as_deref(), Some("a\"b"));
        let edge = &graph.edges[0];
        assert_eq!((edge.target.as_deref(), edge.speed, edge.directed), (Some("a\"b"), Some(1e9), Some(true)));
    }

    #[test]
    fn yed_keeps_labels_elsewhere() {
        let graph = graph(
            "<graphml xmlns:y='u'><graph edgedefault='directed'><node id='n0'><data key='d6'><y:ShapeNode><y:Fill color='#f'/>\
             <y:NodeLabel x='1'>Berlin<y:LabelModel/></y:NodeLabel></y:ShapeNode></data></node></graph></graphml>",
        );
        assert_eq!((graph.directed, graph.nodes[0].label.as_deref()), (true, Some("Berlin")));
    }

    #[test]
    fn inner_graphs_second_graphs_and_hyperedges_are_said() {
        let mut remarks = Remarks::default();
        let text = "<graphml><graph>\n<node id='1'><graph><node id='2'/></graph></node>\n<hyperedge><endpoint node='1'/></hyperedge></graph>\n<graph><node id='3'/></graph></graphml>";
        let graph = parse(text, &mut remarks).unwrap();
        assert_eq!(graph.nodes.len(), 1);
        let lines: Vec<_> = remarks.finish().0.into_iter().map(|remark| (remark.line, remark.kind)).collect();
        assert_eq!(
            lines,
            [(Some(2), RemarkKind::InnerGraph), (Some(3), RemarkKind::Hyperedge), (Some(4), RemarkKind::SecondGraph)]
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        assert_eq!(error("<graphml>\n<graph>\n").1, "the file ends within an element that begins on line 2");
        let (line, said) = error("<graphml>\n\n<graph></graphml>");
        assert!(line == Some(3) && said.starts_with("this is not XML: "), "{line:?} {said}");
        assert_eq!(error("<graphml/>"), (None, "there is no graph in the file".into()));
        let (line, _) = error("<graphml>\n<graph\n");
        assert!(line.is_some());
    }

    #[test]
    fn nesting_is_bounded_and_entities_of_the_documents_own_are_not_followed() {
        let text = format!("<graphml><graph>\n{}", "<x>\n".repeat(100_000));
        assert_eq!(error(&text), (Some(64), "nested more than 64 levels deep".into()));
        let graph = graph(
            "<!DOCTYPE g [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;'>]><graphml><graph><data key='label'>&b;</data><node id='&b;'/></graph></graphml>",
        );
        assert_eq!((graph.label.as_deref(), graph.nodes[0].id.as_deref()), (Some("&b;"), Some("&b;")));
    }
}
