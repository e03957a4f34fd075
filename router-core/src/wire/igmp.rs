//! IGMP messages of all three versions (RFC 1112 appendix I, RFC 2236 §2, RFC 9776 §4).

use std::net::Ipv4Addr;

use super::checksum;

/// All systems: general queries go there (RFC 9776 §4.1.12).
pub const ALL_SYSTEMS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);
/// All routers: version 2 leaves go there (RFC 2236 §2).
pub const ALL_ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 2);
/// All IGMPv3-capable routers: version 3 reports go there (RFC 9776 §4.2.14).
pub const ALL_V3_ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 22);
/// The IP protocol number.
pub const PROTOCOL: u8 = 2;

const TYPE_QUERY: u8 = 0x11;
const TYPE_V1_REPORT: u8 = 0x12;
const TYPE_V2_REPORT: u8 = 0x16;
const TYPE_V2_LEAVE: u8 = 0x17;
const TYPE_V3_REPORT: u8 = 0x22;

/// Octets of every message of versions 1 and 2, and of the shortest of version 3.
const MIN_LENGTH: usize = 8;
/// Octets of a version 3 query before its sources.
const V3_QUERY_HEADER: usize = 12;
/// Octets of a group record before its sources.
const RECORD_HEADER: usize = 8;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A version 1 query: always general.
    QueryV1,
    /// A version 2 query.
    QueryV2 {
        /// Max Resp Time in tenths of a second, 1 to 255.
        max_resp_time: u8,
        /// The group asked about; unspecified in a general query.
        group: Ipv4Addr,
    },
    /// A version 3 query.
    QueryV3(QueryV3),
    /// A version 1 report.
    ReportV1 {
        /// The group joined.
        group: Ipv4Addr,
    },
    /// A version 2 report.
    ReportV2 {
        /// The group joined.
        group: Ipv4Addr,
    },
    /// A version 2 leave.
    LeaveV2 {
        /// The group left.
        group: Ipv4Addr,
    },
    /// A version 3 report.
    ReportV3 {
        /// Its group records.
        records: Vec<Record>,
    },
}

/// A version 3 query (RFC 9776 §4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryV3 {
    /// Max Resp Code; see [`decode`] (tenths of a second).
    pub max_resp_code: u8,
    /// The group asked about; unspecified in a general query.
    pub group: Ipv4Addr,
    /// The S flag: routers that hear it leave their timers alone.
    pub suppress: bool,
    /// Querier's Robustness Variable, 0 (more than 7) to 7.
    pub qrv: u8,
    /// Querier's Query Interval Code; see [`decode`] (seconds).
    pub qqic: u8,
    /// Sources asked about; none in general and group-specific queries.
    pub sources: Vec<Ipv4Addr>,
}

/// A group record (RFC 9776 §4.2.4). Auxiliary data is skipped when read and never written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its type.
    pub kind: RecordKind,
    /// Its group.
    pub group: Ipv4Addr,
    /// Its sources.
    pub sources: Vec<Ipv4Addr>,
}

/// Types of group records (RFC 9776 §4.2.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKind {
    /// `MODE_IS_INCLUDE`, 1.
    IsInclude,
    /// `MODE_IS_EXCLUDE`, 2.
    IsExclude,
    /// `CHANGE_TO_INCLUDE_MODE`, 3.
    ToInclude,
    /// `CHANGE_TO_EXCLUDE_MODE`, 4.
    ToExclude,
    /// `ALLOW_NEW_SOURCES`, 5.
    Allow,
    /// `BLOCK_OLD_SOURCES`, 6.
    Block,
    /// Any other: to be ignored by receivers (RFC 9776 §4.2.12).
    Unknown(u8),
}

impl From<u8> for RecordKind {
    fn from(value: u8) -> RecordKind {
        match value {
            1 => RecordKind::IsInclude,
            2 => RecordKind::IsExclude,
            3 => RecordKind::ToInclude,
            4 => RecordKind::ToExclude,
            5 => RecordKind::Allow,
            6 => RecordKind::Block,
            other => RecordKind::Unknown(other),
        }
    }
}

