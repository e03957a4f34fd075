//! The bootstrap router mechanism (RFC 5059): which rendezvous points serve which groups, told to a whole domain by an elected router.
//!
//! [`Bsr`] keeps the scope zones ([`zone`]) and feeds their machines, each a pure transition function in a file of its own: [`candidate`]
//! for a candidate BSR, [`non_candidate`] for others, and [`candidate_rp`] for a candidate RP. [`weight`] says which BSR is preferred,
//! [`rp_set`] keeps the mappings that messages bring, [`stored`] the BSR's last message, [`office`] what the elected BSR collects, and
//! [`fragments`] divides its messages. `hear` checks and classifies messages, `feed` feeds the machines, `send` sends, `advertise` is the
//! candidate RP's part.
//!
//! What is learned goes into the router's [`RpTable`]; [`RpTable::take_changes`] says which ranges changed.

mod advertise;
pub mod candidate;
pub mod candidate_rp;
mod feed;
pub mod fragments;
mod hear;
pub mod non_candidate;
pub mod office;
pub mod rp_set;
mod send;
pub mod settings;
pub mod stored;
pub mod weight;
pub mod zone;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use ipnet::IpNet;

use super::Sent;
use super::rp::RpTable;
use crate::counters::DropReason;
use crate::coverage::Coverage;
use crate::random::Random;
use crate::rib::Rib;
use crate::router::InterfaceId;
use crate::router::port::Port;
use crate::time::Time;
use crate::timers::Timers;
use crate::wire::pim::{Bootstrap, Message};
use settings::Settings;
use weight::Weight;
use zone::{Role, Scope, Zone};

/// What the mechanism may look at while something happens, and the table that it fills.
pub struct Context<'a> {
    /// The time.
    pub now: Time,
    /// The router's interfaces with their neighbours.
    pub ports: &'a BTreeMap<InterfaceId, Port>,
    /// Addresses of interfaces that take no part in multicast.
    pub others: &'a BTreeMap<InterfaceId, Vec<IpNet>>,
    /// Unicast routes.
    pub rib: &'a Rib,
    /// Rendezvous points.
    pub rps: &'a mut RpTable,
    /// The router's random numbers.
    pub random: &'a mut Random,
}

impl Context<'_> {
    /// Whether an address is this router's.
    pub fn is_own(&self, address: IpAddr) -> bool {
        let has = |addresses: &Vec<IpNet>| addresses.iter().any(|net| net.addr() == address);
        self.ports.values().any(|port| has(&port.state.addresses)) || self.others.values().any(has)
    }
}

/// What the mechanism wants done.
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
        /// What.
        message: Message,
    },
    /// The machine of a zone changed its state, or the zone has another BSR.
    Elected(Scope, &'static str, Option<IpAddr>),
    /// Something was refused.
    Drop(Option<InterfaceId>, DropReason),
}

/// Timers, by the RFC's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// BST(Z).
    Bootstrap(Scope),
    /// SZT(Z).
    ScopeZone(Scope),
    /// GET(M,Z).
    Mapping(Scope, IpNet, IpAddr),
    /// CGET(M,Z).
    CandidateMapping(Scope, IpNet, IpAddr),
    /// CRPT, toward the BSR of a zone.
    Advertisement(Scope),
}

/// The bootstrap mechanism of a router.
#[derive(Debug)]
pub struct Bsr {
    settings: Settings,
    zones: BTreeMap<Scope, Zone>,
    timers: Timers<Timer>,
    /// When the router first had an interface.
    started: Option<Time>,
    /// Whether it is a candidate BSR now: its address is there.
    is_candidate_bsr: bool,
    /// Whether it is a candidate RP now.
    is_candidate_rp: bool,
    /// Fragments that were forwarded of late, so that a loop of routes does not send them round.
    passed: VecDeque<(Time, Bootstrap)>,
    actions: Vec<Action>,
    coverage: Coverage,
}

impl Bsr {
    /// In a router that has just started. The zones that it is configured to know are there from the start (§3.1.2).
    pub fn new(settings: Settings) -> Bsr {
        let candidate = settings.candidate_bsr.iter().flat_map(|candidate| candidate.scopes.iter().copied());
        let boundaries = settings.boundaries.iter().map(|groups| Scope::Admin(*groups));
        let scopes = candidate.chain(boundaries).chain([Scope::Global]);
        let zones =
            scopes.map(|scope| (scope, Zone::new(Role::Other(non_candidate::State::AcceptAny), true))).collect();
        Bsr {
            settings,
            zones,
            timers: Timers::default(),
            started: None,
            is_candidate_bsr: false,
            is_candidate_rp: false,
            passed: VecDeque::new(),
            actions: Vec::new(),
            coverage: Coverage::default(),
        }
    }

