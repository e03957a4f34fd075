//! IPv4 headers (RFC 791), with the Router Alert option (RFC 2113).

use std::net::Ipv4Addr;

use super::checksum;

/// Octets of a header without options.
pub const MIN_HEADER: usize = 20;

/// The Router Alert option: copied, class 0, number 20, four octets long, value 0 ('every router shall examine').
pub const ROUTER_ALERT: [u8; 4] = [0x94, 0x04, 0x00, 0x00];

const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;

/// The fields of a header that control protocols need. Fragment fields are those of a whole packet: a fragment is an
/// error to the parser, and the emitter makes none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Type of service: precedence and DSCP.
    pub tos: u8,
    /// Identification.
    pub identification: u16,
    /// The 'do not fragment' flag.
    pub dont_fragment: bool,
    /// Time to live.
    pub ttl: u8,
    /// Protocol of the payload (2: IGMP).
    pub protocol: u8,
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
    /// Whether the Router Alert option is there.
    pub router_alert: bool,
}

/// Why bytes are no IPv4 packet that a control protocol can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Fewer octets than a header has.
    #[error("{have} octets, but an IPv4 header has at least {need}")]
    Truncated {
        /// Octets that are there.
        have: usize,
        /// Octets that are needed.
        need: usize,
    },
    /// The version field is not 4.
    #[error("IP version {0} where 4 belongs")]
    Version(u8),
    /// The header length field is less than 5 words.
    #[error("header length of {0} words, less than 5")]
    HeaderLength(u8),
    /// The total length is less than the header's or more than what is there.
    #[error("total length {total} does not fit a header of {header} octets in {have} octets")]
    TotalLength {
        /// The field's value.
        total: usize,
        /// Octets of the header.
        header: usize,
        /// Octets that are there.
        have: usize,
    },
    /// The header's checksum is wrong.
    #[error("wrong IPv4 header checksum")]
    Checksum,
    /// A fragment: control protocols here take whole packets only.
    #[error("a fragment at offset {offset}")]
    Fragment {
        /// Its offset in octets.
        offset: u16,
    },
    /// An option runs over the end of the options.
    #[error("option {kind} of length {length} does not fit the options")]
    Option {
        /// Option number.
        kind: u8,
        /// Its length field.
        length: u8,
    },
}

/// Reads a whole packet: its header and its payload (without what link layers pad).
///
/// # Errors
/// [`Error`] says what is wrong; options other than Router Alert are skipped.
pub fn parse(packet: &[u8]) -> Result<(Header, &[u8]), Error> {
    let fixed: &[u8; MIN_HEADER] =
        packet.first_chunk().ok_or(Error::Truncated { have: packet.len(), need: MIN_HEADER })?;
    if fixed[0] >> 4 != 4 {
        return Err(Error::Version(fixed[0] >> 4));
    }
    let words = fixed[0] & 0x0f;
    if words < 5 {
        return Err(Error::HeaderLength(words));
    }
    let length = usize::from(words) * 4;
    let header = packet.get(..length).ok_or(Error::Truncated { have: packet.len(), need: length })?;
    if !checksum::is_valid(header) {
        return Err(Error::Checksum);
    }
    let total = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
    let payload = packet.get(length..total).ok_or(Error::TotalLength { total, header: length, have: packet.len() })?;
    let fragment = u16::from_be_bytes([fixed[6], fixed[7]]);
    if fragment & 0x3fff != 0 {
        return Err(Error::Fragment { offset: (fragment & 0x1fff) << 3 });
    }
    Ok((
        Header {
            tos: fixed[1],
            identification: u16::from_be_bytes([fixed[4], fixed[5]]),
            dont_fragment: fragment & 0x4000 != 0,
            ttl: fixed[8],
            protocol: fixed[9],
            source: Ipv4Addr::new(fixed[12], fixed[13], fixed[14], fixed[15]),
            destination: Ipv4Addr::new(fixed[16], fixed[17], fixed[18], fixed[19]),
            router_alert: has_router_alert(&header[MIN_HEADER..])?,
        },
        payload,
    ))
}

fn has_router_alert(mut options: &[u8]) -> Result<bool, Error> {
    let mut found = false;
    loop {
        match options {
            [] | [OPTION_END, ..] => return Ok(found),
            [OPTION_NOP, rest @ ..] => options = rest,
            [kind] => return Err(Error::Option { kind: *kind, length: 0 }),
            [kind, length, ..] => {
                let whole = usize::from(*length);
                if whole < 2 || whole > options.len() {
                    return Err(Error::Option { kind: *kind, length: *length });
                }
                found |= *kind == ROUTER_ALERT[0] && whole == ROUTER_ALERT.len();
                options = &options[whole..];
            }
        }
    }
}

impl Header {
    /// Octets of the header as [`Header::emit`] writes it.
    pub fn length(&self) -> usize {
        MIN_HEADER + if self.router_alert { ROUTER_ALERT.len() } else { 0 }
    }

