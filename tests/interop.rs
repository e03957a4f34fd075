//! router-core beside daemons of others in one network, each in every role: what reaches the hosts is judged, and tshark reads every message.
//!
//! The daemons have to be installed (`.ci/run` does it); a daemon that is not there fails its test, and says what to install.
//! As an ordinary user `make test` runs the first of these tests alone.

mod support;

use std::path::PathBuf;
use std::process::Command;

use support::shipped::{expect_green_and_well_formed, expect_types, shipped};

/// Fails with what to install, in the words of `testbed doctor`, where one of these daemons is not there.
fn need(daemons: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_testbed")).arg("doctor").output().expect("testbed doctor");
    let said = String::from_utf8_lossy(&output.stdout);
    for daemon in daemons {
        let mut lines = said.lines().skip_while(|line| line.split_whitespace().nth(1) != Some(daemon));
        let state = lines.next().unwrap_or_else(|| panic!("testbed doctor says nothing of {daemon}:\n{said}"));
        let more: Vec<&str> = lines.take_while(|line| line.starts_with(' ')).map(str::trim).collect();
        assert!(state.starts_with("good"), "{daemon} is not installed: {}", more.join("; "));
    }
}

fn named(names: &[&str]) -> Vec<PathBuf> {
    shipped(|name| names.contains(&name))
}

/// The scenarios of these take up to some 30 s.
const SHORT: [&str; 3] = ["interop-bsr", "interop-frr", "interop-lan"];
/// Those of these take a minute, and wait nearly all of it: for FRR's look at what it forwards, for pimd's ticks.
const LONG: [&str; 3] = ["interop-assert", "interop-pimd", "interop-pimd-bsr"];

#[test]
fn no_topology_with_foreign_daemons_is_left_out() {
    let tested = [&SHORT[..], &LONG].concat();
    let files = shipped(|name| name.starts_with("interop-") && !tested.contains(&name));
    assert!(files.is_empty(), "{files:?}");
}

/// The short one, which is run as an ordinary user too: first hop, last hop and rendezvous point for each other, the switch to the shortest path, and members that name their source.
#[test]
fn vendors_serve_each_other_in_one_network() {
    need(&["frr"]);
    let types = expect_green_and_well_formed(2, &named(&["mixed-vendors"]));
    // Hello, register, register-stop, join/prune.
    expect_types(&types, &["0", "1", "2", "3"]);
}

#[test]
fn frr_and_router_core_share_lans_and_bootstrap_messages() {
    need(&["frr"]);
    let types = expect_green_and_well_formed(2, &named(&SHORT));
    // And bootstrap, candidate RP advertisement.
    expect_types(&types, &["0", "1", "2", "3", "4", "8"]);
}

#[test]
fn frr_and_router_core_settle_who_forwards_and_pimd_serves_and_is_served() {
    need(&["frr", "pimd"]);
    let types = expect_green_and_well_formed(4, &named(&LONG));
    // And assert.
    expect_types(&types, &["0", "1", "2", "3", "4", "5", "8"]);
}
