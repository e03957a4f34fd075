//! The weight of a bootstrap router (RFC 5059 §3.1), and how long a candidate waits before it takes office (§5).

use std::net::IpAddr;
use std::time::Duration;

/// A BSR's priority and then its address: the higher one wins (§3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weight {
    /// BSR Priority: higher is preferred.
    pub priority: u8,
    /// Its address.
    pub address: IpAddr,
}

/// An address as a number, and how many bits it has.
fn number(address: IpAddr) -> (f64, i32) {
    match address {
        IpAddr::V4(address) => (f64::from(u32::from(address)), 32),
        // 53 bits of a logarithm are more than a timer can show.
        IpAddr::V6(address) => (u128::from(address) as f64, 128),
    }
}

/// `BS_Rand_Override` (§5): 5 to 23 units (seconds, unless timers are scaled), less for a heavier candidate. `stored` is the BSR that it
/// last heard of.
pub fn rand_override(own: Weight, stored: Option<Weight>, unit: Duration) -> Duration {
    let best_priority = stored.map_or(own.priority, |stored| stored.priority.max(own.priority));
    let best_address = stored.map_or(own.address, |stored| stored.address.max(own.address));
    let priority_delay = 2.0 * f64::from(1 + u16::from(best_priority) - u16::from(own.priority)).log2();
    let ((own_number, bits), (best_number, _)) = (number(own.address), number(best_address));
    let address_delay = if best_priority == own.priority {
        (1.0 + (best_number - own_number).max(0.0)).log2() / f64::from(bits / 2)
    } else {
        2.0 - own_number / 2f64.powi(bits - 1)
    };
    unit.mul_f64((5.0 + priority_delay + address_delay).clamp(5.0, 23.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weight(priority: u8, address: [u8; 4]) -> Weight {
        Weight { priority, address: address.into() }
    }

    fn seconds(own: Weight, stored: Option<Weight>) -> f64 {
        rand_override(own, stored, Duration::from_secs(1)).as_secs_f64()
    }

    #[test]
    fn the_priority_counts_before_the_address() {
        assert!(weight(65, [1, 0, 0, 1]) > weight(64, [223, 0, 0, 1]));
        assert!(weight(64, [10, 0, 0, 2]) > weight(64, [10, 0, 0, 1]));
    }

    #[test]
    fn the_override_interval_is_the_rfcs_formula() {
        let own = weight(64, [10, 0, 0, 1]);
        assert_eq!(seconds(own, None), 5.0, "the best that it knows of itself");
        let close = |seconds: f64, expected: f64| (seconds - expected).abs() < 1e-6;
        let lighter = seconds(own, Some(weight(10, [10, 0, 0, 9])));
        assert!(close(lighter, 5.0 + 9f64.log2() / 16.0), "the address counts even of a lighter one");
        // 2 * log2(1 + 127) = 14, and 2 - 0x0a000001 / 2^31.
        let expected = 5.0 + 14.0 + 2.0 - f64::from(0x0a00_0001u32) / 2f64.powi(31);
        assert!(close(seconds(own, Some(weight(191, [10, 0, 0, 9]))), expected));
    }

    #[test]
    fn the_override_interval_stays_between_5_and_23_units() {
        for (own, stored) in [(0, 255), (255, 0), (64, 64)] {
            for address in [[0, 0, 0, 1], [223, 255, 255, 255]] {
                let interval = seconds(weight(own, address), Some(weight(stored, [223, 255, 255, 254])));
                assert!((5.0..=23.0).contains(&interval), "{interval}");
            }
        }
        let ipv6 = |last: u16| Weight { priority: 64, address: [0x2001, 0xdb8, 0, 0, 0, 0, 0, last].into() };
        assert!((5.0..=23.0).contains(&seconds(ipv6(1), Some(ipv6(2)))));
    }
}
