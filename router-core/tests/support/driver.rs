//! Drives a router of dense or sparse mode: what a tape puts in, a kernel that holds entries, and what must hold after each step.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use router_core::forwarding::{EntryKey, ForwardingEntry};
use router_core::router::{Datagram, Input, InterfaceId, InterfaceState, Output, Router};
use router_core::show::{Show, Shown, Tree};
use router_core::time::Time;
use router_core::wire::pim::{ALL_PIM_ROUTERS, PROTOCOL, parse};
use router_core::wire::{checksum, igmp};

use super::tape::Tape;

pub const PORTS: u8 = 4;
pub const MTU: u32 = 300;
pub const NEIGHBOURS: usize = 3;
/// The longest hold time of a well-formed message here that has an end; in a message that was changed, it may be any.
pub const LONG_HOLD: u16 = 5000;
/// Twice the longest time that anything lasts that has an end: a state's timer, and the entry's lifetime after it.
pub const LONG: Duration = Duration::from_secs(2 * 65_534);
/// Most of the time, all is over much sooner.
pub const SOME: Duration = Duration::from_secs(2 * LONG_HOLD as u64);

impl Tape<'_> {
    pub fn bytes(&mut self, most: u8) -> Vec<u8> {
        let length = usize::from(self.below(most + 1)).min(self.0.len());
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken.to_vec()
    }

    pub fn hold_time(&mut self) -> u16 {
        self.one_of(&[0, 1, 3, 10, 60, 210, 210, 1000, LONG_HOLD, 65535])
    }

    /// Mostly one of the two that are there from the start.
    pub fn neighbour(&mut self, port: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, port, self.one_of(&[2, 2, 2, 3, 3, 3, 4, 5])).into()
    }

    /// This router, or another one of the link.
    pub fn upstream(&mut self, port: u8) -> IpAddr {
        if self.below(3) > 0 { own(port) } else { self.neighbour(port) }
    }

    /// Mostly the same one: what concerns one entry is more telling than many entries.
    pub fn source(&mut self) -> IpAddr {
        let sources = [[10, 9, 0, 1], [10, 9, 0, 2], [10, 0, 3, 9], [10, 0, 0, 2], [10, 9, 1, 1], [10, 0, 1, 9]];
        match self.byte() {
            0..180 => [10, 9, 0, 1],
            180..250 => self.one_of(&sources),
            250.. => self.one_of(&[[0, 0, 0, 0], [224, 0, 0, 1], [10, 7, 7, 7]]),
        }
        .into()
    }

    pub fn metric(&mut self) -> (u32, u32) {
        self.one_of(&[(0, 0), (1, 1), (110, 10), (110, 20), (110, 30), (200, 0), (0x7fff_ffff, 0xffff_ffff)])
    }
}

pub fn own(port: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, port, 1).into()
}

pub fn id(port: u8) -> InterfaceId {
    InterfaceId(u32::from(port) + 1)
}

pub fn interface(port: u8, up: bool, last: u8) -> Input {
    let addresses = if last == 0 { vec![] } else { vec![format!("10.0.{port}.{last}/24").parse().unwrap()] };
    Input::Interface {
        interface: id(port),
        state: InterfaceState { name: format!("eth{port}"), up, mtu: MTU, addresses },
    }
}

pub fn packet(port: u8, source: IpAddr, destination: IpAddr, protocol: u8, payload: Vec<u8>) -> Input {
    let datagram =
        Datagram { source, destination, protocol, ttl: 1, router_alert: protocol == 2, traffic_class: 0xc0, payload };
    Input::Packet { interface: id(port), datagram }
}

