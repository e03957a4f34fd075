//! How long a scenario can take.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Options;
use crate::oracle::{self, Deadlines};
use crate::topology::plan::Plan;
use crate::topology::steps::{Action, Deadline, Expectation, Scenario};

/// The longest that a scenario can take by its own steps, with what starting and stopping may add: who runs it gives up after that.
pub fn time_limit(plan: &Plan, scenario: &Scenario, options: &Options) -> Duration {
    let world = oracle::World::new();
    let deadlines = Deadlines::new(plan, &world).with_slack(options.slack);
    let span = |deadline: &Deadline| match deadline {
        Deadline::After(time) => *time,
        // With every group: the membership interval bounds what a leave may take with IGMPv1 members.
        formula @ Deadline::Formula(_) => {
            let interval = plan.wire_ids().map(|w| deadlines.group_membership_interval(w)).max().unwrap_or_default();
            deadlines.resolve(*formula, &[], None).max(interval + options.slack)
        }
    };
    let mut counted: BTreeMap<usize, Duration> = BTreeMap::new();
    for (n, step) in scenario.steps.iter().enumerate() {
        let own = match &step.action {
            Action::Wait { time } => *time,
            Action::Run { .. } => options.command_limit,
            Action::Restart { .. } | Action::Kill { .. } => Duration::from_secs(20),
            Action::Expect(expectation) => match expectation {
                Expectation::Delivered { within, lasting, .. } | Expectation::Quiet { within, lasting, .. } => {
                    span(within) + *lasting
                }
                Expectation::NotDelivered { lasting, .. } => *lasting,
                Expectation::Outage { below, within, .. } => span(within) + span(below),
                Expectation::JoinLatency { below, .. } | Expectation::LeaveLatency { below, .. } => span(below),
                Expectation::Seen { within, .. }
                | Expectation::Member { within, .. }
                | Expectation::Querier { within, .. }
                | Expectation::Neighbours { within, .. }
                | Expectation::DesignatedRouter { within, .. }
                | Expectation::Rp { within, .. }
                | Expectation::Tree { within, .. }
                | Expectation::Entry { within, .. }
                | Expectation::Scope { within, .. }
                | Expectation::Command { within, .. } => span(within),
            },
            _ => Duration::ZERO,
        };
        // Each step may drain its streams, settle, and wait for a busy machine.
        counted.insert(n, own + Duration::from_secs(5));
    }
    let delays: Duration = plan.wires.iter().map(|w| w.impairment.delay + w.impairment.jitter).sum();
    counted.values().sum::<Duration>()
        + delays * u32::try_from(scenario.steps.len()).unwrap_or(u32::MAX)
        + Duration::from_secs(30)
}
