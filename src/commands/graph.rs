//! `testbed graph`: draw a topology.

use super::{Failure, Result};

/// Arguments of `testbed graph`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb.
pub fn run(_args: Args) -> Result {
    Err(Failure::bad_input("`testbed graph` is not there yet"))
}
