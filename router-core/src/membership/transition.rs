//! The tables of RFC 9776 §6.4.1 and §6.4.2: what a group record does to a group's state. Pure sets; the timers that a
//! row names are returned for the caller to set.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::message::RecordKind;

/// A set of sources.
pub type Sources = BTreeSet<IpAddr>;

/// A group's router filter mode with its source records (§6.2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilterState {
    /// `INCLUDE (A)`: sources with a running timer.
    Include(Sources),
    /// `EXCLUDE (X,Y)`.
    Exclude {
        /// X: sources with a running timer, which somebody wants.
        requested: Sources,
        /// Y: sources whose timer is zero, which nobody wants.
        blocked: Sources,
    },
}

/// What a source timer is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceTimer {
    /// `(..)=GMI`: the group membership interval.
    MembershipInterval,
    /// `(..)=Group Timer`: what is left on the group's timer before this record.
    GroupTimer,
}

/// A row's new state and actions. Sources that are in no set with a running timer any more have their timers stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// New router state.
    pub state: FilterState,
    /// Sources whose timers are set, and to what.
    pub set: Option<(Sources, SourceTimer)>,
    /// `Group Timer=GMI`.
    pub group_timer: bool,
    /// `Send Q(G,..)`: the sources; none to send if empty.
    pub query_sources: Sources,
    /// `Send Q(G)`.
    pub query_group: bool,
}

impl Transition {
    fn to(state: FilterState) -> Transition {
        Transition { state, set: None, group_timer: false, query_sources: Sources::new(), query_group: false }
    }

    fn setting(mut self, sources: Sources, timer: SourceTimer) -> Transition {
        self.set = Some((sources, timer));
        self
    }

    fn group_timer(mut self) -> Transition {
        self.group_timer = true;
        self
    }

    fn query_sources(mut self, sources: Sources) -> Transition {
        self.query_sources = sources;
        self
    }

    fn query_group(mut self) -> Transition {
        self.query_group = true;
        self
    }
}

/// The row for a state and a record; none for a record of an unknown type, which is ignored (§4.2.12).
pub fn transition(state: &FilterState, kind: RecordKind, sources: &Sources) -> Option<Transition> {
    use FilterState::{Exclude, Include};
    use RecordKind::{Allow, Block, IsExclude, IsInclude, ToExclude, ToInclude, Unknown};
    use SourceTimer::{GroupTimer, MembershipInterval};

    Some(match (state, kind) {
        // INCLUDE (A)    IS_IN (B)     INCLUDE (A+B)            (B)=GMI
        // INCLUDE (A)    ALLOW (B)     INCLUDE (A+B)            (B)=GMI
        (Include(a), IsInclude | Allow) => {
            let b = sources;
            Transition::to(Include(a | b)).setting(b.clone(), MembershipInterval)
        }
        // INCLUDE (A)    IS_EX (B)     EXCLUDE (A*B,B-A)        (B-A)=0, Delete (A-B), Group Timer=GMI
        (Include(a), IsExclude) => {
            let b = sources;
            Transition::to(Exclude { requested: a & b, blocked: b - a }).group_timer()
        }
        // EXCLUDE (X,Y)  IS_IN (A)     EXCLUDE (X+A,Y-A)        (A)=GMI
        // EXCLUDE (X,Y)  ALLOW (A)     EXCLUDE (X+A,Y-A)        (A)=GMI
        (Exclude { requested: x, blocked: y }, IsInclude | Allow) => {
            let a = sources;
            Transition::to(Exclude { requested: x | a, blocked: y - a }).setting(a.clone(), MembershipInterval)
        }
        // EXCLUDE (X,Y)  IS_EX (A)     EXCLUDE (A-Y,Y*A)        (A-X-Y)=GMI, Delete (X-A), Delete (Y-A), Group Timer=GMI
        (Exclude { requested: x, blocked: y }, IsExclude) => {
            let a = sources;
            Transition::to(Exclude { requested: a - y, blocked: y & a })
                .setting(&(a - x) - y, MembershipInterval)
                .group_timer()
        }
        // INCLUDE (A)    BLOCK (B)     INCLUDE (A)              Send Q(G,A*B)
        (Include(a), Block) => Transition::to(state.clone()).query_sources(a & sources),
        // INCLUDE (A)    TO_EX (B)     EXCLUDE (A*B,B-A)        (B-A)=0, Delete (A-B), Send Q(G,A*B), Group Timer=GMI
        (Include(a), ToExclude) => {
            let b = sources;
            Transition::to(Exclude { requested: a & b, blocked: b - a }).query_sources(a & b).group_timer()
        }
        // INCLUDE (A)    TO_IN (B)     INCLUDE (A+B)            (B)=GMI, Send Q(G,A-B)
        (Include(a), ToInclude) => {
            let b = sources;
            Transition::to(Include(a | b)).setting(b.clone(), MembershipInterval).query_sources(a - b)
        }
        // EXCLUDE (X,Y)  BLOCK (A)     EXCLUDE (X+(A-Y),Y)      (A-X-Y)=Group Timer, Send Q(G,A-Y)
        (Exclude { requested: x, blocked: y }, Block) => {
            let a = sources;
            Transition::to(Exclude { requested: x | &(a - y), blocked: y.clone() })
                .setting(&(a - x) - y, GroupTimer)
                .query_sources(a - y)
        }
        // EXCLUDE (X,Y)  TO_EX (A)     EXCLUDE (A-Y,Y*A)        (A-X-Y)=Group Timer, Delete (X-A), Delete (Y-A),
        //                                                      Send Q(G,A-Y), Group Timer=GMI
        (Exclude { requested: x, blocked: y }, ToExclude) => {
            let a = sources;
            Transition::to(Exclude { requested: a - y, blocked: y & a })
                .setting(&(a - x) - y, GroupTimer)
                .query_sources(a - y)
                .group_timer()
        }
        // EXCLUDE (X,Y)  TO_IN (A)     EXCLUDE (X+A,Y-A)        (A)=GMI, Send Q(G,X-A), Send Q(G)
        (Exclude { requested: x, blocked: y }, ToInclude) => {
            let a = sources;
            Transition::to(Exclude { requested: x | a, blocked: y - a })
                .setting(a.clone(), MembershipInterval)
                .query_sources(x - a)
                .query_group()
        }
        (_, Unknown(_)) => return None,
    })
}

/// What a record does where the only host there may leave at its word ('fast leave'): a record that states a whole filter
/// sets it, BLOCK takes its sources out at once, and nothing is queried.
pub fn fast_transition(state: &FilterState, kind: RecordKind, sources: &Sources) -> Option<Transition> {
    use FilterState::{Exclude, Include};
    use SourceTimer::MembershipInterval;
    match (state, kind) {
        (_, RecordKind::ToInclude) => {
            Some(Transition::to(Include(sources.clone())).setting(sources.clone(), MembershipInterval))
        }
        (_, RecordKind::ToExclude) => {
            Some(Transition::to(Exclude { requested: Sources::new(), blocked: sources.clone() }).group_timer())
        }
        (Include(a), RecordKind::Block) => Some(Transition::to(Include(a - sources))),
        (Exclude { requested, blocked }, RecordKind::Block) => {
            Some(Transition::to(Exclude { requested: requested - sources, blocked: blocked | sources }))
        }
        (_, RecordKind::IsInclude | RecordKind::IsExclude | RecordKind::Allow | RecordKind::Unknown(_)) => {
            transition(state, kind, sources)
        }
    }
}

#[cfg(test)]
mod tests;
