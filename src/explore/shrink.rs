//! Makes a run that found something as small as it gets and still finds it: fewer steps, fewer nodes and wires, simpler faults.
//!
//! What is tried is always a file: written, read, and run. So what is left at the end fails from its file, whatever its text cannot say.

use std::time::Duration;

use super::prune;
use super::render::Item;
use super::run::{self, Kind, Violation};
use super::schedule::Schedule;
use super::settings;
use super::write;
use crate::topology::plan::Plan;
use crate::topology::steps::{Action, CutKind, Message, MessageLoss, Mistreatment, Step};
use crate::topology::{self, steps};

/// Most runs of one shrinking.
const TRIES: usize = 4_000;
/// What a wait is tried as, in place of a longer one.
const WAITS: [Duration; 5] = [
    Duration::from_millis(1),
    Duration::from_millis(100),
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(20),
];

/// In place of what made a rest longer.
const LONG: Item = Item::Moment(Duration::from_secs(30));

/// What is left.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The plan with its one scenario.
    pub plan: Plan,
    /// What it violates still.
    pub violation: Violation,
    /// How many runs that took.
    pub tries: usize,
}

struct Shrinking<'a> {
    kind: Kind,
    base: &'a Plan,
    tries: usize,
}

/// Shrinks a schedule that violates something of a kind; none if it does not do so from its file.
pub fn shrink(schedule: Schedule, base: &Plan, kind: Kind) -> Option<Shrunk> {
    let mut shrinking = Shrinking { kind, base, tries: 0 };
    let mut best = schedule;
    if !shrinking.holds(&best) {
        return None;
    }
    loop {
        let before = (best.items.len(), best.plan.nodes.len(), best.plan.wires.len());
        shrinking.items(&mut best);
        shrinking.parts(&mut best);
        if before == (best.items.len(), best.plan.nodes.len(), best.plan.wires.len()) {
            break;
        }
    }
    shrinking.settings(&mut best);
    shrinking.simplify(&mut best);
    shrinking.items(&mut best);
    shrinking.parts(&mut best);
    let mut plan = best.plan();
    shrinking.checks(&mut plan);
    let violation = shrinking.violation(&plan)?;
    Some(Shrunk { plan, violation, tries: shrinking.tries })
}

impl Shrinking<'_> {
    /// The violation of the kind that a plan has when it is read from its file.
    fn violation(&mut self, plan: &Plan) -> Option<Violation> {
        self.tries += 1;
        let text = write::text(plan, &[]).ok()?;
        let read = topology::parse(&plan.file, &text).ok()?;
        run::run(&read)?.violations.into_iter().find(|violation| violation.kind == self.kind)
    }

    fn holds(&mut self, schedule: &Schedule) -> bool {
        self.tries < TRIES && self.violation(&schedule.plan()).is_some()
    }

    /// Takes a candidate if it still fails.
    fn take(&mut self, best: &mut Schedule, candidate: Schedule) -> bool {
        let holds = self.holds(&candidate);
        if holds {
            *best = candidate;
        }
        holds
    }

    /// Leaves out what happens: halves first, single items last.
    fn items(&mut self, best: &mut Schedule) {
        let mut size = best.items.len().div_ceil(2);
        while size > 0 {
            let mut at = 0;
            while at < best.items.len() {
                let end = (at + size).min(best.items.len());
                let items = [&best.items[..at], &best.items[end..]].concat();
                if !self.take(best, Schedule { items, ..best.clone() }) {
                    at = end;
                }
            }
            size /= 2;
        }
    }

    /// Leaves out nodes and wires.
    fn parts(&mut self, best: &mut Schedule) {
        let mut at = 0;
        while let Some(part) = prune::parts(&best.plan).get(at).copied() {
            let taken = prune::without(best, part).is_some_and(|candidate| self.take(best, candidate));
            if !taken {
                at += 1;
            }
        }
    }

    /// Puts settings back to the file's: all at once, or one after the other; each in all routers alike, for most are announced nowhere.
    fn settings(&mut self, best: &mut Schedule) {
        let mut all = best.clone();
        all.plan = settings::restored(&best.plan, self.base, None);
        if settings::are_free(&best.plan) && self.take(best, all) {
            return;
        }
        for key in settings::keys(&best.plan) {
            let mut one = best.clone();
            one.plan = settings::restored(&best.plan, self.base, Some(&key));
            if one.plan != best.plan {
                self.take(best, one);
            }
        }
    }

    /// Makes single steps simpler.
    fn simplify(&mut self, best: &mut Schedule) {
        for at in 0..best.items.len() {
            loop {
                let Some(item) = best.items.get(at).cloned() else { return };
                let simpler = simpler(&item).into_iter();
                let taken = simpler.into_iter().any(|item| {
                    let mut candidate = best.clone();
                    candidate.items[at] = item;
                    self.take(best, candidate)
                });
                if !taken {
                    break;
                }
            }
        }
    }

    /// Leaves out checks and what follows the one that fails.
    fn checks(&mut self, plan: &mut Plan) {
        let mut at = plan.scenarios.first().map_or(0, |scenario| scenario.steps.len());
        while at > 0 && self.tries < TRIES {
            at -= 1;
            let is_passive = |step: &Step| matches!(step.action, Action::Expect(_) | Action::Wait { .. });
            let Some(scenario) = plan.scenarios.first() else { return };
            // Waits before a check are what it may rest on; after the last one they are for nothing.
            let is_last = scenario.steps[at..].iter().all(is_passive);
            let is_check = matches!(scenario.steps[at].action, Action::Expect(_));
            if !is_check && !is_last {
                continue;
            }
            let mut candidate = plan.clone();
            if let Some(scenario) = candidate.scenarios.first_mut() {
                scenario.steps.remove(at);
            }
            let rests = |plan: &Plan| {
                let steps = plan.scenarios.first().map(|s| s.steps.as_slice()).unwrap_or_default();
                steps.iter().any(|step| matches!(step.action, Action::Expect(_)))
            };
            let is_of_check = matches!(self.kind, Kind::Expectation(_));
            if (is_check || !is_of_check || !rests(&candidate)) && self.violation(&candidate).is_some() {
                *plan = candidate;
            }
        }
    }
}

