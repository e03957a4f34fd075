//! `testbed up`: build a lab from a file and start it.

use super::{Failure, Result};

/// Arguments of `testbed up`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb.
pub fn run(_args: Args) -> Result {
    Err(Failure::bad_input("`testbed up` is not there yet"))
}
