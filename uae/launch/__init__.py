"""Where a step's work runs: in its own process, in several of its machine, or in a job."""
