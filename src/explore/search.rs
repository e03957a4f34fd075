//! Many runs, on several threads; what they give is the same whatever the number of threads.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use router_core::coverage::{Coverage, Pair};

use super::Subject;
use super::certainty::Judgements;
use super::draw::Draw;
use super::run::{self, Violation};
use super::schedule::{self, Schedule};

/// How many runs, of which seed, on how many threads.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Runs of all subjects together: they take turns.
    pub runs: u64,
    /// Seed of the search.
    pub seed: u64,
    /// Threads.
    pub jobs: usize,
    /// The search ends after so many runs that violated something.
    pub failures: usize,
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

/// What a search has given so far: of all runs up to a number, in their order.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// How many runs.
    pub runs: u64,
    /// What machines went through, in all runs together.
    pub coverage: Coverage,
    /// By pair that was reached: in how many runs.
    pub reached: BTreeMap<Pair, u64>,
    /// How sure the oracle was of what was checked, in all runs together.
    pub judgements: Judgements,
    /// Runs that violated something.
    pub failed: Vec<Failed>,
}

/// What one run gave.
struct Single {
    subject: usize,
    coverage: Coverage,
    judgements: Judgements,
    violations: Vec<Violation>,
}

/// A tally, and runs that ended before one of a lower number did.
#[derive(Default)]
struct Merging {
    tally: Tally,
    early: BTreeMap<u64, Single>,
}

/// What a run does, and the index of its subject.
pub fn schedule_of(subjects: &[Subject], seed: u64, run: u64) -> Option<(usize, Schedule)> {
    let count = subjects.len() as u64;
    let index = usize::try_from(run.checked_rem(count)?).ok()?;
    let subject = subjects.get(index)?;
    Some((index, schedule::draw(subject, Draw::of_run(seed, &subject.plan.name, run / count))))
}

fn single(subjects: &[Subject], seed: u64, number: u64) -> Option<Single> {
    let (subject, schedule) = schedule_of(subjects, seed, number)?;
    let (plan, judgements) = schedule.rendered();
    let outcome = run::run(&plan)?;
    Some(Single { subject, coverage: outcome.coverage, judgements, violations: outcome.violations })
}

impl Merging {
    /// Takes a run in; gives whether the search is over.
    fn add(&mut self, number: u64, single: Single, failures: usize) -> bool {
        self.early.insert(number, single);
        while self.tally.failed.len() < failures
            && let Some(Single { subject, coverage, judgements, violations }) = self.early.remove(&self.tally.runs)
        {
            let tally = &mut self.tally;
            for pair in Pair::all().filter(|pair| coverage.has(*pair)) {
                *tally.reached.entry(pair).or_default() += 1;
            }
            tally.coverage.merge(&coverage);
            tally.judgements.merge(&judgements);
            if !violations.is_empty() {
                tally.failed.push(Failed { run: tally.runs, subject, violations });
            }
            tally.runs += 1;
        }
        self.tally.failed.len() >= failures
    }
}

/// Runs them all; `progress` is called now and then.
pub fn run_many(subjects: &[Subject], options: Options, progress: &(dyn Fn(&Tally) + Sync)) -> Tally {
    let merging: Mutex<Merging> = Mutex::default();
    let next = AtomicU64::new(0);
    let is_over = AtomicBool::new(false);
    let work = || {
        while !is_over.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= options.runs {
                return;
            }
            let Some(single) = single(subjects, options.seed, number) else { return };
            let mut merging = merging.lock().unwrap_or_else(PoisonError::into_inner);
            if merging.add(number, single, options.failures.max(1)) {
                is_over.store(true, Ordering::Relaxed);
            }
            progress(&merging.tally);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..options.jobs.max(1) {
            scope.spawn(work);
        }
        work();
    });
    merging.into_inner().unwrap_or_else(PoisonError::into_inner).tally
}
