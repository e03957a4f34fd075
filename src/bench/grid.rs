//! A grid of a hundred routers that speak PIM dense mode, a member at each: from `up` to full delivery, until the tree stands, and at rest.
//!
//! What happens inside the lab is done by a process there (`testbed bench grid WHAT`), which prints its samples.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::lab::{inside_timed, parse_weight};
use super::{NoFigure, Series, Setting, Unit, Variant, interleave, networks};
use crate::lab::Lab;
use crate::network::Time;
use crate::network::kernel::namespace;
use crate::network::notifier::Notifier;
use crate::observe::entries::Reader;
use crate::sys::files;
use crate::topology::plan::{Node, NodeId, Plan};
use crate::topology::steps::SourceFilter;
use crate::traffic::stamp::StreamId;
use crate::traffic::{Place, StreamSpec, Traffic, clock};

/// Routers on a side.
const SIDE: usize = 10;
/// Packets a second: slow, for the routers are to be measured at rest, and fast enough to see an end within a tenth of a second.
const RATE: f64 = 10.0;
/// How long the routers' processor time is measured: hellos come once in it.
const REST: Duration = Duration::from_secs(30);
/// Delivery takes no longer, nor does the tree until it stands.
const LIMIT: Duration = Duration::from_secs(120);
/// How often the routers' entries are read.
const LOOK: Duration = Duration::from_millis(250);
/// A tree that stays so long as it is stands. A kernel tells of a packet by a wrong interface once in 3 s.
const STANDS: Duration = Duration::from_secs(7);
const GROUP: IpAddr = IpAddr::V4(Ipv4Addr::new(239, 1, 1, 1));

/// What is measured in a grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum What {
    /// A stream to everybody: until it is there, until the tree stands, then at rest.
    Stream,
    /// The routers at rest, with members and without a stream.
    Rest,
}

/// What one grid gave.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Grid {
    /// From the start of the stream until every member had a packet, in milliseconds.
    delivery_ms: Option<f64>,
    /// Until the kernels' entries made a tree, and no more, for good.
    settled_ms: Option<f64>,
    /// Thousandths of a processor that all routers together use.
    cpu: f64,
    /// Mebibytes a router: its proportional share of memory, and what it has resident.
    proportional: f64,
    resident: f64,
}

/// `up`, delivery, the tree, and rest, by default timers and, for delivery, without the random delay of first hellos.
pub fn experiment(setting: &Setting, tell: &mut dyn FnMut(&str)) -> Vec<Series> {
    let name = format!("grid of {SIDE}×{SIDE} routers, dense mode, a member at each, one source");
    let time = |what: &str| Series::new(&name, what, Unit::Milliseconds);
    let idle = "all routers at rest, static multicast";
    let stream = |settings: &'static str| {
        move || {
            let (up, grid) = run(setting, settings, What::Stream)?;
            let missing = |what: &str| NoFigure::failed(format!("no {what}"));
            let delivery = grid.delivery_ms.ok_or_else(|| missing("delivery"))?;
            let settled = grid.settled_ms.ok_or_else(|| missing("settled tree"))?;
            Ok((up, delivery, settled, grid))
        }
    };
    let (by_default, at_once) =
        (stream("multicast: pim-dm"), stream("multicast: pim-dm, pim: {triggered-hello-delay: 0}"));
    let rest = |settings: &'static str| move || run(setting, settings, What::Rest).map(|(_, grid)| vec![grid.cpu]);
    let variants = vec![
        Variant {
            series: vec![
                time("up to full delivery"),
                time("  of it up").beside("up to full delivery"),
                time("  of it stream to full delivery").beside("up to full delivery"),
                time("stream to a tree and no more"),
                Series::new(&name, "all routers at rest, a stream of 10 packets a second", Unit::MilliCpus)
                    .beside(idle),
                Series::new(&name, "router-core, proportional", Unit::Mebibytes),
                Series::new(&name, "router-core, resident", Unit::Mebibytes),
            ],
            measure: Box::new(move || {
                let (up, delivery, settled, grid) = by_default()?;
                Ok(vec![up + delivery, up, delivery, settled, grid.cpu, grid.proportional, grid.resident])
            }),
        },
        Variant {
            series: vec![
                time("up to full delivery, first hellos at once").beside("up to full delivery"),
                time("  stream to a tree and no more").beside("stream to a tree and no more"),
            ],
            measure: Box::new(move || {
                let (up, delivery, settled, _) = at_once()?;
                Ok(vec![up + delivery, settled])
            }),
        },
        Variant {
            series: vec![Series::new(&name, "all routers at rest, no stream", Unit::MilliCpus).beside(idle)],
            measure: Box::new(rest("multicast: pim-dm")),
        },
        Variant {
            series: vec![Series::new(&name, idle, Unit::MilliCpus)],
            measure: Box::new(rest("multicast: static")),
        },
    ];
    interleave(setting.rounds.min(ROUNDS_MAX), variants, tell)
}

