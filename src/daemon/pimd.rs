//! troglobit's pimd: PIM sparse mode with a bootstrap router of its own.
//!
//! Its process id and what it tells of itself lie in the node's private `/run`. It works in ticks of five seconds.

use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use router_core::config::{Igmp, SptSwitchover};
use router_core::time::Span;

use super::find::{Kind, program_of};
use super::foreign::{Refusals, TAKE_OUT, igmp_at, pim_at, runs_igmp, runs_pim};
use super::{At, DaemonError, Launch, Paths, Program, Readiness};

const NAME: &str = "pimd";
const CONFIG: &str = "pimd.conf";
/// pimd's register interface takes a place in the kernel's table.
const VIF_LIMIT: usize = 31;
/// Least time between two looks at a source's rate.
const TICK: u64 = 5;

/// `igmp` keys that pimd 2.3 has a setting for.
const IGMP: [&str; 3] = ["enabled", "version", "query-interval"];
/// `pim` keys that pimd 2.3 has a setting for.
const PIM: [&str; 7] =
    ["enabled", "hello-period", "dr-priority", "spt-switchover", "rp", "candidate-rp", "candidate-bsr"];

pub(super) fn check(at: &At<'_>) -> Vec<DaemonError> {
    let mut refusals = Refusals::new(at, NAME);
    refusals.sparse_mode_alone();
    refusals.keys(&IGMP, &PIM);
    if at.plan.timers != 1.0 {
        refusals.add(format!("`timers: {}`", at.plan.timers), "take it out: pimd works in ticks of 5 s");
    }
    check_times(at, &mut refusals);
    check_roles(at, &mut refusals);
    for (index, interface) in at.node.interfaces.iter().enumerate().filter(|(_, i)| i.ipv4().is_some()) {
        if !interface.boundary.is_empty() {
            refusals.add(format!("a boundary at {}", interface.name), TAKE_OUT);
        }
        if runs_pim(at, index) != runs_igmp(at, index) {
            let what = format!("PIM without IGMP, or IGMP without PIM, at {}", interface.name);
            refusals.add(what, "enable both or none");
        }
        if igmp_at(at, index).version == Some(1) {
            refusals.add(format!("IGMP version 1 at {}", interface.name), "use version 2 or 3");
        }
        let own = &interface.igmp;
        if own.query_interval.is_some() && own.query_interval != at.router.igmp.query_interval {
            let what = format!("a `query-interval` of its own at {}", interface.name);
            refusals.add(what, "give the router one for all of its interfaces");
        }
        if interface.pim.hello_period.is_some() && interface.pim.hello_period != at.router.pim.hello_period {
            let what = format!("a `hello-period` of its own at {}", interface.name);
            refusals.add(what, "give the router one for all of its interfaces");
        }
        if pim_at(at, index).dr_priority == Some(0) || pim_at(at, index).dr_priority == Some(u32::MAX) {
            refusals.add(format!("this `dr-priority` at {}", interface.name), "give 1 to 4294967294");
        }
    }
    let vifs = (0..at.node.interfaces.len()).filter(|&index| runs_pim(at, index)).count();
    if vifs > VIF_LIMIT {
        refusals.add(format!("{vifs} multicast interfaces"), format!("give it {VIF_LIMIT} at the most"));
    }
    refusals.all()
}

fn check_times(at: &At<'_>, refusals: &mut Refusals<'_>) {
    let is_whole = |span: Span| span.get().subsec_nanos() == 0;
    if at.router.pim.hello_period.is_some_and(|period| period.get() < Duration::from_secs(30) || !is_whole(period)) {
        refusals.add("a `hello-period` below 30s or of broken seconds", "give whole seconds, 30 at the least");
    }
    if at.router.igmp.query_interval.is_some_and(|interval| !is_whole(interval)) {
        refusals.add("a `query-interval` of broken seconds", "give whole seconds");
    }
    let (key, interval) =
        ("candidate-rp", at.router.pim.candidate_rp.as_ref().and_then(|candidate| candidate.interval));
    let fits = |span: Span| is_whole(span) && (10..=16383).contains(&span.get().as_secs());
    if interval.is_some_and(|span| !fits(span)) {
        refusals.add(format!("this `interval` of `{key}`"), "give whole seconds, 10 to 16383");
    }
}

