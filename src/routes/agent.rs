//! The route agent of a lab: `testbed inside agent`.
//!
//! It puts every node's routes into its kernel, says `ready`, and then acts on what a router could know: interfaces that
//! go down, lose their carrier or come back, as the kernel of that very node tells it. Silent cuts it learns from
//! whoever made them, after the time that a routing protocol would have needed ([`Message`]).
//!
//! One thread, one loop. Every turn takes all news that are there, computes once, and changes only what differs. A moved
//! route is added before the old one goes when their metrics differ, and replaced in one step when they do not, so that
//! a router is never without a route that it should have.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use super::kernel::{Change, KernelRoute, LinkState, News, NodeKernel};
use super::log::{Log, Record, What, now};
use super::spf::{Hop, Paths, Table, Usable};
use crate::topology::plan::{Attachment, NodeId, Plan, WireId};

/// Longest message that is taken.
const MESSAGE_MAX: usize = 4096;
/// A refused route is tried again after this time, and then after twice as long each time...
const RETRY_FIRST: Duration = Duration::from_millis(5);
/// ... this many times; after that, at the next news.
const RETRIES: u32 = 9;

/// What the agent is told, one JSON object a datagram on `agent.sock`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Message {
    /// The routers noticed that a wire, or one end of it, carries nothing though its carrier is there.
    Cut {
        /// The wire.
        wire: WireId,
        /// Its dead end; none: all.
        end: Option<Attachment>,
    },
    /// They noticed that it works again.
    Restored {
        /// The wire.
        wire: WireId,
        /// The end; none: all.
        end: Option<Attachment>,
    },
}

/// Tells a running agent something.
///
/// # Errors
/// Those of the socket: nobody listens there, or nobody reads.
pub fn tell(socket: &Path, message: &Message) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    UnixDatagram::unbound()?.send_to(&text, socket).map(|_| ())
}

/// Where the agent finds and leaves things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Directory of the nodes' network namespaces.
    pub namespaces: PathBuf,
    /// Socket to listen on.
    pub socket: PathBuf,
    /// Its log.
    pub log: PathBuf,
}

impl Default for Places {
    /// As they are inside a lab.
    fn default() -> Places {
        Places {
            namespaces: "/run/netns".into(),
            socket: "/run/testbed/lab/agent.sock".into(),
            log: "/run/testbed/lab/agent.log".into(),
        }
    }
}

/// Why the agent could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// A namespace is not there.
    #[error("the namespace {} cannot be entered: {source}", path.display())]
    Namespace {
        /// Its path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file or a socket of the agent's own.
    #[error("{}: {source}", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Netlink does not work.
    #[error("the routes of {node} cannot be set: {source}")]
    Netlink {
        /// The node.
        node: String,
        /// The cause.
        source: io::Error,
    },
    /// The kernel does not take a route though its interface is up.
    #[error("{node} refused the route to {prefix} via {via}: {source}")]
    Refused {
        /// The node.
        node: String,
        /// The destination.
        prefix: IpNet,
        /// The next hop and the interface.
        via: String,
        /// The cause.
        source: Errno,
    },
    /// An interface of the plan is not there.
    #[error("{0} is not there")]
    NoInterface(String),
    /// Waiting failed.
    #[error("waiting for news: {0}")]
    Poll(Errno),
    /// Nobody reads standard output.
    #[error("saying that the routes are ready: {0}")]
    Output(io::Error),
}

/// Runs the agent of the lab that this process is in, for good: it ends with its lab.
///
/// # Errors
/// See [`AgentError`]; once it has said `ready`, only [`AgentError::Poll`].
pub fn run(plan: &Plan) -> Result<std::convert::Infallible, AgentError> {
    let mut agent = Agent::start(plan, &Places::default())?;
    let mut out = io::stdout().lock();
    out.write_all(b"ready\n").and_then(|()| out.flush()).map_err(AgentError::Output)?;
    loop {
        agent.turn(None)?;
    }
}

/// One node as the agent sees it.
#[derive(Debug)]
struct Member {
    id: NodeId,
    kernel: NodeKernel,
    links: Vec<LinkState>,
    /// What its kernel holds.
    installed: Table,
    /// What its kernel refused, and why.
    refused: BTreeMap<IpNet, (Hop, Errno)>,
    /// Something happened that may make what is installed differ from what is wanted.
    touched: bool,
}

/// The agent at work.
#[derive(Debug)]
pub struct Agent<'p> {
    plan: &'p Plan,
    paths: Paths,
    /// What is known of the interfaces, the cuts included.
    usable: Usable,
    /// Ends with a known silent cut.
    cuts: Vec<Attachment>,
    /// What each node's table should be.
    wanted: Vec<Table>,
    members: Vec<Member>,
    socket: UnixDatagram,
    log: Log,
    retries: u32,
}

