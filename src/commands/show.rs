//! `testbed show`: show what a router believes.

use super::{Failure, Result};

/// Arguments of `testbed show`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb.
pub fn run(_args: Args) -> Result {
    Err(Failure::bad_input("`testbed show` is not there yet"))
}
