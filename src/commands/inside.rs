//! `testbed inside`: processes that a lab runs for itself.

use super::{Failure, Result};

/// Arguments of `testbed inside`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb.
pub fn run(_args: Args) -> Result {
    Err(Failure::bad_input("`testbed inside` is not there yet"))
}
