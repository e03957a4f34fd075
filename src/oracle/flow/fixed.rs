//! The walk through routers whose entries the file gives: static routes and IGMP proxies.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::super::deadlines::querier;
use super::super::membership::{Certainty, wanted};
use super::walk::{Step, Sure, Walk, threshold_of};
use super::{ExpectedEntry, Why};
use crate::topology::plan::{Attachment, Daemon, Interface, Multicast, StaticRoute};
use crate::topology::steps::CutKind;

impl Walk<'_> {
    /// Packets reach a router without a protocol for the group.
    pub(super) fn forward_fixed(&mut self, step: &Step) {
        let at = step.at;
        let wishes = match self.wishes(at) {
            Ok(wishes) => wishes,
            Err(why) => return self.block(at, None, why),
        };
        // What a stopped daemon would have to change stays as it is.
        let certainty = self.unless_stopped(at.node, step.sure.is);
        let mut outgoing = BTreeMap::new();
        for (interface, wish) in wishes {
            let out = Attachment { node: at.node, interface };
            let settings = self.plan.interface(out);
            if interface == at.interface {
                continue;
            }
            if wish == Certainty::No {
                self.block(at, Some(interface), Why::NotWanted);
            } else if settings.is_boundary_for(self.flow.group) {
                self.block(at, Some(interface), Why::Boundary);
            } else {
                let wish = wish.min(certainty);
                // What is known to be down may be left out.
                let is_down = self.world.cut_at(self.plan, out).is_some_and(|how| how != CutKind::Silent);
                let entered = if is_down { wish.min(Certainty::Maybe) } else { wish };
                outgoing.insert(interface, (threshold_of(settings), entered));
                self.pass(step, out, Sure::all(wish), wish.min(step.settled));
            }
        }
        let incoming = BTreeSet::from([at.interface]);
        let known = self.flow.entries.get(&at.node).map_or(Certainty::No, |entry| entry.certainty);
        let certainty = certainty.max(known);
        self.flow.entries.insert(at.node, ExpectedEntry { incoming, outgoing, certainty, registered: false });
    }

    /// By which interfaces a router wants to send what reaches it at one.
    fn wishes(&self, at: Attachment) -> Result<Vec<(usize, Certainty)>, Why> {
        let node = self.plan.node(at.node);
        let Some(router) = node.router() else { return Ok(Vec::new()) };
        if router.multicast == Multicast::None {
            return Err(Why::MulticastNone);
        }
        if self.plan.interface(at).is_boundary_for(self.flow.group) {
            return Err(Why::Boundary);
        }
        let proxy = router.multicast == Multicast::Proxy;
        let always: &[usize] = if proxy {
            // A source on one of its links is believed there alone; what comes from below always goes up (RFC 4605 §4.2).
            let on_link = |i: &Interface| i.addresses.iter().any(|a| a.contains(&self.flow.source));
            match node.interfaces.iter().position(on_link) {
                Some(link) if link != at.interface => return Err(Why::WrongIncoming(link)),
                _ => router.upstream.as_slice(),
            }
        } else {
            match longest_match(&router.routes, self.flow.source, self.flow.group) {
                Some(route) if route.incoming != at.interface => return Err(Why::WrongIncoming(route.incoming)),
                Some(route) => &route.outgoing,
                None => return Err(Why::NoRoute),
            }
        };
        let wish = |interface| {
            if always.contains(&interface) {
                return Certainty::Yes;
            }
            let here = Attachment { node: at.node, interface };
            if router.daemon == Daemon::Smcroute || (proxy && router.upstream == Some(interface)) {
                return Certainty::No;
            }
            // Of several proxies on a link, only its querier forwards (RFC 4605 §4.2).
            let wire = self.plan.interface(here).wire;
            if proxy && querier(self.plan, self.world, wire).is_some_and(|elected| elected != at.node) {
                return Certainty::No;
            }
            wanted(self.plan, self.world, here, self.flow.source, self.flow.group)
        };
        Ok((0..node.interfaces.len()).map(|interface| (interface, wish(interface))).collect())
    }
}

/// The route that holds for packets: the longest source prefix, then the longest group prefix, then the first in the file.
fn longest_match(routes: &[StaticRoute], source: IpAddr, group: IpAddr) -> Option<&StaticRoute> {
    let length =
        |route: &StaticRoute| (route.source.map_or(0, |s| u16::from(s.prefix_len()) + 1), route.group.prefix_len());
    let mut best: Option<&StaticRoute> = None;
    for route in routes {
        let matches = route.group.contains(&group) && route.source.is_none_or(|prefix| prefix.contains(&source));
        if matches && best.is_none_or(|b| length(route) > length(b)) {
            best = Some(route);
        }
    }
    best
}
