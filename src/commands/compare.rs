//! `testbed compare`: the same events for every daemon of sparse mode, and one table.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use super::labs::Where;
use super::test::write;
use super::{Failure, Outcome, Result, files};
use crate::compare::{self, Candidate, Conditions, Report, Roles, Setting};
use crate::daemon::{self, Kind, find};

/// Measurements of each daemon, unless asked for otherwise.
const ROUNDS: usize = 10;
const ROUNDS_MAX: usize = 1000;

/// Arguments of `testbed compare`.
///
/// Exit code 1 if router-core misses a target or a figure of its own cannot be had, 4 if a target cannot be judged.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Topology file: all its routers speak sparse mode, and its first scenario has a join, a stream, and a link that fails by its carrier and
    /// silently (topologies/compare-sparse.yaml)
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only these daemons (may be given several times) [default: all that are installed]
    #[arg(long = "daemon", value_name = "NAME", value_parser = kind)]
    daemons: Vec<Kind>,
    /// How often each daemon goes through all events; medians are judged
    #[arg(long, default_value_t = ROUNDS, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=ROUNDS_MAX as u64))]
    rounds: usize,
    /// How long control messages are counted of daemons that the simulator does not have
    #[arg(long, value_name = "TIME", default_value = "4m", value_parser = span)]
    watch: Duration,
    /// Print every measurement as JSON
    #[arg(long)]
    json: bool,
    /// Write a page with the table and what its rows mean, too
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    #[command(flatten)]
    place: Where,
}

fn kind(name: &str) -> std::result::Result<Kind, String> {
    let names = || compare::SPARSE.map(Kind::name).join(", ");
    compare::SPARSE.into_iter().find(|kind| kind.name() == name).ok_or_else(|| format!("expected one of {}", names()))
}

fn span(text: &str) -> std::result::Result<Duration, String> {
    let span = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if span < Duration::from_secs(1) { Err("expected at least 1s".to_owned()) } else { Ok(span) }
}

/// Runs the verb.
pub fn run(args: Args) -> Result {
    let mut lacks = None;
    let look = |plan: &mut crate::topology::plan::Plan| {
        lacks = Roles::of(plan).err();
        lacks.iter().map(ToString::to_string).collect()
    };
    let file = std::slice::from_ref(&args.file);
    let Some(plan) = files::plans(file, look).and_then(|plans| plans.into_iter().next()) else {
        return Ok(Outcome::BadInput.into());
    };
    // What cannot be written is better known before half an hour of rounds than after it.
    if let Some(path) = &args.markdown {
        std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .map_err(|error| Failure::bad_input(format!("cannot write {}: {error}", path.display())))?;
    }
    let (mut candidates, mut absent) = (Vec::new(), Vec::new());
    for kind in compare::SPARSE {
        let named = args.daemons.contains(&kind);
        if !named && !args.daemons.is_empty() {
            continue;
        }
        let Some(daemon) = compare::daemon_of(kind) else { continue };
        let mut plan = plan.clone();
        plan.substitute(&daemon);
        if let Some(refusal) = daemon::check(&plan).into_iter().next() {
            if named {
                return Err(Failure::bad_input(format!("{}: {refusal}", plan.file)));
            }
            absent.push(format!("{} is left out: {refusal}", kind.name()));
            continue;
        }
        let Some(found) = find(kind) else {
            let why = format!("{} is not installed: {}", kind.name(), kind.remedy());
            if named {
                return Err(Failure::machine(why));
            }
            absent.push(why);
            continue;
        };
        candidates.push(Candidate { kind, version: found.version, plan });
    }
    if candidates.is_empty() {
        return Err(Failure::machine(format!("there is nothing to compare: {}", absent.join("; "))));
    }
    let testbed =
        std::env::current_exe().map_err(|error| Failure::machine(format!("where is this program? {error}")))?;
    let setting = Setting { rounds: args.rounds, watch: args.watch, testbed, base: args.place.base()? };
    let terminal = std::io::stderr().is_terminal();
    let mut tell = |what: &str| {
        if terminal {
            eprint!("\r\x1b[K{what}");
        }
    };
    let columns = compare::run(&setting, &candidates, &mut tell);
    tell("");
    let conditions = Conditions {
        command: command(&args),
        machine: machine(),
        rounds: args.rounds,
        watch_secs: args.watch.as_secs_f64(),
        absent,
    };
    let report = Report { conditions, columns };
    if let Some(path) = &args.markdown {
        write(path, &report.page())?;
    }
    if args.json {
        let text = serde_json::to_string_pretty(&report).map_err(|error| Failure::machine(error.to_string()))?;
        super::print(&format!("{text}\n"));
    } else {
        super::print(&report.render());
    }
    Ok(match (report.is_missed(), report.is_unjudged()) {
        (true, _) => Outcome::CheckFailed,
        (false, true) => Outcome::Inconclusive,
        (false, false) => Outcome::Held,
    }
    .into())
}

/// The command that measures the same again.
fn command(args: &Args) -> String {
    let daemons: String = args.daemons.iter().map(|kind| format!(" --daemon {}", kind.name())).collect();
    let (file, rounds, watch) = (args.file.display(), args.rounds, args.watch.as_secs_f64());
    format!("testbed compare {file} --rounds {rounds} --watch {watch}s{daemons}")
}

/// What this machine is, and how busy.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let load = load.split_whitespace().nth(1).unwrap_or("unknown").to_owned();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    format!("Linux {}, {processors} processors, load average {load} over five minutes", kernel.trim())
}
