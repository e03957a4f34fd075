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
    /// FRRouting: zebra and its own pimd.
    Frr,
    /// troglobit's pimd, which shares its name with FRR's.
    Pimd,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 4] = [Kind::RouterCore, Kind::Frr, Kind::Pimd, Kind::Smcroute];

    /// As the file names it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::RouterCore => "router-core",
            Kind::Smcroute => "smcroute",
            Kind::Frr => "frr",
            Kind::Pimd => "pimd",
        }
    }

    /// The name of its first program.
    pub fn program(self) -> &'static str {
        match self {
            Kind::RouterCore => "router-core",
            Kind::Smcroute => "smcrouted",
            Kind::Frr => "zebra",
            Kind::Pimd => "pimd",
        }
    }

    /// How to get it.
    pub fn remedy(self) -> &'static str {
        match self {
            Kind::RouterCore => {
                "it is built together with testbed (`cargo build --workspace`); keep both programs in one directory"
            }
            Kind::Smcroute => "install the package smcroute (`apt-get install smcroute`)",
            Kind::Frr => "install the package frr (`apt-get install frr`); its services need not run",
            Kind::Pimd => {
                "it cannot be installed beside frr or smcroute: unpack the package pimd aside (`apt-get download pimd`, then \
                 `dpkg-deb -x pimd_*.deb /opt/testbed-daemons/pimd`), or into the directory that TESTBED_DAEMONS names"
            }
        }
    }

    /// Where its programs may lie.
    fn places(self, paths: &Paths) -> Vec<PathBuf> {
        let aside = [paths.aside.join(self.name()).join("usr/sbin"), paths.aside.join(self.name()).join("usr/bin")];
        match self {
            // A `pimd` in `PATH` is the other one.
            Kind::Frr => paths.frr.clone(),
            Kind::RouterCore => paths.programs.clone(),
            Kind::Smcroute | Kind::Pimd => paths.programs.iter().cloned().chain(aside).collect(),
        }
    }

    fn version_flag(self) -> &'static str {
        match self {
            Kind::RouterCore => "--version",
            Kind::Smcroute | Kind::Frr | Kind::Pimd => "-v",
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
    let path = look(&kind.places(&Paths::new("")), kind.program())?;
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

/// Directories of FRR's daemons, which are in nobody's `PATH`.
pub(super) fn frr_places() -> Vec<PathBuf> {
    ["/usr/lib/frr", "/usr/libexec/frr", "/usr/local/lib/frr"].map(PathBuf::from).to_vec()
}

/// The directory of packages that were unpacked rather than installed, one directory each: `TESTBED_DAEMONS`, else `/opt/testbed-daemons`.
pub(super) fn aside() -> PathBuf {
    std::env::var_os("TESTBED_DAEMONS").map_or_else(|| PathBuf::from("/opt/testbed-daemons"), PathBuf::from)
}

/// The path of a program of a known daemon.
///
/// # Errors
/// [`DaemonError::NoProgram`], with where it was looked for and what helps.
pub(super) fn program_of(node: &str, kind: Kind, name: &str, paths: &Paths) -> Result<String, DaemonError> {
    program_in(node, name, kind.remedy(), &kind.places(paths))
}

/// The path of a program that a node's daemon needs.
///
/// # Errors
/// [`DaemonError::NoProgram`], with where it was looked for and what helps.
pub fn program(node: &str, name: &str, remedy: &str, paths: &Paths) -> Result<String, DaemonError> {
    program_in(node, name, remedy, &paths.programs)
}

fn program_in(node: &str, name: &str, remedy: &str, places: &[PathBuf]) -> Result<String, DaemonError> {
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
    let found = look(places, name).and_then(|path| path.into_os_string().into_string().ok());
    found.ok_or_else(|| missing(places.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(":")))
}

fn look(directories: &[PathBuf], name: &str) -> Option<PathBuf> {
    directories.iter().map(|directory| directory.join(name)).find(|path| is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
