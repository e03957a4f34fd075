//! What can run in a router namespace: how it is configured, started and known ready.
//!
//! [`prepare`] turns a node of the plan into a [`Launch`]: files to write, a command line, and how to know that the
//! daemon is at work. Starting and stopping is the lab's business; a daemon that it starts gets the node's network
//! namespace, standard output and error on the node's `daemon.log`, and ends at SIGTERM.

mod core;
mod exec;
mod find;
mod foreign;
pub mod frr;
mod pimd;
pub mod ready;
mod smcroute;

use std::path::PathBuf;
use std::time::Duration;

use ::router_core::config::ConfigError;

use crate::topology::plan::{Daemon, Node, NodeId, Plan, Router};

pub use self::core::{igmp_in_force, pim_in_force};
pub use find::{Found, Kind, find, program, search_path};

/// How often a readiness command is tried.
pub const READY_EVERY: Duration = Duration::from_millis(50);

/// Where a daemon's files lie, as the daemon itself and the process that writes them see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// The node's directory (`/run/testbed/lab/nodes/NODE`).
    pub node: PathBuf,
    /// Directories that are searched for programs, in order; see [`find::search_path`].
    pub programs: Vec<PathBuf>,
    /// Directories of FRR's daemons.
    pub frr: Vec<PathBuf>,
    /// Directory of packages that were unpacked rather than installed, one directory each.
    pub aside: PathBuf,
}

impl Paths {
    /// The node's directory, and programs beside this executable, in `PATH` and in the usual places for daemons.
    pub fn new(node: impl Into<PathBuf>) -> Paths {
        Paths { node: node.into(), programs: find::search_path(), frr: find::frr_places(), aside: find::aside() }
    }
}

/// How to start a router's daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Directories to make first, mode 0700.
    pub directories: Vec<PathBuf>,
    /// Files to write before the start, mode 0600: path and content.
    pub files: Vec<(PathBuf, String)>,
    /// Variables to set in the daemon's environment.
    pub env: Vec<(String, String)>,
    /// Its programs, at least one, in the order in which they are started: each once the one before is ready. The daemon is ready
    /// when all are, and ends with the first that ends.
    pub programs: Vec<Program>,
}

/// One program of a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// What messages call it.
    pub name: String,
    /// Program (an absolute path) and arguments.
    pub argv: Vec<String>,
    /// How it is known to be ready.
    pub ready: Readiness,
}

/// How a daemon is known to be ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// router-core's `ready` event: connect to its control socket (it appears once the daemon has started) and follow the events
    /// (`router_core::control::client`).
    ControlEvent {
        /// The control socket's path.
        socket: PathBuf,
    },
    /// A command, run in the node with the daemon's environment, that ends 0 once the daemon is ready.
    Command {
        /// Program and arguments.
        argv: Vec<String>,
        /// Time between one try's end and the next.
        every: Duration,
    },
    /// A process of this program's own, `testbed inside ARGUMENTS`, run in the node, that ends 0 once the daemon is ready, and is run
    /// anew when it ends otherwise.
    Inside {
        /// What follows `testbed inside`.
        arguments: Vec<String>,
    },
    /// It counts as ready once it was started.
    Started,
}

/// Why a router's daemon cannot be started as the file says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DaemonError {
    /// The node is no router.
    #[error("{node} is a host: only routers run a daemon")]
    NotARouter {
        /// The node.
        node: String,
    },
    /// A program is not there.
    #[error("{node}: the program {program:?} was not found in {searched}: {remedy}")]
    NoProgram {
        /// The node that needs it.
        node: String,
        /// The program's name.
        program: String,
        /// Where it was looked for.
        searched: String,
        /// What helps.
        remedy: String,
    },
    /// The daemon cannot do what the file asks of it.
    #[error("{node}: {daemon} cannot do {what}: {remedy}")]
    Unsupported {
        /// The node.
        node: String,
        /// The daemon.
        daemon: &'static str,
        /// What it cannot do, in the file's words.
        what: String,
        /// What would be right.
        remedy: String,
    },
    /// router-core refuses the configuration that follows from the file.
    #[error("{node}: {why}")]
    Refused {
        /// The node.
        node: String,
        /// What is wrong with it.
        why: ConfigError,
    },
    /// A user's command is empty, or its program's path is relative.
    #[error("{node}: {what}")]
    BadCommand {
        /// The node.
        node: String,
        /// What is wrong and what would be right.
        what: String,
    },
    /// A configuration could not be written as JSON.
    #[error("{node}: the daemon's configuration cannot be written: {why}")]
    Configuration {
        /// The node.
        node: String,
        /// The cause.
        why: String,
    },
}

/// The configuration of a router-core in a router's place, whatever daemon the file names.
///
/// # Errors
/// [`DaemonError::NotARouter`].
pub fn router_core_configuration(plan: &Plan, node: NodeId) -> Result<::router_core::config::Config, DaemonError> {
    At::new(plan, node).map(|at| core::configuration(&at))
}

/// What a node's daemon needs to start.
///
/// # Errors
/// [`DaemonError`] if the node is no router, a program is missing, or the daemon cannot do what the file asks.
pub fn prepare(plan: &Plan, node: NodeId, paths: &Paths) -> Result<Launch, DaemonError> {
    let at = At::new(plan, node)?;
    if let Some(error) = check_router(&at).into_iter().next() {
        return Err(error);
    }
    match &at.router.daemon {
        Daemon::RouterCore => core::prepare(&at, paths),
        Daemon::Smcroute => smcroute::prepare(&at, paths),
        Daemon::Frr => frr::prepare(&at, paths),
        Daemon::Pimd => pimd::prepare(&at, paths),
        Daemon::Exec(program) => exec::prepare(&at, program, paths),
    }
}

/// Everything that the file asks of a daemon which the daemon cannot do, for all routers; looks at no program.
pub fn check(plan: &Plan) -> Vec<DaemonError> {
    plan.node_ids().filter_map(|id| At::new(plan, id).ok()).flat_map(|at| check_router(&at)).collect()
}

fn check_router(at: &At<'_>) -> Vec<DaemonError> {
    match &at.router.daemon {
        Daemon::RouterCore => core::check(at),
        Daemon::Smcroute => smcroute::check(at),
        Daemon::Frr => frr::check(at),
        Daemon::Pimd => pimd::check(at),
        Daemon::Exec(program) => exec::check(at, program),
    }
}

/// A router of a plan.
struct At<'a> {
    plan: &'a Plan,
    id: NodeId,
    node: &'a Node,
    router: &'a Router,
}

impl<'a> At<'a> {
    fn new(plan: &'a Plan, id: NodeId) -> Result<At<'a>, DaemonError> {
        let node = plan.node(id);
        let router = node.router().ok_or_else(|| DaemonError::NotARouter { node: node.name.clone() })?;
        Ok(At { plan, id, node, router })
    }

    fn interface_name(&self, index: usize) -> &'a str {
        &self.node.interfaces[index].name
    }

    fn unsupported(&self, daemon: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> DaemonError {
        DaemonError::Unsupported { node: self.node.name.clone(), daemon, what: what.into(), remedy: remedy.into() }
    }
}

#[cfg(test)]
mod tests;
