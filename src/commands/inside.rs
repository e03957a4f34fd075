//! `testbed inside`: processes that a lab runs for itself.

mod bulk;
mod capture;
mod compare;
mod ends;
mod interface;
mod ready;
mod receive;
pub mod run;
mod send;

use std::path::Path;

use super::{Failure, Outcome, Result, Verdict};
use crate::lab;
use crate::routes::agent;
use crate::topology::plan::Plan;

/// Arguments of `testbed inside`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    role: Role,
}

/// What the process is for.
#[derive(Debug, clap::Subcommand)]
enum Role {
    /// The parent of a lab's PID 1; standard input is the life line.
    Monitor,
    /// Finds out what labs can do here and prints it as JSON.
    Probe,
    /// Keeps the routes of a lab.
    Agent,
    /// Runs a scenario and prints its report.
    Run(run::Args),
    /// Captures wires to standard output.
    Capture(capture::Args),
    /// Puts the lab through the events that daemons are compared by, and prints what was measured.
    Compare(compare::Args),
    /// Send a stamped stream from this node.
    Send(send::Args),
    /// Receive a group in this node.
    Receive(receive::Args),
    /// Waits until a foreign daemon is at work.
    Ready(ready::Args),
    /// Send as fast as the kernel takes it.
    BulkSend(bulk::SendArgs),
    /// Receive what a bulk sender sends.
    BulkReceive(bulk::ReceiveArgs),
}

/// Runs the verb.
pub fn run(args: Args) -> Result {
    match args.role {
        Role::Run(args) => run::run(&plan()?, args),
        Role::Capture(args) => capture::run(&plan()?, args),
        Role::Compare(args) => compare::run(&plan()?, args),
        Role::Probe => match lab::probe::run() {
            Ok(()) => Ok(Outcome::Held.into()),
            Err(error) => Err(Failure::machine(error.to_string())),
        },
        Role::Monitor => Ok(Verdict::Status(lab::monitor())),
        Role::Agent => match agent::run(&plan()?) {
            Ok(never) => match never {},
            Err(error) => Err(Failure::machine(format!("route agent: {error}"))),
        },
        Role::Send(args) => send::run(&args),
        Role::Receive(args) => receive::run(&args),
        Role::Ready(args) => ready::run(args),
        Role::BulkSend(args) => bulk::send(&args),
        Role::BulkReceive(args) => bulk::receive(&args),
    }
}

/// The plan of the lab that this process runs in.
fn plan() -> std::result::Result<Plan, Failure> {
    let path = Path::new(lab::INSIDE).join(lab::file::PLAN);
    let cannot = |error: &dyn std::fmt::Display| Failure::machine(format!("cannot read {}: {error}", path.display()));
    let text = std::fs::read(&path).map_err(|error| cannot(&error))?;
    serde_json::from_slice(&text).map_err(|error| cannot(&error))
}
