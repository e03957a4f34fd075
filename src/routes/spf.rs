//! Shortest paths by link cost, for `unicast: static`.
//!
//! One search a destination, run backwards from the routers that are attached to it: wires cost the same both ways, and
//! a lab has fewer destinations than routers. A LAN is a node of its own in the search (crossing it costs once, however
//! many routers are on it).
//!
//! # Which prefixes are in use
//! - the prefixes of every wire with a host on it: sources and members are hosts;
//! - the loopbacks of routers with `unicast: static`, in labs of at most [`LOOPBACK_ROUTERS_MAX`] such routers. In greater
//!   labs they would be nearly all of the routes (each of n routers to n − 1 others) and nothing needs them;
//! - those of rendezvous points and bootstrap routers, and of candidates for either, in any lab: joins and registers go there.
//!
//! Prefixes of wires without hosts are not routed, as links between routers need no address that others know.
//!
//! # Who takes part
//! Routers with `unicast: static`. Others neither get routes nor carry anyone's: they would not know where to send it.
//! A wire is crossed between two interfaces that are both usable and both have an address of the family in question.
//!
//! # Ties
//! Of next hops at equal cost, the router that comes first in the file wins, then the interface that comes first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::topology::plan::{Attachment, NodeId, Plan, Unicast, WireId};

/// The greatest number of routers whose loopbacks are routed.
pub const LOOPBACK_ROUTERS_MAX: usize = 64;

/// The greatest metric that a route gets: routing daemons that read kernel routes (zebra) take the upper 8 bits of a
/// priority for an administrative distance.
pub const METRIC_MAX: u32 = 0x00ff_ffff;

/// Routes of one node by prefix; connected prefixes are not among them.
pub type Table = BTreeMap<IpNet, Hop>;

/// Where packets to a prefix go next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hop {
    /// The next router's address on the wire between.
    pub address: IpAddr,
    /// The node's own interface toward it: index in its interfaces.
    pub interface: usize,
    /// Cost of the whole path, the destination's wire included, at most [`METRIC_MAX`].
    pub metric: u32,
}

/// Which interfaces of a plan can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usable {
    by_node: Vec<Vec<bool>>,
}

impl Usable {
    /// All of them.
    pub fn all(plan: &Plan) -> Usable {
        Usable { by_node: plan.nodes.iter().map(|node| vec![true; node.interfaces.len()]).collect() }
    }

    /// Whether one can be used.
    pub fn get(&self, at: Attachment) -> bool {
        self.by_node[at.node.0][at.interface]
    }

    /// Changes one; gives whether that made a difference.
    pub fn set(&mut self, at: Attachment, usable: bool) -> bool {
        let place = &mut self.by_node[at.node.0][at.interface];
        std::mem::replace(place, usable) != usable
    }
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Family {
    V4,
    V6,
}

impl Family {
    fn of(prefix: IpNet) -> Family {
        match prefix {
            IpNet::V4(_) => Family::V4,
            IpNet::V6(_) => Family::V6,
        }
    }

    fn default_prefix(self) -> IpNet {
        match self {
            Family::V4 => IpNet::V4(Ipv4Net::default()),
            Family::V6 => IpNet::V6(Ipv6Net::default()),
        }
    }
}

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Wire(WireId),
    Loopback(NodeId),
}

/// Where one or more prefixes of a family are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Destination {
    place: Place,
    family: Family,
}

/// The shortest paths of all routers to a destination.
#[derive(Clone, Debug)]
pub struct Tree {
    destination: Destination,
    nearest: Nearest,
}

/// By wire: the end at the router that is nearest to a destination, and that router's distance.
type Nearest = Vec<Option<(u64, Attachment)>>;

