//! Sparse mode routers together deliver what they should, and keep nothing that nobody needs.

mod drive;
mod net;
mod scale;

use std::net::Ipv4Addr;
use std::time::Duration;

use net::{Change, Net, PACKETS_EVERY, Plan};
use proptest::prelude::*;

/// Triggered_Hello_Delay, and some wrong-interface upcalls.
const MEET_MS: u64 = 1500;
/// A rendezvous point that starts again learns of a source whose registers it stopped with the next probe: 1.5 Register_Suppression_Time.
const SUPPRESSED_MS: u64 = 10_000;
const ASM: Ipv4Addr = Ipv4Addr::new(239, 1, 1, 1);
const SSM: Ipv4Addr = Ipv4Addr::new(232, 1, 1, 1);

fn plans() -> impl Strategy<Value = Plan> {
    (2usize..6)
        .prop_flat_map(|wires| {
            let router = proptest::collection::btree_set(0..wires, 2..=wires.min(4));
            let routers = proptest::collection::vec(router, 1..6);
            let sources = proptest::collection::btree_set(0..wires, 1..3);
            let more = prop_oneof![3 => Just(""), 1 => Just(", spt-switchover: never")];
            (Just(wires), routers, any::<prop::sample::Index>(), sources, any::<prop::sample::Index>(), more)
        })
        .prop_map(|(wires, routers, rp, sources, ssm, more)| {
            let rp = rp.index(routers.len());
            let group = if ssm.index(4) == 0 { SSM } else { ASM };
            Plan { wires, routers, rp, group, sources, more }
        })
}

fn changes() -> impl Strategy<Value = Vec<(u64, Change)>> {
    let change = prop_oneof![
        4 => (0usize..6).prop_map(Change::Join),
        2 => (0usize..6).prop_map(Change::Leave),
        1 => (0usize..2).prop_map(Change::Start),
        1 => (0usize..2).prop_map(Change::Stop),
        1 => (0usize..6).prop_map(Change::Fail),
        1 => (0usize..6).prop_map(Change::Restore),
        1 => (0usize..6).prop_map(Change::Restart),
    ];
    proptest::collection::vec((0u64..8000, change), 0..12)
}

/// How many networks are tried: `NET_CASES`, for a longer search.
fn cases() -> u32 {
    std::env::var("NET_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(60)
}

/// Copies of the packets of a while from now on, by wire and source.
fn look(net: &mut Net, packets: u32) {
    net.copies.clear();
    net.run_for(PACKETS_EVERY * packets + PACKETS_EVERY / 2);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2 * cases(), max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_inputs_leave_the_router_whole_and_nothing_lasts(tape in proptest::collection::vec(any::<u8>(), 0..3000)) {
        let first = drive::drive(&tape);
        prop_assert_eq!(first, drive::drive(&tape));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn once_all_is_quiet_each_member_has_each_packet_once(plan in plans(), changes in changes(), seed: u64, loss in 0u64..6) {
        let mut net = Net::new(plan, seed);
        net.loss = if loss == 1 { 0 } else { loss };
        for (pause, change) in &changes {
            net.run_for(Duration::from_millis(*pause));
            net.change(change);
        }
        net.loss = 0;
        // Hellos, the longest join, prune or assert.
        net.run_for(Duration::from_secs(60));
        look(&mut net, 100);
        for from in net.sending.clone() {
            let reached = net.reached(from);
            for wire in 0..net.plan.wires {
                let copies = net.copies.get(&(wire, from)).cloned().unwrap_or_default();
                // The last ones may be under way.
                let whole = copies.values().filter(|copies| **copies == 1).count();
                let wanted = wire != from && net.members.contains(&wire) && reached.contains(&wire);
                prop_assert!(!wanted || whole >= 99, "wire {wire} from {from}: {whole} of 100\n{}", net.told());
                let most = copies.values().max().copied().unwrap_or(0);
                prop_assert!(most <= 1, "wire {wire} from {from}: {most} copies\n{}", net.told());
                if wire != from && net.members.iter().all(|member| *member == from) {
                    prop_assert!(copies.is_empty(), "wire {wire} from {from}: nobody wants it\n{}", net.told());
                }
            }
        }
        // Members and sources end: so does what was kept of them.
        for wire in 0..net.plan.wires {
            net.change(&Change::Leave(wire));
        }
        net.sending.clear();
        net.run_for(Duration::from_secs(90));
        prop_assert!(net.left().is_empty(), "{:?}", net.left());
    }

    /// Without loss, whoever joins has the stream after a moment; and whatever fails, comes back or starts again, members have the stream
    /// again once neighbours have met.
    #[test]
    fn members_have_the_stream_at_once(plan in plans(), changes in changes(), seed: u64) {
        let mut net = Net::new(plan, seed);
        net.run_for(Duration::from_secs(5));
        for (pause, change) in &changes {
            net.run_for(Duration::from_millis(*pause));
            net.change(change);
            let restarts_rp = matches!(change, Change::Restart(router) if router % net.plan.routers.len() == net.plan.rp);
            net.run_for(Duration::from_millis(match change {
                Change::Join(_) => 500,
                _ if restarts_rp => SUPPRESSED_MS,
                _ => MEET_MS,
            }));
            look(&mut net, 5);
            for from in net.sending.clone() {
                let reached = net.reached(from);
                for wire in net.members.iter().filter(|wire| reached.contains(wire) && **wire != from) {
                    let copies = net.copies.get(&(*wire, from)).map(|copies| copies.len()).unwrap_or(0);
                    prop_assert!(copies >= 4, "wire {wire} from {from}: {copies} of 5 after {change:?}\n{}", net.told());
                }
            }
        }
    }
}
