//! IGMP's wire form of the membership machine's messages.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::message::{Message, Query, Record, RecordKind, Version};
use crate::wire::igmp as wire;

/// One unit of a Max Resp Code.
const TENTH: Duration = Duration::from_millis(100);

/// What hosts take a version 1 query's unsaid response time for (RFC 9776 §7.2.1).
pub const V1_MAX_RESPONSE: Duration = Duration::from_secs(10);

/// Largest response time that a version can announce.
pub fn max_response_limit(version: Version) -> Duration {
    match version {
        Version::V1 => V1_MAX_RESPONSE,
        Version::V2 => TENTH * 255,
        Version::V3 => TENTH * u32::from(wire::MAX_CODED),
    }
}

/// A response time as a version's queries say it: rounded up, at least a tenth of a second. Version 1 does not say it, so
/// that any will do.
pub fn announced_response(version: Version, time: Duration) -> Duration {
    match version {
        Version::V1 => time,
        Version::V2 => TENTH * tenths(time).clamp(1, 255),
        Version::V3 => TENTH * u32::from(wire::decode(wire::encode_up(tenths(time).max(1)))),
    }
}

/// Largest query interval that can be announced (QQIC).
pub const QUERY_INTERVAL_LIMIT: Duration = Duration::from_secs(wire::MAX_CODED as u64);

fn tenths(time: Duration) -> u32 {
    u32::try_from(time.as_nanos().div_ceil(TENTH.as_nanos())).unwrap_or(u32::MAX)
}

fn whole_seconds(time: Duration) -> u32 {
    u32::try_from(time.as_nanos().div_ceil(1_000_000_000)).unwrap_or(u32::MAX)
}

fn group_of(group: Ipv4Addr) -> Option<IpAddr> {
    (!group.is_unspecified()).then_some(IpAddr::V4(group))
}

/// Gives a wire message its meaning.
pub fn from_wire(message: wire::Message) -> Message {
    let joined = |version: Version, group: Ipv4Addr| Message::Report {
        version,
        records: vec![Record { kind: RecordKind::IsExclude, group: group.into(), sources: [].into() }],
    };
    match message {
        wire::Message::QueryV1 => Message::Query(Query {
            version: Version::V1,
            group: None,
            sources: [].into(),
            max_response: V1_MAX_RESPONSE,
            suppress: false,
            robustness: 0,
            interval: Duration::ZERO,
        }),
        wire::Message::QueryV2 { max_resp_time, group } => Message::Query(Query {
            version: Version::V2,
            group: group_of(group),
            sources: [].into(),
            max_response: TENTH * u32::from(max_resp_time),
            suppress: false,
            robustness: 0,
            interval: Duration::ZERO,
        }),
        wire::Message::QueryV3(query) => Message::Query(Query {
            version: Version::V3,
            group: group_of(query.group),
            sources: query.sources.into_iter().map(IpAddr::V4).collect(),
            max_response: TENTH * u32::from(wire::decode(query.max_resp_code)),
            suppress: query.suppress,
            robustness: query.qrv,
            interval: Duration::from_secs(u64::from(wire::decode(query.qqic))),
        }),
        wire::Message::ReportV1 { group } => joined(Version::V1, group),
        wire::Message::ReportV2 { group } => joined(Version::V2, group),
        wire::Message::LeaveV2 { group } => Message::Leave { group: group.into() },
        wire::Message::ReportV3 { records } => Message::Report {
            version: Version::V3,
            records: records
                .into_iter()
                .map(|record| Record {
                    kind: record.kind,
                    group: record.group.into(),
                    sources: record.sources.into_iter().map(IpAddr::V4).collect(),
                })
                .collect(),
        },
    }
}

/// The wire form of a query. Times are rounded up to what it can say; addresses of another family are left out.
pub fn query_to_wire(query: &Query) -> wire::Message {
    let group = match query.group {
        Some(IpAddr::V4(group)) => group,
        _ => Ipv4Addr::UNSPECIFIED,
    };
    match query.version {
        Version::V1 => wire::Message::QueryV1,
        Version::V2 => {
            let max_resp_time = tenths(query.max_response).clamp(1, 255) as u8;
            wire::Message::QueryV2 { max_resp_time, group }
        }
        Version::V3 => wire::Message::QueryV3(wire::QueryV3 {
            max_resp_code: wire::encode_up(tenths(query.max_response)),
            group,
            suppress: query.suppress,
            // RFC 9776 §4.1.6: 0 stands for what the three bits cannot say.
            qrv: if query.robustness > 7 { 0 } else { query.robustness },
            qqic: wire::encode_up(whole_seconds(query.interval)),
            sources: query
                .sources
                .iter()
                .filter_map(|source| match source {
                    IpAddr::V4(source) => Some(*source),
                    IpAddr::V6(_) => None,
                })
                .collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(version: Version) -> Query {
        Query {
            version,
            group: Some("239.1.1.1".parse().unwrap()),
            sources: [].into(),
            max_response: Duration::from_millis(150),
            suppress: true,
            robustness: 2,
            interval: Duration::from_millis(12_500),
        }
    }

    #[test]
    fn times_are_rounded_up_to_what_the_wire_can_say() {
        let Message::Query(v3) = from_wire(query_to_wire(&query(Version::V3))) else { panic!() };
        assert_eq!(v3.max_response, Duration::from_millis(200));
        assert_eq!(v3.interval, Duration::from_secs(13));
        let Message::Query(v2) = from_wire(query_to_wire(&query(Version::V2))) else { panic!() };
        assert_eq!((v2.max_response, v2.suppress), (Duration::from_millis(200), false));
        assert_eq!(from_wire(query_to_wire(&query(Version::V1))), from_wire(wire::Message::QueryV1));
        assert_eq!(announced_response(Version::V3, Duration::ZERO), TENTH);
        assert_eq!(announced_response(Version::V3, Duration::from_millis(12_850)), Duration::from_millis(13_600));
        assert_eq!(announced_response(Version::V2, Duration::from_secs(60)), Duration::from_millis(25_500));
        assert_eq!(announced_response(Version::V1, Duration::from_secs(1)), Duration::from_secs(1));
    }
}
