//! The querier against modelled hosts that follow RFC 9776 §5 (and RFC 2236 §3) on a LAN without loss, with random joins, leaves and
//! filter changes: whoever wants a source has it at every moment, and what nobody wants any more ends.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use proptest::prelude::*;
use router_core::config::{Config, Igmp, Interface};
use router_core::random::Random;
use router_core::router::{
    Datagram, Event, EventKind, Input, InterfaceId, InterfaceState, Output, Router, SourceFilter,
};
use router_core::time::Time;
use router_core::wire::igmp::{Message, Record, RecordKind, decode, parse};

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 1, 1);
const LAN: InterfaceId = InterfaceId(1);

fn source(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 9, 9, number)
}

/// A host's filter of the group: RFC 9776 §3.2's interface state.
#[derive(Clone, Debug, PartialEq)]
struct Host {
    address: Ipv4Addr,
    version: u8,
    filter: SourceFilter,
    /// When it answers the last query, and about which sources (empty: all).
    answer: Option<(Time, BTreeSet<Ipv4Addr>)>,
}

fn v4(set: &BTreeSet<IpAddr>) -> Vec<Ipv4Addr> {
    set.iter().filter_map(|address| if let IpAddr::V4(address) = address { Some(*address) } else { None }).collect()
}

impl Host {
    fn is_member(&self) -> bool {
        !self.filter.is_nothing()
    }

    /// The messages of a change of filter (§5.1); version 2 hosts have no filters but all and nothing.
    fn change(&mut self, to: SourceFilter) -> Vec<Message> {
        use SourceFilter::{Exclude, Include};
        let to = match (self.version, to) {
            (2, to) if to.is_nothing() => to,
            (2, _) => SourceFilter::everything(),
            (_, to) => to,
        };
        let before = std::mem::replace(&mut self.filter, to.clone());
        if before == to {
            return Vec::new();
        }
        if self.version == 2 {
            return vec![if self.is_member() {
                Message::ReportV2 { group: GROUP }
            } else {
                Message::LeaveV2 { group: GROUP }
            }];
        }
        let (allow, block) = match (&before, &to) {
            (Include(a), Include(b)) => (b - a, a - b),
            (Exclude(a), Exclude(b)) => (a - b, b - a),
            (Include(_), Exclude(b)) => return vec![report(RecordKind::ToExclude, v4(b))],
            (Exclude(_), Include(b)) => return vec![report(RecordKind::ToInclude, v4(b))],
        };
        let records = [(RecordKind::Allow, allow), (RecordKind::Block, block)]
            .into_iter()
            .filter(|(_, sources)| !sources.is_empty())
            .map(|(kind, sources)| Record { kind, group: GROUP, sources: v4(&sources) });
        vec![Message::ReportV3 { records: records.collect() }]
    }

    /// Schedules the answer to a query (§5.2).
    fn hear(&mut self, now: Time, query: &Message, random: &mut Random) {
        let (group, sources, tenths) = match query {
            Message::QueryV3(query) => {
                (query.group, query.sources.iter().copied().collect(), decode(query.max_resp_code))
            }
            _ => panic!("the router asks in version 3"),
        };
        if !self.is_member() || !(group.is_unspecified() || group == GROUP) {
            return;
        }
        let sources: BTreeSet<Ipv4Addr> = if self.version == 2 { BTreeSet::new() } else { sources };
        let at = now + random.up_to(Duration::from_millis(100) * u32::from(tenths));
        self.answer = Some(match self.answer.take() {
            None => (at, sources),
            Some((pending, asked)) => {
                let whole = asked.is_empty() || sources.is_empty();
                (pending.min(at), if whole { BTreeSet::new() } else { &asked | &sources })
            }
        });
    }

    /// The answer itself: a current-state record (§5.2).
    fn answer(&mut self) -> Option<Message> {
        let (_, asked) = self.answer.take()?;
        if !self.is_member() {
            return None;
        }
        if self.version == 2 {
            return Some(Message::ReportV2 { group: GROUP });
        }
        Some(match &self.filter {
            SourceFilter::Include(a) if asked.is_empty() => report(RecordKind::IsInclude, v4(a)),
            SourceFilter::Exclude(a) if asked.is_empty() => report(RecordKind::IsExclude, v4(a)),
            filter => {
                let wanted: Vec<Ipv4Addr> = asked.into_iter().filter(|s| filter.admits((*s).into())).collect();
                if wanted.is_empty() {
                    return None;
                }
                report(RecordKind::IsInclude, wanted)
            }
        })
    }
}

fn report(kind: RecordKind, sources: Vec<Ipv4Addr>) -> Message {
    Message::ReportV3 { records: vec![Record { kind, group: GROUP, sources }] }
}

