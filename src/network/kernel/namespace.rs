//! Network namespaces, held by descriptor.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, setns, unshare};

/// Where the namespaces of a lab have their names, inside the lab.
pub const PLACES: &str = "/run/netns";

/// A network namespace; it exists at least as long as this.
#[derive(Debug)]
pub struct Namespace(OwnedFd);

impl Namespace {
    /// Opens a namespace by the path of its file.
    ///
    /// # Errors
    /// Those of `open(2)`.
    pub fn open(path: &Path) -> io::Result<Namespace> {
        Ok(Namespace(File::open(path)?.into()))
    }

    /// Opens a namespace of this lab by name (a node's, or `@LAN`); only inside the lab.
    ///
    /// # Errors
    /// Those of `open(2)`.
    pub fn named(name: &str) -> io::Result<Namespace> {
        Namespace::open(&place(name))
    }

    /// The namespace of the calling thread.
    ///
    /// # Errors
    /// Those of `open(2)`.
    pub fn current() -> io::Result<Namespace> {
        Namespace::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// Makes a new namespace and moves the calling thread into it.
    ///
    /// # Errors
    /// Those of `unshare(2)`: `EPERM` without CAP_SYS_ADMIN, `ENOSPC` at the limit of namespaces.
    pub fn create_and_enter() -> io::Result<Namespace> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        Namespace::current()
    }

    /// Moves the calling thread into the namespace.
    ///
    /// # Errors
    /// Those of `setns(2)`.
    pub fn enter(&self) -> io::Result<()> {
        Ok(setns(&self.0, CloneFlags::CLONE_NEWNET)?)
    }

    /// Runs something with the calling thread in the namespace, and moves the thread back. Sockets that are opened meanwhile stay in the namespace.
    ///
    /// # Errors
    /// Those of `setns(2)`.
    ///
    /// # Panics
    /// If the thread cannot get back to where it was: it must not go on in a wrong namespace.
    pub fn inside<T>(&self, what: impl FnOnce() -> T) -> io::Result<T> {
        let home = Home(Namespace::current()?);
        self.enter()?;
        let result = what();
        drop(home);
        Ok(result)
    }
}

/// Brings the thread back also when what ran in the namespace panicked.
struct Home(Namespace);

impl Drop for Home {
    fn drop(&mut self) {
        if let Err(error) = self.0.enter() {
            if std::thread::panicking() {
                std::process::abort();
            }
            panic!("cannot return to the network namespace: {error}");
        }
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The path of a namespace's file, by its name.
pub fn place(name: &str) -> PathBuf {
    Path::new(PLACES).join(name)
}
