//! PIM sparse mode (RFC 7761): shared trees by a rendezvous point, and shortest path trees of sources.
//!
//! [`Sparse`] holds the state of every group and source and feeds the machines of the RFC, every one a pure transition function in a file
//! of its own: [`downstream`], [`downstream_rpt`], [`upstream`], [`upstream_rpt`], [`mod@assert`] and [`register`]; [`rendezvous`] is what
//! a rendezvous point does with a register. [`macros`] are the RFC's. After whatever happens, `evaluate` looks at the routes and at the
//! macros anew and tells the machines what changed: of one source, or of a group with all its sources where (*,G) is concerned. [`index`]
//! says whom an event concerns.
//!
//! `state` says what there is, `forward` takes data and gives the kernel its entries, `hear` takes messages apart, `feed` feeds the
//! machines and does what they want, `send` makes their messages and [`outbox`] bundles them, `registers` sends and takes registers.

pub mod assert;
pub mod downstream;
pub mod downstream_rpt;
pub mod entry;
mod evaluate;
mod feed;
mod forward;
mod hear;
pub mod index;
pub mod macros;
mod news;
pub mod outbox;
pub mod register;
mod registers;
pub mod rendezvous;
mod send;
pub mod settings;
mod state;
mod tracking;
pub mod upstream;
pub mod upstream_rpt;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::Sent;
use super::mode::{Mode, Modes};
use super::mrib::{self, Rpf};
use super::rp::RpTable;
use crate::counters::DropReason;
use crate::coverage::Coverage;
use crate::forwarding::{EntryKey, ForwardingEntry};
use crate::random::Random;
use crate::rib::Rib;
use crate::router::InterfaceId;
use crate::time::Time;
use crate::timers::Timers;
use crate::wire::pim::Message;
use entry::{Source, Star, Timer, Tree};
use index::Index;
use macros::{Ports, View};
use outbox::Said;
use settings::SparseSettings;
use tracking::Tracked;

static NO_STAR: Star = Star::NONE;
static NO_SOURCE: Source = Source::NONE;

/// What the machines may look at while something happens.
pub struct Context<'a> {
    /// The time.
    pub now: Time,
    /// The router's interfaces with their neighbours and members.
    pub ports: &'a Ports,
    /// Addresses of interfaces that take no part in multicast: a loopback's, say, which may be the rendezvous point's.
    pub others: &'a BTreeMap<InterfaceId, Vec<IpNet>>,
    /// Unicast routes.
    pub rib: &'a Rib,
    /// Rendezvous points.
    pub rps: &'a RpTable,
    /// Which groups are source-specific.
    pub modes: &'a Modes,
    /// The router's random numbers.
    pub random: &'a mut Random,
}

impl Context<'_> {
    /// Whether an address is this router's.
    pub fn is_own(&self, address: IpAddr) -> bool {
        let has = |addresses: &Vec<IpNet>| addresses.iter().any(|net| net.addr() == address);
        self.ports.values().any(|port| has(&port.state.addresses)) || self.others.values().any(has)
    }

    /// Whether a group is source-specific.
    pub fn is_ssm(&self, group: IpAddr) -> bool {
        self.modes.of(group) == Mode::Ssm
    }

    /// `RP(G)`: none of a source-specific group.
    pub fn rp(&self, group: IpAddr) -> Option<IpAddr> {
        if self.is_ssm(group) { None } else { self.rps.rp(group) }
    }

    /// The way to a rendezvous point: by the register interface, if it is this router (§4.2).
    pub fn toward_rp(&self, rp: IpAddr) -> Option<Rpf> {
        if self.is_own(rp) {
            let interface = InterfaceId::REGISTER;
            return Some(Rpf { interface, next_hop: None, preference: 0, metric: 0, mask_length: 32 });
        }
        let rpf = mrib::lookup(self.rib, self.ports, rp)?;
        // On a link of this router the next hop is the rendezvous point itself.
        Some(Rpf { next_hop: rpf.next_hop.or(Some(rp)), ..rpf })
    }
}

