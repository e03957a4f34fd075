//! Memberships that this machine holds as a host: the groups that routers listen to, and a proxy's upstream side
//! (RFC 4605). The kernel's own IGMP speaks for them.
//!
//! The kernel bounds both the groups of a socket (`igmp_max_memberships`) and the sources of a filter (`igmp_max_msf`), so
//! memberships are spread over as many sockets as it takes. An include list over the bound is split between sockets, which
//! the kernel adds up again. An exclude list over the bound cannot be split (the kernel takes what *all* sockets exclude), so only
//! as many sources are excluded as fit: too much is asked for, never too little.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;

use nix::sys::socket::{self, AddressFamily, SockFlag, SockType};

use super::sys;
use crate::router::{InterfaceId, SourceFilter};

type Place = (InterfaceId, Ipv4Addr);

/// Where the kernel says how many sources a filter may have.
const MAX_SOURCES_FILE: &str = "/proc/sys/net/ipv4/igmp_max_msf";
/// What it is if nobody has changed it.
const MAX_SOURCES_DEFAULT: usize = 10;

/// Why a membership was not set as asked.
#[derive(Debug, thiserror::Error)]
pub enum MembershipError {
    /// Not an IPv4 group.
    #[error("{0} is no IPv4 group")]
    Family(IpAddr),
    /// The kernel refused.
    #[error("the kernel refused the membership of {group}: {why}")]
    Kernel {
        /// The group.
        group: Ipv4Addr,
        /// What it said.
        why: io::Error,
    },
}

/// All memberships of this process.
#[derive(Debug, Default)]
pub struct Memberships {
    pool: Vec<Member>,
    /// Sockets of the pool that hold a place, in order.
    held: BTreeMap<Place, Vec<usize>>,
    /// Filters that were cut short because the kernel takes no longer ones.
    shortened: u64,
}

#[derive(Debug)]
struct Member {
    socket: OwnedFd,
    places: BTreeSet<Place>,
    /// The kernel takes no more groups.
    is_full: bool,
}

impl Memberships {
    /// Exclude lists that did not fit, so far.
    pub fn shortened(&self) -> u64 {
        self.shortened
    }

    /// Sets the whole filter of a group on an interface: `Include` of nothing leaves.
    ///
    /// # Errors
    /// [`MembershipError`]. The membership is then what could be had.
    pub fn set(&mut self, interface: InterfaceId, group: IpAddr, filter: &SourceFilter) -> Result<(), MembershipError> {
        let IpAddr::V4(group) = group else { return Err(MembershipError::Family(group)) };
        let (is_include, sources) = match filter {
            SourceFilter::Include(sources) => (true, sources),
            SourceFilter::Exclude(sources) => (false, sources),
        };
        let sources: Vec<Ipv4Addr> =
            sources.iter().filter_map(|source| if let IpAddr::V4(s) = source { Some(*s) } else { None }).collect();
        let limit = max_sources();
        let mut parts: Vec<&[Ipv4Addr]> = sources.chunks(limit).collect();
        if !is_include {
            self.shortened += u64::from(parts.len() > 1);
            parts.truncate(1);
            if parts.is_empty() {
                parts.push(&[]);
            }
        }
        let place = (interface, group);
        let old = self.held.remove(&place).unwrap_or_default();
        let mut now = Vec::with_capacity(parts.len());
        let mut first_error = None;
        for (index, part) in parts.iter().enumerate() {
            let placed = match old.get(index) {
                Some(&member) => self.change(member, place, is_include, part).map(|()| member),
                None => self.join(place, is_include, part),
            };
            match placed {
                Ok(member) => now.push(member),
                Err(error) => {
                    first_error.get_or_insert(error);
                    now.extend(old.get(index));
                }
            }
        }
        // Only now, so that the kernel never reports less than is wanted.
        for member in old.into_iter().skip(parts.len()) {
            self.leave(member, place);
        }
        if !now.is_empty() {
            self.held.insert(place, now);
        }
        first_error.map_or(Ok(()), |why| Err(MembershipError::Kernel { group, why }))
    }

    /// Forgets the memberships on an interface that is gone (the kernel has dropped them with it).
    pub fn forget(&mut self, interface: InterfaceId) {
        let places: Vec<Place> = self.held.keys().filter(|(on, _)| *on == interface).copied().collect();
        for place in places {
            for member in self.held.remove(&place).unwrap_or_default() {
                self.leave(member, place);
            }
        }
    }

    fn join(&mut self, place: Place, is_include: bool, sources: &[Ipv4Addr]) -> io::Result<usize> {
        for index in 0..self.pool.len() {
            let member = &self.pool[index];
            if member.is_full || member.places.contains(&place) {
                continue;
            }
            match self.join_in(index, place, is_include, sources) {
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => self.pool[index].is_full = true,
                result => return result.map(|()| index),
            }
        }
        let socket = socket::socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        self.pool.push(Member { socket, places: BTreeSet::new(), is_full: false });
        let index = self.pool.len() - 1;
        self.join_in(index, place, is_include, sources).map(|()| index)
    }

    fn join_in(&mut self, index: usize, place: Place, is_include: bool, sources: &[Ipv4Addr]) -> io::Result<()> {
        let (interface, group) = place;
        let member = &mut self.pool[index];
        match sources.first() {
            // The first state that the kernel reports is the one that is meant.
            Some(first) if is_include => sys::join_source(&member.socket, interface.0, group, *first)?,
            _ => {
                sys::join_group(&member.socket, interface.0, group)?;
            }
        }
        member.places.insert(place);
        if sources.len() > usize::from(is_include) {
            let result = sys::set_filter(&member.socket, interface.0, group, is_include, sources);
            if result.is_err() {
                self.leave(index, place);
            }
            return result;
        }
        Ok(())
    }

    fn change(&self, index: usize, place: Place, is_include: bool, sources: &[Ipv4Addr]) -> io::Result<()> {
        sys::set_filter(&self.pool[index].socket, place.0.0, place.1, is_include, sources)
    }

    fn leave(&mut self, index: usize, place: Place) {
        let member = &mut self.pool[index];
        if member.places.remove(&place) {
            // A filter that includes nothing is no membership. An error means that it is gone already.
            let _ = sys::set_filter(&member.socket, place.0.0, place.1, true, &[]);
            member.is_full = false;
        }
    }
}

fn max_sources() -> usize {
    let text = std::fs::read_to_string(MAX_SOURCES_FILE).unwrap_or_default();
    text.trim().parse().ok().filter(|&most| most > 0).unwrap_or(MAX_SOURCES_DEFAULT)
}
