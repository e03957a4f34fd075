//! Messages of neighbours, taken apart for the machines (RFC 3973 §4.4 to §4.6).

use std::net::IpAddr;

use super::{Action, Context, Dense, assert, downstream, macros, upstream};
use crate::forwarding::EntryKey;
use crate::pim::Sent;
use crate::pim::metric::AssertMetric;
use crate::router::InterfaceId;
use crate::wire::pim::{Assert, EncodedSource, JoinPrune, Message};

/// What a join/prune says of a source.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Join,
    Prune,
}

impl Dense {
    /// A message of a neighbour, on an interface where PIM runs. Hellos are none of its business.
    pub fn hear(
        &mut self,
        context: &mut Context<'_>,
        interface: InterfaceId,
        from: IpAddr,
        destination: IpAddr,
        message: &Message,
    ) {
        let Some(own) = macros::my_addr(context.ports, interface) else { return };
        match message {
            Message::Hello(_)
            | Message::Register(_)
            | Message::RegisterStop(_)
            | Message::Bootstrap(_)
            | Message::CandidateRpAdvertisement(_) => {}
            Message::JoinPrune(message) => self.hear_join_prune(context, interface, from, own, message),
            // §5.4: a group whose scope ends here is none of the neighbour's business.
            Message::Graft(message)
                if !message.groups.is_empty()
                    && message.groups.iter().all(|set| macros::is_boundary(context.ports, interface, set.group)) => {}
            Message::Graft(message) if message.upstream == own => {
                self.hear_graft(context, interface, from, message);
                let message = Message::GraftAck(JoinPrune { upstream: from, ..message.clone() });
                self.actions.push(Action::Send(Sent { interface, destination: from, message }));
            }
            // For another router (§4.4.2).
            Message::Graft(_) => {}
            Message::GraftAck(message) if destination == own => {
                for (key, _) in pairs(message).filter(|(_, word)| *word == Word::Join) {
                    let entry = self.entries.get(&key);
                    if entry.is_some_and(|e| e.rpf_interface() == Some(interface) && e.rpf_neighbour == Some(from)) {
                        self.upstream(context, key, upstream::Event::GraftAck);
                    }
                }
            }
            // For another router (§4.4.1).
            Message::GraftAck(_) => {}
            Message::Assert(message) => self.hear_assert(context, interface, from, message),
            Message::StateRefresh(message) => self.hear_refresh(context, interface, from, message),
        }
    }

    fn hear_join_prune(
        &mut self,
        context: &mut Context<'_>,
        interface: InterfaceId,
        from: IpAddr,
        own: IpAddr,
        message: &JoinPrune,
    ) {
        for (key, word) in pairs(message) {
            if macros::is_boundary(context.ports, interface, key.group) {
                continue;
            }
            if let Some(entry) = self.entries.get(&key)
                && entry.rpf_interface() == Some(interface)
            {
                match word {
                    // To whomever: the table names nobody.
                    Word::Prune => self.upstream(context, key, upstream::Event::SeePrune),
                    Word::Join if entry.rpf_neighbour == Some(message.upstream) => {
                        self.upstream(context, key, upstream::Event::SeeJoin);
                    }
                    Word::Join => {}
                }
            }
            if message.upstream != own {
                continue;
            }
            // A join finds what it asks for where there is no state.
            if word == Word::Join && !self.entries.contains_key(&key) || self.ensure(context, key).is_err() {
                continue;
            }
            let event = match word {
                Word::Join => downstream::Event::Join,
                Word::Prune => downstream::Event::Prune,
            };
            self.hear_downstream(context, (interface, from), key, event, message.hold_time);
        }
    }

    fn hear_graft(&mut self, context: &mut Context<'_>, interface: InterfaceId, from: IpAddr, message: &JoinPrune) {
        for (key, _) in pairs(message).filter(|(_, word)| *word == Word::Join) {
            let inside = !macros::is_boundary(context.ports, interface, key.group);
            if inside && self.entries.contains_key(&key) {
                self.hear_downstream(context, (interface, from), key, downstream::Event::Graft, 0);
            }
        }
    }

    /// A join, prune or graft to this router.
    fn hear_downstream(
        &mut self,
        context: &mut Context<'_>,
        (interface, from): (InterfaceId, IpAddr),
        key: EntryKey,
        event: downstream::Event,
        hold_time: u16,
    ) {
        let state = self.entries.get(&key).map(|entry| entry.assert(interface));
        let of_winner = matches!(state, Some(assert::State::Loser { winner, .. }) if winner == from);
        let asks = matches!(event, downstream::Event::Join | downstream::Event::Graft);
        let asked = if of_winner && asks { assert::Event::WinnerAsks } else { assert::Event::JoinPruneGraft };
        self.assert(context, key, interface, asked);
        // On the upstream interface the machine is always in NoInfo state (§4.4.2).
        if self.entries.get(&key).is_some_and(|entry| entry.rpf_interface() != Some(interface)) {
            self.downstream(context, key, interface, event, hold_time);
        }
        self.evaluate(context, key);
    }

    fn hear_assert(&mut self, context: &mut Context<'_>, interface: InterfaceId, from: IpAddr, message: &Assert) {
        let key = EntryKey { source: message.source, group: message.group };
        if macros::is_boundary(context.ports, interface, key.group) || self.ensure(context, key).is_err() {
            return;
        }
        let metric = AssertMetric::heard(message.preference, message.metric, from);
        let link = context.ports.get(&interface).and_then(|port| port.pim.as_ref());
        let Some(holds) = link.map(|link| link.settings().assert_time) else { return };
        self.assert(context, key, interface, assert::Event::Heard { from, metric, holds });
        self.evaluate(context, key);
    }
}

/// The (S,G) pairs of a join/prune; ranges and what sparse mode says of trees by a rendezvous point are left out.
fn pairs(message: &JoinPrune) -> impl Iterator<Item = (EntryKey, Word)> + '_ {
    let whole = |address: IpAddr, length: u8| length == if address.is_ipv4() { 32 } else { 128 };
    let single =
        move |source: &EncodedSource| whole(source.address, source.mask_length) && !source.wildcard && !source.rpt;
    message.groups.iter().filter(move |set| whole(set.group, set.mask_length)).flat_map(move |set| {
        let group = set.group;
        let named = move |source: &EncodedSource| EntryKey { source: source.address, group };
        let joined = set.joined.iter().filter(move |s| single(s)).map(move |s| (named(s), Word::Join));
        let pruned = set.pruned.iter().filter(move |s| single(s)).map(move |s| (named(s), Word::Prune));
        joined.chain(pruned)
    })
}
