//! `testbed receive`: receive a stream in a node and report what arrived.

use std::net::IpAddr;

use router_core::time::Span;

use super::send::group;
use super::{Failure, Result};

/// Arguments of `testbed receive`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Node to receive in.
    node: String,
    #[command(flatten)]
    options: Options,
}

/// What to receive; the same for the process in the node.
#[derive(Clone, Debug, PartialEq, clap::Args)]
pub struct Options {
    /// Multicast group to join.
    #[arg(long, value_parser = group)]
    pub group: IpAddr,
    /// UDP port to receive on.
    #[arg(long, default_value_t = 5001, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
    /// Join only this source (SSM); may be given several times, or with commas.
    #[arg(long, value_delimiter = ',')]
    pub source: Vec<IpAddr>,
    /// Join all sources but those.
    #[arg(long, requires = "source")]
    pub exclude: bool,
    /// Interface to join on; the node's first with an address if absent.
    #[arg(long)]
    pub interface: Option<String>,
    /// End after this time: 10s, 1m 30s.
    #[arg(long)]
    pub duration: Option<Span>,
    /// End after so many packets; fewer are a failed check (exit status 1).
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Print the figures as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Runs the verb.
pub fn run(_args: Args) -> Result {
    Err(Failure::bad_input("`testbed receive` is not there yet"))
}
