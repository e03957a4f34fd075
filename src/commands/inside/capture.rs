//! `testbed inside capture`: what `testbed capture` runs in the lab. It captures to standard output until a signal ends it.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use router_core::time::Span;

use crate::commands::{Failure, Outcome, Result};
use crate::network::kernel::runtime::Places;
use crate::observe::live::{self, Wanted};
use crate::topology::plan::{Plan, WireId};

/// Arguments of `testbed inside capture`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only frames to this group, and control messages.
    #[arg(long)]
    pub group: Option<IpAddr>,
    /// End after this time.
    #[arg(long)]
    pub duration: Option<Span>,
    /// Links and LANs.
    #[arg(required = true)]
    pub wires: Vec<String>,
}

/// Runs the verb.
pub fn run(plan: &Plan, args: Args) -> Result {
    // Before anything else, so that the capture is completed whenever a signal comes.
    let cannot = |error: nix::errno::Errno| Failure::machine(format!("cannot watch for signals: {error}"));
    let ending: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    ending.thread_block().map_err(cannot)?;
    let signals = SignalFd::with_flags(&ending, SfdFlags::SFD_CLOEXEC).map_err(cannot)?;

    let find = |name: &String| {
        plan.find_wire(name)
            .ok_or_else(|| Failure::bad_input(format!("there is no link or LAN {name} in {}", plan.name)))
    };
    let wires = args.wires.iter().map(find).collect::<std::result::Result<Vec<WireId>, Failure>>()?;
    let wanted = Wanted { wires, group: args.group, duration: args.duration.map(Span::get) };
    let captured = live::capture(plan, &Places::default().namespaces, &wanted, io::stdout().lock(), signals.as_fd())
        .map_err(|error| Failure::machine(error.to_string()))?;
    let lost = match captured.lost {
        0 => String::new(),
        lost => format!(", {lost} more came too fast and were lost"),
    };
    eprintln!("{} frames captured{lost}", captured.frames);
    Ok(Outcome::Held.into())
}
