//! Random choices of a run, all from one generator.

use std::time::Duration;

use router_core::random::Random;

/// A generator with the questions that schedules ask.
#[derive(Clone, Debug)]
pub struct Draw(Random);

impl Draw {
    /// The generator of a run: by the search's seed, the topology's name and the run's number.
    pub fn of_run(seed: u64, lab: &str, run: u64) -> Draw {
        // FNV-1a, then a step of the generator to spread the bits.
        let hash = |hash: u64, octet: u8| (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3);
        let name = lab.bytes().fold(0xcbf2_9ce4_8422_2325, hash);
        let mut mixed = Random::new(seed ^ name);
        Draw(Random::new(mixed.bits() ^ run.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0.bits()
    }

    /// A number below a limit; 0 if there is none.
    pub fn below(&mut self, limit: usize) -> usize {
        ((u128::from(self.bits()) * limit as u128) >> 64) as usize
    }

    /// A number of a range, both ends included.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        least + ((u128::from(self.bits()) * (u128::from(most - least) + 1)) >> 64) as u64
    }

    /// Whether something happens that happens so often in a hundred times.
    pub fn percent(&mut self, share: u64) -> bool {
        self.between(1, 100) <= share
    }

    /// One of several.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.below(of.len()))
    }

    /// A span of so many milliseconds at the least and at the most.
    pub fn millis(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.between(least, most))
    }

    /// One of several by their weights; none if all weigh nothing.
    pub fn weighted<T: Copy>(&mut self, of: &[(u64, T)]) -> Option<T> {
        let total: u64 = of.iter().map(|(weight, _)| weight).sum();
        let mut at = self.between(1, total.max(1));
        of.iter().find_map(|(weight, what)| {
            let here = at <= *weight && *weight > 0;
            at = at.saturating_sub(*weight);
            here.then_some(*what)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_runs_draw_equal_numbers_and_others_do_not() {
        let first = |seed, lab, run| Draw::of_run(seed, lab, run).bits();
        assert_eq!(first(1, "a", 5), first(1, "a", 5));
        let all = [first(1, "a", 5), first(2, "a", 5), first(1, "b", 5), first(1, "a", 6)];
        assert!((0..4).all(|n| (0..n).all(|m| all[n] != all[m])));
    }

    #[test]
    fn weights_decide_and_nothing_comes_of_nothing() {
        let mut draw = Draw::of_run(1, "a", 1);
        let counts = (0..4000).map(|_| draw.weighted(&[(1, 0), (0, 1), (3, 2)]).unwrap());
        let mut seen = [0; 3];
        counts.for_each(|what: usize| seen[what] += 1);
        assert!((900..1100).contains(&seen[0]) && seen[1] == 0, "{seen:?}");
        assert_eq!(draw.weighted::<u8>(&[(0, 1)]), None);
        assert_eq!(draw.weighted::<u8>(&[]), None);
    }
}
