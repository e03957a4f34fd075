//! Drops on the way out of an interface: nftables `netdev` tables with an egress chain, spoken over nfnetlink.
//!
//! Nobody is told of such a drop: the carrier stays, and the sender's socket sees no error.

use nix::errno::Errno;

use super::netlink::{CREATE, DUMP, Netlink, NetlinkError, attribute, nest};
use crate::topology::steps::Message;

mod messages;

pub use messages::is_kind;

/// NETLINK_NETFILTER (linux/netlink.h).
const PROTOCOL: isize = 12;
/// NFPROTO_NETDEV, NFT's subsystem number and message types (linux/netfilter/nfnetlink.h, nf_tables.h).
const FAMILY: u8 = 5;
const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEWTABLE: u16 = 0;
const DELTABLE: u16 = 2;
const NEWCHAIN: u16 = 3;
const NEWRULE: u16 = 6;
const GETRULE: u16 = 7;
const NLM_F_APPEND: u16 = 0x800;
const EGRESS: u32 = 1;
const DROP: u32 = 0;
const ACCEPT: u32 = 1;

const CHAIN: &str = "egress";
/// Shares of packets are counted in these.
const SHARES: u32 = 1 << 31;

/// Which packets are dropped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Drops {
    /// Every one: a cut that nobody is told of.
    All,
    /// A share of them at random, 0 to 1.
    Random(f64),
    /// The next messages of a kind.
    Messages {
        /// Tells such drops at one interface apart: several of a kind come one after the other.
        id: usize,
        /// The kind.
        message: Message,
        /// How many.
        count: u32,
    },
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Accept,
    Drop,
}

impl Drops {
    /// Each kind has a table of its own, so that a cut and its end leave a link's loss alone.
    fn table(self, interface: &str) -> String {
        match self {
            Drops::All => format!("testbed-cut-{interface}"),
            Drops::Random(_) => format!("testbed-loss-{interface}"),
            Drops::Messages { id, .. } => format!("testbed-drop-{id}-{interface}"),
        }
    }
}

/// Opens a socket for the namespace of the calling thread.
///
/// # Errors
/// Those of `socket(2)`.
pub fn open() -> std::io::Result<Netlink> {
    Netlink::open(PROTOCOL)
}

/// Starts to drop what leaves by an interface; again if it does already.
///
/// # Errors
/// [`NetlinkError`]: `EOPNOTSUPP` or `ENOENT` on a kernel without nftables' egress hook.
pub fn start(netlink: &mut Netlink, interface: &str, drops: Drops) -> Result<(), NetlinkError> {
    let table = drops.table(interface);
    let what = format!("drop what leaves by {interface} (nftables)");
    let name = text(&table);
    batch(netlink, &what, |netlink| {
        message(netlink, NEWTABLE, CREATE, &what, |m| attribute(m, 1, &name))?;
        message(netlink, NEWCHAIN, CREATE, &what, |m| {
            attribute(m, 1, &name);
            attribute(m, 3, &text(CHAIN));
            nest(m, 4, |hook| {
                attribute(hook, 1, &EGRESS.to_be_bytes());
                attribute(hook, 2, &0u32.to_be_bytes());
                attribute(hook, 3, &text(interface));
            });
            attribute(m, 5, &if drops == Drops::All { DROP } else { ACCEPT }.to_be_bytes());
            attribute(m, 7, &text("filter"));
        })?;
        let rules = match drops {
            Drops::All => Vec::new(),
            Drops::Random(share) => vec![random_drop(share)],
            Drops::Messages { message, count, .. } => messages::rules(message, count),
        };
        for rule in rules {
            message(netlink, NEWRULE, CREATE | NLM_F_APPEND, &what, |m| {
                attribute(m, 1, &name);
                attribute(m, 2, &text(CHAIN));
                nest(m, 4, |list| list.extend(rule));
            })?;
        }
        Ok(())
    })
}

/// How many messages were dropped so far.
///
/// # Errors
/// [`NetlinkError`] of the kernel, if there are no such drops for one.
pub fn dropped(netlink: &mut Netlink, interface: &str, drops: Drops) -> Result<u64, NetlinkError> {
    messages::dropped(netlink, &drops.table(interface), &format!("count the drops at {interface} (nftables)"))
}

