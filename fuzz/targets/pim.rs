//! Any octets as a PIM message, with the checksum set right so that more than the header is read: what parses is emitted and parsed to the
//! same again.

#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use router_core::wire::{checksum, pim};

fuzz_target!(|octets: &[u8]| {
    let Some((choice, message)) = octets.split_first() else { return };
    let (source, destination): (IpAddr, IpAddr) = if choice & 1 == 0 {
        ([10, 0, 0, 2].into(), pim::ALL_PIM_ROUTERS.into())
    } else {
        ([0xfe80, 0, 0, 0, 0, 0, 0, 2].into(), [0xff02, 0, 0, 0, 0, 0, 0, 0xd].into())
    };
    let _ = pim::parse(source, destination, message);
    let mut message = message.to_vec();
    if message.len() >= 4 {
        message[2..4].fill(0);
        let sum = checksum::internet(&covered(source, destination, &message));
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    let read = pim::parse(source, destination, &message);
    assert_ne!(read, Err(pim::Error::Checksum));
    if let Ok(read) = read {
        let again = pim::parse(source, destination, &read.emit(source, destination));
        assert_eq!(again.as_ref(), Ok(&read));
    }
});

/// What the checksum covers: over IPv6 a pseudo header too (RFC 8200 §8.1).
fn covered(source: IpAddr, destination: IpAddr, message: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    if let (IpAddr::V6(source), IpAddr::V6(destination)) = (source, destination) {
        all.extend(source.octets());
        all.extend(destination.octets());
        all.extend((message.len() as u32).to_be_bytes());
        all.extend([0, 0, 0, pim::PROTOCOL]);
    }
    all.extend(message);
    all
}
