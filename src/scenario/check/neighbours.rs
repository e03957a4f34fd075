//! `neighbours`: which PIM neighbours routers know.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::Judgement;
use super::ask::until_right;
use crate::network::{Network, NetworkError};
use crate::oracle::{self, Certainty};
use crate::scenario::explain;
use crate::scenario::outcome::{Figure, Finding, Value};
use crate::scenario::runner::{Run, millis};
use crate::topology::plan::{Attachment, NodeId};
use crate::topology::steps::Message;

/// Neighbours that are wanted at an attachment, by address.
type Wanted = BTreeMap<IpAddr, (Attachment, Certainty)>;

/// What is wrong at an attachment.
#[derive(Clone, Copy, Debug)]
enum Wrong {
    /// It does not know this neighbour.
    Lacks(Attachment),
    /// It knows this one, which should not be there.
    Knows(IpAddr),
}

/// At each attachment, the router's daemon knows exactly its neighbours: those that are named, or those of the oracle.
pub fn neighbours<N: Network>(
    run: &mut Run<'_, N>,
    at: &[Attachment],
    are: Option<&[NodeId]>,
    within: Duration,
) -> Result<Judgement, NetworkError> {
    let wanted: Vec<(Attachment, Wanted)> = at.iter().map(|at| (*at, wanted(run, *at, are))).collect();
    let mut known_in_all = 0;
    let (mut judgement, wrong) = until_right(run, within, |network| {
        known_in_all = 0;
        let mut of_router: BTreeMap<NodeId, Vec<crate::network::Neighbour>> = BTreeMap::new();
        for (at, wanted) in &wanted {
            let all = match of_router.entry(at.node) {
                std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
                std::collections::btree_map::Entry::Vacant(place) => place.insert(network.neighbours(at.node)?),
            };
            let known: Vec<IpAddr> = all.iter().filter(|n| n.interface == at.interface).map(|n| n.address).collect();
            known_in_all += known.len() as u64;
            let lacks = wanted.iter().find(|(a, (_, sure))| *sure == Certainty::Yes && !known.contains(a));
            let knows = known.iter().find(|address| !wanted.contains_key(address));
            let wrong = lacks.map(|(_, (end, _))| Wrong::Lacks(*end)).or(knows.map(|address| Wrong::Knows(*address)));
            if let Some(wrong) = wrong {
                return Ok(Some((*at, wrong)));
            }
        }
        Ok(None)
    })?;
    judgement.figures.push(Figure::new("neighbours", Value::Count(known_in_all)));
    if let Some((at, wrong)) = wrong {
        judgement.fail(explain_wrong(run, at, wrong));
    }
    Ok(judgement)
}

/// Whom a router should know at an attachment.
fn wanted<N: Network>(run: &Run<'_, N>, at: Attachment, are: Option<&[NodeId]>) -> Wanted {
    let wire = run.plan.interface(at).wire;
    let ends: BTreeMap<Attachment, Certainty> = match are {
        None => oracle::pim_neighbours(run.plan, run.history.now(), at),
        Some(named) => {
            let ends = run.plan.wire(wire).ends.iter().filter(|end| end.node != at.node && named.contains(&end.node));
            ends.map(|end| (*end, Certainty::Yes)).collect()
        }
    };
    let with_address =
        |(end, sure): (Attachment, Certainty)| Some((IpAddr::V4(run.plan.interface(end).ipv4()?.addr()), (end, sure)));
    ends.into_iter().filter_map(with_address).collect()
}

fn explain_wrong<N: Network>(run: &Run<'_, N>, at: Attachment, wrong: Wrong) -> Finding {
    let interface = run.plan.interface(at);
    let wire = run.plan.wire(interface.wire);
    let router = run.name(at.node);
    let hellos = run.network.control(interface.wire);
    let last_of = |address: IpAddr| hellos.iter().rfind(|s| s.message == Message::PimHello && s.source == address);
    let said = |address: IpAddr| match last_of(address) {
        Some(hello) => {
            let ago = humantime::format_duration(millis(run.network.now().since(hello.time)));
            format!("its last hello on {} is {ago} old", wire.name)
        }
        None => format!("no hello of it was seen on {}", wire.name),
    };
    let text = match wrong {
        Wrong::Lacks(end) => {
            let address = run.plan.interface(end).ipv4().map(|a| IpAddr::V4(a.addr()));
            let said = address.map(said).unwrap_or_default();
            format!("{router} should know its PIM neighbour {} on {}: {said}", run.name(end.node), interface.name)
        }
        Wrong::Knows(address) => {
            let owner =
                wire.ends.iter().find(|end| run.plan.interface(**end).addresses.iter().any(|a| a.addr() == address));
            let who = owner.map_or_else(|| address.to_string(), |end| run.name(end.node).to_owned());
            format!("{router} should not know the PIM neighbour {who} on {}: {}", interface.name, said(address))
        }
    };
    explain::finding_at_wire(run, at, text)
}
