//! Ten thousand sources that one router of sparse mode learns from joins: how many a second, and what each takes of memory.
//!
//! Each measurement is a process of its own (`testbed bench state`), so that its memory is its own too. Time is processor time of one thread.

use std::fs;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use router_core::config::Config;
use router_core::router::{Datagram, Input, InterfaceId, InterfaceState, Output, Router, UnicastRoute};
use router_core::show::{Show, Shown};
use router_core::time::Time;
use router_core::wire::pim::{self, ALL_PIM_ROUTERS, EncodedSource, GroupSet, Hello, JoinPrune, Message};
use serde::{Deserialize, Serialize};

use super::place::part;
use super::simulate::processor_time;
use super::{NoFigure, Series, Setting, Target, Unit, Variant, interleave};

/// Sources, each with a group that three others have too.
const SOURCES: u32 = 10_000;
/// Sources that one message joins: as many as a router that bundles would put there.
const BUNDLE: u32 = 100;
/// What must be learned in a second.
const PER_SECOND_MIN: f64 = 5_000.0;
/// Octets that one may take.
const OCTETS_MAX: f64 = 1024.0;

/// What a router took.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Took {
    /// Sources a second that were learned, each joined upstream.
    learned: f64,
    /// Sources a second whose messages were read, and nothing else: what no router can do faster.
    read: f64,
    /// Octets of memory each.
    octets: f64,
}

/// All of it.
pub fn experiment(setting: &Setting, tell: &mut dyn FnMut(&str)) -> Vec<Series> {
    let name = "10,000 (S,G) learned from joins, one router of sparse mode, one core";
    let floor = "their messages read, and nothing kept";
    let variants = vec![Variant {
        series: vec![
            Series::new(name, floor, Unit::PerSecond),
            Series::new(name, "learned, and joined upstream", Unit::PerSecond)
                .beside(floor)
                .target(Target::AtLeast(PER_SECOND_MIN)),
            Series::new(name, "memory each", Unit::Octets).target(Target::AtMost(OCTETS_MAX)),
        ],
        measure: Box::new(|| {
            let took: Took = part(setting, &["state"])?;
            Ok(vec![took.read, took.learned, took.octets])
        }),
    }];
    interleave(setting.rounds, variants, tell)
}

/// Measures in this process.
///
/// # Errors
/// [`NoFigure::Failed`] if the router did not learn them all.
pub fn measure() -> Result<Took, NoFigure> {
    let messages: Vec<Datagram> =
        (0..SOURCES).step_by(BUNDLE as usize).map(|first| datagram([10, 0, 1, 2], &join(first))).collect();
    let start = processor_time()?;
    for message in &messages {
        let _ = black_box(pim::parse(message.source, message.destination, black_box(&message.payload)));
    }
    let read = processor_time()?.saturating_sub(start);

    let mut router = router()?;
    let before = resident()?;
    let start = processor_time()?;
    let mut now = Time::ZERO;
    let mut joined = 0;
    for datagram in messages.iter().cloned() {
        router.handle(now, Input::Packet { interface: InterfaceId(1), datagram });
        joined += sources_sent(&mut router);
        now += Duration::from_millis(10);
    }
    let learned = processor_time()?.saturating_sub(start);
    let octets = resident()?.saturating_sub(before) as f64 / f64::from(SOURCES);
    let Shown::Trees(trees) = router.show(now, Show::Trees) else {
        return Err(NoFigure::failed("the router does not show its trees"));
    };
    if joined != SOURCES as usize || trees.len() != SOURCES as usize {
        return Err(NoFigure::failed(format!("{} of {SOURCES} were learned, {joined} joined upstream", trees.len())));
    }
    let rate = |took: Duration| f64::from(SOURCES) / took.as_secs_f64();
    Ok(Took { learned: rate(learned), read: rate(read), octets })
}

/// A router with a neighbour on either side, the sources' way by the second.
fn router() -> Result<Router, NoFigure> {
    let text = "multicast: pim-sm\npim: {triggered-hello-delay: 0s}\ninterfaces: [{name: eth1}, {name: eth2}]\nigmp: {enabled: false}";
    let mut router = Router::new(Config::from_yaml(text).map_err(NoFigure::failed)?);
    for port in [1, 2] {
        let addresses = vec![ipnet::Ipv4Net::new_assert(Ipv4Addr::new(10, 0, port, 1), 24).into()];
        let state = InterfaceState { name: format!("eth{port}"), up: true, mtu: 1500, addresses };
        let interface = InterfaceId(port.into());
        router.handle(Time::ZERO, Input::Interface { interface, state });
        let hello = Message::Hello(Hello { hold_time: Some(pim::HOLD_FOR_EVER), ..Hello::default() });
        router.handle(Time::ZERO, Input::Packet { interface, datagram: datagram([10, 0, port, 2], &hello) });
    }
    let route = UnicastRoute {
        prefix: ipnet::Ipv4Net::new_assert(Ipv4Addr::new(10, 9, 0, 0), 16).into(),
        next_hop: Some([10, 0, 2, 2].into()),
        interface: InterfaceId(2),
        metric: 20,
    };
    router.handle(Time::ZERO, Input::RouteAdded(route));
    sources_sent(&mut router);
    Ok(router)
}

fn datagram(from: [u8; 4], message: &Message) -> Datagram {
    let (source, destination): (IpAddr, IpAddr) = (from.into(), ALL_PIM_ROUTERS.into());
    let payload = message.emit(source, destination);
    let protocol = pim::PROTOCOL;
    Datagram { source, destination, protocol, ttl: 1, router_alert: false, traffic_class: 0xc0, payload }
}

fn join(first: u32) -> Message {
    let groups = (first..first + BUNDLE).map(|number| {
        let address = Ipv4Addr::from(0x0a09_0000 + number).into();
        let source = EncodedSource { address, mask_length: 32, sparse: true, wildcard: false, rpt: false };
        let group = Ipv4Addr::from(0xe801_0000 + number / 4).into();
        GroupSet { group, mask_length: 32, joined: vec![source], pruned: vec![] }
    });
    Message::JoinPrune(JoinPrune { upstream: [10, 0, 1, 1].into(), hold_time: 210, groups: groups.collect() })
}

/// Sources that are joined in what the router sends.
fn sources_sent(router: &mut Router) -> usize {
    let mut sources = 0;
    while let Some(output) = router.poll_output() {
        if let Output::Send { datagram, .. } = output
            && let Ok(Message::JoinPrune(message)) =
                pim::parse(datagram.source, datagram.destination, &datagram.payload)
        {
            sources += message.groups.iter().map(|set| set.joined.len()).sum::<usize>();
        }
    }
    sources
}

/// Octets of memory that this process has.
fn resident() -> Result<u64, NoFigure> {
    let text = fs::read_to_string("/proc/self/smaps_rollup").map_err(NoFigure::failed)?;
    let weight = super::lab::parse_weight(&text).ok_or_else(|| NoFigure::failed("smaps_rollup has no Rss"))?;
    Ok((weight.resident * 1024.0 * 1024.0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_learned_and_take_some_memory() {
        let took = measure().unwrap();
        assert!(took.learned > 0.0 && took.read > took.learned && took.octets > 100.0, "{took:?}");
    }
}
