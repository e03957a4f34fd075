//! Every shipped topology passes, in labs on the real kernel: what a user runs first. What is on the wires meanwhile, tshark reads too.
//! Those with daemons of others are in `interop.rs`.

mod support;

use support::Scratch;
use support::shipped::{Played, expect_green, expect_types, shipped};

/// How the topologies are parted among the tests, by the beginning of their names; the rest is the first test's.
const DENSE: &str = "dense-";
const GRID: &str = "grid-";
const SPARSE: &str = "sparse-";
const FOREIGN: [&str; 2] = ["interop-", "mixed-vendors"];
/// Wants a processor to itself.
const HEAVY: &str = "dense-many-groups";
/// Labs side by side: they mostly wait for their routers' timers.
const LABS: u32 = 16;

#[test]
fn static_and_igmp_topologies_pass() {
    let others = [DENSE, GRID, SPARSE].into_iter().chain(FOREIGN);
    let files = shipped(|name| !others.clone().any(|other| name.starts_with(other)));
    expect_green(&Scratch::new(), LABS, &files, None);
}

#[test]
fn topologies_of_pim_pass_and_their_messages_are_well_formed() {
    let of = |prefix: &'static str| shipped(|name| name.starts_with(prefix) && name != HEAVY);
    let played = Played::expect_green(LABS, &[of(DENSE), of(GRID), of(SPARSE)].concat());
    // Every type of RFC 3973: hello, join/prune, assert, graft, graft-ack, state refresh.
    expect_types(&played.expect_well_formed(&of(DENSE)), &["0", "3", "5", "6", "7", "9"]);
    // Every type that sparse mode and bootstrap routers use: hello, register, register-stop, join/prune, bootstrap, assert, candidate RP
    // advertisement.
    expect_types(&played.expect_well_formed(&of(SPARSE)), &["0", "1", "2", "3", "4", "5", "8"]);
}

#[test]
fn a_thousand_groups_pass_and_their_messages_are_well_formed() {
    let files = shipped(|name| name == HEAVY);
    expect_types(&Played::expect_green(1, &files).expect_well_formed(&files), &["0", "3", "6", "7", "9"]);
}
