//! Many runs, on several threads; what they gave is the same whatever their number.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use router_core::coverage::{Coverage, Pair};

use super::draw::Draw;
use super::run::{self, Violation};
use super::{Subject, schedule};
use crate::topology::plan::Plan;

/// How many runs, of which seed, on how many threads.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Runs of all subjects together: they take turns.
    pub runs: u64,
    /// Seed of the search.
    pub seed: u64,
    /// Threads.
    pub jobs: usize,
}

/// A run that violated something.
#[derive(Clone, Debug)]
pub struct Failed {
    /// Its number.
    pub run: u64,
    /// Index of its subject.
    pub subject: usize,
    /// What it violated.
    pub violations: Vec<Violation>,
}

/// What a search has given so far.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Runs that have ended.
    pub runs: u64,
    /// What machines went through, in all runs together.
    pub coverage: Coverage,
    /// By pair that was reached: in how many runs.
    pub reached: BTreeMap<Pair, u64>,
    /// Runs that violated something, by their number.
    pub failed: BTreeMap<u64, Failed>,
}

/// The plan of a run.
pub fn plan_of(subjects: &[Subject], seed: u64, run: u64) -> Option<(usize, Plan)> {
    let count = subjects.len() as u64;
    let index = usize::try_from(run.checked_rem(count)?).ok()?;
    let subject = subjects.get(index)?;
    Some((index, schedule::draw(subject, Draw::of_run(seed, &subject.plan.name, run / count)).plan()))
}

/// Runs them all; `progress` is called after each.
pub fn run_many(subjects: &[Subject], options: Options, progress: &(dyn Fn(&Tally) + Sync)) -> Tally {
    let tally: Mutex<Tally> = Mutex::new(Tally::default());
    let next = AtomicU64::new(0);
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= options.runs {
                return;
            }
            let Some((subject, plan)) = plan_of(subjects, options.seed, number) else { return };
            let Some(outcome) = run::run(&plan) else { return };
            let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
            tally.runs += 1;
            for pair in Pair::all().filter(|pair| outcome.coverage.has(*pair)) {
                *tally.reached.entry(pair).or_default() += 1;
            }
            tally.coverage.merge(&outcome.coverage);
            if !outcome.violations.is_empty() {
                let violations = outcome.violations;
                tally.failed.insert(number, Failed { run: number, subject, violations });
            }
            progress(&tally);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..options.jobs.max(1) {
            scope.spawn(work);
        }
        work();
    });
    tally.into_inner().unwrap_or_else(PoisonError::into_inner)
}
