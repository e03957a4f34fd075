//! The monitor of links, addresses and unicast routes: a dump at the start, then the kernel's own news.
//!
//! When news was lost (the socket's buffer ran over), or IPv4 routes vanish without news (the kernel tells nobody of the routes
//! that go with a link or an address), the monitor dumps again and passes on the differences.
//!
//! Of all that one reading brings, the router hears first what became of links, in order, then which routes there are now that there were
//! not, and at last which are gone. So a route that moves, in one message of the kernel's or in several that come together, is never
//! missing in between.

mod message;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    self, AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, setsockopt, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::router::{Input, InterfaceId, InterfaceState, UnicastRoute};
use message::Change;

/// Octets of one read. The kernel fits a dump's parts to it; one message of news is at most a few thousand.
const BUFFER: usize = 16 * 1024;
/// Wanted size of the queue of news; the kernel caps it.
const QUEUE: usize = 1024 * 1024;
/// News that is thrown away in one turn, after some was lost.
const DISCARD: usize = 10_000;
/// Dumps that other changes disturb are asked for so often before the last one is taken as it is.
const TRIES: usize = 4;

/// Watches the kernel's links, addresses and main routing tables.
#[derive(Debug)]
pub struct Monitor {
    news: OwnedFd,
    known: Known,
    buffer: Vec<u8>,
    /// All must be dumped again.
    lost: bool,
    /// Routes must be dumped again.
    routes_doubtful: bool,
    /// Times that news was lost.
    overruns: u64,
}

#[derive(Debug, Default)]
struct Known {
    links: BTreeMap<u32, InterfaceState>,
    routes: BTreeSet<Route>,
    /// Routes that the router has not heard of yet.
    added: BTreeSet<Route>,
    /// Routes that the router takes for there still.
    removed: BTreeSet<Route>,
}

/// A [`UnicastRoute`] in an order: by prefix, metric, next hop, interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Route {
    prefix: ipnet::IpNet,
    metric: u32,
    next_hop: Option<std::net::IpAddr>,
    interface: u32,
}

impl From<&UnicastRoute> for Route {
    fn from(route: &UnicastRoute) -> Route {
        let UnicastRoute { prefix, next_hop, interface, metric } = *route;
        Route { prefix, metric, next_hop, interface: interface.0 }
    }
}

impl From<Route> for UnicastRoute {
    fn from(route: Route) -> UnicastRoute {
        let Route { prefix, metric, next_hop, interface } = route;
        UnicastRoute { prefix, next_hop, interface: InterfaceId(interface), metric }
    }
}

impl Monitor {
    /// Subscribes; the first [`Monitor::read`] gives everything that is there.
    ///
    /// # Errors
    /// What the kernel says to the socket.
    pub fn new() -> io::Result<Monitor> {
        let groups = [
            libc::RTMGRP_LINK,
            libc::RTMGRP_IPV4_IFADDR,
            libc::RTMGRP_IPV6_IFADDR,
            libc::RTMGRP_IPV4_ROUTE,
            libc::RTMGRP_IPV6_ROUTE,
        ];
        let news = socket::socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            SockProtocol::NetlinkRoute,
        )?;
        setsockopt(&news, sockopt::RcvBuf, &QUEUE)?;
        let groups = groups.iter().fold(0, |all, &group| all | group as u32);
        socket::bind(news.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        Ok(Monitor {
            news,
            known: Known::default(),
            buffer: vec![0; BUFFER],
            lost: true,
            routes_doubtful: false,
            overruns: 0,
        })
    }

    /// Times that news was lost and everything was dumped again.
    pub fn overruns(&self) -> u64 {
        self.overruns
    }

    /// What is known of an interface.
    pub fn link(&self, index: u32) -> Option<&InterfaceState> {
        self.known.links.get(&index)
    }

    /// Whether an address is one of this machine's own (on any interface).
    pub fn is_own(&self, address: std::net::IpAddr) -> bool {
        self.known.links.values().any(|link| link.addresses.iter().any(|own| own.addr() == address))
    }

