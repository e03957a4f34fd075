//! `testbed doctor`: say what this machine can and cannot do.

use std::fs;
use std::io::IsTerminal as _;
use std::path::PathBuf;

use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::geteuid;
use serde::Serialize;

use super::{Failure, Outcome, Result};
use crate::daemon;
use crate::lab;
use crate::lab::probe::{Found, probe};
use crate::network::kernel::needs::{self, Feature};
use crate::topology;
use crate::topology::plan::{Daemon, Plan};

/// Octets of receive buffer that a burst of a fast stream needs.
const RECEIVE_BUFFER_WANTED: u64 = 4 << 20;
/// Nodes of a large topology.
const NODES_WANTED: u64 = 300;

/// Arguments of `testbed doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Say what these topology files need, beside what there is
    files: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// As labs want it.
    Good,
    /// There, but less than could be wanted.
    Limited,
    /// Not there.
    Missing,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    state: State,
    /// What was found.
    found: String,
    /// What its lack costs a topology.
    #[serde(skip_serializing_if = "Option::is_none")]
    costs: Option<String>,
    /// How to mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
    /// What of the given files needs it, if it is not there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    needed_by: Vec<String>,
    /// No lab works without it.
    #[serde(skip)]
    vital: bool,
    #[serde(skip)]
    feature: Option<Feature>,
}

impl Check {
    fn good(name: &'static str, found: impl Into<String>) -> Check {
        Check {
            name,
            state: State::Good,
            found: found.into(),
            costs: None,
            mend: None,
            needed_by: Vec::new(),
            vital: false,
            feature: None,
        }
    }

    fn bad(name: &'static str, state: State, found: impl Into<String>, costs: &str, mend: &str) -> Check {
        Check { state, costs: Some(costs.into()), mend: Some(mend.into()), ..Check::good(name, found) }
    }
}

/// Runs the verb. Exit code 3 if no lab can be built, or not those of the given files.
pub fn run(args: Args) -> Result {
    let terminal = std::io::stderr().is_terminal();
    let load = |file: &PathBuf| topology::load(file).map_err(|faults| Failure::bad_input(faults.render(terminal)));
    let plans = args.files.iter().map(load).collect::<std::result::Result<Vec<Plan>, Failure>>()?;
    let found = probe().map_err(|error| Failure::machine(format!("cannot find out what works here: {error}")))?;
    let mut checks = vec![rights(&found)];
    if found.impossible.is_none() {
        checks.extend(Feature::ALL.map(|feature| of_feature(feature, &found)));
        checks.push(own_proc(&found));
    }
    checks.extend([namespace_limit(&plans), open_files(&plans), receive_buffer()]);
    checks.extend(programs(&plans));
    for plan in &plans {
        for (feature, _, by) in needs::wanted(plan) {
            let lacking = checks.iter_mut().filter(|c| c.feature == Some(feature) && c.state == State::Missing);
            lacking.for_each(|check| check.needed_by.push(format!("{} ({})", by, plan.file)));
        }
    }
    let unusable = checks.iter().any(|c| c.state == State::Missing && (c.vital || !c.needed_by.is_empty()));
    if args.json {
        let text = serde_json::to_string_pretty(&checks);
        println!("{}", text.map_err(|error| Failure::machine(error.to_string()))?);
    } else {
        print(&checks);
    }
    Ok(if unusable { Outcome::Machine } else { Outcome::Held }.into())
}

fn print(checks: &[Check]) {
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    for check in checks {
        let state = match check.state {
            State::Good => "good",
            State::Limited => "limited",
            State::Missing => "missing",
        };
        println!("{state:<8} {:<width$}  {}", check.name, check.found);
        let more = [("costs", &check.costs), ("mend", &check.mend)];
        for (what, text) in more {
            if let Some(text) = text {
                println!("{:<8} {:<width$}  {what}: {text}", "", "");
            }
        }
        for by in &check.needed_by {
            println!("{:<8} {:<width$}  needed by {by}", "", "");
        }
    }
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn number(path: &str) -> Option<u64> {
    read(path)?.parse().ok()
}

/// Whether this user may make namespaces.
fn rights(found: &Found) -> Check {
    let who = if geteuid().is_root() { "root".to_owned() } else { format!("uid {}", geteuid()) };
    let Some(why) = &found.impossible else {
        let how = if found.in_user_namespace { "in a user namespace" } else { "with the privileges that it has" };
        return Check { vital: true, ..Check::good("rights", format!("{who} can make namespaces, {how}")) };
    };
    let mend = if number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1) {
        "AppArmor restricts user namespaces: `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`, give the program a \
         profile with `userns`, or run as root"
    } else if number("/proc/sys/kernel/unprivileged_userns_clone") == Some(0) {
        "`sysctl -w kernel.unprivileged_userns_clone=1`, or run as root"
    } else if number("/proc/sys/user/max_user_namespaces") == Some(0) {
        "`sysctl -w user.max_user_namespaces=10000`, or run as root"
    } else {
        "run as root with CAP_SYS_ADMIN; in a container, allow unshare, mount and setns (Docker: --privileged, or \
         --cap-add SYS_ADMIN --cap-add NET_ADMIN with seccomp and AppArmor unconfined)"
    };
    let check = Check::bad("rights", State::Missing, format!("{who}: {why}"), "no lab can be built", mend);
    Check { vital: true, ..check }
}

