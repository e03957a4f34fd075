//! Speaking to a lab that runs: from the command line, and from its own processes.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, socket, sockopt};

use super::protocol::{Answer, DaemonAction, Exec, Exit, Failure, Fault, Request, Status, receive, send};
use super::state::{Base, StateError};
use super::turn::{Purpose, Turn};
use super::{INSIDE, file};
use crate::sys::files::{Lock, lock};
use crate::topology::plan::Plan;

/// How long the end of a lab may take.
const END_WAIT: Duration = Duration::from_secs(60);

/// Why a lab did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// Its directory cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// It refused, and says why.
    #[error(transparent)]
    Refused(#[from] Failure),
    /// It is gone.
    #[error("the lab {0} is gone")]
    Gone(String),
    /// A system call failed.
    #[error("cannot {what}: {error}")]
    Io {
        /// What was done.
        what: String,
        /// The system's word.
        error: io::Error,
    },
    /// Its start was broken off.
    #[error("broken off")]
    Interrupted,
    /// It did not end in time.
    #[error("the lab {0} did not end within {seconds} s", seconds = END_WAIT.as_secs())]
    Stuck(String),
}

impl LabError {
    /// Whether what was asked for is wrong, rather than the machine or the lab.
    pub fn is_input(&self) -> bool {
        match self {
            LabError::State(StateError::Io { .. }) => false,
            LabError::State(_) => true,
            LabError::Refused(failure) => failure.kind == Fault::Input,
            LabError::Gone(_) | LabError::Interrupted | LabError::Io { .. } | LabError::Stuck(_) => false,
        }
    }
}

pub(super) fn io_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> LabError {
    let what = what.into();
    move |error| LabError::Io { what, error }
}

/// A lab that runs.
#[derive(Clone, Debug)]
pub struct Lab {
    name: String,
    directory: PathBuf,
    base: Option<Base>,
}

/// A program to run in a lab.
#[derive(Clone, Debug)]
pub struct Command {
    /// The node, or `@LAN` for a LAN's bridge; none: the lab itself, outside of every node.
    pub node: Option<String>,
    /// Program and arguments.
    pub argv: Vec<OsString>,
    /// Its environment; `TESTBED_LAB` and `TESTBED_NODE` are added.
    pub environment: Vec<(OsString, OsString)>,
    /// Its working directory; `/` if it is not there inside the lab.
    pub directory: PathBuf,
    /// Whether standard input is a terminal that it shall control.
    pub terminal: bool,
}

impl Command {
    /// A program in a node, with this process's environment and working directory.
    pub fn new(node: Option<&str>, argv: impl IntoIterator<Item = impl Into<OsString>>) -> Command {
        Command {
            node: node.map(str::to_owned),
            argv: argv.into_iter().map(Into::into).collect(),
            environment: std::env::vars_os().collect(),
            directory: std::env::current_dir().unwrap_or_else(|_| "/".into()),
            terminal: false,
        }
    }
}

impl Lab {
    /// A lab of this user's: the one named, or the only one that is up.
    ///
    /// # Errors
    /// [`LabError::State`] if there is none, or several and none is named.
    pub fn choose(base: &Base, name: Option<&str>) -> Result<Lab, LabError> {
        let name = base.choose(name)?;
        Ok(Lab { directory: base.of_lab(&name), name, base: Some(base.clone()) })
    }

    /// The lab with a name, without looking whether it is there.
    pub fn named(base: &Base, name: &str) -> Lab {
        Lab { directory: base.of_lab(name), name: name.to_owned(), base: Some(base.clone()) }
    }

