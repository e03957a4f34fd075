//! Captures of simulated wires, by the writer of those of the kernel: what every end sends and gets, control messages as the octets that they
//! are, data with its headers and its stamp.
//!
//! This is the one place where the simulator touches files, and only if it is asked to. Stamps are virtual time, seconds from 1970 on.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use router_core::wire::ipv4;

use super::observe::Control;
use super::octets;
use super::streams::{Data, Stream};
use crate::network::Time;
use crate::observe::capture::{self, Capture, CaptureError, DATA_OCTETS};
use crate::sys::packet;
use crate::topology::plan::{Attachment, Plan, WireId};

/// Frames that wait for others of an earlier time.
const WAITING_MAX: u32 = 1024;
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];

/// One end of a wire, and what it does with a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub wire: WireId,
    /// Index of the end among the wire's.
    pub end: u16,
    /// Who sent the frame into the wire.
    pub sender: Attachment,
    /// Whether the end is the sender's.
    pub outbound: bool,
    pub time: Time,
}

/// Capture files of all wires.
#[derive(Debug)]
pub(super) struct Tape {
    wires: Vec<Option<(Capture, u32)>>,
    /// What could not be written.
    failures: Vec<String>,
}

impl Tape {
    /// Creates the files `WIRE.pcapng` in a directory.
    ///
    /// # Errors
    /// [`CaptureError`] if one of them cannot be made.
    pub fn new(plan: &Plan, directory: &Path) -> Result<Tape, CaptureError> {
        let limit = capture::limit(plan.wires.len());
        let open = |wire| {
            let capture = Capture::of_wire(plan, wire, directory, limit, DATA_OCTETS)?;
            Ok(Some((capture, 0)))
        };
        let wires = plan.wire_ids().map(open).collect::<Result<_, _>>()?;
        Ok(Tape { wires, failures: Vec::new() })
    }

    /// The file of a wire.
    pub fn path(&self, wire: WireId) -> Option<PathBuf> {
        Some(self.wires.get(wire.0)?.as_ref()?.0.path().to_owned())
    }

    /// A control message is seen at an end.
    pub fn control(&mut self, plan: &Plan, seen: Seen, control: &Control) {
        let datagram = &control.datagram;
        let (IpAddr::V4(source), IpAddr::V4(destination)) = (datagram.source, datagram.destination) else { return };
        let header = ipv4::Header {
            tos: datagram.traffic_class,
            identification: 0,
            dont_fragment: false,
            ttl: datagram.ttl,
            protocol: datagram.protocol,
            source,
            destination,
            router_alert: datagram.router_alert,
        };
        // What is too long for the length field never was on a wire.
        let Some(packet) = header.emit(&datagram.payload) else { return };
        let next_hop = control.next_hop.unwrap_or(destination).into();
        let mut frame = ethernet(plan, seen, next_hop, IPV4);
        frame.extend(packet);
        let length = frame.len();
        self.take(seen, &frame, length);
    }

    /// A packet of a stream is seen at an end, each fragment of it a frame.
    pub fn data(&mut self, plan: &Plan, seen: Seen, stream: &Stream, data: Data) {
        let group = stream.group_of(data.sequence);
        let kind = if group.is_ipv6() { IPV6 } else { IPV4 };
        for packet in octets::packets(stream, data) {
            let mut frame = ethernet(plan, seen, group, kind);
            let length = frame.len() + packet.length;
            frame.extend(packet.octets);
            frame.truncate(DATA_OCTETS as usize);
            self.take(seen, &frame, length);
        }
    }

    fn take(&mut self, seen: Seen, octets: &[u8], length: usize) {
        let Some(slot) = self.wires.get_mut(seen.wire.0) else { return };
        let Some((capture, waiting)) = slot else { return };
        let (realtime, outgoing) = (seen.time.as_nanos(), seen.outbound);
        let frame = packet::Frame { realtime, octets, length, outgoing, checksum_pending: false };
        capture.take(seen.end, outgoing, &frame);
        *waiting += 1;
        if *waiting >= WAITING_MAX {
            *waiting = 0;
            // A frame that is sent in a moment is seen in advance: nothing comes that is earlier than what comes now by more than that.
            if let Err(error) = capture.write_until(realtime.saturating_sub(1_000_000)) {
                self.failures.push(error.to_string());
                *slot = None;
            }
        }
    }

    /// Completes the files; gives what is missing of them, a sentence each.
    pub fn finish(mut self) -> Vec<String> {
        for (capture, _) in self.wires.into_iter().flatten() {
            self.failures.extend(capture.cut());
            self.failures.extend(capture.finish().err().map(|error| error.to_string()));
        }
        self.failures
    }
}

/// The header of a frame to whom it is for.
fn ethernet(plan: &Plan, seen: Seen, to: IpAddr, kind: [u8; 2]) -> Vec<u8> {
    let is_it = |at: &&Attachment| plan.interface(**at).addresses.iter().any(|net| net.addr() == to);
    let destination = match to {
        // RFC 1112 §6.4, RFC 2464 §7.
        IpAddr::V4(group) if group.is_multicast() => {
            let [_, b, c, d] = group.octets();
            [0x01, 0x00, 0x5e, b & 0x7f, c, d]
        }
        IpAddr::V6(group) if group.is_multicast() => {
            let [.., a, b, c, d] = group.octets();
            [0x33, 0x33, a, b, c, d]
        }
        _ => plan.wire(seen.wire).ends.iter().find(is_it).map_or([0xff; 6], |at| plan.interface(*at).mac),
    };
    let mut frame = Vec::with_capacity(DATA_OCTETS as usize + 64);
    frame.extend(destination);
    frame.extend(plan.interface(seen.sender).mac);
    frame.extend(kind);
    frame
}
