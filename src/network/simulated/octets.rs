//! A stream's packets as the octets that they are: for registers, which carry them, and for captures.

use std::net::{IpAddr, Ipv4Addr};

use router_core::wire::checksum;

use super::streams::{Data, HEADERS, Stream};
use crate::traffic::stamp::{self, Stamp, StreamId};

const IPV4_HEADER: usize = 20;
const UDP_HEADER: usize = HEADERS - IPV4_HEADER;
const UDP: u8 = 17;
/// The flag of a fragment that others follow.
const MORE_FRAGMENTS: u16 = 0x2000;

/// A packet, or a fragment of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Its headers, and its stamp if it has that; what follows are zeros.
    pub octets: Vec<u8>,
    /// How many octets it has.
    pub length: usize,
}

/// A packet as it is on a wire: whole, or its fragments.
pub fn packets(stream: &Stream, data: Data) -> Vec<Packet> {
    let udp = datagram(stream, data);
    let (IpAddr::V4(source), IpAddr::V4(group)) = (stream.source, stream.group_of(data.sequence)) else {
        return vec![ipv6(stream, data, &udp)];
    };
    let all = stream.octets - IPV4_HEADER;
    let room = if stream.fragments > 1 { stream.room } else { all.max(1) };
    let fragment = |start| ipv4([source, group], data, start..all.min(start + room), all, &udp);
    (0..all).step_by(room).map(fragment).collect()
}

/// An IPv4 packet whole, as whoever puts it into another has it.
pub fn whole(stream: &Stream, data: Data) -> Option<Vec<u8>> {
    let (IpAddr::V4(source), IpAddr::V4(group)) = (stream.source, stream.group_of(data.sequence)) else { return None };
    let all = stream.octets - IPV4_HEADER;
    let Packet { mut octets, length } = ipv4([source, group], data, 0..all, all, &datagram(stream, data));
    octets.resize(length, 0);
    Some(octets)
}

/// Reads a packet that [`whole`] made. One whose header is damaged is none: kernels drop it.
pub fn read(packet: &[u8]) -> Option<Data> {
    let (header, udp) = packet.split_at_checked(IPV4_HEADER)?;
    if header[0] != 0x45 || header[9] != UDP || !checksum::is_valid(header) {
        return None;
    }
    let stamp = Stamp::decode(udp.get(UDP_HEADER..)?).ok()?;
    let mut summed = [&header[12..], &[0, UDP]].concat();
    summed.extend(short(udp.len()));
    summed.extend(udp);
    Some(Data {
        stream: u32::try_from(stamp.stream.0).ok()?,
        sequence: u32::try_from(stamp.sequence).ok()?,
        ttl: header[8],
        is_damaged: !checksum::is_valid(&summed),
    })
}

fn ipv4([source, group]: [Ipv4Addr; 2], data: Data, part: std::ops::Range<usize>, all: usize, udp: &[u8]) -> Packet {
    let length = IPV4_HEADER + part.len();
    let more = if part.end < all { MORE_FRAGMENTS } else { 0 };
    let mut octets = vec![0x45, 0];
    octets.extend(short(length));
    // All fragments of a packet have its identification (RFC 791 §3.2), which routers leave alone.
    octets.extend((data.sequence as u16).to_be_bytes());
    octets.extend((more | (part.start / 8) as u16).to_be_bytes());
    octets.extend([data.ttl, UDP, 0, 0]);
    octets.extend(source.octets());
    octets.extend(group.octets());
    let sum = checksum::internet(&octets);
    octets[10..12].copy_from_slice(&sum.to_be_bytes());
    octets.extend(udp.get(part.start..part.end.min(udp.len())).unwrap_or_default());
    Packet { octets, length }
}

fn ipv6(stream: &Stream, data: Data, udp: &[u8]) -> Packet {
    let length = stream.spec.size + UDP_HEADER;
    let mut octets = vec![0x60, 0, 0, 0];
    octets.extend(short(length));
    octets.extend([UDP, data.ttl]);
    addresses(stream, data, &mut octets);
    let length = octets.len() + length;
    octets.extend(udp);
    Packet { octets, length }
}

