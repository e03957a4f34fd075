//! The routers' daemons of a lab: started, known ready, killed, paused.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::ground::{Ground, Job, Site, input, last_lines, machine, open_log};
use super::protocol::{Answer, DaemonAction, DaemonStatus, Exit, Failure};
use super::start::OWN_PROGRAM;
use super::{INSIDE, file};
use crate::daemon::{self, Launch, Program, Readiness};
use crate::topology::plan::{NodeId, Plan};

/// How long a daemon may take to be ready.
const READY_WAIT: Duration = Duration::from_secs(30);
/// A control socket is bound a moment before it is listened on.
const CONNECT_AGAIN: Duration = Duration::from_millis(2);
/// Longest line of an event.
const LINE_MAX: usize = 64 * 1024;
/// Where [`Daemons::hear`] is told of new files rather than of a daemon's events.
const FILES: usize = usize::MAX;

/// What the supervisor has to do for the daemons.
#[derive(Debug)]
pub(super) enum Step {
    /// A daemon was started.
    Child(Pid, NodeId),
    /// A readiness command was started.
    ReadinessCommand(Pid, NodeId),
    /// A connection gets its answer.
    Answer(u64, Answer),
    /// A daemon did not get ready that nobody but the lab itself waits for.
    StartFailed(Failure),
}

/// The daemons of a lab.
#[derive(Debug)]
pub(super) struct Daemons {
    daemons: Vec<Option<Daemon>>,
    /// Tells of new files in the directories of routers whose control socket is awaited.
    files: Inotify,
}

#[derive(Debug)]
struct Daemon {
    name: String,
    directory: PathBuf,
    status: DaemonStatus,
    /// Its programs that run, in the order in which they were started.
    running: Vec<(Pid, String)>,
    /// How many of its programs were started.
    started: usize,
    /// The first of its programs that ended by itself, while the others are being ended.
    fallen: Option<(String, Exit)>,
    /// Programs that are yet to stop.
    stopping: Vec<Pid>,
    waiting: Waiting,
    deadline: Option<Instant>,
    /// The connection that waits for its start, end or stop.
    asker: Option<u64>,
    /// Start it again once it has ended.
    start_after: bool,
    launch: Option<Launch>,
}

#[derive(Debug)]
enum Waiting {
    No,
    Control { socket: PathBuf, stream: Option<(UnixStream, Vec<u8>)>, again: Option<Instant> },
    Command { running: Option<Pid>, again: Option<Instant> },
}

impl Daemons {
    pub(super) fn new(plan: &Plan) -> io::Result<Daemons> {
        let daemons = plan.nodes.iter().map(|node| {
            node.router().map(|_| Daemon {
                name: node.name.clone(),
                directory: Path::new(INSIDE).join(file::NODES).join(&node.name),
                status: DaemonStatus::None,
                running: Vec::new(),
                started: 0,
                fallen: None,
                stopping: Vec::new(),
                waiting: Waiting::No,
                deadline: None,
                asker: None,
                start_after: false,
                launch: None,
            })
        });
        let files = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        Ok(Daemons { daemons: daemons.collect(), files })
    }

    /// How many are ready, of how many.
    pub(super) fn count(&self) -> (usize, usize) {
        let all = || self.daemons.iter().flatten();
        (all().filter(|daemon| matches!(daemon.status, DaemonStatus::Running(_))).count(), all().count())
    }

    pub(super) fn status(&self, node: NodeId) -> Option<DaemonStatus> {
        self.daemons.get(node.0)?.as_ref().map(|daemon| daemon.status.clone())
    }

    /// Process ids of a daemon's programs beside the one in its status.
    pub(super) fn further(&self, node: NodeId) -> Vec<i32> {
        let daemon = self.daemons.get(node.0).and_then(Option::as_ref);
        daemon.iter().flat_map(|daemon| &daemon.running).skip(1).map(|(pid, _)| pid.as_raw()).collect()
    }

