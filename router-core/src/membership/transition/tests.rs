//! Each row of the tables of RFC 9776 §6.4, on sets that tell all its terms apart.

use proptest::prelude::*;

use super::*;

/// `1 2` are 10.0.0.1 and 10.0.0.2.
fn set(text: &str) -> Sources {
    text.split_whitespace().map(|octet| IpAddr::from([10, 0, 0, octet.parse().unwrap()])).collect()
}

fn include(a: &str) -> FilterState {
    FilterState::Include(set(a))
}

fn exclude(x: &str, y: &str) -> FilterState {
    FilterState::Exclude { requested: set(x), blocked: set(y) }
}

/// A row's actions: `gmi` and `group_timer` are the sets whose timers are set, `query` the sources of Q(G,..).
#[derive(Default)]
struct Actions {
    gmi: &'static str,
    from_group_timer: &'static str,
    group_timer: bool,
    query: &'static str,
    query_group: bool,
}

#[track_caller]
fn row(state: FilterState, kind: RecordKind, sources: &str, new: FilterState, actions: Actions) {
    let got = transition(&state, kind, &set(sources)).unwrap();
    assert_eq!(got.state, new, "new router state");
    let (gmi, from_group_timer) = match got.set {
        None => (Sources::new(), Sources::new()),
        Some((sources, SourceTimer::MembershipInterval)) => (sources, Sources::new()),
        Some((sources, SourceTimer::GroupTimer)) => (Sources::new(), sources),
    };
    assert_eq!(gmi, set(actions.gmi), "(..)=GMI");
    assert_eq!(from_group_timer, set(actions.from_group_timer), "(..)=Group Timer");
    assert_eq!(got.group_timer, actions.group_timer, "Group Timer=GMI");
    assert_eq!(got.query_sources, set(actions.query), "Send Q(G,..)");
    assert_eq!(got.query_group, actions.query_group, "Send Q(G)");
}

// In INCLUDE, A = {1 2} and B = {2 3}: A*B = {2}, A-B = {1}, B-A = {3}.
// In EXCLUDE, X = {1 2}, Y = {3 4} and A = {2 4 5}: A*X = {2}, A*Y = {4}, A-X-Y = {5}, X-A = {1}, Y-A = {3}.

#[test]
fn include_is_in_adds_and_refreshes() {
    row(include("1 2"), RecordKind::IsInclude, "2 3", include("1 2 3"), Actions { gmi: "2 3", ..Actions::default() });
}

#[test]
fn include_is_ex_turns_to_exclude_and_blocks_the_rest() {
    let actions = Actions { group_timer: true, ..Actions::default() };
    row(include("1 2"), RecordKind::IsExclude, "2 3", exclude("2", "3"), actions);
}

#[test]
fn exclude_is_in_unblocks_and_refreshes() {
    let actions = Actions { gmi: "2 4 5", ..Actions::default() };
    row(exclude("1 2", "3 4"), RecordKind::IsInclude, "2 4 5", exclude("1 2 4 5", "3"), actions);
}

#[test]
fn exclude_is_ex_keeps_only_its_sources() {
    let actions = Actions { gmi: "5", group_timer: true, ..Actions::default() };
    row(exclude("1 2", "3 4"), RecordKind::IsExclude, "2 4 5", exclude("2 5", "4"), actions);
}

#[test]
fn include_allow_adds_and_refreshes() {
    row(include("1 2"), RecordKind::Allow, "2 3", include("1 2 3"), Actions { gmi: "2 3", ..Actions::default() });
}

#[test]
fn include_block_queries_the_sources_that_are_there() {
    row(include("1 2"), RecordKind::Block, "2 3", include("1 2"), Actions { query: "2", ..Actions::default() });
}

#[test]
fn include_to_ex_turns_to_exclude_and_queries_the_common_sources() {
    let actions = Actions { query: "2", group_timer: true, ..Actions::default() };
    row(include("1 2"), RecordKind::ToExclude, "2 3", exclude("2", "3"), actions);
}

#[test]
fn include_to_in_adds_and_queries_the_others() {
    let actions = Actions { gmi: "2 3", query: "1", ..Actions::default() };
    row(include("1 2"), RecordKind::ToInclude, "2 3", include("1 2 3"), actions);
}

