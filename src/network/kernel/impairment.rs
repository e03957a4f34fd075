//! What a wire does to packets: rate (`tbf`), random loss (nftables), delay and jitter (`netem`, where the kernel has it).
//!
//! Each applies where a node sends into the wire, so that crossing a LAN or a link is impaired once.

use std::time::Duration;

use super::namespace::Namespace;
use super::netlink::{CREATE, EXCLUSIVE, Netlink, NetlinkError, attribute, nest};
use super::nft;
use crate::topology::plan::{Attachment, Impairment, Plan};

/// RTM_NEWQDISC, TCA_KIND, TCA_OPTIONS (linux/rtnetlink.h); the parent of a root queue and the handles used here (linux/pkt_sched.h).
const RTM_NEWQDISC: u16 = 36;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const ROOT: u32 = 0xffff_ffff;
const OUTER: u32 = 0x0001_0000;
const INNER: u32 = 0x0002_0000;
const CLASS_OF_OUTER: u32 = OUTER | 1;

/// Longest queue of a rate limit, in time.
const QUEUE: Duration = Duration::from_millis(50);
/// Most packets that a delay holds.
const HELD_MAX: u32 = 200_000;
const ETHERNET_HEADER: u32 = 14;

/// Why an impairment could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum ImpairmentError {
    /// The kernel refused.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The namespace could not be entered, or a socket opened.
    #[error("cannot impair what {at} sends: {error}")]
    Namespace {
        /// The attachment.
        at: String,
        /// The system's word.
        error: std::io::Error,
    },
}

/// Impairs what an attachment's node sends into its wire.
///
/// # Errors
/// [`ImpairmentError`].
pub fn set_up(
    plan: &Plan,
    at: Attachment,
    namespace: &Namespace,
    netlink: &mut Netlink,
) -> Result<(), ImpairmentError> {
    let interface = plan.interface(at);
    let wire = plan.wire(interface.wire);
    let name = plan.name_of(at);
    // Another seed for each interface, else all wires would lose the same packets.
    let seed = plan.seed ^ u64::from(interface.index).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    shape(netlink, interface.index, &name, &wire.impairment, wire.mtu, seed)?;
    if wire.impairment.loss > 0.0 {
        let drops = nft::Drops::Random(wire.impairment.loss);
        let error = |error| ImpairmentError::Namespace { at: name.clone(), error };
        let mut netlink = namespace.inside(nft::open).and_then(|socket| socket).map_err(error)?;
        nft::start(&mut netlink, &interface.name, drops)?;
    }
    Ok(())
}

/// Puts the queues for delay and rate onto an interface.
///
/// # Errors
/// [`NetlinkError`]: `ENOENT` if the kernel lacks the queue's kind.
pub fn shape(
    netlink: &mut Netlink,
    index: u32,
    name: &str,
    impairment: &Impairment,
    mtu: u32,
    seed: u64,
) -> Result<(), NetlinkError> {
    let mut parent = (ROOT, OUTER);
    if !impairment.delay.is_zero() || !impairment.jitter.is_zero() {
        let options = netem(impairment.delay, impairment.jitter, seed);
        queue(netlink, index, parent, "netem", &format!("delay what {name} sends (netem)"), &options)?;
        parent = (CLASS_OF_OUTER, INNER);
    }
    if let Some(rate) = impairment.rate {
        let what = format!("limit the rate of what {name} sends (tbf)");
        queue(netlink, index, parent, "tbf", &what, &tbf(rate, mtu))?;
    }
    netlink.flush()
}

fn queue(
    netlink: &mut Netlink,
    index: u32,
    (parent, handle): (u32, u32),
    kind: &str,
    what: &str,
    options: &[u8],
) -> Result<(), NetlinkError> {
    netlink.request_raw(RTM_NEWQDISC, CREATE | EXCLUSIVE, what, |octets| {
        octets.extend([0; 4]);
        for number in [index, handle, parent, 0] {
            octets.extend(number.to_ne_bytes());
        }
        attribute(octets, TCA_KIND, &[kind.as_bytes(), b"\0"].concat());
        nest(octets, TCA_OPTIONS, |inner| inner.extend(options));
    })
}

/// Options of `tbf`: `struct tc_tbf_qopt` and the exact figures beside it.
fn tbf(bits_per_second: u64, mtu: u32) -> Vec<u8> {
    const PARAMETERS: u16 = 1;
    const RATE64: u16 = 4;
    const BURST: u16 = 6;
    const LINK_LAYER_ETHERNET: u8 = 1;
    let rate = (bits_per_second / 8).max(1);
    let frame = mtu.saturating_add(ETHERNET_HEADER);
    // What goes out in the 4 ms of a coarse kernel timer, two frames at least.
    let burst = u32::try_from(rate / 250).unwrap_or(u32::MAX).max(2 * frame);
    let queue = u32::try_from(u128::from(rate) * QUEUE.as_millis() / 1000).unwrap_or(u32::MAX);
    let limit = queue.max(10 * frame).saturating_add(burst);
    let mut parameters = vec![0, LINK_LAYER_ETHERNET, 0, 0, 0, 0, 0, 0];
    parameters.extend(u32::try_from(rate).unwrap_or(u32::MAX).to_ne_bytes());
    parameters.extend([0; 12]);
    for number in [limit, 0, 0] {
        parameters.extend(number.to_ne_bytes());
    }
    let mut octets = Vec::new();
    attribute(&mut octets, PARAMETERS, &parameters);
    attribute(&mut octets, RATE64, &rate.to_ne_bytes());
    attribute(&mut octets, BURST, &burst.to_ne_bytes());
    octets
}

/// Options of `netem`: `struct tc_netem_qopt` and the exact figures beside it.
fn netem(delay: Duration, jitter: Duration, seed: u64) -> Vec<u8> {
    const LATENCY64: u16 = 10;
    const JITTER64: u16 = 11;
    const SEED: u16 = 14;
    let nanoseconds = |span: Duration| i64::try_from(span.as_nanos()).unwrap_or(i64::MAX).to_ne_bytes();
    let mut octets = Vec::new();
    for number in [0, HELD_MAX, 0, 0, 0, 0] {
        octets.extend(number.to_ne_bytes());
    }
    attribute(&mut octets, LATENCY64, &nanoseconds(delay));
    attribute(&mut octets, JITTER64, &nanoseconds(jitter));
    attribute(&mut octets, SEED, &seed.to_ne_bytes());
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_limit_is_as_the_kernel_reads_it() {
        let octets = tbf(8_000_000, 1500);
        // PARMS: 36 octets; the rate is 1,000,000 octets a second.
        assert_eq!(octets[..4], [40, 0, 1, 0]);
        assert_eq!(octets[12..16], 1_000_000u32.to_ne_bytes());
        // 50 ms and the burst of 4 ms.
        assert_eq!(octets[28..32], 54_000u32.to_ne_bytes());
        assert_eq!(octets.len(), 40 + 12 + 8);
    }

    #[test]
    fn a_slow_rate_still_lets_frames_through() {
        let octets = tbf(8, 1500);
        let burst = u32::from_ne_bytes(octets[56..60].try_into().unwrap());
        assert_eq!(burst, 2 * 1514);
    }
}
