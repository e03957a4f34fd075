//! What is refused, in the words that users see.

use super::*;

fn complaints(text: &str) -> Vec<String> {
    match Config::from_yaml(text) {
        Ok(_) => Vec::new(),
        Err(LoadError::Invalid(errors)) => errors.0.iter().map(ToString::to_string).collect(),
        Err(LoadError::Yaml(error)) => vec![error.to_string()],
    }
}

#[track_caller]
fn refused(text: &str, complaint: &str) {
    assert_eq!(complaints(text), [complaint]);
}

#[test]
fn a_whole_configuration_passes() {
    let text = "
name: r1
seed: 7
multicast: static
igmp: {version: 3, robustness: 2, query-interval: 60s, query-response-interval: 5, fast-leave: false}
interfaces:
  - {name: eth0, ttl-threshold: 254, boundary: [239.255.0.0/16, 'ff05::/16']}
  - name: eth1
    igmp:
      version: 2
      static-joins: [{group: 239.1.1.1}, {group: 232.1.1.1, source: 10.0.0.1}]
      allowed-groups: [224.0.0.0/4]
routes:
  - {group: 239.0.0.0/8, source: 10.0.0.0/8, incoming: eth0, outgoing: [eth1]}
limits: {groups-per-interface: 10}
";
    assert_eq!(complaints(text), Vec::<String>::new());
    assert_eq!(Config::from_yaml(text).unwrap().limits.sources_per_group, 256);
}

#[test]
fn what_serialises_reads_back() {
    let text =
        "{name: r1, multicast: proxy, upstream: eth0, interfaces: [{name: eth0}, {name: eth1, igmp: {version: 1}}]}";
    let config = Config::from_yaml(text).unwrap();
    assert_eq!(Config::from_yaml(&serde_json::to_string(&config).unwrap()).unwrap(), config);
}

#[test]
fn faults_are_named_with_what_would_be_right() {
    refused("interfaces: [{name: a/b}]", "\"a/b\" is no interface name: 1 to 15 octets without '/', ':' and spaces");
    refused("interfaces: [{name: eth0}, {name: eth0}]", "interface eth0 is listed twice");
    refused(
        "interfaces: [{name: eth0, ttl-threshold: 255}]",
        "ttl-threshold 255 on eth0 would let nothing through: it is 0 to 254",
    );
    refused(
        "interfaces: [{name: eth0, boundary: [10.0.0.0/8]}]",
        "10.0.0.0/8 in boundary of eth0 is no prefix of multicast groups",
    );
    refused("igmp: {version: 4}", "version 4 in the router is out of range: 1 to 3");
    refused("igmp: {robustness: 0}", "robustness 0 in the router is out of range: 1 to 7");
    refused("igmp: {last-member-query-count: 0}", "last-member-query-count 0 in the router is out of range: 1 to 255");
    refused(
        "interfaces: [{name: eth0, igmp: {version: 2, query-response-interval: 26s}}]",
        "query-response-interval 26s in eth0 is out of range: 1ms to 25s 500ms in version 2",
    );
    refused(
        "igmp: {query-interval: 0}",
        "query-interval 0s in the router is out of range: 1ms to 8h 49m 4s in version 3",
    );
    refused(
        "igmp: {static-joins: [{group: 224.0.0.5}]}",
        "224.0.0.5 in static-joins of the router is no IPv4 group that is forwarded (224.0.1.0 to 239.255.255.255)",
    );
    refused(
        "igmp: {static-joins: [{group: 232.0.0.5, source: 232.0.0.1}]}",
        "232.0.0.1 in static-joins of the router is no IPv4 source address",
    );
    refused(
        "igmp: {allowed-groups: [0.0.0.0/0]}",
        "0.0.0.0/0 in allowed-groups of the router is no prefix of multicast groups",
    );
    refused(
        "{interfaces: [{name: eth0}], routes: [{group: 239.0.0.0/8, incoming: eth0, outgoing: [eth9]}]}",
        "route for 239.0.0.0/8 names interface \"eth9\", which is not among the interfaces (eth0)",
    );
    refused(
        "{interfaces: [{name: eth0}], routes: [{group: 239.0.0.0/8, incoming: eth0, outgoing: [eth0]}]}",
        "route for 239.0.0.0/8: eth0 is both incoming and outgoing",
    );
    refused(
        "{interfaces: [{name: a}, {name: b}], routes: [{group: 239.0.0.0/8, incoming: a, outgoing: [b, b]}]}",
        "route for 239.0.0.0/8: b is outgoing twice",
    );
    refused(
        "{interfaces: [{name: a}], routes: [{group: 239.0.0.0/8, source: '2001:db8::/32', incoming: a}]}",
        "route for 239.0.0.0/8: its source 2001:db8::/32 is of another address family",
    );
    refused("multicast: proxy", "multicast: proxy needs upstream: the interface that leads to the sources");
    refused(
        "{multicast: proxy, upstream: eth0}",
        "upstream names interface \"eth0\", which is not among the interfaces (there are none)",
    );
    refused("{upstream: a, interfaces: [{name: a}]}", "upstream a is for multicast: proxy only");
    refused(
        "{multicast: proxy, upstream: a, interfaces: [{name: a, igmp: {robustness: 3}}]}",
        "igmp of a: a proxy is a host on its upstream interface, where static-joins and querier settings have no effect",
    );
    refused(
        "{multicast: proxy, upstream: a, interfaces: [{name: a}], routes: [{group: 239.0.0.0/8, incoming: a}]}",
        "static routes are for multicast: static; a proxy forwards by membership alone",
    );
}

