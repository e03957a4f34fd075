//! A whole lab of a hundred routers, each with a ready router-core: how long it takes to come and go, and what a router weighs.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use serde::de::DeserializeOwned;

use super::{NoFigure, Series, Setting, Target, Unit, Variant, interleave, networks};
use crate::lab::client::Command;
use crate::lab::protocol::Progress;
use crate::lab::turn::{Purpose, Turn};
use crate::lab::{Base, Lab, Options, RunningLab, start};
use crate::topology::plan::Plan;

/// Mebibytes a router that only it uses, or its share of what it shares.
const PROPORTIONAL_MIB_MAX: f64 = 0.5;
/// Mebibytes a router in memory at all.
const RESIDENT_MIB_MAX: f64 = 3.0;

/// So many routers in a chain, a host at each end.
pub fn experiment(setting: &Setting, routers: usize, tell: &mut dyn FnMut(&str)) -> Vec<Series> {
    let name = format!("lab of {routers} routers, all of it");
    let time = |what: &str| Series::new(&name, what, Unit::Milliseconds);
    let weight = |what: &str, most| Series::new(&name, what, Unit::Mebibytes).target(Target::AtMost(most));
    let variants = vec![
        Variant {
            series: vec![
                time("up"),
                time("  of it fabric").beside("up"),
                time("  of it routes").beside("up"),
                time("  of it daemons").beside("up"),
                time("down"),
                weight("router-core, proportional", PROPORTIONAL_MIB_MAX),
                weight("router-core, resident", RESIDENT_MIB_MAX),
            ],
            measure: Box::new(|| whole(&setting.base, &networks::chain(routers, true)?)),
        },
        Variant {
            series: vec![time("up, bare (no routes, no daemons)").beside("up")],
            measure: Box::new(|| {
                let (lab, times) = timed_start(&setting.base, &networks::chain(routers, true)?, true)?;
                lab.down(&mut || {}).map_err(NoFigure::failed)?;
                Ok(vec![times.whole])
            }),
        },
    ];
    interleave(setting.rounds, variants, tell)
}

fn whole(base: &Base, plan: &Plan) -> Result<Vec<f64>, NoFigure> {
    let (lab, times) = timed_start(base, plan, false)?;
    let weights = daemon_weights(lab.lab(), &["router-core"])?;
    let routers = plan.nodes.iter().filter(|node| node.is_router()).count();
    if weights.len() != routers {
        return Err(NoFigure::failed(format!("{} of {routers} router-core processes found", weights.len())));
    }
    let mean = |pick: fn(&Weight) -> f64| weights.iter().map(pick).sum::<f64>() / weights.len() as f64;
    let before = Instant::now();
    lab.down(&mut || {}).map_err(NoFigure::failed)?;
    let down = milliseconds(before, Instant::now());
    Ok(vec![
        times.whole,
        times.fabric,
        times.routes,
        times.daemons,
        down,
        mean(|weight| weight.proportional),
        mean(|weight| weight.resident),
    ])
}

/// Milliseconds of a lab's start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct StartTimes {
    pub whole: f64,
    fabric: f64,
    routes: f64,
    daemons: f64,
}

/// Starts a lab, and says when which part of it was there.
pub(crate) fn timed_start(base: &Base, plan: &Plan, bare: bool) -> Result<(RunningLab, StartTimes), NoFigure> {
    let (mut fabric, mut routes) = (None, None);
    // Several may be there at once.
    static STARTED: AtomicUsize = AtomicUsize::new(0);
    let number = STARTED.fetch_add(1, Ordering::Relaxed);
    let name = format!("{}-{}-{number}", plan.name, std::process::id());
    let options = Options { name: Some(&name), bare, ..Options::default() };
    // How long other labs keep this one waiting is no figure of its own.
    let turns = base.turns().map_err(NoFigure::failed)?;
    drop(Turn::take(&turns, Purpose::Build, &mut || {}).map_err(NoFigure::failed)?);
    let begin = Instant::now();
    let lab = start(base, plan, &options, &mut |progress| match progress {
        Progress::Fabric(..) => fabric = Some(Instant::now()),
        Progress::Routes => routes = Some(Instant::now()),
        Progress::Waiting | Progress::Daemons(..) => {}
    });
    let end = Instant::now();
    let lab = lab.map_err(NoFigure::failed)?;
    let fabric = fabric.unwrap_or(end);
    let routes = routes.unwrap_or(fabric);
    let times = StartTimes {
        whole: milliseconds(begin, end),
        fabric: milliseconds(begin, fabric),
        routes: milliseconds(fabric, routes),
        daemons: milliseconds(routes, end),
    };
    Ok((lab, times))
}

