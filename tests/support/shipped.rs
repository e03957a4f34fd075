//! Shipped topologies played whole, and what is on their wires meanwhile, as tshark reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{Scratch, repository};

/// The severity of what tshark says of a packet that nothing is wrong with: where a stream's port, the kernel's choice, is among those of
/// traceroute, it says so of each register.
const CHAT: &str = "2097152";

/// The topologies whose names are chosen, in order.
pub fn shipped(belongs: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(repository("topologies"))
        .expect("topologies/")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .filter(|path| belongs(&path.file_stem().expect("a name").to_string_lossy()))
        .collect();
    files.sort();
    files
}

/// Runs them all, so many labs at a time, and expects every scenario to pass.
pub fn expect_green(scratch: &Scratch, jobs: u32, files: &[PathBuf], captures: Option<&Path>) {
    assert!(!files.is_empty());
    let mut arguments: Vec<PathBuf> = vec!["test".into(), "--jobs".into(), jobs.to_string().into()];
    if let Some(captures) = captures {
        arguments.extend(["--capture".into(), captures.to_owned()]);
    }
    arguments.extend(files.iter().cloned());
    let mut finished = scratch.run(arguments, Duration::from_secs(420)).expect_code(0);
    for file in files {
        finished = finished.expect_said("passed in").expect_said(&file.display().to_string());
    }
}

/// Topologies that were played, with what was on their wires.
pub struct Played(Scratch);

impl Played {
    /// Runs them all, so many labs at a time, and expects every scenario to pass.
    pub fn expect_green(jobs: u32, files: &[PathBuf]) -> Played {
        let scratch = Scratch::new();
        expect_green(&scratch, jobs, files, Some(&scratch.path().join("captures")));
        Played(scratch)
    }

    /// tshark is the independent reader of what routers say: no message of PIM or IGMP of these topologies may be malformed or have a wrong
    /// checksum. Gives the types of PIM messages that occurred.
    pub fn expect_well_formed(&self, files: &[PathBuf]) -> BTreeSet<String> {
        let mut types = BTreeSet::new();
        let captures = self.0.path().join("captures");
        let labs = files.iter().map(|file| captures.join(file.file_stem().expect("a name")));
        for (directory, files) in labs.flat_map(|lab| files_below(&lab)) {
            for line in tshark(&self.0.path().join("merged.pcapng"), &files) {
                let [kind, pim, igmp, ip, expert, _] = line.split('\t').collect::<Vec<_>>()[..] else {
                    panic!("tshark says {line:?} of {}", directory.display());
                };
                // Statuses: 1 is good, 0 bad, 2 not checked.
                let good = |status: &str| status.is_empty() || status.split(',').all(|status| status == "1");
                let mere_talk = expert.split(',').all(|severity| severity.is_empty() || severity == CHAT);
                let fine = good(pim) && good(igmp) && good(ip) && mere_talk;
                assert!(fine, "{}: {line:?}", directory.display());
                types.extend((!kind.is_empty()).then(|| kind.to_owned()));
            }
        }
        types
    }
}

/// Whether all of some types of PIM messages are among those that occurred.
pub fn expect_types(types: &BTreeSet<String>, expected: &[&str]) {
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
