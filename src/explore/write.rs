//! A plan as a topology file that resolves to the same plan: whatever was derived is said.

use std::fmt::Write as _;
use std::time::Duration;

use super::flow::{Flow, Keys};
use crate::topology::plan::{
    Attachment, Daemon, Interface, Multicast, Node, NodeId, NodeKind, Plan, Router, Unicast, Wire, WireId, WireKind,
};
use crate::topology::steps::{
    Action, Cut, CutKind, Deadline, Expectation, Formula, Mistreatment, Place, Scenario, SourceFilter, Stream,
};

/// Why a plan cannot be written: it has something that only some files have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} cannot be written as a file")]
pub struct Unwritten(pub String);

/// Writes a plan; `remarks` become comments at its head.
///
/// # Errors
/// What cannot be written.
pub fn text(plan: &Plan, remarks: &[String]) -> Result<String, Unwritten> {
    let mut out = String::new();
    for remark in remarks {
        let _ = writeln!(out, "# {remark}");
    }
    let _ = writeln!(out, "name: {}", Flow::word(&plan.name));
    let _ = writeln!(out, "description: {}", Flow::word(&plan.description));
    let _ = writeln!(out, "timers: {}", plan.timers);
    let _ = writeln!(out, "seed: {}", plan.seed);
    let interfaces = || plan.nodes.iter().flat_map(|node| &node.interfaces);
    let families =
        [(interfaces().any(|i| i.ipv4().is_some()), "ipv4"), (interfaces().any(|i| i.ipv6().is_some()), "ipv6")];
    let families: Vec<Flow> = families.iter().filter(|(has, _)| *has).map(|(_, name)| Flow::word(name)).collect();
    let _ = writeln!(out, "families: {}", Flow::List(families));
    out.push_str("\nnodes:\n");
    for node in &plan.nodes {
        let _ = writeln!(out, "  {}: {}", Flow::word(&node.name), self::node(node)?);
    }
    let wires = |link: bool| plan.wires.iter().filter(move |wire| wire.kind.is_link() == link);
    if wires(true).next().is_some() {
        out.push_str("\nlinks:\n");
    }
    for wire in wires(true) {
        let _ = writeln!(out, "  - {}", self::wire(plan, wire));
    }
    if wires(false).next().is_some() {
        out.push_str("\nlans:\n");
    }
    for wire in wires(false) {
        let _ = writeln!(out, "  {}: {}", Flow::word(&wire.name), self::wire(plan, wire));
    }
    if !plan.scenarios.is_empty() {
        out.push_str("\nscenarios:\n");
    }
    for scenario in &plan.scenarios {
        self::scenario(&mut out, plan, scenario)?;
    }
    Ok(out)
}

fn node(node: &Node) -> Result<Flow, Unwritten> {
    match &node.kind {
        NodeKind::Host(host) => {
            let version = host.igmp_version.map(|version| Keys::of("version", Flow::word(version)).end());
            let gateway = if host.gateways.is_empty() { Flow::word("none") } else { Flow::words(&host.gateways) };
            Ok(Keys::of("kind", Flow::word("host")).some("igmp", version).with("gateway", gateway).end())
        }
        NodeKind::Router(router) => self::router(node, router),
    }
}

fn router(node: &Node, router: &Router) -> Result<Flow, Unwritten> {
    if router.daemon != Daemon::RouterCore {
        return Err(Unwritten(format!("the daemon of {}", node.name)));
    }
    let multicast = match router.multicast {
        Multicast::None => "none",
        Multicast::Static => "static",
        Multicast::Proxy => "proxy",
        Multicast::PimDm => "pim-dm",
        Multicast::PimSm => "pim-sm",
    };
    let unicast = match router.unicast {
        Unicast::None => "none",
        Unicast::Static => "static",
        Unicast::Ospf => "ospf",
    };
    let name = |interface: usize| node.interfaces.get(interface).map_or("", |interface| interface.name.as_str());
    let routes = router.routes.iter().map(|route| {
        Keys::of("group", Flow::word(route.group))
            .some("source", route.source.map(Flow::word))
            .with("from", Flow::word(name(route.incoming)))
            .some("to", Some(Flow::List(route.outgoing.iter().map(|to| Flow::word(name(*to))).collect())))
            .end()
    });
    let limits = router.limits;
    let limits = Keys::of("groups-per-interface", Flow::word(limits.groups_per_interface))
        .with("sources-per-group", Flow::word(limits.sources_per_group))
        .with("neighbours-per-interface", Flow::word(limits.neighbours_per_interface))
        .with("forwarding-entries", Flow::word(limits.forwarding_entries))
        .with("rp-mappings", Flow::word(limits.rp_mappings))
        .with("scope-zones", Flow::word(limits.scope_zones));
    let has_limits = router.limits != router_core::config::Limits::default();
    let pim = if router.multicast.is_pim() { settings(&router.pim) } else { None };
    let routes: Vec<Flow> = routes.collect();

    Ok(Keys::of("kind", Flow::word("router"))
        .with("multicast", Flow::word(multicast))
        .some("unicast", (unicast != "static").then(|| Flow::word(unicast)))
        .some("igmp", settings(&router.igmp))
        .some("pim", pim)
        .some("routes", Some(Flow::List(routes)))
        .some("upstream", router.upstream.map(|upstream| Flow::word(name(upstream))))
        .some("limits", has_limits.then(|| limits.end()))
        .some("loopback", Some(Flow::List(node.loopback.iter().map(Flow::word).collect())))
        .end())
}

