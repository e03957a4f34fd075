//! The Internet checksum (RFC 1071).

/// The one's complement of the one's complement sum of `bytes` as 16-bit big-endian words; an odd last octet is
/// padded with a zero. Over data that holds its own right checksum, it is 0.
pub fn internet(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| match *pair {
        [high, low] => u64::from(u16::from_be_bytes([high, low])),
        [last] => u64::from(last) << 8,
        _ => 0,
    };
    let mut sum: u64 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Whether data that holds its checksum is intact.
pub fn is_valid(bytes: &[u8]) -> bool {
    internet(bytes) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071_adds_up() {
        let data = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(internet(&data), !0xddf2);
    }

    #[test]
    fn an_odd_octet_counts_as_the_high_half() {
        assert_eq!(internet(&[0x12, 0x34, 0x56]), !(0x1234 + 0x5600));
        assert_eq!(internet(&[]), 0xffff);
    }

    #[test]
    fn data_with_its_checksum_is_valid_and_a_flipped_bit_is_not() {
        let mut query = [0x11, 0x64, 0xee, 0x9b, 0, 0, 0, 0];
        assert!(is_valid(&query));
        query[1] ^= 1;
        assert!(!is_valid(&query));
    }
}
