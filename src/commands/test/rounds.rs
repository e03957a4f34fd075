//! Runs cases in rounds: the labs of a round are built and looked into, its scenarios run side by side, its labs are taken down. Rounds, because
//! no lab is built, looked into or taken down while another is in a timed step: each takes the kernel's lock for all network configuration.

use std::ffi::OsString;
use std::io::{self, BufRead as _, IsTerminal as _, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::pipe2;

use super::interrupt::Interrupt;
use super::keep::{self, Keep};
use super::select::{Case, lab_name};
use crate::commands::inside::run::{BEGINS, READY};
use crate::lab::client::{Command, LabError, build_turn};
use crate::lab::{self, Base, Lab, RunningLab};
use crate::scenario::{self, ScenarioReport, Verdict};

/// The longest report that is read.
const REPORT_MAX: u64 = 512 << 20;
/// How long a scenario may wait for its turn, while other labs are built or run.
const TURN_MAX: Duration = Duration::from_secs(3600);
/// How long the runners of a round may take to open their networks before the others begin without them.
const OPEN_MAX: Duration = Duration::from_secs(60);
/// How much of what the runner says is quoted if it fails.
const SAID_MAX: usize = 2000;

/// What somebody wants beside the reports.
pub struct Extra<'a> {
    /// Further arguments of the runner.
    pub arguments: Vec<OsString>,
    /// Called with a case's number and its lab when the scenario has ended and the lab is still there.
    pub look: &'a dyn Fn(usize, &Lab),
}

impl Default for Extra<'_> {
    fn default() -> Self {
        Extra { arguments: Vec::new(), look: &|_, _| {} }
    }
}

