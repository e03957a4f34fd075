//! A chain of routers, built by whoever can: the kernel's floor, the fabric of a lab, `ip -batch`, Mininet.

use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::place::{answer, beside, enter_private, part};
use super::{NoFigure, Series, Setting, Target, Unit, Variant, interleave, networks};
use crate::network::kernel;
use crate::network::kernel::namespace::PLACES;
use crate::routes::agent::{Agent, Places};
use crate::topology::plan::Plan;

const MININET: &str = include_str!("../../benches/chain_mininet.py");
/// A chain that is longer takes Mininet minutes.
const MININET_MAX: usize = 300;

/// The fabric may take so many times the kernel's floor.
const FABRIC_TIMES_MAX: f64 = 1.5;

/// What building something took.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Times {
    /// Until it was up.
    pub up_ms: f64,
}

/// A chain of so many routers, without daemons and routes.
pub fn experiment(setting: &Setting, nodes: usize, tell: &mut dyn FnMut(&str)) -> Vec<Series> {
    let name = format!("chain of {nodes} routers, up");
    let count = nodes.to_string();
    let series = |what: &str| Series::new(&name, what, Unit::Milliseconds);
    let count = count.as_str();
    let variants = vec![
        Variant {
            series: vec![series("kernel's floor")],
            measure: Box::new(move || {
                let times: Times = answer(beside(&setting.testbed, "floor")?.arg(count))?;
                Ok(vec![times.up_ms])
            }),
        },
        Variant {
            series: vec![
                series("testbed's fabric").target(Target::AtMostTimes(FABRIC_TIMES_MAX, "kernel's floor".into())),
            ],
            measure: Box::new(move || {
                let times: Times = part(setting, &["fabric", count])?;
                Ok(vec![times.up_ms])
            }),
        },
        Variant {
            series: vec![series("testbed's routes, a host at each end").beside("kernel's floor")],
            measure: Box::new(move || {
                let times: Times = part(setting, &["routes", count])?;
                Ok(vec![times.up_ms])
            }),
        },
        Variant {
            series: vec![series("ip -batch").beside("kernel's floor")],
            measure: Box::new(move || {
                let times: Times = part(setting, &["ip-batch", count])?;
                Ok(vec![times.up_ms])
            }),
        },
        Variant {
            series: vec![series("Mininet").beside("kernel's floor")],
            measure: Box::new(move || {
                let times: Times = part(setting, &["mininet", count])?;
                Ok(vec![times.up_ms])
            }),
        },
    ];
    interleave(setting.rounds, variants, tell)
}

/// Builds the chain as a lab's fabric.
///
/// # Errors
/// [`NoFigure`].
pub fn fabric(nodes: usize) -> Result<Times, NoFigure> {
    let plan = networks::chain(nodes, false)?;
    enter_private().map_err(NoFigure::failed)?;
    let start = Instant::now();
    let _fabric = build(&plan)?;
    Ok(Times { up_ms: since(start) })
}

/// Builds the chain with a host at each end, and gives what it takes to install the routes in it.
///
/// # Errors
/// [`NoFigure`].
pub fn routes(nodes: usize) -> Result<Times, NoFigure> {
    let plan = networks::chain(nodes, true)?;
    enter_private().map_err(NoFigure::failed)?;
    let _fabric = build(&plan)?;
    let places = Places { namespaces: PLACES.into(), socket: "/run/agent.sock".into(), log: "/run/agent.log".into() };
    let start = Instant::now();
    let _agent = Agent::start(&plan, &places).map_err(NoFigure::failed)?;
    Ok(Times { up_ms: since(start) })
}

fn build(plan: &Plan) -> Result<kernel::Fabric, NoFigure> {
    kernel::build(plan, &mut |_, _, _| ControlFlow::Continue(())).map_err(NoFigure::failed)
}

fn since(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

/// Builds the chain with iproute2 as a script would that knows `-batch`: one process for all namespaces, one for all links, one a namespace for the
/// rest. Writing the batches is not counted.
///
/// # Errors
/// [`NoFigure`].
pub fn ip_batch(nodes: usize) -> Result<Times, NoFigure> {
    if Command::new("ip").arg("-V").output().is_err() {
        return Err(NoFigure::Missing("iproute2 is not installed".into()));
    }
    enter_private().map_err(NoFigure::failed)?;
    let address = |link: usize, end: usize| {
        let host = link * 4 + end;
        format!("10.{}.{}.{}/30", host >> 16 & 255, host >> 8 & 255, host & 255)
    };
    let write = |name: &str, lines: String| fs::write(Path::new("/run").join(name), lines).map_err(NoFigure::failed);
    write("namespaces", (0..nodes).map(|n| format!("netns add r{n}\n")).collect())?;
    let link = |n| format!("link add e1 netns r{n} type veth peer name e0 netns r{}\n", n + 1);
    write("links", (0..nodes - 1).map(link).collect())?;
    for n in 0..nodes {
        let mut lines = String::from("link set lo up\n");
        if n > 0 {
            lines += &format!("addr add {} dev e0\nlink set e0 up\n", address(n - 1, 2));
        }
        if n + 1 < nodes {
            lines += &format!("addr add {} dev e1\nlink set e1 up\n", address(n, 1));
        }
        write(&format!("r{n}"), lines)?;
    }
    let start = Instant::now();
    ip(&["-batch", "/run/namespaces"])?;
    ip(&["-batch", "/run/links"])?;
    for n in 0..nodes {
        ip(&["-n", &format!("r{n}"), "-batch", &format!("/run/r{n}")])?;
        ip(&["netns", "exec", &format!("r{n}"), "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])?;
    }
    Ok(Times { up_ms: since(start) })
}

fn ip(arguments: &[&str]) -> Result<(), NoFigure> {
    let output = Command::new("ip").args(arguments).stdin(Stdio::null()).output().map_err(NoFigure::failed)?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(NoFigure::failed(format!("ip {}: {}", arguments.join(" "), text.trim())))
}

/// Builds the chain with Mininet.
///
/// # Errors
/// [`NoFigure`].
pub fn mininet(nodes: usize) -> Result<Times, NoFigure> {
    if nodes > MININET_MAX {
        return Err(NoFigure::Missing(format!("Mininet is not asked for more than {MININET_MAX} routers")));
    }
    // A Python of the user's own may come first in the path; the distribution's has the distribution's modules.
    let python = ["/usr/bin/python3", "python3"].into_iter().find(|python| {
        let mut check = Command::new(python);
        check.args(["-c", "import mininet"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        check.status().is_ok_and(|status| status.success())
    });
    let python = python.ok_or_else(|| NoFigure::Missing("Mininet is not installed".into()))?;
    enter_private().map_err(NoFigure::failed)?;
    let script = "/run/chain_mininet.py";
    fs::write(script, MININET).map_err(NoFigure::failed)?;
    answer(Command::new(python).arg(script).arg(nodes.to_string()))
}

/// Prints what a part gave, for `part` to read.
///
/// # Errors
/// Those of writing.
pub fn print(times: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_string(times)?;
    line.push('\n');
    io::Write::write_all(&mut io::stdout().lock(), line.as_bytes())
}
