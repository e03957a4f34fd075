//! Reports as people and machines get them.

use std::time::Duration;

use super::*;
use crate::scenario::{
    Figure, Finding, InvariantReport, Moment, Place, ReceiverReport, StepReport, StreamReport, Value,
};
use crate::topology::steps::Invariant;
use crate::traffic::metrics::{Figures, Latency};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn step(line: usize, text: &str, is_check: bool, verdict: Verdict, figures: Vec<Figure>) -> StepReport {
    let findings = Vec::new();
    StepReport {
        line,
        text: text.into(),
        is_check,
        verdict,
        began: ms(0),
        took: ms(2500),
        figures,
        findings,
        timeline: Vec::new(),
    }
}

fn sample() -> Report {
    let latency = Latency { min: ms(1), p50: ms(1), p95: ms(2), p99: ms(3), max: ms(4) };
    let figures = Figures {
        sent: 2000,
        received: 1990,
        lost: 10,
        latency: Some(latency),
        jitter: Some(Duration::from_micros(12)),
        ttls: [(14, 1990)].into(),
        ..Figures::default()
    };
    let mut failed = step(
        12,
        "expect delivered news to h1 within 3s",
        true,
        Verdict::Failed,
        vec![Figure::new("judged", Value::Packets(2000)), Figure::at("lost", "h1", Value::Packets(10))],
    );
    failed.findings.push(Finding {
        text: "r2 should forward (10.0.0.1, 239.1.1.1) from eth0 to eth1; kernel: no entry".into(),
        place: Some(Place { node: Some("r2".into()), outgoing: Some("eth1".into()), ..Place::default() }),
        capture: None,
    });
    failed.timeline.push(Moment { after: ms(13), what: "routes: r2: moved".into() });
    let one = ScenarioReport {
        lab: "diamond".into(),
        file: "topologies/diamond.yaml".into(),
        scenario: "failover".into(),
        verdict: Verdict::Failed,
        trouble: None,
        took: ms(4100),
        steps: vec![
            step(10, "join h1 to 239.1.1.1", false, Verdict::Passed, vec![]),
            failed,
            step(13, "expect quiet campus", true, Verdict::Skipped, vec![]),
        ],
        invariants: vec![
            InvariantReport {
                invariant: Invariant::NoDuplicates,
                verdict: Verdict::Passed,
                examined: 12_000,
                findings: vec![],
            },
            InvariantReport {
                invariant: Invariant::TtlFalls,
                verdict: Verdict::Skipped,
                examined: 0,
                findings: vec![],
            },
        ],
        streams: vec![StreamReport {
            name: "news".into(),
            from: "src".into(),
            source: "10.0.0.1".into(),
            group: "239.1.1.1".into(),
            ttl: 16,
            sent: 2000,
            receivers: vec![ReceiverReport {
                host: "h1".into(),
                figures,
                join_latency: Some(ms(42)),
                leave_latency: None,
            }],
        }],
        doubts: vec![],
        captures: vec![],
        logs: vec!["/tmp/kept/r2/daemon.log".into()],
    };
    let passed = ScenarioReport {
        scenario: "calm".into(),
        verdict: Verdict::Passed,
        steps: vec![step(20, "expect delivered news", true, Verdict::Passed, vec![])],
        invariants: vec![],
        streams: vec![],
        logs: vec![],
        ..one.clone()
    };
    let trouble = ScenarioReport::of_trouble(
        "other",
        "other.yaml",
        "all",
        Verdict::Unsupported,
        "no user namespaces here".into(),
    );
    Report { scenarios: vec![one, passed, trouble], took: ms(9300) }
}

#[test]
fn people_get_tables_and_reasons() {
    insta::assert_snapshot!(terminal(&sample(), Style::default()));
}

#[test]
fn colours_change_no_word() {
    let coloured = terminal(&sample(), Style { colour: true });
    let mut plain = String::new();
    let mut rest = coloured.as_str();
    while let Some(start) = rest.find('\u{1b}') {
        plain.push_str(&rest[..start]);
        let end = rest[start..].find('m').expect("an escape ends") + start;
        rest = &rest[end + 1..];
    }
    plain.push_str(rest);
    assert_eq!(plain, terminal(&sample(), Style::default()));
    assert!(coloured.contains("\u{1b}[1;31mfailed\u{1b}[0m"));
}

#[test]
fn machines_get_a_stable_form() {
    insta::assert_snapshot!(json(&sample()).expect("it serialises"));
}

#[test]
fn integration_gets_cases() {
    insta::assert_snapshot!(junit(&sample()).expect("it serialises"));
}

#[test]
fn the_worst_verdict_is_that_of_the_whole() {
    let mut report = sample();
    assert_eq!(report.verdict(), Verdict::Failed);
    report.scenarios.remove(0);
    assert_eq!(report.verdict(), Verdict::Unsupported);
    assert_eq!(report.counts(), Counts { passed: 1, unsupported: 1, ..Counts::default() });
    assert_eq!(Report::default().verdict(), Verdict::Passed);
}
