//! Every shipped topology passes, in labs on the real kernel: what a user runs first. What is on the wires meanwhile, tshark reads too.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use support::{Scratch, repository};

/// How the topologies are parted among the tests here, by the beginning of their names; the rest is the first test's.
const DENSE: &str = "dense-";
const GRID: &str = "grid-";
const SPARSE: &str = "sparse-";

fn shipped(belongs: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(repository("topologies"))
        .expect("topologies/")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .filter(|path| belongs(&path.file_stem().expect("a name").to_string_lossy()))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

/// Runs them all, so many labs at a time, and expects every scenario to pass.
fn expect_green(scratch: &Scratch, jobs: u32, files: &[PathBuf], captures: Option<&Path>) {
    let mut arguments: Vec<PathBuf> = vec!["test".into(), "--jobs".into(), jobs.to_string().into()];
    if let Some(captures) = captures {
        arguments.extend(["--capture".into(), captures.to_owned()]);
    }
    arguments.extend(files.iter().cloned());
    let mut finished = scratch.run(arguments, Duration::from_secs(280)).expect_code(0);
    for file in files {
        finished = finished.expect_said("passed in").expect_said(&file.display().to_string());
    }
}

#[test]
fn static_and_igmp_topologies_pass() {
    let files = shipped(|name| ![DENSE, GRID, SPARSE].iter().any(|other| name.starts_with(other)));
    expect_green(&Scratch::new(), 4, &files, None);
}

#[test]
fn grids_pass() {
    expect_green(&Scratch::new(), 4, &shipped(|name| name.starts_with(GRID)), None);
}

/// Every type of RFC 3973 occurs: hello, join/prune, assert, graft, graft-ack, state refresh.
#[test]
fn dense_mode_topologies_pass_and_their_messages_are_well_formed() {
    expect_well_formed(DENSE, &["0", "3", "5", "6", "7", "9"]);
}

/// Every type that sparse mode and bootstrap routers use: hello, register, register-stop, join/prune, bootstrap, assert, candidate RP
/// advertisement.
#[test]
fn sparse_mode_topologies_pass_and_their_messages_are_well_formed() {
    expect_well_formed(SPARSE, &["0", "1", "2", "3", "4", "5", "8"]);
}

/// tshark is the independent reader of our messages: none may be malformed or have a wrong checksum, and these types occur.
fn expect_well_formed(prefix: &str, expected: &[&str]) {
    let scratch = Scratch::new();
    let captures = scratch.path().join("captures");
    expect_green(&scratch, 4, &shipped(|name| name.starts_with(prefix)), Some(&captures));
    let mut types = BTreeSet::new();
    for (directory, files) in files_below(&captures) {
        for line in tshark(&scratch.path().join("merged.pcapng"), &files) {
            let [kind, pim, igmp, ip, expert, message] = line.split('\t').collect::<Vec<_>>()[..] else {
                panic!("tshark says {line:?} of {}", directory.display());
            };
            // Statuses: 1 is good, 0 bad, 2 not checked.
            let good = |status: &str| status.is_empty() || status.split(',').all(|status| status == "1");
            let fine = good(pim) && good(igmp) && good(ip) && (expert.is_empty() || message.is_empty());
            assert!(fine, "{}: {line:?}", directory.display());
            types.extend((!kind.is_empty()).then(|| kind.to_owned()));
        }
    }
    let expected: BTreeSet<String> = expected.iter().map(|kind| (*kind).to_owned()).collect();
    assert!(types.is_superset(&expected), "types {types:?}, not all of {expected:?}");
}

/// Captures by their directory.
fn files_below(directory: &Path) -> BTreeMap<PathBuf, Vec<PathBuf>> {
    let mut files: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).expect("a directory of captures") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "pcapng") {
                files.entry(directory.clone()).or_default().push(path);
            }
        }
    }
    assert!(!files.is_empty(), "no capture was kept");
    files
}

/// PIM's and IGMP's packets of some captures: type, checksums, complaints.
fn tshark(merged: &Path, files: &[PathBuf]) -> Vec<String> {
    let status = Command::new("mergecap").arg("-w").arg(merged).args(files).status();
    assert!(status.expect("mergecap is not installed: apt-get install tshark").success());
    let fields = ["pim.type", "pim.cksum.status", "igmp.checksum.status", "ip.checksum.status", "_ws.expert.severity"];
    let mut command = Command::new("tshark");
    command.args(["-o", "ip.check_checksum:TRUE", "-Y", "pim || igmp", "-T", "fields", "-r"]).arg(merged);
    for field in fields.into_iter().chain(["_ws.expert.message"]) {
        command.args(["-e", field]);
    }
    let output = command.output().expect("tshark is not installed: apt-get install tshark");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}
