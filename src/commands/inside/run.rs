//! `testbed inside run`: the runner of one scenario, inside its lab. It prints the report as JSON on standard output.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::agree::Picture;
use crate::commands::{Failure, Outcome, Result};
use crate::lab;
use crate::lab::turn::{Purpose, Turn};
use crate::network::Network as _;
use crate::network::kernel::runtime::{KernelNetwork, Places};
use crate::scenario;
use crate::topology::plan::Plan;

/// What the runner says on standard error when it has opened the network and waits for its turn.
pub const READY: &str = "the network is open";
/// What it says when it has got its turn and the scenario begins.
pub const BEGINS: &str = "the scenario begins";

/// Arguments of `testbed inside run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The scenario.
    #[arg(long)]
    scenario: String,
    /// Keep a capture of every wire in this directory.
    #[arg(long)]
    captures: Option<PathBuf>,
    /// Write what the network looks like after the scenario to this file, as JSON.
    #[arg(long)]
    picture: Option<PathBuf>,
}

/// Runs the verb. The exit code says whether the scenario could be run, not how it ended.
pub fn run(plan: &Plan, args: Args) -> Result {
    let scenario = plan.scenarios.iter().find(|scenario| scenario.name == args.scenario);
    let scenario = scenario.ok_or_else(|| {
        let names: Vec<&str> = plan.scenarios.iter().map(|scenario| scenario.name.as_str()).collect();
        let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        Failure::bad_input(format!("{} has no scenario {}; it has {there}", plan.name, args.scenario))
    })?;
    let mut network = KernelNetwork::open(plan, Places::default(), args.captures)
        .map_err(|error| Failure::machine(format!("the runner cannot {error}")))?;
    // All that holds up others is done.
    eprintln!("{READY}");
    // No other lab is built or taken down meanwhile: that would hold up this one's forwarding updates.
    let turn = Turn::take(Path::new(lab::TURNS_INSIDE), Purpose::Timed, &mut || {
        eprintln!("waiting for another lab to be built or taken down");
    })
    .map_err(|error| Failure::machine(format!("the runner cannot wait for its turn: {error}")))?;
    // Whoever limits its time counts from here.
    eprintln!("{BEGINS}");
    let began = network.now();
    let report = scenario::run(plan, scenario, &mut network, &scenario::Options::default());
    if let Some(path) = args.picture {
        let picture = Picture::of(plan, scenario, began, &mut network);
        let picture = picture.map_err(|error| Failure::machine(format!("the network cannot be looked at: {error}")))?;
        let written =
            serde_json::to_vec(&picture).map_err(io::Error::from).and_then(|text| std::fs::write(&path, text));
        written.map_err(|error| Failure::machine(format!("cannot write {}: {error}", path.display())))?;
    }
    drop(turn);
    network.flush_captures();
    for cut in network.cut_captures() {
        eprintln!("{cut}");
    }
    drop(network);
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, &report)
        .map_err(io::Error::from)
        .and_then(|()| out.flush())
        .map_err(|error| Failure::machine(format!("the report cannot be written: {error}")))?;
    Ok(Outcome::Held.into())
}
