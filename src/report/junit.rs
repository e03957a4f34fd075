//! Reports for continuous integration: a suite a file, a case a scenario.

use quick_junit::{NonSuccessKind, Report as JunitReport, TestCase, TestCaseStatus, TestSuite};

use super::Report;
use super::terminal::{self, Style};
use crate::scenario::{ScenarioReport, Verdict};

/// A run as JUnit's XML. What could not be judged or run is an error, not a failure.
///
/// # Errors
/// Those of writing XML; none that a report can cause.
pub fn junit(report: &Report) -> Result<String, quick_junit::SerializeError> {
    let mut whole = JunitReport::new("testbed");
    whole.set_time(report.took);
    let mut suites: Vec<(String, TestSuite)> = Vec::new();
    for scenario in &report.scenarios {
        if suites.last().is_none_or(|(file, _)| *file != scenario.file) {
            suites.push((scenario.file.clone(), TestSuite::new(scenario.file.clone())));
        }
        if let Some((_, suite)) = suites.last_mut() {
            suite.add_test_case(case(scenario));
        }
    }
    whole.add_test_suites(suites.into_iter().map(|(_, suite)| suite));
    whole.to_string()
}

fn case(scenario: &ScenarioReport) -> TestCase {
    let mut status = match scenario.verdict {
        Verdict::Passed => TestCaseStatus::success(),
        Verdict::Failed => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Verdict::Inconclusive | Verdict::Unsupported => TestCaseStatus::non_success(NonSuccessKind::Error),
        Verdict::Skipped => TestCaseStatus::skipped(),
    };
    if scenario.verdict > Verdict::Skipped {
        let steps = scenario.steps.iter().flat_map(|s| &s.findings);
        let first = steps.chain(scenario.invariants.iter().flat_map(|i| &i.findings)).map(|f| f.text.as_str()).next();
        let message = scenario.trouble.as_deref().or(first).unwrap_or(scenario.verdict.word());
        status
            .set_type(scenario.verdict.word())
            .set_message(message)
            .set_description(terminal::scenario(scenario, Style::default()));
    }
    let mut case = TestCase::new(scenario.scenario.clone(), status);
    case.set_classname(scenario.lab.clone()).set_time(scenario.took);
    for path in scenario.logs.iter().chain(&scenario.captures) {
        case.add_property(("attachment".to_owned(), path.display().to_string()));
    }
    case
}
