//! Streams: senders, receivers, packet stamps, metrics.
#![forbid(unsafe_code)]

pub mod stamp;
