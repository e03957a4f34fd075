//! `testbed inside compare`: a part of a comparison, in its lab.

use std::time::Duration;

use crate::commands::figures::print_json;
use crate::commands::{Failure, Outcome, Result};
use crate::compare::{Figure, measure};
use crate::topology::plan::Plan;

/// Arguments of `testbed inside compare`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    part: Part,
}

/// What is measured.
#[derive(Debug, clap::Subcommand)]
enum Part {
    /// These figures once.
    Round { figures: Vec<Figure> },
    /// Control messages for so many milliseconds.
    Traffic { millis: u64 },
}

/// Runs the process.
pub fn run(plan: &Plan, args: Args) -> Result {
    let failed = |message: String| Failure { outcome: Outcome::CheckFailed, message };
    match args.part {
        Part::Round { figures } => {
            let round = measure::round(plan, &figures.into_iter().collect()).map_err(failed)?;
            print_json(&round)?;
        }
        Part::Traffic { millis } => {
            let traffic = measure::traffic_inside(plan, Duration::from_millis(millis)).map_err(failed)?;
            print_json(&traffic)?;
        }
    }
    Ok(Outcome::Held.into())
}
