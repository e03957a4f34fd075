//! What the taps have seen, in bounded memory.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use router_core::time::Time;
use router_core::wire::{igmp, pim};

use super::frame::{Content, Packet};
use crate::network::{ControlSighting, GroupCount, Malformed, Sighting};
use crate::sys::packet::Frame;
use crate::topology::plan::{Attachment, WireId};
use crate::topology::steps::Message;
use crate::traffic::clock::Offset;
use crate::traffic::stamp::{Stamp, StreamId};

/// Bounds on what is kept. What lies beyond them is counted, and raises a doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Stamped frames, of all streams and taps together: 16 octets each.
    pub sightings: usize,
    /// Control messages, of all taps together.
    pub control: usize,
    /// Different pairs of source and group, of all taps together.
    pub flows: usize,
}

impl Default for Limits {
    /// 16 million stamped frames (256 MiB), 500,000 control messages, 65,536 flows.
    fn default() -> Limits {
        Limits { sightings: 16 << 20, control: 500_000, flows: 65_536 }
    }
}

/// Different kinds of messages that cannot be read, of one wire; more are counted as not kept.
const MALFORMED: usize = 64;

/// The place of a tap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The attachment that it watches.
    pub at: Attachment,
    /// Its wire.
    pub wire: WireId,
    /// Index of the attachment among the wire's ends.
    pub end: u16,
    /// Whether the tap sits on the far side of the attachment, on a bridge's port: what the node sends comes in there.
    pub far: bool,
}

impl Place {
    /// Whether a frame was sent by the node at the attachment.
    pub fn is_outbound(&self, frame: &Frame<'_>) -> bool {
        frame.outgoing != self.far
    }
}

/// A sighting as it is kept.
#[derive(Clone, Copy, Debug)]
struct Compact {
    time: u64,
    sequence: u32,
    end: u16,
    ttl: u8,
    outbound: bool,
}

type Flow = (u16, bool, IpAddr, IpAddr);

#[derive(Debug, Default)]
struct Seen {
    /// The wire's ends, for the way back from [`Compact::end`].
    ends: Vec<Attachment>,
    streams: HashMap<StreamId, Vec<Compact>>,
    flows: BTreeMap<Flow, GroupCount>,
    control: Vec<ControlSighting>,
    malformed: Vec<Malformed>,
}

/// What the taps have seen.
#[derive(Debug)]
pub struct Store {
    clock: Offset,
    limits: Limits,
    wires: Vec<Seen>,
    sightings: usize,
    control: usize,
    flows: usize,
    /// Frames that a limit kept out: stamped, control, of new flows.
    refused: [u64; 3],
}

impl Store {
    /// An empty store for wires with these ends.
    pub fn new(ends: impl IntoIterator<Item = Vec<Attachment>>, clock: Offset, limits: Limits) -> Store {
        let wires = ends.into_iter().map(|ends| Seen { ends, ..Seen::default() }).collect();
        Store { clock, limits, wires, sightings: 0, control: 0, flows: 0, refused: [0; 3] }
    }

    /// Takes a frame that a tap saw. Gives whether it was worth noting.
    pub fn take(&mut self, place: &Place, frame: &Frame<'_>) -> bool {
        let Some(packet) = Packet::parse(frame.octets) else { return false };
        let time = self.clock.to_monotonic(frame.realtime);
        let outbound = place.is_outbound(frame);
        if let Content::Igmp(_) | Content::Pim(_) = packet.content {
            // One message is seen at both ends of a link and at every port of a LAN: its sender's counts.
            return outbound && self.take_control(place, &packet, frame, time);
        }
        if !packet.is_data() {
            return false;
        }
        let stamp = match packet.content {
            Content::Udp { payload, .. } => Stamp::decode(payload).ok(),
            _ => None,
        };
        self.count(place, outbound, &packet, stamp.is_some(), time);
        if let Some(stamp) = stamp {
            self.keep(place, outbound, packet.ttl, &stamp, time);
        }
        true
    }

