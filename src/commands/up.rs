//! `testbed up`: build a lab from a file and start it.

use std::io::IsTerminal as _;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::labs::Where;
use super::{Failure, Outcome, Result, Verdict};
use crate::lab::client::LabError;
use crate::lab::protocol::Progress;
use crate::lab::{self, Base, Lab, Options};
use crate::network::kernel::Stage;
use crate::topology;
use crate::topology::plan::{Plan, WireKind};

/// Arguments of `testbed up`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The topology file
    file: PathBuf,
    /// The file is a resolved plan, as `plan.json` in a lab's state directory
    #[arg(long, hide = true)]
    plan: bool,
    /// Name of the lab, if not the file's
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Stay, and take the lab down at Ctrl-C
    #[arg(long)]
    foreground: bool,
    /// Build namespaces, links and addresses only: no routes and no daemons
    #[arg(long)]
    bare: bool,
    #[command(flatten)]
    place: Where,
}

/// Runs the verb.
pub fn run(args: Args) -> Result {
    let plan = load(&args)?;
    let refusals = super::refusals(&plan);
    if !refusals.is_empty() {
        return Err(Failure::bad_input(refusals.trim_end()));
    }
    let base = args.place.base()?;
    let name = args.name.as_deref().unwrap_or(&plan.name);
    if base.sweep()?.iter().any(|up| up == name) {
        return already_up(&base, name, &plan);
    }
    let begun = Instant::now();
    let display = Display::new();
    let mut signals = None;
    let started = {
        let mut progress = |step: &Progress| display.show(step);
        let interrupt = watch_signals(&mut signals)?;
        let options = Options { name: Some(name), bare: args.bare, interrupt: Some(interrupt.as_fd()), turn: None };
        lab::start(&base, &plan, &options, &mut progress)
    };
    display.clear();
    let running = match started {
        Ok(running) => running,
        Err(LabError::Interrupted) => {
            eprintln!("broken off: nothing is left of {name}");
            return Ok(Verdict::Status(130));
        }
        Err(error) => return Err(error.into()),
    };
    eprintln!("{name} is up: {} in {:.2} s", counts(&plan), begun.elapsed().as_secs_f64());
    if !args.foreground {
        running.detach()?;
        return Ok(Outcome::Held.into());
    }
    let Some(signals) = &signals else { return Ok(Outcome::Held.into()) };
    if running.wait(signals.as_fd())? {
        eprintln!("{name} was taken down");
        return Ok(Outcome::Held.into());
    }
    running.down(&mut || eprintln!("{name}: waiting for another lab's timed step"))?;
    eprintln!("{name} is down");
    Ok(Outcome::Held.into())
}

/// A lab that is up from the very same plan is what was asked for; another one is in the way.
fn already_up(base: &Base, name: &str, plan: &Plan) -> Result {
    let lab = Lab::named(base, name);
    let state = if lab.status()?.ready { "up" } else { "being started" };
    if lab.plan()? == *plan {
        eprintln!("{name} is {state} already");
        return Ok(Outcome::Held.into());
    }
    Err(Failure::bad_input(format!(
        "a lab named {name} is {state} already, from another file or another version of it: take it down first \
         (`testbed down {name}`), or give this one another name (--name)"
    )))
}

fn watch_signals(place: &mut Option<SignalFd>) -> std::result::Result<&SignalFd, Failure> {
    let cannot = |error: nix::errno::Errno| Failure::machine(format!("cannot watch for signals: {error}"));
    let watched: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    watched.thread_block().map_err(cannot)?;
    Ok(place.insert(SignalFd::with_flags(&watched, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map_err(cannot)?))
}

fn load(args: &Args) -> std::result::Result<Plan, Failure> {
    if !args.plan {
        let terminal = std::io::stderr().is_terminal();
        return topology::load(&args.file).map_err(|faults| Failure::bad_input(faults.render(terminal)));
    }
    let shown = args.file.display();
    let text =
        std::fs::read(&args.file).map_err(|error| Failure::bad_input(format!("cannot read {shown}: {error}")))?;
    serde_json::from_slice(&text).map_err(|error| Failure::bad_input(format!("{shown} is no plan: {error}")))
}

/// `2 routers, 4 hosts, 3 wires`.
fn counts(plan: &Plan) -> String {
    let some = |count: usize, what: &str| match count {
        0 => None,
        1 => Some(format!("1 {what}")),
        _ => Some(format!("{count} {what}s")),
    };
    let routers = plan.nodes.iter().filter(|node| node.router().is_some()).count();
    let lans = plan.wires.iter().filter(|wire| matches!(wire.kind, WireKind::Lan { .. })).count();
    let parts = [
        some(routers, "router"),
        some(plan.nodes.len() - routers, "host"),
        some(plan.wires.len() - lans, "link"),
        some(lans, "LAN"),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Shows how far the lab is: a bar on a terminal; elsewhere only that it waits.
struct Display {
    bar: ProgressBar,
    terminal: bool,
}

impl Display {
    fn new() -> Display {
        let terminal = std::io::stderr().is_terminal();
        let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg:16} {bar:40} {pos}/{len}") {
            bar.set_style(style);
        }
        if terminal {
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        Display { bar, terminal }
    }

    fn show(&self, step: &Progress) {
        let (what, done, of) = match step {
            Progress::Waiting => {
                if !self.terminal {
                    eprintln!("waiting for another lab's timed step, or for one that is being built or taken down");
                }
                ("waiting for turn", 0, 1)
            }
            Progress::Fabric(Stage::Namespaces, done, of) => ("namespaces", *done, *of),
            Progress::Fabric(Stage::Links, done, of) => ("links", *done, *of),
            Progress::Fabric(Stage::Addresses, done, of) => ("addresses", *done, *of),
            Progress::Fabric(Stage::Carriers, done, of) => ("carriers", *done, *of),
            Progress::Routes => ("routes", 1, 1),
            Progress::Daemons(done, of) => ("daemons", *done, *of),
        };
        self.bar.set_message(what);
        self.bar.set_length(of as u64);
        self.bar.set_position(done as u64);
    }

    fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
