//! Bulk rates: up to 64 packets a system call, segmented (`UDP_SEGMENT`) and coalesced (`UDP_GRO`) by the kernel, every one of them stamped
//! and checked. Between the two ends the kernel carries them as one, so neither latency nor single losses may be judged here.

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};

use super::clock;
use super::sequence::SequenceCheck;
use super::spec::{SpecError, StreamSpec};
use super::stamp::{LENGTH, PAYLOAD_MAX, Stamp, StreamId};
use super::{sender, socket_address};
use crate::network::Time;
use crate::sys::udp::{Batch, Udp};

/// The most segments that one call may send.
pub const SEGMENTS_MAX: usize = 64;

/// Octets of the receive buffer, where the machine allows it.
const RECEIVE_BUFFER: i32 = 256 << 20;

/// What a bulk sender did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sent {
    /// Packets that the kernel took.
    pub packets: u64,
    /// Calls that it took.
    pub calls: u64,
    /// Calls that it refused.
    pub refused: u64,
    /// How long it went on, in seconds.
    pub seconds: f64,
    /// Packets a second.
    pub rate: f64,
    /// Processor time of the process, in seconds.
    pub cpu_seconds: f64,
}

/// What a bulk receiver got.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Received {
    /// Packets, copies not counted.
    pub packets: u64,
    /// Packets between the least and the highest sequence number that did not arrive.
    pub lost: u64,
    /// Copies.
    pub duplicated: u64,
    /// Packets that arrived after one with a higher sequence number.
    pub reordered: u64,
    /// Packets without a stamp, of another stream than the first, or of another length than they were sent with.
    pub strange: u64,
    /// Buffers that the kernel delivered.
    pub buffers: u64,
    /// Buffers that the kernel dropped for want of room.
    pub dropped: u64,
    /// Octets of UDP payload.
    pub octets: u64,
    /// First to last reception, in seconds.
    pub seconds: f64,
    /// Packets a second.
    pub rate: f64,
    /// Processor time of the process, in seconds.
    pub cpu_seconds: f64,
}

/// How many segments of `size` octets one call may send, at most `wanted`.
pub fn segments(size: usize, wanted: usize) -> usize {
    wanted.min(SEGMENTS_MAX).min(PAYLOAD_MAX / size.max(LENGTH)).max(1)
}

/// Sends as fast as the kernel takes it, for a time or until `stop`, from the calling thread's namespace. The rate, count and burst of `spec` do not
/// count; a segment with its headers has to fit the MTU.
///
/// # Errors
/// If the stream is impossible ([`io::ErrorKind::InvalidInput`]), or the socket or its segmentation cannot be had.
pub fn send(spec: &StreamSpec, segments_wanted: usize, limit: Duration, stop: &AtomicBool) -> io::Result<Sent> {
    let invalid = |error: SpecError| io::Error::new(io::ErrorKind::InvalidInput, error);
    let length = spec.check().map_err(invalid)?;
    let count = segments(spec.size, segments_wanted);
    let socket = sender::open(spec)?;
    socket.connect(socket_address(spec.group, spec.port, spec.interface))?;
    if count > 1 {
        socket.set_segment_size(length)?;
    }
    let mut payload = vec![0; spec.size * count];
    let stream = StreamId::new(std::process::id(), 1);
    let mut stamp = Stamp { stream, sequence: 0, sent_realtime: 0, length };
    let mut sent = Sent::default();
    let start = clock::monotonic();
    let cpu = cpu_time();
    let mut now = start;
    while now.since(start) < limit && !stop.load(Ordering::Relaxed) {
        stamp.sent_realtime = clock::realtime();
        for segment in payload.chunks_exact_mut(spec.size) {
            // A segment is at least a stamp long: StreamSpec::check saw to it.
            let _ = stamp.encode(segment);
            stamp.sequence += 1;
        }
        sent.calls += 1;
        match socket.send(&payload) {
            Ok(_) => sent.packets += count as u64,
            Err(error) => {
                sent.refused += 1;
                stamp.sequence -= count as u64;
                if is_hopeless(&error) {
                    return Err(error);
                }
            }
        }
        now = clock::monotonic();
    }
    sent.seconds = now.since(start).as_secs_f64();
    sent.rate = per_second(sent.packets, sent.seconds);
    sent.cpu_seconds = (cpu_time() - cpu).as_secs_f64();
    Ok(sent)
}

