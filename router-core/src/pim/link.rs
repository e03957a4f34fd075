//! PIM on one interface: hellos, neighbours, and what they agree on (RFC 3973 §4.3).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::settings::{LinkSettings, OVERRIDE_INTERVAL, PROPAGATION_DELAY};
use crate::counters::{Counters, DropReason, MessageKind};
use crate::coverage::{Coverage, Machine};
use crate::named;
use crate::random::Random;
use crate::time::Time;
use crate::timers::Timers;
use crate::wire::pim::{HOLD_FOR_EVER, Hello, LanPruneDelay};

/// Hold time of a neighbour whose hellos carry none: the default of RFC 3973 §4.3.3, 3.5 times 30 s.
const DEFAULT_HOLD_TIME: u16 = 105;
/// Other addresses that a hello announces at most, and that are kept of a neighbour's.
const ADDRESSES_MAX: usize = 64;

/// Routers on a link among whom hellos are delayed by as much as the RFCs allow.
const CROWD: u32 = 50;

/// A router on the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// When it came up.
    pub since: Time,
    /// Its last hello.
    pub hello: Hello,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// HT: the periodic hello.
    Hello,
    /// The answer to a new or restarted neighbour, which leaves HT alone (§4.3.1).
    TriggeredHello,
    /// NLT(N,I).
    NeighbourLiveness(IpAddr),
}

/// What became of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Up(IpAddr),
    /// Its generation id changed.
    Restarted(IpAddr),
    /// It is gone.
    Down(IpAddr),
}

/// What is noted of a neighbour's way (see [`crate::coverage`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighbourState {
    /// It is none.
    Unknown,
    /// It is one.
    Known,
}

named!(NeighbourState { "unknown" => NeighbourState::Unknown, "known" => NeighbourState::Known });

/// What happens to a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighbourEvent {
    /// A hello; of a known neighbour, with the generation id that it had.
    Hello,
    /// A hello with another generation id than the neighbour had.
    HelloAnew,
    /// A hello with a hold time of 0.
    Goodbye,
    /// NLT(N,I) expires.
    LivenessTimer,
    /// The interface goes down or its address changes.
    InterfaceChanges,
}

named!(NeighbourEvent {
    "hello" => NeighbourEvent::Hello,
    "hello-anew" => NeighbourEvent::HelloAnew,
    "goodbye" => NeighbourEvent::Goodbye,
    "liveness-timer" => NeighbourEvent::LivenessTimer,
    "interface-changes" => NeighbourEvent::InterfaceChanges,
});

/// What the link wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send a hello to all PIM routers from this address.
    Hello {
        /// The source address: after a change of address, the old one.
        source: IpAddr,
        /// The message.
        hello: Hello,
    },
    /// A neighbour changed.
    Neighbour(Change),
    /// There were more neighbours than the limit allows.
    NeighbourLimit,
}

/// PIM on an interface.
#[derive(Clone, Debug)]
pub struct Link {
    settings: LinkSettings,
    /// This router's address; none while the interface is down or has none.
    address: Option<IpAddr>,
    /// Its other addresses.
    secondary: Vec<IpAddr>,
    generation_id: u32,
    /// Whether a hello must go before the next message: none was sent yet, or a neighbour has not heard one since it (re)started.
    owes_hello: bool,
    neighbours: BTreeMap<IpAddr, Neighbour>,
    timers: Timers<Timer>,
    actions: Vec<Action>,
    counters: Counters,
    coverage: Coverage,
}

impl Link {
    /// PIM on an interface that is down as yet.
    pub fn new(settings: LinkSettings) -> Link {
        Link {
            settings,
            address: None,
            secondary: Vec::new(),
            generation_id: 0,
            owes_hello: true,
            neighbours: BTreeMap::new(),
            timers: Timers::default(),
            actions: Vec::new(),
            counters: Counters::default(),
            coverage: Coverage::default(),
        }
    }

