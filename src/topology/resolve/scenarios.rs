//! Scenarios: who has joined what, and which streams run, is known step by step from the file alone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::Resolver;
use super::repeat::{Flat, Unfolding};
use super::state::State;
use crate::topology::fault::{Fault, FaultKind};
use crate::topology::file;
use crate::topology::plan::{Attachment, Igmp, NodeId, WireId};
use crate::topology::read::At;
use crate::topology::scalars::{Address, Int, Share, Time};
use crate::topology::steps::{
    Action, Cut, CutKind, MessageLoss, Mistreatment, Place, Scenario, SourceFilter, Step, Stream, nth_group,
};
use crate::topology::tree::Span;

const PORT: u16 = 5001;
const RATE: f64 = 100.0;
const SIZE: usize = 200;
const TTL: u8 = 16;

/// Whether a prefix holds some of a range of groups, but not all.
fn parts(prefix: &IpNet, first: IpAddr, last: IpAddr) -> bool {
    let within = |address: IpAddr| prefix.contains(&address);
    within(first) != within(last) || (!within(first) && first < prefix.network() && prefix.network() <= last)
}

/// A scenario that is being played.
pub(super) struct Played {
    pub state: State,
    pub name: String,
    /// How often there was a `random` so far.
    pub randoms: u64,
    steps: Vec<Step>,
    unfolding: Unfolding,
}

/// One of several times that a step is played.
pub(super) struct Repetition {
    /// As verdicts say it.
    pub label: String,
    /// What makes it several, in the file.
    pub at: Span,
    /// As messages say it.
    pub when: String,
}

impl<'f> Resolver<'f> {
    pub(super) fn play_scenarios(&mut self) {
        let file = self.file;
        let mut names: BTreeMap<&str, &Span> = BTreeMap::new();
        for scenario in file.scenarios.iter().flatten() {
            if scenario.name.trim().is_empty() || scenario.name.len() > 100 || scenario.name.contains(char::is_control)
            {
                let expected = "a name of 1 to 100 characters on one line".to_owned();
                let kind = FaultKind::WrongType { expected, found: format!("`{}`", scenario.name.escape_debug()) };
                self.fault(&scenario.name.span, kind);
            }
            match names.get(scenario.name.as_str()) {
                Some(first) => {
                    let kind = FaultKind::DuplicateName { what: "scenario", name: scenario.name.value.clone() };
                    let fault = Fault::new(scenario.name.span.clone(), kind).related((*first).clone(), "first here");
                    self.cx.add(fault);
                }
                None => {
                    names.insert(&scenario.name, &scenario.name.span);
                }
            }
            self.play(scenario);
        }
    }

    fn play(&mut self, scenario: &'f file::Scenario) {
        if scenario.steps.is_empty() {
            let kind = FaultKind::WrongCount { what: "a scenario", needed: "at least one step", count: 0 };
            self.fault(&scenario.name.span, kind);
        }
        let mut unfolding = Unfolding::default();
        let flats = self.unfold(&scenario.steps, &mut unfolding, false);
        let mut state = State {
            members_unsure: unfolding.members_unsure,
            streams_unsure: unfolding.streams_unsure,
            ..State::default()
        };
        for flat in flats.iter().flat_map(|flat| std::iter::once(flat).chain(&flat.then)) {
            if let file::Step::Stream(stream) = &flat.step.value {
                state.all_streams.entry(stream.name.value.clone()).or_insert_with(|| stream.name.span.clone());
            }
        }
        let name = scenario.name.value.clone();
        let mut played = Played { state, name, randoms: 0, steps: Vec::new(), unfolding };
        for flat in &flats {
            match &flat.step.value {
                file::Step::Random(random) => {
                    let done = self.rounds(&mut played, random, &flat.step.span, &flat.then);
                    played.state.members_unsure |= done.is_none();
                    played.state.streams_unsure |= done.is_none();
                }
                _ => self.play_one(&mut played, flat, None),
            }
        }
        let mut without: Vec<_> = scenario.without.iter().flatten().map(|invariant| invariant.value).collect();
        without.sort_unstable();
        without.dedup();
        self.plan.scenarios.push(Scenario { name: played.name, steps: played.steps, without });
    }