/// Settings as the daemon's configuration has them: by the same keys as files.
fn settings<T: serde::Serialize>(settings: &T) -> Option<Flow> {
    serde_json::to_value(settings).ok().as_ref().and_then(Flow::of_json)
}

fn wire(plan: &Plan, wire: &Wire) -> Flow {
    let end = |at: &Attachment| format!("{}:{}", plan.node(at.node).name, plan.interface(*at).name);
    let between = Flow::List(wire.ends.iter().map(|at| Flow::word(end(at))).collect());
    let keys = match wire.kind {
        WireKind::Link => Keys::of("between", between).with("name", Flow::word(&wire.name)),
        WireKind::Lan { snooping } => Keys::of("nodes", between).some("snooping", snooping.then(|| Flow::word(true))),
    };
    let impairment = &wire.impairment;
    let span = |span: Duration| (!span.is_zero()).then(|| Flow::span(span));
    let ends = wire.ends.iter().map(|at| {
        let is_router = plan.node(at.node).is_router();
        (plan.node(at.node).name.clone(), self::end(plan.interface(*at), is_router))
    });
    keys.some("cost", (wire.cost != 1).then(|| Flow::word(wire.cost)))
        .some("mtu", (wire.mtu != 1500).then(|| Flow::word(wire.mtu)))
        .some("delay", span(impairment.delay))
        .some("jitter", span(impairment.jitter))
        .some("loss", (impairment.loss > 0.0).then(|| Flow::word(impairment.loss)))
        .some("rate", impairment.rate.map(|rate| Flow::word(format!("{rate}bit"))))
        .with("ends", Flow::Map(ends.collect()))
        .end()
}

fn end(interface: &Interface, is_router: bool) -> Flow {
    let own = |value: Option<Flow>| value.filter(|_| is_router);
    let threshold = interface.ttl_threshold;
    Keys::of("address", Flow::words(&interface.addresses))
        .some("ttl-threshold", own((threshold != 0).then(|| Flow::word(threshold))))
        .some("boundary", own(Some(Flow::List(interface.boundary.iter().map(Flow::word).collect()))))
        .some("igmp", own(settings(&interface.igmp)))
        .some("pim", own(settings(&interface.pim)))
        .end()
}

fn scenario(out: &mut String, plan: &Plan, scenario: &Scenario) -> Result<(), Unwritten> {
    let _ = writeln!(out, "  - name: {}", Flow::word(&scenario.name));
    if !scenario.without.is_empty() {
        let without = serde_json::to_value(&scenario.without).ok().as_ref().and_then(Flow::of_json);
        let _ = writeln!(out, "    without: {}", without.unwrap_or_else(|| Flow::List(Vec::new())));
    }
    let _ = writeln!(out, "    steps:");
    for step in &scenario.steps {
        let (key, value) = action(plan, &step.action)?;
        let _ = writeln!(out, "      - {key}: {value}");
    }
    Ok(())
}

