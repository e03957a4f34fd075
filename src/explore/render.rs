//! Makes a scenario of what is to happen, in the language of files: how long a rest is and what must hold after it follows from what
//! happened before, so that whatever is left out of a schedule, the rest of it asks for nothing that no protocol promises.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::certainty::Judgements;
use super::rest::Rest;
use crate::oracle::{Convergence, Flow, World};
use crate::topology::plan::{Attachment, Multicast, NodeId, Plan, WireId};
use crate::topology::steps::{
    Action, CutKind, Deadline, Expectation, Formula, Message, Scenario, SourceFilter, Step, Stream,
};

/// Name of a run's scenario.
pub const SCENARIO: &str = "explored";
/// Packets that a check of a delivery judges.
const JUDGED: u32 = 3;
/// Between two packets, where there is no stream.
const PACE: Duration = Duration::from_millis(500);

/// What is to happen.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// Routers meet their neighbours.
    Meet,
    /// A step. One that makes no sense where it stands (a leave without a join) is left out.
    Act(Action),
    /// Time passes.
    Moment(Duration),
    /// Nothing happens for as long as the protocols need after what has happened.
    Rest,
    /// What must hold at rest, holds. Left out where the network is not at rest.
    Check,
    /// Nothing is left of sources that have stopped.
    Gone,
}

/// What passes at the most until a host's first report of a change is on the wire: some ticks of the kernel's clock.
const REPORTED: Duration = Duration::from_millis(20);

struct Rendering<'a> {
    plan: &'a Plan,
    world: World,
    rest: Rest,
    pace: Duration,
    is_refreshed: bool,
    steps: Vec<Action>,
    /// Streams that run.
    running: Vec<Stream>,
    /// Sources and groups that ever were.
    seen: BTreeSet<(NodeId, usize, IpAddr)>,
    /// Hosts that turned from all but some sources of a group to some sources of it, and may not have said so yet.
    turned: BTreeSet<(NodeId, IpAddr)>,
    /// Hosts that left a group of which they wanted all but some sources, and may not have said so yet.
    quit: BTreeSet<(NodeId, IpAddr)>,
    /// Wires that are cut, and those whose frames are lost or mistreated.
    cut: BTreeSet<WireId>,
    lossy: BTreeSet<WireId>,
    /// Of the cut ones, those of which nobody is told.
    silent: BTreeSet<WireId>,
    /// Queriers may have changed, or may not know their members yet, since the last rest.
    is_fresh: bool,
    /// Somebody left since the last rest.
    has_left: bool,
    /// Nothing but joins since a rest, and messages lost that are to be sent again until they are acknowledged: how many at the most.
    only_joins: Option<u32>,
    /// The last rest was one after joins alone: there may be asserts to come.
    is_short: bool,
    /// Something happened that somebody may only miss.
    is_missed: bool,
    /// Nothing has happened since a rest.
    is_at_rest: bool,
    judgements: Judgements,
}

/// The scenario of a plan that some items make, and what the oracle says of its checks.
pub fn scenario(plan: &Plan, items: &[Item]) -> (Scenario, Judgements) {
    let paces = items.iter().filter_map(|item| match item {
        Item::Act(Action::Stream(stream)) => Some(Duration::from_secs_f64(1.0 / stream.rate)),
        _ => None,
    });
    let pace = paces.max().unwrap_or(PACE);
    let mut rendering = Rendering {
        plan,
        world: World::new(),
        rest: Rest::of(plan, pace, items.iter().any(excludes)),
        pace,
        is_refreshed: Convergence::of(plan).is_refreshed,
        steps: Vec::new(),
        running: Vec::new(),
        seen: BTreeSet::new(),
        turned: BTreeSet::new(),
        quit: BTreeSet::new(),
        cut: BTreeSet::new(),
        lossy: BTreeSet::new(),
        silent: BTreeSet::new(),
        is_fresh: false,
        has_left: false,
        only_joins: None,
        is_short: false,
        is_missed: false,
        is_at_rest: false,
        judgements: Judgements::default(),
    };
    for item in items {
        rendering.item(item);
    }
    let judgements = rendering.judgements;
    let steps = rendering.steps.into_iter().enumerate();
    let steps = steps.map(|(n, action)| Step { line: n + 1, text: String::new(), action }).collect();
    (Scenario { name: SCENARIO.into(), steps, without: Vec::new() }, judgements)
}

