//! FRRouting: zebra, which follows the kernel's routes, pimd, which speaks PIM sparse mode and IGMP, and, where the file has `unicast: ospf`,
//! ospfd, whose routes zebra gives to the kernel and to pimd.
//!
//! Everything of theirs lies in the node's directory, `frr/`: configurations, sockets, process ids. All run as root, which in a user
//! namespace is the only user there is.

mod ospf;

use std::fmt::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use router_core::config::{SptSwitchover, StaticJoin};
use router_core::time::Span;

use super::find::{Kind, program_of};
use super::foreign::{Refusals, TAKE_OUT, igmp_at, pim_at, runs_igmp, runs_pim, seconds, units};
use super::{At, DaemonError, Launch, Paths, Program, Readiness};
use crate::topology::plan::Unicast;

const NAME: &str = "FRR";
/// The directory of a node's FRR, in the node's.
pub const DIRECTORY: &str = "frr";
/// The socket, in [`DIRECTORY`], on which pimd answers what vtysh asks.
pub const PIM_VTY: &str = "pimd.vty";
const ZEBRA_SOCKET: &str = "zserv.api";
/// pimd's register interface and, where this router is a rendezvous point by its loopback address, that one take a place in the kernel's
/// table each.
const VIF_LIMIT: usize = 30;
/// A register must have its answer twice before its source is silent for this long.
const SUPPRESSION_LEAST: Duration = Duration::from_secs(11);

/// `igmp` keys that FRR 8.4 has a command for.
const IGMP: [&str; 7] = [
    "enabled",
    "version",
    "query-interval",
    "query-response-interval",
    "last-member-query-interval",
    "last-member-query-count",
    "static-joins",
];
/// `pim` keys that FRR 8.4 has a command for.
const PIM: [&str; 12] = [
    "enabled",
    "hello-period",
    "hello-hold-time",
    "dr-priority",
    "bsr-border",
    "join-prune-period",
    "keepalive-period",
    "rp-keepalive-period",
    "register-suppression-time",
    "spt-switchover",
    "ssm-range",
    "rp",
];

pub(super) fn check(at: &At<'_>) -> Vec<DaemonError> {
    let mut refusals = Refusals::new(at, NAME);
    refusals.sparse_mode_alone();
    refusals.keys(&IGMP, &PIM);
    let pim = &at.router.pim;
    if let Some(SptSwitchover::Kbit(_)) = pim.spt_switchover {
        refusals.add("`spt-switchover` by rate", "use `immediate` or `never`");
    }
    if pim.register_suppression_time.is_some_and(|time| time.get() < SUPPRESSION_LEAST) {
        refusals.add("a `register-suppression-time` below 11s", "it must be more than two register probe times of 5s");
    }
    if pim.rp.iter().flatten().any(|rp| rp.overrides) {
        refusals.add("`override` of a rendezvous point", TAKE_OUT);
    }
    for (index, interface) in at.node.interfaces.iter().enumerate() {
        if interface.ttl_threshold > 1 {
            let what = format!("the TTL threshold {} at {}", interface.ttl_threshold, interface.name);
            refusals.add(what, TAKE_OUT);
        }
        if igmp_at(at, index).version == Some(1) {
            refusals.add(format!("IGMP version 1 at {}", interface.name), "use version 2 or 3");
        }
        if pim_at(at, index).dr_priority == Some(0) {
            refusals.add(format!("`dr-priority: 0` at {}", interface.name), "give 1 or more");
        }
    }
    let vifs = (0..at.node.interfaces.len()).filter(|&index| runs_pim(at, index) || runs_igmp(at, index)).count();
    if vifs > VIF_LIMIT {
        refusals.add(format!("{vifs} multicast interfaces"), format!("give it {VIF_LIMIT} at the most"));
    }
    refusals.all()
}

