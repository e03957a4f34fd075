//! `testbed down`: take a lab down.

use super::labs::Where;
use super::{Failure, Outcome, Result};
use crate::lab::client::LabError;
use crate::lab::{Base, Lab};

/// Arguments of `testbed down`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The lab; not needed if only one is up
    #[arg(conflicts_with = "all")]
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
        vec![choose(&base, args.name.as_deref().or(args.lab.as_deref()))?]
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

fn choose(base: &Base, name: Option<&str>) -> std::result::Result<Lab, LabError> {
    Lab::choose(base, name)
}
