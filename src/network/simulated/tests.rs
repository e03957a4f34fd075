use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::observe::frame::{Content, Packet};
use crate::oracle::testing::{self, Net, all, group};
use crate::topology::steps::{CutKind, Message};
use crate::traffic::stamp::Stamp;

const MILLISECOND: Duration = Duration::from_millis(1);

/// `src --- r --- (lan) --- h1, h2`, and a static route for everything.
struct Small {
    plan: Plan,
    src: NodeId,
    router: NodeId,
    h1: NodeId,
    h2: NodeId,
    link: WireId,
    lan: WireId,
}

fn small() -> Small {
    let mut net = Net::new();
    let (src, router) = (net.host("src"), net.router("r"));
    let (h1, h2) = (net.host("h1"), net.host("h2"));
    let link = net.link("link", src, router);
    let lan = net.lan("lan", &[router, h1, h2]);
    net.route(router, 0, &[]);
    let plan = net.plan();
    Small { plan, src, router, h1, h2, link, lan }
}

fn stream(from: NodeId, size: usize) -> Stream {
    Stream { size, ..testing::stream("s", from, 16) }
}

fn pass(network: &mut SimulatedNetwork<'_>, ms: u32) {
    let until = network.now() + MILLISECOND * ms;
    assert!(!network.run_until(until, &mut |_| Ok(false)).unwrap());
    assert_eq!(network.now(), until);
}

fn received(network: &SimulatedNetwork<'_>, host: NodeId) -> usize {
    network.arrivals("s", host).len()
}

fn kinds(network: &SimulatedNetwork<'_>, wire: WireId, from: NodeId) -> Vec<Message> {
    network.control(wire).iter().filter(|seen| seen.at.node == from).map(|seen| seen.message).collect()
}

#[test]
fn equal_plans_give_equal_runs_and_another_seed_another() {
    let small = small();
    let run = |seed: u64| {
        let plan = Plan { seed, ..small.plan.clone() };
        let mut network = SimulatedNetwork::new(&plan);
        network.join(small.h1, group(), &all()).unwrap();
        network.start(&stream(small.src, 200)).unwrap();
        pass(&mut network, 3_000);
        (network.trace(), network.arrivals("s", small.h1), network.happenings(), network.control(small.lan))
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7).0, run(8).0);
}

#[test]
fn what_is_waited_for_is_looked_at_when_something_changes_and_at_the_deadline() {
    let small = small();
    let mut network = SimulatedNetwork::new(&small.plan);
    network.join(small.h1, group(), &all()).unwrap();
    network.start(&stream(small.src, 200)).unwrap();
    let began = network.now();
    let held =
        network.run_until(began + 1_000 * MILLISECOND, &mut |n| Ok(!n.arrivals("s", small.h1).is_empty())).unwrap();
    assert!(held && network.now().since(began) < 20 * MILLISECOND, "{:?}", network.now().since(began));
    network.stop("s").unwrap();
    let (mut looks, began) = (0, network.now());
    let deadline = began + Duration::from_secs(3600);
    let held = network.run_until(deadline, &mut |_| {
        looks += 1;
        Ok(false)
    });
    assert!(!held.unwrap() && network.now() == deadline);
    assert!((3_600..20_000).contains(&looks), "{looks} looks in an hour");
}

#[test]
fn a_killed_router_forgets_and_a_restarted_one_learns_anew() {
    let Small { plan, src, router, h1, lan, .. } = small();
    let mut network = SimulatedNetwork::new(&plan);
    network.join(h1, group(), &all()).unwrap();
    network.start(&stream(src, 200)).unwrap();
    pass(&mut network, 1_000);
    assert!(received(&network, h1) > 95);
    assert_eq!(network.entries(router).unwrap()[0].outgoing, [(1, 1)]);
    assert_eq!(network.memberships(router).unwrap().len(), 1);

    network.kill(router).unwrap();
    let before = received(&network, h1);
    pass(&mut network, 1_000);
    assert_eq!((received(&network, h1), network.entries(router).unwrap()), (before, vec![]));
    assert!(network.memberships(router).is_err());
    // The kernel says what its daemon's sockets have left.
    let reports = network.control(lan).into_iter().filter(|seen| seen.at.node == router);
    let groups: BTreeSet<IpAddr> = reports.flat_map(|seen| seen.groups).collect();
    assert!(groups.contains(&"224.0.0.22".parse().unwrap()), "{groups:?}");

    network.restart(router).unwrap();
    pass(&mut network, 1_000);
    assert!(received(&network, h1) > before + 80);
    assert!(network.kill(h1).is_err(), "a host has no daemon");
}

