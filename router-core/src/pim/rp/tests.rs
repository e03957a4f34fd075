use proptest::prelude::*;

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn fixed(address: &str, groups: &str, overrides: bool) -> StaticRp {
    StaticRp { address: ip(address), groups: net(groups), overrides }
}

fn learned(rps: &[(&str, u8)]) -> Learned {
    Learned { bidir: false, rps: rps.iter().map(|(rp, priority)| (ip(rp), *priority)).collect() }
}

/// Computed apart with arbitrary precision numbers: (1103515245 * ((1103515245 * (G & M) + 12345) XOR C) + 12345) mod 2^31.
#[test]
fn hash_values_are_those_of_the_rfcs_formula() {
    for (group, length, rp, expected) in HASHES {
        assert_eq!(hash(ip(group), length, ip(rp)), expected, "{group} {length} {rp}");
    }
}

const HASHES: [(&str, u8, &str, u32); 6] = [
    ("239.1.1.1", 30, "10.0.0.1", 1_679_372_561),
    ("239.1.1.1", 30, "10.0.0.2", 694_951_000),
    ("239.1.1.4", 30, "10.0.0.1", 514_038_453),
    ("239.1.1.4", 30, "10.0.0.2", 1_677_100_540),
    ("224.2.0.1", 0, "192.0.2.1", 1_588_765_201),
    ("ff3e::8000:1", 126, "2001:db8::1", 246_570_937),
];

#[test]
fn groups_that_differ_within_the_mask_length_share_a_rendezvous_point() {
    let mut table = RpTable::default();
    table.learn(Scope::Global, net("224.0.0.0/4"), learned(&[("10.0.0.1", 0), ("10.0.0.2", 0), ("10.0.0.3", 0)]));
    table.set_hash_mask_length(Scope::Global, 30);
    let of = |last: u8| table.rp(IpAddr::from([239, 1, 1, last])).unwrap();
    for last in 0..=255u8 {
        assert_eq!(of(last), of(last & !3));
    }
    let chosen: BTreeSet<IpAddr> = (0..=255).map(of).collect();
    assert_eq!(chosen.len(), 3, "the hash spreads groups");
}

#[test]
fn the_longest_match_wins_then_the_priority() {
    let mut table = RpTable::default();
    table.learn(Scope::Global, net("224.0.0.0/4"), learned(&[("10.0.0.9", 0)]));
    table.learn(Scope::Global, net("239.0.0.0/8"), learned(&[("10.0.0.1", 10), ("10.0.0.2", 5)]));
    assert_eq!(table.rp(ip("239.1.1.1")), Some(ip("10.0.0.2")));
    assert_eq!(table.rp(ip("225.1.1.1")), Some(ip("10.0.0.9")));
}

#[test]
fn a_learned_range_is_preferred_to_a_configured_one_of_its_length_unless_that_overrides() {
    let mut table =
        RpTable::new(vec![fixed("10.0.0.1", "239.1.0.0/16", false), fixed("10.0.0.8", "238.0.0.0/8", true)]);
    assert_eq!(table.rp(ip("239.1.1.1")), Some(ip("10.0.0.1")));
    table.learn(Scope::Global, net("239.0.0.0/8"), learned(&[("10.0.0.2", 0)]));
    assert_eq!(table.rp(ip("239.1.1.1")), Some(ip("10.0.0.1")), "the longer one");
    assert_eq!(table.rp(ip("239.2.1.1")), Some(ip("10.0.0.2")));
    table.learn(Scope::Global, net("239.1.0.0/16"), learned(&[("10.0.0.3", 0)]));
    assert_eq!(table.rp(ip("239.1.1.1")), Some(ip("10.0.0.3")), "of equal length, the learned one");
    table.learn(Scope::Global, net("238.7.0.0/16"), learned(&[("10.0.0.3", 0)]));
    assert_eq!(table.rp(ip("238.7.1.1")), Some(ip("10.0.0.8")), "whatever the length");
    table.forget(Scope::Global);
    assert_eq!(table.rp(ip("239.1.1.1")), Some(ip("10.0.0.1")));
}

#[test]
fn of_several_configured_for_a_range_the_highest_address_counts() {
    let table = RpTable::new(vec![fixed("10.0.0.2", "224.0.0.0/4", false), fixed("10.0.0.1", "224.0.0.0/4", false)]);
    assert_eq!(table.rp(ip("239.1.1.1")), Some(ip("10.0.0.2")));
}

#[test]
fn a_zones_own_rendezvous_points_count_alone_and_a_zone_without_any_hides_nothing() {
    let zone = Scope::Admin(net("239.255.0.0/16"));
    let mut table = RpTable::default();
    table.learn(Scope::Global, net("239.255.1.0/24"), learned(&[("10.0.0.1", 0)]));
    assert_eq!(table.rp(ip("239.255.1.1")), Some(ip("10.0.0.1")));
    table.learn(zone, net("239.255.0.0/16"), learned(&[("10.0.0.2", 0)]));
    assert_eq!(table.rp(ip("239.255.1.1")), Some(ip("10.0.0.2")), "the other one is outside of the zone");
    assert_eq!(table.rp(ip("239.1.1.1")), None);
    table.learn(zone, net("239.255.0.0/16"), Learned::default());
    assert_eq!(table.rp(ip("239.255.1.1")), Some(ip("10.0.0.1")));
}

