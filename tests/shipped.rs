//! Every shipped topology passes, in labs on the real kernel: what a user runs first. What is on the wires meanwhile, tshark reads too.
//! Those with daemons of others are in `interop.rs`.

mod support;

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
    expect_green(&Scratch::new(), 4, &files, None);
}

#[test]
fn grids_pass() {
    expect_green(&Scratch::new(), 4, &shipped(|name| name.starts_with(GRID)), None);
}

/// Every type of RFC 3973 occurs: hello, join/prune, assert, graft, graft-ack, state refresh.
#[test]
fn dense_mode_topologies_pass_and_their_messages_are_well_formed() {
    expect_well_formed(DENSE, &["0", "3", "5", "6", "7", "9"]);
}

/// Every type that sparse mode and bootstrap routers use: hello, register, register-stop, join/prune, bootstrap, assert, candidate RP
/// advertisement.
#[test]
fn sparse_mode_topologies_pass_and_their_messages_are_well_formed() {
    expect_well_formed(SPARSE, &["0", "1", "2", "3", "4", "5", "8"]);
}

fn expect_well_formed(prefix: &str, expected: &[&str]) {
    let types = expect_green_and_well_formed(4, &shipped(|name| name.starts_with(prefix)));
    expect_types(&types, expected);
}
