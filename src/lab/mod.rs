//! A lab: its supervisor, its state directory, its control socket, start-up and teardown.
//!
//! [`start()`] brings a lab up and gives the life line that keeps it; [`client::Lab`] speaks to one that runs.

pub mod client;
mod daemons;
mod ground;
mod monitor;
mod place;
pub mod probe;
pub mod protocol;
pub mod start;
pub mod state;
mod supervisor;
pub mod turn;

pub use client::{Lab, Running};
pub use monitor::run as monitor;
pub use start::{Options, RunningLab, start};
pub use state::Base;
pub use supervisor::sites_for;

/// Where a lab's state directory lies inside the lab.
pub const INSIDE: &str = "/run/testbed/lab";
/// Where the directory of turns lies inside the lab.
pub const TURNS_INSIDE: &str = "/run/testbed/turns";

/// Names of files in a state directory.
pub mod file {
    /// The plan as JSON.
    pub const PLAN: &str = "plan.json";
    /// The control socket.
    pub const CONTROL: &str = "control";
    /// Held by the monitor and the supervisor.
    pub const LOCK: &str = "lock";
    /// Logs of the lab itself and its helpers.
    pub const LOGS: &str = "log";
    /// Captures.
    pub const CAPTURES: &str = "captures";
    /// A directory for each node.
    pub const NODES: &str = "nodes";
    /// Log of monitor and supervisor, in [`LOGS`].
    pub const LAB_LOG: &str = "lab.log";
    /// Log of the route agent, in [`LOGS`].
    pub const AGENT_LOG: &str = "agent.log";
    /// Log of a node's daemon, in the node's directory.
    pub const DAEMON_LOG: &str = "daemon.log";
}
