//! `testbed explore`: thousands of random schedules in virtual time, judged by the oracle.
//!
//! | file | what |
//! |---|---|
//! | `subject.rs` | what a topology offers: who may send and join, what may break |
//! | `draw.rs` | the generator; `settings.rs`: timers and versions of a run; `schedule.rs`: its scenario; `rest.rs`: times of rest |
//! | `run.rs` | one run and its violations; `search.rs`: many of them, on several threads; `coverage.rs`, `certainty.rs`: what they reached |
//!
//! A run is a plan and a scenario in the language of files, drawn from the search's seed and the run's number: what it gives depends on
//! nothing else.
#![forbid(unsafe_code)]

pub mod certainty;
pub mod coverage;
pub mod draw;
mod flow;
pub mod prune;
pub mod render;
mod rest;
pub mod run;
pub mod schedule;
pub mod search;
mod settings;
pub mod shrink;
mod subject;
pub mod write;

pub use subject::Subject;
