//! Networks that are broken on purpose: each time `testbed test` ends 1 and names the router and the interface.

mod support;

use std::time::Duration;

use support::{Scratch, repository};

/// Runs a sabotaged copy of a shipped topology and expects a red verdict that says all of `said`.
#[track_caller]
fn expect_red(topology: &str, filter: Option<&str>, changes: &[(&str, &str)], said: &[&str]) {
    let scratch = Scratch::new();
    let mut text = std::fs::read_to_string(repository(topology)).expect("the shipped topology");
    for (from, to) in changes {
        assert!(text.contains(from), "{topology} does not contain {from:?} any more");
        text = text.replacen(from, to, 1);
    }
    let file = scratch.write("sabotaged.yaml", &text);
    let mut arguments = vec!["test".to_owned(), file.display().to_string()];
    if let Some(filter) = filter {
        arguments.extend(["--filter".to_owned(), filter.to_owned()]);
    }
    let mut finished = scratch.run(arguments, Duration::from_secs(120)).expect_code(1);
    for text in said {
        finished = finished.expect_said(text);
    }
}

#[test]
fn a_router_that_does_not_forward_is_named() {
    expect_red(
        "topologies/first-light.yaml",
        Some("delivery"),
        &[(
            "r1: {kind: router, routes: [{group: 239.1.1.0/24, from: src, to: [r2]}]}",
            "r1: {kind: router, multicast: none}",
        )],
        &["r1 should forward (10.", "from eth0 to eth1", "`multicast: none`"],
    );
}

#[test]
fn a_threshold_that_is_too_high_is_named() {
    expect_red(
        "topologies/first-light.yaml",
        Some("delivery"),
        &[("{nodes: [r2, h1, h2, bystander]}", "{nodes: [r2, h1, h2, bystander], ends: {r2: {ttl-threshold: 64}}}")],
        &["r2 should forward (10.", "from eth0 to eth1", "its threshold is 64"],
    );
}

/// Only a daemon that is built for it can be deaf: `make test` does.
#[cfg(feature = "sabotage")]
#[test]
fn a_deaf_querier_is_named() {
    expect_red(
        "topologies/first-light.yaml",
        Some("delivery"),
        &[("r2: {kind: router,", "r2: {kind: router, igmp: {deaf: true},")],
        &["r2 should forward (10.", "from eth0 to eth1", "no member on eth1"],
    );
}

/// smcroute's own client adds an outgoing interface to a route: data on a wire that nobody asked for.
#[test]
fn a_wrong_route_planted_by_a_command_is_named() {
    expect_red(
        "topologies/static-smcroute.yaml",
        Some("delivery"),
        &[
            ("  h2: {kind: host}\n", "  h2: {kind: host}\n  h3: {kind: host}\n"),
            ("  right: {nodes: [r2, h2]}\n", "  right: {nodes: [r2, h2]}\n  side: {nodes: [r2, h3]}\n"),
            (
                "      - expect: {delivered: news}\n",
                "      - expect: {delivered: news}\n      - run: {node: r2, command: [/usr/sbin/smcroutectl, -u, /run/testbed/lab/nodes/r2/smcroute.sock, \
                 add, eth0, 10.64.0.0, 239.1.1.1, eth1, eth2, eth3]}\n      - expect: {delivered: news}\n",
            ),
        ],
        &["no-stray-data", "r2 should not forward (10.", "from eth0 to eth3"],
    );
}

/// The bridge stops snooping behind the test's back: data at the port of a host that asked for nothing.
#[test]
fn a_snooping_bridge_that_floods_is_named() {
    expect_red(
        "topologies/igmp-snooping.yaml",
        None,
        &[(
            "    steps:\n",
            "    steps:\n      - run: {lan: campus, command: [ip, link, set, br0, type, bridge, mcast_snooping, \"0\"]}\n",
        )],
        &["no-stray-data", "the bridge of campus should not pass (10.", "to the port of bystander.eth0"],
    );
}
