//! The Internet checksum (RFC 1071).

/// The one's complement of the one's complement sum of `bytes` as 16-bit big-endian words; an odd last octet is
/// padded with a zero. Over data that holds its own right checksum, it is 0.
pub fn internet(bytes: &[u8]) -> u16 {
    !fold(sum(bytes))
}

/// What octets add to a sum, as 16-bit big-endian words; an odd last octet is padded with a zero. Only [`fold`] knows what it comes to.
pub fn sum(bytes: &[u8]) -> u64 {
    // Words of 32 bits come to the same: 2^16 is 1 modulo 2^16 - 1.
    let (words, rest) = bytes.as_chunks::<4>();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    words.iter().chain([&last]).map(|word| u64::from(u32::from_be_bytes(*word))).sum()
}

/// The one's complement sum that a sum of words comes to.
pub fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Whether data that holds its checksum is intact.
pub fn is_valid(bytes: &[u8]) -> bool {
    internet(bytes) == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn wide_words_add_up_to_what_words_of_16_bits_do(bytes in proptest::collection::vec(any::<u8>(), 0..70)) {
            let word = |pair: &[u8]| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low));
            let carried = bytes.chunks(2).map(word).fold(0, |sum, word| {
                let sum = sum + word;
                (sum & 0xffff) + (sum >> 16)
            });
            prop_assert_eq!(u32::from(fold(sum(&bytes))), carried);
        }
    }

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