    /// Sightings of a stream on a wire as they became known, without the first `skip`.
    pub fn sightings(&self, stream: StreamId, wire: WireId, skip: usize) -> Vec<Sighting> {
        let Some(seen) = self.wires.get(wire.0) else { return Vec::new() };
        let kept = seen.streams.get(&stream).map_or(&[][..], Vec::as_slice);
        let sighting = |kept: &Compact| {
            Some(Sighting {
                at: *seen.ends.get(usize::from(kept.end))?,
                outbound: kept.outbound,
                sequence: u64::from(kept.sequence),
                time: Time(kept.time),
                ttl: kept.ttl,
            })
        };
        kept.get(skip..).unwrap_or(&[]).iter().filter_map(sighting).collect()
    }

    /// Control messages on a wire, in order of time.
    pub fn control(&self, wire: WireId) -> Vec<ControlSighting> {
        let mut control = self.wires.get(wire.0).map_or_else(Vec::new, |seen| seen.control.clone());
        control.sort_by_key(|seen| seen.time);
        control
    }

    /// What was sent into a wire as IGMP or PIM and cannot be read, by sender and reason.
    pub fn malformed(&self, wire: WireId) -> Vec<Malformed> {
        self.wires.get(wire.0).map_or_else(Vec::new, |seen| seen.malformed.clone())
    }

    /// Data frames on a wire by tap, direction, source and group.
    pub fn flows(&self, wire: WireId) -> Vec<GroupCount> {
        self.wires.get(wire.0).map_or_else(Vec::new, |seen| seen.flows.values().copied().collect())
    }

    /// What the limits kept out, one line a limit.
    pub fn doubts(&self) -> Vec<String> {
        let [stamped, control, flows] = self.refused;
        let mut doubts = Vec::new();
        let mut say = |count: u64, what: &str, limit: usize| {
            if count > 0 {
                doubts.push(format!("{count} {what} on wires were not kept: the limit is {limit}"));
            }
        };
        say(stamped, "stream packets", self.limits.sightings);
        say(control, "control messages", self.limits.control);
        say(flows, "frames of further sources and groups", self.limits.flows);
        doubts
    }

    fn keep(&mut self, place: &Place, outbound: bool, ttl: u8, stamp: &Stamp, time: Time) {
        let (Ok(sequence), true) = (u32::try_from(stamp.sequence), self.sightings < self.limits.sightings) else {
            self.refused[0] += 1;
            return;
        };
        let Some(seen) = self.wires.get_mut(place.wire.0) else { return };
        // Whoever sends stamps with new streams cannot make the table grow beyond the sightings themselves.
        let kept = seen.streams.entry(stamp.stream).or_default();
        kept.push(Compact { time: time.as_nanos(), sequence, end: place.end, ttl, outbound });
        self.sightings += 1;
    }

    fn count(&mut self, place: &Place, outbound: bool, packet: &Packet<'_>, stamped: bool, time: Time) {
        let Some(seen) = self.wires.get_mut(place.wire.0) else { return };
        let key = (place.end, outbound, packet.source, packet.destination);
        if self.flows >= self.limits.flows && !seen.flows.contains_key(&key) {
            self.refused[2] += 1;
            return;
        }
        let flow = seen.flows.entry(key).or_insert_with(|| {
            self.flows += 1;
            GroupCount {
                at: place.at,
                outbound,
                source: packet.source,
                group: packet.destination,
                stamped: 0,
                unstamped: 0,
                first: time,
                last: time,
            }
        });
        *(if stamped { &mut flow.stamped } else { &mut flow.unstamped }) += 1;
        flow.last = flow.last.max(time);
    }

