"""Run directories: their files, locks, status and records; reading many runs, and selecting among them."""
