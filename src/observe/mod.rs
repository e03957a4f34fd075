//! What is seen: kernel forwarding entries, frames on wires, captures.
