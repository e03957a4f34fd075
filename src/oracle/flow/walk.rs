//! The walk of packets from their sender to wherever they go.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use super::super::deadlines::querier;
use super::super::dense::Dense;
use super::super::membership::{Certainty, accepts, runs_igmp, runs_pim, was_version_1};
use super::super::rendezvous::{Mode, mode};
use super::super::sparse::Sparse;
use super::super::world::World;
use super::{Blocked, ExpectedEntry, Flow, Passage, Why};
use crate::topology::plan::{Attachment, Interface, NodeId, Plan, WireId, WireKind};
use crate::topology::steps::Stream;

/// Follows packets from their sender to wherever they go.
pub(super) fn walk(
    plan: &Plan,
    world: &World,
    (dense, sparse): (Option<&Dense<'_>>, Option<&Sparse<'_>>),
    stream: &Stream,
    source: IpAddr,
) -> Flow {
    let origin = Attachment { node: stream.from, interface: stream.interface };
    let start =
        Step { at: origin, ttl: stream.ttl, via: origin, sure: Sure::all(Certainty::Yes), settled: Certainty::Yes };
    // What a router must get by one of several ways is known once all of them are: the first walk believes that each brings what
    // it should, the others take back what did not come true.
    let mut believed: Option<Came> = None;
    let mut walks = 0;
    loop {
        let flow = Flow {
            source,
            group: stream.group,
            origin,
            outbound: BTreeMap::new(),
            inbound: BTreeMap::new(),
            receivers: BTreeMap::new(),
            entries: BTreeMap::new(),
            blocked: BTreeSet::new(),
            rpf: BTreeMap::new(),
        };
        let mut walk = Walk {
            plan,
            world,
            dense,
            sparse,
            flow,
            leaving: VecDeque::from([start]),
            followed: BTreeMap::new(),
            believed: believed.as_ref(),
            came: Came::default(),
        };
        while let Some(step) = walk.leaving.pop_front() {
            walk.leave(step);
        }
        let Walk { flow, came, .. } = walk;
        walks += 1;
        if (dense.is_none() && sparse.is_none()) || believed.as_ref() == Some(&came) || walks > plan.nodes.len() + 1 {
            return flow;
        }
        believed = Some(came);
    }
}

/// How sure it is that packets pass, and that they would if whoever is behind were to ask for them there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Sure {
    pub(super) is: Certainty,
    pub(super) would_be: Certainty,
}

impl Sure {
    pub(super) fn all(certainty: Certainty) -> Sure {
        Sure { is: certainty, would_be: certainty }
    }

    pub(super) fn or(self, other: Sure) -> Sure {
        Sure { is: self.is.max(other.is), would_be: self.would_be.max(other.would_be) }
    }

    pub(super) fn at_most(self, certainty: Certainty) -> Sure {
        Sure { is: self.is.min(certainty), would_be: self.would_be.min(certainty) }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Step {
    pub(super) at: Attachment,
    pub(super) ttl: u8,
    pub(super) via: Attachment,
    pub(super) sure: Sure,
    pub(super) settled: Certainty,
}

/// What surely came where alternatives meet, as far as it is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Came {
    /// By router and interface: the TTLs.
    pub(super) routers: BTreeMap<Attachment, BTreeSet<u8>>,
    /// By wire: which of its possible forwarders have them.
    pub(super) forwarders: BTreeMap<WireId, BTreeSet<Attachment>>,
}

pub(super) struct Walk<'a> {
    pub(super) plan: &'a Plan,
    pub(super) world: &'a World,
    pub(super) dense: Option<&'a Dense<'a>>,
    pub(super) sparse: Option<&'a Sparse<'a>>,
    pub(super) flow: Flow,
    leaving: VecDeque<Step>,
    /// By interface, direction (true: leaving), TTL and where they come from: what has been followed.
    pub(super) followed: BTreeMap<(Attachment, bool, u8, Attachment), (Sure, Certainty)>,
    pub(super) believed: Option<&'a Came>,
    pub(super) came: Came,
}

