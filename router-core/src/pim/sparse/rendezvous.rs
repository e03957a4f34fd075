//! What a rendezvous point does with a register: `packet_arrives_on_rp_tunnel` (RFC 7761 §4.4.2, §4.8.1). To decapsulate and forward it is
//! the kernel's part, or the simulator's: the data then arrives by [`crate::router::InterfaceId::REGISTER`].

/// What it depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guards {
    /// `I_am_RP(G) AND outer.dst == RP(G)`, and the group is not source-specific.
    pub i_am_rp: bool,
    /// `SPTbit(S,G)`.
    pub spt_bit: bool,
    /// `SwitchToSptDesired(S,G)` of a rendezvous point.
    pub switch_to_spt_desired: bool,
    /// `inherited_olist(S,G) == NULL`.
    pub olist_is_null: bool,
}

/// What is to be done, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send Register-Stop(S,G) to whoever sent the register.
    SendRegisterStop,
    /// KAT(S,G) to RP_Keepalive_Period.
    SetRpKeepalive,
    /// KAT(S,G) to Keepalive_Period.
    SetKeepalive,
}

/// What a register makes it do.
pub fn receive(guards: Guards) -> &'static [Action] {
    use Action::*;
    let Guards { i_am_rp, spt_bit, switch_to_spt_desired, olist_is_null } = guards;
    if !i_am_rp {
        return &[SendRegisterStop];
    }
    let stop = spt_bit || switch_to_spt_desired && olist_is_null;
    match (stop, spt_bit || switch_to_spt_desired) {
        (true, _) => &[SendRegisterStop, SetRpKeepalive],
        (false, true) => &[SetKeepalive],
        (false, false) => &[],
    }
}
