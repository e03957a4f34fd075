//! The stamp that every packet of a stream carries at the start of its UDP payload.
//!
//! | octets | field | form |
//! |---|---|---|
//! | 0–3 | magic | `tbst` (0x74627374) |
//! | 4 | version | 1 |
//! | 5 | reserved | 0 |
//! | 6–7 | length of the whole UDP payload in octets, stamp included | unsigned, big endian |
//! | 8–15 | stream | unsigned, big endian |
//! | 16–23 | sequence number in the stream, from 0 | unsigned, big endian |
//! | 24–31 | time of the send call, `CLOCK_REALTIME` in nanoseconds since 1970 | unsigned, big endian |
//!
//! What follows, up to the length, is padding of zeros that nobody reads: a reader that sees only the first [`LENGTH`]
//! octets of a payload (a capture with a short snap length, the first fragment of a datagram) can decode it.

use serde::{Deserialize, Serialize};

/// Octets of a stamp: the least UDP payload of a stream.
pub const LENGTH: usize = 32;

/// The largest UDP payload of a stream in octets: what fits into an IPv4 datagram without options.
pub const PAYLOAD_MAX: usize = 65_507;

/// The first four octets of a stamped payload.
pub const MAGIC: [u8; 4] = *b"tbst";

/// The version of the layout.
pub const VERSION: u8 = 1;

/// Identifies a stream on the wire. Unique among the streams of a lab: the high half tells the process that sends,
/// the low half its streams from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StreamId(pub u64);

impl StreamId {
    /// The `index`-th stream of the process that drew `run`.
    pub fn new(run: u32, index: u32) -> StreamId {
        StreamId(u64::from(run) << 32 | u64::from(index))
    }
}

impl std::fmt::Display for StreamId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:08x}.{}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

/// A decoded stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The stream.
    pub stream: StreamId,
    /// Sequence number in the stream, from 0.
    pub sequence: u64,
    /// `CLOCK_REALTIME` of the send call, nanoseconds since 1970.
    pub sent_realtime: u64,
    /// Octets of the whole UDP payload.
    pub length: u16,
}

/// Why a payload bears no stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StampError {
    /// Too few octets.
    #[error("a stamp needs {LENGTH} octets, here are {0}")]
    Short(usize),
    /// Not a payload of ours.
    #[error("no stamp: the payload starts with {0:02x?}")]
    Magic([u8; 4]),
    /// A layout that this program does not know.
    #[error("stamp version {0}, this program knows {VERSION}")]
    Version(u8),
    /// The reserved octet is not 0, or the length is less than a stamp's.
    #[error("malformed stamp: reserved octet {reserved}, length {length}")]
    Malformed {
        /// Octet 5.
        reserved: u8,
        /// Octets 6–7.
        length: u16,
    },
    /// The length does not fit the field.
    #[error("a stamped payload has {LENGTH} to {PAYLOAD_MAX} octets, not {0}")]
    Size(usize),
}

impl Stamp {
    /// Reads the stamp at the start of a UDP payload; octets after the stamp are not looked at. Never panics.
    ///
    /// # Errors
    /// [`StampError`] if there is none.
    pub fn decode(payload: &[u8]) -> Result<Stamp, StampError> {
        let Some(stamp) = payload.first_chunk::<LENGTH>() else {
            return Err(StampError::Short(payload.len()));
        };
        let magic: [u8; 4] = field(stamp, 0);
        if magic != MAGIC {
            return Err(StampError::Magic(magic));
        }
        let [version, reserved] = field(stamp, 4);
        if version != VERSION {
            return Err(StampError::Version(version));
        }
        let length = u16::from_be_bytes(field(stamp, 6));
        if reserved != 0 || usize::from(length) < LENGTH {
            return Err(StampError::Malformed { reserved, length });
        }
        Ok(Stamp {
            stream: StreamId(u64::from_be_bytes(field(stamp, 8))),
            sequence: u64::from_be_bytes(field(stamp, 16)),
            sent_realtime: u64::from_be_bytes(field(stamp, 24)),
            length,
        })
    }

    /// Writes the stamp to the start of a payload; the rest is left as it is. [`Stamp::length`] is written as given.
    ///
    /// # Errors
    /// [`StampError::Short`] if the payload has less than [`LENGTH`] octets.
    pub fn encode(&self, payload: &mut [u8]) -> Result<(), StampError> {
        let octets = payload.len();
        let Some(stamp) = payload.first_chunk_mut::<LENGTH>() else {
            return Err(StampError::Short(octets));
        };
        stamp[..4].copy_from_slice(&MAGIC);
        stamp[4] = VERSION;
        stamp[5] = 0;
        stamp[6..8].copy_from_slice(&self.length.to_be_bytes());
        stamp[8..16].copy_from_slice(&self.stream.0.to_be_bytes());
        stamp[16..24].copy_from_slice(&self.sequence.to_be_bytes());
        stamp[24..32].copy_from_slice(&self.sent_realtime.to_be_bytes());
        Ok(())
    }

