//! Any octets as a topology file: a plan or faults, both of which can be shown.

#![no_main]

use libfuzzer_sys::fuzz_target;
use testbed::topology;

fuzz_target!(|octets: &[u8]| {
    match topology::parse_octets("fuzz.yaml", octets.to_vec()) {
        Ok(plan) => {
            assert!(!topology::graph::text(&plan).is_empty());
            for node in plan.nodes.iter().flat_map(|node| &node.interfaces) {
                assert!((1..=15).contains(&node.name.len()));
            }
        }
        Err(faults) => {
            assert!(!faults.list.is_empty());
            assert!(!faults.render(false).is_empty());
            assert!(!faults.render(true).is_empty());
        }
    }
});
