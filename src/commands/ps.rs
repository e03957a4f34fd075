//! `testbed ps`: list labs and what is in them.

use super::{Failure, Result};

/// Arguments of `testbed ps`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb.
pub fn run(_args: Args) -> Result {
    Err(Failure::bad_input("`testbed ps` is not there yet"))
}
