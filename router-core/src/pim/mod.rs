//! Protocol Independent Multicast: what every mode shares, and a folder for each mode.
//!
//! [`link`] is PIM on one interface: its hellos and its neighbours. [`dense`] is dense mode (RFC 3973), [`sparse`] sparse mode (RFC 7761). [`mrib`] looks up where a source
//! lies. None of them knows a socket or a clock: they take events and hand out what is to be sent and what has changed.

pub mod bsr;
pub mod bundle;
pub mod dense;
pub mod link;
pub mod metric;
pub mod mode;
pub mod mrib;
pub mod rp;
pub mod settings;
pub mod sparse;

use std::net::IpAddr;

use crate::router::InterfaceId;
use crate::wire::pim::Message;

/// A message to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Out of which interface.
    pub interface: InterfaceId,
    /// To whom: all PIM routers, or one neighbour.
    pub destination: IpAddr,
    /// What.
    pub message: Message,
}
