//! `testbed logs`: show the log of a node's daemon.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::labs::Which;
use super::{Failure, Outcome, Result};
use crate::lab::Lab;
use crate::lab::file;

/// Arguments of `testbed logs`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The node whose daemon's log is shown; without it, the lab's own log and the route agent's
    node: Option<String>,
    /// Go on with what is added, until the lab ends
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    which: Which,
}

/// Runs the verb.
pub fn run(args: Args) -> Result {
    let lab = args.which.choose()?;
    let paths = match &args.node {
        Some(node) => vec![of_node(&lab, node)?],
        None => [file::LAB_LOG, file::AGENT_LOG].map(|name| lab.directory().join(file::LOGS).join(name)).to_vec(),
    };
    let cannot = |path: &Path, error: io::Error| Failure::machine(format!("cannot read {}: {error}", path.display()));
    let changes = if args.follow { Some(Inotify::init(InitFlags::IN_CLOEXEC)) } else { None };
    let changes = changes.transpose().map_err(|error| Failure::machine(format!("cannot follow files: {error}")))?;
    let mut logs = Vec::new();
    for path in &paths {
        match File::open(path) {
            Ok(log) => {
                if let Some(changes) = &changes {
                    let what = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_ATTRIB;
                    changes.add_watch(path, what).map_err(|error| cannot(path, error.into()))?;
                }
                logs.push(log);
            }
            // A lab without routes has no agent.
            Err(error) if error.kind() == io::ErrorKind::NotFound && paths.len() > 1 => {}
            Err(error) => return Err(cannot(path, error)),
        }
    }
    let mut out = io::stdout().lock();
    loop {
        for log in &mut logs {
            match copy(log, &mut out) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(Outcome::Held.into()),
                other => other.map_err(|error| Failure::machine(format!("cannot copy the log: {error}")))?,
            }
        }
        let Some(changes) = &changes else { return Ok(Outcome::Held.into()) };
        if !paths.iter().any(|path| path.exists()) {
            return Ok(Outcome::Held.into());
        }
        await_change(changes).map_err(|error| Failure::machine(format!("cannot follow files: {error}")))?;
    }
}

fn of_node(lab: &Lab, name: &str) -> std::result::Result<PathBuf, Failure> {
    let plan = lab.plan()?;
    let Some(id) = plan.find_node(name) else {
        let names: Vec<&str> = plan.nodes.iter().filter(|n| n.router().is_some()).map(|n| n.name.as_str()).collect();
        let names = names.join(", ");
        return Err(Failure::bad_input(format!("{} has no node named {name} (routers: {names})", lab.name())));
    };
    if plan.node(id).router().is_none() {
        return Err(Failure::bad_input(format!("{name} is a host: it has no daemon, and so no log")));
    }
    Ok(lab.daemon_log(name))
}

fn copy(log: &mut File, out: &mut impl Write) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        let count = log.read(&mut buffer)?;
        if count == 0 {
            return out.flush();
        }
        out.write_all(&buffer[..count])?;
    }
}

/// Waits until a file changes, or nobody reads the output any more.
fn await_change(changes: &Inotify) -> io::Result<()> {
    let out = io::stdout();
    let mut polled = [PollFd::new(changes.as_fd(), PollFlags::POLLIN), PollFd::new(out.as_fd(), PollFlags::empty())];
    match poll(&mut polled, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error.into()),
    }
    if polled[1].any().unwrap_or(false) {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    changes.read_events()?;
    Ok(())
}
