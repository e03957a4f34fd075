//! Whole-file locks, and the number of open files.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// How a file is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// Many may hold it.
    Shared,
    /// One alone.
    Exclusive,
}

/// Takes a lock (`flock`) if it is free now; gives whether it was. The lock belongs to the open file: to every copy of the descriptor, in
/// whichever process, and it is given back when the last of them is closed or [`unlock`] is called on any.
///
/// # Errors
/// Those of `flock(2)`, except that the lock is held.
pub fn try_lock(file: impl AsFd, lock: Lock) -> io::Result<bool> {
    match flock(file, lock, libc::LOCK_NB) {
        Err(error) if error.raw_os_error() == Some(libc::EWOULDBLOCK) => Ok(false),
        other => other.map(|()| true),
    }
}

/// Waits for a lock; see [`try_lock`].
///
/// # Errors
/// Those of `flock(2)`.
pub fn lock(file: impl AsFd, lock: Lock) -> io::Result<()> {
    flock(file, lock, 0)
}

/// Gives a lock back.
///
/// # Errors
/// Those of `flock(2)`.
pub fn unlock(file: impl AsFd) -> io::Result<()> {
    flock_raw(file, libc::LOCK_UN)
}

fn flock(file: impl AsFd, lock: Lock, flags: i32) -> io::Result<()> {
    let kind = match lock {
        Lock::Shared => libc::LOCK_SH,
        Lock::Exclusive => libc::LOCK_EX,
    };
    flock_raw(file, kind | flags)
}

fn flock_raw(file: impl AsFd, operation: i32) -> io::Result<()> {
    loop {
        // SAFETY: flock takes a descriptor, which the borrow keeps open, and no pointer.
        let result = unsafe { libc::flock(file.as_fd().as_raw_fd(), operation) };
        match Errno::result(result) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Raises the soft limit of open files to the hard one; gives the limits as they were and the new soft one.
///
/// # Errors
/// Those of `setrlimit(2)`.
pub fn raise_open_files() -> io::Result<((u64, u64), u64)> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(((soft, hard), hard))
}

/// Closes every descriptor but standard input, output and error: those that a careless parent let this process inherit.
/// Only for the start of a program, before it has opened anything.
///
/// # Errors
/// Those of `close_range(2)`; `ENOSYS` before Linux 5.9.
pub(crate) fn close_inherited() -> io::Result<()> {
    // SAFETY: no pointer is passed; the caller owns no descriptor yet, as it has opened none.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0u32) };
    Ok(Errno::result(result).map(drop)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_until_every_copy_is_closed() {
        let path = std::env::temp_dir().join(format!("testbed-lock-{}", std::process::id()));
        let open = || std::fs::File::options().create(true).truncate(false).write(true).open(&path).unwrap();
        let first = open();
        assert!(try_lock(&first, Lock::Exclusive).unwrap());
        let copy = first.try_clone().unwrap();
        drop(first);
        let second = open();
        assert!(!try_lock(&second, Lock::Shared).unwrap());
        drop(copy);
        assert!(try_lock(&second, Lock::Shared).unwrap());
        assert!(try_lock(open(), Lock::Shared).unwrap());
        unlock(&second).unwrap();
        std::fs::remove_file(&path).unwrap();
    }
}