/// A step: its key and value.
fn action(plan: &Plan, action: &Action) -> Result<(&'static str, Flow), Unwritten> {
    let nodes = |ids: &[NodeId]| names(plan, ids);
    let node = |id: NodeId| Flow::word(&plan.node(id).name);
    let wire = |id: WireId| Flow::word(&plan.wire(id).name);
    let from = |at: Option<Attachment>| at.map(|at| node(at.node));
    let several = |groups: u32| (groups != 1).then(|| Flow::word(groups));
    Ok(match action {
        Action::Join { hosts, group, groups, filter } => {
            let keys =
                Keys::of("hosts", nodes(hosts)).with("group", Flow::word(group)).some("groups", several(*groups));
            let keys = match filter {
                SourceFilter::Include(sources) => keys.with("sources", Flow::words(sources)),
                SourceFilter::Exclude(sources) => keys.some("exclude", Some(Flow::words(sources))),
            };
            ("join", keys.end())
        }
        Action::Leave { hosts, group, groups } => {
            let keys = Keys::of("hosts", nodes(hosts)).with("group", Flow::word(group));
            ("leave", keys.some("groups", several(*groups)).end())
        }
        Action::Stream(stream) => ("stream", self::stream(plan, stream)),
        Action::Stop { stream } => ("stop", Flow::word(stream)),
        Action::Fail(cut) => ("fail", self::cut(plan, cut)),
        Action::Drop(loss) => {
            let keys = Keys::of("wire", wire(loss.wire)).with("message", Flow::word(loss.message.name()));
            let keys = keys.some("count", (loss.count != 1).then(|| Flow::word(loss.count)));
            ("drop", keys.some("from", from(loss.from)).end())
        }
        Action::Impair(how) => ("impair", self::mistreatment(plan, how)),
        Action::Restore { wire: id, end } => ("restore", Keys::of("link", wire(*id)).some("end", from(*end)).end()),
        Action::Kill { node: id } => ("kill", node(*id)),
        Action::Restart { node: id } => ("restart", node(*id)),
        Action::Pause { node: id } => ("pause", node(*id)),
        Action::Resume { node: id } => ("resume", node(*id)),
        Action::Wait { time } => ("wait", Flow::span(*time)),
        Action::Run { at, command } => {
            let at = match at {
                Place::Node(id) => Keys::of("node", node(*id)),
                Place::Lan(id) => Keys::of("lan", wire(*id)),
            };
            let command = Flow::List(command.iter().map(Flow::word).collect());
            ("run", at.with("command", command).end())
        }
        Action::Expect(expectation) => ("expect", self::expectation(plan, expectation)?),
    })
}

fn names(plan: &Plan, ids: &[NodeId]) -> Flow {
    Flow::words(ids.iter().map(|id| &plan.node(*id).name))
}

fn stream(plan: &Plan, stream: &Stream) -> Flow {
    let from = Attachment { node: stream.from, interface: stream.interface };
    let from = format!("{}:{}", plan.node(stream.from).name, plan.interface(from).name);
    Keys::of("name", Flow::word(&stream.name))
        .with("from", Flow::word(from))
        .with("group", Flow::word(stream.group))
        .some("groups", (stream.groups != 1).then(|| Flow::word(stream.groups)))
        .some("port", (stream.port != 5001).then(|| Flow::word(stream.port)))
        .with("rate", Flow::word(format!("{}pps", stream.rate)))
        .with("size", Flow::word(stream.size))
        .with("ttl", Flow::word(stream.ttl))
        .some("count", stream.count.map(Flow::word))
        .some("burst", (stream.burst != 1).then(|| Flow::word(stream.burst)))
        .end()
}

fn cut(plan: &Plan, cut: &Cut) -> Flow {
    let how = match cut.how {
        CutKind::Carrier => "carrier",
        CutKind::Silent => "silent",
        CutKind::Admin => "admin",
    };
    Keys::of("link", Flow::word(&plan.wire(cut.wire).name))
        .with("how", Flow::word(how))
        .some("end", cut.end.map(|end| Flow::word(&plan.node(end.node).name)))
        .some("detected-after", cut.detected_after.map(Flow::span))
        .end()
}

fn mistreatment(plan: &Plan, how: &Mistreatment) -> Flow {
    let share = |share: f64| (share > 0.0).then(|| Flow::word(share));
    Keys::of("wire", Flow::word(&plan.wire(how.wire).name))
        .some("from", how.from.map(|from| Flow::word(&plan.node(from.node).name)))
        .some("delay", (!how.delay.is_zero()).then(|| Flow::span(how.delay)))
        .some("loss", share(how.loss))
        .some("duplicate", share(how.duplicate))
        .some("reorder", share(how.reorder))
        .some("corrupt", share(how.corrupt))
        .end()
}

