//! Any octets as the payload of a stream's packet: what is a stamp is written back as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use testbed::traffic::stamp::{LENGTH, Stamp};

fuzz_target!(|payload: &[u8]| {
    if let Ok(stamp) = Stamp::decode(payload) {
        let mut again = [0; LENGTH];
        stamp.encode(&mut again).expect("there is room");
        assert_eq!(again, payload[..LENGTH]);
    }
});
