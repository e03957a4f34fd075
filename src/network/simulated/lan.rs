//! A bridge that snoops IGMP, as Linux's does (`net/bridge/br_multicast.c`) with its defaults: it asks nothing itself, and keeps groups by
//! port, without source lists.
//!
//! What has no querier is flooded. Once a querier was heard and members had its response time to answer, a group's frames go to the ports of
//! its members and of routers. IPv6 groups are flooded: no querier of theirs is ever here.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use router_core::wire::igmp::{Message, RecordKind, decode};

use crate::network::Time;

/// `multicast_querier_interval`: how long a querier, and a port toward a router, are believed in.
const QUERIER_PRESENT: Duration = Duration::from_secs(255);
/// `multicast_membership_interval`.
const MEMBERSHIP: Duration = Duration::from_secs(260);
/// `multicast_last_member_count`.
const LAST_MEMBER_COUNT: u32 = 2;
const TENTH: Duration = Duration::from_millis(100);

/// Where a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toward {
    /// To every port.
    All,
    /// To routers' ports, and those of a group's members.
    Members(Ipv4Addr),
    /// To routers' ports.
    Routers,
}

/// What a snooping bridge knows.
#[derive(Debug, Default)]
pub struct Snooping {
    /// By group and port: until when.
    groups: BTreeMap<Ipv4Addr, BTreeMap<u16, Time>>,
    routers: BTreeMap<u16, Time>,
    querier_until: Time,
    /// Members may not have answered the first query before.
    answered_from: Time,
}

impl Snooping {
    /// Hears an IGMP message that a port brought; gives where it goes itself.
    pub fn hear(&mut self, now: Time, port: u16, message: &Message) -> Toward {
        match message {
            Message::QueryV1 => self.query(now, port, Ipv4Addr::UNSPECIFIED, Duration::from_secs(10)),
            Message::QueryV2 { max_resp_time, group } => {
                self.query(now, port, *group, TENTH * u32::from(*max_resp_time));
            }
            Message::QueryV3(query) if query.group.is_unspecified() || query.sources.is_empty() => {
                self.query(now, port, query.group, TENTH * u32::from(decode(query.max_resp_code)));
            }
            // One with sources changes no timer.
            Message::QueryV3(_) => {}
            Message::ReportV1 { group } | Message::ReportV2 { group } => {
                self.join(now, port, *group);
                return Toward::Routers;
            }
            // While another than the bridge asks, its questions decide about the port.
            Message::LeaveV2 { .. } => {}
            Message::ReportV3 { records } => {
                for record in records {
                    let leaves = matches!(record.kind, RecordKind::ToInclude | RecordKind::IsInclude)
                        && record.sources.is_empty();
                    if !leaves && !matches!(record.kind, RecordKind::Unknown(_)) {
                        self.join(now, port, record.group);
                    }
                }
            }
        }
        Toward::All
    }

    /// A PIM hello came by a port.
    pub fn hear_router(&mut self, now: Time, port: u16) {
        self.routers.insert(port, now + QUERIER_PRESENT);
    }

    /// Where data to a group goes.
    pub fn data(&self, group: IpAddr) -> Toward {
        match group {
            IpAddr::V4(group) if !is_link_local(group) => Toward::Members(group),
            _ => Toward::All,
        }
    }

    /// Whether a port gets what goes toward someone.
    pub fn reaches(&self, now: Time, toward: Toward, port: u16) -> bool {
        let until = |until: Option<&Time>| until.is_some_and(|until| now < *until);
        let knows = now < self.querier_until && now >= self.answered_from;
        match toward {
            Toward::All => true,
            _ if !knows => true,
            Toward::Routers => until(self.routers.get(&port)),
            Toward::Members(group) => {
                until(self.routers.get(&port)) || until(self.groups.get(&group).and_then(|ports| ports.get(&port)))
            }
        }
    }