    /// Plays a step that does one thing, maybe not for the first time.
    pub(super) fn play_one(&mut self, played: &mut Played, flat: &Flat<'_>, again: Option<&Repetition>) {
        let mark = self.cx.mark();
        let action = self.action(&mut played.state, &flat.step.value, &flat.step.span);
        if let Some(item) = &flat.each {
            self.tell_once(mark, &mut played.unfolding, &item.span, &format!("`$each` is `{}`", item.value));
        } else if let Some(again) = again {
            self.tell_once(mark, &mut played.unfolding, &again.at, &again.when);
        }
        let Some(action) = action else {
            let membership = matches!(flat.step.value, file::Step::Join(_) | file::Step::Leave(_));
            played.state.members_unsure |= membership;
            return;
        };
        let item = flat.each.as_ref().map(|item| item.value.as_str());
        let label = match (again.map(|again| again.label.as_str()), item) {
            (Some(round), Some(item)) => Some(format!("{round}, {item}")),
            (round, item) => round.or(item).map(str::to_owned),
        };
        self.record(played, action, self.line(&flat.step.span), label.as_deref());
    }

    /// Adds a step to a scenario.
    pub(super) fn record(&self, played: &mut Played, action: Action, line: usize, label: Option<&str>) {
        played.state.note(&action);
        let text = match label {
            Some(label) => format!("[{label}] {}", self.say(&action)),
            None => self.say(&action),
        };
        played.steps.push(Step { line, text, action });
    }

    fn action(&mut self, state: &mut State, step: &file::Step, span: &Span) -> Option<Action> {
        Some(match step {
            file::Step::Join(join) => self.join(state, join)?,
            file::Step::Leave(leave) => self.leave(state, leave)?,
            file::Step::Stream(stream) => {
                let resolved = self.stream(state, stream)?;
                if let Some((_, first)) = state.streams.get(&resolved.name) {
                    let kind = FaultKind::DuplicateName { what: "stream", name: resolved.name.clone() };
                    self.cx.add(Fault::new(stream.name.span.clone(), kind).related(first.clone(), "first here"));
                    return None;
                }
                state.streams.insert(resolved.name.clone(), (resolved.clone(), stream.name.span.clone()));
                Action::Stream(resolved)
            }
            file::Step::Stop(stream) => Action::Stop { stream: self.known_stream(state, stream)?.name },
            file::Step::Fail(fail) => Action::Fail(self.cut(fail)?),
            file::Step::Drop(drop) => Action::Drop(self.message_loss(drop)?),
            file::Step::Impair(impair) => Action::Impair(self.mistreatment(impair)?),
            file::Step::Restore(restore) => {
                let (wire, end) = self.link(&restore.link, restore.end.as_ref())?;
                Action::Restore { wire, end }
            }
            file::Step::Kill(node) => Action::Kill { node: self.router(node)? },
            file::Step::Restart(node) => Action::Restart { node: self.router(node)? },
            file::Step::Pause(node) => Action::Pause { node: self.router(node)? },
            file::Step::Resume(node) => Action::Resume { node: self.router(node)? },
            file::Step::Wait(time) => Action::Wait { time: time.0 },
            file::Step::Run(run) => Action::Run { at: self.place(run)?, command: run.command.value.0.clone() },
            file::Step::Expect(expect) => Action::Expect(self.expectation(state, expect, span)?),
            // These have been written out.
            file::Step::ForEach(_) | file::Step::Random(_) => return None,
        })
    }

    fn place(&mut self, run: &file::Run) -> Option<Place> {
        match (&run.node, &run.lan) {
            (Some(node), None) => self.node(node).map(Place::Node),
            (None, Some(lan)) => self.wire_of(lan, |kind| !kind.is_link(), "LAN").map(Place::Lan),
            (Some(_), Some(lan)) => {
                let kind = FaultKind::KeysExclude { of: "`run`", first: "node".into(), second: "lan".into() };
                self.fault(&lan.span, kind);
                None
            }
            (None, None) => {
                let kind = FaultKind::NoneOfKeys { of: "`run`", known: vec!["node".into(), "lan".into()] };
                self.fault(&run.command.span, kind);
                None
            }
        }
    }

    fn join(&mut self, state: &mut State, join: &file::Join) -> Option<Action> {
        let hosts = self.hosts(&join.hosts.0);
        let group = self.groups(state, &join.group, join.groups);
        let filter = self.filter("`join`", &join.sources, &join.exclude);
        let (hosts, (group, groups)) = (hosts?, group?);
        let filter = match filter {
            Some(filter) => filter?,
            None => SourceFilter::Exclude(BTreeSet::new()),
        };
        Some(Action::Join { hosts, group, groups, filter })
    }