impl Walk<'_> {
    /// Adds packets that leave (true) or reach an interface; whether that changed what follows from it.
    fn add(&mut self, leaving: bool, step: &Step) -> bool {
        let passages = if leaving { &mut self.flow.outbound } else { &mut self.flow.inbound };
        let passage = passages.entry(step.at).or_insert_with(Passage::none);
        passage.ttls.insert(step.ttl);
        passage.via.insert(step.via);
        passage.certainty = passage.certainty.max(step.sure.is);
        passage.settled = passage.settled.max(step.settled);
        let none = (Sure::all(Certainty::No), Certainty::No);
        let known = self.followed.entry((step.at, leaving, step.ttl, step.via)).or_insert(none);
        let most = (known.0.or(step.sure), known.1.max(step.settled));
        let is_news = most != *known;
        *known = most;
        is_news
    }

    /// Packets leave a node into a wire.
    fn leave(&mut self, step: Step) {
        let at = step.at;
        let cut = self.world.is_broken(self.plan, at);
        // Whether a tap still sees a frame that the cut then takes depends on the kind of cut.
        let seen = if cut { Step { sure: step.sure.at_most(Certainty::Maybe), ..step } } else { step };
        if !self.add(true, &seen) {
            return;
        }
        if cut {
            self.block(at, None, Why::Cut);
            return;
        }
        let wire = self.plan.interface(at).wire;
        for &end in &self.plan.wire(wire).ends {
            if end == at || !self.world.carries(self.plan, at, end) {
                continue;
            }
            let port = self.port(wire, end);
            let mut there =
                Step { at: end, via: at, sure: step.sure.at_most(port), settled: step.settled.min(port), ..step };
            // Whichever of several forwards, a member gets it.
            let contenders = self.sparse.and_then(|sparse| sparse.contenders(wire));
            if contenders.is_some_and(|all| all.contains(&at)) && !self.plan.node(end.node).is_router() {
                there.sure.is = there.sure.would_be;
            }
            if there.sure.is > Certainty::No && self.add(false, &there) {
                self.arrive(&there);
            }
        }
    }

    /// Whether a wire brings packets to one of its ends: all of them, unless a bridge snoops.
    fn port(&self, wire: WireId, end: Attachment) -> Certainty {
        let wire = self.plan.wire(wire);
        if wire.kind != (WireKind::Lan { snooping: true }) {
            return Certainty::Yes;
        }
        let queried = wire.ends.iter().any(|&e| runs_igmp(self.plan, self.world, e) > Certainty::No);
        if let Some(filter) = self.world.filter(end.node, self.flow.group) {
            // A bridge may or may not tell sources apart.
            return if accepts(filter, self.flow.source) { Certainty::Yes } else { Certainty::Maybe };
        }
        if self.plan.node(end.node).is_router() {
            // A bridge knows a router by its hellos and by its queries, and only the elected one sends these.
            let speaks_pim = runs_pim(self.plan, self.world, end) == Certainty::Yes;
            let queries = querier(self.plan, self.world, self.plan.interface(end).wire) == Some(end.node);
            return if speaks_pim || queries { Certainty::Yes } else { Certainty::Maybe };
        }
        // Without a querier a snooping bridge floods (RFC 4541 §2.1.1 leaves it open).
        if !queried {
            return Certainty::Maybe;
        }
        // Nobody asks after a leave where IGMPv1 rules, nor with what tells a bridge without source lists: it goes on believing.
        let asked = !was_version_1(self.plan, self.world, self.plan.interface(end).wire, self.flow.group);
        if asked && !self.world.left_by_blocking(end.node, self.flow.group) { Certainty::No } else { Certainty::Maybe }
    }

    /// Packets reach a node.
    fn arrive(&mut self, step: &Step) {
        let node = step.at.node;
        if self.plan.node(node).is_router() {
            self.forward(step);
        } else if self.world.filter(node, self.flow.group).is_some_and(|f| accepts(f, self.flow.source)) {
            let passage = self.flow.receivers.entry(node).or_insert_with(Passage::none);
            passage.ttls.insert(step.ttl);
            passage.certainty = passage.certainty.max(step.sure.is);
            passage.settled = passage.settled.max(step.settled);
            passage.via.insert(step.via);
        }
    }

    pub(super) fn block(&mut self, at: Attachment, outgoing: Option<usize>, why: Why) {
        self.flow.blocked.insert(Blocked { at, outgoing, why });
    }

    /// Packets reach a router.
    fn forward(&mut self, step: &Step) {
        let at = step.at;
        if self.world.is_dead(at.node) {
            return self.block(at, None, Why::Dead);
        }
        match mode(self.plan, at.node, self.flow.group) {
            Some(Mode::Dense) => return self.forward_dense(step),
            Some(Mode::Sparse | Mode::Ssm) => return self.forward_sparse(step),
            None => {}
        }
        self.forward_fixed(step);
    }

    /// A copy leaves by an interface, if its TTL lets it.
    pub(super) fn pass(&mut self, step: &Step, out: Attachment, sure: Sure, settled: Certainty) {
        self.pass_from(step, Some(step.at), out, sure, settled);
    }

    /// The same, of packets that reached the router at an interface, or that a register brought from where they are.
    pub(super) fn pass_from(
        &mut self,
        step: &Step,
        at: Option<Attachment>,
        out: Attachment,
        sure: Sure,
        settled: Certainty,
    ) {
        let threshold = threshold_of(self.plan.interface(out));
        if step.ttl > threshold {
            let via = at.unwrap_or(step.via);
            self.leaving.push_back(Step { at: out, ttl: step.ttl - 1, via, sure, settled });
            return;
        }
        let why = if step.ttl <= 1 { Why::TtlSpent } else { Why::Threshold { ttl: step.ttl, threshold } };
        self.stop(at, out.interface, why);
    }

    /// Packets do not leave by an interface of the router that they reached; of those that a register brought, nothing is noted.
    pub(super) fn stop(&mut self, at: Option<Attachment>, outgoing: usize, why: Why) {
        if let Some(at) = at {
            self.block(at, Some(outgoing), why);
        }
    }

    pub(super) fn unless_stopped(&self, node: NodeId, certainty: Certainty) -> Certainty {
        if self.world.is_stopped(node) { certainty.min(Certainty::Maybe) } else { certainty }
    }

    pub(super) fn entry(&mut self, router: NodeId, incoming: &BTreeSet<usize>) -> &mut ExpectedEntry {
        self.flow.entries.entry(router).or_insert_with(|| ExpectedEntry {
            incoming: incoming.clone(),
            outgoing: BTreeMap::new(),
            certainty: Certainty::No,
            registered: false,
        })
    }
}

/// The threshold in a kernel's entry: it takes 0 for 'never', so that an entry holds at least 1, which also keeps a TTL from becoming 0.
pub(super) fn threshold_of(interface: &Interface) -> u8 {
    interface.ttl_threshold.max(1)
}
