//! What daemons do otherwise than the RFCs say, as far as it can be seen in what reaches hosts and wires: the one place where the oracle
//! allows for it. How each was found out, and the rest that is known of them, is in docs/daemons.md.

use crate::topology::plan::Daemon;

/// What a router's daemon may do that others may not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Habits {
    /// As designated router it sends a packet to the rendezvous point as it came: it takes no hop off the TTL, which RFC 7761 §4.4.1 has it
    /// do as whoever forwards a packet.
    pub registers_without_a_hop: bool,
    /// When it becomes designated router, it serves the members that are there already only once they have reported again.
    pub serves_at_next_report: bool,
    /// As rendezvous point it stays on a source's own tree when nobody is left who wants it (RFC 7761 §4.5.5: JoinDesired(S,G) is false then).
    pub stays_on_trees: bool,
    /// When its last member leaves it prunes the source and the group, and joins the group again in the same breath: what is upstream goes on
    /// until that join runs out.
    pub joins_when_left: bool,
}

/// The habits of a daemon.
pub fn of(daemon: &Daemon) -> Habits {
    match daemon {
        Daemon::Frr => Habits {
            registers_without_a_hop: true,
            serves_at_next_report: true,
            stays_on_trees: true,
            joins_when_left: true,
        },
        Daemon::Pimd => Habits { registers_without_a_hop: true, stays_on_trees: true, ..Habits::default() },
        Daemon::RouterCore | Daemon::Smcroute | Daemon::Exec(_) => Habits::default(),
    }
}
