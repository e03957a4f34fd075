use super::*;

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 1, 1);

fn at(ms: u64) -> Time {
    Time(ms * 1_000_000)
}

fn sources(last: &[u8]) -> BTreeSet<IpAddr> {
    last.iter().map(|octet| IpAddr::from([10, 0, 0, *octet])).collect()
}

fn include(last: &[u8]) -> SourceFilter {
    SourceFilter::Include(sources(last))
}

fn exclude(last: &[u8]) -> SourceFilter {
    SourceFilter::Exclude(sources(last))
}

fn host(forced: Option<u8>) -> IgmpHost {
    let settings = Settings {
        forced,
        unsolicited_old: Duration::from_secs(10),
        unsolicited_new: Duration::from_secs(1),
        mtu: 1500,
    };
    IgmpHost::new(settings, Random::new(7))
}

/// What it sends up to a time, a line a message: `MS DESTINATION WHAT`.
fn until(host: &mut IgmpHost, ms: u64) -> Vec<String> {
    let mut lines = Vec::new();
    let mut say = |host: &mut IgmpHost, now: Option<Time>| {
        for (to, message) in host.take() {
            let when = now.map_or("at once".to_owned(), |now| (now.as_nanos() / 1_000_000).to_string());
            lines.push(format!("{when} {to} {}", text(&message)));
        }
    };
    say(host, None);
    while let Some(next) = host.next().filter(|next| *next <= at(ms)) {
        host.timeout(next);
        say(host, Some(next));
    }
    lines
}

fn text(message: &Message) -> String {
    match message {
        Message::ReportV1 { group } => format!("v1 {group}"),
        Message::ReportV2 { group } => format!("v2 {group}"),
        Message::LeaveV2 { group } => format!("leave {group}"),
        Message::ReportV3 { records } => {
            let record = |r: &Record| {
                let list: Vec<String> = r.sources.iter().map(|s| s.octets()[3].to_string()).collect();
                format!("{:?} {} {{{}}}", r.kind, r.group, list.join(","))
            };
            records.iter().map(record).collect::<Vec<_>>().join(" + ")
        }
        query => format!("{query:?}"),
    }
}

fn what(lines: &[String]) -> Vec<&str> {
    lines.iter().map(|line| line.splitn(3, ' ').nth(2).unwrap_or_default()).collect()
}

fn query(group: Ipv4Addr, tenths: u8, sources: &[u8]) -> Message {
    let sources = sources.iter().map(|octet| Ipv4Addr::new(10, 0, 0, *octet)).collect();
    Message::QueryV3(QueryV3 { max_resp_code: tenths, group, suppress: false, qrv: 2, qqic: 125, sources })
}

#[test]
fn a_change_is_said_as_often_as_the_robustness_says() {
    let mut host = host(None);
    host.set_filter(at(1), GROUP, exclude(&[]));
    let lines = until(&mut host, 5_000);
    assert_eq!(what(&lines), ["ToExclude 239.1.1.1 {}"; 2]);
    assert!(lines[0].starts_with("8 224.0.0.22"), "{lines:?}");
    host.set_filter(at(5_000), GROUP, exclude(&[1, 2]));
    assert_eq!(what(&until(&mut host, 10_000)), ["Block 239.1.1.1 {1,2}"; 2]);
    host.set_filter(at(10_000), GROUP, exclude(&[2, 3]));
    assert_eq!(what(&until(&mut host, 15_000)), ["Allow 239.1.1.1 {1} + Block 239.1.1.1 {3}"; 2]);
    host.set_filter(at(15_000), GROUP, include(&[4]));
    assert_eq!(what(&until(&mut host, 20_000)), ["ToInclude 239.1.1.1 {4}"; 2]);
    host.set_filter(at(20_000), GROUP, include(&[5]));
    assert_eq!(what(&until(&mut host, 25_000)), ["Allow 239.1.1.1 {5} + Block 239.1.1.1 {4}"; 2]);
    host.set_filter(at(25_000), GROUP, include(&[]));
    assert_eq!(what(&until(&mut host, 30_000)), ["Block 239.1.1.1 {5}"; 2]);
    host.set_filter(at(30_000), GROUP, include(&[6]));
    assert_eq!(what(&until(&mut host, 35_000)), ["Allow 239.1.1.1 {6}"; 2]);
    assert_eq!(host.next(), None);
}

