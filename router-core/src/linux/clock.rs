//! The daemon's clock.

use nix::time::{ClockId, clock_gettime};

use crate::time::Time;

/// The time on `CLOCK_MONOTONIC`.
pub fn now() -> Time {
    // The clock always exists; if it did not, standing still is all that is left.
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).map(std::time::Duration::from);
    Time(time.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)))
}
