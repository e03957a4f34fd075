//! Messages of the bootstrap mechanism in words:
//!
//! - `bootstrap BSR priority P hash LENGTH tag HEX [n] [; RANGE [bidir] [zone] COUNT RP:HOLD:PRIORITY...]...`: a fragment, whose ranges
//!   count so many rendezvous points in the whole message
//! - `candidate-rp RP priority P hold SECONDS [RANGE[:bidir][:zone]]...`

use std::fmt::Write as _;
use std::net::IpAddr;

use router_core::wire::pim::{Bootstrap, BootstrapRange, BootstrapRp, CandidateRange, CandidateRpAdvertisement};

use super::pim::Words;

fn prefix(word: &str) -> (IpAddr, u8) {
    let (address, length) = word.split_once('/').unwrap_or_else(|| panic!("{word} is no range"));
    (address.parse().unwrap(), length.parse().unwrap())
}

/// A bootstrap message from its words.
pub fn bootstrap(text: &str) -> Bootstrap {
    let mut parts = text.split(';');
    let mut words = Words::new(parts.next().unwrap());
    words.next();
    let (address, priority, hash_mask_length) = (words.value(), words.named("priority"), words.named("hash"));
    let tag: String = words.named("tag");
    let no_forward = words.has("n");
    words.end();
    let range = |text: &str| {
        let mut words = Words::new(text);
        let (group, mask_length) = prefix(words.next());
        let (bidir, scoped) = (words.has("bidir"), words.has("zone"));
        let rp_count = words.value();
        let rp = |word: &str| {
            let mut fields = word.split(':');
            BootstrapRp {
                address: fields.next().unwrap().parse().unwrap(),
                hold_time: fields.next().unwrap().parse().unwrap(),
                priority: fields.next().unwrap().parse().unwrap(),
            }
        };
        BootstrapRange { group, mask_length, bidir, scoped, rp_count, rps: words.rest().map(rp).collect() }
    };
    let fragment_tag = u16::from_str_radix(&tag, 16).unwrap();
    Bootstrap { no_forward, fragment_tag, hash_mask_length, priority, address, ranges: parts.map(range).collect() }
}

/// The words of a bootstrap message.
pub fn bootstrap_words(message: &Bootstrap) -> String {
    let Bootstrap { address, priority, hash_mask_length, fragment_tag, .. } = message;
    let mut text = format!("bootstrap {address} priority {priority} hash {hash_mask_length} tag {fragment_tag:04x}");
    text += if message.no_forward { " n" } else { "" };
    for range in &message.ranges {
        write!(text, " ; {}/{}", range.group, range.mask_length).unwrap();
        text += if range.bidir { " bidir" } else { "" };
        text += if range.scoped { " zone" } else { "" };
        write!(text, " {}", range.rp_count).unwrap();
        for rp in &range.rps {
            write!(text, " {}:{}:{}", rp.address, rp.hold_time, rp.priority).unwrap();
        }
    }
    text
}

/// A candidate RP's advertisement from its words.
pub fn candidate_rp(mut words: Words<'_>) -> CandidateRpAdvertisement {
    let (address, priority, hold_time) = (words.value(), words.named("priority"), words.named("hold"));
    let range = |word: &str| {
        let mut fields = word.split(':');
        let (group, mask_length) = prefix(fields.next().unwrap());
        let flags: Vec<&str> = fields.collect();
        CandidateRange { group, mask_length, bidir: flags.contains(&"bidir"), scoped: flags.contains(&"zone") }
    };
    CandidateRpAdvertisement { priority, hold_time, address, groups: words.rest().map(range).collect() }
}

/// The words of a candidate RP's advertisement.
pub fn candidate_rp_words(message: &CandidateRpAdvertisement) -> String {
    let CandidateRpAdvertisement { address, priority, hold_time, .. } = message;
    let mut text = format!("candidate-rp {address} priority {priority} hold {hold_time}");
    for range in &message.groups {
        write!(text, " {}/{}", range.group, range.mask_length).unwrap();
        text += if range.bidir { ":bidir" } else { "" };
        text += if range.scoped { ":zone" } else { "" };
    }
    text
}
