//! `command`, and the verdict of a `run` step.

use std::time::Duration;

use super::Judgement;
use crate::network::{CommandOutput, Network, NetworkError};
use crate::scenario::outcome::{Figure, Finding, Value};
use crate::scenario::runner::Run;
use crate::topology::plan::NodeId;
use crate::topology::steps::Place;

/// How often a command that has not given what it should is tried again.
const AGAIN: Duration = Duration::from_millis(100);

/// A command ended with status 0.
pub fn ended_well(output: &CommandOutput) -> Judgement {
    if output.status == 0 { Judgement::default() } else { Judgement::failed(says(output)) }
}

/// A command in a node gives a status and a text, at the first attempt or a later one.
pub fn command<N: Network>(
    run: &mut Run<'_, N>,
    node: NodeId,
    command: &[String],
    status: i32,
    contains: Option<&str>,
    within: Duration,
) -> Result<Judgement, NetworkError> {
    let deadline = run.network.now() + within;
    let mut attempts = 0;
    loop {
        let left = deadline.since(run.network.now()).max(AGAIN);
        let output = run.network.run(Place::Node(node), command, left)?;
        attempts += 1;
        let text_found = contains.is_none_or(|text| output.stdout.contains(text) || output.stderr.contains(text));
        let mut judgement = Judgement::default();
        judgement.figures.push(Figure::at("attempts", run.name(node), Value::Count(attempts)));
        if output.status == status && text_found {
            return Ok(judgement);
        }
        let next = run.network.now() + AGAIN;
        if next >= deadline {
            let wanted = match contains {
                Some(text) if !text_found => format!("expected {text:?} in its output"),
                _ => format!("expected status {status}"),
            };
            judgement.fail(Finding::text(format!("on {}: {wanted}; {}", run.name(node), says(&output))));
            return Ok(judgement);
        }
        run.pass_until(next)?;
    }
}

fn says(output: &CommandOutput) -> String {
    let said = if output.stderr.trim().is_empty() { &output.stdout } else { &output.stderr };
    let said: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    // The end of what a command says is where it says what went wrong.
    let tail = said[said.len().saturating_sub(3)..].join(" / ");
    let tail: String = tail.chars().take(300).collect();
    if tail.is_empty() {
        format!("status {}, no output", output.status)
    } else {
        format!("status {}: {tail}", output.status)
    }
}
