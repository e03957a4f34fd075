//! Streams over real sockets: two hosts, `a` and `b`, on a veth pair. Each test runs in namespaces of its own.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, socket};
use testbed::network::Time;
use testbed::network::notifier::Notifier;
use testbed::sys::netns::within;
use testbed::topology::plan::NodeId;
use testbed::topology::steps::SourceFilter;
use testbed::traffic::stamp::StreamId;
use testbed::traffic::{Place, StreamSpec, Traffic};

const INSIDE: &str = "TESTBED_TEST_INSIDE";
/// Kernel indexes of the two ends.
const A: u32 = 101;
const B: u32 = 102;
/// Addresses of `a`: two, so that there are two sources.
const SOURCE: &str = "10.0.0.1";
const OTHER: &str = "10.0.0.3";
const GROUP: &str = "239.1.1.1";

/// The two hosts, if the test runs in its namespaces; else it is run there, to its end, and there is nothing left to do.
fn hosts(test: &str) -> Option<(Place, Place)> {
    if std::env::var_os(INSIDE).is_some() {
        let place = |host, name: &str| Place {
            host: NodeId(host),
            name: name.into(),
            netns: Some(PathBuf::from("/run/netns").join(name)),
        };
        return Some((place(0, "a"), place(1, "b")));
    }
    let setup = format!(
        "set -e
        mount -t tmpfs none /run
        ip netns add a
        ip netns add b
        ip link add va index {A} netns a type veth peer name vb index {B} netns b
        for n in a b; do ip netns exec $n sysctl -qw net.ipv4.igmp_qrv=1 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.v$n.accept_dad=0; done
        ip -n a addr add {SOURCE}/24 dev va
        ip -n a addr add {OTHER}/24 dev va
        ip -n a addr add 2001:db8::1/64 dev va nodad
        ip -n b addr add 10.0.0.2/24 dev vb
        ip -n a link set va up
        ip -n b link set vb up
        # Until the kernel has seen the carrier, which it does for the whole machine in one queue, an interface swallows what is sent.
        for end in va:a vb:b; do
          until ip -n ${{end#*:}} -o link show ${{end%:*}} | grep -q 'state UP'; do :; done
        done
        exec \"$@\""
    );
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount"]);
    if !nix::unistd::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command.args(["timeout", "60", "sh", "-c", &setup, "sh"]);
    command.arg(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture", "--test-threads=1"]);
    let status = command.env(INSIDE, "1").status().expect("run unshare");
    assert!(status.success(), "{test} failed in its namespaces: {status}");
    None
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn all() -> SourceFilter {
    SourceFilter::Exclude(BTreeSet::new())
}

fn include(sources: &[&str]) -> SourceFilter {
    SourceFilter::Include(sources.iter().map(|s| ip(s)).collect())
}

fn exclude(sources: &[&str]) -> SourceFilter {
    SourceFilter::Exclude(sources.iter().map(|s| ip(s)).collect())
}

fn stream(name: &str) -> StreamSpec {
    StreamSpec {
        name: name.into(),
        interface: A,
        source: Some(ip(SOURCE)),
        group: ip(GROUP),
        groups: 1,
        port: 5001,
        rate: 1000.0,
        size: 200,
        ttl: 16,
        count: None,
        burst: 1,
    }
}

struct Bench {
    traffic: Traffic,
    notifier: Arc<Notifier>,
}

impl Bench {
    fn new() -> Bench {
        let notifier = Arc::new(Notifier::new());
        Bench { traffic: Traffic::new(Arc::clone(&notifier)).unwrap(), notifier }
    }

    fn until(&self, limit: Duration, done: impl Fn(&Traffic) -> bool) -> bool {
        let deadline = Instant::now() + limit;
        loop {
            let seen = self.notifier.generation();
            if done(&self.traffic) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            // Sending alone notifies nobody.
            self.notifier.wait(seen, left.min(Duration::from_millis(10)));
        }
    }

    fn ended(&self, stream: StreamId, limit: Duration) -> bool {
        self.until(limit, |traffic| traffic.progress(stream).unwrap().ended)
    }
}

const LONG: Duration = Duration::from_secs(20);

#[test]
fn every_packet_arrives_once_with_its_times_and_ttl() {
    let Some((a, b)) = hosts("every_packet_arrives_once_with_its_times_and_ttl") else { return };
    let mut bench = Bench::new();
    let joined = bench.traffic.join(&b, B, ip(GROUP), &all()).unwrap();
    let spec = StreamSpec { count: Some(500), ..stream("news") };
    let id = bench.traffic.start(&a, &spec).unwrap();
    assert!(bench.ended(id, LONG));
    let all_came = bench.until(LONG, |traffic| traffic.arrived(id, b.host) == 500);
    let came: Vec<u64> = bench.traffic.arrivals(id, b.host, 0).iter().map(|arrival| arrival.sequence).collect();
    assert!(all_came, "{} came: {came:?}; doubts: {:?}", came.len(), bench.traffic.doubts());
    let sent = bench.traffic.sent(id, 0);
    let arrivals = bench.traffic.arrivals(id, b.host, 0);
    assert_eq!(sent.len(), 500);
    for (n, arrival) in arrivals.iter().enumerate() {
        assert_eq!((arrival.sequence, arrival.ttl), (n as u64, 16));
        // The stamp and the record are two readings, of two clocks.
        let apart = arrival.sent.0.abs_diff(sent[n].0);
        assert!(apart < 50_000_000, "stamp and record are {apart} ns apart");
        assert!(arrival.received >= arrival.sent && arrival.sent > joined, "{arrival:?}");
    }
    let took = sent[499].since(sent[0]);
    assert!(took >= Duration::from_millis(490), "500 packets in {took:?}");
    assert_eq!(bench.traffic.arrivals(id, b.host, 498), arrivals[498..]);
    assert_eq!(bench.traffic.arrivals(id, a.host, 0), []);
    assert_eq!(bench.traffic.progress(id).unwrap().not_sent(), 0);
    assert_eq!(bench.traffic.heard(b.host), [id]);
}

#[test]
fn hosts_hear_only_what_their_filter_lets_in() {
    let Some((a, b)) = hosts("hosts_hear_only_what_their_filter_lets_in") else { return };
    let mut bench = Bench::new();
    let one = bench.traffic.start(&a, &stream("one")).unwrap();
    let two = bench.traffic.start(&a, &StreamSpec { source: Some(ip(OTHER)), ..stream("two") }).unwrap();
    let streams = [one, two];
    for (filter, heard) in [
        (all(), [true, true]),
        (include(&[SOURCE]), [true, false]),
        (include(&[OTHER, "10.9.9.9"]), [false, true]),
        (exclude(&[OTHER]), [true, false]),
        (exclude(&[OTHER, SOURCE]), [false, false]),
        (include(&[SOURCE, OTHER]), [true, true]),
        (include(&[]), [false, false]),
        (exclude(&[SOURCE]), [false, true]),
    ] {
        let changed = bench.traffic.join(&b, B, ip(GROUP), &filter).unwrap();
        let past =
            |traffic: &Traffic, stream| traffic.sent(stream, 0).last().is_some_and(|t| t.0 > changed.0 + 50_000_000);
        assert!(bench.until(LONG, |traffic| streams.iter().all(|s| past(traffic, *s))));
        for (stream, expected) in streams.iter().zip(heard) {
            // A packet that was on its way when the filter changed may still be heard.
            let settled = Time(changed.0 + 10_000_000);
            let is_new = |a: &testbed::network::Arrival| a.sent > settled;
            let arrived = |traffic: &Traffic| traffic.arrivals(*stream, b.host, 0).iter().any(is_new);
            if expected {
                assert!(bench.until(LONG, arrived), "{filter:?} lets {stream} in");
            } else {
                assert!(!arrived(&bench.traffic), "{filter:?} keeps {stream} out");
            }
        }
    }
    bench.traffic.leave(&b, B, ip(GROUP)).unwrap();
    assert!(bench.traffic.leave(&b, B, ip(GROUP)).is_err(), "it left");
}

/// IGMPv3 reports that `a` sees from `b`, as the octets of their IGMP message.
struct Reports(std::os::fd::OwnedFd);

impl Reports {
    fn new(a: &Place) -> Reports {
        let open = || socket(AddressFamily::Packet, SockType::Datagram, SockFlag::SOCK_NONBLOCK, SockProtocol::EthAll);
        Reports(within(a.netns.as_ref().unwrap(), open).unwrap().unwrap())
    }

    /// The group records of what came until now and for 100 ms more: type and sources of each.
    fn records(&self) -> Vec<Vec<(u8, BTreeSet<IpAddr>)>> {
        let deadline = Instant::now() + Duration::from_millis(100);
        let mut reports = Vec::new();
        let mut buffer = [0; 2048];
        while Instant::now() < deadline {
            let Ok(length) = recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()) else {
                std::thread::sleep(Duration::from_millis(2));
                continue;
            };
            let packet = &buffer[..length];
            if packet[0] >> 4 != 4 || packet[9] != 2 || packet[12..16] != [10, 0, 0, 2] {
                continue;
            }
            let igmp = &packet[usize::from(packet[0] & 15) * 4..];
            if igmp[0] != 0x22 {
                continue;
            }
            let mut rest = &igmp[8..];
            let mut records = Vec::new();
            for _ in 0..u16::from_be_bytes([igmp[6], igmp[7]]) {
                let count = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
                let address = |octets: &[u8]| IpAddr::from(<[u8; 4]>::try_from(octets).unwrap());
                let sources = rest[8..8 + 4 * count].chunks_exact(4).map(address).collect();
                if address(&rest[4..8]) == ip(GROUP) {
                    records.push((rest[0], sources));
                }
                rest = &rest[8 + 4 * count..];
            }
            if !records.is_empty() {
                records.sort();
                reports.push(records);
            }
        }
        reports
    }
}

#[test]
fn each_change_of_a_filter_is_one_report_however_many_sockets_receive() {
    let Some((a, b)) = hosts("each_change_of_a_filter_is_one_report_however_many_sockets_receive") else { return };
    let mut bench = Bench::new();
    let reports = Reports::new(&a);
    for port in [5001, 5002, 5003] {
        bench.traffic.listen(ip(GROUP), port).unwrap();
    }
    // Record types of RFC 9776 §4.2.13.
    const TO_INCLUDE: u8 = 3;
    const TO_EXCLUDE: u8 = 4;
    const ALLOW: u8 = 5;
    const BLOCK: u8 = 6;
    let (s, t, u) = ("10.1.0.1", "10.1.0.2", "10.1.0.3");
    type Record<'a> = (u8, &'a [&'a str]);
    let steps: [(Option<SourceFilter>, &[Record]); 9] = [
        (Some(all()), &[(TO_EXCLUDE, &[])]),
        (Some(exclude(&[s])), &[(BLOCK, &[s])]),
        (Some(exclude(&[t])), &[(ALLOW, &[s]), (BLOCK, &[t])]),
        (Some(include(&[s, t])), &[(TO_INCLUDE, &[s, t])]),
        (Some(include(&[t, u])), &[(ALLOW, &[u]), (BLOCK, &[s])]),
        (Some(exclude(&[s, u])), &[(TO_EXCLUDE, &[s, u])]),
        (None, &[(TO_INCLUDE, &[])]),
        (Some(include(&[s, t])), &[(ALLOW, &[s, t])]),
        (Some(include(&[])), &[(BLOCK, &[s, t])]),
    ];
    for (filter, expected) in steps {
        match &filter {
            Some(filter) => bench.traffic.join(&b, B, ip(GROUP), filter).unwrap(),
            None => bench.traffic.leave(&b, B, ip(GROUP)).unwrap(),
        };
        let expected: Vec<(u8, BTreeSet<IpAddr>)> =
            expected.iter().map(|(kind, sources)| (*kind, sources.iter().map(|s| ip(s)).collect())).collect();
        assert_eq!(reports.records(), [expected], "after {filter:?}");
    }
}

#[test]
fn a_stream_survives_its_interface_and_counts_what_it_could_not_send() {
    let Some((a, b)) = hosts("a_stream_survives_its_interface_and_counts_what_it_could_not_send") else { return };
    let mut bench = Bench::new();
    bench.traffic.join(&b, B, ip(GROUP), &all()).unwrap();
    let id = bench.traffic.start(&a, &stream("news")).unwrap();
    let set = |state| Command::new("ip").args(["-n", "a", "link", "set", "va", state]).status().unwrap().success();
    assert!(bench.until(LONG, |traffic| traffic.arrived(id, b.host) > 50));
    assert!(set("down"));
    let refused = bench.traffic.progress(id).unwrap().not_sent();
    let deadline = Instant::now() + LONG;
    while bench.traffic.progress(id).unwrap().not_sent() < refused + 50 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(bench.traffic.progress(id).unwrap().not_sent() >= refused + 50);
    assert!(set("up"));
    let before = bench.traffic.arrived(id, b.host);
    assert!(bench.until(LONG, |traffic| traffic.arrived(id, b.host) > before + 50));
    bench.traffic.stop(id).unwrap();
    bench.traffic.stop(id).unwrap();
    let progress = bench.traffic.progress(id).unwrap();
    assert_eq!(progress.sent, bench.traffic.sent(id, 0).len() as u64);
    assert!(progress.ended && progress.sent >= before as u64 + 50);
}

#[test]
fn a_slow_stream_stops_at_once() {
    let Some((a, _)) = hosts("a_slow_stream_stops_at_once") else { return };
    let mut bench = Bench::new();
    let id = bench.traffic.start(&a, &StreamSpec { rate: 0.1, ..stream("slow") }).unwrap();
    let deadline = Instant::now() + LONG;
    while bench.traffic.sent(id, 0).is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    let asked = Instant::now();
    bench.traffic.stop(id).unwrap();
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    assert_eq!(bench.traffic.sent(id, 0).len(), 1);
}

#[test]
fn several_ports_bursts_and_families_are_told_apart() {
    let Some((a, b)) = hosts("several_ports_bursts_and_families_are_told_apart") else { return };
    let mut bench = Bench::new();
    let six = ip("ff3e::4321:1234");
    bench.traffic.join(&b, B, ip(GROUP), &all()).unwrap();
    bench.traffic.join(&b, B, six, &SourceFilter::Include([ip("2001:db8::1")].into())).unwrap();
    let specs = [
        StreamSpec { count: Some(100), ..stream("first") },
        StreamSpec { count: Some(105), port: 5002, burst: 10, ..stream("second") },
        StreamSpec {
            count: Some(20),
            group: six,
            source: Some(ip("2001:db8::1")),
            ttl: 3,
            size: 32,
            ..stream("third")
        },
    ];
    let ids = specs.clone().map(|spec| bench.traffic.start(&a, &spec).unwrap());
    for (spec, id) in specs.iter().zip(ids) {
        let count = spec.count.unwrap() as usize;
        assert!(bench.ended(id, LONG));
        assert!(bench.until(LONG, |traffic| traffic.arrived(id, b.host) == count), "{}", spec.name);
        let arrivals = bench.traffic.arrivals(id, b.host, 0);
        assert!(arrivals.iter().enumerate().all(|(n, a)| a.sequence == n as u64 && a.ttl == spec.ttl));
    }
    let heard: BTreeSet<_> = bench.traffic.heard(b.host).into_iter().collect();
    assert_eq!(heard, ids.into());
    assert_eq!(bench.traffic.strangers(b.host), 0);
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let Some((a, b)) = hosts("what_cannot_be_is_refused_by_name") else { return };
    let mut bench = Bench::new();
    let said = |error: testbed::traffic::TrafficError| error.to_string();
    let error = bench.traffic.start(&a, &StreamSpec { interface: 9, ..stream("news") }).unwrap_err();
    assert!(said(error).starts_with("a: cannot open a socket for stream news to 239.1.1.1:5001: "));
    let error = bench.traffic.start(&a, &StreamSpec { source: Some(ip("10.7.7.7")), ..stream("news") }).unwrap_err();
    assert!(said(error).contains("Cannot assign requested address"));
    let error = bench.traffic.join(&b, B, ip("10.0.0.9"), &all()).unwrap_err();
    assert_eq!(said(error), "b: 10.0.0.9 is no multicast address");
    let error = bench.traffic.join(&b, 77, ip(GROUP), &all()).unwrap_err();
    assert!(said(error).starts_with("b: cannot join 239.1.1.1 on interface 77: No such device"));
    let error = bench.traffic.join(&b, B, ip(GROUP), &include(&["2001:db8::1"])).unwrap_err();
    assert_eq!(said(error), "b: source 2001:db8::1 and group 239.1.1.1 are not of one address family");
    let nowhere = Place { netns: Some("/run/netns/nobody".into()), ..a.clone() };
    let error = bench.traffic.start(&nowhere, &stream("news")).unwrap_err();
    assert!(said(error).starts_with("a: cannot enter its network namespace /run/netns/nobody: No such file"));
    // More sources than the kernel takes (10 unless igmp_max_msf is raised): the membership stays what it was.
    bench.traffic.listen(ip(GROUP), 5001).unwrap();
    bench.traffic.join(&b, B, ip(GROUP), &include(&[SOURCE])).unwrap();
    let many: BTreeSet<IpAddr> = (0..12).map(|n| IpAddr::from([10, 3, 0, n])).collect();
    let error = bench.traffic.join(&b, B, ip(GROUP), &SourceFilter::Include(many)).unwrap_err();
    assert!(said(error).contains("No buffer space available"));
    let id = bench.traffic.start(&a, &stream("news")).unwrap();
    assert!(bench.until(LONG, |traffic| traffic.arrived(id, b.host) > 0), "still a member of the old filter");
}
