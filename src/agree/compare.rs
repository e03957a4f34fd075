//! How a run on the kernel differs from runs in the simulator.

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
    /// What it is in the simulator: each result that was not the kernel's.
    pub simulated: String,
}

/// A run and what its network looked like afterwards.
pub type Run = (ScenarioReport, Picture);

/// All differences between a scenario's run on the kernel and its runs in the simulator, of which each had another seed.
///
/// Where the protocol leaves it to chance what happens, the kernel must be as one of the simulator's runs; messages that were in all of those
/// must have been on the kernel's wires, and no others than were in any. Verdicts must be the same in all runs; those that the kernel's run
/// could not reach are left out.
pub fn differences(kernel: &Run, simulated: &[Run]) -> Vec<Difference> {
    let mut found = Vec::new();
    verdicts(&kernel.0, &simulated.iter().map(|run| &run.0).collect::<Vec<_>>(), &mut found);
    let kernel = &kernel.1;
    let pictures: Vec<&Picture> = simulated.iter().map(|run| &run.1).collect();
    let mut streams: BTreeSet<&String> = kernel.deliveries.keys().collect();
    streams.extend(pictures.iter().flat_map(|picture| picture.deliveries.keys()));
    for stream in streams {
        any(&format!("TTLs of {stream} at"), kernel, &pictures, |picture| picture.deliveries.get(stream), &mut found);
    }
    any("entries of", kernel, &pictures, |picture| Some(&picture.entries), &mut found);
    any("querier at", kernel, &pictures, |picture| Some(&picture.queriers), &mut found);
    any("members at", kernel, &pictures, |picture| Some(&picture.members), &mut found);
    any("neighbours at", kernel, &pictures, |picture| Some(&picture.neighbours), &mut found);
    any("designated router at", kernel, &pictures, |picture| Some(&picture.designated), &mut found);
    messages(kernel, &pictures, &mut found);
    for (whose, picture) in [("kernel", kernel)].into_iter().chain(pictures.iter().map(|p| ("simulator", *p))) {
        found.extend(picture.disorder.iter().map(|what| Difference {
            what: what.clone(),
            kernel: if whose == "kernel" { "out of order".to_owned() } else { String::new() },
            simulated: if whose == "kernel" { String::new() } else { "out of order".to_owned() },
        }));
    }
    found
}

/// Of the differences from few runs, those that are there from many as well: what seldom happens, or seldom does not, may be so in all of few.
pub fn that_last(few: &[Difference], many: Vec<Difference>) -> Vec<Difference> {
    many.into_iter().filter(|difference| few.iter().any(|known| known.what == difference.what)).collect()
}

fn verdicts(kernel: &ScenarioReport, simulated: &[&ScenarioReport], found: &mut Vec<Difference>) {
    let of_steps = |report: &ScenarioReport| -> Vec<(String, Verdict)> {
        let steps = report.steps.iter().map(|step| (format!("line {}: {}", step.line, step.text), step.verdict));
        let always = report.invariants.iter().map(|one| (format!("always: {:?}", one.invariant), one.verdict));
        steps.chain(always).collect()
    };
    let simulated: Vec<Vec<(String, Verdict)>> = simulated.iter().map(|report| of_steps(report)).collect();
    for (number, (what, verdict)) in of_steps(kernel).into_iter().enumerate() {
        let others: Vec<Verdict> =
            simulated.iter().filter_map(|run| Some(run.get(number)?.1)).filter(|other| *other != verdict).collect();
        if let Some(first) = others.first().filter(|_| verdict != Verdict::Inconclusive) {
            found.push(Difference {
                what,
                kernel: verdict.word().to_owned(),
                simulated: format!("{} in {} of {} runs", first.word(), others.len(), simulated.len()),
            });
        }
    }
}

/// What must be as in one of the simulator's runs, key by key.
fn any<T: Debug + PartialEq>(
    what: &str,
    kernel: &Picture,
    simulated: &[&Picture],
    part: impl Fn(&Picture) -> Option<&BTreeMap<String, T>>,
    found: &mut Vec<Difference>,
) {
    let all = || [kernel].into_iter().chain(simulated.iter().copied());
    let keys: BTreeSet<&String> = all().filter_map(&part).flat_map(BTreeMap::keys).collect();
    for key in keys {
        let value = |picture| part(picture).and_then(|map: &BTreeMap<String, T>| map.get(key));
        let own = value(kernel);
        if simulated.iter().any(|picture| value(picture) == own) {
            continue;
        }
        let text = |value: Option<&T>| value.map_or_else(|| "none".to_owned(), |value| format!("{value:?}"));
        let others: BTreeSet<String> = simulated.iter().map(|picture| text(value(picture))).collect();
        let simulated = others.into_iter().collect::<Vec<_>>().join(" or ");
        found.push(Difference { what: format!("{what} {key}"), kernel: text(own), simulated });
    }
}