/// What never changes while a lab runs: who takes part, and the prefixes in use.
#[derive(Clone, Debug)]
pub struct Paths {
    /// By node: whether it takes part.
    takes_part: Vec<bool>,
    /// By node, interface: its address in each family, if it has one.
    addresses: Vec<Vec<[Option<IpAddr>; 2]>>,
    /// Whether the routers that take part have both families on all of their interfaces, so that one search serves both.
    alike: bool,
    /// By wire: its ends at routers that take part.
    ends: Vec<Vec<Attachment>>,
    /// Costs by wire.
    costs: Vec<u64>,
    /// By node, interface: its wire.
    wires: Vec<Vec<WireId>>,
    /// Prefixes in use.
    destinations: BTreeMap<(Place, Family), Vec<IpNet>>,
    /// Default routes of hosts, by node.
    defaults: Vec<Table>,
}

impl Paths {
    /// Prepares a plan.
    pub fn new(plan: &Plan) -> Paths {
        let takes_part: Vec<bool> =
            plan.nodes.iter().map(|n| n.router().is_some_and(|r| r.unicast == Unicast::Static)).collect();
        let addresses: Vec<Vec<[Option<IpAddr>; 2]>> = plan
            .nodes
            .iter()
            .map(|node| {
                let address = |v4: Option<IpAddr>, v6: Option<IpAddr>| [v4, v6];
                node.interfaces
                    .iter()
                    .map(|i| address(i.ipv4().map(|a| a.addr().into()), i.ipv6().map(|a| a.addr().into())))
                    .collect()
            })
            .collect();
        let ends: Vec<Vec<Attachment>> = plan
            .wires
            .iter()
            .map(|wire| wire.ends.iter().copied().filter(|end| takes_part[end.node.0]).collect())
            .collect();
        let has_both = |at: &Attachment| addresses[at.node.0][at.interface].iter().all(Option::is_some);
        Paths {
            alike: ends.iter().flatten().all(has_both),
            addresses,
            ends,
            costs: plan.wires.iter().map(|wire| u64::from(wire.cost.max(1))).collect(),
            wires: plan.nodes.iter().map(|n| n.interfaces.iter().map(|i| i.wire).collect()).collect(),
            destinations: destinations(plan, &takes_part),
            defaults: plan.node_ids().map(|host| default_routes(plan, host)).collect(),
            takes_part,
        }
    }

    /// The prefixes that routes are made for, each once, in order.
    pub fn prefixes(&self) -> Vec<IpNet> {
        let mut all: Vec<IpNet> = self.destinations.values().flatten().copied().collect();
        all.sort();
        all.dedup();
        all
    }

    /// The tables of all nodes, by node. A host's table is its default routes, whatever can be used: a real host's
    /// configuration does not change either.
    pub fn tables(&self, usable: &Usable) -> Vec<Table> {
        let mut tables = self.defaults.clone();
        let mut last: Option<(Place, Family, Nearest)> = None;
        for (&(place, family), prefixes) in &self.destinations {
            // The families of a place follow each other.
            let known = last.as_ref().is_some_and(|(of, by, _)| *of == place && (*by == family || self.alike));
            if !known {
                let distances = self.distances(place, family, usable);
                last = Some((place, family, self.nearest(family, usable, &distances)));
            }
            let Some((_, _, nearest)) = &last else { continue };
            for (node, table) in tables.iter_mut().enumerate() {
                if !self.takes_part[node] || self.is_connected(node, place, family, usable) {
                    continue;
                }
                if let Some(hop) = self.next_hop(node, family, usable, nearest) {
                    table.extend(prefixes.iter().map(|&prefix| (prefix, hop)));
                }
            }
        }
        tables
    }

    /// The destination that an address is of, if routes are made to it.
    pub fn destination_of(&self, address: IpAddr) -> Option<Destination> {
        let longest = |prefixes: &[IpNet]| {
            prefixes.iter().filter(|prefix| prefix.contains(&address)).map(IpNet::prefix_len).max()
        };
        let found = self.destinations.iter().filter_map(|(of, prefixes)| Some((longest(prefixes)?, of)));
        found.max_by_key(|(length, _)| *length).map(|(_, &(place, family))| Destination { place, family })
    }

    /// The prefixes of a destination.
    pub fn prefixes_of(&self, destination: Destination) -> &[IpNet] {
        self.destinations.get(&(destination.place, destination.family)).map_or(&[], Vec::as_slice)
    }

