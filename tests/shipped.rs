//! Every shipped topology passes, in labs on the real kernel: what a user runs first. What is on the wires meanwhile, tshark reads too.
//! Those with daemons of others are in `interop.rs`.

mod support;

use std::path::PathBuf;

use support::Scratch;
use support::shipped::{expect_green, expect_green_and_well_formed, expect_types, shipped};

/// How the topologies are parted among the tests, by the beginning of their names; the rest is the first test's.
const DENSE: &str = "dense-";
const GRID: &str = "grid-";
const SPARSE: &str = "sparse-";
const FOREIGN: [&str; 2] = ["interop-", "mixed-vendors"];

#[test]
fn static_and_igmp_topologies_pass() {
    let others = [DENSE, GRID, SPARSE].into_iter().chain(FOREIGN);
    let files = shipped(|name| !others.clone().any(|other| name.starts_with(other)));
    expect_green(&Scratch::new(), 8, &files, None);
}

/// Every type of RFC 3973 occurs: hello, join/prune, assert, graft, graft-ack, state refresh.
#[test]
fn dense_mode_topologies_pass_and_their_messages_are_well_formed() {
    // A thousand groups want their share of the machine.
    expect_well_formed(4, DENSE, &[], &["0", "3", "5", "6", "7", "9"]);
}

/// Every type that sparse mode and bootstrap routers use: hello, register, register-stop, join/prune, bootstrap, assert, candidate RP
/// advertisement. The grid, of dense mode, is here for its long scenario, beside which the others cost no time of their own.
#[test]
fn grids_and_sparse_mode_topologies_pass_and_their_messages_are_well_formed() {
    expect_well_formed(8, SPARSE, &shipped(|name| name.starts_with(GRID)), &["0", "1", "2", "3", "4", "5", "8"]);
}

fn expect_well_formed(jobs: u32, prefix: &str, others: &[PathBuf], expected: &[&str]) {
    let types = expect_green_and_well_formed(jobs, &shipped(|name| name.starts_with(prefix)), others);
    expect_types(&types, expected);
}
