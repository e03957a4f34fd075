//! Classic BPF programs that let a tap see multicast data and the control protocols, and nothing else.

use std::net::IpAddr;

use crate::sys::packet::Instruction;

/// Accept a frame whole.
pub const WHOLE: u32 = 0x4_0000;

/// Octets of a frame that the IPv4 or IPv6 header starts at.
const IP: u32 = 14;
const ETHERTYPE: u32 = 12;
const IPV4: u32 = 0x0800;
const IPV6: u32 = 0x86dd;
const IGMP: u32 = 2;
const PIM: u32 = 103;
const ICMPV6: u32 = 58;
const HOP_BY_HOP: u32 = 0;
/// MLD query, version 1 report, version 1 done, version 2 report (RFC 2710, RFC 9777).
const MLD_TYPES: [u32; 4] = [130, 131, 132, 143];

/// The filter of a tap: IGMP, PIM and MLD whole, at most `data` octets of a frame to any other multicast group.
/// With `group`, data to other groups than that one is left out.
pub fn multicast(data: u32, group: Option<IpAddr>) -> Vec<Instruction> {
    use Step::{And, At, Byte, Give, Half, Is};
    let mut steps = vec![
        Half(ETHERTYPE),
        Is(IPV4, Place::V4, Place::NotV4),
        At(Place::NotV4),
        Is(IPV6, Place::V6, Place::Refuse),
        At(Place::V4),
        Byte(IP + 9),
        Is(IGMP, Place::Control, Place::V4NotIgmp),
        At(Place::V4NotIgmp),
        Is(PIM, Place::Control, Place::V4Data),
        At(Place::V4Data),
    ];
    match group {
        None => steps.extend([Byte(IP + 16), And(0xf0), Is(0xe0, Place::Data, Place::Refuse)]),
        Some(IpAddr::V4(group)) => {
            steps.extend([Step::Word(IP + 16), Is(u32::from(group), Place::Data, Place::Refuse)])
        }
        Some(IpAddr::V6(_)) => steps.push(Give(0)),
    }
    steps.extend([
        At(Place::V6),
        Byte(IP + 6),
        Is(PIM, Place::Control, Place::V6NotPim),
        At(Place::V6NotPim),
        Is(ICMPV6, Place::Icmp, Place::V6NotIcmp),
        At(Place::V6NotIcmp),
        Is(HOP_BY_HOP, Place::Options, Place::V6Data),
        At(Place::Options),
        Byte(IP + 40),
        // MLD carries the Router Alert option in a hop-by-hop header of 8 octets (RFC 2710 §3).
        Is(ICMPV6, Place::IcmpBehindOptions, Place::V6Data),
        At(Place::Icmp),
        Byte(IP + 40),
    ]);
    push_mld(&mut steps, [Place::Mld1, Place::Mld2, Place::Mld3]);
    steps.extend([At(Place::IcmpBehindOptions), Byte(IP + 48)]);
    push_mld(&mut steps, [Place::MldBehind1, Place::MldBehind2, Place::MldBehind3]);
    steps.push(At(Place::V6Data));
    match group {
        None => steps.extend([Byte(IP + 24), Is(0xff, Place::Data, Place::Refuse)]),
        Some(IpAddr::V4(_)) => steps.push(Give(0)),
        Some(IpAddr::V6(group)) => {
            let next = [Place::Word1, Place::Word2, Place::Word3, Place::Data];
            for ((index, word), then) in (0u32..).zip(words(group.octets())).zip(next) {
                steps.extend([Step::Word(IP + 24 + 4 * index), Is(word, then, Place::Refuse), At(then)]);
            }
            steps.pop();
        }
    }
    steps.extend([At(Place::Data), Give(data), At(Place::Control), Give(WHOLE), At(Place::Refuse), Give(0)]);
    assemble(&steps)
}

fn words(octets: [u8; 16]) -> [u32; 4] {
    let mut words = [0; 4];
    for (word, part) in words.iter_mut().zip(octets.chunks_exact(4)) {
        *word = part.iter().fold(0, |sum, octet| sum << 8 | u32::from(*octet));
    }
    words
}

fn push_mld(steps: &mut Vec<Step>, places: [Place; 3]) {
    let else_to = [places[0], places[1], places[2], Place::Refuse];
    for (kind, or) in MLD_TYPES.into_iter().zip(else_to) {
        steps.extend([Step::Is(kind, Place::Control, or), Step::At(or)]);
    }
    steps.pop();
}

/// Where a jump leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    V4,
    NotV4,
    V4NotIgmp,
    V4Data,
    V6,
    V6NotPim,
    V6NotIcmp,
    Options,
    Icmp,
    IcmpBehindOptions,
    Mld1,
    Mld2,
    Mld3,
    MldBehind1,
    MldBehind2,
    MldBehind3,
    V6Data,
    Word1,
    Word2,
    Word3,
    Data,
    Control,
    Refuse,
}

/// One step of a program, jumps by name.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Names the next instruction.
    At(Place),
    /// Load an octet, two, or four.
    Byte(u32),
    Half(u32),
    Word(u32),
    /// Mask what was loaded.
    And(u32),
    /// Compare what was loaded, and go to one place or the other.
    Is(u32, Place, Place),
    /// End: so many octets are let through.
    Give(u32),
}

