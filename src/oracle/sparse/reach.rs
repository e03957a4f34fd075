//! How packets of a source come to routers: by register and the rendezvous point's tree, or by the source's own.

use super::super::membership::{Certainty, runs_pim};
use super::super::ways::whichever;
use super::{Reach, Sparse};
use crate::topology::plan::{Attachment, NodeId};

impl Sparse<'_> {
    /// By router: what it takes for packets to come by register and the rendezvous point, whichever way is taken. Each router on the way
    /// takes one off the TTL, the designated router and the rendezvous point too.
    pub(super) fn reach(&self) -> Vec<Option<Reach>> {
        let mut least: Vec<Option<Reach>> = vec![None; self.plan.nodes.len()];
        let registered = |rp: NodeId| {
            let with = |end: &Attachment| {
                self.arrives[end.node.0] == Certainty::Yes && self.registers_with(*end).contains(&rp)
            };
            self.registrars.iter().any(with)
        };
        let hop = self.registrars.iter().map(|end| u16::from(self.hop_at_register(end.node))).max().unwrap_or(1);
        for rp in self.plan.node_ids().filter(|rp| self.rps[rp.0].contains(rp) && !self.world.is_dead(*rp)) {
            least[rp.0] = if self.is_first(rp) {
                Some(Reach { least: 1, hops: 0 })
            } else {
                let is_sure = registered(rp) && self.takes_registers(rp) == Certainty::Yes;
                is_sure.then_some(Reach { least: 1 + hop, hops: hop })
            };
        }
        // Each round is a hop further from the rendezvous point.
        for _ in 0..self.plan.nodes.len() {
            let mut moved = false;
            for node in self.plan.node_ids().filter(|node| !self.rps[node.0].contains(node)) {
                let Some(rpf) = &self.toward_rp[node.0] else { continue };
                let ways = rpf.neighbours.iter().map(|end| self.by_neighbour(node, *end, &least));
                let worst = ways.collect::<Option<Vec<Reach>>>().and_then(|all| {
                    let hops = all.iter().map(|reach| reach.hops).max()?;
                    Some(Reach { least: all.iter().map(|reach| reach.least).max()?, hops })
                });
                moved |= worst != least[node.0];
                least[node.0] = worst;
            }
            if !moved {
                break;
            }
        }
        least
    }

    /// What it takes by way of one neighbour; none if packets do not come that way.
    fn by_neighbour(&self, node: NodeId, end: Attachment, least: &[Option<Reach>]) -> Option<Reach> {
        let before = least[end.node.0]?;
        let wire = self.plan.interface(end).wire;
        let own = self.ends(node).find(|own| self.plan.interface(*own).wire == wire)?;
        let is_sure = runs_pim(self.plan, self.world, end) == Certainty::Yes
            && self.takes_part(end)
            && self.takes_part(own)
            && self.world.carries(self.plan, own, end);
        let threshold = u16::from(self.plan.interface(end).ttl_threshold.max(1));
        let least = before.least.max(before.hops + threshold + 1);
        is_sure.then_some(Reach { least, hops: before.hops + 1 })
    }

    /// By router: whether packets come by the source's own tree once it has joined that. A neighbour that does not speak passes no join on;
    /// on a LAN, they may come from another one.
    pub(super) fn own_reach(&self) -> Vec<Certainty> {
        let mut comes = vec![Certainty::No; self.plan.nodes.len()];
        for _ in 0..self.plan.nodes.len() {
            let mut moved = false;
            for node in self.plan.node_ids().filter(|node| self.handles(*node) && !self.world.is_dead(*node)) {
                let now = if self.is_first(node) { Certainty::Yes } else { self.comes_by_neighbours(node, &comes) };
                moved |= now != comes[node.0];
                comes[node.0] = now;
            }
            if !moved {
                break;
            }
        }
        comes
    }

    fn comes_by_neighbours(&self, node: NodeId, comes: &[Certainty]) -> Certainty {
        let Some(rpf) = &self.rpf[node.0] else { return Certainty::No };
        let by = |end: &Attachment| {
            let wire = self.plan.interface(*end).wire;
            let Some(own) = self.ends(node).find(|own| self.plan.interface(*own).wire == wire) else {
                return Certainty::No;
            };
            let speaks = runs_pim(self.plan, self.world, *end).min(runs_pim(self.plan, self.world, own));
            let passes = self.takes_part(*end) && self.takes_part(own) && self.world.carries(self.plan, own, *end);
            let comes = if passes { comes[end.node.0].min(speaks) } else { Certainty::No };
            if self.plan.wire(wire).kind.is_link() { comes } else { comes.max(Certainty::Maybe) }
        };
        let ways: Vec<Certainty> = rpf.neighbours.iter().map(by).collect();
        whichever(&ways)
    }
}
