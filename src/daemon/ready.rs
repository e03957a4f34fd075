//! What a foreign daemon leaves in the world once it is at work: a socket that it listens on, interfaces in the kernel's multicast
//! forwarding table.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How often the world is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// What is waited for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Awaited {
    /// A Unix stream socket that accepts connections.
    pub socket: Option<PathBuf>,
    /// Names of interfaces that multicast is forwarded between in this network namespace.
    pub vifs: Vec<String>,
}

impl Awaited {
    /// Whether all of it is there.
    pub fn is_there(&self) -> bool {
        let is_listening = |socket: &PathBuf| UnixStream::connect(socket).is_ok();
        let vifs = || {
            let table = fs::read_to_string("/proc/self/net/ip_mr_vif").unwrap_or_default();
            self.vifs.iter().all(|name| holds(&table, name))
        };
        vifs() && self.socket.as_ref().is_none_or(is_listening)
    }

    /// Waits until all of it is there, for so long at the most; gives whether it is.
    pub fn wait(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        loop {
            if self.is_there() {
                return true;
            }
            if Instant::now() >= end {
                return false;
            }
            std::thread::sleep(LOOK);
        }
    }
}

/// Whether the kernel's table of multicast interfaces has one of a name: the second word of a line.
fn holds(table: &str, name: &str) -> bool {
    table.lines().skip(1).any(|line| line.split_whitespace().nth(1) == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multicast_interfaces_are_known_by_their_names() {
        let table = "Interface      BytesIn  PktsIn  BytesOut PktsOut Flags Local    Remote\n \
                     0 eth1              0       0         0       0 00008 00000000 00000000\n \
                     1 pimreg            0       0         0       0 00004 00000000 00000000\n";
        assert!(holds(table, "eth1"));
        assert!(!holds(table, "eth"));
        assert!(!holds(table, "Interface"));
    }
}
