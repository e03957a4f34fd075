//! `testbed exec`: run a command in a node.

use super::{Failure, Result};

/// Arguments of `testbed exec`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb.
pub fn run(_args: Args) -> Result {
    Err(Failure::bad_input("`testbed exec` is not there yet"))
}
