//! Starting a lab.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::client::{Lab, LabError, build_turn, io_error};
use super::file;
use super::protocol::{Failure, Fault, Order, Progress, Report, Start, receive, send};
use super::state::{Base, StateError};
use super::turn::Turn;
use crate::sys::pass;
use crate::topology::plan::Plan;

/// This program, whatever has become of its file.
pub(super) const OWN_PROGRAM: &str = "/proc/self/exe";

/// How a lab is started.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// Its name, if not the plan's: labs of one plan side by side need one each.
    pub name: Option<&'a str>,
    /// Only namespaces, links and addresses: no routes and no daemons.
    pub bare: bool,
    /// A turn to build that the caller has taken, and goes on with; if there is none, the lab takes one of its own and ends it.
    pub turn: Option<&'a Turn>,
    /// Becomes readable when the start shall be broken off (a `signalfd`, a pipe).
    pub interrupt: Option<BorrowedFd<'a>>,
}

/// A lab that this process keeps: when this is dropped or the process ends, so does the lab.
#[derive(Debug)]
pub struct RunningLab {
    lab: Lab,
    life: Option<OwnedFd>,
    monitor: Child,
}

/// Builds a lab from a plan, and gives it when everything in it is ready. `progress` is told how far it is.
///
/// # Errors
/// [`LabError`]; then nothing is left of the lab.
pub fn start(
    base: &Base,
    plan: &Plan,
    options: &Options<'_>,
    progress: &mut dyn FnMut(&Progress),
) -> Result<RunningLab, LabError> {
    let name = options.name.unwrap_or(&plan.name);
    if base.sweep()?.iter().any(|up| up == name) {
        return Err(StateError::Up(name.to_owned()).into());
    }
    // Before anything is made, for the wait may be long, and be broken off.
    let turns = base.turns()?;
    let own_turn = match options.turn {
        Some(_) => None,
        None => Some(build_turn(base, options.interrupt, &mut || progress(&Progress::Waiting))?),
    };
    let turn = own_turn.as_ref().or(options.turn);
    let claim = base.claim(name)?;
    // Without a monitor that removes it, this process does.
    let unclaim = |error: LabError| {
        let _ = base.remove(name);
        error
    };
    let path = claim.path.join(file::PLAN);
    let written = serde_json::to_vec(plan).map_err(io::Error::from).and_then(|octets| write_private(&path, &octets));
    written.map_err(io_error(format!("write {}", path.display()))).map_err(unclaim)?;
    let (monitor, life) = spawn_monitor(&claim.path).map_err(unclaim)?;
    let mut running = RunningLab { lab: Lab::named(base, name), life: Some(life), monitor };
    let order = Order::Start(Start {
        name: name.to_owned(),
        base: base.path().to_owned(),
        turns,
        bare: options.bare,
        keeps_turn: own_turn.is_none(),
    });
    let told = match (&running.life, turn) {
        (Some(life), Some(turn)) => send(life, &order, &[claim.lock.as_fd(), turn.as_fd()]),
        _ => Ok(()),
    };
    if let Err(error) = told {
        let _ = running.monitor.wait();
        return Err(unclaim(io_error("speak to the lab's monitor")(error)));
    }
    drop((claim.lock, own_turn));
    match running.await_ready(progress, options.interrupt) {
        Ok(()) => Ok(running),
        Err(error) => {
            drop(running);
            // The monitor has cleaned up, unless it was killed.
            let _ = base.sweep();
            Err(error)
        }
    }
}

fn spawn_monitor(state: &std::path::Path) -> Result<(Child, OwnedFd), LabError> {
    let path = state.join(file::LOGS).join(file::LAB_LOG);
    let log = File::options().append(true).create(true).mode(0o600).open(&path);
    let log = log.map_err(io_error(format!("open {}", path.display())))?;
    let (life, far) = pass::pair().map_err(io_error("make a life line"))?;
    let errors = log.try_clone().map_err(io_error("copy a descriptor"))?;
    let monitor = Command::new(OWN_PROGRAM)
        .arg0("testbed")
        .args(["inside", "monitor"])
        .stdin(Stdio::from(far))
        .stdout(log)
        .stderr(errors)
        .spawn()
        .map_err(io_error("start the lab's monitor"))?;
    Ok((monitor, life))
}

