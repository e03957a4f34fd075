//! `testbed bench`: figures of this machine.

use std::io::IsTerminal;

use super::{Failure, Outcome, Result};
use crate::bench::{NoFigure, Report, Setting, chain, render};

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
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Experiment {
    /// A chain of 100 routers, beside the kernel's floor, `ip -batch` and Mininet.
    Chain100,
    /// The same with 300.
    Chain300,
}

/// Parts of experiments that need a process of their own.
#[derive(Debug, clap::Subcommand)]
enum Part {
    #[command(hide = true)]
    IpBatch { nodes: usize },
    #[command(hide = true)]
    Mininet { nodes: usize },
}

/// Runs the verb.
pub fn run(args: Args) -> Result {
    match args.part {
        Some(Part::IpBatch { nodes }) => return give(chain::ip_batch(nodes)),
        Some(Part::Mininet { nodes }) => return give(chain::mininet(nodes)),
        None => {}
    }
    let testbed =
        std::env::current_exe().map_err(|error| Failure::machine(format!("where is this program? {error}")))?;
    let setting = Setting { rounds: args.rounds, testbed };
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
    tell("");
    if args.json {
        let text = serde_json::to_string_pretty(&report).map_err(|error| Failure::machine(error.to_string()))?;
        println!("{text}");
    } else {
        println!("{}", render(&report));
    }
    Ok(if report.is_missed() { Outcome::CheckFailed } else { Outcome::Held }.into())
}

fn give(times: std::result::Result<impl serde::Serialize, NoFigure>) -> Result {
    match times {
        Ok(times) => chain::print(&times).map(|()| Outcome::Held.into()).map_err(|e| Failure::machine(e.to_string())),
        Err(NoFigure::Missing(why)) => Err(Failure::machine(why)),
        Err(NoFigure::Failed(why)) => Err(Failure { outcome: Outcome::CheckFailed, message: why }),
    }
}
