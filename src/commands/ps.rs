//! `testbed ps`: list labs and what is in them.

use std::collections::BTreeMap;
use std::fs;

use serde::Serialize;
use tabled::builder::Builder;
use tabled::settings::Style;

use super::labs::Where;
use super::{Failure, Outcome, Result};
use crate::lab::client::LabError;
use crate::lab::protocol::{DaemonStatus, NodeStatus};
use crate::lab::{Base, Lab};
use crate::topology::plan::{Daemon, Node, NodeKind};

/// Arguments of `testbed ps`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this lab
    #[arg(long, value_name = "NAME")]
    lab: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Where,
}

/// A lab as it is printed.
#[derive(Debug, Serialize)]
struct LabShown {
    name: String,
    file: String,
    /// `ready`, `starting` or `ending`.
    state: &'static str,
    directory: String,
    supervisor: Option<i32>,
    agent: Option<i32>,
    nodes: Vec<NodeShown>,
}

#[derive(Debug, Serialize)]
struct NodeShown {
    name: String,
    /// `host` or `router`.
    kind: &'static str,
    daemon: Option<String>,
    state: String,
    /// Process ids as the user sees them: the daemon's, then those of programs that run in the node.
    pids: Vec<i32>,
    addresses: Vec<String>,
}

/// Runs the verb.
pub fn run(args: Args) -> Result {
    let base = args.place.base()?;
    let names = match &args.lab {
        Some(name) => vec![base.choose(Some(name))?],
        None => base.sweep()?,
    };
    let labs: Vec<LabShown> = names.iter().map(|name| look(&base, name)).collect();
    if args.json {
        let text = serde_json::to_string_pretty(&labs);
        println!("{}", text.map_err(|error| Failure::machine(error.to_string()))?);
    } else {
        print(&labs);
    }
    Ok(Outcome::Held.into())
}

fn look(base: &Base, name: &str) -> LabShown {
    let lab = Lab::named(base, name);
    let plan = lab.plan().ok();
    let (status, supervisor) = match (lab.status(), lab.supervisor()) {
        (Ok(status), Ok(supervisor)) => (Ok(status), Some(supervisor)),
        (Err(error), _) | (_, Err(error)) => (Err(error), None),
    };
    let state = match &status {
        Ok(status) if status.ready => "ready",
        Ok(_) => "starting",
        // Its lock is held, but nobody listens: not yet, or not any more.
        Err(LabError::Gone(_)) if plan.is_some() => "starting",
        Err(_) => "ending",
    };
    let seen = supervisor.map(processes_below).unwrap_or_default();
    let status = status.ok();
    let nodes = plan
        .iter()
        .flat_map(|plan| &plan.nodes)
        .enumerate()
        .map(|(index, node)| show(node, status.as_ref().and_then(|status| status.nodes.get(index)), &seen));
    let nodes = nodes.collect();
    LabShown {
        name: name.to_owned(),
        file: plan.as_ref().map(|plan| plan.file.clone()).unwrap_or_default(),
        state,
        directory: lab.directory().display().to_string(),
        supervisor,
        agent: status.and_then(|status| status.agent).and_then(|pid| seen.get(&pid).copied()),
        nodes,
    }
}

fn show(node: &Node, status: Option<&NodeStatus>, seen: &BTreeMap<i32, i32>) -> NodeShown {
    let (kind, daemon) = match &node.kind {
        NodeKind::Host(_) => ("host", None),
        NodeKind::Router(router) => ("router", Some(daemon_name(&router.daemon))),
    };
    let state = match status.map(|status| &status.daemon) {
        None | Some(DaemonStatus::None) => "-".to_owned(),
        Some(DaemonStatus::Starting(_)) => "starting".into(),
        Some(DaemonStatus::Running(_)) => "running".into(),
        Some(DaemonStatus::Paused(_)) => "paused".into(),
        Some(DaemonStatus::Killed) => "killed".into(),
        Some(DaemonStatus::Ended(exit)) => format!("ended: {exit}"),
    };
    let inside = status.iter().flat_map(|status| {
        let others = status.further.iter().chain(&status.programs);
        status.daemon.pid().into_iter().chain(others.copied())
    });
    let addresses = node.loopback.iter().chain(node.interfaces.iter().flat_map(|interface| &interface.addresses));
    NodeShown {
        name: node.name.clone(),
        kind,
        daemon,
        state,
        pids: inside.filter_map(|pid| seen.get(&pid).copied()).collect(),
        addresses: addresses.map(ToString::to_string).collect(),
    }
}

fn daemon_name(daemon: &Daemon) -> String {
    match daemon {
        Daemon::Exec(program) => program.command.first().cloned().unwrap_or_default(),
        known => known.name().into(),
    }
}

/// The processes of the PID namespace whose first is `supervisor`: from their ids there to their ids here.
fn processes_below(supervisor: i32) -> BTreeMap<i32, i32> {
    let mut parents = BTreeMap::new();
    let mut ids = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let Ok(status) = fs::read_to_string(entry.path().join("status")) else { continue };
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        if let Some(parent) = field("PPid:").and_then(|text| text.parse::<i32>().ok()) {
            parents.insert(pid, parent);
        }
        let levels: Vec<i32> = field("NSpid:").unwrap_or("").split_whitespace().flat_map(str::parse).collect();
        if let [_, .., last] = levels[..] {
            ids.insert(pid, last);
        }
    }
    // An orphan's parent is the namespace's first process, so that every line of parents leads there.
    let belongs = |mut pid: i32| {
        let mut steps = 0;
        while pid != supervisor && steps < 64 {
            match parents.get(&pid) {
                Some(&parent) => pid = parent,
                None => return false,
            }
            steps += 1;
        }
        pid == supervisor
    };
    ids.into_iter().filter(|&(pid, _)| belongs(pid)).map(|(pid, inside)| (inside, pid)).collect()
}

fn print(labs: &[LabShown]) {
    if labs.is_empty() {
        eprintln!("no lab is up");
        return;
    }
    for (number, lab) in labs.iter().enumerate() {
        let blank = if number > 0 { "\n" } else { "" };
        let pid = lab.supervisor.map(|pid| format!(", pid {pid}")).unwrap_or_default();
        println!("{blank}{} ({}): {}{pid}", lab.name, lab.file, lab.state);
        let mut table = Builder::new();
        table.push_record(["NODE", "KIND", "DAEMON", "STATE", "PIDS", "ADDRESSES"]);
        for node in &lab.nodes {
            let pids: Vec<String> = node.pids.iter().map(ToString::to_string).collect();
            table.push_record([
                &node.name,
                node.kind,
                node.daemon.as_deref().unwrap_or("-"),
                &node.state,
                &pids.join(" "),
                &node.addresses.join(" "),
            ]);
        }
        let mut table = table.build();
        for line in table.with(Style::blank()).to_string().lines() {
            println!("{}", line.trim_end());
        }
    }
}
