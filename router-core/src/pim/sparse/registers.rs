//! Registers: sent by the designated router of a source's link, taken by the rendezvous point (RFC 7761 §4.4).

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::rendezvous::{self, Guards};
use super::{Action, Context, Sparse, macros, register};
use crate::config::PimSabotage;
use crate::counters::DropReason;
use crate::forwarding::EntryKey;
use crate::router::InterfaceId;
use crate::time::Time;
use crate::wire::checksum;
use crate::wire::pim::{Message, PROTOCOL, Register, RegisterStop};

/// Octets of an IPv4 header without options.
const IPV4_HEADER: usize = 20;
/// Registers that come so long after a register-stop were not under way when it was sent: it was lost.
const UNDER_WAY: Duration = Duration::from_secs(1);

/// Source, group and TOS of an IPv4 packet.
fn inner(packet: &[u8]) -> Option<(EntryKey, u8)> {
    addressed(packet).filter(|_| packet[0] >> 4 == 4)
}

/// The same of a header, whatever else it holds.
fn addressed(packet: &[u8]) -> Option<(EntryKey, u8)> {
    let header: &[u8; IPV4_HEADER] = packet.first_chunk()?;
    let address = |at: usize| IpAddr::from([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    Some((EntryKey { source: address(12), group: address(16) }, header[1]))
}

/// Whether the header of the packet in a register is whole: the register's own checksum does not cover it (§4.9). That of a null register may
/// have none, and nothing else of it is looked at (§4.9.3).
fn is_whole(register: &Register) -> bool {
    let own = register.packet.first().map_or(0, |first| usize::from(first & 0xf) * 4);
    let length = if register.null { IPV4_HEADER } else { own };
    let Some(header) = register.packet.get(..length).filter(|header| header.len() >= IPV4_HEADER) else { return false };
    checksum::internet(header) == 0 || register.null && header[10..12] == [0, 0]
}

/// Takes a hop off an IPv4 packet's TTL, as forwarding does: the kernel leaves that to whoever encapsulates. Gives whether a TTL is left.
fn forwarded(packet: &mut [u8]) -> bool {
    let length = packet.first().map_or(0, |first| usize::from(first & 0xf) * 4);
    let Some(header) = packet.get_mut(..length).filter(|header| header.len() >= IPV4_HEADER) else { return false };
    header[8] = header[8].saturating_sub(1);
    let is_left = header[8] > 0;
    header[10..12].fill(0);
    let sum = checksum::internet(header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    is_left
}

/// The dummy header of a null register (§4.9.3).
fn dummy(source: Ipv4Addr, group: Ipv4Addr) -> Vec<u8> {
    let mut header = vec![0u8; IPV4_HEADER];
    header[0] = 0x45;
    header[3] = IPV4_HEADER as u8;
    header[8] = 1;
    header[9] = PROTOCOL;
    header[12..16].copy_from_slice(&source.octets());
    header[16..20].copy_from_slice(&group.octets());
    let sum = checksum::internet(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header
}

impl Sparse {
    /// The address that registers of a source come from: that on the source's link, which has a route wherever the source has one.
    fn register_from(&self, context: &Context<'_>, key: EntryKey) -> Option<IpAddr> {
        let i = self.view(context, key.into()).entry.rpf_interface()?;
        context.ports.get(&i)?.state.addresses.iter().map(ipnet::IpNet::addr).find(IpAddr::is_ipv4)
    }

    /// A packet left by the register tunnel.
    pub fn whole_packet(&mut self, context: &mut Context<'_>, mut packet: Vec<u8>) {
        let Some((key, traffic_class)) = inner(&packet).filter(|_| forwarded(&mut packet)) else {
            self.actions.push(Action::Drop(None, DropReason::Malformed));
            return;
        };
        self.told(context, key);
        let v = self.view(context, key.into());
        // One more may come while the kernel's entry changes.
        let Some(rp) = v.entry.register_rp.filter(|_| v.entry.register == register::State::Join) else { return };
        let Some(source) = self.register_from(context, key) else { return };
        let message = Message::Register(Register { border: false, null: false, packet });
        self.actions.push(Action::SendRouted {
            source,
            destination: rp,
            // §4.4.1: DSCP and ECN are those of the packet within.
            traffic_class: Some(traffic_class),
            message,
        });
    }

    pub(super) fn send_null_register(&mut self, context: &Context<'_>, key: EntryKey) {
        let rp = self.view(context, key.into()).entry.register_rp;
        let (Some(rp), Some(source)) = (rp, self.register_from(context, key)) else { return };
        let (IpAddr::V4(of), IpAddr::V4(group)) = (key.source, key.group) else { return };
        let null = self.settings.sabotage != Some(PimSabotage::RegisterNullBit);
        let message = Message::Register(Register { border: false, null, packet: dummy(of, group) });
        self.actions.push(Action::SendRouted { source, destination: rp, traffic_class: None, message });
    }

    /// A register to one of the router's addresses: `packet_arrives_on_rp_tunnel` (§4.4.2).
    pub fn hear_register(
        &mut self,
        context: &mut Context<'_>,
        interface: InterfaceId,
        from: IpAddr,
        to: IpAddr,
        message: &Register,
    ) {
        self.roll(context);
        let header = if message.null { addressed(&message.packet) } else { inner(&message.packet) };
        let Some((key, _)) = header else {
            self.actions.push(Action::Drop(Some(interface), DropReason::Malformed));
            return;
        };
        if !is_whole(message) {
            self.actions.push(Action::Drop(Some(interface), DropReason::Checksum));
            return;
        }
        if let Err(reason) = Self::is_group(key.group) {
            self.actions.push(Action::Drop(Some(interface), reason));
            return;
        }
        if macros::is_boundary(context.ports, interface, key.group) {
            self.actions.push(Action::Drop(Some(interface), DropReason::Boundary));
            return;
        }
        let i_am_rp = context.rp(key.group) == Some(to);
        if i_am_rp && let Err(reason) = self.ensure(context, key) {
            if reason != DropReason::EntryLimit {
                self.actions.push(Action::Drop(Some(interface), reason));
            }
            return;
        }
        if !i_am_rp {
            self.actions.push(Action::Drop(Some(interface), DropReason::OtherRp));
        }
        let v = self.view(context, key.into());
        let guards = Guards {
            i_am_rp,
            spt_bit: macros::spt_bit(&v),
            // A rendezvous point always prefers native data to registers.
            switch_to_spt_desired: true,
            olist_is_null: macros::inherited_olist_is_null(&v),
        };
        let actions = rendezvous::receive(guards);
        let is_stopped = actions.contains(&rendezvous::Action::SendRegisterStop);
        if let Some(entry) = self.source(key).filter(|_| i_am_rp) {
            // A null register brings no data, whether it is answered or not.
            let goes_on = |at: Time| !message.null && context.now.since(at) >= UNDER_WAY;
            match entry.stopped {
                _ if is_stopped => entry.stopped = Some(context.now),
                Some(at) if goes_on(at) => entry.stopped = None,
                _ => {}
            }
        }
        for action in actions {
            match action {
                rendezvous::Action::SendRegisterStop => {
                    let mask_length = if key.group.is_ipv4() { 32 } else { 128 };
                    let stop = RegisterStop { group: key.group, mask_length, source: key.source };
                    let message = Message::RegisterStop(stop);
                    self.actions.push(Action::SendRouted {
                        source: to,
                        destination: from,
                        traffic_class: None,
                        message,
                    });
                }
                rendezvous::Action::SetRpKeepalive => {
                    self.set_keepalive(context, key, self.settings.rp_keepalive_period);
                }
                rendezvous::Action::SetKeepalive => {
                    self.set_keepalive(context, key, self.settings.keepalive_period);
                }
            }
        }
        self.evaluate_source(context, key);
    }

    /// A register-stop to one of the router's addresses. One without a source is for all sources of the group (§4.4.1).
    pub fn hear_register_stop(
        &mut self,
        context: &mut Context<'_>,
        interface: InterfaceId,
        from: IpAddr,
        message: &RegisterStop,
    ) {
        self.roll(context);
        let keys = if message.source.is_unspecified() {
            self.sources_of(message.group)
        } else {
            vec![EntryKey { source: message.source, group: message.group }]
        };
        for key in keys {
            let Some(entry) = self.source(key) else { continue };
            if entry.register == register::State::NoInfo {
                continue;
            }
            if entry.register_rp != Some(from) {
                self.actions.push(Action::Drop(Some(interface), DropReason::OtherRp));
                continue;
            }
            self.register(context, key, register::Event::ReceiveRegisterStop);
            self.evaluate_source(context, key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dummy_header_is_a_header() {
        let (source, group) = ([10, 0, 0, 9].into(), [239, 1, 1, 1].into());
        let header = dummy(source, group);
        assert_eq!(checksum::internet(&header), 0);
        assert_eq!(inner(&header), Some((EntryKey { source: source.into(), group: group.into() }, 0)));
        assert_eq!(inner(&header[..19]), None);
        assert_eq!(inner(&[0x60; 40]), None);
    }

    #[test]
    fn the_header_within_a_register_is_looked_at() {
        let packet = dummy([10, 0, 0, 9].into(), [239, 1, 1, 1].into());
        let is_whole = |null, packet: &[u8]| is_whole(&Register { border: false, null, packet: packet.to_vec() });
        assert!(is_whole(false, &packet) && is_whole(true, &packet));
        for octet in 0..packet.len() {
            let mut broken = packet.clone();
            broken[octet] ^= 0x10;
            assert!(!is_whole(false, &broken) && !is_whole(true, &broken), "octet {octet}");
        }
        let mut unsummed = packet.clone();
        unsummed[10..12].fill(0);
        assert!(!is_whole(false, &unsummed) && is_whole(true, &unsummed));
        assert!(!is_whole(true, &packet[..19]) && !is_whole(true, &[]));
        unsummed[0] = 0;
        assert!(!is_whole(false, &unsummed) && is_whole(true, &unsummed) && addressed(&unsummed).is_some());
    }
}
