//! Networks that are broken on purpose: `testbed test` ends 1 and names each router and interface.

mod support;

use std::time::Duration;

use support::{Scratch, repository};

/// A scenario of a shipped topology that is broken, and what its report is to say.
struct Broken {
    /// What the broken topology is called.
    name: &'static str,
    /// Whether only a daemon that is built for it can be broken so: `make test` builds them.
    needs_sabotage: bool,
    topology: &'static str,
    scenario: &'static str,
    changes: &'static [(&'static str, &'static str)],
    said: &'static [&'static str],
}

const BROKEN: &[Broken] = &[
    Broken {
        name: "a-router-that-does-not-forward",
        needs_sabotage: false,
        topology: "topologies/first-light.yaml",
        scenario: "delivery",
        changes: &[(
            "r1: {kind: router, routes: [{group: 239.1.1.0/24, from: src, to: [r2]}]}",
            "r1: {kind: router, multicast: none}",
        )],
        said: &["r1 should forward (10.", "from eth0 to eth1", "`multicast: none`"],
    },
    Broken {
        name: "a-threshold-that-is-too-high",
        needs_sabotage: false,
        topology: "topologies/first-light.yaml",
        scenario: "delivery",
        changes: &[(
            "{nodes: [r2, h1, h2, bystander]}",
            "{nodes: [r2, h1, h2, bystander], ends: {r2: {ttl-threshold: 64}}}",
        )],
        said: &["r2 should forward (10.", "from eth0 to eth1", "its threshold is 64"],
    },
    Broken {
        name: "a-deaf-querier",
        needs_sabotage: true,
        topology: "topologies/first-light.yaml",
        scenario: "delivery",
        changes: &[("r2: {kind: router,", "r2: {kind: router, igmp: {deaf: true},")],
        said: &["r2 should forward (10.", "from eth0 to eth1", "no member on eth1"],
    },
    // A router on a LAN that lets another one's prune pass though it has a member: the member loses its packets.
    Broken {
        name: "a-router-that-never-overrides-a-prune",
        needs_sabotage: true,
        topology: "topologies/dense-prune-override.yaml",
        scenario: "override",
        changes: &[("  r3: {kind: router}\n", "  r3: {kind: router, pim: {sabotage: never-override}}\n")],
        said: &["h3 lost", "has eth1 pruned", "r3 sent 0 of 1 wanted pim-join into backbone"],
    },
    // A graft that is lost and never sent again.
    Broken {
        name: "a-router-that-sends-its-graft-once",
        needs_sabotage: true,
        topology: "topologies/dense-prune-graft.yaml",
        scenario: "lost-graft",
        changes: &[
            // A state refresh would tell it that it is pruned, and have it send a join.
            ("{multicast: pim-dm}", "{multicast: pim-dm, pim: {state-refresh: false}}"),
            ("  r3: {kind: router}\n", "  r3: {kind: router, pim: {sabotage: graft-once}}\n"),
        ],
        said: &["h1 received nothing", "r3 is ack-pending upstream", "r3 sent 0 of 1 wanted pim-graft into second"],
    },
    // Two routers that both believe that they have won: every packet comes twice, for ever.
    Broken {
        name: "routers-that-both-win-an-assert",
        needs_sabotage: true,
        topology: "topologies/dense-lan-assert.yaml",
        scenario: "one-forwarder",
        changes: &[("  r3: {kind: router}\n", "  r3: {kind: router, pim: {sabotage: assert-deaf}}\n")],
        said: &["h1 got", "r2.eth1 and r3.eth1 both send packet", "r3 should not forward (10.", "from eth0 to eth1"],
    },
    // Without the refreshes that r2 should pass on, the prune of its branch runs out.
    Broken {
        name: "a-router-that-relays-no-state-refresh",
        needs_sabotage: true,
        topology: "topologies/dense-state-refresh.yaml",
        scenario: "prunes-stay",
        changes: &[("  r2: {kind: router}\n", "  r2: {kind: router, pim: {sabotage: refresh-not-relayed}}\n")],
        said: &[
            "branch carries news",
            "r2 should not forward (10.",
            "from eth0 to eth2: nobody there asks for it",
            "r2 sent 0 of 3 wanted pim-state-refresh into branch",
        ],
    },
    // The same of a shared tree: its members' own router goes on beside the one that won, whoever hears both only passes them on.
    Broken {
        name: "routers-that-both-forward-on-a-shared-tree",
        needs_sabotage: true,
        topology: "topologies/sparse-lan-assert.yaml",
        scenario: "the-better-route-wins",
        changes: &[("  a1:  {kind: router}\n", "  a1:  {kind: router, pim: {sabotage: assert-deaf}}\n")],
        said: &["h1 got", "a1.eth1 and a2.eth1 both send packet", "far carries news"],
    },
    // A router on a LAN that lets another one's prune pass though it has a member: joins of sparse mode are to override it.
    Broken {
        name: "a-router-that-never-overrides-a-prune-of-sparse-mode",
        needs_sabotage: true,
        topology: "topologies/sparse-prune-override.yaml",
        scenario: "override",
        changes: &[("  rb:  {kind: router}\n", "  rb:  {kind: router, pim: {sabotage: never-override}}\n")],
        said: &["h2 received nothing: rp should forward (10.", "from eth0 to eth1", "wanted pim-join into core"],
    },
    // FRR beside it takes a (*,G) join without the RPT bit for none: what meets at FRR does not come.
    Broken {
        name: "a-router-whose-joins-lack-the-rpt-bit-beside-frr",
        needs_sabotage: true,
        topology: "topologies/mixed-vendors.yaml",
        scenario: "members-behind-router-core",
        changes: &[("  core: {kind: router}\n", "  core: {kind: router, pim: {sabotage: rpt-bit-missing}}\n")],
        said: &[
            "hc received nothing",
            "frr should forward (10.",
            "core sent 0 of 1 wanted pim-prune-rpt into far-core",
        ],
    },
    // FRR beside it believes the hold time, and ends the tree before the next join comes.
    Broken {
        name: "a-router-whose-joins-run-out-beside-frr",
        needs_sabotage: true,
        topology: "topologies/mixed-vendors.yaml",
        scenario: "members-behind-router-core",
        changes: &[("  core: {kind: router}\n", "  core: {kind: router, pim: {sabotage: join-hold-short}}\n")],
        said: &["hc lost", "frr should forward (10.", "core is joined upstream for (0.0.0.0, 239.2.1.1)"],
    },
    // smcroute's own client adds an outgoing interface to a route: data on a wire that nobody asked for.
    Broken {
        name: "a-wrong-route-planted-by-a-command",
        needs_sabotage: false,
        topology: "topologies/static-smcroute.yaml",
        scenario: "delivery",
        changes: &[
            ("  h2: {kind: host}\n", "  h2: {kind: host}\n  h3: {kind: host}\n"),
            ("  right: {nodes: [r2, h2]}\n", "  right: {nodes: [r2, h2]}\n  side: {nodes: [r2, h3]}\n"),
            (
                "      - expect: {delivered: news}\n",
                "      - expect: {delivered: news}\n      - run: {node: r2, command: [/usr/sbin/smcroutectl, -u, /run/testbed/lab/nodes/r2/smcroute.sock, \
                 add, eth0, 10.64.0.0, 239.1.1.1, eth1, eth2, eth3]}\n      - expect: {delivered: news}\n",
            ),
        ],
        said: &["no-stray-data", "r2 should not forward (10.", "from eth0 to eth3"],
    },
    // The bridge stops snooping behind the test's back: data at the port of a host that asked for nothing.
    Broken {
        name: "a-snooping-bridge-that-floods",
        needs_sabotage: false,
        topology: "topologies/igmp-snooping.yaml",
        scenario: "members' ports only",
        changes: &[(
            "    steps:\n",
            "    steps:\n      - run: {lan: campus, command: [ip, link, set, br0, type, bridge, mcast_snooping, \"0\"]}\n",
        )],
        said: &["no-stray-data", "the bridge of campus should not pass (10.", "to the port of bystander.eth0"],
    },
];

