//! A report as people read it.

use tabled::builder::Builder;
use tabled::settings::object::Columns;
use tabled::settings::{Alignment, Style};

use super::figures::{Report, Series, Target, Verdict};

/// The report as a table.
pub fn render(report: &Report) -> String {
    let mut builder = Builder::default();
    builder.push_record(["", "median", "p95", "least – most", "n", "beside", "target", ""]);
    let mut experiment = None;
    for series in &report.series {
        if experiment != Some(&series.experiment) {
            experiment = Some(&series.experiment);
            builder.push_record([series.experiment.as_str()]);
        }
        builder.push_record(record(report, series));
    }
    let mut table = builder.build();
    table.with(Style::blank()).modify(Columns::new(1..=4), Alignment::right());
    let text = table.to_string();
    let mut lines: Vec<String> = text.lines().map(|line| line.trim_end().to_owned()).collect();
    for series in &report.series {
        lines.extend(series.doubts.iter().map(|doubt| format!("doubt: {}: {doubt}", series.name.trim())));
    }
    lines.join("\n")
}

fn record(report: &Report, series: &Series) -> [String; 8] {
    let write = |number: Option<f64>| number.map_or_else(String::new, |number| series.unit.write(number));
    let beside = match (report.ratio(series), &series.beside) {
        (Some(ratio), Some(of)) if ratio < 0.01 => format!("{ratio:.1e} × {of}"),
        (Some(ratio), Some(of)) => format!("{ratio:.2} × {of}"),
        _ => String::new(),
    };
    let spread = match (series.quantile(0.0), series.quantile(1.0)) {
        (Some(least), Some(most)) => format!("{} – {}", series.unit.write(least), series.unit.write(most)),
        _ => String::new(),
    };
    let target = match &series.target {
        Some(Target::AtMost(bound)) => format!("≤ {}", series.unit.write(*bound)),
        Some(Target::AtLeast(bound)) => format!("≥ {}", series.unit.write(*bound)),
        Some(Target::Below(bound)) => format!("< {}", series.unit.write(*bound)),
        Some(Target::AtMostTimes(times, _)) => format!("≤ {times} ×"),
        Some(Target::AtLeastTimes(times, _)) => format!("≥ {times} ×"),
        None => String::new(),
    };
    let verdict = match (&series.why_not, report.verdict(series)) {
        (Some(why), _) => why.to_string(),
        (None, Some(Verdict::Met)) => "met".to_owned(),
        (None, Some(Verdict::Missed)) => "MISSED".to_owned(),
        (None, Some(Verdict::Unjudged)) => "not judged".to_owned(),
        (None, None) => String::new(),
    };
    [
        format!("  {}", series.name),
        write(series.median()),
        if series.samples.len() >= 20 { write(series.quantile(0.95)) } else { String::new() },
        spread,
        series.samples.len().to_string(),
        beside,
        target,
        verdict,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{NoFigure, Unit};

    #[test]
    fn a_table_says_what_was_met_missed_and_skipped() {
        let mut floor = Series::new("chain of 100", "floor", Unit::Milliseconds);
        floor.samples = vec![60.0, 61.0, 65.5];
        let mut ours =
            Series::new("chain of 100", "testbed", Unit::Milliseconds).target(Target::AtMostTimes(1.5, "floor".into()));
        ours.samples = vec![120.0, 122.0, 121.0];
        let mut other = Series::new("chain of 100", "Mininet", Unit::Milliseconds).beside("floor");
        other.why_not = Some(NoFigure::Missing("Mininet is not installed".into()));
        other.doubts.push("a clock was set".into());
        let text = render(&Report { series: vec![floor, ours, other] });
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].contains("chain of 100"));
        assert!(lines[2].contains("61.0 ms") && lines[2].contains("60.0 ms – 65.5 ms"), "{text}");
        assert!(lines[3].contains("1.98 × floor") && lines[3].ends_with("MISSED"), "{text}");
        assert!(lines[4].ends_with("skipped: Mininet is not installed"), "{text}");
        assert_eq!(lines[5], "doubt: Mininet: a clock was set");
    }
}