    /// What to poll for reading, with the number that [`Daemons::hear`] takes.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = (usize, BorrowedFd<'_>)> {
        let streams = self.daemons.iter().enumerate().filter_map(|(number, daemon)| match &daemon.as_ref()?.waiting {
            Waiting::Control { stream: Some((stream, _)), .. } => Some((number, stream.as_fd())),
            _ => None,
        });
        streams.chain([(FILES, self.files.as_fd())])
    }

    /// When [`Daemons::tick`] has something to do.
    pub(super) fn next(&self) -> Option<Instant> {
        let each = self.daemons.iter().flatten().filter_map(|daemon| {
            let again = match &daemon.waiting {
                Waiting::No => None,
                Waiting::Control { again, .. } | Waiting::Command { again, .. } => *again,
            };
            again.into_iter().chain(daemon.deadline).min()
        });
        each.min()
    }

    pub(super) fn start_all(&mut self, ground: &mut Ground) -> Vec<Step> {
        let mut steps = Vec::new();
        for node in ground.plan.node_ids() {
            if self.daemons[node.0].is_some() {
                self.start(ground, node, &mut steps);
            }
        }
        steps
    }

    fn start(&mut self, ground: &mut Ground, node: NodeId, steps: &mut Vec<Step>) {
        let Some(daemon) = self.daemons[node.0].as_mut() else { return };
        match daemon.lay_out(ground, node) {
            Ok(launch) => {
                daemon.launch = Some(launch);
                daemon.started = 0;
                daemon.fallen = None;
                daemon.go_on(ground, node, &self.files, steps);
            }
            Err(failure) => daemon.fail(failure, steps),
        }
    }

    /// Something can be read.
    pub(super) fn hear(&mut self, ground: &mut Ground, source: usize) -> Vec<Step> {
        let mut steps = Vec::new();
        if source == FILES {
            while self.files.read_events().is_ok_and(|events| !events.is_empty()) {}
            for daemon in self.daemons.iter_mut().flatten() {
                daemon.connect();
            }
        } else if let Some(daemon) = self.daemons.get_mut(source).and_then(Option::as_mut)
            && daemon.hear()
        {
            daemon.go_on(ground, NodeId(source), &self.files, &mut steps);
        }
        steps
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, ground: &mut Ground, now: Instant) -> Vec<Step> {
        let mut steps = Vec::new();
        for node in ground.plan.node_ids() {
            let Some(daemon) = self.daemons[node.0].as_mut() else { continue };
            if daemon.deadline.is_some_and(|deadline| deadline <= now) {
                let log = last_lines(&daemon.directory.join(file::DAEMON_LOG));
                let seconds = READY_WAIT.as_secs();
                daemon.kill();
                daemon.fail(
                    machine(format!("{}: the daemon was not ready within {seconds} s{log}", daemon.name)),
                    &mut steps,
                );
                continue;
            }
            match &mut daemon.waiting {
                Waiting::Control { again, .. } if again.is_some_and(|again| again <= now) => daemon.connect(),
                Waiting::Command { again, .. } if again.is_some_and(|again| again <= now) => {
                    *again = None;
                    daemon.check(ground, node, &mut steps);
                }
                _ => {}
            }
        }
        steps
    }

    /// A program of a daemon has ended. If nobody wanted that, the daemon's other programs are ended too: half a daemon is none.
    pub(super) fn ended(&mut self, ground: &mut Ground, node: NodeId, pid: Pid, exit: Exit) -> Vec<Step> {
        let mut steps = Vec::new();
        let Some(daemon) = self.daemons[node.0].as_mut() else { return steps };
        daemon.waiting = Waiting::No;
        daemon.deadline = None;
        let is_alone = daemon.launch.as_ref().is_none_or(|launch| launch.programs.len() == 1);
        let ended = daemon.running.iter().position(|(other, _)| *other == pid).map(|at| daemon.running.remove(at).1);
        let who = ended.filter(|_| !is_alone).unwrap_or_else(|| "the daemon".to_owned());
        daemon.stopping.retain(|other| *other != pid);
        daemon.fallen.get_or_insert((who, exit));
        if !daemon.running.is_empty() {
            daemon.kill();
            return steps;
        }
        let Some((who, exit)) = daemon.fallen.take() else { return steps };
        if std::mem::take(&mut daemon.start_after) {
            self.start(ground, node, &mut steps);
            return steps;
        }
        match daemon.status {
            DaemonStatus::Killed => {
                if let Some(asker) = daemon.asker.take() {
                    steps.push(Step::Answer(asker, Answer::Done));
                }
            }
            DaemonStatus::Starting(_) => {
                daemon.status = DaemonStatus::Ended(exit);
                let log = last_lines(&daemon.directory.join(file::DAEMON_LOG));
                let message = format!("{}: {who} ended with {exit} before it was ready{log}", daemon.name);
                daemon.fail(machine(message), &mut steps);
            }
            _ => {
                eprintln!("testbed: supervisor: {}: {who} ended with {exit}", daemon.name);
                daemon.status = DaemonStatus::Ended(exit);
                if let Some(asker) = daemon.asker.take() {
                    let failure = input(format!("{}: {who} ended with {exit}", daemon.name));
                    steps.push(Step::Answer(asker, Answer::Failed(failure)));
                }
            }
        }
        steps
    }

    /// A program of a daemon was stopped by a signal.
    pub(super) fn stopped(&mut self, node: NodeId, pid: Pid) -> Vec<Step> {
        let Some(daemon) = self.daemons[node.0].as_mut() else { return Vec::new() };
        let DaemonStatus::Paused(_) = daemon.status else { return Vec::new() };
        daemon.stopping.retain(|other| *other != pid);
        if !daemon.stopping.is_empty() {
            return Vec::new();
        }
        daemon.asker.take().map(|asker| Step::Answer(asker, Answer::Done)).into_iter().collect()
    }

    /// A readiness command has ended.
    pub(super) fn checked(&mut self, ground: &mut Ground, node: NodeId, pid: Pid, exit: Exit) -> Vec<Step> {
        let mut steps = Vec::new();
        let Some(daemon) = self.daemons[node.0].as_mut() else { return steps };
        let every = match daemon.awaited().map(|program| &program.ready) {
            Some(Readiness::Command { every, .. }) => *every,
            _ => daemon::READY_EVERY,
        };
        let Waiting::Command { running, again } = &mut daemon.waiting else { return steps };
        if *running != Some(pid) {
            // It asked for a daemon that is gone.
            return steps;
        }
        *running = None;
        if exit == Exit::Status(0) {
            daemon.go_on(ground, node, &self.files, &mut steps);
        } else {
            *again = Some(Instant::now() + every);
        }
        steps
    }

    /// A connection wants something done.
    pub(super) fn act(&mut self, ground: &mut Ground, node: NodeId, action: DaemonAction, asker: u64) -> Vec<Step> {
        let refuse = |why: String| vec![Step::Answer(asker, Answer::Failed(input(why)))];
        let name = &ground.plan.node(node).name;
        let Some(daemon) = self.daemons[node.0].as_mut() else {
            return refuse(format!("{name} is a host: it has no daemon"));
        };
        if daemon.asker.is_some() {
            return refuse(format!("{name}: the daemon is being started or ended by another request"));
        }
        let done = || vec![Step::Answer(asker, Answer::Done)];
        match (action, daemon.status.pid()) {
            (DaemonAction::Kill, None) => {
                daemon.status = DaemonStatus::Killed;
                done()
            }
            (DaemonAction::Kill, Some(_)) => {
                daemon.asker = Some(asker);
                daemon.kill();
                daemon.status = DaemonStatus::Killed;
                Vec::new()
            }
            (DaemonAction::Start, Some(_)) => {
                daemon.asker = Some(asker);
                daemon.kill();
                daemon.status = DaemonStatus::Killed;
                daemon.start_after = true;
                Vec::new()
            }
            (DaemonAction::Start, None) => {
                daemon.asker = Some(asker);
                let mut steps = Vec::new();
                self.start(ground, node, &mut steps);
                steps
            }
            (DaemonAction::Pause, Some(pid)) if !matches!(daemon.status, DaemonStatus::Paused(_)) => {
                daemon.asker = Some(asker);
                daemon.status = DaemonStatus::Paused(pid);
                daemon.stopping = daemon.running.iter().map(|(pid, _)| *pid).collect();
                daemon.signal(Signal::SIGSTOP);
                Vec::new()
            }
            (DaemonAction::Pause, Some(_)) => done(),
            (DaemonAction::Resume, Some(pid)) => {
                if let DaemonStatus::Paused(_) = daemon.status {
                    daemon.status = DaemonStatus::Running(pid);
                }
                daemon.signal(Signal::SIGCONT);
                done()
            }
            (DaemonAction::Pause | DaemonAction::Resume, None) => refuse(format!("{name}: the daemon does not run")),
        }
    }

    /// A connection is closed.
    pub(super) fn forget(&mut self, asker: u64) {
        for daemon in self.daemons.iter_mut().flatten() {
            if daemon.asker == Some(asker) {
                daemon.asker = None;
            }
        }
    }
}

