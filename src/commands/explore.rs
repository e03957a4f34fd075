//! `testbed explore`: hunt for violations with random schedules in virtual time.

use std::path::PathBuf;

use super::{Failure, Outcome, Result};
use crate::explore::Subject;
use crate::explore::search::{self, Options, Tally};
use crate::network::simulated;
use crate::topology;

/// Arguments of `testbed explore`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Topology files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Runs, of all files together: they take turns
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// Seed of the search: equal seeds find the same
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How many runs at once (default: one a processor)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: Option<u16>,
    /// Only topologies whose name contains this
    #[arg(long, value_name = "NAME")]
    filter: Option<String>,
}

/// Runs the verb.
pub fn run(args: Args) -> Result {
    let mut subjects = Vec::new();
    let mut faults = String::new();
    for file in &args.files {
        match topology::load(file) {
            Ok(plan) => {
                if args.filter.as_ref().is_some_and(|filter| !plan.name.contains(filter.as_str())) {
                    continue;
                }
                faults.extend(simulated::refusals(&plan).iter().map(|line| format!("{}: {line}\n", plan.file)));
                faults.push_str(&super::refusals(&plan));
                match Subject::of(&plan) {
                    Ok(subject) => subjects.push(subject),
                    Err(why) => faults.push_str(&format!("{why}\n")),
                }
            }
            Err(wrong) => faults.push_str(&wrong.render(false)),
        }
    }
    if !faults.is_empty() {
        eprint!("{faults}");
        return Ok(Outcome::BadInput.into());
    }
    if subjects.is_empty() {
        return Err(Failure::bad_input("no topology is called so"));
    }
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = args.jobs.map_or(processors, usize::from);
    let tally = search::run_many(&subjects, Options { runs: args.runs, seed: args.seed, jobs }, &|_: &Tally| {});
    for failed in tally.failed.values() {
        println!("run {} ({}):", failed.run, subjects[failed.subject].plan.name);
        for violation in &failed.violations {
            println!("  {}: {}", violation.kind.name(), violation.text);
        }
    }
    println!("{} runs, {} failed, {} pairs", tally.runs, tally.failed.len(), tally.coverage.len());
    Ok(if tally.failed.is_empty() { Outcome::Held } else { Outcome::CheckFailed }.into())
}
