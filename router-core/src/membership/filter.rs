//! Source filters: what they admit, and how several are merged into one (RFC 9776 §3.2).

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::router::SourceFilter;

impl SourceFilter {
    /// The filter of nobody.
    pub fn nothing() -> SourceFilter {
        SourceFilter::Include(BTreeSet::new())
    }

    /// The filter of a listener to all sources.
    pub fn everything() -> SourceFilter {
        SourceFilter::Exclude(BTreeSet::new())
    }

    /// Whether packets from a source are wanted.
    pub fn admits(&self, source: IpAddr) -> bool {
        match self {
            SourceFilter::Include(sources) => sources.contains(&source),
            SourceFilter::Exclude(sources) => !sources.contains(&source),
        }
    }

    /// Whether no source is wanted.
    pub fn is_nothing(&self) -> bool {
        matches!(self, SourceFilter::Include(sources) if sources.is_empty())
    }

    /// The filter that admits exactly what `self` or `other` admits (RFC 9776 §3.2).
    #[must_use]
    pub fn merge(&self, other: &SourceFilter) -> SourceFilter {
        use SourceFilter::{Exclude, Include};
        match (self, other) {
            (Include(a), Include(b)) => Include(a | b),
            (Exclude(a), Exclude(b)) => Exclude(a & b),
            (Exclude(out), Include(r#in)) | (Include(r#in), Exclude(out)) => Exclude(out - r#in),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn addresses(last: impl IntoIterator<Item = u8>) -> BTreeSet<IpAddr> {
        last.into_iter().map(|octet| IpAddr::from([10, 0, 0, octet])).collect()
    }

    /// The example of RFC 9776 §3.2: three sockets on one interface.
    #[test]
    fn the_examples_of_the_rfc_merge_as_it_says() {
        let a = SourceFilter::Exclude(addresses([1, 2, 3, 4]));
        let b = SourceFilter::Exclude(addresses([2, 3, 4, 5]));
        let c = SourceFilter::Include(addresses([4, 5, 6]));
        assert_eq!(a.merge(&b).merge(&c), SourceFilter::Exclude(addresses([2, 3])));
        let include = SourceFilter::Include(addresses([1, 2])).merge(&SourceFilter::Include(addresses([2, 3])));
        assert_eq!(include, SourceFilter::Include(addresses([1, 2, 3])));
    }

    fn filters() -> impl Strategy<Value = SourceFilter> {
        (any::<bool>(), proptest::collection::btree_set(0u8..8, 0..8)).prop_map(|(include, set)| {
            if include { SourceFilter::Include(addresses(set)) } else { SourceFilter::Exclude(addresses(set)) }
        })
    }

    proptest! {
        #[test]
        fn a_merged_filter_admits_what_either_admits(a in filters(), b in filters(), octet in 0u8..9) {
            let source = IpAddr::from([10, 0, 0, octet]);
            prop_assert_eq!(a.merge(&b).admits(source), a.admits(source) || b.admits(source));
            prop_assert_eq!(a.merge(&b), b.merge(&a));
        }
    }
}
