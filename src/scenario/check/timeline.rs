//! Who owns each millisecond of an outage: what happened from a fault to the first packet after it, in order.

use std::net::IpAddr;
use std::time::Duration;

use crate::network::{ControlSighting, Happening, HappeningKind, Network, Time};
use crate::scenario::outcome::{Figure, Moment, Value};
use crate::scenario::runner::Run;
use crate::topology::plan::{NodeId, WireId};
use crate::topology::steps::Message;

/// Lines of a time line at most.
const MOMENTS: usize = 40;

/// A protocol message that has to do with an outage.
#[derive(Clone, Debug)]
struct Said {
    time: Time,
    node: NodeId,
    wire: WireId,
    message: Message,
    destination: IpAddr,
}

/// From a fault to the first packets after it.
#[derive(Clone, Debug)]
pub struct Timeline {
    fault: Time,
    happenings: Vec<Happening>,
    said: Vec<Said>,
    /// The first packet again at each host.
    firsts: Vec<(Time, NodeId)>,
}

impl Timeline {
    /// What the network saw of it; of other groups nothing.
    pub fn of<N: Network>(run: &Run<'_, N>, fault: Time, group: IpAddr, firsts: Vec<(Time, NodeId)>) -> Timeline {
        let mut happenings = run.network.happenings();
        happenings.retain(|h| h.time >= fault && h.group.is_none_or(|of| of == group));
        happenings.sort_by_key(|happening| happening.time);
        let matters =
            |s: &ControlSighting| s.time >= fault && (s.groups.contains(&group) || s.message == Message::PimHello);
        let mut said: Vec<Said> = Vec::new();
        for wire in run.plan.wire_ids() {
            let seen = run.network.control(wire);
            said.extend(seen.iter().filter(|s| matters(s)).map(|s| Said {
                time: s.time,
                node: s.at.node,
                wire,
                message: s.message,
                destination: s.destination,
            }));
        }
        said.sort_by_key(|said| said.time);
        Timeline { fault, happenings, said, firsts }
    }

    /// In lines, up to the last first packet: what came after it explains nothing.
    pub fn moments<N: Network>(&self, run: &Run<'_, N>) -> Vec<Moment> {
        let end = self.end().unwrap_or(Time(u64::MAX));
        let mut moments: Vec<(Time, String)> = Vec::new();
        for h in self.happenings.iter().filter(|h| h.time <= end) {
            let node = h.node.map(|node| format!("{}: ", run.name(node))).unwrap_or_default();
            let kind = match h.kind {
                HappeningKind::Fault => "fault",
                HappeningKind::Carrier => "carrier",
                HappeningKind::Routes => "routes",
                HappeningKind::Entry => "entry",
                HappeningKind::Daemon => "daemon",
            };
            moments.push((h.time, format!("{kind}: {node}{}", h.what)));
        }
        for said in self.said.iter().filter(|said| said.time <= end) {
            let (who, wire) = (run.name(said.node), &run.plan.wire(said.wire).name);
            moments.push((
                said.time,
                format!("message: {who}: {} to {} into {wire}", said.message.name(), said.destination),
            ));
        }
        moments.extend(
            self.firsts.iter().map(|(time, host)| (*time, format!("first packet again at {}", run.name(*host)))),
        );
        moments.sort();
        moments.truncate(MOMENTS);
        moments.into_iter().map(|(time, what)| Moment { after: time.since(self.fault), what }).collect()
    }

    /// The outage's parts, each from the end of the one before: the news of a lost carrier, unicast routes that moved, the first message
    /// that asked for packets another way, the last entry that changed, the packet.
    pub fn parts<N: Network>(&self, run: &Run<'_, N>) -> Vec<Figure> {
        let Some((end, host)) = self.firsts.iter().max_by_key(|(time, _)| *time).copied() else { return Vec::new() };
        let of = |kind: HappeningKind| self.happenings.iter().filter(move |h| h.kind == kind && h.time <= end);
        let asks = |said: &&Said| {
            matches!(said.message, Message::PimGraft | Message::PimJoin | Message::PimJoinPrune) && said.time <= end
        };
        let asked = self.said.iter().find(asks);
        let routes_end = asked.map_or(end, |asked| asked.time);
        let node = |h: &Happening| h.node.map_or_else(String::new, |node| run.name(node).to_owned());
        let steps = [
            of(HappeningKind::Carrier).next().map(|h| ("carrier news", h.time, node(h))),
            of(HappeningKind::Routes).rfind(|h| h.time <= routes_end).map(|h| ("routes", h.time, node(h))),
            asked.map(|said| (said.message.name(), said.time, run.name(said.node).to_owned())),
            of(HappeningKind::Entry).next_back().map(|h| ("entry", h.time, node(h))),
            Some(("packet", end, run.name(host).to_owned())),
        ];
        let mut figures = Vec::new();
        let mut last = self.fault;
        for (what, time, place) in steps.into_iter().flatten().filter(|(_, time, _)| *time >= self.fault) {
            // What was over before the step before it ended cost nothing more.
            figures.push(Figure::at(what, &place, Value::Span(time.since(last))));
            last = last.max(time);
        }
        figures
    }

    /// How long the route agent took, from its first news to its last change: its part of an outage, apart from multicast's.
    pub fn agent_reaction(&self) -> Option<Duration> {
        let times = |kinds: &'static [HappeningKind]| {
            self.happenings.iter().filter(move |h| kinds.contains(&h.kind)).map(|h| h.time)
        };
        let news = times(&[HappeningKind::Carrier, HappeningKind::Routes]).min()?;
        let moved = times(&[HappeningKind::Routes]).max()?;
        (moved > news).then(|| moved.since(news))
    }

    fn end(&self) -> Option<Time> {
        self.firsts.iter().map(|(time, _)| *time).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_route_agents_part_of_an_outage_runs_from_its_news_to_its_last_change() {
        let at = |micros: u64, kind| Happening {
            time: Time(micros * 1000),
            node: None,
            group: None,
            what: String::new(),
            kind,
        };
        let timeline = |happenings: &[Happening]| Timeline {
            fault: Time(90_000),
            happenings: happenings.iter().filter(|h| h.time >= Time(90_000)).cloned().collect(),
            said: Vec::new(),
            firsts: Vec::new(),
        };
        let before = at(1, HappeningKind::Routes);
        let carrier = at(100, HappeningKind::Carrier);
        let history = [before.clone(), at(90, HappeningKind::Fault), carrier.clone(), at(240, HappeningKind::Routes)];
        assert_eq!(timeline(&history).agent_reaction(), Some(Duration::from_micros(140)));
        assert_eq!(timeline(&[before, carrier]).agent_reaction(), None, "nothing moved");
    }
}
