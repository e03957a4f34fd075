//! What an Ethernet frame carries, as far as a tap cares. Never panics, whatever the octets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IP protocol numbers.
const IGMP: u8 = 2;
const PIM: u8 = 103;
/// The More Fragments flag of an IPv4 header, alone (RFC 791 §3.1).
const MORE_FRAGMENTS: u16 = 0x2000;

/// Which part of a packet a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fragment {
    Whole,
    First,
    Later,
}

/// An IP packet in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// What it carries.
    pub content: Content<'a>,
}

/// What an IP packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// A UDP datagram (its first fragment): destination port and as much of the payload as was captured.
    Udp { port: u16, payload: &'a [u8] },
    /// An IGMP message: what follows the IPv4 header.
    Igmp(&'a [u8]),
    /// A PIM message: what follows the IP header and its extensions.
    Pim(&'a [u8]),
    /// Another protocol, by its number, a later fragment, or the first one of a protocol's message.
    Other(u8),
}

impl Content<'_> {
    /// Octets of a control message; 0 for anything else.
    pub fn message_length(&self) -> usize {
        match self {
            Content::Igmp(message) | Content::Pim(message) => message.len(),
            Content::Udp { .. } | Content::Other(_) => 0,
        }
    }
}

impl<'a> Packet<'a> {
    /// Reads a frame; none if it carries no IP packet whose header was captured whole.
    pub fn parse(frame: &'a [u8]) -> Option<Packet<'a>> {
        let (ethernet, rest) = frame.split_at_checked(14)?;
        match [ethernet[12], ethernet[13]] {
            [0x08, 0x00] => parse_ipv4(rest),
            [0x86, 0xdd] => parse_ipv6(rest),
            _ => None,
        }
    }

    /// Whether it is multicast data: to a group that routers forward, so neither link-local nor of a control protocol.
    pub fn is_data(&self) -> bool {
        let forwardable = match self.destination {
            // RFC 5771 §4: 224.0.0.0/24 stays on its link.
            IpAddr::V4(group) => group.is_multicast() && group.octets()[..3] != [224, 0, 0],
            // RFC 4291 §2.7: scopes 0 to 2 stay on their link.
            IpAddr::V6(group) => group.is_multicast() && group.octets()[1] & 0xf > 2,
        };
        forwardable && !matches!(self.content, Content::Igmp(_) | Content::Pim(_) | Content::Other(IGMP | PIM))
    }
}

fn parse_ipv4(packet: &[u8]) -> Option<Packet<'_>> {
    let header = packet.first_chunk::<20>()?;
    let length = usize::from(header[0] & 0xf) * 4;
    if header[0] >> 4 != 4 || length < 20 {
        return None;
    }
    // Ethernet pads short frames: the packet ends where its own length says.
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let packet = packet.get(..total).unwrap_or(packet);
    let payload = packet.get(length..)?;
    let fragment = match u16::from_be_bytes([header[6], header[7]]) & 0x3fff {
        0 => Fragment::Whole,
        MORE_FRAGMENTS => Fragment::First,
        _ => Fragment::Later,
    };
    Some(Packet {
        source: Ipv4Addr::new(header[12], header[13], header[14], header[15]).into(),
        destination: Ipv4Addr::new(header[16], header[17], header[18], header[19]).into(),
        ttl: header[8],
        content: content(header[9], payload, fragment),
    })
}

fn parse_ipv6(packet: &[u8]) -> Option<Packet<'_>> {
    let (header, payload) = packet.split_first_chunk::<40>()?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let payload = payload.get(..length).unwrap_or(payload);
    let address = |at: usize| {
        let mut octets = [0; 16];
        octets.copy_from_slice(&header[at..at + 16]);
        IpAddr::from(Ipv6Addr::from(octets))
    };
    let (mut protocol, mut rest) = (header[6], payload);
    // One hop-by-hop header may stand first (RFC 8200 §4.1); other extension headers never precede our data.
    if protocol == 0 {
        protocol = *rest.first()?;
        let skip = 8 + usize::from(*rest.get(1)?) * 8;
        rest = rest.get(skip..).unwrap_or(&[]);
    }
    Some(Packet {
        source: address(8),
        destination: address(24),
        ttl: header[7],
        content: content(protocol, rest, Fragment::Whole),
    })
}

