//! Asserts (RFC 7761 §4.9.6, RFC 3973 §4.7.7).

use std::net::IpAddr;

use super::Error;
use super::codec::{Reader, bits, extend_masked, extend_metric, extend_unicast};

/// An assert (RFC 3973 §4.7.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assert {
    /// The group.
    pub group: IpAddr,
    /// The source.
    pub source: IpAddr,
    /// The R bit (sparse mode; set in an infinite metric).
    pub rpt: bool,
    /// Metric preference, 31 bits.
    pub preference: u32,
    /// Metric of the route to the source.
    pub metric: u32,
}

impl Reader<'_> {
    /// RFC 7761 §4.9.6.
    pub(super) fn assert(mut self) -> Result<Assert, Error> {
        let (group, _) = self.group()?;
        let source = self.unicast("a source address")?;
        let (rpt, preference, metric) = self.metric()?;
        Ok(Assert { group, source, rpt, preference, metric })
    }
}

pub(super) fn emit_assert(assert: &Assert) -> Vec<u8> {
    let mut bytes = Vec::new();
    extend_masked(&mut bytes, 0, bits(assert.group), assert.group);
    extend_unicast(&mut bytes, assert.source);
    extend_metric(&mut bytes, assert.rpt, assert.preference, assert.metric);
    bytes
}
