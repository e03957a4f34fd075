//! Where the packets of a stream go in a world: every interface that they leave and reach, with the TTLs that they may have
//! there, the forwarding entries that carry them, and what stops them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::net::IpAddr;

use super::deadlines::querier;
use super::membership::{Certainty, accepts, runs_igmp, wanted};
use super::world::World;
use crate::topology::plan::{Attachment, Daemon, Interface, Multicast, NodeId, Plan, StaticRoute, WireId, WireKind};
use crate::topology::steps::Stream;

/// Packets at an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passage {
    /// The TTLs that they may have there.
    pub ttls: BTreeSet<u8>,
    /// Whether they must be there, or only may.
    pub certainty: Certainty,
    /// The interfaces that they come from: for packets that leave a router, where they reached it; for packets that reach a node, who
    /// sent them into the wire.
    pub via: BTreeSet<Attachment>,
}

/// A forwarding entry that a router's kernel should have, interfaces by their index in the node's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedEntry {
    /// Where packets must arrive.
    pub incoming: usize,
    /// Where copies leave: the threshold that the entry holds (1 where the file sets none) and whether it must be there.
    pub outgoing: BTreeMap<usize, (u8, Certainty)>,
    /// Whether packets must reach the router; else the entry may be absent.
    pub certainty: Certainty,
}

/// Why packets do not go on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// The router's daemon is dead.
    Dead,
    /// The file sets `multicast: none` there.
    MulticastNone,
    /// No static multicast route there matches.
    NoRoute,
    /// They come in by another interface than the route says (by its index).
    WrongIncoming(usize),
    /// The interface is a boundary of the group's scope.
    Boundary,
    /// Their TTL is not above the interface's threshold.
    Threshold {
        /// TTL on arrival.
        ttl: u8,
        /// The threshold.
        threshold: u8,
    },
    /// Their TTL would become 0.
    TtlSpent,
    /// Nobody there wants them, and no route sends them there.
    NotWanted,
    /// The wire is cut.
    Cut,
}

/// Packets that do not go on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Blocked {
    /// Where they are: the interface that they reached (for [`Why::Cut`], the one that they left).
    pub at: Attachment,
    /// The interface that they do not leave by; none if they leave by none.
    pub outgoing: Option<usize>,
    /// Why.
    pub why: Why,
}

/// Where the packets of a stream go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Source address.
    pub source: IpAddr,
    /// Group.
    pub group: IpAddr,
    /// The sender's interface.
    pub origin: Attachment,
    /// Interfaces that send them into a wire.
    pub outbound: BTreeMap<Attachment, Passage>,
    /// Interfaces that a wire brings them to (behind a snooping bridge: whose port they leave by).
    pub inbound: BTreeMap<Attachment, Passage>,
    /// Hosts whose sockets receive them.
    pub receivers: BTreeMap<NodeId, Passage>,
    /// The entries of routers that they reach.
    pub entries: BTreeMap<NodeId, ExpectedEntry>,
    /// Where they end.
    pub blocked: BTreeSet<Blocked>,
}

impl Flow {
    /// The flow of a stream in a world, by its TTL. None if the sender's interface has no address of the group's family.
    pub fn of(plan: &Plan, world: &World, stream: &Stream) -> Option<Flow> {
        let origin = Attachment { node: stream.from, interface: stream.interface };
        let source = plan.interface(origin).address_like(stream.group)?;
        let mut flow = Flow {
            source,
            group: stream.group,
            origin,
            outbound: BTreeMap::new(),
            inbound: BTreeMap::new(),
            receivers: BTreeMap::new(),
            entries: BTreeMap::new(),
            blocked: BTreeSet::new(),
        };
        let mut walk = Walk { plan, world, flow: &mut flow, leaving: VecDeque::new() };
        walk.leaving.push_back(Step { at: origin, ttl: stream.ttl, certainty: Certainty::Yes, via: origin });
        while let Some(step) = walk.leaving.pop_front() {
            walk.leave(step);
        }
        Some(flow)
    }

