//! Forks: the one that a monitor makes of itself, and programs that start in a node's namespaces.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::ptr;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{ForkResult, Pid, fork, pipe2};

/// Splits this process in two, which both go on from here: gives the child's id to the parent, and none to the child.
///
/// # Errors
/// Those of `fork(2)`; `Unsupported` if the process has more than one thread, for the child would inherit locks whose holders it lacks.
pub fn fork_single_threaded() -> io::Result<Option<Pid>> {
    let threads = fs::read_dir("/proc/self/task")?.count();
    if threads != 1 {
        let why = format!("a process with {threads} threads cannot fork and go on");
        return Err(io::Error::new(io::ErrorKind::Unsupported, why));
    }
    // SAFETY: with a single thread there is no lock that another one could hold, so the child may do whatever the parent may.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(Some(child)),
        ForkResult::Child => Ok(None),
    }
}

/// A program to start.
#[derive(Debug)]
pub struct Program<'a> {
    /// Its path, if that is not its name in `argv`.
    pub path: Option<&'a OsStr>,
    /// Its name or path, and its arguments. A name without a slash is looked for in the environment's `PATH`.
    pub argv: &'a [OsString],
    /// Its whole environment.
    pub environment: &'a [(OsString, OsString)],
    /// Its working directory; `/` if that cannot be entered.
    pub directory: &'a OsStr,
    /// Standard input, output and error.
    pub stdio: [BorrowedFd<'a>; 3],
    /// Namespaces to enter first, in this order. A mount namespace resets root and working directory.
    pub namespaces: &'a [BorrowedFd<'a>],
    /// Whether standard input is a terminal that it shall control.
    pub terminal: bool,
    /// Soft and hard limit of open files; unchanged if absent.
    pub open_files: Option<(u64, u64)>,
}

/// Why a program did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The program is not there: exit status 127 by custom.
    #[error("{program}: not found")]
    NotFound {
        /// What was asked for.
        program: String,
    },
    /// It is there, but cannot run: exit status 126 by custom.
    #[error("{program}: {why}")]
    NotExecutable {
        /// What was asked for.
        program: String,
        /// The system's word for it.
        why: io::Error,
    },
    /// A namespace could not be entered, a limit set, ...
    #[error("cannot {step} for {program}: {why}")]
    Failed {
        /// What was asked for.
        program: String,
        /// What failed.
        step: &'static str,
        /// The system's word for it.
        why: io::Error,
    },
    /// An argument or a variable contains a zero octet, or there is no argument at all.
    #[error("an argument or environment variable cannot be passed on: {0:?}")]
    Argument(OsString),
}

/// Starts a program in a session and process group of its own, with default signal handling, and gives its process id once it runs.
/// All descriptors of this process that are not close-on-exec are inherited.
///
/// # Errors
/// [`StartError`]; then no process is left.
pub fn start(program: &Program<'_>) -> Result<Pid, StartError> {
    let name = program.argv.first().ok_or_else(|| StartError::Argument(OsString::new()))?;
    let shown = name.to_string_lossy().into_owned();
    let failed = |step, why: Errno| StartError::Failed { program: shown.clone(), step, why: why.into() };

    // Everything is made ready before the fork: between it and execve the child only calls the kernel.
    let argv = program.argv.iter().map(c_string).collect::<Result<Vec<_>, _>>()?;
    let environment = program
        .environment
        .iter()
        .map(|(key, value)| c_string(OsString::from_vec([key.as_bytes(), b"=", value.as_bytes()].concat())))
        .collect::<Result<Vec<_>, _>>()?;
    let path = program.environment.iter().find(|(key, _)| key == "PATH").map(|(_, value)| value.as_os_str());
    let candidates = candidates(program.path.unwrap_or(name), path)?;
    let directory = c_string(program.directory)?;
    let argv_pointers = pointers(&argv);
    let environment_pointers = pointers(&environment);
    let namespaces: Vec<RawFd> = program.namespaces.iter().map(|fd| fd.as_raw_fd()).collect();
    let stdio = program.stdio.map(|fd| fd.as_raw_fd());
    let limit = program.open_files.map(|(soft, hard)| libc::rlimit { rlim_cur: soft, rlim_max: hard });

    let (news, teller) = pipe2(OFlag::O_CLOEXEC).map_err(|why| failed("make a pipe", why))?;
    // SAFETY: the child calls only async-signal-safe functions (system calls) on memory that is ready, and ends in execve or _exit.
    let child = match unsafe { fork() }.map_err(|why| failed("fork", why))? {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            let prepared = Prepared {
                stdio,
                namespaces: &namespaces,
                terminal: program.terminal,
                limit: limit.as_ref(),
                directory: &directory,
                candidates: &candidates,
                argv: &argv_pointers,
                environment: &environment_pointers,
            };
            // SAFETY: this is the child of a fork, which never returns from here.
            unsafe { prepared.become_it(teller.as_raw_fd()) }
        }
    };
    drop(teller);
    let Some((step, why)) = read_failure(news) else { return Ok(child) };
    // The child has told why and is about to end.
    let _ = nix::sys::wait::waitpid(child, None);
    Err(match (step, why) {
        (Step::Execute, Errno::ENOENT | Errno::ENOTDIR) => StartError::NotFound { program: shown },
        (Step::Execute, why) => StartError::NotExecutable { program: shown, why: why.into() },
        (step, why) => failed(step.name(), why),
    })
}

