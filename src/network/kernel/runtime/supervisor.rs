//! What the runner asks of its lab's supervisor: commands in nodes, and daemons that end and start again.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::pipe2;

use crate::lab::Lab;
use crate::lab::client::{Command, LabError};
use crate::lab::protocol::{DaemonAction, Fault};
use crate::network::CommandOutput;

/// Octets that are kept of each of a command's outputs.
const OUTPUT_MAX: usize = 64 << 10;

/// Why the supervisor did not do it.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// It refused, or is gone.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// A pipe.
    #[error("cannot read the command's output: {0}")]
    Io(#[from] io::Error),
    /// The command ran too long and was killed.
    #[error("it was still running after {0:?} and was killed")]
    Late(Duration),
    /// There is nothing to run.
    #[error("the command is empty")]
    NoCommand,
}

/// What can be done to a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// SIGKILL.
    Kill,
    /// Killed if it runs, started, ready.
    Restart,
    /// SIGSTOP.
    Pause,
    /// SIGCONT.
    Resume,
}

impl Verb {
    /// As an order.
    pub fn word(self) -> &'static str {
        match self {
            Verb::Kill => "kill the daemon of",
            Verb::Restart => "restart the daemon of",
            Verb::Pause => "pause the daemon of",
            Verb::Resume => "resume the daemon of",
        }
    }

    /// When it is done.
    pub fn done(self) -> &'static str {
        match self {
            Verb::Kill => "killed",
            Verb::Restart => "restarted",
            Verb::Pause => "paused",
            Verb::Resume => "resumed",
        }
    }

    fn action(self) -> DaemonAction {
        match self {
            Verb::Kill => DaemonAction::Kill,
            Verb::Restart => DaemonAction::Start,
            Verb::Pause => DaemonAction::Pause,
            Verb::Resume => DaemonAction::Resume,
        }
    }
}

/// Does something to a router's daemon, and returns when it is done.
///
/// # Errors
/// [`SupervisorError::Lab`].
pub fn daemon(lab: &Lab, node: &str, verb: Verb) -> Result<(), SupervisorError> {
    Ok(lab.daemon(node, verb.action())?)
}

/// Runs a command in a namespace to its end. Of its outputs the first 64 KiB each are kept. A command that is not there
/// ends with status 127, one that cannot be run with 126, as in a shell.
///
/// # Errors
/// [`SupervisorError`]; [`SupervisorError::Late`] past the limit.
pub fn run(lab: &Lab, node: &str, command: &[String], limit: Duration) -> Result<CommandOutput, SupervisorError> {
    if command.is_empty() {
        return Err(SupervisorError::NoCommand);
    }
    let deadline = Instant::now().checked_add(limit);
    let nothing = std::fs::File::open("/dev/null")?;
    let (mut stdout, out) = Output::new()?;
    let (mut stderr, err) = Output::new()?;
    let mut running = match lab.exec(Command::new(Some(node), command), [nothing.as_fd(), out.as_fd(), err.as_fd()]) {
        Err(LabError::Refused(failure)) if matches!(failure.kind, Fault::NotFound | Fault::NotExecutable) => {
            let status = if failure.kind == Fault::NotFound { 127 } else { 126 };
            return Ok(CommandOutput { status, stdout: String::new(), stderr: failure.message });
        }
        started => started?,
    };
    drop((out, err));
    loop {
        let left = deadline.map_or(limit, |deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            // The handle is dropped, and the command's group is killed with it.
            return Err(SupervisorError::Late(limit));
        }
        let mut waiting = vec![PollFd::new(running.as_fd(), PollFlags::POLLIN)];
        let outputs = [&stdout, &stderr].into_iter().filter(|output| output.open);
        waiting.extend(outputs.map(|output| PollFd::new(output.pipe.as_fd(), PollFlags::POLLIN)));
        // A longer wait than poll can take ends early and begins again.
        let millis = i32::try_from(left.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
        match poll(&mut waiting, PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(io::Error::from(error).into()),
        }
        let ended = waiting.first().and_then(PollFd::any).unwrap_or(false);
        drop(waiting);
        // What the command wrote before it ended is in the pipes by now.
        let exit = if ended { Some(running.wait()?) } else { None };
        stdout.read()?;
        stderr.read()?;
        if let Some(exit) = exit {
            let status = i32::from(exit.code());
            return Ok(CommandOutput { status, stdout: stdout.text(), stderr: stderr.text() });
        }
    }
}

/// One output of a command, read as it comes.
struct Output {
    pipe: std::fs::File,
    kept: Vec<u8>,
    open: bool,
}

impl Output {
    fn new() -> io::Result<(Output, OwnedFd)> {
        let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
        fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok((Output { pipe: read.into(), kept: Vec::new(), open: true }, write))
    }

    /// Reads what is there; beyond the limit it is thrown away, so that the command is never held up.
    fn read(&mut self) -> io::Result<()> {
        let mut octets = [0; 16 * 1024];
        while self.open {
            match self.pipe.read(&mut octets) {
                Ok(0) => self.open = false,
                Ok(count) => {
                    let room = OUTPUT_MAX.saturating_sub(self.kept.len());
                    self.kept.extend_from_slice(&octets[..count.min(room)]);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.kept).into_owned()
    }
}
