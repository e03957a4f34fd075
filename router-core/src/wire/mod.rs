//! Wire formats: bytes to typed messages and back. No state, no I/O.
//!
//! Every parser here keeps the same promise: it never panics, it reads nothing and reserves nothing for a length that
//! it has not checked against the bytes that are there, and what its emitter writes it reads back as the same message.

pub mod checksum;
pub mod igmp;
pub mod ipv4;
pub mod pim;
