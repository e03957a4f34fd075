//! `testbed receive`: receive a stream in a node and report what arrived.

use super::{Failure, Result};

/// Arguments of `testbed receive`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb.
pub fn run(_args: Args) -> Result {
    Err(Failure::bad_input("`testbed receive` is not there yet"))
}
