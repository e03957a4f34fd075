//! Who is the designated router of a wire, and which rendezvous point serves a group.

use super::*;
use std::net::IpAddr;

use crate::network::DesignatedRouter;
use crate::topology::plan::WireId;
use crate::topology::steps::RpIs;

/// Three sparse mode routers on a LAN, of which the last has the highest address; the first is the rendezvous point.
fn sparse_lan() -> (Plan, [NodeId; 3], WireId) {
    let mut net = Net::new();
    let routers = [net.sparse("r1"), net.sparse("r2"), net.sparse("r3")];
    let lan = net.lan("lan", &routers);
    net.rendezvous_point(routers[0]);
    (net.plan(), routers, lan)
}

fn address(plan: &Plan, node: NodeId) -> IpAddr {
    plan.interface(at(node, 0)).ipv4().unwrap().addr().into()
}

/// A network in which each of some routers takes another for the designated one.
fn believing(plan: &Plan, beliefs: &[(NodeId, NodeId)]) -> Fake {
    let mut network = Fake::new(plan);
    for (who, whom) in beliefs {
        let designated = DesignatedRouter { interface: 0, address: address(plan, *whom) };
        network.designated.insert(*who, vec![designated]);
    }
    network
}

fn designated(at: Vec<Attachment>, is: Option<NodeId>) -> Action {
    Action::Expect(Expectation::DesignatedRouter { at, is, within: after(100) })
}

#[test]
fn all_routers_of_a_wire_must_agree_on_the_right_designated_router() {
    let (plan, [r1, r2, r3], _) = sparse_lan();
    let all = vec![at(r1, 0), at(r2, 0), at(r3, 0)];
    let agreed = || believing(&plan, &[(r1, r3), (r2, r3), (r3, r3)]);
    holds(&go(&plan, &mut agreed(), vec![designated(all.clone(), None), designated(all.clone(), Some(r3))]));
    let report = go(&plan, &mut believing(&plan, &[(r1, r3), (r2, r1), (r3, r3)]), vec![designated(all.clone(), None)]);
    let (one, three) = (address(&plan, r1), address(&plan, r3));
    fails(
        &report,
        &[&format!("r2 takes r1 ({one}) for the designated router of lan on eth0; it should be r3 ({three})")],
    );
    let place = first_place(&report);
    assert_eq!((place.node.as_deref(), place.wire.as_deref()), (Some("r2"), Some("lan")));
    // Whom the file names is told from who is elected.
    fails(
        &go(&plan, &mut agreed(), vec![designated(all.clone(), Some(r1))]),
        &[&format!("it should be r1 ({one}); by priority, then address, it is r3 ({three})")],
    );
    fails(
        &go(&plan, &mut believing(&plan, &[(r1, r3)]), vec![designated(all, None)]),
        &["r2 knows nobody as the designated router of lan on eth0"],
    );
}

#[test]
fn who_is_dead_is_neither_designated_nor_asked() {
    let (plan, [r1, r2, r3], _) = sparse_lan();
    let all = vec![at(r1, 0), at(r2, 0), at(r3, 0)];
    let killed = |check| vec![Action::Kill { node: r3 }, check];
    let mut late = believing(&plan, &[(r1, r3), (r2, r2)]);
    fails(&go(&plan, &mut late, killed(designated(all.clone(), None))), &["r1 takes r3", "it should be r2"]);
    let mut moved = believing(&plan, &[(r1, r2), (r2, r2)]);
    holds(&go(&plan, &mut moved, killed(designated(all, None))));
    let nobody = killed(designated(vec![at(r3, 0)], None));
    fails(&go(&plan, &mut believing(&plan, &[]), nobody), &["no router runs there"]);
}

#[test]
fn who_is_cut_off_may_think_that_it_is_alone_or_without_a_link() {
    let (plan, [r1, r2, r3], lan) = sparse_lan();
    let cut = Cut { wire: lan, end: Some(at(r1, 0)), how: CutKind::Carrier, detected_after: None };
    let steps = || vec![Action::Fail(cut.clone()), designated(vec![at(r1, 0), at(r2, 0), at(r3, 0)], None)];
    holds(&go(&plan, &mut believing(&plan, &[(r2, r3), (r3, r3)]), steps()));
    holds(&go(&plan, &mut believing(&plan, &[(r1, r1), (r2, r3), (r3, r3)]), steps()));
    fails(&go(&plan, &mut believing(&plan, &[(r1, r3), (r2, r3), (r3, r3)]), steps()), &["r1 takes r3"]);
}

#[test]
fn routers_must_use_the_right_rendezvous_point() {
    let (plan, [r1, r2, r3], _) = sparse_lan();
    let group = "239.1.1.1".parse().unwrap();
    let right = crate::oracle::rendezvous_point(&plan, &crate::oracle::World::new(), r2, group).unwrap();
    let using = |beliefs: &[(NodeId, IpAddr)]| {
        let mut network = Fake::new(&plan);
        network.rps.extend(beliefs.iter().copied());
        network
    };
    let check = |is| Action::Expect(Expectation::Rp { group, at: vec![r1, r2, r3], is, within: after(100) });
    let good = || using(&[(r1, right), (r2, right), (r3, right)]);
    let wishes = [RpIs::Right, RpIs::Router(r1), RpIs::Address(right)];
    holds(&go(&plan, &mut good(), wishes.map(check).to_vec()));
    let other = address(&plan, r3);
    let report = go(&plan, &mut using(&[(r1, right), (r2, other), (r3, right)]), vec![check(RpIs::Right)]);
    fails(&report, &[&format!("r2 uses the rendezvous point r3 ({other}) for 239.1.1.1; it should use r1 ({right})")]);
    assert_eq!(first_place(&report).node.as_deref(), Some("r2"));
    fails(
        &go(&plan, &mut using(&[(r1, right), (r2, right)]), vec![check(RpIs::Right)]),
        &["r3 knows no rendezvous point for 239.1.1.1; it should use r1"],
    );
    fails(
        &go(&plan, &mut good(), vec![check(RpIs::Nobody)]),
        &["it should know none; by the configuration, and who can be heard, it is r1"],
    );
    holds(&go(&plan, &mut using(&[]), vec![check(RpIs::Nobody)]));
}
