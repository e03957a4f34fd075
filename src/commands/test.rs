//! `testbed test`: run the scenarios of files, each in a lab of its own.

use super::{Failure, Result};

/// Arguments of `testbed test`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb.
pub fn run(_args: Args) -> Result {
    Err(Failure::bad_input("`testbed test` is not there yet"))
}
