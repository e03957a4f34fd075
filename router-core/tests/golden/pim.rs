//! PIM messages in words, the same in steps and in what they give:
//!
//! - `hello [hold SECONDS] [delay MS override MS [tracking]] [dr N] [genid HEX] [refresh SECONDS] [address A]...`
//! - `prune S G to UPSTREAM [hold SECONDS]`, `join S G to UPSTREAM [hold SECONDS]`, and several in one message:
//!   `prune S G, join S G to UPSTREAM ...`; S and G may be followed by `/LENGTH`. Groups that follow each other and are the same are one
//!   group of the message; `join-prune to UPSTREAM` has none
//! - in these, of sparse mode: `S:s` is (S,G) with the S bit, `S:rpt` is (S,G,rpt), `*RP` is (*,G) with its rendezvous point
//! - `register S G [null]` with a packet or a dummy header, `register-stop S G`
//! - `graft S G [, S G]... to UPSTREAM`, `graft-ack S G [, S G]... to UPSTREAM`
//! - `assert S G pref P metric M [rpt]`, `assert S G infinite`
//! - `refresh S G originator O pref P metric M [rpt] mask LENGTH ttl T [p] [n] [o] interval SECONDS`, and `infinite` for `pref P metric M`
//! - `bootstrap ...` and `candidate-rp ...` as [`bootstrap`](super::bootstrap) has them
//! - `pim HEX`: octets as they are

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use super::bootstrap;
use router_core::router::Datagram;
use router_core::wire::checksum::internet;
use router_core::wire::pim::{
    ALL_PIM_ROUTERS, Assert, EncodedSource, GroupSet, Hello, INFINITE_METRIC, INFINITE_PREFERENCE, JoinPrune,
    LanPruneDelay, Message, PROTOCOL, Register, RegisterStop, StateRefresh, parse,
};

/// The words of a text, with complaints that name it.
pub struct Words<'a> {
    text: &'a str,
    rest: std::iter::Peekable<std::str::SplitWhitespace<'a>>,
}

impl<'a> Words<'a> {
    pub fn new(text: &'a str) -> Words<'a> {
        Words { text, rest: text.split_whitespace().peekable() }
    }

    pub fn next(&mut self) -> &'a str {
        self.rest.next().unwrap_or_else(|| panic!("{} ends too soon", self.text))
    }

    /// Takes the next word if it is this one.
    pub fn has(&mut self, word: &str) -> bool {
        self.rest.next_if(|next| *next == word).is_some()
    }

    pub fn value<T: std::str::FromStr>(&mut self) -> T {
        let word = self.next();
        word.parse().unwrap_or_else(|_| panic!("{word} in {}", self.text))
    }

    pub fn named<T: std::str::FromStr>(&mut self, name: &str) -> T {
        assert!(self.has(name), "no {name} in {}", self.text);
        self.value()
    }

    pub fn optional<T: std::str::FromStr>(&mut self, name: &str) -> Option<T> {
        self.has(name).then(|| self.value())
    }

    /// All words that are left.
    pub fn rest(self) -> impl Iterator<Item = &'a str> {
        self.rest
    }

    pub fn end(&mut self) {
        assert_eq!(self.rest.next(), None, "{}", self.text);
    }
}

/// Whether a message is one of PIM's.
pub fn is_message(text: &str) -> bool {
    let words = [
        "hello",
        "prune",
        "join",
        "join-prune",
        "graft",
        "graft-ack",
        "assert",
        "refresh",
        "pim",
        "register",
        "register-stop",
        "bootstrap",
        "candidate-rp",
    ];
    words.contains(&text.split_whitespace().next().unwrap_or_default())
}

/// The packet of a message in words, from a source, as a router of the link would send it.
pub fn datagram(text: &str, source: IpAddr) -> Datagram {
    let packet = |destination: IpAddr, payload| Datagram {
        source,
        destination,
        protocol: PROTOCOL,
        ttl: 1,
        router_alert: false,
        traffic_class: 0xc0,
        payload,
    };
    if let Some(hex) = text.strip_prefix("pim ") {
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        return packet(ALL_PIM_ROUTERS.into(), (0..hex.len()).step_by(2).map(byte).collect());
    }
    let message = message(text);
    let destination = match &message {
        Message::Graft(graft) | Message::GraftAck(graft) => graft.upstream,
        _ => ALL_PIM_ROUTERS.into(),
    };
    let is_routed =
        matches!(message, Message::Register(_) | Message::RegisterStop(_) | Message::CandidateRpAdvertisement(_));
    let ttl = if is_routed { 61 } else { 1 };
    Datagram { ttl, ..packet(destination, message.emit(source, destination)) }
}

