//! The `testbed` command: arguments to verbs, verdicts to exit codes.

use std::process::ExitCode;

use clap::Parser;
use testbed::commands::{Command, Verdict};

/// Builds virtual multicast networks, feeds them real streams and judges what was delivered.
#[derive(Debug, Parser)]
#[command(name = "testbed", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if !arguments.command.is_inside() {
        testbed::sys::process::end_when_nobody_reads();
    }
    match arguments.command.run() {
        Ok(Verdict::Outcome(outcome)) => ExitCode::from(outcome as u8),
        Ok(Verdict::Status(status)) => ExitCode::from(status),
        Err(failure) => {
            eprintln!("testbed: {}", failure.message);
            ExitCode::from(failure.outcome as u8)
        }
    }
}
