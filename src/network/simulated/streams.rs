//! Streams: when their packets are sent, who got them, and where taps saw them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::network::{Arrival, GroupCount, Sighting, Time};
use crate::topology::plan::{Attachment, NodeId, Plan, WireId};
use crate::topology::steps;

/// Packets of a burst follow one another after this time.
const BACK_TO_BACK: Duration = Duration::from_micros(1);
/// The most packets of a stream; it ends there.
pub const SENT_MAX: usize = 1 << 25;
/// IPv4 and UDP headers.
pub const HEADERS: usize = 28;
const IPV4_HEADER: usize = 20;

/// A data packet on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data {
    /// Index of its stream.
    pub stream: u32,
    /// Sequence number.
    pub sequence: u32,
    /// TTL.
    pub ttl: u8,
    /// A bit of it is wrong: no socket takes it.
    pub is_damaged: bool,
}

/// A stream.
#[derive(Debug)]
pub struct Stream {
    /// As it was asked for.
    pub spec: steps::Stream,
    /// The sender's address.
    pub source: IpAddr,
    /// Octets of each IP packet.
    pub octets: usize,
    /// Packets of the first wire that one of the stream's makes there: more than one if it does not fit the MTU.
    pub fragments: u64,
    /// Times of the packets that were sent.
    pub sent: Vec<Time>,
    /// Whether it is over.
    pub is_over: bool,
    /// Whether it ended because no more packets can be recorded.
    pub overflowed: bool,
    /// Octets after the IP header that each of these carries, but for the last.
    pub room: usize,
    start: Time,
    ticks: u64,
    left: u64,
    arrivals: BTreeMap<NodeId, Vec<Arrival>>,
    sightings: Vec<Vec<Compact>>,
}

#[derive(Clone, Copy, Debug)]
struct Compact {
    time: u64,
    sequence: u32,
    end: u16,
    ttl: u8,
    outbound: bool,
}

impl Stream {
    /// A stream whose first packets are due at a time.
    pub fn new(plan: &Plan, start: Time, spec: &steps::Stream, source: IpAddr) -> Stream {
        let at = Attachment { node: spec.from, interface: spec.interface };
        let mtu = plan.wire(plan.interface(at).wire).mtu as usize;
        let octets = spec.size + HEADERS;
        // Fragments carry multiples of eight octets (RFC 791 §3.2).
        let room = (mtu.saturating_sub(IPV4_HEADER) / 8 * 8).max(8);
        let fragments = if octets > mtu { (octets - IPV4_HEADER).div_ceil(room) } else { 1 };
        Stream {
            spec: spec.clone(),
            source,
            octets,
            fragments: fragments as u64,
            sent: Vec::new(),
            is_over: false,
            overflowed: false,
            room,
            start,
            ticks: 0,
            left: spec.count.unwrap_or(u64::MAX),
            arrivals: BTreeMap::new(),
            sightings: vec![Vec::new(); plan.wires.len()],
        }
    }

    /// The group that a packet goes to.
    pub fn group_of(&self, sequence: u32) -> IpAddr {
        match self.spec.groups {
            0 | 1 => self.spec.group,
            groups => steps::nth_group(self.spec.group, sequence % groups),
        }
    }

    /// When its next packets are due.
    pub fn due(&self) -> Time {
        let interval = 1e9 * f64::from(self.spec.burst.max(1)) / self.spec.rate;
        self.start + Duration::from_nanos((self.ticks as f64 * interval) as u64)
    }

    /// The times of the packets that are due now; the next are due later. `refused`: the sender's interface is down, and no sequence number is
    /// used up.
    pub fn tick(&mut self, now: Time, refused: bool) -> std::ops::Range<u32> {
        self.ticks += 1;
        let number = u64::from(self.spec.burst.max(1)).min(self.left);
        self.left -= number;
        let first = self.sent.len() as u32;
        self.overflowed |= self.sent.len() + number as usize > SENT_MAX;
        self.is_over |= self.left == 0 || self.overflowed;
        if !refused && !self.overflowed {
            let mut time = now;
            for _ in 0..number {
                self.sent.push(time);
                time += BACK_TO_BACK;
            }
        }
        first..self.sent.len() as u32
    }

    /// A host's socket gets a packet.
    pub fn receive(&mut self, host: NodeId, data: Data, received: Time) {
        let Some(sent) = self.sent.get(data.sequence as usize).copied() else { return };
        let arrival = Arrival { sequence: data.sequence.into(), sent, received, ttl: data.ttl };
        self.arrivals.entry(host).or_default().push(arrival);
    }

    /// A tap sees a packet.
    pub fn see(&mut self, wire: WireId, end: u16, outbound: bool, data: Data, time: Time) {
        if let Some(seen) = self.sightings.get_mut(wire.0) {
            seen.push(Compact { time: time.as_nanos(), sequence: data.sequence, end, ttl: data.ttl, outbound });
        }
    }

    /// What a host received, without the first `skip`.
    pub fn arrivals(&self, host: NodeId, skip: usize) -> Vec<Arrival> {
        self.arrivals.get(&host).and_then(|arrivals| arrivals.get(skip..)).map(<[Arrival]>::to_vec).unwrap_or_default()
    }

    /// What taps of a wire saw, without the first `skip`.
    pub fn sightings(&self, plan: &Plan, wire: WireId, skip: usize) -> Vec<Sighting> {
        let ends = &plan.wire(wire).ends;
        let sighting = |kept: &Compact| {
            Some(Sighting {
                at: *ends.get(usize::from(kept.end))?,
                outbound: kept.outbound,
                sequence: kept.sequence.into(),
                time: Time(kept.time),
                ttl: kept.ttl,
            })
        };
        let seen = self.sightings.get(wire.0).and_then(|seen| seen.get(skip..)).unwrap_or_default();
        seen.iter().filter_map(sighting).collect()
    }

    /// Its frames on a wire by tap and direction.
    pub fn counts(&self, plan: &Plan, wire: WireId) -> Vec<GroupCount> {
        let ends = &plan.wire(wire).ends;
        let mut counts: BTreeMap<(u16, bool, IpAddr), GroupCount> = BTreeMap::new();
        for kept in self.sightings.get(wire.0).into_iter().flatten() {
            let Some(&at) = ends.get(usize::from(kept.end)) else { continue };
            let time = Time(kept.time);
            let group = self.group_of(kept.sequence);
            let count = counts.entry((kept.end, kept.outbound, group)).or_insert(GroupCount {
                at,
                outbound: kept.outbound,
                source: self.source,
                group,
                stamped: 0,
                unstamped: 0,
                first: time,
                last: time,
            });
            count.stamped += 1;
            // The stamp is in the first fragment.
            count.unstamped += self.fragments - 1;
            count.last = count.last.max(time);
        }
        counts.into_values().collect()
    }
}
