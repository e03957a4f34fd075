//! Waxman's random graphs (B. M. Waxman, "Routing of multipoint connections", IEEE JSAC 6(9), 1988).
//!
//! Routers have random places in a square of side 1; two at a distance d are linked with a chance of
//! alpha·exp(−d / (beta·√2)). The graph may fall into parts: these are joined by the shortest links that do.
//!
//! Numbers come from SplitMix64, and `exp` is made of exact operations here, so that a seed gives the same graph on every
//! machine.

use router_core::random::Random;

/// The two parameters, 0 to 1 each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chances {
    /// Chance of a link between routers at one place.
    pub alpha: f64,
    /// How far links reach.
    pub beta: f64,
}

/// The links of a graph of `count` routers, ascending; once there are more than `limit` (which is at least `count`),
/// nothing is added.
pub(super) fn links(count: usize, chances: Chances, seed: u64, limit: usize) -> Vec<(usize, usize)> {
    let mut random = Random::new(seed);
    let places: Vec<(f64, f64)> = (0..count).map(|_| (unit(&mut random), unit(&mut random))).collect();
    let distance = |a: usize, b: usize| {
        let (x, y) = (places[a].0 - places[b].0, places[a].1 - places[b].1);
        (x * x + y * y).sqrt()
    };
    let reach = chances.beta * std::f64::consts::SQRT_2;
    let mut links = Vec::new();
    for a in 0..count {
        for b in a + 1..count {
            // Drawn for every pair, so that another alpha or beta keeps what it can of the graph.
            let draw = unit(&mut random);
            if draw < chances.alpha && draw < chances.alpha * exp_of_minus(distance(a, b) / reach) {
                links.push((a, b));
                if links.len() > limit {
                    return links;
                }
            }
        }
    }
    join_parts(count, distance, &mut links);
    links.sort_unstable();
    links
}

/// From 0 to 1, 1 not among them.
fn unit(random: &mut Random) -> f64 {
    // 53 bits: each such number is a float.
    (random.bits() >> 11) as f64 / (1u64 << 53) as f64
}

/// e to the power of −x for x from 0 on: a series for what is left of x after whole multiples of ln 2.
fn exp_of_minus(x: f64) -> f64 {
    // Beyond, nothing of the graph's size happens; and 0 / 0, two routers at one place with no reach, is no link either.
    if x.is_nan() || x > 700.0 {
        return 0.0;
    }
    let halvings = (x / std::f64::consts::LN_2).floor();
    let rest = x - halvings * std::f64::consts::LN_2;
    let (mut term, mut sum) = (1.0, 1.0);
    for n in 1..=20 {
        term *= -rest / f64::from(n);
        sum += term;
    }
    // At most 1010 halvings, each of them exact.
    (0..halvings as u32).fold(sum, |value, _| value / 2.0)
}

/// Adds the shortest links that make the graph one: Prim's algorithm from router 0 on, whole parts at a time.
fn join_parts(count: usize, distance: impl Fn(usize, usize) -> f64, links: &mut Vec<(usize, usize)>) {
    let mut neighbours = vec![Vec::new(); count];
    for (a, b) in links.iter() {
        neighbours[*a].push(*b);
        neighbours[*b].push(*a);
    }
    let mut inside = vec![false; count];
    // The way to each router outside: how long, and from where.
    let mut nearest = vec![(f64::INFINITY, 0); count];
    let mut next = (count > 0).then_some(0);
    while let Some(start) = next {
        let mut part = vec![start];
        inside[start] = true;
        let mut seen = 0;
        while let Some(router) = part.get(seen).copied() {
            seen += 1;
            for neighbour in &neighbours[router] {
                if !std::mem::replace(&mut inside[*neighbour], true) {
                    part.push(*neighbour);
                }
            }
        }
        for outside in (0..count).filter(|router| !inside[*router]) {
            for router in &part {
                let length = distance(*router, outside);
                if length < nearest[outside].0 {
                    nearest[outside] = (length, *router);
                }
            }
        }
        next = (0..count)
            .filter(|router| !inside[*router])
            .min_by(|a, b| nearest[*a].0.total_cmp(&nearest[*b].0).then(a.cmp(b)));
        if let Some(outside) = next {
            let from = nearest[outside].1;
            links.push((from.min(outside), from.max(outside)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANCES: Chances = Chances { alpha: 0.4, beta: 0.1 };

    fn is_one(count: usize, links: &[(usize, usize)]) -> bool {
        let mut reached = vec![false; count];
        reached[0] = true;
        for _ in 0..count {
            for (a, b) in links {
                let either = reached[*a] || reached[*b];
                (reached[*a], reached[*b]) = (either, either);
            }
        }
        reached.into_iter().all(|reached| reached)
    }

    #[test]
    fn a_seed_gives_one_graph_and_another_seed_another() {
        let first = links(50, CHANCES, 1, 10_000);
        assert_eq!(first, links(50, CHANCES, 1, 10_000));
        assert_ne!(first, links(50, CHANCES, 2, 10_000));
        // The same on every machine and in every version: files refer to it.
        assert_eq!(first[..4], [(0, 8), (0, 38), (1, 3), (1, 13)]);
    }

    #[test]
    fn it_is_always_in_one_piece_without_a_link_too_many() {
        for seed in 0..20 {
            assert!(is_one(60, &links(60, CHANCES, seed, 10_000)));
            let only_joined = links(60, Chances { alpha: 0.0, beta: 0.1 }, seed, 10_000);
            assert!(only_joined.len() == 59 && is_one(60, &only_joined));
            assert_eq!(links(60, Chances { alpha: 0.4, beta: 0.0 }, seed, 10_000).len(), 59);
        }
        assert_eq!(links(1, CHANCES, 1, 10), []);
    }

    #[test]
    fn parts_are_joined_where_they_are_nearest() {
        let places: [f64; 5] = [0.0, 0.1, 0.5, 0.6, 1.0];
        let mut links = vec![(0, 1), (2, 3)];
        join_parts(5, |a, b| (places[a] - places[b]).abs(), &mut links);
        assert_eq!(links[2..], [(1, 2), (3, 4)]);
    }

    #[test]
    fn the_chances_are_waxmans() {
        // alpha 1 and a reach far beyond the square: nearly every pair.
        let all = links(40, Chances { alpha: 1.0, beta: 1.0 }, 3, 10_000).len();
        assert!((450..700).contains(&all), "{all} of 780");
        assert!(links(200, Chances { alpha: 1.0, beta: 1.0 }, 3, 500).len() == 501);
    }

    #[test]
    fn the_exponential_function_is_right() {
        for step in 0..2000 {
            let x = f64::from(step) * 0.05;
            let (ours, theirs) = (exp_of_minus(x), (-x).exp());
            assert!((ours - theirs).abs() <= theirs * 1e-13, "{x}: {ours} {theirs}");
        }
        assert_eq!(exp_of_minus(f64::INFINITY), 0.0);
        assert_eq!(exp_of_minus(f64::NAN), 0.0);
    }
}
