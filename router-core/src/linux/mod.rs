//! The Linux shell around a sans-IO router: one thread, one epoll loop.
//!
//! It owns the multicast routing socket, a raw socket that sends, with PIM one that hears PIM, the netlink monitor, the memberships that this machine
//! holds as a host, the control socket, one timer and the termination signals. Each turn of the loop does a bounded
//! amount of work for each of them, so that a flood on one cannot keep the timers waiting.

mod answer;
mod clock;
mod log;
mod membership;
mod memory;
mod mroute;
mod netlink;
mod notify;
mod offload;
mod raw;
mod sys;

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::config::Config;
use crate::control::server::{BindError, Server};
use crate::router::{Datagram, Event, EventKind, Input, InterfaceId, Output, Router, SourceFilter};
use crate::show::{Show, Shown};
use crate::time::Time;
use crate::wire::{ipv4, pim};

pub use clock::now;
pub use mroute::OpenError;

use answer::Counters;
use log::Log;
use membership::Memberships;
use mroute::{Mroute, Received, TableError};
use netlink::Monitor;
use raw::{Receiver, Sender};

/// Interfaces that one multicast routing table holds.
pub const INTERFACES_MAX: usize = sys::MAXVIFS;

/// Messages taken from the multicast routing socket, and from the PIM socket, in one turn.
const MESSAGES_TURN: usize = 64;
/// Reads of netlink news in one turn.
const NEWS_TURN: usize = 16;
/// Outputs of one input at most; a router that gives more has lost its mind, and the rest waits for the next turn.
const OUTPUTS_TURN: usize = 100_000;

const SIGNALS: u64 = 0;
const TIMER: u64 = 1;
const MROUTE: u64 = 2;
const NETLINK: u64 = 3;
const PIM: u64 = 4;
/// The control socket's first token.
const CONTROL: u64 = 16;

/// The groups that routers listen to on each multicast interface: all routers, and IGMPv3 reports (RFC 9776 §4.2.14). The
/// kernel passes neither on to a socket before somebody has joined them.
const ROUTER_GROUPS: [Ipv4Addr; 2] = [Ipv4Addr::new(224, 0, 0, 2), Ipv4Addr::new(224, 0, 0, 22)];

/// What the shell drives: the [`Router`], or a test's double of it.
pub trait Machine {
    /// See [`Router::handle`].
    fn handle(&mut self, now: Time, input: Input);
    /// See [`Router::poll_output`].
    fn poll_output(&mut self) -> Option<Output>;
    /// See [`Router::poll_timeout`].
    fn poll_timeout(&self) -> Option<Time>;
    /// See [`Router::show`].
    fn show(&self, now: Time, what: Show) -> Shown;
}

impl Machine for Router {
    fn handle(&mut self, now: Time, input: Input) {
        Router::handle(self, now, input);
    }
    fn poll_output(&mut self) -> Option<Output> {
        Router::poll_output(self)
    }
    fn poll_timeout(&self) -> Option<Time> {
        Router::poll_timeout(self)
    }
    fn show(&self, now: Time, what: Show) -> Shown {
        Router::show(self, now, what)
    }
}

/// How the shell runs.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What log lines begin with.
    pub name: String,
    /// Where to listen for `show` and events.
    pub control: Option<PathBuf>,
    /// Log memberships and forwarding entries too.
    pub verbose: bool,
    /// PIM runs: hear it, and have the kernel tell of packets by any wrong interface ([`crate::config::Multicast::is_pim`]).
    pub pim: bool,
}

/// Why the daemon could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    /// The multicast routing socket.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The control socket.
    #[error(transparent)]
    Control(#[from] BindError),
    /// A part of the loop failed.
    #[error("{what}: {why}")]
    Failed {
        /// What was done.
        what: &'static str,
        /// What the kernel said.
        why: io::Error,
    },
}

/// Routes by a configuration until a termination signal. Call it before any other thread exists.
///
/// The shell of the router is made here, beside the code that it drives: what is read once at the start, the configuration's parser above all,
/// then shares no pages with it.
///
/// # Errors
/// [`ShellError`].
pub fn run(config: Config, control: Option<PathBuf>, verbose: bool) -> Result<(), ShellError> {
    let options = Options { name: config.name.clone(), control, verbose, pim: config.multicast.is_pim() };
    sys::ask_for_short_slices();
    Shell::new(Router::new(config), &options)?.run().map(drop)
}

