//! Completes what checksum offload left open: a frame that never met a network card carries a partial sum, and analysers would call it wrong.

use router_core::wire::checksum::{fold, sum};

/// Computes the UDP or TCP checksum of a whole, unfragmented IPv4 or IPv6 frame in place. Leaves everything else as it is.
pub fn complete(frame: &mut [u8]) {
    let Some((ethernet, packet)) = frame.split_at_mut_checked(14) else { return };
    match [ethernet[12], ethernet[13]] {
        [0x08, 0x00] => complete_ipv4(packet),
        [0x86, 0xdd] => complete_ipv6(packet),
        _ => {}
    }
}

fn complete_ipv4(packet: &mut [u8]) {
    let Some(header) = packet.first_chunk::<20>() else { return };
    let start = usize::from(header[0] & 0xf) * 4;
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff;
    if start < 20 || fragment != 0 {
        return;
    }
    let protocol = header[9];
    let addresses = sum(&header[12..20]);
    if let Some(payload) = packet.get_mut(start..total) {
        complete_payload(protocol, addresses, payload);
    }
}

fn complete_ipv6(packet: &mut [u8]) {
    let Some((header, rest)) = packet.split_first_chunk_mut::<40>() else { return };
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let addresses = sum(&header[8..40]);
    if let Some(payload) = rest.get_mut(..length) {
        complete_payload(header[6], addresses, payload);
    }
}

fn complete_payload(protocol: u8, addresses: u64, payload: &mut [u8]) {
    let at = match protocol {
        17 => 6,
        6 => 16,
        _ => return,
    };
    if payload.len() < at + 2 {
        return;
    }
    payload[at..at + 2].fill(0);
    let total = addresses + u64::from(protocol) + payload.len() as u64 + sum(payload);
    let checksum = match !fold(total) {
        // RFC 768: a computed checksum of zero is sent as all ones.
        0 if protocol == 17 => 0xffff,
        checksum => checksum,
    };
    payload[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A DNS-like datagram from 10.0.0.1:1000 to 10.0.0.2:53 with 3 octets; its checksum was computed by hand.
    fn datagram() -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([8, 0, 0x45, 0, 0, 31, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend([0x03, 0xe8, 0x00, 0x35, 0x00, 0x0b, 0x12, 0x34, 1, 2, 3]);
        frame
    }

    #[test]
    fn an_open_checksum_is_computed() {
        let mut frame = datagram();
        complete(&mut frame);
        // 0a00+0001+0a00+0002 + 0011+000b + 03e8+0035+000b + 0102+0300 = 1c49, inverted.
        assert_eq!(frame[40..42], [0xe3, 0xb6]);
    }

    #[test]
    fn what_is_cut_or_in_fragments_is_left_alone() {
        let whole = datagram();
        for length in 0..whole.len() {
            let mut frame = whole[..length].to_vec();
            complete(&mut frame);
            assert_eq!(frame, whole[..length]);
        }
        let mut fragment = datagram();
        fragment[20] = 0x20;
        let before = fragment.clone();
        complete(&mut fragment);
        assert_eq!(fragment, before);
    }
}