fn check_roles(at: &At<'_>, refusals: &mut Refusals<'_>) {
    let pim = &at.router.pim;
    let is_on_an_interface = |address: IpAddr| {
        let mut addresses = at.node.interfaces.iter().flat_map(|interface| &interface.addresses);
        addresses.any(|net| net.addr() == address)
    };
    const ON_AN_INTERFACE: &str = "give the address of an interface: pimd does not know its loopback's as its own";
    if let Some(candidate) = &pim.candidate_bsr {
        if !is_on_an_interface(candidate.address) {
            refusals.add(format!("`candidate-bsr` with the address {}", candidate.address), ON_AN_INTERFACE);
        }
        if candidate.hash_mask_length != 30 {
            refusals.add("`hash-mask-length` of `candidate-bsr`", "take it out: pimd has 30");
        }
        if candidate.interval.is_some() {
            refusals.add("`interval` of `candidate-bsr`", "take it out: pimd has 60s");
        }
        if !candidate.zones.is_empty() {
            refusals.add("`zones` of `candidate-bsr`", TAKE_OUT);
        }
    }
    if let Some(candidate) = &pim.candidate_rp
        && !is_on_an_interface(candidate.address)
    {
        refusals.add(format!("`candidate-rp` with the address {}", candidate.address), ON_AN_INTERFACE);
    }
    for rp in pim.rp.iter().flatten() {
        if rp.overrides {
            refusals.add("`override` of a rendezvous point", TAKE_OUT);
        }
        if at.node.loopback.iter().any(|net| net.addr() == rp.address) {
            refusals.add(format!("the rendezvous point {}", rp.address), ON_AN_INTERFACE);
        }
    }
}

pub(super) fn prepare(at: &At<'_>, paths: &Paths) -> Result<Launch, DaemonError> {
    let program = program_of(&at.node.name, Kind::Pimd, Kind::Pimd.program(), paths)?;
    let config = paths.node.join(CONFIG);
    let path = config.to_string_lossy().into_owned();
    let vifs = (0..at.node.interfaces.len()).filter(|&index| runs_pim(at, index));
    let vifs = vifs.flat_map(|index| ["--vif".to_owned(), at.interface_name(index).to_owned()]);
    Ok(Launch {
        directories: Vec::new(),
        files: vec![(config, configuration(at))],
        env: Vec::new(),
        programs: vec![Program {
            name: Kind::Pimd.program().to_owned(),
            // In the foreground, and no interface but those that the file enables.
            argv: [program.as_str(), "-f", "-N", "-s", "info", "-c", &path].map(str::to_owned).to_vec(),
            ready: Readiness::Inside { arguments: std::iter::once("ready".to_owned()).chain(vifs).collect() },
        }],
    })
}

/// Its configuration; the order of the settings matters.
fn configuration(at: &At<'_>) -> String {
    let pim = &at.router.pim;
    let mut text = format!("# {} of lab {}\n", at.node.name, at.plan.name);
    if let Some(period) = pim.hello_period {
        let _ = writeln!(text, "hello-interval {}", period.get().as_secs());
    }
    for (index, interface) in at.node.interfaces.iter().enumerate().filter(|(_, i)| i.ipv4().is_some()) {
        if !runs_pim(at, index) {
            continue;
        }
        let _ = write!(text, "phyint {} enable", interface.name);
        if let Igmp { version: Some(version), .. } = igmp_at(at, index) {
            let _ = write!(text, " igmpv{version}");
        }
        if let Some(priority) = pim_at(at, index).dr_priority {
            let _ = write!(text, " dr-priority {priority}");
        }
        let _ = writeln!(text, " ttl-threshold {}", interface.ttl_threshold.max(1));
    }
    // Unset, its query interval would be 12 s and not the RFC's. Its robustness is 3, its response interval 10 s.
    let interval = at.router.igmp.query_interval.map_or(125, |interval| interval.get().as_secs());
    let _ = writeln!(text, "igmp-query-interval {interval}\nigmp-querier-timeout {}", 3 * interval + 5);
    if let Some(candidate) = &pim.candidate_bsr {
        let _ = writeln!(text, "bsr-candidate {} priority {}", candidate.address, candidate.priority);
    }
    if let Some(candidate) = &pim.candidate_rp {
        let interval = candidate.interval.map_or(60, |interval| interval.get().as_secs());
        let _ = writeln!(text, "rp-candidate {} priority {} time {interval}", candidate.address, candidate.priority);
        for groups in &candidate.groups {
            let _ = writeln!(text, "group-prefix {}", with_length(*groups));
        }
    }
    for rp in pim.rp.iter().flatten() {
        let _ = writeln!(text, "rp-address {} {}", rp.address, with_length(rp.groups));
    }
    let _ = match pim.spt_switchover.unwrap_or_default() {
        SptSwitchover::Immediate => writeln!(text, "spt-threshold packets 0 interval {TICK}"),
        SptSwitchover::Never => writeln!(text, "spt-threshold infinity"),
        SptSwitchover::Kbit(rate) => writeln!(text, "spt-threshold rate {rate} interval {TICK}"),
    };
    text
}

fn with_length(prefix: IpNet) -> String {
    format!("{} masklen {}", prefix.network(), prefix.prefix_len())
}
