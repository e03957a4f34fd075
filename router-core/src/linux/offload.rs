//! What checksum offload leaves open: a packet that never met a network card may carry the sum of its pseudo-header alone, for a device to
//! complete. The kernel hands it over as it is, and whoever gets it out of a register would find it broken.

use crate::wire::checksum;

/// Computes the UDP or TCP checksum of a whole, unfragmented IPv4 packet in place, if it holds the sum of the pseudo-header alone.
pub fn complete(packet: &mut [u8]) {
    let Some(header) = packet.first_chunk::<20>().copied() else { return };
    let start = usize::from(header[0] & 0xf) * 4;
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff;
    let at = match header[9] {
        17 => 6,
        6 => 16,
        _ => return,
    };
    if start < 20 || fragment != 0 {
        return;
    }
    let Some(payload) = packet.get_mut(start..total) else { return };
    let Ok(length) = u16::try_from(payload.len()) else { return };
    let mut pseudo = header[12..20].to_vec();
    pseudo.extend([0, header[9]]);
    pseudo.extend(length.to_be_bytes());
    let Some(field) = payload.get(at..at + 2) else { return };
    if u16::from_be_bytes([field[0], field[1]]) != !checksum::internet(&pseudo) {
        return;
    }
    payload[at..at + 2].fill(0);
    pseudo.extend_from_slice(payload);
    let sum = checksum::internet(&pseudo);
    // 0 says that there is none (RFC 768).
    let sum = if sum == 0 { u16::MAX } else { sum };
    payload[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 10.64.0.0 to 239.1.1.1, ports 5001, "ab!", with a checksum.
    fn packet(sum: u16) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 31, 0, 0, 0x40, 0, 16, 17, 0, 0, 10, 64, 0, 0, 239, 1, 1, 1];
        packet.extend([0x13, 0x89, 0x13, 0x89, 0, 11]);
        packet.extend(sum.to_be_bytes());
        packet.extend(*b"ab!");
        packet
    }

    #[test]
    fn a_sum_that_was_left_to_a_device_is_completed_and_no_other_is_touched() {
        // By hand: 0x0a40 + 0xef01 + 0x0101 + 17 + 11 = 0xfa5e.
        let mut open = packet(0xfa5e);
        complete(&mut open);
        // 0xfa5e + 2 * 0x1389 + 11 + 0x6162 + 0x2100 = 0x1a3dd, folded 0xa3de.
        assert_eq!(open, packet(!0xa3de));
        let whole = open.clone();
        complete(&mut open);
        assert_eq!(open, whole);
        let mut wrong = packet(0x1234);
        complete(&mut wrong);
        assert_eq!(wrong, packet(0x1234), "whoever broke it is to be found out");
    }

    #[test]
    fn what_is_cut_short_stays_as_it_is() {
        for length in 0..31 {
            let mut short = packet(0xfa5e)[..length].to_vec();
            complete(&mut short);
            assert_eq!(short, packet(0xfa5e)[..length]);
        }
    }
}
