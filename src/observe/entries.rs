//! The kernel's multicast forwarding entries of a router, by a netlink dump: what forwards, whatever its daemon says.

use std::io;
use std::net::IpAddr;
use std::path::Path;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::network::Entry;
use crate::sys::netns;
use crate::topology::plan::Node;

/// `RTNL_FAMILY_IPMR` and `RTNL_FAMILY_IP6MR`: the families under which the kernel lists forwarding entries.
const FAMILIES: [u8; 2] = [128, 129];

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const NLM_F_REQUEST_DUMP: u16 = 0x301;
const NLM_F_DUMP_INTR: u16 = 0x10;
const RTA_DST: u16 = 1;
const RTA_SRC: u16 = 2;
const RTA_IIF: u16 = 3;
const RTA_MULTIPATH: u16 = 9;
const RTA_MFC_STATS: u16 = 17;
const MESSAGE_HEADER: usize = 16;
const ROUTE_HEADER: usize = 12;
const NEXT_HOP: usize = 8;
/// A dump that the table's changes interrupt is asked for again, so often.
const ATTEMPTS: usize = 5;

/// Why entries could not be read.
#[derive(Debug, thiserror::Error)]
pub enum EntriesError {
    /// The namespace or the socket.
    #[error("netlink: {0}")]
    Io(#[from] io::Error),
    /// The kernel refused.
    #[error("netlink: the kernel answered {0}")]
    Refused(io::Error),
    /// The kernel's answer is not as it should be.
    #[error("netlink: {0} does not fit its message")]
    Malformed(&'static str),
}

/// A forwarding entry with the kernel's interface indexes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelEntry {
    /// Source; unspecified for (*,G).
    pub source: IpAddr,
    /// Group; unspecified for (*,*).
    pub group: IpAddr,
    /// Incoming interface; none while a packet waits for its entry.
    pub incoming: Option<u32>,
    /// Outgoing interfaces with their TTL thresholds (IPv6 has none: 0).
    pub outgoing: Vec<(u32, u8)>,
    /// Packets forwarded.
    pub packets: u64,
    /// Packets that came by a wrong interface.
    pub wrong_interface: u64,
}

/// Reads the entries of one namespace.
pub struct Reader {
    socket: Socket,
    sequence: u32,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("sequence", &self.sequence).finish_non_exhaustive()
    }
}

impl Reader {
    /// Opens a socket in a namespace; it stays there, whichever thread reads.
    ///
    /// # Errors
    /// If the namespace cannot be entered or there is no socket.
    pub fn open(namespace: &Path) -> Result<Reader, EntriesError> {
        let socket = netns::within(namespace, || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            Ok::<_, io::Error>(socket)
        })??;
        Ok(Reader { socket, sequence: 0 })
    }

    /// All resolved entries of both families, ordered by group and source.
    ///
    /// # Errors
    /// [`EntriesError`].
    pub fn read(&mut self) -> Result<Vec<KernelEntry>, EntriesError> {
        let mut entries = Vec::new();
        for family in FAMILIES {
            for attempt in 1..=ATTEMPTS {
                let before = entries.len();
                let whole = self.dump(family, &mut entries)?;
                if whole || attempt == ATTEMPTS {
                    break;
                }
                entries.truncate(before);
            }
        }
        entries.retain(|entry| entry.incoming.is_some());
        entries.sort_by_key(|entry| (entry.group, entry.source));
        Ok(entries)
    }

    /// One dump; gives whether no change of the table interrupted it.
    fn dump(&mut self, family: u8, entries: &mut Vec<KernelEntry>) -> Result<bool, EntriesError> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut request = Vec::with_capacity(MESSAGE_HEADER + ROUTE_HEADER);
        request.extend(((MESSAGE_HEADER + ROUTE_HEADER) as u32).to_ne_bytes());
        request.extend(RTM_GETROUTE.to_ne_bytes());
        request.extend(NLM_F_REQUEST_DUMP.to_ne_bytes());
        request.extend(self.sequence.to_ne_bytes());
        request.extend([0; 4]);
        request.push(family);
        request.resize(MESSAGE_HEADER + ROUTE_HEADER, 0);
        self.socket.send_to(&request, &SocketAddr::new(0, 0), 0)?;
        let mut whole = true;
        loop {
            let (octets, _) = self.socket.recv_from_full()?;
            let answer = parse(&octets, family, self.sequence, entries)?;
            whole &= !answer.interrupted;
            if answer.last {
                return Ok(whole);
            }
        }
    }
}

