//! Waiting until the kernel has really taken a lab's namespaces apart.
//!
//! A network namespace that nobody holds any more is put on a list, and a worker takes the list apart, batch by batch, under the one lock for all network
//! configuration. A namespace that is given up later is taken apart no earlier: so a sentinel, made and given up now, tells by the end of its
//! veth pair that its batch has come. The first may be in one batch with the last of the lab; once the second is gone, that batch is done.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkInfo, LinkMessage};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::namespace::Namespace;
use super::netlink::{CREATE, EXCLUSIVE, Netlink, for_each_message};

const RTNLGRP_LINK: u32 = 1;
const RTM_DELLINK: u16 = 17;
const SENTINELS: u32 = 2;
const FIRST_INDEX: u32 = 2;

/// Waits until every network namespace that was given up before is taken apart, at most for a time. The calling thread is left in a new namespace.
///
/// # Errors
/// If the sentinels cannot be made, and `TimedOut`.
pub fn await_released(limit: Duration) -> io::Result<()> {
    let deadline = Instant::now() + limit;
    let home = Namespace::create_and_enter()?;
    let mut netlink = Netlink::route()?;
    let mut news = Netlink::route()?;
    // An address of its own first: the kernel's news are not for the address 0.
    news.socket().bind_auto()?;
    news.socket().add_membership(RTNLGRP_LINK)?;
    for index in FIRST_INDEX..FIRST_INDEX + SENTINELS {
        let sentinel = Namespace::create_and_enter()?;
        home.enter()?;
        let mut far = LinkMessage::default();
        far.attributes =
            vec![LinkAttribute::IfName("far".to_owned()), LinkAttribute::NetNsFd(sentinel.as_fd().as_raw_fd())];
        let mut near = LinkMessage::default();
        near.header.index = index;
        near.attributes = vec![
            LinkAttribute::IfName(format!("near{index}")),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Veth),
                LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(far))),
            ]),
        ];
        let made = netlink.request(&RouteNetlinkMessage::NewLink(near), CREATE | EXCLUSIVE, "make a sentinel");
        made.and_then(|()| netlink.flush()).map_err(io::Error::other)?;
        drop(sentinel);
        await_end_of(&mut news, index, deadline)?;
    }
    Ok(())
}

fn await_end_of(news: &mut Netlink, index: u32, deadline: Instant) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(64 * 1024);
    loop {
        let rest = deadline.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the kernel still takes network namespaces apart"));
        }
        let mut polled = [PollFd::new(news.as_fd(), PollFlags::POLLIN)];
        match poll(&mut polled, PollTimeout::try_from(rest).unwrap_or(PollTimeout::MAX)) {
            Ok(0) | Err(Errno::EINTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        buffer.clear();
        match news.socket().recv(&mut buffer, 0) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        }
        let mut gone = false;
        for_each_message(&buffer, |kind, body| {
            let of = body.get(4..8).and_then(|octets| octets.first_chunk()).map(|octets| u32::from_ne_bytes(*octets));
            gone |= kind == RTM_DELLINK && of == Some(index);
        });
        if gone {
            return Ok(());
        }
    }
}
