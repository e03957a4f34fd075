//! The unsafe corner: forks, descriptors that travel, terminals, namespaces, packet sockets.

pub mod files;
pub mod mroute;
pub mod netns;
pub mod packet;
pub mod pass;
pub mod process;
pub mod terminal;
pub mod udp;