/// A feature's name, what its lack costs, how to mend it, and whether no lab works without.
fn about(feature: Feature) -> (&'static str, &'static str, &'static str, bool) {
    let no_lab = "no lab can be built";
    match feature {
        Feature::Namespaces => {
            ("network namespaces", no_lab, "a kernel with CONFIG_NET_NS; see the limit of namespaces below", true)
        }
        Feature::Veth => ("veth", no_lab, "`modprobe veth` (CONFIG_VETH)", true),
        Feature::Bridge => ("bridge", "no LANs", "`modprobe bridge` (CONFIG_BRIDGE)", true),
        Feature::Snooping => {
            ("snooping", "LANs with `snooping: true` are refused", "a kernel with CONFIG_BRIDGE_IGMP_SNOOPING", false)
        }
        Feature::Cuts => (
            "silent cuts",
            "`fail: {how: silent}` is refused",
            "`modprobe nf_tables` (Linux 5.16 with CONFIG_NF_TABLES_NETDEV and CONFIG_NETFILTER_EGRESS)",
            false,
        ),
        Feature::Loss => {
            ("random loss", "links with `loss` are refused", "`modprobe nft_numgen` (CONFIG_NFT_NUMGEN)", false)
        }
        Feature::Drops => (
            "single losses",
            "the step `drop` is refused",
            "`modprobe nft_numgen` (CONFIG_NFT_NUMGEN; Linux 5.16 with CONFIG_NETFILTER_EGRESS)",
            false,
        ),
        Feature::Rate => ("rate", "links with `rate` are refused", "`modprobe sch_tbf` (CONFIG_NET_SCH_TBF)", false),
        Feature::Delay => (
            "delay",
            "links with `delay` or `jitter` are refused",
            "`modprobe sch_netem` (CONFIG_NET_SCH_NETEM; Fedora: the package kernel-modules-extra)",
            false,
        ),
        Feature::Ipv6 => ("IPv6", "nodes have no IPv6 addresses", "boot without ipv6.disable=1 (CONFIG_IPV6)", false),
        Feature::Settings => (
            "kernel settings",
            "/proc/sys is read-only: interfaces are set one by one over netlink, IPv6 is not forwarded, and a socket joins at most \
             20 groups",
            "mount /proc/sys read-write (Docker: --privileged, or --security-opt systempaths=unconfined)",
            false,
        ),
        Feature::Multicast => (
            "multicast routing",
            "no router forwards multicast",
            "a kernel with CONFIG_IP_MROUTE and CONFIG_IP_PIMSM_V2",
            true,
        ),
        Feature::Multicast6 => {
            ("IPv6 multicast routing", "no router forwards IPv6 multicast", "a kernel with CONFIG_IPV6_MROUTE", false)
        }
        Feature::Captures => (
            "captures",
            "scenarios cannot watch wires, and nothing can be captured",
            "`modprobe af_packet` (CONFIG_PACKET)",
            true,
        ),
    }
}

fn of_feature(feature: Feature, found: &Found) -> Check {
    let (name, costs, mend, vital) = about(feature);
    let check = match found.features.get(&feature) {
        Some(None) => Check::good(name, "works"),
        Some(Some(why)) => Check::bad(name, State::Missing, why.clone(), costs, mend),
        None => Check::bad(name, State::Missing, "was not tried", costs, mend),
    };
    Check { vital, feature: Some(feature), ..check }
}

