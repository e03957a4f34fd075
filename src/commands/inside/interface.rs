//! Which of a node's interfaces is meant.

use std::collections::BTreeMap;
use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::{InterfaceFlags, if_nametoindex};

use crate::commands::Failure;

/// The kernel index and name of an interface of this network namespace: the named one, else the first that has an address of the family of
/// `like` (in the order of the node's interfaces, which is that of their indexes), the loopback not counted.
pub fn pick(name: Option<&str>, like: IpAddr) -> Result<(u32, String), Failure> {
    let mut with_address: BTreeMap<u32, String> = BTreeMap::new();
    let mut all: BTreeMap<u32, String> = BTreeMap::new();
    let listed =
        getifaddrs().map_err(|error| Failure::machine(format!("cannot list the node's interfaces: {error}")))?;
    for entry in listed.filter(|entry| !entry.flags.contains(InterfaceFlags::IFF_LOOPBACK)) {
        let Ok(index) = if_nametoindex(entry.interface_name.as_str()) else { continue };
        let fits = entry.address.is_some_and(|address| match like {
            IpAddr::V4(_) => address.as_sockaddr_in().is_some(),
            IpAddr::V6(_) => address.as_sockaddr_in6().is_some(),
        });
        if fits {
            with_address.insert(index, entry.interface_name.clone());
        }
        all.insert(index, entry.interface_name);
    }
    let names = || all.values().cloned().collect::<Vec<_>>().join(", ");
    match name {
        Some(name) => all
            .iter()
            .find(|(_, of)| *of == name)
            .map(|(index, name)| (*index, name.clone()))
            .ok_or_else(|| Failure::bad_input(format!("the node has no interface {name}; it has {}", names()))),
        None => with_address.into_iter().next().ok_or_else(|| {
            let family = if like.is_ipv6() { "IPv6" } else { "IPv4" };
            let has = if all.is_empty() { "it has none at all".into() } else { format!("it has {}", names()) };
            Failure::bad_input(format!("the node has no interface with an {family} address; {has}"))
        }),
    }
}
