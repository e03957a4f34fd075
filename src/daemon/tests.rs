use std::path::Path;
use std::time::Duration;

use router_core::config::{Config, Igmp, Limits, Multicast, Pim};
use router_core::time::Span;

use super::*;
use crate::topology::plan::{
    Attachment, ExecDaemon, Host, Impairment, Interface, NodeKind, StaticRoute, Unicast, Wire, WireId, WireKind,
};

/// A router with a link to a host, a LAN and a link without IPv4.
fn plan(daemon: Daemon) -> Plan {
    let router = Router {
        daemon,
        multicast: Multicast::Static,
        unicast: Unicast::Static,
        igmp: Igmp::default(),
        pim: Default::default(),
        upstream: None,
        routes: vec![StaticRoute {
            group: "239.1.0.0/16".parse().unwrap(),
            source: None,
            incoming: 0,
            outgoing: vec![1],
        }],
        limits: Limits::default(),
    };
    let interface = |name: &str, index: u32, addresses: &[&str]| Interface {
        name: name.into(),
        index,
        mac: [2, 0, 0, 0, 0, index as u8],
        wire: WireId(index as usize - 10),
        addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        ttl_threshold: 0,
        boundary: vec![],
        igmp: Igmp::default(),
        pim: Default::default(),
    };
    let r1 = Node {
        name: "r1".into(),
        kind: NodeKind::Router(Box::new(router)),
        interfaces: vec![
            interface("eth0", 10, &["10.0.0.1/31"]),
            interface("eth1", 11, &["10.1.0.1/24"]),
            interface("eth2", 12, &["fd00::1/64"]),
        ],
        loopback: vec![],
    };
    let h1 = Node { name: "h1".into(), kind: NodeKind::Host(Host::default()), interfaces: vec![], loopback: vec![] };
    let wire = |name: &str, kind| Wire {
        name: name.into(),
        kind,
        ends: vec![],
        cost: 1,
        mtu: 1500,
        impairment: Impairment::default(),
        subnets: vec![],
    };
    Plan {
        name: "lab".into(),
        description: String::new(),
        file: "lab.yaml".into(),
        timers: 1.0,
        seed: 7,
        nodes: vec![r1, h1],
        wires: vec![
            wire("l0", WireKind::Link),
            wire("l1", WireKind::Lan { snooping: false }),
            wire("l2", WireKind::Link),
        ],
        scenarios: vec![],
    }
}

fn router_of(plan: &mut Plan) -> &mut Router {
    match &mut plan.nodes[0].kind {
        NodeKind::Router(router) => router,
        NodeKind::Host(_) => unreachable!(),
    }
}

