//! Which pairs of a state and an event each machine has been through: a bit a pair, in a fixed table.
//!
//! A machine notes a pair where it feeds its transition function ([`Coverage::note`]): one `or` into a word, so that it is always on. The
//! table depends on inputs alone, as everything in a router does. [`Router::coverage`](crate::router::Router::coverage) gives that of all
//! machines of a router; a search merges those of many ([`Coverage::merge`]).
//!
//! To add a machine: give its states and events names ([`named!`](crate::named)), add it to [`Machine`] and its [`Table`], and note pairs.

/// States or events, each with a name and a place in a fixed list.
pub trait Named {
    /// All names, in order.
    const NAMES: &'static [&'static str];

    /// The place of this one's name.
    fn position(&self) -> usize;
}

/// The place of a name in a list; for constants, where a name that is missing is an error of the compiler.
pub const fn place(names: &[&str], name: &str) -> usize {
    let mut at = 0;
    while at < names.len() {
        if equal(names[at].as_bytes(), name.as_bytes()) {
            return at;
        }
        at += 1;
    }
    panic!("no such name");
}

const fn equal(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

/// Names the values of a type: `named!(State { "pruned" => State::Pruned, ... })`. The patterns must cover the type.
#[macro_export]
macro_rules! named {
    ($type:ty { $($name:literal => $pattern:pat),+ $(,)? }) => {
        impl $crate::coverage::Named for $type {
            const NAMES: &'static [&'static str] = &[$($name),+];

            fn position(&self) -> usize {
                match self {
                    $($pattern => const { $crate::coverage::place(<$type as $crate::coverage::Named>::NAMES, $name) }),+
                }
            }
        }
    };
}

/// A machine whose pairs are noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Machine {
    /// The querier of an interface (RFC 9776 §6.6.2).
    IgmpQuerier,
    /// A group's record on an interface (RFC 9776 §6.4, §6.5).
    IgmpGroup,
    /// A source of a group's record (RFC 9776 §6.3, §6.4).
    IgmpSource,
    /// A group's compatibility mode (RFC 9776 §7.3.2).
    IgmpCompatibility,
    /// A PIM neighbour on an interface (RFC 3973 §4.3).
    PimNeighbour,
    /// Upstream(S,G) of dense mode (RFC 3973 §4.4.1).
    DenseUpstream,
    /// Downstream(S,G,I) of dense mode (RFC 3973 §4.4.2).
    DenseDownstream,
    /// Assert(S,G,I) of dense mode (RFC 3973 §4.6.4).
    DenseAssert,
    /// Origination(S,G) of dense mode (RFC 3973 §4.5.2).
    DenseOrigination,
    /// Downstream (*,G) of sparse mode on an interface (RFC 7761 §4.5.1).
    SparseDownstreamAll,
    /// Downstream (S,G) of sparse mode on an interface (RFC 7761 §4.5.2).
    SparseDownstream,
    /// Downstream (S,G,rpt) of sparse mode on an interface (RFC 7761 §4.5.3).
    SparseDownstreamRpt,
    /// Upstream (*,G) of sparse mode (RFC 7761 §4.5.4).
    SparseUpstreamAll,
    /// Upstream (S,G) of sparse mode (RFC 7761 §4.5.5).
    SparseUpstream,
    /// Upstream (S,G,rpt) of sparse mode (RFC 7761 §4.5.7).
    SparseUpstreamRpt,
    /// Register (S,G) of sparse mode (RFC 7761 §4.4.1).
    SparseRegister,
    /// Assert (S,G) of sparse mode on an interface (RFC 7761 §4.6.1).
    SparseAssert,
    /// Assert (*,G) of sparse mode on an interface (RFC 7761 §4.6.2).
    SparseAssertAll,
    /// A candidate BSR in a scope zone (RFC 5059 §3.1.1).
    BsrCandidate,
    /// A router that is no candidate BSR in a scope zone (RFC 5059 §3.1.2).
    BsrNonCandidate,
    /// A candidate RP toward the BSR of a scope zone (RFC 5059 §3.2).
    CandidateRp,
}

/// What a machine is called, and the names of its states and events.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// The machine's name.
    pub name: &'static str,
    /// Names of its states.
    pub states: &'static [&'static str],
    /// Names of its events, at most 32.
    pub events: &'static [&'static str],
}

