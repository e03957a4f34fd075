//! Explicit tracking: which neighbours have joined a tree at an interface (RFC 7761 §4.3.3).
//!
//! Where everybody on a link sets the T bit, nobody suppresses joins, and each neighbour's are heard. So a prune need not wait for others to
//! override it: either others are known to have joined, and nothing changes, or nobody is left, and the interface is pruned at once.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::entry::Tree;
use super::{Context, Sparse, macros};
use crate::router::InterfaceId;
use crate::time::Time;

/// Who has joined trees at interfaces, and until when; none for ever. A tree is tracked there from the first join on, as long as everybody
/// sets the T bit: who joined before that may not be known. There are no more records than interfaces with joins, each with no more
/// neighbours than the link's limit.
#[derive(Debug, Default)]
pub(super) struct Tracked {
    records: BTreeMap<(Tree, InterfaceId), BTreeMap<IpAddr, Option<Time>>>,
}

impl Tracked {
    /// The neighbours that have joined; none where they are not tracked.
    pub fn joined(&self, now: Time, tree: Tree, i: InterfaceId) -> Option<Vec<IpAddr>> {
        let record = self.records.get(&(tree, i))?;
        let holds = |until: &Option<Time>| until.is_none_or(|until| now < until);
        Some(record.iter().filter(|(_, until)| holds(until)).map(|(neighbour, _)| *neighbour).collect())
    }

    /// Nobody has joined there any more.
    pub fn end(&mut self, tree: Tree, i: InterfaceId) {
        self.records.remove(&(tree, i));
    }

    /// A neighbour is gone, or has forgotten what it joined.
    pub fn lose(&mut self, i: InterfaceId, neighbour: IpAddr) {
        for ((_, interface), record) in &mut self.records {
            if *interface == i {
                record.remove(&neighbour);
            }
        }
    }

    /// An interface is gone, or not everybody there sets the T bit any more.
    pub fn forget(&mut self, i: InterfaceId) {
        self.records.retain(|(_, interface), _| *interface != i);
    }
}

impl Sparse {
    fn is_tracking(context: &Context<'_>, i: InterfaceId) -> bool {
        macros::link(context.ports, i).is_some_and(|link| link.is_tracking())
    }

    /// A neighbour joins; `is_first` if nobody had.
    pub(super) fn track_join(
        &mut self,
        context: &Context<'_>,
        tree: Tree,
        i: InterfaceId,
        neighbour: IpAddr,
        hold_time: u16,
        is_first: bool,
    ) {
        if !Self::is_tracking(context, i) {
            return;
        }
        let until = Self::held(context.now, hold_time);
        let record = match self.tracked.records.get_mut(&(tree, i)) {
            Some(record) => record,
            None if is_first => self.tracked.records.entry((tree, i)).or_default(),
            None => return,
        };
        let known = record.entry(neighbour).or_insert(until);
        *known = known.zip(until).map(|(known, until)| known.max(until));
    }

    /// A neighbour prunes: whether others are known to want what it no longer does.
    pub(super) fn track_prune(&mut self, context: &Context<'_>, tree: Tree, i: InterfaceId, neighbour: IpAddr) -> bool {
        if let Some(record) = self.tracked.records.get_mut(&(tree, i)) {
            record.remove(&neighbour);
        }
        self.tracked.joined(context.now, tree, i).is_some_and(|joined| !joined.is_empty())
    }

    /// Whether nobody can override a prune, because nobody else has joined.
    pub(super) fn is_tracked_empty(&self, now: Time, tree: Tree, i: InterfaceId) -> bool {
        self.tracked.joined(now, tree, i).is_some_and(|joined| joined.is_empty())
    }

    /// The neighbours that are known to have joined a tree at an interface; none where they are not tracked.
    pub fn tracked(&self, now: Time, tree: Tree, i: InterfaceId) -> Option<Vec<IpAddr>> {
        self.tracked.joined(now, tree, i)
    }
}
