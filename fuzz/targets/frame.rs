//! Any octets as a frame on a wire: what a tap reads of it, and a checksum that is completed without touching anything else.

#![no_main]

use libfuzzer_sys::fuzz_target;
use testbed::observe::checksum;
use testbed::observe::frame::{Content, Packet};
use testbed::traffic::stamp::Stamp;

fuzz_target!(|octets: &[u8]| {
    let mut completed = octets.to_vec();
    checksum::complete(&mut completed);
    let changed = octets.iter().zip(&completed).filter(|(before, after)| before != after).count();
    assert!(changed <= 2 && completed.len() == octets.len());
    let mut again = completed.clone();
    checksum::complete(&mut again);
    assert_eq!(again, completed);
    let Some(packet) = Packet::parse(octets) else { return };
    let _ = packet.is_data();
    if let Content::Udp { payload, .. } = packet.content {
        let _ = Stamp::decode(payload);
    }
});