fn message(text: &str) -> Message {
    let mut words = Words::new(text);
    match words.next() {
        "hello" => Message::Hello(hello(words)),
        "graft" => Message::Graft(join_prune(&text["graft".len()..], Some("join"))),
        "graft-ack" => Message::GraftAck(join_prune(&text["graft-ack".len()..], Some("join"))),
        "join-prune" => Message::JoinPrune(join_prune(&text["join-prune".len()..], None)),
        "prune" | "join" => Message::JoinPrune(join_prune(text, None)),
        "register" => {
            let (source, group) = (words.value(), words.value());
            let null = words.has("null");
            words.end();
            Message::Register(Register { border: false, null, packet: inner(source, group, null, WHOLE_TTL - 1) })
        }
        "bootstrap" => Message::Bootstrap(bootstrap::bootstrap(text)),
        "candidate-rp" => Message::CandidateRpAdvertisement(bootstrap::candidate_rp(words)),
        "register-stop" => {
            let (source, group) = (words.value(), words.value());
            words.end();
            Message::RegisterStop(RegisterStop { group, mask_length: 32, source })
        }
        "assert" => {
            let (source, group) = (words.value(), words.value());
            let (preference, metric, rpt) = metric(&mut words);
            words.end();
            Message::Assert(Assert { group, source, rpt, preference, metric })
        }
        "refresh" => {
            let (source, group, originator) = (words.value(), words.value(), words.named("originator"));
            let (preference, metric, rpt) = metric(&mut words);
            let refresh = StateRefresh {
                group,
                source,
                originator,
                rpt,
                preference,
                metric,
                mask_length: words.named("mask"),
                ttl: words.named("ttl"),
                prune_indicator: words.has("p"),
                prune_now: words.has("n"),
                assert_override: words.has("o"),
                interval: words.named("interval"),
            };
            words.end();
            Message::StateRefresh(refresh)
        }
        _ => panic!("no PIM message: {text}"),
    }
}

fn hello(mut words: Words<'_>) -> Hello {
    let mut hello = Hello { hold_time: words.optional("hold"), ..Hello::default() };
    if let Some(propagation_delay) = words.optional("delay") {
        let override_interval = words.named("override");
        let tracking = words.has("tracking");
        hello.lan_prune_delay = Some(LanPruneDelay { tracking, propagation_delay, override_interval });
    }
    hello.dr_priority = words.optional("dr");
    hello.generation_id = words.optional("genid").map(|id: String| u32::from_str_radix(&id, 16).unwrap());
    hello.state_refresh_interval = words.optional("refresh");
    while let Some(address) = words.optional("address") {
        hello.addresses.push(address);
    }
    words.end();
    hello
}

/// `[join|prune] S G, ... to UPSTREAM [hold N]`; with `every`, that word is meant for all.
fn join_prune(text: &str, every: Option<&str>) -> JoinPrune {
    let text = format!(" {}", text.trim_start());
    let (list, rest) = text.split_once(" to ").unwrap_or_else(|| panic!("no upstream neighbour in{text}"));
    let mut rest = Words::new(rest);
    let (upstream, hold_time) = (rest.value(), rest.optional("hold").unwrap_or(0));
    rest.end();
    let mut groups: Vec<GroupSet> = Vec::new();
    for entry in list.split(',').filter(|entry| !entry.trim().is_empty()) {
        let mut words = Words::new(entry);
        let kind = every.unwrap_or_else(|| words.next());
        let source = encoded(words.next());
        let (group, group_mask) = masked(words.next());
        words.end();
        if groups.last().is_none_or(|last| (last.group, last.mask_length) != (group, group_mask)) {
            groups.push(GroupSet { group, mask_length: group_mask, joined: vec![], pruned: vec![] });
        }
        let Some(set) = groups.last_mut() else { continue };
        match kind {
            "join" => set.joined.push(source),
            "prune" => set.pruned.push(source),
            other => panic!("{other} in{text}"),
        }
    }
    JoinPrune { upstream, hold_time, groups }
}

fn encoded(word: &str) -> EncodedSource {
    let (word, wildcard) = word.strip_prefix('*').map_or((word, false), |word| (word, true));
    let (word, flag) = word.split_once(':').unwrap_or((word, ""));
    let (address, mask_length) = masked(word);
    let rpt = wildcard || flag == "rpt";
    EncodedSource { address, mask_length, sparse: rpt || flag == "s", wildcard, rpt }
}

