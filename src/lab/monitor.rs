//! The monitor: parent of a lab's PID 1. It holds the lock, and removes the state directory when PID 1 is gone.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, chdir, dup2_stdin, getegid, geteuid, pipe2, setsid};

use super::protocol::{Failure, Fault, Order, Report, Start, receive, send};
use super::state::Base;
use super::supervisor;
use super::turn::Turn;
use crate::network::kernel::release::await_released;
use crate::sys::files::close_inherited;
use crate::sys::process::{fork_single_threaded, null};

/// How long the kernel may take to take a lab's network namespaces apart. Others of the machine's may be in the same queue.
const RELEASE_WAIT: Duration = Duration::from_secs(20);

/// What the client that starts a lab hands over.
#[derive(Debug)]
pub(super) struct Inheritance {
    /// The life line.
    pub life: OwnedFd,
    /// The state directory's lock.
    pub lock: OwnedFd,
    /// The turn, for as long as the lab is being built.
    pub turn: Turn,
    /// Ends when the monitor does. Only PID 1 has it.
    pub monitor: Option<OwnedFd>,
}

/// The whole life of a monitor, whose standard input is the life line. Returns its exit status.
pub fn run() -> u8 {
    if let Err(error) = close_inherited() {
        eprintln!("testbed: monitor: inherited descriptors stay open: {error}");
    }
    let life = match take_life_line() {
        Ok(life) => life,
        Err(error) => {
            eprintln!("testbed: monitor: {error}");
            return 1;
        }
    };
    match begin(life) {
        Ok(()) => 0,
        Err((life, failure)) => {
            eprintln!("testbed: monitor: {failure}");
            // Nobody is left to be told if this fails.
            let _ = send(&life, &Report::Failed(failure), &[]);
            1
        }
    }
}

/// The life line comes as standard input; no program of the lab shall inherit it.
fn take_life_line() -> io::Result<OwnedFd> {
    let life = io::stdin().as_fd().try_clone_to_owned()?;
    dup2_stdin(null()?)?;
    Ok(life)
}

fn begin(life: OwnedFd) -> Result<(), (OwnedFd, Failure)> {
    let machine = |message: String| Failure { kind: Fault::Machine, message };
    let received = receive::<Order>(&life).map_err(|error| format!("the order cannot be read: {error}"));
    let order = received.and_then(|order| order.ok_or_else(|| "the client is gone".to_owned()));
    let (start, descriptors) = match order {
        Ok((Order::Start(start), descriptors)) => (start, descriptors),
        Ok((Order::Detach, _)) => return Err((life, machine("the first order is not to start".into()))),
        Err(message) => return Err((life, machine(message))),
    };
    let Ok([lock, turn]) = <[OwnedFd; 2]>::try_from(descriptors) else {
        return Err((life, machine("descriptors are missing from the order".into())));
    };
    let turn = Turn::handed_over(turn);
    let inheritance = Inheritance { life, lock, turn, monitor: None };
    let (inheritance, result) = guard(&start, inheritance);
    // Until then the kernel is busy with the lab, and whoever waits for its end would go on too early.
    if let Err(error) = await_released(RELEASE_WAIT) {
        eprintln!("testbed: monitor: {error}");
    }
    // However it went, what is outside the lab is cleaned up by whoever holds the lock: this process.
    if let Err(error) = Base::find(Some(&start.base)).and_then(|base| base.remove(&start.name)) {
        eprintln!("testbed: monitor: {error}");
    }
    result.map_err(|failure| (inheritance.life, failure))
}