impl From<RecordKind> for u8 {
    fn from(kind: RecordKind) -> u8 {
        match kind {
            RecordKind::IsInclude => 1,
            RecordKind::IsExclude => 2,
            RecordKind::ToInclude => 3,
            RecordKind::ToExclude => 4,
            RecordKind::Allow => 5,
            RecordKind::Block => 6,
            RecordKind::Unknown(other) => other,
        }
    }
}

/// Why bytes are no IGMP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Fewer octets than the message, or a list in it, needs.
    #[error("{have} octets of {what} where {need} are needed")]
    Truncated {
        /// The part that is cut off.
        what: &'static str,
        /// Octets that are there.
        have: usize,
        /// Octets that are needed.
        need: usize,
    },
    /// The checksum over the whole payload is wrong.
    #[error("wrong IGMP checksum")]
    Checksum,
    /// A type that is none of IGMP's (or of another protocol that shares its number: DVMRP, PIMv1).
    #[error("unknown IGMP type {0:#04x}")]
    Type(u8),
    /// A query of 9 to 11 octets: of no version (RFC 9776 §7.1).
    #[error("a query of {0} octets is of no version")]
    QueryLength(usize),
}

/// The value of a Max Resp Code or a QQIC: linear below 128, then a floating-point number with three bits of exponent and
/// four of mantissa (RFC 9776 §4.1.1, §4.1.7).
pub fn decode(code: u8) -> u16 {
    if code < 128 {
        u16::from(code)
    } else {
        let mantissa = u16::from(code & 0x0f) | 0x10;
        mantissa << (u16::from(code >> 4 & 0x07) + 3)
    }
}

/// The largest value that a code can say.
pub const MAX_CODED: u16 = 0x1f << 10;

/// The code of the smallest value that can be said and is not less than `value`; the largest there is
/// ([`MAX_CODED`]) for what is beyond it.
pub fn encode_up(value: u32) -> u8 {
    // Codes grow with their values, so the first that is large enough is the one.
    let mut low = 0u8;
    let mut high = 255u8;
    while low < high {
        let middle = low + (high - low) / 2;
        if u32::from(decode(middle)) >= value { high = middle } else { low = middle + 1 }
    }
    low
}

fn address(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    bytes.get(at..)?.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets))
}

fn truncated(what: &'static str, have: usize, need: usize) -> Error {
    Error::Truncated { what, have, need }
}

fn sources(bytes: &[u8], count: u16) -> Result<(Vec<Ipv4Addr>, &[u8]), Error> {
    let need = usize::from(count) * 4;
    let (list, rest) = bytes.split_at_checked(need).ok_or_else(|| truncated("a source list", bytes.len(), need))?;
    let addresses = list.chunks_exact(4).filter_map(|octets| octets.first_chunk::<4>());
    Ok((addresses.map(|octets| Ipv4Addr::from(*octets)).collect(), rest))
}

/// Reads a message: the whole payload of an IP packet.
///
/// Octets after the message's own fields are covered by the checksum and otherwise ignored (RFC 9776 §4.1.10, §4.2.11).
///
/// # Errors
/// [`Error`] says what is wrong.
pub fn parse(bytes: &[u8]) -> Result<Message, Error> {
    let fixed: &[u8; MIN_LENGTH] =
        bytes.first_chunk().ok_or_else(|| truncated("a message", bytes.len(), MIN_LENGTH))?;
    if !checksum::is_valid(bytes) {
        return Err(Error::Checksum);
    }
    let group = Ipv4Addr::new(fixed[4], fixed[5], fixed[6], fixed[7]);
    match fixed[0] {
        TYPE_QUERY => match (bytes.len(), fixed[1]) {
            (MIN_LENGTH, 0) => Ok(Message::QueryV1),
            (MIN_LENGTH, max_resp_time) => Ok(Message::QueryV2 { max_resp_time, group }),
            (length, max_resp_code) if length >= V3_QUERY_HEADER => {
                let (sources, _) = sources(&bytes[V3_QUERY_HEADER..], u16::from_be_bytes([bytes[10], bytes[11]]))?;
                Ok(Message::QueryV3(QueryV3 {
                    max_resp_code,
                    group,
                    suppress: bytes[8] & 0x08 != 0,
                    qrv: bytes[8] & 0x07,
                    qqic: bytes[9],
                    sources,
                }))
            }
            (length, _) => Err(Error::QueryLength(length)),
        },
        TYPE_V1_REPORT => Ok(Message::ReportV1 { group }),
        TYPE_V2_REPORT => Ok(Message::ReportV2 { group }),
        TYPE_V2_LEAVE => Ok(Message::LeaveV2 { group }),
        TYPE_V3_REPORT => {
            let count = u16::from_be_bytes([fixed[6], fixed[7]]);
            let mut rest = &bytes[MIN_LENGTH..];
            let need = usize::from(count) * RECORD_HEADER;
            if rest.len() < need {
                return Err(truncated("group records", rest.len(), need));
            }
            let mut records = Vec::with_capacity(usize::from(count));
            for _ in 0..count {
                let (record, after) = record(rest)?;
                records.push(record);
                rest = after;
            }
            Ok(Message::ReportV3 { records })
        }
        other => Err(Error::Type(other)),
    }
}

