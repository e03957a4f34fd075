//! Golden step tests: each file in `tests/golden/` is a configuration, then steps, each followed by all outputs that it must give.
//!
//! ```text
//! <configuration in YAML>
//! ---
//! # a comment
//! @TIME INPUT
//! TIME OUTPUT
//! ```
//!
//! Before a step, all timers up to its time run, each at its own; their outputs stand before the step's. `GOLDEN=rewrite cargo test
//! -p router-core --test golden` writes what came out into the files, for review.

mod bootstrap;
mod pim;

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use router_core::config::Config;
use router_core::forwarding::EntryKey;
use router_core::router::{
    Datagram, EventKind, Input, InterfaceId, InterfaceState, Output, Router, SourceFilter, UnicastRoute,
};
use router_core::show::{Show, Shown};
use router_core::time::{Span, Time};
use router_core::wire::igmp::{Message, QueryV3, Record, RecordKind, encode_up, parse};

fn time(text: &str) -> Time {
    Time::ZERO + text.parse::<Span>().unwrap_or_else(|error| panic!("{error}")).get()
}

fn shown(time: Time) -> String {
    format!("{}s", Duration::from_nanos(time.as_nanos()).as_secs_f64())
}

/// `eth0` is interface 1, and so on: the position in the configuration.
fn interface(router: &Router, name: &str) -> InterfaceId {
    if name == "register" {
        return InterfaceId::REGISTER;
    }
    let position = router.config().interfaces.iter().position(|interface| interface.name == name);
    InterfaceId(position.map_or_else(|| name.trim_start_matches('#').parse().unwrap(), |at| at as u32 + 1))
}

fn addresses<'a>(words: impl Iterator<Item = &'a str>) -> Vec<Ipv4Addr> {
    words.map(|word| word.parse().unwrap_or_else(|error| panic!("{word}: {error}"))).collect()
}

fn record_kind(word: &str) -> RecordKind {
    match word {
        "is-in" => RecordKind::IsInclude,
        "is-ex" => RecordKind::IsExclude,
        "to-in" => RecordKind::ToInclude,
        "to-ex" => RecordKind::ToExclude,
        "allow" => RecordKind::Allow,
        "block" => RecordKind::Block,
        other => RecordKind::Unknown(other.parse().unwrap()),
    }
}

/// An input from its words:
///
/// - `up|down INTERFACE ADDRESS...`, `gone INTERFACE`
/// - `MESSAGE on INTERFACE from SOURCE [to DESTINATION] [ttl N] [no-alert]`, where MESSAGE is `query1`,
///   `query2 TENTHS [GROUP]`, `query3 TENTHS [s] [qrv N] [qqi SECONDS] [GROUP SOURCE...]`, `report1 GROUP`, `report2 GROUP`, `leave GROUP`,
///   `report3 KIND GROUP SOURCE... [, KIND GROUP ...]` or `bytes HEX`, or one of PIM's as [`pim`] has them
/// - `whole SOURCE GROUP`: a packet that left by the register tunnel
/// - `data INTERFACE SOURCE GROUP`, `wrong INTERFACE SOURCE GROUP`, `counters SOURCE GROUP PACKETS`
/// - `route PREFIX INTERFACE [via NEXTHOP] [pref PREFERENCE] [metric METRIC]`, `no-route` with the same words, `shutdown`, `timeout`
///
/// Beside inputs there is `show WHAT [WORD]`, whose output is the answer, a line an item; with a word, only those that have it. `show rp GROUP` is
/// that of a group.
fn input(router: &Router, text: &str) -> Input {
    let words: Vec<&str> = text.split_whitespace().collect();
    let key = |source: &str, group: &str| EntryKey { source: source.parse().unwrap(), group: group.parse().unwrap() };
    match words[..] {
        ["timeout"] => Input::Timeout,
        ["shutdown"] => Input::Shutdown,
        [state @ ("up" | "down"), name, ref addresses @ ..] => Input::Interface {
            interface: interface(router, name),
            state: InterfaceState {
                name: name.into(),
                up: state == "up",
                mtu: 1500,
                addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            },
        },
        ["gone", name] => Input::InterfaceGone { interface: interface(router, name) },
        ["whole", source, group] => Input::WholePacket {
            packet: pim::inner(source.parse().unwrap(), group.parse().unwrap(), false, pim::WHOLE_TTL),
        },
        ["data", name, source, group] => Input::NoCache { interface: interface(router, name), key: key(source, group) },
        ["wrong", name, source, group] => {
            Input::WrongInterface { interface: interface(router, name), key: key(source, group) }
        }
        ["counters", source, group, packets] => {
            let packets = packets.parse().unwrap();
            Input::Counters { key: key(source, group), packets, octets: packets * 100, wrong_interface: 0 }
        }
        ["route", prefix, name, ref words @ ..] => Input::RouteAdded(route(router, prefix, name, words)),
        ["no-route", prefix, name, ref words @ ..] => Input::RouteRemoved(route(router, prefix, name, words)),
        _ => packet(router, text),
    }
}

