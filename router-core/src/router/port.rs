//! An interface of the router, with the protocols that run on it.

use std::net::IpAddr;

use super::{InterfaceState, SourceFilter};
use crate::config::{Interface, SsmMapping};
use crate::counters::Counters;
use crate::coverage::Coverage;
use crate::membership::{Family, Querier};
use crate::pim::link::Link;

/// An interface that takes part and exists.
#[derive(Debug)]
pub struct Port {
    /// Its configuration.
    pub config: Interface,
    /// What the shell says of it.
    pub state: InterfaceState,
    /// IGMP, where it runs.
    pub igmp: Option<Querier>,
    /// PIM, where it runs.
    pub pim: Option<Link>,
    /// Sources of source-specific groups for members that name none.
    pub ssm_mapping: Vec<SsmMapping>,
    /// What was refused apart from IGMP and PIM.
    pub counters: Counters,
}

impl Port {
    /// Adds what the interface's machines have been through.
    pub fn cover(&self, coverage: &mut Coverage) {
        for more in
            [self.igmp.as_ref().map(Querier::coverage), self.pim.as_ref().map(Link::coverage)].into_iter().flatten()
        {
            coverage.merge(more);
        }
    }

    /// Whether packets of a group neither enter nor leave here (RFC 2365).
    pub fn is_boundary_for(&self, group: IpAddr) -> bool {
        self.config.boundary.iter().any(|prefix| prefix.contains(&group))
    }

    /// Whether an address is on a subnet of the interface.
    pub fn is_on_link(&self, address: IpAddr) -> bool {
        self.state.addresses.iter().any(|net| net.contains(&address))
    }

    /// What members on the interface want of a group, taken together; none without members.
    pub fn filter(&self, group: IpAddr) -> Option<&SourceFilter> {
        match Family::of(group) {
            Family::V4 => self.igmp.as_ref()?.memberships().get(&group),
            Family::V6 => None,
        }
    }

    /// Whether a member on the interface wants packets of a source to a group.
    pub fn wants(&self, source: IpAddr, group: IpAddr) -> bool {
        self.filter(group).is_some_and(|filter| filter.admits(source))
    }
}
