//! The bulk sender and receiver across one veth pair, beside a bare loop of the same system calls.

use std::io::{self, BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::place::{beside, enter_private, part};
use super::{NoFigure, Series, Setting, Target, Unit, Variant, interleave, networks};
use crate::network::kernel::{
    self,
    namespace::{Namespace, place},
};
use crate::sys::netns;
use crate::traffic::{StreamSpec, bulk};

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 1, 1);
/// Octets of payload: with headers, a little below the usual MTU.
const SIZE: usize = 1400;
const SEGMENTS: usize = 46;
const TIME: Duration = Duration::from_millis(1500);
/// The receiver is there before the sender and a while after it.
const RECEIVE_TIME: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_millis(250);
/// Share of the bare loop's rate that is to be reached with every packet stamped and counted.
const SHARE_MIN: f64 = 0.8;

/// Packets a second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    sent: f64,
    received: f64,
}

/// Both, in turn.
pub fn experiment(setting: &Setting, tell: &mut dyn FnMut(&str)) -> Vec<Series> {
    let name = format!("bulk over one veth pair, {SIZE} octets, {SEGMENTS} a call");
    let series = |what: &str| Series::new(&name, what, Unit::PacketsPerSecond);
    let target = |of: &str| Target::AtLeastTimes(SHARE_MIN, of.to_owned());
    let variants = vec![
        Variant {
            series: vec![series("bare loop, sent"), series("bare loop, received")],
            measure: Box::new(|| rates(part(setting, &["bulk-bare"])?)),
        },
        Variant {
            series: vec![
                series("testbed, sent").target(target("bare loop, sent")),
                series("testbed, received").target(target("bare loop, received")),
            ],
            measure: Box::new(|| rates(part(setting, &["bulk-stamped"])?)),
        },
    ];
    interleave(setting.rounds, variants, tell)
}

fn rates(rates: Rates) -> Result<Vec<f64>, NoFigure> {
    Ok(vec![rates.sent, rates.received])
}

/// Two hosts and the kernel indexes of their interfaces, in namespaces of this process's own.
struct Pair {
    indexes: [u32; 2],
    _fabric: kernel::Fabric,
}

fn pair() -> Result<Pair, NoFigure> {
    let plan = networks::pair()?;
    enter_private().map_err(NoFigure::failed)?;
    let fabric = kernel::build(&plan, &mut |_, _, _| ControlFlow::Continue(())).map_err(NoFigure::failed)?;
    let index = |node: usize| plan.nodes.get(node).and_then(|n| n.interfaces.first()).map_or(0, |i| i.index);
    Ok(Pair { indexes: [index(0), index(1)], _fabric: fabric })
}

/// The bare loops, each a process of its own.
///
/// # Errors
/// [`NoFigure`].
pub fn bare(testbed: &Path) -> Result<Rates, NoFigure> {
    let (mut send, mut receive) = (beside(testbed, "blast")?, beside(testbed, "blast")?);
    let Pair { indexes: [out, into], .. } = &pair()?;
    let milliseconds = |time: Duration| time.as_millis().to_string();
    receive.args(["receive", &into.to_string(), &GROUP.to_string(), &SIZE.to_string(), &milliseconds(RECEIVE_TIME)]);
    send.args(["send", &out.to_string(), &GROUP.to_string(), &SIZE.to_string(), &SEGMENTS.to_string()]);
    send.arg(milliseconds(TIME));
    let mut receiver = spawn_in("dst", &mut receive).map_err(NoFigure::failed)?;
    let mut lines = BufReader::new(receiver.stdout.take().ok_or_else(|| NoFigure::failed("no standard output"))?);
    // Its first line says that it has joined.
    lines.read_line(&mut String::new()).map_err(NoFigure::failed)?;
    let mut sender = spawn_in("src", &mut send).map_err(NoFigure::failed)?;
    let sent = finish(&mut sender, None)?;
    let received = finish(&mut receiver, Some(&mut lines))?;
    Ok(Rates { sent, received })
}

/// A child is born into the namespace of the thread that makes it.
fn spawn_in(node: &str, command: &mut Command) -> io::Result<Child> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    netns::within(&place(node), || command.spawn())?
}

fn finish(child: &mut Child, lines: Option<&mut dyn Read>) -> Result<f64, NoFigure> {
    #[derive(Deserialize)]
    struct Blast {
        rate: f64,
    }
    let mut text = String::new();
    match (lines, child.stdout.take()) {
        (Some(lines), _) => lines.read_to_string(&mut text),
        (None, Some(mut out)) => out.read_to_string(&mut text),
        (None, None) => Ok(0),
    }
    .map_err(NoFigure::failed)?;
    let status = child.wait().map_err(NoFigure::failed)?;
    if !status.success() {
        return Err(NoFigure::failed(format!("blast: {status}")));
    }
    let blast: Blast = serde_json::from_str(text.trim()).map_err(NoFigure::failed)?;
    Ok(blast.rate)
}

/// The project's own, every packet stamped and counted.
///
/// # Errors
/// [`NoFigure`].
pub fn stamped() -> Result<Rates, NoFigure> {
    let Pair { indexes: [out, into], .. } = pair()?;
    let spec = StreamSpec {
        name: "bulk".into(),
        interface: out,
        source: None,
        group: IpAddr::V4(GROUP),
        groups: 1,
        port: 5002,
        rate: 1.0,
        size: SIZE,
        ttl: 16,
        count: None,
        burst: 1,
    };
    let never = AtomicBool::new(false);
    let enter = |node: &str| Namespace::open(Path::new(&place(node))).and_then(|namespace| namespace.enter());
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            enter("dst")?;
            bulk::receive(IpAddr::V4(GROUP), spec.port, into, RECEIVE_TIME, IDLE, &never)
        });
        let sender = scope.spawn(|| {
            enter("src")?;
            // Until the receiver has joined, packets go to nobody: its rate counts from the first that arrives.
            bulk::send(&spec, SEGMENTS, TIME, &never)
        });
        let died = |_| NoFigure::failed("a thread died");
        let sent: io::Result<bulk::Sent> = sender.join().map_err(died)?;
        let received: io::Result<bulk::Received> = receiver.join().map_err(died)?;
        let (sent, received) = (sent.map_err(NoFigure::failed)?, received.map_err(NoFigure::failed)?);
        if received.strange + received.duplicated > 0 {
            return Err(NoFigure::failed(format!(
                "{} strange packets, {} copies",
                received.strange, received.duplicated
            )));
        }
        Ok(Rates { sent: sent.rate, received: received.rate })
    })
}
