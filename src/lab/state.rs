//! State directories: one a lab, below a base directory of the user's; found, claimed and swept.
//!
//! A lab's directory is known by its lock file, which begins with a mark of ours and is locked as long as the lab lives. Whoever makes, sweeps
//! or removes one holds the base directory's lock meanwhile, so that a directory is never seen half made. Nothing without the mark is touched.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, geteuid};

use super::file;
use crate::sys::files::{Lock, lock, try_lock};

const MARK: &str = "testbed lab\n";
const BASE_LOCK: &str = ".testbed-lock";
const TURNS: &str = ".testbed-turns";
/// Prefixes of directories that are being made or removed.
const MAKING: &str = ".testbed-new-";
const REMOVING: &str = ".testbed-old-";
/// The variable that names the base directory.
pub const VARIABLE: &str = "TESTBED_STATE_DIR";

/// Why a state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A directory belongs to somebody else, or anybody may write to it.
    #[error("{path} cannot hold labs: {why}; name another directory with --state-dir")]
    Unsafe {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A file operation failed.
    #[error("cannot {what} {path}: {error}")]
    Io {
        /// What was done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// The system's word.
        error: io::Error,
    },
    /// The lab is up.
    #[error("the lab {0} is up already")]
    Up(String),
    /// A directory that is no lab's stands in the way.
    #[error("{0} exists and is not the directory of a lab: remove it, or name another directory with --state-dir")]
    Foreign(PathBuf),
    /// No lab has that name.
    #[error("no lab named {name} is up{}", others(.up))]
    NoLab {
        /// The name.
        name: String,
        /// Those that are up.
        up: Vec<String>,
    },
    /// None is up.
    #[error("no lab is up")]
    None,
    /// Several are up, and none was named.
    #[error("several labs are up: name one with --lab ({})", .0.join(", "))]
    Several(Vec<String>),
    /// A lab's name must be a host name.
    #[error("{0:?} cannot be the name of a lab: letters, digits and hyphens, at most 63, no hyphen first or last")]
    Name(String),
}

fn others(up: &[String]) -> String {
    if up.is_empty() { String::new() } else { format!(" (up: {})", up.join(", ")) }
}

fn failed<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StateError + 'a {
    move |error| StateError::Io { what, path: path.to_owned(), error }
}

/// The directory that holds a user's labs.
#[derive(Clone, Debug)]
pub struct Base {
    path: PathBuf,
}

impl Base {
    /// The directory given (`--state-dir`), else that of `TESTBED_STATE_DIR`, else the user's own; made if it is not there.
    ///
    /// # Errors
    /// [`StateError`] if it cannot be made, or is not this user's alone to write.
    pub fn find(given: Option<&Path>) -> Result<Base, StateError> {
        match given.map(Path::to_owned).or_else(|| std::env::var_os(VARIABLE).filter(|v| !v.is_empty()).map(Into::into))
        {
            Some(path) => {
                let path = std::path::absolute(&path).map_err(failed("find", &path))?;
                fs::create_dir_all(path.parent().unwrap_or(&path)).map_err(failed("make", &path))?;
                Base::at(path)
            }
            None => Base::of_user(),
        }
    }

