//! State refresh messages of dense mode (RFC 3973 §4.7.10).

use std::net::IpAddr;

use super::Error;
use super::codec::{Reader, bits, extend_masked, extend_metric, extend_unicast};

/// A state refresh (RFC 3973 §4.7.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateRefresh {
    /// The group.
    pub group: IpAddr,
    /// The source.
    pub source: IpAddr,
    /// The first-hop router that originated it.
    pub originator: IpAddr,
    /// The R bit (sparse mode; set in an infinite metric).
    pub rpt: bool,
    /// Metric preference of the sender's route to the source, 31 bits.
    pub preference: u32,
    /// Metric of that route.
    pub metric: u32,
    /// Mask length of that route.
    pub mask_length: u8,
    /// Its own TTL, one less a router; the IP header's is always 1.
    pub ttl: u8,
    /// The P bit: the sender has pruned this interface.
    pub prune_indicator: bool,
    /// The N bit: set in every third message, ignored when heard.
    pub prune_now: bool,
    /// The O bit: the sender's assert timer does not run; ignored when heard.
    pub assert_override: bool,
    /// The originator's interval between messages, in seconds.
    pub interval: u8,
}

impl Reader<'_> {
    /// RFC 3973 §4.7.10.
    pub(super) fn state_refresh(mut self) -> Result<StateRefresh, Error> {
        let (group, _) = self.group()?;
        let source = self.unicast("a source address")?;
        let originator = self.unicast("an originator")?;
        let (rpt, preference, metric) = self.metric()?;
        let &[mask_length, ttl, flags, interval] = self.array("a state refresh's last word")?;
        let most = (self.address_length() * 8) as u8;
        if mask_length > most {
            return Err(Error::MaskLength { what: "the route to the source", length: mask_length, most });
        }
        Ok(StateRefresh {
            group,
            source,
            originator,
            rpt,
            preference,
            metric,
            mask_length,
            ttl,
            prune_indicator: flags & 0x80 != 0,
            prune_now: flags & 0x40 != 0,
            assert_override: flags & 0x20 != 0,
            interval,
        })
    }
}

pub(super) fn emit_state_refresh(refresh: &StateRefresh) -> Vec<u8> {
    let mut bytes = Vec::new();
    extend_masked(&mut bytes, 0, bits(refresh.group), refresh.group);
    extend_unicast(&mut bytes, refresh.source);
    extend_unicast(&mut bytes, refresh.originator);
    extend_metric(&mut bytes, refresh.rpt, refresh.preference, refresh.metric);
    let flags = [(refresh.prune_indicator, 0x80), (refresh.prune_now, 0x40), (refresh.assert_override, 0x20)];
    let flags = flags.iter().filter(|(set, _)| *set).fold(0, |all, (_, bit)| all | bit);
    bytes.extend([refresh.mask_length.min(bits(refresh.source)), refresh.ttl, flags, refresh.interval]);
    bytes
}
