//! The network of a running lab: namespaces, links, bridges, routes, sockets.