    /// The user's own: `$XDG_RUNTIME_DIR/testbed`, `/run/testbed` for root, else `/tmp/testbed-UID`.
    ///
    /// # Errors
    /// As [`Base::find`].
    pub fn of_user() -> Result<Base, StateError> {
        let uid = geteuid();
        if let Some(runtime) = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute())
            && fs::metadata(&runtime).is_ok_and(|about| about.is_dir() && about.uid() == uid.as_raw())
            && let Ok(base) = Base::at(runtime.join("testbed"))
        {
            return Ok(base);
        }
        if uid.is_root()
            && let Ok(base) = Base::at("/run/testbed".into())
        {
            return Ok(base);
        }
        Base::at(format!("/tmp/testbed-{uid}").into())
    }

    fn at(path: PathBuf) -> Result<Base, StateError> {
        make_private(&path)?;
        Ok(Base { path })
    }

    /// Its path, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a lab's state directory.
    pub fn of_lab(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The directory where this user's labs take turns ([`super::turn`]): the user's own, whatever directory the labs lie in.
    ///
    /// # Errors
    /// As [`Base::find`].
    pub fn turns(&self) -> Result<PathBuf, StateError> {
        let base = Base::of_user().unwrap_or_else(|_| self.clone());
        let turns = base.path.join(TURNS);
        make_private(&turns)?;
        Ok(turns)
    }

    fn hold(&self) -> Result<File, StateError> {
        let path = self.path.join(BASE_LOCK);
        let file = open_lock(&path).map_err(failed("open", &path))?;
        lock(&file, Lock::Exclusive).map_err(failed("lock", &path))?;
        Ok(file)
    }

    /// Removes what is left of labs that are gone, and gives the names of those that are there, sorted.
    ///
    /// # Errors
    /// [`StateError::Io`] if the directory cannot be read; what cannot be removed stays for the next time.
    pub fn sweep(&self) -> Result<Vec<String>, StateError> {
        let _held = self.hold()?;
        let mut there = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed("read", &self.path))? {
            let entry = entry.map_err(failed("read", &self.path))?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name.starts_with(MAKING) || name.starts_with(REMOVING) {
                let _ = fs::remove_dir_all(entry.path());
            } else if is_lab_name(&name) {
                match self.look(&name) {
                    Ok(Look::Alive) => there.push(name),
                    Ok(Look::Dead) => drop(self.remove_held(&name)),
                    Ok(Look::Nothing | Look::Foreign) | Err(_) => {}
                }
            }
        }
        there.sort();
        Ok(there)
    }

    /// Finds a lab that is there: the one named, or the only one. Sweeps on the way.
    ///
    /// # Errors
    /// [`StateError`] if it is not there, or none was named and there are several.
    pub fn choose(&self, name: Option<&str>) -> Result<String, StateError> {
        let mut up = self.sweep()?;
        match name {
            Some(name) if up.iter().any(|other| other == name) => Ok(name.to_owned()),
            Some(name) => Err(StateError::NoLab { name: name.to_owned(), up }),
            None => match (up.len(), up.pop()) {
                (1, Some(name)) => Ok(name),
                (_, None) => Err(StateError::None),
                (_, Some(last)) => {
                    up.push(last);
                    Err(StateError::Several(up))
                }
            },
        }
    }

    /// Makes a lab's directory and locks it.
    ///
    /// # Errors
    /// [`StateError::Up`] if the lab is there.
    pub fn claim(&self, name: &str) -> Result<Claim, StateError> {
        if !is_lab_name(name) {
            return Err(StateError::Name(name.to_owned()));
        }
        let _held = self.hold()?;
        let path = self.of_lab(name);
        match self.look(name)? {
            Look::Alive => return Err(StateError::Up(name.to_owned())),
            Look::Foreign => return Err(StateError::Foreign(path)),
            Look::Dead => self.remove_held(name)?,
            Look::Nothing => {}
        }
        let making = self.path.join(format!("{MAKING}{name}"));
        if making.exists() {
            fs::remove_dir_all(&making).map_err(failed("remove", &making))?;
        }
        for directory in [&making, &making.join(file::LOGS), &making.join(file::CAPTURES), &making.join(file::NODES)] {
            private_builder().create(directory).map_err(failed("make", directory))?;
        }
        let lock_path = making.join(file::LOCK);
        let mut lock_file = open_lock(&lock_path).map_err(failed("make", &lock_path))?;
        lock_file.write_all(MARK.as_bytes()).map_err(failed("write", &lock_path))?;
        if !try_lock(&lock_file, Lock::Exclusive).map_err(failed("lock", &lock_path))? {
            return Err(StateError::Up(name.to_owned()));
        }
        fs::rename(&making, &path).map_err(failed("make", &path))?;
        Ok(Claim { path, lock: lock_file })
    }

    /// Removes a lab's directory; for the holder of its lock.
    ///
    /// # Errors
    /// [`StateError::Io`]; what is left is swept later.
    pub fn remove(&self, name: &str) -> Result<(), StateError> {
        let _held = self.hold()?;
        self.remove_held(name)
    }

    fn remove_held(&self, name: &str) -> Result<(), StateError> {
        let path = self.of_lab(name);
        let removing = self.path.join(format!("{REMOVING}{name}"));
        if removing.exists() {
            fs::remove_dir_all(&removing).map_err(failed("remove", &removing))?;
        }
        fs::rename(&path, &removing).map_err(failed("remove", &path))?;
        fs::remove_dir_all(&removing).map_err(failed("remove", &removing))
    }

    fn look(&self, name: &str) -> Result<Look, StateError> {
        let path = self.of_lab(name);
        if fs::symlink_metadata(&path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return Ok(Look::Nothing);
        }
        let lock_path = path.join(file::LOCK);
        let mut options = File::options();
        let Ok(mut file) = options.read(true).custom_flags(libc::O_NOFOLLOW).open(&lock_path) else {
            return Ok(Look::Foreign);
        };
        let mut mark = String::new();
        if (&mut file).take(MARK.len() as u64).read_to_string(&mut mark).is_err() || mark != MARK {
            return Ok(Look::Foreign);
        }
        let free = try_lock(&file, Lock::Exclusive).map_err(failed("lock", &lock_path))?;
        Ok(if free { Look::Dead } else { Look::Alive })
    }
}

