//! Every shipped topology passes, in labs on the real kernel: what a user runs first.

mod support;

use std::path::PathBuf;
use std::time::Duration;

use support::{Scratch, repository};

fn shipped() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(repository("topologies"))
        .expect("topologies/")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    files
}

#[test]
fn every_shipped_topology_passes() {
    let scratch = Scratch::new();
    let files = shipped();
    let arguments = [PathBuf::from("test"), "--jobs".into(), "2".into()].into_iter().chain(files.iter().cloned());
    let mut finished = scratch.run(arguments, Duration::from_secs(280)).expect_code(0);
    for file in files {
        finished = finished.expect_said("passed in").expect_said(&file.display().to_string());
    }
}
