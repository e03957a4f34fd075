//! What a receiver got of a stream, in figures. Pure functions of what was sent and what arrived.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::network::{Arrival, Time};

/// The most gaps that [`Figures::gaps`] lists; [`Figures::gap_count`] counts them all.
pub const GAPS_MAX: usize = 1000;

/// The figures of a range of sequence numbers of a stream at one receiver.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Packets that could have arrived: the length of the range.
    pub sent: u64,
    /// Of these, packets that arrived, copies not counted.
    pub received: u64,
    /// Packets that did not arrive: `sent` less `received`.
    pub lost: u64,
    /// Copies beyond the first of each packet.
    pub duplicated: u64,
    /// Packets that arrived after one with a higher sequence number (RFC 4737 §3.3, Type-P-Reordered), copies not counted.
    pub reordered: u64,
    /// Send call to reception by the kernel; absent if nothing arrived.
    pub latency: Option<Latency>,
    /// Interarrival jitter (RFC 3550 §6.4.1) over first copies in order of arrival, after the last of them; absent below two packets.
    #[serde(rename = "jitter_ns", with = "nanoseconds::option")]
    pub jitter: Option<Duration>,
    /// Packets, copies included, by their TTL on arrival.
    pub ttls: BTreeMap<u8, u64>,
    /// How many runs of missing packets there are.
    pub gap_count: u64,
    /// The first [`GAPS_MAX`] of them in order of sequence number.
    pub gaps: Vec<Gap>,
}

/// How long packets took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// The least.
    #[serde(rename = "min_ns", with = "nanoseconds")]
    pub min: Duration,
    /// Half of the packets took no longer (nearest rank, as the others).
    #[serde(rename = "p50_ns", with = "nanoseconds")]
    pub p50: Duration,
    /// 95 of 100 packets took no longer.
    #[serde(rename = "p95_ns", with = "nanoseconds")]
    pub p95: Duration,
    /// 99 of 100 packets took no longer.
    #[serde(rename = "p99_ns", with = "nanoseconds")]
    pub p99: Duration,
    /// The most.
    #[serde(rename = "max_ns", with = "nanoseconds")]
    pub max: Duration,
}

/// A run of packets that did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Sequence number of the first missing packet.
    pub first: u64,
    /// How many are missing.
    pub packets: u64,
    /// When the packet before them arrived; none if they are the first of the range.
    #[serde(rename = "start_ns")]
    pub start: Option<Time>,
    /// When the packet after them arrived; none if they are the last of the range.
    #[serde(rename = "end_ns")]
    pub end: Option<Time>,
}

impl Gap {
    /// How long it lasted at the receiver, if it has both ends. Zero if the packet after it came first.
    pub fn length(&self) -> Option<Duration> {
        Some(self.end?.since(self.start?))
    }
}

impl Figures {
    /// The figures of all that was sent: sequence number n went at `sent[n]`.
    pub fn of_sent(sent: &[Time], arrivals: &[Arrival]) -> Figures {
        Figures::of_range(0..sent.len() as u64, arrivals)
    }

    /// The figures from the first to the last sequence number that arrived, for a receiver that does not know what was sent: what was lost before
    /// and after is not counted.
    pub fn of_seen(arrivals: &[Arrival]) -> Figures {
        let sequences = || arrivals.iter().map(|arrival| arrival.sequence);
        match (sequences().min(), sequences().max()) {
            (Some(first), Some(last)) => Figures::of_range(first..last.saturating_add(1), arrivals),
            _ => Figures::default(),
        }
    }

    /// The figures of a range of sequence numbers; arrivals outside it are left out. `arrivals` are in order of arrival.
    pub fn of_range(range: Range<u64>, arrivals: &[Arrival]) -> Figures {
        let arrivals: Vec<&Arrival> = arrivals.iter().filter(|arrival| range.contains(&arrival.sequence)).collect();
        // A stable sort keeps copies in order of arrival, so the first of each is the first copy.
        let mut by_sequence: Vec<usize> = (0..arrivals.len()).collect();
        by_sequence.sort_by_key(|index| arrivals[*index].sequence);
        by_sequence.dedup_by_key(|index| arrivals[*index].sequence);
        let mut firsts = by_sequence.clone();
        firsts.sort_unstable();

        let sent = range.end.saturating_sub(range.start);
        let received = firsts.len() as u64;
        let mut figures = Figures {
            sent,
            received,
            lost: sent - received,
            duplicated: arrivals.len() as u64 - received,
            reordered: reordered(firsts.iter().map(|index| arrivals[*index].sequence)),
            latency: latency(firsts.iter().map(|index| arrivals[*index].received.since(arrivals[*index].sent))),
            jitter: jitter(firsts.iter().map(|index| arrivals[*index])),
            ..Figures::default()
        };
        for arrival in &arrivals {
            *figures.ttls.entry(arrival.ttl).or_default() += 1;
        }
        let mut before: Option<&Arrival> = None;
        let mut expected = range.start;
        for arrival in by_sequence.iter().map(|index| arrivals[*index]) {
            figures.add_gap(expected..arrival.sequence, before, Some(arrival));
            expected = arrival.sequence.saturating_add(1);
            before = Some(arrival);
        }
        figures.add_gap(expected..range.end, before, None);
        figures
    }

