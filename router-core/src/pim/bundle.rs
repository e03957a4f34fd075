//! Several sources and groups in one message: when a route moves or a timer runs out for a thousand of them, a neighbour gets a few
//! messages instead of a thousand (RFC 3973 §4.7.6 lets one carry many).

use std::net::IpAddr;

use super::Sent;
use crate::wire::pim::{GroupSet, JoinPrune, Message};

/// Groups that one message can count.
pub const GROUPS_MAX: usize = 255;
/// Octets of an IP header without options.
const fn ip_header(address: IpAddr) -> usize {
    if address.is_ipv4() { 20 } else { 40 }
}

/// Octets of an encoded address with its flags and mask length (§4.7.3, §4.7.4).
pub const fn encoded(address: IpAddr) -> usize {
    4 + if address.is_ipv4() { 4 } else { 16 }
}

/// Octets of a group with its sources.
pub fn size_of_set(set: &GroupSet) -> usize {
    let sources = set.joined.iter().chain(&set.pruned);
    encoded(set.group) + 4 + sources.map(|source| encoded(source.address)).sum::<usize>()
}

/// Octets of the IP packet: header, PIM header, upstream neighbour, counts, groups.
pub fn size(message: &JoinPrune) -> usize {
    let upstream = encoded(message.upstream) - 2;
    ip_header(message.upstream) + 4 + upstream + 4 + message.groups.iter().map(size_of_set).sum::<usize>()
}

/// Adds a message to another if one can stand for both: joins, prunes and grafts that leave by the same interface for the same upstream
/// neighbour with the same hold time, as long as the packet stays within `mtu` octets. Gives whether it did.
pub fn add(to: &mut Sent, message: &Sent, mtu: u32) -> bool {
    if (to.interface, to.destination) != (message.interface, message.destination) {
        return false;
    }
    let (to, other) = match (&mut to.message, &message.message) {
        (Message::JoinPrune(to), Message::JoinPrune(other)) | (Message::Graft(to), Message::Graft(other)) => {
            (to, other)
        }
        _ => return false,
    };
    let fits = size(to) + other.groups.iter().map(size_of_set).sum::<usize>() <= mtu as usize;
    let counts = to.groups.len() + other.groups.len() <= GROUPS_MAX;
    if (to.upstream, to.hold_time) != (other.upstream, other.hold_time) || !fits || !counts {
        return false;
    }
    // Of one source and group, what is said last counts for a receiver that reads in order.
    to.groups.extend(other.groups.iter().cloned());
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::InterfaceId;
    use crate::wire::pim::EncodedSource;

    fn graft(group: u8, upstream: u8) -> Sent {
        let upstream: IpAddr = [10, 0, 0, upstream].into();
        let source = EncodedSource {
            address: [10, 9, 9, 9].into(),
            mask_length: 32,
            sparse: false,
            wildcard: false,
            rpt: false,
        };
        let set = GroupSet { group: [239, 1, 1, group].into(), mask_length: 32, joined: vec![source], pruned: vec![] };
        let message = JoinPrune { upstream, hold_time: 0, groups: vec![set] };
        Sent { interface: InterfaceId(1), destination: upstream, message: Message::Graft(message) }
    }

    #[test]
    fn a_bundle_is_as_large_as_the_mtu_lets_it_be() {
        let mut bundle = graft(0, 1);
        let added = (1..=255).take_while(|group| add(&mut bundle, &graft(*group, 1), 1500)).count();
        let Message::Graft(message) = &bundle.message else { panic!() };
        let upstream = message.upstream;
        assert_eq!(added + 1, message.groups.len());
        assert_eq!(size(message), 20 + bundle.message.emit(upstream, upstream).len());
        assert!(size(message) <= 1500 && size(message) + 20 > 1500);
    }

    #[test]
    fn only_what_is_for_the_same_neighbour_travels_together() {
        let mut bundle = graft(0, 1);
        assert!(!add(&mut bundle, &graft(1, 2), 1500));
        let mut other = graft(1, 1);
        if let Message::Graft(message) = other.message {
            other.message = Message::JoinPrune(message);
        }
        assert!(!add(&mut bundle, &other, 1500));
    }
}
