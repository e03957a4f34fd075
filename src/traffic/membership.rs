//! A host's membership of a group: exactly one report for each change of its filter, however many sockets receive.
//!
//! The kernel merges the filters of all sockets of a host (RFC 3376 §3.2). Were every receiving socket to change its own, the host would
//! pass through merged states that nobody asked for, and report them. So one socket that never receives holds the membership and makes each
//! change in one call; receiving sockets leave before it and join after it with the same filter, which changes nothing that is merged. In between
//! they hear what the host hears (`IP_MULTICAST_ALL`), so that a source that stays wanted loses no packet.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::sys::udp::{FilterMode, Udp};
use crate::topology::steps::SourceFilter;

/// Whether a filter asks for anything at all: to include no source is to be no member.
pub fn wants(filter: &SourceFilter) -> bool {
    !matches!(filter, SourceFilter::Include(sources) if sources.is_empty())
}

/// Gives one socket a filter: `None` or an empty include leaves. `old` is what the socket has.
///
/// # Errors
/// The kernel's: `ENODEV` for an unknown interface, `ENOBUFS` for more sources than `igmp_max_msf`, ...
pub fn change(
    socket: &Udp,
    interface: u32,
    group: IpAddr,
    old: Option<&SourceFilter>,
    new: Option<&SourceFilter>,
) -> io::Result<()> {
    let member = old.is_some_and(wants);
    let Some(new) = new.filter(|filter| wants(filter)) else {
        return if member { socket.leave(interface, group) } else { Ok(()) };
    };
    let (mode, sources) = match new {
        SourceFilter::Include(sources) => (FilterMode::Include, sources),
        SourceFilter::Exclude(sources) => (FilterMode::Exclude, sources),
    };
    if member {
        return socket.set_filter(interface, group, mode, sources.iter().copied());
    }
    match (mode, sources.first()) {
        (FilterMode::Exclude, None) => return socket.join(interface, group),
        (FilterMode::Include, Some(first)) => socket.join_source(interface, group, *first)?,
        // A plain join would ask for all sources for a moment. Including one that is not excluded asks for nothing new beside a socket that has the
        // same filter already, and for next to nothing on its own.
        _ => socket.join_source(interface, group, stand_in(new, group))?,
    }
    if mode == FilterMode::Include && sources.len() == 1 {
        return Ok(());
    }
    let changed = socket.set_filter(interface, group, mode, sources.iter().copied());
    if changed.is_err() {
        // Nothing half done stays; the first error is the one to tell.
        let _ = socket.leave(interface, group);
    }
    changed
}

/// A documentation address (RFC 5737, RFC 3849) that a filter does not name.
fn stand_in(filter: &SourceFilter, group: IpAddr) -> IpAddr {
    let (SourceFilter::Include(sources) | SourceFilter::Exclude(sources)) = filter;
    let candidates = (0..=u32::MAX).map(|n| match group {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from(u32::from(Ipv4Addr::new(192, 0, 2, 1)).wrapping_add(n))),
        IpAddr::V6(_) => {
            let base = u128::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
            IpAddr::V6(Ipv6Addr::from(base + u128::from(n)))
        }
    });
    let mut free = candidates.filter(|address| !sources.contains(address));
    free.next().unwrap_or(group)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_stand_in_is_never_one_of_the_filters_sources() {
        let group = "239.1.1.1".parse().unwrap();
        let taken: BTreeSet<IpAddr> = ["192.0.2.1", "192.0.2.2"].iter().map(|a| a.parse().unwrap()).collect();
        let expected: IpAddr = "192.0.2.3".parse().unwrap();
        assert_eq!(stand_in(&SourceFilter::Exclude(taken), group), expected);
        let group = "ff3e::1".parse().unwrap();
        let expected: IpAddr = "2001:db8::1".parse().unwrap();
        assert_eq!(stand_in(&SourceFilter::Exclude(BTreeSet::new()), group), expected);
    }

    #[test]
    fn to_include_nothing_is_to_be_no_member() {
        let source: IpAddr = "10.0.0.1".parse().unwrap();
        assert!(!wants(&SourceFilter::Include(BTreeSet::new())));
        assert!(wants(&SourceFilter::Include([source].into())));
        assert!(wants(&SourceFilter::Exclude(BTreeSet::new())));
    }
}
