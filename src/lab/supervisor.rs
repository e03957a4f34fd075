//! The supervisor: PID 1 of a lab. One thread, one poll loop. It builds the fabric, starts what runs in the lab, answers the control socket,
//! and reaps. When it ends, the kernel ends everything else of the lab.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, listen, socket};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::daemons::{Daemons, Step};
use super::ground::{Ground, Job, Site, input, last_lines, machine, open_log};
use super::monitor::Inheritance;
use super::place;
use super::protocol::{
    Answer, DaemonStatus, Exec, Exit, Failure, NodeStatus, Order, Progress, Report, Request, Start, Status, receive,
    send,
};
use super::start::OWN_PROGRAM;
use super::turn::Turn;
use super::{INSIDE, file};
use crate::network::kernel::{self, FabricError, Namespace};
use crate::sys::files::raise_open_files;
use crate::sys::process::adopt;
use crate::topology::plan::{NodeId, Plan};

/// Most connections to the control socket at a time.
const CONNECTIONS_MAX: usize = 4096;
/// Descriptors that a lab holds beside those of its nodes.
const DESCRIPTORS_BASE: u64 = 256;
/// Descriptors that a namespace takes while the lab is built.
const DESCRIPTORS_PER_NODE: u64 = 4;

/// How many nodes and wires a lab may have with a limit of open files.
pub fn sites_for(open_files: u64) -> u64 {
    open_files.saturating_sub(DESCRIPTORS_BASE) / DESCRIPTORS_PER_NODE
}

/// The whole life of a supervisor; gives its exit status. It must be the child of a monitor and PID 1.
pub(super) fn run(start: &Start, inheritance: Inheritance) -> u8 {
    // The monitor's end is this process's end; should it have died before this, its pipe is closed.
    if let Err(error) = prctl::set_pdeathsig(Signal::SIGKILL) {
        eprintln!("testbed: supervisor: cannot follow the monitor: {error}");
        return 1;
    }
    let Inheritance { life, lock, turn, monitor } = inheritance;
    // A client that does not read misses news of progress; the lab does not wait for it.
    if let Err(error) = fcntl(&life, FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK)) {
        eprintln!("testbed: supervisor: the life line may block: {error}");
    }
    let supervisor = Supervisor::build(start, &life, turn);
    let result = supervisor.and_then(|mut supervisor| {
        supervisor.life = Some(life.try_clone().map_err(|error| machine(error.to_string()))?);
        supervisor.monitor = monitor;
        supervisor.serve()
    });
    drop(lock);
    match result {
        Ok(()) => 0,
        Err(failure) => {
            eprintln!("testbed: supervisor: {failure}");
            // If the client is gone, nobody needs to know.
            let _ = send(&life, &Report::Failed(failure), &[]);
            1
        }
    }
}

/// What a child of the supervisor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Agent,
    /// A router's daemon.
    Daemon(NodeId),
    /// A router's readiness command.
    Readiness(NodeId),
    /// A program that a connection started.
    Program(u64),
}

struct Connection {
    socket: OwnedFd,
    program: Option<ProgramOf>,
    /// Waits for a daemon to be as it was asked to.
    waiting: bool,
}

struct ProgramOf {
    pid: Pid,
    node: Option<NodeId>,
    ended: bool,
}

struct Supervisor {
    ground: Ground,
    daemons: Daemons,
    bare: bool,
    listener: OwnedFd,
    signals: SignalFd,
    /// The client that started the lab, as long as the lab shall not outlive it.
    life: Option<OwnedFd>,
    monitor: Option<OwnedFd>,
    /// The turn, unless it is the client's own.
    turn: Option<Turn>,
    connections: BTreeMap<u64, Connection>,
    next_connection: u64,
    children: BTreeMap<Pid, Role>,
    agent: Option<(Pid, File, Vec<u8>)>,
    phase: Phase,
    down: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Routes,
    Daemons,
    Ready,
}

enum Source {
    Signals,
    Listener,
    Life,
    Monitor,
    Connection(u64),
    Agent,
    Daemons(usize),
}

