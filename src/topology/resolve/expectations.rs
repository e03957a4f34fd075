//! Expectations of scenarios.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::Resolver;
use super::state::State;
use crate::topology::fault::FaultKind;
use crate::topology::file::{self, Expect, Since};
use crate::topology::plan::{Attachment, Mode, Multicast, NodeId, Plan, Router};
use crate::topology::read::{At, OneOrMany};
use crate::topology::scalars::{Int, Time};
use crate::topology::steps::{Deadline, Expectation, Formula, RpIs, SourceFilter, Stream};
use crate::topology::tree::Span;

const WITHIN: Duration = Duration::from_secs(3);
const LASTING: Duration = Duration::from_secs(1);
/// By when packets must flow again after a fault.
const RECOVERY: Duration = Duration::from_secs(10);
const SCOPE_PORT: u16 = 5002;

fn deadline(given: Option<file::Deadline>, otherwise: Deadline) -> Deadline {
    match given {
        None => otherwise,
        Some(file::Deadline::After(time)) => Deadline::After(time),
        Some(file::Deadline::Formula(formula)) => Deadline::Formula(formula),
    }
}

fn within(given: Option<file::Deadline>) -> Deadline {
    deadline(given, Deadline::After(WITHIN))
}

/// Which hosts an expectation is about.
enum About {
    /// Hosts that have joined the stream's group, now.
    Members(&'static str),
    /// Hosts that have joined it at any time.
    OnceMembers(&'static str),
    /// Any hosts; by default those that the stream must not reach.
    Strangers(&'static str),
}

impl Resolver<'_> {
    pub(super) fn expectation(&mut self, state: &mut State, expect: &Expect, span: &Span) -> Option<Expectation> {
        Some(match expect {
            Expect::Delivered(e) => {
                let stream = self.known_stream(state, &e.delivered);
                let to = self.audience(state, stream.as_ref(), &e.to, About::Members("to"), &e.delivered.span);
                Expectation::Delivered {
                    stream: stream?.name,
                    to: to?,
                    within: within(e.within),
                    lasting: self.lasting(e.r#for.as_ref()),
                    loss: e.loss.map_or(0, Int::get),
                    duplicates: e.duplicates.map_or(0, Int::get),
                }
            }
            Expect::NotDelivered(e) => {
                let stream = self.known_stream(state, &e.not_delivered);
                let about = About::Strangers("to");
                let to = self.audience(state, stream.as_ref(), &e.to, about, &e.not_delivered.span);
                let lasting = self.lasting(e.r#for.as_ref());
                Expectation::NotDelivered { stream: stream?.name, to: to?, lasting }
            }
            Expect::Outage(e) => {
                let stream = self.known_stream(state, &e.outage);
                let at = self.audience(state, stream.as_ref(), &e.at, About::Members("at"), &e.outage.span);
                let within = deadline(e.within, Deadline::After(RECOVERY));
                let below = self::within(Some(e.below));
                Expectation::Outage { stream: stream?.name, at: at?, below, within }
            }
            Expect::JoinLatency(e) => {
                let stream = self.known_stream(state, &e.join_latency);
                let at = self.audience(state, stream.as_ref(), &e.at, About::OnceMembers("at"), &e.join_latency.span);
                let below = deadline(e.below, Deadline::Formula(Formula::JoinLatency));
                Expectation::JoinLatency { stream: stream?.name, at: at?, below }
            }
            Expect::LeaveLatency(e) => {
                let wire = self.wire(&e.leave_latency);
                let group = self.group(&e.group);
                let below = deadline(e.below, Deadline::Formula(Formula::LeaveLatency));
                Expectation::LeaveLatency { wire: wire?, group: group?, below }
            }
            Expect::Quiet(e) => {
                let wire = self.wire(&e.quiet);
                let group = self.optional_group(e.group.as_ref())?;
                let lasting = self.lasting(e.r#for.as_ref());
                Expectation::Quiet { wire: wire?, group, within: within(e.within), lasting }
            }
            Expect::Seen(e) => {
                let wire = self.wire(&e.on);
                let from = match &e.from {
                    None => None,
                    Some(from) => {
                        let node = self.node(from)?;
                        self.end_of(wire?, node, &from.span)?;
                        Some(node)
                    }
                };
                Expectation::Seen {
                    wire: wire?,
                    message: e.seen.value,
                    from,
                    group: self.optional_group(e.group.as_ref())?,
                    count: e.count.map_or(1, Int::get),
                    within: within(e.within),
                    since_start: e.since == Some(Since::Start),
                }
            }
            Expect::Member(e) => {
                let at = self.attachment(&e.member);
                let group = self.group(&e.group);
                let filter = self.filter("`expect: {member}`", &e.sources, &e.exclude);
                let at = at?;
                let name = self.plan.node(at.node).name.clone();
                self.router(&At { value: name, span: e.member.span.clone() })?;
                let filter: Option<SourceFilter> = match filter {
                    None => None,
                    Some(filter) => Some(filter?),
                };
                let present = e.present.unwrap_or(true);
                Expectation::Member { at, group: group?, present, filter, within: within(e.within) }
            }
            Expect::Querier(e) => {
                let wire = self.wire(&e.querier);
                let is = self.router(&e.is);
                let (wire, is) = (wire?, is?);
                self.end_of(wire, is, &e.is.span)?;
                Expectation::Querier { wire, is, within: within(e.within) }
            }
            Expect::Neighbours(e) => {
                let at = self.speakers(&e.neighbours, "`neighbours`", "a router that speaks PIM", |_| true);
                let named = e.are.as_ref().map(|names| names.0.iter().map(|name| self.router(name)));
                let are = named.map(|named| named.collect::<Option<Vec<_>>>());
                let within = deadline(e.within, Deadline::Formula(Formula::NeighbourLatency));
                let at = at?;
                let are = match are {
                    None => None,
                    Some(routers) => {
                        let routers = routers?;
                        for (router, name) in routers.iter().zip(e.are.iter().flat_map(|names| &names.0)) {
                            let on_wire = |at: &Attachment| {
                                let wire = self.plan.interface(*at).wire;
                                self.plan.wire(wire).ends.iter().any(|end| end.node == *router)
                            };
                            if !at.iter().any(on_wire) {
                                let of = self.plan.wire(self.plan.interface(*at.first()?).wire).name.clone();
                                let kind = FaultKind::NotAttached { node: name.value.clone(), wire: of };
                                self.cx.push(&name.span, kind);
                                return None;
                            }
                        }
                        Some(routers)
                    }
                };
                Expectation::Neighbours { at, are, within }
            }
            Expect::DesignatedRouter(e) => self.designated_router(e)?,
            Expect::Rp(e) => self.rp(e)?,
            Expect::Tree(e) => {
                Expectation::Tree { stream: self.known_stream(state, &e.tree)?.name, within: within(e.within) }
            }
            Expect::Entry(e) => self.entry(e)?,
            Expect::Scope(e) => self.scope(state, e, span)?,
            Expect::Command(e) => Expectation::Command {
                node: self.node(&e.node)?,
                command: e.command.0.clone(),
                status: e.status.map_or(0, Int::get),
                contains: e.contains.clone(),
                within: within(e.within),
            },
        })
    }

    fn designated_router(&mut self, e: &file::DesignatedRouter) -> Option<Expectation> {
        let needed = "a router that speaks PIM sparse mode";
        let is_sparse = |router: &Router| router.multicast == Multicast::PimSm;
        let at = self.speakers(&e.designated_router, "`designated-router`", needed, is_sparse);
        let is = e.is.as_ref().map(|name| self.router(name).map(|router| (router, name)));
        let at = at?;
        let is = match is {
            None => None,
            Some(is) => {
                let (router, name) = is?;
                for end in &at {
                    let wire = self.plan.interface(*end).wire;
                    self.end_of(wire, router, &name.span)?;
                }
                Some(router)
            }
        };
        let within = deadline(e.within, Deadline::Formula(Formula::NeighbourLatency));
        Some(Expectation::DesignatedRouter { at, is, within })
    }

    fn rp(&mut self, e: &file::Rp) -> Option<Expectation> {
        let group = self.group(&e.rp);
        let named = e.at.as_ref().map(|names| {
            let routers = names.0.iter().map(|name| Some((self.router(name)?, name.span.clone())));
            routers.collect::<Vec<_>>().into_iter().collect::<Option<Vec<_>>>()
        });
        let is = match &e.is {
            None => Some(RpIs::Right),
            Some(word) if word.value == "none" && self.plan.find_node("none").is_none() => Some(RpIs::Nobody),
            Some(word) => match word.parse() {
                Ok(address) => Some(RpIs::Address(address)),
                Err(_) => self.router(word).map(RpIs::Router),
            },
        };
        let (group, is) = (group?, is?);
        let handles = |plan: &Plan, node: NodeId| plan.mode(node, group) == Some(Mode::Sparse);
        let lacking = FaultKind::WrongCount {
            what: "`rp`",
            needed: "a router that handles the group in sparse mode with a rendezvous point",
            count: 0,
        };
        let at: Vec<NodeId> = match named {
            None => self.plan.node_ids().filter(|id| handles(&self.plan, *id)).collect(),
            Some(named) => {
                let named = named?;
                if let Some((_, span)) = named.iter().find(|(node, _)| !handles(&self.plan, *node)) {
                    self.fault(span, lacking);
                    return None;
                }
                named.into_iter().map(|(node, _)| node).collect()
            }
        };
        if at.is_empty() {
            self.fault(&e.rp.span, lacking);
            return None;
        }
        let within = deadline(e.within, Deadline::Formula(Formula::Convergence));
        Some(Expectation::Rp { group, at, is, within })
    }

    /// The attachments at a place where PIM runs, on routers of a kind: a router's, a wire's, or one.
    fn speakers(
        &mut self,
        place: &At<String>,
        what: &'static str,
        needed: &'static str,
        is_one: impl Fn(&Router) -> bool,
    ) -> Option<Vec<Attachment>> {
        let ends: Vec<Attachment> = if place.contains('.') || place.contains(':') {
            vec![self.attachment(place)?]
        } else if let Some(wire) = self.plan.find_wire(place) {
            self.plan.wire(wire).ends.clone()
        } else if place.value == "all" && self.plan.find_node("all").is_none() {
            self.plan.wires.iter().flat_map(|wire| &wire.ends).copied().collect()
        } else {
            let node = self.router(place)?;
            (0..self.plan.node(node).interfaces.len()).map(|interface| Attachment { node, interface }).collect()
        };
        let speaks = |at: &Attachment| self.plan.has_pim(*at) && self.plan.node(at.node).router().is_some_and(&is_one);
        let speakers: Vec<Attachment> = ends.into_iter().filter(speaks).collect();
        if speakers.is_empty() {
            let kind = FaultKind::WrongCount { what, needed, count: 0 };
            self.fault(&place.span, kind);
            return None;
        }
        Some(speakers)
    }

    fn lasting(&mut self, given: Option<&At<Time>>) -> Duration {
        let Some(at) = given else { return LASTING };
        if at.0.is_zero() {
            self.fault(&at.span, crate::topology::scalars::out_of_range("`for`", "0s", "more than 0"));
        }
        at.0
    }

    /// An optional group: nothing at all if it is wrong.
    fn optional_group(&mut self, group: Option<&At<crate::topology::scalars::Address>>) -> Option<Option<IpAddr>> {
        match group {
            None => Some(None),
            Some(group) => self.group(group).map(Some),
        }
    }

    /// The hosts that an expectation is about.
    fn audience(
        &mut self,
        state: &State,
        stream: Option<&Stream>,
        given: &Option<OneOrMany<At<String>>>,
        about: About,
        span: &Span,
    ) -> Option<Vec<NodeId>> {
        let named = match given {
            Some(names) => Some(self.hosts(&names.0)?),
            None => None,
        };
        let stream = stream?;
        let group = stream.group;
        let nobody = BTreeMap::new();
        let members = state.joined.get(&group).unwrap_or(&nobody);
        let source = self.plan.node(stream.from).interfaces[stream.interface].ipv4().map(|a| IpAddr::V4(a.addr()));
        let hears = |host: &NodeId| match (members.get(host), source) {
            (None, _) => false,
            (Some(SourceFilter::Include(sources)), Some(source)) => sources.contains(&source),
            (Some(SourceFilter::Exclude(sources)), Some(source)) => !sources.contains(&source),
            (Some(_), None) => true,
        };
        let ever = |host: &NodeId| state.ever.get(&group).is_some_and(|hosts| hosts.contains(host));
        let hosts: Vec<NodeId> =
            self.plan.node_ids().filter(|id| !self.plan.node(*id).is_router() && !self.unread.contains(id)).collect();
        let (key, meant): (&'static str, Vec<NodeId>) = match about {
            About::Members(key) => (key, hosts.into_iter().filter(hears).collect()),
            About::OnceMembers(key) => (key, hosts.into_iter().filter(ever).collect()),
            About::Strangers(key) => {
                (key, hosts.into_iter().filter(|host| *host != stream.from && !hears(host)).collect())
            }
        };
        if let (Some(named), Some(names)) = (&named, given)
            && !matches!(about, About::Strangers(_))
            && !state.members_unsure
        {
            for (host, name) in named.iter().zip(&names.0) {
                let there = match about {
                    About::OnceMembers(_) => ever(host),
                    _ => members.contains_key(host),
                };
                if !there {
                    self.cx.push(&name.span, FaultKind::NotJoined { host: name.value.clone(), group });
                }
            }
        }
        let chosen = named.unwrap_or(meant);
        if chosen.is_empty() {
            let span = span.clone();
            if !state.members_unsure {
                let kind = match about {
                    About::Strangers(_) => {
                        FaultKind::WrongCount { what: "`not-delivered`", needed: "at least one host", count: 0 }
                    }
                    _ => FaultKind::NobodyJoined { group, key },
                };
                self.fault(&span, kind);
            }
            return None;
        }
        Some(chosen)
    }

    fn entry(&mut self, e: &file::Entry) -> Option<Expectation> {
        let router = self.router(&e.entry);
        let source = self.source_address(&e.source);
        let group = self.group(&e.group);
        let router = router?;
        let incoming = match &e.incoming {
            None => None,
            Some(side) => Some(self.side(router, side)?),
        };
        let outgoing = match &e.outgoing {
            None => None,
            Some(sides) => {
                let mut outgoing = Vec::new();
                for side in &sides.0 {
                    outgoing.push(self.side(router, side)?);
                }
                outgoing.sort_unstable();
                outgoing.dedup();
                Some(outgoing)
            }
        };
        Some(Expectation::Entry {
            router,
            source: source?,
            group: group?,
            present: e.present.unwrap_or(true),
            incoming,
            outgoing,
            within: within(e.within),
        })
    }

    fn scope(&mut self, state: &mut State, e: &file::Scope, span: &Span) -> Option<Expectation> {
        let group = self.group(&e.scope);
        let sender = self.sender(&e.from);
        let size = self.payload(e.size.as_ref());
        let mut reached = BTreeMap::new();
        for (ttl, hosts) in e.reached.iter().flat_map(|reached| &reached.0) {
            if !e.ttls.0.contains(&ttl.value) {
                let known = e.ttls.0.iter().map(u8::to_string).collect();
                let kind =
                    FaultKind::UnknownWord { word: ttl.value.to_string(), of: "one of the TTLs that are tried", known };
                self.fault(&ttl.span, kind);
            }
            if let Some(hosts) = self.hosts(hosts) {
                reached.insert(ttl.value, hosts);
            }
        }
        let (from, interface) = sender?;
        let line = self.line(span);
        let number = state.scopes.entry(line).or_insert(0);
        *number += 1;
        let stream = Stream {
            name: if *number == 1 { format!("scope-{line}") } else { format!("scope-{line}-{number}") },
            from,
            interface,
            group: group?,
            groups: 1,
            port: e.port.map_or(SCOPE_PORT, Int::get),
            rate: e.rate.map_or(100.0, |rate| rate.0),
            size,
            ttl: e.ttls.0.first().copied().unwrap_or(1),
            count: None,
            burst: 1,
        };
        Some(Expectation::Scope { stream, ttls: e.ttls.0.clone(), reached, within: within(e.within) })
    }
}
