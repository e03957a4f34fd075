//! `testbed exec`: run a command in a node.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::labs::Which;
use super::{Failure, Result, Verdict};
use crate::lab::client::{Command, LabError};
use crate::lab::protocol::Fault;
use crate::lab::{Lab, Running};

/// Arguments of `testbed exec`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The node; `@LAN` for a LAN's bridge
    node: String,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
    #[command(flatten)]
    which: Which,
}

/// Runs the verb. The exit status is the command's; 128 + n if signal n ended it, 127 if it was not found, 126 if it cannot be run.
pub fn run(args: Args) -> Result {
    let lab = args.which.choose()?;
    execute(&lab, Command::new(Some(&args.node), args.command))
}

/// Runs a command on this process's standard input, output and error, and passes signals on to it.
pub(super) fn execute(lab: &Lab, command: Command) -> Result {
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    execute_on(lab, command, [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()])
}

/// Runs a command on some standard input, output and error, and passes signals on to it.
pub(super) fn execute_on(lab: &Lab, command: Command, stdio: [BorrowedFd<'_>; 3]) -> Result {
    // Before the command starts, so that no signal ends this process and leaves the command to be killed.
    let passed = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2];
    let passed: SigSet = passed.into_iter().collect();
    let cannot = |error: Errno| Failure::machine(format!("cannot watch for signals: {error}"));
    passed.thread_block().map_err(cannot)?;
    let signals = SignalFd::with_flags(&passed, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map_err(cannot)?;

    let mut running = match lab.exec(command, stdio) {
        Ok(running) => running,
        Err(error) => return could_not_start(error),
    };
    loop {
        let (ended, signalled) = wait(&running, &signals)?;
        if signalled {
            while let Ok(Some(signal)) = signals.read_signal() {
                running.signal(signal.ssi_signo as i32)?;
            }
        }
        if ended {
            return Ok(Verdict::Status(running.wait()?.code()));
        }
    }
}

/// The customary exit status of a command that could not be started.
pub(super) fn could_not_start(error: LabError) -> Result {
    let status = match &error {
        LabError::Refused(failure) if failure.kind == Fault::NotFound => 127,
        LabError::Refused(failure) if failure.kind == Fault::NotExecutable => 126,
        _ => return Err(error.into()),
    };
    eprintln!("testbed: {error}");
    Ok(Verdict::Status(status))
}

/// Waits until the command ends or a signal comes; gives which.
fn wait(running: &Running, signals: &SignalFd) -> std::result::Result<(bool, bool), Failure> {
    let mut polled = [PollFd::new(running.as_fd(), PollFlags::POLLIN), PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    match poll(&mut polled, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(Failure::machine(format!("cannot wait for the command: {error}"))),
    }
    let [ended, signalled] = polled.map(|fd| fd.any().unwrap_or(false));
    Ok((ended, signalled))
}
