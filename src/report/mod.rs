//! Verdicts as terminal tables, JSON, JUnit.
//!
//! - [`terminal`]: for people, without colours where nobody would see them;
//! - [`json`]: for machines, described in `docs/report.md`;
//! - [`junit`]: for continuous integration.
#![forbid(unsafe_code)]

mod json;
mod junit;
mod terminal;
mod units;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use json::{SCHEMA, json};
pub use junit::junit;
pub use terminal::{Style, closing, scenario, terminal};

use crate::scenario::{ScenarioReport, Verdict};

/// What all scenarios of a run gave, in the order of their files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// One a scenario.
    pub scenarios: Vec<ScenarioReport>,
    /// From the start of the first to the end of the last.
    pub took: Duration,
}

/// How many of them ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// All held.
    pub passed: usize,
    /// Something did not hold.
    pub failed: usize,
    /// It could not be judged.
    pub inconclusive: usize,
    /// It could not be run here.
    pub unsupported: usize,
    /// Not come to.
    pub skipped: usize,
}

impl Report {
    /// The worst of all verdicts; that of nothing at all is passed.
    pub fn verdict(&self) -> Verdict {
        self.scenarios.iter().map(|s| s.verdict).max().unwrap_or_default()
    }

    /// How many scenarios ended how.
    pub fn counts(&self) -> Counts {
        Counts::of(self.scenarios.iter().map(|s| s.verdict))
    }

    /// How many checks (expectations and invariants) ended how.
    pub fn checks(&self) -> Counts {
        let steps = |s: &ScenarioReport| {
            s.steps.iter().filter(|step| step.is_check).map(|step| step.verdict).collect::<Vec<_>>()
        };
        let always = |s: &ScenarioReport| s.invariants.iter().map(|i| i.verdict).collect::<Vec<_>>();
        Counts::of(self.scenarios.iter().flat_map(|s| steps(s).into_iter().chain(always(s))))
    }
}

impl Counts {
    fn of(verdicts: impl Iterator<Item = Verdict>) -> Counts {
        let mut counts = Counts::default();
        for verdict in verdicts {
            match verdict {
                Verdict::Passed => counts.passed += 1,
                Verdict::Failed => counts.failed += 1,
                Verdict::Inconclusive => counts.inconclusive += 1,
                Verdict::Unsupported => counts.unsupported += 1,
                Verdict::Skipped => counts.skipped += 1,
            }
        }
        counts
    }

    /// All of them.
    pub fn total(&self) -> usize {
        self.passed + self.failed + self.inconclusive + self.unsupported + self.skipped
    }
}
