//! The kernel's multicast forwarding, version 4: one raw IGMP socket that is the multicast routing daemon's
//! (`MRT_INIT`), its virtual interfaces, its forwarding entries and its upcalls.
//!
//! Closing the socket takes all virtual interfaces and entries away with it.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, BorrowedFd};

use super::raw::Receiver;
use super::sys::{self, EntryControl, MAXVIFS, VIFF_REGISTER, VIFF_USE_IFINDEX, VifControl, mrt};
use crate::forwarding::{EntryKey, ForwardingEntry};
use crate::router::InterfaceId;
use crate::wire::igmp;

const NOCACHE: u8 = 1;
const WRONGVIF: u8 = 2;
const WHOLEPKT: u8 = 3;

/// Octets of `struct igmpmsg`, which the whole packet follows.
const UPCALL: usize = 20;

/// A threshold that lets nothing through.
const NEVER: u8 = 255;

/// Why the multicast routing socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No right to it.
    #[error(
        "no right to open the multicast routing socket ({0}): run as root, or in a user and network namespace of your own"
    )]
    Permission(io::Error),
    /// Another daemon has it.
    #[error("another multicast routing daemon runs in this network namespace: stop it first")]
    InUse,
    /// The kernel was built without it.
    #[error("this kernel has no IPv4 multicast routing (CONFIG_IP_MROUTE)")]
    NoKernelSupport,
    /// The kernel was built without what PIM needs.
    #[error("this kernel has no support for PIM (CONFIG_IP_PIMSM_V2), which multicast: pim-dm and pim-sm need")]
    NoPim,
    /// Anything else.
    #[error("the multicast routing socket cannot be opened: {0}")]
    Other(io::Error),
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> OpenError {
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => OpenError::Permission(error),
            Some(libc::EADDRINUSE) => OpenError::InUse,
            Some(libc::ENOPROTOOPT | libc::EOPNOTSUPP) => OpenError::NoKernelSupport,
            _ => OpenError::Other(error),
        }
    }
}

/// Why the kernel's table does not hold what was asked.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// All are taken.
    #[error("all {MAXVIFS} multicast interfaces that Linux has are taken")]
    Full,
    /// The entry's incoming interface is no multicast interface.
    #[error("interface #{} is no multicast interface", .0.0)]
    NoVif(InterfaceId),
    /// Not an IPv4 entry.
    #[error("({}, {}) is no IPv4 entry", .0.source, .0.group)]
    Family(EntryKey),
    /// The kernel refused.
    #[error("the kernel refused: {0}")]
    Kernel(#[from] io::Error),
}

