//! The state of a lab as the scenario itself made it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::membership::{is_nothing, union};
use crate::topology::plan::{Attachment, NodeId, Plan, WireId, WireKind};
use crate::topology::steps::{Cut, CutKind, SourceFilter};

/// Who joined what, what is cut, who is dead.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct World {
    joined: BTreeMap<(IpAddr, NodeId), SourceFilter>,
    /// Who left a group by blocking its last sources.
    blocked: BTreeSet<(IpAddr, NodeId)>,
    /// Where several worlds are merged: sources that a host names in one of them, while it wants all but some in another.
    named: BTreeMap<(IpAddr, NodeId), BTreeSet<IpAddr>>,
    /// Sources of a group that hosts have ever named.
    once_named: BTreeSet<(IpAddr, IpAddr, NodeId)>,
    cuts: Vec<Cut>,
    dead: BTreeSet<NodeId>,
    stopped: BTreeSet<NodeId>,
    /// Routers that were started again, and how often.
    restarted: BTreeMap<NodeId, u32>,
    /// Groups that somebody has left, or wants less of than before.
    left: BTreeSet<IpAddr>,
    /// Whether anything was ever amiss: what was decided then may outlast it.
    upset: bool,
    /// Whether messages are lost, or were a short while ago, so that bootstrap messages and advertisements may be missing.
    hindered: bool,
}

impl World {
    /// A world in which all works and nobody has joined anything.
    pub fn new() -> World {
        World::default()
    }

    /// A host joins, or replaces its filter; a filter that takes no source leaves.
    pub fn join(&mut self, host: NodeId, group: IpAddr, filter: &SourceFilter) {
        if is_nothing(filter) {
            self.leave(host, group);
        } else {
            if self.narrows(host, group, filter) {
                self.left.insert(group);
            }
            if let SourceFilter::Include(sources) = filter {
                self.once_named.extend(sources.iter().map(|source| (group, *source, host)));
            }
            self.joined.insert((group, host), filter.clone());
        }
    }

    /// A host leaves.
    pub fn leave(&mut self, host: NodeId, group: IpAddr) {
        self.left.insert(group);
        match self.joined.remove(&(group, host)) {
            Some(SourceFilter::Include(_)) => self.blocked.insert((group, host)),
            Some(SourceFilter::Exclude(_)) => self.blocked.remove(&(group, host)),
            None => false,
        };
    }

    /// Whether a host wants less with another filter than with its own.
    pub fn narrows(&self, host: NodeId, group: IpAddr, filter: &SourceFilter) -> bool {
        self.filter(host, group).is_some_and(|own| union(own, filter) != *filter)
    }

    /// Whether a host that is no member left by blocking its last sources (RFC 9776 §5.1: BLOCK, not TO_IN), and is asked with these
    /// (§6.6.3.2). A bridge that keeps no source lists, as Linux's does not, learns of no leave by that, and may believe in the member
    /// as long as it likes.
    pub fn left_by_blocking(&self, host: NodeId, group: IpAddr) -> bool {
        self.blocked.contains(&(group, host))
    }

    /// A wire or an end of it fails.
    pub fn fail(&mut self, cut: &Cut) {
        self.upset = true;
        self.cuts.push(cut.clone());
    }

    /// Undoes the cuts of a wire, or of one end.
    pub fn restore(&mut self, wire: WireId, end: Option<Attachment>) {
        self.cuts.retain(|cut| cut.wire != wire || (end.is_some() && cut.end != end));
    }

    /// A router's daemon is killed: the kernel drops its entries with it.
    pub fn kill(&mut self, router: NodeId) {
        self.upset = true;
        self.stopped.remove(&router);
        self.dead.insert(router);
    }

    /// It runs again.
    pub fn restart(&mut self, router: NodeId) {
        self.upset = true;
        self.dead.remove(&router);
        self.stopped.remove(&router);
        *self.restarted.entry(router).or_default() += 1;
    }

