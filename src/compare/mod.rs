//! `testbed compare`: the same events for every daemon of sparse mode that is installed, and one table.
//!
//! Each round builds a lab for each daemon in turn (every second round in reverse order), with that daemon in all routers, and does to it what
//! the file's first scenario names: so what else the machine does falls on all of them alike. A figure that fails once is not tried again.
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
    for round in 0..setting.rounds {
        let count = candidates.len();
        for place in 0..count {
            let place = if round % 2 == 0 { place } else { count - 1 - place };
            let (candidate, column) = (&candidates[place], &mut columns[place]);
            let wanted: BTreeSet<Figure> =
                Figure::ALL.into_iter().filter(|f| !f.is_traffic() && !column.failed.contains_key(f)).collect();
            if wanted.is_empty() {
                continue;
            }
            tell(&format!("{} ({}/{})", candidate.kind.name(), round + 1, setting.rounds));
            match one_round(setting, candidate, &wanted) {
                Ok((looks, doubts)) => {
                    column.add(looks);
                    column.doubts.extend(doubts);
                }
                Err(why) => column.add(wanted.into_iter().map(|figure| (figure, Err(why.clone()))).collect()),
            }
        }
    }
    for (candidate, column) in candidates.iter().zip(&mut columns) {
        tell(&format!("{}: control messages", candidate.kind.name()));
        column.add(match traffic(setting, candidate) {
            Ok(traffic) => traffic.in_an_hour(),
            Err(why) => [Figure::Messages, Figure::Octets].map(|figure| (figure, Err(why.clone()))).into(),
        });
    }
    columns
}

fn one_round(
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
