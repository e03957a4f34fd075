//! Rubbish by the ten thousand: no panic, flat memory, and a stream that does not notice.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use router_core::wire::checksum;
use router_core::wire::igmp::{self, Message, QueryV3, Record, RecordKind};
use router_core::wire::ipv4::Header;

use crate::support::{Daemon, Host, PATIENCE, eventually, igmp_header, in_namespace, receives};
use crate::{GROUP, PORT};

/// Packets of each kind.
const PACKETS: u32 = 10_000;
/// What memory may grow by after the first round has filled every table to its bound, in KiB: less than eight octets a packet.
const GROWTH: u64 = 512;

const ROUTER: &str = "
interfaces: [{name: src}, {name: dst}]
routes: [{group: 239.0.0.0/8, incoming: src}]
limits: {groups-per-interface: 100, sources-per-group: 20, forwarding-entries: 100}
";

/// A small generator (xorshift): the same rubbish each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }

    /// A group that no test host is a member of.
    fn group(&mut self) -> Ipv4Addr {
        Ipv4Addr::new(239, 77, self.next() as u8, self.next() as u8)
    }
}

/// Makes an unspoilt message of a kind, with the address that it goes to.
type Kind = fn(&mut Random) -> (Ipv4Addr, Message);

/// The kinds of messages that are spoilt.
fn kinds() -> Vec<Kind> {
    vec![
        |_| (igmp::ALL_SYSTEMS, Message::QueryV1),
        |random| {
            let group = random.group();
            (group, Message::QueryV2 { max_resp_time: random.next() as u8 | 1, group })
        },
        |random| {
            let group = random.group();
            let sources = (0..random.below(30)).map(|_| Ipv4Addr::from(random.next() as u32)).collect();
            let max_resp_code = random.next() as u8;
            (group, Message::QueryV3(QueryV3 { max_resp_code, group, suppress: false, qrv: 2, qqic: 1, sources }))
        },
        |random| {
            let group = random.group();
            (group, Message::ReportV1 { group })
        },
        |random| {
            let group = random.group();
            (group, Message::ReportV2 { group })
        },
        |random| (igmp::ALL_ROUTERS, Message::LeaveV2 { group: random.group() }),
        |random| {
            let record = |random: &mut Random| Record {
                kind: RecordKind::from(random.next() as u8 % 8),
                group: random.group(),
                sources: (0..random.below(40)).map(|_| Ipv4Addr::from(random.next() as u32)).collect(),
            };
            let records = (0..random.below(8)).map(|_| record(random)).collect();
            (igmp::ALL_V3_ROUTERS, Message::ReportV3 { records })
        },
    ]
}

/// Spoils a packet in one way of many.
fn spoil(random: &mut Random, header: &mut Header, payload: &mut Vec<u8>) {
    let fix_checksum = |payload: &mut Vec<u8>| {
        if payload.len() >= 4 {
            payload[2..4].fill(0);
            let sum = checksum::internet(payload);
            payload[2..4].copy_from_slice(&sum.to_be_bytes());
        }
    };
    match random.below(8) {
        // A wrong checksum.
        0 => payload[3] ^= 1 + random.below(255) as u8,
        // Cut short, with and without a right checksum.
        1 => payload.truncate(random.below(8)),
        2 => {
            payload.truncate(4 + random.below(4));
            fix_checksum(payload);
        }
        // Counts of records and sources that lie.
        3 if payload.len() >= 12 => {
            let at = [6, 10][random.below(2)];
            payload[at] = 0xff;
            fix_checksum(payload);
        }
        // An unknown type.
        4 => {
            payload[0] = 0x30 + random.below(0x40) as u8;
            fix_checksum(payload);
        }
        // A TTL that crossed a router.
        5 => header.ttl = 2 + random.below(253) as u8,
        // The unspecified group, or one that is no group.
        6 => {
            if payload.len() >= 8 {
                payload[4..8].copy_from_slice(&[10, random.next() as u8, 0, 1]);
            }
            header.ttl = 0;
            fix_checksum(payload);
        }
        // Noise all over.
        _ => {
            let noise = random.bytes(payload.len());
            payload.copy_from_slice(&noise);
            payload[0] |= 0x80;
        }
    }
}

/// A packet whose IP options are noise behind a length that fits, so that the next machine's kernel has to look at them.
fn with_noisy_options(random: &mut Random, header: &Header, payload: &[u8]) -> Vec<u8> {
    let mut packet = header.emit(payload).expect("short");
    let words = 1 + random.below(10);
    let options = random.bytes(words * 4);
    let old = header.length();
    packet.splice(20..old, options);
    packet[0] = 0x40 | (5 + words) as u8;
    packet
}