    /// How often a router was started again: until a bootstrap message comes, it takes one from any neighbour (RFC 5059 §3.1.3).
    pub fn restarts(&self, router: NodeId) -> u32 {
        self.restarted.get(&router).copied().unwrap_or_default()
    }

    /// Whether somebody has left a group: whoever forwarded for him may have won an assert, and goes on for others (RFC 7761 §4.6).
    pub fn has_lost_members(&self, group: IpAddr) -> bool {
        self.left.contains(&group)
    }

    /// It is stopped as by SIGSTOP: its entries go on forwarding, it decides nothing.
    pub fn pause(&mut self, router: NodeId) {
        self.upset = true;
        if !self.dead.contains(&router) {
            self.stopped.insert(router);
        }
    }

    /// It runs on.
    pub fn resume(&mut self, router: NodeId) {
        self.stopped.remove(&router);
    }

    /// Messages are lost: what routers decide without them may outlast that.
    pub fn upset(&mut self) {
        self.upset = true;
    }

    /// Whether anything was ever amiss.
    pub fn is_upset(&self) -> bool {
        self.upset
    }

    /// The same world, while messages are lost by which rendezvous points are known.
    #[must_use]
    pub fn with_announcing_hindered(&self) -> World {
        World { hindered: true, ..self.clone() }
    }

    /// Whether messages by which rendezvous points are known may be missing.
    pub fn is_announcing_hindered(&self) -> bool {
        self.hindered
    }

    /// Whether some host wants all but some sources of a group. When the last who wants all of them leaves, its wire may go on carrying
    /// those for a group membership interval: routers give a source that an IS_EX record brings up that time (RFC 9776 §6.4.1).
    pub fn excludes(&self) -> bool {
        self.joined.values().any(|filter| matches!(filter, SourceFilter::Exclude(sources) if !sources.is_empty()))
    }

    /// Whether what routers tell each other may not come through although none of them knows why: state refresh does not reach all of them.
    pub fn is_hindered(&self) -> bool {
        !self.dead.is_empty() || !self.stopped.is_empty() || self.cuts.iter().any(|cut| cut.how == CutKind::Silent)
    }

    /// A host's filter for a group, if it is a member.
    pub fn filter(&self, host: NodeId, group: IpAddr) -> Option<&SourceFilter> {
        self.joined.get(&(group, host))
    }

    /// Whether a host that wants all but some sources of a group may name one instead: in one of the worlds that are merged here.
    pub fn may_name(&self, host: NodeId, group: IpAddr, source: IpAddr) -> bool {
        self.named.get(&(group, host)).is_some_and(|sources| sources.contains(&source))
    }

