//! `testbed capture`: capture the frames of wires as pcapng.

use super::{Failure, Result};

/// Arguments of `testbed capture`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb.
pub fn run(_args: Args) -> Result {
    Err(Failure::bad_input("`testbed capture` is not there yet"))
}
