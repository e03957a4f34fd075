//! `testbed send`: send a stamped stream from a node.

use super::{Failure, Result};

/// Arguments of `testbed send`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb.
pub fn run(_args: Args) -> Result {
    Err(Failure::bad_input("`testbed send` is not there yet"))
}
