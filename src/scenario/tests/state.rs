//! What is on wires and in routers, host by host, and what commands say.

use super::*;

#[test]
fn queriers_are_judged_by_their_queries() {
    let mut net = Net::new();
    let (r1, r2, h) = (net.router("r1"), net.router("r2"), net.host("h"));
    let lan = net.lan("lan", &[r1, r2, h]);
    let plan = net.plan();
    let check = |is| Action::Expect(Expectation::Querier { wire: lan, is, within: after(1000) });
    let with = |queries: &[(NodeId, u64)]| {
        let mut network = Fake::new(&plan);
        network.control = queries.iter().map(|(node, ms)| (lan, query(*node, *ms))).collect();
        network
    };
    holds(&go(&plan, &mut with(&[(r1, 0), (r2, 5), (r1, 400)]), vec![check(r1)]));
    fails(
        &go(&plan, &mut with(&[(r1, 0), (r2, 5)]), vec![check(r1)]),
        &["r1 is not the querier of lan: the last query came from r2"],
    );
    fails(&go(&plan, &mut with(&[]), vec![check(r1)]), &["no query was seen there"]);
    fails(&go(&plan, &mut with(&[(r2, 5), (r1, 400)]), vec![check(r2)]), &["r1 has the lowest address"]);
    // A successor that does not wait is wrong though it is the right one.
    let takeover = |at_ms| {
        let within = Deadline::Formula(Formula::OtherQuerierPresentInterval);
        let steps = vec![
            Action::Wait { time: ms(100) },
            Action::Kill { node: r1 },
            Action::Expect(Expectation::Querier { wire: lan, is: r2, within }),
        ];
        go(&plan, &mut with(&[(r1, 0), (r2, at_ms)]), steps)
    };
    holds(&takeover(255_100));
    fails(
        &takeover(5000),
        &["r2 took over 5s after the last query of r1; the other querier present interval is 4m 15s"],
    );
}

#[test]
fn messages_on_wires_are_counted() {
    let (plan, ids) = chain();
    let wire = plan.find_wire("last").unwrap();
    let check = |count, from, message| {
        Action::Expect(Expectation::Seen {
            wire,
            message,
            from,
            group: None,
            count,
            within: after(1000),
            since_start: true,
        })
    };
    let network = || {
        let mut network = Fake::new(&plan);
        network.control = vec![(wire, query(ids["r2"], 10)), (wire, query(ids["r2"], 500))];
        network
    };
    holds(&go(&plan, &mut network(), vec![check(2, Some(ids["r2"]), Message::IgmpQuery)]));
    let late = vec![Action::Wait { time: ms(5000) }, check(2, None, Message::IgmpQuery)];
    holds(&go(&plan, &mut network(), late));
    fails(
        &go(&plan, &mut network(), vec![check(3, None, Message::IgmpQuery)]),
        &["carried 2 of 3 wanted igmp-query; seen there: 2 igmp-general-query from r2"],
    );
    fails(&go(&plan, &mut network(), vec![check(1, Some(ids["h1"]), Message::IgmpQuery)]), &["h1 sent 0 of 1"]);
    fails(&go(&plan, &mut network(), vec![check(1, None, Message::IgmpLeave)]), &["carried 0 of 1"]);
}

