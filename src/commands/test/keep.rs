//! Keeps logs and captures of a scenario before its lab goes with them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::lab::{self, Lab};
use crate::scenario::{Finding, ScenarioReport, Verdict};

/// Where captures lie inside a lab.
pub fn captures_inside() -> PathBuf {
    Path::new(lab::INSIDE).join(lab::file::CAPTURES)
}

/// What is kept, and where.
#[derive(Clone, Debug)]
pub struct Keep {
    directory: PathBuf,
    /// Of all scenarios; else of those that did not pass.
    all: bool,
}

impl Keep {
    /// Everything in the directory that the user names; else what did not pass, in `$XDG_STATE_HOME/testbed/failures`
    /// (`~/.local/state/...`, else below the directory for temporary files), where the next failure of a scenario replaces the last one.
    pub fn new(given: Option<&Path>) -> Keep {
        if let Some(given) = given {
            return Keep { directory: std::path::absolute(given).unwrap_or_else(|_| given.to_owned()), all: true };
        }
        let variable = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let state = variable("XDG_STATE_HOME").or_else(|| variable("HOME").map(|home| home.join(".local/state")));
        let own = state.map(|state| state.join("testbed/failures")).filter(|path| fs::create_dir_all(path).is_ok());
        let temporary = || std::env::temp_dir().join(format!("testbed-failures-{}", nix::unistd::geteuid()));
        Keep { directory: own.unwrap_or_else(temporary), all: false }
    }

    /// Copies what a lab's state directory holds of a scenario, and lets the report point to the copies. What cannot be copied is
    /// said in the report.
    pub fn keep(&self, lab: &Lab, place: &str, report: &mut ScenarioReport) {
        self.keep_from(lab.directory(), place, report);
    }

    fn keep_from(&self, state: &Path, place: &str, report: &mut ScenarioReport) {
        if !self.all && report.verdict <= Verdict::Skipped {
            report.captures.clear();
            return;
        }
        let kept = self.directory.join(place);
        if let Err(error) = replace(state, &kept) {
            report.doubts.push(format!("logs and captures could not be kept in {}: {error}", kept.display()));
            return;
        }
        let inside = captures_inside();
        let outside = kept.join(lab::file::CAPTURES);
        let moved =
            |path: &PathBuf| path.strip_prefix(&inside).map_or_else(|_| path.clone(), |rest| outside.join(rest));
        report.captures = report.captures.iter().map(moved).collect();
        let texts = [inside.display().to_string(), outside.display().to_string()];
        let all: Vec<&mut Finding> = report
            .steps
            .iter_mut()
            .flat_map(|step| &mut step.findings)
            .chain(report.invariants.iter_mut().flat_map(|invariant| &mut invariant.findings))
            .collect();
        for finding in all {
            finding.text = finding.text.replace(&texts[0], &texts[1]);
            finding.capture = finding.capture.as_ref().map(moved);
        }
        report.logs = vec![kept];
    }
}

/// Copies logs, nodes' files and captures to a new directory that takes the place of an old one.
fn replace(state: &Path, kept: &Path) -> io::Result<()> {
    let name = kept.file_name().unwrap_or_default().to_string_lossy();
    let making = kept.with_file_name(format!(".{name}-{}", std::process::id()));
    if making.exists() {
        fs::remove_dir_all(&making)?;
    }
    fs::create_dir_all(&making)?;
    for part in [lab::file::LOGS, lab::file::NODES, lab::file::CAPTURES] {
        copy(&state.join(part), &making.join(part))?;
    }
    if kept.exists() {
        fs::remove_dir_all(kept)?;
    }
    fs::rename(&making, kept)
}

/// Copies a directory's regular files, and those of directories in it; sockets and links are of no use outside.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    fs::create_dir_all(to)?;
    for entry in entries {
        let entry = entry?;
        let kind = entry.file_type()?;
        let target = to.join(entry.file_name());
        if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_kept_and_the_report_points_there() {
        let temporary = tempfile::tempdir().unwrap();
        let state = temporary.path().join("state");
        fs::create_dir_all(state.join("nodes/r1")).unwrap();
        fs::create_dir_all(state.join("captures")).unwrap();
        fs::write(state.join("nodes/r1/daemon.log"), "hello").unwrap();
        fs::write(state.join("captures/last.pcapng"), "frames").unwrap();
        let keep = Keep { directory: temporary.path().join("kept"), all: false };
        let mut report = ScenarioReport::of_trouble("lab", "lab.yaml", "one", Verdict::Failed, String::new());
        report.captures = vec![captures_inside().join("last.pcapng")];
        // Twice: the second takes the place of the first.
        for _ in 0..2 {
            let mut report = report.clone();
            keep.keep_from(&state, "lab/one", &mut report);
            let kept = temporary.path().join("kept/lab/one");
            assert_eq!(report.captures, [kept.join("captures/last.pcapng")]);
            assert_eq!(fs::read_to_string(kept.join("nodes/r1/daemon.log")).unwrap(), "hello");
            assert_eq!(fs::read_dir(temporary.path().join("kept/lab")).unwrap().count(), 1);
        }
        report.verdict = Verdict::Passed;
        keep.keep_from(&state, "lab/two", &mut report);
        assert!(report.captures.is_empty() && !temporary.path().join("kept/lab/two").exists());
    }
}
