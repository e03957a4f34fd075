//! A multicast router: protocol machines without I/O, and the Linux shell that runs them.

pub mod config;
pub mod forwarding;
pub mod router;
pub mod show;
pub mod time;
