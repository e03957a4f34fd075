//! Settings of sparse mode with the RFC's defaults filled in (RFC 7761 §4.11).

use std::time::Duration;

use crate::config::{Pim, PimSabotage, SptSwitchover};
use crate::pim::settings::seconds_up;
use crate::time::Span;

/// t_periodic.
const JOIN_PRUNE_PERIOD: Duration = Duration::from_secs(60);
/// Keepalive_Period.
const KEEPALIVE_PERIOD: Duration = Duration::from_secs(210);
/// Register_Suppression_Time.
const REGISTER_SUPPRESSION_TIME: Duration = Duration::from_secs(60);
/// Register_Probe_Time.
const REGISTER_PROBE_TIME: Duration = Duration::from_secs(5);

/// What holds for the whole router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SparseSettings {
    /// t_periodic.
    pub join_prune_period: Duration,
    /// J/P_HoldTime in seconds, 1 to 65534.
    pub join_prune_hold_time: u16,
    /// Keepalive_Period.
    pub keepalive_period: Duration,
    /// RP_Keepalive_Period.
    pub rp_keepalive_period: Duration,
    /// Register_Suppression_Time.
    pub register_suppression_time: Duration,
    /// Register_Probe_Time.
    pub register_probe_time: Duration,
    /// `SwitchToSptDesired` of a router with members.
    pub spt_switchover: SptSwitchover,
    /// A fault on purpose.
    pub sabotage: Option<PimSabotage>,
}

impl SparseSettings {
    /// What the router's settings come to.
    pub fn new(pim: &Pim) -> SparseSettings {
        let or = |span: Option<Span>, default: Duration| span.map_or(default, Span::get);
        let join_prune_period = or(pim.join_prune_period, JOIN_PRUNE_PERIOD);
        let register_suppression_time = or(pim.register_suppression_time, REGISTER_SUPPRESSION_TIME);
        let register_probe_time = or(pim.register_probe_time, REGISTER_PROBE_TIME);
        let hold_time = or(pim.join_prune_hold_time, join_prune_period.mul_f64(3.5));
        SparseSettings {
            join_prune_period,
            join_prune_hold_time: match pim.sabotage {
                Some(PimSabotage::JoinHoldShort) => seconds_up(join_prune_period / 2),
                _ => seconds_up(hold_time),
            },
            keepalive_period: or(pim.keepalive_period, KEEPALIVE_PERIOD),
            rp_keepalive_period: or(pim.rp_keepalive_period, 3 * register_suppression_time + register_probe_time),
            register_suppression_time,
            register_probe_time,
            spt_switchover: pim.spt_switchover.unwrap_or_default(),
            sabotage: pim.sabotage,
        }
    }

    /// How often the counters of entries are read: thrice in a keepalive period, so that a source's end is known within a third of it;
    /// where a rate decides on the shortest path tree, thrice in 30 s at the least.
    pub fn counter_interval(&self) -> Duration {
        let interval = self.keepalive_period / 3;
        match self.spt_switchover {
            SptSwitchover::Kbit(_) => interval.min(Duration::from_secs(10)),
            SptSwitchover::Immediate | SptSwitchover::Never => interval,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_the_rfcs() {
        let settings = SparseSettings::new(&Pim::default());
        assert_eq!((settings.join_prune_hold_time, settings.rp_keepalive_period.as_secs()), (210, 185));
        assert_eq!(settings.counter_interval().as_secs(), 70);
        let pim = Pim { spt_switchover: Some(SptSwitchover::Kbit(8)), ..Pim::default() };
        assert_eq!(SparseSettings::new(&pim).counter_interval().as_secs(), 10);
    }
}