    /// Reads news, at most `batch` reads of it, and gives what it means for a router.
    ///
    /// # Errors
    /// What the kernel says to a dump. Lost news is no error.
    pub fn read(&mut self, batch: usize, inputs: &mut Vec<Input>) -> io::Result<()> {
        for _ in 0..batch {
            match socket::recv(self.news.as_raw_fd(), &mut self.buffer, MsgFlags::empty()) {
                Ok(length) => {
                    for change in message::parse(&self.buffer[..length]) {
                        self.routes_doubtful |= self.known.apply(change, inputs);
                    }
                }
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(Errno::ENOBUFS) => {
                    self.overruns += 1;
                    self.lost = true;
                }
                Err(error) => return Err(error.into()),
            }
        }
        if self.lost {
            // News from before the gap must not be taken after the dump, which knows better.
            if self.discard()? {
                self.resync(inputs)?;
                (self.lost, self.routes_doubtful) = (false, false);
            }
        } else if self.routes_doubtful {
            let routes = dump_routes(&mut self.buffer)?;
            self.known.take_routes(routes);
            self.routes_doubtful = false;
        }
        self.known.tell_routes(inputs);
        Ok(())
    }

    /// Throws away the news that waits; gives whether all of it is gone.
    fn discard(&mut self) -> io::Result<bool> {
        for _ in 0..DISCARD {
            match socket::recv(self.news.as_raw_fd(), &mut self.buffer, MsgFlags::empty()) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(true),
                Err(Errno::ENOBUFS) => self.overruns += 1,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }

    fn resync(&mut self, inputs: &mut Vec<Input>) -> io::Result<()> {
        let mut fresh = Known::default();
        let mut unused = Vec::new();
        for kind in [libc::RTM_GETLINK, libc::RTM_GETADDR] {
            for change in dump(kind, &mut self.buffer)? {
                fresh.apply(change, &mut unused);
                unused.clear();
            }
        }
        let routes = dump_routes(&mut self.buffer)?;
        self.known.take_links(fresh.links, inputs);
        self.known.take_routes(routes);
        Ok(())
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.news.as_fd()
    }
}

impl Known {
    /// Takes a change in; gives whether IPv4 routes may have changed without further news.
    fn apply(&mut self, change: Change, inputs: &mut Vec<Input>) -> bool {
        match change {
            Change::Link { index, name, admin_up, carrier, mtu } => {
                let up = admin_up && carrier;
                let before = self.links.get(&index);
                let addresses = before.map(|known| known.addresses.clone()).unwrap_or_default();
                let state = InterfaceState { name, up, mtu, addresses };
                let turned = before.is_some_and(|known| known.up != up);
                if before != Some(&state) {
                    inputs.push(Input::Interface { interface: InterfaceId(index), state: state.clone() });
                    self.links.insert(index, state);
                }
                turned
            }
            Change::LinkGone { index } => {
                if self.links.remove(&index).is_some() {
                    inputs.push(Input::InterfaceGone { interface: InterfaceId(index) });
                }
                true
            }
            Change::Address { index, address } => {
                if let Some(link) = self.links.get_mut(&index)
                    && !link.addresses.contains(&address)
                {
                    link.addresses.push(address);
                    inputs.push(Input::Interface { interface: InterfaceId(index), state: link.clone() });
                }
                false
            }
            Change::AddressGone { index, address } => {
                if let Some(link) = self.links.get_mut(&index)
                    && let Some(place) = link.addresses.iter().position(|own| *own == address)
                {
                    link.addresses.remove(place);
                    inputs.push(Input::Interface { interface: InterfaceId(index), state: link.clone() });
                }
                true
            }
            Change::Route { hops, replaces } => {
                let fresh: BTreeSet<Route> = hops.iter().map(Route::from).collect();
                if replaces && let Some(first) = fresh.first() {
                    self.forget_routes(|r| r.prefix == first.prefix && r.metric == first.metric, &fresh);
                }
                for route in fresh {
                    self.add(route);
                }
                false
            }
            Change::RouteGone { hops } => {
                for route in hops.iter().map(Route::from) {
                    if self.routes.remove(&route) {
                        self.removed(route);
                    }
                }
                false
            }
            Change::Done | Change::Refused(_) | Change::Interrupted => false,
        }
    }

