//! The agent's paths against the oracle's, which come from another algorithm.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::oracle::{Hop as Step, Paths as OraclePaths, World};
use crate::routes::fixture::Lab;
use crate::topology::steps::{Cut, CutKind};

#[derive(Clone, Debug)]
struct Network {
    routers: usize,
    /// By router, whether it has static unicast.
    takes_part: Vec<bool>,
    /// Cost and the routers on it.
    wires: Vec<(u32, BTreeSet<usize>)>,
    /// Wires of a host and one or more routers.
    stubs: Vec<(u32, BTreeSet<usize>)>,
    /// Wires that fail: the wire, and one end of it alone or the whole.
    cuts: Vec<(usize, Option<usize>)>,
}

fn networks() -> impl Strategy<Value = Network> {
    (2..8_usize).prop_flat_map(|routers| {
        let some = move |least: usize| prop::collection::btree_set(0..routers, least..=routers.min(least + 2));
        (
            prop::collection::vec(prop::bool::weighted(0.9), routers),
            prop::collection::vec((1..4_u32, some(2)), 1..14),
            prop::collection::vec((1..4_u32, some(1)), 1..4),
            prop::collection::vec((any::<prop::sample::Index>(), prop::option::of(any::<prop::sample::Index>())), 0..3),
        )
            .prop_map(move |(takes_part, wires, stubs, cuts)| {
                let cuts = cuts.into_iter().map(|(wire, end)| {
                    let wire = wire.index(wires.len());
                    (wire, end.map(|end| end.index(wires[wire].1.len())))
                });
                Network { routers, takes_part, cuts: cuts.collect(), wires, stubs }
            })
    })
}

/// The plan: wires between routers first, then those with a host.
fn plan_of(network: &Network) -> Plan {
    let names: Vec<String> = (0..network.routers).map(|n| format!("r{n}")).collect();
    let hosts: Vec<String> = (0..network.stubs.len()).map(|n| format!("h{n}")).collect();
    let mut lab = Lab::new();
    for name in &names {
        lab = lab.routers(&[name]);
    }
    for name in &hosts {
        lab = lab.hosts(&[name]);
    }
    for (name, _) in names.iter().zip(&network.takes_part).filter(|(_, takes_part)| !**takes_part) {
        lab = lab.without_unicast(name);
    }
    for (cost, on) in &network.wires {
        lab = lab.wire(*cost, &on.iter().map(|n| names[*n].as_str()).collect::<Vec<_>>());
    }
    for ((cost, on), host) in network.stubs.iter().zip(&hosts) {
        let mut on: Vec<&str> = on.iter().map(|n| names[*n].as_str()).collect();
        on.push(host);
        lab = lab.wire(*cost, &on);
    }
    lab.plan()
}

proptest! {
    #[test]
    fn every_route_is_one_of_the_oracles_and_none_is_missing(network in networks()) {
        let plan = plan_of(&network);
        let (mut usable, mut world) = (Usable::all(&plan), World::new());
        for &(wire, end) in &network.cuts {
            let ends = &plan.wires[wire].ends;
            let end = end.map(|end| ends[end]);
            for at in ends.iter().filter(|at| end.is_none_or(|end| end == **at)) {
                usable.set(*at, false);
            }
            world.fail(&Cut { wire: WireId(wire), end, how: CutKind::Silent, detected_after: None });
        }
        let tables = Paths::new(&plan).tables(&usable);
        let oracle = OraclePaths::of(&plan, &world);
        for stub in network.wires.len()..plan.wires.len() {
            let wire = &plan.wires[stub];
            for router in plan.node_ids().filter(|id| plan.node(*id).is_router()) {
                let attached = wire.ends.iter().any(|end| end.node == router);
                let expected = (!attached && network.takes_part[router.0])
                    .then(|| oracle.cost_to_wire(&plan, router, WireId(stub)))
                    .flatten();
                for prefix in &wire.subnets {
                    let hop = tables[router.0].get(prefix);
                    prop_assert_eq!(hop.map(|hop| u64::from(hop.metric)), expected, "{} to {}", router, prefix);
                    let Some(hop) = hop else { continue };
                    let next = Attachment { node: router, interface: hop.interface };
                    let steps: BTreeSet<Step> = wire
                        .ends
                        .iter()
                        .filter(|end| network.takes_part.get(end.node.0) == Some(&true))
                        .filter(|end| oracle.cost(router, end.node).map(|c| c + u64::from(wire.cost)) == expected)
                        .flat_map(|end| oracle.next_hops(router, end.node))
                        .collect();
                    let fits = |step: &&Step| {
                        step.out == next && plan.interface(step.into).addresses.iter().any(|a| a.addr() == hop.address)
                    };
                    prop_assert!(steps.iter().any(|step| fits(&step)), "{:?} is none of {:?}", hop, steps);
                }
            }
        }
    }
}
