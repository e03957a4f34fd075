//! `testbed capture`: capture the frames of wires as pcapng.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::path::PathBuf;

use router_core::time::Span;

use super::exec::execute_on;
use super::labs::Which;
use super::{Failure, Result};
use crate::lab::client::Command;
use crate::topology::plan::Plan;

/// Arguments of `testbed capture`.
///
/// Whole frames of links and LANs, as pcapng with one named interface an attachment, until Ctrl-C.
/// `testbed capture campus | wireshark -k -i -` shows them as they come.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Links and LANs, as the file names them
    #[arg(required = true, value_name = "LINK")]
    links: Vec<String>,
    /// Write to this file rather than to standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// End after this time (10s, 500ms)
    #[arg(long, value_name = "TIME")]
    duration: Option<Span>,
    /// Only frames to this group, and IGMP, MLD and PIM messages
    #[arg(long, value_name = "GROUP", value_parser = group)]
    group: Option<IpAddr>,
    #[command(flatten)]
    which: Which,
}

/// Runs the verb.
pub fn run(args: Args) -> Result {
    let lab = args.which.choose()?;
    let plan = lab.plan()?;
    for link in &args.links {
        check(&plan, link)?;
    }
    if args.output.is_none() && io::stdout().is_terminal() {
        let advice =
            "a capture is no text for a terminal: name a file with -o, or pipe it to a program (| tshark -r -)";
        return Err(Failure::bad_input(advice));
    }
    let program =
        std::env::current_exe().map_err(|error| Failure::machine(format!("cannot find this program: {error}")))?;
    let mut argv: Vec<OsString> = vec![program.into(), "inside".into(), "capture".into()];
    if let Some(group) = args.group {
        argv.extend(["--group".into(), group.to_string().into()]);
    }
    if let Some(duration) = args.duration {
        argv.extend(["--duration".into(), duration.to_string().into()]);
    }
    argv.push("--".into());
    argv.extend(args.links.iter().map(OsString::from));
    let command = Command::new(None, argv);
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    match &args.output {
        None => execute_on(&lab, command, [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]),
        Some(path) => {
            let cannot = |error: io::Error| Failure::bad_input(format!("cannot write {}: {error}", path.display()));
            let file = File::create(path).map_err(cannot)?;
            execute_on(&lab, command, [stdin.as_fd(), file.as_fd(), stderr.as_fd()])
        }
    }
}

fn check(plan: &Plan, link: &str) -> std::result::Result<(), Failure> {
    if plan.find_wire(link).is_some() {
        return Ok(());
    }
    let names: Vec<&str> = plan.wires.iter().map(|wire| wire.name.as_str()).take(20).collect();
    let more = if plan.wires.len() > names.len() { ", ..." } else { "" };
    let (lab, names) = (&plan.name, names.join(", "));
    Err(Failure::bad_input(format!("there is no link or LAN {link} in {lab}; there are {names}{more}")))
}

fn group(text: &str) -> std::result::Result<IpAddr, String> {
    match text.parse::<IpAddr>() {
        Ok(group) if group.is_multicast() => Ok(group),
        Ok(other) => Err(format!("{other} is no multicast group ({}/4 or ff00::/8)", Ipv4Addr::new(224, 0, 0, 0))),
        Err(error) => Err(error.to_string()),
    }
}