    /// Hosts that have ever named a source of a group.
    pub fn have_named(&self, group: IpAddr, source: IpAddr) -> impl Iterator<Item = NodeId> + '_ {
        let (first, last) = ((group, source, NodeId(0)), (group, source, NodeId(usize::MAX)));
        self.once_named.range(first..=last).map(|(.., host)| *host)
    }

    fn named_of(&self, group: IpAddr) -> impl Iterator<Item = &(IpAddr, IpAddr, NodeId)> + '_ {
        self.once_named.iter().filter(move |(of, ..)| *of == group)
    }

    /// All hosts that have joined a group.
    pub fn members(&self, group: IpAddr) -> impl Iterator<Item = NodeId> + '_ {
        self.of_group(group).map(|(host, _)| host)
    }

    /// Who has joined what, and how.
    pub fn memberships(&self) -> impl Iterator<Item = (NodeId, IpAddr, &SourceFilter)> + '_ {
        self.joined.iter().map(|((group, host), filter)| (*host, *group, filter))
    }

    fn of_group(&self, group: IpAddr) -> impl Iterator<Item = (NodeId, &SourceFilter)> + '_ {
        let (first, last) = ((group, NodeId(0)), (group, NodeId(usize::MAX)));
        self.joined.range(first..=last).map(|((_, host), filter)| (*host, filter))
    }

    fn blocked_of(&self, group: IpAddr) -> impl Iterator<Item = &(IpAddr, NodeId)> + '_ {
        self.blocked.range((group, NodeId(0))..=(group, NodeId(usize::MAX)))
    }

    fn without_members(&self) -> World {
        World {
            cuts: self.cuts.clone(),
            dead: self.dead.clone(),
            stopped: self.stopped.clone(),
            restarted: self.restarted.clone(),
            upset: self.upset,
            hindered: self.hindered,
            ..World::default()
        }
    }

    /// The same with the members of one group alone: all that matters to its streams.
    #[must_use]
    pub fn only(&self, group: IpAddr) -> World {
        let joined = self.of_group(group).map(|(host, filter)| ((group, host), filter.clone())).collect();
        let blocked = self.blocked_of(group).copied().collect();
        let left = self.left.intersection(&BTreeSet::from([group])).copied().collect();
        let once_named = self.named_of(group).copied().collect();
        World { joined, blocked, left, named: self.named.clone(), once_named, ..self.without_members() }
    }

    /// Whether it is the same to the streams of a group.
    pub fn is_alike(&self, other: &World, group: IpAddr) -> bool {
        self.upset == other.upset
            && self.cuts == other.cuts
            && self.dead == other.dead
            && self.stopped == other.stopped
            && self.restarted == other.restarted
            && self.has_lost_members(group) == other.has_lost_members(group)
            && self.named_of(group).eq(other.named_of(group))
            && self.of_group(group).eq(other.of_group(group))
            && self.blocked_of(group).eq(other.blocked_of(group))
    }

    /// The world as unicast routing sees it: a silent cut that is never noticed moves no route, and a dead multicast daemon none
    /// either.
    #[must_use]
    pub fn unicast(&self) -> World {
        let noticed = |cut: &&Cut| cut.how != CutKind::Silent || cut.detected_after.is_some();
        World { cuts: self.cuts.iter().filter(noticed).cloned().collect(), ..World::default() }
    }

    /// These faults with the members of another world.
    #[must_use]
    pub fn with_members_of(&self, other: &World) -> World {
        let World { joined, blocked, named, once_named, left, .. } = other.clone();
        World { joined, blocked, named, once_named, left, ..self.without_members() }
    }

    /// Whether a router's daemon is dead.
    pub fn is_dead(&self, router: NodeId) -> bool {
        self.dead.contains(&router)
    }

    /// Whether a router's daemon is stopped (SIGSTOP).
    pub fn is_stopped(&self, router: NodeId) -> bool {
        self.stopped.contains(&router)
    }

    /// The same members with nothing cut, dead or stopped.
    #[must_use]
    pub fn mended(&self) -> World {
        let World { joined, blocked, once_named, left, restarted, upset, .. } = self.clone();
        World { joined, blocked, once_named, left, restarted, upset, ..World::default() }
    }

    /// Whether frames cross a wire from one end to another.
    pub fn carries(&self, plan: &Plan, from: Attachment, to: Attachment) -> bool {
        let wire = plan.interface(from).wire;
        wire == plan.interface(to).wire && !self.is_broken(plan, from) && !self.is_broken(plan, to)
    }

    /// Whether an end of a wire is cut off.
    pub fn is_broken(&self, plan: &Plan, at: Attachment) -> bool {
        let wire = plan.interface(at).wire;
        self.cuts.iter().filter(|cut| cut.wire == wire).any(|cut| match (cut.end, plan.wire(wire).kind) {
            // A link that is cut at one end is cut: there is nobody else on it.
            (_, WireKind::Link) | (None, WireKind::Lan { .. }) => true,
            (Some(end), WireKind::Lan { .. }) => end == at,
        })
    }

    /// The cut that breaks an end, if one does.
    pub fn cut_at(&self, plan: &Plan, at: Attachment) -> Option<CutKind> {
        if !self.is_broken(plan, at) {
            return None;
        }
        let wire = plan.interface(at).wire;
        self.cuts
            .iter()
            .find(|cut| cut.wire == wire && cut.end.is_none_or(|end| end == at || is_link(plan, wire)))
            .map(|c| c.how)
    }

    /// Adds what another world permits: all that flows in either flows here.
    #[must_use]
    pub fn merged(&self, other: &World) -> World {
        let mut joined = self.joined.clone();
        let mut named = self.named.clone();
        for (key, sources) in &other.named {
            named.entry(*key).or_default().extend(sources);
        }
        for (key, filter) in &other.joined {
            use SourceFilter::{Exclude, Include};
            if let Some((Include(sources), Exclude(_)) | (Exclude(_), Include(sources))) =
                joined.get(key).map(|mine| (mine, filter))
            {
                named.entry(*key).or_default().extend(sources);
            }
            joined.entry(*key).and_modify(|mine| *mine = union(mine, filter)).or_insert_with(|| filter.clone());
        }
        let mut restarted = self.restarted.clone();
        for (router, times) in &other.restarted {
            let known = restarted.entry(*router).or_default();
            *known = (*known).max(*times);
        }
        World {
            joined,
            once_named: self.once_named.union(&other.once_named).copied().collect(),
            blocked: self.blocked.union(&other.blocked).copied().collect(),
            named,
            upset: self.upset || other.upset,
            hindered: self.hindered || other.hindered,
            cuts: self.cuts.iter().filter(|cut| other.cuts.contains(cut)).cloned().collect(),
            dead: self.dead.intersection(&other.dead).copied().collect(),
            stopped: self.stopped.union(&other.stopped).copied().collect(),
            restarted,
            left: self.left.union(&other.left).copied().collect(),
        }
    }
}

