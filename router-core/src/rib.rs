//! Unicast routes as the kernel has them, for lookups and for `show routes`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::router::{InterfaceId, UnicastRoute};

/// Most routes that are kept; more are counted and left out.
pub const LIMIT: usize = 65_536;

/// A way to a prefix, in the order of preference: lowest metric, then lowest next hop (a connected prefix before all), then lowest index.
type Way = (u32, Option<IpAddr>, InterfaceId);

/// The routes. Those that differ in any field are different routes.
#[derive(Clone, Debug, Default)]
pub struct Rib {
    prefixes: BTreeMap<IpNet, BTreeSet<Way>>,
    /// How many prefixes there are of each length, by family: a lookup tries no others.
    lengths: [BTreeMap<u8, usize>; 2],
    count: usize,
}

impl Rib {
    /// Adds a route; false if there is no room for it.
    pub fn add(&mut self, route: &UnicastRoute) -> bool {
        let prefix = route.prefix.trunc();
        let way = (route.metric, route.next_hop, route.interface);
        if self.prefixes.get(&prefix).is_some_and(|ways| ways.contains(&way)) {
            return true;
        }
        if self.count >= LIMIT {
            return false;
        }
        self.count += 1;
        let ways = self.prefixes.entry(prefix).or_default();
        if ways.is_empty() {
            *self.lengths[family(prefix.addr())].entry(prefix.prefix_len()).or_default() += 1;
        }
        ways.insert(way)
    }

    /// Takes a route out.
    pub fn remove(&mut self, route: &UnicastRoute) {
        let prefix = route.prefix.trunc();
        let gone = (route.metric, route.next_hop, route.interface);
        self.retain_of(prefix, |way| *way != gone);
    }

    /// Takes all routes of an interface out.
    pub fn remove_interface(&mut self, interface: InterfaceId) {
        let prefixes: Vec<IpNet> = self.prefixes.keys().copied().collect();
        for prefix in prefixes {
            self.retain_of(prefix, |(_, _, of)| *of != interface);
        }
    }

    fn retain_of(&mut self, prefix: IpNet, stays: impl Fn(&Way) -> bool) {
        let Some(ways) = self.prefixes.get_mut(&prefix) else { return };
        let before = ways.len();
        ways.retain(stays);
        self.count -= before - ways.len();
        if !ways.is_empty() {
            return;
        }
        self.prefixes.remove(&prefix);
        let lengths = &mut self.lengths[family(prefix.addr())];
        if let Some(count) = lengths.get_mut(&prefix.prefix_len()) {
            *count -= 1;
            if *count == 0 {
                lengths.remove(&prefix.prefix_len());
            }
        }
    }

    /// All routes in the order of their prefixes, those of a prefix in the order of preference.
    pub fn iter(&self) -> impl Iterator<Item = UnicastRoute> {
        self.prefixes.iter().flat_map(|(prefix, ways)| ways.iter().map(|way| route(*prefix, *way)))
    }

    /// The route toward an address: longest prefix, then lowest metric, then lowest next hop, then lowest interface index. It depends on
    /// nothing but the routes that there are.
    pub fn lookup(&self, address: IpAddr) -> Option<UnicastRoute> {
        self.lengths[family(address)].keys().rev().find_map(|length| {
            let prefix = IpNet::new(address, *length).ok()?.trunc();
            Some(route(prefix, *self.prefixes.get(&prefix)?.first()?))
        })
    }
}

fn family(address: IpAddr) -> usize {
    usize::from(address.is_ipv6())
}

fn route(prefix: IpNet, (metric, next_hop, interface): Way) -> UnicastRoute {
    UnicastRoute { prefix, next_hop, interface, metric }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
        assert_eq!(rib.lookup("2001:db8::1".parse().unwrap()), None);
    }

    #[test]
    fn of_equal_metrics_the_lowest_next_hop_wins_whatever_came_first() {
        let mut rib = Rib::default();
        for hop in ["10.0.0.3", "10.0.0.2", "10.0.0.10"] {
            rib.add(&route("10.1.0.0/16", Some(hop), 1, 5));
        }
        let chosen = |rib: &Rib| rib.lookup("10.1.0.1".parse().unwrap()).unwrap().next_hop.unwrap().to_string();
        assert_eq!(chosen(&rib), "10.0.0.2");
        rib.remove(&route("10.1.0.0/16", Some("10.0.0.2"), 1, 5));
        assert_eq!(chosen(&rib), "10.0.0.3");
    }

    /// A route whose metric changes is a new one; the old one goes after it has come.
    #[test]
    fn the_same_next_hop_with_another_metric_is_another_route() {
        let mut rib = Rib::default();
        rib.add(&route("10.1.0.0/16", Some("10.0.0.2"), 1, 5));
        rib.add(&route("10.1.0.0/16", Some("10.0.0.2"), 1, 7));
        rib.remove(&route("10.1.0.0/16", Some("10.0.0.2"), 1, 5));
        assert_eq!(rib.lookup("10.1.0.1".parse().unwrap()).unwrap().metric, 7);
        assert_eq!((rib.iter().count(), rib.count), (1, 1));
    }

    #[test]
    fn no_more_routes_are_kept_than_the_limit() {
        let mut rib = Rib::default();
        let numbered = |index: usize| UnicastRoute {
            prefix: IpNet::new(IpAddr::from((index as u32 + (10 << 24)).to_be_bytes()), 32).unwrap(),
            next_hop: None,
            interface: InterfaceId(1),
            metric: 0,
        };
        assert!((0..LIMIT).all(|index| rib.add(&numbered(index))));
        assert!(!rib.add(&numbered(LIMIT)) && rib.add(&numbered(0)), "one that is there is no news");
        rib.remove(&numbered(1));
        assert!(rib.add(&numbered(LIMIT)));
    }

    proptest! {
        /// The obvious way to do it: look at all.
        #[test]
        fn a_lookup_finds_what_a_look_at_all_routes_finds(
            added in proptest::collection::vec((0u32..8, 0u8..=32, 0u32..3, 0u8..3, 1u32..4), 0..40),
            removed in proptest::collection::vec(any::<prop::sample::Index>(), 0..20),
            address in 0u32..8, gone in 0u32..8)
        {
            let routes: Vec<UnicastRoute> = added
                .iter()
                .map(|(base, length, metric, hop, interface)| UnicastRoute {
                    prefix: IpNet::new(IpAddr::from((base << 29).to_be_bytes()), *length).unwrap(),
                    next_hop: (*hop > 0).then(|| [10, 0, 0, *hop].into()),
                    interface: InterfaceId(*interface),
                    metric: *metric,
                })
                .collect();
            let mut rib = Rib::default();
            let mut all: Vec<UnicastRoute> = Vec::new();
            for route in &routes {
                rib.add(route);
                all.push(UnicastRoute { prefix: route.prefix.trunc(), ..route.clone() });
            }
            for index in removed.iter().filter(|_| !routes.is_empty()) {
                let route = index.get(&routes);
                rib.remove(route);
                all.retain(|kept| *kept != UnicastRoute { prefix: route.prefix.trunc(), ..route.clone() });
            }
            rib.remove_interface(InterfaceId(gone));
            all.retain(|route| route.interface != InterfaceId(gone));
            let address = IpAddr::from((address << 29).to_be_bytes());
            let found = rib.lookup(address);
            let best = all.iter().filter(|route| route.prefix.contains(&address)).min_by_key(|route| {
                (std::cmp::Reverse(route.prefix.prefix_len()), route.metric, route.next_hop, route.interface)
            });
            prop_assert_eq!(found.as_ref(), best);
        }
    }
}