    /// A filter from the keys `sources` and `exclude`: nothing if neither is there.
    pub(super) fn filter(
        &mut self,
        of: &'static str,
        sources: &Option<At<crate::topology::read::OneOrMany<At<String>>>>,
        exclude: &Option<At<crate::topology::read::OneOrMany<At<String>>>>,
    ) -> Option<Option<SourceFilter>> {
        if let (Some(_), Some(exclude)) = (sources, exclude) {
            let kind = FaultKind::KeysExclude { of, first: "sources".into(), second: "exclude".into() };
            self.fault(&exclude.span, kind);
            return Some(None);
        }
        let list = sources.as_ref().or(exclude.as_ref())?;
        let mut addresses = BTreeSet::new();
        let mut good = true;
        for source in &list.value.0 {
            match self.source_addresses(source) {
                Some(of_source) => addresses.extend(of_source),
                None => good = false,
            }
        }
        if sources.is_some() && list.value.0.is_empty() {
            let kind = FaultKind::WrongCount { what: "`sources`", needed: "at least one source", count: 0 };
            self.fault(&list.span, kind);
            good = false;
        }
        if !good {
            return Some(None);
        }
        Some(Some(if sources.is_some() { SourceFilter::Include(addresses) } else { SourceFilter::Exclude(addresses) }))
    }

    fn leave(&mut self, state: &mut State, leave: &file::Leave) -> Option<Action> {
        let group = self.groups(state, &leave.group, leave.groups);
        let hosts = match &leave.hosts {
            Some(hosts) => self.hosts(&hosts.0),
            None => None,
        };
        let (group, groups) = group?;
        let nobody = BTreeMap::new();
        let members = state.joined.get(&group).unwrap_or(&nobody);
        let hosts = match &leave.hosts {
            Some(named) => {
                let hosts = hosts?;
                for (host, name) in hosts.iter().zip(&named.0) {
                    if !members.contains_key(host) && !state.members_unsure {
                        let kind = FaultKind::NotJoined { host: name.value.clone(), group };
                        self.cx.push(&name.span, kind);
                    }
                }
                hosts
            }
            None => members.keys().copied().collect(),
        };
        if hosts.is_empty() && leave.hosts.is_none() {
            if !state.members_unsure {
                self.cx.push(&leave.group.span, FaultKind::NobodyJoined { group, key: "hosts" });
            }
            return None;
        }
        Some(Action::Leave { hosts, group, groups })
    }

    /// A group, or several from it on: they must be taken together by every step, and be alike to the network.
    pub(super) fn groups(
        &mut self,
        state: &mut State,
        first: &At<Address>,
        count: Option<Int<1, 10_000>>,
    ) -> Option<(IpAddr, u32)> {
        let group = self.group(first)?;
        let count: u32 = count.map_or(1, Int::get);
        let last = nth_group(group, count - 1);
        if !last.is_multicast() {
            let kind = FaultKind::NotAGroup { address: last.to_string() };
            self.fault(&first.span, kind);
            return None;
        }
        let overlaps = |(other, (number, _)): &(&IpAddr, &(u32, Span))| {
            (**other, *number) != (group, count) && **other <= last && group <= nth_group(**other, number - 1)
        };
        if let Some((other, (number, span))) = state.together.iter().find(overlaps) {
            let kind = FaultKind::GroupsOverlap { first: *other, last: nth_group(*other, number - 1) };
            let fault = Fault::new(first.span.clone(), kind).related(span.clone(), "taken together here");
            self.cx.add(fault);
            return None;
        }
        state.together.entry(group).or_insert_with(|| (count, first.span.clone()));
        let parting = if count > 1 { self.group_prefixes().find(|prefix| parts(prefix, group, last)) } else { None };
        if let Some(prefix) = parting {
            let kind = FaultKind::GroupsParted { first: group, last, prefix };
            self.fault(&first.span, kind);
            return None;
        }
        Some((group, count))
    }

