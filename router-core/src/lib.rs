//! A multicast router: protocol machines without I/O, and the Linux shell that runs them.

pub mod config;
pub mod control;
pub mod counters;
pub mod coverage;
pub mod forwarding;
pub mod linux;
pub mod membership;
pub mod pim;
pub mod random;
pub mod rib;
pub mod router;
pub mod show;
pub mod static_routes;
pub mod time;
pub mod timers;
pub mod wire;
