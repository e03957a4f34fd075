//! Reports for people.

use tabled::builder::Builder;
use tabled::settings::object::{Columns, Rows};
use tabled::settings::width::Width;
use tabled::settings::{Alignment, Modify, Padding};

use super::{Counts, Report, units};
use crate::scenario::{Finding, ReceiverReport, ScenarioReport, StepReport, Verdict};

/// Characters of a step's text or figures in one line of a table.
const COLUMN: usize = 62;

/// How text may look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Whether verdicts are coloured.
    pub colour: bool,
}

impl Style {
    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    fn verdict(self, verdict: Verdict) -> String {
        self.paint(colour(verdict), verdict.word())
    }
}

fn colour(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "32",
        Verdict::Failed => "1;31",
        Verdict::Inconclusive | Verdict::Unsupported => "33",
        Verdict::Skipped => "2",
    }
}

/// All of a run.
pub fn terminal(report: &Report, style: Style) -> String {
    let mut text = String::new();
    for one in &report.scenarios {
        text.push_str(&scenario(one, style));
        text.push('\n');
    }
    text.push_str(&closing(report, style));
    text
}

/// One scenario: a row a step, its streams, what held all the time, and why not.
pub fn scenario(report: &ScenarioReport, style: Style) -> String {
    let title = format!("{} › {}", report.lab, report.scenario);
    let mut text = format!(
        "{}  {} in {}  {}\n",
        style.paint("1", &title),
        style.verdict(report.verdict),
        units::span(report.took),
        style.paint("2", &report.file)
    );
    if let Some(trouble) = &report.trouble {
        text.push_str(&indent(trouble, "  "));
    }
    if !report.steps.is_empty() {
        text.push_str(&indent(&steps(&report.steps, style), "  "));
    }
    if !report.streams.is_empty() {
        text.push_str(&indent(&streams(report), "  "));
    }
    if !report.invariants.is_empty() {
        text.push_str(&invariants(report, style));
    }
    for step in report.steps.iter().filter(|s| s.verdict > Verdict::Skipped) {
        text.push_str(&format!("  {} line {}: {}\n", style.verdict(step.verdict), step.line, step.text));
        text.push_str(&findings(&step.findings));
        for moment in &step.timeline {
            text.push_str(&format!("      {:>8}  {}\n", units::span(moment.after), moment.what));
        }
    }
    for one in report.invariants.iter().filter(|i| i.verdict > Verdict::Skipped) {
        text.push_str(&format!("  {} always: {}\n", style.verdict(one.verdict), invariant(one.invariant)));
        text.push_str(&findings(&one.findings));
    }
    for doubt in &report.doubts {
        text.push_str(&format!("  in doubt: {doubt}\n"));
    }
    for kept in &report.logs {
        text.push_str(&format!("  kept: {}\n", kept.display()));
    }
    text
}

/// The last line: how many of what, and how long it took.
pub fn closing(report: &Report, style: Style) -> String {
    let scenarios = report.counts();
    let checks = report.checks();
    let total = scenarios.total();
    let plural = if total == 1 { "" } else { "s" };
    format!(
        "{total} scenario{plural}: {}; {} checks: {}; {}\n",
        counts(&scenarios, style),
        checks.total(),
        counts(&checks, style),
        units::span(report.took)
    )
}

fn counts(counts: &Counts, style: Style) -> String {
    let parts = [
        (counts.passed, Verdict::Passed),
        (counts.failed, Verdict::Failed),
        (counts.inconclusive, Verdict::Inconclusive),
        (counts.unsupported, Verdict::Unsupported),
        (counts.skipped, Verdict::Skipped),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(n, verdict)| *n > 0 || *verdict == Verdict::Passed)
        .map(|(n, verdict)| {
            let text = format!("{n} {}", verdict.word());
            if *n > 0 { style.paint(colour(*verdict), &text) } else { text }
        })
        .collect();
    parts.join(", ")
}

