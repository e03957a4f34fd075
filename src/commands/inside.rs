//! `testbed inside`: processes that a lab runs for itself.

mod bulk;
mod ends;
mod interface;
mod receive;
mod send;

use super::Result;

/// Arguments of `testbed inside`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    role: Role,
}

/// What the process is for.
#[derive(Debug, clap::Subcommand)]
enum Role {
    /// Send a stamped stream from this node.
    Send(send::Args),
    /// Receive a group in this node.
    Receive(receive::Args),
    /// Send as fast as the kernel takes it.
    BulkSend(bulk::SendArgs),
    /// Receive what a bulk sender sends.
    BulkReceive(bulk::ReceiveArgs),
}

/// Runs the verb.
pub fn run(args: Args) -> Result {
    match args.role {
        Role::Send(args) => send::run(&args),
        Role::Receive(args) => receive::run(&args),
        Role::BulkSend(args) => bulk::send(&args),
        Role::BulkReceive(args) => bulk::receive(&args),
    }
}