    /// Settings in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// All zones.
    pub fn zones(&self) -> &BTreeMap<Scope, Zone> {
        &self.zones
    }

    /// When a timer runs out, if it runs.
    pub fn deadline(&self, timer: Timer) -> Option<Time> {
        self.timers.deadline(timer)
    }

    /// Which pairs of a state and an event the machines have been through.
    pub fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// What is to be done since the last call.
    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// When to call [`Bsr::timeout`].
    pub fn next_timeout(&self) -> Option<Time> {
        self.timers.next()
    }

    /// This router's weight in a zone that it is a candidate for.
    fn own_weight(&self, scope: Scope) -> Option<Weight> {
        let candidate = self.settings.candidate_bsr.as_ref().filter(|_| self.is_candidate_bsr)?;
        candidate.scopes.contains(&scope).then_some(candidate.weight)
    }

    /// Interfaces or their addresses changed: the router is a candidate as long as it has the address that it offers.
    pub fn addresses_changed(&mut self, context: &mut Context<'_>) {
        self.started.get_or_insert(context.now);
        let has = |address: Option<IpAddr>| address.is_some_and(|address| context.is_own(address));
        let is_candidate_bsr = has(self.settings.candidate_bsr.as_ref().map(|candidate| candidate.weight.address));
        let is_candidate_rp = has(self.settings.candidate_rp.as_ref().map(|candidate| candidate.address));
        if is_candidate_bsr != self.is_candidate_bsr {
            self.is_candidate_bsr = is_candidate_bsr;
            let scopes = self.settings.candidate_bsr.iter().flat_map(|candidate| candidate.scopes.clone());
            for scope in scopes.collect::<Vec<Scope>>() {
                if is_candidate_bsr { self.stand(context, scope) } else { self.stand_down(context, scope) }
            }
        }
        if is_candidate_rp != self.is_candidate_rp {
            self.is_candidate_rp = is_candidate_rp;
            let event = if is_candidate_rp { candidate_rp::Event::BsrElected } else { candidate_rp::Event::BsrLost };
            let served = self.zones.iter().filter(|(_, zone)| zone.bsr().is_some()).map(|(scope, _)| *scope);
            for scope in served.collect::<Vec<Scope>>() {
                self.candidate_rp(context, scope, event);
            }
        }
    }

    /// Runs the timers that have run out.
    pub fn timeout(&mut self, context: &mut Context<'_>) {
        while let Some(timer) = self.timers.pop_due(context.now) {
            match timer {
                Timer::Bootstrap(scope) => self.bootstrap_timer(context, scope),
                Timer::ScopeZone(scope) => {
                    self.other(context, scope, non_candidate::Event::ScopeZoneTimerExpires, None);
                }
                Timer::Mapping(scope, range, rp) => {
                    if let Some(zone) = self.zones.get_mut(&scope) {
                        zone.rp_set.expire(range, rp);
                        context.rps.learn(scope, range, zone.rp_set.get(&range));
                    }
                }
                Timer::CandidateMapping(scope, range, rp) => self.withdraw(context, scope, range, rp),
                Timer::Advertisement(scope) => {
                    self.candidate_rp(context, scope, candidate_rp::Event::AdvertisementTimerExpires);
                }
            }
        }
    }

    /// Stops what runs for a zone.
    fn cancel(&mut self, scope: Scope) {
        let Some(zone) = self.zones.get(&scope) else { return };
        let mapped = zone.rp_set.ranges().iter();
        let mapped =
            mapped.flat_map(|(range, learned)| learned.rps.keys().map(|rp| Timer::Mapping(scope, *range, *rp)));
        let office = zone.office.iter().flat_map(|office| office.candidates().keys());
        let office = office.map(|(range, rp)| Timer::CandidateMapping(scope, *range, *rp));
        let single = [Timer::Bootstrap(scope), Timer::ScopeZone(scope), Timer::Advertisement(scope)];
        for timer in mapped.chain(office).chain(single) {
            self.timers.cancel(timer);
        }
    }

    /// Everything that peers have made grow, in mappings, ranges and fragments: for tests of bounds.
    pub fn size(&self) -> usize {
        let of_zone = |zone: &Zone| {
            let stored = zone.stored.as_ref().map_or(0, stored::Stored::size);
            1 + zone.rp_set.len() + zone.office.as_ref().map_or(0, office::Office::len) + stored
        };
        self.zones.values().map(of_zone).sum::<usize>() + self.passed.len()
    }
}