fn c_string(text: impl AsRef<OsStr>) -> Result<CString, StartError> {
    let text = text.as_ref();
    CString::new(text.as_bytes()).map_err(|_| StartError::Argument(text.to_owned()))
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect()
}

/// The paths that a program's name stands for.
fn candidates(name: &OsStr, path: Option<&OsStr>) -> Result<Vec<CString>, StartError> {
    if name.as_bytes().contains(&b'/') {
        return Ok(vec![c_string(name)?]);
    }
    let path = path.unwrap_or(OsStr::new("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"));
    path.as_bytes()
        .split(|&octet| octet == b':')
        .map(|place| if place.is_empty() { b".".as_slice() } else { place })
        .map(|place| c_string(OsString::from_vec([place, b"/", name.as_bytes()].concat())))
        .collect()
}

/// What the child was doing when it failed; its number travels through the pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Session,
    Namespace,
    Descriptors,
    Terminal,
    Limit,
    Execute,
}

impl Step {
    const ALL: [Step; 6] =
        [Step::Session, Step::Namespace, Step::Descriptors, Step::Terminal, Step::Limit, Step::Execute];

    fn name(self) -> &'static str {
        match self {
            Step::Session => "start a session",
            Step::Namespace => "enter the node's namespaces",
            Step::Descriptors => "hand over standard input and output",
            Step::Terminal => "give it the terminal",
            Step::Limit => "set the limit of open files",
            Step::Execute => "execute it",
        }
    }
}

fn read_failure(news: OwnedFd) -> Option<(Step, Errno)> {
    let mut report = [0; 5];
    fs::File::from(news).read_exact(&mut report).ok()?;
    let step = *Step::ALL.get(usize::from(report[0]))?;
    let [_, error @ ..] = report;
    Some((step, Errno::from_raw(i32::from_ne_bytes(error))))
}

struct Prepared<'a> {
    stdio: [RawFd; 3],
    namespaces: &'a [RawFd],
    terminal: bool,
    limit: Option<&'a libc::rlimit>,
    directory: &'a CStr,
    candidates: &'a [CString],
    argv: &'a [*const libc::c_char],
    environment: &'a [*const libc::c_char],
}

