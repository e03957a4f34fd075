//! Semantic fragmentation of a bootstrap message (RFC 5059 §4.1.1).

use std::net::IpAddr;

use crate::wire::pim::{Bootstrap, BootstrapRange};

const fn address_length(address: IpAddr) -> usize {
    if address.is_ipv4() { 4 } else { 16 }
}

const fn ip_header(address: IpAddr) -> usize {
    if address.is_ipv4() { 20 } else { 40 }
}

/// Octets of the IP packet without ranges: IP and PIM headers, tag, mask length and priority, the BSR's address.
fn size_of_header(address: IpAddr) -> usize {
    ip_header(address) + 4 + 4 + 2 + address_length(address)
}

/// Octets of a range without rendezvous points.
fn size_of_range(address: IpAddr) -> usize {
    4 + address_length(address) + 4
}

/// Octets of a rendezvous point.
fn size_of_rp(address: IpAddr) -> usize {
    2 + address_length(address) + 4
}

/// A range without its rendezvous points: their count tells that they are in other fragments.
fn bare(range: &BootstrapRange) -> BootstrapRange {
    BootstrapRange { rps: Vec::new(), ..range.clone() }
}

/// Divides a message into fragments whose packets are within `mtu` octets. A range is divided only where it alone is too large. A scoped
/// message has its scope first in every fragment.
pub fn split(message: Bootstrap, mtu: usize) -> Vec<Bootstrap> {
    let (of_range, of_rp) = (size_of_range(message.address), size_of_rp(message.address));
    let Bootstrap { ranges, .. } = message;
    let lead = ranges.first().filter(|range| range.scoped).map(bare);
    let header = size_of_header(message.address) + if lead.is_some() { of_range } else { 0 };
    // As much as there must be room for: one range with one rendezvous point.
    let room = mtu.saturating_sub(header).max(of_range + of_rp);
    let most = (room - of_range) / of_rp;
    let mut fragments: Vec<Vec<BootstrapRange>> = vec![Vec::new()];
    let mut used = 0;
    for range in ranges {
        let pieces: Vec<BootstrapRange> = if range.rps.len() <= most {
            vec![range]
        } else {
            range.rps.chunks(most).map(|rps| BootstrapRange { rps: rps.to_vec(), ..bare(&range) }).collect()
        };
        for piece in pieces {
            let size = of_range + piece.rps.len() * of_rp;
            if used > 0 && used + size > room {
                fragments.push(Vec::new());
                used = 0;
            }
            used += size;
            if let Some(open) = fragments.last_mut() {
                open.push(piece);
            }
        }
    }
    let fragment = |mut ranges: Vec<BootstrapRange>| {
        if let Some(lead) = lead.as_ref().filter(|_| ranges.first().is_none_or(|first| !first.scoped)) {
            ranges.insert(0, lead.clone());
        }
        Bootstrap { ranges, ..message }
    };
    fragments.into_iter().map(fragment).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pim::bsr::rp_set::RpSet;
    use crate::wire::pim::{BootstrapRp, Message};

    fn range(at: u8, count: usize, scoped: bool) -> BootstrapRange {
        let rp = |at: usize| BootstrapRp { address: [10, 0, 0, at as u8].into(), hold_time: 150, priority: 0 };
        BootstrapRange {
            group: [239, at, 0, 0].into(),
            mask_length: if scoped { 8 } else { 16 },
            bidir: false,
            scoped,
            rp_count: count as u8,
            rps: (0..count).map(rp).collect(),
        }
    }

    fn message(ranges: Vec<BootstrapRange>) -> Bootstrap {
        Bootstrap {
            no_forward: false,
            fragment_tag: 7,
            hash_mask_length: 30,
            priority: 64,
            address: [10, 0, 0, 1].into(),
            ranges,
        }
    }

    fn packet(fragment: &Bootstrap) -> usize {
        20 + Message::Bootstrap(fragment.clone()).emit(fragment.address, fragment.address).len()
    }

    #[test]
    fn a_message_that_fits_stays_whole_and_one_without_ranges_too() {
        for whole in
            [message(vec![]), message(vec![range(0, 0, true)]), message(vec![range(1, 3, false), range(2, 0, false)])]
        {
            assert_eq!(split(whole.clone(), 1500), [whole]);
        }
    }

    #[test]
    fn a_range_is_divided_only_if_it_alone_is_too_large() {
        let fragments = split(message(vec![range(1, 10, false), range(2, 10, false), range(3, 100, false)]), 300);
        assert_eq!(fragments[0].ranges, [range(1, 10, false), range(2, 10, false)]);
        assert!(fragments[1..].iter().all(|fragment| fragment.ranges.len() == 1 && fragment.ranges[0].rp_count == 100));
    }

    proptest! {
        #[test]
        fn fragments_are_within_the_mtu_and_say_what_the_message_says(
            counts in proptest::collection::vec(0usize..256, 0..12), scoped in any::<bool>(), mtu in 68usize..1500)
        {
            let mut ranges: Vec<BootstrapRange> = counts.iter().enumerate().map(|(at, count)| range(at as u8, *count, false)).collect();
            if scoped {
                ranges.insert(0, range(0, counts.len() * 9, true));
            }
            let whole = message(ranges);
            let fragments = split(whole.clone(), mtu);
            let mut heard = RpSet::default();
            for fragment in &fragments {
                prop_assert!(packet(fragment) <= mtu, "{} of {mtu}", packet(fragment));
                prop_assert!(!scoped || fragment.ranges[0].scoped);
                prop_assert!(fragment.ranges.iter().skip(1).all(|range| !range.scoped));
                let net = |range: &BootstrapRange| ipnet::IpNet::new(range.group, range.mask_length).unwrap();
                let told: Vec<_> = fragment.ranges.iter().map(|range| (net(range), range)).collect();
                heard.store(7, &told, 100_000);
            }
            let mut expected = RpSet::default();
            for range in &whole.ranges {
                expected.store(7, &[(ipnet::IpNet::new(range.group, range.mask_length).unwrap(), range)], 100_000);
            }
            prop_assert_eq!(heard.ranges(), expected.ranges());
        }
    }
}