    /// Hosts that must receive, with the TTLs that they may see.
    pub fn must_receive(&self) -> impl Iterator<Item = (NodeId, &Passage)> + '_ {
        self.receivers.iter().filter(|(_, p)| p.certainty == Certainty::Yes).map(|(host, p)| (*host, p))
    }

    /// Whether a host must, may or must not receive.
    pub fn reaches(&self, host: NodeId) -> Certainty {
        self.receivers.get(&host).map_or(Certainty::No, |p| p.certainty)
    }

    /// Wires that carry the stream, with whether they must.
    pub fn wires(&self, plan: &Plan) -> BTreeMap<WireId, Certainty> {
        let mut wires = BTreeMap::new();
        for (at, passage) in &self.outbound {
            let certainty = wires.entry(plan.interface(*at).wire).or_insert(Certainty::No);
            *certainty = passage.certainty.max(*certainty);
        }
        wires
    }

    /// How many routers the packets may have passed on their way to a host.
    pub fn hops(&self, host: NodeId) -> BTreeSet<u8> {
        let sent = self.outbound.get(&self.origin).and_then(|p| p.ttls.last().copied()).unwrap_or(0);
        self.receivers.get(&host).into_iter().flat_map(|p| &p.ttls).map(|ttl| sent.saturating_sub(*ttl)).collect()
    }

    /// The interfaces on the way to a host in order: out of the sender, into a router, out of it, ..., into the host. Where several lead
    /// there, the first by the file's order.
    pub fn way_to(&self, host: NodeId) -> Vec<Attachment> {
        let Some(mut at) = self.inbound.keys().find(|at| at.node == host).copied() else { return Vec::new() };
        let mut way = vec![at];
        // Each interface at most once in each direction: a loop ends the walk.
        while way.len() <= 2 * (self.inbound.len() + self.outbound.len()) {
            let arriving = way.len() % 2 == 1;
            let passage = if arriving { self.inbound.get(&at) } else { self.outbound.get(&at) };
            let Some(&before) = passage.and_then(|p| p.via.first()) else { break };
            if !arriving && at == self.origin {
                break;
            }
            way.push(before);
            at = before;
        }
        way.reverse();
        way
    }
}

struct Step {
    at: Attachment,
    ttl: u8,
    certainty: Certainty,
    via: Attachment,
}

struct Walk<'a> {
    plan: &'a Plan,
    world: &'a World,
    flow: &'a mut Flow,
    leaving: VecDeque<Step>,
}

/// Adds a passage; whether that changed what follows from it.
fn add(
    passages: &mut BTreeMap<Attachment, Passage>,
    at: Attachment,
    ttl: u8,
    certainty: Certainty,
    via: Attachment,
) -> bool {
    let passage = passages.entry(at).or_insert_with(|| Passage {
        ttls: BTreeSet::new(),
        certainty: Certainty::No,
        via: BTreeSet::new(),
    });
    let new_ttl = passage.ttls.insert(ttl);
    let surer = certainty > passage.certainty;
    passage.certainty = passage.certainty.max(certainty);
    let new_way = passage.via.insert(via);
    new_ttl || surer || new_way
}

