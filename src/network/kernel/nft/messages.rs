//! The next few messages of a kind, by what their first octets say.

use super::{
    CHAIN, DUMP, FAMILY, GETRULE, NEWRULE, Netlink, NetlinkError, SUBSYSTEM, Verdict, attribute, compare, expression,
    text, verdict,
};
use crate::network::kernel::netlink::attributes;
use crate::topology::steps::Message;

/// IP protocol numbers.
const IGMP: u8 = 2;
const PIM: u8 = 103;
/// Key of the `meta` expression (linux/netfilter/nf_tables.h).
const META_L4PROTO: u32 = 16;
/// Base of the `payload` expression: what follows the IP header.
const TRANSPORT_HEADER: u32 = 2;
const REGISTER: [u8; 4] = 1u32.to_be_bytes();

/// A comparison of octets of a message with a value.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Octets {
    offset: u32,
    is: Is,
    value: Vec<u8>,
}

/// How.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    Equal,
    Other,
}

/// How a kind of messages is told: by its protocol, by octets that all must fit, and by kinds that are no such message although they
/// fit.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kind {
    protocol: u8,
    octets: Vec<Octets>,
    but_not: Option<Message>,
}

/// Where the first group of a join/prune has its counts, and its first source its flags.
const JOINED: u32 = 22;
const PRUNED: u32 = 24;
const FIRST_FLAGS: u32 = 28;
/// The N bit of a register (RFC 7761 §4.9.3), without the B bit.
const NULL_REGISTER: u8 = 0x40;

/// IPv4's encodings: the counts of a join/prune are those of its first group (RFC 3973 §4.7.6, RFC 9776 §4.1).
fn kind(message: Message) -> Kind {
    let equal = |offset: u32, value: &[u8]| Octets { offset, is: Is::Equal, value: value.to_vec() };
    let other = |offset: u32, value: &[u8]| Octets { offset, is: Is::Other, value: value.to_vec() };
    let igmp = |octets: Vec<Octets>| Kind { protocol: IGMP, octets, but_not: None };
    // Version 2, and the type.
    let pim = |kind: u8| Kind { protocol: PIM, octets: vec![equal(0, &[0x20 | kind])], but_not: None };
    let join_prune = |counts: u32| Kind { octets: vec![equal(0, &[0x23]), other(counts, &[0, 0])], ..pim(3) };
    let join_as = |flags: u8| Kind {
        octets: vec![equal(0, &[0x23]), other(JOINED, &[0, 0]), equal(FIRST_FLAGS, &[flags])],
        ..pim(3)
    };
    let prune_as = |flags: u8| Kind {
        octets: vec![equal(0, &[0x23]), equal(JOINED, &[0, 0]), other(PRUNED, &[0, 0]), equal(FIRST_FLAGS, &[flags])],
        ..pim(3)
    };
    match message {
        Message::IgmpQuery => igmp(vec![equal(0, &[0x11])]),
        Message::IgmpGeneralQuery => igmp(vec![equal(0, &[0x11]), equal(4, &[0; 4])]),
        // One of version 2 has no number of sources that could be looked at.
        Message::IgmpGroupQuery => {
            Kind { but_not: Some(Message::IgmpSourceQuery), ..igmp(vec![equal(0, &[0x11]), other(4, &[0; 4])]) }
        }
        Message::IgmpSourceQuery => igmp(vec![equal(0, &[0x11]), other(4, &[0; 4]), other(10, &[0, 0])]),
        Message::Igmpv1Report => igmp(vec![equal(0, &[0x12])]),
        Message::Igmpv2Report => igmp(vec![equal(0, &[0x16])]),
        Message::Igmpv3Report => igmp(vec![equal(0, &[0x22])]),
        Message::IgmpLeave => igmp(vec![equal(0, &[0x17])]),
        Message::PimHello => pim(0),
        Message::PimJoinPrune => pim(3),
        Message::PimJoin => join_prune(JOINED),
        Message::PimPrune => join_prune(PRUNED),
        Message::PimAssert => pim(5),
        Message::PimGraft => pim(6),
        Message::PimGraftAck => pim(7),
        Message::PimStateRefresh => pim(9),
        // By the S, W and R bits of the first source (RFC 7761 §4.9.1): of a prune only where nothing is joined before it.
        Message::PimJoinWc => join_as(0b111),
        Message::PimJoinSg => join_as(0b100),
        Message::PimPruneWc => prune_as(0b111),
        Message::PimPruneSg => prune_as(0b100),
        Message::PimPruneRpt => prune_as(0b101),
        Message::PimRegister => Kind { octets: vec![equal(0, &[0x21]), other(4, &[NULL_REGISTER])], ..pim(1) },
        Message::PimNullRegister => Kind { octets: vec![equal(0, &[0x21]), equal(4, &[NULL_REGISTER])], ..pim(1) },
        Message::PimRegisterStop => pim(2),
        Message::PimBootstrap => pim(4),
        Message::PimCandidateRpAdvertisement => pim(8),
    }
}