/// Makes PID 1 and waits for its end.
fn guard(start: &Start, mut inheritance: Inheritance) -> (Inheritance, Result<(), Failure>) {
    let machine = |message: String| Failure { kind: Fault::Machine, message };
    let prepared = (|| {
        // Without a session of its own, it would get what is typed at the client's terminal.
        setsid().map_err(|error| format!("cannot start a session: {error}"))?;
        chdir("/").map_err(|error| format!("cannot enter /: {error}"))?;
        let mut awaited = SigSet::empty();
        for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT] {
            awaited.add(signal);
        }
        awaited.thread_block().map_err(|error| format!("cannot block signals: {error}"))?;
        separate()?;
        let (monitor, held) = pipe2(OFlag::O_CLOEXEC).map_err(|error| format!("cannot make a pipe: {error}"))?;
        Ok((awaited, monitor, held))
    })();
    let (awaited, monitor, held) = match prepared {
        Ok(prepared) => prepared,
        Err(message) => return (inheritance, Err(machine(message))),
    };
    match fork_single_threaded() {
        Ok(Some(child)) => {
            drop(monitor);
            let result = wait(child, &awaited).map_err(machine);
            drop(held);
            (inheritance, result)
        }
        Ok(None) => {
            drop(held);
            inheritance.monitor = Some(monitor);
            std::process::exit(supervisor::run(start, inheritance).into())
        }
        Err(error) => (inheritance, Err(machine(format!("cannot fork: {error}")))),
    }
}

/// Waits until PID 1 has ended; with it, the kernel has ended every process of the lab.
fn wait(child: Pid, awaited: &SigSet) -> Result<(), String> {
    loop {
        match waitpid(child, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, 0)) => return Ok(()),
            Ok(WaitStatus::Exited(_, status)) => {
                return Err(format!("the lab's supervisor ended with status {status}"));
            }
            Ok(WaitStatus::Signaled(_, signal, _)) => {
                return Err(format!("the lab's supervisor was ended by {signal}"));
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(format!("cannot wait for the lab's supervisor: {error}")),
        }
        match awaited.wait() {
            Ok(Signal::SIGCHLD) | Err(Errno::EINTR) => {}
            Ok(_) => {
                // Asked to end: so ends the lab, in order.
                let _ = kill(child, Signal::SIGKILL);
            }
            Err(error) => return Err(format!("cannot wait for signals: {error}")),
        }
    }
}

/// Enters a new PID namespace (for the children), and before it a user namespace if this user may not make one otherwise.
pub(super) fn separate() -> Result<(), String> {
    match unshare(CloneFlags::CLONE_NEWPID) {
        Ok(()) => return Ok(()),
        Err(Errno::EPERM) => {}
        Err(error) => return Err(format!("cannot make a PID namespace: {error}{}", limit_hint(error))),
    }
    let (uid, gid) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|error| {
        format!("an ordinary user needs a user namespace, and cannot make one: {error}{}", user_hint(error))
    })?;
    let write = |file: &str, text: String| {
        fs::write(format!("/proc/self/{file}"), text).map_err(|error| {
            format!("cannot write /proc/self/{file} in the new user namespace: {error}{}", apparmor_hint())
        })
    };
    write("setgroups", "deny".into())?;
    write("uid_map", format!("0 {uid} 1"))?;
    write("gid_map", format!("0 {gid} 1"))?;
    unshare(CloneFlags::CLONE_NEWPID)
        .map_err(|error| format!("cannot make a PID namespace in the user namespace: {error}{}", apparmor_hint()))
}

fn limit_hint(error: Errno) -> &'static str {
    if error == Errno::ENOSPC { " (the limit in /proc/sys/user/max_pid_namespaces is reached)" } else { "" }
}

fn user_hint(error: Errno) -> &'static str {
    match error {
        Errno::ENOSPC => " (the limit in /proc/sys/user/max_user_namespaces is reached or 0)",
        Errno::EPERM => " (forbidden by this system: `testbed doctor` says how to allow it; or run as root)",
        _ => "",
    }
}

fn apparmor_hint() -> &'static str {
    let restricted = File::open("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").is_ok();
    if restricted { " (AppArmor restricts user namespaces here: `testbed doctor` says how to allow them)" } else { "" }
}