/// A round takes some three minutes.
const ROUNDS_MAX: usize = 3;

fn run(setting: &Setting, settings: &str, what: What) -> Result<(f64, Grid), NoFigure> {
    let word = match what {
        What::Stream => "stream",
        What::Rest => "rest",
    };
    inside_timed(setting, &networks::grid(SIDE, settings)?, &["grid", word])
}

/// The part inside the lab.
///
/// # Errors
/// [`NoFigure`].
pub fn measure(what: What) -> Result<Grid, NoFigure> {
    let plan = Lab::inside().and_then(|lab| lab.plan()).map_err(NoFigure::failed)?;
    // Two sockets a member, and one a router.
    files::raise_open_files().map_err(NoFigure::failed)?;
    let mut members = Members::join(&plan)?;
    let mut grid = Grid::default();
    match what {
        What::Stream => {
            let start = clock::monotonic();
            let stream = members.stream(&plan)?;
            let milliseconds = |time: Time| time.since(start).as_secs_f64() * 1e3;
            grid.delivery_ms = Some(milliseconds(members.until_all_receive(stream)?));
            grid.settled_ms = Some(milliseconds(until_settled(&plan)?));
        }
        // First queries and hellos are no rest.
        What::Rest => std::thread::sleep(STANDS),
    }
    let before = processor_time()?;
    std::thread::sleep(REST);
    let used = processor_time()?.saturating_sub(before);
    grid.cpu = used.as_secs_f64() / REST.as_secs_f64() * 1e3;
    let processes = routers()?;
    let weights = processes.iter().map(|process| {
        let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).map_err(NoFigure::failed)?;
        parse_weight(&text).ok_or_else(|| NoFigure::failed("smaps_rollup has no Pss and Rss"))
    });
    let weights = weights.collect::<Result<Vec<_>, _>>()?;
    let count = weights.len().max(1) as f64;
    grid.proportional = weights.iter().map(|weight| weight.proportional).sum::<f64>() / count;
    grid.resident = weights.iter().map(|weight| weight.resident).sum::<f64>() / count;
    Ok(grid)
}

/// The hosts that have joined.
struct Members {
    traffic: Traffic,
    notifier: Arc<Notifier>,
    hosts: Vec<NodeId>,
}

fn place(id: NodeId, node: &Node) -> Place {
    Place { host: id, name: node.name.clone(), netns: Some(namespace::place(&node.name)) }
}

fn interface(node: &Node) -> u32 {
    node.interfaces.first().map_or(0, |interface| interface.index)
}

impl Members {
    fn join(plan: &Plan) -> Result<Members, NoFigure> {
        let notifier = Arc::new(Notifier::new());
        let mut traffic = Traffic::new(Arc::clone(&notifier)).map_err(NoFigure::failed)?;
        let hosts = plan.node_ids().filter(|id| plan.node(*id).name.starts_with('h'));
        let hosts: Vec<NodeId> = hosts.collect();
        let anyone = SourceFilter::Exclude(BTreeSet::new());
        for &host in &hosts {
            let node = plan.node(host);
            traffic.join(&place(host, node), interface(node), GROUP, &anyone).map_err(NoFigure::failed)?;
        }
        Ok(Members { traffic, notifier, hosts })
    }