/// What a step might be instead, simplest first.
fn simpler(item: &Item) -> Vec<Item> {
    match item {
        Item::Moment(time) => WAITS.iter().filter(|wait| *wait < time).map(|wait| Item::Moment(*wait)).collect(),
        Item::Act(Action::Fail(cut)) if cut.how != CutKind::Carrier || cut.end.is_some() => {
            let simple = steps::Cut { how: CutKind::Carrier, end: None, detected_after: None, ..cut.clone() };
            vec![Item::Act(Action::Fail(simple))]
        }
        Item::Act(Action::Drop(loss)) if loss.count > 1 => {
            vec![LONG, Item::Act(Action::Drop(MessageLoss { count: 1, ..loss.clone() }))]
        }
        // It may only have made the rest longer.
        Item::Act(Action::Drop(_) | Action::Pause { .. } | Action::Kill { .. }) => vec![LONG],
        Item::Act(Action::Impair(how)) => milder(how),
        _ => Vec::new(),
    }
}

/// In place of a wire that mistreats frames: one that loses one message, as a kernel can do it too; or that does less of it.
fn milder(how: &Mistreatment) -> Vec<Item> {
    let mut items: Vec<Item> = vec![LONG];
    if how.loss > 0.0 || how.corrupt > 0.0 {
        for count in [1, 3] {
            let loss = |message| MessageLoss { wire: how.wire, from: how.from, message, count };
            items.extend(DROPPED.map(|message| Item::Act(Action::Drop(loss(message)))));
        }
    }
    let zero = Duration::ZERO;
    let several = [how.loss, how.duplicate, how.reorder, how.corrupt].iter().filter(|share| **share > 0.0).count() > 1;
    if several {
        let less = [
            Mistreatment { loss: 0.0, ..how.clone() },
            Mistreatment { duplicate: 0.0, ..how.clone() },
            Mistreatment { reorder: 0.0, delay: zero, ..how.clone() },
            Mistreatment { corrupt: 0.0, ..how.clone() },
        ];
        items.extend(less.into_iter().filter(|less| less != how).map(|less| Item::Act(Action::Impair(less))));
    }
    items
}

/// Messages whose loss is tried.
const DROPPED: [Message; 24] = [
    Message::PimGraft,
    Message::PimGraftAck,
    Message::PimPrune,
    Message::PimJoin,
    Message::PimAssert,
    Message::PimStateRefresh,
    Message::PimHello,
    Message::PimJoinWc,
    Message::PimJoinSg,
    Message::PimPruneWc,
    Message::PimPruneSg,
    Message::PimPruneRpt,
    Message::PimRegister,
    Message::PimNullRegister,
    Message::PimRegisterStop,
    Message::PimBootstrap,
    Message::PimCandidateRpAdvertisement,
    Message::IgmpGeneralQuery,
    Message::IgmpGroupQuery,
    Message::IgmpSourceQuery,
    Message::Igmpv1Report,
    Message::Igmpv2Report,
    Message::Igmpv3Report,
    Message::IgmpLeave,
];