pub fn summed(port: u8, from: IpAddr, mut octets: Vec<u8>) -> Input {
    if octets.len() >= 4 {
        octets[2..4].fill(0);
        let sum = checksum::internet(&octets);
        octets[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    packet(port, from, ALL_PIM_ROUTERS.into(), PROTOCOL, octets)
}

/// A host's report or leave about a group.
pub fn member(tape: &mut Tape<'_>, port: u8, group: IpAddr) -> Input {
    let v4 = |address: IpAddr| match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    };
    let group = v4(group);
    let (message, destination) = match tape.below(3) {
        0 => (igmp::Message::ReportV2 { group }, group),
        1 => (igmp::Message::LeaveV2 { group }, Ipv4Addr::new(224, 0, 0, 2)),
        _ => {
            let kind = (tape.below(6) + 1).into();
            let sources = (0..tape.below(3)).map(|_| v4(tape.source())).collect();
            let records = vec![igmp::Record { kind, group, sources }];
            (igmp::Message::ReportV3 { records }, Ipv4Addr::new(224, 0, 0, 22))
        }
    };
    let host = Ipv4Addr::new(10, 0, port, 100 + tape.below(3));
    packet(port, host.into(), destination.into(), 2, message.emit())
}

/// What differs between modes.
pub struct OfMode {
    /// Entries at most.
    pub entries: usize,
    /// Whether the timers that run are those of the states.
    pub check_tree: fn(&Tree),
    /// What is sent by the unicast routes.
    pub routed: fn(&Datagram),
}

/// A router with a kernel that holds entries, and sources that send.
pub struct Driver {
    pub of_mode: OfMode,
    pub router: Router,
    pub now: Time,
    /// What the kernel would hold.
    pub kernel: BTreeMap<EntryKey, ForwardingEntry>,
    /// Packets that each entry has seen; they grow while sources send.
    pub packets: u64,
    pub sources_send: bool,
    pub outputs: u64,
    pub digest: u64,
}

impl Driver {
    pub fn put(&mut self, input: Input) {
        self.router.handle(self.now, input);
        let mut asked = self.drain();
        while let Some(key) = asked.pop() {
            self.packets += u64::from(self.sources_send);
            let (packets, octets) = (self.packets, self.packets * 100);
            self.router.handle(self.now, Input::Counters { key, packets, octets, wrong_interface: 0 });
            asked.extend(self.drain());
        }
    }

    /// Takes the outputs; gives the entries whose counters are asked for.
    fn drain(&mut self) -> Vec<EntryKey> {
        let mut asked = Vec::new();
        while let Some(output) = self.router.poll_output() {
            self.outputs += 1;
            for octet in format!("{} {output:?}", self.now).bytes() {
                self.digest = (self.digest ^ u64::from(octet)).wrapping_mul(0x100_0000_01b3);
            }
            match output {
                Output::SendRouted { datagram } => (self.of_mode.routed)(&datagram),
                Output::SetEntry(entry) => {
                    assert!(!entry.outgoing.contains_key(&entry.incoming), "an entry never sends back: {entry:?}");
                    assert!(entry.outgoing.values().all(|threshold| (1..255).contains(threshold)), "{entry:?}");
                    self.kernel.insert(entry.key, entry);
                }
                Output::DeleteEntry(key) => {
                    assert!(self.kernel.remove(&key).is_some(), "only what is there is deleted: {key:?}");
                }
                Output::AskCounters(key) => {
                    assert!(self.kernel.contains_key(&key), "only what is there has counters: {key:?}");
                    asked.push(key);
                }
                Output::Send { datagram, .. } => check_sent(&datagram),
                Output::AddVif { .. } | Output::RemoveVif { .. } | Output::HostMembership { .. } | Output::Event(_) => {
                }
            }
        }
        asked
    }

    /// Runs timers until a time; what is due at one time ends.
    pub fn run_until(&mut self, end: Time) {
        let mut at_once = 0;
        while let Some(due) = self.router.poll_timeout().filter(|due| *due <= end) {
            at_once = if due > self.now { 0 } else { at_once + 1 };
            assert!(at_once < 20, "timers go on at {}", self.now);
            self.now = due.max(self.now);
            self.put(Input::Timeout);
            self.check();
        }
        self.now = end;
    }

    pub fn check(&self) {
        assert!(self.kernel.len() <= self.of_mode.entries, "{:?}", self.kernel);
        let Shown::Trees(trees) = self.router.show(self.now, Show::Trees) else { panic!() };
        assert!(trees.len() <= self.of_mode.entries, "{trees:?}");
        for tree in &trees {
            (self.of_mode.check_tree)(tree);
        }
        let known = |key: &EntryKey| trees.iter().any(|tree| (tree.source, tree.group) == (key.source, key.group));
        assert!(self.kernel.keys().all(known), "the kernel has an entry that nobody minds: {:?}", self.kernel);
        let Shown::Neighbours(neighbours) = self.router.show(self.now, Show::Neighbours) else { panic!() };
        for port in 0..PORTS {
            let name = format!("eth{port}");
            assert!(neighbours.iter().filter(|n| n.interface == name).count() <= NEIGHBOURS, "{neighbours:?}");
        }
    }
}

fn check_sent(datagram: &Datagram) {
    assert_eq!(datagram.ttl, 1);
    assert!(datagram.payload.len() <= MTU as usize - 20, "{datagram:?}");
    if datagram.protocol == PROTOCOL {
        let read = parse(datagram.source, datagram.destination, &datagram.payload);
        assert!(read.is_ok(), "{read:?} of {datagram:?}");
    }
}
