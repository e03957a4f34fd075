//! `testbed logs`: show the log of a node's daemon.

use super::{Failure, Result};

/// Arguments of `testbed logs`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb.
pub fn run(_args: Args) -> Result {
    Err(Failure::bad_input("`testbed logs` is not there yet"))
}
