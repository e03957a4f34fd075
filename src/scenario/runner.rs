//! Takes a scenario through its steps.

mod expect;
mod grace;
mod limit;

use std::net::IpAddr;
use std::time::Duration;

use super::check::{self, Judgement};
use super::history::History;
use super::invariants;
use super::outcome::{Figure, Finding, Place, ScenarioReport, StepReport, Value, Verdict, since};
use super::records::Records;
use super::summary;
use crate::network::{LossId, Network, NetworkError, Time};
use crate::oracle::{self, Convergence, Flow};
use crate::topology::plan::{NodeId, Plan};
use crate::topology::steps::{Action, MessageLoss, Mistreatment, Scenario, SourceFilter, Stream, nth_group};

pub use limit::time_limit;

/// How a scenario is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// What a busy machine may add to a deadline that a formula gives.
    pub slack: Duration,
    /// A check that fails although the runner woke later than this after its deadline is inconclusive.
    pub late: Duration,
    /// At most so long may a command of a `run` step take.
    pub command_limit: Duration,
    /// How long packets may be under way beside the delays that the file gives to wires.
    pub drain: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            slack: oracle::SLACK,
            late: Duration::from_millis(500),
            command_limit: Duration::from_secs(60),
            drain: Duration::from_millis(300),
        }
    }
}

/// The most by which a deadline moves because the network is held up.
const HELD_UP_MAX: Duration = Duration::from_secs(30);

/// A join or leave that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub time: Time,
    /// How long the network had been held up before.
    pub held_up: Duration,
    pub host: NodeId,
    /// The first group.
    pub group: IpAddr,
    /// How many there are, one after another.
    pub groups: u32,
}

/// A stream that was started.
#[derive(Clone, Debug)]
pub(super) struct Started {
    pub stream: Stream,
    pub at: Time,
    /// When a step stopped it.
    pub stopped: Option<Time>,
}

/// A loss of messages that a step asked for.
#[derive(Clone, Debug)]
pub(super) struct Losing {
    /// Index of the step.
    step: usize,
    id: LossId,
    pub loss: MessageLoss,
    /// When it began.
    pub from: Time,
    /// When a step undid it.
    pub to: Option<Time>,
}

/// A wire that a step has mistreat frames.
#[derive(Clone, Debug)]
pub(super) struct Mistreated {
    pub how: Mistreatment,
    /// When it began.
    pub from: Time,
    /// When a step undid it.
    pub to: Option<Time>,
}

/// A scenario that runs.
pub(super) struct Run<'a, N: Network> {
    pub plan: &'a Plan,
    pub convergence: Convergence,
    pub network: &'a mut N,
    pub options: &'a Options,
    pub records: Records,
    pub history: History,
    /// In the order of their starts, the streams of `scope` steps included.
    pub streams: Vec<Started>,
    pub joins: Vec<Call>,
    pub leaves: Vec<Call>,
    pub losses: Vec<Losing>,
    pub mistreated: Vec<Mistreated>,
    /// Steps that are over.
    pub steps_done: usize,
    pub last_fault: Option<Time>,
    pub last_restart: Option<Time>,
    pub began: Time,
    /// How much too late the runner woke from its last wait.
    pub late_by: Duration,
}