/// Ends the drops; nothing happens if there are none.
///
/// # Errors
/// [`NetlinkError`] of the kernel.
pub fn stop(netlink: &mut Netlink, interface: &str, drops: Drops) -> Result<(), NetlinkError> {
    let what = format!("end the drops at {interface} (nftables)");
    let name = text(&drops.table(interface));
    let result = batch(netlink, &what, |netlink| message(netlink, DELTABLE, 0, &what, |m| attribute(m, 1, &name)));
    match result {
        Err(error) if error.errno() == Some(Errno::ENOENT) => Ok(()),
        other => other,
    }
}

/// `numgen random mod SHARES < share drop`.
fn random_drop(share: f64) -> Vec<u8> {
    const REGISTER: u32 = 1;
    let bound = (share.clamp(0.0, 1.0) * f64::from(SHARES)).round() as u32;
    let mut list = Vec::new();
    expression(&mut list, "numgen", |data| {
        attribute(data, 1, &REGISTER.to_be_bytes());
        attribute(data, 2, &SHARES.to_be_bytes());
        attribute(data, 3, &1u32.to_be_bytes());
    });
    messages::below(&mut list, bound);
    verdict(&mut list, Verdict::Drop);
    list
}

/// Compares the register with a value: 0 equal, 1 not equal, 2 less.
fn compare(list: &mut Vec<u8>, operation: u32, value: &[u8]) {
    expression(list, "cmp", |data| {
        attribute(data, 1, &1u32.to_be_bytes());
        attribute(data, 2, &operation.to_be_bytes());
        nest(data, 3, |inner| attribute(inner, 1, value));
    });
}

fn verdict(list: &mut Vec<u8>, verdict: Verdict) {
    const VERDICT_REGISTER: u32 = 0;
    let code = if verdict == Verdict::Drop { DROP } else { ACCEPT };
    expression(list, "immediate", |data| {
        attribute(data, 1, &VERDICT_REGISTER.to_be_bytes());
        nest(data, 2, |value| nest(value, 2, |inner| attribute(inner, 1, &code.to_be_bytes())));
    });
}

fn expression(list: &mut Vec<u8>, name: &str, data: impl FnOnce(&mut Vec<u8>)) {
    nest(list, 1, |element| {
        attribute(element, 1, &text(name));
        nest(element, 2, data);
    });
}

fn text(name: &str) -> Vec<u8> {
    [name.as_bytes(), b"\0"].concat()
}

/// A transaction.
fn batch(
    netlink: &mut Netlink,
    what: &str,
    write: impl FnOnce(&mut Netlink) -> Result<(), NetlinkError>,
) -> Result<(), NetlinkError> {
    let [high, low] = SUBSYSTEM.to_be_bytes();
    let bound = |netlink: &mut Netlink, kind| netlink.request_raw(kind, 0, what, |m| m.extend([0, 0, high, low]));
    bound(netlink, BATCH_BEGIN)?;
    write(netlink)?;
    netlink.acknowledge();
    bound(netlink, BATCH_END)?;
    netlink.flush_acknowledged()
}

fn message(
    netlink: &mut Netlink,
    kind: u16,
    flags: u16,
    what: &str,
    write: impl FnOnce(&mut Vec<u8>),
) -> Result<(), NetlinkError> {
    netlink.request_raw(SUBSYSTEM << 8 | kind, flags, what, |m| {
        m.extend([FAMILY, 0, 0, 0]);
        write(m);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_drop_is_four_expressions() {
        let list = random_drop(0.25);
        let names: Vec<_> = super::super::netlink::attributes(&list)
            .map(|(_, element)| super::super::netlink::attributes(element).next().unwrap().1.to_vec())
            .collect();
        assert_eq!(names, [b"numgen\0".as_slice(), b"byteorder\0", b"cmp\0", b"immediate\0"]);
        let quarter = (1u32 << 29).to_be_bytes();
        assert!(list.windows(4).any(|window| window == quarter));
    }
}
