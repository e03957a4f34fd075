//! Whatever comes, a dense mode router stays whole: nothing panics, nothing exceeds its bound, timers fit the states, the same inputs
//! give the same outputs, and what nobody feeds any more ends. Several of them deliver what they should: see [`net`].

mod drive;
mod net;

use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_inputs_leave_the_router_whole_and_nothing_lasts(tape in proptest::collection::vec(any::<u8>(), 0..3000)) {
        let first = drive::drive(&tape);
        prop_assert_eq!(first, drive::drive(&tape));
    }
}

/// The seeds of the fuzz target, and what it has found.
#[test]
fn the_corpus_leaves_the_router_whole() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/router");
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!files.is_empty());
    for file in files {
        drive::drive(&std::fs::read(file).unwrap());
    }
}
