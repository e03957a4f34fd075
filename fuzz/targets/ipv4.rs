//! Any octets as an IPv4 packet: what parses is emitted and parsed to the same again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use router_core::wire::ipv4;

fuzz_target!(|octets: &[u8]| {
    if let Ok((header, payload)) = ipv4::parse(octets)
        && let Some(packet) = header.emit(payload)
    {
        let again = ipv4::parse(&packet);
        assert_eq!(again.as_ref().map(|(header, payload)| (header, *payload)), Ok((&header, payload)));
    }
});