fn write_private(path: &std::path::Path, octets: &[u8]) -> io::Result<()> {
    File::options().write(true).create_new(true).mode(0o600).open(path)?.write_all(octets)
}

impl RunningLab {
    fn await_ready(
        &mut self,
        progress: &mut dyn FnMut(&Progress),
        interrupt: Option<BorrowedFd<'_>>,
    ) -> Result<(), LabError> {
        let log = self.lab.directory().join(file::LOGS).join(file::LAB_LOG);
        // Opened now: if the lab fails, its directory goes.
        let mut log = File::open(log).ok();
        loop {
            let Some(life) = &self.life else { return Err(LabError::Gone(self.lab.name().to_owned())) };
            if is_interrupted(life, interrupt)? {
                self.end();
                return Err(LabError::Interrupted);
            }
            match receive::<Report>(life) {
                Ok(Some((Report::Progress(step), _))) => progress(&step),
                Ok(Some((Report::Ready, _))) => return Ok(()),
                Ok(Some((Report::Failed(failure), _))) => {
                    // Nothing is left of the lab once the monitor has ended.
                    let _ = self.monitor.wait();
                    return Err(failure.into());
                }
                Ok(None) => {
                    let _ = self.monitor.wait();
                    let mut text = String::new();
                    if let Some(log) = &mut log {
                        let _ = log.take(64 * 1024).read_to_string(&mut text);
                    }
                    let message = format!("the lab {} ended while it was built\n{}", self.lab.name(), text.trim_end());
                    return Err(Failure { kind: Fault::Machine, message }.into());
                }
                Err(error) => return Err(io_error("hear the lab's supervisor")(error)),
            }
        }
    }

    /// The lab.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// Lets the lab live on when this process ends.
    ///
    /// # Errors
    /// [`LabError::Io`] if the lab cannot be told.
    pub fn detach(mut self) -> Result<Lab, LabError> {
        if let Some(life) = &self.life {
            send(life, &Order::Detach, &[]).map_err(io_error("detach from the lab"))?;
        }
        // The supervisor reads the order before it sees the end.
        self.life = None;
        Ok(self.lab.clone())
    }

    /// Waits until the lab ends by itself, or `interrupt` becomes readable; gives whether it has ended.
    ///
    /// # Errors
    /// [`LabError::Io`].
    pub fn wait(&self, interrupt: BorrowedFd<'_>) -> Result<bool, LabError> {
        let Some(life) = &self.life else { return Ok(true) };
        while !is_interrupted(life, Some(interrupt))? {
            match receive::<Report>(life) {
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return Ok(true),
            }
        }
        Ok(false)
    }

    /// Ends the lab in its turn (see [`Lab::down`]) and waits until nothing is left of it.
    ///
    /// # Errors
    /// [`LabError`].
    pub fn down(mut self, waiting: &mut dyn FnMut()) -> Result<(), LabError> {
        let result = self.lab.down(waiting);
        self.end();
        result
    }

    /// The same in a turn that the caller has taken to build.
    ///
    /// # Errors
    /// [`LabError`].
    pub fn down_in(mut self, turn: &Turn) -> Result<(), LabError> {
        let result = self.lab.down_in(turn);
        self.end();
        result
    }

    fn end(&mut self) {
        if self.life.take().is_some() {
            // It ends by itself, at the latest when it sees the closed life line.
            let _ = self.monitor.wait();
        }
    }
}

/// Waits for news on the life line; gives whether to break off.
fn is_interrupted(life: &OwnedFd, interrupt: Option<BorrowedFd<'_>>) -> Result<bool, LabError> {
    let Some(interrupt) = interrupt else { return Ok(false) };
    loop {
        let mut polled = [life.as_fd(), interrupt].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) => return Ok(polled[1].any().unwrap_or(false)),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(io_error("wait for the lab")(error.into())),
        }
    }
}

impl Drop for RunningLab {
    fn drop(&mut self) {
        self.end();
    }
}
