//! Which pairs of a state and an event were reached, as a table.

use std::fmt::Write as _;

use router_core::coverage::{Machine, Pair};
use serde_json::json;

use super::search::Tally;

/// How often a pair was reached: in so many runs.
fn runs(tally: &Tally, machine: Machine, state: usize, event: usize) -> u64 {
    tally.reached.get(&Pair { machine, state, event }).copied().unwrap_or(0)
}

/// Of each machine that did anything: events down, states across, in each place the number of runs that reached the pair.
pub fn table(tally: &Tally) -> String {
    let mut out = String::new();
    let mut idle = Vec::new();
    for machine in Machine::ALL {
        let table = machine.table();
        let reached = tally.reached.keys().filter(|pair| pair.machine == machine).count();
        if reached == 0 {
            idle.push(table.name);
            continue;
        }
        let all = table.states.len() * table.events.len();
        let _ = writeln!(out, "{}: {reached} of {all} pairs", table.name);
        let first = table.events.iter().map(|event| event.len()).max().unwrap_or(0);
        let _ = write!(out, "  {:first$}", "");
        for state in table.states {
            let _ = write!(out, "  {state:>9}");
        }
        out.push('\n');
        for (event, name) in table.events.iter().enumerate() {
            let _ = write!(out, "  {name:first$}");
            for (state, of) in table.states.iter().enumerate() {
                let width = of.len().max(9);
                let _ = match runs(tally, machine, state, event) {
                    0 => write!(out, "  {:>width$}", "-"),
                    runs => write!(out, "  {runs:>width$}"),
                };
            }
            out.push('\n');
        }
    }
    if !idle.is_empty() {
        let _ = writeln!(out, "not in use: {}", idle.join(", "));
    }
    out
}

/// The same of one machine, for machines.
pub fn json(machine: Machine, tally: &Tally) -> serde_json::Value {
    let table = machine.table();
    let rows: Vec<Vec<u64>> = (0..table.states.len())
        .map(|state| (0..table.events.len()).map(|event| runs(tally, machine, state, event)).collect())
        .collect();
    json!({"machine": table.name, "states": table.states, "events": table.events, "runs": rows})
}