#[test]
fn a_leave_from_exclude_mode_is_a_change_to_include_nothing() {
    let mut host = host(None);
    host.set_filter(at(0), GROUP, exclude(&[1]));
    until(&mut host, 5_000);
    host.set_filter(at(5_000), GROUP, include(&[]));
    assert!(!host.is_member(GROUP) && host.is_member(ALL_SYSTEMS));
    assert_eq!(what(&until(&mut host, 10_000)), ["ToInclude 239.1.1.1 {}"; 2]);
}

#[test]
fn changes_that_follow_each_other_share_reports() {
    let mut host = host(None);
    host.set_filter(at(1), GROUP, include(&[1]));
    host.set_filter(at(2), GROUP, include(&[2]));
    assert_eq!(what(&until(&mut host, 5_000)), ["Allow 239.1.1.1 {2} + Block 239.1.1.1 {1}"; 2]);
}

#[test]
fn a_general_query_is_answered_once_for_all_groups_within_its_time() {
    let mut host = host(None);
    let other = Ipv4Addr::new(239, 1, 1, 2);
    host.set_filter(at(0), GROUP, exclude(&[]));
    host.set_filter(at(0), other, include(&[1]));
    until(&mut host, 5_000);
    host.hear(at(5_000), &query(Ipv4Addr::UNSPECIFIED, 10, &[]));
    // A longer one changes nothing, a shorter one may hurry it.
    host.hear(at(5_000), &query(Ipv4Addr::UNSPECIFIED, 100, &[]));
    let due = host.next().unwrap();
    assert!(due > at(5_000) && due <= at(6_004), "{due}");
    assert_eq!(what(&until(&mut host, 20_000)), ["IsExclude 239.1.1.1 {} + IsInclude 239.1.1.2 {1}"]);
}

#[test]
fn a_question_about_sources_is_answered_about_those_that_are_wanted() {
    let mut host = host(None);
    host.set_filter(at(0), GROUP, include(&[1, 2, 3]));
    until(&mut host, 5_000);
    host.hear(at(5_000), &query(GROUP, 10, &[1, 9]));
    host.hear(at(5_001), &query(GROUP, 10, &[2]));
    assert_eq!(what(&until(&mut host, 7_000)), ["IsInclude 239.1.1.1 {1,2}"]);
    host.hear(at(7_000), &query(GROUP, 10, &[9]));
    assert_eq!(host.next(), None, "it wants none of them");
    // A question about the whole group wins.
    host.hear(at(7_000), &query(GROUP, 10, &[1]));
    host.hear(at(7_001), &query(GROUP, 10, &[]));
    host.hear(at(7_002), &query(GROUP, 10, &[1]));
    assert_eq!(what(&until(&mut host, 9_000)), ["IsInclude 239.1.1.1 {1,2,3}"]);
    host.set_filter(at(9_000), GROUP, exclude(&[1, 2]));
    until(&mut host, 15_000);
    host.hear(at(15_000), &query(GROUP, 10, &[1, 2]));
    assert_eq!(host.next(), None, "it excludes them all");
    host.hear(at(15_000), &query(GROUP, 10, &[2, 3]));
    assert_eq!(what(&until(&mut host, 20_000)), ["IsExclude 239.1.1.1 {1,2}"]);
}

#[test]
fn a_version_2_host_reports_twice_is_silenced_by_others_and_leaves_only_if_it_reported_last() {
    let mut host = host(Some(2));
    host.set_filter(at(0), GROUP, exclude(&[]));
    let lines = until(&mut host, 20_000);
    assert_eq!(what(&lines), ["v2 239.1.1.1"; 2]);
    assert!(lines[0].starts_with("4 239.1.1.1"), "{lines:?}");
    host.hear(at(20_000), &query(Ipv4Addr::UNSPECIFIED, 10, &[]));
    assert!(host.next().is_some());
    host.hear(at(20_001), &Message::ReportV2 { group: GROUP });
    assert_eq!(host.next(), None);
    host.set_filter(at(21_000), GROUP, include(&[]));
    assert_eq!(until(&mut host, 30_000), Vec::<String>::new(), "another reported last");
    host.set_filter(at(30_000), GROUP, exclude(&[]));
    until(&mut host, 60_000);
    host.set_filter(at(60_000), GROUP, include(&[]));
    assert_eq!(until(&mut host, 70_000), ["at once 224.0.0.2 leave 239.1.1.1"]);
}