    /// The shortest paths to a destination.
    pub fn tree(&self, destination: Destination, usable: &Usable) -> Tree {
        let Destination { place, family } = destination;
        let nearest = self.nearest(family, usable, &self.distances(place, family, usable));
        Tree { destination, nearest }
    }

    /// Where a router sends what goes to a tree's destination; none if it is there already, cannot get there, or takes no part.
    pub fn hop(&self, node: NodeId, tree: &Tree, usable: &Usable) -> Option<Hop> {
        let Destination { place, family } = tree.destination;
        if !self.takes_part[node.0] || self.is_connected(node.0, place, family, usable) {
            return None;
        }
        self.next_hop(node.0, family, usable, &tree.nearest)
    }

    fn address(&self, at: Attachment, family: Family) -> Option<IpAddr> {
        self.addresses[at.node.0][at.interface][family as usize]
    }

    /// Whether packets of a family can go through an interface.
    fn is_open(&self, at: Attachment, family: Family, usable: &Usable) -> bool {
        usable.get(at) && self.address(at, family).is_some()
    }

    fn is_connected(&self, node: usize, place: Place, family: Family, usable: &Usable) -> bool {
        match place {
            Place::Loopback(owner) => owner.0 == node,
            Place::Wire(wire) => {
                self.ends[wire.0].iter().any(|&end| end.node.0 == node && self.is_open(end, family, usable))
            }
        }
    }

    /// By node: the cost of its shortest path to a place.
    fn distances(&self, place: Place, family: Family, usable: &Usable) -> Vec<Option<u64>> {
        let mut distances: Vec<Option<u64>> = vec![None; self.takes_part.len()];
        // The shortest that is known so far: in a mesh, most wires lead to nothing shorter and need no place in the queue.
        let mut known = vec![u64::MAX; self.takes_part.len()];
        let mut queue = BinaryHeap::new();
        match place {
            Place::Loopback(owner) => queue.push(Reverse((0, owner.0))),
            Place::Wire(wire) => {
                for &end in &self.ends[wire.0] {
                    if self.is_open(end, family, usable) {
                        queue.push(Reverse((self.costs[wire.0], end.node.0)));
                    }
                }
            }
        }
        // Routers are settled in order of distance: the first one on a wire brings it nearer than any later one can.
        let mut crossed = vec![false; self.costs.len()];
        while let Some(Reverse((distance, node))) = queue.pop() {
            if distances[node].is_some() {
                continue;
            }
            distances[node] = Some(distance);
            for (interface, &wire) in self.wires[node].iter().enumerate() {
                let here = Attachment { node: NodeId(node), interface };
                if crossed[wire.0] || !self.is_open(here, family, usable) {
                    continue;
                }
                crossed[wire.0] = true;
                let beyond = distance + self.costs[wire.0];
                for &end in &self.ends[wire.0] {
                    if beyond < known[end.node.0] && self.is_open(end, family, usable) {
                        known[end.node.0] = beyond;
                        queue.push(Reverse((beyond, end.node.0)));
                    }
                }
            }
        }
        distances
    }

    fn nearest(&self, family: Family, usable: &Usable, distances: &[Option<u64>]) -> Nearest {
        self.ends
            .iter()
            .map(|ends| {
                ends.iter()
                    .filter(|&&end| self.is_open(end, family, usable))
                    .filter_map(|&end| Some((distances[end.node.0]?, end)))
                    .min()
            })
            .collect()
    }

    /// The best next hop of a router. The nearest router of a wire never has a shorter path across that same wire, so
    /// one candidate a wire is enough.
    fn next_hop(&self, node: usize, family: Family, usable: &Usable, nearest: &Nearest) -> Option<Hop> {
        let mut best: Option<(u64, NodeId, usize, Attachment)> = None;
        for (interface, &wire) in self.wires[node].iter().enumerate() {
            let here = Attachment { node: NodeId(node), interface };
            let Some((distance, end)) = nearest[wire.0] else { continue };
            if end.node.0 == node || !self.is_open(here, family, usable) {
                continue;
            }
            let candidate = (distance + self.costs[wire.0], end.node, interface, end);
            if best.is_none_or(|best| candidate < best) {
                best = Some(candidate);
            }
        }
        let (cost, _, interface, end) = best?;
        let metric = u32::try_from(cost).unwrap_or(u32::MAX).min(METRIC_MAX);
        Some(Hop { address: self.address(end, family)?, interface, metric })
    }
}

