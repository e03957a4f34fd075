//! `testbed inside ready`: wait until a foreign daemon is at work.

use std::path::PathBuf;
use std::time::Duration;

use ipnet::Ipv4Net;

use crate::commands::{Failure, Outcome, Result};
use crate::daemon::ready::Awaited;

/// After that the supervisor asks anew, so that nothing waits for ever for a daemon that is gone.
const LIMIT: Duration = Duration::from_secs(3);

/// After that a part of the network counts as cut off, and the daemon is at work without it.
const ROUTES_LIMIT: Duration = Duration::from_secs(10);

/// What is waited for.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A Unix stream socket that accepts connections
    #[arg(long)]
    socket: Option<PathBuf>,
    /// An interface that multicast is forwarded between
    #[arg(long = "vif")]
    vifs: Vec<String>,
    /// A prefix that there is a route to, unless it does not come for long
    #[arg(long = "route")]
    routes: Vec<Ipv4Net>,
}

/// Runs the role, in the node's namespaces.
pub fn run(args: Args) -> Result {
    let limit = if args.routes.is_empty() { LIMIT } else { ROUTES_LIMIT };
    let awaited = Awaited { socket: args.socket, vifs: args.vifs, routes: args.routes };
    if awaited.wait(limit) || !awaited.routes.is_empty() && awaited.is_at_work() {
        return Ok(Outcome::Held.into());
    }
    Err(Failure::machine("it is not there yet"))
}