#[test]
fn a_longer_answer_gives_way_to_a_shorter_question() {
    let mut host = host(Some(2));
    host.set_filter(at(0), GROUP, exclude(&[]));
    until(&mut host, 20_000);
    host.hear(at(20_000), &Message::QueryV2 { max_resp_time: 255, group: Ipv4Addr::UNSPECIFIED });
    host.hear(at(20_000), &Message::QueryV2 { max_resp_time: 1, group: GROUP });
    assert!(host.next().unwrap() <= at(20_108));
    assert_eq!(what(&until(&mut host, 60_000)), ["v2 239.1.1.1"]);
}

#[test]
fn a_version_1_host_takes_ten_seconds_whatever_it_is_told_and_never_says_that_it_leaves() {
    let mut host = host(Some(1));
    host.set_filter(at(0), GROUP, exclude(&[]));
    assert_eq!(what(&until(&mut host, 20_000)), ["v1 239.1.1.1"; 2]);
    let late = (0..40).filter(|n| {
        let from = 100_000 * (n + 1);
        host.hear(at(from), &query(Ipv4Addr::UNSPECIFIED, 1, &[]));
        let due = host.next().unwrap();
        until(&mut host, from + 20_000);
        due > at(from + 1_000)
    });
    assert!(late.count() > 25);
    host.set_filter(at(9_000_000), GROUP, include(&[]));
    assert_eq!(until(&mut host, 9_100_000), Vec::<String>::new());
}

#[test]
fn an_older_querier_is_followed_until_it_has_been_silent() {
    let mut host = host(None);
    host.hear(at(0), &Message::QueryV2 { max_resp_time: 100, group: Ipv4Addr::UNSPECIFIED });
    host.set_filter(at(1_000), GROUP, exclude(&[1]));
    assert_eq!(what(&until(&mut host, 20_000)), ["v2 239.1.1.1"; 2]);
    // 2 x 125 s + 10 s.
    host.hear(at(259_000), &query(Ipv4Addr::UNSPECIFIED, 10, &[]));
    assert_eq!(what(&until(&mut host, 260_000 + 1_000)).len(), 1);
    host.hear(at(262_000), &query(Ipv4Addr::UNSPECIFIED, 10, &[]));
    assert_eq!(what(&until(&mut host, 270_000)), ["IsExclude 239.1.1.1 {1}"]);
}

#[test]
fn an_interface_that_comes_back_reports_anew() {
    let mut host = host(None);
    host.set_filter(at(0), GROUP, exclude(&[]));
    until(&mut host, 5_000);
    host.set_up(at(5_000), false);
    host.set_filter(at(6_000), Ipv4Addr::new(239, 1, 1, 2), include(&[1]));
    assert_eq!(until(&mut host, 10_000), Vec::<String>::new());
    host.set_up(at(10_000), true);
    assert_eq!(what(&until(&mut host, 15_000)), ["ToExclude 239.1.1.1 {} + Allow 239.1.1.2 {1}"; 2]);
}

#[test]
fn reports_are_cut_to_the_mtu() {
    let mut host = host(None);
    let many: BTreeSet<IpAddr> = (0..1000u16).map(|n| IpAddr::from([10, 9, (n >> 8) as u8, n as u8])).collect();
    host.set_filter(at(0), GROUP, SourceFilter::Include(many));
    let next = host.next().unwrap();
    host.timeout(next);
    let reports = host.take();
    let sizes: Vec<usize> = reports.iter().map(|(_, message)| 24 + message.emit().len()).collect();
    assert!(sizes.len() == 3 && sizes.iter().all(|size| *size <= 1500), "{sizes:?}");
}
