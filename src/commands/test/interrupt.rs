//! Ctrl-C: what runs is ended, its labs are taken down, and what has been judged is reported. A second one ends at once; the labs then
//! go with their life lines.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::OFlag;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::pipe2;

use crate::commands::Failure;

/// Whether the user has had enough.
#[derive(Debug)]
pub struct Interrupt {
    set: Arc<AtomicBool>,
    /// Hung up by the watcher.
    told: OwnedFd,
}

impl Interrupt {
    /// Watches for SIGINT, SIGTERM and SIGHUP from now on. To be called before there is any other thread.
    pub fn watch() -> Result<Interrupt, Failure> {
        let failed = |what: &str, error: io::Error| Failure::machine(format!("cannot {what}: {error}"));
        let mut signals = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            signals.add(signal);
        }
        // Threads inherit the mask; the standard library gives programs that it starts an empty one.
        signals.thread_block().map_err(|error| failed("block signals", error.into()))?;
        let (told, tell) = pipe2(OFlag::O_CLOEXEC).map_err(|error| failed("make a pipe", error.into()))?;
        let set = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&set);
        let watch = move || {
            if signals.wait().is_err() {
                return;
            }
            seen.store(true, Ordering::SeqCst);
            drop(tell);
            eprintln!("testbed: interrupted, taking labs down (once more: at once)");
            if signals.wait().is_ok() {
                std::process::exit(130);
            }
        };
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(watch)
            .map_err(|error| failed("start a thread", error))?;
        Ok(Interrupt { set, told })
    }

    /// Whether one of the signals has come.
    pub fn is_set(&self) -> bool {
        self.set.load(Ordering::SeqCst)
    }
}

/// Hung up once a signal has come.
impl AsFd for Interrupt {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.told.as_fd()
    }
}
