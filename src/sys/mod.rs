//! The unsafe corner: forks, ptys, namespaces, packet sockets.

pub mod netns;
pub mod packet;
pub mod udp;
