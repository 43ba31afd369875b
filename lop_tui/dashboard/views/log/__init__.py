"""The log of a run's worker."""