#[test]
fn faults_of_sparse_mode_are_named_with_what_would_be_right() {
    let pim = |keys: &str| format!("{{multicast: pim-sm, pim: {{{keys}}}, interfaces: [{{name: eth0}}]}}");
    for (keys, complaint) in [
        ("join-prune-period: 6h", "join-prune-period 6h in the router is out of range: 1ms to 5h 12m 4s"),
        ("keepalive-period: 0", "keepalive-period 0s in the router is out of range: 1ms to 18h 12m 14s"),
        (
            "spt-switchover: {kbit: 0}",
            "spt-switchover kbit: 0 in the router is out of range: at least kbit: 1; with the first packet is called immediate",
        ),
        (
            "register-suppression-time: 10s",
            "register-probe-time 5s must be less than half of register-suppression-time 10s",
        ),
        ("ssm-range: [10.0.0.0/8]", "10.0.0.0/8 in ssm-range of the router is no prefix of multicast groups"),
        ("dense-groups: ['ff05::/16']", "ff05::/16 in dense-groups of the router: PIM is spoken over IPv4 only"),
        ("rp: [{address: 224.0.0.5}]", "224.0.0.5 in rp of the router is no IPv4 unicast address"),
        ("rp: [{address: 'fd00::1'}]", "fd00::1 in rp of the router is no IPv4 unicast address"),
        (
            "rp: [{address: 10.0.0.1, groups: 10.0.0.0/8}]",
            "10.0.0.0/8 in rp of the router is no prefix of multicast groups",
        ),
        (
            "candidate-rp: {address: 0.0.0.0}",
            "address 0.0.0.0 of candidate-rp is no IPv4 address that a router can have",
        ),
        (
            "candidate-rp: {address: 10.0.0.1, groups: []}",
            "groups of candidate-rp 0 in the router is out of range: 1 to 255 prefixes",
        ),
        (
            "candidate-rp: {address: 10.0.0.1, interval: 8h}",
            "interval of candidate-rp 8h in the router is out of range: 1ms to 7h 16m 53s",
        ),
        (
            "candidate-bsr: {address: 10.0.0.1, hash-mask-length: 33}",
            "hash-mask-length of candidate-bsr 33 in the router is out of range: 0 to 32",
        ),
        (
            "candidate-bsr: {address: 10.0.0.1, zones: [1.0.0.0/8]}",
            "1.0.0.0/8 in candidate-bsr is no prefix of multicast groups",
        ),
        (
            "candidate-bsr: {address: 10.0.0.1, allowed-rps: ['fd00::/8']}",
            "fd00::/8 in candidate-bsr of the router: PIM is spoken over IPv4 only",
        ),
        (
            "ssm-mapping: [{groups: 239.0.0.0/8, sources: [10.0.0.1]}]",
            "ssm-mapping of the router: 239.0.0.0/8 is not within ssm-range, so that no member of it would be mapped",
        ),
        ("ssm-mapping: [{groups: 232.1.0.0/16, sources: []}]", "sources of ssm-mapping in pim of the router is empty"),
        (
            "ssm-mapping: [{groups: 232.1.0.0/16, sources: [232.0.0.1]}]",
            "232.0.0.1 in ssm-mapping of the router is no IPv4 unicast address",
        ),
        (
            "graft-retries: 3",
            "graft-retries in pim of the router has no effect without dense-groups, or multicast: pim-dm",
        ),
    ] {
        refused(&pim(keys), complaint);
    }
    refused(
        "{multicast: pim-dm, pim: {dr-priority: 7}}",
        "dr-priority in pim of the router has no effect without multicast: pim-sm",
    );
    refused(
        "{multicast: pim-sm, interfaces: [{name: a, pim: {rp: [{address: 10.0.0.1}]}}]}",
        "rp in pim of a holds for the whole router: set it there",
    );
    refused("{multicast: static, pim: {dr-priority: 7}}", "pim of the router is for multicast: pim-dm and pim-sm only");
}