    /// The longest gap that has both ends.
    pub fn longest_gap(&self) -> Option<Duration> {
        self.gaps.iter().filter_map(Gap::length).max()
    }

    fn add_gap(&mut self, missing: Range<u64>, before: Option<&Arrival>, after: Option<&Arrival>) {
        if missing.is_empty() {
            return;
        }
        self.gap_count += 1;
        if self.gaps.len() < GAPS_MAX {
            self.gaps.push(Gap {
                first: missing.start,
                packets: missing.end - missing.start,
                start: before.map(|arrival| arrival.received),
                end: after.map(|arrival| arrival.received),
            });
        }
    }
}

/// How many sequence numbers, in order of arrival and each once, are less than the next expected one (RFC 4737 §3.3).
fn reordered(sequences: impl Iterator<Item = u64>) -> u64 {
    let mut next_expected = 0;
    let mut reordered = 0;
    for sequence in sequences {
        if sequence < next_expected {
            reordered += 1;
        } else {
            next_expected = sequence.saturating_add(1);
        }
    }
    reordered
}

/// Percentiles by nearest rank: the smallest value that at least so many of a hundred do not exceed.
fn latency(latencies: impl Iterator<Item = Duration>) -> Option<Latency> {
    let mut latencies: Vec<Duration> = latencies.collect();
    latencies.sort_unstable();
    let (min, max) = (*latencies.first()?, *latencies.last()?);
    let percentile = |of_100: usize| latencies[(latencies.len() * of_100).div_ceil(100).saturating_sub(1)];
    Some(Latency { min, p50: percentile(50), p95: percentile(95), p99: percentile(99), max })
}

/// `J(i) = J(i-1) + (|D(i-1,i)| - J(i-1))/16`, `D(i,j) = (Rj - Ri) - (Sj - Si)` (RFC 3550 §6.4.1).
fn jitter<'a>(arrivals: impl Iterator<Item = &'a Arrival>) -> Option<Duration> {
    let mut jitter = None;
    let mut previous: Option<i128> = None;
    for arrival in arrivals {
        let transit = i128::from(arrival.received.0) - i128::from(arrival.sent.0);
        if let Some(previous) = previous {
            let difference = (transit - previous).unsigned_abs() as f64;
            let so_far = jitter.unwrap_or(0.0);
            jitter = Some(so_far + (difference - so_far) / 16.0);
        }
        previous = Some(transit);
    }
    jitter.map(|nanoseconds| Duration::from_nanos(nanoseconds.round() as u64))
}

/// Join call to the first packet that the kernel received after it; none if there is none.
pub fn join_latency(joined: Time, arrivals: &[Arrival]) -> Option<Duration> {
    arrivals
        .iter()
        .map(|arrival| arrival.received)
        .filter(|time| *time >= joined)
        .min()
        .map(|first| first.since(joined))
}

/// Leave call to the last packet on the wire of the last hop (times of the sightings of its tap, in any order); none if none came after
/// the call. What other members and later joins keep flowing is the caller's to leave out.
pub fn leave_latency(left: Time, on_the_wire: impl IntoIterator<Item = Time>) -> Option<Duration> {
    on_the_wire.into_iter().filter(|time| *time >= left).max().map(|last| last.since(left))
}