impl Supervisor {
    /// Lays out the lab and builds its fabric.
    fn build(start: &Start, life: &OwnedFd, turn: Turn) -> Result<Supervisor, Failure> {
        let text = |error: &dyn std::fmt::Display| machine(error.to_string());
        let _ = prctl::set_name(c"testbed-lab");
        let state = start.base.join(&start.name);
        let own_proc = place::lay_out_lab(&start.name, &state, &start.turns).map_err(|error| text(&error))?;
        if !own_proc {
            eprintln!("testbed: supervisor: /proc cannot be mounted here: it shows the host's processes");
        }
        let plan = Path::new(INSIDE).join(file::PLAN);
        let plan = File::open(&plan).map_err(|error| machine(format!("cannot open {}: {error}", plan.display())))?;
        let plan: Plan = serde_json::from_reader(io::BufReader::new(plan))
            .map_err(|error| machine(format!("the plan cannot be read: {error}")))?;
        place::lay_out_names(&plan).map_err(|error| text(&error))?;

        let before = getrlimit(Resource::RLIMIT_NOFILE).map_err(|error| text(&error))?;
        let (_, limit) = raise_open_files().map_err(|error| text(&error))?;
        let sites = (plan.nodes.len() + plan.wires.len()) as u64;
        if sites > sites_for(limit) {
            let needed = DESCRIPTORS_BASE + DESCRIPTORS_PER_NODE * sites;
            return Err(machine(format!(
                "{sites} nodes and wires need {needed} open files, and the limit is {limit}: raise it (`ulimit -Hn`)"
            )));
        }
        // One that this user namespace owns: there is no way back into the host's.
        Namespace::create_and_enter().map_err(|error| machine(format!("cannot make a network namespace: {error}")))?;
        kernel::needs::check(&plan).map_err(|lack| text(&lack))?;
        let mut told = Instant::now();
        let fabric = kernel::build(&plan, &mut |stage, done, of| {
            if is_closed(life) {
                return ControlFlow::Break(());
            }
            if done == of || told.elapsed().as_millis() >= 50 {
                told = Instant::now();
                let _ = send(life, &Report::Progress(Progress::Fabric(stage, done, of)), &[]);
            }
            ControlFlow::Continue(())
        })
        .map_err(|error| match error {
            FabricError::GivenUp => input("the client ended".into()),
            error => text(&error),
        })?;
        eprintln!("testbed: supervisor: the fabric of {} is built", start.name);

        let io = |what: &str| {
            let what = what.to_owned();
            move |error: Errno| machine(format!("cannot {what}: {error}"))
        };
        let listener =
            socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)
                .map_err(io("make the control socket"))?;
        let address = UnixAddr::new(&Path::new(INSIDE).join(file::CONTROL)).map_err(io("name the control socket"))?;
        bind(listener.as_raw_fd(), &address).map_err(io("bind the control socket"))?;
        listen(&listener, Backlog::MAXALLOWABLE).map_err(io("listen on the control socket"))?;
        let mut awaited = SigSet::empty();
        awaited.add(Signal::SIGCHLD);
        let signals = SignalFd::with_flags(&awaited, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .map_err(io("watch for the ends of processes"))?;

        let daemons = Daemons::new(&plan).map_err(|error| text(&error))?;
        let ground = Ground::new(plan, start.name.clone(), fabric, before)?;
        Ok(Supervisor {
            ground,
            daemons,
            bare: start.bare,
            listener,
            signals,
            life: None,
            monitor: None,
            turn: (!start.keeps_turn).then_some(turn),
            connections: BTreeMap::new(),
            next_connection: 0,
            children: BTreeMap::new(),
            agent: None,
            phase: Phase::Routes,
            down: false,
        })
    }

    /// Starts what runs in the lab and serves until the lab is to end.
    fn serve(&mut self) -> Result<(), Failure> {
        if self.bare {
            self.ready()?;
        } else {
            self.start_agent()?;
        }
        loop {
            if self.down {
                return Ok(());
            }
            for (source, hung_up) in self.wait()? {
                match source {
                    Source::Signals => self.reap()?,
                    Source::Listener => self.accept(),
                    Source::Life => self.hear_life(hung_up)?,
                    Source::Monitor => return Err(machine("the monitor is gone".into())),
                    Source::Connection(id) => self.hear(id),
                    Source::Agent => self.hear_agent()?,
                    Source::Daemons(source) => {
                        let steps = self.daemons.hear(&mut self.ground, source);
                        self.take(steps)?;
                    }
                }
                if self.down {
                    return Ok(());
                }
            }
            let steps = self.daemons.tick(&mut self.ground, Instant::now());
            self.take(steps)?;
        }
    }