    fn query(&mut self, now: Time, port: u16, group: Ipv4Addr, response: Duration) {
        if group.is_unspecified() {
            if now >= self.querier_until {
                self.answered_from = now + response;
            }
            self.querier_until = now + QUERIER_PRESENT;
            self.routers.insert(port, now + QUERIER_PRESENT);
            return;
        }
        let last = now + response * LAST_MEMBER_COUNT;
        for until in self.groups.get_mut(&group).into_iter().flat_map(BTreeMap::values_mut) {
            *until = last.min(*until);
        }
    }

    fn join(&mut self, now: Time, port: u16, group: Ipv4Addr) {
        if !is_link_local(group) {
            self.groups.entry(group).or_default().insert(port, now + MEMBERSHIP);
        }
    }
}

/// RFC 5771 §4: such groups are for everybody on the link.
fn is_link_local(group: Ipv4Addr) -> bool {
    group.octets()[..3] == [224, 0, 0]
}

#[cfg(test)]
mod tests {
    use router_core::wire::igmp::{QueryV3, Record};

    use super::*;

    const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 1, 1);

    fn at(ms: u64) -> Time {
        Time(ms * 1_000_000)
    }

    fn query(group: Ipv4Addr, max_resp_code: u8) -> Message {
        let sources = Vec::new();
        Message::QueryV3(QueryV3 { max_resp_code, group, suppress: false, qrv: 2, qqic: 125, sources })
    }

    fn report(kind: RecordKind, sources: &[[u8; 4]]) -> Message {
        let sources = sources.iter().map(|source| (*source).into()).collect();
        Message::ReportV3 { records: vec![Record { kind, group: GROUP, sources }] }
    }

    fn ports(snooping: &Snooping, ms: u64) -> Vec<u16> {
        let toward = snooping.data(GROUP.into());
        (0..4).filter(|port| snooping.reaches(at(ms), toward, *port)).collect()
    }

    #[test]
    fn all_is_flooded_until_a_querier_was_heard_and_answered() {
        let mut snooping = Snooping::default();
        assert_eq!(ports(&snooping, 0), [0, 1, 2, 3]);
        snooping.hear(at(0), 0, &query(Ipv4Addr::UNSPECIFIED, 10));
        snooping.hear(at(500), 2, &report(RecordKind::IsExclude, &[]));
        assert_eq!(ports(&snooping, 999), [0, 1, 2, 3]);
        assert_eq!(ports(&snooping, 1000), [0, 2], "the router's and the member's");
        assert_eq!(ports(&snooping, 254_999), [0, 2]);
        assert_eq!(ports(&snooping, 255_000), [0, 1, 2, 3], "the querier is gone");
        assert!(snooping.reaches(at(1000), snooping.data("224.0.0.5".parse().unwrap()), 3));
        assert!(snooping.reaches(at(1000), snooping.data("ff3e::1".parse().unwrap()), 3));
    }

    #[test]
    fn a_leave_takes_a_port_off_only_after_a_question_without_an_answer() {
        let mut snooping = Snooping::default();
        snooping.hear(at(0), 0, &query(Ipv4Addr::UNSPECIFIED, 1));
        assert_eq!(snooping.hear(at(200), 1, &Message::ReportV2 { group: GROUP }), Toward::Routers);
        snooping.hear(at(200), 2, &report(RecordKind::IsInclude, &[[10, 0, 0, 9]]));
        snooping.hear(at(300), 2, &report(RecordKind::ToInclude, &[]));
        snooping.hear(at(300), 1, &Message::LeaveV2 { group: GROUP });
        assert_eq!(ports(&snooping, 5000), [0, 1, 2]);
        snooping.hear(at(5000), 0, &query(GROUP, 5));
        snooping.hear(at(5100), 1, &Message::ReportV2 { group: GROUP });
        assert_eq!(ports(&snooping, 5999), [0, 1, 2]);
        assert_eq!(ports(&snooping, 6000), [0, 1]);
    }
}
