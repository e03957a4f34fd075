//! The bootstrap mechanism (RFC 5059): routers on random networks agree, and no message breaks one. See [`net`] and [`drive`].

mod drive;
mod net;

use std::time::Duration;

use net::{Net, Plan};
use proptest::prelude::*;

/// BS_Timeout, BS_Rand_Override at its longest, and what a few hops take.
const TAKEOVER: Duration = Duration::from_secs(130 + 23 + 1);
/// A message of the heavier BSR comes within BS_Period; candidate RPs advertise themselves three times within C_RP_Adv_Backoff each;
/// the BSR tells of them BS_Min_Interval later.
const HEALING: Duration = Duration::from_secs(60 + 9 + 10 + 1);

fn connected() -> impl Strategy<Value = Plan> {
    (2usize..6, 2usize..7)
        .prop_flat_map(|(wires, routers)| {
            let on = proptest::collection::btree_set(0..wires, 2..=wires.min(3));
            (Just(wires), proptest::collection::vec(on, routers), any::<u64>())
        })
        .prop_map(|(wires, routers, seed)| Plan { wires, routers, seed })
        .prop_filter("all routers are to be in one piece", Plan::is_connected)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn one_bsr_is_elected_and_all_routers_have_its_rp_set(plan in connected()) {
        let mut net = Net::new(plan);
        // BS_Rand_Override is 5 s for who knows of nobody else; a BSM, advertisements, BS_Min_Interval, a BSM.
        net.run(Duration::from_secs(60));
        net.agree()?;
    }

    #[test]
    fn the_next_one_takes_over_when_the_bsr_dies(plan in connected()) {
        let mut net = Net::new(plan);
        net.run(Duration::from_secs(100));
        let bsr = net.heaviest();
        net.kill(bsr);
        prop_assume!(net.is_connected());
        net.run(TAKEOVER);
        net.same_bsr()?;
        // The dead router's mappings have run out by then, and the others' were never lost.
        net.run(Duration::from_secs(150));
        net.agree()?;
        // It comes back, and is heavier than all.
        net.start(bsr);
        net.run(HEALING);
        net.same_bsr()?;
    }

    #[test]
    fn a_bsr_that_ends_is_replaced_soon(plan in connected()) {
        let mut net = Net::new(plan);
        net.run(Duration::from_secs(100));
        let bsr = net.heaviest();
        net.shutdown(bsr);
        prop_assume!(net.is_connected());
        net.run(Duration::from_secs(23 + 1));
        net.same_bsr()?;
    }

    #[test]
    fn a_parted_domain_has_two_and_a_healed_one_has_one(plan in connected(), wire in any::<prop::sample::Index>()) {
        let wire = wire.index(plan.wires);
        let mut net = Net::new(plan);
        net.run(Duration::from_secs(100));
        net.cut(wire);
        net.run(TAKEOVER + Duration::from_secs(150));
        net.agree()?;
        net.restore(wire);
        net.run(HEALING + Duration::from_secs(60));
        net.agree()?;
    }

    #[test]
    fn whatever_comes_nothing_panics_and_nothing_grows_without_bound(tape in proptest::collection::vec(any::<u8>(), 0..4000)) {
        prop_assert_eq!(drive::drive(&tape), drive::drive(&tape));
    }
}
