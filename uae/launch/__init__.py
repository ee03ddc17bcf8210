"""Where a step's work runs: in the step's own process on one node."""