#[test]
fn a_range_of_bidir_pim_has_no_rendezvous_point_of_sparse_mode_nor_has_a_wider_one_its_groups() {
    let mut table = RpTable::new(vec![fixed("10.0.0.9", "224.0.0.0/4", false)]);
    table.learn(Scope::Global, net("239.0.0.0/8"), Learned { bidir: true, ..learned(&[("10.0.0.1", 0)]) });
    assert_eq!(table.rp(ip("239.1.1.1")), None);
    assert_eq!(table.rp(ip("238.1.1.1")), Some(ip("10.0.0.9")));
}

#[test]
fn changes_name_the_ranges_whose_mappings_are_others() {
    let mut table = RpTable::default();
    table.learn(Scope::Global, net("239.0.0.0/8"), learned(&[("10.0.0.1", 0), ("10.0.0.2", 0)]));
    table.learn(Scope::Global, net("238.0.0.0/8"), learned(&[("10.0.0.1", 0)]));
    assert_eq!(table.take_changes(), [net("238.0.0.0/8"), net("239.0.0.0/8")].into());
    table.learn(Scope::Global, net("239.0.0.0/8"), learned(&[("10.0.0.1", 0), ("10.0.0.2", 0)]));
    assert!(table.take_changes().is_empty(), "the same again");
    table.set_hash_mask_length(Scope::Global, 30);
    assert_eq!(table.take_changes(), [net("239.0.0.0/8")].into(), "one has no choice");
    table.learn(Scope::Global, net("239.0.0.0/8"), learned(&[("10.0.0.1", 7), ("10.0.0.2", 0)]));
    assert_eq!(table.take_changes(), [net("239.0.0.0/8")].into());
    table.forget(Scope::Global);
    assert_eq!(table.take_changes().len(), 2);
    assert_eq!(table, RpTable::default());
}

proptest! {
    /// The obvious way: look at all.
    #[test]
    fn a_look_up_finds_what_a_look_at_all_mappings_finds(
        configured in proptest::collection::vec((0u8..4, 4u8..12, 1u8..4, any::<bool>()), 0..6),
        told in proptest::collection::vec((0u8..4, 4u8..12, 1u8..4, 0u8..2, 0u8..3), 0..20),
        group in 0u8..4, length in 0u8..33)
    {
        let range = |base: u8, length: u8| IpNet::new(IpAddr::from([224 + base * 4 + base, base, 0, 0]), length).unwrap().trunc();
        let group = IpAddr::from([224 + group * 4 + group, group, 0, 1]);
        let configured: Vec<StaticRp> = configured
            .into_iter()
            .map(|(base, length, rp, overrides)| StaticRp {
                address: [10, 0, 0, rp].into(),
                groups: range(base, length),
                overrides,
            })
            .collect();
        let mut table = RpTable::new(configured.clone());
        let mut all: BTreeMap<IpNet, BTreeMap<IpAddr, u8>> = BTreeMap::new();
        for (base, bits, rp, priority, action) in told {
            let range = range(base, bits);
            let rps = all.entry(range).or_default();
            match action {
                0 => rps.clear(),
                _ => { rps.insert([10, 0, 1, rp].into(), priority); }
            }
            table.learn(Scope::Global, range, Learned { bidir: false, rps: rps.clone() });
        }
        table.set_hash_mask_length(Scope::Global, length);
        let fixed = |overrides: bool| {
            let matching = configured.iter().filter(|rp| rp.overrides == overrides && rp.groups.contains(&group));
            matching.map(|rp| (rp.groups.prefix_len(), rp.address)).max()
        };
        let longest = all.iter().filter(|(range, rps)| range.contains(&group) && !rps.is_empty()).max_by_key(|(range, _)| range.prefix_len());
        let by_bsr = longest.map(|(range, rps)| {
            let best = rps.values().min().unwrap();
            let equal = rps.iter().filter(|(_, priority)| *priority == best);
            (range.prefix_len(), *equal.map(|(rp, _)| rp).max_by_key(|rp| (hash(group, length, **rp), **rp)).unwrap())
        });
        let expected = match (fixed(true), fixed(false), by_bsr) {
            (Some((_, rp)), _, _) => Some(rp),
            (None, Some((bits, rp)), Some((learned, _))) if bits > learned => Some(rp),
            (None, _, Some((_, rp))) => Some(rp),
            (None, fixed, None) => fixed.map(|(_, rp)| rp),
        };
        prop_assert_eq!(table.rp(group), expected);
    }
}
