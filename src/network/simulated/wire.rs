//! What happens to a frame where a node sends it into a wire: it is cut off, lost, delayed, or held back by a rate.

use std::time::Duration;

use router_core::random::Random;

use crate::network::Time;
use crate::topology::plan;

/// Longest queue of a rate limit, in time, and what goes out at once: as on the kernel.
const QUEUE: Duration = Duration::from_millis(50);
const BURST: Duration = Duration::from_millis(4);
const ETHERNET_HEADER: u64 = 14;

/// What a wire does to frames. Probabilities run from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Impairment {
    /// Added delay.
    pub delay: Duration,
    /// Its variation, uniform on both sides; frames overtake one another.
    pub jitter: Duration,
    /// Share of frames that are lost before anybody sees them.
    pub loss: f64,
    /// Bits a second; none: without a limit.
    pub rate: Option<u64>,
    /// Share of frames that the wire brings twice.
    pub duplication: f64,
    /// Share of frames that are sent at once, before those that the delay holds.
    pub reordering: f64,
    /// Share of frames with one wrong bit at their end of the wire.
    pub corruption: f64,
}

impl From<plan::Impairment> for Impairment {
    fn from(plan::Impairment { delay, jitter, loss, rate }: plan::Impairment) -> Impairment {
        Impairment { delay, jitter, loss, rate, ..Impairment::default() }
    }
}

/// What becomes of a frame on its way across.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mishap {
    /// It comes twice.
    pub twice: bool,
    /// The number of a wrong bit, to be taken modulo the frame's bits.
    pub wrong_bit: Option<u64>,
}

/// One end of a wire, as its node sends into it.
#[derive(Debug)]
pub struct Egress {
    /// What is done to frames.
    pub impairment: Impairment,
    /// What the node sends is dropped, and nobody is told.
    pub cut_out: bool,
    /// What the wire would bring to the node is dropped likewise.
    pub cut_in: bool,
    /// Time from here to the far side.
    pub latency: Duration,
    random: Random,
    /// Theoretical arrival time of the generic cell rate algorithm: when the rate would have sent all that has been sent.
    sent_by: Time,
    frame_max: u64,
}

impl Egress {
    /// An end of a wire of an MTU.
    pub fn new(impairment: Impairment, mtu: u32, latency: Duration, random: Random) -> Egress {
        let frame_max = u64::from(mtu) + ETHERNET_HEADER;
        Egress { impairment, cut_out: false, cut_in: false, latency, random, sent_by: Time::ZERO, frame_max }
    }

    /// When a packet of so many octets that is sent now enters the wire; none if it is lost.
    pub fn admit(&mut self, now: Time, octets: usize) -> Option<Time> {
        if self.cut_out || self.happens(self.impairment.loss) {
            return None;
        }
        let at = now + self.delay();
        match self.impairment.rate {
            None => Some(at),
            Some(rate) => self.release(at, octets, rate),
        }
    }

    /// What becomes of a frame that has entered the wire.
    pub fn mishap(&mut self) -> Mishap {
        let twice = self.happens(self.impairment.duplication);
        let wrong_bit = self.happens(self.impairment.corruption).then(|| self.random.bits());
        Mishap { twice, wrong_bit }
    }

    fn delay(&mut self) -> Duration {
        let Impairment { delay, jitter, reordering, .. } = self.impairment;
        if self.happens(reordering) {
            return Duration::ZERO;
        }
        if jitter.is_zero() {
            return delay;
        }
        (delay + self.random.up_to(2 * jitter)).saturating_sub(jitter)
    }

    /// The token bucket of a rate: a burst goes at once, then the rate, and what would wait too long is lost.
    fn release(&mut self, now: Time, octets: usize, rate: u64) -> Option<Time> {
        let rate = (rate / 8).max(1);
        let takes = |octets: u64| Duration::from_nanos((u128::from(octets) * 1_000_000_000 / u128::from(rate)) as u64);
        let burst = BURST.max(takes(2 * self.frame_max));
        let queue = QUEUE.max(takes(10 * self.frame_max));
        let whole = takes(octets as u64 + ETHERNET_HEADER);
        let sent_by = self.sent_by.max(now) + whole;
        let waits = sent_by.since(now).saturating_sub(burst);
        if waits > queue {
            return None;
        }
        self.sent_by = sent_by;
        Some(now + waits)
    }

    fn happens(&mut self, share: f64) -> bool {
        // 53 bits: as many as a number between 0 and 1 tells apart.
        share > 0.0 && ((self.random.bits() >> 11) as f64) < share * (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    fn egress(impairment: Impairment) -> Egress {
        Egress::new(impairment, 1500, Duration::from_micros(10), Random::new(1))
    }

    fn at(ms: u64) -> Time {
        Time(ms * 1_000_000)
    }

    #[test]
    fn a_wire_without_impairments_takes_everything_at_once() {
        let mut egress = egress(Impairment::default());
        assert!((0..100).all(|ms| egress.admit(at(ms), 1000) == Some(at(ms)) && egress.mishap() == Mishap::default()));
        egress.cut_out = true;
        assert_eq!(egress.admit(at(100), 1000), None);
    }

    #[test]
    fn jitter_lies_on_both_sides_of_the_delay_and_reordered_frames_have_none() {
        let delayed = Impairment { delay: 10 * MILLISECOND, jitter: 3 * MILLISECOND, ..Impairment::default() };
        let mut end = egress(delayed);
        let delays: Vec<Duration> = (0..500).map(|_| end.admit(at(0), 100).unwrap().since(at(0))).collect();
        let (least, most) = (delays.iter().min().unwrap(), delays.iter().max().unwrap());
        assert!(*least >= 7 * MILLISECOND && *most <= 13 * MILLISECOND, "{least:?} to {most:?}");
        assert!(*least < 8 * MILLISECOND && *most > 12 * MILLISECOND, "{least:?} to {most:?}");
        let mut end = egress(Impairment { reordering: 1.0, ..delayed });
        assert_eq!(end.admit(at(0), 100), Some(at(0)));
    }

    #[test]
    fn shares_are_kept_in_the_long_run() {
        let mut end = egress(Impairment { loss: 0.25, duplication: 0.5, corruption: 0.125, ..Impairment::default() });
        let lost = (0..8000).filter(|_| end.admit(at(0), 100).is_none()).count();
        let mishaps: Vec<Mishap> = (0..8000).map(|_| end.mishap()).collect();
        let twice = mishaps.iter().filter(|m| m.twice).count();
        let wrong = mishaps.iter().filter(|m| m.wrong_bit.is_some()).count();
        assert!((1850..2150).contains(&lost), "{lost} lost");
        assert!((3850..4150).contains(&twice) && (880..1120).contains(&wrong), "{twice} twice, {wrong} wrong");
    }

    #[test]
    fn a_rate_lets_a_burst_through_and_then_keeps_its_pace() {
        // A million octets a second: 1000 octets a millisecond, a burst of 4 ms.
        let mut end = egress(Impairment { rate: Some(8_000_000), ..Impairment::default() });
        let times: Vec<Option<Time>> = (0..100).map(|_| end.admit(at(0), 986)).collect();
        assert_eq!(times[..4], [Some(at(0)); 4]);
        assert_eq!(times[4..7], [Some(at(1)), Some(at(2)), Some(at(3))]);
        assert_eq!(times.iter().flatten().count(), 54, "50 ms of queue behind the burst");
        assert_eq!(end.admit(at(1000), 986), Some(at(1000)));
    }
}
