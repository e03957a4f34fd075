//! `testbed compare`: the same events for every daemon of sparse mode that is installed, and one table.
//!
//! Each round builds a lab for each daemon in turn (every second round in reverse order), with that daemon in all routers, and does to it what
//! the file's first scenario names: so what else the machine does falls on all of them alike. A figure that fails once is not tried again.
//! Last comes what cannot be disturbed by what else the machine does, side by side: control messages are counted, and daemons whose own clock
//! ticks in seconds go through their rounds, which take minutes each.
#![forbid(unsafe_code)]

pub mod figure;
pub mod measure;
mod roles;
mod table;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

pub use figure::{Column, Figure, Looks, Verdict, judge};
pub use roles::{NotComparable, Roles};
pub use table::{Conditions, Report};

use crate::bench::lab::{daemon_weights, run_inside, timed_start};
use crate::daemon::Kind;
use crate::lab::{Base, Lab};
use crate::network::simulated::SimulatedNetwork;
use crate::topology::plan::{Daemon, Plan};

/// What control messages of router-core are counted in, in virtual time.
const HOUR: Duration = Duration::from_secs(3600);

/// Labs side by side, of those that may be.
const BESIDE: usize = 7;

/// What every measurement is given.
#[derive(Clone, Debug)]
pub struct Setting {
    /// How often everything is measured; medians are judged.
    pub rounds: usize,
    /// How long control messages are counted on the kernel.
    pub watch: Duration,
    /// This very program.
    pub testbed: PathBuf,
    /// Where the state of labs lies.
    pub base: Base,
}

/// A daemon to compare.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Which.
    pub kind: Kind,
    /// Its version.
    pub version: String,
    /// The file's network with it in every router.
    pub plan: Plan,
}

/// Daemons that speak sparse mode.
pub const SPARSE: [Kind; 3] = [Kind::RouterCore, Kind::Frr, Kind::Pimd];

/// A daemon as a plan has it; none for one that does not speak sparse mode.
pub fn daemon_of(kind: Kind) -> Option<Daemon> {
    match kind {
        Kind::RouterCore => Some(Daemon::RouterCore),
        Kind::Frr => Some(Daemon::Frr),
        Kind::Pimd => Some(Daemon::Pimd),
        Kind::Smcroute => None,
    }
}

/// Whether a daemon acts in ticks of its own: pimd's are 5 s (`TIMER_INTERVAL`).
fn acts_in_ticks(kind: Kind) -> bool {
    match kind {
        Kind::Pimd => true,
        Kind::RouterCore | Kind::Frr | Kind::Smcroute => false,
    }
}

/// Names of a daemon's processes.
fn processes(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::RouterCore => &["router-core"],
        Kind::Frr => &["zebra", "pimd"],
        Kind::Pimd => &["pimd"],
        Kind::Smcroute => &["smcrouted"],
    }
}

/// Measures everything.
pub fn run(setting: &Setting, candidates: &[Candidate], tell: &mut dyn FnMut(&str)) -> Vec<Column> {
    let mut columns: Vec<Column> = candidates
        .iter()
        .map(|candidate| Column {
            daemon: candidate.kind.name().to_owned(),
            version: candidate.version.clone(),
            ..Column::default()
        })
        .collect();
    let quick: Vec<usize> = (0..candidates.len()).filter(|place| !acts_in_ticks(candidates[*place].kind)).collect();
    for round in 0..setting.rounds {
        let mut order = quick.clone();
        if round % 2 == 1 {
            order.reverse();
        }
        for place in order {
            let (candidate, column) = (&candidates[place], &mut columns[place]);
            let wanted: BTreeSet<Figure> = events().filter(|figure| !column.failed.contains_key(figure)).collect();
            if wanted.is_empty() {
                continue;
            }
            tell(&format!("{} ({}/{})", candidate.kind.name(), round + 1, setting.rounds));
            let (looks, doubts) = one_round(setting, candidate, &wanted);
            column.add(looks);
            column.doubts.extend(doubts);
        }
    }
    side_by_side(setting, candidates, &mut columns, tell);
    columns
}

