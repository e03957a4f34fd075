//! All faults of a file, and how they are shown.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};

use super::fault::Fault;
use super::tree::Span;

/// How many faults are shown; the rest is counted.
const SHOWN: usize = 100;
/// Characters of a source line that are shown.
const LINE_SHOWN: usize = 160;

/// Everything that is wrong with a file, in the order of its lines. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    /// The file's name, as messages give it.
    pub file: String,
    /// Its text; empty if it could not be read.
    pub source: String,
    /// The faults.
    pub list: Vec<Fault>,
}

impl std::error::Error for Faults {}

/// The plain form, see [`Faults::plain`].
impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.plain().trim_end())
    }
}

/// Line and column of an octet, both from 1; the column counts characters.
pub fn position(source: &str, offset: usize) -> (usize, usize) {
    let before = source.get(..offset.min(source.len())).unwrap_or(source);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

impl Faults {
    pub(super) fn new(file: &str, source: &str, mut list: Vec<Fault>) -> Faults {
        list.sort_by_key(|fault| fault.span.start);
        // A fault may be found by two roads (a default that several nodes take over).
        let mut seen: Vec<Fault> = Vec::new();
        list.retain(|fault| {
            let new = !seen.iter().rev().take_while(|s| s.span.start == fault.span.start).any(|s| s == fault);
            if new {
                seen.push(fault.clone());
            }
            new
        });
        Faults { file: file.to_owned(), source: source.to_owned(), list }
    }

    /// For a person: with colours and frames on a terminal, else [`Faults::plain`].
    pub fn render(&self, terminal: bool) -> String {
        if terminal { self.graphical() } else { self.plain() }
    }

    /// `file:line:column: what is wrong`, then the line with the word marked and what would be right.
    pub fn plain(&self) -> String {
        let mut out = String::new();
        for fault in self.list.iter().take(SHOWN) {
            self.plain_fault(fault, &mut out);
        }
        if let Some(more) = self.list.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            let _ = writeln!(out, "{}: and {more} more", self.file);
        }
        out
    }

    fn plain_fault(&self, fault: &Fault, out: &mut String) {
        if fault.is_of_file() {
            let _ = writeln!(out, "{}: {}", self.file, fault.kind);
            if let Some(help) = fault.help() {
                let _ = writeln!(out, "  help: {help}");
            }
            return;
        }
        let (line, column) = position(&self.source, fault.span.start);
        let _ = writeln!(out, "{}:{line}:{column}: {}", self.file, fault.kind);
        self.plain_line(&fault.span, None, out);
        if let Some((span, why)) = &fault.related {
            self.plain_line(span, Some(why), out);
        }
        if let Some(help) = fault.help() {
            let _ = writeln!(out, "  help: {help}");
        }
    }

    fn plain_line(&self, span: &Span, why: Option<&str>, out: &mut String) {
        let (line, column) = position(&self.source, span.start);
        let Some(text) = self.source.split('\n').nth(line - 1) else { return };
        let text = text.trim_end_matches('\r');
        // Tabs and control characters would move the marks away from the word.
        let shown: Vec<char> = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let from = (column - 1).saturating_sub(LINE_SHOWN / 2);
        let from = if shown.len() <= LINE_SHOWN { 0 } else { from };
        let part: String = shown.iter().skip(from).take(LINE_SHOWN).collect();
        let marked = self.source.get(span.clone()).unwrap_or("").split('\n').next().unwrap_or("").chars().count();
        let room = LINE_SHOWN.saturating_sub(column - 1 - from).max(1);
        let marks = "^".repeat(marked.clamp(1, room));
        let gap = " ".repeat(column - 1 - from);
        let why = why.map(|why| format!(" {why}")).unwrap_or_default();
        let _ = writeln!(out, "  {line:>4} | {part}");
        let _ = writeln!(out, "       | {gap}{marks}{why}");
    }

    fn graphical(&self) -> String {
        let source = Arc::new(NamedSource::new(&self.file, self.source.clone()));
        let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode());
        let mut out = String::new();
        for fault in self.list.iter().take(SHOWN) {
            let shown = Shown { fault, file: &self.file, source: Arc::clone(&source) };
            if handler.render_report(&mut out, &shown).is_err() {
                self.plain_fault(fault, &mut out);
            }
        }
        if let Some(more) = self.list.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            let _ = writeln!(out, "{}: and {more} more", self.file);
        }
        out
    }
}

/// A fault as miette sees it.
#[derive(Debug)]
struct Shown<'a> {
    fault: &'a Fault,
    file: &'a str,
    source: Arc<NamedSource<String>>,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.fault.is_of_file() { write!(f, "{}: {}", self.file, self.fault.kind) } else { self.fault.kind.fmt(f) }
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.fault.help().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        (!self.fault.is_of_file()).then_some(&*self.source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        if self.fault.is_of_file() {
            return None;
        }
        let mut labels = vec![LabeledSpan::new_primary_with_span(Some("here".into()), self.fault.span.clone())];
        if let Some((span, why)) = &self.fault.related {
            labels.push(LabeledSpan::new_with_span(Some(why.clone()), span.clone()));
        }
        Some(Box::new(labels.into_iter()))
    }
}