/// What the socket gave.
#[derive(Debug, PartialEq)]
pub enum Received<'a> {
    /// A packet without an entry came in.
    NoCache { interface: InterfaceId, key: EntryKey },
    /// A packet came in by another interface than its entry's.
    WrongInterface { interface: InterfaceId, key: EntryKey },
    /// A packet left by the register interface; it, from its IP header on.
    WholePacket { packet: &'a [u8] },
    /// An IGMP packet with its IP header.
    Packet { interface: InterfaceId, bytes: &'a [u8] },
    /// Nothing that means anything: an upcall of another kind, of a forgotten interface, or a packet without its interface.
    Other,
}

/// The multicast routing socket.
#[derive(Debug)]
pub struct Mroute {
    socket: Receiver,
    vifs: [Option<InterfaceId>; MAXVIFS],
}

impl Mroute {
    /// Becomes the multicast routing daemon of this network namespace. For PIM, the kernel tells of a packet that comes in by *any* wrong
    /// interface; else only if it is an outgoing one of the packet's entry.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(is_pim: bool) -> Result<Mroute, OpenError> {
        let socket = Receiver::open(igmp::PROTOCOL)?;
        sys::set_option(&socket, mrt::INIT, &1)?;
        if is_pim {
            // Once, and to what is meant: the kernel passes over a second word on it.
            sys::set_option(&socket, mrt::PIM, &1).map_err(|error| match error.raw_os_error() {
                Some(libc::ENOPROTOOPT) => OpenError::NoPim,
                _ => error.into(),
            })?;
        } else {
            sys::set_option(&socket, mrt::ASSERT, &1)?;
        }
        Ok(Mroute { socket, vifs: [None; MAXVIFS] })
    }

    /// Messages that were lost because the receive buffer was full.
    pub fn lost(&self) -> u32 {
        self.socket.lost()
    }

    /// Takes the next message; `None` if there is none now.
    ///
    /// # Errors
    /// What the kernel says to the socket.
    pub fn receive(&mut self) -> io::Result<Option<Received<'_>>> {
        let Some(packet) = self.socket.receive()? else { return Ok(None) };
        Ok(Some(match (upcall(packet.bytes), packet.interface) {
            (Some(_), _) if packet.is_cut => Received::Other,
            (Some(upcall), _) => named(&self.vifs, &upcall, &packet.bytes[UPCALL..]),
            (None, Some(interface)) if !packet.is_cut => Received::Packet { interface, bytes: packet.bytes },
            (None, _) => Received::Other,
        }))
    }

    /// Makes an interface a multicast interface; harmless if it is one.
    ///
    /// # Errors
    /// [`TableError::Full`], or what the kernel says.
    pub fn add_vif(&mut self, interface: InterfaceId) -> Result<(), TableError> {
        if self.vif(interface).is_some() {
            return Ok(());
        }
        let free = self.vifs.iter().position(Option::is_none).ok_or(TableError::Full)?;
        let flags = if interface == InterfaceId::REGISTER { VIFF_REGISTER } else { VIFF_USE_IFINDEX };
        let (vif, ifindex) = (free as u16, interface.0 as i32);
        let control = VifControl { vif, flags, threshold: 1, ifindex, ..VifControl::default() };
        sys::set_option(&self.socket, mrt::ADD_VIF, &control)?;
        self.vifs[free] = Some(interface);
        Ok(())
    }

    /// Undoes [`Mroute::add_vif`]; harmless if the interface is gone.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn remove_vif(&mut self, interface: InterfaceId) -> Result<(), TableError> {
        let Some(vif) = self.vif(interface) else { return Ok(()) };
        self.vifs[usize::from(vif)] = None;
        let control = VifControl { vif, ..VifControl::default() };
        match sys::set_option(&self.socket, mrt::DEL_VIF, &control) {
            // The kernel takes it away together with the interface.
            Err(error) if error.raw_os_error() == Some(libc::EADDRNOTAVAIL) => Ok(()),
            result => Ok(result?),
        }
    }

    /// Forgets an interface that the kernel has removed, and its virtual interface with it.
    pub fn forget(&mut self, interface: InterfaceId) {
        if let Some(vif) = self.vif(interface) {
            self.vifs[usize::from(vif)] = None;
        }
    }

    fn vif(&self, interface: InterfaceId) -> Option<u16> {
        self.vifs.iter().position(|vif| *vif == Some(interface)).map(|vif| vif as u16)
    }

    /// Installs or replaces an entry. Outgoing interfaces that are no multicast interfaces (any more) are left out.
    ///
    /// # Errors
    /// [`TableError`].
    pub fn set_entry(&self, entry: &ForwardingEntry) -> Result<(), TableError> {
        let mut control = named_entry(entry.key)?;
        control.parent = self.vif(entry.incoming).ok_or(TableError::NoVif(entry.incoming))?;
        for (interface, threshold) in &entry.outgoing {
            if let Some(vif) = self.vif(*interface) {
                // The kernel takes 0 and 255 for 'never'.
                control.ttls[usize::from(vif)] = (*threshold).clamp(1, NEVER - 1);
            }
        }
        Ok(sys::set_option(&self.socket, mrt::ADD_MFC, &control)?)
    }

    /// Removes an entry; harmless if it is gone.
    ///
    /// # Errors
    /// [`TableError`].
    pub fn delete_entry(&self, key: EntryKey) -> Result<(), TableError> {
        match sys::set_option(&self.socket, mrt::DEL_MFC, &named_entry(key)?) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            result => Ok(result?),
        }
    }

    /// An entry's counters: packets, octets, packets by another interface.
    ///
    /// # Errors
    /// [`TableError`]; the kernel's `EADDRNOTAVAIL` if there is no such entry.
    pub fn counters(&self, key: EntryKey) -> Result<(u64, u64, u64), TableError> {
        let (source, group) = ipv4(key)?;
        let counters = sys::entry_counters(&self.socket, source, group)?;
        Ok((counters.packets, counters.octets, counters.wrong_interface))
    }
}

