//! The topology file: the language, and the plan that it resolves to.
//!
//! A text becomes a tree whose nodes know their places (`tree`), the tree becomes the file's model (`file`, by `read`),
//! and the model becomes a [`plan::Plan`] (`resolve`). Each notes what is wrong and goes on, so that one run finds it all.

pub mod fault;
pub mod faults;
mod file;
mod load;
pub mod plan;
mod read;
mod resolve;
mod scalars;
pub mod steps;
mod tree;

pub use faults::Faults;
pub use load::{SIZE_LIMIT, load, parse, parse_octets};

/// The JSON schema of topology files, for editors.
pub fn schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(file::File);
    schema.insert("title".into(), "testbed topology".into());
    schema.to_value()
}
