//! `testbed up`: build a lab from a file and start it.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use super::labs::Where;
use super::{Failure, Outcome, Result};
use crate::lab::{self, Options};
use crate::topology;
use crate::topology::plan::Plan;

/// Arguments of `testbed up`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The topology file
    file: PathBuf,
    /// The file is a resolved plan, as `plan.json` in a lab's state directory
    #[arg(long, hide = true)]
    plan: bool,
    /// Name of the lab, if not the file's
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Build namespaces, links and addresses only: no routes and no daemons
    #[arg(long)]
    bare: bool,
    #[command(flatten)]
    place: Where,
}

/// Runs the verb.
pub fn run(args: Args) -> Result {
    let plan = load(&args)?;
    let base = args.place.base()?;
    let options = Options { name: args.name, bare: args.bare };
    let running = lab::start(&base, &plan, &options, &mut |_| {})?;
    running.detach()?;
    Ok(Outcome::Held.into())
}

fn load(args: &Args) -> std::result::Result<Plan, Failure> {
    if !args.plan {
        let terminal = std::io::stderr().is_terminal();
        return topology::load(&args.file).map_err(|faults| Failure::bad_input(faults.render(terminal)));
    }
    let shown = args.file.display();
    let text =
        std::fs::read(&args.file).map_err(|error| Failure::bad_input(format!("cannot read {shown}: {error}")))?;
    serde_json::from_slice(&text).map_err(|error| Failure::bad_input(format!("{shown} is no plan: {error}")))
}