impl Walk<'_> {
    /// Packets leave a node into a wire.
    fn leave(&mut self, step: Step) {
        let Step { at, ttl, certainty, via } = step;
        let cut = self.world.is_broken(self.plan, at);
        // Whether a tap still sees a frame that the cut then takes depends on the kind of cut.
        let seen = if cut { Certainty::Maybe } else { certainty };
        if !add(&mut self.flow.outbound, at, ttl, seen, via) {
            return;
        }
        if cut {
            self.block(at, None, Why::Cut);
            return;
        }
        let wire = self.plan.interface(at).wire;
        for &end in &self.plan.wire(wire).ends {
            if end == at || !self.world.carries(self.plan, at, end) {
                continue;
            }
            let port = self.port(wire, end).min(certainty);
            if port > Certainty::No && add(&mut self.flow.inbound, end, ttl, port, at) {
                self.arrive(end, ttl, port, at);
            }
        }
    }

    /// Whether a wire brings packets to one of its ends: all of them, unless a bridge snoops.
    fn port(&self, wire: WireId, end: Attachment) -> Certainty {
        let wire = self.plan.wire(wire);
        if wire.kind != (WireKind::Lan { snooping: true }) {
            return Certainty::Yes;
        }
        let queried = wire.ends.iter().any(|&e| runs_igmp(self.plan, self.world, e) > Certainty::No);
        if let Some(filter) = self.world.filter(end.node, self.flow.group) {
            // A bridge may or may not tell sources apart.
            return if accepts(filter, self.flow.source) { Certainty::Yes } else { Certainty::Maybe };
        }
        if self.plan.node(end.node).is_router() {
            // A bridge knows a router by its queries, and only the elected one sends them.
            return if querier(self.plan, self.world, self.plan.interface(end).wire) == Some(end.node) {
                Certainty::Yes
            } else {
                Certainty::Maybe
            };
        }
        // Without a querier a snooping bridge floods (RFC 4541 §2.1.1 leaves it open).
        if queried { Certainty::No } else { Certainty::Maybe }
    }

    /// Packets reach a node.
    fn arrive(&mut self, at: Attachment, ttl: u8, certainty: Certainty, from: Attachment) {
        if self.plan.node(at.node).is_router() {
            self.forward(at, ttl, certainty);
        } else if self.world.filter(at.node, self.flow.group).is_some_and(|f| accepts(f, self.flow.source)) {
            let passage = self.flow.receivers.entry(at.node).or_insert_with(|| Passage {
                ttls: BTreeSet::new(),
                certainty: Certainty::No,
                via: BTreeSet::new(),
            });
            passage.ttls.insert(ttl);
            passage.certainty = passage.certainty.max(certainty);
            passage.via.insert(from);
        }
    }

    fn block(&mut self, at: Attachment, outgoing: Option<usize>, why: Why) {
        self.flow.blocked.insert(Blocked { at, outgoing, why });
    }

    /// Packets reach a router.
    fn forward(&mut self, at: Attachment, ttl: u8, certainty: Certainty) {
        if self.world.is_dead(at.node) {
            return self.block(at, None, Why::Dead);
        }
        let wishes = match self.wishes(at) {
            Ok(wishes) => wishes,
            Err(why) => return self.block(at, None, why),
        };
        // What a stopped daemon would have to change stays as it is.
        let certainty = if self.world.is_stopped(at.node) { certainty.min(Certainty::Maybe) } else { certainty };
        let mut outgoing = BTreeMap::new();
        for (interface, wish) in wishes {
            let out = Attachment { node: at.node, interface };
            let settings = self.plan.interface(out);
            // The kernel takes 0 for 'never': an entry holds at least 1, which also keeps a TTL from becoming 0.
            let threshold = settings.ttl_threshold.max(1);
            if interface == at.interface {
                continue;
            }
            if wish == Certainty::No {
                self.block(at, Some(interface), Why::NotWanted);
            } else if settings.is_boundary_for(self.flow.group) {
                self.block(at, Some(interface), Why::Boundary);
            } else {
                let wish = wish.min(certainty);
                outgoing.insert(interface, (threshold, wish));
                if ttl > threshold {
                    self.leaving.push_back(Step { at: out, ttl: ttl - 1, certainty: wish, via: at });
                } else if ttl <= 1 {
                    self.block(at, Some(interface), Why::TtlSpent);
                } else {
                    self.block(at, Some(interface), Why::Threshold { ttl, threshold });
                }
            }
        }
        let entry = self.flow.entries.entry(at.node).or_insert(ExpectedEntry {
            incoming: at.interface,
            outgoing: BTreeMap::new(),
            certainty: Certainty::No,
        });
        entry.incoming = at.interface;
        entry.outgoing = outgoing;
        entry.certainty = entry.certainty.max(certainty);
    }

    /// By which interfaces a router wants to send what reaches it at one.
    fn wishes(&self, at: Attachment) -> Result<Vec<(usize, Certainty)>, Why> {
        let node = self.plan.node(at.node);
        let Some(router) = node.router() else { return Ok(Vec::new()) };
        if router.multicast == Multicast::None {
            return Err(Why::MulticastNone);
        }
        if self.plan.interface(at).is_boundary_for(self.flow.group) {
            return Err(Why::Boundary);
        }
        let proxy = router.multicast == Multicast::Proxy;
        let always: &[usize] = if proxy {
            // A source on one of its links is believed there alone; what comes from below always goes up (RFC 4605 §4.2).
            let on_link = |i: &Interface| i.addresses.iter().any(|a| a.contains(&self.flow.source));
            match node.interfaces.iter().position(on_link) {
                Some(link) if link != at.interface => return Err(Why::WrongIncoming(link)),
                _ => router.upstream.as_slice(),
            }
        } else {
            match longest_match(&router.routes, self.flow.source, self.flow.group) {
                Some(route) if route.incoming != at.interface => return Err(Why::WrongIncoming(route.incoming)),
                Some(route) => &route.outgoing,
                None => return Err(Why::NoRoute),
            }
        };
        let wish = |interface| {
            if always.contains(&interface) {
                return Certainty::Yes;
            }
            let here = Attachment { node: at.node, interface };
            if router.daemon == Daemon::Smcroute || (proxy && router.upstream == Some(interface)) {
                return Certainty::No;
            }
            // Of several proxies on a link, only its querier forwards (RFC 4605 §4.2).
            let wire = self.plan.interface(here).wire;
            if proxy && querier(self.plan, self.world, wire).is_some_and(|elected| elected != at.node) {
                return Certainty::No;
            }
            wanted(self.plan, self.world, here, self.flow.source, self.flow.group)
        };
        Ok((0..node.interfaces.len()).map(|interface| (interface, wish(interface))).collect())
    }
}

