//! What programs of a lab start on: namespaces, limits, environment, logs.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::unistd::Pid;

use super::place::Place;
use super::protocol::{Failure, Fault};
use crate::network::kernel::{self, Fabric, Namespace};
use crate::sys::process::{Program, StartError, null, start};
use crate::topology::plan::{NodeId, Plan};

/// A failure of the machine's.
pub(super) fn machine(message: String) -> Failure {
    Failure { kind: Fault::Machine, message }
}

/// A failure of what was asked for.
pub(super) fn input(message: String) -> Failure {
    Failure { kind: Fault::Input, message }
}

/// The namespaces and limits that programs start with.
#[derive(Debug)]
pub(super) struct Ground {
    /// The lab's plan.
    pub plan: Plan,
    /// The lab's name.
    pub name: String,
    fabric: Fabric,
    home: Place,
    /// Made when they are first needed.
    places: Vec<Option<Place>>,
    open_files: (u64, u64),
    null: OwnedFd,
}

/// Where a program runs.
#[derive(Debug)]
pub(super) enum Site {
    /// A node.
    Node(NodeId),
    /// A LAN's bridge: its network namespace alone.
    Lan(Namespace),
}

/// A program to start in a lab.
#[derive(Debug)]
pub(super) struct Job<'a> {
    /// Where; none: in the lab itself, outside of every node.
    pub site: Option<Site>,
    /// The program's path, if that is not its name in `argv`.
    pub path: Option<&'a OsStr>,
    /// Its name and arguments.
    pub argv: &'a [OsString],
    /// Its environment, to which the lab's name and the node's are added.
    pub environment: &'a [(OsString, OsString)],
    /// Its working directory.
    pub directory: &'a OsStr,
    /// Standard input, output and error.
    pub stdio: [BorrowedFd<'a>; 3],
    /// Whether standard input is a terminal that it shall control.
    pub terminal: bool,
}

impl Ground {
    pub(super) fn new(plan: Plan, name: String, fabric: Fabric, open_files: (u64, u64)) -> Result<Ground, Failure> {
        let home = Place::current().map_err(|error| machine(error.to_string()))?;
        let null = null().map_err(|error| machine(format!("cannot open /dev/null: {error}")))?;
        let places = plan.nodes.iter().map(|_| None).collect();
        Ok(Ground { plan, name, fabric, home, places, open_files, null })
    }

    /// Finds where a name means: a node's, or `@LAN`.
    pub(super) fn site(&self, name: &str) -> Result<Site, Failure> {
        if let Some(id) = self.plan.find_node(name) {
            return Ok(Site::Node(id));
        }
        if let Some(lan) = name.strip_prefix('@')
            && self.plan.find_wire(lan).is_some_and(|wire| kernel::lan_namespace(&self.plan, wire) == name)
            && let Ok(namespace) = Namespace::named(name)
        {
            return Ok(Site::Lan(namespace));
        }
        Err(self.no_node(name))
    }

    /// What to say of a node that is not there.
    pub(super) fn no_node(&self, name: &str) -> Failure {
        const SHOWN: usize = 20;
        let names: Vec<&str> = self.plan.nodes.iter().map(|node| node.name.as_str()).collect();
        let more = if names.len() > SHOWN { ", ..." } else { "" };
        let names = names[..names.len().min(SHOWN)].join(", ");
        input(format!("{} has no node named {name} (nodes: {names}{more})", self.name))
    }

    /// Starts a program.
    pub(super) fn start(&mut self, job: Job<'_>) -> Result<Pid, Failure> {
        let mut environment = job.environment.to_vec();
        environment.retain(|(key, _)| key != "TESTBED_LAB" && key != "TESTBED_NODE");
        environment.push(("TESTBED_LAB".into(), self.name.clone().into()));
        let mut namespaces: Vec<BorrowedFd<'_>> = Vec::new();
        match &job.site {
            None => {}
            Some(Site::Lan(network)) => namespaces.push(network.as_fd()),
            Some(Site::Node(id)) => {
                let node = self.plan.node(*id);
                environment.push(("TESTBED_NODE".into(), node.name.clone().into()));
                let network = &self.fabric.nodes[id.0];
                if self.places[id.0].is_none() {
                    let place = Place::make(&node.name, network, &self.home, &self.fabric.lab);
                    self.places[id.0] = Some(place.map_err(|error| machine(error.to_string()))?);
                }
                namespaces.push(network.as_fd());
                namespaces.extend(self.places[id.0].iter().flat_map(Place::descriptors));
            }
        }
        let program = Program {
            path: job.path,
            argv: job.argv,
            environment: &environment,
            directory: job.directory,
            stdio: job.stdio,
            namespaces: &namespaces,
            terminal: job.terminal,
            open_files: Some(self.open_files),
        };
        start(&program).map_err(|error| {
            let kind = match &error {
                StartError::NotFound { .. } => Fault::NotFound,
                StartError::NotExecutable { .. } => Fault::NotExecutable,
                StartError::Argument(_) => Fault::Input,
                StartError::Failed { .. } => Fault::Machine,
            };
            Failure { kind, message: error.to_string() }
        })
    }

    /// `/dev/null`.
    pub(super) fn null(&self) -> Result<OwnedFd, Failure> {
        self.null.try_clone().map_err(|error| machine(format!("cannot copy a descriptor: {error}")))
    }
}

/// Opens a log to append to.
pub(super) fn open_log(path: &Path) -> Result<File, Failure> {
    let mut options = File::options();
    options.append(true).create(true).mode(0o600);
    options.open(path).map_err(|error| machine(format!("cannot open {}: {error}", path.display())))
}

/// The last lines of a log, for an error message.
pub(super) fn last_lines(path: &Path) -> String {
    const LINES: usize = 12;
    const OCTETS: u64 = 4096;
    let read = || -> io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        io::Seek::seek(&mut file, io::SeekFrom::Start(length.saturating_sub(OCTETS)))?;
        let mut octets = Vec::new();
        file.take(OCTETS).read_to_end(&mut octets)?;
        Ok(String::from_utf8_lossy(&octets).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    if lines.is_empty() {
        return "; its log is empty".into();
    }
    let last = &lines[lines.len().saturating_sub(LINES)..];
    format!("; the last lines of its log:\n  {}", last.join("\n  "))
}
