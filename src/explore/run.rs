//! One run: a drawn scenario in virtual time, and what it found.

use std::time::Duration;

use router_core::coverage::Coverage;

use crate::network::simulated::SimulatedNetwork;
use crate::scenario::{self, ScenarioReport, Verdict};
use crate::topology::plan::Plan;
use crate::topology::steps::Invariant;

/// What is added to a protocol's own deadline: a kernel's ticks, a stream's interval, an agent's turn.
const SLACK: Duration = Duration::from_millis(200);
/// How long packets may be under way beside the wires' own delays.
const DRAIN: Duration = Duration::from_millis(20);

/// How scenarios are run in virtual time: no machine is slow, and no packet on its way for long.
pub fn options() -> scenario::Options {
    scenario::Options { slack: SLACK, late: Duration::ZERO, drain: DRAIN, ..scenario::Options::default() }
}

/// Something that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// What kind of check found it: violations of one kind have one cause until shown otherwise.
    pub kind: Kind,
    /// What it said.
    pub text: String,
}

/// What found a violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// An expectation, by its word.
    Expectation(&'static str),
    /// An invariant.
    Invariant(Invariant),
    /// A step that could not be done.
    Step,
}

impl Kind {
    /// Its name.
    pub fn name(self) -> String {
        match self {
            Kind::Expectation(word) => word.to_owned(),
            Kind::Invariant(invariant) => {
                serde_json::to_value(invariant).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
            }
            Kind::Step => "step".to_owned(),
        }
    }
}

/// What a run gave.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What its machines went through.
    pub coverage: Coverage,
    /// What did not hold.
    pub violations: Vec<Violation>,
    /// The report.
    pub report: ScenarioReport,
}

/// Runs the plan's one scenario.
pub fn run(plan: &Plan) -> Option<Outcome> {
    let scenario = plan.scenarios.first()?;
    let mut network = SimulatedNetwork::new(plan);
    let report = scenario::run(plan, scenario, &mut network, &options());
    let violations = violations(plan, &report);
    Some(Outcome { coverage: network.coverage(), violations, report })
}

/// What of a report is a violation: a `drop` that nothing came for is none here, for nobody knew whether something would.
fn violations(plan: &Plan, report: &ScenarioReport) -> Vec<Violation> {
    use crate::topology::steps::{Action, Expectation};
    let mut violations = Vec::new();
    let actions = plan.scenarios.first().map(|s| s.steps.as_slice()).unwrap_or_default();
    for (step, of) in report.steps.iter().zip(actions) {
        if matches!(step.verdict, Verdict::Passed | Verdict::Skipped) {
            continue;
        }
        let kind = match &of.action {
            Action::Drop(_) => continue,
            Action::Expect(expectation) => Kind::Expectation(match expectation {
                Expectation::Delivered { .. } => "delivered",
                Expectation::Tree { .. } => "tree",
                Expectation::Entry { .. } => "entry",
                Expectation::Neighbours { .. } => "neighbours",
                _ => "expect",
            }),
            _ => Kind::Step,
        };
        let text = step.findings.iter().map(|finding| finding.text.as_str()).collect::<Vec<_>>().join("; ");
        violations.push(Violation { kind, text });
    }
    for invariant in &report.invariants {
        if invariant.verdict == Verdict::Failed {
            let text = invariant.findings.first().map(|finding| finding.text.clone()).unwrap_or_default();
            violations.push(Violation { kind: Kind::Invariant(invariant.invariant), text });
        }
    }
    violations
}
