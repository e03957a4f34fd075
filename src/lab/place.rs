//! What the file system looks like inside a lab: a private `/run` with the namespaces' names and the state directory, `/etc/hosts` with the lab's names.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::sethostname;

use crate::network::kernel::{Namespace, namespace};
use crate::topology::plan::Plan;

const RUN: &str = "/run";
const STAGE: &str = "/run/testbed/stage";
/// The group whose members may ask FRR's daemons.
const FRR_GROUP: &str = "frrvty";
const FRR_PROGRAMS: &str = "/usr/lib/frr";
const FRR_LOGS: &str = "/var/tmp/frr";
/// Mounts that a node's own `/run` takes over from the lab's.
const KEPT: [&str; 3] = [namespace::PLACES, super::INSIDE, super::TURNS_INSIDE];

/// Why the file system of a lab or node could not be laid out.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what}: {error}")]
pub(super) struct PlaceError {
    what: String,
    error: io::Error,
}

fn failed<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> PlaceError {
    move |error| PlaceError { what: what.into(), error: error.into() }
}

/// Gives the calling process a mount and a UTS namespace of its own and lays out the lab in it.
/// Gives whether `/proc` shows the lab's processes (else the host's: a kernel or container that forbids mounting it).
pub(super) fn lay_out_lab(name: &str, state: &Path, turns: &Path) -> Result<bool, PlaceError> {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS).map_err(failed("make a mount namespace"))?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).map_err(failed("make mounts private"))?;
    sethostname(name).map_err(failed("set the host name"))?;
    let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let own_proc = mount(Some("proc"), "/proc", Some("proc"), safe | MsFlags::MS_NOEXEC, none).is_ok();
    // Opened before /run is covered, where they may lie.
    let [state, turns] = [state, turns].map(|path| {
        let mut options = File::options();
        options.read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY);
        options.open(path).map_err(failed(format!("open {}", path.display())))
    });
    let (state, turns) = (state?, turns?);
    tmpfs(RUN)?;
    for (directory, source) in
        [(super::INSIDE, Some(&state)), (super::TURNS_INSIDE, Some(&turns)), (namespace::PLACES, None)]
    {
        fs::create_dir_all(directory).map_err(failed(format!("make {directory}")))?;
        match source {
            Some(source) => bind(Path::new(&format!("/proc/self/fd/{}", source.as_raw_fd())), directory)?,
            None => tmpfs(directory)?,
        }
    }
    for directory in [STAGE, "/run/lock"] {
        fs::create_dir_all(directory).map_err(failed(format!("make {directory}")))?;
    }
    Ok(own_proc)
}

/// Puts the lab's own `/etc/hosts` in place, and in a user namespace `/etc/passwd` and `/etc/group` in which every user is the one that exists
/// there. Elsewhere root is in the group that FRR's daemons want their user to be in.
pub(super) fn lay_out_names(plan: &Plan) -> Result<(), PlaceError> {
    cover("/etc/hosts", &hosts(plan))?;
    if only_one_user() {
        for (path, fields) in [("/etc/passwd", 2), ("/etc/group", 1)] {
            if let Ok(text) = fs::read(path) {
                cover(path, &everybody_is_root(&String::from_utf8_lossy(&text), fields))?;
            }
        }
    } else if let Ok(text) = fs::read("/etc/group")
        && let Some(text) = with_member(&String::from_utf8_lossy(&text), FRR_GROUP, "root")
    {
        cover("/etc/group", &text)?;
    }
    hide_frr_logs()
}

/// FRR's daemons keep a buffer of their log each in files of their own, which those that are killed leave behind.
fn hide_frr_logs() -> Result<(), PlaceError> {
    if !Path::new(FRR_PROGRAMS).exists() {
        return Ok(());
    }
    // Who may not make the directory may not have FRR make it either.
    if fs::create_dir(FRR_LOGS).is_err() && !Path::new(FRR_LOGS).is_dir() {
        return Ok(());
    }
    tmpfs(FRR_LOGS)
}

/// A text of `/etc/group` in which a user is a member of a group; none if there is no such group, or it is one already.
fn with_member(text: &str, group: &str, user: &str) -> Option<String> {
    let line = text.lines().find(|line| line.split(':').next() == Some(group))?;
    let members = line.split(':').nth(3)?;
    if members.split(',').any(|member| member == user) {
        return None;
    }
    let comma = if members.is_empty() { "" } else { "," };
    let changed = |other: &str| if other == line { format!("{line}{comma}{user}\n") } else { format!("{other}\n") };
    Some(text.lines().map(changed).collect())
}

/// Whether a single user id is mapped into this user namespace.
fn only_one_user() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let mut lines = map.lines();
    let count = lines.next().and_then(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok());
    count == Some(1) && lines.next().is_none()
}

/// Sets the user and group id (the number of them after the password field) of every line to 0.
fn everybody_is_root(text: &str, fields: usize) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let ids = 2..2 + fields;
        let changed = line.split(':').enumerate().map(|(i, field)| if ids.contains(&i) { "0" } else { field });
        out.push_str(&changed.collect::<Vec<_>>().join(":"));
        out.push('\n');
    }
    out
}