    /// Waits until something happens; gives what, and whether the other side has hung up.
    fn wait(&self) -> Result<Vec<(Source, bool)>, Failure> {
        let mut sources = vec![(Source::Signals, self.signals.as_fd()), (Source::Listener, self.listener.as_fd())];
        sources.extend(self.life.iter().map(|fd| (Source::Life, fd.as_fd())));
        sources.extend(self.monitor.iter().map(|fd| (Source::Monitor, fd.as_fd())));
        sources.extend(self.agent.iter().map(|(_, out, _)| (Source::Agent, out.as_fd())));
        sources.extend(self.connections.iter().map(|(&id, c)| (Source::Connection(id), c.socket.as_fd())));
        sources.extend(self.daemons.descriptors().map(|(source, fd)| (Source::Daemons(source), fd)));
        let mut polled: Vec<PollFd<'_>> = sources.iter().map(|(_, fd)| PollFd::new(*fd, PollFlags::POLLIN)).collect();
        let timeout = self.daemons.next().map_or(PollTimeout::NONE, |at| {
            // Rounded up, so as not to wake a moment too early over and over.
            let rest = at.saturating_duration_since(Instant::now()).as_millis() + 1;
            PollTimeout::try_from(rest).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut polled, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(machine(format!("cannot wait for events: {error}"))),
        }
        let happened: Vec<PollFlags> = polled.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty())).collect();
        let sources = sources.into_iter().map(|(source, _)| source).zip(happened);
        Ok(sources
            .filter(|(_, events)| !events.is_empty())
            .map(|(source, events)| (source, !events.contains(PollFlags::POLLIN)))
            .collect())
    }

    fn report(&self, report: &Report) {
        if let Some(life) = &self.life {
            // A client that is gone is noticed by its closed end.
            let _ = send(life, report, &[]);
        }
    }

    fn hear_life(&mut self, hung_up: bool) -> Result<(), Failure> {
        let Some(life) = &self.life else { return Ok(()) };
        let order = if hung_up { Ok(None) } else { receive::<Order>(life) };
        match order {
            Ok(Some((Order::Detach, _))) => self.life = None,
            Ok(Some((Order::Start(_), _))) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(None) | Err(_) => {
                eprintln!("testbed: supervisor: the client that held the lab is gone");
                self.down = true;
            }
        }
        Ok(())
    }

    fn ready(&mut self) -> Result<(), Failure> {
        self.phase = Phase::Ready;
        if let Some(turn) = self.turn.take() {
            turn.end().map_err(|error| machine(format!("cannot end the turn: {error}")))?;
        }
        self.report(&Report::Ready);
        Ok(())
    }

    // The route agent.

    fn start_agent(&mut self) -> Result<(), Failure> {
        let path = Path::new(INSIDE).join(file::LOGS).join(file::AGENT_LOG);
        let log = open_log(&path)?;
        let (read, write) =
            nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(|error| machine(format!("cannot make a pipe: {error}")))?;
        let argv = ["testbed", "inside", "agent"].map(OsString::from);
        let environment: Vec<_> = std::env::vars_os().collect();
        let null = self.ground.null()?;
        let agent = Job {
            site: None,
            path: Some(OsStr::new(OWN_PROGRAM)),
            argv: &argv,
            environment: &environment,
            directory: OsStr::new("/"),
            stdio: [null.as_fd(), write.as_fd(), log.as_fd()],
            terminal: false,
        };
        let started = self.ground.start(agent);
        let pid = started.map_err(|error| machine(format!("the route agent: {error}")))?;
        self.children.insert(pid, Role::Agent);
        self.agent = Some((pid, read.into(), Vec::new()));
        Ok(())
    }

    /// The agent says `ready` once, on a line of its own.
    fn hear_agent(&mut self) -> Result<(), Failure> {
        let Some((_, out, line)) = &mut self.agent else { return Ok(()) };
        let mut buffer = [0; 1024];
        let count = out.read(&mut buffer).unwrap_or(0);
        if count == 0 {
            // Its end comes as a signal too; what it has to say is over.
            if self.phase != Phase::Routes {
                self.agent = None;
                return Ok(());
            }
            let log = last_lines(&Path::new(INSIDE).join(file::LOGS).join(file::AGENT_LOG));
            return Err(machine(format!("the route agent ended before it was ready{log}")));
        }
        if self.phase != Phase::Routes {
            return Ok(());
        }
        line.extend_from_slice(&buffer[..count.min(4096usize.saturating_sub(line.len()))]);
        if line.split(|&octet| octet == b'\n').any(|line| line == b"ready") {
            line.clear();
            self.report(&Report::Progress(Progress::Routes));
            self.phase = Phase::Daemons;
            let steps = self.daemons.start_all(&mut self.ground);
            self.take(steps)?;
        }
        Ok(())
    }

    // Daemons.

    /// Does what the daemons' keeper found to be done.
    fn take(&mut self, steps: Vec<Step>) -> Result<(), Failure> {
        for step in steps {
            match step {
                Step::Child(pid, node) => drop(self.children.insert(pid, Role::Daemon(node))),
                Step::ReadinessCommand(pid, node) => drop(self.children.insert(pid, Role::Readiness(node))),
                Step::Answer(connection, answer) => self.answer(connection, &answer),
                Step::StartFailed(failure) if self.phase == Phase::Daemons => return Err(failure),
                Step::StartFailed(failure) => eprintln!("testbed: supervisor: {failure}"),
            }
        }
        if self.phase == Phase::Daemons {
            let (ready, of) = self.daemons.count();
            self.report(&Report::Progress(Progress::Daemons(ready, of)));
            if ready == of {
                self.ready()?;
            }
        }
        Ok(())
    }

    // Children.

    fn reap(&mut self) -> Result<(), Failure> {
        while let Ok(Some(_)) = self.signals.read_signal() {}
        let options = WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED | WaitPidFlag::WCONTINUED;
        loop {
            let (pid, exit) = match waitpid(None::<Pid>, Some(options)) {
                Ok(WaitStatus::Exited(pid, status)) => (pid, Exit::Status(status as u8)),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, Exit::Signal(signal as i32)),
                Ok(WaitStatus::Stopped(pid, _)) => {
                    if let Some(Role::Daemon(node)) = self.children.get(&pid) {
                        let steps = self.daemons.stopped(*node, pid);
                        self.take(steps)?;
                    }
                    continue;
                }
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(()),
                Ok(_) | Err(Errno::EINTR) => continue,
                Err(error) => return Err(machine(format!("cannot wait for processes: {error}"))),
            };
            match self.children.remove(&pid) {
                // An orphan of the lab.
                None => {}
                Some(Role::Agent) if self.phase == Phase::Routes => {}
                Some(Role::Agent) => {
                    eprintln!("testbed: supervisor: the route agent ended ({exit})");
                    self.agent = None;
                }
                Some(Role::Daemon(node)) => {
                    let steps = self.daemons.ended(&mut self.ground, node, pid, exit);
                    self.take(steps)?;
                }
                Some(Role::Readiness(node)) => {
                    let steps = self.daemons.checked(&mut self.ground, node, pid, exit);
                    self.take(steps)?;
                }
                Some(Role::Program(id)) => {
                    if let Some(program) = self.connections.get_mut(&id).and_then(|c| c.program.as_mut()) {
                        program.ended = true;
                    }
                    self.answer(id, &Answer::Exited(exit));
                }
            }
        }
    }

    // Connections.

    fn accept(&mut self) {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        while let Ok(socket) = accept4(self.listener.as_raw_fd(), flags) {
            let socket = adopt(socket);
            if self.connections.len() < CONNECTIONS_MAX {
                let connection = Connection { socket, program: None, waiting: false };
                self.connections.insert(self.next_connection, connection);
                self.next_connection += 1;
            }
        }
    }

    fn answer(&mut self, id: u64, answer: &Answer) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.waiting = false;
        if send(&connection.socket, answer, &[]).is_err() {
            self.close(id);
        }
    }

    fn close(&mut self, id: u64) {
        let Some(connection) = self.connections.remove(&id) else { return };
        if let Some(program) = connection.program.filter(|program| !program.ended) {
            // It may have ended just now.
            let _ = killpg(program.pid, Signal::SIGKILL);
        }
        self.daemons.forget(id);
    }

    fn hear(&mut self, id: u64) {
        let Some(connection) = self.connections.get(&id) else { return };
        let (request, descriptors) = match receive::<Request>(&connection.socket) {
            Ok(Some(received)) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let failure = input(format!("the request cannot be read: {error}"));
                return self.answer(id, &Answer::Failed(failure));
            }
            Ok(None) | Err(_) => return self.close(id),
        };
        match request {
            Request::Exec(exec) => {
                let answer = match self.exec(id, &exec, descriptors) {
                    Ok(pid) => Answer::Started(pid.as_raw()),
                    Err(failure) => Answer::Failed(failure),
                };
                self.answer(id, &answer);
            }
            Request::Signal(number) => {
                let running = connection.program.as_ref().filter(|program| !program.ended);
                if let (Some(program), Ok(signal)) = (running, Signal::try_from(number)) {
                    let _ = killpg(program.pid, signal);
                }
            }
            Request::Status => {
                let status = self.status();
                self.answer(id, &Answer::Status(status));
            }
            Request::Daemon { node, action } => {
                let Some(node) = self.ground.plan.find_node(&node) else {
                    let failure = self.ground.no_node(&node);
                    return self.answer(id, &Answer::Failed(failure));
                };
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.waiting = true;
                }
                let steps = self.daemons.act(&mut self.ground, node, action, id);
                if let Err(failure) = self.take(steps) {
                    eprintln!("testbed: supervisor: {failure}");
                }
            }
            Request::Down => {
                self.answer(id, &Answer::Done);
                self.down = true;
            }
        }
    }

    fn exec(&mut self, id: u64, exec: &Exec, descriptors: Vec<OwnedFd>) -> Result<Pid, Failure> {
        if self.connections.get(&id).is_none_or(|connection| connection.program.is_some() || connection.waiting) {
            return Err(input("this connection is in use".into()));
        }
        let Ok(stdio) = <[OwnedFd; 3]>::try_from(descriptors) else {
            return Err(input("standard input, output and error are missing from the request".into()));
        };
        let site = match exec.node.as_deref() {
            None => None,
            Some(name) => Some(self.ground.site(name)?),
        };
        let node = match site {
            Some(Site::Node(node)) => Some(node),
            Some(Site::Lan(_)) | None => None,
        };
        let pid = self.ground.start(Job {
            site,
            path: None,
            argv: &exec.argv,
            environment: &exec.environment,
            directory: &exec.directory,
            stdio: [stdio[0].as_fd(), stdio[1].as_fd(), stdio[2].as_fd()],
            terminal: exec.terminal,
        })?;
        self.children.insert(pid, Role::Program(id));
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.program = Some(ProgramOf { pid, node, ended: false });
        }
        Ok(pid)
    }

    fn status(&self) -> Status {
        let nodes = self.ground.plan.node_ids().map(|id| {
            let programs = self.connections.values().filter_map(|c| c.program.as_ref());
            NodeStatus {
                name: self.ground.plan.node(id).name.clone(),
                daemon: self.daemons.status(id).unwrap_or(DaemonStatus::None),
                further: self.daemons.further(id),
                programs: programs.filter(|p| p.node == Some(id) && !p.ended).map(|p| p.pid.as_raw()).collect(),
            }
        });
        Status {
            ready: self.phase == Phase::Ready,
            agent: self.agent.as_ref().map(|(pid, ..)| pid.as_raw()),
            nodes: nodes.collect(),
        }
    }
}

/// Whether the other side of a socket has hung up.
fn is_closed(socket: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    poll(&mut polled, PollTimeout::ZERO).is_ok_and(|count| count > 0)
        && polled[0].revents().is_some_and(|events| events.contains(PollFlags::POLLHUP))
}
