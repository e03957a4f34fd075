//! Who listens to what on a directly attached network: the querier side of IGMP (RFC 9776, which obsoletes RFC 3376;
//! RFC 2236; RFC 1112) as one machine for both address families.
//!
//! - [`message`]: what the machine says and hears, independent of the family's wire form; [`igmp`] maps it to IGMP's.
//! - [`settings`]: the variables of RFC 9776 §8 as an interface runs them.
//! - [`transition`]: the tables of RFC 9776 §6.4, pure.
//! - [`group`]: one group's record and what its timers do.
//! - [`cover`]: what is noted of the machines' way.
//! - [`querier`]: the machine of one interface: election, queries, reports.
//!
//! Section numbers are RFC 9776's, which are those of RFC 3376.

pub mod cover;
pub mod filter;
pub mod group;
pub mod igmp;
pub mod message;
pub mod querier;
pub mod settings;
pub mod transition;

pub use message::Family;
pub use querier::{Action, Querier};
pub use settings::Settings;