#[test]
fn exclude_allow_unblocks_and_refreshes() {
    let actions = Actions { gmi: "2 4 5", ..Actions::default() };
    row(exclude("1 2", "3 4"), RecordKind::Allow, "2 4 5", exclude("1 2 4 5", "3"), actions);
}

#[test]
fn exclude_block_queries_what_is_not_blocked_yet() {
    let actions = Actions { from_group_timer: "5", query: "2 5", ..Actions::default() };
    row(exclude("1 2", "3 4"), RecordKind::Block, "2 4 5", exclude("1 2 5", "3 4"), actions);
}

#[test]
fn exclude_to_ex_keeps_only_its_sources_and_queries_them() {
    let actions = Actions { from_group_timer: "5", query: "2 5", group_timer: true, ..Actions::default() };
    row(exclude("1 2", "3 4"), RecordKind::ToExclude, "2 4 5", exclude("2 5", "4"), actions);
}

#[test]
fn exclude_to_in_unblocks_and_queries_the_group_and_its_other_sources() {
    let actions = Actions { gmi: "2 4 5", query: "1", query_group: true, ..Actions::default() };
    row(exclude("1 2", "3 4"), RecordKind::ToInclude, "2 4 5", exclude("1 2 4 5", "3"), actions);
}

#[test]
fn records_of_unknown_types_have_no_row() {
    assert_eq!(transition(&include("1"), RecordKind::Unknown(7), &set("2")), None);
    assert_eq!(fast_transition(&include("1"), RecordKind::Unknown(0), &set("2")), None);
}

#[test]
fn a_host_that_is_alone_is_believed_at_once() {
    let state = |state, kind, sources| fast_transition(&state, kind, &set(sources)).unwrap().state;
    assert_eq!(state(exclude("1 2", "3 4"), RecordKind::ToInclude, ""), include(""));
    assert_eq!(state(include("1 2"), RecordKind::ToInclude, "2 3"), include("2 3"));
    assert_eq!(state(include("1 2"), RecordKind::Block, "2"), include("1"));
    assert_eq!(state(exclude("1 2", "3"), RecordKind::Block, "2 5"), exclude("1", "2 3 5"));
    assert_eq!(state(include("1 2"), RecordKind::ToExclude, "2"), exclude("", "2"));
    assert_eq!(state(include("1 2"), RecordKind::Allow, "3"), include("1 2 3"));
}

fn states() -> impl Strategy<Value = FilterState> {
    let sources = || proptest::collection::btree_set(0u8..8, 0..8);
    let addresses = |set: BTreeSet<u8>| -> Sources { set.into_iter().map(|o| IpAddr::from([10, 0, 0, o])).collect() };
    (any::<bool>(), sources(), sources()).prop_map(move |(include, x, y)| {
        let (x, y) = (addresses(x), addresses(y));
        if include { FilterState::Include(x) } else { FilterState::Exclude { blocked: &y - &x, requested: x } }
    })
}

proptest! {
    /// What holds for every row: X and Y stay apart, timers are set for sources that run, only sources that run are
    /// queried, and the sources that a record asks for are let in.
    #[test]
    fn rows_keep_the_state_whole(state in states(), kind in 1u8..7, octets in proptest::collection::btree_set(0u8..8, 0..8)) {
        let kind = RecordKind::from(kind);
        let sources: Sources = octets.into_iter().map(|octet| IpAddr::from([10, 0, 0, octet])).collect();
        let after = transition(&state, kind, &sources).unwrap();
        let running = match &after.state {
            FilterState::Include(a) => a.clone(),
            FilterState::Exclude { requested, blocked } => {
                prop_assert!(requested.is_disjoint(blocked));
                requested.clone()
            }
        };
        if let Some((set, _)) = &after.set {
            prop_assert!(set.is_subset(&running));
        }
        prop_assert!(after.query_sources.is_subset(&running));
        if matches!(kind, RecordKind::IsInclude | RecordKind::ToInclude | RecordKind::Allow) {
            prop_assert!(sources.is_subset(&running));
        }
        if matches!(kind, RecordKind::IsExclude | RecordKind::ToExclude) {
            prop_assert!(after.group_timer);
            let excluding = matches!(after.state, FilterState::Exclude { .. });
            prop_assert!(excluding);
        }
    }
}