const fn table<S: Named, E: Named>(name: &'static str) -> Table {
    assert!(E::NAMES.len() <= 32, "a row is a word of 32 bits");
    Table { name, states: S::NAMES, events: E::NAMES }
}

impl Machine {
    /// All machines, in the order of tables.
    pub const ALL: [Machine; 21] = [
        Machine::IgmpQuerier,
        Machine::IgmpGroup,
        Machine::IgmpSource,
        Machine::IgmpCompatibility,
        Machine::PimNeighbour,
        Machine::DenseUpstream,
        Machine::DenseDownstream,
        Machine::DenseAssert,
        Machine::DenseOrigination,
        Machine::SparseDownstreamAll,
        Machine::SparseDownstream,
        Machine::SparseDownstreamRpt,
        Machine::SparseUpstreamAll,
        Machine::SparseUpstream,
        Machine::SparseUpstreamRpt,
        Machine::SparseRegister,
        Machine::SparseAssert,
        Machine::SparseAssertAll,
        Machine::BsrCandidate,
        Machine::BsrNonCandidate,
        Machine::CandidateRp,
    ];

    /// Its names.
    pub const fn table(self) -> Table {
        use crate::membership::{cover, message};
        use crate::pim::dense::{assert, downstream, origination, upstream};
        use crate::pim::{bsr, link, sparse};
        match self {
            Machine::IgmpQuerier => table::<cover::Role, cover::QuerierEvent>("igmp-querier"),
            Machine::IgmpGroup => table::<cover::Group, cover::GroupEvent>("igmp-group"),
            Machine::IgmpSource => table::<cover::Source, cover::SourceEvent>("igmp-source"),
            Machine::IgmpCompatibility => table::<message::Version, cover::CompatibilityEvent>("igmp-compatibility"),
            Machine::PimNeighbour => table::<link::NeighbourState, link::NeighbourEvent>("pim-neighbour"),
            Machine::DenseUpstream => table::<upstream::State, upstream::Event>("dense-upstream"),
            Machine::DenseDownstream => table::<downstream::State, downstream::Event>("dense-downstream"),
            Machine::DenseAssert => table::<assert::State, assert::EventKind>("dense-assert"),
            Machine::DenseOrigination => table::<origination::State, origination::Event>("dense-origination"),
            Machine::SparseDownstreamAll => {
                table::<sparse::downstream::State, sparse::downstream::Event>("sparse-downstream-all")
            }
            Machine::SparseDownstream => {
                table::<sparse::downstream::State, sparse::downstream::Event>("sparse-downstream")
            }
            Machine::SparseDownstreamRpt => {
                table::<sparse::downstream_rpt::State, sparse::downstream_rpt::Event>("sparse-downstream-rpt")
            }
            Machine::SparseUpstreamAll => {
                table::<sparse::upstream::State, sparse::upstream::Event>("sparse-upstream-all")
            }
            Machine::SparseUpstream => table::<sparse::upstream::State, sparse::upstream::Event>("sparse-upstream"),
            Machine::SparseUpstreamRpt => {
                table::<sparse::upstream_rpt::State, sparse::upstream_rpt::Event>("sparse-upstream-rpt")
            }
            Machine::SparseRegister => table::<sparse::register::State, sparse::register::Event>("sparse-register"),
            Machine::SparseAssert => table::<sparse::assert::State, sparse::assert::EventKind>("sparse-assert"),
            Machine::SparseAssertAll => table::<sparse::assert::State, sparse::assert::EventKind>("sparse-assert-all"),
            Machine::BsrCandidate => table::<bsr::candidate::State, bsr::candidate::Event>("bsr-candidate"),
            Machine::BsrNonCandidate => {
                table::<bsr::non_candidate::State, bsr::non_candidate::Event>("bsr-non-candidate")
            }
            Machine::CandidateRp => table::<bsr::candidate_rp::State, bsr::candidate_rp::Event>("candidate-rp"),
        }
    }

    /// The row of its first state.
    const fn first_row(self) -> usize {
        let (mut row, mut at) = (0, 0);
        while at < self as usize {
            row += Machine::ALL[at].table().states.len();
            at += 1;
        }
        row
    }
}

/// Rows of all machines: one a state.
const ROWS: usize = {
    let last = Machine::ALL[Machine::ALL.len() - 1];
    last.first_row() + last.table().states.len()
};