    /// Every prefix of groups that some interface or router treats apart.
    fn group_prefixes(&self) -> impl Iterator<Item = IpNet> + '_ {
        let nodes = self.plan.nodes.iter();
        let of_igmp = |igmp: &Igmp| {
            let allowed = igmp.allowed_groups.iter().flatten().copied();
            let joined = igmp.static_joins.iter().flatten().map(|join| IpNet::from(join.group));
            allowed.chain(joined).collect::<Vec<_>>()
        };
        nodes.flat_map(move |node| {
            let interfaces = node.interfaces.iter();
            let of_interfaces = interfaces.flat_map(move |i| i.boundary.iter().copied().chain(of_igmp(&i.igmp)));
            let of_router = node
                .router()
                .into_iter()
                .flat_map(move |router| router.routes.iter().map(|route| route.group).chain(of_igmp(&router.igmp)));
            of_interfaces.chain(of_router)
        })
    }

    /// The hosts that a list names, each once; nothing if one is wrong or none is there.
    pub(super) fn hosts(&mut self, names: &[At<String>]) -> Option<Vec<NodeId>> {
        let mut hosts = Vec::new();
        let mut good = true;
        for name in names {
            match self.host(name) {
                Some(host) if hosts.contains(&host) => {
                    self.fault(&name.span, FaultKind::DuplicateName { what: "host", name: name.value.clone() });
                    good = false;
                }
                Some(host) => hosts.push(host),
                None => good = false,
            }
        }
        good.then_some(hosts)
    }

    fn stream(&mut self, state: &mut State, stream: &file::Stream) -> Option<Stream> {
        if stream.name.trim().is_empty() || stream.name.len() > 100 || stream.name.contains(char::is_control) {
            let expected = "a name of 1 to 100 characters on one line".to_owned();
            let found = format!("`{}`", stream.name.escape_debug());
            self.fault(&stream.name.span, FaultKind::WrongType { expected, found });
        }
        let sender = self.sender(&stream.from);
        let group = self.groups(state, &stream.group, stream.groups);
        let size = self.payload(stream.size.as_ref());
        let (from, interface) = sender?;
        let (group, groups) = group?;
        Some(Stream {
            name: stream.name.value.clone(),
            from,
            interface,
            group,
            groups,
            port: stream.port.map_or(PORT, Int::get),
            rate: stream.rate.map_or(RATE, |rate| rate.0),
            size,
            ttl: stream.ttl.map_or(TTL, Int::get),
            count: stream.count.map(Int::get),
            burst: stream.burst.map_or(1, Int::get),
        })
    }

    /// A payload that goes into one packet everywhere.
    pub(super) fn payload(&mut self, size: Option<&At<Int<32, 65507>>>) -> usize {
        let Some(at) = size else { return SIZE };
        let size: usize = at.get();
        if let Some(narrowest) = self.plan.wires.iter().min_by_key(|wire| wire.mtu) {
            let limit = (narrowest.mtu as usize).saturating_sub(28);
            if size > limit {
                let kind = FaultKind::TooLargeForMtu { size, limit, wire: narrowest.name.clone() };
                self.fault(&at.span, kind);
            }
        }
        size
    }

    /// A sending host, and the interface that its packets leave by: `HOST`, or `HOST:INTERFACE`.
    pub(super) fn sender(&mut self, name: &At<String>) -> Option<(NodeId, usize)> {
        if let Some((host, interface)) = name.split_once(':') {
            let host = self.host(&super::part(name, host))?;
            return Some((host, self.interface(host, interface, &name.span)?));
        }
        let host = self.host(name)?;
        match self.plan.node(host).interfaces.as_slice() {
            [_] => Some((host, 0)),
            [] => {
                if !self.wires_unread && self.cx.is_clean() {
                    self.fault(&name.span, FaultKind::Unattached { node: name.value.clone() });
                }
                None
            }
            several => {
                let candidates = several.iter().map(|i| format!("{}:{}", name.value, i.name)).collect();
                self.fault(&name.span, FaultKind::Ambiguous { name: name.value.clone(), candidates });
                None
            }
        }
    }

    /// A stream that an earlier step started.
    pub(super) fn known_stream(&mut self, state: &State, name: &At<String>) -> Option<Stream> {
        if let Some((stream, _)) = state.streams.get(&name.value) {
            return Some(stream.clone());
        }
        match state.all_streams.get(&name.value) {
            // Started before, but wrong itself: that has been said.
            Some(place) if place.start < name.span.start => {}
            Some(place) => {
                let line = self.line(place);
                self.fault(&name.span, FaultKind::StreamLater { name: name.value.clone(), line });
            }
            None if state.streams_unsure => {}
            None => {
                let near = self.cx.nearest(name, state.all_streams.keys().map(String::as_str));
                let kind = FaultKind::Unknown { what: "stream", name: name.value.clone() };
                self.cx.add(Fault::new(name.span.clone(), kind).nearest(near));
            }
        }
        None
    }

    fn cut(&mut self, fail: &file::Fail) -> Option<Cut> {
        let how = fail.how.as_ref().map_or(CutKind::Carrier, |how| how.value);
        self.only_silent(how, fail.detected_after.as_ref());
        let (wire, end) = self.link(&fail.link, fail.end.as_ref())?;
        if how == CutKind::Admin && end.is_none() {
            let kind = FaultKind::MissingKey { key: "end".into(), of: "`fail` with `how: admin`" };
            self.fault(&fail.link.span, kind);
            return None;
        }
        Some(Cut { wire, end, how, detected_after: fail.detected_after.as_ref().map(|time| time.0) })
    }

    /// Whether `detected-after` stands, if at all, where a cut is silent.
    pub(super) fn only_silent(&mut self, how: CutKind, detected_after: Option<&At<Time>>) -> bool {
        let Some(detected) = detected_after.filter(|_| how != CutKind::Silent) else { return true };
        let only = "for `how: silent` only";
        self.fault(&detected.span, FaultKind::KeyNotHere { key: "detected-after".into(), only });
        false
    }

    /// A wire, and the end of a node that sends into it, if one is named.
    fn end_into(&mut self, wire: &At<String>, from: Option<&At<String>>) -> Option<(WireId, Option<Attachment>)> {
        let wire = self.wire(wire);
        let node = match from {
            Some(from) => Some((self.node(from)?, &from.span)),
            None => None,
        };
        let wire = wire?;
        let from = match node {
            Some((node, span)) => Some(self.end_of(wire, node, span)?),
            None => None,
        };
        Some((wire, from))
    }

    fn mistreatment(&mut self, impair: &file::Impair) -> Option<Mistreatment> {
        let (wire, from) = self.end_into(&impair.wire, impair.from.as_ref())?;
        let share = |share: &Option<At<Share>>| share.as_ref().map_or(0.0, |share| share.value.0);
        let how = Mistreatment {
            wire,
            from,
            delay: impair.delay.as_ref().map(|delay| delay.value.0).unwrap_or_default(),
            loss: share(&impair.loss),
            duplicate: share(&impair.duplicate),
            reorder: share(&impair.reorder),
            corrupt: share(&impair.corrupt),
        };
        let shares = [how.loss, how.duplicate, how.reorder, how.corrupt];
        if how.delay.is_zero() && shares.iter().all(|share| *share == 0.0) {
            let known = ["delay", "loss", "duplicate", "reorder", "corrupt"].map(str::to_owned).to_vec();
            self.fault(&impair.wire.span, FaultKind::NoneOfKeys { of: "`impair`", known });
            return None;
        }
        if let Some(reorder) = &impair.reorder
            && how.delay.is_zero()
        {
            let what = "a share of frames to overtake others that no `delay` holds".to_owned();
            self.fault(
                &reorder.span,
                FaultKind::WrongType { expected: "`delay` beside `reorder`".into(), found: what },
            );
            return None;
        }
        Some(how)
    }

    fn message_loss(&mut self, drop: &file::Drop) -> Option<MessageLoss> {
        let (wire, from) = self.end_into(&drop.wire, drop.from.as_ref())?;
        Some(MessageLoss { wire, from, message: drop.message.value, count: drop.count.map_or(1, Int::get) })
    }

    /// A wire, or an end of it: `WIRE`, `WIRE.NODE`, or `WIRE` and the key `end`.
    fn link(&mut self, link: &At<String>, end: Option<&At<String>>) -> Option<(WireId, Option<Attachment>)> {
        if link.contains('.') || link.contains(':') {
            let at = self.attachment(link)?;
            if let Some(end) = end {
                let kind = FaultKind::KeysExclude { of: "this step", first: link.value.clone(), second: "end".into() };
                self.fault(&end.span, kind);
            }
            return Some((self.plan.interface(at).wire, Some(at)));
        }
        let wire = self.wire(link);
        let node = end.map(|end| self.node(end));
        let wire = wire?;
        match (node, end) {
            (Some(node), Some(end)) => Some((wire, Some(self.end_of(wire, node?, &end.span)?))),
            _ => Some((wire, None)),
        }
    }
}