/// Side by side, for they mostly wait.
#[test]
fn what_is_broken_is_named() {
    let scratch = Scratch::new();
    let broken: Vec<&Broken> =
        BROKEN.iter().filter(|broken| cfg!(feature = "sabotage") || !broken.needs_sabotage).collect();
    let mut arguments: Vec<String> =
        ["test", "--json", "--jobs", "16", "--filter", "/broken"].map(String::from).to_vec();
    for Broken { name, topology, scenario, changes, .. } in &broken {
        let mut text = std::fs::read_to_string(repository(topology)).expect("the shipped topology");
        let lab = topology.trim_start_matches("topologies/").trim_end_matches(".yaml");
        let names = [
            (format!("name: {lab}\n"), format!("name: {name}\n")),
            (format!("- name: {scenario}\n"), "- name: broken\n".to_owned()),
        ];
        let changes = changes.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned()));
        for (from, to) in names.into_iter().chain(changes) {
            assert!(text.contains(&from), "{topology} does not contain {from:?} any more");
            text = text.replacen(&from, &to, 1);
        }
        arguments.push(scratch.write(&format!("{name}.yaml"), &text).display().to_string());
    }
    let finished = scratch.run(arguments, Duration::from_secs(280)).expect_code(1);
    let report: serde_json::Value = serde_json::from_str(&finished.stdout).expect("JSON");
    let scenarios = report["scenarios"].as_array().expect("scenarios");
    let mut missing = Vec::new();
    for Broken { name, said, .. } in &broken {
        let Some(of) = scenarios.iter().find(|of| of["lab"] == *name) else {
            missing.push(format!("{name} has no report"));
            continue;
        };
        let text = serde_json::to_string_pretty(of).expect("JSON");
        let unsaid: Vec<_> = said.iter().filter(|said| !text.contains(**said)).collect();
        if of["verdict"] != "failed" || !unsaid.is_empty() {
            missing.push(format!("{name} does not fail with {unsaid:?}: {text}"));
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}
