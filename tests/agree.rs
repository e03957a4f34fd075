//! `testbed agree` through the binary: a lab on the kernel beside the simulator.

mod support;

use std::time::Duration;

use support::{Scratch, repository};

const LIMIT: Duration = Duration::from_secs(200);

#[test]
fn the_first_topology_is_the_same_on_the_kernel_and_in_the_simulator() {
    let scratch = Scratch::new();
    let file = repository("topologies/first-light.yaml");
    let run = scratch.run(["agree".as_ref(), file.as_os_str(), "--filter".as_ref(), "joining".as_ref()], LIMIT);
    run.expect_code(0).expect_said("first-light/joining: both agree (passed on the kernel)");
}

#[test]
fn what_cannot_be_compared_is_listed() {
    let scratch = Scratch::new();
    let file = repository("topologies/static-smcroute.yaml");
    let run = scratch.run(["agree".as_ref(), file.as_os_str()], LIMIT);
    run.expect_code(0).expect_said("static-smcroute/delivery: left out: r1: smcroute does not run in the simulator");
}
