//! What is kept for (*,G), for (S,G) and (S,G,rpt), and on each interface (RFC 7761 §4.1).

use std::net::IpAddr;

use super::{assert, downstream, downstream_rpt, register, upstream, upstream_rpt};
use crate::forwarding::{EntryKey, ForwardingEntry};
use crate::pim::mrib::Rpf;
use crate::router::InterfaceId;
use crate::time::Time;

/// A tree: (*,G) without a source, (S,G) with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tree {
    /// The group.
    pub group: IpAddr,
    /// The source.
    pub source: Option<IpAddr>,
}

impl Tree {
    /// (*,G).
    pub fn all(group: IpAddr) -> Tree {
        Tree { group, source: None }
    }

    /// (S,G), if it is one.
    pub fn key(self) -> Option<EntryKey> {
        Some(EntryKey { source: self.source?, group: self.group })
    }
}

impl From<EntryKey> for Tree {
    fn from(key: EntryKey) -> Tree {
        Tree { group: key.group, source: Some(key.source) }
    }
}

/// A few values by interface, in the order of the interfaces. A state has one or two of them: a map of nodes would take a kilobyte.
#[derive(Clone, Debug, PartialEq)]
pub struct PerInterface<T>(Vec<(InterfaceId, T)>);

impl<T> Default for PerInterface<T> {
    fn default() -> PerInterface<T> {
        PerInterface::NONE
    }
}

impl<T> PerInterface<T> {
    /// None.
    pub const NONE: PerInterface<T> = PerInterface(Vec::new());

    /// The value of an interface.
    pub fn get(&self, interface: InterfaceId) -> Option<&T> {
        let at = self.0.binary_search_by_key(&interface, |(id, _)| *id).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    /// Takes the value of an interface out.
    pub fn remove(&mut self, interface: InterfaceId) {
        self.0.retain(|(id, _)| *id != interface);
    }

    /// Keeps the values that are of use.
    pub fn retain(&mut self, of_use: impl Fn(&T) -> bool) {
        self.0.retain(|(_, value)| of_use(value));
    }

    /// All, by interface.
    pub fn iter(&self) -> impl Iterator<Item = (InterfaceId, &T)> {
        self.0.iter().map(|(id, value)| (*id, value))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T: Default> PerInterface<T> {
    /// The value of an interface, made if it is not there.
    pub fn entry(&mut self, interface: InterfaceId) -> &mut T {
        let at = match self.0.binary_search_by_key(&interface, |(id, _)| *id) {
            Ok(at) => at,
            Err(at) => {
                self.0.reserve_exact(1);
                self.0.insert(at, (interface, T::default()));
                at
            }
        };
        &mut self.0[at].1
    }
}

/// What an upstream machine knows of the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Upstream {
    /// The state.
    pub state: upstream::State,
    /// The RPF interface.
    pub interface: Option<InterfaceId>,
    /// NBR(RPF_interface, MRIB.next_hop): the neighbour that the route leads to.
    pub by_route: Option<IpAddr>,
    /// RPF': that neighbour, or the winner of an assert.
    pub neighbour: Option<IpAddr>,
}

impl Upstream {
    /// RPF' with the interface that it is on.
    pub fn router(self) -> Option<(InterfaceId, IpAddr)> {
        Some((self.interface?, self.neighbour?))
    }

    const NONE: Upstream =
        Upstream { state: upstream::State::NotJoined, interface: None, by_route: None, neighbour: None };
}

/// State of (*,G).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Star {
    /// RP(G).
    pub rp: Option<IpAddr>,
    /// The way to the rendezvous point; at the rendezvous point itself by [`InterfaceId::REGISTER`].
    pub rpf: Option<Rpf>,
    /// The upstream machine.
    pub upstream: Upstream,
    /// Interfaces with state of their own.
    pub interfaces: PerInterface<StarInterface>,
}

/// State of (*,G) on an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StarInterface {
    /// DownstreamJPState(*,G,I).
    pub downstream: downstream::State,
    /// The Assert(*,G,I) machine.
    pub assert: assert::State,
}

impl Star {
    /// No state.
    pub const NONE: Star = Star { rp: None, rpf: None, upstream: Upstream::NONE, interfaces: PerInterface::NONE };

    /// `RPF_interface(RP(G))`.
    pub fn rpf_interface(&self) -> Option<InterfaceId> {
        self.rpf.map(|rpf| rpf.interface)
    }

    /// DownstreamJPState(*,G,I).
    pub fn downstream(&self, interface: InterfaceId) -> downstream::State {
        self.interfaces.get(interface).map(|state| state.downstream).unwrap_or_default()
    }

    /// State of the Assert(*,G,I) machine.
    pub fn assert(&self, interface: InterfaceId) -> assert::State {
        self.interfaces.get(interface).map(|state| state.assert).unwrap_or_default()
    }

    /// Whether there is nothing to remember.
    pub fn is_idle(&self) -> bool {
        self.upstream.state == upstream::State::NotJoined && self.interfaces.is_empty()
    }
}