/// What a datagram of a dump says beside its entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The dump is over.
    pub last: bool,
    /// The table changed meanwhile: entries may be missing, or there twice.
    pub interrupted: bool,
}

/// Reads one datagram of a dump of a family with the sequence number of its request. Never panics, whatever the octets.
///
/// # Errors
/// [`EntriesError::Malformed`], or the kernel's refusal.
pub fn parse(octets: &[u8], family: u8, sequence: u32, entries: &mut Vec<KernelEntry>) -> Result<Answer, EntriesError> {
    let mut answer = Answer::default();
    let mut rest = octets;
    while let Some((message, after)) = next_message(rest)? {
        rest = after;
        if message.sequence != sequence {
            continue;
        }
        answer.interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
        match message.kind {
            NLMSG_DONE => {
                answer.last = true;
                break;
            }
            NLMSG_ERROR => {
                let code = message.payload.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                return Err(EntriesError::Refused(io::Error::from_raw_os_error(code.saturating_neg())));
            }
            RTM_NEWROUTE => entries.extend(parse_entry(family, message.payload)?),
            _ => {}
        }
    }
    Ok(answer)
}

/// Names the interfaces of entries by their place in a node's list; others are left out.
pub fn of_node(entries: Vec<KernelEntry>, node: &Node) -> Vec<Entry> {
    let place = |index: u32| node.interfaces.iter().position(|interface| interface.index == index);
    let named = |entry: KernelEntry| {
        let mut outgoing: Vec<_> =
            entry.outgoing.iter().filter_map(|(index, ttl)| Some((place(*index)?, *ttl))).collect();
        outgoing.sort_unstable();
        Entry {
            source: entry.source,
            group: entry.group,
            incoming: entry.incoming.and_then(place),
            outgoing,
            packets: entry.packets,
            wrong_interface: entry.wrong_interface,
        }
    };
    entries.into_iter().map(named).collect()
}

struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    payload: &'a [u8],
}

fn next_message(octets: &[u8]) -> Result<Option<(Message<'_>, &[u8])>, EntriesError> {
    if octets.is_empty() {
        return Ok(None);
    }
    let error = || EntriesError::Malformed("a message header");
    let header = octets.first_chunk::<MESSAGE_HEADER>().ok_or_else(error)?;
    let length = number(header, 0).ok_or_else(error)? as usize;
    let payload = octets.get(MESSAGE_HEADER..length).ok_or_else(error)?;
    let message = Message {
        kind: u16::from_ne_bytes([header[4], header[5]]),
        flags: u16::from_ne_bytes([header[6], header[7]]),
        sequence: number(header, 8).ok_or_else(error)?,
        payload,
    };
    Ok(Some((message, octets.get(length.next_multiple_of(4)..).unwrap_or(&[]))))
}

