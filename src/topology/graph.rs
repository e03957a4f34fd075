//! A plan drawn: as a list for people, for Graphviz, for Mermaid.

use std::fmt::Write as _;

use super::plan::{Daemon, Multicast, Node, NodeKind, Plan, Wire, WireKind};

/// A list of nodes with their interfaces, then of wires.
pub fn text(plan: &Plan) -> String {
    let mut out = format!("{}\n", plan.name);
    for line in plan.description.lines() {
        let _ = writeln!(out, "  {line}");
    }
    let mut rows: Vec<[String; 4]> = Vec::new();
    for node in &plan.nodes {
        rows.push([node.name.clone(), what(node), String::new(), String::new()]);
        if !node.loopback.is_empty() {
            let addresses: Vec<String> = node.loopback.iter().map(|net| net.addr().to_string()).collect();
            rows.push([String::new(), "lo".into(), String::new(), addresses.join(" ")]);
        }
        for interface in &node.interfaces {
            let addresses: Vec<String> = interface.addresses.iter().map(ToString::to_string).collect();
            let mut notes = addresses.join(" ");
            if interface.ttl_threshold > 0 {
                let _ = write!(notes, "  threshold {}", interface.ttl_threshold);
            }
            for prefix in &interface.boundary {
                let _ = write!(notes, "  boundary {prefix}");
            }
            rows.push([String::new(), interface.name.clone(), plan.wire(interface.wire).name.clone(), notes]);
        }
    }
    out += "\nnodes\n";
    out += &table(&rows);
    let rows: Vec<[String; 4]> = plan
        .wires
        .iter()
        .map(|wire| {
            let ends: Vec<String> = wire.ends.iter().map(|end| plan.node(end.node).name.clone()).collect();
            [wire.name.clone(), kind(wire).into(), ends.join(" "), features(wire)]
        })
        .collect();
    out += "\nwires\n";
    out += &table(&rows);
    if !plan.scenarios.is_empty() {
        out += "\nscenarios\n";
        let steps = |count: usize| if count == 1 { "1 step".to_owned() } else { format!("{count} steps") };
        let rows: Vec<[String; 4]> = plan
            .scenarios
            .iter()
            .map(|scenario| [scenario.name.clone(), steps(scenario.steps.len()), String::new(), String::new()])
            .collect();
        out += &table(&rows);
    }
    out
}

/// A graph for Graphviz.
pub fn dot(plan: &Plan) -> String {
    let mut out = format!("graph \"{}\" {{\n", plan.name);
    for node in &plan.nodes {
        let shape = if node.is_router() { "circle" } else { "box" };
        let _ = writeln!(out, "  \"{}\" [shape={shape}];", node.name);
    }
    for wire in &plan.wires {
        let label = label(wire).join("\\n");
        let ends: Vec<String> = wire.ends.iter().map(|end| format!("\"{}\"", plan.node(end.node).name)).collect();
        if let (WireKind::Link, [a, b]) = (wire.kind, ends.as_slice()) {
            let _ = writeln!(out, "  {a} -- {b} [label=\"{label}\"];");
        } else {
            let _ = writeln!(out, "  \"@{}\" [shape=underline, label=\"{label}\"];", wire.name);
            for end in ends {
                let _ = writeln!(out, "  \"@{}\" -- {end};", wire.name);
            }
        }
    }
    out + "}\n"
}

/// A graph for Mermaid.
pub fn mermaid(plan: &Plan) -> String {
    let mut out = String::from("graph LR\n");
    for (index, node) in plan.nodes.iter().enumerate() {
        let (open, close) = if node.is_router() { ("((", "))") } else { ("[", "]") };
        let _ = writeln!(out, "  n{index}{open}\"{}\"{close}", node.name);
    }
    for (index, wire) in plan.wires.iter().enumerate() {
        let label = label(wire).join("<br>");
        if let (WireKind::Link, [a, b]) = (wire.kind, wire.ends.as_slice()) {
            let _ = writeln!(out, "  n{} ---|\"{label}\"| n{}", a.node.0, b.node.0);
        } else {
            let _ = writeln!(out, "  w{index}[/\"{label}\"/]");
            for end in &wire.ends {
                let _ = writeln!(out, "  w{index} --- n{}", end.node.0);
            }
        }
    }
    out
}

fn what(node: &Node) -> String {
    match &node.kind {
        NodeKind::Host(host) => match host.igmp_version {
            Some(version) => format!("host, IGMPv{version}"),
            None => "host".into(),
        },
        NodeKind::Router(router) => {
            let daemon = match &router.daemon {
                Daemon::RouterCore => "",
                Daemon::Smcroute => ", smcroute",
                Daemon::Frr => ", FRR",
                Daemon::Pimd => ", pimd",
                Daemon::Exec(_) => ", exec",
            };
            let multicast = match router.multicast {
                Multicast::None => "no multicast",
                Multicast::Static => "static",
                Multicast::Proxy => "proxy",
                Multicast::PimDm => "PIM-DM",
                Multicast::PimSm => "PIM-SM",
            };
            format!("router, {multicast}{daemon}")
        }
    }
}

fn kind(wire: &Wire) -> &'static str {
    match wire.kind {
        WireKind::Link => "link",
        WireKind::Lan { snooping: false } => "LAN",
        WireKind::Lan { snooping: true } => "LAN, snooping",
    }
}

/// What is special about a wire.
fn features(wire: &Wire) -> String {
    let mut parts: Vec<String> = wire.subnets.iter().map(ToString::to_string).collect();
    if wire.cost != 1 {
        parts.push(format!("cost {}", wire.cost));
    }
    if wire.mtu != 1500 {
        parts.push(format!("mtu {}", wire.mtu));
    }
    let impairment = &wire.impairment;
    if !impairment.delay.is_zero() {
        parts.push(format!("delay {}", humantime::format_duration(impairment.delay)));
    }
    if !impairment.jitter.is_zero() {
        parts.push(format!("jitter {}", humantime::format_duration(impairment.jitter)));
    }
    if impairment.loss > 0.0 {
        parts.push(format!("loss {}%", impairment.loss * 100.0));
    }
    if let Some(rate) = impairment.rate {
        parts.push(format!("rate {rate}bit"));
    }
    parts.join("  ")
}

/// A wire's name, and its IPv4 prefix.
fn label(wire: &Wire) -> Vec<String> {
    let mut label = vec![wire.name.clone()];
    label.extend(wire.subnets.first().map(ToString::to_string));
    if wire.cost != 1 {
        label.push(format!("cost {}", wire.cost));
    }
    label
}

fn table(rows: &[[String; 4]]) -> String {
    let mut out = String::new();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    for [a, b, c, d] in rows {
        let line = format!("  {a:0$}  {b:1$}  {c:2$}  {d}", widths[0], widths[1], widths[2]);
        out += line.trim_end();
        out.push('\n');
    }
    out
}
