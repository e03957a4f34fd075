//! Registers in the simulator: a packet's way to a rendezvous point and on to members.

use std::time::Duration;

use router_core::config::{SptSwitchover, StaticRp};

use super::super::*;
use crate::network::ControlSighting;
use crate::oracle::testing::{self, Net, all, group};
use crate::topology::plan::Multicast;
use crate::topology::steps::Message;

/// `src - dr - middle - rp - h`: the rendezvous point is three hops from the source.
struct Small {
    plan: Plan,
    src: NodeId,
    h: NodeId,
    /// dr - middle, middle - rp.
    links: [WireId; 2],
}

fn small(mtu: u32) -> Small {
    let mut net = Net::new();
    let (src, h) = (net.host("src"), net.host("h"));
    let [dr, middle, rp] = ["dr", "middle", "rp"].map(|name| net.pim(name));
    net.link("first", src, dr);
    let links = [net.link("dr-middle", dr, middle), net.link("middle-rp", middle, rp)];
    net.link("last", rp, h);
    let address = "10.255.0.1".parse().unwrap();
    for router in [dr, middle, rp] {
        let router = net.router_mut(router);
        router.multicast = Multicast::PimSm;
        router.pim.triggered_hello_delay = Some(router_core::time::Span(Duration::ZERO));
        router.pim.spt_switchover = Some(SptSwitchover::Never);
        let groups = "224.0.0.0/4".parse().unwrap();
        router.pim.rp = Some(vec![StaticRp { address, groups, overrides: false }]);
    }
    let mut plan = net.plan();
    plan.nodes[rp.0].loopback.push(ipnet::IpNet::from(address));
    for link in links {
        plan.wires[link.0].mtu = mtu;
    }
    Small { plan, src, h, links }
}

fn registers(network: &SimulatedNetwork<'_>, wire: WireId) -> Vec<ControlSighting> {
    network.control(wire).into_iter().filter(|seen| seen.message == Message::PimRegister).collect()
}

fn pass(network: &mut SimulatedNetwork<'_>, time: Duration) {
    let until = network.now() + time;
    assert!(!network.run_until(until, &mut |_| Ok(false)).unwrap());
}

#[test]
fn a_register_goes_hop_by_hop_and_what_it_brings_reaches_members_of_the_rendezvous_point() {
    let Small { plan, src, h, links } = small(1500);
    let mut network = SimulatedNetwork::new(&plan);
    network.join(h, group(), &all()).unwrap();
    network.start(&Stream { count: Some(20), ..testing::stream("s", src, 16) }).unwrap();
    pass(&mut network, Duration::from_secs(2));
    let arrivals = network.arrivals("s", h);
    // The first packet that comes natively tells of it, and is dropped; when its registered copy comes, that comes the wrong way.
    assert!(arrivals.len() >= 19, "{}", arrivals.len());
    // RFC 7761 takes a hop off at the DR and at the rendezvous point; natively there is the router between.
    assert_eq!((arrivals[0].ttl, arrivals.last().unwrap().ttl), (14, 13));
    for link in links {
        let seen = registers(&network, link);
        assert!(!seen.is_empty());
        assert!(seen.iter().all(|seen| !seen.destination.is_multicast()));
    }
    // On the wire, what a register brings is no data of the stream.
    let native = network.sightings("s", links[0]).iter().filter(|seen| seen.outbound).count();
    assert!(native < 20, "{native}");
}

#[test]
fn a_register_that_is_longer_than_a_link_takes_arrives_all_the_same() {
    let Small { plan, src, h, .. } = small(1500);
    let mut network = SimulatedNetwork::new(&plan);
    network.join(h, group(), &all()).unwrap();
    // 1500 octets with its headers, which a register adds 28 to.
    network.start(&Stream { size: 1472, count: Some(3), ..testing::stream("s", src, 16) }).unwrap();
    pass(&mut network, Duration::from_secs(2));
    assert_eq!(network.arrivals("s", h)[0].sequence, 0);
}

#[test]
fn without_a_way_to_the_rendezvous_point_registers_are_lost() {
    let Small { mut plan, src, h, links } = small(1500);
    // The router between them forwards no unicast once its link is cut.
    plan.wires[links[1].0].impairment.loss = 1.0;
    let mut network = SimulatedNetwork::new(&plan);
    network.join(h, group(), &all()).unwrap();
    network.start(&Stream { count: Some(20), ..testing::stream("s", src, 16) }).unwrap();
    pass(&mut network, Duration::from_secs(2));
    assert_eq!(network.arrivals("s", h).len(), 0);
    assert!(!registers(&network, links[0]).is_empty());
}
