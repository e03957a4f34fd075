//! The shipped topologies, and the schema: both are what users start from. `UPDATE=1` rewrites the schema.

use std::path::{Path, PathBuf};

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
