//! Times: what is measured, what is excused, and by when.

use super::*;

#[test]
fn leaves_are_excused_for_their_time_and_measured() {
    let (plan, ids) = chain();
    let wire = plan.find_wire("last").unwrap();
    let check = |below| Action::Expect(Expectation::LeaveLatency { wire, group: group(), below });
    let steps = |below| {
        vec![join(ids["h1"]), Action::Stream(news(&ids)), delivered(&[ids["h1"]]), leave(ids["h1"]), check(below)]
    };
    let report = go(&plan, &mut Fake::new(&plan), steps(Deadline::Formula(Formula::LeaveLatency)));
    holds(&report);
    let Some(Figure { value: Value::Span(latency), .. }) = report.steps[4].figures.first() else { panic!("no figure") };
    assert!(*latency > ms(1900) && *latency <= ms(2000), "{latency:?}");

    let mut late = Fake::new(&plan);
    late.defects.leave_after = Some(ms(4500));
    fails(
        &go(&plan, &mut late, steps(Deadline::Formula(Formula::LeaveLatency))),
        &["r2 should not forward", "eth1", "allowed below 3s"],
    );

    let mut early = Fake::new(&plan);
    early.defects.leave_after = Some(ms(300));
    fails(
        &go(&plan, &mut early, steps(Deadline::Formula(Formula::LeaveLatency))),
        &["before the last member query time of 2s had passed"],
    );
}

#[test]
fn deadlines_move_while_others_hold_the_network_up() {
    let (plan, ids) = chain();
    let wire = plan.find_wire("last").unwrap();
    let within = Deadline::Formula(Formula::LeaveLatency);
    let quiet = Action::Expect(Expectation::Quiet { wire, group: Some(group()), within, lasting: ms(400) });
    let latency = Action::Expect(Expectation::LeaveLatency { wire, group: group(), below: within });
    let steps = || {
        vec![
            join(ids["h1"]),
            Action::Stream(news(&ids)),
            delivered(&[ids["h1"]]),
            leave(ids["h1"]),
            quiet.clone(),
            latency.clone(),
        ]
    };
    let network = |held_up| {
        let mut network = Fake::new(&plan);
        network.defects.leave_after = Some(ms(4500));
        network.defects.held_up = held_up;
        network
    };
    assert_eq!(go(&plan, &mut network(None), steps()).verdict, Verdict::Failed);
    holds(&go(&plan, &mut network(Some((ms(1000), ms(2800)))), steps()));
    let mut slow = Fake::new(&plan);
    slow.defects.slow_join = ms(1200);
    slow.defects.held_up = Some((ms(0), ms(900)));
    holds(&go(&plan, &mut slow, vec![Action::Stream(news(&ids)), join(ids["h1"]), delivered(&[ids["h1"]])]));
}

#[test]
fn a_leave_of_nothing_measures_nothing() {
    let (plan, ids) = chain();
    let wire = plan.find_wire("last").unwrap();
    let check = Action::Expect(Expectation::LeaveLatency { wire, group: group(), below: after(3000) });
    fails(
        &go(&plan, &mut Fake::new(&plan), vec![Action::Stream(news(&ids)), check.clone()]),
        &["nobody on last has left"],
    );
    let mut mute = Fake::new(&plan);
    mute.defects.mute.insert(ids["r2"]);
    let steps =
        vec![join(ids["h1"]), Action::Stream(news(&ids)), Action::Wait { time: ms(100) }, leave(ids["h1"]), check];
    fails(&go(&plan, &mut mute, steps), &["carried nothing to 239.1.1.1 before the leave"]);
}

#[test]
fn join_latency_is_measured_from_the_call() {
    let (plan, ids) = chain();
    let check = |below| Action::Expect(Expectation::JoinLatency { stream: "news".into(), at: vec![ids["h1"]], below });
    let steps = |below| vec![Action::Stream(news(&ids)), Action::Wait { time: ms(100) }, join(ids["h1"]), check(below)];
    holds(&go(&plan, &mut Fake::new(&plan), steps(after(50))));
    let mut slow = Fake::new(&plan);
    slow.defects.slow_join = ms(200);
    fails(&go(&plan, &mut slow, steps(after(50))), &["h1 got its first packet", "allowed below 50ms"]);
    let mut mute = Fake::new(&plan);
    mute.defects.mute.insert(ids["r1"]);
    fails(&go(&plan, &mut mute, steps(after(50))), &["h1 got no packet after its join: r1 should forward"]);
}

#[test]
fn an_outage_is_measured_with_its_time_line() {
    let (plan, ids) = chain();
    let cut = Cut { wire: plan.find_wire("middle").unwrap(), end: None, how: CutKind::Silent, detected_after: None };
    let check = |below| {
        Action::Expect(Expectation::Outage {
            stream: "news".into(),
            at: vec![ids["h1"]],
            below: after(below),
            within: after(2000),
        })
    };
    let steps = |below| {
        vec![
            join(ids["h1"]),
            Action::Stream(news(&ids)),
            delivered(&[ids["h1"]]),
            Action::Fail(cut.clone()),
            check(below),
        ]
    };
    let mut healing = Fake::new(&plan);
    healing.defects.heals = Some(ms(150));
    let report = go(&plan, &mut healing, steps(200));
    holds(&report);
    let timeline: Vec<&str> = report.steps[4].timeline.iter().map(|m| m.what.as_str()).collect();
    assert_eq!(timeline, ["fault: cut", "first packet again at h1"]);
    let mut healing = Fake::new(&plan);
    healing.defects.heals = Some(ms(150));
    fails(&go(&plan, &mut healing, steps(100)), &["h1 was without news for", "allowed below 100ms"]);
    let report = go(&plan, &mut Fake::new(&plan), steps(200));
    fails(&report, &["h1 receives nothing since", "middle"]);
    assert_eq!(report.steps[4].timeline.len(), 1, "nothing came again");
    let never = vec![join(ids["h1"]), Action::Stream(news(&ids)), check(100)];
    fails(&go(&plan, &mut Fake::new(&plan), never), &["nothing has failed yet"]);
}

#[test]
fn time_limits_cover_the_steps() {
    let (plan, ids) = chain();
    let steps = vec![delivered(&[ids["h1"]]), Action::Wait { time: Duration::from_secs(100) }];
    let steps = steps.into_iter().map(|action| Step { line: 1, text: String::new(), action }).collect();
    let scenario = Scenario { name: "s".into(), steps, without: Vec::new() };
    let limit = time_limit(&plan, &scenario, &Options::default());
    assert!(limit > Duration::from_secs(101) && limit < Duration::from_secs(180), "{limit:?}");
}