struct Lan {
    router: Router,
    now: Time,
    hosts: Vec<Host>,
    random: Random,
    /// What the router's events say of the group.
    believed: Option<SourceFilter>,
}

impl Lan {
    fn new(versions: &[u8], seed: u64) -> Lan {
        let igmp = Igmp {
            query_interval: Some(Duration::from_secs(20).into()),
            query_response_interval: Some(Duration::from_secs(4).into()),
            ..Igmp::default()
        };
        let interface = Interface { name: "lan".into(), igmp, ..Interface::default() };
        let router = Router::new(Config { interfaces: vec![interface], ..Config::default() });
        let hosts = versions.iter().zip(2u8..).map(|(version, number)| Host {
            address: Ipv4Addr::new(10, 0, 0, number),
            version: *version,
            filter: SourceFilter::nothing(),
            answer: None,
        });
        let mut lan =
            Lan { router, now: Time::ZERO, hosts: hosts.collect(), random: Random::new(seed), believed: None };
        let state =
            InterfaceState { name: "lan".into(), up: true, mtu: 1500, addresses: vec!["10.0.0.1/24".parse().unwrap()] };
        lan.input(Input::Interface { interface: LAN, state });
        lan
    }

    fn input(&mut self, input: Input) {
        self.router.handle(self.now, input);
        while let Some(output) = self.router.poll_output() {
            match output {
                Output::Send { datagram, .. } => {
                    let query = parse(&datagram.payload).unwrap();
                    for host in &mut self.hosts {
                        host.hear(self.now, &query, &mut self.random);
                    }
                }
                Output::Event(Event { kind: EventKind::MemberAdded { filter, .. }, .. }) => {
                    self.believed = Some(filter);
                }
                Output::Event(Event { kind: EventKind::MemberRemoved { .. }, .. }) => self.believed = None,
                _ => {}
            }
        }
        assert!(self.router.poll_timeout().is_none_or(|next| next > self.now), "a timer that is due has run");
    }

    fn report(&mut self, from: Ipv4Addr, message: &Message) {
        let destination = match message {
            Message::ReportV3 { .. } => Ipv4Addr::new(224, 0, 0, 22),
            Message::LeaveV2 { .. } => Ipv4Addr::new(224, 0, 0, 2),
            _ => GROUP,
        };
        self.input(Input::Packet {
            interface: LAN,
            datagram: Datagram {
                source: from.into(),
                destination: destination.into(),
                protocol: 2,
                ttl: 1,
                router_alert: true,
                traffic_class: 0xc0,
                payload: message.emit(),
            },
        });
    }

    fn run_until(&mut self, end: Time) {
        loop {
            let answer = self.hosts.iter().enumerate().filter_map(|(i, host)| Some((host.answer.as_ref()?.0, i))).min();
            let timeout = self.router.poll_timeout();
            let next = [answer.map(|(at, _)| at), timeout].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = next;
            match answer.filter(|(at, _)| *at == next) {
                Some((_, index)) => {
                    let from = self.hosts[index].address;
                    if let Some(message) = self.hosts[index].answer() {
                        self.report(from, &message);
                    }
                }
                None => self.input(Input::Timeout),
            }
            self.check_nobody_goes_without();
        }
        self.now = end;
    }

    fn check_nobody_goes_without(&self) {
        for host in &self.hosts {
            for number in 1..=5 {
                let address = IpAddr::V4(source(number));
                let wants = host.is_member() && host.filter.admits(address);
                let has = self.believed.as_ref().is_some_and(|filter| filter.admits(address));
                assert!(has || !wants, "{:?}: {} wants {address} and does not get it", self.now, host.address);
            }
        }
    }

    fn union(&self) -> Option<SourceFilter> {
        let filters = self.hosts.iter().filter(|host| host.is_member()).map(|host| host.filter.clone());
        filters.reduce(|merged, filter| merged.merge(&filter))
    }
}

fn filters() -> impl Strategy<Value = SourceFilter> {
    (any::<bool>(), proptest::collection::btree_set(1u8..=4, 0..4)).prop_map(|(include, numbers)| {
        let sources = numbers.into_iter().map(|number| source(number).into()).collect();
        if include { SourceFilter::Include(sources) } else { SourceFilter::Exclude(sources) }
    })
}

fn run(versions: &[u8], changes: &[(usize, u64, SourceFilter)], seed: u64) -> Lan {
    let mut lan = Lan::new(versions, seed);
    for (host, pause_ms, filter) in changes {
        lan.run_until(lan.now + Duration::from_millis(*pause_ms));
        let index = host % lan.hosts.len();
        let from = lan.hosts[index].address;
        for message in lan.hosts[index].change(filter.clone()) {
            lan.report(from, &message);
        }
        lan.check_nobody_goes_without();
    }
    lan
}