#[test]
fn a_whole_configuration_of_sparse_mode_passes() {
    let text = "
multicast: pim-sm
pim:
  join-prune-period: 30s
  spt-switchover: {kbit: 64}
  ssm-range: [232.0.0.0/8, 239.232.0.0/16]
  dense-groups: [239.3.0.0/16]
  graft-retries: 3
  rp: [{address: 10.0.0.1}, {address: 10.0.0.2, groups: 239.1.0.0/16, override: true}]
  candidate-rp: {address: 10.0.0.1, groups: [239.0.0.0/8], priority: 0, interval: 30s}
  candidate-bsr: {address: 10.0.0.1, priority: 255, hash-mask-length: 0, zones: [239.255.0.0/16]}
interfaces:
  - {name: eth0, pim: {dr-priority: 4294967295, bsr-border: true}}
  - {name: eth1, pim: {ssm-mapping: [{groups: 239.232.1.0/24, sources: [10.0.0.9, 10.0.0.10]}]}}
";
    assert_eq!(complaints(text), Vec::<String>::new());
}

#[test]
fn the_register_interface_takes_a_place_in_the_table() {
    let interfaces =
        |count| (0..count).map(|n| Interface { name: format!("eth{n}"), ..Interface::default() }).collect();
    let config = |multicast, count| Config { multicast, interfaces: interfaces(count), ..Config::default() };
    assert_eq!(config(Multicast::PimSm, 31).check(), Ok(()));
    assert_eq!(config(Multicast::PimDm, 32).check(), Ok(()));
    let full = config(Multicast::PimSm, 32).check();
    assert_eq!(full, Err(ConfigErrors(vec![ConfigError::NoRoomForRegisters { count: 32 }])));
}

#[test]
fn a_table_of_33_interfaces_is_too_large() {
    let interfaces = (0..33).map(|n| Interface { name: format!("eth{n}"), ..Interface::default() }).collect();
    let config = Config { interfaces, ..Config::default() };
    assert_eq!(config.check(), Err(ConfigErrors(vec![ConfigError::TooManyInterfaces { count: 33 }])));
}

