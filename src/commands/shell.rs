//! `testbed shell`: open a shell in a node.

use super::{Failure, Result};

/// Arguments of `testbed shell`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb.
pub fn run(_args: Args) -> Result {
    Err(Failure::bad_input("`testbed shell` is not there yet"))
}