    /// The lab that this process runs in.
    ///
    /// # Errors
    /// [`LabError::Io`] outside of labs.
    pub fn inside() -> Result<Lab, LabError> {
        let name = std::env::var("TESTBED_LAB").unwrap_or_default();
        let directory = PathBuf::from(INSIDE);
        std::fs::metadata(&directory).map_err(io_error(format!("find {INSIDE} (only inside a lab)")))?;
        Ok(Lab { name, directory, base: None })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its state directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its plan.
    ///
    /// # Errors
    /// [`LabError::Io`] if it cannot be read.
    pub fn plan(&self) -> Result<Plan, LabError> {
        let path = self.directory.join(file::PLAN);
        let read = || -> io::Result<Plan> { Ok(serde_json::from_reader(io::BufReader::new(File::open(&path)?))?) };
        read().map_err(io_error(format!("read {}", path.display())))
    }

    /// The log of a node's daemon.
    pub fn daemon_log(&self, node: &str) -> PathBuf {
        self.directory.join(file::NODES).join(node).join(file::DAEMON_LOG)
    }

    fn connect(&self) -> Result<OwnedFd, LabError> {
        let io = |what: &str| io_error(format!("{what} of the lab {}", self.name));
        // Through the directory's descriptor, for a socket's path may have no more than 107 octets.
        let mut options = File::options();
        options.read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY);
        let directory = match options.open(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(LabError::Gone(self.name.clone())),
            other => other.map_err(io("open the directory"))?,
        };
        let path = format!("/proc/self/fd/{}/{}", directory.as_raw_fd(), file::CONTROL);
        let flags = SockFlag::SOCK_CLOEXEC;
        let made = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None);
        let connection = made.map_err(|error| io("make a socket")(error.into()))?;
        let address = UnixAddr::new(path.as_str()).map_err(|error| io("name the socket")(error.into()))?;
        match connect(connection.as_raw_fd(), &address) {
            Ok(()) => Ok(connection),
            Err(Errno::ENOENT | Errno::ECONNREFUSED) => Err(LabError::Gone(self.name.clone())),
            Err(error) => Err(io("reach the control socket")(error.into())),
        }
    }

    fn tell(&self, connection: &OwnedFd, request: &Request, with: &[BorrowedFd<'_>]) -> Result<(), LabError> {
        match send(connection, request, with) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(LabError::Gone(self.name.clone())),
            other => other.map_err(io_error(format!("speak to the lab {}", self.name))),
        }
    }

    fn hear(&self, connection: &OwnedFd) -> Result<Answer, LabError> {
        match receive(connection) {
            Ok(Some((Answer::Failed(failure), _))) => Err(failure.into()),
            Ok(Some((answer, _))) => Ok(answer),
            Ok(None) => Err(LabError::Gone(self.name.clone())),
            Err(error) => Err(io_error(format!("hear the lab {}", self.name))(error)),
        }
    }

    fn ask(&self, request: &Request) -> Result<Answer, LabError> {
        let connection = self.connect()?;
        self.tell(&connection, request, &[])?;
        self.hear(&connection)
    }

    /// What is in the lab.
    ///
    /// # Errors
    /// [`LabError`].
    pub fn status(&self) -> Result<Status, LabError> {
        match self.ask(&Request::Status)? {
            Answer::Status(status) => Ok(status),
            _ => Err(self.confused()),
        }
    }

    fn confused(&self) -> LabError {
        let error = io::Error::new(io::ErrorKind::InvalidData, "an answer to another question");
        io_error(format!("understand the lab {}", self.name))(error)
    }

    /// The supervisor's process id, as this process sees it.
    ///
    /// # Errors
    /// [`LabError`].
    pub fn supervisor(&self) -> Result<i32, LabError> {
        let connection = self.connect()?;
        let credentials = getsockopt(&connection, sockopt::PeerCredentials);
        Ok(credentials.map_err(|error| io_error("ask who listens")(error.into()))?.pid())
    }

    /// Does something to a router's daemon and waits until it is done: for [`DaemonAction::Start`], until it is ready.
    ///
    /// # Errors
    /// [`LabError::Refused`] if the node has no daemon or it did not get ready.
    pub fn daemon(&self, node: &str, action: DaemonAction) -> Result<(), LabError> {
        match self.ask(&Request::Daemon { node: node.to_owned(), action })? {
            Answer::Done => Ok(()),
            _ => Err(self.confused()),
        }
    }

    /// Runs a program with the given standard input, output and error. When the handle is dropped, its process group is killed.
    ///
    /// # Errors
    /// [`LabError::Refused`] with [`Fault::NotFound`] or [`Fault::NotExecutable`] if the program cannot be started.
    pub fn exec(&self, command: Command, stdio: [BorrowedFd<'_>; 3]) -> Result<Running, LabError> {
        let connection = self.connect()?;
        let Command { node, argv, environment, directory, terminal } = command;
        let exec = Exec { node, argv, environment, directory: directory.into(), terminal };
        self.tell(&connection, &Request::Exec(exec), &stdio)?;
        match self.hear(&connection)? {
            Answer::Started(pid) => Ok(Running { lab: self.clone(), connection, pid, exit: None }),
            _ => Err(self.confused()),
        }
    }

    /// Ends the lab and waits until nothing is left of it: in its turn, so that no other lab's timed step is disturbed. `waiting` is called once if the turn
    /// does not come at once.
    ///
    /// # Errors
    /// [`LabError`]; a lab that is gone already is none.
    pub fn down(&self, waiting: &mut dyn FnMut()) -> Result<(), LabError> {
        let turn = match &self.base {
            Some(base) => Some(build_turn(base, None, waiting)?),
            None => None,
        };
        let ended = self.end();
        drop(turn);
        ended
    }

    /// The same in a turn that the caller has taken to build.
    ///
    /// # Errors
    /// [`LabError`]; a lab that is gone already is none.
    pub fn down_in(&self, _turn: &Turn) -> Result<(), LabError> {
        self.end()
    }

    fn end(&self) -> Result<(), LabError> {
        let lock_path = self.directory.join(file::LOCK);
        let held = match File::open(&lock_path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(io_error(format!("open {}", lock_path.display())))?,
        };
        match self.ask(&Request::Down) {
            Ok(_) | Err(LabError::Gone(_)) => {}
            Err(error) => return Err(error),
        }
        // Supervisor and monitor hold the lock; the monitor lets go when the directory is removed.
        let (tell, told) = mpsc::channel();
        let waiter = std::thread::Builder::new().name("end of lab".into()).spawn(move || {
            // The receiver may have given up.
            let _ = tell.send(lock(&held, Lock::Exclusive));
        });
        waiter.map_err(io_error("make a thread"))?;
        let ended = told.recv_timeout(END_WAIT).map_err(|_| LabError::Stuck(self.name.clone()))?;
        ended.map_err(io_error("wait for the lab's end"))
    }
}