fn hosts(plan: &Plan) -> String {
    let mut text = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n".to_owned();
    for node in &plan.nodes {
        // The first line of a name is the address that it stands for: the loopback's, which is up whatever link is down.
        let addresses = node.loopback.iter().chain(node.interfaces.iter().flat_map(|i| &i.addresses));
        for address in addresses {
            text.push_str(&format!("{} {}\n", address.addr(), node.name));
        }
    }
    text
}

/// Mounts a file with a text over a file of the host's, if that is there.
fn cover(path: &str, text: &str) -> Result<(), PlaceError> {
    if !Path::new(path).exists() {
        return Ok(());
    }
    let own = PathBuf::from("/run/testbed").join(path.trim_start_matches('/').replace('/', "-"));
    fs::write(&own, text).map_err(failed(format!("write {}", own.display())))?;
    bind(&own, path)
}

/// The namespaces of a node beside its network.
#[derive(Debug)]
pub(super) struct Place {
    mounts: OwnedFd,
    host_name: OwnedFd,
}

impl Place {
    /// Those of the calling process.
    pub(super) fn current() -> Result<Place, PlaceError> {
        let open = |path: &str| File::open(path).map(OwnedFd::from).map_err(failed(format!("open {path}")));
        Ok(Place { mounts: open("/proc/self/ns/mnt")?, host_name: open("/proc/self/ns/uts")? })
    }

    /// Makes those of a node, with a `/run` of its own. The calling process, which has a single thread, comes back to `home` and `home_network`.
    pub(super) fn make(
        name: &str,
        network: &Namespace,
        home: &Place,
        home_network: &Namespace,
    ) -> Result<Place, PlaceError> {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS)
            .map_err(failed(format!("make the mount namespace of {name}")))?;
        let made = lay_out_node(name, network).and_then(|()| Place::current());
        home_network.enter().map_err(failed("return to the lab's network namespace"))?;
        setns(&home.mounts, CloneFlags::CLONE_NEWNS).map_err(failed("return to the lab's mount namespace"))?;
        setns(&home.host_name, CloneFlags::CLONE_NEWUTS).map_err(failed("return to the lab's host name"))?;
        made
    }

    /// In the order in which they are to be entered.
    pub(super) fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.host_name.as_fd(), self.mounts.as_fd()]
    }
}

fn lay_out_node(name: &str, network: &Namespace) -> Result<(), PlaceError> {
    sethostname(name).map_err(failed(format!("set the host name of {name}")))?;
    tmpfs(STAGE)?;
    let mut moves: Vec<(PathBuf, PathBuf)> = Vec::new();
    for kept in KEPT {
        let staged = Path::new(STAGE).join(Path::new(kept).strip_prefix(RUN).unwrap_or(Path::new(kept)));
        fs::create_dir_all(&staged).map_err(failed(format!("make {}", staged.display())))?;
        moves.push((kept.into(), staged));
    }
    fs::create_dir_all(Path::new(STAGE).join("lock")).map_err(failed("make /run/lock"))?;
    moves.push((STAGE.into(), RUN.into()));
    for (from, to) in moves {
        mount(Some(&from), &to, None::<&str>, MsFlags::MS_MOVE, None::<&str>).map_err(failed(format!(
            "move {} to {}",
            from.display(),
            to.display()
        )))?;
    }
    // /sys shows the interfaces of the namespace that it was mounted in. Some containers forbid it, and little needs it.
    network.enter().map_err(failed(format!("enter the network namespace of {name}")))?;
    let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    match mount(Some("sysfs"), "/sys", Some("sysfs"), safe, None::<&str>) {
        Ok(()) | Err(Errno::EPERM | Errno::ENOENT | Errno::EBUSY | Errno::ENODEV) => Ok(()),
        Err(error) => Err(failed("mount /sys")(error)),
    }
}

fn tmpfs(at: &str) -> Result<(), PlaceError> {
    let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), at, Some("tmpfs"), safe, Some("mode=755")).map_err(failed(format!("mount a tmpfs on {at}")))
}

fn bind(from: &Path, to: &str) -> Result<(), PlaceError> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .map_err(failed(format!("bind {} to {to}", from.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_joins_a_group_once() {
        let text = "root:x:0:\nfrrvty:x:106:frr\nfrr:x:107:\n";
        let changed = "root:x:0:\nfrrvty:x:106:frr,root\nfrr:x:107:\n";
        assert_eq!(with_member(text, "frrvty", "root").as_deref(), Some(changed));
        assert_eq!(with_member(text, "frr", "root").as_deref(), Some("root:x:0:\nfrrvty:x:106:frr\nfrr:x:107:root\n"));
        assert_eq!(with_member(changed, "frrvty", "root"), None);
        assert_eq!(with_member("root:x:0:\n", "frrvty", "root"), None);
    }

    #[test]
    fn every_user_becomes_the_one_there_is() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nfrr:x:101:102:Frr,,,:/nonexistent:/usr/sbin/nologin\n";
        assert_eq!(
            everybody_is_root(passwd, 2),
            "root:x:0:0:root:/root:/bin/bash\nfrr:x:0:0:Frr,,,:/nonexistent:/usr/sbin/nologin\n"
        );
        assert_eq!(everybody_is_root("frrvty:x:103:frr\n", 1), "frrvty:x:0:frr\n");
    }
}
