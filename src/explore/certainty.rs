//! How sure the oracle is of what a search asks it: one that leaves all open would find nothing.

use std::fmt::Write as _;

use serde_json::json;

use crate::oracle::{Certainty, Flow, World, accepts};
use crate::topology::plan::Plan;

/// How often it says what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Said {
    must: u64,
    must_not: u64,
    may: u64,
}

impl Said {
    fn note(&mut self, certainty: Certainty) {
        match certainty {
            Certainty::Yes => self.must += 1,
            Certainty::No => self.must_not += 1,
            Certainty::Maybe => self.may += 1,
        }
    }
}

/// What it says of a stream at rest: whether members have it, and whether routers forward it by an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Asked {
    members: Said,
    interfaces: Said,
}

/// The same, apart by whether anything was amiss before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judgements {
    whole: Asked,
    upset: Asked,
}

impl Judgements {
    /// Takes in what is said of a stream.
    pub fn note(&mut self, plan: &Plan, world: &World, flow: &Flow) {
        let asked = if world.is_upset() { &mut self.upset } else { &mut self.whole };
        let wants = |host| world.filter(host, flow.group).is_some_and(|filter| accepts(filter, flow.source));
        for host in world.members(flow.group).filter(|host| wants(*host)) {
            asked.members.note(flow.reaches(host));
        }
        for router in plan.node_ids().filter(|node| plan.node(*node).is_router()) {
            let entry = flow.entries.get(&router);
            for interface in 0..plan.node(router).interfaces.len() {
                let held = entry.and_then(|entry| Some(entry.outgoing.get(&interface)?.1.min(entry.certainty)));
                let may = entry.is_some_and(|entry| entry.outgoing.contains_key(&interface));
                let least = if may { Certainty::Maybe } else { Certainty::No };
                asked.interfaces.note(held.unwrap_or(Certainty::No).max(least));
            }
        }
    }

    /// Takes those of another run in.
    pub fn merge(&mut self, other: &Judgements) {
        for (own, (_, _, other)) in self.all_mut().into_iter().zip(other.all()) {
            own.must += other.must;
            own.must_not += other.must_not;
            own.may += other.may;
        }
    }

    fn all_mut(&mut self) -> [&mut Said; 4] {
        let Judgements { whole, upset } = self;
        [&mut whole.members, &mut whole.interfaces, &mut upset.members, &mut upset.interfaces]
    }

    fn all(&self) -> [(&'static str, &'static str, Said); 4] {
        [
            ("whole", "members", self.whole.members),
            ("whole", "interfaces", self.whole.interfaces),
            ("upset", "members", self.upset.members),
            ("upset", "interfaces", self.upset.interfaces),
        ]
    }

    /// As a table.
    pub fn table(&self) -> String {
        let mut out = format!("{:17}  {:>9}  {:>9}  {:>9}\n", "at rest, a stream", "must", "must not", "may");
        for (when, what, Said { must, must_not, may }) in self.all() {
            let _ = writeln!(out, "  {when:5} {what:10}  {must:>9}  {must_not:>9}  {may:>9}");
        }
        out
    }

    /// For machines.
    pub fn json(&self) -> serde_json::Value {
        let of = |(when, what, Said { must, must_not, may })| json!({"when": when, "of": what, "must": must, "must-not": must_not, "may": may});
        self.all().map(of).into_iter().collect()
    }
}