enum Look {
    Nothing,
    Foreign,
    Alive,
    Dead,
}

/// A lab's directory, made and locked.
#[derive(Debug)]
pub struct Claim {
    /// Its path.
    pub path: PathBuf,
    /// The lock; held until every copy of it is closed.
    pub lock: File,
}

/// Whether a name can be a lab's: that of a host (RFC 1123 §2.1).
pub fn is_lab_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 63
        && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

fn private_builder() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}

/// Makes a directory that only this user may write to, or makes sure that it is one.
fn make_private(path: &Path) -> Result<(), StateError> {
    match private_builder().create(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed("make", path)(error)),
    }
    let about = fs::symlink_metadata(path).map_err(failed("examine", path))?;
    let unsafe_because = |why: String| Err(StateError::Unsafe { path: path.to_owned(), why });
    if about.is_symlink() && about.uid() != geteuid().as_raw() {
        return unsafe_because("it is a symbolic link of another user's".into());
    }
    let about = fs::metadata(path).map_err(failed("examine", path))?;
    if !about.is_dir() {
        return unsafe_because("it is no directory".into());
    }
    if about.uid() != geteuid().as_raw() {
        return unsafe_because(format!("it belongs to uid {}", Uid::from_raw(about.uid())));
    }
    if about.mode() & 0o022 != 0 {
        return unsafe_because(format!("others may write to it (mode {:o})", about.mode() & 0o7777));
    }
    Ok(())
}

fn open_lock(path: impl AsRef<OsStr>) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    options.open(Path::new(path.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let path = std::env::temp_dir().join(format!("testbed-state-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            Scratch(path)
        }

        fn base(&self) -> Base {
            Base::find(Some(&self.0)).unwrap()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_claimed_lab_is_there_until_its_lock_is_free() {
        let scratch = Scratch::new("claim");
        let base = scratch.base();
        let claim = base.claim("one").unwrap();
        assert!(matches!(base.claim("one"), Err(StateError::Up(_))));
        assert_eq!(base.sweep().unwrap(), ["one"]);
        assert_eq!(base.choose(None).unwrap(), "one");
        assert!(matches!(base.choose(Some("two")), Err(StateError::NoLab { .. })));
        drop(claim);
        assert!(matches!(base.choose(None), Err(StateError::None)));
        assert!(!base.of_lab("one").exists());
        base.claim("one").unwrap();
        // A dead one's place is free again.
        base.claim("one").unwrap();
    }

    #[test]
    fn what_is_no_labs_is_left_alone() {
        let scratch = Scratch::new("foreign");
        let base = scratch.base();
        let photos = base.path().join("photos");
        fs::create_dir(&photos).unwrap();
        fs::write(photos.join("lock"), "mine").unwrap();
        fs::create_dir(base.path().join("empty")).unwrap();
        assert!(base.sweep().unwrap().is_empty());
        assert!(matches!(base.claim("photos"), Err(StateError::Foreign(_))));
        assert!(matches!(base.claim("empty"), Err(StateError::Foreign(_))));
        assert!(photos.join("lock").exists());
    }

    #[test]
    fn a_directory_that_others_may_write_to_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let scratch = Scratch::new("unsafe");
        drop(scratch.base());
        fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(Base::find(Some(&scratch.0)), Err(StateError::Unsafe { .. })));
    }

    #[test]
    fn only_host_names_name_labs() {
        for good in ["a", "first-light", "x1", &"a".repeat(63)] {
            assert!(is_lab_name(good), "{good}");
        }
        for bad in ["", "-a", "a-", "a/b", "..", "a_b", ".hidden", &"a".repeat(64)] {
            assert!(!is_lab_name(bad), "{bad}");
        }
    }
}
