//! Any octets as an IGMP message: what parses is emitted and parsed to the same again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use router_core::wire::igmp;

fuzz_target!(|octets: &[u8]| {
    if let Ok(message) = igmp::parse(octets) {
        let again = igmp::parse(&message.emit());
        assert_eq!(again.as_ref(), Ok(&message));
    }
});
