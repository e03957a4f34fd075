//! Streams: senders, receivers, packet stamps, metrics.