    fn take_links(&mut self, fresh: BTreeMap<u32, InterfaceState>, inputs: &mut Vec<Input>) {
        for index in self.links.keys().filter(|index| !fresh.contains_key(index)) {
            inputs.push(Input::InterfaceGone { interface: InterfaceId(*index) });
        }
        for (index, state) in fresh.iter().filter(|(index, state)| self.links.get(index) != Some(state)) {
            inputs.push(Input::Interface { interface: InterfaceId(*index), state: state.clone() });
        }
        self.links = fresh;
    }

    fn take_routes(&mut self, fresh: BTreeSet<Route>) {
        self.forget_routes(|_| true, &fresh);
        for route in fresh {
            self.add(route);
        }
    }

    fn add(&mut self, route: Route) {
        if self.routes.insert(route) && !self.removed.remove(&route) {
            self.added.insert(route);
        }
    }

    /// Notes that a route is gone.
    fn removed(&mut self, route: Route) {
        if !self.added.remove(&route) {
            self.removed.insert(route);
        }
    }

    /// Forgets the routes that `which` names, except those to keep.
    fn forget_routes(&mut self, which: impl Fn(&Route) -> bool, keep: &BTreeSet<Route>) {
        let gone = self.routes.iter().filter(|route| which(route) && !keep.contains(route));
        for route in gone.copied().collect::<Vec<Route>>() {
            self.routes.remove(&route);
            self.removed(route);
        }
    }