/// Runs a scenario on a network that is up and ready.
///
/// A step that cannot be done ends the scenario there; a check that fails does not, so that its report is whole.
pub fn run<N: Network>(plan: &Plan, scenario: &Scenario, network: &mut N, options: &Options) -> ScenarioReport {
    let began = network.now();
    let mut run = Run {
        plan,
        convergence: Convergence::of(plan),
        network,
        options,
        records: Records::default(),
        history: History::new(began),
        streams: Vec::new(),
        joins: Vec::new(),
        leaves: Vec::new(),
        losses: Vec::new(),
        mistreated: Vec::new(),
        steps_done: 0,
        last_fault: None,
        last_restart: None,
        began,
        late_by: Duration::ZERO,
    };
    let mut steps: Vec<StepReport> = Vec::new();
    let mut broken = false;
    for step in &scenario.steps {
        let start = run.network.now();
        let judgement = if broken {
            Judgement { verdict: Verdict::Skipped, ..Judgement::default() }
        } else {
            run.late_by = Duration::ZERO;
            match run.step(&step.action) {
                Ok(judgement) => run.doubted(judgement),
                Err(error) => {
                    broken |= !matches!((&step.action, &error), (Action::Expect(_), NetworkError::Unsupported { .. }));
                    Judgement::from_error(&error)
                }
            }
        };
        let took = run.network.now().since(start);
        steps.push(StepReport {
            line: step.line,
            text: step.text.clone(),
            is_check: matches!(step.action, Action::Expect(_)),
            verdict: judgement.verdict,
            began: since(began, start),
            took,
            figures: judgement.figures,
            findings: judgement.findings,
            timeline: judgement.timeline,
        });
        run.steps_done = steps.len();
    }
    let ended = run.network.now();
    if !broken {
        run.judge_losses(&mut steps);
    }
    run.stop_all();
    let invariants = invariants::judge(&mut run, &scenario.without);
    let streams = summary::streams(&mut run);
    let verdicts = steps.iter().map(|s| s.verdict).chain(invariants.iter().map(|i| i.verdict));
    let verdict = verdicts.filter(|v| *v != Verdict::Skipped).max().unwrap_or_default();
    ScenarioReport {
        lab: plan.name.clone(),
        file: plan.file.clone(),
        scenario: scenario.name.clone(),
        verdict,
        trouble: None,
        took: ended.since(began),
        steps,
        invariants,
        streams,
        doubts: run.network.doubts(),
        captures: plan.wire_ids().filter_map(|wire| run.network.capture(wire)).collect(),
        logs: Vec::new(),
    }
}

