//! Octets as what happens to a dense mode router: messages, data, counters, members, routes, interfaces and time. It stays whole, and what
//! nobody feeds any more ends.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../router-core/tests/dense/drive.rs"]
mod drive;

fuzz_target!(|octets: &[u8]| {
    drive::drive(octets);
});
