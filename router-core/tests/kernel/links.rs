//! Interfaces and routes that come, go and change under a running daemon.

use router_core::router::EventKind;
use router_core::show::{Route, Show, Shown};

use crate::support::{Daemon, Host, PATIENCE, eventually, in_namespace, ip, proc_net, receives};
use crate::{GROUP, PORT, ROUTER};

fn is_turned(interface: &str, up: bool) -> impl Fn(&EventKind) -> bool {
    let wanted = EventKind::Interface { interface: interface.to_owned(), up };
    move |event| *event == wanted
}

#[test]
fn a_lost_carrier_is_noticed_and_its_return_too() {
    in_namespace("links::a_lost_carrier_is_noticed_and_its_return_too", || {
        let (source, member) = (Host::attach("src", 1), Host::attach("dst", 2));
        let mut daemon = Daemon::start(ROUTER);
        let receiver = member.join(GROUP, PORT);
        daemon.wait_for_member("dst", GROUP);
        member.run(|| ip("link set dev eth0 down"));
        daemon.wait_for_next("dst down", is_turned("dst", false));
        member.run(|| ip("link set dev eth0 up"));
        daemon.wait_for_next("dst up", is_turned("dst", true));
        daemon.wait_for_next("member again", |event| matches!(event, EventKind::MemberAdded { .. }));
        source.sender().send_to(b"x", (GROUP, PORT)).unwrap();
        assert!(receives(&receiver, PATIENCE));
    });
}

#[test]
fn an_interface_that_is_made_anew_works_again() {
    in_namespace("links::an_interface_that_is_made_anew_works_again", || {
        let source = Host::attach("src", 1);
        let member = Host::attach("dst", 2);
        let mut daemon = Daemon::start(ROUTER);
        ip("link del dev dst");
        drop(member);
        eventually("the multicast interface is gone", || proc_net("ip_mr_vif").len() == 1);
        let member = Host::attach("dst", 2);
        eventually("it is back", || proc_net("ip_mr_vif").len() == 2);
        let receiver = member.join(GROUP, PORT);
        daemon.wait_for_member("dst", GROUP);
        source.sender().send_to(b"x", (GROUP, PORT)).unwrap();
        assert!(receives(&receiver, PATIENCE));
        assert_eq!(daemon.counter("shell-table-refusals"), 0);
    });
}

fn routes(daemon: &Daemon) -> Vec<Route> {
    let Shown::Routes(routes) = daemon.show(Show::Routes) else { panic!() };
    routes.into_iter().filter(|route| route.prefix.addr().is_ipv4()).collect()
}

#[test]
fn routes_come_change_and_vanish_even_when_the_kernel_says_nothing() {
    in_namespace("links::routes_come_change_and_vanish_even_when_the_kernel_says_nothing", || {
        let (_source, _member) = (Host::attach("src", 1), Host::attach("dst", 2));
        let daemon = Daemon::start(ROUTER);
        let to = |prefix: &str| {
            let prefix = prefix.parse().unwrap();
            routes(&daemon)
                .into_iter()
                .filter(|route| route.prefix == prefix)
                .map(|route| (route.interface, route.next_hop.map(|hop| hop.to_string())))
                .collect::<Vec<_>>()
        };
        assert_eq!(to("10.0.1.0/24"), [("src".to_owned(), None)]);
        ip("route add 10.6.0.0/16 dev lo");
        eventually("interfaces that take no part have names too", || to("10.6.0.0/16") == [("lo".to_owned(), None)]);
        ip("route add 10.7.0.0/16 via 10.0.1.9");
        eventually("the route is there", || to("10.7.0.0/16") == [("src".to_owned(), Some("10.0.1.9".to_owned()))]);
        ip("route replace 10.7.0.0/16 via 10.0.2.9");
        eventually("it moved", || to("10.7.0.0/16") == [("dst".to_owned(), Some("10.0.2.9".to_owned()))]);
        ip("route add 10.8.0.0/16 via 10.0.1.9");
        ip("route del 10.8.0.0/16");
        // The kernel drops an interface's IPv4 routes without a word as the interface goes down.
        ip("link set dev dst down");
        eventually("both of its routes are gone", || to("10.7.0.0/16").is_empty() && to("10.0.2.0/24").is_empty());
        assert_eq!(to("10.8.0.0/16"), []);
        assert_eq!(to("10.0.1.0/24").len(), 1);
    });
}

#[test]
fn news_that_was_lost_is_made_up_for() {
    in_namespace("links::news_that_was_lost_is_made_up_for", || {
        let (_source, _member) = (Host::attach("src", 1), Host::attach("dst", 2));
        let daemon = Daemon::start(ROUTER);
        let pid = nix::unistd::Pid::from_raw(daemon.pid() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).unwrap();
        // More news than the stopped daemon's socket holds.
        let directory = tempfile::tempdir().unwrap();
        let batch = directory.path().join("batch");
        let turn = |change: &str| {
            (0..8000)
                .map(|n| format!("route {change} 10.{}.{}.0/24 via 10.0.1.9\n", 100 + n / 250, n % 250))
                .collect::<String>()
        };
        std::fs::write(&batch, turn("add") + &turn("del") + "route add 10.50.0.0/16 via 10.0.1.9\n").unwrap();
        ip(&format!("-batch {}", batch.display()));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGCONT).unwrap();
        eventually("the overrun is noticed", || daemon.counter("shell-netlink-overruns") > 0);
        let left: Vec<String> = routes(&daemon).into_iter().map(|route| route.prefix.to_string()).collect();
        assert_eq!(left, ["10.0.1.0/24", "10.0.2.0/24", "10.50.0.0/16"]);
    });
}
