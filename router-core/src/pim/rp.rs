//! Which rendezvous point serves a group (RFC 7761 §4.7.1).

use std::net::IpAddr;

use crate::config::StaticRp;

/// The group-to-RP mappings in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RpTable {
    configured: Vec<StaticRp>,
}

impl RpTable {
    /// With the configured ones.
    pub fn new(configured: Vec<StaticRp>) -> RpTable {
        RpTable { configured }
    }

    /// `RP(G)`.
    pub fn rp(&self, group: IpAddr) -> Option<IpAddr> {
        let matching = self.configured.iter().filter(|rp| rp.groups.contains(&group));
        matching.max_by_key(|rp| (rp.groups.prefix_len(), rp.address)).map(|rp| rp.address)
    }
}
