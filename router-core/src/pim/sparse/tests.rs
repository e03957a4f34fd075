//! Rows of the tables that steps cannot reach, or that say more together; and the macros.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::entry::{Source, SourceInterface, Star, StarInterface};
use super::macros::{self, Ports, View};
use super::{assert, downstream, downstream_rpt, register, rendezvous, upstream, upstream_rpt};
use crate::config::{Interface, Pim};
use crate::counters::Counters;
use crate::pim::link::Link;
use crate::pim::metric::{AssertMetric, infinite_assert_metric};
use crate::pim::mrib::Rpf;
use crate::pim::settings::LinkSettings;
use crate::random::Random;
use crate::router::port::Port;
use crate::router::{InterfaceId, InterfaceState};
use crate::time::Time;
use crate::wire::pim::Hello;

const GROUP: [u8; 4] = [239, 1, 1, 1];
const SOURCE: [u8; 4] = [10, 9, 0, 9];

/// Interfaces 1 to 4, this router's addresses ending in 1, with a neighbour of 2 on each.
fn ports() -> Ports {
    let mut random = Random::new(1);
    let port = |i: u8| {
        let settings = LinkSettings::new(&Pim { dr_priority: Some(9), ..Pim::default() }, 8);
        let mut link = Link::new(settings);
        let addresses = vec![format!("10.0.{i}.1/24").parse().unwrap()];
        link.set_interface(Time::ZERO, true, &addresses, &mut random);
        let hello = Hello { hold_time: Some(105), dr_priority: Some(1), ..Hello::default() };
        link.receive(Time::ZERO, [10, 0, i, 2].into(), hello, &mut random);
        let state = InterfaceState { name: format!("eth{i}"), up: true, mtu: 1500, addresses };
        let config = Interface { name: state.name.clone(), ..Interface::default() };
        let (ssm_mapping, counters) = (Vec::new(), Counters::default());
        (InterfaceId(i.into()), Port { config, state, igmp: None, pim: Some(link), ssm_mapping, counters })
    };
    BTreeMap::from([1, 2, 3, 4].map(port))
}

fn rpf(i: u32) -> Option<Rpf> {
    let next_hop = Some([10, 0, i as u8, 2].into());
    Some(Rpf { interface: InterfaceId(i), next_hop, preference: 110, metric: 20, mask_length: 16 })
}

fn view<'a>(ports: &'a Ports, star: &'a Star, entry: &'a Source) -> View<'a> {
    View { ports, ssm: false, group: GROUP.into(), source: Some(SOURCE.into()), star, entry }
}

fn ids(interfaces: macros::Interfaces) -> Vec<u32> {
    interfaces.into_iter().map(|id| id.0).collect()
}

fn loser(metric: u32) -> assert::State {
    let winner: IpAddr = [10, 0, 2, 2].into();
    let metric = AssertMetric { rpt: false, preference: 110, metric, address: Some(winner) };
    assert::State::Loser { winner, metric }
}

/// RP by 1, source by 4; (*,G) joined on 2 and 3, (S,G) on 3.
fn joined() -> (Star, Source) {
    let mut star = Star { rpf: rpf(1), ..Star::default() };
    for i in [2, 3] {
        *star.interfaces.entry(InterfaceId(i)) =
            StarInterface { downstream: downstream::State::Join, ..StarInterface::default() };
    }
    let mut entry = Source { rpf: rpf(4), ..Source::default() };
    *entry.interfaces.entry(InterfaceId(3)) =
        SourceInterface { downstream: downstream::State::PrunePending, ..SourceInterface::default() };
    (star, entry)
}

#[test]
fn olists_are_joined_less_pruned_less_lost() {
    let (ports, (mut star, mut entry)) = (ports(), joined());
    let v = view(&ports, &star, &entry);
    assert_eq!(ids(macros::immediate_olist_all(&v)), [2, 3]);
    assert_eq!(ids(macros::immediate_olist(&v)), [3], "a prune that is pending has not pruned");
    assert_eq!(ids(macros::inherited_olist_rpt(&v)), [2, 3]);
    assert_eq!(ids(macros::inherited_olist(&v)), [2, 3]);
    entry.interfaces.entry(InterfaceId(2)).rpt = downstream_rpt::State::Prune;
    entry.register = register::State::Join;
    let v = view(&ports, &star, &entry);
    assert_eq!(ids(macros::inherited_olist_rpt(&v)), [3]);
    assert_eq!(ids(macros::immediate_olist(&v)), [InterfaceId::REGISTER.0, 3], "the register tunnel is joined");
    star.interfaces.entry(InterfaceId(3)).assert = loser(1);
    let v = view(&ports, &star, &entry);
    assert!(macros::inherited_olist_rpt_is_null(&v) && macros::prune_desired_rpt(&v));
    assert_eq!(ids(macros::inherited_olist(&v)), [InterfaceId::REGISTER.0, 3], "joins(S,G) do not go by (*,G) asserts");
}