/// An entry of a `RTM_NEWROUTE`; none if it is of another family or type.
fn parse_entry(family: u8, payload: &[u8]) -> Result<Option<KernelEntry>, EntriesError> {
    let (header, mut rest) = payload.split_at_checked(ROUTE_HEADER).ok_or(EntriesError::Malformed("a route"))?;
    if header[0] != family {
        return Ok(None);
    }
    let any = if family == FAMILIES[0] { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
    let mut entry =
        KernelEntry { source: any, group: any, incoming: None, outgoing: Vec::new(), packets: 0, wrong_interface: 0 };
    while !rest.is_empty() {
        let error = || EntriesError::Malformed("an attribute");
        let length = usize::from(u16::from_ne_bytes(*rest.first_chunk().ok_or_else(error)?));
        let kind = u16::from_ne_bytes(*rest.get(2..).and_then(<[u8]>::first_chunk).ok_or_else(error)?) & 0x3fff;
        let value = rest.get(4..length).ok_or_else(error)?;
        match kind {
            RTA_SRC => entry.source = address(value).ok_or(EntriesError::Malformed("a source"))?,
            RTA_DST => entry.group = address(value).ok_or(EntriesError::Malformed("a group"))?,
            RTA_IIF => entry.incoming = Some(number(value, 0).ok_or(EntriesError::Malformed("an interface"))?),
            RTA_MULTIPATH => entry.outgoing = next_hops(value)?,
            RTA_MFC_STATS => {
                let counter = |at| long(value, at).ok_or(EntriesError::Malformed("a counter"));
                // struct rta_mfc_stats: packets, octets, wrong interface.
                entry.packets = counter(0)?;
                entry.wrong_interface = counter(16)?;
            }
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
    Ok(Some(entry))
}

/// The outgoing interfaces: `struct rtnexthop` with the threshold in `rtnh_hops`.
fn next_hops(mut octets: &[u8]) -> Result<Vec<(u32, u8)>, EntriesError> {
    let mut hops = Vec::new();
    while let Some((hop, _)) = octets.split_first_chunk::<NEXT_HOP>() {
        let index = number(hop, 4).ok_or(EntriesError::Malformed("a next hop"))?;
        hops.push((index, hop[3]));
        let length = usize::from(u16::from_ne_bytes([hop[0], hop[1]]));
        if length < NEXT_HOP {
            return Err(EntriesError::Malformed("a next hop"));
        }
        octets = octets.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
    Ok(hops)
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    match octets.len() {
        4 => Some(<[u8; 4]>::try_from(octets).ok()?.into()),
        16 => Some(<[u8; 16]>::try_from(octets).ok()?.into()),
        _ => None,
    }
}

fn number(octets: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*octets.get(at..)?.first_chunk()?))
}

fn long(octets: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*octets.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut octets = ((4 + value.len()) as u16).to_ne_bytes().to_vec();
        octets.extend(kind.to_ne_bytes());
        octets.extend(value);
        octets.resize(octets.len().next_multiple_of(4), 0);
        octets
    }

    fn route() -> Vec<u8> {
        let mut payload = vec![128, 32, 32, 0, 253, 17, 0, 5, 0, 0, 0, 0];
        payload.extend(attribute(15, &253u32.to_ne_bytes()));
        payload.extend(attribute(RTA_SRC, &[10, 0, 0, 1]));
        payload.extend(attribute(RTA_DST, &[239, 1, 1, 1]));
        payload.extend(attribute(RTA_IIF, &7u32.to_ne_bytes()));
        let mut hops = Vec::new();
        for (index, ttl) in [(8u32, 1u8), (9, 16)] {
            hops.extend(8u16.to_ne_bytes());
            hops.extend([0, ttl]);
            hops.extend(index.to_ne_bytes());
        }
        payload.extend(attribute(RTA_MULTIPATH, &hops));
        let counters: Vec<u8> = [42u64, 4200, 3].iter().flat_map(|n| n.to_ne_bytes()).collect();
        payload.extend(attribute(RTA_MFC_STATS, &counters));
        payload
    }

    #[test]
    fn an_entry_has_its_interfaces_thresholds_and_counters() {
        let entry = parse_entry(128, &route()).unwrap().unwrap();
        assert_eq!(
            entry,
            KernelEntry {
                source: [10, 0, 0, 1].into(),
                group: [239, 1, 1, 1].into(),
                incoming: Some(7),
                outgoing: vec![(8, 1), (9, 16)],
                packets: 42,
                wrong_interface: 3,
            }
        );
        assert_eq!(parse_entry(129, &route()).unwrap(), None);
    }

    #[test]
    fn a_cut_answer_is_refused_without_a_panic() {
        let route = route();
        for length in 0..route.len() {
            let _ = parse_entry(128, &route[..length]);
        }
        assert!(parse_entry(128, &route[..30]).is_err());
        assert!(next_message(&[1, 2, 3]).is_err());
        assert!(next_message(&[255; 40]).is_err());
        assert!(next_hops(&[0; 8]).is_err(), "a next hop of no length would never end");
    }
}