fn encoded_words(source: &EncodedSource) -> String {
    let address = masked_words(source.address, source.mask_length);
    match (source.sparse, source.wildcard, source.rpt) {
        (false, false, false) => address,
        (true, false, false) => format!("{address}:s"),
        (true, false, true) => format!("{address}:rpt"),
        (true, true, true) => format!("*{address}"),
        flags => panic!("{address} with flags {flags:?}"),
    }
}

fn masked_words(address: IpAddr, length: u8) -> String {
    match length {
        32 => address.to_string(),
        length => format!("{address}/{length}"),
    }
}

/// TTL of packets that come to be registered.
pub const WHOLE_TTL: u8 = 64;

/// A packet from a source to a group, as a register brings it: an IPv4 header, and some payload unless it is of a null register.
pub fn inner(source: Ipv4Addr, group: Ipv4Addr, null: bool, ttl: u8) -> Vec<u8> {
    let mut packet = vec![0u8; if null { 20 } else { 28 }];
    packet[0] = 0x45;
    packet[1] = if null { 0 } else { 0x28 };
    packet[3] = packet.len() as u8;
    packet[8] = if null { 1 } else { ttl };
    packet[9] = if null { 103 } else { 17 };
    packet[12..16].copy_from_slice(&source.octets());
    packet[16..20].copy_from_slice(&group.octets());
    let sum = internet(&packet[..20]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// The words of a packet that the router sends by the unicast routes.
pub fn routed(datagram: &Datagram) -> String {
    assert_eq!((datagram.ttl, datagram.router_alert), (64, false));
    match parse(datagram.source, datagram.destination, &datagram.payload).unwrap() {
        Message::Register(register) => {
            let address = |at: usize| Ipv4Addr::from(*register.packet[at..].first_chunk::<4>().unwrap());
            let (source, group) = (address(12), address(16));
            assert_eq!(register.packet, inner(source, group, register.null, WHOLE_TTL - 1), "the packet less a hop");
            assert_eq!(datagram.traffic_class, if register.null { 0xc0 } else { 0x28 });
            format!("register {source} {group}{}", if register.null { " null" } else { "" })
        }
        Message::RegisterStop(stop) => {
            assert_eq!((datagram.traffic_class, stop.mask_length), (0xc0, 32));
            format!("register-stop {} {}", stop.source, stop.group)
        }
        Message::CandidateRpAdvertisement(message) => {
            assert_eq!(datagram.traffic_class, 0xc0);
            bootstrap::candidate_rp_words(&message)
        }
        other => panic!("{other:?}"),
    }
}

fn masked(word: &str) -> (IpAddr, u8) {
    let (address, length) = word.split_once('/').unwrap_or((word, "32"));
    (address.parse().unwrap_or_else(|_| panic!("{word}")), length.parse().unwrap())
}

fn metric(words: &mut Words<'_>) -> (u32, u32, bool) {
    if words.has("infinite") {
        return (INFINITE_PREFERENCE, INFINITE_METRIC, true);
    }
    (words.named("pref"), words.named("metric"), words.has("rpt"))
}

/// The words of a packet that the router sends.
pub fn sent(datagram: &Datagram) -> String {
    assert_eq!((datagram.ttl, datagram.router_alert, datagram.traffic_class), (1, false, 0xc0));
    let message = parse(datagram.source, datagram.destination, &datagram.payload).unwrap();
    let destination = match &message {
        Message::Graft(graft) => graft.upstream,
        // To whoever sent the graft, which nothing in it says.
        Message::GraftAck(_) => datagram.destination,
        // To everybody, or to a neighbour that is new.
        Message::Bootstrap(_) => datagram.destination,
        _ => ALL_PIM_ROUTERS.into(),
    };
    assert_eq!(datagram.destination, destination, "{message:?}");
    match &message {
        Message::Hello(hello) => hello_words(hello),
        Message::Bootstrap(message) => bootstrap::bootstrap_words(message),
        Message::Register(_) | Message::RegisterStop(_) | Message::CandidateRpAdvertisement(_) => {
            panic!("{message:?} on a link")
        }
        Message::JoinPrune(message) => join_prune_words("", message),
        Message::Graft(graft) => join_prune_words("graft", graft),
        Message::GraftAck(graft) => join_prune_words("graft-ack", graft),
        Message::Assert(assert) => {
            let metric = metric_words(assert.preference, assert.metric, assert.rpt);
            format!("assert {} {} {metric}", assert.source, assert.group)
        }
        Message::StateRefresh(refresh) => {
            let metric = metric_words(refresh.preference, refresh.metric, refresh.rpt);
            let mut text =
                format!("refresh {} {} originator {} {metric}", refresh.source, refresh.group, refresh.originator);
            write!(text, " mask {} ttl {}", refresh.mask_length, refresh.ttl).unwrap();
            for (flag, word) in
                [(refresh.prune_indicator, " p"), (refresh.prune_now, " n"), (refresh.assert_override, " o")]
            {
                text += if flag { word } else { "" };
            }
            write!(text, " interval {}", refresh.interval).unwrap();
            text
        }
    }
}

fn metric_words(preference: u32, metric: u32, rpt: bool) -> String {
    if (preference, metric, rpt) == (INFINITE_PREFERENCE, INFINITE_METRIC, true) {
        return "infinite".to_owned();
    }
    format!("pref {preference} metric {metric}{}", if rpt { " rpt" } else { "" })
}

fn hello_words(hello: &Hello) -> String {
    let mut text = "hello".to_owned();
    if let Some(hold) = hello.hold_time {
        write!(text, " hold {hold}").unwrap();
    }
    if let Some(delay) = hello.lan_prune_delay {
        write!(text, " delay {} override {}", delay.propagation_delay, delay.override_interval).unwrap();
        text += if delay.tracking { " tracking" } else { "" };
    }
    if let Some(priority) = hello.dr_priority {
        write!(text, " dr {priority}").unwrap();
    }
    if let Some(id) = hello.generation_id {
        write!(text, " genid {id:08x}").unwrap();
    }
    if let Some(interval) = hello.state_refresh_interval {
        write!(text, " refresh {interval}").unwrap();
    }
    for address in &hello.addresses {
        write!(text, " address {address}").unwrap();
    }
    text
}

fn join_prune_words(every: &str, message: &JoinPrune) -> String {
    let mut entries = Vec::new();
    for set in &message.groups {
        for (kind, sources) in [("join ", &set.joined), ("prune ", &set.pruned)] {
            // A graft joins; that it prunes would be a mistake worth seeing.
            let kind = if kind == "join " && !every.is_empty() { "" } else { kind };
            for source in sources {
                let pair = (encoded_words(source), masked_words(set.group, set.mask_length));
                entries.push(format!("{kind}{} {}", pair.0, pair.1));
            }
        }
    }
    let entries = if entries.is_empty() { "join-prune".to_owned() } else { entries.join(", ") };
    let mut text = format!("{every} {entries} to {}", message.upstream).trim_start().to_owned();
    if message.hold_time != 0 {
        write!(text, " hold {}", message.hold_time).unwrap();
    }
    text
}

/// What is written reads back as what was meant.
#[test]
fn words_and_messages_say_the_same() {
    let source: IpAddr = "10.0.0.2".parse().unwrap();
    for text in [
        "hello",
        "hello hold 105 delay 500 override 2500 dr 1 genid 0000abcd refresh 60 address 10.0.0.3 address 10.0.0.4",
        "prune 10.1.0.9 239.1.1.1 to 10.0.0.1 hold 210",
        "join 10.1.0.9 239.1.1.1, prune 10.1.0.8 239.1.1.1, prune 10.1.0.9 239.1.1.2 to 10.0.0.1 hold 210",
        "join 10.1.0.9/24 239.1.1.1/16 to 10.0.0.1",
        "join-prune to 10.0.0.1",
        "join *10.7.7.7 239.1.1.1, prune 10.1.0.8:rpt 239.1.1.1, join 10.1.0.9:s 239.1.1.2 to 10.0.0.1 hold 210",
        "graft 10.1.0.9 239.1.1.1, 10.1.0.9 239.1.1.2 to 10.0.0.1",
        "graft-ack 10.1.0.9 239.1.1.1 to 10.0.0.1",
        "assert 10.1.0.9 239.1.1.1 pref 110 metric 20",
        "assert 10.1.0.9 239.1.1.1 infinite",
        "refresh 10.1.0.9 239.1.1.1 originator 10.0.0.1 pref 110 metric 20 mask 24 ttl 30 p o interval 60",
        "bootstrap 10.9.9.9 priority 64 hash 30 tag 00ff",
        "bootstrap 10.9.9.9 priority 0 hash 0 tag abcd n ; 239.0.0.0/8 zone 2 10.7.0.1:150:192 ; 239.1.0.0/16 bidir 0",
        "refresh 10.1.0.9 239.1.1.1 originator 10.0.0.1 infinite mask 0 ttl 1 n interval 5",
    ] {
        assert!(is_message(text));
        assert_eq!(sent(&datagram(text, source)), text);
    }
}
