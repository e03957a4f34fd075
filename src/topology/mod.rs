//! The topology file: the language, and the plan that it resolves to.
//!
//! A text becomes a tree whose nodes know their places (`tree`), the tree becomes the file's model (`file`, by `read`),
//! the model gets what it asks for by its shape (`generate`), and becomes a [`plan::Plan`] (`resolve`). Each notes what is wrong and goes on, so that one run finds it all.

pub mod fault;
pub mod faults;
mod file;
mod generate;
pub mod graph;
pub mod import;
mod load;
pub mod plan;
mod read;
mod resolve;
mod scalars;
pub mod steps;
#[cfg(test)]
mod tests;
mod tree;

pub use faults::Faults;
use serde_json::Value;

pub use load::{SIZE_LIMIT, load, parse, parse_octets};
pub use scalars::TIMERS;

/// The JSON schema of topology files, for editors.
pub fn schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(file::File);
    schema.insert("title".into(), "testbed topology".into());
    let mut schema = schema.to_value();
    without_null(&mut schema);
    schema
}

/// A key that may be left out is not a key that may be empty.
fn without_null(schema: &mut Value) {
    let is_null = |schema: &Value| schema.get("type").is_some_and(|kind| kind == "null");
    match schema {
        Value::Array(items) => items.iter_mut().for_each(without_null),
        Value::Object(map) => {
            if let Some(Value::Array(types)) = map.get_mut("type") {
                types.retain(|kind| kind != "null");
                if let [one] = types.as_slice() {
                    let one = one.clone();
                    map.insert("type".into(), one);
                }
            }
            if let Some(Value::Array(choices)) = map.get_mut("anyOf") {
                choices.retain(|choice| !is_null(choice));
                if let [Value::Object(one)] = choices.as_slice() {
                    let one = one.clone();
                    map.remove("anyOf");
                    map.extend(one.into_iter().filter(|(key, _)| key != "description"));
                }
            }
            map.values_mut().for_each(without_null);
        }
        _ => {}
    }
}