impl<'p> Agent<'p> {
    /// Opens everything and installs all routes.
    ///
    /// # Errors
    /// See [`AgentError`].
    pub fn start(plan: &'p Plan, places: &Places) -> Result<Agent<'p>, AgentError> {
        allow_many_files();
        let file = |path: &Path| {
            let path = path.to_owned();
            move |source| AgentError::File { path, source }
        };
        match std::fs::remove_file(&places.socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(file(&places.socket)(error)),
            _ => {}
        }
        let socket = UnixDatagram::bind(&places.socket).map_err(file(&places.socket))?;
        socket.set_nonblocking(true).map_err(file(&places.socket))?;
        let log = Log::open(&places.log).map_err(file(&places.log))?;

        let ids: Vec<NodeId> = plan.node_ids().filter(|&id| !plan.node(id).interfaces.is_empty()).collect();
        let namespaces: Vec<PathBuf> = ids.iter().map(|&id| places.namespaces.join(&plan.node(id).name)).collect();
        let kernels =
            NodeKernel::open_in(&namespaces).map_err(|(path, source)| AgentError::Namespace { path, source })?;
        let members = ids
            .into_iter()
            .zip(kernels)
            .map(|(id, kernel)| Member {
                id,
                kernel,
                links: Vec::new(),
                installed: Table::new(),
                refused: BTreeMap::new(),
                touched: true,
            })
            .collect();

        let mut agent = Agent {
            plan,
            paths: Paths::new(plan),
            usable: Usable::all(plan),
            cuts: Vec::new(),
            wanted: Vec::new(),
            members,
            socket,
            log,
            retries: 0,
        };
        for place in 0..agent.members.len() {
            agent.read_links(place)?;
        }
        agent.wanted = agent.paths.tables(&agent.usable);
        for place in 0..agent.members.len() {
            agent.settle(place, false)?;
        }
        // IPv6 addresses may need a moment until they can be a next hop.
        agent.retries = 1;
        while let Some(refusal) = agent.first_refusal() {
            if agent.retries > RETRIES {
                return Err(refusal);
            }
            agent.turn(None)?;
        }
        Ok(agent)
    }

    /// Waits for news, at most `limit`, and acts on all that is there.
    ///
    /// # Errors
    /// [`AgentError::Poll`].
    pub fn turn(&mut self, limit: Option<Duration>) -> Result<(), AgentError> {
        let mut limit = limit;
        if (1..=RETRIES).contains(&self.retries) {
            let retry = RETRY_FIRST * (1 << (self.retries - 1));
            limit = Some(limit.map_or(retry, |limit| limit.min(retry)));
        }
        let timeout = match limit {
            _ if self.members.iter().any(|member| member.kernel.has_news()) => PollTimeout::ZERO,
            Some(limit) => PollTimeout::try_from(limit.as_millis().max(1)).unwrap_or(PollTimeout::MAX),
            None => PollTimeout::NONE,
        };
        let mut fds: Vec<PollFd> = Vec::with_capacity(self.members.len() + 1);
        fds.push(PollFd::new(self.socket.as_fd(), PollFlags::POLLIN));
        fds.extend(self.members.iter().map(|member| PollFd::new(member.kernel.as_fd(), PollFlags::POLLIN)));
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(AgentError::Poll(error)),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        drop(fds);

        let mut moved = ready[0] && self.take_messages();
        let mut heard = moved;
        for place in 0..self.members.len() {
            if !ready[place + 1] && !self.members[place].kernel.has_news() {
                continue;
            }
            heard = true;
            moved |= self.take_news(place);
        }
        if moved {
            self.wanted = self.paths.tables(&self.usable);
            for member in &mut self.members {
                member.touched = true;
            }
        }
        if heard {
            self.retries = 0;
        }
        for place in 0..self.members.len() {
            if let Err(error) = self.settle(place, true) {
                // The node's next news, or the next move, tries again from what its kernel really holds.
                eprintln!("route agent: {error}");
                let _ = self.read_routes(place);
            }
        }
        self.retries = if self.is_refused() { (self.retries + 1).min(RETRIES + 1) } else { 0 };
        Ok(())
    }

    /// Whether every kernel holds what it should, but for routes through interfaces that are down.
    pub fn is_settled(&self) -> bool {
        self.members.iter().all(|member| {
            let wanted = &self.wanted[member.id.0];
            !member.kernel.has_news()
                && member.installed.keys().all(|prefix| wanted.contains_key(prefix))
                && wanted
                    .iter()
                    .all(|(prefix, hop)| member.installed.get(prefix) == Some(hop) || !member.links[hop.interface].up)
        })
    }

    fn is_refused(&self) -> bool {
        self.members.iter().any(|member| !member.refused.is_empty())
    }

    /// Reads a node's interfaces as they are.
    fn read_links(&mut self, place: usize) -> Result<(), AgentError> {
        let member = &mut self.members[place];
        let node = self.plan.node(member.id);
        let found = member.kernel.links().map_err(|source| AgentError::Netlink { node: node.name.clone(), source })?;
        member.links.clear();
        for (interface, planned) in node.interfaces.iter().enumerate() {
            let link = *found
                .iter()
                .find(|link| link.index == planned.index)
                .ok_or_else(|| AgentError::NoInterface(format!("{}.{}", node.name, planned.name)))?;
            member.links.push(link);
            let at = Attachment { node: member.id, interface };
            self.usable.set(at, link.up && link.carrier && !self.cuts.contains(&at));
        }
        Ok(())
    }

    /// Reads which of the wanted routes a node's kernel really holds, and which others that the agent made.
    fn read_routes(&mut self, place: usize) -> io::Result<()> {
        let member = &mut self.members[place];
        let node = self.plan.node(member.id);
        let found = member.kernel.static_routes()?;
        member.installed.clear();
        member.touched = true;
        let mut strays = Vec::new();
        for route in found {
            let Some(interface) = node.interfaces.iter().position(|i| i.index == route.index) else { continue };
            let hop = Hop { address: route.gateway, interface, metric: route.metric };
            let wanted = self.wanted[member.id.0].get(&route.prefix) == Some(&hop);
            match member.installed.get(&route.prefix) {
                Some(_) if !wanted => strays.push(Change::Remove(route)),
                old => {
                    strays.extend(old.map(|old| Change::Remove(kernel_route(node, route.prefix, old))));
                    member.installed.insert(route.prefix, hop);
                }
            }
        }
        member.kernel.apply(&strays).map(|_| ())
    }

    /// Takes what was sent to the socket; gives whether other interfaces are usable now.
    fn take_messages(&mut self) -> bool {
        let mut moved = false;
        let mut buffer = [0; MESSAGE_MAX];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            match serde_json::from_slice::<Message>(&buffer[..length]) {
                Ok(message) => moved |= self.take_message(message),
                Err(error) => eprintln!("route agent: a message that it does not understand: {error}"),
            }
        }
        moved
    }