/// The prefixes in use, by where they are.
fn destinations(plan: &Plan, takes_part: &[bool]) -> BTreeMap<(Place, Family), Vec<IpNet>> {
    let mut found: BTreeMap<(Place, Family), Vec<IpNet>> = BTreeMap::new();
    for (index, wire) in plan.wires.iter().enumerate() {
        if wire.ends.iter().any(|end| !plan.node(end.node).is_router()) {
            for subnet in &wire.subnets {
                let subnet = subnet.trunc();
                found.entry((Place::Wire(WireId(index)), Family::of(subnet))).or_default().push(subnet);
            }
        }
    }
    let is_small = takes_part.iter().filter(|&&takes_part| takes_part).count() <= LOOPBACK_ROUTERS_MAX;
    let needed = if is_small { BTreeSet::new() } else { rendezvous(plan) };
    for node in plan.node_ids().filter(|node| takes_part[node.0]) {
        for address in &plan.node(node).loopback {
            let prefix = address.trunc();
            if is_small || needed.contains(&address.addr()) {
                found.entry((Place::Loopback(node), Family::of(prefix))).or_default().push(prefix);
            }
        }
    }
    found
}

/// Addresses of rendezvous points and bootstrap routers, configured or offered.
fn rendezvous(plan: &Plan) -> BTreeSet<IpAddr> {
    let pims = plan.nodes.iter().filter_map(|node| node.router()).map(|router| &router.pim);
    pims.flat_map(|pim| {
        let configured = pim.rp.iter().flatten().map(|rp| rp.address);
        configured
            .chain(pim.candidate_rp.iter().map(|rp| rp.address))
            .chain(pim.candidate_bsr.iter().map(|bsr| bsr.address))
    })
    .collect()
}

