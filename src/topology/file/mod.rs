//! The file's model: what may stand in it, with the place of every value. Names are not resolved yet.

mod network;
mod repeat;
mod scenario;

pub(super) use network::*;
pub(super) use repeat::*;
pub(super) use scenario::*;

use super::read::{At, Names, Try, keys};
use super::scalars::{Int, Scale};

keys! {
    /// A network of hosts and routers, and scenarios that are played on it.
    pub struct File as "a topology file" {
        /// The lab's name: a host name.
        pub name: At<String>,
        /// What the file shows.
        pub description: Option<At<String>>,
        /// Scale of protocol timers (0.1: ten times faster; default 1). Fixed times in scenarios are not scaled.
        pub timers: Option<At<Scale>>,
        /// Seed of everything random (default 1).
        pub seed: Option<At<Int<0, { i64::MAX }>>>,
        /// Address families that wires and routers get addresses of (default both).
        pub families: Option<At<Vec<At<Family>>>>,
        /// Settings of all nodes and wires that have none of their own.
        pub defaults: Option<Defaults>,
        /// Hosts and routers, in the order of which addresses are given.
        pub nodes: Names<Node>,
        /// Links between two nodes.
        pub links: Option<Try<Vec<Try<Link>>>>,
        /// LANs: switches with any number of nodes.
        pub lans: Option<Names<Lan>>,
        /// What is played on the network.
        pub scenarios: Option<Vec<Scenario>>,
    }
}
