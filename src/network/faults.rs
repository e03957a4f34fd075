//! Cuts of wires: which ends a fault touches, what undoes it, and when a silent one becomes known.

use crate::network::Time;
use crate::routes::agent::Message;
use crate::topology::plan::{Attachment, Plan, WireId, WireKind};
use crate::topology::steps::{Cut, CutKind};

/// What is done to one attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// It loses its carrier: the far side is taken down.
    Carrier(Attachment),
    /// It is taken down.
    Admin(Attachment),
    /// What its node sends is dropped.
    Out(Attachment),
    /// What the wire brings is dropped.
    In(Attachment),
}

/// The changes that make a cut.
///
/// Without an end, a link loses its second end (`carrier`, `admin`) or all frames (`silent`); a LAN all its ends.
pub fn changes(plan: &Plan, cut: &Cut) -> Vec<Change> {
    let wire = plan.wire(cut.wire);
    let ends = match (cut.end, wire.kind, cut.how) {
        (Some(end), ..) => vec![end],
        // The second end is taken down, so that the first loses its carrier.
        (None, WireKind::Link, CutKind::Carrier) => wire.ends.iter().take(1).copied().collect(),
        (None, WireKind::Link, CutKind::Admin) => wire.ends.iter().skip(1).copied().collect(),
        (None, ..) => wire.ends.clone(),
    };
    let change = |at: Attachment| match cut.how {
        CutKind::Carrier => vec![Change::Carrier(at)],
        CutKind::Admin => vec![Change::Admin(at)],
        // With all ends cut, nothing is left that could come in.
        CutKind::Silent if cut.end.is_none() => vec![Change::Out(at)],
        CutKind::Silent => vec![Change::Out(at), Change::In(at)],
    };
    ends.into_iter().flat_map(change).collect()
}

/// Cuts that are in force.
#[derive(Debug, Default)]
pub struct Cuts {
    active: Vec<Active>,
}

#[derive(Debug)]
struct Active {
    cut: Cut,
    changes: Vec<Change>,
    /// When the route agent is to be told; none once it was, or if it never will be.
    due: Option<Time>,
    told: bool,
}

impl Cuts {
    /// Notes a cut that was made at a time.
    pub fn add(&mut self, cut: &Cut, changes: Vec<Change>, at: Time) {
        let silent = cut.how == CutKind::Silent;
        let due = cut.detected_after.filter(|_| silent).map(|after| at + after);
        self.active.push(Active { cut: cut.clone(), changes, due, told: false });
    }

    /// Takes the cuts of a wire (of one end, if given) out of the list: the changes to undo, and what the agent is to be told.
    /// What another cut still wants stays as it is.
    pub fn remove(&mut self, wire: WireId, end: Option<Attachment>) -> (Vec<Change>, Vec<Message>) {
        let ends = |active: &Active| active.cut.wire == wire && (end.is_none() || active.cut.end == end);
        let (gone, kept): (Vec<_>, Vec<_>) = self.active.drain(..).partition(ends);
        self.active = kept;
        let told = gone.iter().filter(|active| active.told);
        let messages = told.map(|active| Message::Restored { wire, end: active.cut.end }).collect();
        let mut undo: Vec<Change> = gone.into_iter().flat_map(|active| active.changes).collect();
        undo.sort_unstable();
        undo.dedup();
        undo.retain(|change| self.active.iter().all(|active| !active.changes.contains(change)));
        (undo, messages)
    }

    /// When the next silent cut becomes known.
    pub fn next_due(&self) -> Option<Time> {
        self.active.iter().filter_map(|active| active.due).min()
    }

    /// What the agent is to be told by now.
    pub fn take_due(&mut self, now: Time) -> Vec<Message> {
        let mut messages = Vec::new();
        for active in &mut self.active {
            if active.due.is_some_and(|due| due <= now) {
                active.due = None;
                active.told = true;
                messages.push(Message::Cut { wire: active.cut.wire, end: active.cut.end });
            }
        }
        messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const LINK: WireId = WireId(0);

    fn cut(how: CutKind, end: Option<Attachment>, detected_after: Option<Duration>) -> Cut {
        Cut { wire: LINK, end, how, detected_after }
    }

    #[test]
    fn a_link_without_a_named_end_loses_its_second() {
        let plan = crate::network::kernel::runtime::tests::plan();
        let (first, second) = (plan.wires[0].ends[0], plan.wires[0].ends[1]);
        assert_eq!(changes(&plan, &cut(CutKind::Carrier, None, None)), [Change::Carrier(first)]);
        assert_eq!(changes(&plan, &cut(CutKind::Admin, None, None)), [Change::Admin(second)]);
        assert_eq!(changes(&plan, &cut(CutKind::Silent, None, None)), [Change::Out(first), Change::Out(second)]);
        assert_eq!(changes(&plan, &cut(CutKind::Silent, Some(first), None)), [Change::Out(first), Change::In(first)]);
        assert_eq!(changes(&plan, &cut(CutKind::Carrier, Some(second), None)), [Change::Carrier(second)]);
    }

    #[test]
    fn a_silent_cut_becomes_known_once_and_only_after_its_time() {
        let mut cuts = Cuts::default();
        cuts.add(&cut(CutKind::Silent, None, Some(Duration::from_nanos(10))), vec![], Time(5));
        assert_eq!(cuts.next_due(), Some(Time(15)));
        assert_eq!(cuts.take_due(Time(14)), []);
        assert_eq!(cuts.take_due(Time(15)), [Message::Cut { wire: LINK, end: None }]);
        assert_eq!((cuts.next_due(), cuts.take_due(Time(99))), (None, vec![]));
        assert_eq!(cuts.remove(LINK, None).1, [Message::Restored { wire: LINK, end: None }]);
    }

    #[test]
    fn a_cut_that_nobody_noticed_is_mended_without_a_word() {
        let mut cuts = Cuts::default();
        cuts.add(&cut(CutKind::Silent, None, Some(Duration::from_nanos(10))), vec![], Time(5));
        assert_eq!(cuts.remove(LINK, None).1, []);
        assert_eq!(cuts.next_due(), None);
    }

    #[test]
    fn what_another_cut_still_wants_is_not_undone() {
        let plan = crate::network::kernel::runtime::tests::plan();
        let end = plan.wires[0].ends[0];
        let mut cuts = Cuts::default();
        for named in [None, Some(end)] {
            cuts.add(&cut(CutKind::Silent, named, None), changes(&plan, &cut(CutKind::Silent, named, None)), Time(1));
        }
        assert_eq!(cuts.remove(LINK, Some(end)).0, [Change::In(end)]);
        assert_eq!(cuts.remove(LINK, None).0, [Change::Out(end), Change::Out(plan.wires[0].ends[1])]);
        assert_eq!(cuts.remove(LINK, None).0, []);
    }
}