fn content(protocol: u8, payload: &[u8], fragment: Fragment) -> Content<'_> {
    match (protocol, fragment) {
        (17, Fragment::Whole | Fragment::First) => match payload.split_first_chunk::<8>() {
            Some((header, payload)) => Content::Udp { port: u16::from_be_bytes([header[2], header[3]]), payload },
            None => Content::Other(17),
        },
        (IGMP, Fragment::Whole) => Content::Igmp(payload),
        (PIM, Fragment::Whole) => Content::Pim(payload),
        (other, _) => Content::Other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A UDP datagram of 4 octets from 10.0.1.2 to 239.1.1.1:5001 with TTL 15, padded to Ethernet's 60 octets.
    const DATA: [u8; 60] = [
        0x01, 0x00, 0x5e, 0x01, 0x01, 0x01, 0x02, 0, 0, 0, 0, 1, 0x08, 0x00, 0x45, 0, 0, 32, 0, 1, 0x40, 0, 15, 17, 0,
        0, 10, 0, 1, 2, 239, 1, 1, 1, 0x9c, 0x40, 0x13, 0x89, 0, 12, 0, 0, b'd', b'a', b't', b'a', 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0,
    ];

    /// An IGMPv2 report of 239.1.1.1 with the Router Alert option.
    const REPORT: [u8; 46] = [
        0x01, 0x00, 0x5e, 0x01, 0x01, 0x01, 0x02, 0, 0, 0, 0, 1, 0x08, 0x00, 0x46, 0xc0, 0, 32, 0, 0, 0x40, 0, 1, 2, 0,
        0, 10, 0, 1, 2, 239, 1, 1, 1, 0x94, 0x04, 0, 0, 0x16, 0, 0xf9, 0xfc, 239, 1, 1, 1,
    ];

    #[test]
    fn a_datagram_is_read_without_its_padding() {
        let packet = Packet::parse(&DATA).unwrap();
        assert_eq!(packet.source, "10.0.1.2".parse::<IpAddr>().unwrap());
        assert_eq!(packet.destination, "239.1.1.1".parse::<IpAddr>().unwrap());
        assert_eq!(packet.ttl, 15);
        assert_eq!(packet.content, Content::Udp { port: 5001, payload: b"data" });
        assert!(packet.is_data());
    }

    #[test]
    fn a_report_is_control_though_its_group_is_forwardable() {
        let packet = Packet::parse(&REPORT).unwrap();
        assert_eq!(packet.content, Content::Igmp(&REPORT[38..]));
        assert!(!packet.is_data());
    }

    #[test]
    fn a_later_fragment_is_data_without_a_port() {
        let mut frame = DATA;
        frame[20] = 0x20;
        frame[21] = 0x10;
        let packet = Packet::parse(&frame).unwrap();
        assert_eq!(packet.content, Content::Other(17));
        assert!(packet.is_data());
    }

    #[test]
    fn link_local_groups_are_no_data() {
        let mut frame = DATA;
        frame[30..34].copy_from_slice(&[224, 0, 0, 251]);
        assert!(!Packet::parse(&frame).unwrap().is_data());
    }

    #[test]
    fn ipv6_data_is_read() {
        let mut frame = vec![0u8; 14];
        frame[12..].copy_from_slice(&[0x86, 0xdd]);
        frame.extend([0x60, 0, 0, 0, 0, 10, 17, 9]);
        frame.extend("2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        frame.extend("ff3e::1".parse::<Ipv6Addr>().unwrap().octets());
        frame.extend([0, 1, 0x13, 0x89, 0, 10, 0, 0, 7, 8, 9, 9]);
        let packet = Packet::parse(&frame).unwrap();
        assert_eq!((packet.ttl, packet.content), (9, Content::Udp { port: 5001, payload: &[7, 8] }));
        assert!(packet.is_data());
    }

    #[test]
    fn every_cut_of_a_frame_is_survived() {
        for frame in [&DATA[..], &REPORT[..]] {
            for length in 0..frame.len() {
                let _ = Packet::parse(&frame[..length]);
            }
        }
    }
}
