//! `testbed simulate`: run the scenarios of files in virtual time.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::files;
use super::test::{judged, publish, select, write};
use super::{Failure, Outcome, Result};
use crate::explore;
use crate::lab;
use crate::network::simulated::{self, SimulatedNetwork};
use crate::report::Report;
use crate::scenario::{self, ScenarioReport, Verdict};
use crate::topology;
use crate::topology::plan::{Daemon, Plan};

/// Arguments of `testbed simulate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Topology files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Seed of everything random, in place of the file's
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Only scenarios whose `lab/scenario` contains this
    #[arg(long, value_name = "NAME")]
    filter: Option<String>,
    /// Scale of protocol timers, in place of the file's `timers`
    #[arg(long, value_name = "SCALE", value_parser = scale)]
    timers: Option<f64>,
    /// Run this in the place of daemons that the simulator does not have
    #[arg(long, value_name = "DAEMON")]
    substitute: Option<Substitute>,
    /// How many scenarios at once (default: one a processor)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: Option<u16>,
    /// Keep captures of all wires here, as `test` does; their stamps are virtual time
    #[arg(long, value_name = "DIR")]
    capture: Option<PathBuf>,
    /// Print the report as JSON (see docs/report.md)
    #[arg(long)]
    json: bool,
    /// Write a JUnit report, too
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

/// What may stand in for a foreign daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Substitute {
    RouterCore,
}

fn scale(text: &str) -> std::result::Result<f64, String> {
    let scale = text.parse().ok().filter(|scale| topology::TIMERS.contains(scale));
    scale.ok_or_else(|| format!("a number from {} to {}", topology::TIMERS.start(), topology::TIMERS.end()))
}

/// Runs the verb.
pub fn run(args: Args) -> Result {
    let look = |plan: &mut Plan| {
        prepare(plan, &args);
        simulated::refusals(plan)
    };
    let Some(plans) = files::plans(&args.files, look) else { return Ok(Outcome::BadInput.into()) };
    let cases = select::cases(&plans, args.filter.as_deref()).map_err(Failure::bad_input)?;
    if let Some(path) = &args.junit {
        write(path, "")?;
    }
    if let Some(directory) = &args.capture {
        let cannot = |error| Failure::bad_input(format!("cannot make {}: {error}", directory.display()));
        std::fs::create_dir_all(directory).map_err(cannot)?;
        // A file a wire.
        let cannot = |error| Failure::machine(format!("cannot raise the limit of open files: {error}"));
        crate::sys::files::raise_open_files().map_err(cannot)?;
    }
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let scenarios = simulate(&cases, args.jobs.map_or(processors, usize::from), args.capture.as_deref());
    // In virtual time alone: equal runs have equal reports.
    let took: Duration = scenarios.iter().map(|scenario| scenario.took).sum();
    let report = Report { scenarios, took };

    publish(&report, args.json, args.junit.as_deref())?;
    // What was left out is said, and judges nothing.
    let verdicts = report.scenarios.iter().map(|scenario| scenario.verdict).filter(|v| *v != Verdict::Skipped);
    Ok(verdicts.max().map_or(Outcome::Machine, judged).into())
}

fn prepare(plan: &mut Plan, args: &Args) {
    plan.seed = args.seed.unwrap_or(plan.seed);
    plan.timers = args.timers.unwrap_or(plan.timers);
    if args.substitute == Some(Substitute::RouterCore) {
        plan.substitute(&Daemon::RouterCore);
    }
}

/// Runs all cases, at most so many at once; reports in the order of the cases, which neither order nor number of threads can change.
fn simulate(cases: &[select::Case<'_>], jobs: usize, captures: Option<&Path>) -> Vec<ScenarioReport> {
    let reports: Mutex<Vec<Option<ScenarioReport>>> = Mutex::new(vec![None; cases.len()]);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..jobs.min(cases.len()) {
            scope.spawn(|| {
                while let Some((number, case)) = {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    cases.get(number).map(|case| (number, case))
                } {
                    let report = simulate_one(case, captures);
                    reports.lock().unwrap_or_else(PoisonError::into_inner)[number] = Some(report);
                }
            });
        }
    });
    let reports = reports.into_inner().unwrap_or_else(PoisonError::into_inner);
    let lost = |case: &select::Case<'_>| trouble(case, Verdict::Inconclusive, "the thread that ran it ended".into());
    reports.into_iter().zip(cases).map(|(report, case)| report.unwrap_or_else(|| lost(case))).collect()
}

fn simulate_one(case: &select::Case<'_>, captures: Option<&Path>) -> ScenarioReport {
    if let Some(why) = simulated::leaves_out(case.scenario) {
        return trouble(case, Verdict::Skipped, why);
    }
    let mut network = SimulatedNetwork::new(case.plan);
    let mut doubts = Vec::new();
    if let Some(directory) = captures {
        let directory = directory.join(&case.place).join(lab::file::CAPTURES);
        let made = std::fs::create_dir_all(&directory).map_err(|error| error.to_string());
        let kept = made.and_then(|()| network.keep_captures(&directory).map_err(|error| error.to_string()));
        doubts.extend(kept.err().map(|why| format!("captures could not be kept in {}: {why}", directory.display())));
    }
    let mut report = scenario::run(case.plan, case.scenario, &mut network, &explore::run::options());
    report.doubts.extend(doubts);
    report.doubts.extend(network.end_captures());
    report
}

fn trouble(case: &select::Case<'_>, verdict: Verdict, text: String) -> ScenarioReport {
    ScenarioReport::of_trouble(&case.plan.name, &case.plan.file, &case.scenario.name, verdict, text)
}
