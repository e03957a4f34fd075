//! What is seen from outside the hosts: frames on wires, captures, kernel forwarding entries.
#![forbid(unsafe_code)]

pub mod clock;
pub mod filter;
pub mod frame;
pub mod pcapng;
