//! Reports for machines: see `docs/report.md`.

use serde::Serialize;

use super::{Counts, Report};
use crate::scenario::{ScenarioReport, Verdict};

/// Version of the format: raised when a reader of the old one would misread the new one.
pub const SCHEMA: u32 = 1;

#[derive(Serialize)]
struct Whole<'a> {
    schema: u32,
    verdict: Verdict,
    took_ns: u64,
    counts: Counts,
    checks: Counts,
    scenarios: &'a [ScenarioReport],
}

/// A run as one JSON value, with a line break at its end.
///
/// # Errors
/// None that a report can cause: every key is a text and every number finite.
pub fn json(report: &Report) -> serde_json::Result<String> {
    let whole = Whole {
        schema: SCHEMA,
        verdict: report.verdict(),
        took_ns: u64::try_from(report.took.as_nanos()).unwrap_or(u64::MAX),
        counts: report.counts(),
        checks: report.checks(),
        scenarios: &report.scenarios,
    };
    let mut text = serde_json::to_string_pretty(&whole)?;
    text.push('\n');
    Ok(text)
}