fn assemble(steps: &[Step]) -> Vec<Instruction> {
    let position = |place: Place| {
        let mut index = 0usize;
        for step in steps {
            match step {
                Step::At(at) if *at == place => return index,
                Step::At(_) => {}
                _ => index += 1,
            }
        }
        index
    };
    let mut code = Vec::new();
    for step in steps {
        // Programs here are some 50 instructions long, and jumps lead forward only: a distance fits an octet.
        let jump = |place: Place| position(place).saturating_sub(code.len() + 1) as u8;
        let plain = |operation: u32, k: u32| Instruction { code: operation as u16, jt: 0, jf: 0, k };
        let instruction = match *step {
            Step::At(_) => continue,
            Step::Byte(at) => plain(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, at),
            Step::Half(at) => plain(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, at),
            Step::Word(at) => plain(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, at),
            Step::And(mask) => plain(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, mask),
            Step::Is(value, then, or) => Instruction {
                code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
                jt: jump(then),
                jf: jump(or),
                k: value,
            },
            Step::Give(octets) => plain(libc::BPF_RET | libc::BPF_K, octets),
        };
        code.push(instruction);
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program as the kernel would: what lies outside the frame refuses it.
    fn run(code: &[Instruction], frame: &[u8]) -> u32 {
        let load = |at: u32, size: usize| {
            let at = at as usize;
            frame.get(at..at + size).map(|octets| octets.iter().fold(0u32, |sum, octet| sum << 8 | u32::from(*octet)))
        };
        let (mut index, mut value) = (0, 0);
        loop {
            let step = code[index];
            index += 1;
            match u32::from(step.code) {
                0x20 | 0x28 | 0x30 => {
                    let size = match step.code {
                        0x20 => 4,
                        0x28 => 2,
                        _ => 1,
                    };
                    match load(step.k, size) {
                        Some(loaded) => value = loaded,
                        None => return 0,
                    }
                }
                0x54 => value &= step.k,
                0x15 => index += usize::from(if value == step.k { step.jt } else { step.jf }),
                0x06 => return step.k,
                other => panic!("unknown instruction {other:#x}"),
            }
        }
    }

    fn ipv4(protocol: u8, destination: [u8; 4]) -> Vec<u8> {
        let mut frame = vec![0; 14];
        frame[12..].copy_from_slice(&[8, 0]);
        frame.extend([0x45, 0, 0, 40, 0, 0, 0, 0, 16, protocol, 0, 0, 10, 0, 0, 1]);
        frame.extend(destination);
        frame.resize(80, 0);
        frame
    }

    fn ipv6(next: u8, destination: &str, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 14];
        frame[12..].copy_from_slice(&[0x86, 0xdd]);
        frame.extend([0x60, 0, 0, 0, 0, 20, next, 1]);
        frame.extend([0; 16]);
        frame.extend(destination.parse::<std::net::Ipv6Addr>().unwrap().octets());
        frame.extend(payload);
        frame.resize(90, 0);
        frame
    }

    #[test]
    fn multicast_data_is_cut_and_unicast_is_refused() {
        let code = multicast(128, None);
        assert_eq!(run(&code, &ipv4(17, [239, 1, 1, 1])), 128);
        assert_eq!(run(&code, &ipv4(17, [224, 0, 1, 1])), 128);
        assert_eq!(run(&code, &ipv4(17, [10, 0, 0, 2])), 0);
        assert_eq!(run(&code, &ipv4(17, [240, 0, 0, 2])), 0);
        assert_eq!(run(&code, &ipv6(17, "ff3e::1", &[])), 128);
        assert_eq!(run(&code, &ipv6(17, "2001:db8::1", &[])), 0);
    }

    #[test]
    fn control_protocols_come_whole() {
        let code = multicast(128, None);
        assert_eq!(run(&code, &ipv4(2, [224, 0, 0, 22])), WHOLE);
        assert_eq!(run(&code, &ipv4(103, [10, 0, 0, 2])), WHOLE, "a register is unicast");
        assert_eq!(run(&code, &ipv6(103, "ff02::d", &[])), WHOLE);
        assert_eq!(run(&code, &ipv6(0, "ff02::16", &[58, 0, 5, 2, 0, 0, 1, 0, 143])), WHOLE);
        assert_eq!(run(&code, &ipv6(58, "ff02::1", &[130])), WHOLE);
    }

    #[test]
    fn neighbour_discovery_and_arp_are_refused() {
        let code = multicast(128, None);
        assert_eq!(run(&code, &ipv6(58, "ff02::1:ff00:1", &[135])), 0);
        assert_eq!(run(&code, &ipv6(0, "ff02::1", &[58, 0, 5, 2, 0, 0, 1, 0, 134])), 0);
        let mut arp = ipv4(17, [239, 1, 1, 1]);
        arp[13] = 6;
        assert_eq!(run(&code, &arp), 0);
        assert_eq!(run(&code, &arp[..12]), 0, "too short for an Ethernet header");
    }

    #[test]
    fn one_group_can_be_picked_with_control_messages_kept() {
        let code = multicast(WHOLE, Some("239.1.1.1".parse().unwrap()));
        assert_eq!(run(&code, &ipv4(17, [239, 1, 1, 1])), WHOLE);
        assert_eq!(run(&code, &ipv4(17, [239, 1, 1, 2])), 0);
        assert_eq!(run(&code, &ipv4(2, [239, 1, 1, 2])), WHOLE);
        assert_eq!(run(&code, &ipv6(17, "ff3e::1", &[])), 0);
        let code = multicast(WHOLE, Some("ff3e:1:2::4".parse().unwrap()));
        assert_eq!(run(&code, &ipv6(17, "ff3e:1:2::4", &[])), WHOLE);
        assert_eq!(run(&code, &ipv6(17, "ff3e:1:3::4", &[])), 0);
        assert_eq!(run(&code, &ipv6(17, "ff3e:1:2::5", &[])), 0);
        assert_eq!(run(&code, &ipv4(17, [239, 1, 1, 1])), 0);
    }
}
