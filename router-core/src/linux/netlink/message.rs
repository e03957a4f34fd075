//! rtnetlink messages as the monitor needs them: links, addresses and routes (rtnetlink(7)).
//!
//! Parsing never panics and takes no length on trust; a message of another kind, or one that is cut short, is passed over.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::router::{InterfaceId, UnicastRoute};

const HEADER: usize = 16;

/// What a message says.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A link is there, or has changed.
    Link {
        index: u32,
        name: String,
        /// `IFF_UP`: by the administrator's will.
        admin_up: bool,
        /// `IFF_LOWER_UP`: with a carrier.
        carrier: bool,
        mtu: u32,
    },
    /// A link is gone.
    LinkGone { index: u32 },
    /// An address is there (usable: past duplicate address detection).
    Address { index: u32, address: IpNet },
    /// An address is gone.
    AddressGone { index: u32, address: IpNet },
    /// A unicast route of the main table is there; one element a next hop.
    Route { hops: Vec<UnicastRoute>, replaces: bool },
    /// A unicast route of the main table is gone.
    RouteGone { hops: Vec<UnicastRoute> },
    /// A dump's end.
    Done,
    /// The kernel refused a request (a positive errno), or acknowledged it (0).
    Refused(i32),
    /// A dump was disturbed by a change: do it again.
    Interrupted,
}

/// Reads all messages of a buffer.
pub fn parse(mut buffer: &[u8]) -> Vec<Change> {
    let mut changes = Vec::new();
    while let Some((length, header)) = u32_at(buffer, 0).zip(buffer.get(..HEADER)) {
        let Some(body) = usize::try_from(length).ok().and_then(|length| buffer.get(HEADER..length)) else { break };
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        let flags = u16::from_ne_bytes([header[6], header[7]]);
        if i32::from(flags) & libc::NLM_F_DUMP_INTR != 0 {
            changes.push(Change::Interrupted);
        }
        changes.extend(message(kind, flags, body));
        buffer = buffer.get(align(HEADER + body.len())..).unwrap_or_default();
    }
    changes
}

