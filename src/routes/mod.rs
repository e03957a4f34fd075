//! Unicast routes: shortest paths, and the agent that keeps them while links come and go.
