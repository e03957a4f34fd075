//! Processes of a bench and the namespaces that they work in: nothing that they make outlives them.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{getegid, geteuid};
use serde::de::DeserializeOwned;

use super::{NoFigure, Setting};

/// Moves this process into network and mount namespaces of its own, with an empty /run; an ordinary user also into a user namespace whose root it is.
/// The process must have one thread.
///
/// # Errors
/// Those of the system calls; what is missing is for `testbed doctor` to tell.
pub fn enter_private() -> io::Result<()> {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    let (user, group) = (geteuid(), getegid());
    let mut flags = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET;
    if !user.is_root() {
        flags |= CloneFlags::CLONE_NEWUSER;
    }
    unshare(flags)?;
    if !user.is_root() {
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
        fs::write("/proc/self/gid_map", format!("0 {group} 1"))?;
    }
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    mount(Some("testbed"), "/run", Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
    fs::create_dir("/run/netns")
}

/// Runs a program to its end and reads the JSON object that it prints.
///
/// # Errors
/// [`NoFigure::Missing`] if it is not there or says by exit code 3 that this machine lacks something, [`NoFigure::Failed`] for anything else.
pub fn answer<T: DeserializeOwned>(command: &mut Command) -> Result<T, NoFigure> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => NoFigure::Missing(format!("{name} is not there")),
        _ => NoFigure::failed(format!("{name}: {error}")),
    })?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let last = text.trim().lines().last().unwrap_or("it said nothing").to_owned();
        return Err(match output.status.code() {
            Some(3) => NoFigure::Missing(last),
            _ => NoFigure::failed(format!("{name}: {} ({last})", output.status)),
        });
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().rev().find(|line| line.starts_with('{')).unwrap_or_default();
    serde_json::from_str(line).map_err(|error| NoFigure::failed(format!("{name} gave {line:?}: {error}")))
}

/// Runs a hidden part of `testbed bench` in a process of its own.
///
/// # Errors
/// As [`answer`].
pub fn part<T: DeserializeOwned>(setting: &Setting, arguments: &[&str]) -> Result<T, NoFigure> {
    answer(Command::new(&setting.testbed).arg("bench").args(arguments))
}

/// A program of benches/, which cargo puts beside this one.
///
/// # Errors
/// [`NoFigure::Missing`] with the command that builds it.
pub fn beside(testbed: &Path, name: &str) -> Result<Command, NoFigure> {
    let directory = testbed.parent().unwrap_or(Path::new("."));
    let found = [directory.join("examples").join(name), directory.join(format!("testbed-{name}"))];
    match found.iter().find(|path| path.is_file()) {
        Some(path) => Ok(Command::new(path)),
        None => Err(NoFigure::Missing(format!("{name} is not built: `cargo build --release --example {name}`"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_object_that_a_program_prints_is_its_answer() {
        let got = answer::<serde_json::Value>(Command::new("sh").args(["-c", "echo hello; echo '{\"up\":7}'; echo"]));
        assert_eq!(got.unwrap()["up"], 7);
        let failed = answer::<serde_json::Value>(Command::new("sh").args(["-c", "echo no room >&2; exit 1"]));
        assert!(matches!(failed, Err(NoFigure::Failed(why)) if why.contains("no room")));
        let missing = answer::<serde_json::Value>(&mut Command::new("/nowhere/program"));
        assert_eq!(missing.unwrap_err(), NoFigure::Missing("/nowhere/program is not there".into()));
    }
}