#[test]
fn ten_thousand_malformed_packets_of_each_kind_change_nothing() {
    in_namespace("malformed::ten_thousand_malformed_packets_of_each_kind_change_nothing", || {
        let (source, member) = (Host::attach("src", 1), Host::attach("dst", 2));
        let mut daemon = Daemon::start(ROUTER);
        let receiver = member.join(GROUP, PORT);
        daemon.wait_for_member("dst", GROUP);
        let sender = source.sender();
        sender.send_to(&0u64.to_be_bytes(), (GROUP, PORT)).unwrap();
        assert!(receives(&receiver, PATIENCE));

        // The stream: a packet a millisecond, counted at the member.
        let is_over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&is_over);
        let stream = std::thread::spawn(move || {
            let mut sent = 1u64;
            while !stop.load(Ordering::Relaxed) {
                sender.send_to(&sent.to_be_bytes(), (GROUP, PORT)).unwrap();
                sent += 1;
                std::thread::sleep(Duration::from_millis(1));
            }
            sent
        });
        let counted = std::thread::spawn(move || {
            let mut sequence = vec![0];
            receiver.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
            let mut packet = [0; 64];
            while let Ok(length) = receiver.recv(&mut packet) {
                sequence.push(u64::from_be_bytes(packet[..length].try_into().unwrap()));
            }
            sequence
        });

        let mut random = Random(0x5eed);
        let sides = [(source.raw(), source.address), (member.raw(), member.address)];
        let round = |random: &mut Random, packets: u32, daemon: &mut Daemon| {
            for make in kinds() {
                for index in 0..packets {
                    let (raw, address) = &sides[index as usize % 2];
                    let (destination, message) = make(random);
                    let mut header = igmp_header(*address, destination);
                    let mut payload = message.emit();
                    if index % 10 == 9 {
                        payload[3] ^= 0x55;
                        raw.send(&with_noisy_options(random, &header, &payload));
                    } else {
                        spoil(random, &mut header, &mut payload);
                        raw.send(&header.emit(&payload).expect("short"));
                    }
                    if index % 1000 == 0 {
                        daemon.take_events();
                    }
                }
            }
            for index in 0..packets {
                // Rubbish for groups that nobody wants, from sources near and far: upcalls, and entries up to the bound.
                let (raw, address) = &sides[index as usize % 2];
                let source = if index % 3 == 0 { Ipv4Addr::from(random.next() as u32 >> 2) } else { *address };
                let (group, length) = (random.group(), random.below(200));
                let header =
                    Header { ttl: 9, protocol: 17, router_alert: index % 5 == 0, ..igmp_header(source, group) };
                raw.send(&header.emit(&random.bytes(length)).expect("short"));
                // Unspoilt reports of more groups than may be.
                let group = random.group();
                raw.igmp(*address, group, &Message::ReportV2 { group }.emit());
                if index % 1000 == 0 {
                    daemon.take_events();
                }
            }
        };
        round(&mut random, PACKETS / 2, &mut daemon);
        let (before, _) = daemon.memory();
        round(&mut random, PACKETS, &mut daemon);
        let (after, _) = daemon.memory();

        is_over.store(true, Ordering::Relaxed);
        let sent = stream.join().unwrap();
        let sequence = counted.join().unwrap();
        assert_eq!(sequence.len() as u64, sent, "packets of the stream were lost or came twice");
        assert!(sequence.windows(2).all(|pair| pair[1] == pair[0] + 1), "the stream's order changed");
        assert!(after <= before + GROWTH, "memory grew from {before} KiB to {after} KiB");
        assert!(daemon.counter("shell-packets-received") > u64::from(PACKETS));
        assert_eq!(daemon.terminate().code(), Some(0));
    });
}

#[test]
fn a_flood_does_not_keep_the_timers_waiting() {
    in_namespace("malformed::a_flood_does_not_keep_the_timers_waiting", || {
        let member = Host::attach("dst", 2);
        let mut daemon =
            Daemon::start("{interfaces: [{name: dst}], igmp: {query-interval: 500ms, query-response-interval: 100ms}}");
        let queries = |daemon: &Daemon| daemon.counter("dst.sent.general-query");
        eventually("the startup queries are sent", || queries(&daemon) >= 2);
        let raw = member.raw();
        let report =
            igmp_header(member.address, GROUP).emit(&Message::ReportV2 { group: GROUP }.emit()).expect("short");
        let (before, begun) = (queries(&daemon), Instant::now());
        let mut sent = 0u64;
        while begun.elapsed() < Duration::from_secs(3) {
            for _ in 0..1000 {
                raw.send(&report);
            }
            sent += 1000;
        }
        // Six are due; a busy machine may make one or two of them late.
        let asked = queries(&daemon) - before;
        assert!(asked >= 3, "{asked} queries in 3 s of flood with {sent} packets");
        daemon.take_events();
    });
}
