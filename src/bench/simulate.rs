//! What the simulator takes of the machine: an hour of protocol time, a network of ten thousand routers, and how many random schedules a second.
//!
//! Each measurement is a process of its own (`testbed bench simulated WHAT`): its peak of memory is its own too.

use std::fs;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::place::part;
use super::{NoFigure, Series, Setting, Target, Unit, Variant, interleave, networks};
use crate::explore;
use crate::network::simulated::SimulatedNetwork;
use crate::network::{Network as _, Time};
use crate::scenario::{self, Verdict};
use crate::topology::plan::Plan;

/// Milliseconds of an hour, and shares of it that may be used.
const HOUR_MS: f64 = 3_600_000.0;
const DIAMOND_MS_MAX: f64 = 1_000.0;
const GRID_MS_MAX: f64 = 20_000.0;
/// What ten thousand routers may take until their tree stands.
const VAST_MS_MAX: f64 = 60_000.0;
const VAST_MIB_MAX: f64 = 4096.0;
/// What a search must do on one core, and how many runs it is given.
const RUNS_PER_SECOND_MIN: f64 = 200.0;
const RUNS: u64 = 1000;
/// Routers on a side of that grid.
const SIDE: usize = 100;
/// A round takes some twenty seconds.
const ROUNDS_MAX: usize = 3;

/// What is simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum What {
    /// An hour of a diamond of dense mode, idle.
    IdleDiamond,
    /// An hour of a grid of a hundred routers with twenty groups.
    BusyGrid,
    /// A grid of ten thousand, until its tree stands.
    VastGrid,
}

/// What one simulation took.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Took {
    /// Processor time of its thread, in milliseconds: making the plan is counted apart.
    cpu_ms: f64,
    plan_ms: f64,
    /// Virtual time that passed, in milliseconds.
    virtual_ms: f64,
    /// The most memory that its process has had, in mebibytes.
    peak_mib: f64,
}

/// An hour of protocol time.
pub fn hours(setting: &Setting, tell: &mut dyn FnMut(&str)) -> Vec<Series> {
    let name = "an hour of protocol time in the simulator, one core";
    let variant = |word: &'static str, what: &str, most: f64| Variant {
        series: vec![
            Series::new(name, &format!("{what}, virtual time"), Unit::Milliseconds),
            Series::new(name, what, Unit::Milliseconds)
                .beside(&format!("{what}, virtual time"))
                .target(Target::AtMost(most)),
        ],
        measure: Box::new(move || {
            let took: Took = part(setting, &["simulated", word])?;
            if took.virtual_ms < HOUR_MS {
                return Err(NoFigure::failed(format!("only {:.0} ms of virtual time passed", took.virtual_ms)));
            }
            Ok(vec![took.virtual_ms, took.cpu_ms])
        }),
    };
    let variants = vec![
        variant("idle-diamond", "diamond of dense mode, idle", DIAMOND_MS_MAX),
        variant("busy-grid", "grid of 10×10, 20 groups", GRID_MS_MAX),
    ];
    interleave(setting.rounds, variants, tell)
}

/// Ten thousand routers.
pub fn grid(setting: &Setting, tell: &mut dyn FnMut(&str)) -> Vec<Series> {
    let name = format!("grid of {SIDE}×{SIDE} routers in the simulator, a source, 100 members, one core");
    let time = |what: &str| Series::new(&name, what, Unit::Milliseconds);
    let virtual_time = "virtual time until the tree stands";
    let variants = vec![Variant {
        series: vec![
            time(virtual_time),
            time("hellos, delivery, and a tree").beside(virtual_time).target(Target::AtMost(VAST_MS_MAX)),
            time("reading the file, beside that"),
            Series::new(&name, "peak of memory", Unit::Mebibytes).target(Target::AtMost(VAST_MIB_MAX)),
        ],
        measure: Box::new(move || {
            let took: Took = part(setting, &["simulated", "vast-grid"])?;
            Ok(vec![took.virtual_ms, took.cpu_ms, took.plan_ms, took.peak_mib])
        }),
    }];
    interleave(setting.rounds.min(ROUNDS_MAX), variants, tell)
}

