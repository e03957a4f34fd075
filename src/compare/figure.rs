//! What is measured of each daemon, and what is asked of router-core beside FRR.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::bench::{Unit, median};

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Figure {
    /// All daemons started at once, to the member's first packet.
    ColdStart,
    /// The member's report to its first packet.
    Join,
    /// The member's leave to the last packet on its wire.
    Leave,
    /// Packets lost when the stream's wire loses its carrier.
    CarrierLost,
    /// The longest gap then.
    CarrierOutage,
    /// Packets lost when the wire falls silent.
    SilenceLost,
    /// The longest gap then.
    SilenceOutage,
    /// Packets lost from the first to arrive until the stream flows by the source's own tree.
    SwitchLost,
    /// Packets that came twice.
    SwitchDuplicates,
    /// Proportional set size of a router's daemon.
    Memory,
    /// Control messages an hour on all wires.
    Messages,
    /// Their octets.
    Octets,
}

impl Figure {
    /// All of them, in the order of the table.
    pub const ALL: [Figure; 12] = [
        Figure::ColdStart,
        Figure::Join,
        Figure::Leave,
        Figure::CarrierLost,
        Figure::CarrierOutage,
        Figure::SilenceLost,
        Figure::SilenceOutage,
        Figure::SwitchLost,
        Figure::SwitchDuplicates,
        Figure::Memory,
        Figure::Messages,
        Figure::Octets,
    ];

    /// As the table has it.
    pub fn name(self) -> &'static str {
        match self {
            Figure::ColdStart => "cold start to the first packet",
            Figure::Join => "join latency",
            Figure::Leave => "leave latency",
            Figure::CarrierLost => "carrier lost: packets lost",
            Figure::CarrierOutage => "carrier lost: outage",
            Figure::SilenceLost => "silence: packets lost",
            Figure::SilenceOutage => "silence: outage",
            Figure::SwitchLost => "SPT switchover: packets lost",
            Figure::SwitchDuplicates => "SPT switchover: duplicates",
            Figure::Memory => "memory a router, proportional",
            Figure::Messages => "control messages an hour",
            Figure::Octets => "octets of them an hour",
        }
    }

    /// What it counts.
    pub fn unit(self) -> Unit {
        match self {
            Figure::ColdStart | Figure::Join | Figure::Leave | Figure::CarrierOutage | Figure::SilenceOutage => {
                Unit::Milliseconds
            }
            Figure::Memory => Unit::Mebibytes,
            _ => Unit::Packets,
        }
    }

    /// What router-core's median may be at most, as a multiple of FRR's: the number, and how it is written.
    pub fn target(self) -> Option<(f64, &'static str)> {
        match self {
            Figure::ColdStart => Some((0.25, "≤ 1/4 of FRR's")),
            Figure::Join => Some((1.0, "≤ FRR's")),
            Figure::CarrierLost => Some((1.0 / 3.0, "≤ 1/3 of FRR's")),
            Figure::Memory => Some((0.1, "≤ 1/10 of FRR's")),
            _ => None,
        }
    }

    /// Whether it is measured once an hour's worth of traffic, rather than in every round.
    pub fn is_traffic(self) -> bool {
        matches!(self, Figure::Messages | Figure::Octets)
    }
}

/// What one look at a daemon gave: a figure each, or why there is none.
pub type Looks = BTreeMap<Figure, Result<f64, String>>;

/// All that was measured of a daemon.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Column {
    /// The daemon, as files name it.
    pub daemon: String,
    /// Its version, as it says itself.
    pub version: String,
    /// The samples of each figure.
    pub samples: BTreeMap<Figure, Vec<f64>>,
    /// Figures that could not be had, and why.
    pub failed: BTreeMap<Figure, String>,
    /// What may have disturbed the measuring.
    pub doubts: Vec<String>,
}

impl Column {
    /// Takes in what a round gave.
    pub fn add(&mut self, looks: Looks) {
        for (figure, look) in looks {
            match look {
                Ok(number) => self.samples.entry(figure).or_default().push(number),
                Err(why) => {
                    self.failed.entry(figure).or_insert(why);
                }
            }
        }
    }

    /// The median of a figure; none if it failed even once.
    pub fn median(&self, figure: Figure) -> Option<f64> {
        if self.failed.contains_key(&figure) {
            return None;
        }
        median(self.samples.get(&figure)?)
    }
}

/// What came of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Reached.
    Met,
    /// Not reached.
    Missed,
    /// One of the two figures is missing.
    Unjudged,
}

/// Judges a figure of router-core beside FRR's; none if nothing is asked of it.
pub fn judge(figure: Figure, ours: Option<&Column>, theirs: Option<&Column>) -> Option<Verdict> {
    let (times, _) = figure.target()?;
    let median = |column: Option<&Column>| column.and_then(|column| column.median(figure));
    Some(match (median(ours), median(theirs)) {
        (Some(ours), Some(theirs)) if ours <= theirs * times => Verdict::Met,
        (Some(_), Some(_)) => Verdict::Missed,
        _ => Verdict::Unjudged,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(numbers: &[f64]) -> Column {
        let mut column = Column::default();
        for number in numbers {
            column.add([(Figure::CarrierLost, Ok(*number))].into());
        }
        column
    }

    #[test]
    fn a_third_of_the_others_packets_is_enough_and_more_is_not() {
        let judge = |ours: &Column, theirs: &Column| judge(Figure::CarrierLost, Some(ours), Some(theirs));
        let theirs = column(&[12.0, 9.0, 30.0]);
        assert_eq!(judge(&column(&[4.0]), &theirs), Some(Verdict::Met));
        assert_eq!(judge(&column(&[4.0, 4.1]), &theirs), Some(Verdict::Missed));
        assert_eq!(judge(&column(&[0.0]), &column(&[0.0])), Some(Verdict::Met));
        assert_eq!(judge(&column(&[]), &theirs), Some(Verdict::Unjudged));
        let mut broken = theirs.clone();
        broken.add([(Figure::CarrierLost, Err("the stream never came again".into()))].into());
        assert_eq!(judge(&column(&[4.0]), &broken), Some(Verdict::Unjudged), "one round failed");
        assert_eq!(super::judge(Figure::Leave, None, None), None);
    }
}
