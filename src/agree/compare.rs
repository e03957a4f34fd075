//! How two pictures of one scenario differ.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use super::picture::Picture;
use crate::scenario::{ScenarioReport, Verdict};

/// Something that is not the same on the kernel and in the simulator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What, and where.
    pub what: String,
    /// What it is on the kernel.
    pub kernel: String,
    /// What it is in the simulator.
    pub simulated: String,
}

/// All differences between a scenario's run on the kernel and in the simulator. What the kernel's run could not judge is left out.
pub fn differences(kernel: (&ScenarioReport, &Picture), simulated: (&ScenarioReport, &Picture)) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut verdict = |what: String, kernel: Verdict, simulated: Verdict| {
        if kernel != simulated && kernel != Verdict::Inconclusive {
            let (kernel, simulated) = (kernel.word().to_owned(), simulated.word().to_owned());
            found.push(Difference { what, kernel, simulated });
        }
    };
    for (one, other) in kernel.0.steps.iter().zip(&simulated.0.steps) {
        verdict(format!("line {}: {}", one.line, one.text), one.verdict, other.verdict);
    }
    for (one, other) in kernel.0.invariants.iter().zip(&simulated.0.invariants) {
        verdict(format!("always: {:?}", one.invariant), one.verdict, other.verdict);
    }
    let (kernel, simulated) = (kernel.1, simulated.1);
    let none = BTreeMap::new();
    let streams: BTreeSet<&String> = kernel.deliveries.keys().chain(simulated.deliveries.keys()).collect();
    for stream in streams {
        let of = |picture: &Picture| picture.deliveries.get(stream).cloned().unwrap_or_else(|| none.clone());
        maps(&format!("TTLs of {stream} at"), &of(kernel), &of(simulated), &mut found);
    }
    maps("entries of", &kernel.entries, &simulated.entries, &mut found);
    maps("querier of", &kernel.queriers, &simulated.queriers, &mut found);
    maps("members at", &kernel.members, &simulated.members, &mut found);
    maps("neighbours at", &kernel.neighbours, &simulated.neighbours, &mut found);
    maps("kinds of messages on", &kernel.messages, &simulated.messages, &mut found);
    if kernel.disorder != simulated.disorder {
        let lines = |picture: &Picture| picture.disorder.join("; ");
        let what = "messages out of order".to_owned();
        found.push(Difference { what, kernel: lines(kernel), simulated: lines(simulated) });
    }
    found
}

fn maps<T: Debug + PartialEq>(
    what: &str,
    kernel: &BTreeMap<String, T>,
    simulated: &BTreeMap<String, T>,
    found: &mut Vec<Difference>,
) {
    let keys: BTreeSet<&String> = kernel.keys().chain(simulated.keys()).collect();
    for key in keys {
        let (one, other) = (kernel.get(key), simulated.get(key));
        if one != other {
            let text = |value: Option<&T>| value.map_or_else(|| "none".to_owned(), |value| format!("{value:?}"));
            found.push(Difference { what: format!("{what} {key}"), kernel: text(one), simulated: text(other) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> ScenarioReport {
        ScenarioReport::of_trouble("lab", "file", "it", Verdict::Passed, String::new())
    }

    #[test]
    fn equal_pictures_agree_and_each_difference_is_named() {
        let mut one = Picture::default();
        one.deliveries.insert("news".into(), [("h1".to_owned(), BTreeSet::from([14]))].into());
        one.queriers.insert("campus".into(), "r1".into());
        assert_eq!(differences((&report(), &one), (&report(), &one.clone())), []);
        let mut other = one.clone();
        other.deliveries.insert("news".into(), BTreeMap::new());
        other.queriers.insert("campus".into(), "r2".into());
        other.disorder.push("campus: a graft-ack".into());
        let found = differences((&report(), &one), (&report(), &other));
        let said: Vec<&str> = found.iter().map(|difference| difference.what.as_str()).collect();
        assert_eq!(said, ["TTLs of news at h1", "querier of campus", "messages out of order"]);
        assert_eq!((found[0].kernel.as_str(), found[0].simulated.as_str()), ("{14}", "none"));
    }
}