#[test]
fn a_paused_router_forwards_by_what_it_knew_and_catches_up() {
    let Small { plan, src, router, h1, h2, .. } = small();
    let mut network = SimulatedNetwork::new(&plan);
    network.join(h1, group(), &all()).unwrap();
    network.start(&stream(src, 200)).unwrap();
    pass(&mut network, 500);
    network.pause(router).unwrap();
    network.leave(h1, group()).unwrap();
    let other = "239.2.2.2".parse().unwrap();
    network.join(h2, other, &all()).unwrap();
    pass(&mut network, 5_000);
    assert_eq!(network.entries(router).unwrap()[0].outgoing, [(1, 1)]);
    network.resume(router).unwrap();
    pass(&mut network, 100);
    let known: Vec<IpAddr> = network.memberships(router).unwrap().into_iter().map(|m| m.group).collect();
    assert!(known.contains(&other), "{known:?}");
    pass(&mut network, 3_000);
    assert_eq!(network.entries(router).unwrap()[0].outgoing, []);
}

#[test]
fn a_lost_carrier_is_news_and_a_silent_cut_is_none() {
    let Small { plan, src, router, h1, link, .. } = small();
    let mut network = SimulatedNetwork::new(&plan);
    network.join(h1, group(), &all()).unwrap();
    network.start(&stream(src, 200)).unwrap();
    pass(&mut network, 500);
    let news = |network: &SimulatedNetwork<'_>| {
        network.happenings().iter().filter(|h| h.kind == HappeningKind::Carrier && h.node == Some(router)).count()
    };
    for (how, heard) in [(CutKind::Silent, 0), (CutKind::Carrier, 2), (CutKind::Admin, 4)] {
        let at = received(&network, h1);
        let cut = Cut { wire: link, end: Some(Attachment { node: router, interface: 0 }), how, detected_after: None };
        network.fail(&cut).unwrap();
        pass(&mut network, 500);
        assert!(received(&network, h1) <= at + 1, "{how:?}");
        let sightings = network.sightings("s", link).len();
        network.restore(link, cut.end).unwrap();
        pass(&mut network, 500);
        assert!(received(&network, h1) > at + 40 && network.sightings("s", link).len() > sightings, "{how:?}");
        assert_eq!(news(&network), heard, "{how:?}");
    }
}

#[test]
fn the_next_messages_of_a_kind_are_lost_and_counted() {
    let Small { plan, h1, lan, .. } = small();
    let mut network = SimulatedNetwork::new(&plan);
    let loss = MessageLoss { wire: lan, from: None, message: Message::Igmpv3Report, count: 1 };
    let id = network.lose(&loss).unwrap();
    network.join(h1, group(), &all()).unwrap();
    pass(&mut network, 1_500);
    // Both the host's first report and the router's next.
    assert!(network.dropped(id).unwrap() >= 1);
    assert_eq!(kinds(&network, lan, h1), [Message::Igmpv3Report], "of two, one was seen by nobody");
    network.restore(lan, None).unwrap();
    assert!(network.dropped(id).unwrap() >= 1);
}

#[test]
fn a_capture_has_what_every_end_sent_and_got() {
    let Small { plan, src, h1, lan, .. } = small();
    let directory = tempfile::tempdir().unwrap();
    let mut network = SimulatedNetwork::new(&plan);
    network.keep_captures(directory.path()).unwrap();
    network.join(h1, group(), &all()).unwrap();
    network.start(&Stream { count: Some(10), ..stream(src, 200) }).unwrap();
    pass(&mut network, 1_000);
    let path = network.capture(lan).unwrap();
    assert_eq!(path, directory.path().join("lan.pcapng"));
    let seen = network.sightings("s", lan).len();
    let control = network.control(lan).len();
    assert_eq!(network.end_captures(), Vec::<String>::new());
    let octets = std::fs::read(path).unwrap();
    let frames = frames(&octets);
    assert!(frames.windows(2).all(|pair| pair[0].0 <= pair[1].0), "in order of time");
    let packets: Vec<Packet<'_>> = frames.iter().map(|(_, frame)| Packet::parse(frame).unwrap()).collect();
    let data = packets.iter().filter(|packet| packet.is_data());
    let stamps =
        data.filter(|packet| matches!(packet.content, Content::Udp { payload, .. } if Stamp::decode(payload).is_ok()));
    assert_eq!(stamps.count(), seen);
    // Those of the routers' start came before the capture.
    let igmp = packets.iter().filter(|packet| matches!(packet.content, Content::Igmp(_))).count();
    assert!(igmp % 3 == 0 && igmp > 3 && igmp < 3 * control + 1, "{igmp} of {control} at three ends");
}

