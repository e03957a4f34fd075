//! What a scenario gave.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::network::Time;
use crate::topology::steps::Invariant;
use crate::traffic::metrics::Figures;

/// How a step, an invariant or a scenario ended. Ordered: the greatest of several is that of the whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It held (an action: it was done).
    #[default]
    Passed,
    /// It was not come to.
    Skipped,
    /// It could not be judged: the machine was too slow or the measuring side lost packets.
    Inconclusive,
    /// The network, its daemons or this kernel cannot do it.
    Unsupported,
    /// It did not hold.
    Failed,
}

impl Verdict {
    /// The word for tables.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Passed => "passed",
            Verdict::Skipped => "skipped",
            Verdict::Inconclusive => "inconclusive",
            Verdict::Unsupported => "unsupported",
            Verdict::Failed => "failed",
        }
    }
}

/// What a scenario gave, whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScenarioReport {
    /// The lab's name.
    pub lab: String,
    /// The file that it came from.
    pub file: String,
    /// The scenario's name.
    pub scenario: String,
    /// The worst of all verdicts.
    pub verdict: Verdict,
    /// Why it could not be run (to its end), if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// How long it took.
    #[serde(rename = "took_ns", with = "nanos")]
    pub took: Duration,
    /// Its steps in order, each with a verdict.
    pub steps: Vec<StepReport>,
    /// What was checked all the time.
    pub invariants: Vec<InvariantReport>,
    /// Its streams.
    pub streams: Vec<StreamReport>,
    /// Why the measurement itself may be wrong.
    pub doubts: Vec<String>,
    /// Captures that were kept.
    #[serde(default)]
    pub captures: Vec<PathBuf>,
    /// Logs that were kept (filled in by whoever keeps them).
    #[serde(default)]
    pub logs: Vec<PathBuf>,
}

/// What a step gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// Line in the file, 1-based.
    pub line: usize,
    /// The step as a person would say it.
    pub text: String,
    /// Whether it is an expectation.
    pub is_check: bool,
    /// How it ended.
    pub verdict: Verdict,
    /// When it began, from the scenario's start.
    #[serde(rename = "began_ns", with = "nanos")]
    pub began: Duration,
    /// How long it took.
    #[serde(rename = "took_ns", with = "nanos")]
    pub took: Duration,
    /// What was measured.
    pub figures: Vec<Figure>,
    /// What was wrong.
    pub findings: Vec<Finding>,
    /// What happened when, for outages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<Moment>,
}

/// What an invariant gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InvariantReport {
    /// Which.
    pub invariant: Invariant,
    /// How it ended; skipped if the file switched it off.
    pub verdict: Verdict,
    /// Packets or frames that were looked at.
    pub examined: u64,
    /// What was wrong: the first of each kind and place.
    pub findings: Vec<Finding>,
}

/// Something measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What.
    pub name: String,
    /// The node or wire that it was measured at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// How much.
    #[serde(flatten)]
    pub value: Value,
}

/// A measured value with its unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "unit", content = "value", rename_all = "kebab-case")]
pub enum Value {
    /// Number of packets.
    Packets(u64),
    /// Number of messages, hosts, entries.
    Count(u64),
    /// A span of time in nanoseconds.
    #[serde(rename = "ns", with = "nanos")]
    Span(Duration),
    /// Words.
    Text(String),
}

impl Figure {
    /// A figure of the whole.
    pub fn new(name: &str, value: Value) -> Figure {
        Figure { name: name.to_owned(), at: None, value }
    }

    /// A figure measured at a place.
    pub fn at(name: &str, at: &str, value: Value) -> Figure {
        Figure { name: name.to_owned(), at: Some(at.to_owned()), value }
    }
}

/// Something that was wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// In one line: where, what was expected, what was seen.
    pub text: String,
    /// The first wrong hop, if one is to blame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// The capture of the wire in question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture: Option<PathBuf>,
}

/// Where something went wrong, by names.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The node (none if a wire is to blame).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The interface that packets reached it by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incoming: Option<String>,
    /// The interface that they should have left by, or should not have left by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outgoing: Option<String>,
    /// The wire in question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wire: Option<String>,
}

impl ScenarioReport {
    /// The report of a scenario that could not be run.
    pub fn of_trouble(lab: &str, file: &str, scenario: &str, verdict: Verdict, trouble: String) -> ScenarioReport {
        ScenarioReport {
            lab: lab.to_owned(),
            file: file.to_owned(),
            scenario: scenario.to_owned(),
            verdict,
            trouble: Some(trouble),
            took: Duration::ZERO,
            steps: Vec::new(),
            invariants: Vec::new(),
            streams: Vec::new(),
            doubts: Vec::new(),
            captures: Vec::new(),
            logs: Vec::new(),
        }
    }
}

impl Finding {
    /// A finding that blames no hop.
    pub fn text(text: impl Into<String>) -> Finding {
        Finding { text: text.into(), ..Finding::default() }
    }
}

/// A moment of a time line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// How long after the fault.
    #[serde(rename = "after_ns", with = "nanos")]
    pub after: Duration,
    /// What happened.
    pub what: String,
}

/// What became of a stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamReport {
    /// Its name.
    pub name: String,
    /// The sender.
    pub from: String,
    /// Its source address and group.
    pub source: String,
    /// The group.
    pub group: String,
    /// TTL that it was sent with.
    pub ttl: u8,
    /// Packets sent.
    pub sent: u64,
    /// Hosts that were members of its group at some time, in the file's order.
    pub receivers: Vec<ReceiverReport>,
}

/// What a host received of a stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReceiverReport {
    /// The host.
    pub host: String,
    /// From the first to the last packet that it received: what was sent before it joined or after it left is not lost.
    pub figures: Figures,
    /// Its last join call to the first packet after it.
    #[serde(rename = "join_latency_ns", with = "nanos_option")]
    pub join_latency: Option<Duration>,
    /// Its leave call to the last packet of the stream on its wire; only where it was the wire's last member and has not joined again.
    #[serde(rename = "leave_latency_ns", with = "nanos_option", default)]
    pub leave_latency: Option<Duration>,
}

/// Time since a start, never negative.
pub(super) fn since(start: Time, at: Time) -> Duration {
    at.since(start)
}

mod nanos {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_nanos)
    }
}

mod nanos_option {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(span: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        span.map(|span| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_nanos))
    }
}