    /// The interface came up, went down, or its addresses changed.
    pub fn set_interface(&mut self, now: Time, up: bool, addresses: &[IpNet], random: &mut Random) {
        let mut own = addresses.iter().map(IpNet::addr).filter(IpAddr::is_ipv4);
        let address = own.next().filter(|_| up);
        self.secondary = own.take(ADDRESSES_MAX).collect();
        if address == self.address {
            return;
        }
        // With the old address, where it can still be sent (§4.3.3).
        if up {
            self.goodbye();
        }
        self.timers.clear();
        for (neighbour, _) in std::mem::take(&mut self.neighbours) {
            self.coverage.note(Machine::PimNeighbour, &NeighbourState::Known, &NeighbourEvent::InterfaceChanges);
            self.actions.push(Action::Neighbour(Change::Down(neighbour)));
        }
        self.address = address;
        self.owes_hello = true;
        if address.is_some() {
            // §4.7.5.3: anew whenever PIM starts on the interface. A daemon that is started again draws the same numbers, at another
            // time.
            self.generation_id = Random::new(random.bits() ^ now.as_nanos()).bits() as u32;
            self.timers.set(Timer::Hello, now + random.up_to(self.hello_delay_max()));
        }
    }

    /// Takes leave of the link: a hello with a hold time of 0 (§4.3.3).
    pub fn goodbye(&mut self) {
        let Some(source) = self.address else { return };
        let hello = Hello { hold_time: Some(0), ..self.hello() };
        self.counters.send(MessageKind::PimHello);
        self.actions.push(Action::Hello { source, hello });
    }

