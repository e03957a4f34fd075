//! The two clocks of a measurement. Packets are stamped with `CLOCK_REALTIME`, because the kernel's receive stamps are; everything that leaves
//! this module is [`Time`] on `CLOCK_MONOTONIC`.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::network::Time;

/// The largest change of the offset between the clocks that leaves latencies believable.
pub const STEP_MAX: Duration = Duration::from_millis(1);

/// `CLOCK_MONOTONIC` now.
pub fn monotonic() -> Time {
    Time(read(ClockId::CLOCK_MONOTONIC))
}

/// `CLOCK_REALTIME` now, in nanoseconds since 1970.
pub fn realtime() -> u64 {
    read(ClockId::CLOCK_REALTIME)
}

/// Reads a clock; the two that are asked for exist on every Linux and never fail.
fn read(clock: ClockId) -> u64 {
    clock_gettime(clock).map_or(0, |time| u64::try_from(Duration::from(time).as_nanos()).unwrap_or(u64::MAX))
}

/// How far `CLOCK_REALTIME` is ahead of `CLOCK_MONOTONIC`. It changes when somebody sets the clock, not when NTP slews it: that moves both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offset {
    /// Nanoseconds.
    ahead: i128,
}

impl Offset {
    /// Measures it: of five readings the one with the least time between them.
    pub fn measure() -> Offset {
        let reading = || {
            let before = monotonic();
            let real = realtime();
            let after = monotonic();
            let width = after.0.saturating_sub(before.0);
            (width, i128::from(real) - i128::from(before.0) - i128::from(width / 2))
        };
        let (_, ahead) = (0..5).map(|_| reading()).min_by_key(|(width, _)| *width).unwrap_or_default();
        Offset { ahead }
    }

    /// A moment of `CLOCK_REALTIME` on the monotonic clock; clamped to that clock's range.
    pub fn to_monotonic(self, realtime: u64) -> Time {
        let nanoseconds = (i128::from(realtime) - self.ahead).max(0);
        Time(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }

    /// How far the real-time clock was set since this offset was measured.
    pub fn step_to(self, later: Offset) -> Duration {
        let step = self.ahead.abs_diff(later.ahead);
        Duration::from_nanos(u64::try_from(step).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_maps_now_to_now() {
        let offset = Offset::measure();
        let before = monotonic();
        let mapped = offset.to_monotonic(realtime());
        let after = monotonic();
        assert!(mapped + STEP_MAX >= before && mapped <= after + STEP_MAX, "{before} {mapped} {after}");
        assert!(offset.step_to(Offset::measure()) < STEP_MAX);
    }

    #[test]
    fn a_set_clock_is_a_step_of_its_size() {
        let offset = Offset { ahead: 5_000_000 };
        assert_eq!(offset.step_to(Offset { ahead: 7_000_000 }), Duration::from_millis(2));
        assert_eq!(offset.step_to(Offset { ahead: 0 }), Duration::from_millis(5));
        assert_eq!(offset.to_monotonic(5_000_007), Time(7));
        assert_eq!(offset.to_monotonic(3), Time(0), "before the monotonic clock's origin");
        assert_eq!(Offset { ahead: -1 }.to_monotonic(u64::MAX), Time(u64::MAX));
    }
}
