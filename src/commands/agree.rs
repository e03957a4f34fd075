//! `testbed agree`: run the scenarios of files on the kernel and in the simulator, and compare.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::files;
use super::labs::Where;
use super::test::interrupt::Interrupt;
use super::test::keep::Keep;
use super::test::{rounds, select};
use super::{Failure, Outcome, Result, Verdict as Exit};
use crate::agree::{self, Picture, Run};
use crate::lab::{self, Lab};
use crate::network::simulated::{self, SimulatedNetwork};
use crate::network::{Network as _, NetworkError};
use crate::scenario::{self, Verdict};
use crate::topology::plan::Plan;

/// Arguments of `testbed agree`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Topology files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How many labs at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,
    /// Only scenarios whose `lab/scenario` contains this
    #[arg(long, value_name = "NAME")]
    filter: Option<String>,
    #[command(flatten)]
    place: Where,
}

/// How often a scenario is simulated, each time with another seed.
const RUNS: u64 = 16;
/// How often where the kernel differs from all of those: what happens in nine runs of ten is in all of sixteen one time in five.
const RUNS_IN_DOUBT: u64 = 256;

/// Where a lab's runner leaves what its network looks like.
const PICTURE: &str = "picture.json";

/// Runs the verb: a line a scenario, and each difference with both sides.
pub fn run(args: Args) -> Result {
    let Some(plans) = files::plans(&args.files, |_| Vec::new()) else { return Ok(Outcome::BadInput.into()) };
    let all = select::cases(&plans, args.filter.as_deref()).map_err(Failure::bad_input)?;
    let mut cases = Vec::new();
    for case in all {
        match simulated::refusals(case.plan).into_iter().next().or_else(|| simulated::leaves_out(case.scenario)) {
            Some(why) => super::print(&format!("{}: left out: {why}\n", case.place)),
            None => cases.push(case),
        }
    }
    let keep = Keep::new(None);
    let base = args.place.base()?;
    let interrupt = Interrupt::watch()?;
    let pictures: Mutex<BTreeMap<usize, Picture>> = Mutex::default();
    let look = |number: usize, lab: &Lab| {
        let picture = std::fs::read(lab.directory().join(PICTURE)).ok();
        if let Some(picture) = picture.and_then(|text| serde_json::from_slice(&text).ok()) {
            pictures.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(number, picture);
        }
    };
    let inside = Path::new(lab::INSIDE).join(PICTURE);
    let extra = rounds::Extra { arguments: vec!["--picture".into(), inside.into()], look: &look };
    let reports = rounds::run(&base, &cases, args.jobs.into(), &keep, &interrupt, &extra);
    if interrupt.is_set() {
        return Ok(Exit::Status(130));
    }
    let pictures = pictures.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut outcome = Outcome::Held;
    for (number, (case, report)) in cases.iter().zip(&reports).enumerate() {
        let Some(picture) = pictures.get(&number).filter(|_| report.verdict != Verdict::Inconclusive) else {
            let why = report.trouble.clone().unwrap_or_else(|| report.doubts.join("; "));
            super::print(&format!("{}: not compared: {} on the kernel: {why}\n", case.place, report.verdict.word()));
            outcome = if outcome == Outcome::Held { Outcome::Inconclusive } else { outcome };
            continue;
        };
        let own: Run = (report.clone(), picture.clone());
        let failed = |error: NetworkError| Failure::machine(format!("{}: {error}", case.place));
        let mut simulated = simulated_runs(case, 0..RUNS).map_err(failed)?;
        let mut differences = agree::differences(&own, &simulated);
        if !differences.is_empty() {
            simulated.extend(simulated_runs(case, RUNS..RUNS_IN_DOUBT).map_err(failed)?);
            differences = agree::that_last(&differences, agree::differences(&own, &simulated));
        }
        let said = if differences.is_empty() { "agree" } else { "differ" };
        super::print(&format!("{}: both {said} ({} on the kernel)\n", case.place, report.verdict.word()));
        for difference in &differences {
            let agree::Difference { what, kernel, simulated } = difference;
            super::print(&format!("  {what}\n    kernel:    {kernel}\n    simulator: {simulated}\n"));
            outcome = Outcome::CheckFailed;
        }
    }
    Ok(outcome.into())
}

/// Runs a case in the simulator with some seeds, and judges as leniently as on the kernel: a deadline's slack is not to differ.
fn simulated_runs(case: &select::Case<'_>, seeds: Range<u64>) -> std::result::Result<Vec<Run>, NetworkError> {
    let run = |number: u64| {
        let plan = Plan { seed: case.plan.seed.wrapping_add(number), ..case.plan.clone() };
        // The kernel's machine is as busy as it is.
        let make = if number.is_multiple_of(2) { SimulatedNetwork::new } else { SimulatedNetwork::on_a_busy_machine };
        let mut network = make(&plan);
        let began = network.now();
        let report = scenario::run(&plan, case.scenario, &mut network, &scenario::Options::default());
        let picture = Picture::of(&plan, case.scenario, began, &mut network)?;
        Ok((report, picture))
    };
    seeds.map(run).collect()
}
