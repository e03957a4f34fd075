//! `testbed validate`: check files without building anything.

use super::{Failure, Result};

/// Arguments of `testbed validate`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb.
pub fn run(_args: Args) -> Result {
    Err(Failure::bad_input("`testbed validate` is not there yet"))
}