fn deadline(deadline: Deadline) -> Flow {
    let formula = match deadline {
        Deadline::After(time) => return Flow::span(time),
        Deadline::Formula(formula) => formula,
    };
    Flow::word(match formula {
        Formula::LeaveLatency => "leave-latency",
        Formula::JoinLatency => "join-latency",
        Formula::GroupMembershipInterval => "group-membership-interval",
        Formula::OtherQuerierPresentInterval => "other-querier-present-interval",
        Formula::NeighbourLatency => "neighbour-latency",
        Formula::NeighbourLiveness => "neighbour-liveness",
        Formula::Convergence => "convergence",
    })
}

/// Of expectations, those that searches make.
fn expectation(plan: &Plan, expectation: &Expectation) -> Result<Flow, Unwritten> {
    Ok(match expectation {
        Expectation::Delivered { stream, to, within, lasting, loss, duplicates } => {
            Keys::of("delivered", Flow::word(stream))
                .with("to", names(plan, to))
                .with("within", deadline(*within))
                .with("for", Flow::span(*lasting))
                .some("loss", (*loss > 0).then(|| Flow::word(loss)))
                .some("duplicates", (*duplicates > 0).then(|| Flow::word(duplicates)))
                .end()
        }
        Expectation::Tree { stream, within } => {
            Keys::of("tree", Flow::word(stream)).with("within", deadline(*within)).end()
        }
        Expectation::Neighbours { are: None, within, .. } => {
            Keys::of("neighbours", Flow::word("all")).with("within", deadline(*within)).end()
        }
        Expectation::Entry { router, source, group, present, incoming: None, outgoing: None, within } => {
            Keys::of("entry", Flow::word(&plan.node(*router).name))
                .with("source", Flow::word(source))
                .with("group", Flow::word(group))
                .with("present", Flow::word(present))
                .with("within", deadline(*within))
                .end()
        }
        Expectation::Quiet { wire, group, within, lasting } => Keys::of("quiet", Flow::word(&plan.wire(*wire).name))
            .some("group", group.map(Flow::word))
            .with("within", deadline(*within))
            .with("for", Flow::span(*lasting))
            .end(),
        other => return Err(Unwritten(format!("the check {other:?}"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explore::draw::Draw;
    use crate::explore::{Subject, schedule};
    use crate::topology;

    /// What a file cannot say, and the texts that come of the file itself.
    fn without_texts(plan: &Plan) -> Plan {
        let mut plan = plan.clone();
        plan.file.clear();
        for step in plan.scenarios.iter_mut().flat_map(|s| &mut s.steps) {
            step.text.clear();
            step.line = 0;
        }
        plan
    }

    /// The first place where two values differ.
    fn difference(at: &str, one: &serde_json::Value, other: &serde_json::Value) -> Option<String> {
        use serde_json::Value;
        match (one, other) {
            (Value::Object(one), Value::Object(other)) if one.keys().eq(other.keys()) => {
                one.iter().find_map(|(key, value)| difference(&format!("{at}.{key}"), value, &other[key]))
            }
            (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
                let mut items = one.iter().zip(other).enumerate();
                items.find_map(|(n, (one, other))| difference(&format!("{at}[{n}]"), one, other))
            }
            _ if one == other => None,
            _ => Some(format!("{at}: {one} became {other}")),
        }
    }

    #[test]
    fn what_is_drawn_on_shipped_topologies_comes_back_from_its_file() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies");
        let mut tried = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|ext| ext != "yaml") {
                continue;
            }
            let plan = topology::load(&path).unwrap();
            if !crate::network::simulated::refusals(&plan).is_empty() {
                continue;
            }
            let subject = Subject::of(&plan).unwrap();
            for run in 0..20 {
                let plan = schedule::draw(&subject, Draw::of_run(7, &plan.name, run)).plan();
                let text = text(&plan, &["what was found".into()]).unwrap();
                let read = topology::parse("again.yaml", &text).unwrap_or_else(|faults| {
                    panic!("{}\n{text}", faults.render(false));
                });
                let (read, plan) = (without_texts(&read), without_texts(&plan));
                let [read, plan] = [read, plan].map(|plan| serde_json::to_value(plan).unwrap());
                let different = difference("", &plan, &read);
                assert_eq!(different, None, "{}\n{text}", path.display());
                tried += 1;
            }
        }
        assert!(tried >= 200, "{tried} tried");
    }
}
