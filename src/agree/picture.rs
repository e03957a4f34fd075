//! What a network looks like when a scenario has ended, in names.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::network::{ControlSighting, Network, NetworkError, Time};
use crate::topology::plan::{Attachment, Multicast, NodeId, Plan};
use crate::topology::steps::{Action, Expectation, Message, Scenario, Stream};

/// How long a network is left alone before it is looked at: longer than anything that a scenario's end may have begun and that is over soon.
pub const SETTLE: Duration = Duration::from_secs(1);

/// What a network looks like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picture {
    /// By stream, then host: the TTLs that its packets arrived with. Hosts that got none are not there.
    pub deliveries: BTreeMap<String, BTreeMap<String, BTreeSet<u8>>>,
    /// By router: its kernel's entries that lead anywhere.
    pub entries: BTreeMap<String, BTreeSet<Entry>>,
    /// By interface of a router: what its daemon last said of who queries there.
    pub queriers: BTreeMap<String, String>,
    /// By interface of a router: the groups that it knows members of, with their filters and versions.
    pub members: BTreeMap<String, BTreeSet<String>>,
    /// By interface of a router: its PIM neighbours.
    pub neighbours: BTreeMap<String, BTreeSet<IpAddr>>,
    /// By interface of a router: whom it takes for the designated router there.
    pub designated: BTreeMap<String, IpAddr>,
    /// By wire: the kinds of protocol messages about groups that are routed. What comes by the clock alone (general queries, hellos, state
    /// refresh) is not among them: a lab's taps open a moment later than its routers start.
    pub messages: BTreeMap<String, BTreeSet<String>>,
    /// Messages that came before what the protocol has them follow.
    pub disorder: Vec<String>,
}

/// A kernel forwarding entry, interfaces by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Entry {
    /// Source; unspecified for all.
    pub source: IpAddr,
    /// Group.
    pub group: IpAddr,
    /// Where packets must come in.
    pub incoming: Option<String>,
    /// Where they leave, with thresholds.
    pub outgoing: BTreeSet<(String, u8)>,
}

impl Picture {
    /// Looks at a network whose scenario began at a time and has ended, after it had time to settle.
    ///
    /// # Errors
    /// [`NetworkError`] if the network is gone. A router whose daemon does not answer has neither members nor neighbours.
    pub fn of<N: Network>(
        plan: &Plan,
        scenario: &Scenario,
        began: Time,
        network: &mut N,
    ) -> Result<Picture, NetworkError> {
        let until = network.now() + SETTLE;
        network.pass_until(until)?;
        let mut picture = Picture::default();
        for name in streams(scenario) {
            let mut received = BTreeMap::new();
            for host in plan.node_ids().filter(|id| !plan.node(*id).is_router()) {
                let ttls: BTreeSet<u8> = network.arrivals(&name, host).iter().map(|arrival| arrival.ttl).collect();
                if !ttls.is_empty() {
                    received.insert(plan.node(host).name.clone(), ttls);
                }
            }
            picture.deliveries.insert(name, received);
        }
        for router in plan.node_ids().filter(|id| plan.node(*id).is_router()) {
            picture.look_at_router(plan, router, network)?;
        }
        for wire in plan.wire_ids() {
            let name = plan.wire(wire).name.clone();
            let mut control = network.control(wire);
            control.retain(|seen| seen.time >= began && is_about_routed(seen));
            let kinds: BTreeSet<String> = control.iter().map(|seen| seen.message.name().to_owned()).collect();
            if !kinds.is_empty() {
                picture.messages.insert(name.clone(), kinds);
            }
            picture.disorder.extend(disorder(plan, &control).map(|what| format!("{name}: {what}")));
        }
        for happening in network.happenings() {
            let Some(id) = happening.node else { continue };
            for (interface, of) in plan.node(id).interfaces.iter().enumerate() {
                let name = &of.name;
                let others = [format!("{name} has another querier"), format!("is not the querier of {name}")];
                let own = format!("became the querier of {name}");
                if happening.what == own || others.iter().any(|other| happening.what.starts_with(other)) {
                    picture.queriers.insert(plan.name_of(Attachment { node: id, interface }), happening.what.clone());
                }
            }
        }
        Ok(picture)
    }