    /// Runs the timers that have run out.
    pub fn timeout(&mut self, now: Time) {
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::Hello => {
                    self.timers.set(Timer::Hello, now + self.settings.hello_period);
                    self.say_hello();
                }
                Timer::TriggeredHello => self.say_hello(),
                Timer::NeighbourLiveness(neighbour) => {
                    self.note(neighbour, NeighbourEvent::LivenessTimer);
                    self.lose(neighbour);
                }
            }
        }
    }

    /// When to call [`Link::timeout`].
    pub fn next_timeout(&self) -> Option<Time> {
        self.timers.next()
    }

    /// A hello was heard (§4.3.2). The source lies on the link.
    pub fn receive(&mut self, now: Time, source: IpAddr, mut hello: Hello, random: &mut Random) {
        if self.address.is_none() {
            self.counters.drop(DropReason::NotRunning);
            return;
        }
        let hold_time = hello.hold_time.unwrap_or(DEFAULT_HOLD_TIME);
        if hold_time == 0 {
            self.counters.receive(MessageKind::PimHello);
            self.timers.cancel(Timer::NeighbourLiveness(source));
            self.note(source, NeighbourEvent::Goodbye);
            self.lose(source);
            return;
        }
        let known = self.neighbours.get(&source);
        if known.is_none() && self.neighbours.len() >= self.settings.neighbours {
            self.counters.drop(DropReason::NeighbourLimit);
            self.actions.push(Action::NeighbourLimit);
            return;
        }
        self.counters.receive(MessageKind::PimHello);
        let change = match known {
            None => Some(Change::Up(source)),
            Some(known) if known.hello.generation_id != hello.generation_id => Some(Change::Restarted(source)),
            Some(_) => None,
        };
        let since = known.map_or(now, |known| known.since);
        // RFC 7761 §4.3.4: an address is the neighbour's that announced it last; a primary one is none of them.
        hello.addresses.retain(|address| *address != source);
        hello.addresses.truncate(ADDRESSES_MAX);
        for other in self.neighbours.values_mut() {
            other.hello.addresses.retain(|address| !hello.addresses.contains(address));
        }
        let is_anew = matches!(change, Some(Change::Restarted(_)));
        self.note(source, if is_anew { NeighbourEvent::HelloAnew } else { NeighbourEvent::Hello });
        self.neighbours.insert(source, Neighbour { since, hello });
        if hold_time == HOLD_FOR_EVER {
            self.timers.cancel(Timer::NeighbourLiveness(source));
        } else {
            self.timers.set(Timer::NeighbourLiveness(source), now + Duration::from_secs(hold_time.into()));
        }
        if let Some(change) = change {
            self.actions.push(Action::Neighbour(change));
            self.owes_hello = true;
            if !self.timers.is_running(Timer::TriggeredHello) {
                let delay = random.up_to(self.hello_delay_max());
                if delay.is_zero() {
                    self.say_hello();
                } else {
                    self.timers.set(Timer::TriggeredHello, now + delay);
                }
            }
        }
    }

    /// To be called before any other message is sent on the link: who does not know this router yet would not listen (§4.3.4).
    pub fn introduce(&mut self) {
        if self.owes_hello && self.address.is_some() {
            self.say_hello();
        }
    }

    /// Whether [`Link::take_actions`] has something to give.
    pub fn has_news(&self) -> bool {
        !self.actions.is_empty()
    }

    /// What is to be done since the last call.
    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// `my_addr(I)`.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// The neighbours by address.
    pub fn neighbours(&self) -> &BTreeMap<IpAddr, Neighbour> {
        &self.neighbours
    }

    /// Whether a router is a neighbour.
    pub fn is_neighbour(&self, address: IpAddr) -> bool {
        self.neighbours.contains_key(&address)
    }

    /// `NBR(I,A)`: the neighbour that has an address, by its primary one (RFC 7761 §4.3.4).
    pub fn neighbour_of(&self, address: IpAddr) -> Option<IpAddr> {
        if self.is_neighbour(address) {
            return Some(address);
        }
        let has = |neighbour: &Neighbour| neighbour.hello.addresses.contains(&address);
        self.neighbours.iter().find(|(_, neighbour)| has(neighbour)).map(|(primary, _)| *primary)
    }

    /// `DR(I)`: the designated router of the link (RFC 7761 §4.3.2); none while this router has no address there.
    pub fn dr(&self) -> Option<IpAddr> {
        self.elect(|_| true)
    }

    /// Who would be the designated router without a neighbour (RFC 5059 §3.5).
    pub fn dr_without(&self, neighbour: IpAddr) -> Option<IpAddr> {
        self.elect(|address| address != neighbour)
    }

    /// The designated router among this one and those neighbours that count.
    fn elect(&self, counts: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
        let own = (self.settings.dr_priority, self.address?);
        let others = || self.neighbours.iter().filter(|(address, _)| counts(**address));
        // Priorities count only where all announce one.
        let by_priority = own.0.is_some() && others().all(|(_, neighbour)| neighbour.hello.dr_priority.is_some());
        let rank = |(priority, address)| (if by_priority { priority } else { None }, address);
        let others = others().map(|(address, neighbour)| rank((neighbour.hello.dr_priority, *address)));
        others.fold(rank(own), Ord::max).1.into()
    }

    /// `I_am_DR(I)` (RFC 7761 §4.3.2).
    pub fn is_dr(&self) -> bool {
        self.address.is_some() && self.dr() == self.address
    }

    /// `Suppression_Enabled(I)`: not everybody on the link can do without join suppression (RFC 7761 §4.3.3).
    pub fn is_suppression_enabled(&self) -> bool {
        let tracks = |neighbour: &Neighbour| neighbour.hello.lan_prune_delay.is_some_and(|delay| delay.tracking);
        !self.is_lan_delay_enabled() || !self.neighbours.values().all(tracks)
    }

    /// Whether each neighbour's joins are heard, and who has joined is tracked: everybody on the link, this router included, sets the T bit
    /// (RFC 7761 §4.3.3).
    pub fn is_tracking(&self) -> bool {
        self.settings.explicit_tracking && !self.is_suppression_enabled()
    }

    /// When a neighbour's hold time runs out; none if never.
    pub fn expires(&self, neighbour: IpAddr) -> Option<Time> {
        self.timers.deadline(Timer::NeighbourLiveness(neighbour))
    }

    /// Settings in force.
    pub fn settings(&self) -> &LinkSettings {
        &self.settings
    }

    /// What neighbours have been through.
    pub fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// Counters of hellos and of what was refused.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The same, to count in.
    pub fn counters_mut(&mut self) -> &mut Counters {
        &mut self.counters
    }

    /// Whether everybody on the link, this router included, announces LAN prune delays (§4.3.5).
    pub fn is_lan_delay_enabled(&self) -> bool {
        self.settings.lan_prune_delay && self.neighbours.values().all(|n| n.hello.lan_prune_delay.is_some())
    }

    /// PD(I) (§4.8).
    pub fn propagation_delay(&self) -> Duration {
        self.largest(self.settings.propagation_delay, PROPAGATION_DELAY, |delay| delay.propagation_delay)
    }

    /// OI(I) (§4.8).
    pub fn override_interval(&self) -> Duration {
        self.largest(self.settings.override_interval, OVERRIDE_INTERVAL, |delay| delay.override_interval)
    }

    /// J/P_Override_Interval(I) (§4.8).
    pub fn jp_override_interval(&self) -> Duration {
        self.override_interval() + self.propagation_delay()
    }

    /// `StateRefreshCapable(I)`: all neighbours use the State Refresh option (§4.5.1).
    pub fn is_state_refresh_capable(&self) -> bool {
        self.neighbours.values().all(|n| n.hello.state_refresh_interval.is_some())
    }

    fn largest(&self, own: u16, otherwise: Duration, of: impl Fn(&LanPruneDelay) -> u16) -> Duration {
        if !self.is_lan_delay_enabled() {
            return otherwise;
        }
        let others = self.neighbours.values().filter_map(|n| n.hello.lan_prune_delay.as_ref().map(&of));
        Duration::from_millis(others.fold(own, u16::max).into())
    }

    fn hello(&self) -> Hello {
        Hello {
            hold_time: Some(self.settings.hello_hold_time),
            lan_prune_delay: self.settings.lan_prune_delay.then_some(LanPruneDelay {
                tracking: self.settings.explicit_tracking,
                propagation_delay: self.settings.propagation_delay,
                override_interval: self.settings.override_interval,
            }),
            dr_priority: self.settings.dr_priority,
            generation_id: Some(self.generation_id),
            state_refresh_interval: self.settings.state_refresh_interval,
            addresses: self.secondary.clone(),
        }
    }

    /// The longest delay of a first or triggered hello: a random one up to this keeps hellos apart (RFC 3973 and RFC 7761 §4.3.1).
    ///
    /// Triggered_Hello_Delay is the RFC's bound, made for links with many routers. Here it is what fifty routers take; fewer take a
    /// fiftieth each, so that the hellos of a link come at the same average rate (20 a second by default), whoever is there,
    /// and two routers at a link's ends know each other fifty times sooner.
    fn hello_delay_max(&self) -> Duration {
        let bound = self.settings.triggered_hello_delay;
        let routers = u32::try_from(self.neighbours.len()).map_or(CROWD, |others| others.saturating_add(1));
        bound / CROWD * routers.min(CROWD)
    }

    fn say_hello(&mut self) {
        let Some(source) = self.address else { return };
        self.timers.cancel(Timer::TriggeredHello);
        self.owes_hello = false;
        let hello = self.hello();
        self.counters.send(MessageKind::PimHello);
        self.actions.push(Action::Hello { source, hello });
    }

    fn note(&mut self, neighbour: IpAddr, event: NeighbourEvent) {
        let known = self.neighbours.contains_key(&neighbour);
        let state = if known { NeighbourState::Known } else { NeighbourState::Unknown };
        self.coverage.note(Machine::PimNeighbour, &state, &event);
    }

    fn lose(&mut self, neighbour: IpAddr) {
        if self.neighbours.remove(&neighbour).is_some() {
            self.actions.push(Action::Neighbour(Change::Down(neighbour)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Pim;
    use crate::time::Span;

    const OWN: [u8; 4] = [10, 0, 0, 1];

    fn at(millis: u64) -> Time {
        Time::ZERO + Duration::from_millis(millis)
    }

    fn link(limit: usize) -> (Link, Random) {
        let pim = Pim { triggered_hello_delay: Some(Span(Duration::from_secs(1))), ..Pim::default() };
        let (mut link, mut random) = (Link::new(LinkSettings::new(&pim, limit)), Random::new(7));
        link.set_interface(at(0), true, &["10.0.0.1/24".parse().unwrap()], &mut random);
        (link, random)
    }

    fn hello(generation_id: u32, hold_time: u16) -> Hello {
        let lan_prune_delay = Some(LanPruneDelay { tracking: false, propagation_delay: 700, override_interval: 900 });
        Hello {
            hold_time: Some(hold_time),
            generation_id: Some(generation_id),
            lan_prune_delay,
            state_refresh_interval: Some(60),
            ..Hello::default()
        }
    }

    fn hellos(actions: &[Action]) -> usize {
        actions.iter().filter(|action| matches!(action, Action::Hello { .. })).count()
    }

    #[test]
    fn the_first_hello_comes_within_the_triggered_delay_then_one_a_period() {
        let (mut link, _) = link(8);
        let first = link.next_timeout().unwrap();
        assert!(first <= at(20), "a fiftieth: nobody else is known");
        link.timeout(first);
        let [Action::Hello { source, hello }] = &link.take_actions()[..] else { panic!() };
        assert_eq!((*source, hello.hold_time), (OWN.into(), Some(105)));
        assert_eq!(link.next_timeout(), Some(first + Duration::from_secs(30)));
    }

    #[test]
    fn a_new_and_a_restarted_neighbour_are_answered_and_the_period_stays() {
        let (mut link, mut random) = link(8);
        link.timeout(at(1000));
        link.take_actions();
        let period = link.next_timeout().unwrap();
        let other: IpAddr = [10, 0, 0, 2].into();
        for (generation_id, change) in [(1, Change::Up(other)), (2, Change::Restarted(other))] {
            link.receive(at(2000), other, hello(generation_id, 105), &mut random);
            assert_eq!(link.take_actions(), [Action::Neighbour(change)]);
            let answer = link.next_timeout().unwrap();
            assert!(answer <= at(2040));
            link.timeout(answer);
            assert_eq!(hellos(&link.take_actions()), 1);
            assert_eq!(link.next_timeout(), Some(period), "HT is left alone");
        }
        link.receive(at(4000), other, hello(2, 105), &mut random);
        assert!(link.take_actions().is_empty());
    }

    #[test]
    fn answers_are_delayed_by_a_part_that_grows_with_the_neighbours_up_to_the_rfcs_bound() {
        let longest = |others: u8| {
            let pim = Pim::default();
            let delays = (0..200).map(|seed| {
                let (mut link, mut random) = (Link::new(LinkSettings::new(&pim, 256)), Random::new(seed));
                link.set_interface(at(0), true, &["10.0.0.1/24".parse().unwrap()], &mut random);
                link.timeout(at(5000));
                for other in 0..others {
                    link.receive(at(10_000), [10, 0, 0, 2 + other].into(), hello(1, 105), &mut random);
                    link.introduce();
                }
                link.receive(at(20_000), [10, 0, 0, 250].into(), hello(1, 105), &mut random);
                link.next_timeout().unwrap().since(at(20_000))
            });
            delays.max().unwrap().as_millis()
        };
        for (others, bound) in [(0, 200), (8, 1000), (48, 5000), (120, 5000)] {
            let longest = longest(others);
            assert!(longest <= bound && longest > bound * 9 / 10, "{others} others: {longest} ms");
        }
    }

    #[test]
    fn a_message_to_a_new_neighbour_goes_after_a_hello() {
        let (mut link, mut random) = link(8);
        link.receive(at(10), [10, 0, 0, 2].into(), hello(1, 105), &mut random);
        link.take_actions();
        link.introduce();
        assert_eq!(hellos(&link.take_actions()), 1);
        link.introduce();
        assert!(link.take_actions().is_empty());
    }

    #[test]
    fn neighbours_go_by_their_hold_time_by_goodbye_and_with_the_link() {
        let (mut link, mut random) = link(8);
        let neighbour = |last: u8| IpAddr::from([10, 0, 0, last]);
        link.receive(at(0), neighbour(2), hello(1, 2), &mut random);
        link.receive(at(0), neighbour(3), hello(1, HOLD_FOR_EVER), &mut random);
        link.receive(at(0), neighbour(4), hello(1, 105), &mut random);
        link.take_actions();
        link.timeout(at(2000));
        assert!(link.take_actions().contains(&Action::Neighbour(Change::Down(neighbour(2)))));
        link.receive(at(2000), neighbour(4), hello(1, 0), &mut random);
        assert_eq!(link.take_actions(), [Action::Neighbour(Change::Down(neighbour(4)))]);
        link.timeout(at(10_000_000));
        assert!(link.is_neighbour(neighbour(3)), "0xffff never runs out");
        link.take_actions();
        link.set_interface(at(10_000_000), false, &[], &mut random);
        assert_eq!(link.take_actions(), [Action::Neighbour(Change::Down(neighbour(3)))]);
        assert_eq!(link.next_timeout(), None);
    }

    #[test]
    fn a_changed_address_takes_leave_with_the_old_one() {
        let (mut link, mut random) = link(8);
        let before = link.hello().generation_id;
        link.set_interface(at(5), true, &["10.0.0.9/24".parse().unwrap()], &mut random);
        let [Action::Hello { source, hello }] = &link.take_actions()[..] else { panic!() };
        assert_eq!((*source, hello.hold_time), (OWN.into(), Some(0)));
        assert_ne!(link.hello().generation_id, before);
    }

    #[test]
    fn intervals_are_the_largest_if_all_announce_them_and_the_defaults_else() {
        let (mut link, mut random) = link(8);
        link.receive(at(0), [10, 0, 0, 2].into(), hello(1, 105), &mut random);
        assert_eq!(link.propagation_delay(), Duration::from_millis(700));
        assert_eq!(link.override_interval(), Duration::from_millis(2500));
        assert!(link.is_state_refresh_capable());
        let bare = Hello { hold_time: Some(105), ..Hello::default() };
        link.receive(at(0), [10, 0, 0, 3].into(), bare, &mut random);
        assert_eq!(link.jp_override_interval(), PROPAGATION_DELAY + OVERRIDE_INTERVAL);
        assert!(!link.is_state_refresh_capable());
    }

    #[test]
    fn a_secondary_address_is_the_neighbours_that_announced_it_last() {
        let (mut link, mut random) = link(8);
        let address = |last: u8| IpAddr::from([10, 0, 0, last]);
        let with = |addresses: Vec<IpAddr>| Hello { addresses, ..hello(1, 105) };
        link.receive(at(0), address(2), with(vec![address(2), address(20), address(21)]), &mut random);
        assert_eq!(link.neighbours()[&address(2)].hello.addresses, [address(20), address(21)]);
        assert_eq!(link.neighbour_of(address(20)), Some(address(2)));
        link.receive(at(1), address(3), with(vec![address(20)]), &mut random);
        assert_eq!(link.neighbour_of(address(20)), Some(address(3)));
        assert_eq!(link.neighbour_of(address(21)), Some(address(2)));
        link.receive(at(2), address(2), with(vec![]), &mut random);
        assert_eq!(link.neighbour_of(address(21)), None);
        let many = (0..=255).flat_map(|a| (0..=42).map(move |b| IpAddr::from([10, 1, a, b]))).collect();
        link.receive(at(3), address(2), with(many), &mut random);
        assert_eq!(link.neighbours()[&address(2)].hello.addresses.len(), ADDRESSES_MAX);
    }

    #[test]
    fn no_more_neighbours_are_kept_than_the_limit() {
        let (mut link, mut random) = link(1);
        link.receive(at(0), [10, 0, 0, 2].into(), hello(1, 105), &mut random);
        link.take_actions();
        link.receive(at(0), [10, 0, 0, 3].into(), hello(1, 105), &mut random);
        assert_eq!(link.take_actions(), [Action::NeighbourLimit]);
        assert_eq!(link.neighbours().len(), 1);
    }
}