fn route(router: &Router, prefix: &str, name: &str, words: &[&str]) -> UnicastRoute {
    let mut route =
        UnicastRoute { prefix: prefix.parse().unwrap(), next_hop: None, interface: interface(router, name), metric: 0 };
    for pair in words.chunks(2) {
        match *pair {
            ["via", hop] => route.next_hop = Some(hop.parse().unwrap()),
            // As the kernel's metric holds both: eight bits of preference above 24 of metric.
            ["pref", preference] => route.metric |= preference.parse::<u32>().unwrap() << 24,
            ["metric", metric] => route.metric |= metric.parse::<u32>().unwrap(),
            _ => panic!("{pair:?} in a route"),
        }
    }
    route
}

fn packet(router: &Router, text: &str) -> Input {
    let (message, header) = text.split_once(" on ").unwrap_or_else(|| panic!("no input: {text}"));
    let mut header = header.split_whitespace();
    let interface = interface(router, header.next().unwrap());
    let mut datagram = if pim::is_message(message) {
        // The checksum does not depend on IPv4 addresses: they may be set below.
        pim::datagram(message, Ipv4Addr::UNSPECIFIED.into())
    } else {
        let (payload, destination) = message_of(message);
        Datagram {
            source: Ipv4Addr::UNSPECIFIED.into(),
            destination: destination.into(),
            protocol: 2,
            ttl: 1,
            router_alert: true,
            traffic_class: 0xc0,
            payload,
        }
    };
    while let Some(word) = header.next() {
        let mut value = || header.next().unwrap();
        match word {
            "from" => datagram.source = value().parse().unwrap(),
            "to" => datagram.destination = value().parse().unwrap(),
            "ttl" => datagram.ttl = value().parse().unwrap(),
            "protocol" => datagram.protocol = value().parse().unwrap(),
            "no-alert" => datagram.router_alert = false,
            other => panic!("{other} in {text}"),
        }
    }
    Input::Packet { interface, datagram }
}

