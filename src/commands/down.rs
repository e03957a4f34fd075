//! `testbed down`: take a lab down.

use std::io::IsTerminal as _;
use std::path::Path;

use super::labs::Where;
use super::{Failure, Outcome, Result};
use crate::lab::Lab;
use crate::lab::state::is_lab_name;
use crate::topology;

/// Arguments of `testbed down`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The lab, or the topology file that it was built from; not needed if only one is up
    #[arg(conflicts_with = "all", value_name = "NAME|FILE")]
    name: Option<String>,
    /// Every lab
    #[arg(long)]
    all: bool,
    /// The lab, as other verbs take it
    #[arg(long, value_name = "NAME", conflicts_with_all = ["name", "all"])]
    lab: Option<String>,
    #[command(flatten)]
    place: Where,
}

/// Runs the verb.
pub fn run(args: Args) -> Result {
    let base = args.place.base()?;
    let labs = if args.all {
        base.sweep()?.iter().map(|name| Lab::named(&base, name)).collect()
    } else {
        let given = args.name.as_deref().or(args.lab.as_deref());
        let name = given.map(name_of).transpose()?;
        vec![Lab::choose(&base, name.as_deref())?]
    };
    let mut failures = Vec::new();
    for lab in &labs {
        let name = lab.name();
        match lab.down(&mut || eprintln!("{name}: waiting for another lab's timed step")) {
            Ok(()) => eprintln!("{name} is down"),
            Err(error) => failures.push(format!("{name}: {error}")),
        }
    }
    if failures.is_empty() { Ok(Outcome::Held.into()) } else { Err(Failure::machine(failures.join("\n"))) }
}

/// A lab's name, or that in a topology file.
fn name_of(given: &str) -> std::result::Result<String, Failure> {
    if is_lab_name(given) {
        return Ok(given.to_owned());
    }
    let terminal = std::io::stderr().is_terminal();
    let plan = topology::load(Path::new(given)).map_err(|faults| Failure::bad_input(faults.render(terminal)))?;
    Ok(plan.name)
}
