//! The topology file: the language, and the plan that it resolves to.

pub mod plan;
pub mod steps;