#[test]
fn all_faults_come_at_once() {
    let text = "{igmp: {version: 9, robustness: 9}, interfaces: [{name: '', ttl-threshold: 255}]}";
    assert_eq!(complaints(text).len(), 4);
    assert_eq!(Config::from_yaml(text).unwrap_err().to_string().lines().count(), 4);
}

#[test]
fn unknown_keys_and_wrong_types_are_refused() {
    assert!(complaints("interfases: []")[0].contains("interfases"));
    assert_eq!(complaints("interfaces: eth0").len(), 1);
    assert_eq!(complaints("igmp: {query-interval: soon}").len(), 1);
}

#[cfg(not(feature = "sabotage"))]
#[test]
fn a_deaf_querier_needs_a_daemon_built_for_it() {
    refused("igmp: {deaf: true}", "deaf in the router: this daemon was built without its sabotage feature");
}

#[cfg(feature = "sabotage")]
#[test]
fn a_deaf_querier_is_accepted_by_a_daemon_built_for_it() {
    assert_eq!(complaints("igmp: {deaf: true}"), Vec::<String>::new());
}

#[test]
fn what_hellos_do_not_say_is_not_asked_of_them() {
    refused(
        "{multicast: pim-sm, pim: {explicit-tracking: true}, interfaces: [{name: eth0, pim: {lan-prune-delay: false}}]}",
        "eth0: `explicit-tracking` is said by the LAN Prune Delay option, and `lan-prune-delay` is false",
    );
    refused(
        "{multicast: pim-dm, pim: {explicit-tracking: true}}",
        "explicit-tracking in pim of the router has no effect without multicast: pim-sm",
    );
}

#[test]
fn the_bootstrap_mechanisms_times_keep_their_order() {
    let of = |pim: &str| complaints(&format!("{{multicast: pim-sm, pim: {{{pim}}}}}"));
    assert!(
        of("candidate-bsr: {address: 10.0.0.1, interval: 1s}, candidate-rp: {address: 10.0.0.1, interval: 1s}")
            .is_empty()
    );
    assert_eq!(
        of("bs-period: 60s, bs-timeout: 60s"),
        ["bs-timeout 1m in the router is out of range: more than 1m, BS_Period"]
    );
    assert_eq!(
        of("sz-timeout: 130s"),
        ["sz-timeout 2m 10s in the router is out of range: more than 2m 10s, BS_Timeout"]
    );
    assert_eq!(
        of("bs-period: 5s, bs-min-interval: 6s"),
        ["bs-min-interval 6s in the router is out of range: at most 5s, BS_Period"]
    );
    assert_eq!(of("candidate-bsr: {address: 10.0.0.1, interval: 8h}").len(), 1);
}

#[test]
fn candidates_have_addresses_and_groups_and_are_routers_of_sparse_mode() {
    let of = |pim: &str| complaints(&format!("{{multicast: pim-sm, pim: {{{pim}}}}}"));
    assert_eq!(
        of("candidate-bsr: {address: 224.0.0.1, hash-mask-length: 33, zones: [10.0.0.0/8]}"),
        [
            "address 224.0.0.1 of candidate-bsr is no IPv4 address that a router can have",
            "10.0.0.0/8 in candidate-bsr is no prefix of multicast groups",
            "hash-mask-length of candidate-bsr 33 in the router is out of range: 0 to 32",
        ]
    );
    assert_eq!(
        of("candidate-rp: {address: '::1', groups: []}"),
        [
            "address ::1 of candidate-rp is no IPv4 address that a router can have",
            "groups of candidate-rp 0 in the router is out of range: 1 to 255 prefixes",
        ]
    );
    refused(
        "{multicast: pim-dm, pim: {bs-timeout: 100s}}",
        "bs-timeout in pim of the router has no effect without multicast: pim-sm",
    );
    refused(
        "{multicast: pim-sm, interfaces: [{name: eth0, pim: {unicast-bootstrap: true}}]}",
        "unicast-bootstrap in pim of eth0 holds for the whole router: set it there",
    );
}
