//! The control socket's bounds.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use router_core::control::client::{Client, ClientError};
use router_core::router::EventKind;
use router_core::show::Show;
use router_core::wire::igmp::{self, Message};

use crate::support::{Daemon, Host, PATIENCE, daemon_fails, eventually, in_namespace};

fn connect(daemon: &Daemon) -> UnixStream {
    let stream = UnixStream::connect(daemon.socket()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn only_its_owner_may_use_it_and_a_stale_one_is_replaced() {
    in_namespace("control::only_its_owner_may_use_it_and_a_stale_one_is_replaced", || {
        let daemon = Daemon::start("{}");
        let mode = std::fs::metadata(daemon.socket()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let directory = tempfile::tempdir().unwrap();
        let (config, stale) = (directory.path().join("config"), directory.path().join("stale"));
        std::fs::write(&config, "{}").unwrap();
        let run = |socket: &std::path::Path| {
            daemon_fails(&["--config", config.to_str().unwrap(), "--control", socket.to_str().unwrap()]).1
        };
        // The forwarding table is taken, so these end; what matters is what becomes of the sockets.
        drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
        assert!(run(&stale).contains("another multicast routing daemon"));
        std::fs::write(directory.path().join("file"), "precious").unwrap();
        run(&directory.path().join("file"));
        assert_eq!(std::fs::read_to_string(directory.path().join("file")).unwrap(), "precious");
        assert!(Client::connect(&daemon.socket(), PATIENCE).is_ok());
    });
}

#[test]
fn requests_are_bounded_and_bad_ones_are_answered() {
    in_namespace("control::requests_are_bounded_and_bad_ones_are_answered", || {
        let daemon = Daemon::start("{}");
        let mut stream = connect(&daemon);
        stream.write_all(b"{\"show\":\"weather\"}\nnonsense\n{\"show\":\"groups\"}\n").unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let mut next = || lines.next().unwrap().unwrap();
        assert!(next().starts_with(r#"{"error":"unknown variant `weather`"#));
        assert!(next().starts_with(r#"{"error":""#));
        assert_eq!(next(), r#"{"groups":[]}"#);
        stream.write_all(&[b'x'; 5000]).unwrap();
        assert_eq!(next(), r#"{"error":"a request is at most 4096 octets long"}"#);
        assert!(lines.next().is_none_or(|line| line.is_err()), "the connection is closed");
        assert_eq!(daemon.counter("control-requests-refused"), 3);
    });
}

#[test]
fn clients_are_bounded_and_one_too_many_is_told() {
    in_namespace("control::clients_are_bounded_and_one_too_many_is_told", || {
        let daemon = Daemon::start("{}");
        let clients: Vec<UnixStream> = (0..40).map(|_| connect(&daemon)).collect();
        let mut told = String::new();
        (&clients[39]).read_to_string(&mut told).unwrap();
        assert_eq!(told, "{\"error\":\"there are 32 clients already\"}\n");
        let refused = Client::connect(&daemon.socket(), PATIENCE).and_then(|mut client| client.show(Show::Groups));
        assert!(matches!(refused, Err(ClientError::Refused(_) | ClientError::Closed)), "{refused:?}");
        drop(clients);
        eventually("there is room again", || {
            Client::connect(&daemon.socket(), PATIENCE).and_then(|mut client| client.show(Show::Groups)).is_ok()
        });
        assert!(daemon.counter("control-clients-refused") >= 9);
    });
}

#[test]
fn a_subscriber_who_does_not_read_is_dropped_and_others_go_on() {
    in_namespace("control::a_subscriber_who_does_not_read_is_dropped_and_others_go_on", || {
        let member = Host::attach("dst", 2);
        let mut daemon = Daemon::start("{interfaces: [{name: dst}], igmp: {fast-leave: true}}");
        let slow = connect(&daemon);
        (&slow).write_all(b"{\"events\":true}\n").unwrap();
        // Two events a group, until more waits than anybody may let wait.
        let raw = member.raw();
        let mut dropped = 0;
        for group in 0..20_000u32 {
            let group = Ipv4Addr::from(0xef01_0000 + group);
            raw.igmp(member.address, group, &Message::ReportV2 { group }.emit());
            raw.igmp(member.address, igmp::ALL_ROUTERS, &Message::LeaveV2 { group }.emit());
            if group.octets()[3] == 0 {
                daemon.take_events();
                dropped = daemon.counter("control-subscribers-dropped");
            }
            if dropped > 0 {
                break;
            }
        }
        assert_eq!(dropped, 1);
        assert!(Client::connect(&daemon.socket(), PATIENCE).is_ok());
    });
}

#[test]
fn late_subscribers_hear_what_is_kept_and_how_much_is_not() {
    in_namespace("control::late_subscribers_hear_what_is_kept_and_how_much_is_not", || {
        let member = Host::attach("dst", 2);
        let daemon = Daemon::start("{interfaces: [{name: dst}]}");
        let subscribe = || Client::connect(&daemon.socket(), PATIENCE).and_then(Client::events).unwrap();
        let mut early = subscribe();
        assert!(early.next(PATIENCE).unwrap().unwrap().time.as_nanos() > 0);
        let raw = member.raw();
        // More than are kept for who comes late, and fewer than wait for who does not read.
        for group in 0..1500u32 {
            let group = Ipv4Addr::from(0xef01_0000 + group);
            raw.igmp(member.address, group, &Message::ReportV2 { group }.emit());
        }
        let last = IpAddr::from([239, 1, 5, 219]);
        let is_last = |kind: &EventKind| matches!(kind, EventKind::MemberAdded { group, .. } if *group == last);
        // The first and the last are not counted in the loop.
        let mut heard = 2;
        while !is_last(&early.next(PATIENCE).unwrap().expect("the last group").kind) {
            heard += 1;
        }
        assert_eq!(early.dropped(), 0);
        let mut late = subscribe();
        let mut kept = 1;
        while !is_last(&late.next(PATIENCE).unwrap().expect("the last group").kind) {
            kept += 1;
        }
        assert!(late.dropped() > 0 && kept + late.dropped() == heard, "{kept} of {heard}, {} said", late.dropped());
        assert_eq!(late.try_next().unwrap(), None);
    });
}