impl Rendering<'_> {
    fn item(&mut self, item: &Item) {
        match item {
            Item::Meet => self.meet(),
            Item::Act(action) => {
                let narrows = self.narrows(action);
                if self.happens(action) {
                    self.has_left |= narrows || matches!(action, Action::Leave { .. });
                    if narrows {
                        // As a leave: routers ask first.
                        self.only_joins = None;
                    }
                    self.only_joins = self.only_joins.and_then(|lost| only_joins(action, lost));
                    self.steps.push(action.clone());
                    self.is_at_rest = false;
                }
            }
            Item::Moment(time) => {
                if *time >= REPORTED {
                    self.turned.clear();
                    self.quit.clear();
                }
                self.steps.push(Action::Wait { time: *time });
            }
            Item::Rest => {
                let joins = self.only_joins.filter(|_| !self.is_missed);
                let time = match joins {
                    Some(lost) => self.rest.joined + self.rest.graft_retry * (lost + 1),
                    None if self.is_missed => self.rest.missed,
                    None => self.rest.told,
                };
                // What is checked now is not more than the joins' due.
                self.is_short = joins.is_some();
                self.only_joins = Some(0);
                // What goes on being missed, is known of by now.
                self.is_missed = !self.lossy.is_empty();
                self.is_fresh = self.world.is_hindered();
                self.is_at_rest = true;
                self.has_left = false;
                self.turned.clear();
                self.quit.clear();
                self.steps.push(Action::Wait { time: whole_millis(time) });
            }
            Item::Check => self.check(),
            Item::Gone => self.gone(),
        }
    }

    fn meet(&mut self) {
        let at: Vec<Attachment> = self.plan.wires.iter().flat_map(|wire| &wire.ends).copied().collect();
        let at: Vec<Attachment> = at.into_iter().filter(|at| self.plan.has_pim(*at)).collect();
        if !at.is_empty() {
            let within = Deadline::Formula(Formula::NeighbourLatency);
            self.steps.push(Action::Expect(Expectation::Neighbours { at, are: None, within }));
        }
    }

    /// Whether a step leaves some members with less than they had.
    fn narrows(&self, action: &Action) -> bool {
        let Action::Join { hosts, group, filter, .. } = action else { return false };
        hosts.iter().any(|host| self.world.narrows(*host, *group, filter))
    }

    /// Puts a step into force, if it makes sense here.
    fn happens(&mut self, action: &Action) -> bool {
        let world = &mut self.world;
        // What a host says that is cut off from its routers, nobody hears; and they may not notice that it was.
        let is_cut_off = |hosts: &[NodeId]| {
            let cut = self.cut.iter().flat_map(|wire| &self.plan.wire(*wire).ends);
            cut.into_iter().any(|end| hosts.contains(&end.node))
        };
        match action {
            Action::Join { hosts, group, filter, .. } => {
                // Nor is the leave reported of a host that joins some sources before it was: it allows these, which takes nothing back.
                let includes = matches!(filter, SourceFilter::Include(_));
                if includes && hosts.iter().any(|host| self.quit.contains(&(*host, *group))) {
                    return false;
                }
                for host in hosts {
                    let excluded = matches!(world.filter(*host, *group), Some(SourceFilter::Exclude(_)));
                    if excluded && matches!(filter, SourceFilter::Include(_)) {
                        self.turned.insert((*host, *group));
                    }
                }
                hosts.iter().for_each(|host| world.join(*host, *group, filter));
                // It may take the place of one that wanted more.
                self.is_missed |= self.is_fresh || is_cut_off(hosts);
            }
            Action::Leave { hosts, group, .. } => {
                if hosts.iter().any(|host| world.filter(*host, *group).is_none()) {
                    return false;
                }
                // Linux forgets a change of mode that it has not reported when the group is left: it blocks the last sources, and the
                // router, which never heard of the change, believes in a member that wants all of them.
                if hosts.iter().any(|host| self.turned.contains(&(*host, *group))) {
                    return false;
                }
                let excludes = |host: &&NodeId| matches!(world.filter(**host, *group), Some(SourceFilter::Exclude(_)));
                self.quit.extend(hosts.iter().filter(excludes).map(|host| (*host, *group)));
                hosts.iter().for_each(|host| world.leave(*host, *group));
                self.is_missed |= self.is_fresh || is_cut_off(hosts);
            }
            Action::Stream(stream) => {
                self.seen.insert((stream.from, stream.interface, stream.group));
                self.running.push(stream.clone());
            }
            Action::Stop { stream } => {
                let before = self.running.len();
                self.running.retain(|running| running.name != *stream);
                return self.running.len() < before;
            }
            Action::Fail(cut) => {
                if !self.cut.insert(cut.wire) {
                    return false;
                }
                if cut.how == CutKind::Silent {
                    self.silent.insert(cut.wire);
                    self.is_missed = true;
                }
                let wire = self.plan.wire(cut.wire);
                // Members that are cut off have left, for their routers.
                self.has_left |= wire.ends.iter().any(|end| !self.plan.node(end.node).is_router());
                self.is_missed |= self.is_fresh;
                // On a LAN, the others only miss whoever is cut off: as a neighbour, and as the querier.
                let routers = wire.ends.iter().filter(|end| self.plan.node(end.node).is_router()).count();
                if !wire.kind.is_link() && routers > 1 {
                    self.is_missed = true;
                    self.is_fresh = true;
                }
                world.fail(cut);
            }
            Action::Drop(loss) => {
                world.upset();
                self.lossy.insert(loss.wire);
                // A graft that is lost is sent again (RFC 3973 §4.4.1.3), unless something else is amiss.
                self.is_missed |= !is_sent_again(loss.message) || self.only_joins.is_none();
            }
            Action::Impair(how) => {
                world.upset();
                self.lossy.insert(how.wire);
                self.is_missed = true;
            }
            Action::Restore { wire, end } => {
                let is_cut = self.cut.remove(wire);
                if !self.lossy.remove(wire) && !is_cut {
                    return false;
                }
                if is_cut {
                    self.only_joins = None;
                }
                // What was said meanwhile was said to nobody.
                self.is_missed |= self.silent.remove(wire);
                self.is_fresh |= is_cut;
                world.restore(*wire, *end);
            }
            Action::Kill { node } => {
                if world.is_dead(*node) {
                    return false;
                }
                self.is_missed = true;
                self.is_fresh = true;
                world.kill(*node);
            }
            Action::Restart { node } => {
                self.is_fresh = true;
                // A querier that has just heard a leave asks no more, and who knows the group beside it waits for its questions.
                self.is_missed |= self.has_left || world.is_dead(*node) || world.is_stopped(*node);
                world.restart(*node);
            }
            Action::Pause { node } => {
                if world.is_dead(*node) || world.is_stopped(*node) {
                    return false;
                }
                self.is_missed = true;
                self.is_fresh = true;
                world.pause(*node);
            }
            Action::Resume { node } => {
                if world.is_dead(*node) || !world.is_stopped(*node) {
                    return false;
                }
                self.is_missed = true;
                self.is_fresh = true;
                world.resume(*node);
            }
            Action::Wait { .. } | Action::Run { .. } | Action::Expect(_) => {}
        }
        true
    }

    fn is_anybody_paused(&self) -> bool {
        self.plan.node_ids().any(|node| self.world.is_stopped(node) && !self.world.is_dead(node))
    }

    /// What must hold at rest.
    fn check(&mut self) {
        if !self.is_at_rest || !self.lossy.is_empty() || self.is_anybody_paused() {
            return;
        }
        let within = Deadline::After(if self.is_short { self.pace * 2 } else { self.pace * 4 });
        // Where nothing keeps asserts from running out, they are fought anew, and packets come twice meanwhile (RFC 3973 §4.6).
        // Sparse mode needs no refresh: its winners assert themselves, and what nobody joins any more is gone for good.
        let is_settled =
            !self.is_pim() || !self.is_short && (!self.is_dense() || self.is_refreshed && !self.world.is_hindered());
        let duplicates = if is_settled { 0 } else { u64::from(JUDGED) };
        for stream in &self.running {
            let Some(flow) = Flow::of(self.plan, &self.world, stream) else { continue };
            self.judgements.note(self.plan, &self.world, &flow);
            let to: Vec<NodeId> = flow.must_receive().map(|(host, _)| host).collect();
            if to.is_empty() {
                continue;
            }
            self.steps.push(Action::Expect(Expectation::Delivered {
                stream: stream.name.clone(),
                to,
                within,
                lasting: self.pace * JUDGED,
                loss: 0,
                duplicates,
            }));
        }
        // Without state refresh, prunes run out and packets flood anew, again and again (RFC 3973 §4.4.2).
        if is_settled {
            let origin = |s: &Stream| Attachment { node: s.from, interface: s.interface };
            for stream in self.running.iter().filter(|s| !self.world.is_broken(self.plan, origin(s))) {
                self.steps.push(Action::Expect(Expectation::Tree { stream: stream.name.clone(), within }));
            }
        }
    }

    fn is_pim(&self) -> bool {
        self.plan.nodes.iter().any(|node| node.router().is_some_and(|router| router.multicast.is_pim()))
    }

    /// Whether a router handles a group in dense mode.
    fn is_dense(&self) -> bool {
        self.plan.nodes.iter().filter_map(|node| node.router()).any(|router| match router.multicast {
            Multicast::PimDm => true,
            Multicast::PimSm => router.pim.dense_groups.as_ref().is_some_and(|groups| !groups.is_empty()),
            Multicast::None | Multicast::Static | Multicast::Proxy => false,
        })
    }

    fn gone(&mut self) {
        // All are looked at until nothing is left: without packets nothing comes back.
        let within = Deadline::After(whole_millis(self.rest.missed + self.rest.gone));
        for (node, interface, group) in &self.seen {
            if self.running.iter().any(|s| (s.from, s.interface, s.group) == (*node, *interface, *group)) {
                continue;
            }
            let at = Attachment { node: *node, interface: *interface };
            let Some(source) = self.plan.interface(at).address_like(*group) else { continue };
            for router in self.plan.node_ids().filter(|id| self.plan.node(*id).is_router()) {
                // One that is stopped does nothing, not even forget.
                if self.world.is_stopped(router) {
                    continue;
                }
                let (present, incoming, outgoing) = (false, None, None);
                let group = *group;
                self.steps.push(Action::Expect(Expectation::Entry {
                    router,
                    source,
                    group,
                    present,
                    incoming,
                    outgoing,
                    within,
                }));
            }
        }
    }
}

fn is_sent_again(message: Message) -> bool {
    matches!(message, Message::PimGraft | Message::PimGraftAck)
}

/// Whether it is still only joins after one more action, and grafts that were lost: so many.
fn only_joins(action: &Action, lost: u32) -> Option<u32> {
    match action {
        Action::Join { .. } => Some(lost),
        Action::Drop(loss) if is_sent_again(loss.message) => Some(lost + loss.count),
        // Of losses; that of a cut has been told apart.
        Action::Restore { .. } => Some(lost),
        _ => None,
    }
}

fn excludes(item: &Item) -> bool {
    let Item::Act(Action::Join { filter: SourceFilter::Exclude(sources), .. }) = item else { return false };
    !sources.is_empty()
}

/// As a file can say it.
fn whole_millis(span: Duration) -> Duration {
    Duration::from_millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX) + 1)
}
