//! Changes to a running lab's fabric: ends taken down and brought up, silent cuts. Only for processes inside the lab.

use std::collections::BTreeMap;
use std::io;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};

use super::build::add_address;
use super::namespace::Namespace;
use super::netlink::{CREATE, Netlink, NetlinkError, REPLACE};
use super::{far_side, nft};
use crate::topology::plan::{Attachment, Plan};

/// Why a change failed.
#[derive(Debug, thiserror::Error)]
pub enum OperateError {
    /// The kernel refused.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// A namespace could not be entered, or a socket opened.
    #[error("cannot reach the network namespace of {name}: {error}")]
    Namespace {
        /// The namespace's name.
        name: String,
        /// The system's word.
        error: io::Error,
    },
    /// The attachment is none of its wire's ends.
    #[error("{0} is attached to nothing")]
    Unattached(String),
}

/// Which frames a silent cut drops, seen from the attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// Those that the node sends into the wire.
    Out,
    /// Those that the wire brings to the node.
    In,
}

/// Sockets into the namespaces of a lab, opened when they are first needed.
#[derive(Debug)]
pub struct Operator<'a> {
    plan: &'a Plan,
    links: BTreeMap<String, Netlink>,
    filters: BTreeMap<String, Netlink>,
}

impl<'a> Operator<'a> {
    /// For a lab's plan.
    pub fn new(plan: &'a Plan) -> Operator<'a> {
        Operator { plan, links: BTreeMap::new(), filters: BTreeMap::new() }
    }

    /// Opens beforehand all the sockets that changes at an attachment need, so that the change itself takes one system call.
    ///
    /// # Errors
    /// [`OperateError`].
    pub fn prepare(&mut self, at: Attachment) -> Result<(), OperateError> {
        for (namespace, _) in [self.near(at), self.far(at)?] {
            socket(&mut self.links, &namespace, Netlink::route)?;
            socket(&mut self.filters, &namespace, nft::open)?;
        }
        Ok(())
    }

    /// Takes the node's end down, or brings it up and gives it back the IPv6 addresses that it lost. Routes are the route agent's matter.
    ///
    /// # Errors
    /// [`OperateError`].
    pub fn set_up(&mut self, at: Attachment, up: bool) -> Result<(), OperateError> {
        let (namespace, name) = self.near(at);
        self.switch(&namespace, &name, up)?;
        if up {
            self.restore_addresses(at)?;
        }
        Ok(())
    }

    /// Takes the far side down, so that the node loses its carrier, or brings it up: the other end of a link, the bridge's port of a LAN.
    ///
    /// # Errors
    /// [`OperateError`].
    pub fn set_carrier(&mut self, at: Attachment, up: bool) -> Result<(), OperateError> {
        let (namespace, name) = self.far(at)?;
        self.switch(&namespace, &name, up)?;
        // The far side of a link is an interface of a node, with addresses that it lost.
        let wire = self.plan.wire(self.plan.interface(at).wire);
        if up && wire.kind == crate::topology::plan::WireKind::Link {
            for &other in wire.ends.iter().filter(|&&other| other != at) {
                self.restore_addresses(other)?;
            }
        }
        Ok(())
    }

    /// Begins or ends a silent cut in one direction.
    ///
    /// # Errors
    /// [`OperateError`].
    pub fn cut(&mut self, at: Attachment, direction: Direction, cut: bool) -> Result<(), OperateError> {
        let (namespace, interface) = match direction {
            Direction::Out => self.near(at),
            Direction::In => self.far(at)?,
        };
        let netlink = socket(&mut self.filters, &namespace, nft::open)?;
        if cut {
            nft::start(netlink, &interface, nft::Drops::All)?;
        } else {
            nft::stop(netlink, &interface, nft::Drops::All)?;
        }
        Ok(())
    }

    /// Begins to drop the next messages of a kind that the node sends into the wire.
    ///
    /// # Errors
    /// [`OperateError`].
    pub fn drop_next(&mut self, at: Attachment, drops: nft::Drops) -> Result<(), OperateError> {
        let (namespace, interface) = self.near(at);
        let netlink = socket(&mut self.filters, &namespace, nft::open)?;
        Ok(nft::start(netlink, &interface, drops)?)
    }

    /// How many it has dropped.
    ///
    /// # Errors
    /// [`OperateError`].
    pub fn dropped(&mut self, at: Attachment, drops: nft::Drops) -> Result<u64, OperateError> {
        let (namespace, interface) = self.near(at);
        let netlink = socket(&mut self.filters, &namespace, nft::open)?;
        Ok(nft::dropped(netlink, &interface, drops)?)
    }

    /// Ends it.
    ///
    /// # Errors
    /// [`OperateError`].
    pub fn drop_no_more(&mut self, at: Attachment, drops: nft::Drops) -> Result<(), OperateError> {
        let (namespace, interface) = self.near(at);
        let netlink = socket(&mut self.filters, &namespace, nft::open)?;
        Ok(nft::stop(netlink, &interface, drops)?)
    }

    fn near(&self, at: Attachment) -> (String, String) {
        (self.plan.node(at.node).name.clone(), self.plan.interface(at).name.clone())
    }

    fn far(&self, at: Attachment) -> Result<(String, String), OperateError> {
        far_side(self.plan, at).ok_or_else(|| OperateError::Unattached(self.plan.name_of(at)))
    }

    fn switch(&mut self, namespace: &str, interface: &str, up: bool) -> Result<(), OperateError> {
        let mut message = LinkMessage::default();
        message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
        message.header.change_mask = LinkFlags::Up;
        message.attributes = vec![LinkAttribute::IfName(interface.to_owned())];
        let way = if up { "bring up" } else { "take down" };
        let netlink = socket(&mut self.links, namespace, Netlink::route)?;
        let what = format!("{way} {interface} of {namespace}");
        netlink.request(&RouteNetlinkMessage::SetLink(message), 0, what)?;
        Ok(netlink.flush()?)
    }

    fn restore_addresses(&mut self, at: Attachment) -> Result<(), OperateError> {
        let interface = self.plan.interface(at);
        let netlink = socket(&mut self.links, &self.plan.node(at.node).name, Netlink::route)?;
        for &address in interface.addresses.iter().filter(|address| address.addr().is_ipv6()) {
            let what = format!("give {address} back to {}", self.plan.name_of(at));
            netlink.request(&add_address(interface.index, address), CREATE | REPLACE, what)?;
        }
        Ok(netlink.flush()?)
    }
}

fn socket<'s>(
    sockets: &'s mut BTreeMap<String, Netlink>,
    namespace: &str,
    open: fn() -> io::Result<Netlink>,
) -> Result<&'s mut Netlink, OperateError> {
    if !sockets.contains_key(namespace) {
        let opened = Namespace::named(namespace).and_then(|namespace| namespace.inside(open)).and_then(|socket| socket);
        let opened = opened.map_err(|error| OperateError::Namespace { name: namespace.to_owned(), error })?;
        sockets.insert(namespace.to_owned(), opened);
    }
    let missing = || OperateError::Unattached(namespace.to_owned());
    sockets.get_mut(namespace).ok_or_else(missing)
}
