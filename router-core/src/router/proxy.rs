//! The host side of an IGMP proxy (RFC 4605 §4.1): what all downstream interfaces want together is joined upstream.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{InterfaceId, Output, Router, SourceFilter};

/// What was joined upstream, and where.
#[derive(Debug, Default)]
pub(crate) struct Upstream {
    /// The interface while it is up.
    interface: Option<InterfaceId>,
    joined: BTreeMap<IpAddr, SourceFilter>,
}

impl Router {
    /// The upstream interface, if this is a proxy and the interface exists.
    pub(super) fn upstream_id(&self) -> Option<InterfaceId> {
        self.find(self.upstream_name()?)
    }

    /// The upstream interface may have come, gone, or changed its state. While it is down nothing is joined; when it comes
    /// back everything is joined anew.
    pub(super) fn upstream_changed(&mut self) {
        let now_up = self.upstream_id().filter(|id| self.ports[id].state.up);
        if self.upstream.interface == now_up {
            return;
        }
        self.leave_upstream();
        self.upstream.interface = now_up;
        let wanted: BTreeSet<IpAddr> = self
            .ports
            .values()
            .filter_map(|port| port.igmp.as_ref())
            .flat_map(|igmp| igmp.memberships().keys().copied())
            .collect();
        for group in wanted {
            self.update_upstream(group);
        }
    }

    /// Leaves everything upstream. On an interface that is gone the kernel has done so already.
    pub(super) fn leave_upstream(&mut self) {
        let joined = std::mem::take(&mut self.upstream.joined);
        let Some(interface) = self.upstream.interface.take().filter(|id| self.ports.contains_key(id)) else { return };
        for group in joined.into_keys() {
            self.output(Output::HostMembership { interface, group, filter: SourceFilter::nothing() });
        }
    }

    /// Joins upstream what the downstream interfaces want of a group, if that has changed.
    pub(super) fn update_upstream(&mut self, group: IpAddr) {
        let Some(interface) = self.upstream.interface else { return };
        let filter = self.wanted_downstream(interface, group);
        let before = self.upstream.joined.get(&group);
        match filter {
            Some(filter) if before != Some(&filter) => {
                self.upstream.joined.insert(group, filter.clone());
                self.output(Output::HostMembership { interface, group, filter });
            }
            None if before.is_some() => {
                self.upstream.joined.remove(&group);
                self.output(Output::HostMembership { interface, group, filter: SourceFilter::nothing() });
            }
            Some(_) | None => {}
        }
    }

    /// The merge of all downstream filters of a group (RFC 9776 §3.2), leaving out interfaces where its scope ends; none if its scope
    /// ends upstream.
    fn wanted_downstream(&self, upstream: InterfaceId, group: IpAddr) -> Option<SourceFilter> {
        if self.ports.get(&upstream)?.is_boundary_for(group) {
            return None;
        }
        self.ports
            .values()
            .filter(|port| !port.is_boundary_for(group))
            .filter_map(|port| port.igmp.as_ref()?.memberships().get(&group).cloned())
            .reduce(|merged, filter| merged.merge(&filter))
    }
}