pub(super) fn prepare(at: &At<'_>, paths: &Paths) -> Result<Launch, DaemonError> {
    let zebra = program_of(&at.node.name, Kind::Frr, "zebra", paths)?;
    let pimd = program_of(&at.node.name, Kind::Frr, "pimd", paths)?;
    let directory = paths.node.join(DIRECTORY);
    let file = |name: &str| directory.join(name).to_string_lossy().into_owned();
    let argv = |program: String, name: &str| {
        let (config, pid) = (file(&format!("{name}.conf")), file(&format!("{name}.pid")));
        let (socket, sockets) = (file(ZEBRA_SOCKET), directory.to_string_lossy().into_owned());
        let words = ["-u", "root", "-g", "root", "-f", &config, "-i", &pid, "-z", &socket, "--vty_socket", &sockets];
        // No port for telnet; the log on standard output, which is the node's `daemon.log`.
        let rest = ["-P", "0", "--log", "stdout", "--log-level", "info"];
        let words = words.into_iter().chain(rest).map(str::to_owned);
        std::iter::once(program).chain(words).collect::<Vec<String>>()
    };
    let vifs = (0..at.node.interfaces.len()).filter(|&index| runs_pim(at, index) || runs_igmp(at, index));
    let vifs = vifs.flat_map(|index| ["--vif".to_owned(), at.interface_name(index).to_owned()]);
    let mut launch = Launch {
        files: vec![
            (PathBuf::from(file("zebra.conf")), format!("hostname {}\n", at.node.name)),
            (PathBuf::from(file("pimd.conf")), configuration(at)),
        ],
        directories: vec![directory.clone()],
        env: Vec::new(),
        programs: vec![
            Program {
                name: "zebra".to_owned(),
                argv: argv(zebra, "zebra"),
                // pimd tries it once, and then again after ten seconds.
                ready: Readiness::Inside { arguments: words(&["ready", "--socket", &file(ZEBRA_SOCKET)]) },
            },
            Program {
                name: "pimd".to_owned(),
                argv: argv(pimd, "pimd"),
                ready: Readiness::Inside {
                    arguments: words(&["ready", "--socket", &file(PIM_VTY)]).into_iter().chain(vifs).collect(),
                },
            },
        ],
    };
    if at.router.unicast == Unicast::Ospf {
        let ospfd = program_of(&at.node.name, Kind::Frr, "ospfd", paths)?;
        launch.files.push((PathBuf::from(file("ospfd.conf")), ospf::configuration(at)));
        let routes = ospf::prefixes(at).into_iter().flat_map(|prefix| ["--route".to_owned(), prefix.to_string()]);
        launch.programs.push(Program {
            name: "ospfd".to_owned(),
            argv: argv(ospfd, "ospfd"),
            ready: Readiness::Inside { arguments: words(&["ready"]).into_iter().chain(routes).collect() },
        });
    }
    Ok(launch)
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// pimd's configuration.
fn configuration(at: &At<'_>) -> String {
    let plan = at.plan;
    let pim = &at.router.pim;
    let mut text = format!("! {} of lab {}\nhostname {}\n", at.node.name, plan.name, at.node.name);
    let mut interfaces = String::new();
    for (index, interface) in at.node.interfaces.iter().enumerate().filter(|(_, i)| i.ipv4().is_some()) {
        let _ = writeln!(interfaces, "interface {}", interface.name);
        if runs_pim(at, index) {
            speak_pim(at, index, &mut interfaces);
        }
        if runs_igmp(at, index) {
            speak_igmp(at, index, &mut interfaces);
        }
        if !interface.boundary.is_empty() {
            let list = format!("boundary-{}", interface.name);
            text.push_str(&prefix_list(&list, "deny", &interface.boundary));
            let _ = writeln!(text, "ip prefix-list {list} permit any");
            let _ = writeln!(interfaces, " ip multicast boundary oil {list}");
        }
        interfaces.push_str("exit\n");
    }
    if let Some(range) = &pim.ssm_range {
        text.push_str(&prefix_list("ssm-range", "permit", range));
        text.push_str("ip pim ssm prefix-list ssm-range\n");
    }
    if let Some(period) = seconds(plan, pim.join_prune_period, 60) {
        let _ = writeln!(text, "ip pim join-prune-interval {period}");
    }
    if let Some(period) = seconds(plan, pim.keepalive_period, 210) {
        let _ = writeln!(text, "ip pim keep-alive-timer {period}");
    }
    // Both ends of a register have to agree on these, and no message tells them: they are never scaled.
    let whole = |span: Span| span.get().as_nanos().div_ceil(1_000_000_000).max(1);
    if let Some(time) = pim.register_suppression_time {
        let _ = writeln!(text, "ip pim register-suppress-time {}", whole(time));
    }
    if let Some(period) = pim.rp_keepalive_period {
        let _ = writeln!(text, "ip pim rp keep-alive-timer {}", whole(period));
    }
    if pim.spt_switchover == Some(SptSwitchover::Never) {
        text.push_str("ip pim spt-switchover infinity-and-beyond\n");
    }
    for rp in pim.rp.iter().flatten() {
        let _ = writeln!(text, "ip pim rp {} {}", rp.address, rp.groups);
    }
    text.push_str(&interfaces);
    // A rendezvous point's address counts as the router's own only on an interface that speaks PIM.
    let is_own = |address: IpAddr| at.node.loopback.iter().any(|net| net.addr() == address);
    if pim.rp.iter().flatten().any(|rp| is_own(rp.address)) {
        text.push_str("interface lo\n ip pim\nexit\n");
    }
    text
}

fn speak_pim(at: &At<'_>, index: usize, text: &mut String) {
    let pim = pim_at(at, index);
    text.push_str(" ip pim\n");
    if let Some(priority) = pim.dr_priority {
        let _ = writeln!(text, " ip pim drpriority {priority}");
    }
    let period = seconds(at.plan, pim.hello_period, 30);
    let hold = match pim.hello_hold_time {
        Some(hold) => Some(hold.get()),
        None => period.map(|_| pim.hello_period.map_or(Duration::from_secs(30), Span::get).mul_f64(3.5)),
    };
    if let Some(hold) = hold {
        let hold = units(at.plan, hold, Duration::from_secs(1));
        let _ = writeln!(text, " ip pim hello {} {hold}", period.unwrap_or(30));
    }
    if pim.bsr_border == Some(true) {
        text.push_str(" no ip pim bsm\n no ip pim unicast-bsm\n");
    }
}

fn speak_igmp(at: &At<'_>, index: usize, text: &mut String) {
    let igmp = igmp_at(at, index);
    text.push_str(" ip igmp\n");
    if let Some(version) = igmp.version {
        let _ = writeln!(text, " ip igmp version {version}");
    }
    let tenths = |value: Option<Span>, default: u64| {
        (value.is_some() || at.plan.timers != 1.0).then(|| {
            let span = value.map_or(Duration::from_secs(default), Span::get);
            units(at.plan, span, Duration::from_millis(100))
        })
    };
    // It refuses a response interval that is not below the query interval, which is 125 s at first.
    let interval = seconds(at.plan, igmp.query_interval, 125).map(|secs| format!(" ip igmp query-interval {secs}\n"));
    let response = tenths(igmp.query_response_interval, 10);
    let text_of_response = response.map(|tenths| format!(" ip igmp query-max-response-time {tenths}\n"));
    let is_first = response.is_some_and(|tenths| tenths < 1250);
    let (one, other) = if is_first { (text_of_response, interval) } else { (interval, text_of_response) };
    text.extend(one.into_iter().chain(other));
    if let Some(interval) = tenths(igmp.last_member_query_interval, 1) {
        let _ = writeln!(text, " ip igmp last-member-query-interval {interval}");
    }
    if let Some(count) = igmp.last_member_query_count {
        let _ = writeln!(text, " ip igmp last-member-query-count {count}");
    }
    for StaticJoin { group, source } in igmp.static_joins.iter().flatten() {
        let source = source.map(|source| format!(" {source}")).unwrap_or_default();
        let _ = writeln!(text, " ip igmp join {group}{source}");
    }
}

fn prefix_list(name: &str, action: &str, prefixes: &[IpNet]) -> String {
    let mut text = String::new();
    for prefix in prefixes.iter().filter(|prefix| prefix.addr().is_ipv4()) {
        let longer = if prefix.prefix_len() < 32 { " le 32" } else { "" };
        let _ = writeln!(text, "ip prefix-list {name} {action} {}{longer}", prefix.trunc());
    }
    text
}