/// Paths whose programs are empty executables in a directory of the test's own.
fn paths(test: &str, programs: &[&str]) -> Paths {
    use std::os::unix::fs::PermissionsExt;
    let directory = std::env::temp_dir().join(format!("testbed-daemon-{test}-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    for program in programs {
        let path = directory.join(program);
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    Paths {
        node: "/run/testbed/lab/nodes/r1".into(),
        programs: vec![directory.clone()],
        frr: vec![directory.clone()],
        aside: directory,
    }
}

fn text(launch: &Launch, name: &str) -> String {
    launch.files.iter().find(|(path, _)| path.ends_with(name)).unwrap().1.clone()
}

#[test]
fn router_core_gets_the_plan_in_its_own_words() {
    let mut plan = plan(Daemon::RouterCore);
    plan.nodes[0].interfaces[1].ttl_threshold = 16;
    plan.nodes[0].interfaces[1].boundary = vec!["239.255.0.0/16".parse().unwrap()];
    let launch = prepare(&plan, NodeId(0), &paths("core", &["router-core"])).unwrap();
    let socket = Path::new("/run/testbed/lab/nodes/r1/control.sock");
    assert_eq!(launch.programs[0].ready, Readiness::ControlEvent { socket: socket.into() });
    assert!(launch.programs[0].argv[0].ends_with("/router-core"));
    assert_eq!(
        &launch.programs[0].argv[1..],
        ["--config", "/run/testbed/lab/nodes/r1/router-core.json", "--control", socket.to_str().unwrap()]
    );
    let config: Config = serde_json::from_str(&text(&launch, "router-core.json")).unwrap();
    assert_eq!(config.name, "r1");
    assert_eq!(config.routes[0].incoming, "eth0");
    assert_eq!(config.routes[0].outgoing, ["eth1"]);
    assert_eq!(config.interfaces[1].ttl_threshold, 16);
    assert_eq!(config.interfaces[1].boundary, plan.nodes[0].interfaces[1].boundary);
    assert_eq!(config.interfaces[1].igmp, Igmp::default());
    assert_eq!(config.interfaces[2].igmp.enabled, Some(false), "IGMP needs an IPv4 address");
}

#[test]
fn a_proxy_is_no_querier_toward_its_upstream() {
    let mut plan = plan(Daemon::RouterCore);
    let router = router_of(&mut plan);
    router.multicast = Multicast::Proxy;
    router.upstream = Some(0);
    router.routes.clear();
    let launch = prepare(&plan, NodeId(0), &paths("proxy", &["router-core"])).unwrap();
    let config: Config = serde_json::from_str(&text(&launch, "router-core.json")).unwrap();
    assert_eq!(config.upstream.as_deref(), Some("eth0"));
    assert_eq!(config.interfaces[0].igmp.enabled, Some(false));
    assert_eq!(config.interfaces[1].igmp.enabled, None);
}

#[test]
fn timers_scale_with_the_defaults_and_response_times_are_what_messages_can_say() {
    let mut plan = plan(Daemon::RouterCore);
    plan.timers = 0.1;
    plan.nodes[0].interfaces[1].igmp.query_response_interval = Some(Span(Duration::from_millis(2500)));
    let igmp = igmp_in_force(&plan, Attachment { node: NodeId(0), interface: 1 }).unwrap();
    assert_eq!(igmp.query_interval, Some(Span(Duration::from_millis(12_500))));
    assert_eq!(igmp.query_response_interval, Some(Span(Duration::from_millis(300))));
    assert_eq!(igmp.startup_query_interval, None);
    assert_eq!(igmp.startup_query_response_interval, Some(Span(Duration::from_millis(100))));
    assert_eq!(igmp.last_member_query_interval, Some(Span(Duration::from_millis(100))));
}

fn dense_mode() -> Plan {
    let mut plan = plan(Daemon::RouterCore);
    let router = router_of(&mut plan);
    router.multicast = Multicast::PimDm;
    router.routes.clear();
    plan
}

fn secs(secs: f64) -> Option<Span> {
    Some(Span(Duration::from_secs_f64(secs)))
}

#[test]
fn pim_timers_scale_with_the_defaults_and_messages_can_say_them() {
    let mut plan = dense_mode();
    plan.timers = 0.1;
    plan.nodes[0].interfaces[1].pim.hello_period = secs(10.0);
    plan.nodes[0].interfaces[1].pim.override_interval = secs(0.0155);
    let pim = pim_in_force(&plan, Attachment { node: NodeId(0), interface: 0 }).unwrap();
    assert_eq!(
        pim,
        Pim {
            hello_period: secs(3.0),
            hello_hold_time: secs(11.0),
            triggered_hello_delay: secs(0.5),
            propagation_delay: secs(0.05),
            override_interval: secs(0.25),
            assert_time: secs(18.0),
            graft_retry_period: secs(0.3),
            prune_hold_time: secs(21.0),
            prune_limit: secs(21.0),
            source_lifetime: secs(21.0),
            state_refresh_interval: secs(6.0),
            refresh_limit_interval: secs(3.0),
            ..Pim::default()
        }
    );
    let own = pim_in_force(&plan, Attachment { node: NodeId(0), interface: 1 }).unwrap();
    assert_eq!((own.hello_period, own.hello_hold_time), (secs(1.0), secs(4.0)));
    assert_eq!(own.override_interval, secs(0.002));
    plan.timers = 1.0;
    let pim = pim_in_force(&plan, Attachment { node: NodeId(0), interface: 0 }).unwrap();
    assert_eq!(pim, Pim::default(), "the RFC's defaults are the daemon's own");
}

#[test]
fn a_routers_own_pim_keys_are_said_once_and_its_interfaces_get_theirs() {
    let mut plan = dense_mode();
    plan.timers = 0.5;
    router_of(&mut plan).pim =
        Pim { graft_retries: Some(4), state_refresh: Some(false), hello_period: secs(20.0), ..Pim::default() };
    plan.nodes[0].interfaces[1].pim.enabled = Some(false);
    let launch = prepare(&plan, NodeId(0), &paths("pim", &["router-core"])).unwrap();
    let config: Config = serde_json::from_str(&text(&launch, "router-core.json")).unwrap();
    config.check().unwrap();
    assert_eq!((config.pim.graft_retries, config.pim.state_refresh), (Some(4), Some(false)));
    assert_eq!(config.pim.prune_hold_time, secs(105.0));
    assert_eq!(config.interfaces[0].pim.hello_period, secs(10.0));
    assert_eq!(config.interfaces[0].pim.graft_retries, None);
    assert_eq!(config.interfaces[0].pim.prune_hold_time, None);
    assert_eq!(config.interfaces[1].pim.enabled, Some(false));
    assert_eq!(config.interfaces[2].pim.enabled, Some(false), "PIM needs an IPv4 address");
    router_of(&mut plan).multicast = Multicast::Static;
    router_of(&mut plan).pim = Pim::default();
    plan.nodes[0].interfaces[1].pim = Pim::default();
    let launch = prepare(&plan, NodeId(0), &paths("no-pim", &["router-core"])).unwrap();
    let config: Config = serde_json::from_str(&text(&launch, "router-core.json")).unwrap();
    assert_eq!(config.pim, Pim::default());
    assert!(config.interfaces.iter().all(|interface| interface.pim == Pim::default()));
}

#[test]
fn every_scale_of_timers_gives_settings_that_router_core_takes() {
    for timers in [0.01, 0.1, 0.37, 3.0] {
        let mut plan = dense_mode();
        plan.timers = timers;
        let errors: Vec<String> = check(&plan).iter().map(ToString::to_string).collect();
        assert!(errors.is_empty(), "{timers}: {errors:?}");
    }
}

#[test]
fn what_router_core_would_refuse_is_known_before_anything_starts() {
    let mut plan = plan(Daemon::RouterCore);
    router_of(&mut plan).routes[0].outgoing = vec![0];
    let errors: Vec<String> = check(&plan).iter().map(ToString::to_string).collect();
    assert_eq!(errors, ["r1: route for 239.1.0.0/16: eth0 is both incoming and outgoing"]);
}

#[test]
fn smcroute_gets_thresholds_and_the_longest_routes_first() {
    let mut plan = plan(Daemon::Smcroute);
    plan.nodes[0].interfaces[1].ttl_threshold = 7;
    let specific = StaticRoute {
        group: "239.1.2.3/32".parse().unwrap(),
        source: Some("10.0.0.0/31".parse().unwrap()),
        incoming: 1,
        outgoing: vec![0, 2],
    };
    router_of(&mut plan).routes.push(specific);
    let launch = prepare(&plan, NodeId(0), &paths("smc", &["smcrouted", "smcroutectl"])).unwrap();
    assert_eq!(
        text(&launch, "smcroute.conf"),
        "# r1 of lab lab\n\
         phyint eth0 enable ttl-threshold 1\n\
         phyint eth1 enable ttl-threshold 7\n\
         phyint eth2 enable ttl-threshold 1\n\
         mroute from eth1 source 10.0.0.0/31 group 239.1.2.3 to eth0 eth2\n\
         mroute from eth0 group 239.1.0.0/16 to eth1\n"
    );
    let Readiness::Command { argv, .. } = &launch.programs[0].ready else { panic!("{:?}", launch.programs[0].ready) };
    assert_eq!(&argv[1..], ["-u", "/run/testbed/lab/nodes/r1/smcroute.sock", "-p", "show"]);
}

#[test]
fn smcroute_joins_groups_that_a_snooping_bridge_would_hide() {
    let mut plan = plan(Daemon::Smcroute);
    plan.wires[1].kind = WireKind::Lan { snooping: true };
    let router = router_of(&mut plan);
    router.routes[0].incoming = 1;
    router.routes[0].outgoing = vec![0];
    let error = prepare(&plan, NodeId(0), &paths("smcsnoop", &["smcrouted", "smcroutectl"])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "r1: smcroute cannot do the route for 239.1.0.0/16: behind the snooping bridge it would have to join 65536 \
         groups: give a range of at most 256 groups"
    );
    router_of(&mut plan).routes[0].group = "239.1.1.1/32".parse().unwrap();
    let launch = prepare(&plan, NodeId(0), &paths("smcsnoop", &["smcrouted", "smcroutectl"])).unwrap();
    assert!(
        text(&launch, "smcroute.conf")
            .ends_with("mgroup from eth1 group 239.1.1.1\nmroute from eth1 group 239.1.1.1 to eth0\n")
    );
}

#[test]
fn what_smcroute_cannot_do_is_refused_by_name_all_of_it() {
    let mut plan = plan(Daemon::Smcroute);
    let router = router_of(&mut plan);
    router.multicast = Multicast::Proxy;
    router.igmp.version = Some(2);
    router.limits.groups_per_interface = 3;
    router.routes[0].outgoing.clear();
    plan.nodes[0].interfaces[0].igmp.fast_leave = Some(true);
    plan.nodes[0].interfaces[1].boundary = vec!["239.255.0.0/16".parse().unwrap()];
    let errors: Vec<String> = check(&plan).iter().map(ToString::to_string).collect();
    assert_eq!(errors.len(), 6, "{errors:#?}");
    for (error, part) in
        errors.iter().zip(["proxy", "`igmp`", "`limits`", "eth0", "239.255.0.0/16 at eth1", "without `to`"])
    {
        assert!(error.starts_with("r1: smcroute cannot do ") && error.contains(part), "{error}");
    }
}

#[test]
fn igmp_switched_off_asks_nothing_of_smcroute() {
    let mut plan = plan(Daemon::Smcroute);
    router_of(&mut plan).igmp = Igmp { enabled: Some(false), version: Some(2), ..Igmp::default() };
    assert_eq!(check(&plan), []);
}

#[test]
fn a_program_of_the_users_gets_its_places_filled_in() {
    let daemon = Daemon::Exec(ExecDaemon {
        command: vec!["myd".into(), "-c".into(), "{config}".into()],
        config: Some("pid {run}/pid\n".into()),
        ready: Some(vec!["test".into(), "-e".into(), "{run}/pid".into()]),
    });
    let launch = prepare(&plan(daemon), NodeId(0), &paths("exec", &["myd", "test"])).unwrap();
    assert!(launch.programs[0].argv[0].ends_with("/myd"));
    assert_eq!(&launch.programs[0].argv[1..], ["-c", "/run/testbed/lab/nodes/r1/daemon.conf"]);
    assert_eq!(text(&launch, "daemon.conf"), "pid /run/testbed/lab/nodes/r1/run/pid\n");
    assert_eq!(launch.directories, [Path::new("/run/testbed/lab/nodes/r1/run")]);
    let Readiness::Command { argv, every } = &launch.programs[0].ready else {
        panic!("{:?}", launch.programs[0].ready)
    };
    assert_eq!((&argv[1..], *every), (&["-e".into(), "/run/testbed/lab/nodes/r1/run/pid".into()][..], READY_EVERY));
}

#[test]
fn a_bad_command_is_said_before_anything_starts() {
    let exec = |command: &[&str], ready: Option<&[&str]>| {
        let own = |words: &[&str]| words.iter().map(|&w| w.to_owned()).collect::<Vec<_>>();
        Daemon::Exec(ExecDaemon { command: own(command), config: None, ready: ready.map(own) })
    };
    let errors = |daemon| check(&plan(daemon)).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(errors(exec(&[], None)), ["r1: `command` is empty: give a program and its arguments"]);
    assert_eq!(errors(exec(&["./d"], Some(&[""]))).len(), 2);
    assert_eq!(
        errors(exec(&["d", "{config}"], None)),
        ["r1: `command` uses {config}, but there is no `config` text to write"]
    );
}

#[test]
fn a_missing_program_is_named_with_what_helps() {
    let error = prepare(&plan(Daemon::Smcroute), NodeId(0), &paths("none", &[])).unwrap_err().to_string();
    assert!(error.starts_with("r1: the program \"smcrouted\" was not found in /"), "{error}");
    assert!(error.ends_with("install the package smcroute (`apt-get install smcroute`)"), "{error}");
}

#[test]
fn a_host_has_no_daemon() {
    let error = prepare(&plan(Daemon::RouterCore), NodeId(1), &paths("host", &[])).unwrap_err();
    assert_eq!(error, DaemonError::NotARouter { node: "h1".into() });
}

/// A sparse mode router whose rendezvous point is its own loopback.
fn sparse_mode(daemon: Daemon) -> Plan {
    let mut plan = plan(daemon);
    plan.nodes[0].loopback = vec!["10.255.0.1/32".parse().unwrap()];
    let router = router_of(&mut plan);
    router.multicast = Multicast::PimSm;
    router.routes.clear();
    plan
}

fn rp(address: &str, groups: &str) -> router_core::config::StaticRp {
    let (address, groups) = (address.parse().unwrap(), groups.parse().unwrap());
    router_core::config::StaticRp { address, groups, overrides: false }
}

#[test]
fn frr_is_told_in_its_own_words_and_scaled() {
    let mut plan = sparse_mode(Daemon::Frr);
    plan.timers = 0.1;
    router_of(&mut plan).pim.rp = Some(vec![rp("10.255.0.1", "239.0.0.0/8")]);
    plan.nodes[0].interfaces[1].boundary = vec!["239.255.0.0/16".parse().unwrap()];
    let launch = prepare(&plan, NodeId(0), &paths("frr", &["zebra", "pimd"])).unwrap();
    assert_eq!(launch.programs.iter().map(|program| program.name.as_str()).collect::<Vec<_>>(), ["zebra", "pimd"]);
    assert_eq!(
        text(&launch, "frr/pimd.conf"),
        "! r1 of lab lab\nhostname r1\n\
         ip prefix-list boundary-eth1 deny 239.255.0.0/16 le 32\n\
         ip prefix-list boundary-eth1 permit any\n\
         ip pim join-prune-interval 6\n\
         ip pim keep-alive-timer 21\n\
         ip pim rp 10.255.0.1 239.0.0.0/8\n\
         interface eth0\n ip pim\n ip pim hello 3 11\n ip igmp\n ip igmp query-max-response-time 10\n \
         ip igmp query-interval 13\n ip igmp last-member-query-interval 1\nexit\n\
         interface eth1\n ip pim\n ip pim hello 3 11\n ip igmp\n ip igmp query-max-response-time 10\n \
         ip igmp query-interval 13\n ip igmp last-member-query-interval 1\n \
         ip multicast boundary oil boundary-eth1\nexit\n\
         interface lo\n ip pim\nexit\n"
    );
}

/// FRR refuses a response interval that is not below its query interval, whichever of the two it is told of first.
#[test]
fn frr_hears_of_intervals_in_the_order_in_which_it_takes_them() {
    let order = |interval: f64, response: f64| {
        let mut plan = sparse_mode(Daemon::Frr);
        router_of(&mut plan).igmp =
            Igmp { query_interval: secs(interval), query_response_interval: secs(response), ..Igmp::default() };
        let text = text(&prepare(&plan, NodeId(0), &paths("frr-order", &["zebra", "pimd"])).unwrap(), "frr/pimd.conf");
        text.find("query-interval ").unwrap() < text.find("query-max-response-time").unwrap()
    };
    assert!(!order(4.0, 1.0), "4 s is below the 10 s that it has at first");
    assert!(order(300.0, 200.0), "200 s is above the 125 s that it has at first");
}

#[test]
fn ospfd_is_told_the_costs_and_awaited_with_its_routes() {
    let mut plan = plan(Daemon::Frr);
    router_of(&mut plan).multicast = Multicast::PimSm;
    router_of(&mut plan).routes.clear();
    router_of(&mut plan).unicast = Unicast::Ospf;
    plan.nodes[0].loopback = vec!["10.255.0.1/32".parse().unwrap()];
    let mut other = plan.nodes[0].clone();
    other.name = "r2".into();
    other.interfaces.truncate(2);
    other.interfaces[0].addresses = vec!["10.0.0.0/31".parse().unwrap()];
    other.interfaces[1].addresses = vec!["10.2.0.1/24".parse().unwrap()];
    other.loopback = vec!["10.255.0.2/32".parse().unwrap()];
    plan.nodes.push(other);
    plan.wires[0].cost = 7;
    plan.wires[0].ends = [0, 2].map(|node| Attachment { node: NodeId(node), interface: 0 }).to_vec();
    let launch = prepare(&plan, NodeId(0), &paths("ospf", &["zebra", "pimd", "ospfd"])).unwrap();
    assert_eq!(
        text(&launch, "frr/ospfd.conf"),
        "! r1 of lab lab\nhostname r1\n\
         interface eth0\n ip ospf area 0\n ip ospf cost 7\n ip ospf network point-to-point\n \
         ip ospf dead-interval minimal hello-multiplier 4\nexit\n\
         interface eth1\n ip ospf area 0\n ip ospf cost 1\n ip ospf passive\n \
         ip ospf dead-interval minimal hello-multiplier 4\nexit\n\
         interface lo\n ip ospf area 0\nexit\n\
         router ospf\n ospf router-id 10.255.0.1\n maximum-paths 1\n timers throttle lsa all 0\n timers lsa min-arrival 0\nexit\n"
    );
    let ready = ["ready", "--route", "10.2.0.0/24", "--route", "10.255.0.2/32"].map(str::to_owned).to_vec();
    assert_eq!(launch.programs[2].ready, Readiness::Inside { arguments: ready });
}

#[test]
fn what_frr_cannot_do_is_refused_by_name_all_of_it() {
    let mut plan = sparse_mode(Daemon::Frr);
    let router = router_of(&mut plan);
    router.pim.spt_switchover = Some(router_core::config::SptSwitchover::Kbit(100));
    router.pim.assert_time = secs(60.0);
    router.igmp.robustness = Some(3);
    plan.nodes[0].interfaces[0].ttl_threshold = 16;
    plan.nodes[0].interfaces[1].pim.dr_priority = Some(0);
    let errors: Vec<String> = check(&plan).iter().map(ToString::to_string).collect();
    let parts = ["igmp: robustness", "pim: assert-time", "by rate", "TTL threshold 16 at eth0", "dr-priority: 0"];
    assert_eq!(errors.len(), parts.len(), "{errors:#?}");
    for part in parts {
        assert!(errors.iter().any(|error| error.starts_with("r1: FRR cannot do ") && error.contains(part)), "{part}");
    }
}

#[test]
fn pimd_is_told_in_its_own_words() {
    let mut plan = sparse_mode(Daemon::Pimd);
    let router = router_of(&mut plan);
    router.igmp.version = Some(2);
    router.pim.rp = Some(vec![rp("10.0.0.1", "239.0.0.0/8")]);
    plan.nodes[0].interfaces[1].pim.dr_priority = Some(7);
    let launch = prepare(&plan, NodeId(0), &paths("pimd", &["pimd"])).unwrap();
    assert_eq!(
        text(&launch, "pimd.conf"),
        "# r1 of lab lab\n\
         phyint eth0 enable igmpv2 ttl-threshold 1\n\
         phyint eth1 enable igmpv2 dr-priority 7 ttl-threshold 1\n\
         igmp-query-interval 125\nigmp-querier-timeout 380\n\
         rp-address 10.0.0.1 239.0.0.0 masklen 8\n\
         spt-threshold packets 0 interval 5\n"
    );
}

#[test]
fn what_pimd_cannot_do_is_refused_by_name_all_of_it() {
    let mut plan = sparse_mode(Daemon::Pimd);
    plan.timers = 0.1;
    let router = router_of(&mut plan);
    router.pim.rp = Some(vec![rp("10.255.0.1", "239.0.0.0/8")]);
    router.pim.join_prune_period = secs(60.0);
    plan.nodes[0].interfaces[1].boundary = vec!["239.255.0.0/16".parse().unwrap()];
    let errors: Vec<String> = check(&plan).iter().map(ToString::to_string).collect();
    let parts = ["`timers: 0.1`", "rendezvous point 10.255.0.1", "join-prune-period", "boundary at eth1"];
    assert_eq!(errors.len(), parts.len(), "{errors:#?}");
    for part in parts {
        assert!(errors.iter().any(|error| error.starts_with("r1: pimd cannot do ") && error.contains(part)), "{part}");
    }
}
