//! What `show` gives beyond what the router itself knows: the shell's counters and the kernel's.

use std::net::IpAddr;

use super::{Machine, Shell, clock};
use crate::control::server::Counts;
use crate::forwarding::EntryKey;
use crate::show::{Show, Shown};

/// What the shell counts beside the router.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Control packets that were handed to the router.
    pub packets_received: u64,
    /// Packets whose IP header could not be read.
    pub packets_malformed: u64,
    /// Packets of this machine's own that came back.
    pub packets_own: u64,
    /// Control packets that were sent.
    pub packets_sent: u64,
    /// Control packets that the kernel did not take.
    pub packets_unsent: u64,
    /// The kernel's questions about packets without an entry, or from a wrong interface.
    pub upcalls: u64,
    /// Upcalls of another kind or of an interface that is gone, and packets that were cut short.
    pub upcalls_unknown: u64,
    /// Virtual interfaces and entries that the kernel did not take.
    pub table_refusals: u64,
    /// Memberships that the kernel did not take.
    pub membership_refusals: u64,
}

impl<M: Machine> Shell<M> {
    /// The line that answers a `show`.
    pub(super) fn answer(&self, what: Show, server: Counts) -> Vec<u8> {
        let mut shown = self.machine.show(clock::now(), what);
        match &mut shown {
            Shown::Counters(counters) => {
                counters.extend(self.counts(server).map(|(name, value)| (name.to_owned(), value)));
            }
            Shown::Entries(entries) => {
                for entry in entries {
                    let key = EntryKey { source: entry.source, group: entry.group };
                    if matches!(key.group, IpAddr::V4(_))
                        && let Ok((packets, octets, wrong_interface)) = self.mroute.counters(key)
                    {
                        entry.packets = Some(packets);
                        entry.octets = Some(octets);
                        entry.wrong_interface = Some(wrong_interface);
                    }
                }
            }
            Shown::Routes(routes) => {
                // Of interfaces that take no part (the loopback) the router knows only the index.
                for route in routes {
                    let index = route.interface.strip_prefix('#').and_then(|index| index.parse().ok());
                    if let Some(link) = index.and_then(|index| self.monitor.link(index)) {
                        route.interface = link.name.clone();
                    }
                }
            }
            Shown::Interfaces(_)
            | Shown::Groups(_)
            | Shown::Neighbours(_)
            | Shown::Trees(_)
            | Shown::Bsr(_)
            | Shown::Rp(_)
            | Shown::State(_) => {}
        }
        let mut line = serde_json::to_vec(&shown).unwrap_or_else(|error| {
            let text = error.to_string();
            serde_json::to_vec(&crate::control::Refusal { error: text }).unwrap_or_default()
        });
        line.push(b'\n');
        line
    }

    fn counts(&self, server: Counts) -> impl Iterator<Item = (&'static str, u64)> {
        let own = &self.counters;
        [
            ("shell-packets-received", own.packets_received),
            ("shell-packets-malformed", own.packets_malformed),
            ("shell-packets-own", own.packets_own),
            ("shell-packets-sent", own.packets_sent),
            ("shell-packets-unsent", own.packets_unsent),
            ("shell-upcalls", own.upcalls),
            ("shell-upcalls-unknown", own.upcalls_unknown),
            ("shell-queue-drops", u64::from(self.mroute.lost())),
            ("shell-pim-queue-drops", self.pim.as_ref().map_or(0, |pim| u64::from(pim.lost()))),
            ("shell-table-refusals", own.table_refusals),
            ("shell-membership-refusals", own.membership_refusals),
            ("shell-filters-shortened", self.memberships.shortened()),
            ("shell-netlink-overruns", self.monitor.overruns()),
            ("control-subscribers-dropped", server.subscribers_dropped),
            ("control-clients-refused", server.clients_refused),
            ("control-requests-refused", server.requests_refused),
        ]
        .into_iter()
    }
}
