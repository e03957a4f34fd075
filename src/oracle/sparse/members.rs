//! What members on a wire ask of its routers (RFC 7761 §4.1.6, pim_include).

use std::net::{IpAddr, Ipv4Addr};

use super::super::dense::Demand;
use super::super::membership::{Certainty, accepts, runs_igmp, version_at, wanted};
use super::super::rendezvous::{Mode, designated};
use super::{Asked, Sparse};
use crate::topology::plan::Attachment;

impl Sparse<'_> {
    /// What members at an interface ask of the router, if it is the one that serves them (§4.1.6, pim_include).
    pub(super) fn members(&self, at: Attachment) -> Asked {
        let wire = self.plan.interface(at).wire;
        let designated = designated(self.plan, self.world, wire);
        // Others may have believed to be it while something was upset, and go on if they won the assert (pim_include).
        // So may one that served a router there as somebody left, and others joined.
        let others = self.world.is_upset() || self.in_transition || self.outlasts_members(wire);
        let serves = match designated.as_slice() {
            [one] if *one == at => Certainty::Yes,
            several if several.contains(&at) => Certainty::Maybe,
            _ if others && self.takes_part(at) => Certainty::Maybe,
            _ => return Asked::NONE,
        };
        let demand = |certainty: Certainty| Demand::both(certainty.min(serves));
        if self.modes[at.node.0] == Some(Mode::Ssm) {
            return Asked { own: demand(self.wanted_by_source(at)), ..Asked::NONE };
        }
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let all = wanted(self.plan, self.world, at, any, self.group);
        let this = wanted(self.plan, self.world, at, self.source, self.group);
        // One that wants all may have named this source before, or name it next.
        let ends = &self.plan.wire(wire).ends;
        let names = |end: &Attachment| self.world.may_name(end.node, self.group, self.source);
        let named = if ends.iter().any(names) { this.min(Certainty::Maybe) } else { Certainty::No };
        Asked {
            star: demand(all),
            by_star: demand(all.min(this)),
            own: demand(if all == Certainty::No { this } else { named }),
        }
    }

    /// Whether members of a source-specific group want the source: those that name it, and those that cannot where a mapping gives it to them.
    fn wanted_by_source(&self, at: Attachment) -> Certainty {
        let listens = runs_igmp(self.plan, self.world, at);
        let Some(pim) = self.plan.pim_at(at) else { return Certainty::No };
        let mapping = pim.ssm_mapping.iter().flatten();
        let longest = mapping.filter(|m| m.groups.contains(&self.group)).max_by_key(|m| m.groups.prefix_len());
        let is_mapped = longest.is_some_and(|mapping| mapping.sources.contains(&self.source));
        let if_mapped = if is_mapped { Certainty::Yes } else { Certainty::No };
        let static_joins = self.plan.igmp_key(at, |igmp| &igmp.static_joins);
        let mut most = Certainty::No;
        for join in static_joins.into_iter().flatten().filter(|join| join.group == self.group) {
            most = most.max(match join.source {
                Some(source) if source == self.source => Certainty::Yes,
                Some(_) => Certainty::No,
                None => if_mapped,
            });
        }
        for &end in &self.plan.wire(self.plan.interface(at).wire).ends {
            let Some(host) = self.plan.node(end.node).host() else { continue };
            let Some(filter) = self.world.filter(end.node, self.group) else { continue };
            if !self.world.carries(self.plan, end, at) {
                continue;
            }
            use crate::topology::steps::SourceFilter::{Exclude, Include};
            let names = host.igmp_version.is_none_or(|version| version == 3) && version_at(self.plan, at) == 3;
            most = most.max(match filter {
                Include(_) if names && accepts(filter, self.source) => Certainty::Yes,
                Exclude(_) if names && self.world.may_name(end.node, self.group, self.source) => Certainty::Maybe,
                Include(_) if names => Certainty::No,
                Exclude(others) if names && others.contains(&self.source) => Certainty::No,
                Include(_) | Exclude(_) => if_mapped,
            });
        }
        most.min(listens)
    }
}