fn steps(steps: &[StepReport], style: Style) -> String {
    let mut builder = Builder::default();
    builder.push_record(["line", "step", "verdict", "took", "figures"]);
    for step in steps {
        // What a step that is no check did is seen by what follows it.
        let verdict = if step.is_check || step.verdict != Verdict::Passed { step.verdict.word() } else { "done" };
        builder.push_record([
            step.line.to_string(),
            step.text.clone(),
            verdict.to_owned(),
            units::span(step.took),
            units::figures(&step.figures),
        ]);
    }
    let mut table = builder.build();
    table
        .with(tabled::settings::Style::empty())
        .with(Padding::new(0, 2, 0, 0))
        .with(Modify::new(Columns::one(0)).with(Alignment::right()))
        .with(Modify::new(Columns::one(3)).with(Alignment::right()))
        .with(Modify::new(Columns::one(1)).with(Width::wrap(COLUMN).keep_words(true)))
        .with(Modify::new(Columns::one(4)).with(Width::wrap(COLUMN).keep_words(true)))
        .with(Modify::new(Rows::first()).with(Alignment::left()));
    let lines = trimmed(&table.to_string());
    if !style.colour {
        return lines;
    }
    // Colours after the layout, so that they cannot disturb it.
    let mut rows = lines.lines();
    let mut out = vec![style.paint("2", rows.next().unwrap_or_default())];
    for row in rows {
        let word = [Verdict::Failed, Verdict::Inconclusive, Verdict::Unsupported, Verdict::Passed]
            .into_iter()
            .find(|v| row.contains(&format!(" {} ", v.word())));
        out.push(match word {
            Some(verdict) => {
                row.replacen(&format!(" {} ", verdict.word()), &format!(" {} ", style.verdict(verdict)), 1)
            }
            None => row.to_owned(),
        });
    }
    out.join("\n")
}

fn streams(report: &ScenarioReport) -> String {
    let mut builder = Builder::default();
    builder.push_record([
        "stream",
        "at",
        "sent",
        "received",
        "lost",
        "dup",
        "reordered",
        "p50",
        "p99",
        "jitter",
        "TTL",
        "join",
        "leave",
    ]);
    for stream in &report.streams {
        if stream.receivers.is_empty() {
            let mut row = vec![stream.name.clone(), "nobody".to_owned(), units::number(stream.sent)];
            row.resize(13, String::new());
            builder.push_record(row);
        }
        for receiver in &stream.receivers {
            builder.push_record(row(&stream.name, stream.sent, receiver));
        }
    }
    let mut table = builder.build();
    table
        .with(tabled::settings::Style::empty())
        .with(Padding::new(0, 2, 0, 0))
        .with(Modify::new(Columns::new(2..)).with(Alignment::right()));
    trimmed(&table.to_string())
}

fn row(stream: &str, sent: u64, receiver: &ReceiverReport) -> Vec<String> {
    let figures = &receiver.figures;
    let span = |time: Option<std::time::Duration>| time.map_or_else(|| "–".to_owned(), units::span);
    let ttls: Vec<String> = figures.ttls.keys().map(u8::to_string).collect();
    vec![
        stream.to_owned(),
        receiver.host.clone(),
        units::number(sent),
        units::number(figures.received),
        units::number(figures.lost),
        units::number(figures.duplicated),
        units::number(figures.reordered),
        span(figures.latency.map(|l| l.p50)),
        span(figures.latency.map(|l| l.p99)),
        span(figures.jitter),
        if ttls.is_empty() { "–".to_owned() } else { ttls.join(" ") },
        span(receiver.join_latency),
        span(receiver.leave_latency),
    ]
}

fn invariants(report: &ScenarioReport, style: Style) -> String {
    let all: Vec<String> = report
        .invariants
        .iter()
        .map(|i| match i.verdict {
            Verdict::Passed => format!("{} held", invariant(i.invariant)),
            Verdict::Skipped => format!("{} off", invariant(i.invariant)),
            other => format!("{} {}", invariant(i.invariant), style.verdict(other)),
        })
        .collect();
    let examined = report.invariants.iter().map(|i| i.examined).max().unwrap_or(0);
    format!("  always: {} ({} frames and packets)\n", all.join(", "), units::number(examined))
}

/// An invariant as the file names it.
pub(super) fn invariant(invariant: crate::topology::steps::Invariant) -> &'static str {
    use crate::topology::steps::Invariant;
    match invariant {
        Invariant::NoDuplicates => "no-duplicates",
        Invariant::NoStrayData => "no-stray-data",
        Invariant::TtlFalls => "ttl-falls",
        Invariant::OnlyMembers => "only-members",
        Invariant::WellFormed => "well-formed",
        Invariant::BoundedState => "bounded-state",
    }
}

fn findings(findings: &[Finding]) -> String {
    findings.iter().map(|finding| format!("      {}\n", finding.text)).collect()
}

fn trimmed(text: &str) -> String {
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

fn indent(text: &str, by: &str) -> String {
    text.lines().map(|line| format!("{by}{line}\n")).collect()
}
