//! `testbed validate`: check files without building anything.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use super::{Outcome, Result};
use crate::topology::plan::{Plan, WireKind};
use crate::topology::{self};

/// Arguments of `testbed validate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Topology files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Runs the verb: a line a good file on standard output, the faults of the others on standard error.
pub fn run(args: Args) -> Result {
    let mut outcome = Outcome::Held;
    for file in &args.files {
        match topology::load(file) {
            Ok(plan) => match super::refusals(&plan) {
                refusals if refusals.is_empty() => super::print(&format!("{}: {}\n", plan.file, counts(&plan))),
                refusals => {
                    outcome = Outcome::BadInput;
                    eprint!("{refusals}");
                }
            },
            Err(faults) => {
                outcome = Outcome::BadInput;
                eprint!("{}", faults.render(std::io::stderr().is_terminal()));
            }
        }
    }
    Ok(outcome.into())
}

/// What is in a file: `first-light, 2 routers, 4 hosts, ...`.
pub(super) fn counts(plan: &Plan) -> String {
    let routers = plan.nodes.iter().filter(|node| node.is_router()).count();
    let lans = plan.wires.iter().filter(|wire| matches!(wire.kind, WireKind::Lan { .. })).count();
    let parts = [
        (routers, "router"),
        (plan.nodes.len() - routers, "host"),
        (plan.wires.len() - lans, "link"),
        (lans, "LAN"),
        (plan.scenarios.len(), "scenario"),
    ];
    let parts: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| some(*count, what)).collect();
    format!("{}: {}", plan.name, parts.join(", "))
}

fn some(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}
