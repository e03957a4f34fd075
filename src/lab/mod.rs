//! A lab: its supervisor, its state directory, its control socket, start-up and teardown.
