//! The router's one source of randomness: SplitMix64, seeded by the configuration.

use std::time::Duration;

/// A generator; equal seeds give equal sequences.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator from a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A time from zero to `limit`, even over its range.
    pub fn up_to(&mut self, limit: Duration) -> Duration {
        let range = u128::from(u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX)) + 1;
        Duration::from_nanos(((u128::from(self.bits()) * range) >> 64) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_first_values_of_seed_1234567_come_out() {
        let mut random = Random::new(1_234_567);
        assert_eq!(random.bits(), 6_457_827_717_110_365_317);
        assert_eq!(random.bits(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn times_stay_in_their_range() {
        let mut random = Random::new(1);
        let limit = Duration::from_millis(7);
        assert!((0..1000).map(|_| random.up_to(limit)).all(|time| time <= limit));
        assert_eq!(random.up_to(Duration::ZERO), Duration::ZERO);
    }
}
