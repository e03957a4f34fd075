//! Any octets as the kernel's answer to a dump of its multicast forwarding entries.

#![no_main]

use libfuzzer_sys::fuzz_target;
use testbed::observe::entries::parse;

fuzz_target!(|octets: &[u8]| {
    for family in [128, 129] {
        let mut entries = Vec::new();
        let _ = parse(octets, family, 1, &mut entries);
        // A route message with its header is 28 octets, and a next hop 8.
        assert!(entries.len() <= octets.len() / 28);
        assert!(entries.iter().all(|entry| entry.outgoing.len() <= octets.len() / 8));
    }
});