fn message_of(text: &str) -> (Vec<u8>, Ipv4Addr) {
    let words: Vec<&str> = text.split_whitespace().collect();
    let all_systems = Ipv4Addr::new(224, 0, 0, 1);
    let (message, destination) = match words[..] {
        ["bytes", hex] => {
            let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
            return ((0..hex.len()).step_by(2).map(byte).collect(), all_systems);
        }
        ["query1"] => (Message::QueryV1, all_systems),
        ["query2", tenths, ref group @ ..] => {
            let group = group.first().map_or(Ipv4Addr::UNSPECIFIED, |group| group.parse().unwrap());
            let destination = if group.is_unspecified() { all_systems } else { group };
            (Message::QueryV2 { max_resp_time: tenths.parse().unwrap(), group }, destination)
        }
        ["query3", tenths, ref options @ ..] => {
            let mut query = QueryV3 {
                max_resp_code: encode_up(tenths.parse().unwrap()),
                group: Ipv4Addr::UNSPECIFIED,
                suppress: false,
                qrv: 0,
                qqic: 0,
                sources: Vec::new(),
            };
            let mut options = options.iter();
            while let Some(word) = options.next() {
                match *word {
                    "s" => query.suppress = true,
                    "qrv" => query.qrv = options.next().unwrap().parse().unwrap(),
                    "qqi" => query.qqic = encode_up(options.next().unwrap().parse().unwrap()),
                    group => {
                        query.group = group.parse().unwrap();
                        query.sources = addresses(options.by_ref().copied());
                    }
                }
            }
            let destination = if query.group.is_unspecified() { all_systems } else { query.group };
            (Message::QueryV3(query), destination)
        }
        ["report1", group] => (Message::ReportV1 { group: group.parse().unwrap() }, group.parse().unwrap()),
        ["report2", group] => (Message::ReportV2 { group: group.parse().unwrap() }, group.parse().unwrap()),
        ["leave", group] => (Message::LeaveV2 { group: group.parse().unwrap() }, Ipv4Addr::new(224, 0, 0, 2)),
        ["report3", ..] => {
            let records = text["report3".len()..].split(',').map(|record| {
                let mut words = record.split_whitespace();
                let kind = record_kind(words.next().unwrap());
                Record { kind, group: words.next().unwrap().parse().unwrap(), sources: addresses(words) }
            });
            (Message::ReportV3 { records: records.collect() }, Ipv4Addr::new(224, 0, 0, 22))
        }
        _ => panic!("no message: {text}"),
    };
    (message.emit(), destination)
}

fn listed<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    format!("{{{}}}", items.join(" "))
}

fn filter(filter: &SourceFilter) -> String {
    match filter {
        SourceFilter::Include(sources) => format!("include {}", listed(sources)),
        SourceFilter::Exclude(sources) => format!("exclude {}", listed(sources)),
    }
}

fn key(key: &EntryKey) -> String {
    format!("({} {})", key.source, key.group)
}

/// An output as the files have it.
fn output(names: &[String], output: &Output) -> String {
    let name = |id: &InterfaceId| match *id {
        InterfaceId::REGISTER => "register".to_owned(),
        InterfaceId(id) => names.get(id as usize - 1).cloned().unwrap_or_else(|| format!("#{id}")),
    };
    match output {
        Output::SendRouted { datagram } => {
            format!("send-routed {} > {} {}", datagram.source, datagram.destination, pim::routed(datagram))
        }
        Output::Send { interface, datagram } => {
            let mut text = format!("send {} {} > {}", name(interface), datagram.source, datagram.destination);
            if datagram.protocol == router_core::wire::pim::PROTOCOL {
                return format!("{text} {}", pim::sent(datagram));
            }
            match parse(&datagram.payload).unwrap() {
                Message::QueryV1 => text += " query1",
                Message::QueryV2 { max_resp_time, group } => write!(text, " query2 {max_resp_time} {group}").unwrap(),
                Message::QueryV3(query) => {
                    let flag = if query.suppress { " s" } else { "" };
                    write!(
                        text,
                        " query3 {:#04x}{flag} qrv {} qqic {:#04x} {} {}",
                        query.max_resp_code,
                        query.qrv,
                        query.qqic,
                        query.group,
                        listed(&query.sources)
                    )
                    .unwrap();
                }
                other => write!(text, " {other:?}").unwrap(),
            }
            assert_eq!((datagram.ttl, datagram.router_alert, datagram.protocol), (1, true, 2));
            text
        }
        Output::AddVif { interface } => format!("add-vif {}", name(interface)),
        Output::RemoveVif { interface } => format!("remove-vif {}", name(interface)),
        Output::HostMembership { interface, group, filter: wanted } => {
            format!("host {} {group} {}", name(interface), filter(wanted))
        }
        Output::SetEntry(entry) => {
            let outgoing = entry.outgoing.iter().map(|(id, ttl)| format!("{}:{ttl}", name(id)));
            format!("set {} {} > {}", key(&entry.key), name(&entry.incoming), listed(outgoing))
        }
        Output::DeleteEntry(entry) => format!("delete {}", key(entry)),
        Output::AskCounters(entry) => format!("ask {}", key(entry)),
        Output::Event(event) => format!("event {}", event_text(&event.kind)),
    }
}