impl Daemon {
    /// Writes its files.
    fn lay_out(&mut self, ground: &Ground, node: NodeId) -> Result<Launch, Failure> {
        let private = |path: &Path| DirBuilder::new().mode(0o700).recursive(true).create(path);
        let cannot =
            |what: &Path, error: io::Error| machine(format!("{}: cannot write {}: {error}", self.name, what.display()));
        private(&self.directory).map_err(|error| cannot(&self.directory, error))?;
        let launch = daemon::prepare(&ground.plan, node, &daemon::Paths::new(&self.directory))
            .map_err(|error| machine(error.to_string()))?;
        for directory in &launch.directories {
            private(directory).map_err(|error| cannot(directory, error))?;
        }
        for (path, text) in &launch.files {
            let mut options = File::options();
            options.write(true).create(true).truncate(true).mode(0o600);
            let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
            written.map_err(|error| cannot(path, error))?;
        }
        Ok(launch)
    }

    /// The program that was started last, which the next one waits for.
    fn awaited(&self) -> Option<&Program> {
        self.launch.as_ref()?.programs.get(self.started.checked_sub(1)?)
    }

    /// What was started is ready: starts the next program, and so on as long as there is nothing to wait for.
    fn go_on(&mut self, ground: &mut Ground, node: NodeId, files: &Inotify, steps: &mut Vec<Step>) {
        loop {
            self.waiting = Waiting::No;
            self.deadline = None;
            let next = self.launch.as_ref().and_then(|launch| launch.programs.get(self.started)).cloned();
            let Some(program) = next else { return self.ready(steps) };
            match self.start(ground, node, &program, files) {
                Ok(pid) => steps.push(Step::Child(pid, node)),
                Err(failure) => {
                    self.kill();
                    return self.fail(failure, steps);
                }
            }
            if !matches!(self.waiting, Waiting::No) {
                return;
            }
        }
    }