#[test]
fn an_assert_of_the_source_is_lost_if_the_winner_would_still_win_with_the_spt_bit() {
    let (ports, (star, mut entry)) = (ports(), joined());
    for (metric, lost) in [(5, true), (99, false)] {
        entry.interfaces.entry(InterfaceId(3)).assert = loser(metric);
        let v = view(&ports, &star, &entry);
        assert_eq!(macros::lost_assert(&v, InterfaceId(3)), lost);
        assert!(macros::lost_assert_rpt(&v, InterfaceId(3)));
    }
    entry.interfaces.entry(InterfaceId(1)).assert = loser(5);
    entry.interfaces.entry(InterfaceId(4)).assert = loser(5);
    let v = view(&ports, &star, &entry);
    for (i, upstream) in [(1, macros::rpf_neighbour_rpt(&v)), (4, macros::rpf_neighbour(&v))] {
        assert!(i == 1 || !macros::lost_assert(&v, InterfaceId(i)), "nothing is lost on an RPF interface");
        assert_eq!(upstream, Some([10, 0, 2, 2].into()), "there, the winner is upstream");
    }
    assert_eq!(macros::rpf_neighbour_all(&v), Some([10, 0, 1, 2].into()));
    assert!(macros::prune_with_join_all(&v), "RPF'(*,G) is not RPF'(S,G,rpt)");
}

#[test]
fn the_spt_bit_waits_where_both_trees_come_by_one_interface() {
    let (ports, (star, mut entry)) = (ports(), joined());
    let four = InterfaceId(4);
    assert!(macros::update_spt_bit(&view(&ports, &star, &entry), four));
    assert!(!macros::update_spt_bit(&view(&ports, &star, &entry), InterfaceId(1)), "not by another interface");
    let same = Star { rpf: Some(Rpf { next_hop: Some([10, 0, 4, 7].into()), ..rpf(4).unwrap() }), ..star.clone() };
    assert!(!macros::update_spt_bit(&view(&ports, &same, &entry), four), "other neighbours: until an assert");
    let same_neighbour = Star { rpf: rpf(4), ..star.clone() };
    assert!(macros::update_spt_bit(&view(&ports, &same_neighbour, &entry), four));
    entry.interfaces.entry(four).assert = loser(5);
    assert!(macros::update_spt_bit(&view(&ports, &same, &entry), four));
}

#[test]
fn metrics_are_those_of_the_tree_that_forwards() {
    let (ports, (star, mut entry)) = (ports(), joined());
    let three = InterfaceId(3);
    let metric = |entry: &Source| macros::my_assert_metric(&view(&ports, &star, entry), three);
    assert!(metric(&entry).rpt, "without the SPTbit, that of the shared tree");
    entry.spt_bit = true;
    assert!(!metric(&entry).rpt);
    assert!(macros::my_assert_metric(&view(&ports, &star, &entry), InterfaceId(4)).is_infinite());
    assert_eq!(macros::my_assert_metric_all(&view(&ports, &star, &entry), InterfaceId(1)), infinite_assert_metric());
}

#[test]
fn another_rendezvous_point_is_registered_with_at_once() {
    use register::{Action, Event, State, transition};
    assert_eq!(transition(State::Join, Event::RpChanged), (State::Join, &[][..]));
    for state in [State::JoinPending, State::Prune] {
        assert_eq!(transition(state, Event::RpChanged), (State::Join, &[Action::CancelTimer][..]));
    }
    assert_eq!(transition(State::NoInfo, Event::RpChanged), (State::NoInfo, &[][..]));
}

#[test]
fn a_rendezvous_point_stops_registers_that_it_has_no_use_for() {
    use rendezvous::{Action, Guards, receive};
    let guards = Guards { i_am_rp: true, spt_bit: false, switch_to_spt_desired: true, olist_is_null: false };
    assert_eq!(receive(guards), [Action::SetKeepalive]);
    let stop = [Action::SendRegisterStop, Action::SetRpKeepalive];
    assert_eq!(receive(Guards { olist_is_null: true, ..guards }), stop);
    assert_eq!(receive(Guards { spt_bit: true, switch_to_spt_desired: false, ..guards }), stop);
    assert_eq!(receive(Guards { switch_to_spt_desired: false, olist_is_null: true, ..guards }), []);
    assert_eq!(receive(Guards { i_am_rp: false, ..guards }), [Action::SendRegisterStop]);
}

#[test]
fn nothing_is_said_out_of_not_joined() {
    use upstream::{Event, State, transition};
    for event in [
        Event::JoinDesiredFalse,
        Event::JoinTimerExpires,
        Event::SeeJoin,
        Event::SeePrune,
        Event::SeePruneRpt,
        Event::SeePruneAll,
        Event::NeighbourChangesByAssert,
        Event::NeighbourChanges,
        Event::GenIdChanges,
    ] {
        assert_eq!(transition(State::NotJoined, event), (State::NotJoined, &[][..]));
    }
    use upstream_rpt::{Event as Rpt, State as RptState};
    for state in [RptState::NotJoined, RptState::Pruned] {
        for event in [Rpt::SeePrune, Rpt::SeeJoin, Rpt::SeePruneSource, Rpt::OverrideTimerExpires] {
            assert_eq!(upstream_rpt::transition(state, event), (state, &[][..]));
        }
    }
}