    fn take_control(&mut self, place: &Place, packet: &Packet<'_>, frame: &Frame<'_>, time: Time) -> bool {
        if frame.octets.len() < frame.length {
            // The tap itself lacks the rest.
            self.refused[1] += 1;
            return false;
        }
        let (message, groups, pim) = match read(packet.source, packet.destination, packet.content) {
            Ok(Some(read)) => read,
            Ok(None) => return false,
            Err(why) => return self.take_malformed(place, packet.source, why, time),
        };
        if self.control >= self.limits.control {
            self.refused[1] += 1;
            return false;
        }
        let Some(seen) = self.wires.get_mut(place.wire.0) else { return false };
        seen.control.push(ControlSighting {
            at: place.at,
            message,
            source: packet.source,
            destination: packet.destination,
            groups,
            time,
            length: packet.content.message_length(),
            pim,
        });
        self.control += 1;
        true
    }

    fn take_malformed(&mut self, place: &Place, source: IpAddr, why: String, time: Time) -> bool {
        let Some(seen) = self.wires.get_mut(place.wire.0) else { return false };
        let same = |known: &&mut Malformed| known.at == place.at && known.source == source && known.why == why;
        if let Some(known) = seen.malformed.iter_mut().find(same) {
            known.count += 1;
        } else if seen.malformed.len() < MALFORMED {
            seen.malformed.push(Malformed { at: place.at, source, why, count: 1, first: time });
        } else {
            self.refused[1] += 1;
        }
        true
    }
}

/// A control message: its kind, the groups that it is about, and itself if it is PIM.
pub type Control = (Message, Vec<IpAddr>, Option<Arc<pim::Message>>);

/// Reads what an IP packet carries as a control message: its most specific kind, the groups that it is about, and itself if it is PIM. Nothing
/// for one of a type that is not known, which others may speak.
///
/// # Errors
/// What is wrong with one that is known.
pub fn read(source: IpAddr, destination: IpAddr, content: Content<'_>) -> Result<Option<Control>, String> {
    match content {
        Content::Igmp(octets) => match igmp::parse(octets) {
            Ok(message) => {
                let (kind, groups) = classify(&message);
                Ok(Some((kind, groups, None)))
            }
            Err(igmp::Error::Type(_)) => Ok(None),
            Err(error) => Err(error.to_string()),
        },
        Content::Pim(octets) => match pim::parse(source, destination, octets) {
            Ok(message) => {
                let (kind, groups) = classify_pim(&message);
                Ok(Some((kind, groups, Some(Arc::new(message)))))
            }
            Err(pim::Error::Type(_)) => Ok(None),
            Err(error) => Err(error.to_string()),
        },
        Content::Udp { .. } | Content::Other(_) => Ok(None),
    }
}

fn classify_pim(message: &pim::Message) -> (Message, Vec<IpAddr>) {
    let groups = |message: &pim::JoinPrune| message.groups.iter().map(|set| set.group).collect();
    match message {
        pim::Message::Hello(_) => (Message::PimHello, Vec::new()),
        pim::Message::JoinPrune(list) => {
            let joins = list.groups.iter().any(|set| !set.joined.is_empty());
            let prunes = list.groups.iter().any(|set| !set.pruned.is_empty());
            let kind = match (joins, prunes) {
                (true, false) => Message::PimJoin,
                (false, true) => Message::PimPrune,
                (true, true) | (false, false) => Message::PimJoinPrune,
            };
            (kind, groups(list))
        }
        pim::Message::Graft(list) => (Message::PimGraft, groups(list)),
        pim::Message::GraftAck(list) => (Message::PimGraftAck, groups(list)),
        pim::Message::Assert(assert) => (Message::PimAssert, vec![assert.group]),
        pim::Message::StateRefresh(refresh) => (Message::PimStateRefresh, vec![refresh.group]),
        pim::Message::Register(register) => {
            let kind = if register.null { Message::PimNullRegister } else { Message::PimRegister };
            (kind, registered_group(&register.packet).into_iter().collect())
        }
        pim::Message::Bootstrap(message) => {
            (Message::PimBootstrap, message.ranges.iter().map(|range| range.group).collect())
        }
        pim::Message::CandidateRpAdvertisement(message) => {
            (Message::PimCandidateRpAdvertisement, message.groups.iter().map(|range| range.group).collect())
        }
        pim::Message::RegisterStop(stop) => (Message::PimRegisterStop, vec![stop.group]),
    }
}