/// The frames of a capture with their times.
fn frames(mut octets: &[u8]) -> Vec<(u64, &[u8])> {
    let mut frames = Vec::new();
    while !octets.is_empty() {
        let word = |at: usize| u32::from_le_bytes(octets[at..at + 4].try_into().unwrap());
        let length = word(4) as usize;
        if word(0) == 6 {
            let captured = word(20) as usize;
            frames.push((u64::from(word(12)) << 32 | u64::from(word(16)), &octets[28..28 + captured]));
        }
        octets = &octets[length..];
    }
    frames
}

#[test]
fn a_busy_machine_is_late_and_forgets_nothing() {
    let Small { plan, src, h1, .. } = small();
    let first = |mut network: SimulatedNetwork<'_>| {
        network.start(&stream(src, 200)).unwrap();
        pass(&mut network, 500);
        let joined = network.join(h1, group(), &all()).unwrap();
        pass(&mut network, 1_000);
        (network.arrivals("s", h1)[0].received.since(joined), network.trace())
    };
    let (idle, busy) = (first(SimulatedNetwork::new(&plan)), first(SimulatedNetwork::on_a_busy_machine(&plan)));
    assert!(idle != busy && busy.0 >= idle.0 && busy.0 < 100 * MILLISECOND, "{idle:?} and {busy:?}");
}

#[test]
fn a_kernel_sends_to_nobody_until_it_has_looked_after_its_carrier() {
    let Small { plan, src, h1, link, .. } = small();
    let mut network = SimulatedNetwork::on_a_busy_machine(&plan);
    network.join(h1, group(), &all()).unwrap();
    network.start(&Stream { rate: 10_000.0, ..stream(src, 200) }).unwrap();
    pass(&mut network, 1_000);
    let at = Attachment { node: src, interface: 0 };
    let cut = Cut { wire: link, end: Some(at), how: CutKind::Carrier, detected_after: None };
    let fault = network.fail(&cut).unwrap();
    pass(&mut network, 500);
    let mut news = network.happenings().into_iter();
    let lost = news.find(|one| one.kind == HappeningKind::Carrier && one.node == Some(src)).unwrap().time;
    let after: Vec<Sighting> = network.sightings("s", link).into_iter().filter(|seen| seen.time > fault).collect();
    assert!(!after.is_empty() && after.iter().all(|seen| seen.at.node == src && seen.time <= lost), "{after:?}");
    assert!(network.arrivals("s", h1).iter().all(|arrival| arrival.sent <= fault));
    // Its own interface that is taken down sends nothing more.
    network.restore(link, cut.end).unwrap();
    pass(&mut network, 500);
    let fault = network.fail(&Cut { how: CutKind::Admin, ..cut }).unwrap();
    pass(&mut network, 500);
    assert!(network.sightings("s", link).iter().all(|seen| seen.time <= fault));
}

#[test]
fn wires_may_duplicate_and_damage() {
    let Small { plan, src, router, h1, link, lan, .. } = small();
    let mut network = SimulatedNetwork::new(&plan);
    network.join(h1, group(), &all()).unwrap();
    pass(&mut network, 500);
    let at = Attachment { node: src, interface: 0 };
    network.impair(at, wire::Impairment { duplication: 1.0, ..wire::Impairment::default() });
    network.start(&stream(src, 200)).unwrap();
    pass(&mut network, 1_000);
    let sent = network.sent("s").len();
    assert!(sent > 95 && received(&network, h1) == 2 * sent);
    assert_eq!(
        network.group_counts(link).iter().map(|count| count.stamped).collect::<Vec<_>>(),
        [sent as u64, 2 * sent as u64]
    );

    network.impair(at, wire::Impairment { corruption: 1.0, ..wire::Impairment::default() });
    pass(&mut network, 1_000);
    assert_eq!(received(&network, h1), 2 * sent, "its checksum is wrong");
    assert!(
        network.group_counts(lan)[0].stamped as usize > 2 * sent + 80,
        "but for its header, a router looks at no checksum"
    );

    let out = Attachment { node: h1, interface: 0 };
    network.impair(out, wire::Impairment { corruption: 1.0, ..wire::Impairment::default() });
    network.join(h1, "239.3.3.3".parse().unwrap(), &all()).unwrap();
    pass(&mut network, 3_000);
    assert_eq!(network.memberships(router).unwrap().len(), 1, "nobody understands it");
    assert_eq!(network.malformed(lan), [], "its sender is not to blame");
}