/// A host's default routes: through the interface that its gateway is on.
fn default_routes(plan: &Plan, host: NodeId) -> Table {
    let mut table = Table::new();
    let node = plan.node(host);
    for &gateway in node.host().map_or(&[][..], |host| &host.gateways) {
        let interface = node.interfaces.iter().position(|i| i.addresses.iter().any(|a| a.contains(&gateway)));
        if let Some(interface) = interface {
            let metric = plan.wire(node.interfaces[interface].wire).cost.clamp(1, METRIC_MAX);
            let family = if gateway.is_ipv4() { Family::V4 } else { Family::V6 };
            table.entry(family.default_prefix()).or_insert(Hop { address: gateway, interface, metric });
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::fixture::{Lab, net};

    fn hop_of<'a>(tables: &'a [Table], plan: &Plan, node: &str, prefix: &str) -> Option<&'a Hop> {
        tables[plan.find_node(node).unwrap().0].get(&net(prefix))
    }

    fn next_name(plan: &Plan, node: &str, hop: &Hop) -> String {
        let id = plan.find_node(node).unwrap();
        let wire = plan.node(id).interfaces[hop.interface].wire;
        let end = plan
            .wire(wire)
            .ends
            .iter()
            .find(|end| plan.interface(**end).addresses.iter().any(|a| a.addr() == hop.address) && end.node != id);
        plan.node(end.unwrap().node).name.clone()
    }

    #[test]
    fn a_tree_gives_the_same_hops_as_the_tables() {
        let plan = diamond();
        let paths = Paths::new(&plan);
        let mut usable = Usable::all(&plan);
        let r1 = plan.find_node("r1").unwrap();
        for cut in [None, Some(1), Some(2)] {
            if let Some(interface) = cut {
                usable.set(Attachment { node: r1, interface }, false);
            }
            let tables = paths.tables(&usable);
            for prefix in paths.prefixes() {
                let destination = paths.destination_of(prefix.addr()).unwrap();
                assert!(paths.prefixes_of(destination).contains(&prefix));
                let tree = paths.tree(destination, &usable);
                for node in plan.node_ids().filter(|id| plan.node(*id).is_router()) {
                    assert_eq!(paths.hop(node, &tree, &usable), tables[node.0].get(&prefix).copied());
                }
            }
        }
        assert_eq!(paths.destination_of("192.0.2.1".parse().unwrap()), None);
    }

    /// Two ways from r1 to r4: by r2 for 20, by r3 for 30.
    fn diamond() -> Plan {
        Lab::new()
            .hosts(&["src", "dst"])
            .routers(&["r1", "r2", "r3", "r4"])
            .wire(1, &["src", "r1"])
            .wire(10, &["r1", "r2"])
            .wire(10, &["r1", "r3"])
            .wire(10, &["r2", "r4"])
            .wire(20, &["r3", "r4"])
            .wire(1, &["r4", "dst"])
            .plan()
    }

    #[test]
    fn the_cheaper_way_round_a_diamond_wins_in_both_families() {
        let plan = diamond();
        let tables = Paths::new(&plan).tables(&Usable::all(&plan));
        for prefix in ["10.0.5.0/24", "fd00:0:5::/64"] {
            let hop = hop_of(&tables, &plan, "r1", prefix).unwrap();
            assert_eq!(next_name(&plan, "r1", hop), "r2");
            assert_eq!(hop.metric, 21);
        }
    }

    #[test]
    fn each_family_goes_only_where_it_has_addresses() {
        let plan = Lab::new()
            .routers(&["r1", "r2"])
            .hosts(&["h"])
            .wire(1, &["r1", "r2"])
            .without_ipv6()
            .wire(10, &["r1", "r2"])
            .wire(1, &["r2", "h"])
            .plan();
        let tables = Paths::new(&plan).tables(&Usable::all(&plan));
        let v4 = hop_of(&tables, &plan, "r1", "10.0.2.0/24").unwrap();
        let v6 = hop_of(&tables, &plan, "r1", "fd00:0:2::/64").unwrap();
        assert_eq!((v4.interface, v4.metric), (0, 2));
        assert_eq!((v6.interface, v6.metric), (1, 11));
    }

    #[test]
    fn only_prefixes_with_hosts_and_loopbacks_are_routed() {
        let plan = diamond();
        let paths = Paths::new(&plan);
        let prefixes: Vec<String> = paths.prefixes().iter().map(ToString::to_string).collect();
        assert_eq!(
            prefixes,
            [
                "10.0.0.0/24",
                "10.0.5.0/24",
                "10.255.0.2/32",
                "10.255.0.3/32",
                "10.255.0.4/32",
                "10.255.0.5/32",
                "fd00::/64",
                "fd00:0:5::/64"
            ]
        );
        let r4 = &paths.tables(&Usable::all(&plan))[plan.find_node("r4").unwrap().0];
        assert!(!r4.contains_key(&net("10.0.5.0/24")), "connected prefixes are the kernel's");
        assert!(!r4.contains_key(&net("10.255.0.5/32")), "nor is its own loopback");
        assert_eq!(r4[&net("10.255.0.2/32")].metric, 20);
    }

    #[test]
    fn an_unusable_end_takes_the_whole_link_out() {
        let plan = diamond();
        let mut usable = Usable::all(&plan);
        let r2 = plan.find_node("r2").unwrap();
        assert!(usable.set(Attachment { node: r2, interface: 1 }, false));
        assert!(!usable.set(Attachment { node: r2, interface: 1 }, false));
        let tables = Paths::new(&plan).tables(&usable);
        let hop = hop_of(&tables, &plan, "r1", "10.0.5.0/24").unwrap();
        assert_eq!(next_name(&plan, "r1", hop), "r3");
        assert_eq!(hop.metric, 31);
        let hop = hop_of(&tables, &plan, "r2", "10.0.5.0/24").unwrap();
        assert_eq!((next_name(&plan, "r2", hop).as_str(), hop.metric), ("r1", 41));
    }

    #[test]
    fn of_equal_next_hops_the_first_router_in_the_file_wins() {
        // The wire to rb comes first, the router ra does.
        let plan = Lab::new()
            .routers(&["ra", "rb", "rc", "rd"])
            .hosts(&["h"])
            .wire(5, &["rc", "rb"])
            .wire(5, &["rc", "ra"])
            .wire(5, &["ra", "rd"])
            .wire(5, &["rb", "rd"])
            .wire(1, &["rd", "h"])
            .plan();
        let tables = Paths::new(&plan).tables(&Usable::all(&plan));
        let hop = hop_of(&tables, &plan, "rc", "10.0.4.0/24").unwrap();
        assert_eq!(next_name(&plan, "rc", hop), "ra");
    }

    #[test]
    fn a_lan_is_crossed_for_its_cost_once() {
        let plan = Lab::new()
            .routers(&["r1", "r2", "r3"])
            .hosts(&["h"])
            .wire(7, &["r1", "r2", "r3"])
            .wire(2, &["r3", "h"])
            .plan();
        let tables = Paths::new(&plan).tables(&Usable::all(&plan));
        for router in ["r1", "r2"] {
            let hop = hop_of(&tables, &plan, router, "10.0.1.0/24").unwrap();
            assert_eq!((next_name(&plan, router, hop).as_str(), hop.metric), ("r3", 9));
        }
    }

    #[test]
    fn a_router_that_lost_its_port_on_a_lan_goes_round() {
        let plan =
            Lab::new().routers(&["r1", "r2"]).hosts(&["h"]).wire(1, &["r1", "r2", "h"]).wire(10, &["r1", "r2"]).plan();
        let mut usable = Usable::all(&plan);
        let paths = Paths::new(&plan);
        assert!(hop_of(&paths.tables(&usable), &plan, "r1", "10.0.0.0/24").is_none());
        usable.set(Attachment { node: NodeId(0), interface: 0 }, false);
        let tables = paths.tables(&usable);
        let hop = hop_of(&tables, &plan, "r1", "10.0.0.0/24").unwrap();
        assert_eq!((hop.interface, hop.metric), (1, 11));
    }

    #[test]
    fn routers_without_static_unicast_carry_nothing() {
        let plan = Lab::new()
            .routers(&["r1", "r2", "r3"])
            .hosts(&["h"])
            .without_unicast("r2")
            .wire(1, &["r1", "r2"])
            .wire(1, &["r2", "r3"])
            .wire(1, &["r3", "h"])
            .plan();
        let tables = Paths::new(&plan).tables(&Usable::all(&plan));
        assert!(hop_of(&tables, &plan, "r1", "10.0.2.0/24").is_none());
        assert!(tables[1].is_empty());
    }

    #[test]
    fn hosts_get_their_default_routes() {
        let plan = diamond();
        let tables = Paths::new(&plan).tables(&Usable::all(&plan));
        let hop = hop_of(&tables, &plan, "dst", "0.0.0.0/0").unwrap();
        assert_eq!((next_name(&plan, "dst", hop).as_str(), hop.interface), ("r4", 0));
        assert!(hop_of(&tables, &plan, "dst", "::/0").is_some());
    }

    #[test]
    fn great_labs_do_not_route_loopbacks() {
        let names: Vec<String> = (0..=LOOPBACK_ROUTERS_MAX).map(|i| format!("r{i}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let plan = Lab::new().routers(&names).hosts(&["h"]).wire(1, &[names[0], "h"]).plan();
        assert_eq!(Paths::new(&plan).prefixes().len(), 2);
    }

    #[test]
    fn costs_that_add_up_past_the_metric_are_held_at_its_bound() {
        let plan = Lab::new()
            .routers(&["r1", "r2"])
            .hosts(&["h"])
            .wire(u32::MAX, &["r1", "r2"])
            .wire(u32::MAX, &["r2", "h"])
            .plan();
        let tables = Paths::new(&plan).tables(&Usable::all(&plan));
        assert_eq!(hop_of(&tables, &plan, "r1", "10.0.1.0/24").unwrap().metric, METRIC_MAX);
    }
}

#[cfg(test)]
#[path = "spf_property.rs"]
mod property;
