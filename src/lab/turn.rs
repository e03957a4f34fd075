//! Taking turns: no lab is built or taken down while another is in a timed step.
//!
//! The kernel has one lock for all network configuration on the machine. While a lab is built or taken down, another's forwarding updates wait for it,
//! which would spoil what is measured there. So builders hold a lock alone, and timed steps share it; a builder that waits lets no further timed step
//! begin, so that it gets its turn.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::mpsc;
use std::thread;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::pipe2;

use crate::sys::files::{Lock, lock, try_lock, unlock};

/// What the turn is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Building a lab or taking it down: alone.
    Build,
    /// A timed step: beside others.
    Timed,
}

/// A turn; it ends when this and every copy of its descriptor in other processes is closed, or by [`Turn::end`].
#[derive(Debug)]
pub struct Turn(File);

impl Turn {
    /// Waits for a turn. `place` is the directory of turns ([`super::Base::turns`]; [`super::TURNS_INSIDE`] for processes of a lab); `waiting` is called once if
    /// the turn does not come at once.
    ///
    /// # Errors
    /// Those of opening and locking files.
    pub fn take(place: &Path, purpose: Purpose, waiting: &mut dyn FnMut()) -> io::Result<Turn> {
        let mut told = false;
        let mut take = |file: &File, kind| {
            if try_lock(file, kind)? {
                return Ok(());
            }
            if !std::mem::replace(&mut told, true) {
                waiting();
            }
            lock(file, kind)
        };
        // Whoever waits for the turn holds the gate, and a builder may wait long.
        let gate = open(&place.join("gate"))?;
        take(&gate, Lock::Exclusive)?;
        let turn = open(&place.join("turn"))?;
        take(&turn, if purpose == Purpose::Build { Lock::Exclusive } else { Lock::Shared })?;
        Ok(Turn(turn))
    }

    /// The same; gives none if `interrupt` becomes readable, or is hung up, before the turn comes.
    ///
    /// # Errors
    /// Those of opening and locking files, and of making a pipe and a thread.
    pub fn take_unless(
        interrupt: BorrowedFd<'_>,
        place: &Path,
        purpose: Purpose,
        waiting: &mut dyn FnMut(),
    ) -> io::Result<Option<Turn>> {
        // A wait for a lock cannot be broken off: whoever waits is left alone then, and lets go of the turn when it comes.
        let (said, says) = pipe2(OFlag::O_CLOEXEC)?;
        let (mut said, mut says) = (File::from(said), File::from(says));
        let (tell, told) = mpsc::channel();
        let place = place.to_owned();
        // Nobody may listen any more; a pipe that nobody could read would end the process.
        let heard = said.try_clone()?;
        let take = move || {
            let turn = Turn::take(&place, purpose, &mut || {
                let _ = says.write_all(b"w");
            });
            let _ = tell.send(turn);
            drop(heard);
        };
        thread::Builder::new().name("turn".into()).spawn(take)?;
        loop {
            let mut polled = [PollFd::new(said.as_fd(), PollFlags::POLLIN), PollFd::new(interrupt, PollFlags::POLLIN)];
            match poll(&mut polled, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
                Ok(_) if polled[1].any() == Some(true) => return Ok(None),
                Ok(_) => {}
            }
            // Hung up when the thread is done.
            match said.read(&mut [0])? {
                0 => return told.recv().map_err(io::Error::other)?.map(Some),
                _ => waiting(),
            }
        }
    }

    /// A turn that another process took and handed over.
    pub fn handed_over(file: impl Into<File>) -> Turn {
        Turn(file.into())
    }

    /// Ends the turn in every process that has it.
    ///
    /// # Errors
    /// Those of `flock(2)`.
    pub fn end(self) -> io::Result<()> {
        unlock(&self.0)
    }
}

impl AsFd for Turn {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_had_enough_waits_no_longer_and_holds_up_nobody() {
        let place = std::env::temp_dir().join(format!("testbed-turns-left-{}", std::process::id()));
        std::fs::create_dir_all(&place).unwrap();
        let timed = Turn::take(&place, Purpose::Timed, &mut || panic!("nothing to wait for")).unwrap();
        let (interrupt, hung) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let mut hung = Some(hung);
        // It has had enough as soon as it must wait.
        let none = Turn::take_unless(interrupt.as_fd(), &place, Purpose::Build, &mut || drop(hung.take())).unwrap();
        assert!(none.is_none());
        timed.end().unwrap();
        let (interrupt, _hung) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let turn = Turn::take_unless(interrupt.as_fd(), &place, Purpose::Build, &mut || {}).unwrap();
        turn.expect("a turn").end().unwrap();
        std::fs::remove_dir_all(&place).unwrap();
    }

    #[test]
    fn a_builder_waits_for_timed_steps_and_keeps_new_ones_waiting() {
        let place = std::env::temp_dir().join(format!("testbed-turns-{}", std::process::id()));
        std::fs::create_dir_all(&place).unwrap();
        let quiet = &mut || panic!("nothing to wait for");
        let first = Turn::take(&place, Purpose::Timed, quiet).unwrap();
        let second = Turn::take(&place, Purpose::Timed, quiet).unwrap();
        let (tell, told) = mpsc::channel();
        thread::scope(|scope| {
            let builder_tells = tell.clone();
            scope.spawn({
                let place = &place;
                move || {
                    let turn = Turn::take(place, Purpose::Build, &mut || builder_tells.send("builder waits").unwrap());
                    builder_tells.send("builder").unwrap();
                    turn.unwrap().end().unwrap();
                }
            });
            assert_eq!(told.recv().unwrap(), "builder waits");
            scope.spawn({
                let place = &place;
                move || {
                    let turn = Turn::take(place, Purpose::Timed, &mut || tell.send("step waits").unwrap()).unwrap();
                    tell.send("step").unwrap();
                    drop(turn);
                }
            });
            assert_eq!(told.recv().unwrap(), "step waits");
            drop(first);
            second.end().unwrap();
            assert_eq!([told.recv().unwrap(), told.recv().unwrap()], ["builder", "step"]);
        });
        std::fs::remove_dir_all(&place).unwrap();
    }
}
