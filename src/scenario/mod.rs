//! Steps and expectations, the runner, verdicts: generic over a Network.