impl AsFd for Mroute {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What an upcall means, given which interface each virtual one is, and what follows it.
fn named<'a>(vifs: &[Option<InterfaceId>], upcall: &Upcall, packet: &'a [u8]) -> Received<'a> {
    let Some(interface) = vifs.get(upcall.vif).copied().flatten() else { return Received::Other };
    match upcall.kind {
        NOCACHE => Received::NoCache { interface, key: upcall.key },
        WRONGVIF => Received::WrongInterface { interface, key: upcall.key },
        WHOLEPKT if interface == InterfaceId::REGISTER => Received::WholePacket { packet },
        _ => Received::Other,
    }
}

fn ipv4(key: EntryKey) -> Result<(Ipv4Addr, Ipv4Addr), TableError> {
    match (key.source, key.group) {
        (IpAddr::V4(source), IpAddr::V4(group)) => Ok((source, group)),
        _ => Err(TableError::Family(key)),
    }
}

fn named_entry(key: EntryKey) -> Result<EntryControl, TableError> {
    let (source, group) = ipv4(key)?;
    Ok(EntryControl {
        origin: source.octets(),
        group: group.octets(),
        ttls: [NEVER; MAXVIFS],
        ..EntryControl::default()
    })
}

#[derive(Debug, PartialEq)]
struct Upcall {
    kind: u8,
    vif: usize,
    key: EntryKey,
}

/// `struct igmpmsg`: in the place of an IP header, with 0 where the protocol belongs.
fn upcall(bytes: &[u8]) -> Option<Upcall> {
    let header: &[u8; 20] = bytes.first_chunk()?;
    let address = |at: usize| IpAddr::from([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    (header[9] == 0).then(|| Upcall {
        kind: header[8],
        vif: usize::from(header[10]) | usize::from(header[11]) << 8,
        key: EntryKey { source: address(12), group: address(16) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upcall_is_known_by_its_protocol_of_zero() {
        let mut bytes = [0; 28];
        bytes[8..12].copy_from_slice(&[NOCACHE, 0, 3, 0]);
        bytes[12..20].copy_from_slice(&[10, 0, 0, 9, 239, 1, 1, 1]);
        let key = EntryKey { source: [10, 0, 0, 9].into(), group: [239, 1, 1, 1].into() };
        assert_eq!(upcall(&bytes), Some(Upcall { kind: NOCACHE, vif: 3, key }));
        bytes[9] = 2;
        assert_eq!(upcall(&bytes), None);
        assert_eq!(upcall(&bytes[..19]), None);
    }

    #[test]
    fn a_whole_packet_follows_its_upcall() {
        let key = EntryKey { source: [10, 0, 0, 9].into(), group: [239, 1, 1, 1].into() };
        let vifs = [Some(InterfaceId(7)), Some(InterfaceId::REGISTER)];
        let whole = |vif| named(&vifs, &Upcall { kind: WHOLEPKT, vif, key }, &[0x45, 0]);
        assert_eq!(whole(1), Received::WholePacket { packet: &[0x45, 0] });
        assert_eq!((whole(0), whole(2)), (Received::Other, Received::Other));
    }

    #[test]
    fn entries_of_another_family_are_refused_by_name() {
        let key = EntryKey { source: "fd00::1".parse().unwrap(), group: "ff3e::1".parse().unwrap() };
        assert_eq!(named_entry(key).unwrap_err().to_string(), "(fd00::1, ff3e::1) is no IPv4 entry");
    }
}