    /// Writes the packet: this header with its checksum, then the payload. `None` if both together are longer
    /// than the 65,535 octets that the total length can say.
    pub fn emit(&self, payload: &[u8]) -> Option<Vec<u8>> {
        let length = self.length();
        let total = u16::try_from(length + payload.len()).ok()?;
        let mut packet = Vec::with_capacity(usize::from(total));
        packet.extend([0x40 | (length / 4) as u8, self.tos]);
        packet.extend(total.to_be_bytes());
        packet.extend(self.identification.to_be_bytes());
        packet.extend(if self.dont_fragment { [0x40, 0] } else { [0, 0] });
        packet.extend([self.ttl, self.protocol, 0, 0]);
        packet.extend(self.source.octets());
        packet.extend(self.destination.octets());
        if self.router_alert {
            packet.extend(ROUTER_ALERT);
        }
        let sum = checksum::internet(&packet);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend(payload);
        Some(packet)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A version 2 report of 239.1.1.1 as Linux sends it.
    const REPORT: [u8; 32] = [
        0x46, 0xc0, 0x00, 0x20, 0x00, 0x00, 0x40, 0x00, 0x01, 0x02, 0xe6, 0x13, 0x0a, 0x00, 0x04, 0x02, 0xef, 0x01,
        0x01, 0x01, 0x94, 0x04, 0x00, 0x00, 0x16, 0x00, 0xf9, 0xfc, 0xef, 0x01, 0x01, 0x01,
    ];

    #[test]
    fn a_report_with_router_alert_reads_as_it_was_sent() {
        let (header, payload) = parse(&REPORT).unwrap();
        assert_eq!(
            header,
            Header {
                tos: 0xc0,
                identification: 0,
                dont_fragment: true,
                ttl: 1,
                protocol: 2,
                source: [10, 0, 4, 2].into(),
                destination: [239, 1, 1, 1].into(),
                router_alert: true,
            }
        );
        assert_eq!(payload, &REPORT[24..]);
        assert_eq!(header.emit(payload).unwrap(), REPORT);
    }

    #[test]
    fn link_layer_padding_is_cut_off() {
        let mut padded = REPORT.to_vec();
        padded.extend([0; 14]);
        assert_eq!(parse(&padded).unwrap().1, &REPORT[24..]);
    }

    fn resealed(mut packet: Vec<u8>, header: usize) -> Vec<u8> {
        packet[10..12].fill(0);
        let sum = checksum::internet(&packet[..header]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(parse(&REPORT[..19]), Err(Error::Truncated { have: 19, need: 20 }));
        assert_eq!(parse(&REPORT[..22]), Err(Error::Truncated { have: 22, need: 24 }));
        assert_eq!(parse(&REPORT[..30]), Err(Error::TotalLength { total: 32, header: 24, have: 30 }));
        let change = |at: usize, value: u8| {
            let mut packet = REPORT.to_vec();
            packet[at] = value;
            packet
        };
        assert_eq!(parse(&change(0, 0x66)), Err(Error::Version(6)));
        assert_eq!(parse(&change(0, 0x44)), Err(Error::HeaderLength(4)));
        assert_eq!(parse(&change(8, 2)), Err(Error::Checksum));
        assert_eq!(parse(&resealed(change(6, 0x20), 24)), Err(Error::Fragment { offset: 0 }));
        assert_eq!(parse(&resealed(change(7, 0x02), 24)), Err(Error::Fragment { offset: 16 }));
        assert_eq!(parse(&resealed(change(21, 5), 24)), Err(Error::Option { kind: 0x94, length: 5 }));
        assert_eq!(parse(&resealed(change(21, 0), 24)), Err(Error::Option { kind: 0x94, length: 0 }));
    }

    #[test]
    fn a_packet_too_long_for_the_length_field_is_not_written() {
        let (header, _) = parse(&REPORT).unwrap();
        assert!(header.emit(&vec![0; 65511]).is_some());
        assert!(header.emit(&vec![0; 65512]).is_none());
    }

    proptest! {
        #[test]
        fn emitted_packets_read_back(tos: u8, identification: u16, dont_fragment: bool, ttl: u8, protocol: u8,
                                     source: [u8; 4], destination: [u8; 4], router_alert: bool,
                                     payload in proptest::collection::vec(any::<u8>(), 0..100)) {
            let header = Header { tos, identification, dont_fragment, ttl, protocol, source: source.into(),
                                  destination: destination.into(), router_alert };
            let packet = header.emit(&payload).unwrap();
            prop_assert_eq!(parse(&packet), Ok((header, payload.as_slice())));
        }

        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), words in 5u8..16) {
            let _ = parse(&bytes);
            // The same with a header that passes the first checks.
            let mut bytes = bytes;
            let length = usize::from(words) * 4;
            if bytes.len() >= length {
                bytes[0] = 0x40 | words;
                let total = bytes.len() as u16;
                bytes[2..4].copy_from_slice(&total.to_be_bytes());
                bytes[6..8].fill(0);
                let _ = parse(&resealed(bytes, length));
            }
        }
    }
}
