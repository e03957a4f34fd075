//! Finds programs: beside this executable, in `PATH`, and where daemons usually lie.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{DaemonError, Paths};

/// Daemons that the testbed knows by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The bundled router.
    RouterCore,
    /// Debian's smcroute.
    Smcroute,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 2] = [Kind::RouterCore, Kind::Smcroute];

    /// The program's name.
    pub fn program(self) -> &'static str {
        match self {
            Kind::RouterCore => "router-core",
            Kind::Smcroute => "smcrouted",
        }
    }

    /// How to get it.
    pub fn remedy(self) -> &'static str {
        match self {
            Kind::RouterCore => {
                "it is built together with testbed (`cargo build --workspace`); keep both programs in one directory"
            }
            Kind::Smcroute => "install the package smcroute (`apt-get install smcroute`)",
        }
    }

    fn version_flag(self) -> &'static str {
        match self {
            Kind::RouterCore => "--version",
            Kind::Smcroute => "-v",
        }
    }
}

/// A daemon that is installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where.
    pub path: PathBuf,
    /// The first line that it prints when asked for its version; empty if it says nothing.
    pub version: String,
}

/// Looks for a daemon and asks its version.
pub fn find(kind: Kind) -> Option<Found> {
    let path = look(&search_path(), kind.program())?;
    let version = Command::new(&path)
        .arg(kind.version_flag())
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()
        .and_then(|output| String::from_utf8_lossy(&output.stdout).lines().next().map(|line| line.trim().to_owned()))
        .unwrap_or_default();
    Some(Found { path, version })
}

/// Directories that are searched for daemons: this executable's own, `PATH`, then the usual places (an ordinary user's
/// `PATH` often lacks the `sbin` ones).
pub fn search_path() -> Vec<PathBuf> {
    let mut directories = Vec::new();
    if let Some(own) = std::env::current_exe().ok().as_deref().and_then(Path::parent) {
        // A test's executable lies one level below the programs that cargo built with it.
        if own.file_name().is_some_and(|name| name == "deps") {
            directories.extend(own.parent().map(Path::to_owned));
        }
        directories.push(own.to_owned());
    }
    if let Some(path) = std::env::var_os("PATH") {
        directories.extend(std::env::split_paths(&path).filter(|p| p.is_absolute()));
    }
    for usual in ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"] {
        let usual = PathBuf::from(usual);
        if !directories.contains(&usual) {
            directories.push(usual);
        }
    }
    directories
}

/// The path of a program that a node's daemon needs.
///
/// # Errors
/// [`DaemonError::NoProgram`], with where it was looked for and what helps.
pub fn program(node: &str, name: &str, remedy: &str, paths: &Paths) -> Result<String, DaemonError> {
    let missing = |searched: String| DaemonError::NoProgram {
        node: node.to_owned(),
        program: name.to_owned(),
        searched,
        remedy: remedy.to_owned(),
    };
    if name.starts_with('/') {
        return if is_executable(Path::new(name)) {
            Ok(name.to_owned())
        } else {
            Err(missing("that place".to_owned()))
        };
    }
    let found = look(&paths.programs, name).and_then(|path| path.into_os_string().into_string().ok());
    found.ok_or_else(|| missing(paths.programs.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(":")))
}

fn look(directories: &[PathBuf], name: &str) -> Option<PathBuf> {
    directories.iter().map(|directory| directory.join(name)).find(|path| is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