    /// Starts one of its programs.
    fn start(&mut self, ground: &mut Ground, node: NodeId, program: &Program, files: &Inotify) -> Result<Pid, Failure> {
        if let Readiness::ControlEvent { socket } = &program.ready {
            // That of a daemon that was killed.
            match fs::remove_file(socket) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(machine(format!("{}: cannot remove {}: {error}", self.name, socket.display())));
                }
                _ => {}
            }
            let directory = socket.parent().unwrap_or(&self.directory);
            files
                .add_watch(directory, AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO)
                .map_err(|error| machine(format!("cannot watch {}: {error}", directory.display())))?;
        }
        let env = self.launch.as_ref().map(|launch| launch.env.clone()).unwrap_or_default();
        let log = open_log(&self.directory.join(file::DAEMON_LOG))?;
        let pid = run(ground, node, None, &program.argv, &env, &log)?;
        self.started += 1;
        self.running.push((pid, program.name.clone()));
        if self.started == 1 {
            self.status = DaemonStatus::Starting(pid.as_raw());
        }
        self.deadline = Some(Instant::now() + READY_WAIT);
        self.waiting = match &program.ready {
            Readiness::Started => Waiting::No,
            Readiness::Command { .. } | Readiness::Inside { .. } => {
                Waiting::Command { running: None, again: Some(Instant::now()) }
            }
            Readiness::ControlEvent { socket } => {
                Waiting::Control { socket: socket.clone(), stream: None, again: Some(Instant::now()) }
            }
        };
        Ok(pid)
    }

    /// Sends a signal to all of its programs.
    fn signal(&self, signal: Signal) {
        for (pid, _) in &self.running {
            // It may be gone.
            let _ = killpg(*pid, signal);
        }
    }

    fn kill(&self) {
        self.signal(Signal::SIGKILL);
    }

    fn ready(&mut self, steps: &mut Vec<Step>) {
        if let DaemonStatus::Starting(pid) = self.status {
            self.status = DaemonStatus::Running(pid);
        }
        if let Some(asker) = self.asker.take() {
            steps.push(Step::Answer(asker, Answer::Done));
        }
    }

    fn fail(&mut self, failure: Failure, steps: &mut Vec<Step>) {
        self.waiting = Waiting::No;
        self.deadline = None;
        steps.push(match self.asker.take() {
            Some(asker) => Step::Answer(asker, Answer::Failed(failure)),
            None => Step::StartFailed(failure),
        });
    }

    /// Tries to reach the control socket.
    fn connect(&mut self) {
        let Waiting::Control { socket, stream, again } = &mut self.waiting else { return };
        if stream.is_some() {
            return;
        }
        *again = None;
        let connected = UnixStream::connect(socket).and_then(|mut stream| {
            stream.write_all(b"{\"events\": true}\n")?;
            stream.set_nonblocking(true)?;
            Ok(stream)
        });
        match connected {
            Ok(connected) => *stream = Some((connected, Vec::new())),
            // A new file will tell.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => *again = Some(Instant::now() + CONNECT_AGAIN),
        }
    }

    /// Reads the daemon's events until it says that it is ready; gives whether it has.
    fn hear(&mut self) -> bool {
        let Waiting::Control { stream: opened, again, .. } = &mut self.waiting else { return false };
        let Some((stream, line)) = opened else { return false };
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer) {
            Ok(count) if count > 0 && line.len() < LINE_MAX => line.extend_from_slice(&buffer[..count]),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return false;
            }
            _ => {
                *opened = None;
                *again = Some(Instant::now() + CONNECT_AGAIN);
                return false;
            }
        }
        while let Some(end) = line.iter().position(|&octet| octet == b'\n') {
            let event: Vec<u8> = line.drain(..=end).collect();
            let event = serde_json::from_slice::<serde_json::Value>(&event).unwrap_or_default();
            if event.get("event").and_then(serde_json::Value::as_str) == Some("ready") {
                return true;
            }
        }
        false
    }

    /// Runs the readiness command.
    fn check(&mut self, ground: &mut Ground, node: NodeId, steps: &mut Vec<Step>) {
        let (path, argv) = match self.awaited().map(|program| &program.ready) {
            Some(Readiness::Command { argv, .. }) => (None, argv.clone()),
            Some(Readiness::Inside { arguments }) => {
                let words = ["testbed", "inside"].map(str::to_owned);
                (Some(OsStr::new(OWN_PROGRAM)), words.into_iter().chain(arguments.iter().cloned()).collect())
            }
            Some(Readiness::ControlEvent { .. } | Readiness::Started) | None => return,
        };
        let env = self.launch.as_ref().map(|launch| launch.env.clone()).unwrap_or_default();
        // What it says is of interest only if the daemon never gets ready, and then its own log says more.
        match ground.null().map(File::from).and_then(|log| run(ground, node, path, &argv, &env, &log)) {
            Ok(pid) => {
                self.waiting = Waiting::Command { running: Some(pid), again: None };
                steps.push(Step::ReadinessCommand(pid, node));
            }
            Err(failure) => {
                self.kill();
                self.fail(failure, steps);
            }
        }
    }
}

/// Starts a program of a daemon's in its node, both outputs to a log.
fn run(
    ground: &mut Ground,
    node: NodeId,
    path: Option<&OsStr>,
    argv: &[String],
    env: &[(String, String)],
    log: &File,
) -> Result<Pid, Failure> {
    let null = ground.null()?;
    let argv: Vec<OsString> = argv.iter().map(OsString::from).collect();
    let mut environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    for (key, value) in env {
        environment.retain(|(other, _)| other != OsStr::new(key));
        environment.push((key.into(), value.into()));
    }
    let name = ground.plan.node(node).name.clone();
    let job = Job {
        site: Some(Site::Node(node)),
        path,
        argv: &argv,
        environment: &environment,
        directory: OsStr::new("/"),
        stdio: [null.as_fd(), log.as_fd(), log.as_fd()],
        terminal: false,
    };
    ground.start(job).map_err(|failure| Failure { message: format!("{name}: {}", failure.message), ..failure })
}