/// Counts control messages of all, and has daemons that act in ticks go through their rounds.
fn side_by_side(setting: &Setting, candidates: &[Candidate], columns: &mut [Column], tell: &mut dyn FnMut(&str)) {
    let patient = candidates.iter().enumerate().filter(|(_, candidate)| acts_in_ticks(candidate.kind));
    let rounds = patient.flat_map(|(place, _)| std::iter::repeat_n((place, false), setting.rounds));
    let jobs: Vec<(usize, bool)> = (0..candidates.len()).map(|place| (place, true)).chain(rounds).collect();
    for (n, beside) in jobs.chunks(BESIDE).enumerate() {
        tell(&format!("control messages, and daemons with ticks ({}/{})", n + 1, jobs.len().div_ceil(BESIDE)));
        let looks = std::thread::scope(|scope| {
            let measure = |(place, counts): (usize, bool)| {
                let candidate = &candidates[place];
                scope.spawn(move || match counts {
                    true => (counted(setting, candidate), Vec::new()),
                    false => one_round(setting, candidate, &events().collect()),
                })
            };
            let threads: Vec<_> = beside.iter().map(|job| measure(*job)).collect();
            let ended = threads.into_iter().map(|thread| thread.join());
            ended.map(|ended| ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect::<Vec<_>>()
        });
        for ((place, _), (looks, doubts)) in beside.iter().zip(looks) {
            columns[*place].add(looks);
            columns[*place].doubts.extend(doubts);
        }
    }
}

/// What is measured by events.
fn events() -> impl Iterator<Item = Figure> {
    Figure::ALL.into_iter().filter(|figure| !figure.is_traffic())
}

fn counted(setting: &Setting, candidate: &Candidate) -> Looks {
    match traffic(setting, candidate) {
        Ok(traffic) => traffic.in_an_hour(),
        Err(why) => [Figure::Messages, Figure::Octets].map(|figure| (figure, Err(why.clone()))).into(),
    }
}

/// What a round gave, and what makes it doubtful.
fn one_round(setting: &Setting, candidate: &Candidate, wanted: &BTreeSet<Figure>) -> (Looks, Vec<String>) {
    attempt(setting, candidate, wanted).unwrap_or_else(|why| {
        let looks = wanted.iter().map(|figure| (*figure, Err(why.clone()))).collect();
        (looks, Vec::new())
    })
}

fn attempt(
    setting: &Setting,
    candidate: &Candidate,
    wanted: &BTreeSet<Figure>,
) -> Result<(Looks, Vec<String>), String> {
    let words: Vec<String> = wanted.iter().map(|figure| word(*figure)).collect();
    let part: Vec<&str> = ["compare", "round"].into_iter().chain(words.iter().map(String::as_str)).collect();
    let (round, memory) = in_lab(setting, &candidate.plan, &part, |lab: &Lab| memory(lab, candidate))?;
    let measure::Round { mut looks, doubts } = round;
    if wanted.contains(&Figure::Memory) {
        looks.insert(Figure::Memory, memory);
    }
    Ok((looks, doubts))
}

/// Mebibytes a router, after all that a round does.
fn memory(lab: &Lab, candidate: &Candidate) -> Result<f64, String> {
    let names = processes(candidate.kind);
    let weights = daemon_weights(lab, names).map_err(|error| error.to_string())?;
    let routers = candidate.plan.nodes.iter().filter(|node| node.is_router()).count();
    if weights.len() != routers * names.len() {
        return Err(format!("{} of {} processes were found", weights.len(), routers * names.len()));
    }
    Ok(weights.iter().map(|weight| weight.proportional).sum::<f64>() / routers as f64)
}

/// Control messages: router-core's in virtual time, others' on the kernel.
fn traffic(setting: &Setting, candidate: &Candidate) -> Result<measure::Traffic, String> {
    if candidate.kind == Kind::RouterCore {
        return measure::traffic(&mut SimulatedNetwork::new(&candidate.plan), &candidate.plan, HOUR);
    }
    let millis = setting.watch.as_millis().to_string();
    in_lab(setting, &candidate.plan, &["compare", "traffic", &millis], |_| ()).map(|(traffic, ())| traffic)
}

/// Starts a lab, runs a part of the comparison inside, looks at the lab, takes it down.
fn in_lab<T: serde::de::DeserializeOwned, L>(
    setting: &Setting,
    plan: &Plan,
    part: &[&str],
    look: impl FnOnce(&Lab) -> L,
) -> Result<(T, L), String> {
    let text = |error: &dyn ToString| error.to_string();
    let (lab, _) = timed_start(&setting.base, plan, false).map_err(|error| text(&error))?;
    let answer = run_inside(&setting.testbed, lab.lab(), "inside", part);
    let looked = look(lab.lab());
    lab.down(&mut || {}).map_err(|error| text(&error))?;
    Ok((answer.map_err(|error| text(&error))?, looked))
}

/// A figure as the command line has it.
fn word(figure: Figure) -> String {
    clap::ValueEnum::to_possible_value(&figure).map(|value| value.get_name().to_owned()).unwrap_or_default()
}
