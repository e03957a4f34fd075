//! `testbed bench`: figures of this machine beside what they are to be compared with.
//!
//! An experiment has variants that are measured in turn, round by round, so that what else the machine does falls on all of them alike.
//! Every figure is a [`Series`]; its median is what is judged.
#![forbid(unsafe_code)]

pub mod bulk;
pub mod chain;
pub mod failover;
mod figures;
pub mod grid;
pub mod lab;
pub mod member;
mod networks;
mod place;
pub mod simulate;
pub mod state;
mod table;

use std::path::PathBuf;

use crate::lab::Base;

pub use figures::{Report, Series, Target, Unit, Verdict, median};
pub use table::render;

/// What every experiment is given.
#[derive(Clone, Debug)]
pub struct Setting {
    /// How often each variant is measured.
    pub rounds: usize,
    /// This very program.
    pub testbed: PathBuf,
    /// Where the state of labs lies.
    pub base: Base,
}

/// Why a variant has no figure: said in the table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoFigure {
    /// What it needs is not installed.
    #[error("skipped: {0}")]
    Missing(String),
    /// It went wrong.
    #[error("failed: {0}")]
    Failed(String),
}

impl NoFigure {
    /// It went wrong, and this is why.
    pub fn failed(why: impl ToString) -> NoFigure {
        NoFigure::Failed(why.to_string())
    }
}

/// One thing that is measured for comparison with others: gives one number for each of its series.
pub struct Variant<'a> {
    /// The series that a measurement adds to, in the order of the numbers that it gives.
    pub series: Vec<Series>,
    /// Measures once.
    pub measure: Box<dyn FnMut() -> Result<Vec<f64>, NoFigure> + 'a>,
}

/// Measures variants in turn: `rounds` times each, every second round in reverse order. One that fails is not tried again.
pub fn interleave(rounds: usize, mut variants: Vec<Variant>, tell: &mut dyn FnMut(&str)) -> Vec<Series> {
    for round in 0..rounds {
        let count = variants.len();
        for place in 0..count {
            let variant = &mut variants[if round % 2 == 0 { place } else { count - 1 - place }];
            if variant.series.iter().any(|series| series.why_not.is_some()) {
                continue;
            }
            tell(&format!("{} ({}/{rounds})", variant.series[0].name, round + 1));
            match (variant.measure)() {
                Ok(numbers) => {
                    for (series, number) in variant.series.iter_mut().zip(numbers) {
                        series.samples.push(number);
                    }
                }
                Err(why) => variant.series.iter_mut().for_each(|series| series.why_not = Some(why.clone())),
            }
        }
    }
    variants.into_iter().flat_map(|variant| variant.series).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn variants_take_turns_and_a_failed_one_is_left_out() {
        let order = RefCell::new(String::new());
        let variant = |name: &'static str, fails: bool| Variant {
            series: vec![Series::new("x", name, Unit::Milliseconds)],
            measure: Box::new({
                let order = &order;
                move || {
                    order.borrow_mut().push_str(name);
                    if fails { Err(NoFigure::failed("broken")) } else { Ok(vec![1.0]) }
                }
            }),
        };
        let series = interleave(3, vec![variant("a", false), variant("b", true), variant("c", false)], &mut |_| {});
        assert_eq!(*order.borrow(), "abccaac");
        assert_eq!(series[0].samples.len(), 3);
        assert_eq!(series[1].why_not, Some(NoFigure::Failed("broken".into())));
    }
}
