//! The topologies of the files that a verb is given.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use crate::topology;
use crate::topology::plan::Plan;

/// Loads all files, and checks that the daemons in them can do what is asked of them. `look` may change each plan and says, a line each,
/// what of it the verb cannot do.
///
/// Whatever is wrong with any of them is printed to standard error before anything is done, and there is no plan.
pub(super) fn plans(files: &[PathBuf], mut look: impl FnMut(&mut Plan) -> Vec<String>) -> Option<Vec<Plan>> {
    let mut plans = Vec::new();
    let mut faults = String::new();
    let terminal = std::io::stderr().is_terminal();
    for file in files {
        match topology::load(file) {
            Ok(mut plan) => {
                faults.extend(look(&mut plan).iter().map(|line| format!("{}: {line}\n", plan.file)));
                faults.push_str(&super::refusals(&plan));
                plans.push(plan);
            }
            Err(wrong) => faults.push_str(&wrong.render(terminal)),
        }
    }
    if faults.is_empty() {
        return Some(plans);
    }
    eprint!("{faults}");
    None
}
