//! The two clocks: packets are stamped by `CLOCK_REALTIME`, everything is judged on `CLOCK_MONOTONIC`.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use router_core::time::Time;

/// How far the two clocks may move against each other before times are in doubt. Both are slewed alike, so only a step moves them;
/// reading them one after the other on a busy machine is good to some tens of microseconds.
pub const TOLERANCE: Duration = Duration::from_millis(1);

/// The distance between the two clocks, as it was at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// `CLOCK_REALTIME` less `CLOCK_MONOTONIC`, in nanoseconds.
    offset: i128,
}

impl Clock {
    /// Reads both clocks.
    pub fn read() -> Clock {
        // The closest of several readings is the one that nothing interrupted.
        let mut best = (u64::MAX, 0);
        for _ in 0..5 {
            let before = nanoseconds(ClockId::CLOCK_MONOTONIC);
            let realtime = nanoseconds(ClockId::CLOCK_REALTIME);
            let after = nanoseconds(ClockId::CLOCK_MONOTONIC);
            let width = after.saturating_sub(before);
            let offset = i128::from(realtime) - i128::from(before + width / 2);
            if width < best.0 {
                best = (width, offset);
            }
        }
        Clock { offset: best.1 }
    }

    /// `CLOCK_MONOTONIC` now.
    pub fn now() -> Time {
        Time(nanoseconds(ClockId::CLOCK_MONOTONIC))
    }

    /// A time of `CLOCK_REALTIME` on the monotonic clock; the clock's origin if it lies before that.
    pub fn monotonic(self, realtime_nanos: u64) -> Time {
        Time(u64::try_from(i128::from(realtime_nanos) - self.offset).unwrap_or(0))
    }

    /// How far the clocks have moved against each other between two readings.
    pub fn moved(self, other: Clock) -> Duration {
        Duration::from_nanos(u64::try_from((self.offset - other.offset).unsigned_abs()).unwrap_or(u64::MAX))
    }

    #[cfg(test)]
    pub(crate) fn with_offset(offset: i128) -> Clock {
        Clock { offset }
    }
}

// These clocks always exist on Linux: the call cannot fail, and if it did, a time of 0 is found by the checks on order.
fn nanoseconds(clock: ClockId) -> u64 {
    clock_gettime(clock).map_or(0, |time| time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_stamp_becomes_monotonic() {
        let clock = Clock::read();
        let now = Clock::now();
        let stamp = nanoseconds(ClockId::CLOCK_REALTIME);
        let converted = clock.monotonic(stamp);
        assert!(converted.since(now) < Duration::from_secs(1) && now.since(converted) < Duration::from_millis(1));
        assert_eq!(clock.monotonic(0), Time(0));
    }

    #[test]
    fn a_step_of_the_wall_clock_shows() {
        let clock = Clock::read();
        let stepped = Clock::with_offset(clock.offset + 5_000_000);
        assert_eq!(clock.moved(stepped), Duration::from_millis(5));
        assert_eq!(stepped.moved(clock), Duration::from_millis(5));
    }
}
