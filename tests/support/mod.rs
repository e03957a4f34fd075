//! What end-to-end tests share: the binary, state directories of their own, time limits.
#![allow(dead_code)] // each test file uses its own part

pub mod shipped;

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

/// A directory that vanishes with the test: state directories, files, captures.
pub struct Scratch {
    dir: tempfile::TempDir,
}

/// What a finished command left.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Scratch {
    /// A new directory that any user may write.
    pub fn new() -> Scratch {
        let dir = tempfile::Builder::new().prefix("testbed-test-").tempdir_in("/tmp").expect("a temporary directory");
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).expect("permissions");
        Scratch { dir }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file into it.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, text).expect("write");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("permissions");
        path
    }

    /// `testbed ARGUMENTS` with its state here, ended by the kernel when the test's thread ends.
    pub fn testbed<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_testbed"));
        command
            .args(arguments)
            .env("TESTBED_STATE_DIR", self.path().join("state"))
            .env_remove("XDG_RUNTIME_DIR")
            .current_dir(self.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs `testbed ARGUMENTS` to its end, at most `limit`.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>, limit: Duration) -> Finished {
        finish(self.testbed(arguments), limit)
    }
}

/// Runs a command to its end. Past `limit` it gets SIGTERM (so that it can take its lab down) and the test fails.
pub fn finish(mut command: Command, limit: Duration) -> Finished {
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn().expect("start the command");
    let pid = child.id();
    let mut stdout = child.stdout.take().expect("stdout");
    let mut stderr = child.stderr.take().expect("stderr");
    let out = std::thread::spawn(move || read_all(&mut stdout));
    let err = std::thread::spawn(move || read_all(&mut stderr));
    let (done, over) = std::sync::mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        let late = over.recv_timeout(limit).is_err();
        if late {
            let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a pid"));
            // The group is the command's own (process_group(0)), and the child is not reaped yet.
            let _ = nix::sys::signal::killpg(pid, nix::sys::signal::Signal::SIGTERM);
        }
        late
    });
    let status = child.wait().expect("wait");
    let _ = done.send(());
    let late = watchdog.join().expect("watchdog");
    let finished = Finished { status, stdout: out.join().expect("stdout"), stderr: err.join().expect("stderr") };
    assert!(!late, "{command:?} took longer than {limit:?}: {finished:?}");
    finished
}

fn read_all(from: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    let _ = from.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Finished {
    /// The exit code; 128 + n for a signal.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// Asserts the exit code, showing all output if it differs.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Finished {
        assert_eq!(self.code(), code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Asserts that both outputs together contain a text.
    #[track_caller]
    pub fn expect_said(self, text: &str) -> Finished {
        assert!(
            self.stdout.contains(text) || self.stderr.contains(text),
            "expected {text:?}\nstdout:\n{}\nstderr:\n{}",
            self.stdout,
            self.stderr
        );
        self
    }
}

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