/// The route that holds for packets: the longest source prefix, then the longest group prefix, then the first in the file.
fn longest_match(routes: &[StaticRoute], source: IpAddr, group: IpAddr) -> Option<&StaticRoute> {
    let length =
        |route: &StaticRoute| (route.source.map_or(0, |s| u16::from(s.prefix_len()) + 1), route.group.prefix_len());
    let mut best: Option<&StaticRoute> = None;
    for route in routes {
        let matches = route.group.contains(&group) && route.source.is_none_or(|prefix| prefix.contains(&source));
        if matches && best.is_none_or(|b| length(route) > length(b)) {
            best = Some(route);
        }
    }
    best
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Dead => f.write_str("its daemon is dead"),
            Why::MulticastNone => f.write_str("the file sets `multicast: none` there"),
            Why::NoRoute => f.write_str("no static multicast route there matches"),
            Why::WrongIncoming(_) => f.write_str("its route takes them from another interface"),
            Why::Boundary => f.write_str("the group's scope ends at that interface"),
            Why::Threshold { ttl, threshold } => {
                write!(f, "packets arrive with TTL {ttl}, and its threshold is {threshold}")
            }
            Why::TtlSpent => f.write_str("their TTL is spent"),
            Why::NotWanted => f.write_str("nobody there has joined, and no static route leads there"),
            Why::Cut => f.write_str("the wire is cut"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::testing::{Net, all, all_but, chain, chain_net, group, only, stream};
    use crate::topology::steps::{Cut, CutKind};

    fn flow(plan: &Plan, world: &World, stream: &Stream) -> Flow {
        Flow::of(plan, world, stream).expect("an address of the family")
    }

    #[test]
    fn a_chain_delivers_to_the_member_alone() {
        let (plan, ids) = chain();
        let mut world = World::new();
        let news = stream("news", ids["src"], 16);
        let before = flow(&plan, &world, &news);
        assert!(before.receivers.is_empty());
        assert_eq!(before.wires(&plan).len(), 2, "the static route carries it to r2, where nobody wants it");

        world.join(ids["h1"], group(), &all());
        let after = flow(&plan, &world, &news);
        assert_eq!(after.receivers[&ids["h1"]].ttls, BTreeSet::from([14]));
        assert_eq!(after.hops(ids["h1"]), BTreeSet::from([2]));
        assert_eq!(after.reaches(ids["h2"]), Certainty::No);
        let entry = &after.entries[&ids["r2"]];
        assert_eq!((entry.incoming, entry.outgoing.clone()), (0, BTreeMap::from([(1, (1, Certainty::Yes))])));
        let way: Vec<String> = after.way_to(ids["h1"]).into_iter().map(|at| plan.name_of(at)).collect();
        assert_eq!(way, ["src.eth0", "r1.eth0", "r1.eth1", "r2.eth0", "r2.eth1", "h1.eth0"]);
    }

    #[test]
    fn each_ttl_reaches_as_far_as_the_kernel_forwards() {
        let (mut net, ids) = chain_net();
        net.interface_mut(ids["r2"], 1).ttl_threshold = 8;
        let plan = net.plan();
        let mut world = World::new();
        world.join(ids["h1"], group(), &all());
        let reaches = |ttl| flow(&plan, &world, &stream("s", ids["src"], ttl)).reaches(ids["h1"]);
        // A copy leaves if the TTL on arrival is greater than the threshold: r1 takes one off, r2 needs more than 8.
        assert_eq!(reaches(9), Certainty::No);
        assert_eq!(reaches(10), Certainty::Yes);
        let wires = |ttl| flow(&plan, &world, &stream("s", ids["src"], ttl)).wires(&plan).len();
        assert_eq!([wires(1), wires(2), wires(3), wires(10)], [1, 2, 2, 3]);
        let blocked = flow(&plan, &world, &stream("s", ids["src"], 9)).blocked;
        assert!(blocked.iter().any(|b| b.why == Why::Threshold { ttl: 8, threshold: 8 } && b.outgoing == Some(1)));
    }

    #[test]
    fn a_boundary_stops_its_groups_in_both_directions() {
        for (router, interface) in [("r1", 1), ("r2", 0)] {
            let (mut net, ids) = chain_net();
            net.interface_mut(ids[router], interface).boundary = vec!["239.1.0.0/16".parse().unwrap()];
            let plan = net.plan();
            let mut world = World::new();
            world.join(ids["h1"], group(), &all());
            let mut news = stream("news", ids["src"], 16);
            assert_eq!(flow(&plan, &world, &news).reaches(ids["h1"]), Certainty::No);
            news.group = "239.2.1.1".parse().unwrap();
            world.join(ids["h1"], news.group, &all());
            assert_eq!(flow(&plan, &world, &news).reaches(ids["h1"]), Certainty::Yes);
        }
    }

    #[test]
    fn source_lists_choose_senders() {
        let (plan, ids) = chain();
        let news = stream("news", ids["src"], 16);
        let reached = |filter| {
            let mut world = World::new();
            world.join(ids["h1"], group(), &filter);
            let flow = flow(&plan, &world, &news);
            (flow.reaches(ids["h1"]), flow.wires(&plan).len())
        };
        assert_eq!(reached(only(&["10.0.0.1"])), (Certainty::Yes, 3));
        assert_eq!(reached(only(&["10.0.0.9"])), (Certainty::No, 2));
        assert_eq!(reached(all_but(&["10.0.0.1"])), (Certainty::No, 2));
    }

    #[test]
    fn two_routers_on_a_lan_both_forward_if_both_are_told_to() {
        let mut net = Net::new();
        let (src, r1, r2, h) = (net.host("src"), net.router("r1"), net.router("r2"), net.host("h"));
        net.lan("top", &[src, r1, r2]);
        net.lan("bottom", &[r1, r2, h]);
        net.route(r1, 0, &[]);
        net.route(r2, 0, &[]);
        let plan = net.plan();
        let mut world = World::new();
        world.join(h, group(), &all());
        let both = flow(&plan, &world, &stream("news", src, 16));
        assert_eq!(both.receivers[&h].via.len(), 2);
    }

    #[test]
    fn a_proxy_sends_down_to_members_and_up_always() {
        let mut net = Net::new();
        let (top, p, up, a, b) = (net.router("top"), net.router("p"), net.host("up"), net.host("a"), net.host("b"));
        net.link("u", up, top);
        net.link("m", top, p);
        net.link("x", p, a);
        net.link("y", p, b);
        net.route(top, 0, &[]);
        net.proxy(p, 0);
        let plan = net.plan();
        let mut world = World::new();
        let down = stream("down", up, 16);
        assert_eq!(flow(&plan, &world, &down).wires(&plan).len(), 1, "nobody below asked");
        world.join(b, group(), &all());
        let asked = flow(&plan, &world, &down);
        assert_eq!(asked.receivers[&b].ttls, BTreeSet::from([14]));
        assert_eq!(asked.reaches(a), Certainty::No);
        // From below: up to the router, and across to the other branch.
        let from_a = flow(&plan, &world, &stream("a", a, 16));
        assert_eq!(from_a.entries[&p].outgoing.keys().copied().collect::<Vec<_>>(), [0, 2]);
        assert_eq!(from_a.reaches(b), Certainty::Yes);
    }

    #[test]
    fn of_two_proxies_on_a_lan_the_querier_forwards() {
        let mut net = Net::new();
        let (src, p1, p2, h) = (net.host("src"), net.router("p1"), net.router("p2"), net.host("h"));
        net.lan("top", &[src, p1, p2]);
        net.lan("bottom", &[p1, p2, h]);
        net.proxy(p1, 0);
        net.proxy(p2, 0);
        let plan = net.plan();
        let mut world = World::new();
        world.join(h, group(), &all());
        let news = stream("news", src, 16);
        let senders = |world: &World| {
            let flow = flow(&plan, world, &news);
            flow.receivers.get(&h).map(|p| p.via.iter().map(|at| at.node).collect::<Vec<_>>()).unwrap_or_default()
        };
        assert_eq!(senders(&world), [p1]);
        world.kill(p1);
        assert_eq!(senders(&world), [p2]);
    }

    #[test]
    fn a_snooping_bridge_serves_members_ports_and_routers() {
        let mut net = Net::new();
        let (src, r, other, h1, h2) =
            (net.host("src"), net.router("r"), net.router("other"), net.host("h1"), net.host("h2"));
        net.link("first", src, r);
        net.snooping_lan("lan", &[r, other, h1, h2]);
        net.route(r, 0, &[]);
        let mut plan = net.plan();
        let mut world = World::new();
        world.join(h1, group(), &all());
        let news = stream("news", src, 16);
        let port = |plan: &Plan, world: &World, node| {
            flow(plan, world, &news)
                .inbound
                .iter()
                .find(|(at, _)| at.node == node)
                .map_or(Certainty::No, |(_, p)| p.certainty)
        };
        assert_eq!(port(&plan, &world, h1), Certainty::Yes);
        assert_eq!(port(&plan, &world, h2), Certainty::No);
        assert_eq!(port(&plan, &world, other), Certainty::Maybe, "r has the lower address and queries");
        // Without a querier the bridge may flood.
        for router in ["r", "other"] {
            let id = plan.find_node(router).unwrap();
            for interface in &mut plan.nodes[id.0].interfaces {
                interface.igmp.enabled = Some(false);
            }
        }
        let lan = plan.wires[1].ends[0];
        if let crate::topology::plan::NodeKind::Router(router) = &mut plan.nodes[lan.node.0].kind {
            router.routes[0].outgoing = vec![lan.interface];
        }
        assert_eq!(port(&plan, &world, h2), Certainty::Maybe);
    }

    #[test]
    fn faults_stop_the_flow_and_a_stopped_router_leaves_it_open() {
        let (plan, ids) = chain();
        let news = stream("news", ids["src"], 16);
        let mut world = World::new();
        world.join(ids["h1"], group(), &all());
        world.pause(ids["r2"]);
        assert_eq!(flow(&plan, &world, &news).reaches(ids["h1"]), Certainty::Maybe);
        world.kill(ids["r2"]);
        let dead = flow(&plan, &world, &news);
        assert_eq!(dead.reaches(ids["h1"]), Certainty::No);
        assert!(dead.blocked.iter().any(|b| b.at.node == ids["r2"] && b.why == Why::Dead));
        world.restart(ids["r2"]);
        assert_eq!(flow(&plan, &world, &news).reaches(ids["h1"]), Certainty::Yes);
        world.fail(&Cut {
            wire: plan.find_wire("middle").unwrap(),
            end: None,
            how: CutKind::Carrier,
            detected_after: None,
        });
        assert_eq!(flow(&plan, &world, &news).reaches(ids["h1"]), Certainty::No);
    }

    #[test]
    fn the_longest_match_wins() {
        let (mut net, ids) = chain_net();
        let routes = &mut net.router_mut(ids["r2"]).routes;
        routes.push(StaticRoute {
            group: "239.1.1.0/24".parse().unwrap(),
            source: None,
            incoming: 0,
            outgoing: vec![2],
        });
        routes.push(StaticRoute {
            group: "239.0.0.0/8".parse().unwrap(),
            source: Some("10.0.0.1/32".parse().unwrap()),
            incoming: 1,
            outgoing: vec![],
        });
        let plan = net.plan();
        let flow = flow(&plan, &World::new(), &stream("news", ids["src"], 16));
        assert!(flow.blocked.iter().any(|b| b.at.node == ids["r2"] && b.why == Why::WrongIncoming(1)));
    }

    #[test]
    fn smcroute_forwards_by_routes_alone() {
        let (mut net, ids) = chain_net();
        net.router_mut(ids["r2"]).daemon = Daemon::Smcroute;
        let mut world = World::new();
        world.join(ids["h1"], group(), &all());
        let news = stream("news", ids["src"], 16);
        assert_eq!(flow(&net.plan(), &world, &news).reaches(ids["h1"]), Certainty::No);
        net.router_mut(ids["r2"]).routes[0].outgoing = vec![1];
        assert_eq!(flow(&net.plan(), &world, &news).reaches(ids["h1"]), Certainty::Yes);
    }
}