fn is_link(plan: &Plan, wire: WireId) -> bool {
    plan.wire(wire).kind == WireKind::Link
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::testing::Net;

    fn cut(plan: &Plan, wire: &str, end: Option<Attachment>) -> Cut {
        Cut { wire: plan.find_wire(wire).unwrap(), end, how: CutKind::Silent, detected_after: None }
    }

    #[test]
    fn a_cut_end_of_a_lan_leaves_the_others_connected() {
        let mut net = Net::new();
        let (h1, h2, h3) = (net.host("h1"), net.host("h2"), net.host("h3"));
        let lan = net.lan("lan", &[h1, h2, h3]);
        let plan = net.plan();
        let ends = plan.wire(lan).ends.clone();
        let mut world = World::new();
        world.fail(&cut(&plan, "lan", Some(ends[0])));
        assert!(!world.carries(&plan, ends[0], ends[1]));
        assert!(world.carries(&plan, ends[1], ends[2]));
        world.restore(lan, Some(ends[1]));
        assert!(!world.carries(&plan, ends[0], ends[1]), "another end's repair changes nothing");
        world.restore(lan, None);
        assert!(world.carries(&plan, ends[0], ends[1]));
    }

    #[test]
    fn merged_worlds_permit_what_either_permits() {
        let mut net = Net::new();
        let (h1, h2) = (net.host("h1"), net.host("h2"));
        net.link("l", h1, h2);
        let plan = net.plan();
        let ends = plan.wires[0].ends.clone();
        let group: IpAddr = "239.1.1.1".parse().unwrap();
        let all = SourceFilter::Exclude(BTreeSet::new());
        let (mut a, mut b) = (World::new(), World::new());
        a.join(h1, group, &all);
        a.fail(&cut(&plan, "l", None));
        b.join(h2, group, &all);
        let both = a.merged(&b);
        assert_eq!(both.members(group).collect::<Vec<_>>(), [h1, h2]);
        assert!(both.carries(&plan, ends[0], ends[1]));
    }
}