/// The destination of the IPv4 packet in a register.
fn registered_group(packet: &[u8]) -> Option<IpAddr> {
    let header = packet.first_chunk::<20>().filter(|header| header[0] >> 4 == 4)?;
    Some(std::net::Ipv4Addr::new(header[16], header[17], header[18], header[19]).into())
}

/// The most specific kind of a message, and the groups that it is about.
fn classify(message: &igmp::Message) -> (Message, Vec<IpAddr>) {
    let query = |group: std::net::Ipv4Addr, sources: bool| match (group.is_unspecified(), sources) {
        (true, _) => (Message::IgmpGeneralQuery, Vec::new()),
        (false, false) => (Message::IgmpGroupQuery, vec![group.into()]),
        (false, true) => (Message::IgmpSourceQuery, vec![group.into()]),
    };
    match message {
        igmp::Message::QueryV1 => (Message::IgmpGeneralQuery, Vec::new()),
        igmp::Message::QueryV2 { group, .. } => query(*group, false),
        igmp::Message::QueryV3(v3) => query(v3.group, !v3.sources.is_empty()),
        igmp::Message::ReportV1 { group } => (Message::Igmpv1Report, vec![(*group).into()]),
        igmp::Message::ReportV2 { group } => (Message::Igmpv2Report, vec![(*group).into()]),
        igmp::Message::LeaveV2 { group } => (Message::IgmpLeave, vec![(*group).into()]),
        igmp::Message::ReportV3 { records } => {
            (Message::Igmpv3Report, records.iter().map(|record| record.group.into()).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::plan::NodeId;

    const R1: Attachment = Attachment { node: NodeId(0), interface: 0 };
    const R2: Attachment = Attachment { node: NodeId(1), interface: 0 };
    const LINK: WireId = WireId(0);

    fn store(limits: Limits) -> Store {
        Store::new([vec![R1, R2]], Offset::default(), limits)
    }

    fn place(end: u16, far: bool) -> Place {
        Place { at: [R1, R2][usize::from(end)], wire: LINK, end, far }
    }

    fn ipv4(protocol: u8, destination: [u8; 4], payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([8, 0, 0x45, 0]);
        frame.extend((20 + payload.len() as u16).to_be_bytes());
        frame.extend([0, 0, 0, 0, 9, protocol, 0, 0, 10, 0, 0, 1]);
        frame.extend(destination);
        frame.extend(payload);
        frame
    }

    fn data(stamp: Option<(u64, u64)>) -> Vec<u8> {
        let mut payload = vec![0u8; 8 + 40];
        payload[2..4].copy_from_slice(&5001u16.to_be_bytes());
        if let Some((stream, sequence)) = stamp {
            let stamp = Stamp { stream: StreamId(stream), sequence, sent_realtime: 1, length: 40 };
            stamp.encode(&mut payload[8..]).unwrap();
        }
        ipv4(17, [239, 1, 1, 1], &payload)
    }

    fn frame(octets: &[u8], outgoing: bool, realtime: u64) -> Frame<'_> {
        Frame { realtime, octets, length: octets.len(), outgoing, checksum_pending: false }
    }

    #[test]
    fn a_stamped_frame_is_a_sighting_of_its_stream() {
        let mut store = store(Limits::default());
        assert!(store.take(&place(0, false), &frame(&data(Some((7, 3))), true, 50)));
        assert!(store.take(&place(1, false), &frame(&data(Some((7, 3))), false, 60)));
        let seen = store.sightings(StreamId(7), LINK, 0);
        assert_eq!(
            seen,
            [
                Sighting { at: R1, outbound: true, sequence: 3, time: Time(50), ttl: 9 },
                Sighting { at: R2, outbound: false, sequence: 3, time: Time(60), ttl: 9 },
            ]
        );
        assert_eq!(store.sightings(StreamId(7), LINK, 1), seen[1..]);
        assert_eq!(store.sightings(StreamId(7), LINK, 9), []);
        assert_eq!(store.sightings(StreamId(8), LINK, 0), []);
    }

    #[test]
    fn a_frame_that_comes_in_at_a_bridge_port_was_sent_by_the_node() {
        let mut store = store(Limits::default());
        store.take(&place(0, true), &frame(&data(Some((7, 0))), false, 1));
        store.take(&place(0, true), &frame(&data(Some((7, 1))), true, 2));
        let directions: Vec<bool> = store.sightings(StreamId(7), LINK, 0).iter().map(|s| s.outbound).collect();
        assert_eq!(directions, [true, false]);
    }

    #[test]
    fn frames_without_a_stamp_are_counted() {
        let mut store = store(Limits::default());
        store.take(&place(0, false), &frame(&data(None), true, 5));
        store.take(&place(0, false), &frame(&data(None), true, 9));
        store.take(&place(0, false), &frame(&data(Some((1, 1))), true, 7));
        let flows = store.flows(LINK);
        assert_eq!(flows.len(), 1);
        assert_eq!((flows[0].stamped, flows[0].unstamped, flows[0].first, flows[0].last), (1, 2, Time(5), Time(9)));
    }

    #[test]
    fn control_messages_are_kept_where_they_are_sent() {
        let mut store = store(Limits::default());
        let report = ipv4(2, [239, 1, 1, 1], &igmp::Message::ReportV2 { group: [239, 1, 1, 1].into() }.emit());
        store.take(&place(0, false), &frame(&report, true, 5));
        store.take(&place(1, false), &frame(&report, false, 6));
        let query =
            ipv4(2, [224, 0, 0, 1], &igmp::Message::QueryV2 { max_resp_time: 100, group: [0; 4].into() }.emit());
        store.take(&place(1, false), &frame(&query, true, 4));
        let control = store.control(LINK);
        let kinds: Vec<_> = control.iter().map(|c| (c.at, c.message, c.groups.len())).collect();
        assert_eq!(kinds, [(R2, Message::IgmpGeneralQuery, 0), (R1, Message::Igmpv2Report, 1)]);
    }

    fn router(octets: &[u8]) -> Vec<u8> {
        ipv4(103, [224, 0, 0, 13], octets)
    }

    fn pim(message: &pim::Message) -> Vec<u8> {
        router(&message.emit([10, 0, 0, 1].into(), [224, 0, 0, 13].into()))
    }

    fn list(joined: &[[u8; 4]], pruned: &[[u8; 4]]) -> pim::JoinPrune {
        let source = pim::EncodedSource {
            address: [10, 9, 0, 1].into(),
            mask_length: 32,
            sparse: false,
            wildcard: false,
            rpt: false,
        };
        let set = |group: &[u8; 4], joined: bool| pim::GroupSet {
            group: (*group).into(),
            mask_length: 32,
            joined: if joined { vec![source] } else { vec![] },
            pruned: if joined { vec![] } else { vec![source] },
        };
        let groups = joined.iter().map(|group| set(group, true)).chain(pruned.iter().map(|group| set(group, false)));
        pim::JoinPrune { upstream: [10, 0, 0, 2].into(), hold_time: 210, groups: groups.collect() }
    }

    #[test]
    fn pim_messages_are_kept_by_their_kinds() {
        const ONE: [u8; 4] = [239, 1, 1, 1];
        const TWO: [u8; 4] = [239, 1, 1, 2];
        let mut store = store(Limits::default());
        let messages = [
            pim::Message::Hello(pim::Hello::default()),
            pim::Message::JoinPrune(list(&[ONE], &[])),
            pim::Message::JoinPrune(list(&[], &[ONE])),
            pim::Message::JoinPrune(list(&[ONE], &[TWO])),
            pim::Message::Graft(list(&[TWO], &[])),
            pim::Message::GraftAck(list(&[TWO], &[])),
        ];
        for (time, message) in messages.iter().enumerate() {
            store.take(&place(0, false), &frame(&pim(message), true, time as u64));
            store.take(&place(1, false), &frame(&pim(message), false, time as u64));
        }
        let control = store.control(LINK);
        let kinds: Vec<Message> = control.iter().map(|c| c.message).collect();
        use Message::{PimGraft, PimGraftAck, PimHello, PimJoin, PimJoinPrune, PimPrune};
        assert_eq!(kinds, [PimHello, PimJoin, PimPrune, PimJoinPrune, PimGraft, PimGraftAck]);
        let count = |kind: Message| control.iter().filter(|c| c.is(kind)).count();
        assert_eq!((count(PimJoinPrune), count(PimJoin), count(PimPrune), count(PimGraft)), (3, 2, 2, 1));
        let about = |kind: Message, group: [u8; 4]| control.iter().filter(|c| c.is_about(kind, group.into())).count();
        assert_eq!((about(PimJoin, ONE), about(PimJoin, TWO)), (2, 0));
        assert_eq!((about(PimPrune, ONE), about(PimPrune, TWO)), (1, 1));
        assert_eq!((about(PimJoinPrune, ONE), about(PimGraft, ONE), about(PimGraft, TWO)), (3, 0, 1));
        assert_eq!(control[3].pim.as_deref(), Some(&messages[3]));
        assert_eq!(store.malformed(LINK), []);
    }

    #[test]
    fn what_cannot_be_read_is_kept_by_sender_and_reason() {
        let mut store = store(Limits::default());
        let mut hello = pim(&pim::Message::Hello(pim::Hello::default()));
        *hello.last_mut().unwrap() ^= 1;
        for time in [5, 6] {
            assert!(store.take(&place(0, false), &frame(&hello, true, time)));
            store.take(&place(1, false), &frame(&hello, false, time));
        }
        let mut report = igmp::Message::ReportV2 { group: [239, 1, 1, 1].into() }.emit();
        report[2] ^= 1;
        store.take(&place(1, false), &frame(&ipv4(2, [239, 1, 1, 1], &report), true, 7));
        let malformed = store.malformed(LINK);
        let said: Vec<_> = malformed.iter().map(|m| (m.at, m.why.as_str(), m.count, m.first)).collect();
        assert_eq!(said, [(R1, "wrong PIM checksum", 2, Time(5)), (R2, "wrong IGMP checksum", 1, Time(7))]);
        // A register and a message of DVMRP are other people's business; what the tap cut short is its own.
        store.take(&place(0, false), &frame(&router(&[0x21, 0, 0xde, 0xff, 0, 0, 0, 0]), true, 8));
        store.take(&place(0, false), &frame(&ipv4(2, [224, 0, 0, 4], &[0x13, 1, 0xec, 0xfe, 0, 0, 0, 0]), true, 8));
        assert_eq!(store.malformed(LINK).len(), 2);
        let cut = Frame { length: hello.len() + 9, ..frame(&hello, true, 9) };
        store.take(&place(0, false), &cut);
        assert_eq!(store.malformed(LINK)[0].count, 2);
        assert_eq!(store.doubts().len(), 1);
    }

    #[test]
    fn limits_refuse_and_raise_doubts() {
        let mut store = store(Limits { sightings: 1, control: 0, flows: 1 });
        store.take(&place(0, false), &frame(&data(Some((7, 0))), true, 1));
        assert_eq!(store.doubts(), Vec::<String>::new());
        store.take(&place(0, false), &frame(&data(Some((7, 1))), true, 2));
        store.take(&place(0, false), &frame(&data(Some((7, 1))), false, 2));
        let report = ipv4(2, [239, 1, 1, 1], &igmp::Message::ReportV2 { group: [239, 1, 1, 1].into() }.emit());
        store.take(&place(0, false), &frame(&report, true, 5));
        assert_eq!(store.sightings(StreamId(7), LINK, 0).len(), 1);
        let doubts = store.doubts();
        assert_eq!(doubts.len(), 3, "{doubts:?}");
        assert!(doubts[0].contains("2 stream packets"), "{doubts:?}");
    }
}
