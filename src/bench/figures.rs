//! Series of measurements, what they are compared with, and what is judged.

use serde::Serialize;

use super::NoFigure;

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Milliseconds.
    Milliseconds,
    /// Mebibytes.
    Mebibytes,
    /// Packets a second.
    PacketsPerSecond,
    /// Packets.
    Packets,
    /// Seconds of processor time in a second, in thousandths.
    MilliCpus,
    /// Runs a second.
    RunsPerSecond,
    /// Of anything, a second.
    PerSecond,
    /// Octets.
    Octets,
}

impl Unit {
    /// A number with its unit, as people write it.
    pub fn write(self, number: f64) -> String {
        match self {
            Unit::Milliseconds if number >= 1000.0 => format!("{:.2} s", number / 1000.0),
            Unit::Milliseconds if number >= 100.0 => format!("{number:.0} ms"),
            Unit::Milliseconds if number >= 10.0 => format!("{number:.1} ms"),
            Unit::Milliseconds => format!("{number:.2} ms"),
            Unit::Mebibytes => format!("{number:.2} MiB"),
            Unit::PacketsPerSecond if number >= 1e6 => format!("{:.2} Mpps", number / 1e6),
            Unit::PacketsPerSecond => format!("{:.0} kpps", number / 1e3),
            Unit::Packets => format!("{number:.0}"),
            Unit::PerSecond => format!("{number:.0}/s"),
            Unit::Octets => format!("{number:.0} octets"),
            Unit::RunsPerSecond => format!("{number:.0} runs/s"),
            Unit::MilliCpus => format!("{:.2} %", number / 10.0),
        }
    }
}

/// What a series' median should be.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// At most so much.
    AtMost(f64),
    /// Less than that.
    Below(f64),
    /// At least so much.
    AtLeast(f64),
    /// At most so many times the median of another series of the same experiment.
    AtMostTimes(f64, String),
    /// At least so many times the median of another series of the same experiment.
    AtLeastTimes(f64, String),
}

/// Measurements of one figure.
#[derive(Clone, Debug, Serialize)]
pub struct Series {
    /// The experiment that it belongs to.
    pub experiment: String,
    /// What is measured.
    pub name: String,
    /// Of what.
    pub unit: Unit,
    /// In the order of measuring.
    pub samples: Vec<f64>,
    /// What the median should be.
    pub target: Option<Target>,
    /// The series whose median this one's is shown as a multiple of.
    pub beside: Option<String>,
    /// What may have disturbed the measuring.
    pub doubts: Vec<String>,
    /// Why there is no figure.
    #[serde(serialize_with = "as_text")]
    pub why_not: Option<NoFigure>,
}

fn as_text<S: serde::Serializer>(why: &Option<NoFigure>, serializer: S) -> Result<S::Ok, S::Error> {
    match why {
        Some(why) => serializer.collect_str(why),
        None => serializer.serialize_none(),
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
    /// There is a target, but no figure, or nothing to compare it with.
    Unjudged,
}

impl Series {
    /// An empty series without a target.
    pub fn new(experiment: &str, name: &str, unit: Unit) -> Series {
        Series {
            experiment: experiment.to_owned(),
            name: name.to_owned(),
            unit,
            samples: Vec::new(),
            target: None,
            beside: None,
            doubts: Vec::new(),
            why_not: None,
        }
    }

    /// With a target; one that names another series sets it beside that one too.
    #[must_use]
    pub fn target(mut self, target: Target) -> Series {
        if let Target::AtMostTimes(_, of) | Target::AtLeastTimes(_, of) = &target {
            self.beside = Some(of.clone());
        }
        self.target = Some(target);
        self
    }

    /// Beside another series of its experiment.
    #[must_use]
    pub fn beside(mut self, name: &str) -> Series {
        self.beside = Some(name.to_owned());
        self
    }

    /// The value below or at which a share of the samples lies (0 to 1); none without samples.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        let place = (share.clamp(0.0, 1.0) * last as f64).ceil() as usize;
        sorted.get(place).copied()
    }

    /// The median: the mean of the two in the middle if their number is even.
    pub fn median(&self) -> Option<f64> {
        median(&self.samples)
    }
}

/// The middle one of some numbers, or the mean of the two in the middle; none of none.
pub fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get(sorted.len().saturating_sub(1) / 2)?;
    Some((lower + upper) / 2.0)
}

