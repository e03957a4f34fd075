//! `testbed schema`: print the JSON schema of topology files.

use super::{Failure, Result};

/// Arguments of `testbed schema`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb.
pub fn run(_args: Args) -> Result {
    Err(Failure::bad_input("`testbed schema` is not there yet"))
}