fn own_proc(found: &Found) -> Check {
    match &found.no_proc {
        None => Check::good("own /proc", "shows a lab's processes alone"),
        Some(why) => Check::bad(
            "own /proc",
            State::Limited,
            why.clone(),
            "`ps` in a node shows the host's processes",
            "a container that does not mask /proc (Docker: --security-opt systempaths=unconfined)",
        ),
    }
}

fn largest(plans: &[Plan]) -> u64 {
    let sites = |plan: &Plan| (plan.nodes.len() + plan.wires.len()) as u64;
    plans.iter().map(sites).max().unwrap_or(NODES_WANTED)
}

fn namespace_limit(plans: &[Plan]) -> Check {
    let wanted = largest(plans);
    match number("/proc/sys/user/max_net_namespaces") {
        Some(limit) if limit < wanted => Check {
            vital: !plans.is_empty(),
            ..Check::bad(
                "namespace limit",
                if plans.is_empty() { State::Limited } else { State::Missing },
                format!("at most {limit} network namespaces, {wanted} wanted"),
                "topologies with more nodes and LANs cannot be built",
                "`sysctl -w user.max_net_namespaces=10000`",
            )
        },
        Some(limit) => Check::good("namespace limit", format!("at most {limit} network namespaces")),
        None => Check::good("namespace limit", "none"),
    }
}

fn open_files(plans: &[Plan]) -> Check {
    let wanted = largest(plans);
    let hard = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(_, hard)| hard);
    let sites = lab::sites_for(hard);
    let found = format!("at most {hard}: enough for {sites} nodes and wires");
    if sites >= wanted {
        return Check::good("open files", found);
    }
    Check {
        vital: !plans.is_empty(),
        ..Check::bad(
            "open files",
            if plans.is_empty() { State::Limited } else { State::Missing },
            format!("{found}, {wanted} wanted"),
            "larger topologies cannot be built",
            "raise the hard limit (`ulimit -Hn 65536`, or nofile in /etc/security/limits.conf)",
        )
    }
}

fn receive_buffer() -> Check {
    let name = "receive buffers";
    match number("/proc/sys/net/core/rmem_max") {
        Some(limit) if limit < RECEIVE_BUFFER_WANTED => Check::bad(
            name,
            State::Limited,
            format!("at most {limit} octets"),
            "bursts of fast streams may overflow a receiver; the loss is counted, and makes a verdict inconclusive",
            "`sysctl -w net.core.rmem_max=16777216`",
        ),
        Some(limit) => Check::good(name, format!("at most {limit} octets")),
        None => Check::good(name, "no limit is shown"),
    }
}

/// The daemons that a router can run.
fn programs(plans: &[Plan]) -> Vec<Check> {
    let known = daemon::Kind::ALL.map(|kind| {
        let (costs, wanted) = match kind {
            daemon::Kind::RouterCore => {
                ("no router forwards multicast, unless its file says another daemon", Daemon::RouterCore)
            }
            daemon::Kind::Smcroute => ("routers with `daemon: smcroute` cannot start", Daemon::Smcroute),
            daemon::Kind::Frr => ("routers with `daemon: frr` cannot start", Daemon::Frr),
            daemon::Kind::Pimd => ("routers with `daemon: pimd` cannot start", Daemon::Pimd),
        };
        let mut check = match daemon::find(kind) {
            Some(found) if found.version.is_empty() => Check::good(kind.name(), found.path.display().to_string()),
            Some(found) => Check::good(kind.name(), format!("{} ({})", found.path.display(), found.version)),
            None => Check::bad(kind.name(), State::Missing, "not found", costs, kind.remedy()),
        };
        if check.state == State::Missing {
            for plan in plans {
                let by = plan.nodes.iter().find(|node| node.router().is_some_and(|r| r.daemon == wanted));
                check.needed_by.extend(by.map(|node| format!("the router {} ({})", node.name, plan.file)));
            }
        }
        check
    });
    let mrouted = daemon::search_path().into_iter().map(|place| place.join("mrouted")).find(|path| path.is_file());
    let other = match mrouted {
        Some(path) => Check::good("mrouted", format!("{} (usable with `daemon: {{exec: ...}}`)", path.display())),
        None => Check::bad(
            "mrouted",
            State::Limited,
            "not found",
            "nothing, unless a file runs it with `daemon: {exec: ...}`",
            "install its package, if it is wanted",
        ),
    };
    known.into_iter().chain([other]).collect()
}