fn event_text(kind: &EventKind) -> String {
    match kind {
        EventKind::Ready => "ready".into(),
        EventKind::Interface { interface, up } => format!("{interface} {}", if *up { "up" } else { "down" }),
        EventKind::Querier { interface, elected, querier } => {
            let querier = querier.map_or_else(|| "nobody".to_owned(), |querier: IpAddr| querier.to_string());
            format!("{interface} querier {querier}{}", if *elected { " (self)" } else { "" })
        }
        EventKind::OlderQuerier { interface, version, querier } => {
            format!("{interface} older querier {querier} version {version}")
        }
        EventKind::MemberAdded { interface, group, filter: wanted } => {
            format!("{interface} member {group} {}", filter(wanted))
        }
        EventKind::MemberRemoved { interface, group } => format!("{interface} no member {group}"),
        EventKind::NeighbourUp { interface, neighbour } => format!("{interface} neighbour {neighbour} up"),
        EventKind::NeighbourRestarted { interface, neighbour } => {
            format!("{interface} neighbour {neighbour} restarted")
        }
        EventKind::NeighbourDown { interface, neighbour } => format!("{interface} neighbour {neighbour} down"),
        EventKind::DesignatedRouter { interface, elected, designated_router } => {
            let own = if *elected { " (self)" } else { "" };
            format!(
                "{interface} designated router {}{own}",
                designated_router.map_or_else(|| "none".to_owned(), |dr| dr.to_string())
            )
        }
        EventKind::Upstream { source, group, state } => format!("upstream ({source} {group}) {state}"),
        EventKind::Downstream { source, group, interface, state } => {
            format!("downstream ({source} {group} {interface}) {state}")
        }
        EventKind::Bsr { zone, state, bsr } => {
            let zone = zone.map_or_else(|| "domain".to_owned(), |zone| zone.to_string());
            format!("bsr {zone} {state} {}", bsr.map_or_else(|| "-".to_owned(), |bsr| bsr.to_string()))
        }
        EventKind::RpSet { range, rps } => format!("rp-set {range} {}", listed(rps)),
        EventKind::Register { source, group, state } => format!("register ({source} {group}) {state}"),
        EventKind::Assert { source, group, interface, state, winner } => {
            let winner = winner.map(|winner| format!(" winner {winner}")).unwrap_or_default();
            format!("assert ({source} {group} {interface}) {state}{winner}")
        }
        EventKind::EntryInstalled { source, group, incoming, outgoing } => {
            format!("entry ({source} {group}) {incoming} > {}", listed(outgoing))
        }
        EventKind::EntryRemoved { source, group } => format!("no entry ({source} {group})"),
        EventKind::LimitReached { limit, interface } => {
            format!("limit {limit} {}", interface.as_deref().unwrap_or("-"))
        }
    }
}

/// An answer to `show`, a line an item.
fn answer(shown: &Shown) -> Vec<String> {
    let serde_json::Value::Object(answer) = serde_json::to_value(shown).unwrap() else { panic!() };
    answer
        .into_values()
        .flat_map(|items| match items {
            serde_json::Value::Array(items) => items.iter().map(ToString::to_string).collect(),
            serde_json::Value::Object(counts) => {
                counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<String>>()
            }
            other => vec![other.to_string()],
        })
        .collect()
}

