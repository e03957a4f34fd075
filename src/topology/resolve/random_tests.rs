//! Whatever is drawn makes sense, and is the same everywhere.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::topology::parse;
use crate::topology::plan::{NodeId, Plan, WireId};
use crate::topology::steps::{Action, Expectation, Scenario, SourceFilter};

/// Two rings of routers that a link joins, with hosts.
fn plan(seed: u64, steps: &str) -> Plan {
    let text = format!(
        "
name: rings
seed: {seed}
nodes:
  src: {{kind: host}}
  r1: {{kind: router}}
  r2: {{kind: router}}
  r3: {{kind: router}}
  r4: {{kind: router}}
  r5: {{kind: router}}
  r6: {{kind: router}}
  h1: {{kind: host}}
  h2: {{kind: host}}
  h3: {{kind: host, gateway: r5}}
links:
  - {{between: [src, r1]}}
  - {{between: [r1, r2]}}
  - {{between: [r2, r3]}}
  - {{between: [r3, r1]}}
  - {{between: [r3, r4]}}
  - {{between: [r4, r5]}}
  - {{between: [r5, r6]}}
  - {{between: [r6, r4]}}
  - {{between: [r1, h1]}}
  - {{between: [r3, h2]}}
lans:
  campus: {{nodes: [r5, r6, h3]}}
scenarios:
  - name: churn
    steps:
      - join: {{hosts: h1, group: 239.1.1.1}}
      - join: {{hosts: h2, group: 239.1.1.1, sources: src}}
      - stream: {{name: news, from: src, group: 239.1.1.1}}
{steps}
"
    );
    parse("test.yaml", &text).unwrap_or_else(|faults| panic!("{faults}"))
}

const CHURN: &str = "
      - random:
          rounds: 30
          join: {group: 239.1.1.1}
          fail: {at-once: 2}
          restart: [r2, r5]
          then:
            - expect: {delivered: news}
";

fn said(scenario: &Scenario) -> Vec<String> {
    scenario.steps.iter().map(|step| format!("{}: {}", step.line, step.text)).collect()
}

#[test]
fn the_same_file_gives_the_same_steps_on_every_machine() {
    let steps = "
      - random:
          rounds: 6
          join: {hosts: all, group: 239.1.1.1}
          fail: {links: all}
          restart: all
";
    assert_eq!(said(&plan(7, steps).scenarios[0])[3..], EXPECTED);
}

const EXPECTED: [&str; 9] = [
    "37: [1/6] h2 leave 239.1.1.1",
    "37: [2/6] h3 join 239.1.1.1",
    "38: [3/6] fail r4-r5",
    "37: [4/6] h1 leave 239.1.1.1",
    "39: [5/6] restart r2",
    "37: [6/6] h2 join 239.1.1.1 from 10.64.0.0",
    "38: [end] restore r4-r5",
    "37: [end] h1 join 239.1.1.1",
    "37: [end] h3 leave 239.1.1.1",
];

#[test]
fn another_seed_another_scenario_and_another_place_give_others() {
    let drawn = |plan: &Plan, of: usize| plan.scenarios[of].steps[3..].to_vec();
    let one = plan(1, CHURN);
    assert_eq!(one, plan(1, CHURN));
    assert_ne!(drawn(&one, 0), drawn(&plan(2, CHURN), 0));
    // The scenarios differ in their name alone.
    let head = "
      - join: {hosts: h1, group: 239.1.1.1}
      - join: {hosts: h2, group: 239.1.1.1, sources: src}
      - stream: {name: news, from: src, group: 239.1.1.1}
";
    let two = plan(1, &format!("{CHURN}\n  - name: other\n    steps:{head}{CHURN}"));
    assert_eq!(drawn(&one, 0), drawn(&two, 0), "what stands after it changes nothing");
    let texts = |steps: Vec<crate::topology::steps::Step>| steps.into_iter().map(|s| s.text).collect::<Vec<_>>();
    assert_ne!(texts(drawn(&two, 0)), texts(drawn(&two, 1)));
    let twice = plan(1, &format!("{CHURN}{CHURN}"));
    let texts = texts(drawn(&twice, 0));
    let second = texts.iter().rposition(|text| text.starts_with("[1/30]")).unwrap() - 1;
    assert_ne!(texts[..second], texts[second..]);
}

/// The groups of routers that reach each other, found in another way than the drawing does.
fn islands(plan: &Plan, down: &BTreeSet<WireId>, dead: &BTreeSet<NodeId>) -> Vec<BTreeSet<NodeId>> {
    let routers = plan.node_ids().filter(|id| plan.node(*id).is_router() && !dead.contains(id));
    let mut islands: Vec<BTreeSet<NodeId>> = routers.map(|id| BTreeSet::from([id])).collect();
    for id in plan.wire_ids().filter(|id| !down.contains(id)) {
        let on: BTreeSet<NodeId> = plan.wire(id).ends.iter().map(|end| end.node).collect();
        let (touched, mut others): (Vec<_>, Vec<_>) =
            islands.into_iter().partition(|island| island.iter().any(|node| on.contains(node)));
        others.extend((!touched.is_empty()).then(|| touched.into_iter().flatten().collect()));
        islands = others;
    }
    islands.sort();
    islands
}

