//! The network of a running lab on the kernel: namespaces, links, bridges, addresses, impairments.
//!
//! Nothing in here knows of multicast routing. [`build()`] makes a lab's fabric; [`operate`] changes it while it runs;
//! [`needs`] finds out before anything is built whether this kernel can make what a plan asks for.

pub mod build;
pub mod impairment;
pub mod namespace;
pub mod needs;
pub mod netlink;
pub mod nft;
pub mod operate;
pub mod release;
pub mod runtime;
mod settings;

pub use build::{Fabric, FabricError, Stage, build};
pub use namespace::Namespace;

use crate::topology::plan::{Attachment, Plan, WireId, WireKind};

/// Name of the bridge in a LAN's namespace.
pub const BRIDGE: &str = "br0";

/// Name of the namespace of a LAN's bridge, beside those of the nodes.
pub fn lan_namespace(plan: &Plan, lan: WireId) -> String {
    format!("@{}", plan.wire(lan).name)
}

/// Name of the bridge port of a LAN's end, by its index in `Wire::ends`.
pub fn port(end: usize) -> String {
    format!("p{end}")
}

/// Where the frames that the wire brings to an attachment are sent from: the namespace's name and the interface's.
/// On a link that is the other end; on a LAN, the bridge's port.
pub fn far_side(plan: &Plan, at: Attachment) -> Option<(String, String)> {
    let id = plan.interface(at).wire;
    let wire = plan.wire(id);
    let end = wire.ends.iter().position(|&other| other == at)?;
    match wire.kind {
        WireKind::Link => {
            let &other = wire.ends.get(1 - end.min(1))?;
            Some((plan.node(other.node).name.clone(), plan.interface(other).name.clone()))
        }
        WireKind::Lan { .. } => Some((lan_namespace(plan, id), port(end))),
    }
}
