//! The expectations, each judged by what the network showed.

mod ask;
pub mod command;
pub mod delivery;
pub mod latency;
pub mod neighbours;
pub mod roles;
pub mod scope;
pub mod state;
pub mod timeline;
pub mod wire;

use super::outcome::{Figure, Finding, Moment, Verdict};
use crate::network::NetworkError;

/// What a check gave.
#[derive(Debug, Default)]
pub struct Judgement {
    /// How it ended.
    pub verdict: Verdict,
    /// What was measured.
    pub figures: Vec<Figure>,
    /// What was wrong.
    pub findings: Vec<Finding>,
    /// What happened when.
    pub timeline: Vec<Moment>,
    /// Whether a failure is certain though packets may have been lost in measuring: something was there that should not have been.
    pub certain: bool,
}

impl Judgement {
    /// It failed for a reason.
    pub fn failed(text: impl Into<String>) -> Judgement {
        Judgement { verdict: Verdict::Failed, findings: vec![Finding::text(text)], ..Judgement::default() }
    }

    /// It could not be done.
    pub fn from_error(error: &NetworkError) -> Judgement {
        let verdict = match error {
            NetworkError::Unsupported { .. } => Verdict::Unsupported,
            NetworkError::Failed { .. } => Verdict::Failed,
            NetworkError::Gone(_) => Verdict::Inconclusive,
        };
        Judgement { verdict, findings: vec![Finding::text(error.to_string())], ..Judgement::default() }
    }

    /// Adds a finding and fails.
    pub fn fail(&mut self, finding: Finding) {
        self.verdict = Verdict::Failed;
        self.findings.push(finding);
    }

    /// Adds a finding and fails, whatever the measuring side lost.
    pub fn fail_for_certain(&mut self, finding: Finding) {
        self.certain = true;
        self.fail(finding);
    }
}