/// All series of a bench.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// In the order of the table.
    pub series: Vec<Series>,
}

impl Report {
    fn find(&self, experiment: &str, name: &str) -> Option<&Series> {
        self.series.iter().find(|series| series.experiment == experiment && series.name == name)
    }

    /// A series' median as a multiple of the one that it is set beside.
    pub fn ratio(&self, series: &Series) -> Option<f64> {
        let base = self.find(&series.experiment, series.beside.as_deref()?)?.median()?;
        Some(series.median()? / base).filter(|ratio| ratio.is_finite())
    }

    /// Judges a series; none if it has no target.
    pub fn verdict(&self, series: &Series) -> Option<Verdict> {
        let met = match series.target.as_ref()? {
            Target::AtMost(bound) => series.median().map(|median| median <= *bound),
            Target::AtLeast(bound) => series.median().map(|median| median >= *bound),
            Target::Below(bound) => series.median().map(|median| median < *bound),
            Target::AtMostTimes(times, _) => self.ratio(series).map(|ratio| ratio <= *times),
            Target::AtLeastTimes(times, _) => self.ratio(series).map(|ratio| ratio >= *times),
        };
        Some(match met {
            Some(true) => Verdict::Met,
            Some(false) => Verdict::Missed,
            None => Verdict::Unjudged,
        })
    }

    /// Whether any target was missed, or could not be judged though nothing was said to be missing on this machine.
    pub fn is_missed(&self) -> bool {
        self.series.iter().any(|series| match self.verdict(series) {
            Some(Verdict::Missed) => true,
            Some(Verdict::Unjudged) => !matches!(series.why_not, Some(NoFigure::Missing(_))),
            _ => matches!(series.why_not, Some(NoFigure::Failed(_))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str, samples: &[f64]) -> Series {
        Series { samples: samples.to_vec(), ..Series::new("x", name, Unit::Milliseconds) }
    }

    #[test]
    fn medians_and_quantiles_are_of_the_sorted_samples() {
        let of = |samples: &[f64]| series("s", samples);
        assert_eq!(of(&[5.0, 1.0, 3.0]).median(), Some(3.0));
        assert_eq!(of(&[4.0, 1.0, 3.0, 2.0]).median(), Some(2.5));
        assert_eq!(of(&[]).median(), None);
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(of(&hundred).quantile(0.95), Some(96.0));
        assert_eq!(of(&hundred).quantile(1.0), Some(100.0));
    }

    #[test]
    fn a_ratio_is_judged_against_the_median_of_its_base() {
        let mut report = Report { series: vec![series("floor", &[100.0, 90.0, 110.0])] };
        report.series.push(series("ours", &[150.0]).target(Target::AtMostTimes(1.5, "floor".into())));
        assert_eq!(report.verdict(&report.series[1]), Some(Verdict::Met));
        assert!(!report.is_missed());
        report.series[1].samples[0] = 151.0;
        assert_eq!(report.verdict(&report.series[1]), Some(Verdict::Missed));
        assert!(report.is_missed());
    }

    #[test]
    fn a_bound_that_is_reached_is_missed_only_where_less_is_asked() {
        let verdict = |target| {
            let report = Report { series: vec![series("lost", &[5.0]).target(target)] };
            report.verdict(&report.series[0])
        };
        assert_eq!(verdict(Target::AtMost(5.0)), Some(Verdict::Met));
        assert_eq!(verdict(Target::Below(5.0)), Some(Verdict::Missed));
        assert_eq!(verdict(Target::Below(5.1)), Some(Verdict::Met));
        assert_eq!(
            (verdict(Target::AtLeast(5.0)), verdict(Target::AtLeast(5.1))),
            (Some(Verdict::Met), Some(Verdict::Missed))
        );
    }

    #[test]
    fn what_cannot_be_judged_counts_only_if_it_is_ours_to_mend() {
        let mut report = Report { series: vec![series("ours", &[]).target(Target::AtMost(1.0))] };
        assert_eq!(report.verdict(&report.series[0]), Some(Verdict::Unjudged));
        assert!(report.is_missed());
        report.series[0].why_not = Some(NoFigure::Missing("Mininet is not installed".into()));
        assert!(!report.is_missed());
    }
}
