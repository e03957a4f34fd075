//! The kernel's register interface: packets that leave by it, and those that registers bring.

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

use nix::sys::socket::{self, MsgFlags};
use router_core::wire::ipv4::{self, Header};
use router_core::wire::pim::{self, Message, PROTOCOL, Register, RegisterStop};

use crate::shell::ear;
use crate::support::{Daemon, Host, PATIENCE, eventually, in_namespace, ip, proc_net, receives};
use crate::{GROUP, PORT};

/// Waits until an ear has heard a packet that something can be made of.
fn wait_for<T>(ear: &OwnedFd, what: &str, mut find: impl FnMut(&Header, &[u8]) -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    let mut buffer = [0; 4096];
    while Instant::now() < deadline {
        let Ok(length) = socket::recv(ear.as_raw_fd(), &mut buffer, MsgFlags::empty()) else { continue };
        // Of a fragment, the header cannot be parsed as that of a whole packet.
        let Ok((header, payload)) = ipv4::parse(&buffer[..length]) else { continue };
        if header.protocol == PROTOCOL
            && let Some(found) = find(&header, payload)
        {
            return found;
        }
    }
    panic!("no {what} within {PATIENCE:?}");
}

fn message(header: &Header, payload: &[u8]) -> Option<Message> {
    Some(
        pim::parse(header.source.into(), header.destination.into(), payload)
            .expect("what the daemon sends can be read"),
    )
}

fn header(protocol: u8, ttl: u8, source: [u8; 4], destination: Ipv4Addr) -> Header {
    let source = source.into();
    Header { tos: 0, identification: 0, dont_fragment: false, ttl, protocol, source, destination, router_alert: false }
}

#[test]
fn a_packet_of_a_local_source_goes_to_the_rendezvous_point_in_a_register() {
    in_namespace("register::a_packet_of_a_local_source_goes_to_the_rendezvous_point_in_a_register", || {
        let (source, rp) = (Host::attach("src", 1), Host::attach("dst", 2));
        // The rendezvous point is further away, behind the other host.
        ip("route add 10.7.0.1/32 via 10.0.2.9");
        rp.run(|| ip("addr add 10.7.0.1/32 dev lo"));
        let ear = ear(&rp);
        let daemon = Daemon::start(
            "{multicast: pim-sm, interfaces: [{name: src}, {name: dst}], pim: {rp: [{address: 10.7.0.1}], triggered-hello-delay: 0s}}",
        );
        eventually("the register interface is there", || {
            proc_net("ip_mr_vif").iter().any(|line| line.contains("pimreg"))
        });
        source.sender().send_to(b"what the source says", (GROUP, PORT)).unwrap();
        let packet = wait_for(&ear, "register", |header, payload| match message(header, payload)? {
            Message::Register(Register { null: false, packet, .. }) => {
                assert_eq!(header.source, Ipv4Addr::new(10, 0, 1, 1), "the router, as the source knows it");
                assert_eq!(header.destination, Ipv4Addr::new(10, 7, 0, 1));
                Some(packet)
            }
            _ => None,
        });
        let (inner, payload) = ipv4::parse(&packet).expect("a whole packet");
        assert_eq!(
            (inner.source, inner.destination, inner.ttl),
            (source.address, GROUP, 15),
            "one hop is the router's"
        );
        assert!(payload.ends_with(b"what the source says"));
        // A packet that fills the link is longer in its register: the kernel cuts that.
        let long = vec![7; 1472];
        source.sender().send_to(&long, (GROUP, PORT)).unwrap();
        eventually("the long register is put together", || {
            let snmp = rp.run(|| std::fs::read_to_string("/proc/thread-self/net/snmp").expect("procfs"));
            let mut ip = snmp.lines().filter_map(|line| line.strip_prefix("Ip: "));
            let (names, values) = (ip.next().expect("names"), ip.next().expect("values"));
            let mut pairs = names.split(' ').zip(values.split(' '));
            pairs.any(|(name, value)| name == "ReasmOKs" && value == "1")
        });
        assert_eq!(daemon.counter("shell-packets-unsent"), 0);
        assert_eq!(daemon.terminate().code(), Some(0));
        assert!(proc_net("ip_mr_vif").is_empty());
    });
}

