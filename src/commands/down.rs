//! `testbed down`: take a lab down.

use super::{Failure, Result};

/// Arguments of `testbed down`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb.
pub fn run(_args: Args) -> Result {
    Err(Failure::bad_input("`testbed down` is not there yet"))
}
