//! The comparison as people read it: a table in Markdown, on a terminal as in a file.

use std::fmt::Write as _;

use serde::Serialize;
use tabled::builder::Builder;
use tabled::settings::object::Columns;
use tabled::settings::{Alignment, Style};

use super::figure::{Column, Figure, Verdict, judge};

/// Where and how it was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Conditions {
    /// The command that gives it.
    pub command: String,
    /// The machine: kernel, processors, how busy it was.
    pub machine: String,
    /// How often each figure was measured.
    pub rounds: usize,
    /// How long others' control messages were counted, in seconds.
    pub watch_secs: f64,
    /// Daemons that are not in the table, and why.
    pub absent: Vec<String>,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Where and how.
    pub conditions: Conditions,
    /// A daemon each, in the table's order.
    pub columns: Vec<Column>,
}

impl Report {
    fn column(&self, daemon: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.daemon == daemon)
    }

    /// What came of a figure's target; none if it has none.
    pub fn verdict(&self, figure: Figure) -> Option<Verdict> {
        judge(figure, self.column("router-core"), self.column("frr"))
    }

    /// Whether a target was missed, or a figure of router-core could not be had.
    pub fn is_missed(&self) -> bool {
        Figure::ALL.into_iter().any(|figure| self.verdict(figure) == Some(Verdict::Missed))
            || self.column("router-core").is_some_and(|column| !column.failed.is_empty())
    }

    /// Whether a target could not be judged although both daemons were measured.
    pub fn is_unjudged(&self) -> bool {
        self.column("router-core").is_some()
            && self.column("frr").is_some()
            && Figure::ALL.into_iter().any(|figure| self.verdict(figure) == Some(Verdict::Unjudged))
    }

    /// The table, the versions, and what went wrong.
    pub fn render(&self) -> String {
        let mut builder = Builder::default();
        let names = self.columns.iter().map(|column| column.daemon.clone());
        builder.push_record([String::new()].into_iter().chain(names).chain(["asked".to_owned(), String::new()]));
        for figure in Figure::ALL {
            let cells = self.columns.iter().map(|column| cell(column, figure));
            let target = figure.target().map_or("", |(_, words)| words).to_owned();
            let verdict = match self.verdict(figure) {
                Some(Verdict::Met) => "met",
                Some(Verdict::Missed) => "MISSED",
                Some(Verdict::Unjudged) => "not judged",
                None => "",
            };
            builder
                .push_record([figure.name().to_owned()].into_iter().chain(cells).chain([target, verdict.to_owned()]));
        }
        let mut table = builder.build();
        table.with(Style::markdown()).modify(Columns::new(1..=self.columns.len()), Alignment::right());
        let mut text = format!("{table}\n\n");
        for column in &self.columns {
            let _ = writeln!(text, "- {}: {}", column.daemon, column.version);
        }
        for absent in &self.conditions.absent {
            let _ = writeln!(text, "- {absent}");
        }
        let Conditions { machine, rounds, watch_secs, .. } = &self.conditions;
        let _ = writeln!(
            text,
            "- {machine}; medians of {rounds} rounds (least – most); control messages of router-core counted in an hour of the simulator, \
             of others in {watch_secs} s on the kernel and scaled"
        );
        for column in &self.columns {
            for (figure, why) in &column.failed {
                let _ = writeln!(text, "- {}, {}: {why}", column.daemon, figure.name());
            }
            let mut doubts = column.doubts.clone();
            doubts.dedup();
            for doubt in doubts {
                let _ = writeln!(text, "- doubt, {}: {doubt}", column.daemon);
            }
        }
        text
    }

    /// A page with the table, what its rows mean, and how to get it again.
    pub fn page(&self) -> String {
        format!("{HEAD}\n## A run\n\n`{}`\n\n{}", self.conditions.command, self.render())
    }
}

fn cell(column: &Column, figure: Figure) -> String {
    let unit = figure.unit();
    match (column.failed.contains_key(&figure), column.median(figure), column.samples.get(&figure)) {
        (true, ..) => "failed".to_owned(),
        (false, Some(median), Some(samples)) if samples.len() > 1 => {
            let least = samples.iter().copied().fold(f64::INFINITY, f64::min);
            let most = samples.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            format!("{} ({} – {})", unit.write(median), unit.write(least), unit.write(most))
        }
        (false, Some(median), _) => unit.write(median),
        _ => String::new(),
    }
}

/// What stands above the run.
const HEAD: &str = include_str!("page.md");

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut ours =
            Column { daemon: "router-core".into(), version: "router-core 0.1.0".into(), ..Column::default() };
        let mut theirs = Column { daemon: "frr".into(), version: "zebra version 8.4.4".into(), ..Column::default() };
        for (number, other) in [(200.0, 8000.0), (210.0, 9000.0), (190.0, 7000.0)] {
            ours.add([(Figure::ColdStart, Ok(number))].into());
            theirs.add([(Figure::ColdStart, Ok(other))].into());
        }
        ours.add([(Figure::Join, Ok(2.0)), (Figure::Messages, Ok(1500.0))].into());
        theirs.add([(Figure::Join, Ok(1.0)), (Figure::Leave, Err("packets still came".into()))].into());
        let absent = vec!["pimd is not installed".to_owned()];
        Report { conditions: Conditions { rounds: 3, absent, ..Conditions::default() }, columns: vec![ours, theirs] }
    }

    #[test]
    fn a_table_has_every_row_and_names_what_failed() {
        let report = report();
        let text = report.render();
        for figure in Figure::ALL {
            assert!(text.contains(&format!("| {} ", figure.name())), "{figure:?}");
        }
        let row = |name: &str| text.lines().find(|line| line.contains(name)).unwrap().to_owned();
        assert!(row("cold start").contains("200 ms (190 ms – 210 ms)") && row("cold start").contains("met"), "{text}");
        assert!(row("join latency").contains("MISSED"), "{text}");
        assert!(row("memory").contains("not judged"), "{text}");
        assert!(row("| leave").contains("failed"), "{text}");
        assert!(
            text.contains("- frr, leave latency: packets still came\n") && text.contains("- pimd is not installed\n")
        );
        assert!(report.is_missed() && report.is_unjudged());
    }

    #[test]
    fn nothing_is_missed_or_left_unjudged_without_the_other() {
        let mut report = report();
        report.columns.pop();
        assert!(!report.is_missed() && !report.is_unjudged());
        report.columns[0].add([(Figure::Memory, Err("gone".into()))].into());
        assert!(report.is_missed());
    }
}