/// Receives a group and port on an interface of the calling thread's namespace, for a time, until `stop`, or until nothing came for `idle` after the
/// first packet.
///
/// # Errors
/// If the socket cannot be had.
pub fn receive(
    group: IpAddr,
    port: u16,
    interface: u32,
    limit: Duration,
    idle: Duration,
    stop: &AtomicBool,
) -> io::Result<Received> {
    let socket = Udp::open(group)?;
    socket.set_reuse_address()?;
    socket.set_multicast_all(false)?;
    socket.set_receive_buffer(RECEIVE_BUFFER)?;
    socket.want_coalesced()?;
    socket.bind(socket_address(group, port, interface))?;
    socket.join(interface, group)?;
    let mut batch = Batch::new(1 << 16);
    let mut got = Received::default();
    let mut check = SequenceCheck::default();
    let mut stream = None;
    let start = clock::monotonic();
    let cpu = cpu_time();
    let mut first: Option<Time> = None;
    let mut last = start;
    while !stop.load(Ordering::Relaxed) {
        let count = batch.receive(&socket)?;
        let now = clock::monotonic();
        if count == 0 {
            if now.since(start) >= limit || first.is_some() && now.since(last) >= idle {
                break;
            }
            wait(&socket)?;
            continue;
        }
        first.get_or_insert(now);
        last = now;
        for packet in batch.packets() {
            got.buffers += 1;
            got.octets += packet.length as u64;
            let whole = packet.length == packet.payload.len();
            for segment in packet.payload.chunks(packet.segment.unwrap_or(usize::MAX)) {
                match Stamp::decode(segment) {
                    Ok(stamp)
                        if whole
                            && usize::from(stamp.length) == segment.len()
                            && *stream.get_or_insert(stamp.stream) == stamp.stream =>
                    {
                        check.take(stamp.sequence);
                    }
                    _ => got.strange += 1,
                }
            }
        }
        if now.since(start) >= limit {
            break;
        }
    }
    got.packets = check.received();
    got.lost = check.lost();
    got.duplicated = check.duplicated();
    got.reordered = check.reordered();
    got.strange += check.too_late();
    got.dropped = socket.drops()?.into();
    got.seconds = last.since(first.unwrap_or(last)).as_secs_f64();
    got.rate = per_second(got.packets, got.seconds);
    got.cpu_seconds = (cpu_time() - cpu).as_secs_f64();
    Ok(got)
}

/// Waits until something can be read, at most a tenth of a second, so that the ends of a run are noticed.
fn wait(socket: &Udp) -> io::Result<()> {
    use std::os::fd::AsFd;
    match poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], PollTimeout::from(100u8)) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether trying again cannot help: all but full buffers and interfaces that are down.
fn is_hopeless(error: &io::Error) -> bool {
    !matches!(
        error.raw_os_error(),
        Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM | libc::EINTR | libc::ENETDOWN | libc::ENETUNREACH)
    )
}

fn per_second(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

/// Processor time of this process so far, user and system.
fn cpu_time() -> Duration {
    let used = getrusage(UsageWho::RUSAGE_SELF);
    used.map_or(Duration::ZERO, |used| {
        let micros = |time: nix::sys::time::TimeVal| {
            u64::try_from(time.tv_sec()).unwrap_or(0) * 1_000_000 + u64::try_from(time.tv_usec()).unwrap_or(0)
        };
        Duration::from_micros(micros(used.user_time()) + micros(used.system_time()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_carries_no_more_than_a_datagram() {
        assert_eq!(segments(1400, 64), 46);
        assert_eq!(segments(200, 64), 64);
        assert_eq!(segments(200, 8), 8);
        assert_eq!(segments(PAYLOAD_MAX, 64), 1);
        assert_eq!(segments(200, 0), 1);
        assert_eq!(segments(0, 1000), 64);
    }
}
