//! Unicast routes as the kernel has them, for lookups and for `show routes`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::router::{InterfaceId, UnicastRoute};

/// Most routes that are kept; more are counted and left out.
pub const LIMIT: usize = 65_536;

/// The routes.
#[derive(Clone, Debug, Default)]
pub struct Rib {
    routes: BTreeMap<(IpNet, Option<IpAddr>, InterfaceId), u32>,
}

impl Rib {
    /// Adds a route or replaces its metric; false if there is no room for it.
    pub fn add(&mut self, route: &UnicastRoute) -> bool {
        let key = (route.prefix.trunc(), route.next_hop, route.interface);
        if self.routes.len() >= LIMIT && !self.routes.contains_key(&key) {
            return false;
        }
        self.routes.insert(key, route.metric);
        true
    }

    /// Takes a route out.
    pub fn remove(&mut self, route: &UnicastRoute) {
        self.routes.remove(&(route.prefix.trunc(), route.next_hop, route.interface));
    }

    /// Takes all routes of an interface out.
    pub fn remove_interface(&mut self, interface: InterfaceId) {
        self.routes.retain(|(_, _, of), _| *of != interface);
    }

    /// All routes in the order of their prefixes.
    pub fn iter(&self) -> impl Iterator<Item = UnicastRoute> {
        self.routes.iter().map(|((prefix, next_hop, interface), metric)| UnicastRoute {
            prefix: *prefix,
            next_hop: *next_hop,
            interface: *interface,
            metric: *metric,
        })
    }

    /// The route toward an address: longest prefix, then lowest metric, then lowest next hop.
    pub fn lookup(&self, address: IpAddr) -> Option<UnicastRoute> {
        self.iter().filter(|route| route.prefix.contains(&address)).min_by_key(|route| {
            (std::cmp::Reverse(route.prefix.prefix_len()), route.metric, route.next_hop, route.interface)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(prefix: &str, next_hop: Option<&str>, interface: u32, metric: u32) -> UnicastRoute {
        UnicastRoute {
            prefix: prefix.parse().unwrap(),
            next_hop: next_hop.map(|address| address.parse().unwrap()),
            interface: InterfaceId(interface),
            metric,
        }
    }

    #[test]
    fn the_longest_prefix_wins_then_the_lowest_metric() {
        let mut rib = Rib::default();
        for route in [
            route("0.0.0.0/0", Some("10.0.0.1"), 1, 0),
            route("10.1.0.0/16", Some("10.0.0.2"), 2, 20),
            route("10.1.0.0/16", Some("10.0.0.3"), 3, 10),
        ] {
            assert!(rib.add(&route));
        }
        assert_eq!(rib.lookup("10.1.2.3".parse().unwrap()).unwrap().interface, InterfaceId(3));
        assert_eq!(rib.lookup("10.2.2.3".parse().unwrap()).unwrap().interface, InterfaceId(1));
        rib.remove_interface(InterfaceId(3));
        assert_eq!(rib.lookup("10.1.2.3".parse().unwrap()).unwrap().interface, InterfaceId(2));
        rib.remove(&route("10.1.0.0/16", Some("10.0.0.2"), 2, 20));
        assert_eq!(rib.lookup("10.1.2.3".parse().unwrap()).unwrap().interface, InterfaceId(1));
    }
}
