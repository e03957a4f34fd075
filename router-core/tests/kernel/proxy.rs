//! The upstream side of an IGMP proxy: memberships that the kernel holds for it.

use std::net::Ipv4Addr;

use router_core::wire::igmp::{self, Message, Record, RecordKind};

use crate::GROUP;
use crate::support::{Daemon, Host, eventually, in_namespace, proc_net};

const PROXY: &str = "
multicast: proxy
upstream: up
interfaces: [{name: up}, {name: dst}]
igmp: {last-member-query-interval: 100ms}
";

/// What the kernel filters on `up` for a group: sources included and excluded (`/proc/net/mcfilter`).
fn filter(group: Ipv4Addr) -> (Vec<String>, Vec<String>) {
    let wanted = format!("0x{:08x}", u32::from(group));
    let (mut included, mut excluded) = (Vec::new(), Vec::new());
    for line in proc_net("mcfilter") {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if fields[1] == "up" && fields[2] == wanted {
            if fields[4] != "0" {
                included.push(fields[3].to_owned());
            }
            if fields[5] != "0" {
                excluded.push(fields[3].to_owned());
            }
        }
    }
    (included, excluded)
}

/// Whether the kernel is a member of a group on `up`: /proc/net/igmp has a line an interface, then one a group.
fn is_member(group: Ipv4Addr) -> bool {
    let wanted = format!("{:08X}", u32::from_ne_bytes(group.octets()));
    let mut is_up = false;
    proc_net("igmp").iter().any(|line| {
        if !line.starts_with('\t') {
            is_up = line.split_whitespace().nth(1) == Some("up");
        }
        is_up && line.split_whitespace().next() == Some(&wanted)
    })
}

fn sources(count: u8) -> Vec<Ipv4Addr> {
    (1..=count).map(|last| Ipv4Addr::new(10, 0, 1, last)).collect()
}

fn report(kind: RecordKind, group: Ipv4Addr, sources: Vec<Ipv4Addr>) -> Vec<u8> {
    Message::ReportV3 { records: vec![Record { kind, group, sources }] }.emit()
}

#[test]
fn an_include_list_longer_than_the_kernels_bound_is_held_whole() {
    in_namespace("proxy::an_include_list_longer_than_the_kernels_bound_is_held_whole", || {
        let (_up, member) = (Host::attach("up", 1), Host::attach("dst", 2));
        let mut daemon = Daemon::start(PROXY);
        let raw = member.raw();
        let send = |kind, sources| raw.igmp(member.address, igmp::ALL_V3_ROUTERS, &report(kind, GROUP, sources));
        send(RecordKind::IsInclude, sources(25));
        eventually("25 sources are included", || filter(GROUP).0.len() == 25);
        assert!(filter(GROUP).1.is_empty());
        send(RecordKind::ToExclude, vec![]);
        eventually("all sources", || filter(GROUP) == (vec![], vec![]) && is_member(GROUP));
        daemon.take_events();
        assert_eq!(daemon.counter("shell-membership-refusals"), 0);
    });
}

#[test]
fn an_exclude_list_longer_than_the_kernels_bound_asks_for_too_much_never_too_little() {
    in_namespace("proxy::an_exclude_list_longer_than_the_kernels_bound_asks_for_too_much_never_too_little", || {
        let (_up, member) = (Host::attach("up", 1), Host::attach("dst", 2));
        let daemon = Daemon::start(PROXY);
        let raw = member.raw();
        raw.igmp(member.address, igmp::ALL_V3_ROUTERS, &report(RecordKind::IsExclude, GROUP, sources(25)));
        eventually("as many as fit are excluded", || filter(GROUP).1.len() == 10);
        assert!(filter(GROUP).0.is_empty());
        assert_eq!(daemon.counter("shell-filters-shortened"), 1);
    });
}

#[test]
fn more_groups_than_a_socket_takes_are_joined_and_left() {
    in_namespace("proxy::more_groups_than_a_socket_takes_are_joined_and_left", || {
        let (_up, member) = (Host::attach("up", 1), Host::attach("dst", 2));
        let daemon = Daemon::start(PROXY);
        let groups: Vec<Ipv4Addr> = (0..60).map(|n| Ipv4Addr::new(239, 2, 0, n)).collect();
        let raw = member.raw();
        for group in &groups {
            raw.igmp(member.address, *group, &Message::ReportV2 { group: *group }.emit());
        }
        eventually("all are joined upstream", || groups.iter().all(|group| is_member(*group)));
        for group in &groups[1..] {
            raw.igmp(member.address, igmp::ALL_ROUTERS, &Message::LeaveV2 { group: *group }.emit());
        }
        eventually("all but one are left", || groups[1..].iter().all(|group| !is_member(*group)));
        assert!(is_member(groups[0]));
        assert_eq!(daemon.counter("shell-membership-refusals"), 0);
    });
}
