//! What is said on a lab's sockets: packets of JSON ([`crate::sys::pass`]).

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::network::kernel::Stage;
use crate::sys::pass;

/// On the life line, from the client that starts a lab.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// To the monitor, with the lock and the turn.
    Start(Start),
    /// To the supervisor: the lab shall stay when the client ends.
    Detach,
}

/// How a lab is started.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Start {
    /// Its name.
    pub name: String,
    /// The base directory.
    pub base: PathBuf,
    /// The directory of turns.
    pub turns: PathBuf,
    /// Whether only the fabric is wanted: no routes and no daemons.
    pub bare: bool,
    /// Whether the turn goes on when the lab is ready: its client builds more.
    pub keeps_turn: bool,
}

/// On the life line, to the client that starts a lab.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Report {
    /// How far it is.
    Progress(Progress),
    /// All is ready.
    Ready,
    /// It failed; the lab ends.
    Failed(Failure),
}

/// How far the start of a lab is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Progress {
    /// Waiting for other labs' timed steps to end.
    Waiting,
    /// The fabric: what, how many of how many.
    Fabric(Stage, usize, usize),
    /// The route agent is at work.
    Routes,
    /// Daemons that are ready, of how many.
    Daemons(usize, usize),
}

/// Why something failed.
#[derive(Clone, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Whose fault it is.
    pub kind: Fault,
    /// What to tell the user.
    pub message: String,
}

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// What was asked for is wrong.
    Input,
    /// The machine, or the user's rights on it.
    Machine,
    /// A program is not there (`exec`).
    NotFound,
    /// A program cannot be executed (`exec`).
    NotExecutable,
}

/// To the control socket.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Runs a program; three descriptors ride along. The connection is the program's from then on.
    Exec(Exec),
    /// Sends a signal to the process group of this connection's program.
    Signal(i32),
    /// Does something to a router's daemon.
    Daemon {
        /// The router.
        node: String,
        /// What.
        action: DaemonAction,
    },
    /// What is in the lab.
    Status,
    /// Ends the lab.
    Down,
}

/// A program to run.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Exec {
    /// The node, or `@LAN`; none: the lab itself, outside of every node.
    pub node: Option<String>,
    /// Program and arguments.
    pub argv: Vec<OsString>,
    /// Its environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Its working directory; `/` if it is not there inside the lab.
    pub directory: OsString,
    /// Whether standard input is a terminal that it shall control.
    pub terminal: bool,
}

/// What is done to a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DaemonAction {
    /// SIGKILL; answered when it is gone.
    Kill,
    /// Starts it, killed first if it runs; answered when it is ready.
    Start,
    /// SIGSTOP; answered when it has stopped.
    Pause,
    /// SIGCONT.
    Resume,
}

/// From the control socket.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The program runs; its process id in the lab.
    Started(i32),
    /// It ended.
    Exited(Exit),
    /// Done.
    Done,
    /// It failed.
    Failed(Failure),
    /// What is in the lab.
    Status(Status),
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exit {
    /// By itself, with a status.
    Status(u8),
    /// By a signal.
    Signal(i32),
}

impl Exit {
    /// The exit status that a shell would give: 128 + n for a signal n.
    pub fn code(self) -> u8 {
        match self {
            Exit::Status(status) => status,
            Exit::Signal(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
        }
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Exit::Status(status) => write!(f, "status {status}"),
            Exit::Signal(signal) => match nix::sys::signal::Signal::try_from(*signal) {
                Ok(name) => write!(f, "{name}"),
                Err(_) => write!(f, "signal {signal}"),
            },
        }
    }
}

/// What is in a lab.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    /// Whether all is ready.
    pub ready: bool,
    /// The route agent's process id in the lab.
    pub agent: Option<i32>,
    /// The nodes, in the plan's order.
    pub nodes: Vec<NodeStatus>,
}

/// What is in a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// Its daemon; none for a host.
    pub daemon: DaemonStatus,
    /// Process ids in the lab of the daemon's programs beside the first.
    pub further: Vec<i32>,
    /// Process ids in the lab of what users run there.
    pub programs: Vec<i32>,
}

/// How a node's daemon is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DaemonStatus {
    /// There is none.
    None,
    /// It is not ready yet.
    Starting(i32),
    /// It runs.
    Running(i32),
    /// It was paused.
    Paused(i32),
    /// It ended by itself.
    Ended(Exit),
    /// It was killed by a request.
    Killed,
}

impl DaemonStatus {
    /// Its process id in the lab, if it has one.
    pub fn pid(&self) -> Option<i32> {
        match self {
            DaemonStatus::Starting(pid) | DaemonStatus::Running(pid) | DaemonStatus::Paused(pid) => Some(*pid),
            DaemonStatus::None | DaemonStatus::Ended(_) | DaemonStatus::Killed => None,
        }
    }
}

/// Sends one message with descriptors.
///
/// # Errors
/// Those of [`pass::send`].
pub fn send(socket: impl AsFd, message: &impl Serialize, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    pass::send(socket, &serde_json::to_vec(message)?, descriptors)
}

/// Receives one message; none if the other side is gone.
///
/// # Errors
/// Those of [`pass::receive`], and `InvalidData` if it is no such message.
pub fn receive<T: DeserializeOwned>(socket: impl AsFd) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let Some(packet) = pass::receive(socket)? else { return Ok(None) };
    Ok(Some((serde_json::from_slice(&packet.octets)?, packet.descriptors)))
}