/// Runs a file's steps and gives the file as it should be.
fn run(text: &str) -> String {
    let (config, steps) = text.split_once("\n---\n").expect("a configuration, ---, steps");
    let config = Config::from_yaml(config).unwrap_or_else(|error| panic!("{error}"));
    let names: Vec<String> = config.interfaces.iter().map(|interface| interface.name.clone()).collect();
    let mut router = Router::new(config);
    let mut written = format!("{}\n---\n", text.split_once("\n---\n").unwrap().0);
    let drain = |router: &mut Router, now: Time, written: &mut String| {
        while let Some(out) = router.poll_output() {
            if let Output::Event(event) = &out {
                assert_eq!(event.time, now, "an event carries the time of its cause");
            }
            writeln!(written, "  {} {}", shown(now), output(&names, &out)).unwrap();
        }
    };
    for line in steps.lines() {
        if line.is_empty() || line.starts_with('#') {
            writeln!(written, "{line}").unwrap();
        }
        let Some(step) = line.strip_prefix('@') else { continue };
        let (at, what) = step.split_once(' ').unwrap_or_else(|| panic!("no step: {line}"));
        let at = time(at);
        while let Some(due) = router.poll_timeout().filter(|due| *due < at || (*due == at && what != "timeout")) {
            router.handle(due, Input::Timeout);
            drain(&mut router, due, &mut written);
        }
        writeln!(written, "{line}").unwrap();
        if let Some(what) = what.strip_prefix("show ") {
            let (what, word) = what.split_once(' ').unwrap_or((what, ""));
            // The rendezvous point of a group.
            let (show, word) = match (what, word.parse()) {
                ("rp", Ok(group)) => (Show::RpOf(group), ""),
                _ => (Show::ALL.into_iter().find(|show| show.word() == what).unwrap(), word),
            };
            for line in answer(&router.show(at, show)).into_iter().filter(|line| line.contains(word)) {
                writeln!(written, "  {line}").unwrap();
            }
            continue;
        }
        router.handle(at, input(&router, what));
        drain(&mut router, at, &mut written);
    }
    written
}

#[test]
fn every_golden_file_gives_what_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    assert!(!files.is_empty());
    let rewrite = std::env::var("GOLDEN").is_ok_and(|value| value == "rewrite");
    let mut wrong = Vec::new();
    for file in files {
        let expected = std::fs::read_to_string(&file).unwrap();
        let got = run(&expected);
        if got == expected {
            continue;
        }
        if rewrite {
            std::fs::write(&file, got).unwrap();
            continue;
        }
        let difference = expected.lines().zip(got.lines()).position(|(expected, got)| expected != got);
        let line = difference.unwrap_or_else(|| expected.lines().count().min(got.lines().count()));
        wrong.push(format!(
            "{}:{}\n  expected: {}\n  got:      {}",
            file.display(),
            line + 1,
            expected.lines().nth(line).unwrap_or("nothing"),
            got.lines().nth(line).unwrap_or("nothing")
        ));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// One timer or one bit wrong on purpose, and the file that shows it.
#[cfg(feature = "sabotage")]
#[test]
fn a_timer_or_a_bit_that_is_wrong_fails_a_golden_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for (fault, file) in [
        ("register-null-bit", "sparse-register.txt"),
        ("join-hold-short", "sparse-upstream.txt"),
        ("rpt-bit-missing", "sparse-upstream-all.txt"),
        ("never-override", "sparse-upstream.txt"),
        ("assert-deaf", "sparse-assert.txt"),
    ] {
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        let with_fault = text.replacen("pim: {", &format!("pim: {{sabotage: {fault}, "), 1);
        assert_ne!(text, with_fault);
        // A message that no words can say ends the run.
        let got = std::panic::catch_unwind(|| run(&with_fault));
        assert!(got.is_err() || got.is_ok_and(|got| got != with_fault), "{fault} does not show in {file}");
    }
}
