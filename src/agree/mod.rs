//! `testbed agree`: the same scenario on the kernel and in the simulator, and where the two differ. A difference is a defect of one of them.
//!
//! Compared are verdicts, who received what stream and with which TTLs, kernel forwarding entries after all has settled, elected queriers,
//! members and PIM neighbours, the kinds of protocol messages on each wire, and the order of those that the protocol puts in order. Unicast
//! paths that tie are chosen by one rule in both (`routes::spf`), so that trees are compared whole. Times are not compared, and what is a matter
//! of times that no protocol fixes may be as in any of several runs of the simulator, each with a seed of its own.
#![forbid(unsafe_code)]

mod compare;
mod picture;

pub use compare::{Difference, Run, differences, that_last};
pub use picture::{Entry, Picture, SETTLE};