/// What sparse mode wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Send a message on a link.
    Send(Sent),
    /// Send a message by the unicast routes.
    SendRouted {
        /// One of the router's own addresses.
        source: IpAddr,
        /// To whom.
        destination: IpAddr,
        /// TOS or traffic class; none for that of control messages.
        traffic_class: Option<u8>,
        /// What.
        message: Message,
    },
    /// Give the kernel this entry.
    Install {
        /// The entry.
        entry: ForwardingEntry,
        /// Whether the kernel has just asked for it: it is given even if it was given before.
        asked: bool,
    },
    /// Take the kernel's entry away.
    Remove(EntryKey),
    /// The upstream machine of (*,G) or (S,G) changed its state.
    Upstream(Tree, upstream::State),
    /// The register machine changed its state.
    Register(EntryKey, register::State),
    /// An assert machine changed its state.
    Assert(Tree, InterfaceId, assert::State),
    /// An interface has another designated router, or none.
    DesignatedRouter(InterfaceId, Option<IpAddr>),
    /// Something was refused.
    Drop(Option<InterfaceId>, DropReason),
}

/// What was last known of an interface's designated router.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Designated {
    /// `I_am_DR(I)`, of an interface that is up.
    is_own: bool,
    /// `DR(I)`; none where PIM does not run.
    address: Option<IpAddr>,
}

/// Sparse mode of a router.
#[derive(Debug)]
pub struct Sparse {
    settings: SparseSettings,
    /// Most groups and sources with state, together.
    limit: usize,
    stars: BTreeMap<IpAddr, Box<Star>>,
    /// By group, then source.
    sources: BTreeMap<(IpAddr, IpAddr), Box<Source>>,
    index: Index,
    timers: Timers<Timer>,
    tracked: Tracked,
    /// Joins and prunes that are to be sent.
    outbox: Vec<Said>,
    actions: Vec<Action>,
    /// Who was the designated router of each interface when it was last looked at.
    drs: BTreeMap<InterfaceId, Designated>,
    /// The random number of what happens now: whatever it delays for a thousand trees is delayed alike, so that it goes in few messages.
    roll: u64,
    coverage: Coverage,
}

impl Sparse {
    /// Without any state.
    pub fn new(settings: SparseSettings, limit: usize) -> Sparse {
        Sparse {
            settings,
            limit,
            stars: BTreeMap::new(),
            sources: BTreeMap::new(),
            index: Index::default(),
            timers: Timers::default(),
            tracked: Tracked::default(),
            outbox: Vec::new(),
            actions: Vec::new(),
            drs: BTreeMap::new(),
            roll: 0,
            coverage: Coverage::default(),
        }
    }

    /// Settings in force.
    pub fn settings(&self) -> &SparseSettings {
        &self.settings
    }

    /// State of every (*,G).
    pub fn stars(&self) -> impl Iterator<Item = (IpAddr, &Star)> {
        self.stars.iter().map(|(group, star)| (*group, star.as_ref()))
    }

    /// State of every (S,G), by group, then source.
    pub fn sources(&self) -> impl Iterator<Item = (EntryKey, &Source)> {
        self.sources
            .iter()
            .map(|((group, source), entry)| (EntryKey { source: *source, group: *group }, entry.as_ref()))
    }

    /// When a timer runs out, if it runs.
    pub fn deadline(&self, timer: Timer) -> Option<Time> {
        self.timers.deadline(timer)
    }

    /// Which pairs of a state and an event the machines have been through.
    pub fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// How many groups and sources there is state of, together.
    pub fn len(&self) -> usize {
        self.stars.len() + self.sources.len()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.stars.is_empty() && self.sources.is_empty() && self.index.is_empty() && self.timers.next().is_none()
    }

    /// What is to be done since the last call, all joins and prunes in as few messages as may be. First the entries that packets wait for, those
    /// that tell of what a join brings, and those that are taken away before it comes; then messages, for that takes longer than the other
    /// entries take to be made.
    pub fn take_actions(&mut self, context: &Context<'_>) -> Vec<Action> {
        let mut sent = self.flush(context);
        let actions = std::mem::take(&mut self.actions);
        let goes_first = |action: &Action| match action {
            Action::Install { entry, asked } => *asked || entry.outgoing.contains_key(&InterfaceId::REGISTER),
            Action::Remove(_) => true,
            _ => false,
        };
        if sent.is_empty() || !actions.iter().any(goes_first) {
            sent.extend(actions);
            return sent;
        }
        // Of an entry that changes more than once, the order stays.
        let mut changed = BTreeSet::new();
        let (mut all, rest): (Vec<Action>, Vec<Action>) = actions.into_iter().partition(|action| match action {
            Action::Install { entry, .. } if !goes_first(action) => {
                changed.insert(entry.key);
                false
            }
            Action::Install { entry: ForwardingEntry { key, .. }, .. } | Action::Remove(key) => !changed.contains(key),
            _ => false,
        });
        all.extend(sent);
        all.extend(rest);
        all
    }

