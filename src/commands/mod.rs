//! One file a verb. A verb gives an [`Outcome`], or a [`Failure`] that is printed to standard error.

use clap::Subcommand;

use crate::daemon;
use crate::topology::plan::Plan;

pub mod agree;
pub mod bench;
pub mod capture;
pub mod compare;
pub mod completions;
pub mod doctor;
pub mod down;
pub mod exec;
pub mod explore;
mod figures;
mod files;
pub mod graph;
pub mod import;
pub mod inside;
pub mod labs;
pub mod logs;
pub mod ps;
pub mod receive;
pub mod schema;
pub mod send;
pub mod shell;
pub mod show;
pub mod simulate;
pub mod test;
pub mod up;
pub mod validate;

/// How a verb ended; the process's exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All held.
    Held = 0,
    /// A check failed.
    CheckFailed = 1,
    /// The command line or the file is wrong.
    BadInput = 2,
    /// This machine cannot run it.
    Machine = 3,
    /// The machine was too slow or too busy to judge.
    Inconclusive = 4,
}

/// Why a verb did not get to its end.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub outcome: Outcome,
    /// What to tell the user: printed as it is, after `testbed: ` unless it has lines of its own.
    pub message: String,
}

impl Failure {
    /// The command line or the file is wrong.
    pub fn bad_input(message: impl Into<String>) -> Failure {
        Failure { outcome: Outcome::BadInput, message: message.into() }
    }

    /// This machine cannot do it.
    pub fn machine(message: impl Into<String>) -> Failure {
        Failure { outcome: Outcome::Machine, message: message.into() }
    }
}

/// Prints a result; a reader that went away (`| head`) is no reason to complain.
pub fn print(text: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// What a verb gives. [`Verdict::Status`] is for verbs that pass on another program's exit status.
pub type Result = std::result::Result<Verdict, Failure>;

/// A verb's exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// One of ours.
    Outcome(Outcome),
    /// The exit status of a program that ran in a node.
    Status(u8),
}

impl From<Outcome> for Verdict {
    fn from(outcome: Outcome) -> Verdict {
        Verdict::Outcome(outcome)
    }
}

/// What the routers' daemons of a plan cannot do, a line each; empty if they can do it all.
fn refusals(plan: &Plan) -> String {
    daemon::check(plan).iter().map(|error| format!("{}: {error}\n", plan.file)).collect()
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build a lab from a file and start it.
    Up(up::Args),
    /// Take a lab down.
    Down(down::Args),
    /// List labs and what is in them.
    Ps(ps::Args),
    /// Run the scenarios of files, each in a lab of its own.
    Test(test::Args),
    /// Run the scenarios of files in virtual time, without building anything.
    Simulate(simulate::Args),
    /// Hunt for violations with random schedules in virtual time.
    Explore(explore::Args),
    /// Run the scenarios of files on the kernel and in virtual time, and compare.
    Agree(agree::Args),
    /// Run a command in a node.
    Exec(exec::Args),
    /// Open a shell in a node.
    Shell(shell::Args),
    /// Show the log of a node's daemon.
    Logs(logs::Args),
    /// Send a stamped stream from a node.
    Send(send::Args),
    /// Receive a stream in a node and report what arrived.
    Receive(receive::Args),
    /// Capture the frames of wires as pcapng.
    Capture(capture::Args),
    /// Show what a router believes.
    Show(show::Args),
    /// Check files without building anything.
    Validate(validate::Args),
    /// Draw a topology.
    Graph(graph::Args),
    /// Make a topology of a graph in GML or GraphML.
    Import(import::Args),
    /// Say what this machine can and cannot do.
    Doctor(doctor::Args),
    /// Print the JSON schema of topology files.
    Schema(schema::Args),
    /// Print a shell's completions.
    Completions(completions::Args),
    /// Put every daemon of sparse mode that is installed through the same events, and compare.
    Compare(compare::Args),
    /// Measure what this machine can do with labs, and compare.
    Bench(bench::Args),
    /// Processes that a lab runs for itself.
    #[command(hide = true)]
    Inside(inside::Args),
}

impl Command {
    /// Whether it is a process of a lab's own, whose output goes to pipes and logs.
    pub fn is_inside(&self) -> bool {
        matches!(self, Command::Inside(_))
    }

    /// Runs the verb.
    pub fn run(self) -> Result {
        match self {
            Command::Up(args) => up::run(args),
            Command::Down(args) => down::run(args),
            Command::Ps(args) => ps::run(args),
            Command::Test(args) => test::run(args),
            Command::Simulate(args) => simulate::run(args),
            Command::Explore(args) => explore::run(args),
            Command::Agree(args) => agree::run(args),
            Command::Exec(args) => exec::run(args),
            Command::Shell(args) => shell::run(args),
            Command::Logs(args) => logs::run(args),
            Command::Send(args) => send::run(args),
            Command::Receive(args) => receive::run(args),
            Command::Capture(args) => capture::run(args),
            Command::Show(args) => show::run(args),
            Command::Validate(args) => validate::run(args),
            Command::Graph(args) => graph::run(args),
            Command::Import(args) => import::run(args),
            Command::Doctor(args) => doctor::run(args),
            Command::Schema(args) => schema::run(args),
            Command::Completions(args) => completions::run(args),
            Command::Bench(args) => bench::run(args),
            Command::Compare(args) => compare::run(args),
            Command::Inside(args) => inside::run(args),
        }
    }
}