/// Whether a message of a protocol, by its octets after the IP header, is of a kind: as the kernel tells.
pub fn is_kind(message: Message, protocol: u8, octets: &[u8]) -> bool {
    let kind = kind(message);
    kind.fits(protocol, octets) && kind.but_not.is_none_or(|other| !is_kind(other, protocol, octets))
}

impl Kind {
    /// What a chain's matches say of a message's octets; loads beyond them fit nothing.
    fn fits(&self, protocol: u8, octets: &[u8]) -> bool {
        let fits = |wanted: &Octets| {
            let at = wanted.offset as usize;
            let there = octets.get(at..at + wanted.value.len());
            there.is_some_and(|there| (there == wanted.value) == (wanted.is == Is::Equal))
        };
        self.protocol == protocol && self.octets.iter().all(fits)
    }
}

/// The rules of a chain that drops the first `count` messages of a kind, each a list of expressions.
pub(super) fn rules(message: Message, count: u32) -> Vec<Vec<u8>> {
    let wanted = kind(message);
    let mut rules = Vec::new();
    if let Some(but_not) = wanted.but_not {
        let mut spare = Vec::new();
        matches(&mut spare, &kind(but_not));
        verdict(&mut spare, Verdict::Accept);
        rules.push(spare);
    }
    let mut drop = Vec::new();
    matches(&mut drop, &wanted);
    // It counts what comes so far, from 0, and begins again only after as many as it can count.
    expression(&mut drop, "numgen", |data| {
        attribute(data, 1, &REGISTER);
        attribute(data, 2, &u32::MAX.to_be_bytes());
        attribute(data, 3, &0u32.to_be_bytes());
    });
    below(&mut drop, count);
    expression(&mut drop, "counter", |_| {});
    verdict(&mut drop, Verdict::Drop);
    rules.push(drop);
    rules
}

/// Whether the number in the register, in the machine's order, is below a bound.
pub(super) fn below(list: &mut Vec<u8>, bound: u32) {
    // Registers compare octet by octet: most significant first.
    expression(list, "byteorder", |data| {
        attribute(data, 1, &REGISTER);
        attribute(data, 2, &REGISTER);
        attribute(data, 3, &1u32.to_be_bytes());
        attribute(data, 4, &4u32.to_be_bytes());
        attribute(data, 5, &4u32.to_be_bytes());
    });
    compare(list, 2, &bound.to_be_bytes());
}

fn matches(list: &mut Vec<u8>, kind: &Kind) {
    expression(list, "meta", |data| {
        attribute(data, 1, &REGISTER);
        attribute(data, 2, &META_L4PROTO.to_be_bytes());
    });
    compare(list, 0, &[kind.protocol]);
    for octets in &kind.octets {
        expression(list, "payload", |data| {
            attribute(data, 1, &REGISTER);
            attribute(data, 2, &TRANSPORT_HEADER.to_be_bytes());
            attribute(data, 3, &octets.offset.to_be_bytes());
            attribute(data, 4, &(octets.value.len() as u32).to_be_bytes());
        });
        compare(list, if octets.is == Is::Equal { 0 } else { 1 }, &octets.value);
    }
}

/// How many messages the chain of a table has dropped.
pub(super) fn dropped(netlink: &mut Netlink, table: &str, what: &str) -> Result<u64, NetlinkError> {
    netlink.request_raw(SUBSYSTEM << 8 | GETRULE, DUMP, what, |m| {
        m.extend([FAMILY, 0, 0, 0]);
        attribute(m, 1, &text(table));
        attribute(m, 2, &text(CHAIN));
    })?;
    let mut packets = 0;
    netlink.ask(|kind, body| {
        if kind == SUBSYSTEM << 8 | NEWRULE
            && let Some(rule) = body.get(4..)
        {
            packets += counted(rule);
        }
    })?;
    Ok(packets)
}

/// The packets of the counters in a rule.
fn counted(rule: &[u8]) -> u64 {
    let expressions = attributes(rule).filter(|(kind, _)| *kind == 4).flat_map(|(_, list)| attributes(list));
    let counter = |element: &[u8]| {
        let part = |wanted: u16| attributes(element).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
        let data = part(2).filter(|_| part(1) == Some(b"counter\0"))?;
        let (_, packets) = attributes(data).find(|(kind, _)| *kind == 2)?;
        Some(u64::from_be_bytes(*packets.first_chunk()?))
    };
    expressions.filter_map(|(_, element)| counter(element)).sum()
}

#[cfg(test)]
mod tests {
    use super::super::nest;
    use super::*;
    use router_core::wire::{igmp, pim};

