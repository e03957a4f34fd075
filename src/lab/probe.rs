//! What labs can do on this machine, found out by doing it where a lab would be: in new namespaces, which are thrown away.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::{WaitStatus, waitpid};
use serde::{Deserialize, Serialize};

use super::monitor::separate;
use super::start::OWN_PROGRAM;
use crate::network::kernel::Namespace;
use crate::network::kernel::needs::{Feature, try_out};
use crate::sys::process::fork_single_threaded;

/// What was found out.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Found {
    /// Why no lab can be made at all, if so; then nothing else was tried.
    pub impossible: Option<String>,
    /// Whether labs lie in a user namespace.
    pub in_user_namespace: bool,
    /// Why `/proc` cannot show a lab's own processes, if so.
    pub no_proc: Option<String>,
    /// What each feature's trial gave: nothing if it works, else the system's word.
    pub features: BTreeMap<Feature, Option<String>>,
}

/// Finds out, in a process of its own.
///
/// # Errors
/// If that process cannot be started or says nothing.
pub fn probe() -> io::Result<Found> {
    let output = Command::new(OWN_PROGRAM)
        .arg0("testbed")
        .args(["inside", "probe"])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The process that finds out and prints it. It has a single thread.
///
/// # Errors
/// If it cannot fork or print.
pub fn run() -> io::Result<()> {
    let before = fs::read_link("/proc/self/ns/user")?;
    if let Err(why) = separate() {
        return print(&Found { impossible: Some(why), ..Found::default() });
    }
    let in_user_namespace = fs::read_link("/proc/self/ns/user")? != before;
    match fork_single_threaded()? {
        // The first process of the new PID namespace.
        None => std::process::exit(match print(&look(in_user_namespace)) {
            Ok(()) => 0,
            Err(_) => 1,
        }),
        Some(child) => match waitpid(child, None)? {
            WaitStatus::Exited(_, 0) => Ok(()),
            other => Err(io::Error::other(format!("the probe ended: {other:?}"))),
        },
    }
}

fn look(in_user_namespace: bool) -> Found {
    let none = None::<&str>;
    let own_mounts = unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS)
        .and_then(|()| mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none));
    if let Err(error) = own_mounts {
        let impossible = Some(format!("cannot make a mount namespace: {error}"));
        return Found { impossible, in_user_namespace, ..Found::default() };
    }
    let proc = mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), none);
    // One that this user namespace owns: trials come back to it, and there is no way back into the host's.
    if let Err(error) = Namespace::create_and_enter() {
        let impossible = Some(format!("cannot make a network namespace: {error}"));
        return Found { impossible, in_user_namespace, ..Found::default() };
    }
    let features = Feature::ALL.into_iter().map(|feature| (feature, try_out(feature).err()));
    Found {
        impossible: None,
        in_user_namespace,
        no_proc: proc.err().map(|error| error.to_string()),
        features: features.collect(),
    }
}

fn print(found: &Found) -> io::Result<()> {
    println!("{}", serde_json::to_string(found)?);
    Ok(())
}
