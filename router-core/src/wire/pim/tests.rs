//! Real messages, broken messages, and properties that hold for all.

use proptest::prelude::*;

use super::codec::bits;
use super::hello::PROPAGATION_DELAY_MAX;
use super::*;

const FROM: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
const TO: IpAddr = IpAddr::V4(ALL_PIM_ROUTERS);

fn bytes(hex: &str) -> Vec<u8> {
    let hex: String = hex.split_whitespace().collect();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Bytes with the checksum that they need between IPv4 addresses.
fn sealed(mut message: Vec<u8>) -> Vec<u8> {
    message[2..4].fill(0);
    let sum = checksum::internet(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

fn read(hex: &str) -> Result<Message, Error> {
    parse(FROM, TO, &sealed(bytes(hex)))
}

fn single(address: &str) -> EncodedSource {
    let address = ip(address);
    EncodedSource { address, mask_length: bits(address), sparse: false, wildcard: false, rpt: false }
}

fn join_prune() -> JoinPrune {
    JoinPrune {
        upstream: ip("10.0.0.1"),
        hold_time: 210,
        groups: vec![GroupSet {
            group: ip("239.1.1.1"),
            mask_length: 32,
            joined: vec![],
            pruned: vec![single("192.0.2.9")],
        }],
    }
}

/// Each type, octet by octet as RFC 3973 §4.7 draws it, with the checksum.
#[test]
fn messages_read_as_meant_and_are_written_alike() {
    let graft = || JoinPrune {
        upstream: ip("10.0.0.1"),
        hold_time: 0,
        groups: vec![GroupSet {
            group: ip("239.1.1.1"),
            mask_length: 32,
            joined: vec![single("192.0.2.9")],
            pruned: vec![],
        }],
    };
    for (hex, message) in [
        (
            "2000 69bc 0001 0002 0069 0002 0004 01f4 09c4 0014 0004 1234 5678 0015 0004 013c 0000",
            Message::Hello(Hello {
                hold_time: Some(105),
                lan_prune_delay: Some(LanPruneDelay {
                    tracking: false,
                    propagation_delay: 500,
                    override_interval: 2500,
                }),
                generation_id: Some(0x1234_5678),
                state_refresh_interval: Some(60),
                ..Hello::default()
            }),
        ),
        (
            "2300 1cde 0100 0a00 0001 0001 00d2 0100 0020 ef01 0101 0000 0001 0100 0020 c000 0209",
            Message::JoinPrune(join_prune()),
        ),
        (
            "2500 2651 0100 0020 ef01 0101 0100 c000 0209 0000 006e 0000 0014",
            Message::Assert(Assert {
                group: ip("239.1.1.1"),
                source: ip("192.0.2.9"),
                rpt: false,
                preference: 110,
                metric: 20,
            }),
        ),
        (
            "2600 1ab0 0100 0a00 0001 0001 0000 0100 0020 ef01 0101 0001 0000 0100 0020 c000 0209",
            Message::Graft(graft()),
        ),
        (
            "2700 19b0 0100 0a00 0001 0001 0000 0100 0020 ef01 0101 0001 0000 0100 0020 c000 0209",
            Message::GraftAck(graft()),
        ),
        (
            "2900 5ef3 0100 0020 ef01 0101 0100 c000 0209 0100 0a00 0001 0000 006e 0000 0014 1820 a03c",
            Message::StateRefresh(StateRefresh {
                group: ip("239.1.1.1"),
                source: ip("192.0.2.9"),
                originator: ip("10.0.0.1"),
                rpt: false,
                preference: 110,
                metric: 20,
                mask_length: 24,
                ttl: 32,
                prune_indicator: true,
                prune_now: false,
                assert_override: true,
                interval: 60,
            }),
        ),
    ] {
        assert_eq!(message.emit(FROM, TO), bytes(hex), "{message:?}\n{:02x?}", message.emit(FROM, TO));
        assert_eq!(parse(FROM, TO, &bytes(hex)), Ok(message), "{hex}");
    }
}

/// Those of sparse mode and of the bootstrap mechanism, as RFC 7761 §4.9 and RFC 5059 §4 draw them.
#[test]
fn messages_of_sparse_mode_read_as_meant_and_are_written_alike() {
    let range = |group, mask_length, bidir, scoped| CandidateRange { group: ip(group), mask_length, bidir, scoped };
    for (hex, message) in [
        (
            "2100 deff 0000 0000 4500 001c 0000 0000 0f11 bfc4 c000 0209 ef01 0101 1388 1388 0008 0000",
            Message::Register(Register { border: false, null: false, packet: packet() }),
        ),
        (
            "2100 9eff 4000 0000 4500 0014 0000 0000 0067 ce76 c000 0209 ef01 0101",
            Message::Register(Register {
                border: false,
                null: true,
                packet: bytes("4500 0014 0000 0000 0067 ce76 c000 0209 ef01 0101"),
            }),
        ),
        ("2100 5eff 8000 0000", Message::Register(Register { border: true, null: false, packet: vec![] })),
        (
            "2200 29d3 0100 0020 ef01 0101 0100 c000 0209",
            Message::RegisterStop(RegisterStop { group: ip("239.1.1.1"), mask_length: 32, source: ip("192.0.2.9") }),
        ),
        (
            "2480 ff5b 1234 1e40 0100 0a00 0001 0100 0004 e000 0000 0201 0000 0100 0a00 0002 0096 c000
             0100 0110 efff 0000 0000 0000",
            Message::Bootstrap(Bootstrap {
                no_forward: true,
                fragment_tag: 0x1234,
                hash_mask_length: 30,
                priority: 64,
                address: ip("10.0.0.1"),
                ranges: vec![
                    BootstrapRange {
                        group: ip("224.0.0.0"),
                        mask_length: 4,
                        bidir: false,
                        scoped: false,
                        rp_count: 2,
                        rps: vec![BootstrapRp { address: ip("10.0.0.2"), hold_time: 150, priority: 192 }],
                    },
                    BootstrapRange {
                        group: ip("239.255.0.0"),
                        mask_length: 16,
                        bidir: false,
                        scoped: true,
                        rp_count: 0,
                        rps: vec![],
                    },
                ],
            }),
        ),
        (
            "2800 7799 02c0 0096 0100 0a00 0002 0100 0004 e000 0000 0100 8108 ef00 0000",
            Message::CandidateRpAdvertisement(CandidateRpAdvertisement {
                priority: 192,
                hold_time: 150,
                address: ip("10.0.0.2"),
                groups: vec![range("224.0.0.0", 4, false, false), range("239.0.0.0", 8, true, true)],
            }),
        ),
    ] {
        assert_eq!(message.emit(FROM, TO), bytes(hex), "{message:?}\n{:02x?}", message.emit(FROM, TO));
        assert_eq!(parse(FROM, TO, &bytes(hex)), Ok(message), "{hex}");
    }
}

/// A UDP packet, as registers carry them.
fn packet() -> Vec<u8> {
    bytes("4500 001c 0000 0000 0f11 bfc4 c000 0209 ef01 0101 1388 1388 0008 0000")
}

/// RFC 7761 §4.9.3: the sum covers the first 8 octets; one over the whole register is taken too. Over IPv6 the pseudo header's length is
/// that of what is covered.
#[test]
fn a_registers_checksum_covers_its_header_or_all_of_it() {
    let register = Message::Register(Register { border: false, null: false, packet: packet() });
    let whole = bytes("2100 f1e8 0000 0000 4500 001c 0000 0000 0f11 bfc4 c000 0209 ef01 0101 1388 1388 0008 0000");
    assert_eq!(parse(FROM, TO, &whole), Ok(register.clone()));
    // Octets behind the header may be anything if the sum is over the header.
    let mut other = register.emit(FROM, TO);
    *other.last_mut().unwrap() ^= 1;
    assert!(parse(FROM, TO, &other).is_ok());
    other[5] = 1;
    assert_eq!(parse(FROM, TO, &other), Err(Error::Checksum));
    let mut whole = whole;
    *whole.last_mut().unwrap() ^= 1;
    assert_eq!(parse(FROM, TO, &whole), Err(Error::Checksum));

    let (from, to) = (ip("2001:db8::2"), ip("2001:db8::1"));
    let written = register.emit(from, to);
    let mut covered = Vec::new();
    covered.extend([from, to].iter().flat_map(|address| match address {
        IpAddr::V6(address) => address.octets(),
        IpAddr::V4(_) => unreachable!(),
    }));
    covered.extend([0, 0, 0, 8, 0, 0, 0, PROTOCOL]);
    covered.extend(&written[..8]);
    assert!(checksum::is_valid(&covered));
    assert_eq!(parse(from, to, &written), Ok(register.clone()));
    // No other type's sum may leave anything out.
    let stop = RegisterStop { group: ip("239.1.1.1"), mask_length: 32, source: ip("192.0.2.9") };
    let mut stop = Message::RegisterStop(stop).emit(FROM, TO);
    stop[2..4].fill(0);
    let part = checksum::internet(&stop[..8]);
    stop[2..4].copy_from_slice(&part.to_be_bytes());
    assert_eq!(parse(FROM, TO, &stop), Err(Error::Checksum));
}

/// An assert cancel is an assert with the infinite metric (RFC 3973 §4.6.2): all bits of it set, the R bit too.
#[test]
fn an_infinite_metric_is_all_ones() {
    let cancel = Message::Assert(Assert {
        group: ip("239.1.1.1"),
        source: ip("192.0.2.9"),
        rpt: true,
        preference: INFINITE_PREFERENCE,
        metric: INFINITE_METRIC,
    });
    let written = cancel.emit(FROM, TO);
    assert_eq!(written[written.len() - 8..], [0xff; 8]);
    assert_eq!(parse(FROM, TO, &written), Ok(cancel));
}

#[test]
fn over_ipv6_the_checksum_covers_the_addresses() {
    let (from, to) = (ip("fe80::2"), ip("ff02::d"));
    let message = Message::Hello(Hello {
        hold_time: Some(105),
        addresses: vec![ip("2001:db8::2"), ip("fd00::2")],
        ..Hello::default()
    });
    let written = message.emit(from, to);
    // The same without the pseudo header: fe80::2 + ff02::d + 50 octets + 103, in one's complement.
    let plain = u32::from(u16::from_be_bytes([written[2], written[3]]));
    let (mut sum, pseudo) = (plain, 0xfe80 + 0x0002 + 0xff02 + 0x000d + 50 + 103);
    sum += pseudo;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let mut bare = written.clone();
    bare[2..4].copy_from_slice(&(sum as u16).to_be_bytes());
    assert!(checksum::is_valid(&bare));
    assert_eq!(written.len(), 50);
    assert_eq!(parse(from, to, &written), Ok(message));
    assert_eq!(parse(from, ip("ff02::e"), &written), Err(Error::Checksum));
    assert_eq!(parse(ip("fe80::3"), to, &written), Err(Error::Checksum));
}

#[test]
fn a_bootstrap_message_reads_as_its_octets_say_and_writes_back() {
    let rp = |last: u8, priority| BootstrapRp { address: ip(&format!("10.7.0.{last}")), hold_time: 150, priority };
    let range = BootstrapRange {
        group: ip("239.0.0.0"),
        mask_length: 8,
        bidir: true,
        scoped: true,
        rp_count: 3,
        rps: vec![rp(1, 192), rp(2, 0)],
    };
    let message = Bootstrap {
        no_forward: true,
        fragment_tag: 0xabcd,
        hash_mask_length: 30,
        priority: 64,
        address: ip("10.9.9.9"),
        ranges: vec![range.clone(), BootstrapRange { bidir: false, scoped: false, rp_count: 0, rps: vec![], ..range }],
    };
    let hex = "24 80 0000 abcd 1e 40 0100 0a090909 \
        0100 81 08 ef000000 03 02 0000 0100 0a070001 0096 c0 00 0100 0a070002 0096 00 00 \
        0100 00 08 ef000000 00 00 0000";
    let message = Message::Bootstrap(message);
    assert_eq!(read(hex), Ok(message.clone()));
    assert_eq!(message.emit(FROM, TO), sealed(bytes(hex)));
    assert!(
        matches!(read("24 00 0000 abcd 1e 40 0100 0a090909"), Ok(Message::Bootstrap(b)) if b.ranges.is_empty() && !b.no_forward)
    );
    let cut = "24 00 0000 abcd 1e 40 0100 0a090909 0100 00 08 ef000000 02 02 0000 0100 0a070001 0096 c0 00";
    assert_eq!(read(cut), Err(Error::Truncated { what: "rendezvous points", have: 10, need: 20 }));
}

#[test]
fn an_advertisement_reads_as_its_octets_say_and_writes_back() {
    let range =
        |group: &str, mask_length, scoped| CandidateRange { group: ip(group), mask_length, bidir: false, scoped };
    let groups = vec![range("224.0.0.0", 4, false), range("239.255.0.0", 16, true)];
    let message = CandidateRpAdvertisement { priority: 192, hold_time: 150, address: ip("10.7.0.1"), groups };
    let hex = "28 00 0000 02 c0 0096 0100 0a070001 0100 00 04 e0000000 0100 01 10 efff0000";
    let message = Message::CandidateRpAdvertisement(message);
    assert_eq!(read(hex), Ok(message.clone()));
    assert_eq!(message.emit(FROM, TO), sealed(bytes(hex)));
    let cut = "28 00 0000 02 c0 0096 0100 0a070001 0100 00 04 e0000000";
    assert_eq!(read(cut), Err(Error::Truncated { what: "group ranges", have: 8, need: 16 }));
}

/// What nobody has defined, or only later protocols use, is known by its number alone, whatever its checksum covers.
#[test]
fn types_and_versions_that_are_not_spoken_are_named() {
    for kind in [10, 11, 12, 13, 14, 15] {
        assert_eq!(parse(FROM, TO, &[0x20 | kind, 0, 1, 2, 3, 4]), Err(Error::Type(kind)));
    }
    assert_eq!(parse(FROM, TO, &[0x10, 0, 0xef, 0xff]), Err(Error::Version(1)));
    assert_eq!(parse(FROM, TO, &[0x20, 0, 0xdf]), Err(Error::Truncated { what: "a message", have: 3, need: 4 }));
    assert_eq!(parse(FROM, TO, &[0x20, 0, 0xdf, 0xfe]), Err(Error::Checksum));
    assert_eq!(parse(FROM, TO, &[0x20, 0, 0xdf, 0xff]), Ok(Message::Hello(Hello::default())));
}

#[test]
fn hello_options_that_are_not_known_are_skipped_and_of_a_repeated_one_the_last_counts() {
    let Ok(Message::Hello(hello)) = read(
        "2000 0000 0001 0002 0001 ffff 0003 abcdef 0016 0000 0001 0002 ffff 0013 0004 00000007 0002 0004 81f4 09c4
         0018 0006 0100 0a000105 0015 0004 02ff 0000",
    ) else {
        panic!()
    };
    assert_eq!(hello.hold_time, Some(HOLD_FOR_EVER));
    assert_eq!(hello.dr_priority, Some(7));
    assert_eq!(
        hello.lan_prune_delay,
        Some(LanPruneDelay { tracking: true, propagation_delay: 500, override_interval: 2500 })
    );
    assert_eq!(hello.addresses, [ip("10.0.1.5")]);
    // Version 2 of State Refresh Capable is not known here.
    assert_eq!(hello.state_refresh_interval, None);
}

#[test]
fn hello_options_of_a_wrong_length_make_the_message_malformed() {
    for (hex, option, length, expected) in [
        ("0001 0004 00000069", 1, 4, 2),
        ("0002 0002 01f4", 2, 2, 4),
        ("0013 0000", 19, 0, 4),
        ("0014 0003 010203", 20, 3, 4),
        ("0015 0002 013c", 21, 2, 4),
    ] {
        assert_eq!(
            read(&format!("20000000 {hex} 0001 0002 0069")),
            Err(Error::OptionLength { option, length, expected }),
            "{hex}"
        );
    }
    let cut = |what, have, need| Err(Error::Truncated { what, have, need });
    assert_eq!(read("20000000 0001 0002 69"), cut("a hello option's value", 1, 2));
    assert_eq!(read("20000000 0001 00"), cut("a hello option", 3, 4));
    assert_eq!(read("20000000 0018 0007 0100 0a000105 01"), cut("a secondary address", 1, 2));
    assert_eq!(read("20000000 ffff ffff 01"), cut("a hello option's value", 1, 65_535));
}

#[test]
fn counts_that_the_message_cannot_hold_are_refused_before_anything_is_reserved() {
    let cut = |what, have, need| Err(Error::Truncated { what, have, need });
    let head = "23000000 0100 0a000001 00";
    assert_eq!(read("23000000 0100 0a00"), cut("an upstream neighbour", 2, 4));
    assert_eq!(read(&format!("{head} 01 00")), cut("the number of groups and the hold time", 3, 4));
    assert_eq!(read(&format!("{head} ff 00d2 01000020 ef010101 00000000")), cut("groups", 12, 255 * 12));
    assert_eq!(
        read(&format!("{head} 01 00d2 01000020 ef010101 ffffffff 01000020 c0000209")),
        cut("joined sources", 8, 65_535 * 8)
    );
    assert_eq!(
        read(&format!("{head} 01 00d2 01000020 ef010101 00010001 01000020 c0000209")),
        cut("pruned sources", 0, 8)
    );
    // The first group's sources swallow what the second was counted with.
    assert_eq!(
        read(&format!("{head} 02 00d2 01000020 ef010101 00000001 01000020 c0000209 01000020")),
        cut("a group address", 0, 4)
    );
    assert_eq!(read("25000000 01000020 ef010101 0100 c0000209 0000006e 0000"), cut("a metric", 6, 8));
    assert_eq!(
        read("29000000 01000020 ef010101 0100 c0000209 0100 0a000001 0000006e 00000014 1820a0"),
        cut("a state refresh's last word", 3, 4)
    );
}

#[test]
fn messages_of_sparse_mode_that_are_cut_are_refused_before_anything_is_reserved() {
    let cut = |what, have, need| Err(Error::Truncated { what, have, need });
    assert_eq!(read("21000000 4000"), cut("a register", 2, 4));
    assert_eq!(read("22000000 01000020 ef0101"), cut("a group address", 3, 4));
    assert_eq!(read("22000000 01000020 ef010101 0100 c000"), cut("a source address", 2, 4));
    assert_eq!(read("24000000 1234 1e"), cut("a bootstrap message", 3, 4));
    assert_eq!(read("24000000 1234 1e40 0100 0a0000"), cut("a bootstrap router", 3, 4));
    let head = "24000000 1234 1e40 0100 0a000001 01000004 e0000000";
    assert_eq!(read(head), cut("the counts of a group range", 0, 4));
    assert_eq!(read(&format!("{head} ffff0000 0100 0a000002 0096 c000")), cut("rendezvous points", 10, 255 * 10));
    // Zero octets of padding are no group range.
    assert_eq!(
        read(&format!("{head} 01010000 0100 0a000002 0096 c000 0000")),
        Err(Error::Family { what: "a group range", family: 0, expected: 1 })
    );
    let head = "28000000";
    assert_eq!(read(&format!("{head} 01c0 00")), cut("an advertisement", 3, 4));
    assert_eq!(read(&format!("{head} 01c0 0096 0100 0a00")), cut("a candidate RP", 2, 4));
    assert_eq!(read(&format!("{head} ffc0 0096 0100 0a000002 01000004 e0000000")), cut("group ranges", 8, 255 * 8));
    assert_eq!(
        read(&format!("{head} 01c0 0096 0100 0a000002 01000021 e0000000")),
        Err(Error::MaskLength { what: "a group range", length: 33, most: 32 })
    );
}

/// A whole bootstrap message that says nothing, and an advertisement without groups, are messages (RFC 5059 §3.2: all groups).
#[test]
fn bootstrap_messages_without_ranges_and_advertisements_without_groups_are_read() {
    let Ok(Message::Bootstrap(bootstrap)) = read("24000000 0001 1e00 0100 0a000001") else { panic!() };
    assert_eq!((bootstrap.no_forward, bootstrap.ranges.len(), bootstrap.priority), (false, 0, 0));
    let Ok(Message::CandidateRpAdvertisement(advertisement)) = read("28000000 00c0 0000 0100 0a000002") else {
        panic!()
    };
    assert_eq!((advertisement.groups.len(), advertisement.hold_time), (0, 0));
}

#[test]
fn secondary_addresses_of_the_other_family_are_passed_over() {
    let Ok(Message::Hello(hello)) = read("20000000 0018 0018 0200 fe800000000000000000000000000001 0100 0a000105")
    else {
        panic!("no hello")
    };
    assert_eq!(hello.addresses, ["10.0.1.5".parse::<IpAddr>().unwrap()]);
    assert!(matches!(read("20000000 0018 0006 0200 fe800000"), Err(Error::Truncated { have: 6, need: 18, .. })));
    assert!(read("20000000 0018 0012 0201 fe800000000000000000000000000001").is_err());
}

#[test]
fn addresses_must_be_of_the_headers_family_in_the_native_encoding() {
    let family = |what, family| Err(Error::Family { what, family, expected: 1 });
    assert_eq!(read("23000000 0200 0a000001 00000000"), family("an upstream neighbour", 2));
    assert_eq!(read("25000000 02000020 ef010101 0100 c0000209 0000006e 00000014"), family("a group address", 2));
    assert_eq!(read("20000000 0018 0006 0300 0a000105"), family("a secondary address", 3));
    assert_eq!(
        read("23000000 0100 0a000001 00 01 00d2 01000020 ef010101 00010000 02000020 c0000209"),
        family("a source address", 2)
    );
    assert_eq!(
        read("25000000 01000020 ef010101 0107 c0000209 0000006e 00000014"),
        Err(Error::Encoding { what: "a source address", encoding: 7 })
    );
    assert_eq!(
        read("25000000 01000021 ef010101 0100 c0000209 0000006e 00000014"),
        Err(Error::MaskLength { what: "a group address", length: 33, most: 32 })
    );
    assert_eq!(
        read("29000000 01000020 ef010101 0100 c0000209 0100 0a000001 0000006e 00000014 2120a03c"),
        Err(Error::MaskLength { what: "the route to the source", length: 33, most: 32 })
    );
}

/// Reserved octets, the B and Z bits of a group, and what follows a message's fields.
#[test]
fn what_is_to_be_ignored_is_ignored() {
    assert_eq!(
        read("23ff0000 0100 0a000001 ff01 00d2 0100ff20 ef010101 00000001 0100f820 c0000209 deadbeef"),
        Ok(Message::JoinPrune(join_prune()))
    );
}

/// Counts and lists agree in whatever is written.
#[test]
fn what_the_fields_cannot_say_is_cut() {
    let set = join_prune().groups[0].clone();
    let many = JoinPrune { groups: vec![set; 300], ..join_prune() };
    let Ok(Message::JoinPrune(cut)) = parse(FROM, TO, &Message::JoinPrune(many).emit(FROM, TO)) else { panic!() };
    assert_eq!(cut.groups.len(), 255);
    let hello = Hello {
        lan_prune_delay: Some(LanPruneDelay { tracking: false, propagation_delay: 0xffff, override_interval: 1 }),
        addresses: vec![FROM; 20_000],
        ..Hello::default()
    };
    let Ok(Message::Hello(cut)) = parse(FROM, TO, &Message::Hello(hello).emit(FROM, TO)) else { panic!() };
    assert_eq!(cut.lan_prune_delay.unwrap().propagation_delay, 0x7fff);
    assert!(!cut.lan_prune_delay.unwrap().tracking);
    assert_eq!(cut.addresses.len(), 65_535 / 6);
}

fn address(is_ipv6: bool) -> BoxedStrategy<IpAddr> {
    if is_ipv6 {
        any::<[u8; 16]>().prop_map(IpAddr::from).boxed()
    } else {
        any::<[u8; 4]>().prop_map(IpAddr::from).boxed()
    }
}

fn hello(is_ipv6: bool) -> impl Strategy<Value = Hello> {
    let delay = (any::<bool>(), 0..=PROPAGATION_DELAY_MAX, any::<u16>()).prop_map(
        |(tracking, propagation_delay, override_interval)| LanPruneDelay {
            tracking,
            propagation_delay,
            override_interval,
        },
    );
    (
        any::<Option<u16>>(),
        proptest::option::of(delay),
        any::<Option<u32>>(),
        any::<Option<u32>>(),
        any::<Option<u8>>(),
        proptest::collection::vec(address(is_ipv6), 0..5),
    )
        .prop_map(|(hold_time, lan_prune_delay, dr_priority, generation_id, state_refresh_interval, addresses)| {
            Hello { hold_time, lan_prune_delay, dr_priority, generation_id, state_refresh_interval, addresses }
        })
}

fn any_join_prune(is_ipv6: bool) -> impl Strategy<Value = JoinPrune> {
    let most = if is_ipv6 { 128u8 } else { 32 };
    let source = move || {
        (address(is_ipv6), 0..=most, any::<[bool; 3]>()).prop_map(|(address, mask_length, [sparse, wildcard, rpt])| {
            EncodedSource { address, mask_length, sparse, wildcard, rpt }
        })
    };
    let sources = move || proptest::collection::vec(source(), 0..6);
    let set = (address(is_ipv6), 0..=most, sources(), sources())
        .prop_map(|(group, mask_length, joined, pruned)| GroupSet { group, mask_length, joined, pruned });
    (address(is_ipv6), any::<u16>(), proptest::collection::vec(set, 0..6))
        .prop_map(|(upstream, hold_time, groups)| JoinPrune { upstream, hold_time, groups })
}

fn any_assert(is_ipv6: bool) -> impl Strategy<Value = Assert> {
    (address(is_ipv6), address(is_ipv6), any::<bool>(), 0..=INFINITE_PREFERENCE, any::<u32>())
        .prop_map(|(group, source, rpt, preference, metric)| Assert { group, source, rpt, preference, metric })
}

fn any_refresh(is_ipv6: bool) -> impl Strategy<Value = StateRefresh> {
    let most = if is_ipv6 { 128u8 } else { 32 };
    (any_assert(is_ipv6), address(is_ipv6), 0..=most, any::<(u8, u8)>(), any::<[bool; 3]>()).prop_map(
        |(assert, originator, mask_length, (ttl, interval), [prune_indicator, prune_now, assert_override])| {
            let Assert { group, source, rpt, preference, metric } = assert;
            StateRefresh {
                group,
                source,
                originator,
                rpt,
                preference,
                metric,
                mask_length,
                ttl,
                prune_indicator,
                prune_now,
                assert_override,
                interval,
            }
        },
    )
}

fn any_register() -> impl Strategy<Value = Register> {
    let packet = proptest::collection::vec(any::<u8>(), 0..100);
    (any::<[bool; 2]>(), packet).prop_map(|([border, null], packet)| Register { border, null, packet })
}

fn any_register_stop(is_ipv6: bool) -> impl Strategy<Value = RegisterStop> {
    let most = if is_ipv6 { 128u8 } else { 32 };
    (address(is_ipv6), 0..=most, address(is_ipv6)).prop_map(|(group, mask_length, source)| RegisterStop {
        group,
        mask_length,
        source,
    })
}

fn any_bootstrap(is_ipv6: bool) -> impl Strategy<Value = Bootstrap> {
    let most = if is_ipv6 { 128u8 } else { 32 };
    let rp = move || {
        (address(is_ipv6), any::<u16>(), any::<u8>()).prop_map(|(address, hold_time, priority)| BootstrapRp {
            address,
            hold_time,
            priority,
        })
    };
    let range = (address(is_ipv6), 0..=most, any::<[bool; 2]>(), any::<u8>(), proptest::collection::vec(rp(), 0..5))
        .prop_map(|(group, mask_length, [bidir, scoped], rp_count, rps)| BootstrapRange {
            group,
            mask_length,
            bidir,
            scoped,
            rp_count,
            rps,
        });
    let head = (any::<bool>(), any::<u16>(), any::<[u8; 2]>(), address(is_ipv6));
    (head, proptest::collection::vec(range, 0..5)).prop_map(
        |((no_forward, fragment_tag, [hash_mask_length, priority], address), ranges)| Bootstrap {
            no_forward,
            fragment_tag,
            hash_mask_length,
            priority,
            address,
            ranges,
        },
    )
}

fn any_advertisement(is_ipv6: bool) -> impl Strategy<Value = CandidateRpAdvertisement> {
    let most = if is_ipv6 { 128u8 } else { 32 };
    let range = (address(is_ipv6), 0..=most, any::<[bool; 2]>())
        .prop_map(|(group, mask_length, [bidir, scoped])| CandidateRange { group, mask_length, bidir, scoped });
    (any::<u8>(), any::<u16>(), address(is_ipv6), proptest::collection::vec(range, 0..6)).prop_map(
        |(priority, hold_time, address, groups)| CandidateRpAdvertisement { priority, hold_time, address, groups },
    )
}

fn message(is_ipv6: bool) -> impl Strategy<Value = Message> {
    prop_oneof![
        any_register().prop_map(Message::Register),
        any_register_stop(is_ipv6).prop_map(Message::RegisterStop),
        any_bootstrap(is_ipv6).prop_map(Message::Bootstrap),
        any_advertisement(is_ipv6).prop_map(Message::CandidateRpAdvertisement),
        hello(is_ipv6).prop_map(Message::Hello),
        any_join_prune(is_ipv6).prop_map(Message::JoinPrune),
        any_assert(is_ipv6).prop_map(Message::Assert),
        any_join_prune(is_ipv6).prop_map(Message::Graft),
        any_join_prune(is_ipv6).prop_map(Message::GraftAck),
        any_refresh(is_ipv6).prop_map(Message::StateRefresh),
    ]
}

proptest! {
    #[test]
    fn emitted_messages_read_back((from, to, message) in any::<bool>().prop_flat_map(
        |is_ipv6| (address(is_ipv6), address(is_ipv6), message(is_ipv6))))
    {
        prop_assert_eq!(parse(from, to, &message.emit(from, to)), Ok(message));
    }

    #[test]
    fn no_bytes_make_the_parser_panic(kind in 0u8..16, reserved: u8,
                                      rest in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut message = vec![0x20 | kind, reserved, 0, 0];
        message.extend(rest);
        let _ = parse(FROM, TO, &message);
        let _ = parse(ip("fe80::2"), ip("ff02::d"), &message);
        if let Ok(read) = parse(FROM, TO, &sealed(message)) {
            prop_assert_eq!(parse(FROM, TO, &read.emit(FROM, TO)), Ok(read));
        }
    }

    #[test]
    fn a_message_that_is_cut_or_has_an_octet_changed_does_not_make_the_parser_panic(
        message in message(false), cut in 0usize..120, at in 4usize..120, octet: u8)
    {
        let mut bytes = message.emit(FROM, TO);
        if let Some(place) = bytes.get_mut(at) {
            *place = octet;
        }
        bytes.truncate(cut.max(4));
        if let Ok(read) = parse(FROM, TO, &sealed(bytes)) {
            prop_assert_eq!(parse(FROM, TO, &read.emit(FROM, TO)), Ok(read));
        }
    }
}