/// State of (S,G) and (S,G,rpt).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Source {
    /// The way to the source.
    pub rpf: Option<Rpf>,
    /// The upstream machine of (S,G).
    pub upstream: Upstream,
    /// `SPTbit(S,G)`.
    pub spt_bit: bool,
    /// Whether KAT(S,G) runs.
    pub keepalive: bool,
    /// The upstream machine of (S,G,rpt).
    pub rpt: upstream_rpt::State,
    /// Whether RPF'(S,G,rpt) was RPF'(*,G) when it was last looked at.
    pub rpt_by_all: bool,
    /// The register machine.
    pub register: register::State,
    /// Of a source on a link of this router that sends: the rendezvous point that it is to be registered with.
    pub register_rp: Option<IpAddr>,
    /// At its rendezvous point: when a register was last answered by a register-stop, so that data is to come by the source's own tree; none if
    /// registers come all the same.
    pub stopped: Option<Time>,
    /// Interfaces with state of their own.
    pub interfaces: PerInterface<SourceInterface>,
    /// Where data last came by of which the kernel told; none until then, and once it has not come for long.
    pub arrival: Option<InterfaceId>,
    /// What the kernel was given.
    pub installed: Option<Box<ForwardingEntry>>,
}

/// State of (S,G) and (S,G,rpt) on an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SourceInterface {
    /// DownstreamJPState(S,G,I).
    pub downstream: downstream::State,
    /// DownstreamJPState(S,G,rpt,I).
    pub rpt: downstream_rpt::State,
    /// The Assert(S,G,I) machine.
    pub assert: assert::State,
}

impl Source {
    /// No state.
    pub const NONE: Source = Source {
        rpf: None,
        upstream: Upstream::NONE,
        spt_bit: false,
        keepalive: false,
        rpt: upstream_rpt::State::NotJoined,
        rpt_by_all: false,
        register: register::State::NoInfo,
        register_rp: None,
        stopped: None,
        interfaces: PerInterface::NONE,
        arrival: None,
        installed: None,
    };

    /// `RPF_interface(S)`.
    pub fn rpf_interface(&self) -> Option<InterfaceId> {
        self.rpf.map(|rpf| rpf.interface)
    }

    /// DownstreamJPState(S,G,I).
    pub fn downstream(&self, interface: InterfaceId) -> downstream::State {
        self.interfaces.get(interface).map(|state| state.downstream).unwrap_or_default()
    }

    /// DownstreamJPState(S,G,rpt,I).
    pub fn downstream_rpt(&self, interface: InterfaceId) -> downstream_rpt::State {
        self.interfaces.get(interface).map(|state| state.rpt).unwrap_or_default()
    }

    /// State of the Assert(S,G,I) machine.
    pub fn assert(&self, interface: InterfaceId) -> assert::State {
        self.interfaces.get(interface).map(|state| state.assert).unwrap_or_default()
    }

    /// Whether there is nothing to remember. What the upstream machine of (S,G,rpt) says follows from the rest, unless it is pruned.
    pub fn is_idle(&self) -> bool {
        self.upstream.state == upstream::State::NotJoined
            && self.rpt != upstream_rpt::State::Pruned
            && self.register == register::State::NoInfo
            && !self.keepalive
            && self.interfaces.is_empty()
            && self.arrival.is_none()
    }
}

/// Timers by their RFC names (§4.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// How long the kernel's entry of a source that is silent is kept; the RFC knows nothing of it.
    Cache(EntryKey),
    /// ET(*,G,I), ET(S,G,I).
    Expiry(Tree, InterfaceId),
    /// PPT(*,G,I), PPT(S,G,I).
    PrunePending(Tree, InterfaceId),
    /// ET(S,G,rpt,I).
    RptExpiry(EntryKey, InterfaceId),
    /// PPT(S,G,rpt,I).
    RptPrunePending(EntryKey, InterfaceId),
    /// JT(*,G), JT(S,G).
    Join(Tree),
    /// OT(S,G,rpt).
    Override(EntryKey),
    /// KAT(S,G).
    Keepalive(EntryKey),
    /// RST(S,G).
    RegisterStop(EntryKey),
    /// AT(*,G,I), AT(S,G,I).
    Assert(Tree, InterfaceId),
    /// `CheckSwitchToSpt(S,G)` is due, after a packet by the shared tree (§4.2.1).
    Switch(EntryKey),
}

impl Timer {
    /// Timers of a tree, with their RFC names.
    pub fn of_tree(tree: Tree) -> Vec<(&'static str, Timer)> {
        let mut timers = vec![("JT", Timer::Join(tree))];
        if let Some(key) = tree.key() {
            timers.extend([
                ("KAT", Timer::Keepalive(key)),
                ("OT", Timer::Override(key)),
                ("RST", Timer::RegisterStop(key)),
            ]);
        }
        timers
    }

    /// Timers of a tree's interface, with their RFC names; those of (S,G,rpt) have it before.
    pub fn of_interface(tree: Tree, interface: InterfaceId) -> Vec<(&'static str, Timer)> {
        let mut timers = vec![
            ("AT", Timer::Assert(tree, interface)),
            ("ET", Timer::Expiry(tree, interface)),
            ("PPT", Timer::PrunePending(tree, interface)),
        ];
        if let Some(key) = tree.key() {
            timers.extend([
                ("rpt-ET", Timer::RptExpiry(key, interface)),
                ("rpt-PPT", Timer::RptPrunePending(key, interface)),
            ]);
        }
        timers
    }
}
