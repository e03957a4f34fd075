//! The unsafe corner: forks, ptys, namespaces, packet sockets.
