//! Terminals: pairs of pseudo-terminal ends, their size, and raw mode that is always undone.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

mod ioctl {
    nix::ioctl_read_bad!(get_size, libc::TIOCGWINSZ, libc::winsize);
    nix::ioctl_write_ptr_bad!(set_size, libc::TIOCSWINSZ, libc::winsize);
}

/// Opens a pseudo-terminal of the size and settings of `like`, both ends close-on-exec: the controlling end, non-blocking, and the one for the program.
///
/// # Errors
/// Those of `openpty(3)`.
pub fn pseudo_terminal(like: impl AsFd) -> io::Result<(OwnedFd, OwnedFd)> {
    let size = size(&like).ok();
    let settings = tcgetattr(&like).ok();
    let OpenptyResult { master, slave } = openpty(size.as_ref(), settings.as_ref())?;
    fcntl(&master, FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK))?;
    // openpty opens without close-on-exec; copies have it.
    Ok((master.as_fd().try_clone_to_owned()?, slave.as_fd().try_clone_to_owned()?))
}

/// A terminal's size in characters.
///
/// # Errors
/// `ENOTTY` if it is none.
pub fn size(terminal: impl AsFd) -> io::Result<Winsize> {
    let mut size = Winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one winsize through the pointer, which is valid for it.
    unsafe { ioctl::get_size(terminal.as_fd().as_raw_fd(), &raw mut size) }?;
    Ok(size)
}

/// Gives a terminal the size of another; programs in it get SIGWINCH.
///
/// # Errors
/// `ENOTTY` if one of them is none.
pub fn copy_size(from: impl AsFd, to: impl AsFd) -> io::Result<()> {
    let size = size(from)?;
    // SAFETY: TIOCSWINSZ reads one winsize through the pointer, which is valid for it.
    unsafe { ioctl::set_size(to.as_fd().as_raw_fd(), &raw const size) }?;
    Ok(())
}

/// A terminal in raw mode; it gets its old mode back when this is dropped.
#[derive(Debug)]
pub struct RawMode<T: AsFd> {
    terminal: T,
    before: Termios,
}

impl<T: AsFd> RawMode<T> {
    /// Puts a terminal into raw mode.
    ///
    /// # Errors
    /// `ENOTTY` if it is none.
    pub fn new(terminal: T) -> io::Result<RawMode<T>> {
        let before = tcgetattr(&terminal)?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(&terminal, SetArg::TCSADRAIN, &raw)?;
        Ok(RawMode { terminal, before })
    }
}

impl<T: AsFd> Drop for RawMode<T> {
    fn drop(&mut self) {
        // Nothing better can be done about a terminal that is gone.
        let _ = tcsetattr(&self.terminal, SetArg::TCSADRAIN, &self.before);
    }
}