#[test]
fn a_packet_beyond_the_mtu_is_cut_by_its_sender_or_not_at_all() {
    let Small { mut plan, src, h1, link, lan, .. } = small();
    let run = |plan: &Plan| {
        let mut network = SimulatedNetwork::new(plan);
        network.join(h1, group(), &all()).unwrap();
        pass(&mut network, 500);
        network.start(&stream(src, 1400)).unwrap();
        pass(&mut network, 1_000);
        let sent = network.group_counts(link)[0];
        (received(&network, h1) > 90, sent.unstamped / sent.stamped)
    };
    assert_eq!(run(&plan), (true, 0));
    plan.wires[link.0].mtu = 600;
    assert_eq!(run(&plan), (true, 2), "three fragments, of which one has the stamp");
    plan.wires[link.0].mtu = 1500;
    plan.wires[lan.0].mtu = 600;
    assert_eq!(run(&plan), (false, 0), "one that may not be cut is lost");
}

#[test]
fn ipv6_stays_on_its_link() {
    let Small { mut plan, src, router, h1, h2, link, lan } = small();
    for (net, wire) in [link, lan].into_iter().enumerate() {
        for (host, at) in plan.wires[wire.0].ends.clone().into_iter().enumerate() {
            let address = format!("fd00:{net}::{}/64", host + 1).parse().unwrap();
            plan.nodes[at.node.0].interfaces[at.interface].addresses.push(address);
        }
    }
    let mut network = SimulatedNetwork::new(&plan);
    let group = "ff3e::1".parse().unwrap();
    for host in [h2, src] {
        network.join(host, group, &all()).unwrap();
    }
    network.start(&Stream { group, ..stream(h1, 200) }).unwrap();
    pass(&mut network, 500);
    assert!(received(&network, h2) > 45 && received(&network, src) == 0);
    assert_eq!(network.entries(router).unwrap(), []);
    network.leave(h2, group).unwrap();
    assert!(network.leave(h2, group).is_err());
}

#[test]
fn a_dense_mode_router_finds_another_way() {
    let mut net = Net::new();
    let (src, host) = (net.host("src"), net.host("h"));
    let [r1, r2, r3, r4] = ["r1", "r2", "r3", "r4"].map(|name| net.pim(name));
    net.link("source", src, r1);
    let fast = net.link("fast", r1, r2);
    let slow = net.link("slow", r1, r3);
    net.link("fast-2", r2, r4);
    net.link("slow-2", r3, r4);
    net.link("member", r4, host);
    net.cost(slow, 9);
    let plan = net.plan();
    let mut network = SimulatedNetwork::new(&plan);
    network.join(host, group(), &all()).unwrap();
    // Hellos first.
    pass(&mut network, 6_000);
    network.start(&stream(src, 200)).unwrap();
    pass(&mut network, 5_000);
    assert!(received(&network, host) > 490);
    let out = |network: &mut SimulatedNetwork<'_>, router| {
        let entries = network.entries(router).unwrap();
        entries.iter().flat_map(|entry| entry.outgoing.iter().map(|(to, _)| *to)).collect::<Vec<_>>()
    };
    assert_eq!((out(&mut network, r1), out(&mut network, r3)), (vec![1], vec![]), "r3 was pruned");
    let seen = kinds(&network, slow, r3);
    assert!(seen.contains(&Message::PimPrune) && !seen.contains(&Message::PimGraft), "{seen:?}");

    let cut = Cut { wire: fast, end: None, how: CutKind::Carrier, detected_after: None };
    network.fail(&cut).unwrap();
    let before = received(&network, host);
    pass(&mut network, 1_000);
    assert!(received(&network, host) >= before + 98, "{} of 100", received(&network, host) - before);
    assert_eq!(out(&mut network, r3), [1]);
    assert!(kinds(&network, slow, r3).contains(&Message::PimGraft));
    assert!(kinds(&network, slow, r1).contains(&Message::PimGraftAck));
}
