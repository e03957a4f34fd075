//! `testbed bench`: figures of this machine.

use std::io::IsTerminal;
use std::path::Path;

use super::labs::Where;
use super::{Failure, Outcome, Result};
use crate::bench::{NoFigure, Report, Setting, bulk, chain, failover, grid, lab, member, render, simulate, state};

/// Measurements of each variant, unless asked for otherwise.
const ROUNDS: usize = 5;
const ROUNDS_MAX: usize = 1000;

/// Arguments of `testbed bench`.
///
/// Exit code 1 if a target is missed; what is not installed on this machine is skipped, and said.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    part: Option<Part>,
    /// Only these experiments [default: all].
    #[arg(value_enum)]
    experiments: Vec<Experiment>,
    /// How often each variant is measured; medians are judged.
    #[arg(long, default_value_t = ROUNDS, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=ROUNDS_MAX as u64))]
    rounds: usize,
    /// Print every measurement as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Where,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Experiment {
    /// A chain of 100 routers, beside the kernel's floor, `ip -batch` and Mininet.
    Chain100,
    /// The same with 300.
    Chain300,
    /// A lab of 100 routers with a router-core each: up, down, memory.
    Lab100,
    /// Join to first packet across three routers, beside the kernel's own report delay.
    Join,
    /// Start of the daemons to the first packet at a host that has joined before (about four minutes).
    Start,
    /// Graft to first packet across three routers of PIM dense mode, beside static trees.
    DenseGraft,
    /// PIM dense mode in a diamond: what is lost when the stream's wire loses its carrier, and where the time goes.
    DenseFailover,
    /// PIM dense mode on a grid of 100 routers with a member each: delivery, the tree, and processor time at rest (about ten minutes with three rounds).
    DenseGrid,
    /// An hour of protocol time in the simulator: the diamond of dense mode, idle, and a grid of 100 routers with 20 groups.
    SimulateHour,
    /// A grid of 10,000 routers in the simulator, until its tree stands, and the memory that it takes.
    SimulateGrid,
    /// Random schedules a second of `testbed explore` on one core.
    Explore,
    /// 10,000 (S,G) that a router of sparse mode learns from joins: how many a second, and the memory of each.
    SparseState,
    /// The bulk sender and receiver beside a bare loop.
    Bulk,
}

/// Parts of experiments that need a process of their own.
#[derive(Debug, clap::Subcommand)]
enum Part {
    #[command(hide = true)]
    Fabric { nodes: usize },
    #[command(hide = true)]
    Routes { nodes: usize },
    #[command(hide = true)]
    IpBatch { nodes: usize },
    #[command(hide = true)]
    Mininet { nodes: usize },
    #[command(hide = true)]
    MemberJoins,
    #[command(hide = true)]
    MemberGrafts,
    #[command(hide = true)]
    MemberStarts,
    #[command(hide = true)]
    Failover { rate: u32 },
    #[command(hide = true)]
    Grid { what: grid::What },
    #[command(hide = true)]
    Simulated { what: simulate::What },
    #[command(hide = true)]
    Explored,
    #[command(hide = true)]
    State,
    #[command(hide = true)]
    BulkBare,
    #[command(hide = true)]
    BulkStamped,
}

/// Runs the verb.
pub fn run(args: Args) -> Result {
    let testbed =
        std::env::current_exe().map_err(|error| Failure::machine(format!("where is this program? {error}")))?;
    if let Some(part) = args.part {
        return run_part(&part, &testbed);
    }
    let setting = Setting { rounds: args.rounds, testbed, base: args.place.base()? };
    let chosen = |experiment| args.experiments.is_empty() || args.experiments.contains(&experiment);
    let terminal = std::io::stderr().is_terminal();
    let mut tell = |what: &str| {
        if terminal {
            eprint!("\r\x1b[K{what}");
        }
    };
    let mut report = Report::default();
    for (experiment, nodes) in [(Experiment::Chain100, 100), (Experiment::Chain300, 300)] {
        if chosen(experiment) {
            report.series.extend(chain::experiment(&setting, nodes, &mut tell));
        }
    }
    if chosen(Experiment::Lab100) {
        report.series.extend(lab::experiment(&setting, 100, &mut tell));
    }
    if chosen(Experiment::Join) {
        report.series.extend(member::joins(&setting, &mut tell));
    }
    if chosen(Experiment::Start) {
        report.series.extend(member::starts(&setting, &mut tell));
    }
    if chosen(Experiment::DenseGraft) {
        report.series.extend(member::grafts(&setting, &mut tell));
    }
    if chosen(Experiment::DenseFailover) {
        report.series.extend(failover::experiment(&setting, &mut tell));
    }
    if chosen(Experiment::DenseGrid) {
        report.series.extend(grid::experiment(&setting, &mut tell));
    }
    if chosen(Experiment::SimulateHour) {
        report.series.extend(simulate::hours(&setting, &mut tell));
    }
    if chosen(Experiment::SimulateGrid) {
        report.series.extend(simulate::grid(&setting, &mut tell));
    }
    if chosen(Experiment::Explore) {
        report.series.extend(simulate::search(&setting, &mut tell));
    }
    if chosen(Experiment::SparseState) {
        report.series.extend(state::experiment(&setting, &mut tell));
    }
    if chosen(Experiment::Bulk) {
        report.series.extend(bulk::experiment(&setting, &mut tell));
    }
    tell("");
    if args.json {
        let text = serde_json::to_string_pretty(&report).map_err(|error| Failure::machine(error.to_string()))?;
        println!("{text}");
    } else {
        println!("{}", render(&report));
    }
    Ok(if report.is_missed() { Outcome::CheckFailed } else { Outcome::Held }.into())
}

fn run_part(part: &Part, testbed: &Path) -> Result {
    match *part {
        Part::Fabric { nodes } => give(chain::fabric(nodes)),
        Part::Routes { nodes } => give(chain::routes(nodes)),
        Part::IpBatch { nodes } => give(chain::ip_batch(nodes)),
        Part::Mininet { nodes } => give(chain::mininet(nodes)),
        Part::MemberJoins => give(member::measure_joins()),
        Part::MemberGrafts => give(member::measure_grafts()),
        Part::MemberStarts => give(member::measure_starts()),
        Part::Failover { rate } => give(failover::measure(rate)),
        Part::Grid { what } => give(grid::measure(what)),
        Part::Simulated { what } => give(simulate::measure(what)),
        Part::Explored => give(simulate::explored()),
        Part::State => give(state::measure()),
        Part::BulkBare => give(bulk::bare(testbed)),
        Part::BulkStamped => give(bulk::stamped()),
    }
}

fn give(times: std::result::Result<impl serde::Serialize, NoFigure>) -> Result {
    match times {
        Ok(times) => chain::print(&times).map(|()| Outcome::Held.into()).map_err(|e| Failure::machine(e.to_string())),
        Err(NoFigure::Missing(why)) => Err(Failure::machine(why)),
        Err(NoFigure::Failed(why)) => Err(Failure { outcome: Outcome::CheckFailed, message: why }),
    }
}
