//! `testbed explore`: hunt for violations with random schedules in virtual time.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use router_core::coverage::{Machine, Pair};
use serde_json::json;

use super::{Failure, Outcome, Result, files, print};
use crate::explore::Subject;
use crate::explore::run::Kind;
use crate::explore::search::{self, Options, Tally};
use crate::explore::{coverage, shrink, write};
use crate::network::simulated;
use crate::topology::plan::Plan;

/// Arguments of `testbed explore`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Topology files; their own scenarios only say who sends, and to which groups
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Runs, of all files together: they take turns
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// Seed of the search: equal seeds find the same
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How many runs at once (default: one a processor)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: Option<u16>,
    /// Only topologies whose name contains this
    #[arg(long, value_name = "NAME")]
    filter: Option<String>,
    /// End after so many runs that violated something
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    failures: u32,
    /// Where files of what was found are written: the first of each topology and kind
    #[arg(long, value_name = "DIR", default_value = ".")]
    output: PathBuf,
    /// Print the report as JSON (see docs/explore.md)
    #[arg(long)]
    json: bool,
}

/// What was found and written.
struct Found {
    run: u64,
    lab: String,
    kind: String,
    text: String,
    file: Option<PathBuf>,
    steps: usize,
    nodes: usize,
    wires: usize,
}

/// Runs the verb.
pub fn run(args: Args) -> Result {
    let Some(subjects) = subjects(&args) else { return Ok(Outcome::BadInput.into()) };
    if subjects.is_empty() {
        return Err(Failure::bad_input("no topology has such a name"));
    }
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = args.jobs.map_or(processors, usize::from);
    let failures = usize::try_from(args.failures).unwrap_or(usize::MAX);
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new(args.runs) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} runs, {per_sec}, {msg}, {eta} left") {
        bar.set_style(style);
    }
    let all = Pair::all().count();
    let progress = |tally: &Tally| {
        bar.set_position(tally.runs);
        let (pairs, failed) = (tally.coverage.len(), tally.failed.len());
        bar.set_message(format!("{pairs} of {all} pairs, {failed} failed"));
    };
    let options = Options { runs: args.runs, seed: args.seed, jobs, failures };
    let tally = search::run_many(&subjects, options, &progress);
    bar.finish_and_clear();
    let found = found(&args, &subjects, &tally)?;
    let labs: Vec<&str> = subjects.iter().map(|subject| subject.plan.name.as_str()).collect();
    if args.json {
        print(&format!("{:#}\n", as_json(&args, &labs, &tally, &found)));
    } else {
        print(&as_text(&args, &labs, &tally, &found));
    }
    Ok(if tally.failed.is_empty() { Outcome::Held } else { Outcome::CheckFailed }.into())
}

/// What there is to search; none if something is wrong with a file, which is said.
fn subjects(args: &Args) -> Option<Vec<Subject>> {
    let mut subjects = Vec::new();
    let look = |plan: &mut Plan| {
        if args.filter.as_ref().is_some_and(|filter| !plan.name.contains(filter.as_str())) {
            return Vec::new();
        }
        let mut cannot = simulated::refusals(plan);
        match Subject::of(plan) {
            Ok(subject) => subjects.push(subject),
            // It names the file, as each line here will.
            Err(why) => cannot.push(why.strip_prefix(&format!("{}: ", plan.file)).unwrap_or(&why).to_owned()),
        }
        cannot
    };
    files::plans(&args.files, look)?;
    Some(subjects)
}

/// Shrinks the first violation of each topology and kind, and writes its file.
fn found(args: &Args, subjects: &[Subject], tally: &Tally) -> std::result::Result<Vec<Found>, Failure> {
    let mut known: BTreeSet<(usize, Kind)> = BTreeSet::new();
    let mut found = Vec::new();
    for failed in &tally.failed {
        let base = &subjects[failed.subject].plan;
        for violation in &failed.violations {
            if !known.insert((failed.subject, violation.kind)) {
                continue;
            }
            let mut one = Found {
                run: failed.run,
                lab: base.name.clone(),
                kind: violation.kind.name(),
                text: violation.text.clone(),
                file: None,
                steps: 0,
                nodes: 0,
                wires: 0,
            };
            if let Some((_, schedule)) = search::schedule_of(subjects, args.seed, failed.run)
                && let Some(shrunk) = shrink::shrink(schedule, base, violation.kind)
            {
                one.steps = shrunk.plan.scenarios.iter().map(|scenario| scenario.steps.len()).sum();
                (one.nodes, one.wires) = (shrunk.plan.nodes.len(), shrunk.plan.wires.len());
                one.text.clone_from(&shrunk.violation.text);
                one.file = Some(written(args, &one, &shrunk)?);
            }
            found.push(one);
        }
    }
    Ok(found)
}

fn written(args: &Args, one: &Found, shrunk: &shrink::Shrunk) -> std::result::Result<PathBuf, Failure> {
    let remarks = [
        format!("Found by testbed explore --seed {} in run {} of {}, and shrunk.", args.seed, one.run, one.lab),
        "Replay it with: testbed simulate FILE".to_owned(),
        format!("{}: {}", one.kind, one.text),
    ];
    let text = write::text(&shrunk.plan, &remarks).map_err(|why| Failure::machine(why.to_string()))?;
    let path: PathBuf =
        Path::new(&args.output).join(format!("{}-{}-{}-{}.yaml", one.lab, args.seed, one.run, one.kind));
    let failed = |error| Failure::machine(format!("cannot write {}: {error}", path.display()));
    std::fs::create_dir_all(&args.output).map_err(failed)?;
    std::fs::write(&path, text).map_err(failed)?;
    Ok(path)
}

fn as_text(args: &Args, labs: &[&str], tally: &Tally, found: &[Found]) -> String {
    let mut out = String::new();
    for one in found {
        let _ = writeln!(out, "{}, run {}: {}: {}", one.lab, one.run, one.kind, one.text);
        let _ = match &one.file {
            Some(file) => writeln!(
                out,
                "  shrunk to {} steps on {} nodes and {} wires: {}",
                one.steps,
                one.nodes,
                one.wires,
                file.display()
            ),
            None => writeln!(out, "  not from its file: replay it with --seed {} --runs {}", args.seed, one.run + 1),
        };
    }
    if !found.is_empty() {
        out.push('\n');
    }
    out.push_str(&coverage::table(tally));
    out.push('\n');
    out.push_str(&tally.judgements.table());
    let failed = tally.failed.len();
    let _ = writeln!(out, "\n{} runs of {} topologies, seed {}: {failed} failed", tally.runs, labs.len(), args.seed);
    out
}

fn as_json(args: &Args, labs: &[&str], tally: &Tally, found: &[Found]) -> serde_json::Value {
    let found: Vec<_> = found
        .iter()
        .map(|one| {
            json!({
                "lab": one.lab, "run": one.run, "kind": one.kind, "text": one.text,
                "file": one.file, "steps": one.steps, "nodes": one.nodes, "wires": one.wires,
            })
        })
        .collect();
    let failed: Vec<u64> = tally.failed.iter().map(|failed| failed.run).collect();
    let machines: Vec<_> = Machine::ALL.iter().map(|machine| coverage::json(*machine, tally)).collect();
    json!({
        "seed": args.seed, "labs": labs, "runs": tally.runs, "failed": failed, "found": found, "coverage": machines,
        "judgements": tally.judgements.json(),
    })
}
