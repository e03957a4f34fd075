//! Entering network namespaces.

use std::fs::File;
use std::io;
use std::path::Path;
use std::thread;

use nix::sched::{CloneFlags, setns};

/// Runs a closure in a network namespace, named by a file such as `/run/netns/NAME`, on a thread of its own that ends with it: no other
/// thread ever changes its namespace. What the closure opens (sockets) stays in the namespace.
///
/// # Errors
/// If the file cannot be opened or entered, or no thread can be made.
pub fn within<T: Send>(namespace: &Path, run: impl FnOnce() -> T + Send) -> io::Result<T> {
    let file = File::open(namespace)?;
    thread::scope(|scope| {
        let inside = thread::Builder::new().name("netns".into()).spawn_scoped(scope, move || {
            setns(&file, CloneFlags::CLONE_NEWNET)?;
            Ok(run())
        })?;
        inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
