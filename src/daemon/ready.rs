//! What a foreign daemon leaves in the world once it is at work: a socket that it listens on, interfaces in the kernel's multicast
//! forwarding table.

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;

/// How often the world is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// What is waited for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Awaited {
    /// A Unix stream socket that accepts connections.
    pub socket: Option<PathBuf>,
    /// Names of interfaces that multicast is forwarded between in this network namespace.
    pub vifs: Vec<String>,
    /// Prefixes that the main table of this network namespace has routes to.
    pub routes: Vec<Ipv4Net>,
}

impl Awaited {
    /// Whether all of it is there, but for the routes.
    pub fn is_at_work(&self) -> bool {
        let is_listening = |socket: &PathBuf| UnixStream::connect(socket).is_ok();
        let vifs = || {
            let table = fs::read_to_string("/proc/self/net/ip_mr_vif").unwrap_or_default();
            self.vifs.iter().all(|name| holds(&table, name))
        };
        vifs() && self.socket.as_ref().is_none_or(is_listening)
    }

    /// Whether all of it is there.
    pub fn is_there(&self) -> bool {
        let routes = || {
            let table = known(&fs::read_to_string("/proc/self/net/route").unwrap_or_default());
            self.routes.iter().all(|prefix| table.contains(prefix))
        };
        self.is_at_work() && (self.routes.is_empty() || routes())
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

/// The destinations of the kernel's table of routes: the second word of a line and the eighth, the octets of each in reverse.
fn known(table: &str) -> BTreeSet<Ipv4Net> {
    let address = |word: &str| u32::from_str_radix(word, 16).ok().map(|octets| Ipv4Addr::from(octets.to_le_bytes()));
    let destination = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        Ipv4Net::with_netmask(address(words.get(1)?)?, address(words.get(7)?)?).ok()
    };
    table.lines().skip(1).filter_map(destination).collect()
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

    #[test]
    fn routes_are_known_by_their_destinations() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                     eth0\t0000400A\t00000000\t0001\t0\t0\t0\tFEFFFFFF\t0\t0\t0\n\
                     eth1\t0003FF0A\t0100400A\t0007\t0\t0\t20\tFFFFFFFF\t0\t0\t0\n";
        assert_eq!(known(table), ["10.64.0.0/31", "10.255.3.0/32"].map(|net| net.parse().unwrap()).into());
    }
}
