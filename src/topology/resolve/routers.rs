//! Routers' and hosts' settings.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use router_core::config::{self, Igmp, Pim, StaticJoin};

use super::Resolver;
use crate::topology::fault::FaultKind;
use crate::topology::file::{self, Kind};
use crate::topology::plan::{self, Daemon, ExecDaemon, Multicast, NodeId, NodeKind, StaticRoute, Unicast};
use crate::topology::read::At;
use crate::topology::scalars::{Int, Time, out_of_range};
use crate::topology::tree::Span;

/// Multicast interfaces of a kernel table (`MAXVIFS`).
pub(in crate::topology) const VIF_LIMIT: usize = 32;
const ROUTERS_ONLY: &str = "for routers only";
const HOSTS_ONLY: &str = "for hosts only";

impl Resolver<'_> {
    pub(super) fn set_up_routers(&mut self) {
        let file = self.file;
        let defaults = file.defaults.as_ref().and_then(|d| d.router.as_ref());
        let default_igmp = defaults.and_then(|d| d.igmp.as_ref()).map(|igmp| self.igmp(igmp)).unwrap_or_default();
        for (at, igmp) in self.end_igmps.clone() {
            let igmp = self.igmp(igmp);
            self.plan.nodes[at.node.0].interfaces[at.interface].igmp = igmp;
        }
        let default_pim = defaults.and_then(|d| d.pim.as_ref()).map(|pim| self.pim(pim)).unwrap_or_default();
        for (at, pim) in self.end_pims.clone() {
            let pim = self.pim(&pim.0);
            self.plan.nodes[at.node.0].interfaces[at.interface].pim = pim;
        }
        for (index, (name, node)) in file.nodes().iter().enumerate().take(self.plan.nodes.len()) {
            let Some(node) = node else { continue };
            if node.kind.value == Kind::Router {
                self.set_up_router(NodeId(index), name, node, defaults, (&default_igmp, &default_pim));
            }
        }
        self.check_unicast();
    }

    /// OSPF is FRR's alone, and neither side of a network that has it in parts would learn the other's prefixes.
    fn check_unicast(&mut self) {
        let file = self.file;
        let at_defaults = file.defaults.as_ref().and_then(|d| d.router.as_ref()).and_then(|d| d.unicast.as_ref());
        let kinds: Vec<_> =
            self.plan.nodes.iter().map(|n| n.router().map(|r| (r.unicast, r.daemon == Daemon::Frr))).collect();
        let has_ospf = kinds.contains(&Some((Unicast::Ospf, true)));
        for ((name, node), kind) in file.nodes().iter().zip(kinds) {
            let Some(node) = node else { continue };
            let own = node.unicast.as_ref().map_or(&name.span, |unicast| &unicast.span);
            let fault = |key: &str, only| FaultKind::KeyNotHere { key: key.into(), only };
            match kind {
                Some((Unicast::Ospf, false)) => {
                    let at =
                        if node.unicast.is_some() { own } else { at_defaults.map_or(own, |unicast| &unicast.span) };
                    self.fault(at, fault("unicast: ospf", "for routers with `daemon: frr` only"));
                }
                Some((Unicast::Static, _)) if has_ospf => {
                    self.fault(own, fault("unicast: static", "for networks in which no router has `unicast: ospf`"));
                }
                _ => {}
            }
        }
    }

    fn set_up_router(
        &mut self,
        id: NodeId,
        name: &At<String>,
        node: &file::Node,
        defaults: Option<&file::RouterDefaults>,
        (default_igmp, default_pim): (&Igmp, &Pim),
    ) {
        if let Some(gateway) = &node.gateway {
            self.fault(&gateway.span, FaultKind::KeyNotHere { key: "gateway".into(), only: HOSTS_ONLY });
        }
        let daemon_at = node.daemon.as_ref().or(defaults.and_then(|d| d.daemon.as_ref()));
        let multicast_at = node.multicast.as_ref().or(defaults.and_then(|d| d.multicast.as_ref()));
        let daemon = daemon_at.map_or(Daemon::RouterCore, |daemon| match &daemon.value {
            file::Daemon::RouterCore => Daemon::RouterCore,
            file::Daemon::Smcroute => Daemon::Smcroute,
            file::Daemon::Frr => Daemon::Frr,
            file::Daemon::Pimd => Daemon::Pimd,
            file::Daemon::Exec(exec) => Daemon::Exec(ExecDaemon {
                command: exec.command.0.clone(),
                config: exec.config.clone(),
                ready: exec.ready.as_ref().map(|ready| ready.0.clone()),
            }),
        });
        let multicast = multicast_at.map_or(Multicast::Static, |m| m.value);
        let unicast = node.unicast.as_ref().or(defaults.and_then(|d| d.unicast.as_ref()));
        // smcroute has no IGMP, and none of the others has limits: defaults for the others are none of its business.
        let own = daemon != Daemon::Smcroute;
        let igmp = node.igmp.as_ref().map(|igmp| self.igmp(igmp)).unwrap_or_default();
        let igmp = if own { igmp.or(default_igmp) } else { igmp };
        let is_limited = matches!(daemon, Daemon::RouterCore | Daemon::Exec(_));
        let default_limits = defaults.filter(|_| is_limited).and_then(|d| d.limits.as_ref());
        let limits_at = node.limits.as_ref().map(|limits| &limits.value).or(default_limits);
        let interfaces = self.plan.node(id).interfaces.len();
        // Registers need an interface of their own (RFC 7761 §4.4).
        let limit = if multicast == Multicast::PimSm { VIF_LIMIT - 1 } else { VIF_LIMIT };
        if multicast != Multicast::None && interfaces > limit {
            let kind = FaultKind::TooManyInterfaces { node: name.value.clone(), count: interfaces, limit };
            self.fault(&name.span, kind);
        }
        if daemon == Daemon::Smcroute {
            self.check_smcroute(id, node, multicast, multicast_at.map_or(&name.span, |at| &at.span));
        }
        let pim = self.router_pim(id, node, multicast, default_pim);
        let upstream = self.upstream(id, name, node, multicast);
        let mut routes = Vec::new();
        if let Some(list) = &node.routes {
            if multicast == Multicast::Static {
                routes.extend(list.iter().filter_map(|route| self.route(id, route)));
            } else {
                let only = "for routers with `multicast: static` only";
                self.fault(&list.span, FaultKind::KeyNotHere { key: "routes".into(), only });
            }
        }
        let router = plan::Router {
            daemon,
            multicast,
            unicast: unicast.map(|u| u.value).unwrap_or_default(),
            igmp,
            pim,
            upstream,
            routes,
            limits: limits(limits_at),
        };
        self.plan.nodes[id.0].kind = NodeKind::Router(Box::new(router));
    }

    /// smcroute forwards by static routes and thresholds; it has no IGMP, no boundaries and no limits to set.
    fn check_smcroute(&mut self, id: NodeId, node: &file::Node, multicast: Multicast, at: &Span) {
        let refused = match multicast {
            Multicast::Proxy => Some(("proxy", "smcroute forwards by static routes; router-core can be a proxy")),
            Multicast::PimDm => Some(("pim-dm", "smcroute forwards by static routes; router-core speaks PIM")),
            Multicast::PimSm => Some(("pim-sm", "smcroute forwards by static routes; router-core speaks PIM")),
            Multicast::None | Multicast::Static => None,
        };
        if let Some((word, instead)) = refused {
            self.fault(at, FaultKind::Unsupported { word: word.into(), instead });
        }
        for route in node.routes.iter().flat_map(|routes| &routes.value) {
            if route.to.as_ref().is_none_or(|to| to.0.is_empty()) {
                let of = "a route of smcroute, which follows no memberships,";
                self.fault(&route.from.span, FaultKind::MissingKey { key: "to".into(), of });
            }
        }
        const ONLY: &str = "for router-core only; this router runs smcroute";
        let igmp = node.igmp.as_ref().map(|igmp| ("igmp", igmp.span.clone()));
        let limits = node.limits.as_ref().map(|limits| ("limits", limits.span.clone()));
        let boundaries =
            self.boundaries.iter().filter(|(at, _)| at.node == id).map(|(_, span)| ("boundary", span.clone()));
        let igmps = self.end_igmps.iter().filter(|(at, _)| at.node == id).map(|(_, igmp)| ("igmp", igmp.span.clone()));
        let keys: Vec<(&str, Span)> = igmp.into_iter().chain(limits).chain(boundaries).chain(igmps).collect();
        for (key, span) in keys {
            self.fault(&span, FaultKind::KeyNotHere { key: key.into(), only: ONLY });
        }
    }

    fn upstream(&mut self, id: NodeId, name: &At<String>, node: &file::Node, multicast: Multicast) -> Option<usize> {
        match (&node.upstream, multicast) {
            (Some(upstream), Multicast::Proxy) => self.side(id, upstream),
            (None, Multicast::Proxy) => {
                let kind = FaultKind::MissingKey { key: "upstream".into(), of: "a router with `multicast: proxy`" };
                self.fault(&name.span, kind);
                None
            }
            (Some(upstream), _) => {
                let only = "for routers with `multicast: proxy` only";
                self.fault(&upstream.span, FaultKind::KeyNotHere { key: "upstream".into(), only });
                None
            }
            (None, _) => None,
        }
    }

    fn route(&mut self, id: NodeId, route: &file::Route) -> Option<StaticRoute> {
        let group = self.group_prefix(&route.group.value.0, &route.group.span);
        let source = route.source.as_ref().map(|source| self.source_prefix(source));
        let incoming = self.side(id, &route.from);
        let mut outgoing = Vec::new();
        for to in route.to.iter().flat_map(|to| &to.0) {
            let Some(side) = self.side(id, to) else { continue };
            if Some(side) == incoming {
                let first = route.from.value.clone();
                let kind = FaultKind::KeysExclude {
                    of: "a route",
                    first: format!("from: {first}"),
                    second: format!("to: {}", to.value),
                };
                self.fault(&to.span, kind);
            } else if !outgoing.contains(&side) {
                outgoing.push(side);
            }
        }
        Some(StaticRoute {
            group: group?,
            source: match source {
                None => None,
                Some(source) => Some(source?),
            },
            incoming: incoming?,
            outgoing,
        })
    }

    /// A prefix of sources: a node's address, an address, or a prefix.
    fn source_prefix(&mut self, source: &At<String>) -> Option<IpNet> {
        match source.parse::<IpNet>() {
            Ok(prefix) if !prefix.addr().is_multicast() => Some(prefix.trunc()),
            _ => self.source_address(source).map(IpNet::from),
        }
    }

    pub(super) fn set_up_hosts(&mut self) {
        let file = self.file;
        let default = file.defaults.as_ref().and_then(|d| d.host.as_ref()).and_then(|h| h.igmp.as_ref());
        if let Some(igmp) = default {
            self.check_host_igmp(igmp);
        }
        for (index, (name, node)) in file.nodes().iter().enumerate().take(self.plan.nodes.len()) {
            let Some(node) = node else { continue };
            if node.kind.value != Kind::Host {
                continue;
            }
            let keys = [
                ("daemon", node.daemon.as_ref().map(|k| &k.span)),
                ("multicast", node.multicast.as_ref().map(|k| &k.span)),
                ("unicast", node.unicast.as_ref().map(|k| &k.span)),
                ("routes", node.routes.as_ref().map(|k| &k.span)),
                ("pim", node.pim.as_ref().map(|k| &k.span)),
                ("upstream", node.upstream.as_ref().map(|k| &k.span)),
                ("limits", node.limits.as_ref().map(|k| &k.span)),
            ];
            for (key, span) in keys.into_iter().filter_map(|(key, span)| Some((key, span?))) {
                self.fault(span, FaultKind::KeyNotHere { key: key.into(), only: ROUTERS_ONLY });
            }
            if let Some(igmp) = &node.igmp {
                self.check_host_igmp(igmp);
            }
            let igmp = node.igmp.as_ref().or(default);
            let gateways = self.gateways(NodeId(index), name, node);
            self.plan.nodes[index].kind = NodeKind::Host(plan::Host {
                igmp_version: igmp.and_then(|igmp| igmp.version.as_ref()).map(|version| version.get()),
                gateways,
            });
        }
    }

    fn check_host_igmp(&mut self, igmp: &At<file::Igmp>) {
        let mut bare = igmp.value.clone();
        bare.version = None;
        if self.igmp(&At { value: bare, span: igmp.span.clone() }) != Igmp::default() {
            let only = "for routers; a host has `igmp: {version}` alone";
            self.fault(&igmp.span, FaultKind::KeyNotHere { key: "igmp".into(), only });
        }
    }

    /// The next hops of a host's default routes.
    fn gateways(&mut self, id: NodeId, name: &At<String>, node: &file::Node) -> Vec<IpAddr> {
        // The routers on its wires, and their addresses there.
        let mut routers: BTreeMap<NodeId, Vec<IpAddr>> = BTreeMap::new();
        let mut unread = false;
        for interface in &self.plan.node(id).interfaces {
            for end in &self.plan.wire(interface.wire).ends {
                unread |= self.unread.contains(&end.node);
                if self.plan.node(end.node).is_router() {
                    let addresses = self.plan.interface(*end).addresses.iter().map(IpNet::addr);
                    routers.entry(end.node).or_default().extend(addresses);
                }
            }
        }
        let Some(given) = &node.gateway else {
            if routers.len() > 1 && !unread {
                let routers = routers.keys().map(|id| self.plan.node(*id).name.clone()).collect();
                self.fault(&name.span, FaultKind::NoGateway { host: name.value.clone(), routers });
                return Vec::new();
            }
            return one_a_family(routers.into_values().flatten());
        };
        let mut gateways = Vec::new();
        for word in &given.value.0 {
            if word.value == "none" {
                continue;
            }
            let far = FaultKind::FarGateway { host: name.value.clone(), gateway: word.value.clone() };
            if let Ok(address) = word.parse::<IpAddr>() {
                let near =
                    self.plan.node(id).interfaces.iter().flat_map(|i| &i.addresses).any(|n| n.contains(&address));
                if near {
                    gateways.push(address);
                } else {
                    self.fault(&word.span, far);
                }
                continue;
            }
            let Some(router) = self.router(word) else { continue };
            match routers.get(&router) {
                Some(addresses) => gateways.extend(addresses),
                None => self.fault(&word.span, far),
            }
        }
        one_a_family(gateways)
    }

    /// IGMP settings, checked against each other and against what the wire can say.
    pub(super) fn igmp(&mut self, igmp: &At<file::Igmp>) -> Igmp {
        // RFC 9776 §4.1.1, §4.1.7: the largest values of the floating-point codes.
        const QUERY_INTERVAL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(31_744));
        const RESPONSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(3_174_400));
        let query_interval = self.interval(&igmp.query_interval, "the query interval", QUERY_INTERVAL);
        let response = self.interval(&igmp.query_response_interval, "the query response interval", RESPONSE);
        let startup =
            self.interval(&igmp.startup_query_interval, "the startup query interval", (RESPONSE.0, QUERY_INTERVAL.1));
        let startup_response =
            self.interval(&igmp.startup_query_response_interval, "the response interval of startup queries", RESPONSE);
        let last_member = self.interval(&igmp.last_member_query_interval, "the last member query interval", RESPONSE);
        if let (Some(query), Some(at)) = (query_interval, &igmp.query_response_interval)
            && at.0 >= query
        {
            let range = format!("less than the query interval, {}", humantime::format_duration(query));
            let value = humantime::format_duration(at.0).to_string();
            self.fault(&at.span, out_of_range("the query response interval", &value, &range));
        }
        let span = |time: Option<Duration>| time.map(router_core::time::Span);
        Igmp {
            enabled: igmp.enabled,
            version: igmp.version.as_ref().map(|v| v.get()),
            robustness: igmp.robustness.map(Int::get),
            query_interval: span(query_interval),
            query_response_interval: span(response),
            startup_query_interval: span(startup),
            startup_query_count: igmp.startup_query_count.map(Int::get),
            startup_query_response_interval: span(startup_response),
            last_member_query_interval: span(last_member),
            last_member_query_count: igmp.last_member_query_count.map(Int::get),
            fast_leave: igmp.fast_leave,
            static_joins: igmp
                .static_joins
                .as_ref()
                .map(|joins| joins.iter().flat_map(|join| self.static_join(join)).collect()),
            allowed_groups: igmp.allowed_groups.as_ref().map(|prefixes| {
                prefixes.iter().filter_map(|prefix| self.group_prefix(&prefix.value.0, &prefix.span)).collect()
            }),
            require_router_alert: igmp.require_router_alert,
            deaf: igmp.deaf,
        }
    }

    pub(super) fn interval(
        &mut self,
        at: &Option<At<Time>>,
        what: &str,
        range: (Duration, Duration),
    ) -> Option<Duration> {
        let at = at.as_ref()?;
        if at.0 < range.0 || at.0 > range.1 {
            let show = |span: Duration| humantime::format_duration(span).to_string();
            let range = format!("{} to {}", show(range.0), show(range.1));
            self.fault(&at.span, out_of_range(what, &show(at.0), &range));
        }
        Some(at.0)
    }

    fn static_join(&mut self, join: &file::StaticJoin) -> Vec<StaticJoin> {
        let group = self.group(&join.group);
        let sources = join.source.as_ref().map(|source| self.source_addresses(source).unwrap_or_default());
        let Some(group) = group else { return Vec::new() };
        match sources {
            None => vec![StaticJoin { group, source: None }],
            Some(sources) => sources.into_iter().map(|source| StaticJoin { group, source: Some(source) }).collect(),
        }
    }
}

/// The first address of each family.
fn one_a_family(addresses: impl IntoIterator<Item = IpAddr>) -> Vec<IpAddr> {
    let (mut v4, mut v6) = (None, None);
    for address in addresses {
        let slot = if address.is_ipv4() { &mut v4 } else { &mut v6 };
        slot.get_or_insert(address);
    }
    v4.into_iter().chain(v6).collect()
}

fn limits(given: Option<&file::Limits>) -> config::Limits {
    let default = config::Limits::default();
    let Some(given) = given else { return default };
    config::Limits {
        groups_per_interface: given.groups_per_interface.map_or(default.groups_per_interface, Int::get),
        sources_per_group: given.sources_per_group.map_or(default.sources_per_group, Int::get),
        neighbours_per_interface: given.neighbours_per_interface.map_or(default.neighbours_per_interface, Int::get),
        forwarding_entries: given.forwarding_entries.map_or(default.forwarding_entries, Int::get),
        rp_mappings: given.rp_mappings.map_or(default.rp_mappings, Int::get),
        scope_zones: given.scope_zones.map_or(default.scope_zones, Int::get),
    }
}
