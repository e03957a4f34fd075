//! Registers and register-stops (RFC 7761 §4.9.3, §4.9.4).

use std::net::IpAddr;

use super::Error;
use super::codec::{Reader, extend_masked, extend_unicast};

/// The B bit of a register.
const BORDER: u8 = 0x80;
/// The N bit.
const NULL: u8 = 0x40;

/// A register (RFC 7761 §4.9.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Register {
    /// The B bit: of a multicast border router (RFC 4601); nobody sends it any more, and nobody heeds it.
    pub border: bool,
    /// The N bit: a null register, which probes whether the rendezvous point still wants none.
    pub null: bool,
    /// The packet from its IP header on; of a null register, a header alone, or nothing at all (RFC 7761 §4.9.3).
    pub packet: Vec<u8>,
}

/// A register-stop (RFC 7761 §4.9.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisterStop {
    /// The group.
    pub group: IpAddr,
    /// Bits of it that count.
    pub mask_length: u8,
    /// The source; unspecified for all.
    pub source: IpAddr,
}

impl Reader<'_> {
    /// RFC 7761 §4.9.3. What the packet is, is up to who takes it out.
    pub(super) fn register(mut self) -> Result<Register, Error> {
        let &[flags, ..] = self.array::<4>("a register")?;
        Ok(Register { border: flags & BORDER != 0, null: flags & NULL != 0, packet: self.rest.to_vec() })
    }

    /// RFC 7761 §4.9.4.
    pub(super) fn register_stop(mut self) -> Result<RegisterStop, Error> {
        let (group, mask_length) = self.group()?;
        Ok(RegisterStop { group, mask_length, source: self.unicast("a source address")? })
    }
}

pub(super) fn emit_register(register: &Register) -> Vec<u8> {
    let flags = [(register.border, BORDER), (register.null, NULL)];
    let flags = flags.iter().filter(|(set, _)| *set).fold(0, |all, (_, bit)| all | bit);
    let mut bytes = Vec::with_capacity(4 + register.packet.len());
    bytes.extend([flags, 0, 0, 0]);
    bytes.extend(&register.packet);
    bytes
}

pub(super) fn emit_register_stop(stop: &RegisterStop) -> Vec<u8> {
    let mut bytes = Vec::new();
    extend_masked(&mut bytes, 0, stop.mask_length, stop.group);
    extend_unicast(&mut bytes, stop.source);
    bytes
}