fn messages(kernel: &Picture, simulated: &[&Picture], found: &mut Vec<Difference>) {
    let none = BTreeSet::new();
    let of = |picture: &Picture, wire: &str| picture.messages.get(wire).unwrap_or(&none).clone();
    let all = || [kernel].into_iter().chain(simulated.iter().copied());
    let wires: BTreeSet<&String> = all().flat_map(|picture| picture.messages.keys()).collect();
    for wire in wires {
        let runs: Vec<BTreeSet<String>> = simulated.iter().map(|picture| of(picture, wire)).collect();
        let ever: BTreeSet<String> = runs.iter().flatten().cloned().collect();
        let always: BTreeSet<String> =
            ever.iter().filter(|kind| runs.iter().all(|run| run.contains(*kind))).cloned().collect();
        let own = of(kernel, wire);
        for kind in own.difference(&ever) {
            let what = format!("{kind} on {wire}");
            found.push(Difference { what, kernel: "seen".into(), simulated: "in no run".into() });
        }
        for kind in always.difference(&own) {
            let what = format!("{kind} on {wire}");
            found.push(Difference { what, kernel: "not seen".into(), simulated: "in every run".into() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(picture: Picture) -> Run {
        (ScenarioReport::of_trouble("lab", "file", "it", Verdict::Passed, String::new()), picture)
    }

    fn picture(querier: &str, kinds: &[&str]) -> Picture {
        let kinds = kinds.iter().map(|kind| (*kind).to_owned()).collect();
        let received = BTreeMap::from([("h1".to_owned(), BTreeSet::from([14]))]);
        Picture {
            deliveries: [("news".to_owned(), received)].into(),
            queriers: [("r1.eth0".to_owned(), querier.to_owned())].into(),
            messages: [("campus".to_owned(), kinds)].into(),
            ..Picture::default()
        }
    }

    fn said(kernel: Picture, simulated: &[Picture]) -> Vec<String> {
        let simulated: Vec<Run> = simulated.iter().cloned().map(run).collect();
        differences(&run(kernel), &simulated).into_iter().map(|difference| difference.what).collect()
    }

    #[test]
    fn the_kernel_may_be_as_any_run_and_messages_lie_between_all_and_any() {
        let runs = [picture("a", &["graft"]), picture("b", &["graft", "prune"])];
        assert_eq!(said(picture("a", &["graft"]), &runs), Vec::<String>::new());
        assert_eq!(said(picture("b", &["graft", "prune"]), &runs), Vec::<String>::new());
        assert_eq!(
            said(picture("c", &["assert"]), &runs),
            ["querier at r1.eth0", "assert on campus", "graft on campus"]
        );
    }

    #[test]
    fn a_delivery_and_an_order_that_differ_are_named() {
        let runs = [picture("a", &[])];
        let mut kernel = picture("a", &[]);
        kernel.deliveries.clear();
        kernel.disorder.push("campus: a graft-ack follows nothing".into());
        assert_eq!(said(kernel, &runs), ["TTLs of news at h1", "campus: a graft-ack follows nothing"]);
    }

    #[test]
    fn what_many_runs_do_not_bear_out_is_chance() {
        let (own, graft) = (run(picture("a", &[])), run(picture("a", &["graft"])));
        let few = vec![graft.clone(), run(picture("a", &["graft", "prune"]))];
        let mut many = few.clone();
        let seen = differences(&own, &few);
        assert_eq!(seen.iter().map(|difference| difference.what.as_str()).collect::<Vec<_>>(), ["graft on campus"]);
        assert_eq!(that_last(&seen, differences(&own, &many)), seen);
        many.push(own.clone());
        assert_eq!(that_last(&seen, differences(&own, &many)), []);
        // Another difference than that in question is not looked for.
        many.last_mut().unwrap().1.disorder.push("campus: a graft-ack follows nothing".into());
        assert_eq!(that_last(&seen, differences(&own, &many)), []);
    }

    #[test]
    fn a_verdict_must_be_the_same_in_every_run() {
        let mut kernel = run(picture("a", &[]));
        let invariant = crate::topology::steps::Invariant::WellFormed;
        let report =
            |verdict| crate::scenario::InvariantReport { invariant, verdict, examined: 1, findings: Vec::new() };
        kernel.0.invariants.push(report(Verdict::Passed));
        let mut runs = vec![kernel.clone(), kernel.clone()];
        assert_eq!(differences(&kernel, &runs), []);
        runs[1].0.invariants[0].verdict = Verdict::Failed;
        assert_eq!(differences(&kernel, &runs)[0].simulated, "failed in 1 of 2 runs");
        kernel.0.invariants[0].verdict = Verdict::Inconclusive;
        assert_eq!(differences(&kernel, &runs), []);
    }
}