/// A request for all objects of a kind (`RTM_GETLINK`, `RTM_GETADDR`, `RTM_GETROUTE`).
pub fn dump_request(kind: u16, sequence: u32) -> Vec<u8> {
    // The body is an `ifinfomsg`, `ifaddrmsg` or `rtmsg` of zeroes: all families; 16 octets hold the longest.
    let mut request = Vec::with_capacity(HEADER + 16);
    request.extend(((HEADER + 16) as u32).to_ne_bytes());
    request.extend(kind.to_ne_bytes());
    request.extend(((libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16).to_ne_bytes());
    request.extend(sequence.to_ne_bytes());
    request.extend([0; 4 + 16]);
    request
}

fn message(kind: u16, flags: u16, body: &[u8]) -> Option<Change> {
    match kind {
        libc::RTM_NEWLINK => link(body),
        libc::RTM_DELLINK => {
            // A bridge tells of a port that left it with the family of bridges: the link itself stays.
            (*body.first()? == libc::AF_UNSPEC as u8).then_some(Change::LinkGone { index: u32_at(body, 4)? })
        }
        libc::RTM_NEWADDR => {
            let (index, address, usable) = address(body)?;
            usable.then_some(Change::Address { index, address })
        }
        libc::RTM_DELADDR => address(body).map(|(index, address, _)| Change::AddressGone { index, address }),
        libc::RTM_NEWROUTE => {
            let replaces = i32::from(flags) & libc::NLM_F_REPLACE != 0;
            route(body).map(|hops| Change::Route { hops, replaces })
        }
        libc::RTM_DELROUTE => route(body).map(|hops| Change::RouteGone { hops }),
        _ if kind == libc::NLMSG_DONE as u16 => Some(Change::Done),
        _ if kind == libc::NLMSG_ERROR as u16 => {
            Some(Change::Refused(i32::from_ne_bytes(*body.first_chunk()?).saturating_neg()))
        }
        _ => None,
    }
}

fn link(body: &[u8]) -> Option<Change> {
    // struct ifinfomsg: family, padding, type (2), index (4), flags (4), change mask (4).
    if *body.first()? != libc::AF_UNSPEC as u8 {
        return None;
    }
    let index = u32_at(body, 4)?;
    let flags = u32_at(body, 8)?;
    let (mut name, mut mtu) = (None, 0);
    for (kind, value) in attributes(body.get(16..)?) {
        match kind {
            libc::IFLA_IFNAME => {
                let text = value.split(|&b| b == 0).next().unwrap_or_default();
                name = Some(String::from_utf8_lossy(text).into_owned());
            }
            libc::IFLA_MTU => mtu = u32_at(value, 0)?,
            _ => {}
        }
    }
    Some(Change::Link {
        index,
        name: name?,
        admin_up: flags & libc::IFF_UP as u32 != 0,
        carrier: flags & libc::IFF_LOWER_UP as u32 != 0,
        mtu,
    })
}

fn address(body: &[u8]) -> Option<(u32, IpNet, bool)> {
    // struct ifaddrmsg: family, prefix length, flags, scope, index (4).
    let (family, length) = (*body.first()?, *body.get(1)?);
    let mut flags = u32::from(*body.get(2)?);
    let index = u32_at(body, 4)?;
    let (mut local, mut other) = (None, None);
    for (kind, value) in attributes(body.get(8..)?) {
        match kind {
            libc::IFA_LOCAL => local = ip(family, value),
            libc::IFA_ADDRESS => other = ip(family, value),
            libc::IFA_FLAGS => flags = u32_at(value, 0)?,
            _ => {}
        }
    }
    // On a point-to-point interface IFA_ADDRESS is the peer's.
    let address = IpNet::new(local.or(other)?, length).ok()?;
    Some((index, address, flags & (libc::IFA_F_TENTATIVE | libc::IFA_F_DADFAILED) == 0))
}

fn route(body: &[u8]) -> Option<Vec<UnicastRoute>> {
    // struct rtmsg: family, destination length, source length, tos, table, protocol, scope, type, flags (4).
    let head = body.get(..12)?;
    let (family, length, kind) = (head[0], head[1], head[7]);
    let mut table = u32::from(head[4]);
    let flags = u32_at(head, 8)?;
    let cloned = flags & libc::RTM_F_CLONED != 0;
    if kind != libc::RTN_UNICAST || cloned {
        return None;
    }
    let (mut prefix, mut via, mut interface, mut metric) = (unspecified(family)?, None, None, 0);
    let mut multipath: &[u8] = &[];
    for (kind, value) in attributes(body.get(12..)?) {
        match kind {
            libc::RTA_DST => prefix = ip(family, value)?,
            libc::RTA_GATEWAY => via = ip(family, value),
            libc::RTA_VIA => via = via_address(value),
            libc::RTA_OIF => interface = u32_at(value, 0),
            libc::RTA_PRIORITY => metric = u32_at(value, 0)?,
            libc::RTA_TABLE => table = u32_at(value, 0)?,
            libc::RTA_MULTIPATH => multipath = value,
            _ => {}
        }
    }
    let prefix = IpNet::new(prefix, length).ok()?;
    if table != u32::from(libc::RT_TABLE_MAIN) || is_not_routed(prefix) {
        return None;
    }
    let hop = |next_hop, interface| UnicastRoute { prefix, next_hop, interface: InterfaceId(interface), metric };
    let mut hops = Vec::new();
    if let Some(interface) = interface
        && !is_dead(flags)
    {
        hops.push(hop(via, interface));
    }
    // struct rtnexthop: length (2), flags, hops, interface (4), then attributes.
    while let Some(header) = multipath.get(..8) {
        let whole = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let Some(inside) = multipath.get(8..whole) else { break };
        let gateway = attributes(inside).find_map(|(kind, value)| match kind {
            libc::RTA_GATEWAY => ip(family, value),
            libc::RTA_VIA => via_address(value),
            _ => None,
        });
        if !is_dead(u32::from(header[2])) {
            hops.push(hop(gateway, u32_at(header, 4)?));
        }
        multipath = multipath.get(align(whole)..).unwrap_or_default();
    }
    Some(hops)
}

/// Whether the kernel keeps the next hop but does not use it (`linux/rtnetlink.h`).
fn is_dead(flags: u32) -> bool {
    const RTNH_F_DEAD: u32 = 1;
    const RTNH_F_LINKDOWN: u32 = 16;
    flags & (RTNH_F_DEAD | RTNH_F_LINKDOWN) != 0
}

/// IPv6 keeps link-local and multicast prefixes in the main table.
fn is_not_routed(prefix: IpNet) -> bool {
    match prefix {
        IpNet::V4(_) => false,
        IpNet::V6(prefix) => {
            prefix.addr().is_multicast() || (prefix.addr().is_unicast_link_local() && prefix.prefix_len() >= 10)
        }
    }
}

fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let header = rest.get(..4)?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & 0x3fff;
        let value = rest.get(4..length)?;
        rest = rest.get(align(length)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn via_address(value: &[u8]) -> Option<IpAddr> {
    let family = u16::from_ne_bytes(*value.first_chunk()?);
    ip(u8::try_from(family).ok()?, value.get(2..)?)
}

fn ip(family: u8, value: &[u8]) -> Option<IpAddr> {
    match i32::from(family) {
        libc::AF_INET => Some(Ipv4Addr::from(*value.first_chunk::<4>()?).into()),
        libc::AF_INET6 => Some(Ipv6Addr::from(*value.first_chunk::<16>()?).into()),
        _ => None,
    }
}

fn unspecified(family: u8) -> Option<IpAddr> {
    match i32::from(family) {
        libc::AF_INET => Some(Ipv4Addr::UNSPECIFIED.into()),
        libc::AF_INET6 => Some(Ipv6Addr::UNSPECIFIED.into()),
        _ => None,
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn align(length: usize) -> usize {
    length.saturating_add(3) & !3
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = ((4 + value.len()) as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(align(bytes.len()), 0);
        bytes
    }

    fn message(kind: u16, flags: u16, body: &[&[u8]]) -> Vec<u8> {
        let body = body.concat();
        let mut bytes = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(body);
        bytes.resize(align(bytes.len()), 0);
        bytes
    }

    fn link(flags: i32) -> Vec<u8> {
        let mut info = vec![0, 0, 1, 0, 7, 0, 0, 0];
        info.extend((flags as u32).to_ne_bytes());
        info.extend([0; 4]);
        message(
            libc::RTM_NEWLINK,
            0,
            &[&info, &attribute(libc::IFLA_IFNAME, b"eth0\0"), &attribute(libc::IFLA_MTU, &1500u32.to_ne_bytes())],
        )
    }

    #[test]
    fn a_link_is_up_by_will_and_by_carrier() {
        let change = |admin_up, carrier| Change::Link { index: 7, name: "eth0".into(), admin_up, carrier, mtu: 1500 };
        assert_eq!(parse(&link(libc::IFF_UP | libc::IFF_LOWER_UP)), [change(true, true)]);
        assert_eq!(parse(&link(libc::IFF_UP)), [change(true, false)]);
        assert_eq!(parse(&[link(0), link(libc::IFF_UP)].concat()), [change(false, false), change(true, false)]);
    }

    #[test]
    fn an_address_is_the_interfaces_own_and_past_duplicate_detection() {
        let head = [libc::AF_INET as u8, 31, 0, 0, 7, 0, 0, 0];
        let both = [attribute(libc::IFA_ADDRESS, &[10, 0, 0, 0]), attribute(libc::IFA_LOCAL, &[10, 0, 0, 1])].concat();
        let address = "10.0.0.1/31".parse().unwrap();
        assert_eq!(parse(&message(libc::RTM_NEWADDR, 0, &[&head, &both])), [Change::Address { index: 7, address }]);
        assert_eq!(parse(&message(libc::RTM_DELADDR, 0, &[&head, &both])), [Change::AddressGone { index: 7, address }]);
        let tentative = attribute(libc::IFA_FLAGS, &libc::IFA_F_TENTATIVE.to_ne_bytes());
        assert_eq!(parse(&message(libc::RTM_NEWADDR, 0, &[&head, &both, &tentative])), []);
    }

    fn route_head(table: u8, kind: u8) -> [u8; 12] {
        [libc::AF_INET as u8, 24, 0, 0, table, 4, 0, kind, 0, 0, 0, 0]
    }

    #[test]
    fn routes_of_the_main_table_come_with_every_next_hop() {
        let hop = |interface: u32, flags: u8, gateway: [u8; 4]| {
            let mut bytes = vec![16, 0, flags, 0];
            bytes.extend(interface.to_ne_bytes());
            bytes.extend(attribute(libc::RTA_GATEWAY, &gateway));
            bytes
        };
        let hops = [hop(5, 0, [10, 0, 0, 1]), hop(6, 16, [10, 0, 1, 1]), hop(7, 0, [10, 0, 2, 1])].concat();
        let attributes = [
            attribute(libc::RTA_DST, &[10, 9, 0, 0]),
            attribute(libc::RTA_PRIORITY, &20u32.to_ne_bytes()),
            attribute(libc::RTA_MULTIPATH, &hops),
        ]
        .concat();
        let route = |next_hop: [u8; 4], interface| UnicastRoute {
            prefix: "10.9.0.0/24".parse().unwrap(),
            next_hop: Some(next_hop.into()),
            interface: InterfaceId(interface),
            metric: 20,
        };
        let main = libc::RT_TABLE_MAIN;
        let bytes = message(
            libc::RTM_NEWROUTE,
            libc::NLM_F_REPLACE as u16,
            &[&route_head(main, libc::RTN_UNICAST), &attributes],
        );
        let hops = vec![route([10, 0, 0, 1], 5), route([10, 0, 2, 1], 7)];
        assert_eq!(parse(&bytes), [Change::Route { hops, replaces: true }], "a hop whose link is down is not used");
        for (table, kind) in [(libc::RT_TABLE_LOCAL, libc::RTN_UNICAST), (main, libc::RTN_BROADCAST)] {
            assert_eq!(parse(&message(libc::RTM_NEWROUTE, 0, &[&route_head(table, kind), &attributes])), []);
        }
    }

    #[test]
    fn errors_are_positive_and_a_disturbed_dump_says_so() {
        let error = message(libc::NLMSG_ERROR as u16, 0, &[&(-libc::EPERM).to_ne_bytes(), &[0; 16]]);
        assert_eq!(parse(&error), [Change::Refused(libc::EPERM)]);
        let done = message(libc::NLMSG_DONE as u16, libc::NLM_F_DUMP_INTR as u16, &[&[0; 4]]);
        assert_eq!(parse(&done), [Change::Interrupted, Change::Done]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            parse(&bytes);
        }

        #[test]
        fn no_body_makes_it_panic(kind in 16u16..28, body in proptest::collection::vec(any::<u8>(), 0..120)) {
            parse(&message(kind, 0, &[&body]));
        }

        #[test]
        fn a_message_cut_short_is_passed_over(cut in 0usize..60) {
            let bytes = link(0);
            let cut = cut.min(bytes.len() - 1);
            prop_assert_eq!(parse(&bytes[..cut]), vec![]);
        }
    }
}