impl Prepared<'_> {
    /// Turns the child into the program; on failure tells it through `teller` and ends.
    ///
    /// # Safety
    /// Only for the child of a fork.
    unsafe fn become_it(&self, teller: RawFd) -> ! {
        // SAFETY: the caller's promise; system calls only.
        let (step, error) = unsafe { self.try_to_become_it() };
        let [a, b, c, d] = (error as i32).to_ne_bytes();
        let report = [step as u8, a, b, c, d];
        // SAFETY: the buffer is valid for its length, and _exit does not come back.
        unsafe {
            libc::write(teller, report.as_ptr().cast(), report.len());
            libc::_exit(127)
        }
    }

    /// # Safety
    /// Only for the child of a fork.
    unsafe fn try_to_become_it(&self) -> (Step, Errno) {
        // SAFETY: async-signal-safe calls whose pointers come from live, terminated buffers of `self`.
        unsafe {
            if libc::setsid() < 0 {
                return (Step::Session, Errno::last());
            }
            for &namespace in self.namespaces {
                if libc::setns(namespace, 0) < 0 {
                    return (Step::Namespace, Errno::last());
                }
            }
            // First out of the way of 0 to 2, so that none is overwritten before it is copied.
            let mut aside = [0; 3];
            for (place, &fd) in aside.iter_mut().zip(&self.stdio) {
                *place = libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3);
                if *place < 0 {
                    return (Step::Descriptors, Errno::last());
                }
            }
            for (number, &fd) in (0..).zip(&aside) {
                if libc::dup2(fd, number) < 0 {
                    return (Step::Descriptors, Errno::last());
                }
            }
            if self.terminal && libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
                return (Step::Terminal, Errno::last());
            }
            if let Some(limit) = self.limit
                && libc::setrlimit(libc::RLIMIT_NOFILE, limit) < 0
            {
                return (Step::Limit, Errno::last());
            }
            if libc::chdir(self.directory.as_ptr()) < 0 {
                libc::chdir(c"/".as_ptr());
            }
            for signal in 1..=libc::SIGRTMAX() {
                libc::signal(signal, libc::SIG_DFL);
            }
            let mut none = std::mem::zeroed::<libc::sigset_t>();
            libc::sigemptyset(&raw mut none);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
            let mut error = Errno::ENOENT;
            for path in self.candidates {
                libc::execve(path.as_ptr(), self.argv.as_ptr(), self.environment.as_ptr());
                match Errno::last() {
                    // As shells do: what is found but may not be run is told only if nothing better comes.
                    Errno::ENOENT | Errno::ENOTDIR => {}
                    // Also when the directory cannot be searched: then nothing is known to be there.
                    Errno::EACCES if libc::access(path.as_ptr(), libc::F_OK) < 0 => {}
                    Errno::EACCES => error = Errno::EACCES,
                    other => return (Step::Execute, other),
                }
            }
            (Step::Execute, error)
        }
    }
}

/// Takes over a descriptor that the kernel has just made for this process.
pub(crate) fn adopt(fd: RawFd) -> OwnedFd {
    // SAFETY: callers pass what a system call has just given them, and nothing else owns it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Lets this process end, as other programs do, when nobody reads its output any more. Rust ignores the signal, and printing would panic.
pub fn end_when_nobody_reads() {
    // SAFETY: setting a signal's default action touches no memory of this program.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// Opens `/dev/null` for reading and writing.
///
/// # Errors
/// Those of `open(2)`.
pub fn null() -> io::Result<OwnedFd> {
    Ok(fs::File::options().read(true).write(true).open("/dev/null")?.into())
}

/// A second descriptor of the same open file.
///
/// # Errors
/// Those of `fcntl(2)`.
pub fn duplicate(fd: impl AsFd) -> io::Result<OwnedFd> {
    fd.as_fd().try_clone_to_owned()
}

#[cfg(test)]
mod tests {
    use nix::sys::wait::{WaitStatus, waitpid};

    use super::*;

    fn run(argv: &[&str]) -> Result<(i32, String), StartError> {
        let null = null().unwrap();
        let (read, write) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let argv: Vec<OsString> = argv.iter().map(OsString::from).collect();
        let environment = [("PATH".into(), "/nowhere:/usr/bin:/bin".into()), ("COLOUR".into(), "blue".into())];
        let program = Program {
            path: None,
            argv: &argv,
            environment: &environment,
            directory: OsStr::new("/nowhere"),
            stdio: [null.as_fd(), write.as_fd(), null.as_fd()],
            namespaces: &[],
            terminal: false,
            open_files: None,
        };
        let pid = start(&program)?;
        drop(write);
        let mut text = String::new();
        fs::File::from(read).read_to_string(&mut text).unwrap();
        match waitpid(pid, None).unwrap() {
            WaitStatus::Exited(_, status) => Ok((status, text)),
            WaitStatus::Signaled(_, signal, _) => Ok((128 + signal as i32, text)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_program_gets_its_environment_and_its_own_session() {
        let (status, text) =
            run(&["sh", "-c", "echo $COLOUR $PWD; ps -o sid= -p $$ | tr -d ' '; echo $$; exit 7"]).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(status, 7);
        assert_eq!(lines[0], "blue /");
        assert_eq!(lines[1], lines[2]);
    }

    #[test]
    fn a_missing_program_and_one_that_may_not_run_are_told_apart() {
        assert!(matches!(run(&["no-such-program"]), Err(StartError::NotFound { .. })));
        assert!(matches!(run(&["/etc/hosts"]), Err(StartError::NotExecutable { .. })));
        assert!(matches!(run(&[]), Err(StartError::Argument(_))));
    }

    #[test]
    fn signals_have_their_default_action_again() {
        assert_eq!(run(&["sh", "-c", "kill -PIPE $$"]).unwrap().0, 128 + libc::SIGPIPE);
    }
}
