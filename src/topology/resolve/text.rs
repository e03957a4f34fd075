//! Steps as a person would say them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::Resolver;
use crate::topology::plan::{Attachment, NodeId, WireId};
use crate::topology::steps::{
    Action, CutKind, Deadline, Expectation, Formula, Place, RpIs, SourceFilter, Stream, nth_group,
};

/// Names of a list that are written out.
const NAMED: usize = 6;

pub(super) fn time(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}

/// A share as people read it.
fn percent(share: f64) -> f64 {
    (share * 1e6).round() / 1e4
}

fn deadline(deadline: Deadline) -> String {
    match deadline {
        Deadline::After(after) => time(after),
        Deadline::Formula(Formula::LeaveLatency) => "leave-latency".into(),
        Deadline::Formula(Formula::JoinLatency) => "join-latency".into(),
        Deadline::Formula(Formula::GroupMembershipInterval) => "group-membership-interval".into(),
        Deadline::Formula(Formula::OtherQuerierPresentInterval) => "other-querier-present-interval".into(),
        Deadline::Formula(Formula::NeighbourLatency) => "neighbour-latency".into(),
        Deadline::Formula(Formula::NeighbourLiveness) => "neighbour-liveness".into(),
        Deadline::Formula(Formula::Convergence) => "convergence".into(),
    }
}