    /// Tells the router how the routes differ from what it knows: what is new first.
    fn tell_routes(&mut self, inputs: &mut Vec<Input>) {
        inputs.extend(std::mem::take(&mut self.added).into_iter().map(|route| Input::RouteAdded(route.into())));
        inputs.extend(std::mem::take(&mut self.removed).into_iter().map(|route| Input::RouteRemoved(route.into())));
    }
}

fn dump_routes(buffer: &mut [u8]) -> io::Result<BTreeSet<Route>> {
    let changes = dump(libc::RTM_GETROUTE, buffer)?;
    let hops = changes.into_iter().filter_map(|change| match change {
        Change::Route { hops, .. } => Some(hops),
        _ => None,
    });
    Ok(hops.flatten().map(|hop| Route::from(&hop)).collect())
}

/// Asks for all objects of a kind, again if other changes disturb the answer or the kernel is too busy to give it.
fn dump(kind: u16, buffer: &mut [u8]) -> io::Result<Vec<Change>> {
    for _ in 1..TRIES {
        match dump_once(kind, buffer) {
            Ok((changes, false)) => return Ok(changes),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            Ok(_) | Err(_) => {}
        }
    }
    dump_once(kind, buffer).map(|(changes, _)| changes)
}

/// Asks once, on a socket of its own, so that answers and news do not mix. Gives whether the answer was disturbed.
fn dump_once(kind: u16, buffer: &mut [u8]) -> io::Result<(Vec<Change>, bool)> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket::socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(5))?;
    let request = message::dump_request(kind, 1);
    socket::sendto(socket.as_raw_fd(), &request, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let (mut changes, mut disturbed) = (Vec::new(), false);
    loop {
        let length = match socket::recv(socket.as_raw_fd(), buffer, MsgFlags::empty()) {
            Err(Errno::EINTR) => continue,
            read => read?,
        };
        for change in message::parse(&buffer[..length]) {
            match change {
                Change::Done => return Ok((changes, disturbed)),
                Change::Refused(errno) if errno != 0 => return Err(io::Error::from_raw_os_error(errno)),
                Change::Interrupted => disturbed = true,
                change => changes.push(change),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, up: bool) -> Change {
        Change::Link { index, name: format!("eth{index}"), admin_up: true, carrier: up, mtu: 1500 }
    }

    fn hop(prefix: &str, metric: u32, interface: u32) -> UnicastRoute {
        UnicastRoute { prefix: prefix.parse().unwrap(), next_hop: None, interface: InterfaceId(interface), metric }
    }

    fn apply(known: &mut Known, change: Change) -> (Vec<Input>, bool) {
        let mut inputs = Vec::new();
        let doubtful = known.apply(change, &mut inputs);
        known.tell_routes(&mut inputs);
        (inputs, doubtful)
    }

    #[test]
    fn a_changed_carrier_is_news_and_makes_routes_doubtful() {
        let mut known = Known::default();
        assert_eq!(apply(&mut known, link(2, true)).0.len(), 1);
        let address = "10.0.0.1/24".parse().unwrap();
        assert_eq!(apply(&mut known, Change::Address { index: 2, address }).0.len(), 1);
        let (inputs, doubtful) = apply(&mut known, link(2, false));
        let state = InterfaceState { name: "eth2".into(), up: false, mtu: 1500, addresses: vec![address] };
        assert_eq!(inputs, [Input::Interface { interface: InterfaceId(2), state }]);
        assert!(doubtful);
    }

    #[test]
    fn an_address_that_is_known_is_no_news() {
        let mut known = Known::default();
        apply(&mut known, link(2, true));
        let address = Change::Address { index: 2, address: "10.0.0.1/24".parse().unwrap() };
        assert_eq!(apply(&mut known, address.clone()).0.len(), 1);
        assert_eq!(apply(&mut known, address).0, []);
        let (inputs, doubtful) =
            apply(&mut known, Change::AddressGone { index: 2, address: "10.0.0.1/24".parse().unwrap() });
        assert!(inputs.len() == 1 && doubtful);
    }

    #[test]
    fn a_replaced_route_takes_the_old_one_away_once_the_new_one_is_there() {
        let mut known = Known::default();
        let route = |hops, replaces| Change::Route { hops, replaces };
        apply(&mut known, route(vec![hop("10.0.0.0/8", 10, 2), hop("10.0.0.0/8", 10, 3)], false));
        apply(&mut known, route(vec![hop("10.0.0.0/8", 20, 4)], false));
        let (inputs, _) = apply(&mut known, route(vec![hop("10.0.0.0/8", 10, 3), hop("10.0.0.0/8", 10, 5)], true));
        assert_eq!(
            inputs,
            [Input::RouteAdded(hop("10.0.0.0/8", 10, 5)), Input::RouteRemoved(hop("10.0.0.0/8", 10, 2))]
        );
        assert_eq!(known.routes.len(), 3);
    }

    #[test]
    fn of_news_that_come_together_only_the_difference_is_told_and_never_a_gap() {
        let mut known = Known::default();
        let route =
            |metric, interface| Change::Route { hops: vec![hop("10.0.0.0/8", metric, interface)], replaces: false };
        let gone = |metric, interface| Change::RouteGone { hops: vec![hop("10.0.0.0/8", metric, interface)] };
        apply(&mut known, route(10, 2));
        let mut inputs = Vec::new();
        // Away and back; away for another; come and gone.
        for change in [gone(10, 2), route(10, 2), gone(10, 2), route(20, 3), route(30, 4), gone(30, 4), link(3, true)] {
            known.apply(change, &mut inputs);
        }
        known.tell_routes(&mut inputs);
        let [Input::Interface { .. }, Input::RouteAdded(added), Input::RouteRemoved(removed)] = &inputs[..] else {
            panic!("{inputs:?}")
        };
        assert_eq!((added, removed), (&hop("10.0.0.0/8", 20, 3), &hop("10.0.0.0/8", 10, 2)));
        known.tell_routes(&mut inputs);
        assert_eq!(inputs.len(), 3);
    }

    #[test]
    fn a_second_dump_gives_only_the_differences() {
        let mut known = Known::default();
        for index in [2, 3] {
            apply(&mut known, link(index, true));
        }
        apply(&mut known, Change::Route { hops: vec![hop("10.0.0.0/8", 0, 2)], replaces: false });
        let mut fresh = Known::default();
        for index in [3, 4] {
            apply(&mut fresh, link(index, true));
        }
        let mut inputs = Vec::new();
        known.take_links(fresh.links, &mut inputs);
        known.take_routes([Route::from(&hop("10.1.0.0/16", 0, 4))].into());
        known.tell_routes(&mut inputs);
        assert!(matches!(
            &inputs[..],
            [
                Input::InterfaceGone { interface: InterfaceId(2) },
                Input::Interface { interface: InterfaceId(4), .. },
                Input::RouteAdded(_),
                Input::RouteRemoved(_),
            ]
        ));
    }
}