/// Starts a lab, runs a part of the bench inside of it, and gives what that prints.
///
/// # Errors
/// [`NoFigure::Failed`].
pub(super) fn inside<T: DeserializeOwned>(setting: &Setting, plan: &Plan, part: &[&str]) -> Result<T, NoFigure> {
    inside_timed(setting, plan, part).map(|(_, answer)| answer)
}

/// The same, with the milliseconds that the lab took to come up.
///
/// # Errors
/// [`NoFigure::Failed`].
pub(super) fn inside_timed<T: DeserializeOwned>(
    setting: &Setting,
    plan: &Plan,
    part: &[&str],
) -> Result<(f64, T), NoFigure> {
    let (lab, times) = timed_start(&setting.base, plan, false)?;
    let answer = run_inside(&setting.testbed, lab.lab(), "bench", part);
    lab.down(&mut || {}).map_err(NoFigure::failed)?;
    Ok((times.whole, answer?))
}

/// Runs a verb of this program in a lab, outside of every node, and reads the JSON that it prints.
pub(crate) fn run_inside<T: DeserializeOwned>(
    testbed: &Path,
    lab: &Lab,
    verb: &str,
    part: &[&str],
) -> Result<T, NoFigure> {
    let nothing = File::open("/dev/null").map_err(NoFigure::failed)?;
    let (samples, out) = pipe2(OFlag::O_CLOEXEC).map_err(NoFigure::failed)?;
    let words = std::io::stderr();
    let argv = [testbed.as_os_str(), verb.as_ref()].into_iter().chain(part.iter().map(OsStr::new));
    let command = Command::new(None, argv);
    let mut running = lab.exec(command, [nothing.as_fd(), out.as_fd(), words.as_fd()]).map_err(NoFigure::failed)?;
    drop(out);
    let mut text = String::new();
    File::from(samples).read_to_string(&mut text).map_err(NoFigure::failed)?;
    let exit = running.wait().map_err(NoFigure::failed)?;
    if exit.code() != 0 {
        return Err(NoFigure::failed(format!("{}: {exit}", part.join(" "))));
    }
    serde_json::from_str(text.trim()).map_err(|error| NoFigure::failed(format!("samples: {error}")))
}

fn milliseconds(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64() * 1e3
}

/// Memory of a process, in mebibytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Weight {
    /// Its share of what it shares, and all that only it uses.
    pub proportional: f64,
    /// In memory at all.
    pub resident: f64,
}

/// What the processes of a lab that have one of these names weigh.
pub(crate) fn daemon_weights(lab: &Lab, names: &[&str]) -> Result<Vec<Weight>, NoFigure> {
    let supervisor = lab.supervisor().map_err(NoFigure::failed)?;
    let own = fs::read_link(format!("/proc/{supervisor}/ns/pid"))
        .map_err(|error| NoFigure::failed(format!("the lab's process namespace: {error}")))?;
    let is_daemon = |process: &PathBuf| {
        fs::read_link(process.join("ns/pid")).is_ok_and(|found| found == own)
            && fs::read_to_string(process.join("comm")).is_ok_and(|name| names.contains(&name.trim_end()))
    };
    let processes = fs::read_dir("/proc").map_err(NoFigure::failed)?;
    processes
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(is_daemon)
        .map(|process| {
            let path = process.join("smaps_rollup");
            let text =
                fs::read_to_string(&path).map_err(|error| NoFigure::failed(format!("{}: {error}", path.display())))?;
            parse_weight(&text).ok_or_else(|| NoFigure::failed(format!("{} has no Pss and Rss", path.display())))
        })
        .collect()
}

/// Reads `smaps_rollup` of a process.
pub(super) fn parse_weight(rollup: &str) -> Option<Weight> {
    let mebibytes = |key: &str| {
        let line = rollup.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kibibytes / 1024.0)
    };
    Some(Weight { proportional: mebibytes("Pss")?, resident: mebibytes("Rss")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_weighs_what_the_kernel_rolls_up() {
        let rollup = "55d0a0000000-7ffe00000000 ---p 00000000 00:00 0    [rollup]\n\
                      Rss:                2048 kB\nPss:                 256 kB\nPss_Dirty:           200 kB\n";
        assert_eq!(parse_weight(rollup), Some(Weight { proportional: 0.25, resident: 2.0 }));
        assert_eq!(parse_weight("Rss: 1 kB\n"), None);
    }
}