/// Where each machine's rows begin.
const FIRST_ROWS: [usize; Machine::ALL.len()] = {
    let mut rows = [0; Machine::ALL.len()];
    let mut at = 0;
    while at < rows.len() {
        assert!(Machine::ALL[at] as usize == at, "the list of machines is in their order");
        rows[at] = Machine::ALL[at].first_row();
        at += 1;
    }
    rows
};

/// Which pairs happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    rows: [u32; ROWS],
}

impl Default for Coverage {
    fn default() -> Coverage {
        Coverage { rows: [0; ROWS] }
    }
}

/// A pair of a machine: where it stands in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pair {
    /// The machine.
    pub machine: Machine,
    /// Place of the state.
    pub state: usize,
    /// Place of the event.
    pub event: usize,
}

impl Pair {
    /// All pairs of all machines, in the order of their tables.
    pub fn all() -> impl Iterator<Item = Pair> {
        Machine::ALL.into_iter().flat_map(|machine| {
            let Table { states, events, .. } = machine.table();
            (0..states.len()).flat_map(move |state| (0..events.len()).map(move |event| Pair { machine, state, event }))
        })
    }

    /// The names of its machine, state and event.
    pub fn names(self) -> (&'static str, &'static str, &'static str) {
        let table = self.machine.table();
        let name = |names: &'static [&'static str], at: usize| names.get(at).copied().unwrap_or_default();
        (table.name, name(table.states, self.state), name(table.events, self.event))
    }
}

impl Coverage {
    /// An event happened to a machine in a state. The types must be those of the machine's [`Table`].
    pub fn note<S: Named, E: Named>(&mut self, machine: Machine, state: &S, event: &E) {
        debug_assert!(std::ptr::eq(machine.table().states, S::NAMES) || machine.table().states == S::NAMES);
        debug_assert!(std::ptr::eq(machine.table().events, E::NAMES) || machine.table().events == E::NAMES);
        let row = FIRST_ROWS.get(machine as usize).map(|first| first + state.position());
        if let Some(row) = row.and_then(|row| self.rows.get_mut(row)) {
            *row |= 1 << (event.position() % 32);
        }
    }

    /// Whether a pair happened.
    pub fn has(&self, pair: Pair) -> bool {
        let row = FIRST_ROWS.get(pair.machine as usize).and_then(|first| self.rows.get(first + pair.state));
        row.is_some_and(|row| row >> (pair.event % 32) & 1 == 1)
    }

    /// Adds what happened elsewhere.
    pub fn merge(&mut self, other: &Coverage) {
        for (row, more) in self.rows.iter_mut().zip(other.rows) {
            *row |= more;
        }
    }

    /// How many pairs happened.
    pub fn len(&self) -> usize {
        self.rows.iter().map(|row| row.count_ones() as usize).sum()
    }

    /// Whether nothing happened.
    pub fn is_empty(&self) -> bool {
        self.rows.iter().all(|row| *row == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pim::dense::upstream::{Event, State};

    #[test]
    fn a_pair_that_was_noted_is_there_and_no_other() {
        let mut coverage = Coverage::default();
        assert!(coverage.is_empty());
        coverage.note(Machine::DenseUpstream, &State::Pruned, &Event::GraftAck);
        let found: Vec<_> = Pair::all().filter(|pair| coverage.has(*pair)).map(Pair::names).collect();
        assert_eq!(found, [("dense-upstream", "pruned", "graft-ack")]);
        let mut other = Coverage::default();
        other.note(Machine::DenseUpstream, &State::Forwarding, &Event::SeeJoin);
        other.merge(&coverage);
        assert_eq!(other.len(), 2);
    }

    #[test]
    fn no_two_pairs_share_a_bit() {
        let pairs: Vec<Pair> = Pair::all().collect();
        let bits: usize = Machine::ALL.iter().map(|m| m.table().states.len() * m.table().events.len()).sum();
        assert_eq!(pairs.len(), bits);
        assert_eq!(ROWS, Machine::ALL.iter().map(|m| m.table().states.len()).sum::<usize>());
        for machine in Machine::ALL {
            let Table { states, events, .. } = machine.table();
            for names in [states, events] {
                let mut sorted = names.to_vec();
                sorted.sort_unstable();
                sorted.dedup();
                assert_eq!(sorted.len(), names.len(), "{machine:?}");
            }
        }
    }
}
