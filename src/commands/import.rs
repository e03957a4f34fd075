//! `testbed import`: make a topology of a graph.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::ValueEnum;
use clap::builder::PossibleValue;

use super::{Failure, Outcome, Result};
use crate::topology::import::{self, Hosts, Multicast, Options};

/// Arguments of `testbed import`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A graph in GML or GraphML
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Write to this file rather than to standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The lab's name (default: made of the graph's)
    #[arg(long, value_name = "NAME", value_parser = host_name)]
    name: Option<String>,
    /// How routers forward multicast
    #[arg(long, value_enum, default_value_t, value_name = "MODE")]
    multicast: Multicast,
    /// Which routers have a host: all, those with one link, or none
    #[arg(long, value_enum, default_value_t, value_name = "WHICH")]
    hosts: Hosts,
    /// Give links the delay of their length at 200,000 km/s (the kernel needs netem for that)
    #[arg(long)]
    delays: bool,
    /// Give links the rates that the file gives
    #[arg(long)]
    rates: bool,
    /// Leave out nodes that the file marks as other networks'
    #[arg(long)]
    internal: bool,
}

impl ValueEnum for Multicast {
    fn value_variants<'a>() -> &'a [Self] {
        &[Multicast::PimDm, Multicast::Static, Multicast::None]
    }
    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.word()))
    }
}

impl ValueEnum for Hosts {
    fn value_variants<'a>() -> &'a [Self] {
        &[Hosts::All, Hosts::Leaves, Hosts::None]
    }
    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.word()))
    }
}

fn host_name(name: &str) -> std::result::Result<String, &'static str> {
    let good = (1..=63).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    if good { Ok(name.to_owned()) } else { Err("a host name is needed: letters, digits and hyphens, at most 63") }
}

/// Runs the verb: the topology on standard output or in a file, what could not be kept on standard error.
pub fn run(args: Args) -> Result {
    let options = Options {
        name: args.name,
        multicast: args.multicast,
        hosts: args.hosts,
        delays: args.delays,
        rates: args.rates,
        internal: args.internal,
    };
    let file = args.file.display();
    let place = |line: Option<usize>| line.map_or_else(|| file.to_string(), |line| format!("{file}:{line}"));
    let imported = import::import(&args.file, &options)
        .map_err(|error| Failure::bad_input(format!("{}: {}", place(error.line), error.kind)))?;
    for remark in &imported.remarks {
        eprintln!("{}: {}", place(remark.line), remark.kind);
    }
    if imported.more_remarks > 0 {
        eprintln!("{file}: and {} more of the same kinds", imported.more_remarks);
    }
    let name = args.output.as_ref().map_or_else(|| "standard output".to_owned(), |path| path.display().to_string());
    // What is written is known to load: an import that gives anything else is a defect, and says so.
    let plan = match crate::topology::parse(&name, &imported.text) {
        Ok(plan) => plan,
        Err(faults) => {
            eprint!("{}", faults.render(std::io::stderr().is_terminal()));
            return Ok(Outcome::BadInput.into());
        }
    };
    match &args.output {
        None => super::print(&imported.text),
        Some(path) => {
            std::fs::write(path, &imported.text)
                .map_err(|error| Failure::machine(format!("can't write {}: {error}", path.display())))?;
            super::print(&format!("{name}: {}\n", super::validate::counts(&plan)));
        }
    }
    Ok(Outcome::Held.into())
}