/// Plays a scenario in the head, and holds every step to what makes sense. Gives how often each kind of step was drawn.
fn follow(plan: &Plan, at_once: usize, restarted: &[&str]) -> BTreeMap<&'static str, usize> {
    let (mut members, mut down) = (BTreeMap::<NodeId, SourceFilter>::new(), BTreeSet::<WireId>::new());
    let mut dead = BTreeSet::new();
    let mut before = None;
    let mut kinds: BTreeMap<&'static str, usize> = BTreeMap::new();
    for step in &plan.scenarios[0].steps {
        let drawn = step.text.starts_with('[');
        if drawn && before.is_none() {
            before = Some((members.clone(), down.clone()));
        }
        if !drawn && let Some((members_before, down_before)) = before.take() {
            assert_eq!((&members, &down), (&members_before, &down_before), "all is undone");
        }
        let kind = match &step.action {
            Action::Join { hosts, filter, .. } => {
                for host in hosts {
                    assert!(members.insert(*host, filter.clone()).is_none() || !drawn, "{} joins twice", step.text);
                    assert_ne!(plan.node(*host).name, "src", "the sender");
                }
                "join"
            }
            Action::Leave { hosts, .. } => {
                assert!(hosts.iter().all(|host| members.remove(host).is_some()), "{}: no member", step.text);
                "leave"
            }
            Action::Fail(cut) => {
                let reach = islands(plan, &down, &dead);
                assert!(down.insert(cut.wire), "{}: it is down", step.text);
                if drawn {
                    assert_eq!(islands(plan, &down, &dead), reach, "{}: cut off", step.text);
                    assert!(down.len() <= at_once, "{}: {} are down", step.text, down.len());
                }
                "fail"
            }
            Action::Restore { wire, .. } => {
                assert!(down.remove(wire), "{}: it works", step.text);
                "restore"
            }
            Action::Restart { node } => {
                assert!(!drawn || restarted.contains(&plan.node(*node).name.as_str()), "{}", step.text);
                dead.remove(node);
                "restart"
            }
            Action::Kill { node } => {
                dead.insert(*node);
                "kill"
            }
            Action::Expect(Expectation::Delivered { to, .. }) => {
                assert_eq!(to.iter().collect::<Vec<_>>(), members.keys().collect::<Vec<_>>(), "{}", step.text);
                assert!(!to.is_empty());
                "expect"
            }
            _ => "other",
        };
        *kinds.entry(kind).or_default() += 1;
    }
    if let Some((members_before, down_before)) = before {
        assert_eq!((members, down), (members_before, down_before), "all is undone");
    }
    kinds
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_drawn_makes_sense(seed in 0..u64::MAX / 2, at_once in 1_usize..4) {
        let churn = CHURN.replace("at-once: 2", &format!("at-once: {at_once}"));
        let kinds = follow(&plan(seed, &churn), at_once, &["r2", "r5"]);
        prop_assert!((30..=31).contains(&kinds["expect"]), "after each round, and at the end if there is something to undo");
    }

    #[test]
    fn what_other_steps_did_counts(seed in 0..u64::MAX / 2) {
        let steps = format!("
      - join: {{hosts: h3, group: 239.1.1.1}}
      - leave: {{hosts: h1, group: 239.1.1.1}}
      - fail: {{link: r4-r5, end: r5}}
      - kill: r2
{CHURN}
      - restart: r2
      - restore: {{link: r4-r5}}
{CHURN}");
        // With r2 dead and r4-r5 down, no link but those of the ring of r1, r2 and r3 that lead to r2 can go.
        let kinds = follow(&plan(seed, &steps), 3, &["r2", "r5"]);
        prop_assert!(kinds["expect"] >= 60);
    }
}

#[test]
fn everything_comes_up_in_the_long_run() {
    let kinds = follow(&plan(3, &CHURN.replace("rounds: 30", "rounds: 300")), 2, &["r2", "r5"]);
    for kind in ["join", "leave", "fail", "restore", "restart"] {
        assert!(kinds[kind] >= 30, "{kinds:?}");
    }
}

#[test]
fn links_fail_as_told_and_a_host_gets_its_list_back() {
    let steps = "
      - random: {rounds: 40, join: {hosts: h2, group: 239.1.1.1}, fail: {links: r5-r6, how: silent, detected-after: 1s}}
";
    let plan = plan(5, steps);
    follow(&plan, 1, &[]);
    let h2 = plan.find_node("h2").unwrap();
    for step in &plan.scenarios[0].steps {
        match &step.action {
            Action::Join { hosts, filter, .. } if hosts.contains(&h2) => {
                assert!(matches!(filter, SourceFilter::Include(sources) if sources.len() == 1), "{}", step.text);
            }
            Action::Fail(cut) => assert!(cut.detected_after.is_some()),
            _ => {}
        }
    }
}