/// Random schedules on the diamond of `topologies/dense-diamond.yaml`.
pub fn search(setting: &Setting, tell: &mut dyn FnMut(&str)) -> Vec<Series> {
    let name = "explore, dense-diamond, one core";
    let series =
        Series::new(name, "random schedules", Unit::RunsPerSecond).target(Target::AtLeast(RUNS_PER_SECOND_MIN));
    let variant = Variant {
        series: vec![series],
        measure: Box::new(move || Ok(vec![part::<Explored>(setting, &["explored"])?.runs_per_second])),
    };
    interleave(setting.rounds, vec![variant], tell)
}

/// How fast a search was.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Explored {
    /// By processor time.
    runs_per_second: f64,
}

/// Explores in this process.
///
/// # Errors
/// [`NoFigure::Failed`] if a run violates something, for then the search is shorter than it should be.
pub fn explored() -> Result<Explored, NoFigure> {
    let plan = networks::shipped_diamond()?;
    let subjects = [explore::Subject::of(&plan).map_err(NoFigure::failed)?];
    let options = explore::search::Options { runs: RUNS, seed: 1, jobs: 1, failures: 1 };
    let start = processor_time()?;
    let tally = explore::search::run_many(&subjects, options, &|_| ());
    let took = processor_time()?.saturating_sub(start);
    if let Some(violation) = tally.failed.iter().flat_map(|failed| &failed.violations).next() {
        return Err(NoFigure::failed(format!("a run violated something: {}", violation.text)));
    }
    Ok(Explored { runs_per_second: RUNS as f64 / took.as_secs_f64() })
}

/// Simulates in this process.
///
/// # Errors
/// [`NoFigure::Failed`] if what is simulated does not end as it should: then it is no figure of what is asked for.
pub fn measure(what: What) -> Result<Took, NoFigure> {
    let start = processor_time()?;
    let plan = match what {
        What::IdleDiamond => networks::idle_diamond(),
        What::BusyGrid => networks::busy_grid(),
        What::VastGrid => networks::vast_grid(SIDE),
    }?;
    let planned = processor_time()?;
    let virtual_time = simulate(&plan)?;
    let end = processor_time()?;
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    Ok(Took {
        cpu_ms: milliseconds(end.saturating_sub(planned)),
        plan_ms: milliseconds(planned.saturating_sub(start)),
        virtual_ms: milliseconds(virtual_time),
        peak_mib: peak()?,
    })
}

fn simulate(plan: &Plan) -> Result<Duration, NoFigure> {
    let scenario = plan.scenarios.first().ok_or_else(|| NoFigure::failed("there is no scenario"))?;
    let mut network = SimulatedNetwork::new(plan);
    let began: Time = network.now();
    let report = scenario::run(plan, scenario, &mut network, &scenario::Options::default());
    if report.verdict != Verdict::Passed {
        return Err(NoFigure::failed(format!("{}/{} {}", plan.name, scenario.name, report.verdict.word())));
    }
    Ok(network.now().since(began))
}

/// What this thread has used of a processor so far.
pub(super) fn processor_time() -> Result<Duration, NoFigure> {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).map_err(NoFigure::failed)
}

/// The most memory that this process has had, in mebibytes.
fn peak() -> Result<f64, NoFigure> {
    let text = fs::read_to_string("/proc/self/status").map_err(NoFigure::failed)?;
    let kibibytes =
        text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB")?.trim().parse().ok());
    kibibytes.map(|kibibytes: f64| kibibytes / 1024.0).ok_or_else(|| NoFigure::failed("/proc/self/status has no VmHWM"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_ends_as_it_should() {
        let took = measure(What::IdleDiamond).unwrap();
        assert!(took.virtual_ms >= HOUR_MS && took.peak_mib > 1.0, "{took:?}");
        let plan = networks::vast_grid(10).unwrap();
        assert!(simulate(&plan).unwrap() > Duration::from_secs(1));
    }
}
