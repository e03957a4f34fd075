//! `testbed inside bulk-send` and `bulk-receive`: the two ends of a bulk measurement. Each prints one line of JSON.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use router_core::time::Span;

use super::ends::Ends;
use super::interface;
use crate::commands::{Failure, Outcome, Result, figures};
use crate::network::notifier::Notifier;
use crate::traffic::{StreamSpec, bulk};

/// Arguments of `testbed inside bulk-send`.
#[derive(Debug, clap::Args)]
pub struct SendArgs {
    #[command(flatten)]
    place: Place,
    /// UDP payload of each packet in octets.
    #[arg(long, default_value_t = 1400)]
    size: usize,
    /// Packets a call, at most 64; 1 sends without segmentation.
    #[arg(long, default_value_t = 64)]
    segments: usize,
    /// TTL of the packets.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u8).range(1..))]
    ttl: u8,
}

/// Arguments of `testbed inside bulk-receive`.
#[derive(Debug, clap::Args)]
pub struct ReceiveArgs {
    #[command(flatten)]
    place: Place,
    /// End when nothing came for so long after the first packet.
    #[arg(long, default_value = "1s")]
    idle: Span,
}

/// What both ends take.
#[derive(Debug, clap::Args)]
struct Place {
    /// Multicast group.
    #[arg(long)]
    group: IpAddr,
    /// UDP port.
    #[arg(long, default_value_t = 5001, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// Interface of the node; the first with an address if absent.
    #[arg(long)]
    interface: Option<String>,
    /// How long.
    #[arg(long, default_value = "3s")]
    duration: Span,
}

/// Runs `bulk-send`.
pub fn send(args: &SendArgs) -> Result {
    let ends = Ends::catch(Arc::new(Notifier::new()))?;
    let (interface, _) = interface::pick(args.place.interface.as_deref(), args.place.group)?;
    let spec = StreamSpec {
        name: "bulk".into(),
        interface,
        source: None,
        group: args.place.group,
        groups: 1,
        port: args.place.port,
        rate: 1.0,
        size: args.size,
        ttl: args.ttl,
        count: None,
        burst: 1,
    };
    spec.check().map_err(|fault| Failure::bad_input(fault.to_string()))?;
    let sent = bulk::send(&spec, args.segments, args.place.duration.0, ends.flag()).map_err(|error| {
        Failure::machine(format!("cannot send packets of {} octets to {}: {error}", args.size, args.place.group))
    })?;
    figures::print_json(&sent)?;
    Ok(Outcome::Held.into())
}

/// Runs `bulk-receive`.
pub fn receive(args: &ReceiveArgs) -> Result {
    let ends = Ends::catch(Arc::new(Notifier::new()))?;
    let place = &args.place;
    let (interface, _) = interface::pick(place.interface.as_deref(), place.group)?;
    let idle: Duration = args.idle.0;
    let received = bulk::receive(place.group, place.port, interface, place.duration.0, idle, ends.flag())
        .map_err(|error| Failure::machine(format!("cannot receive {}: {error}", place.group)))?;
    figures::print_json(&received)?;
    Ok(Outcome::Held.into())
}
