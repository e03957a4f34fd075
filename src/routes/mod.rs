//! Unicast routes: shortest paths, and the agent that keeps them while links come and go.
//!
//! [`spf`] is pure: plan and usable interfaces in, tables out. [`agent`] is the process that puts the tables into the
//! nodes' kernels and follows their interfaces; [`kernel`] is what it says to one of them. [`log`] is what it tells.
#![forbid(unsafe_code)]

pub mod agent;
pub mod kernel;
pub mod log;
pub mod spf;

#[cfg(test)]
pub(crate) mod fixture;
