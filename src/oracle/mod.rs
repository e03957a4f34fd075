//! What should happen, from the topology and the scenario's own history alone. Imports `topology`, nothing else.
//!
//! - [`World`]: who joined what, which wires are cut, which routers are dead, as the scenario made it;
//! - [`Flow`]: where the packets of a stream go in a world, with which TTLs, by which forwarding entries, and what stops them;
//! - [`Paths`]: shortest unicast paths with all their equal-cost alternatives;
//! - [`Deadlines`]: by when, and not before when, the protocols' own formulas let something happen;
//! - [`Convergence`]: by when PIM has come to rest after a change;
//! - `habits`: what the daemons of others do otherwise than the RFCs say;
//! - [`querier`]: who should query a wire; [`designated`] and [`designated_at`]: whom PIM lets speak for it; [`rendezvous_point`]: which router serves a group.
//!
//! Where more than one outcome is right (a snooping bridge without a querier, a router that is stopped), the oracle says
//! [`Certainty::Maybe`]: nothing may be demanded there, and nothing is wrong there.

mod bootstrap;
mod convergence;
mod deadlines;
mod dense;
mod flow;
mod habits;
mod membership;
mod paths;
mod rendezvous;
mod sparse;
mod ways;
mod world;

#[cfg(test)]
pub(crate) mod testing;

pub use bootstrap::rendezvous_point;
pub use convergence::Convergence;
pub use deadlines::{Deadlines, SLACK, querier};
pub use dense::Rpf;
pub use flow::{Blocked, ExpectedEntry, Flow, Passage, Why};
pub use membership::{Certainty, accepts, is_nothing, pim_neighbours, wanted};
pub use paths::{Distances, Hop, Paths};
pub use rendezvous::{Mode, designated, designated_at, mode, owner};
pub use world::World;
