//! `testbed inside ready`: wait until a foreign daemon is at work.

use std::path::PathBuf;
use std::time::Duration;

use crate::commands::{Failure, Outcome, Result};
use crate::daemon::ready::Awaited;

/// After that the supervisor asks anew, so that nothing waits for ever for a daemon that is gone.
const LIMIT: Duration = Duration::from_secs(3);

/// What is waited for.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A Unix stream socket that accepts connections
    #[arg(long)]
    socket: Option<PathBuf>,
    /// An interface that multicast is forwarded between
    #[arg(long = "vif")]
    vifs: Vec<String>,
}

/// Runs the role, in the node's namespaces.
pub fn run(args: Args) -> Result {
    let awaited = Awaited { socket: args.socket, vifs: args.vifs };
    if awaited.wait(LIMIT) {
        return Ok(Outcome::Held.into());
    }
    Err(Failure::machine("it is not there yet"))
}