#[test]
fn members_entries_and_trees_are_looked_up() {
    let (plan, ids) = chain();
    let member = |present, filter| {
        Action::Expect(Expectation::Member {
            at: at(ids["r2"], 1),
            group: group(),
            present,
            filter,
            within: after(200),
        })
    };
    let entry = |present, outgoing: &[usize]| {
        Action::Expect(Expectation::Entry {
            router: ids["r2"],
            source: "10.0.0.1".parse().unwrap(),
            group: group(),
            present,
            incoming: Some(0),
            outgoing: Some(outgoing.to_vec()),
            within: after(200),
        })
    };
    let tree = || Action::Expect(Expectation::Tree { stream: "news".into(), within: after(200) });
    let begin = || vec![join(ids["h1"]), Action::Stream(news(&ids)), Action::Wait { time: ms(50) }];
    let with = |checks: &[Action]| begin().into_iter().chain(checks.iter().cloned()).collect::<Vec<_>>();

    holds(&go(
        &plan,
        &mut Fake::new(&plan),
        with(&[member(true, Some(all())), entry(true, &[1]), entry(false, &[2]), tree()]),
    ));
    fails(
        &go(&plan, &mut Fake::new(&plan), with(&[member(false, None)])),
        &["r2 should know no member of 239.1.1.1 on eth1; it knows: all sources"],
    );
    fails(
        &go(&plan, &mut Fake::new(&plan), with(&[member(true, Some(only(&["10.0.0.1"])))])),
        &["(only 10.0.0.1) on eth1; it knows: all sources"],
    );
    fails(
        &go(&plan, &mut Fake::new(&plan), with(&[entry(true, &[2])])),
        &["r2 should have an entry (10.0.0.1, 239.1.1.1) from eth0 to eth2; kernel: from eth0 to eth1"],
    );
    fails(&go(&plan, &mut Fake::new(&plan), with(&[entry(false, &[1])])), &["r2 should not have an entry"]);

    let mut mute = Fake::new(&plan);
    mute.defects.mute.insert(ids["r1"]);
    fails(
        &go(&plan, &mut mute, with(&[tree()])),
        &["r1 should forward (10.0.0.1, 239.1.1.1) from eth0 to eth1; kernel: no entry"],
    );
    let mut extra = Fake::new(&plan);
    extra.defects.extra.insert(at(ids["r2"], 2));
    fails(&go(&plan, &mut extra, with(&[tree()])), &["r2 should not forward (10.0.0.1, 239.1.1.1) from eth0 to eth2"]);
    let mut threshold = Fake::new(&plan);
    threshold.defects.thresholds.insert(at(ids["r2"], 1), 8);
    fails(&go(&plan, &mut threshold, with(&[tree()])), &["r2 should forward", "eth1 (ttl > 8)"]);
}

#[test]
fn scope_is_judged_at_each_ttl() {
    let (mut net, ids) = chain_net();
    net.interface_mut(ids["r2"], 1).ttl_threshold = 8;
    let plan = net.plan();
    let sweep = |reached: &[(u8, NodeId)]| {
        let reached = reached.iter().map(|(ttl, host)| (*ttl, vec![*host])).collect();
        Action::Expect(Expectation::Scope {
            stream: news(&ids),
            ttls: vec![1, 2, 9, 10, 32],
            reached,
            within: after(500),
        })
    };
    let report = go(&plan, &mut Fake::new(&plan), vec![join(ids["h1"]), sweep(&[])]);
    holds(&report);
    assert_eq!(report.steps[1].figures[3], Figure::new("TTL 10", Value::Text("h1".into())));
    assert_eq!(report.steps[1].figures[2], Figure::new("TTL 9", Value::Text("nobody".into())));
    fails(
        &go(&plan, &mut Fake::new(&plan), vec![join(ids["h1"]), sweep(&[(9, ids["h1"])])]),
        &[
            "TTL 9 should reach h1: r2 should forward (10.0.0.1, 239.1.1.1) from eth0 to eth1: packets arrive with TTL 8, and its threshold is 8",
        ],
    );
    let mut lax = Fake::new(&plan);
    lax.defects.thresholds.insert(at(ids["r2"], 1), 2);
    fails(
        &go(&plan, &mut lax, vec![join(ids["h1"]), sweep(&[])]),
        &["TTL 9 should not reach h1, but does: r2 should not forward"],
    );
}

#[test]
fn commands_are_tried_until_they_give_what_they_should() {
    let (plan, ids) = chain();
    let output = |status, stdout: &str| CommandOutput { status, stdout: stdout.into(), stderr: String::new() };
    let check = || {
        Action::Expect(Expectation::Command {
            node: ids["r1"],
            command: vec!["show".into()],
            status: 0,
            contains: Some("up".into()),
            within: after(250),
        })
    };
    let mut network = Fake::new(&plan);
    network.outputs = vec![output(1, "down"), output(0, "it is up")];
    holds(&go(&plan, &mut network, vec![check()]));
    let mut network = Fake::new(&plan);
    network.outputs = vec![output(0, "down"); 5];
    fails(&go(&plan, &mut network, vec![check()]), &["on r1: expected \"up\" in its output; status 0: down"]);
    // What the network cannot do is no failure of what is tested.
    let report = go(&plan, &mut Fake::new(&plan), vec![check(), Action::Wait { time: ms(1) }]);
    assert_eq!((report.verdict, report.steps[1].verdict), (Verdict::Unsupported, Verdict::Passed));
    let run = Action::Run { at: steps::Place::Node(ids["r1"]), command: vec!["x".into()] };
    let report = go(&plan, &mut Fake::new(&plan), vec![run, Action::Wait { time: ms(1) }]);
    assert_eq!((report.verdict, report.steps[1].verdict), (Verdict::Unsupported, Verdict::Skipped));
}
