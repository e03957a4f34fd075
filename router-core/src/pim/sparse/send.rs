//! The messages that the machines send (RFC 7761 §4.9).

use std::net::IpAddr;

use super::entry::{Tree, Upstream};
use super::outbox::{About, Said, Word, in_order, messages};
use super::{Action, Context, Sparse, macros};
use crate::config::PimSabotage;
use crate::forwarding::EntryKey;
use crate::pim::Sent;
use crate::pim::link::Link;
use crate::pim::metric::{AssertMetric, infinite_assert_metric};
use crate::router::InterfaceId;
use crate::wire::pim::{ALL_PIM_ROUTERS, Assert, Message};

fn unspecified(group: IpAddr) -> IpAddr {
    if group.is_ipv4() { IpAddr::from([0u8; 4]) } else { IpAddr::from([0u8; 16]) }
}

impl Sparse {
    /// Join or Prune of (*,G) or (S,G), to an RPF'.
    pub(super) fn say_tree(&mut self, tree: Tree, to: Upstream, word: Word) {
        let (Some(interface), Some(upstream)) = (to.interface, to.neighbour) else { return };
        let about = match tree.source {
            Some(source) => About::Source(source),
            // §4.5.4: all zeros, if it is no longer known.
            None => About::All(self.star(tree.group).and_then(|star| star.rp).unwrap_or(unspecified(tree.group))),
        };
        self.outbox.push(Said { interface, upstream, group: tree.group, about, word });
    }

    /// Join or Prune of (S,G,rpt) to RPF'(S,G,rpt); a join only where that is RPF'(*,G) (§4.5.7).
    pub(super) fn say_rpt(&mut self, context: &Context<'_>, key: EntryKey, word: Word) {
        let v = self.view(context, key.into());
        let (Some(interface), neighbour) = (v.star.rpf_interface(), macros::rpf_neighbour_rpt(&v)) else { return };
        let by_all = neighbour == macros::rpf_neighbour_all(&v);
        let Some(upstream) = neighbour.filter(|_| by_all || word == Word::Prune) else { return };
        self.outbox.push(Said { interface, upstream, group: key.group, about: About::Rpt(key.source), word });
    }

    /// A prune to oneself, in case that who would override another's has not heard it.
    pub(super) fn send_prune_echo(&mut self, context: &Context<'_>, tree: Tree, i: InterfaceId) {
        let Some(link) = macros::link(context.ports, i) else { return };
        let Some(own) = link.address().filter(|_| link.neighbours().len() > 1) else { return };
        let to = Upstream { interface: Some(i), neighbour: Some(own), ..Upstream::default() };
        self.say_tree(tree, to, Word::Prune);
    }

    pub(super) fn send_assert(&mut self, tree: Tree, i: InterfaceId, metric: AssertMetric, named: Option<IpAddr>) {
        let AssertMetric { rpt, preference, metric, .. } = metric;
        let source = named.or(tree.source).unwrap_or(unspecified(tree.group));
        let message = Message::Assert(Assert { group: tree.group, source, rpt, preference, metric });
        self.actions.push(Action::Send(Sent { interface: i, destination: ALL_PIM_ROUTERS.into(), message }));
    }

    /// AssertCancel(*,G) or AssertCancel(S,G) (§4.6.4).
    pub(super) fn send_assert_cancel(&mut self, tree: Tree, i: InterfaceId) {
        self.send_assert(tree, i, infinite_assert_metric(), None);
    }

    /// Makes messages of what there is to be said.
    pub(super) fn flush(&mut self, context: &Context<'_>) -> Vec<Action> {
        if self.outbox.is_empty() {
            return Vec::new();
        }
        let mut outbox = std::mem::take(&mut self.outbox);
        // A neighbour that is gone hears nothing.
        outbox.retain(|said| {
            let there = |link: &Link| link.is_neighbour(said.upstream) || link.address() == Some(said.upstream);
            macros::link(context.ports, said.interface).is_some_and(there)
        });
        let ordered = in_order(outbox, |group| self.prunes(context, group));
        let rpt_bit = self.settings.sabotage != Some(PimSabotage::RptBitMissing);
        let mtu = |i: InterfaceId| context.ports.get(&i).map_or(0, |port| port.state.mtu);
        let sent = messages(&ordered, self.settings.join_prune_hold_time, rpt_bit, mtu);
        sent.into_iter().map(Action::Send).collect()
    }

    /// The sources whose Prune(S,G,rpt) go with a Join(*,G) (§4.5.6).
    fn prunes(&self, context: &Context<'_>, group: IpAddr) -> Vec<IpAddr> {
        let is_pruned = |key: &EntryKey| macros::prune_with_join_all(&self.view(context, (*key).into()));
        self.sources_of(group).into_iter().filter(is_pruned).map(|key| key.source).collect()
    }
}
