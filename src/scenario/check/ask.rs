//! Asking daemons and kernels until what they say is right.

use std::time::Duration;

use super::Judgement;
use crate::network::{Network, NetworkError, Time};
use crate::scenario::outcome::{Figure, Value};
use crate::scenario::runner::Run;

/// Asking a daemon or a kernel costs a round trip: not at every packet.
const PACE: Duration = Duration::from_millis(10);

/// Looks at most every [`PACE`] for what is wrong, until nothing is or `within` has passed. Gives what was wrong at the last look, and a
/// judgement that says how long it took and nothing else yet.
pub fn until_right<N: Network, W>(
    run: &mut Run<'_, N>,
    within: Duration,
    mut look: impl FnMut(&mut N) -> Result<Option<W>, NetworkError>,
) -> Result<(Judgement, Option<W>), NetworkError> {
    let began = run.network.now();
    let mut next = Time::ZERO;
    let held = run.wait(began + within, |network, _| {
        if network.now() < next {
            return Ok(false);
        }
        next = network.now() + PACE;
        Ok(look(network)?.is_none())
    })?;
    // The last look is at the end, whatever the pace.
    let wrong = if held { None } else { look(run.network)? };
    let mut judgement = Judgement::default();
    judgement.figures.push(Figure::new("after", Value::Span(run.network.now().since(began))));
    Ok((judgement, wrong))
}