    fn take_message(&mut self, message: Message) -> bool {
        let (Message::Cut { wire, end } | Message::Restored { wire, end }) = message;
        let cut = matches!(message, Message::Cut { .. });
        let ends: Vec<Attachment> = match self.plan.wires.get(wire.0) {
            Some(wire) => wire.ends.iter().copied().filter(|at| end.is_none_or(|end| end == *at)).collect(),
            None => Vec::new(),
        };
        if ends.is_empty() {
            eprintln!("route agent: a message about a wire or an end that is not in the plan");
        }
        let mut moved = false;
        for at in ends {
            self.cuts.retain(|known| *known != at);
            if cut {
                self.cuts.push(at);
            }
            let link = self.members.iter().find(|m| m.id == at.node).and_then(|m| m.links.get(at.interface));
            let alive = link.is_some_and(|link| link.up && link.carrier);
            if self.usable.set(at, alive && !cut) {
                moved = true;
                self.record(at.node, if cut { What::CutNoticed } else { What::CutMended }, Some(at.interface), 0);
            }
        }
        moved
    }

    /// Takes a node's news; gives whether other interfaces are usable now.
    fn take_news(&mut self, place: usize) -> bool {
        let id = self.members[place].id;
        let news = match self.members[place].kernel.news() {
            Ok(news) => news,
            Err(error) => {
                eprintln!("route agent: news of {} cannot be read: {error}", self.plan.node(id).name);
                [News::Lost].into()
            }
        };
        self.members[place].touched = true;
        if news.contains(&News::Lost) {
            return self.read_anew(place);
        }
        let mut moved = false;
        for item in news {
            if let News::Link(link) = item {
                moved |= self.take_link(place, link);
            }
        }
        moved
    }

    /// After a loss: what is left of the news is older than what was lost, so that only the kernel's own state counts.
    fn read_anew(&mut self, place: usize) -> bool {
        let id = self.members[place].id;
        let before = self.usable.clone();
        if let Err(error) = self.read_links(place) {
            eprintln!("route agent: {error}");
        }
        if let Err(error) = self.read_routes(place) {
            eprintln!("route agent: routes of {} cannot be read: {error}", self.plan.node(id).name);
        }
        self.record(id, What::Resynchronised, None, 0);
        self.usable != before
    }

