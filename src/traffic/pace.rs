//! When a sender may send: absolute times from the rate, and a bounded way back after it was held up.

use std::time::Duration;

use crate::network::Time;

/// What a sender that fell behind may send back to back: no more than twice its rate would give in this time (and one tick).
pub const BURST_WINDOW: Duration = Duration::from_millis(1);

/// A sender that is later than this gives up what it missed: its schedule moves.
pub const SLIP: Duration = Duration::from_millis(250);

/// The schedule of a stream: tick n is due at start + n × interval. A late sender catches up at twice the rate, in bursts no longer than
/// [`BURST_WINDOW`] allows.
#[derive(Clone, Debug)]
pub struct Pace {
    start: Time,
    interval: f64,
    tick: u64,
    /// Theoretical arrival time of the generic cell rate algorithm at twice the rate.
    bucket: Time,
    lateness_max: Duration,
    slipped: Duration,
}

impl Pace {
    /// A schedule of `per_second` ticks a second (more than 0) that starts at `start`.
    pub fn new(start: Time, per_second: f64) -> Pace {
        Pace {
            start,
            interval: 1e9 / per_second,
            tick: 0,
            bucket: start,
            lateness_max: Duration::ZERO,
            slipped: Duration::ZERO,
        }
    }

    /// When the next tick may go.
    pub fn next(&self) -> Time {
        let allowed = Time(self.bucket.0.saturating_sub(BURST_WINDOW.as_nanos() as u64));
        self.due().max(allowed)
    }

    /// The next tick went at `now`.
    pub fn went(&mut self, now: Time) {
        let late = now.since(self.due());
        self.lateness_max = self.lateness_max.max(late);
        if late > SLIP {
            self.start += late;
            self.slipped += late;
        }
        self.bucket = self.bucket.max(now) + Duration::from_nanos((self.interval / 2.0) as u64);
        self.tick += 1;
    }

    /// The latest that a tick ever went after it was due.
    pub fn lateness_max(&self) -> Duration {
        self.lateness_max
    }

    /// By how much the schedule moved in all, because the sender was later than [`SLIP`].
    pub fn slipped(&self) -> Duration {
        self.slipped
    }

    fn due(&self) -> Time {
        self.start + Duration::from_nanos((self.tick as f64 * self.interval) as u64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Sends for a while on a machine that takes `cost` a packet and stops between `stall.0` and `stall.1`; gives when each tick went.
    fn run(pace: &mut Pace, until: u64, cost: u64, stall: (u64, u64)) -> Vec<u64> {
        let mut now = 0;
        let mut went = Vec::new();
        while now.max(pace.next().0) < until {
            now = now.max(pace.next().0);
            if (stall.0..stall.1).contains(&now) {
                now = stall.1;
            }
            pace.went(Time(now));
            went.push(now);
            now += cost;
        }
        went
    }

    #[test]
    fn undisturbed_ticks_go_when_due() {
        let mut pace = Pace::new(Time(0), 1000.0);
        let went = run(&mut pace, SECOND, 10, (0, 0));
        assert_eq!(went.len(), 1000);
        assert!(went.iter().enumerate().all(|(n, at)| *at == n as u64 * 1_000_000));
        assert_eq!((pace.lateness_max(), pace.slipped()), (Duration::ZERO, Duration::ZERO));
    }

    #[test]
    fn a_short_stall_is_made_up_for_at_twice_the_rate() {
        let mut pace = Pace::new(Time(0), 1000.0);
        let stall = (SECOND / 2, SECOND / 2 + SECOND / 10);
        let went = run(&mut pace, SECOND, 10, stall);
        assert_eq!(went.len(), 1000, "the mean rate holds");
        assert_eq!(pace.lateness_max(), Duration::from_millis(100));
        let after: Vec<_> = went.iter().filter(|at| **at >= stall.1 && **at < stall.1 + SECOND / 20).collect();
        assert!((98..=104).contains(&after.len()), "{} in the 50 ms after it", after.len());
    }

    #[test]
    fn a_long_stall_moves_the_schedule() {
        let mut pace = Pace::new(Time(0), 1000.0);
        let went = run(&mut pace, 20 * SECOND, 10, (SECOND, 11 * SECOND));
        assert!((9_990..=10_010).contains(&went.len()), "{} sent", went.len());
        assert!(pace.slipped() >= Duration::from_secs(10));
    }

    #[test]
    fn slow_rates_never_burst() {
        let mut pace = Pace::new(Time(0), 10.0);
        let went = run(&mut pace, 3 * SECOND, 10, (SECOND + 1, SECOND + SECOND / 5));
        assert!(went.windows(2).all(|pair| pair[1] - pair[0] >= 49_000_000), "{went:?}");
    }

    #[test]
    fn a_rate_beyond_the_machine_slips_and_does_not_overflow() {
        let mut pace = Pace::new(Time(0), 1e7);
        let went = run(&mut pace, SECOND, 10_000, (0, 0));
        assert_eq!(went.len(), 100_000);
        assert!(pace.slipped() > Duration::from_millis(500));
    }

    proptest! {
        #[test]
        fn no_window_carries_more_than_twice_the_rate_and_a_burst(
            rate in 1.0f64..100_000.0,
            cost in 0u64..2_000,
            stall_at in 0u64..SECOND / 10,
            stall in 0u64..SECOND / 4,
        ) {
            let mut pace = Pace::new(Time(0), rate);
            let went = run(&mut pace, SECOND / 2, cost.max(1), (stall_at, stall_at + stall));
            let window = 5_000_000;
            let bound = 2.0 * rate * (window as f64 + 1e6) / 1e9 + 2.0;
            let mut first = 0;
            for (n, at) in went.iter().enumerate() {
                while at - went[first] >= window {
                    first += 1;
                }
                prop_assert!(((n - first + 1) as f64) <= bound, "{} in 5 ms", n - first + 1);
            }
        }
    }
}