    fn stream(&mut self, plan: &Plan) -> Result<StreamId, NoFigure> {
        let source = plan.find_node("src").ok_or_else(|| NoFigure::failed("no src"))?;
        let node = plan.node(source);
        let spec = StreamSpec {
            name: "bench".into(),
            interface: interface(node),
            source: None,
            group: GROUP,
            port: 5001,
            rate: RATE,
            size: 200,
            ttl: 64,
            count: None,
            burst: 1,
            groups: 1,
        };
        self.traffic.start(&place(source, node), &spec).map_err(NoFigure::failed)
    }

    /// Waits for a packet at each member; gives when the last one had its first.
    fn until_all_receive(&self, stream: StreamId) -> Result<Time, NoFigure> {
        let deadline = clock::monotonic() + LIMIT;
        loop {
            let generation = self.notifier.generation();
            let firsts: Option<Vec<Time>> = self
                .hosts
                .iter()
                .map(|host| self.traffic.arrivals(stream, *host, 0).first().map(|arrival| arrival.received))
                .collect();
            if let Some(last) = firsts.and_then(|firsts| firsts.into_iter().max()) {
                return Ok(last);
            }
            let left = deadline.since(clock::monotonic());
            if left.is_zero() {
                let deaf = self.hosts.iter().filter(|host| self.traffic.arrived(stream, **host) == 0).count();
                return Err(NoFigure::failed(format!("{deaf} members have no packet after {} s", LIMIT.as_secs())));
            }
            self.notifier.wait(generation, left);
        }
    }
}

/// Waits until the kernels' entries make a tree: every router but the first has one way in, so between routers there are as many ways out;
/// and every member is reached. Gives since when.
fn until_settled(plan: &Plan) -> Result<Time, NoFigure> {
    let routers: Vec<&Node> = plan.nodes.iter().filter(|node| node.is_router()).collect();
    let wanted = routers.len() - 1 + routers.len();
    let open = |router: &&Node| Reader::open(&namespace::place(&router.name));
    let mut readers = routers.iter().map(open).collect::<Result<Vec<_>, _>>().map_err(NoFigure::failed)?;
    let deadline = clock::monotonic() + LIMIT;
    let mut since: Option<Time> = None;
    loop {
        let now = clock::monotonic();
        let mut ways = 0;
        for reader in &mut readers {
            ways += reader.read().map_err(NoFigure::failed)?.iter().map(|entry| entry.outgoing.len()).sum::<usize>();
        }
        since = if ways == wanted { since.or(Some(now)) } else { None };
        match since {
            Some(since) if now.since(since) >= STANDS => return Ok(since),
            None if now > deadline => {
                return Err(NoFigure::failed(format!("{ways} ways out of routers, {wanted} are enough")));
            }
            _ => {}
        }
        // Kernels do not tell of changed entries.
        std::thread::sleep(LOOK);
    }
}

/// The processes of router-core in this lab.
fn routers() -> Result<Vec<u32>, NoFigure> {
    let processes = fs::read_dir("/proc").map_err(NoFigure::failed)?;
    let numbers = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let is_router = |process: &u32| {
        fs::read_to_string(format!("/proc/{process}/comm")).is_ok_and(|name| name.trim_end() == "router-core")
    };
    let found: Vec<u32> = numbers.filter(is_router).collect();
    match found.len() == SIDE * SIDE {
        true => Ok(found),
        false => Err(NoFigure::failed(format!("{} of {} router-core processes found", found.len(), SIDE * SIDE))),
    }
}

/// What all of them have used so far.
fn processor_time() -> Result<Duration, NoFigure> {
    let mut sum = 0;
    for process in routers()? {
        // Nanoseconds on a processor, then others; `stat` counts in hundredths of a second.
        let path = format!("/proc/{process}/schedstat");
        let text = fs::read_to_string(&path).map_err(|error| NoFigure::Missing(format!("{path}: {error}")))?;
        let used = text.split_whitespace().next().and_then(|word| word.parse::<u64>().ok());
        sum += used.ok_or_else(|| NoFigure::failed(format!("{path} says {text:?}")))?;
    }
    Ok(Duration::from_nanos(sum))
}
