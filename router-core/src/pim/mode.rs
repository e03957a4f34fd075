//! Which mode a group is handled in.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use crate::config::{Multicast, Pim};

/// Modes of groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// PIM dense mode (RFC 3973).
    Dense,
    /// PIM sparse mode with a rendezvous point (RFC 7761).
    Sparse,
    /// Source-specific multicast (RFC 7761 §4.8): no rendezvous point, no register.
    Ssm,
}

/// What the configuration says of groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Modes {
    is_dense: bool,
    dense: Vec<IpNet>,
    ssm: Vec<IpNet>,
}

impl Modes {
    /// Those of a configuration.
    pub fn new(multicast: Multicast, pim: &Pim) -> Modes {
        let ssm = || vec![Ipv4Net::new_assert([232, 0, 0, 0].into(), 8).into()];
        Modes {
            is_dense: multicast == Multicast::PimDm,
            dense: pim.dense_groups.clone().unwrap_or_default(),
            ssm: pim.ssm_range.clone().unwrap_or_else(ssm),
        }
    }

    /// Whether all groups of a prefix are source-specific.
    pub fn is_ssm(&self, groups: &IpNet) -> bool {
        self.ssm.iter().any(|prefix| prefix.contains(groups))
    }

    /// The mode of a group.
    pub fn of(&self, group: IpAddr) -> Mode {
        let is_in = |prefixes: &[IpNet]| prefixes.iter().any(|prefix| prefix.contains(&group));
        match () {
            () if self.is_dense || is_in(&self.dense) => Mode::Dense,
            () if is_in(&self.ssm) => Mode::Ssm,
            () => Mode::Sparse,
        }
    }
}
