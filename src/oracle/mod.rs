//! What should happen, from the topology alone. Imports topology, nothing else.
