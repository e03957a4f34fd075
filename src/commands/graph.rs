//! `testbed graph`: draw a topology.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use super::{Outcome, Result};
use crate::topology::{self, graph};

/// Arguments of `testbed graph`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A topology file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print a graph for Graphviz.
    #[arg(long, conflicts_with = "mermaid")]
    dot: bool,
    /// Print a graph for Mermaid.
    #[arg(long)]
    mermaid: bool,
}

/// Runs the verb: without an option, a list of nodes, interfaces and wires.
pub fn run(args: Args) -> Result {
    match topology::load(&args.file) {
        Ok(plan) if args.dot => super::print(&graph::dot(&plan)),
        Ok(plan) if args.mermaid => super::print(&graph::mermaid(&plan)),
        Ok(plan) => super::print(&graph::text(&plan)),
        Err(faults) => {
            eprint!("{}", faults.render(std::io::stderr().is_terminal()));
            return Ok(Outcome::BadInput.into());
        }
    }
    Ok(Outcome::Held.into())
}
