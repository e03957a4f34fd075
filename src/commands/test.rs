//! `testbed test`: run the scenarios of files, each in a lab of its own.

pub(super) mod interrupt;
pub(super) mod keep;
pub(super) mod rounds;
pub(super) mod select;

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::files;
use super::labs::Where;
use super::{Failure, Outcome, Result, Verdict as Exit};
use crate::report::{self, Report, Style};
use crate::scenario::Verdict;
use interrupt::Interrupt;
use keep::Keep;

/// Arguments of `testbed test`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Topology files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How many labs at once (default: one a processor, at most 4)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: Option<u16>,
    /// Only scenarios whose `lab/scenario` contains this
    #[arg(long, value_name = "NAME")]
    filter: Option<String>,
    /// Print the report as JSON (see docs/report.md)
    #[arg(long)]
    json: bool,
    /// Write a JUnit report, too
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Keep logs and captures of every scenario here, not only of those that fail
    #[arg(long, value_name = "DIR")]
    capture: Option<PathBuf>,
    #[command(flatten)]
    place: Where,
}

/// Runs the verb.
pub fn run(args: Args) -> Result {
    // Everything is loaded and checked before anything is built.
    let Some(plans) = files::plans(&args.files, |_| Vec::new()) else { return Ok(Outcome::BadInput.into()) };
    let cases = select::cases(&plans, args.filter.as_deref()).map_err(Failure::bad_input)?;
    // What cannot be written is better known before an hour of scenarios than after it.
    if let Some(path) = &args.junit {
        write(path, "")?;
    }
    let keep = Keep::new(args.capture.as_deref());
    let base = args.place.base()?;
    let interrupt = Interrupt::watch()?;
    let began = Instant::now();
    let processors = std::thread::available_parallelism().map_or(1, usize::from).min(4);
    let jobs = args.jobs.map_or(processors, usize::from);
    let scenarios = rounds::run(&base, &cases, jobs, &keep, &interrupt, &rounds::Extra::default());
    let interrupted = interrupt.is_set();
    let report = Report { scenarios, took: began.elapsed() };

    publish(&report, args.json, args.junit.as_deref())?;
    if interrupted {
        return Ok(Exit::Status(130));
    }
    Ok(judged(report.verdict()).into())
}

/// Prints a report, and writes it as JUnit's XML where that is asked for.
pub(super) fn publish(report: &Report, json: bool, junit: Option<&Path>) -> std::result::Result<(), Failure> {
    if let Some(path) = junit {
        let text = report::junit(report)
            .map_err(|error| Failure::machine(format!("cannot write the JUnit report: {error}")))?;
        write(path, &text)?;
    }
    let text = if json {
        report::json(report).map_err(|error| Failure::machine(format!("cannot write the report: {error}")))?
    } else {
        let colour =
            std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        report::terminal(report, Style { colour })
    };
    let mut out = std::io::stdout().lock();
    // Whoever reads may have read enough.
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::machine(format!("cannot print the report: {error}")))
        }
        _ => Ok(()),
    }
}

/// What a report's verdict means for the exit code.
pub(super) fn judged(verdict: Verdict) -> Outcome {
    match verdict {
        Verdict::Passed => Outcome::Held,
        Verdict::Failed => Outcome::CheckFailed,
        Verdict::Unsupported => Outcome::Machine,
        Verdict::Inconclusive | Verdict::Skipped => Outcome::Inconclusive,
    }
}

/// Writes a file that was asked for.
pub(super) fn write(path: &Path, text: &str) -> std::result::Result<(), Failure> {
    std::fs::write(path, text).map_err(|error| Failure::bad_input(format!("cannot write {}: {error}", path.display())))
}