    /// When to call [`Sparse::timeout`].
    pub fn next_timeout(&self) -> Option<Time> {
        self.timers.next()
    }

    /// The state that the macros look at.
    pub fn view<'v>(&'v self, context: &'v Context<'_>, tree: Tree) -> View<'v> {
        let star = self.stars.get(&tree.group).map_or(&NO_STAR, Box::as_ref);
        let entry = tree.source.and_then(|source| self.sources.get(&(tree.group, source)));
        View {
            ports: context.ports,
            ssm: context.is_ssm(tree.group),
            group: tree.group,
            source: tree.source,
            star,
            entry: entry.map_or(&NO_SOURCE, Box::as_ref),
        }
    }

    fn source(&mut self, key: EntryKey) -> Option<&mut Source> {
        self.sources.get_mut(&(key.group, key.source)).map(Box::as_mut)
    }

    fn star(&mut self, group: IpAddr) -> Option<&mut Star> {
        self.stars.get_mut(&group).map(Box::as_mut)
    }

    /// The sources of a group that have state.
    fn sources_of(&self, group: IpAddr) -> Vec<EntryKey> {
        let from = (group, IpAddr::from([0, 0, 0, 0]));
        let of_group = self.sources.range(from..).take_while(|((of, _), _)| *of == group);
        of_group.map(|((group, source), _)| EntryKey { source: *source, group: *group }).collect()
    }

    /// A new random number for what happens now.
    fn roll(&mut self, context: &mut Context<'_>) {
        self.roll = context.random.bits();
    }

    /// Runs the timers that have run out.
    pub fn timeout(&mut self, context: &mut Context<'_>) {
        self.roll(context);
        while let Some(timer) = self.timers.pop_due(context.now) {
            match timer {
                Timer::Expiry(tree, i) => {
                    self.downstream(context, tree, i, downstream::Event::ExpiryTimerExpires, 0);
                    self.evaluate(context, tree);
                }
                Timer::PrunePending(tree, i) => {
                    self.downstream(context, tree, i, downstream::Event::PrunePendingTimerExpires, 0);
                    self.evaluate(context, tree);
                }
                Timer::RptExpiry(key, i) => {
                    self.downstream_rpt(context, key, i, downstream_rpt::Event::ExpiryTimerExpires, 0);
                    self.evaluate_source(context, key);
                }
                Timer::RptPrunePending(key, i) => {
                    self.downstream_rpt(context, key, i, downstream_rpt::Event::PrunePendingTimerExpires, 0);
                    self.evaluate_source(context, key);
                }
                Timer::Join(tree) => self.upstream(context, tree, upstream::Event::JoinTimerExpires, None),
                Timer::Override(key) => {
                    self.upstream_rpt(context, key, upstream_rpt::Event::OverrideTimerExpires);
                    self.evaluate_source(context, key);
                }
                Timer::Keepalive(key) => {
                    if let Some(entry) = self.source(key) {
                        entry.keepalive = false;
                    }
                    self.evaluate_source(context, key);
                }
                Timer::RegisterStop(key) => {
                    self.register(context, key, register::Event::RegisterStopTimerExpires);
                    self.evaluate_source(context, key);
                }
                Timer::Assert(tree, i) => {
                    let named = tree.source;
                    self.assert(context, tree, i, assert::Event::AssertTimerExpires, named);
                    self.evaluate(context, tree);
                }
                Timer::Switch(key) => self.check_switch_to_spt(context, key, None),
                Timer::Cache(key) => {
                    if let Some(entry) = self.source(key) {
                        entry.arrival = None;
                    }
                    self.evaluate_source(context, key);
                }
            }
        }
    }
}
