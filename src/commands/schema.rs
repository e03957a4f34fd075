//! `testbed schema`: print the JSON schema of topology files.

use super::{Outcome, Result};
use crate::topology;

/// Arguments of `testbed schema`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb.
pub fn run(_args: Args) -> Result {
    super::print(&format!("{:#}\n", topology::schema()));
    Ok(Outcome::Held.into())
}
