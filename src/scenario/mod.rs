//! Steps and expectations, the runner, verdicts: generic over a [`Network`](crate::network::Network).
//!
//! [`run`] takes a scenario through its steps. Time exists only as [`Network::now`](crate::network::Network::now) and passes only
//! in [`Network::run_until`](crate::network::Network::run_until): the same network gives the same report.
//!
//! - A check that cannot be judged (the measuring side lost packets, the runner woke too late) is [`Verdict::Inconclusive`], not failed.
//! - No check passes when nothing arrived that should have arrived, or nothing was sent that could have arrived.
//! - A failed check names the first wrong hop ([`Finding`]).
#![forbid(unsafe_code)]

mod bounds;
mod check;
mod explain;
mod history;
mod invariants;
mod outcome;
mod records;
mod runner;
mod summary;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

pub use outcome::{
    Figure, Finding, InvariantReport, Moment, Place, ReceiverReport, ScenarioReport, StepReport, StreamReport, Value,
    Verdict,
};
pub use runner::{Options, run, time_limit};