impl<N: Network> Run<'_, N> {
    fn step(&mut self, action: &Action) -> Result<Judgement, NetworkError> {
        match action {
            Action::Join { hosts, group, groups, filter } => self.join(hosts, *group, *groups, filter)?,
            Action::Leave { hosts, group, groups } => self.leave(hosts, *group, *groups)?,
            Action::Stream(stream) => self.start(stream)?,
            Action::Stop { stream } => self.stop(stream)?,
            Action::Fail(cut) => {
                let grace = self.silence_grace();
                let at = self.network.fail(cut)?;
                self.history.prolong(at, grace);
                let call = self.since(at);
                self.history.change(at, call, grace, |world| world.fail(cut));
                if cut.end.is_some() && !self.plan.wire(cut.wire).kind.is_link() {
                    // On a LAN, the others only miss whoever is cut off, and one whose prune that one has overridden waits for t_limit.
                    let missed = self.convergence.liveness + self.convergence.prune_limit;
                    self.history.upset(at, at + missed);
                }
                self.last_fault = Some(at);
            }
            Action::Drop(loss) => {
                let id = self.network.lose(loss)?;
                let from = self.network.now();
                self.losses.push(Losing { step: self.steps_done, id, loss: loss.clone(), from, to: None });
                self.history.prolong(from, self.silence_grace());
            }
            Action::Impair(how) => {
                let from = self.network.mistreat(how)?;
                self.mistreated.push(Mistreated { how: how.clone(), from, to: None });
                self.history.prolong(from, self.silence_grace());
            }
            Action::Restore { wire, end } => {
                let at = self.network.restore(*wire, *end)?;
                for mistreated in &mut self.mistreated {
                    if mistreated.how.wire == *wire && (end.is_none() || mistreated.how.from == *end) {
                        mistreated.to.get_or_insert(at);
                    }
                }
                for losing in &mut self.losses {
                    if losing.loss.wire == *wire && (end.is_none() || losing.loss.from == *end) {
                        losing.to.get_or_insert(at);
                    }
                }
                let call = self.since(at);
                self.history.change(at, call, self.transition_grace(), |world| world.restore(*wire, *end));
                self.last_restart = Some(at);
                // A repair may cost packets as well: whoever changes back to the better path is without any for a moment.
                self.last_fault = Some(at);
            }
            Action::Kill { node } => {
                // Until its neighbours miss it, they go on sending it what it no longer takes.
                let grace = self.silence_grace();
                let at = self.network.kill(*node)?;
                self.history.prolong(at, grace);
                let call = self.since(at);
                self.history.change(at, call, grace, |world| world.kill(*node));
                self.history.went_on(*node, at);
                self.last_fault = Some(at);
            }
            Action::Restart { node } => {
                // Killed first if it runs: from the call on, its entries may be gone and may be back.
                let before = self.network.now();
                let at = self.network.restart(*node)?;
                // It has forgotten whom it was to ask.
                let forgotten = self.silence_grace();
                self.history.prolong(before.min(at), forgotten);
                let was_alive = !self.history.now().is_dead(*node);
                if was_alive {
                    self.last_fault = Some(before);
                }
                let call = self.since(before);
                self.history.change(before.min(at), call, self.transition_grace(), |world| world.restart(*node));
                if was_alive {
                    // Where its way changes before that is over, the old one is not pruned.
                    self.history.keep(self.network.now(), forgotten);
                }
                self.history.upset(before.min(at), self.network.now() + self.convergence.first_refresh);
                self.history.went_on(*node, at);
                self.last_restart = Some(at);
            }
            Action::Pause { node } => {
                let at = self.network.pause(*node)?;
                self.history.prolong(at, self.silence_grace());
                let call = self.since(at);
                self.history.change(at, call, self.options.slack, |world| world.pause(*node));
                self.history.stopped(*node, at);
                self.last_fault = Some(at);
            }
            Action::Resume { node } => {
                let at = self.network.resume(*node)?;
                // Neighbours that missed it meanwhile did not tell it of what ended, and it holds what they had told it before.
                self.history.prolong(at, self.silence_grace());
                let call = self.since(at);
                self.history.change(at, call, self.leave_grace(), |world| world.resume(*node));
                self.history.went_on(*node, at);
            }
            Action::Wait { time } => {
                let until = self.network.now() + *time;
                self.pass_until(until)?;
            }
            Action::Run { at, command } => {
                let output = self.network.run(*at, command, self.options.command_limit)?;
                return Ok(check::command::ended_well(&output));
            }
            Action::Expect(expectation) => return self.expect(expectation),
        }
        Ok(Judgement::default())
    }

    fn join(
        &mut self,
        hosts: &[NodeId],
        group: IpAddr,
        groups: u32,
        filter: &SourceFilter,
    ) -> Result<(), NetworkError> {
        for &host in hosts {
            let excludes = matches!(filter, SourceFilter::Exclude(sources) if !sources.is_empty());
            let grace = self.leave_grace_with(excludes);
            let held_up = self.network.held_up();
            let time = self.network.join(host, group, filter)?;
            for n in 1..groups {
                self.network.join(host, nth_group(group, n), filter)?;
            }
            let took = self.since(time);
            self.history.change(time, took, grace, |world| world.join(host, group, filter));
            let call = Call { time, held_up, host, group, groups };
            if oracle::is_nothing(filter) { self.leaves.push(call) } else { self.joins.push(call) }
        }
        Ok(())
    }

    fn leave(&mut self, hosts: &[NodeId], group: IpAddr, groups: u32) -> Result<(), NetworkError> {
        for &host in hosts {
            let grace = self.leave_grace();
            let held_up = self.network.held_up();
            let time = self.network.leave(host, group)?;
            for n in 1..groups {
                self.network.leave(host, nth_group(group, n))?;
            }
            let took = self.since(time);
            self.history.change(time, took, grace, |world| world.leave(host, group));
            self.leaves.push(Call { time, held_up, host, group, groups });
        }
        Ok(())
    }

    /// Starts a stream and remembers it.
    pub fn start(&mut self, stream: &Stream) -> Result<(), NetworkError> {
        let at = self.network.now();
        self.network.start(stream)?;
        self.streams.push(Started { stream: stream.clone(), at, stopped: None });
        Ok(())
    }

    /// Stops a stream.
    pub fn stop(&mut self, name: &str) -> Result<(), NetworkError> {
        self.network.stop(name)?;
        let now = self.network.now();
        if let Some(started) = self.streams.iter_mut().rev().find(|s| s.stream.name == name) {
            started.stopped.get_or_insert(now);
        }
        Ok(())
    }

    /// Ends all streams and lets what is under way arrive, before the books are closed. The lab may be gone by now: what it gave
    /// until then is judged.
    fn stop_all(&mut self) {
        let running: Vec<String> =
            self.streams.iter().filter(|s| s.stopped.is_none()).map(|s| s.stream.name.clone()).collect();
        for name in running {
            if self.stop(&name).is_err() {
                return;
            }
        }
        let until = self.network.now() + self.drain_time().min(Duration::from_secs(2));
        let _ended = self.pass_until(until);
    }

    /// Lets time pass.
    pub fn pass_until(&mut self, until: Time) -> Result<(), NetworkError> {
        self.network.pass_until(until)?;
        self.late_by = self.late_by.max(self.network.now().since(until));
        Ok(())
    }

    /// Waits until `done` holds or the deadline passes, which moves while the network is held up; gives whether it held.
    pub fn wait(
        &mut self,
        deadline: Time,
        mut done: impl FnMut(&mut N, &mut Records) -> Result<bool, NetworkError>,
    ) -> Result<bool, NetworkError> {
        let before = self.network.held_up();
        let mut moved = deadline;
        loop {
            let records = &mut self.records;
            if self.network.run_until(moved, &mut |network| done(network, records))? {
                return Ok(true);
            }
            self.late_by = self.late_by.max(self.network.now().since(moved));
            let later = deadline + self.held_up_since(before);
            if later <= moved {
                return Ok(false);
            }
            moved = later;
        }
    }

    /// How long the network was held up since a reading of it.
    pub fn held_up_since(&self, before: Duration) -> Duration {
        self.network.held_up().saturating_sub(before).min(HELD_UP_MAX)
    }

    fn since(&self, time: Time) -> Duration {
        self.network.now().since(time)
    }

    /// The stream of a name, as it was started last.
    pub fn started(&self, name: &str) -> Option<&Started> {
        self.streams.iter().rev().find(|s| s.stream.name == name)
    }

    /// Where a stream goes in the world as it is.
    pub fn flow(&self, stream: &Stream) -> Option<Flow> {
        // Of groups that are taken together, the first stands for all.
        let together = self.streams.iter().find(|s| s.stream.name == stream.name);
        let first = together.map_or(stream.group, |started| started.stream.group);
        Flow::of(self.plan, self.history.now(), &Stream { group: first, ..stream.clone() })
    }

    /// How long packets may be under way.
    pub fn drain_time(&self) -> Duration {
        let delays = self.plan.wires.iter().map(|wire| wire.impairment.delay + wire.impairment.jitter);
        self.options.drain + delays.sum::<Duration>()
    }

    /// The name of a node.
    pub fn name(&self, node: NodeId) -> &str {
        &self.plan.node(node).name
    }

    /// Says of each `drop` how many messages it took. One that took none made no fault: what was to be seen was not.
    fn judge_losses(&mut self, steps: &mut [StepReport]) {
        for losing in self.losses.clone() {
            let Some(step) = steps.get_mut(losing.step) else { continue };
            // If the lab is gone, a step has said so.
            let Ok(taken) = self.network.dropped(losing.id) else { continue };
            step.figures.push(Figure::new("dropped", Value::Count(taken)));
            if taken == 0 {
                let wire = self.plan.wire(losing.loss.wire).name.clone();
                let from = losing.loss.from.map(|from| format!(" from {}", self.name(from.node))).unwrap_or_default();
                let text = format!(
                    "no {}{from} came that could have been dropped on its way into {wire}",
                    losing.loss.message.name()
                );
                step.verdict = Verdict::Failed;
                step.findings.push(Finding {
                    place: Some(Place {
                        node: losing.loss.from.map(|from| self.name(from.node).to_owned()),
                        wire: Some(wire),
                        ..Place::default()
                    }),
                    ..Finding::text(text)
                });
            }
        }
    }

    /// Turns a failure that the measuring side may have caused into an inconclusive one.
    fn doubted(&self, mut judgement: Judgement) -> Judgement {
        if judgement.verdict != Verdict::Failed || judgement.certain {
            return judgement;
        }
        let mut doubts = self.network.doubts();
        if self.late_by > self.options.late {
            doubts.push(format!("the runner woke {} too late", humantime::format_duration(millis(self.late_by))));
        }
        if !doubts.is_empty() {
            judgement.verdict = Verdict::Inconclusive;
            judgement
                .findings
                .extend(doubts.into_iter().map(|doubt| Finding::text(format!("cannot be judged: {doubt}"))));
        }
        judgement
    }
}

/// A span as people read it: whole milliseconds, below ten of them whole microseconds.
pub(super) fn millis(span: Duration) -> Duration {
    if span < Duration::from_millis(10) {
        Duration::from_micros(u64::try_from(span.as_micros()).unwrap_or(u64::MAX))
    } else {
        Duration::from_millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
    }
}
