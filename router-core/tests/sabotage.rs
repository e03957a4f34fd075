//! A querier that was made deaf for a sabotage test asks, and hears no answer.
#![cfg(feature = "sabotage")]

use router_core::config::Config;
use router_core::router::{Datagram, EventKind, Input, InterfaceId, InterfaceState, Output, Router};
use router_core::time::Time;
use router_core::wire::igmp::Message;

#[test]
fn a_deaf_querier_asks_and_hears_nobody() {
    let config = Config::from_yaml("interfaces: [{name: eth0, igmp: {deaf: true}}]").unwrap();
    let mut router = Router::new(config);
    let state =
        InterfaceState { name: "eth0".into(), up: true, mtu: 1500, addresses: vec!["10.0.0.1/24".parse().unwrap()] };
    router.handle(Time::ZERO, Input::Interface { interface: InterfaceId(1), state });
    let datagram = Datagram {
        source: "10.0.0.2".parse().unwrap(),
        destination: "239.1.1.1".parse().unwrap(),
        protocol: 2,
        ttl: 1,
        router_alert: true,
        traffic_class: 0xc0,
        payload: Message::ReportV2 { group: [239, 1, 1, 1].into() }.emit(),
    };
    router.handle(Time::ZERO, Input::Packet { interface: InterfaceId(1), datagram });
    let mut asked = false;
    while let Some(output) = router.poll_output() {
        asked |= matches!(output, Output::Send { .. });
        if let Output::Event(event) = output {
            assert!(!matches!(event.kind, EventKind::MemberAdded { .. }));
        }
    }
    assert!(asked);
}
