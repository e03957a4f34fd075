//! `testbed doctor`: say what this machine can and cannot do.

use super::{Failure, Result};

/// Arguments of `testbed doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb.
pub fn run(_args: Args) -> Result {
    Err(Failure::bad_input("`testbed doctor` is not there yet"))
}
