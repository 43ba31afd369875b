"""The run directory: its files, locks, status and records; reading many runs, and choosing among them."""