    /// The length field for a payload of `size` octets.
    ///
    /// # Errors
    /// [`StampError::Size`] outside [`LENGTH`] to [`PAYLOAD_MAX`].
    pub fn length_of(size: usize) -> Result<u16, StampError> {
        match u16::try_from(size) {
            Ok(length) if (LENGTH..=PAYLOAD_MAX).contains(&size) => Ok(length),
            _ => Err(StampError::Size(size)),
        }
    }
}

/// `N` octets of a stamp from `start`, which every caller keeps within [`LENGTH`].
fn field<const N: usize>(stamp: &[u8; LENGTH], start: usize) -> [u8; N] {
    let mut octets = [0; N];
    octets.copy_from_slice(&stamp[start..start + N]);
    octets
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OCTETS: [u8; LENGTH] = [
        b't', b'b', b's', b't', 1, 0, 0x05, 0x24, 0xde, 0xad, 0xbe, 0xef, 0, 0, 0, 7, 0, 0, 0, 0, 0, 1, 0, 2, 0x18,
        0x7a, 0x5d, 0x2c, 0x3b, 0x4a, 0x59, 0x68,
    ];

    fn stamp() -> Stamp {
        Stamp {
            stream: StreamId::new(0xdead_beef, 7),
            sequence: 0x1_0002,
            sent_realtime: 0x187a_5d2c_3b4a_5968,
            length: 1316,
        }
    }

    #[test]
    fn layout_is_the_documented_one() {
        let mut payload = [0xff; 40];
        stamp().encode(&mut payload).unwrap();
        assert_eq!(payload[..LENGTH], OCTETS);
        assert_eq!(payload[LENGTH..], [0xff; 8], "padding is left alone");
        assert_eq!(Stamp::decode(&payload), Ok(stamp()));
        assert_eq!(Stamp::decode(&OCTETS), Ok(stamp()));
        assert_eq!(stamp().stream.to_string(), "deadbeef.7");
    }

    #[test]
    fn payloads_without_a_stamp_are_refused_and_say_why() {
        assert_eq!(Stamp::decode(&[]), Err(StampError::Short(0)));
        assert_eq!(Stamp::decode(&OCTETS[..31]), Err(StampError::Short(31)));
        let mut other = OCTETS;
        other[0] = b'T';
        assert_eq!(Stamp::decode(&other), Err(StampError::Magic(*b"Tbst")));
        let mut other = OCTETS;
        other[4] = 2;
        assert_eq!(Stamp::decode(&other), Err(StampError::Version(2)));
        let mut other = OCTETS;
        other[5] = 9;
        assert_eq!(Stamp::decode(&other), Err(StampError::Malformed { reserved: 9, length: 1316 }));
        let mut other = OCTETS;
        other[6..8].copy_from_slice(&[0, 31]);
        assert_eq!(Stamp::decode(&other), Err(StampError::Malformed { reserved: 0, length: 31 }));
        assert_eq!(stamp().encode(&mut [0; 31]), Err(StampError::Short(31)));
    }

    #[test]
    fn sizes_are_bounded_by_the_stamp_and_by_ipv4() {
        assert_eq!(Stamp::length_of(31), Err(StampError::Size(31)));
        assert_eq!(Stamp::length_of(32), Ok(32));
        assert_eq!(Stamp::length_of(65_507), Ok(65_507));
        assert_eq!(Stamp::length_of(65_508), Err(StampError::Size(65_508)));
        assert_eq!(Stamp::length_of(1 << 20), Err(StampError::Size(1 << 20)));
    }

    proptest! {
        #[test]
        fn decode_takes_what_encode_wrote(stream: u64, sequence: u64, sent_realtime: u64, length in 32u16.., rest in 0usize..64) {
            let stamp = Stamp { stream: StreamId(stream), sequence, sent_realtime, length };
            let mut payload = vec![0; LENGTH + rest];
            stamp.encode(&mut payload).unwrap();
            prop_assert_eq!(Stamp::decode(&payload), Ok(stamp));
        }

        #[test]
        fn decode_survives_any_octets(octets in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(stamp) = Stamp::decode(&octets) {
                let mut again = [0; LENGTH];
                stamp.encode(&mut again).unwrap();
                prop_assert_eq!(&again[..], &octets[..LENGTH]);
            }
        }
    }
}
