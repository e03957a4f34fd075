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

/// A router on a LAN that lets another one's prune pass though it has a member: the member loses its packets.
#[cfg(feature = "sabotage")]
#[test]
fn a_router_that_never_overrides_a_prune_is_named() {
    expect_red(
        "topologies/dense-prune-override.yaml",
        None,
        &[("  r3: {kind: router}\n", "  r3: {kind: router, pim: {sabotage: never-override}}\n")],
        &["h3 lost", "has eth1 pruned", "r3 sent 0 of 1 wanted pim-join into backbone"],
    );
}

/// A graft that is lost and never sent again.
#[cfg(feature = "sabotage")]
#[test]
fn a_router_that_sends_its_graft_once_is_named() {
    expect_red(
        "topologies/dense-prune-graft.yaml",
        Some("lost-graft"),
        &[
            // A state refresh would tell it that it is pruned, and have it send a join.
            ("{multicast: pim-dm}", "{multicast: pim-dm, pim: {state-refresh: false}}"),
            ("  r3: {kind: router}\n", "  r3: {kind: router, pim: {sabotage: graft-once}}\n"),
        ],
        &["h1 received nothing", "r3 is ack-pending upstream", "r3 sent 0 of 1 wanted pim-graft into second"],
    );
}

/// Two routers that both believe that they have won: every packet comes twice, for ever.
#[cfg(feature = "sabotage")]
#[test]
fn routers_that_both_win_an_assert_are_named() {
    expect_red(
        "topologies/dense-lan-assert.yaml",
        Some("one-forwarder"),
        &[("  r3: {kind: router}\n", "  r3: {kind: router, pim: {sabotage: assert-deaf}}\n")],
        &["h1 got", "r2.eth1 and r3.eth1 both send packet", "r3 should not forward (10.", "from eth0 to eth1"],
    );
}

/// Without the refreshes that r2 should pass on, the prune of its branch runs out.
#[cfg(feature = "sabotage")]
#[test]
fn a_router_that_relays_no_state_refresh_is_named() {
    expect_red(
        "topologies/dense-state-refresh.yaml",
        Some("prunes-stay"),
        &[("  r2: {kind: router}\n", "  r2: {kind: router, pim: {sabotage: refresh-not-relayed}}\n")],
        &[
            "branch carries news",
            "r2 should not forward (10.",
            "from eth0 to eth2: nobody there asks for it",
            "r2 sent 0 of 3 wanted pim-state-refresh into branch",
        ],
    );
}

/// The same of a shared tree: its members' own router goes on beside the one that won, whoever hears both only passes them on.
#[cfg(feature = "sabotage")]
#[test]
fn routers_that_both_forward_on_a_shared_tree_are_named() {
    expect_red(
        "topologies/sparse-lan-assert.yaml",
        Some("the-better-route-wins"),
        &[("  a1:  {kind: router}\n", "  a1:  {kind: router, pim: {sabotage: assert-deaf}}\n")],
        &["h1 got", "a1.eth1 and a2.eth1 both send packet", "far carries news"],
    );
}

/// A router on a LAN that lets another one's prune pass though it has a member: joins of sparse mode are to override it.
#[cfg(feature = "sabotage")]
#[test]
fn a_router_that_never_overrides_a_prune_of_sparse_mode_is_named() {
    expect_red(
        "topologies/sparse-prune-override.yaml",
        None,
        &[("  rb:  {kind: router}\n", "  rb:  {kind: router, pim: {sabotage: never-override}}\n")],
        &["h2 received nothing: rp should forward (10.", "from eth0 to eth1", "wanted pim-join into core"],
    );
}

/// FRR beside it takes a (*,G) join without the RPT bit for none: what meets at FRR does not come.
#[cfg(feature = "sabotage")]
#[test]
fn a_router_whose_joins_lack_the_rpt_bit_is_named_beside_frr() {
    expect_red(
        "topologies/mixed-vendors.yaml",
        Some("members-behind-router-core"),
        &[("  core: {kind: router}\n", "  core: {kind: router, pim: {sabotage: rpt-bit-missing}}\n")],
        &["hc received nothing", "frr should forward (10.", "core sent 0 of 1 wanted pim-prune-rpt into far-core"],
    );
}

/// FRR beside it believes the hold time, and ends the tree before the next join comes.
#[cfg(feature = "sabotage")]
#[test]
fn a_router_whose_joins_run_out_is_named_beside_frr() {
    expect_red(
        "topologies/mixed-vendors.yaml",
        Some("members-behind-router-core"),
        &[("  core: {kind: router}\n", "  core: {kind: router, pim: {sabotage: join-hold-short}}\n")],
        &["hc lost", "frr should forward (10.", "core is joined upstream for (0.0.0.0, 239.2.1.1)"],
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
