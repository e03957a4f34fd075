//! `daemon: exec`: any program of the user's.

use super::find::program;
use super::{At, DaemonError, Launch, Paths, Program, READY_EVERY, Readiness};
use crate::topology::plan::ExecDaemon;

const CONFIG: &str = "daemon.conf";
const RUN: &str = "run";

pub(super) fn check(at: &At<'_>, exec: &ExecDaemon) -> Vec<DaemonError> {
    let mut errors = Vec::new();
    let bad = |what: String| DaemonError::BadCommand { node: at.node.name.clone(), what };
    for (key, command) in [("command", Some(&exec.command)), ("ready", exec.ready.as_ref())] {
        let Some(command) = command else { continue };
        match command.first().map(String::as_str) {
            None | Some("") => errors.push(bad(format!("`{key}` is empty: give a program and its arguments"))),
            Some(name) if name.contains('/') && !name.starts_with('/') => errors.push(bad(format!(
                "`{key}` starts with the relative path {name:?}: give an absolute path, or a name to be found in PATH"
            ))),
            Some(_) => {}
        }
        if exec.config.is_none() && command.iter().any(|word| word.contains("{config}")) {
            errors.push(bad(format!("`{key}` uses {{config}}, but there is no `config` text to write")));
        }
    }
    errors
}

pub(super) fn prepare(at: &At<'_>, exec: &ExecDaemon, paths: &Paths) -> Result<Launch, DaemonError> {
    let config = paths.node.join(CONFIG);
    let run = paths.node.join(RUN);
    let fill =
        |text: &str| text.replace("{config}", &config.to_string_lossy()).replace("{run}", &run.to_string_lossy());
    let command = |words: &[String]| -> Result<Vec<String>, DaemonError> {
        let mut words: Vec<String> = words.iter().map(|word| fill(word)).collect();
        words[0] = program(&at.node.name, &words[0], "install it, or correct the command in the file", paths)?;
        Ok(words)
    };
    Ok(Launch {
        programs: vec![Program {
            name: exec.command[0].clone(),
            argv: command(&exec.command)?,
            ready: match &exec.ready {
                Some(words) => Readiness::Command { argv: command(words)?, every: READY_EVERY },
                None => Readiness::Started,
            },
        }],
        files: exec.config.iter().map(|text| (config.clone(), fill(text))).collect(),
        directories: vec![run.clone()],
        env: Vec::new(),
    })
}
