//! What the network has shown so far, read once: checks are evaluated again and again, and a stream grows for minutes.

use std::collections::BTreeMap;

use crate::network::{Arrival, Network, Sighting, Time};
use crate::topology::plan::{NodeId, WireId};

/// A growing copy of what the network observed.
#[derive(Debug, Default)]
pub struct Records {
    sent: BTreeMap<String, Vec<Time>>,
    arrivals: BTreeMap<String, BTreeMap<NodeId, Vec<Arrival>>>,
    sightings: BTreeMap<String, BTreeMap<WireId, Vec<Sighting>>>,
}

fn by_name<'a, T: Default>(map: &'a mut BTreeMap<String, T>, name: &str) -> &'a mut T {
    if !map.contains_key(name) {
        map.insert(name.to_owned(), T::default());
    }
    map.get_mut(name).expect("it was put there")
}

impl Records {
    /// Times at which the packets of a stream were sent; the index is the sequence number.
    pub fn sent<N: Network>(&mut self, network: &N, stream: &str) -> &[Time] {
        let known = by_name(&mut self.sent, stream);
        known.extend(network.sent_from(stream, known.len()));
        known
    }

    /// What a host received, in order of arrival.
    pub fn arrivals<N: Network>(&mut self, network: &N, stream: &str, host: NodeId) -> &[Arrival] {
        let known = by_name(&mut self.arrivals, stream).entry(host).or_default();
        known.extend(network.arrivals_from(stream, host, known.len()));
        known
    }

    /// What the taps of a wire saw, in the order in which it became known.
    pub fn sightings<N: Network>(&mut self, network: &N, stream: &str, wire: WireId) -> &[Sighting] {
        let known = by_name(&mut self.sightings, stream).entry(wire).or_default();
        known.extend(network.sightings_from(stream, wire, known.len()));
        known
    }
}