    fn look_at_router<N: Network>(&mut self, plan: &Plan, id: NodeId, network: &mut N) -> Result<(), NetworkError> {
        let name = |interface: usize| plan.name_of(Attachment { node: id, interface });
        let short = |interface: usize| plan.node(id).interfaces[interface].name.clone();
        let of_groups = network.entries(id)?.into_iter().filter(|entry| !entry.outgoing.is_empty());
        let entries: BTreeSet<Entry> = of_groups
            .map(|entry| Entry {
                source: entry.source,
                group: entry.group,
                incoming: entry.incoming.map(short),
                outgoing: entry.outgoing.iter().map(|(interface, ttl)| (short(*interface), *ttl)).collect(),
            })
            .collect();
        if !entries.is_empty() {
            self.entries.insert(plan.node(id).name.clone(), entries);
        }
        for member in network.memberships(id).unwrap_or_default() {
            let what = format!("{} (version {}) {:?}", member.group, member.version, member.filter);
            self.members.entry(name(member.interface)).or_default().insert(what);
        }
        let is_pim = plan.node(id).router().is_some_and(|router| router.multicast != Multicast::None);
        for neighbour in is_pim.then(|| network.neighbours(id)).and_then(Result::ok).unwrap_or_default() {
            self.neighbours.entry(name(neighbour.interface)).or_default().insert(neighbour.address);
        }
        for designated in is_pim.then(|| network.designated_routers(id)).and_then(Result::ok).unwrap_or_default() {
            self.designated.insert(name(designated.interface), designated.address);
        }
        Ok(())
    }
}

/// The names of all streams of a scenario, those of its `scope` steps included.
fn streams(scenario: &Scenario) -> BTreeSet<String> {
    let of_scope = |stream: &Stream, ttl: &u8| format!("{}-ttl{ttl}", stream.name);
    let mut names = BTreeSet::new();
    for step in &scenario.steps {
        match &step.action {
            Action::Stream(stream) => drop(names.insert(stream.name.clone())),
            Action::Expect(Expectation::Scope { stream, ttls, .. }) => {
                names.extend(ttls.iter().map(|ttl| of_scope(stream, ttl)));
            }
            _ => {}
        }
    }
    names
}

/// Whether a message is about a group that routers forward, and comes for another reason than that its time has come.
fn is_about_routed(seen: &ControlSighting) -> bool {
    let is_routed = |group: &IpAddr| !is_link_local(*group);
    seen.message != Message::PimStateRefresh && seen.groups.iter().any(is_routed)
}

/// RFC 5771 §4: such groups stay on their link.
fn is_link_local(group: IpAddr) -> bool {
    matches!(group, IpAddr::V4(group) if group.octets()[..3] == [224, 0, 0])
}

/// Messages that came before what they must follow: an acknowledgement its graft, a question about a group the report of a member, a leave
/// the report of who leaves.
fn disorder<'a>(plan: &'a Plan, control: &'a [ControlSighting]) -> impl Iterator<Item = String> + 'a {
    let is_report =
        |kind: Message| matches!(kind, Message::Igmpv1Report | Message::Igmpv2Report | Message::Igmpv3Report);
    let wrong = move |(number, seen): (usize, &ControlSighting)| {
        let about = |other: &&ControlSighting| other.groups.iter().any(|group| seen.groups.contains(group));
        let mut before = control[..number].iter().filter(about);
        let follows = match seen.message {
            Message::PimGraftAck => before.any(|b| b.message == Message::PimGraft && b.source == seen.destination),
            Message::IgmpGroupQuery | Message::IgmpSourceQuery => before.any(|b| is_report(b.message)),
            Message::IgmpLeave => before.any(|b| is_report(b.message) && b.at == seen.at),
            _ => true,
        };
        let name = || format!("{} of {} follows nothing", seen.message.name(), plan.name_of(seen.at));
        (!follows).then(name)
    };
    control.iter().enumerate().filter_map(wrong)
}