/// Runs all cases, at most so many at once; reports in the order of the cases.
pub fn run(
    base: &Base,
    cases: &[Case<'_>],
    jobs: usize,
    keep: &Keep,
    interrupt: &Interrupt,
    extra: &Extra<'_>,
) -> Vec<ScenarioReport> {
    let arguments = extra.arguments.as_slice();
    let limits: Vec<Duration> = cases
        .iter()
        .map(|case| scenario::time_limit(case.plan, case.scenario, &scenario::Options::default()))
        .collect();
    let mut order: Vec<usize> = (0..cases.len()).collect();
    if jobs > 1 {
        // Scenarios of like length side by side: a round is as long as its longest.
        order.sort_by_key(|n| std::cmp::Reverse(limits[*n]));
    }
    let mut reports: Vec<Option<ScenarioReport>> = vec![None; cases.len()];
    let mut status = Status::new(cases.len());
    for round in order.chunks(jobs.max(1)) {
        status.now("waiting for other labs' steps to build");
        let turn = match build_turn(base, Some(interrupt.as_fd()), &mut || {}) {
            Ok(turn) => turn,
            Err(LabError::Interrupted) => break,
            Err(error) => {
                round.iter().for_each(|&n| reports[n] = Some(status.done(not_run(&cases[n], &error))));
                continue;
            }
        };
        let mut labs = Vec::new();
        for &n in round {
            if interrupt.is_set() {
                break;
            }
            let case = &cases[n];
            status.now(&format!("building {}", case.place));
            let name = lab_name(case.plan, n);
            let interrupt = Some(interrupt.as_fd());
            let options = lab::Options { name: Some(&name), turn: Some(&turn), interrupt, ..lab::Options::default() };
            match lab::start(base, case.plan, &options, &mut |_| {}) {
                Ok(running) => labs.push((n, running)),
                Err(LabError::Interrupted) => break,
                Err(error) => reports[n] = Some(status.done(not_run(case, &error))),
            }
        }
        let names: Vec<&str> = labs.iter().map(|(n, _)| cases[*n].place.as_str()).collect();
        status.now(&format!("running {}", names.join(", ")));
        let (opening, opened) = mpsc::channel();
        std::thread::scope(|scope| {
            let mut threads = Vec::new();
            for (n, lab) in &labs {
                let opening = opening.clone();
                let run = || run_in(lab, &cases[*n], limits[*n], interrupt, arguments, opening);
                threads.push((*n, scope.spawn(run)));
            }
            drop(opening);
            await_all(&opened);
            if let Err(error) = turn.end() {
                status.say(&format!("testbed: the turn to build cannot be ended: {error}"));
            }
            for (n, thread) in threads {
                let trouble = || trouble(&cases[n], Verdict::Inconclusive, "the thread that ran it panicked".into());
                reports[n] = Some(thread.join().unwrap_or_else(|_| trouble()));
            }
        });
        // If it cannot be had, each lab says why.
        let turn = build_turn(base, None, &mut || {}).ok();
        for (n, running) in labs {
            if let Some(report) = reports[n].take() {
                let mut report = status.done(report);
                (extra.look)(n, running.lab());
                keep.keep(running.lab(), &cases[n].place, &mut report);
                reports[n] = Some(report);
            }
            status.now(&format!("taking down {}", cases[n].place));
            let down = match &turn {
                Some(turn) => running.down_in(turn),
                None => running.down(&mut || {}),
            };
            if let Err(error) = down {
                status.say(&format!("testbed: {}: {error}", cases[n].place));
            }
        }
        if interrupt.is_set() {
            break;
        }
    }
    status.clear();
    let skipped = |case: &Case<'_>| trouble(case, Verdict::Skipped, "interrupted".into());
    reports.into_iter().zip(cases).map(|(report, case)| report.unwrap_or_else(|| skipped(case))).collect()
}

fn trouble(case: &Case<'_>, verdict: Verdict, text: String) -> ScenarioReport {
    ScenarioReport::of_trouble(&case.plan.name, &case.plan.file, &case.scenario.name, verdict, text)
}

fn not_run(case: &Case<'_>, error: &LabError) -> ScenarioReport {
    trouble(case, Verdict::Unsupported, error.to_string())
}

/// Waits until every runner has opened its network or ended: then nobody has the other end any more.
fn await_all(opened: &Receiver<()>) {
    let deadline = Instant::now() + OPEN_MAX;
    while opened.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok() {}
}

/// Runs a scenario in its lab. `opening` is dropped when its runner has opened the network.
fn run_in(
    running: &RunningLab,
    case: &Case<'_>,
    limit: Duration,
    interrupt: &Interrupt,
    extra: &[OsString],
    opening: Sender<()>,
) -> ScenarioReport {
    match attempt(running, case, limit, interrupt, extra, opening) {
        Ok(report) => report,
        Err(Trouble { verdict, text }) => trouble(case, verdict, text),
    }
}

/// Why there is no report.
struct Trouble {
    verdict: Verdict,
    text: String,
}

impl From<LabError> for Trouble {
    fn from(error: LabError) -> Trouble {
        Trouble { verdict: Verdict::Inconclusive, text: error.to_string() }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        Trouble { verdict: Verdict::Unsupported, text: format!("the scenario's runner cannot be started: {error}") }
    }
}

fn attempt(
    running: &RunningLab,
    case: &Case<'_>,
    limit: Duration,
    interrupt: &Interrupt,
    extra: &[OsString],
    opening: Sender<()>,
) -> Result<ScenarioReport, Trouble> {
    let captures = keep::captures_inside();
    let argv: [OsString; 7] = [
        "/proc/self/exe".into(),
        "inside".into(),
        "run".into(),
        "--scenario".into(),
        case.scenario.name.clone().into(),
        "--captures".into(),
        captures.into(),
    ];
    let nothing = std::fs::File::open("/dev/null")?;
    let (report_read, report_write) = pipe2(OFlag::O_CLOEXEC).map_err(io::Error::from)?;
    let (said_read, said_write) = pipe2(OFlag::O_CLOEXEC).map_err(io::Error::from)?;
    let command =
        Command { directory: "/".into(), ..Command::new(None, argv.into_iter().chain(extra.iter().cloned())) };
    let mut runner = running.lab().exec(command, [nothing.as_fd(), report_write.as_fd(), said_write.as_fd()])?;
    drop((report_write, said_write));
    let mut deadline = Instant::now() + TURN_MAX;
    let (begun_read, begun_write) = pipe2(OFlag::O_CLOEXEC).map_err(io::Error::from)?;
    std::thread::scope(|scope| {
        let report = scope.spawn(|| read(report_read, REPORT_MAX));
        let said = scope.spawn(|| listen(said_read, opening, begun_write));
        let mut waiting = true;
        let ended = loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX);
            let mut ends = [
                PollFd::new(runner.as_fd(), PollFlags::POLLIN),
                PollFd::new(interrupt.as_fd(), PollFlags::POLLIN),
                PollFd::new(begun_read.as_fd(), PollFlags::POLLIN),
            ];
            // Hung up once the scenario has begun, and for good.
            let watched = if waiting { 3 } else { 2 };
            match poll(&mut ends[..watched], timeout) {
                Err(nix::errno::Errno::EINTR) => {}
                Err(error) => break Err(Trouble::from(io::Error::from(error))),
                Ok(_) if interrupt.is_set() => {
                    break Err(Trouble { verdict: Verdict::Skipped, text: "interrupted".into() });
                }
                Ok(_) if ends[0].any() == Some(true) => break runner.wait().map_err(Trouble::from),
                Ok(_) if waiting && ends[2].any() == Some(true) => {
                    waiting = false;
                    deadline = Instant::now() + limit;
                }
                Ok(_) if left.is_zero() => {
                    let text = format!(
                        "it was not over {} after its start and was ended",
                        humantime::format_duration(whole(limit))
                    );
                    break Err(Trouble { verdict: Verdict::Inconclusive, text });
                }
                Ok(_) => {}
            }
        };
        // Ends the runner if it has not ended, and with it the pipes.
        drop(runner);
        let (report, said) = (report.join().unwrap_or_default(), said.join().unwrap_or_default());
        let exit = ended?;
        let said = tail(&said);
        match exit.code() {
            0 => serde_json::from_slice(&report).map_err(|error| Trouble {
                verdict: Verdict::Inconclusive,
                text: format!("the scenario's runner gave no report ({error}){said}"),
            }),
            status => {
                let verdict = if status == 3 { Verdict::Unsupported } else { Verdict::Inconclusive };
                Err(Trouble { verdict, text: format!("the scenario's runner ended with {exit}{said}") })
            }
        }
    })
}

