//! `testbed completions`: print a shell's completions.

use super::{Failure, Result};

/// Arguments of `testbed completions`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb.
pub fn run(_args: Args) -> Result {
    Err(Failure::bad_input("`testbed completions` is not there yet"))
}
