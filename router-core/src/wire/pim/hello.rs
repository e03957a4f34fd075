//! Hellos and their options (RFC 7761 §4.9.2, RFC 3973 §4.7.5).

use std::net::IpAddr;

use super::Error;
use super::codec::{Reader, TOP_BIT, extend_unicast};

const OPTION_HOLD_TIME: u16 = 1;
const OPTION_LAN_PRUNE_DELAY: u16 = 2;
const OPTION_DR_PRIORITY: u16 = 19;
const OPTION_GENERATION_ID: u16 = 20;
const OPTION_STATE_REFRESH: u16 = 21;
const OPTION_ADDRESS_LIST: u16 = 24;

/// The version of the State Refresh Capable option (RFC 3973 §4.7.5.4).
const STATE_REFRESH_VERSION: u8 = 1;
/// Octets of a hello option before its value.
const OPTION_HEADER: usize = 4;
/// The most that a propagation delay of 15 bits can say.
pub(super) const PROPAGATION_DELAY_MAX: u16 = 0x7fff;

/// A hello: its options, each at most once (of a repeated one the last counts); options that are not known are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// Option 1, Hello Hold Time in seconds: 0 is goodbye, [`HOLD_FOR_EVER`](super::HOLD_FOR_EVER) never runs out.
    pub hold_time: Option<u16>,
    /// Option 2.
    pub lan_prune_delay: Option<LanPruneDelay>,
    /// Option 19, DR Priority (sparse mode; heard and shown).
    pub dr_priority: Option<u32>,
    /// Option 20, Generation ID.
    pub generation_id: Option<u32>,
    /// Option 21: the sender's State Refresh Interval in seconds.
    pub state_refresh_interval: Option<u8>,
    /// Option 24: the sender's other addresses on the interface (RFC 7761 §4.9.2).
    pub addresses: Vec<IpAddr>,
}

/// Option 2, LAN Prune Delay (RFC 3973 §4.7.5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LanPruneDelay {
    /// The T bit: the sender can leave join suppression out (sparse mode).
    pub tracking: bool,
    /// Propagation delay in milliseconds, 0 to 32767.
    pub propagation_delay: u16,
    /// Override interval in milliseconds.
    pub override_interval: u16,
}

impl Reader<'_> {
    /// RFC 7761 §4.9.2.
    pub(super) fn hello(mut self) -> Result<Hello, Error> {
        let mut hello = Hello::default();
        while !self.rest.is_empty() {
            let &[a, b, c, d] = self.array::<OPTION_HEADER>("a hello option")?;
            let option = u16::from_be_bytes([a, b]);
            let value = self.take("a hello option's value", usize::from(u16::from_be_bytes([c, d])))?;
            match option {
                OPTION_HOLD_TIME => hello.hold_time = Some(u16::from_be_bytes(*exactly(option, value)?)),
                OPTION_LAN_PRUNE_DELAY => {
                    let &[a, b, c, d] = exactly(option, value)?;
                    hello.lan_prune_delay = Some(LanPruneDelay {
                        tracking: a & TOP_BIT != 0,
                        propagation_delay: u16::from_be_bytes([a & !TOP_BIT, b]),
                        override_interval: u16::from_be_bytes([c, d]),
                    });
                }
                OPTION_DR_PRIORITY => hello.dr_priority = Some(u32::from_be_bytes(*exactly(option, value)?)),
                OPTION_GENERATION_ID => hello.generation_id = Some(u32::from_be_bytes(*exactly(option, value)?)),
                OPTION_STATE_REFRESH => {
                    let &[version, interval, _, _] = exactly(option, value)?;
                    // Of another version it is an option that is not known.
                    if version == STATE_REFRESH_VERSION {
                        hello.state_refresh_interval = Some(interval);
                    }
                }
                OPTION_ADDRESS_LIST => {
                    let mut list = Reader { rest: value, is_ipv6: self.is_ipv6 };
                    hello.addresses.clear();
                    hello.addresses.reserve_exact(value.len() / list.unicast_length());
                    while !list.rest.is_empty() {
                        if !list.skip_other_family("a secondary address")? {
                            hello.addresses.push(list.unicast("a secondary address")?);
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(hello)
    }
}

/// An option's value, which must have the length of its type.
fn exactly<const N: usize>(option: u16, value: &[u8]) -> Result<&[u8; N], Error> {
    value.try_into().map_err(|_| Error::OptionLength { option, length: value.len(), expected: N })
}

pub(super) fn emit_hello(hello: &Hello) -> Vec<u8> {
    // All options but the list of addresses.
    let mut bytes = Vec::with_capacity(36);
    let mut option = |option: u16, value: &[u8]| {
        bytes.extend(option.to_be_bytes());
        bytes.extend((value.len() as u16).to_be_bytes());
        bytes.extend(value);
    };
    if let Some(seconds) = hello.hold_time {
        option(OPTION_HOLD_TIME, &seconds.to_be_bytes());
    }
    if let Some(delay) = hello.lan_prune_delay {
        let propagation = delay.propagation_delay.min(PROPAGATION_DELAY_MAX).to_be_bytes();
        let [high, low] = delay.override_interval.to_be_bytes();
        let tracking = if delay.tracking { TOP_BIT } else { 0 };
        option(OPTION_LAN_PRUNE_DELAY, &[propagation[0] | tracking, propagation[1], high, low]);
    }
    if let Some(priority) = hello.dr_priority {
        option(OPTION_DR_PRIORITY, &priority.to_be_bytes());
    }
    if let Some(id) = hello.generation_id {
        option(OPTION_GENERATION_ID, &id.to_be_bytes());
    }
    if let Some(interval) = hello.state_refresh_interval {
        option(OPTION_STATE_REFRESH, &[STATE_REFRESH_VERSION, interval, 0, 0]);
    }
    if !hello.addresses.is_empty() {
        let mut list = Vec::new();
        for address in &hello.addresses {
            let before = list.len();
            extend_unicast(&mut list, *address);
            if list.len() > usize::from(u16::MAX) {
                list.truncate(before);
                break;
            }
        }
        option(OPTION_ADDRESS_LIST, &list);
    }
    bytes
}
