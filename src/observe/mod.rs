//! What is seen from outside the hosts: frames on wires, captures, kernel forwarding entries.
#![forbid(unsafe_code)]

pub mod capture;
pub mod checksum;
pub mod entries;
pub mod filter;
pub mod frame;
pub mod live;
pub mod order;
pub mod pcapng;
pub mod store;
pub mod tap;
