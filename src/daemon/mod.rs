//! What can run in a router namespace: how it is configured, known ready, stopped.