#[test]
fn what_a_register_brings_reaches_members_of_the_rendezvous_point() {
    in_namespace("register::what_a_register_brings_reaches_members_of_the_rendezvous_point", || {
        let (dr, member) = (Host::attach("src", 1), Host::attach("dst", 2));
        ip("route add 10.9.9.0/24 via 10.0.1.9");
        let mut daemon = Daemon::start(
            "{multicast: pim-sm, interfaces: [{name: src}, {name: dst}], pim: {rp: [{address: 10.0.1.1}], triggered-hello-delay: 0s}}",
        );
        let receiver = member.join(GROUP, PORT);
        daemon.wait_for_member("dst", GROUP);
        let mut udp = vec![0x13, 0x88, 0x13, 0x88, 0, 11, 0, 0];
        udp.extend(b"abc");
        let packet = header(17, 15, [10, 9, 9, 9], GROUP).emit(&udp).unwrap();
        let (own, rp) = (dr.address, Ipv4Addr::new(10, 0, 1, 1));
        let register = |null| {
            let message = Message::Register(Register { border: false, null, packet: packet.clone() });
            header(PROTOCOL, 64, own.octets(), rp).emit(&message.emit(own.into(), rp.into())).unwrap()
        };
        let raw = dr.raw();
        assert!(raw.send(&register(false)));
        assert!(receives(&receiver, PATIENCE), "the packet that made the entry");
        assert!(raw.send(&register(false)));
        assert!(receives(&receiver, PATIENCE), "a packet of the entry");
        assert!(daemon.counter("shell-upcalls") >= 1);
        assert_eq!(daemon.terminate().code(), Some(0));
    });
}

#[test]
fn a_rendezvous_point_without_members_stops_registers() {
    in_namespace("register::a_rendezvous_point_without_members_stops_registers", || {
        registers_are_stopped("{name: src}, {name: dst}");
    });
}

/// Registers come by the unicast routes, which know nothing of where multicast runs.
#[test]
fn a_rendezvous_point_takes_registers_by_an_interface_that_takes_no_part() {
    in_namespace("register::a_rendezvous_point_takes_registers_by_an_interface_that_takes_no_part", || {
        registers_are_stopped("{name: dst}");
    });
}

fn registers_are_stopped(interfaces: &str) {
    let (dr, _other) = (Host::attach("src", 1), Host::attach("dst", 2));
    ip("route add 10.9.9.0/24 via 10.0.1.9");
    let ear = ear(&dr);
    let _daemon = Daemon::start(&format!(
        "{{multicast: pim-sm, interfaces: [{interfaces}], pim: {{rp: [{{address: 10.0.1.1}}]}}}}"
    ));
    let packet = header(17, 15, [10, 9, 9, 9], GROUP).emit(&[0; 12]).unwrap();
    let (own, rp) = (dr.address, Ipv4Addr::new(10, 0, 1, 1));
    for null in [false, true] {
        let register = Message::Register(Register { border: false, null, packet: packet.clone() });
        assert!(
            dr.raw().send(&header(PROTOCOL, 64, own.octets(), rp).emit(&register.emit(own.into(), rp.into())).unwrap())
        );
        let stop = wait_for(&ear, "register-stop", |header, payload| match message(header, payload)? {
            Message::RegisterStop(stop) => {
                assert_eq!((header.source, header.destination), (rp, own));
                Some(stop)
            }
            _ => None,
        });
        assert_eq!(stop, RegisterStop { group: GROUP.into(), mask_length: 32, source: [10, 9, 9, 9].into() });
    }
}