    fn take_link(&mut self, place: usize, link: LinkState) -> bool {
        let member = &mut self.members[place];
        let id = member.id;
        let Some(interface) = self.plan.node(id).interfaces.iter().position(|i| i.index == link.index) else {
            return false;
        };
        let old = std::mem::replace(&mut member.links[interface], link);
        let what = match (old.up, link.up) {
            (true, false) => {
                // The kernel dropped every route through it.
                member.installed.retain(|_, hop| hop.interface != interface);
                Some(What::Down)
            }
            (false, true) => Some(What::Up),
            (true, true) if old.carrier && !link.carrier => Some(What::CarrierLost),
            (true, true) if !old.carrier && link.carrier => Some(What::CarrierBack),
            _ => None,
        };
        if let Some(what) = what {
            self.record(id, what, Some(interface), 0);
        }
        let at = Attachment { node: id, interface };
        self.usable.set(at, link.up && link.carrier && !self.cuts.contains(&at))
    }

    /// Brings a node's kernel in line with what is wanted.
    fn settle(&mut self, place: usize, tell: bool) -> Result<(), AgentError> {
        let member = &mut self.members[place];
        let node = self.plan.node(member.id);
        let wanted = &self.wanted[member.id.0];
        if !std::mem::take(&mut member.touched) && member.refused.is_empty() {
            return Ok(());
        }
        let mut changes = Vec::new();
        let mut prefixes = 0;
        for (prefix, hop) in wanted {
            let old = member.installed.get(prefix);
            // A route through an interface that is down would be refused; its `up` is news.
            if old == Some(hop) || !member.links[hop.interface].up {
                continue;
            }
            prefixes += 1;
            changes.push(Change::Set(kernel_route(node, *prefix, hop)));
            if let Some(old) = old.filter(|old| old.metric != hop.metric) {
                changes.push(Change::Remove(kernel_route(node, *prefix, old)));
            }
        }
        for (prefix, old) in &member.installed {
            if !wanted.contains_key(prefix) {
                prefixes += 1;
                changes.push(Change::Remove(kernel_route(node, *prefix, old)));
            }
        }
        if changes.is_empty() {
            return Ok(());
        }
        let refused =
            member.kernel.apply(&changes).map_err(|source| AgentError::Netlink { node: node.name.clone(), source })?;
        let before = std::mem::take(&mut member.refused);
        let mut reasons = Vec::new();
        for change in &changes {
            let (Change::Set(route) | Change::Remove(route)) = change;
            match change {
                Change::Set(_) => {
                    if let Some(hop) = wanted.get(&route.prefix) {
                        member.installed.insert(route.prefix, *hop);
                    }
                }
                Change::Remove(_) if !wanted.contains_key(&route.prefix) => {
                    member.installed.remove(&route.prefix);
                }
                Change::Remove(_) => {}
            }
        }
        for (change, error) in refused {
            let (Change::Set(route) | Change::Remove(route)) = change;
            if let (Change::Set(_), Some(hop)) = (change, wanted.get(&route.prefix)) {
                prefixes -= 1;
                member.installed.remove(&route.prefix);
                member.refused.insert(route.prefix, (*hop, error));
                if before.get(&route.prefix).map(|(hop, _)| hop) != Some(hop) {
                    reasons.push((route.prefix, *hop, error));
                }
            }
        }
        let id = member.id;
        for (prefix, hop, error) in reasons {
            let via = self.via(id, &hop);
            self.log.write(&Record {
                time: now(),
                node: self.plan.node(id).name.clone(),
                what: What::RouteRefused,
                interface: Some(self.plan.node(id).interfaces[hop.interface].name.clone()),
                changed: 0,
                why: Some(format!("{prefix} via {via}: {}", error.desc())),
            });
        }
        if tell && prefixes > 0 {
            self.record(id, What::RoutesMoved, None, prefixes);
        }
        Ok(())
    }

    fn via(&self, id: NodeId, hop: &Hop) -> String {
        format!("{} on {}", hop.address, self.plan.node(id).interfaces[hop.interface].name)
    }

    fn first_refusal(&self) -> Option<AgentError> {
        self.members.iter().find_map(|member| {
            let (prefix, (hop, source)) = member.refused.first_key_value()?;
            let via = self.via(member.id, hop);
            let node = self.plan.node(member.id).name.clone();
            Some(AgentError::Refused { node, prefix: *prefix, via, source: *source })
        })
    }

    fn record(&mut self, id: NodeId, what: What, interface: Option<usize>, changed: usize) {
        let node = self.plan.node(id);
        let interface = interface.map(|interface| node.interfaces[interface].name.clone());
        self.log.write(&Record { time: now(), node: node.name.clone(), what, interface, changed, why: None });
    }
}

fn kernel_route(node: &crate::topology::plan::Node, prefix: IpNet, hop: &Hop) -> KernelRoute {
    KernelRoute { prefix, gateway: hop.address, index: node.interfaces[hop.interface].index, metric: hop.metric }
}

/// One socket a node: a lab of many nodes needs more than the usual soft limit of 1024 files.
fn allow_many_files() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

#[cfg(test)]
#[path = "agent_tests.rs"]
mod tests;