fn record(bytes: &[u8]) -> Result<(Record, &[u8]), Error> {
    let cut = || truncated("a group record", bytes.len(), RECORD_HEADER);
    let header: &[u8; RECORD_HEADER] = bytes.first_chunk().ok_or_else(cut)?;
    let group = address(bytes, 4).ok_or_else(cut)?;
    let (sources, rest) = sources(&bytes[RECORD_HEADER..], u16::from_be_bytes([header[2], header[3]]))?;
    let auxiliary = usize::from(header[1]) * 4;
    let rest = rest.get(auxiliary..).ok_or_else(|| truncated("auxiliary data", rest.len(), auxiliary))?;
    Ok((Record { kind: RecordKind::from(header[0]), group, sources }, rest))
}

impl Message {
    /// Writes the message with its checksum. A list of more than 65,535 members is cut to that many.
    pub fn emit(&self) -> Vec<u8> {
        let short = |kind: u8, code: u8, group: Ipv4Addr| {
            let mut bytes = vec![kind, code, 0, 0];
            bytes.extend(group.octets());
            bytes
        };
        let mut bytes = match self {
            Message::QueryV1 => short(TYPE_QUERY, 0, Ipv4Addr::UNSPECIFIED),
            // A Max Resp Time of 0 would make it a version 1 query.
            Message::QueryV2 { max_resp_time, group } => short(TYPE_QUERY, (*max_resp_time).max(1), *group),
            Message::QueryV3(query) => {
                let mut bytes = short(TYPE_QUERY, query.max_resp_code, query.group);
                bytes.extend([u8::from(query.suppress) << 3 | query.qrv & 0x07, query.qqic]);
                extend_counted(&mut bytes, &query.sources);
                bytes
            }
            Message::ReportV1 { group } => short(TYPE_V1_REPORT, 0, *group),
            Message::ReportV2 { group } => short(TYPE_V2_REPORT, 0, *group),
            Message::LeaveV2 { group } => short(TYPE_V2_LEAVE, 0, *group),
            Message::ReportV3 { records } => {
                let mut bytes = vec![TYPE_V3_REPORT, 0, 0, 0, 0, 0];
                let count = u16::try_from(records.len()).unwrap_or(u16::MAX);
                bytes.extend(count.to_be_bytes());
                for record in &records[..usize::from(count)] {
                    bytes.extend([record.kind.into(), 0]);
                    let at = bytes.len();
                    extend_counted(&mut bytes, &record.sources);
                    // The group stands between the count and the sources.
                    bytes.splice(at + 2..at + 2, record.group.octets());
                }
                bytes
            }
        };
        let sum = checksum::internet(&bytes);
        bytes[2..4].copy_from_slice(&sum.to_be_bytes());
        bytes
    }
}

fn extend_counted(bytes: &mut Vec<u8>, sources: &[Ipv4Addr]) {
    let count = u16::try_from(sources.len()).unwrap_or(u16::MAX);
    bytes.extend(count.to_be_bytes());
    bytes.extend(sources[..usize::from(count)].iter().flat_map(|source| source.octets()));
}

#[cfg(test)]
mod tests;
