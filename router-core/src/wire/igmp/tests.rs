//! Real messages, broken messages, and properties that hold for all.

use proptest::prelude::*;

use super::*;

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn group() -> Ipv4Addr {
    Ipv4Addr::new(239, 1, 1, 1)
}

/// What Linux 6 sends when a program joins and leaves, version by version.
#[test]
fn what_linux_hosts_send_reads_as_meant_and_is_written_alike() {
    let record = |kind, group: [u8; 4], sources: &[[u8; 4]]| Message::ReportV3 {
        records: vec![Record {
            kind,
            group: group.into(),
            sources: sources.iter().map(|source| Ipv4Addr::from(*source)).collect(),
        }],
    };
    for (hex, message) in [
        ("1200fdfcef010101", Message::ReportV1 { group: group() }),
        ("1600f9fcef010101", Message::ReportV2 { group: group() }),
        ("1700f8fcef010101", Message::LeaveV2 { group: group() }),
        ("2200e9fb0000000104000000ef010101", record(RecordKind::ToExclude, [239, 1, 1, 1], &[])),
        ("2200eafb0000000103000000ef010101", record(RecordKind::ToInclude, [239, 1, 1, 1], &[])),
        ("22002df90000000105000001e8010101c0000201", record(RecordKind::Allow, [232, 1, 1, 1], &[[192, 0, 2, 1]])),
        (
            "22006af50000000106000002e8010101c0000202c0000201",
            record(RecordKind::Block, [232, 1, 1, 1], &[[192, 0, 2, 2], [192, 0, 2, 1]]),
        ),
    ] {
        assert_eq!(parse(&bytes(hex)), Ok(message.clone()), "{hex}");
        assert_eq!(message.emit(), bytes(hex), "{message:?}");
    }
}

#[test]
fn queries_are_told_apart_by_length_and_code() {
    assert_eq!(parse(&bytes("1100eeff00000000")), Ok(Message::QueryV1));
    assert_eq!(
        parse(&bytes("1164ee9b00000000")),
        Ok(Message::QueryV2 { max_resp_time: 100, group: Ipv4Addr::UNSPECIFIED })
    );
    let general = QueryV3 {
        max_resp_code: 100,
        group: Ipv4Addr::UNSPECIFIED,
        suppress: false,
        qrv: 2,
        qqic: 125,
        sources: Vec::new(),
    };
    assert_eq!(parse(&bytes("1164ec1e00000000027d0000")), Ok(Message::QueryV3(general)));
    for length in 9..12 {
        let mut message = vec![0; length];
        message[0] = TYPE_QUERY;
        let sum = checksum::internet(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(parse(&message), Err(Error::QueryLength(length)));
    }
}

fn sealed(mut message: Vec<u8>) -> Vec<u8> {
    message[2..4].fill(0);
    let sum = checksum::internet(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

#[test]
fn lists_longer_than_the_message_are_refused_before_anything_is_reserved() {
    // A query that claims 65,535 sources and has one.
    let query = sealed(bytes("11640000ef010101027dffffc0000201"));
    assert_eq!(parse(&query), Err(Error::Truncated { what: "a source list", have: 4, need: 262_140 }));
    // A report that claims 65,535 records and has one.
    let report = sealed(bytes("220000000000ffff04000000ef010101"));
    assert_eq!(parse(&report), Err(Error::Truncated { what: "group records", have: 8, need: 524_280 }));
    // Two records claimed, the first of which swallows the second's octets.
    let report = sealed(bytes("220000000000000204000002ef01010100000000c0000201"));
    assert_eq!(parse(&report), Err(Error::Truncated { what: "a group record", have: 0, need: 8 }));
    // Auxiliary data over the end.
    let report = sealed(bytes("220000000000000104010000ef010101"));
    assert_eq!(parse(&report), Err(Error::Truncated { what: "auxiliary data", have: 0, need: 4 }));
    assert_eq!(parse(&[0x16; 7]), Err(Error::Truncated { what: "a message", have: 7, need: 8 }));
    assert_eq!(parse(&bytes("1600f9fdef010101")), Err(Error::Checksum));
    assert_eq!(parse(&sealed(bytes("1300000000000000"))), Err(Error::Type(0x13)));
}

#[test]
fn auxiliary_data_and_trailing_octets_are_skipped() {
    let report = sealed(bytes("220000000000000204010000ef010101deadbeef03000000ef010102ffff"));
    let Ok(Message::ReportV3 { records }) = parse(&report) else { panic!() };
    assert_eq!(records.len(), 2);
    assert_eq!(records[1].kind, RecordKind::ToInclude);
    assert_eq!(records[1].group, Ipv4Addr::new(239, 1, 1, 2));
}

#[test]
fn codes_follow_the_rfc() {
    for (code, value) in [(0, 0), (127, 127), (128, 128), (0x81, 136), (0x8f, 248), (0x90, 256), (0xff, MAX_CODED)] {
        assert_eq!(decode(code), value, "{code:#04x}");
    }
    for (value, code) in [(0, 0), (100, 100), (127, 127), (128, 0x80), (129, 0x81), (249, 0x90), (250, 0x90)] {
        assert_eq!(encode_up(value), code, "{value}");
    }
    assert_eq!(encode_up(u32::from(MAX_CODED)), 0xff);
    assert_eq!(encode_up(u32::MAX), 0xff);
}

fn address() -> impl Strategy<Value = Ipv4Addr> {
    any::<[u8; 4]>().prop_map(Ipv4Addr::from)
}

fn message() -> impl Strategy<Value = Message> {
    let addresses = || proptest::collection::vec(address(), 0..20);
    let record = (any::<u8>(), address(), addresses()).prop_map(|(kind, group, sources)| Record {
        kind: kind.into(),
        group,
        sources,
    });
    let query = (any::<u8>(), address(), any::<bool>(), 0u8..8, any::<u8>(), addresses()).prop_map(
        |(max_resp_code, group, suppress, qrv, qqic, sources)| {
            Message::QueryV3(QueryV3 { max_resp_code, group, suppress, qrv, qqic, sources })
        },
    );
    prop_oneof![
        Just(Message::QueryV1),
        (1u8.., address()).prop_map(|(max_resp_time, group)| Message::QueryV2 { max_resp_time, group }),
        query,
        address().prop_map(|group| Message::ReportV1 { group }),
        address().prop_map(|group| Message::ReportV2 { group }),
        address().prop_map(|group| Message::LeaveV2 { group }),
        proptest::collection::vec(record, 0..20).prop_map(|records| Message::ReportV3 { records }),
    ]
}

proptest! {
    #[test]
    fn emitted_messages_read_back(message in message()) {
        prop_assert_eq!(parse(&message.emit()), Ok(message));
    }

    #[test]
    fn no_bytes_make_the_parser_panic(kind in prop::sample::select(vec![0x11u8, 0x12, 0x16, 0x17, 0x22, 0x13]),
                                      code: u8, rest in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut message = vec![kind, code, 0, 0];
        message.extend(rest);
        let _ = parse(&message);
        if let Ok(read) = parse(&sealed(message)) {
            prop_assert_eq!(parse(&read.emit()), Ok(read));
        }
    }

    #[test]
    fn a_code_says_the_smallest_value_that_is_not_less(value in 0u32..=u32::from(MAX_CODED)) {
        let code = encode_up(value);
        prop_assert!(u32::from(decode(code)) >= value);
        prop_assert!(code == 0 || u32::from(decode(code - 1)) < value);
    }
}