fn failed<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> ShellError {
    move |why| ShellError::Failed { what, why: why.into() }
}

/// The shell with everything that it owns.
#[derive(Debug)]
pub struct Shell<M> {
    machine: M,
    epoll: Epoll,
    signals: SignalFd,
    timer: TimerFd,
    /// What the timer is set to.
    armed: Option<Time>,
    mroute: Mroute,
    /// Hears PIM, where it runs.
    pim: Option<Receiver>,
    sender: Sender,
    monitor: Monitor,
    memberships: Memberships,
    server: Option<Server>,
    /// Answers of the kernel to the machine's questions.
    answers: VecDeque<Input>,
    /// Events of this turn that nobody was told of yet.
    happened: Vec<Event>,
    log: Log,
    counters: Counters,
}

impl<M: Machine> Shell<M> {
    /// Takes everything that the daemon needs from the kernel. Call it before any other thread exists: it blocks the
    /// termination signals.
    ///
    /// # Errors
    /// [`ShellError`].
    pub fn new(machine: M, options: &Options) -> Result<Shell<M>, ShellError> {
        sys::keep_large_buffers_apart();
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGTERM);
        mask.add(Signal::SIGINT);
        mask.thread_block().map_err(failed("blocking signals"))?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .map_err(failed("taking signals"))?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(failed("making the event loop"))?;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)
            .map_err(failed("making the timer"))?;
        let mroute = Mroute::open(options.pim)?;
        let pim = match options.pim {
            true => Some(Receiver::open(pim::PROTOCOL).map_err(failed("opening the PIM socket"))?),
            false => None,
        };
        let sender = Sender::open().map_err(failed("opening the raw socket"))?;
        let monitor = Monitor::new().map_err(failed("opening the netlink socket"))?;
        let server = match &options.control {
            Some(path) => Some(Server::bind(path, &epoll, CONTROL)?),
            None => None,
        };
        let wait = |token| EpollEvent::new(EpollFlags::EPOLLIN, token);
        let add = || -> nix::Result<()> {
            epoll.add(&signals, wait(SIGNALS))?;
            epoll.add(&timer, wait(TIMER))?;
            epoll.add(&mroute, wait(MROUTE))?;
            if let Some(pim) = &pim {
                epoll.add(pim, wait(PIM))?;
            }
            epoll.add(&monitor, wait(NETLINK))
        };
        add().map_err(failed("waiting for events"))?;
        Ok(Shell {
            machine,
            epoll,
            signals,
            timer,
            armed: None,
            mroute,
            pim,
            sender,
            monitor,
            memberships: Memberships::default(),
            server,
            answers: VecDeque::new(),
            happened: Vec::new(),
            log: Log::new(&options.name, options.verbose),
            counters: Counters::default(),
        })
    }

    /// Runs until a termination signal, says goodbye on the wire, and gives the machine back.
    ///
    /// # Errors
    /// [`ShellError`] if the kernel fails a part that the daemon cannot do without.
    pub fn run(mut self) -> Result<M, ShellError> {
        let mut events = [EpollEvent::empty(); 32];
        // The first reading of netlink gives all interfaces and routes.
        self.read_netlink()?;
        loop {
            self.catch_up();
            self.arm()?;
            let timeout = if self.answers.is_empty() { EpollTimeout::NONE } else { EpollTimeout::ZERO };
            let ready = match self.epoll.wait(&mut events, timeout) {
                Ok(ready) => ready,
                Err(Errno::EINTR) => 0,
                Err(why) => return Err(failed("waiting for events")(why)),
            };
            for event in &events[..ready] {
                match event.data() {
                    SIGNALS => {
                        if self.signals.read_signal().map_err(failed("taking a signal"))?.is_some() {
                            self.input(Input::Shutdown);
                            self.tell();
                            self.log.say(now(), "ends");
                            return Ok(self.machine);
                        }
                    }
                    TIMER => {
                        // Reading it makes it quiet; that it was read before is no matter.
                        let _ = self.timer.wait();
                        self.armed = None;
                    }
                    MROUTE => self.read_mroute()?,
                    PIM => self.read_pim()?,
                    NETLINK => self.read_netlink()?,
                    token => self.serve(token),
                }
            }
        }
    }

    /// Gives the machine what is due: answers to its questions, and its timers.
    fn catch_up(&mut self) {
        self.drain();
        self.tell();
        for _ in 0..self.answers.len() {
            if let Some(answer) = self.answers.pop_front() {
                self.input(answer);
            }
        }
        if self.machine.poll_timeout().is_some_and(|due| due <= now()) {
            self.input(Input::Timeout);
        }
        self.tell();
    }

    /// Tells of what happened in this turn. Packets and entries went before: who is told may take the processor.
    fn tell(&mut self) {
        for event in std::mem::take(&mut self.happened) {
            self.log.event(event.time, &event.kind);
            if let Some(server) = &mut self.server {
                server.publish(&event, &self.epoll);
            }
            if event.kind == EventKind::Ready {
                if let Err(why) = notify::ready() {
                    self.log.say(now(), format_args!("the supervisor at NOTIFY_SOCKET cannot be told: {why}"));
                }
                memory::release_start();
            }
        }
    }

    /// Sets the timer to when the machine wants to be called.
    fn arm(&mut self) -> Result<(), ShellError> {
        let due = self.machine.poll_timeout();
        if due == self.armed {
            return Ok(());
        }
        let set = match due {
            // A time of zero would switch the timer off; one that has passed fires at once.
            Some(due) => {
                let at = TimeSpec::from_duration(Duration::from_nanos(due.as_nanos().max(1)));
                self.timer.set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME)
            }
            None => self.timer.unset(),
        };
        set.map_err(failed("setting the timer"))?;
        self.armed = due;
        Ok(())
    }

    /// Hands an input to the machine and does what it wants done.
    fn input(&mut self, input: Input) {
        self.machine.handle(now(), input);
        self.drain();
    }

    fn drain(&mut self) {
        for _ in 0..OUTPUTS_TURN {
            match self.machine.poll_output() {
                Some(output) => self.output(output),
                None => return,
            }
        }
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::Send { interface, datagram } => self.send(interface, &datagram),
            Output::SendRouted { datagram } => self.send_routed(&datagram),
            Output::AddVif { interface } => self.add_vif(interface),
            Output::RemoveVif { interface } => {
                let result = self.mroute.remove_vif(interface);
                self.table(result);
                if interface == InterfaceId::REGISTER {
                    return;
                }
                for group in self.router_groups() {
                    self.membership(interface, group.into(), &SourceFilter::Include([].into()));
                }
            }
            Output::HostMembership { interface, group, filter } => self.membership(interface, group, &filter),
            Output::SetEntry(entry) => {
                let result = self.mroute.set_entry(&entry);
                self.table(result);
            }
            Output::DeleteEntry(key) => {
                let result = self.mroute.delete_entry(key);
                self.table(result);
            }
            Output::AskCounters(key) => {
                // An entry that is gone has no counters, and the machine learns of that otherwise.
                if let Ok((packets, octets, wrong_interface)) = self.mroute.counters(key) {
                    self.answers.push_back(Input::Counters { key, packets, octets, wrong_interface });
                }
            }
            Output::Event(event) => self.happened.push(event),
        }
    }

    fn send_routed(&mut self, datagram: &Datagram) {
        let Some(socket) = &mut self.pim else { return };
        match socket.send_routed(datagram) {
            Ok(()) => self.counters.packets_sent += 1,
            // A destination without a route, or whose link has just gone, is no fault: it is as if the network had lost the packet.
            Err(_) => self.counters.packets_unsent += 1,
        }
    }

    fn add_vif(&mut self, interface: InterfaceId) {
        if let Err(error) = self.mroute.add_vif(interface) {
            self.counters.table_refusals += 1;
            let name = self.name(interface);
            self.log.say(now(), format_args!("{name} cannot be a multicast interface: {error}"));
            return;
        }
        if interface == InterfaceId::REGISTER {
            return;
        }
        for group in self.router_groups() {
            self.membership(interface, group.into(), &SourceFilter::Exclude([].into()));
        }
    }

    /// The groups that this router listens to on each multicast interface.
    fn router_groups(&self) -> impl Iterator<Item = Ipv4Addr> + use<M> {
        ROUTER_GROUPS.into_iter().chain(self.pim.is_some().then_some(pim::ALL_PIM_ROUTERS))
    }

    fn membership(&mut self, interface: InterfaceId, group: IpAddr, filter: &SourceFilter) {
        if let Err(error) = self.memberships.set(interface, group, filter) {
            self.counters.membership_refusals += 1;
            let name = self.name(interface);
            self.log.say(now(), format_args!("{name}: {error}"));
        }
    }

    fn table(&mut self, result: Result<(), TableError>) {
        if let Err(error) = result {
            self.counters.table_refusals += 1;
            self.log.say(now(), format_args!("forwarding table: {error}"));
        }
    }

    fn send(&mut self, interface: InterfaceId, datagram: &Datagram) {
        match self.sender.send(interface, datagram) {
            Ok(()) => self.counters.packets_sent += 1,
            Err(error) => {
                self.counters.packets_unsent += 1;
                // A link that has just gone down is no fault: the machine hears of it in a moment.
                if self.monitor.link(interface.0).is_some_and(|link| link.up) {
                    let name = self.name(interface);
                    self.log.say(now(), format_args!("{name}: a packet could not be sent: {error}"));
                }
            }
        }
    }

    fn name(&self, interface: InterfaceId) -> String {
        if interface == InterfaceId::REGISTER {
            return "the register interface".into();
        }
        self.monitor.link(interface.0).map_or_else(|| format!("interface #{}", interface.0), |link| link.name.clone())
    }

    fn read_mroute(&mut self) -> Result<(), ShellError> {
        for _ in 0..MESSAGES_TURN {
            let input = match self.mroute.receive().map_err(failed("reading the multicast routing socket"))? {
                None => break,
                Some(Received::NoCache { interface, key }) => {
                    self.counters.upcalls += 1;
                    Input::NoCache { interface, key }
                }
                Some(Received::WrongInterface { interface, key }) => {
                    self.counters.upcalls += 1;
                    Input::WrongInterface { interface, key }
                }
                Some(Received::WholePacket { packet }) => {
                    self.counters.upcalls += 1;
                    let mut packet = packet.to_vec();
                    offload::complete(&mut packet);
                    Input::WholePacket { packet }
                }
                Some(Received::Packet { interface, bytes }) => {
                    match packet(&self.monitor, &mut self.counters, interface, bytes) {
                        Some(input) => input,
                        None => continue,
                    }
                }
                Some(Received::Other) => {
                    self.counters.upcalls_unknown += 1;
                    continue;
                }
            };
            self.input(input);
        }
        Ok(())
    }

    fn read_pim(&mut self) -> Result<(), ShellError> {
        for _ in 0..MESSAGES_TURN {
            let Some(socket) = &mut self.pim else { break };
            let Some(received) = socket.receive().map_err(failed("reading the PIM socket"))? else { break };
            let input = match received.interface {
                Some(interface) if !received.is_cut => {
                    packet(&self.monitor, &mut self.counters, interface, received.bytes)
                }
                _ => {
                    self.counters.packets_malformed += 1;
                    None
                }
            };
            if let Some(input) = input {
                self.input(input);
            }
        }
        Ok(())
    }

    fn read_netlink(&mut self) -> Result<(), ShellError> {
        let mut inputs = Vec::new();
        self.monitor.read(NEWS_TURN, &mut inputs).map_err(failed("watching interfaces and routes"))?;
        for input in inputs {
            if let Input::InterfaceGone { interface } = &input {
                self.mroute.forget(*interface);
                self.memberships.forget(*interface);
            }
            self.input(input);
        }
        Ok(())
    }

    fn serve(&mut self, token: u64) {
        if let Some(mut server) = self.server.take() {
            let counts = server.counts();
            server.serve(token, &self.epoll, &mut |what| self.answer(what, counts));
            self.server = Some(server);
        }
    }
}

/// The input that a packet of a control protocol makes; none, but a count, if it is broken or this machine's own.
fn packet(monitor: &Monitor, counters: &mut Counters, interface: InterfaceId, bytes: &[u8]) -> Option<Input> {
    let counter = match ipv4::parse(bytes) {
        // What this machine sends itself, its kernel's own reports included, comes back on some paths.
        Ok((header, _)) if monitor.is_own(header.source.into()) => &mut counters.packets_own,
        Ok((header, payload)) => {
            counters.packets_received += 1;
            return Some(Input::Packet { interface, datagram: datagram(&header, payload) });
        }
        Err(_) => &mut counters.packets_malformed,
    };
    *counter += 1;
    None
}

fn datagram(header: &ipv4::Header, payload: &[u8]) -> Datagram {
    Datagram {
        source: header.source.into(),
        destination: header.destination.into(),
        protocol: header.protocol,
        ttl: header.ttl,
        router_alert: header.router_alert,
        traffic_class: header.tos,
        payload: payload.to_vec(),
    }
}
