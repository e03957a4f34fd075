//! `testbed completions`: print a shell's completions.

use clap::{Command, Subcommand as _};
use clap_complete::Shell;

use super::{Outcome, Result};

/// Arguments of `testbed completions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell.
    shell: Shell,
}

/// Runs the verb.
pub fn run(args: Args) -> Result {
    let mut command = super::Command::augment_subcommands(Command::new("testbed"));
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "testbed", &mut script);
    super::print(&String::from_utf8_lossy(&script));
    Ok(Outcome::Held.into())
}
