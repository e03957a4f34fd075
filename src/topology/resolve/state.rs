//! What a scenario has done to the network so far, as far as the steps after it must know.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::topology::plan::{Attachment, NodeId, WireId};
use crate::topology::steps::{Action, SourceFilter, Stream};
use crate::topology::tree::Span;

/// What holds at a step.
#[derive(Default)]
pub(super) struct State {
    /// Who has joined each group, and how.
    pub joined: BTreeMap<IpAddr, BTreeMap<NodeId, SourceFilter>>,
    /// Who has ever joined each group.
    pub ever: BTreeMap<IpAddr, BTreeSet<NodeId>>,
    /// The groups that steps took together, by the first: how many, and where.
    pub together: BTreeMap<IpAddr, (u32, Span)>,
    /// Streams that were started, ended ones too.
    pub streams: BTreeMap<String, (Stream, Span)>,
    /// Streams of the whole scenario, and where they start.
    pub all_streams: BTreeMap<String, Span>,
    /// Whether a `join` or `leave` is wrong itself, so that nothing is said of who has joined.
    pub members_unsure: bool,
    /// Whether a `stream` could not be read, so that its name may be missing.
    pub streams_unsure: bool,
    /// What has failed: whole wires (no end) and ends.
    pub cuts: BTreeMap<WireId, BTreeSet<Option<Attachment>>>,
    /// Routers whose daemon was killed.
    pub dead: BTreeSet<NodeId>,
    /// Routers whose daemon was paused.
    pub paused: BTreeSet<NodeId>,
    /// Scopes that were tried, by line.
    pub scopes: BTreeMap<usize, usize>,
}

impl State {
    /// Whether a router's daemon is dead or stopped.
    pub fn is_still(&self, router: NodeId) -> bool {
        self.dead.contains(&router) || self.paused.contains(&router)
    }

    /// A step happens.
    pub fn note(&mut self, action: &Action) {
        match action {
            Action::Join { hosts, group, filter, .. } => {
                let members = self.joined.entry(*group).or_default();
                members.extend(hosts.iter().map(|host| (*host, filter.clone())));
                self.ever.entry(*group).or_default().extend(hosts.iter().copied());
            }
            Action::Leave { hosts, group, .. } => {
                let members = self.joined.entry(*group).or_default();
                members.retain(|host, _| !hosts.contains(host));
            }
            Action::Fail(cut) => {
                self.cuts.entry(cut.wire).or_default().insert(cut.end);
            }
            Action::Restore { wire, end } => {
                if let Some(cuts) = self.cuts.get_mut(wire) {
                    cuts.retain(|cut| end.is_some() && cut != end);
                    if cuts.is_empty() {
                        self.cuts.remove(wire);
                    }
                }
            }
            Action::Kill { node } => {
                self.dead.insert(*node);
                self.paused.remove(node);
            }
            Action::Restart { node } => {
                self.dead.remove(node);
                self.paused.remove(node);
            }
            Action::Pause { node } => {
                self.paused.insert(*node);
            }
            Action::Resume { node } => {
                self.paused.remove(node);
            }
            Action::Stream(_)
            | Action::Stop { .. }
            | Action::Drop(_)
            | Action::Impair(_)
            | Action::Wait { .. }
            | Action::Run { .. }
            | Action::Expect(_) => {}
        }
    }
}