/// Waits for a turn to build labs of a base or take them down; `waiting` is called once if it does not come at once. The wait is broken off
/// when `interrupt` becomes readable.
///
/// # Errors
/// [`LabError`]; [`LabError::Interrupted`] if it was broken off.
pub fn build_turn(base: &Base, interrupt: Option<BorrowedFd<'_>>, waiting: &mut dyn FnMut()) -> Result<Turn, LabError> {
    let turns = base.turns()?;
    let turn = match interrupt {
        Some(interrupt) => Turn::take_unless(interrupt, &turns, Purpose::Build, waiting),
        None => Turn::take(&turns, Purpose::Build, waiting).map(Some),
    };
    turn.map_err(io_error("wait for the turn to build"))?.ok_or(LabError::Interrupted)
}

/// A program that runs in a lab. When this is dropped, its process group is killed.
#[derive(Debug)]
pub struct Running {
    lab: Lab,
    connection: OwnedFd,
    pid: i32,
    exit: Option<Exit>,
}

impl Running {
    /// Its process id in the lab.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// [`LabError::Gone`] if the lab ends first.
    pub fn wait(&mut self) -> Result<Exit, LabError> {
        if let Some(exit) = self.exit {
            return Ok(exit);
        }
        match self.lab.hear(&self.connection)? {
            Answer::Exited(exit) => Ok(*self.exit.insert(exit)),
            _ => Err(self.lab.confused()),
        }
    }

    /// Waits for its end, at most until a deadline; none if it still runs then.
    ///
    /// # Errors
    /// [`LabError::Gone`] if the lab ends first.
    pub fn wait_until(&mut self, deadline: Instant) -> Result<Option<Exit>, LabError> {
        while self.exit.is_none() {
            let rest = deadline.saturating_duration_since(Instant::now());
            let milliseconds = rest.as_millis() + u128::from(!rest.is_zero());
            let timeout = PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX);
            let mut polled = [PollFd::new(self.connection.as_fd(), PollFlags::POLLIN)];
            match poll(&mut polled, timeout) {
                Ok(0) if rest.is_zero() => return Ok(None),
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => drop(self.wait()?),
                Err(error) => return Err(io_error("wait for a program")(error.into())),
            }
        }
        Ok(self.exit)
    }

    /// Sends a signal to its process group.
    ///
    /// # Errors
    /// [`LabError::Gone`] if the lab has ended.
    pub fn signal(&self, signal: i32) -> Result<(), LabError> {
        self.lab.tell(&self.connection, &Request::Signal(signal), &[])
    }
}

/// Readable when [`Running::wait`] would not wait.
impl AsFd for Running {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}