/// The UDP header and the stamp of a packet. Which bit of one is wrong that is damaged was not kept: it is one of its checksum.
fn datagram(stream: &Stream, data: Data) -> Vec<u8> {
    let length = stream.spec.size + UDP_HEADER;
    let port = stream.spec.port.to_be_bytes();
    let mut octets = [port, port, short(length), [0, 0]].concat();
    octets.resize(UDP_HEADER + stamp::LENGTH, 0);
    let stamp = Stamp {
        stream: StreamId(data.stream.into()),
        sequence: data.sequence.into(),
        sent_realtime: stream.sent.get(data.sequence as usize).map_or(0, |sent| sent.as_nanos()),
        length: u16::try_from(stream.spec.size).unwrap_or(u16::MAX),
    };
    // There is room: so many octets were put there.
    let _ = stamp.encode(&mut octets[UDP_HEADER..]);
    // The pseudo-header; the zeros after the stamp add nothing (RFC 768, RFC 8200 §8.1).
    let mut summed = Vec::new();
    addresses(stream, data, &mut summed);
    summed.extend([0, UDP]);
    summed.extend(short(length));
    summed.extend(&octets);
    let sum = match checksum::internet(&summed) {
        0 => u16::MAX,
        sum => sum,
    };
    let sum = if data.is_damaged { sum ^ 0x0100 } else { sum };
    octets[6..8].copy_from_slice(&sum.to_be_bytes());
    octets
}

fn addresses(stream: &Stream, data: Data, to: &mut Vec<u8>) {
    for address in [stream.source, stream.group_of(data.sequence)] {
        match address {
            IpAddr::V4(address) => to.extend(address.octets()),
            IpAddr::V6(address) => to.extend(address.octets()),
        }
    }
}

fn short(number: usize) -> [u8; 2] {
    u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Time;
    use crate::observe::frame;
    use crate::oracle::testing::{self, Net};
    use crate::topology::plan::Plan;
    use crate::topology::steps;

    fn plan(mtu: u32) -> Plan {
        let mut net = Net::new();
        let (src, router) = (net.host("src"), net.router("r"));
        net.link("link", src, router);
        let mut plan = net.plan();
        plan.wires[0].mtu = mtu;
        plan
    }

    fn stream(plan: &Plan, size: usize) -> Stream {
        let spec = steps::Stream { size, ..testing::stream("s", plan.find_node("src").unwrap(), 16) };
        let mut stream = Stream::new(plan, Time(5), &spec, "10.0.0.9".parse().unwrap());
        assert_eq!(stream.tick(Time(5), false), 0..1);
        stream
    }

    const DATA: Data = Data { stream: 0, sequence: 0, ttl: 16, is_damaged: false };

    #[test]
    fn a_packet_reads_back_and_a_damaged_one_is_known() {
        let plan = plan(1500);
        let stream = stream(&plan, 200);
        let packet = whole(&stream, DATA).unwrap();
        assert_eq!((packet.len(), read(&packet)), (228, Some(DATA)));
        let damaged = Data { is_damaged: true, ..DATA };
        assert_eq!(read(&whole(&stream, damaged).unwrap()), Some(damaged));
        assert_eq!((read(&packet[..40]), read(&[])), (None, None));
        let mut with_another_ttl = packet;
        with_another_ttl[8] ^= 0x20;
        assert_eq!(read(&with_another_ttl), None);
    }

    #[test]
    fn fragments_carry_multiples_of_eight_octets_and_the_first_has_the_stamp() {
        let plan = plan(600);
        let packets = packets(&stream(&plan, 1400), DATA);
        let fields: Vec<(usize, u16)> =
            packets.iter().map(|p| (p.length, u16::from_be_bytes([p.octets[6], p.octets[7]]))).collect();
        assert_eq!(fields, [(596, 0x2000), (596, 0x2000 | 72), (276, 144)]);
        assert!(packets.iter().all(|packet| checksum::is_valid(&packet.octets[..20])));
        let ethernet = |packet: &Packet| [&[0; 12], &[8, 0][..], &packet.octets].concat();
        let first = ethernet(&packets[0]);
        let content = frame::Packet::parse(&first).unwrap().content;
        assert!(
            matches!(content, frame::Content::Udp { payload, .. } if Stamp::decode(payload).is_ok()),
            "{content:?}"
        );
    }
}
