//! The file's model: what may stand in it, with the place of every value. Names are not resolved yet.

mod expect;
pub(super) mod generate;
mod network;
mod pim;
mod repeat;
mod scenario;

pub(super) use expect::*;
pub(super) use network::*;
pub(super) use pim::*;
pub(super) use repeat::*;
pub(super) use scenario::*;

use super::read::{At, Names, Try, keys};
use super::scalars::{Int, Scale};
use generate::Generate;

keys! {
    /// A network of hosts and routers, and scenarios that are played on it.
    #[schemars(extend("anyOf" = [{"required": ["nodes"]}, {"required": ["generate"]}]))]
    pub struct File as "a topology file" needs "nodes" or "generate" {
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
        /// A graph of some shape: its routers, hosts and links come before all others.
        pub generate: Option<Try<Generate>>,
        /// Hosts and routers, in the order of which addresses are given. A generated one can be named here to give it
        /// settings of its own.
        pub nodes: Option<Try<Names<Node>>>,
        /// Links between two nodes.
        pub links: Option<Try<Vec<Try<Link>>>>,
        /// LANs: switches with any number of nodes.
        pub lans: Option<Names<Lan>>,
        /// What is played on the network.
        pub scenarios: Option<Vec<Scenario>>,
    }
}

impl File {
    /// Hosts and routers in the order of which addresses are given.
    pub fn nodes(&self) -> &[(At<String>, Option<Node>)] {
        self.nodes.as_ref().and_then(|nodes| nodes.0.as_ref()).map_or(&[], |nodes| &nodes.0)
    }
}
