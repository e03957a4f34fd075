//! router-core beside daemons of others in one network, each in every role: what reaches the hosts is judged, and tshark reads every message.
//!
//! The daemons have to be installed (`.ci/run` does it); a daemon that is not there fails its test, and says what to install.
//! As an ordinary user `make test` runs the first of these tests alone.

mod support;

use std::process::Command;

use support::shipped::{Played, expect_types, shipped};

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

/// The short one, which is run as an ordinary user too: first hop, last hop and rendezvous point for each other, the switch to the shortest path, and members that name their source.
#[test]
fn vendors_serve_each_other_in_one_network() {
    need(&["frr"]);
    let files = shipped(|name| name == "mixed-vendors");
    // Hello, register, register-stop, join/prune.
    expect_types(&Played::expect_green(3, &files).expect_well_formed(&files), &["0", "1", "2", "3"]);
}

/// Side by side, for they wait nearly all of the time: for FRR's look at what it forwards, for pimd's ticks, for hold times to run out.
#[test]
fn vendors_take_every_role_beside_each_other() {
    need(&["frr", "pimd"]);
    let files = shipped(|name| name.starts_with("interop-"));
    // And bootstrap, assert, candidate RP advertisement.
    expect_types(&Played::expect_green(16, &files).expect_well_formed(&files), &["0", "1", "2", "3", "4", "5", "8"]);
}
