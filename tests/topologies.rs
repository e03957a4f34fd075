//! The shipped topologies, and the schema: both are what users start from. `UPDATE=1` rewrites the schema.

use std::path::{Path, PathBuf};

use serde_json::Value;
use testbed::topology;

fn shipped() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(!files.is_empty());
    files
}

#[test]
fn every_shipped_topology_is_valid_and_named_after_its_file() {
    for file in shipped() {
        let plan = topology::load(&file).unwrap_or_else(|faults| panic!("{}", faults.plain()));
        assert_eq!(plan.name, file.file_stem().unwrap().to_str().unwrap());
        assert!(!plan.scenarios.is_empty(), "{} has no scenario", plan.name);
        assert!(!plan.description.is_empty(), "{} says nothing of itself", plan.name);
    }
}

#[test]
fn every_shipped_topology_names_the_schema() {
    for file in shipped() {
        let text = std::fs::read_to_string(&file).unwrap();
        let first = text.lines().next().unwrap();
        assert_eq!(first, "# yaml-language-server: $schema=../schema/topology.schema.json", "{}", file.display());
    }
}

#[test]
fn a_plan_survives_its_way_as_json() {
    for file in shipped() {
        let plan = topology::load(&file).unwrap();
        let json = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<topology::plan::Plan>(&json).unwrap(), plan);
    }
}

#[test]
fn the_committed_schema_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/topology.schema.json");
    let current = format!("{:#}\n", topology::schema());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &current).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == current, "run `testbed schema > schema/topology.schema.json`");
}

/// As much of JSON schema as ours needs.
fn fits(root: &Value, schema: &Value, value: &Value) -> bool {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let target = root.pointer(reference.trim_start_matches('#')).expect("a reference to nowhere");
        return fits(root, target, value);
    }
    let list = |key: &str| schema.get(key).and_then(Value::as_array);
    let is = |kind: &Value| match kind.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        kind => panic!("the schema has the type {kind}"),
    };
    let typed = match schema.get("type") {
        None => true,
        Some(Value::Array(kinds)) => kinds.iter().any(is),
        Some(kind) => is(kind),
    };
    let number = |key: &str| schema.get(key).and_then(Value::as_f64);
    let in_range = value.as_f64().is_none_or(|n| {
        number("minimum").is_none_or(|least| least <= n) && number("maximum").is_none_or(|most| n <= most)
    });
    let properties = schema.get("properties").and_then(Value::as_object);
    let members = value.as_object().is_none_or(|map| {
        let known = |key: &str| properties.and_then(|properties| properties.get(key));
        list("required").into_iter().flatten().all(|key| map.contains_key(key.as_str().unwrap()))
            && map.iter().all(|(key, value)| match (known(key), schema.get("additionalProperties")) {
                (Some(inner), _) => fits(root, inner, value),
                (None, Some(Value::Bool(allowed))) => *allowed,
                (None, Some(inner)) => fits(root, inner, value),
                (None, None) => true,
            })
    });
    let items = match (value.as_array(), schema.get("items")) {
        (Some(items), Some(inner)) => items.iter().all(|item| fits(root, inner, item)),
        _ => true,
    };
    typed
        && in_range
        && members
        && items
        && list("enum").is_none_or(|words| words.contains(value))
        && schema.get("const").is_none_or(|word| word == value)
        && list("anyOf").is_none_or(|choices| choices.iter().any(|choice| fits(root, choice, value)))
        && list("oneOf").is_none_or(|choices| choices.iter().filter(|choice| fits(root, choice, value)).count() == 1)
}

#[test]
fn the_shipped_topologies_fit_the_schema() {
    let schema = topology::schema();
    for file in shipped() {
        let text = std::fs::read_to_string(&file).unwrap();
        let value: Value = serde_yaml::from_str(&text).unwrap();
        assert!(fits(&schema, &schema, &value), "{}", file.display());
        let mut wrong = value.clone();
        wrong["nodes"]["src"]["knd"] = "host".into();
        assert!(!fits(&schema, &schema, &wrong), "the schema takes anything");
    }
}

fn reference() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/file.md")).unwrap()
}

/// Keys of the language: those of every mapping in the schema.
fn keys(schema: &Value, found: &mut std::collections::BTreeSet<String>) {
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        found.extend(properties.keys().cloned());
    }
    match schema {
        Value::Object(map) => map.values().for_each(|inner| keys(inner, found)),
        Value::Array(items) => items.iter().for_each(|inner| keys(inner, found)),
        _ => {}
    }
}

#[test]
fn the_reference_has_an_example_of_every_key() {
    let text = reference();
    let (mut examples, mut prose) = (String::new(), String::new());
    for (index, part) in text.split("```").enumerate() {
        match part.strip_prefix("yaml\n") {
            Some(block) if index % 2 == 1 => examples += &format!("{block}---\n"),
            _ if index % 2 == 1 => panic!("a block that is no YAML: {part}"),
            // What introduces the first example is no explanation.
            _ if index > 0 => prose += part,
            _ => {}
        }
    }
    let schema = topology::schema();
    // `generate` has several shapes: a block of several files.
    for example in examples.split_terminator("---\n") {
        topology::parse("docs/file.md", example).unwrap_or_else(|faults| panic!("{faults}"));
        assert!(fits(&schema, &schema, &serde_yaml::from_str(example).unwrap()), "{example}");
    }
    let mut known = std::collections::BTreeSet::new();
    keys(&schema, &mut known);
    for key in known {
        assert!(examples.contains(&format!("{key}:")), "no example has `{key}`");
        assert!(prose.contains(&key), "the reference says nothing of `{key}`");
    }
}

#[test]
fn a_file_without_nodes_or_a_generated_graph_does_not_fit_the_schema() {
    let schema = topology::schema();
    let fits = |text: &str| fits(&schema, &schema, &serde_yaml::from_str(text).unwrap());
    assert!(fits("{name: x, generate: {ring: 3}}") && fits("{name: x, nodes: {r1: {kind: router}}}"));
    assert!(!fits("{name: x}"));
    assert!(!fits("{name: x, generate: {ring: 3, torus: true}}") && !fits("{name: x, generate: {ring: 2}}"));
}

fn testbed(arguments: &[&str]) -> String {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_testbed"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_topology_is_drawn_three_ways() {
    let file = "topologies/igmp-snooping.yaml";
    insta::assert_snapshot!("graph_text", testbed(&["graph", file]));
    insta::assert_snapshot!("graph_dot", testbed(&["graph", file, "--dot"]));
    insta::assert_snapshot!("graph_mermaid", testbed(&["graph", file, "--mermaid"]));
}

#[test]
fn the_schema_and_completions_are_printed() {
    assert_eq!(testbed(&["schema"]), format!("{:#}\n", topology::schema()));
    for shell in ["bash", "zsh", "fish"] {
        let script = testbed(&["completions", shell]);
        assert!(script.contains("validate") && script.contains("mermaid"), "{shell}");
    }
}