fn read(from: OwnedFd, at_most: u64) -> Vec<u8> {
    let mut octets = Vec::new();
    // What came before an error is all that there is.
    let _end = std::fs::File::from(from).take(at_most).read_to_end(&mut octets);
    octets
}

/// Reads what the runner says; lets go of `opening` once it has opened the network, and hangs up once it says that the scenario begins.
fn listen(from: OwnedFd, opening: Sender<()>, begun: OwnedFd) -> Vec<u8> {
    let (mut opening, mut begun) = (Some(opening), Some(begun));
    let mut said = Vec::new();
    let mut lines = io::BufReader::new(std::fs::File::from(from));
    loop {
        let start = said.len();
        match lines.read_until(b'\n', &mut said) {
            Ok(0) | Err(_) => return said,
            Ok(_) if said[start..].trim_ascii() == READY.as_bytes() => {
                opening.take();
                said.truncate(start);
            }
            Ok(_) if said[start..].trim_ascii() == BEGINS.as_bytes() => {
                begun.take();
                said.truncate(start);
            }
            // Only the end is ever quoted.
            Ok(_) if said.len() > 4 * SAID_MAX => drop(said.drain(..said.len() - SAID_MAX)),
            Ok(_) => {}
        }
    }
}

fn tail(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(&said[said.len().saturating_sub(SAID_MAX)..]);
    let text = text.trim();
    if text.is_empty() { String::new() } else { format!("; it said:\n{text}") }
}

fn whole(span: Duration) -> Duration {
    Duration::from_secs(span.as_secs())
}

/// Progress on standard error: a line a scenario, and on a terminal what is going on.
struct Status {
    total: usize,
    done: usize,
    terminal: bool,
}

impl Status {
    fn new(total: usize) -> Status {
        Status { total, done: 0, terminal: io::stderr().is_terminal() }
    }

    fn now(&self, what: &str) {
        if self.terminal {
            let line: String = format!("[{}/{}] {what}", self.done, self.total).chars().take(78).collect();
            eprint!("\r\u{1b}[K{line}");
        }
    }

    fn clear(&self) {
        if self.terminal {
            eprint!("\r\u{1b}[K");
        }
    }

    fn say(&self, line: &str) {
        self.clear();
        eprintln!("{line}");
    }

    fn done(&mut self, report: ScenarioReport) -> ScenarioReport {
        self.done += 1;
        let took =
            humantime::format_duration(Duration::from_millis(u64::try_from(report.took.as_millis()).unwrap_or(0)));
        let word = report.verdict.word();
        self.say(&format!("[{}/{}] {} › {}: {word} ({took})", self.done, self.total, report.lab, report.scenario));
        report
    }
}