fn filter(filter: &SourceFilter) -> String {
    let list = |sources: &std::collections::BTreeSet<std::net::IpAddr>| {
        sources.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    match filter {
        SourceFilter::Include(sources) => format!(" from {}", list(sources)),
        SourceFilter::Exclude(sources) if sources.is_empty() => String::new(),
        SourceFilter::Exclude(sources) => format!(" but not from {}", list(sources)),
    }
}

/// One group, or several from it on.
fn several(group: IpAddr, groups: u32) -> String {
    if groups == 1 { group.to_string() } else { format!("{group} to {}", nth_group(group, groups - 1)) }
}

impl Resolver<'_> {
    /// A step in words.
    pub(super) fn say(&self, action: &Action) -> String {
        match action {
            Action::Join { hosts, group, groups, filter: wanted } => {
                format!("{} join {}{}", self.names(hosts), several(*group, *groups), filter(wanted))
            }
            Action::Leave { hosts, group, groups } => {
                format!("{} leave {}", self.names(hosts), several(*group, *groups))
            }
            Action::Stream(stream) => self.say_stream(stream),
            Action::Stop { stream } => format!("stop {stream}"),
            Action::Fail(cut) => {
                let how = match cut.how {
                    CutKind::Carrier => "",
                    CutKind::Silent => " silently",
                    CutKind::Admin => " by its administrator",
                };
                format!("fail {}{how}", self.wire_or_end(cut.wire, cut.end))
            }
            Action::Drop(loss) => {
                let count = if loss.count == 1 { String::new() } else { format!("{} ", loss.count) };
                let wire = &self.plan.wire(loss.wire).name;
                let from = loss.from.map(|from| format!(" from {}", self.name(from.node))).unwrap_or_default();
                format!("drop the next {count}{}{from} into {wire}", loss.message.name())
            }
            Action::Impair(how) => {
                let wire = &self.plan.wire(how.wire).name;
                let from = how.from.map(|from| format!(" from {}", self.name(from.node))).unwrap_or_default();
                let shares = [
                    ("lose", how.loss),
                    ("duplicate", how.duplicate),
                    ("reorder", how.reorder),
                    ("corrupt", how.corrupt),
                ];
                let shares = shares.iter().filter(|(_, share)| *share > 0.0);
                let mut done: Vec<String> =
                    shares.map(|(what, share)| format!("{what} {}%", percent(*share))).collect();
                if !how.delay.is_zero() {
                    done.push(format!("delay {}", time(how.delay)));
                }
                format!("impair {wire}{from}: {}", done.join(", "))
            }
            Action::Restore { wire, end } => format!("restore {}", self.wire_or_end(*wire, *end)),
            Action::Kill { node } => format!("kill {}", self.name(*node)),
            Action::Restart { node } => format!("restart {}", self.name(*node)),
            Action::Pause { node } => format!("pause {}", self.name(*node)),
            Action::Resume { node } => format!("resume {}", self.name(*node)),
            Action::Wait { time: span } => format!("wait {}", time(*span)),
            Action::Run { at: Place::Node(node), command } => {
                format!("run `{}` in {}", line(command), self.name(*node))
            }
            Action::Run { at: Place::Lan(wire), command } => {
                format!("run `{}` beside the bridge of {}", line(command), self.plan.wire(*wire).name)
            }
            Action::Expect(expectation) => format!("expect {}", self.say_expectation(expectation)),
        }
    }

    fn say_stream(&self, stream: &Stream) -> String {
        let count = stream.count.map(|count| format!(", {count} packets")).unwrap_or_default();
        let from = self.name(stream.from);
        format!(
            "stream {} from {from} to {} at {}pps, TTL {}{count}",
            stream.name,
            several(stream.group, stream.groups),
            stream.rate,
            stream.ttl
        )
    }

    fn say_expectation(&self, expectation: &Expectation) -> String {
        match expectation {
            Expectation::Delivered { stream, to, within, lasting, loss, duplicates } => {
                let mut text = format!("{stream} delivered to {} within {}", self.names(to), deadline(*within));
                text += &format!(" for {}", time(*lasting));
                if *loss > 0 {
                    text += &format!(", at most {loss} lost");
                }
                if *duplicates > 0 {
                    text += &format!(", at most {duplicates} twice");
                }
                text
            }
            Expectation::NotDelivered { stream, to, lasting } => {
                format!("{stream} not delivered to {} for {}", self.names(to), time(*lasting))
            }
            Expectation::Outage { stream, at, below, .. } => {
                format!("outage of {stream} at {} below {}", self.names(at), deadline(*below))
            }
            Expectation::JoinLatency { stream, at, below } => {
                format!("join latency of {stream} at {} below {}", self.names(at), deadline(*below))
            }
            Expectation::LeaveLatency { wire, group, below } => {
                format!("leave latency of {group} on {} below {}", self.plan.wire(*wire).name, deadline(*below))
            }
            Expectation::Quiet { wire, group, within, lasting } => {
                let group = group.map(|group| format!(" of {group}")).unwrap_or_default();
                let wire = &self.plan.wire(*wire).name;
                format!("{wire} quiet{group} within {} for {}", deadline(*within), time(*lasting))
            }
            Expectation::Seen { wire, message: kind, from, group, count, within, since_start } => {
                let from = from.map(|from| format!(" from {}", self.name(from))).unwrap_or_default();
                let group = group.map(|group| format!(" for {group}")).unwrap_or_default();
                let times = if *count > 1 { format!(" {count} times") } else { String::new() };
                let since = if *since_start { " since the start" } else { "" };
                let wire = &self.plan.wire(*wire).name;
                format!("{}{from}{group} seen on {wire}{times}{since} within {}", kind.name(), deadline(*within))
            }
            Expectation::Member { at, group, present, filter: wanted, within } => {
                let wanted = wanted.as_ref().map(filter).unwrap_or_default();
                let not = if *present { "a" } else { "no" };
                format!("{not} member of {group}{wanted} at {} within {}", self.end_name(*at), deadline(*within))
            }
            Expectation::Querier { wire, is, within } => {
                let wire = &self.plan.wire(*wire).name;
                format!("{} to be querier of {wire} within {}", self.name(*is), deadline(*within))
            }
            Expectation::Neighbours { at, are, within } => {
                let all = self.plan.wires.iter().flat_map(|w| &w.ends).filter(|at| self.plan.has_pim(**at));
                let ends: Vec<String> = if all.count() == at.len() {
                    vec!["all routers".to_owned()]
                } else {
                    at.iter().map(|at| self.end_name(*at)).collect()
                };
                let are = match are {
                    Some(are) if are.is_empty() => "nobody".to_owned(),
                    Some(are) => self.names(are),
                    None => "all their neighbours".to_owned(),
                };
                format!("{} to know {are} within {}", shortened(&ends), deadline(*within))
            }
            Expectation::DesignatedRouter { at, is, within } => {
                let wires: BTreeSet<WireId> = at.iter().map(|at| self.plan.interface(*at).wire).collect();
                let wires: Vec<String> = wires.into_iter().map(|wire| self.plan.wire(wire).name.clone()).collect();
                let is = is.map_or("the right router", |is| self.name(is));
                format!("{is} to be designated router of {} within {}", shortened(&wires), deadline(*within))
            }
            Expectation::Rp { group, at, is, within } => {
                let is = match is {
                    RpIs::Right => "the right rendezvous point".to_owned(),
                    RpIs::Nobody => "no rendezvous point".to_owned(),
                    RpIs::Router(node) => format!("the rendezvous point {}", self.name(*node)),
                    RpIs::Address(address) => format!("the rendezvous point {address}"),
                };
                format!("{} to use {is} for {group} within {}", self.names(at), deadline(*within))
            }
            Expectation::Tree { stream, within } => format!("tree of {stream} within {}", deadline(*within)),
            Expectation::Entry { router, source, group, present, within, .. } => {
                let not = if *present { "an" } else { "no" };
                format!("{not} entry ({source}, {group}) in {} within {}", self.name(*router), deadline(*within))
            }
            Expectation::Scope { stream, ttls, .. } => {
                let ttls: Vec<String> = ttls.iter().map(u8::to_string).collect();
                let ttls = shortened(&ttls);
                format!("scope of {} from {} at TTL {ttls}", stream.group, self.name(stream.from))
            }
            Expectation::Command { node, command, status, contains, within } => {
                let contains = contains.as_ref().map(|c| format!(" with {c:?}")).unwrap_or_default();
                let node = self.name(*node);
                format!("`{}` in {node} to end {status}{contains} within {}", line(command), deadline(*within))
            }
        }
    }

    fn name(&self, node: NodeId) -> &str {
        &self.plan.node(node).name
    }

    fn names(&self, nodes: &[NodeId]) -> String {
        let names: Vec<String> = nodes.iter().map(|node| self.name(*node).to_owned()).collect();
        shortened(&names)
    }

    fn end_name(&self, at: Attachment) -> String {
        format!("{}.{}", self.plan.wire(self.plan.interface(at).wire).name, self.name(at.node))
    }

    fn wire_or_end(&self, wire: crate::topology::plan::WireId, end: Option<Attachment>) -> String {
        end.map_or_else(|| self.plan.wire(wire).name.clone(), |end| self.end_name(end))
    }
}

fn shortened(names: &[String]) -> String {
    match names.len().checked_sub(NAMED) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {more} more", names[..NAMED].join(", ")),
    }
}

/// A command as one would type it; of a shell's text, the text.
fn line(command: &[String]) -> String {
    let text = match command {
        [shell, flag, text] if shell == "/bin/sh" && flag == "-c" => text.lines().next().unwrap_or_default().to_owned(),
        words => words.join(" "),
    };
    if text.chars().count() > 60 { text.chars().take(57).chain("...".chars()).collect() } else { text }
}
