//! `testbed shell`: open a shell in a node.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::exec::{could_not_start, execute};
use super::labs::Which;
use super::{Failure, Result, Verdict};
use crate::lab::Running;
use crate::lab::client::Command;
use crate::sys::terminal::{RawMode, copy_size, pseudo_terminal};

/// Arguments of `testbed shell`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The node; `@LAN` for a LAN's bridge
    node: String,
    #[command(flatten)]
    which: Which,
}

/// Runs the verb: the user's shell on a terminal of its own, or, if standard input is none, reading commands from it.
pub fn run(args: Args) -> Result {
    let lab = args.which.choose()?;
    let shell = std::env::var_os("SHELL").filter(|shell| !shell.is_empty()).unwrap_or_else(|| "/bin/sh".into());
    let mut command = Command::new(Some(&args.node), [shell]);
    if !io::stdin().is_terminal() {
        return execute(&lab, command);
    }
    command.terminal = true;
    command.environment.push(("debian_chroot".into(), OsString::from(format!("{}.{}", args.node, lab.name()))));

    let cannot = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| Failure::machine(format!("cannot {what}: {error}"))
    };
    let watched: SigSet = [Signal::SIGWINCH, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT].into_iter().collect();
    watched.thread_block().map_err(|error| cannot("watch for signals")(error.into()))?;
    let signals = SignalFd::with_flags(&watched, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(|error| cannot("watch for signals")(error.into()))?;
    let stdin = io::stdin();
    let (master, slave) = pseudo_terminal(&stdin).map_err(cannot("open a terminal"))?;
    let mut running = match lab.exec(command, [slave.as_fd(), slave.as_fd(), slave.as_fd()]) {
        Ok(running) => running,
        Err(error) => return could_not_start(error),
    };
    // From here on only the shell has it open, so that its end is seen.
    drop(slave);
    let raw = RawMode::new(&stdin).map_err(cannot("set the terminal"))?;
    let relayed = relay(&running, &signals, File::from(master));
    drop(raw);
    let ended = relayed.map_err(cannot("pass on what is typed"))?;
    if ended { Ok(Verdict::Status(running.wait()?.code())) } else { Ok(Verdict::Status(128 + Signal::SIGTERM as u8)) }
}

/// Passes on what is typed and what is printed until the shell ends (gives true) or this process is told to (false).
fn relay(running: &Running, signals: &SignalFd, mut master: File) -> io::Result<bool> {
    let stdin = io::stdin();
    let mut typed = File::from(stdin.as_fd().try_clone_to_owned()?);
    let mut out = io::stdout();
    let mut buffer = [0; 16 * 1024];
    // What is typed waits here while the shell does not read.
    let mut pending: Vec<u8> = Vec::new();
    let mut typing = true;
    loop {
        let (events, ended) = {
            let keys = if typing && pending.is_empty() { PollFlags::POLLIN } else { PollFlags::empty() };
            let mut both = PollFlags::POLLIN;
            if !pending.is_empty() {
                both |= PollFlags::POLLOUT;
            }
            let mut polled = [
                PollFd::new(master.as_fd(), both),
                PollFd::new(signals.as_fd(), PollFlags::POLLIN),
                PollFd::new(running.as_fd(), PollFlags::POLLIN),
                PollFd::new(typed.as_fd(), keys),
            ];
            match poll(&mut polled, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            let events = polled.map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
            (events, events[2].intersects(PollFlags::POLLIN | PollFlags::POLLHUP))
        };
        // EIO instead of octets: the last that had the terminal open has closed it.
        let printed = if events[0].contains(PollFlags::POLLIN) { master.read(&mut buffer).unwrap_or(0) } else { 0 };
        out.write_all(&buffer[..printed])?;
        out.flush()?;
        // Not before all is shown that the shell printed.
        if ended && printed == 0 {
            return Ok(true);
        }
        if events[0].contains(PollFlags::POLLHUP) && printed == 0 {
            // The shell is about to be reaped, or closed its terminal on purpose: either way, its end will tell.
            wait_for_end(running)?;
            return Ok(true);
        }
        if events[0].contains(PollFlags::POLLOUT) {
            match master.write(&pending) {
                Ok(count) => drop(pending.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        if !events[1].is_empty() {
            while let Ok(Some(signal)) = signals.read_signal() {
                if signal.ssi_signo == Signal::SIGWINCH as u32 {
                    copy_size(&stdin, &master)?;
                } else {
                    return Ok(false);
                }
            }
        }
        if !events[3].is_empty() && typing && pending.is_empty() {
            let count = typed.read(&mut buffer)?;
            if count == 0 {
                typing = false;
                if events[3].contains(PollFlags::POLLHUP) {
                    return Ok(false);
                }
            }
            pending.extend_from_slice(&buffer[..count]);
        }
    }
}

fn wait_for_end(running: &Running) -> io::Result<()> {
    loop {
        let mut polled = [PollFd::new(running.as_fd(), PollFlags::POLLIN)];
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