    /// A counter as the kernel gives it back.
    fn counter(packets: u64) -> Vec<u8> {
        let mut rule = Vec::new();
        nest(&mut rule, 4, |list| {
            expression(list, "counter", |data| {
                attribute(data, 1, &99u64.to_be_bytes());
                attribute(data, 2, &packets.to_be_bytes());
            });
        });
        rule
    }

    const ALL: [Message; 24] = [
        Message::IgmpQuery,
        Message::IgmpGeneralQuery,
        Message::IgmpGroupQuery,
        Message::IgmpSourceQuery,
        Message::Igmpv1Report,
        Message::Igmpv2Report,
        Message::Igmpv3Report,
        Message::IgmpLeave,
        Message::PimHello,
        Message::PimJoinPrune,
        Message::PimJoin,
        Message::PimPrune,
        Message::PimGraft,
        Message::PimGraftAck,
        Message::PimAssert,
        Message::PimStateRefresh,
        Message::PimJoinWc,
        Message::PimJoinSg,
        Message::PimPruneWc,
        Message::PimPruneSg,
        Message::PimPruneRpt,
        Message::PimRegister,
        Message::PimNullRegister,
        Message::PimRegisterStop,
    ];

    fn kinds(protocol: u8, octets: &[u8]) -> Vec<Message> {
        ALL.into_iter().filter(|message| is_kind(*message, protocol, octets)).collect()
    }

    fn list(joins: bool, prunes: bool) -> pim::JoinPrune {
        let source = pim::EncodedSource {
            address: [10, 9, 0, 1].into(),
            mask_length: 32,
            sparse: false,
            wildcard: false,
            rpt: false,
        };
        let some = |wanted: bool| if wanted { vec![source] } else { vec![] };
        let group = [239, 1, 1, 1].into();
        let set = pim::GroupSet { group, mask_length: 32, joined: some(joins), pruned: some(prunes) };
        pim::JoinPrune { upstream: [10, 0, 0, 2].into(), hold_time: 210, groups: vec![set] }
    }

    #[test]
    fn pim_messages_are_told_apart_by_their_octets() {
        let told = |message: pim::Message| kinds(PIM, &message.emit([10, 0, 0, 1].into(), [224, 0, 0, 13].into()));
        use Message::{PimGraft, PimGraftAck, PimHello, PimJoin, PimJoinPrune, PimPrune};
        assert_eq!(told(pim::Message::Hello(pim::Hello::default())), [PimHello]);
        assert_eq!(told(pim::Message::JoinPrune(list(true, false))), [PimJoinPrune, PimJoin]);
        assert_eq!(told(pim::Message::JoinPrune(list(false, true))), [PimJoinPrune, PimPrune]);
        assert_eq!(told(pim::Message::JoinPrune(list(true, true))), [PimJoinPrune, PimJoin, PimPrune]);
        assert_eq!(told(pim::Message::Graft(list(true, false))), [PimGraft]);
        assert_eq!(told(pim::Message::GraftAck(list(true, false))), [PimGraftAck]);
    }

    #[test]
    fn igmp_messages_are_told_apart_by_their_octets() {
        let told = |message: igmp::Message| kinds(IGMP, &message.emit());
        use Message::{IgmpGeneralQuery, IgmpGroupQuery, IgmpLeave, IgmpQuery, IgmpSourceQuery, Igmpv2Report};
        let group = [239, 1, 1, 1].into();
        let query = |group, sources: &[[u8; 4]]| {
            igmp::Message::QueryV3(igmp::QueryV3 {
                max_resp_code: 10,
                group,
                suppress: false,
                qrv: 2,
                qqic: 125,
                sources: sources.iter().map(|source| (*source).into()).collect(),
            })
        };
        assert_eq!(
            told(igmp::Message::QueryV2 { max_resp_time: 100, group: [0; 4].into() }),
            [IgmpQuery, IgmpGeneralQuery]
        );
        assert_eq!(told(igmp::Message::QueryV2 { max_resp_time: 100, group }), [IgmpQuery, IgmpGroupQuery]);
        assert_eq!(told(query([0; 4].into(), &[])), [IgmpQuery, IgmpGeneralQuery]);
        assert_eq!(told(query(group, &[])), [IgmpQuery, IgmpGroupQuery]);
        assert_eq!(told(query(group, &[[10, 0, 0, 1]])), [IgmpQuery, IgmpSourceQuery]);
        assert_eq!(told(igmp::Message::ReportV2 { group }), [Igmpv2Report]);
        assert_eq!(told(igmp::Message::LeaveV2 { group }), [IgmpLeave]);
    }

    #[test]
    fn counters_are_read_as_the_kernel_gives_them() {
        assert_eq!(counted(&counter(7)), 7);
        let rules = rules(Message::IgmpGroupQuery, 3);
        assert_eq!(rules.len(), 2, "one spares the queries with sources");
        for cut in 0..counter(7).len() {
            let _ = counted(&counter(7)[..cut]);
        }
    }
}