fn changes() -> impl Strategy<Value = Vec<(usize, u64, SourceFilter)>> {
    proptest::collection::vec((0usize..4, prop_oneof![0u64..500, 0u64..30_000], filters()), 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// After two membership intervals of quiet, the router knows exactly what is wanted.
    #[test]
    fn version_3_hosts_get_what_they_want_and_nothing_lasts(changes in changes(), seed: u64) {
        let mut lan = run(&[3, 3, 3, 3], &changes, seed);
        lan.run_until(lan.now + Duration::from_secs(2 * 44 + 20));
        prop_assert_eq!(&lan.believed, &lan.union());
    }

    #[test]
    fn version_2_hosts_among_them_do_not_change_that(changes in changes(), seed: u64) {
        let mut lan = run(&[2, 3, 2, 3], &changes, seed);
        lan.run_until(lan.now + Duration::from_secs(3 * 44 + 20));
        prop_assert_eq!(&lan.believed, &lan.union());
    }

    /// A group that everybody has left by version 3 or 2 ends after the last member query time.
    #[test]
    fn the_last_leave_ends_a_group_after_the_last_member_query_time(changes in changes(), seed: u64) {
        let mut lan = run(&[2, 3, 3, 3], &changes, seed);
        // Members that all want everything, so that no source timer outlives the group timer.
        for index in 0..4 {
            let from = lan.hosts[index].address;
            for message in lan.hosts[index].change(SourceFilter::everything()) {
                lan.report(from, &message);
            }
        }
        lan.run_until(lan.now + Duration::from_secs(3 * 44 + 20));
        for index in 0..4 {
            let from = lan.hosts[index].address;
            for message in lan.hosts[index].change(SourceFilter::nothing()) {
                lan.report(from, &message);
            }
        }
        let left = lan.now;
        lan.run_until(left + Duration::from_millis(1_999));
        prop_assert!(lan.believed.is_some());
        lan.run_until(left + Duration::from_millis(2_000));
        prop_assert_eq!(&lan.believed, &None);
    }

    /// Whatever comes, nothing panics, nothing exceeds its bound, no timer is left behind, and the same inputs give the same outputs.
    #[test]
    fn any_inputs_leave_the_router_whole(steps in proptest::collection::vec(anything(), 1..60)) {
        let first = drive(&steps);
        prop_assert_eq!(first, drive(&steps));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Bytes(u8, Vec<u8>),
    Message(u8, u8, Message),
    Interface(u8, bool),
    Gone(u8),
    NoCache(u8, u8, u8),
    Wrong(u8, u8, u8),
    Counters(u8, u8, u64),
}

fn anything() -> impl Strategy<Value = Step> {
    let group = || (0u8..6).prop_map(|number| Ipv4Addr::new(239, 1, 1, number));
    let records = proptest::collection::vec(
        (0u8..8, group(), proptest::collection::vec((0u8..6).prop_map(source), 0..6))
            .prop_map(|(kind, group, sources)| Record { kind: kind.into(), group, sources }),
        0..5,
    );
    let query = (
        any::<u8>(),
        0u8..7,
        any::<bool>(),
        0u8..8,
        0u8..50,
        proptest::collection::vec((0u8..6).prop_map(source), 0..4),
    )
        .prop_map(|(max_resp_code, group, suppress, qrv, qqic, sources)| {
            let group = if group == 6 { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::new(239, 1, 1, group) };
            Message::QueryV3(router_core::wire::igmp::QueryV3 { max_resp_code, group, suppress, qrv, qqic, sources })
        });
    let message = prop_oneof![
        Just(Message::QueryV1),
        (1u8.., group()).prop_map(|(max_resp_time, group)| Message::QueryV2 { max_resp_time, group }),
        query,
        group().prop_map(|group| Message::ReportV1 { group }),
        group().prop_map(|group| Message::ReportV2 { group }),
        group().prop_map(|group| Message::LeaveV2 { group }),
        records.prop_map(|records| Message::ReportV3 { records }),
    ];
    prop_oneof![
        4 => (0u64..20_000).prop_map(Step::Wait),
        1 => (0u8..4, proptest::collection::vec(any::<u8>(), 0..40)).prop_map(|(port, bytes)| Step::Bytes(port, bytes)),
        8 => (0u8..4, 0u8..9, message).prop_map(|(port, from, message)| Step::Message(port, from, message)),
        1 => (0u8..4, any::<bool>()).prop_map(|(port, up)| Step::Interface(port, up)),
        1 => (0u8..4).prop_map(Step::Gone),
        3 => (0u8..4, 0u8..6, 0u8..6).prop_map(|(port, from, group)| Step::NoCache(port, from, group)),
        1 => (0u8..4, 0u8..6, 0u8..6).prop_map(|(port, from, group)| Step::Wrong(port, from, group)),
        1 => (0u8..6, 0u8..6, 0u64..3).prop_map(|(from, group, packets)| Step::Counters(from, group, packets)),
    ]
}

fn drive(steps: &[Step]) -> Vec<String> {
    let config = "
multicast: proxy
upstream: eth0
interfaces: [{name: eth0}, {name: eth1}, {name: eth2, igmp: {version: 2}}, {name: eth3, igmp: {fast-leave: true}}]
igmp: {query-interval: 10s, query-response-interval: 2s}
limits: {groups-per-interface: 3, sources-per-group: 3, forwarding-entries: 4}
";
    let mut router = Router::new(Config::from_yaml(config).unwrap());
    let mut now = Time::ZERO;
    let mut log = Vec::new();
    let mut entries = BTreeMap::new();
    let interface = |port: u8, up: bool| Input::Interface {
        interface: InterfaceId(u32::from(port) + 1),
        state: InterfaceState {
            name: format!("eth{port}"),
            up,
            mtu: 200,
            addresses: vec![format!("10.0.{port}.5/24").parse().unwrap()],
        },
    };
    let packet = |port: u8, from: u8, payload: Vec<u8>, destination: Ipv4Addr| Input::Packet {
        interface: InterfaceId(u32::from(port) + 1),
        datagram: Datagram {
            source: Ipv4Addr::new(10, 0, port, from).into(),
            destination: destination.into(),
            protocol: 2,
            ttl: 1,
            router_alert: true,
            traffic_class: 0,
            payload,
        },
    };
    let key = |from: u8, group: u8| router_core::forwarding::EntryKey {
        source: Ipv4Addr::new(10, 0, from, 9).into(),
        group: Ipv4Addr::new(239, 1, 1, group).into(),
    };
    let mut inputs: Vec<(u64, Input)> = (0..4).map(|port| (0, interface(port, true))).collect();
    for step in steps {
        inputs.push(match step.clone() {
            Step::Wait(ms) => (ms, Input::Timeout),
            Step::Bytes(port, bytes) => (0, packet(port, 2, bytes, Ipv4Addr::new(224, 0, 0, 1))),
            Step::Message(port, from, message) => {
                let destination = match &message {
                    Message::QueryV1 => Ipv4Addr::new(224, 0, 0, 1),
                    Message::QueryV2 { group, .. } => *group,
                    Message::QueryV3(query) if query.group.is_unspecified() => Ipv4Addr::new(224, 0, 0, 1),
                    Message::QueryV3(query) => query.group,
                    Message::ReportV1 { group } | Message::ReportV2 { group } => *group,
                    Message::LeaveV2 { .. } => Ipv4Addr::new(224, 0, 0, 2),
                    Message::ReportV3 { .. } => Ipv4Addr::new(224, 0, 0, 22),
                };
                (0, packet(port, from, message.emit(), destination))
            }
            Step::Interface(port, up) => (0, interface(port, up)),
            Step::Gone(port) => (0, Input::InterfaceGone { interface: InterfaceId(u32::from(port) + 1) }),
            Step::NoCache(port, from, group) => {
                (0, Input::NoCache { interface: InterfaceId(u32::from(port) + 1), key: key(from, group) })
            }
            Step::Wrong(port, from, group) => {
                (0, Input::WrongInterface { interface: InterfaceId(u32::from(port) + 1), key: key(from, group) })
            }
            Step::Counters(from, group, packets) => {
                (0, Input::Counters { key: key(from, group), packets, octets: packets, wrong_interface: 0 })
            }
        });
    }
    for (wait, input) in inputs {
        now += Duration::from_millis(wait);
        router.handle(now, input);
        assert!(router.poll_timeout().is_none_or(|next| next > now), "a timer that is due has run");
        while let Some(output) = router.poll_output() {
            match &output {
                Output::SetEntry(entry) => {
                    assert!(!entry.outgoing.contains_key(&entry.incoming), "an entry never sends back");
                    entries.insert(entry.key, entry.clone());
                }
                Output::DeleteEntry(key) => assert!(entries.remove(key).is_some(), "only what is there is deleted"),
                Output::Send { datagram, .. } => assert!(datagram.payload.len() <= 200 - 24),
                _ => {}
            }
            log.push(format!("{now} {output:?}"));
        }
        assert!(entries.len() <= 4);
        for show in router_core::show::Show::ALL {
            if let router_core::show::Shown::Groups(groups) = router.show(now, show) {
                assert!(groups.len() <= 9 && groups.iter().all(|group| group.sources.len() <= 3), "{groups:?}");
            }
        }
    }
    log
}