/// Durations as whole nanoseconds.
mod nanoseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_nanos)
    }

    pub mod option {
        use std::time::Duration;

        use serde::{Deserialize, Deserializer, Serialize, Serializer};

        pub fn serialize<S: Serializer>(span: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
            span.map(|span| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)).serialize(serializer)
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
            Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_nanos))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1_000_000;

    /// A packet sent at its sequence number's millisecond that took `latency` microseconds.
    fn arrival(sequence: u64, latency: u64) -> Arrival {
        let sent = Time(1_000 * MS + sequence * MS);
        Arrival { sequence, sent, received: sent + Duration::from_micros(latency), ttl: 15 }
    }

    fn sent(count: u64) -> Vec<Time> {
        (0..count).map(|n| arrival(n, 0).sent).collect()
    }

    #[test]
    fn a_perfect_stream_has_no_faults() {
        let arrivals: Vec<_> = (0..100).map(|n| arrival(n, 50)).collect();
        let figures = Figures::of_sent(&sent(100), &arrivals);
        let took = Duration::from_micros(50);
        assert_eq!(
            figures,
            Figures {
                sent: 100,
                received: 100,
                latency: Some(Latency { min: took, p50: took, p95: took, p99: took, max: took }),
                jitter: Some(Duration::ZERO),
                ttls: [(15, 100)].into(),
                ..Figures::default()
            }
        );
        assert_eq!(figures.longest_gap(), None);
    }

    #[test]
    fn nothing_received_is_all_lost() {
        let figures = Figures::of_sent(&sent(10), &[]);
        assert_eq!((figures.sent, figures.received, figures.lost), (10, 0, 10));
        assert_eq!((figures.latency, figures.jitter), (None, None));
        assert_eq!(figures.gaps, [Gap { first: 0, packets: 10, start: None, end: None }]);
        assert_eq!(Figures::of_sent(&[], &[]), Figures::default());
        assert_eq!(Figures::of_seen(&[]), Figures::default());
    }

    #[test]
    fn gaps_have_their_place_length_and_packets() {
        let arrivals = [2, 3, 7, 8, 10].map(|n| arrival(n, 50));
        let figures = Figures::of_sent(&sent(12), &arrivals);
        let at = |n| Some(arrival(n, 50).received);
        assert_eq!(
            figures.gaps,
            [
                Gap { first: 0, packets: 2, start: None, end: at(2) },
                Gap { first: 4, packets: 3, start: at(3), end: at(7) },
                Gap { first: 9, packets: 1, start: at(8), end: at(10) },
                Gap { first: 11, packets: 1, start: at(10), end: None },
            ]
        );
        assert_eq!((figures.lost, figures.gap_count), (7, 4));
        assert_eq!(figures.longest_gap(), Some(Duration::from_millis(4)));
        assert_eq!(Figures::of_seen(&arrivals).gaps, figures.gaps[1..3]);
        assert_eq!(Figures::of_range(3..9, &arrivals).gaps, figures.gaps[1..2]);
    }

    #[test]
    fn copies_and_late_packets_are_told_apart() {
        // 1 comes late, 2 twice, the second copy after 3.
        let arrivals = [0, 2, 1, 3, 2, 4].map(|n| arrival(n, 50));
        let figures = Figures::of_sent(&sent(5), &arrivals);
        assert_eq!((figures.received, figures.lost), (5, 0));
        assert_eq!((figures.duplicated, figures.reordered), (1, 1));
        assert_eq!(figures.ttls, [(15, 6)].into());
    }

    #[test]
    fn reordering_is_counted_as_the_rfc_does() {
        // RFC 4737 §3.3: late packets are those less than the next expected, not the early ones.
        assert_eq!(reordered([1, 2, 3, 4, 5].into_iter()), 0);
        assert_eq!(reordered([1, 2, 5, 3, 4, 6].into_iter()), 2);
        assert_eq!(reordered([3, 2, 1].into_iter()), 2);
        assert_eq!(reordered([u64::MAX, 0].into_iter()), 1);
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let arrivals: Vec<_> = (1..=200).map(|n| arrival(n, n)).collect();
        let latency = Figures::of_seen(&arrivals).latency.unwrap();
        let micros = Duration::from_micros;
        let expected =
            Latency { min: micros(1), p50: micros(100), p95: micros(190), p99: micros(198), max: micros(200) };
        assert_eq!(latency, expected);
        let one = Figures::of_seen(&arrivals[..1]).latency.unwrap();
        assert_eq!((one.min, one.p50, one.p99), (micros(1), micros(1), micros(1)));
    }

    #[test]
    fn jitter_is_the_rfcs_running_mean() {
        let arrivals = [arrival(0, 100), arrival(1, 260), arrival(2, 260), arrival(3, 100)];
        // |D| = 160, 0, 160 µs: J = 10, 9.375, 18.7890625 µs.
        assert_eq!(Figures::of_seen(&arrivals).jitter, Some(Duration::from_nanos(18_789)));
        assert_eq!(Figures::of_seen(&arrivals[..2]).jitter, Some(Duration::from_micros(10)));
        assert_eq!(Figures::of_seen(&arrivals[..1]).jitter, None);
    }

    #[test]
    fn latencies_of_join_and_leave_count_from_the_call() {
        let arrivals = [arrival(0, 50), arrival(1, 50), arrival(2, 50)];
        let joined = arrivals[0].received + Duration::from_nanos(1);
        assert_eq!(join_latency(joined, &arrivals), Some(Duration::from_nanos(MS - 1)));
        assert_eq!(join_latency(arrivals[0].received, &arrivals), Some(Duration::ZERO));
        assert_eq!(join_latency(arrivals[2].received + Duration::from_nanos(1), &arrivals), None);
        let wire = || arrivals.iter().map(|arrival| arrival.received);
        assert_eq!(leave_latency(arrivals[0].received, wire()), Some(Duration::from_millis(2)));
        assert_eq!(leave_latency(arrivals[2].received + Duration::from_nanos(1), wire()), None);
    }

    #[test]
    fn figures_serialise_with_units_and_come_back() {
        let figures = Figures::of_sent(&sent(5), &[arrival(1, 50), arrival(3, 70)]);
        let json = serde_json::to_value(&figures).unwrap();
        assert_eq!(json["latency"]["max_ns"], 70_000);
        assert_eq!(json["jitter_ns"], 1_250);
        assert_eq!(json["ttls"]["15"], 2);
        assert_eq!(json["gaps"][1]["packets"], 1);
        assert_eq!(serde_json::from_value::<Figures>(json).unwrap(), figures);
    }

    #[test]
    fn sequence_numbers_at_the_end_of_the_range_do_not_overflow() {
        let arrivals = [arrival(0, 1), Arrival { sequence: u64::MAX, ..arrival(0, 1) }];
        let figures = Figures::of_seen(&arrivals);
        assert_eq!((figures.sent, figures.received), (u64::MAX, 1), "a half-open range cannot hold the last number");
        let figures = Figures::of_range(Range { start: 5, end: 3 }, &arrivals);
        assert_eq!((figures.sent, figures.gap_count), (0, 0));
    }

    #[test]
    fn listed_gaps_are_bounded() {
        let arrivals: Vec<_> = (0..5000).map(|n| arrival(n * 2, 1)).collect();
        let figures = Figures::of_seen(&arrivals);
        assert_eq!((figures.gap_count, figures.gaps.len()), (4999, GAPS_MAX));
    }

    proptest! {
        #[test]
        fn the_counts_add_up(sequences in proptest::collection::vec(0u64..60, 0..120), start in 0u64..30, length in 0u64..50) {
            let arrivals: Vec<_> = sequences.iter().enumerate().map(|(n, s)| {
                let received = Time(5_000 * MS + n as u64 * MS);
                Arrival { received, ..arrival(*s, 0) }
            }).collect();
            let range = start..start + length;
            let figures = Figures::of_range(range.clone(), &arrivals);
            let within: Vec<u64> = sequences.iter().copied().filter(|s| range.contains(s)).collect();
            let distinct: std::collections::BTreeSet<_> = within.iter().copied().collect();
            prop_assert_eq!(figures.sent, length);
            prop_assert_eq!(figures.received, distinct.len() as u64);
            prop_assert_eq!(figures.received + figures.lost, figures.sent);
            prop_assert_eq!(figures.received + figures.duplicated, within.len() as u64);
            prop_assert_eq!(figures.ttls.values().sum::<u64>(), within.len() as u64);
            prop_assert_eq!(figures.gaps.iter().map(|gap| gap.packets).sum::<u64>(), figures.lost);
            prop_assert_eq!(figures.gaps.len() as u64, figures.gap_count);
            let missing = figures.gaps.iter().flat_map(|gap| gap.first..gap.first + gap.packets);
            prop_assert!(missing.clone().all(|s| range.contains(&s) && !distinct.contains(&s)));
            prop_assert_eq!(missing.collect::<std::collections::BTreeSet<_>>().len() as u64, figures.lost);
            prop_assert!(figures.reordered <= figures.received.saturating_sub(1));
            let in_order = distinct.iter().copied().eq(firsts(&within));
            prop_assert_eq!(figures.reordered == 0, in_order);
            if let Some(l) = figures.latency {
                prop_assert!(l.min <= l.p50 && l.p50 <= l.p95 && l.p95 <= l.p99 && l.p99 <= l.max);
            }
        }

        #[test]
        fn jitter_never_exceeds_the_spread_of_latencies(latencies in proptest::collection::vec(0u64..100_000, 2..200)) {
            let arrivals: Vec<_> = latencies.iter().enumerate().map(|(n, l)| arrival(n as u64 * 1000, *l)).collect();
            let figures = Figures::of_seen(&arrivals);
            let latency = figures.latency.unwrap();
            prop_assert!(figures.jitter.unwrap() <= latency.max - latency.min + Duration::from_nanos(1));
        }
    }

    fn firsts(sequences: &[u64]) -> Vec<u64> {
        let mut seen = std::collections::BTreeSet::new();
        sequences.iter().copied().filter(|s| seen.insert(*s)).collect()
    }
}
